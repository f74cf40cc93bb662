/* order.h: the order of keys in a sorted dict (layout.h, "sorted dict"). Calls code.h, key.h, number.h,
   ratio.h. Takes no lock.

   Of two keys that Python cannot compare, and of a NaN and any number, all say MHEAP_ERR_ARGUMENT, without
   setting an error. */
#ifndef MHEAP_OBJECTS_ORDER_H
#define MHEAP_OBJECTS_ORDER_H

#include "key.h"

/* Can this be a key of a sorted dict: does its type, and that of all in it, have an order? */
mheap_err mh_order_check(mh_space *space, const mh_key *key);

/* Less than 0, 0, more: as the key is less than what is stored, equal, more. */
mheap_err mh_order_slowly(mh_space *space, const mh_key *key, uint64_t stored, int *order);
mheap_err mh_order_stored(mh_space *space, uint64_t left, uint64_t right, int *order);

/* Two words of inline text of one tag: the first character is in the lowest byte that counts. */
static inline int mh_order_inline(uint64_t left, uint64_t right) {
  uint64_t a = __builtin_bswap64(left >> 8 << 8), b = __builtin_bswap64(right >> 8 << 8);
  if (a == b) a = mh_word_text_length(left), b = mh_word_text_length(right);
  return (a > b) - (a < b);
}

/* Text of one byte a character, both; false: it takes a closer look. */
static inline bool mh_order_texts(mh_space *space, const mh_key *key, uint64_t stored, int *order) {
  uint64_t offset = mh_word_offset(stored);
  if (mh_word_tag(stored) != key->tag || key->kind != 1) return false;
  if (!mh_in_region(space->region, offset, 16)) return false;
  const mh_text_block *block = mh_at(space->region, offset);
  uint64_t head = mh_read(&block->head), length = mh_head_length(head);
  mh_type type = key->tag == MH_TAG_STR_REF ? MH_TYPE_STR1 : MH_TYPE_BYTES;
  if (mh_head_type(head) != type || length == MH_LENGTH_ESCAPE ||
      !mh_in_region(space->region, offset, sizeof(uint64_t) + length))
    return false;
  int differ = memcmp(key->data, &block->text, key->length < length ? key->length : length);
  *order = differ != 0 ? differ : (key->length > length) - (key->length < length);
  return true;
}

static inline mheap_err mh_order(mh_space *space, const mh_key *key, uint64_t stored, int *order) {
  if (key->form == MH_KEY_NUMBER && mh_word_tag(stored) == MH_TAG_INT &&
      key->number.form == MH_NUMBER_SMALL) {
    int64_t other = mh_word_to_int(stored);
    *order = (key->number.small > other) - (key->number.small < other);
    return MHEAP_OK;
  }
  if (key->form == MH_KEY_WORD && mh_word_tag(stored) == mh_word_tag(key->word) &&
      mh_word_tag(stored) != MH_TAG_CONST) {
    *order = mh_order_inline(key->word, stored);
    return MHEAP_OK;
  }
  if (mh_word_tag(stored) == MH_TAG_NAME && mh_word_tag(key->word) == MH_TAG_NAME) {
    *order = (key->word > stored) - (key->word < stored);
    return MHEAP_OK;
  }
  if (key->form == MH_KEY_TEXT && mh_order_texts(space, key, stored, order)) return MHEAP_OK;
  return mh_order_slowly(space, key, stored, order);
}

#endif
