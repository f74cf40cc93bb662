/* subprocs.c: subprocesses, and what None means as a heap.

   Owns: which interpreter added the thread to the subprocess it is in, and the subprocess that each
   sub-interpreter has of its own. The object Subproc is mheap/subprocs.py's; here it is a number.

   The core knows threads, Python knows interpreters too: a thread may run code of several by turns.
   So None is the subprocess that this interpreter added the thread to, else the interpreter's own; the
   main interpreter's is the main one, or what C code added the thread to. */
#include "ext.h"

/* ---- of interpreters ---- */

typedef struct own {
  PyInterpreterState *interpreter;
  mheap_subproc subproc;
  int uses; /* modules */
  struct own *next;
} own;

static own *owns;
#define NO_INTERPRETER (-1)
/* The number of who added this thread where it is; C code has none. Unlike addresses, numbers are new. */
static _Thread_local int64_t added_by = NO_INTERPRETER;

static int64_t number_here(void) { return PyInterpreterState_GetID(PyInterpreterState_Get()); }

static own **find_own(PyInterpreterState *interpreter) {
  own **link = &owns;
  while (*link != NULL && (*link)->interpreter != interpreter) link = &(*link)->next;
  return link;
}

mheap_subproc mhx_subproc(void) {
  mheap_subproc current = mheap_subproc_current();
  if (owns == NULL) return current;
  PyInterpreterState *here = PyInterpreterState_Get();
  const own *self = *find_own(here);
  bool by_c = added_by == NO_INTERPRETER && self == NULL && current != mheap_subproc_main();
  bool added = by_c || added_by == PyInterpreterState_GetID(here);
  if (added) return current;
  return self != NULL ? self->subproc : mheap_subproc_main();
}

mheap *mhx_default_heap(void) {
  mheap_error error = {.code = MHEAP_OK};
  mheap_subproc subproc = mhx_subproc();
  if (subproc != mheap_subproc_current()) {
    mheap *heap = mheap_subproc_heap(subproc, &error);
    return heap != NULL ? heap : (mheap *)mhx_raise_error(&error);
  }
  mheap *heap = mheap_default();
  if (heap == NULL) mhx_raise_error(mheap_last_error(NULL));
  return heap;
}

mheap_subproc mhx_go_home(void) {
  mheap_subproc here = mheap_subproc_current(), home = owns != NULL ? mhx_subproc() : here;
  return home != here && mheap_subproc_add_current_thread(home, NULL) == MHEAP_OK ? here : 0;
}

void mhx_come_back(mheap_subproc back) {
  if (back != 0) mheap_subproc_add_current_thread(back, NULL);
}

int mhx_subprocs_begin(void) {
  PyInterpreterState *here = PyInterpreterState_Get();
  own **link = find_own(here), *self = *link;
  mheap_error error;
  char name[40];
  if (here == PyInterpreterState_Main()) return 0;
  if (self == NULL) {
    if ((self = PyMem_RawCalloc(1, sizeof *self)) == NULL) return PyErr_NoMemory(), -1;
    snprintf(name, sizeof name, "interpreter %lld", (long long)PyInterpreterState_GetID(here));
    self->interpreter = here;
    self->subproc = mheap_subproc_new(name, NULL, &error);
    if (self->subproc == 0) return PyMem_RawFree(self), mhx_raise_error(&error), -1;
    *link = self;
  }
  self->uses++;
  return 0;
}

/* ---- handles of its heaps ---- */

typedef struct listing {
  PyObject *list;
  mheap_subproc subproc;
} listing;

static int append(PyObject *list, PyObject *object) {
  int failed = object != NULL ? PyList_Append(list, object) : -1;
  Py_XDECREF(object);
  return failed;
}

/* Handles there are of heaps that go with the subprocess: a main heap's, and then its others'. */
static bool list_handle(void *arg, mheap *heap) {
  listing *self = arg;
  mhx_handle *handle = mhx_handles_find(heap), *main = handle;
  if (handle != NULL && handle->main != NULL) main = handle->main;
  if (main == NULL || !main->resident) return true;
  return append(self->list, Py_NewRef((PyObject *)handle)) == 0;
}

static PyObject *handles_of(mheap_subproc subproc) {
  listing self = {PyList_New(0), subproc};
  if (self.list == NULL) return NULL;
  mheap_subproc_visit_heaps(subproc, list_handle, &self);
  if (!PyErr_Occurred()) return self.list;
  Py_DECREF(self.list);
  return NULL;
}

static mhx_handle *handle_at(PyObject *list, Py_ssize_t i) { return (mhx_handle *)PyList_GET_ITEM(list, i); }

static int may_go(PyObject *list) {
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); i++) {
    mhx_handle *handle = handle_at(list, i);
    const char *why = mhx_is_used_here(handle)     ? "this thread is in the middle of a call on"
                      : mhx_handles_shared(handle) ? "another interpreter has a handle of"
                                                   : NULL;
    if (why == NULL) continue;
    PyObject *text = PyUnicode_FromFormat("%s %R", why, handle);
    const char *said = text != NULL ? PyUnicode_AsUTF8(text) : NULL;
    if (said != NULL) mhx_refuse(MHEAP_ERR_BUSY, "cannot end the subprocess: %.300s", said);
    Py_XDECREF(text);
    return -1;
  }
  return 0;
}

static bool any_is_used(PyObject *list) {
  bool is = false;
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list) && !is; i++) is = handle_at(list, i)->uses != NULL;
  return is;
}

static int wait_for_all(PyObject *list) {
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); i++)
    if (handle_at(list, i)->heap != NULL && mhx_wait_until_idle(handle_at(list, i)) < 0) return -1;
  return 0;
}

/* The handles, when none is in a call: others may come while the calls of some are waited for. */
static PyObject *idle_handles_of(mheap_subproc subproc) {
  for (;;) {
    PyObject *list = handles_of(subproc);
    bool good = list != NULL && may_go(list) == 0;
    if (good && !any_is_used(list)) return list;
    if (good) good = wait_for_all(list) == 0;
    Py_XDECREF(list);
    if (!good) return NULL;
  }
}

static void drop_all(PyObject *list) {
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); i++)
    if (!mhx_is_closed(handle_at(list, i))) mhx_drop(handle_at(list, i));
}

/* ---- arenas ---- */

static bool list_number(void *arg, const mheap_arena_info *info) {
  return append(arg, PyLong_FromLong(info->arena)) == 0;
}

static PyObject *arenas_of(mheap_subproc subproc) {
  PyObject *list = PyList_New(0);
  if (list != NULL) mheap_subproc_visit_arenas(subproc, list_number, list);
  if (!PyErr_Occurred()) return list;
  Py_XDECREF(list);
  return NULL;
}

static void give_back_all(PyObject *arenas) {
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(arenas); i++)
    mhx_arenas_give_back((mheap_arena)PyLong_AsLong(PyList_GET_ITEM(arenas, i)));
}

/* ---- ending one ---- */

typedef mheap_err end_fun(mheap_subproc subproc, mheap_error *error);

static int end_core(mheap_subproc subproc, end_fun *end) {
  mheap_error error;
  if (end(subproc, &error) == MHEAP_OK) return 0;
  mhx_raise_error(&error);
  return -1;
}

/* The core refuses it where a thread is inside, before anything was done. */
static int end_with(mheap_subproc subproc, end_fun *end, PyObject *handles, PyObject *arenas) {
  if (mhx_view_of_subproc(subproc)) {
    PyErr_Format(PyExc_BufferError,
                 "cannot end subprocess %d: views of its memory are exported; release them first", subproc);
    return -1;
  }
  if (end_core(subproc, end) < 0) return -1;
  mhx_pending pending = mhx_pending_take();
  drop_all(handles);
  mhx_guard_drop(subproc);
  give_back_all(arenas);
  mhx_pending_restore(&pending);
  return 0;
}

static int end_subproc(mheap_subproc subproc, end_fun *end) {
  mheap_error error;
  mheap_subproc_info info;
  if (mheap_subproc_get_info(subproc, &info, &error) != MHEAP_OK) return mhx_raise_error(&error), -1;
  if (info.threads > 0 || subproc == mheap_subproc_main()) return end_core(subproc, end);
  if (mhx_wait_for_registered("end a subprocess") < 0) return -1;
  PyObject *handles = idle_handles_of(subproc), *arenas = handles != NULL ? arenas_of(subproc) : NULL;
  int failed = arenas != NULL ? end_with(subproc, end, handles, arenas) : -1;
  Py_XDECREF(handles);
  Py_XDECREF(arenas);
  return failed;
}

void mhx_subprocs_end(void) {
  own **link = find_own(PyInterpreterState_Get()), *self = *link;
  if (self == NULL || --self->uses > 0) return;
  mhx_pending pending = mhx_pending_take();
  *link = self->next;
  if (end_subproc(self->subproc, mheap_subproc_destroy) < 0) PyErr_Clear(); /* a thread that C code added */
  PyMem_RawFree(self);
  mhx_pending_restore(&pending);
}

/* ---- at exit ---- */

static bool find_given(void *arg, mheap_subproc subproc) {
  mheap_subproc_info info;
  mheap_error error;
  if (mheap_subproc_get_info(subproc, &info, &error) != MHEAP_OK) return true;
  if (!info.given || info.threads > 0) return true;
  const mhx_handle *handle = mhx_handles_find(info.heap);
  if (handle == NULL || handle->interpreter != PyInterpreterState_Get()) return true;
  *(mheap_subproc *)arg = subproc;
  return false;
}

void mhx_subprocs_release(void) {
  mheap_subproc given;
  if (added_by == number_here()) mheap_subproc_leave();
  while (!mheap_visit_subprocs(find_given, &given))
    if (end_subproc(given, mheap_subproc_destroy) < 0) return PyErr_Clear();
}

/* ---- a thread that ends ---- */

/* Python says that a thread has ended before the system does; so it leaves when its state is cleared. */
static void thread_state_goes(PyObject *capsule) {
  unsigned long thread = (unsigned long)(uintptr_t)PyCapsule_GetContext(capsule);
  if (thread == PyThread_get_thread_ident() && added_by == number_here()) mheap_subproc_leave();
}

static int watch_thread(void) {
  static const char key[] = "mheap.subproc";
  PyObject *dict = PyThreadState_GetDict();
  if (dict == NULL || PyDict_GetItemString(dict, key) != NULL) return 0;
  PyObject *capsule = PyCapsule_New(&owns, key, thread_state_goes);
  int failed = capsule == NULL || PyDict_SetItemString(dict, key, capsule) < 0;
  if (!failed) PyCapsule_SetContext(capsule, (void *)(uintptr_t)PyThread_get_thread_ident());
  Py_XDECREF(capsule);
  return failed ? -1 : 0;
}

/* ---- functions ---- */

static int id_of(PyObject *value, mheap_subproc *subproc) { return mhx_int(value, subproc); }

static PyObject *subproc_current(PyObject *module, PyObject *unused) {
  (void)module, (void)unused;
  return PyLong_FromLong(mhx_subproc());
}

static PyObject *subproc_new(PyObject *module, PyObject *const *args, Py_ssize_t nargs) {
  mhx_handle *handle;
  mheap_error error;
  const char *name = NULL;
  if (nargs != 2) return mhx_arity("subproc_new", 2, nargs);
  if (args[0] != Py_None && (name = PyUnicode_AsUTF8(args[0])) == NULL) return NULL;
  if (mhx_md(module, args[1], &handle) < 0) return NULL;
  mheap *heap = handle != NULL ? mhx_live(handle) : NULL;
  if (handle != NULL && heap == NULL) return NULL;
  mheap_subproc made = mheap_subproc_new(name, heap, &error);
  return made != 0 ? PyLong_FromLong(made) : mhx_raise_error(&error);
}

/* Where the thread was: for subproc_return. */
static PyObject *subproc_enter(PyObject *module, PyObject *value) {
  (void)module;
  mheap_subproc subproc, before = mheap_subproc_current();
  mheap_error error;
  if (id_of(value, &subproc) < 0 || watch_thread() < 0) return NULL;
  PyObject *place = Py_BuildValue("(iN)", before, PyLong_FromLongLong(added_by));
  if (place == NULL) return NULL;
  const own *self = *find_own(PyInterpreterState_Get());
  bool home = subproc == (self != NULL ? self->subproc : mheap_subproc_main()); /* there it is by itself */
  if (home) subproc = mheap_subproc_main();
  if (mheap_subproc_add_current_thread(subproc, &error) == MHEAP_OK) {
    added_by = home ? NO_INTERPRETER : number_here();
    return place;
  }
  Py_DECREF(place);
  return mhx_raise_error(&error);
}

/* Back to where the thread was, which another interpreter may have had it added to. */
static PyObject *subproc_return(PyObject *module, PyObject *const *args, Py_ssize_t nargs) {
  (void)module;
  mheap_subproc before;
  int64_t by;
  if (nargs != 2) return mhx_arity("subproc_return", 2, nargs);
  if (id_of(args[0], &before) < 0) return NULL;
  by = PyLong_AsLongLong(args[1]);
  if (by == -1 && PyErr_Occurred()) return NULL;
  added_by = mheap_subproc_add_current_thread(before, NULL) == MHEAP_OK ? by : NO_INTERPRETER;
  if (mheap_subproc_current() != before) mheap_subproc_leave();
  Py_RETURN_NONE;
}

static PyObject *subproc_info(PyObject *module, PyObject *value) {
  (void)module;
  mheap_subproc subproc;
  mheap_subproc_info info;
  mheap_error error;
  if (id_of(value, &subproc) < 0) return NULL;
  if (mheap_subproc_get_info(subproc, &info, &error) != MHEAP_OK) return mhx_raise_error(&error);
  PyObject *name = PyUnicode_DecodeUTF8(info.name, (Py_ssize_t)strlen(info.name), "ignore");
  return name != NULL ? Py_BuildValue("(NI)", name, info.threads) : NULL;
}

static PyObject *subproc_heap(PyObject *module, PyObject *value) {
  mheap_subproc subproc;
  mheap_error error = {.code = MHEAP_OK};
  if (id_of(value, &subproc) < 0) return NULL;
  mheap *heap = mheap_subproc_heap(subproc, &error);
  return heap != NULL ? mhx_heap_object(mhx_state_of(module), heap) : mhx_raise_error(&error);
}

typedef struct objects {
  mhx_state *state;
  PyObject *list;
} objects;

static bool list_heap(void *arg, mheap *heap) {
  objects *self = arg;
  return append(self->list, mhx_heap_object(self->state, heap)) == 0;
}

static bool list_arena(void *arg, const mheap_arena_info *info) {
  objects *self = arg;
  return append(self->list, mhx_arena_id(self->state, info->arena, NULL)) == 0;
}

/* A list of objects, made by `visit`, which returns false without an exception where there is no such
   subprocess: asking for its facts says so. */
static PyObject *list_of(PyObject *module, PyObject *value, bool heaps) {
  mheap_subproc subproc;
  if (id_of(value, &subproc) < 0) return NULL;
  objects self = {mhx_state_of(module), PyList_New(0)};
  if (self.list == NULL) return NULL;
  int collects = PyGC_Disable(); /* a finalizer could end one meanwhile */
  bool all = heaps ? mheap_subproc_visit_heaps(subproc, list_heap, &self)
                   : mheap_subproc_visit_arenas(subproc, list_arena, &self);
  if (collects) PyGC_Enable();
  if (all) return self.list;
  Py_DECREF(self.list);
  if (PyErr_Occurred()) return NULL;
  PyObject *facts = subproc_info(module, value);
  Py_XDECREF(facts);
  return facts == NULL ? NULL : PyErr_NoMemory();
}

static PyObject *subproc_heaps(PyObject *module, PyObject *value) { return list_of(module, value, true); }
static PyObject *subproc_arenas(PyObject *module, PyObject *value) { return list_of(module, value, false); }

static PyObject *subproc_stats(PyObject *module, PyObject *value) {
  mheap_subproc subproc;
  mheap_stats stats;
  mheap_error error;
  if (id_of(value, &subproc) < 0) return NULL;
  if (mheap_subproc_get_stats(subproc, &stats, &error) != MHEAP_OK) return mhx_raise_error(&error);
  return mhx_stats_object(mhx_state_of(module), &stats);
}

static PyObject *end_by(PyObject *value, end_fun *end) {
  mheap_subproc subproc;
  if (id_of(value, &subproc) < 0 || end_subproc(subproc, end) < 0) return NULL;
  Py_RETURN_NONE;
}

static PyObject *subproc_destroy(PyObject *module, PyObject *value) {
  (void)module;
  return end_by(value, mheap_subproc_destroy);
}

static PyObject *subproc_delete(PyObject *module, PyObject *value) {
  (void)module;
  return end_by(value, mheap_subproc_delete);
}

static bool list_id(void *arg, mheap_subproc subproc) { return append(arg, PyLong_FromLong(subproc)) == 0; }

static PyObject *subproc_list(PyObject *module, PyObject *unused) {
  (void)module, (void)unused;
  PyObject *list = PyList_New(0);
  if (list == NULL || mheap_visit_subprocs(list_id, list)) return list;
  Py_DECREF(list);
  return NULL;
}

#define SEE(name, arguments) #name "($module" arguments ", /)\n--\n\nSee mheap.subprocs."

PyMethodDef mhx_subprocs_functions[] = {
    {"subproc_current", subproc_current, METH_NOARGS, SEE(subproc_current, "")},
    {"subproc_new", (PyCFunction)(void (*)(void))subproc_new, METH_FASTCALL,
     SEE(subproc_new, ", name, heap")},
    {"subproc_enter", subproc_enter, METH_O, SEE(subproc_enter, ", id")},
    {"subproc_return", (PyCFunction)(void (*)(void))subproc_return, METH_FASTCALL,
     SEE(subproc_return, ", before, by")},
    {"subproc_info", subproc_info, METH_O, SEE(subproc_info, ", id")},
    {"subproc_heap", subproc_heap, METH_O, SEE(subproc_heap, ", id")},
    {"subproc_heaps", subproc_heaps, METH_O, SEE(subproc_heaps, ", id")},
    {"subproc_arenas", subproc_arenas, METH_O, SEE(subproc_arenas, ", id")},
    {"subproc_stats", subproc_stats, METH_O, SEE(subproc_stats, ", id")},
    {"subproc_destroy", subproc_destroy, METH_O, SEE(subproc_destroy, ", id")},
    {"subproc_delete", subproc_delete, METH_O, SEE(subproc_delete, ", id")},
    {"subproc_list", subproc_list, METH_NOARGS, SEE(subproc_list, "")},
    {NULL, NULL, 0, NULL},
};
