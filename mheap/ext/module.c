/* module.c: the module mheap._core: its state, types and functions.

   Owns: the module state. Multi-phase initialisation; one state a module object. */
#include "ext.h"

mhx_state *mhx_state_of(PyObject *module) { return PyModule_GetState(module); }

static int add_functions(PyObject *module) {
  PyMethodDef *tables[] = {mhx_attach_functions,  mhx_heap_functions,     mhx_blocks_functions,
                           mhx_roots_functions,   mhx_guard_functions,    mhx_stats_functions,
                           mhx_view_functions,    mhx_heaps_functions,    mhx_arenas_functions,
                           mhx_kinds_functions,   mhx_extended_functions, mhx_stats_print_functions,
                           mhx_subprocs_functions, mhx_commits_functions, mhx_readers_functions,
                           mhx_journal_functions, mhx_values_functions, mhx_compact_functions};
  for (size_t i = 0; i < Py_ARRAY_LENGTH(tables); i++)
    if (PyModule_AddFunctions(module, tables[i]) < 0) return -1;
  return 0;
}

static int add_types(PyObject *module, mhx_state *state) {
  if ((state->heap_type = mhx_heap_type_new(module)) == NULL) return -1;
  if (PyModule_AddType(module, state->heap_type) < 0) return -1;
  state->view_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &mhx_view_spec, NULL);
  if (state->view_type == NULL) return -1;
  state->arena_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &mhx_arena_spec, NULL);
  if (state->arena_type == NULL || PyModule_AddType(module, state->arena_type) < 0) return -1;
  state->transaction_type =
      (PyTypeObject *)PyType_FromModuleAndSpec(module, &mhx_transaction_spec, NULL);
  if (state->transaction_type == NULL || PyModule_AddType(module, state->transaction_type) < 0) return -1;
  if (mhx_stats_init(module, state) < 0 || mhx_extended_init(module, state) < 0) return -1;
  if (mhx_journal_init(module, state) < 0) return -1;
  return mhx_kinds_init(module, state);
}

/* Heaps that are still open when the interpreter ends are detached, before objects go. */
static int watch_exit(PyObject *module) {
  PyObject *atexit = PyImport_ImportModule("atexit");
  PyObject *detach_all = PyObject_GetAttrString(module, "detach_all");
  PyObject *result = NULL;
  if (atexit != NULL && detach_all != NULL) result = PyObject_CallMethod(atexit, "register", "O", detach_all);
  Py_XDECREF(atexit);
  Py_XDECREF(detach_all);
  Py_XDECREF(result);
  return result != NULL ? 0 : -1;
}

static int exec(PyObject *module) {
  mhx_state *state = mhx_state_of(module);
  if (add_functions(module) < 0 || add_types(module, state) < 0) return -1;
  if (PyModule_AddStringConstant(module, "version", mheap_version()) < 0) return -1;
  if (PyModule_AddIntConstant(module, "KEYS", MHEAP_KEYS) < 0) return -1;
  if (mhx_watch_forks() < 0 || watch_exit(module) < 0) return -1;
  if (mhx_subprocs_begin() < 0) return -1;
  state->has_subproc = true;
  return mhx_objects_init(module);
}

static int traverse(PyObject *module, visitproc visit, void *arg) {
  mhx_state *state = mhx_state_of(module);
  Py_VISIT(state->heap_type);
  Py_VISIT(state->view_type);
  Py_VISIT(state->info_type);
  Py_VISIT(state->stats_type);
  Py_VISIT(state->class_type);
  Py_VISIT(state->mmstats_type);
  Py_VISIT(state->finding_type);
  Py_VISIT(state->process_type);
  Py_VISIT(state->journal_type);
  Py_VISIT(state->arena_type);
  Py_VISIT(state->kind_type);
  Py_VISIT(state->transaction_type);
  Py_VISIT(state->kind_call_type);
  Py_VISIT(state->kind_memory_type);
  for (int i = 0; i < MHX_OBJECT_TYPES; i++) Py_VISIT(state->object_types[i]);
  return 0;
}

static int clear(PyObject *module) {
  mhx_state *state = mhx_state_of(module);
  Py_CLEAR(state->heap_type);
  Py_CLEAR(state->view_type);
  Py_CLEAR(state->info_type);
  Py_CLEAR(state->stats_type);
  Py_CLEAR(state->class_type);
  Py_CLEAR(state->mmstats_type);
  Py_CLEAR(state->finding_type);
  Py_CLEAR(state->process_type);
  Py_CLEAR(state->journal_type);
  Py_CLEAR(state->arena_type);
  Py_CLEAR(state->kind_type);
  Py_CLEAR(state->transaction_type);
  Py_CLEAR(state->kind_call_type);
  Py_CLEAR(state->kind_memory_type);
  for (int i = 0; i < MHX_OBJECT_TYPES; i++) Py_CLEAR(state->object_types[i]);
  return 0;
}

static void release(void *module) {
  clear(module);
  if (mhx_state_of(module)->has_subproc) mhx_subprocs_end();
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, exec},
#if PY_VERSION_HEX >= 0x030c0000
    /* They share what guards the core's and the binding's state: one GIL. Others are refused. */
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_SUPPORTED},
#endif
    {0, NULL},
};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "mheap._core",
    .m_doc = "The C half of mheap. Its names are mheap's own; use them from there.",
    .m_size = sizeof(mhx_state),
    .m_slots = slots,
    .m_traverse = traverse,
    .m_clear = clear,
    .m_free = release,
};

PyMODINIT_FUNC PyInit__core(void) { return PyModuleDef_Init(&definition); }
