/* parts.h: heaps that use several regions.

   A heap of a subprocess's own memory may spread: over the shared arenas reserved for the subprocess,
   which it uses first, over the region it was made in, its home, and over more such regions when
   home is full. In each it has a row, with a handle of its own, its part there: lanes, slabs and all else
   are those of parts. `whole` leads from a part to the heap that users know, which is the part at
   home; callers never see another. The order of the parts is the order in which space is asked for.

   The main heap has a part in every region, from the region's beginning on; another heap gets one where
   it needs it. Its home is that of the main heap or, when the heap table there is full, the first of the
   main heap's other regions that has a row left, or a new one. Arenas are nobody's home unasked.

   A part that is `closed` hands no space out: that of the main heap in an exclusive arena, where it
   has the blocks of deleted heaps.

   Owns: the chains (heap->parts, ->next_part), making and removing parts, regions that are added: for
   space, of the size that is usual, or for the rows of their heap table, small ones.
   Calls heap.h, heaps.c, lane.h, registry.h, subproc.h. Chains are changed under the lock `making` and read
   without: who goes through one may come to a part that was just taken out, whose handle therefore
   stays as long as its heap. mh_part_enter keeps the region of a part. */
#ifndef MHEAP_PARTS_H
#define MHEAP_PARTS_H

#include "heap.h"

static inline mheap *mh_part_load(mheap *_Atomic const *link) {
  return atomic_load_explicit((mheap * _Atomic *)(uintptr_t)link, memory_order_acquire);
}
/* The parts of a heap, in order. A heap in one region has one, itself. */
static inline mheap *mh_part_first(mheap *whole) {
  mheap *first = mh_part_load(&whole->parts);
  return first != NULL ? first : whole;
}
static inline mheap *mh_part_next(mheap *part) { return mh_part_load(&part->next_part); }
static inline bool mh_parts_are_many(const mheap *heap) { return mh_part_load(&heap->whole->parts) != NULL; }
/* Could its heap get more room than its region has? */
static inline bool mh_parts_spread(const mheap *heap) { return heap->whole->spreads; }

/* The part in whose region an address lies; if it is in none, home. */
mheap *mh_part_at_slowly(mheap *whole, const void *address);
static inline mheap *mh_part_at(mheap *heap, const void *address) {
  return mh_parts_are_many(heap) ? mh_part_at_slowly(heap->whole, address) : heap->whole;
}

/* What named roots store of a block is its distance from the base of home. In memory it may lie in another
   part: then it is any number, which means what it says until that part's region is gone. */
static inline void *mh_part_address(const mheap *heap, uint64_t distance) {
  return (void *)((uintptr_t)heap->region->base + distance);
}
static inline bool mh_part_reaches(mheap *heap, uint64_t distance) {
  return mh_parts_are_many(heap) && mh_part_at(heap, mh_part_address(heap, distance)) != heap->whole;
}

/* A handle that is used for a heap from now on is a part of nothing else. */
void mh_part_reset(mheap *heap);

/* Between these two the part's region stays; false: it is going. Home always stays. */
bool mh_part_enter(mheap *part);
void mh_part_leave(mheap *part);

/* Asks the parts in turn; where all are full, another region is added. */
void *mh_parts_malloc(mheap *whole, size_t size, size_t alignment);

/* A heap like the one whose row's head is given, where `region` has no row left for it: in another of its
   subprocess. NULL: it has none, or no memory. */
mheap *mh_parts_new_home(mh_region *region, uint64_t head, mheap_error *error);
/* A heap that was just made at home: it gets its parts. */
void mh_parts_join(mheap *heap);
/* Before a heap goes: `each` is called with its parts but the one at home; they are none any more. */
void mh_parts_part_with(mheap *whole, void (*each)(mheap *part));

/* A region that is one arena now belongs to the subprocess it was made in; `heap` is its main heap. */
void mh_parts_add_arena(mheap *heap);
/* Before it is released: MHEAP_ERR_BUSY while it is in use. */
mheap_err mh_parts_remove_arena(mheap *heap, int number, mheap_error *error);

#endif
