/* test_compounds.c: complex, bytearray, tuples, frozensets and extended values: stored, counted,
   freed, checked; as keys; and stored fields that say what an attacker wants. */
#include <math.h>

#include "objects/code.h"
#include "objects/compound.h"
#include "objects_kit.h"

static uint64_t dict_ref(const mh_dict *dict) { return mh_word_ref(MH_TAG_DICT_REF, dict->offset); }
static uint64_t list_ref(const mh_list *list) { return mh_word_ref(MH_TAG_LIST_REF, list->offset); }

static uint64_t compound(mh_space *space, mh_type type, mh_kind_code kind, uint64_t count,
                         const uint64_t *words) {
  uint64_t word = 0;
  CHECK_EQ(mh_compound_new(space, type, kind, count, &word), MHEAP_OK);
  for (uint64_t i = 0; i < count; i++) mh_compound_set(space, word, i, words[i]);
  return word;
}
#define TUPLE(space, ...) \
  compound(space, MH_TYPE_TUPLE, 0, sizeof((uint64_t[]){__VA_ARGS__}) / 8, (uint64_t[]){__VA_ARGS__})
#define EXTENDED(space, kind, ...) \
  compound(space, MH_TYPE_EXTENDED, kind, sizeof((uint64_t[]){__VA_ARGS__}) / 8, (uint64_t[]){__VA_ARGS__})
#define INT(value) mh_word_int(value)

static uint64_t str(const char *text) {
  return mh_word_text(MH_TAG_STR, text, strlen(text));
}
static uint64_t floating(mh_space *space, double value) {
  uint64_t word = 0;
  CHECK_EQ(mh_float_new(space, mh_float_bits(value), &word), MHEAP_OK);
  return word;
}
static uint64_t complex_of(mh_space *space, double real, double imag) {
  uint64_t word = 0;
  CHECK_EQ(mh_complex_new(space, mh_float_bits(real), mh_float_bits(imag), &word), MHEAP_OK);
  return word;
}

/* ---- values ---- */

static void a_complex_and_a_bytearray_are_read_back(void) {
  kit kit = kit_open();
  mh_dict root = kit_root(&kit);
  uint64_t word = complex_of(&kit.space, 1.5, -0.1), real, imag;
  mh_text text;
  CHECK_EQ(mh_complex_read(&kit.space, word, &real, &imag), MHEAP_OK);
  CHECK_EQ(real, mh_float_bits(1.5));
  CHECK_EQ(imag, mh_float_bits(-0.1));
  kit_set(&root, 0, word);
  for (uint64_t length = 0; length < 30; length += 7) {
    CHECK_EQ(mh_bytearray_new(&kit.space, "some bytes, and some more of them", length, &word), MHEAP_OK);
    CHECK_EQ(mh_text_read(&kit.space, word, &text), MHEAP_OK);
    CHECK_EQ(text.length, length);
    CHECK(memcmp(text.data, "some bytes, and some more of them", length) == 0);
    kit_set(&root, 1, word);
    kit_is_sound(&kit);
  }
  kit_drop_root(&kit);
  kit_close(&kit);
}

static void a_shared_tuple_goes_with_its_last_reference(void) {
  kit kit = kit_open();
  mh_dict root = kit_root(&kit);
  uint64_t inner = TUPLE(&kit.space, kit_value(&kit.space, 1), INT(1));
  CHECK_EQ(mh_retain(&kit.space, inner), MHEAP_OK);
  kit_set(&root, 0, TUPLE(&kit.space, inner, inner, MH_CONST_NONE));
  CHECK_EQ(kit_count(&kit.space, inner), 2);
  kit_is_sound(&kit);
  CHECK_EQ(mh_retain(&kit.space, inner), MHEAP_OK);
  kit_set(&root, 1, inner);
  CHECK_EQ(kit_delete(&root, 0), MHEAP_OK);
  CHECK_EQ(kit_count(&kit.space, inner), 1);
  kit_is_sound(&kit);
  CHECK_EQ(kit_delete(&root, 1), MHEAP_OK);
  kit_drop_root(&kit);
  kit_close(&kit);
}

#define DEPTH 200000

static void tuples_of_any_depth_are_checked_and_freed(void) {
  kit kit = kit_open();
  mh_dict root = kit_root(&kit);
  uint64_t word = kit_value(&kit.space, 0);
  for (int i = 0; i < DEPTH; i++) {
    mh_list list;
    word = i % 3 != 0 ? TUPLE(&kit.space, word)
                      : EXTENDED(&kit.space, MH_KIND_REGISTERED, str("name"), word);
    if (i % 1000 != 0) continue;
    REQUIRE_EQ(mh_list_new(&kit.space, 1, &list), MHEAP_OK);
    REQUIRE_EQ(mh_list_append(&list, word), MHEAP_OK);
    word = list_ref(&list);
  }
  kit_set(&root, 0, word);
  kit_is_sound(&kit);
  kit_drop_root(&kit);
  kit_close(&kit);
}

/* A list in a tuple in that list, and a dict with a tuple as a key, of which nothing was published. */
static void what_was_not_published_is_discarded(void) {
  kit kit = kit_open();
  mh_dict root = kit_root(&kit), dict;
  mh_list list, kept;
  mh_key key;
  CHECK_EQ(mh_list_new(&kit.space, 0, &kept), MHEAP_OK);
  kit_set(&root, 0, list_ref(&kept));
  uint64_t first_birth = mh_next_birth(&kit.space);
  CHECK_EQ(mh_list_new(&kit.space, 0, &list), MHEAP_OK);
  CHECK_EQ(mh_dict_new(&kit.space, 0, &dict), MHEAP_OK);
  CHECK_EQ(mh_retain(&kit.space, list_ref(&kept)), MHEAP_OK);
  uint64_t inner = TUPLE(&kit.space, kit_value(&kit.space, 1), list_ref(&kept));
  CHECK_EQ(mh_retain(&kit.space, inner), MHEAP_OK);
  uint64_t tuple = TUPLE(&kit.space, list_ref(&list), inner, inner, dict_ref(&dict));
  CHECK_EQ(mh_list_append(&list, tuple), MHEAP_OK);
  uint64_t half = TUPLE(&kit.space, kit_value(&kit.space, 2), MH_WORD_ABSENT);
  uint64_t as_key = TUPLE(&kit.space, TUPLE(&kit.space, kit_value(&kit.space, 3)), INT(2));
  CHECK_EQ(mh_key_of_word(&kit.space, as_key, &key), MHEAP_OK);
  CHECK_EQ(mh_dict_set(&dict, &key, half), MHEAP_OK);
  CHECK_EQ(kit_count(&kit.space, as_key), 2);
  mh_release(&kit.space, as_key);
  mh_discard(&kit.space, (uint64_t[]){list_ref(&list), dict_ref(&dict), tuple, inner, half}, 5, first_birth);
  CHECK_EQ(kit_count(&kit.space, list_ref(&kept)), 1);
  kit_is_sound(&kit);
  kit_drop_root(&kit);
  kit_close(&kit);
}

/* ---- keys ---- */

static uint64_t hash_of(mh_space *space, uint64_t word) {
  uint64_t hash = 0;
  CHECK_EQ(mh_key_hash(space, word, &hash), MHEAP_OK);
  return hash;
}

/* Under the seeds of test_values.c, computed from the text of layout.h by another program. */
static void the_hash_of_codes_is_frozen(void) {
  static const mh_space seeded = {.seed = {0x0123456789abcdef, 0xfedcba9876543210}};
  const uint64_t words[] = {mh_code_head(MH_CODE_TUPLE, 2), INT(1), str("a")};
  CHECK_EQ(words[0], 0x27f);
  CHECK_EQ(mh_code_hash(&seeded, words, 0), 0x4fdff363b5c78fed);
  CHECK_EQ(mh_code_hash(&seeded, words, 3), 0xa2564c7754198166);
}

static void numbers_of_every_type_are_equal(void) {
  kit kit = kit_open();
  mh_space *space = &kit.space;
  uint64_t limbs[] = {0, 1}, big = 0;
  CHECK_EQ(mh_limbs_new(space, limbs, 2, &big), MHEAP_OK);
  uint64_t groups[][5] = {
      {INT(1), MH_CONST_TRUE, complex_of(space, 1, 0), EXTENDED(space, MH_KIND_DECIMAL, str("1.0"), INT(1)),
       EXTENDED(space, MH_KIND_FRACTION, INT(1), INT(1))},
      {floating(space, 0.5), EXTENDED(space, MH_KIND_FRACTION, INT(1), INT(2)), complex_of(space, 0.5, -0.0),
       EXTENDED(space, MH_KIND_DECIMAL, str("0.5"), EXTENDED(space, MH_KIND_FRACTION, INT(1), INT(2))),
       EXTENDED(space, MH_KIND_DECIMAL, str("0.50"), floating(space, 0.5))},
      {floating(space, 18446744073709551616.0), big, complex_of(space, 18446744073709551616.0, 0),
       EXTENDED(space, MH_KIND_FRACTION, big, INT(1)), EXTENDED(space, MH_KIND_DECIMAL, str("2E64"), big)},
      {floating(space, -5e-324), complex_of(space, -5e-324, 0), 0, 0, 0},
      {EXTENDED(space, MH_KIND_FRACTION, INT(1), INT(3)),
       EXTENDED(space, MH_KIND_DECIMAL, str("1/3"), EXTENDED(space, MH_KIND_FRACTION, INT(1), INT(3))), 0, 0,
       0},
      {complex_of(space, 1, 1), 0, 0, 0, 0},
  };
  for (size_t g = 0; g < sizeof groups / sizeof *groups; g++)
    for (int i = 0; i < 5 && groups[g][i] != 0; i++) {
      mh_key key;
      CHECK_EQ(mh_key_of_word(space, groups[g][i], &key), MHEAP_OK);
      for (size_t h = 0; h < sizeof groups / sizeof *groups; h++)
        for (int j = 0; j < 5 && groups[h][j] != 0; j++) {
          bool equal = groups[h][j] == key.word || mh_key_equals(space, &key, groups[h][j]) == MHEAP_OK;
          CHECK_EQ(equal, g == h);
          CHECK_EQ(hash_of(space, groups[h][j]) == key.hash, g == h);
        }
    }
  mheap_abandon(kit.heap);
}

static uint64_t code[64];
static size_t coded;
static mheap_err keep(mh_coder *coder, uint64_t word) {
  (void)coder;
  code[coded++] = word;
  return MHEAP_OK;
}

/* The code as a process makes it finds what is stored. */
static void a_code_finds_what_is_stored(void) {
  kit kit = kit_open();
  mh_dict root = kit_root(&kit);
  mh_coder coder = {.put = keep};
  mh_number number;
  mh_key key;
  uint64_t value;
  uint64_t tuple = TUPLE(&kit.space, kit_value(&kit.space, 5), INT(7), TUPLE(&kit.space, MH_CONST_NONE));
  CHECK_EQ(mh_key_of_word(&kit.space, tuple, &key), MHEAP_OK);
  CHECK_EQ(mh_dict_set(&root, &key, INT(99)), MHEAP_OK);
  mh_release(&kit.space, tuple);
  coded = 0;
  keep(&coder, mh_code_head(MH_CODE_TUPLE, 3));
  CHECK_EQ(mh_code_text(&coder, MH_CODE_STR, 1, "the value 5", 11), MHEAP_OK);
  mh_number_of_float(&number, mh_float_bits(7));
  CHECK_EQ(mh_code_number(&coder, &number), MHEAP_OK);
  keep(&coder, mh_code_head(MH_CODE_TUPLE, 1));
  keep(&coder, MH_CONST_NONE);
  mh_key_code(&kit.space, &key, code, coded);
  CHECK_EQ(mh_dict_get(&root, &key, &value), MHEAP_OK);
  CHECK_EQ(value, INT(99));
  mh_key_code(&kit.space, &key, code, coded - 1);
  CHECK_EQ(mh_dict_get(&root, &key, &value), MHEAP_ERR_NOT_FOUND);
  code[coded - 1] = INT(0);
  mh_key_code(&kit.space, &key, code, coded);
  CHECK_EQ(mh_dict_get(&root, &key, &value), MHEAP_ERR_NOT_FOUND);
  kit_is_sound(&kit);
  kit_drop_root(&kit);
  kit_close(&kit);
}

static void what_is_no_key_is_said_to_be_none(void) {
  kit kit = kit_open();
  mh_space *space = &kit.space;
  mh_list list;
  mh_key key;
  uint64_t bytes = 0, bomb = TUPLE(space, INT(1)), deep = INT(0), ordered[2] = {INT(1), INT(2)};
  CHECK_EQ(mh_list_new(space, 0, &list), MHEAP_OK);
  CHECK_EQ(mh_bytearray_new(space, "", 0, &bytes), MHEAP_OK);
  for (int i = 0; i < 60; i++) bomb = TUPLE(space, bomb, bomb);
  for (int i = 0; i <= MH_CODE_DEPTH; i++) deep = TUPLE(space, deep);
  if (mh_code_hash(space, &ordered[0], 1) < mh_code_hash(space, &ordered[1], 1)) {
    ordered[0] = INT(2);
    ordered[1] = INT(1);
  }
  uint64_t words[] = {list_ref(&list), bytes, TUPLE(space, list_ref(&list)), TUPLE(space, bytes), bomb, deep,
                      compound(space, MH_TYPE_FROZENSET, 0, 2, ordered),
                      compound(space, MH_TYPE_FROZENSET, 0, 2, (uint64_t[]){INT(1), INT(1)}),
                      EXTENDED(space, MH_KIND_DECIMAL, str("1")),
                      EXTENDED(space, MH_KIND_RANGE, INT(1), INT(2), INT(1)),
                      EXTENDED(space, MH_KIND_PATH, INT(MH_PATH_WINDOWS), str("c:")),
                      EXTENDED(space, MH_KIND_REGISTERED, str("x"), INT(1)),
                      EXTENDED(space, MH_KIND_PICKLED, mh_word_text(MH_TAG_BYTES, "x", 1)),
                      EXTENDED(space, MH_KIND_DATE, INT(0)), MH_WORD_ABSENT};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    CHECK_EQ(mh_key_of_word(space, words[i], &key), MHEAP_ERR_CORRUPT);
    CHECK_EQ(mheap_last_error(kit.heap)->code, MHEAP_ERR_CORRUPT);
  }
  mheap_abandon(kit.heap);
}

/* ---- the check ---- */

/* One of each, as they are when all is well. */
static uint64_t well(mh_space *space, mh_kind_code kind) {
  uint64_t uuid = 0, zone;
  switch (kind) {
    case MH_KIND_RANGE: return EXTENDED(space, kind, INT(0), INT(10), INT(3), INT(4));
    case MH_KIND_DATE: return EXTENDED(space, kind, INT(737425));
    case MH_KIND_TIME: return EXTENDED(space, kind, INT(1), INT(0), str("UTC"), INT(1));
    case MH_KIND_DATETIME:
      zone = well(space, MH_KIND_TIMEZONE);
      return EXTENDED(space, kind, INT(63713000000000000), INT(1), zone, INT(63713000000000001));
    case MH_KIND_TIMEDELTA: return EXTENDED(space, kind, INT(-1), INT(5), INT(6));
    case MH_KIND_DECIMAL: return EXTENDED(space, kind, str("1.5"), floating(space, 1.5));
    case MH_KIND_FRACTION: return EXTENDED(space, kind, INT(-1), INT(3));
    case MH_KIND_UUID:
      CHECK_EQ(mh_bytes_new(space, "0123456789abcdef", 16, &uuid), MHEAP_OK);
      return EXTENDED(space, kind, uuid);
    case MH_KIND_PATH: return EXTENDED(space, kind, INT(MH_PATH_POSIX), str("/tmp"));
    case MH_KIND_ENUM: return EXTENDED(space, kind, str("m:Color"), str("RED"));
    case MH_KIND_TIMEZONE: return EXTENDED(space, kind, INT(-1), str("ZZ"));
    case MH_KIND_ZONEINFO: return EXTENDED(space, kind, str("UTC"));
    case MH_KIND_REGISTERED: return EXTENDED(space, kind, str("m:C"), TUPLE(space, INT(1)));
    default: return EXTENDED(space, kind, mh_word_text(MH_TAG_BYTES, "N.", 2));
  }
}

static uint64_t *field(mh_space *space, uint64_t word, unsigned n) {
  return (uint64_t *)mh_at(space->region, mh_word_offset(word)) + n;
}

static kit_findings while_it_is(kit *kit, uint64_t *word, uint64_t value) {
  uint64_t before = *word;
  *word = value;
  kit_findings findings = kit_check(kit);
  *word = before;
  return findings;
}

static void the_check_tells_extended_values_that_are_wrong(void) {
  for (int kind = MH_KIND_RANGE; kind <= MH_KIND_PICKLED; kind++) {
    kit kit = kit_open();
    mh_dict root = kit_root(&kit);
    uint64_t word = well(&kit.space, (mh_kind_code)kind);
    kit_set(&root, 0, word);
    kit_is_sound(&kit);
    uint64_t length = mh_head_length(*field(&kit.space, word, 0)), *head = field(&kit.space, word, 0);
    CHECK(while_it_is(&kit, field(&kit.space, word, 1), 0).broken > 0);
    CHECK(while_it_is(&kit, field(&kit.space, word, 1), MH_KIND_PICKLED + 1).broken > 0);
    CHECK(while_it_is(&kit, head, *head | (uint64_t)64 << MH_LENGTH_SHIFT).broken > 0);
    CHECK(while_it_is(&kit, head, *head & ~((uint64_t)UINT32_MAX << MH_LENGTH_SHIFT)).broken > 0);
    CHECK(while_it_is(&kit, head, *head + 1).notes == 1);
    for (unsigned i = 0; i < length; i++) {
      CHECK(while_it_is(&kit, field(&kit.space, word, 2 + i), MH_WORD_ABSENT).broken > 0);
      if (kind == MH_KIND_REGISTERED && i == 1) continue;
      CHECK(while_it_is(&kit, field(&kit.space, word, 2 + i), MH_CONST_TRUE).broken > 0);
    }
    kit_drop_root(&kit);
    kit_close(&kit);
  }
}

static uint64_t long_str(mh_space *space, const char *text) {
  uint64_t word = 0;
  CHECK_EQ(mh_str_new(space, 1, text, strlen(text), &word), MHEAP_OK);
  return word;
}

/* What str() of a Decimal writes, and the number beside it. */
static void the_check_compares_decimals_with_their_numbers(void) {
  kit kit = kit_open();
  mh_space *space = &kit.space;
  mh_dict root = kit_root(&kit);
  uint64_t ten_to_30[] = {UINT64_C(0x4674edea40000000), UINT64_C(0xc9f2c9cd0)}, big = 0;
  CHECK_EQ(mh_limbs_new(space, ten_to_30, 2, &big), MHEAP_OK);
  struct {
    const char *text;
    uint64_t number, wrong;
  } cases[] = {
      {"1.50", floating(space, 1.5), floating(space, 1.25)},
      {"-150E-2", floating(space, -1.5), floating(space, 1.5)},
      {"-7", INT(-7), INT(7)},
      {"0E+5", INT(0), INT(1)},
      {"1E+30", big, INT(1)},
      {"0.1", EXTENDED(space, MH_KIND_FRACTION, INT(1), INT(10)), INT(1)},
      {"-1.25E-7", EXTENDED(space, MH_KIND_FRACTION, INT(-1), INT(8000000)), INT(0)},
      {"-Infinity", floating(space, -(double)INFINITY), floating(space, (double)INFINITY)},
  };
  for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
    uint64_t word = EXTENDED(space, MH_KIND_DECIMAL, long_str(space, cases[i].text), cases[i].number);
    kit_set(&root, 0, word);
    CHECK_EQ(kit_check(&kit).broken, 0);
    CHECK(while_it_is(&kit, field(space, word, 3), cases[i].wrong).broken > 0);
  }
  const char *none[] = {"", "-", ".", "E5", "1E", "1.2.3", "1e5", "NaN", "1E+99999999999", " 1", "Infinit"};
  for (unsigned i = 0; i < sizeof none / sizeof *none; i++) {
    kit_set(&root, 0, EXTENDED(space, MH_KIND_DECIMAL, long_str(space, none[i]), INT(1)));
    CHECK_EQ(kit_check(&kit).broken, 1);
  }
  kit_drop_root(&kit);
  kit_close(&kit);
}

static void the_check_tells_tuples_that_are_wrong(void) {
  kit kit = kit_open();
  mh_dict root = kit_root(&kit);
  uint64_t word = TUPLE(&kit.space, kit_value(&kit.space, 1), INT(2)), other = 0;
  kit_set(&root, 0, word);
  CHECK_EQ(mh_bytearray_new(&kit.space, "bytes", 5, &other), MHEAP_OK);
  kit_set(&root, 1, other);
  kit_is_sound(&kit);
  CHECK(while_it_is(&kit, field(&kit.space, word, 1), 1).broken > 0);
  CHECK(while_it_is(&kit, field(&kit.space, word, 2), MH_WORD_ABSENT).broken > 0);
  CHECK(while_it_is(&kit, field(&kit.space, word, 3), word).broken == 1);
  CHECK(while_it_is(&kit, field(&kit.space, word, 3), mh_word_offset(word) | MH_TAG_OTHER_REF).broken > 0);
  uint64_t *head = field(&kit.space, other, 0);
  CHECK(while_it_is(&kit, head, *head + (UINT64_C(100) << MH_LENGTH_SHIFT)).broken > 0);
  kit_drop_root(&kit);
  kit_close(&kit);
}

/* Ten thousand keys with the same million words in each. */
static void keys_that_share_much_do_not_hold_up_the_check(void) {
  kit kit = kit_open();
  mh_dict root = kit_root(&kit);
  mh_key key;
  uint64_t bomb = TUPLE(&kit.space, INT(1));
  for (int i = 0; i < 18; i++) {
    CHECK_EQ(mh_retain(&kit.space, bomb), MHEAP_OK);
    bomb = TUPLE(&kit.space, bomb, bomb);
  }
  CHECK_EQ(mh_key_of_word(&kit.space, bomb, &key), MHEAP_OK);
  uint64_t hash = key.hash;
  for (int64_t i = 0; i < 100; i++) {
    uint64_t tuple = TUPLE(&kit.space, bomb, INT(i));
    CHECK_EQ(mh_retain(&kit.space, bomb), MHEAP_OK);
    key = (mh_key){.form = MH_KEY_STORED, .hash = hash + (uint64_t)i * 0x9e3779b97f4a7c15u, .word = tuple,
                   .stored = tuple};
    REQUIRE_EQ(mh_dict_set(&root, &key, INT(i)), MHEAP_OK);
  }
  mh_release(&kit.space, bomb);
  CHECK(kit_check(&kit).broken > 0);
  kit_drop_root(&kit);
  kit_close(&kit);
}

/* ---- hostile files ---- */

typedef struct zoo {
  kit kit;
  mh_dict root;
  mh_list list;
  uint64_t tuple, set, complex, bytes, kinds[MH_KIND_PICKLED + 1];
} zoo;

/* Each is a value, and, if it can, a key. */
static void zoo_open(zoo *zoo) {
  *zoo = (struct zoo){.kit = kit_open()};
  mh_space *space = &zoo->kit.space;
  mh_key key;
  zoo->root = kit_root(&zoo->kit);
  CHECK_EQ(mh_list_new(space, 0, &zoo->list), MHEAP_OK);
  zoo->tuple = TUPLE(space, kit_value(space, 1), TUPLE(space, INT(1), MH_CONST_NONE), INT(3));
  zoo->set = compound(space, MH_TYPE_FROZENSET, 0, 1, (uint64_t[]){TUPLE(space, INT(5))});
  zoo->complex = complex_of(space, 1, 2);
  CHECK_EQ(mh_bytearray_new(space, "some bytes", 10, &zoo->bytes), MHEAP_OK);
  for (int kind = MH_KIND_RANGE; kind <= MH_KIND_PICKLED; kind++)
    zoo->kinds[kind] = well(space, (mh_kind_code)kind);
  zoo->kinds[0] = zoo->tuple;
  uint64_t keys[] = {zoo->tuple, zoo->set, zoo->complex};
  for (int i = 0; i < 3; i++) {
    CHECK_EQ(mh_key_of_word(space, keys[i], &key), MHEAP_OK);
    CHECK_EQ(mh_dict_set(&zoo->root, &key, INT(i)), MHEAP_OK);
    CHECK_EQ(mh_list_append(&zoo->list, keys[i]), MHEAP_OK);
  }
  for (int kind = MH_KIND_RANGE; kind <= MH_KIND_PICKLED; kind++) {
    if (mh_key_of_word(space, zoo->kinds[kind], &key) == MHEAP_OK)
      CHECK_EQ(mh_dict_set(&zoo->root, &key, INT(kind)), MHEAP_OK);
    CHECK_EQ(mh_list_append(&zoo->list, zoo->kinds[kind]), MHEAP_OK);
  }
  CHECK_EQ(mh_list_append(&zoo->list, zoo->bytes), MHEAP_OK);
  kit_set(&zoo->root, 0, list_ref(&zoo->list));
}

static void read_everything(zoo *zoo) {
  mh_space *space = &zoo->kit.space;
  uint64_t words[5 + MH_KIND_PICKLED] = {zoo->tuple, zoo->set, zoo->complex, zoo->bytes};
  uint64_t real, imag, size, value;
  mh_text text;
  mh_key key;
  memcpy(words + 4, zoo->kinds, sizeof zoo->kinds);
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    mh_compound of;
    if (mh_compound_read(space, words[i], &of) == MHEAP_OK && mh_compound_check(space, &of) == MHEAP_OK)
      for (uint64_t n = 0; n < of.count; n++) (void)mh_word_check(space, of.words[n]);
    if (mh_key_of_word(space, words[i], &key) == MHEAP_OK) (void)mh_dict_get(&zoo->root, &key, &value);
    (void)mh_object_size(space, words[i], &size);
  }
  (void)mh_complex_read(space, zoo->complex, &real, &imag);
  if (mh_text_read(space, zoo->bytes, &text) == MHEAP_OK && text.length > 0) {
    volatile char last = ((const char *)text.data)[text.length - 1];
    (void)last;
  }
  (void)mh_objects_check(zoo->kit.heap, NULL, NULL);
}

/* The n-th word of an object is each boundary value, is read, and then all is freed. */
static void with_every_value(uint64_t (*object)(zoo *, unsigned), unsigned which, unsigned n) {
  zoo zoo;
  zoo_open(&zoo);
  uint64_t size = mh_region_size(zoo.kit.space.region), word = object(&zoo, which);
  uint64_t before = *field(&zoo.kit.space, word, n);
  uint64_t offset = mh_word_offset(word);
  const uint64_t values[] = {
      0, 1, 2, 15, 16, before - 16, before + 16, before + 1, before ^ 1, before << 1, word,
      offset | MH_TAG_OTHER_REF, offset | MH_TAG_DICT_REF, zoo.root.offset | MH_TAG_DICT_REF, zoo.complex,
      zoo.bytes, zoo.set, zoo.tuple, zoo.kinds[MH_KIND_FRACTION], zoo.kinds[MH_KIND_DATETIME], size - 16,
      size + 16, 0x7fffffff, 0xffffffff, 0xffffffff00000000, 0x7fffffffffffffff, 0x8000000000000000,
      UINT64_MAX, UINT64_MAX - 15, MH_OFFSET_MAX, before ^ 0xff, before ^ 0xff00, before ^ 0xff000000,
      before ^ (uint64_t)0xff << 32, before ^ (uint64_t)0xff << 56, INT(MH_INT_MAX), INT(MH_INT_MIN),
      INT(-1), INT(0), MH_CONST_NONE, str(""), mh_word_text(MH_TAG_BYTES, "", 0)};
  mheap_abandon(zoo.kit.heap);
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
    zoo_open(&zoo);
    *field(&zoo.kit.space, object(&zoo, which), n) = values[i];
    read_everything(&zoo);
    for (int j = 0; j < 40; j++) {
      mh_key key;
      mh_key_int(&zoo.kit.space, &key, 1000 + j);
      (void)mh_dict_set(&zoo.root, &key, MH_CONST_NONE); /* the table grows: all keys are hashed */
    }
    kit_drop_root(&zoo.kit);
    read_everything(&zoo);
    mheap_abandon(zoo.kit.heap);
  }
}

static uint64_t simple(zoo *zoo, unsigned which) {
  uint64_t words[] = {zoo->tuple, zoo->set, zoo->complex, zoo->bytes};
  return words[which];
}
static uint64_t extended(zoo *zoo, unsigned which) { return zoo->kinds[which]; }

static void hostile_compounds_are_harmless(void) {
  for (unsigned which = 0; which < 4; which++)
    for (unsigned n = 0; n < 3; n++) with_every_value(simple, which, n);
}

static void hostile_extended_values_are_harmless(void) {
  for (unsigned kind = MH_KIND_RANGE; kind <= MH_KIND_PICKLED; kind++) {
    zoo zoo;
    zoo_open(&zoo);
    unsigned length = (unsigned)mh_head_length(*field(&zoo.kit.space, zoo.kinds[kind], 0));
    mheap_abandon(zoo.kit.heap);
    for (unsigned n = 0; n < 2 + length; n++) with_every_value(extended, kind, n);
  }
}

TEST_MAIN(TEST(a_complex_and_a_bytearray_are_read_back),
          TEST(a_shared_tuple_goes_with_its_last_reference),
          TEST(tuples_of_any_depth_are_checked_and_freed),
          TEST(what_was_not_published_is_discarded),
          TEST(the_hash_of_codes_is_frozen),
          TEST(numbers_of_every_type_are_equal),
          TEST(a_code_finds_what_is_stored),
          TEST(what_is_no_key_is_said_to_be_none),
          TEST(the_check_tells_extended_values_that_are_wrong),
          TEST(the_check_compares_decimals_with_their_numbers),
          TEST(the_check_tells_tuples_that_are_wrong),
          TEST(keys_that_share_much_do_not_hold_up_the_check),
          TEST(hostile_compounds_are_harmless),
          TEST(hostile_extended_values_are_harmless))
