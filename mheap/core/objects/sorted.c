/* sorted.c: see sorted.h. Reading; sorted_change.c changes. */
#include "sorted_tree.h"

mheap_err mh_sorted_at(mh_space *space, uint64_t offset, mh_sorted *sorted) {
  mh_container *container;
  mheap_err failed = mh_container_at(space, offset, MH_TYPE_SORTED, 0, &container);
  if (failed) return failed;
  if (container->birth == 0) return mh_corrupt(space, offset + 8, "the birth number of a sorted dict", 1, 0);
  *sorted = (mh_sorted){.space = space, .offset = offset, .birth = container->birth, .type = MH_TYPE_SORTED};
  return MHEAP_OK;
}

mheap_err mh_sorted_new(mh_space *space, mh_sorted *sorted) {
  uint64_t offset;
  mheap_err failed = mh_container_new(space, MH_TYPE_SORTED, &offset);
  return failed ? failed : mh_sorted_at(space, offset, sorted);
}

mheap_err mh_tree_open(mh_sorted *sorted, mh_container **container, mh_node *top) {
  mheap_err failed = mh_container_at(sorted->space, sorted->offset, MH_TYPE_SORTED, sorted->birth, container);
  top->count = 0;
  top->offset = 0;
  if (failed) return failed;
  uint64_t part = mh_read(&(*container)->part);
  return part == 0 ? MHEAP_OK : mh_node_open_top(sorted->space, part, top);
}

/* ---- finding ---- */

/* The first position from `first` on whose key is not less than the key, or is more. `*equal`: the one
   before, where `more`, or this one is equal. */
static mheap_err bisect(mh_space *space, const mh_node *node, const mh_key *key, unsigned first, bool more,
                        unsigned *position, bool *equal) {
  unsigned low = first, high = node->count;
  *equal = false;
  while (low < high) {
    unsigned middle = (low + high) / 2;
    int order;
    mheap_err failed = mh_order(space, key, mh_node_key(node, middle), &order);
    if (failed) return failed;
    if (order == 0) *equal = true;
    if (order > 0 || (order == 0 && more)) low = middle + 1;
    else high = middle;
  }
  *position = low;
  return MHEAP_OK;
}

mheap_err mh_tree_empty_node(mh_space *space, const mh_node *node) {
  return mh_corrupt(space, node->offset + offsetof(mh_node_block, order), "the entries of a node", 1, 0);
}

mheap_err mh_tree_child(mh_space *space, const mh_node *node, unsigned position, mh_node *child) {
  mheap_err failed =
      mh_node_open(space, mh_read(&mh_node_branch(node, position)->child), node->level - 1, child);
  if (!failed && child->count == 0) return mh_tree_empty_node(space, child);
  return failed;
}

mheap_err mh_tree_find(mh_space *space, const mh_node *top, const mh_key *key, bool more, mh_spot *place,
                       mh_node *leaf, bool *equal) {
  *leaf = *top;
  place->levels = top->level + 1;
  for (;;) {
    unsigned position;
    bool is_leaf = leaf->level == 0;
    mheap_err failed = bisect(space, leaf, key, is_leaf ? 0 : 1, is_leaf ? more : true, &position, equal);
    if (failed) return failed;
    place->node[leaf->level] = leaf->offset;
    place->position[leaf->level] = (uint8_t)(is_leaf ? position : position - 1);
    if (is_leaf) return MHEAP_OK;
    mh_node above = *leaf;
    failed = mh_tree_child(space, &above, position - 1, leaf);
    if (failed) return failed;
  }
}

static mheap_err not_there(mheap_err failed) {
  return failed == MHEAP_ERR_ARGUMENT ? MHEAP_ERR_NOT_FOUND : failed;
}

mheap_err mh_sorted_get(mh_sorted *sorted, const mh_key *key, uint64_t *value) {
  mh_container *container;
  mh_node top, leaf;
  mh_spot place;
  bool equal;
  mheap_err failed = mh_tree_open(sorted, &container, &top);
  if (failed) return failed;
  if (top.count == 0) return MHEAP_ERR_NOT_FOUND;
  failed = mh_tree_find(sorted->space, &top, key, false, &place, &leaf, &equal);
  if (failed) return not_there(failed);
  if (!equal) return MHEAP_ERR_NOT_FOUND;
  *value = mh_read(&mh_node_entry(&leaf, place.position[0])->value);
  return MHEAP_OK;
}

/* ---- counting ---- */

/* More nodes than the region has room for: some are referred to again and again. */
static mheap_err too_many(mh_space *space, uint64_t offset, uint64_t found) {
  return mh_corrupt(space, offset, "the nodes of a sorted dict",
                    mh_region_size(space->region) / sizeof(mh_node_block), found);
}

typedef struct counting {
  mh_space *space;
  uint64_t nodes;
  bool correct; /* stores what it counts */
} counting;

/* Entries below, as the leaves have them. No more levels than there are. */
static mheap_err count_below(counting *c, const mh_node *node, uint64_t *count) {
  *count = node->count;
  if (node->level == 0) return MHEAP_OK;
  *count = 0;
  if (++c->nodes > mh_region_size(c->space->region) / sizeof(mh_node_block))
    return too_many(c->space, node->offset, c->nodes);
  for (unsigned i = 0; i < node->count; i++) {
    mh_node child;
    uint64_t below;
    mheap_err failed = mh_tree_child(c->space, node, i, &child);
    if (!failed) failed = count_below(c, &child, &below);
    if (!failed && c->correct) failed = mh_node_confirm(c->space, node);
    if (failed) return failed;
    if (c->correct) mh_store(&mh_node_branch(node, i)->count, below);
    *count += below;
  }
  return MHEAP_OK;
}

mheap_err mh_tree_recount(mh_space *space, mh_container *container, const mh_node *top) {
  counting c = {.space = space, .correct = true};
  uint64_t count;
  mheap_err failed = top->offset == 0 ? MHEAP_OK : count_below(&c, top, &count);
  if (!failed) mh_store(&container->pending, 0);
  return failed;
}

static mheap_err count_of(mh_sorted *sorted, const mh_container *container, const mh_node *node,
                          uint64_t *count) {
  counting c = {.space = sorted->space};
  if (mh_read(&container->pending) != 0) return count_below(&c, node, count);
  *count = mh_node_sum(node);
  return MHEAP_OK;
}

mheap_err mh_sorted_length(mh_sorted *sorted, uint64_t *length) {
  mh_container *container;
  mh_node top;
  *length = 0;
  mheap_err failed = mh_tree_open(sorted, &container, &top);
  if (failed || top.count == 0) return failed;
  uint64_t most = mh_region_size(sorted->space->region) / sizeof(mh_entry);
  failed = count_of(sorted, container, &top, length);
  if (failed || *length <= most) return failed;
  return mh_corrupt(sorted->space, top.offset, "the entries of a sorted dict", most, *length);
}

/* Entries below the branch. */
static mheap_err count_at(mh_sorted *sorted, const mh_container *container, const mh_node *node,
                          unsigned position, uint64_t *count) {
  mh_node child;
  *count = mh_read(&mh_node_branch(node, position)->count);
  if (mh_read(&container->pending) == 0) return MHEAP_OK;
  mheap_err failed = mh_tree_child(sorted->space, node, position, &child);
  return failed ? failed : count_of(sorted, container, &child, count);
}

/* ---- places ---- */

mheap_err mh_sorted_seek(mh_sorted *sorted, const mh_key *key, bool more, mh_spot *place) {
  mh_container *container;
  mh_node top, leaf;
  bool equal;
  place->levels = 0;
  mheap_err failed = mh_tree_open(sorted, &container, &top);
  if (failed || top.count == 0) return failed;
  return mh_tree_find(sorted->space, &top, key, more, place, &leaf, &equal);
}

mheap_err mh_sorted_seek_index(mh_sorted *sorted, uint64_t index, mh_spot *place) {
  mh_container *container;
  mh_node node;
  place->levels = 0;
  mheap_err failed = mh_tree_open(sorted, &container, &node);
  if (failed || node.count == 0) return failed;
  place->levels = node.level + 1;
  while (node.level > 0) {
    unsigned position = 0;
    uint64_t below = 0;
    for (;; position++, index -= below) {
      failed = count_at(sorted, container, &node, position, &below);
      if (failed) return failed;
      if (index < below || position + 1 == node.count) break;
    }
    place->node[node.level] = node.offset;
    place->position[node.level] = (uint8_t)position;
    mh_node above = node;
    failed = mh_tree_child(sorted->space, &above, position, &node);
    if (failed) return failed;
  }
  place->node[0] = node.offset;
  place->position[0] = (uint8_t)(index < node.count ? index : node.count);
  return MHEAP_OK;
}

mheap_err mh_sorted_index(mh_sorted *sorted, const mh_spot *place, uint64_t *index) {
  mh_container *container;
  mh_node node;
  *index = place->levels == 0 ? 0 : place->position[0];
  mheap_err failed = mh_tree_open(sorted, &container, &node);
  for (unsigned level = 1; !failed && level < place->levels; level++) {
    failed = mh_node_open(sorted->space, place->node[level], level, &node);
    for (unsigned i = 0; !failed && i < place->position[level] && i < node.count; i++) {
      uint64_t below;
      failed = count_at(sorted, container, &node, i, &below);
      *index += below;
    }
  }
  return failed;
}

/* To the first position below the next branch, or behind the last below the one before. */
static mheap_err step(mh_space *space, mh_spot *place, bool forward, mh_node *leaf) {
  unsigned level = 1;
  mh_node node;
  for (; level < place->levels; level++) {
    mheap_err failed = mh_node_open(space, place->node[level], level, &node);
    if (failed) return failed;
    if (forward ? place->position[level] + 1u < node.count : place->position[level] > 0) break;
  }
  if (level >= place->levels) return MHEAP_ERR_NOT_FOUND;
  place->position[level] = (uint8_t)(forward ? place->position[level] + 1 : place->position[level] - 1);
  for (*leaf = node; level > 0; level--) {
    mheap_err failed = mh_tree_child(space, &node, place->position[level], leaf);
    if (failed) return failed;
    place->node[level - 1] = leaf->offset;
    place->position[level - 1] = (uint8_t)(forward ? 0 : level == 1 ? leaf->count : leaf->count - 1);
    node = *leaf;
  }
  return MHEAP_OK;
}

mheap_err mh_sorted_next(mh_sorted *sorted, mh_spot *place, mh_entry *entry) {
  mh_node leaf = {0};
  if (place->levels == 0) return MHEAP_ERR_NOT_FOUND;
  mheap_err failed = mh_node_open(sorted->space, place->node[0], 0, &leaf);
  if (failed) return failed;
  if (place->position[0] >= leaf.count) failed = step(sorted->space, place, true, &leaf);
  if (failed) return failed;
  *entry = *mh_node_entry(&leaf, place->position[0]++);
  return MHEAP_OK;
}

mheap_err mh_sorted_previous(mh_sorted *sorted, mh_spot *place, mh_entry *entry) {
  mh_node leaf = {0};
  if (place->levels == 0) return MHEAP_ERR_NOT_FOUND;
  mheap_err failed = mh_node_open(sorted->space, place->node[0], 0, &leaf);
  if (failed) return failed;
  if (place->position[0] == 0) failed = step(sorted->space, place, false, &leaf);
  if (failed) return failed;
  if (place->position[0] > leaf.count) place->position[0] = (uint8_t)leaf.count;
  *entry = *mh_node_entry(&leaf, --place->position[0]);
  return MHEAP_OK;
}
