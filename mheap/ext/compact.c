/* compact.c: a heap file made smaller, by its path. Lets other threads run meanwhile. */
#include "ext.h"

/* The call under way, without the GIL, which the function of the caller has back for its time. */
typedef struct compacting {
  PyThreadState *thread;
  PyObject *progress; /* NULL: none */
  bool failed;        /* an exception is set */
} compacting;

/* Without a function of the caller's, signals are still looked after: it may take minutes. */
static bool pass_progress(void *arg, uint64_t done, uint64_t total) {
  compacting *self = arg;
  PyEval_RestoreThread(self->thread);
  if (self->progress != NULL) {
    PyObject *result = PyObject_CallFunction(self->progress, "KK", (unsigned long long)done,
                                             (unsigned long long)total);
    self->failed = result == NULL;
    Py_XDECREF(result);
  }
  if (!self->failed) self->failed = PyErr_CheckSignals() < 0;
  self->thread = PyEval_SaveThread();
  return !self->failed;
}

static PyObject *extent_of(const mheap_extent *extent) {
  return Py_BuildValue("(KKKKKK)", (unsigned long long)extent->file_size,
                       (unsigned long long)extent->disk_size, (unsigned long long)extent->objects,
                       (unsigned long long)extent->blocks, (unsigned long long)extent->bytes_used,
                       (unsigned long long)extent->bytes_free);
}

static PyObject *made_of(const mheap_compacted *done) {
  PyObject *before = extent_of(&done->before), *after = before == NULL ? NULL : extent_of(&done->after);
  if (after == NULL) return Py_XDECREF(before), NULL;
  return Py_BuildValue("(NsNN)", PyBool_FromLong(done->moved), done->kept, before, after);
}

static PyObject *compact(PyObject *module, PyObject *args) {
  PyObject *encoded, *name, *progress;
  mheap_compacted done;
  mheap_error error = {.code = MHEAP_OK};
  compacting self = {0};
  mheap_compact_options options = {.progress = pass_progress, .arg = &self};
  int dry_run;
  (void)module;
  if (!PyArg_ParseTuple(args, "O&pdO:_compact", PyUnicode_FSConverter, &encoded, &dry_run, &options.timeout,
                        &progress))
    return NULL;
  if (!PyUnicode_FSDecoder(encoded, &name)) return Py_DECREF(encoded), NULL;
  options.dry_run = dry_run != 0;
  self.progress = progress == Py_None ? NULL : progress;
  mhx_hold_inherited();
  self.thread = PyEval_SaveThread();
  mheap_err result = mheap_compact(PyBytes_AS_STRING(encoded), &options, &done, &error);
  PyEval_RestoreThread(self.thread);
  PyObject *made = NULL;
  if (result == MHEAP_OK) made = made_of(&done);
  else if (!self.failed) mhx_raise_error_at(&error, name);
  Py_DECREF(encoded);
  Py_DECREF(name);
  return made;
}

PyMethodDef mhx_compact_functions[] = {
    {"_compact", compact, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
