/* test_pool.c: equal values are stored once while a space has a pool. */
#include "objects/compound.h"
#include "objects/pool.h"
#include "objects_kit.h"

static uint64_t text(kit *kit, const char *characters) {
  uint64_t word = 0;
  CHECK_EQ(mh_str_new(&kit->space, 1, characters, strlen(characters), &word), MHEAP_OK);
  return word;
}

static uint32_t count_of(kit *kit, uint64_t word) {
  return mh_head_count(*(uint64_t *)mh_at(kit->heap->region, mh_word_offset(word)));
}

static void equal_scalars_are_one_and_counted(void) {
  kit kit = kit_open();
  mh_pool pool;
  uint64_t number[2], of[2], parts[2], before = text(&kit, "a text of many characters");
  mh_pool_begin(&kit.space, &pool);
  uint64_t one = text(&kit, "a text of many characters"), other = text(&kit, "another text");
  CHECK(one != before && one != other);
  CHECK_EQ(text(&kit, "a text of many characters"), one);
  CHECK_EQ(count_of(&kit, one), 2);
  CHECK_EQ(count_of(&kit, other), 1);
  for (int i = 0; i < 2; i++) {
    CHECK_EQ(mh_int_new(&kit.space, INT64_MAX, &number[i]), MHEAP_OK);
    CHECK_EQ(mh_float_new(&kit.space, 0x3ff0000000000001, &of[i]), MHEAP_OK);
    CHECK_EQ(mh_complex_new(&kit.space, 1, 2, &parts[i]), MHEAP_OK);
  }
  CHECK(number[0] == number[1] && of[0] == of[1] && parts[0] == parts[1]);
  CHECK_EQ(mh_complex_new(&kit.space, 1, 3, &parts[1]), MHEAP_OK);
  CHECK(parts[0] != parts[1]);
  mh_pool_end(&kit.space);
  CHECK(text(&kit, "a text of many characters") != one);
  mheap_abandon(kit.heap);
}

/* Bytes that are the same mean something else where the type is another. */
static void types_are_kept_apart(void) {
  kit kit = kit_open();
  mh_pool pool;
  uint64_t str, bytes, array, empty[2];
  mh_pool_begin(&kit.space, &pool);
  str = text(&kit, "sixteen letters.");
  CHECK_EQ(mh_bytes_new(&kit.space, "sixteen letters.", 16, &bytes), MHEAP_OK);
  CHECK_EQ(mh_bytearray_new(&kit.space, "sixteen letters.", 16, &array), MHEAP_OK);
  CHECK(mh_word_offset(str) != mh_word_offset(bytes) && mh_word_offset(bytes) != mh_word_offset(array));
  for (int i = 0; i < 2; i++) CHECK_EQ(mh_bytearray_new(&kit.space, "", 0, &empty[i]), MHEAP_OK);
  CHECK(empty[0] != empty[1]);
  mh_pool_end(&kit.space);
  mheap_abandon(kit.heap);
}

static void compounds_take_the_references_of_their_words(void) {
  kit kit = kit_open();
  mh_pool pool;
  uint64_t made[4];
  mh_pool_begin(&kit.space, &pool);
  uint64_t item = text(&kit, "an item of a tuple");
  for (int i = 0; i < 3; i++) {
    uint64_t words[] = {0, text(&kit, "an item of a tuple"), mh_word_int(i / 2)};
    CHECK_EQ(mh_compound_once(&kit.space, MH_TYPE_TUPLE, words, 2, &made[i]), MHEAP_OK);
  }
  CHECK(made[0] == made[1] && made[0] != made[2]);
  CHECK_EQ(count_of(&kit, made[0]), 2);
  CHECK_EQ(count_of(&kit, item), 3);
  uint64_t words[] = {0, mh_word_int(0), mh_word_int(0)};
  CHECK_EQ(mh_compound_once(&kit.space, MH_TYPE_TUPLE, words, 2, &made[0]), MHEAP_OK);
  CHECK_EQ(mh_compound_once(&kit.space, MH_TYPE_FROZENSET, words, 2, &made[1]), MHEAP_OK);
  words[0] = MH_KIND_ENUM;
  CHECK_EQ(mh_compound_once(&kit.space, MH_TYPE_EXTENDED, words, 2, &made[2]), MHEAP_OK);
  words[0] = MH_KIND_PATH;
  CHECK_EQ(mh_compound_once(&kit.space, MH_TYPE_EXTENDED, words, 2, &made[3]), MHEAP_OK);
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < i; j++) CHECK(mh_word_offset(made[i]) != mh_word_offset(made[j]));
  mh_pool_end(&kit.space);
  mheap_abandon(kit.heap);
}

static void many_are_all_found_again(void) {
  kit kit = kit_open();
  mh_pool pool;
  char characters[32];
  static uint64_t words[20000];
  mh_pool_begin(&kit.space, &pool);
  for (int round = 0; round < 2; round++)
    for (int i = 0; i < 20000; i++) {
      snprintf(characters, sizeof characters, "text number %d", i);
      uint64_t word = text(&kit, characters);
      if (round == 0) words[i] = word;
      else if (word != words[i]) CHECK_EQ(i, -1);
    }
  CHECK_EQ(pool.used, 20000);
  mh_pool_end(&kit.space);
  mheap_abandon(kit.heap);
}

TEST_MAIN(TEST(equal_scalars_are_one_and_counted), TEST(types_are_kept_apart),
          TEST(compounds_take_the_references_of_their_words), TEST(many_are_all_found_again))
