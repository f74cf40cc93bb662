/* mimalloc.c: mimalloc's malloc and free (mheap/mimalloc.h), in the default heap and in any other.

   Owns which heap is a thread's default. Calls mheap.h. mi_malloc and mi_free are a jump into
   the core's fast paths. */
#include "mimalloc_common.h"

#include <errno.h>
#include <string.h>

#include "os.h"

__thread mheap *mh_mi_heap __attribute__((tls_model("initial-exec")));

/* ---- the hot ones ---- */

void *mi_malloc(size_t size) { return mheap_malloc(mh_mi_heap, size); }
void *mi_malloc_small(size_t size) { return mheap_malloc(mh_mi_heap, size); }
void *mi_heap_malloc(mi_heap_t *heap, size_t size) { return mheap_malloc(mh_mi_core(heap), size); }
void *mi_heap_malloc_small(mi_heap_t *heap, size_t size) { return mheap_malloc(mh_mi_core(heap), size); }
void mi_free(void *p) { mheap_free_any(p); }

/* ---- what is shared ---- */

bool mh_mi_product(mheap *heap, size_t count, size_t size, size_t *bytes) {
  if (!__builtin_mul_overflow(count, size, bytes)) return true;
  mheap_calloc(heap, count, size); /* which says so */
  return false;
}

void *mh_mi_zero(void *block, size_t from) {
  size_t usable = block != NULL ? mheap_usable_size_any(block) : 0;
  if (from < usable) memset((char *)block + from, 0, usable - from);
  return block;
}

void *mh_mi_zalloc(mheap *heap, size_t size) {
  heap = mh_heap_of(heap);
  if (heap == NULL) return NULL;
  size_t good = heap->hooked ? 0 : mheap_good_size(size);
  if (good != 0) return mheap_calloc(heap, 1, good);
  return mh_mi_zero(mheap_calloc(heap, 1, size), size); /* a trace, and a guard, is told what was asked for */
}

/* ---- fresh blocks ---- */

static void *zalloc_n(mheap *heap, size_t count, size_t size) {
  size_t bytes;
  return mh_mi_product(heap, count, size, &bytes) ? mh_mi_zalloc(heap, bytes) : NULL;
}

static void *malloc_n(mheap *heap, size_t count, size_t size) {
  size_t bytes;
  return mh_mi_product(heap, count, size, &bytes) ? mheap_malloc(heap, bytes) : NULL;
}

void *mi_zalloc(size_t size) { return mh_mi_zalloc(mh_mi_heap, size); }
void *mi_zalloc_small(size_t size) { return mh_mi_zalloc(mh_mi_heap, size); }
void *mi_calloc(size_t count, size_t size) { return zalloc_n(mh_mi_heap, count, size); }
void *mi_mallocn(size_t count, size_t size) { return malloc_n(mh_mi_heap, count, size); }

void *mi_heap_zalloc(mi_heap_t *heap, size_t size) { return mh_mi_zalloc(mh_mi_core(heap), size); }
void *mi_heap_zalloc_small(mi_heap_t *heap, size_t size) { return mh_mi_zalloc(mh_mi_core(heap), size); }
void *mi_heap_calloc(mi_heap_t *heap, size_t count, size_t size) {
  return zalloc_n(mh_mi_core(heap), count, size);
}
void *mi_heap_mallocn(mi_heap_t *heap, size_t count, size_t size) {
  return malloc_n(mh_mi_core(heap), count, size);
}

/* ---- resizing ---- */

/* A block of another heap stays while it is not more than twice what is wanted, as the original does. */
static void *move_to(mheap *heap, void *block, size_t size) {
  size_t usable = mheap_usable_size_any(block);
  if (size <= usable && size >= usable / 2 && size > 0) return block;
  void *moved = mheap_malloc(heap, size);
  if (moved == NULL) return NULL;
  memcpy(moved, block, size < usable ? size : usable);
  mheap_free_any(block);
  return moved;
}

void *mh_mi_resize(mheap *heap, void *block, size_t size) {
  if (block == NULL) return mheap_malloc(heap, size);
  heap = mh_heap_of(heap);
  if (heap == NULL) return NULL;
  const mheap *owner = mheap_heap_of(block);
  if (owner == NULL) return mheap_realloc_any(block, size); /* which reports it */
  return owner == heap ? mheap_realloc(heap, block, size) : move_to(heap, block, size);
}

static void *resize_or_free(mheap *heap, void *block, size_t size) {
  void *moved = mh_mi_resize(heap, block, size);
  if (moved == NULL && block != NULL) mheap_free_any(block);
  return moved;
}

static void *resize_n(mheap *heap, void *block, size_t count, size_t size) {
  size_t bytes;
  return mh_mi_product(heap, count, size, &bytes) ? mh_mi_resize(heap, block, bytes) : NULL;
}

static void *resize_zeroed(mheap *heap, void *block, size_t size) {
  if (block == NULL) return mh_mi_zalloc(heap, size);
  size_t usable = mheap_usable_size_any(block);
  return mh_mi_zero(mh_mi_resize(heap, block, size), size < usable ? size : usable);
}

static void *resize_zeroed_n(mheap *heap, void *block, size_t count, size_t size) {
  size_t bytes;
  return mh_mi_product(heap, count, size, &bytes) ? resize_zeroed(heap, block, bytes) : NULL;
}

void *mi_realloc(void *p, size_t newsize) { return mh_mi_resize(mh_mi_heap, p, newsize); }
void *mi_reallocf(void *p, size_t newsize) { return resize_or_free(mh_mi_heap, p, newsize); }
void *mi_reallocn(void *p, size_t count, size_t size) { return resize_n(mh_mi_heap, p, count, size); }
void *mi_rezalloc(void *p, size_t newsize) { return resize_zeroed(mh_mi_heap, p, newsize); }
void *mi_recalloc(void *p, size_t count, size_t size) { return resize_zeroed_n(mh_mi_heap, p, count, size); }

void *mi_heap_realloc(mi_heap_t *heap, void *p, size_t newsize) {
  return mh_mi_resize(mh_mi_core(heap), p, newsize);
}
void *mi_heap_reallocf(mi_heap_t *heap, void *p, size_t newsize) {
  return resize_or_free(mh_mi_core(heap), p, newsize);
}
void *mi_heap_reallocn(mi_heap_t *heap, void *p, size_t count, size_t size) {
  return resize_n(mh_mi_core(heap), p, count, size);
}
void *mi_heap_rezalloc(mi_heap_t *heap, void *p, size_t newsize) {
  return resize_zeroed(mh_mi_core(heap), p, newsize);
}
void *mi_heap_recalloc(mi_heap_t *heap, void *p, size_t count, size_t size) {
  return resize_zeroed_n(mh_mi_core(heap), p, count, size);
}

void *mi_expand(void *p, size_t newsize) {
  return p != NULL && newsize <= mheap_usable_size_any(p) ? p : NULL;
}

/* ---- strings ---- */

static char *copy(mheap *heap, const char *text, size_t length) {
  char *block = mheap_malloc(heap, length + 1);
  if (block == NULL) return NULL;
  memcpy(block, text, length);
  block[length] = '\0';
  return block;
}

static char *copy_of(mheap *heap, const char *text, size_t most) {
  return text != NULL ? copy(heap, text, strnlen(text, most)) : NULL;
}

static char *real_path(mheap *heap, const char *name, char *into) {
  char path[MH_OS_PATH_MAX];
  int failed = mh_os_real_path(name, into != NULL ? into : path);
  if (failed) errno = failed;
  if (failed || into != NULL) return failed ? NULL : into;
  return copy(heap, path, strlen(path));
}

char *mi_strdup(const char *s) { return copy_of(mh_mi_heap, s, SIZE_MAX); }
char *mi_strndup(const char *s, size_t n) { return copy_of(mh_mi_heap, s, n); }
char *mi_realpath(const char *fname, char *resolved_name) {
  return real_path(mh_mi_heap, fname, resolved_name);
}
char *mi_heap_strdup(mi_heap_t *heap, const char *s) { return copy_of(mh_mi_core(heap), s, SIZE_MAX); }
char *mi_heap_strndup(mi_heap_t *heap, const char *s, size_t n) { return copy_of(mh_mi_core(heap), s, n); }
char *mi_heap_realpath(mi_heap_t *heap, const char *fname, char *resolved_name) {
  return real_path(mh_mi_core(heap), fname, resolved_name);
}

/* ---- sizes ---- */

size_t mi_usable_size(const void *p) { return mheap_usable_size_any(p); }
size_t mi_good_size(size_t size) { return mheap_good_size(size); }
bool mi_is_in_heap_region(const void *p) { return mheap_is_in_region(p); }
bool mi_is_redirected(void) { return mheap_is_redirected(); }
int mi_version(void) { return MI_MALLOC_VERSION; }
