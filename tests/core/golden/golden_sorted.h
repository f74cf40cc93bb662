/* golden_sorted.h: the golden file of a sorted dict of several levels, and of a counter. See golden.h. */
#ifndef MHEAP_GOLDEN_SORTED_H
#define MHEAP_GOLDEN_SORTED_H

#include "objects/objects.h"
#include "test.h"

#define GOLDEN_ENTRIES 300

/* Key n, in the order of n: ints, and floats that are in their words, or in blocks. */
static inline void golden_sorted_key(const mh_space *space, int n, mh_key *key) {
  if (n % 3 == 0) mh_key_int(space, key, n);
  else mh_key_float(space, key, mh_float_bits(n + (n % 3 == 1 ? 0.5 : 0.1)));
}

static inline mh_key golden_key_named(const mh_space *space, const char *name) {
  mh_key key;
  mh_key_text(space, &key, MH_TAG_STR_REF, 1, name, strlen(name));
  return key;
}

static inline void golden_store_sorted(mheap *heap) {
  mh_space space = {0};
  mh_dict root, counter;
  mh_sorted sorted;
  mh_key key;
  bool counted;
  mh_space_init(&space, heap);
  CHECK_EQ(mh_root(&space, true, &root), MHEAP_OK);
  CHECK_EQ(mh_sorted_new(&space, &sorted), MHEAP_OK);
  CHECK_EQ(mh_table_owner_new(&space, MH_TYPE_COUNTER, 0, &counter), MHEAP_OK);
  for (int i = 0; i < GOLDEN_ENTRIES; i++) {
    int n = i * 7 % GOLDEN_ENTRIES;
    uint64_t value;
    golden_sorted_key(&space, n, &key);
    CHECK_EQ(mh_str_new(&space, 1, "the value of an entry", 21, &value), MHEAP_OK);
    CHECK_EQ(mh_sorted_set(&sorted, &key, n % 2 == 0 ? mh_word_int(n) : value), MHEAP_OK);
    if (n % 2 == 0) mh_release(&space, value);
    golden_sorted_key(&space, n % 20, &key);
    CHECK_EQ(mh_dict_count(&counter, &key, &counted), MHEAP_OK);
  }
  for (int n = 100; n < 200; n += 3) {
    golden_sorted_key(&space, n, &key);
    CHECK_EQ(mh_sorted_delete(&sorted, &key), MHEAP_OK);
  }
  key = golden_key_named(&space, "sorted");
  CHECK_EQ(mh_dict_set(&root, &key, mh_container_ref(MH_TYPE_SORTED, sorted.offset)), MHEAP_OK);
  key = golden_key_named(&space, "counter");
  CHECK_EQ(mh_dict_set(&root, &key, mh_container_ref(MH_TYPE_COUNTER, counter.offset)), MHEAP_OK);
}

static inline void golden_check_tree(mh_space *space, uint64_t word) {
  mh_sorted sorted;
  mh_spot spot;
  mh_entry entry;
  CHECK_EQ(mh_sorted_at(space, mh_word_offset(word), &sorted), MHEAP_OK);
  CHECK_EQ(mh_sorted_seek_index(&sorted, 0, &spot), MHEAP_OK);
  CHECK_EQ(spot.levels, 3);
  for (int n = 0; n < GOLDEN_ENTRIES; n++) {
    mh_key key;
    uint64_t value = 0;
    bool is_there = n < 100 || n >= 200 || n % 3 != 1;
    golden_sorted_key(space, n, &key);
    CHECK_EQ(mh_sorted_get(&sorted, &key, &value), is_there ? MHEAP_OK : MHEAP_ERR_NOT_FOUND);
    if (!is_there) continue;
    CHECK(n % 2 == 0 ? value == mh_word_int(n) : mh_word_tag(value) == MH_TAG_STR_REF);
    CHECK_EQ(mh_sorted_next(&sorted, &spot, &entry), MHEAP_OK);
    CHECK_EQ(entry.value, value);
  }
  CHECK_EQ(mh_sorted_next(&sorted, &spot, &entry), MHEAP_ERR_NOT_FOUND);
}

static inline void golden_check_sorted(mheap *heap) {
  mh_space space = {0};
  mh_dict root, counter;
  uint64_t word = 0;
  mh_space_init(&space, heap);
  CHECK_EQ(mh_root(&space, false, &root), MHEAP_OK);
  mh_key key = golden_key_named(&space, "sorted");
  CHECK_EQ(mh_dict_get(&root, &key, &word), MHEAP_OK);
  golden_check_tree(&space, word);
  key = golden_key_named(&space, "counter");
  CHECK_EQ(mh_dict_get(&root, &key, &word), MHEAP_OK);
  CHECK_EQ(mh_table_owner_at(&space, MH_TYPE_COUNTER, mh_word_offset(word), &counter), MHEAP_OK);
  for (int n = 0; n < 20; n++) {
    golden_sorted_key(&space, n, &key);
    CHECK_EQ(mh_dict_get(&counter, &key, &word), MHEAP_OK);
    CHECK_EQ(word, mh_word_int(GOLDEN_ENTRIES / 20));
  }
}

#endif
