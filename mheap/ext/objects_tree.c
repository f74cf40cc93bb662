/* objects_tree.c: see objects_values.h. Keys that are no plain scalars: tuples, frozensets,
   complex, extended values.

   Owns trees: what a key is made of, as Python has it, in the process's memory, so that a key can be
   looked up in a heap that cannot be written. Making one may run Python code; coding it, and storing
   it, does not. No tree has more levels than MH_CODE_DEPTH, so recursion is bounded. */
#include "objects_values.h"

struct mhx_tree {
  PyObject *object;    /* of a scalar or complex; owned */
  mh_type type;        /* 0: a scalar */
  mh_kind_code kind;
  size_t count;
  mhx_tree *items;     /* items, elements, words */
  size_t code_count;
  mhx_tree *code;      /* EXTENDED: what its code is of */
  bool is_number;      /* EXTENDED: it is equal to the number that is the only one of these */
  bool is_rational;    /* EXTENDED: a number that is equal to none */
};

typedef struct growth {
  mhx_state *state;
  bool exact;
  bool in_words;       /* of an extended value: they may be what is no key by itself */
  unsigned depth;
  size_t parts;
} growth;

/* ---- making ---- */

static int grow(growth *g, PyObject *object, mhx_tree *tree);

static void clear(mhx_tree *tree) {
  for (size_t i = 0; i < tree->count; i++) clear(&tree->items[i]);
  for (size_t i = 0; i < tree->code_count; i++) clear(&tree->code[i]);
  Py_XDECREF(tree->object);
  PyMem_Free(tree->items);
  PyMem_Free(tree->code);
}

void mhx_tree_free(mhx_tree *tree) {
  clear(tree);
  PyMem_Free(tree);
}

/* Trees of all items of a tuple, *count of which are there even if it fails. */
static int grow_items(growth *g, PyObject *tuple, mhx_tree **items, size_t *count) {
  size_t length = (size_t)PyTuple_GET_SIZE(tuple);
  *items = PyMem_Calloc(length + 1, sizeof **items);
  if (*items == NULL) return PyErr_NoMemory(), -1;
  for (size_t i = 0; i < length; i++) {
    int made = grow(g, PyTuple_GET_ITEM(tuple, (Py_ssize_t)i), &(*items)[i]);
    *count = i + 1;
    if (made <= 0) return made;
  }
  return 1;
}

static int grow_set(growth *g, PyObject *set, mhx_tree *tree) {
  PyObject *elements = PySequence_Tuple(set);
  tree->type = MH_TYPE_FROZENSET;
  int made = elements == NULL ? -1 : grow_items(g, elements, &tree->items, &tree->count);
  Py_XDECREF(elements);
  return made;
}

static int grow_code(growth *g, PyObject *code, mhx_tree *tree) {
  PyObject *codes = PyTuple_Check(code) ? Py_NewRef(code) : PyTuple_Pack(1, code);
  tree->is_number = codes != code;
  int made = codes == NULL ? -1 : grow_items(g, codes, &tree->code, &tree->code_count);
  Py_XDECREF(codes);
  return made;
}

static int grow_words(growth *g, PyObject *words, mhx_tree *tree) {
  bool before = g->in_words;
  g->in_words = true;
  int made = grow_items(g, words, &tree->items, &tree->count);
  g->in_words = before;
  return made;
}

static int grow_word(growth *g, PyObject *object, mhx_tree *tree) {
  PyObject *words;
  int made = mhx_to_state(g->state, object, &tree->kind, &words);
  tree->type = MH_TYPE_EXTENDED;
  if (made <= 0) return made;
  made = grow_items(g, words, &tree->items, &tree->count);
  Py_DECREF(words);
  return made;
}

/* 1, 0 or -1, as grow(); 2: Python is to be asked. */
static int grow_time(growth *g, PyObject *object, mhx_tree *tree) {
  PyObject *words, *code;
  int made = mhx_time_key(object, &tree->kind, &words, &code);
  if (made <= 0) return made < 0 ? -1 : 2;
  tree->type = MH_TYPE_EXTENDED;
  made = grow_words(g, words, tree);
  if (made > 0) made = grow_code(g, code, tree);
  Py_DECREF(words);
  Py_DECREF(code);
  return made;
}

static int grow_extended(growth *g, PyObject *object, mhx_tree *tree) {
  if (g->in_words) return grow_word(g, object, tree);
  int grown = grow_time(g, object, tree);
  if (grown != 2) return grown;
  PyObject *function = mhx_values_function(g->state, MHX_TO_KEY), *words, *code;
  PyObject *result = function == NULL ? NULL : PyObject_CallOneArg(function, object);
  unsigned kind;
  int made = result == NULL ? -1 : 0;
  if (made == 0 && result != Py_None) {
    made = PyArg_ParseTuple(result, "IO!O", &kind, &PyTuple_Type, &words, &code) ? 1 : -1;
    tree->type = MH_TYPE_EXTENDED;
    tree->kind = made > 0 ? (mh_kind_code)kind : 0;
    tree->is_rational = tree->kind == MH_KIND_DECIMAL || tree->kind == MH_KIND_FRACTION;
    if (made > 0) made = grow_words(g, words, tree);
    if (made > 0) made = grow_code(g, code, tree);
  }
  Py_XDECREF(result);
  return made;
}

static bool is_scalar(PyObject *object, bool exact) {
  if (exact) return mhx_is_storable_key(object);
  return PyUnicode_Check(object) || PyLong_Check(object) || PyFloat_Check(object) || PyBytes_Check(object) ||
         object == Py_None;
}
static bool is_a(PyObject *object, PyTypeObject *type, bool exact) {
  return exact ? Py_IS_TYPE(object, type) : PyObject_TypeCheck(object, type);
}

static int grow_compound(growth *g, PyObject *object, mhx_tree *tree) {
  if (is_a(object, &PyTuple_Type, g->exact)) {
    tree->type = MH_TYPE_TUPLE;
    return grow_items(g, object, &tree->items, &tree->count);
  }
  if (is_a(object, &PyFrozenSet_Type, g->exact)) return grow_set(g, object, tree);
  return grow_extended(g, object, tree);
}

/* What is like an int, as numpy's are, is equal to that int. */
static int grow_index(PyObject *object, mhx_tree *tree) {
  tree->object = PyNumber_Index(object);
  return tree->object == NULL ? -1 : 1;
}

static int grow(growth *g, PyObject *object, mhx_tree *tree) {
  if (++g->parts > MH_CODE_MAX) {
    mhx_refuse(MHEAP_ERR_OVERFLOW, "a key of more than 2^20 parts");
    return -1;
  }
  if (is_scalar(object, g->exact)) return tree->object = Py_NewRef(object), 1;
  if (!g->exact && PyIndex_Check(object)) return grow_index(object, tree);
  if (is_a(object, &PyComplex_Type, g->exact)) {
    tree->type = MH_TYPE_COMPLEX;
    return tree->object = Py_NewRef(object), 1;
  }
  if (g->depth == MH_CODE_DEPTH) {
    PyErr_Format(PyExc_RecursionError, "a key in a heap has at most %d levels", MH_CODE_DEPTH);
    return -1;
  }
  g->depth++;
  int made = grow_compound(g, object, tree);
  g->depth--;
  if (made != 0 || !g->exact) return made;
  return PyObject_Hash(object) == -1 ? -1 : mhx_cannot_store(object, true);
}

int mhx_tree_new(mhx_state *state, PyObject *object, bool exact, mhx_tree **tree) {
  growth g = {.state = state, .exact = exact};
  *tree = PyMem_Calloc(1, sizeof **tree);
  if (*tree == NULL) return PyErr_NoMemory(), -1;
  int made = grow(&g, object, *tree);
  if (made <= 0) mhx_tree_free(*tree);
  return made;
}

/* ---- coding ---- */

typedef struct writer {
  mh_coder coder;
  mhx_space *space;
  uint64_t *words; /* PyMem */
  size_t count, room;
} writer;

static mheap_err keep(mh_coder *coder, uint64_t word) {
  writer *w = (writer *)coder;
  if (w->count == MH_CODE_MAX) {
    mhx_refuse(MHEAP_ERR_OVERFLOW, "a key whose code has more than 2^20 words");
    return MHEAP_ERR_OVERFLOW;
  }
  if (w->count == w->room) {
    size_t room = w->room == 0 ? 32 : 2 * w->room;
    uint64_t *larger = PyMem_Realloc(w->words, room * sizeof *larger);
    if (larger == NULL) return PyErr_NoMemory(), MHEAP_ERR_NO_MEMORY;
    w->words = larger;
    w->room = room;
  }
  w->words[w->count++] = word;
  return MHEAP_OK;
}

static int put_head(writer *w, unsigned code, uint64_t number) {
  return keep(&w->coder, mh_code_head(code, number)) ? -1 : 0;
}

static int code_tree(writer *w, mhx_tree *tree);

static int code_scalar(writer *w, PyObject *object) {
  mhx_key key;
  mheap_err failed;
  if (mhx_key_make(w->space, object, &key) <= 0) return -1;
  if (key.key.form == MH_KEY_WORD) failed = keep(&w->coder, key.key.word);
  else if (key.key.form == MH_KEY_NUMBER) failed = mh_code_number(&w->coder, &key.key.number);
  else {
    unsigned code = key.key.tag == MH_TAG_STR_REF ? MH_CODE_STR : MH_CODE_BYTES;
    failed = mh_code_text(&w->coder, code, key.key.kind, key.key.data, key.key.length);
  }
  mhx_key_end(&key);
  return failed ? -1 : 0;
}

static int code_complex(writer *w, PyObject *object) {
  double parts[] = {PyComplex_RealAsDouble(object), PyComplex_ImagAsDouble(object)};
  mh_number number;
  if (parts[1] != 0 && put_head(w, MH_CODE_COMPLEX, 0) < 0) return -1;
  for (int i = 0; i < (parts[1] != 0 ? 2 : 1); i++) {
    mh_number_of_float(&number, mh_float_bits(parts[i]));
    if (mh_code_number(&w->coder, &number)) return -1;
  }
  return 0;
}

static int code_all(writer *w, mhx_tree *trees, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (code_tree(w, &trees[i]) < 0) return -1;
  return 0;
}

/* ---- elements in the order of their hashes ---- */

typedef struct element {
  mhx_tree tree;
  uint64_t hash;
  size_t first, count; /* its code */
} element;

static int by_hash(const void *left, const void *right) {
  uint64_t a = ((const element *)left)->hash, b = ((const element *)right)->hash;
  return a < b ? -1 : a > b;
}

static int code_elements(writer *w, mhx_tree *set, element *elements) {
  for (size_t i = 0; i < set->count; i++) {
    size_t first = w->count;
    if (code_tree(w, &set->items[i]) < 0) return -1;
    uint64_t hash = mh_code_hash(&w->space->core, w->words + first, w->count - first);
    elements[i] =
        (element){.tree = set->items[i], .hash = hash, .first = first, .count = w->count - first};
  }
  return 0;
}

/* Puts their codes, and themselves, in that order. */
static int sort_elements(writer *w, mhx_tree *set, element *elements, size_t first) {
  size_t count = w->count - first;
  uint64_t *codes = PyMem_Malloc(8 * count + 8);
  if (codes == NULL) return PyErr_NoMemory(), -1;
  memcpy(codes, w->words + first, 8 * count);
  qsort(elements, set->count, sizeof *elements, by_hash);
  uint64_t *to = w->words + first;
  int failed = 0;
  for (size_t i = 0; i < set->count; to += elements[i++].count) {
    set->items[i] = elements[i].tree;
    memcpy(to, codes + (elements[i].first - first), 8 * elements[i].count);
    if (i > 0 && elements[i].hash == elements[i - 1].hash) failed = -1;
  }
  PyMem_Free(codes);
  if (failed < 0)
    mhx_refuse(MHEAP_ERR_ARGUMENT, "a frozenset with two elements that are equal to a heap is no key");
  return failed;
}

static int code_set(writer *w, mhx_tree *set) {
  element *elements = PyMem_Malloc((set->count + 1) * sizeof *elements);
  if (elements == NULL) return PyErr_NoMemory(), -1;
  size_t first = w->count;
  int failed = code_elements(w, set, elements);
  if (failed == 0 && set->count > 1) failed = sort_elements(w, set, elements, first);
  PyMem_Free(elements);
  return failed;
}

static int code_tree(writer *w, mhx_tree *tree) {
  switch ((int)tree->type) {
    case 0: return code_scalar(w, tree->object);
    case MH_TYPE_COMPLEX: return code_complex(w, tree->object);
    case MH_TYPE_TUPLE:
      if (put_head(w, MH_CODE_TUPLE, tree->count) < 0) return -1;
      return code_all(w, tree->items, tree->count);
    case MH_TYPE_FROZENSET: return put_head(w, MH_CODE_FROZENSET, tree->count) < 0 ? -1 : code_set(w, tree);
    default: break;
  }
  if (!tree->is_number &&
      put_head(w, tree->is_rational ? MH_CODE_RATIONAL : MH_CODE_EXTENDED,
               tree->is_rational ? 0 : tree->kind) < 0)
    return -1;
  return code_all(w, tree->code, tree->code_count);
}

/* ---- the key ---- */

/* The number it is equal to, if it is to one. 1: set; 0: none; -1: an exception. */
static int number_of(mhx_space *space, mhx_tree *tree, mhx_key *key) {
  if (tree->type == MH_TYPE_COMPLEX && PyComplex_ImagAsDouble(tree->object) == 0) {
    mh_number_of_float(&key->key.number, mh_float_bits(PyComplex_RealAsDouble(tree->object)));
    return 1;
  }
  return tree->is_number ? mhx_key_make(space, tree->code[0].object, key) : 0;
}

int mhx_tree_key(mhx_space *space, mhx_tree *tree, mhx_key *key) {
  key->limbs = NULL;
  if (tree->type == 0) return mhx_key_make(space, tree->object, key);
  int made = number_of(space, tree, key);
  if (made != 0) return made < 0 ? -1 : (mh_key_equal_to_number(&space->core, &key->key), 1);
  writer w = {.coder.put = keep, .space = space};
  if (code_tree(&w, tree) < 0) return PyMem_Free(w.words), -1;
  key->limbs = w.words;
  mh_key_code(&space->core, &key->key, w.words, w.count);
  return 1;
}

/* ---- storing ---- */

static int store(mhx_space *space, const mhx_tree *tree, uint64_t *word) {
  if (tree->type == 0 || tree->type == MH_TYPE_COMPLEX)
    return mhx_scalar(space, tree->object, word) < 0 ? -1 : 0;
  if (mh_compound_new(&space->core, tree->type, tree->kind, tree->count, word)) return mhx_failed(space);
  for (size_t i = 0; i < tree->count; i++) {
    uint64_t item;
    if (store(space, &tree->items[i], &item) < 0) return mh_release(&space->core, *word), -1;
    mh_compound_set(&space->core, *word, i, item);
  }
  return 0;
}

static mheap_err take(mh_space *space, const mh_key *key, uint64_t *word) {
  (void)space;
  uint64_t *stored = key->made_from;
  *word = *stored;
  *stored = MH_WORD_ABSENT;
  return MHEAP_OK;
}

/* It is stored first if it is not there yet. */
static int set_key(mhx_space *space, mhx_of *of, const mhx_tree *tree, mh_key *key, uint64_t value,
                   PyObject *object) {
  uint64_t stored = MH_WORD_ABSENT, old;
  if (mh_space_writable(&space->core)) return mhx_failed(space);
  mheap_err found = mhx_entry_get(of, key, &old);
  if (found == MHEAP_ERR_NOT_FOUND && store(space, tree, &stored) < 0) return -1;
  key->make = take;
  key->made_from = &stored;
  if (!found || found == MHEAP_ERR_NOT_FOUND) found = mhx_entry_set(of, key, value);
  if (!found) return 0;
  mhx_entry_failed(space, found, object);
  if (stored != MH_WORD_ABSENT) mh_release(&space->core, stored);
  return -1;
}

int mhx_tree_set(mhx_space *space, mhx_of *of, mhx_tree *tree, uint64_t value, PyObject *object) {
  mhx_key key;
  if (mhx_tree_key(space, tree, &key) < 0) return -1;
  mheap_err set = tree->type == 0 ? mhx_entry_set(of, &key.key, value) : MHEAP_OK;
  int failed = set ? mhx_entry_failed(space, set, object) : 0;
  if (tree->type != 0) failed = set_key(space, of, tree, &key.key, value, object);
  mhx_key_end(&key);
  return failed;
}

/* The heap is in use: an exception may run Python code, too. */
static int set_in_use(mhx_twin *twin, mhx_tree *tree, PyObject *key, PyObject *value) {
  mhx_words words;
  mhx_space *space = mhx_twin_space(twin);
  if (space == NULL || mhx_value(space, value, &words) < 0) return -1;
  int failed = mhx_root_exists(space, twin);
  if (failed == 0) failed = mhx_tree_set(space, &twin->of, tree, words.words[0], key);
  if (failed < 0) return mhx_words_refused(space, &words);
  mhx_words_taken(&words);
  return 0;
}

int mhx_dict_set_tree(mhx_twin *twin, PyObject *key, PyObject *value) {
  mhx_tree *tree;
  mhx_use use;
  mhx_handle *handle = (mhx_handle *)twin->heap_obj;
  if (mhx_tree_new(mhx_state_of_heap(twin->heap_obj), key, true, &tree) <= 0) return -1;
  int failed = mhx_use_begin(handle, &use) == NULL ? -1 : 0;
  if (failed == 0) {
    failed = set_in_use(twin, tree, key, value);
    mhx_use_end(handle, &use);
  }
  mhx_tree_free(tree);
  return failed;
}
