/* journal.c: what the journal of a file that nobody attaches holds, and bringing that into its pages.

   Owns the type JournalInfo. Both calls open the file by its path, and let other threads run meanwhile. */
#include "ext.h"

static PyStructSequence_Field journal_fields[] = {
    {"offset", "where the journal is in the file; 0: there is none"},
    {"size", "bytes of it"},
    {"used", "bytes of records in it"},
    {"records", "commits that are not in the pages of the file yet"},
    {"pages_generation", "number of the commit that the pages are of"},
    {"generation", "number of the last commit: what whoever attaches the file sees"},
    {"busy", "whether somebody has the file open, so that no writer can attach it"},
    {NULL, NULL},
};
static PyStructSequence_Desc journal_desc = {"mheap.JournalInfo", "What the journal of a heap file holds.",
                                             journal_fields, 7};

int mhx_journal_init(PyObject *module, mhx_state *state) {
  state->journal_type = PyStructSequence_NewType(&journal_desc);
  return state->journal_type == NULL ? -1 : PyModule_AddType(module, state->journal_type);
}

static PyObject *made_of(mhx_state *state, const mheap_journal_info *info) {
  const uint64_t numbers[] = {info->offset,           info->size,      info->used, info->records,
                              info->pages_generation, info->generation};
  PyObject *made = PyStructSequence_New(state->journal_type);
  for (Py_ssize_t i = 0; made != NULL && i <= (Py_ssize_t)Py_ARRAY_LENGTH(numbers); i++) {
    bool last = i == (Py_ssize_t)Py_ARRAY_LENGTH(numbers);
    PyObject *field = last ? PyBool_FromLong(info->busy) : PyLong_FromUnsignedLongLong(numbers[i]);
    if (field == NULL) Py_CLEAR(made);
    else PyStructSequence_SET_ITEM(made, i, field);
  }
  return made;
}

typedef mheap_err journal_call(const char *path, mheap_journal_info *info, mheap_error *error);

static PyObject *on_file(PyObject *module, PyObject *path, journal_call *call) {
  mheap_journal_info info;
  mheap_error error = {.code = MHEAP_OK};
  PyObject *encoded, *name;
  if (!PyUnicode_FSConverter(path, &encoded)) return NULL;
  if (!PyUnicode_FSDecoder(encoded, &name)) return Py_DECREF(encoded), NULL;
  mhx_hold_inherited();
  mheap_err result;
  Py_BEGIN_ALLOW_THREADS result = call(PyBytes_AS_STRING(encoded), &info, &error);
  Py_END_ALLOW_THREADS PyObject *made =
      result == MHEAP_OK ? made_of(mhx_state_of(module), &info) : mhx_raise_error_at(&error, name);
  Py_DECREF(encoded);
  Py_DECREF(name);
  return made;
}

static PyObject *journal(PyObject *module, PyObject *path) {
  return on_file(module, path, mheap_get_journal);
}

static PyObject *recover(PyObject *module, PyObject *path) { return on_file(module, path, mheap_recover); }

PyDoc_STRVAR(
    journal_doc,
    "journal($module, path, /)\n--\n\n"
    "What the journal of the heap file at a path holds, as a JournalInfo.\n\n"
    "The file is only read, beside a writer too. Raises what open() raises for a file that cannot be read,\n"
    "is no heap, or whose journal is damaged.");

PyDoc_STRVAR(
    recover_doc,
    "recover($module, path, /)\n--\n\n"
    "Brings the commits in the journal of the heap file at a path into its pages, durably.\n\n"
    "Nobody needs to: every attach sees them, and a writer brings them in sooner or later. Before a\n"
    "program that knows nothing of journals reads the file, for example. Returns what was in the journal, "
    "which is\n"
    "empty then. Raises HeapBusy when somebody has the file open for writing, or a reader keeps an earlier\n"
    "commit; ReadOnlyHeap, or HeapOSError, when it cannot be written; and what journal() raises.");

PyMethodDef mhx_journal_functions[] = {
    {"journal", journal, METH_O, journal_doc},
    {"recover", recover, METH_O, recover_doc},
    {NULL, NULL, 0, NULL},
};
