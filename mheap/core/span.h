/* span.h: large blocks: spans of slices, and huge spans of whole segments.

   Owns nothing. Calls arena.h under region->lock. */
#ifndef MHEAP_SPAN_H
#define MHEAP_SPAN_H

#include "block.h"

/* A block of `size` > 0 bytes at a multiple of `alignment` (at least a slice). NULL: no space. */
void *mh_span_malloc(mheap *heap, uint64_t size, uint64_t alignment, mheap_error *error);
mheap_err mh_span_free(mheap *heap, const mh_block *block, mheap_error *error);
/* Resizes where it stands; false: it cannot, and nothing was changed. */
bool mh_span_resize(mheap *heap, const mh_block *block, uint64_t size);
/* Is a block that mh_span_malloc has just given zero throughout, for sure? */
bool mh_span_is_zero(const void *block);
/* Moves the first `length` bytes from huge span to huge span without copying, leaving any in the
   old one's place; false: it cannot, and nothing was changed. */
bool mh_span_move(void *to, void *from, uint64_t length);
/* What mh_span_malloc reserves. */
uint64_t mh_span_good_size(uint64_t size);

#endif
