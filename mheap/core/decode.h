/* decode.h: stored words taken apart, unchecked, for the code that inspects a heap (check,
   stats). Every field is as hostile as the word it came from. Calls nothing. */
#ifndef MHEAP_DECODE_H
#define MHEAP_DECODE_H

#include "segment.h"

/* A slice descriptor's head. */
typedef struct mh_run_head {
  uint32_t kind;  /* mh_slice_kind, or more */
  uint32_t count; /* slices */
  uint32_t class; /* SLAB */
  uint32_t heap;  /* row */
  uint32_t pages; /* SPAN */
  uint32_t rest;  /* bits that have no meaning */
} mh_run_head;

static inline mh_run_head mh_run_head_of(uint64_t word) {
  return (mh_run_head){
      .kind = mh_field(word, 0, MH_HEAD_KIND_BITS),
      .count = mh_field(word, MH_HEAD_COUNT_SHIFT, MH_HEAD_COUNT_BITS),
      .class = mh_field(word, MH_HEAD_CLASS_SHIFT, MH_HEAD_CLASS_BITS),
      .heap = mh_field(word, MH_HEAD_HEAP_SHIFT, MH_HEAD_HEAP_BITS),
      .pages = mh_field(word, MH_HEAD_PAGES_SHIFT, MH_HEAD_PAGES_BITS),
      .rest = (uint32_t)(word >> (MH_HEAD_PAGES_SHIFT + MH_HEAD_PAGES_BITS)),
  };
}

/* A word of a bitmap, which other threads may be changing. */
static inline uint64_t mh_bitmap_word(const uint64_t *word) {
  return atomic_load_explicit((_Atomic uint64_t *)(uintptr_t)word, memory_order_relaxed);
}

/* Of 64 blocks from `first` on, in a slab of `blocks`: the bits that stand for a block. */
static inline uint64_t mh_bitmap_mask(uint32_t first, uint32_t blocks) {
  if (first >= blocks) return 0;
  return blocks - first >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << (blocks - first)) - 1;
}

static inline uint64_t mh_bitmap_used(const mh_bitmaps *maps, uint32_t word, uint32_t blocks) {
  return mh_bitmap_word(&maps->alloc[word]) & ~mh_bitmap_word(&maps->freed[word]) &
         mh_bitmap_mask(64 * word, blocks);
}

#endif
