/* golden_arrays.h: the golden file of arrays: of any number of dimensions, without rows, with rows of no
   bytes, with room. See golden.h. */
#ifndef MHEAP_GOLDEN_ARRAYS_H
#define MHEAP_GOLDEN_ARRAYS_H

#include "objects/objects.h"
#include "test.h"

typedef struct golden_array {
  const char *type;
  uint64_t itemsize, rows, reserved;
  unsigned dimensions;
  uint64_t shape[4];
} golden_array;

static const golden_array golden_arrays[] = {
    {"<f8", 8, 1, 0, 0, {0}},
    {"<f8", 8, 0, 0, 1, {0}},
    {"|u1", 1, 1000, 0, 1, {0}},
    {"<i4", 4, 5, 0, 2, {3}},
    {"<i4", 4, 5, 0, 2, {0}},
    {">M8[ns]", 8, 2, 100, 4, {2, 3, 1}},
    {"[('a', '<i4'), ('b', '|S5')]", 9, 9000, 0, 1, {0}},
};
enum { GOLDEN_ARRAYS = sizeof golden_arrays / sizeof *golden_arrays };

static inline uint8_t golden_array_byte(int n, uint64_t at) {
  return (uint8_t)(n * 37 + (int)(at % 251) + 1);
}

static inline void golden_store_array(mh_space *space, mh_dict *root, int n) {
  const golden_array *of = &golden_arrays[n];
  mh_array_form form = {.itemsize = of->itemsize, .dimensions = of->dimensions};
  mh_array array = {0};
  mh_cells cells = {0};
  mh_key key;
  memcpy(form.shape, of->shape, sizeof of->shape);
  CHECK_EQ(mh_str_new(space, 1, of->type, strlen(of->type), &form.type), MHEAP_OK);
  CHECK(mh_array_stride(&form, of->rows));
  CHECK_EQ(mh_array_new(space, &form, of->rows, NULL, &array), MHEAP_OK);
  if (of->reserved > 0) CHECK_EQ(mh_array_reserve(&array, of->reserved), MHEAP_OK);
  CHECK_EQ(mh_array_cells(&array, true, &cells), MHEAP_OK);
  for (uint64_t at = 0; at < cells.count * cells.stride; at++) cells.data[at] = golden_array_byte(n, at);
  mh_key_int(space, &key, n);
  CHECK_EQ(mh_dict_set(root, &key, mh_container_ref(MH_TYPE_ARRAY, array.offset)), MHEAP_OK);
}

static inline void golden_store_arrays(mheap *heap) {
  mh_space space = {0};
  mh_dict root = {0};
  mh_space_init(&space, heap);
  CHECK_EQ(mh_root(&space, true, &root), MHEAP_OK);
  for (int n = 0; n < GOLDEN_ARRAYS; n++) golden_store_array(&space, &root, n);
}

static inline void golden_check_array(mh_space *space, uint64_t word, int n) {
  const golden_array *of = &golden_arrays[n];
  mh_array array = {0};
  mh_array_form form = {0};
  mh_cells cells = {0};
  mh_text type = {0};
  if (!CHECK_EQ(mh_array_at(space, mh_word_offset(word), &array), MHEAP_OK)) return;
  CHECK_EQ(mh_array_form_of(&array, &form), MHEAP_OK);
  CHECK_EQ(mh_text_read(space, form.type, &type), MHEAP_OK);
  CHECK(type.length == strlen(of->type) && memcmp(type.data, of->type, type.length) == 0);
  CHECK_EQ(form.itemsize, of->itemsize);
  CHECK_EQ(form.dimensions, of->dimensions);
  CHECK_EQ(memcmp(form.shape, of->shape, sizeof of->shape), 0);
  CHECK_EQ(mh_array_cells(&array, false, &cells), MHEAP_OK);
  CHECK_EQ(cells.count, of->rows);
  CHECK(cells.capacity >= of->reserved);
  for (uint64_t at = 0; at < cells.count * cells.stride; at++)
    if (!CHECK_EQ(cells.data[at], golden_array_byte(n, at))) return;
}

static inline void golden_check_arrays(mheap *heap) {
  mh_space space = {0};
  mh_dict root = {0};
  mh_key key;
  mh_space_init(&space, heap);
  CHECK_EQ(mh_root(&space, false, &root), MHEAP_OK);
  for (int n = 0; n < GOLDEN_ARRAYS; n++) {
    uint64_t word = 0;
    mh_key_int(&space, &key, n);
    if (CHECK_EQ(mh_dict_get(&root, &key, &word), MHEAP_OK)) golden_check_array(&space, word, n);
  }
}

#endif
