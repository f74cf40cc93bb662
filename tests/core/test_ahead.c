/* test_ahead.c: checks and collections ask memory for objects while they are far back in their queues, before
   they have looked at them. What is found must not depend on where in a queue an object is; and how
   crowded a table is, not on how that is found out. */
#include "objects/compound.h"
#include "objects_kit.h"

enum { OTHERS = 60 }; /* that stand before, or behind, the four in the queue */
enum { A_DICT, A_LIST, A_DEQUE, A_TUPLE, FOUR };

typedef struct zoo {
  kit kit;
  mh_list all;
  unsigned at; /* of the four in the list */
  uint64_t four[FOUR];
} zoo;

static uint64_t a_dict(mh_space *space, unsigned n) {
  mh_dict dict;
  CHECK_EQ(mh_dict_new(space, 0, &dict), MHEAP_OK);
  for (unsigned i = 0; i < 5; i++) kit_set(&dict, i, kit_value(space, n + i));
  return mh_container_ref(MH_TYPE_DICT, dict.offset);
}

static uint64_t a_list(mh_space *space, unsigned n) {
  mh_list list;
  uint64_t words[3] = {kit_value(space, n), mh_word_int(1), kit_value(space, n + 1)};
  CHECK_EQ(mh_list_new(space, 0, &list), MHEAP_OK);
  CHECK_EQ(mh_list_splice(&list, 0, 0, words, 3), MHEAP_OK);
  return mh_container_ref(MH_TYPE_LIST, list.offset);
}

static uint64_t a_deque(mh_space *space, unsigned n) {
  mh_list deque;
  CHECK_EQ(mh_deque_new(space, 0, 9, &deque), MHEAP_OK);
  for (unsigned i = 0; i < 4; i++) {
    uint64_t word = kit_value(space, n + i);
    CHECK_EQ(mh_deque_push(&deque, i % 2 ? MH_LEFT : MH_RIGHT, &word, 1), MHEAP_OK);
  }
  return mh_container_ref(MH_TYPE_DEQUE, deque.offset);
}

static uint64_t a_tuple(mh_space *space, unsigned n) {
  uint64_t word = 0;
  CHECK_EQ(mh_compound_new(space, MH_TYPE_TUPLE, (mh_kind_code)0, 2, &word), MHEAP_OK);
  for (unsigned i = 0; i < 2; i++) mh_compound_set(space, word, i, kit_value(space, n + i));
  return word;
}

static uint64_t (*const make[FOUR])(mh_space *, unsigned) = {a_dict, a_list, a_deque, a_tuple};

/* In place: handles point into it. All lies where it does, with the same hashes, whatever order the list has
   it in. */
static void zoo_open(zoo *zoo, bool last) {
  *zoo = (struct zoo){.kit = kit_open(), .at = last ? OTHERS : 0};
  mh_space *space = &zoo->kit.space;
  CHECK_EQ(mh_space_set_seed(space, "sixteen letters."), MHEAP_OK);
  mh_dict root = kit_root(&zoo->kit);
  uint64_t words[FOUR + OTHERS];
  CHECK_EQ(mh_list_new(space, 0, &zoo->all), MHEAP_OK);
  kit_set(&root, 0, mh_container_ref(MH_TYPE_LIST, zoo->all.offset));
  for (unsigned i = 0; i < FOUR; i++) words[zoo->at + i] = zoo->four[i] = make[i](space, i);
  for (unsigned i = 0; i < OTHERS; i++) words[last ? i : FOUR + i] = make[i % FOUR](space, i);
  CHECK_EQ(mh_list_splice(&zoo->all, 0, 0, words, FOUR + OTHERS), MHEAP_OK);
}

static uint64_t *word_of(zoo *zoo, uint64_t offset, unsigned number) {
  return (uint64_t *)mh_at(zoo->kit.space.region, offset) + number;
}

static uint64_t *reference(zoo *zoo, unsigned which) {
  mh_items items;
  CHECK_EQ(mh_list_items(&zoo->all, &items), MHEAP_OK);
  return &items.words[zoo->at + which];
}

/* The fields of one of the four: its reference, its own words, the first of its part. */
enum { OWN = 4, PARTS = 6, FIELDS = 1 + OWN + PARTS };
static uint64_t *field_of(zoo *zoo, unsigned which, unsigned field) {
  uint64_t offset = mh_word_offset(zoo->four[which]);
  if (field == 0) return reference(zoo, which);
  if (field <= OWN) return word_of(zoo, offset, field - 1);
  if (which == A_TUPLE) return NULL;
  return word_of(zoo, *word_of(zoo, offset, 2), field - 1 - OWN);
}

enum { VALUES = 20, TWICE = 6 };
static uint64_t value_of(zoo *zoo, unsigned number, uint64_t before) {
  uint64_t size = mh_region_size(zoo->kit.space.region);
  const uint64_t values[VALUES] = {0, 1, 16, before - 16, before + 16, before ^ 1, before << 1,
                                   before ^ (uint64_t)0x7f << 32, before ^ (uint64_t)0xff << 56,
                                   before ^ 0x2000000, before ^ 0x5000000, size, size + 16,
                                   0xffffffff, 0xffffffff00000000, (uint64_t)INT64_MAX, UINT64_MAX,
                                   UINT64_MAX - 15, MH_OFFSET_MAX, zoo->all.offset};
  return values[number];
}

static kit_findings findings_of(bool last, unsigned which, unsigned field, unsigned value) {
  zoo zoo;
  zoo_open(&zoo, last);
  uint64_t *at = field_of(&zoo, which, field);
  if (at != NULL) *at = value_of(&zoo, value, *at);
  kit_findings found = kit_check(&zoo.kit);
  mheap_abandon(zoo.kit.heap);
  return found;
}

static void the_same_is_found_wherever_it_is(void) {
  unsigned broken = 0;
  for (unsigned which = 0; which < FOUR; which++)
    for (unsigned field = 0; field < FIELDS; field++)
      for (unsigned value = 0; value < VALUES; value++) {
        kit_findings first = findings_of(false, which, field, value);
        kit_findings last = findings_of(true, which, field, value);
        if (!CHECK_EQ(first.broken, last.broken) || !CHECK_EQ(first.notes, last.notes))
          fprintf(stderr, "object %u, field %u, value %u\n", which, field, value);
        broken += last.broken > 0;
      }
  CHECK(broken > FOUR * FIELDS * VALUES / 2);
}

typedef struct collected {
  mheap_err failed;
  uint64_t objects;
} collected;

static collected collected_of(bool last, unsigned which, unsigned field, unsigned value) {
  zoo zoo;
  mheap_collected got = {0};
  zoo_open(&zoo, last);
  uint64_t *at = field_of(&zoo, which, field);
  if (at != NULL) *at = value_of(&zoo, value, *at);
  collected is = {.failed = mheap_collect_objects(zoo.kit.heap, &got)};
  is.objects = got.objects;
  mheap_abandon(zoo.kit.heap);
  return is;
}

/* Twice a reference is one to something else: it is refused, but not where that has a mark by then. */
static void the_same_is_collected_wherever_it_is(void) {
  unsigned refused = 0, freed = 0;
  for (unsigned which = 0; which < FOUR; which++)
    for (unsigned field = 0; field < FIELDS; field++)
      for (unsigned value = 0; value < VALUES; value++) {
        if (value == TWICE) continue;
        collected first = collected_of(false, which, field, value);
        collected last = collected_of(true, which, field, value);
        if (!CHECK_EQ(first.failed, last.failed) || !CHECK_EQ(first.objects, last.objects))
          fprintf(stderr, "object %u, field %u, value %u\n", which, field, value);
        refused += last.failed == MHEAP_ERR_CORRUPT;
        freed += last.failed == MHEAP_OK && last.objects > 0;
      }
  CHECK(refused > FOUR * FIELDS * VALUES / 4);
  CHECK(freed > FIELDS);
}

/* What would lie behind the end is not read. */
static void an_object_whose_rest_is_behind_the_end(void) {
  static const struct {
    mh_tag tag;
    mh_type type;
  } kinds[] = {{MH_TAG_LIST_REF, MH_TYPE_LIST},     {MH_TAG_DICT_REF, MH_TYPE_DICT},
               {MH_TAG_TUPLE_REF, MH_TYPE_TUPLE},   {MH_TAG_RECORD_REF, MH_TYPE_RECORD},
               {MH_TAG_OTHER_REF, MH_TYPE_SORTED}};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    zoo zoo;
    zoo_open(&zoo, true);
    uint64_t end = mh_region_size(zoo.kit.space.region);
    *word_of(&zoo, end - 16, 0) = mh_head(1, kinds[i].type, 0x7fffff);
    *reference(&zoo, 0) = mh_word_ref(kinds[i].tag, end - 16);
    *word_of(&zoo, mh_word_offset(zoo.four[A_LIST]), 2) = end - 16;
    CHECK(kit_check(&zoo.kit).broken >= 2);
    CHECK_EQ(mheap_collect_objects(zoo.kit.heap, NULL), MHEAP_ERR_CORRUPT);
    mheap_abandon(zoo.kit.heap);
  }
}

/* Has all slots in use, as removals leave them, but `kept` in each thousand; those that are empty. */
static kit_findings with_few_empty_slots(unsigned kept) {
  kit kit = kit_open();
  mh_dict root = kit_root(&kit);
  mh_table table;
  for (unsigned i = 0; i < 2100; i++) kit_set(&root, i, mh_word_int(i));
  CHECK_EQ(mh_table_open(&kit.space, root.part, &table), MHEAP_OK);
  CHECK(table.mask >= 4095);
  unsigned left = 0;
  for (uint64_t i = 0; i <= table.mask; i++) {
    if (i % 1000 == 0) left = kept;
    if (table.slots[i] != MH_SLOT_EMPTY) continue;
    if (left > 0) left--;
    else table.slots[i] = MH_SLOT_REMOVED;
  }
  kit_findings found = kit_check(&kit);
  mheap_abandon(kit.heap);
  return found;
}

static void crowded_slots_are_told(void) {
  CHECK_EQ(with_few_empty_slots(0).broken, 1);
  CHECK_STR(with_few_empty_slots(0).text, "the slots of a table are too crowded to look keys up");
  CHECK_STR(with_few_empty_slots(1).text, "");
  CHECK_STR(with_few_empty_slots(1000).text, "");
}

static void untouched_nothing_is_found(void) {
  for (int last = 0; last < 2; last++) {
    zoo zoo;
    zoo_open(&zoo, last);
    kit_is_sound(&zoo.kit);
    kit_drop_root(&zoo.kit);
    kit_close(&zoo.kit);
  }
}

TEST_MAIN(TEST(untouched_nothing_is_found), TEST(the_same_is_found_wherever_it_is),
          TEST(the_same_is_collected_wherever_it_is),
          TEST(an_object_whose_rest_is_behind_the_end), TEST(crowded_slots_are_told))
