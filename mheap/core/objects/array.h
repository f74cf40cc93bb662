/* array.h: arrays, and cells, which they keep their rows in. Owns the operations on an array and the
   order of their stores (layout.h, "array"). Calls compound.h. Takes no lock.

   An mh_array is a handle, as an mh_list is. What the rows are is the caller's business: here they are
   bytes. Whoever was told where cells are may store to them until they are moved: a caller that has
   handed the address out asks mh_array_cells first whether what he is about to do moves them. */
#ifndef MHEAP_OBJECTS_ARRAY_H
#define MHEAP_OBJECTS_ARRAY_H

#include "space.h"

/* ---- cells ---- */

/* As read, checked against the region. */
typedef struct mh_cells {
  mh_cells_block *block; /* NULL: there are none, and no rows */
  unsigned char *data;
  uint64_t count, capacity, stride;
} mh_cells;

mheap_err mh_cells_open(mh_space *space, uint64_t offset, mh_cells *cells);
/* Unpublished cells without rows, and room for at least `capacity` of them. */
mheap_err mh_cells_new(mh_space *space, uint64_t stride, uint64_t capacity, uint64_t *offset,
                       mh_cells *cells);
/* Bytes that so many rows take in a block, its beginning not counted. */
static inline uint64_t mh_cells_room(uint64_t stride, uint64_t rows) {
  return stride == 0 ? rows : stride * rows;
}
static inline uint64_t mh_cells_bytes(const mh_cells *cells) {
  return sizeof(mh_cells_block) + mh_cells_room(cells->stride, cells->capacity);
}
/* How many rows to have room for at `rows`, so that not every further one needs new cells. */
uint64_t mh_cells_larger(uint64_t stride, uint64_t rows);

/* ---- arrays ---- */

/* What an array's description says. */
typedef struct mh_array_form {
  uint64_t type; /* value word of the str */
  uint64_t itemsize;
  uint64_t stride;                         /* bytes a row */
  unsigned dimensions;                     /* the first counted */
  uint64_t shape[MH_ARRAY_DIMENSIONS];     /* of the second and all behind it */
} mh_array_form;

typedef struct mh_array {
  mh_space *space;
  uint64_t offset;
  uint64_t birth;
  mh_type type;
  bool writable;      /* confirmed to be a block in use */
  bool formed;        /* `stride` is known */
  uint64_t confirmed; /* the part that was confirmed to be a block in use; 0: none */
  uint64_t stride;
} mh_array;

/* The bytes of a row of such a shape. false: that, or what `rows` of it take, is more than any heap has. */
bool mh_array_stride(mh_array_form *form, uint64_t rows);
/* A new, unpublished array with one reference; form->type is its own from then on if that succeeds. Its
   rows are `data`, or zeros if that is NULL. An array without dimensions has one row. */
mheap_err mh_array_new(mh_space *space, const mh_array_form *form, uint64_t rows, const void *data,
                       mh_array *array);
/* The array at `offset`. */
mheap_err mh_array_at(mh_space *space, uint64_t offset, mh_array *array);
/* What a description says; its words are checked, but for what the str says. */
mheap_err mh_array_read_form(mh_space *space, uint64_t word, mh_array_form *form);
mheap_err mh_array_form_of(mh_array *array, mh_array_form *form);
/* Its rows, to be read until the next change; with `write`, also to be stored to. */
mheap_err mh_array_cells(mh_array *array, bool write, mh_cells *cells);

/* Adds so many rows, which are not those that are there; nothing is done half. */
mheap_err mh_array_extend(mh_array *array, const void *data, uint64_t rows);
/* Drops rows at the end, or adds such that are zero throughout. */
mheap_err mh_array_resize(mh_array *array, uint64_t rows);
/* Makes room for that many rows in all; never less than there are. */
mheap_err mh_array_reserve(mh_array *array, uint64_t rows);

#endif
