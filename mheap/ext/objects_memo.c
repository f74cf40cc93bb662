/* objects_memo.c: see objects_memo.h. */
#include "objects_memo.h"

int mhx_memo_begin(mhx_memo *memo, size_t room) {
  *memo = (mhx_memo){.entries = PyMem_Calloc(room, sizeof *memo->entries), .room = room};
  return memo->entries == NULL ? (PyErr_NoMemory(), -1) : 0;
}

void mhx_memo_end(mhx_memo *memo) {
  for (size_t i = 0; memo->entries != NULL && i < memo->room; i++) Py_XDECREF(memo->entries[i].object);
  PyMem_Free(memo->entries);
}

/* No two had one place, so none have one in twice the room. */
static int enlarge(mhx_memo *memo) {
  mhx_memo larger;
  if (mhx_memo_begin(&larger, memo->room * 2) < 0) return -1;
  for (size_t i = 0; i < memo->room; i++)
    if (memo->entries[i].object != NULL) *mhx_memo_find(&larger, memo->entries[i].object) = memo->entries[i];
  PyMem_Free(memo->entries);
  *memo = larger;
  return 0;
}

int mhx_memo_add(mhx_memo *memo, PyObject *object, uint64_t word) {
  size_t used = memo->used;
  if ((used + 1) * 2 > memo->room && enlarge(memo) < 0) return -1;
  memo->used = used + 1;
  *mhx_memo_find(memo, object) = (mhx_memo_entry){.object = Py_NewRef(object), .word = word};
  return 0;
}

int mhx_memo_remember(mhx_memo *memo, PyObject *object, uint64_t word, size_t most) {
  if (memo->used * 2 > memo->room && memo->room < most && enlarge(memo) < 0) return -1;
  mhx_memo_entry *entry = &memo->entries[mhx_memo_place(memo, object)];
  PyObject *old = entry->object;
  *entry = (mhx_memo_entry){.object = Py_NewRef(object), .word = word};
  memo->used += old != NULL;
  Py_XDECREF(old);
  return 0;
}
