/* check_kind.c: kinds, in the rows of their heaps. See check.h; the fields are in layout.h. */
#include <inttypes.h>
#include <string.h>

#include "check.h"
#include "utf8.h"

#define FIRST_ROW 2

static const mh_heap_row *row_at(mh_check *check, uint64_t row) {
  return (const mh_heap_row *)mh_at(check->region, MH_HEAPS_OFFSET) + row;
}

static bool is_of_kind(mh_check *check, uint64_t row) {
  uint64_t head = mh_read(&row_at(check, row)->head);
  return mh_heap_row_visible(head) && (head & MH_HEAP_KIND) != 0;
}

static uint64_t members(mh_check *check, uint64_t first) {
  uint64_t count = 0;
  for (uint64_t row = FIRST_ROW; row < MH_HEAPS; row++)
    count += is_of_kind(check, row) && mh_read(&row_at(check, row)->kind) == first + 1;
  return count;
}

static void check_policy(mh_check *check, uint64_t row) {
  const uint64_t *at = &row_at(check, row)->policy;
  uint64_t policy = mh_read(at), known = policy & ~MH_KIND_CONSERVATIVE;
  if (known != MH_KIND_THREAD && known != MH_KIND_BIJECTIVE)
    mh_check_found(check, 1, mh_offset(check->region, at), "kind",
                   "row %" PRIu64 ": policy: expected 1 or 2, or one of these plus 4, found 0x%" PRIx64, row,
                   policy);
  else if (known == MH_KIND_BIJECTIVE && members(check, row) != 1)
    mh_check_found(check, 1, mh_offset(check->region, at), "kind",
                   "row %" PRIu64 ": heaps of a bijective kind: expected 1, found %" PRIu64, row,
                   members(check, row));
}

static void check_name(mh_check *check, uint64_t row) {
  const uint64_t *at = &row_at(check, row)->name;
  uint64_t offset = mh_read(at);
  const mh_kind_name *name = mh_check_at(check, offset, sizeof *name);
  if (name == NULL || offset % 16 != 0 || !mh_check_in_block(check, offset)) {
    mh_check_found(check, 1, mh_offset(check->region, at), "kind",
                   "row %" PRIu64 ": name: expected a block in use, found 0x%" PRIx64, row, offset);
    return;
  }
  uint64_t length = mh_read(&name->length);
  if (length == 0 || length > MH_KIND_NAME_MAX || mh_check_at(check, offset, sizeof *name + length) == NULL)
    mh_check_found(check, 1, offset, "kind",
                   "row %" PRIu64 ": length of its name: expected 1 to %d, found %" PRIu64, row,
                   MH_KIND_NAME_MAX, length);
  else if (!mh_is_utf8(name->bytes, length) || memchr(name->bytes, 0, length) != NULL)
    mh_check_found(check, 1, offset + sizeof *name, "kind",
                   "row %" PRIu64 ": name: expected UTF-8 without zeros, found other bytes", row);
}

/* A row of a kind that is being made, or destroyed, beside this walk is found again by the next. */
static void check_member(mh_check *check, uint64_t row) {
  const mh_heap_row *stored = row_at(check, row);
  uint64_t kind = mh_read(&stored->kind), at = mh_offset(check->region, &stored->kind);
  if (kind != 0 && (kind <= FIRST_ROW || kind > MH_HEAPS))
    mh_check_found(check, 1, at, "kind",
                   "row %" PRIu64
                   ": row of the first heap of its kind, plus 1: expected %d to %d, found %" PRIu64,
                   row, FIRST_ROW + 1, MH_HEAPS, kind);
  else if (kind == 0 || !is_of_kind(check, kind - 1) || mh_read(&row_at(check, kind - 1)->kind) != kind ||
           mh_read(&row_at(check, kind - 1)->policy) == 0)
    mh_check_found(check, 0, at, "kind",
                   "row %" PRIu64
                   ": a heap of a kind that was being made, or destroyed, when its process was "
                   "killed; mheap_collect gives it back",
                   row);
  if (kind == row + 1 && mh_read(&stored->policy) != 0) {
    check_policy(check, row);
    check_name(check, row);
  } else if (kind != row + 1) {
    mh_check_zero(check, "kind", &stored->name, sizeof stored->name);
    mh_check_zero(check, "kind", &stored->policy, sizeof stored->policy);
  }
}

void mh_check_kind_row(mh_check *check, uint64_t row) {
  const mh_heap_row *stored = row_at(check, row);
  uint64_t head = mh_read(&stored->head);
  if (is_of_kind(check, row)) check_member(check, row);
  if (head & MH_HEAP_KIND) return;
  mh_check_zero(check, "heap", &stored->kind, sizeof stored->kind);
  mh_check_zero(check, "heap", &stored->policy, sizeof stored->policy);
}
