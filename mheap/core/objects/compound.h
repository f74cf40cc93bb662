/* compound.h: tuples, frozensets and extended values: made, filled, read, checked. Calls value.h.
   Takes no lock.

   A compound is made with its words ABSENT, filled, and only then published; after that it
   never changes. */
#ifndef MHEAP_OBJECTS_COMPOUND_H
#define MHEAP_OBJECTS_COMPOUND_H

#include "value.h"

/* A new, unpublished compound with one reference: type MH_TYPE_TUPLE, FROZENSET, EXTENDED. */
mheap_err mh_compound_new(mh_space *space, mh_type type, mh_kind_code kind, uint64_t count, uint64_t *word);
/* The same, complete, of `count` words, in a space that has a pool: one that is there already if it can be.
   The kind is before the words. References that these have are its own from then on. */
mheap_err mh_compound_once(mh_space *space, mh_type type, const uint64_t *kind_and_words, uint64_t count,
                           uint64_t *word);
/* Sets one of its words, whose reference it owns from then on. */
void mh_compound_set(mh_space *space, uint64_t word, uint64_t index, uint64_t value);

/* As read; its words lie in the region. */
typedef struct mh_compound {
  mh_type type;
  uint64_t kind, count, offset;
  const uint64_t *words;
} mh_compound;

/* Does the reference lead to a compound? What leads nowhere does not. */
bool mh_word_is_compound(mh_space *space, uint64_t word);
mheap_err mh_compound_read(mh_space *space, uint64_t word, mh_compound *compound);
/* Are these the words of a kind: as many, of their types, in their ranges? */
mheap_err mh_compound_check(mh_space *space, const mh_compound *compound);

#endif
