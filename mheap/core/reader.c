/* reader.c: see reader.h. */
#include "reader.h"

#include <errno.h>
#include <string.h>

#include "os.h"
#include "region_lock.h"
#include "region_pages.h"
#include "region_space.h"

#define READER_BYTES ((uint64_t)65536)
#define TRIES 1000 /* a writer may finish one checkpoint after another, if it overruns readers */

/* ---- mappings ---- */

static uint64_t first_bytes(void) { return mh_host_pages() * MH_PAGE; }

static int map_file(mh_region *region, uint64_t from, uint64_t length, const char **at) {
  void *got = NULL;
  int failed = mh_os_reserve(NULL, length, &got);
  if (failed) return failed;
  failed = mh_os_map(got, length, region->fd, from, false, true);
  if (failed) mh_os_release(got, length);
  else *at = got;
  return failed;
}

static void unmap_records(mh_reader *reader) {
  if (reader->records != NULL) mh_os_release((void *)(uintptr_t)reader->records, reader->records_size);
  reader->records = NULL;
}

/* Only to see soon that there is something new: who has no such mapping reads the file. */
static void map_records(mh_region *region) {
  mh_reader *reader = region->reader;
  mh_journal_place now = mh_journal_here(&reader->journal);
  if (reader->records != NULL && reader->records_at == now.offset && reader->records_size == now.size) return;
  unmap_records(reader);
  reader->records_at = now.offset;
  reader->records_size = now.size;
  if (now.offset != 0 && map_file(region, now.offset, now.size, &reader->records) != 0)
    reader->records = NULL;
}

static bool cover(const void *start, uint64_t length, const void *address) {
  const char *from = start, *at = address;
  if (from == NULL || at < from || at >= from + length) return false;
  return mh_os_cover((void *)(uintptr_t)start, length) == 0;
}

/* A writer cut the file while somebody looked for a record: there is none, and it is mapped anew. Without the
   first page there is no heap any more, as the next look at the file finds. */
bool mh_reader_lost(mh_reader *reader, const void *address) {
  if (cover(reader->live, first_bytes(), address)) return true;
  if (!cover(reader->records, reader->records_size, address)) return false;
  reader->records_at = UINT64_MAX;
  return true;
}

/* ---- life ---- */

mheap_err mh_reader_begin(mh_region *region, mheap_error *error) {
  mh_reader *reader = region->reader = mh_os_table(READER_BYTES);
  const char *live = NULL;
  int failed = reader == NULL ? ENOMEM : 0;
  if (!failed) pthread_mutex_init(&reader->lock, NULL);
  if (!failed) failed = map_file(region, 0, first_bytes(), &live);
  if (!failed) reader->live = (const mh_sector *)live;
  if (!failed) failed = mh_region_pin(region->lock_fd, 0);
  return failed ? mh_fail_system(error, failed, region->path, "preparing to read beside a writer") : MHEAP_OK;
}

void mh_reader_drop(mh_region *region) {
  mh_reader *reader = region->reader;
  if (reader == NULL) return;
  unmap_records(reader);
  if (reader->live != NULL) mh_os_release((void *)(uintptr_t)reader->live, first_bytes());
  mh_journal_close(&reader->journal);
  pthread_mutex_destroy(&reader->lock);
  mh_os_table_free(reader, READER_BYTES);
  region->reader = NULL;
}

/* ---- the newest generation; `lock` is held, and the pin of generation 0, which stands for all ---- */

/* The part of the mapping that can be stored to: as much as page tables have in one piece, since all of
   them would be gone through otherwise. */
#define WINDOW ((uint64_t)2 << 20)

typedef struct window {
  mh_region *region;
  uint64_t from, to;
} window;

static int close_window(window *w) {
  uint64_t from = w->from, length = w->to - w->from;
  w->from = w->to = 0;
  return length == 0 ? 0 : mh_os_set_writable(mh_at(w->region, from), length, false);
}

static int move_window(window *w, uint64_t at) {
  if (at >= w->from && at < w->to) return 0;
  int failed = close_window(w);
  uint64_t from = at / WINDOW * WINDOW, to = from + WINDOW;
  if (to > w->region->pages.mapped) to = w->region->pages.mapped;
  if (!failed) failed = mh_os_set_writable(mh_at(w->region, from), to - from, true);
  if (!failed) w->from = from, w->to = to;
  return failed;
}

/* Private copies of what was there before the last checkpoint go. */
static mheap_err drop_placed(mh_region *region, uint64_t at, uint64_t length, mheap_error *error) {
  uint64_t end = at + length < region->pages.mapped ? at + length : region->pages.mapped;
  int failed = at < end ? mh_os_discard(mh_at(region, at), end - at) : 0;
  return failed ? mh_fail_system(error, failed, region->path, "dropping pages of an earlier generation")
                : MHEAP_OK;
}

static mheap_err store(void *arg, uint64_t at, const void *data, uint64_t length, mheap_error *error) {
  window *w = arg;
  if (data == NULL) return drop_placed(w->region, at, length, error);
  for (uint64_t n; length > 0; at += n, data = (const char *)data + n, length -= n) {
    int failed = at < w->region->pages.mapped ? move_window(w, at) : 0;
    if (failed)
      return mh_fail_system(error, failed, w->region->path, "storing what was committed in private pages");
    if (at >= w->to) return MHEAP_OK;
    n = length < w->to - at ? length : w->to - at;
    memcpy(mh_at(w->region, at), data, n);
  }
  return MHEAP_OK;
}

/* The pages of the region's growth are the file's. */
static mheap_err map_growth(mh_region *region, uint64_t size, mheap_error *error) {
  if (size <= region->pages.mapped) return MHEAP_OK;
  if (size > region->span)
    return mh_fail(
        error, MHEAP_ERR_FULL,
        "%s: the heap has grown to %llu bytes, for which there was room of %llu when it was attached; "
        "attach it anew",
        region->path, (unsigned long long)size, (unsigned long long)region->span);
  mheap_err code = mh_region_open_table(region, mh_pages_end(region, size), error);
  if (code) return code;
  int failed = mh_pages_map(region, size, true);
  return failed ? mh_fail_system(error, failed, region->path, "mapping what the heap grew by") : MHEAP_OK;
}

/* Stores the records that follow, one by one, up to generation `until`. */
static mheap_err store_record(mh_region *region, const mh_record *record, mheap_error *error) {
  mh_journal *journal = &region->reader->journal;
  window w = {.region = region};
  const mh_record_visitor visitor = {.visit = store, .arg = &w};
  mheap_err code = map_growth(region, record->size, error);
  if (!code) code = mh_record_visit(&journal->tape, journal->end, record, &visitor, error);
  int failed = close_window(&w);
  if (!code && failed) code = mh_fail_system(error, failed, region->path, "protecting private pages");
  if (!code) mh_journal_count(journal, record);
  return code;
}

/* Stores the records that follow, one by one. */
static mheap_err follow(mh_region *region, mheap_error *error) {
  mh_record record;
  bool found = true;
  mheap_err code = MHEAP_OK;
  while (!code) {
    code = mh_journal_next(&region->reader->journal, &record, &found, error);
    if (code || !found) break;
    code = store_record(region, &record, error);
  }
  return code;
}

static mheap_err load(mh_region *region, mheap_error *error) {
  return mh_journal_load(&region->reader->journal, region->fd, region->path, error);
}

/* Private copies go, and what is mapped is the file's pages again. */
static mheap_err drop_copies(mh_region *region, mheap_error *error) {
  int failed = mh_os_discard(region->base, region->pages.mapped);
  return failed ? mh_fail_system(error, failed, region->path, "dropping pages of an earlier generation")
                : load(region, error);
}

/* No writer takes the first page, in which it says so. */
bool mh_reader_is_behind(mh_region *region, uint64_t offset) {
  if (region->reader == NULL || offset == 0 || mh_reader_is_whole(region)) return false;
  _Atomic uint64_t *covered = &region->reader->covered;
  uint64_t before = atomic_load(covered);
  while (before == 0 || offset < before)
    if (atomic_compare_exchange_weak(covered, &before, offset)) break;
  return true;
}

/* The file's pages again, where they were missing. */
static mheap_err uncover(mh_region *region, bool *any, mheap_error *error) {
  uint64_t from = atomic_exchange(&region->reader->covered, 0), to = region->pages.mapped;
  *any = from != 0;
  if (from == 0) return MHEAP_OK;
  region->pages.mapped = from;
  int failed = mh_pages_map(region, to, true);
  return failed ? mh_fail_system(error, failed, region->path, "mapping the file again") : MHEAP_OK;
}

/* What was behind the end when a checkpoint came is what the file has, for the writer too (images.h): it
   may grow there again. */
static mheap_err drop_behind(mh_region *region, uint64_t size, mheap_error *error) {
  uint64_t mapped = region->pages.mapped;
  int failed = size < mapped ? mh_os_discard(mh_at(region, size), mapped - size) : 0;
  return failed ? mh_fail_system(error, failed, region->path, "dropping pages behind the end") : MHEAP_OK;
}

static bool same_journal(const mh_sector *a, const mh_sector *b) {
  return a->journal_seed == b->journal_seed && a->generation == b->generation;
}

/* Takes what the file says now: the same journal, perhaps elsewhere; or an emptied one, where a
   checkpoint brought the pages to the generation that is shown, or beyond it. */
static mheap_err take_place(mh_region *region, bool again, mheap_error *error) {
  mh_journal *journal = &region->reader->journal, before = *journal;
  bool uncovered;
  mheap_err code = uncover(region, &uncovered, error);
  if (!code) code = load(region, error);
  if (code) return code;
  if (uncovered) {
    code = drop_copies(region, error);
  } else if (same_journal(&before.first, &journal->first)) {
    journal->end = before.end;
    journal->generation = before.generation;
    journal->chain = before.chain;
    journal->size = before.size;
  } else if (again || journal->first.generation != before.generation) { /* read while it was emptied */
    code = drop_copies(region, error);
  } else {
    code = drop_behind(region, journal->first.size, error);
  }
  return code ? code : map_growth(region, journal->first.size, error);
}

static bool is_settled(const mh_region *region) {
  const mh_reader *reader = region->reader;
  const mh_journal *journal = &reader->journal;
  return mh_read(&reader->live->journal_seed) == journal->first.journal_seed &&
         mh_read(&reader->live->journal) == journal->first.journal &&
         mh_checkpoint_of(mh_read(&reader->live->checkpoint)) <= journal->generation;
}

static mheap_err unsettled(const mh_region *region, mheap_error *error) {
  return mh_fail(error, MHEAP_ERR_BUSY,
                 "%s: busy: its writer makes one checkpoint after the other; try again later", region->path);
}

/* What no record says of the superblock. */
static mheap_err reflect(mh_region *region, mheap_error *error) {
  window w = {.region = region};
  mh_sector first;
  memcpy(&first, region->base, sizeof first);
  mh_journal_reflect(&region->reader->journal, &first);
  if (memcmp(&first, region->base, sizeof first) == 0) return MHEAP_OK;
  mheap_err code = store(&w, 0, &first, sizeof first, error);
  int failed = close_window(&w);
  return code || !failed ? code : mh_fail_system(error, failed, region->path, "protecting private pages");
}

/* A record that is written over while it is read makes no sense, and what was stored of it goes. */
static mheap_err begin_anew(mh_region *region, mheap_error *error) {
  mh_error_clear(error);
  return drop_copies(region, error);
}

static mheap_err come_to_newest(mh_region *region, mheap_error *error) {
  mheap_err code = MHEAP_OK;
  for (int i = 0; i < TRIES && !code; i++) {
    code = take_place(region, i > 0, error);
    if (!code) code = follow(region, error);
    if (!code) code = reflect(region, error);
    bool settled = is_settled(region);
    if (!code && settled) return mh_journal_is_whole(&region->reader->journal, error);
    if (code == MHEAP_ERR_CORRUPT && !settled) code = begin_anew(region, error);
  }
  return code ? code : unsettled(region, error);
}

static void show(mh_region *region) {
  mh_reader *reader = region->reader;
  uint64_t size = mh_read(&region->super->size);
  if (size > region->pages.mapped) size = region->pages.mapped; /* the superblock was not checked again */
  atomic_store_explicit(&region->size, size, memory_order_release);
  if (size > region->peak) region->peak = size;
  atomic_store_explicit(&reader->generation, reader->journal.generation, memory_order_release);
  map_records(region);
}

mheap_err mh_reader_ready(mh_region *region, mheap_error *error) {
  mheap_err code = load(region, error);
  if (!code) code = come_to_newest(region, error);
  mh_region_unpin(region->lock_fd, 0);
  if (!code) show(region);
  return code;
}

/* ---- refreshing ---- */

static mheap_err refresh(mh_region *region, bool *moved, mheap_error *error) {
  mh_reader *reader = region->reader;
  uint64_t before = mh_reader_shows(reader);
  int failed = mh_region_pin(region->lock_fd, 0);
  if (failed) return mh_fail_system(error, failed, region->path, "locking the file");
  mheap_err code = come_to_newest(region, error);
  mh_region_unpin(region->lock_fd, 0);
  if (!code) show(region);
  *moved = mh_reader_shows(reader) != before;
  return code;
}

static mheap_err is_pinned(const mh_region *region, mheap_error *error) {
  return mh_fail(error, MHEAP_ERR_BUSY,
                 "%s: busy: generation %llu is kept by a snapshot, or a view; let that go first",
                 region->path, (unsigned long long)region->reader->pinned);
}

mheap_err mh_reader_refresh(mh_region *region, bool *moved, mheap_error *error) {
  mh_reader *reader = region->reader;
  *moved = false;
  if (reader == NULL) return MHEAP_OK;
  pthread_mutex_lock(&reader->lock);
  mheap_err code = reader->pins > 0 ? is_pinned(region, error) : refresh(region, moved, error);
  pthread_mutex_unlock(&reader->lock);
  return code;
}

/* ---- pinning ---- */

static mheap_err pin_shown(mh_region *region, bool *moved, mheap_error *error) {
  mh_reader *reader = region->reader;
  mheap_err code = MHEAP_OK;
  for (int i = 0; i < TRIES && !code; i++) {
    bool went;
    reader->pinned = mh_reader_shows(reader);
    int failed = mh_region_pin(region->lock_fd, reader->pinned);
    if (failed) return mh_fail_system(error, failed, region->path, "locking the file");
    if (mh_reader_is_whole(region)) return MHEAP_OK;
    mh_region_unpin(region->lock_fd, reader->pinned);
    code = refresh(region, &went, error);
    *moved |= went;
  }
  return code ? code : unsettled(region, error);
}

mheap_err mh_reader_pin(mh_region *region, bool *moved, mheap_error *error) {
  mh_reader *reader = region->reader;
  *moved = false;
  if (reader == NULL) return MHEAP_OK;
  pthread_mutex_lock(&reader->lock);
  mheap_err code = reader->pins == 0 ? pin_shown(region, moved, error) : MHEAP_OK;
  if (!code) reader->pins++;
  pthread_mutex_unlock(&reader->lock);
  return code;
}

void mh_reader_unpin(mh_region *region) {
  mh_reader *reader = region->reader;
  if (reader == NULL) return;
  pthread_mutex_lock(&reader->lock);
  if (reader->pins > 0 && --reader->pins == 0) mh_region_unpin(region->lock_fd, reader->pinned);
  pthread_mutex_unlock(&reader->lock);
}
