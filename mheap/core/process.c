/* process.c: the small calls that are about a thread or the process: blocks of at most 1 KiB, the
   coming of a thread, what the kernel says of the process. Owns nothing. Calls os.h, lane.h. */
#include <string.h>

#include "heap.h"
#include "lane.h"
#include "os.h"

static_assert(MHEAP_SMALL_SIZE_MAX == MH_SMALL_MAX, "what the fast path serves");

void *mheap_malloc_small(mheap *heap, size_t size) { return mheap_malloc(heap, size); }

void *mheap_zalloc_small(mheap *heap, size_t size) {
  void *block = mheap_malloc(heap, size);
  return block != NULL ? memset(block, 0, size) : NULL;
}

mheap_err mheap_thread_init(void) {
  mheap *heap = mheap_default();
  if (heap == NULL) return MHEAP_ERR_NO_MEMORY;
  mheap_err code = mh_heap_raw(heap);
  mh_lane *lane = code ? NULL : mh_lane_of(heap, mh_error(heap));
  if (lane == NULL) return mh_error(heap)->code;
  mh_lane_remember(lane);
  return MHEAP_OK;
}

mheap_err mheap_get_process_info(mheap_process_info *info, mheap_error *error) {
  mh_os_usage usage;
  memset(info, 0, sizeof *info);
  int failed = mh_os_process(&usage);
  if (failed) return mh_fail_system(error, failed, "/proc/self", "asking the kernel about this process");
  *info = (mheap_process_info){
      .elapsed_ms = usage.elapsed,
      .user_ms = usage.user,
      .system_ms = usage.system,
      .current_rss = usage.resident,
      .peak_rss = usage.resident_peak,
      .current_commit = usage.data,
      .peak_commit = usage.size_peak,
      .page_faults = usage.major_faults,
  };
  return MHEAP_OK;
}
