/* fast.h: malloc and free where nothing is unusual: no lock, no system call, no allocation.

   Owns nothing. Reads a thread's lane, takes blocks out of its bins and puts them back. What
   is unusual (no lane yet, an exhausted bin, another thread's slab, large blocks, hooks, a heap
   that must not be changed) fails one of the tests here and goes the slow way, heap.c's. In a
   header, so that every entry (a heap, the default heap, objects, a process's own malloc) has
   the whole of it inlined: a call more is a third of what malloc costs. */
#ifndef MHEAP_FAST_H
#define MHEAP_FAST_H

#include "lane.h"

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

static inline uint64_t mh_load(const uint64_t *word) {
  return atomic_load_explicit((_Atomic uint64_t *)(uintptr_t)word, memory_order_relaxed);
}

/* The next block of a bin that has one ready. One store hands it out. `ready` is stored as others
   may read it, to count; the empty statement keeps gcc from computing the bin's address anew for
   that, which took five instructions. */
static inline void *mh_take(mh_bin *bin) {
  __asm__("" : "+r"(bin));
  uint64_t ready = bin->ready, i = (uint64_t)__builtin_ctzll(ready);
  atomic_store_explicit((_Atomic uint64_t *)&bin->ready, ready & (ready - 1), memory_order_relaxed);
  atomic_store_explicit((_Atomic uint64_t *)bin->word, mh_load(bin->word) | (uint64_t)1 << i,
                        memory_order_release);
  return bin->block + i * bin->size;
}

/* The class of a size up to MH_SMALL_MAX, by sixteenths: quicker than computing it. */
static inline uint32_t mh_small_class(size_t size) { return mh_small_classes[(size + 15) / 16]; }

/* Out of line: inlined, they made the fast paths save registers on every call. */
mheap_err mh_free_slowly(mheap *heap, void *block);
mheap_err mh_free_remotely(mheap *heap, mh_lane *lane, mh_slab *slab, void *block);

/* Frees the block `distance` bytes into a slab: by plain stores if the slab is this lane's,
   else by one atomic or, after the same checks. */
static inline mheap_err mh_free_in(mheap *heap, mh_lane *lane, mh_slab *slab, void *block, uint32_t distance,
                                   bool own) {
  uint32_t index = (uint32_t)((uint64_t)distance * slab->reciprocal >> 32), i = index / 64;
  uint64_t bit = (uint64_t)1 << index % 64;
  if (unlikely((index * slab->size != distance) | (index >= slab->blocks)))
    return mh_free_slowly(heap, block);
  uint64_t used = mh_load(&slab->bits->alloc[i]);
  if (unlikely((used & ~mh_load(&slab->bits->freed[i]) & bit) == 0)) return mh_free_slowly(heap, block);
  if (!own) return mh_lane_free_remote(lane, slab, i, bit) ? MHEAP_OK : mh_free_slowly(heap, block);
  used &= ~bit;
  atomic_store_explicit((_Atomic uint64_t *)&slab->bits->alloc[i], used, memory_order_release);
  /* One test of all three: whether a bin has the slab is as good as random. */
  if (unlikely((slab->place == MH_PLACE_FULL) | ((slab->place > MH_PLACE_FULL) & (used == 0))))
    mh_lane_freed(lane, slab);
  return MHEAP_OK;
}

/* Frees with the lane that this thread has in `heap`. */
static inline mheap_err mh_free_with(mheap *heap, mh_lane *lane, void *block) {
  uint64_t distance = (uint64_t)((char *)block - lane->segments);
  if (unlikely(distance >= lane->reach)) return mh_free_slowly(heap, block);
  mh_slab *slab = &lane->slabs[distance / MH_SLICE];
  if (likely(atomic_load_explicit(&slab->lane, memory_order_relaxed) == lane))
    return mh_free_in(heap, lane, slab, block, (uint32_t)(distance % MH_SLICE), true);
  return mh_free_remotely(heap, lane, slab, block);
}

#endif
