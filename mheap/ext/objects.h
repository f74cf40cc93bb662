/* objects.h: the binding of the object layer: what its files share, and what they offer to the
   rest of the binding.

     objects.c          the types, heap.root, detaching
     objects_twin.c     twins: one Python object a container
     objects_orphans.c  containers that only a twin keeps, and commits
     objects_collect.c  collecting garbage
     objects_convert.c  Python scalars to values and keys, values to Python
     objects_graph.c    storing plain containers
     objects_dict.c, _counter.c, _sorted.c, _iter.c, _items.c, _list.c, _set.c, _deque.c, _array.c
                        the types' methods
     objects_record.c, _shape.c, _map.c   records (objects_records.h)
     readers.c            reading beside a writer

   Calls the object layer (core/objects) and ext.h. Belongs to the holder of the GIL: there is
   no lock. What may run Python code (a conversion of a foreign type) is done before the heap
   is asked for; nothing between that and the end of the operation runs any, except for
   objects_graph.c, which registers itself with mhx_use_begin. */
#ifndef MHEAP_EXT_OBJECTS_H
#define MHEAP_EXT_OBJECTS_H

#include "ext.h"
#include "objects/fields.h"
#include "objects/objects.h"
#include "objects/rows.h"
#include "reader.h"

/* ---- for the rest of the binding ---- */

/* Adds the types to the module. 0, or -1 with an exception. */
int mhx_objects_init(PyObject *module);
/* The twin of a Heap's root dict. NULL with an exception. */
PyObject *mhx_root(PyObject *heap_obj);
/* Frees what only this process held; twins that live on find out when they are used. */
void mhx_objects_detach(PyObject *heap_obj);

/* ---- in mhx_state.object_types ---- */
enum {
  MHX_DICT_TWIN, /* _core.DictTwin, and the next: with the C methods */
  MHX_LIST_TWIN,
  MHX_DICT_ITER,
  MHX_LIST_ITER,
  MHX_DICT,      /* mheap.PersistentDict, and the next: what Python sees; NULL until needed */
  MHX_LIST,
  MHX_SET_TWIN,
  MHX_DEQUE_TWIN,
  MHX_DEQUE_ITER,
  MHX_SET,
  MHX_DEQUE,
  MHX_PLAIN_DEQUE, /* collections.deque */
  MHX_COUNTER_TWIN,
  MHX_COUNTER, /* mheap.PersistentCounter; NULL until the first is met: mhx_twin_type_make_ready */
  MHX_ARRAY_TWIN,
  MHX_ARRAY_BYTES,
  MHX_ARRAY, /* NULL until there is one: mhx_twin_type_make_ready */
  MHX_SORTED_TWIN,
  MHX_SORTED_ITER,
  MHX_SORTED, /* as MHX_COUNTER */
  MHX_RECORD_TWIN, /* _core.RecordTwin, the base of all records */
  MHX_SHAPE,
  MHX_FIELD,
  MHX_PLAN,        /* mheap.records.plan, and the next; NULL until needed */
  MHX_ROWS_TWIN,   /* _core.RowsTwin */
  MHX_ROWS_ITER,
  MHX_COLUMN,
  MHX_PLAIN_RECORD_LIST, /* mheap.RecordList, once it was imported */
  MHX_RECORD_LIST, /* mheap.records.PersistentRecordList; NULL until needed */
};

extern PyType_Spec mhx_dict_twin_spec, mhx_list_twin_spec, mhx_set_twin_spec, mhx_deque_twin_spec;
extern PyType_Spec mhx_counter_twin_spec, mhx_sorted_twin_spec, mhx_sorted_iter_spec;
extern PyType_Spec mhx_dict_iter_spec, mhx_list_iter_spec, mhx_deque_iter_spec;

/* ---- twins ---- */

typedef struct mhx_twin mhx_twin;
typedef struct mhx_map mhx_map; /* objects_records.h */

/* A container that a commit has without a reference: objects_orphans.c. */
typedef struct mhx_orphan {
  uint64_t offset, birth;
  uint64_t heap; /* 0: of the space's; else the birth number of a named one, whose handle was closed */
} mhx_orphan;

/* One heap's objects as this process sees them; in the handle's slot while attached. */
typedef struct mhx_space {
  mh_space core;      /* first: what core/objects is given, and gives back to `held` */
  PyObject *heap_obj; /* the Heap, which owns this */
  mhx_twin **twins;   /* hash table by offset and birth; borrowed: twins take themselves out */
  size_t room, used;  /* entries, a power of two; entries in use */
  uint64_t number;    /* no other space of this process has it */
  mhx_map **maps;     /* PyMem; of records, by the numbers of schemas */
  size_t map_room;
  uint64_t undone;    /* rollbacks: iterators end at the next */
  size_t loose;       /* twins that are `loose` */
  mhx_orphan *orphans; /* PyMem */
  size_t orphan_count, orphan_room;
  size_t committing; /* of the orphans, what the commit under way frees */
  uint64_t told_to; /* the number of a collection */
  size_t told;      /* it knows of the twins in as many entries of the table, and of those that left it */
} mhx_space;

/* A container's handle. All begin with space, offset, birth, type. */
typedef union mhx_of {
  mh_dict dict; /* also of a set or counter */
  mh_list list; /* also of a deque */
  mh_sorted sorted;
  mh_array array;
  struct {
    mh_fields fields;
    const mhx_map *map; /* NULL: not looked at yet */
  } record;
  struct {
    mh_row_list list;
    const mhx_map *map; /* as above */
  } rows;
  struct { /* of a row: heap_obj is the twin of its list */
    mh_space *space;  /* NULL */
    uint64_t index;
    uint64_t changes; /* of the list's twin, when this was made */
    mh_type type;     /* RECORDS */
  } row;
} mhx_of;

/* Of a dict, set, counter or sorted dict. */
static inline mheap_err mhx_entry_get(mhx_of *of, const mh_key *key, uint64_t *value) {
  bool is_sorted = of->dict.type == MH_TYPE_SORTED;
  return is_sorted ? mh_sorted_get(&of->sorted, key, value) : mh_dict_get(&of->dict, key, value);
}
static inline mheap_err mhx_entry_set(mhx_of *of, const mh_key *key, uint64_t value) {
  bool is_sorted = of->dict.type == MH_TYPE_SORTED;
  return is_sorted ? mh_sorted_set(&of->sorted, key, value) : mh_dict_set(&of->dict, key, value);
}
static inline mheap_err mhx_entry_delete(mhx_of *of, const mh_key *key) {
  return of->dict.type == MH_TYPE_SORTED ? mh_sorted_delete(&of->sorted, key)
                                         : mh_dict_delete(&of->dict, key);
}
static inline mheap_err mhx_entries_length(mhx_of *of, uint64_t *length) {
  bool is_sorted = of->dict.type == MH_TYPE_SORTED;
  return is_sorted ? mh_sorted_length(&of->sorted, length) : mh_dict_length(&of->dict, length);
}
static inline mheap_err mhx_entries_clear(mhx_of *of) {
  return of->dict.type == MH_TYPE_SORTED ? mh_sorted_clear(&of->sorted) : mh_dict_clear(&of->dict);
}

/* Any twin: the only Python object for its container while it lives. */
struct mhx_twin {
  PyObject_HEAD
  PyObject *heap_obj; /* kept alive */
  mhx_space *space;   /* NULL: not in its table (the heap was detached, or the object is gone) */
  PyObject *weakrefs;
  bool loose;         /* once it was all that kept its container */
  bool orphan;        /* the same at the last commit, or one that failed since */
  uint32_t exports;   /* columns of a record list that are out */
  bool root;          /* of the heap's root: a rollback that takes it away makes this stand for none */
  uint64_t changes;   /* by this process: to a deque all, to other containers at least removals */
  mhx_of of;
};

/* Calls fun for each space of a main heap and its region's other heaps. */
void mhx_spaces_each(mhx_handle *main, void (*fun)(mhx_space *space));
/* The space of an attached heap; NULL with an exception. */
mhx_space *mhx_space_of(PyObject *heap_obj);
mhx_space *mhx_twin_space_slow(mhx_twin *twin);

/* ---- reading beside a writer (readers.c) ---- */

/* Goes on to the newest commit, unless one is kept. NULL with an exception. */
mhx_space *mhx_space_newest(mhx_space *space);
int mhx_torn_slowly(mhx_space *space);
/* Asked behind a read. 0: all of it was of one commit; 1: not, read again; -1: an exception. What was
   read, or raised, does not count then. */
static inline int mhx_torn(PyObject *twin) {
  mhx_space *space = ((mhx_twin *)twin)->space;
  if (space == NULL || mh_reader_is_whole(space->core.region)) return 0;
  return mhx_torn_slowly(space);
}
/* Keeps the commit for several reads. 1: until mhx_release_commit; 0: there is no need; -1: an exception. */
int mhx_keep_commit(mhx_twin *twin);
void mhx_release_commit(mhx_twin *twin);
/* Twins whose heap shows another commit now. */
void mhx_twins_look_anew(mhx_space *space);

/* Defines whole_NAME, which reads by NAME, and again if that was not all of one commit. */
#define MHX_WHOLE(type, name, drop, failed, parameters, arguments) \
  static type whole_##name parameters { \
    for (;;) { \
      type result = name arguments; \
      int torn = mhx_torn(self); \
      if (torn == 0) return result; \
      drop(result); \
      if (torn < 0) return failed; \
    } \
  }
#define MHX_WHOLE_OBJECT(name, parameters, arguments) \
  MHX_WHOLE(PyObject *, name, Py_XDECREF, NULL, parameters, arguments)
#define MHX_WHOLE_NUMBER(type, name, parameters, arguments) \
  MHX_WHOLE(type, name, (void), -1, parameters, arguments)

/* Before every operation: is the heap still attached? NULL with an exception. */
static inline mhx_space *mhx_twin_space(mhx_twin *twin) {
  const mhx_handle *handle = (const mhx_handle *)twin->heap_obj;
  bool live = twin->space != NULL && handle->heap != NULL && handle->forks == mhx_forks;
  mhx_space *space = live ? twin->space : mhx_twin_space_slow(twin);
  if (space == NULL || space->core.region->reader == NULL || mh_reader_is_current(space->core.region))
    return space;
  return mhx_space_newest(space);
}

/* The handle of a container. */
mheap_err mhx_of_at(mhx_space *space, mh_type type, uint64_t offset, mhx_of *of);
/* The twin of the container that a reference leads to. New reference. */
PyObject *mhx_twin_for(mhx_space *space, uint64_t word);
/* The twin of the record that was born as `birth` at an offset. New reference. */
PyObject *mhx_twin_born(mhx_space *space, uint64_t offset, uint64_t birth);
/* The twin of a root that is not there. New reference. */
PyObject *mhx_twin_nowhere(mhx_space *space);
/* If the twin stands for a root that is not there, makes one. 0, or -1 with an exception. */
int mhx_root_exists(mhx_space *space, mhx_twin *twin);
/* The root is there by now: it is what the twin of none stands for from now on, if there is one. */
void mhx_twin_found_root(mhx_space *space, const mh_dict *root);
/* A commit has what the twin alone kept: it is freed with the next one, unless something refers to it by
   then, since the end of a Python object is no change that anybody asked for. false: no memory. */
bool mhx_orphans_note(mhx_space *space, const mhx_twin *twin);
/* All was undone: what the last commit has without a reference may have another twin by now. */
void mhx_orphans_rolled_back(mhx_space *space);
/* The space ends, and no commit will look into it any more. */
void mhx_orphans_leave(mhx_space *space);
/* Tells the collection under way of the containers that twins keep, and of orphans, until it is `end` (of
   mh_os_monotonic). True: of all. */
bool mhx_twins_hold(mhx_space *space, double end);
/* Ends a collection that is under way. */
void mhx_collect_leave(mhx_space *space);
/* All was undone since the last commit: tells the twins whose objects are gone, or not as they were. */
void mhx_twins_rolled_back(mhx_space *space);
/* Imports the types of twins: before a space is asked for, since importing runs Python code,
   which may close the heap. 0, or -1 with an exception. */
int mhx_twin_types(mhx_state *state);
/* Is this the class of an instance of a class derived from dict? Such a module was imported before there was
   an instance. 1, 0, or -1 with an exception. */
int mhx_is_of(PyObject *object, const char *module, const char *name);
/* The types that others do without: is this one there, and if not, makes it so, which may run Python code. */
bool mhx_twin_type_is_ready(const mhx_state *state, mh_type type);
int mhx_twin_type_make_ready(mhx_state *state, mh_type type);
/* Of what `object` is a twin; 0: of nothing. */
mh_type mhx_twin_type(mhx_space *space, PyObject *object);
/* Frees what is known of the schemas of records. */
void mhx_maps_forget(mhx_space *space);
bool mhx_held(mh_space *space, uint64_t offset);
/* The space goes; `ended`: its objects are gone already. */
void mhx_twins_detach(mhx_space *space, bool ended);
/* A reader went on to a commit in which their heap is destroyed. */
void mhx_twins_gone(mhx_space *space);
void mhx_twin_dealloc(PyObject *self);
PyObject *mhx_twin_new(PyTypeObject *type, PyObject *args, PyObject *kwargs);
/* _most_text(): characters that the text of all the heap holds stays below, each thing in it
   written once. */
PyObject *mhx_twin_most_text(PyObject *self, PyObject *unused);

/* dict[key] = value. 0, or -1 with an exception. */
int mhx_dict_set(mhx_twin *twin, PyObject *key, PyObject *value);
/* 1: removed; 0: it was not there; -1: an exception. */
int mhx_dict_remove(mhx_twin *twin, PyObject *key);

/* ---- converting ---- */

/* What a value is in Python. New reference. */
PyObject *mhx_from_any_word(mhx_space *space, uint64_t word);
static inline PyObject *mhx_from_word(mhx_space *space, uint64_t word) {
  if (mh_word_tag(word) == MH_TAG_INT) return PyLong_FromLongLong(mh_word_to_int(word));
  return mhx_from_any_word(space, word);
}

PyObject *mhx_checked_key(mhx_space *space, uint64_t word);
/* The same of a stored key: what can be no key is CorruptHeap here, and no TypeError of whoever hashes it. */
static inline PyObject *mhx_from_key(mhx_space *space, uint64_t word) {
  bool is_plain = mh_word_tag(word) < MH_TAG_DICT_REF || mh_word_tag(word) == MH_TAG_NAME;
  return is_plain ? mhx_from_word(space, word) : mhx_checked_key(space, word);
}

/* A key with the memory it may need. */
typedef struct mhx_key {
  mh_key key;
  uint64_t *limbs; /* PyMem; NULL: none */
} mhx_key;

/* Makes a key of a str, int, float, bool, None or bytes (others: objects_values.h). 1: made, end
   with mhx_key_end; 0: of another type; -1: an exception. */
int mhx_key_make(mhx_space *space, PyObject *object, mhx_key *key);
static inline void mhx_key_end(mhx_key *key) {
  if (key->limbs != NULL) PyMem_Free(key->limbs);
}
/* For looking up: an unhashable type raises (-1), any other foreign type is in no dict (0).
   May run Python code; *space is the twin's, asked for after that. */
int mhx_key_find(mhx_twin *twin, PyObject *object, mhx_key *key, mhx_space **space);
/* The same, at once for a plain str, which most keys are. */
static inline int mhx_key_look(mhx_twin *twin, PyObject *object, mhx_key *key, mhx_space **space) {
  bool plain = PyUnicode_CheckExact(object) && PyUnicode_IS_COMPACT(object);
  if (!plain) return mhx_key_find(twin, object, key, space);
  *space = mhx_twin_space(twin);
  if (*space == NULL) return -1;
  key->limbs = NULL;
  mh_key_text(&(*space)->core, &key->key, MH_TAG_STR_REF, PyUnicode_KIND(object), PyUnicode_DATA(object),
              (uint64_t)PyUnicode_GET_LENGTH(object));
  return 1;
}

/* Is it an int that needs no block, nor Python code to be made of? Most are: fast. */
static inline bool mhx_inline_int(PyObject *object, uint64_t *word) {
  if (!PyLong_CheckExact(object)) return false;
#if PY_VERSION_HEX >= 0x030C0000
  const PyLongObject *number = (const PyLongObject *)object;
  if (!PyUnstable_Long_IsCompact(number)) return false;
  *word = mh_word_int(PyUnstable_Long_CompactValue(number));
#else
  int overflow;
  long long value = PyLong_AsLongLongAndOverflow(object, &overflow);
  if (overflow != 0 || !mh_int_fits(value)) return false;
  *word = mh_word_int(value);
#endif
  return true;
}

/* A scalar as a value with one reference. 1: made; 0: no scalar; -1: an exception. */
int mhx_scalar(mhx_space *space, PyObject *object, uint64_t *word);
/* Values made and not yet published, with one reference each, and the containers that were
   made for them, so that those can be freed even if they refer to each other. */
typedef struct mhx_words {
  uint64_t *words; /* PyMem, or `one` */
  size_t count;
  uint64_t one;
  uint64_t *made;  /* PyMem; references to all containers made; NULL: none were */
  size_t made_count;
  uint64_t first_birth; /* of these containers */
} mhx_words;

/* Anything that can be stored; -1: an exception, and nothing to end. Otherwise end with one of
   the two calls below. May run signal handlers. */
int mhx_value(mhx_space *space, PyObject *object, mhx_words *words);
/* All items of a list that nobody else sees, as one graph. */
int mhx_values(mhx_space *space, PyObject *list, mhx_words *words);
/* They are published. */
static inline void mhx_words_taken(mhx_words *words) {
  if (words->words != &words->one) PyMem_Free(words->words);
  if (words->made != NULL) PyMem_Free(words->made);
}
/* Nobody took them: frees all that was made. Returns -1. */
int mhx_words_refused(mhx_space *space, mhx_words *words);
/* Is one of the compounds among what was made part of itself? 1, 0, or -1 with an exception. */
int mhx_any_in_itself(mhx_space *space, const uint64_t *made, size_t made_count);
/* The same, because of the heap's last error, which is raised: last, since that may run Python
   code, and thus close the heap. */
int mhx_words_failed(mhx_space *space, mhx_words *words);
/* Is this of a type, not of one derived from it, that keys are stored as? */
bool mhx_is_storable_key(PyObject *key);
/* An entry could not be set: raises the heap's last error, or that the key has no place in the order of a
   sorted dict. Returns -1. */
int mhx_entry_failed(mhx_space *space, mheap_err failed, PyObject *key);
/* TypeError: this cannot be stored. Returns -1. */
int mhx_cannot_store(PyObject *object, bool as_key);

/* ---- the types ---- */

static inline int mhx_failed(mhx_space *space) { return mhx_raise(space->core.heap); }
/* A dict's or set's iterator: kind 0 keys, 1 values, 2 items. */
PyObject *mhx_dict_iterator(mhx_twin *twin, int kind, bool reversed);
PyObject *mhx_list_iterator(mhx_twin *twin, bool reversed);
PyObject *mhx_deque_iterator(mhx_twin *twin, bool reversed);

/* ---- of lists and deques (objects_items.c) ---- */

/* The items as they are now; NULL with an exception. */
static inline mhx_space *mhx_items_open(PyObject *self, mh_items *items) {
  mhx_twin *twin = (mhx_twin *)self;
  mhx_space *space = mhx_twin_space(twin);
  if (space == NULL) return NULL;
  if (mh_list_items(&twin->of.list, items)) return mhx_failed(space), NULL;
  return space;
}
static inline Py_ssize_t mhx_items_length(PyObject *self) {
  mh_items items;
  return mhx_items_open(self, &items) == NULL ? -1 : (Py_ssize_t)items.count;
}
/* `beyond`: what an IndexError says where there is none. */
static inline PyObject *mhx_items_get(PyObject *self, Py_ssize_t index, const char *beyond) {
  mh_items items;
  mhx_space *space = mhx_items_open(self, &items);
  if (space == NULL) return NULL;
  if ((uint64_t)index < items.count) return mhx_from_word(space, items.words[index]);
  PyErr_SetString(PyExc_IndexError, beyond);
  return NULL;
}
/* Of what mh_ends_peek finds, which runs no Python code. False: take a closer look. */
static inline bool mhx_items_pop(mhx_twin *twin, mh_end end, PyObject **item) {
  uint64_t word;
  mhx_space *space = mhx_twin_space(twin);
  *item = NULL;
  if (space == NULL) return true;
  if (!mh_ends_peek(&twin->of.list, end, &word)) return false;
  *item = mhx_from_word(space, word);
  if (*item == NULL) return true;
  mh_ends_drop(&twin->of.list, end);
  twin->changes++;
  return true;
}
int mhx_items_set(mhx_twin *twin, uint64_t index, PyObject *value, const char *beyond);
int mhx_items_delete(mhx_twin *twin, uint64_t from, uint64_t count, const char *beyond);
PyObject *mhx_items_clear(PyObject *self, PyObject *unused);
/* _permute(order): item i becomes what was item order[i]. */
PyObject *mhx_items_permute(PyObject *self, PyObject *order);

#endif
