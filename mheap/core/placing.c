/* placing.c: see placing.h. */
#include "placing.h"

#include <errno.h>
#include <string.h>

#include "changes.h"
#include "crc32c.h"
#include "least.h"
#include "os.h"

#define PLACED_MOST ((uint64_t)16 << 20) /* bytes an entry */

/* Makes sure that the file has these bytes, and sums them. `hurry`: see mh_draft. */
typedef mheap_err sum_fun(mh_region *region, uint64_t from, uint64_t length, bool hurry, uint32_t *sum,
                          mheap_error *error);

static mheap_err place(mh_region *region, mh_draft *draft, uint64_t from, uint64_t to, sum_fun *sum_up,
                       mheap_error *error) {
  mheap_err code = MHEAP_OK;
  for (uint64_t length; from < to && !code; from += length) {
    uint32_t sum;
    length = mh_least(to - from, PLACED_MOST);
    code = sum_up(region, from, length, draft->hurry, &sum, error);
    if (!code) code = mh_draft_placed(draft, from, (uint32_t)length, sum, error);
  }
  return code;
}

/* ---- growth ---- */

/* What is stored from now on goes to private pages; what was stored is the file's. */
static mheap_err make_private(mh_region *region, uint64_t size, mheap_error *error) {
  mh_commits *commits = region->commits;
  uint64_t from = commits->shared_from;
  if (size <= from) return MHEAP_OK;
  int failed = mh_os_map(mh_at(region, from), size - from, region->fd, from, true, false);
  if (failed)
    return mh_fail_system(error, failed, region->path,
                          "mapping what the heap grew by (a limit on data, ulimit -d, must hold all of it)");
  commits->shared_from = size;
  return MHEAP_OK;
}

static mheap_err write_in_place(void *arg, uint64_t from, uint64_t to, mheap_error *error) {
  mh_region *region = arg;
  int failed = mh_os_write(region->fd, mh_at(region, from), to - from, from);
  return failed ? mh_fail_system(error, failed, region->path, "writing what the heap grew by") : MHEAP_OK;
}

static mheap_err sum_file(mh_region *region, uint64_t from, uint64_t length, bool hurry, uint32_t *sum,
                          mheap_error *error) {
  const uint64_t room = MH_SLICE;
  if (hurry) mh_os_begin_writing(region->fd, from, length);
  char *buffer = mh_os_table(room);
  int failed = buffer == NULL ? ENOMEM : 0;
  size_t got;
  for (*sum = 0; length > 0 && !failed; from += got, length -= got) {
    failed = mh_os_read(region->fd, buffer, length < room ? length : room, from, &got);
    if (!failed && got == 0) failed = EIO;
    if (!failed) *sum = mh_crc32c_more(*sum, buffer, got);
  }
  if (buffer != NULL) mh_os_table_free(buffer, room);
  return failed ? mh_fail_system(error, failed, region->path, "reading what the heap grew by") : MHEAP_OK;
}

/* Pages that are private here were stored to before an earlier try at a commit, or raced it. */
mheap_err mh_place_growth(mh_region *region, mh_draft *draft, mheap_error *error) {
  mh_commits *commits = region->commits;
  uint64_t size = mh_region_size(region), from = commits->high, start, stop,
           private_to = commits->shared_from;
  if (size <= from) return MHEAP_OK;
  mheap_err code = make_private(region, size, error);
  if (private_to > size) private_to = size;
  if (!code && private_to > from)
    code = mh_changes_pages(region, from, private_to, write_in_place, region, error);
  for (; !code && from < size; from = stop) {
    int failed = mh_os_seek_data(region->fd, from, size, &start, &stop);
    if (failed) return mh_fail_system(error, failed, region->path, "looking for what the heap grew by");
    code = place(region, draft, start, stop, sum_file, error);
  }
  return code;
}

/* ---- vacant slices ---- */

/* Others may be storing to it: what is written is a copy, which is summed. */
static mheap_err write_copy(mh_region *region, uint64_t from, uint64_t length, bool hurry, uint32_t *sum,
                            mheap_error *error) {
  const uint64_t at = from, whole = length;
  char *buffer = mh_os_table(MH_SLICE);
  int failed = buffer == NULL ? ENOMEM : 0;
  *sum = 0;
  for (uint64_t n; length > 0 && !failed; from += n, length -= n) {
    n = mh_least(length, MH_SLICE);
    memcpy(buffer, mh_at(region, from), n);
    *sum = mh_crc32c_more(*sum, buffer, n);
    failed = mh_os_write(region->fd, buffer, n, from);
  }
  if (buffer != NULL) mh_os_table_free(buffer, MH_SLICE);
  if (!failed && hurry) mh_os_begin_writing(region->fd, at, whole);
  return failed ? mh_fail_system(error, failed, region->path, "writing to free space of the file") : MHEAP_OK;
}

mheap_err mh_place_vacant(mh_region *region, mh_draft *draft, uint64_t from, uint64_t to,
                          mheap_error *error) {
  region->commits->placed = true;
  mh_vacant_note_placed(&region->commits->vacant, from, to - from);
  mh_images_note_copies(&region->commits->images, from, to);
  return place(region, draft, from, to, write_copy, error);
}
