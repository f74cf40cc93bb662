/* replace.c: see replace.h. */
#include "replace.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "layout.h"

static mheap_err fail(const mh_replacement *it, int failed, const char *doing, mheap_error *error) {
  return mh_fail_system(error, failed, it->path, doing);
}

static int make_name(mh_replacement *it) {
  const char *slash = strrchr(it->path, '/'), *base = slash == NULL ? it->path : slash + 1;
  int directory = (int)(base - it->path);
  int length = snprintf(it->name, sizeof it->name, "%.*s.%s.compact", directory, it->path, base);
  return length < (int)sizeof it->name ? 0 : ENAMETOOLONG;
}

/* Nobody else makes one of this name while the caller has the old file's lock. But a file that somebody
   else called so, and that is no heap, is not ours to remove. */
static int remove_left(const mh_replacement *it) {
  char magic[sizeof MH_MAGIC - 1];
  mh_os_identity id;
  size_t got = 0;
  int fd, failed = mh_os_open(it->name, false, false, &fd);
  if (failed) return failed == ENOENT ? 0 : failed;
  failed = mh_os_identify(fd, &id);
  if (!failed && !id.regular) failed = EEXIST;
  if (!failed) failed = mh_os_read(fd, magic, sizeof magic, 0, &got);
  mh_os_close(fd);
  bool is_heap = got == 0 || (got == sizeof magic && memcmp(magic, MH_MAGIC, sizeof magic) == 0);
  if (!failed && !is_heap) failed = EEXIST;
  return failed ? failed : mh_os_remove(it->name);
}

static mheap_err in_the_way(const mh_replacement *it, int failed, mheap_error *error) {
  if (failed != EEXIST) return fail(it, failed, "making the new file beside it", error);
  return mh_fail_system(error, failed, it->name, "this is where the new file would be, and is no heap");
}

mheap_err mh_replacement_open(mh_replacement *it, const char *path, int old, mheap_error *error) {
  it->path = path;
  it->fd = -1;
  int failed = make_name(it);
  if (!failed) failed = remove_left(it);
  if (!failed) failed = mh_os_create_beside(it->name, &it->fd, &it->named);
  if (failed) return in_the_way(it, failed, error);
  failed = mh_os_copy_access(old, it->fd);
  if (!failed) return MHEAP_OK;
  mh_replacement_close(it);
  return fail(it, failed, "giving its owner and permissions to the new file", error);
}

mheap_err mh_replacement_finish(mh_replacement *it, mheap_error *error) {
  int failed = it->named ? 0 : mh_os_give_name(it->fd, it->name);
  if (failed) return in_the_way(it, failed, error);
  it->named = true;
  failed = mh_os_rename(it->name, it->path);
  if (failed) return fail(it, failed, "putting the new file in its place", error);
  it->named = false;
  failed = mh_os_sync_name(it->path);
  return failed ? fail(it, failed, "syncing the directory", error) : MHEAP_OK;
}

void mh_replacement_close(mh_replacement *it) {
  if (it->fd < 0) return;
  mh_os_close(it->fd);
  if (it->named) mh_os_remove(it->name);
  it->fd = -1;
  it->named = false;
}
