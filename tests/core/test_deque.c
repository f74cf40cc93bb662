/* test_deque.c: deques against a model: a plain array that is moved about. */
#include "objects_kit.h"

#define MOST 400

typedef struct model {
  unsigned value[2 * MOST];
  unsigned count, most;
} model;

static unsigned ends; /* items that came and went by ends.h */

/* Half of them refer to nothing. */
static uint64_t value_of(mh_space *space, unsigned n) { return n % 2 ? mh_word_int(n) : kit_value(space, n); }
static bool is_value(mh_space *space, uint64_t word, unsigned n) {
  return n % 2 ? word == mh_word_int(n) : kit_is_value(space, word, n);
}

static mh_list rooted_deque(kit *kit, uint64_t limit) {
  mh_dict root = kit_root(kit);
  mh_list deque;
  CHECK_EQ(mh_deque_new(&kit->space, 0, limit, &deque), MHEAP_OK);
  kit_set(&root, 0, mh_container_ref(MH_TYPE_DEQUE, deque.offset));
  return deque;
}

static void compare(mh_list *deque, const model *model) {
  mh_items items;
  CHECK_EQ(mh_list_items(deque, &items), MHEAP_OK);
  if (!CHECK_EQ(items.count, model->count)) return;
  for (unsigned i = 0; i < model->count; i++)
    if (!CHECK(is_value(deque->space, items.words[i], model->value[i]))) return;
}

static void model_push(model *model, mh_end end, const unsigned *values, unsigned count) {
  if (end == MH_LEFT) memmove(model->value + count, model->value, model->count * sizeof *values);
  memcpy(model->value + (end == MH_LEFT ? 0 : model->count), values, count * sizeof *values);
  model->count += count;
  if (model->count <= model->most) return;
  unsigned over = model->count - model->most;
  if (end == MH_RIGHT) memmove(model->value, model->value + over, model->most * sizeof *values);
  model->count = model->most;
}

static void model_rotate(model *model, unsigned steps) {
  unsigned copy[MOST];
  memcpy(copy, model->value, sizeof copy);
  for (unsigned i = 0; i < model->count; i++) model->value[(i + steps) % model->count] = copy[i];
}

static void push(mh_list *deque, model *model) {
  mh_end end = kit_random(2) ? MH_LEFT : MH_RIGHT;
  unsigned values[5], count = kit_random(model->most < 5 ? model->most + 1 : 6);
  uint64_t words[5];
  if (model->most == MOST && model->count > MOST - 5) return; /* that one has no limit */
  for (unsigned i = 0; i < count; i++) words[i] = value_of(deque->space, values[i] = kit_random(100000));
  bool plain = count == 1 && !mh_word_is_ref(words[0]) && mh_deque_has_no_limit(deque);
  if (plain && mh_ends_push(deque, end, words[0])) ends++;
  else CHECK_EQ(mh_deque_push(deque, end, words, count), MHEAP_OK);
  model_push(model, end, values, count);
}

static bool pop_by_its_end(mh_list *deque, const model *model, bool left) {
  uint64_t word;
  if (!mh_ends_peek(deque, left ? MH_LEFT : MH_RIGHT, &word)) return false;
  CHECK(!mh_word_is_ref(word) && model->count > 1);
  CHECK(is_value(deque->space, word, model->value[left ? 0 : model->count - 1]));
  mh_ends_drop(deque, left ? MH_LEFT : MH_RIGHT);
  ends++;
  return true;
}

static void pop(mh_list *deque, model *model) {
  if (model->count == 0) return;
  bool left = kit_random(2);
  if (!pop_by_its_end(deque, model, left))
    CHECK_EQ(mh_list_splice(deque, left ? 0 : model->count - 1, 1, NULL, 0), MHEAP_OK);
  model->count--;
  if (left) memmove(model->value, model->value + 1, model->count * sizeof *model->value);
}

static void step(mh_list *deque, model *model) {
  unsigned steps = kit_random(50);
  switch (kit_random(5)) {
    case 0:
    case 1: push(deque, model); break;
    case 2: CHECK_EQ(mh_deque_rotate(deque, steps), MHEAP_OK), model_rotate(model, steps); break;
    default:
      for (unsigned n = kit_random(model->count < MOST / 2 ? 3 : 6); n > 0; n--) pop(deque, model);
  }
}

static void is_what_a_model_is(unsigned most) {
  kit kit = kit_open();
  mh_list deque = rooted_deque(&kit, most == MOST ? 0 : most + 1);
  static model model;
  model = (struct model){.most = most};
  for (unsigned i = 0; i < 6000; i++) {
    step(&deque, &model);
    if (i % 20 == 0) compare(&deque, &model);
    if (i % 1500 == 0) kit_is_sound(&kit);
  }
  compare(&deque, &model);
  kit_is_sound(&kit);
  kit_drop_root(&kit);
  kit_close(&kit);
}

static void it_is_what_a_model_is(void) {
  ends = 0;
  is_what_a_model_is(MOST);
  CHECK(ends > 1000);
}

static void with_a_limit_it_is_what_a_model_is(void) {
  for (unsigned most = 1; most < 40; most += most < 4 ? 1 : 7) is_what_a_model_is(most);
}

/* Blocks that were made for `count` pushes: one counts the changes of the container's part. */
static unsigned blocks_made(mh_list *deque, unsigned count, bool alternating) {
  const mh_container *container = mh_at(deque->space->region, deque->offset);
  unsigned made = 0;
  for (unsigned i = 0; i < count; i++) {
    uint64_t word = mh_word_int(i), before = container->part;
    CHECK_EQ(mh_deque_push(deque, alternating && i % 2 ? MH_RIGHT : MH_LEFT, &word, 1), MHEAP_OK);
    made += container->part != before;
  }
  return made;
}

static void pushing_at_either_end_seldom_needs_a_new_block(void) {
  kit kit = kit_open();
  mh_list deque = rooted_deque(&kit, 0);
  CHECK(blocks_made(&deque, 20000, false) < 30);
  CHECK(blocks_made(&deque, 60000, true) < 30);
  kit_is_sound(&kit);
  kit_drop_root(&kit);
  kit_close(&kit);
}

static void a_full_deque_and_a_turning_one_stay_small(void) {
  kit kit = kit_open();
  mh_list deque = rooted_deque(&kit, 11);
  mh_items items;
  for (int i = 0; i < 100000; i++) {
    uint64_t word = mh_word_int(i);
    REQUIRE_EQ(mh_deque_push(&deque, MH_RIGHT, &word, 1), MHEAP_OK);
    if (i % 3 == 0) REQUIRE_EQ(mh_deque_rotate(&deque, 1), MHEAP_OK);
  }
  CHECK_EQ(mh_list_items(&deque, &items), MHEAP_OK);
  CHECK_EQ(items.count, 10);
  CHECK(items.capacity < 100);
  kit_is_sound(&kit);
  kit_drop_root(&kit);
  kit_close(&kit);
}

static void more_words_than_the_limit_are_refused(void) {
  kit kit = kit_open();
  mh_list deque = rooted_deque(&kit, 3), none = rooted_deque(&kit, 1);
  uint64_t words[3] = {mh_word_int(1), mh_word_int(2), mh_word_int(3)};
  CHECK_EQ(mh_deque_push(&none, MH_LEFT, words, 1), MHEAP_ERR_NOT_FOUND);
  deque = rooted_deque(&kit, 3);
  CHECK_EQ(mh_deque_push(&deque, MH_LEFT, words, 3), MHEAP_ERR_ARGUMENT);
  CHECK_EQ(mh_deque_push(&deque, MH_LEFT, words, 2), MHEAP_OK);
  kit_is_sound(&kit);
  kit_drop_root(&kit);
  kit_close(&kit);
}

/* Whatever the file says: what contradicts itself is left to the careful ones. */
static void the_ends_of_items_that_contradict_themselves_are_left_alone(void) {
  kit kit = kit_open();
  mh_list deque = rooted_deque(&kit, 0);
  uint64_t words[3] = {mh_word_int(1), mh_word_int(2), mh_word_int(3)}, word;
  CHECK_EQ(mh_deque_push(&deque, MH_RIGHT, words, 3), MHEAP_OK);
  CHECK(mh_ends_peek(&deque, MH_LEFT, &word) && word == words[0]);
  CHECK(mh_ends_peek(&deque, MH_RIGHT, &word) && word == words[2]);
  uint64_t good = deque.block->range;
  const uint64_t bad[] = {UINT32_MAX, good | (uint64_t)UINT32_MAX << 32, UINT64_MAX, deque.capacity + 1};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    deque.block->range = bad[i];
    CHECK(!mh_ends_push(&deque, MH_RIGHT, words[0]) && !mh_ends_push(&deque, MH_LEFT, words[0]));
    CHECK(!mh_ends_peek(&deque, MH_RIGHT, &word) && !mh_ends_peek(&deque, MH_LEFT, &word));
    CHECK_EQ(deque.block->range, bad[i]);
    CHECK_EQ(mh_deque_push(&deque, MH_RIGHT, words, 1), MHEAP_ERR_CORRUPT);
  }
  deque.block->range = good;
  CHECK(mh_ends_push(&deque, MH_RIGHT, words[0]));
  kit_is_sound(&kit);
  kit_drop_root(&kit);
  kit_close(&kit);
}

static void the_check_tells_limits_that_are_wrong(void) {
  kit kit = kit_open();
  mh_list deque = rooted_deque(&kit, 3);
  uint64_t words[2] = {mh_word_int(1), mh_word_int(2)}, limit;
  mh_container *container = mh_at(kit.space.region, deque.offset);
  CHECK_EQ(mh_deque_push(&deque, MH_LEFT, words, 2), MHEAP_OK);
  container->limit = 2;
  CHECK_EQ(kit_check(&kit).broken, 1);
  container->limit = UINT64_MAX;
  CHECK_EQ(kit_check(&kit).broken, 1);
  CHECK_EQ(mh_deque_limit(&deque, &limit), MHEAP_ERR_CORRUPT);
  CHECK_EQ(mh_deque_push(&deque, MH_LEFT, words, 1), MHEAP_ERR_CORRUPT);
  container->limit = 2; /* too many by one: the next push drops two */
  CHECK_EQ(mh_deque_push(&deque, MH_LEFT, words, 1), MHEAP_OK);
  kit_is_sound(&kit);
  kit_drop_root(&kit);
  kit_close(&kit);
}

TEST_MAIN(TEST(it_is_what_a_model_is),
          TEST(with_a_limit_it_is_what_a_model_is),
          TEST(pushing_at_either_end_seldom_needs_a_new_block),
          TEST(a_full_deque_and_a_turning_one_stay_small),
          TEST(more_words_than_the_limit_are_refused),
          TEST(the_ends_of_items_that_contradict_themselves_are_left_alone),
          TEST(the_check_tells_limits_that_are_wrong))
