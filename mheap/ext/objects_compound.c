/* objects_compound.c: see objects.h. Compounds to Python: tuples, frozensets, extended values.

   Owns, for the time of one reading, the parts of it: each compound once, however often it is
   referred to, so what is shared in the heap is shared in Python, and no file makes much of
   little. First all is read, by which no Python code runs; then it is built, innermost first,
   without the heap, since that may run Python code, which may change the heap or close it. No
   depth of nesting costs stack. */
#include "objects_values.h"

#define OWN 4          /* parts, */
#define OWN_ITEMS 16   /* and items of all of them, that need no memory of their own */
#define MOST_WEIGHT ((uint64_t)1 << 24)
#define IS_PART ((uintptr_t)1)

typedef struct part {
  uint64_t offset, kind;
  mh_tag tag;          /* of the reference by which it was met first */
  mh_type type;
  uint8_t state;       /* 0 not looked at, 1 being looked at, 2 done */
  bool unhashable;     /* it has a container or a bytearray in it */
  unsigned height;     /* levels, for who hashes it */
  uint64_t weight;     /* values in it, each as often as it occurs */
  size_t first, count; /* of its items */
  size_t at, parent;   /* while being looked at */
  PyObject *object;    /* once it is built */
} part;

typedef struct reading {
  mhx_space *space;
  part *parts;
  size_t count, room;
  uintptr_t *items;    /* objects, or numbers of parts, doubled, with IS_PART */
  size_t item_count, item_room;
  size_t *places;      /* hash table from offsets to numbers of parts plus 1; NULL: there are few */
  size_t places_room;
  size_t *order;       /* parts, innermost first */
  size_t ordered;
  part own_parts[OWN];
  size_t own_order[OWN];
  uintptr_t own_items[OWN_ITEMS];
} reading;

/* ---- growing ---- */

static void *enlarged(void *old, const void *own, size_t old_bytes, size_t bytes) {
  void *made = old == own ? PyMem_Malloc(bytes) : PyMem_Realloc(old, bytes);
  if (made == NULL) PyErr_NoMemory();
  else if (old == own) memcpy(made, old, old_bytes);
  return made;
}

static int reserve_items(reading *r, uint64_t more) {
  if (more <= r->item_room - r->item_count) return 0;
  size_t room = 2 * r->item_count + (size_t)more;
  uintptr_t *made = enlarged(r->items, r->own_items, r->item_count * sizeof *made, room * sizeof *made);
  if (made == NULL) return -1;
  r->items = made;
  r->item_room = room;
  return 0;
}

static size_t *place_of(const reading *r, uint64_t offset) {
  size_t mask = r->places_room - 1;
  size_t at = (size_t)((offset >> 4) * 0x9e3779b97f4a7c15u >> 20) & mask;
  while (r->places[at] != 0 && r->parts[r->places[at] - 1].offset != offset) at = (at + 1) & mask;
  return &r->places[at];
}

static int reserve_places(reading *r) {
  size_t room = 4 * r->room;
  PyMem_Free(r->places);
  r->places = PyMem_Calloc(room, sizeof *r->places);
  if (r->places == NULL) return PyErr_NoMemory(), -1;
  r->places_room = room;
  for (size_t i = 0; i < r->count; i++) *place_of(r, r->parts[i].offset) = i + 1;
  return 0;
}

static int reserve_part(reading *r) {
  if (r->count < r->room) return 0;
  size_t room = 4 * r->room;
  part *made = enlarged(r->parts, r->own_parts, r->count * sizeof *made, room * sizeof *made);
  if (made == NULL) return -1;
  r->parts = made;
  r->room = room;
  return reserve_places(r);
}

/* The number of the part at an offset; r->count: it is new. */
static size_t number_of(const reading *r, uint64_t offset) {
  if (r->places != NULL) return *place_of(r, offset) == 0 ? r->count : *place_of(r, offset) - 1;
  size_t i = 0;
  while (i < r->count && r->parts[i].offset != offset) i++;
  return i;
}

/* ---- reading ---- */

static int add_part(reading *r, uint64_t word, size_t *number) {
  *number = number_of(r, mh_word_offset(word));
  if (*number < r->count) return 0;
  if (reserve_part(r) < 0) return -1;
  r->parts[r->count] = (part){.offset = mh_word_offset(word), .tag = mh_word_tag(word)};
  if (r->places != NULL) *place_of(r, mh_word_offset(word)) = r->count + 1;
  r->count++;
  return 0;
}

static bool is_hashable(const reading *r, uint64_t word) {
  mh_tag tag = mh_word_tag(word);
  if (tag == MH_TAG_DICT_REF || tag == MH_TAG_LIST_REF || tag == MH_TAG_SET_REF) return false;
  if (tag != MH_TAG_OTHER_REF) return true;
  uint64_t head = *(const uint64_t *)mh_at(r->space->core.region, mh_word_offset(word));
  return mh_head_type(head) == MH_TYPE_COMPLEX;
}

/* `number`: of the part that the item is of. Items do not move once there is room for all of one. */
static int read_item(reading *r, size_t number, uint64_t word) {
  size_t child;
  if (mh_word_is_compound(&r->space->core, word) || mh_word_tag(word) == MH_TAG_RECORD_REF) {
    if (add_part(r, word, &child) < 0) return -1;
    r->items[r->item_count++] = (uintptr_t)child << 1 | IS_PART;
    return 0;
  }
  PyObject *object = mhx_from_word(r->space, word);
  if (object == NULL) return -1;
  r->items[r->item_count++] = (uintptr_t)object;
  if (!is_hashable(r, word)) r->parts[number].unhashable = true;
  return 0;
}

/* Its twin is made with all the rest. */
static int read_record(reading *r, part *p) {
  mh_fields fields;
  if (mh_fields_at(&r->space->core, p->offset, &fields)) return mhx_failed(r->space);
  p->type = MH_TYPE_RECORD;
  p->kind = fields.birth;
  return 0;
}

/* All words are read once: somebody may be writing. */
static int read_part(reading *r, size_t number, uint64_t tag) {
  mh_compound of;
  mh_space *space = &r->space->core;
  if (tag == MH_TAG_RECORD_REF) return read_record(r, &r->parts[number]);
  if (mh_compound_read(space, r->parts[number].offset | tag, &of)) return mhx_failed(r->space);
  if (mh_compound_check(space, &of)) return mhx_failed(r->space);
  if (reserve_items(r, of.count) < 0) return -1;
  part *p = &r->parts[number];
  p->type = of.type;
  p->kind = of.kind;
  p->count = (size_t)of.count;
  p->first = r->item_count;
  for (uint64_t i = 0; i < of.count; i++)
    if (read_item(r, number, mh_read(&of.words[i])) < 0) return -1;
  return 0;
}

static int read_all(reading *r, uint64_t word) {
  size_t number;
  if (add_part(r, word, &number) < 0) return -1;
  for (size_t i = 0; i < r->count; i++)
    if (read_part(r, i, r->parts[i].tag) < 0) return -1;
  return 0;
}

/* ---- the order to build in ---- */

static int corrupt(reading *r, const part *p, const char *what) {
  mh_corrupt(&r->space->core, p->offset, what, 0, p->type);
  return mhx_failed(r->space);
}

/* What a parent needs to know of a part that is done. */
static void add_up(part *p, const part *child) {
  p->unhashable = p->unhashable || child->unhashable;
  if (child->height >= p->height) p->height = child->height + 1;
  p->weight = child->weight > UINT64_MAX - p->weight ? UINT64_MAX : p->weight + child->weight;
}

static int finish(reading *r, size_t number) {
  part *p = &r->parts[number];
  p->state = 2;
  r->order[r->ordered++] = number;
  if (p->type == MH_TYPE_FROZENSET) {
    if (p->unhashable) return corrupt(r, p, "a frozenset of what has no hash");
    if (p->height > MH_CODE_DEPTH + 1 || p->weight > MOST_WEIGHT + 4 * (uint64_t)r->item_count)
      return corrupt(r, p, "a frozenset of elements too deep, or with too much in common, to be hashed");
  }
  if (p->type != MH_TYPE_EXTENDED && p->type != MH_TYPE_RECORD) return 0;
  p->unhashable = false; /* its class knows */
  p->height = 1;
  p->weight = 1;
  return 0;
}

static void begin(part *p, size_t parent) {
  p->state = 1;
  p->parent = parent;
  p->height = 1;
  p->weight = p->count + 1;
}

static int put_in_order(reading *r) {
  if (r->count > OWN && (r->order = PyMem_Malloc(r->count * sizeof *r->order)) == NULL)
    return PyErr_NoMemory(), -1;
  begin(&r->parts[0], SIZE_MAX);
  for (size_t number = 0; number != SIZE_MAX;) {
    part *p = &r->parts[number];
    if (p->at == p->count) {
      if (finish(r, number) < 0) return -1;
      number = p->parent;
      continue;
    }
    uintptr_t item = r->items[p->first + p->at];
    part *child = item & IS_PART ? &r->parts[item >> 1] : NULL;
    if (child != NULL && child->state == 1) return corrupt(r, p, "a tuple, frozenset or value inside itself");
    if (child != NULL && child->state == 0) {
      begin(child, number);
      number = item >> 1;
      continue;
    }
    if (child != NULL) add_up(p, child);
    p->at++;
  }
  return 0;
}

/* ---- building ---- */

typedef struct place {
  PyObject *heap_obj; /* owned */
  PyObject *path;     /* the same */
  mhx_state *state;
  unsigned reads;     /* mhx_handle's */
} place;

static PyObject *tuple_of(const reading *r, const part *p) {
  PyObject *tuple = PyTuple_New((Py_ssize_t)p->count);
  if (tuple == NULL) return NULL;
  for (size_t i = 0; i < p->count; i++) {
    uintptr_t item = r->items[p->first + i];
    PyObject *object = item & IS_PART ? r->parts[item >> 1].object : (PyObject *)item;
    PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, Py_NewRef(object));
  }
  return tuple;
}

static PyObject *extended_of(const place *at, const part *p, PyObject *words) {
  PyObject *made = mhx_time_of((mh_kind_code)p->kind, words);
  if (made != NULL) return made;
  PyObject *from_state = mhx_values_function(at->state, MHX_FROM_STATE);
  if (from_state == NULL) return NULL;
  return PyObject_CallFunction(from_state, "KOIOK", (unsigned long long)p->kind, words, at->reads, at->path,
                               (unsigned long long)p->offset);
}

static PyObject *record_of(const reading *r, const place *at, const part *p) {
  if (*mhx_objects_slot(at->heap_obj) != r->space) return mhx_raise_closed((mhx_handle *)at->heap_obj);
  return mhx_twin_born(r->space, p->offset, p->kind);
}

static int build(const reading *r, const place *at, part *p) {
  if (p->type == MH_TYPE_RECORD) return (p->object = record_of(r, at, p)) == NULL ? -1 : 0;
  PyObject *tuple = tuple_of(r, p);
  if (tuple == NULL || p->type == MH_TYPE_TUPLE) return (p->object = tuple) == NULL ? -1 : 0;
  p->object = p->type == MH_TYPE_FROZENSET ? PyFrozenSet_New(tuple) : extended_of(at, p, tuple);
  Py_DECREF(tuple);
  return p->object == NULL ? -1 : 0;
}

static PyObject *build_all(reading *r) {
  mhx_handle *handle = (mhx_handle *)r->space->heap_obj, *main = handle->main != NULL ? handle->main : handle;
  place at = {Py_NewRef(r->space->heap_obj), Py_NewRef(handle->path), handle->state, main->reads};
  int failed = 0;
  for (size_t i = 0; failed == 0 && i < r->ordered; i++) failed = build(r, &at, &r->parts[r->order[i]]);
  /* The caller goes on with the space, which is there no more if Python code closed the heap. */
  if (failed == 0 && *mhx_objects_slot(at.heap_obj) != r->space) {
    mhx_raise_closed(handle);
    failed = -1;
  }
  Py_DECREF(at.path);
  Py_DECREF(at.heap_obj);
  return failed < 0 ? NULL : Py_NewRef(r->parts[0].object);
}

static void end(reading *r) {
  for (size_t i = 0; i < r->item_count; i++)
    if (!(r->items[i] & IS_PART)) Py_DECREF((PyObject *)r->items[i]);
  for (size_t i = 0; i < r->count; i++) Py_XDECREF(r->parts[i].object);
  if (r->items != r->own_items) PyMem_Free(r->items);
  if (r->parts != r->own_parts) PyMem_Free(r->parts);
  if (r->order != r->own_order) PyMem_Free(r->order);
  PyMem_Free(r->places);
}

PyObject *mhx_compound_of(mhx_space *space, uint64_t word) {
  reading r;
  memset(&r, 0, offsetof(reading, own_parts));
  r.space = space;
  r.parts = r.own_parts;
  r.room = OWN;
  r.items = r.own_items;
  r.item_room = OWN_ITEMS;
  r.order = r.own_order;
  PyObject *object = read_all(&r, word) == 0 && put_in_order(&r) == 0 ? build_all(&r) : NULL;
  end(&r);
  return object;
}
