/* objects_counter.c: see objects.h. CounterTwin: the hot half of mheap.PersistentCounter beyond that of
   PersistentDict; the rest is in mheap/counter.py. */
#include "objects_values.h"

#define TICKS 4096 /* elements between two looks at signals */

/* A missing key is read as 0. */
static PyObject *counter_subscript(PyObject *self, PyObject *key) {
  mhx_twin *twin = (mhx_twin *)self;
  mhx_space *space;
  mhx_key made;
  uint64_t word;
  int found = mhx_key_look(twin, key, &made, &space);
  if (found == 0) return PyLong_FromLong(0);
  mheap_err failed = found < 0 ? MHEAP_OK : mh_dict_get(&twin->of.dict, &made.key, &word);
  if (found < 0) return NULL;
  mhx_key_end(&made);
  if (failed == MHEAP_ERR_NOT_FOUND) return PyLong_FromLong(0);
  return failed ? (mhx_failed(space), NULL) : mhx_from_word(space, word);
}

MHX_WHOLE_OBJECT(counter_subscript, (PyObject *self, PyObject *key), (self, key))

/* Deleting what is not there is no error. */
static int counter_ass_subscript(PyObject *self, PyObject *key, PyObject *value) {
  if (value != NULL) return mhx_dict_set((mhx_twin *)self, key, value);
  return mhx_dict_remove((mhx_twin *)self, key) < 0 ? -1 : 0;
}

/* ---- counting ---- */

/* In terms of Python: of keys that are no plain scalars, and counts that are no small ints. */
static int count_slowly(PyObject *self, PyObject *key) {
  PyObject *one = PyLong_FromLong(1), *count = one == NULL ? NULL : whole_counter_subscript(self, key);
  PyObject *sum = count == NULL ? NULL : PyNumber_Add(count, one);
  int failed = sum == NULL ? -1 : mhx_dict_set((mhx_twin *)self, key, sum);
  Py_XDECREF(one);
  Py_XDECREF(count);
  Py_XDECREF(sum);
  return failed;
}

static int count_one(PyObject *self, PyObject *object) {
  mhx_twin *twin = (mhx_twin *)self;
  mhx_space *space;
  mhx_key key;
  bool counted;
  if (!mhx_is_storable_key(object)) return count_slowly(self, object);
  if (mhx_key_look(twin, object, &key, &space) < 0) return -1;
  mheap_err failed = mh_dict_count(&twin->of.dict, &key.key, &counted);
  mhx_key_end(&key);
  if (failed) return mhx_failed(space);
  return counted ? 0 : count_slowly(self, object);
}

/* _count(iterable): adds 1 for each of its elements, one operation each. */
static PyObject *counter_count(PyObject *self, PyObject *iterable) {
  PyObject *iter = PyObject_GetIter(iterable), *object;
  bool failed = iter == NULL;
  for (unsigned ticks = 1; !failed && (object = PyIter_Next(iter)) != NULL; ticks++) {
    failed = count_one(self, object) < 0 || (ticks % TICKS == 0 && PyErr_CheckSignals() < 0);
    Py_DECREF(object);
  }
  Py_XDECREF(iter);
  if (PyErr_Occurred()) return NULL;
  Py_RETURN_NONE;
}

/* ---- the type ---- */

static PyMethodDef counter_methods[] = {
    {"_count", counter_count, METH_O, NULL},
    {0},
};

static PyType_Slot counter_slots[] = {
    {Py_tp_doc, "What of PersistentCounter is written in C."},
    {Py_tp_hash, PyObject_HashNotImplemented},
    {Py_tp_methods, counter_methods},
    {Py_mp_subscript, whole_counter_subscript},
    {Py_mp_ass_subscript, counter_ass_subscript},
    {0},
};

PyType_Spec mhx_counter_twin_spec = {
    .name = "mheap._core.CounterTwin",
    .basicsize = sizeof(mhx_twin),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = counter_slots,
};
