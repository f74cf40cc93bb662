/* objects_iter.c: see objects.h. The iterators of all containers, which hold their twin.

   They notice changes by those that the twin counts, that of a dict or set also by its table and the
   counts in it. */
#include "objects.h"

typedef struct mhx_iter {
  PyObject_HEAD
  mhx_twin *twin;  /* NULL: exhausted */
  uint64_t index;  /* of the next item; backwards: one more */
  int kind;        /* of a dict's: 0 keys, 1 values, 2 items */
  bool reversed;
  bool kept;       /* it keeps the commit that its twin's heap shows, to its end */
  uint64_t part;   /* of a dict, when the iterator was made */
  uint64_t undone; /* the same: how often the heap was rolled back */
  mh_table_counts counts;
  uint64_t changes; /* the same: what the twin counted */
  PyObject *item;   /* of a dict's items: the pair given last, for the next if nobody else has it by then */
} mhx_iter;

static PyObject *iter_new(mhx_twin *twin, int type, int kind, bool reversed) {
  PyTypeObject *of = (PyTypeObject *)mhx_state_of_heap(twin->heap_obj)->object_types[type];
  int kept = mhx_keep_commit(twin);
  mhx_iter *iter = kept < 0 ? NULL : PyObject_New(mhx_iter, of);
  if (iter == NULL && kept > 0) mhx_release_commit(twin);
  if (iter == NULL) return NULL;
  iter->kept = kept > 0;
  iter->twin = (mhx_twin *)Py_NewRef((PyObject *)twin);
  iter->kind = kind;
  iter->reversed = reversed;
  iter->index = 0;
  iter->item = NULL;
  return (PyObject *)iter;
}

static void keep_no_more(mhx_iter *iter) {
  if (iter->kept && iter->twin != NULL) mhx_release_commit(iter->twin);
  iter->kept = false;
}

static void iter_dealloc(PyObject *self) {
  PyTypeObject *type = Py_TYPE(self);
  keep_no_more((mhx_iter *)self);
  Py_XDECREF(((mhx_iter *)self)->twin);
  Py_XDECREF(((mhx_iter *)self)->item);
  type->tp_free(self);
  Py_DECREF(type);
}

static PyObject *exhausted(mhx_iter *iter) {
  keep_no_more(iter);
  Py_CLEAR(iter->item);
  Py_CLEAR(iter->twin);
  return NULL;
}

/* ---- dicts ---- */

static mheap_err dict_state(mhx_twin *twin, const mh_table **table, mh_table_counts *counts) {
  *counts = (mh_table_counts){.dying = UINT32_MAX};
  mheap_err failed = mh_dict_table(&twin->of.dict, table);
  return failed || *table == NULL ? failed : mh_table_read(twin->of.dict.space, *table, counts);
}

PyObject *mhx_dict_iterator(mhx_twin *twin, int kind, bool reversed) {
  const mh_table *table;
  mh_table_counts counts;
  mhx_iter *iter = (mhx_iter *)iter_new(twin, MHX_DICT_ITER, kind, reversed);
  mhx_space *space = iter == NULL ? NULL : mhx_twin_space(twin);
  if (space != NULL && dict_state(twin, &table, &counts)) mhx_failed(space), space = NULL;
  if (space == NULL) return Py_XDECREF(iter), NULL;
  iter->part = table == NULL ? 0 : table->offset;
  iter->counts = counts;
  iter->changes = twin->changes;
  iter->undone = space->undone;
  iter->index = reversed ? counts.used : 0;
  return (PyObject *)iter;
}

static int has_changed(const mhx_iter *iter) {
  bool is_set = iter->twin->of.dict.type == MH_TYPE_SET;
  PyErr_Format(PyExc_RuntimeError, "%s changed during iteration", is_set ? "set" : "dictionary");
  return -1;
}

/* Nothing changed, and that is told at a glance. */
static inline bool is_as_it_was(const mhx_iter *iter, const mhx_space *space) {
  const mhx_twin *twin = iter->twin;
  const mh_dict *dict = &twin->of.dict;
  if (iter->changes != twin->changes || iter->undone != space->undone || iter->part != dict->part ||
      !mh_dict_is_cached(dict))
    return false;
  uint64_t counts = iter->counts.used | (uint64_t)iter->counts.live << 32;
  return mh_read(&dict->table.block->counts) == counts && mh_read(&dict->table.block->pending) == 0;
}

/* Of the table that the twin has by now, of which nothing changed. */
static inline int next_of(mhx_iter *iter, mh_entry *entry) {
  const mh_table *table = &iter->twin->of.dict.table;
  while (iter->reversed ? iter->index > 0 : iter->index < iter->counts.used) {
    uint32_t i = (uint32_t)(iter->reversed ? --iter->index : iter->index++);
    if (!mh_table_is_live(table, &iter->counts, i)) continue;
    *entry = table->entries[i];
    return 1;
  }
  return 0;
}

/* The next entry. 1: *entry; 0: there is none; -1: an exception. */
static int next_entry(mhx_iter *iter, mhx_space **space, mh_entry *entry) {
  const mh_table *table;
  mh_table_counts counts;
  *space = mhx_twin_space(iter->twin);
  if (*space == NULL) return -1;
  if (__builtin_expect(is_as_it_was(iter, *space), true)) return next_of(iter, entry);
  if (dict_state(iter->twin, &table, &counts)) return mhx_failed(*space);
  if ((table == NULL ? 0 : table->offset) != iter->part || counts.used != iter->counts.used ||
      counts.live != iter->counts.live || iter->changes != iter->twin->changes ||
      iter->undone != (*space)->undone)
    return has_changed(iter);
  return table == NULL ? 0 : next_of(iter, entry);
}

/* The pair of before, of which only the iterator knows, with other items; as dict's own iterators do. What
   it had before goes last, since that may run Python code. */
static PyObject *pair_anew(PyObject *item, PyObject *key, PyObject *value) {
  PyObject *old_key = PyTuple_GET_ITEM(item, 0), *old_value = PyTuple_GET_ITEM(item, 1);
  Py_INCREF(item);
  PyTuple_SET_ITEM(item, 0, key);
  PyTuple_SET_ITEM(item, 1, value);
  Py_DECREF(old_key);
  Py_DECREF(old_value);
  /* The collector of Python lets go of a pair of what it need not know; this one may hold a container. */
  if (!PyObject_GC_IsTracked(item)) PyObject_GC_Track(item);
  return item;
}

static PyObject *pair(mhx_iter *iter, PyObject *key, PyObject *value) {
  if (iter->item != NULL && Py_REFCNT(iter->item) == 1) return pair_anew(iter->item, key, value);
  PyObject *item = PyTuple_New(2);
  if (item == NULL) return Py_DECREF(key), Py_DECREF(value), NULL;
  PyTuple_SET_ITEM(item, 0, key);
  PyTuple_SET_ITEM(item, 1, value);
  Py_XSETREF(iter->item, Py_NewRef(item));
  return item;
}

static PyObject *item_of(mhx_iter *iter, mhx_space *space, const mh_entry *entry) {
  PyObject *key = mhx_from_key(space, entry->key);
  PyObject *value = key == NULL ? NULL : mhx_from_word(space, entry->value);
  if (value == NULL) return Py_XDECREF(key), NULL;
  return pair(iter, key, value);
}

static PyObject *dict_iter_next(PyObject *self) {
  mhx_iter *iter = (mhx_iter *)self;
  mhx_space *space;
  mh_entry entry = {0};
  if (iter->twin == NULL || next_entry(iter, &space, &entry) <= 0) return exhausted(iter);
  if (iter->kind == 2) return item_of(iter, space, &entry);
  return iter->kind == 0 ? mhx_from_key(space, entry.key) : mhx_from_word(space, entry.value);
}

static PyObject *dict_iter_hint(PyObject *self, PyObject *unused) {
  (void)unused;
  mhx_iter *iter = (mhx_iter *)self;
  uint64_t left = iter->reversed ? iter->index : iter->counts.used - iter->index;
  if (left > iter->counts.live) left = iter->counts.live;
  return PyLong_FromUnsignedLongLong(iter->twin == NULL ? 0 : left);
}

/* ---- lists ---- */

static PyObject *items_iterator(mhx_twin *twin, int type, bool reversed) {
  mh_items items;
  mhx_iter *iter = (mhx_iter *)iter_new(twin, type, 0, reversed);
  mhx_space *space = iter == NULL ? NULL : mhx_items_open((PyObject *)twin, &items);
  if (space == NULL) return Py_XDECREF(iter), NULL;
  if (reversed) iter->index = items.count;
  iter->changes = twin->changes;
  iter->undone = space->undone;
  return (PyObject *)iter;
}

PyObject *mhx_list_iterator(mhx_twin *twin, bool reversed) {
  return items_iterator(twin, MHX_LIST_ITER, reversed);
}

static PyObject *list_iter_next(PyObject *self) {
  mhx_iter *iter = (mhx_iter *)self;
  mh_items items;
  if (iter->twin == NULL) return NULL;
  mhx_space *space = mhx_twin_space(iter->twin);
  if (space == NULL) return exhausted(iter);
  if (mh_list_items(&iter->twin->of.list, &items)) return mhx_failed(space), exhausted(iter);
  uint64_t i = iter->reversed ? iter->index - 1 : iter->index;
  if (i >= items.count) return exhausted(iter);
  iter->index = iter->reversed ? i : i + 1;
  return mhx_from_word(space, items.words[i]);
}

static PyObject *list_iter_hint(PyObject *self, PyObject *unused) {
  (void)unused;
  mhx_iter *iter = (mhx_iter *)self;
  mh_items items;
  if (iter->twin == NULL) return PyLong_FromLong(0);
  mhx_space *space = mhx_twin_space(iter->twin);
  if (space == NULL) return NULL;
  if (mh_list_items(&iter->twin->of.list, &items)) return mhx_failed(space), NULL;
  uint64_t left = iter->reversed ? iter->index : items.count - iter->index;
  return PyLong_FromUnsignedLongLong(left <= items.count ? left : 0);
}

/* ---- deques ---- */

PyObject *mhx_deque_iterator(mhx_twin *twin, bool reversed) {
  return items_iterator(twin, MHX_DEQUE_ITER, reversed);
}

static PyObject *deque_iter_next(PyObject *self) {
  mhx_iter *iter = (mhx_iter *)self;
  if (iter->twin == NULL) return NULL;
  mhx_space *space = mhx_twin_space(iter->twin);
  if (space == NULL) return exhausted(iter);
  if (iter->changes == iter->twin->changes && iter->undone == space->undone) return list_iter_next(self);
  PyErr_SetString(PyExc_RuntimeError, "deque mutated during iteration");
  return exhausted(iter);
}

/* ---- beside a writer ---- */

/* What is kept is torn only by a writer that overran it. */
static PyObject *whole_next(PyObject *self, iternextfunc next) {
  mhx_iter *iter = (mhx_iter *)self;
  if (!iter->kept) return next(self);
  PyObject *twin = Py_NewRef((PyObject *)iter->twin), *item = next(self);
  if (mhx_torn(twin) != 0) Py_CLEAR(item);
  Py_DECREF(twin);
  return item;
}

static PyObject *whole_dict_iter_next(PyObject *self) { return whole_next(self, dict_iter_next); }
static PyObject *whole_list_iter_next(PyObject *self) { return whole_next(self, list_iter_next); }
static PyObject *whole_deque_iter_next(PyObject *self) { return whole_next(self, deque_iter_next); }

/* ---- pickling ---- */

/* Another iterator at the same place. The first keeps the commit for it. */
static PyObject *again(const mhx_iter *iter) {
  mhx_iter *copy = PyObject_New(mhx_iter, Py_TYPE(iter));
  if (copy == NULL) return NULL;
  PyObject head = *(PyObject *)copy;
  *copy = *iter;
  *(PyObject *)copy = head;
  copy->kept = false;
  copy->item = NULL;
  Py_XINCREF(copy->twin);
  return (PyObject *)copy;
}

/* iter(list of the rest), as the iterators of plain containers. */
static PyObject *iter_reduce(PyObject *self, PyObject *unused) {
  (void)unused;
  PyObject *copy = again((mhx_iter *)self), *rest = copy == NULL ? NULL : PySequence_List(copy);
  Py_XDECREF(copy);
  if (rest == NULL) return NULL;
  return Py_BuildValue("O(N)", PyDict_GetItemString(PyEval_GetBuiltins(), "iter"), rest);
}

/* ---- the types ---- */

static PyMethodDef dict_iter_methods[] = {
    {"__length_hint__", dict_iter_hint, METH_NOARGS, NULL},
    {"__reduce__", iter_reduce, METH_NOARGS, NULL},
    {0},
};
static PyMethodDef list_iter_methods[] = {
    {"__length_hint__", list_iter_hint, METH_NOARGS, NULL},
    {"__reduce__", iter_reduce, METH_NOARGS, NULL},
    {0},
};

static PyType_Slot dict_iter_slots[] = {
    {Py_tp_dealloc, iter_dealloc},       {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, whole_dict_iter_next},    {Py_tp_methods, dict_iter_methods},
    {0},
};
static PyType_Slot list_iter_slots[] = {
    {Py_tp_dealloc, iter_dealloc},       {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, whole_list_iter_next},    {Py_tp_methods, list_iter_methods},
    {0},
};
static PyType_Slot deque_iter_slots[] = {
    {Py_tp_dealloc, iter_dealloc},       {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, whole_deque_iter_next},   {Py_tp_methods, list_iter_methods},
    {0},
};

PyType_Spec mhx_dict_iter_spec = {
    .name = "mheap._core.DictIterator",
    .basicsize = sizeof(mhx_iter),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = dict_iter_slots,
};
PyType_Spec mhx_list_iter_spec = {
    .name = "mheap._core.ListIterator",
    .basicsize = sizeof(mhx_iter),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = list_iter_slots,
};
PyType_Spec mhx_deque_iter_spec = {
    .name = "mheap._core.DequeIterator",
    .basicsize = sizeof(mhx_iter),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = deque_iter_slots,
};
