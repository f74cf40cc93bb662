/* commit.c: see commit.h. */
#include "commit.h"

#include <errno.h>
#include <string.h>

#include "changes.h"
#include "crc32c.h"
#include "os.h"
#include "overlay.h"
#include "placing.h"
#include "region_lock.h"
#include "region_pages.h"
#include "superblock.h"

/* ---- life ---- */

#define COMMITS_BYTES ((uint64_t)1200 << 10) /* mostly address space: marks of what was touched */
static_assert(sizeof(mh_commits) <= COMMITS_BYTES, "one table");

static mheap_err no_table(const mh_region *region, mheap_error *error) {
  return mh_fail_system(error, ENOMEM, region->path, "making the record of commits");
}

/* A region that was larger for a while, in a record that is still there, may have been written straight to
   its place then: until the journal is empty, that must not change. */
static mheap_err keep_what_records_have(mh_region *region, mheap_error *error) {
  mh_commits *commits = region->commits;
  uint64_t high = commits->journal.highest;
  if (high < commits->committed) high = commits->committed;
  if (high > region->span) high = region->span; /* this attach does not grow so far */
  int failed = mh_pages_map(region, high, false);
  if (failed) return mh_fail_system(error, failed, region->path, "mapping what the journal has");
  commits->high = high;
  commits->shared_from = region->pages.mapped;
  return MHEAP_OK;
}

/* What the journal holds is in the images first, and copied from there. */
static mheap_err take_over(mh_region *region, mheap_error *error) {
  mh_commits *commits = region->commits;
  char *page;
  mheap_err code = mh_images_of(&commits->images, 0, &page, error);
  if (!code) code = mh_overlay_images(&commits->journal, &commits->images, error);
  if (!code) code = keep_what_records_have(region, error);
  if (code) return code;
  uint64_t from = 0, end = region->pages.mapped;
  for (uint64_t length; (length = mh_images_next(&commits->images, &from, end)) != 0; from += length)
    memcpy(mh_at(region, from), commits->images.shadow + from, length);
  memcpy(region->base, page, MH_PAGE); /* private from now on: what stands only in the file is not seen */
  return MHEAP_OK;
}

mheap_err mh_commits_begin(mh_region *region, const mheap_options *options, mheap_error *error) {
  mh_commits *commits = region->commits = mh_os_table(COMMITS_BYTES);
  if (commits == NULL) return no_table(region, error);
  pthread_mutex_init(&commits->lock, NULL);
  mh_marked_add(&commits->marked, region->base);
  commits->looked = 1;
  commits->limit = options->journal_limit != 0 ? options->journal_limit : MH_JOURNAL_LIMIT;
  commits->overrun = options->overrun_readers;
  mheap_err code = mh_images_init(&commits->images, region->fd, region->path, region->span,
                                  &commits->journal.tape.start, error);
  if (!code) code = mh_journal_load(&commits->journal, region->fd, region->path, error);
  commits->committed = mh_region_size(region);
  if (!code) code = take_over(region, error);
  commits->vacant = (mh_vacant){.fd = region->fd, .base = region->base, .unknown = commits->journal.end > 0};
  return code;
}

void mh_commits_drop(mh_region *region) {
  mh_commits *commits = region->commits;
  if (commits == NULL) return;
  mh_marked_remove(&commits->marked);
  mh_journal_close(&commits->journal);
  mh_images_fini(&commits->images);
  pthread_mutex_destroy(&commits->lock);
  mh_os_table_free(commits, COMMITS_BYTES);
  region->commits = NULL;
}

/* ---- refusals ---- */

static mheap_err sync_failed(mh_region *region, int sys, mheap_error *error) {
  region->commits->failed = sys;
  mh_fail_system(error, sys, region->path,
                 "syncing the file: what is on disk is not known; close it, and open it again");
  return error != NULL ? error->code : MHEAP_ERR_SYSTEM;
}

static mheap_err may_commit(mh_region *region, mheap_error *error) {
  const mh_commits *commits = region->commits;
  if (commits == NULL)
    return mh_fail(error, MHEAP_ERR_ARGUMENT,
                   "%s: not attached with mode atomic: there is nothing to commit or roll back",
                   region->path);
  if (region->forked)
    return mh_fail(error, MHEAP_ERR_FORKED,
                   "%s: this handle belongs to the parent process; attach the file anew in the child",
                   region->path);
  if (commits->failed == 0) return mh_region_is_whole(region, error);
  return mh_fail_system(
      error, commits->failed, region->path,
      commits->torn ? "what was committed could not be read back, so that commits and rollbacks are refused; "
                      "close it, and open it again"
                    : "a sync failed before, so that commits are refused; close it, and open it again");
}

/* A failed sync is final: the kernel may have dropped the pages that it could not write. */
static mheap_err sync_journal(mh_region *region, mheap_error *error) {
  int failed = mh_os_sync(region->fd);
  if (failed) return sync_failed(region, failed, error);
  region->commits->journal.unsynced = false;
  return MHEAP_OK;
}

/* The same of a sync that the journal made by itself. */
static void note_failure(mh_commits *commits) {
  if (commits->journal.failed) commits->failed = commits->journal.failed;
}

/* What stands in the file's first sector alone, in page 0 and its image: so it is in no record. */
static void reflect(mh_region *region) {
  mh_journal_reflect(&region->commits->journal, (mh_sector *)region->super);
  mh_journal_reflect(&region->commits->journal, (mh_sector *)region->commits->images.shadow);
}

/* ---- the checkpoint ---- */

static mheap_err write_images(mh_region *region, mheap_error *error) {
  mh_images *images = &region->commits->images;
  uint64_t from = 0;
  for (uint64_t length; (length = mh_images_next(images, &from, region->commits->committed)) != 0;
       from += length) {
    uint64_t skipped = from == 0 ? MH_SECTOR : 0; /* that comes last, alone */
    int failed = mh_images_write(images, from, from + length, skipped);
    if (failed) return mh_fail_system(error, failed, region->path, "writing pages in their place");
  }
  return MHEAP_OK;
}

static mheap_err readers_in_the_way(mh_region *region, mheap_error *error) {
  const mh_commits *commits = region->commits;
  return mh_fail(error, MHEAP_ERR_BUSY,
                 "%s: busy: a reader keeps a snapshot, or a view, of an earlier generation than %llu",
                 region->path, (unsigned long long)commits->journal.generation);
}

/* Either a reader that pins a generation sees the mark, or its pin is seen here. An earlier mark, of a
   checkpoint that was not finished, stays true then. */
static mheap_err mark(mh_region *region, bool force, mheap_error *error) {
  mh_journal *journal = &region->commits->journal;
  mheap_error ignored;
  uint64_t before = journal->first.checkpoint;
  uint64_t forced = force ? MH_CHECKPOINT_FORCED : 0;
  mheap_err code = mh_journal_mark(journal, journal->generation | forced, error);
  if (code || force || !mh_region_pinned_before(region->lock_fd, journal->generation)) return code;
  mh_journal_mark(journal, before, &ignored);
  return readers_in_the_way(region, error);
}

static uint64_t end_of(const mh_commits *commits) {
  return (commits->committed + MH_SLICE - 1) / MH_SLICE * MH_SLICE;
}

/* Not before the mark is durable may anything change that a record says was placed: `compact` moves the
   journal there. */
static mheap_err write_back(mh_region *region, bool compact, mheap_error *error) {
  mh_commits *commits = region->commits;
  mh_journal_place next = mh_journal_here(&commits->journal);
  mheap_err code = sync_journal(region, error);
  if (!code && compact) next = mh_journal_behind(&commits->journal, end_of(commits));
  if (!code) code = write_images(region, error);
  if (!code) code = sync_journal(region, error);
  if (!code)
    code = mh_journal_empty(&commits->journal, (const mh_sector *)commits->images.shadow, next, error);
  note_failure(commits);
  if (code) return code;
  mh_images_settle(&commits->images, commits->committed);
  mh_vacant_begin_journal(&commits->vacant);
  reflect(region);
  return MHEAP_OK;
}

static mheap_err checkpoint(mh_region *region, bool force, mheap_error *error) {
  mh_journal *journal = &region->commits->journal;
  if (journal->end == 0) return MHEAP_OK;
  mheap_err code = journal->unsynced ? sync_journal(region, error) : MHEAP_OK;
  if (!code) code = mark(region, force, error);
  return code ? code : write_back(region, false, error);
}

mheap_err mh_checkpoint(mh_region *region, mheap_error *error) {
  mheap_err code = may_commit(region, error);
  if (code) return code;
  pthread_mutex_lock(&region->commits->lock);
  code = checkpoint(region, false, error);
  pthread_mutex_unlock(&region->commits->lock);
  return code;
}

static uint64_t usual_limit(const mh_commits *commits) {
  return commits->limit < MH_JOURNAL_USUAL ? commits->limit : MH_JOURNAL_USUAL;
}

/* Records that only readers keep may take so much, and no more. */
static mheap_err keep_limit(mh_region *region, mheap_error *error) {
  const mh_commits *commits = region->commits;
  if (commits->journal.end < usual_limit(commits)) return MHEAP_OK;
  mheap_err code = checkpoint(region, commits->overrun && commits->journal.end >= commits->limit, error);
  if (code != MHEAP_ERR_BUSY || commits->journal.end < commits->limit)
    return code == MHEAP_ERR_BUSY ? MHEAP_OK : code;
  return mh_fail(
      error, MHEAP_ERR_FULL,
      "%s: its journal has %llu bytes, and a reader that keeps a snapshot, or a view, of an earlier "
      "generation lets it not be emptied; let that go, or raise journal_limit=",
      region->path, (unsigned long long)commits->journal.end);
}

/* ---- the record ---- */

static mheap_err reach(void *arg, uint64_t size, mheap_error *error) {
  mh_region *region = arg;
  uint64_t end = region->pages.mapped > region->commits->high ? region->pages.mapped : region->commits->high;
  mheap_err code = mh_journal_reach(&region->commits->journal, size, end, error);
  note_failure(region->commits);
  reflect(region);
  return code;
}

static uint64_t image_end(const mh_region *region) {
  uint64_t size = mh_region_size(region), high = region->commits->high;
  return size < high ? size : high;
}

/* Private pages that the file has as they are go back to being the file's, once there are many: what
   is written from time to time does not stay in memory twice. Where raw addresses are out, a store may
   come between the look and the drop, and they stay. */
#define COPIES_KEPT 4096 /* pages */

static uint64_t alike(const char *now, const char *then, uint64_t length) {
  uint64_t same = 0;
  while (same < length && memcmp(now + same, then + same, MH_PAGE) == 0) same += MH_PAGE;
  return same;
}

/* What cannot be looked at stays. */
static void drop_run(mh_region *region, uint64_t from, uint64_t to) {
  mh_images *images = &region->commits->images;
  const char *pages;
  for (uint64_t end; from < to; from = end) {
    if (mh_images_look(images, from, to, &pages, &end, NULL) != MHEAP_OK) return;
    for (uint64_t at = from, same; at < end; at += same + MH_PAGE) {
      same = alike(mh_at(region, at), pages + (at - from), end - at);
      if (same > 0) mh_os_discard(mh_at(region, at), same);
    }
  }
}

static mheap_err drop_copies(mh_region *region, mheap_error *error) {
  mh_images *images = &region->commits->images;
  char *page;
  if (region->named_base || mh_images_copies(images) < COPIES_KEPT || images->changed > 0) return MHEAP_OK;
  uint64_t from = MH_PAGE, end = image_end(region);
  if (!mh_out_lock(region->base, region->span)) return MHEAP_OK; /* a store between comparing and dropping */
  for (uint64_t length; (length = mh_images_next_copies(images, &from, end)) != 0; from += length)
    drop_run(region, from, from + length);
  mh_out_unlock();
  mh_images_forget(images);
  return mh_images_of(images, 0, &page, error);
}

typedef struct drawing {
  mh_region *region;
  mh_draft *draft;
  mh_images *images;
} drawing;

static bool is_left_in_journal(const drawing *to, uint64_t at, uint64_t length) {
  uint64_t place;
  return length == MH_PAGE && !mh_images_is_placed(to->images, at) &&
         mh_draft_tail(to->draft, length, &place) && mh_images_draft(to->images, at, place);
}

/* Pages are known before there is a record, if it takes more than that to make them: what may fail comes
   first. */
static mheap_err add_bytes(void *arg, uint64_t at, const void *data, uint64_t length, mheap_error *error) {
  const drawing *to = arg;
  mh_vacant_note(&to->region->commits->vacant, at, length);
  mheap_err code = mh_draft_bytes(to->draft, at, data, length, error);
  if (code || mh_images_find(to->images, at) != NULL || is_left_in_journal(to, at, length)) return code;
  return mh_images_of(to->images, at / MH_PAGE * MH_PAGE, &(char *){NULL}, error);
}

static mheap_err add_pages(void *arg, uint64_t from, uint64_t to, mheap_error *error) {
  const drawing *all = arg;
  return mh_place_vacant(all->region, all->draft, from, to, error);
}

/* All that changed, but for the number of the generation. */
static mheap_err draw_up(mh_region *region, mh_draft *draft, mheap_error *error) {
  drawing to = {region, draft, &region->commits->images};
  const mh_changes_visitor add = {add_bytes, &to, add_pages};
  mh_images_end_drafts(to.images, false);
  mh_vacant_end_record(&region->commits->vacant, false);
  mheap_err code = drop_copies(region, error);
  if (!code) code = mh_draft_begin(draft, error);
  if (!code) code = mh_place_growth(region, draft, error);
  return code ? code : mh_changes_visit(region, image_end(region), &add, error);
}

static mheap_err write_record(mh_region *region, mh_draft *draft, bool durable, const mh_commit_wait *wait,
                              mh_record *record, mheap_error *error) {
  mh_commits *commits = region->commits;
  mh_journal *journal = &commits->journal;
  uint64_t generation = journal->generation + 1;
  *record = (mh_record){.generation = generation,
                        .previous = journal->chain,
                        .size = mh_region_size(region),
                        .time_ns = mh_os_time_ns()};
  mheap_err code =
      mh_draft_bytes(draft, offsetof(mh_superblock, generation), &generation, sizeof generation, error);
  if (!code) code = mh_draft_room(draft, error); /* so that a full disk is known before others run */
  if (code) return code;
  if (wait != NULL && durable) wait->begin(wait->arg);
  code = mh_draft_finish(draft, record, error);
  if (code) return code;
  commits->touched = true;
  if (durable) return sync_journal(region, error);
  journal->unsynced = true;
  return MHEAP_OK;
}

/* The images may be half of this commit and half of the one before, which leaves nothing to roll back to. */
static mheap_err reading_failed(mh_region *region, mheap_err code, mheap_error *error) {
  mh_commits *commits = region->commits;
  commits->failed = code == MHEAP_ERR_NO_MEMORY ? ENOMEM : EIO;
  commits->torn = true;
  mh_fail_system(error, commits->failed, region->path,
                 "reading back what was committed: close it, and open it again");
  return error != NULL ? error->code : MHEAP_ERR_SYSTEM;
}

/* The images follow the record, which need not be what the pages hold by now. They are known all. */
static mheap_err count_record(mh_region *region, const mh_record *record, mheap_error *error) {
  mh_commits *commits = region->commits;
  mh_images_end_drafts(&commits->images, true);
  mh_vacant_end_record(&commits->vacant, true);
  commits->placed = false;
  mheap_err code = mh_overlay_record(&commits->journal, record, &commits->images, error);
  if (code) return reading_failed(region, code, error);
  mh_journal_count(&commits->journal, record);
  commits->committed = record->size;
  if (record->size > commits->high) commits->high = record->size;
  mh_publish(&region->super->generation, record->generation);
  return MHEAP_OK;
}

static mheap_err stop(void *arg, uint64_t at, const void *data, uint64_t length, mheap_error *error) {
  (void)arg, (void)at, (void)data, (void)length, (void)error;
  return MHEAP_ERR_NOT_FOUND;
}

static bool is_changed(mh_region *region) {
  const mh_changes_visitor first = {.visit = stop};
  return mh_region_size(region) != region->commits->committed ||
         mh_changes_visit(region, image_end(region), &first, NULL) != MHEAP_OK;
}

static mheap_err begin_journal(mh_region *region, mheap_error *error) {
  mh_commits *commits = region->commits;
  if (mh_journal_exists(&commits->journal) || !is_changed(region)) return MHEAP_OK;
  commits->touched = true;
  return reach(region, MH_JOURNAL_FIRST, error);
}

/* From here on the journal only moves away from the region, by who makes way. */
static void note_room(mh_commits *commits) {
  if (commits->tidied) atomic_store(&commits->room, commits->journal.first.journal);
}

/* What was placed in vain is made durable: the next try finds it in the file, and no record speaks of it. */
static void sync_placed(mh_region *region) {
  mh_commits *commits = region->commits;
  if (commits->placed && !commits->failed) sync_journal(region, NULL);
  commits->placed = false;
}

static mheap_err commit(mh_region *region, bool durable, const mh_commit_wait *wait, mheap_error *error) {
  mh_commits *commits = region->commits;
  mh_draft draft = {.tape = &commits->journal.tape, .hurry = durable, .reach = reach, .arg = region};
  mh_record record;
  mheap_err code = keep_limit(region, error);
  if (!code) code = begin_journal(region, error);
  note_room(commits);
  draft.at = commits->journal.end;
  if (!code) code = draw_up(region, &draft, error);
  if (code) return sync_placed(region), code;
  uint64_t look = commits->looked++;
  if (draft.entries == 0 && (!durable || !commits->journal.unsynced)) return MHEAP_OK;
  if (draft.entries == 0 && wait != NULL) wait->begin(wait->arg);
  if (draft.entries == 0) return sync_journal(region, error);
  mh_marked_take(&commits->marked, &commits->looked_at);
  code = write_record(region, &draft, durable, wait, &record, error);
  if (!code) code = count_record(region, &record, error);
  if (!code) commits->kept = look;
  if (!code) return MHEAP_OK;
  mh_marked_put_back(&commits->marked, &commits->looked_at);
  sync_placed(region);
  return code;
}

typedef struct waiting {
  const mh_commit_wait *wait;
  bool begun;
} waiting;

static void begin_waiting(void *arg) {
  waiting *it = arg;
  it->begun = true;
  if (it->wait != NULL) it->wait->begin(it->wait->arg);
}

/* Where the disk is full, the records that are there give up their place for this one, unless others run
   already. */
static mheap_err commit_somewhere(mh_region *region, bool durable, const mh_commit_wait *wait,
                                  mheap_error *error) {
  mh_commits *commits = region->commits;
  waiting once = {wait, false};
  const mh_commit_wait noted = {begin_waiting, &once};
  mheap_error ignored;
  mheap_err code = commit(region, durable, &noted, error);
  if (code != MHEAP_ERR_FULL || once.begun || commits->failed) return code;
  if (commits->journal.end == 0) return code;
  if (checkpoint(region, false, &ignored) != MHEAP_OK)
    return commits->failed ? may_commit(region, error) : code;
  mh_error_clear(error);
  return commit(region, durable, &noted, error);
}

bool mh_commit_waits(const mh_region *region) {
  const mh_commits *commits = region->commits;
  return commits != NULL && commits->journal.end >= usual_limit(commits);
}

mheap_err mh_commit_prepare(mh_region *region, mheap_error *error) {
  mheap_err code = may_commit(region, error);
  if (code) return code;
  pthread_mutex_lock(&region->commits->lock);
  code = region->commits->failed ? may_commit(region, error) : keep_limit(region, error);
  pthread_mutex_unlock(&region->commits->lock);
  return code;
}

mheap_err mh_commit(mh_region *region, bool durable, const mh_commit_wait *wait, mheap_error *error) {
  mheap_err code = may_commit(region, error);
  if (code) return code;
  mh_commits *commits = region->commits;
  pthread_mutex_lock(&commits->lock);
  code = commits->failed ? may_commit(region, error) : commit_somewhere(region, durable, wait, error);
  pthread_mutex_unlock(&commits->lock);
  return code;
}

mheap_err mh_commit_sync(mh_region *region, mheap_error *error) {
  mheap_err code = may_commit(region, error);
  if (code) return code;
  mh_commits *commits = region->commits;
  pthread_mutex_lock(&commits->lock);
  if (commits->journal.unsynced && commits->journal.end > 0) code = sync_journal(region, error);
  pthread_mutex_unlock(&commits->lock);
  return code;
}

/* ---- what is not committed ---- */

typedef struct dirty_count {
  mheap_dirty *dirty;
  uint64_t page; /* the last that was counted, plus 1 */
  bool asked;    /* only what somebody asked for is counted */
} dirty_count;

/* What the superblock says of attaching, and that an address was handed out, which is no more than the
   address: nobody misses it. */
static bool is_unasked(uint64_t at, uint64_t length) {
  const uint64_t from = offsetof(mh_superblock, owner), to = offsetof(mh_superblock, placement);
  return at >= from && at + length <= to;
}

static mheap_err count_bytes(void *arg, uint64_t at, const void *data, uint64_t length, mheap_error *error) {
  dirty_count *count = arg;
  (void)data, (void)error;
  if (count->asked && is_unasked(at, length)) return MHEAP_OK;
  count->dirty->bytes += length;
  if (at / MH_PAGE + 1 != count->page) count->dirty->pages++;
  count->page = at / MH_PAGE + 1;
  return MHEAP_OK;
}

static mheap_err count_growth(mh_region *region, mheap_dirty *dirty, mheap_error *error) {
  uint64_t size = mh_region_size(region), start, stop;
  for (uint64_t from = region->commits->high; from < size; from = stop) {
    int failed = mh_os_seek_data(region->fd, from, size, &start, &stop);
    if (failed) return mh_fail_system(error, failed, region->path, "looking for what the heap grew by");
    dirty->bytes += stop - start;
    dirty->pages += (stop - start) / MH_PAGE;
  }
  return MHEAP_OK;
}

mheap_err mh_commit_dirty(mh_region *region, bool asked, mheap_dirty *dirty, mheap_error *error) {
  dirty_count count = {dirty, 0, asked};
  const mh_changes_visitor visitor = {.visit = count_bytes, .arg = &count};
  *dirty = (mheap_dirty){0};
  mheap_err code = may_commit(region, error);
  if (code) return code;
  pthread_mutex_lock(&region->commits->lock);
  code = mh_changes_visit(region, image_end(region), &visitor, error);
  if (!code) code = count_growth(region, dirty, error);
  pthread_mutex_unlock(&region->commits->lock);
  return code;
}

/* Only the bytes that differ, so that what nobody changed is not even stored to. */
static void restore_page(mh_region *region, uint64_t offset, const char *image) {
  if (memcmp(mh_at(region, offset), image, MH_PAGE) != 0) memcpy(mh_at(region, offset), image, MH_PAGE);
}

static mheap_err restore_range(void *arg, uint64_t from, uint64_t to, mheap_error *error) {
  mh_region *region = arg;
  mheap_err code = MHEAP_OK;
  const char *pages;
  for (uint64_t end; from < to && !code;) {
    code = mh_images_look(&region->commits->images, from, to, &pages, &end, error);
    for (; from < end && !code; from += MH_PAGE, pages += MH_PAGE) restore_page(region, from, pages);
  }
  return code;
}

/* Pages that cannot be read back leave a heap that is half of each: no commit may follow. */
static mheap_err rollback(mh_region *region, mheap_error *error) {
  mh_commits *commits = region->commits;
  if (commits->torn) return may_commit(region, error);
  mheap_err code = mh_changes_ranges(region, commits->high, restore_range, region, error);
  if (code) {
    commits->failed = EIO;
    return code;
  }
  mh_marked_clear(&commits->marked);
  atomic_store_explicit(&region->size, commits->committed, memory_order_release);
  return MHEAP_OK;
}

mheap_err mh_rollback(mh_region *region, mheap_error *error) {
  mh_commits *commits = region->commits;
  if (commits == NULL) return may_commit(region, error);
  pthread_mutex_lock(&commits->lock);
  mheap_err code = rollback(region, error);
  pthread_mutex_unlock(&commits->lock);
  return code;
}

mheap_err mh_commit_word(mh_region *region, uint64_t offset, uint64_t *word, mheap_error *error) {
  mh_commits *commits = region->commits;
  char *page;
  *word = 0;
  if (commits == NULL || offset >= commits->committed) return MHEAP_OK;
  pthread_mutex_lock(&commits->lock);
  mheap_err code = mh_images_of(&commits->images, offset / MH_PAGE * MH_PAGE, &page, error);
  if (!code) memcpy(word, page + offset % MH_PAGE, 8);
  pthread_mutex_unlock(&commits->lock);
  return code;
}

/* ---- growth ---- */

/* What a killed writer left behind the region's end goes. */
static int tidy(mh_region *region) {
  mh_commits *commits = region->commits;
  const mh_sector *first = &commits->journal.first;
  int failed = 0;
  if (commits->tidied) return 0;
  if (first->journal == 0) failed = mh_journal_cut(&commits->journal, commits->high);
  else if (first->journal > commits->high)
    mh_os_punch(region->fd, commits->high, first->journal - commits->high); /* else it stays what it was */
  commits->tidied = !failed;
  return failed;
}

mheap_err mh_commits_make_way(mh_region *region, uint64_t size, mheap_error *error) {
  mh_commits *commits = region->commits;
  if (size <= atomic_load(&commits->room)) return MHEAP_OK; /* also while a commit waits for the disk */
  pthread_mutex_lock(&commits->lock);
  int failed = tidy(region);
  mheap_err code = MHEAP_OK;
  /* A region that shrank since the last commit grows within what that one has. */
  if (size < commits->high) size = commits->high;
  if (!failed && commits->journal.first.journal == 0) failed = mh_journal_cut(&commits->journal, size);
  else if (!failed) code = mh_journal_make_way(&commits->journal, size, error);
  note_failure(commits);
  reflect(region);
  commits->touched = true;
  note_room(commits);
  pthread_mutex_unlock(&commits->lock);
  return failed ? mh_fail_system(error, failed, region->path, "growing the file") : code;
}

/* ---- the end ---- */

/* Nothing is lost where it fails, since the journal has it all: so a full disk is not in the way. */
mheap_err mh_commits_finish(mh_region *region, mheap_error *error) {
  mh_commits *commits = region->commits;
  mh_journal *journal = &commits->journal;
  if (!commits->touched || commits->failed) return MHEAP_OK;
  mheap_err code = mh_region_is_whole(region, error);
  if (code) return code;
  if (!mh_journal_exists(journal)) {
    mh_journal_cut(journal, end_of(commits));
    return MHEAP_OK;
  }
  code = sync_journal(region, error);
  if (!code) code = mark(region, false, error);
  if (code == MHEAP_ERR_BUSY) return MHEAP_OK;
  if (!code) code = write_back(region, true, error);
  return code == MHEAP_ERR_FULL && !commits->failed ? MHEAP_OK : code;
}
