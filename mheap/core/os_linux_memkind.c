/* os_linux_memkind.c: what programs may ask of the system through memkind's interface. See os.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os.h"

int mh_os_private_flags(void) { return MAP_PRIVATE | MAP_ANONYMOUS; }

int mh_os_map_like(void *hint, uint64_t length, int flags, void **got) {
  *got = mmap(hint, length, PROT_READ | PROT_WRITE, flags, -1, 0);
  return *got == MAP_FAILED ? errno : 0;
}

int mh_os_bind(void *address, uint64_t length, int mode, const unsigned long *nodes, unsigned long count) {
  return syscall(SYS_mbind, address, length, mode, nodes, count, 0) == 0 ? 0 : errno;
}

/* A kernel without huge pages has small ones. */
int mh_os_advise_small(void *address, uint64_t length) {
  bool known = (uintptr_t)address % mh_os_page() == 0;
  if (madvise(address, length, MADV_NOHUGEPAGE) == 0) return 0;
  return errno == EINVAL && known ? 0 : errno;
}

/* Where the file system cannot have files without a name, it has one for an instant. */
static int create_and_unlink(const char *directory, int *fd) {
  char path[4096];
  if (snprintf(path, sizeof path, "%s/mheap.XXXXXX", directory) >= (int)sizeof path) return ENAMETOOLONG;
  *fd = mkostemp(path, O_CLOEXEC);
  if (*fd < 0) return errno;
  return unlink(path) == 0 ? 0 : errno;
}

int mh_os_create_unnamed(const char *directory, int *fd) {
  *fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (*fd >= 0) return 0;
  return errno == EOPNOTSUPP || errno == EISDIR ? create_and_unlink(directory, fd) : errno;
}
