/* kind_stored.c: kinds that are in a region's tables. See kind.h; the fields are in layout.h.

   Owns: the fields `name`, `kind` and `policy` of rows of the heap table. Holds the kinds' lock.

   A kind is there from the store of `policy` in the row of its first heap on, and gone from the
   store of 0 on. Its other heaps name that row. What a kill leaves are heaps that no kind has:
   mh_kinds_reclaim gives them back before another kind is made, so that they cannot become its. */
#include <inttypes.h>
#include <string.h>

#include "block.h"
#include "kind.h"
#include "utf8.h"

#define FIRST_ROW 2

static mh_heap_row *row_at(const mh_region *region, uint32_t row) {
  return (mh_heap_row *)mh_at(region, MH_HEAPS_OFFSET) + row;
}

static bool is_of_kind(const mh_region *region, uint32_t row) {
  uint64_t head = mh_heap_row_head(region, row);
  return mh_heap_row_visible(head) && (head & MH_HEAP_KIND) != 0;
}

/* Is a kind there whose first heap has this row? */
static bool is_first(const mh_region *region, uint32_t row) {
  const mh_heap_row *stored = row_at(region, row);
  return is_of_kind(region, row) && mh_read(&stored->kind) == row + 1 && mh_read(&stored->policy) != 0;
}

static bool is_member(const mh_region *region, uint32_t row, uint32_t first) {
  return is_of_kind(region, row) && mh_read(&row_at(region, row)->kind) == first + 1;
}

/* ---- reading ---- */

mheap_err mh_kind_name_of(mheap *main, uint32_t row, const mh_kind_name **name, mheap_error *error) {
  const mh_region *region = main->region;
  const mh_heap_row *stored = row_at(region, row);
  uint64_t offset = mh_read(&stored->name), at = mh_offset(region, &stored->name);
  mh_block block;
  mheap_error ignored;
  *name = NULL;
  if (offset < MH_SLICE || !mh_in_region(region, offset, sizeof(uint64_t)) ||
      mh_block_find(main, mh_at(region, offset), &block, &ignored) != MHEAP_OK || !block.in_use ||
      block.heap != row || block.start != (char *)mh_at(region, offset))
    return mh_fail_corrupt(error, region->path, at, "name of a kind, a block of its first heap", 0, offset);
  const mh_kind_name *found = mh_at(region, offset);
  uint64_t length = found->length;
  if (length == 0 || length > MH_KIND_NAME_MAX || length > block.size - sizeof *found)
    return mh_fail_corrupt(error, region->path, offset, "length of a kind's name, 1 to", MH_KIND_NAME_MAX,
                           length);
  if (!mh_is_utf8(found->bytes, length) || memchr(found->bytes, 0, length) != NULL)
    return mh_fail_corrupt(error, region->path, offset, "UTF-8 in a kind's name", 1, 0);
  *name = found;
  return MHEAP_OK;
}

static mheap_err check_policy(const mh_region *region, uint32_t row, uint32_t members, mheap_error *error) {
  const uint64_t *at = &row_at(region, row)->policy;
  uint64_t policy = mh_read(at), known = policy & ~MH_KIND_CONSERVATIVE;
  if (known == MH_KIND_THREAD || (known == MH_KIND_BIJECTIVE && members == 1)) return MHEAP_OK;
  return mh_fail_corrupt(error, region->path, mh_offset(region, at), "policy of a kind",
                         members == 1 ? MH_KIND_BIJECTIVE : MH_KIND_THREAD, policy);
}

static uint32_t count_members(const mh_region *region, uint32_t first) {
  uint32_t count = 0;
  for (uint32_t row = FIRST_ROW; row < MH_HEAPS; row++) count += is_member(region, row, first);
  return count;
}

static mheap_err add_member(mheap_kind *kind, uint32_t row, uint32_t *index, mheap_error *error) {
  if (*index == kind->arenas) return MHEAP_OK; /* beside a writer, one more than were counted */
  mheap *heap = mh_handle_of(kind->main->region, row, error);
  if (heap == NULL) return error->code;
  mh_kind_arena *arena = &kind->arena[(*index)++];
  mh_kind_add_part(kind, arena, &arena->first, heap);
  return MHEAP_OK;
}

/* The first heap is the first arena's, the others follow by their rows. */
static mheap_err add_members(mheap_kind *kind, mheap_error *error) {
  const mh_region *region = kind->main->region;
  uint32_t index = 0;
  mheap_err code = add_member(kind, kind->row, &index, error);
  for (uint32_t row = FIRST_ROW; row < MH_HEAPS && !code; row++)
    if (row != kind->row && is_member(region, row, kind->row)) code = add_member(kind, row, &index, error);
  kind->arenas = index;
  return code;
}

static void forget_members(mheap_kind *kind) {
  for (uint32_t i = 0; i < kind->arenas; i++) {
    mh_kind_part *part = kind->arena[i].newest;
    if (part != NULL) atomic_store_explicit(&part->heap->kind, NULL, memory_order_relaxed);
  }
}

static mheap_err load(mheap *main, uint32_t row, mheap_error *error) {
  const mh_region *region = main->region;
  const mh_kind_name *name;
  char text[MH_KIND_NAME_MAX + 1] = {0};
  uint32_t members = count_members(region, row);
  mheap_err code = check_policy(region, row, members, error);
  if (!code) code = mh_kind_name_of(main, row, &name, error);
  if (code) return code;
  uint64_t length = name->length, policy = mh_read(&row_at(region, row)->policy);
  memcpy(text, name->bytes, length <= MH_KIND_NAME_MAX ? length : MH_KIND_NAME_MAX);
  mheap_kind *kind = mh_kind_new(text, policy & MH_KIND_POLICY, members, error);
  if (kind == NULL) return error->code;
  uint32_t made_for = kind->arenas;
  kind->main = main;
  kind->row = row;
  kind->usage = policy & MH_KIND_CONSERVATIVE ? MHEAP_KIND_USAGE_CONSERVATIVE : MHEAP_KIND_USAGE_DEFAULT;
  code = add_members(kind, error);
  if (!code) code = mh_kind_enter(kind, error);
  if (!code) return MHEAP_OK;
  forget_members(kind);
  kind->arenas = made_for;
  mh_kind_free(kind);
  return code;
}

mheap_err mh_kinds_load(mheap *main, mheap_error *error) {
  mheap_error other;
  mheap_err first = MHEAP_OK;
  for (uint32_t row = FIRST_ROW; row < MH_HEAPS; row++) {
    if (!is_first(main->region, row) || mh_kind_at(main->region, row) != NULL) continue;
    mheap_err code = load(main, row, first ? &other : error);
    if (!first) first = code;
  }
  return first;
}

/* ---- making ---- */

bool mh_kind_lost(const mh_region *region, uint32_t row) {
  uint64_t kind = mh_read(&row_at(region, row)->kind);
  return is_of_kind(region, row) &&
         (kind <= FIRST_ROW || kind > MH_HEAPS || !is_first(region, (uint32_t)kind - 1));
}

/* A kind's first heap goes last: while it is there, no other kind can get its row. */
void mh_kinds_reclaim(mheap *main) {
  mheap_error ignored;
  for (int last = 0; last < 2; last++)
    for (uint32_t row = FIRST_ROW; row < MH_HEAPS; row++) {
      if (!mh_kind_lost(main->region, row)) continue;
      if (!last && mh_read(&row_at(main->region, row)->kind) == row + 1) continue;
      mheap *heap = mh_handle_of(main->region, row, &ignored);
      if (heap != NULL) mh_heap_destroy(heap);
    }
}

/* As many heaps as there are rows for, one at least. */
static mheap_err make_heaps(mheap_kind *kind, uint32_t count, mheap_error *error) {
  for (kind->arenas = 0; kind->arenas < count; kind->arenas++) {
    mheap *heap = mh_heap_new_of_kind(kind->main, kind->row, error);
    if (heap == NULL && error->code == MHEAP_ERR_FULL && kind->arenas > 0) break;
    if (heap == NULL) return error->code;
    if (kind->arenas == 0) kind->row = heap->row;
    mh_kind_arena *arena = &kind->arena[kind->arenas];
    mh_kind_add_part(kind, arena, &arena->first, heap);
  }
  return MHEAP_OK;
}

static mheap_err store_name(mheap_kind *kind, mheap_error *error) {
  size_t length = strlen(kind->name);
  mheap *heap = kind->arena[0].first.heap;
  mh_kind_name *name = mh_heap_malloc(heap, sizeof *name + length, 16);
  if (name == NULL) {
    *error = *mh_error(heap);
    return error->code;
  }
  name->length = length;
  memcpy(name->bytes, kind->name, length);
  mh_publish(&row_at(heap->region, heap->row)->name, mh_offset(heap->region, name));
  return MHEAP_OK;
}

static uint64_t policy_word(const mheap_kind *kind) {
  return kind->policy | (kind->usage == MHEAP_KIND_USAGE_CONSERVATIVE ? MH_KIND_CONSERVATIVE : 0);
}

void mh_kind_store_usage(mheap_kind *kind) {
  mh_publish(&row_at(kind->main->region, kind->row)->policy, policy_word(kind));
}

void mh_kind_load_usage(mheap_kind *kind) {
  bool sparing = (mh_read(&row_at(kind->main->region, kind->row)->policy) & MH_KIND_CONSERVATIVE) != 0;
  kind->usage = sparing ? MHEAP_KIND_USAGE_CONSERVATIVE : MHEAP_KIND_USAGE_DEFAULT;
}

mheap_kind *mh_kind_store(mheap *main, const char *name, uint32_t policy, mheap_error *error) {
  uint32_t count = mh_kind_arenas(policy);
  if (count > MH_KIND_ARENAS_STORED) count = MH_KIND_ARENAS_STORED;
  mheap_err code = mh_heap_writable(main);
  if (code) {
    *error = *mh_error(main);
    return NULL;
  }
  mh_kinds_reclaim(main);
  mheap_kind *kind = mh_kind_new(name, policy, count, error);
  if (kind == NULL) return NULL;
  kind->main = main;
  code = make_heaps(kind, count, error);
  if (!code) code = store_name(kind, error);
  if (!code) code = mh_kind_enter(kind, error);
  if (!code) {
    mh_publish(&row_at(main->region, kind->row)->policy, policy_word(kind));
    return kind;
  }
  mh_kind_drop_heaps(kind);
  kind->arenas = count;
  mh_kind_free(kind);
  return NULL;
}

/* ---- destroying ---- */

mheap_err mh_kind_unstore(mheap_kind *kind) {
  if (mh_heap_writable(kind->main) != MHEAP_OK) return mh_kind_fail(kind, kind->main);
  mh_publish(&row_at(kind->main->region, kind->row)->policy, 0);
  return MHEAP_OK;
}

void mh_kind_drop_heaps(mheap_kind *kind) {
  for (uint32_t i = kind->arenas; i-- > 0;) mh_heap_destroy(kind->arena[i].first.heap);
}
