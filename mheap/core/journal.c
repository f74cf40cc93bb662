/* journal.c: see journal.h. */
#include "journal.h"

#include <errno.h>
#include <string.h>

#include "os.h"
#include "region_lock.h"
#include "superblock.h"
#include "zeros.h"

/* ---- reading ---- */

static void rewind_to_pages(mh_journal *journal) {
  const mh_sector *first = &journal->first;
  journal->end = 0;
  journal->generation = first->generation;
  journal->chain = first->journal_seed;
  journal->size = journal->highest = first->size;
  journal->tape.have = 0;
}

static void set_tape(mh_journal *journal) {
  journal->tape.fd = journal->fd;
  journal->tape.path = journal->path;
  journal->tape.start = journal->first.journal;
  journal->tape.size = journal->first.journal_size;
  journal->tape.have = 0;
}

mheap_err mh_journal_load(mh_journal *journal, int fd, const char *path, mheap_error *error) {
  size_t got;
  journal->fd = fd;
  journal->path = path;
  int failed = mh_os_read(fd, &journal->first, sizeof journal->first, 0, &got);
  if (failed) return mh_fail_system(error, failed, path, "reading the superblock");
  if (got < sizeof journal->first)
    return mh_fail_unreadable(error, path, got, "the file ends inside its superblock", MH_SECTOR, got);
  set_tape(journal);
  rewind_to_pages(journal);
  journal->unsynced = true; /* whoever wrote it may not have synced it */
  if (!mh_journal_exists(journal) || journal->first.checkpoint >= journal->first.generation) return MHEAP_OK;
  return mh_fail_unreadable(error, path, offsetof(mh_superblock, checkpoint),
                            "generation that a checkpoint makes of the pages", journal->first.generation,
                            journal->first.checkpoint);
}

mheap_err mh_journal_next(mh_journal *journal, mh_record *record, bool *found, mheap_error *error) {
  *found = false;
  if (!mh_journal_exists(journal)) return MHEAP_OK;
  return mh_record_find(&journal->tape, journal->end, journal->generation + 1, journal->chain, record,
                        journal->generation < mh_checkpoint_of(journal->first.checkpoint), found, error);
}

void mh_journal_count(mh_journal *journal, const mh_record *record) {
  journal->end = mh_record_end(journal->end, record->length);
  journal->generation = record->generation;
  journal->chain = record->sum;
  journal->size = record->size;
  if (record->size > journal->highest) journal->highest = record->size;
}

mheap_err mh_journal_is_whole(const mh_journal *journal, mheap_error *error) {
  if (journal->generation >= mh_checkpoint_of(journal->first.checkpoint)) return MHEAP_OK;
  return mh_fail_unreadable(error, journal->path, journal->first.journal + journal->end,
                            "the journal ends too soon: generation of its last record",
                            mh_checkpoint_of(journal->first.checkpoint), journal->generation);
}

void mh_journal_close(mh_journal *journal) { mh_tape_drop(&journal->tape); }

/* ---- the first sector ---- */

mheap_err mh_journal_publish(mh_journal *journal, const char *doing, mheap_error *error) {
  int failed = mh_os_write(journal->fd, &journal->first, sizeof journal->first, 0);
  return failed ? mh_fail_system(error, failed, journal->path, doing) : MHEAP_OK;
}

mheap_err mh_journal_sync(mh_journal *journal, mheap_error *error) {
  int failed = mh_os_sync(journal->fd);
  if (failed) journal->failed = failed;
  if (failed)
    return mh_fail_system(error, failed, journal->path,
                          "syncing the file: what is on disk is not known; close it, and open it again");
  journal->unsynced = false;
  return MHEAP_OK;
}

static void name_place(mh_sector *sector, mh_journal_place place) {
  sector->journal = place.offset;
  sector->journal_size = place.size;
  sector->identity.incompat &= ~MH_INCOMPAT_JOURNAL;
  if (place.offset != 0) sector->identity.incompat |= MH_INCOMPAT_JOURNAL;
  mh_superblock_sum(&sector->identity);
}

/* As a whole or not at all: what cannot be written is as if it had not been asked for. */
static mheap_err place(mh_journal *journal, uint64_t offset, uint64_t size, const char *doing,
                       mheap_error *error) {
  mh_sector before = journal->first;
  name_place(&journal->first, (mh_journal_place){offset, size});
  mheap_err code = mh_journal_publish(journal, doing, error);
  if (code) journal->first = before;
  uint64_t from = journal->tape.from, have = journal->tape.have;
  set_tape(journal);
  journal->tape.from = from; /* its contents are where they were, within it */
  journal->tape.have = have;
  return code;
}

/* ---- room ---- */

#define ROOM "making room for the journal"

/* Syncing data into blocks that were only reserved takes half as long again: which counts for small
   commits, one after the other, and not for a record of many megabytes. */
static int write_zeros(int fd, uint64_t from, uint64_t to) {
  int failed = mh_os_allocate(fd, from, to - from);
  return failed && failed != EOPNOTSUPP ? failed : mh_zeros_write(fd, from, to);
}

/* A reader that is on its way to the newest generation may be storing to its private pages of what goes, and
   would be killed: while there is one, what goes becomes a hole. One that comes later finds the file as it is
   now. */
int mh_journal_cut(const mh_journal *journal, uint64_t end) {
  uint64_t size, disk;
  if (!mh_region_pinned_before(journal->fd, journal->generation)) return mh_os_truncate(journal->fd, end);
  int failed = mh_os_file_sizes(journal->fd, &size, &disk);
  if (failed || size == end) return failed;
  if (size < end) return mh_os_truncate(journal->fd, end);
  failed = mh_os_punch(journal->fd, end, size - end);
  return failed == EOPNOTSUPP ? mh_zeros_write(journal->fd, end, size) : failed;
}

/* Fresh space for it, from `offset` to the end of the file. */
static mheap_err prepare(mh_journal *journal, uint64_t offset, uint64_t from, uint64_t to,
                         mheap_error *error) {
  uint64_t small = to < MH_JOURNAL_USUAL ? to : MH_JOURNAL_USUAL;
  int failed = mh_journal_cut(journal, offset + from);
  if (!failed && from < small) failed = write_zeros(journal->fd, offset + from, offset + small);
  if (from > small) small = from;
  if (!failed && small < to) failed = mh_journal_cut(journal, offset + to);
  if (!failed && small < to) failed = mh_os_allocate(journal->fd, offset + small, to - small);
  if (!failed || failed == EOPNOTSUPP) return MHEAP_OK;
  mh_journal_cut(journal, offset + from);
  return mh_fail_system(error, failed, journal->path, ROOM);
}

/* The region can grow for a while before the journal has to move: by half, and in small files
   by a slice. */
static uint64_t place_behind(uint64_t region_end) {
  const uint64_t most = (uint64_t)1 << 30;
  uint64_t room = region_end / 2;
  if (room > most) room = most;
  if (region_end < MH_SEGMENT) room = MH_SLICE;
  return (region_end + room + MH_SLICE - 1) / MH_SLICE * MH_SLICE;
}

static mheap_err make(mh_journal *journal, uint64_t size, uint64_t region_end, mheap_error *error) {
  uint64_t offset = place_behind(region_end);
  mheap_err code = prepare(journal, offset, 0, size, error);
  if (!code) code = mh_journal_sync(journal, error);
  if (!code) code = place(journal, offset, size, ROOM, error);
  return code; /* its name is durable with the first record: nothing else depends on it */
}

static uint64_t next_size(uint64_t size, uint64_t wanted) {
  while (size < wanted) size *= 2;
  return size;
}

/* A file that is shorter than its superblock says is refused, and the length may come to the disk later
   than what is written: so it is durable first. */
mheap_err mh_journal_reach(mh_journal *journal, uint64_t size, uint64_t region_end, mheap_error *error) {
  uint64_t old = journal->first.journal_size;
  if (!mh_journal_exists(journal)) return make(journal, next_size(MH_JOURNAL_FIRST, size), region_end, error);
  if (size <= old) return MHEAP_OK;
  uint64_t wanted = next_size(old, size);
  mheap_err code = prepare(journal, journal->first.journal, old, wanted, error);
  if (code == MHEAP_ERR_FULL) { /* there may be room for what is needed now */
    wanted = (size + MH_SLICE - 1) / MH_SLICE * MH_SLICE;
    code = prepare(journal, journal->first.journal, old, wanted, error);
  }
  if (!code) code = mh_journal_sync(journal, error);
  return code ? code : place(journal, journal->first.journal, wanted, ROOM, error);
}

/* ---- moving ---- */

static int copy_records(mh_journal *journal, uint64_t to) {
  char *buffer = mh_os_table(MH_SLICE);
  int failed = buffer == NULL ? ENOMEM : 0;
  for (uint64_t at = 0; at < journal->end && !failed; at += MH_SLICE) {
    uint64_t length = journal->end - at < MH_SLICE ? journal->end - at : MH_SLICE;
    size_t got = 0;
    failed = mh_os_read(journal->fd, buffer, length, journal->first.journal + at, &got);
    if (!failed && got < length) failed = EIO;
    if (!failed) failed = mh_os_write(journal->fd, buffer, length, to + at);
  }
  if (buffer != NULL) mh_os_table_free(buffer, MH_SLICE);
  return failed;
}

/* The copy is durable before it is named, and so is its name before the old one's place is used. */
static mheap_err move(mh_journal *journal, uint64_t to, mheap_error *error) {
  uint64_t from = journal->first.journal, size = journal->first.journal_size;
  mheap_err code = prepare(journal, to, 0, size, error);
  int failed = code ? 0 : copy_records(journal, to);
  if (failed) code = mh_fail_system(error, failed, journal->path, "moving the journal");
  if (!code) code = mh_journal_sync(journal, error);
  if (!code) code = place(journal, to, size, "moving the journal", error);
  if (!code) code = mh_journal_sync(journal, error);
  if (!code) mh_os_punch(journal->fd, from, size < to - from ? size : to - from);
  return code;
}

mheap_err mh_journal_make_way(mh_journal *journal, uint64_t region_end, mheap_error *error) {
  if (!mh_journal_exists(journal) || journal->first.journal >= region_end) return MHEAP_OK;
  uint64_t to = place_behind(region_end), old_end = journal->first.journal + journal->first.journal_size;
  if (to < old_end) to = (old_end + MH_SLICE - 1) / MH_SLICE * MH_SLICE;
  return move(journal, to, error);
}

/* ---- emptying ---- */

mh_journal_place mh_journal_here(const mh_journal *journal) {
  return (mh_journal_place){journal->first.journal, journal->first.journal_size};
}

mh_journal_place mh_journal_behind(mh_journal *journal, uint64_t region_end) {
  mh_journal_place now = mh_journal_here(journal), next = {region_end, MH_JOURNAL_FIRST};
  if (now.size > next.size) now.size = next.size;
  if (now.offset == 0 || next.offset + next.size > now.offset) return now;
  return write_zeros(journal->fd, next.offset, next.offset + next.size) == 0 ? next : now;
}

mheap_err mh_journal_mark(mh_journal *journal, uint64_t checkpoint, mheap_error *error) {
  uint64_t before = journal->first.checkpoint;
  journal->first.checkpoint = checkpoint;
  mheap_err code = mh_journal_publish(journal, "writing the superblock", error);
  if (code) journal->first.checkpoint = before;
  return code;
}

/* The identity only where it must be: another thread may be changing what else it says. */
void mh_journal_reflect(const mh_journal *journal, mh_sector *copy) {
  bool said = ((copy->identity.incompat & MH_INCOMPAT_JOURNAL) != 0) == mh_journal_exists(journal);
  copy->journal_seed = journal->first.journal_seed;
  copy->checkpoint = journal->first.checkpoint;
  copy->journal = journal->first.journal;
  copy->journal_size = journal->first.journal_size;
  if (!said) name_place(copy, mh_journal_here(journal));
}

/* What the records made of the sector, but for what is never in a record. */
static mh_sector emptied(const mh_journal *journal, const mh_sector *pages, mh_journal_place next) {
  mh_sector first = *pages;
  first.generation = first.checkpoint = journal->generation;
  first.journal_seed = journal->first.journal_seed + 1;
  name_place(&first, next);
  return first;
}

/* The file is cut only once nothing durable names what goes. */
static void cut_behind(const mh_journal *journal) {
  uint64_t size, disk, end = journal->first.journal + journal->first.journal_size;
  if (end == 0) end = journal->first.size;
  if (mh_os_file_sizes(journal->fd, &size, &disk) == 0 && size > end) mh_journal_cut(journal, end);
}

mheap_err mh_journal_empty(mh_journal *journal, const mh_sector *pages, mh_journal_place next,
                           mheap_error *error) {
  mh_sector before = journal->first;
  journal->first = emptied(journal, pages, next);
  mheap_err code = mh_journal_publish(journal, "writing the superblock", error);
  if (code) journal->first = before;
  if (!code) code = mh_journal_sync(journal, error);
  if (code) return code;
  set_tape(journal);
  rewind_to_pages(journal);
  cut_behind(journal);
  return MHEAP_OK;
}
