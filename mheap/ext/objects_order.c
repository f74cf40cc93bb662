/* objects_order.c: the elements of a set in an order that depends on them alone, for dumps.

   Owns nothing but, for a moment, what the elements are ranked by: the hash that they have as keys, and
   among those of one hash, their codes or texts. What is no key, in a frozenset that is a value, is ranked
   by what repr() says of it. */
#include "objects_values.h"

typedef struct rank {
  uint64_t hash;
  PyObject *element; /* of a list that outlives this */
  PyObject *tie;     /* bytes, or NULL: not asked for yet */
} rank;

/* ---- one element ---- */

/* May run Python code. 1: *key, to be ended, and *tree, to be freed unless NULL; 0: it is no key; -1. */
static int key_of(mhx_space *space, PyObject *element, mhx_key *key, mhx_tree **tree) {
  *tree = NULL;
  if (mhx_is_storable_key(element)) return mhx_key_make(space, element, key);
  int made = mhx_tree_new(mhx_state_of_heap(space->heap_obj), element, true, tree);
  if (made > 0 && (made = mhx_tree_key(space, *tree, key)) < 0) mhx_tree_free(*tree);
  if (made > 0 || PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) return made;
  *tree = NULL;
  PyErr_Clear();
  return 0;
}

static void end_key(mhx_key *key, mhx_tree *tree) {
  mhx_key_end(key);
  if (tree != NULL) mhx_tree_free(tree);
}

/* Of what is no key: behind all keys, as it were. */
static int hash_of(mhx_space *space, PyObject *element, uint64_t *hash) {
  mhx_key key;
  mhx_tree *tree;
  int made = key_of(space, element, &key, &tree);
  *hash = made > 0 ? key.key.hash : UINT64_MAX;
  if (made > 0) end_key(&key, tree);
  return made < 0 ? -1 : 0;
}

static PyObject *tie_of_repr(PyObject *element) {
  PyObject *text = PyLong_Check(element) ? PyNumber_ToBase(element, 16) : PyObject_Repr(element);
  PyObject *bytes = text == NULL ? NULL : PyUnicode_AsEncodedString(text, "utf-8", "surrogatepass");
  Py_XDECREF(text);
  return bytes;
}

/* Numbers of one hash are told apart by how they are written. */
static PyObject *tie_of(mhx_space *space, PyObject *element) {
  mhx_key key;
  mhx_tree *tree;
  int made = key_of(space, element, &key, &tree);
  if (made < 0) return NULL;
  bool coded = made > 0 && key.key.form == MH_KEY_CODE, text = made > 0 && key.key.form == MH_KEY_TEXT;
  PyObject *tie = NULL;
  if (coded) tie = PyBytes_FromStringAndSize(key.key.data, (Py_ssize_t)(8 * key.key.length));
  if (text) tie = PyBytes_FromStringAndSize(key.key.data, (Py_ssize_t)(key.key.kind * key.key.length));
  if (made > 0) end_key(&key, tree);
  return coded || text ? tie : tie_of_repr(element);
}

/* ---- all of them ---- */

static int by_hash(const void *left, const void *right) {
  uint64_t a = ((const rank *)left)->hash, b = ((const rank *)right)->hash;
  return a < b ? -1 : a > b;
}

static int by_tie(const void *left, const void *right) {
  const rank *a = left, *b = right;
  Py_ssize_t of_a = PyBytes_GET_SIZE(a->tie), of_b = PyBytes_GET_SIZE(b->tie);
  if (of_a != of_b) return of_a < of_b ? -1 : 1;
  return memcmp(PyBytes_AS_STRING(a->tie), PyBytes_AS_STRING(b->tie), (size_t)of_a);
}

static int break_ties(mhx_space *space, rank *ranks, Py_ssize_t count) {
  for (Py_ssize_t i = 0, end; i < count; i = end) {
    for (end = i + 1; end < count && ranks[end].hash == ranks[i].hash;) end++;
    for (Py_ssize_t j = i; end > i + 1 && j < end; j++)
      if ((ranks[j].tie = tie_of(space, ranks[j].element)) == NULL) return -1;
    if (end > i + 1) qsort(ranks + i, (size_t)(end - i), sizeof *ranks, by_tie);
  }
  return 0;
}

static int rank_all(mhx_space *space, PyObject *list, rank *ranks) {
  Py_ssize_t count = PyList_GET_SIZE(list);
  for (Py_ssize_t i = 0; i < count; i++) {
    ranks[i].element = PyList_GET_ITEM(list, i);
    if (hash_of(space, ranks[i].element, &ranks[i].hash) < 0) return -1;
  }
  qsort(ranks, (size_t)count, sizeof *ranks, by_hash);
  return break_ties(space, ranks, count);
}

static PyObject *tuple_of(const rank *ranks, Py_ssize_t count) {
  PyObject *tuple = PyTuple_New(count);
  for (Py_ssize_t i = 0; tuple != NULL && i < count; i++)
    PyTuple_SET_ITEM(tuple, i, Py_NewRef(ranks[i].element));
  return tuple;
}

PyObject *mhx_in_order(mhx_space *space, PyObject *set) {
  PyObject *list = PySequence_List(set), *tuple = NULL;
  if (list == NULL) return NULL;
  Py_ssize_t count = PyList_GET_SIZE(list);
  rank *ranks = PyMem_Calloc((size_t)count + 1, sizeof *ranks);
  if (ranks == NULL) PyErr_NoMemory();
  else if (rank_all(space, list, ranks) == 0) tuple = tuple_of(ranks, count);
  for (Py_ssize_t i = 0; ranks != NULL && i < count; i++) Py_XDECREF(ranks[i].tie);
  PyMem_Free(ranks);
  Py_DECREF(list);
  return tuple;
}
