/* objects_sorted.c: see objects.h. SortedTwin: the hot half of mheap.PersistentSortedDict beyond that of
   dicts (objects_dict.c), and its iterator; the rest is in mheap/sorted.py. */
#include "objects_values.h"

static mh_sorted *tree_of(PyObject *self) { return &((mhx_twin *)self)->of.sorted; }

/* ---- positions ---- */

/* How many keys are less; with `more`, not more. -1 with an exception: also for a key that has no order with
   those that are there. */
static Py_ssize_t bisect(PyObject *self, PyObject *object, bool more) {
  mhx_space *space;
  mhx_key key;
  mh_spot spot;
  uint64_t index = 0;
  int made = mhx_key_look((mhx_twin *)self, object, &key, &space);
  if (made < 0) return -1;
  mheap_err failed = made == 0 ? MHEAP_ERR_ARGUMENT : mh_sorted_seek(tree_of(self), &key.key, more, &spot);
  if (!failed) failed = mh_sorted_index(tree_of(self), &spot, &index);
  if (made > 0) mhx_key_end(&key);
  if (failed) return mhx_entry_failed(space, failed, object);
  return index <= PY_SSIZE_T_MAX ? (Py_ssize_t)index : PY_SSIZE_T_MAX;
}

MHX_WHOLE_NUMBER(Py_ssize_t, bisect, (PyObject *self, PyObject *object, bool more), (self, object, more))

static PyObject *bisect_left(PyObject *self, PyObject *key) {
  Py_ssize_t index = whole_bisect(self, key, false);
  return index < 0 ? NULL : PyLong_FromSsize_t(index);
}

static PyObject *bisect_right(PyObject *self, PyObject *key) {
  Py_ssize_t index = whole_bisect(self, key, true);
  return index < 0 ? NULL : PyLong_FromSsize_t(index);
}

/* 0 keys, 1 values, 2 items. */
static PyObject *made_of(mhx_space *space, const mh_entry *entry, int kind) {
  if (kind != 2) return kind == 0 ? mhx_from_key(space, entry->key) : mhx_from_word(space, entry->value);
  PyObject *pair = PyTuple_New(2);
  for (int i = 0; pair != NULL && i < 2; i++) {
    PyObject *object = i == 0 ? mhx_from_key(space, entry->key) : mhx_from_word(space, entry->value);
    if (object == NULL) Py_CLEAR(pair);
    else PyTuple_SET_ITEM(pair, i, object);
  }
  return pair;
}

/* The entry of a number, from the end if negative. *number: from the start. NULL with an exception. */
static mhx_space *entry_at(PyObject *self, Py_ssize_t index, uint64_t *number, mh_entry *entry) {
  mh_spot spot;
  uint64_t count;
  mhx_space *space = mhx_twin_space((mhx_twin *)self);
  if (space == NULL) return NULL;
  if (mh_sorted_length(tree_of(self), &count)) return mhx_failed(space), NULL;
  Py_ssize_t length = (Py_ssize_t)count;
  if (index < 0) index += length;
  if (index < 0 || index >= length) return PyErr_SetString(PyExc_IndexError, "list index out of range"), NULL;
  *number = (uint64_t)index;
  mheap_err failed = mh_sorted_seek_index(tree_of(self), *number, &spot);
  if (!failed) failed = mh_sorted_next(tree_of(self), &spot, entry);
  if (failed == MHEAP_ERR_NOT_FOUND)
    failed = mh_corrupt(&space->core, tree_of(self)->offset, "the entries of a sorted dict", (uint64_t)length,
                        (uint64_t)index);
  return failed ? (mhx_failed(space), NULL) : space;
}

/* _at(index, kind) */
static PyObject *sorted_at(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
  uint64_t number;
  mh_entry entry;
  if (nargs != 2) return mhx_arity("_at", 2, nargs);
  Py_ssize_t index = PyNumber_AsSsize_t(args[0], PyExc_IndexError);
  if (index == -1 && PyErr_Occurred()) return NULL;
  int kind = (int)PyLong_AsLong(args[1]);
  if (kind == -1 && PyErr_Occurred()) return NULL;
  mhx_space *space = entry_at(self, index, &number, &entry);
  return space == NULL ? NULL : made_of(space, &entry, kind);
}

MHX_WHOLE_OBJECT(sorted_at, (PyObject *self, PyObject *const *args, Py_ssize_t nargs), (self, args, nargs))

/* ---- changing ---- */

/* _pop_at(index): making the pair may run Python code, which may change the dict. */
static PyObject *sorted_pop_at(PyObject *self, PyObject *at) {
  uint64_t number;
  mh_entry entry;
  Py_ssize_t index = PyNumber_AsSsize_t(at, PyExc_IndexError);
  if (index == -1 && PyErr_Occurred()) return NULL;
  mhx_space *space = entry_at(self, index, &number, &entry);
  PyObject *pair = space == NULL ? NULL : made_of(space, &entry, 2);
  space = pair == NULL ? NULL : mhx_twin_space((mhx_twin *)self);
  mheap_err failed = space == NULL ? MHEAP_OK : mh_sorted_delete_index(tree_of(self), number, &entry);
  if (failed == MHEAP_ERR_NOT_FOUND) PyErr_SetString(PyExc_RuntimeError, "dictionary changed during popitem");
  else if (failed) mhx_failed(space);
  if (space == NULL || failed) Py_CLEAR(pair);
  return pair;
}

/* ---- iterating ---- */

/* It notices changes as its twin's handle counts them. */
typedef struct sorted_iter {
  PyObject_HEAD
  mhx_twin *twin;  /* NULL: exhausted */
  mh_spot spot;
  uint64_t left;   /* entries to come, at most */
  int kind;
  bool reversed;
  bool kept;       /* it keeps the commit that its twin's heap shows, to its end */
  uint64_t undone; /* when it was made: how often the heap was rolled back */
  uint64_t changes;
} sorted_iter;

static void keep_no_more(sorted_iter *iter) {
  if (iter->kept && iter->twin != NULL) mhx_release_commit(iter->twin);
  iter->kept = false;
}

static PyObject *exhausted(sorted_iter *iter) {
  keep_no_more(iter);
  Py_CLEAR(iter->twin);
  return NULL;
}

static void iter_dealloc(PyObject *self) {
  PyTypeObject *type = Py_TYPE(self);
  keep_no_more((sorted_iter *)self);
  Py_XDECREF(((sorted_iter *)self)->twin);
  type->tp_free(self);
  Py_DECREF(type);
}

/* Entries `from` to `to`, which are counted from the start, as far as there are so many. */
static PyObject *iter_new(PyObject *self, int kind, bool reversed, uint64_t from, uint64_t to) {
  mhx_twin *twin = (mhx_twin *)self;
  PyTypeObject *of = (PyTypeObject *)mhx_state_of_heap(twin->heap_obj)->object_types[MHX_SORTED_ITER];
  int kept = mhx_keep_commit(twin);
  sorted_iter *iter = kept < 0 ? NULL : PyObject_New(sorted_iter, of);
  if (iter == NULL && kept > 0) mhx_release_commit(twin);
  if (iter == NULL) return NULL;
  iter->twin = (mhx_twin *)Py_NewRef(self);
  iter->kept = kept > 0;
  iter->kind = kind;
  iter->reversed = reversed;
  mhx_space *space = mhx_twin_space(twin);
  uint64_t length;
  mheap_err failed = space == NULL ? MHEAP_OK : mh_sorted_length(&twin->of.sorted, &length);
  if (space != NULL && !failed) {
    if (to > length) to = length;
    iter->left = to > from ? to - from : 0;
    failed = mh_sorted_seek_index(&twin->of.sorted, reversed ? to : from, &iter->spot);
  }
  if (failed) mhx_failed(space), space = NULL;
  if (space == NULL) return Py_DECREF(iter), NULL;
  iter->undone = space->undone;
  iter->changes = twin->of.sorted.changes;
  return (PyObject *)iter;
}

static PyObject *iter_next(PyObject *self) {
  sorted_iter *iter = (sorted_iter *)self;
  mh_entry entry = {0};
  mhx_space *space = iter->twin == NULL ? NULL : mhx_twin_space(iter->twin);
  if (space == NULL) return exhausted(iter);
  mh_sorted *tree = &iter->twin->of.sorted;
  if (iter->changes != tree->changes || iter->undone != space->undone) {
    PyErr_SetString(PyExc_RuntimeError, "sorted dict changed during iteration");
    return exhausted(iter);
  }
  mh_container *there;
  mheap_err failed = mh_container_at(&space->core, tree->offset, MH_TYPE_SORTED, tree->birth, &there);
  if (!failed && iter->left == 0) return exhausted(iter);
  iter->left--;
  if (!failed)
    failed = iter->reversed ? mh_sorted_previous(tree, &iter->spot, &entry)
                            : mh_sorted_next(tree, &iter->spot, &entry);
  if (failed && failed != MHEAP_ERR_NOT_FOUND) mhx_failed(space);
  return failed ? exhausted(iter) : made_of(space, &entry, iter->kind);
}

/* What is kept is torn only by a writer that overran it. */
static PyObject *whole_iter_next(PyObject *self) {
  sorted_iter *iter = (sorted_iter *)self;
  if (!iter->kept) return iter_next(self);
  PyObject *twin = Py_NewRef((PyObject *)iter->twin), *item = iter_next(self);
  if (mhx_torn(twin) != 0) Py_CLEAR(item);
  Py_DECREF(twin);
  return item;
}

static PyObject *iter_hint(PyObject *self, PyObject *unused) {
  (void)unused;
  sorted_iter *iter = (sorted_iter *)self;
  return PyLong_FromUnsignedLongLong(iter->twin == NULL ? 0 : iter->left);
}

/* Another at the same place. The first keeps the commit for it. */
static PyObject *again(const sorted_iter *iter) {
  sorted_iter *copy = PyObject_New(sorted_iter, Py_TYPE(iter));
  if (copy == NULL) return NULL;
  PyObject head = *(PyObject *)copy;
  *copy = *iter;
  *(PyObject *)copy = head;
  copy->kept = false;
  Py_XINCREF(copy->twin);
  return (PyObject *)copy;
}

/* iter(list of the rest), as the iterators of plain containers. */
static PyObject *iter_reduce(PyObject *self, PyObject *unused) {
  (void)unused;
  PyObject *copy = again((sorted_iter *)self), *rest = copy == NULL ? NULL : PySequence_List(copy);
  Py_XDECREF(copy);
  if (rest == NULL) return NULL;
  return Py_BuildValue("O(N)", PyDict_GetItemString(PyEval_GetBuiltins(), "iter"), rest);
}

static PyObject *iterator(PyObject *self, int kind, bool reversed) {
  return iter_new(self, kind, reversed, 0, UINT64_MAX);
}

static PyObject *sorted_iter_keys(PyObject *self) { return iterator(self, 0, false); }

static PyObject *sorted_reversed(PyObject *self, PyObject *unused) {
  (void)unused;
  return iterator(self, 0, true);
}

/* _iterate(kind, reversed), or of the entries start to stop: _iterate(kind, reversed, start, stop) */
static PyObject *sorted_iterate(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
  if (nargs != 2 && nargs != 4) return mhx_arity("_iterate", 4, nargs);
  long kind = PyLong_AsLong(args[0]);
  if (kind == -1 && PyErr_Occurred()) return NULL;
  if (nargs == 2) return iterator(self, (int)kind, args[1] == Py_True);
  Py_ssize_t start = PyLong_AsSsize_t(args[2]), stop = PyLong_AsSsize_t(args[3]);
  if (PyErr_Occurred()) return NULL;
  return iter_new(self, (int)kind, args[1] == Py_True, (uint64_t)start, (uint64_t)stop);
}

/* ---- the types ---- */

#define FAST(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef iter_methods[] = {
    {"__length_hint__", iter_hint, METH_NOARGS, NULL},
    {"__reduce__", iter_reduce, METH_NOARGS, NULL},
    {0},
};

static PyType_Slot iter_slots[] = {
    {Py_tp_dealloc, iter_dealloc},    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, whole_iter_next}, {Py_tp_methods, iter_methods},
    {0},
};

PyType_Spec mhx_sorted_iter_spec = {
    .name = "mheap._core.SortedIterator",
    .basicsize = sizeof(sorted_iter),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = iter_slots,
};

static PyMethodDef sorted_methods[] = {
    {"bisect_left", bisect_left, METH_O, "bisect_left($self, key, /)\n--\n\nHow many keys are less."},
    {"bisect_right", bisect_right, METH_O,
     "bisect_right($self, key, /)\n--\n\nHow many keys are not more."},
    {"bisect", bisect_right, METH_O, "bisect($self, key, /)\n--\n\nHow many keys are not more."},
    {"_at", FAST(whole_sorted_at), METH_FASTCALL, NULL},
    {"_pop_at", sorted_pop_at, METH_O, NULL},
    {"_iterate", FAST(sorted_iterate), METH_FASTCALL, NULL},
    {"__reversed__", sorted_reversed, METH_NOARGS, NULL},
    {0},
};

static PyType_Slot sorted_slots[] = {
    {Py_tp_doc, "What of PersistentSortedDict is written in C."},
    {Py_tp_hash, PyObject_HashNotImplemented},
    {Py_tp_methods, sorted_methods},
    {Py_tp_iter, sorted_iter_keys},
    {0},
};

PyType_Spec mhx_sorted_twin_spec = {
    .name = "mheap._core.SortedTwin",
    .basicsize = sizeof(mhx_twin),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = sorted_slots,
};
