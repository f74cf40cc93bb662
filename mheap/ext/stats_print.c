/* stats_print.c: statistics for people and programs: tables, JSON, and beginning to count anew.

   Owns nothing. Keeps the GIL while it prints, since what it prints to may be a Python function. */
#include "ext.h"

/* ---- where the text goes ---- */

typedef struct writer {
  PyObject *out; /* a function, called with text and arg; NULL: none */
  PyObject *arg;
  PyObject *text; /* a list, which gathers it; NULL: none */
  bool failed;    /* an exception is set; what follows is dropped */
} writer;

static void write_text(const char *text, void *arg) {
  writer *w = arg;
  if (w->failed) return;
  PyObject *piece = PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace"), *done = NULL;
  if (piece != NULL && w->text != NULL) w->failed = PyList_Append(w->text, piece) < 0;
  else if (piece != NULL) done = PyObject_CallFunctionObjArgs(w->out, piece, w->arg, NULL);
  if (piece == NULL || (w->text == NULL && done == NULL)) w->failed = true;
  Py_XDECREF(done);
  Py_XDECREF(piece);
}

/* The arguments out and arg; *to is NULL for the registered output. */
static int writer_of(const char *name, PyObject *out, PyObject *arg, writer *w, writer **to) {
  *w = (writer){.out = out, .arg = arg != NULL ? arg : Py_None};
  *to = out != NULL && out != Py_None ? w : NULL;
  if (*to == NULL || PyCallable_Check(out)) return 0;
  PyErr_Format(PyExc_TypeError, "%s: out must be callable or None, not %.200s", name, Py_TYPE(out)->tp_name);
  return -1;
}

typedef mheap_err print_fun(mheap *heap, mheap_output_fun *out, void *arg);

#define DEEP 20 /* tables within the function that one is printed to; each takes some 20 KB of stack */

/* Prints what `print` has to say of a heap. */
static mheap_err print_to(mheap *heap, print_fun *print, writer *to) {
  static _Thread_local unsigned depth;
  if (to == NULL || depth < DEEP) {
    depth++;
    mheap_err result = print(heap, to != NULL ? write_text : NULL, to);
    depth--;
    return result;
  }
  PyErr_SetString(PyExc_RecursionError, "statistics printed within the function that they are printed to");
  to->failed = true;
  return MHEAP_OK;
}

static PyObject *print_heap(PyObject *module, PyObject *md, print_fun *print, writer *to) {
  mhx_handle *handle;
  mhx_use use;
  if (mhx_md(module, md != NULL ? md : Py_None, &handle) < 0) return NULL;
  mheap *heap = mhx_use_begin(handle, &use);
  if (heap == NULL) return NULL;
  mheap_err result = print_to(heap, print, to);
  PyObject *done = NULL;
  if (to == NULL || !to->failed) done = mhx_none_or_error(heap, result);
  mhx_use_end(handle, &use);
  return done;
}

/* ---- functions ---- */

static PyObject *stats(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  static const char *const names[] = {"md", NULL};
  PyObject *given[1];
  mhx_handle *handle;
  mheap_stats counts;
  if (mhx_arguments("stats", names, 0, args, nargs, kwnames, given) < 0) return NULL;
  if (mhx_md(module, given[0] != NULL ? given[0] : Py_None, &handle) < 0) return NULL;
  return mhx_count(handle, &counts) < 0 ? NULL : mhx_stats_object(mhx_state_of(module), &counts);
}

static PyObject *stats_json(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  static const char *const names[] = {"md", NULL};
  PyObject *given[1], *joined = NULL;
  if (mhx_arguments("stats_json", names, 0, args, nargs, kwnames, given) < 0) return NULL;
  writer w = {.text = PyList_New(0)};
  PyObject *empty = PyUnicode_FromString("");
  PyObject *done =
      w.text != NULL && empty != NULL ? print_heap(module, given[0], mheap_stats_json_out, &w) : NULL;
  if (done != NULL) joined = PyUnicode_Join(empty, w.text);
  Py_XDECREF(done);
  Py_XDECREF(empty);
  Py_XDECREF(w.text);
  return joined;
}

static PyObject *stats_print(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  static const char *const names[] = {"md", NULL};
  PyObject *given[1];
  if (mhx_arguments("stats_print", names, 0, args, nargs, kwnames, given) < 0) return NULL;
  return print_heap(module, given[0], mheap_stats_print_out, NULL);
}

static PyObject *stats_print_out(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                                 PyObject *kwnames) {
  static const char *const names[] = {"out", "arg", "md", NULL};
  PyObject *given[3];
  writer w, *to;
  if (mhx_arguments("stats_print_out", names, 0, args, nargs, kwnames, given) < 0) return NULL;
  if (writer_of("stats_print_out", given[0], given[1], &w, &to) < 0) return NULL;
  return print_heap(module, given[2], mheap_stats_print_out, to);
}

static PyObject *thread_stats_print_out(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                                        PyObject *kwnames) {
  static const char *const names[] = {"out", "arg", NULL};
  PyObject *given[2];
  writer w, *to;
  (void)module;
  if (mhx_arguments("thread_stats_print_out", names, 0, args, nargs, kwnames, given) < 0) return NULL;
  if (writer_of("thread_stats_print_out", given[0], given[1], &w, &to) < 0) return NULL;
  mheap_err result = mheap_thread_stats_print_out(to != NULL ? write_text : NULL, to);
  return to != NULL && to->failed ? NULL : mhx_none_or_error(NULL, result);
}

static PyObject *stats_reset(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  static const char *const names[] = {"md", NULL};
  PyObject *given[1];
  mhx_handle *handle;
  if (mhx_arguments("stats_reset", names, 0, args, nargs, kwnames, given) < 0) return NULL;
  if (mhx_md(module, given[0] != NULL ? given[0] : Py_None, &handle) < 0) return NULL;
  mheap *heap = mhx_live(handle);
  return heap != NULL ? mhx_none_or_error(heap, mheap_stats_reset(heap)) : NULL;
}

static PyObject *stats_merge(PyObject *module, PyObject *unused) {
  (void)module;
  (void)unused;
  mheap_stats_merge();
  Py_RETURN_NONE;
}

/* ---- the table ---- */

#define NAMED(name, doc) {#name, (PyCFunction)(void (*)(void))name, METH_FASTCALL | METH_KEYWORDS, doc}

PyMethodDef mhx_stats_print_functions[] = {
    NAMED(stats, "stats($module, /, md=None)\n--\n\nWhat is in a heap, as a HeapStats: see Heap.stats."),
    NAMED(stats_json, "stats_json($module, /, md=None)\n--\n\nThe same as JSON: one object, in a str."),
    NAMED(stats_print,
          "stats_print($module, /, md=None)\n--\n\n"
          "Prints a table of what is in a heap through the registered output; size classes of which\n"
          "nothing was ever used are left out."),
    NAMED(stats_print_out,
          "stats_print_out($module, /, out=None, arg=None, md=None)\n--\n\n"
          "The same to out(text, arg), which is called with pieces of the table."),
    NAMED(thread_stats_print_out,
          "thread_stats_print_out($module, /, out=None, arg=None)\n--\n\n"
          "What the calling thread allocated in each heap since it began, or since\n"
          "stats_merge: a table of size classes, to out(text, arg) or the registered output."),
    NAMED(stats_reset,
          "stats_reset($module, /, md=None)\n--\n\n"
          "Peaks and totals begin anew, in all heaps of the region; of a heap that is not the\n"
          "main one, there alone."),
    {"stats_merge", stats_merge, METH_NOARGS,
     "stats_merge($module, /)\n--\n\nThe calling thread's own counts begin anew; those of the heaps hold "
     "them already."},
    {NULL, NULL, 0, NULL},
};
