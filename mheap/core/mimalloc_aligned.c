/* mimalloc_aligned.c: mimalloc's aligned blocks, and those aligned beside their start.

   Owns nothing. Calls mheap.h, and for the latter hooks.h (see there how they are told), deferred.h,
   report.h. */
#include <string.h>

#include "deferred.h"
#include "hooks.h"
#include "mimalloc_common.h"
#include "report.h"

/* ---- one function for all fresh blocks, one for all resized ones ---- */

typedef struct place {
  size_t alignment, offset; /* address + offset is a multiple of alignment */
  bool zero;
} place;

static bool is_power(size_t alignment) { return alignment != 0 && (alignment & (alignment - 1)) == 0; }

static void *allocate_anywhere(mheap *heap, size_t size, const place *at) {
  if (!is_power(at->alignment) || at->offset % at->alignment == 0)
    return mheap_memalign(heap, at->alignment, size);
  heap = mh_heap_of(heap);
  if (heap == NULL) return NULL;
  mh_deferred_count();
  void *block = mh_hooks_malloc_at(heap, size, at->alignment, at->offset);
  if (block == NULL && mh_deferred_helps(mh_error(heap)->code))
    block = mh_hooks_malloc_at(heap, size, at->alignment, at->offset);
  if (block == NULL) mh_report_error(heap);
  return block;
}

static void *allocate(mheap *heap, size_t size, place at) {
  bool plain = is_power(at.alignment) && at.alignment <= 16 && at.offset % at.alignment == 0;
  if (plain) return at.zero ? mh_mi_zalloc(heap, size) : mheap_malloc(heap, size);
  void *block = allocate_anywhere(heap, size, &at);
  return at.zero ? mh_mi_zero(block, 0) : block;
}

/* It is where it must be, large enough, and not more than half of it wasted. */
static bool may_stay(const void *block, size_t usable, size_t size, const place *at) {
  if (((uintptr_t)block + at->offset) % at->alignment != 0) return false;
  return size <= usable && size >= usable - usable / 2;
}

static void *move(mheap *heap, void *block, size_t usable, size_t size, place at) {
  size_t kept = size < usable ? size : usable;
  bool zero = at.zero;
  at.zero = false;
  void *moved = allocate(heap, size, at);
  if (moved == NULL) return NULL;
  memcpy(moved, block, kept);
  mheap_free_any(block);
  return zero ? mh_mi_zero(moved, kept) : moved;
}

static void *resize(mheap *heap, void *block, size_t size, place at) {
  if (block == NULL) return allocate(heap, size, at);
  size_t usable = mheap_usable_size_any(block);
  if (usable == 0) return mheap_realloc_any(block, size); /* which reports it */
  if (!is_power(at.alignment) || !may_stay(block, usable, size, &at))
    return move(heap, block, usable, size, at);
  return at.zero ? mh_mi_zero(block, size) : block;
}

/* ---- products ---- */

static void *allocate_n(mheap *heap, size_t count, size_t size, place at) {
  size_t bytes;
  return mh_mi_product(heap, count, size, &bytes) ? allocate(heap, bytes, at) : NULL;
}

static void *resize_n(mheap *heap, void *block, size_t count, size_t size, place at) {
  size_t bytes;
  return mh_mi_product(heap, count, size, &bytes) ? resize(heap, block, bytes, at) : NULL;
}

/* ---- the family: each in the default heap and in a given one, at offset 0 and at others ---- */

#define PLAIN ((place){alignment, offset, false})
#define ZEROED ((place){alignment, offset, true})

void *mi_heap_malloc_aligned_at(mi_heap_t *heap, size_t size, size_t alignment, size_t offset) {
  return allocate(mh_mi_core(heap), size, PLAIN);
}
void *mi_heap_malloc_aligned(mi_heap_t *heap, size_t size, size_t alignment) {
  return mi_heap_malloc_aligned_at(heap, size, alignment, 0);
}
void *mi_malloc_aligned_at(size_t size, size_t alignment, size_t offset) {
  return allocate(mh_mi_heap, size, PLAIN);
}
void *mi_malloc_aligned(size_t size, size_t alignment) { return mi_malloc_aligned_at(size, alignment, 0); }

void *mi_heap_zalloc_aligned_at(mi_heap_t *heap, size_t size, size_t alignment, size_t offset) {
  return allocate(mh_mi_core(heap), size, ZEROED);
}
void *mi_heap_zalloc_aligned(mi_heap_t *heap, size_t size, size_t alignment) {
  return mi_heap_zalloc_aligned_at(heap, size, alignment, 0);
}
void *mi_zalloc_aligned_at(size_t size, size_t alignment, size_t offset) {
  return allocate(mh_mi_heap, size, ZEROED);
}
void *mi_zalloc_aligned(size_t size, size_t alignment) { return mi_zalloc_aligned_at(size, alignment, 0); }

void *mi_heap_calloc_aligned_at(mi_heap_t *heap, size_t count, size_t size, size_t alignment, size_t offset) {
  return allocate_n(mh_mi_core(heap), count, size, ZEROED);
}
void *mi_heap_calloc_aligned(mi_heap_t *heap, size_t count, size_t size, size_t alignment) {
  return mi_heap_calloc_aligned_at(heap, count, size, alignment, 0);
}
void *mi_calloc_aligned_at(size_t count, size_t size, size_t alignment, size_t offset) {
  return allocate_n(mh_mi_heap, count, size, ZEROED);
}
void *mi_calloc_aligned(size_t count, size_t size, size_t alignment) {
  return mi_calloc_aligned_at(count, size, alignment, 0);
}

void *mi_heap_realloc_aligned_at(mi_heap_t *heap, void *p, size_t newsize, size_t alignment, size_t offset) {
  return resize(mh_mi_core(heap), p, newsize, PLAIN);
}
void *mi_heap_realloc_aligned(mi_heap_t *heap, void *p, size_t newsize, size_t alignment) {
  return mi_heap_realloc_aligned_at(heap, p, newsize, alignment, 0);
}
void *mi_realloc_aligned_at(void *p, size_t newsize, size_t alignment, size_t offset) {
  return resize(mh_mi_heap, p, newsize, PLAIN);
}
void *mi_realloc_aligned(void *p, size_t newsize, size_t alignment) {
  return mi_realloc_aligned_at(p, newsize, alignment, 0);
}

void *mi_heap_rezalloc_aligned_at(mi_heap_t *heap, void *p, size_t newsize, size_t alignment, size_t offset) {
  return resize(mh_mi_core(heap), p, newsize, ZEROED);
}
void *mi_heap_rezalloc_aligned(mi_heap_t *heap, void *p, size_t newsize, size_t alignment) {
  return mi_heap_rezalloc_aligned_at(heap, p, newsize, alignment, 0);
}
void *mi_rezalloc_aligned_at(void *p, size_t newsize, size_t alignment, size_t offset) {
  return resize(mh_mi_heap, p, newsize, ZEROED);
}
void *mi_rezalloc_aligned(void *p, size_t newsize, size_t alignment) {
  return mi_rezalloc_aligned_at(p, newsize, alignment, 0);
}

void *mi_heap_recalloc_aligned_at(mi_heap_t *heap, void *p, size_t count, size_t size, size_t alignment,
                                  size_t offset) {
  return resize_n(mh_mi_core(heap), p, count, size, ZEROED);
}
void *mi_heap_recalloc_aligned(mi_heap_t *heap, void *p, size_t count, size_t size, size_t alignment) {
  return mi_heap_recalloc_aligned_at(heap, p, count, size, alignment, 0);
}
void *mi_recalloc_aligned_at(void *p, size_t count, size_t size, size_t alignment, size_t offset) {
  return resize_n(mh_mi_heap, p, count, size, ZEROED);
}
void *mi_recalloc_aligned(void *p, size_t count, size_t size, size_t alignment) {
  return mi_recalloc_aligned_at(p, count, size, alignment, 0);
}
