/* named.c: heaps with names: made, found by them, listed.

   Owns the `birth` and `label` of handles. Making and finding keep the GIL, as in heaps.c; in a heap that is
   read beside a writer, a look at its names is at one commit. */
#include "ext.h"
#include "heap.h"

/* ---- handles ---- */

bool mhx_named_is_same(const mhx_handle *handle, mheap *heap) { return handle->birth == heap->birth; }

static PyObject *text_of(const char *name, size_t length) {
  return PyUnicode_DecodeUTF8(name, (Py_ssize_t)length, "surrogateescape");
}

/* A name that is damaged is none. */
int mhx_named_begin(mhx_handle *handle) {
  char name[MHEAP_HEAP_NAME + 1];
  size_t length;
  handle->birth = handle->heap->birth;
  if (!mh_heap_is_named(handle->heap) || mheap_get_name(handle->heap, name, &length) != MHEAP_OK) return 0;
  handle->label = text_of(name, length);
  return handle->label != NULL ? 0 : -1;
}

static mhx_handle *main_of(PyObject *self) {
  mhx_handle *handle = (mhx_handle *)self;
  return handle->main != NULL && !mhx_is_closed(handle) ? handle->main : handle;
}

/* ---- at one commit ---- */

static PyObject *at_one_commit(mhx_handle *main, PyObject *arg,
                               PyObject *(*look)(mhx_handle *main, mheap *heap, PyObject *arg)) {
  mheap *heap = mhx_live(main);
  if (heap == NULL || mhx_keep_newest(main) < 0) return NULL;
  PyObject *result = look(main, heap, arg);
  mhx_release_for_view(main);
  return result;
}

/* ---- making and finding ---- */

static PyObject *name_from(PyObject *value) {
  if (PyUnicode_Check(value)) return PyUnicode_AsEncodedString(value, "utf-8", "surrogateescape");
  PyErr_Format(PyExc_TypeError, "the name of a heap must be a str, not %.200s", Py_TYPE(value)->tp_name);
  return NULL;
}

static PyObject *make(mhx_handle *main, PyObject *name, int tag, mheap_arena arena) {
  mheap *heap = mhx_live(main);
  if (heap == NULL) return NULL;
  mheap *made = mheap_new_named(heap, PyBytes_AS_STRING(name), (size_t)PyBytes_GET_SIZE(name), tag, arena);
  if (made == NULL) return mhx_raise(heap), NULL;
  PyObject *object = mhx_heap_in(main, made);
  if (object == NULL) mheap_destroy(made);
  return object;
}

static PyObject *method_new(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  static const char *const names[] = {"name", "tag", "arena", NULL};
  PyObject *given[3];
  mheap_arena arena = 0;
  mhx_handle *of_arena = NULL;
  int tag = 0;
  if (nargs > 1) return mhx_arity("new", 1, nargs);
  if (mhx_arguments("new", names, 1, args, nargs, kwnames, given) < 0) return NULL;
  if (given[1] != NULL && mhx_int(given[1], &tag) < 0) return NULL;
  bool tied = given[2] != NULL && given[2] != Py_None;
  if (tied && mhx_arena_number(((mhx_handle *)self)->state, given[2], &arena, &of_arena) < 0) return NULL;
  PyObject *name = name_from(given[0]);
  PyObject *object = name != NULL ? make(main_of(self), name, tag, arena) : NULL;
  Py_XDECREF(name);
  return object;
}

static PyObject *find(mhx_handle *main, mheap *heap, PyObject *name) {
  mheap *found = mheap_find_named(heap, PyBytes_AS_STRING(name), (size_t)PyBytes_GET_SIZE(name));
  return found != NULL ? mhx_heap_in(main, found) : (mhx_raise(heap), NULL);
}

static PyObject *method_named(PyObject *self, PyObject *value) {
  PyObject *name = name_from(value);
  PyObject *object = name != NULL ? at_one_commit(main_of(self), name, find) : NULL;
  Py_XDECREF(name);
  return object;
}

/* ---- listing ---- */

static bool append(void *list, mheap *heap) {
  char name[MHEAP_HEAP_NAME + 1];
  size_t length;
  if (!mh_heap_is_named(heap) || mheap_get_name(heap, name, &length) != MHEAP_OK) return true;
  PyObject *text = text_of(name, length);
  int failed = text != NULL ? PyList_Append(list, text) : -1;
  Py_XDECREF(text);
  return failed == 0;
}

static PyObject *list_names(mhx_handle *main, mheap *heap, PyObject *list) {
  (void)main;
  mheap_err result = mheap_visit_heaps(heap, append, list);
  if (result != MHEAP_OK && !PyErr_Occurred()) mhx_raise(heap);
  return PyErr_Occurred() ? NULL : Py_NewRef(list);
}

static PyObject *method_names(PyObject *self, PyObject *unused) {
  (void)unused;
  PyObject *list = PyList_New(0);
  PyObject *names = list != NULL ? at_one_commit(main_of(self), list, list_names) : NULL;
  Py_XDECREF(list);
  return names;
}

PyDoc_STRVAR(new_doc,
             "new($self, /, name, *, tag=0, arena=None)\n--\n\n"
             "Makes a named heap in the region: with blocks, a root and objects of its own.\n\n"
             "It is there after the next attach: heap.named[name]. destroy() frees it with all of its\n"
             "objects at once. What is stored in it from another heap, also of this file, is copied.\n\n"
             "name   1 to 255 bytes of UTF-8 without zeros\n"
             "tag    0 to 255: free space in slabs goes only from heaps to heaps of one tag\n"
             "arena  an ArenaId in this region, the only one it takes space from; None: the shared ones\n\n"
             "Raises InvalidArgument (there is a heap of that name, or this is no name), HeapFull (it takes\n"
             "two of 126 rows), ReadOnlyHeap.");

PyMethodDef mhx_named_methods[] = {
    {"new", (PyCFunction)(void (*)(void))method_new, METH_FASTCALL | METH_KEYWORDS, new_doc},
    {"_named", method_named, METH_O, NULL},
    {"_names", method_names, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};
