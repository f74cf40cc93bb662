/* blocks.h: the blocks of objects, for who looks at very many of them. Calls block.h, space.h, os.h. Takes no
   lock but where those do.

   Asking a heap for the size of a block takes its lock and finds its way from the segment map on, each time.
   Here what is known of a slice is kept: 32 bytes each. Where slabs come and go meanwhile, what is said of
   their blocks may be what was, so this is for who copes with objects that change, or for heaps in which
   nothing does. Owns, for its time, that table. Process state only. */
#ifndef MHEAP_OBJECTS_BLOCKS_H
#define MHEAP_OBJECTS_BLOCKS_H

#include "../decode.h"
#include "space.h"

typedef struct mh_blocks_slice { /* that belongs to a slab of objects */
  uint32_t size;                 /* bytes of a block; 0: not known */
  uint32_t reciprocal;           /* as of mh_class */
  uint32_t blocks;
  uint32_t back; /* bytes from the slab's start to the slice's */
  const mh_bitmaps *bits;
} mh_blocks_slice;

typedef struct mh_blocks {
  mh_space *space;
  mh_blocks_slice *slices;
  uint64_t limit; /* bytes of the region when it was opened */
} mh_blocks;

/* False: no memory. */
bool mh_blocks_open(mh_blocks *blocks, mh_space *space);
void mh_blocks_close(mh_blocks *blocks);

uint64_t mh_blocks_usable_slowly(mh_blocks *blocks, uint64_t offset);

/* From the slab's start. */
static inline uint64_t mh_blocks_distance(const mh_blocks_slice *slice, uint64_t offset) {
  return offset % MH_SLICE + slice->back;
}

/* As mh_block_usable. */
static inline uint64_t mh_blocks_usable(mh_blocks *blocks, uint64_t offset) {
  if (offset >= blocks->limit) return mh_blocks_usable_slowly(blocks, offset);
  const mh_blocks_slice *slice = &blocks->slices[offset / MH_SLICE];
  if (slice->size == 0) return mh_blocks_usable_slowly(blocks, offset);
  uint64_t distance = mh_blocks_distance(slice, offset), index = distance * slice->reciprocal >> 32;
  if (index >= slice->blocks || index * slice->size != distance)
    return mh_blocks_usable_slowly(blocks, offset);
  uint64_t used = mh_bitmap_word(&slice->bits->alloc[index / 64]) &
                  ~mh_bitmap_word(&slice->bits->freed[index / 64]);
  return used >> index % 64 & 1 ? slice->size : mh_blocks_usable_slowly(blocks, offset);
}

#endif
