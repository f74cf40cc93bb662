/* marks.h: where mheap itself has stored since it was last asked.

   Owns: mh_marks, a byte for each page of addresses modulo 16 GiB, so that a store is marked without
   knowing its region; pages that share a byte are looked at together. Calls nothing. While no raw
   address of a region was ever handed out, only what is marked can have changed there: so a commit costs
   what was touched, in a heap of any size. Who stores to a region marks it: mh_publish does; the header of
   a segment is marked as a whole where objects' blocks come and go, and where lanes fold and find; blocks
   that are filled by plain stores are where that is done. Raw blocks' callers need not: see
   region->named_base.

   Bytes are set by any thread; gathering them is excluded from calls that change the heap, but not from those
   that change another: what is found set further up says that what it is for is set, too. */
#ifndef MHEAP_MARKS_H
#define MHEAP_MARKS_H

#include <stdatomic.h>
#include <stdbool.h>

#include "layout.h"

#define MH_MARKS ((uint64_t)1 << 18) /* slices */
#define MH_MARKS_TOGETHER 64 /* a line of the cache */

extern _Atomic uint8_t mh_marks[MH_MARKS * MH_SLICE_PAGES];
extern _Atomic uint8_t mh_marks_slices[MH_MARKS];                  /* of their pages: is one set? */
extern _Atomic uint8_t mh_marks_some[MH_MARKS / MH_MARKS_TOGETHER]; /* of as many slices */

static inline void mh_mark_page(uint64_t page) {
  page &= MH_MARKS * MH_SLICE_PAGES - 1;
  uint64_t slice = page / MH_SLICE_PAGES;
  atomic_store_explicit(&mh_marks[page], 1, memory_order_relaxed);
  atomic_store_explicit(&mh_marks_slices[slice], 1, memory_order_release);
  atomic_store_explicit(&mh_marks_some[slice / MH_MARKS_TOGETHER], 1, memory_order_release);
}
static inline void mh_mark(const void *address) { mh_mark_page((uintptr_t)address / MH_PAGE); }
static inline void mh_mark_range(const void *address, uint64_t length) {
  uint64_t from = (uintptr_t)address / MH_PAGE, to = ((uintptr_t)address + length - 1) / MH_PAGE;
  if (to - from >= MH_MARKS * MH_SLICE_PAGES) to = from + MH_MARKS * MH_SLICE_PAGES - 1;
  for (; from <= to; from++) mh_mark_page(from);
}
/* All pages of the slice that an address is in. */
static inline void mh_mark_slice(const void *address) {
  mh_mark_range((const void *)((uintptr_t)address / MH_SLICE * MH_SLICE), MH_SLICE);
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
  uint16_t pages[MH_MARKS];          /* which of a slice; 0 if that has no bit */
} mh_marked_bits;
static_assert(MH_SLICE_PAGES == 16, "pages");

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
static inline bool mh_marked_page(const mh_marked *marked, uint64_t offset) {
  return marked->of.pages[offset / MH_SLICE % MH_MARKS] >> offset / MH_PAGE % MH_SLICE_PAGES & 1;
}

#endif
