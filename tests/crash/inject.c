/* inject.c: see inject.h. */
#include "inject.h"

#include "os.h"

const char *const fault_names[FAULT_CALLS] = {"write", "sync", "truncate", "allocate", "punch",   "read",
                                              "seek",  "map",  "commit",   "reserve",  "written", "table",
                                              "sizes"};

enum { SECTOR = 512 };

void (*faults_synced)(int fd);

static struct {
  fault now;
  bool on, over, happened;
  uint64_t calls;
} state;

void faults_begin(const fault *it) {
  state.now = *it;
  state.on = true;
  state.over = state.happened = false;
  state.calls = 0;
}

void faults_pause(void) { state.on = false; }
void faults_resume(void) { state.on = true; }

uint64_t faults_end(void) {
  state.on = false;
  return state.calls;
}

bool faults_happened(void) {
  bool happened = state.happened;
  if (happened) state.over = true;
  state.happened = false;
  return happened;
}

/* 0, or what this call fails with. */
static int strike(fault_call call) {
  if (!state.on || state.now.call != call) return 0;
  uint64_t number = ++state.calls;
  if (state.over || state.now.number == 0 || number < state.now.number) return 0;
  if (number > state.now.number && !state.now.lasting) return 0;
  state.happened = true;
  return state.now.error;
}

#define WRAP(call, name, parameters, arguments)         \
  __typeof__(name) __real_##name, __wrap_##name;        \
  int __wrap_##name parameters {                        \
    int failed = strike(call);                          \
    return failed != 0 ? failed : __real_##name arguments; \
  }

WRAP(FAULT_TRUNCATE, mh_os_truncate, (int fd, uint64_t size), (fd, size))
WRAP(FAULT_ALLOCATE, mh_os_allocate, (int fd, uint64_t offset, uint64_t length), (fd, offset, length))
WRAP(FAULT_PUNCH, mh_os_punch, (int fd, uint64_t offset, uint64_t length), (fd, offset, length))
WRAP(FAULT_READ, mh_os_read, (int fd, void *to, size_t length, uint64_t offset, size_t *got),
     (fd, to, length, offset, got))
WRAP(FAULT_SEEK, mh_os_seek_data, (int fd, uint64_t from, uint64_t end, uint64_t *start, uint64_t *stop),
     (fd, from, end, start, stop))
WRAP(FAULT_MAP, mh_os_map,
     (void *address, uint64_t length, int fd, uint64_t offset, bool writable, bool shared),
     (address, length, fd, offset, writable, shared))
WRAP(FAULT_COMMIT, mh_os_commit, (void *address, uint64_t length), (address, length))
WRAP(FAULT_RESERVE, mh_os_reserve, (void *address, uint64_t length, void **got), (address, length, got))
WRAP(FAULT_WRITTEN, mh_os_written,
     (const mh_os_look *look, void *address, uint64_t length, mh_os_range *ranges, size_t room, size_t *count,
      uint64_t *next),
     (look, address, length, ranges, room, count, next))
WRAP(FAULT_SIZES, mh_os_file_sizes, (int fd, uint64_t *size, uint64_t *disk), (fd, size, disk))

int __real_mh_os_write(int fd, const void *buffer, size_t length, uint64_t offset);
int __wrap_mh_os_write(int fd, const void *buffer, size_t length, uint64_t offset);
int __wrap_mh_os_write(int fd, const void *buffer, size_t length, uint64_t offset) {
  int failed = strike(FAULT_WRITE);
  uint64_t half = (offset + length / 2) / SECTOR * SECTOR; /* where that much of it ends */
  if (failed != 0 && half > offset) __real_mh_os_write(fd, buffer, half - offset, offset);
  return failed != 0 ? failed : __real_mh_os_write(fd, buffer, length, offset);
}

int __wrap_mh_os_sync(int fd);
int __wrap_mh_os_sync(int fd) {
  int failed = strike(FAULT_SYNC);
  if (failed == 0 && faults_synced != NULL && state.on) faults_synced(fd);
  return state.now.untold ? 0 : failed;
}

void *__real_mh_os_table(uint64_t length);
void *__wrap_mh_os_table(uint64_t length);
void *__wrap_mh_os_table(uint64_t length) {
  return strike(FAULT_TABLE) != 0 ? NULL : __real_mh_os_table(length);
}
