/* deferred.c: see deferred.h. */
#include "deferred.h"

#include "callback.h"
#include "lane.h"
#include "registry.h"

static mh_callback registered;
_Atomic uint32_t mh_deferred_number;

/* The number is there before the lanes are forgotten: see mh_lane_remember. A thread begins to
   count anew with every number. */
void mheap_register_deferred_free(mheap_deferred_free_fun *fn, void *arg) {
  static _Atomic uint32_t registrations;
  uint32_t number = fn == NULL ? 0 : atomic_fetch_add(&registrations, 1) + 1;
  if (fn == NULL) atomic_store(&mh_deferred_number, 0);
  mh_callback_set(&registered, (mh_function *)fn, arg);
  if (fn == NULL) return;
  atomic_store(&mh_deferred_number, number != 0 ? number : 1);
  mh_registry_forget_lanes();
}

bool mh_deferred_call(bool force) {
  mh_thread *thread = &mh_this_thread;
  void *arg;
  if (!mh_deferred_is_on() || thread->deferring) return false;
  mheap_deferred_free_fun *fn = (mheap_deferred_free_fun *)mh_callback_get(&registered, &arg);
  if (fn == NULL) return false;
  thread->deferring = true;
  fn(force, ++thread->heartbeat, arg);
  thread->deferring = false;
  return true;
}

void mh_deferred_count_slowly(void) {
  mh_thread *thread = &mh_this_thread;
  uint32_t number = atomic_load_explicit(&mh_deferred_number, memory_order_relaxed);
  if (thread->deferring) return;
  if (thread->registration != number) {
    thread->registration = number;
    thread->allocations = 0;
  }
  if (++thread->allocations < MHEAP_DEFERRED_FREE_EVERY) return;
  thread->allocations = 0;
  mh_deferred_call(false);
}

bool mh_deferred_helps(mheap_err code) {
  return (code == MHEAP_ERR_FULL || code == MHEAP_ERR_NO_MEMORY) && mh_deferred_call(true);
}
