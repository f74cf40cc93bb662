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

int mhx_memo_enlarge(mhx_memo *memo) {
  mhx_memo larger;
  if (mhx_memo_begin(&larger, memo->room * 2) < 0) return -1;
  larger.used = memo->used;
  for (size_t i = 0; i < memo->room; i++)
    if (memo->entries[i].object != NULL) *mhx_memo_find(&larger, memo->entries[i].object) = memo->entries[i];
  PyMem_Free(memo->entries);
  *memo = larger;
  return 0;
}

int mhx_memo_add(mhx_memo *memo, PyObject *object, uint64_t word) {
  if ((memo->used + 1) * 2 > memo->room && mhx_memo_enlarge(memo) < 0) return -1;
  memo->used++;
  *mhx_memo_find(memo, object) = (mhx_memo_entry){.object = Py_NewRef(object), .word = word};
  return 0;
}
