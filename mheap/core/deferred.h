/* deferred.h: the function that frees what a program put off freeing.

   Owns it, and the counts of each thread. Calls lane.h, registry.h. Called first in a public
   function, when no lock is held. While one is registered no lane is at hand, so that every
   allocation comes this way and is counted; when none is, nothing is. */
#ifndef MHEAP_DEFERRED_H
#define MHEAP_DEFERRED_H

#include <stdatomic.h>

#include "mheap/mheap.h"

extern _Atomic uint32_t mh_deferred_number; /* of the registration; 0: no function is registered */

static inline bool mh_deferred_is_on(void) {
  return atomic_load_explicit(&mh_deferred_number, memory_order_relaxed) != 0;
}

void mh_deferred_count_slowly(void);
/* One more allocation in this thread. */
static inline void mh_deferred_count(void) {
  if (__builtin_expect(mh_deferred_is_on(), 0)) mh_deferred_count_slowly();
}

/* Calls the function, if one is registered and this thread is not in it. Was it called? */
bool mh_deferred_call(bool force);

/* An allocation failed for this reason. True: more was freed, it may be tried again. */
bool mh_deferred_helps(mheap_err code);

#endif
