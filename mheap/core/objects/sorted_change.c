/* sorted_change.c: see sorted.h. Changing, and the order of the stores that does it. Splits and merges come
   before and behind the change that makes them necessary: each is one store, and leaves the entries as they
   are. */
#include "collect.h"
#include "sorted_tree.h"

#define FEW 4      /* entries or branches, down to which a node is merged with one beside it, */
#define MERGED 11  /* if that makes no more than these */

/* The way to a leaf, of blocks in use. */
typedef struct way {
  mh_sorted *sorted;
  mh_space *space;
  mh_container *container;
  mh_spot place;
  mh_node nodes[MH_NODE_LEVELS]; /* by level */
} way;

/* ---- before a change ---- */

static mheap_err confirm_container(mh_sorted *sorted) {
  uint64_t usable = mh_block_usable(sorted->space, sorted->offset);
  if (usable < sizeof(mh_container))
    return mh_corrupt(sorted->space, sorted->offset, "the size of the block in use here",
                      sizeof(mh_container), usable);
  sorted->writable = true;
  return MHEAP_OK;
}

static mheap_err open_to_change(mh_sorted *sorted, way *way, mh_node *top) {
  way->sorted = sorted;
  way->space = sorted->space;
  mheap_err failed = mh_space_writable(sorted->space);
  if (!failed) failed = mh_tree_open(sorted, &way->container, top);
  if (!failed && !sorted->writable) failed = confirm_container(sorted);
  if (!failed && top->offset != 0 && top->count == 0) failed = mh_tree_empty_node(sorted->space, top);
  if (!failed && way->container->pending != 0) failed = mh_tree_recount(sorted->space, way->container, top);
  return failed;
}

/* Opens all nodes on the way, which must be blocks in use. */
static mheap_err confirm_way(way *way, const mh_node *leaf) {
  mheap_err failed = mh_node_confirm(way->space, leaf);
  way->nodes[0] = *leaf;
  for (unsigned level = 1; !failed && level < way->place.levels; level++) {
    failed = mh_node_open(way->space, way->place.node[level], level, &way->nodes[level]);
    if (!failed) failed = mh_node_confirm(way->space, &way->nodes[level]);
  }
  return failed;
}

static mh_branch *branch_of(way *way, unsigned level) {
  return mh_node_branch(&way->nodes[level], way->place.position[level]);
}

/* ---- publishing ---- */

/* Counts of branches are wrong from here to end_counting, for readers that come after a kill between them. */
static void begin_counting(way *way) {
  if (way->place.levels > 1) mh_store(&way->container->pending, 1);
}

static void end_counting(way *way, unsigned from, uint64_t more) {
  for (unsigned level = from; level < way->place.levels; level++) {
    mh_branch *branch = branch_of(way, level);
    mh_store(&branch->count, branch->count + more);
  }
  if (way->place.levels > 1) mh_store(&way->container->pending, 0);
}

/* What it refers to has gone to another node, or is counted down. */
static void free_node(mh_space *space, uint64_t offset) {
  mh_part_moves(space, offset);
  mh_block_free(space, offset);
}

/* ---- splitting ---- */

static bool is_at_end(const way *way, unsigned level) {
  for (unsigned i = level; i < way->place.levels; i++)
    if (way->place.position[i] + (i > 0 ? 1u : 0u) != way->nodes[i].count) return false;
  return true;
}

static bool is_at_start(const way *way, unsigned level) {
  for (unsigned i = level; i < way->place.levels; i++)
    if (way->place.position[i] != 0) return false;
  return true;
}

/* How much stays left: nearly all where keys come in order. */
static unsigned left_count(const way *way, unsigned level) {
  unsigned count = way->nodes[level].count;
  if (is_at_end(way, 0)) return count - 1;
  return is_at_start(way, 0) ? 1 : count / 2;
}

/* A new node with `count` entries, or branches, of one from a position on. */
static mheap_err part_of(mh_space *space, const mh_node *from, unsigned first, unsigned count,
                         mh_node *made) {
  mheap_err failed = mh_node_new(space, from->level, made);
  if (failed) return failed;
  for (unsigned i = 0; i < count; i++) {
    if (from->level == 0) made->entries[i] = *mh_node_entry(from, first + i);
    else made->branches[i] = *mh_node_branch(from, first + i);
  }
  mh_node_publish(made, mh_order_first(count));
  return MHEAP_OK;
}

/* The key of the branch to the right one, with a reference. */
static mheap_err take_separator(mh_space *space, mh_node *right, uint64_t *key) {
  if (right->level == 0) {
    *key = right->entries[0].key;
    return mh_retain(space, *key);
  }
  *key = right->branches[0].key;
  right->branches[0].key = MH_CONST_NONE;
  return MHEAP_OK;
}

static mh_branch branch_to(const mh_node *node, uint64_t key) {
  return (mh_branch){.key = key, .child = node->offset, .count = mh_node_sum(node)};
}

/* Instead of the branch at a position there are two from now on. */
static void publish_two(mh_node *above, unsigned position, const mh_node *left, const mh_node *right,
                        uint64_t key) {
  unsigned count = above->count;
  mh_branch *first = &above->branches[mh_order_at(above->order, count + 1)];
  mh_branch *second = &above->branches[mh_order_at(above->order, count)];
  *first = branch_to(left, mh_node_branch(above, position)->key);
  *second = branch_to(right, key);
  mh_mark_range(first, sizeof *first);
  mh_mark_range(second, sizeof *second);
  uint64_t order = mh_order_insert(above->order, position + 1);
  mh_node_publish(above, mh_order_swap(order, position, count + 1));
}

static mheap_err publish_top(way *way, const mh_node *left, const mh_node *right, uint64_t key) {
  mh_node top;
  mheap_err failed = mh_node_new(way->space, left->level + 1, &top);
  if (failed) return failed;
  top.branches[0] = branch_to(left, MH_CONST_NONE);
  top.branches[1] = branch_to(right, key);
  mh_node_publish(&top, mh_order_first(2));
  mh_store(&way->container->part, top.offset);
  return MHEAP_OK;
}

static mheap_err split_into(way *way, unsigned level, const mh_node *left, mh_node *right) {
  uint64_t key;
  mheap_err failed = take_separator(way->space, right, &key);
  if (failed) return failed;
  if (level + 1 < way->place.levels)
    publish_two(&way->nodes[level + 1], way->place.position[level + 1], left, right, key);
  else failed = publish_top(way, left, right, key);
  if (failed && level == 0) mh_release(way->space, key);
  return failed;
}

static mheap_err split_node(way *way, unsigned level) {
  const mh_node *old = &way->nodes[level];
  unsigned stays = left_count(way, level);
  mh_node left, right;
  mheap_err failed = part_of(way->space, old, 0, stays, &left);
  if (failed) return failed;
  failed = part_of(way->space, old, stays, old->count - stays, &right);
  if (failed) return mh_block_free(way->space, left.offset), failed;
  failed = split_into(way, level, &left, &right);
  if (!failed) return free_node(way->space, old->offset), MHEAP_OK;
  mh_block_free(way->space, left.offset);
  mh_block_free(way->space, right.offset);
  return failed;
}

/* Splits the leaf, or else the lowest node on the way whose own can be split. */
static mheap_err split(way *way) {
  unsigned level = 0;
  while (level + 1 < way->place.levels && way->nodes[level + 1].count + 2 > MH_NODE_PLACES) level++;
  return split_node(way, level);
}

/* ---- inserting ---- */

static mheap_err insert_first(way *way, const mh_key *key, uint64_t value) {
  mh_node leaf;
  uint64_t stored;
  mheap_err failed = mh_key_store(way->space, key, &stored);
  if (failed) return failed;
  failed = mh_node_new(way->space, 0, &leaf);
  if (failed) return mh_release(way->space, stored), failed;
  leaf.entries[0] = (mh_entry){.key = stored, .value = value};
  mh_node_publish(&leaf, mh_order_first(1));
  mh_store(&way->container->part, leaf.offset);
  way->sorted->changes++;
  return MHEAP_OK;
}

static mheap_err insert(way *way, const mh_key *key, uint64_t value) {
  mh_node *leaf = &way->nodes[0];
  mh_entry *entry = &leaf->entries[mh_order_at(leaf->order, leaf->count)];
  uint64_t stored;
  mheap_err failed = mh_key_store(way->space, key, &stored);
  if (failed) return failed;
  *entry = (mh_entry){.key = stored, .value = value};
  mh_mark_range(entry, sizeof *entry);
  begin_counting(way);
  mh_node_publish(leaf, mh_order_insert(leaf->order, way->place.position[0]));
  end_counting(way, 1, 1);
  way->sorted->changes++;
  return MHEAP_OK;
}

static mheap_err replace_value(way *way, const mh_node *leaf, uint64_t value) {
  mh_entry *entry = mh_node_entry(leaf, way->place.position[0]);
  uint64_t old = entry->value;
  mheap_err failed = mh_node_confirm(way->space, leaf);
  if (!failed) failed = mh_word_check(way->space, old);
  if (failed) return failed;
  mh_store(&entry->value, value);
  if (way->sorted->replaced != NULL) *way->sorted->replaced = old;
  else mh_release(way->space, old);
  return MHEAP_OK;
}

mheap_err mh_sorted_set(mh_sorted *sorted, const mh_key *key, uint64_t value) {
  way way;
  mh_node leaf;
  mheap_err failed = mh_order_check(sorted->space, key);
  if (!failed && sorted->build != NULL) {
    if (mh_build_takes(sorted, key)) return mh_build_add(sorted, key, value);
    mh_sorted_build_end(sorted);
  }
  for (; !failed; failed = split(&way)) {
    mh_node top;
    bool equal;
    failed = open_to_change(sorted, &way, &top);
    if (!failed && top.offset == 0) return insert_first(&way, key, value);
    if (!failed) failed = mh_tree_find(way.space, &top, key, false, &way.place, &leaf, &equal);
    if (failed) return failed;
    if (equal) return replace_value(&way, &leaf, value);
    failed = confirm_way(&way, &leaf);
    if (failed) return failed;
    if (leaf.count < MH_NODE_PLACES) return insert(&way, key, value);
  }
  return failed;
}

/* ---- merging ---- */

/* Two beside each other, under one. */
static mheap_err merge(mh_space *space, mh_node *above, unsigned position, const mh_node *left,
                       const mh_node *right) {
  mh_node made;
  mh_branch *first = mh_node_branch(above, position), *second = mh_node_branch(above, position + 1);
  mh_branch *place = &above->branches[mh_order_at(above->order, above->count)];
  uint64_t lost = second->key;
  mheap_err failed = part_of(space, left, 0, left->count, &made);
  if (failed) return failed;
  for (unsigned i = 0, at = left->count; i < right->count; i++, at++) {
    if (left->level == 0) made.entries[at] = *mh_node_entry(right, i);
    else made.branches[at] = *mh_node_branch(right, i);
  }
  if (left->level > 0) {
    lost = made.branches[left->count].key;
    made.branches[left->count].key = second->key;
  }
  mh_node_publish(&made, mh_order_first(left->count + right->count));
  *place = (mh_branch){.key = first->key, .child = made.offset, .count = first->count + second->count};
  mh_mark_range(place, sizeof *place);
  uint64_t order = mh_order_swap(above->order, position, above->count);
  mh_node_publish(above, mh_order_remove(order, position + 1));
  free_node(space, left->offset);
  free_node(space, right->offset);
  mh_release(space, lost);
  return MHEAP_OK;
}

/* With the one behind, or before. False: neither is small enough, or there is no room. */
static bool merge_at(way *way, unsigned level) {
  mh_node *node = &way->nodes[level], *above = &way->nodes[level + 1], other;
  unsigned position = way->place.position[level + 1];
  if (above->count == MH_NODE_PLACES) return false;
  if (position + 1 < above->count && mh_node_branch(above, position + 1)->child != node->offset &&
      mh_tree_child(way->space, above, position + 1, &other) == MHEAP_OK &&
      node->count + other.count <= MERGED && mh_node_confirm(way->space, &other) == MHEAP_OK)
    return merge(way->space, above, position, node, &other) == MHEAP_OK;
  if (position == 0 || mh_node_branch(above, position - 1)->child == node->offset ||
      mh_tree_child(way->space, above, position - 1, &other) ||
      node->count + other.count > MERGED || mh_node_confirm(way->space, &other))
    return false;
  way->place.position[level + 1]--;
  return merge(way->space, above, position - 1, &other, node) == MHEAP_OK;
}

/* A top node with one branch is none. */
static void lose_tops(way *way) {
  for (unsigned level = way->place.levels - 1; level > 0 && way->nodes[level].count == 1; level--) {
    const mh_branch *branch = mh_node_branch(&way->nodes[level], 0);
    mh_node child;
    uint64_t key = branch->key;
    if (mh_node_open(way->space, branch->child, level - 1, &child)) return;
    mh_store(&way->container->part, child.offset);
    free_node(way->space, way->nodes[level].offset);
    mh_release(way->space, key);
    way->nodes[level - 1] = child;
    if (mh_node_confirm(way->space, &child)) return;
  }
}

/* What fails here leaves a tree that is sound, only not so full. */
static void fill_up(way *way, unsigned level) {
  for (; level + 1 < way->place.levels && way->nodes[level].count <= FEW; level++)
    if (way->nodes[level + 1].count > 1 && !merge_at(way, level)) break;
  lose_tops(way);
}

/* ---- removing ---- */

/* The lowest node that has something else: what is below it goes with the entry. */
static unsigned level_that_stays(const way *way) {
  unsigned level = 0;
  while (level < way->place.levels && way->nodes[level].count == 1) level++;
  return level;
}

static void unpublish(way *way, unsigned level) {
  if (level == way->place.levels) {
    mh_store(&way->container->part, 0);
    return;
  }
  mh_node *node = &way->nodes[level];
  begin_counting(way);
  mh_node_publish(node, mh_order_remove(node->order, way->place.position[level]));
  end_counting(way, level + 1, (uint64_t)-1);
}

/* The keys of branches that are no more, and the nodes below those. */
static void free_below(way *way, unsigned level, const uint64_t *keys) {
  for (unsigned i = 0; i < level; i++) free_node(way->space, way->nodes[i].offset);
  for (unsigned i = 1; i <= level && i < way->place.levels; i++) mh_release(way->space, keys[i]);
}

/* The entry that the way leads to. */
static mheap_err delete_here(way *way, const mh_node *leaf) {
  uint64_t keys[MH_NODE_LEVELS] = {0};
  mh_entry dead = *mh_node_entry(leaf, way->place.position[0]);
  mheap_err failed = confirm_way(way, leaf);
  if (!failed) failed = mh_word_check(way->space, dead.value);
  if (failed) return failed;
  unsigned level = level_that_stays(way);
  for (unsigned i = 1; i <= level && i < way->place.levels; i++) keys[i] = branch_of(way, i)->key;
  unpublish(way, level);
  way->sorted->changes++;
  free_below(way, level, keys);
  if (level < way->place.levels) fill_up(way, level);
  mh_release(way->space, dead.key);
  mh_release(way->space, dead.value);
  return MHEAP_OK;
}

mheap_err mh_sorted_delete(mh_sorted *sorted, const mh_key *key) {
  way way;
  mh_node top, leaf;
  bool equal;
  mheap_err failed = open_to_change(sorted, &way, &top);
  if (failed) return failed;
  if (top.offset == 0) return MHEAP_ERR_NOT_FOUND;
  failed = mh_tree_find(way.space, &top, key, false, &way.place, &leaf, &equal);
  if (failed == MHEAP_ERR_ARGUMENT || (!failed && !equal)) return MHEAP_ERR_NOT_FOUND;
  return failed ? failed : delete_here(&way, &leaf);
}

mheap_err mh_sorted_delete_index(mh_sorted *sorted, uint64_t index, const mh_entry *entry) {
  way way;
  mh_node top, leaf;
  mheap_err failed = open_to_change(sorted, &way, &top);
  if (!failed) failed = mh_sorted_seek_index(sorted, index, &way.place);
  if (failed) return failed;
  if (way.place.levels == 0) return MHEAP_ERR_NOT_FOUND;
  failed = mh_node_open(sorted->space, way.place.node[0], 0, &leaf);
  if (failed) return failed;
  if (way.place.position[0] >= leaf.count) return MHEAP_ERR_NOT_FOUND;
  const mh_entry *found = mh_node_entry(&leaf, way.place.position[0]);
  if (found->key != entry->key || found->value != entry->value) return MHEAP_ERR_NOT_FOUND;
  return delete_here(&way, &leaf);
}

mheap_err mh_sorted_clear(mh_sorted *sorted) {
  way way;
  mh_node top;
  mheap_err failed = open_to_change(sorted, &way, &top);
  if (failed || top.offset == 0) return failed;
  mh_store(&way.container->part, 0);
  sorted->changes++;
  mh_release_part(sorted->space, MH_TYPE_SORTED, top.offset);
  return MHEAP_OK;
}
