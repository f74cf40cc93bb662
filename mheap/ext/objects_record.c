/* objects_record.c: see objects_records.h. RecordTwin, the base of all records, and FieldDescriptor, their
   attributes: a field's value is in a slot of a plain record, in the heap of a twin. */
#include "objects_records.h"

#include <structmember.h>

/* ---- reading in a heap ---- */

int mhx_record_look(mhx_space *space, mhx_twin *twin) {
  mhx_shape *shape = mhx_shape_of(Py_TYPE(twin));
  if (shape == NULL) return -1;
  if (shape->cls != (PyObject *)Py_TYPE(twin)) shape = NULL; /* of a class that is not known */
  for (;;) {
    mh_fields *fields = &twin->of.record.fields;
    if (mh_fields_open(fields)) return mhx_failed(space);
    const mh_schema *schema = fields->schema;
    const mhx_map *map = mhx_map_for(space, schema->number, shape);
    if (map == NULL) return -1;
    if (!mh_fields_is_known(fields) || fields->schema != schema) continue; /* that ran Python code */
    twin->of.record.map = map;
    return 0;
  }
}

PyObject *mhx_place_read(mhx_space *space, const mhx_map *map, Py_ssize_t index, const char *row) {
  const mhx_place *place = &map->places[index];
  const void *at = row + place->offset;
  switch (place->how) {
    case MHX_AS_WORD: return mhx_from_word(space, mh_read(at));
    case MHX_AS_INT: return PyLong_FromLongLong((long long)mh_read(at));
    case MHX_AS_FLOAT: return PyFloat_FromDouble(mh_bits_float(mh_read(at)));
    case MHX_AS_BOOL: return PyBool_FromLong(*(const uint8_t *)at);
    case MHX_INT_AS_FLOAT: return PyFloat_FromDouble((double)(int64_t)mh_read(at));
    default: return mhx_field_default(map->shape, index);
  }
}

static PyObject *read_field(PyObject *self, Py_ssize_t index) {
  mhx_twin *twin = (mhx_twin *)self;
  mhx_space *space = mhx_twin_space(twin);
  if (space == NULL || mhx_record_open(space, twin) < 0) return NULL;
  if (index >= twin->of.record.map->shape->count)
    return PyErr_Format(PyExc_RuntimeError, "the class of the record became known while it was read");
  return mhx_place_read(space, twin->of.record.map, index, mh_fields_field(&twin->of.record.fields, 0));
}

MHX_WHOLE_OBJECT(read_field, (PyObject *self, Py_ssize_t index), (self, index))

/* What tells whether a read was of one commit. */
static PyObject *read_through(PyObject *self) {
  return mhx_is_row(self) ? ((mhx_twin *)self)->heap_obj : self;
}

static PyObject *read_row(PyObject *self, Py_ssize_t index) {
  for (;;) {
    PyObject *value = mhx_row_read(self, index);
    int torn = mhx_torn(read_through(self));
    if (torn == 0) return value;
    Py_XDECREF(value);
    if (torn < 0) return NULL;
  }
}

static PyObject *get_value(PyObject *self, mhx_shape *shape, Py_ssize_t index) {
  if (mhx_is_row(self)) return read_row(self, index);
  if (!mhx_is_plain(self)) return whole_read_field(self, index);
  const mhx_field *field = &shape->fields[index];
  PyObject *value = field->slot != 0 ? *mhx_slot(self, field) : NULL;
  if (value != NULL) return Py_NewRef(value);
  return PyErr_Format(PyExc_AttributeError, "%.200s.%U has no value", Py_TYPE(self)->tp_name, field->name);
}

/* ---- writing ---- */

static int store_bits(mhx_space *space, mhx_twin *twin, mh_field_kind kind, Py_ssize_t index, PyObject *fit) {
  mh_fields *fields = &twin->of.record.fields;
  uint64_t bits;
  if (mhx_field_bits(kind, fit, &bits) < 0) return -1;
  if (mh_fields_to_change(fields)) return mhx_failed(space);
  uint32_t offset = twin->of.record.map->places[index].offset;
  if (kind == MH_FIELD_BOOL) mh_fields_set_bool(fields, offset, bits != 0);
  else mh_fields_set_bits(fields, offset, bits);
  return 0;
}

/* Found, and by the class's own schema. */
static int open_own(mhx_space *space, mhx_twin *twin) {
  if (mhx_record_open(space, twin) < 0) return -1;
  if (twin->of.record.map->is_own) return 0;
  if (mh_space_writable(&space->core)) return mhx_failed(space);
  if (mhx_record_migrate(space, twin) < 0) return -1;
  return mhx_record_open(space, twin);
}

static int store_word(mhx_space *space, mhx_twin *twin, Py_ssize_t index, PyObject *fit) {
  mhx_words words;
  if (mhx_value(space, fit, &words) < 0) return -1;
  if (open_own(space, twin) < 0) return mhx_words_refused(space, &words);
  mh_fields *fields = &twin->of.record.fields;
  mheap_err failed = mh_fields_to_change(fields);
  if (!failed) failed = mh_fields_set_word(fields, twin->of.record.map->places[index].offset, words.words[0]);
  if (failed) return mhx_words_failed(space, &words);
  mhx_words_taken(&words);
  return 0;
}

static int store_field(mhx_twin *twin, mh_field_kind kind, Py_ssize_t index, PyObject *fit) {
  mhx_space *space = mhx_twin_space(twin);
  if (space == NULL || open_own(space, twin) < 0) return -1;
  if (kind != MH_FIELD_WORD) return store_bits(space, twin, kind, index, fit);
  return store_word(space, twin, index, fit);
}

static int set_value(PyObject *self, mhx_shape *shape, Py_ssize_t index, PyObject *value) {
  const mhx_field *field = &shape->fields[index];
  PyObject *fit = mhx_field_fit(shape, index, value);
  if (fit == NULL) return -1;
  if (mhx_is_plain(self)) {
    Py_XSETREF(*mhx_slot(self, field), fit);
    return 0;
  }
  int failed = mhx_is_row(self) ? mhx_row_store(self, shape, index, fit)
                                : store_field((mhx_twin *)self, field->kind, index, fit);
  Py_DECREF(fit);
  return failed;
}

/* ---- FieldDescriptor ---- */

typedef struct descriptor {
  PyObject_HEAD
  mhx_shape *shape;
  Py_ssize_t index;
} descriptor;

static PyObject *field_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
  PyObject *shape;
  Py_ssize_t index;
  (void)kwargs;
  if (!PyArg_ParseTuple(args, "On", &shape, &index)) return NULL;
  PyTypeObject *wanted = (PyTypeObject *)((mhx_state *)PyType_GetModuleState(type))->object_types[MHX_SHAPE];
  if (Py_TYPE(shape) != wanted || index < 0 || index >= ((mhx_shape *)shape)->count)
    return PyErr_Format(PyExc_TypeError, "a RecordShape and the number of a field are needed");
  descriptor *self = (descriptor *)type->tp_alloc(type, 0);
  if (self == NULL) return NULL;
  self->shape = (mhx_shape *)Py_NewRef(shape);
  self->index = index;
  return (PyObject *)self;
}

/* The shape of the record's own class, which may be derived from that of the descriptor and have declared
   the field anew. Borrowed; NULL with an exception. */
static mhx_shape *shape_for(const descriptor *self, PyObject *record) {
  if ((PyObject *)Py_TYPE(record) == self->shape->cls) return self->shape;
  PyTypeObject *wanted = (PyTypeObject *)self->shape->cls;
  mhx_shape *shape = NULL;
  if (wanted != NULL && PyObject_TypeCheck(record, wanted) && (shape = mhx_shape_of(Py_TYPE(record))) == NULL)
    return NULL;
  if (shape != NULL && shape->cls == (PyObject *)Py_TYPE(record) && self->index < shape->count &&
      PyUnicode_Compare(shape->fields[self->index].name, self->shape->fields[self->index].name) == 0)
    return shape;
  PyErr_Format(PyExc_TypeError, "a field of another class than %.200s", Py_TYPE(record)->tp_name);
  return NULL;
}

static PyObject *field_get(PyObject *object, PyObject *record, PyObject *type) {
  const descriptor *self = (descriptor *)object;
  (void)type;
  if (record == NULL || record == Py_None) return Py_NewRef(object);
  mhx_shape *shape = shape_for(self, record);
  return shape == NULL ? NULL : get_value(record, shape, self->index);
}

static int field_set(PyObject *object, PyObject *record, PyObject *value) {
  const descriptor *self = (descriptor *)object;
  mhx_shape *shape = shape_for(self, record);
  if (shape == NULL) return -1;
  PyObject *name = shape->fields[self->index].name;
  if (value != NULL && !shape->frozen) return set_value(record, shape, self->index, value);
  const char *what = value == NULL ? "delete" : "assign to";
  PyErr_Format(PyExc_AttributeError, "cannot %s the field %U of a %s%.200s", what, name,
               shape->frozen ? "frozen " : "", Py_TYPE(record)->tp_name);
  return -1;
}

static int field_traverse(PyObject *object, visitproc visit, void *arg) {
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(((descriptor *)object)->shape);
  return 0;
}

static void field_dealloc(PyObject *object) {
  PyTypeObject *type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  Py_DECREF(((descriptor *)object)->shape);
  type->tp_free(object);
  Py_DECREF(type);
}

static PyObject *field_name(PyObject *object, void *unused) {
  (void)unused;
  const descriptor *self = (descriptor *)object;
  return Py_NewRef(self->shape->fields[self->index].name);
}

static PyGetSetDef field_properties[] = {
    {"__name__", field_name, NULL, NULL, NULL},
    {0},
};

static PyType_Slot field_slots[] = {
    {Py_tp_doc, "A field of a class of records."},
    {Py_tp_new, field_new},
    {Py_tp_dealloc, field_dealloc},
    {Py_tp_traverse, field_traverse},
    {Py_tp_getset, field_properties},
    {Py_tp_descr_get, field_get},
    {Py_tp_descr_set, field_set},
    {0, NULL},
};

PyType_Spec mhx_field_spec = {
    .name = "mheap._core.FieldDescriptor",
    .basicsize = sizeof(descriptor),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = field_slots,
};

/* ---- making plain ones ---- */

static int given_twice(const mhx_shape *shape, PyObject *name) {
  const char *class = ((PyTypeObject *)shape->cls)->tp_name;
  PyErr_Format(PyExc_TypeError, "%s got two values for the field %U", class, name);
  return -1;
}

static int take_value(PyObject *self, mhx_shape *shape, Py_ssize_t index, PyObject *value) {
  PyObject **slot = mhx_slot(self, &shape->fields[index]);
  if (*slot != NULL) return given_twice(shape, shape->fields[index].name);
  return (*slot = mhx_field_fit(shape, index, value)) == NULL ? -1 : 0;
}

static int take_named(PyObject *self, mhx_shape *shape, PyObject *kwargs) {
  Py_ssize_t at = 0;
  PyObject *name, *value;
  while (PyDict_Next(kwargs, &at, &name, &value)) {
    Py_ssize_t index = mhx_shape_find(shape, name);
    if (index < 0) {
      PyErr_Format(PyExc_TypeError, "%s has no field %R", ((PyTypeObject *)shape->cls)->tp_name, name);
      return -1;
    }
    if (take_value(self, shape, index, value) < 0) return -1;
  }
  return 0;
}

static int take_defaults(PyObject *self, mhx_shape *shape) {
  for (Py_ssize_t i = 0; i < shape->count; i++) {
    PyObject **slot = mhx_slot(self, &shape->fields[i]);
    if (*slot == NULL && (*slot = mhx_field_default(shape, i)) == NULL) return -1;
  }
  return 0;
}

static void empty(PyObject *self, const mhx_shape *shape) {
  for (Py_ssize_t i = 0; i < shape->count; i++) Py_CLEAR(*mhx_slot(self, &shape->fields[i]));
}

static int is_to_be_filled(PyObject *self, const mhx_shape *shape) {
  if (mhx_is_plain(self) && shape->cls == (PyObject *)Py_TYPE(self)) return 0;
  PyErr_Format(PyExc_TypeError, "%.200s: only a plain record is filled", Py_TYPE(self)->tp_name);
  return -1;
}

static int record_init(PyObject *self, PyObject *args, PyObject *kwargs) {
  mhx_shape *shape = mhx_shape_of(Py_TYPE(self));
  if (shape == NULL || is_to_be_filled(self, shape) < 0 || mhx_shape_finish(shape) < 0) return -1;
  Py_ssize_t given = PyTuple_GET_SIZE(args), most = shape->keywords_only ? 0 : shape->count;
  if (given > most) {
    PyErr_Format(PyExc_TypeError, "%s takes %zd values by position (%zd given)",
                 ((PyTypeObject *)shape->cls)->tp_name, most, given);
    return -1;
  }
  empty(self, shape);
  for (Py_ssize_t i = 0; i < given; i++)
    if (take_value(self, shape, i, PyTuple_GET_ITEM(args, i)) < 0) return -1;
  if (kwargs != NULL && take_named(self, shape, kwargs) < 0) return -1;
  if (take_defaults(self, shape) < 0) return -1;
  if (!shape->has_post_init) return 0;
  PyObject *done = PyObject_CallMethod(self, "__post_init__", NULL);
  Py_XDECREF(done);
  return done == NULL ? -1 : 0;
}

static PyObject *record_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
  (void)args, (void)kwargs;
  mhx_shape *shape = mhx_shape_of(type);
  if (shape == NULL) return NULL;
  if (shape->cls != (PyObject *)type)
    return PyErr_Format(PyExc_TypeError, "a %s is only read from a heap", type->tp_name);
  return type->tp_alloc(type, 0);
}

/* ---- methods ---- */

mhx_shape *mhx_record_shape(PyObject *self) {
  mhx_shape *shape = mhx_shape_of(Py_TYPE(self));
  if (shape == NULL || mhx_is_plain(self) || shape->cls == (PyObject *)Py_TYPE(self)) {
    Py_XINCREF((PyObject *)shape);
    return shape;
  }
  if (mhx_is_row(self)) return mhx_row_shape(self);
  mhx_space *space = mhx_twin_space((mhx_twin *)self);
  if (space == NULL || mhx_record_open(space, (mhx_twin *)self) < 0) return NULL;
  return (mhx_shape *)Py_NewRef((PyObject *)((mhx_twin *)self)->of.record.map->shape);
}

static PyObject *values_of(PyObject *self) {
  mhx_shape *shape = mhx_record_shape(self);
  if (shape == NULL) return NULL;
  PyObject *values = PyTuple_New(shape->count);
  for (Py_ssize_t i = 0; values != NULL && i < shape->count; i++) {
    PyObject *value = mhx_is_plain(self) ? get_value(self, shape, i)
                      : mhx_is_row(self) ? mhx_row_read(self, i)
                                         : read_field(self, i);
    if (value == NULL) Py_CLEAR(values);
    else PyTuple_SET_ITEM(values, i, value);
  }
  Py_DECREF(shape);
  return values;
}

/* Of one commit. */
PyObject *mhx_record_values(PyObject *self) {
  for (;;) {
    PyObject *values = values_of(self);
    int torn = mhx_is_plain(self) ? 0 : mhx_torn(read_through(self));
    if (torn == 0) return values;
    Py_XDECREF(values);
    if (torn < 0) return NULL;
  }
}

static PyObject *record_values(PyObject *self, PyObject *unused) {
  (void)unused;
  return mhx_record_values(self);
}

/* _fill(values): those of a plain record, as they are; a frozen one's too. */
static PyObject *record_fill(PyObject *self, PyObject *values) {
  mhx_shape *shape = mhx_shape_of(Py_TYPE(self));
  if (shape == NULL || is_to_be_filled(self, shape) < 0) return NULL;
  if (!PyTuple_CheckExact(values) || PyTuple_GET_SIZE(values) != shape->count)
    return PyErr_Format(PyExc_TypeError, "a tuple of %zd values is needed", shape->count);
  for (Py_ssize_t i = 0; i < shape->count; i++) {
    PyObject *fit = mhx_field_fit(shape, i, PyTuple_GET_ITEM(values, i));
    if (fit == NULL) return NULL;
    Py_XSETREF(*mhx_slot(self, &shape->fields[i]), fit);
  }
  Py_RETURN_NONE;
}

static PyObject *record_shape(PyObject *self, PyObject *unused) {
  (void)unused;
  return (PyObject *)mhx_record_shape(self);
}

static PyObject *record_is_plain(PyObject *self, PyObject *unused) {
  (void)unused;
  return PyBool_FromLong(mhx_is_plain(self));
}

/* The text of a plain record is as long as it is. */
static PyObject *record_most_text(PyObject *self, PyObject *unused) {
  if (mhx_is_plain(self)) return PyLong_FromSsize_t(PY_SSIZE_T_MAX);
  return mhx_twin_most_text(read_through(self), unused);
}

static PyMethodDef record_methods[] = {
    {"_values", record_values, METH_NOARGS, NULL},
    {"_fill", record_fill, METH_O, NULL},
    {"_shape", record_shape, METH_NOARGS, NULL},
    {"_is_plain", record_is_plain, METH_NOARGS, NULL},
    {"_most_text", record_most_text, METH_NOARGS, NULL},
    {0},
};

static PyMemberDef record_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(mhx_twin, weakrefs), READONLY, NULL},
    {0},
};

static PyType_Slot record_slots[] = {
    {Py_tp_doc, "What of mheap.Record is written in C."},
    {Py_tp_new, record_new},
    {Py_tp_init, record_init},
    {Py_tp_dealloc, mhx_twin_dealloc},
    {Py_tp_methods, record_methods},
    {Py_tp_members, record_members},
    {0, NULL},
};

PyType_Spec mhx_record_spec = {
    .name = "mheap._core.RecordTwin",
    .basicsize = sizeof(mhx_twin),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = record_slots,
};
