/* arena.h: the part of a region that slices and segments are taken from.

   Owns: hints about where free space is (process state), growth by segments, the parts of
   the segment map, and the return of space. Calls segment.h, map.h, region.h. The caller
   holds region->lock.

   Policy: the lowest place that fits, so that a file's tail empties. Row 0 of the arena table
   is whatever of the region no other row has (region->ranges). A heap takes space from the one
   arena it was made for (`only`: that row plus 1), or (`only` 0) from all shared ones, those
   that were reserved before row 0. */
#ifndef MHEAP_ARENA_H
#define MHEAP_ARENA_H

#include "map.h"
#include "segment.h"

typedef struct mh_arena {
  uint64_t start[MH_SEGMENT_SLICES]; /* no opened segment below has n free slices in a row */
  uint64_t unseen;                   /* segments from here on were not looked at since attach */
  uint64_t free_from;                /* no segment of it below is FREE */
  uint64_t spare;                    /* a wholly free segment kept for the next run; 0: none */
} mh_arena;

#define MH_ARENA_BYTES (2 * (uint64_t)65536)
static_assert(MH_ARENAS * sizeof(mh_arena) <= MH_ARENA_BYTES, "a record for each row");

mheap_err mh_arena_make(mh_region *region, mheap_error *error);
void mh_arena_drop(mh_region *region);
/* After a rollback: nothing is known of any segment. */
void mh_arena_reset(mh_region *region);

/* Opens the segment of kind SLICES that `segment` is, if it is. */
mheap_err mh_arena_open(mh_region *region, uint64_t segment, mheap_error *error);
/* Opens some segments not yet seen that may have free blocks or slices; false: none left. */
bool mh_arena_open_some(mh_region *region, uint32_t only);
/* Opens every segment there is, once. */
void mh_arena_open_all(mh_region *region);

/* A run that is wanted. */
typedef struct mh_want {
  uint32_t count;   /* slices */
  uint32_t pages;   /* of them to be on disk */
  uint32_t at_once; /* slices, of it and behind it, to be brought in now; 0: as its pages are used */
  uint64_t alignment;
  uint64_t head; /* to be published */
} mh_want;

mh_slab *mh_arena_take(mh_region *region, uint32_t only, const mh_want *want, mheap_error *error);
void mh_arena_give(mh_region *region, mh_slab *run);
/* Grows or shrinks a span in place; false: not possible there. */
bool mh_arena_resize(mh_region *region, mh_slab *run, uint32_t count, uint32_t pages, uint64_t head);
/* Can a run of so many slices have that alignment within a segment? */
bool mh_arena_fits(const mh_region *region, uint32_t count, uint64_t alignment);

/* `count` free segments in a row, at a multiple of `alignment`; *first is the first. */
mheap_err mh_arena_take_segments(mh_region *region, uint32_t only, uint64_t count, uint64_t alignment,
                                 uint64_t *first, mheap_error *error);
/* Are [first, first + count) free segments of the arena that `head` is in, or behind the
   region's end, so that a huge span could grow there? */
bool mh_arena_extend_segments(mh_region *region, uint64_t head, uint64_t first, uint64_t count,
                              mheap_error *error);
/* The segments' words say FREE already; `hole` bytes of them were in use. */
void mh_arena_give_segments(mh_region *region, uint64_t first, uint64_t count);

/* Returns the tail to the file; `force`: also the spare segments. */
void mh_arena_trim(mh_region *region, bool force);
/* Returns the pages of all free slices and segments that are known. */
void mh_arena_punch(mh_region *region);

/* ---- what arenas.c makes of it ---- */

/* Lets the region be `size` bytes long, if it is not. */
mheap_err mh_arena_extend(mh_region *region, uint64_t size, mheap_error *error);
/* Where `count` segments in a row of row 0 are free, or behind the end. UINT64_MAX: nowhere. */
uint64_t mh_arena_place(mh_region *region, uint64_t count);
/* Bytes in use in a row's segments, in slices. */
uint64_t mh_arena_used(mh_region *region, uint32_t row);
/* Are all of these row 0's, and free or behind the end? */
bool mh_arena_is_unused(mh_region *region, uint64_t first, uint64_t end);
/* Makes all segments of a row FREE; false: something is in use there. */
bool mh_arena_empty(mh_region *region, uint32_t row);
/* The map has words for [first, first + count], the segment behind included. */
mheap_err mh_arena_map_words(mh_region *region, uint64_t first, uint64_t count, mheap_error *error);

#endif
