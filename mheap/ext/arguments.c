/* arguments.c: from Python arguments to C values and back.

   Owns nothing. Sizes and addresses are converted without the argument parsing machinery:
   an exact int goes straight to PyLong_As…, anything else through __index__. Needs the GIL. */
#include <limits.h>

#include "ext.h"

int mhx_md(PyObject *module, PyObject *md, mhx_handle **handle) {
  PyTypeObject *type = mhx_state_of(module)->heap_type;
  if (Py_IS_TYPE(md, type)) {
    *handle = (mhx_handle *)md;
    return 0;
  }
  *handle = NULL;
  if (md == Py_None) return 0;
  PyErr_Format(PyExc_TypeError, "md must be a Heap or None, not %.200s", Py_TYPE(md)->tp_name);
  return -1;
}

/* Which side of [0, 2^64) an int is on that PyLong_AsSize_t refused. */
static bool is_negative(PyObject *number) {
  int overflow = 0;
  PyErr_Clear();
  long long value = PyLong_AsLongLongAndOverflow(number, &overflow);
  return overflow < 0 || (overflow == 0 && value < 0);
}

/* 0; 1: out of range, *negative says on which side; -1: exception. */
static int word_of(PyObject *value, size_t *word, bool *negative) {
  PyObject *number = PyLong_CheckExact(value) ? Py_NewRef(value) : PyNumber_Index(value);
  if (number == NULL) return -1;
  *word = PyLong_AsSize_t(number);
  int result = 0;
  if (*word == (size_t)-1 && PyErr_Occurred()) {
    *negative = is_negative(number);
    result = 1;
  }
  Py_DECREF(number);
  return result;
}

int mhx_size(PyObject *value, size_t *size) {
  bool negative = false;
  int result = word_of(value, size, &negative);
  if (result <= 0) return result;
  if (negative) mhx_refuse(MHEAP_ERR_ARGUMENT, "a size must not be negative");
  else mhx_refuse(MHEAP_ERR_OVERFLOW, "a size must be below 2^64 bytes");
  return -1;
}

int mhx_address(PyObject *value, void **address) {
  bool negative = false;
  size_t word = 0;
  int result = value == Py_None ? 0 : word_of(value, &word, &negative);
  *address = (void *)(uintptr_t)word;
  if (result <= 0) return result;
  mhx_refuse(MHEAP_ERR_POINTER, "an address must not be %s", negative ? "negative" : "2^64 or more");
  return -1;
}

int mhx_int(PyObject *value, int *result) {
  PyObject *number = PyNumber_Index(value);
  if (number == NULL) return -1;
  int overflow = 0;
  long word = PyLong_AsLongAndOverflow(number, &overflow);
  Py_DECREF(number);
  if (word == -1 && PyErr_Occurred()) return -1;
  *result = (int)word;
  if (overflow == 0 && word >= INT_MIN && word <= INT_MAX) return 0;
  mhx_refuse(MHEAP_ERR_ARGUMENT, "a number out of range: it must be between %d and %d", INT_MIN, INT_MAX);
  return -1;
}

PyObject *mhx_from_address(const void *address) {
  if (address == NULL) Py_RETURN_NONE;
  return PyLong_FromVoidPtr((void *)(uintptr_t)address);
}

PyObject *mhx_arity(const char *name, Py_ssize_t wanted, Py_ssize_t got) {
  PyErr_Format(PyExc_TypeError, "%s() takes %zd argument%s (%zd given)", name, wanted, wanted == 1 ? "" : "s",
               got);
  return NULL;
}

/* The place of a keyword among `names`, -1: none. */
static Py_ssize_t place_of(const char *const *names, PyObject *keyword) {
  for (Py_ssize_t i = 0; names[i] != NULL; i++)
    if (PyUnicode_CompareWithASCIIString(keyword, names[i]) == 0) return i;
  return -1;
}

static int take_keywords(const char *name, const char *const *names, PyObject *const *values,
                         PyObject *kwnames, PyObject **out) {
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(kwnames); i++) {
    PyObject *keyword = PyTuple_GET_ITEM(kwnames, i);
    Py_ssize_t place = place_of(names, keyword);
    if (place < 0 || out[place] != NULL) {
      PyErr_Format(PyExc_TypeError, place < 0 ? "%s() got an unexpected keyword argument %R"
                                              : "%s() got multiple values for argument %R", name, keyword);
      return -1;
    }
    out[place] = values[i];
  }
  return 0;
}

int mhx_arguments(const char *name, const char *const *names, Py_ssize_t required,
                  PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames, PyObject **out) {
  Py_ssize_t room = 0;
  for (; names[room] != NULL; room++) out[room] = room < nargs ? args[room] : NULL;
  if (nargs > room) {
    PyErr_Format(PyExc_TypeError, "%s() takes at most %zd arguments (%zd given)", name, room, nargs);
    return -1;
  }
  if (kwnames != NULL && take_keywords(name, names, args + nargs, kwnames, out) < 0) return -1;
  for (Py_ssize_t i = 0; i < required; i++) {
    if (out[i] != NULL) continue;
    PyErr_Format(PyExc_TypeError, "%s() missing required argument '%s'", name, names[i]);
    return -1;
  }
  return 0;
}
