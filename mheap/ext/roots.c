/* roots.c: where a program finds its blocks again: numbered keys and named roots.

   Owns nothing. The mapping that users see as heap.roots is mheap/roots.py, on getroot,
   setroot and list_roots here. */
#include "ext.h"

static int key_of(PyObject *value, int *key) {
  if (mhx_int(value, key) < 0) return -1;
  if (*key >= 0 && *key < MHEAP_KEYS) return 0;
  mhx_refuse(MHEAP_ERR_ARGUMENT, "no key %d: keys are 0 to %d", *key, MHEAP_KEYS - 1);
  return -1;
}

static PyObject *op_setkey(mhx_handle *handle, PyObject *const *args) {
  int key;
  void *block;
  if (key_of(args[0], &key) < 0 || mhx_address(args[1], &block) < 0) return NULL;
  mheap *heap = mhx_live(handle);
  if (heap == NULL) return NULL;
  return mhx_none_or_error(heap, mheap_setkey(heap, key, block));
}

static PyObject *op_getkey(mhx_handle *handle, PyObject *const *args) {
  int key;
  if (key_of(args[0], &key) < 0) return NULL;
  mheap *heap = mhx_live(handle);
  if (heap == NULL) return NULL;
  void *block = mheap_getkey(heap, key);
  if (block != NULL) return PyLong_FromVoidPtr(block);
  return mhx_none_or_error(heap, mheap_last_error(heap)->code);
}

/* ---- names; in a file they may be any bytes, so both ways keep what is not UTF-8 ---- */

static PyObject *name_of(PyObject *value) {
  if (!PyUnicode_Check(value)) {
    PyErr_Format(PyExc_TypeError, "the name of a root must be a str, not %.200s", Py_TYPE(value)->tp_name);
    return NULL;
  }
  return PyUnicode_AsEncodedString(value, "utf-8", "surrogateescape");
}

static PyObject *op_setroot(mhx_handle *handle, PyObject *const *args) {
  void *block;
  if (mhx_address(args[1], &block) < 0) return NULL;
  PyObject *name = mhx_only_main(handle) == 0 ? name_of(args[0]) : NULL;
  if (name == NULL) return NULL;
  mheap *heap = mhx_live(handle);
  PyObject *result = NULL;
  if (heap != NULL) {
    result = mhx_none_or_error(
        heap, mheap_setroot(heap, PyBytes_AS_STRING(name), (size_t)PyBytes_GET_SIZE(name), block));
  }
  Py_DECREF(name);
  return result;
}

static PyObject *op_getroot(mhx_handle *handle, PyObject *const *args) {
  PyObject *name = mhx_only_main(handle) == 0 ? name_of(args[0]) : NULL;
  if (name == NULL) return NULL;
  mheap *heap = mhx_live(handle);
  void *block = NULL;
  if (heap != NULL) {
    block = mheap_getroot(heap, PyBytes_AS_STRING(name), (size_t)PyBytes_GET_SIZE(name));
    if (block == NULL) mhx_raise(heap);
  }
  Py_DECREF(name);
  return block != NULL ? PyLong_FromVoidPtr(block) : NULL;
}

static bool append_root(void *arg, const char *name, size_t length, void *block) {
  PyObject *text = PyUnicode_DecodeUTF8(name, (Py_ssize_t)length, "surrogateescape");
  if (text == NULL) return false;
  PyObject *pair = Py_BuildValue("(NN)", text, mhx_from_address(block));
  if (pair == NULL) return false;
  int failed = PyList_Append(arg, pair);
  Py_DECREF(pair);
  return failed == 0;
}

static PyObject *op_list_roots(mhx_handle *handle, PyObject *const *args) {
  (void)args;
  PyObject *list = mhx_only_main(handle) == 0 ? PyList_New(0) : NULL;
  if (list == NULL) return NULL;
  mhx_use use; /* making objects may collect garbage, which may run Python code */
  mheap *heap = mhx_use_begin(handle, &use);
  if (heap == NULL) {
    Py_DECREF(list);
    return NULL;
  }
  mheap_err result = mheap_visit_roots(heap, append_root, list);
  if (result != MHEAP_OK && !PyErr_Occurred()) mhx_raise(heap);
  mhx_use_end(handle, &use);
  if (!PyErr_Occurred()) return list;
  Py_DECREF(list);
  return NULL;
}

MHX_BOTH(setkey, 2)
MHX_BOTH(getkey, 1)
MHX_FUNCTION_ONLY(setroot, 2)
MHX_FUNCTION_ONLY(getroot, 1)
MHX_FUNCTION_ONLY(list_roots, 0)

#define SETKEY                                                                                  \
  "Keeps an address under a number, 0 to 1023, in the heap: a root to find blocks from.\n\n"    \
  "None or 0 clears the number. Raises InvalidArgument for another number, InvalidPointer\n"    \
  "for an address outside this heap, ReadOnlyHeap, ClosedHeap."
#define GETKEY                                                                                  \
  "The address kept under a number, 0 to 1023; None when there is none.\n\n"                    \
  "Raises InvalidArgument for another number."
#define SETROOT "Keeps an address under a name; None or 0 removes the name. See Heap.roots."
#define GETROOT "The address kept under a name. Raises NotFound, a KeyError. See Heap.roots."
#define LIST_ROOTS "All (name, address) pairs in the order the names were first set. See Heap.roots."

PyMethodDef mhx_roots_methods[] = {
    MHX_METHOD(setkey, "setkey($self, key, address, /)\n--\n\n" SETKEY),
    MHX_METHOD(getkey, "getkey($self, key, /)\n--\n\n" GETKEY),
    {NULL, NULL, 0, NULL},
};

PyMethodDef mhx_roots_functions[] = {
    MHX_FUNCTION(setkey, "setkey($module, md, key, address, /)\n--\n\n" SETKEY),
    MHX_FUNCTION(getkey, "getkey($module, md, key, /)\n--\n\n" GETKEY),
    MHX_FUNCTION(setroot, "setroot($module, md, name, address, /)\n--\n\n" SETROOT),
    MHX_FUNCTION(getroot, "getroot($module, md, name, /)\n--\n\n" GETROOT),
    MHX_FUNCTION(list_roots, "list_roots($module, md, /)\n--\n\n" LIST_ROOTS),
    {NULL, NULL, 0, NULL},
};
