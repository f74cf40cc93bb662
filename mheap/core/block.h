/* block.h: from an address to the block it belongs to.

   Owns nothing. Calls segment.h, map.h, arena.h (segments are opened on the way). Whatever
   pointer it is given, it finds out whether it is the start of a block in use, and if not,
   says what it is instead. */
#ifndef MHEAP_BLOCK_H
#define MHEAP_BLOCK_H

#include "heap.h"
#include "lane.h"
#include "map.h"

typedef enum mh_block_kind { MH_BLOCK_SLAB, MH_BLOCK_SPAN, MH_BLOCK_HUGE } mh_block_kind;

typedef struct mh_block {
  mh_block_kind kind;
  bool in_use;
  char *start;       /* of the block that contains the address */
  size_t size;       /* bytes that may be used */
  uint32_t heap;     /* row */
  mh_slab *run;      /* SLAB, SPAN */
  uint32_t index;    /* SLAB: of the block */
  uint64_t segment;  /* HUGE: the first */
  mh_map_entry huge; /* HUGE */
} mh_block;

/* The block that contains `address`, in use or not. Fails where there is no block: outside,
   in bookkeeping, in free space. */
mheap_err mh_block_find(mheap *heap, const void *address, mh_block *block, mheap_error *error);

/* The same, for a pointer that must be a block's start and in use. */
mheap_err mh_block_at(mheap *heap, const void *address, mh_block *block, mheap_error *error);

/* What is wrong with `address`. */
mheap_err mh_block_refuse(mheap *heap, const void *address, mheap_err code, const char *why,
                          mheap_error *error);

#endif
