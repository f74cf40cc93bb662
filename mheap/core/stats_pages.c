/* stats_pages.c: which pages a heap lies on, in however many regions.

   Owns nothing. Calls parts.h, region_pages.h, os.h. The kernel tells of all mappings of the process at once:
   it is asked once for all regions, so that hundreds of them cost what they are, not their square. */
#include <errno.h>
#include <string.h>

#include "heap.h"
#include "os.h"
#include "parts.h"
#include "region_pages.h"

typedef struct list {
  mh_os_range *ranges;
  size_t room, count;
} list;

/* ---- in the order of addresses: a heap sort, which takes no memory ---- */

static void swap(mh_os_range *a, mh_os_range *b) {
  mh_os_range kept = *a;
  *a = *b;
  *b = kept;
}

static void sift(mh_os_range *ranges, size_t at, size_t count) {
  for (size_t below; (below = 2 * at + 1) < count; at = below) {
    if (below + 1 < count && ranges[below + 1].start > ranges[below].start) below++;
    if (ranges[at].start >= ranges[below].start) return;
    swap(&ranges[at], &ranges[below]);
  }
}

static void sort(mh_os_range *ranges, size_t count) {
  for (size_t at = count / 2; at-- > 0;) sift(ranges, at, count);
  for (size_t end = count; end-- > 1;) {
    swap(&ranges[0], &ranges[end]);
    sift(ranges, 0, end);
  }
}

/* ---- the parts' ranges ---- */

static uint64_t bytes_of(size_t room) { return room * sizeof(mh_os_range); }

/* What is added to the chain meanwhile is left out. `fallback`: the first of a part's. */
static void list_parts(mheap *heap, list *of, char *fallback) {
  for (mheap *part = mh_part_first(heap); part != NULL && of->count < of->room; part = mh_part_next(part)) {
    if (!mh_part_enter(part)) continue;
    of->ranges[of->count++] = mh_pages_range(part->region);
    pthread_mutex_lock(&part->region->lock);
    if (fallback[0] == '\0') memcpy(fallback, part->region->pages.fallback, MHEAP_FALLBACK);
    pthread_mutex_unlock(&part->region->lock);
    mh_part_leave(part);
  }
  sort(of->ranges, of->count);
}

/* What was asked for, and the node, are home's. A region that goes meanwhile is told as what lies there. */
mheap_err mh_stats_count_pages(mheap *heap, mheap_page_stats *pages) {
  list of = {NULL, 0, 0};
  char fallback[MHEAP_FALLBACK] = "";
  for (mheap *part = mh_part_first(heap); part != NULL; part = mh_part_next(part)) of.room++;
  if (of.room == 1) return mh_pages_count(heap->region, pages), MHEAP_OK;
  of.ranges = mh_os_table(bytes_of(of.room));
  if (of.ranges == NULL)
    return mh_fail_system(mh_error(heap), ENOMEM, heap->region->path, "listing the regions it uses");
  list_parts(heap, &of, fallback);
  mh_pages_count_in(heap->region, of.ranges, of.count, pages);
  if (pages->fallback[0] == '\0') memcpy(pages->fallback, fallback, sizeof fallback);
  mh_os_table_free(of.ranges, bytes_of(of.room));
  return MHEAP_OK;
}
