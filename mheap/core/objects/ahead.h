/* ahead.h: asks memory ahead for objects that will be looked at, so that many lines are waited for at once,
   not one after the other. Calls ../prefetch.h, blocks.h. Takes no lock.

   On a heap that has aged each object is a line, or two, that no cache holds, 0.2 µs away; two dozen are
   brought in together in hardly more time. A queue says what comes: of an object in it first its own line
   is asked for, some objects later its part's, then what that refers to, each with what who asks knows of
   it, and with the bits that say that its block is in use.

   Nothing has been checked yet: what is read lies in the region, and leads to no more than lines asked for,
   of memory that need not even be there. */
#ifndef MHEAP_OBJECTS_AHEAD_H
#define MHEAP_OBJECTS_AHEAD_H

#include <stddef.h>

#include "blocks.h"

typedef struct mh_ahead {
  const mh_region *region;
  uint64_t size;           /* of the region, or less: behind it nothing is read */
  const void *beside;      /* a table of who asks: of a block its byte `offset >> shift` is asked for */
  unsigned shift;
  const mh_blocks *blocks; /* NULL: bits are not asked for */
} mh_ahead;

/* What these words refer to. */
void mh_ahead_words(const mh_ahead *ahead, const uint64_t *words, uint64_t count);
/* Of the objects that come next: `left` of them, next[0], next[step]…, each a reference or an offset. */
void mh_ahead_queue(const mh_ahead *ahead, const uint64_t *next, ptrdiff_t step, uint64_t left);

#endif
