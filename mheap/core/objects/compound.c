/* compound.c: see compound.h. */
#include "compound.h"

#include "pool.h"

#define DAY_MICROSECONDS ((int64_t)86400 * 1000000)
#define MAX_ORDINAL 3652059
#define MAX_DAYS 999999999

mheap_err mh_compound_new(mh_space *space, mh_type type, mh_kind_code kind, uint64_t count, uint64_t *word) {
  uint64_t offset;
  if (count >= MH_LENGTH_ESCAPE)
    return mh_fail(mh_error(space->heap), MHEAP_ERR_OVERFLOW, "a tuple or frozenset of 2^32 values or more");
  mheap_err failed = mh_block_new(space, sizeof(mh_compound_block) + 8 * count, &offset);
  if (failed) return failed;
  mh_compound_block *block = mh_at(space->region, offset);
  block->kind = kind;
  memset(block->words, 0, 8 * count);
  mh_store(&block->head, mh_head(1, type, count)); /* last: what a kill leaves refers to nothing */
  *word = mh_word_ref(type == MH_TYPE_TUPLE ? MH_TAG_TUPLE_REF : MH_TAG_OTHER_REF, offset);
  return MHEAP_OK;
}

static mheap_err let_go(mh_space *space, const uint64_t *words, uint64_t count) {
  for (uint64_t i = 0; i < count; i++) mh_release(space, words[i]);
  return MHEAP_OK;
}

mheap_err mh_compound_once(mh_space *space, mh_type type, const uint64_t *kind_and_words, uint64_t count,
                           uint64_t *word) {
  const uint64_t *words = kind_and_words + 1, bytes = 8 * (count + 1);
  uint64_t head = mh_head(0, type, count);
  mheap_err failed = mh_pool_get(space, head, kind_and_words, bytes, word);
  if (failed == MHEAP_OK) return let_go(space, words, count);
  if (failed != MHEAP_ERR_NOT_FOUND) return failed;
  failed = mh_compound_new(space, type, (mh_kind_code)kind_and_words[0], count, word);
  if (failed) return failed;
  for (uint64_t i = 0; i < count; i++) mh_compound_set(space, *word, i, words[i]);
  return mh_pool_add(space, head, kind_and_words, bytes, *word);
}

void mh_compound_set(mh_space *space, uint64_t word, uint64_t index, uint64_t value) {
  mh_compound_block *block = mh_at(space->region, mh_word_offset(word));
  block->words[index] = value;
  mh_mark(&block->words[index]);
}

bool mh_word_is_compound(mh_space *space, uint64_t word) {
  mh_tag tag = mh_word_tag(word);
  uint64_t offset = mh_word_offset(word);
  if (tag != MH_TAG_TUPLE_REF && tag != MH_TAG_OTHER_REF) return false;
  if (!mh_in_region(space->region, offset, sizeof(mh_compound_block))) return false;
  mh_type type = mh_head_type(mh_read((uint64_t *)mh_at(space->region, offset)));
  return mh_tag_holds(tag, type) && mh_type_is_compound(type);
}

mheap_err mh_compound_read(mh_space *space, uint64_t word, mh_compound *compound) {
  mh_compound_block *block = mh_object_at(space, word);
  if (block == NULL) return MHEAP_ERR_CORRUPT;
  uint64_t head = mh_read(&block->head), offset = mh_word_offset(word), count = mh_head_length(head);
  *compound = (mh_compound){.type = mh_head_type(head), .kind = mh_read(&block->kind), .count = count,
                            .offset = offset, .words = block->words};
  if (!mh_type_is_compound(compound->type))
    return mh_corrupt(space, offset, "the type of a compound", MH_TYPE_TUPLE, compound->type);
  if (!mh_in_region(space->region, offset, sizeof *block + 8 * count))
    return mh_corrupt(space, offset, "the length of a compound, beyond the region's end",
                      (mh_region_size(space->region) - offset) / 8, count);
  return MHEAP_OK;
}

/* ---- what kinds demand ---- */

static bool is_int(uint64_t word) {
  return mh_word_tag(word) == MH_TAG_INT || mh_word_tag(word) == MH_TAG_INT_REF;
}
static bool is_bytes(uint64_t word) {
  return mh_word_tag(word) == MH_TAG_BYTES || mh_word_tag(word) == MH_TAG_BYTES_REF;
}
static bool is_within(uint64_t word, int64_t least, int64_t most) {
  return mh_word_tag(word) == MH_TAG_INT && mh_word_to_int(word) >= least && mh_word_to_int(word) <= most;
}
static bool is_east(uint64_t word) { return is_within(word, 1 - DAY_MICROSECONDS, DAY_MICROSECONDS - 1); }

static bool is_kind(mh_space *space, uint64_t word, mh_kind_code kind) {
  mh_compound of;
  return mh_word_tag(word) == MH_TAG_OTHER_REF && mh_word_is_compound(space, word) &&
         mh_compound_read(space, word, &of) == MHEAP_OK && of.type == MH_TYPE_EXTENDED && of.kind == kind;
}
static bool is_zone(mh_space *space, uint64_t word) {
  return word == MH_CONST_NONE || is_east(word) || mh_word_is_str(word) ||
         is_kind(space, word, MH_KIND_TIMEZONE);
}

/* An int that is 0 or negative, as the sign and the fewest words of one tell. */
static bool is_positive(mh_space *space, uint64_t word) {
  const uint64_t *limbs;
  uint64_t count;
  if (mh_word_tag(word) == MH_TAG_INT) return mh_word_to_int(word) > 0;
  return is_int(word) && mh_limbs_read(space, word, &limbs, &count) == MHEAP_OK &&
         (int64_t)limbs[count - 1] >= 0;
}
static bool is_uuid(mh_space *space, uint64_t word) {
  mh_text text;
  return mh_word_tag(word) == MH_TAG_BYTES_REF && mh_text_read(space, word, &text) == MHEAP_OK &&
         text.length == 16;
}
static bool is_number(mh_space *space, uint64_t word) {
  mh_tag tag = mh_word_tag(word);
  return is_int(word) || tag == MH_TAG_FLOAT || tag == MH_TAG_FLOAT_REF ||
         is_kind(space, word, MH_KIND_FRACTION);
}
static bool is_time(mh_space *space, const uint64_t *w, int64_t most) {
  return is_within(w[0], 0, most) && is_within(w[1], 0, 1) && is_zone(space, w[2]);
}

/* How many words a kind has; a key may have one more. 0: there is no such kind. */
static const struct {
  uint8_t count, more;
} shapes[] = {
    [MH_KIND_RANGE] = {3, 1},     [MH_KIND_DATE] = {1, 0},     [MH_KIND_TIME] = {3, 1},
    [MH_KIND_DATETIME] = {3, 1},  [MH_KIND_TIMEDELTA] = {3, 0}, [MH_KIND_DECIMAL] = {1, 1},
    [MH_KIND_FRACTION] = {2, 0},  [MH_KIND_UUID] = {1, 0},     [MH_KIND_PATH] = {2, 0},
    [MH_KIND_ENUM] = {2, 0},      [MH_KIND_TIMEZONE] = {2, 0}, [MH_KIND_ZONEINFO] = {1, 0},
    [MH_KIND_REGISTERED] = {2, 0}, [MH_KIND_PICKLED] = {1, 0},
};

static bool shape_is_right(uint64_t kind, uint64_t count) {
  if (kind >= sizeof shapes / sizeof *shapes || shapes[kind].count == 0) return false;
  return count >= shapes[kind].count && count <= (uint64_t)shapes[kind].count + shapes[kind].more;
}

static bool state_is_right(mh_space *space, mh_kind_code kind, const uint64_t *w) {
  switch (kind) {
    case MH_KIND_RANGE: return is_int(w[0]) && is_int(w[1]) && is_int(w[2]) && w[2] != mh_word_int(0);
    case MH_KIND_DATE: return is_within(w[0], 1, MAX_ORDINAL);
    case MH_KIND_TIME: return is_time(space, w, DAY_MICROSECONDS - 1);
    case MH_KIND_DATETIME: return is_time(space, w, MAX_ORDINAL * DAY_MICROSECONDS - 1);
    case MH_KIND_TIMEDELTA:
      return is_within(w[0], -MAX_DAYS, MAX_DAYS) && is_within(w[1], 0, 86399) && is_within(w[2], 0, 999999);
    case MH_KIND_DECIMAL: return mh_word_is_str(w[0]);
    case MH_KIND_FRACTION: return is_int(w[0]) && is_positive(space, w[1]);
    case MH_KIND_UUID: return is_uuid(space, w[0]);
    case MH_KIND_PATH: return is_within(w[0], MH_PATH_PURE_POSIX, MH_PATH_WINDOWS) && mh_word_is_str(w[1]);
    case MH_KIND_ENUM: return mh_word_is_str(w[0]) && (mh_word_is_str(w[1]) || is_int(w[1]));
    case MH_KIND_TIMEZONE: return is_east(w[0]) && (w[1] == MH_CONST_NONE || mh_word_is_str(w[1]));
    case MH_KIND_ZONEINFO: return mh_word_is_str(w[0]);
    case MH_KIND_REGISTERED: return mh_word_is_str(w[0]);
    case MH_KIND_PICKLED: return is_bytes(w[0]);
  }
  return false;
}

/* The word that only keys have. */
static bool last_is_right(mh_space *space, mh_kind_code kind, uint64_t word) {
  switch (kind) {
    case MH_KIND_RANGE: return is_int(word);
    case MH_KIND_DECIMAL: return is_number(space, word);
    default: return word == MH_CONST_NONE || is_int(word);
  }
}

mheap_err mh_compound_check(mh_space *space, const mh_compound *compound) {
  uint64_t offset = compound->offset, kind = compound->kind;
  if (compound->type != MH_TYPE_EXTENDED)
    return kind == 0 ? MHEAP_OK : mh_corrupt(space, offset + 8, "the kind of a tuple or frozenset", 0, kind);
  if (!shape_is_right(kind, compound->count))
    return mh_corrupt(space, offset, "the kind and length of an extended value", kind, compound->count);
  bool right = state_is_right(space, (mh_kind_code)kind, compound->words);
  if (right && compound->count > shapes[kind].count)
    right = last_is_right(space, (mh_kind_code)kind, compound->words[compound->count - 1]);
  if (right) return MHEAP_OK;
  return mh_corrupt(space, offset, "the state of an extended value of this kind", kind, compound->words[0]);
}
