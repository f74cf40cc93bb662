/* fields.h: records. Owns the operations on one and the order of their stores (layout.h, "record"). Calls
   schema.h. Takes no lock.

   An mh_fields is a handle on a record, as an mh_dict is on a dict. Words that go in bring one reference
   each with them, which the record owns from then on if the call succeeds; words that come out are borrowed.
   Fields are named by their places in the row: the caller knows the schema. */
#ifndef MHEAP_OBJECTS_FIELDS_H
#define MHEAP_OBJECTS_FIELDS_H

#include "schema.h"

typedef struct mh_fields {
  mh_space *space;
  uint64_t offset;
  uint64_t birth;
  mh_type type;            /* RECORD */
  bool writable;           /* both blocks confirmed to be in use */
  const mh_schema *schema; /* NULL: not looked at yet; of what follows: */
  uint64_t stored;         /* the word `birth` of the block */
  uint64_t row;            /* offset of the fields */
} mh_fields;

mheap_err mh_fields_at(mh_space *space, uint64_t offset, mh_fields *record);
/* A new, unpublished record with one reference, all of whose bytes are zero: values ABSENT. */
mheap_err mh_fields_new(mh_space *space, const mh_schema *schema, mh_fields *record);

/* Finds schema and row, unless they are known already. MHEAP_ERR_STALE: the record is gone. */
mheap_err mh_fields_look(mh_fields *record);
/* What mh_fields_look found is still so. */
static inline bool mh_fields_is_known(const mh_fields *record) {
  const mh_region *region = record->space->region;
  if (record->schema == NULL || !mh_in_region(region, record->offset, sizeof(mh_container))) return false;
  const mh_record_block *block = mh_at(region, record->offset);
  if (mh_read(&block->birth) != record->stored) return false;
  if (!mh_in_region(region, record->row, record->schema->bytes)) return false;
  if (record->stored == record->birth) return true;
  const mh_record_block *fields = mh_at(region, record->row - sizeof *fields);
  return mh_read(&fields->birth) == record->birth;
}
static inline mheap_err mh_fields_open(mh_fields *record) {
  return mh_fields_is_known(record) ? MHEAP_OK : mh_fields_look(record);
}
static inline void *mh_fields_field(const mh_fields *record, uint32_t offset) {
  return mh_at(record->space->region, record->row + offset);
}

/* Open, and blocks in use. */
mheap_err mh_fields_to_change(mh_fields *record);
/* Each of an open record, and after mh_fields_to_change only. */
void mh_fields_set_bits(mh_fields *record, uint32_t offset, uint64_t bits);
void mh_fields_set_bool(mh_fields *record, uint32_t offset, bool value);
mheap_err mh_fields_set_word(mh_fields *record, uint32_t offset, uint64_t word);
/* Goes on with another schema: these are the fields by it. Values that the old ones had are moved there, but
   for those at `lost`, which are counted down. */
mheap_err mh_fields_migrate(mh_fields *record, const mh_schema *schema, const void *row, const uint32_t *lost,
                            uint32_t lost_count);

/* ---- for children.c, release.c, verify.c ---- */

/* Where the fields of the record are, by which schema; `fields`: the block they are in, if it is another,
   else 0. Checked against the region. `row` 0: it is being freed and has none. */
typedef struct mh_fields_place {
  const mh_schema *schema;
  uint64_t row, fields;
} mh_fields_place;
mheap_err mh_fields_place_of(mh_space *space, uint64_t offset, mh_fields_place *place);

#endif
