/* errors.c: from an mheap_error to a Python exception.

   Owns: the table from codes to the classes of mheap/errors.py. Calls that module, which is
   looked up when an error is raised, never before. Needs the GIL. */
#include <stdarg.h>

#include "ext.h"

static const char *const classes[MHEAP_ERR_COUNT_] = {
    [MHEAP_OK] = "MheapError",
    [MHEAP_ERR_SYSTEM] = "HeapOSError",
    [MHEAP_ERR_NOT_A_HEAP] = "NotAHeap",
    [MHEAP_ERR_CORRUPT] = "CorruptHeap",
    [MHEAP_ERR_VERSION] = "VersionMismatch",
    [MHEAP_ERR_UNCLEAN] = "UncleanHeap",
    [MHEAP_ERR_BASE_IN_USE] = "BaseAddressInUse",
    [MHEAP_ERR_BUSY] = "HeapBusy",
    [MHEAP_ERR_FULL] = "HeapFull",
    [MHEAP_ERR_NO_MEMORY] = "NoMemory",
    [MHEAP_ERR_POINTER] = "InvalidPointer",
    [MHEAP_ERR_DOUBLE_FREE] = "DoubleFree",
    [MHEAP_ERR_OVERRUN] = "Overrun",
    [MHEAP_ERR_STALE] = "StaleObject",
    [MHEAP_ERR_READ_ONLY] = "ReadOnlyHeap",
    [MHEAP_ERR_ARGUMENT] = "InvalidArgument",
    [MHEAP_ERR_OVERFLOW] = "SizeOverflow",
    [MHEAP_ERR_FORKED] = "ForkedHandle",
    [MHEAP_ERR_NOT_FOUND] = "NotFound",
    [MHEAP_ERR_SNAPSHOT] = "SnapshotTooOld",
};

static PyObject *class_of(const char *name) {
  PyObject *module = PyImport_ImportModule("mheap.errors");
  if (module == NULL) return NULL;
  PyObject *class = PyObject_GetAttrString(module, name);
  Py_DECREF(module);
  return class;
}

static PyObject *number_or_none(bool is, uint64_t value) {
  if (!is) Py_RETURN_NONE;
  return PyLong_FromUnsignedLongLong(value);
}

/* The keyword arguments of MheapError. */
static PyObject *details_of(const mheap_error *error, PyObject *path) {
  bool compares = error->expected != 0 || error->found != 0;
  PyObject *system = error->sys != 0 ? PyLong_FromLong(error->sys) : Py_NewRef(Py_None);
  PyObject *offset = number_or_none(compares || error->offset != 0, error->offset);
  PyObject *expected = number_or_none(compares, error->expected);
  PyObject *found = number_or_none(compares, error->found);
  PyObject *details = NULL;
  if (system != NULL && offset != NULL && expected != NULL && found != NULL) {
    details = Py_BuildValue("{sOsOsOsOsO}", "errno", system, "filename", path != NULL ? path : Py_None,
                            "offset", offset, "expected", expected, "found", found);
  }
  Py_XDECREF(system);
  Py_XDECREF(offset);
  Py_XDECREF(expected);
  Py_XDECREF(found);
  return details;
}

/* The text names a path, which may not be UTF-8: as Python decodes file names. */
static PyObject *text_of(const mheap_error *error) {
  const char *text = error->text[0] != '\0' ? error->text : mheap_err_name(error->code);
  return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "surrogateescape");
}

/* A class, or what it has under `of` for this errno: HeapOSError becomes a FileNotFoundError, … */
static PyObject *exception_class(const mheap_error *error) {
  unsigned code = (unsigned)error->code < MHEAP_ERR_COUNT_ ? (unsigned)error->code : MHEAP_OK;
  PyObject *class = class_of(classes[code]);
  if (class == NULL || code != MHEAP_ERR_SYSTEM) return class;
  PyObject *special = PyObject_CallMethod(class, "of", "i", error->sys);
  Py_DECREF(class);
  return special;
}

PyObject *mhx_raise_error_at(const mheap_error *error, PyObject *path) {
  PyObject *class = exception_class(error);
  PyObject *text = class != NULL ? text_of(error) : NULL;
  PyObject *args = text != NULL ? PyTuple_Pack(1, text) : NULL;
  PyObject *details = args != NULL ? details_of(error, path) : NULL;
  PyObject *exception = details != NULL ? PyObject_Call(class, args, details) : NULL;
  if (exception != NULL) PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
  Py_XDECREF(exception);
  Py_XDECREF(details);
  Py_XDECREF(args);
  Py_XDECREF(text);
  Py_XDECREF(class);
  return NULL;
}

PyObject *mhx_raise_error(const mheap_error *error) { return mhx_raise_error_at(error, NULL); }

int mhx_raise(mheap *heap) {
  /* A copy: raising imports and allocates, which may lead to other calls on the heap. */
  mheap_subproc back = heap == NULL ? mhx_go_home() : 0;
  mheap_error error = *mheap_last_error(heap);
  mhx_come_back(back);
  mhx_handle *handle = heap != NULL ? mhx_handles_find(heap) : NULL;
  PyObject *path = handle != NULL ? Py_NewRef(handle->path) : NULL;
  mhx_raise_error_at(&error, path);
  Py_XDECREF(path);
  return -1;
}

PyObject *mhx_none_or_error(mheap *heap, mheap_err result) {
  if (result == MHEAP_OK) Py_RETURN_NONE;
  mhx_raise(heap);
  return NULL;
}

PyObject *mhx_refuse(mheap_err code, const char *format, ...) {
  mheap_error error = {.code = code};
  va_list rest;
  va_start(rest, format);
  vsnprintf(error.text, sizeof error.text, format, rest);
  va_end(rest);
  return mhx_raise_error(&error);
}

PyObject *mhx_raise_closed(mhx_handle *handle) {
  PyObject *class = class_of("ClosedHeap");
  if (class == NULL) return NULL;
  PyErr_Format(class, "the heap is closed: %R", handle);
  Py_DECREF(class);
  return NULL;
}
