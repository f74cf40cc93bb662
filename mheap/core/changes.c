/* changes.c: see changes.h. */
#include "changes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os.h"

#define RANGES 256

typedef mheap_err visit_range(void *arg, uint64_t from, uint64_t to, mheap_error *error);

static mheap_err visit_pages(mh_region *region, const mh_os_look *look, uint64_t from, uint64_t to,
                             visit_range *visit, void *arg, mheap_error *error) {
  mh_os_range ranges[RANGES];
  uint64_t next = (uint64_t)mh_at(region, from), end = (uint64_t)mh_at(region, to);
  while (next < end) {
    size_t count;
    int failed = mh_os_written(look, (void *)next, end - next, ranges, RANGES, &count, &next);
    if (failed) return mh_fail_system(error, failed, region->path, "asking the kernel what was written");
    for (size_t i = 0; i < count; i++) {
      uint64_t start = ranges[i].start - (uint64_t)region->base,
               stop = ranges[i].end - (uint64_t)region->base;
      mheap_err code = visit(arg, start, stop, error);
      if (code) return code;
    }
  }
  return MHEAP_OK;
}

mheap_err mh_changes_pages(mh_region *region, uint64_t from, uint64_t to,
                           mheap_err (*visit)(void *arg, uint64_t from, uint64_t to, mheap_error *error),
                           void *arg, mheap_error *error) {
  const mh_os_look look = mh_os_look_now();
  return visit_pages(region, &look, from, to, visit, arg, error);
}

/* The first slice has what others than objects change: it is looked at always. */
mheap_err mh_changes_ranges(mh_region *region, uint64_t to,
                            mheap_err (*visit)(void *arg, uint64_t from, uint64_t to, mheap_error *error),
                            void *arg, mheap_error *error) {
  const mh_marked *marked = &region->commits->marked;
  const mh_os_look look = mh_os_look_now();
  if (region->named_base) return visit_pages(region, &look, 0, to, visit, arg, error);
  mh_marked_gather();
  mheap_err code = visit_pages(region, &look, 0, MH_SLICE, visit, arg, error);
  uint64_t from = 1, end = to / MH_SLICE;
  for (uint64_t count; !code && (count = mh_marked_next(marked, &from, end)) > 0; from += count)
    code = visit_pages(region, &look, from * MH_SLICE, (from + count) * MH_SLICE, visit, arg, error);
  return code;
}

/* ---- inside a page ---- */

#define WORDS (MH_PAGE / 8)
#define JOIN 2 /* equal words between changed ones that are cheaper to store than another entry is */

typedef struct search {
  mh_region *region;
  const mh_changes_visitor *visitor;
} search;

/* Words of a page, up to `end`. */
typedef struct words {
  uint32_t from, end;
} words;

/* The end of the stretch that begins with the changed word `i`. */
static uint32_t stretch_end(const uint64_t *now, const uint64_t *before, uint32_t i, uint32_t last) {
  uint32_t end = i + 1;
  for (uint32_t j = end; j < last && j <= end + JOIN; j++)
    if (now[j] != before[j]) end = j + 1;
  return end;
}

#define LINE 8 /* words that are compared at once where nothing changed, as nearly all of a page mostly is */

/* The first changed word from `i` on, or `last`. */
static uint32_t next_changed(const uint64_t *now, const uint64_t *before, uint32_t i, uint32_t last) {
  while (i + LINE <= last && memcmp(&now[i], &before[i], LINE * sizeof *now) == 0) i += LINE;
  while (i < last && now[i] == before[i]) i++;
  return i;
}

static mheap_err visit_stretches(const search *s, uint64_t offset, words in, const uint64_t *now,
                                 const uint64_t *before, mheap_error *error) {
  for (uint32_t i = in.from, end; (i = next_changed(now, before, i, in.end)) < in.end; i = end) {
    end = stretch_end(now, before, i, in.end);
    mheap_err code = s->visitor->visit(s->visitor->arg, offset + 8 * i, &now[i], 8 * (end - i), error);
    if (code) return code;
  }
  return MHEAP_OK;
}

/* What never comes out of a record goes into none, not even as equal words between changed ones: the journal
   may have moved by the time that the record is read. */
static mheap_err visit_superblock(const search *s, const uint64_t *now, const uint64_t *before,
                                  mheap_error *error) {
  static const words parts[] = {
      {0, offsetof(mh_superblock, journal) / 8},
      {offsetof(mh_superblock, birth) / 8, offsetof(mh_superblock, journal_seed) / 8},
      {offsetof(mh_superblock, reserved) / 8, WORDS},
  };
  mheap_err code = MHEAP_OK;
  for (size_t i = 0; i < sizeof parts / sizeof *parts && !code; i++)
    code = visit_stretches(s, 0, parts[i], now, before, error);
  return code;
}

/* Others may be storing to it: what is looked at is a copy. */
static mheap_err compare_page(const search *s, uint64_t offset, const char *image, mheap_error *error) {
  uint64_t now[WORDS];
  if (memcmp(mh_at(s->region, offset), image, MH_PAGE) == 0) return MHEAP_OK;
  memcpy(now, mh_at(s->region, offset), sizeof now);
  if (offset == 0) return visit_superblock(s, now, (const uint64_t *)image, error);
  return visit_stretches(s, offset, (words){0, WORDS}, now, (const uint64_t *)image, error);
}

static mheap_err compare_run(const search *s, uint64_t from, uint64_t to, mheap_error *error) {
  mheap_err code = MHEAP_OK;
  const char *pages;
  for (uint64_t end; from < to && !code;) {
    code = mh_images_look(&s->region->commits->images, from, to, &pages, &end, error);
    for (; from < end && !code; from += MH_PAGE, pages += MH_PAGE) code = compare_page(s, from, pages, error);
  }
  return code;
}

static bool may_differ(const mh_region *region, uint64_t offset) {
  return region->named_base || offset < MH_SLICE || mh_marked_page(&region->commits->marked, offset);
}

static mheap_err compare_pages(const search *s, uint64_t from, uint64_t to, mheap_error *error) {
  mheap_err code = MHEAP_OK;
  for (uint64_t end; from < to && !code; from = end) {
    for (; from < to && !may_differ(s->region, from);) from += MH_PAGE;
    for (end = from; end < to && may_differ(s->region, end);) end += MH_PAGE;
    code = compare_run(s, from, end, error);
  }
  return code;
}

#define PLACED_LEAST (16 * (uint64_t)MH_PAGE) /* fewer pages are quicker in the journal, beside all else */

/* The bytes that are all worth placing, or none of them. */
static uint64_t alike(const search *s, uint64_t from, uint64_t to, bool *placed) {
  mh_vacant *vacant = &s->region->commits->vacant;
  uint64_t run = mh_vacant_run(vacant, from, to), end = from + run;
  *placed = run >= PLACED_LEAST;
  while (!*placed && end < to && mh_vacant_run(vacant, end, to) < PLACED_LEAST)
    end = (end / MH_SLICE + 1) * MH_SLICE;
  return (end < to ? end : to) - from;
}

static mheap_err compare_range(void *arg, uint64_t from, uint64_t to, mheap_error *error) {
  const search *s = arg;
  bool placed = false;
  mheap_err code = MHEAP_OK;
  if (s->visitor->place == NULL || to - from < PLACED_LEAST) return compare_pages(s, from, to, error);
  for (uint64_t n; from < to && !code; from += n) {
    n = alike(s, from, to, &placed);
    code = placed ? s->visitor->place(s->visitor->arg, from, from + n, error)
                  : compare_pages(s, from, from + n, error);
  }
  return code;
}

/* The promise of marks.h, checked at every commit of builds that are tests. */
#ifdef MHEAP_CHECK_MARKS
static mheap_err check_range(void *arg, uint64_t from, uint64_t to, mheap_error *error) {
  mh_region *region = arg;
  char *image;
  for (; from < to; from += MH_PAGE) {
    if (may_differ(region, from)) continue;
    if (mh_images_of(&region->commits->images, from, &image, error) != MHEAP_OK) continue;
    if (memcmp(mh_at(region, from), image, MH_PAGE) == 0) continue;
    fprintf(stderr, "mheap: page 0x%llx was changed and not marked\n", (unsigned long long)from);
    abort();
  }
  return MHEAP_OK;
}

static void check_marks(mh_region *region, uint64_t to) {
  if (!region->named_base) mh_changes_pages(region, 0, to, check_range, region, NULL);
}
#else
static void check_marks(mh_region *region, uint64_t to) { (void)region, (void)to; }
#endif

mheap_err mh_changes_visit(mh_region *region, uint64_t to, const mh_changes_visitor *visitor,
                           mheap_error *error) {
  search s = {region, visitor};
  mheap_err code = mh_changes_ranges(region, to, compare_range, &s, error);
  if (!code) check_marks(region, to);
  return code;
}
