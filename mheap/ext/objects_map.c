/* objects_map.c: see objects_records.h. Owns the maps of a space: made when a record of a schema, or a class
   that is stored, is met first; thrown away by a rollback, which may take schemas back. */
#include "objects_records.h"

#include "objects/compound.h"

/* ---- the maps of a space ---- */

static void free_map(mhx_map *map) {
  Py_DECREF(map->shape);
  PyMem_Free(map);
}

/* A class that goes with its last map runs Python code: in the midst of a rollback, or of closing, that must
   not be. They are put aside. */
void mhx_maps_forget(mhx_space *space) {
  mhx_state *state = mhx_state_of_heap(space->heap_obj);
  for (size_t i = 0; i < space->map_room; i++)
    for (mhx_map *map; (map = space->maps[i]) != NULL;) {
      space->maps[i] = map->next;
      map->next = state->dead_maps;
      state->dead_maps = map;
    }
  PyMem_Free(space->maps);
  space->maps = NULL;
  space->map_room = 0;
}

/* Where Python code may run. */
static void free_dead_maps(mhx_state *state) {
  for (mhx_map *map; (map = state->dead_maps) != NULL;) {
    state->dead_maps = map->next;
    free_map(map);
  }
}

static int reserve(mhx_space *space, uint32_t number) {
  if (number < space->map_room) return 0;
  size_t room = 2 * (size_t)number + 16;
  mhx_map **larger = PyMem_Realloc(space->maps, room * sizeof *larger);
  if (larger == NULL) return PyErr_NoMemory(), -1;
  memset(larger + space->map_room, 0, (room - space->map_room) * sizeof *larger);
  space->maps = larger;
  space->map_room = room;
  return 0;
}

/* ---- what a schema says ---- */

static PyObject *schema_words(mhx_space *space, uint32_t number, const mh_schema **schema) {
  mh_compound tuple;
  if (mh_schema_at(&space->core, number, schema)) return mhx_failed(space), NULL;
  if (mh_compound_read(&space->core, (*schema)->word, &tuple)) return mhx_failed(space), NULL;
  if (tuple.count != 2 * (uint64_t)(*schema)->field_count + 1) {
    uint64_t wanted = 2 * (uint64_t)(*schema)->field_count + 1;
    mh_corrupt(&space->core, tuple.offset, "the words of a schema", wanted, tuple.count);
    return mhx_failed(space), NULL;
  }
  PyObject *words = PyTuple_New((Py_ssize_t)tuple.count);
  for (uint64_t i = 0; words != NULL && i < tuple.count; i++) {
    PyObject *text = mhx_from_word(space, mh_read(&tuple.words[i]));
    if (text != NULL && !PyUnicode_CheckExact(text)) Py_CLEAR(text);
    if (text != NULL) PyTuple_SET_ITEM(words, (Py_ssize_t)i, text);
    else Py_CLEAR(words);
  }
  if (words == NULL && !PyErr_Occurred()) PyErr_SetString(PyExc_SystemError, "a schema of no str");
  return words;
}

/* plan(words, shape or None, path) -> (shape, numbers of stored fields, -1: not stored) */
static PyObject *ask_for_plan(mhx_space *space, PyObject *words, mhx_shape *shape) {
  mhx_state *state = mhx_state_of_heap(space->heap_obj);
  if (state->object_types[MHX_PLAN] == NULL) {
    PyObject *module = PyImport_ImportModule("mheap.records");
    PyObject *plan = module == NULL ? NULL : PyObject_GetAttrString(module, "_plan");
    Py_XDECREF(module);
    if (plan == NULL) return NULL;
    Py_XSETREF(state->object_types[MHX_PLAN], plan);
  }
  PyObject *path = ((mhx_handle *)space->heap_obj)->path;
  return PyObject_CallFunctionObjArgs(state->object_types[MHX_PLAN], words,
                                      shape != NULL ? (PyObject *)shape : Py_None,
                                      path != NULL ? path : Py_None, NULL);
}

/* ---- making one ---- */

static int place_of(const mh_schema *schema, mh_field_kind wanted, Py_ssize_t source, mhx_place *place) {
  if (source < 0) return *place = (mhx_place){.how = MHX_AS_DEFAULT}, 0;
  if ((size_t)source >= schema->field_count) return PyErr_SetString(PyExc_SystemError, "a plan"), -1;
  const mh_schema_field *field = &schema->fields[source];
  *place = (mhx_place){.offset = field->offset, .how = (mhx_how)field->kind};
  if (wanted == MH_FIELD_FLOAT && field->kind == MH_FIELD_INT) place->how = MHX_INT_AS_FLOAT;
  else if (wanted != MH_FIELD_WORD && wanted != field->kind)
    return PyErr_SetString(PyExc_SystemError, "a plan"), -1;
  return 0;
}

static bool is_kept(const mhx_map *map, uint32_t offset) {
  for (Py_ssize_t i = 0; i < map->shape->count; i++)
    if (map->places[i].how == MHX_AS_WORD && map->places[i].offset == offset) return true;
  return false;
}

static bool is_own(const mhx_map *map, PyObject *words) {
  const mhx_shape *shape = map->shape;
  if (map->schema->field_count != (size_t)shape->count) return false;
  if (PyUnicode_Compare(PyTuple_GET_ITEM(words, 0), shape->name) != 0) return false;
  for (Py_ssize_t i = 0; i < shape->count; i++) {
    if (PyUnicode_Compare(PyTuple_GET_ITEM(words, 2 * i + 1), shape->fields[i].name) != 0) return false;
    if (PyUnicode_Compare(PyTuple_GET_ITEM(words, 2 * i + 2), shape->fields[i].type) != 0) return false;
  }
  return true;
}

static mhx_map *make_map(const mh_schema *schema, PyObject *words, PyObject *plan) {
  PyObject *shape_obj, *sources;
  if (!PyArg_ParseTuple(plan, "OO!", &shape_obj, &PyTuple_Type, &sources)) return NULL;
  mhx_shape *shape = (mhx_shape *)shape_obj;
  size_t places = (size_t)shape->count * sizeof(mhx_place);
  mhx_map *map = PyMem_Calloc(1, sizeof *map + places + schema->place_count * sizeof(uint32_t));
  if (map == NULL) return PyErr_NoMemory(), NULL;
  map->shape = (mhx_shape *)Py_NewRef(shape_obj);
  map->schema = schema;
  map->lost = (uint32_t *)((char *)map->places + places);
  int failed = PyTuple_GET_SIZE(sources) == shape->count ? 0 : -1;
  for (Py_ssize_t i = 0; failed == 0 && i < shape->count; i++) {
    Py_ssize_t source = PyLong_AsSsize_t(PyTuple_GET_ITEM(sources, i));
    failed = place_of(schema, shape->fields[i].kind, source, &map->places[i]);
  }
  if (failed < 0) return free_map(map), NULL;
  map->is_own = is_own(map, words);
  for (uint32_t i = 0; i < schema->place_count; i++)
    if (!is_kept(map, 8 * schema->places[i])) map->lost[map->lost_count++] = 8 * schema->places[i];
  return map;
}

/* How many classes of records there were: one that comes may be what a schema was waiting for. */
static uint64_t classes_of(mhx_space *space) { return mhx_state_of_heap(space->heap_obj)->shapes; }

static const mhx_map *find_map(mhx_space *space, uint32_t number, const mhx_shape *shape) {
  for (mhx_map *map = number < space->map_room ? space->maps[number] : NULL; map != NULL; map = map->next)
    if (shape == NULL ? map->classes == classes_of(space) : map->shape == shape) return map;
  return NULL;
}

/* A rollback may take the schema away meanwhile, and closing the heap all of it. */
static mhx_map *new_map(mhx_space *space, uint32_t number, mhx_shape *shape) {
  const mh_schema *schema;
  PyObject *heap_obj = Py_NewRef(space->heap_obj), *words = schema_words(space, number, &schema);
  uint64_t undone = space->undone;
  free_dead_maps(mhx_state_of_heap(heap_obj));
  bool is_there = words != NULL && *mhx_objects_slot(heap_obj) == space;
  if (words != NULL && !is_there) mhx_raise_closed((mhx_handle *)heap_obj);
  PyObject *plan = is_there ? ask_for_plan(space, words, shape) : NULL;
  mhx_map *map = NULL;
  if (plan != NULL && *mhx_objects_slot(heap_obj) != space) mhx_raise_closed((mhx_handle *)heap_obj);
  else if (plan != NULL && space->undone != undone)
    mhx_refuse(MHEAP_ERR_STALE, "the heap was rolled back while a record was read");
  else if (plan != NULL) map = make_map(schema, words, plan);
  Py_XDECREF(words);
  Py_XDECREF(plan);
  if (map != NULL && *mhx_objects_slot(heap_obj) != space) {
    mhx_raise_closed((mhx_handle *)heap_obj);
    free_map(map);
    map = NULL;
  }
  Py_DECREF(heap_obj);
  return map;
}

const mhx_map *mhx_map_for(mhx_space *space, uint32_t number, mhx_shape *shape) {
  const mhx_map *found = find_map(space, number, shape);
  if (found != NULL) return found;
  mhx_map *made = new_map(space, number, shape);
  if (made == NULL) return NULL;
  mhx_map *known = (mhx_map *)find_map(space, number, made->shape);
  if (known != NULL) free_map(made); /* freeing it frees no class: the other has it, too */
  else if (reserve(space, number) < 0) return free_map(made), NULL;
  else {
    made->next = space->maps[number];
    space->maps[number] = known = made;
  }
  if (shape == NULL) {
    for (mhx_map *map = space->maps[number]; map != NULL; map = map->next) map->classes = 0;
    known->classes = classes_of(space);
  }
  return known;
}

/* ---- storing a class ---- */

static int describe(mhx_space *space, const mhx_shape *shape, uint64_t *word) {
  mh_space *core = &space->core;
  if (mh_compound_new(core, MH_TYPE_TUPLE, 0, 2 * (uint64_t)shape->count + 1, word)) return mhx_failed(space);
  for (Py_ssize_t i = 0; i <= 2 * shape->count; i++) {
    const mhx_field *field = i == 0 ? NULL : &shape->fields[(i - 1) / 2];
    PyObject *text = i == 0 ? shape->name : i % 2 == 1 ? field->name : field->type;
    uint64_t item;
    if (mhx_scalar(space, text, &item) <= 0) return mh_release(core, *word), -1;
    mh_compound_set(core, *word, (uint64_t)i, item);
  }
  return 0;
}

/* Schemas are the main heap's, whichever heap the records are in. */
const mh_schema *mhx_schema_for(mhx_space *space, mhx_shape *shape) {
  uint64_t word;
  uint32_t number;
  if (shape->space == space->number && shape->undone == space->undone) return shape->schema;
  if (shape->count > MH_SCHEMA_FIELDS_MAX)
    return PyErr_Format(PyExc_TypeError, "a record has at most %u fields", MH_SCHEMA_FIELDS_MAX), NULL;
  if (mhx_shape_finish(shape) < 0) return NULL;
  mhx_space owner = *space;
  owner.core.heap = mh_handle_find(space->core.region, 0);
  if (describe(&owner, shape, &word) < 0) return NULL;
  mheap_err failed = mh_schema_add(&owner.core, word, &number);
  if (failed) {
    mhx_failed(&owner);
    mh_release(&owner.core, word);
    return NULL;
  }
  if (mh_schema_at(&space->core, number, &shape->schema)) return mhx_failed(space), NULL;
  shape->space = space->number;
  shape->undone = space->undone;
  return shape->schema;
}

/* ---- migrating ---- */

/* A field of the new row. *made: its value has a reference that is not in the old one. */
static int move_field(mhx_space *space, const mhx_place *from, mh_field_kind kind, const char *old, char *to,
                      bool *made) {
  uint64_t bits = 0;
  *made = false;
  if (from->how == MHX_AS_BOOL) bits = *(const uint8_t *)(old + from->offset) != 0;
  else memcpy(&bits, old + from->offset, 8);
  if (kind == MH_FIELD_BOOL) return *to = (char)bits, 0;
  mheap_err failed = MHEAP_OK;
  if (from->how == MHX_INT_AS_FLOAT) bits = mh_float_bits((double)(int64_t)bits);
  if (kind == MH_FIELD_WORD && from->how == MHX_AS_BOOL) bits = bits ? MH_CONST_TRUE : MH_CONST_FALSE;
  if (kind == MH_FIELD_WORD && from->how == MHX_AS_INT)
    failed = mh_int_new(&space->core, (int64_t)bits, &bits);
  if (kind == MH_FIELD_WORD && from->how == MHX_AS_FLOAT) failed = mh_float_new(&space->core, bits, &bits);
  *made = kind == MH_FIELD_WORD && from->how != MHX_AS_WORD;
  if (failed) return mhx_failed(space);
  memcpy(to, &bits, 8);
  return 0;
}

static void release_made(mhx_space *space, const mh_schema *schema, const char *row, const bool *made) {
  for (uint32_t i = 0; i < schema->field_count; i++) {
    uint64_t word;
    if (!made[i]) continue;
    memcpy(&word, row + schema->fields[i].offset, 8);
    mh_release(&space->core, word);
  }
}

/* `defaults`: of the fields that are not stored, words or bits, with a reference each. */
static int move_all(mhx_space *space, mhx_twin *twin, const mh_schema *schema, const uint64_t *defaults) {
  const mhx_map *map = twin->of.record.map;
  mh_fields *fields = &twin->of.record.fields;
  char *row = PyMem_Calloc(1, schema->bytes + schema->field_count + 1);
  if (row == NULL) return PyErr_NoMemory(), -1;
  bool *made = (bool *)(row + schema->bytes);
  int failed = 0;
  for (uint32_t i = 0; failed == 0 && i < schema->field_count; i++) {
    const mh_schema_field *field = &schema->fields[i];
    char *to = row + field->offset;
    if (map->places[i].how != MHX_AS_DEFAULT)
      failed = move_field(space, &map->places[i], field->kind, mh_fields_field(fields, 0), to, &made[i]);
    else if (field->kind == MH_FIELD_BOOL) *to = (char)defaults[i];
    else memcpy(to, &defaults[i], 8);
  }
  if (failed == 0 && mh_fields_migrate(fields, schema, row, map->lost, map->lost_count))
    failed = mhx_failed(space);
  if (failed == 0) twin->of.record.map = NULL;
  else release_made(space, schema, row, made);
  PyMem_Free(row);
  return failed;
}

/* What stands for each field: for one that is not stored its default; others need nothing. */
static PyObject *list_defaults(const mhx_map *map, mhx_shape *shape) {
  PyObject *list = PyList_New(shape->count);
  if (list == NULL) return NULL;
  for (Py_ssize_t i = 0; i < shape->count; i++)
    PyList_SET_ITEM(list, i, Py_NewRef(map->places[i].how == MHX_AS_DEFAULT ? Py_Ellipsis : Py_None));
  for (Py_ssize_t i = 0; i < shape->count; i++) { /* runs Python code: the map may go */
    if (PyList_GET_ITEM(list, i) != Py_Ellipsis) continue;
    PyObject *made = mhx_field_default(shape, i);
    if (made == NULL || PyList_SetItem(list, i, made) < 0) return Py_DECREF(list), NULL;
  }
  return list;
}

static int store_defaults(mhx_space *space, const mhx_map *map, mhx_words *words) {
  PyObject *list = list_defaults(map, map->shape);
  int failed = list == NULL ? -1 : mhx_values(space, list, words);
  Py_XDECREF(list);
  return failed;
}

/* Values that are bits in the row were made as values, too: small ones mostly. */
static int defaults_to_bits(mhx_space *space, mhx_shape *shape, const mhx_words *words, uint64_t *bits) {
  for (Py_ssize_t i = 0; i < shape->count; i++) {
    bits[i] = words->words[i];
    if (shape->fields[i].kind == MH_FIELD_WORD || bits[i] == MH_CONST_NONE) continue;
    PyObject *value = mhx_from_word(space, bits[i]);
    if (value == NULL) return -1;
    int failed = mhx_field_bits(shape->fields[i].kind, value, &bits[i]);
    Py_DECREF(value);
    if (failed < 0) return -1;
  }
  return 0;
}

static void release_bits(mhx_space *space, const mhx_shape *shape, const mhx_words *words) {
  for (Py_ssize_t i = 0; i < shape->count; i++)
    if (shape->fields[i].kind != MH_FIELD_WORD) mh_release(&space->core, words->words[i]);
}

int mhx_record_migrate(mhx_space *space, mhx_twin *twin) {
  mhx_words words;
  const mhx_map *map = twin->of.record.map;
  mhx_shape *shape = (mhx_shape *)Py_NewRef((PyObject *)map->shape);
  const mh_schema *schema = mhx_schema_for(space, shape);
  int failed = schema == NULL || store_defaults(space, map, &words) < 0 ? -1 : 0;
  if (failed == 0) {
    uint64_t *bits = PyMem_Malloc(8 * (size_t)shape->count + 8);
    if (bits == NULL) failed = (PyErr_NoMemory(), -1);
    if (failed == 0) failed = mhx_record_open(space, twin); /* making defaults may have run Python code */
    if (failed == 0 && twin->of.record.map->is_own) failed = 1;
    if (failed == 0) failed = defaults_to_bits(space, shape, &words, bits);
    if (failed == 0) failed = move_all(space, twin, schema, bits);
    PyMem_Free(bits);
    if (failed != 0) mhx_words_refused(space, &words);
    else {
      release_bits(space, shape, &words);
      mhx_words_taken(&words);
    }
  }
  Py_DECREF(shape);
  return failed < 0 ? -1 : 0;
}

/* ---- all rows of a record list ---- */

typedef struct conversion {
  mhx_space *space;
  const mhx_map *map;
  const mh_schema *schema;
  const uint64_t *next; /* value of the next field that is not stored */
  uint64_t *made;       /* PyMem; values that were made of bits */
  size_t made_count;
} conversion;

static PyObject *list_all_defaults(const mhx_map *map, mhx_shape *shape, uint64_t count) {
  PyObject *once = list_defaults(map, shape), *all = PyList_New(0);
  bool failed = once == NULL || all == NULL;
  for (uint64_t i = 0; !failed && i < count; i++)
    for (Py_ssize_t k = 0; !failed && k < shape->count; k++) {
      if (PyList_GET_ITEM(once, k) == Py_None) continue;
      PyObject *value = mhx_field_default(shape, k);
      failed = value == NULL || PyList_Append(all, value) < 0;
      Py_XDECREF(value);
    }
  Py_XDECREF(once);
  if (failed) Py_CLEAR(all);
  return all;
}

static int convert_field(conversion *c, uint32_t index, const char *old, char *to) {
  const mh_schema_field *field = &c->schema->fields[index];
  bool made;
  uint64_t bits;
  if (c->map->places[index].how != MHX_AS_DEFAULT) {
    if (move_field(c->space, &c->map->places[index], field->kind, old, to, &made) < 0) return -1;
    if (made) memcpy(&c->made[c->made_count++], to, 8);
    return 0;
  }
  bits = *c->next++;
  if (field->kind != MH_FIELD_WORD) {
    PyObject *value = mhx_from_word(c->space, bits);
    if (value == NULL) return -1;
    int failed = mhx_field_bits(field->kind, value, &bits);
    Py_DECREF(value);
    if (failed < 0) return -1;
  }
  memcpy(to, &bits, field->kind == MH_FIELD_BOOL ? 1 : 8);
  return 0;
}

static int convert_rows(conversion *c, mhx_twin *list, const mh_rows *rows) {
  uint64_t bytes = c->schema->bytes, fields = c->schema->field_count;
  char *data = PyMem_Calloc(rows->count + 1, bytes);
  c->made = PyMem_Calloc(rows->count + 1, 8 * fields);
  int failed = data == NULL || c->made == NULL ? (PyErr_NoMemory(), -1) : 0;
  for (uint64_t i = 0; failed == 0 && i < rows->count; i++)
    for (uint32_t k = 0; failed == 0 && k < fields; k++) {
      char *to = data + i * bytes + c->schema->fields[k].offset;
      failed = convert_field(c, k, (const char *)mh_row_at(rows, i), to);
    }
  if (failed == 0 &&
      mh_rows_migrate(&list->of.rows.list, c->schema, data, c->map->lost, c->map->lost_count))
    failed = mhx_failed(c->space);
  for (size_t i = 0; failed < 0 && i < c->made_count; i++) mh_release(&c->space->core, c->made[i]);
  PyMem_Free(data);
  PyMem_Free(c->made);
  return failed;
}

/* Values of fields that are bits in the rows are in nothing's hands but ours. */
static void release_all_bits(conversion *c, const mhx_words *words) {
  size_t at = 0;
  while (at < words->count)
    for (uint32_t k = 0; k < c->schema->field_count && at < words->count; k++) {
      if (c->map->places[k].how != MHX_AS_DEFAULT) continue;
      if (c->schema->fields[k].kind != MH_FIELD_WORD) mh_release(&c->space->core, words->words[at]);
      at++;
    }
}

/* Making defaults may have run Python code, by which anything may have changed. */
static int is_as_before(mhx_space *space, mhx_twin *list, const mhx_map *map, uint64_t undone,
                        const mh_rows *before) {
  mh_rows rows;
  if (mh_row_list_rows(&list->of.rows.list, true, &rows)) return mhx_failed(space);
  if (space->undone == undone && list->of.rows.map == map && rows.block == before->block &&
      rows.count == before->count)
    return 0;
  mhx_refuse(MHEAP_ERR_STALE, "the list of records changed while its records were brought up to date");
  return -1;
}

int mhx_rows_convert(mhx_space *space, mhx_twin *list, const mh_rows *rows) {
  const mhx_map *map = list->of.rows.map;
  uint64_t undone = space->undone;
  mhx_words words;
  mhx_shape *shape = (mhx_shape *)Py_NewRef((PyObject *)map->shape);
  conversion c = {.space = space, .map = map, .schema = mhx_schema_for(space, shape)};
  PyObject *defaults = c.schema == NULL ? NULL : list_all_defaults(map, shape, rows->count);
  int failed = defaults == NULL || mhx_values(space, defaults, &words) < 0 ? -1 : 0;
  Py_XDECREF(defaults);
  Py_DECREF((PyObject *)shape); /* the map has one, too, while it is there */
  if (failed < 0) return -1;
  failed = is_as_before(space, list, map, undone, rows);
  c.next = words.words;
  if (failed == 0) failed = convert_rows(&c, list, rows);
  if (failed < 0) return mhx_words_refused(space, &words);
  release_all_bits(&c, &words);
  mhx_words_taken(&words);
  list->of.rows.map = NULL;
  return 0;
}
