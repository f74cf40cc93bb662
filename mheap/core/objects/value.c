/* value.c: see value.h. */
#include "value.h"

#include "pool.h"

/* An equal one that is there already: MHEAP_ERR_NOT_FOUND, if none is or nobody asked. */
static inline mheap_err pooled(mh_space *space, uint64_t head, const void *data, uint64_t bytes,
                               uint64_t *word) {
  bool wanted = __builtin_expect(space->pool != NULL, false) && bytes > 0;
  return wanted ? mh_pool_get(space, head, data, bytes, word) : MHEAP_ERR_NOT_FOUND;
}

/* The block, whose head says that it has one reference, is complete. */
static inline mheap_err made(mh_space *space, mh_tag tag, uint64_t offset, const void *data, uint64_t bytes,
                             uint64_t *word) {
  *word = mh_word_ref(tag, offset);
  if (__builtin_expect(space->pool == NULL, true) || bytes == 0) return MHEAP_OK;
  uint64_t head = *(uint64_t *)mh_at(space->region, offset);
  return mh_pool_add(space, head & ~(uint64_t)MH_COUNT_STICKY, data, bytes, *word);
}

/* Makes the words [0, count) the fewest that hold the same number. */
static uint64_t trimmed(const uint64_t *limbs, uint64_t count) {
  while (count > 1) {
    uint64_t sign = (int64_t)limbs[count - 2] < 0 ? UINT64_MAX : 0;
    if (limbs[count - 1] != sign) break;
    count--;
  }
  return count;
}

mheap_err mh_int_new(mh_space *space, int64_t value, uint64_t *word) {
  uint64_t limb = (uint64_t)value;
  return mh_limbs_new(space, &limb, 1, word);
}

mheap_err mh_limbs_new(mh_space *space, const uint64_t *limbs, uint64_t count, uint64_t *word) {
  count = trimmed(limbs, count);
  if (count == 1 && mh_int_fits((int64_t)limbs[0])) {
    *word = mh_word_int((int64_t)limbs[0]);
    return MHEAP_OK;
  }
  if (count >= MH_LENGTH_ESCAPE)
    return mh_fail(mh_error(space->heap), MHEAP_ERR_OVERFLOW, "an int of more than 2^38 bits");
  uint64_t offset;
  mheap_err failed = pooled(space, mh_head(0, MH_TYPE_INT, count), limbs, 8 * count, word);
  if (failed != MHEAP_ERR_NOT_FOUND) return failed;
  failed = mh_block_new(space, sizeof(mh_int_block) + 8 * count, &offset);
  if (failed) return failed;
  mh_int_block *block = mh_at(space->region, offset);
  block->head = mh_head(1, MH_TYPE_INT, count);
  memcpy(block->limbs, limbs, 8 * count);
  return made(space, MH_TAG_INT_REF, offset, limbs, 8 * count, word);
}

mheap_err mh_float_new(mh_space *space, uint64_t bits, uint64_t *word) {
  *word = bits | MH_TAG_FLOAT;
  if (mh_float_fits(bits)) return MHEAP_OK;
  uint64_t offset;
  mheap_err failed = pooled(space, mh_head(0, MH_TYPE_FLOAT, 0), &bits, sizeof bits, word);
  if (failed != MHEAP_ERR_NOT_FOUND) return failed;
  failed = mh_block_new(space, sizeof(mh_float_block), &offset);
  if (failed) return failed;
  *(mh_float_block *)mh_at(space->region, offset) =
      (mh_float_block){.head = mh_head(1, MH_TYPE_FLOAT, 0), .bits = bits};
  return made(space, MH_TAG_FLOAT_REF, offset, &bits, sizeof bits, word);
}

static mheap_err text_new(mh_space *space, mh_type type, mh_tag tag, unsigned kind, const void *data,
                          uint64_t length, uint64_t *word) {
  if (length > MH_OFFSET_MAX / 4)
    return mh_fail(mh_error(space->heap), MHEAP_ERR_OVERFLOW,
                   "text of %llu characters is more than a heap holds",
                   (unsigned long long)length);
  bool escaped = length >= MH_LENGTH_ESCAPE;
  uint64_t before = escaped ? 16 : 8, offset, bytes = escaped ? 0 : length * kind;
  mheap_err failed = pooled(space, mh_head(0, type, escaped ? 0 : length), data, bytes, word);
  if (failed != MHEAP_ERR_NOT_FOUND) return failed;
  failed = mh_block_new(space, before + length * kind, &offset);
  if (failed) return failed;
  mh_text_block *block = mh_at(space->region, offset);
  block->head = mh_head(1, type, escaped ? MH_LENGTH_ESCAPE : length);
  if (escaped) block->text = length;
  memcpy((char *)block + before, data, length * kind);
  return made(space, tag, offset, data, bytes, word);
}

mheap_err mh_str_new(mh_space *space, unsigned kind, const void *data, uint64_t length, uint64_t *word) {
  if (kind == 1 && length <= MH_INLINE_MAX) {
    *word = mh_word_text(MH_TAG_STR, data, length);
    return MHEAP_OK;
  }
  *word = kind == 1 ? mh_name_of(data, length) : MH_WORD_ABSENT;
  if (*word != MH_WORD_ABSENT) return MHEAP_OK;
  mh_type type = kind == 1 ? MH_TYPE_STR1 : kind == 2 ? MH_TYPE_STR2 : MH_TYPE_STR4;
  return text_new(space, type, MH_TAG_STR_REF, kind, data, length, word);
}

mheap_err mh_bytes_new(mh_space *space, const void *data, uint64_t length, uint64_t *word) {
  if (length <= MH_INLINE_MAX) {
    *word = mh_word_text(MH_TAG_BYTES, data, length);
    return MHEAP_OK;
  }
  return text_new(space, MH_TYPE_BYTES, MH_TAG_BYTES_REF, 1, data, length, word);
}

mheap_err mh_bytearray_new(mh_space *space, const void *data, uint64_t length, uint64_t *word) {
  return text_new(space, MH_TYPE_BYTEARRAY, MH_TAG_OTHER_REF, 1, data, length, word);
}

mheap_err mh_complex_new(mh_space *space, uint64_t real, uint64_t imag, uint64_t *word) {
  uint64_t offset, parts[] = {real, imag};
  mheap_err failed = pooled(space, mh_head(0, MH_TYPE_COMPLEX, 0), parts, sizeof parts, word);
  if (failed != MHEAP_ERR_NOT_FOUND) return failed;
  failed = mh_block_new(space, sizeof(mh_complex_block), &offset);
  if (failed) return failed;
  *(mh_complex_block *)mh_at(space->region, offset) =
      (mh_complex_block){.head = mh_head(1, MH_TYPE_COMPLEX, 0), .real = real, .imag = imag};
  return made(space, MH_TAG_OTHER_REF, offset, parts, sizeof parts, word);
}

/* ---- reading ---- */

static mheap_err inlined_read(mh_space *space, uint64_t word, mh_text *text) {
  uint64_t payload = word >> 8;
  text->kind = 1;
  text->data = text->inlined;
  if (mh_word_tag(word) == MH_TAG_NAME) {
    text->length = mh_name_read(word, text->inlined);
    return text->length != 0 ? MHEAP_OK : mh_corrupt(space, 0, "a name", MH_TAG_NAME, word);
  }
  text->length = mh_word_text_length(word);
  if (text->length > MH_INLINE_MAX)
    return mh_corrupt(space, 0, "the length of an inline text", MH_INLINE_MAX, text->length);
  memcpy(text->inlined, &payload, 8);
  return MHEAP_OK;
}

static unsigned kind_of(mh_type type) { return type == MH_TYPE_STR4 ? 4 : type == MH_TYPE_STR2 ? 2 : 1; }

mheap_err mh_text_read(mh_space *space, uint64_t word, mh_text *text) {
  if (!mh_word_is_ref(word)) return inlined_read(space, word, text);
  mh_text_block *block = mh_object_at(space, word);
  if (block == NULL) return MHEAP_ERR_CORRUPT;
  uint64_t offset = mh_word_offset(word), before = 8;
  uint64_t head = mh_read(&block->head); /* once: somebody may be writing */
  text->kind = kind_of(mh_head_type(head));
  text->length = mh_head_length(head);
  if (text->length == MH_LENGTH_ESCAPE) {
    text->length = mh_read(&block->text);
    before = 16;
  }
  uint64_t room = mh_region_size(space->region) - offset - before;
  if (text->length > room / text->kind)
    return mh_corrupt(space, offset, "the length of a text, beyond the region's end", room / text->kind,
                      text->length);
  text->data = (const char *)block + before;
  return MHEAP_OK;
}

mheap_err mh_limbs_read(mh_space *space, uint64_t word, const uint64_t **limbs, uint64_t *count) {
  mh_int_block *block = mh_object_at(space, word);
  if (block == NULL) return MHEAP_ERR_CORRUPT;
  *count = mh_head_length(block->head);
  if (*count == 0 || !mh_in_region(space->region, mh_word_offset(word), sizeof *block + 8 * *count))
    return mh_corrupt(space, mh_word_offset(word), "the length of an int, 0 or beyond the region's end", 1,
                      *count);
  *limbs = block->limbs;
  return MHEAP_OK;
}

mheap_err mh_float_read(mh_space *space, uint64_t word, uint64_t *bits) {
  if (!mh_word_is_ref(word)) {
    *bits = word & ~(uint64_t)15;
    return MHEAP_OK;
  }
  mh_float_block *block = mh_object_at(space, word);
  if (block == NULL) return MHEAP_ERR_CORRUPT;
  *bits = block->bits;
  return MHEAP_OK;
}

mheap_err mh_complex_read(mh_space *space, uint64_t word, uint64_t *real, uint64_t *imag) {
  uint64_t offset = mh_word_offset(word);
  const mh_complex_block *block = mh_object_at(space, word);
  if (block == NULL) return MHEAP_ERR_CORRUPT;
  if (!mh_in_region(space->region, offset, sizeof *block))
    return mh_corrupt(space, offset, "a complex beyond the region", mh_region_size(space->region), offset);
  *real = block->real;
  *imag = block->imag;
  return MHEAP_OK;
}

bool mh_text_is_unicode(const mh_text *text) {
  if (text->kind < 4) return true;
  const uint32_t *characters = text->data;
  uint32_t all = 0;
  for (uint64_t i = 0; i < text->length; i++) {
    all |= characters[i] > 0x10ffff;
  }
  return all == 0;
}

static mheap_err other_size(mh_space *space, uint64_t word, uint64_t *size) {
  const uint64_t *head = mh_object_at(space, word);
  if (head == NULL) return MHEAP_ERR_CORRUPT;
  *size = mh_head_type(*head) == MH_TYPE_COMPLEX ? sizeof(mh_complex_block)
                                                 : sizeof(mh_compound_block) + 8 * mh_head_length(*head);
  if (mh_head_type(*head) != MH_TYPE_BYTEARRAY) return MHEAP_OK;
  mh_text text;
  mheap_err failed = mh_text_read(space, word, &text);
  if (!failed) *size = mh_offset(space->region, text.data) - mh_word_offset(word) + text.length;
  return failed;
}

mheap_err mh_object_size(mh_space *space, uint64_t word, uint64_t *size) {
  mheap_err failed;
  mh_text text;
  const uint64_t *limbs;
  uint64_t count;
  switch (mh_word_tag(word)) {
    case MH_TAG_STR_REF:
    case MH_TAG_BYTES_REF:
      failed = mh_text_read(space, word, &text);
      if (failed) return failed;
      *size = mh_offset(space->region, text.data) - mh_word_offset(word) + text.length * text.kind;
      return failed;
    case MH_TAG_INT_REF:
      failed = mh_limbs_read(space, word, &limbs, &count);
      if (!failed) *size = sizeof(mh_int_block) + 8 * count;
      return failed;
    case MH_TAG_TUPLE_REF:
    case MH_TAG_OTHER_REF: return other_size(space, word, size);
    default: *size = 16; return mh_object_at(space, word) == NULL ? MHEAP_ERR_CORRUPT : MHEAP_OK;
  }
}
