/* counts.h: how many blocks a heap handed out, and the most that were in use, in this process.

   Owns the counts in heaps and lanes; nothing of them is stored. Calls classes.h. Nothing is counted
   on the fast paths: a lane takes the free blocks of a bitmap word at once, and what it has handed
   out is what it took less what is ready. Since a lane takes a new slab only when its others are
   full, and words of a slab in order, the words that it has ever used tell the most blocks that were
   in use at once: never too few, and more by less than a slab for each thread.

     handed out = past + sum over lanes (taken - ready)
     touched    = sum over slabs of lanes (blocks in words that were used), now; its maximum is the peak

   Lanes' counts are written by their threads and read by any; `past` and `before` under heap->lock,
   counts of spans under region->lock. */
#ifndef MHEAP_COUNTS_H
#define MHEAP_COUNTS_H

#include <stdatomic.h>
#include <stdint.h>

#include "mheap/mheap.h"

struct mh_slab;
struct mh_lane;

/* All spans, or all huge spans: in use now less those that were at attach, the most of that, and all made. */
typedef struct mh_span_count {
  int64_t now, peak;
  uint64_t total;
} mh_span_count;

typedef struct mh_counts { /* of a heap */
  _Atomic int64_t touched[MHEAP_CLASSES];
  _Atomic int64_t peak[MHEAP_CLASSES]; /* of `touched`; that of the words in use now is not in it yet */
  uint64_t past[MHEAP_CLASSES];        /* handed out by lanes that are none of this heap's any more */
  uint64_t before[MHEAP_CLASSES];      /* handed out until the counts were reset */
  mh_span_count blocks[2], bytes[2];   /* spans, huge spans */
} mh_counts;

typedef struct mh_lane_counts {
  _Atomic uint64_t taken[MHEAP_CLASSES];
  _Atomic uint64_t fresh[2];      /* bit a class: the bin's word was not used before */
  uint64_t merged[MHEAP_CLASSES]; /* handed out until the thread came, or merged its counts */
} mh_lane_counts;

/* Bits that are set; without the instruction the compiler would call a function. */
static inline uint32_t mh_bits(uint64_t bits) {
  const uint64_t pairs = 0x5555555555555555, fours = 0x3333333333333333, eights = 0x0f0f0f0f0f0f0f0f;
  bits -= bits >> 1 & pairs;
  bits = (bits & fours) + (bits >> 2 & fours);
  return (uint32_t)(((bits + (bits >> 4)) & eights) * 0x0101010101010101 >> 56);
}

/* ---- by a lane's thread ---- */

/* Of a count that this thread alone changes. */
static inline void mh_count_more(_Atomic uint64_t *count, uint64_t more) {
  uint64_t now = atomic_load_explicit(count, memory_order_relaxed);
  atomic_store_explicit(count, now + more, memory_order_relaxed);
}
static inline bool mh_counts_is_fresh(const mh_lane_counts *counts, uint32_t class) {
  const _Atomic uint64_t *bits = &counts->fresh[class / 64];
  return atomic_load_explicit((_Atomic uint64_t *)(uintptr_t)bits, memory_order_relaxed) >> class % 64 & 1;
}

/* A bin takes the free blocks of a word. */
static inline void mh_counts_take(mh_lane_counts *counts, uint32_t class, uint64_t ready) {
  mh_count_more(&counts->taken[class], mh_bits(ready));
}
/* That word was not used before. */
void mh_counts_touch(struct mh_lane *lane, struct mh_slab *slab, uint32_t word);

void mh_counts_leave_slowly(struct mh_lane *lane, uint32_t class, uint64_t ready);
/* A bin gives its word up, in which these are still free; seldom any, and seldom in a fresh one. */
static inline void mh_counts_leave(struct mh_lane *lane, mh_lane_counts *counts, uint32_t class,
                                   uint64_t ready) {
  if (ready != 0 || mh_counts_is_fresh(counts, class)) mh_counts_leave_slowly(lane, class, ready);
}
/* A slab that the file held comes to a lane, or one goes. */
void mh_counts_adopt(mheap *heap, struct mh_slab *slab);
void mh_counts_retire(struct mh_lane *lane, struct mh_slab *slab);
/* A thread takes the lane. */
void mh_counts_begin(struct mh_lane *lane);

/* ---- lanes and heaps that go; with heap->lock of `to` ---- */

/* What a lane handed out stays counted in this heap. */
void mh_counts_keep(mheap *to, struct mh_lane *lane);
/* The same for all that a heap has counted; `blocks_too`: those in use become this heap's. */
void mh_counts_give(mheap *to, mheap *from, bool blocks_too);

/* ---- spans; with region->lock ---- */

typedef enum mh_span_kind { MH_COUNT_SPAN = 0, MH_COUNT_HUGE = 1 } mh_span_kind;

static inline void mh_count_add(mh_span_count *count, int64_t more, bool is_new) {
  count->now += more;
  if (count->now > count->peak) count->peak = count->now;
  if (is_new) count->total += (uint64_t)more;
}
void mh_counts_span_made(mheap *heap, mh_span_kind kind, uint64_t bytes);
void mh_counts_span_resized(mheap *heap, mh_span_kind kind, uint64_t from, uint64_t to);
void mh_counts_span_freed(mheap *heap, mh_span_kind kind, uint64_t bytes);

/* ---- reading ---- */

/* Blocks of a class that the lane has handed out in all. */
uint64_t mh_counts_of_lane(const struct mh_lane *lane, uint32_t class);
/* Adds what the heap counted. Peaks of spans are added as what they exceed those in use now by. */
void mh_counts_read(mheap *heap, mheap_stats *stats);
void mh_counts_reset(mheap *heap);

#endif
