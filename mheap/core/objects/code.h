/* code.h: the codes of keys that are no plain number or text (layout.h, "hashing"): made word by
   word, hashed and compared on the way, so that a stored key needs no memory. Calls number.h,
   compound.h. Takes no lock.

   A coder takes each word. The binding has one of its own, which keeps them; those here hash
   what is stored, or compare it. */
#ifndef MHEAP_OBJECTS_CODE_H
#define MHEAP_OBJECTS_CODE_H

#include "compound.h"
#include "number.h"

typedef struct mh_coder mh_coder;
struct mh_coder {
  mheap_err (*put)(mh_coder *coder, uint64_t word);
};

static inline uint64_t mh_code_head(unsigned code, uint64_t number) {
  return number << 8 | code << MH_TAG_BITS | MH_TAG_OTHER_REF;
}
mheap_err mh_code_number(mh_coder *coder, const mh_number *number);
/* `code` MH_CODE_STR or MH_CODE_BYTES. */
mheap_err mh_code_text(mh_coder *coder, unsigned code, unsigned kind, const void *data, uint64_t length);

uint64_t mh_code_hash(const mh_space *space, const uint64_t *words, uint64_t count);

/* ---- of what is stored ---- */

/* Can what stands behind the reference have a code only? Numbers are to be asked for first. */
static inline bool mh_word_may_have_code(uint64_t word) {
  return mh_word_tag(word) == MH_TAG_TUPLE_REF || mh_word_tag(word) == MH_TAG_OTHER_REF;
}
/* The hash of a stored key, and the words of its code. MHEAP_ERR_CORRUPT: it can be no key. */
mheap_err mh_code_hash_stored(mh_space *space, uint64_t word, uint64_t *hash, uint64_t *count);
/* Does the stored key have this code? MHEAP_OK, MHEAP_ERR_NOT_FOUND, or an error. */
mheap_err mh_code_equals(mh_space *space, uint64_t word, const uint64_t *code, uint64_t count);

#endif
