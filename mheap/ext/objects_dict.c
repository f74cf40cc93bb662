/* objects_dict.c: see objects.h. DictTwin: the hot half of mheap.PersistentDict, from which those of counters
   and sorted dicts are derived; the rest is in mheap/objects.py. */
#include "objects_values.h"

#include <structmember.h>

static PyObject *no_key(PyObject *key) {
  PyObject *args = PyTuple_Pack(1, key);
  if (args != NULL) PyErr_SetObject(PyExc_KeyError, args);
  Py_XDECREF(args);
  return NULL;
}

/* ---- reading ---- */

/* 1: *word is what the key leads to; 0: it is not there; -1: an exception. */
static inline int look_up(mhx_twin *twin, PyObject *object, mhx_space **space, uint64_t *word) {
  mhx_key key;
  int made = mhx_key_look(twin, object, &key, space);
  if (made <= 0) return made;
  mheap_err found = mhx_entry_get(&twin->of, &key.key, word);
  mhx_key_end(&key);
  if (found == MHEAP_OK) return 1;
  return found == MHEAP_ERR_NOT_FOUND ? 0 : mhx_failed(*space);
}

static PyObject *dict_subscript(PyObject *self, PyObject *key) {
  mhx_space *space;
  uint64_t word;
  int found = look_up((mhx_twin *)self, key, &space, &word);
  if (found > 0) return mhx_from_word(space, word);
  return found < 0 ? NULL : no_key(key);
}

static int dict_contains(PyObject *self, PyObject *key) {
  mhx_space *space;
  uint64_t word;
  return look_up((mhx_twin *)self, key, &space, &word);
}

static Py_ssize_t dict_length(PyObject *self) {
  mhx_twin *twin = (mhx_twin *)self;
  mhx_space *space = mhx_twin_space(twin);
  uint64_t length;
  if (space == NULL) return -1;
  if (mhx_entries_length(&twin->of, &length)) return mhx_failed(space);
  return (Py_ssize_t)length;
}

static PyObject *dict_get(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
  mhx_space *space;
  uint64_t word;
  if (nargs < 1 || nargs > 2) return mhx_arity("get", nargs < 1 ? 1 : 2, nargs);
  int found = look_up((mhx_twin *)self, args[0], &space, &word);
  if (found > 0) return mhx_from_word(space, word);
  return found < 0 ? NULL : Py_NewRef(nargs == 2 ? args[1] : Py_None);
}

MHX_WHOLE_OBJECT(dict_subscript, (PyObject *self, PyObject *key), (self, key))
MHX_WHOLE_NUMBER(int, dict_contains, (PyObject *self, PyObject *key), (self, key))
MHX_WHOLE_NUMBER(Py_ssize_t, dict_length, (PyObject *self), (self))
MHX_WHOLE_OBJECT(dict_get, (PyObject *self, PyObject *const *args, Py_ssize_t nargs), (self, args, nargs))

/* ---- changing ---- */

int mhx_dict_set(mhx_twin *twin, PyObject *key_object, PyObject *value) {
  mhx_space *space = mhx_twin_space(twin);
  mhx_words words;
  mhx_key key;
  if (space == NULL) return -1;
  if (!mhx_is_storable_key(key_object)) return mhx_dict_set_tree(twin, key_object, value);
  if (mhx_value(space, value, &words) < 0) return -1;
  int made = mhx_key_make(space, key_object, &key);
  if (made > 0 && mhx_root_exists(space, twin) < 0) made = -1;
  mheap_err failed = made > 0 ? mhx_entry_set(&twin->of, &key.key, words.words[0]) : MHEAP_OK;
  mhx_key_end(&key);
  if (made > 0 && !failed) return mhx_words_taken(&words), 0;
  bool has_no_order = failed == MHEAP_ERR_ARGUMENT && twin->of.dict.type == MH_TYPE_SORTED;
  if (failed && !has_no_order) return mhx_words_failed(space, &words);
  if (has_no_order) mhx_entry_failed(space, failed, key_object);
  return mhx_words_refused(space, &words);
}

int mhx_dict_remove(mhx_twin *twin, PyObject *object) {
  mhx_space *space;
  mhx_key key;
  int made = mhx_key_look(twin, object, &key, &space);
  if (made < 0) return -1;
  if (made == 0) return mh_space_writable(&space->core) ? mhx_failed(space) : 0;
  mheap_err failed = mhx_entry_delete(&twin->of, &key.key);
  mhx_key_end(&key);
  if (failed == MHEAP_OK) return twin->changes++, 1;
  return failed == MHEAP_ERR_NOT_FOUND ? 0 : mhx_failed(space);
}

static int dict_ass_subscript(PyObject *self, PyObject *key, PyObject *value) {
  if (value != NULL) return mhx_dict_set((mhx_twin *)self, key, value);
  int removed = mhx_dict_remove((mhx_twin *)self, key);
  if (removed == 0) no_key(key);
  return removed > 0 ? 0 : -1;
}

static PyObject *dict_pop(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
  mhx_twin *twin = (mhx_twin *)self;
  mhx_space *space;
  uint64_t word;
  if (nargs < 1 || nargs > 2) return mhx_arity("pop", nargs < 1 ? 1 : 2, nargs);
  int found = look_up(twin, args[0], &space, &word);
  if (found == 0 && mh_space_writable(&space->core)) return mhx_failed(space), NULL;
  if (found == 0) return nargs == 2 ? Py_NewRef(args[1]) : no_key(args[0]);
  PyObject *value = found < 0 ? NULL : mhx_from_word(space, word);
  int removed = value == NULL ? 1 : mhx_dict_remove(twin, args[0]);
  if (removed > 0) return value;
  Py_DECREF(value);
  return removed < 0 ? NULL : no_key(args[0]);
}

/* Is this still the last entry? Making objects of it may have run Python code. */
static mheap_err is_last(mhx_twin *twin, const mh_entry *entry) {
  uint32_t index = UINT32_MAX;
  mh_entry last;
  mheap_err failed = mh_dict_previous(&twin->of.dict, &index, &last);
  if (failed) return failed;
  return last.key == entry->key && last.value == entry->value ? MHEAP_OK : MHEAP_ERR_NOT_FOUND;
}

/* The pair is made first: making a tuple may run finalizers, which may change the dict. */
static PyObject *take_last(mhx_twin *twin, mhx_space *space, PyObject *pair) {
  uint32_t index = UINT32_MAX;
  mh_entry entry;
  mh_key key;
  mheap_err failed = mh_dict_previous(&twin->of.dict, &index, &entry);
  if (failed == MHEAP_ERR_NOT_FOUND && mh_space_writable(&space->core) == MHEAP_OK)
    return PyErr_SetString(PyExc_KeyError, "popitem(): dictionary is empty"), NULL;
  if (failed) return mhx_failed(space), NULL;
  for (int i = 0; i < 2; i++) {
    PyObject *object = mhx_from_word(space, i == 0 ? entry.key : entry.value);
    if (object == NULL) return NULL;
    PyTuple_SET_ITEM(pair, i, object);
  }
  failed = is_last(twin, &entry);
  if (failed == MHEAP_ERR_NOT_FOUND)
    return PyErr_SetString(PyExc_RuntimeError, "dictionary changed during popitem"), NULL;
  if (!failed) failed = mh_key_of_word(&space->core, entry.key, &key);
  if (failed || mh_dict_delete(&twin->of.dict, &key)) return mhx_failed(space), NULL;
  twin->changes++;
  return pair;
}

static PyObject *dict_popitem(PyObject *self, PyObject *unused) {
  (void)unused;
  PyObject *pair = PyTuple_New(2);
  mhx_space *space = pair == NULL ? NULL : mhx_twin_space((mhx_twin *)self);
  if (space != NULL && take_last((mhx_twin *)self, space, pair) != NULL) return pair;
  Py_XDECREF(pair);
  return NULL;
}

/* Does storing this run no Python code? */
static bool is_stored_at_once(PyObject *value) {
  if (PyList_CheckExact(value)) return PyList_GET_SIZE(value) == 0;
  if (PyDict_CheckExact(value)) return PyDict_GET_SIZE(value) == 0;
  if (PySet_CheckExact(value)) return PySet_GET_SIZE(value) == 0;
  return mhx_is_storable_key(value);
}

/* Inserts the key, which is not there: nothing has happened since it was looked for. */
static int insert(mhx_twin *twin, mhx_space *space, const mhx_key *key, PyObject *value, uint64_t *word) {
  mhx_words words;
  if (mhx_value(space, value, &words) < 0) return -1;
  *word = words.words[0];
  if (mh_dict_insert(&twin->of.dict, &key->key, *word)) return mhx_words_failed(space, &words);
  mhx_words_taken(&words);
  return 0;
}

/* Looks for the key once, except where Python code runs between that and storing. 1: *word is what it leads
   to; 0: the default, which was stored; -1: an exception. */
static int set_default(mhx_twin *twin, PyObject *object, PyObject *value, mhx_space **space, uint64_t *word) {
  mhx_key key;
  int made = mhx_key_look(twin, object, &key, space);
  if (made < 0) return -1;
  mheap_err found = made == 0 ? MHEAP_ERR_NOT_FOUND : mhx_entry_get(&twin->of, &key.key, word);
  bool at_once = made > 0 && found == MHEAP_ERR_NOT_FOUND && mhx_is_storable_key(object) &&
                 mh_type_has_table(twin->of.dict.type) && is_stored_at_once(value) &&
                 twin->of.dict.offset != 0;
  int failed = found == MHEAP_OK || found == MHEAP_ERR_NOT_FOUND ? 0 : mhx_failed(*space);
  if (at_once) failed = insert(twin, *space, &key, value, word);
  if (made > 0) mhx_key_end(&key);
  if (failed < 0) return -1;
  return at_once || found == MHEAP_OK ? 1 : mhx_dict_set(twin, object, value);
}

static PyObject *dict_setdefault(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
  mhx_space *space;
  uint64_t word;
  if (nargs < 1 || nargs > 2) return mhx_arity("setdefault", nargs < 1 ? 1 : 2, nargs);
  int known = set_default((mhx_twin *)self, args[0], nargs == 2 ? args[1] : Py_None, &space, &word);
  if (known == 0) return dict_subscript(self, args[0]);
  return known < 0 ? NULL : mhx_from_word(space, word);
}

static PyObject *dict_clear(PyObject *self, PyObject *unused) {
  (void)unused;
  mhx_twin *twin = (mhx_twin *)self;
  mhx_space *space = mhx_twin_space(twin);
  if (space == NULL) return NULL;
  if (mhx_entries_clear(&twin->of)) return mhx_failed(space), NULL;
  twin->changes++;
  Py_RETURN_NONE;
}

/* The items of a plain dict, one operation each. */
static PyObject *dict_update_from(PyObject *self, PyObject *source) {
  Py_ssize_t at = 0, size;
  PyObject *key, *value;
  if (!PyDict_CheckExact(source)) return PyErr_Format(PyExc_TypeError, "a dict is needed");
  size = PyDict_GET_SIZE(source);
  while (PyDict_Next(source, &at, &key, &value)) {
    Py_INCREF(key);
    Py_INCREF(value);
    int failed = mhx_dict_set((mhx_twin *)self, key, value);
    Py_DECREF(key);
    Py_DECREF(value);
    if (failed < 0 || (at % 4096 == 0 && PyErr_CheckSignals() < 0)) return NULL;
    if (size != PyDict_GET_SIZE(source))
      return PyErr_SetString(PyExc_RuntimeError, "dictionary changed size during iteration"), NULL;
  }
  Py_RETURN_NONE;
}

/* ---- iterating ---- */

static PyObject *dict_iter(PyObject *self) { return mhx_dict_iterator((mhx_twin *)self, 0, false); }

static PyObject *dict_reversed(PyObject *self, PyObject *unused) {
  (void)unused;
  return mhx_dict_iterator((mhx_twin *)self, 0, true);
}

/* _iterate(kind, reversed): for the views. */
static PyObject *dict_iterate(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
  if (nargs != 2) return mhx_arity("_iterate", 2, nargs);
  long kind = PyLong_AsLong(args[0]);
  if (kind == -1 && PyErr_Occurred()) return NULL;
  return mhx_dict_iterator((mhx_twin *)self, (int)kind, args[1] == Py_True);
}

/* ---- the type ---- */

#define FAST(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef dict_methods[] = {
    {"get", FAST(whole_dict_get), METH_FASTCALL,
     "get($self, key, default=None, /)\n--\n\nThe value, or the default."},
    {"pop", FAST(dict_pop), METH_FASTCALL,
     "Removes the key and returns its value; without it the default, if given, else KeyError."},
    {"popitem", dict_popitem, METH_NOARGS, "Removes and returns the last (key, value) pair."},
    {"setdefault", FAST(dict_setdefault), METH_FASTCALL,
     "setdefault($self, key, default=None, /)\n--\n\nThe value; without one the default is stored first."},
    {"clear", dict_clear, METH_NOARGS, "Removes everything."},
    {"_update_from", dict_update_from, METH_O, NULL},
    {"_iterate", FAST(dict_iterate), METH_FASTCALL, NULL},
    {"_most_text", mhx_twin_most_text, METH_NOARGS, NULL},
    {"__reversed__", dict_reversed, METH_NOARGS, NULL},
    {0},
};

static PyMemberDef dict_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(mhx_twin, weakrefs), READONLY, NULL},
    {0},
};

static PyType_Slot dict_slots[] = {
    {Py_tp_doc, "What of PersistentDict is written in C."},
    {Py_tp_new, mhx_twin_new},
    {Py_tp_dealloc, mhx_twin_dealloc},
    {Py_tp_hash, PyObject_HashNotImplemented},
    {Py_tp_methods, dict_methods},
    {Py_tp_members, dict_members},
    {Py_tp_iter, dict_iter},
    {Py_mp_length, whole_dict_length},
    {Py_mp_subscript, whole_dict_subscript},
    {Py_mp_ass_subscript, dict_ass_subscript},
    {Py_sq_contains, whole_dict_contains},
    {0},
};

PyType_Spec mhx_dict_twin_spec = {
    .name = "mheap._core.DictTwin",
    .basicsize = sizeof(mhx_twin),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = dict_slots,
};
