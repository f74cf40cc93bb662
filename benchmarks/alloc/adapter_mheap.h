/* adapter_mheap.h: mheap, by its public C interface: a live heap in a file, or in anonymous
   memory when no file is given. Built with -DBENCH_ATOMIC: in mode atomic, with a commit before what is
   timed. Calls libmheap. */
#include <stdlib.h>
#include <unistd.h>

#include "mheap/mheap.h"

typedef void *bench_block;

static mheap *mheap_heap;

#ifdef BENCH_ATOMIC
static const mheap_options bench_options = {.mode = MHEAP_MODE_ATOMIC};
static void bench_before(void) {
  if (mheap_commit(mheap_heap, false)) bench_die(mheap_last_error(mheap_heap)->text);
}
#define BENCH_BEFORE
#else
static const mheap_options bench_options = {.mode = MHEAP_MODE_LIVE};
#endif

static void bench_setup(const char *file, uint64_t bytes) {
  mheap_error error;
  (void)bytes;
  mheap_heap = file ? mheap_open(file, &bench_options, &error) : mheap_attach(-1, NULL, &error);
  if (!mheap_heap) bench_die(error.text);
  if (file) unlink(file);
}
static inline bench_block bench_alloc(size_t size) { return mheap_malloc(mheap_heap, size); }
static inline void bench_free(bench_block block) { mheap_free(mheap_heap, block); }
static inline void *bench_address(bench_block block) { return block; }
/* No detach: it would sync, which no other program here does. */
static void bench_teardown(void) { mheap_abandon(mheap_heap); }
static void bench_version(char *text, size_t room) { snprintf(text, room, "mheap %s", mheap_version()); }

#define BENCH_FILE_STATUS 1
static int bench_file_descriptor(void) {
  mheap_info info;
  if (mheap_get_info(mheap_heap, &info)) bench_die(mheap_last_error(mheap_heap)->text);
  return info.fd;
}
