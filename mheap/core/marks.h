/* marks.h: where mheap itself has stored since it was last asked.

   Owns: mh_marks, a byte for each 64 KiB of addresses modulo 4 GiB, so that a store is marked without
   knowing its region; slices that share a byte are looked at together. Calls nothing. While no raw
   address of a region was ever handed out, only what is marked can have changed there: so a commit costs
   what was touched, in a heap of any size. Who stores to a region marks it: mh_publish does; the bitmaps of
   slabs, and blocks that are filled by plain stores, are marked where objects' blocks come and go, and
   where lanes fold and find. Raw blocks' callers need not: see region->named_base.

   Bytes are set by any thread; gathering them is excluded from calls that change the heap. */
#ifndef MHEAP_MARKS_H
#define MHEAP_MARKS_H

#include <stdatomic.h>

#include "layout.h"

#define MH_MARKS 65536

extern _Atomic uint8_t mh_marks[MH_MARKS];

static inline void mh_mark(const void *address) {
  atomic_store_explicit(&mh_marks[(uintptr_t)address >> MH_SLICE_BITS & (MH_MARKS - 1)], 1,
                        memory_order_relaxed);
}
static inline void mh_mark_range(const void *address, uint64_t length) {
  uint64_t from = (uint64_t)(uintptr_t)address >> MH_SLICE_BITS,
           to = ((uint64_t)(uintptr_t)address + length - 1) >> MH_SLICE_BITS;
  if (to - from >= MH_MARKS) to = from + MH_MARKS - 1;
  for (; from <= to; from++) atomic_store_explicit(&mh_marks[from & (MH_MARKS - 1)], 1, memory_order_relaxed);
}

/* The marks of one region, as bits, since they were cleared. */
typedef struct mh_marked {
  uint64_t bits[MH_MARKS / 64];      /* of slices modulo MH_MARKS, from the region's start */
  uint64_t some[MH_MARKS / 64 / 64]; /* of words of `bits`: is it not 0? */
  const char *base;
  struct mh_marked *next;
} mh_marked;

void mh_marked_add(mh_marked *marked, const char *base);
void mh_marked_remove(mh_marked *marked);
/* Everybody's marks go to everybody who was added. */
void mh_marked_gather(void);
void mh_marked_clear(mh_marked *marked);
/* Clears them, but for the next call, which has them again beside those that came meanwhile. */
void mh_marked_take(mh_marked *marked, uint64_t taken[MH_MARKS / 64]);
void mh_marked_put_back(mh_marked *marked, const uint64_t taken[MH_MARKS / 64]);
/* The next run of marked slices in [*from, end); its length, 0: none. */
uint64_t mh_marked_next(const mh_marked *marked, uint64_t *from, uint64_t end);

#endif
