/* os_linux_process.c: what Linux says of this process; see os.h. Owns nothing.

   Every figure is one of the kernel's own, or the call fails. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "os.h"

/* What fits of a file in /proc; at least one byte. */
static int read_file(const char *path, char *text, size_t room) {
  size_t got = 0;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno;
  int failed = mh_os_read(fd, text, room - 1, 0, &got);
  close(fd);
  text[got] = '\0';
  return failed ? failed : got == 0 ? ENODATA : 0;
}

uint64_t mh_os_address_limit(void) {
  struct rlimit most;
  return getrlimit(RLIMIT_AS, &most) != 0 || most.rlim_cur == RLIM_INFINITY ? UINT64_MAX : most.rlim_cur;
}

/* Field 22 of stat, in ticks since the machine started. Names of programs may hold anything, so
   that fields are counted from behind the name, which is field 2. */
static int started(uint64_t *ticks) {
  char text[2048];
  int failed = read_file("/proc/self/stat", text, sizeof text);
  char *at = failed ? NULL : strrchr(text, ')');
  for (int field = 2; at != NULL && field < 22; field++) at = strchr(at + 1, ' ');
  if (at != NULL) *ticks = strtoull(at + 1, NULL, 10);
  return failed ? failed : at != NULL ? 0 : ENODATA;
}

static int elapsed(uint64_t *milliseconds) {
  struct timespec now;
  uint64_t ticks, a_second = (uint64_t)sysconf(_SC_CLK_TCK);
  int failed = started(&ticks);
  if (failed) return failed;
  clock_gettime(CLOCK_BOOTTIME, &now);
  uint64_t since = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000,
           start = ticks * 1000 / a_second;
  *milliseconds = since > start ? since - start : 0;
  return 0;
}

/* A line of status: "VmRSS:     1234 kB". */
static int kilobytes(const char *status, const char *name, uint64_t *bytes) {
  const char *at = strstr(status, name);
  if (at == NULL) return ENODATA;
  *bytes = strtoull(at + strlen(name), NULL, 10) * 1024;
  return 0;
}

static int memory(mh_os_usage *usage) {
  char status[8192];
  int failed = read_file("/proc/self/status", status, sizeof status);
  if (!failed) failed = kilobytes(status, "\nVmRSS:", &usage->resident);
  if (!failed) failed = kilobytes(status, "\nVmHWM:", &usage->resident_peak);
  if (!failed) failed = kilobytes(status, "\nVmData:", &usage->data);
  if (!failed) failed = kilobytes(status, "\nVmPeak:", &usage->size_peak);
  return failed;
}

static uint64_t milliseconds(struct timeval time) {
  return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_usec / 1000;
}

int mh_os_process(mh_os_usage *usage) {
  struct rusage used;
  if (getrusage(RUSAGE_SELF, &used) != 0) return errno;
  usage->user = milliseconds(used.ru_utime);
  usage->system = milliseconds(used.ru_stime);
  usage->major_faults = (uint64_t)used.ru_majflt;
  int failed = elapsed(&usage->elapsed);
  return failed ? failed : memory(usage);
}
