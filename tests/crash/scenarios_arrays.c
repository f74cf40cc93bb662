/* scenarios_arrays.c: scenarios of arrays: made, stored, growing where there is room and where there is none,
   cut, given up, collected. See scenarios.h. */
#include "scenarios_kit.h"

/* Rows of three numbers; its type is a str that has a block. */
static mh_array make(stage *s, uint64_t rows) {
  static const uint64_t data[300] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  mh_array array;
  mh_array_form form = {.itemsize = 8, .dimensions = 2, .shape = {3}};
  mh_space_init(&space, s->heap);
  must(s, mh_str_new(&space, 1, "[('long', '<i8')]", 17, &form.type), "type");
  if (!mh_array_stride(&form, rows)) stage_fail("stride", s->heap);
  must(s, mh_array_new(&space, &form, rows, data, &array), "array");
  return array;
}

static void store(stage *s, const mh_array *array) {
  mh_dict root = root_of(s);
  mh_key key = key_of("an array");
  must(s, mh_dict_set(&root, &key, mh_container_ref(MH_TYPE_ARRAY, array->offset)), "store");
}

static mh_array the_array(stage *s) {
  mh_dict root = root_of(s);
  mh_key key = key_of("an array");
  mh_array array;
  uint64_t word;
  must(s, mh_dict_get(&root, &key, &word), "the array");
  must(s, mh_array_at(&space, mh_word_offset(word), &array), "the array");
  return array;
}

/* ---- what is there before ---- */

static void root_alone(stage *s) {
  for (int i = 0; i < 5; i++) stage_malloc(s, 100);
  root_of(s);
}

static void array_of(stage *s, uint64_t rows) {
  root_alone(s);
  mh_array array = make(s, rows);
  store(s, &array);
}
static void array_of_0(stage *s) { array_of(s, 0); }
static void array_of_3(stage *s) { array_of(s, 3); }

static void with_room(stage *s) {
  array_of(s, 3);
  mh_array array = the_array(s);
  must(s, mh_array_reserve(&array, 50), "reserve");
}

static void full_array(stage *s) {
  array_of(s, 3);
  mh_array array = the_array(s);
  mh_cells cells;
  must(s, mh_array_cells(&array, false, &cells), "cells");
  must(s, mh_array_resize(&array, cells.capacity), "resize");
}

/* In a span, not a slab. */
static void large_array(stage *s) {
  array_of(s, 3);
  mh_array array = the_array(s);
  must(s, mh_array_resize(&array, 4000), "resize");
}

static void garbage(stage *s) {
  array_of(s, 3);
  make(s, 10);
}

/* ---- what is done ---- */

static void make_one(stage *s) {
  mh_array array = make(s, 4);
  store(s, &array);
}

static const uint64_t rows[12] = {10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21};

static void append(stage *s) {
  mh_array array = the_array(s);
  must(s, mh_array_extend(&array, rows, 1), "extend");
}
static void extend(stage *s) {
  mh_array array = the_array(s);
  must(s, mh_array_extend(&array, rows, 4), "extend");
}
static void lengthen(stage *s) {
  mh_array array = the_array(s);
  must(s, mh_array_resize(&array, 5000), "resize");
}
static void cut(stage *s) {
  mh_array array = the_array(s);
  must(s, mh_array_resize(&array, 1), "resize");
}
static void reserve(stage *s) {
  mh_array array = the_array(s);
  must(s, mh_array_reserve(&array, 6000), "reserve");
}
static void give_up(stage *s) {
  mh_dict root = root_of(s);
  mh_key key = key_of("an array");
  must(s, mh_dict_delete(&root, &key), "delete");
}
const scenario array_scenarios[] = {
    {"array_is_made", root_alone, make_one, false, false},
    {"array_is_replaced", array_of_3, make_one, false, false},
    {"array_append_to_empty", array_of_0, append, false, false},
    {"array_append", with_room, append, false, false},
    {"array_extend", with_room, extend, false, false},
    {"array_append_grows", full_array, append, false, false},
    {"array_gets_a_span", array_of_3, lengthen, false, false},
    {"array_in_a_span_grows", large_array, lengthen, false, false},
    {"array_is_cut", large_array, cut, false, false},
    {"array_reserves", array_of_3, reserve, false, false},
    {"array_is_given_up", array_of_3, give_up, false, false},
    {"array_is_collected", garbage, collect_three, false, false},
    {NULL, NULL, NULL, false, false},
};
