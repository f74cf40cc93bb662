/* fields.c: see fields.h. */
#include "fields.h"

/* ---- where the fields are ---- */

static mheap_err beyond(mh_space *space, uint64_t offset) {
  return mh_corrupt(space, offset, "a record beyond the region", mh_region_size(space->region), offset);
}

mheap_err mh_fields_place_of(mh_space *space, uint64_t offset, mh_fields_place *place) {
  *place = (mh_fields_place){0};
  if (offset % 16 != 0 || !mh_in_region(space->region, offset, sizeof(mh_container)))
    return beyond(space, offset);
  const mh_record_block *block = mh_at(space->region, offset);
  uint64_t birth = mh_read(&block->birth), at = offset;
  mh_type type = MH_TYPE_RECORD;
  if (birth == 0) return MHEAP_OK;
  if (birth & MH_BIRTH_MOVED) {
    at = place->fields = birth & ~MH_BIRTH_MOVED;
    type = MH_TYPE_FIELDS;
    if (at % 16 != 0 || !mh_in_region(space->region, at, sizeof *block)) return beyond(space, at);
    block = mh_at(space->region, at);
  }
  uint64_t head = mh_read(&block->head);
  if (mh_head_type(head) != type)
    return mh_corrupt(space, at, "the type of a record, or its fields", type, mh_head_type(head));
  mheap_err failed = mh_schema_at(space, mh_head_length(head), &place->schema);
  if (failed) return failed;
  place->row = at + sizeof *block;
  return mh_in_region(space->region, at, sizeof *block + place->schema->bytes) ? MHEAP_OK : beyond(space, at);
}

/* ---- handles ---- */

mheap_err mh_fields_at(mh_space *space, uint64_t offset, mh_fields *record) {
  mh_container *container;
  mheap_err failed = mh_container_at(space, offset, MH_TYPE_RECORD, 0, &container);
  if (failed) return failed;
  uint64_t birth = mh_birth_of(space, container);
  if (birth == 0 || birth >= MH_BIRTH_DYING)
    return mh_corrupt(space, offset + 8, "the birth number of a record", 1, birth);
  *record = (mh_fields){.space = space, .offset = offset, .birth = birth, .type = MH_TYPE_RECORD};
  return mh_fields_look(record);
}

mheap_err mh_fields_new(mh_space *space, const mh_schema *schema, mh_fields *record) {
  uint64_t offset, bytes = mh_fields_bytes(schema), birth;
  mheap_err failed = mh_block_new(space, bytes, &offset);
  if (failed) return failed;
  birth = mh_take_birth(space);
  mh_record_block *block = mh_at(space->region, offset);
  mh_store(&block->head, 0);
  memset(block->row, 0, bytes - sizeof *block);
  mh_mark_range(block, bytes);
  block->birth = birth;
  mh_store(&block->head, mh_head(1, MH_TYPE_RECORD, schema->number)); /* last, as of a container */
  *record = (mh_fields){.space = space, .offset = offset, .birth = birth, .type = MH_TYPE_RECORD,
                        .schema = schema, .writable = true, .stored = birth, .row = offset + sizeof *block};
  return MHEAP_OK;
}

mheap_err mh_fields_look(mh_fields *record) {
  mh_container *container;
  mh_fields_place place;
  record->schema = NULL;
  record->writable = false;
  mh_space *space = record->space;
  mheap_err failed = mh_container_at(space, record->offset, MH_TYPE_RECORD, record->birth, &container);
  if (failed) return failed;
  record->stored = mh_read(&container->birth);
  failed = mh_fields_place_of(space, record->offset, &place);
  if (failed) return failed;
  record->row = place.row;
  record->schema = place.schema;
  return place.row != 0 ? MHEAP_OK : mh_corrupt(space, record->offset + 8, "the birth of a record", 1, 0);
}

/* ---- changing ---- */

static uint64_t bytes_of_fields(const mh_schema *schema) { return sizeof(mh_record_block) + schema->bytes; }

static mheap_err confirm(mh_fields *record, uint64_t offset, uint64_t bytes) {
  uint64_t usable = mh_block_usable(record->space, offset);
  if (usable >= bytes) return MHEAP_OK;
  return mh_corrupt(record->space, offset, "the size of the block in use here", bytes, usable);
}

mheap_err mh_fields_to_change(mh_fields *record) {
  mheap_err failed = mh_space_writable(record->space);
  if (!failed) failed = mh_fields_open(record);
  if (failed || record->writable) return failed;
  bool moved = record->stored != record->birth;
  uint64_t own = moved ? sizeof(mh_container) : mh_fields_bytes(record->schema);
  failed = confirm(record, record->offset, own);
  if (!failed && moved)
    failed = confirm(record, record->row - sizeof(mh_record_block), bytes_of_fields(record->schema));
  record->writable = !failed;
  return failed;
}

void mh_fields_set_bits(mh_fields *record, uint32_t offset, uint64_t bits) {
  mh_store(mh_fields_field(record, offset), bits);
}

void mh_fields_set_bool(mh_fields *record, uint32_t offset, bool value) {
  mh_store_byte(mh_fields_field(record, offset), value);
}

mheap_err mh_fields_set_word(mh_fields *record, uint32_t offset, uint64_t word) {
  uint64_t *field = mh_fields_field(record, offset), old = *field;
  mheap_err failed = old == MH_WORD_ABSENT ? MHEAP_OK : mh_word_check(record->space, old);
  if (failed) return failed;
  mh_store(field, word);
  mh_release(record->space, old);
  return MHEAP_OK;
}

/* ---- migrating ---- */

static mheap_err new_fields(mh_fields *record, const mh_schema *schema, const void *row, uint64_t *offset) {
  uint64_t bytes = bytes_of_fields(schema);
  mheap_err failed = mh_block_new(record->space, bytes, offset);
  if (failed) return failed;
  mh_record_block *fields = mh_at(record->space->region, *offset);
  mh_store(&fields->head, 0);
  memcpy(fields->row, row, schema->bytes);
  mh_mark_range(fields, bytes);
  fields->birth = record->birth;
  mh_store(&fields->head, mh_head(0, MH_TYPE_FIELDS, schema->number));
  return MHEAP_OK;
}

mheap_err mh_fields_migrate(mh_fields *record, const mh_schema *schema, const void *row, const uint32_t *lost,
                            uint32_t lost_count) {
  uint64_t fields, before;
  mh_space *space = record->space;
  mheap_err failed = mh_fields_to_change(record);
  for (uint32_t i = 0; !failed && i < lost_count; i++)
    failed = mh_word_check(space, *(uint64_t *)mh_fields_field(record, lost[i]));
  if (!failed) failed = new_fields(record, schema, row, &fields);
  if (failed) return failed;
  mh_fields old = *record;
  mh_record_block *block = mh_at(space->region, record->offset);
  before = record->stored == record->birth ? 0 : record->stored & ~MH_BIRTH_MOVED;
  mh_store(&block->birth, MH_BIRTH_MOVED | fields);
  record->stored = MH_BIRTH_MOVED | fields;
  record->row = fields + sizeof *block;
  record->schema = schema;
  for (uint32_t i = 0; i < lost_count; i++) mh_release(space, *(uint64_t *)mh_fields_field(&old, lost[i]));
  if (before != 0) mh_block_free(space, before);
  return MHEAP_OK;
}
