/* callback.h: a function that the program registered, with its argument.

   Owns nothing but the lock of those who register. Calls nothing. Whoever calls a registered
   function takes a copy of the pair, without a lock; so a call that began before another
   function was registered may end after it. */
#ifndef MHEAP_CALLBACK_H
#define MHEAP_CALLBACK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef void mh_function(void); /* of any type: whoever registers it knows which */

typedef struct mh_callback {
  _Atomic uint64_t version; /* odd while the two below are changed */
  _Atomic(mh_function *) function;
  _Atomic(void *) arg;
} mh_callback;

/* Replaces the pair; NULL: none from now on. */
void mh_callback_set(mh_callback *callback, mh_function *function, void *arg);

static inline bool mh_callback_is_set(mh_callback *callback) {
  return atomic_load_explicit(&callback->function, memory_order_relaxed) != NULL;
}

/* A function and the argument that it was registered with; NULL: none is. */
static inline mh_function *mh_callback_get(mh_callback *callback, void **arg) {
  for (;;) {
    uint64_t version = atomic_load_explicit(&callback->version, memory_order_acquire);
    mh_function *function = atomic_load_explicit(&callback->function, memory_order_acquire);
    *arg = atomic_load_explicit(&callback->arg, memory_order_acquire);
    if (version % 2 == 0 && atomic_load_explicit(&callback->version, memory_order_relaxed) == version)
      return function;
  }
}

#endif
