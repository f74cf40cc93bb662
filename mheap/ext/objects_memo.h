/* objects_memo.h: what each object became, while a graph of objects is stored. Owns a reference to each
   object in it, so that no other takes its address. Calls nothing of ours, takes no lock. */
#ifndef MHEAP_EXT_OBJECTS_MEMO_H
#define MHEAP_EXT_OBJECTS_MEMO_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct mhx_memo_entry {
  PyObject *object; /* NULL: free */
  uint64_t word;
} mhx_memo_entry;

/* A hash table by identity. */
typedef struct mhx_memo {
  mhx_memo_entry *entries;
  size_t room, used; /* entries, a power of two; entries in use */
} mhx_memo;

/* -1 with an exception. */
int mhx_memo_begin(mhx_memo *memo, size_t room);
void mhx_memo_end(mhx_memo *memo);

static inline size_t mhx_memo_place(const mhx_memo *memo, const PyObject *object) {
  return (size_t)(((uintptr_t)object >> 4) * 0x9e3779b97f4a7c15u >> 20) & (memo->room - 1);
}

/* The object's entry, or the free one that it would have. */
static inline mhx_memo_entry *mhx_memo_find(const mhx_memo *memo, const PyObject *object) {
  size_t at = mhx_memo_place(memo, object), mask = memo->room - 1;
  while (memo->entries[at].object != NULL && memo->entries[at].object != object) at = (at + 1) & mask;
  return &memo->entries[at];
}
/* An object that is not in it. -1 with an exception. */
int mhx_memo_add(mhx_memo *memo, PyObject *object, uint64_t word);
/* Twice the room. -1 with an exception. */
int mhx_memo_enlarge(mhx_memo *memo);

#endif
