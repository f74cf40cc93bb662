/* images.c: see images.h. */
#include "images.h"

#include <errno.h>
#include <string.h>

#include "least.h"
#include "os.h"

#define GROUP_BYTES (MH_IMAGES_GROUP * (uint64_t)MH_PAGE)
#define AT_ONCE ((uint64_t)256 << 10) /* bytes: they are compared, or written, while they are in the cache */

static uint64_t groups_in(uint64_t span) { return span / GROUP_BYTES + 1; }
static uint64_t table_bytes(const mh_images *images) {
  return images->span / GROUP_BYTES * sizeof *images->groups;
}
static uint64_t places_bytes(const mh_images *images) { return images->span / MH_PAGE * sizeof(uint64_t); }

mheap_err mh_images_init(mh_images *images, int fd, const char *path, uint64_t span, const uint64_t *journal,
                         mheap_error *error) {
  void *shadow;
  uint64_t room = groups_in(span) * GROUP_BYTES;
  int failed = mh_os_reserve(NULL, room, &shadow);
  *images = (mh_images){.fd = fd, .path = path, .journal = journal};
  if (!failed) {
    images->shadow = shadow;
    images->span = room;
    images->groups = mh_os_table_to_read(table_bytes(images));
    if (images->groups == NULL) failed = ENOMEM;
  }
  return failed ? mh_fail_system(error, failed, path,
                                 "reserving room for the pages of the last commit "
                                 "(max_size= makes it smaller)")
                : MHEAP_OK;
}

void mh_images_fini(mh_images *images) {
  if (images->groups != NULL) mh_os_table_free(images->groups, table_bytes(images));
  if (images->places != NULL) mh_os_table_free(images->places, places_bytes(images));
  if (images->buffer != NULL) mh_os_table_free(images->buffer, AT_ONCE);
  if (images->shadow != NULL) mh_os_release(images->shadow, images->span);
  *images = (mh_images){0};
}

/* ---- bits ---- */

static mh_images_group *group_of(const mh_images *images, uint64_t offset) {
  return &images->groups[offset / GROUP_BYTES];
}
static uint64_t page_in(uint64_t offset) { return offset / MH_PAGE % MH_IMAGES_GROUP; }
static bool has(const uint64_t *bits, uint64_t page) { return bits[page / 64] >> page % 64 & 1; }
static void set(uint64_t *bits, uint64_t page) { bits[page / 64] |= (uint64_t)1 << page % 64; }
static void unset(uint64_t *bits, uint64_t page) { bits[page / 64] &= ~((uint64_t)1 << page % 64); }

/* Has the shadow no memory for it? */
static bool is_blank(const mh_images_group *group) {
  static const mh_images_group blank;
  return memcmp(group->known, blank.known, sizeof blank.known) == 0;
}

static bool is_known(const mh_images *images, uint64_t offset) {
  return has(group_of(images, offset)->known, page_in(offset));
}
bool mh_images_is_placed(const mh_images *images, uint64_t offset) {
  return has(group_of(images, offset)->placed, page_in(offset));
}

/* ---- reading ---- */

/* The end of the pages from `from` on, at most to `to`, that are together where `from` is: in the shadow, in
   the journal, or in the file's pages. *at: where. */
static uint64_t together(const mh_images *images, uint64_t from, uint64_t to, uint64_t *at) {
  bool known = is_known(images, from), placed = mh_images_is_placed(images, from);
  const uint64_t *places = images->places;
  uint64_t end = from + MH_PAGE, first = placed ? places[from / MH_PAGE] : 0;
  for (; end < to; end += MH_PAGE) {
    if (is_known(images, end) != known || mh_images_is_placed(images, end) != placed) break;
    if (placed && places[end / MH_PAGE] != first + (end - from)) break;
  }
  *at = placed ? *images->journal + first : from;
  return end;
}

static int read_some(const mh_images *images, char *to, uint64_t length, uint64_t at) {
  size_t got;
  int failed = mh_os_read(images->fd, to, length, at, &got);
  if (!failed) memset(to + got, 0, length - got);
  return failed;
}

/* Pages that are not known. */
static int read_pages(const mh_images *images, uint64_t from, uint64_t to, char *buffer) {
  int failed = 0;
  for (uint64_t at, end; from < to && !failed; buffer += end - from, from = end) {
    end = together(images, from, to, &at);
    failed = read_some(images, buffer, end - from, at);
  }
  return failed;
}

static mheap_err cannot_read(const mh_images *images, int failed, mheap_error *error) {
  return mh_fail_system(error, failed, images->path, "reading pages of the last commit");
}

/* ---- pages ---- */

char *mh_images_find(const mh_images *images, uint64_t offset) {
  return is_known(images, offset) ? images->shadow + offset : NULL;
}

static void reach(mh_images *images, uint64_t end) {
  if (end > images->end) images->end = end;
}

/* Of the table as much counts as memory of the process as the heap reaches into, a slice at a time. */
static int open_table(mh_images *images, const mh_images_group *group) {
  uint64_t whole = table_bytes(images), need = (uint64_t)((const char *)(group + 1) - (char *)images->groups);
  if (need <= images->open) return 0;
  need = mh_least((need + MH_SLICE - 1) / MH_SLICE * MH_SLICE, whole);
  int failed = mh_os_commit((char *)images->groups + images->open, need - images->open);
  if (!failed) images->open = need;
  return failed;
}

static int open_group(mh_images *images, const mh_images_group *group) {
  if (!is_blank(group)) return 0;
  int failed = open_table(images, group);
  uint64_t start = (uint64_t)(group - images->groups) * GROUP_BYTES;
  return failed ? failed : mh_os_commit(images->shadow + start, GROUP_BYTES);
}

/* Pages of one group, none of them known, are known from now on. */
static mheap_err learn(mh_images *images, uint64_t from, uint64_t to, mheap_error *error) {
  mh_images_group *group = group_of(images, from);
  int failed = open_group(images, group);
  if (failed) return mh_fail_system(error, failed, images->path, "making room for pages of the last commit");
  failed = read_pages(images, from, to, images->shadow + from);
  if (failed) return cannot_read(images, failed, error);
  for (uint64_t at = from; at < to; at += MH_PAGE) {
    set(group->known, page_in(at));
    unset(group->placed, page_in(at));
  }
  images->known += (to - from) / MH_PAGE;
  reach(images, to);
  return MHEAP_OK;
}

mheap_err mh_images_of(mh_images *images, uint64_t offset, char **page, mheap_error *error) {
  *page = images->shadow + offset;
  return is_known(images, offset) ? MHEAP_OK : learn(images, offset, offset + MH_PAGE, error);
}

/* Neighbours are read at once. */
static mheap_err learn_all(mh_images *images, uint64_t from, uint64_t to, mheap_error *error) {
  mheap_err code = MHEAP_OK;
  for (uint64_t end; from < to && !code; from = end) {
    uint64_t last = mh_least(to, (from / GROUP_BYTES + 1) * GROUP_BYTES);
    for (end = from; end < last && !is_known(images, end);) end += MH_PAGE;
    if (end > from) code = learn(images, from, end, error);
    else end += MH_PAGE;
  }
  return code;
}

#define MANY (16 * (uint64_t)MH_PAGE)

static bool none_is_known(const mh_images *images, uint64_t from, uint64_t to) {
  while (from < to && !is_known(images, from)) from += MH_PAGE;
  return from >= to;
}

static bool has_buffer(mh_images *images) {
  if (images->buffer == NULL) images->buffer = mh_os_table(AT_ONCE);
  return images->buffer != NULL;
}

mheap_err mh_images_look(mh_images *images, uint64_t from, uint64_t to, const char **pages, uint64_t *end,
                         mheap_error *error) {
  *end = to = mh_least(to, from + AT_ONCE);
  if (to - from >= MANY && none_is_known(images, from, to) && has_buffer(images)) {
    *pages = images->buffer;
    int failed = read_pages(images, from, to, images->buffer);
    return failed ? cannot_read(images, failed, error) : MHEAP_OK;
  }
  *pages = images->shadow + from;
  return learn_all(images, from, to, error);
}

void mh_images_note(mh_images *images, uint64_t offset) {
  mh_images_group *group = group_of(images, offset);
  if (has(group->changed, page_in(offset))) return;
  set(group->changed, page_in(offset));
  images->changed++;
}

/* ---- drafts ---- */

#define GROUP_PLACES (MH_IMAGES_GROUP * sizeof(uint64_t)) /* bytes */
static_assert(GROUP_PLACES % MH_PAGE == 0, "a group's places can be made writable");

static bool can_have_places(mh_images *images, uint64_t offset) {
  static const uint64_t none[MH_IMAGES_GROUP / 64];
  const mh_images_group *group = group_of(images, offset);
  if (memcmp(group->drafted, none, sizeof none) != 0) return true;
  if (images->places == NULL) images->places = mh_os_table_to_read(places_bytes(images));
  if (images->places == NULL || open_table(images, group) != 0) return false;
  return mh_os_set_writable(&images->places[offset / GROUP_BYTES * MH_IMAGES_GROUP], GROUP_PLACES, true) == 0;
}

bool mh_images_draft(mh_images *images, uint64_t offset, uint64_t place) {
  mh_images_group *group = group_of(images, offset);
  if (!can_have_places(images, offset)) return false;
  images->places[offset / MH_PAGE] = place;
  set(group->drafted, page_in(offset));
  if (images->drafts_to == 0 || offset < images->drafts_from) images->drafts_from = offset;
  if (offset >= images->drafts_to) images->drafts_to = offset + MH_PAGE;
  reach(images, offset + MH_PAGE);
  return true;
}

static uint64_t add_bits(uint64_t *bits, const uint64_t *more) {
  uint64_t count = 0;
  for (int i = 0; i < MH_IMAGES_GROUP / 64; i++) {
    count += (uint64_t)__builtin_popcountll(more[i] & ~bits[i]);
    bits[i] |= more[i];
  }
  return count;
}

static void place_drafts(mh_images *images, mh_images_group *group) {
  add_bits(group->placed, group->drafted);
  images->changed += add_bits(group->changed, group->drafted);
  images->copied += add_bits(group->copied, group->drafted);
}

void mh_images_end_drafts(mh_images *images, bool committed) {
  uint64_t at = images->drafts_from / GROUP_BYTES * GROUP_BYTES;
  for (; at < images->drafts_to; at += GROUP_BYTES) {
    mh_images_group *group = group_of(images, at);
    if (committed) place_drafts(images, group);
    memset(group->drafted, 0, sizeof group->drafted);
  }
  images->drafts_from = images->drafts_to = 0;
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

static int copy_placed(mh_images *images, uint64_t from, uint64_t to) {
  int failed = has_buffer(images) ? 0 : ENOMEM;
  for (uint64_t end; from < to && !failed; from = end) {
    end = mh_least(to, from + AT_ONCE);
    failed = read_pages(images, from, end, images->buffer);
    if (!failed) failed = mh_os_write(images->fd, images->buffer, end - from, from);
  }
  return failed;
}

int mh_images_write(mh_images *images, uint64_t from, uint64_t to, uint64_t skipped) {
  int failed = 0;
  for (uint64_t end; from < to && !failed; from = end, skipped = 0) {
    bool known = is_known(images, from);
    for (end = from + MH_PAGE; end < to && is_known(images, end) == known;) end += MH_PAGE;
    if (!known) failed = copy_placed(images, from, end);
    else
      failed = mh_os_write(images->fd, images->shadow + from + skipped, end - from - skipped, from + skipped);
  }
  return failed;
}

/* The group's pages from `page` on. */
static void forget_from(mh_images_group *group, uint64_t page) {
  for (; page < MH_IMAGES_GROUP; page++) unset(group->known, page);
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
    bool blank = is_blank(group);
    memset(group->changed, 0, sizeof group->changed);
    memset(group->placed, 0, sizeof group->placed);
    if (blank) continue;
    forget_from(group, end > i * GROUP_BYTES ? (end - i * GROUP_BYTES) / MH_PAGE : 0);
    if (is_blank(group)) mh_os_decommit(images->shadow + i * GROUP_BYTES, GROUP_BYTES);
    images->known += known_in(group);
  }
}

void mh_images_forget(mh_images *images) {
  for (uint64_t i = 0; i * GROUP_BYTES < images->end; i++) {
    mh_images_group *group = &images->groups[i];
    memset(group->copied, 0, sizeof group->copied);
    if (is_blank(group)) continue;
    memset(group->known, 0, sizeof group->known);
    mh_os_decommit(images->shadow + i * GROUP_BYTES, GROUP_BYTES);
  }
  images->known = images->copied = 0;
}

static bool is_copy(const mh_images *images, uint64_t offset) {
  return is_known(images, offset) || has(group_of(images, offset)->copied, page_in(offset));
}

void mh_images_note_copies(mh_images *images, uint64_t from, uint64_t to) {
  for (; from < to; from += MH_PAGE) {
    mh_images_group *group = group_of(images, from);
    if (open_table(images, group) != 0) return; /* they stay private for longer */
    images->copied += !has(group->copied, page_in(from));
    set(group->copied, page_in(from));
    reach(images, from + MH_PAGE);
  }
}

void mh_images_written(mh_images *images, uint64_t from, uint64_t to) {
  for (to = mh_least(to, images->end); from < to; from += MH_PAGE) {
    mh_images_group *group = group_of(images, from);
    uint64_t page = page_in(from);
    images->known -= has(group->known, page);
    images->changed -= has(group->changed, page);
    if (has(group->known, page)) unset(group->known, page);
    if (has(group->changed, page)) unset(group->changed, page);
    if (has(group->placed, page)) unset(group->placed, page);
  }
}

uint64_t mh_images_copies(const mh_images *images) { return images->known + images->copied; }

uint64_t mh_images_next_copies(const mh_images *images, uint64_t *from, uint64_t end) {
  end = mh_least(end, images->end);
  while (*from < end && !is_copy(images, *from)) *from += MH_PAGE;
  uint64_t stop = *from;
  while (stop < end && is_copy(images, stop)) stop += MH_PAGE;
  return stop - *from;
}
