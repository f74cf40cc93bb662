/* node.c: see node.h. */
#include "node.h"

mheap_err mh_node_refused(mh_space *space, uint64_t offset, unsigned level) {
  if (offset % 16 != 0 || !mh_in_region(space->region, offset, mh_node_bytes(level)))
    return mh_corrupt(space, offset, "a node beyond the region", mh_region_size(space->region), offset);
  const mh_node_block *block = mh_at(space->region, offset);
  uint64_t head = mh_head(0, MH_TYPE_NODE, level);
  if (mh_read(&block->head) != head)
    return mh_corrupt(space, offset, "the head of a node at this level", head, mh_read(&block->head));
  return mh_corrupt(space, offset + offsetof(mh_node_block, order), "the order of a node's places",
                    MH_ORDER_EMPTY, mh_read(&block->order));
}

mheap_err mh_node_open_top(mh_space *space, uint64_t offset, mh_node *node) {
  if (offset % 16 != 0 || !mh_in_region(space->region, offset, sizeof(mh_node_block)))
    return mh_node_refused(space, offset, 0);
  uint64_t level = mh_head_length(mh_read((uint64_t *)mh_at(space->region, offset)));
  if (level >= MH_NODE_LEVELS)
    return mh_corrupt(space, offset, "the level of a node", MH_NODE_LEVELS - 1, level);
  return mh_node_open(space, offset, (unsigned)level, node);
}

mheap_err mh_node_confirm(mh_space *space, const mh_node *node) {
  uint64_t usable = mh_block_usable(space, node->offset), bytes = mh_node_bytes(node->level);
  if (usable >= bytes) return MHEAP_OK;
  return mh_corrupt(space, node->offset, "the size of the block in use here", bytes, usable);
}

mheap_err mh_node_new(mh_space *space, unsigned level, mh_node *node) {
  uint64_t offset;
  if (level >= MH_NODE_LEVELS)
    return mh_fail(mh_error(space->heap), MHEAP_ERR_OVERFLOW, "a sorted dict of more than %d levels",
                   MH_NODE_LEVELS);
  mheap_err failed = mh_block_new(space, mh_node_bytes(level), &offset);
  if (failed) return failed;
  mh_node_block *block = mh_at(space->region, offset);
  *block = (mh_node_block){.order = MH_ORDER_EMPTY};
  mh_mark_range(block, mh_node_bytes(level));
  mh_store(&block->head, mh_head(0, MH_TYPE_NODE, level));
  return mh_node_open(space, offset, level, node);
}

uint64_t mh_node_sum(const mh_node *node) {
  uint64_t sum = 0;
  if (node->level == 0) return node->count;
  for (unsigned i = 0; i < node->count; i++) sum += mh_read(&mh_node_branch(node, i)->count);
  return sum;
}
