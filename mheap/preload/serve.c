/* serve.c: the slow ways of malloc and free: no lane yet, large blocks, blocks of nobody.

   A thread that has ended, but for destructors of other libraries and of the C library itself,
   takes a lane for each call and gives it back: nobody would do that later.
   Owns nothing. Calls start.c, early.c, the core. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fast.h"
#include "os.h"
#include "preload.h"

static void leave(void) {
  if (mh_this_thread.ended) mheap_thread_done();
}

/* The end of every call that gives a block. */
static void *hand_out(void *block, int saved) {
  leave();
  errno = block != NULL ? saved : ENOMEM;
  return block;
}

MH_SLOW void *mh_serve_malloc(size_t size, size_t alignment) {
  int saved = errno;
  mh_lane *lane = mh_lane_process();
  if (lane != NULL && size <= MH_CLASS_MAX_SIZE && alignment <= 16) {
    mh_bin *bin = &lane->bins[mh_class_of(size ? size : 1)];
    if (bin->ready != 0 || mh_lane_more(lane, bin)) return mh_take(bin);
  }
  mheap *heap = mh_serving();
  if (heap == NULL) return hand_out(mh_early_malloc(size, alignment), saved);
  return hand_out(alignment <= 16 ? mheap_malloc(heap, size) : mheap_memalign(heap, alignment, size), saved);
}

MH_SLOW void *mh_serve_calloc(size_t bytes) {
  int saved = errno;
  mheap *heap = mh_serving();
  return hand_out(heap != NULL ? mheap_calloc(heap, 1, bytes) : mh_early_malloc(bytes, 16), saved);
}

/* ---- blocks that the heap does not know ---- */

/* A program may hand a block of another heap of this process to free. The reason why the heap that
   serves refused it stays what is said. */
static mheap *other_heap(const void *block) {
  mheap_error *last = mh_error(mh_serving()), why = *last;
  mheap *other = mheap_heap_of(block);
  *mh_error(mh_serving()) = why;
  return other;
}

#define COMPLAINTS 10

/* The text names the address; a program that goes wrong often is not let fill the disk. */
static void complain(const char *call, const void *block) {
  static _Atomic int complaints;
  mheap *heap = mh_serving();
  if (heap == NULL || atomic_fetch_add(&complaints, 1) >= COMPLAINTS) return;
  mheap_error error;
  mh_fail(&error, MHEAP_ERR_POINTER, "mheap: %s: %s", call, mh_error(heap)->text);
  if (!mheap_is_in_region(block))
    mh_fail(&error, MHEAP_ERR_POINTER,
            "mheap: %s: %p is of another allocator, or of none: it is left as it is", call, block);
  mh_os_complain(error.text, "");
}

MH_SLOW void mh_serve_refused(void *block) {
  int saved = errno;
  if (!mh_early_is(block)) {
    mheap *other = other_heap(block);
    if (other == NULL || mheap_free(other, block) != MHEAP_OK) complain("free", block);
  }
  leave();
  errno = saved;
}

MH_SLOW void mh_serve_free(void *block) {
  int saved = errno;
  mheap *heap;
  if (block == NULL || mh_early_is(block) || (heap = mh_serving()) == NULL) return;
  if (mheap_free(heap, block) != MHEAP_OK) mh_serve_refused(block);
  leave();
  errno = saved;
}

/* ---- realloc ---- */

static void *move_early(const void *block, size_t size) {
  size_t old = mh_early_size(block);
  void *moved = mh_serve_malloc(size, 16);
  return moved != NULL ? memcpy(moved, block, old < size ? old : size) : NULL;
}

/* In the heap it comes from, which may not be the one that serves. */
static void *resize_elsewhere(void *block, size_t size) {
  mheap *other = other_heap(block);
  if (other != NULL) return mheap_realloc(other, block, size);
  if (mheap_usable_size(mh_serving(), block) == 0) complain("realloc", block);
  return NULL;
}

MH_SLOW void *mh_serve_realloc(void *block, size_t size) {
  int saved = errno;
  mheap *heap = mh_serving();
  if (mh_early_is(block)) return move_early(block, size);
  if (heap == NULL) return hand_out(NULL, saved);
  void *moved = mheap_realloc(heap, block, size);
  return hand_out(moved != NULL ? moved : resize_elsewhere(block, size), saved);
}

MH_SLOW size_t mh_serve_usable_size(void *block) {
  int saved = errno;
  mheap *heap = mh_serving();
  if (mh_early_is(block)) return mh_early_size(block);
  if (heap == NULL) return 0;
  size_t size = mheap_usable_size(heap, block);
  if (size == 0 && (heap = other_heap(block)) != NULL) size = mheap_usable_size(heap, block);
  leave();
  errno = saved;
  return size;
}
