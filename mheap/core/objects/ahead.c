/* ahead.c: see ahead.h. */
#include "ahead.h"

#include "../prefetch.h"

#define APART 8 /* objects between two of these */
#define WORDS 16 /* of one part */

static inline bool is_inside(const mh_ahead *ahead, uint64_t offset, uint64_t bytes) {
  return offset < ahead->size && bytes <= ahead->size - offset;
}

static inline void ask_for_bits(const mh_ahead *ahead, uint64_t offset) {
  if (ahead->blocks == NULL) return;
  const mh_blocks_slice *slice = &ahead->blocks->slices[offset / MH_SLICE];
  if (slice->size == 0) return;
  uint64_t index = mh_blocks_distance(slice, offset) * slice->reciprocal >> 32;
  if (index >= slice->blocks) return;
  mh_ask_for(&slice->bits->alloc[index / 64]);
  mh_ask_for(&slice->bits->freed[index / 64]);
}

static inline void ask_for_block(const mh_ahead *ahead, uint64_t offset) {
  if (offset >= ahead->size) return;
  mh_ask_for(mh_at(ahead->region, offset));
  mh_ask_for((const char *)ahead->beside + (offset >> ahead->shift));
  ask_for_bits(ahead, offset);
}

void mh_ahead_words(const mh_ahead *ahead, const uint64_t *words, uint64_t count) {
  for (uint64_t i = 0; i < count; i++) {
    uint64_t word = mh_read(&words[i]);
    if (mh_word_is_ref(word)) ask_for_block(ahead, mh_word_offset(word));
  }
}

/* The first of `count` words from there on. */
static void ask_for_some(const mh_ahead *ahead, uint64_t offset, uint64_t count) {
  if (count > WORDS) count = WORDS;
  if (is_inside(ahead, offset, 8 * count)) mh_ahead_words(ahead, mh_at(ahead->region, offset), count);
}

static bool has_part(mh_type type) { return mh_type_is_container(type) && type != MH_TYPE_RECORD; }

static void ask_for_part(const mh_ahead *ahead, uint64_t offset) {
  if (!is_inside(ahead, offset, sizeof(mh_container))) return;
  const mh_container *container = mh_at(ahead->region, offset);
  if (!has_part(mh_head_type(mh_read(&container->head)))) return;
  uint64_t part = mh_read(&container->part);
  if (part == 0 || part >= ahead->size) return;
  ask_for_block(ahead, part);
  mh_ask_for((const char *)mh_at(ahead->region, part) + 64); /* a small dict's entries */
}

/* A large table's, and large nodes', are asked for when it is their turn. */
static void ask_in_part(const mh_ahead *ahead, mh_type type, uint64_t part) {
  if (part % 16 != 0 || part == 0 || !is_inside(ahead, part, sizeof(mh_table_block))) return;
  const uint64_t *words = mh_at(ahead->region, part);
  uint64_t capacity = mh_head_length(mh_read(&words[0])), range = mh_read(&words[1]);
  if (mh_type_has_table(type) && capacity <= MH_TABLE_TAGGED)
    ask_for_some(ahead, part + sizeof(mh_table_block), 2 * (uint64_t)(uint32_t)range);
  else if (type == MH_TYPE_LIST || type == MH_TYPE_DEQUE)
    ask_for_some(ahead, part + sizeof(mh_items_block) + 8 * (range >> 32), (uint32_t)range);
}

static void ask_for_children(const mh_ahead *ahead, uint64_t offset) {
  if (!is_inside(ahead, offset, sizeof(mh_container))) return;
  const mh_container *container = mh_at(ahead->region, offset);
  uint64_t head = mh_read(&container->head);
  mh_type type = mh_head_type(head);
  if (has_part(type)) ask_in_part(ahead, type, mh_read(&container->part));
  else if (type == MH_TYPE_RECORD) ask_for_some(ahead, offset + sizeof(mh_record_block), WORDS / 2);
  else ask_for_some(ahead, offset + sizeof(mh_compound_block), mh_head_length(head));
}

void mh_ahead_queue(const mh_ahead *ahead, const uint64_t *next, ptrdiff_t step, uint64_t left) {
  if (left > 3 * APART) mh_ask_for(mh_at(ahead->region, mh_word_offset(next[3 * APART * step])));
  if (left > 2 * APART) ask_for_part(ahead, mh_word_offset(next[2 * APART * step]));
  if (left > APART) ask_for_children(ahead, mh_word_offset(next[APART * step]));
}
