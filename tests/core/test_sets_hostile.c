/* test_sets_hostile.c: sets and deques whose stored fields say what an attacker wants: each with
   boundary values, then everything that reads, one thing that writes, and all that reads again. */
#include "objects_kit.h"

typedef struct zoo {
  kit kit;
  mh_dict root, set;
  mh_list deque;
} zoo;

/* In place: handles point into it. */
static void zoo_open(zoo *zoo) {
  *zoo = (struct zoo){.kit = kit_open()};
  mh_space *space = &zoo->kit.space;
  zoo->root = kit_root(&zoo->kit);
  CHECK_EQ(mh_set_new(space, 0, &zoo->set), MHEAP_OK);
  CHECK_EQ(mh_deque_new(space, 0, 9, &zoo->deque), MHEAP_OK);
  kit_set(&zoo->root, 0, mh_container_ref(MH_TYPE_SET, zoo->set.offset));
  kit_set(&zoo->root, 1, mh_container_ref(MH_TYPE_DEQUE, zoo->deque.offset));
  for (unsigned i = 0; i < 30; i++) kit_set(&zoo->set, i, MH_CONST_NONE);
  for (unsigned i = 0; i < 8; i++) {
    uint64_t word = kit_value(space, i);
    CHECK_EQ(mh_deque_push(&zoo->deque, i % 2 ? MH_LEFT : MH_RIGHT, &word, 1), MHEAP_OK);
  }
}

static void read_everything(zoo *zoo) {
  mh_space *space = &zoo->kit.space;
  mh_entry entry;
  mh_items items;
  mh_dict set;
  mh_list deque;
  uint64_t value;
  for (unsigned i = 0; i < 40; i++) (void)kit_get(&zoo->set, i, &value);
  if (mh_set_at(space, zoo->set.offset, &set) == MHEAP_OK) {
    uint32_t index = 0;
    while (mh_dict_next(&set, &index, &entry) == MHEAP_OK) (void)mh_key_hash(space, entry.key, &value);
  }
  if (mh_deque_at(space, zoo->deque.offset, &deque) == MHEAP_OK) {
    (void)mh_deque_limit(&deque, &value);
    if (mh_list_items(&deque, &items) == MHEAP_OK)
      for (uint64_t i = 0; i < items.count; i++) (void)mh_object_at(space, items.words[i]);
  }
  (void)mh_objects_check(zoo->kit.heap, NULL, NULL);
}

enum { ADD = 1, DISCARD, CLEAR, PUSH_LEFT, PUSH_RIGHT, POP, ROTATE, DROP_ALL, OPERATIONS };

static void change(zoo *zoo, int operation) {
  mh_key key;
  char buffer[64];
  uint64_t words[3] = {mh_word_int(1), mh_word_int(2), mh_word_int(3)};
  kit_key(&zoo->kit.space, operation == ADD ? 100 : 3, &key, buffer);
  switch (operation) {
    case ADD: (void)mh_set_add(&zoo->set, &key); break;
    case DISCARD: (void)mh_dict_delete(&zoo->set, &key); break;
    case CLEAR: (void)mh_dict_clear(&zoo->set); break;
    case PUSH_LEFT: (void)mh_deque_push(&zoo->deque, MH_LEFT, words, 3); break;
    case PUSH_RIGHT: (void)mh_deque_push(&zoo->deque, MH_RIGHT, words, 3); break;
    case POP: (void)mh_list_splice(&zoo->deque, 0, 1, NULL, 0); break;
    case ROTATE: (void)mh_deque_rotate(&zoo->deque, 3); break;
    case DROP_ALL: kit_drop_root(&zoo->kit); break;
    default: break;
  }
}

#include "hostile.h"

static void with_every_value(uint64_t *(*field)(zoo *)) {
  zoo zoo;
  zoo_open(&zoo);
  uint64_t size = mh_region_size(zoo.kit.space.region), before = *field(&zoo);
  const uint64_t values[] = {0, 1, 2, 7, 8, 9, 10, 15, 16, before - 16, before + 16, before + 1, before - 1,
                             before ^ 1, before << 1, zoo.root.offset, zoo.root.part, zoo.set.offset,
                             zoo.set.part, zoo.deque.offset, zoo.deque.part, size, size - 16, size + 16,
                             0xffff, 0x7fffffff, 0xffffffff, 0xffffffff00000000, INT64_MAX,
                             MH_DEQUE_LIMIT_MAX, MH_DEQUE_LIMIT_MAX + 1,
                             UINT64_MAX, UINT64_MAX - 15, MH_OFFSET_MAX, before ^ 0xff, before ^ 0xff00,
                             before ^ 0xff0000, before ^ 0x1000000, before ^ 0x2000000, before ^ 0x3000000,
                             before ^ 0xff000000, before ^ (uint64_t)0xff << 32,
                             before ^ (uint64_t)0xff << 56};
  mheap_abandon(zoo.kit.heap);
  with_values(field, values, sizeof values / sizeof *values);
}

#define AT(zoo, offset) mh_at((zoo)->kit.space.region, (offset))

FIELD(set_reference, &zoo->root.table.entries[0].value)
FIELD(set_head, AT(zoo, zoo->set.offset))
FIELD(set_birth, (uint64_t *)AT(zoo, zoo->set.offset) + 1)
FIELD(set_part, (uint64_t *)AT(zoo, zoo->set.offset) + 2)
FIELD(set_value, &zoo->set.table.entries[3].value)
FIELD(set_counts, &zoo->set.table.block->counts)
FIELD(deque_reference, &zoo->root.table.entries[1].value)
FIELD(deque_head, AT(zoo, zoo->deque.offset))
FIELD(deque_birth, (uint64_t *)AT(zoo, zoo->deque.offset) + 1)
FIELD(deque_part, (uint64_t *)AT(zoo, zoo->deque.offset) + 2)
FIELD(deque_limit, (uint64_t *)AT(zoo, zoo->deque.offset) + 3)
FIELD(deque_items_head, AT(zoo, zoo->deque.part))
FIELD(deque_items_range, (uint64_t *)AT(zoo, zoo->deque.part) + 1)

static void hostile_sets_are_harmless(void) {
  with_every_value(set_reference);
  with_every_value(set_head);
  with_every_value(set_birth);
  with_every_value(set_part);
  with_every_value(set_value);
  with_every_value(set_counts);
}

static void hostile_deques_are_harmless(void) {
  with_every_value(deque_reference);
  with_every_value(deque_head);
  with_every_value(deque_birth);
  with_every_value(deque_part);
  with_every_value(deque_limit);
  with_every_value(deque_items_head);
  with_every_value(deque_items_range);
}

static void as_they_are_nothing_is_found(void) {
  zoo zoo;
  zoo_open(&zoo);
  read_everything(&zoo);
  kit_is_sound(&zoo.kit);
  for (int operation = 1; operation < OPERATIONS; operation++) {
    change(&zoo, operation);
    kit_is_sound(&zoo.kit);
  }
  kit_close(&zoo.kit);
}

TEST_MAIN(TEST(as_they_are_nothing_is_found),
          TEST(hostile_sets_are_harmless),
          TEST(hostile_deques_are_harmless))
