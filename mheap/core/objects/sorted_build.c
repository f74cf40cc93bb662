/* sorted_build.c: see sorted.h. A sorted dict that is filled in the order of its keys: the last node of each
   level is known, so that no key is looked for, and nodes are full when the next begins. Counts of the
   branches to them are stored then; until the end `pending` says that others are wrong. */
#include "sorted_tree.h"

void mh_sorted_build_begin(mh_sorted *sorted, mh_sorted_build *build) {
  build->levels = 0;
  sorted->build = build;
}

static mh_container *container_of(const mh_sorted *sorted) {
  return mh_at(sorted->space->region, sorted->offset);
}

static void put_entry(mh_node *leaf, mh_entry what) {
  mh_entry *entry = &leaf->entries[leaf->count];
  *entry = what;
  mh_mark_range(entry, sizeof *entry);
  mh_node_publish(leaf, mh_order_first(leaf->count + 1));
}

static void put_branch(mh_node *node, uint64_t key, const mh_node *child, uint64_t count) {
  mh_branch *branch = &node->branches[node->count];
  *branch = (mh_branch){.key = key, .child = child->offset, .count = count};
  mh_mark_range(branch, sizeof *branch);
  mh_node_publish(node, mh_order_first(node->count + 1));
}

/* Nothing more comes below the last branch of a level. */
static void count_last(mh_sorted_build *build, unsigned level) {
  mh_node *node = &build->nodes[level];
  mh_store(&node->branches[node->count - 1].count, mh_node_sum(&build->nodes[level - 1]));
}

static mheap_err new_top(mh_sorted *sorted, const mh_node *right, uint64_t key) {
  mh_sorted_build *build = sorted->build;
  const mh_node *left = &build->nodes[build->levels - 1];
  mh_node *top = &build->nodes[build->levels];
  mheap_err failed = mh_node_new(sorted->space, build->levels, top);
  if (failed) return failed;
  put_branch(top, MH_CONST_NONE, left, mh_node_sum(left));
  put_branch(top, key, right, 0);
  mh_store(&container_of(sorted)->pending, 1);
  mh_store(&container_of(sorted)->part, top->offset);
  build->levels++;
  return MHEAP_OK;
}

/* Another node comes behind the last one of its level. The key, with its reference, separates them. */
static mheap_err attach(mh_sorted *sorted, const mh_node *node, uint64_t key) {
  mh_sorted_build *build = sorted->build;
  unsigned level = node->level + 1;
  mheap_err failed = MHEAP_OK;
  if (level < build->levels) count_last(build, level);
  if (level == build->levels) failed = new_top(sorted, node, key);
  else if (build->nodes[level].count < MH_NODE_PLACES) put_branch(&build->nodes[level], key, node, 0);
  else {
    mh_node above;
    failed = mh_node_new(sorted->space, level, &above);
    if (failed) return failed;
    put_branch(&above, MH_CONST_NONE, node, 0);
    failed = attach(sorted, &above, key);
    if (failed) mh_block_free(sorted->space, above.offset);
  }
  if (!failed) build->nodes[node->level] = *node;
  return failed;
}

static mheap_err add_leaf(mh_sorted *sorted, mh_entry entry) {
  mh_node leaf;
  mheap_err failed = mh_node_new(sorted->space, 0, &leaf);
  if (failed) return failed;
  put_entry(&leaf, entry);
  if (sorted->build->levels == 0) {
    sorted->build->nodes[0] = leaf;
    sorted->build->levels = 1;
    mh_store(&container_of(sorted)->part, leaf.offset);
    return MHEAP_OK;
  }
  failed = mh_retain(sorted->space, entry.key);
  if (!failed && (failed = attach(sorted, &leaf, entry.key))) mh_release(sorted->space, entry.key);
  if (failed) mh_block_free(sorted->space, leaf.offset);
  return failed;
}

bool mh_build_takes(const mh_sorted *sorted, const mh_key *key) {
  const mh_sorted_build *build = sorted->build;
  int order = 1;
  if (build->levels == 0) return true;
  const mh_node *leaf = &build->nodes[0];
  return mh_order(sorted->space, key, mh_node_key(leaf, leaf->count - 1), &order) == MHEAP_OK && order > 0;
}

mheap_err mh_build_add(mh_sorted *sorted, const mh_key *key, uint64_t value) {
  mh_node *leaf = &sorted->build->nodes[0];
  mh_entry entry = {.value = value};
  mheap_err failed = mh_key_store(sorted->space, key, &entry.key);
  if (failed) return failed;
  if (sorted->build->levels > 0 && leaf->count < MH_NODE_PLACES) put_entry(leaf, entry);
  else failed = add_leaf(sorted, entry);
  if (failed) mh_release(sorted->space, entry.key);
  else sorted->changes++;
  return failed;
}

void mh_sorted_build_end(mh_sorted *sorted) {
  mh_sorted_build *build = sorted->build;
  sorted->build = NULL;
  if (build == NULL || build->levels < 2) return;
  for (unsigned level = 1; level < build->levels; level++) count_last(build, level);
  mh_store(&container_of(sorted)->pending, 0);
}
