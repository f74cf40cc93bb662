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

/* The bin of a size up to MH_SMALL_MAX: how far it is from the first is in a table by sixteenths. */
static inline mh_bin *mh_small_bin(mh_lane *lane, size_t size) {
  return (mh_bin *)((char *)lane->bins + mh_small_bins[(size + 15) / 16]);
}

/* Where a free goes that is unusual, and what it returns then. Everything unusual is the last call of
   the function that frees, so that the fast path has no register to save. */
typedef mheap_err mh_free_unusual(mheap *heap, void *block);
typedef mheap_err mh_free_remote(mheap *heap, mh_lane *lane, mh_slab *slab, void *block);
#define MH_FREEING static inline __attribute__((always_inline)) mheap_err

/* Out of line: inlined, they made the fast paths save registers on every call. */
mh_free_unusual mh_free_slowly;
mh_free_remote mh_free_remotely;

/* Is the block in use? Not asked by a mask: a processor tests a bit by its number in one step. */
static inline bool mh_is_in_use(const mh_slab *slab, uint64_t index, uint64_t used) {
  return (used & ~mh_load(&slab->bits->freed[index / 64])) >> index % 64 & 1;
}

/* Which block of a slab begins `distance` bytes into it; UINT64_MAX: none does. The distance is a
   multiple of the size if what is left of its product with the reciprocal is less than that, for
   distances and sizes that are at most 2^16: so those in a slab's later slices are multiplied again. */
static inline uint64_t mh_index_of(const mh_slab *slab, uint64_t distance) {
  uint64_t product = distance * slab->reciprocal, index = product >> 32;
  bool starts = distance < MH_SLICE ? (uint32_t)product < slab->reciprocal : index * slab->size == distance;
  return likely(starts) && likely(index < slab->blocks) ? index : UINT64_MAX;
}

/* Frees the block `distance` bytes into a slab of this lane, by plain stores. */
MH_FREEING mh_free_own(mheap *heap, mh_lane *lane, mh_slab *slab, void *block, uint64_t distance,
                       mh_free_unusual *unusual) {
  uint64_t index = mh_index_of(slab, distance);
  if (unlikely(index == UINT64_MAX)) return unusual(heap, block);
  uint64_t *word = &slab->bits->alloc[index / 64], used = mh_load(word);
  if (unlikely(!mh_is_in_use(slab, index, used))) return unusual(heap, block);
  used &= ~((uint64_t)1 << index % 64);
  atomic_store_explicit((_Atomic uint64_t *)word, used, memory_order_release);
  /* One test for all places: whether a bin has the slab is as good as random. */
  if (unlikely(used < (uint64_t)slab->place)) return mh_lane_freed(lane, slab);
  return MHEAP_OK;
}

/* One of another lane's, by one atomic or, after the same checks. */
MH_FREEING mh_free_others(mheap *heap, mh_lane *lane, mh_slab *slab, void *block, uint64_t distance,
                          mh_free_unusual *unusual) {
  uint64_t index = mh_index_of(slab, distance);
  if (unlikely(index == UINT64_MAX)) return unusual(heap, block);
  uint64_t used = mh_load(&slab->bits->alloc[index / 64]);
  if (unlikely(!mh_is_in_use(slab, index, used))) return unusual(heap, block);
  bool freed = mh_lane_free_remote(lane, slab, (uint32_t)(index / 64), (uint64_t)1 << index % 64);
  return likely(freed) ? MHEAP_OK : unusual(heap, block);
}

/* One of this heap's, but not in the first slice of a slab of this lane. */
MH_FREEING mh_free_further(mheap *heap, mh_lane *lane, mh_slab *slab, void *block, mh_free_unusual *unusual) {
  if (slab->kind == MH_RUN_BODY) slab -= slab->back;
  mh_lane *owner = atomic_load_explicit(&slab->lane, memory_order_acquire);
  if (owner == NULL || owner->heap != lane->heap) return unusual(heap, block);
  uint64_t start = (uint64_t)(slab - lane->slabs) * MH_SLICE,
           distance = (uint64_t)((char *)block - lane->segments) - start;
  return owner == lane ? mh_free_own(heap, lane, slab, block, distance, unusual)
                       : mh_free_others(heap, lane, slab, block, distance, unusual);
}

/* Frees with the lane that this thread has in `heap`; `remotely` ends in mh_free_further. */
MH_FREEING mh_free_by(mheap *heap, mh_lane *lane, void *block, mh_free_unusual *unusual,
                      mh_free_remote *remotely) {
  uint64_t distance = (uint64_t)((char *)block - lane->segments);
  if (unlikely(distance >= lane->reach)) return unusual(heap, block);
  mh_slab *slab = &lane->slabs[distance / MH_SLICE];
  if (likely(atomic_load_explicit(&slab->lane, memory_order_relaxed) == lane))
    return mh_free_own(heap, lane, slab, block, distance % MH_SLICE, unusual);
  return remotely(heap, lane, slab, block);
}

MH_FREEING mh_free_with(mheap *heap, mh_lane *lane, void *block) {
  return mh_free_by(heap, lane, block, mh_free_slowly, mh_free_remotely);
}

#endif
