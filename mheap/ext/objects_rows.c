/* objects_rows.c: see objects_records.h. RowsTwin: the hot half of mheap.PersistentRecordList; what tells
   records from tuples and mappings is in mheap/records.py.

   A row in Python is an object of the records' class that stands for a place in the list: its heap_obj is
   the list's twin, of.row says which place, and of which state of the list. */
#include "objects_records.h"

#include <structmember.h>

#include "marks.h"

/* ---- the list ---- */

static int is_exported(const mhx_twin *list) {
  if (list->exports == 0) return 0;
  PyErr_SetString(PyExc_BufferError, "the records would move, but a column of them is out: release it first");
  return -1;
}

static mhx_space *open_list(mhx_twin *list, bool write, mh_rows *rows) {
  mhx_space *space = mhx_twin_space(list);
  if (space == NULL) return NULL;
  if (mh_row_list_rows(&list->of.rows.list, write, rows)) return mhx_failed(space), NULL;
  return space;
}

/* The map of the class of the list's records. Finding it may run Python code: then all is looked at anew. */
static const mhx_map *open_map(mhx_twin *list, mhx_shape *shape, mhx_space **space, mh_rows *rows) {
  for (;;) {
    if ((*space = open_list(list, false, rows)) == NULL) return NULL;
    const mhx_map *map = list->of.rows.map;
    if (map != NULL && map->schema == rows->schema && (shape == NULL || map->shape == shape)) return map;
    map = mhx_map_for(*space, rows->schema->number, shape);
    if (map == NULL) return NULL;
    list->of.rows.map = map;
  }
}

static mhx_shape *shape_of_list(mhx_twin *list) {
  mhx_space *space;
  mh_rows rows;
  const mhx_map *map = open_map(list, NULL, &space, &rows);
  return map == NULL ? NULL : (mhx_shape *)Py_NewRef((PyObject *)map->shape);
}

/* ---- rows ---- */

static int has_moved(void) {
  mhx_refuse(MHEAP_ERR_STALE, "the record is gone from its place in the list; read it from there again");
  return -1;
}

static const mhx_map *open_row(mhx_twin *row, mhx_space **space, mh_rows *rows) {
  mhx_twin *list = (mhx_twin *)row->heap_obj;
  mhx_shape *shape = mhx_shape_of(Py_TYPE(row));
  if (shape == NULL) return NULL;
  const mhx_map *map = open_map(list, shape->cls == (PyObject *)Py_TYPE(row) ? shape : NULL, space, rows);
  if (map == NULL) return NULL;
  if (row->of.row.changes == list->changes && row->of.row.index < rows->count) return map;
  return has_moved(), NULL;
}

PyObject *mhx_row_read(PyObject *self, Py_ssize_t index) {
  mhx_space *space;
  mh_rows rows;
  mhx_twin *row = (mhx_twin *)self;
  const mhx_map *map = open_row(row, &space, &rows);
  if (map == NULL) return NULL;
  if (index >= map->shape->count) return PyErr_Format(PyExc_RuntimeError, "another class");
  return mhx_place_read(space, map, index, (const char *)mh_row_at(&rows, row->of.row.index));
}

mhx_shape *mhx_row_shape(PyObject *self) {
  mhx_space *space;
  mh_rows rows;
  const mhx_map *map = open_row((mhx_twin *)self, &space, &rows);
  return map == NULL ? NULL : (mhx_shape *)Py_NewRef((PyObject *)map->shape);
}

static PyObject *new_row(mhx_twin *list, const mhx_map *map, uint64_t index) {
  PyTypeObject *type = (PyTypeObject *)Py_NewRef(map->shape->cls);
  mhx_twin *row = (mhx_twin *)type->tp_alloc(type, 0);
  Py_DECREF(type);
  if (row == NULL) return NULL;
  row->heap_obj = Py_NewRef((PyObject *)list);
  row->of.row.type = MH_TYPE_RECORDS;
  row->of.row.index = index;
  row->of.row.changes = list->changes;
  return (PyObject *)row;
}

/* ---- migrating ---- */

/* All rows anew, by the class's own schema. */
static int migrate(mhx_twin *list, mhx_shape *shape) {
  mhx_space *space;
  mh_rows rows;
  if (is_exported(list) < 0) return -1;
  const mhx_map *map = open_map(list, shape, &space, &rows);
  if (map == NULL || map->is_own) return map == NULL ? -1 : 0;
  if (mh_space_writable(&space->core)) return mhx_failed(space);
  return mhx_rows_convert(space, list, &rows);
}

static const mhx_map *open_own(mhx_twin *list, mhx_shape *shape, mhx_space **space, mh_rows *rows) {
  const mhx_map *map = open_map(list, shape, space, rows);
  if (map == NULL || map->is_own) return map;
  if (migrate(list, map->shape) < 0) return NULL;
  map = open_map(list, shape, space, rows);
  if (map == NULL || map->is_own) return map;
  return PyErr_Format(PyExc_RuntimeError, "the class of the records changed meanwhile"), NULL;
}

/* ---- a field of a row ---- */

static int store_bits(mhx_space *space, mhx_twin *list, uint64_t index, const mh_schema_field *field,
                      uint64_t bits) {
  mh_rows rows;
  if (mh_row_list_rows(&list->of.rows.list, true, &rows)) return mhx_failed(space);
  void *at = mh_row_at(&rows, index) + field->offset;
  if (field->kind == MH_FIELD_BOOL) mh_store_byte(at, bits != 0);
  else mh_store(at, bits);
  return 0;
}

static int store_word(mhx_space *space, mhx_twin *list, uint64_t index, const mh_schema_field *field,
                      uint64_t word) {
  mh_rows rows;
  if (mh_row_list_rows(&list->of.rows.list, true, &rows)) return mhx_failed(space);
  uint64_t *at = (uint64_t *)(void *)(mh_row_at(&rows, index) + field->offset), old = *at;
  if (mh_word_check(&space->core, old)) return mhx_failed(space);
  mh_store(at, word);
  mh_release(&space->core, old);
  return 0;
}

int mhx_row_store(PyObject *self, mhx_shape *shape, Py_ssize_t index, PyObject *fit) {
  mhx_space *space;
  mh_rows rows;
  mhx_words words = {0};
  mhx_twin *row = (mhx_twin *)self, *list = (mhx_twin *)row->heap_obj;
  bool is_word = shape->fields[index].kind == MH_FIELD_WORD;
  if (open_own(list, shape, &space, &rows) == NULL) return -1;
  if (is_word && mhx_value(space, fit, &words) < 0) return -1;
  const mhx_map *map = open_row(row, &space, &rows);
  int failed = map == NULL ? -1 : 0;
  if (failed == 0 && !map->is_own) failed = has_moved();
  const mh_schema_field *field = failed == 0 ? &rows.schema->fields[index] : NULL;
  if (!is_word) {
    uint64_t bits;
    if (failed < 0 || mhx_field_bits(field->kind, fit, &bits) < 0) return -1;
    return store_bits(space, list, row->of.row.index, field, bits);
  }
  if (failed == 0) failed = store_word(space, list, row->of.row.index, field, words.words[0]);
  if (failed < 0) return mhx_words_refused(space, &words);
  return mhx_words_taken(&words), 0;
}

/* ---- rows that come in ---- */

/* All values of the records that are words in rows, in their order. */
static PyObject *list_values(const mh_schema *schema, PyObject *records) {
  PyObject *list = PyList_New(0);
  for (Py_ssize_t i = 0; list != NULL && i < PyList_GET_SIZE(records); i++) {
    PyObject *record = PyList_GET_ITEM(records, i);
    const mhx_shape *shape = mhx_shape_of(Py_TYPE(record));
    for (uint32_t k = 0; shape != NULL && list != NULL && k < schema->field_count; k++) {
      if (schema->fields[k].kind != MH_FIELD_WORD) continue;
      PyObject *value = *mhx_slot(record, &shape->fields[k]);
      if (value == NULL || PyList_Append(list, value) < 0) Py_CLEAR(list);
    }
  }
  if (list == NULL && !PyErr_Occurred())
    PyErr_SetString(PyExc_AttributeError, "a record without all its values");
  return list;
}

/* What is no word is read only now: storing the words may have changed it. */
static int fill_rows(const mh_schema *schema, PyObject *records, const uint64_t *words, char *to) {
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(records); i++, to += schema->bytes) {
    PyObject *record = PyList_GET_ITEM(records, i);
    const mhx_shape *shape = mhx_shape_of(Py_TYPE(record));
    if (shape == NULL) return -1;
    for (uint32_t k = 0; k < schema->field_count; k++) {
      const mh_schema_field *field = &schema->fields[k];
      uint64_t bits;
      if (field->kind == MH_FIELD_WORD) bits = *words++;
      else if (mhx_field_bits(field->kind, *mhx_slot(record, &shape->fields[k]), &bits) < 0) return -1;
      if (field->kind == MH_FIELD_BOOL) to[field->offset] = (char)bits;
      else memcpy(to + field->offset, &bits, 8);
    }
  }
  return 0;
}

/* Are these plain records of exactly this class, all of whose values are there? */
static int are_plain(const mhx_shape *shape, PyObject *records) {
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(records); i++) {
    PyObject *record = PyList_GET_ITEM(records, i);
    bool is = (PyObject *)Py_TYPE(record) == shape->cls && mhx_is_plain(record);
    for (Py_ssize_t k = 0; is && k < shape->count; k++) is = *mhx_slot(record, &shape->fields[k]) != NULL;
    if (is) continue;
    PyErr_Format(PyExc_TypeError, "plain records of the class %.200s are needed, with all their values",
                 ((PyTypeObject *)shape->cls)->tp_name);
    return -1;
  }
  return 0;
}

/* `records`: nobody else's. Storing values may run Python code, which may change the list. */
static int splice(mhx_twin *list, uint64_t from, uint64_t removed, PyObject *records) {
  mhx_space *space;
  mh_rows rows;
  mhx_words words;
  const mhx_map *map = open_own(list, NULL, &space, &rows);
  if (map == NULL || are_plain(map->shape, records) < 0) return -1;
  const mh_schema *schema = rows.schema;
  uint64_t count = (uint64_t)PyList_GET_SIZE(records);
  PyObject *values = list_values(schema, records);
  if (values == NULL || mhx_values(space, values, &words) < 0) return Py_XDECREF(values), -1;
  Py_DECREF(values);
  char *data = PyMem_Calloc(count + 1, schema->bytes);
  int failed = data == NULL ? (PyErr_NoMemory(), -1) : 0;
  if (failed == 0) failed = fill_rows(schema, records, words.words, data);
  if (failed == 0 && open_list(list, false, &rows) == NULL) failed = -1;
  if (failed == 0 && rows.schema != schema) failed = has_moved();
  if (failed == 0 && !mh_rows_stay(&rows, from, removed, count)) failed = is_exported(list);
  mheap_err error = failed < 0 ? MHEAP_OK : mh_rows_splice(&list->of.rows.list, from, removed, data, count);
  PyMem_Free(data);
  if (error == MHEAP_ERR_NOT_FOUND) PyErr_SetString(PyExc_IndexError, "record list index out of range");
  if (error == MHEAP_ERR_NOT_FOUND || failed < 0) return mhx_words_refused(space, &words);
  if (error) return mhx_words_failed(space, &words);
  if (removed > 0 || from + removed < rows.count) list->changes++;
  return mhx_words_taken(&words), 0;
}

static PyObject *rows_splice(PyObject *self, PyObject *args) {
  Py_ssize_t from, removed;
  PyObject *records;
  if (!PyArg_ParseTuple(args, "nnO!", &from, &removed, &PyList_Type, &records)) return NULL;
  if (from < 0 || removed < 0) return PyErr_Format(PyExc_IndexError, "record list index out of range");
  PyObject *copy = PyList_GetSlice(records, 0, PyList_GET_SIZE(records));
  int failed = copy == NULL ? -1 : splice((mhx_twin *)self, (uint64_t)from, (uint64_t)removed, copy);
  Py_XDECREF(copy);
  if (failed < 0) return NULL;
  Py_RETURN_NONE;
}

static PyObject *rows_permute(PyObject *self, PyObject *order) {
  if (!PyList_CheckExact(order)) return PyErr_Format(PyExc_TypeError, "a list is needed");
  mhx_twin *list = (mhx_twin *)self;
  size_t count = (size_t)PyList_GET_SIZE(order);
  uint64_t *indices = PyMem_Malloc(8 * count + 8);
  if (indices == NULL) return PyErr_NoMemory();
  for (size_t i = 0; i < count; i++) indices[i] = PyLong_AsSize_t(PyList_GET_ITEM(order, (Py_ssize_t)i));
  mhx_space *space = PyErr_Occurred() || is_exported(list) < 0 ? NULL : mhx_twin_space(list);
  mheap_err failed = space == NULL ? MHEAP_OK : mh_rows_permute(&list->of.rows.list, indices, count);
  PyMem_Free(indices);
  if (failed) mhx_failed(space);
  if (failed || space == NULL) return NULL;
  list->changes++;
  Py_RETURN_NONE;
}

/* ---- reading ---- */

static Py_ssize_t rows_length(PyObject *self) {
  mh_rows rows;
  return open_list((mhx_twin *)self, false, &rows) == NULL ? -1 : (Py_ssize_t)rows.count;
}

static PyObject *rows_item(PyObject *self, Py_ssize_t index) {
  mhx_space *space;
  mh_rows rows;
  const mhx_map *map = open_map((mhx_twin *)self, NULL, &space, &rows);
  if (map == NULL) return NULL;
  if (index >= 0 && (uint64_t)index < rows.count) return new_row((mhx_twin *)self, map, (uint64_t)index);
  PyErr_SetString(PyExc_IndexError, "record list index out of range");
  return NULL;
}

MHX_WHOLE_NUMBER(Py_ssize_t, rows_length, (PyObject *self), (self))
MHX_WHOLE_OBJECT(rows_item, (PyObject *self, Py_ssize_t index), (self, index))

/* A list of rows for a slice. */
static PyObject *rows_subscript(PyObject *self, PyObject *key) {
  Py_ssize_t first, last, step, length = whole_rows_length(self);
  if (length < 0) return NULL;
  if (!PySlice_Check(key)) {
    Py_ssize_t index = PyNumber_AsSsize_t(key, PyExc_IndexError);
    if (index == -1 && PyErr_Occurred()) return NULL;
    return whole_rows_item(self, index < 0 ? index + length : index);
  }
  if (PySlice_Unpack(key, &first, &last, &step) < 0) return NULL;
  Py_ssize_t count = PySlice_AdjustIndices(length, &first, &last, step);
  PyObject *list = PyList_New(0);
  for (Py_ssize_t i = 0; list != NULL && i < count; i++) {
    PyObject *row = whole_rows_item(self, first + i * step);
    if (row == NULL || PyList_Append(list, row) < 0) Py_CLEAR(list);
    Py_XDECREF(row);
  }
  return list;
}

/* ---- iterating ---- */

typedef struct iterator {
  PyObject_HEAD
  mhx_twin *list; /* NULL: exhausted */
  Py_ssize_t index;
  bool kept; /* it keeps the commit that the heap shows, to its end */
} iterator;

static PyObject *rows_iter(PyObject *self) {
  mhx_twin *list = (mhx_twin *)self;
  PyTypeObject *type = (PyTypeObject *)mhx_state_of_heap(list->heap_obj)->object_types[MHX_ROWS_ITER];
  int kept = mhx_keep_commit(list);
  iterator *made = kept < 0 ? NULL : PyObject_New(iterator, type);
  if (made == NULL && kept > 0) mhx_release_commit(list);
  if (made == NULL) return NULL;
  made->list = (mhx_twin *)Py_NewRef(self);
  made->index = 0;
  made->kept = kept > 0;
  return (PyObject *)made;
}

static void end_iterating(iterator *self) {
  mhx_twin *list = self->list;
  self->list = NULL;
  if (list != NULL && self->kept) mhx_release_commit(list);
  Py_XDECREF((PyObject *)list);
}

static PyObject *rows_next(PyObject *self) {
  iterator *of = (iterator *)self;
  PyObject *row = of->list == NULL ? NULL : whole_rows_item((PyObject *)of->list, of->index++);
  if (row != NULL || of->list == NULL) return row;
  if (!PyErr_ExceptionMatches(PyExc_IndexError)) return NULL;
  PyErr_Clear();
  end_iterating(of);
  return NULL;
}

static void iterator_dealloc(PyObject *self) {
  PyTypeObject *type = Py_TYPE(self);
  end_iterating((iterator *)self);
  type->tp_free(self);
  Py_DECREF(type);
}

static PyType_Slot iterator_slots[] = {
    {Py_tp_dealloc, iterator_dealloc},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, rows_next},
    {0, NULL},
};

PyType_Spec mhx_rows_iter_spec = {
    .name = "mheap._core.RowsIter",
    .basicsize = sizeof(iterator),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = iterator_slots,
};

static PyObject *rows_shape(PyObject *self, PyObject *unused) {
  (void)unused;
  return (PyObject *)shape_of_list((mhx_twin *)self);
}

/* ---- columns ---- */

typedef struct column {
  PyObject_HEAD
  mh_out out;
  mhx_twin *list;
  PyObject *heap_obj; /* kept from being detached */
  void *data;
  Py_ssize_t count, stride;
  mh_field_kind kind;
  bool readonly;
} column;

static int column_buffer(PyObject *self, Py_buffer *buffer, int flags) {
  column *of = (column *)self;
  Py_ssize_t size = of->kind == MH_FIELD_BOOL ? 1 : 8;
  buffer->obj = NULL;
  if ((flags & PyBUF_WRITABLE) != 0 && of->readonly)
    return PyErr_SetString(PyExc_BufferError, "the heap is only read"), -1;
  if ((flags & PyBUF_STRIDES) != PyBUF_STRIDES && of->stride != size)
    return PyErr_SetString(PyExc_BufferError, "the values of a column do not lie one behind the other"), -1;
  static char *const formats[] = {[MH_FIELD_INT] = "q", [MH_FIELD_FLOAT] = "d", [MH_FIELD_BOOL] = "?"};
  *buffer = (Py_buffer){.buf = of->data, .obj = Py_NewRef(self), .len = of->count * size, .itemsize = size,
                        .readonly = of->readonly, .ndim = 1};
  if ((flags & PyBUF_FORMAT) != 0) buffer->format = formats[of->kind];
  if ((flags & PyBUF_ND) != 0) buffer->shape = &of->count;
  if ((flags & PyBUF_STRIDES) == PyBUF_STRIDES) buffer->strides = &of->stride;
  return 0;
}

static void column_dealloc(PyObject *self) {
  column *of = (column *)self;
  PyTypeObject *type = Py_TYPE(self);
  mhx_out_end((mhx_handle *)of->heap_obj, &of->out);
  of->list->exports--;
  mhx_release_for_view((mhx_handle *)of->heap_obj);
  Py_DECREF(of->list);
  Py_DECREF(of->heap_obj);
  type->tp_free(self);
  Py_DECREF(type);
}

static PyType_Slot column_slots[] = {
    {Py_tp_doc, "What a column of a record list is a view of."},
    {Py_tp_dealloc, column_dealloc},
    {Py_bf_getbuffer, column_buffer},
    {0, NULL},
};

PyType_Spec mhx_column_spec = {
    .name = "mheap._core.RecordColumn",
    .basicsize = sizeof(column),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = column_slots,
};

static int refuse_column(const mhx_field *field) {
  PyErr_Format(PyExc_TypeError,
               "the column %U is of %U: only int, float and bool lie in the rows themselves; others are "
               "references",
               field->name, field->type);
  return -1;
}

static int place_for(mhx_twin *list, Py_ssize_t index, mhx_space **space, mh_rows *rows, mhx_place *place) {
  const mhx_map *map = open_map(list, NULL, space, rows);
  if (map == NULL) return -1;
  if (index < 0 || index >= map->shape->count) return PyErr_SetString(PyExc_IndexError, "no such field"), -1;
  const mhx_field *field = &map->shape->fields[index];
  if (field->kind == MH_FIELD_WORD) return refuse_column(field);
  if (map->places[index].how != (mhx_how)field->kind) {
    if (open_own(list, NULL, space, rows) == NULL) return -1;
    return place_for(list, index, space, rows, place);
  }
  *place = map->places[index];
  return 0;
}

/* From here to column_dealloc the rows stay, and commits look for what is stored to them. */
static void begin_column(column *of, const mh_rows *rows, uint64_t offset) {
  mhx_handle *handle = (mhx_handle *)of->heap_obj;
  bool looked_for = !of->readonly && handle->mode == MHEAP_MODE_ATOMIC && of->count > 0;
  of->out.address = of->data;
  of->out.length = looked_for ? rows->count * rows->schema->bytes - offset : 0;
  mhx_out_begin(handle, &of->out);
  of->list->exports++;
}

/* _column(number of a field): the views of it keep rows and heap where they are. */
static PyObject *rows_column(PyObject *self, PyObject *number) {
  mhx_twin *list = (mhx_twin *)self;
  Py_ssize_t index = PyLong_AsSsize_t(number);
  mhx_space *space;
  mh_rows rows;
  mhx_place place;
  if (index == -1 && PyErr_Occurred()) return NULL;
  if (place_for(list, index, &space, &rows, &place) < 0) return NULL;
  mhx_handle *handle = (mhx_handle *)list->heap_obj;
  mhx_state *state = mhx_state_of_heap(list->heap_obj);
  bool readonly = !mh_region_writable(space->core.region);
  if (!readonly && open_list(list, true, &rows) == NULL) return NULL;
  if (mhx_keep_for_view(handle) < 0 || place_for(list, index, &space, &rows, &place) < 0) return NULL;
  column *of = PyObject_New(column, (PyTypeObject *)state->object_types[MHX_COLUMN]);
  if (of == NULL) return mhx_release_for_view(handle), NULL;
  of->list = (mhx_twin *)Py_NewRef(self);
  of->heap_obj = Py_NewRef(list->heap_obj);
  of->data = rows.block->data + place.offset;
  of->count = (Py_ssize_t)rows.count;
  of->stride = (Py_ssize_t)rows.schema->bytes;
  of->kind = (mh_field_kind)place.how;
  of->readonly = readonly;
  begin_column(of, &rows, place.offset);
  return (PyObject *)of;
}

/* _record_list(type): that of plain ones. */
static PyObject *set_plain_type(PyObject *module, PyObject *type) {
  if (!PyType_Check(type)) return PyErr_Format(PyExc_TypeError, "a type is needed");
  Py_XSETREF(mhx_state_of(module)->object_types[MHX_PLAIN_RECORD_LIST], Py_NewRef(type));
  Py_RETURN_NONE;
}

PyMethodDef mhx_rows_functions[] = {
    {"_record_list", set_plain_type, METH_O, NULL},
    {0},
};

/* ---- RowsTwin ---- */

static PyMethodDef rows_methods[] = {
    {"_splice", rows_splice, METH_VARARGS, NULL},
    {"_permute", rows_permute, METH_O, NULL},
    {"_column", rows_column, METH_O, NULL},
    {"_shape", rows_shape, METH_NOARGS, NULL},
    {"_most_text", mhx_twin_most_text, METH_NOARGS, NULL},
    {0},
};

static PyMemberDef rows_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(mhx_twin, weakrefs), READONLY, NULL},
    {0},
};

static PyType_Slot rows_slots[] = {
    {Py_tp_doc, "What of PersistentRecordList is written in C."},
    {Py_tp_new, mhx_twin_new},
    {Py_tp_dealloc, mhx_twin_dealloc},
    {Py_tp_hash, PyObject_HashNotImplemented},
    {Py_tp_methods, rows_methods},
    {Py_tp_members, rows_members},
    {Py_sq_length, whole_rows_length},
    {Py_sq_item, whole_rows_item},
    {Py_mp_length, whole_rows_length},
    {Py_mp_subscript, rows_subscript},
    {Py_tp_iter, rows_iter},
    {0, NULL},
};

PyType_Spec mhx_rows_twin_spec = {
    .name = "mheap._core.RowsTwin",
    .basicsize = sizeof(mhx_twin),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = rows_slots,
};
