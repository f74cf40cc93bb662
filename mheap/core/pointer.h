/* pointer.h: functions that are given a block, and no heap.

   Owns nothing. Calls radix.h, block.h, heap.h. What they refuse can be read as the
   last error of the default heap, since the caller names no other; if the address is in some
   heap's region, of that heap too. */
#ifndef MHEAP_POINTER_H
#define MHEAP_POINTER_H

#include "heap.h"

/* The heap that answers for this address: whose block it is or was. NULL with an error outside
   all heaps, and for a block of objects, which no raw call may touch. */
mheap *mh_pointer_heap(const void *address);
/* The same, of any subprocess: for a caller who names what it should be part of. */
mheap *mh_pointer_heap_anywhere(const void *address);

/* Makes `heap`'s last error the default heap's; returns its code. */
mheap_err mh_pointer_fail(const mheap *heap);
/* The code of the default heap's last error. */
mheap_err mh_pointer_error(void);

#endif
