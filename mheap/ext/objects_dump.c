/* objects_dump.c: a value as all that an empty heap holds, for mheap.dump. Owns nothing. */
#include "objects.h"
#include "objects/pool.h"

/* Objects that are a sealed heap's for ever. */
static int store_once(mhx_space *space, PyObject *root, mhx_words *words) {
  mh_pool pool;
  mh_pool_begin(&space->core, &pool);
  int failed = mhx_value(space, root, words);
  mh_pool_end(&space->core);
  return failed;
}

static int store(mhx_space *space, PyObject *root) {
  mhx_words words;
  if (store_once(space, root, &words) < 0) return -1;
  if (mh_word_tag(words.words[0]) != MH_TAG_DICT_REF) {
    mhx_words_refused(space, &words);
    PyErr_SetString(PyExc_TypeError, "the root of a heap is a dict");
    return -1;
  }
  mh_root_set(&space->core, words.words[0]);
  mhx_words_taken(&words);
  return 0;
}

/* _fill(heap, root, seed). */
static PyObject *fill(PyObject *module, PyObject *const *args, Py_ssize_t nargs) {
  mhx_handle *handle;
  Py_buffer seed;
  if (nargs != 3) return mhx_arity("_fill", 3, nargs);
  if (mhx_md(module, args[0], &handle) < 0 || mhx_twin_types(mhx_state_of(module)) < 0) return NULL;
  mhx_space *space = handle != NULL ? mhx_space_of((PyObject *)handle) : NULL;
  if (space == NULL) return handle == NULL ? mhx_refuse(MHEAP_ERR_ARGUMENT, "no heap") : NULL;
  if (PyObject_GetBuffer(args[2], &seed, PyBUF_SIMPLE) < 0) return NULL;
  bool right = seed.len == sizeof space->core.seed;
  mheap_err failed = right ? mh_space_set_seed(&space->core, seed.buf) : MHEAP_OK;
  PyBuffer_Release(&seed);
  if (!right) return mhx_refuse(MHEAP_ERR_ARGUMENT, "a hash seed has 16 bytes");
  if (failed) return mhx_failed(space), NULL;
  if (store(space, args[1]) < 0) return NULL;
  Py_RETURN_NONE;
}

PyMethodDef mhx_fill_functions[] = {
    {"_fill", (PyCFunction)(void (*)(void))fill, METH_FASTCALL,
     "_fill($module, heap, root, seed, /)\n--\n\n"
     "Makes a dict the root of a heap in memory that is empty, its hash seed being these 16 bytes."},
    {NULL, NULL, 0, NULL},
};
