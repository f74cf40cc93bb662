/* marks.h: where mheap itself has stored since it was last asked.

   Owns: mh_marks, a byte for each 64 KiB of addresses modulo 16 GiB, so that a store is marked without
   knowing its region; slices that share a byte are looked at together. Calls nothing. While no raw
   address of a region was ever handed out, only what is marked can have changed there: so a commit costs
   what was touched, in a heap of any size. Who stores to a region marks it: mh_publish does; the bitmaps of
   slabs, and blocks that are filled by plain stores, are marked where objects' blocks come and go, and
   where lanes fold and find. Raw blocks' callers need not: see region->named_base.

   Bytes are set by any thread; gathering them is excluded from calls that change the heap. */
#ifndef MHEAP_MARKS_H
#define MHEAP_MARKS_H

#include <stdatomic.h>
#include <stdbool.h>

#include "layout.h"

#define MH_MARKS ((uint64_t)1 << 18)
#define MH_MARKS_TOGETHER 64 /* a line of the cache */

extern _Atomic uint8_t mh_marks[MH_MARKS];
extern _Atomic uint8_t mh_marks_some[MH_MARKS / MH_MARKS_TOGETHER]; /* of as many: is one set? */

static inline void mh_mark_slice(uint64_t slice) {
  slice &= MH_MARKS - 1;
  atomic_store_explicit(&mh_marks[slice], 1, memory_order_relaxed);
  atomic_store_explicit(&mh_marks_some[slice / MH_MARKS_TOGETHER], 1, memory_order_relaxed);
}
static inline void mh_mark(const void *address) { mh_mark_slice((uintptr_t)address >> MH_SLICE_BITS); }
static inline void mh_mark_range(const void *address, uint64_t length) {
  uint64_t from = (uint64_t)(uintptr_t)address >> MH_SLICE_BITS,
           to = ((uint64_t)(uintptr_t)address + length - 1) >> MH_SLICE_BITS;
  if (to - from >= MH_MARKS) to = from + MH_MARKS - 1;
  for (; from <= to; from++) mh_mark_slice(from);
}

/* ---- memory whose address is out ----
   Somebody else stores there whenever he likes, in a region none of whose raw addresses are out otherwise:
   it is marked each time that marks are gathered, and once more when it ends. */
typedef struct mh_out {
  const void *address;
  uint64_t length; /* 0: nothing is marked */
  struct mh_out *previous, *next;
} mh_out;

void mh_out_begin(mh_out *out);
void mh_out_end(mh_out *out);
/* Is none in [start, start + length)? Then none begins until mh_out_unlock. */
bool mh_out_lock(const void *start, uint64_t length);
void mh_out_unlock(void);
/* Who forks has the lock, the last in the order, so that the child can go on. */
void mh_marks_before_fork(void);
void mh_marks_after_fork(void);

/* Slices modulo MH_MARKS, from a region's start. */
typedef struct mh_marked_bits {
  uint64_t bits[MH_MARKS / 64];
  uint64_t some[MH_MARKS / 64 / 64]; /* of words of `bits`: is it not 0? */
} mh_marked_bits;

/* The marks of one region since they were cleared. */
typedef struct mh_marked {
  mh_marked_bits of;
  const char *base;
  struct mh_marked *next;
} mh_marked;

void mh_marked_add(mh_marked *marked, const char *base);
void mh_marked_remove(mh_marked *marked);
/* Everybody's marks go to everybody who was added. */
void mh_marked_gather(void);
void mh_marked_clear(mh_marked *marked);
/* Moves them out, over what was taken before; the next call moves them back, beside those that came
   meanwhile. */
void mh_marked_take(mh_marked *marked, mh_marked_bits *taken);
void mh_marked_put_back(mh_marked *marked, mh_marked_bits *taken);
/* The next run of marked slices in [*from, end); its length, 0: none. */
uint64_t mh_marked_next(const mh_marked *marked, uint64_t *from, uint64_t end);

#endif
