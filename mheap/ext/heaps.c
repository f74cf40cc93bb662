/* heaps.c: the heaps of a region beside its main one: made, listed, destroyed, deleted.

   Owns nothing: which handles there are is handles.c's. Making, listing and ending keep the GIL, so that
   between the core's answer and the Python object for it no thread ends the heap. */
#include "ext.h"

/* ---- the Python object of a heap ---- */

/* A finalizer that a collection ran here could end the heap that the object is made for. */
static mhx_handle *new_handle(mhx_state *state, mheap *heap, mheap_mode mode, PyObject *path,
                              PyObject *name) {
  int collects = PyGC_Disable();
  mhx_handle *handle = mhx_handles_new(state, heap, mode, path, name);
  if (collects) PyGC_Enable();
  return handle;
}

/* In a forked child that attached the file anew. */
static void revive(mhx_handle *handle, mheap *heap) {
  handle->heap = heap;
  handle->mode = handle->main->mode;
  handle->forks = mhx_forks;
  handle->adrift = false;
}

static bool is_handle_of(mhx_handle *handle, mheap *heap, const mheap_heap_info *info) {
  bool same = handle->number == info->number && handle->tag == info->tag && mhx_named_is_same(handle, heap);
  if (handle->adrift && same) revive(handle, heap);
  return handle->heap == heap || handle->parked == heap;
}

PyObject *mhx_heap_in(mhx_handle *main, mheap *heap) {
  mheap_heap_info info;
  if (main->heap == heap || main->parked == heap) return Py_NewRef((PyObject *)main);
  if (mheap_get_heap_info(heap, &info) != MHEAP_OK) return mhx_raise(heap), NULL;
  for (mhx_handle *other = main->others; other != NULL; other = other->other)
    if (is_handle_of(other, heap, &info)) return Py_NewRef((PyObject *)other);
  mhx_handle *handle = new_handle(main->state, heap, main->mode, main->path, main->name);
  if (handle == NULL) return NULL;
  handle->main = (mhx_handle *)Py_NewRef((PyObject *)main);
  handle->number = info.number;
  handle->tag = info.tag;
  handle->other = main->others;
  main->others = handle;
  if (mhx_named_begin(handle) == 0) return (PyObject *)handle;
  Py_DECREF(handle);
  return NULL;
}

static PyObject *name_of_default(const mheap_subproc_info *subproc) {
  if (subproc->subproc == mheap_subproc_main()) return PyUnicode_FromString("the default heap");
  PyObject *plain = PyUnicode_FromFormat("the main heap of subprocess %d", subproc->subproc);
  if (plain == NULL || subproc->name[0] == '\0') return plain;
  PyObject *name = PyUnicode_DecodeUTF8(subproc->name, (Py_ssize_t)strlen(subproc->name), "ignore");
  PyObject *full = name != NULL ? PyUnicode_FromFormat("%U (%U)", plain, name) : NULL;
  Py_XDECREF(name);
  Py_DECREF(plain);
  return full;
}

static mhx_handle *new_resident(mhx_state *state, mheap *heap) {
  mheap_heap_info info;
  mheap_subproc_info subproc;
  mheap_error error;
  if (mheap_get_heap_info(heap, &info) != MHEAP_OK) return mhx_raise(heap), NULL;
  if (mheap_subproc_get_info(mheap_subproc_of_heap(heap), &subproc, &error) != MHEAP_OK)
    return (mhx_handle *)mhx_raise_error(&error);
  bool is_default = heap == subproc.heap;
  PyObject *name =
      is_default ? name_of_default(&subproc) : PyUnicode_FromString("the memory of a subprocess");
  if (name == NULL) return NULL;
  mhx_handle *handle = new_handle(state, heap, MHEAP_MODE_LIVE, Py_None, name);
  Py_DECREF(name);
  if (handle == NULL) return NULL;
  handle->resident = true;
  handle->is_default = is_default;
  handle->subproc = subproc.subproc;
  return handle;
}

PyObject *mhx_heap_object(mhx_state *state, mheap *heap) {
  mheap *main_heap = mheap_main(heap);
  mhx_handle *main = mhx_handles_find(main_heap);
  if (main != NULL && main->interpreter == PyInterpreterState_Get()) return mhx_heap_in(main, heap);
  if (main != NULL && !main->resident)
    return mhx_refuse(MHEAP_ERR_ARGUMENT, "another interpreter has attached this heap");
  main = new_resident(state, main_heap);
  PyObject *object = main != NULL ? mhx_heap_in(main, heap) : NULL;
  Py_XDECREF((PyObject *)main);
  return object;
}

int mhx_only_main(mhx_handle *handle) {
  if (handle == NULL || handle->main == NULL || mhx_is_closed(handle)) return 0;
  mhx_refuse(MHEAP_ERR_ARGUMENT,
             "heap %u has no roots of its own: they are its region's; use those of its main heap, .main",
             (unsigned)handle->number);
  return -1;
}

/* ---- finding one again ---- */

typedef struct search {
  const mhx_handle *for_whom;
  mheap *found;
} search;

static bool is_found(void *arg, mheap *heap) {
  search *self = arg;
  mheap_heap_info info;
  if (mheap_get_heap_info(heap, &info) != MHEAP_OK || info.number != self->for_whom->number) return true;
  if (info.tag == self->for_whom->tag && mhx_named_is_same(self->for_whom, heap)) self->found = heap;
  return false;
}

int mhx_find_again(mhx_handle *handle) {
  search self = {.for_whom = handle};
  mheap *main_heap = mhx_live(handle->main);
  if (main_heap == NULL) return -1;
  if (mheap_visit_heaps(main_heap, is_found, &self) != MHEAP_OK) return mhx_raise(main_heap);
  if (self.found == NULL) {
    mhx_refuse(MHEAP_ERR_NOT_FOUND,
               "heap %u (tag %d), which was inherited over a fork, is no longer in the file",
               (unsigned)handle->number, handle->tag);
    return -1;
  }
  revive(handle, self.found);
  return 0;
}

/* ---- listing ---- */

typedef struct listing {
  mhx_handle *main;
  PyObject *list;
} listing;

/* A kind's heaps are ended with it, unseen: no handle may be left of them. */
static bool is_of_kind(mheap *heap) {
  mheap_heap_info info;
  return mheap_get_heap_info(heap, &info) == MHEAP_OK && info.of_kind;
}

static bool list_one(void *arg, mheap *heap) {
  listing *self = arg;
  if (is_of_kind(heap)) return true;
  PyObject *object = mhx_heap_in(self->main, heap);
  if (object == NULL) return false;
  int failed = PyList_Append(self->list, object);
  Py_DECREF(object);
  return failed == 0;
}

static PyObject *op_heaps(mhx_handle *handle, PyObject *const *args) {
  (void)args;
  mhx_handle *main = handle->main != NULL && !mhx_is_closed(handle) ? handle->main : handle;
  listing self = {main, PyList_New(0)};
  mheap *heap = self.list != NULL ? mhx_live(main) : NULL;
  PyObject *tuple = NULL;
  if (heap != NULL && mhx_keep_newest(main) == 0) {
    mheap_err result = mheap_visit_heaps(heap, list_one, &self);
    if (result != MHEAP_OK && !PyErr_Occurred()) mhx_raise(heap);
    mhx_release_for_view(main);
    if (!PyErr_Occurred()) tuple = PyList_AsTuple(self.list);
  }
  Py_XDECREF(self.list);
  return tuple;
}

/* ---- making ---- */

typedef struct wish {
  int tag;
  int destroyable;
  mheap_arena arena;
  mhx_handle *heap; /* main heap of the arena; NULL: it is memory, or there is none */
} wish;

static int wish_of(mhx_state *state, PyObject *const *given, wish *what) {
  if (mhx_int(given[0], &what->tag) < 0) return -1;
  if ((what->destroyable = PyObject_IsTrue(given[1])) < 0) return -1;
  if (given[2] == NULL || given[2] == Py_None) return 0;
  return mhx_arena_number(state, given[2], &what->arena, &what->heap);
}

/* handle NULL: wherever the arena is, or in memory. */
static PyObject *make(mhx_state *state, mhx_handle *handle, const wish *what) {
  if (handle == NULL) handle = what->heap;
  mheap *in = handle != NULL ? mhx_live(handle) : NULL;
  if (handle != NULL && in == NULL) return NULL;
  mheap_subproc back = mhx_go_home();
  mheap *heap = mheap_new(in, what->tag, what->destroyable != 0, what->arena);
  mhx_come_back(back);
  if (heap == NULL) return mhx_raise(in), NULL;
  mhx_handle *main = handle != NULL && handle->main != NULL ? handle->main : handle;
  PyObject *object = main != NULL ? mhx_heap_in(main, heap) : mhx_heap_object(state, heap);
  if (object == NULL) mheap_delete(heap);
  return object;
}

static PyObject *method_heap_new_ex(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                    PyObject *kwnames) {
  static const char *const names[] = {"tag", "allow_destroy", "arena", NULL};
  mhx_handle *handle = (mhx_handle *)self;
  PyObject *given[3];
  wish what = {.arena = 0};
  if (mhx_arguments("heap_new_ex", names, 2, args, nargs, kwnames, given) < 0) return NULL;
  return wish_of(handle->state, given, &what) < 0 ? NULL : make(handle->state, handle, &what);
}

static PyObject *function_heap_new_ex(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                                      PyObject *kwnames) {
  static const char *const names[] = {"tag", "allow_destroy", "arena_id", NULL};
  mhx_state *state = mhx_state_of(module);
  PyObject *given[3];
  wish what = {.arena = 0};
  if (mhx_arguments("heap_new_ex", names, 2, args, nargs, kwnames, given) < 0) return NULL;
  return wish_of(state, given, &what) < 0 ? NULL : make(state, NULL, &what);
}

static PyObject *function_heap_new_in_arena(PyObject *module, PyObject *id) {
  mhx_state *state = mhx_state_of(module);
  PyObject *given[] = {Py_False, Py_True, id};
  wish what = {.arena = 0};
  if (id == Py_None) return PyErr_SetString(PyExc_TypeError, "heap_new_in_arena: None is no ArenaId"), NULL;
  return wish_of(state, given, &what) < 0 ? NULL : make(state, NULL, &what);
}

/* ---- ending ---- */

static int may_end(mhx_handle *handle, bool destroys) {
  if (destroys && handle->views > 0) {
    PyErr_Format(PyExc_BufferError, "cannot destroy %R: views of it are exported (%zd); release them first",
                 handle, handle->views);
    return -1;
  }
  const char *why = mhx_is_used_here(handle)     ? "this thread is in the middle of a call on it"
                    : mhx_handles_shared(handle) ? "another interpreter has a handle of it"
                                                 : NULL;
  if (why != NULL) mhx_refuse(MHEAP_ERR_BUSY, "cannot end heap %u: %s", (unsigned)handle->number, why);
  return why == NULL ? 0 : -1;
}

/* The caller has a use of the main heap, which therefore stays. */
static PyObject *end_heap(mhx_handle *handle, bool destroys) {
  mheap_error lost;
  if (mhx_wait_until_idle(handle) < 0 || mhx_live(handle) == NULL) return NULL;
  if (may_end(handle, destroys) < 0) return NULL;
  bool whole = mhx_guard_end_trace(&handle->guard, handle->heap, &lost);
  mheap_err result = destroys ? mheap_destroy(handle->heap) : mheap_delete(handle->heap);
  if (result != MHEAP_OK) return mhx_raise(handle->heap), NULL;
  mhx_objects_closing(handle); /* a rollback may bring the heap back, and what only variables kept with it */
  mhx_objects_ended(handle);
  mhx_drop(handle);
  if (whole) Py_RETURN_NONE;
  return mhx_raise_error_at(&lost, handle->path);
}

static PyObject *end_other(mhx_handle *handle, bool destroys) {
  mhx_use use;
  mheap_heap_info info;
  mheap *heap = mhx_live(handle);
  if (heap == NULL) return NULL;
  bool refused =
      handle->main == NULL || mheap_get_heap_info(heap, &info) != MHEAP_OK || (destroys && !info.destroyable);
  if (refused) return mhx_none_or_error(heap, destroys ? mheap_destroy(heap) : mheap_delete(heap));
  if (may_end(handle, destroys) < 0 || mhx_use_begin(handle->main, &use) == NULL) return NULL;
  mhx_handle *main = handle->main;
  PyObject *result = end_heap(handle, destroys);
  mhx_use_end(main, &use);
  return result;
}

static PyObject *op_destroy(mhx_handle *handle, PyObject *const *args) {
  (void)args;
  return end_other(handle, true);
}

static PyObject *op_delete(mhx_handle *handle, PyObject *const *args) {
  (void)args;
  return end_other(handle, false);
}

MHX_METHOD_ONLY(heaps, 0)
MHX_METHOD_ONLY(destroy, 0)
MHX_METHOD_ONLY(delete, 0)

PyDoc_STRVAR(heaps_doc,
             "heaps($self, /)\n--\n\n"
             "The heaps of the region, a tuple: its main heap first, then those that heap_new_ex made.\n\n"
             "Those of kinds (mheap.kinds) are not among them. Heap.named has those with names.");

PyDoc_STRVAR(destroy_doc,
             "destroy($self, /)\n--\n\n"
             "Frees every block of the heap at once, and the heap. Its handle is closed then, and what was\n"
             "read from a named heap's root raises StaleObject.\n\n"
             "Costs time for its slabs, not for its blocks or the region, but that the first one after an\n"
             "attach looks at every segment's header. Waits for calls of other threads on it. Raises\n"
             "InvalidArgument for a main heap, and for one that was made without\n"
             "allow_destroy; BufferError while views of it are exported; HeapBusy from within a call on it.");

PyDoc_STRVAR(delete_doc,
             "delete($self, /)\n--\n\n"
             "Frees the heap; its blocks stay where they are, in use, and become the main heap's.\n\n"
             "The handle is closed then; views of the blocks stay. Waits for calls of other threads on it.\n"
             "Raises InvalidArgument for a main heap, and for a named one, whose objects no other heap can\n"
             "have; HeapBusy from within a call on it.");

#define HEAP_NEW_EX                                                                         \
  "tag            0 to 255; free space in slabs goes only from heaps to heaps of one tag\n" \
  "allow_destroy  whether destroy() may free the heap with all of its blocks\n"

PyDoc_STRVAR(
    method_new_doc,
    "heap_new_ex($self, /, tag, allow_destroy, arena=None)\n--\n\n"
    "Makes another heap in the region: with blocks of its own, and there after the next "
    "attach.\n\n" HEAP_NEW_EX
    "arena          an ArenaId in this region: the heap takes space there only, and when that is full\n"
    "               raises HeapFull. None: the arenas that are shared\n\n"
    "Raises InvalidArgument, HeapFull (of 128 rows for heaps none is free), ReadOnlyHeap.");

PyDoc_STRVAR(
    function_new_doc,
    "heap_new_ex($module, /, tag, allow_destroy, arena_id=None)\n--\n\n"
    "Makes a heap: in the file or the memory where an arena is, or, without one, in memory.\n\n" HEAP_NEW_EX
    "arena_id       an ArenaId: the heap takes space there only, and when that is full raises\n"
    "               HeapFull. None: memory beside the default heap\n\n"
    "Heap.heap_new_ex makes one in the region of a heap. Raises as that does.");

PyDoc_STRVAR(in_arena_doc,
             "heap_new_in_arena($module, id, /)\n--\n\n"
             "Makes a heap that takes space in one arena only: heap_new_ex(0, True, id).");

#define KEYWORDS METH_FASTCALL | METH_KEYWORDS

PyMethodDef mhx_heaps_methods[] = {
    {"heap_new_ex", (PyCFunction)(void (*)(void))method_heap_new_ex, KEYWORDS, method_new_doc},
    MHX_METHOD(heaps, heaps_doc),
    MHX_METHOD(destroy, destroy_doc),
    MHX_METHOD(delete, delete_doc),
    {NULL, NULL, 0, NULL},
};

PyMethodDef mhx_heaps_functions[] = {
    {"heap_new_ex", (PyCFunction)(void (*)(void))function_heap_new_ex, KEYWORDS, function_new_doc},
    {"heap_new_in_arena", function_heap_new_in_arena, METH_O, in_arena_doc},
    {NULL, NULL, 0, NULL},
};
