/* mmalloc.c: GNU mmalloc's interface (mheap/mmalloc.h) on mheap's.

   Owns the trace file of mmtrace() alone. Calls mheap.h, hooks.h for GNU's kind of mmcheck,
   os.h for the page size. Sizes of 0 give NULL here and here only. */
#include "mheap/mmalloc.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "heap.h"
#include "hooks.h"
#include "os.h"

/* ---- errno ---- */

/* For errors that no system call made, the errno whose meaning comes nearest. */
static int errno_of(const mheap_error *error) {
  static const int codes[MHEAP_ERR_COUNT_] = {
      [MHEAP_ERR_SYSTEM] = EIO,      [MHEAP_ERR_NOT_A_HEAP] = EINVAL, [MHEAP_ERR_CORRUPT] = EUCLEAN,
      [MHEAP_ERR_VERSION] = ENOTSUP, [MHEAP_ERR_UNCLEAN] = EUCLEAN,   [MHEAP_ERR_BASE_IN_USE] = EADDRINUSE,
      [MHEAP_ERR_BUSY] = EBUSY,      [MHEAP_ERR_FULL] = ENOSPC,       [MHEAP_ERR_NO_MEMORY] = ENOMEM,
      [MHEAP_ERR_READ_ONLY] = EROFS, [MHEAP_ERR_ARGUMENT] = EINVAL,   [MHEAP_ERR_OVERFLOW] = EOVERFLOW,
      [MHEAP_ERR_FORKED] = EINVAL,
  };
  if (error->sys != 0) return error->sys;
  int code = (unsigned)error->code < MHEAP_ERR_COUNT_ ? codes[error->code] : 0;
  return code != 0 ? code : EINVAL;
}

/* "If the last operation failed": so every operation begins without an error. */
static mheap *begin(void *md) {
  mheap *heap = mh_heap_of(md);
  if (heap != NULL) mh_error_clear(mh_error(heap));
  return heap;
}

int mmalloc_errno(void *md) {
  const mheap_error *error = mheap_last_error(md);
  return error != NULL ? error->sys : 0;
}

/* ---- the trace file ---- */

static pthread_mutex_t trace_lock = PTHREAD_MUTEX_INITIALIZER;
static FILE *trace_file; /* for the life of the process, as heaps go on writing to it */

static FILE *traced(void) {
  pthread_mutex_lock(&trace_lock);
  FILE *file = trace_file;
  pthread_mutex_unlock(&trace_lock);
  return file;
}

int mmtrace(void) {
  const char *name = secure_getenv("MALLOC_TRACE"); /* as the C library does for its own */
  pthread_mutex_lock(&trace_lock);
  bool starts = trace_file == NULL && name != NULL;
  if (starts) trace_file = fopen(name, "ae");
  FILE *file = starts ? trace_file : NULL;
  pthread_mutex_unlock(&trace_lock);
  if (file != NULL) mheap_mtrace(NULL, file);
  return 1;
}

/* ---- descriptors ---- */

void *mmalloc_attach(int fd, void *baseaddr) {
  mheap_options options = {.base = baseaddr};
  mheap_error error = {0};
  mheap *heap = mheap_attach(fd, &options, &error);
  if (heap == NULL) {
    errno = errno_of(&error);
    return NULL;
  }
  FILE *trace = traced();
  if (trace != NULL) mheap_mtrace(heap, trace);
  return heap;
}

void *mmalloc_detach(void *md) {
  if (md == NULL) return NULL; /* the default heap goes with the process */
  mheap_error error = {0};
  mheap_mtrace(md,
               NULL); /* a trace that was lost keeps nobody from detaching: who asked for it is not asked */
  if (mheap_detach(md, &error) == MHEAP_OK) return NULL;
  errno = errno_of(&error);
  return md;
}

/* ---- blocks ---- */

void *mmalloc(void *md, size_t size) { return size == 0 ? NULL : mheap_malloc(begin(md), size); }

void *mcalloc(void *md, size_t number, size_t size) {
  return number == 0 || size == 0 ? NULL : mheap_calloc(begin(md), number, size);
}

void *mrealloc(void *md, void *ptr, size_t size) {
  if (size != 0) return mheap_realloc(begin(md), ptr, size);
  mheap_free(begin(md), ptr);
  return NULL;
}

void mfree(void *md, void *ptr) {
  if (ptr != NULL) mheap_free(begin(md), ptr);
}

void *mvalloc(void *md, size_t size) {
  return size == 0 ? NULL : mheap_memalign(begin(md), mh_os_page(), size);
}

void *mmemalign(void *md, size_t alignment, size_t size) {
  return size == 0 ? NULL : mheap_memalign(begin(md), alignment, size);
}

/* ---- keys ---- */

int mmalloc_setkey(void *md, int keynum, void *key) {
  return mheap_setkey(begin(md), keynum, key) == MHEAP_OK;
}

void *mmalloc_getkey(void *md, int keynum) { return mheap_getkey(begin(md), keynum); }

/* ---- checking and statistics ---- */

int mmcheckf(void *md, void (*abortfn)(void), int force) {
  return mh_hooks_mcheck_plain(begin(md), abortfn, force != 0) == MHEAP_OK;
}

int mmcheck(void *md, void (*abortfn)(void)) { return mmcheckf(md, abortfn, 0); }

struct mstats mmstats(void *md) {
  mheap_stats stats;
  if (mheap_get_stats(begin(md), &stats) != MHEAP_OK) return (struct mstats){0};
  return (struct mstats){
      .bytes_total = stats.bytes_total,
      .chunks_used = stats.chunks_used,
      .bytes_used = stats.bytes_used,
      .chunks_free = stats.chunks_free,
      .bytes_free = stats.bytes_free,
  };
}

void *mmalloc_findbase(size_t size) { return mheap_findbase(size); }
