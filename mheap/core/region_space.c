/* region_space.c: see region_space.h and "space" in region.h. Calls os.h, registry.h and
   region_lock.h. */
#include "region_space.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "commit.h"
#include "map.h"
#include "os.h"
#include "reader.h"
#include "region_lock.h"
#include "registry.h"
#include "region_pages.h"
#include "segment.h"
#include "superblock.h"

/* ---- choosing an address ---- */

/* Heaps live between 32 and 80 TiB: far from where Linux puts programs, stacks and mmaps,
   and inside what ASan and MSan leave to the program. TSan leaves less, and ends a process
   that asks for more, so there only the second window is used. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif
static const struct window {
  uint64_t start, length;
} windows[] = {
#if !defined(__SANITIZE_THREAD__)
    {(uint64_t)32 << 40, (uint64_t)48 << 40},
#endif
    {(uint64_t)0x7e80 << 32, (uint64_t)0x70 << 32},
};
#define SPAN_LEAST ((uint64_t)64 << 20)

static uint64_t placed(uint64_t address, uint64_t placement) {
  uint64_t alignment = mh_placement_alignment(placement);
  return (address & ~(alignment - 1)) + mh_placement_residue(placement);
}

/* A span of half the size, in whole grains. */
static uint64_t half(const mh_region *region, uint64_t span) {
  uint64_t end = mh_pages_end(region, span / 2);
  return end > span / 2 && end > region->pages.origin ? end - region->pages.grain : end;
}

/* In mode atomic as much is needed again, for images and tables, which a limit has to leave room for. */
static int reserve(const mh_region *region, uint64_t address, uint64_t length, void **got) {
  void *again;
  uint64_t more = length + length / 8;
  int failed = mh_os_reserve((void *)address, length, got);
  if (failed || region->mode != MHEAP_MODE_ATOMIC || mh_os_address_limit() == UINT64_MAX) return failed;
  failed = mh_os_reserve(NULL, more, &again);
  if (failed) mh_os_release(*got, length);
  else mh_os_release(again, more);
  return failed;
}

/* Reserves the span at `address`; where the end of it is taken, or the system refuses so
   much, a smaller one that still holds the heap (unless the caller named a size). */
static int reserve_at(mh_region *region, uint64_t address, uint64_t least, bool exact) {
  void *got = NULL;
  uint64_t span = region->span;
  int failed = reserve(region, address, span, &got);
  while (failed && !exact && half(region, span) >= least) {
    span = half(region, span);
    failed = reserve(region, address, span, &got);
  }
  if (failed) return failed;
  region->base = got;
  region->span = span;
  return 0;
}

/* The same for an address that it must be: in a forked child the parent's mapping, which is dead
   there, goes. Nobody else's does: what comes between is found in the way as ever. */
static int reserve_there(mh_region *region, uint64_t address, uint64_t least, bool exact) {
  int failed = reserve_at(region, address, least, exact);
  if (failed == EEXIST && mh_registry_clear(address, region->span))
    failed = reserve_at(region, address, least, exact);
  return failed;
}

/* Anywhere: over-reserve by the alignment, keep the aligned part. */
static int reserve_anywhere(mh_region *region, uint64_t placement, uint64_t least, bool exact) {
  uint64_t alignment = mh_placement_alignment(placement), span = region->span;
  void *got = NULL;
  int failed = reserve(region, 0, span + alignment, &got);
  while (failed && !exact && half(region, span) >= least) {
    span = half(region, span);
    failed = reserve(region, 0, span + alignment, &got);
  }
  if (failed) return failed;
  uint64_t start = (uint64_t)got, end = start + span + alignment, base = placed(start, placement);
  if (base < start) base += alignment;
  if (base > start) mh_os_release(got, base - start);
  if (end > base + span) mh_os_release((void *)(base + span), end - base - span);
  region->base = (char *)base;
  region->span = span;
  return 0;
}

/* The windows' places that follow from the uuid, then wherever the kernel likes: that is where memory
   goes at once, which nobody attaches again, so that it takes no file's place. */
static int reserve_by_uuid(mh_region *region, const mh_superblock *stored, uint64_t least, bool exact) {
  uint64_t seed;
  memcpy(&seed, stored->identity.uuid, sizeof seed);
  for (size_t i = 0; i < sizeof windows / sizeof windows[0] && !region->anonymous; i++) {
    uint64_t address = placed(windows[i].start + seed % windows[i].length, stored->placement);
    if (reserve_at(region, address, region->span, true) == 0) return 0;
  }
  return reserve_anywhere(region, stored->placement, least, exact);
}

static mheap_err refused(mh_region *region, uint64_t address, bool stored, int sys, mheap_error *error) {
  bool kept = sys == EEXIST && mh_registry_keeps(address, region->span);
  mheap_err code = mh_fail(
      error, sys == ENOMEM ? MHEAP_ERR_NO_MEMORY : MHEAP_ERR_BASE_IN_USE,
      "%s: %s 0x%llx: %llu bytes there are %s in this process; %s", region->path,
      stored ? "its base address is fixed at" : "the base address asked for is", (unsigned long long)address,
      (unsigned long long)region->span, sys == ENOMEM ? "more than the system grants" : "taken",
      kept     ? "by a heap inherited over a fork, of which there are views: release them, or close it"
      : stored ? "relocate=True attaches it elsewhere (raw addresses stored inside then need mending)"
               : "ask for another, or none");
  if (error != NULL) error->sys = sys == EEXIST ? EADDRINUSE : sys;
  return code;
}

static mheap_err misplaced(mh_region *region, uint64_t asked, uint64_t placement, mheap_error *error) {
  char where[64] = "at";
  uint64_t residue = mh_placement_residue(placement);
  if (residue != 0) snprintf(where, sizeof where, "0x%llx bytes behind", (unsigned long long)residue);
  return mh_fail(error, MHEAP_ERR_ARGUMENT,
                 "%s: base address 0x%llx: this heap must lie %s a multiple of 0x%llx; ask for 0x%llx",
                 region->path, (unsigned long long)asked, where,
                 (unsigned long long)mh_placement_alignment(placement),
                 (unsigned long long)placed(asked, placement));
}

static mheap_err reserve_asked(mh_region *region, uint64_t asked, const mh_superblock *stored, uint64_t least,
                               bool exact, mheap_error *error) {
  if (placed(asked, stored->placement) != asked) return misplaced(region, asked, stored->placement, error);
  int failed = reserve_there(region, asked, least, exact);
  return failed ? refused(region, asked, false, failed, error) : MHEAP_OK;
}

mheap_err mh_region_reserve(mh_region *region, const mh_superblock *stored, const mheap_options *options,
                            mheap_error *error) {
  uint64_t asked = (uint64_t)options->base, fixed = stored->base;
  bool exact = options->max_size != 0;
  uint64_t least = stored->size + MH_SEGMENT > SPAN_LEAST ? stored->size + MH_SEGMENT : SPAN_LEAST;
  int failed;
  if (fixed != 0 && asked != 0 && asked != fixed && !options->relocate)
    return refused(region, fixed, true, EEXIST, error);
  if (asked != 0) {
    mheap_err code = reserve_asked(region, asked, stored, least, exact, error);
    if (code) return code;
  } else if (fixed != 0) {
    failed = reserve_there(region, fixed, least, exact);
    if (failed && options->relocate) failed = reserve_by_uuid(region, stored, least, exact);
    if (failed) return refused(region, fixed, true, failed, error);
  } else if ((failed = reserve_by_uuid(region, stored, least, exact)) != 0) {
    return mh_fail_system(error, failed, region->path,
                          "reserving address space (max_size= makes it smaller)");
  }
  region->segments = region->base + MH_SLICE;
  region->super = (mh_superblock *)region->base;
  return MHEAP_OK;
}

/* ---- tables ---- */

static uint64_t slab_table_bytes(const mh_region *region) {
  return (region->span / MH_SLICE) * sizeof(mh_slab);
}

mheap_err mh_region_make_tables(mh_region *region, mheap_error *error) {
  uint64_t words = region->span / MH_SEGMENT + MH_MAP_FIRST_WORDS;
  region->map_parts_room = words / MH_MAP_PART_WORDS + 1;
  region->slabs = mh_os_table_to_read(slab_table_bytes(region));
  region->map_parts = mh_os_table(region->map_parts_room * sizeof(void *));
  if (region->slabs == NULL || region->map_parts == NULL)
    return mh_fail_system(error, ENOMEM, region->path,
                          "making the process's tables (max_size= makes them smaller)");
  region->map_parts[0] = region->base;
  return MHEAP_OK;
}

/* Pieces of the table cover 64 MiB of the region, so that growing seldom asks the system. */
mheap_err mh_region_open_table(mh_region *region, uint64_t size, mheap_error *error) {
  uint64_t whole = slab_table_bytes(region), segments = (size - MH_SLICE + MH_SEGMENT - 1) / MH_SEGMENT;
  uint64_t need = segments * MH_SEGMENT_SLICES * sizeof(mh_slab), page = mh_host_pages() * MH_PAGE;
  if (need <= region->slabs_open) return MHEAP_OK;
  uint64_t grain = page > MH_SLICE ? page : MH_SLICE;
  whole = (whole + page - 1) / page * page;
  need = (need + grain - 1) / grain * grain;
  if (need > whole) need = whole;
  int failed = mh_os_commit((char *)region->slabs + region->slabs_open, need - region->slabs_open);
  if (failed) return mh_fail_system(error, failed, region->path, "making room in the process's table");
  region->slabs_open = need;
  return MHEAP_OK;
}

/* ---- which segments a heap has runs in ---- */

static uint64_t touched_bytes(const mh_region *region) {
  return (region->span / MH_SEGMENT / 8 / MH_SLICE + 1) * MH_SLICE;
}

void mh_region_touch_slowly(mh_region *region, uint32_t row, uint64_t segment) {
  if (region->touched[row] == NULL) region->touched[row] = mh_os_table(touched_bytes(region));
  if (region->touched[row] == NULL) {
    region->touched_lost = true;
    return;
  }
  region->touched[row][segment / 64] |= (uint64_t)1 << segment % 64;
  if (segment >= region->touched_end[row]) region->touched_end[row] = segment + 1;
}

void mh_region_set_thrifty(mh_region *region, uint32_t row, bool thrifty) {
  pthread_mutex_lock(&region->lock);
  region->thrifty[row] = thrifty;
  pthread_mutex_unlock(&region->lock);
}

static void untouch(mh_region *region, uint32_t row) {
  if (region->touched[row] != NULL) mh_os_table_free(region->touched[row], touched_bytes(region));
  region->touched[row] = NULL;
}

void mh_region_reset(mh_region *region) {
  for (uint32_t row = 0; row < MH_HEAPS; row++) {
    untouch(region, row);
    region->touched_end[row] = 0;
    region->orphans[row] = NULL;
    region->made_here[row] = false;
  }
  region->touched_lost = region->all_open = false;
  region->warm = 0;
  for (uint64_t part = 1; part < region->map_parts_room; part++) region->map_parts[part] = NULL;
  region->named_base = region->super->base != 0;
  region->epoch = region->super->epoch;
}

void mh_region_unmap(mh_region *region) {
  for (uint32_t row = 0; row < MH_HEAPS; row++) untouch(region, row);
  if (region->slabs != NULL) mh_os_table_free(region->slabs, slab_table_bytes(region));
  if (region->map_parts != NULL) mh_os_table_free(region->map_parts, region->map_parts_room * sizeof(void *));
  if (region->base != NULL) mh_pages_release(region);
  region->base = NULL;
}

/* ---- mapping, growth, shrinkage ---- */

static void set_size(mh_region *region, uint64_t size) {
  if (size > region->peak) region->peak = size;
  atomic_store_explicit(&region->size, size, memory_order_release);
}

mheap_err mh_region_map(mh_region *region, uint64_t size, mheap_error *error) {
  mheap_err code = mh_region_open_table(region, mh_pages_end(region, size), error);
  if (code) return code;
  int failed = mh_pages_map(region, size, false);
  if (failed == ENOMEM && region->mode == MHEAP_MODE_SCRATCH && region->pages.hugetlb != 0)
    return mh_fail_system(error, failed, region->path,
                          "setting huge pages aside for a scratch mapping, which takes as many as the heap "
                          "has (add some to the kernel's pool)");
  if (failed) return mh_fail_system(error, failed, region->path, "mapping the file");
  set_size(region, size);
  region->fresh_from = region->pages.fresh = size;
  if (region->anonymous) failed = mh_pages_back(region, MH_SLICE, size - MH_SLICE);
  return failed ? mh_fail_system(error, failed, region->path, "bringing in its first pages") : MHEAP_OK;
}

#define LOOKS 8

/* Of a reader whose generation is gone, nobody knows how long the file should be. */
static bool is_long_enough(const mh_region *region, uint64_t size, uint64_t found) {
  return found >= size || (found > 0 && !mh_reader_is_whole(region));
}

/* A file somebody truncated must not be extended again: the gap would read as zeros. Another
   thread of ours may make it shorter between the two readings, so one look is not believed. */
mheap_err mh_region_is_whole(mh_region *region, mheap_error *error) {
  if (region->anonymous) return MHEAP_OK;
  uint64_t size = 0, found = 0, disk;
  for (int i = 0; i < LOOKS; i++) {
    size = mh_region_file_bytes(region);
    int failed = mh_os_file_sizes(region->fd, &found, &disk);
    if (failed) return mh_fail_system(error, failed, region->path, "looking at the file");
    if (!region->cut && is_long_enough(region, size, found)) return MHEAP_OK;
  }
  return mh_fail_unreadable(error, region->path, found,
                            "the file was cut short while attached: bytes it should have", size, found);
}

/* A full disk: what is left of it is told, since less may have been wanted otherwise. */
static mheap_err no_space(mh_region *region, int sys, const char *doing, mheap_error *error) {
  char text[160];
  uint64_t left;
  if (sys == ENOSPC && region->pages.hugetlb != 0)
    return mh_fail_system(error, sys, region->path,
                          "allocating huge pages in the file (the kernel's pool, or the limit of its mount, "
                          "has no more)");
  if (sys != ENOSPC || mh_os_disk_left(region->fd, &left) != 0)
    return mh_fail_system(error, sys, region->path, doing);
  snprintf(text, sizeof text, "%s, with %llu bytes left on its file system", doing, (unsigned long long)left);
  return mh_fail_system(error, sys, region->path, text);
}

/* Extends the file sparsely: disk space comes with mh_region_back. Bytes a killed writer left
   behind are dropped first. */
static mheap_err extend_file(mh_region *region, uint64_t size, mheap_error *error) {
  uint64_t old = mh_pages_end(region, mh_region_size(region)), end = mh_pages_end(region, size);
  mheap_err code = mh_region_is_whole(region, error);
  if (code) return code;
  int failed = mh_os_truncate(region->fd, old);
  if (!failed && end > old) failed = mh_os_truncate(region->fd, end);
  return failed ? no_space(region, failed, "growing the file", error) : MHEAP_OK;
}

static mheap_err beyond_span(const mh_region *region, uint64_t size, mheap_error *error) {
  const char *remedy = region->is_arena ? "free something in this arena, or reserve a larger one"
                                        : "attach it with a larger max_size=";
  return mh_fail(error, MHEAP_ERR_FULL, "%s: the heap has %llu bytes and may grow to %llu; %s", region->path,
                 (unsigned long long)size, (unsigned long long)region->span, remedy);
}

mheap_err mh_region_grow(mh_region *region, uint64_t size, mheap_error *error) {
  uint64_t old = mh_region_size(region);
  if (size <= old) return MHEAP_OK;
  if (size > region->span) return beyond_span(region, old, error);
  bool file = !region->anonymous && region->mode == MHEAP_MODE_LIVE;
  mheap_err code = mh_region_open_table(region, size, error);
  if (!code && file) code = extend_file(region, size, error);
  if (!code && region->commits != NULL) code = mh_commits_make_way(region, mh_pages_end(region, size), error);
  if (code) return code;
  int failed = mh_pages_map(region, size, true);
  if (failed) return mh_fail_system(error, failed, region->path, "mapping more of the file");
  if (region->fresh_from > old) region->fresh_from = old;
  /* Before it shrank something else was here perhaps, of which no commit spoke. */
  if (region->commits != NULL) mh_mark_range(mh_at(region, old), size - old);
  mh_publish(&region->super->size, size);
  set_size(region, size);
  return MHEAP_OK;
}

void mh_region_begin_walk(mh_region *region) {
  pthread_mutex_lock(&region->lock);
  region->walkers++;
  pthread_mutex_unlock(&region->lock);
}

void mh_region_end_walk(mh_region *region) {
  pthread_mutex_lock(&region->lock);
  region->walkers--;
  pthread_mutex_unlock(&region->lock);
}

/* What is not committed may be undone: the bytes stay until the end of the attach. */
static void shrink_atomic(mh_region *region, uint64_t size) {
  set_size(region, size);
  mh_publish(&region->super->size, size);
}

mheap_err mh_region_shrink(mh_region *region, uint64_t size) {
  uint64_t old = mh_region_size(region);
  if (size < old && region->walkers == 0 && region->commits != NULL)
    return shrink_atomic(region, size), MHEAP_OK;
  if (size >= old || region->walkers > 0 || !mh_region_begin_taking(region)) return MHEAP_OK;
  if (mh_region_is_whole(region, NULL) == MHEAP_OK) {
    set_size(region, size);
    mh_publish(&region->super->size, size);
    mh_pages_unmap(region, size);
    if (!region->anonymous && region->mode == MHEAP_MODE_LIVE)
      mh_os_truncate(region->fd, mh_pages_end(region, size));
    if (region->fresh_from > size) region->fresh_from = size;
    if (region->pages.fresh > size) region->pages.fresh = size;
  }
  mh_region_end_taking(region);
  return MHEAP_OK;
}

mheap_err mh_region_back(mh_region *region, uint64_t offset, uint64_t length, mheap_error *error) {
  int failed = mh_pages_back(region, offset, length);
  if (failed == EOPNOTSUPP)
    return mh_fail(error, MHEAP_ERR_SYSTEM,
                   "%s: this file system cannot allocate space ahead, and a full disk would then kill "
                   "the process: keep live heaps on ext4, XFS, btrfs without reflinks, or tmpfs",
                   region->path);
  return failed ? no_space(region, failed, "allocating space in the file", error) : MHEAP_OK;
}

mheap_err mh_region_fill(mh_region *region, uint64_t offset, uint64_t length, mheap_error *error) {
  mheap_err code = mh_region_back(region, offset, length, error);
  if (!code) mh_pages_fill(region, offset, length);
  return code;
}

void mh_region_punch(mh_region *region, uint64_t offset, uint64_t length) {
  if (!mh_region_begin_taking(region)) return;
  mh_pages_punch(region, offset, length);
  mh_region_end_taking(region);
}

/* What is behind the end stays reserved: growth is memory from now on, on small pages. */
mheap_err mh_region_split(mh_region *region, mheap_error *error) {
  uint64_t size = mh_region_size(region), mapped = region->pages.mapped;
  int failed = mh_os_own_copy(region->base, mapped);
  if (!failed && mapped > size) failed = mh_os_decommit(mh_at(region, size), mapped - size);
  if (failed) return mh_fail_system(error, failed, region->path, "copying the heap for a forked child");
  region->pages = (mh_pages){.grain = MH_SLICE, .mapped = size, .asked = MHEAP_PAGES_NEVER, .node = -1};
  region->anonymous = true;
  region->splits = false;
  return MHEAP_OK;
}

/* ---- addresses ---- */

uint64_t mh_host_pages(void) {
  uint64_t pages = mh_os_page() / MH_PAGE;
  return pages > 0 ? pages : 1;
}

void mh_region_name_base(mh_region *region) {
  if (region->named_base) return;
  region->named_base = true;
  if (mh_region_writable(region) && (region->open || region->mode == MHEAP_MODE_SCRATCH))
    mh_publish(&region->super->base, (uint64_t)region->base);
}
