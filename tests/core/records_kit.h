/* records_kit.h: a schema and records of it, for whoever tests these in C. */
#ifndef MHEAP_RECORDS_KIT_H
#define MHEAP_RECORDS_KIT_H

#include "objects/compound.h"
#include "objects/fields.h"
#include "objects/objects.h"
#include "objects/rows.h"
#include "objects/value.h"

/* The fields of the first schema, and where they are. */
enum { RECORD_ID = 0, RECORD_NAME = 8, RECORD_SCORE = 16, RECORD_MORE = 24, RECORD_ON = 32 };
/* Of the second: the name is lost, the others are in another order, one is new. */
enum { RECORD2_MORE = 0, RECORD2_ID = 8, RECORD2_NEW = 16 };

static const char *const records_first[] = {"test:Record", "id", "int", "name", "str", "score", "float",
                                            "more", "Any", "on", "bool", NULL};
static const char *const records_second[] = {"test:Record", "more", "Any", "id", "int", "new", "str | None",
                                             NULL};

/* The tuple of such words. */
static inline mheap_err records_describe(mh_space *space, const char *const *texts, uint64_t *word) {
  uint64_t count = 0, text;
  while (texts[count] != NULL) count++;
  mheap_err failed = mh_compound_new(space, MH_TYPE_TUPLE, (mh_kind_code)0, count, word);
  for (uint64_t i = 0; !failed && i < count; i++) {
    failed = mh_str_new(space, 1, texts[i], strlen(texts[i]), &text);
    if (!failed) mh_compound_set(space, *word, i, text);
  }
  return failed;
}

static inline mheap_err records_schema(mh_space *space, const char *const *texts, const mh_schema **schema) {
  uint64_t word;
  uint32_t number;
  mheap_err failed = records_describe(space, texts, &word);
  if (!failed) failed = mh_schema_add(space, word, &number);
  return failed ? failed : mh_schema_at(space, number, schema);
}

/* The bytes of a row of the first, whose values are these. */
static inline void records_row(char row[40], int64_t id, uint64_t name, double score, uint64_t more,
                               bool on) {
  memset(row, 0, 40);
  memcpy(row + RECORD_ID, &id, 8);
  memcpy(row + RECORD_NAME, &name, 8);
  memcpy(row + RECORD_SCORE, &score, 8);
  memcpy(row + RECORD_MORE, &more, 8);
  row[RECORD_ON] = on;
}

static inline mheap_err records_new(mh_space *space, const mh_schema *schema, const char row[40],
                                    mh_fields *record) {
  mheap_err failed = mh_fields_new(space, schema, record);
  if (failed) return failed;
  memcpy(mh_fields_field(record, 0), row, 40);
  mh_mark_range(mh_fields_field(record, 0), 40);
  return MHEAP_OK;
}

/* The record by this, the second schema; `more` is moved, the name is lost. */
static inline mheap_err records_migrate(mh_fields *record, const mh_schema *schema, uint64_t new_value) {
  static const uint32_t lost[] = {RECORD_NAME};
  mheap_err failed = mh_fields_open(record);
  if (failed) return failed;
  uint64_t row[3];
  memcpy(&row[0], mh_fields_field(record, RECORD_MORE), 8);
  memcpy(&row[1], mh_fields_field(record, RECORD_ID), 8);
  row[2] = new_value;
  return mh_fields_migrate(record, schema, row, lost, 1);
}

#endif
