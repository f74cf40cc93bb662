/* images.c: see images.h. */
#include "images.h"

#include <errno.h>
#include <string.h>

#include "os.h"

#define GROUP_BYTES (MH_IMAGES_GROUP * (uint64_t)MH_PAGE)

static uint64_t groups_in(uint64_t span) { return span / MH_PAGE / MH_IMAGES_GROUP + 1; }

mheap_err mh_images_init(mh_images *images, int fd, const char *path, uint64_t span, mheap_error *error) {
  void *shadow;
  uint64_t room = groups_in(span) * MH_IMAGES_GROUP * MH_PAGE;
  int failed = mh_os_reserve(NULL, room, &shadow);
  *images = (mh_images){.fd = fd, .path = path};
  if (!failed) {
    images->shadow = shadow;
    images->span = room;
    images->groups = mh_os_table(groups_in(span) * sizeof *images->groups);
    if (images->groups == NULL) failed = ENOMEM;
  }
  return failed ? mh_fail_system(error, failed, path,
                                 "reserving room for the pages of the last commit "
                                 "(max_size= makes it smaller)")
                : MHEAP_OK;
}

void mh_images_fini(mh_images *images) {
  if (images->groups != NULL)
    mh_os_table_free(images->groups, images->span / MH_PAGE / MH_IMAGES_GROUP * sizeof *images->groups);
  if (images->shadow != NULL) mh_os_release(images->shadow, images->span);
  *images = (mh_images){0};
}

/* ---- bits ---- */

static mh_images_group *group_of(const mh_images *images, uint64_t offset) {
  return &images->groups[offset / MH_PAGE / MH_IMAGES_GROUP];
}
static uint64_t page_in(uint64_t offset) { return offset / MH_PAGE % MH_IMAGES_GROUP; }
static bool has(const uint64_t *bits, uint64_t page) { return bits[page / 64] >> page % 64 & 1; }
static void set(uint64_t *bits, uint64_t page) { bits[page / 64] |= (uint64_t)1 << page % 64; }

static bool is_blank(const mh_images_group *group) {
  static const mh_images_group blank;
  return memcmp(group->known, blank.known, sizeof blank.known) == 0;
}

/* ---- pages ---- */

char *mh_images_find(const mh_images *images, uint64_t offset) {
  return has(group_of(images, offset)->known, page_in(offset)) ? images->shadow + offset : NULL;
}

static mheap_err load(mh_images *images, uint64_t from, uint64_t to, mheap_error *error) {
  size_t got;
  int failed = mh_os_read(images->fd, images->shadow + from, to - from, from, &got);
  if (failed) return mh_fail_system(error, failed, images->path, "reading pages of the last commit");
  memset(images->shadow + from + got, 0, to - from - got);
  return MHEAP_OK;
}

/* Where pages up to `to` will be known as well, large pages are brought in faster. */
static mheap_err make_room(mh_images *images, uint64_t from, uint64_t to, mheap_error *error) {
  uint64_t start = from / GROUP_BYTES * GROUP_BYTES;
  if (!is_blank(group_of(images, from))) return MHEAP_OK;
  int failed = mh_os_commit(images->shadow + start, GROUP_BYTES);
  if (failed) return mh_fail_system(error, failed, images->path, "making room for pages of the last commit");
  if (from == start && to - start >= GROUP_BYTES) mh_os_advise_huge(images->shadow + start, GROUP_BYTES);
  return MHEAP_OK;
}

static void note_known(mh_images *images, uint64_t from, uint64_t to) {
  images->known += (to - from) / MH_PAGE;
  if (to > images->end) images->end = to;
  for (; from < to; from += MH_PAGE) set(group_of(images, from)->known, page_in(from));
}

/* The end of the pages from `from` on, at most to `to`, none of which is known, in one group. */
static uint64_t unknown_end(const mh_images *images, uint64_t from, uint64_t to) {
  uint64_t group_end = (from / GROUP_BYTES + 1) * GROUP_BYTES;
  if (to > group_end) to = group_end;
  for (; from < to; from += MH_PAGE)
    if (has(group_of(images, from)->known, page_in(from))) break;
  return from;
}

static mheap_err load_unknown(mh_images *images, uint64_t from, uint64_t to, uint64_t rest,
                              mheap_error *error) {
  mheap_err code = make_room(images, from, rest, error);
  if (!code) code = load(images, from, to, error);
  if (!code) note_known(images, from, to);
  return code;
}

#define AT_ONCE ((uint64_t)256 << 10) /* bytes: what is read is compared while it is in the cache */

mheap_err mh_images_load(mh_images *images, uint64_t from, uint64_t to, uint64_t *end, mheap_error *error) {
  uint64_t rest = to, next;
  if (to - from > AT_ONCE) to = from + AT_ONCE;
  *end = to;
  mheap_err code = MHEAP_OK;
  for (; from < to && !code; from = next > from ? next : from + MH_PAGE) {
    next = unknown_end(images, from, to);
    if (next > from) code = load_unknown(images, from, next, rest, error);
  }
  return code;
}

mheap_err mh_images_of(mh_images *images, uint64_t offset, char **page, mheap_error *error) {
  uint64_t end;
  *page = images->shadow + offset;
  if (has(group_of(images, offset)->known, page_in(offset))) return MHEAP_OK;
  return mh_images_load(images, offset, offset + MH_PAGE, &end, error);
}

void mh_images_note(mh_images *images, uint64_t offset) {
  mh_images_group *group = group_of(images, offset);
  if (has(group->changed, page_in(offset))) return;
  set(group->changed, page_in(offset));
  images->changed++;
}

/* ---- all of them ---- */

static bool is_changed(const mh_images *images, uint64_t offset) {
  return has(group_of(images, offset)->changed, page_in(offset));
}

/* Words without a changed page are passed over. */
static uint64_t next_changed(const mh_images *images, uint64_t offset, uint64_t end) {
  while (offset < end && !is_changed(images, offset)) {
    uint64_t word = group_of(images, offset)->changed[page_in(offset) / 64] >> page_in(offset) % 64;
    if (word != 0) return offset + (uint64_t)__builtin_ctzll(word) * MH_PAGE;
    offset = (offset / MH_PAGE / 64 + 1) * 64 * MH_PAGE;
  }
  return offset;
}

uint64_t mh_images_next(const mh_images *images, uint64_t *from, uint64_t end) {
  if (end > images->end) end = images->end;
  uint64_t start = next_changed(images, *from, end), stop = start;
  *from = start;
  while (stop < end && is_changed(images, stop)) stop += MH_PAGE;
  return start < end ? stop - start : 0;
}

/* The group's pages from `page` on. */
static void forget_from(mh_images_group *group, uint64_t page) {
  for (; page < MH_IMAGES_GROUP; page++) group->known[page / 64] &= ~((uint64_t)1 << page % 64);
}

static uint64_t known_in(const mh_images_group *group) {
  uint64_t count = 0;
  for (int i = 0; i < MH_IMAGES_GROUP / 64; i++) count += (uint64_t)__builtin_popcountll(group->known[i]);
  return count;
}

void mh_images_settle(mh_images *images, uint64_t end) {
  images->known = images->changed = 0;
  for (uint64_t i = 0; i * GROUP_BYTES < images->end; i++) {
    mh_images_group *group = &images->groups[i];
    if (is_blank(group)) continue;
    memset(group->changed, 0, sizeof group->changed);
    forget_from(group, end > i * GROUP_BYTES ? (end - i * GROUP_BYTES) / MH_PAGE : 0);
    if (is_blank(group)) mh_os_decommit(images->shadow + i * GROUP_BYTES, GROUP_BYTES);
    images->known += known_in(group);
  }
}

void mh_images_forget(mh_images *images) {
  for (uint64_t i = 0; i * GROUP_BYTES < images->end; i++) {
    mh_images_group *group = &images->groups[i];
    if (is_blank(group)) continue;
    memcpy(group->known, group->changed, sizeof group->known);
    if (is_blank(group)) mh_os_decommit(images->shadow + i * GROUP_BYTES, GROUP_BYTES);
  }
  images->known = images->changed;
}
