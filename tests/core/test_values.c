/* test_values.c: scalars, numbers and keys; the hash function is frozen. */
#include "objects_kit.h"

/* Hashes under the seeds below, computed from the text of layout.h by another program. */
static const mh_space seeded = {.seed = {0x0123456789abcdef, 0xfedcba9876543210}};

static void the_hash_of_words_is_frozen(void) {
  CHECK_EQ(mh_hash_word(&seeded, MH_CONST_NONE), 0xe09c9872a91f49ec);
  CHECK_EQ(mh_hash_word(&seeded, mh_word_text(MH_TAG_STR, "", 0)), 0x103163a1f2c0c5b0);
  CHECK_EQ(mh_hash_word(&seeded, mh_word_text(MH_TAG_STR, "a", 1)), 0xba9a538da4aa8769);
  CHECK_EQ(mh_hash_word(&seeded, mh_word_text(MH_TAG_STR, "abcdefg", 7)), 0xfd358e4727af88b);
  CHECK_EQ(mh_hash_word(&seeded, mh_word_text(MH_TAG_BYTES, "", 0)), 0xaf1d2486fbdf138c);
  CHECK_EQ(mh_hash_word(&seeded, mh_word_text(MH_TAG_BYTES, "ab", 2)), 0xbdc88470255cadb);
}

static uint64_t hash_of_text(const char *text, size_t length) { return mh_hash_text(&seeded, text, length); }

static void the_hash_of_text_is_frozen(void) {
  char bytes[33];
  for (int i = 0; i < 33; i++) bytes[i] = (char)i;
  CHECK_EQ(hash_of_text("abcdefgh", 8), 0x97bf1d25322973d3);
  CHECK_EQ(hash_of_text("0123456789abcde", 15), 0x3626c9337ee299e1);
  CHECK_EQ(hash_of_text("0123456789abcdef", 16), 0x1459096766d0ea1);
  CHECK_EQ(hash_of_text("0123456789abcdefg", 17), 0x5862a760d861fc09);
  CHECK_EQ(hash_of_text(bytes, 33), 0x5918494852a3365d);
  CHECK_EQ(hash_of_text("\x41\x01", 2), 0x9416ab09227bfac1);
  CHECK_EQ(hash_of_text("\x00\xf6\x01\x00", 4), 0x2b6cfab2d2045908);
  CHECK_EQ(hash_of_text("\x41\x01\x62\x00", 4), 0xe5f955879878a088);
}

static uint64_t hash_of_int(int64_t value) {
  mh_key key;
  mh_key_int(&seeded, &key, value);
  return key.hash;
}

static uint64_t hash_of_float(double value) {
  mh_key key;
  mh_key_float(&seeded, &key, mh_float_bits(value));
  return key.hash;
}

static void the_hash_of_numbers_is_frozen(void) {
  mh_key key;
  uint64_t ten_to_40[3];
  unsigned __int128 big = 1;
  for (int i = 0; i < 38; i++) big *= 10; /* 10^38 fits 127 bits; the last two tens by hand */
  uint64_t low = (uint64_t)big, high = (uint64_t)(big >> 64);
  unsigned __int128 product = (unsigned __int128)low * 100;
  ten_to_40[0] = (uint64_t)product;
  product = (unsigned __int128)high * 100 + (uint64_t)(product >> 64);
  ten_to_40[1] = (uint64_t)product;
  ten_to_40[2] = (uint64_t)(product >> 64);
  mh_key_limbs(&seeded, &key, ten_to_40, 3);
  CHECK_EQ(key.hash, 0xceeb0101dd78102b);
  for (int i = 0, carry = 1; i < 3; i++) {
    ten_to_40[i] = ~ten_to_40[i] + (uint64_t)carry;
    carry = carry && ten_to_40[i] == 0;
  }
  mh_key_limbs(&seeded, &key, ten_to_40, 3);
  CHECK_EQ(key.hash, 0x8e5838e2b4afb950);
  CHECK_EQ(hash_of_int(0), 0x5fa553e6b0871530);
  CHECK_EQ(hash_of_int(1), 0x1e2051d14dd46ae9);
  CHECK_EQ(hash_of_int(-1), 0x1fb15bf6ba276421);
  CHECK_EQ(hash_of_int(MH_INT_MAX), 0xa74ab20c7b8bbb55);
  CHECK_EQ(hash_of_int(MH_INT_MIN), 0x282cb9e3732ba424);
  CHECK_EQ(hash_of_int(MH_INT_MAX + 1), 0xa5b96bc907d1ee73);
  CHECK_EQ(hash_of_int((int64_t)1 << 61), 0x1e2051d14dd46ae9);
  CHECK_EQ(hash_of_int(INT64_MIN), 0x622051d17a341b39);
  CHECK_EQ(hash_of_float(0.5), 0xeb8d03d9ea7a67b6);
  CHECK_EQ(hash_of_float(-0.1), 0x63c516c33d5ecf82);
  CHECK_EQ(hash_of_float(1e300), 0xa02113b2d9587f39);
  CHECK_EQ(hash_of_float(5e-324), 0x6acfaccf0846923e);
  CHECK_EQ(hash_of_float(1.7976931348623157e308), 0xa2dc9340fe723ea1);
  CHECK_EQ(hash_of_float(__builtin_inf()), 0xeebb972c011c26d0);
  CHECK_EQ(hash_of_float(-__builtin_inf()), 0xcf3e953c47e1de79);
  CHECK_EQ(hash_of_float(__builtin_nan("")), 0x5fa553e6b0871530);
  CHECK_EQ(hash_of_float(4503599627370497.0), 0x98b47e1eae7dbe1a);
}

static void integers_are_inline_up_to_sixty_bits(void) {
  kit kit = kit_open();
  static const int64_t values[] = {0, 1, -1, MH_INT_MAX, MH_INT_MIN, MH_INT_MAX + 1, MH_INT_MIN - 1,
                                   INT64_MAX, INT64_MIN};
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
    uint64_t word, count;
    const uint64_t *limbs;
    CHECK_EQ(mh_int_new(&kit.space, values[i], &word), MHEAP_OK);
    CHECK_EQ(mh_word_is_ref(word), !mh_int_fits(values[i]));
    if (!mh_word_is_ref(word)) {
      CHECK_EQ(mh_word_to_int(word), values[i]);
      continue;
    }
    CHECK_EQ(mh_limbs_read(&kit.space, word, &limbs, &count), MHEAP_OK);
    CHECK_EQ(count, 1);
    CHECK_EQ(limbs[0], values[i]);
    mh_release(&kit.space, word);
  }
  kit_close(&kit);
}

static void limbs_are_stored_without_redundant_ones(void) {
  kit kit = kit_open();
  uint64_t word, count;
  const uint64_t *limbs;
  CHECK_EQ(mh_limbs_new(&kit.space, (uint64_t[]){5, 0, 0}, 3, &word), MHEAP_OK);
  CHECK_EQ(word, mh_word_int(5));
  CHECK_EQ(mh_limbs_new(&kit.space, (uint64_t[]){(uint64_t)-7, UINT64_MAX}, 2, &word), MHEAP_OK);
  CHECK_EQ(word, mh_word_int(-7));
  CHECK_EQ(mh_limbs_new(&kit.space, (uint64_t[]){UINT64_MAX, 0, 0}, 3, &word), MHEAP_OK);
  CHECK_EQ(mh_limbs_read(&kit.space, word, &limbs, &count), MHEAP_OK);
  CHECK_EQ(count, 2);
  mh_release(&kit.space, word);
  kit_close(&kit);
}

static void floats_keep_their_bits(void) {
  kit kit = kit_open();
  static const double values[] = {0.0, -0.0, 1.0, 0.1, -1e300, 5e-324, 1.7976931348623157e308};
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
    uint64_t word, bits;
    CHECK_EQ(mh_float_new(&kit.space, mh_float_bits(values[i]), &word), MHEAP_OK);
    CHECK_EQ(mh_float_read(&kit.space, word, &bits), MHEAP_OK);
    CHECK_EQ(bits, mh_float_bits(values[i]));
    mh_release(&kit.space, word);
  }
  kit_close(&kit);
}

static void text_of_every_length_and_kind_is_read_back(void) {
  kit kit = kit_open();
  uint32_t data[100];
  for (unsigned i = 0; i < 100; i++) data[i] = 0x10ff00 + i;
  for (unsigned kind = 1; kind <= 4; kind *= 2)
    for (uint64_t length = kind == 1 ? 0 : 1; length <= 100; length++) {
      uint64_t word;
      mh_text text;
      CHECK_EQ(mh_str_new(&kit.space, kind, data, length, &word), MHEAP_OK);
      CHECK_EQ(mh_word_is_ref(word), kind > 1 || length > MH_INLINE_MAX);
      CHECK_EQ(mh_text_read(&kit.space, word, &text), MHEAP_OK);
      CHECK_EQ(text.length, length);
      CHECK_EQ(text.kind, kind);
      CHECK(memcmp(text.data, data, length * kind) == 0);
      CHECK(mh_text_is_unicode(&text));
      mh_release(&kit.space, word);
    }
  kit_close(&kit);
}

#define ALPHABET "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"

static uint64_t str_of(mh_space *space, const char *data, uint64_t length) {
  uint64_t word;
  CHECK_EQ(mh_str_new(space, 1, data, length, &word), MHEAP_OK);
  return word;
}

static void names_are_in_their_words(void) {
  kit kit = kit_open();
  for (uint64_t length = 0; length <= 12; length++)
    for (unsigned at = 0; at < length; at++)
      for (unsigned c = 0; c < 256; c++) {
        char name[] = "a_Name0x_z12", back[16];
        mh_text text;
        name[at] = (char)c;
        uint64_t word = str_of(&kit.space, name, length);
        bool is_name = length >= MH_NAME_MIN && length <= MH_NAME_MAX && c != 0 && strchr(ALPHABET, (int)c);
        CHECK_EQ(mh_word_tag(word), is_name                  ? MH_TAG_NAME
                                    : length > MH_INLINE_MAX ? MH_TAG_STR_REF
                                                             : MH_TAG_STR);
        CHECK_EQ(mh_text_read(&kit.space, word, &text), MHEAP_OK);
        CHECK_EQ(text.length, length);
        memcpy(back, text.data, length);
        CHECK(memcmp(back, name, length) == 0);
        if (is_name) CHECK_EQ(mh_hash_name(&kit.space, word), mh_hash_text(&kit.space, name, length));
        mh_release(&kit.space, word);
      }
  kit_close(&kit);
}

static void names_are_in_the_order_of_their_words(void) {
  static const char names[][11] = {"00000000",   "000000000", "0000000000", "0000000001", "Zzzzzzzzzz",
                                   "_aaaaaaaa",  "aaaaaaaa",  "aaaaaaaa0",  "aaaaaaaaZ",  "aaaaaaaa_",
                                   "aaaaaaaaa",  "aaaaaaab",  "zzzzzzzz",   "zzzzzzzzz",  "zzzzzzzzzz"};
  uint64_t before = 0;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    uint64_t word = mh_name_of(names[i], strlen(names[i]));
    CHECK(word > before);
    before = word;
  }
}

/* A code is missing, or something stands behind the end. */
static void broken_names_are_none(void) {
  kit kit = kit_open();
  uint64_t name = mh_name_of("identifier", 10);
  CHECK_EQ(mh_word_check(&kit.space, name), MHEAP_OK);
  for (unsigned at = 0; at < MH_NAME_MAX; at++) {
    mh_text text;
    uint64_t broken = name & ~((uint64_t)63 << (58 - MH_NAME_BITS * at));
    bool is_name = at == MH_NAME_MAX - 1;
    CHECK_EQ(mh_text_read(&kit.space, broken, &text), is_name ? MHEAP_OK : MHEAP_ERR_CORRUPT);
    CHECK_EQ(mh_word_check(&kit.space, broken), is_name ? MHEAP_OK : MHEAP_ERR_CORRUPT);
  }
  kit_close(&kit);
}

/* As older versions stored it. */
static uint64_t name_in_a_block(mh_space *space, const char *name) {
  uint64_t offset, length = strlen(name);
  CHECK_EQ(mh_block_new(space, 8 + length, &offset), MHEAP_OK);
  mh_text_block *block = mh_at(space->region, offset);
  block->head = mh_head(1, MH_TYPE_STR1, length);
  memcpy(&block->text, name, length);
  return mh_word_ref(MH_TAG_STR_REF, offset);
}

static void names_in_blocks_are_the_same_keys(void) {
  kit kit = kit_open();
  mh_dict dict;
  mh_key key, stored;
  uint64_t word, block = name_in_a_block(&kit.space, "identifier");
  int order;
  CHECK_EQ(mh_dict_new(&kit.space, 0, &dict), MHEAP_OK);
  mh_key_text(&kit.space, &key, MH_TAG_STR_REF, 1, "identifier", 10);
  key.stored = block;
  CHECK_EQ(mh_dict_insert(&dict, &key, mh_word_int(1)), MHEAP_OK);
  mh_key_text(&kit.space, &key, MH_TAG_STR_REF, 1, "identifier", 10);
  CHECK_EQ(mh_dict_get(&dict, &key, &word), MHEAP_OK);
  CHECK_EQ(word, mh_word_int(1));
  CHECK_EQ(mh_key_of_word(&kit.space, block, &stored), MHEAP_OK);
  CHECK_EQ(stored.hash, key.hash);
  CHECK_EQ(mh_key_equals(&kit.space, &stored, block), MHEAP_OK);
  CHECK_EQ(mh_key_of_word(&kit.space, key.word, &stored), MHEAP_OK);
  CHECK_EQ(stored.hash, key.hash);
  CHECK_EQ(mh_key_equals(&kit.space, &stored, block), MHEAP_OK);
  CHECK_EQ(mh_order(&kit.space, &stored, block, &order), MHEAP_OK);
  CHECK_EQ(order, 0);
  CHECK_EQ(mh_order_stored(&kit.space, block, mh_name_of("identifies", 10), &order), MHEAP_OK);
  CHECK(order < 0);
  CHECK_EQ(mh_dict_delete(&dict, &key), MHEAP_OK);
  mh_release(&kit.space, mh_word_ref(MH_TAG_DICT_REF, dict.offset));
  kit_close(&kit);
}

/* The same number in another type is the same key. */
static void keys_are_equal_as_in_python(void) {
  kit kit = kit_open();
  mh_dict dict;
  mh_key key;
  uint64_t word, limbs[18] = {0};
  CHECK_EQ(mh_dict_new(&kit.space, 0, &dict), MHEAP_OK);
  mh_key_bool(&kit.space, &key, true);
  CHECK_EQ(mh_dict_set(&dict, &key, mh_word_int(10)), MHEAP_OK);
  mh_key_float(&kit.space, &key, mh_float_bits(1.0));
  CHECK_EQ(mh_dict_get(&dict, &key, &word), MHEAP_OK);
  mh_key_int(&kit.space, &key, 1);
  CHECK_EQ(mh_dict_get(&dict, &key, &word), MHEAP_OK);
  CHECK_EQ(word, mh_word_int(10));
  mh_key_float(&kit.space, &key, mh_float_bits(-0.0));
  CHECK_EQ(mh_dict_set(&dict, &key, mh_word_int(20)), MHEAP_OK);
  mh_key_bool(&kit.space, &key, false);
  CHECK_EQ(mh_dict_get(&dict, &key, &word), MHEAP_OK);
  mh_key_float(&kit.space, &key, mh_float_bits(1.7976931348623157e308)); /* (2^53 - 1) * 2^971 */
  CHECK_EQ(mh_dict_set(&dict, &key, mh_word_int(30)), MHEAP_OK);
  limbs[15] = 0xfffffffffffff800;
  mh_key_limbs(&kit.space, &key, limbs, 17);
  CHECK_EQ(mh_dict_get(&dict, &key, &word), MHEAP_OK);
  CHECK_EQ(word, mh_word_int(30));
  mh_key_float(&kit.space, &key, mh_float_bits(4503599627370497.0));
  CHECK_EQ(mh_dict_set(&dict, &key, mh_word_int(40)), MHEAP_OK);
  mh_key_int(&kit.space, &key, 4503599627370497);
  CHECK_EQ(mh_dict_get(&dict, &key, &word), MHEAP_OK);
  mh_key_float(&kit.space, &key, mh_float_bits(1.5));
  CHECK_EQ(mh_dict_get(&dict, &key, &word), MHEAP_ERR_NOT_FOUND);
  uint64_t length;
  CHECK_EQ(mh_dict_length(&dict, &length), MHEAP_OK);
  CHECK_EQ(length, 4);
  mh_release(&kit.space, mh_word_ref(MH_TAG_DICT_REF, dict.offset));
  kit_close(&kit);
}

static void a_str_is_not_the_bytes_of_the_same_text(void) {
  kit kit = kit_open();
  mh_dict dict;
  mh_key key;
  uint64_t word;
  CHECK_EQ(mh_dict_new(&kit.space, 0, &dict), MHEAP_OK);
  mh_key_text(&kit.space, &key, MH_TAG_STR_REF, 1, "a text", 6);
  CHECK_EQ(mh_dict_set(&dict, &key, MH_CONST_TRUE), MHEAP_OK);
  mh_key_text(&kit.space, &key, MH_TAG_STR_REF, 1, "a longer text", 13);
  CHECK_EQ(mh_dict_set(&dict, &key, MH_CONST_TRUE), MHEAP_OK);
  mh_key_text(&kit.space, &key, MH_TAG_BYTES_REF, 1, "a text", 6);
  CHECK_EQ(mh_dict_get(&dict, &key, &word), MHEAP_ERR_NOT_FOUND);
  mh_key_text(&kit.space, &key, MH_TAG_BYTES_REF, 1, "a longer text", 13);
  CHECK_EQ(mh_dict_get(&dict, &key, &word), MHEAP_ERR_NOT_FOUND);
  mh_release(&kit.space, mh_word_ref(MH_TAG_DICT_REF, dict.offset));
  kit_close(&kit);
}

TEST_MAIN(TEST(the_hash_of_words_is_frozen),
          TEST(the_hash_of_text_is_frozen),
          TEST(the_hash_of_numbers_is_frozen),
          TEST(integers_are_inline_up_to_sixty_bits),
          TEST(limbs_are_stored_without_redundant_ones),
          TEST(floats_keep_their_bits),
          TEST(text_of_every_length_and_kind_is_read_back),
          TEST(names_are_in_their_words),
          TEST(names_are_in_the_order_of_their_words),
          TEST(broken_names_are_none),
          TEST(names_in_blocks_are_the_same_keys),
          TEST(keys_are_equal_as_in_python),
          TEST(a_str_is_not_the_bytes_of_the_same_text))
