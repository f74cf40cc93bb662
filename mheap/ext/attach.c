/* attach.c: from arguments to an attached Heap.

   Owns: the waiting for another writer, which is cut into slices here so that signals are
   heard in between. Releases the GIL around the core's attach. */
#include <limits.h>
#include <time.h>

#include "ext.h"

#define SLICE 0.05 /* seconds the core waits before Python's signal handlers have their turn */

static const char *const modes[] = {
    [MHEAP_MODE_LIVE] = "live",
    [MHEAP_MODE_READONLY] = "readonly",
    [MHEAP_MODE_SCRATCH] = "scratch",
    [MHEAP_MODE_ATOMIC] = "atomic",
};

const char *mhx_mode_name(mheap_mode mode) { return modes[mode]; }

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* What is attached: a path, or else a descriptor. */
typedef struct target {
  const char *path;
  int fd;
} target;

static mheap *attach_once(const target *what, const mheap_options *options, mheap_error *error) {
  mheap *heap;
  mhx_hold_inherited();
  Py_BEGIN_ALLOW_THREADS
  heap = what->path != NULL ? mheap_open(what->path, options, error) : mheap_attach(what->fd, options, error);
  Py_END_ALLOW_THREADS
  return heap;
}

/* NULL with an exception. options->timeout: as in mheap.h. */
static mheap *attach_waiting(const target *what, mheap_options options, PyObject *path) {
  double timeout = options.timeout;
  double end = now() + timeout;
  mheap_error error;
  for (;;) {
    double left = timeout < 0 ? SLICE : end - now();
    options.timeout = left <= 0 ? 0 : left < SLICE ? left : SLICE;
    error = (mheap_error){.code = MHEAP_OK};
    mheap *heap = attach_once(what, &options, &error);
    if (heap != NULL) return heap;
    if (error.code != MHEAP_ERR_BUSY || left <= 0) break;
    if (PyErr_CheckSignals() < 0) return NULL;
  }
  mhx_raise_error_at(&error, path);
  return NULL;
}

/* ---- options ---- */

static int mode_of(PyObject *value, mheap_mode *mode) {
  if (!PyUnicode_Check(value)) {
    PyErr_Format(PyExc_TypeError, "mode must be a str, not %.200s", Py_TYPE(value)->tp_name);
    return -1;
  }
  for (int i = MHEAP_MODE_LIVE; i <= MHEAP_MODE_ATOMIC; i++) {
    if (PyUnicode_CompareWithASCIIString(value, modes[i]) != 0) continue;
    *mode = (mheap_mode)i;
    return 0;
  }
  const char *text = PyUnicode_AsUTF8(value);
  if (text == NULL) return -1;
  mhx_refuse(MHEAP_ERR_ARGUMENT, "no mode '%.40s': it is 'atomic', 'live', 'readonly' or 'scratch'", text);
  return -1;
}

static int timeout_of(PyObject *value, double *timeout) {
  *timeout = PyFloat_AsDouble(value);
  if (*timeout == -1.0 && PyErr_Occurred()) return -1;
  if (*timeout == *timeout) return 0;
  mhx_refuse(MHEAP_ERR_ARGUMENT, "timeout must be a number of seconds, not nan");
  return -1;
}

/* None: 0, which means the usual one. */
static int size_of(PyObject *value, uint64_t *bytes) {
  size_t size = 0;
  if (value != Py_None && mhx_size(value, &size) < 0) return -1;
  *bytes = size;
  return 0;
}

static int flag_of(PyObject *value, bool *flag) {
  int is = PyObject_IsTrue(value);
  *flag = is > 0;
  return is < 0 ? -1 : 0;
}

static const char *const kinds_of_pages[] = {
    [MHEAP_PAGES_NEVER] = "never",
    [MHEAP_PAGES_TRANSPARENT] = "transparent",
    [MHEAP_PAGES_2M] = "2M",
    [MHEAP_PAGES_1G] = "1G",
};

const char *mhx_pages_name(mheap_pages pages) { return kinds_of_pages[pages]; }

static int pages_of(PyObject *value, mheap_pages *pages) {
  if (!PyUnicode_Check(value)) {
    PyErr_Format(PyExc_TypeError, "huge_pages must be a str, not %.200s", Py_TYPE(value)->tp_name);
    return -1;
  }
  for (int i = MHEAP_PAGES_NEVER; i <= MHEAP_PAGES_1G; i++) {
    if (PyUnicode_CompareWithASCIIString(value, kinds_of_pages[i]) != 0) continue;
    *pages = (mheap_pages)i;
    return 0;
  }
  const char *text = PyUnicode_AsUTF8(value);
  if (text == NULL) return -1;
  mhx_refuse(MHEAP_ERR_ARGUMENT, "no huge_pages '%.40s': 'never', 'transparent', '2M' or '1G'", text);
  return -1;
}

static int node_of(PyObject *value, int *numa_node) {
  int node = -1;
  if (value != Py_None && mhx_int(value, &node) < 0) return -1;
  if (value != Py_None && (node < 0 || node == INT_MAX)) {
    mhx_refuse(MHEAP_ERR_ARGUMENT, "numa_node %d: nodes are numbered from 0", node);
    return -1;
  }
  *numa_node = value == Py_None ? 0 : MHEAP_NODE(node);
  return 0;
}

enum {
  TARGET,
  PATH,
  NAME,
  MODE,
  BASE,
  MAX_SIZE,
  TIMEOUT,
  RELOCATE,
  SALVAGE,
  UNSAFE,
  MUST_EXIST,
  HUGE_PAGES,
  NUMA_NODE,
  JOURNAL_LIMIT,
  OVERRUN_READERS,
  COUNT
};

static int options_of(PyObject *const *args, mheap_options *options) {
  if (mode_of(args[MODE], &options->mode) < 0) return -1;
  if (mhx_address(args[BASE], &options->base) < 0) return -1;
  if (size_of(args[MAX_SIZE], &options->max_size) < 0) return -1;
  if (timeout_of(args[TIMEOUT], &options->timeout) < 0) return -1;
  if (flag_of(args[RELOCATE], &options->relocate) < 0) return -1;
  if (flag_of(args[SALVAGE], &options->salvage) < 0) return -1;
  if (flag_of(args[UNSAFE], &options->unsafe) < 0) return -1;
  if (flag_of(args[MUST_EXIST], &options->must_exist) < 0) return -1;
  if (size_of(args[JOURNAL_LIMIT], &options->journal_limit) < 0) return -1;
  if (flag_of(args[OVERRUN_READERS], &options->overrun_readers) < 0) return -1;
  if (pages_of(args[HUGE_PAGES], &options->huge_pages) < 0) return -1;
  return node_of(args[NUMA_NODE], &options->numa_node);
}

/* An int, or something with a fileno(); -1 is anonymous memory. */
static int descriptor_of(PyObject *value, int *fd) {
  if (PyLong_Check(value)) return mhx_int(value, fd);
  *fd = PyObject_AsFileDescriptor(value);
  return *fd < 0 ? -1 : 0;
}

/* *encoded keeps what->path alive. */
static int target_of(PyObject *value, target *what, PyObject **encoded) {
  *encoded = NULL;
  *what = (target){.fd = -1};
  if (!PyUnicode_Check(value)) return descriptor_of(value, &what->fd);
  if (!PyUnicode_FSConverter(value, encoded)) return -1;
  what->path = PyBytes_AS_STRING(*encoded);
  return 0;
}

/* ---- attaching ---- */

static PyObject *attach(PyObject *module, PyObject *const *args, Py_ssize_t nargs) {
  if (nargs != COUNT) return mhx_arity("attach", COUNT, nargs);
  mheap_options options = {.mode = MHEAP_MODE_LIVE};
  target what;
  PyObject *encoded;
  if (options_of(args, &options) < 0 || target_of(args[TARGET], &what, &encoded) < 0) return NULL;
  mheap *heap = attach_waiting(&what, options, args[PATH]);
  Py_XDECREF(encoded);
  if (heap == NULL) return NULL;
  mhx_handle *handle = mhx_handles_new(mhx_state_of(module), heap, options.mode, args[PATH], args[NAME]);
  if (handle == NULL) mheap_abandon(heap);
  return (PyObject *)handle;
}

mheap *mhx_open_inherited(PyObject *path) {
  PyObject *encoded = NULL;
  if (!PyUnicode_FSConverter(path, &encoded)) return NULL;
  mheap_options options = {.mode = MHEAP_MODE_READONLY, .must_exist = true};
  mheap_error error = {.code = MHEAP_OK};
  mhx_hold_inherited();
  mheap *heap = mheap_open(PyBytes_AS_STRING(encoded), &options, &error);
  Py_DECREF(encoded);
  if (heap != NULL) return heap;
  size_t length = strlen(error.text);
  snprintf(error.text + length, sizeof error.text - length,
           " (a handle inherited over a fork attaches again as a reader)");
  mhx_raise_error_at(&error, path);
  return NULL;
}

static PyObject *findbase(PyObject *module, PyObject *value) {
  (void)module;
  size_t size;
  if (mhx_size(value, &size) < 0) return NULL;
  return mhx_from_address(mheap_findbase(size));
}

PyDoc_STRVAR(attach_doc,
"attach($module, target, path, name, mode, base, max_size, timeout,\n"
"       relocate, salvage, unsafe, must_exist, huge_pages, numa_node,\n"
"       journal_limit, overrun_readers, /)\n--\n\n"
"What mheap.attach and mheap.open stand on; use those.");

PyDoc_STRVAR(findbase_doc,
"findbase($module, size, /)\n--\n\n"
"An address where `size` bytes of this process's address space are free now, or None.\n\n"
"It can be given to attach() as baseaddr, as long as nobody maps anything there in between.");

PyMethodDef mhx_attach_functions[] = {
    {"attach", (PyCFunction)(void (*)(void))attach, METH_FASTCALL, attach_doc},
    {"findbase", findbase, METH_O, findbase_doc},
    {NULL, NULL, 0, NULL},
};
