/* objects_texts.h: which str was stored last, while a graph of objects is stored: one that several places
   share is stored once, if they are not too far from each other. Owns a cache, in which each str has one
   place. Calls objects_memo.h, takes no lock. */
#ifndef MHEAP_EXT_OBJECTS_TEXTS_H
#define MHEAP_EXT_OBJECTS_TEXTS_H

#include "objects_memo.h"

typedef struct mhx_texts {
  mhx_memo last; /* in each place */
  size_t lost;   /* how many took another's place since it was enlarged */
} mhx_texts;

/* -1 with an exception. */
int mhx_texts_begin(mhx_texts *texts);
void mhx_texts_end(mhx_texts *texts);

/* What the str became; ABSENT, 0: it is not known, or not any more. */
static inline uint64_t mhx_texts_recall(const mhx_texts *texts, const PyObject *text) {
  const mhx_memo_entry *entry = &texts->last.entries[mhx_memo_place(&texts->last, text)];
  return entry->object == text ? entry->word : 0;
}
/* -1 with an exception. */
int mhx_texts_remember(mhx_texts *texts, PyObject *text, uint64_t word);

#endif
