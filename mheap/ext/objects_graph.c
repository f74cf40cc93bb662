/* objects_graph.c: see objects.h. Storing plain containers: a copy of the whole graph, complete
   before the caller publishes it with one store.

   Where the space has a pool (a dump), what is stored depends on the values alone, and not on which of
   them are one object, or on the order in which a set shows its elements: compounds are complete before
   they are stored, so that equal ones are one.

   Owns, for the time of one copy, the list of containers made and the memo of what was copied
   already, so that shared parts and cycles stay what they are. A container, or a compound, is made
   empty when it is met and filled when its turn comes, right after what it is in: so parts of one lie
   together, and nesting costs no stack. Signal handlers
   run now and then, and what tells the state of extended values; the heap is registered as in use
   meanwhile. */
#include "objects_array.h"
#include "objects_memo.h"
#include "objects_records.h"
#include "objects_texts.h"
#include "objects_values.h"

#define FIRST_ROOM 32
#define AT_ONCE 8 /* levels of records that are filled where they are met */
#define TICKS 8192 /* items between two looks at signals */

/* A compound whose words are being found. */
typedef struct frame {
  PyObject *object, *tuple; /* references of its own */
  mh_type type;
  Py_ssize_t next;
  size_t first; /* of its kind and words in the pile */
} frame;

typedef struct mhx_graph {
  mhx_space *space;
  PyObject **sources; /* containers met, and tuples of the words of compounds; references of its own */
  uint64_t *made;     /* beside it: what was made of each */
  size_t count, room;
  size_t *todo;       /* of these, which are still to be filled, the next last; room for all */
  size_t todo_count;
  mhx_memo memo;      /* of what can be shared, or part of itself */
  mhx_texts texts;    /* of what is shared */
  frame *frames; /* from the outermost to the innermost */
  size_t depth, frames_room;
  uint64_t *pile; /* their kinds and words */
  size_t height, pile_room;
  uint64_t first_birth;
  uint64_t *replaced; /* values that others took the places of, and that may be met again or still be
                         filled: of keys that are equal here alone, as two NaNs are, or in a dict that is
                         changed */
  size_t replaced_count, replaced_room;
  uint64_t was_replaced; /* one of these, which the container that is filled has put here */
  unsigned ticks;
  bool fills;     /* what was given is made */
  bool has_registered; /* a value of a registered type was made */
  bool may_return; /* since then one compound was met again: it may be part of itself */
  unsigned nesting; /* of records that are filled at once */
} mhx_graph;

static bool pools(const mhx_graph *graph) { return graph->space->core.pool != NULL; }

/* Room in an array for one more than `count`: it, or a larger one in its place. NULL with an exception. */
static void *with_room(void *array, size_t count, size_t *room, size_t size) {
  if (count < *room) return array;
  size_t more = *room == 0 ? FIRST_ROOM : 2 * *room;
  void *larger = PyMem_Realloc(array, more * size);
  if (larger == NULL) return PyErr_NoMemory();
  *room = more;
  return larger;
}

/* ---- making and dropping ---- */

static int look_at_signals(mhx_graph *graph) {
  return ++graph->ticks % TICKS == 0 ? PyErr_CheckSignals() : 0;
}

/* No compound comes from elsewhere: those that are stored are read as plain values. */
static bool is_fresh(const mhx_graph *graph, uint64_t word) {
  if (mh_word_is_compound(&graph->space->core, word)) return true;
  if (!mh_word_is_ref(word) || !mh_is_container(&graph->space->core, word)) return false;
  const mh_container *container = mh_at(graph->space->core.region, mh_word_offset(word));
  return mh_birth_of(&graph->space->core, container) >= graph->first_birth;
}

/* Drops a value that found no place; what was made here is discarded with all the rest. */
static void drop(mhx_graph *graph, uint64_t word) {
  if (pools(graph)) return; /* the heap itself is dropped */
  if (!is_fresh(graph, word)) mh_release(&graph->space->core, word);
}

static int reserve_made(mhx_graph *graph) {
  if (graph->count < graph->room) return 0;
  size_t room = graph->room == 0 ? FIRST_ROOM : graph->room * 2;
  PyObject **sources = PyMem_Realloc(graph->sources, room * sizeof *sources);
  if (sources != NULL) graph->sources = sources;
  uint64_t *made = PyMem_Realloc(graph->made, room * sizeof *made);
  if (made != NULL) graph->made = made;
  size_t *todo = PyMem_Realloc(graph->todo, room * sizeof *todo);
  if (todo != NULL) graph->todo = todo;
  if (sources == NULL || made == NULL || todo == NULL) return PyErr_NoMemory(), -1;
  graph->room = room;
  return 0;
}

typedef struct shape {
  mh_type type;
  Py_ssize_t length;
  uint64_t limit; /* of a deque */
  const mh_schema *schema; /* of a record */
} shape;

static mheap_err new_of(mh_space *space, const shape *of, uint64_t *word) {
  mhx_of made;
  mheap_err failed;
  uint64_t length = (uint64_t)of->length;
  switch (of->type) {
    case MH_TYPE_LIST: failed = mh_list_new(space, length, &made.list); break;
    case MH_TYPE_SORTED: failed = mh_sorted_new(space, &made.sorted); break;
    case MH_TYPE_RECORD: failed = mh_fields_new(space, of->schema, &made.record.fields); break;
    case MH_TYPE_RECORDS: failed = mh_row_list_new(space, of->schema, length, &made.rows.list); break;
    case MH_TYPE_DEQUE: failed = mh_deque_new(space, length, of->limit, &made.list); break;
    default: failed = mh_table_owner_new(space, of->type, length, &made.dict);
  }
  if (!failed) *word = mh_container_ref(of->type, made.dict.offset);
  return failed;
}

/* An empty container for `source`: a plain one, or another heap's twin; unless it is `only`, it may be met
   again. */
static int make(mhx_graph *graph, PyObject *source, shape of, bool only, uint64_t *word) {
  mh_space *space = &graph->space->core;
  if (reserve_made(graph) < 0) return -1;
  if (new_of(space, &of, word)) return mhx_failed(graph->space);
  if (!only && mhx_memo_add(&graph->memo, source, *word) < 0) return mh_release(space, *word), -1;
  graph->sources[graph->count] = Py_NewRef(source);
  graph->made[graph->count++] = *word;
  return 0;
}

/* A compound for `object`, whose words the tuple is; `only` as in make. */
static int make_compound(mhx_graph *graph, PyObject *object, mh_type type, mh_kind_code kind, PyObject *tuple,
                         bool only, uint64_t *word) {
  mh_space *space = &graph->space->core;
  if (reserve_made(graph) < 0) return -1;
  if (mh_compound_new(space, type, kind, (uint64_t)PyTuple_GET_SIZE(tuple), word))
    return mhx_failed(graph->space);
  if (!only && mhx_memo_add(&graph->memo, object, *word) < 0) return mh_release(space, *word), -1;
  graph->sources[graph->count] = Py_NewRef(tuple);
  graph->made[graph->count++] = *word;
  return 0;
}

/* A tuple of what a compound consists of, owned; NULL with an exception. */
static PyObject *parts_of(const mhx_graph *graph, PyObject *object, mh_type *type, mh_kind_code *kind) {
  *kind = 0;
  *type = PyTuple_CheckExact(object) ? MH_TYPE_TUPLE : MH_TYPE_FROZENSET;
  if (PyTuple_CheckExact(object)) return Py_NewRef(object);
  if (PyFrozenSet_CheckExact(object)) {
    if (mhx_frozenset_fits(object) < 0) return NULL;
    return pools(graph) ? mhx_in_order(graph->space, object) : PySequence_Tuple(object);
  }
  PyObject *words;
  *type = MH_TYPE_EXTENDED;
  int made = mhx_to_state(mhx_state_of_heap(graph->space->heap_obj), object, kind, &words);
  if (made == 0) mhx_cannot_store(object, false);
  return made > 0 ? words : NULL;
}

static int make_parts(mhx_graph *graph, PyObject *object, bool only, uint64_t *word) {
  mh_type type;
  mh_kind_code kind;
  PyObject *tuple = parts_of(graph, object, &type, &kind);
  int failed = tuple == NULL ? -1 : make_compound(graph, object, type, kind, tuple, only, word);
  graph->has_registered |= kind == MH_KIND_REGISTERED;
  Py_XDECREF(tuple);
  return failed;
}

/* Nothing is left to fill: an array is made with its rows. */
static int make_array(mhx_graph *graph, PyObject *object, PyObject *parts, uint64_t *word) {
  if (reserve_made(graph) < 0 || mhx_array_make(graph->space, parts, word) < 0) return -1;
  if (mhx_memo_add(&graph->memo, object, *word) < 0) return mh_release(&graph->space->core, *word), -1;
  graph->sources[graph->count] = Py_NewRef(object);
  graph->made[graph->count++] = *word;
  return 0;
}

/* A plain array, or one of another heap. 1: made; 0: it is none; -1: an exception. */
static int array_word(mhx_graph *graph, PyObject *object, uint64_t *word) {
  if (!PyObject_CheckBuffer(object)) return 0;
  PyObject *module = PyImport_ImportModule("mheap.arrays");
  PyObject *parts = module == NULL ? NULL : PyObject_CallMethod(module, "_parts", "(O)", object);
  Py_XDECREF(module);
  if (parts == NULL || parts == Py_None) return Py_XDECREF(parts), parts == NULL ? -1 : 0;
  int failed = make_array(graph, object, parts, word);
  Py_DECREF(parts);
  return failed < 0 ? -1 : 1;
}

static void end(mhx_graph *graph) {
  for (size_t i = 0; i < graph->depth; i++) {
    Py_DECREF(graph->frames[i].object);
    Py_DECREF(graph->frames[i].tuple);
  }
  PyMem_Free(graph->frames);
  PyMem_Free(graph->pile);
  for (size_t i = 0; i < graph->count; i++) Py_XDECREF(graph->sources[i]);
  PyMem_Free(graph->sources);
  PyMem_Free(graph->todo);
  PyMem_Free(graph->replaced);
  mhx_memo_end(&graph->memo);
  mhx_texts_end(&graph->texts);
}

/* ---- single values ---- */

static int retained(mhx_graph *graph, uint64_t word) {
  return mh_retain(&graph->space->core, word) ? mhx_failed(graph->space) : 0;
}

/* Can what the twin stands for be read? */
static mheap_err look_at(mhx_twin *twin, shape *of) {
  uint64_t length = 0;
  mh_items items = {.count = 0};
  mheap_err failed;
  if (mh_type_has_table(of->type)) failed = mh_dict_length(&twin->of.dict, &length);
  else if (of->type == MH_TYPE_SORTED) failed = mh_sorted_length(&twin->of.sorted, &length);
  else failed = mh_list_items(&twin->of.list, &items);
  of->length = (Py_ssize_t)(length + items.count);
  if (mh_type_has_table(of->type) || of->type == MH_TYPE_SORTED) return failed;
  return failed || of->type == MH_TYPE_LIST ? failed : mh_deque_limit(&twin->of.list, &of->limit);
}

static int fill_record(mhx_graph *graph, PyObject *source, uint64_t word);

/* The container that is copied, and the copying, have a reference each. */
static bool is_shared(PyObject *object) { return Py_REFCNT(object) > 2; }

/* What only its container refers to, and we, is met once, and needs no memo. */
static bool is_met_once(const mhx_graph *graph, PyObject *object) {
  return graph->fills && !pools(graph) && !is_shared(object);
}

static int make_at_once(mhx_graph *graph, PyObject *object, const mh_schema *schema, uint64_t *word) {
  shape of = {.type = MH_TYPE_RECORD, .schema = schema};
  if (reserve_made(graph) < 0) return -1;
  if (new_of(&graph->space->core, &of, word)) return mhx_failed(graph->space);
  graph->sources[graph->count] = NULL; /* nothing is left to be filled */
  graph->made[graph->count++] = *word;
  graph->nesting++;
  int failed = fill_record(graph, object, *word);
  graph->nesting--;
  return failed;
}

/* A plain record, or another heap's. What says the class of that may run Python code. */
static int record_word(mhx_graph *graph, PyObject *object, uint64_t *word) {
  mhx_shape *class = mhx_record_shape(object);
  const mh_schema *schema = class == NULL ? NULL : mhx_schema_for(graph->space, class);
  Py_XDECREF((PyObject *)class);
  if (schema == NULL) return -1;
  if (is_met_once(graph, object) && graph->nesting < AT_ONCE && mhx_is_plain(object))
    return make_at_once(graph, object, schema, word);
  return make(graph, object, (shape){.type = MH_TYPE_RECORD, .schema = schema}, false, word);
}

/* A plain record list, or another heap's. */
static int rows_word(mhx_graph *graph, PyObject *object, uint64_t *word) {
  PyObject *class = PyObject_CallMethod(object, "_shape", NULL);
  shape of = {.type = MH_TYPE_RECORDS, .length = class == NULL ? -1 : PyObject_Size(object)};
  if (of.length >= 0) of.schema = mhx_schema_for(graph->space, (mhx_shape *)class);
  Py_XDECREF(class);
  return of.schema == NULL ? -1 : make(graph, object, of, false, word);
}

/* A twin of this heap is shared; one of another heap is a container to copy. */
static int twin_word(mhx_graph *graph, PyObject *object, mh_type type, uint64_t *word) {
  mhx_twin *twin = (mhx_twin *)object;
  mhx_space *space = mhx_twin_space(twin);
  shape of = {.type = type};
  if (space == NULL || (space == graph->space && mhx_root_exists(space, twin) < 0)) return -1;
  if (space == graph->space) {
    mh_container *container;
    *word = mh_container_ref(type, twin->of.dict.offset);
    if (mh_container_at(&space->core, twin->of.dict.offset, type, twin->of.dict.birth, &container))
      return mhx_failed(space);
    return retained(graph, *word);
  }
  if (type == MH_TYPE_ARRAY) return array_word(graph, object, word) < 0 ? -1 : 0;
  if (type == MH_TYPE_RECORD) return record_word(graph, object, word);
  if (type == MH_TYPE_RECORDS) return rows_word(graph, object, word);
  if (look_at(twin, &of)) return mhx_failed(space);
  return make(graph, object, of, false, word);
}

/* An iterable of C: this runs no Python code. */
static int plain_deque_word(mhx_graph *graph, PyObject *object, uint64_t *word) {
  shape of = {.type = MH_TYPE_DEQUE, .length = PyObject_Size(object)};
  PyObject *maxlen = of.length < 0 ? NULL : PyObject_GetAttrString(object, "maxlen");
  if (maxlen == NULL) return -1;
  if (maxlen != Py_None) of.limit = PyLong_AsSize_t(maxlen) + 1;
  Py_DECREF(maxlen);
  return make(graph, object, of, false, word);
}

static bool is_plain_deque(const mhx_graph *graph, PyObject *object) {
  PyObject **types = mhx_state_of_heap(graph->space->heap_obj)->object_types;
  return (PyObject *)Py_TYPE(object) == types[MHX_PLAIN_DEQUE];
}

/* What a dict is stored as. Of the classes derived from it these alone are stored. 1; 0: it is none of them;
   -1: an exception. */
static int is_dict(PyObject *object, mh_type *type) {
  *type = MH_TYPE_DICT;
  if (PyDict_CheckExact(object)) return 1;
  if (!PyDict_Check(object)) return 0;
  *type = MH_TYPE_COUNTER;
  int is = mhx_is_of(object, "collections", "Counter");
  if (is != 0) return is;
  *type = MH_TYPE_SORTED;
  return mhx_is_of(object, "mheap.sorted", "SortedDict");
}

/* Of types whose objects tell how many they have. 1; 0: of another; -1: an exception. */
static int is_sized(PyObject *object, shape *of) {
  mh_type type;
  int is = is_dict(object, &type);
  if (is > 0) *of = (shape){.type = type, .length = PyDict_GET_SIZE(object)};
  else if (PyList_CheckExact(object)) *of = (shape){.type = MH_TYPE_LIST, .length = PyList_GET_SIZE(object)};
  else if (PySet_CheckExact(object)) *of = (shape){.type = MH_TYPE_SET, .length = PySet_GET_SIZE(object)};
  else return is;
  return 1;
}

static bool is_record(const mhx_graph *graph, PyObject *object) {
  PyObject **types = mhx_state_of_heap(graph->space->heap_obj)->object_types;
  return PyObject_TypeCheck(object, (PyTypeObject *)types[MHX_RECORD_TWIN]);
}

/* mheap.RecordList: it was imported, if there is one. */
static bool is_plain_rows(const mhx_graph *graph, PyObject *object) {
  PyObject *type = mhx_state_of_heap(graph->space->heap_obj)->object_types[MHX_PLAIN_RECORD_LIST];
  return type != NULL && (PyObject *)Py_TYPE(object) == type;
}

/* What was copied already. 1; 0: it was not; -1. */
static int known_word(mhx_graph *graph, PyObject *object, uint64_t *word) {
  const mhx_memo_entry *entry = mhx_memo_find(&graph->memo, object);
  if (entry->object == NULL) return 0;
  *word = entry->word;
  if (*word != MH_WORD_ABSENT) {
    graph->may_return |= graph->has_registered && mh_word_is_compound(&graph->space->core, *word);
    return retained(graph, *word) < 0 ? -1 : 1;
  }
  PyErr_Format(PyExc_ValueError, "a %.200s that is part of itself cannot be dumped",
               Py_TYPE(object)->tp_name);
  return -1;
}

static int one(int failed) { return failed < 0 ? -1 : 1; }

/* Of a container, plain or another heap's. 1; 0: it is a compound, or cannot be stored; -1. */
static int new_container(mhx_graph *graph, PyObject *object, uint64_t *word) {
  shape of;
  int sized = is_sized(object, &of);
  if (sized != 0) return sized < 0 ? -1 : one(make(graph, object, of, false, word));
  if (is_plain_deque(graph, object)) return one(plain_deque_word(graph, object, word));
  if (is_record(graph, object) && (mhx_is_plain(object) || mhx_is_row(object)))
    return one(record_word(graph, object, word));
  if (is_plain_rows(graph, object)) return one(rows_word(graph, object, word));
  mh_type type = mhx_twin_type(graph->space, object);
  return type != 0 ? one(twin_word(graph, object, type, word)) : array_word(graph, object, word);
}

/* ---- compounds that are complete before they are stored ---- */

static int put_on_pile(mhx_graph *graph, uint64_t word) {
  uint64_t *pile = with_room(graph->pile, graph->height, &graph->pile_room, sizeof *pile);
  if (pile == NULL) return -1;
  graph->pile = pile;
  pile[graph->height++] = word;
  return 0;
}

static int reserve_frame(mhx_graph *graph) {
  frame *frames = with_room(graph->frames, graph->depth, &graph->frames_room, sizeof *frames);
  if (frames == NULL) return -1;
  graph->frames = frames;
  return 0;
}

/* Until it is complete the memo has no word for it. */
static int begin_compound(mhx_graph *graph, PyObject *object) {
  frame new = {.first = graph->height};
  mh_kind_code kind;
  if (reserve_frame(graph) < 0) return -1;
  new.tuple = parts_of(graph, object, &new.type, &kind);
  if (new.tuple == NULL) return -1;
  new.object = Py_NewRef(object);
  graph->frames[graph->depth++] = new;
  if (mhx_memo_add(&graph->memo, object, MH_WORD_ABSENT) < 0) return -1;
  return put_on_pile(graph, kind);
}

static int end_compound(mhx_graph *graph, uint64_t *word) {
  frame done = graph->frames[graph->depth - 1];
  uint64_t count = graph->height - done.first - 1;
  if (mh_compound_once(&graph->space->core, done.type, graph->pile + done.first, count, word))
    return mhx_failed(graph->space);
  mhx_memo_find(&graph->memo, done.object)->word = *word;
  graph->height = done.first;
  graph->depth--;
  Py_DECREF(done.object);
  Py_DECREF(done.tuple);
  return 0;
}

/* 1; 0: a compound that is not known yet; -1. */
static int simple_word(mhx_graph *graph, PyObject *object, uint64_t *word) {
  int made = mhx_scalar(graph->space, object, word);
  if (made == 0) made = known_word(graph, object, word);
  return made == 0 ? new_container(graph, object, word) : made;
}

/* Without recursion. What has no word yet is begun, and goes on where it was when that has one. */
static int complete_word(mhx_graph *graph, PyObject *object, uint64_t *word) {
  int made = begin_compound(graph, object);
  while (made == 0) {
    frame *top = &graph->frames[graph->depth - 1];
    if (look_at_signals(graph) < 0) return -1;
    if (top->next == PyTuple_GET_SIZE(top->tuple)) {
      if (end_compound(graph, word) < 0) return -1;
      if (graph->depth == 0) return 0;
      made = put_on_pile(graph, *word);
      continue;
    }
    PyObject *item = PyTuple_GET_ITEM(top->tuple, top->next++);
    int found = simple_word(graph, item, word);
    made = found > 0 ? put_on_pile(graph, *word) : found < 0 ? -1 : begin_compound(graph, item);
  }
  return made;
}

static int container_word(mhx_graph *graph, PyObject *object, uint64_t *word) {
  bool only = is_met_once(graph, object);
  if (only && PyTuple_CheckExact(object)) return make_parts(graph, object, only, word);
  int made = known_word(graph, object, word);
  if (made == 0) made = new_container(graph, object, word);
  if (made != 0) return made < 0 ? -1 : 0;
  return pools(graph) ? complete_word(graph, object, word) : make_parts(graph, object, only, word);
}

/* Is it a str that several places share, and that needs a block? One of so few characters may be in its word:
   it is looked at first. */
static bool is_shared_text(PyObject *object) {
  return PyUnicode_CheckExact(object) && is_shared(object) && PyUnicode_GET_LENGTH(object) > MH_NAME_MAX;
}

static int shared_str(mhx_graph *graph, PyObject *object, uint64_t *word) {
  *word = mhx_texts_recall(&graph->texts, object);
  if (*word != MH_WORD_ABSENT) return retained(graph, *word);
  if (mhx_scalar(graph->space, object, word) < 0) return -1;
  if (mhx_texts_remember(&graph->texts, object, *word) == 0) return 0;
  mh_release(&graph->space->core, *word);
  return -1;
}

static int any_word(mhx_graph *graph, PyObject *object, uint64_t *word) {
  if (is_shared_text(object)) return shared_str(graph, object, word);
  int made = mhx_scalar(graph->space, object, word);
  if (made != 0) return made < 0 ? -1 : 0;
  return container_word(graph, object, word);
}

/* A value with a reference of the caller's own besides that of the plain container it is in. One without any
   other is met once: only what is copied is looked for in the memo. */
static int item_word(mhx_graph *graph, PyObject *object, uint64_t *word) {
  shape of;
  int sized = is_shared(object) ? 0 : is_sized(object, &of);
  if (sized != 0) return sized < 0 ? -1 : make(graph, object, of, true, word);
  return any_word(graph, object, word);
}

/* ---- filling ---- */

/* What the entry that was just set took the place of. Without memory for that, it stays until it is
   collected. True: there was one. */
static bool keep_replaced(mhx_graph *graph) {
  uint64_t word = graph->was_replaced;
  graph->was_replaced = MH_WORD_ABSENT;
  if (!mh_word_is_ref(word)) return word != MH_WORD_ABSENT;
  uint64_t *kept = with_room(graph->replaced, graph->replaced_count, &graph->replaced_room, sizeof *kept);
  if (kept == NULL) return PyErr_Clear(), true;
  graph->replaced = kept;
  kept[graph->replaced_count++] = word;
  return true;
}

static int add_tree_entry(mhx_graph *graph, mhx_of *of, PyObject *key_object, PyObject *value) {
  mhx_tree *tree;
  uint64_t word;
  if (mhx_tree_new(mhx_state_of_heap(graph->space->heap_obj), key_object, true, &tree) <= 0) return -1;
  int failed = any_word(graph, value, &word);
  if (failed == 0 && (failed = mhx_tree_set(graph->space, of, tree, word, key_object)) < 0) drop(graph, word);
  if (failed == 0) keep_replaced(graph);
  mhx_tree_free(tree);
  return failed;
}

static int add_entry(mhx_graph *graph, mhx_of *of, PyObject *key_object, PyObject *value) {
  mhx_key key;
  uint64_t word;
  if (!mhx_is_storable_key(key_object)) return add_tree_entry(graph, of, key_object, value);
  if (item_word(graph, value, &word) < 0) return -1;
  int made = mhx_key_make(graph->space, key_object, &key);
  bool shares = made > 0 && is_shared_text(key_object);
  if (shares && shared_str(graph, key_object, &key.key.stored) < 0) made = -1;
  mheap_err failed = made > 0 ? mhx_entry_set(of, &key.key, word) : MHEAP_OK;
  if (keep_replaced(graph) && shares) mh_release(&graph->space->core, key.key.stored); /* the key is there */
  if (made > 0 && !failed) return mhx_key_end(&key), 0;
  mhx_key_end(&key);
  drop(graph, word);
  return failed ? mhx_entry_failed(graph->space, failed, key_object) : -1;
}

static int fill_from_dict(mhx_graph *graph, PyObject *source, mhx_of *of) {
  Py_ssize_t at = 0;
  PyObject *key, *value;
  while (PyDict_Next(source, &at, &key, &value)) {
    Py_INCREF(key);
    Py_INCREF(value);
    int failed = add_entry(graph, of, key, value);
    Py_DECREF(key);
    Py_DECREF(value);
    if (failed < 0 || look_at_signals(graph) < 0) return -1;
  }
  return 0;
}

/* The entries of a twin, one after the other. Start with zeros. */
typedef struct cursor {
  uint32_t index; /* of a sorted dict: 1: there is a spot */
  mh_spot spot;
} cursor;

static mheap_err next_entry(mhx_twin *twin, cursor *at, mh_entry *entry) {
  if (twin->of.dict.type != MH_TYPE_SORTED) return mh_dict_next(&twin->of.dict, &at->index, entry);
  mheap_err failed = at->index == 0 ? mh_sorted_seek_index(&twin->of.sorted, 0, &at->spot) : MHEAP_OK;
  at->index = 1;
  return failed ? failed : mh_sorted_next(&twin->of.sorted, &at->spot, entry);
}

static int fill_from_twin_dict(mhx_graph *graph, mhx_twin *source, mhx_of *of) {
  mhx_space *from = mhx_twin_space(source);
  mh_entry entry;
  mheap_err failed = MHEAP_OK;
  for (cursor at = {0}; from != NULL && (failed = next_entry(source, &at, &entry)) == MHEAP_OK;) {
    PyObject *key = mhx_from_key(from, entry.key), *value = mhx_from_word(from, entry.value);
    int added = key == NULL || value == NULL ? -1 : add_entry(graph, of, key, value);
    Py_XDECREF(key);
    Py_XDECREF(value);
    if (added < 0) return -1;
  }
  if (from == NULL) return -1;
  return failed == MHEAP_ERR_NOT_FOUND ? 0 : mhx_failed(from);
}

static int add_item(mhx_graph *graph, mh_list *list, PyObject *item) {
  uint64_t word;
  if (item_word(graph, item, &word) < 0) return -1;
  if (mh_list_append(list, word) == MHEAP_OK) return 0;
  mhx_failed(graph->space);
  drop(graph, word);
  return -1;
}

static int fill_from_list(mhx_graph *graph, PyObject *source, mh_list *list) {
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(source); i++) {
    PyObject *item = Py_NewRef(PyList_GET_ITEM(source, i));
    int failed = add_item(graph, list, item);
    Py_DECREF(item);
    if (failed < 0 || look_at_signals(graph) < 0) return -1;
  }
  return 0;
}

static int fill_from_twin_list(mhx_graph *graph, mhx_twin *source, mh_list *list) {
  mhx_space *from = mhx_twin_space(source);
  mh_items items;
  for (uint64_t i = 0; from != NULL; i++) {
    if (mh_list_items(&source->of.list, &items)) return mhx_failed(from);
    if (i >= items.count) return 0;
    PyObject *item = mhx_from_word(from, items.words[i]);
    int added = item == NULL ? -1 : add_item(graph, list, item);
    Py_XDECREF(item);
    if (added < 0) return -1;
  }
  return -1;
}

/* From a plain set or deque, whose iterators notice changes. */
static int fill_by_iterator(mhx_graph *graph, PyObject *source, mhx_of *set, mh_list *deque) {
  PyObject *iter = PyObject_GetIter(source), *item;
  bool failed = iter == NULL;
  while (!failed && (item = PyIter_Next(iter)) != NULL) {
    failed = (set != NULL ? add_entry(graph, set, item, Py_None) : add_item(graph, deque, item)) < 0 ||
             look_at_signals(graph) < 0;
    Py_DECREF(item);
  }
  Py_XDECREF(iter);
  return failed || PyErr_Occurred() ? -1 : 0;
}

static int fill_in_order(mhx_graph *graph, PyObject *source, mhx_of *set) {
  PyObject *elements = mhx_in_order(graph->space, source);
  int failed = elements == NULL ? -1 : 0;
  for (Py_ssize_t i = 0; failed == 0 && i < PyTuple_GET_SIZE(elements); i++) {
    failed = add_entry(graph, set, PyTuple_GET_ITEM(elements, i), Py_None);
    if (failed == 0) failed = look_at_signals(graph);
  }
  Py_XDECREF(elements);
  return failed;
}

static int fill_compound(mhx_graph *graph, PyObject *source, uint64_t word) {
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(source); i++) {
    uint64_t item;
    PyObject *object = Py_NewRef(PyTuple_GET_ITEM(source, i)); /* as is_met_once expects */
    int failed = any_word(graph, object, &item);
    Py_DECREF(object);
    if (failed < 0) return -1;
    mh_compound_set(&graph->space->core, word, (uint64_t)i, item);
    if (look_at_signals(graph) < 0) return -1;
  }
  return 0;
}

/* What is read from another heap may run Python code, which might close that one. */
static int fill_from_twin(mhx_graph *graph, PyObject *source, mhx_of *entries, mh_list *list) {
  mhx_twin *twin = (mhx_twin *)source;
  mhx_use use;
  if (mhx_use_begin((mhx_handle *)twin->heap_obj, &use) == NULL) return -1;
  int failed =
      entries != NULL ? fill_from_twin_dict(graph, twin, entries) : fill_from_twin_list(graph, twin, list);
  mhx_use_end((mhx_handle *)twin->heap_obj, &use);
  return failed;
}

static int fill_from_mapping(mhx_graph *graph, PyObject *source, mhx_of *of) {
  return PyDict_Check(source) ? fill_from_dict(graph, source, of) : fill_from_twin(graph, source, of, NULL);
}

static int fill_sorted(mhx_graph *graph, PyObject *source, mhx_of *of) {
  mh_sorted_build build;
  of->sorted.replaced = &graph->was_replaced;
  mh_sorted_build_begin(&of->sorted, &build);
  int failed = fill_from_mapping(graph, source, of);
  mh_sorted_build_end(&of->sorted);
  return failed;
}

static int fill_entries(mhx_graph *graph, PyObject *source, mh_type type, uint64_t offset) {
  mhx_of of;
  if (mhx_of_at(graph->space, type, offset, &of)) return mhx_failed(graph->space);
  if (type == MH_TYPE_SORTED) return fill_sorted(graph, source, &of);
  of.dict.replaced = &graph->was_replaced;
  of.dict.writable = true; /* it was made here */
  if (type == MH_TYPE_SET && pools(graph)) return fill_in_order(graph, source, &of);
  if (PySet_CheckExact(source)) return fill_by_iterator(graph, source, &of, NULL);
  return fill_from_mapping(graph, source, &of);
}

static int put_value(mhx_graph *graph, mh_fields *fields, const mh_schema_field *field, PyObject *value) {
  uint64_t word;
  if (field->kind != MH_FIELD_WORD && mhx_field_bits(field->kind, value, &word) < 0) return -1;
  if (field->kind == MH_FIELD_WORD && any_word(graph, value, &word) < 0) return -1;
  if (field->kind == MH_FIELD_BOOL) mh_fields_set_bool(fields, field->offset, word != 0);
  else mh_fields_set_bits(fields, field->offset, word);
  return 0;
}

/* What a plain record has at this moment: Python code may change it meanwhile. */
static PyObject *slot_value(PyObject *source, const mhx_shape *class, Py_ssize_t index) {
  PyObject *value = *mhx_slot(source, &class->fields[index]);
  if (value != NULL) return Py_NewRef(value);
  return PyErr_Format(PyExc_AttributeError, "%.200s.%U has no value", Py_TYPE(source)->tp_name,
                      class->fields[index].name);
}

/* Each value is made and put in its place: the record is nobody else's yet, and its fields are zero. */
static int fill_record(mhx_graph *graph, PyObject *source, uint64_t word) {
  mh_fields fields;
  if (mh_fields_at(&graph->space->core, mh_word_offset(word), &fields)) return mhx_failed(graph->space);
  bool is_plain = mhx_is_plain(source);
  PyObject *values = is_plain ? NULL : mhx_record_values(source);
  mhx_shape *class = is_plain ? mhx_shape_of(Py_TYPE(source)) : NULL;
  if (values == NULL && class == NULL) return -1;
  int failed = 0;
  for (uint32_t i = 0; failed == 0 && i < fields.schema->field_count; i++) {
    PyObject *value = is_plain ? slot_value(source, class, i) : Py_NewRef(PyTuple_GET_ITEM(values, i));
    failed = value == NULL ? -1 : put_value(graph, &fields, &fields.schema->fields[i], value);
    Py_XDECREF(value);
  }
  Py_XDECREF(values);
  return failed;
}

/* A row's values are made in place: nobody sees what is behind the last row. */
static int add_row(mhx_graph *graph, mh_row_list *list, PyObject *record) {
  mh_rows rows;
  uint64_t item;
  mhx_shape *class = mhx_record_shape(record);
  const mh_schema *schema = class == NULL ? NULL : mhx_schema_for(graph->space, class);
  Py_XDECREF((PyObject *)class);
  PyObject *values = schema == NULL ? NULL : mhx_record_values(record);
  if (values == NULL) return -1;
  int failed = mh_row_list_rows(list, true, &rows) ? mhx_failed(graph->space) : 0;
  if (failed == 0 && rows.schema != schema)
    failed = (PyErr_SetString(PyExc_TypeError, "a record list holds records of its class alone"), -1);
  char *row = failed < 0 ? NULL : PyMem_Calloc(1, rows.schema->bytes);
  uint32_t done = 0;
  for (; row != NULL && failed == 0 && done < rows.schema->field_count; done += failed == 0) {
    const mh_schema_field *field = &rows.schema->fields[done];
    PyObject *value = PyTuple_GET_ITEM(values, done);
    if (field->kind != MH_FIELD_WORD) failed = mhx_field_bits(field->kind, value, &item);
    else failed = any_word(graph, value, &item);
    if (failed == 0) memcpy(row + field->offset, &item, field->kind == MH_FIELD_BOOL ? 1 : 8);
  }
  Py_DECREF(values);
  if (row == NULL) return failed < 0 ? -1 : (PyErr_NoMemory(), -1);
  uint64_t at = rows.count;
  if (failed == 0 && mh_rows_splice(list, at, 0, row, 1)) failed = mhx_failed(graph->space);
  for (uint32_t i = 0; failed < 0 && i < done; i++) {
    memcpy(&item, row + rows.schema->fields[i].offset, 8);
    if (rows.schema->fields[i].kind == MH_FIELD_WORD) drop(graph, item);
  }
  PyMem_Free(row);
  return failed;
}

static int fill_rows(mhx_graph *graph, PyObject *source, uint64_t offset) {
  mh_row_list list;
  if (mh_row_list_at(&graph->space->core, offset, &list)) return mhx_failed(graph->space);
  PyObject *iter = PyObject_GetIter(source), *record;
  bool failed = iter == NULL;
  while (!failed && (record = PyIter_Next(iter)) != NULL) {
    failed = !is_record(graph, record) || add_row(graph, &list, record) < 0 || look_at_signals(graph) < 0;
    Py_DECREF(record);
  }
  Py_XDECREF(iter);
  if (failed && !PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "a record list of what is no record");
  return failed || PyErr_Occurred() ? -1 : 0;
}

static int fill(mhx_graph *graph, PyObject *source, uint64_t word) {
  mh_space *space = &graph->space->core;
  uint64_t offset = mh_word_offset(word);
  mh_type type = mh_head_type(*(uint64_t *)mh_at(space->region, offset));
  mh_list list;
  if (mh_type_is_compound(type)) return fill_compound(graph, source, word);
  if (type == MH_TYPE_ARRAY) return 0;
  if (type == MH_TYPE_RECORD) return fill_record(graph, source, word);
  if (type == MH_TYPE_RECORDS) return fill_rows(graph, source, offset);
  if (mh_type_has_table(type) || type == MH_TYPE_SORTED) return fill_entries(graph, source, type, offset);
  if (mh_items_owner_at(space, type, offset, &list)) return mhx_failed(graph->space);
  list.writable = true; /* it was made here */
  if (PyList_CheckExact(source)) return fill_from_list(graph, source, &list);
  if (is_plain_deque(graph, source)) return fill_by_iterator(graph, source, NULL, &list);
  return fill_from_twin(graph, source, NULL, &list);
}

/* ---- all of it ---- */

int mhx_words_refused(mhx_space *space, mhx_words *words) {
  if (space->core.pool != NULL) return mhx_words_taken(words), -1;
  mhx_graph graph = {.space = space, .first_birth = words->first_birth};
  for (size_t i = 0; i < words->count; i++) drop(&graph, words->words[i]);
  mh_discard(&space->core, words->made, words->made_count, words->first_birth);
  mhx_words_taken(words);
  return -1;
}

int mhx_words_failed(mhx_space *space, mhx_words *words) {
  mheap_error error = *mheap_last_error(space->core.heap);
  PyObject *path = Py_NewRef(((mhx_handle *)space->heap_obj)->path);
  mhx_words_refused(space, words);
  mhx_raise_error_at(&error, path);
  Py_DECREF(path);
  return -1;
}

/* What was made from `from` on is filled next, in that order. */
static void put_off(mhx_graph *graph, size_t from) {
  for (size_t i = graph->count; i > from; i--) graph->todo[graph->todo_count++] = i - 1;
}

static int fill_all(mhx_graph *graph) {
  put_off(graph, 0);
  while (graph->todo_count > 0) {
    size_t next = graph->todo[--graph->todo_count], before = graph->count;
    PyObject *source = graph->sources[next];
    if (source != NULL && fill(graph, source, graph->made[next]) < 0) return -1;
    put_off(graph, before);
  }
  return 0;
}

static int refuse_cycles(mhx_graph *graph) {
  int found = graph->may_return ? mhx_any_in_itself(graph->space, graph->made, graph->count) : 0;
  if (found > 0)
    PyErr_SetString(PyExc_ValueError, "a value of a registered type that is part of itself cannot be stored: "
                                      "let it have what refers to it in a list, a dict or a record");
  return found == 0 ? 0 : -1;
}

/* words->count counts along, so that what was made so far can be dropped. */
static int copy(mhx_graph *graph, PyObject *const *objects, size_t count, mhx_words *words) {
  if (mhx_memo_begin(&graph->memo, FIRST_ROOM) < 0) return -1;
  if (mhx_texts_begin(&graph->texts) < 0) return -1;
  for (; words->count < count; words->count++) {
    if (look_at_signals(graph) < 0) return -1;
    if (any_word(graph, objects[words->count], &words->words[words->count]) < 0) return -1;
  }
  graph->fills = true;
  return fill_all(graph) < 0 || refuse_cycles(graph) < 0 ? -1 : 0;
}

static void end_replaced(mhx_graph *graph, bool refused) {
  for (size_t i = 0; i < graph->replaced_count; i++)
    if (refused) drop(graph, graph->replaced[i]);
    else mh_release(&graph->space->core, graph->replaced[i]);
}

static int copy_in_use(mhx_space *space, PyObject *const *objects, size_t count, mhx_words *words) {
  mhx_use use;
  mhx_handle *handle = (mhx_handle *)space->heap_obj;
  if (mh_space_writable(&space->core)) return mhx_failed(space);
  if (mhx_use_begin(handle, &use) == NULL) return -1;
  words->first_birth = mh_next_birth(&space->core);
  mhx_graph graph = {.space = space, .first_birth = words->first_birth};
  int failed = copy(&graph, objects, count, words);
  words->made = graph.made;
  words->made_count = graph.count;
  end_replaced(&graph, failed < 0);
  if (failed == 0 && graph.replaced_count > 0) words->made_count = 0; /* of which some are gone */
  if (failed < 0) mhx_words_refused(space, words);
  end(&graph);
  mhx_use_end(handle, &use);
  return failed;
}

int mhx_value(mhx_space *space, PyObject *object, mhx_words *words) {
  int made = mhx_scalar(space, object, &words->one);
  words->words = &words->one;
  words->count = made > 0;
  words->made = NULL;
  words->made_count = 0;
  words->first_birth = UINT64_MAX;
  if (made != 0) return made < 0 ? -1 : 0;
  return copy_in_use(space, &object, 1, words);
}

int mhx_values(mhx_space *space, PyObject *list, mhx_words *words) {
  size_t count = (size_t)PyList_GET_SIZE(list);
  *words = (mhx_words){.words = PyMem_Malloc(8 * count + 8)};
  if (words->words == NULL) return PyErr_NoMemory(), -1;
  return copy_in_use(space, PySequence_Fast_ITEMS(list), count, words);
}
