/* decode.h: stored words taken apart, unchecked. Every field is as hostile as the word it came
   from, until mh_run_head_is_valid, or mh_map_get, has looked at it. Calls nothing. */
#ifndef MHEAP_DECODE_H
#define MHEAP_DECODE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "classes.h"
#include "layout.h"

static inline uint32_t mh_bits_of(uint64_t word, uint32_t shift, uint32_t bits) {
  return (uint32_t)(word >> shift & (((uint64_t)1 << bits) - 1));
}

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
      .kind = mh_bits_of(word, 0, MH_HEAD_KIND_BITS),
      .count = mh_bits_of(word, MH_HEAD_COUNT_SHIFT, MH_HEAD_COUNT_BITS),
      .class = mh_bits_of(word, MH_HEAD_CLASS_SHIFT, MH_HEAD_CLASS_BITS),
      .heap = mh_bits_of(word, MH_HEAD_HEAP_SHIFT, MH_HEAD_HEAP_BITS),
      .pages = mh_bits_of(word, MH_HEAD_PAGES_SHIFT, MH_HEAD_PAGES_BITS),
      .rest = (uint32_t)(word >> (MH_HEAD_PAGES_SHIFT + MH_HEAD_PAGES_BITS)),
  };
}

/* Does it describe a run within the `room` slices from its own on? */
static inline bool mh_run_head_is_valid(const mh_run_head *h, uint32_t room) {
  const uint32_t pages = MH_SLICE / MH_PAGE;
  if (h->count == 0 || h->count > room || h->heap >= MH_HEAPS) return false;
  switch (h->kind) {
    case MH_SLICE_SLAB:
      return h->class < MHEAP_CLASSES && h->count == mh_classes[h->class].slices && h->pages == 0;
    case MH_SLICE_SPAN:
      return h->class == 0 && h->pages > (h->count - 1) * pages && h->pages <= h->count * pages;
    case MH_SLICE_INTERNAL: return h->class == 0 && h->pages == 0;
    default: return false;
  }
}

/* A word of the segment map. */
typedef struct mh_map_fields {
  uint32_t kind;  /* mh_map_kind */
  uint32_t arena; /* SLICES, HUGE: row */
  uint32_t hint;  /* SLICES */
  uint32_t epoch; /* SLICES */
  uint32_t heap;  /* HUGE: row */
  uint32_t pages; /* HUGE: of the last segment, 1 to 1024 */
  uint64_t count; /* HUGE: segments; BODY: how far back the head is */
} mh_map_fields;

static inline mh_map_fields mh_map_fields_of(uint64_t word) {
  return (mh_map_fields){
      .kind = mh_bits_of(word, 0, MH_MAP_KIND_BITS),
      .arena = mh_bits_of(word, MH_MAP_ARENA_SHIFT, MH_MAP_ARENA_BITS),
      .hint = mh_bits_of(word, MH_MAP_HINT_SHIFT, 2),
      .epoch = (uint32_t)(word >> MH_MAP_EPOCH_SHIFT),
      .heap = mh_bits_of(word, MH_MAP_HEAP_SHIFT, MH_MAP_HEAP_BITS),
      .pages = mh_bits_of(word, MH_MAP_PAGES_SHIFT, MH_MAP_PAGES_BITS) + 1,
      .count = mh_bits_of(word, MH_MAP_COUNT_SHIFT, MH_MAP_COUNT_BITS),
  };
}

/* The bytes a huge span of `count` > 0 segments offers. */
static inline uint64_t mh_huge_bytes(uint64_t count, uint32_t pages) {
  return (count - 1) * MH_SEGMENT + pages * MH_PAGE;
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
