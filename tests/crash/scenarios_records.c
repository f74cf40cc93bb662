/* scenarios_records.c: scenarios of records and record lists. See scenarios.h. */
#include "../core/records_kit.h"
#include "scenarios_kit.h"

static void set(stage *s, uint64_t word) {
  mh_dict root = root_of(s);
  mh_key key;
  mh_key_text(&space, &key, MH_TAG_STR_REF, 1, "it", 2);
  must(s, mh_dict_set(&root, &key, word), "dict set");
}

static uint64_t stored(stage *s) {
  mh_dict root = root_of(s);
  mh_key key;
  uint64_t word;
  mh_key_text(&space, &key, MH_TAG_STR_REF, 1, "it", 2);
  must(s, mh_dict_get(&root, &key, &word), "dict get");
  return mh_word_offset(word);
}

static void fill(stage *s, char row[40], int64_t id) {
  records_row(row, id, text_of(s, "a name of some length"), 0.5, text_of(s, "more of some length"), true);
}

/* ---- what is there before ---- */

static void no_schema(stage *s) {
  root_of(s);
  set(s, mh_word_int(1));
}

static void record(stage *s) {
  const mh_schema *schema;
  mh_fields fields;
  char row[40];
  root_of(s);
  must(s, records_schema(&space, records_first, &schema), "schema");
  fill(s, row, 7);
  must(s, records_new(&space, schema, row, &fields), "record");
  set(s, mh_word_ref(MH_TAG_RECORD_REF, fields.offset));
}

static mh_fields the_record(stage *s) {
  mh_fields fields;
  must(s, mh_fields_at(&space, stored(s), &fields), "the record");
  return fields;
}

/* The second schema is there, so that only the record changes. */
static void record_of_two_schemas(stage *s) {
  const mh_schema *schema;
  record(s);
  must(s, records_schema(&space, records_second, &schema), "schema");
}

/* By its number: adding it again would make its tuple first. */
static const mh_schema *the_schema(stage *s, uint64_t number) {
  const mh_schema *schema;
  must(s, mh_schema_at(&space, number, &schema), "schema");
  return schema;
}

static void moved_record(stage *s) {
  record_of_two_schemas(s);
  mh_fields fields = the_record(s);
  must(s, records_migrate(&fields, the_schema(s, 1), text_of(s, "a new value, as long")), "migrate");
}

static void rows_of(stage *s, int count, bool full) {
  const mh_schema *schema;
  mh_row_list list;
  mh_rows rows;
  char row[40];
  root_of(s);
  must(s, records_schema(&space, records_first, &schema), "schema");
  must(s, mh_row_list_new(&space, schema, 3, &list), "record list");
  for (int i = 0; full || i < count; i++) {
    must(s, mh_row_list_rows(&list, false, &rows), "rows");
    if (full && rows.count == rows.capacity) break;
    fill(s, row, i);
    must(s, mh_rows_splice(&list, (uint64_t)i, 0, row, 1), "append");
  }
  set(s, mh_container_ref(MH_TYPE_RECORDS, list.offset));
}
static void rows_of_2(stage *s) { rows_of(s, 2, false); }
static void full_rows(stage *s) { rows_of(s, 0, true); }
static void rows_of_two_schemas(stage *s) {
  const mh_schema *schema;
  rows_of_2(s);
  must(s, records_schema(&space, records_second, &schema), "schema");
}

static mh_row_list the_rows(stage *s) {
  mh_row_list list;
  must(s, mh_row_list_at(&space, stored(s), &list), "the record list");
  return list;
}

/* ---- operations ---- */

static void make_record(stage *s) { record(s); }
static void remove_record(stage *s) {
  root_of(s);
  set(s, mh_word_int(2));
}

static void set_int(stage *s) {
  mh_fields fields = the_record(s);
  must(s, mh_fields_to_change(&fields), "change");
  mh_fields_set_bits(&fields, RECORD_ID, 12345);
}
static void set_bool(stage *s) {
  mh_fields fields = the_record(s);
  must(s, mh_fields_to_change(&fields), "change");
  mh_fields_set_bool(&fields, RECORD_ON, false);
}
static void set_value(stage *s) {
  mh_fields fields = the_record(s);
  uint64_t word = text_of(s, "another name, as long");
  must(s, mh_fields_to_change(&fields), "change");
  must(s, mh_fields_set_word(&fields, RECORD_NAME, word), "set");
}
static void migrate(stage *s) {
  mh_fields fields = the_record(s);
  must(s, records_migrate(&fields, the_schema(s, 1), text_of(s, "a new value, as long")), "migrate");
}
static void migrate_again(stage *s) {
  static const uint32_t lost[] = {RECORD2_MORE, RECORD2_NEW};
  mh_fields fields = the_record(s);
  char row[40];
  fill(s, row, 8);
  must(s, mh_fields_migrate(&fields, the_schema(s, 0), row, lost, 2), "migrate");
}

static void splice_rows(stage *s, uint64_t from, uint64_t removed, int count) {
  mh_row_list list = the_rows(s);
  char rows[2][40];
  for (int i = 0; i < count; i++) fill(s, rows[i], 100 + i);
  must(s, mh_rows_splice(&list, from, removed, rows, (uint64_t)count), "splice");
}
static void append(stage *s) {
  mh_row_list list = the_rows(s);
  mh_rows rows;
  must(s, mh_row_list_rows(&list, false, &rows), "rows");
  splice_rows(s, rows.count, 0, 1);
}
static void insert(stage *s) { splice_rows(s, 1, 0, 1); }
static void drop_last(stage *s) { splice_rows(s, 1, 1, 0); }
static void drop_first(stage *s) { splice_rows(s, 0, 1, 0); }
static void replace(stage *s) { splice_rows(s, 0, 2, 2); }
static void reverse(stage *s) {
  static const uint64_t order[] = {1, 0};
  mh_row_list list = the_rows(s);
  must(s, mh_rows_permute(&list, order, 2), "permute");
}
static void migrate_rows(stage *s) {
  static const uint32_t lost[] = {RECORD_NAME};
  mh_row_list list = the_rows(s);
  mh_rows rows;
  uint64_t made[2][3];
  must(s, mh_row_list_rows(&list, false, &rows), "rows");
  for (uint64_t i = 0; i < 2; i++) {
    memcpy(&made[i][0], mh_row_at(&rows, i) + RECORD_MORE, 8);
    memcpy(&made[i][1], mh_row_at(&rows, i) + RECORD_ID, 8);
    made[i][2] = text_of(s, "a new value, as long");
  }
  must(s, mh_rows_migrate(&list, the_schema(s, 1), made, lost, 1), "migrate");
}

const scenario record_scenarios[] = {
    {"record_is_made", no_schema, make_record, false, false},
    {"record_is_removed", record, remove_record, false, false},
    {"record_sets_an_int", record, set_int, false, false},
    {"record_sets_a_bool", record, set_bool, false, false},
    {"record_sets_a_value", record, set_value, false, false},
    {"record_migrates", record_of_two_schemas, migrate, false, false},
    {"record_migrates_again", moved_record, migrate_again, false, false},
    {"moved_record_is_removed", moved_record, remove_record, false, false},
    {"rows_append", rows_of_2, append, false, false},
    {"rows_append_grows", full_rows, append, false, false},
    {"rows_insert", rows_of_2, insert, false, false},
    {"rows_drop_last", rows_of_2, drop_last, false, false},
    {"rows_drop_first", rows_of_2, drop_first, false, false},
    {"rows_replace", rows_of_2, replace, false, false},
    {"rows_permute", rows_of_2, reverse, false, false},
    {"rows_migrate", rows_of_two_schemas, migrate_rows, false, false},
    {"rows_are_removed", rows_of_2, remove_record, false, false},
    {NULL, NULL, NULL, false, false},
};
