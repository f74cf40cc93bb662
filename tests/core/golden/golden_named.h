/* golden_named.h: the golden file of named heaps: one whose name is inline, one whose name has a block. See
   golden.h. */
#ifndef MHEAP_GOLDEN_NAMED_H
#define MHEAP_GOLDEN_NAMED_H

#include "objects/objects.h"
#include "test.h"

static const char *const golden_names[] = {"short", "a name that has a block"};
enum { GOLDEN_NAMED_TEXTS = 40 };

static inline void golden_named_text(char text[48], int of, int i) {
  snprintf(text, 48, "text %d of heap %d", i, of);
}

static inline void golden_store_named(mheap *heap) {
  char text[48];
  for (int of = 0; of < 2; of++) {
    mh_space space = {0};
    mh_dict root = {0};
    mh_key key;
    uint64_t word = 0;
    mheap *named = mheap_new_named(heap, golden_names[of], strlen(golden_names[of]), of, 0);
    if (!CHECK(named != NULL)) exit(2);
    mh_space_init(&space, named);
    CHECK_EQ(mh_root(&space, true, &root), MHEAP_OK);
    for (int i = 0; i < GOLDEN_NAMED_TEXTS; i++) {
      golden_named_text(text, of, i);
      mh_key_int(&space, &key, i);
      CHECK_EQ(mh_str_new(&space, 1, text, strlen(text), &word), MHEAP_OK);
      CHECK_EQ(mh_dict_set(&root, &key, word), MHEAP_OK);
    }
  }
}

static inline void golden_check_named(mheap *heap) {
  char text[48];
  for (int of = 0; of < 2; of++) {
    mh_space space = {0};
    mh_dict root = {0};
    mh_key key;
    mh_text found;
    uint64_t word, length;
    mheap *named = mheap_find_named(heap, golden_names[of], strlen(golden_names[of]));
    if (!CHECK(named != NULL)) return;
    mh_space_init(&space, named);
    CHECK_EQ(mh_root(&space, false, &root), MHEAP_OK);
    CHECK(mh_dict_length(&root, &length) == MHEAP_OK && length == GOLDEN_NAMED_TEXTS);
    for (int i = 0; i < GOLDEN_NAMED_TEXTS; i++) {
      golden_named_text(text, of, i);
      mh_key_int(&space, &key, i);
      CHECK(mh_dict_get(&root, &key, &word) == MHEAP_OK && mh_text_read(&space, word, &found) == MHEAP_OK);
      CHECK(found.length == strlen(text) && memcmp(found.data, text, found.length) == 0);
    }
  }
}

#endif
