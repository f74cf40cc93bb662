/* test_list.c: lists against a model. */
#include "objects_kit.h"

#define MOST 2000

typedef struct model {
  unsigned value[MOST];
  unsigned count;
} model;

static void model_splice(model *model, unsigned from, unsigned removed, const unsigned *values,
                         unsigned count) {
  memmove(&model->value[from + count], &model->value[from + removed],
          (model->count - from - removed) * sizeof *model->value);
  memcpy(&model->value[from], values, count * sizeof *values);
  model->count += count - removed;
}

static void compare(mh_list *list, const model *model) {
  mh_items items;
  CHECK_EQ(mh_list_items(list, &items), MHEAP_OK);
  if (!CHECK_EQ(items.count, model->count)) return;
  for (unsigned i = 0; i < model->count; i++)
    if (!CHECK(kit_is_value(list->space, items.words[i], model->value[i]))) return;
}

/* A splice at an end or anywhere, mostly small. */
static void step(mh_list *list, model *model) {
  unsigned values[8];
  uint64_t words[8];
  unsigned count = model->count > MOST - 10 ? 0 : kit_random(8), most = model->count < 8 ? model->count : 8;
  unsigned removed = kit_random(most + 1), room = model->count - removed;
  unsigned from = kit_random(3) == 0 ? 0 : kit_random(2) == 0 ? room : kit_random(room + 1);
  for (unsigned i = 0; i < count; i++) words[i] = kit_value(list->space, values[i] = kit_random(100000));
  CHECK_EQ(mh_list_splice(list, from, removed, words, count), MHEAP_OK);
  model_splice(model, from, removed, values, count);
  if (model->count == 0) return;
  unsigned at = kit_random(model->count);
  CHECK_EQ(mh_list_set(list, at, kit_value(list->space, model->value[at] = kit_random(1000))), MHEAP_OK);
}

static mh_list rooted_list(kit *kit) {
  mh_dict root = kit_root(kit);
  mh_list list;
  CHECK_EQ(mh_list_new(&kit->space, 0, &list), MHEAP_OK);
  kit_set(&root, 0, mh_word_ref(MH_TAG_LIST_REF, list.offset));
  return list;
}

static void it_is_what_a_model_is(void) {
  kit kit = kit_open();
  mh_list list = rooted_list(&kit);
  static model model;
  for (unsigned i = 0; i < 6000; i++) {
    step(&list, &model);
    if (i % 100 == 0) compare(&list, &model);
    if (i % 1500 == 0) kit_is_sound(&kit);
  }
  compare(&list, &model);
  kit_is_sound(&kit);
  kit_drop_root(&kit);
  kit_close(&kit);
}

static void a_queue_stays_small(void) {
  kit kit = kit_open();
  mh_list list = rooted_list(&kit);
  for (int i = 0; i < 100000; i++) {
    REQUIRE_EQ(mh_list_append(&list, mh_word_int(i)), MHEAP_OK);
    if (i >= 10) REQUIRE_EQ(mh_list_splice(&list, 0, 1, NULL, 0), MHEAP_OK);
  }
  mh_items items;
  CHECK_EQ(mh_list_items(&list, &items), MHEAP_OK);
  CHECK_EQ(items.count, 10);
  CHECK(items.capacity < 100);
  CHECK_EQ(items.words[0], mh_word_int(99990));
  kit_is_sound(&kit);
  kit_drop_root(&kit);
  kit_close(&kit);
}

static void permuting_moves_the_items(void) {
  kit kit = kit_open();
  mh_list list = rooted_list(&kit);
  static const unsigned sorted[] = {40, 10, 30, 20, 0};
  for (unsigned i = 0; i < 5; i++) CHECK_EQ(mh_list_append(&list, kit_value(&kit.space, 10 * i)), MHEAP_OK);
  CHECK_EQ(mh_list_permute(&list, (uint64_t[]){4, 1, 3, 2, 0}, 5), MHEAP_OK);
  model model = {.count = 5};
  memcpy(model.value, sorted, sizeof sorted);
  compare(&list, &model);
  CHECK_EQ(mh_list_permute(&list, (uint64_t[]){0, 1, 2, 3, 3}, 5), MHEAP_ERR_ARGUMENT);
  CHECK_EQ(mh_list_permute(&list, (uint64_t[]){0, 1, 2, 3, 5}, 5), MHEAP_ERR_ARGUMENT);
  CHECK_EQ(mh_list_permute(&list, (uint64_t[]){0, 1, 2, 3}, 4), MHEAP_ERR_ARGUMENT);
  compare(&list, &model);
  kit_is_sound(&kit);
  kit_drop_root(&kit);
  kit_close(&kit);
}

static void an_index_out_of_range_changes_nothing(void) {
  kit kit = kit_open();
  mh_list list = rooted_list(&kit);
  CHECK_EQ(mh_list_set(&list, 0, MH_CONST_NONE), MHEAP_ERR_NOT_FOUND);
  CHECK_EQ(mh_list_append(&list, MH_CONST_NONE), MHEAP_OK);
  CHECK_EQ(mh_list_set(&list, 1, MH_CONST_NONE), MHEAP_ERR_NOT_FOUND);
  CHECK_EQ(mh_list_splice(&list, 2, 0, NULL, 0), MHEAP_ERR_NOT_FOUND);
  CHECK_EQ(mh_list_splice(&list, 1, 1, NULL, 0), MHEAP_ERR_NOT_FOUND);
  CHECK_EQ(mh_list_splice(&list, 0, UINT64_MAX, NULL, 0), MHEAP_ERR_NOT_FOUND);
  kit_drop_root(&kit);
  kit_close(&kit);
}

TEST_MAIN(TEST(it_is_what_a_model_is),
          TEST(a_queue_stays_small),
          TEST(permuting_moves_the_items),
          TEST(an_index_out_of_range_changes_nothing))
