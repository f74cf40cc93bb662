/* subproc_kit.h: a subprocess of a test's own, whose regions are as small as the test asks. */
#ifndef MHEAP_TEST_SUBPROC_KIT_H
#define MHEAP_TEST_SUBPROC_KIT_H

#include "mheap/mheap.h"
#include "subproc.h"
#include "test.h"

static mheap_error error;
static mheap_subproc subproc;

static inline bool begin(uint64_t span) {
  mh_subproc_span = span;
  subproc = mheap_subproc_new("of a test", NULL, &error);
  return CHECK(subproc != 0) && CHECK_EQ(mheap_subproc_add_current_thread(subproc, &error), MHEAP_OK);
}

static inline void end(void) {
  CHECK_EQ(mheap_check(NULL, NULL, NULL, NULL), MHEAP_OK);
  mheap_subproc_leave();
  if (!CHECK_EQ(mheap_subproc_destroy(subproc, &error), MHEAP_OK)) fprintf(stderr, "%s\n", error.text);
  mh_subproc_span = 0;
}

#endif
