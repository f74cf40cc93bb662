/* code.c: see code.h. */
#include "code.h"

#include "key.h"

/* ---- single parts ---- */

static mheap_err put_all(mh_coder *coder, uint64_t head, const uint64_t *words, uint64_t count) {
  mheap_err failed = coder->put(coder, head);
  for (uint64_t i = 0; !failed && i < count; i++) failed = coder->put(coder, words[i]);
  return failed;
}

mheap_err mh_code_number(mh_coder *coder, const mh_number *number) {
  if (number->form == MH_NUMBER_SMALL) return coder->put(coder, mh_word_int(number->small));
  if (number->form == MH_NUMBER_OTHER)
    return put_all(coder, mh_code_head(MH_CODE_FLOAT, 0), &number->bits, 1);
  return put_all(coder, mh_code_head(MH_CODE_INT, number->count), number->limbs, number->count);
}

mheap_err mh_code_text(mh_coder *coder, unsigned code, unsigned kind, const void *data, uint64_t length) {
  if (kind == 1 && length <= MH_INLINE_MAX)
    return coder->put(coder, mh_word_text(code == MH_CODE_STR ? MH_TAG_STR : MH_TAG_BYTES, data, length));
  mheap_err failed = put_all(coder, mh_code_head(code, kind), &length, 1);
  for (uint64_t i = 0, bytes = length * kind; !failed && i < bytes; i += 8) {
    uint64_t word = 0;
    memcpy(&word, (const char *)data + i, bytes - i < 8 ? bytes - i : 8);
    failed = coder->put(coder, word);
  }
  return failed;
}

/* ---- hashing ---- */

static uint64_t begin_hash(const mh_space *space) { return space->seed[0] ^ MH_HASH_CODE; }
static uint64_t hash_on(const mh_space *space, uint64_t hash, uint64_t word) {
  return mh_fold(hash ^ word, (space->seed[1] ^ MH_HASH_CODE) | 1);
}
static uint64_t end_hash(const mh_space *space, uint64_t hash, uint64_t count) {
  return mh_fold(hash ^ count, space->seed[0] | 1);
}

uint64_t mh_code_hash(const mh_space *space, const uint64_t *words, uint64_t count) {
  uint64_t hash = begin_hash(space);
  for (uint64_t i = 0; i < count; i++) hash = hash_on(space, hash, words[i]);
  return end_hash(space, hash, count);
}

/* ---- what is stored ----
   An element of a frozenset is hashed by itself as well, to see that they are in order: each such
   has a reader, to whose `outer` its words go too. */

typedef struct reader {
  mh_coder coder;
  mh_space *space;
  struct reader *outer;
  uint64_t hash, count;
  const uint64_t *expected; /* NULL: there is nothing to compare with */
  uint64_t expected_count;
  unsigned depth;
} reader;

static mheap_err take(mh_coder *coder, uint64_t word) {
  for (reader *r = (reader *)coder; r != NULL; r = r->outer) {
    if (r->count == MH_CODE_MAX)
      return mh_corrupt(r->space, 0, "the words of a key's code", MH_CODE_MAX, r->count + 1);
    if (r->expected != NULL && (r->count >= r->expected_count || r->expected[r->count] != word))
      return MHEAP_ERR_NOT_FOUND;
    r->hash = hash_on(r->space, r->hash, word);
    r->count++;
  }
  return MHEAP_OK;
}

static mheap_err put(reader *r, uint64_t word) { return take(&r->coder, word); }

static mheap_err not_a_key(reader *r, uint64_t word) {
  return mh_corrupt(r->space, mh_word_is_ref(word) ? mh_word_offset(word) : 0,
                    "a part of a mapping's key, which no key has", MH_TAG_STR, word);
}

static mheap_err read_value(reader *r, uint64_t word);

static mheap_err read_values(reader *r, const uint64_t *words, uint64_t count) {
  mheap_err failed = MHEAP_OK;
  for (uint64_t i = 0; !failed && i < count; i++) failed = read_value(r, mh_read(&words[i]));
  return failed;
}

static mheap_err read_elements(reader *r, const mh_compound *set) {
  uint64_t before = 0;
  for (uint64_t i = 0; i < set->count; i++) {
    reader element = {.coder = r->coder, .space = r->space, .outer = r, .hash = begin_hash(r->space),
                      .depth = r->depth};
    mheap_err failed = read_value(&element, mh_read(&set->words[i]));
    if (failed) return failed;
    uint64_t hash = end_hash(r->space, element.hash, element.count);
    if (i > 0 && hash <= before)
      return mh_corrupt(r->space, set->offset, "the order of a frozenset in a key", before, hash);
    before = hash;
  }
  return MHEAP_OK;
}

static mheap_err read_complex(reader *r, uint64_t word) {
  uint64_t part[2];
  mh_number number;
  mheap_err failed = mh_complex_read(r->space, word, &part[0], &part[1]);
  if (!failed) failed = put(r, mh_code_head(MH_CODE_COMPLEX, 0));
  for (int i = 0; !failed && i < 2; i++) {
    mh_number_of_float(&number, part[i]);
    failed = mh_code_number(&r->coder, &number);
  }
  return failed;
}

static mheap_err read_range(reader *r, const uint64_t *w) {
  bool is_empty = w[3] == mh_word_int(0), is_one = w[3] == mh_word_int(1);
  mheap_err failed = read_value(r, w[3]);
  if (!failed && !is_empty) failed = read_value(r, w[0]);
  return failed || is_empty || is_one ? failed : read_value(r, w[2]);
}

static mheap_err read_kind(reader *r, const mh_compound *of, uint64_t word) {
  const uint64_t *w = of->words;
  bool is_key = of->kind != MH_KIND_RANGE && of->kind != MH_KIND_TIME && of->kind != MH_KIND_DATETIME;
  if (!is_key && of->count != 4) return not_a_key(r, word);
  mheap_err failed = put(r, mh_code_head(MH_CODE_EXTENDED, of->kind));
  if (failed) return failed;
  switch ((mh_kind_code)of->kind) {
    case MH_KIND_RANGE: return read_range(r, w);
    case MH_KIND_TIME:
    case MH_KIND_DATETIME:
      failed = read_value(r, w[3]);
      return failed || w[3] != MH_CONST_NONE ? failed : read_value(r, w[0]);
    case MH_KIND_PATH:
      return mh_word_to_int(w[0]) <= MH_PATH_POSIX ? read_value(r, w[1]) : not_a_key(r, word);
    case MH_KIND_DATE:
    case MH_KIND_TIMEDELTA:
    case MH_KIND_UUID:
    case MH_KIND_ENUM: return read_values(r, w, of->count);
    default: return not_a_key(r, word);
  }
}

static mheap_err read_extended(reader *r, const mh_compound *of, uint64_t word) {
  mheap_err failed = mh_compound_check(r->space, of);
  if (failed) return failed;
  if (of->kind == MH_KIND_DECIMAL) return of->count == 2 ? read_value(r, of->words[1]) : not_a_key(r, word);
  if (of->kind != MH_KIND_FRACTION) return read_kind(r, of, word);
  failed = put(r, mh_code_head(MH_CODE_RATIONAL, 0));
  return failed ? failed : read_values(r, of->words, of->count);
}

static mheap_err read_compound(reader *r, uint64_t word) {
  mh_compound of;
  if (!mh_word_is_compound(r->space, word)) {
    const uint64_t *head = mh_object_at(r->space, word);
    if (head == NULL) return MHEAP_ERR_CORRUPT;
    return mh_head_type(*head) == MH_TYPE_COMPLEX ? read_complex(r, word) : not_a_key(r, word);
  }
  mheap_err failed = mh_compound_read(r->space, word, &of);
  if (failed) return failed;
  if (of.type == MH_TYPE_EXTENDED) return read_extended(r, &of, word);
  bool is_tuple = of.type == MH_TYPE_TUPLE;
  failed = put(r, mh_code_head(is_tuple ? MH_CODE_TUPLE : MH_CODE_FROZENSET, of.count));
  if (failed) return failed;
  return is_tuple ? read_values(r, of.words, of.count) : read_elements(r, &of);
}

static mheap_err read_text(reader *r, uint64_t word) {
  mh_text text;
  mheap_err failed = mh_text_read(r->space, word, &text);
  if (failed) return failed;
  unsigned code = mh_word_is_str(word) ? MH_CODE_STR : MH_CODE_BYTES;
  return mh_code_text(&r->coder, code, text.kind, text.data, text.length);
}

static mheap_err read_value(reader *r, uint64_t word) {
  mh_number number;
  if (word == MH_CONST_NONE) return put(r, word);
  mh_tag tag = mh_word_tag(word);
  if (mh_word_is_str(word) || tag == MH_TAG_BYTES || tag == MH_TAG_BYTES_REF) return read_text(r, word);
  mheap_err failed = mh_number_of_word(r->space, word, &number);
  if (failed == MHEAP_OK) return mh_code_number(&r->coder, &number);
  if (failed != MHEAP_ERR_NOT_FOUND) return failed;
  if (!mh_word_may_have_code(word)) return not_a_key(r, word);
  if (r->depth == MH_CODE_DEPTH)
    return mh_corrupt(r->space, 0, "the levels of a key", MH_CODE_DEPTH, r->depth + 1);
  r->depth++;
  failed = read_compound(r, word);
  r->depth--;
  return failed;
}

mheap_err mh_code_hash_stored(mh_space *space, uint64_t word, uint64_t *hash, uint64_t *count) {
  reader r = {.coder.put = take, .space = space, .hash = begin_hash(space)};
  mheap_err failed = read_value(&r, word);
  *hash = end_hash(space, r.hash, r.count);
  *count = r.count;
  return failed;
}

mheap_err mh_code_equals(mh_space *space, uint64_t word, const uint64_t *code, uint64_t count) {
  reader r = {.coder.put = take, .space = space, .expected = code, .expected_count = count};
  mheap_err failed = read_value(&r, word);
  if (!failed && r.count != count) return MHEAP_ERR_NOT_FOUND;
  return failed;
}
