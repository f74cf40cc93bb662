/* error.h: how the core says what was wrong.

   Every failure names the file, the offset, what was expected, what was found and what to
   do. mh_fail fills an mheap_error (which may be NULL) and returns its code, so that a
   function can end with `return mh_fail(...)`. */
#ifndef MHEAP_ERROR_H
#define MHEAP_ERROR_H

#include "mheap/mheap.h"

/* Sets code and text (printf-like, one line, no newline). */
mheap_err mh_fail(mheap_error *error, mheap_err code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A system call failed: "PATH: DOING: strerror". ENOSPC, EDQUOT, EFBIG become MHEAP_ERR_FULL. */
mheap_err mh_fail_system(mheap_error *error, int sys, const char *path, const char *doing);

/* A file contradicts itself: sets offset, expected and found as well. */
mheap_err mh_fail_corrupt(mheap_error *error, const char *path, uint64_t offset, const char *what,
                          uint64_t expected, uint64_t found);

/* The same of what nobody gets past, `mheap check` neither: only a copy is advised. */
mheap_err mh_fail_unreadable(mheap_error *error, const char *path, uint64_t offset, const char *what,
                             uint64_t expected, uint64_t found);

void mh_error_clear(mheap_error *error);

/* The calling thread's last error in the heap at this address: a few heaps are remembered, the
   one asked for longest ago is forgotten for another. */
mheap_error *mh_error_of(const mheap *heap);
/* The heap is gone, and another may come to lie there. */
void mh_error_forget(const mheap *heap);

#endif
