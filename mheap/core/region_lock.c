/* region_lock.c: see region_lock.h. Calls os.h. */
#include "region_lock.h"

#include <errno.h>

#include "os.h"

#define FIRST_BYTE ((uint64_t)1 << 62)
#define WRITER (FIRST_BYTE + 0)
#define LIVE (FIRST_BYTE + 1)
#define READERS (FIRST_BYTE + 2)
#define PINS ((uint64_t)1 << 61) /* and a generation: a byte for each */
#define FIRST_PAUSE 0.0005      /* seconds between two tries at what is locked */

typedef struct want {
  uint64_t byte;
  bool exclusive;
} want;

/* What this attach needs; returns how many. */
static int wants(const mh_region *region, bool sealed, want list[2]) {
  int count = 0;
  if (region->mode == MHEAP_MODE_LIVE) {
    list[count++] = (want){WRITER, true};
    list[count++] = (want){LIVE, true};
    return count;
  }
  if (region->mode == MHEAP_MODE_ATOMIC) {
    list[count++] = (want){WRITER, true};
    return count;
  }
  if (region->mode == MHEAP_MODE_SCRATCH && !sealed) list[count++] = (want){WRITER, false};
  if (region->mode == MHEAP_MODE_READONLY && !region->unsafe && !sealed) list[count++] = (want){LIVE, false};
  if (!sealed) list[count++] = (want){READERS, false};
  return count;
}

void mh_region_unlock_file(mh_region *region) {
  for (uint64_t byte = WRITER; byte <= READERS; byte++) mh_os_unlock(region->lock_fd, byte);
}

static int try_all(mh_region *region, const want *list, int count) {
  for (int i = 0; i < count; i++) {
    int failed = mh_os_lock(region->lock_fd, list[i].byte, list[i].exclusive);
    if (!failed) continue;
    mh_region_unlock_file(region);
    return failed;
  }
  return 0;
}

/* Sleeps before another try at what is locked, longer each time; false: the deadline has passed. */
static bool pause_until(double timeout, double deadline, double *pause) {
  double left = deadline - mh_os_monotonic();
  if (timeout >= 0 && left <= 0) return false;
  if (*pause < 0.05) *pause *= 2;
  mh_os_sleep(timeout >= 0 && left < *pause ? left : *pause);
  return true;
}

bool mh_region_lock_unused(int fd) { return mh_os_lock(fd, WRITER, true) == 0; }

static int wait_for_writer(int fd, bool exclusive, double timeout) {
  double deadline = mh_os_monotonic() + timeout, pause = FIRST_PAUSE;
  int failed;
  while ((failed = mh_os_lock(fd, WRITER, exclusive)) == EAGAIN)
    if (!pause_until(timeout, deadline, &pause)) return failed;
  return failed;
}

int mh_region_lock_alone(int fd, double timeout) { return wait_for_writer(fd, true, timeout); }
int mh_region_hold_off_writers(int fd, double timeout) { return wait_for_writer(fd, false, timeout); }

bool mh_region_lock_writer(int fd) { return mh_os_locked_range(fd, WRITER, 1); }

int mh_region_pin(int fd, uint64_t generation) { return mh_os_lock(fd, PINS + generation, false); }
void mh_region_unpin(int fd, uint64_t generation) { mh_os_unlock(fd, PINS + generation); }
bool mh_region_pinned_before(int fd, uint64_t generation) {
  return generation > 0 && mh_os_locked_range(fd, PINS, generation);
}

static mheap_err busy(const mh_region *region, mheap_error *error) {
  const char *who =
      mh_mode_writes(region->mode) ? "another handle has it open" : "a live writer has it open";
  const char *remedy = region->mode == MHEAP_MODE_READONLY
                           ? "wait with timeout=, or read beside it with unsafe=True"
                           : "wait with timeout=, or close the other handle";
  mheap_err code = mh_fail(error, MHEAP_ERR_BUSY, "%s: busy: %s; %s", region->path, who, remedy);
  if (error != NULL) error->sys = EAGAIN;
  return code;
}

mheap_err mh_region_lock_file(mh_region *region, double timeout, bool sealed, mheap_error *error) {
  want list[2];
  int count = wants(region, sealed, list), failed;
  double deadline = mh_os_monotonic() + timeout, pause = FIRST_PAUSE;
  while ((failed = try_all(region, list, count)) == EAGAIN)
    if (!pause_until(timeout, deadline, &pause)) return busy(region, error);
  return failed ? mh_fail_system(error, failed, region->path, "locking the file") : MHEAP_OK;
}

/* Of private mappings nothing is the file's: no reader need wait. */
static bool takes_from_file(const mh_region *region) {
  return !region->anonymous && region->mode == MHEAP_MODE_LIVE;
}

bool mh_region_begin_taking(mh_region *region) {
  return !takes_from_file(region) || mh_os_lock(region->lock_fd, READERS, true) == 0;
}

void mh_region_end_taking(mh_region *region) {
  if (takes_from_file(region)) mh_os_unlock(region->lock_fd, READERS);
}
