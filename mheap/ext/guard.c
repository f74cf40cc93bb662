/* guard.c: mmcheck, mprobe and mmtrace.

   Owns: a heap's on_error function and its trace's FILE. on_error is called from here, before
   the core is asked to free or resize: so it may raise, use the heap or even close it. */
#include <errno.h>
#include <unistd.h>

#include "ext.h"

mhx_guard mhx_default_guard;

/* ---- those of other subprocesses' main heaps ---- */

typedef struct subproc_guard {
  mheap_subproc subproc;
  mhx_guard guard;
  struct subproc_guard *next;
} subproc_guard;

static subproc_guard *subproc_guards;

static subproc_guard **find_guard(mheap_subproc subproc) {
  subproc_guard **link = &subproc_guards;
  while (*link != NULL && (*link)->subproc != subproc) link = &(*link)->next;
  return link;
}

mhx_guard *mhx_guard_of_subproc(mheap_subproc subproc, bool make) {
  static mhx_guard none;
  subproc_guard **link = find_guard(subproc);
  if (*link == NULL && !make) return &none;
  if (*link == NULL) {
    if ((*link = PyMem_Calloc(1, sizeof **link)) == NULL) return (mhx_guard *)PyErr_NoMemory();
    (*link)->subproc = subproc;
  }
  return &(*link)->guard;
}

void mhx_guard_drop(mheap_subproc subproc) {
  subproc_guard **link = find_guard(subproc), *found = *link;
  if (found == NULL) return;
  *link = found->next;
  mhx_guard_clear(&found->guard);
  PyMem_Free(found);
}

static const char *const states[] = {"disabled", "ok", "free", "head", "tail"};

static const char *state_name(mheap_probe status) { return states[status - MHEAP_PROBE_DISABLED]; }

/* ---- mmcheck ---- */

/* The block whose damage on_error knows already, and the core is about to find again. */
static _Thread_local void *told;

/* What C code frees is found by the core alone. */
static void report(mheap *heap, void *block, mheap_probe status) {
  (void)heap;
  if (block != told)
    fprintf(stderr, "mheap: block %p: found '%s' by a call from C\n", block, state_name(status));
  told = NULL;
}

static PyObject *raise_found(const void *block, mheap_probe status) {
  if (status == MHEAP_PROBE_FREE)
    return mhx_refuse(MHEAP_ERR_DOUBLE_FREE, "block %p was freed already", block);
  return mhx_refuse(MHEAP_ERR_OVERRUN, "block %p was overwritten %s; it was left as it is", block,
                    status == MHEAP_PROBE_HEAD ? "before its start" : "behind its end");
}

static PyObject *call_on_error(PyObject *on_error, mhx_handle *handle, const void *block,
                               mheap_probe status) {
  PyObject *md = handle != NULL ? (PyObject *)handle : Py_None;
  Py_INCREF(on_error);
  PyObject *result = PyObject_CallFunction(on_error, "ONs", md, PyLong_FromVoidPtr((void *)(uintptr_t)block),
                                           state_name(status));
  Py_DECREF(on_error);
  return result;
}

int mhx_guard_check(mhx_handle *handle, void *block) {
  mhx_guard *guard = mhx_guard_of(handle);
  mheap *heap = mhx_live(handle);
  if (heap == NULL) return -1;
  mheap_probe status = mheap_mprobe(heap, block);
  if (status <= MHEAP_PROBE_OK) return 0;
  bool own = guard->on_error != NULL && guard->interpreter == PyInterpreterState_Get();
  PyObject *result =
      own ? call_on_error(guard->on_error, handle, block, status) : raise_found(block, status);
  Py_XDECREF(result);
  if (result == NULL) return -1;
  told = block;
  return 0;
}

static PyObject *mmcheck(mhx_handle *handle, PyObject *on_error, PyObject *force) {
  if (on_error != Py_None && !PyCallable_Check(on_error)) {
    PyErr_Format(PyExc_TypeError, "on_error must be callable or None, not %.200s",
                 Py_TYPE(on_error)->tp_name);
    return NULL;
  }
  int forced = force != NULL ? PyObject_IsTrue(force) : 0;
  if (forced < 0) return NULL;
  mheap *heap = mhx_live(handle);
  mhx_guard *guard = heap != NULL ? mhx_guard_get(handle, true) : NULL;
  if (guard == NULL) return NULL;
  mheap_err result = mheap_mcheck(heap, report, forced != 0);
  if (result != MHEAP_OK) return mhx_none_or_error(heap, result);
  guard->checking = true;
  PyObject *old = guard->on_error;
  guard->on_error = on_error != Py_None ? Py_NewRef(on_error) : NULL;
  guard->interpreter = PyInterpreterState_Get();
  mhx_keep(handle);
  Py_XDECREF(old);
  Py_RETURN_NONE;
}

static PyObject *method_mmcheck(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  static const char *const names[] = {"on_error", "force", NULL};
  PyObject *given[2];
  if (mhx_arguments("mmcheck", names, 1, args, nargs, kwnames, given) < 0) return NULL;
  return mmcheck((mhx_handle *)self, given[0], given[1]);
}

static PyObject *function_mmcheck(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                                  PyObject *kwnames) {
  static const char *const names[] = {"md", "on_error", "force", NULL};
  PyObject *given[3];
  mhx_handle *handle;
  if (mhx_arguments("mmcheck", names, 2, args, nargs, kwnames, given) < 0) return NULL;
  if (mhx_md(module, given[0], &handle) < 0) return NULL;
  return mmcheck(handle, given[1], given[2]);
}

static PyObject *op_mprobe(mhx_handle *handle, PyObject *const *args) {
  void *block;
  if (mhx_address(args[0], &block) < 0) return NULL;
  mheap *heap = mhx_live(handle);
  if (heap == NULL) return NULL;
  return PyUnicode_InternFromString(state_name(mheap_mprobe(heap, block)));
}

/* ---- mmtrace ---- */

static FILE *open_path(PyObject *file) {
  PyObject *encoded = NULL;
  if (!PyUnicode_FSConverter(file, &encoded)) return NULL;
  FILE *stream = fopen(PyBytes_AS_STRING(encoded), "we");
  Py_DECREF(encoded);
  if (stream == NULL) PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, file);
  return stream;
}

static FILE *open_descriptor(PyObject *file) {
  int fd = PyObject_AsFileDescriptor(file);
  if (fd < 0) return NULL;
  fd = dup(fd);
  FILE *stream = fd >= 0 ? fdopen(fd, "w") : NULL;
  if (stream == NULL) {
    PyErr_SetFromErrno(PyExc_OSError);
    if (fd >= 0) close(fd);
  }
  return stream;
}

static bool is_path(PyObject *file) {
  return PyUnicode_Check(file) || PyBytes_Check(file) || PyObject_HasAttrString(file, "__fspath__");
}

/* Line by line, so that neither a crash nor a fork loses or doubles one. */
static FILE *open_trace(PyObject *file) {
  FILE *stream = is_path(file) ? open_path(file) : open_descriptor(file);
  if (stream != NULL) setvbuf(stream, NULL, _IOLBF, 0);
  return stream;
}

bool mhx_guard_end_trace(mhx_guard *guard, mheap *heap, mheap_error *error) {
  if (guard->trace == NULL) return true;
  bool whole = mheap_mtrace(heap, NULL) == MHEAP_OK;
  if (!whole) *error = *mheap_last_error(heap);
  fclose(guard->trace);
  guard->trace = NULL;
  return whole;
}

static PyObject *op_mmtrace(mhx_handle *handle, PyObject *const *args) {
  FILE *stream = NULL;
  mheap_error error;
  if (args[0] != Py_None && (stream = open_trace(args[0])) == NULL) return NULL;
  mhx_guard *guard = mhx_guard_of(handle);
  mheap *heap = mhx_live(handle);
  bool good = heap != NULL && mhx_guard_end_trace(guard, heap, &error);
  if (good && stream != NULL && mheap_mtrace(heap, stream) != MHEAP_OK) {
    error = *mheap_last_error(heap);
    good = false;
  }
  if (good) {
    guard->trace = stream;
    if (stream != NULL) mhx_keep(handle);
    Py_RETURN_NONE;
  }
  if (stream != NULL) fclose(stream);
  return heap != NULL ? mhx_raise_error_at(&error, handle != NULL ? handle->path : NULL) : NULL;
}

/* ---- the end ---- */

void mhx_guard_clear(mhx_guard *guard) {
  guard->checking = false;
  if (guard->trace != NULL) fclose(guard->trace);
  guard->trace = NULL;
  Py_CLEAR(guard->on_error);
}

int mhx_guard_clear_default(void) {
  mheap_error error;
  if (mhx_default_guard.interpreter == PyInterpreterState_Get()) Py_CLEAR(mhx_default_guard.on_error);
  if (PyInterpreterState_Get() != PyInterpreterState_Main()) return 0;
  bool whole = mhx_guard_end_trace(&mhx_default_guard, NULL, &error);
  mhx_guard_clear(&mhx_default_guard);
  if (!whole) mhx_raise_error(&error);
  return whole ? 0 : -1;
}

MHX_BOTH(mprobe, 1)
MHX_BOTH(mmtrace, 1)

#define MMCHECK                                                                                      \
  "From now on blocks get a guard on either side, which free, realloc and mprobe check.\n\n"         \
  "When free or realloc finds one damaged, on_error(md, address, status) is called first,\n"         \
  "with status 'free' (freed already), 'head' or 'tail' (bytes before or behind the block\n"         \
  "were overwritten). If it returns, a block with a damaged tail is freed or resized all the\n"      \
  "same, the others raise DoubleFree or Overrun; if it raises, nothing was done. With\n"             \
  "on_error None, DoubleFree or Overrun is raised and nothing was done. Blocks that were\n"          \
  "handed out before carry no guard: unless `force`, a heap that has some raises\n"                  \
  "InvalidArgument. Guarded blocks stay readable, and can be freed, without mmcheck."
#define MPROBE                                                                                       \
  "What is at the block: 'ok'; 'disabled': it carries no guard, or is no block; 'free': freed\n"     \
  "already; 'head', 'tail': bytes before or behind it were overwritten. See mmcheck."
#define MMTRACE                                                                                      \
  "Writes a line for every allocation call to `file`, as glibc's mtrace does.\n\n"                   \
  "`file` is a path, which is written anew, or an open file, which must have a fileno() and\n"       \
  "is duplicated. None ends the trace; so do another one and detach. Raises OSError when the\n"      \
  "file cannot be opened or begun. What cannot be written later is lost, and raises HeapOSError\n"    \
  "where the trace ends: it has ended then, no other was begun, and detach has detached."

#define KEYWORDS METH_FASTCALL | METH_KEYWORDS

PyMethodDef mhx_guard_methods[] = {
    {"mmcheck", (PyCFunction)(void (*)(void))method_mmcheck, KEYWORDS,
     "mmcheck($self, /, on_error, force=False)\n--\n\n" MMCHECK},
    MHX_METHOD(mprobe, "mprobe($self, address, /)\n--\n\n" MPROBE),
    MHX_METHOD(mmtrace, "mmtrace($self, file, /)\n--\n\n" MMTRACE),
    {NULL, NULL, 0, NULL},
};

PyMethodDef mhx_guard_functions[] = {
    {"mmcheck", (PyCFunction)(void (*)(void))function_mmcheck, KEYWORDS,
     "mmcheck($module, /, md, on_error, force=False)\n--\n\n" MMCHECK},
    MHX_FUNCTION(mprobe, "mprobe($module, md, address, /)\n--\n\n" MPROBE),
    MHX_FUNCTION(mmtrace, "mmtrace($module, md, file, /)\n--\n\n" MMTRACE),
    {NULL, NULL, 0, NULL},
};
