/* overlay.c: see overlay.h. */
#include "overlay.h"

#include <string.h>

#include "least.h"
#include "os.h"

/* Has `visitor` see each record that follows, up to generation `until`, and counts it. */
static mheap_err each_record(mh_journal *journal, const mh_record_visitor *visitor, uint64_t until,
                             uint64_t *count, mheap_error *error) {
  mh_record record;
  bool found = true;
  mheap_err code = MHEAP_OK;
  for (*count = 0; !code && journal->generation < until; ++*count) {
    code = mh_journal_next(journal, &record, &found, error);
    if (code || !found) break;
    code = mh_record_visit(&journal->tape, journal->end, &record, visitor, error);
    if (!code) mh_journal_count(journal, &record);
  }
  return code;
}

/* ---- the superblock ---- */

static mheap_err store_in_super(void *arg, uint64_t at, const void *data, uint64_t length,
                                mheap_error *error) {
  (void)error;
  if (data != NULL && at < sizeof(mh_superblock))
    memcpy((char *)arg + at, data, mh_least(length, sizeof(mh_superblock) - at));
  return MHEAP_OK;
}

mheap_err mh_overlay_superblock(int fd, const char *path, mh_superblock *super, mheap_error *error) {
  const mh_record_visitor visitor = {.visit = store_in_super, .arg = super};
  mh_journal journal = {0};
  uint64_t count;
  mheap_err code = mh_journal_load(&journal, fd, path, error);
  if (!code) code = each_record(&journal, &visitor, UINT64_MAX, &count, error);
  if (!code) code = mh_journal_is_whole(&journal, error);
  if (!code) mh_journal_reflect(&journal, (mh_sector *)super); /* whatever a record says */
  mh_journal_close(&journal);
  return code;
}

/* ---- images ---- */

static bool are_placed(void *arg, uint64_t at, uint64_t length) {
  const mh_images *images = arg;
  uint64_t end = at + length;
  while (at < end && at < images->span && mh_images_is_placed(images, at)) at += MH_PAGE;
  return at >= end;
}

/* A piece may reach over several pages; those that are placed are in the journal for good. */
static mheap_err store_in_images(void *arg, uint64_t at, const void *data, uint64_t length,
                                 mheap_error *error) {
  mh_images *images = arg;
  char *page;
  if (data == NULL) mh_images_written(images, at, at + length);
  /* What is behind the span was given up by a later record: this attach is made for less. */
  for (uint64_t n; data != NULL && length > 0 && at < images->span;
       at += n, data = (const char *)data + n, length -= n) {
    n = mh_least(length, MH_PAGE - at % MH_PAGE);
    if (mh_images_is_placed(images, at)) continue;
    mheap_err code = mh_images_of(images, at / MH_PAGE * MH_PAGE, &page, error);
    if (code) return code;
    memcpy(page + at % MH_PAGE, data, n);
    mh_images_note(images, at);
  }
  return MHEAP_OK;
}

mheap_err mh_overlay_images(mh_journal *journal, mh_images *images, mheap_error *error) {
  const mh_record_visitor visitor = {store_in_images, images, are_placed};
  uint64_t count;
  mheap_err code = each_record(journal, &visitor, UINT64_MAX, &count, error);
  if (!code) mh_journal_reflect(journal, (mh_sector *)images->shadow);
  return code ? code : mh_journal_is_whole(journal, error);
}

mheap_err mh_overlay_record(mh_journal *journal, const mh_record *record, mh_images *images,
                            mheap_error *error) {
  const mh_record_visitor visitor = {store_in_images, images, are_placed};
  return mh_record_visit(&journal->tape, journal->end, record, &visitor, error);
}

/* ---- pages ---- */

typedef struct pages {
  const char *path;
  char *base;
  uint64_t size;
} pages;

static mheap_err store_in_pages(void *arg, uint64_t at, const void *data, uint64_t length,
                                mheap_error *error) {
  const pages *to = arg;
  if (at >= to->size) return MHEAP_OK;
  length = mh_least(length, to->size - at);
  if (data != NULL) return memcpy(to->base + at, data, length), MHEAP_OK;
  /* An earlier record may have stored there what was free by then. */
  int failed = mh_os_discard(to->base + at, length);
  return failed ? mh_fail_system(error, failed, to->path, "dropping pages of an earlier commit") : MHEAP_OK;
}

mheap_err mh_overlay_pages(mh_journal *journal, char *base, uint64_t size, uint64_t until, uint64_t *count,
                           mheap_error *error) {
  pages to = {journal->tape.path, base, size};
  const mh_record_visitor visitor = {.visit = store_in_pages, .arg = &to};
  mheap_err code = each_record(journal, &visitor, until, count, error);
  if (!code) mh_journal_reflect(journal, (mh_sector *)base);
  return code;
}
