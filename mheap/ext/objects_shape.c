/* objects_shape.c: see objects_records.h. Shapes: made by mheap/records.py, one a class. */
#include "objects_records.h"

#include <structmember.h>

/* ---- of a class ---- */

#define KNOWN 256

/* Of the classes that were asked for last, by their addresses; of all interpreters, which share one GIL. */
static mhx_shape *known[KNOWN];

static mhx_shape **place_of(const void *type) {
  return &known[((uintptr_t)type >> 4) * 0x9e3779b97f4a7c15u >> 56];
}

static void forget(mhx_shape *self) {
  if (self->cls != NULL && *place_of(self->cls) == self) *place_of(self->cls) = NULL;
}

/* The class's own attribute, or that of the class it is derived from. */
static mhx_shape *look_up(PyTypeObject *type) {
  PyObject *found = PyObject_GetAttrString((PyObject *)type, "__mheap_shape__");
  if (found == NULL) return NULL;
  Py_DECREF(found); /* the class keeps it */
  PyTypeObject *shape_type = Py_TYPE(found);
  if (shape_type->tp_basicsize == sizeof(mhx_shape) && strcmp(shape_type->tp_name, mhx_shape_spec.name) == 0)
    return (mhx_shape *)found;
  PyErr_Format(PyExc_TypeError, "%.200s has no fields: a Record is of a class derived from mheap.Record",
               type->tp_name);
  return NULL;
}

mhx_shape *mhx_shape_of(PyTypeObject *type) {
  mhx_shape **place = place_of(type);
  if (*place != NULL && (*place)->cls == (PyObject *)type) return *place;
  mhx_shape *found = look_up(type);
  if (found != NULL && found->cls == (PyObject *)type) *place = found;
  return found;
}

Py_ssize_t mhx_shape_find(const mhx_shape *shape, PyObject *name) {
  for (Py_ssize_t i = 0; i < shape->count; i++)
    if (shape->fields[i].name == name) return i;
  for (Py_ssize_t i = 0; i < shape->count; i++)
    if (PyUnicode_Compare(shape->fields[i].name, name) == 0) return i;
  return -1;
}

int mhx_shape_finish(mhx_shape *shape) {
  if (!shape->unfinished) return 0;
  PyObject *module = PyImport_ImportModule("mheap.records");
  PyObject *done = module == NULL ? NULL : PyObject_CallMethod(module, "_finish", "O", shape->cls);
  Py_XDECREF(module);
  Py_XDECREF(done);
  return done == NULL ? -1 : 0;
}

/* ---- values of fields ---- */

static const char *class_name(const mhx_shape *shape) { return ((PyTypeObject *)shape->cls)->tp_name; }

static PyObject *does_not_fit(const mhx_shape *shape, const mhx_field *field, PyObject *value) {
  return PyErr_Format(PyExc_TypeError, "%s.%U: expected %U, found %.200s (%.100R)", class_name(shape),
                      field->name, field->type, Py_TYPE(value)->tp_name, value);
}

static PyObject *fit_int(const mhx_shape *shape, const mhx_field *field, PyObject *value) {
  int overflow;
  if (!PyIndex_Check(value)) return does_not_fit(shape, field, value);
  PyObject *number = PyLong_CheckExact(value) ? Py_NewRef(value) : PyNumber_Index(value);
  if (number == NULL) return NULL;
  PyLong_AsLongLongAndOverflow(number, &overflow);
  if (overflow != 0) {
    PyErr_Format(PyExc_OverflowError,
                 "%s.%U: expected an int of 64 bits, found %.100R: declare the field as mheap.BigInt",
                 class_name(shape), field->name, number);
    Py_CLEAR(number);
  } else if (!PyLong_CheckExact(number)) Py_SETREF(number, PyLong_FromLongLong(PyLong_AsLongLong(number)));
  return number;
}

static PyObject *fit_float(const mhx_shape *shape, const mhx_field *field, PyObject *value) {
  if (PyFloat_CheckExact(value)) return Py_NewRef(value);
  if (!PyFloat_Check(value) && !PyIndex_Check(value)) return does_not_fit(shape, field, value);
  double number = PyFloat_AsDouble(value);
  return number == -1.0 && PyErr_Occurred() ? NULL : PyFloat_FromDouble(number);
}

static PyObject *fit_word(const mhx_shape *shape, const mhx_field *field, PyObject *value) {
  if (field->accepts == NULL) return Py_NewRef(value);
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(field->accepts); i++)
    if (PyTuple_GET_ITEM(field->accepts, i) == (PyObject *)Py_TYPE(value)) return Py_NewRef(value);
  int is = PyObject_IsInstance(value, field->accepts);
  if (is < 0) return NULL;
  return is ? Py_NewRef(value) : does_not_fit(shape, field, value);
}

PyObject *mhx_field_fit(mhx_shape *shape, Py_ssize_t index, PyObject *value) {
  if (mhx_shape_finish(shape) < 0) return NULL;
  const mhx_field *field = &shape->fields[index];
  switch (field->kind) {
    case MH_FIELD_INT: return fit_int(shape, field, value);
    case MH_FIELD_FLOAT: return fit_float(shape, field, value);
    case MH_FIELD_BOOL: return PyBool_Check(value) ? Py_NewRef(value) : does_not_fit(shape, field, value);
    default: return fit_word(shape, field, value);
  }
}

int mhx_field_bits(mh_field_kind kind, PyObject *value, uint64_t *bits) {
  if (value != NULL && kind == MH_FIELD_INT && PyLong_CheckExact(value)) {
    *bits = (uint64_t)PyLong_AsLongLong(value);
    return *bits == UINT64_MAX && PyErr_Occurred() ? -1 : 0;
  }
  if (value != NULL && kind == MH_FIELD_FLOAT && PyFloat_CheckExact(value)) {
    *bits = mh_float_bits(PyFloat_AS_DOUBLE(value));
    return 0;
  }
  *bits = value == Py_True;
  if (value != NULL && kind == MH_FIELD_BOOL && PyBool_Check(value)) return 0;
  PyErr_SetString(PyExc_TypeError,
                  "a value of a record is gone, or of another type than its field has: its class "
                  "was assigned, or it was made anew while it was stored");
  return -1;
}

PyObject *mhx_field_default(mhx_shape *shape, Py_ssize_t index) {
  const mhx_field *field = &shape->fields[index];
  if (field->initial != NULL) return mhx_field_fit(shape, index, field->initial);
  if (field->factory == NULL)
    return PyErr_Format(PyExc_TypeError, "%s: the field %U has no value, and no default", class_name(shape),
                        field->name);
  PyObject *made = PyObject_CallNoArgs(field->factory), *fit = NULL;
  if (made != NULL) fit = mhx_field_fit(shape, index, made);
  Py_XDECREF(made);
  return fit;
}

/* ---- RecordShape ---- */

/* (name, type, kind, accepts or None, default, factory, member descriptor or None); Ellipsis: none. */
static int set_field(mhx_field *field, PyObject *row) {
  PyObject *accepts, *initial, *factory, *member, *name, *type;
  int kind;
  if (!PyArg_ParseTuple(row, "UUiOOOO", &name, &type, &kind, &accepts, &initial, &factory, &member))
    return -1;
  Py_INCREF(name); /* which that takes over */
  PyUnicode_InternInPlace(&name);
  Py_XSETREF(field->name, name);
  Py_XSETREF(field->type, Py_NewRef(type));
  Py_XSETREF(field->accepts, PyTuple_CheckExact(accepts) ? Py_NewRef(accepts) : NULL);
  Py_XSETREF(field->initial, initial == Py_Ellipsis ? NULL : Py_NewRef(initial));
  Py_XSETREF(field->factory, factory == Py_Ellipsis ? NULL : Py_NewRef(factory));
  field->kind = (mh_field_kind)kind;
  if (Py_TYPE(member) == &PyMemberDescr_Type) field->slot = ((PyMemberDescrObject *)member)->d_member->offset;
  return 0;
}

static void clear_fields(mhx_shape *self) {
  for (Py_ssize_t i = 0; i < self->count; i++) {
    Py_CLEAR(self->fields[i].name);
    Py_CLEAR(self->fields[i].type);
    Py_CLEAR(self->fields[i].accepts);
    Py_CLEAR(self->fields[i].initial);
    Py_CLEAR(self->fields[i].factory);
  }
}

/* _set(rows, unfinished): the fields, as many as before. */
static int set_fields(mhx_shape *self, PyObject *rows, int unfinished) {
  if (PyTuple_GET_SIZE(rows) != self->count) return PyErr_SetString(PyExc_ValueError, "other fields"), -1;
  for (Py_ssize_t i = 0; i < self->count; i++)
    if (set_field(&self->fields[i], PyTuple_GET_ITEM(rows, i)) < 0) return -1;
  self->unfinished = unfinished != 0;
  self->space = 0;
  return 0;
}

static PyObject *shape_set(PyObject *self, PyObject *args) {
  PyObject *rows;
  int unfinished;
  if (!PyArg_ParseTuple(args, "O!p", &PyTuple_Type, &rows, &unfinished)) return NULL;
  if (set_fields((mhx_shape *)self, rows, unfinished) < 0) return NULL;
  Py_RETURN_NONE;
}

static PyObject *shape_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
  static char *names[] = {"cls", "name", "rows", "unfinished", "frozen", "kw_only", "post_init", NULL};
  PyObject *cls, *name, *rows;
  int unfinished, frozen, kw_only, post_init;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!UO!pppp", names, &PyType_Type, &cls, &name, &PyTuple_Type,
                                   &rows, &unfinished, &frozen, &kw_only, &post_init))
    return NULL;
  mhx_shape *self = (mhx_shape *)type->tp_alloc(type, 0);
  if (self == NULL) return NULL;
  ((mhx_state *)PyType_GetModuleState(type))->shapes++;
  Py_ssize_t count = PyTuple_GET_SIZE(rows);
  self->cls = Py_NewRef(cls);
  self->name = Py_NewRef(name);
  self->frozen = frozen != 0;
  self->keywords_only = kw_only != 0;
  self->has_post_init = post_init != 0;
  self->fields = PyMem_Calloc((size_t)count + 1, sizeof *self->fields);
  if (self->fields != NULL) self->count = count;
  else PyErr_NoMemory();
  if (self->fields == NULL || set_fields(self, rows, unfinished) < 0) return Py_DECREF(self), NULL;
  return (PyObject *)self;
}

static int shape_traverse(PyObject *object, visitproc visit, void *arg) {
  mhx_shape *self = (mhx_shape *)object;
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(self->cls);
  for (Py_ssize_t i = 0; i < self->count; i++) {
    Py_VISIT(self->fields[i].accepts);
    Py_VISIT(self->fields[i].initial);
    Py_VISIT(self->fields[i].factory);
  }
  return 0;
}

/* What is needed to free records of the class stays: their slots. */
static int shape_clear(PyObject *object) {
  mhx_shape *self = (mhx_shape *)object;
  forget(self);
  Py_CLEAR(self->cls);
  for (Py_ssize_t i = 0; i < self->count; i++) {
    Py_CLEAR(self->fields[i].accepts);
    Py_CLEAR(self->fields[i].initial);
    Py_CLEAR(self->fields[i].factory);
  }
  return 0;
}

static void shape_dealloc(PyObject *object) {
  mhx_shape *self = (mhx_shape *)object;
  PyTypeObject *type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  forget(self);
  Py_CLEAR(self->cls);
  Py_CLEAR(self->name);
  clear_fields(self);
  PyMem_Free(self->fields);
  type->tp_free(object);
  Py_DECREF(type);
}

static PyObject *shape_rows(PyObject *object, void *unused) {
  (void)unused;
  mhx_shape *self = (mhx_shape *)object;
  PyObject *rows = PyTuple_New(self->count);
  for (Py_ssize_t i = 0; rows != NULL && i < self->count; i++) {
    const mhx_field *field = &self->fields[i];
    PyObject *row = Py_BuildValue("(OOiOOO)", field->name, field->type, (int)field->kind,
                                  field->accepts != NULL ? field->accepts : Py_None,
                                  field->initial != NULL ? field->initial : Py_Ellipsis,
                                  field->factory != NULL ? field->factory : Py_Ellipsis);
    if (row == NULL) Py_CLEAR(rows);
    else PyTuple_SET_ITEM(rows, i, row);
  }
  return rows;
}

static PyMethodDef shape_methods[] = {
    {"_set", shape_set, METH_VARARGS, NULL},
    {0},
};

static PyGetSetDef shape_properties[] = {
    {"rows", shape_rows, NULL, "(name, type, kind, accepts, default, factory) of each field.", NULL},
    {0},
};

static PyMemberDef shape_members[] = {
    {"cls", T_OBJECT, offsetof(mhx_shape, cls), READONLY, "The class."},
    {"name", T_OBJECT, offsetof(mhx_shape, name), READONLY, "What heaps have for the class."},
    {"unfinished", T_BOOL, offsetof(mhx_shape, unfinished), READONLY, "Types are still to be found."},
    {"frozen", T_BOOL, offsetof(mhx_shape, frozen), READONLY, "Fields cannot be assigned."},
    {0},
};

static PyType_Slot shape_slots[] = {
    {Py_tp_doc, "What the fields of a class of records are."},
    {Py_tp_new, shape_new},
    {Py_tp_dealloc, shape_dealloc},
    {Py_tp_traverse, shape_traverse},
    {Py_tp_clear, shape_clear},
    {Py_tp_methods, shape_methods},
    {Py_tp_members, shape_members},
    {Py_tp_getset, shape_properties},
    {0, NULL},
};

PyType_Spec mhx_shape_spec = {
    .name = "mheap._core.RecordShape",
    .basicsize = sizeof(mhx_shape),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = shape_slots,
};
