/* zeros.c: see zeros.h. */
#include "zeros.h"

#include "layout.h"
#include "os.h"

static uint64_t slice_end(uint64_t offset) { return (offset / MH_SLICE + 1) * MH_SLICE; }

int mh_zeros_write(int fd, uint64_t from, uint64_t to) {
  static const char zeros[MH_SLICE];
  int failed = 0;
  for (uint64_t end; from < to && !failed; from = end) {
    end = slice_end(from) < to ? slice_end(from) : to;
    failed = mh_os_write(fd, zeros, end - from, from);
  }
  return failed;
}
