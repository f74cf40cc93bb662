/* objects_cycle.c: see objects.h. Which of the compounds that were made for a graph are part of themselves: a
   registered value can be, whose state has the value in it, and none could read it again. */
#include "objects.h"
#include "objects/compound.h"

/* A compound; where the search for a way back to it is. */
typedef struct node {
  uint64_t offset, next;
  enum { NEW, OPEN, DONE } state;
} node;

static int by_offset(const void *left, const void *right) {
  uint64_t a = ((const node *)left)->offset, b = ((const node *)right)->offset;
  return (a > b) - (a < b);
}

static node *node_of(node *nodes, size_t count, uint64_t word) {
  node key = {.offset = mh_word_offset(word)};
  return mh_word_is_ref(word) ? bsearch(&key, nodes, count, sizeof *nodes, by_offset) : NULL;
}

/* What the node at the top leads to next; NULL: nothing more. */
static node *next_of(mh_space *space, node *nodes, size_t count, node *top) {
  const mh_compound_block *block = mh_at(space->region, top->offset);
  uint64_t length = mh_head_length(block->head);
  node *found = NULL;
  while (found == NULL && top->next < length) found = node_of(nodes, count, block->words[top->next++]);
  return found;
}

/* `stack` has room for all. */
static bool leads_back(mh_space *space, node *nodes, size_t count, node **stack, node *from) {
  size_t depth = 1;
  if (from->state != NEW) return false;
  (stack[0] = from)->state = OPEN;
  while (depth > 0) {
    node *found = next_of(space, nodes, count, stack[depth - 1]);
    if (found == NULL) stack[--depth]->state = DONE;
    else if (found->state == OPEN) return true;
    else if (found->state == NEW) (stack[depth++] = found)->state = OPEN;
  }
  return false;
}

int mhx_any_in_itself(mhx_space *space, const uint64_t *made, size_t made_count) {
  node *nodes = PyMem_Calloc(made_count + 1, sizeof *nodes);
  node **stack = PyMem_Calloc(made_count + 1, sizeof *stack);
  size_t count = 0;
  int found = nodes == NULL || stack == NULL ? (PyErr_NoMemory(), -1) : 0;
  for (size_t i = 0; found == 0 && i < made_count; i++)
    if (mh_word_is_compound(&space->core, made[i])) nodes[count++].offset = mh_word_offset(made[i]);
  if (found == 0) qsort(nodes, count, sizeof *nodes, by_offset);
  for (size_t i = 0; found == 0 && i < count; i++)
    found = leads_back(&space->core, nodes, count, stack, &nodes[i]);
  PyMem_Free(nodes);
  PyMem_Free(stack);
  return found;
}
