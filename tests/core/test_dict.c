/* test_dict.c: dicts against a model, what a kill leaves of each operation, and reading while
   a removal is half done. */
#include "objects_kit.h"

/* ---- against a model ---- */

#define KEYS 600

typedef struct model {
  int value[KEYS];     /* -1: not there */
  unsigned order[KEYS]; /* keys as they were inserted */
  unsigned count;
} model;

static void model_set(model *model, unsigned key, int value) {
  if (model->value[key] < 0) model->order[model->count++] = key;
  model->value[key] = value;
}

static void model_delete(model *model, unsigned key) {
  unsigned at = 0;
  while (model->order[at] != key) at++;
  memmove(&model->order[at], &model->order[at + 1], (model->count - at - 1) * sizeof *model->order);
  model->count--;
  model->value[key] = -1;
}

static void compare(mh_dict *dict, const model *model) {
  uint64_t length, value;
  CHECK_EQ(mh_dict_length(dict, &length), MHEAP_OK);
  CHECK_EQ(length, model->count);
  for (unsigned key = 0; key < KEYS; key++) {
    mheap_err found = kit_get(dict, key, &value);
    CHECK_EQ(found, model->value[key] < 0 ? MHEAP_ERR_NOT_FOUND : MHEAP_OK);
    if (!found) CHECK(kit_is_value(dict->space, value, (unsigned)model->value[key]));
  }
  uint32_t index = 0, back = UINT32_MAX;
  mh_entry entry, last;
  for (unsigned i = 0; i < model->count; i++) {
    CHECK_EQ(mh_dict_next(dict, &index, &entry), MHEAP_OK);
    CHECK(kit_is_value(dict->space, entry.value, (unsigned)model->value[model->order[i]]));
    CHECK_EQ(mh_dict_previous(dict, &back, &last), MHEAP_OK);
    CHECK(kit_is_value(dict->space, last.value, (unsigned)model->value[model->order[model->count - 1 - i]]));
  }
  CHECK_EQ(mh_dict_next(dict, &index, &entry), MHEAP_ERR_NOT_FOUND);
  CHECK_EQ(mh_dict_previous(dict, &back, &last), MHEAP_ERR_NOT_FOUND);
}

static void step(mh_dict *dict, model *model, unsigned keys, unsigned deletes) {
  unsigned key = kit_random(keys), value = kit_random(100000);
  if (kit_random(100) >= deletes) {
    kit_set(dict, key, kit_value(dict->space, value));
    model_set(model, key, (int)value);
  } else if (model->value[key] < 0) {
    CHECK_EQ(kit_delete(dict, key), MHEAP_ERR_NOT_FOUND);
  } else {
    CHECK_EQ(kit_delete(dict, key), MHEAP_OK);
    model_delete(model, key);
  }
}

static void it_is_what_a_model_is(void) {
  static const unsigned keys[] = {3, 8, 9, 40, KEYS}, deletes[] = {20, 50, 80};
  for (unsigned k = 0; k < 5; k++)
    for (unsigned d = 0; d < 3; d++) {
      kit kit = kit_open();
      mh_dict dict = kit_root(&kit);
      model model = {.count = 0};
      for (unsigned i = 0; i < KEYS; i++) model.value[i] = -1;
      for (unsigned i = 0; i < 4000; i++) {
        step(&dict, &model, keys[k], deletes[d]);
        if (i % 500 == 0) compare(&dict, &model);
      }
      compare(&dict, &model);
      kit_is_sound(&kit);
      kit_drop_root(&kit);
      kit_close(&kit);
    }
}

/* Taking from the end and adding again wears slots out without using entries up. */
static void slots_do_not_wear_out(void) {
  kit kit = kit_open();
  mh_dict dict = kit_root(&kit);
  mh_key key;
  for (int64_t i = 0; i < 1000; i++) {
    mh_key_int(&kit.space, &key, i);
    CHECK_EQ(mh_dict_set(&dict, &key, MH_CONST_NONE), MHEAP_OK);
  }
  for (int64_t i = 1000; i < 300000; i++) {
    mh_key_int(&kit.space, &key, i - 1);
    REQUIRE_EQ(mh_dict_delete(&dict, &key), MHEAP_OK);
    mh_key_int(&kit.space, &key, i);
    REQUIRE_EQ(mh_dict_set(&dict, &key, MH_CONST_NONE), MHEAP_OK);
  }
  kit_is_sound(&kit);
  CHECK(dict.table.capacity < 4096);
  kit_drop_root(&kit);
  kit_close(&kit);
}

static void clear_frees_everything_but_the_dict(void) {
  kit kit = kit_open();
  mh_dict dict = kit_root(&kit);
  uint64_t length;
  for (unsigned i = 0; i < 100; i++) kit_set(&dict, i, kit_value(&kit.space, i));
  CHECK_EQ(mh_dict_clear(&dict), MHEAP_OK);
  CHECK_EQ(mh_dict_length(&dict, &length), MHEAP_OK);
  CHECK_EQ(length, 0);
  CHECK_EQ(kit_blocks(&kit), kit.blocks + 1);
  kit_set(&dict, 1, kit_value(&kit.space, 1));
  kit_is_sound(&kit);
  kit_drop_root(&kit);
  kit_close(&kit);
}

/* ---- what a kill leaves ---- */

/* The stores of a removal, as layout.h lists them; `done` of them are made. */
static void remove_partly(mh_dict *dict, uint32_t index, unsigned done) {
  mh_table_block *block = dict->table.block;
  uint64_t used = (uint32_t)block->counts, live = (block->counts >> 32) - 1;
  if (done > 0) block->pending = (index + 1) | live << 32;
  if (done > 1) dict->table.entries[index].key = MH_WORD_ABSENT;
  if (done > 2) block->counts = used | live << 32;
  if (done > 3) block->pending = 0;
}

static void check_removed(mh_dict *dict, unsigned count, unsigned removed, bool gone) {
  uint64_t value, length;
  CHECK_EQ(mh_dict_length(dict, &length), MHEAP_OK);
  CHECK_EQ(length, count - gone);
  for (unsigned i = 0; i < count; i++)
    CHECK_EQ(kit_get(dict, i, &value), gone && i == removed ? MHEAP_ERR_NOT_FOUND : MHEAP_OK);
  uint32_t index = 0;
  mh_entry entry;
  unsigned met = 0;
  while (mh_dict_next(dict, &index, &entry) == MHEAP_OK) met++;
  CHECK_EQ(met, count - gone);
}

static void a_removal_is_done_or_not_after_each_store(void) {
  static const unsigned counts[] = {5, 40};
  for (unsigned c = 0; c < 2; c++)
    for (unsigned done = 0; done <= 4; done++) {
      kit kit = kit_open();
      mh_dict dict = kit_root(&kit);
      for (unsigned i = 0; i < counts[c]; i++) kit_set(&dict, i, mh_word_int(i));
      remove_partly(&dict, 2, done);
      check_removed(&dict, counts[c], 2, done > 0);
      kit_findings findings = kit_check(&kit);
      CHECK_EQ(findings.broken, 0);
      CHECK_EQ(findings.notes, done > 0 && done < 4);
      mh_dict again; /* as the next process finds it */
      CHECK_EQ(mh_dict_at(&kit.space, dict.offset, &again), MHEAP_OK);
      kit_set(&again, 1, mh_word_int(99)); /* any change settles it */
      CHECK_EQ(again.table.block->pending, 0);
      check_removed(&again, counts[c], 2, done > 0);
      kit_is_sound(&kit);
      kit_set(&again, 2, mh_word_int(2));
      check_removed(&again, counts[c], 2, false);
      kit_is_sound(&kit);
      mheap_abandon(kit.heap);
    }
}

/* An insertion that was not counted is no entry, and the next one takes its place. */
static void an_insertion_that_was_not_counted_leaves_nothing(void) {
  kit kit = kit_open();
  mh_dict dict = kit_root(&kit);
  for (unsigned i = 0; i < 30; i++) kit_set(&dict, i, mh_word_int(i));
  mh_table_block *block = dict.table.block;
  uint64_t before = block->counts, value, length;
  for (unsigned i = 30; i < 36; i++) {
    kit_set(&dict, i, mh_word_int(i));
    REQUIRE(dict.table.block == block);
    block->counts = before; /* entry and slot are there; the publishing store is not */
  }
  for (unsigned i = 30; i < 36; i++) CHECK_EQ(kit_get(&dict, i, &value), MHEAP_ERR_NOT_FOUND);
  CHECK_EQ(mh_dict_length(&dict, &length), MHEAP_OK);
  CHECK_EQ(length, 30);
  kit_is_sound(&kit);
  for (unsigned i = 30; i < 36; i++) kit_set(&dict, i, mh_word_int(i));
  for (unsigned i = 0; i < 36; i++) CHECK_EQ(kit_get(&dict, i, &value), MHEAP_OK);
  kit_is_sound(&kit);
  for (unsigned i = 0; i < 36; i++) CHECK_EQ(kit_delete(&dict, i), MHEAP_OK);
  kit_is_sound(&kit);
  mheap_abandon(kit.heap);
}

/* ---- handles ---- */

static void a_handle_of_a_dict_that_is_gone_says_so(void) {
  kit kit = kit_open();
  mh_dict root = kit_root(&kit), dict, other;
  uint64_t value;
  CHECK_EQ(mh_dict_new(&kit.space, 0, &dict), MHEAP_OK);
  kit_set(&root, 0, mh_word_ref(MH_TAG_DICT_REF, dict.offset));
  kit_set(&dict, 1, mh_word_int(1));
  CHECK_EQ(kit_delete(&root, 0), MHEAP_OK);
  CHECK_EQ(kit_get(&dict, 1, &value), MHEAP_ERR_STALE);
  CHECK_EQ(mh_dict_new(&kit.space, 0, &other), MHEAP_OK); /* in its place, perhaps */
  kit_set(&other, 1, mh_word_int(2));
  CHECK_EQ(kit_get(&dict, 1, &value), MHEAP_ERR_STALE);
  CHECK_CONTAINS(mheap_last_error(kit.heap)->text, "gone");
  mh_release(&kit.space, mh_word_ref(MH_TAG_DICT_REF, other.offset));
  kit_drop_root(&kit);
  kit_close(&kit);
}

static void a_full_heap_leaves_the_dict_as_it_was(void) {
  mheap_options options = {.max_size = 4 << 20};
  mheap *heap = mheap_attach(-1, &options, NULL);
  REQUIRE(heap != NULL);
  kit kit = {.heap = heap};
  mh_space_init(&kit.space, heap);
  mh_dict root = kit_root(&kit);
  mh_key key;
  uint64_t value, length;
  int64_t i = 0;
  for (mheap_err failed = MHEAP_OK; !failed; i += !failed) {
    mh_key_int(&kit.space, &key, i);
    failed = mh_dict_set(&root, &key, mh_word_int(i));
    if (failed) CHECK_EQ(failed, MHEAP_ERR_FULL);
  }
  CHECK(i > 1000);
  CHECK_EQ(mh_dict_length(&root, &length), MHEAP_OK);
  CHECK_EQ(length, i);
  for (int64_t k = 0; k < i; k++) {
    mh_key_int(&kit.space, &key, k);
    REQUIRE_EQ(mh_dict_get(&root, &key, &value), MHEAP_OK);
  }
  kit_is_sound(&kit);
  mheap_detach(heap, NULL);
}

static void counting_adds_one_or_says_that_it_cannot(void) {
  kit kit = kit_open();
  mh_dict root = kit_root(&kit);
  mh_key key;
  char buffer[64];
  uint64_t value;
  bool counted;
  for (unsigned n = 0; n < 60; n++) {
    kit_key(&kit.space, n % 20, &key, buffer);
    CHECK_EQ(mh_dict_count(&root, &key, &counted), MHEAP_OK);
    CHECK(counted);
    CHECK_EQ(kit_get(&root, n % 20, &value), MHEAP_OK);
    CHECK_EQ(value, mh_word_int(n / 20 + 1));
  }
  kit_set(&root, 3, mh_word_int(MH_INT_MAX));
  kit_set(&root, 4, kit_value(&kit.space, 4));
  for (unsigned n = 3; n < 5; n++) {
    kit_key(&kit.space, n, &key, buffer);
    CHECK_EQ(mh_dict_count(&root, &key, &counted), MHEAP_OK);
    CHECK(!counted);
  }
  CHECK_EQ(kit_get(&root, 3, &value), MHEAP_OK);
  CHECK_EQ(value, mh_word_int(MH_INT_MAX));
  CHECK_EQ(kit_get(&root, 4, &value), MHEAP_OK);
  CHECK(kit_is_value(&kit.space, value, 4));
  kit_is_sound(&kit);
  kit_drop_root(&kit);
  kit_close(&kit);
}

TEST_MAIN(TEST(counting_adds_one_or_says_that_it_cannot),
          TEST(it_is_what_a_model_is),
          TEST(slots_do_not_wear_out),
          TEST(clear_frees_everything_but_the_dict),
          TEST(a_removal_is_done_or_not_after_each_store),
          TEST(an_insertion_that_was_not_counted_leaves_nothing),
          TEST(a_handle_of_a_dict_that_is_gone_says_so),
          TEST(a_full_heap_leaves_the_dict_as_it_was))
