/* file_heap.h: heaps in files, attached and detached. */
#ifndef MHEAP_TEST_FILE_HEAP_H
#define MHEAP_TEST_FILE_HEAP_H

#include "mheap/mheap.h"
#include "test.h"

static inline mheap *attach(const char *path, const mheap_options *options) {
  mheap_error error = {0};
  mheap *heap = mheap_open(path, options, &error);
  if (heap == NULL) fprintf(stderr, "%s\n", error.text);
  CHECK(heap != NULL);
  return heap;
}

static inline mheap_err refused_with(const char *path, const mheap_options *options, mheap_error *error) {
  memset(error, 0, sizeof *error);
  mheap *heap = mheap_open(path, options, error);
  if (heap == NULL) return error->code;
  mheap_abandon(heap);
  return MHEAP_OK;
}

static inline void detach(mheap *heap) {
  mheap_error error = {0};
  if (!CHECK_EQ(mheap_detach(heap, &error), MHEAP_OK)) fprintf(stderr, "%s\n", error.text);
}

#endif
