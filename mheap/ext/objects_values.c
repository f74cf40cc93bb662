/* objects_values.c: see objects_values.h. The way to mheap/_values.py, which knows the types of extended
   values, and what their state is. */
#include "objects_values.h"

static const char *const names[] = {"to_state", "to_key", "from_state"};

static int import_functions(mhx_state *state) {
  PyObject *module = PyImport_ImportModule("mheap._values");
  if (module == NULL) return -1;
  for (int i = 0; i < 3; i++) {
    PyObject *function = PyObject_GetAttrString(module, names[i]);
    if (function == NULL) return Py_DECREF(module), -1;
    Py_XSETREF(state->object_types[MHX_TO_STATE + i], function);
  }
  Py_DECREF(module);
  return 0;
}

PyObject *mhx_values_function(mhx_state *state, int which) {
  if (state->object_types[which] == NULL && import_functions(state) < 0) return NULL;
  return state->object_types[which];
}

int mhx_to_state(mhx_state *state, PyObject *object, mh_kind_code *kind, PyObject **words) {
  *words = mhx_time_words(object, kind);
  if (*words != NULL || PyErr_Occurred()) return *words != NULL ? 1 : -1;
  PyObject *function = mhx_values_function(state, MHX_TO_STATE);
  PyObject *result = function == NULL ? NULL : PyObject_CallOneArg(function, object);
  unsigned code;
  if (result == NULL || result == Py_None) return Py_XDECREF(result), result == NULL ? -1 : 0;
  int parsed = PyArg_ParseTuple(result, "IO!", &code, &PyTuple_Type, words);
  if (parsed) Py_INCREF(*words);
  Py_DECREF(result);
  *kind = (mh_kind_code)code;
  return parsed ? 1 : -1;
}

/* ---- frozensets ---- */

#define MOST_PARTS ((size_t)1 << 24)

/* Counts all that hashing goes through, each part as often as it does. */
static int measure(PyObject *object, unsigned depth, size_t *parts, size_t most) {
  bool is_tuple = PyTuple_CheckExact(object);
  if (++*parts > most) {
    mhx_refuse(MHEAP_ERR_OVERFLOW, "the elements of a frozenset have too much in common to be hashed again");
    return -1;
  }
  if (!is_tuple && !PyFrozenSet_CheckExact(object)) return 0;
  if (depth > MH_CODE_DEPTH) {
    PyErr_Format(PyExc_RecursionError, "the elements of a frozenset have more than %d levels", MH_CODE_DEPTH);
    return -1;
  }
  if (is_tuple) {
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(object); i++)
      if (measure(PyTuple_GET_ITEM(object, i), depth + 1, parts, most) < 0) return -1;
    return 0;
  }
  PyObject *iterator = PyObject_GetIter(object), *item;
  int failed = iterator == NULL ? -1 : 0;
  while (failed == 0 && (item = PyIter_Next(iterator)) != NULL) {
    failed = measure(item, depth + 1, parts, most);
    Py_DECREF(item);
  }
  Py_XDECREF(iterator);
  return failed < 0 || PyErr_Occurred() ? -1 : 0;
}

int mhx_frozenset_fits(PyObject *set) {
  size_t parts = 0;
  return measure(set, 0, &parts, MOST_PARTS + (size_t)PySet_GET_SIZE(set));
}

/* ---- how a heap is read ---- */

/* _reads(heap, bits): see mhx_handle. */
static PyObject *set_reads(PyObject *module, PyObject *const *args, Py_ssize_t nargs) {
  if (nargs != 2 || !PyObject_TypeCheck(args[0], mhx_state_of(module)->heap_type))
    return PyErr_Format(PyExc_TypeError, "a Heap and an int are needed");
  unsigned long bits = PyLong_AsUnsignedLong(args[1]);
  if (bits == (unsigned long)-1 && PyErr_Occurred()) return NULL;
  mhx_handle *handle = (mhx_handle *)args[0];
  (handle->main != NULL ? handle->main : handle)->reads = (unsigned)bits;
  Py_RETURN_NONE;
}

PyMethodDef mhx_values_functions[] = {
    {"_reads", (PyCFunction)(void (*)(void))set_reads, METH_FASTCALL, NULL},
    {0},
};
