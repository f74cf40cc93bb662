/* objects_set.c: see objects.h. SetTwin: the hot half of mheap.PersistentSet; the rest is in
   mheap/objects.py. */
#include "objects_values.h"

#include <structmember.h>

#define TICKS 4096 /* members between two looks at signals */

/* ---- reading ---- */

static int has(mhx_twin *twin, PyObject *object) {
  mhx_space *space;
  mhx_key key;
  uint64_t word;
  int made = mhx_key_look(twin, object, &key, &space);
  if (made <= 0) return made;
  mheap_err found = mh_dict_get(&twin->of.dict, &key.key, &word);
  mhx_key_end(&key);
  if (found == MHEAP_OK) return 1;
  return found == MHEAP_ERR_NOT_FOUND ? 0 : mhx_failed(space);
}

static bool is_set(PyObject *self, PyObject *object) {
  if (PySet_Check(object)) return true;
  PyObject **types = mhx_state_of_heap(((mhx_twin *)self)->heap_obj)->object_types;
  return (PyObject *)Py_TYPE(object) == types[MHX_SET];
}

/* A set, which has no hash, is looked for as the frozenset that is equal to it. */
static int or_frozen(int (*work)(mhx_twin *twin, PyObject *object), PyObject *self, PyObject *object) {
  int result = work((mhx_twin *)self, object);
  if (result >= 0 || !PyErr_ExceptionMatches(PyExc_TypeError) || !is_set(self, object)) return result;
  PyErr_Clear();
  PyObject *frozen = PyFrozenSet_New(object);
  result = frozen == NULL ? -1 : work((mhx_twin *)self, frozen);
  Py_XDECREF(frozen);
  return result;
}

static int set_contains(PyObject *self, PyObject *object) { return or_frozen(has, self, object); }

static Py_ssize_t set_length(PyObject *self) {
  mhx_twin *twin = (mhx_twin *)self;
  mhx_space *space = mhx_twin_space(twin);
  uint64_t length;
  if (space == NULL) return -1;
  if (mh_dict_length(&twin->of.dict, &length)) return mhx_failed(space);
  return (Py_ssize_t)length;
}

MHX_WHOLE_NUMBER(int, set_contains, (PyObject *self, PyObject *object), (self, object))
MHX_WHOLE_NUMBER(Py_ssize_t, set_length, (PyObject *self), (self))

static PyObject *set_iter(PyObject *self) { return mhx_dict_iterator((mhx_twin *)self, 0, false); }

static PyObject *set_reversed(PyObject *self, PyObject *unused) {
  (void)unused;
  return mhx_dict_iterator((mhx_twin *)self, 0, true);
}

/* ---- changing ---- */

static int add(mhx_twin *twin, PyObject *object) {
  mhx_space *space = mhx_twin_space(twin);
  mhx_key key;
  if (space == NULL) return -1;
  if (!mhx_is_storable_key(object)) return mhx_dict_set_tree(twin, object, Py_None);
  int made = mhx_key_make(space, object, &key);
  mheap_err failed = made > 0 ? mh_set_add(&twin->of.dict, &key.key) : MHEAP_OK;
  mhx_key_end(&key);
  if (failed) return mhx_failed(space);
  return made > 0 ? 0 : -1;
}

/* 1: removed; 0: it was not there; -1: an exception. */
static int take_out(mhx_twin *twin, PyObject *object) {
  mhx_space *space;
  mhx_key key;
  int made = mhx_key_look(twin, object, &key, &space);
  if (made < 0) return -1;
  if (made == 0) return mh_space_writable(&space->core) ? mhx_failed(space) : 0;
  mheap_err failed = mh_dict_delete(&twin->of.dict, &key.key);
  mhx_key_end(&key);
  if (failed == MHEAP_OK) return twin->changes++, 1;
  return failed == MHEAP_ERR_NOT_FOUND ? 0 : mhx_failed(space);
}

static PyObject *set_add(PyObject *self, PyObject *object) {
  if (add((mhx_twin *)self, object) < 0) return NULL;
  Py_RETURN_NONE;
}

static PyObject *set_discard(PyObject *self, PyObject *object) {
  if (or_frozen(take_out, self, object) < 0) return NULL;
  Py_RETURN_NONE;
}

static PyObject *set_remove(PyObject *self, PyObject *object) {
  int removed = or_frozen(take_out, self, object);
  if (removed > 0) Py_RETURN_NONE;
  PyObject *args = removed < 0 ? NULL : PyTuple_Pack(1, object);
  if (args != NULL) PyErr_SetObject(PyExc_KeyError, args);
  Py_XDECREF(args);
  return NULL;
}

/* The last member. New reference; NULL with an exception. */
static PyObject *last(mhx_twin *twin) {
  mhx_space *space = mhx_twin_space(twin);
  uint32_t index = UINT32_MAX;
  mh_entry entry;
  if (space == NULL) return NULL;
  if (mh_space_writable(&space->core)) return mhx_failed(space), NULL;
  mheap_err failed = mh_dict_previous(&twin->of.dict, &index, &entry);
  if (!failed) return mhx_from_key(space, entry.key);
  if (failed != MHEAP_ERR_NOT_FOUND) return mhx_failed(space), NULL;
  PyErr_SetString(PyExc_KeyError, "pop from an empty set");
  return NULL;
}

/* Making the object may run finalizers, which may take it out before. */
static PyObject *set_pop(PyObject *self, PyObject *unused) {
  (void)unused;
  for (;;) {
    PyObject *object = last((mhx_twin *)self);
    int removed = object == NULL ? -1 : take_out((mhx_twin *)self, object);
    if (removed > 0) return object;
    Py_XDECREF(object);
    if (removed < 0) return NULL;
  }
}

static PyObject *set_clear(PyObject *self, PyObject *unused) {
  (void)unused;
  mhx_twin *twin = (mhx_twin *)self;
  mhx_space *space = mhx_twin_space(twin);
  if (space == NULL) return NULL;
  if (mh_dict_clear(&twin->of.dict)) return mhx_failed(space), NULL;
  twin->changes++;
  Py_RETURN_NONE;
}

static int add_all(mhx_twin *twin, PyObject *iterable) {
  PyObject *iter = PyObject_GetIter(iterable), *object;
  bool failed = iter == NULL;
  for (unsigned ticks = 1; !failed && (object = PyIter_Next(iter)) != NULL; ticks++) {
    failed = add(twin, object) < 0 || (ticks % TICKS == 0 && PyErr_CheckSignals() < 0);
    Py_DECREF(object);
  }
  Py_XDECREF(iter);
  return PyErr_Occurred() ? -1 : 0;
}

static PyObject *set_update(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
  for (Py_ssize_t i = 0; i < nargs; i++)
    if (add_all((mhx_twin *)self, args[i]) < 0) return NULL;
  Py_RETURN_NONE;
}

/* ---- the type ---- */

#define FAST(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef set_methods[] = {
    {"add", set_add, METH_O, "add($self, object, /)\n--\n\nStores the object, unless an equal one is there."},
    {"discard", set_discard, METH_O, "discard($self, object, /)\n--\n\nRemoves the object, if it is there."},
    {"remove", set_remove, METH_O,
     "remove($self, object, /)\n--\n\nRemoves the object; KeyError without it."},
    {"pop", set_pop, METH_NOARGS, "pop($self, /)\n--\n\nRemoves the last object and returns it."},
    {"clear", set_clear, METH_NOARGS, "clear($self, /)\n--\n\nRemoves everything."},
    {"update", FAST(set_update), METH_FASTCALL,
     "update($self, /, *others)\n--\n\nStores all objects of the others, one operation each."},
    {"_most_text", mhx_twin_most_text, METH_NOARGS, NULL},
    {"__reversed__", set_reversed, METH_NOARGS, NULL},
    {0},
};

static PyMemberDef set_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(mhx_twin, weakrefs), READONLY, NULL},
    {0},
};

static PyType_Slot set_slots[] = {
    {Py_tp_doc, "What of PersistentSet is written in C."},
    {Py_tp_new, mhx_twin_new},
    {Py_tp_dealloc, mhx_twin_dealloc},
    {Py_tp_hash, PyObject_HashNotImplemented},
    {Py_tp_methods, set_methods},
    {Py_tp_members, set_members},
    {Py_tp_iter, set_iter},
    {Py_sq_length, whole_set_length},
    {Py_sq_contains, whole_set_contains},
    {0},
};

PyType_Spec mhx_set_twin_spec = {
    .name = "mheap._core.SetTwin",
    .basicsize = sizeof(mhx_twin),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = set_slots,
};
