/* dump.c: heaps written as sealed files. What mheap/_dump.py stands on, and Heap.dump.

   Owns nothing. As a commit does, a dump of a heap that others may use holds the GIL, which excludes other
   Python threads, while it reads the heap, and lets it go while it waits for the disk. */
#include "commit.h"
#include "ext.h"
#include "heap.h"

static void let_others_run(void *arg) { *(PyThreadState **)arg = PyEval_SaveThread(); }

/* `alone`: nobody else knows of the heap. */
static mheap_err dump_now(mheap *heap, const char *path, const mheap_dump_options *options, bool alone) {
  PyThreadState *saved = alone ? PyEval_SaveThread() : NULL;
  const mh_commit_wait wait = {let_others_run, &saved};
  mheap_err result = mh_heap_dump(heap, path, options, alone ? NULL : &wait);
  if (saved != NULL) PyEval_RestoreThread(saved);
  return result;
}

/* In the middle of a call of its own on the heap a thread does not wait: others may be waiting for it. */
static int dump_in_use(mhx_handle *main, PyObject *path, const char *encoded,
                       const mheap_dump_options *options) {
  mhx_use use;
  bool alone = options->named_by_content;
  if (!mhx_is_used_here(main) && mhx_wait_for_others(main) < 0) return -1;
  mheap *heap = mhx_use_begin(main, &use);
  if (heap == NULL) return -1;
  mheap_err result = dump_now(heap, encoded, options, alone);
  mheap_error error = {.code = MHEAP_OK};
  if (result != MHEAP_OK) error = *mheap_last_error(heap);
  mhx_use_end(main, &use);
  if (result != MHEAP_OK) mhx_raise_error_at(&error, path);
  return result == MHEAP_OK ? 0 : -1;
}

static PyObject *dump_to(mhx_handle *handle, PyObject *path, const mheap_dump_options *options) {
  PyObject *encoded = NULL, *decoded = NULL;
  mhx_handle *main = handle->main != NULL ? handle->main : handle;
  if (mhx_live(main) == NULL || !PyUnicode_FSConverter(path, &encoded)) return NULL;
  int failed = PyUnicode_FSDecoder(path, &decoded) ? 0 : -1;
  if (!failed) failed = dump_in_use(main, decoded, PyBytes_AS_STRING(encoded), options);
  Py_DECREF(encoded);
  Py_XDECREF(decoded);
  if (failed) return NULL;
  Py_RETURN_NONE;
}

static int flag_of(PyObject *value, bool *flag, bool otherwise) {
  int is = value != NULL ? PyObject_IsTrue(value) : otherwise;
  *flag = is > 0;
  return is < 0 ? -1 : 0;
}

static PyObject *method_dump(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  static const char *const names[] = {"path", "replace", "durable", NULL};
  PyObject *given[3];
  bool replace, durable;
  if (mhx_arguments("dump", names, 1, args, nargs, kwnames, given) < 0) return NULL;
  if (flag_of(given[1], &replace, true) < 0 || flag_of(given[2], &durable, true) < 0) return NULL;
  const mheap_dump_options options = {.keep_existing = !replace, .not_durable = !durable};
  return dump_to((mhx_handle *)self, given[0], &options);
}

/* _dump(heap, path, replace, durable, kind): kind 0 sealed, 1 of a value, 2 writable. */
static PyObject *function_dump(PyObject *module, PyObject *const *args, Py_ssize_t nargs) {
  mhx_handle *handle;
  bool replace, durable;
  if (nargs != 5) return mhx_arity("_dump", 5, nargs);
  if (mhx_md(module, args[0], &handle) < 0) return NULL;
  if (flag_of(args[2], &replace, true) < 0 || flag_of(args[3], &durable, true) < 0) return NULL;
  long kind = PyLong_AsLong(args[4]);
  if (kind == -1 && PyErr_Occurred()) return NULL;
  if (handle == NULL) return mhx_refuse(MHEAP_ERR_ARGUMENT, "the default heap is not dumped: attach one");
  const mheap_dump_options options = {.keep_existing = !replace,
                                      .not_durable = !durable,
                                      .named_by_content = kind == 1,
                                      .writable = kind == 2};
  return dump_to(handle, args[1], &options);
}

static PyObject *op_prefetch(mhx_handle *handle, PyObject *const *args) {
  (void)args;
  mhx_use use;
  mheap *heap = mhx_use_begin(handle, &use);
  if (heap == NULL) return NULL;
  mheap_err result;
  Py_BEGIN_ALLOW_THREADS
  result = mheap_prefetch(heap);
  Py_END_ALLOW_THREADS
  PyObject *none = mhx_none_or_error(heap, result);
  mhx_use_end(handle, &use);
  return none;
}

MHX_METHOD_ONLY(prefetch, 0)

PyDoc_STRVAR(
    prefetch_doc,
    "prefetch($self, /)\n--\n\n"
    "Brings all pages of the heap into memory, and into this process, for reading.\n\n"
    "What is read first is then as fast as what is read again. They stay shared. Other threads run\n"
    "meanwhile. Raises HeapOSError, or NoMemory.");

PyDoc_STRVAR(
    dump_doc,
    "dump($self, /, path, *, replace=True, durable=True)\n--\n\n"
    "Writes all of the heap, as this handle sees it, to a sealed file, which is never written again.\n\n"
    "Raw blocks, keys, names, arenas, heaps and objects are in it, at the offsets that they have; in mode\n"
    "atomic also what is not committed. mheap.restore() attaches it. The file appears, or takes the place\n"
    "of what was there, complete and at once; who has the old one attached keeps it. `replace` False: a\n"
    "file that is there raises FileExistsError. `durable` False: it is not synced.\n\n"
    "Other Python threads wait while the heap is read. Raises HeapBusy when a writer has the file at `path`\n"
    "attached, HeapFull, HeapOSError, CorruptHeap; the file at `path` is then as it was.");

PyMethodDef mhx_dump_methods[] = {
    {"dump", (PyCFunction)(void (*)(void))method_dump, METH_FASTCALL | METH_KEYWORDS, dump_doc},
    MHX_METHOD(prefetch, prefetch_doc),
    {NULL, NULL, 0, NULL},
};

PyMethodDef mhx_dump_functions[] = {
    {"_dump", (PyCFunction)(void (*)(void))function_dump, METH_FASTCALL,
     "_dump($module, heap, path, replace, durable, kind, /)\n--\n\n"
     "kind 0: sealed; 1: of a value, named by its content; 2: to be attached for writing."},
    {NULL, NULL, 0, NULL},
};
