/* test_copy.c: what a root leads to, copied into another region: all of it, once, packed, nothing else. */
#include "classes.h"
#include "objects/compound.h"
#include "objects/copy.h"
#include "objects/collect.h"
#include "objects_kit.h"

/* ---- two spaces ---- */

typedef struct pair {
  kit from, to;
  mh_copied copied;
} pair;

/* The hash seed is one, as it is in a file and its compacted self. */
static pair pair_open(void) {
  pair both = {.from = kit_open(), .to = kit_open()};
  memcpy(both.to.space.seed, both.from.space.seed, sizeof both.to.space.seed);
  memcpy(both.to.space.region->super->identity.hash_seed, both.to.space.seed, sizeof both.to.space.seed);
  return both;
}

static void drop_all(kit *kit) {
  mh_collected collected = {0};
  kit->space.region->super->root = 0;
  CHECK_EQ(mh_collect_begin(&kit->space), MHEAP_OK);
  CHECK_EQ(mh_collect_step(&kit->space, 1e9, &collected), MHEAP_OK);
}

static void pair_close(pair *both) {
  drop_all(&both->from);
  drop_all(&both->to);
  kit_close(&both->from);
  kit_close(&both->to);
}

static mheap_err copy(pair *both) {
  both->to.space.region->super->birth = both->from.space.region->super->birth;
  return mh_copy_objects(&both->from.space, &both->to.space, &both->copied, NULL, NULL);
}

/* ---- are they alike? ---- */

#define MOST 4096

typedef struct alike {
  mh_space *from, *to;
  uint64_t pairs[MOST][2];
  unsigned count;
} alike;

/* Did we come by these two, as one? */
static bool met(alike *a, uint64_t from, uint64_t to, bool *before) {
  *before = false;
  for (unsigned i = 0; i < a->count; i++) {
    if (a->pairs[i][0] != from && a->pairs[i][1] != to) continue;
    *before = true;
    return CHECK_EQ(a->pairs[i][0], from) && CHECK_EQ(a->pairs[i][1], to);
  }
  if (!CHECK(a->count < MOST)) exit(2);
  a->pairs[a->count][0] = from;
  a->pairs[a->count++][1] = to;
  return true;
}

static bool alike_words(alike *a, uint64_t from, uint64_t to);

static bool alike_dicts(alike *a, mh_type type, uint64_t from, uint64_t to) {
  mh_dict left, right;
  mh_entry one, other;
  uint32_t i = 0, j = 0;
  CHECK_EQ(mh_table_owner_at(a->from, type, from, &left), MHEAP_OK);
  CHECK_EQ(mh_table_owner_at(a->to, type, to, &right), MHEAP_OK);
  while (mh_dict_next(&left, &i, &one) == MHEAP_OK) {
    if (!CHECK_EQ(mh_dict_next(&right, &j, &other), MHEAP_OK)) return false;
    if (!alike_words(a, one.key, other.key) || !alike_words(a, one.value, other.value)) return false;
  }
  return CHECK_EQ(left.birth, right.birth) && CHECK_EQ(mh_dict_next(&right, &j, &other), MHEAP_ERR_NOT_FOUND);
}

static bool alike_lists(alike *a, mh_type type, uint64_t from, uint64_t to) {
  mh_list left, right;
  mh_items one, other;
  uint64_t limit = 0, other_limit = 0;
  CHECK_EQ(mh_items_owner_at(a->from, type, from, &left), MHEAP_OK);
  CHECK_EQ(mh_items_owner_at(a->to, type, to, &right), MHEAP_OK);
  CHECK_EQ(mh_list_items(&left, &one), MHEAP_OK);
  CHECK_EQ(mh_list_items(&right, &other), MHEAP_OK);
  if (type == MH_TYPE_DEQUE) {
    CHECK_EQ(mh_deque_limit(&left, &limit), MHEAP_OK);
    CHECK_EQ(mh_deque_limit(&right, &other_limit), MHEAP_OK);
  }
  if (!CHECK_EQ(limit, other_limit) || !CHECK_EQ(one.count, other.count)) return false;
  for (uint64_t i = 0; i < one.count; i++)
    if (!alike_words(a, one.words[i], other.words[i])) return false;
  return CHECK_EQ(left.birth, right.birth);
}

static bool alike_values(alike *a, uint64_t from, uint64_t to) {
  uint64_t size = 0, other = 0;
  mh_compound left, right;
  CHECK_EQ(mh_object_size(a->from, from, &size), MHEAP_OK);
  CHECK_EQ(mh_object_size(a->to, to, &other), MHEAP_OK);
  if (!CHECK_EQ(size, other)) return false;
  if (!mh_word_is_compound(a->from, from)) {
    const char *one = mh_at(a->from->region, mh_word_offset(from));
    const char *two = mh_at(a->to->region, mh_word_offset(to));
    return CHECK_EQ(*(const uint64_t *)one >> MH_COUNT_BITS, *(const uint64_t *)two >> MH_COUNT_BITS) &&
           CHECK(memcmp(one + 8, two + 8, size - 8) == 0);
  }
  CHECK_EQ(mh_compound_read(a->from, from, &left), MHEAP_OK);
  CHECK_EQ(mh_compound_read(a->to, to, &right), MHEAP_OK);
  if (!CHECK_EQ(left.type, right.type) || !CHECK_EQ(left.kind, right.kind)) return false;
  for (uint64_t i = 0; i < left.count; i++)
    if (!alike_words(a, left.words[i], right.words[i])) return false;
  return true;
}

static bool alike_words(alike *a, uint64_t from, uint64_t to) {
  bool before;
  if (!mh_word_is_ref(from)) return CHECK_EQ(from, to);
  if (!CHECK_EQ(mh_word_tag(from), mh_word_tag(to))) return false;
  uint64_t left = mh_word_offset(from), right = mh_word_offset(to);
  if (!met(a, left, right, &before) || before) return before;
  mh_type type = mh_head_type(*(uint64_t *)mh_at(a->from->region, left));
  if (!CHECK_EQ(type, mh_head_type(*(uint64_t *)mh_at(a->to->region, right)))) return false;
  if (mh_type_has_table(type)) return alike_dicts(a, type, left, right);
  if (mh_type_is_container(type)) return alike_lists(a, type, left, right);
  return alike_values(a, from, to);
}

/* Sound to the last count, of the same shape; returns how many objects that are. */
static unsigned is_copied(pair *both) {
  static alike a;
  a.from = &both->from.space;
  a.to = &both->to.space;
  a.count = 0;
  kit_is_sound(&both->to);
  alike_words(&a, mh_word_ref(MH_TAG_DICT_REF, both->from.space.region->super->root),
              mh_word_ref(MH_TAG_DICT_REF, both->to.space.region->super->root));
  CHECK_EQ(both->copied.objects, a.count);
  CHECK_EQ(kit_blocks(&both->to) - both->to.blocks, both->copied.blocks);
  return a.count;
}

/* ---- values of all types ---- */

static uint64_t compound(mh_space *space, mh_type type, mh_kind_code kind, uint64_t count,
                         const uint64_t *words) {
  uint64_t word = 0;
  CHECK_EQ(mh_compound_new(space, type, kind, count, &word), MHEAP_OK);
  for (uint64_t i = 0; i < count; i++) mh_compound_set(space, word, i, words[i]);
  return word;
}

static uint64_t wide_text(mh_space *space, unsigned kind) {
  uint64_t word = 0;
  const uint16_t two[] = {0x100, 0x200, 'a'};
  const uint32_t four[] = {0x10000, 0x1f600, 'a'};
  CHECK_EQ(mh_str_new(space, kind, kind == 2 ? (const void *)two : four, 3, &word), MHEAP_OK);
  return word;
}

/* Of the types of scalars and compounds, one each. */
#define KINDS_OF_VALUES 15
static uint64_t value_of_type(mh_space *space, unsigned n) {
  uint64_t word = MH_CONST_NONE;
  const uint64_t limbs[] = {1, 2, 3};
  switch (n) {
    case 0: return mh_word_int(-7);
    case 1: mh_limbs_new(space, limbs, 3, &word); return word;
    case 2: mh_float_new(space, mh_float_bits(0.1), &word); return word;
    case 3: mh_str_new(space, 1, "longer than a word", 18, &word); return word;
    case 4: return wide_text(space, 2);
    case 5: return wide_text(space, 4);
    case 6: mh_bytes_new(space, "longer than a word", 18, &word); return word;
    case 7: mh_bytearray_new(space, "", 0, &word); return word;
    case 8: mh_complex_new(space, mh_float_bits(1.5), mh_float_bits(-0.1), &word); return word;
    case 9: return compound(space, MH_TYPE_TUPLE, 0, 0, NULL);
    case 10: return compound(space, MH_TYPE_TUPLE, 0, 2, (uint64_t[]){kit_value(space, n), mh_word_int(3)});
    case 11: return compound(space, MH_TYPE_FROZENSET, 0, 1, (uint64_t[]){kit_value(space, n)});
    case 12: return compound(space, MH_TYPE_EXTENDED, MH_KIND_DATE, 1, (uint64_t[]){mh_word_int(700000)});
    case 13: return mh_word_text(MH_TAG_STR, "inline", 6);
    default: return MH_CONST_TRUE;
  }
}

static uint64_t list_of(mh_space *space, mh_type type, unsigned count) {
  mh_list list;
  if (type == MH_TYPE_LIST) CHECK_EQ(mh_list_new(space, 0, &list), MHEAP_OK);
  else CHECK_EQ(mh_deque_new(space, 0, count + 3, &list), MHEAP_OK);
  for (unsigned i = 0; i < count; i++)
    CHECK_EQ(mh_list_append(&list, value_of_type(space, i % KINDS_OF_VALUES)), MHEAP_OK);
  return mh_container_ref(type, list.offset);
}

static uint64_t set_of(mh_space *space, unsigned count) {
  mh_dict set;
  mh_key key;
  char buffer[64];
  CHECK_EQ(mh_set_new(space, 0, &set), MHEAP_OK);
  for (unsigned i = 0; i < count; i++) {
    kit_key(space, i, &key, buffer);
    CHECK_EQ(mh_set_add(&set, &key), MHEAP_OK);
  }
  return mh_container_ref(MH_TYPE_SET, set.offset);
}

static void every_type_is_copied(void) {
  pair both = pair_open();
  mh_space *space = &both.from.space;
  mh_dict root = kit_root(&both.from);
  unsigned n = 0;
  for (; n < KINDS_OF_VALUES; n++) kit_set(&root, n, value_of_type(space, n));
  for (unsigned count = 0; count < 40; count += 13, n += 3) {
    kit_set(&root, n, list_of(space, MH_TYPE_LIST, count));
    kit_set(&root, n + 1, list_of(space, MH_TYPE_DEQUE, count));
    kit_set(&root, n + 2, set_of(space, count));
  }
  kit_is_sound(&both.from);
  CHECK_EQ(copy(&both), MHEAP_OK);
  CHECK(is_copied(&both) > KINDS_OF_VALUES);
  for (unsigned i = 0; i < n; i++) {
    uint64_t word;
    mh_dict copied = kit_root(&both.to);
    CHECK_EQ(kit_get(&copied, i, &word), MHEAP_OK);
  }
  pair_close(&both);
}

/* ---- who refers to what ---- */

static void what_is_shared_stays_shared_and_circles_stay_circles(void) {
  pair both = pair_open();
  mh_space *space = &both.from.space;
  mh_dict root = kit_root(&both.from);
  uint64_t list = list_of(space, MH_TYPE_LIST, 3), value = kit_value(space, 1);
  mh_list handle;
  CHECK_EQ(mh_list_at(space, mh_word_offset(list), &handle), MHEAP_OK);
  const uint64_t twice[] = {list, value, value, mh_word_ref(MH_TAG_DICT_REF, root.offset), list};
  for (unsigned i = 0; i < 5; i++) {
    if (i != 1) CHECK_EQ(mh_retain(space, twice[i]), MHEAP_OK);
    CHECK_EQ(mh_list_append(&handle, twice[i]), MHEAP_OK);
  }
  kit_set(&root, 0, list);
  kit_set(&root, 1, compound(space, MH_TYPE_TUPLE, 0, 2, (uint64_t[]){value, list}));
  CHECK_EQ(mh_retain(space, value), MHEAP_OK);
  CHECK_EQ(mh_retain(space, list), MHEAP_OK);
  kit_is_sound(&both.from);
  CHECK_EQ(copy(&both), MHEAP_OK);
  is_copied(&both);
  pair_close(&both);
}

static void what_no_root_leads_to_stays_behind(void) {
  pair both = pair_open();
  mh_dict root = kit_root(&both.from);
  kit_set(&root, 0, list_of(&both.from.space, MH_TYPE_LIST, 20));
  for (unsigned i = 0; i < 100; i++) list_of(&both.from.space, MH_TYPE_LIST, 20);
  CHECK_EQ(copy(&both), MHEAP_OK);
  is_copied(&both);
  CHECK(kit_blocks(&both.to) - both.to.blocks < (kit_blocks(&both.from) - both.from.blocks) / 50);
  pair_close(&both);
}

static void counts_that_were_too_high_are_right_again(void) {
  pair both = pair_open();
  mh_dict root = kit_root(&both.from);
  uint64_t value = kit_value(&both.from.space, 0);
  uint64_t *head = mh_at(both.from.space.region, mh_word_offset(value));
  kit_set(&root, 0, value);
  *head += 5;
  kit_findings findings = kit_check(&both.from);
  CHECK_EQ(findings.notes, 1);
  CHECK_EQ(copy(&both), MHEAP_OK);
  is_copied(&both);
  *head |= MH_COUNT_STICKY;
  drop_all(&both.to);
  CHECK_EQ(copy(&both), MHEAP_OK);
  is_copied(&both);
  *head = mh_head(1, MH_TYPE_STR1, mh_head_length(*head));
  pair_close(&both);
}

static void an_empty_heap_has_an_empty_copy(void) {
  pair both = pair_open();
  CHECK_EQ(copy(&both), MHEAP_OK);
  CHECK_EQ(both.to.space.region->super->root, 0);
  kit_root(&both.from);
  CHECK_EQ(copy(&both), MHEAP_OK);
  CHECK_EQ(is_copied(&both), 1);
  pair_close(&both);
}

/* ---- room ---- */

static void tables_and_items_lose_what_they_do_not_need(void) {
  pair both = pair_open();
  mh_space *space = &both.from.space;
  mh_dict root = kit_root(&both.from), copied;
  mh_list list;
  mh_items items;
  for (unsigned i = 0; i < 1000; i++) kit_set(&root, i, kit_value(space, i));
  for (unsigned i = 0; i < 1000; i++)
    if (i % 50 != 0) CHECK_EQ(kit_delete(&root, i), MHEAP_OK);
  CHECK_EQ(mh_list_new(space, 1000, &list), MHEAP_OK);
  CHECK_EQ(mh_list_append(&list, mh_word_int(1)), MHEAP_OK);
  kit_set(&root, 1, mh_word_ref(MH_TAG_LIST_REF, list.offset));
  CHECK_EQ(copy(&both), MHEAP_OK);
  is_copied(&both);
  copied = kit_root(&both.to);
  const mh_table *table;
  CHECK_EQ(mh_dict_table(&copied, &table), MHEAP_OK);
  CHECK_EQ(table->capacity >= 21 && table->capacity < 32, true);
  CHECK_EQ(table->block->counts, 21 | (uint64_t)21 << 32);
  uint64_t word;
  CHECK_EQ(kit_get(&copied, 1, &word), MHEAP_OK);
  CHECK_EQ(mh_list_at(&both.to.space, mh_word_offset(word), &list), MHEAP_OK);
  CHECK_EQ(mh_list_items(&list, &items), MHEAP_OK);
  CHECK_EQ(mh_items_bytes(&items), mheap_good_size(sizeof(mh_items_block) + 8));
  pair_close(&both);
}

/* A removal that a kill interrupted is done in the copy. */
static void an_entry_that_is_being_removed_is_left_behind(void) {
  for (unsigned count = 5; count < 50; count += 40) {
    pair both = pair_open();
    mh_dict root = kit_root(&both.from), copied;
    uint64_t word;
    for (unsigned i = 0; i < count; i++) kit_set(&root, i, mh_word_int(i));
    const mh_table *table;
    CHECK_EQ(mh_dict_table(&root, &table), MHEAP_OK);
    table->block->pending = (2 + 1) | (uint64_t)(count - 1) << 32;
    CHECK_EQ(copy(&both), MHEAP_OK);
    is_copied(&both);
    copied = kit_root(&both.to);
    for (unsigned i = 0; i < count; i++)
      CHECK_EQ(kit_get(&copied, i, &word), i == 2 ? MHEAP_ERR_NOT_FOUND : MHEAP_OK);
    pair_close(&both);
  }
}

static void a_look_counts_what_a_copy_makes(void) {
  pair both = pair_open();
  mh_dict root = kit_root(&both.from);
  for (unsigned i = 0; i < 100; i++) kit_set(&root, i, list_of(&both.from.space, MH_TYPE_LIST, i % 30));
  mh_copied look;
  uint64_t bytes = 0;
  CHECK_EQ(mh_copy_objects(&both.from.space, NULL, &look, NULL, NULL), MHEAP_OK);
  CHECK_EQ(copy(&both), MHEAP_OK);
  is_copied(&both);
  CHECK(memcmp(&look, &both.copied, sizeof look) == 0);
  mheap_stats stats;
  CHECK_EQ(mheap_get_stats(both.to.heap, &stats), MHEAP_OK);
  for (unsigned i = 0; i < MHEAP_CLASSES; i++) {
    CHECK_EQ(stats.classes[i].used, look.classes[i]);
    bytes += stats.classes[i].used_bytes;
  }
  CHECK(bytes > 0);
  pair_close(&both);
}

/* ---- order ---- */

/* What a dict of lists of texts leads to lies, class by class, in the order in which it is come by. */
static void what_is_come_by_later_lies_behind(void) {
  pair both = pair_open();
  mh_space *space = &both.from.space;
  mh_dict root = kit_root(&both.from), copied;
  uint64_t lists[50];
  for (unsigned i = 0; i < 50; i++) lists[i] = list_of(space, MH_TYPE_LIST, 0);
  for (unsigned i = 0; i < 500; i++) {
    mh_list list;
    CHECK_EQ(mh_list_at(space, mh_word_offset(lists[kit_random(50)]), &list), MHEAP_OK);
    CHECK_EQ(mh_list_append(&list, kit_value(space, 1000 + i)), MHEAP_OK);
  }
  for (unsigned i = 0; i < 50; i++) kit_set(&root, 1000 + i, lists[(i * 7) % 50]);
  CHECK_EQ(copy(&both), MHEAP_OK);
  is_copied(&both);
  copied = kit_root(&both.to);
  mh_entry entry;
  uint64_t last_list = 0, last_text = 0, texts = 0;
  for (uint32_t index = 0; mh_dict_next(&copied, &index, &entry) == MHEAP_OK;) {
    mh_list list;
    mh_items items;
    CHECK_EQ(mh_list_at(&both.to.space, mh_word_offset(entry.value), &list), MHEAP_OK);
    CHECK_EQ(mh_list_items(&list, &items), MHEAP_OK);
    CHECK(list.offset > last_list);
    last_list = list.offset;
    for (uint64_t i = 0; i < items.count; i++, texts++) {
      CHECK(mh_word_offset(items.words[i]) > last_text);
      last_text = mh_word_offset(items.words[i]);
    }
  }
  CHECK_EQ(texts, 500);
  pair_close(&both);
}

/* ---- depth ---- */

#define DEPTH 200000

/* `last`: is what is in it the last thing in each? */
static void nest(mh_space *space, mh_dict *root, bool last) {
  uint64_t inner = MH_CONST_NONE;
  for (unsigned i = 0; i < DEPTH; i++) {
    mh_list list;
    CHECK_EQ(mh_list_new(space, 2, &list), MHEAP_OK);
    if (last) CHECK_EQ(mh_list_append(&list, mh_word_int(i)), MHEAP_OK);
    CHECK_EQ(mh_list_append(&list, inner), MHEAP_OK);
    if (!last) CHECK_EQ(mh_list_append(&list, mh_word_int(i)), MHEAP_OK);
    inner = mh_word_ref(MH_TAG_LIST_REF, list.offset);
  }
  kit_set(root, 0, inner);
}

static void any_depth_is_copied(void) {
  for (int last = 0; last < 2; last++) {
    pair both = pair_open();
    mh_dict root = kit_root(&both.from), copied;
    uint64_t word;
    nest(&both.from.space, &root, last);
    CHECK_EQ(copy(&both), MHEAP_OK);
    CHECK_EQ(both.copied.objects, DEPTH + 1);
    kit_is_sound(&both.to);
    copied = kit_root(&both.to);
    CHECK_EQ(kit_get(&copied, 0, &word), MHEAP_OK);
    for (unsigned i = DEPTH; i-- > 0;) {
      mh_list list;
      mh_items items;
      REQUIRE_EQ(mh_list_at(&both.to.space, mh_word_offset(word), &list), MHEAP_OK);
      REQUIRE_EQ(mh_list_items(&list, &items), MHEAP_OK);
      REQUIRE_EQ(items.words[last ? 0 : 1], mh_word_int(i));
      word = items.words[last];
    }
    CHECK_EQ(word, MH_CONST_NONE);
    pair_close(&both);
  }
}

/* ---- files that lie ---- */

static void is_refused(pair *both, const char *text) {
  CHECK_EQ(copy(both), MHEAP_ERR_CORRUPT);
  CHECK_CONTAINS(mheap_last_error(both->from.heap)->text, text);
  CHECK_EQ(both->to.space.region->super->root, 0);
}

static void what_contradicts_itself_is_refused(void) {
  pair both = pair_open();
  mh_space *space = &both.from.space;
  mh_dict root = kit_root(&both.from);
  uint64_t value = kit_value(space, 1), list = list_of(space, MH_TYPE_LIST, 3);
  uint64_t other = list_of(space, MH_TYPE_LIST, 3);
  kit_set(&root, 0, value);
  kit_set(&root, 2, list);
  kit_set(&root, 4, other);
  mh_container *left = mh_at(space->region, mh_word_offset(list));
  mh_container *right = mh_at(space->region, mh_word_offset(other));
  mh_items_block *items = mh_at(space->region, left->part);
  const mh_table *table;
  CHECK_EQ(mh_dict_table(&root, &table), MHEAP_OK);
  uint64_t *text = mh_at(space->region, mh_word_offset(value)), super = space->region->super->root;
  struct {
    uint64_t *word, lie;
    const char *text;
  } lies[] = {
      {&left->part, right->part, "owners of"},
      {&left->birth, 0, "birth number"},
      {&items->words[0], value, "reference count"},
      {&items->words[0], 4 << 4, "constant"},
      {&items->words[1], MH_OFFSET_MAX - 11, "beyond the region"},
      {&items->head, mh_head(0, MH_TYPE_ITEMS, 1000), "block in use"},
      {&table->block->counts, 3 | (uint64_t)2 << 32, "live entries"},
      {text, mh_head(1, MH_TYPE_STR1, 4000), "block in use"},
      {&space->region->super->root, super + 8, "root"},
  };
  for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
    uint64_t was = *lies[i].word;
    *lies[i].word = lies[i].lie;
    is_refused(&both, lies[i].text);
    *lies[i].word = was;
    drop_all(&both.to);
  }
  CHECK_EQ(copy(&both), MHEAP_OK);
  is_copied(&both);
  pair_close(&both);
}

/* Keys whose hashes are one: who knows the seed can make them. */
static void keys_that_all_collide_are_refused(void) {
  pair both = pair_open();
  mh_space *space = &both.from.space;
  mh_dict root = kit_root(&both.from);
  enum { KEYS = 8192 };
  mh_table table;
  CHECK_EQ(mh_table_new(space, 2 * KEYS, &table), MHEAP_OK);
  for (unsigned i = 0; i < KEYS; i++) table.entries[i] = (mh_entry){mh_word_int(7), MH_CONST_NONE};
  table.block->counts = KEYS | (uint64_t)KEYS << 32;
  ((mh_container *)mh_at(space->region, root.offset))->part = table.offset;
  is_refused(&both, "probes");
  pair_close(&both);
}

static void a_full_region_is_an_error(void) {
  pair both = pair_open();
  mh_dict root = kit_root(&both.from);
  for (unsigned i = 0; i < 20000; i++) kit_set(&root, i, kit_value(&both.from.space, i));
  kit small = {.heap = mheap_attach(-1, &(mheap_options){.max_size = 10 * 65536}, NULL)};
  mh_space_init(&small.space, small.heap);
  memcpy(small.space.seed, both.from.space.seed, sizeof small.space.seed);
  CHECK_EQ(mh_copy_objects(&both.from.space, &small.space, &both.copied, NULL, NULL), MHEAP_ERR_FULL);
  CHECK_EQ(mheap_last_error(both.from.heap)->code, MHEAP_ERR_FULL);
  CHECK_EQ(small.space.region->super->root, 0);
  CHECK_EQ(mheap_detach(small.heap, NULL), MHEAP_OK);
  pair_close(&both);
}

TEST_MAIN(TEST(every_type_is_copied), TEST(what_is_shared_stays_shared_and_circles_stay_circles),
          TEST(what_no_root_leads_to_stays_behind), TEST(counts_that_were_too_high_are_right_again),
          TEST(an_empty_heap_has_an_empty_copy), TEST(tables_and_items_lose_what_they_do_not_need),
          TEST(an_entry_that_is_being_removed_is_left_behind), TEST(a_look_counts_what_a_copy_makes),
          TEST(what_is_come_by_later_lies_behind), TEST(any_depth_is_copied),
          TEST(what_contradicts_itself_is_refused), TEST(keys_that_all_collide_are_refused),
          TEST(a_full_region_is_an_error))
