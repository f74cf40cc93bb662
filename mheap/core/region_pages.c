/* region_pages.c: see region_pages.h. Calls os.h. */
#include "region_pages.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "commit.h"
#include "least.h"
#include "os.h"
#include "superblock.h"
#include "zeros.h"

/* ---- words ---- */

static const char *page_text(uint64_t page, char text[24]) {
  if (page >= MH_HUGE_1G) snprintf(text, 24, "%lluG", (unsigned long long)(page >> 30));
  else if (page >= (uint64_t)1 << 20) snprintf(text, 24, "%lluM", (unsigned long long)(page >> 20));
  else snprintf(text, 24, "%lluK", (unsigned long long)(page >> 10));
  return text;
}

static const char *instead(void) {
  return mh_os_has_transparent() ? "transparent huge pages were asked for instead"
                                 : "and transparent ones are switched off, so small ones are used";
}

/* The first reason is kept: later ones follow from it. */
static void note(mh_pages *pages, const char *reason) {
  if (pages->fallback[0] == '\0') snprintf(pages->fallback, sizeof pages->fallback, "%s", reason);
}

static void note_pool(mh_pages *pages, int why) {
  char size[24], reason[MHEAP_FALLBACK];
  page_text(pages->hugetlb, size);
  if (why == ENOSYS)
    snprintf(reason, sizeof reason, "%s pages: this kernel is too old (before Linux 5.14); %s", size,
             instead());
  else if (why == EINVAL)
    snprintf(reason, sizeof reason, "%s pages: this kernel has none of that size; %s", size, instead());
  else
    snprintf(reason, sizeof reason, "%s pages: the kernel's pool had not enough (see %s); %s", size,
             pages->hugetlb == MH_HUGE_2M ? "/proc/sys/vm/nr_hugepages" : "/sys/kernel/mm/hugepages",
             instead());
  note(pages, reason);
}

/* ---- choosing ---- */

static uint64_t round_up(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

static mheap_err choose_node(mh_region *region, const mheap_options *options, mheap_error *error) {
  region->pages.node = options->numa_node - 1;
  if (options->numa_node == 0 || mh_os_has_node(region->pages.node)) return MHEAP_OK;
  return mh_fail(error, MHEAP_ERR_ARGUMENT,
                 "%s: NUMA node %d: this machine has none of that number; its nodes end with %d",
                 region->path, region->pages.node, mh_os_nodes() - 1);
}

static uint64_t page_asked(mheap_pages asked) {
  return asked == MHEAP_PAGES_2M ? MH_HUGE_2M : asked == MHEAP_PAGES_1G ? MH_HUGE_1G : 0;
}

static void choose_memory(mh_pages *pages) {
  pages->origin = MH_SLICE;
  pages->hugetlb = page_asked(pages->asked);
  if (pages->hugetlb != 0) pages->grain = pages->hugetlb;
  else if (pages->advised) pages->grain = MH_HUGE_2M;
}

/* Only a file in memory gets longer by a huge page at a time, and only when it is changed. */
static mheap_err choose_file(mh_region *region, mheap_error *error) {
  mh_pages *pages = &region->pages;
  char is[24], reason[MHEAP_FALLBACK];
  bool wanted, memory = mh_os_file_in_memory(region->fd, &wanted);
  uint64_t page = mh_os_file_pages(region->fd);
  if (page % MH_SLICE != 0 || page > MH_HUGE_1G * 64)
    return mh_fail(error, MHEAP_ERR_SYSTEM, "%s: its file system has pages of %llu bytes, which hold no heap",
                   region->path, (unsigned long long)page);
  if (page == 0 && page_asked(pages->asked) != 0) {
    snprintf(reason, sizeof reason, "%s pages: a file has them only on hugetlbfs; %s",
             page_text(page_asked(pages->asked), is), instead());
    note(pages, reason);
  } else if (page != 0 && page_asked(pages->asked) != 0 && page_asked(pages->asked) != page) {
    snprintf(reason, sizeof reason, "the file lies on a hugetlbfs whose pages have %s", page_text(page, is));
    note(pages, reason);
  }
  pages->hugetlb = page;
  pages->in_memory = memory;
  pages->advised = page == 0 && (pages->advised || wanted);
  if (page != 0) pages->grain = page;
  else if (memory && pages->advised && region->mode == MHEAP_MODE_LIVE) pages->grain = MH_HUGE_2M;
  return MHEAP_OK;
}

mheap_err mh_pages_choose(mh_region *region, const mheap_options *options, mheap_error *error) {
  mh_pages *pages = &region->pages;
  pages->grain = MH_SLICE;
  pages->asked = options->huge_pages;
  pages->advised = pages->asked != MHEAP_PAGES_NEVER;
  mheap_err code = choose_node(region, options, error);
  if (code) return code;
  if (!region->anonymous) return choose_file(region, error);
  choose_memory(pages);
  return MHEAP_OK;
}

uint64_t mh_pages_placement(const mh_region *region) {
  const mh_pages *pages = &region->pages;
  uint64_t alignment = pages->grain > MH_SEGMENT ? pages->grain : MH_SEGMENT;
  if (!region->anonymous && (pages->hugetlb != 0 || pages->advised)) return alignment;
  return alignment + (alignment - MH_SLICE); /* segments are aligned in memory */
}

static bool fits(const mh_superblock *super, const mheap_options *options, uint64_t page) {
  uint64_t alignment = mh_placement_alignment(super->placement),
           residue = mh_placement_residue(super->placement);
  return super->base % page == 0 && (uint64_t)options->base % page == 0 &&
         (alignment >= page ? residue % page == 0 : residue == 0);
}

mheap_err mh_pages_fit(mh_region *region, mh_superblock *super, const mheap_options *options,
                       mheap_error *error) {
  mh_pages *pages = &region->pages;
  uint64_t page = pages->hugetlb != 0 ? pages->hugetlb : MH_HUGE_2M;
  if (region->anonymous || (pages->hugetlb == 0 && !pages->advised)) return MHEAP_OK;
  if (fits(super, options, page)) {
    if (mh_placement_alignment(super->placement) < page) super->placement = page;
    return MHEAP_OK;
  }
  if (pages->hugetlb != 0)
    return mh_fail(
        error, MHEAP_ERR_SYSTEM,
        "%s: its base, or the one asked for, is no multiple of the %llu bytes that pages have here; "
        "a heap that was made for small pages stays on another file system",
        region->path, (unsigned long long)page);
  pages->grain = MH_SLICE;
  if (pages->asked != MHEAP_PAGES_NEVER)
    note(pages, "its base, or the one asked for, is no multiple of a huge page: it may get none");
  return MHEAP_OK;
}

/* ---- mapping ---- */

uint64_t mh_pages_end(const mh_region *region, uint64_t size) {
  const mh_pages *pages = &region->pages;
  if (size <= pages->origin) return pages->origin;
  return pages->origin + round_up(size - pages->origin, pages->grain);
}

/* What may be done without; what was obtained is seen in the statistics. */
static void advise(mh_region *region, uint64_t from, uint64_t to) {
  mh_pages *pages = &region->pages;
  if (from >= to) return;
  if (pages->advised && pages->hugetlb == 0) mh_os_advise_huge(mh_at(region, from), to - from);
  if (pages->node >= 0 && mh_os_prefer_node(mh_at(region, from), to - from, pages->node) != 0)
    note(pages, "NUMA node: the system refused to prefer one");
}

/* Plain memory, in place of huge pages that could not be had. */
static int map_small(mh_region *region, uint64_t from, uint64_t to) {
  int failed = from < to ? mh_os_commit(mh_at(region, from), to - from) : 0;
  if (failed || from >= to) return failed;
  if (from >= region->pages.origin) mh_os_advise_huge(mh_at(region, from), to - from);
  advise(region, from, to);
  return 0;
}

static int map_pool(mh_region *region, uint64_t from, uint64_t to) {
  mh_pages *pages = &region->pages;
  int failed = 0;
  if (from < pages->origin) {
    failed = map_small(region, from, pages->origin);
    from = pages->origin;
  }
  if (failed || from >= to) return failed;
  int why = mh_os_map_huge(mh_at(region, from), to - from, pages->grain, pages->node);
  if (why == 0) return 0;
  note_pool(pages, why);
  return map_small(region, from, to);
}

static int map_memory(mh_region *region, uint64_t from, uint64_t to) {
  mh_pages *pages = &region->pages;
  if (pages->lent) return pages->committed ? 0 : mh_os_commit(mh_at(region, from), to - from);
  if (pages->hugetlb != 0) return map_pool(region, from, to);
  int failed = mh_os_commit(mh_at(region, from), to - from);
  if (!failed) advise(region, from, to);
  return failed;
}

/* What a scratch region grows by is memory, since its file stays as it is. */
static int map_file(mh_region *region, uint64_t from, uint64_t to, bool growing) {
  bool writable = region->mode != MHEAP_MODE_READONLY, shared = region->mode == MHEAP_MODE_LIVE;
  if (region->mode == MHEAP_MODE_ATOMIC) shared = growing; /* see commit.h */
  if (region->mode == MHEAP_MODE_READONLY) shared = region->pages.hugetlb != 0; /* none has a journal */
  if (growing && region->mode == MHEAP_MODE_SCRATCH) return mh_os_commit(mh_at(region, from), to - from);
  int failed = mh_os_map(mh_at(region, from), to - from, region->fd, from, writable, shared);
  if (!failed) advise(region, from, to);
  if (!failed && growing && shared && !region->pages.advised && region->pages.hugetlb == 0)
    mh_os_advise_fresh(mh_at(region, from), to - from);
  return failed;
}

int mh_pages_map(mh_region *region, uint64_t size, bool growing) {
  mh_pages *pages = &region->pages;
  uint64_t from = pages->mapped, to = mh_pages_end(region, size);
  if (to <= from) return 0;
  int failed = region->anonymous ? map_memory(region, from, to) : map_file(region, from, to, growing);
  if (!failed) pages->mapped = to;
  return failed;
}

void mh_pages_unmap(mh_region *region, uint64_t size) {
  mh_pages *pages = &region->pages;
  uint64_t end = mh_pages_end(region, size);
  if (end >= pages->mapped) return;
  if (pages->kept || pages->lent) {
    mh_pages_punch(region, end, pages->mapped - end);
    return;
  }
  if (mh_os_decommit(mh_at(region, end), pages->mapped - end) != 0) pages->may_be_dirty = true;
  pages->mapped = end;
}

void mh_pages_release(mh_region *region) {
  const mh_pages *pages = &region->pages;
  if (!pages->lent) mh_os_release(region->base, region->span);
  else if (!pages->committed && pages->mapped > 0) mh_os_protect(region->base, pages->mapped, false);
}

/* ---- pages given back, and found missing ---- */

void mh_pages_punch(mh_region *region, uint64_t offset, uint64_t length) {
  mh_pages *pages = &region->pages;
  uint64_t from = mh_pages_end(region, offset), to = mh_pages_end(region, offset + length);
  if (to > offset + length) to -= pages->grain;
  if (to > pages->mapped) to = pages->mapped;
  if (from >= to || offset < pages->origin || pages->pinned) return;
  if (pages->keeper != NULL) {
    pages->keeper->give(pages->keeper, mh_at(region, from), to - from);
    return;
  }
  if (!region->anonymous) {
    if (region->mode == MHEAP_MODE_LIVE) mh_os_punch(region->fd, from, to - from);
    return;
  }
  if (mh_os_discard(mh_at(region, from), to - from) != 0) pages->may_be_dirty = true;
}

bool mh_pages_are_zero(const mh_region *region) {
  const mh_pages *pages = &region->pages;
  bool ordinary = region->anonymous && pages->grain == MH_SLICE && pages->hugetlb == 0 && !pages->lent;
  return ordinary && !pages->pinned && !pages->kept && !pages->may_be_dirty;
}

static uint64_t grain_of(const mh_pages *pages, uint64_t offset) {
  return pages->origin + (offset - pages->origin) / pages->grain * pages->grain;
}

/* Pages of the pool are taken when they are used first. Where it has none, or none to copy one to
   that is shared since a fork, small ones take their place. */
static int bring_in(mh_region *region, uint64_t from, uint64_t to) {
  mh_pages *pages = &region->pages;
  int why = from < to ? mh_os_populate(mh_at(region, from), to - from) : 0;
  for (uint64_t end; why != 0 && from < to; from = end) {
    uint64_t start = grain_of(pages, from);
    end = mh_least(start + pages->grain, to);
    int failed = mh_os_populate(mh_at(region, from), end - from);
    if (!failed) continue;
    if (!mh_os_make_small(mh_at(region, start), pages->grain)) return ENOMEM;
    note_pool(pages, failed);
    mh_os_advise_huge(mh_at(region, start), pages->grain);
    if (pages->node >= 0) mh_os_prefer_node(mh_at(region, start), pages->grain, pages->node);
  }
  return 0;
}

/* Private pages have no place in the file before a checkpoint, but on tmpfs, where the kernel gives the
   file a page before it copies it: without space that would end in SIGBUS. */
static int back_growth(const mh_region *region, uint64_t offset, uint64_t length) {
  uint64_t from = region->pages.in_memory ? 0 : region->commits->shared_from, end = offset + length;
  if (offset > from) from = offset;
  return from < end ? mh_os_allocate(region->fd, from, end - from) : 0;
}

int mh_pages_back(mh_region *region, uint64_t offset, uint64_t length) {
  mh_pages *pages = &region->pages;
  if (pages->keeper != NULL)
    return pages->keeper->back(pages->keeper, mh_at(region, offset), length) ? 0 : ENOMEM;
  if (region->anonymous && pages->hugetlb != 0 && !pages->kept && offset >= pages->origin)
    return bring_in(region, offset, mh_least(offset + length, pages->mapped));
  if (region->commits != NULL) return back_growth(region, offset, length);
  if (region->anonymous || region->mode != MHEAP_MODE_LIVE) return 0;
  /* Before it is allocated, which takes small pages where huge ones are not given unasked. */
  if (pages->grain > MH_SLICE && pages->hugetlb == 0) mh_os_populate(mh_at(region, offset), length);
  return mh_os_allocate(region->fd, offset, length);
}

/* Of memory of the machine: as much of fresh space is filled at once. What is larger may be meant to stay
   empty for the most part, and would press other files' pages out. */
#define FILL_PART 16

static bool can_be_filled(const mh_region *region) {
  const mh_pages *pages = &region->pages;
  bool file = !region->anonymous && (region->mode == MHEAP_MODE_LIVE || region->commits != NULL);
  return file && !pages->in_memory && !pages->advised && pages->hugetlb == 0;
}

/* It is zero already, so that a write that fails changes nothing but the time. */
void mh_pages_fill(mh_region *region, uint64_t offset, uint64_t length) {
  mh_pages *pages = &region->pages;
  uint64_t from = offset, end = offset + length;
  if (!can_be_filled(region)) return;
  if (from < pages->fresh) from = pages->fresh;
  if (region->commits != NULL && from < region->commits->shared_from) from = region->commits->shared_from;
  if (end <= from) return;
  pages->fresh = end;
  if (end - from <= mh_os_memory() / FILL_PART) mh_zeros_write(region->fd, from, end);
}

bool mh_pages_rescue(mh_region *region, void *address) {
  const mh_pages *pages = &region->pages;
  uint64_t offset = mh_offset(region, address);
  if (!region->anonymous || pages->hugetlb == 0 || pages->lent || offset < pages->origin) return false;
  if (offset >= pages->mapped) return false;
  return mh_os_make_small(mh_at(region, grain_of(pages, offset)), pages->grain);
}

/* ---- what it is now ---- */

static void say_if_none(const mh_pages *pages, mheap_page_stats *stats) {
  if (pages->asked != MHEAP_PAGES_TRANSPARENT || stats->fallback[0] != '\0') return;
  if (stats->bytes_transparent + stats->bytes_2m + stats->bytes_1g + stats->bytes_other > 0) return;
  snprintf(stats->fallback, sizeof stats->fallback, "transparent huge pages: %s",
           mh_os_has_transparent() ? "the kernel has given none so far"
                                   : "switched off (see /sys/kernel/mm/transparent_hugepage/enabled)");
}

void mh_pages_count_in(mh_region *region, const mh_os_range *ranges, size_t count, mheap_page_stats *stats) {
  mh_os_pages found;
  pthread_mutex_lock(&region->lock);
  const mh_pages now = region->pages, *pages = &now;
  pthread_mutex_unlock(&region->lock);
  memset(stats, 0, sizeof *stats);
  stats->asked = pages->asked;
  stats->numa_node = pages->lent ? pages->node : mh_os_node_of(region->segments);
  memcpy(stats->fallback, pages->fallback, sizeof stats->fallback);
  if (mh_os_count_pages(ranges, count, &found)) {
    stats->page_size = found.bytes_transparent > 0 && found.largest < MH_HUGE_2M ? MH_HUGE_2M : found.largest;
    stats->bytes_1g = found.bytes_1g;
    stats->bytes_2m = found.bytes_2m;
    stats->bytes_other = found.bytes_other;
    stats->bytes_transparent = found.bytes_transparent;
  }
  say_if_none(pages, stats);
}

mh_os_range mh_pages_range(const mh_region *region) {
  uint64_t start = (uint64_t)region->base;
  return (mh_os_range){start, start + region->pages.mapped};
}

void mh_pages_count(mh_region *region, mheap_page_stats *stats) {
  mh_os_range range = mh_pages_range(region);
  mh_pages_count_in(region, &range, 1, stats);
}

/* Piece by piece, so that what cannot be (holes, pages of the pool) does not stand in the way. */
static int collapse_pieces(char *from, char *to) {
  int why = 0;
  bool done = false;
  for (; from < to; from += MH_HUGE_2M) {
    int failed = mh_os_collapse(from, MH_HUGE_2M);
    if (failed == EAGAIN) failed = mh_os_collapse(from, MH_HUGE_2M);
    if (failed) why = failed;
    else done = true;
  }
  return done ? 0 : why;
}

mheap_err mh_pages_collapse(mh_region *region, mheap_error *error) {
  const mh_pages *pages = &region->pages;
  if (pages->hugetlb != 0 && pages->fallback[0] == '\0') return MHEAP_OK;
  char *from = (char *)round_up((uint64_t)region->base, MH_HUGE_2M);
  char *to = region->base + mh_region_size(region);
  to -= (uint64_t)to % MH_HUGE_2M;
  if (from >= to) return MHEAP_OK; /* smaller than one */
  int failed = mh_os_collapse(from, (uint64_t)(to - from));
  if (failed && failed != ENOSYS) failed = collapse_pieces(from, to);
  if (failed == ENOSYS)
    return mh_fail_system(error, failed, region->path,
                          "collapsing into huge pages: this kernel cannot (before Linux 6.1)");
  return failed ? mh_fail_system(error, failed, region->path, "collapsing into huge pages") : MHEAP_OK;
}
