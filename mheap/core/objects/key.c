/* key.c: see key.h. */
#include "key.h"

#include "code.h"

static void set_number(const mh_space *space, mh_key *key, mh_tag tag) {
  key->form = MH_KEY_NUMBER;
  key->tag = tag;
  key->word = key->number.form == MH_NUMBER_SMALL ? mh_word_int(key->number.small) : MH_WORD_ABSENT;
  key->hash = mh_hash_number(space, mh_number_residue(&key->number));
}

void mh_key_bool(const mh_space *space, mh_key *key, bool value) {
  mh_key_int(space, key, value);
  key->stored = value ? MH_CONST_TRUE : MH_CONST_FALSE;
}

void mh_key_int(const mh_space *space, mh_key *key, int64_t value) {
  uint64_t limb = (uint64_t)value;
  if (!mh_int_fits(value)) {
    key->number.own[0] = limb;
    mh_key_limbs(space, key, key->number.own, 1);
    return;
  }
  key->form = MH_KEY_NUMBER;
  key->tag = MH_TAG_INT_REF;
  key->number.form = MH_NUMBER_SMALL;
  key->number.small = value;
  key->word = key->stored = mh_word_int(value);
  key->hash = mh_hash_number(space, value);
}

void mh_key_limbs(const mh_space *space, mh_key *key, const uint64_t *limbs, uint64_t count) {
  mh_number_of_limbs(&key->number, limbs, count);
  key->data = limbs;
  key->length = key->number.count;
  set_number(space, key, MH_TAG_INT_REF);
  key->stored = key->word;
}

void mh_key_float(const mh_space *space, mh_key *key, uint64_t bits) {
  mh_number_of_float(&key->number, bits);
  key->bits = bits;
  key->stored = mh_float_fits(bits) ? bits | MH_TAG_FLOAT : MH_WORD_ABSENT;
  set_number(space, key, MH_TAG_FLOAT_REF);
}

void mh_key_code(const mh_space *space, mh_key *key, const uint64_t *code, uint64_t count) {
  key->form = MH_KEY_CODE;
  key->tag = MH_TAG_OTHER_REF;
  key->word = key->stored = MH_WORD_ABSENT;
  key->data = code;
  key->length = count;
  key->hash = mh_code_hash(space, code, count);
}

/* Its `number` is set. */
void mh_key_equal_to_number(const mh_space *space, mh_key *key) {
  set_number(space, key, MH_TAG_OTHER_REF);
  key->stored = MH_WORD_ABSENT;
}

/* ---- keys that are stored ---- */

static mheap_err code_equals(mh_space *space, const mh_key *key, uint64_t stored) {
  uint64_t hash, count;
  if (!mh_word_may_have_code(stored)) return MHEAP_ERR_NOT_FOUND;
  if (key->form == MH_KEY_CODE) return mh_code_equals(space, stored, key->data, key->length);
  mheap_err failed = mh_code_hash_stored(space, stored, &hash, &count);
  if (failed) return failed;
  return hash == key->hash ? MHEAP_OK : MHEAP_ERR_NOT_FOUND;
}

static mheap_err text_equals(mh_space *space, const mh_key *key, uint64_t stored) {
  if (mh_word_tag(stored) != key->tag) return MHEAP_ERR_NOT_FOUND;
  mh_text text;
  mheap_err failed = mh_text_read(space, stored, &text);
  if (failed) return failed;
  bool equal = text.length == key->length && text.kind == key->kind &&
               memcmp(text.data, key->data, key->length * key->kind) == 0;
  return equal ? MHEAP_OK : MHEAP_ERR_NOT_FOUND;
}

mheap_err mh_key_equals(mh_space *space, const mh_key *key, uint64_t stored) {
  mh_number number;
  if (key->form == MH_KEY_WORD) return MHEAP_ERR_NOT_FOUND;
  if (key->form == MH_KEY_TEXT) return text_equals(space, key, stored);
  if (key->form != MH_KEY_NUMBER) return code_equals(space, key, stored);
  mheap_err failed = mh_number_of_word(space, stored, &number);
  if (failed) return failed;
  return mh_number_equal(&key->number, &number) ? MHEAP_OK : MHEAP_ERR_NOT_FOUND;
}

static mheap_err not_a_key(mh_space *space, uint64_t stored) {
  return mh_corrupt(space, mh_word_is_ref(stored) ? mh_word_offset(stored) : 0,
                    "a mapping's key, which no key can be", MH_TAG_STR, stored);
}

/* As a new key: the same object once more. */
static mheap_err share(mh_space *space, const mh_key *key, uint64_t *word) {
  *word = key->bits;
  return mh_retain(space, key->bits);
}

static mheap_err key_of_code(mh_space *space, uint64_t stored, mh_key *key) {
  uint64_t count;
  key->form = MH_KEY_STORED;
  key->tag = MH_TAG_OTHER_REF;
  key->word = key->bits = stored;
  key->stored = MH_WORD_ABSENT;
  key->make = share;
  return mh_code_hash_stored(space, stored, &key->hash, &count);
}

static mheap_err key_of_name(mh_space *space, uint64_t stored, mh_key *key) {
  mh_text text;
  unsigned length = mh_name_read(stored, (uint8_t *)key->number.own);
  if (length == 0) return mh_text_read(space, stored, &text); /* which says what is wrong */
  mh_key_set_text(key, MH_TAG_STR_REF, 1, key->number.own, length, stored);
  key->hash = mh_hash_name(space, stored);
  return MHEAP_OK;
}

mheap_err mh_key_of_word(mh_space *space, uint64_t stored, mh_key *key) {
  mh_text text;
  mheap_err failed;
  switch (mh_word_tag(stored)) {
    case MH_TAG_STR:
    case MH_TAG_BYTES:
      mh_key_word(space, key, stored);
      return MHEAP_OK;
    case MH_TAG_NAME: return key_of_name(space, stored, key);
    case MH_TAG_STR_REF:
    case MH_TAG_BYTES_REF:
      failed = mh_text_read(space, stored, &text);
      if (failed) return failed;
      if (text.length == 0) return not_a_key(space, stored);
      mh_key_text(space, key, mh_word_tag(stored), text.kind, text.data, text.length);
      return MHEAP_OK;
    default: break;
  }
  if (stored == MH_CONST_NONE) {
    mh_key_word(space, key, stored);
    return MHEAP_OK;
  }
  failed = mh_number_of_word(space, stored, &key->number);
  if (failed == MHEAP_ERR_NOT_FOUND)
    return mh_word_may_have_code(stored) ? key_of_code(space, stored, key) : not_a_key(space, stored);
  if (failed) return failed;
  set_number(space, key, mh_word_tag(stored));
  if (key->tag != MH_TAG_OTHER_REF) return MHEAP_OK;
  key->stored = MH_WORD_ABSENT;
  key->bits = stored;
  key->make = share;
  return MHEAP_OK;
}

mheap_err mh_key_hash(mh_space *space, uint64_t stored, uint64_t *hash) {
  mh_key key;
  mheap_err failed = mh_key_of_word(space, stored, &key);
  if (!failed) *hash = key.hash;
  return failed;
}

mheap_err mh_key_store(mh_space *space, const mh_key *key, uint64_t *word) {
  *word = key->stored;
  if (key->stored != MH_WORD_ABSENT) return MHEAP_OK;
  switch (key->tag) {
    case MH_TAG_STR_REF: return mh_str_new(space, key->kind, key->data, key->length, word);
    case MH_TAG_BYTES_REF: return mh_bytes_new(space, key->data, key->length, word);
    case MH_TAG_INT_REF: return mh_limbs_new(space, key->data, key->length, word);
    case MH_TAG_OTHER_REF: return key->make(space, key, word);
    default: return mh_float_new(space, key->bits, word);
  }
}
