/* objects_list.c: see objects.h. ListTwin: the hot half of mheap.PersistentList; the rest is in
   mheap/objects.py. */
#include "objects.h"

#include <structmember.h>

static PyObject *out_of_range(const char *what) {
  PyErr_SetString(PyExc_IndexError, what);
  return NULL;
}

/* Stores the values at [from, from + removed), whose bounds are adjusted to the list as it is
   by now: making the values may have run Python code. */
static int splice(mhx_twin *twin, mhx_space *space, uint64_t from, uint64_t removed, mhx_words *words) {
  mh_items items;
  mheap_err failed = mh_list_items(&twin->of.list, &items);
  if (from > items.count) from = items.count;
  if (removed > items.count - from) removed = items.count - from;
  if (!failed) failed = mh_list_splice(&twin->of.list, from, removed, words->words, words->count);
  return failed ? mhx_words_failed(space, words) : (mhx_words_taken(words), 0);
}

static int splice_iterable(mhx_twin *twin, uint64_t from, uint64_t removed, PyObject *iterable) {
  mhx_words words;
  PyObject *list = PySequence_List(iterable);
  mhx_space *space = list == NULL ? NULL : mhx_twin_space(twin);
  int failed = space == NULL ? -1 : mhx_values(space, list, &words);
  if (failed == 0) failed = splice(twin, space, from, removed, &words);
  Py_XDECREF(list); /* not before: what goes with it may run Python code */
  return failed;
}

/* ---- reading ---- */

static Py_ssize_t list_length(PyObject *self) { return mhx_items_length(self); }

/* The list is made first: that may run finalizers, which may change this one. */
static PyObject *slice_of(PyObject *self, PyObject *slice) {
  Py_ssize_t start, stop, step, length = list_length(self);
  if (length < 0 || PySlice_Unpack(slice, &start, &stop, &step) < 0) return NULL;
  Py_ssize_t count = PySlice_AdjustIndices(length, &start, &stop, step);
  PyObject *list = PyList_New(count);
  mh_items items;
  mhx_space *space = list == NULL ? NULL : mhx_items_open(self, &items);
  if (space != NULL && items.count != (uint64_t)length) {
    PyErr_SetString(PyExc_RuntimeError, "list changed size during slicing");
    space = NULL;
  }
  for (Py_ssize_t i = 0; space != NULL && i < count; i++) {
    PyObject *item = mhx_from_word(space, items.words[start + i * step]);
    if (item == NULL) space = NULL;
    else PyList_SET_ITEM(list, i, item);
  }
  if (space == NULL) Py_CLEAR(list);
  return list;
}

static PyObject *list_item(PyObject *self, Py_ssize_t index) {
  return mhx_items_get(self, index, "list index out of range");
}

static PyObject *list_subscript(PyObject *self, PyObject *index) {
  if (PySlice_Check(index)) return slice_of(self, index);
  if (!PyIndex_Check(index))
    return PyErr_Format(PyExc_TypeError, "list indices must be integers or slices, not %.200s",
                        Py_TYPE(index)->tp_name);
  Py_ssize_t at = PyNumber_AsSsize_t(index, PyExc_IndexError);
  if (at == -1 && PyErr_Occurred()) return NULL;
  if (at >= 0) return list_item(self, at);
  Py_ssize_t length = list_length(self);
  return length < 0 ? NULL : list_item(self, at + length);
}

/* Comparing may run Python code, which may change the list: it is opened for each item. */
static int list_contains(PyObject *self, PyObject *wanted) {
  mh_items items;
  for (uint64_t i = 0;; i++) {
    mhx_space *space = mhx_items_open(self, &items);
    if (space == NULL) return -1;
    if (i >= items.count) return 0;
    PyObject *item = mhx_from_word(space, items.words[i]);
    int equal = item == NULL ? -1 : PyObject_RichCompareBool(item, wanted, Py_EQ);
    Py_XDECREF(item);
    if (equal != 0) return equal;
  }
}

/* An item is one read; a slice, or a search, is several. */
static PyObject *kept_subscript(PyObject *self, PyObject *index) {
  int kept = PySlice_Check(index) ? mhx_keep_commit((mhx_twin *)self) : 0;
  PyObject *result = kept < 0 ? NULL : list_subscript(self, index);
  if (kept > 0) mhx_release_commit((mhx_twin *)self);
  return result;
}

static int kept_contains(PyObject *self, PyObject *wanted) {
  int kept = mhx_keep_commit((mhx_twin *)self), result = kept < 0 ? -1 : list_contains(self, wanted);
  if (kept > 0) mhx_release_commit((mhx_twin *)self);
  return result;
}

MHX_WHOLE_NUMBER(Py_ssize_t, list_length, (PyObject *self), (self))
MHX_WHOLE_OBJECT(list_item, (PyObject *self, Py_ssize_t index), (self, index))
MHX_WHOLE_OBJECT(kept_subscript, (PyObject *self, PyObject *index), (self, index))
MHX_WHOLE_NUMBER(int, kept_contains, (PyObject *self, PyObject *wanted), (self, wanted))

/* ---- changing ---- */

#define BEYOND "list assignment index out of range"

static int assign_slice(mhx_twin *twin, PyObject *slice, PyObject *value) {
  Py_ssize_t start, stop, step, length;
  if (PySlice_Unpack(slice, &start, &stop, &step) < 0) return -1;
  length = list_length((PyObject *)twin);
  if (length < 0) return -1;
  if (step != 1) {
    PyObject *done = PyObject_CallMethod((PyObject *)twin, "_assign_stepped", "OO", slice,
                                         value ? value : Py_None);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
  }
  Py_ssize_t count = PySlice_AdjustIndices(length, &start, &stop, 1);
  if (value == NULL) return mhx_items_delete(twin, (uint64_t)start, (uint64_t)count, BEYOND);
  return splice_iterable(twin, (uint64_t)start, (uint64_t)count, value);
}

static int list_ass_subscript(PyObject *self, PyObject *index, PyObject *value) {
  mhx_twin *twin = (mhx_twin *)self;
  if (PySlice_Check(index)) return assign_slice(twin, index, value);
  if (!PyIndex_Check(index)) {
    PyErr_Format(PyExc_TypeError, "list indices must be integers or slices, not %.200s",
                 Py_TYPE(index)->tp_name);
    return -1;
  }
  Py_ssize_t at = PyNumber_AsSsize_t(index, PyExc_IndexError), length = list_length(self);
  if (length < 0 || (at == -1 && PyErr_Occurred())) return -1;
  if (at < 0) at += length;
  if (at < 0 || at >= length) return out_of_range(BEYOND), -1;
  if (value == NULL) return mhx_items_delete(twin, (uint64_t)at, 1, BEYOND);
  return mhx_items_set(twin, (uint64_t)at, value, BEYOND);
}

static PyObject *insert_at(mhx_twin *twin, uint64_t index, PyObject *value) {
  mhx_space *space = mhx_twin_space(twin);
  mhx_words words;
  if (space == NULL || mhx_value(space, value, &words) < 0) return NULL;
  if (splice(twin, space, index, 0, &words) < 0) return NULL;
  Py_RETURN_NONE;
}

static PyObject *list_append(PyObject *self, PyObject *value) {
  mhx_twin *twin = (mhx_twin *)self;
  mhx_space *space = mhx_twin_space(twin);
  mhx_words words;
  if (space != NULL && mhx_inline_int(value, &words.one) &&
      mh_ends_push(&twin->of.list, MH_RIGHT, words.one))
    Py_RETURN_NONE;
  if (space == NULL || mhx_value(space, value, &words) < 0) return NULL;
  if (mh_list_append(&twin->of.list, words.words[0])) return mhx_words_failed(space, &words), NULL;
  mhx_words_taken(&words);
  Py_RETURN_NONE;
}

static PyObject *list_insert(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
  if (nargs != 2) return mhx_arity("insert", 2, nargs);
  Py_ssize_t at = PyNumber_AsSsize_t(args[0], NULL);
  if (at == -1 && PyErr_Occurred()) return NULL;
  Py_ssize_t length = list_length(self);
  if (length < 0) return NULL;
  if (at < 0) at = at + length < 0 ? 0 : at + length;
  return insert_at((mhx_twin *)self, (uint64_t)(at > length ? length : at), args[1]);
}

static PyObject *list_extend(PyObject *self, PyObject *iterable) {
  if (splice_iterable((mhx_twin *)self, UINT64_MAX, 0, iterable) < 0) return NULL;
  Py_RETURN_NONE;
}

static PyObject *list_pop(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
  if (nargs > 1) return mhx_arity("pop", 1, nargs);
  PyObject *last;
  if (nargs == 0 && mhx_items_pop((mhx_twin *)self, MH_RIGHT, &last)) return last;
  Py_ssize_t at = nargs == 0 ? -1 : PyNumber_AsSsize_t(args[0], PyExc_IndexError);
  if (nargs == 1 && at == -1 && PyErr_Occurred()) return NULL;
  mh_items items;
  mhx_space *space = mhx_items_open(self, &items);
  if (space == NULL) return NULL;
  Py_ssize_t length = (Py_ssize_t)items.count;
  if (at < 0) at += length;
  bool is_there = at >= 0 && at < length;
  if (!is_there && mh_space_writable(&space->core)) return mhx_failed(space), NULL;
  if (!is_there) return out_of_range(length == 0 ? "pop from empty list" : "pop index out of range");
  PyObject *item = mhx_from_word(space, items.words[at]);
  if (item == NULL || mhx_items_delete((mhx_twin *)self, (uint64_t)at, 1, BEYOND) == 0) return item;
  Py_DECREF(item);
  return NULL;
}

static PyObject *list_iter(PyObject *self) { return mhx_list_iterator((mhx_twin *)self, false); }

static PyObject *list_reversed(PyObject *self, PyObject *unused) {
  (void)unused;
  return mhx_list_iterator((mhx_twin *)self, true);
}

/* ---- the type ---- */

#define FAST(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef list_methods[] = {
    {"append", list_append, METH_O,
     "append($self, object, /)\n--\n\nStores a copy of the object at the end."},
    {"extend", list_extend, METH_O,
     "extend($self, iterable, /)\n--\n\nStores copies of all its items at the end."},
    {"insert", FAST(list_insert), METH_FASTCALL,
     "insert($self, index, object, /)\n--\n\nStores a copy before index."},
    {"pop", FAST(list_pop), METH_FASTCALL, "pop($self, index=-1, /)\n--\n\nRemoves the item and returns it."},
    {"clear", mhx_items_clear, METH_NOARGS, "clear($self, /)\n--\n\nRemoves all items."},
    {"_permute", mhx_items_permute, METH_O, NULL},
    {"_most_text", mhx_twin_most_text, METH_NOARGS, NULL},
    {"__reversed__", list_reversed, METH_NOARGS, NULL},
    {0},
};

static PyMemberDef list_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(mhx_twin, weakrefs), READONLY, NULL},
    {0},
};

static PyType_Slot list_slots[] = {
    {Py_tp_doc, "What of PersistentList is written in C."},
    {Py_tp_new, mhx_twin_new},
    {Py_tp_dealloc, mhx_twin_dealloc},
    {Py_tp_hash, PyObject_HashNotImplemented},
    {Py_tp_methods, list_methods},
    {Py_tp_members, list_members},
    {Py_tp_iter, list_iter},
    {Py_sq_length, whole_list_length},
    {Py_sq_item, whole_list_item},
    {Py_sq_contains, whole_kept_contains},
    {Py_mp_length, whole_list_length},
    {Py_mp_subscript, whole_kept_subscript},
    {Py_mp_ass_subscript, list_ass_subscript},
    {0},
};

PyType_Spec mhx_list_twin_spec = {
    .name = "mheap._core.ListTwin",
    .basicsize = sizeof(mhx_twin),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = list_slots,
};
