/* extended.c: functions that a program registers, and what a process asks beside memory.

   Owns: the registered Python functions, which belong to the holder of the GIL. They are the main
   interpreter's: the core has one of each for the process, and calls it in whatever thread. */
#include "ext.h"

/* ---- registered functions ---- */

typedef struct registered {
  PyObject *fn; /* NULL: none */
  PyObject *arg;
} registered;

static registered output, error, deferred;

static PyThreadState *thread_now(void) {
#if PY_VERSION_HEX >= 0x030d0000
  return PyThreadState_GetUnchecked();
#else
  return _PyThreadState_UncheckedGet();
#endif
}

/* A thread that is at work in another interpreter cannot enter this one. */
static bool may_call(void) {
  PyThreadState *now = thread_now();
  return now == NULL || PyThreadState_GetInterpreter(now) == PyInterpreterState_Main();
}

/* Calls a function with `args`, a new reference or NULL. What it raises nobody waits for. */
static void call(const registered *which, PyObject *args) {
  PyObject *fn = Py_NewRef(which->fn);
  PyObject *result = args != NULL ? PyObject_CallObject(fn, args) : NULL;
  if (result == NULL) PyErr_WriteUnraisable(fn);
  Py_XDECREF(result);
  Py_XDECREF(args);
  Py_DECREF(fn);
}

typedef PyObject *build_fun(const registered *which, const void *what);

/* ---- the calls under way, whose heaps are not known ---- */

typedef struct running {
  uint64_t made; /* handles, when it began */
  struct running *next, *outer;
} running;

static running *calls;               /* of all threads, by `next` */
static _Thread_local running *inner; /* the last that began in this one, then by `outer` */
static mhx_waiter *waiters;

static size_t here(void) {
  size_t count = 0;
  for (const running *call = inner; call != NULL; call = call->outer) count++;
  return count;
}
static size_t everywhere(void) {
  size_t count = 0;
  for (const running *call = calls; call != NULL; call = call->next) count++;
  return count;
}

bool mhx_registered_runs_here(void) { return inner != NULL; }
bool mhx_registered_runs_elsewhere(void) { return calls != NULL && everywhere() > here(); }

bool mhx_registered_may_use(const mhx_handle *handle) {
  const running *call = calls;
  while (call != NULL && call->made < handle->serial) call = call->next;
  return call != NULL;
}

static void begin_call(running *call) {
  *call = (running){mhx_handles_made, calls, inner};
  calls = inner = call;
}

static void end_call(const running *call) {
  running **link = &calls;
  while (*link != call) link = &(*link)->next;
  *link = call->next;
  inner = call->outer;
  if (calls == NULL) mhx_wake(&waiters);
}

int mhx_wait_for_registered(const char *what) {
  if (inner != NULL) {
    mhx_refuse(MHEAP_ERR_BUSY, "cannot %s: this thread is in a registered function, in the middle of a call",
               what);
    return -1;
  }
  int failed = 0;
  while (failed == 0 && calls != NULL) failed = mhx_wait_in(&waiters);
  return failed;
}

/* In a forked child no other thread is in one, or waits. */
void mhx_registered_after_fork(void) {
  calls = NULL;
  for (running *call = inner; call != NULL; call = call->outer) {
    call->next = calls;
    calls = call;
  }
  waiters = NULL;
}

static void call_from_core(const registered *which, build_fun *build, const void *what) {
  if (!may_call()) return;
  PyGILState_STATE state = PyGILState_Ensure();
  if (which->fn != NULL) {
    mhx_pending pending = mhx_pending_take();
    running now;
    begin_call(&now);
    call(which, build(which, what));
    end_call(&now);
    mhx_pending_restore(&pending);
  }
  PyGILState_Release(state);
}

static PyObject *build_output(const registered *which, const void *text) {
  PyObject *line = PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
  return line != NULL ? Py_BuildValue("(NO)", line, which->arg) : NULL;
}
static void on_output(const char *text, void *arg) {
  (void)arg;
  if (may_call()) call_from_core(&output, build_output, text);
  else fputs(text, stderr);
}

static PyObject *build_error(const registered *which, const void *number) {
  return Py_BuildValue("(iO)", *(const int *)number, which->arg);
}
static void on_error(int number, void *arg) {
  (void)arg;
  call_from_core(&error, build_error, &number);
}

typedef struct beat {
  bool force;
  unsigned long long heartbeat;
} beat;

static PyObject *build_deferred(const registered *which, const void *what) {
  const beat *now = what;
  return Py_BuildValue("(OKO)", now->force ? Py_True : Py_False, now->heartbeat, which->arg);
}
static void on_deferred(bool force, unsigned long long heartbeat, void *arg) {
  (void)arg;
  call_from_core(&deferred, build_deferred, &(beat){force, heartbeat});
}

static void replace(registered *which, PyObject *fn, PyObject *arg) {
  registered old = *which;
  *which =
      (registered){.fn = fn != Py_None ? Py_NewRef(fn) : NULL, .arg = fn != Py_None ? Py_NewRef(arg) : NULL};
  Py_XDECREF(old.fn);
  Py_XDECREF(old.arg);
}

/* The function and its argument; false with an exception. */
static bool registration(const char *name, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
                         PyObject **given) {
  static const char *const names[] = {"fn", "arg", NULL};
  if (mhx_arguments(name, names, 1, args, nargs, kwnames, given) < 0) return false;
  if (given[1] == NULL) given[1] = Py_None;
  if (given[0] != Py_None && !PyCallable_Check(given[0])) {
    PyErr_Format(PyExc_TypeError, "%s: fn must be callable or None, not %.200s", name,
                 Py_TYPE(given[0])->tp_name);
    return false;
  }
  if (PyInterpreterState_Get() == PyInterpreterState_Main()) return true;
  mhx_refuse(MHEAP_ERR_ARGUMENT,
             "%s: the process has one such function, which only its main interpreter can give", name);
  return false;
}

#define REGISTER(name, kept, core)                                                                      \
  static PyObject *name(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) { \
    PyObject *given[2];                                                                                 \
    (void)module;                                                                                       \
    if (!registration(#name, args, nargs, kwnames, given)) return NULL;                                 \
    replace(&kept, given[0], given[1]);                                                                 \
    mheap_##name(kept.fn != NULL ? core : NULL, NULL);                                                  \
    Py_RETURN_NONE;                                                                                     \
  }
REGISTER(register_output, output, on_output)
REGISTER(register_error, error, on_error)
REGISTER(register_deferred_free, deferred, on_deferred)

void mhx_registered_clear(void) {
  if (PyInterpreterState_Get() != PyInterpreterState_Main()) return;
  mheap_register_output(NULL, NULL);
  mheap_register_error(NULL, NULL);
  mheap_register_deferred_free(NULL, NULL);
  replace(&output, Py_None, Py_None);
  replace(&error, Py_None, Py_None);
  replace(&deferred, Py_None, Py_None);
}

/* ---- small blocks ---- */

static PyObject *small(PyObject *module, const char *name, void *(*get)(mheap *, size_t),
                       PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  static const char *const names[] = {"size", "md", NULL};
  PyObject *given[2];
  mhx_handle *handle;
  size_t size;
  if (mhx_arguments(name, names, 1, args, nargs, kwnames, given) < 0) return NULL;
  if (mhx_size(given[0], &size) < 0 || mhx_md(module, given[1] != NULL ? given[1] : Py_None, &handle) < 0)
    return NULL;
  if (size > MHEAP_SMALL_SIZE_MAX)
    return mhx_refuse(MHEAP_ERR_ARGUMENT, "%s: %zu bytes are more than SMALL_SIZE_MAX, which is %d", name,
                      size, MHEAP_SMALL_SIZE_MAX);
  mheap *heap = mhx_live(handle);
  if (heap == NULL) return NULL;
  void *block = get(heap, size);
  if (block != NULL) return PyLong_FromVoidPtr(block);
  mhx_raise(heap);
  return NULL;
}

static PyObject *malloc_small(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  return small(module, "malloc_small", mheap_malloc_small, args, nargs, kwnames);
}
static PyObject *zalloc_small(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  return small(module, "zalloc_small", mheap_zalloc_small, args, nargs, kwnames);
}

/* ---- collecting, threads ---- */

static PyObject *collect(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  static const char *const names[] = {"force", "md", NULL};
  PyObject *given[2];
  mhx_handle *handle;
  mhx_use use;
  if (mhx_arguments("collect", names, 0, args, nargs, kwnames, given) < 0) return NULL;
  int force = given[0] != NULL ? PyObject_IsTrue(given[0]) : 0;
  if (force < 0 || mhx_md(module, given[1] != NULL ? given[1] : Py_None, &handle) < 0) return NULL;
  mheap *heap = mhx_use_begin(handle, &use);
  if (heap == NULL) return NULL;
  mheap_err result;
  Py_BEGIN_ALLOW_THREADS result = mheap_collect(heap, force != 0);
  Py_END_ALLOW_THREADS PyObject *done = mhx_none_or_error(heap, result);
  mhx_use_end(handle, &use);
  return done;
}

static PyObject *thread_init(PyObject *module, PyObject *unused) {
  (void)module;
  (void)unused;
  return mhx_none_or_error(NULL, mheap_thread_init());
}

static PyObject *thread_done(PyObject *module, PyObject *unused) {
  (void)module;
  (void)unused;
  mheap_thread_done();
  Py_RETURN_NONE;
}

/* ---- where an address is ---- */

static PyObject *is_in_heap_region(PyObject *module, PyObject *address) {
  void *block;
  (void)module;
  return mhx_address(address, &block) < 0 ? NULL : PyBool_FromLong(mheap_is_in_region(block));
}

static PyObject *heap_of(PyObject *module, PyObject *address) {
  void *block;
  if (mhx_address(address, &block) < 0) return NULL;
  mheap *heap = mheap_heap_of(block);
  if (heap == NULL) {
    mhx_raise(NULL);
    return NULL;
  }
  return mhx_heap_object(mhx_state_of(module), heap);
}

/* ---- the process ---- */

static PyStructSequence_Field process_fields[] = {
    {"elapsed_ms", "milliseconds since the process was started"},
    {"user_ms", "milliseconds of processor time of all its threads in user mode"},
    {"system_ms", "the same in the kernel"},
    {"current_rss", "bytes of it in memory now (VmRSS)"},
    {"peak_rss", "the most there ever were (VmHWM)"},
    {"current_commit", "bytes of private memory that may be written, used or not (VmData)"},
    {"peak_commit", "the most address space there ever was (VmPeak), what is only reserved included"},
    {"page_faults", "that had to read from a disk"},
    {NULL, NULL},
};
static PyStructSequence_Desc process_desc = {"mheap.ProcessInfo", "What the kernel says of this process.",
                                             process_fields, 8};

int mhx_extended_init(PyObject *module, mhx_state *state) {
  state->process_type = PyStructSequence_NewType(&process_desc);
  if (state->process_type == NULL || PyModule_AddType(module, state->process_type) < 0) return -1;
  return PyModule_AddIntConstant(module, "SMALL_SIZE_MAX", MHEAP_SMALL_SIZE_MAX);
}

static PyObject *process_info(PyObject *module, PyObject *unused) {
  mheap_process_info info;
  mheap_error failed;
  (void)unused;
  if (mheap_get_process_info(&info, &failed) != MHEAP_OK) return mhx_raise_error(&failed);
  const uint64_t figures[] = {info.elapsed_ms, info.user_ms,        info.system_ms,   info.current_rss,
                              info.peak_rss,   info.current_commit, info.peak_commit, info.page_faults};
  PyObject *made = PyStructSequence_New(mhx_state_of(module)->process_type);
  for (Py_ssize_t i = 0; made != NULL && i < (Py_ssize_t)Py_ARRAY_LENGTH(figures); i++) {
    PyObject *figure = PyLong_FromUnsignedLongLong(figures[i]);
    if (figure == NULL) Py_CLEAR(made);
    else PyStructSequence_SET_ITEM(made, i, figure);
  }
  return made;
}

/* ---- the table ---- */

#define NAMED(name, doc) {#name, (PyCFunction)(void (*)(void))name, METH_FASTCALL | METH_KEYWORDS, doc}

PyMethodDef mhx_extended_functions[] = {
    NAMED(malloc_small,
          "malloc_small($module, /, size, md=None)\n--\n\n"
          "The address of a new block of at least size bytes, at most SMALL_SIZE_MAX.\n"
          "More raises InvalidArgument. Contents are whatever was there."),
    NAMED(zalloc_small,
          "zalloc_small($module, /, size, md=None)\n--\n\n"
          "The same, filled with zeros."),
    NAMED(collect,
          "collect($module, /, force=False, md=None)\n--\n\n"
          "Gives empty slabs back. force: also pages to the system and the file, and the\n"
          "function registered with register_deferred_free is called with force true."),
    {"thread_init", thread_init, METH_NOARGS,
     "thread_init($module, /)\n--\n\nMakes the thread ready to allocate. Never needed: its first allocation "
     "does it."},
    {"thread_done", thread_done, METH_NOARGS,
     "thread_done($module, /)\n--\n\nHands the thread's memory back, in all heaps; its blocks stay valid.\n"
     "Happens by itself when the thread ends."},
    {"is_in_heap_region", is_in_heap_region, METH_O,
     "is_in_heap_region($module, address, /)\n--\n\nWhether the address lies in any heap this process has "
     "attached."},
    {"heap_of", heap_of, METH_O,
     "heap_of($module, address, /)\n--\n\nThe Heap whose block the address is; None is the default heap.\n"
     "Raises InvalidPointer, or DoubleFree, for what is no block in use."},
    {"process_info", process_info, METH_NOARGS,
     "process_info($module, /)\n--\n\nTimes, memory and page faults of this process as a ProcessInfo; each "
     "figure is\n"
     "the kernel's own. Without /proc it raises HeapOSError."},
    NAMED(register_output,
          "register_output($module, /, fn, arg=None)\n--\n\n"
          "What mheap prints goes to fn(text, arg) from now on; None: to standard error.\n"
          "Of the whole process, and given by the main interpreter. What fn raises goes to\n"
          "sys.unraisablehook."),
    NAMED(register_error,
          "register_error($module, /, fn, arg=None)\n--\n\n"
          "fn(errno, arg) is called when a call on blocks fails: EAGAIN double free, EFAULT\n"
          "damage, ENOMEM, EOVERFLOW too large a request, EINVAL not a block of ours. The\n"
          "exception is raised all the same. None: no function."),
    NAMED(register_deferred_free,
          "register_deferred_free($module, /, fn, arg=None)\n--\n\n"
          "fn(force, heartbeat, arg) is called before every 256th allocation of each thread,\n"
          "with heartbeat one higher each time, and by collect(). force: free all that was\n"
          "put off. At most one; None: no function."),
    {NULL, NULL, 0, NULL},
};
