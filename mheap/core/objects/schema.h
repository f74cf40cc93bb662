/* schema.h: the schemas of records: found by number, added. Owns what was read of them, which is kept by
   number in region->schemas: process state. Calls list.h, compound.h, os.h.

   Any thread may look a schema up: what was found stays where it is until the region ends. A rollback takes
   schemas back, so they are read anew after it, and what has become another is put aside. */
#ifndef MHEAP_OBJECTS_SCHEMA_H
#define MHEAP_OBJECTS_SCHEMA_H

#include "list.h"

typedef enum mh_field_kind {
  MH_FIELD_WORD,  /* a value */
  MH_FIELD_INT,   /* 64 bits, two's complement */
  MH_FIELD_FLOAT, /* binary64 */
  MH_FIELD_BOOL,  /* one byte, 0 or 1 */
} mh_field_kind;

typedef struct mh_schema_field {
  uint32_t offset; /* in the row */
  mh_field_kind kind;
} mh_schema_field;

typedef struct mh_schema {
  struct mh_schema *retired;
  _Atomic uint64_t epoch; /* of when it was read */
  uint64_t room;          /* bytes of all this */
  uint64_t word;          /* the tuple */
  uint32_t number;
  uint32_t field_count, place_count, bool_count;
  uint64_t bytes;         /* of a row: a multiple of 8 */
  mh_schema_field *fields;
  uint32_t *places;       /* of the values in a row, in words */
} mh_schema;

/* The schema of a number that stands in the heap. */
mheap_err mh_schema_at(mh_space *space, uint64_t number, const mh_schema **schema);
/* The number of the schema that this tuple describes, which is added if there is none like it. The tuple's
   reference is taken over if that succeeds. */
mheap_err mh_schema_add(mh_space *space, uint64_t word, uint32_t *number);
/* The tuples; MHEAP_ERR_NOT_FOUND, without an error set: there is no registry. */
mheap_err mh_registry(mh_space *space, bool create, mh_list *list);

static inline uint64_t mh_fields_bytes(const mh_schema *schema) {
  uint64_t bytes = sizeof(mh_record_block) + schema->bytes;
  return bytes < sizeof(mh_container) ? sizeof(mh_container) : bytes;
}

#endif
