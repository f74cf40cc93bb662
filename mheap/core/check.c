/* check.c: mheap_check: drives the walk, confirms and reports findings, checks the keys. See
   check.h. Holds no lock while it looks; the region does not shrink meanwhile. */
#include "check.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "map.h"
#include "objects/objects.h"
#include "os.h"
#include "parts.h"

/* How often a finding beside a writer must be made, this long apart, to be believed. */
#define CONFIRMATIONS 3
#define CONFIRM_SECONDS 0.0003
/* Confirmed findings after which there is no more waiting: a file may hold millions. */
#define CONFIRMED_MOST 256
#define PROGRESS_SEGMENTS 64

/* ---- findings ---- */

static mh_check_key *find_key(mh_check *check, uint64_t offset, const char *format) {
  for (unsigned i = 0; i < check->keys; i++)
    if (check->key[i].offset == offset && check->key[i].format == format) return &check->key[i];
  return NULL;
}

/* Is this finding to be reported now? */
static bool is_confirmed(mh_check *check, uint64_t offset, const char *format) {
  mh_check_key *key = find_key(check, offset, format);
  if (check->pass == MH_CHECK_REPORT) return check->crowded || check->keys == 0 || key != NULL;
  if (key != NULL) {
    key->again = true;
  } else if (check->pass == MH_CHECK_COLLECT) {
    if (check->keys < MH_CHECK_KEYS)
      check->key[check->keys++] = (mh_check_key){.offset = offset, .format = format};
    else check->crowded = true;
  }
  return false;
}

static void emit(mh_check *check, const mheap_finding *finding) {
  check->broken += finding->severity > 0;
  if (check->report != NULL) check->report(check->arg, finding);
}

void mh_check_found(mh_check *check, int severity, uint64_t offset, const char *what, const char *format,
                    ...) {
  if (!is_confirmed(check, offset, format)) return;
  char text[512];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  emit(check, &(mheap_finding){.severity = severity, .offset = offset, .what = what, .text = text});
}

void mh_check_zero(mh_check *check, const char *what, const void *at, size_t length) {
  const uint8_t *byte = at;
  for (size_t i = 0; i < length; i++) {
    if (byte[i] == 0) continue;
    mh_check_found(check, 1, mh_offset(check->region, byte + i), what,
                   "reserved byte: expected 0, found 0x%x", byte[i]);
    return;
  }
}

/* ---- units ---- */

static bool has_writers(const mh_check *check) {
  return check->region->unsafe || check->region->mode == MHEAP_MODE_LIVE;
}

/* What can be touched, and what the region claims; both may have changed since. */
static void measure(mh_check *check) {
  mh_region *region = check->region;
  uint64_t file_size, disk;
  check->size = check->mapped = mh_region_size(region);
  uint64_t needed = mh_region_file_bytes(region);
  if (region->fd >= 0 && mh_os_file_sizes(region->fd, &file_size, &disk) == 0 && file_size < needed)
    check->mapped = file_size / MH_SLICE * MH_SLICE;
  if (!region->unsafe || check->mapped == 0) return;
  uint64_t size = mh_read(&region->super->size); /* the writer may have grown it beyond this mapping */
  if (size % MH_SLICE == 0 && size > check->size && size <= MH_OFFSET_MAX) check->size = size;
}

static void drop_passing(mh_check *check) {
  unsigned kept = 0;
  for (unsigned i = 0; i < check->keys; i++)
    if (check->key[i].again) check->key[kept++] = check->key[i];
  check->keys = kept;
  for (unsigned i = 0; i < kept; i++) check->key[i].again = false;
}

static void confirm(mh_check *check, mh_check_unit *unit, uint64_t argument) {
  for (int i = 1; i < CONFIRMATIONS && check->keys > 0 && !check->crowded; i++) {
    mh_os_sleep(CONFIRM_SECONDS);
    measure(check);
    check->pass = MH_CHECK_CONFIRM;
    unit(check, argument);
    drop_passing(check);
  }
}

void mh_check_run(mh_check *check, mh_check_unit *unit, uint64_t argument) {
  check->keys = 0;
  check->crowded = false;
  if (has_writers(check) && check->broken < CONFIRMED_MOST) {
    check->pass = MH_CHECK_COLLECT;
    unit(check, argument);
    if (check->keys == 0) return;
    confirm(check, unit, argument);
    if (check->keys == 0) return;
  }
  check->pass = MH_CHECK_REPORT;
  unit(check, argument);
}

/* ---- the walk ---- */

static void check_size(mh_check *check, uint64_t unused) {
  (void)unused;
  uint64_t size = mh_region_size(check->region);
  if (check->mapped < size)
    mh_check_found(check, 1, check->mapped, "file",
                   "the file was cut short: expected %" PRIu64 " bytes, found %" PRIu64, size, check->mapped);
}

static void check_key(mh_check *check, uint64_t key) {
  uint64_t at = MH_KEYS_OFFSET + 8 * key;
  uint64_t offset = mh_read(mh_at(check->region, at));
  if (offset == 0) return;
  if (offset < MH_SLICE || offset >= MH_OFFSET_MAX)
    mh_check_found(check, 1, at, "key",
                   "key %" PRIu64 ": expected 0 or an offset from 0x10000 to below 2^47, found 0x%" PRIx64,
                   key, offset);
  else if (!mh_check_in_block(check, offset))
    mh_check_found(check, 0, at, "key",
                   "key %" PRIu64 " points to 0x%" PRIx64 ", which is in no block in use", key, offset);
}

static void check_segments(mh_check *check) {
  for (uint64_t segment = 0; segment < mh_map_segments(check->region); segment++) {
    mh_check_run(check, mh_check_map_word, segment);
    mh_check_run(check, mh_check_segment, segment);
    if (check->progress != NULL && segment % PROGRESS_SEGMENTS == 0)
      check->progress(check->arg, mh_segment_offset(segment), check->size);
  }
}

static void objects_found(void *arg, const mheap_finding *finding) {
  mh_check *check = arg;
  if (is_confirmed(check, finding->offset, finding->what)) emit(check, finding);
}

static void check_objects(mh_check *check, uint64_t unused) {
  (void)unused;
  mheap_err failed = mh_objects_check(check->heap, objects_found, check);
  if (failed != MHEAP_OK && failed != MHEAP_ERR_CORRUPT) check->failed = failed;
}

/* Nothing can be looked at when not even the superblock slice is there. */
static void walk(mh_check *check) {
  mh_check_run(check, check_size, 0);
  if (check->mapped < MH_SLICE) return;
  mh_check_run(check, mh_check_superblock, 0);
  for (uint64_t row = 0; row < MH_HEAPS; row++) mh_check_run(check, mh_check_heap_row, row);
  for (uint64_t row = 0; row < MH_ARENAS; row++) mh_check_run(check, mh_check_arena_row, row);
  mh_check_run(check, mh_check_directory, 0);
  check_segments(check);
  mh_check_run(check, mh_check_map_rest, 0);
  for (uint64_t key = 0; key < MH_KEYS; key++) mh_check_run(check, check_key, key);
  /* The object layer follows offsets inside the mapping, which must all be there. */
  if (check->mapped >= mh_region_size(check->region)) mh_check_run(check, check_objects, 0);
}

/* One region; the findings of severity 1 are added to *broken. */
static mheap_err check_region(mheap *heap, mheap_finding_fun *report,
                              void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                              uint64_t *broken) {
  mh_check check = {.heap = heap, .region = heap->region, .report = report, .progress = progress, .arg = arg};
  mh_region_begin_walk(check.region);
  measure(&check);
  walk(&check);
  mh_region_end_walk(check.region);
  if (progress != NULL) progress(arg, check.size, check.size);
  *broken += check.broken;
  return check.failed;
}

mheap_err mheap_check(mheap *heap, mheap_finding_fun *report,
                      void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg) {
  uint64_t broken = 0;
  heap = mh_heap_of(heap);
  if (heap == NULL) return MHEAP_ERR_NO_MEMORY;
  mheap_err failed = mh_heap_usable(heap);
  if (failed) return failed;
  bool keeps = mheap_keep(heap, NULL) == MHEAP_OK; /* what a reader shows, if the file still says which */
  for (mheap *part = mh_part_first(heap); part != NULL && !failed; part = mh_part_next(part)) {
    if (!mh_part_enter(part)) continue;
    failed = check_region(part, report, progress, arg, &broken);
    mh_part_leave(part);
  }
  if (keeps) mheap_release(heap);
  if (broken > 0)
    return mh_fail(mh_error(heap), MHEAP_ERR_CORRUPT,
                   "%s: %" PRIu64 " contradictions found; restore a copy, or save what can be read",
                   heap->region->path != NULL ? heap->region->path : "anonymous memory", broken);
  return failed;
}
