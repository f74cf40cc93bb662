/* malloc.c: the names of the C library's allocator, with its rules.

   NULL comes with errno ENOMEM, free leaves errno alone, malloc(0) is a block of its own,
   realloc(p, 0) frees and returns NULL, as in the GNU C library. operator new and delete are
   the C++ library's, and call these.
   Owns nothing. Calls fast.h and serve.c. */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "fast.h"
#include "os.h"
#include "preload.h"

static inline void *small(size_t size) {
  mh_lane *lane = mh_lane_process();
  if (unlikely(lane == NULL || size > MH_SMALL_MAX)) return NULL;
  mh_bin *bin = mh_small_bin(lane, size);
  return likely(bin->ready != 0) ? mh_take(bin) : NULL;
}

static void *no_memory(int why) {
  errno = why;
  return NULL;
}

/* ---- malloc and free ---- */

/* Every tenth time with blocks of random sizes. */
static __attribute__((noinline)) void *more_malloc(size_t size, mh_lane *lane, mh_bin *bin) {
  return likely(mh_lane_more(lane, bin)) ? mh_take(bin) : mh_serve_malloc(size, 16);
}

MH_EXPORT void *malloc(size_t size) {
  mh_lane *lane = mh_lane_process();
  if (likely(lane != NULL && size <= MH_SMALL_MAX)) {
    mh_bin *bin = mh_small_bin(lane, size);
    return likely(bin->ready != 0) ? mh_take(bin) : more_malloc(size, lane, bin);
  }
  return mh_serve_malloc(size, 16);
}

static MH_SLOW mheap_err free_slowly(mheap *ignored, void *block) {
  (void)ignored;
  mh_serve_free(block);
  return MHEAP_OK;
}

static __attribute__((noinline)) mheap_err free_remotely(mheap *ignored, mh_lane *lane, mh_slab *slab,
                                                         void *block) {
  return mh_free_further(ignored, lane, slab, block, free_slowly);
}

MH_EXPORT void free(void *block) {
  mh_lane *lane = mh_lane_process();
  if (likely(lane != NULL)) mh_free_by(NULL, lane, block, free_slowly, free_remotely);
  else mh_serve_free(block);
}

MH_EXPORT void *calloc(size_t count, size_t size) {
  size_t bytes;
  if (unlikely(__builtin_mul_overflow(count, size, &bytes))) return no_memory(ENOMEM);
  void *block = small(bytes);
  return likely(block != NULL) ? memset(block, 0, bytes) : mh_serve_calloc(bytes);
}

MH_EXPORT void *realloc(void *block, size_t size) {
  if (block == NULL) return malloc(size);
  if (size != 0) return mh_serve_realloc(block, size);
  free(block);
  return NULL;
}

MH_EXPORT void *reallocarray(void *block, size_t count, size_t size) {
  size_t bytes;
  return __builtin_mul_overflow(count, size, &bytes) ? no_memory(ENOMEM) : realloc(block, bytes);
}

MH_EXPORT size_t malloc_usable_size(void *block) { return block != NULL ? mh_serve_usable_size(block) : 0; }

/* ---- alignment ---- */

static bool is_power_of_two(size_t n) { return n != 0 && (n & (n - 1)) == 0; }

/* A multiple of a power of two is handed out for any alignment, as in the GNU C library. */
MH_EXPORT void *memalign(size_t alignment, size_t size) {
  size_t power = 16;
  if (alignment > SIZE_MAX / 2 + 1) return no_memory(EINVAL);
  while (power < alignment) power *= 2;
  return power == 16 ? malloc(size) : mh_serve_malloc(size, power);
}

MH_EXPORT void *aligned_alloc(size_t alignment, size_t size) {
  return is_power_of_two(alignment) ? memalign(alignment, size) : no_memory(EINVAL);
}

MH_EXPORT int posix_memalign(void **block, size_t alignment, size_t size) {
  if (!is_power_of_two(alignment) || alignment % sizeof(void *) != 0) return EINVAL;
  int saved = errno;
  void *got = memalign(alignment, size);
  errno = saved;
  if (got == NULL) return ENOMEM;
  *block = got;
  return 0;
}

MH_EXPORT void *valloc(size_t size) { return memalign(mh_os_page(), size); }

MH_EXPORT void *pvalloc(size_t size) {
  size_t page = mh_os_page();
  if (size > SIZE_MAX - page) return no_memory(ENOMEM);
  return memalign(page, size == 0 ? page : (size + page - 1) / page * page);
}

/* ---- other names of these ---- */

#define SAME(function) __attribute__((visibility("default"), alias(#function)))
void cfree(void *block) SAME(free);
/* What old programs that wrap malloc call: the block may come to our free. */
void *__libc_malloc(size_t size) SAME(malloc);
void *__libc_calloc(size_t count, size_t size) SAME(calloc);
void *__libc_realloc(void *block, size_t size) SAME(realloc);
void __libc_free(void *block) SAME(free);
void *__libc_memalign(size_t alignment, size_t size) SAME(memalign);
void *__libc_valloc(size_t size) SAME(valloc);
void *__libc_pvalloc(size_t size) SAME(pvalloc);
int __posix_memalign(void **block, size_t alignment, size_t size) SAME(posix_memalign);
