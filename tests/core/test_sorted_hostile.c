/* test_sorted_hostile.c: sorted dicts whose stored fields say what an attacker wants: each with boundary
   values, then everything that reads, one thing that writes, and all that reads again. */
#include "objects_kit.h"
#include "objects/collect.h"

#define ENTRIES 150 /* three levels */

typedef struct zoo {
  kit kit;
  mh_dict root;
  mh_sorted sorted;
  mh_node leaf, middle, top;
} zoo;

static void key_of(zoo *zoo, unsigned n, mh_key *key, char buffer[64]) {
  int length = snprintf(buffer, 64, "%04u%s", n, n % 2 == 0 ? "" : " and more than seven");
  mh_key_text(&zoo->kit.space, key, MH_TAG_STR_REF, 1, buffer, (uint64_t)length);
}

static mheap_err put(zoo *zoo, unsigned n, uint64_t value) {
  mh_key key;
  char buffer[64];
  key_of(zoo, n, &key, buffer);
  mheap_err failed = mh_sorted_set(&zoo->sorted, &key, value);
  if (failed) mh_release(&zoo->kit.space, value);
  return failed;
}

static mheap_err take(zoo *zoo, unsigned n) {
  mh_key key;
  char buffer[64];
  key_of(zoo, n, &key, buffer);
  return mh_sorted_delete(&zoo->sorted, &key);
}

/* In place: handles point into it. */
static void zoo_open(zoo *zoo) {
  mh_spot spot;
  *zoo = (struct zoo){.kit = kit_open()};
  mh_space *space = &zoo->kit.space;
  zoo->root = kit_root(&zoo->kit);
  CHECK_EQ(mh_sorted_new(space, &zoo->sorted), MHEAP_OK);
  kit_set(&zoo->root, 0, mh_container_ref(MH_TYPE_SORTED, zoo->sorted.offset));
  for (unsigned i = 0; i < ENTRIES; i++) CHECK_EQ(put(zoo, i * 37 % 151, kit_value(space, i)), MHEAP_OK);
  CHECK_EQ(mh_sorted_seek_index(&zoo->sorted, 40, &spot), MHEAP_OK);
  if (!CHECK_EQ(spot.levels, 3)) exit(2);
  CHECK_EQ(mh_node_open(space, spot.node[0], 0, &zoo->leaf), MHEAP_OK);
  CHECK_EQ(mh_node_open(space, spot.node[1], 1, &zoo->middle), MHEAP_OK);
  CHECK_EQ(mh_node_open(space, spot.node[2], 2, &zoo->top), MHEAP_OK);
}

static void read_everything(zoo *zoo) {
  mh_space *space = &zoo->kit.space;
  mh_sorted sorted;
  mh_entry entry;
  mh_spot spot;
  uint64_t value;
  mh_key key;
  char buffer[64];
  for (unsigned i = 0; i < ENTRIES; i += 3) {
    key_of(zoo, i, &key, buffer);
    (void)mh_sorted_get(&zoo->sorted, &key, &value);
    if (mh_sorted_seek(&zoo->sorted, &key, i % 2 == 0, &spot) == MHEAP_OK)
      (void)mh_sorted_index(&zoo->sorted, &spot, &value);
  }
  if (mh_sorted_at(space, zoo->sorted.offset, &sorted) == MHEAP_OK) {
    (void)mh_sorted_length(&sorted, &value);
    for (uint64_t i = 0; i < 200; i += 30)
      if (mh_sorted_seek_index(&sorted, i, &spot) == MHEAP_OK)
        for (int k = 0; k < 200 && mh_sorted_next(&sorted, &spot, &entry) == MHEAP_OK; k++)
          (void)mh_object_at(space, entry.value);
    if (mh_sorted_seek_index(&sorted, UINT64_MAX, &spot) == MHEAP_OK)
      for (int k = 0; k < 200 && mh_sorted_previous(&sorted, &spot, &entry) == MHEAP_OK; k++) {}
  }
  (void)mh_objects_check(zoo->kit.heap, NULL, NULL);
}

enum { ADD = 1, ADD_MANY, REMOVE, REMOVE_MANY, CLEAR, DROP_ALL, COLLECT, OPERATIONS };

static void collect(zoo *zoo) {
  mh_collected got = {0};
  if (mh_collect_begin(&zoo->kit.space)) return;
  while (!got.done && mh_collect_step(&zoo->kit.space, 0, &got) == MHEAP_OK) {}
}

static void change(zoo *zoo, int operation) {
  switch (operation) {
    case ADD: (void)put(zoo, 40, mh_word_int(1)); break;
    case ADD_MANY:
      for (unsigned i = 0; i < 60; i++) (void)put(zoo, 200 + i, mh_word_int(1));
      for (unsigned i = 0; i < 151; i++) (void)put(zoo, i, mh_word_int(1));
      break;
    case REMOVE: (void)take(zoo, 41); break;
    case REMOVE_MANY:
      for (unsigned i = 20; i < 130; i++) (void)take(zoo, i);
      break;
    case CLEAR: (void)mh_sorted_clear(&zoo->sorted); break;
    case DROP_ALL: kit_drop_root(&zoo->kit); break;
    case COLLECT:
      (void)kit_delete(&zoo->root, 0);
      collect(zoo);
      break;
    default: collect(zoo); break;
  }
}

#include "hostile.h"

static void with_every_value(uint64_t *(*field)(zoo *)) {
  zoo zoo;
  zoo_open(&zoo);
  uint64_t size = mh_region_size(zoo.kit.space.region), before = *field(&zoo);
  const uint64_t values[] = {0, 1, 2, 7, 8, 15, 16, before - 16, before + 16, before + 1, before - 1,
                             before ^ 1, before << 1, zoo.root.offset, zoo.root.part, zoo.sorted.offset,
                             zoo.leaf.offset, zoo.middle.offset, zoo.top.offset, size, size - 16, size + 16,
                             mh_node_branch(&zoo.middle, 0)->child, mh_node_branch(&zoo.top, 0)->child,
                             mh_node_entry(&zoo.leaf, 0)->key, mh_node_entry(&zoo.leaf, 1)->value,
                             MH_CONST_NONE, mh_word_int(5),
                             mh_container_ref(MH_TYPE_SORTED, zoo.sorted.offset),
                             0xffff, 0x7fffffff, 0xffffffff, 0xffffffff00000000, INT64_MAX, MH_ORDER_EMPTY,
                             MH_ORDER_EMPTY | 1, MH_ORDER_EMPTY | 15, 0x1111111111111118,
                             UINT64_MAX, UINT64_MAX - 15, MH_OFFSET_MAX, before ^ 0xff, before ^ 0xf0,
                             before ^ 0xff0000, before ^ 0x1000000, before ^ 0x2000000, before ^ 0x3000000,
                             before ^ 0xff000000, before ^ (uint64_t)1 << 32, before ^ (uint64_t)2 << 32,
                             before ^ (uint64_t)0xff << 32, before ^ (uint64_t)0xff << 56};
  mheap_abandon(zoo.kit.heap);
  with_values(field, values, sizeof values / sizeof *values);
}

#define CONTAINER(zoo) ((mh_container *)mh_at((zoo)->kit.space.region, (zoo)->sorted.offset))

FIELD(reference, &zoo->root.table.entries[0].value)
FIELD(head, &CONTAINER(zoo)->head)
FIELD(birth, &CONTAINER(zoo)->birth)
FIELD(part, &CONTAINER(zoo)->part)
FIELD(pending, &CONTAINER(zoo)->pending)
FIELD(leaf_head, &zoo->leaf.block->head)
FIELD(leaf_order, &zoo->leaf.block->order)
FIELD(leaf_key, &mh_node_entry(&zoo->leaf, 3)->key)
FIELD(leaf_value, &mh_node_entry(&zoo->leaf, 3)->value)
FIELD(middle_head, &zoo->middle.block->head)
FIELD(middle_order, &zoo->middle.block->order)
FIELD(middle_key, &mh_node_branch(&zoo->middle, 1)->key)
FIELD(middle_child, &mh_node_branch(&zoo->middle, 1)->child)
FIELD(middle_count, &mh_node_branch(&zoo->middle, 1)->count)
FIELD(top_head, &zoo->top.block->head)
FIELD(top_order, &zoo->top.block->order)
FIELD(top_key, &mh_node_branch(&zoo->top, 1)->key)
FIELD(top_child, &mh_node_branch(&zoo->top, 1)->child)
FIELD(top_count, &mh_node_branch(&zoo->top, 1)->count)

static void hostile_containers_are_harmless(void) {
  with_every_value(reference);
  with_every_value(head);
  with_every_value(birth);
  with_every_value(part);
  with_every_value(pending);
}

static void hostile_leaves_are_harmless(void) {
  with_every_value(leaf_head);
  with_every_value(leaf_order);
  with_every_value(leaf_key);
  with_every_value(leaf_value);
}

static void hostile_nodes_are_harmless(void) {
  with_every_value(middle_head);
  with_every_value(middle_order);
  with_every_value(middle_key);
  with_every_value(middle_child);
  with_every_value(middle_count);
}

static void hostile_tops_are_harmless(void) {
  with_every_value(top_head);
  with_every_value(top_order);
  with_every_value(top_key);
  with_every_value(top_child);
  with_every_value(top_count);
}

/* What a check must say of each. */
static void is_found(uint64_t *(*field)(zoo *), uint64_t (*value)(zoo *), const char *text) {
  zoo zoo;
  zoo_open(&zoo);
  *field(&zoo) = value(&zoo);
  kit_findings findings = kit_check(&zoo.kit);
  CHECK(findings.broken > 0);
  CHECK_CONTAINS(findings.text, text);
  mheap_abandon(zoo.kit.heap);
}

static uint64_t another_child(zoo *zoo) { return mh_node_branch(&zoo->middle, 0)->child; }
static uint64_t one_more(zoo *zoo) { return mh_node_branch(&zoo->top, 1)->count + 1; }
static uint64_t key_of_another(zoo *zoo) { return mh_node_entry(&zoo->leaf, 0)->key; }
static uint64_t a_number(zoo *zoo) { return (void)zoo, mh_word_int(7); }
static uint64_t a_place_twice(zoo *zoo) { return mh_order_swap(zoo->leaf.order, 0, 1) ^ (uint64_t)1 << 4; }
static uint64_t two(zoo *zoo) { return (void)zoo, 2; }

static void a_check_finds_what_is_wrong(void) {
  is_found(top_count, one_more, "entries below a branch");
  is_found(middle_key, a_number, "a key of a sorted dict is not above the one before it");
  is_found(pending, two, "a change of a sorted dict: expected 0 or 1");
  is_found(leaf_order, a_place_twice, "");
  is_found(middle_child, another_child, "");
  is_found(leaf_key, key_of_another, "");
}

/* A node that all branches lead to, on every level: what is below it is counted again and again. */
static void nodes_that_are_shared_end_in_an_error(void) {
  zoo zoo;
  uint64_t length;
  zoo_open(&zoo);
  mh_space *space = &zoo.kit.space;
  mh_node above[MH_NODE_LEVELS];
  uint64_t child = zoo.leaf.offset;
  for (unsigned level = 1; level < MH_NODE_LEVELS; level++) {
    CHECK_EQ(mh_node_new(space, level, &above[level]), MHEAP_OK);
    for (unsigned i = 0; i < MH_NODE_PLACES; i++)
      above[level].branches[i] = (mh_branch){.key = MH_CONST_NONE, .child = child, .count = 1};
    mh_node_publish(&above[level], mh_order_first(MH_NODE_PLACES));
    child = above[level].offset;
  }
  CONTAINER(&zoo)->part = child;
  CONTAINER(&zoo)->pending = 1;
  CHECK_EQ(mh_sorted_length(&zoo.sorted, &length), MHEAP_ERR_CORRUPT);
  CHECK_EQ(put(&zoo, 5, mh_word_int(1)), MHEAP_ERR_CORRUPT);
  CHECK(kit_check(&zoo.kit).broken > 0);
  CONTAINER(&zoo)->pending = 0;
  read_everything(&zoo);
  change(&zoo, ADD_MANY);
  change(&zoo, COLLECT);
  mheap_abandon(zoo.kit.heap);
}

static void a_length_beyond_the_heap_is_refused(void) {
  zoo zoo;
  uint64_t length;
  zoo_open(&zoo);
  *top_count(&zoo) = (uint64_t)1 << 40;
  CHECK_EQ(mh_sorted_length(&zoo.sorted, &length), MHEAP_ERR_CORRUPT);
  mheap_abandon(zoo.kit.heap);
}

static void as_they_are_nothing_is_found(void) {
  zoo zoo;
  zoo_open(&zoo);
  read_everything(&zoo);
  kit_is_sound(&zoo.kit);
  for (int operation = 0; operation < OPERATIONS; operation++) {
    if (operation == COLLECT) continue; /* after all was dropped */
    change(&zoo, operation);
    kit_is_sound(&zoo.kit);
  }
  kit_close(&zoo.kit);
}

TEST_MAIN(TEST(as_they_are_nothing_is_found),
          TEST(a_check_finds_what_is_wrong),
          TEST(nodes_that_are_shared_end_in_an_error),
          TEST(a_length_beyond_the_heap_is_refused),
          TEST(hostile_containers_are_harmless),
          TEST(hostile_leaves_are_harmless),
          TEST(hostile_nodes_are_harmless),
          TEST(hostile_tops_are_harmless))
