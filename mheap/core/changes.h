/* changes.h: which bytes of an atomic region differ from the last commit.

   Owns nothing. Calls images.h, marks.h and os.h. Pages are candidates if mheap stored in their slice, or
   raw addresses are out, and the kernel says that they are copies of the process's own; of those, the pages
   that mheap stored in, or all, are compared with their images. */
#ifndef MHEAP_CHANGES_H
#define MHEAP_CHANGES_H

#include "commit.h"

typedef struct mh_changes_visitor {
  /* `length` bytes at offset `at` (multiples of 8, inside one page) are `data` now, which is a copy. */
  mheap_err (*visit)(void *arg, uint64_t at, const void *data, uint64_t length, mheap_error *error);
  void *arg;
  /* Private pages in vacant slices, whether they changed or not. NULL: they are compared like others. */
  mheap_err (*place)(void *arg, uint64_t from, uint64_t to, mheap_error *error);
} mh_changes_visitor;

/* Candidates in [from, to), as ranges of offsets. */
mheap_err mh_changes_pages(mh_region *region, uint64_t from, uint64_t to,
                           mheap_err (*visit)(void *arg, uint64_t from, uint64_t to, mheap_error *error),
                           void *arg, mheap_error *error);
/* The same of all pages that may have changed in [0, to). */
mheap_err mh_changes_ranges(mh_region *region, uint64_t to,
                            mheap_err (*visit)(void *arg, uint64_t from, uint64_t to, mheap_error *error),
                            void *arg, mheap_error *error);
/* Bytes that changed in [0, to). */
mheap_err mh_changes_visit(mh_region *region, uint64_t to, const mh_changes_visitor *visitor,
                           mheap_error *error);

#endif
