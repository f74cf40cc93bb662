/* report.c: figures about the heap that serves: mallinfo, malloc_stats, statistics at exit; and
   the C library's knobs, which turn nothing here.

   Owns nothing. Calls the public header, os.h. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

#include "os.h"
#include "preload.h"

static bool look(mheap_stats *stats) {
  int saved = errno;
  mheap *heap = mh_serving();
  bool there = heap != NULL && mheap_get_stats(heap, stats) == MHEAP_OK;
  errno = saved;
  return there;
}

MH_EXPORT struct mallinfo2 mallinfo2(void) {
  mheap_stats stats;
  if (!look(&stats)) return (struct mallinfo2){0};
  return (struct mallinfo2){.arena = stats.bytes_total,
                            .ordblks = stats.chunks_free,
                            .hblks = stats.huge.used,
                            .hblkhd = stats.huge.run_bytes,
                            .uordblks = stats.bytes_used,
                            .fordblks = stats.bytes_free};
}

static int most(size_t n) { return n < INT_MAX ? (int)n : INT_MAX; }

MH_EXPORT struct mallinfo mallinfo(void) {
  struct mallinfo2 info = mallinfo2();
  return (struct mallinfo){.arena = most(info.arena),
                           .ordblks = most(info.ordblks),
                           .hblks = most(info.hblks),
                           .hblkhd = most(info.hblkhd),
                           .uordblks = most(info.uordblks),
                           .fordblks = most(info.fordblks)};
}

MH_EXPORT int mallopt(int parameter, int value) {
  (void)parameter, (void)value;
  return 1;
}

MH_EXPORT int malloc_trim(size_t pad) {
  int saved = errno;
  mheap *heap = mh_serving();
  bool done = heap != NULL && mheap_collect(heap, true) == MHEAP_OK;
  (void)pad;
  errno = saved;
  return done;
}

static void line(int fd, const char *name, const mheap_class_stats *class) {
  char text[160];
  if (class->used == 0) return;
  snprintf(text, sizeof text, "mheap: %10s %12" PRIu64 " blocks %15" PRIu64 " bytes", name, class->used,
           class->used_bytes);
  mh_os_tell(fd, text, "");
}

void mh_report(mheap *heap, int fd) {
  mheap_stats stats;
  char text[320];
  if (mheap_get_stats(heap, &stats) != MHEAP_OK) return;
  snprintf(text, sizeof text,
           "mheap: process %" PRIu64 ", %s: %" PRIu64 " blocks in use, %" PRIu64 " bytes in them, of %" PRIu64
           " (%" PRIu64 " at most)",
           mh_os_pid(), heap->region->path, stats.chunks_used, stats.bytes_used, stats.bytes_total,
           heap->region->peak);
  mh_os_tell(fd, text, "");
  for (int i = 0; i < MHEAP_CLASSES; i++) {
    snprintf(text, sizeof text, "%" PRIu64, stats.classes[i].block_size);
    line(fd, text, &stats.classes[i]);
  }
  line(fd, "spans", &stats.spans);
  line(fd, "huge spans", &stats.huge);
}

MH_EXPORT void malloc_stats(void) {
  mheap *heap = mh_serving();
  if (heap != NULL) mh_report(heap, STDERR_FILENO);
}
