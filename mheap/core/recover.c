/* recover.c: see recover.h. */
#include "recover.h"

#include <string.h>

#include "least.h"
#include "os.h"

/* A page of the file changes by the bytes of a record. The first sector is not written before all
   else is durable. */
typedef struct target {
  int fd;
  const char *path;
  mh_sector first;
} target;

static mheap_err redo(void *arg, uint64_t at, const void *data, uint64_t length, mheap_error *error) {
  target *to = arg;
  if (data == NULL) return MHEAP_OK;
  uint64_t first = at < MH_SECTOR ? mh_least(length, MH_SECTOR - at) : 0;
  if (first > 0) memcpy(to->first.bytes + at, data, first);
  if (first == length) return MHEAP_OK;
  int failed = mh_os_write(to->fd, (const char *)data + first, length - first, at + first);
  return failed ? mh_fail_system(error, failed, to->path, "recovering what was committed") : MHEAP_OK;
}

/* Counts the records, and has the visitor see their contents. */
static mheap_err each_record(mh_journal *journal, const mh_record_visitor *visitor, uint64_t until,
                             mh_recovery *found, mheap_error *error) {
  mh_record record;
  mheap_err code = MHEAP_OK;
  *found = (mh_recovery){.pages = journal->first.generation};
  for (bool more = true; !code && journal->generation < until;) {
    code = mh_journal_next(journal, &record, &more, error);
    if (code || !more) break;
    if (visitor != NULL) code = mh_record_visit(&journal->tape, journal->end, &record, visitor, error);
    mh_journal_count(journal, &record);
    found->records++;
  }
  found->generation = journal->generation;
  found->bytes = journal->end;
  return code ? code : mh_journal_is_whole(journal, error);
}

mheap_err mh_recover_look(int fd, const char *path, mh_recovery *found, mheap_error *error) {
  mh_journal journal = {0};
  mheap_err code = mh_journal_load(&journal, fd, path, error);
  if (!code) code = each_record(&journal, NULL, UINT64_MAX, found, error);
  mh_journal_close(&journal);
  return code;
}

/* First the records, durably, then the marker: after that they are believed, whatever becomes of
   what they placed. */
static mheap_err redo_all(mh_journal *journal, uint64_t until, bool keep, mh_recovery *done,
                          mheap_error *error) {
  target to = {.fd = journal->fd, .path = journal->path};
  const mh_record_visitor visitor = {.visit = redo, .arg = &to};
  mh_journal_place next = {0};
  mheap_err code = mh_journal_sync(journal, error);
  if (!code) code = mh_journal_mark(journal, until, error);
  if (!code) code = mh_journal_sync(journal, error);
  if (code) return code;
  to.first = journal->first;
  code = each_record(journal, &visitor, until, done, error);
  if (!code) code = mh_journal_sync(journal, error);
  if (keep) next = mh_journal_here(journal);
  return code ? code : mh_journal_empty(journal, &to.first, next, error);
}

mheap_err mh_recover(int fd, const char *path, bool keep, mh_recovery *done, mheap_error *error) {
  mh_journal look = {0}, journal = {0};
  mheap_err code = mh_journal_load(&look, fd, path, error);
  if (!code) code = each_record(&look, NULL, UINT64_MAX, done, error);
  if (!code) code = mh_journal_load(&journal, fd, path, error);
  bool marked = !code && journal.first.checkpoint != journal.first.generation;
  if (!code && mh_journal_exists(&journal) && (done->records > 0 || marked || !keep))
    code = redo_all(&journal, look.generation, keep, done, error);
  mh_journal_close(&look);
  mh_journal_close(&journal);
  return code;
}
