/* word.h: values and heads, made and taken apart. Owns nothing, calls nothing, takes no lock. */
#ifndef MHEAP_OBJECTS_WORD_H
#define MHEAP_OBJECTS_WORD_H

#include <stdbool.h>
#include <string.h>

#include "layout.h"

static inline mh_tag mh_word_tag(uint64_t word) { return (mh_tag)(word & 15); }
static inline bool mh_word_is_ref(uint64_t word) {
  return (word & 15) >= MH_TAG_REF && (word & 15) != MH_TAG_NAME;
}
static inline uint64_t mh_word_offset(uint64_t word) { return word & ~(uint64_t)15; }
static inline uint64_t mh_word_ref(mh_tag tag, uint64_t offset) { return offset | tag; }

static inline bool mh_int_fits(int64_t value) { return value >= MH_INT_MIN && value <= MH_INT_MAX; }
static inline uint64_t mh_word_int(int64_t value) { return (uint64_t)value << MH_TAG_BITS | MH_TAG_INT; }
/* Arithmetic shift: gcc and clang promise it. */
static inline int64_t mh_word_to_int(uint64_t word) { return (int64_t)word >> MH_TAG_BITS; }

static inline bool mh_float_fits(uint64_t bits) { return (bits & 15) == 0; }
static inline uint64_t mh_float_bits(double value) {
  uint64_t bits;
  memcpy(&bits, &value, 8);
  return bits;
}
static inline double mh_bits_float(uint64_t bits) {
  double value;
  memcpy(&value, &bits, 8);
  return value;
}

/* Up to MH_INLINE_MAX Latin-1 characters (MH_TAG_STR) or bytes (MH_TAG_BYTES). */
static inline uint64_t mh_word_text(mh_tag tag, const void *data, uint64_t length) {
  uint64_t payload = 0;
  memcpy(&payload, data, length);
  return payload << 8 | length << MH_TAG_BITS | tag;
}
static inline uint64_t mh_word_text_length(uint64_t word) { return word >> MH_TAG_BITS & 15; }

static inline bool mh_word_is_str(uint64_t word) {
  return mh_word_tag(word) == MH_TAG_STR || mh_word_tag(word) == MH_TAG_STR_REF ||
         mh_word_tag(word) == MH_TAG_NAME;
}

static inline uint32_t mh_head_count(uint64_t head) { return head & MH_COUNT_STICKY; }
static inline mh_type mh_head_type(uint64_t head) { return (mh_type)(head >> MH_TYPE_SHIFT & 0xff); }
static inline uint64_t mh_head_length(uint64_t head) { return head >> MH_LENGTH_SHIFT; }
static inline bool mh_type_is_compound(mh_type type) { return type >= MH_TYPE_TUPLE && type <= 0x1f; }
static inline uint64_t mh_head(uint32_t count, mh_type type, uint64_t length) {
  return count | (uint64_t)type << MH_TYPE_SHIFT | length << MH_LENGTH_SHIFT;
}

static inline bool mh_type_is_container(mh_type type) {
  return type >= MH_TYPE_DICT && type <= MH_TYPE_RECORDS;
}
/* Has such a container a value beside its part, in container.word? */
static inline bool mh_type_has_word(mh_type type) { return type == MH_TYPE_ARRAY; }
/* Is the part of such a container a table? */
static inline bool mh_type_has_table(mh_type type) {
  return type == MH_TYPE_DICT || type == MH_TYPE_SET || type == MH_TYPE_COUNTER;
}
/* The reference to a container. */
static inline uint64_t mh_container_ref(mh_type type, uint64_t offset) {
  switch (type) {
    case MH_TYPE_DICT: return offset | MH_TAG_DICT_REF;
    case MH_TYPE_LIST: return offset | MH_TAG_LIST_REF;
    case MH_TYPE_SET: return offset | MH_TAG_SET_REF;
    case MH_TYPE_RECORD: return offset | MH_TAG_RECORD_REF;
    default: return offset | MH_TAG_OTHER_REF;
  }
}

/* Can an object of this type stand behind this tag? */
static inline bool mh_tag_holds(mh_tag tag, mh_type type) {
  switch (tag) {
    case MH_TAG_STR_REF: return type >= MH_TYPE_STR1 && type <= MH_TYPE_STR4;
    case MH_TAG_BYTES_REF: return type == MH_TYPE_BYTES;
    case MH_TAG_INT_REF: return type == MH_TYPE_INT;
    case MH_TAG_FLOAT_REF: return type == MH_TYPE_FLOAT;
    case MH_TAG_DICT_REF: return type == MH_TYPE_DICT;
    case MH_TAG_LIST_REF: return type == MH_TYPE_LIST;
    case MH_TAG_TUPLE_REF: return type == MH_TYPE_TUPLE;
    case MH_TAG_SET_REF: return type == MH_TYPE_SET;
    case MH_TAG_RECORD_REF: return type == MH_TYPE_RECORD;
    case MH_TAG_OTHER_REF:
      return type == MH_TYPE_BYTEARRAY || type == MH_TYPE_COMPLEX || type == MH_TYPE_FROZENSET ||
             type == MH_TYPE_EXTENDED || type == MH_TYPE_DEQUE || type == MH_TYPE_COUNTER ||
             type == MH_TYPE_SORTED || type == MH_TYPE_ARRAY || type == MH_TYPE_RECORDS;
    default: return false;
  }
}

#endif
