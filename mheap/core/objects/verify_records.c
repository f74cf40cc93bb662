/* verify_records.c: what a check looks at in records, record lists and their schemas. Takes no lock. */
#include <inttypes.h>

#include "fields.h"
#include "rows.h"
#include "verify.h"

static void check_row(mh_walk *walk, const mh_schema *schema, uint64_t row) {
  const char *bytes = mh_at(walk->space.region, row);
  for (uint32_t i = 0; i < schema->field_count && !walk->failed; i++) {
    uint64_t place = row + schema->fields[i].offset;
    if (schema->fields[i].kind == MH_FIELD_WORD)
      mh_walk_visit(walk, mh_read(mh_at(walk->space.region, place)), place);
    uint8_t byte = (uint8_t)bytes[schema->fields[i].offset];
    if (schema->fields[i].kind == MH_FIELD_BOOL && byte > 1)
      mh_walk_found(walk, 1, place, "the bool in a record: expected 0 or 1, found %u", byte);
  }
}

void mh_walk_record(mh_walk *walk, uint64_t offset) {
  mh_fields_place place;
  if (mh_fields_place_of(&walk->space, offset, &place)) {
    mh_walk_error(walk);
    return;
  }
  if (place.row == 0) return;
  uint64_t bytes = mh_fields_bytes(place.schema), usable = mh_block_usable(&walk->space, offset);
  if (place.fields == 0 && usable < bytes) {
    mh_walk_found(walk, 1, offset,
                  "a record of %" PRIu64 " bytes: expected a block in use of as many, found %" PRIu64, bytes,
                  usable);
    return;
  }
  bytes = sizeof(mh_record_block) + place.schema->bytes;
  if (place.fields == 0 || mh_walk_part(walk, place.fields, bytes)) check_row(walk, place.schema, place.row);
}

void mh_walk_rows(mh_walk *walk, uint64_t part) {
  mh_rows rows;
  if (mh_rows_open(&walk->space, part, &rows)) {
    mh_walk_error(walk);
    return;
  }
  if (!mh_walk_part(walk, part, mh_rows_bytes(&rows))) return;
  for (uint64_t i = 0; i < rows.count && !walk->failed; i++)
    check_row(walk, rows.schema, part + sizeof(mh_cells_block) + i * rows.schema->bytes);
}

void mh_walk_schemas(mh_walk *walk) {
  mh_list registry;
  mh_items items;
  const mh_schema *schema;
  mheap_err failed = mh_registry(&walk->space, false, &registry);
  if (failed == MHEAP_ERR_NOT_FOUND) return;
  if (!failed) failed = mh_list_items(&registry, &items);
  for (uint64_t i = 0; !failed && i < items.count; i++) failed = mh_schema_at(&walk->space, i, &schema);
  if (failed) mh_walk_error(walk);
}
