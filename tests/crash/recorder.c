/* recorder.c: see recorder.h. */
#include "recorder.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "journal.h"
#include "os.h"
#include "places.h"

enum { PAGE = 4096 };

static struct {
  bool on;
  dev_t device;
  ino_t inode;
  recorder_defect defect;
  disk now; /* all of the log brought to what was there before */
  op_log log;
} recorder;

void recorder_defect_is(recorder_defect defect) { recorder.defect = defect; }

void recorder_begin(int fd) {
  struct stat st;
  if (fstat(fd, &st) != 0) abort();
  recorder.on = true;
  recorder.device = st.st_dev;
  recorder.inode = st.st_ino;
  recorder.log = (op_log){0};
  recorder.now = disk_new();
  disk_read(&recorder.now, fd);
}

op_log recorder_end(void) {
  recorder.on = false;
  disk_free(&recorder.now);
  return recorder.log;
}

static bool is_ours(int fd) {
  struct stat st;
  return recorder.on && fstat(fd, &st) == 0 && st.st_dev == recorder.device && st.st_ino == recorder.inode;
}

static void add(op it) {
  op_log *log = &recorder.log;
  if ((log->count & (log->count - 1)) == 0) {
    log->ops = realloc(log->ops, 2 * (log->count + 1) * sizeof *log->ops);
    if (log->ops == NULL) abort();
  }
  log->ops[log->count++] = it;
  disk_apply(&recorder.now, &it);
}

static void add_write(const void *data, uint64_t length, uint64_t offset) {
  uint8_t *copy = malloc(length);
  if (copy == NULL) abort();
  add((op){.kind = OP_WRITE, .offset = offset, .length = length, .data = memcpy(copy, data, length)});
}

void recorder_note(uint64_t number) {
  if (recorder.on) add((op){.kind = OP_NOTE, .length = number});
}

/* What was stored to pages of [from, to). */
static void add_stores(int fd, uint64_t from, uint64_t to) {
  uint8_t page[PAGE];
  for (; from < to && pread(fd, page, PAGE, (off_t)from) == PAGE; from += PAGE)
    if (memcmp(page, recorder.now.bytes + from, PAGE) != 0) add_write(page, PAGE, from);
}

/* ---- the wrappers ---- */

int __real_mh_os_write(int fd, const void *buffer, size_t length, uint64_t offset);
int __wrap_mh_os_write(int fd, const void *buffer, size_t length, uint64_t offset) {
  if (is_ours(fd)) add_write(buffer, length, offset);
  return __real_mh_os_write(fd, buffer, length, offset);
}

int __real_mh_os_truncate(int fd, uint64_t size);
int __wrap_mh_os_truncate(int fd, uint64_t size) {
  if (is_ours(fd)) add((op){.kind = OP_LENGTH, .length = size});
  return __real_mh_os_truncate(fd, size);
}

/* Space that is allocated reads as zero, as it does otherwise: only the length counts. */
int __real_mh_os_allocate(int fd, uint64_t offset, uint64_t length);
int __wrap_mh_os_allocate(int fd, uint64_t offset, uint64_t length) {
  struct stat st;
  if (is_ours(fd) && fstat(fd, &st) == 0 && offset + length > (uint64_t)st.st_size)
    add((op){.kind = OP_LENGTH, .length = offset + length});
  return __real_mh_os_allocate(fd, offset, length);
}

int __real_mh_os_punch(int fd, uint64_t offset, uint64_t length);
int __wrap_mh_os_punch(int fd, uint64_t offset, uint64_t length) {
  if (is_ours(fd)) add((op){.kind = OP_PUNCH, .offset = offset, .length = length});
  return __real_mh_os_punch(fd, offset, length);
}

/* What a sync costs is not of interest. */
int __real_mh_os_sync(int fd);
int __wrap_mh_os_sync(int fd) {
  if (!is_ours(fd)) return __real_mh_os_sync(fd);
  add_stores(fd, 0, DISK_MOST);
  add((op){.kind = OP_SYNC, .place = place_of_call()});
  return 0;
}

int __real_mh_os_map(void *address, uint64_t length, int fd, uint64_t offset, bool writable, bool shared);
int __wrap_mh_os_map(void *address, uint64_t length, int fd, uint64_t offset, bool writable, bool shared) {
  int failed = __real_mh_os_map(address, length, fd, offset, writable, shared);
  if (!failed && is_ours(fd) && !shared && writable) add_stores(fd, offset, offset + length);
  return failed;
}

/* ---- defects ---- */

/* A record's header is summed last, and alone; nothing else has its length. */
uint32_t __real_mh_crc32c_more(uint32_t crc, const void *data, size_t length);
uint32_t __wrap_mh_crc32c_more(uint32_t crc, const void *data, size_t length) {
  bool ignored = recorder.defect == DEFECT_SUMS_IGNORED;
  if (recorder.defect == DEFECT_RECORDS_IGNORED) ignored = length == sizeof(mh_record);
  return ignored ? 0 : __real_mh_crc32c_more(crc, data, length);
}

mheap_err __real_mh_record_find(mh_tape *tape, uint64_t at, uint64_t generation, uint64_t previous,
                                mh_record *record, bool trusted, bool *found, mheap_error *error);
mheap_err __wrap_mh_record_find(mh_tape *tape, uint64_t at, uint64_t generation, uint64_t previous,
                                mh_record *record, bool trusted, bool *found, mheap_error *error) {
  trusted |= recorder.defect == DEFECT_PLACED_IGNORED;
  return __real_mh_record_find(tape, at, generation, previous, record, trusted, found, error);
}

mheap_err __real_mh_journal_mark(mh_journal *journal, uint64_t checkpoint, mheap_error *error);
mheap_err __wrap_mh_journal_mark(mh_journal *journal, uint64_t checkpoint, mheap_error *error) {
  if (recorder.on && recorder.defect == DEFECT_MARK_DROPPED) return MHEAP_OK;
  return __real_mh_journal_mark(journal, checkpoint, error);
}
