/* gate.c: who may commit a heap, or undo its changes: one thread at a time, in the order they came.

   Owns: the gate of each main handle. Belongs to the holder of the GIL, which is let go only while a
   thread waits. A thread that is in may go in again. */
#include "ext.h"

static void hand_over(mhx_gate *gate) {
  mhx_waiter *first = gate->first;
  gate->owner = first->thread;
  gate->depth = 1;
  gate->first = first->next;
  PyThread_release_lock(first->lock);
}

void mhx_gate_leave(mhx_handle *main) {
  mhx_gate *gate = &main->gate;
  if (--gate->depth == 0 && gate->first != NULL) hand_over(gate);
  Py_DECREF(main);
}

static bool take_out(mhx_gate *gate, const mhx_waiter *waiter) {
  mhx_waiter **link = &gate->first;
  while (*link != NULL && *link != waiter) link = &(*link)->next;
  if (*link == NULL) return false;
  *link = waiter->next;
  return true;
}

/* 0: it is this thread's turn; -1: a signal handler raised. */
static int wait_in_line(mhx_handle *main, mhx_waiter *waiter) {
  for (;;) {
    PyLockStatus status;
    Py_BEGIN_ALLOW_THREADS
    status = PyThread_acquire_lock_timed(waiter->lock, -1, 1);
    Py_END_ALLOW_THREADS
    if (status == PY_LOCK_ACQUIRED) return 0;
    if (PyErr_CheckSignals() == 0) continue;
    if (take_out(&main->gate, waiter)) return -1;
    mhx_gate_leave(main); /* it had been handed over */
    Py_INCREF(main);
    return -1;
  }
}

static int queue_up(mhx_handle *main) {
  mhx_waiter waiter = {.lock = PyThread_allocate_lock(), .thread = PyThread_get_thread_ident()};
  mhx_waiter **link = &main->gate.first;
  if (waiter.lock == NULL) return PyErr_NoMemory(), -1;
  PyThread_acquire_lock(waiter.lock, WAIT_LOCK);
  while (*link != NULL) link = &(*link)->next;
  *link = &waiter;
  int failed = wait_in_line(main, &waiter);
  PyThread_free_lock(waiter.lock);
  return failed;
}

bool mhx_gate_is_ours(const mhx_handle *main) {
  return main->gate.depth > 0 && main->gate.owner == PyThread_get_thread_ident();
}

int mhx_gate_enter(mhx_handle *main) {
  mhx_gate *gate = &main->gate;
  Py_INCREF(main);
  if (gate->depth == 0 && gate->first == NULL) {
    gate->owner = PyThread_get_thread_ident();
    gate->depth = 1;
    return 0;
  }
  if (mhx_gate_is_ours(main)) return gate->depth++, 0;
  /* Who is in waits for the calls under way, this thread's among them. */
  if (mhx_is_used_here(main))
    mhx_refuse(MHEAP_ERR_BUSY,
               "this thread is in the middle of a call on the heap, and another one is committing");
  else if (queue_up(main) == 0) return 0;
  Py_DECREF(main);
  return -1;
}

void mhx_gate_after_fork(mhx_handle *main, unsigned long forker) {
  main->gate.first = NULL;
  if (main->gate.owner != forker) main->gate.depth = 0;
}
