/* workload.h: what the tests of commits do to a heap: random blocks in a table at key 0, changed in place,
   replaced and freed, and a digest of all of them. Owns nothing; offsets are stored, so that a copy
   of the file can be attached beside it. */
#ifndef MHEAP_CRASH_WORKLOAD_H
#define MHEAP_CRASH_WORKLOAD_H

#include <stdbool.h>

#include "model.h"

#define WORKLOAD_SLOTS 40

/* Makes the table. */
mheap_err workload_begin(mheap *heap);
/* The serial number that the table has: a state of the heap has one of its own. 0: there is no table. */
uint64_t workload_serial(mheap *heap);
/* The next number; the state that follows is another. */
void workload_step(mheap *heap);
/* One change, with blocks of up to `most` bytes. What fails leaves a free slot, and says why. */
mheap_err workload_change(mheap *heap, uint64_t *random, uint64_t most);
/* Lets a slot have a block of this size, full of this byte: where it has one of that size, in place. */
mheap_err workload_fill(mheap *heap, int number, uint64_t size, int byte);
/* Frees all blocks. */
mheap_err workload_clear(mheap *heap);
/* Of all that is stored; 0: something is not as it can be. */
uint64_t workload_digest(mheap *heap);

#endif
