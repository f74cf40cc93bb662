/* record.c: see record.h. */
#include "record.h"

#include <errno.h>
#include <string.h>

#include "crc32c.h"
#include "least.h"
#include "os.h"

/* ---- tapes ---- */

void mh_tape_drop(mh_tape *tape) {
  if (tape->window != NULL) mh_os_table_free(tape->window, MH_TAPE_WINDOW);
  tape->window = NULL;
  tape->have = 0;
}

static mheap_err need_window(mh_tape *tape, mheap_error *error) {
  if (tape->window == NULL) tape->window = mh_os_table(MH_TAPE_WINDOW);
  if (tape->window != NULL) return MHEAP_OK;
  return mh_fail_system(error, ENOMEM, tape->path, "making room to read the journal");
}

/* Fewer bytes at first, as most records are short; eight times as many with each that follows. */
#define READ_LEAST ((uint64_t)2 * MH_PAGE)

static uint64_t bytes_to_read(const mh_tape *tape, uint64_t at, uint64_t length) {
  uint64_t wanted = at == tape->from + tape->have ? mh_least(8 * tape->have, MH_TAPE_WINDOW) : 0;
  if (wanted < READ_LEAST) wanted = READ_LEAST;
  return wanted < length ? length : wanted;
}

static mheap_err refill(mh_tape *tape, uint64_t at, uint64_t length, mheap_error *error) {
  size_t got;
  mheap_err code = need_window(tape, error);
  if (code) return code;
  uint64_t wanted = bytes_to_read(tape, at, length);
  tape->from = at;
  tape->have = 0;
  int failed = mh_os_read(tape->fd, tape->window, mh_least(wanted, tape->size - at), tape->start + at, &got);
  if (failed) return mh_fail_system(error, failed, tape->path, "reading the journal");
  tape->have = got;
  return MHEAP_OK;
}

/* `length` bytes at `at`, at most a window; *bytes NULL: the tape ends before. */
static mheap_err look(mh_tape *tape, uint64_t at, uint64_t length, const char **bytes, mheap_error *error) {
  *bytes = NULL;
  if (at > tape->size || length > tape->size - at) return MHEAP_OK;
  bool there = tape->window != NULL && at >= tape->from && at + length <= tape->from + tape->have;
  mheap_err code = there ? MHEAP_OK : refill(tape, at, length, error);
  if (!code && at + length <= tape->from + tape->have) *bytes = tape->window + (at - tape->from);
  return code;
}

/* As many as the window has, at least one, at most `length`. */
static mheap_err look_some(mh_tape *tape, uint64_t at, uint64_t length, const char **bytes, uint64_t *got,
                           mheap_error *error) {
  mheap_err code = look(tape, at, 1, bytes, error);
  if (!code && *bytes == NULL) return MHEAP_OK;
  *got = code ? 0 : mh_least(length, tape->from + tape->have - at);
  return code;
}

/* ---- believing a record ---- */

/* The region ends before the journal begins. */
static bool header_is_valid(const mh_tape *tape, const mh_record *r, uint64_t room) {
  return r->length >= sizeof *r && r->length <= room && r->length % 8 == 0 && r->size % MH_SLICE == 0 &&
         r->size <= tape->start && r->size >= 2 * MH_SLICE && r->reserved == 0 && r->flags == 0;
}
static bool is_next(const mh_record *r, uint64_t generation, uint64_t previous) {
  return r->magic == MH_RECORD_MAGIC && r->generation == generation && r->previous == previous;
}

static uint32_t header_sum(uint32_t body, mh_record header) {
  header.sum = 0;
  return mh_crc32c_more(body, &header, sizeof header);
}

static mheap_err body_sum(mh_tape *tape, uint64_t at, uint64_t length, uint32_t *sum, mheap_error *error) {
  const char *bytes;
  uint64_t got;
  for (*sum = 0; length > 0; at += got, length -= got) {
    mheap_err code = look_some(tape, at, length, &bytes, &got, error);
    if (code) return code;
    if (bytes == NULL) return *sum = ~*sum, MHEAP_OK; /* cut short: no sum of it */
    *sum = mh_crc32c_more(*sum, bytes, got);
  }
  return MHEAP_OK;
}

static bool entry_is_valid(const mh_record_entry *e, const mh_record *record, uint64_t left) {
  uint64_t at = e->at & ~MH_ENTRY_KIND, kind = e->at & MH_ENTRY_KIND;
  if (kind > MH_ENTRY_PLACED || e->length == 0 || e->length % 8 != 0) return false;
  if (at >= record->size || e->length > record->size - at) return false;
  return kind == MH_ENTRY_PLACED || (e->sum == 0 && e->length <= left);
}

static mheap_err broken_entry(const mh_tape *tape, uint64_t at, const mh_record_entry *e,
                              mheap_error *error) {
  return mh_fail_corrupt(error, tape->path, tape->start + at, "an entry of a record of the journal", 0,
                         e->at);
}

static mheap_err visit_bytes(mh_tape *tape, uint64_t *at, const mh_record_entry *e,
                             const mh_record_visitor *v, mheap_error *error) {
  mheap_err code = MHEAP_OK;
  const char *bytes;
  if (v->skips != NULL && v->skips(v->arg, e->at & ~MH_ENTRY_KIND, e->length)) return *at += e->length, code;
  for (uint64_t done = 0, got; done < e->length && !code; done += got, *at += got) {
    code = look_some(tape, *at, e->length - done, &bytes, &got, error);
    if (!code && bytes == NULL) return broken_entry(tape, *at, e, error);
    if (!code) code = v->visit(v->arg, (e->at & ~MH_ENTRY_KIND) + done, bytes, got, error);
  }
  return code;
}

/* `placed` is called with what was placed. */
static mheap_err walk(mh_tape *tape, uint64_t at, const mh_record *record, const mh_record_visitor *v,
                      mheap_err (*placed)(mh_tape *tape, const mh_record_entry *e, mheap_error *error),
                      mheap_error *error) {
  uint64_t end = at + record->length;
  mheap_err code = MHEAP_OK;
  for (at += sizeof *record; at < end && !code;) {
    const char *bytes;
    mh_record_entry e = {0};
    code = end - at < sizeof e ? MHEAP_OK : look(tape, at, sizeof e, &bytes, error);
    if (code) return code;
    if (end - at >= sizeof e && bytes != NULL) memcpy(&e, bytes, sizeof e);
    if (!entry_is_valid(&e, record, end - at - sizeof e)) return broken_entry(tape, at, &e, error);
    at += sizeof e;
    if ((e.at & MH_ENTRY_KIND) == MH_ENTRY_BYTES) code = visit_bytes(tape, &at, &e, v, error);
    else if (placed != NULL) code = placed(tape, &e, error);
    else code = v->visit(v->arg, e.at & ~MH_ENTRY_KIND, NULL, e.length, error);
  }
  return code;
}

static mheap_err ignore(void *arg, uint64_t at, const void *data, uint64_t length, mheap_error *error) {
  (void)arg, (void)at, (void)data, (void)length, (void)error;
  return MHEAP_OK;
}

/* What was placed is summed in its place, which is that of the region: the file's start. */
static mheap_err check_placed(mh_tape *tape, const mh_record_entry *e, mheap_error *error) {
  mh_tape place = {.fd = tape->fd, .path = tape->path, .size = MH_OFFSET_MAX};
  uint32_t sum;
  mheap_err code = body_sum(&place, e->at & ~MH_ENTRY_KIND, e->length, &sum, error);
  mh_tape_drop(&place);
  if (!code && sum != e->sum)
    code = mh_fail_corrupt(error, tape->path, e->at & ~MH_ENTRY_KIND, "sum of bytes that a commit placed",
                           e->sum, sum);
  return code;
}

mheap_err mh_record_find(mh_tape *tape, uint64_t at, uint64_t generation, uint64_t previous,
                         mh_record *record, bool trusted, bool *found, mheap_error *error) {
  const mh_record_visitor nobody = {.visit = ignore};
  const char *bytes;
  uint32_t sum;
  *found = false;
  mheap_err code = look(tape, at, sizeof *record, &bytes, error);
  if (code || bytes == NULL) return code;
  memcpy(record, bytes, sizeof *record);
  if (!is_next(record, generation, previous) || !header_is_valid(tape, record, tape->size - at))
    return MHEAP_OK;
  code = body_sum(tape, at + sizeof *record, record->length - sizeof *record, &sum, error);
  if (code || header_sum(sum, *record) != record->sum) return code;
  code = walk(tape, at, record, &nobody, trusted ? NULL : check_placed, error);
  if (code == MHEAP_ERR_CORRUPT) return mh_error_clear(error), MHEAP_OK;
  *found = !code;
  return code;
}

mheap_err mh_record_visit(mh_tape *tape, uint64_t at, const mh_record *record,
                          const mh_record_visitor *visitor, mheap_error *error) {
  return walk(tape, at, record, visitor, NULL, error);
}

/* ---- writing ---- */

mheap_err mh_draft_begin(mh_draft *draft, mheap_error *error) {
  mheap_err code = need_window(draft->tape, error);
  if (code) return code;
  draft->tape->from = draft->at;
  draft->tape->have = draft->length = sizeof(mh_record);
  draft->written = draft->entries = draft->sum = 0;
  draft->open = NULL;
  memset(draft->tape->window, 0, sizeof(mh_record));
  return MHEAP_OK;
}

/* The window's bytes, summed but for the header, to the file. */
static mheap_err write_window(mh_draft *draft, uint64_t length, mheap_error *error) {
  mh_tape *tape = draft->tape;
  uint64_t skipped = draft->written == 0 ? sizeof(mh_record) : 0;
  mheap_err code = draft->reach(draft->arg, tape->from + length, error);
  if (code) return code;
  int failed = mh_os_write(tape->fd, tape->window, length, tape->start + tape->from);
  if (failed) return mh_fail_system(error, failed, tape->path, "writing to the journal");
  draft->sum = mh_crc32c_more(draft->sum, tape->window + skipped, tape->have - skipped);
  draft->written += tape->have;
  return MHEAP_OK;
}

static mheap_err next_window(mh_draft *draft, mheap_error *error) {
  mh_tape *tape = draft->tape;
  mheap_err code = write_window(draft, tape->have, error);
  if (code) return code;
  if (draft->hurry) mh_os_begin_writing(tape->fd, tape->start + tape->from, tape->have);
  draft->open = NULL;
  tape->from += tape->have;
  tape->have = 0;
  return MHEAP_OK;
}

static mheap_err append(mh_draft *draft, const void *data, uint64_t length, mheap_error *error) {
  mh_tape *tape = draft->tape;
  for (uint64_t done = 0, n; done < length; done += n) {
    mheap_err code = tape->have == MH_TAPE_WINDOW ? next_window(draft, error) : MHEAP_OK;
    if (code) return code;
    n = mh_least(length - done, MH_TAPE_WINDOW - tape->have);
    memcpy(tape->window + tape->have, (const char *)data + done, n);
    tape->have += n;
    draft->length += n;
  }
  return MHEAP_OK;
}

static mheap_err new_entry(mh_draft *draft, const mh_record_entry *entry, mheap_error *error) {
  mheap_err code = MHEAP_OK;
  if (MH_TAPE_WINDOW - draft->tape->have < sizeof *entry + 8) code = next_window(draft, error);
  if (code) return code;
  draft->open = (mh_record_entry *)(draft->tape->window + draft->tape->have);
  draft->entries++;
  return append(draft, entry, sizeof *entry, error);
}

static bool follows(const mh_draft *draft, uint64_t at) {
  const mh_record_entry *open = draft->open;
  return open != NULL && (open->at & MH_ENTRY_KIND) == MH_ENTRY_BYTES && open->at + open->length == at;
}

/* An entry's bytes are in the same window as itself, so that its length can still grow. */
mheap_err mh_draft_bytes(mh_draft *draft, uint64_t at, const void *data, uint64_t length,
                         mheap_error *error) {
  for (uint64_t done = 0, n; done < length; done += n) {
    uint64_t room = MH_TAPE_WINDOW - draft->tape->have;
    mheap_err code = MHEAP_OK;
    if (!follows(draft, at + done) || room < 8)
      code = new_entry(draft, &(mh_record_entry){.at = (at + done) | MH_ENTRY_BYTES}, error);
    if (code) return code;
    n = mh_least(length - done, MH_TAPE_WINDOW - draft->tape->have);
    n -= n % 8;
    draft->open->length += (uint32_t)n;
    code = append(draft, (const char *)data + done, n, error);
    if (code) return code;
  }
  return MHEAP_OK;
}

bool mh_draft_tail(const mh_draft *draft, uint64_t length, uint64_t *place) {
  *place = draft->tape->from + draft->tape->have - length;
  return draft->open != NULL && draft->open->length >= length;
}

mheap_err mh_draft_placed(mh_draft *draft, uint64_t at, uint32_t length, uint32_t sum, mheap_error *error) {
  return new_entry(draft, &(mh_record_entry){.at = at | MH_ENTRY_PLACED, .length = length, .sum = sum},
                   error);
}

/* To the end of its last page, so that the page need not be read to be written. */
static uint64_t padded_length(const mh_tape *tape) {
  return (tape->have + MH_PAGE - 1) / MH_PAGE * MH_PAGE;
}

mheap_err mh_draft_room(mh_draft *draft, mheap_error *error) {
  return draft->reach(draft->arg, draft->tape->from + padded_length(draft->tape), error);
}

static uint64_t pad(mh_tape *tape) {
  uint64_t padded = padded_length(tape);
  memset(tape->window + tape->have, 0, padded - tape->have);
  return padded;
}

mheap_err mh_draft_finish(mh_draft *draft, mh_record *record, mheap_error *error) {
  mh_tape *tape = draft->tape;
  bool whole = draft->written == 0; /* one write has all of it */
  uint32_t body = draft->sum;
  uint64_t skipped = whole ? sizeof *record : 0;
  record->magic = MH_RECORD_MAGIC;
  record->length = draft->length;
  record->sum = header_sum(mh_crc32c_more(body, tape->window + skipped, tape->have - skipped), *record);
  if (whole) memcpy(tape->window, record, sizeof *record);
  mheap_err code = write_window(draft, pad(tape), error);
  if (code || whole) return code;
  int failed = mh_os_write(tape->fd, record, sizeof *record, tape->start + draft->at);
  return failed ? mh_fail_system(error, failed, tape->path, "writing to the journal") : MHEAP_OK;
}
