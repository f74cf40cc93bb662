/* objects_items.c: see objects.h. What lists and deques do alike with their items. */
#include "objects.h"

static int is_beyond(const char *what) {
  PyErr_SetString(PyExc_IndexError, what);
  return -1;
}

int mhx_items_set(mhx_twin *twin, uint64_t index, PyObject *value, const char *beyond) {
  mhx_space *space = mhx_twin_space(twin);
  mhx_words words;
  if (space == NULL || mhx_value(space, value, &words) < 0) return -1;
  mheap_err failed = mh_list_set(&twin->of.list, index, words.words[0]);
  if (!failed) return mhx_words_taken(&words), 0;
  if (failed != MHEAP_ERR_NOT_FOUND) return mhx_words_failed(space, &words);
  is_beyond(beyond);
  return mhx_words_refused(space, &words);
}

int mhx_items_delete(mhx_twin *twin, uint64_t from, uint64_t count, const char *beyond) {
  mhx_space *space = mhx_twin_space(twin);
  if (space == NULL) return -1;
  mheap_err failed = mh_list_splice(&twin->of.list, from, count, NULL, 0);
  if (failed) return failed == MHEAP_ERR_NOT_FOUND ? is_beyond(beyond) : mhx_failed(space);
  twin->changes++;
  return 0;
}

PyObject *mhx_items_clear(PyObject *self, PyObject *unused) {
  (void)unused;
  Py_ssize_t length = mhx_items_length(self);
  if (length < 0 || mhx_items_delete((mhx_twin *)self, 0, (uint64_t)length, "index out of range") < 0)
    return NULL;
  Py_RETURN_NONE;
}

PyObject *mhx_items_permute(PyObject *self, PyObject *order) {
  if (!PyList_CheckExact(order)) return PyErr_Format(PyExc_TypeError, "a list is needed");
  size_t count = (size_t)PyList_GET_SIZE(order);
  uint64_t *indices = PyMem_Malloc(8 * count + 8);
  if (indices == NULL) return PyErr_NoMemory();
  for (size_t i = 0; i < count; i++) indices[i] = PyLong_AsSize_t(PyList_GET_ITEM(order, (Py_ssize_t)i));
  mhx_twin *twin = (mhx_twin *)self;
  mhx_space *space = PyErr_Occurred() ? NULL : mhx_twin_space(twin);
  mheap_err failed = space == NULL ? MHEAP_OK : mh_list_permute(&twin->of.list, indices, count);
  PyMem_Free(indices);
  if (failed) mhx_failed(space);
  if (failed || space == NULL) return NULL;
  twin->changes++;
  Py_RETURN_NONE;
}
