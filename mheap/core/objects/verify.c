/* verify.c: mh_objects_check. Calls set.h, deque.h, ../block.h, os.h for its own
   tables. Takes no lock.

   Owns, for the time of one walk: a counter for every 16 bytes of the region (pages that no
   object lies in are never touched), and the list of objects that hold others, which is the queue
   of those to be looked into. Each object is looked into once, so a walk costs what the objects
   cost, whatever they refer to. Counts are compared in the end, in the order of places.

   What is asked of every object is asked quickly first: what is plainly right is passed by, and
   only what is not is gone into for the sake of what there is to say of it.

   Somebody may be writing meanwhile: a word is read once, then checked, then used. */
#include "verify.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "../block.h"
#include "../least.h"
#include "../os.h"
#include "../prefetch.h"
#include "children.h"
#include "code.h"
#include "compound.h"
#include "objects.h"

#define OBJECT "object"
#define LONG_KEY 4096 /* characters from which a key that was seen before is not hashed again */
#define MOST_CODES ((uint64_t)1 << 24) /* words of codes that are hashed however small the heap is */
#define AHEAD 8 /* entries that slots are asked for before they are looked up; and items */
#define LARGE 16384 /* slots */
#define SHORT 64    /* characters */
#define MOST_PROBES 1000 /* a slot's share of all probes, on average, that no fair table comes near */

/* ---- findings ---- */

void mh_walk_found(mh_walk *walk, int severity, uint64_t offset, const char *format, ...) {
  char text[256];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  mheap_finding finding = {.severity = severity, .offset = offset, .what = OBJECT, .text = text};
  walk->broken += severity > 0;
  if (walk->report != NULL) walk->report(walk->arg, &finding);
}

void mh_walk_error(mh_walk *walk) {
  const mheap_error *error = mh_error(walk->space.heap);
  mh_walk_found(walk, 1, error->offset, "%s", error->text);
}

/* ---- what was seen ---- */

static bool remember(mh_walk *walk, uint64_t word) {
  if (walk->seen_count == walk->seen_room) {
    uint64_t room = walk->seen_room * 2;
    uint64_t *larger = mh_os_table(8 * room);
    if (larger == NULL) return walk->failed = MHEAP_ERR_NO_MEMORY, false;
    memcpy(larger, walk->seen, 8 * walk->seen_count);
    mh_os_table_free(walk->seen, 8 * walk->seen_room);
    walk->seen = larger;
    walk->seen_room = room;
  }
  walk->seen[walk->seen_count++] = word;
  return true;
}

static uint32_t *count_of(mh_walk *walk, uint64_t offset) { return &walk->counts[offset / 16]; }

/* ---- single values ---- */

/* The narrowest kind that holds the characters: another would never be found as a key. */
static unsigned narrowest(const mh_text *text) {
  uint32_t all = 0;
  for (uint64_t i = 0; i < text->length; i++) {
    if (text->kind == 1) return 1;
    all |= text->kind == 2 ? ((const uint16_t *)text->data)[i] : ((const uint32_t *)text->data)[i];
  }
  return all < 0x100 ? 1 : all < 0x10000 ? 2 : 4;
}

static void check_text(mh_walk *walk, uint64_t word) {
  mh_text text;
  if (mh_text_read(&walk->space, word, &text)) {
    mh_walk_error(walk);
    return;
  }
  uint64_t offset = mh_word_offset(word);
  if (!mh_text_is_unicode(&text)) mh_walk_found(walk, 1, offset, "a str with a character above U+10FFFF");
  if (text.kind > 1 && narrowest(&text) != text.kind)
    mh_walk_found(walk, 1, offset, "a str of %u bytes a character: expected %u", text.kind, narrowest(&text));
  if (text.kind == 1 && text.length <= MH_INLINE_MAX)
    mh_walk_found(walk, 1, offset, "a text of %" PRIu64 " bytes outside its word: expected more than %d",
                  text.length, MH_INLINE_MAX);
}

static void check_limbs(mh_walk *walk, uint64_t word) {
  const uint64_t *limbs;
  uint64_t count;
  mh_number number;
  if (mh_limbs_read(&walk->space, word, &limbs, &count)) {
    mh_walk_error(walk);
    return;
  }
  mh_number_of_limbs(&number, limbs, count);
  if (number.form == MH_NUMBER_SMALL || number.count != count)
    mh_walk_found(walk, 1, mh_word_offset(word), "an int of %" PRIu64 " words: expected fewer", count);
}

static void check_inline(mh_walk *walk, uint64_t word, uint64_t place) {
  mh_tag tag = mh_word_tag(word);
  bool text = tag == MH_TAG_STR || tag == MH_TAG_BYTES;
  uint64_t length = mh_word_text_length(word);
  if (tag == MH_TAG_CONST && (word < MH_CONST_NONE || word > MH_CONST_TRUE))
    mh_walk_found(walk, 1, place, "expected a value, found 0x%" PRIx64, word);
  else if (tag == MH_TAG_NAME && mh_name_length(word) == 0)
    mh_walk_found(walk, 1, place, "a name: a character is missing, found 0x%" PRIx64, word);
  else if (text && (length > MH_INLINE_MAX || (length < MH_INLINE_MAX && word >> 8 >> 8 * length != 0)))
    mh_walk_found(walk, 1, place, "an inline text: unused bytes or length are wrong, found 0x%" PRIx64, word);
}

/* Is it one of those of which nothing but its length can be wrong, and is that right? */
static bool is_plainly_whole(uint64_t head, uint64_t usable) {
  uint64_t length = mh_head_length(head);
  switch (mh_head_type(head)) {
    case MH_TYPE_FLOAT: return usable >= sizeof(mh_float_block);
    case MH_TYPE_STR1:
    case MH_TYPE_BYTES: return length > MH_INLINE_MAX && length < MH_LENGTH_ESCAPE && 8 + length <= usable;
    case MH_TYPE_TUPLE:
    case MH_TYPE_FROZENSET:
    case MH_TYPE_EXTENDED: return sizeof(mh_compound_block) + 8 * length <= usable;
    default: return mh_type_is_container(mh_head_type(head)) && usable >= sizeof(mh_container);
  }
}

/* The block it lies in, and what only its own bytes can tell. */
/* Is there a block of another heap? */
static bool is_of_another(mh_walk *walk, uint64_t offset, uint32_t *row) {
  mheap *own = walk->space.heap->own;
  mh_block block;
  mheap_error ignored;
  if (own == NULL || mh_heap_may_look(own) ||
      mh_block_find(own, mh_at(walk->space.region, offset), &block, &ignored))
    return false;
  *row = block.heap;
  return block.in_use && block.heap != own->row;
}

static void no_block(mh_walk *walk, uint64_t offset, uint64_t size, uint64_t usable) {
  uint32_t row;
  if (is_of_another(walk, offset, &row))
    mh_walk_found(walk, 1, offset,
                  "an object that heap %u refers to: expected one of its own, found heap %u's",
                  walk->space.heap->row, row);
  else
    mh_walk_found(walk, 1, offset, "an object of %" PRIu64 " bytes: expected a block in use, found %" PRIu64,
                  size, usable);
}

static void check_object(mh_walk *walk, uint64_t word) {
  uint64_t offset = mh_word_offset(word), size = sizeof(mh_container);
  uint64_t usable = mh_blocks_usable(&walk->blocks, offset);
  if (is_plainly_whole(mh_read(mh_at(walk->space.region, offset)), usable)) return;
  if (!mh_is_container(&walk->space, word) && mh_object_size(&walk->space, word, &size)) {
    mh_walk_error(walk);
    return;
  }
  mh_tag tag = mh_word_tag(word);
  if (usable < size) no_block(walk, offset, size, usable);
  if (tag == MH_TAG_STR_REF || tag == MH_TAG_BYTES_REF) check_text(walk, word);
  if (tag == MH_TAG_INT_REF) check_limbs(walk, word);
}

bool mh_walk_visit(mh_walk *walk, uint64_t word, uint64_t place) {
  if (!mh_word_is_ref(word)) {
    check_inline(walk, word, place);
    return true;
  }
  const uint64_t *object = mh_object_at(&walk->space, word);
  if (object == NULL) {
    mh_walk_error(walk);
    return false;
  }
  if (mh_word_offset(word) >= walk->size) return false;
  uint32_t *count = count_of(walk, mh_word_offset(word));
  if (*count < UINT32_MAX) ++*count;
  if (*count > 1) return true;
  walk->touched[mh_word_offset(word) / MH_SLICE] = 1;
  if (!mh_type_has_children(mh_head_type(mh_read(object))) || remember(walk, word)) check_object(walk, word);
  return true;
}

/* ---- tables ---- */

/* Is a slot in each stretch of so many empty, as mostly one of the first is? No run of others is twice as
   long then, so that their probes are no more than so many for each slot. */
static bool is_airy(const mh_table *table) {
  uint64_t i = 0;
  for (uint64_t start = 0; start <= table->mask; start += MOST_PROBES) {
    for (i = start; i < start + MOST_PROBES && i <= table->mask && table->slots[i] != MH_SLOT_EMPTY;) i++;
    if (i == start + MOST_PROBES) return false;
  }
  return i <= table->mask;
}

/* Are the slots so crowded that looking everything up would take for ever? */
static bool is_crowded(const mh_table *table) {
  if (table->slots == NULL || is_airy(table)) return false;
  uint64_t run = 0, probes = 0;
  for (uint64_t i = 0; i <= table->mask; i++) {
    run = table->slots[i] == MH_SLOT_EMPTY ? 0 : run + 1;
    probes += run;
  }
  return probes / MOST_PROBES > table->mask || run > table->mask;
}

/* Brings in the slot at which looking up a key will begin, of a table that no cache holds. What the key is
   has not been looked at yet: of one that is not plainly a short text nothing is done. */
static void ask_for_slot(const mh_walk *walk, const mh_table *table, const mh_table_counts *counts,
                         uint32_t index) {
  if (table->mask < LARGE || index >= counts->used) return;
  const mh_region *region = walk->space.region;
  uint64_t word = mh_read(&table->entries[index].key), offset = mh_word_offset(word), hash;
  mh_tag tag = mh_word_tag(word);
  if (tag == MH_TAG_STR || tag == MH_TAG_BYTES) hash = mh_hash_word(&walk->space, word);
  else if (tag == MH_TAG_INT) hash = mh_hash_number(&walk->space, mh_word_to_int(word));
  else if (tag == MH_TAG_NAME) hash = mh_hash_name(&walk->space, word);
  else if (tag != MH_TAG_STR_REF || !mh_in_region(region, offset, sizeof(mh_text_block) + SHORT)) return;
  else {
    const mh_text_block *text = mh_at(region, offset);
    uint64_t head = mh_read(&text->head), length = mh_head_length(head);
    if (mh_head_type(head) != MH_TYPE_STR1 || length == 0 || length > SHORT) return;
    hash = mh_hash_text(&walk->space, &text->text, length);
  }
  mh_ask_for(&table->slots[hash & table->mask]);
}

static bool is_long_and_known(mh_walk *walk, uint64_t word) {
  if (!mh_word_is_ref(word) || *count_of(walk, mh_word_offset(word)) < 2) return false;
  return mh_head_length(*(uint64_t *)mh_at(walk->space.region, mh_word_offset(word))) > LONG_KEY;
}

bool mh_walk_coded_enough(mh_walk *walk, uint64_t stored) {
  uint64_t hash, count = 0, most = walk->size / 8 + MOST_CODES;
  if (!mh_word_may_have_code(stored)) return false;
  (void)mh_code_hash_stored(&walk->space, stored, &hash, &count);
  walk->coded += count;
  if (walk->coded <= most) return false;
  if (walk->coded - count <= most)
    mh_walk_found(walk, 1, mh_word_offset(stored),
                  "keys have so much in common that they cannot all be looked up or compared");
  return true;
}

/* Is the entry found by its key, which was visited? False when it makes no sense to go on. */
static bool check_lookup(mh_walk *walk, const mh_table *table, uint32_t index, uint64_t stored) {
  mh_key key;
  uint32_t at;
  uint64_t place = mh_offset(walk->space.region, &table->entries[index]);
  if (is_long_and_known(walk, stored) || mh_walk_coded_enough(walk, stored)) return true;
  mheap_err failed = mh_key_of_word(&walk->space, stored, &key);
  if (!failed) failed = mh_table_find(&walk->space, table, &key, &at);
  if (failed == MHEAP_ERR_NOT_FOUND)
    mh_walk_found(walk, 1, place, "the key of entry %u is not found by looking it up", index);
  else if (failed) mh_walk_error(walk);
  else if (at != index)
    mh_walk_found(walk, 1, place, "the key of entry %u stands in entry %u too", index, at);
  return !failed && at == index;
}

/* Of a dict anything, of a set nothing but None. */
static void check_value(mh_walk *walk, mh_type owner, uint64_t value, uint64_t place) {
  mh_walk_visit(walk, value, place);
  if (owner == MH_TYPE_SET && value != MH_CONST_NONE)
    mh_walk_found(walk, 1, place, "the value of a set's entry: expected 0x%" PRIx64 ", found 0x%" PRIx64,
                  MH_CONST_NONE, value);
}

static void check_entries(mh_walk *walk, mh_type owner, const mh_table *table,
                          const mh_table_counts *counts) {
  uint32_t live = 0;
  bool look_up = !is_crowded(table);
  bool is_large = table->slots != NULL; /* of another all was asked for */
  if (is_large) mh_ahead_words(&walk->ahead, &table->entries->key, 2 * mh_least(counts->used, 2 * AHEAD));
  if (!look_up) mh_walk_found(walk, 1, table->offset, "the slots of a table are too crowded to look keys up");
  for (uint32_t i = 0; i < counts->used && !walk->failed; i++) {
    if (!mh_table_is_live(table, counts, i)) continue;
    uint64_t place = mh_offset(walk->space.region, &table->entries[i]), key = mh_read(&table->entries[i].key);
    live++;
    if (look_up) ask_for_slot(walk, table, counts, i + AHEAD);
    if (is_large && i + 2 * AHEAD < counts->used)
      mh_ahead_words(&walk->ahead, &table->entries[i + 2 * AHEAD].key, 2);
    bool is_key = mh_walk_visit(walk, key, place);
    check_value(walk, owner, mh_read(&table->entries[i].value), place + offsetof(mh_entry, value));
    if (look_up && is_key) look_up = check_lookup(walk, table, i, key);
  }
  if (live != counts->live)
    mh_walk_found(walk, 1, table->offset + offsetof(mh_table_block, counts),
                  "live entries of a table: expected %u, found %u", live, counts->live);
}

bool mh_walk_part(mh_walk *walk, uint64_t offset, uint64_t bytes) {
  if (offset >= walk->size) return false;
  uint64_t usable = mh_blocks_usable(&walk->blocks, offset);
  if (usable < bytes)
    mh_walk_found(walk, 1, offset,
                  "a part of %" PRIu64 " bytes: expected a block in use of as many, found %" PRIu64, bytes,
                  usable);
  walk->touched[offset / MH_SLICE] = 1;
  if (++*count_of(walk, offset) == 1) return true;
  mh_walk_found(walk, 1, offset, "a table, items block, node or cells with two owners");
  return false;
}

static void check_table(mh_walk *walk, mh_type owner, uint64_t part) {
  mh_table table;
  mh_table_counts counts;
  if (mh_table_open(&walk->space, part, &table) || mh_table_read(&walk->space, &table, &counts)) {
    mh_walk_error(walk);
    return;
  }
  if (!mh_walk_part(walk, part, mh_table_bytes(&table))) return;
  if (counts.dying != UINT32_MAX)
    mh_walk_found(walk, counts.dying < counts.used ? 0 : 1, part + offsetof(mh_table_block, pending),
                  "the removal of entry %u was interrupted; the next change finishes it", counts.dying);
  check_entries(walk, owner, &table, &counts);
}

/* `limit` as of a deque; 0: none. */
static void check_items(mh_walk *walk, uint64_t part, uint64_t limit) {
  mh_items items;
  if (mh_items_open(&walk->space, part, &items)) {
    mh_walk_error(walk);
    return;
  }
  if (!mh_walk_part(walk, part, mh_items_bytes(&items))) return;
  if (limit != 0 && items.count >= limit)
    mh_walk_found(walk, 1, part + offsetof(mh_items_block, range),
                  "the items of a deque: expected %" PRIu64 " at most, found %" PRIu64, limit - 1,
                  items.count);
  for (uint64_t i = 0; i < items.count && !walk->failed; i++) {
    if (i + 2 * AHEAD < items.count) mh_ahead_words(&walk->ahead, &items.words[i + 2 * AHEAD], 1);
    mh_walk_visit(walk, mh_read(&items.words[i]), mh_offset(walk->space.region, &items.words[i]));
  }
}

/* ---- containers ---- */

static uint64_t limit_of(mh_walk *walk, mh_type type, const mh_container *container) {
  uint64_t limit = type == MH_TYPE_DEQUE ? mh_read(&container->limit) : 0;
  if (limit <= MH_DEQUE_LIMIT_MAX) return limit;
  mh_walk_found(walk, 1, mh_offset(walk->space.region, &container->limit),
                "the limit of a deque: expected %" PRIu64 " at most, found %" PRIu64, MH_DEQUE_LIMIT_MAX,
                limit);
  return 0;
}

static void check_compound(mh_walk *walk, uint64_t word) {
  mh_compound of;
  if (mh_compound_read(&walk->space, word, &of) || mh_compound_check(&walk->space, &of)) mh_walk_error(walk);
  else if (of.type == MH_TYPE_EXTENDED && of.kind == MH_KIND_DECIMAL && of.count == 2)
    mh_walk_decimal(walk, &of);
  if (mh_compound_read(&walk->space, word, &of)) return;
  if (mh_blocks_usable(&walk->blocks, of.offset) < sizeof(mh_compound_block) + 8 * of.count) return;
  for (uint64_t i = 0; i < of.count && !walk->failed; i++)
    mh_walk_visit(walk, mh_read(&of.words[i]), mh_offset(walk->space.region, &of.words[i]));
}

static void look_into(mh_walk *walk, uint64_t word) {
  uint64_t offset = mh_word_offset(word), next = walk->space.region->super->birth;
  if (mh_word_is_compound(&walk->space, word)) {
    check_compound(walk, word);
    return;
  }
  if (!mh_is_container(&walk->space, word)) return;
  if (mh_blocks_usable(&walk->blocks, offset) < sizeof(mh_container)) return;
  const mh_container *container = mh_at(walk->space.region, offset);
  uint64_t birth = mh_birth_of(&walk->space, container);
  if (birth == 0 || birth >= next)
    mh_walk_found(walk, 1, offset + offsetof(mh_container, birth),
                  "the birth number of a container: expected 1 to %" PRIu64 ", found %" PRIu64, next - 1,
                  birth);
  mh_type type = mh_head_type(mh_read(&container->head));
  if (type == MH_TYPE_ARRAY || type == MH_TYPE_RECORD) {
    (type == MH_TYPE_ARRAY ? mh_walk_array : mh_walk_record)(walk, offset);
    return;
  }
  uint64_t part = mh_read(&container->part);
  uint64_t limit = limit_of(walk, type, container);
  if (type == MH_TYPE_SORTED) {
    mh_walk_sorted(walk, container, part);
    return;
  }
  if (part == 0) return;
  if (mh_type_has_table(type)) check_table(walk, type, part);
  else if (type == MH_TYPE_RECORDS) mh_walk_rows(walk, part);
  else check_items(walk, part, limit);
}

/* A part has none: that it has one owner was seen to. */
static void compare_count(mh_walk *walk, uint64_t offset) {
  uint32_t counted = *count_of(walk, offset);
  uint64_t head = mh_read(mh_at(walk->space.region, offset));
  uint32_t stored = mh_head_count(head);
  if (stored == MH_COUNT_STICKY || stored == counted || mh_type_is_part(mh_head_type(head))) return;
  mh_walk_found(walk, stored < counted, offset, "the reference count of an object: expected %u, found %u",
                counted, stored);
}

/* Lowered to what was counted, by one store. A count that is said never to change is one that is too high. */
static void mend_count(mh_walk *walk, uint64_t offset) {
  uint32_t counted = *count_of(walk, offset);
  uint64_t *head = mh_at(walk->space.region, offset);
  if (mh_type_is_part(mh_head_type(*head)) || mh_head_count(*head) <= counted) return;
  mh_store(head, (*head & ~(uint64_t)MH_COUNT_STICKY) | counted);
}

static void each_count(mh_walk *walk, void (*fun)(mh_walk *walk, uint64_t offset)) {
  for (uint64_t slice = 0; slice < walk->touched_bytes; slice++) {
    uint64_t offset = slice * MH_SLICE, end = offset + MH_SLICE;
    if (!walk->touched[slice]) continue;
    for (; offset < end && offset < walk->size; offset += 16)
      if (*count_of(walk, offset) != 0) fun(walk, offset);
  }
}

static void walk_from(mh_walk *walk, const uint64_t *field, mh_tag tag) {
  uint64_t offset = mh_read(field), place = mh_offset(walk->space.region, field);
  if (offset == 0) return;
  if (offset % 16 != 0) {
    mh_walk_found(walk, 1, place, "the offset of a root: expected a multiple of 16, found %" PRIu64, offset);
    return;
  }
  mh_walk_visit(walk, mh_word_ref(tag, offset), place);
}

static void walk_from_roots(mh_walk *walk) {
  const mheap *heap = walk->space.heap;
  const mh_superblock *super = walk->space.region->super;
  walk_from(walk, mh_root_field(heap), MH_TAG_DICT_REF);
  if (heap->row == 0) {
    walk_from(walk, &super->names, MH_TAG_DICT_REF);
    walk_from(walk, &super->registry, MH_TAG_LIST_REF);
    mh_walk_schemas(walk);
    return;
  }
  const uint64_t *name = &mh_heap_row_of(heap)->name;
  mh_walk_visit(walk, mh_read(name), mh_offset(walk->space.region, name));
}

static void walk_all(mh_walk *walk) {
  walk_from_roots(walk);
  for (uint64_t i = 0; i < walk->seen_count && !walk->failed; i++) {
    mh_ahead_queue(&walk->ahead, &walk->seen[i], 1, walk->seen_count - i);
    look_into(walk, walk->seen[i]);
  }
  if (!walk->failed) each_count(walk, compare_count);
}

static bool open_tables(mh_walk *walk) {
  walk->size = mh_region_size(walk->space.region);
  walk->counts_bytes = walk->size / 16 * sizeof *walk->counts;
  walk->counts = mh_os_table(walk->counts_bytes);
  if (walk->counts != NULL) mh_os_advise_huge(walk->counts, walk->counts_bytes); /* fewer faults; or none */
  walk->touched_bytes = walk->size / MH_SLICE + 1;
  walk->touched = mh_os_table(walk->touched_bytes);
  walk->seen = mh_os_table(8 * walk->seen_room);
  bool opened = mh_blocks_open(&walk->blocks, &walk->space);
  walk->ahead = (mh_ahead){walk->space.region, walk->size, walk->counts, 2, &walk->blocks};
  return opened && walk->counts != NULL && walk->touched != NULL && walk->seen != NULL;
}

static void close_tables(mh_walk *walk) {
  if (walk->counts != NULL) mh_os_table_free(walk->counts, walk->counts_bytes);
  if (walk->touched != NULL) mh_os_table_free(walk->touched, walk->touched_bytes);
  if (walk->seen != NULL) mh_os_table_free(walk->seen, 8 * walk->seen_room);
  mh_blocks_close(&walk->blocks);
}

static mheap_err look_at_one(mheap *heap, mheap_finding_fun *report, void *arg, bool mend) {
  mh_walk walk = {.report = report, .arg = arg, .seen_room = 8192};
  mh_space_init(&walk.space, heap);
  if (open_tables(&walk)) walk_all(&walk);
  else walk.failed = MHEAP_ERR_NO_MEMORY;
  if (mend && !walk.failed && walk.broken == 0) each_count(&walk, mend_count);
  close_tables(&walk);
  if (walk.failed) return mh_fail(mh_error(heap), walk.failed, "no memory to check the objects with");
  return walk.broken > 0 ? MHEAP_ERR_CORRUPT : MHEAP_OK;
}

/* Each heap by itself: what it refers to in another's is in no block of its own. */
static mheap_err look_at_all(mheap *heap, mheap_finding_fun *report, void *arg, bool mend) {
  mheap *main = mh_handle_find(heap->region, 0);
  mheap_err stopped = MHEAP_OK, failed = look_at_one(main, report, arg, mend);
  uint32_t row = 0;
  if (failed && failed != MHEAP_ERR_CORRUPT) *mh_error(heap) = *mh_error(main);
  for (mheap *one; (one = mh_named_next(heap->region, &row, &stopped, mh_error(heap))) != NULL;) {
    mheap_err found = look_at_one(one, report, arg, mend);
    if (found && found != MHEAP_ERR_CORRUPT) *mh_error(heap) = *mh_error(one);
    if (found && failed != MHEAP_ERR_NO_MEMORY) failed = found;
  }
  return failed ? failed : stopped;
}

mheap_err mh_objects_check(mheap *heap, mheap_finding_fun *report, void *arg) {
  return look_at_all(heap, report, arg, false);
}

static void keep_first(void *arg, const mheap_finding *finding) {
  mheap *heap = arg;
  if (finding->severity > 0 && mh_error(heap)->code != MHEAP_ERR_CORRUPT)
    mh_fail(mh_error(heap), MHEAP_ERR_CORRUPT, "%s: offset 0x%" PRIx64 ": %s; no count was changed",
            heap->region->path, finding->offset, finding->text);
}

mheap_err mh_objects_mend(mheap *heap) {
  mheap_err failed = mh_heap_writable(heap);
  if (failed) return failed;
  mh_error_clear(mh_error(heap));
  return look_at_all(heap, keep_first, heap, true);
}
