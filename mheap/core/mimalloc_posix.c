/* mimalloc_posix.c: mimalloc's versions of the C library's and C++'s allocation functions.

   Owns nothing. Calls mheap.h and the rest of mimalloc's interface; os.h for the page. */
#include <errno.h>
#include <stdlib.h>

#include "mimalloc_common.h"
#include "os.h"

/* ---- aligned ---- */

int mi_posix_memalign(void **p, size_t alignment, size_t size) {
  bool power = alignment != 0 && (alignment & (alignment - 1)) == 0;
  if (p == NULL || !power || alignment % sizeof(void *) != 0) return EINVAL;
  int before = errno;
  void *block = mheap_memalign(mh_mi_heap, alignment, size);
  errno = before;
  if (block == NULL) return ENOMEM;
  *p = block;
  return 0;
}

void *mi_memalign(size_t alignment, size_t size) { return mi_malloc_aligned(size, alignment); }
void *mi_aligned_alloc(size_t alignment, size_t size) { return mi_malloc_aligned(size, alignment); }
void *mi_valloc(size_t size) { return mi_malloc_aligned(size, mh_os_page()); }

void *mi_pvalloc(size_t size) {
  size_t page = mh_os_page();
  size_t whole = size > SIZE_MAX - page ? size : (size + page - 1) / page * page;
  return mi_malloc_aligned(whole != 0 ? whole : page, page);
}

/* ---- freeing ---- */

void mi_cfree(void *p) {
  if (mheap_is_in_region(p)) mi_free(p);
}

void mi_free_size(void *p, size_t size) {
  (void)size;
  mi_free(p);
}

void mi_free_aligned(void *p, size_t alignment) {
  (void)alignment;
  mi_free(p);
}

void mi_free_size_aligned(void *p, size_t size, size_t alignment) {
  (void)size;
  mi_free_aligned(p, alignment);
}

/* ---- sizes ---- */

size_t mi_malloc_size(const void *p) { return mheap_usable_size_any(p); }
size_t mi_malloc_usable_size(const void *p) { return mheap_usable_size_any(p); }
size_t mi_malloc_good_size(size_t size) { return mheap_good_size(size); }

/* ---- resizing ---- */

void *mi_reallocarray(void *p, size_t count, size_t size) {
  void *moved = mi_reallocn(p, count, size);
  if (moved == NULL) errno = ENOMEM;
  return moved;
}

int mi_reallocarr(void *p, size_t count, size_t size) {
  void **place = p;
  if (place == NULL) return errno = EINVAL;
  void *moved = mi_reallocarray(*place, count, size);
  if (moved == NULL) return errno;
  *place = moved;
  return 0;
}

void *mi__expand(void *p, size_t newsize) {
  void *same = mi_expand(p, newsize);
  if (same == NULL) errno = ENOMEM;
  return same;
}

void *mi_aligned_recalloc(void *p, size_t count, size_t size, size_t alignment) {
  return mi_recalloc_aligned(p, count, size, alignment);
}

void *mi_aligned_offset_recalloc(void *p, size_t count, size_t size, size_t alignment, size_t offset) {
  return mi_recalloc_aligned_at(p, count, size, alignment, offset);
}

/* ---- operator new's way, for C: there is nothing to throw, so a failure ends the process ---- */

/* Of the C++ library, if the program has one. */
extern void (*_ZSt15get_new_handlerv(void))(void) __attribute__((weak));

static bool try_again(void) {
  void (*handler)(void) = _ZSt15get_new_handlerv != NULL ? _ZSt15get_new_handlerv() : NULL;
  if (handler != NULL) handler();
  return handler != NULL;
}

static void *new_nothrow(mheap *heap, size_t size, size_t alignment) {
  void *block;
  do block = mi_heap_malloc_aligned(mh_mi_face(heap), size, alignment);
  while (block == NULL && try_again());
  return block;
}

static void *or_end(void *block) {
  if (block == NULL) abort();
  return block;
}

static void *new_n(mheap *heap, size_t count, size_t size) {
  size_t bytes;
  return or_end(mh_mi_product(heap, count, size, &bytes) ? new_nothrow(heap, bytes, 16) : NULL);
}

void *mi_new_nothrow(size_t size) { return new_nothrow(mh_mi_heap, size, 16); }
void *mi_new_aligned_nothrow(size_t size, size_t alignment) {
  return new_nothrow(mh_mi_heap, size, alignment);
}
void *mi_new(size_t size) { return or_end(mi_new_nothrow(size)); }
void *mi_new_aligned(size_t size, size_t alignment) {
  return or_end(mi_new_aligned_nothrow(size, alignment));
}
void *mi_new_n(size_t count, size_t size) { return new_n(mh_mi_heap, count, size); }

void *mi_new_realloc(void *p, size_t newsize) {
  void *moved;
  do moved = mi_realloc(p, newsize);
  while (moved == NULL && try_again());
  return or_end(moved);
}

void *mi_new_reallocn(void *p, size_t count, size_t size) {
  size_t bytes;
  return mh_mi_product(mh_mi_heap, count, size, &bytes) ? mi_new_realloc(p, bytes) : or_end(NULL);
}

void *mi_heap_alloc_new(mi_heap_t *heap, size_t size) {
  return or_end(new_nothrow(mh_mi_core(heap), size, 16));
}
void *mi_heap_alloc_new_n(mi_heap_t *heap, size_t count, size_t size) {
  return new_n(mh_mi_core(heap), count, size);
}
