/* objects_collect.c: see objects.h. Heap.collect: objects that no root leads to, then space.

   Owns nothing. A collection goes in steps, each of which holds the GIL; between two of them other threads
   and signal handlers run, which may do anything: end the heap, roll back, begin another collection. So
   each step asks for the heap anew, and whether the collection is still the one that was begun. */
#include <math.h>

#include "objects.h"
#include "objects/collect.h"
#include "os.h"

#define PAUSE 0.05           /* seconds, where the caller says nothing */
#define GIVES_WAY 0.00002    /* seconds between two steps: who waits for the GIL has to wake up */
#define SECONDS_MOST 1000000

typedef struct collection {
  mhx_handle *handle; /* of a main heap */
  uint64_t number;    /* the core's */
  double seconds;     /* of a step, about */
  double pause;       /* the longest */
  mh_collected got;
} collection;

static void note_pause(collection *c, double since) {
  double took = mh_os_monotonic() - since;
  if (took > c->pause) c->pause = took;
}

/* ---- steps ---- */

typedef struct telling {
  double end;
  bool all;
} telling;

static void tell(mhx_handle *handle, void *arg) {
  telling *t = arg;
  mhx_space *space = *mhx_objects_slot((PyObject *)handle);
  if (space != NULL && !mhx_twins_hold(space, t->end)) t->all = false;
}

/* A collection knows of all twins, or waits: the first steps tell it. */
static void tell_of_twins(mhx_space *space, double end) {
  telling t = {.end = end, .all = true};
  mhx_handles_each(space->core.heap, tell, &t);
  if (t.all) mh_collect_wait(&space->core, false);
}

/* What other threads store in the middle of a call is not published yet. */
static int begin(collection *c) {
  if (mhx_is_used_here(c->handle)) {
    mhx_refuse(MHEAP_ERR_BUSY, "cannot collect: this thread is in the middle of a call on the heap");
    return -1;
  }
  if (mhx_wait_for_others(c->handle) < 0) return -1;
  mhx_space *space = mhx_space_of((PyObject *)c->handle);
  if (space == NULL) return -1;
  double since = mh_os_monotonic();
  if (mh_collect_begin(&space->core) != MHEAP_OK) return mhx_failed(space);
  mh_collect_wait(&space->core, true);
  c->number = mh_collect_number(&space->core);
  note_pause(c, since);
  return 0;
}

/* 1: it goes on; 0: it has ended, here or by what others did. */
static int step(collection *c) {
  mhx_space *space = mhx_space_of((PyObject *)c->handle);
  if (space == NULL) return -1;
  if (mh_collect_number(&space->core) != c->number) return 0;
  double since = mh_os_monotonic(), end = since + c->seconds;
  if (mh_collect_waits(&space->core)) tell_of_twins(space, end);
  mheap_err failed = mh_collect_step(&space->core, end - mh_os_monotonic(), &c->got);
  note_pause(c, since);
  return failed ? mhx_failed(space) : !c->got.done;
}

static int give_way(collection *c) {
  Py_BEGIN_ALLOW_THREADS
  mh_os_sleep(GIVES_WAY);
  Py_END_ALLOW_THREADS
  if (PyErr_CheckSignals() == 0) return 0;
  mhx_space *space = *mhx_objects_slot((PyObject *)c->handle);
  bool ours = space != NULL && !mhx_is_closed(c->handle) && mh_collect_number(&space->core) == c->number;
  if (ours) mh_collect_stop(&space->core, &c->got);
  return -1;
}

/* With a number of steps, what was begun earlier goes on. */
static int collect_objects(collection *c, int steps) {
  mhx_space *space = mhx_space_of((PyObject *)c->handle);
  if (space == NULL) return -1;
  c->number = steps > 0 ? mh_collect_number(&space->core) : 0;
  if (c->number == 0 && begin(c) < 0) return -1;
  for (int i = 1;; i++) {
    int more = step(c);
    if (more <= 0) return more;
    if (i == steps) return 0;
    if (give_way(c) < 0) return -1;
  }
}

void mhx_collect_leave(mhx_space *space) {
  mh_collected got = {0};
  if (mh_collects(&space->core) && mh_region_writable(space->core.region))
    mh_collect_stop(&space->core, &got);
}

/* ---- space ---- */

static int collect_space(mhx_handle *handle, bool force) {
  mhx_use use;
  mheap *heap = mhx_use_begin(handle, &use);
  if (heap == NULL) return -1;
  mheap_err result;
  Py_BEGIN_ALLOW_THREADS
  result = mheap_collect(heap, force);
  Py_END_ALLOW_THREADS
  int failed = result == MHEAP_OK ? 0 : mhx_raise(heap);
  mhx_use_end(handle, &use);
  return failed;
}

/* ---- the method ---- */

static int seconds_of(PyObject *given, double *seconds) {
  *seconds = PAUSE;
  if (given == NULL || given == Py_None) return 0;
  *seconds = PyFloat_AsDouble(given);
  if (*seconds == -1 && PyErr_Occurred()) return -1;
  if (*seconds > 0 && isfinite(*seconds)) {
    if (*seconds > SECONDS_MOST) *seconds = SECONDS_MOST;
    return 0;
  }
  mhx_refuse(MHEAP_ERR_ARGUMENT, "max_pause: a number of seconds above 0");
  return -1;
}

static int steps_of(PyObject *given, int *steps) {
  *steps = 0;
  if (given == NULL || given == Py_None) return 0;
  if (mhx_int(given, steps) < 0) return -1;
  if (*steps > 0) return 0;
  mhx_refuse(MHEAP_ERR_ARGUMENT, "steps: 1 or more");
  return -1;
}

static PyObject *result_of(const collection *c) {
  PyObject *module = PyImport_ImportModule("mheap._collect");
  if (module == NULL) return NULL;
  PyObject *result = PyObject_CallMethod(module, "Collected", "KKdO", (unsigned long long)c->got.objects,
                                         (unsigned long long)c->got.bytes, c->pause,
                                         c->got.done ? Py_True : Py_False);
  Py_DECREF(module);
  return result;
}

/* What is closed, or destroyed, while others run is somebody else's business. */
static int collect_one_named(collection *c, mheap *heap) {
  collection one = {.handle = (mhx_handle *)mhx_heap_in(c->handle, heap), .seconds = c->seconds};
  if (one.handle == NULL) return -1;
  int failed = collect_objects(&one, 0);
  if (failed && mhx_is_closed(one.handle) && !mhx_is_closed(c->handle)) {
    PyErr_Clear();
    failed = 0;
    one.got.done = true;
  }
  c->got.objects += one.got.objects;
  c->got.bytes += one.got.bytes;
  c->got.done = c->got.done && one.got.done;
  if (one.pause > c->pause) c->pause = one.pause;
  Py_DECREF((PyObject *)one.handle);
  return failed;
}

static int collect_named(collection *c) {
  mheap_err failed = MHEAP_OK;
  uint32_t row = 0;
  for (;;) {
    mheap *heap = mhx_live(c->handle);
    mheap *one = heap != NULL ? mh_named_next(heap->region, &row, &failed, mh_error(heap)) : NULL;
    if (one == NULL) return heap == NULL ? -1 : failed ? mhx_raise(heap) : 0;
    if (collect_one_named(c, one) < 0) return -1;
  }
}

static int collect(collection *c, bool force, int steps) {
  mheap *heap = mhx_live(c->handle);
  if (heap == NULL) return -1;
  c->got.done = heap->own == NULL;
  if (!c->got.done && collect_objects(c, steps) < 0) return -1;
  if (c->got.done && steps == 0 && c->handle->main == NULL && collect_named(c) < 0) return -1;
  return c->got.done ? collect_space(c->handle, force) : 0;
}

PyObject *mhx_collect(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  static const char *const names[] = {"force", "max_pause", "steps", NULL};
  collection c = {.handle = (mhx_handle *)self};
  PyObject *given[3];
  int steps;
  if (nargs > 1) return mhx_arity("collect", 1, nargs);
  if (mhx_arguments("collect", names, 0, args, nargs, kwnames, given) < 0) return NULL;
  int force = given[0] != NULL ? PyObject_IsTrue(given[0]) : 0;
  if (force < 0 || seconds_of(given[1], &c.seconds) < 0 || steps_of(given[2], &steps) < 0) return NULL;
  return collect(&c, force != 0, steps) < 0 ? NULL : result_of(&c);
}
