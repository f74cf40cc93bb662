/* rows.h: record lists. Owns the operations on one and the order of their stores (layout.h, "record list").
   Calls schema.h. Takes no lock. */
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

#endif
