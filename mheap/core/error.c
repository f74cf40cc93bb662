/* error.c: filling an mheap_error, and the names of the codes. Calls nothing of the core. */
#include "error.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

mheap_err mh_fail_system(mheap_error *error, int sys, const char *path, const char *doing) {
  char reason[128] = "";
  const char *said = strerror_r(sys, reason, sizeof reason); /* GNU: may ignore the buffer */
  mheap_err code = mh_fail(error, code_of(sys), "%s: %s: %s (errno %d)", path, doing, said, sys);
  if (error != NULL) error->sys = sys;
  return code;
}

mheap_err mh_fail_corrupt(mheap_error *error, const char *path, uint64_t offset, const char *what,
                          uint64_t expected, uint64_t found) {
  mh_fail(error, MHEAP_ERR_CORRUPT,
          "%s: offset 0x%" PRIx64 ": %s: expected 0x%" PRIx64 ", found 0x%" PRIx64
          "; see `mheap check`, or restore a copy",
          path, offset, what, expected, found);
  if (error == NULL) return MHEAP_ERR_CORRUPT;
  error->offset = offset;
  error->expected = expected;
  error->found = found;
  return MHEAP_ERR_CORRUPT;
}

/* ---- last errors ---- */

#define REMEMBERED 4

/* Not of the model that fast paths need: an error may cost a call. */
static __thread struct {
  const mheap *heap;
  unsigned long used;
  mheap_error error;
} last[REMEMBERED];
static __thread unsigned long uses;

mheap_error *mh_error_of(const mheap *heap) {
  int oldest = 0;
  for (int i = 0; i < REMEMBERED; i++) {
    if (last[i].heap == heap) {
      last[i].used = ++uses;
      return &last[i].error;
    }
    if (last[i].used < last[oldest].used) oldest = i;
  }
  last[oldest].heap = heap;
  last[oldest].used = ++uses;
  mh_error_clear(&last[oldest].error);
  return &last[oldest].error;
}

void mh_error_forget(const mheap *heap) {
  for (int i = 0; i < REMEMBERED; i++)
    if (last[i].heap == heap) last[i].heap = NULL, last[i].used = 0;
}
