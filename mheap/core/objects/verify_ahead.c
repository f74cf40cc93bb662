/* verify_ahead.c: asks memory ahead for what a check will look at, so that it waits for many lines at once,
   not for one after the other. Calls ../ahead.h, verify.h. Takes no lock.

   On a heap that has aged each object is a line, or two, that no cache holds, 0.2 µs away; two dozen are
   brought in together in hardly more time. The queue of the walk says what comes: of an object in it first
   its own line is asked for, some objects later its part's, then what that refers to, each with its count
   and the bits that say that its block is in use.

   Nothing here has been checked yet: what is read lies in the region, and leads to no more than lines asked
   for, of memory that need not even be there. */
#include "../ahead.h"
#include "verify.h"

#define APART 8 /* objects between two of these */
#define WORDS 16 /* of one part */

static inline bool is_inside(const mh_walk *walk, uint64_t offset, uint64_t bytes) {
  return offset < walk->size && bytes <= walk->size - offset;
}

static inline void ask_for_bits(const mh_walk *walk, uint64_t offset) {
  const mh_blocks_slice *slice = &walk->blocks.slices[offset / MH_SLICE];
  if (slice->size == 0) return;
  uint64_t index = mh_blocks_distance(slice, offset) * slice->reciprocal >> 32;
  if (index >= slice->blocks) return;
  mh_ask_for(&slice->bits->alloc[index / 64]);
  mh_ask_for(&slice->bits->freed[index / 64]);
}

static inline void ask_for_block(const mh_walk *walk, uint64_t offset) {
  if (offset >= walk->size) return;
  mh_ask_for(mh_at(walk->space.region, offset));
  mh_ask_for(&walk->counts[offset / 16]);
  ask_for_bits(walk, offset);
}

void mh_walk_ask(const mh_walk *walk, const uint64_t *words, uint64_t count) {
  for (uint64_t i = 0; i < count; i++) {
    uint64_t word = mh_read(&words[i]);
    if (mh_word_is_ref(word)) ask_for_block(walk, mh_word_offset(word));
  }
}

/* The first of `count` words from there on. */
static void ask_for_some(const mh_walk *walk, uint64_t offset, uint64_t count) {
  if (count > WORDS) count = WORDS;
  if (is_inside(walk, offset, 8 * count)) mh_walk_ask(walk, mh_at(walk->space.region, offset), count);
}

static bool has_part(mh_type type) { return mh_type_is_container(type) && type != MH_TYPE_RECORD; }

static void ask_for_part(const mh_walk *walk, uint64_t offset) {
  if (!is_inside(walk, offset, sizeof(mh_container))) return;
  const mh_container *container = mh_at(walk->space.region, offset);
  if (!has_part(mh_head_type(mh_read(&container->head)))) return;
  uint64_t part = mh_read(&container->part);
  if (part == 0) return;
  ask_for_block(walk, part);
  mh_ask_for((const char *)mh_at(walk->space.region, part) + 64); /* a small dict's entries */
}

/* A large table's, and large nodes', are asked for when it is their turn. */
static void ask_in_part(const mh_walk *walk, mh_type type, uint64_t part) {
  if (part % 16 != 0 || part == 0 || !is_inside(walk, part, sizeof(mh_table_block))) return;
  const uint64_t *words = mh_at(walk->space.region, part);
  uint64_t capacity = mh_head_length(mh_read(&words[0])), range = mh_read(&words[1]);
  if (mh_type_has_table(type) && capacity <= MH_TABLE_TAGGED)
    ask_for_some(walk, part + sizeof(mh_table_block), 2 * (uint64_t)(uint32_t)range);
  else if (type == MH_TYPE_LIST || type == MH_TYPE_DEQUE)
    ask_for_some(walk, part + sizeof(mh_items_block) + 8 * (range >> 32), (uint32_t)range);
}

static void ask_for_children(const mh_walk *walk, uint64_t offset) {
  if (!is_inside(walk, offset, sizeof(mh_container))) return;
  const mh_container *container = mh_at(walk->space.region, offset);
  uint64_t head = mh_read(&container->head);
  mh_type type = mh_head_type(head);
  if (has_part(type)) ask_in_part(walk, type, mh_read(&container->part));
  else if (type == MH_TYPE_RECORD) ask_for_some(walk, offset + sizeof(mh_record_block), WORDS / 2);
  else ask_for_some(walk, offset + sizeof(mh_compound_block), mh_head_length(head));
}

void mh_walk_ask_next(const mh_walk *walk, uint64_t number) {
  uint64_t left = walk->seen_count - number;
  const uint64_t *next = &walk->seen[number];
  if (left > 3 * APART) mh_ask_for(mh_at(walk->space.region, mh_word_offset(next[3 * APART])));
  if (left > 2 * APART) ask_for_part(walk, mh_word_offset(next[2 * APART]));
  if (left > APART) ask_for_children(walk, mh_word_offset(next[APART]));
}
