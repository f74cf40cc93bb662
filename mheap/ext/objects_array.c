/* objects_array.c: see objects.h. ArrayTwin: the half of mheap.PersistentArray that knows memory; the rest is
   in mheap/arrays.py.

   A buffer that is out refers to the twin, so the array lives as long as it; it keeps the heap attached, in a
   reader the commit that it shows, and the cells where they are: what would move or cut them is refused. In
   mode atomic its memory counts as changed from the first commit that it is out to the first after. */
#include "objects_array.h"

#include <math.h>

#include "commit.h"
#include "marks.h"

typedef struct mhx_array {
  mhx_twin twin;
  Py_ssize_t exports; /* buffers that are out */
  PyObject *type;     /* str; NULL: not read yet, as all below */
  PyObject *format;   /* bytes, or None: buffers of it have none; NULL: not made yet */
  mh_array_form form;
  char scalar;        /* of items in one or two dimensions, that append() stores by itself; 0: of none */
} mhx_array;

/* What belongs to a buffer that is out. */
typedef struct mhx_out {
  mh_out out; /* first */
  mhx_array *array;
  mhx_handle *handle;
  bool kept; /* a commit */
  Py_ssize_t shape[MH_ARRAY_DIMENSIONS], strides[MH_ARRAY_DIMENSIONS];
} mhx_out;

static char nothing[MH_CELLS_ALIGNMENT]; /* where an array without rows is */

/* ---- what it is ---- */

/* Of native numbers, as struct writes them. */
static char scalar_of(const mhx_array *array) {
  static const char *const names[] = {"<f8 d", "<f4 f", "<i8 q", "<i4 i", "<u8 Q", "<i2 h", "|i1 b", "|u1 B"};
  for (size_t i = 0; i < Py_ARRAY_LENGTH(names); i++) {
    char name[4] = {names[i][0], names[i][1], names[i][2], 0};
    if (PyUnicode_CompareWithASCIIString(array->type, name) == 0 && array->form.dimensions - 1u < 2)
      return names[i][4];
  }
  return 0;
}

/* It never changes, but may be of another commit than the first read that failed. NULL with an exception. */
static mhx_space *describe(mhx_array *array) {
  mhx_space *space = mhx_twin_space(&array->twin);
  if (space == NULL || array->type != NULL) return space;
  if (mh_array_form_of(&array->twin.of.array, &array->form)) return mhx_failed(space), NULL;
  PyObject *type = mhx_from_word(space, array->form.type);
  if (type == NULL) return NULL;
  if (!mh_reader_is_whole(space->core.region)) return Py_DECREF(type), space; /* it is asked again */
  array->type = type;
  array->scalar = scalar_of(array);
  return space;
}

/* The rows, and all that is said of them. NULL with an exception. */
static mhx_space *open_rows(mhx_array *array, bool write, mh_cells *cells) {
  mhx_space *space = describe(array);
  if (space == NULL) return NULL;
  if (mh_array_cells(&array->twin.of.array, write, cells)) return mhx_failed(space), NULL;
  if (array->form.dimensions > 0 || cells->count == 1) return space;
  mh_corrupt(&space->core, array->twin.of.array.offset, "the rows of an array without dimensions", 1,
             cells->count);
  return mhx_failed(space), NULL;
}

static PyObject *type_of(PyObject *self, void *unused) {
  (void)unused;
  mhx_array *array = (mhx_array *)self;
  if (describe(array) == NULL) return NULL;
  return Py_NewRef(array->type != NULL ? array->type : Py_None);
}

static PyObject *itemsize_of(PyObject *self, void *unused) {
  (void)unused;
  if (describe((mhx_array *)self) == NULL) return NULL;
  return PyLong_FromUnsignedLongLong(((mhx_array *)self)->form.itemsize);
}

static PyObject *shape_of(PyObject *self, void *unused) {
  (void)unused;
  mhx_array *array = (mhx_array *)self;
  mh_cells cells;
  if (open_rows(array, false, &cells) == NULL) return NULL;
  PyObject *shape = PyTuple_New(array->form.dimensions);
  for (unsigned i = 0; shape != NULL && i < array->form.dimensions; i++) {
    PyObject *size = PyLong_FromUnsignedLongLong(i == 0 ? cells.count : array->form.shape[i - 1]);
    if (size == NULL) Py_CLEAR(shape);
    else PyTuple_SET_ITEM(shape, i, size);
  }
  return shape;
}

static PyObject *capacity_of(PyObject *self, void *unused) {
  (void)unused;
  mh_cells cells;
  if (open_rows((mhx_array *)self, false, &cells) == NULL) return NULL;
  return PyLong_FromUnsignedLongLong(cells.capacity);
}

static Py_ssize_t length_of(PyObject *self) {
  mh_cells cells;
  if (open_rows((mhx_array *)self, false, &cells) == NULL) return -1;
  if (((mhx_array *)self)->form.dimensions > 0) return (Py_ssize_t)cells.count;
  PyErr_SetString(PyExc_TypeError, "len() of unsized object");
  return -1;
}

MHX_WHOLE_OBJECT(type_of, (PyObject *self, void *unused), (self, unused))
MHX_WHOLE_OBJECT(itemsize_of, (PyObject *self, void *unused), (self, unused))
MHX_WHOLE_OBJECT(shape_of, (PyObject *self, void *unused), (self, unused))
MHX_WHOLE_OBJECT(capacity_of, (PyObject *self, void *unused), (self, unused))
MHX_WHOLE_NUMBER(Py_ssize_t, length_of, (PyObject *self), (self))

/* ---- buffers ---- */

static int refuse(const char *what) {
  PyErr_SetString(PyExc_BufferError, what);
  return -1;
}

/* Runs Python code, the first time. */
static int make_format(mhx_array *array) {
  if (array->format != NULL) return 0;
  PyObject *type = whole_type_of((PyObject *)array, NULL);
  PyObject *module = type == NULL ? NULL : PyImport_ImportModule("mheap.arrays");
  PyObject *format = module == NULL ? NULL
                                    : PyObject_CallMethod(module, "_format_of", "OK", type,
                                                          (unsigned long long)array->form.itemsize);
  Py_XDECREF(type);
  Py_XDECREF(module);
  if (format == NULL) return -1;
  if (format != Py_None && !PyBytes_Check(format)) return Py_DECREF(format), refuse("no format");
  Py_XSETREF(array->format, format);
  return 0;
}

static void measure(const mhx_array *array, const mh_cells *cells, mhx_out *out) {
  const mh_array_form *form = &array->form;
  for (unsigned i = 0; i < form->dimensions; i++)
    out->shape[i] = (Py_ssize_t)(i == 0 ? cells->count : form->shape[i - 1]);
  Py_ssize_t stride = (Py_ssize_t)form->itemsize;
  for (unsigned i = form->dimensions; i-- > 0; stride *= out->shape[i]) out->strides[i] = stride;
}

static bool is_fortran(const mhx_array *array, const mhx_out *out) {
  unsigned wide = 0;
  for (unsigned i = 0; i < array->form.dimensions; i++) wide += out->shape[i] > 1;
  return wide <= 1;
}

static void fill(mhx_array *array, mhx_out *out, const mh_cells *cells, Py_buffer *buffer, int flags) {
  *buffer = (Py_buffer){.buf = cells->data != NULL ? (void *)cells->data : nothing,
                        .len = (Py_ssize_t)(cells->stride * cells->count),
                        .itemsize = (Py_ssize_t)array->form.itemsize,
                        .ndim = (int)array->form.dimensions,
                        .internal = out};
  if (flags & PyBUF_FORMAT) buffer->format = PyBytes_AS_STRING(array->format);
  if (flags & PyBUF_ND) buffer->shape = out->shape;
  if ((flags & PyBUF_STRIDES) == PyBUF_STRIDES) buffer->strides = out->strides;
}

/* A line of bytes, whatever the items are. */
static void fill_bytes(mhx_out *out, const mh_cells *cells, Py_buffer *buffer, int flags) {
  out->shape[0] = (Py_ssize_t)(cells->stride * cells->count);
  out->strides[0] = 1;
  *buffer = (Py_buffer){.buf = cells->data != NULL ? (void *)cells->data : nothing,
                        .len = out->shape[0],
                        .itemsize = 1,
                        .ndim = 1,
                        .internal = out};
  if (flags & PyBUF_FORMAT) buffer->format = "B";
  if (flags & PyBUF_ND) buffer->shape = out->shape;
  if ((flags & PyBUF_STRIDES) == PyBUF_STRIDES) buffer->strides = out->strides;
}

/* The rows of one commit, which is kept until `out` ends. */
static int open_kept(mhx_array *array, mhx_out *out, bool *writable, mh_cells *cells) {
  mhx_space *space = mhx_twin_space(&array->twin);
  if (space == NULL || mhx_keep_for_view(out->handle) < 0) return -1;
  out->kept = true;
  *writable = mh_region_writable(space->core.region);
  space = open_rows(array, *writable, cells);
  if (space == NULL) return -1;
  int torn = mhx_torn((PyObject *)array);
  return torn == 0 ? 0 : torn < 0 ? -1 : refuse("the heap's writer was faster than this read; try again");
}

static void end_out(mhx_out *out) {
  if (out->kept) mhx_release_for_view(out->handle);
  Py_DECREF(out->handle);
  PyMem_Free(out);
}

static int begin_out(mhx_array *array, mhx_out *out, bool as_bytes, Py_buffer *buffer, int flags) {
  mh_cells cells;
  bool writable;
  if (open_kept(array, out, &writable, &cells) < 0) return -1;
  if ((flags & PyBUF_WRITABLE) && !writable) return refuse("this heap is only read: so are its arrays");
  if (as_bytes) fill_bytes(out, &cells, buffer, flags);
  else {
    measure(array, &cells, out);
    fill(array, out, &cells, buffer, flags);
    bool fortran = (flags & PyBUF_F_CONTIGUOUS) == PyBUF_F_CONTIGUOUS;
    if (fortran && !is_fortran(array, out)) return refuse("an array in a heap is in C order");
  }
  buffer->readonly = !writable;
  out->out.address = buffer->buf;
  bool looked_for = writable && out->handle->mode == MHEAP_MODE_ATOMIC && cells.data != NULL;
  out->out.length = looked_for ? (uint64_t)buffer->len : 0;
  return 0;
}

static int get_buffer_of(mhx_array *array, PyObject *owner, bool as_bytes, Py_buffer *buffer, int flags) {
  buffer->obj = NULL;
  if (!as_bytes && (flags & PyBUF_FORMAT)) {
    if (make_format(array) < 0) return -1;
    if (array->format == Py_None)
      return refuse("a buffer has no format for items of this type; numpy.asarray() knows them");
  }
  mhx_out *out = PyMem_Calloc(1, sizeof *out);
  if (out == NULL) return PyErr_NoMemory(), -1;
  out->handle = (mhx_handle *)Py_NewRef(array->twin.heap_obj);
  out->array = array;
  if (begin_out(array, out, as_bytes, buffer, flags) < 0) return end_out(out), -1;
  mhx_out_begin(out->handle, &out->out);
  array->exports++;
  buffer->obj = Py_NewRef(owner);
  return 0;
}

static void release_buffer(PyObject *self, Py_buffer *buffer) {
  (void)self;
  mhx_out *out = buffer->internal;
  mhx_out_end(out->handle, &out->out);
  out->array->exports--;
  end_out(out);
}

static int get_buffer(PyObject *self, Py_buffer *buffer, int flags) {
  return get_buffer_of((mhx_array *)self, self, false, buffer, flags);
}

/* ---- its bytes ---- */

typedef struct mhx_array_bytes {
  PyObject_HEAD
  mhx_array *array;
} mhx_array_bytes;

static int get_bytes(PyObject *self, Py_buffer *buffer, int flags) {
  return get_buffer_of(((mhx_array_bytes *)self)->array, self, true, buffer, flags);
}

static void bytes_dealloc(PyObject *self) {
  PyTypeObject *type = Py_TYPE(self);
  Py_XDECREF((PyObject *)((mhx_array_bytes *)self)->array);
  type->tp_free(self);
  Py_DECREF(type);
}

static PyType_Slot bytes_slots[] = {
    {Py_tp_doc, "What a memoryview of an array's bytes is a view of."},
    {Py_tp_dealloc, bytes_dealloc},
    {Py_bf_getbuffer, get_bytes},
    {Py_bf_releasebuffer, release_buffer},
    {0, NULL},
};

PyType_Spec mhx_array_bytes_spec = {
    .name = "mheap._core.ArrayMemory",
    .basicsize = sizeof(mhx_array_bytes),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = bytes_slots,
};

static PyObject *bytes_of(PyObject *self, PyObject *unused) {
  (void)unused;
  mhx_state *state = mhx_state_of_heap(((mhx_twin *)self)->heap_obj);
  PyTypeObject *type = (PyTypeObject *)state->object_types[MHX_ARRAY_BYTES];
  mhx_array_bytes *bytes = (mhx_array_bytes *)type->tp_alloc(type, 0);
  if (bytes == NULL) return NULL;
  bytes->array = (mhx_array *)Py_NewRef(self);
  PyObject *view = PyMemoryView_FromObject((PyObject *)bytes);
  Py_DECREF(bytes);
  return view;
}

/* ---- changing its length ---- */

static PyObject *in_use(const mhx_array *array) {
  return PyErr_Format(PyExc_BufferError,
                      "cannot move or cut an array while views of it are exported (%zd); release them, or "
                      "reserve() room before",
                      array->exports);
}

/* May it have so many rows in all? NULL with an exception. */
static mhx_space *may_have(mhx_array *array, uint64_t more, uint64_t rows) {
  mh_cells cells;
  mhx_space *space = open_rows(array, true, &cells);
  if (space == NULL || array->exports == 0) return space;
  if (more > 0) rows = cells.count + more;
  return rows < cells.count || rows > cells.capacity ? (in_use(array), NULL) : space;
}

static PyObject *none_or(mhx_space *space, mheap_err failed) {
  if (failed) return mhx_failed(space), NULL;
  Py_RETURN_NONE;
}

static PyObject *extend(mhx_array *array, const Py_buffer *rows) {
  mhx_space *space = describe(array);
  if (space == NULL) return NULL;
  uint64_t stride = array->form.stride, count = stride == 0 ? 0 : (uint64_t)rows->len / stride;
  if (stride == 0 || (uint64_t)rows->len != count * stride)
    return PyErr_Format(PyExc_ValueError, "rows of %llu bytes: %zd bytes are no number of them",
                        (unsigned long long)stride, rows->len);
  space = may_have(array, count, 0);
  return space == NULL ? NULL : none_or(space, mh_array_extend(&array->twin.of.array, rows->buf, count));
}

/* _extend(buffer): rows, as bytes in C order, which are not the array's own. */
static PyObject *extend_with(PyObject *self, PyObject *rows) {
  Py_buffer buffer;
  if (PyObject_GetBuffer(rows, &buffer, PyBUF_SIMPLE) < 0) return NULL;
  PyObject *result = extend((mhx_array *)self, &buffer);
  PyBuffer_Release(&buffer);
  return result;
}

static PyObject *resize(PyObject *self, PyObject *count) {
  mhx_array *array = (mhx_array *)self;
  size_t rows;
  if (mhx_size(count, &rows) < 0) return NULL;
  mhx_space *space = may_have(array, 0, rows);
  return space == NULL ? NULL : none_or(space, mh_array_resize(&array->twin.of.array, rows));
}

static PyObject *reserve(PyObject *self, PyObject *count) {
  mhx_array *array = (mhx_array *)self;
  mh_cells cells;
  size_t rows;
  if (mhx_size(count, &rows) < 0) return NULL;
  mhx_space *space = open_rows(array, true, &cells);
  if (space == NULL) return NULL;
  if (array->exports > 0 && rows > cells.capacity) return in_use(array);
  return none_or(space, mh_array_reserve(&array->twin.of.array, rows));
}

/* ---- appending a number ---- */

/* 1: *bytes are what the array stores for it; 0: it is left to Python, which may refuse it. */
static int pack_int(char scalar, long long value, unsigned char bytes[8]) {
  memcpy(bytes, &value, 8); /* little-endian */
  switch (scalar) {
    case 'q': return 1;
    case 'Q': return value >= 0;
    case 'i': return value >= INT32_MIN && value <= INT32_MAX;
    case 'h': return value >= INT16_MIN && value <= INT16_MAX;
    case 'b': return value >= INT8_MIN && value <= INT8_MAX;
    case 'B': return value >= 0 && value <= UINT8_MAX;
    default: return 0;
  }
}

static int pack(char scalar, PyObject *value, unsigned char bytes[8]) {
  int overflow;
  if (PyLong_CheckExact(value)) {
    long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    return overflow == 0 && pack_int(scalar, number, bytes);
  }
  if (!PyFloat_CheckExact(value) || (scalar != 'd' && scalar != 'f')) return 0;
  double number = PyFloat_AS_DOUBLE(value);
  float narrow = (float)number;
  memcpy(bytes, &number, 8);
  if (scalar == 'd') return 1;
  memcpy(bytes, &narrow, 4);
  return isfinite(narrow) || !isfinite(number); /* of what it has no room for numpy warns */
}

#define MOST_PACKED 512 /* bytes of a row */

/* A number, or a list or tuple of as many as a row has. */
static int pack_row(const mhx_array *array, PyObject *row, unsigned char bytes[MOST_PACKED + 8]) {
  if (array->scalar == 0) return 0;
  if (array->form.dimensions == 1) return pack(array->scalar, row, bytes);
  if (!(PyList_CheckExact(row) || PyTuple_CheckExact(row)) || array->form.stride > MOST_PACKED) return 0;
  Py_ssize_t count = PySequence_Fast_GET_SIZE(row);
  if ((uint64_t)count != array->form.shape[0]) return 0;
  for (Py_ssize_t i = 0; i < count; i++, bytes += array->form.itemsize)
    if (!pack(array->scalar, PySequence_Fast_GET_ITEM(row, i), bytes)) return 0;
  return 1;
}

static PyObject *append(PyObject *self, PyObject *row) {
  mhx_array *array = (mhx_array *)self;
  unsigned char bytes[MOST_PACKED + 8];
  mhx_space *space = describe(array);
  if (space == NULL) return NULL;
  if (!pack_row(array, row, bytes)) return PyObject_CallMethod(self, "_append", "(O)", row);
  space = may_have(array, 1, 0);
  return space == NULL ? NULL : none_or(space, mh_array_extend(&array->twin.of.array, bytes, 1));
}

/* ---- rolling back ---- */

/* Is the container, and where its rows are, as the last commit has it? */
static mheap_err is_committed(mhx_space *space, uint64_t offset, uint64_t birth, bool *is) {
  mh_region *region = space->core.region;
  mheap_error *error = mh_error(space->core.heap);
  const mh_container *now = mh_at(region, offset);
  uint64_t then, part = 0;
  mheap_err failed = mh_commit_word(region, mh_offset(region, &now->birth), &then, error);
  if (!failed) failed = mh_commit_word(region, mh_offset(region, &now->part), &part, error);
  *is = then == birth && part == now->part;
  return failed;
}

static mheap_err stays(mhx_space *space, const mhx_twin *twin, bool *is) {
  if (twin->of.array.type == MH_TYPE_ARRAY && ((const mhx_array *)twin)->exports > 0)
    return is_committed(space, twin->of.array.offset, twin->of.array.birth, is);
  if (twin->of.array.type == MH_TYPE_RECORDS && twin->exports > 0)
    return is_committed(space, twin->of.rows.list.offset, twin->of.rows.list.birth, is);
  return MHEAP_OK;
}

static int may_roll_back(mhx_handle *handle) {
  mhx_space *space = *mhx_objects_slot((PyObject *)handle);
  bool is = true;
  if (space == NULL || handle->array_views == 0) return 0;
  for (size_t i = 0; i < space->room && is; i++)
    if (space->twins[i] != NULL && stays(space, space->twins[i], &is)) return mhx_failed(space);
  if (is) return 0;
  return refuse(
      "cannot roll back: there are views of an array, or columns of a record list, that was made, or "
      "moved, since the last commit; release them first");
}

int mhx_arrays_may_roll_back(mhx_handle *main) {
  int failed = may_roll_back(main);
  for (mhx_handle *other = main->others; other != NULL && !failed; other = other->other)
    failed = may_roll_back(other);
  return failed;
}

/* ---- making one ---- */

static int shape_from(PyObject *shape, mh_array_form *form, uint64_t *rows) {
  Py_ssize_t count = PyTuple_GET_SIZE(shape);
  if (count > (Py_ssize_t)MH_ARRAY_DIMENSIONS) {
    PyErr_Format(PyExc_ValueError, "an array in a heap has at most %u dimensions, not %zd",
                 MH_ARRAY_DIMENSIONS, count);
    return -1;
  }
  form->dimensions = (unsigned)count;
  *rows = 1;
  for (Py_ssize_t i = 0; i < count; i++) {
    size_t size;
    if (mhx_size(PyTuple_GET_ITEM(shape, i), &size) < 0) return -1;
    if (i == 0) *rows = size;
    else form->shape[i - 1] = size;
  }
  if (form->itemsize == 0) return PyErr_SetString(PyExc_ValueError, "items of no bytes"), -1;
  if (mh_array_stride(form, *rows)) return 0;
  mhx_refuse(MHEAP_ERR_OVERFLOW, "an array of more bytes than any heap has");
  return -1;
}

int mhx_array_make(mhx_space *space, PyObject *parts, uint64_t *word) {
  PyObject *type, *shape, *source;
  Py_ssize_t itemsize;
  mh_array_form form = {0};
  mh_array made;
  uint64_t rows;
  if (!PyArg_ParseTuple(parts, "UnO!O", &type, &itemsize, &PyTuple_Type, &shape, &source)) return -1;
  form.itemsize = itemsize > 0 ? (uint64_t)itemsize : 0;
  if (shape_from(shape, &form, &rows) < 0) return -1;
  Py_buffer buffer = {0};
  if (source != Py_None && PyObject_GetBuffer(source, &buffer, PyBUF_SIMPLE) < 0) return -1;
  int failed = -1;
  if (source != Py_None && (uint64_t)buffer.len != form.stride * rows)
    PyErr_Format(PyExc_ValueError, "an array of %llu bytes, not %zd",
                 (unsigned long long)(form.stride * rows), buffer.len);
  else if (mhx_scalar(space, type, &form.type) > 0) {
    failed = mh_array_new(&space->core, &form, rows, buffer.buf, &made) ? mhx_failed(space) : 0;
    if (failed) mh_release(&space->core, form.type);
    else *word = mh_container_ref(MH_TYPE_ARRAY, made.offset);
  }
  if (source != Py_None) PyBuffer_Release(&buffer);
  return failed;
}

/* The twin alone keeps it. */
static PyObject *only_twin(mhx_space *space, uint64_t word) {
  PyObject *twin = mhx_twin_for(space, word);
  mh_release(&space->core, word);
  return twin;
}

/* _array_new(heap, type, itemsize, shape, source or None) */
static PyObject *array_new(PyObject *module, PyObject *args) {
  if (PyTuple_GET_SIZE(args) != 5) return mhx_arity("_array_new", 5, PyTuple_GET_SIZE(args));
  PyObject *heap_obj = PyTuple_GET_ITEM(args, 0), *parts = PyTuple_GetSlice(args, 1, 5);
  mhx_handle *handle;
  mhx_use use;
  int ready = parts == NULL ? -1 : mhx_md(module, heap_obj, &handle);
  if (ready == 0 && handle == NULL) {
    PyErr_SetString(PyExc_TypeError, "a Heap is needed");
    ready = -1;
  }
  if (ready == 0) ready = mhx_only_main(handle);
  if (ready == 0) ready = mhx_twin_types(handle->state);
  if (ready == 0) ready = mhx_twin_type_make_ready(handle->state, MH_TYPE_ARRAY);
  if (ready < 0 || mhx_use_begin(handle, &use) == NULL) return Py_XDECREF(parts), NULL;
  mhx_space *space = mhx_space_of(heap_obj);
  uint64_t word;
  PyObject *twin = NULL;
  if (space != NULL && mh_space_writable(&space->core)) mhx_failed(space);
  else if (space != NULL && mhx_array_make(space, parts, &word) == 0) twin = only_twin(space, word);
  mhx_use_end(handle, &use);
  Py_DECREF(parts);
  return twin;
}

static PyObject *call(PyObject *self, const char *name, PyObject *const *args) {
  if (mhx_live((mhx_handle *)self) == NULL) return NULL;
  PyObject *module = PyImport_ImportModule("mheap.arrays");
  if (module == NULL) return NULL;
  PyObject *result = args[1] != NULL ? PyObject_CallMethod(module, name, "OOO", self, args[0], args[1])
                                     : PyObject_CallMethod(module, name, "OO", self, args[0]);
  Py_DECREF(module);
  return result;
}

static PyObject *method_array(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  static const char *const names[] = {"shape", "dtype", NULL};
  PyObject *given[2];
  if (mhx_arguments("array", names, 1, args, nargs, kwnames, given) < 0) return NULL;
  return call(self, "_zeros", given);
}

static PyObject *method_put_array(PyObject *self, PyObject *array) {
  return call(self, "_put", (PyObject *[]){array, NULL});
}

#define ARRAY                                                                                           \
  "A new array of zeros in the heap: a PersistentArray.\n\n"                                            \
  "`shape` is an int or a tuple of ints, `dtype` what numpy takes for one; without numpy, a str like\n" \
  "'f8', '<i4', 'S5'. It stays if it is stored: heap.root['m'] = heap.array((1000, 3), 'f8'). Raises\n" \
  "TypeError for items that are objects, SizeOverflow, HeapFull, ReadOnlyHeap."
#define PUT_ARRAY                                                                                        \
  "A copy of an array in the heap: a PersistentArray.\n\n"                                               \
  "Of a numpy array, or anything that has a buffer: array.array, memoryview, bytes. As array()'s, it\n"  \
  "stays if it is stored. Storing a plain array copies it, too: heap.root['m'] = numpy.arange(10)."

PyMethodDef mhx_arrays_methods[] = {
    {"array", (PyCFunction)(void (*)(void))method_array, METH_FASTCALL | METH_KEYWORDS,
     "array($self, /, shape, dtype='f8')\n--\n\n" ARRAY},
    {"put_array", method_put_array, METH_O, "put_array($self, array, /)\n--\n\n" PUT_ARRAY},
    {0},
};

PyMethodDef mhx_arrays_functions[] = {
    {"_array_new", array_new, METH_VARARGS, NULL},
    {0},
};

/* ---- the type ---- */

static void array_dealloc(PyObject *self) {
  Py_CLEAR(((mhx_array *)self)->type);
  Py_CLEAR(((mhx_array *)self)->format);
  mhx_twin_dealloc(self);
}

static PyMethodDef array_methods[] = {
    {"append", append, METH_O, "append($self, row, /)\n--\n\nStores a copy of a row behind the last one."},
    {"resize", resize, METH_O,
     "resize($self, rows, /)\n--\n\nChanges the length of the first dimension: drops rows, or adds zeros."},
    {"reserve", reserve, METH_O,
     "reserve($self, rows, /)\n--\n\nMakes room for so many rows in all: they come without moving any."},
    {"_extend", extend_with, METH_O, NULL},
    {"_bytes", bytes_of, METH_NOARGS, NULL},
    {0},
};

static PyGetSetDef array_getset[] = {
    {"_type", whole_type_of, NULL, NULL, NULL},
    {"itemsize", whole_itemsize_of, NULL, "Bytes of an item.", NULL},
    {"shape", whole_shape_of, NULL, "The length of each dimension.", NULL},
    {"capacity", whole_capacity_of, NULL, "Rows there is room for without moving any.", NULL},
    {0},
};

static PyMemberDef array_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(mhx_twin, weakrefs), READONLY, NULL},
    {0},
};

static PyType_Slot array_slots[] = {
    {Py_tp_doc, "What of PersistentArray is written in C."},
    {Py_tp_new, mhx_twin_new},
    {Py_tp_dealloc, array_dealloc},
    {Py_tp_hash, PyObject_HashNotImplemented},
    {Py_tp_methods, array_methods},
    {Py_tp_getset, array_getset},
    {Py_tp_members, array_members},
    {Py_sq_length, whole_length_of},
    {Py_mp_length, whole_length_of},
    {Py_bf_getbuffer, get_buffer},
    {Py_bf_releasebuffer, release_buffer},
    {0},
};

PyType_Spec mhx_array_twin_spec = {
    .name = "mheap._core.ArrayTwin",
    .basicsize = sizeof(mhx_array),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = array_slots,
};
