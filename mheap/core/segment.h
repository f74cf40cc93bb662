/* segment.h: what a process knows of a segment and its slices, and the runs cut from them.

   Owns: the slab table (region->slabs), one entry of 64 bytes a slice, which can be thrown
   away and rebuilt from the segment's header; it is built when the segment is first used.
   Calls region.h, map.h. The caller holds region->lock unless said otherwise.

   Invariant of an opened segment: bit i of `free` is set iff slice i lies in the region, its
   stored head is 0 and no run covers it. `largest` is at least the longest run of such bits. */
#ifndef MHEAP_SEGMENT_H
#define MHEAP_SEGMENT_H

#include "classes.h"
#include "region.h"

typedef struct mh_lane mh_lane;

typedef enum mh_run_kind {
  MH_RUN_UNKNOWN = 0, /* the segment is not opened */
  MH_RUN_HEADER,      /* slice 0 of an opened segment */
  MH_RUN_FREE,
  MH_RUN_SLAB,
  MH_RUN_SPAN,
  MH_RUN_INTERNAL,
  MH_RUN_BODY, /* `back` slices into one of the three above */
} mh_run_kind;

/* Where a slab is among its lane's. A free has more to do if what it leaves in use of the bitmap word
   is less than this, compared without signs: in no case, if nothing is left, always. */
typedef enum mh_place {
  MH_PLACE_BIN = 0,    /* the bin hands out its blocks: a free needs nothing done */
  MH_PLACE_LIST = 1,   /* in the bin's list of slabs with free blocks: given back when empty */
  MH_PLACE_CLOSED = 2, /* in that of full ones: its free blocks are not this heap's to hand out */
  MH_PLACE_FULL = -1,  /* in that of slabs that had no free block: a free moves it to the other */
} mh_place;

/* A run's first slice; for other slices only `lane` (NULL), `kind` and `back` mean something.
   The fast paths need `lane` to be set only where everything else of a slab is right. */
struct mh_slab {
  _Atomic(mh_lane *) lane;     /* SLAB: who may allocate in it; NULL: nobody yet */
  mh_bitmaps *bits;            /* SLAB */
  uint32_t size;               /* bytes a block; SPAN: of the block */
  uint32_t reciprocal;         /* SLAB: see mh_class */
  uint16_t blocks;             /* SLAB */
  uint8_t class;               /* SLAB */
  uint8_t kind;                /* mh_run_kind */
  int8_t place;                /* SLAB: mh_place; SPAN: was no slice of it dirty? */
  uint8_t back;                /* BODY */
  uint8_t slices;              /* of the run */
  uint8_t words;               /* SLAB: of each bitmap */
  _Atomic uint16_t heap;       /* row of the heap table; changes when its heap is deleted */
  uint8_t backed;              /* SLAB: pages from its start that are known to be on disk; at most 128 */
  uint8_t touched;             /* SLAB: words from the first that its lane has handed out from */
  _Atomic uint32_t queued;     /* SLAB: in a lane's queue of slabs with remote frees */
  struct mh_slab *next, *prev; /* SLAB: in the list of its lane's bin */
  _Atomic(struct mh_slab *) queue_next;
};

/* Slice 0's entry: what is known of the segment. */
typedef struct mh_segment {
  void *no_lane;   /* NULL: the header is nobody's slab */
  uint64_t free;   /* bit a slice */
  uint64_t backed; /* bit a slice: disk space is known to be there */
  uint16_t arena;  /* row */
  uint8_t largest; /* no run of more free slices exists */
  uint8_t kind;    /* MH_RUN_HEADER once opened */
  uint8_t pad[4];
  uint64_t dirty; /* bit a slice: a run was there since its bytes were given back; of free segments
                     and huge spans: not 0 where that is so of any of it */
  uint8_t more[24];
} mh_segment;

static_assert(sizeof(mh_slab) == 64, "one cache line");
static_assert(sizeof(mh_segment) == 64, "one cache line");
static_assert(offsetof(mh_segment, kind) == offsetof(mh_slab, kind), "kind");

/* ---- finding one's way; no lock needed ---- */

static inline mh_segment *mh_segment_of(const mh_region *region, uint64_t segment) {
  return (mh_segment *)&region->slabs[segment * MH_SEGMENT_SLICES];
}
static inline mh_segment_header *mh_segment_header_of(const mh_region *region, uint64_t segment) {
  return (mh_segment_header *)(region->segments + segment * MH_SEGMENT);
}
static inline uint64_t mh_slab_index(const mh_region *region, const mh_slab *slab) {
  return (uint64_t)(slab - region->slabs);
}
static inline char *mh_slab_start(const mh_region *region, const mh_slab *slab) {
  return region->segments + mh_slab_index(region, slab) * MH_SLICE;
}
/* The stored head word of a run. */
uint64_t *mh_slab_head(const mh_region *region, const mh_slab *slab);

/* ---- segments ---- */

/* Writes an empty header for `segment`, whose first slice is mapped, backed and not in use. */
void mh_segment_format(mh_region *region, uint64_t segment);

/* Builds what the process knows of a segment of kind SLICES from its header, every field of
   which is checked. Its slabs become orphans of their heaps (region->orphans), for a lane to
   adopt. Does nothing when it is open. */
mheap_err mh_segment_open(mh_region *region, uint64_t segment, mheap_error *error);
/* Forgets what the process knows, so that the segment can become something else. */
void mh_segment_forget(mh_region *region, uint64_t segment);

/* After growth from old_size: the slices that came. */
void mh_segment_extend(mh_region *region, uint64_t old_size);

/* ---- runs ---- */

/* Where `count` free slices begin whose addresses are multiples of `alignment` (a power of
   two from MH_SLICE to MH_SEGMENT), or 0. */
uint32_t mh_segment_find(mh_region *region, uint64_t segment, uint32_t count, uint64_t alignment);

/* Makes a run of free slices a slab or a span, publishing `head`; fills the entries. */
mh_slab *mh_run_make(mh_region *region, uint64_t segment, uint32_t first, uint64_t head);
/* Frees a run: its head becomes 0. */
void mh_run_free(mh_region *region, mh_slab *run);
/* Resizes a run in place to `count` slices (those after it are free if it grows) with a new head. */
void mh_run_resize(mh_region *region, mh_slab *run, uint32_t count, uint64_t head);

uint64_t mh_head_slab(uint32_t class, uint32_t heap);
/* The head of a run as the row of its heap has it: 0 if that was destroyed, and the main heap's if it
   was deleted, by a process that was killed before it could say so everywhere. */
uint64_t mh_head_settled(const mh_region *region, uint64_t head);
uint64_t mh_head_span(uint32_t slices, uint32_t pages, uint32_t heap);
uint64_t mh_head_internal(uint32_t slices);

#endif
