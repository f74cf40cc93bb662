/* golden_records.h: the golden file of records: one as it was made, one that has another schema since, and
   a list of three. See golden.h. */
#ifndef MHEAP_GOLDEN_RECORDS_H
#define MHEAP_GOLDEN_RECORDS_H

#include "../records_kit.h"
#include "test.h"

static inline uint64_t golden_record_text(mh_space *space, const char *text) {
  uint64_t word = 0;
  CHECK_EQ(mh_str_new(space, 1, text, strlen(text), &word), MHEAP_OK);
  return word;
}

static inline void golden_row(mh_space *space, char row[40], int64_t id) {
  uint64_t name = golden_record_text(space, "a name of some length");
  records_row(row, id, name, 1.5, mh_word_int(-id), id % 2 == 1);
}

static inline void golden_put_record(mh_dict *root, int64_t number, uint64_t word) {
  mh_key key;
  mh_key_int(root->space, &key, number);
  CHECK_EQ(mh_dict_set(root, &key, word), MHEAP_OK);
}

static inline void golden_store_records(mheap *heap) {
  mh_space space = {0};
  mh_dict root = {0};
  const mh_schema *first = NULL, *second = NULL;
  mh_fields record[2];
  mh_row_list list;
  char row[40];
  mh_space_init(&space, heap);
  CHECK_EQ(mh_root(&space, true, &root), MHEAP_OK);
  CHECK_EQ(records_schema(&space, records_first, &first), MHEAP_OK);
  CHECK_EQ(records_schema(&space, records_second, &second), MHEAP_OK);
  CHECK_EQ(mh_row_list_new(&space, first, 3, &list), MHEAP_OK);
  for (int i = 0; i < 2; i++) {
    golden_row(&space, row, i + 1);
    CHECK_EQ(records_new(&space, first, row, &record[i]), MHEAP_OK);
    golden_put_record(&root, i + 1, mh_word_ref(MH_TAG_RECORD_REF, record[i].offset));
  }
  CHECK_EQ(records_migrate(&record[1], second, golden_record_text(&space, "what is new")), MHEAP_OK);
  for (uint64_t i = 0; i < 3; i++) {
    golden_row(&space, row, (int64_t)i + 10);
    CHECK_EQ(mh_rows_splice(&list, i, 0, row, 1), MHEAP_OK);
  }
  golden_put_record(&root, 3, mh_container_ref(MH_TYPE_RECORDS, list.offset));
}

static inline uint64_t golden_record_at(mh_dict *root, int64_t number) {
  mh_key key;
  uint64_t word = 0;
  mh_key_int(root->space, &key, number);
  CHECK_EQ(mh_dict_get(root, &key, &word), MHEAP_OK);
  return word;
}

static inline bool golden_has_text(mh_space *space, uint64_t word, const char *wanted) {
  mh_text text;
  return mh_word_tag(word) == 5 && mh_text_read(space, word, &text) == MHEAP_OK &&
         text.length == strlen(wanted) && memcmp(text.data, wanted, text.length) == 0;
}

/* By numbers, not by names: those would change with the code. */
static inline void golden_check_row(mh_space *space, const uint64_t *row, uint64_t id) {
  CHECK_EQ(row[0], id);
  CHECK(golden_has_text(space, row[1], "a name of some length"));
  CHECK_EQ(row[2], 0x3ff8000000000000);
  CHECK_EQ(row[3], (uint64_t)-(int64_t)id << 4 | 1);
  CHECK_EQ(row[4], id % 2);
}

static inline void golden_check_records(mheap *heap) {
  mh_space space = {0};
  mh_dict root = {0};
  mh_space_init(&space, heap);
  CHECK_EQ(mh_root(&space, false, &root), MHEAP_OK);
  uint64_t word = golden_record_at(&root, 1);
  CHECK_EQ(word & 15, 13);
  const uint64_t *block = mh_at(space.region, word - 13);
  CHECK_EQ(block[0], 1 | 0x47 << 24);
  CHECK_EQ(block[1] >> 62, 0);
  golden_check_row(&space, block + 2, 1);
  block = mh_at(space.region, golden_record_at(&root, 2) - 13);
  CHECK_EQ(block[1] >> 63, 1);
  block = mh_at(space.region, block[1] << 1 >> 1);
  CHECK_EQ(block[0], (uint64_t)0x84 << 24 | (uint64_t)1 << 32);
  CHECK_EQ(block[2], (uint64_t)-2 << 4 | 1);
  CHECK_EQ(block[3], 2);
  CHECK(golden_has_text(&space, block[4], "what is new"));
  word = golden_record_at(&root, 3);
  CHECK_EQ(word & 15, 15);
  block = mh_at(space.region, word - 15);
  CHECK_EQ(block[0], 1 | 0x48 << 24);
  CHECK_EQ(block[2] % 64, 0);
  block = mh_at(space.region, block[2]);
  CHECK_EQ(block[0], (uint64_t)0x83 << 24);
  CHECK_EQ(block[1], 3);
  CHECK_EQ(block[3], 40);
  CHECK_EQ(block[4], 0);
  for (uint64_t i = 0; i < 3; i++) golden_check_row(&space, block + 8 + 5 * i, 10 + i);
}

#endif
