/* objects_twin.c: see objects.h. Owns the table of twins of each heap.

   Invariant: a twin with a space is in that space's table, also if its object is gone: a rollback may
   bring that back, and the twin with it. A container whose references are all gone is freed when its twin
   dies, or when its heap is detached. */
#include "objects_records.h"
#include "objects/collect.h"
#include "os.h"

#define FIRST_ROOM 64
#define TOLD 64 /* entries between two looks at the clock */

/* ---- the table ---- */

static size_t slot_of(const mhx_space *space, uint64_t offset) {
  return (size_t)((offset >> 4) * 0x9e3779b97f4a7c15u >> 20) & (space->room - 1);
}

static bool is_of(const mhx_twin *twin, uint64_t offset, uint64_t birth) {
  return twin->of.dict.offset == offset && twin->of.dict.birth == birth;
}

static mhx_twin **find(mhx_space *space, uint64_t offset, uint64_t birth) {
  size_t at = slot_of(space, offset), mask = space->room - 1;
  while (space->twins[at] != NULL && !is_of(space->twins[at], offset, birth)) at = (at + 1) & mask;
  return &space->twins[at];
}

static mhx_twin **place_of(mhx_space *space, const mhx_twin *twin) {
  return find(space, twin->of.dict.offset, twin->of.dict.birth);
}

static int make_table(mhx_space *space, size_t room) {
  mhx_twin **old = space->twins, **made = PyMem_Calloc(room, sizeof *made);
  size_t count = space->room;
  if (made == NULL) return PyErr_NoMemory(), -1;
  space->twins = made;
  space->room = room;
  space->told = 0;
  for (size_t i = 0; i < count; i++)
    if (old[i] != NULL) *place_of(space, old[i]) = old[i];
  PyMem_Free(old);
  return 0;
}

static int reserve(mhx_space *space) {
  return (space->used + 1) * 3 > space->room * 2 ? make_table(space, space->room * 2) : 0;
}

static void enter(mhx_space *space, mhx_twin **entry, mhx_twin *twin) {
  *entry = twin;
  space->used++;
  twin->space = space;
}

static void put(mhx_space *space, mhx_twin *twin) { enter(space, place_of(space, twin), twin); }

static void hold(mhx_space *space, const mhx_twin *twin) {
  mh_collect_hold(&space->core, twin->of.dict.offset, twin->of.dict.birth);
}

/* Twins that change their places, and the one that goes, may not have been told of yet. */
static void take_out(mhx_space *space, size_t at) {
  size_t mask = space->room - 1;
  bool collects = mh_collects(&space->core);
  space->used--;
  if (collects) hold(space, space->twins[at]);
  for (size_t next = (at + 1) & mask; space->twins[next] != NULL; next = (next + 1) & mask) {
    size_t home = slot_of(space, space->twins[next]->of.dict.offset);
    if (((next - home) & mask) < ((next - at) & mask)) continue;
    if (collects) hold(space, space->twins[next]);
    space->twins[at] = space->twins[next];
    at = next;
  }
  space->twins[at] = NULL;
}

static void forget(mhx_twin *twin) {
  mhx_twin **entry = place_of(twin->space, twin);
  if (*entry == twin) take_out(twin->space, (size_t)(entry - twin->space->twins));
  twin->space = NULL;
}

bool mhx_held(mh_space *core, uint64_t offset) {
  mhx_space *space = (mhx_space *)core;
  const mh_container *container = mh_at(core->region, offset);
  mhx_twin *twin = *find(space, offset, mh_birth_of(core, container));
  if (twin != NULL && !twin->loose) {
    twin->loose = true;
    space->loose++;
  }
  return twin != NULL;
}

static void hold_orphans(mhx_space *space) {
  for (size_t i = 0; i < space->orphan_count; i++)
    if (space->orphans[i].heap == 0)
      mh_collect_hold(&space->core, space->orphans[i].offset, space->orphans[i].birth);
}

bool mhx_twins_hold(mhx_space *space, double end) {
  uint64_t number = mh_collect_number(&space->core);
  if (space->told_to != number) {
    hold_orphans(space);
    space->told_to = number;
    space->told = 0;
  }
  while (space->told < space->room) {
    for (size_t i = 0; i < TOLD; i++, space->told++) /* the table has as many, and a power of two */
      if (space->twins[space->told] != NULL) hold(space, space->twins[space->told]);
    if (mh_os_monotonic() >= end) break;
  }
  return space->told >= space->room;
}

/* ---- spaces ---- */

mhx_space *mhx_space_of(PyObject *heap_obj) {
  mheap *heap = mhx_heap(heap_obj);
  if (heap == NULL) return NULL;
  void **slot = mhx_objects_slot(heap_obj);
  if (*slot != NULL) return *slot;
  mhx_space *space = PyMem_Calloc(1, sizeof *space);
  if (space == NULL || make_table(space, FIRST_ROOM) < 0) {
    PyMem_Free(space);
    PyErr_NoMemory();
    return NULL;
  }
  mh_space_init(&space->core, heap);
  space->core.held = mhx_held;
  static uint64_t numbers;
  space->number = ++numbers;
  space->core.region->object_users++;
  space->heap_obj = heap_obj;
  *slot = space;
  return space;
}

/* Only a process that may write frees what nothing refers to any more. */
static void reap(mhx_space *space, const mhx_twin *twin) {
  mh_container *container;
  uint64_t offset = twin->of.dict.offset;
  if (!mh_region_writable(space->core.region)) return;
  if (twin->orphan && space->core.held != NULL && mhx_orphans_note(space, twin)) return;
  if (!mh_in_region(space->core.region, offset, sizeof *container)) return;
  container = mh_at(space->core.region, offset);
  if (offset == 0 || mh_birth_of(&space->core, container) != twin->of.dict.birth) return;
  if (mh_head_count(container->head) != 0) return;
  mh_reap(&space->core, offset);
}

static void leave_space(mhx_twin *twin) {
  twin->space = NULL;
  twin->loose = twin->orphan = false; /* as the next space counts them */
}

void mhx_twins_detach(mhx_space *space, bool ended) {
  for (size_t i = 0; i < space->room; i++)
    if (space->twins[i] != NULL) leave_space(space->twins[i]);
  space->core.held = NULL;
  for (size_t i = 0; i < space->room && !ended; i++)
    if (space->twins[i] != NULL) reap(space, space->twins[i]);
  if (!ended) mhx_orphans_leave(space);
  space->core.region->object_users--;
  PyMem_Free(space->twins);
  PyMem_Free(space->orphans);
  mhx_maps_forget(space);
  PyMem_Free(space);
}

/* ---- twins ---- */

/* What it knew of its table, or items, may be of another by now. */
static void look_anew(mhx_twin *twin) {
  const mh_dict *dict = &twin->of.dict;
  mh_dict bare = {.space = dict->space, .offset = dict->offset, .birth = dict->birth, .type = dict->type};
  memset(&twin->of, 0, sizeof twin->of);
  twin->of.dict = bare;
}

static mhx_space *is_ended(const mhx_handle *handle) {
  const char *name = handle->label != NULL ? PyUnicode_AsUTF8(handle->label) : NULL;
  PyErr_Clear(); /* a name of other bytes */
  mhx_refuse(MHEAP_ERR_STALE, "the object is gone: its heap \"%s\" was destroyed, or undone by a rollback",
             name != NULL ? name : "?");
  return NULL;
}

/* The heap was attached anew (after a fork, or because detaching failed), or is closed. */
mhx_space *mhx_twin_space_slow(mhx_twin *twin) {
  if (((mhx_handle *)twin->heap_obj)->ended) return is_ended((mhx_handle *)twin->heap_obj);
  mhx_space *space = mhx_space_of(twin->heap_obj);
  if (space == NULL || twin->space != NULL) return space;
  if (reserve(space) < 0) return NULL;
  look_anew(twin); /* others may have changed the heap, and it may be mapped elsewhere */
  twin->of.dict.space = &space->core;
  if (*place_of(space, twin) == NULL) put(space, twin);
  return space;
}

/* The types of twins, and what else is imported with them; those that are `late` when one is met. */
static const struct {
  mh_type type; /* 0: of no container */
  int index;    /* in object_types */
  const char *module, *name;
  bool late;
} twin_types[] = {
    {0, MHX_PLAIN_DEQUE, "_collections", "deque", false},
    {MH_TYPE_DEQUE, MHX_DEQUE, "mheap.objects", "PersistentDeque", false},
    {MH_TYPE_SET, MHX_SET, "mheap.objects", "PersistentSet", false},
    {MH_TYPE_LIST, MHX_LIST, "mheap.objects", "PersistentList", false},
    {MH_TYPE_COUNTER, MHX_COUNTER, "mheap.counter", "PersistentCounter", true},
    {MH_TYPE_SORTED, MHX_SORTED, "mheap.sorted", "PersistentSortedDict", true},
    {MH_TYPE_ARRAY, MHX_ARRAY, "mheap.arrays", "PersistentArray", true},
    {MH_TYPE_RECORDS, MHX_RECORD_LIST, "mheap.records", "PersistentRecordList", true},
    {MH_TYPE_DICT, MHX_DICT, "mheap.objects", "PersistentDict", false}, /* last: says that all are there */
};
#define TWIN_TYPES (sizeof twin_types / sizeof twin_types[0])

/* Imports it, which runs Python code. */
static int find_type(mhx_state *state, size_t i) {
  PyObject *module = PyImport_ImportModule(twin_types[i].module);
  PyObject *type = module == NULL ? NULL : PyObject_GetAttrString(module, twin_types[i].name);
  Py_XDECREF(module);
  if (type == NULL) return -1;
  Py_XSETREF(state->object_types[twin_types[i].index], type);
  return 0;
}

int mhx_twin_types(mhx_state *state) {
  if (state->object_types[MHX_DICT] != NULL) return 0;
  for (size_t i = 0; i < TWIN_TYPES; i++)
    if (!twin_types[i].late && find_type(state, i) < 0) return -1;
  return 0;
}

/* Where in twin_types those of containers of a type are. */
static size_t place_in_types(mh_type type) {
  for (size_t i = 0; i < TWIN_TYPES; i++)
    if (twin_types[i].type == type) return i;
  return TWIN_TYPES - 1;
}

bool mhx_twin_type_is_ready(const mhx_state *state, mh_type type) {
  return state->object_types[twin_types[place_in_types(type)].index] != NULL;
}

int mhx_twin_type_make_ready(mhx_state *state, mh_type type) {
  return mhx_twin_type_is_ready(state, type) ? 0 : find_type(state, place_in_types(type));
}

/* Of a class: making an object runs Python code where garbage is collected then, which may close the heap. */
static mhx_twin *alloc_of(mhx_space *space, PyTypeObject *type) {
  PyObject *heap_obj = Py_NewRef(space->heap_obj);
  uint64_t number = space->number;
  Py_INCREF(type);
  mhx_twin *twin = (mhx_twin *)type->tp_alloc(type, 0);
  Py_DECREF(type);
  if (twin == NULL) return Py_DECREF(heap_obj), NULL;
  twin->heap_obj = heap_obj;
  const mhx_space *now = *mhx_objects_slot(heap_obj);
  if (now != NULL && now->number == number) return twin;
  mhx_raise_closed((mhx_handle *)heap_obj);
  Py_DECREF(twin);
  return NULL;
}

static mhx_twin *twin_alloc(mhx_space *space, int index) {
  return alloc_of(space, (PyTypeObject *)mhx_state_of_heap(space->heap_obj)->object_types[index]);
}

/* Instead of one that was made while another was: that one. */
static PyObject *made_before(mhx_twin *twin, mhx_twin *other) {
  Py_INCREF((PyObject *)other);
  Py_DECREF(twin);
  return (PyObject *)other;
}

mheap_err mhx_of_at(mhx_space *space, mh_type type, uint64_t offset, mhx_of *of) {
  if (type == MH_TYPE_SORTED) return mh_sorted_at(&space->core, offset, &of->sorted);
  if (type == MH_TYPE_ARRAY) return mh_array_at(&space->core, offset, &of->array);
  if (type == MH_TYPE_RECORDS) return mh_row_list_at(&space->core, offset, &of->rows.list);
  if (mh_type_has_table(type)) return mh_table_owner_at(&space->core, type, offset, &of->dict);
  return mh_items_owner_at(&space->core, type, offset, &of->list);
}

/* The container may have gone, and got a twin, while this one was made. */
static PyObject *twin_make(mhx_space *space, mh_type type, uint64_t offset, uint64_t birth) {
  mh_container *container;
  mhx_twin *twin = twin_alloc(space, twin_types[place_in_types(type)].index);
  if (twin == NULL) return NULL;
  if (reserve(space) < 0) return Py_DECREF(twin), NULL;
  mhx_twin **entry = find(space, offset, birth);
  if (*entry != NULL) return made_before(twin, *entry);
  mheap_err failed = mh_container_at(&space->core, offset, type, birth, &container);
  if (!failed) failed = mhx_of_at(space, type, offset, &twin->of);
  if (failed) {
    mhx_failed(space);
    Py_DECREF(twin);
    return NULL;
  }
  enter(space, entry, twin);
  return (PyObject *)twin;
}

static int look_at_record(mhx_space *space, uint64_t offset, uint64_t birth, mh_fields *fields) {
  *fields = (mh_fields){.space = &space->core, .offset = offset, .birth = birth, .type = MH_TYPE_RECORD};
  return mh_fields_look(fields) ? mhx_failed(space) : 0;
}

/* Finding the class, and making an object of it, may run Python code: then all is looked at anew. */
static PyObject *record_make(mhx_space *space, uint64_t offset, uint64_t birth) {
  mh_fields fields;
  uint64_t undone = space->undone;
  if (look_at_record(space, offset, birth, &fields) < 0) return NULL;
  const mhx_map *map = mhx_map_for(space, fields.schema->number, NULL);
  mhx_twin *twin = map == NULL ? NULL : alloc_of(space, (PyTypeObject *)map->shape->cls);
  if (twin == NULL) return NULL;
  if (reserve(space) < 0) return Py_DECREF(twin), NULL;
  mhx_twin **entry = find(space, offset, birth);
  if (*entry != NULL) return made_before(twin, *entry);
  if (space->undone == undone && mh_fields_is_known(&fields)) twin->of.record.map = map;
  else if (look_at_record(space, offset, birth, &fields) < 0) return Py_DECREF(twin), NULL;
  twin->of.record.fields = fields;
  enter(space, entry, twin);
  return (PyObject *)twin;
}

PyObject *mhx_twin_born(mhx_space *space, uint64_t offset, uint64_t birth) {
  mhx_twin **entry = find(space, offset, birth);
  return *entry != NULL ? Py_NewRef((PyObject *)*entry) : record_make(space, offset, birth);
}

PyObject *mhx_twin_for(mhx_space *space, uint64_t word) {
  const mh_container *container = mh_object_at(&space->core, word);
  if (container == NULL) return mhx_failed(space), NULL;
  uint64_t birth = mh_birth_of(&space->core, container);
  mhx_twin **entry = find(space, mh_word_offset(word), birth);
  if (*entry != NULL) return Py_NewRef((PyObject *)*entry);
  if (mh_word_tag(word) == MH_TAG_RECORD_REF) return record_make(space, mh_word_offset(word), birth);
  mh_type type = mh_head_type(mh_read(&container->head));
  return twin_make(space, type, mh_word_offset(word), birth);
}

/* The root may be made while this is. */
PyObject *mhx_twin_nowhere(mhx_space *space) {
  mh_dict root;
  mhx_twin **entry = find(space, 0, 0);
  if (*entry != NULL) return Py_NewRef((PyObject *)*entry);
  mhx_twin *twin = twin_alloc(space, MHX_DICT);
  if (twin == NULL) return NULL;
  if (reserve(space) < 0) return Py_DECREF(twin), NULL;
  entry = find(space, 0, 0);
  if (*entry != NULL) return made_before(twin, *entry);
  if (mh_root(&space->core, false, &root) == MHEAP_OK)
    return Py_DECREF(twin), mhx_twin_for(space, mh_word_ref(MH_TAG_DICT_REF, root.offset));
  twin->of.dict = mh_dict_nowhere(&space->core);
  enter(space, entry, twin);
  return (PyObject *)twin;
}

static void move(mhx_space *space, mhx_twin *twin, const mh_dict *to) {
  forget(twin);
  twin->of.dict = *to;
  put(space, twin);
}

void mhx_twin_found_root(mhx_space *space, const mh_dict *root) {
  mhx_twin *none = *find(space, 0, 0);
  if (none != NULL && *find(space, root->offset, root->birth) == NULL) move(space, none, root);
}

int mhx_root_exists(mhx_space *space, mhx_twin *twin) {
  mh_dict root;
  if (twin->of.dict.offset != 0) return 0;
  if (mh_root(&space->core, true, &root)) return mhx_failed(space);
  move(space, twin, &root);
  return 0;
}

/* ---- rollbacks ---- */

#define GONE UINT64_MAX /* the birth number of what no rollback brings back */

static bool is_there(mhx_space *space, const mhx_twin *twin) {
  uint64_t offset = twin->of.dict.offset;
  if (offset == 0) return true;
  if (mh_block_usable(&space->core, offset) < sizeof(mh_container)) return false;
  return mh_container_is(&space->core, offset, twin->of.dict.type, twin->of.dict.birth);
}

void mhx_twins_look_anew(mhx_space *space) {
  for (size_t i = 0; i < space->room; i++)
    if (space->twins[i] != NULL) look_anew(space->twins[i]);
}

/* No number is given twice, so what is gone now stays gone, whatever comes to its place. */
static void let_go(mhx_space *space, mhx_twin *twin) {
  forget(twin);
  if (twin->loose) space->loose--;
  twin->loose = twin->orphan = false;
  if (twin->root) {
    twin->of.dict = mh_dict_nowhere(&space->core);
    put(space, twin);
  } else {
    look_anew(twin);
    twin->of.dict.birth = GONE;
  }
}

/* One of a root that was not there never will be. */
static void end_twin(mhx_space *space, mhx_twin *twin) {
  if (twin->of.dict.offset == 0) twin->of.dict.type = MH_TYPE_DICT;
  twin->root = false;
  let_go(space, twin);
  if (twin->of.dict.offset == 0) twin->of.dict.offset = MH_SLICE;
}

void mhx_twins_gone(mhx_space *space) {
  space->undone++;
  for (size_t i = 0; i < space->room;) {
    mhx_twin *twin = space->twins[i];
    if (twin != NULL && twin->of.dict.birth != GONE) end_twin(space, twin);
    if (space->twins[i] == NULL || space->twins[i]->of.dict.birth == GONE) i++;
  }
}

/* Taking one out moves later ones forward, to where they are looked at next. */
void mhx_twins_rolled_back(mhx_space *space) {
  space->undone++;
  mhx_maps_forget(space);
  for (size_t i = 0; i < space->room;) {
    mhx_twin *twin = space->twins[i];
    if (twin != NULL && !is_there(space, twin)) {
      let_go(space, twin);
      if (space->twins[i] != twin) continue;
    } else if (twin != NULL) {
      look_anew(twin);
      twin->changes++; /* rows of a record list are places in what it was */
    }
    i++;
  }
  mhx_orphans_rolled_back(space);
}

int mhx_is_of(PyObject *object, const char *module_name, const char *name) {
  PyObject *key = PyUnicode_FromString(module_name);
  PyObject *module = key == NULL ? NULL : PyImport_GetModule(key);
  PyObject *type = module == NULL ? NULL : PyObject_GetAttrString(module, name);
  if (type == NULL && PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_AttributeError)) PyErr_Clear();
  Py_XDECREF(key);
  Py_XDECREF(module);
  Py_XDECREF(type);
  return PyErr_Occurred() ? -1 : (PyObject *)Py_TYPE(object) == type;
}

mh_type mhx_twin_type(mhx_space *space, PyObject *object) {
  PyObject **types = mhx_state_of_heap(space->heap_obj)->object_types;
  if (PyObject_TypeCheck(object, (PyTypeObject *)types[MHX_RECORD_TWIN]))
    return mhx_is_plain(object) || mhx_is_row(object) ? 0 : MH_TYPE_RECORD;
  if (PyObject_TypeCheck(object, (PyTypeObject *)types[MHX_ROWS_TWIN])) return MH_TYPE_RECORDS;
  for (size_t i = 0; i < TWIN_TYPES; i++)
    if ((PyObject *)Py_TYPE(object) == types[twin_types[i].index]) return twin_types[i].type;
  return 0;
}

PyObject *mhx_twin_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
  (void)args, (void)kwargs;
  PyErr_Format(PyExc_TypeError, "a %s is made by storing a plain one in a heap", type->tp_name);
  return NULL;
}

/* No byte of the heap makes more than 16 characters; \U0010ffff is ten for four of them. */
PyObject *mhx_twin_most_text(PyObject *self, PyObject *unused) {
  (void)unused;
  mhx_space *space = mhx_twin_space((mhx_twin *)self);
  if (space == NULL) return NULL;
  return PyLong_FromUnsignedLongLong(16 * mh_region_size(space->core.region));
}

void mhx_twin_dealloc(PyObject *self) {
  mhx_twin *twin = (mhx_twin *)self;
  PyTypeObject *type = Py_TYPE(self);
  mhx_space *space = twin->space;
  if (twin->weakrefs != NULL) PyObject_ClearWeakRefs(self);
  if (space != NULL) {
    forget(twin);
    if (twin->loose) space->loose--;
    const mhx_handle *handle = (const mhx_handle *)twin->heap_obj;
    if (handle->heap != NULL && handle->forks == mhx_forks) reap(space, twin);
  }
  Py_XDECREF(twin->heap_obj);
  type->tp_free(self);
  Py_DECREF(type);
}
