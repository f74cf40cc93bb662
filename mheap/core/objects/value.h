/* value.h: scalars: made into values, read back. Calls space.h. Takes no lock. */
#ifndef MHEAP_OBJECTS_VALUE_H
#define MHEAP_OBJECTS_VALUE_H

#include "space.h"

/* Each makes a value with one reference, inline where it can be. */
mheap_err mh_int_new(mh_space *space, int64_t value, uint64_t *word);
/* Two's complement, least significant word first; any number of words, at least 1. */
mheap_err mh_limbs_new(mh_space *space, const uint64_t *limbs, uint64_t count, uint64_t *word);
mheap_err mh_float_new(mh_space *space, uint64_t bits, uint64_t *word);
/* Characters of `kind` 1, 2 or 4 bytes, which must be the narrowest kind that holds them. */
mheap_err mh_str_new(mh_space *space, unsigned kind, const void *data, uint64_t length, uint64_t *word);
mheap_err mh_bytes_new(mh_space *space, const void *data, uint64_t length, uint64_t *word);
mheap_err mh_bytearray_new(mh_space *space, const void *data, uint64_t length, uint64_t *word);
mheap_err mh_complex_new(mh_space *space, uint64_t real, uint64_t imag, uint64_t *word);

/* A str, bytes or bytearray as read; `data` may point into the struct itself. */
typedef struct mh_text {
  const void *data;
  uint64_t length; /* characters */
  unsigned kind;   /* bytes a character */
  uint8_t inlined[16];
} mh_text;

/* For words with the tags STR, STR_REF, NAME, BYTES, BYTES_REF, and for bytearrays. Characters are not
   looked at. */
mheap_err mh_text_read(mh_space *space, uint64_t word, mh_text *text);
/* For INT_REF. */
mheap_err mh_limbs_read(mh_space *space, uint64_t word, const uint64_t **limbs, uint64_t *count);
/* For FLOAT and FLOAT_REF. */
mheap_err mh_float_read(mh_space *space, uint64_t word, uint64_t *bits);
/* For a complex. */
mheap_err mh_complex_read(mh_space *space, uint64_t word, uint64_t *real, uint64_t *imag);

/* Are all characters Unicode code points? Those of kinds 1 and 2 always are. */
bool mh_text_is_unicode(const mh_text *text);

/* Bytes of the block that a reference needs, unless to a container; for check. */
mheap_err mh_object_size(mh_space *space, uint64_t word, uint64_t *size);

#endif
