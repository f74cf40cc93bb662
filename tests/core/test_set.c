/* test_set.c: what is a set's alone; test_dict.c tests the table. */
#include "objects_kit.h"

static mh_dict rooted_set(kit *kit) {
  mh_dict root = kit_root(kit), set;
  CHECK_EQ(mh_set_new(&kit->space, 0, &set), MHEAP_OK);
  kit_set(&root, 0, mh_container_ref(MH_TYPE_SET, set.offset));
  return set;
}

static void add(mh_dict *set, unsigned n) {
  mh_key key;
  char buffer[64];
  kit_key(set->space, n, &key, buffer);
  CHECK_EQ(mh_set_add(set, &key), MHEAP_OK);
}

static void members_are_there_once_in_order(void) {
  kit kit = kit_open();
  mh_dict set = rooted_set(&kit);
  mh_entry entry;
  uint64_t length, value;
  uint32_t index = 0;
  for (unsigned n = 0; n < 600; n++) add(&set, n % 200);
  CHECK_EQ(mh_dict_length(&set, &length), MHEAP_OK);
  CHECK_EQ(length, 200);
  for (unsigned n = 0; n < 200; n += 2) CHECK_EQ(kit_delete(&set, n), MHEAP_OK);
  for (unsigned n = 1; n < 200; n += 2) {
    uint64_t wanted;
    mh_key key;
    CHECK_EQ(mh_dict_next(&set, &index, &entry), MHEAP_OK);
    CHECK_EQ(kit_get(&set, n, &value), MHEAP_OK);
    CHECK_EQ(value, MH_CONST_NONE);
    char buffer[64];
    kit_key(&kit.space, n, &key, buffer);
    CHECK_EQ(mh_key_hash(&kit.space, entry.key, &wanted), MHEAP_OK);
    CHECK_EQ(wanted, key.hash);
  }
  kit_is_sound(&kit);
  kit_drop_root(&kit);
  kit_close(&kit);
}

static void adding_what_is_there_stores_nothing(void) {
  kit kit = kit_open();
  mh_dict set = rooted_set(&kit);
  add(&set, 2);
  const mh_table *table;
  CHECK_EQ(mh_dict_table(&set, &table), MHEAP_OK);
  table->entries[0].value = MH_CONST_TRUE; /* would be overwritten */
  add(&set, 2);
  CHECK_EQ(table->entries[0].value, MH_CONST_TRUE);
  kit_findings findings = kit_check(&kit);
  CHECK_EQ(findings.broken, 1);
  CHECK_STR(findings.text, "the value of a set's entry: expected 0x10, found 0x30");
  kit_drop_root(&kit);
  kit_close(&kit);
}

static void a_dict_is_no_set(void) {
  kit kit = kit_open();
  mh_dict set = rooted_set(&kit), other;
  CHECK_EQ(mh_dict_at(&kit.space, set.offset, &other), MHEAP_ERR_CORRUPT);
  CHECK_EQ(mh_set_at(&kit.space, kit_root(&kit).offset, &other), MHEAP_ERR_CORRUPT);
  CHECK(mh_object_at(&kit.space, mh_word_ref(MH_TAG_DICT_REF, set.offset)) == NULL);
  CHECK(mh_object_at(&kit.space, mh_word_ref(MH_TAG_OTHER_REF, set.offset)) == NULL);
  CHECK(mh_object_at(&kit.space, mh_word_ref(MH_TAG_SET_REF, set.offset)) != NULL);
  kit_drop_root(&kit);
  kit_close(&kit);
}

TEST_MAIN(TEST(members_are_there_once_in_order),
          TEST(adding_what_is_there_stores_nothing),
          TEST(a_dict_is_no_set))
