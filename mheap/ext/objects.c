/* objects.c: see objects.h. The types, heap.root, detaching. */
#include "objects_array.h"
#include "objects_records.h"

/* Twins are bases of Python classes and have a name in the module; iterators and the like have none.
   `base`: its own, one that stands before it; -1: object. */
static const struct {
  int index; /* in object_types */
  PyType_Spec *spec;
  int base;
  bool is_hidden;
} types[] = {
    {MHX_DICT_TWIN, &mhx_dict_twin_spec, -1, false},
    {MHX_LIST_TWIN, &mhx_list_twin_spec, -1, false},
    {MHX_SET_TWIN, &mhx_set_twin_spec, -1, false},
    {MHX_DEQUE_TWIN, &mhx_deque_twin_spec, -1, false},
    {MHX_COUNTER_TWIN, &mhx_counter_twin_spec, MHX_DICT_TWIN, false},
    {MHX_SORTED_TWIN, &mhx_sorted_twin_spec, MHX_DICT_TWIN, false},
    {MHX_ARRAY_TWIN, &mhx_array_twin_spec, -1, false},
    {MHX_ARRAY_BYTES, &mhx_array_bytes_spec, -1, true},
    {MHX_RECORD_TWIN, &mhx_record_spec, -1, false},
    {MHX_ROWS_TWIN, &mhx_rows_twin_spec, -1, false},
    {MHX_COLUMN, &mhx_column_spec, -1, false},
    {MHX_SHAPE, &mhx_shape_spec, -1, false},
    {MHX_FIELD, &mhx_field_spec, -1, false},
    {MHX_DICT_ITER, &mhx_dict_iter_spec, -1, true},
    {MHX_SORTED_ITER, &mhx_sorted_iter_spec, -1, true},
    {MHX_LIST_ITER, &mhx_list_iter_spec, -1, true},
    {MHX_DEQUE_ITER, &mhx_deque_iter_spec, -1, true},
    {MHX_ROWS_ITER, &mhx_rows_iter_spec, -1, true},
};

int mhx_objects_init(PyObject *module) {
  mhx_state *state = mhx_state_of(module);
  for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
    PyObject *base = types[i].base < 0 ? NULL : state->object_types[types[i].base];
    PyObject *type = PyType_FromModuleAndSpec(module, types[i].spec, base);
    if (type == NULL) return -1;
    state->object_types[types[i].index] = type;
    if (!types[i].is_hidden && PyModule_AddType(module, (PyTypeObject *)type) < 0) return -1;
  }
  return 0;
}

static PyObject *root_once(PyObject *heap_obj) {
  mhx_space *space = mhx_twin_types(mhx_state_of_heap(heap_obj)) < 0 ? NULL : mhx_space_of(heap_obj);
  if (space != NULL) space = mhx_space_newest(space);
  mh_dict dict;
  if (space == NULL) return NULL;
  mheap_err failed = mh_root(&space->core, false, &dict);
  if (failed == MHEAP_ERR_NOT_FOUND && mh_heap_may_look(space->core.heap)) failed = MHEAP_ERR_CORRUPT;
  if (failed && failed != MHEAP_ERR_NOT_FOUND) return mhx_failed(space), NULL;
  if (!failed) mhx_twin_found_root(space, &dict);
  PyObject *twin =
      failed ? mhx_twin_nowhere(space) : mhx_twin_for(space, mh_word_ref(MH_TAG_DICT_REF, dict.offset));
  if (twin != NULL) ((mhx_twin *)twin)->root = true;
  return twin;
}

PyObject *mhx_root(PyObject *heap_obj) {
  for (;;) {
    PyObject *twin = root_once(heap_obj);
    mhx_space *space = *mhx_objects_slot(heap_obj);
    if (space == NULL || mh_reader_is_whole(space->core.region)) return twin;
    Py_XDECREF(twin);
    if (mhx_torn_slowly(space) < 0) return NULL;
  }
}

/* ---- of all heaps of a region ---- */

static void call(mhx_handle *handle, void (*fun)(mhx_space *space)) {
  mhx_space *space = *mhx_objects_slot((PyObject *)handle);
  if (space != NULL) fun(space);
}

/* fun runs no Python code. */
void mhx_spaces_each(mhx_handle *main, void (*fun)(mhx_space *space)) {
  call(main, fun);
  for (mhx_handle *other = main->others; other != NULL; other = other->other) call(other, fun);
}

/* What was made since the last commit is as if it had been destroyed. */
static void roll_back(mhx_space *space) {
  mhx_handle *handle = (mhx_handle *)space->heap_obj;
  if (handle->undone) mhx_objects_ended(handle);
  else mhx_twins_rolled_back(space);
}

void mhx_objects_rolled_back(mhx_handle *main) { mhx_spaces_each(main, roll_back); }

/* ---- detaching ---- */

void mhx_objects_detach(PyObject *heap_obj) {
  void **slot = mhx_objects_slot(heap_obj);
  mhx_space *space = *slot;
  *slot = NULL;
  if (space == NULL) return;
  mhx_collect_leave(space);
  mhx_twins_detach(space, false);
}

static void detach(mhx_space *space) { mhx_objects_detach(space->heap_obj); }

void mhx_objects_detach_all(mhx_handle *main) { mhx_spaces_each(main, detach); }

void mhx_objects_ended(mhx_handle *handle) {
  void **slot = mhx_objects_slot((PyObject *)handle);
  mhx_space *space = *slot;
  *slot = NULL;
  handle->ended = true;
  if (space != NULL) mhx_twins_detach(space, true);
}
