/* array.c: see array.h. */
#include "array.h"

#include "compound.h"

#define FIRST_BYTES 256
#define LARGE ((uint64_t)1 << 20) /* bytes from which an array grows by a quarter, not by a half */

/* ---- cells ---- */

/* Of numbers in a file: they may be anything. */
static bool room_fits(uint64_t stride, uint64_t rows, uint64_t *bytes) {
  uint64_t room;
  if (__builtin_mul_overflow(stride == 0 ? 1 : stride, rows, &room)) return false;
  return !__builtin_add_overflow(room, sizeof(mh_cells_block), bytes) && *bytes <= MH_OFFSET_MAX;
}

mheap_err mh_cells_open(mh_space *space, uint64_t offset, mh_cells *cells) {
  uint64_t bytes;
  if (offset % MH_CELLS_ALIGNMENT != 0 || !mh_in_region(space->region, offset, sizeof(mh_cells_block)))
    return mh_corrupt(space, offset, "cells beyond the region", mh_region_size(space->region), offset);
  mh_cells_block *block = mh_at(space->region, offset);
  uint64_t head = mh_read(&block->head);
  *cells = (mh_cells){.block = block,
                      .data = block->data,
                      .count = mh_read(&block->count),
                      .capacity = mh_read(&block->capacity),
                      .stride = mh_read(&block->stride)};
  if (head != mh_head(0, MH_TYPE_CELLS, 0))
    return mh_corrupt(space, offset, "the head of cells", mh_head(0, MH_TYPE_CELLS, 0), head);
  if (!room_fits(cells->stride, cells->capacity, &bytes) || !mh_in_region(space->region, offset, bytes))
    return mh_corrupt(space, offset + offsetof(mh_cells_block, capacity), "the rows that cells have room for",
                      (mh_region_size(space->region) - offset) / (cells->stride == 0 ? 1 : cells->stride),
                      cells->capacity);
  if (cells->count > cells->capacity)
    return mh_corrupt(space, offset + offsetof(mh_cells_block, count), "the rows of cells", cells->capacity,
                      cells->count);
  return MHEAP_OK;
}

static mheap_err too_large(mh_space *space) {
  return mh_fail(mh_error(space->heap), MHEAP_ERR_OVERFLOW, "%s: an array of more bytes than any heap has",
                 space->region->path);
}

/* The head last: after a kill a collector takes what has one for what it says. */
mheap_err mh_cells_new(mh_space *space, uint64_t stride, uint64_t capacity, uint64_t *offset,
                       mh_cells *cells) {
  uint64_t bytes;
  if (!room_fits(stride, capacity, &bytes)) return too_large(space);
  bytes = mheap_good_size(mh_cells_aligned(bytes));
  if (bytes == 0) return too_large(space);
  mheap_err failed = mh_block_new(space, bytes, offset);
  if (failed) return failed;
  mh_cells_block *block = mh_at(space->region, *offset);
  capacity = (bytes - sizeof *block) / (stride == 0 ? 1 : stride);
  mh_store(&block->head, 0);
  *block = (mh_cells_block){.capacity = capacity, .stride = stride};
  mh_store(&block->head, mh_head(0, MH_TYPE_CELLS, 0));
  *cells = (mh_cells){.block = block, .data = block->data, .capacity = capacity, .stride = stride};
  return MHEAP_OK;
}

uint64_t mh_cells_larger(uint64_t stride, uint64_t rows) {
  uint64_t row = stride == 0 ? 1 : stride, bytes;
  if (!room_fits(stride, rows, &bytes)) return rows;
  if (bytes < FIRST_BYTES) return rows + (FIRST_BYTES - bytes) / row;
  uint64_t more = rows + (bytes < LARGE ? rows / 2 : rows / 4);
  return room_fits(stride, more, &bytes) ? more : rows;
}

/* ---- descriptions ---- */

bool mh_array_stride(mh_array_form *form, uint64_t rows) {
  uint64_t stride = form->itemsize, bytes;
  for (unsigned i = 1; i < form->dimensions; i++)
    if (__builtin_mul_overflow(stride, form->shape[i - 1], &stride)) return false;
  form->stride = stride;
  return form->itemsize <= MH_OFFSET_MAX && room_fits(stride, rows, &bytes);
}

static bool is_size(uint64_t word, int64_t least) {
  return mh_word_tag(word) == MH_TAG_INT && mh_word_to_int(word) >= least &&
         mh_word_to_int(word) <= (int64_t)MH_OFFSET_MAX;
}

static mheap_err bad_form(mh_space *space, uint64_t offset, const char *what, uint64_t found) {
  return mh_corrupt(space, offset, what, 1, found);
}

static mheap_err read_shape(mh_space *space, const mh_compound *of, mh_array_form *form) {
  uint64_t extra = of->count - 2;
  form->dimensions = (unsigned)extra + 1;
  if (extra == 1 && of->words[2] == MH_CONST_NONE) return form->dimensions = 0, MHEAP_OK;
  for (uint64_t i = 0; i < extra; i++) {
    uint64_t word = mh_read(&of->words[2 + i]);
    if (!is_size(word, 0)) return bad_form(space, of->offset, "the shape of an array", word);
    form->shape[i] = (uint64_t)mh_word_to_int(word);
  }
  return MHEAP_OK;
}

mheap_err mh_array_read_form(mh_space *space, uint64_t word, mh_array_form *form) {
  mh_compound of;
  if (mh_word_tag(word) != MH_TAG_TUPLE_REF)
    return mh_corrupt(space, 0, "the description of an array", MH_TAG_TUPLE_REF, word);
  mheap_err failed = mh_compound_read(space, word, &of);
  if (failed) return failed;
  if (of.count < 2 || of.count > MH_ARRAY_DIMENSIONS + 1)
    return bad_form(space, of.offset, "the length of an array's description", of.count);
  form->type = mh_read(&of.words[0]);
  if (!mh_word_is_str(form->type))
    return bad_form(space, of.offset, "the type of an array, a str", form->type);
  uint64_t itemsize = mh_read(&of.words[1]);
  if (!is_size(itemsize, 1)) return bad_form(space, of.offset, "the size of an array's items", itemsize);
  form->itemsize = (uint64_t)mh_word_to_int(itemsize);
  failed = read_shape(space, &of, form);
  if (!failed && !mh_array_stride(form, 1))
    return bad_form(space, of.offset, "the size of an array's rows", form->itemsize);
  return failed;
}

/* Takes the reference to the type only if it succeeds. */
static mheap_err describe(mh_space *space, const mh_array_form *form, uint64_t *word) {
  uint64_t count = form->dimensions == 0 ? 3 : form->dimensions + 1;
  mheap_err failed = mh_compound_new(space, MH_TYPE_TUPLE, (mh_kind_code)0, count, word);
  if (failed) return failed;
  mh_compound_set(space, *word, 1, mh_word_int((int64_t)form->itemsize));
  if (form->dimensions == 0) mh_compound_set(space, *word, 2, MH_CONST_NONE);
  for (unsigned i = 1; i < form->dimensions; i++)
    mh_compound_set(space, *word, i + 1, mh_word_int((int64_t)form->shape[i - 1]));
  mh_compound_set(space, *word, 0, form->type);
  return MHEAP_OK;
}

/* ---- handles ---- */

static mh_array handle_of(mh_space *space, uint64_t offset, const mh_container *container) {
  return (mh_array){.space = space, .offset = offset, .birth = container->birth, .type = MH_TYPE_ARRAY};
}

mheap_err mh_array_at(mh_space *space, uint64_t offset, mh_array *array) {
  mh_container *container;
  mheap_err failed = mh_container_at(space, offset, MH_TYPE_ARRAY, 0, &container);
  if (failed) return failed;
  if (container->birth == 0) return mh_corrupt(space, offset + 8, "the birth number of an array", 1, 0);
  *array = handle_of(space, offset, container);
  return MHEAP_OK;
}

static void fill_rows(mh_space *space, const mh_cells *cells, uint64_t rows, const void *data) {
  uint64_t bytes = cells->stride * rows;
  if (bytes == 0) return;
  if (data != NULL) memcpy(cells->data, data, bytes);
  else if (!mh_block_is_zero(space, cells->block, mh_cells_bytes(cells))) memset(cells->data, 0, bytes);
}

static mheap_err new_cells(mh_space *space, const mh_array_form *form, uint64_t rows, const void *data,
                           uint64_t *part) {
  mh_cells cells;
  *part = 0;
  if (rows == 0) return MHEAP_OK;
  mheap_err failed = mh_cells_new(space, form->stride, rows, part, &cells);
  if (failed) return failed;
  fill_rows(space, &cells, rows, data);
  mh_store(&cells.block->count, rows);
  return MHEAP_OK;
}

mheap_err mh_array_new(mh_space *space, const mh_array_form *form, uint64_t rows, const void *data,
                       mh_array *array) {
  uint64_t part, word, offset;
  mheap_err failed = new_cells(space, form, rows, data, &part);
  if (failed) return failed;
  failed = describe(space, form, &word);
  if (!failed && (failed = mh_container_new(space, MH_TYPE_ARRAY, &offset)) != MHEAP_OK) {
    mh_compound_set(space, word, 0, MH_WORD_ABSENT); /* the type is the caller's still */
    mh_release(space, word);
  }
  if (failed) {
    if (part != 0) mh_block_free(space, part);
    return failed;
  }
  mh_container *container = mh_at(space->region, offset);
  mh_store(&container->word, word);
  mh_store(&container->part, part);
  *array = handle_of(space, offset, container);
  return MHEAP_OK;
}

mheap_err mh_array_form_of(mh_array *array, mh_array_form *form) {
  mh_container *container;
  mheap_err failed = mh_container_at(array->space, array->offset, array->type, array->birth, &container);
  if (!failed) failed = mh_array_read_form(array->space, mh_read(&container->word), form);
  if (failed) return failed;
  array->stride = form->stride;
  array->formed = true;
  return MHEAP_OK;
}

static mheap_err open_cells(mh_array *array, mh_container **container, mh_cells *cells) {
  mh_space *space = array->space;
  mh_array_form form;
  mheap_err failed = array->formed ? MHEAP_OK : mh_array_form_of(array, &form);
  if (!failed) failed = mh_container_at(space, array->offset, array->type, array->birth, container);
  if (failed) return failed;
  uint64_t part = mh_read(&(*container)->part);
  *cells = (mh_cells){.stride = array->stride};
  if (part == 0) return MHEAP_OK;
  failed = mh_cells_open(space, part, cells);
  if (failed || cells->stride == array->stride) return failed;
  return mh_corrupt(space, part + offsetof(mh_cells_block, stride), "the bytes of an array's row",
                    array->stride, cells->stride);
}

static mheap_err confirm_block(mh_array *array, uint64_t offset, uint64_t size) {
  uint64_t usable = mh_block_usable(array->space, offset);
  if (usable >= size) return MHEAP_OK;
  return mh_corrupt(array->space, offset, "the size of the block in use here", size, usable);
}

static mheap_err to_change(mh_array *array, mh_container **container, mh_cells *cells) {
  mheap_err failed = mh_space_writable(array->space);
  if (!failed) failed = open_cells(array, container, cells);
  if (!failed && !array->writable) failed = confirm_block(array, array->offset, sizeof(mh_container));
  if (failed) return failed;
  array->writable = true;
  uint64_t part = (*container)->part;
  if (part == array->confirmed) return MHEAP_OK;
  failed = confirm_block(array, part, mh_cells_bytes(cells));
  if (!failed) array->confirmed = part;
  return failed;
}

mheap_err mh_array_cells(mh_array *array, bool write, mh_cells *cells) {
  mh_container *container;
  return write ? to_change(array, &container, cells) : open_cells(array, &container, cells);
}

/* ---- changing ---- */

/* Publishes new cells with the first `kept` rows of the old, which are freed, and `count` rows in all:
   what is behind those kept is `data`, or zero. */
static mheap_err to_new(mh_array *array, mh_container *container, const mh_cells *old, uint64_t capacity,
                        uint64_t count, const void *data) {
  uint64_t offset, part = container->part, stride = array->stride;
  uint64_t kept = old->count < count ? old->count : count;
  mh_cells made;
  mheap_err failed = mh_cells_new(array->space, stride, capacity, &offset, &made);
  if (failed) return failed;
  if (kept > 0 && stride > 0) memcpy(made.data, old->data, stride * kept);
  mh_cells rest = made;
  rest.data += stride * kept;
  fill_rows(array->space, &rest, count - kept, data);
  mh_store(&made.block->count, count);
  mh_store(&container->part, offset);
  array->confirmed = offset;
  if (part != 0) mh_block_free(array->space, part);
  return MHEAP_OK;
}

static mheap_err add(mh_array *array, mh_container *container, const mh_cells *cells, uint64_t total,
                     const void *data) {
  uint64_t bytes, stride = cells->stride, more = total - cells->count;
  if (!room_fits(stride, total, &bytes)) return too_large(array->space);
  if (total > cells->capacity) {
    uint64_t larger = cells->count == 0 ? 0 : mh_cells_larger(stride, cells->count);
    return to_new(array, container, cells, larger > total ? larger : total, total, data);
  }
  if (stride * more > 0) {
    unsigned char *at = cells->data + stride * cells->count;
    if (data != NULL) memcpy(at, data, stride * more);
    else memset(at, 0, stride * more);
    mh_mark_range(at, stride * more);
  }
  mh_store(&cells->block->count, total);
  return MHEAP_OK;
}

static mheap_err no_rows(mh_array *array) {
  return mh_fail(mh_error(array->space->heap), MHEAP_ERR_ARGUMENT,
                 "an array without dimensions has no rows to add or remove");
}

/* Only one that has a first dimension changes its length. */
static mheap_err to_resize(mh_array *array, mh_container **container, mh_cells *cells) {
  mh_array_form form;
  mheap_err failed = to_change(array, container, cells);
  if (!failed) failed = mh_array_read_form(array->space, mh_read(&(*container)->word), &form);
  return !failed && form.dimensions == 0 ? no_rows(array) : failed;
}

mheap_err mh_array_extend(mh_array *array, const void *data, uint64_t rows) {
  mh_container *container;
  mh_cells cells;
  uint64_t total;
  mheap_err failed = to_resize(array, &container, &cells);
  if (failed || rows == 0) return failed;
  if (__builtin_add_overflow(cells.count, rows, &total)) return too_large(array->space);
  return add(array, container, &cells, total, data);
}

mheap_err mh_array_resize(mh_array *array, uint64_t rows) {
  mh_container *container;
  mh_cells cells;
  mheap_err failed = to_resize(array, &container, &cells);
  if (failed || rows == cells.count) return failed;
  if (rows > cells.count) return add(array, container, &cells, rows, NULL);
  mh_store(&cells.block->count, rows);
  return MHEAP_OK;
}

mheap_err mh_array_reserve(mh_array *array, uint64_t rows) {
  mh_container *container;
  mh_cells cells;
  mheap_err failed = to_resize(array, &container, &cells);
  if (failed || rows <= cells.capacity) return failed;
  return to_new(array, container, &cells, rows, cells.count, NULL);
}
