/* golden_names.h: the golden file of names in words: as keys, members, items and in keys. See golden.h. */
#ifndef MHEAP_GOLDEN_NAMES_H
#define MHEAP_GOLDEN_NAMES_H

#include "golden_sorted.h"

static const char *const golden_identifiers[] = {"created_at", "Zzzzzzzzz", "abcdefgh", "0123456789"};
#define GOLDEN_NAMES (int)(sizeof golden_identifiers / sizeof *golden_identifiers)

static inline void golden_store_names(mheap *heap) {
  mh_space space = {0};
  mh_dict root, set;
  mh_sorted sorted;
  mh_space_init(&space, heap);
  CHECK_EQ(mh_root(&space, true, &root), MHEAP_OK);
  CHECK_EQ(mh_sorted_new(&space, &sorted), MHEAP_OK);
  CHECK_EQ(mh_table_owner_new(&space, MH_TYPE_SET, 0, &set), MHEAP_OK);
  for (int i = 0; i < GOLDEN_NAMES; i++) {
    uint64_t value;
    const char *other = golden_identifiers[GOLDEN_NAMES - 1 - i];
    mh_key key = golden_key_named(&space, golden_identifiers[i]);
    CHECK_EQ(mh_str_new(&space, 1, other, strlen(other), &value), MHEAP_OK);
    CHECK_EQ(mh_dict_set(&root, &key, value), MHEAP_OK);
    CHECK_EQ(mh_sorted_set(&sorted, &key, mh_word_int(i)), MHEAP_OK);
    CHECK_EQ(mh_dict_set(&set, &key, MH_CONST_NONE), MHEAP_OK);
  }
  mh_key key = golden_key_named(&space, "sorted");
  CHECK_EQ(mh_dict_set(&root, &key, mh_container_ref(MH_TYPE_SORTED, sorted.offset)), MHEAP_OK);
  key = golden_key_named(&space, "set");
  CHECK_EQ(mh_dict_set(&root, &key, mh_container_ref(MH_TYPE_SET, set.offset)), MHEAP_OK);
}

static inline void golden_check_text(mh_space *space, uint64_t word, const char *expected) {
  mh_text text;
  CHECK_EQ(mh_text_read(space, word, &text), MHEAP_OK);
  CHECK_EQ(text.length, strlen(expected));
  CHECK(memcmp(text.data, expected, text.length) == 0);
}

static inline void golden_check_names_in_order(mh_space *space, uint64_t word) {
  static const int order[] = {3, 1, 2, 0};
  mh_sorted sorted;
  mh_spot spot;
  mh_entry entry;
  CHECK_EQ(mh_sorted_at(space, mh_word_offset(word), &sorted), MHEAP_OK);
  CHECK_EQ(mh_sorted_seek_index(&sorted, 0, &spot), MHEAP_OK);
  for (int i = 0; i < GOLDEN_NAMES; i++) {
    CHECK_EQ(mh_sorted_next(&sorted, &spot, &entry), MHEAP_OK);
    golden_check_text(space, entry.key, golden_identifiers[order[i]]);
    CHECK_EQ(entry.value, mh_word_int(order[i]));
  }
}

static inline void golden_check_names(mheap *heap) {
  mh_space space = {0};
  mh_dict root, set;
  uint64_t word;
  mh_space_init(&space, heap);
  CHECK_EQ(mh_root(&space, false, &root), MHEAP_OK);
  mh_key key = golden_key_named(&space, "set");
  CHECK_EQ(mh_dict_get(&root, &key, &word), MHEAP_OK);
  CHECK_EQ(mh_table_owner_at(&space, MH_TYPE_SET, mh_word_offset(word), &set), MHEAP_OK);
  for (int i = 0; i < GOLDEN_NAMES; i++) {
    key = golden_key_named(&space, golden_identifiers[i]);
    CHECK_EQ(mh_dict_get(&set, &key, &word), MHEAP_OK);
    CHECK_EQ(mh_dict_get(&root, &key, &word), MHEAP_OK);
    golden_check_text(&space, word, golden_identifiers[GOLDEN_NAMES - 1 - i]);
  }
  key = golden_key_named(&space, "sorted");
  CHECK_EQ(mh_dict_get(&root, &key, &word), MHEAP_OK);
  golden_check_names_in_order(&space, word);
}

#endif
