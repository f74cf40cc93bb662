/* test_array.c: arrays against a model, plain memory; their blocks; what a hostile file can say of them. */
#include "objects/collect.h"
#include "objects_kit.h"

#define MOST 3000

static mh_array_form form_of(kit *kit, uint64_t itemsize, unsigned dimensions, const uint64_t *shape) {
  mh_array_form form = {.itemsize = itemsize, .dimensions = dimensions};
  for (unsigned i = 1; i < dimensions; i++) form.shape[i - 1] = shape[i];
  CHECK_EQ(mh_str_new(&kit->space, 1, "<u4, or longer", 14, &form.type), MHEAP_OK);
  CHECK(mh_array_stride(&form, dimensions == 0 ? 1 : shape[0]));
  return form;
}

static mh_array new_array(kit *kit, uint64_t itemsize, unsigned dimensions, const uint64_t *shape) {
  mh_array array = {0};
  mh_array_form form = form_of(kit, itemsize, dimensions, shape);
  uint64_t rows = dimensions == 0 ? 1 : shape[0];
  CHECK_EQ(mh_array_new(&kit->space, &form, rows, NULL, &array), MHEAP_OK);
  return array;
}

static void keep(kit *kit, const mh_array *array) {
  mh_dict root = kit_root(kit);
  kit_set(&root, 0, mh_container_ref(MH_TYPE_ARRAY, array->offset));
}

static mh_array rooted(kit *kit, uint64_t itemsize, unsigned dimensions, const uint64_t *shape) {
  mh_array array = new_array(kit, itemsize, dimensions, shape);
  keep(kit, &array);
  return array;
}

static void end(kit *kit) {
  kit_is_sound(kit);
  kit_drop_root(kit);
  kit_close(kit);
}

static mh_cells cells_of(mh_array *array) {
  mh_cells cells = {0};
  CHECK_EQ(mh_array_cells(array, false, &cells), MHEAP_OK);
  return cells;
}

/* ---- what is made ---- */

static const struct {
  unsigned dimensions;
  uint64_t itemsize, shape[4], stride;
} shapes[] = {
    {0, 8, {0}, 8},           {1, 8, {0}, 8},     {1, 1, {1}, 1},        {1, 3, {1000}, 3},
    {2, 8, {1000, 3}, 24},    {2, 8, {5, 0}, 0},  {3, 2, {0, 7, 9}, 126}, {4, 16, {3, 1, 2, 5}, 160},
    {2, 8, {70000, 3}, 24},   {1, 8, {2000000}, 8},
};

static void every_shape_is_had_and_zero(void) {
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    kit kit = kit_open();
    mh_array array = rooted(&kit, shapes[i].itemsize, shapes[i].dimensions, shapes[i].shape);
    mh_array_form form;
    uint64_t rows = shapes[i].dimensions == 0 ? 1 : shapes[i].shape[0];
    CHECK_EQ(mh_array_form_of(&array, &form), MHEAP_OK);
    CHECK_EQ(form.stride, shapes[i].stride);
    CHECK_EQ(form.itemsize, shapes[i].itemsize);
    CHECK_EQ(form.dimensions, shapes[i].dimensions);
    mh_cells cells = cells_of(&array);
    CHECK_EQ(cells.count, rows);
    CHECK_EQ((uintptr_t)cells.data % 64, 0);
    for (uint64_t k = 0; k < rows * form.stride; k++)
      if (!CHECK_EQ(cells.data[k], 0)) break;
    end(&kit);
  }
}

static void used_space_is_zero_again(void) {
  kit kit = kit_open();
  for (uint64_t size = 64; size < 20000000; size *= 3) {
    mh_array first = new_array(&kit, 1, 1, &size);
    memset(cells_of(&first).data, 0xa5, size);
    mh_release(&kit.space, mh_container_ref(MH_TYPE_ARRAY, first.offset));
    mh_array second = new_array(&kit, 1, 1, &size);
    const unsigned char *data = cells_of(&second).data;
    for (uint64_t k = 0; k < size; k++)
      if (!CHECK_EQ(data[k], 0)) break;
    mh_release(&kit.space, mh_container_ref(MH_TYPE_ARRAY, second.offset));
  }
  kit_close(&kit);
}

static void what_no_heap_holds_is_refused(void) {
  kit kit = kit_open();
  mh_array_form form = {.itemsize = 8, .dimensions = 3, .shape = {(uint64_t)1 << 40, (uint64_t)1 << 40}};
  CHECK(!mh_array_stride(&form, 1));
  form.dimensions = 1;
  CHECK(!mh_array_stride(&form, (uint64_t)1 << 45));
  CHECK(!mh_array_stride(&form, UINT64_MAX / 8 + 2));
  CHECK(mh_array_stride(&form, 10));
  uint64_t shape[] = {4};
  mh_array array = rooted(&kit, 8, 1, shape), none;
  CHECK_EQ(mh_array_resize(&array, UINT64_MAX / 8 + 2), MHEAP_ERR_OVERFLOW);
  CHECK_EQ(mh_array_reserve(&array, UINT64_MAX - 3), MHEAP_ERR_OVERFLOW);
  CHECK_EQ(mh_array_extend(&array, "", UINT64_MAX - 3), MHEAP_ERR_OVERFLOW);
  CHECK_EQ(cells_of(&array).count, 4);
  form = form_of(&kit, 8, 1, shape);
  CHECK(mh_array_new(&kit.space, &form, (uint64_t)1 << 43, NULL, &none) != MHEAP_OK);
  mh_release(&kit.space, form.type);
  end(&kit);
}

static void without_dimensions_it_stays_one_row(void) {
  kit kit = kit_open();
  mh_array array = rooted(&kit, 8, 0, NULL);
  CHECK_EQ(mh_array_resize(&array, 2), MHEAP_ERR_ARGUMENT);
  CHECK_EQ(mh_array_extend(&array, "12345678", 1), MHEAP_ERR_ARGUMENT);
  CHECK_EQ(mh_array_reserve(&array, 9), MHEAP_ERR_ARGUMENT);
  CHECK_EQ(cells_of(&array).count, 1);
  end(&kit);
}

/* ---- against a model ---- */

typedef struct model {
  uint32_t rows[MOST][3];
  uint64_t count;
} model;

static void compare(mh_array *array, const model *model) {
  mh_cells cells = cells_of(array);
  CHECK_EQ(cells.count, model->count);
  if (model->count > 0) CHECK_EQ(memcmp(cells.data, model->rows, 12 * model->count), 0);
  CHECK(cells.capacity >= cells.count);
}

static void extend(mh_array *array, model *model) {
  uint64_t count = kit_random(40);
  if (model->count + count > MOST) return;
  for (uint64_t i = 0; i < count; i++)
    for (int k = 0; k < 3; k++) model->rows[model->count + i][k] = kit_random(1u << 30);
  CHECK_EQ(mh_array_extend(array, model->rows[model->count], count), MHEAP_OK);
  model->count += count;
}

static void resize(mh_array *array, model *model) {
  uint64_t count = kit_random(MOST);
  CHECK_EQ(mh_array_resize(array, count), MHEAP_OK);
  if (count > model->count) memset(model->rows[model->count], 0, 12 * (count - model->count));
  model->count = count;
}

static void put(mh_array *array, model *model) {
  mh_cells cells;
  CHECK_EQ(mh_array_cells(array, true, &cells), MHEAP_OK);
  if (model->count == 0) return;
  uint64_t row = kit_random((unsigned)model->count);
  model->rows[row][1] = kit_random(1u << 30);
  memcpy(cells.data + 12 * row + 4, &model->rows[row][1], 4);
}

static void any_changes_are_as_of_plain_memory(void) {
  static model model;
  kit kit = kit_open();
  uint64_t shape[] = {0, 3};
  mh_array array = rooted(&kit, 4, 2, shape);
  for (int i = 0; i < 3000; i++) {
    unsigned what = kit_random(10);
    if (what < 5) extend(&array, &model);
    else if (what == 5) resize(&array, &model);
    else if (what == 6) CHECK_EQ(mh_array_reserve(&array, kit_random(MOST)), MHEAP_OK);
    else put(&array, &model);
    compare(&array, &model);
    if (i % 100 == 0) kit_is_sound(&kit);
  }
  end(&kit);
}

static void room_that_is_there_moves_nothing(void) {
  kit kit = kit_open();
  uint64_t shape[] = {0};
  mh_array array = rooted(&kit, 8, 1, shape);
  CHECK_EQ(mh_array_reserve(&array, 1000), MHEAP_OK);
  const unsigned char *data = cells_of(&array).data;
  for (uint64_t i = 0; i < 1000; i++) CHECK_EQ(mh_array_extend(&array, &i, 1), MHEAP_OK);
  CHECK(cells_of(&array).data == data);
  end(&kit);
}

static void growing_copies_seldom(void) {
  kit kit = kit_open();
  uint64_t shape[] = {0}, moves = 0;
  mh_array array = rooted(&kit, 8, 1, shape);
  const unsigned char *data = NULL;
  for (uint64_t i = 0; i < 300000; i++) {
    CHECK_EQ(mh_array_extend(&array, &i, 1), MHEAP_OK);
    mh_cells cells = cells_of(&array);
    moves += cells.data != data;
    data = cells.data;
  }
  CHECK(moves < 40);
  CHECK_EQ(((const uint64_t *)(const void *)data)[299999], 299999);
  end(&kit);
}

/* ---- its life ---- */

static void all_of_it_is_freed_with_it(void) {
  kit kit = kit_open();
  uint64_t shape[] = {100, 2};
  mh_array array = new_array(&kit, 8, 2, shape);
  mh_release(&kit.space, mh_container_ref(MH_TYPE_ARRAY, array.offset));
  mh_cells cells;
  CHECK_EQ(mh_array_cells(&array, false, &cells), MHEAP_ERR_STALE);
  array = new_array(&kit, 8, 2, shape);
  uint64_t word = mh_container_ref(MH_TYPE_ARRAY, array.offset);
  mh_discard(&kit.space, &word, 1, array.birth);
  kit_close(&kit);
}

static void a_collection_leaves_what_a_root_leads_to(void) {
  kit kit = kit_open();
  mh_collected collected = {0};
  uint64_t shape[] = {100, 2};
  mh_array kept = rooted(&kit, 8, 2, shape);
  memset(cells_of(&kept).data, 7, 1600);
  (void)new_array(&kit, 8, 2, shape);
  CHECK_EQ(mh_collect_begin(&kit.space), MHEAP_OK);
  while (!collected.done) CHECK_EQ(mh_collect_step(&kit.space, 0, &collected), MHEAP_OK);
  CHECK_EQ(collected.objects, 3); /* with its description, and the type in that */
  CHECK_EQ(cells_of(&kept).data[1599], 7);
  end(&kit);
}

/* ---- hostile files ---- */

static const uint64_t words[] = {
    0,          1,          2,     64,    0x20,  0xffff, (uint64_t)1 << 31, (uint64_t)1 << 46,
    (uint64_t)1 << 47,
    UINT64_MAX, UINT64_MAX / 24 + 1, (uint64_t)1 << 63, 0x115, 0x11b, 0x11f, 0x25,   0x2b,
};
#define WORDS (sizeof words / sizeof *words)

/* Every call, on whatever this says; none may do more than fail. */
static void use(kit *kit, uint64_t offset) {
  mh_array array;
  mh_array_form form;
  mh_cells cells;
  if (mh_array_at(&kit->space, offset, &array)) return;
  (void)mh_array_form_of(&array, &form);
  if (mh_array_cells(&array, true, &cells) == MHEAP_OK && cells.count > 0 && cells.stride > 0)
    cells.data[0] = cells.data[cells.stride * cells.count - 1] = 0;
  (void)mh_array_extend(&array, "a row of at least 24 bytes", 1);
  (void)mh_array_resize(&array, cells.count / 2);
  (void)kit_check(kit);
}

/* Each word of the container, the description and the cells, with each value, in turn. Does a check tell? */
static bool hostile_word(int block, unsigned at, uint64_t value) {
  kit kit = kit_open();
  uint64_t shape[] = {4, 3};
  mh_array array = rooted(&kit, 8, 2, shape);
  mh_container *container = mh_at(kit.space.region, array.offset);
  uint64_t blocks[] = {array.offset, mh_word_offset(container->word), container->part};
  ((uint64_t *)mh_at(kit.space.region, blocks[block]))[at] = value;
  bool found = kit_check(&kit).broken > 0;
  use(&kit, array.offset);
  mh_release(&kit.space, mh_container_ref(MH_TYPE_ARRAY, array.offset));
  CHECK_EQ(mheap_detach(kit.heap, NULL), MHEAP_OK);
  return found;
}

static void any_stored_word_may_be_anything(void) {
  static const unsigned counts[] = {4, 5, 8};
  unsigned all = 0, found = 0;
  for (int block = 0; block < 3; block++)
    for (unsigned at = 0; at < counts[block]; at++)
      for (size_t i = 0; i < WORDS; i++, all++) found += hostile_word(block, at, words[i]);
  CHECK(found > all * 3 / 4);
}

/* A description that refers to an array, whose description refers to the next: none is freed by recursion. */
static void chains_of_descriptions_cost_no_stack(void) {
  kit kit = kit_open();
  uint64_t shape[] = {1}, before = 0;
  for (int i = 0; i < 300000; i++) {
    mh_array array = new_array(&kit, 8, 1, shape);
    mh_container *container = mh_at(kit.space.region, array.offset);
    if (before != 0) {
      mh_release(&kit.space, container->word);
      container->word = before;
    }
    before = mh_container_ref(MH_TYPE_ARRAY, array.offset);
  }
  mh_release(&kit.space, before);
  CHECK_EQ(mheap_detach(kit.heap, NULL), MHEAP_OK);
}

static void a_check_finds(const char *text, int block, unsigned at, uint64_t value) {
  kit kit = kit_open();
  uint64_t shape[] = {4, 3};
  mh_array array = rooted(&kit, 8, 2, shape);
  mh_container *container = mh_at(kit.space.region, array.offset);
  uint64_t blocks[] = {array.offset, mh_word_offset(container->word), container->part};
  kit_is_sound(&kit);
  ((uint64_t *)mh_at(kit.space.region, blocks[block]))[at] = value;
  kit_findings findings = kit_check(&kit);
  CHECK(findings.broken > 0);
  if (strstr(findings.text, text) == NULL) CHECK_STR(findings.text, text);
  CHECK_EQ(mheap_detach(kit.heap, NULL), MHEAP_OK);
}

static void a_check_finds_what_is_wrong(void) {
  a_check_finds("the description of an array", 0, 3, MH_CONST_NONE);
  a_check_finds("cells beyond the region", 0, 2, 16);
  a_check_finds("the length of an array's description", 1, 0, mh_head(1, MH_TYPE_TUPLE, 1));
  a_check_finds("the type of an array", 1, 2, mh_word_int(4));
  a_check_finds("the size of an array's items", 1, 3, mh_word_int(0));
  a_check_finds("the shape of an array", 1, 4, mh_word_int(-1));
  a_check_finds("the bytes of an array's row", 1, 4, mh_word_int(2));
  a_check_finds("the head of cells", 2, 0, mh_head(1, MH_TYPE_CELLS, 0));
  a_check_finds("the rows of cells", 2, 1, 100000);
  a_check_finds("the rows that cells have room for", 2, 2, UINT64_MAX);
  a_check_finds("expected a block in use", 2, 2, 100);
  a_check_finds("the bytes of an array's row", 2, 3, 8);
  a_check_finds("unused words", 2, 4, 1);
  a_check_finds("unused words", 2, 7, 1);
}

TEST_MAIN(TEST(every_shape_is_had_and_zero),
          TEST(used_space_is_zero_again),
          TEST(what_no_heap_holds_is_refused),
          TEST(without_dimensions_it_stays_one_row),
          TEST(any_changes_are_as_of_plain_memory),
          TEST(room_that_is_there_moves_nothing),
          TEST(growing_copies_seldom),
          TEST(all_of_it_is_freed_with_it),
          TEST(a_collection_leaves_what_a_root_leads_to),
          TEST(any_stored_word_may_be_anything),
          TEST(chains_of_descriptions_cost_no_stack),
          TEST(a_check_finds_what_is_wrong))
