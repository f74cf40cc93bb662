/* node.h: a node of a sorted dict's tree: read, checked, made; and the word that tells which of its places
   are in use, in which order. Calls space.h. Takes no lock. */
#ifndef MHEAP_OBJECTS_NODE_H
#define MHEAP_OBJECTS_NODE_H

#include "space.h"

/* ---- orders ---- */

#define MH_ORDER_EMPTY 0xedcba98765432100u /* 0 to 14 */

static inline unsigned mh_order_count(uint64_t order) { return order & 15; }
/* The place at this position, below MH_NODE_PLACES. */
static inline unsigned mh_order_at(uint64_t order, unsigned position) {
  return order >> (4 + 4 * position) & 15;
}
/* The first `count` places in use, in that order. */
static inline uint64_t mh_order_first(unsigned count) { return MH_ORDER_EMPTY | count; }

static inline uint64_t mh_order_below(unsigned position) { return ((uint64_t)1 << 4 * position) - 1; }

/* Uses the first free place at `position`. There must be one. */
static inline uint64_t mh_order_insert(uint64_t order, unsigned position) {
  unsigned count = mh_order_count(order);
  uint64_t places = order >> 4, low = mh_order_below(position), used = mh_order_below(count);
  uint64_t rest = places & ~mh_order_below(count + 1), moved = (places & used & ~low) << 4;
  return (rest | moved | (places >> 4 * count & 15) << 4 * position | (places & low)) << 4 | (count + 1);
}
/* The place at `position` becomes the first free one. */
static inline uint64_t mh_order_remove(uint64_t order, unsigned position) {
  unsigned last = mh_order_count(order) - 1;
  uint64_t places = order >> 4, low = mh_order_below(position), used = mh_order_below(last + 1);
  uint64_t moved = (places & used & ~mh_order_below(position + 1)) >> 4;
  return ((places & ~used) | (places >> 4 * position & 15) << 4 * last | moved | (places & low)) << 4 | last;
}
static inline uint64_t mh_order_swap(uint64_t order, unsigned a, unsigned b) {
  uint64_t differ = mh_order_at(order, a) ^ mh_order_at(order, b);
  return order ^ differ << (4 + 4 * a) ^ differ << (4 + 4 * b);
}
/* The places in use as bits. */
static inline uint32_t mh_order_places(uint64_t order) {
  uint32_t places = 0;
  for (unsigned i = 0; i < mh_order_count(order); i++) places |= (uint32_t)1 << mh_order_at(order, i);
  return places;
}

/* ---- nodes ---- */

/* As read: `order` has places below MH_NODE_PLACES only. */
typedef struct mh_node {
  mh_node_block *block;
  uint64_t offset, order;
  unsigned level, count;
  union {
    mh_entry *entries;   /* of a leaf */
    mh_branch *branches; /* of any other */
  };
} mh_node;

static inline uint64_t mh_node_bytes(unsigned level) {
  return sizeof(mh_node_block) + MH_NODE_PLACES * (level == 0 ? sizeof(mh_entry) : sizeof(mh_branch));
}

mheap_err mh_node_refused(mh_space *space, uint64_t offset, unsigned level);

/* Of the level that it must have. */
static inline mheap_err mh_node_open(mh_space *space, uint64_t offset, unsigned level, mh_node *node) {
  if (offset % 16 != 0 || !mh_in_region(space->region, offset, mh_node_bytes(level)))
    return mh_node_refused(space, offset, level);
  mh_node_block *block = mh_at(space->region, offset);
  uint64_t order = mh_read(&block->order), all = order >> 4;
  uint64_t none = all & all >> 1 & all >> 2 & all >> 3 & 0x0111111111111111u; /* a place of all four bits */
  if (mh_read(&block->head) != mh_head(0, MH_TYPE_NODE, level) || none != 0)
    return mh_node_refused(space, offset, level);
  node->block = block;
  node->offset = offset;
  node->order = order;
  node->level = level;
  node->count = mh_order_count(order);
  node->entries = (mh_entry *)(block + 1);
  return MHEAP_OK;
}
/* The top node, whose level is its own. */
mheap_err mh_node_open_top(mh_space *space, uint64_t offset, mh_node *node);
/* Is it a block in use? For a change. */
mheap_err mh_node_confirm(mh_space *space, const mh_node *node);
/* A new one, in which nothing is yet. */
mheap_err mh_node_new(mh_space *space, unsigned level, mh_node *node);

static inline mh_entry *mh_node_entry(const mh_node *node, unsigned position) {
  return &node->entries[mh_order_at(node->order, position)];
}
static inline mh_branch *mh_node_branch(const mh_node *node, unsigned position) {
  return &node->branches[mh_order_at(node->order, position)];
}
static inline uint64_t mh_node_key(const mh_node *node, unsigned position) {
  const uint64_t *words = (const uint64_t *)node->entries; /* a key is the first of an entry or a branch */
  return mh_read(words + mh_order_at(node->order, position) * (node->level == 0 ? 2u : 3u));
}
/* Entries below, as its branches say. */
uint64_t mh_node_sum(const mh_node *node);
/* By one store the node's places in use are others. */
static inline void mh_node_publish(mh_node *node, uint64_t order) {
  mh_store(&node->block->order, order);
  node->order = order;
  node->count = mh_order_count(order);
}

#endif
