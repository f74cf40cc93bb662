/* pool.h: equal values that never change, stored once.

   Owns a table of what was stored while it is a space's pool, in the process's memory. Calls key.h for
   the hash. Nothing that is in it may be freed before it is dropped. Takes no lock.

   Values are equal here if their types and bytes are: 1 and 1.0 are not. So what is stored depends on the
   values alone, not on which of them happen to be one object of the program. */
#ifndef MHEAP_OBJECTS_POOL_H
#define MHEAP_OBJECTS_POOL_H

#include "space.h"

typedef struct mh_pool_slot {
  uint64_t hash, word; /* word 0: empty */
} mh_pool_slot;

typedef struct mh_pool {
  mh_pool_slot *slots;
  uint64_t room, used;
} mh_pool;

/* From now on values of this space are stored once, until mh_pool_end. */
void mh_pool_begin(mh_space *space, mh_pool *pool);
void mh_pool_end(mh_space *space);

/* The object with this head, but for its count, and `bytes` > 0 like these behind it: one reference more.
   MHEAP_ERR_NOT_FOUND: there is none. */
mheap_err mh_pool_get(mh_space *space, uint64_t head, const void *data, uint64_t bytes, uint64_t *word);
/* It was stored since. */
mheap_err mh_pool_add(mh_space *space, uint64_t head, const void *data, uint64_t bytes, uint64_t word);

#endif
