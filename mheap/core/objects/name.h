/* name.h: names packed into a word (layout.h, "values"). Owns the alphabet. Calls nothing, takes no lock.

   Codes rise with the characters and the first one stands highest, so that names are in the order of their
   words. */
#ifndef MHEAP_OBJECTS_NAME_H
#define MHEAP_OBJECTS_NAME_H

#include "word.h"

extern const uint8_t mh_name_codes[256];     /* of a character; 0: it is in no name */
extern const uint8_t mh_name_characters[64]; /* of a code; 0: the end */

/* Is no code 0 among the first so many? */
static inline bool mh_name_is_filled(uint64_t word, uint64_t length) {
  uint64_t ones = MH_NAME_ONES << MH_NAME_BITS * (MH_NAME_MAX - length); /* the lowest bit of each */
  return ((word - ones) & ~word & ones << (MH_NAME_BITS - 1)) == 0;      /* a 0 borrows from its highest */
}

/* Latin-1 text as a name; ABSENT: it is none. */
static inline uint64_t mh_name_of(const void *data, uint64_t length) {
  const uint8_t *at = data;
  uint64_t word = 0;
  if (length < MH_NAME_MIN || length > MH_NAME_MAX) return MH_WORD_ABSENT;
  for (unsigned i = 0; i < MH_NAME_MIN; i++) word = word << MH_NAME_BITS | mh_name_codes[at[i]];
  for (unsigned i = MH_NAME_MIN; i < MH_NAME_MAX; i++)
    word = word << MH_NAME_BITS | (i < length ? mh_name_codes[at[i]] : 0);
  word = word << MH_TAG_BITS | MH_TAG_NAME;
  return mh_name_is_filled(word, length) ? word : MH_WORD_ABSENT;
}

/* How many characters it has; 0: it is no name. */
static inline unsigned mh_name_length(uint64_t word) {
  uint64_t last = word >> MH_TAG_BITS & 63, before = word >> (MH_TAG_BITS + MH_NAME_BITS) & 63;
  unsigned length = MH_NAME_MIN + (before != 0) + (last != 0);
  return mh_name_is_filled(word, length) ? length : 0;
}

/* Its characters, of which there may be zeros behind the last: the first eight, and two more. Returns as
   mh_name_length. */
static inline unsigned mh_name_take(uint64_t word, uint64_t *first, uint64_t *more) {
  uint64_t codes = word;
  *first = *more = 0;
  for (unsigned i = 0; i < MH_NAME_MIN; i++, codes <<= MH_NAME_BITS)
    *first |= (uint64_t)mh_name_characters[codes >> (64 - MH_NAME_BITS)] << 8 * i;
  for (unsigned i = 0; i < MH_NAME_MAX - MH_NAME_MIN; i++, codes <<= MH_NAME_BITS)
    *more |= (uint64_t)mh_name_characters[codes >> (64 - MH_NAME_BITS)] << 8 * i;
  return mh_name_length(word);
}

/* The same, to MH_NAME_MAX bytes of memory. */
static inline unsigned mh_name_read(uint64_t word, uint8_t *characters) {
  uint64_t first, more;
  unsigned length = mh_name_take(word, &first, &more);
  memcpy(characters, &first, MH_NAME_MIN);
  memcpy(characters + MH_NAME_MIN, &more, MH_NAME_MAX - MH_NAME_MIN);
  return length;
}

#endif
