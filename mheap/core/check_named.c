/* check_named.c: named heaps: what their rows of the heap table say, and heaps of objects that nobody has.
   See check.h; the fields are in layout.h. What is in their objects, objects/verify.c looks at. */
#include <inttypes.h>
#include <string.h>

#include "check.h"
#include "objects/objects.h"
#include "objects/value.h"
#include "utf8.h"

#define FIRST_ROW 2
#define WHAT "heap"

static const mh_heap_row *row_at(mh_check *check, uint64_t row) {
  return (const mh_heap_row *)mh_at(check->region, MH_HEAPS_OFFSET) + row;
}

/* ---- which row is what ---- */

static bool is_named(mh_check *check, uint64_t row) {
  return row >= FIRST_ROW && mh_row_has_name(check->region, (uint32_t)row);
}

static void check_objects_row(mh_check *check, uint64_t row) {
  const uint64_t flags = MH_HEAP_USED | MH_HEAP_OBJECTS, *at = &row_at(check, row)->objects;
  uint64_t objects = mh_read(at), least = row == 0 ? 1 : FIRST_ROW;
  if (objects > least && objects <= MH_HEAPS &&
      (mh_read(&row_at(check, objects - 1)->head) & flags) == flags &&
      mh_heap_row_gone(check->region, (uint32_t)objects - 1) == 0 &&
      mh_heap_objects_owner(check->region, (uint32_t)objects - 1) == row)
    return;
  mh_check_found(check, 1, mh_offset(check->region, at), WHAT,
                 "row %" PRIu64
                 ": expected the row of a heap of objects, which no other heap has, plus 1, found 0x%" PRIx64,
                 row, objects);
}

/* ---- names ---- */

/* Its bytes; false: it has none. */
static bool name_of(mh_check *check, uint64_t row, mh_text *text) {
  mh_space space = {0};
  uint64_t word = mh_read(&row_at(check, row)->name);
  mh_tag tag = mh_word_tag(word);
  mh_space_init(&space, check->heap);
  if (tag == MH_TAG_BYTES_REF && mh_check_at(check, mh_word_offset(word), 16) == NULL) return false;
  return (tag == MH_TAG_BYTES || tag == MH_TAG_BYTES_REF) && mh_text_read(&space, word, text) == MHEAP_OK;
}

static bool is_another_ones(mh_check *check, uint64_t row, const mh_text *name) {
  mh_text other;
  for (uint64_t i = FIRST_ROW; i < row; i++)
    if (is_named(check, i) && name_of(check, i, &other) && other.length == name->length &&
        memcmp(other.data, name->data, name->length) == 0)
      return true;
  return false;
}

static void check_name(mh_check *check, uint64_t row) {
  const uint64_t *at = &row_at(check, row)->name;
  mh_text text;
  const char *is = NULL;
  if (!name_of(check, row, &text)) is = "none";
  else if (text.length == 0 || text.length > MHEAP_HEAP_NAME) is = "another length";
  else if (!mh_is_utf8(text.data, text.length) || memchr(text.data, 0, text.length) != NULL)
    is = "other bytes";
  else if (is_another_ones(check, row, &text)) is = "another heap's";
  if (is != NULL)
    mh_check_found(check, 1, mh_offset(check->region, at), WHAT,
                   "row %" PRIu64 ": name of the heap: expected UTF-8 of 1 to %d bytes, found %s (0x%" PRIx64
                   ")",
                   row, MHEAP_HEAP_NAME, is, mh_read(at));
}

/* ---- rows ---- */

static void check_birth(mh_check *check, uint64_t row) {
  const uint64_t *at = &row_at(check, row)->birth;
  uint64_t birth = mh_read(at), next = mh_read(&check->region->super->birth);
  if (birth != 0 && birth < next) return;
  mh_check_found(check, 1, mh_offset(check->region, at), WHAT,
                 "row %" PRIu64 ": birth number of a named heap: expected 1 to %" PRIu64 ", found %" PRIu64,
                 row, next - 1, birth);
}

static void check_named(mh_check *check, uint64_t row) {
  uint64_t head = mh_read(&row_at(check, row)->head);
  check_name(check, row);
  check_objects_row(check, row);
  check_birth(check, row);
  if (!(head & MH_HEAP_DESTROYABLE))
    mh_check_found(check, 1, mh_offset(check->region, &row_at(check, row)->head), WHAT,
                   "row %" PRIu64 ": a named heap: expected that it can be destroyed, found 0x%" PRIx64, row,
                   head);
}

static void check_nobodys(mh_check *check, uint64_t row) {
  if (mh_heap_objects_owner(check->region, (uint32_t)row) != MH_HEAPS) return;
  mh_check_found(check, 0, mh_offset(check->region, row_at(check, row)), WHAT,
                 "row %" PRIu64
                 ": objects of a heap that was being made, or destroyed, when its process was killed; "
                 "mheap_collect gives them back",
                 row);
}

/* What a row that is free, or whose heap is gone, had stays in it. */
void mh_check_named_row(mh_check *check, uint64_t row) {
  const mh_heap_row *stored = row_at(check, row);
  uint64_t head = mh_read(&stored->head), gone = head & (MH_HEAP_DESTROYED | MH_HEAP_DELETED);
  if (is_named(check, row)) {
    check_named(check, row);
    return;
  }
  if (row == 0) check_objects_row(check, row);
  if (row >= FIRST_ROW && (head == 0 || gone != 0)) return;
  if (row >= FIRST_ROW && (head & MH_HEAP_OBJECTS)) check_nobodys(check, row);
  if (row != 0) mh_check_zero(check, WHAT, &stored->objects, sizeof stored->objects);
  if (!(head & MH_HEAP_KIND)) mh_check_zero(check, WHAT, &stored->name, sizeof stored->name);
  mh_check_zero(check, WHAT, &stored->root, sizeof stored->root);
  mh_check_zero(check, WHAT, &stored->birth, sizeof stored->birth);
}
