/* areas.h: the areas of a heap: slabs, and large blocks, each space for blocks of one size.

   Implemented with the other walks, by stats.c. */
#ifndef MHEAP_AREAS_H
#define MHEAP_AREAS_H

#include "heap.h"

typedef struct mh_area {
  char *start;
  uint64_t bytes;      /* it occupies */
  uint64_t usable;     /* bytes of them that are blocks */
  uint64_t used;       /* blocks in use */
  uint64_t block_size; /* bytes */
  bool owned;          /* a thread allocates from it; false of large blocks, which nobody owns */
  bool slab;
} mh_area;

/* block NULL: the area itself. false: stop. */
typedef bool mh_area_fun(void *arg, const mh_area *area, void *block, size_t usable);

/* Calls `visit` for each area of this heap in the order of addresses, and, if `blocks`, for each
   block in use in it. No lock is held meanwhile. */
mheap_err mh_visit_areas(mheap *heap, bool blocks, mh_area_fun *visit, void *arg);

typedef bool mh_block_fun(void *arg, uint64_t offset);

/* Calls `visit` for the blocks in use of this heap, in this region, from the offset *from on to the end of
   that segment, and leaves *from behind them: at a block for which it returned false, else at the next
   segment; UINT64_MAX: there is none. `visit` only looks: the blocks are still what they were. */
mheap_err mh_visit_some_blocks(mheap *heap, uint64_t *from, mh_block_fun *visit, void *arg);
/* The same of its objects' heap, whose error becomes its own. */
mheap_err mh_visit_some_objects(mheap *heap, uint64_t *from, mh_block_fun *visit, void *arg);

#endif
