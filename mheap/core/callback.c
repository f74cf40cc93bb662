/* callback.c: see callback.h. */
#include "callback.h"

#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* So that no child is made while a pair is half changed. */
static void before_fork(void) { pthread_mutex_lock(&lock); }
static void after_fork(void) { pthread_mutex_unlock(&lock); }
static void watch_forks(void) { pthread_atfork(before_fork, after_fork, after_fork); }

void mh_callback_set(mh_callback *callback, mh_function *function, void *arg) {
  pthread_once(&once, watch_forks);
  pthread_mutex_lock(&lock);
  atomic_fetch_add_explicit(&callback->version, 1, memory_order_acq_rel);
  atomic_store_explicit(&callback->function, function, memory_order_release);
  atomic_store_explicit(&callback->arg, arg, memory_order_release);
  atomic_fetch_add_explicit(&callback->version, 1, memory_order_release);
  pthread_mutex_unlock(&lock);
}
