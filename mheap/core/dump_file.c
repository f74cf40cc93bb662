/* dump_file.c: see dump_file.h. */
#include "dump_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "region_lock.h"

#define SUFFIX ".mheap-dump"
#define TRIES 100

/* ---- names ---- */

static mheap_err too_long(const char *path, mheap_error *error) {
  return mh_fail_system(error, ENAMETOOLONG, path, "naming the dump");
}

/* Through links to what they lead to, as when a file is opened to be written over. */
static mheap_err name_all(mh_dump_file *file, const char *path, mheap_error *error) {
  if (mh_os_real_path(path, file->path) != 0) {
    if (strlen(path) >= sizeof file->path) return too_long(path, error);
    strcpy(file->path, path);
  }
  const char *slash = strrchr(file->path, '/');
  int directory = slash == NULL ? 0 : (int)(slash - file->path) + 1;
  const char *name = file->path + directory;
  if (*name == '\0')
    return mh_fail(error, MHEAP_ERR_ARGUMENT, "%s: a dump needs the name of a file", path);
  size_t room = sizeof file->temporary;
  int length = snprintf(file->temporary, room, "%.*s.%s" SUFFIX, directory, file->path, name);
  return length < (int)room ? MHEAP_OK : too_long(path, error);
}

/* ---- what is replaced ---- */

static mheap_err lock_replaced(mh_dump_file *file, const mh_os_identity *id, mheap_error *error) {
  if (!id->regular)
    return mh_fail(error, MHEAP_ERR_ARGUMENT, "%s: %s, not a file; give another path", file->path, id->kind);
  if (file->options->keep_existing)
    return mh_fail_system(error, EEXIST, file->path, "dumping to a new file");
  int failed = mh_region_hold_off_writers(file->replaced, 0);
  if (!failed) return MHEAP_OK;
  if (failed != EAGAIN) return mh_fail_system(error, failed, file->path, "locking the file to replace");
  mh_fail(error, MHEAP_ERR_BUSY,
          "%s: busy: a writer has it attached, and what it writes would be lost with the file that is "
          "replaced; close that handle, or dump to another path",
          file->path);
  if (error != NULL) error->sys = EAGAIN;
  return MHEAP_ERR_BUSY;
}

static mheap_err look_at_replaced(mh_dump_file *file, mheap_error *error) {
  mh_os_identity id;
  int failed = mh_os_open(file->path, false, false, &file->replaced);
  if (failed) file->replaced = -1;
  if (failed == ENOENT) return MHEAP_OK;
  if (failed) return mh_fail_system(error, failed, file->path, "opening the file to replace");
  failed = mh_os_identify(file->replaced, &id);
  if (failed) return mh_fail_system(error, failed, file->path, "looking at the file to replace");
  return lock_replaced(file, &id, error);
}

/* ---- the temporary file ---- */

/* A dump that was killed left nothing, the mark of an unfinished one, or, in its last moment, all of it. */
static bool is_left_over(int fd, const mh_os_identity *id) {
  mh_superblock super;
  size_t got;
  if (!id->regular || mh_os_read(fd, &super, sizeof super, 0, &got) != 0) return false;
  if (got == 0) return true;
  if (got >= 8 && memcmp(&super, MH_UNFINISHED, 8) == 0) return true;
  return got == sizeof super && memcmp(&super, MH_MAGIC, 8) == 0 && super.state == MH_STATE_SEALED;
}

/* *again: it is no longer there by that name. */
static mheap_err take_left_over(mh_dump_file *file, bool *again, mheap_error *error) {
  mh_os_identity id;
  int failed = mh_os_identify(file->fd, &id);
  if (!failed && !mh_region_lock_unused(file->fd)) {
    mh_fail(error, MHEAP_ERR_BUSY, "%s: busy: another dump to it is under way (in %s)", file->path,
            file->temporary);
    if (error != NULL) error->sys = EAGAIN;
    return MHEAP_ERR_BUSY;
  }
  if (failed) return mh_fail_system(error, failed, file->temporary, "looking at the temporary file");
  *again = !mh_os_same_file(file->fd, file->temporary);
  if (*again) return MHEAP_OK;
  if (!is_left_over(file->fd, &id))
    return mh_fail(error, MHEAP_ERR_ARGUMENT,
                   "%s: in the way of a dump, and not what a dump leaves; remove or rename it",
                   file->temporary);
  if (id.size > 0) failed = mh_os_truncate(file->fd, 0);
  return failed ? mh_fail_system(error, failed, file->temporary, "emptying it") : MHEAP_OK;
}

/* *again: it came to be another's, and was renamed, between two looks at it. */
static mheap_err open_temporary(mh_dump_file *file, bool *again, mheap_error *error) {
  int failed = mh_os_create(file->temporary, &file->fd);
  if (failed == EEXIST) {
    failed = mh_os_open_no_link(file->temporary, &file->fd);
    *again = failed == ENOENT;
  }
  if (!failed) return take_left_over(file, again, error);
  file->fd = -1;
  return *again ? MHEAP_OK : mh_fail_system(error, failed, file->temporary, "making the temporary file");
}

/* ---- all of it ---- */

static void close_all(mh_dump_file *file) {
  if (file->fd >= 0) mh_os_close(file->fd);
  if (file->replaced >= 0) mh_os_close(file->replaced);
  file->fd = file->replaced = -1;
}

static mheap_err mark_unfinished(mh_dump_file *file, mheap_error *error) {
  int failed = mh_os_write(file->fd, MH_UNFINISHED, 8, 0);
  if (!failed && file->replaced >= 0) failed = mh_os_copy_permissions(file->replaced, file->fd);
  if (!failed) return MHEAP_OK;
  mh_fail_system(error, failed, file->temporary, "beginning the dump");
  mh_os_remove(file->temporary);
  return error != NULL ? error->code : MHEAP_ERR_SYSTEM;
}

mheap_err mh_dump_file_begin(mh_dump_file *file, const char *path, const mheap_dump_options *options,
                             mheap_error *error) {
  bool again = true;
  file->fd = file->replaced = -1;
  file->options = options;
  mheap_err code = name_all(file, path, error);
  if (!code) code = look_at_replaced(file, error);
  for (int i = 0; !code && again && i < TRIES; i++) {
    if (file->fd >= 0) mh_os_close(file->fd);
    again = false;
    code = open_temporary(file, &again, error);
  }
  if (!code && again)
    code = mh_fail(error, MHEAP_ERR_BUSY, "%s: busy: it is being dumped to over and over", file->path);
  if (!code) code = mark_unfinished(file, error);
  if (code) close_all(file);
  return code;
}

mheap_err mh_dump_file_write(mh_dump_file *file, const void *data, uint64_t length, uint64_t at,
                             mheap_error *error) {
  int failed = mh_os_write(file->fd, data, length, at);
  return failed ? mh_fail_system(error, failed, file->path, "writing the dump") : MHEAP_OK;
}

static int sync_unless_told(const mh_dump_file *file) {
  return file->options->not_durable ? 0 : mh_os_sync(file->fd);
}

static int write_first(mh_dump_file *file, const void *first_page) {
  int failed = sync_unless_told(file);
  if (!failed) failed = mh_os_write(file->fd, first_page, MH_PAGE, 0);
  return failed ? failed : sync_unless_told(file);
}

/* A file that came to be there meanwhile may be a writer's. Where a file system knows no renaming without
   replacing, only those who keep what is there are refused. */
static mheap_err take_name(mh_dump_file *file, mheap_error *error) {
  bool known = file->replaced >= 0 && mh_os_same_file(file->replaced, file->path);
  int failed = mh_os_rename(file->temporary, file->path, known);
  bool others = failed != 0 && !known && !file->options->keep_existing;
  if (others) {
    if (file->replaced >= 0) mh_os_close(file->replaced);
    mheap_err code = look_at_replaced(file, error);
    if (code) return code;
    failed = mh_os_rename(file->temporary, file->path, true);
  }
  return failed ? mh_fail_system(error, failed, file->path, "giving the dump its name") : MHEAP_OK;
}

mheap_err mh_dump_file_finish(mh_dump_file *file, const void *first_page, mheap_error *error) {
  int failed = write_first(file, first_page);
  mheap_err code = failed ? mh_fail_system(error, failed, file->path, "finishing the dump") : MHEAP_OK;
  if (!code) code = take_name(file, error);
  if (code) {
    mh_dump_file_drop(file);
    return code;
  }
  if (!file->options->not_durable) failed = mh_os_sync_name(file->path);
  close_all(file);
  return failed ? mh_fail_system(error, failed, file->path, "syncing the directory") : MHEAP_OK;
}

void mh_dump_file_drop(mh_dump_file *file) {
  mh_os_remove(file->temporary);
  close_all(file);
}
