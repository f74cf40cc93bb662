/* objects.c: see objects.h. The types, heap.root, detaching. */
#include "objects_records.h"

/* Twins are bases of Python classes and have a name in the module; iterators have none. */
static int add_type(PyObject *module, int index, PyType_Spec *spec) {
  mhx_state *state = mhx_state_of(module);
  PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
  if (type == NULL) return -1;
  state->object_types[index] = type;
  bool is_iterator = index == MHX_ROWS_ITER || index == MHX_DICT_ITER || index == MHX_LIST_ITER ||
                     index == MHX_DEQUE_ITER;
  return is_iterator ? 0 : PyModule_AddType(module, (PyTypeObject *)type);
}

int mhx_objects_init(PyObject *module) {
  if (add_type(module, MHX_DICT_TWIN, &mhx_dict_twin_spec) < 0) return -1;
  if (add_type(module, MHX_LIST_TWIN, &mhx_list_twin_spec) < 0) return -1;
  if (add_type(module, MHX_SET_TWIN, &mhx_set_twin_spec) < 0) return -1;
  if (add_type(module, MHX_DEQUE_TWIN, &mhx_deque_twin_spec) < 0) return -1;
  if (add_type(module, MHX_RECORD_TWIN, &mhx_record_spec) < 0) return -1;
  if (add_type(module, MHX_ROWS_TWIN, &mhx_rows_twin_spec) < 0) return -1;
  if (add_type(module, MHX_ROWS_ITER, &mhx_rows_iter_spec) < 0) return -1;
  if (add_type(module, MHX_COLUMN, &mhx_column_spec) < 0) return -1;
  if (add_type(module, MHX_SHAPE, &mhx_shape_spec) < 0) return -1;
  if (add_type(module, MHX_FIELD, &mhx_field_spec) < 0) return -1;
  if (add_type(module, MHX_DEQUE_ITER, &mhx_deque_iter_spec) < 0) return -1;
  if (add_type(module, MHX_DICT_ITER, &mhx_dict_iter_spec) < 0) return -1;
  return add_type(module, MHX_LIST_ITER, &mhx_list_iter_spec);
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

void mhx_objects_rolled_back(PyObject *heap_obj) {
  mhx_space *space = *mhx_objects_slot(heap_obj);
  if (space != NULL) mhx_twins_rolled_back(space);
}

void mhx_objects_detach(PyObject *heap_obj) {
  void **slot = mhx_objects_slot(heap_obj);
  mhx_space *space = *slot;
  *slot = NULL;
  if (space == NULL) return;
  mhx_collect_leave(space);
  mhx_twins_detach(space);
}
