/* kinds.h: what kinds.c and kinds_calls.c share: the Kind object.

   There is one Kind object a kind (and interpreter) at a time, so that decorators and views are
   known to all who use it. Whoever uses one asks mhx_kind_live first: a kind may have gone with its
   heap, its subprocess, or by a call from C. */
#ifndef MHEAP_EXT_KINDS_H
#define MHEAP_EXT_KINDS_H

#include "ext.h"

typedef struct mhx_kind {
  PyObject_HEAD
  mheap_kind *kind; /* NULL: destroyed */
  unsigned arena;   /* the number of its first arena, which no other kind gets */
  mhx_handle *md;   /* of the heap it is stored in; NULL: in memory */
  mheap *heap;      /* that md had when the kind was found, */
  unsigned long forks; /* and mhx_forks */
  PyObject *name;   /* str */
  Py_ssize_t views; /* exported buffers: refuse destroy */
  mheap_kind_decorators decorators;
  PyObject *pre, *post; /* NULL: none */
  PyObject *weakrefs;
  mhx_state *state;
  PyInterpreterState *interpreter;
  struct mhx_kind *previous, *following; /* all Kind objects */
} mhx_kind;

/* The kind, or NULL with an exception. */
mheap_kind *mhx_kind_live(mhx_kind *self);
/* Raises the kind's last error. Returns NULL. */
PyObject *mhx_kind_raise(mhx_kind *self);
/* The object of a kind, made if there is none; md (may be NULL) is the handle it was found through. */
PyObject *mhx_kind_object(mhx_state *state, mheap_kind *kind, mhx_handle *md);

PyObject *mhx_kind_destroy(PyObject *object, PyObject *unused);
PyObject *mhx_kind_enter(PyObject *object, PyObject *unused);
PyObject *mhx_kind_leave(PyObject *object, PyObject *const *args, Py_ssize_t nargs);

extern PyMethodDef mhx_kind_methods[]; /* kinds_calls.c */
extern PyType_Spec mhx_kind_call_spec, mhx_kind_memory_spec;

#endif
