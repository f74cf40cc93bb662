/* objects_deque.c: see objects.h. DequeTwin: the hot half of mheap.PersistentDeque; the rest is in
   mheap/objects.py. What changes a deque counts that in its twin, for iterators to notice. */
#include "objects.h"

#include <structmember.h>

static PyObject *index_error(const char *what) {
  PyErr_SetString(PyExc_IndexError, what);
  return NULL;
}

static int changed(mhx_twin *twin) {
  twin->changes++;
  return 0;
}

/* ---- reading ---- */

#define BEYOND "deque index out of range"

static Py_ssize_t deque_length(PyObject *self) { return mhx_items_length(self); }
static PyObject *deque_item(PyObject *self, Py_ssize_t index) { return mhx_items_get(self, index, BEYOND); }

/* 0 and *at, perhaps negative; -1: an exception. */
static int index_of(PyObject *self, PyObject *index, Py_ssize_t *at) {
  if (!PyIndex_Check(index)) {
    PyErr_Format(PyExc_TypeError, "sequence index must be integer, not '%.200s'", Py_TYPE(index)->tp_name);
    return -1;
  }
  *at = PyNumber_AsSsize_t(index, PyExc_IndexError);
  if (*at == -1 && PyErr_Occurred()) return -1;
  if (*at >= 0) return 0;
  Py_ssize_t length = deque_length(self);
  *at += length;
  return length < 0 ? -1 : 0;
}

static PyObject *deque_subscript(PyObject *self, PyObject *index) {
  Py_ssize_t at;
  return index_of(self, index, &at) < 0 ? NULL : deque_item(self, at);
}

/* Comparing may run Python code: the iterator notices what that changes. */
static int deque_contains(PyObject *self, PyObject *wanted) {
  PyObject *iter = mhx_deque_iterator((mhx_twin *)self, false), *item;
  int equal = iter == NULL ? -1 : 0;
  while (equal == 0 && (item = PyIter_Next(iter)) != NULL) {
    equal = PyObject_RichCompareBool(item, wanted, Py_EQ);
    Py_DECREF(item);
  }
  Py_XDECREF(iter);
  return equal == 0 && PyErr_Occurred() ? -1 : equal;
}

static PyObject *deque_maxlen(PyObject *self, void *unused) {
  (void)unused;
  mhx_twin *twin = (mhx_twin *)self;
  mhx_space *space = mhx_twin_space(twin);
  uint64_t limit;
  if (space == NULL) return NULL;
  if (mh_deque_limit(&twin->of.list, &limit)) return mhx_failed(space), NULL;
  return limit == 0 ? Py_NewRef(Py_None) : PyLong_FromUnsignedLongLong(limit - 1);
}

MHX_WHOLE_NUMBER(Py_ssize_t, deque_length, (PyObject *self), (self))
MHX_WHOLE_OBJECT(deque_item, (PyObject *self, Py_ssize_t index), (self, index))
MHX_WHOLE_OBJECT(deque_subscript, (PyObject *self, PyObject *index), (self, index))
MHX_WHOLE_OBJECT(deque_maxlen, (PyObject *self, void *unused), (self, unused))

static PyObject *deque_iter(PyObject *self) { return mhx_deque_iterator((mhx_twin *)self, false); }

static PyObject *deque_reversed(PyObject *self, PyObject *unused) {
  (void)unused;
  return mhx_deque_iterator((mhx_twin *)self, true);
}

/* ---- adding ---- */

/* Words made from values; no more than the limit allows, unless that is none. */
static int push(mhx_twin *twin, mhx_space *space, mh_end end, mhx_words *words) {
  mheap_err failed = mh_deque_push(&twin->of.list, end, words->words, words->count);
  if (failed && failed != MHEAP_ERR_NOT_FOUND) return mhx_words_failed(space, words);
  if (failed) mhx_words_refused(space, words);
  else mhx_words_taken(words);
  return changed(twin);
}

static PyObject *push_one(PyObject *self, PyObject *value, mh_end end) {
  mhx_twin *twin = (mhx_twin *)self;
  mhx_space *space = mhx_twin_space(twin);
  mhx_words words;
  if (space != NULL && mhx_inline_int(value, &words.one) && mh_deque_has_no_limit(&twin->of.list) &&
      mh_ends_push(&twin->of.list, end, words.one)) {
    changed(twin);
    Py_RETURN_NONE;
  }
  if (space == NULL || mhx_value(space, value, &words) < 0) return NULL;
  if (push(twin, space, end, &words) < 0) return NULL;
  Py_RETURN_NONE;
}

static PyObject *deque_append(PyObject *self, PyObject *value) { return push_one(self, value, MH_RIGHT); }
static PyObject *deque_appendleft(PyObject *self, PyObject *value) { return push_one(self, value, MH_LEFT); }

/* Leaves of the list what the deque has room for, in the order in which it will stand. */
static int cut(PyObject *list, uint64_t limit, mh_end end) {
  uint64_t count = (uint64_t)PyList_GET_SIZE(list);
  if (limit != 0 && count >= limit && PyList_SetSlice(list, 0, (Py_ssize_t)(count - (limit - 1)), NULL) < 0)
    return -1;
  return end == MH_LEFT ? PyList_Reverse(list) : 0;
}

/* All of them in one operation. */
static PyObject *push_all(PyObject *self, PyObject *iterable, mh_end end) {
  mhx_twin *twin = (mhx_twin *)self;
  mhx_words words;
  uint64_t limit;
  PyObject *list = PySequence_List(iterable);
  mhx_space *space = list == NULL ? NULL : mhx_twin_space(twin);
  int failed = space == NULL ? -1 : 0;
  if (!failed && mh_deque_limit(&twin->of.list, &limit)) failed = mhx_failed(space);
  if (!failed) failed = cut(list, limit, end);
  space = failed ? NULL : mhx_twin_space(twin); /* what was cut off may have run Python code */
  failed = space == NULL ? -1 : mhx_values(space, list, &words);
  if (!failed) failed = push(twin, space, end, &words);
  Py_XDECREF(list); /* not before: what goes with it may run Python code */
  if (failed) return NULL;
  Py_RETURN_NONE;
}

static PyObject *deque_extend(PyObject *self, PyObject *items) { return push_all(self, items, MH_RIGHT); }
static PyObject *deque_extendleft(PyObject *self, PyObject *items) { return push_all(self, items, MH_LEFT); }

/* Where to insert, as of now: making the value may have run Python code. */
static int insert(mhx_twin *twin, mhx_space *space, Py_ssize_t at, mhx_words *words) {
  mh_items items;
  mheap_err failed = mh_list_items(&twin->of.list, &items);
  Py_ssize_t count = (Py_ssize_t)items.count;
  if (at < 0) at = at + count < 0 ? 0 : at + count;
  if (failed) return mhx_words_failed(space, words);
  if (at == 0 || at >= count) return push(twin, space, at == 0 ? MH_LEFT : MH_RIGHT, words);
  if (mh_list_splice(&twin->of.list, (uint64_t)at, 0, words->words, 1)) return mhx_words_failed(space, words);
  mhx_words_taken(words);
  return changed(twin);
}

static int refuse_if_full(mhx_twin *twin, mhx_space *space) {
  mh_items items;
  uint64_t limit;
  mheap_err failed = mh_list_items(&twin->of.list, &items);
  if (!failed) failed = mh_deque_limit(&twin->of.list, &limit);
  if (failed) return mhx_failed(space);
  if (limit == 0 || items.count < limit - 1) return 0;
  return index_error("deque already at its maximum size"), -1;
}

static PyObject *deque_insert(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
  if (nargs != 2) return mhx_arity("insert", 2, nargs);
  mhx_twin *twin = (mhx_twin *)self;
  mhx_words words;
  Py_ssize_t at = PyNumber_AsSsize_t(args[0], PyExc_OverflowError);
  if (at == -1 && PyErr_Occurred()) return NULL;
  mhx_space *space = mhx_twin_space(twin);
  if (space == NULL || mhx_value(space, args[1], &words) < 0) return NULL;
  if (refuse_if_full(twin, space) < 0) return mhx_words_refused(space, &words), NULL;
  if (insert(twin, space, at, &words) < 0) return NULL;
  Py_RETURN_NONE;
}

/* ---- replacing and removing ---- */

static int deque_ass_subscript(PyObject *self, PyObject *index, PyObject *value) {
  Py_ssize_t at;
  if (index_of(self, index, &at) < 0) return -1;
  mhx_twin *twin = (mhx_twin *)self;
  if (value == NULL) return mhx_items_delete(twin, (uint64_t)at, 1, BEYOND);
  return mhx_items_set(twin, (uint64_t)at, value, BEYOND);
}

/* Making the object may run finalizers, which may change the deque: then it is another that goes. */
static PyObject *pop(PyObject *self, mh_end end) {
  mhx_twin *twin = (mhx_twin *)self;
  PyObject *last;
  if (mhx_items_pop(twin, end, &last)) return last;
  for (;;) {
    mh_items items;
    mhx_space *space = mhx_items_open(self, &items);
    if (space == NULL) return NULL;
    if (items.count == 0 && mh_space_writable(&space->core)) return mhx_failed(space), NULL;
    if (items.count == 0) return index_error("pop from an empty deque");
    uint64_t at = end == MH_LEFT ? 0 : items.count - 1, changes = twin->changes;
    PyObject *item = mhx_from_word(space, items.words[at]);
    if (item == NULL || (changes == twin->changes && mhx_items_delete(twin, at, 1, BEYOND) == 0)) return item;
    Py_DECREF(item);
    if (PyErr_Occurred()) return NULL;
  }
}

static PyObject *deque_pop(PyObject *self, PyObject *unused) { return (void)unused, pop(self, MH_RIGHT); }
static PyObject *deque_popleft(PyObject *self, PyObject *unused) { return (void)unused, pop(self, MH_LEFT); }

/* ---- moving ---- */

static PyObject *deque_rotate(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
  if (nargs > 1) return mhx_arity("rotate", 1, nargs);
  mhx_twin *twin = (mhx_twin *)self;
  Py_ssize_t steps = nargs == 0 ? 1 : PyNumber_AsSsize_t(args[0], PyExc_OverflowError);
  if (steps == -1 && PyErr_Occurred()) return NULL;
  Py_ssize_t length = deque_length(self);
  mhx_space *space = length < 0 ? NULL : mhx_twin_space(twin);
  if (space == NULL) return NULL;
  if (length > 0) steps = (steps % length + length) % length;
  if (mh_deque_rotate(&twin->of.list, (uint64_t)steps)) return mhx_failed(space), NULL;
  if (length > 1) changed(twin);
  Py_RETURN_NONE;
}

/* ---- the type ---- */

#define FAST(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef deque_methods[] = {
    {"append", deque_append, METH_O, "append($self, object, /)\n--\n\nStores a copy at the right end."},
    {"appendleft", deque_appendleft, METH_O,
     "appendleft($self, object, /)\n--\n\nStores a copy at the left end."},
    {"extend", deque_extend, METH_O,
     "extend($self, iterable, /)\n--\n\nStores copies of all its items at the right end."},
    {"extendleft", deque_extendleft, METH_O,
     "extendleft($self, iterable, /)\n--\n\nStores copies of its items at the left end, one by one."},
    {"insert", FAST(deque_insert), METH_FASTCALL,
     "insert($self, index, object, /)\n--\n\nStores a copy before index."},
    {"pop", deque_pop, METH_NOARGS, "pop($self, /)\n--\n\nRemoves the rightmost item and returns it."},
    {"popleft", deque_popleft, METH_NOARGS,
     "popleft($self, /)\n--\n\nRemoves the leftmost item and returns it."},
    {"rotate", FAST(deque_rotate), METH_FASTCALL,
     "rotate($self, n=1, /)\n--\n\nMoves the last n items to the left end; if negative, back."},
    {"clear", mhx_items_clear, METH_NOARGS, "clear($self, /)\n--\n\nRemoves all items."},
    {"_permute", mhx_items_permute, METH_O, NULL},
    {"_most_text", mhx_twin_most_text, METH_NOARGS, NULL},
    {"__reversed__", deque_reversed, METH_NOARGS, NULL},
    {0},
};

static PyGetSetDef deque_getset[] = {
    {"maxlen", whole_deque_maxlen, NULL, "The most items it may have; None: any number.", NULL},
    {0},
};

static PyMemberDef deque_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(mhx_twin, weakrefs), READONLY, NULL},
    {0},
};

static PyType_Slot deque_slots[] = {
    {Py_tp_doc, "What of PersistentDeque is written in C."},
    {Py_tp_new, mhx_twin_new},
    {Py_tp_dealloc, mhx_twin_dealloc},
    {Py_tp_hash, PyObject_HashNotImplemented},
    {Py_tp_methods, deque_methods},
    {Py_tp_getset, deque_getset},
    {Py_tp_members, deque_members},
    {Py_tp_iter, deque_iter},
    {Py_sq_length, whole_deque_length},
    {Py_sq_item, whole_deque_item},
    {Py_sq_contains, deque_contains},
    {Py_mp_length, whole_deque_length},
    {Py_mp_subscript, whole_deque_subscript},
    {Py_mp_ass_subscript, deque_ass_subscript},
    {0},
};

PyType_Spec mhx_deque_twin_spec = {
    .name = "mheap._core.DequeTwin",
    .basicsize = sizeof(mhx_twin),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = deque_slots,
};
