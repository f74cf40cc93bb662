/* hugepages.c: see hugepages.h. Calls region_space.h, region_pages.h, os.h. */
#include "hugepages.h"

#include <errno.h>
#include <stdio.h>

#include "os.h"
#include "region_pages.h"
#include "region_space.h"
#include "superblock.h"

/* What one call wants, and how far it is. */
typedef struct wanted {
  uint64_t page, count, got;
  int node;
  double began, timeout; /* seconds; timeout 0: none */
  int why;               /* of the page that could not be had */
} wanted;

/* Before another page: is there time for it, and for all of them, if they take as long as these? */
static bool is_late(const wanted *w) {
  if (w->timeout == 0) return false;
  double elapsed = mh_os_monotonic() - w->began;
  if (elapsed > w->timeout) return true;
  return w->got > 0 && elapsed / (double)w->got * (double)w->count > 1.5 * w->timeout;
}

static int get_page(const wanted *w, char *place) {
  int failed = mh_os_map_huge(place, w->page, w->page, w->node);
  if (failed) return failed;
  failed = mh_os_populate(place, w->page);
  if (failed) mh_os_decommit(place, w->page);
  return failed;
}

static void get_pages(mh_region *region, wanted *w) {
  for (; w->got < w->count; w->got++) {
    if (is_late(w)) {
      w->why = ETIMEDOUT;
      return;
    }
    w->why = get_page(w, region->segments + w->got * w->page);
    if (w->why != 0) return;
  }
  w->why = 0;
}

static mheap_err fewer(const wanted *w, mheap_error *error) {
  char where[32] = "";
  if (w->node >= 0) snprintf(where, sizeof where, " at NUMA node %d", w->node);
  unsigned long long got = w->got, count = w->count, mib = w->page >> 20;
  mheap_err code;
  if (w->why == ETIMEDOUT)
    code = mh_fail(error, MHEAP_ERR_SYSTEM,
                   "huge pages: %llu of %llu pages of %llu MiB%s within %g seconds; allow more time, or ask "
                   "for fewer",
                   got, count, mib, where, w->timeout);
  else
    code = mh_fail(error, MHEAP_ERR_NO_MEMORY,
                   "huge pages: %llu of %llu pages of %llu MiB%s: the kernel's pool has no more (see "
                   "/sys/kernel/mm/hugepages)",
                   got, count, mib, where);
  if (error != NULL) error->sys = w->why == ETIMEDOUT ? ETIMEDOUT : ENOMEM;
  return code;
}

static mheap_err refused(mheap_error *error, uint64_t count) {
  mheap_err code = mh_fail(error, MHEAP_ERR_ARGUMENT,
                           "huge pages: %llu pages: ask for 1 or more, and for less "
                           "than an address space holds",
                           (unsigned long long)count);
  if (error != NULL) error->sys = EINVAL;
  return code;
}

/* Reserves address space for all pages; keeps what those that could be had need. */
static mheap_err fill(mh_region *region, wanted *w, mh_superblock *super, mheap_error *error) {
  mheap_options options = {.max_size = MH_SLICE + w->count * w->page};
  region->span = options.max_size;
  mheap_err code = mh_region_reserve(region, super, &options, error);
  if (code) return code;
  get_pages(region, w);
  uint64_t span = MH_SLICE + w->got * w->page;
  if (w->got == 0) return fewer(w, error);
  if (span < region->span) mh_os_release(region->base + span, region->span - span);
  region->span = super->max_size = span;
  int failed = mh_os_commit(region->base, MH_SLICE);
  if (failed) return mh_fail_system(error, failed, region->path, "making room for the superblock");
  region->pages.mapped = span;
  code = mh_region_make_tables(region, error);
  if (!code) code = mh_region_map(region, MH_REGION_MIN, error);
  if (!code) mh_region_format(region, super);
  return code;
}

static mh_region *reserve(wanted *w, mheap_error *error) {
  static const mheap_options defaults;
  mh_superblock super;
  mh_region *region = mh_region_new("huge pages", &defaults, error);
  if (region == NULL) return NULL;
  mh_region_set_path(region, "huge pages");
  region->anonymous = true;
  region->pages.asked = w->page == MH_HUGE_2M ? MHEAP_PAGES_2M : MHEAP_PAGES_1G;
  region->pages.grain = region->pages.hugetlb = w->page;
  region->pages.origin = MH_SLICE;
  region->pages.node = w->node;
  region->pages.kept = region->pages.pinned = true;
  mh_superblock_make(&super, 0);
  super.placement = mh_pages_placement(region);
  return mh_region_made(region, fill(region, w, &super, error), &defaults, error);
}

mheap_err mh_hugepages_reserve_of(uint64_t page, uint64_t count, int node, uint64_t timeout_ms,
                                  mh_region **made, uint64_t *got, mheap_error *error) {
  wanted w = {.page = page, .count = count, .node = node, .why = ENOMEM};
  mheap_error ignored;
  if (error == NULL) error = &ignored;
  mh_error_clear(error);
  *made = NULL;
  *got = 0;
  if (count == 0 || count > MH_OFFSET_MAX / 4 / page) return refused(error, count);
  if (node >= 0 && !mh_os_has_node(node)) return fewer(&w, error);
  w.timeout = (double)timeout_ms / 1000;
  w.began = mh_os_monotonic();
  *made = reserve(&w, error);
  if (*made == NULL) return error->code;
  *got = w.got;
  return w.got == count ? MHEAP_OK : fewer(&w, error);
}

mheap_err mh_hugepages_reserve(uint64_t count, int node, uint64_t timeout_ms, mh_region **made, uint64_t *got,
                               mheap_error *error) {
  return mh_hugepages_reserve_of(MH_HUGE_1G, count, node, timeout_ms, made, got, error);
}

/* ---- divided over nodes ---- */

static uint64_t count_nodes(uint64_t most) {
  uint64_t found = 0;
  for (int node = 0; node < mh_os_nodes(); node++)
    if (mh_os_has_node(node)) found++;
  return most > 0 && most < found ? most : found;
}

/* What is left of the timeout, at least 1: 0 would mean none. */
static uint64_t left_of(uint64_t timeout_ms, double began) {
  if (timeout_ms == 0) return 0;
  double gone = (mh_os_monotonic() - began) * 1000;
  return gone < (double)timeout_ms - 1 ? timeout_ms - (uint64_t)gone : 1;
}

mheap_err mh_hugepages_interleave(uint64_t count, uint64_t nodes, uint64_t timeout_ms,
                                  void (*made)(void *arg, mh_region *region, uint64_t got), void *arg,
                                  uint64_t *got, mheap_error *error) {
  double began = mh_os_monotonic();
  mheap_err failed = MHEAP_OK;
  mheap_error local;
  *got = 0;
  if (count == 0) return refused(error, count);
  nodes = count_nodes(nodes);
  for (uint64_t done = 0, node = 0; done < nodes; node++) {
    uint64_t share = count / nodes + (done < count % nodes), some;
    mh_region *region;
    if (!mh_os_has_node((int)node)) continue;
    done++;
    if (share == 0) break;
    mheap_err code =
        mh_hugepages_reserve(share, (int)node, left_of(timeout_ms, began), &region, &some, &local);
    if (region != NULL) made(arg, region, some);
    *got += some;
    if (code && !failed && error != NULL) *error = local;
    if (!failed) failed = code;
  }
  return failed;
}
