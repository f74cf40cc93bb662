/* map.h: the segment map's words (layout.h, "segment map").

   Owns: finding a word, reading its fields, publishing it. Calls region.h. Every word read
   is hostile until mh_map_get has checked it against its neighbours and the region's size. */
#ifndef MHEAP_MAP_H
#define MHEAP_MAP_H

#include "decode.h"
#include "region.h"

/* A word, taken apart. */
typedef struct mh_map_entry {
  mh_map_kind kind; /* FREE also for a BODY that no head covers */
  uint64_t head;    /* HUGE, BODY: first segment of the span; else the segment itself */
  uint64_t count;   /* HUGE, BODY: segments in the span; else 1 */
  uint32_t pages;   /* HUGE, BODY: pages used in the last segment, 1 to 1024 */
  uint32_t heap;    /* HUGE, BODY: row of the heap table */
  uint32_t arena;   /* SLICES, HUGE: row of the arena table */
  uint32_t hint;    /* SLICES: MH_MAP_HINT_* */
  uint32_t epoch;   /* SLICES */
} mh_map_entry;

/* Segments that have room in the region, a partial last one included. */
uint64_t mh_map_segments(const mh_region *region);

/* The entry of `segment` < mh_map_segments. A word that contradicts itself or the region's
   size is MHEAP_ERR_CORRUPT. */
mheap_err mh_map_get(mh_region *region, uint64_t segment, mh_map_entry *entry, mheap_error *error);

/* Do these segments lie in the region, each with a word of its own? */
bool mh_map_reaches(mh_region *region, uint64_t first, uint64_t count);
/* The word itself; NULL when no part of the map holds it yet (the segment is FREE). */
uint64_t *mh_map_word(mh_region *region, uint64_t segment, mheap_error *error);
/* Offset in the file of a segment's word, for messages; 0 when there is no part for it. */
uint64_t mh_map_word_offset(mh_region *region, uint64_t segment);

uint64_t mh_map_slices(uint32_t arena, uint32_t epoch, uint32_t hint);
uint64_t mh_map_huge(uint32_t arena, uint32_t heap, uint32_t pages, uint64_t count);
uint64_t mh_map_body(uint64_t back);

/* The bytes a huge span's block has: usable size. */
static inline uint64_t mh_map_huge_bytes(const mh_map_entry *entry) {
  return mh_huge_bytes(entry->count, entry->pages);
}
/* The row of the arena a segment belongs to. */
static inline uint32_t mh_map_arena_of(const mh_region *region, uint64_t segment) {
  for (uint32_t row = 1; row < region->arena_rows; row++)
    if (segment >= region->ranges[row].first && segment < region->ranges[row].end) return row;
  return 0;
}
/* Offset of a segment's first byte. */
static inline uint64_t mh_segment_offset(uint64_t segment) { return MH_SLICE + segment * MH_SEGMENT; }

#endif
