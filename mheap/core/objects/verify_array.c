/* verify_array.c: what a check looks at in an array. Calls array.h, verify.h. Takes no lock. */
#include <inttypes.h>

#include "verify.h"

static void check_unused(mh_walk *walk, uint64_t part, const mh_cells_block *block) {
  uint64_t all = mh_read(&block->schema);
  for (int i = 0; i < 3; i++) all |= mh_read(&block->unused[i]);
  if (all != 0)
    mh_walk_found(walk, 1, part + offsetof(mh_cells_block, schema),
                  "unused words of an array's cells: expected 0, found 0x%" PRIx64, all);
}

static void check_cells(mh_walk *walk, mh_array *array, const mh_array_form *form, uint64_t part) {
  mh_cells cells;
  if (mh_array_cells(array, false, &cells)) {
    mh_walk_error(walk);
    return;
  }
  if (part == 0 || !mh_walk_part(walk, part, mh_cells_bytes(&cells))) return;
  check_unused(walk, part, cells.block);
  if (form->dimensions == 0 && cells.count != 1)
    mh_walk_found(walk, 1, part + offsetof(mh_cells_block, count),
                  "the rows of an array without dimensions: expected 1, found %" PRIu64, cells.count);
}

void mh_walk_array(mh_walk *walk, uint64_t offset) {
  const mh_container *container = mh_at(walk->space.region, offset);
  uint64_t word = mh_read(&container->word), part = mh_read(&container->part);
  mh_array array;
  mh_array_form form;
  bool is_there = mh_walk_visit(walk, word, offset + offsetof(mh_container, word));
  if (!is_there || mh_array_at(&walk->space, offset, &array)) return;
  if (mh_array_form_of(&array, &form)) {
    mh_walk_error(walk);
    return;
  }
  if (part == 0 && form.dimensions == 0)
    mh_walk_found(walk, 1, offset + offsetof(mh_container, part), "an array without dimensions has no cells");
  check_cells(walk, &array, &form, part);
}
