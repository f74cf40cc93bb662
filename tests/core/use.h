/* use.h: one of every kind of call on a heap whose file may say anything. Nothing here
   believes what the heap returns, but that memory it hands out may be written. */
#ifndef MHEAP_TEST_USE_H
#define MHEAP_TEST_USE_H

#include "mheap/mheap.h"
#include "objects/compound.h"
#include "objects/copy.h"
#include "objects/fields.h"
#include "objects/objects.h"
#include "objects/rows.h"
#include "test.h"

enum { USE_SEEN = 64, USE_OWN = 24 };

typedef struct used {
  mheap *heap;
  unsigned count;
  uint64_t visits;
  void *seen[USE_SEEN];
  volatile uint64_t sum; /* so that reads are made */
} used;

static inline bool use_block(void *arg, void *block, size_t usable) {
  used *u = arg;
  const volatile char *bytes = block;
  if (usable > 0) u->sum += (uint64_t)bytes[0] + (uint64_t)bytes[usable - 1];
  if (u->count < USE_SEEN) u->seen[u->count++] = block;
  return ++u->visits < 100000;
}

static inline bool use_root(void *arg, const char *name, size_t length, void *block) {
  used *u = arg;
  for (size_t i = 0; i < length; i++) u->sum += (uint64_t)name[i];
  u->sum += (uint64_t)(uintptr_t)block;
  return ++u->visits < 100000;
}

static inline void use_finding(void *arg, const mheap_finding *finding) {
  used *u = arg;
  u->sum += strlen(finding->text) + strlen(finding->what);
}

static inline void use_inspect(used *u) {
  static mheap_stats stats;
  mheap_info info;
  mheap_get_info(u->heap, &info);
  mheap_get_stats(u->heap, &stats);
  mheap_visit_blocks(u->heap, use_block, u);
  mheap_visit_roots(u->heap, use_root, u);
  mheap_getroot(u->heap, "name", 4);
  mheap_check(u->heap, use_finding, NULL, u);
  for (int key = -1; key < 8; key++) {
    char *block = mheap_getkey(u->heap, key);
    if (block == NULL) continue;
    u->sum += (uint64_t)*(volatile char *)block;
    u->sum += mheap_usable_size(u->heap, block);
  }
  for (unsigned i = 0; i < u->count; i++) {
    u->sum += mheap_usable_size(u->heap, u->seen[i]);
    u->sum += mheap_usable_size(u->heap, (char *)u->seen[i] + 8);
  }
}

/* ---- objects ---- */

static inline void use_scalar(used *u, mh_space *space, uint64_t word) {
  const uint64_t *limbs;
  uint64_t count, bits;
  mh_text text;
  switch (mh_word_tag(word)) {
    case MH_TAG_STR:
    case MH_TAG_STR_REF:
    case MH_TAG_BYTES:
    case MH_TAG_BYTES_REF:
      if (mh_text_read(space, word, &text) != MHEAP_OK) return;
      for (uint64_t i = 0; i < text.length * text.kind; i += 1 + i / 64)
        u->sum += ((const uint8_t *)text.data)[i];
      break;
    case MH_TAG_INT_REF:
      if (mh_limbs_read(space, word, &limbs, &count) == MHEAP_OK) u->sum += limbs[0] + limbs[count - 1];
      break;
    case MH_TAG_FLOAT_REF:
      if (mh_float_read(space, word, &bits) == MHEAP_OK) u->sum += bits;
      break;
    default: u->sum += word;
  }
}

static inline void use_value(used *u, mh_space *space, uint64_t word, unsigned depth);

static inline void use_dict(used *u, mh_dict *dict, unsigned depth) {
  mh_entry entry;
  mh_key key;
  uint64_t value;
  uint32_t index = 0;
  while (u->visits++ < 20000 && mh_dict_next(dict, &index, &entry) == MHEAP_OK) {
    use_value(u, dict->space, entry.key, depth);
    use_value(u, dict->space, entry.value, depth);
    if (mh_key_of_word(dict->space, entry.key, &key) == MHEAP_OK) u->sum += mh_dict_get(dict, &key, &value);
  }
  for (index = UINT32_MAX; u->visits++ < 20000 && mh_dict_previous(dict, &index, &entry) == MHEAP_OK;)
    u->sum++;
}

static inline void use_list(used *u, mh_list *list, unsigned depth) {
  mh_items items;
  if (mh_list_items(list, &items) != MHEAP_OK) return;
  for (uint64_t i = 0; i < items.count && u->visits++ < 20000; i++)
    use_value(u, list->space, items.words[i], depth);
}

static inline void use_compound(used *u, mh_space *space, uint64_t word, unsigned depth) {
  mh_compound of;
  if (mh_compound_read(space, word, &of) != MHEAP_OK) return;
  u->sum += mh_compound_check(space, &of);
  for (uint64_t i = 0; i < of.count && u->visits++ < 20000; i++) use_value(u, space, of.words[i], depth);
}

static inline void use_sorted(used *u, mh_sorted *sorted, unsigned depth) {
  mh_entry entry;
  mh_key key;
  uint64_t value;
  mh_spot spot, found;
  u->sum += mh_sorted_length(sorted, &value);
  if (mh_sorted_seek_index(sorted, 0, &spot) != MHEAP_OK) return;
  while (u->visits++ < 20000 && mh_sorted_next(sorted, &spot, &entry) == MHEAP_OK) {
    use_value(u, sorted->space, entry.key, depth);
    use_value(u, sorted->space, entry.value, depth);
    if (mh_key_of_word(sorted->space, entry.key, &key) != MHEAP_OK) continue;
    u->sum += mh_sorted_get(sorted, &key, &value);
    if (mh_sorted_seek(sorted, &key, true, &found) == MHEAP_OK)
      u->sum += mh_sorted_index(sorted, &found, &value);
  }
  while (u->visits++ < 20000 && mh_sorted_previous(sorted, &spot, &entry) == MHEAP_OK) u->sum++;
}

/* Takes out every second entry, and stores others between them. */
static inline void use_change_sorted(mh_sorted *sorted) {
  mh_entry entry;
  mh_key key;
  mh_spot spot;
  for (uint64_t i = 0; i < 120; i++) {
    if (mh_sorted_seek_index(sorted, i, &spot) || mh_sorted_next(sorted, &spot, &entry)) break;
    mh_sorted_delete_index(sorted, i, &entry);
  }
  for (int i = 0; i < 60; i++) {
    mh_key_float(sorted->space, &key, mh_float_bits(i * 3 + 0.25));
    mh_sorted_set(sorted, &key, mh_word_int(i));
  }
  for (int i = 0; i < 300; i += 2) {
    mh_key_int(sorted->space, &key, i);
    mh_sorted_delete(sorted, &key);
  }
}

static inline void use_row(used *u, mh_space *space, const mh_schema *schema, const void *row,
                           unsigned depth) {
  for (uint32_t i = 0; i < schema->place_count && u->visits++ < 20000; i++)
    use_value(u, space, ((const uint64_t *)row)[schema->places[i]], depth);
}

static inline void use_record(used *u, mh_space *space, uint64_t offset, unsigned depth) {
  mh_fields record;
  if (mh_fields_at(space, offset, &record) != MHEAP_OK) return;
  use_row(u, space, record.schema, mh_fields_field(&record, 0), depth);
  if (u->sum % 2 == 0 || mh_fields_to_change(&record) != MHEAP_OK || record.schema->place_count == 0) return;
  mh_fields_set_word(&record, 8 * record.schema->places[0], mh_word_int(5));
  if (u->sum % 4 != 1) return;
  uint64_t row[MH_SCHEMA_FIELDS_MAX];
  uint32_t lost = 8 * record.schema->places[0];
  if (record.schema->bytes > sizeof row) return;
  memcpy(row, mh_fields_field(&record, 0), record.schema->bytes);
  row[record.schema->places[0]] = mh_word_int(6);
  mh_fields_migrate(&record, record.schema, row, &lost, 1);
}

static inline void use_rows(used *u, mh_space *space, uint64_t offset, unsigned depth) {
  static const uint64_t order[] = {2, 0, 1};
  mh_row_list list;
  mh_rows rows;
  if (mh_row_list_at(space, offset, &list) != MHEAP_OK) return;
  if (mh_row_list_rows(&list, false, &rows) != MHEAP_OK) return;
  for (uint64_t i = 0; i < rows.count && u->visits++ < 20000; i++)
    use_row(u, space, rows.schema, mh_row_at(&rows, i), depth);
  if (u->sum % 2 == 0) return;
  mh_rows_permute(&list, order, 3);
  mh_rows_splice(&list, 0, 1, NULL, 0);
}

/* A complex, a bytearray, or a compound. */
static inline void use_other(used *u, mh_space *space, uint64_t word, unsigned depth) {
  uint64_t real, imag, size;
  mh_key key;
  mh_text text;
  const uint64_t *head = mh_object_at(space, word);
  if (head == NULL || depth == 0) return;
  u->sum += mh_object_size(space, word, &size);
  if (mh_key_of_word(space, word, &key) == MHEAP_OK) u->sum += key.hash;
  if (mh_type_is_compound(mh_head_type(*head))) use_compound(u, space, word, depth - 1);
  else if (mh_head_type(*head) == MH_TYPE_COMPLEX) u->sum += mh_complex_read(space, word, &real, &imag);
  else if (mh_head_type(*head) == MH_TYPE_BYTEARRAY && mh_text_read(space, word, &text) == MHEAP_OK)
    for (uint64_t i = 0; i < text.length; i += 1 + i / 64) u->sum += ((const uint8_t *)text.data)[i];
}

/* Its rows; what can be written is changed and grows. */
static inline void use_array(used *u, mh_space *space, uint64_t offset) {
  mh_array array;
  mh_array_form form;
  mh_cells cells;
  if (mh_array_at(space, offset, &array) != MHEAP_OK) return;
  if (mh_array_form_of(&array, &form) == MHEAP_OK) {
    u->sum += form.stride + form.dimensions;
    use_scalar(u, space, form.type);
  }
  if (mh_array_cells(&array, false, &cells) != MHEAP_OK) return;
  uint64_t bytes = cells.count * cells.stride;
  if (bytes > 0) u->sum += (uint64_t)cells.data[0] + cells.data[bytes - 1];
  if (mh_array_cells(&array, true, &cells) != MHEAP_OK || cells.stride > 64) return;
  if (bytes > 0) cells.data[0] = cells.data[bytes - 1] = 5;
  static const char row[64] = "a row";
  mh_array_extend(&array, row, 1);
  if (cells.count < 100000) mh_array_resize(&array, cells.count * 2 + 3);
  mh_array_resize(&array, cells.count / 2);
}

/* A container that has no tag of its own. */
static inline void use_rare(used *u, mh_space *space, uint64_t offset, unsigned depth) {
  mh_dict counter;
  mh_list list;
  mh_sorted sorted;
  uint64_t limit;
  if (mh_table_owner_at(space, MH_TYPE_COUNTER, offset, &counter) == MHEAP_OK) use_dict(u, &counter, depth);
  if (mh_sorted_at(space, offset, &sorted) == MHEAP_OK) use_sorted(u, &sorted, depth);
  if (mh_deque_at(space, offset, &list) != MHEAP_OK) return;
  if (mh_deque_limit(&list, &limit) == MHEAP_OK) u->sum += limit;
  use_list(u, &list, depth);
}

static inline void use_value(used *u, mh_space *space, uint64_t word, unsigned depth) {
  mh_dict dict;
  mh_list list;
  uint64_t offset = mh_word_offset(word);
  switch (mh_word_tag(word)) {
    case MH_TAG_DICT_REF:
      if (depth > 0 && mh_dict_at(space, offset, &dict) == MHEAP_OK) use_dict(u, &dict, depth - 1);
      break;
    case MH_TAG_SET_REF:
      if (depth > 0 && mh_set_at(space, offset, &dict) == MHEAP_OK) use_dict(u, &dict, depth - 1);
      break;
    case MH_TAG_LIST_REF:
      if (depth > 0 && mh_list_at(space, offset, &list) == MHEAP_OK) use_list(u, &list, depth - 1);
      break;
    case MH_TAG_RECORD_REF:
      if (depth > 0 && mh_object_at(space, word) != NULL) use_record(u, space, offset, depth - 1);
      break;
    case MH_TAG_TUPLE_REF: use_other(u, space, word, depth); break;
    case MH_TAG_OTHER_REF:
      if (depth == 0 || mh_object_at(space, word) == NULL) break;
      if (!mh_is_container(space, word)) {
        use_other(u, space, word, depth);
        break;
      }
      use_array(u, space, offset);
      use_rows(u, space, offset, depth - 1);
      use_rare(u, space, offset, depth - 1);
      break;
    default: use_scalar(u, space, word);
  }
}

static inline uint64_t use_new_set(mh_space *space) {
  mh_dict set;
  mh_key key;
  if (mh_set_new(space, 4, &set) != MHEAP_OK) return 0;
  for (int i = 0; i < 20; i++) mh_key_int(space, &key, i * i), mh_set_add(&set, &key);
  return mh_container_ref(MH_TYPE_SET, set.offset);
}

static inline uint64_t use_new_deque(mh_space *space) {
  mh_list deque;
  uint64_t word;
  if (mh_deque_new(space, 4, 8, &deque) != MHEAP_OK) return 0;
  for (int i = 0; i < 10; i++) {
    word = mh_word_int(i);
    mh_deque_push(&deque, i % 3 == 0 ? MH_LEFT : MH_RIGHT, &word, 1);
  }
  mh_deque_rotate(&deque, 3);
  return mh_container_ref(MH_TYPE_DEQUE, deque.offset);
}

static inline uint64_t use_new_array(mh_space *space) {
  mh_array array;
  mh_array_form form = {.itemsize = 4, .dimensions = 2, .shape = {3}};
  if (mh_str_new(space, 1, "a type of its own", 17, &form.type) != MHEAP_OK) return 0;
  if (mh_array_stride(&form, 5) && mh_array_new(space, &form, 5, NULL, &array) == MHEAP_OK)
    return mh_container_ref(MH_TYPE_ARRAY, array.offset);
  mh_release(space, form.type);
  return 0;
}

/* A str, a list in a dict, numbers: of each kind one, in `dict`. */
static inline void use_store_objects(mh_space *space, mh_dict *dict) {
  static const char *const names[] = {"short", "a longer name than that", "list", "dict", "int",
                                      "float", "set", "deque", "tuple", "complex", "array"};
  const uint64_t limbs[3] = {1, 2, 3};
  mh_list list;
  mh_dict inner;
  mh_key key;
  uint64_t words[11] = {0}, item;
  mh_str_new(space, 1, "a string of its own", 19, &words[0]);
  mh_bytes_new(space, "some bytes, more than seven", 27, &words[1]);
  if (mh_list_new(space, 4, &list) == MHEAP_OK) {
    words[2] = mh_word_ref(MH_TAG_LIST_REF, list.offset);
    for (int i = 0; i < 6; i++)
      if (mh_int_new(space, i * INT64_C(1000000000000000000), &item) == MHEAP_OK) mh_list_append(&list, item);
  }
  if (mh_dict_new(space, 4, &inner) == MHEAP_OK) {
    words[3] = mh_word_ref(MH_TAG_DICT_REF, inner.offset);
    mh_key_int(space, &key, 12345);
    mh_dict_set(&inner, &key, MH_CONST_TRUE);
  }
  mh_limbs_new(space, limbs, 3, &words[4]);
  mh_float_new(space, 0x400921fb54442d18, &words[5]);
  words[6] = use_new_set(space);
  words[7] = use_new_deque(space);
  if (mh_compound_new(space, MH_TYPE_TUPLE, 0, 2, &words[8]) == MHEAP_OK) {
    mh_compound_set(space, words[8], 0, mh_word_int(7));
    if (mh_str_new(space, 1, "an item of a tuple", 18, &item) == MHEAP_OK)
      mh_compound_set(space, words[8], 1, item);
    if (mh_key_of_word(space, words[8], &key) == MHEAP_OK) mh_dict_set(dict, &key, mh_word_int(1));
  }
  mh_complex_new(space, 0x400921fb54442d18, 1, &words[9]);
  words[10] = use_new_array(space);
  for (int i = 0; i < 11; i++) {
    mh_key_text(space, &key, MH_TAG_STR_REF, 1, names[i], strlen(names[i]));
    if (words[i] != 0 && mh_dict_set(dict, &key, words[i]) != MHEAP_OK) mh_release(space, words[i]);
  }
}

/* Into memory; what is made of lies may be checked, and go again. */
static inline void use_copy(used *u, mh_space *space) {
  mh_space to = {0};
  mh_copied copied;
  mh_copy_objects(space, NULL, &copied, NULL, NULL);
  mheap *heap = mheap_attach(-1, &(mheap_options){.max_size = 1 << 26}, NULL);
  if (heap == NULL) return;
  mh_space_init(&to, heap);
  memcpy(to.seed, space->seed, sizeof to.seed);
  mh_copy_objects(space, &to, &copied, NULL, NULL);
  u->sum += copied.objects;
  mheap_check(heap, use_finding, NULL, u);
  mheap_detach(heap, NULL);
}

static inline void use_objects(used *u, bool change) {
  mh_space space = {0};
  mh_dict root = {0};
  mh_key key;
  mh_space_init(&space, u->heap);
  if (mh_root(&space, change, &root) != MHEAP_OK) return;
  use_dict(u, &root, 4);
  use_copy(u, &space);
  if (!change) return;
  if (u->sum % 3 == 0) mheap_collect_objects(u->heap, NULL);
  use_store_objects(&space, &root);
  mh_key_text(&space, &key, MH_TAG_STR_REF, 1, "sorted", 6);
  uint64_t word;
  mh_sorted sorted;
  if (mh_dict_get(&root, &key, &word) == MHEAP_OK && mh_object_at(&space, word) != NULL &&
      mh_sorted_at(&space, mh_word_offset(word), &sorted) == MHEAP_OK)
    use_change_sorted(&sorted);
  mh_key_text(&space, &key, MH_TAG_STR_REF, 1, "list", 4);
  mh_dict_delete(&root, &key);
  for (int i = 0; i < 40; i++) {
    mh_key_int(&space, &key, i);
    mh_dict_set(&root, &key, mh_word_int(i));
  }
  use_dict(u, &root, 4);
  mheap_collect_objects(u->heap, NULL);
  if (u->sum % 2 == 0) mh_dict_clear(&root);
  mheap_collect_objects(u->heap, NULL);
}

/* What the main heap has, each named heap has, too. */
static inline void use_named(used *u, bool change) {
  mheap *heaps[2 * USE_OWN];
  mheap *main = u->heap, *heap;
  mheap_err failed = MHEAP_OK;
  mheap_error error;
  char name[MHEAP_HEAP_NAME + 1];
  size_t length, count = 0;
  uint32_t row = 0;
  while (count < 2 * USE_OWN && (heap = mh_named_next(main->region, &row, &failed, &error)) != NULL)
    heaps[count++] = heap;
  for (size_t i = 0; i < count; i++) {
    u->heap = heaps[i];
    if (mheap_get_name(heaps[i], name, &length) == MHEAP_OK)
      u->sum += mheap_find_named(main, name, length) == heaps[i];
    use_objects(u, change);
    mheap_visit_blocks(heaps[i], use_block, u);
  }
  u->heap = main;
  for (size_t i = 0; i < count && change; i++)
    if ((u->sum + i) % 3 == 0) mheap_destroy(heaps[i]);
  heap = change && count > 0 ? mheap_new_named(main, "one more of these", 17, 0, 0) : NULL;
  if (heap != NULL) {
    u->heap = heap;
    use_objects(u, true);
    u->heap = main;
    mheap_destroy(heap);
  }
}

/* ---- memory ---- */

/* Sizes of small blocks, slabs of several slices, spans, huge spans. */
static inline size_t use_size(unsigned i) {
  static const size_t sizes[] = {1,    16,    64,    100,   1000,   1024, 3000,
                                 5000, 20000, 65536, 70000, 200000, 24,   4200000};
  return sizes[i % (sizeof sizes / sizeof sizes[0])];
}

static inline void use_write(char *block, size_t size) {
  if (block == NULL) return;
  block[0] = block[size - 1] = 'x';
  if (size <= 4096) memset(block, 'y', size);
}

/* Gives back all that was seen, before anything is taken. */
static inline void use_free(used *u) {
  for (int key = 0; key < 8; key++) mheap_free(u->heap, mheap_getkey(u->heap, key));
  for (unsigned i = 0; i < u->count; i++) mheap_free(u->heap, u->seen[i]);
  mheap_collect(u->heap, true);
}

static inline void use_change(used *u) {
  char *own[USE_OWN];
  for (unsigned i = 0; i < USE_OWN; i++) {
    own[i] = i % 7 == 6 ? mheap_memalign(u->heap, (size_t)64 << (i % 12), use_size(i))
                        : mheap_malloc(u->heap, use_size(i));
    use_write(own[i], use_size(i));
  }
  for (unsigned i = 0; i < u->count; i++) {
    if (i % 3 == 0) u->seen[i] = mheap_realloc(u->heap, u->seen[i], use_size(i));
    if (i % 3 == 1) mheap_free(u->heap, u->seen[i]);
    if (i % 5 == 1) mheap_free(u->heap, u->seen[i]); /* once more: refused */
    if (i % 3 == 2) mheap_free(u->heap, (char *)u->seen[i] + 16);
  }
  mheap_setkey(u->heap, 5, own[3]);
  mheap_setroot(u->heap, "name", 4, own[4]);
  mheap_setroot(u->heap, "another", 7, own[5]);
  for (unsigned i = 0; i < USE_OWN; i += 2) mheap_free(u->heap, own[i]);
  for (unsigned i = 1; i < USE_OWN; i += 4) {
    char *moved = mheap_realloc(u->heap, own[i], use_size(i + 5));
    if (moved != NULL) use_write(moved, use_size(i + 5));
  }
  mheap_collect(u->heap, true);
}

/* ---- arenas and more heaps ---- */

enum { USE_PLACES = 160 };

typedef struct used_places {
  used *u;
  unsigned heap_count, arena_count;
  mheap *heaps[USE_PLACES];
  mheap_arena arenas[USE_PLACES];
} used_places;

static inline bool use_other_heap(void *arg, mheap *heap) {
  used_places *p = arg;
  mheap_heap_info info;
  p->u->sum += (uint64_t)mheap_get_heap_info(heap, &info) + info.number + (uint64_t)info.tag;
  p->u->sum += mheap_main(heap) == p->u->heap;
  mheap_visit_blocks(heap, use_block, p->u);
  if (p->heap_count < USE_PLACES) p->heaps[p->heap_count++] = heap;
  return true;
}

static inline bool use_arena(void *arg, const mheap_arena_info *info) {
  used_places *p = arg;
  size_t size;
  p->u->sum += (uint64_t)(uintptr_t)mheap_arena_area(info->arena, &size) + size + info->used;
  if (p->arena_count < USE_PLACES) p->arenas[p->arena_count++] = info->arena;
  return true;
}

static inline void use_look_at_places(used_places *p) {
  p->heap_count = p->arena_count = 0;
  mheap_visit_heaps(p->u->heap, use_other_heap, p);
  mheap_visit_arenas(p->u->heap, use_arena, p);
  for (unsigned i = 0; i < p->u->count; i++)
    p->u->sum += mheap_heap_of(p->u->seen[i]) != NULL && mheap_usable_size_any(p->u->seen[i]) > 0;
}

static inline void use_new_places(used *u) {
  mheap_arena arena = 0;
  mheap_arena_reserve(u->heap, 5000000, &(mheap_arena_options){.exclusive = u->sum % 2 == 0}, &arena);
  mheap *inside = mheap_new(u->heap, 3, true, arena), *beside = mheap_new(u->heap, 0, u->sum % 3 == 0, 0);
  for (unsigned i = 0; i < USE_OWN; i++) {
    if (inside != NULL) use_write(mheap_malloc(inside, use_size(i)), use_size(i));
    if (beside != NULL) use_write(mheap_malloc(beside, use_size(i)), use_size(i));
  }
  mheap_arena_grow(arena, 9000000);
  if (inside != NULL) mheap_destroy(inside);
  if (beside != NULL) mheap_delete(beside);
  mheap_arena_release(arena);
}

/* Some of the heaps and arenas that the file has are used, and go. */
static inline void use_change_places(used_places *p) {
  for (unsigned i = 0; i < p->u->count; i += 3) mheap_free_any(p->u->seen[i]);
  for (unsigned i = 0; i < p->heap_count; i++) {
    if (p->heaps[i] == p->u->heap) continue;
    for (unsigned n = i; n < i + 6; n++) use_write(mheap_malloc(p->heaps[i], use_size(n)), use_size(n));
    if (i % 3 == 0 && mheap_destroy(p->heaps[i]) == MHEAP_OK) continue;
    if (i % 3 == 1) mheap_delete(p->heaps[i]);
  }
  for (unsigned i = 0; i < p->arena_count; i++)
    if (mheap_arena_release(p->arenas[i]) != MHEAP_OK) mheap_arena_grow(p->arenas[i], (i + 3) * MH_SEGMENT);
}

static inline void use_places(mheap *heap, bool change, uint64_t turn) {
  static used_places p;
  used u = {.heap = heap};
  p.u = &u;
  use_look_at_places(&p);
  if (!change) return;
  if (turn % 2 == 0) use_new_places(&u);
  use_change_places(&p);
  mheap_collect(heap, turn % 3 != 0);
  use_new_places(&u);
  u.count = 0;
  use_look_at_places(&p);
}

/* Looks at everything, changes what can be changed, looks again. Returns, whatever was found.
   Odd turns free first, and every other of them looks at nothing before. */
static inline void use_heap(mheap *heap, bool change, uint64_t turn) {
  used u = {.heap = heap};
  if (!change || turn % 4 != 3) {
    use_inspect(&u);
    use_objects(&u, false);
    use_named(&u, false);
  }
  if (turn % 2 == 0) use_places(heap, change, turn / 2);
  if (!change) return;
  if (turn % 2 == 0) use_objects(&u, true);
  use_named(&u, true);
  if (turn % 2 == 1) use_free(&u);
  use_change(&u);
  if (turn % 2 == 1) use_places(heap, change, turn / 2);
  used again = {.heap = heap};
  use_inspect(&again);
  use_objects(&again, true);
  mheap_sync(heap);
}

#endif
