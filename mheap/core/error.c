/* error.c: filling an mheap_error, and the names of the codes. Calls os.h. */
#include "error.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "os.h"

static const char *const names[MHEAP_ERR_COUNT_] = {
    [MHEAP_OK] = "OK",
    [MHEAP_ERR_SYSTEM] = "HeapOSError",
    [MHEAP_ERR_NOT_A_HEAP] = "NotAHeap",
    [MHEAP_ERR_CORRUPT] = "CorruptHeap",
    [MHEAP_ERR_VERSION] = "VersionMismatch",
    [MHEAP_ERR_UNCLEAN] = "UncleanHeap",
    [MHEAP_ERR_BASE_IN_USE] = "BaseAddressInUse",
    [MHEAP_ERR_BUSY] = "HeapBusy",
    [MHEAP_ERR_FULL] = "HeapFull",
    [MHEAP_ERR_NO_MEMORY] = "NoMemory",
    [MHEAP_ERR_POINTER] = "InvalidPointer",
    [MHEAP_ERR_DOUBLE_FREE] = "DoubleFree",
    [MHEAP_ERR_OVERRUN] = "Overrun",
    [MHEAP_ERR_STALE] = "StaleObject",
    [MHEAP_ERR_READ_ONLY] = "ReadOnlyHeap",
    [MHEAP_ERR_ARGUMENT] = "InvalidArgument",
    [MHEAP_ERR_OVERFLOW] = "SizeOverflow",
    [MHEAP_ERR_FORKED] = "ForkedHandle",
    [MHEAP_ERR_NOT_FOUND] = "NotFound",
    [MHEAP_ERR_SNAPSHOT] = "SnapshotTooOld",
};

const char *mheap_err_name(mheap_err code) {
  return (unsigned)code < MHEAP_ERR_COUNT_ ? names[code] : "unknown";
}

#define STRING_(x) #x
#define STRING(x) STRING_(x)

const char *mheap_version(void) {
  return STRING(MHEAP_VERSION_MAJOR) "." STRING(MHEAP_VERSION_MINOR) "." STRING(MHEAP_VERSION_PATCH);
}

void mh_error_clear(mheap_error *error) {
  if (error == NULL) return;
  error->code = MHEAP_OK;
  error->sys = 0;
  error->offset = error->expected = error->found = 0;
  error->text[0] = '\0';
}

mheap_err mh_fail(mheap_error *error, mheap_err code, const char *format, ...) {
  if (error == NULL) return code;
  mh_error_clear(error);
  error->code = code;
  va_list args;
  va_start(args, format);
  vsnprintf(error->text, sizeof error->text, format, args);
  va_end(args);
  return code;
}

static mheap_err code_of(int sys) {
  switch (sys) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return MHEAP_ERR_FULL;
    case ENOMEM: return MHEAP_ERR_NO_MEMORY;
    case EROFS: return MHEAP_ERR_READ_ONLY;
    default: return MHEAP_ERR_SYSTEM;
  }
}

/* Not translated, as all else in the text: a translation is memory from malloc, which may be ours. */
static const char *describe(int sys, char *buffer, size_t size) {
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 32)
  const char *text = strerrordesc_np(sys);
  if (text != NULL) return text;
#endif
  snprintf(buffer, size, "error %d", sys);
  return buffer;
}

mheap_err mh_fail_system(mheap_error *error, int sys, const char *path, const char *doing) {
  char reason[128] = "";
  const char *said = describe(sys, reason, sizeof reason);
  mheap_err code = mh_fail(error, code_of(sys), "%s: %s: %s (errno %d)", path, doing, said, sys);
  if (error != NULL) error->sys = sys;
  return code;
}

static mheap_err contradiction(mheap_error *error, const char *path, uint64_t offset, const char *what,
                               uint64_t expected, uint64_t found, const char *remedy) {
  mh_fail(error, MHEAP_ERR_CORRUPT,
          "%s: offset 0x%" PRIx64 ": %s: expected 0x%" PRIx64 ", found 0x%" PRIx64 "; %s", path, offset, what,
          expected, found, remedy);
  if (error == NULL) return MHEAP_ERR_CORRUPT;
  error->offset = offset;
  error->expected = expected;
  error->found = found;
  return MHEAP_ERR_CORRUPT;
}

mheap_err mh_fail_corrupt(mheap_error *error, const char *path, uint64_t offset, const char *what,
                          uint64_t expected, uint64_t found) {
  return contradiction(error, path, offset, what, expected, found, "see `mheap check`, or restore a copy");
}

mheap_err mh_fail_unreadable(mheap_error *error, const char *path, uint64_t offset, const char *what,
                             uint64_t expected, uint64_t found) {
  return contradiction(error, path, offset, what, expected, found, "restore a copy");
}

/* ---- last errors ---- */

/* Not thread-local variables: beside those of the fast paths they would have to fit into what
   the loader keeps for libraries that come late. */
typedef struct memory {
  struct {
    const mheap *heap;
    unsigned long used;
    mheap_error error;
  } last[4];
  unsigned long uses;
} memory;

static pthread_key_t memory_key;
static pthread_once_t memory_once = PTHREAD_ONCE_INIT;

/* Destructors run in at least four rounds; after the last nobody would give a thread's memory back. In
   the last the thread sanitizer has left the thread already, and dies of what is run in it. */
static __thread bool gone __attribute__((tls_model("initial-exec")));
static __thread uint8_t rounds __attribute__((tls_model("initial-exec")));

static void free_memory(void *of_thread) {
  if (++rounds < 3 && pthread_setspecific(memory_key, of_thread) == 0) return;
  gone = true;
  mh_os_table_free(of_thread, sizeof(memory));
}
static void make_memory_key(void) { pthread_key_create(&memory_key, free_memory); }

/* Of this thread; one for all threads where there is no memory left. */
static memory *thread_memory(void) {
  static memory shared;
  pthread_once(&memory_once, make_memory_key);
  memory *own = pthread_getspecific(memory_key);
  if (own == NULL && !gone && (own = mh_os_table(sizeof *own)) != NULL) pthread_setspecific(memory_key, own);
  return own != NULL ? own : &shared;
}

mheap_error *mh_error_of(const mheap *heap) {
  memory *own = thread_memory();
  int oldest = 0;
  for (int i = 0; i < 4; i++) {
    bool found = own->last[i].heap == heap;
    if (found || own->last[i].used < own->last[oldest].used) oldest = i;
    if (found) break;
  }
  if (own->last[oldest].heap != heap) mh_error_clear(&own->last[oldest].error);
  own->last[oldest].heap = heap;
  own->last[oldest].used = ++own->uses;
  return &own->last[oldest].error;
}

void mh_error_forget(const mheap *heap) {
  memory *own = thread_memory();
  for (int i = 0; i < 4; i++)
    if (own->last[i].heap == heap) own->last[i].heap = NULL, own->last[i].used = 0;
}
