/* os_linux_replace.c: a file that is made beside another and takes its place. See os.h. */
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "os.h"

/* Names of open files, by which they can be given others. */
static bool has_descriptors(void) { return access("/proc/self/fd", X_OK) == 0; }

static int open_unnamed(const char *path, int *fd) {
  char directory[MH_OS_PATH_MAX];
  const char *slash = strrchr(path, '/');
  size_t length = slash == NULL ? 0 : (size_t)(slash - path) + 1;
  if (length >= sizeof directory) return ENAMETOOLONG;
  memcpy(directory, path, length);
  strcpy(directory + length, length == 0 ? "." : "");
  *fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  return mh_os_above_standard_streams(fd);
}

int mh_os_create_beside(const char *path, int *fd, bool *named) {
  *named = false;
  int failed = has_descriptors() ? open_unnamed(path, fd) : EOPNOTSUPP;
  if (failed != EOPNOTSUPP && failed != EISDIR && failed != EINVAL && failed != ENOENT) return failed;
  *fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, 0600);
  *named = *fd >= 0;
  return mh_os_above_standard_streams(fd);
}

int mh_os_give_name(int fd, const char *path) {
  char link[40];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  return linkat(AT_FDCWD, link, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0 ? 0 : errno;
}

/* ---- who may do what with it ---- */

/* Room for all names, and for one value. */
typedef struct attributes {
  char names[XATTR_LIST_MAX], value[XATTR_SIZE_MAX];
} attributes;

static int copy_attribute(int from, int to, const char *name, char *value) {
  ssize_t length = fgetxattr(from, name, value, XATTR_SIZE_MAX);
  if (length < 0) return errno == ENODATA ? 0 : errno;
  return fsetxattr(to, name, value, (size_t)length, 0) == 0 ? 0 : errno;
}

/* Labels that the system gives to files by itself (security.*) are its business. */
static bool is_ours(const char *name) {
  return strncmp(name, "user.", 5) == 0 || strcmp(name, "system.posix_acl_access") == 0;
}

static int copy_attributes(int from, int to) {
  attributes *all = mh_os_table(sizeof *all);
  if (all == NULL) return ENOMEM;
  ssize_t length = flistxattr(from, all->names, sizeof all->names);
  int failed = length < 0 && errno != EOPNOTSUPP ? errno : 0;
  const char *name = all->names;
  for (; !failed && length > 0 && name < all->names + length; name += strlen(name) + 1)
    if (is_ours(name)) failed = copy_attribute(from, to, name, all->value);
  mh_os_table_free(all, sizeof *all);
  return failed;
}

int mh_os_copy_access(int from, int to) {
  struct stat was, is;
  if (fstat(from, &was) != 0 || fstat(to, &is) != 0) return errno;
  if ((was.st_uid != is.st_uid || was.st_gid != is.st_gid) && fchown(to, was.st_uid, was.st_gid) != 0)
    return errno;
  if (fchmod(to, was.st_mode & 07777) != 0) return errno;
  return copy_attributes(from, to);
}
