/* empty.c: a Python type whose one method takes an argument and does nothing: the least that
   any call from Python into C costs. Built and timed by python_calls.py. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

static PyObject *empty_call(PyObject *self, PyObject *const *args, Py_ssize_t count) {
  (void)self;
  (void)args;
  (void)count;
  Py_RETURN_NONE;
}

static PyMethodDef empty_methods[] = {
  {"call", (PyCFunction)(void (*)(void))empty_call, METH_FASTCALL, NULL},
  {NULL, NULL, 0, NULL},
};

static PyType_Slot empty_slots[] = {{Py_tp_methods, empty_methods}, {0, NULL}};
static PyType_Spec empty_spec = {
  .name = "empty.Empty", .basicsize = sizeof(PyObject), .flags = Py_TPFLAGS_DEFAULT, .slots = empty_slots};

static int empty_exec(PyObject *module) {
  PyObject *type = PyType_FromSpec(&empty_spec);
  if (!type) return -1;
  int failed = PyModule_AddObjectRef(module, "Empty", type);
  Py_DECREF(type);
  return failed;
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, (void *)empty_exec}, {0, NULL}};
static PyModuleDef module_definition = {
  .m_base = PyModuleDef_HEAD_INIT, .m_name = "empty", .m_slots = module_slots};

PyMODINIT_FUNC PyInit_empty(void) { return PyModuleDef_Init(&module_definition); }
