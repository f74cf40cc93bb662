/* rows.c: see rows.h. */
#include "rows.h"

mheap_err mh_rows_open(mh_space *space, uint64_t offset, mh_rows *rows) {
  uint64_t bytes;
  if (offset % 64 != 0 || !mh_in_region(space->region, offset, sizeof(mh_cells_block)))
    return mh_corrupt(space, offset, "rows beyond the region", mh_region_size(space->region), offset);
  mh_cells_block *block = mh_at(space->region, offset);
  uint64_t head = mh_read(&block->head), stride = mh_read(&block->stride);
  if (head != mh_head(0, MH_TYPE_CELLS, 0))
    return mh_corrupt(space, offset, "the head of rows", mh_head(0, MH_TYPE_CELLS, 0), head);
  mheap_err failed = mh_schema_at(space, mh_read(&block->schema), &rows->schema);
  if (failed) return failed;
  rows->block = block;
  rows->count = mh_read(&block->count);
  rows->capacity = mh_read(&block->capacity);
  if (stride != rows->schema->bytes)
    return mh_corrupt(space, offset + offsetof(mh_cells_block, stride), "the bytes of a row",
                      rows->schema->bytes, stride);
  if (__builtin_mul_overflow(rows->capacity, stride, &bytes) || bytes > MH_OFFSET_MAX ||
      !mh_in_region(space->region, offset, sizeof *block + bytes))
    return mh_corrupt(space, offset + offsetof(mh_cells_block, capacity), "the capacity of rows",
                      mh_region_size(space->region), rows->capacity);
  if (rows->count > rows->capacity)
    return mh_corrupt(space, offset + offsetof(mh_cells_block, count), "the number of rows", rows->capacity,
                      rows->count);
  return MHEAP_OK;
}
