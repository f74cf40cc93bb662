/* mimalloc_register.c: the functions that a program registers under mimalloc's names.

   Owns which error function the program has, since an option stands in for it. Calls extended.h. */
#include <pthread.h>

#include "mimalloc_common.h"

void mi_register_deferred_free(mi_deferred_free_fun *deferred_free, void *arg) {
  mheap_register_deferred_free(deferred_free, arg);
}

void mi_register_output(mi_output_fun *out, void *arg) { mheap_register_output(out, arg); }

/* ---- errors: a program that registers no function, but wants them shown, has one that does nothing ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static mi_error_fun *registered;
static void *registered_arg;

static void only_the_line(int number, void *arg) { (void)number, (void)arg; }

/* The caller holds the lock. */
static void settle(void) {
  bool shown = mi_option_is_enabled(mi_option_show_errors) || mi_option_is_enabled(mi_option_verbose);
  mheap_register_error(registered == NULL && shown ? only_the_line : registered, registered_arg);
}

void mi_register_error(mi_error_fun *fun, void *arg) {
  pthread_mutex_lock(&lock);
  registered = fun;
  registered_arg = arg;
  settle();
  pthread_mutex_unlock(&lock);
}

void mh_mi_show_errors(void) {
  pthread_mutex_lock(&lock);
  settle();
  pthread_mutex_unlock(&lock);
}
