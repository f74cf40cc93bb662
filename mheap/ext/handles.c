/* handles.c: the life of a handle while it is attached.

   Owns: the list of attached handles, the count of forks, who is using a handle and who
   waits for that to end. All of it belongs to the holder of the GIL. */
#include <pthread.h>

#include "ext.h"
#include "marks.h"

static mhx_handle *attached; /* of all interpreters, which share one GIL */
uint64_t mhx_handles_made;
unsigned long mhx_forks;

/* ---- the list ---- */

mhx_handle *mhx_handles_new(mhx_state *state, mheap *heap, mheap_mode mode, PyObject *path, PyObject *name) {
  mhx_handle *handle = (mhx_handle *)state->heap_type->tp_alloc(state->heap_type, 0);
  if (handle == NULL) return NULL;
  handle->heap = heap;
  handle->forks = mhx_forks;
  handle->serial = ++mhx_handles_made;
  handle->mode = mode;
  handle->path = Py_NewRef(path);
  handle->name = Py_NewRef(name);
  handle->state = state;
  handle->interpreter = PyInterpreterState_Get();
  handle->following = attached;
  if (attached != NULL) attached->previous = handle;
  attached = handle;
  return handle;
}

static void take_out(mhx_handle *handle) {
  if (handle->following != NULL) handle->following->previous = handle->previous;
  if (handle->previous != NULL) handle->previous->following = handle->following;
  if (attached == handle) attached = handle->following;
  handle->previous = handle->following = NULL;
}

mhx_handle *mhx_handles_find(const mheap *heap) {
  mhx_handle *found = NULL;
  for (mhx_handle *handle = attached; handle != NULL && heap != NULL; handle = handle->following) {
    if (handle->heap != heap && handle->parked != heap) continue;
    if (handle->interpreter == PyInterpreterState_Get()) return handle;
    found = handle;
  }
  return found;
}

bool mhx_handles_shared(const mhx_handle *handle) {
  const mhx_handle *one = attached;
  while (one != NULL && (one == handle || one->heap != handle->heap)) one = one->following;
  return one != NULL;
}

void mhx_handles_each(const mheap *heap, void (*fun)(mhx_handle *handle, void *arg), void *arg) {
  for (mhx_handle *handle = attached; handle != NULL; handle = handle->following)
    if (handle->heap == heap || handle->parked == heap) fun(handle, arg);
}

/* ---- a main heap's handle, and those of the region's other heaps ---- */

void mhx_handles_leave_main(mhx_handle *handle) {
  mhx_handle **link = &handle->main->others;
  while (*link != handle) link = &(*link)->other;
  *link = handle->other;
}

/* The handle itself, or the first of the region's other heaps, that is in a call. */
static mhx_handle *first_in_use(mhx_handle *handle) {
  if (handle->uses != NULL) return handle;
  for (mhx_handle *other = handle->others; other != NULL; other = other->other)
    if (other->uses != NULL) return other;
  return NULL;
}

static void park_one(mhx_handle *handle) {
  if (handle->heap == NULL) return;
  handle->parked = handle->heap;
  handle->heap = NULL;
}

/* From now on nobody can begin a call. */
static void park(mhx_handle *handle) {
  park_one(handle);
  for (mhx_handle *other = handle->others; other != NULL; other = other->other) park_one(other);
}

static void unpark_one(mhx_handle *handle) {
  if (handle->parked != NULL) handle->heap = handle->parked;
  handle->parked = NULL;
}

static void unpark(mhx_handle *handle) {
  unpark_one(handle);
  for (mhx_handle *other = handle->others; other != NULL; other = other->other) unpark_one(other);
}

void mhx_keep(mhx_handle *handle) {
  if (handle == NULL || handle->kept || handle->is_default) return;
  if (handle->main == NULL && !handle->resident) return;
  handle->kept = true;
  Py_INCREF(handle);
}

/* Forgets the guard: may run Python code. */
static void clear_guard(mhx_handle *handle) {
  mhx_pending pending = mhx_pending_take();
  bool kept = handle->kept;
  handle->kept = false;
  mhx_guard_clear(&handle->guard);
  if (kept) Py_DECREF(handle);
  mhx_pending_restore(&pending);
}

static mhx_handle *first_kept(mhx_handle *main) {
  mhx_handle *other = main->others;
  while (other != NULL && !other->kept) other = other->other;
  return other;
}

/* Only those that are kept have one. */
static void clear_guards(mhx_handle *handle) {
  for (mhx_handle *other; (other = first_kept(handle)) != NULL;) clear_guard(other);
  clear_guard(handle);
}

/* Nothing is called before all of them are closed. */
static void close_one(mhx_handle *handle) {
  handle->heap = handle->parked = NULL;
  handle->adrift = false;
  take_out(handle);
}

static void close_all(mhx_handle *handle) {
  for (mhx_handle *other = handle->others; other != NULL; other = other->other) close_one(other);
  close_one(handle);
}

void mhx_drop(mhx_handle *handle) {
  close_one(handle);
  clear_guard(handle);
}

/* ---- forks ---- */

static unsigned long forker; /* the thread that forked, the only one that lives on */

static void count_fork(void) {
  mhx_forks++;
  mhx_registered_after_fork();
  forker = PyThread_get_thread_ident();
}

int mhx_watch_forks(void) {
  static bool watching;
  if (watching) return 0;
  if (pthread_atfork(NULL, NULL, count_fork) != 0) {
    PyErr_NoMemory();
    return -1;
  }
  watching = true;
  return 0;
}

/* Anonymous memory is a child's own copy: the core says what may be done with it. */
static bool is_inherited(mhx_handle *handle) {
  return handle->forks != mhx_forks && handle->path != Py_None;
}

/* The calls of the parent's other threads have no end in the child. */
static void forget_lost_uses(mhx_handle *handle) {
  for (mhx_use **link = &handle->uses; *link != NULL;) {
    if ((*link)->thread == forker) link = &(*link)->next;
    else *link = (*link)->next;
  }
  handle->idle = NULL;
}

static void forget_all_lost_uses(mhx_handle *handle) {
  forget_lost_uses(handle);
  mhx_gate_after_fork(handle, forker);
  for (mhx_handle *other = handle->others; other != NULL; other = other->other) forget_lost_uses(other);
}

void mhx_hold_inherited(void) {
  for (mhx_handle *handle = attached; handle != NULL && mhx_forks > 0; handle = handle->following) {
    if (handle->heap == NULL || handle->main != NULL) continue;
    if (handle->forks != mhx_forks) forget_all_lost_uses(handle);
    mheap_hold(handle->heap, handle->views > 0 || first_in_use(handle) != NULL);
  }
}

static void set_adrift(mhx_handle *handle) {
  if (mhx_is_closed(handle)) return;
  handle->heap = NULL;
  handle->adrift = true;
}

/* The parent's mapping and its descriptor go. */
static int cast_adrift(mhx_handle *handle) {
  if (handle->views > 0 || first_in_use(handle) != NULL) {
    mhx_refuse(MHEAP_ERR_FORKED, "this handle was inherited over a fork, with views or calls still on the "
               "parent's memory: release them first");
    return -1;
  }
  mhx_objects_detach_all(handle);
  mheap *heap = handle->heap;
  set_adrift(handle);
  for (mhx_handle *other = handle->others; other != NULL; other = other->other) set_adrift(other);
  if (heap != NULL) mheap_abandon(heap);
  clear_guards(handle);
  return 0;
}

/* A forked child reads on, from a mapping of its own. */
static int reattach(mhx_handle *handle) {
  if (!handle->adrift && cast_adrift(handle) < 0) return -1;
  mheap *heap = mhx_open_inherited(handle->path);
  if (heap == NULL) return -1;
  handle->heap = heap;
  if (handle->mode == MHEAP_MODE_ATOMIC) handle->was_atomic = true;
  handle->mode = MHEAP_MODE_READONLY;
  handle->adrift = false;
  return 0;
}

/* ---- the heap behind a handle ---- */

/* It follows its main heap; a main heap that cannot be attached again says why. */
static mheap *live_other(mhx_handle *handle) {
  if (mhx_live(handle->main) == NULL) return NULL;
  if (handle->forks != mhx_forks) forget_lost_uses(handle);
  if (handle->adrift && mhx_find_again(handle) < 0) return NULL;
  handle->forks = mhx_forks;
  return handle->heap;
}

mheap *mhx_live_slow(mhx_handle *handle) {
  if (handle == NULL) return mhx_default_heap();
  if (mhx_is_closed(handle)) {
    mhx_raise_closed(handle);
    return NULL;
  }
  if (handle->main != NULL) return live_other(handle);
  if (handle->forks != mhx_forks) forget_all_lost_uses(handle);
  if ((handle->adrift || is_inherited(handle)) && reattach(handle) < 0) return NULL;
  handle->forks = mhx_forks;
  return handle->heap;
}

mheap *mhx_heap(PyObject *heap_obj) { return mhx_live((mhx_handle *)heap_obj); }

mheap *mhx_use_begin(mhx_handle *handle, mhx_use *use) {
  mheap *heap = mhx_live(handle);
  if (heap == NULL || handle == NULL) return heap;
  use->thread = PyThread_get_thread_ident();
  use->next = handle->uses;
  handle->uses = use;
  Py_INCREF(handle);
  return heap;
}

void mhx_wake(mhx_waiter **waiters) {
  for (mhx_waiter *waiter; (waiter = *waiters) != NULL;) {
    *waiters = waiter->next;
    PyThread_release_lock(waiter->lock);
  }
}

void mhx_use_end(mhx_handle *handle, mhx_use *use) {
  if (handle == NULL) return;
  mhx_use **link = &handle->uses;
  while (*link != use) link = &(*link)->next;
  *link = use->next;
  if (handle->uses == NULL) mhx_wake(&handle->idle);
  Py_DECREF(handle);
}

static void count_views(mhx_handle *handle, int more) {
  handle->views += more;
  if (handle->main != NULL) handle->main->views += more;
}

void mhx_pin(PyObject *heap_obj) { count_views((mhx_handle *)heap_obj, 1); }
void mhx_unpin(PyObject *heap_obj) { count_views((mhx_handle *)heap_obj, -1); }

static void count_array_views(mhx_handle *handle, int more) {
  count_views(handle, more);
  handle->array_views += more;
  if (handle->main != NULL) handle->main->array_views += more;
}

void mhx_out_begin(mhx_handle *handle, mh_out *out) {
  mh_out_begin(out);
  count_array_views(handle, 1);
}

void mhx_out_end(mhx_handle *handle, mh_out *out) {
  mh_out_end(out);
  count_array_views(handle, -1);
}

void **mhx_objects_slot(PyObject *heap_obj) { return &((mhx_handle *)heap_obj)->objects; }
mhx_state *mhx_state_of_heap(PyObject *heap_obj) { return ((mhx_handle *)heap_obj)->state; }

/* ---- detach ---- */

static bool is_among(const mhx_use *use, unsigned long thread) {
  while (use != NULL && use->thread != thread) use = use->next;
  return use != NULL;
}

bool mhx_is_used_here(const mhx_handle *handle) {
  unsigned long me = PyThread_get_thread_ident();
  bool is = mhx_registered_runs_here() || is_among(handle->uses, me);
  for (const mhx_handle *other = handle->others; other != NULL && !is; other = other->other)
    is = is_among(other->uses, me);
  return is;
}

/* Within a registered function nobody is waited for, who may be waiting for its end. */
static bool is_in_the_way(const mhx_handle *handle, mhx_handle *busy) {
  if (mhx_registered_runs_here()) return busy != NULL || mhx_registered_may_use(handle);
  return mhx_is_used_here(handle);
}

static int may_detach(mhx_handle *handle) {
  if (handle->views > 0) {
    PyErr_Format(PyExc_BufferError, "cannot detach %R: views of it are exported (%zd); release them first",
                 handle, handle->views);
    return -1;
  }
  if (is_in_the_way(handle, first_in_use(handle))) {
    mhx_refuse(MHEAP_ERR_BUSY, "cannot detach: %s",
               mhx_registered_runs_here() ? "a registered function runs, in the middle of a call that may be "
                                            "on this heap, which was there before"
                                          : "this thread is in the middle of a call on the heap");
    return -1;
  }
  return 0;
}

/* How long a process that ends waits for calls of other threads, which may never return; -1: for ever. */
static PY_TIMEOUT_T patience = -1;
#define PATIENCE ((PY_TIMEOUT_T)1000000) /* microseconds, once for all heaps */

static bool was_woken(const mhx_waiter *waiting, const mhx_waiter *waiter) {
  while (waiting != NULL && waiting != waiter) waiting = waiting->next;
  return waiting == NULL;
}

static int lose_patience(mhx_waiter **waiters, const mhx_waiter *waiter) {
  while (*waiters != waiter) waiters = &(*waiters)->next;
  *waiters = waiter->next;
  patience = 0;
  mhx_refuse(MHEAP_ERR_BUSY, "cannot detach: another thread is in the middle of a call on the heap");
  return -1;
}

int mhx_wait_in(mhx_waiter **waiters) {
  mhx_waiter waiter = {.lock = PyThread_allocate_lock(), .next = *waiters};
  PyLockStatus got;
  if (waiter.lock == NULL) {
    PyErr_NoMemory();
    return -1;
  }
  PyThread_acquire_lock(waiter.lock, WAIT_LOCK);
  *waiters = &waiter;
  Py_BEGIN_ALLOW_THREADS
  got = PyThread_acquire_lock_timed(waiter.lock, patience, 0);
  Py_END_ALLOW_THREADS
  bool in_vain = got != PY_LOCK_ACQUIRED && !was_woken(*waiters, &waiter);
  int failed = in_vain ? lose_patience(waiters, &waiter) : 0;
  PyThread_free_lock(waiter.lock);
  return failed;
}

/* A registered function runs in the middle of a call on some heap, which may be this one. A thread that is in
   one itself waits for nobody who may be waiting for it. */
static bool must_wait(mhx_handle *handle) {
  if (first_in_use(handle) != NULL) return true;
  return mhx_registered_runs_elsewhere() && !mhx_registered_runs_here();
}

static int wait_for_use(mhx_handle *handle) {
  mhx_handle *busy = first_in_use(handle);
  if (busy == NULL) return mhx_wait_for_registered("detach");
  Py_INCREF(busy);
  int failed = mhx_wait_in(&busy->idle);
  Py_DECREF(busy);
  return failed;
}

int mhx_wait_for_others(mhx_handle *main) {
  int failed = 0;
  while (failed == 0 && must_wait(main)) failed = wait_for_use(main);
  return failed;
}

/* The main heap first: whoever waits for one of the others has a use of it. */
int mhx_wait_until_idle(mhx_handle *handle) {
  int failed = 0;
  park(handle);
  while (failed == 0 && must_wait(handle)) failed = wait_for_use(handle);
  unpark(handle);
  return failed;
}

/* A failed detach leaves the heap attached, and the handle open, unless its file was cut short:
   that cannot be mended, so it is said once, and the heap let go. A parent's heap that a forked
   child inherited is only let go. */
static int detach_core(mhx_handle *handle) {
  bool inherited = is_inherited(handle);
  mheap *heap = handle->heap;
  mheap_error error = {.code = MHEAP_OK};
  mheap_err result = MHEAP_OK;
  park(handle);
  Py_BEGIN_ALLOW_THREADS
  if (inherited) mheap_abandon(heap);
  else result = mheap_detach(heap, &error);
  if (result == MHEAP_ERR_CORRUPT) mheap_abandon(heap);
  Py_END_ALLOW_THREADS
  if (result != MHEAP_OK && result != MHEAP_ERR_CORRUPT) unpark(handle);
  if (result == MHEAP_OK) return 0;
  mhx_raise_error_at(&error, handle->path);
  return -1;
}

static bool end_trace(mhx_handle *handle, mheap_error *lost) {
  if (handle->heap == NULL || is_inherited(handle)) return true;
  return mhx_guard_end_trace(&handle->guard, handle->heap, lost);
}

/* All traces end. false: lines were lost, *lost says why. */
static bool end_traces(mhx_handle *handle, mheap_error *lost) {
  bool whole = end_trace(handle, lost);
  for (mhx_handle *other = handle->others; other != NULL; other = other->other)
    whole = end_trace(other, lost) && whole;
  return whole;
}

/* The heap stays. */
static int let_go(mhx_handle *handle) {
  mheap_error lost;
  mhx_objects_closing(handle);
  mhx_objects_detach((PyObject *)handle);
  bool whole = end_trace(handle, &lost);
  mhx_drop(handle);
  if (!whole) mhx_raise_error_at(&lost, handle->path);
  return whole ? 0 : -1;
}

int mhx_detach(mhx_handle *handle) {
  if (mhx_is_closed(handle)) return 0;
  if (handle->main != NULL || handle->resident) return let_go(handle);
  if (handle->forks != mhx_forks) forget_all_lost_uses(handle);
  if (may_detach(handle) < 0 || mhx_warn_uncommitted(handle) < 0) return -1;
  if (mhx_is_closed(handle)) return 0;
  /* In this order: calls under way use what the objects' side has, too. */
  if (may_detach(handle) < 0 || mhx_wait_until_idle(handle) < 0) return -1;
  if (handle->mode == MHEAP_MODE_ATOMIC && handle->heap != NULL && !is_inherited(handle))
    mhx_objects_leave(handle);
  mhx_objects_detach_all(handle);
  mheap_error lost;
  bool whole = end_traces(handle, &lost);
  int failed = handle->heap != NULL ? detach_core(handle) : 0;
  if (failed && handle->heap != NULL) return -1;
  close_all(handle);
  clear_guards(handle);
  if (!failed && !whole) mhx_raise_error_at(&lost, handle->path);
  return failed || !whole ? -1 : 0;
}

void mhx_give_up(mhx_handle *handle) {
  PyErr_WriteUnraisable((PyObject *)handle);
  mhx_objects_detach_all(handle);
  mheap *heap = handle->main == NULL && !handle->resident ? handle->heap : NULL;
  close_all(handle);
  if (heap != NULL) mheap_abandon(heap);
  clear_guards(handle);
}

/* ---- at exit ---- */

/* The next handle of this interpreter that has not been tried. Trying may run Python code,
   which may change the list; so it is searched from its start, and each is tried once. */
static mhx_handle *next_to_detach(PyObject *tried) {
  for (mhx_handle *handle = attached; handle != NULL; handle = handle->following) {
    if (handle->interpreter != PyInterpreterState_Get() || handle->heap == NULL) continue;
    if (handle->main != NULL && !handle->main->resident) continue; /* goes with that */
    int known = PySequence_Contains(tried, (PyObject *)handle);
    if (known == 0) return handle;
    if (known < 0) PyErr_Clear();
  }
  return NULL;
}

PyObject *mhx_detach_all(PyObject *module, PyObject *unused) {
  (void)module;
  (void)unused;
  patience = PATIENCE;
  mhx_registered_clear();
  mhx_kinds_finish();
  mhx_subprocs_release();
  PyObject *tried = PyList_New(0);
  if (tried == NULL) return NULL;
  for (mhx_handle *handle; (handle = next_to_detach(tried)) != NULL;) {
    if (PyList_Append(tried, (PyObject *)handle) < 0) break;
    if (mhx_detach(handle) == 0) continue;
    /* Views that are still out, or calls under way: nothing is lost, the next attach repairs. */
    bool registered = mhx_registered_runs_elsewhere() || mhx_registered_runs_here();
    bool stays = registered || first_in_use(handle) != NULL;
    if (PyErr_ExceptionMatches(PyExc_BufferError) || stays) PyErr_Clear();
    else mhx_give_up(handle);
  }
  patience = -1;
  Py_DECREF(tried);
  if (PyErr_Occurred()) return NULL;
  if (mhx_guard_clear_default() < 0) return NULL;
  Py_RETURN_NONE;
}
