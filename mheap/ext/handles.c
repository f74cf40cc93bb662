/* handles.c: the life of a handle while it is attached.

   Owns: the list of attached handles, the count of forks, who is using a handle and who
   waits for that to end. All of it belongs to the holder of the GIL. */
#include <pthread.h>

#include "ext.h"

static mhx_handle *attached; /* of all interpreters, which share one GIL */
unsigned long mhx_forks;

/* ---- the list ---- */

void mhx_handles_add(mhx_handle *handle) {
  handle->previous = NULL;
  handle->following = attached;
  if (attached != NULL) attached->previous = handle;
  attached = handle;
}

void mhx_handles_remove(mhx_handle *handle) {
  if (handle->following != NULL) handle->following->previous = handle->previous;
  if (handle->previous != NULL) handle->previous->following = handle->following;
  if (attached == handle) attached = handle->following;
  handle->previous = handle->following = NULL;
}

mhx_handle *mhx_handles_find(const mheap *heap) {
  for (mhx_handle *handle = attached; handle != NULL; handle = handle->following)
    if (handle->heap == heap) return handle;
  return NULL;
}

/* ---- forks ---- */

static unsigned long forker; /* the thread that forked, the only one that lives on */

static void count_fork(void) {
  mhx_forks++;
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

void mhx_hold_inherited(void) {
  for (mhx_handle *handle = attached; handle != NULL && mhx_forks > 0; handle = handle->following) {
    if (handle->heap == NULL) continue;
    if (handle->forks != mhx_forks) forget_lost_uses(handle);
    mheap_hold(handle->heap, handle->views > 0 || handle->uses != NULL);
  }
}

/* The parent's mapping and its descriptor go. */
static int cast_adrift(mhx_handle *handle) {
  if (handle->views > 0 || handle->uses != NULL) {
    mhx_refuse(MHEAP_ERR_FORKED, "this handle was inherited over a fork, with views or calls still on the "
               "parent's memory: release them first");
    return -1;
  }
  mhx_objects_detach((PyObject *)handle);
  mheap *heap = handle->heap;
  handle->heap = NULL;
  handle->adrift = true;
  if (heap != NULL) mheap_abandon(heap);
  mhx_guard_clear(&handle->guard);
  return 0;
}

/* A forked child reads on, from a mapping of its own. */
static int reattach(mhx_handle *handle) {
  if (!handle->adrift && cast_adrift(handle) < 0) return -1;
  mheap *heap = mhx_open_inherited(handle->path);
  if (heap == NULL) return -1;
  handle->heap = heap;
  handle->mode = MHEAP_MODE_READONLY;
  handle->adrift = false;
  return 0;
}

/* ---- the heap behind a handle ---- */

static mheap *default_heap(void) {
  mheap *heap = mheap_default();
  if (heap == NULL) mhx_raise(NULL);
  return heap;
}

mheap *mhx_live_slow(mhx_handle *handle) {
  if (handle == NULL) return default_heap();
  if (mhx_is_closed(handle)) {
    mhx_raise_closed(handle);
    return NULL;
  }
  if (handle->forks != mhx_forks) forget_lost_uses(handle);
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

void mhx_use_end(mhx_handle *handle, mhx_use *use) {
  if (handle == NULL) return;
  mhx_use **link = &handle->uses;
  while (*link != use) link = &(*link)->next;
  *link = use->next;
  if (handle->uses == NULL && handle->idle != NULL) PyThread_release_lock(handle->idle);
  Py_DECREF(handle);
}

void mhx_pin(PyObject *heap_obj) { ((mhx_handle *)heap_obj)->views++; }
void mhx_unpin(PyObject *heap_obj) { ((mhx_handle *)heap_obj)->views--; }
void **mhx_objects_slot(PyObject *heap_obj) { return &((mhx_handle *)heap_obj)->objects; }
mhx_state *mhx_state_of_heap(PyObject *heap_obj) { return ((mhx_handle *)heap_obj)->state; }

/* ---- detach ---- */

static bool is_used_here(const mhx_handle *handle) {
  unsigned long me = PyThread_get_thread_ident();
  for (const mhx_use *use = handle->uses; use != NULL; use = use->next)
    if (use->thread == me) return true;
  return false;
}

static int may_detach(mhx_handle *handle) {
  if (handle->views > 0) {
    PyErr_Format(PyExc_BufferError, "cannot detach %R: views of it are exported (%zd); release them first",
                 handle, handle->views);
    return -1;
  }
  if (is_used_here(handle)) {
    mhx_refuse(MHEAP_ERR_BUSY, "cannot detach: this thread is in the middle of a call on the heap");
    return -1;
  }
  return 0;
}

/* Waits, without the GIL, for calls of other threads. Nobody can begin one: heap is NULL. */
static int wait_until_idle(mhx_handle *handle) {
  if (handle->uses == NULL) return 0;
  mheap *heap = handle->heap;
  handle->idle = PyThread_allocate_lock();
  if (handle->idle == NULL) {
    PyErr_NoMemory();
    return -1;
  }
  handle->heap = NULL;
  PyThread_acquire_lock(handle->idle, WAIT_LOCK);
  Py_BEGIN_ALLOW_THREADS
  PyThread_acquire_lock(handle->idle, WAIT_LOCK);
  Py_END_ALLOW_THREADS
  PyThread_release_lock(handle->idle);
  PyThread_free_lock(handle->idle);
  handle->idle = NULL;
  handle->heap = heap;
  return 0;
}

/* A failed detach leaves the heap attached, and the handle open, unless its file was cut short:
   that cannot be mended, so it is said once, and the heap let go. A parent's heap that a forked
   child inherited is only let go. */
static int detach_core(mhx_handle *handle) {
  bool inherited = is_inherited(handle);
  mheap *heap = handle->heap;
  mheap_error error = {.code = MHEAP_OK};
  mheap_err result = MHEAP_OK;
  handle->heap = NULL;
  Py_BEGIN_ALLOW_THREADS
  if (inherited) mheap_abandon(heap);
  else result = mheap_detach(heap, &error);
  if (result == MHEAP_ERR_CORRUPT) mheap_abandon(heap);
  Py_END_ALLOW_THREADS
  if (result == MHEAP_OK) return 0;
  if (result != MHEAP_ERR_CORRUPT) handle->heap = heap;
  mhx_raise_error_at(&error, handle->path);
  return -1;
}

int mhx_detach(mhx_handle *handle) {
  if (mhx_is_closed(handle)) return 0;
  if (handle->forks != mhx_forks) forget_lost_uses(handle);
  /* In this order: calls under way use what the objects' side has, too. */
  if (may_detach(handle) < 0 || wait_until_idle(handle) < 0) return -1;
  mhx_objects_detach((PyObject *)handle);
  mheap_error lost;
  bool traced = handle->heap != NULL && !is_inherited(handle),
       whole = !traced || mhx_guard_end_trace(&handle->guard, handle->heap, &lost);
  int failed = handle->heap != NULL ? detach_core(handle) : 0;
  if (failed && handle->heap != NULL) return -1;
  handle->adrift = false;
  mhx_handles_remove(handle);
  mhx_pending pending = mhx_pending_take();
  mhx_guard_clear(&handle->guard); /* may run Python code */
  mhx_pending_restore(&pending);
  if (!failed && !whole) mhx_raise_error_at(&lost, handle->path);
  return failed || !whole ? -1 : 0;
}

void mhx_give_up(mhx_handle *handle) {
  PyErr_WriteUnraisable((PyObject *)handle);
  mhx_objects_detach((PyObject *)handle);
  mheap *heap = handle->heap;
  handle->heap = NULL;
  handle->adrift = false;
  mhx_handles_remove(handle);
  if (heap != NULL) mheap_abandon(heap);
}

/* ---- at exit ---- */

/* The next handle of this interpreter that has not been tried. Trying may run Python code,
   which may change the list; so it is searched from its start, and each is tried once. */
static mhx_handle *next_to_detach(PyObject *tried) {
  for (mhx_handle *handle = attached; handle != NULL; handle = handle->following) {
    if (handle->interpreter != PyInterpreterState_Get() || handle->heap == NULL) continue;
    int known = PySequence_Contains(tried, (PyObject *)handle);
    if (known == 0) return handle;
    if (known < 0) PyErr_Clear();
  }
  return NULL;
}

PyObject *mhx_detach_all(PyObject *module, PyObject *unused) {
  (void)module;
  (void)unused;
  PyObject *tried = PyList_New(0);
  if (tried == NULL) return NULL;
  for (mhx_handle *handle; (handle = next_to_detach(tried)) != NULL;) {
    if (PyList_Append(tried, (PyObject *)handle) < 0) break;
    if (mhx_detach(handle) == 0) continue;
    /* Views that are still out: nothing is lost, the next attach repairs. */
    if (PyErr_ExceptionMatches(PyExc_BufferError) || handle->uses != NULL) PyErr_Clear();
    else mhx_give_up(handle);
  }
  Py_DECREF(tried);
  if (PyErr_Occurred()) return NULL;
  if (mhx_guard_clear_default() < 0) return NULL;
  Py_RETURN_NONE;
}
