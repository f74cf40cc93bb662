/* golden_values.h: the golden file of compounds, complex and bytearray: each as a value, and as a
   key where it can be one. See golden.h. */
#ifndef MHEAP_GOLDEN_VALUES_H
#define MHEAP_GOLDEN_VALUES_H

#include "objects/code.h"
#include "objects/compound.h"
#include "objects/objects.h"
#include "test.h"

enum {
  GOLDEN_COMPLEX = MH_KIND_PICKLED + 1,
  GOLDEN_BYTEARRAY,
  GOLDEN_TUPLE,
  GOLDEN_FROZENSET,
  GOLDEN_VALUES
};

static inline uint64_t golden_int(int64_t value) { return mh_word_int(value); }
static inline uint64_t golden_str(const char *text) { return mh_word_text(MH_TAG_STR, text, strlen(text)); }
static inline uint64_t golden_long(mh_space *space, const char *text) {
  uint64_t word = 0;
  CHECK_EQ(mh_str_new(space, 1, text, strlen(text), &word), MHEAP_OK);
  return word;
}

static inline uint64_t golden_compound(mh_space *space, mh_type type, int kind, uint64_t count,
                                       const uint64_t *words) {
  uint64_t word = 0;
  CHECK_EQ(mh_compound_new(space, type, (mh_kind_code)kind, count, &word), MHEAP_OK);
  for (uint64_t i = 0; i < count; i++) mh_compound_set(space, word, i, words[i]);
  return word;
}
#define GOLDEN_EXTENDED(...)                                                                     \
  golden_compound(space, MH_TYPE_EXTENDED, kind, sizeof((uint64_t[]){__VA_ARGS__}) / 8, \
                  (uint64_t[]){__VA_ARGS__})

static inline uint64_t golden_extended(mh_space *space, int kind) {
  uint64_t word = 0;
  switch (kind) {
    case MH_KIND_RANGE:
      return GOLDEN_EXTENDED(golden_int(0), golden_int(10), golden_int(3), golden_int(4));
    case MH_KIND_DATE: return GOLDEN_EXTENDED(golden_int(738886));
    case MH_KIND_TIME:
      return GOLDEN_EXTENDED(golden_int(3600000000), golden_int(1), MH_CONST_NONE, MH_CONST_NONE);
    case MH_KIND_DATETIME:
      word = golden_long(space, "Europe/Berlin");
      return GOLDEN_EXTENDED(golden_int(63839664000000000), golden_int(0), word,
                             golden_int(63839660400000000));
    case MH_KIND_TIMEDELTA:
      return GOLDEN_EXTENDED(golden_int(-1), golden_int(86399), golden_int(999999));
    case MH_KIND_DECIMAL:
      word = golden_compound(space, MH_TYPE_EXTENDED, MH_KIND_FRACTION, 2,
                             (uint64_t[]){golden_int(1), golden_int(10)});
      return GOLDEN_EXTENDED(golden_str("0.10"), word);
    case MH_KIND_FRACTION: return GOLDEN_EXTENDED(golden_int(-1), golden_int(3));
    case MH_KIND_UUID:
      CHECK_EQ(mh_bytes_new(space, "0123456789abcdef", 16, &word), MHEAP_OK);
      return GOLDEN_EXTENDED(word);
    case MH_KIND_PATH:
      return GOLDEN_EXTENDED(golden_int(MH_PATH_POSIX), golden_long(space, "/usr/share"));
    case MH_KIND_ENUM: return GOLDEN_EXTENDED(golden_long(space, "module:Color"), golden_str("RED"));
    case MH_KIND_TIMEZONE: return GOLDEN_EXTENDED(golden_int(3600000000), golden_str("CET"));
    case MH_KIND_ZONEINFO: return GOLDEN_EXTENDED(golden_str("UTC"));
    case MH_KIND_REGISTERED: return GOLDEN_EXTENDED(golden_long(space, "module:Point"), golden_int(1));
    default: return GOLDEN_EXTENDED(mh_word_text(MH_TAG_BYTES, "\x80\x05N.", 4));
  }
}

static inline uint64_t golden_other(mh_space *space, int n) {
  uint64_t word = 0, inner, hashes[2];
  if (n < GOLDEN_COMPLEX) return golden_extended(space, n);
  if (n == GOLDEN_COMPLEX) mh_complex_new(space, mh_float_bits(0.1), mh_float_bits(-2), &word);
  if (n == GOLDEN_BYTEARRAY) mh_bytearray_new(space, "bytes", 5, &word);
  if (word != 0) return word;
  inner = golden_compound(space, MH_TYPE_TUPLE, 0, 2,
                          (uint64_t[]){golden_int(7), golden_long(space, "a long text")});
  uint64_t words[] = {inner, golden_str("x")};
  if (n == GOLDEN_TUPLE) return golden_compound(space, MH_TYPE_TUPLE, 0, 2, words);
  CHECK_EQ(mh_code_hash_stored(space, words[0], &hashes[0], &word), MHEAP_OK);
  hashes[1] = mh_code_hash(space, &words[1], 1);
  if (hashes[0] > hashes[1]) words[0] = words[1], words[1] = inner;
  return golden_compound(space, MH_TYPE_FROZENSET, 0, 2, words);
}

static inline bool golden_is_key(int n) {
  return n < MH_KIND_TIMEZONE || n == GOLDEN_COMPLEX || n == GOLDEN_TUPLE || n == GOLDEN_FROZENSET;
}

/* Value n stands behind int n; where it is a key, n stands behind it. */
static inline void golden_store_values(mheap *heap) {
  mh_space space = {0};
  mh_dict root = {0};
  mh_key key;
  mh_space_init(&space, heap);
  CHECK_EQ(mh_root(&space, true, &root), MHEAP_OK);
  for (int n = 1; n < GOLDEN_VALUES; n++) {
    uint64_t value = golden_other(&space, n);
    mh_key_int(&space, &key, n);
    CHECK_EQ(mh_dict_set(&root, &key, value), MHEAP_OK);
    if (!golden_is_key(n)) continue;
    CHECK_EQ(mh_key_of_word(&space, value, &key), MHEAP_OK);
    CHECK_EQ(mh_dict_set(&root, &key, mh_word_int(n)), MHEAP_OK);
  }
}

/* Are values of two heaps the same, word for word? */
static inline bool golden_is_same(mh_space *space, uint64_t left, mh_space *other, uint64_t right) {
  mh_compound a, b;
  mh_text s, t;
  uint64_t p[2], q[2];
  if (!mh_word_is_ref(left) || mh_word_tag(left) != mh_word_tag(right)) return left == right;
  if (mh_word_is_compound(space, left)) {
    bool same = mh_word_is_compound(other, right) && mh_compound_read(space, left, &a) == MHEAP_OK &&
                mh_compound_read(other, right, &b) == MHEAP_OK && a.type == b.type && a.kind == b.kind &&
                a.count == b.count;
    for (uint64_t i = 0; same && i < a.count; i++)
      same = golden_is_same(space, a.words[i], other, b.words[i]);
    return same;
  }
  if (mh_head_type(*(const uint64_t *)mh_at(space->region, mh_word_offset(left))) == MH_TYPE_COMPLEX)
    return mh_complex_read(space, left, &p[0], &p[1]) == MHEAP_OK &&
           mh_complex_read(other, right, &q[0], &q[1]) == MHEAP_OK && p[0] == q[0] && p[1] == q[1];
  return mh_text_read(space, left, &s) == MHEAP_OK && mh_text_read(other, right, &t) == MHEAP_OK &&
         s.length == t.length && s.kind == t.kind && memcmp(s.data, t.data, s.length * s.kind) == 0;
}

/* Compared with what is stored the same way in memory, under the file's seed. */
static inline void golden_check_values(mheap *heap) {
  mheap *memory = mheap_attach(-1, NULL, NULL);
  mh_space space = {0}, own = {0};
  mh_dict root = {0};
  mh_key key;
  if (!CHECK(memory != NULL)) return;
  mh_space_init(&space, heap);
  mh_space_init(&own, memory);
  memcpy(own.seed, space.seed, sizeof own.seed);
  CHECK_EQ(mh_root(&space, false, &root), MHEAP_OK);
  for (int n = 1; n < GOLDEN_VALUES; n++) {
    uint64_t found = 0, number = 0;
    mh_key_int(&space, &key, n);
    CHECK_EQ(mh_dict_get(&root, &key, &found), MHEAP_OK);
    if (!CHECK(golden_is_same(&space, found, &own, golden_other(&own, n))))
      fprintf(stderr, "  value %d\n", n);
    if (!golden_is_key(n)) continue;
    CHECK_EQ(mh_key_of_word(&space, found, &key), MHEAP_OK);
    CHECK_EQ(mh_dict_get(&root, &key, &number), MHEAP_OK);
    CHECK_EQ(number, mh_word_int(n));
  }
  CHECK_EQ(mheap_detach(memory, NULL), MHEAP_OK);
}

#endif
