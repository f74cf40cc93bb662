/* objects_texts.c: see objects_texts.h. */
#include "objects_texts.h"

#define FIRST_ROOM 32
#define MOST_ROOM ((size_t)1 << 16) /* what is shared by few of many is as well stored twice */

int mhx_texts_begin(mhx_texts *texts) {
  texts->lost = 0;
  return mhx_memo_begin(&texts->last, FIRST_ROOM);
}

void mhx_texts_end(mhx_texts *texts) { mhx_memo_end(&texts->last); }

/* No two have one place, so none have one in twice the room. */
static int enlarge(mhx_texts *texts) {
  if (texts->lost * 2 <= texts->last.room || texts->last.room == MOST_ROOM) return 0;
  texts->lost = 0;
  return mhx_memo_enlarge(&texts->last);
}

int mhx_texts_remember(mhx_texts *texts, PyObject *text, uint64_t word) {
  if (enlarge(texts) < 0) return -1;
  mhx_memo_entry *entry = &texts->last.entries[mhx_memo_place(&texts->last, text)];
  PyObject *old = entry->object;
  *entry = (mhx_memo_entry){.object = Py_NewRef(text), .word = word};
  texts->lost += old != NULL;
  Py_XDECREF(old);
  return 0;
}
