/* verify_sorted.c: the check of a sorted dict: its nodes, each once, the order of keys and the counts of
   branches. Takes no lock. */
#include <inttypes.h>

#include "node.h"
#include "order.h"
#include "verify.h"

typedef struct tree {
  mh_walk *walk;
  mh_node nodes[MH_NODE_LEVELS];
  unsigned next[MH_NODE_LEVELS];
  uint64_t below[MH_NODE_LEVELS]; /* entries found so far */
  uint64_t least;                 /* of the last entry or branch: no key from here on is less; ABSENT: none */
  bool is_entry;                  /* or equal, to an entry's */
  bool in_order;                  /* so far: no more keys are compared when they are not */
  bool is_pending;
} tree;

static uint64_t place_of(const tree *t, const void *field) { return mh_offset(t->walk->space.region, field); }

static void check_key(tree *t, uint64_t key, uint64_t place, bool is_entry) {
  int order = -1;
  bool compares = t->in_order && t->least != MH_WORD_ABSENT && !mh_walk_coded_enough(t->walk, key);
  mheap_err failed = compares ? mh_order_stored(&t->walk->space, t->least, key, &order) : MHEAP_OK;
  bool wrong = failed == MHEAP_ERR_ARGUMENT || order > 0 || (order == 0 && is_entry && t->is_entry);
  if (failed && failed != MHEAP_ERR_ARGUMENT) mh_walk_error(t->walk);
  else if (wrong) mh_walk_found(t->walk, 1, place, "a key of a sorted dict is not above the one before it");
  if (failed || wrong) t->in_order = false;
  t->least = key;
  t->is_entry = is_entry;
}

static void check_leaf(tree *t, const mh_node *leaf) {
  for (unsigned i = 0; i < leaf->count; i++) mh_ahead_words(&t->walk->ahead, &mh_node_entry(leaf, i)->key, 2);
  for (unsigned i = 0; i < leaf->count && !t->walk->failed; i++) {
    const mh_entry *entry = mh_node_entry(leaf, i);
    uint64_t key = mh_read(&entry->key), place = place_of(t, entry);
    if (key == MH_WORD_ABSENT) mh_walk_found(t->walk, 1, place, "an entry of a sorted dict without a key");
    if (key == MH_WORD_ABSENT) continue;
    bool is_key = mh_walk_visit(t->walk, key, place);
    mh_walk_visit(t->walk, mh_read(&entry->value), place + offsetof(mh_entry, value));
    if (is_key) check_key(t, key, place, true);
  }
}

static void check_places(tree *t, const mh_node *node) {
  uint32_t all = 0;
  for (unsigned i = 0; i < MH_NODE_PLACES; i++) all |= (uint32_t)1 << mh_order_at(node->order, i);
  uint64_t place = place_of(t, &node->block->order);
  if (all != ((uint32_t)1 << MH_NODE_PLACES) - 1)
    mh_walk_found(t->walk, 1, place, "the places of a node: expected each once, found 0x%" PRIx64,
                  node->order);
  if (node->count == 0) mh_walk_found(t->walk, 1, place, "a node without entries");
}

/* False: it is not to be looked into. */
static bool enter(tree *t, uint64_t offset, unsigned level) {
  mh_node *node = &t->nodes[level];
  if (mh_node_open(&t->walk->space, offset, level, node)) return mh_walk_error(t->walk), false;
  if (!mh_walk_part(t->walk, offset, mh_node_bytes(level))) return false;
  check_places(t, node);
  t->next[level] = 0;
  t->below[level] = 0;
  return true;
}

/* The key of a branch, which separates what is before from what is below. */
static void check_branch(tree *t, const mh_branch *branch, bool is_first) {
  uint64_t key = mh_read(&branch->key), place = place_of(t, branch);
  if (key == MH_WORD_ABSENT) mh_walk_found(t->walk, 1, place, "a branch of a sorted dict without a key");
  else if (mh_walk_visit(t->walk, key, place) && !is_first) {
    t->is_entry = true; /* the last entry before must be less */
    check_key(t, key, place, t->least != MH_WORD_ABSENT);
    t->is_entry = false; /* the first below may be equal */
  }
}

static void leave(tree *t, unsigned level) {
  uint64_t count = level == 0 ? t->nodes[0].count : t->below[level];
  if (level + 1 >= MH_NODE_LEVELS || t->nodes[level + 1].block == NULL) return;
  const mh_node *above = &t->nodes[level + 1];
  const mh_branch *branch = mh_node_branch(above, t->next[level + 1] - 1);
  uint64_t stored = mh_read(&branch->count);
  t->below[level + 1] += count;
  if (stored != count && !t->is_pending)
    mh_walk_found(t->walk, 1, place_of(t, &branch->count),
                  "entries below a branch: expected %" PRIu64 ", found %" PRIu64, count, stored);
}

static void look_through(tree *t, unsigned top) {
  for (unsigned level = top; level <= top && !t->walk->failed;) {
    mh_node *node = &t->nodes[level];
    if (level == 0) check_leaf(t, node);
    if (level == 0 || t->next[level] == node->count) {
      leave(t, level++);
      continue;
    }
    const mh_branch *branch = mh_node_branch(node, t->next[level]++);
    check_branch(t, branch, t->next[level] == 1);
    if (enter(t, mh_read(&branch->child), level - 1)) level--;
  }
}

void mh_walk_sorted(mh_walk *walk, const mh_container *container, uint64_t part) {
  tree t = {.walk = walk, .least = MH_WORD_ABSENT, .in_order = true};
  uint64_t pending = mh_read(&container->pending), place = place_of(&t, &container->pending);
  mh_node top;
  t.is_pending = pending != 0;
  if (pending > 1)
    mh_walk_found(walk, 1, place, "a change of a sorted dict: expected 0 or 1, found %" PRIu64, pending);
  else if (pending == 1)
    mh_walk_found(walk, 0, place, "a change of a sorted dict was interrupted; the next one counts again");
  if (part == 0) return;
  if (mh_node_open_top(&walk->space, part, &top)) {
    mh_walk_error(walk);
    return;
  }
  if (enter(&t, part, top.level)) look_through(&t, top.level);
}
