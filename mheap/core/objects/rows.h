/* rows.h: record lists. Owns the operations on one and the order of their stores (layout.h, "record list").
   Calls schema.h. Takes no lock.

   An mh_row_list is a handle, as an mh_list is. Rows that go in are bytes by the list's schema; their values
   bring one reference each with them, which the list owns from then on if the call succeeds. Indices are
   checked: out of range is MHEAP_ERR_NOT_FOUND, without an error set. Whoever was told where rows are may
   store to them until they are moved: only appending in room, and fields that are set, do not move them. */
#ifndef MHEAP_OBJECTS_ROWS_H
#define MHEAP_OBJECTS_ROWS_H

#include "schema.h"

/* A block of rows as read, checked against the region. */
typedef struct mh_rows {
  mh_cells_block *block;
  const mh_schema *schema;
  uint64_t count, capacity;
} mh_rows;

mheap_err mh_rows_open(mh_space *space, uint64_t offset, mh_rows *rows);
static inline uint64_t mh_rows_bytes(const mh_rows *rows) {
  return sizeof(mh_cells_block) + rows->capacity * rows->schema->bytes;
}
static inline uint8_t *mh_row_at(const mh_rows *rows, uint64_t index) {
  return rows->block->data + index * rows->schema->bytes;
}

typedef struct mh_row_list {
  mh_space *space;
  uint64_t offset;
  uint64_t birth;
  mh_type type;       /* RECORDS */
  bool writable;      /* confirmed to be a block in use */
  uint64_t confirmed; /* the part that was confirmed to be one; 0: none */
} mh_row_list;

mheap_err mh_row_list_at(mh_space *space, uint64_t offset, mh_row_list *list);
/* A new, unpublished list with one reference, without rows, and with room for `capacity`. */
mheap_err mh_row_list_new(mh_space *space, const mh_schema *schema, uint64_t capacity, mh_row_list *list);

/* To be read until the next change; with `write`, also to be stored to. */
mheap_err mh_row_list_rows(mh_row_list *list, bool write, mh_rows *rows);

/* Replaces the rows [from, from + removed) by `count` others. Nothing is done half. */
mheap_err mh_rows_splice(mh_row_list *list, uint64_t from, uint64_t removed, const void *data,
                         uint64_t count);
/* Row i becomes what was row order[i]. MHEAP_ERR_ARGUMENT if that is no permutation. */
mheap_err mh_rows_permute(mh_row_list *list, const uint64_t *order, uint64_t count);
/* All rows by another schema: as many, into which the values were moved, but for those at `lost` in the old
   ones, which are counted down. */
mheap_err mh_rows_migrate(mh_row_list *list, const mh_schema *schema, const void *data, const uint32_t *lost,
                          uint32_t lost_count);
/* Would that splice leave the rows where they are? */
static inline bool mh_rows_stay(const mh_rows *rows, uint64_t from, uint64_t removed, uint64_t count) {
  if (removed == 0 && from == rows->count) return count <= rows->capacity - rows->count;
  return count == 0 && from + removed == rows->count;
}

#endif
