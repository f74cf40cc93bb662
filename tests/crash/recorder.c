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
  mh_lie lie;
  const char *place;
  uint64_t note;
  op_log log;
} recorder;

void recorder_lie(mh_lie lie, const char *place) {
  recorder.lie = lie;
  recorder.place = place;
}

void recorder_begin(int fd) {
  struct stat st;
  if (fstat(fd, &st) != 0) abort();
  recorder.on = true;
  recorder.device = st.st_dev;
  recorder.inode = st.st_ino;
  recorder.note = 0;
  recorder.log = (op_log){0};
}

op_log recorder_end(void) {
  recorder.on = false;
  return recorder.log;
}

void recorder_free(op_log *log) {
  for (uint64_t i = 0; i < log->count; i++) free(log->ops[i].data);
  free(log->ops);
  *log = (op_log){0};
}

void recorder_note(uint64_t note) { recorder.note = note; }

static bool is_ours(int fd) {
  struct stat st;
  return recorder.on && fstat(fd, &st) == 0 && st.st_dev == recorder.device && st.st_ino == recorder.inode;
}

static void add(op it) {
  op_log *log = &recorder.log;
  it.note = recorder.note;
  if ((log->count & (log->count - 1)) == 0) {
    log->ops = realloc(log->ops, 2 * (log->count + 1) * sizeof *log->ops);
    if (log->ops == NULL) abort();
  }
  log->ops[log->count++] = it;
}

static void add_write(const void *data, uint64_t length, uint64_t offset) {
  uint8_t *copy = malloc(length);
  if (copy == NULL) abort();
  add((op){.kind = OP_WRITE, .offset = offset, .length = length, .data = memcpy(copy, data, length)});
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

/* Behind the sync that should be behind the last write comes that write. */
static void sync_early(void) {
  op_log *log = &recorder.log;
  add((op){.kind = OP_SYNC});
  uint64_t last = log->count - 1;
  if (last == 0 || log->ops[last - 1].kind != OP_WRITE) return;
  op write = log->ops[last - 1];
  log->ops[last - 1] = log->ops[last];
  log->ops[last] = write;
}

int __real_mh_os_sync(int fd);
int __wrap_mh_os_sync(int fd) {
  if (!is_ours(fd)) return __real_mh_os_sync(fd);
  const char *place = place_name(place_of_call());
  bool lied = recorder.place != NULL && strcmp(place, recorder.place) == 0;
  if (lied && recorder.lie == LIE_SYNC_EARLY) sync_early();
  else if (!lied || recorder.lie != LIE_SYNC_DROPPED) add((op){.kind = OP_SYNC});
  return 0;
}

int __real_mh_os_map(void *address, uint64_t length, int fd, uint64_t offset, bool writable, bool shared);
int __wrap_mh_os_map(void *address, uint64_t length, int fd, uint64_t offset, bool writable, bool shared) {
  int failed = __real_mh_os_map(address, length, fd, offset, writable, shared);
  uint64_t start, stop, end = offset + length;
  uint8_t page[PAGE];
  if (failed || !is_ours(fd) || shared || !writable) return failed;
  for (uint64_t at = offset; at < end; at = stop) {
    if (mh_os_seek_data(fd, at, end, &start, &stop) != 0) abort();
    for (uint64_t p = start; p < stop; p += PAGE)
      if (pread(fd, page, PAGE, (off_t)p) == PAGE) add_write(page, PAGE, p);
  }
  return 0;
}

/* ---- lies of another kind ---- */

uint32_t __real_mh_crc32c_more(uint32_t crc, const void *data, size_t length);
uint32_t __wrap_mh_crc32c_more(uint32_t crc, const void *data, size_t length) {
  return recorder.lie == LIE_SUMS_IGNORED ? 0 : __real_mh_crc32c_more(crc, data, length);
}

mheap_err __real_mh_journal_mark(mh_journal *journal, uint64_t checkpoint, mheap_error *error);
mheap_err __wrap_mh_journal_mark(mh_journal *journal, uint64_t checkpoint, mheap_error *error) {
  return recorder.on && recorder.lie == LIE_MARK_DROPPED ? MHEAP_OK
                                                         : __real_mh_journal_mark(journal, checkpoint, error);
}
