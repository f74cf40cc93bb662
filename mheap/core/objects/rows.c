/* rows.c: see rows.h. */
#include "rows.h"

#define FIRST_CAPACITY 4
#define LARGE 65536 /* rows from which a list grows by a quarter, not by a half */

/* ---- blocks ---- */

mheap_err mh_rows_open(mh_space *space, uint64_t offset, mh_rows *rows) {
  uint64_t bytes;
  if (offset % MH_CELLS_ALIGNMENT != 0 || !mh_in_region(space->region, offset, sizeof(mh_cells_block)))
    return mh_corrupt(space, offset, "rows beyond the region", mh_region_size(space->region), offset);
  mh_cells_block *block = mh_at(space->region, offset);
  uint64_t head = mh_read(&block->head), stride = mh_read(&block->stride);
  if (head != mh_head(0, MH_TYPE_CELLS, 0))
    return mh_corrupt(space, offset, "the head of rows", mh_head(0, MH_TYPE_CELLS, 0), head);
  mheap_err failed = mh_schema_at(space, mh_read(&block->schema), &rows->schema);
  if (failed) return failed;
  if (rows->schema->bytes == 0)
    return mh_corrupt(space, offset + offsetof(mh_cells_block, schema), "rows of records with fields", 8, 0);
  rows->block = block;
  rows->count = mh_read(&block->count);
  rows->capacity = mh_read(&block->capacity);
  if (stride != rows->schema->bytes)
    return mh_corrupt(space, offset + offsetof(mh_cells_block, stride), "the bytes of a row",
                      rows->schema->bytes, stride);
  if (rows->capacity > MH_OFFSET_MAX || __builtin_mul_overflow(rows->capacity, stride, &bytes) ||
      bytes > MH_OFFSET_MAX || !mh_in_region(space->region, offset, sizeof *block + bytes))
    return mh_corrupt(space, offset + offsetof(mh_cells_block, capacity), "the capacity of rows",
                      mh_region_size(space->region), rows->capacity);
  if (rows->count > rows->capacity)
    return mh_corrupt(space, offset + offsetof(mh_cells_block, count), "the number of rows", rows->capacity,
                      rows->count);
  return MHEAP_OK;
}

static mheap_err too_many(mh_space *space) {
  return mh_fail(mh_error(space->heap), MHEAP_ERR_OVERFLOW, "more records than any heap holds");
}

/* Unpublished, without rows. The head last: after a kill a collector takes what has one for what it says. */
static mheap_err new_rows(mh_space *space, const mh_schema *schema, uint64_t capacity, uint64_t *offset,
                          mh_rows *rows) {
  uint64_t bytes;
  if (schema->bytes == 0)
    return mh_fail(mh_error(space->heap), MHEAP_ERR_ARGUMENT, "there are no lists of records without fields");
  if (capacity > MH_OFFSET_MAX || __builtin_mul_overflow(capacity, schema->bytes, &bytes) ||
      bytes > MH_OFFSET_MAX)
    return too_many(space);
  bytes = mheap_good_size(mh_cells_aligned(bytes + sizeof(mh_cells_block)));
  if (bytes == 0) return too_many(space);
  mheap_err failed = mh_block_new(space, bytes, offset);
  if (failed) return failed;
  mh_cells_block *block = mh_at(space->region, *offset);
  capacity = (bytes - sizeof *block) / schema->bytes;
  mh_store(&block->head, 0);
  *block = (mh_cells_block){.capacity = capacity, .stride = schema->bytes, .schema = schema->number};
  mh_store(&block->head, mh_head(0, MH_TYPE_CELLS, 0));
  *rows = (mh_rows){.block = block, .schema = schema, .capacity = capacity};
  return MHEAP_OK;
}

static void copy_rows(const mh_rows *to, uint64_t at, const void *data, uint64_t count) {
  uint64_t bytes = count * to->schema->bytes;
  if (bytes == 0) return;
  memcpy(mh_row_at(to, at), data, bytes);
  mh_mark_range(mh_row_at(to, at), bytes);
}

/* ---- handles ---- */

mheap_err mh_row_list_at(mh_space *space, uint64_t offset, mh_row_list *list) {
  mh_container *container;
  mheap_err failed = mh_container_at(space, offset, MH_TYPE_RECORDS, 0, &container);
  if (failed) return failed;
  if (container->birth == 0) return mh_corrupt(space, offset + 8, "the birth number of a record list", 1, 0);
  *list = (mh_row_list){.space = space, .offset = offset, .birth = container->birth, .type = MH_TYPE_RECORDS};
  return MHEAP_OK;
}

mheap_err mh_row_list_new(mh_space *space, const mh_schema *schema, uint64_t capacity, mh_row_list *list) {
  uint64_t offset, part;
  mh_rows rows;
  mheap_err failed = mh_container_new(space, MH_TYPE_RECORDS, &offset);
  if (failed) return failed;
  failed = new_rows(space, schema, capacity, &part, &rows);
  if (failed) return mh_block_free(space, offset), failed;
  mh_container *container = mh_at(space->region, offset);
  mh_store(&container->part, part);
  *list = (mh_row_list){.space = space, .offset = offset, .birth = container->birth, .type = MH_TYPE_RECORDS};
  return MHEAP_OK;
}

static mheap_err open_rows(mh_row_list *list, mh_container **container, mh_rows *rows) {
  mheap_err failed = mh_container_at(list->space, list->offset, list->type, list->birth, container);
  return failed ? failed : mh_rows_open(list->space, mh_read(&(*container)->part), rows);
}

static mheap_err confirm_block(mh_row_list *list, uint64_t offset, uint64_t size) {
  uint64_t usable = mh_block_usable(list->space, offset);
  if (usable >= size) return MHEAP_OK;
  return mh_corrupt(list->space, offset, "the size of the block in use here", size, usable);
}

static mheap_err to_change(mh_row_list *list, mh_container **container, mh_rows *rows) {
  mheap_err failed = mh_space_writable(list->space);
  if (!failed) failed = open_rows(list, container, rows);
  if (!failed && !list->writable) failed = confirm_block(list, list->offset, sizeof(mh_container));
  if (failed) return failed;
  list->writable = true;
  uint64_t part = (*container)->part;
  if (part == list->confirmed) return MHEAP_OK;
  failed = confirm_block(list, part, mh_rows_bytes(rows));
  if (!failed) list->confirmed = part;
  return failed;
}

mheap_err mh_row_list_rows(mh_row_list *list, bool write, mh_rows *rows) {
  mh_container *container;
  return write ? to_change(list, &container, rows) : open_rows(list, &container, rows);
}

/* ---- changing ---- */

/* Publishes a block that is complete, and frees the old one, whose values are others' by now. */
static void replace(mh_row_list *list, mh_container *container, uint64_t part) {
  uint64_t old = container->part;
  mh_store(&container->part, part);
  list->confirmed = part;
  mh_block_free(list->space, old);
}

static uint64_t value_at(const mh_rows *rows, uint64_t index, uint32_t place) {
  return ((const uint64_t *)(const void *)mh_row_at(rows, index))[place];
}

static mheap_err check_values(mh_space *space, const mh_rows *rows, uint64_t from, uint64_t count) {
  mheap_err failed = MHEAP_OK;
  for (uint64_t i = from; !failed && i < from + count; i++)
    for (uint32_t k = 0; !failed && k < rows->schema->place_count; k++)
      failed = mh_word_check(space, value_at(rows, i, rows->schema->places[k]));
  return failed;
}

static void release_values(mh_space *space, const mh_rows *rows, uint64_t from, uint64_t count) {
  for (uint64_t i = from; i < from + count; i++)
    for (uint32_t k = 0; k < rows->schema->place_count; k++)
      mh_release(space, value_at(rows, i, rows->schema->places[k]));
}

static uint64_t larger(uint64_t count) {
  if (count < FIRST_CAPACITY) return FIRST_CAPACITY;
  return count + (count < LARGE ? count / 2 : count / 4);
}

static mheap_err splice_to_new(mh_row_list *list, mh_container *container, const mh_rows *old, uint64_t from,
                               uint64_t removed, const void *data, uint64_t count) {
  uint64_t total = old->count - removed + count, offset, rest = old->count - from - removed;
  mh_rows made;
  bool grows = count > removed && old->count > 0;
  mheap_err failed = new_rows(list->space, old->schema, grows ? larger(total) : total, &offset, &made);
  if (failed) return failed;
  copy_rows(&made, 0, old->block->data, from);
  copy_rows(&made, from, data, count);
  copy_rows(&made, from + count, mh_row_at(old, from + removed), rest);
  mh_store(&made.block->count, total);
  uint64_t part = container->part;
  mh_store(&container->part, offset);
  list->confirmed = offset;
  release_values(list->space, old, from, removed);
  mh_block_free(list->space, part);
  return MHEAP_OK;
}

mheap_err mh_rows_splice(mh_row_list *list, uint64_t from, uint64_t removed, const void *data,
                         uint64_t count) {
  mh_container *container;
  mh_rows rows;
  mheap_err failed = to_change(list, &container, &rows);
  if (failed) return failed;
  if (from > rows.count || removed > rows.count - from) return MHEAP_ERR_NOT_FOUND;
  if (count > MH_OFFSET_MAX) return too_many(list->space);
  if (removed == 0 && count == 0) return MHEAP_OK;
  failed = check_values(list->space, &rows, from, removed);
  if (failed) return failed;
  if (!mh_rows_stay(&rows, from, removed, count))
    return splice_to_new(list, container, &rows, from, removed, data, count);
  copy_rows(&rows, from, data, count);
  mh_store(&rows.block->count, rows.count - removed + count);
  release_values(list->space, &rows, from, removed);
  return MHEAP_OK;
}

/* `seen`: bytes, all zero. */
static bool is_permutation(const uint64_t *order, uint64_t count, uint8_t *seen) {
  for (uint64_t i = 0; i < count; i++) {
    if (order[i] >= count || seen[order[i]] != 0) return false;
    seen[order[i]] = 1;
  }
  memset(seen, 0, count);
  return true;
}

mheap_err mh_rows_permute(mh_row_list *list, const uint64_t *order, uint64_t count) {
  mh_container *container;
  mh_rows rows, made;
  uint64_t offset;
  mheap_error *error = mh_error(list->space->heap);
  mheap_err failed = to_change(list, &container, &rows);
  if (failed) return failed;
  if (count != rows.count)
    return mh_fail(error, MHEAP_ERR_ARGUMENT, "the list of records changed while it was sorted");
  if (count == 0) return MHEAP_OK;
  failed = new_rows(list->space, rows.schema, count, &offset, &made);
  if (failed) return failed;
  memset(made.block->data, 0, count);
  if (!is_permutation(order, count, made.block->data)) {
    mh_block_free(list->space, offset);
    return mh_fail(error, MHEAP_ERR_ARGUMENT, "an order that is no permutation");
  }
  for (uint64_t i = 0; i < count; i++) copy_rows(&made, i, mh_row_at(&rows, order[i]), 1);
  mh_store(&made.block->count, count);
  replace(list, container, offset);
  return MHEAP_OK;
}

mheap_err mh_rows_migrate(mh_row_list *list, const mh_schema *schema, const void *data, const uint32_t *lost,
                          uint32_t lost_count) {
  mh_container *container;
  mh_rows rows, made;
  uint64_t offset;
  mh_space *space = list->space;
  mheap_err failed = to_change(list, &container, &rows);
  if (!failed) failed = check_values(space, &rows, 0, rows.count);
  if (!failed) failed = new_rows(space, schema, rows.count, &offset, &made);
  if (failed) return failed;
  copy_rows(&made, 0, data, rows.count);
  mh_store(&made.block->count, rows.count);
  uint64_t part = container->part;
  mh_store(&container->part, offset);
  list->confirmed = offset;
  for (uint64_t i = 0; i < rows.count; i++)
    for (uint32_t k = 0; k < lost_count; k++) mh_release(space, value_at(&rows, i, lost[k] / 8));
  mh_block_free(space, part);
  return MHEAP_OK;
}
