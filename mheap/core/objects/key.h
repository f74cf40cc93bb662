/* key.h: keys of mappings: hashing, comparing with what is stored, storing. Calls code.h, number.h and
   value.h. Takes no lock.

   A key is made by one of the mh_key_* functions and borrows the caller's data. */
#ifndef MHEAP_OBJECTS_KEY_H
#define MHEAP_OBJECTS_KEY_H

#include "number.h"

typedef struct mh_key mh_key;
struct mh_key {
  uint64_t hash;
  uint64_t word;   /* the one word that is equal to this key, where there is only one but for references to
                      text; else ABSENT */
  uint64_t stored; /* the word to store for a new entry; ABSENT: an object must be made */
  enum { MH_KEY_WORD, MH_KEY_TEXT, MH_KEY_NUMBER, MH_KEY_CODE, MH_KEY_STORED } form;
  mh_tag tag;      /* TEXT: STR_REF or BYTES_REF; NUMBER: INT_REF or FLOAT_REF, of the object to make, or
                      OTHER_REF, which is all the others': `make` makes it */
  unsigned kind;   /* TEXT: bytes a character */
  uint64_t length; /* TEXT: characters; an INT_REF, CODE: words */
  uint64_t head;   /* TEXT: type and length of an equal object's head; 0: its length is escaped */
  const void *data; /* TEXT, INT_REF; CODE: the code */
  uint64_t bits;   /* FLOAT_REF; of a stored key in OTHER_REF: its word */
  mheap_err (*make)(mh_space *space, const mh_key *key, uint64_t *word); /* OTHER_REF: with one reference */
  void *made_from; /* the same: the caller's */
  mh_number number; /* NUMBER */
};

/* ---- the hash function of layout.h ---- */

static inline uint64_t mh_fold(uint64_t a, uint64_t b) {
  unsigned __int128 product = (unsigned __int128)a * b;
  return (uint64_t)product ^ (uint64_t)(product >> 64);
}
static inline uint64_t mh_hash_word(const mh_space *space, uint64_t word) {
  return mh_fold(word ^ space->seed[0], (space->seed[1] ^ MH_HASH_WORD) | 1);
}
static inline uint64_t mh_hash_number(const mh_space *space, int64_t residue) {
  return mh_fold((uint64_t)residue ^ space->seed[0], (space->seed[1] ^ MH_HASH_NUMBER) | 1);
}

static inline uint64_t mh_read_8(const void *at) {
  uint64_t value;
  memcpy(&value, at, 8);
  return value;
}
static inline uint64_t mh_read_4(const void *at) {
  uint32_t value;
  memcpy(&value, at, 4);
  return value;
}

/* Of n > 0 bytes. */
static inline uint64_t mh_hash_text(const mh_space *space, const void *data, uint64_t n) {
  const uint8_t *at = data;
  uint64_t s1 = space->seed[1], h = space->seed[0] ^ MH_HASH_TEXT, x, y = 0;
  if (n >= 16) {
    for (uint64_t i = 0; i + 16 < n; i += 16) h = mh_fold(mh_read_8(at + i) ^ s1, mh_read_8(at + i + 8) ^ h);
    x = mh_read_8(at + n - 16);
    y = mh_read_8(at + n - 8);
  } else if (n >= 8) {
    x = mh_read_8(at);
    y = mh_read_8(at + n - 8);
  } else if (n >= 4) {
    x = mh_read_4(at);
    y = mh_read_4(at + n - 4);
  } else {
    x = at[0] | (uint64_t)at[n / 2] << 8 | (uint64_t)at[n - 1] << 16;
  }
  return mh_fold(mh_fold(x ^ s1, y ^ h) ^ n, space->seed[0] | 1);
}

/* Of a name, as of its text. 0: it is none. */
static inline uint64_t mh_hash_name(const mh_space *space, uint64_t word) {
  uint64_t x, more, s1 = space->seed[1], h = space->seed[0] ^ MH_HASH_TEXT;
  unsigned n = mh_name_take(word, &x, &more), behind = 8 * (n - MH_NAME_MIN);
  if (n == 0) return 0;
  uint64_t y = behind == 0 ? x : x >> behind | more << (64 - behind);
  return mh_fold(mh_fold(x ^ s1, y ^ h) ^ n, space->seed[0] | 1);
}

/* ---- making keys ---- */

/* None, or inline text. */
static inline void mh_key_word(const mh_space *space, mh_key *key, uint64_t word) {
  key->form = MH_KEY_WORD;
  key->word = key->stored = word;
  key->hash = mh_hash_word(space, word);
}

/* Of text that is in no word of MH_TAG_STR or MH_TAG_BYTES; `word`: the name that it is, or ABSENT. */
static inline void mh_key_set_text(mh_key *key, mh_tag tag, unsigned kind, const void *data, uint64_t length,
                                   uint64_t word) {
  mh_type type = tag == MH_TAG_BYTES_REF ? MH_TYPE_BYTES
                 : kind == 1             ? MH_TYPE_STR1
                 : kind == 2             ? MH_TYPE_STR2
                                         : MH_TYPE_STR4;
  key->form = MH_KEY_TEXT;
  key->word = key->stored = word;
  key->tag = tag;
  key->kind = kind;
  key->data = data;
  key->length = length;
  key->head = length < MH_LENGTH_ESCAPE ? mh_head(0, type, length) : 0;
}

/* `tag` MH_TAG_STR_REF or MH_TAG_BYTES_REF; characters of the narrowest kind that holds them. */
static inline void mh_key_text(const mh_space *space, mh_key *key, mh_tag tag, unsigned kind,
                               const void *data, uint64_t length) {
  if (kind == 1 && length <= MH_INLINE_MAX) {
    mh_key_word(space, key, mh_word_text(tag == MH_TAG_STR_REF ? MH_TAG_STR : MH_TAG_BYTES, data, length));
    return;
  }
  bool may_be_name = kind == 1 && tag == MH_TAG_STR_REF;
  mh_key_set_text(key, tag, kind, data, length, may_be_name ? mh_name_of(data, length) : MH_WORD_ABSENT);
  key->hash = mh_hash_text(space, data, length * kind);
}

void mh_key_bool(const mh_space *space, mh_key *key, bool value);
void mh_key_int(const mh_space *space, mh_key *key, int64_t value);
/* Two's complement, at least one word. */
void mh_key_limbs(const mh_space *space, mh_key *key, const uint64_t *limbs, uint64_t count);
void mh_key_float(const mh_space *space, mh_key *key, uint64_t bits);
/* What has a code, and what is equal to a number but no int or float: an object that `make` makes. */
void mh_key_code(const mh_space *space, mh_key *key, const uint64_t *code, uint64_t count);
void mh_key_equal_to_number(const mh_space *space, mh_key *key);

/* ---- keys that are stored ---- */

/* Is the stored text equal? Fast, and false where it takes a closer look to say. */
static inline bool mh_key_is_text(const mh_space *space, const mh_key *key, uint64_t stored) {
  uint64_t offset = mh_word_offset(stored), bytes = key->length * key->kind;
  if (key->form != MH_KEY_TEXT || mh_word_tag(stored) != key->tag) return false;
  if (!mh_in_region(space->region, offset, sizeof(uint64_t) + bytes)) return false;
  const mh_text_block *block = mh_at(space->region, offset);
  return (block->head & ~(uint64_t)MH_COUNT_STICKY) == key->head &&
         memcmp(&block->text, key->data, bytes) == 0;
}
/* Is the stored key equal? MHEAP_OK, MHEAP_ERR_NOT_FOUND, or an error. Words were compared. */
mheap_err mh_key_equals(mh_space *space, const mh_key *key, uint64_t stored);
/* The hash of a stored key; MHEAP_ERR_CORRUPT for what cannot be a key. */
mheap_err mh_key_hash(mh_space *space, uint64_t stored, uint64_t *hash);
/* A key equal to the stored one, borrowing its data. Of one that has a code the hash stands for it:
   no memory is needed, and another with the same 64 bits counts as equal. */
mheap_err mh_key_of_word(mh_space *space, uint64_t stored, mh_key *key);
/* The word for a new entry, with one reference. */
mheap_err mh_key_store(mh_space *space, const mh_key *key, uint64_t *word);

#endif
