/* ext.h: what the files of the binding share.

   Owns: the module's state and the Heap object. The binding converts and forwards; it calls
   mheap.h only, never the core's insides.

   Who may touch a handle: whoever holds the GIL. Allocating and freeing keep it; calls that
   may take long (attach, detach, sync, collect, stats, check) release it and, like any call
   that may run Python code in its middle, register themselves with mhx_use_begin, so that
   mhx_detach waits for them. There is no lock in the binding but the GIL.

   The rule for every operation: convert the arguments first (conversions may run Python
   code, and that may close the heap), then ask mhx_live for the heap, then call. */
#ifndef MHEAP_EXT_H
#define MHEAP_EXT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include "mheap/mheap.h"

/* ---- module state ---------------------------------------------------------- */

#define MHX_OBJECT_TYPES 48 /* room for the types of objects*.c */

typedef struct mhx_state {
  PyTypeObject *heap_type;
  PyTypeObject *view_type;
  PyTypeObject *info_type;    /* HeapInfo */
  PyTypeObject *stats_type;   /* HeapStats */
  PyTypeObject *class_type;   /* ClassStats */
  PyTypeObject *pages_type;   /* PageStats */
  PyTypeObject *mmstats_type; /* MmStats */
  PyTypeObject *finding_type; /* Finding */
  PyTypeObject *process_type; /* ProcessInfo */
  PyTypeObject *journal_type; /* JournalInfo */
  PyTypeObject *arena_type;   /* ArenaId */
  PyTypeObject *kind_type;    /* Kind */
  PyTypeObject *transaction_type; /* Transaction */
  PyTypeObject *kind_call_type;   /* KindCall */
  PyTypeObject *kind_memory_type; /* what views of kinds' blocks are of */
  bool has_subproc; /* mhx_subprocs_begin was called */
  uint64_t shapes; /* classes of records that were made */
  struct mhx_map *dead_maps; /* objects_map.c */
  PyObject *object_types[MHX_OBJECT_TYPES]; /* objects*.c's own, any objects; visited and cleared for it */
} mhx_state;

mhx_state *mhx_state_of(PyObject *module);
mhx_state *mhx_state_of_heap(PyObject *heap_obj);

/* ---- the Heap object --------------------------------------------------------- */

/* A call that is under way on a heap and does not hold the GIL throughout. Lives on the
   caller's stack. */
typedef struct mhx_use {
  struct mhx_use *next;
  unsigned long thread;
} mhx_use;

/* A thread that waits for its turn. Lives on its stack. */
typedef struct mhx_waiter {
  PyThread_type_lock lock; /* held; released once it is its turn */
  unsigned long thread;
  struct mhx_waiter *next;
} mhx_waiter;

/* Who may commit, or undo: gate.c. */
typedef struct mhx_gate {
  unsigned long owner; /* thread, if depth > 0 */
  unsigned depth;      /* how often it went in */
  mhx_waiter *first;   /* those who wait, in the order they came */
  unsigned blocks;     /* of transaction(), that the owner is in */
  bool durable;        /* one of them wants that */
} mhx_gate;

/* mmcheck and mmtrace of one heap. */
typedef struct mhx_guard {
  bool checking;       /* mmcheck is on */
  PyObject *on_error;  /* called with what it finds; NULL: raise */
  PyInterpreterState *interpreter; /* of on_error: another one, on the default heap, raises */
  FILE *trace;         /* of mmtrace; NULL: none */
} mhx_guard;

/* One Python object a heap, while it lives. A main heap's stands for its region: it is what
   attaches and detaches, and when it goes, the region's other heaps are closed with it. A
   resident is the main heap of memory that nobody attached (the default heap, that of another
   subprocess): it is only looked at. */
typedef struct mhx_handle {
  PyObject_HEAD
  mheap *heap;              /* NULL: closed, or being closed */
  mheap *parked;            /* what `heap` was, while somebody waits to close it */
  struct mhx_handle *main;  /* of its region, and kept alive; NULL: this is it */
  struct mhx_handle *others; /* main: those of the region's other heaps, which take themselves out */
  struct mhx_handle *other;  /* the next of them */
  uint32_t number;          /* row of the heap table */
  int tag;
  uint64_t birth;           /* of a named heap: no other's, whatever its row; else 0 */
  PyObject *label;          /* its name, a str; NULL: it has none */
  bool ended;               /* the heap was destroyed, or undone: what was in it is stale */
  bool resident;
  bool is_default;          /* resident: the main heap of a subprocess … */
  mheap_subproc subproc;    /* … this one */
  bool kept;                /* a guard is on: the main handle owns a reference to this one */
  unsigned long forks;      /* mhx_forks when it was attached */
  uint64_t serial;          /* mhx_handles_made, this one counted */
  bool adrift;              /* forked: the parent's mapping was given up, no reader is attached yet */
  bool was_atomic;          /* forked: it reads here what it could commit in the parent */
  mheap_mode mode;
  PyObject *path;           /* str; None: anonymous, or a file that has no name */
  PyObject *name;           /* str: what to call a heap without a path */
  Py_ssize_t views;         /* exported buffers, a main heap's those of all its region: refuse detach */
  Py_ssize_t array_views;   /* of these, those of arrays and columns, which say what may have changed */
  mhx_use *uses;            /* calls under way */
  mhx_waiter *idle;         /* who waits until `uses` is empty */
  mhx_gate gate;            /* main: of its region */
  unsigned reads;           /* bits for mheap/_values.py: 1 pickles are loaded, 2 what is unknown is shown */
  bool discards;            /* atomic: what is not committed may go without a word */
  bool undone;              /* a rollback took the heap away */
  void *objects;            /* objects*.c's own, see mhx_objects_slot */
  mhx_guard guard;
  PyObject *weakrefs;
  mhx_state *state;         /* of the module, which the type keeps alive */
  PyInterpreterState *interpreter;
  struct mhx_handle *previous, *following; /* all attached handles (handles.c) */
} mhx_handle;

PyTypeObject *mhx_heap_type_new(PyObject *module);
extern PyType_Spec mhx_view_spec;
extern uint64_t mhx_handles_made;
extern unsigned long mhx_forks; /* forks between the first process and this one */

/* ---- for every operation ------------------------------------------------------ */

/* The heap of a handle; NULL: the default heap. NULL with an exception when it is closed,
   or inherited over a fork and cannot be attached again. */
mheap *mhx_live_slow(mhx_handle *handle);
static inline mheap *mhx_live(mhx_handle *handle) {
  if (handle != NULL && handle->heap != NULL && handle->forks == mhx_forks) return handle->heap;
  return mhx_live_slow(handle);
}

/* The same for objects*.c, given a Heap. */
mheap *mhx_heap(PyObject *heap_obj);

/* Around whatever may run Python code, or releases the GIL, while it relies on the heap
   staying attached. begin returns the heap, or NULL with an exception; then do not call
   end. handle NULL: the default heap, which is never detached. */
mheap *mhx_use_begin(mhx_handle *handle, mhx_use *use);
void mhx_use_end(mhx_handle *handle, mhx_use *use);

/* Refuse detach, and destroying (BufferError) until as many unpins. */
void mhx_pin(PyObject *heap_obj);
void mhx_unpin(PyObject *heap_obj);
/* The same for a view of an array, or a column: `out` has its memory, which commits look at meanwhile. */
struct mh_out;
void mhx_out_begin(mhx_handle *handle, struct mh_out *out);
void mhx_out_end(mhx_handle *handle, struct mh_out *out);

/* Where objects*.c keeps what it knows about one heap in this process; starts as NULL. It
   must be NULL again, or hold nothing that refers to the heap's memory, when
   mhx_objects_detach(heap_obj) returns, which is called before the heap goes. */
void **mhx_objects_slot(PyObject *heap_obj);

/* Detaches. 0, or -1 with an exception: the heap is then still attached, unless its file was cut
   short, or only lines of its trace were lost. Closed: nothing to do. What is no main heap, or a
   resident, is only let go of. */
int mhx_detach(mhx_handle *handle);
/* Waits, without the GIL, until no other thread is in a call on the heap, or for a main heap, on its
   region. Who does that has a use of the main heap, or is detaching it. 0, or -1 with an exception. */
int mhx_wait_until_idle(mhx_handle *handle);
/* The same, but others may begin calls meanwhile, and so may have ended the heap. */
int mhx_wait_for_others(mhx_handle *main);
/* Is the calling thread in a call on the heap, or for a main heap, on its region? */
bool mhx_is_used_here(const mhx_handle *handle);
/* The heap is gone, or is not wanted any more: closes the handle. */
void mhx_drop(mhx_handle *handle);
/* Keeps the handle of a heap whose guard is on. */
void mhx_keep(mhx_handle *handle);
/* Detaching failed, and nobody is left to hear of it: writes the exception that is set to
   sys.unraisablehook and abandons the heap. */
void mhx_give_up(mhx_handle *handle);
static inline bool mhx_is_closed(const mhx_handle *handle) { return handle->heap == NULL && !handle->adrift; }

/* ---- commits ---------------------------------------------------------------------- */

/* gate.c: until as many mhx_gate_leave, no other thread commits or rolls back. 0, or -1 with an exception:
   a signal handler's. Keeps the handle alive. */
int mhx_gate_enter(mhx_handle *main);
void mhx_gate_leave(mhx_handle *main);
bool mhx_gate_is_ours(const mhx_handle *main);
void mhx_gate_after_fork(mhx_handle *main, unsigned long forker);
/* commits.c: Transaction. */
extern PyType_Spec mhx_transaction_spec;
/* commits.c: before a main handle is detached: warns of what is not committed. 0, or -1: the warning is an
   error, and raised. May run Python code. */
int mhx_warn_uncommitted(mhx_handle *main);
/* commits.c: undoes what was not committed, and tells the twins. Handles of heaps that were made since are
   `undone`. The caller has a use of the main heap. */
mheap_err mhx_rollback_all(mhx_handle *main);
/* commits.c: a Dirty. New reference; NULL with an exception. */
PyObject *mhx_dirty(mhx_handle *handle);
/* Heap.collect (objects_collect.c). */
PyObject *mhx_collect(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
/* All handles on this heap, of every interpreter. */
void mhx_handles_each(const mheap *heap, void (*fun)(mhx_handle *handle, void *arg), void *arg);
/* commits.c: at the end of `with`, which `failed` or not: commits, or lets close discard. 0, or -1 with an
   exception. */
int mhx_end_with(mhx_handle *main, bool failed);
/* objects_array.c: would a rollback leave no view of an array, and no column of a record list, on what is
   theirs no more, in any heap of the region? 0, or -1 with an exception. */
int mhx_arrays_may_roll_back(mhx_handle *main);

/* readers.c: a view of a heap that is only read keeps the commit it shows. 0, or -1 with an exception. */
int mhx_keep_for_view(mhx_handle *handle);
void mhx_release_for_view(mhx_handle *handle);
/* The same of the newest commit, unless one is kept already. */
int mhx_keep_newest(mhx_handle *main);

/* ---- all attached handles ------------------------------------------------------- */

/* A handle, in the list. path, name: see mhx_handle. NULL with an exception. */
mhx_handle *mhx_handles_new(mhx_state *state, mheap *heap, mheap_mode mode, PyObject *path, PyObject *name);
/* In the dealloc of one of a region's other heaps. */
void mhx_handles_leave_main(mhx_handle *handle);
/* The handle of a heap, in this interpreter if it has one; NULL: none. */
mhx_handle *mhx_handles_find(const mheap *heap);
/* Has another interpreter a handle of the same heap? Of memory's heaps it may. */
bool mhx_handles_shared(const mhx_handle *handle);
/* Gives up what the default heap holds, and detaches every handle of this interpreter
   that is still attached: at exit. */
PyObject *mhx_detach_all(PyObject *module, PyObject *unused);
/* Before every attach: in a forked child it may take the place of a parent's heap, but not under
   views, or calls, that are still on that. */
void mhx_hold_inherited(void);
/* Watches for forks, once a process. */
int mhx_watch_forks(void);

/* ---- errors ----------------------------------------------------------------------- */

/* Raise what `error` says; `path` (str, may be NULL) becomes the exception's filename. */
PyObject *mhx_raise_error(const mheap_error *error);
PyObject *mhx_raise_error_at(const mheap_error *error, PyObject *path);
/* Raise a heap's last error; NULL: the default heap's. Returns -1. */
int mhx_raise(mheap *heap);
/* None, or the heap's last error raised. */
PyObject *mhx_none_or_error(mheap *heap, mheap_err result);
/* Raise an mheap exception with a text of the binding's own. Returns NULL. */
PyObject *mhx_refuse(mheap_err code, const char *format, ...);
/* Raise ClosedHeap. Returns NULL. */
PyObject *mhx_raise_closed(mhx_handle *handle);

/* ---- arguments --------------------------------------------------------------------- */

/* A `md` argument: *handle is NULL for None. 0, or -1 with a TypeError. */
int mhx_md(PyObject *module, PyObject *md, mhx_handle **handle);
/* A size in bytes, a count. Negative: InvalidArgument; above 2^64-1: SizeOverflow. */
int mhx_size(PyObject *value, size_t *size);
/* An address; None is NULL. Negative or above 2^64-1: InvalidPointer. */
int mhx_address(PyObject *value, void **address);
/* An int that fits a C int. */
int mhx_int(PyObject *value, int *result);
/* An address as an int, NULL as None. */
PyObject *mhx_from_address(const void *address);
/* TypeError: name() takes `wanted` arguments (`got` given). Returns NULL. */
PyObject *mhx_arity(const char *name, Py_ssize_t wanted, Py_ssize_t got);

/* Arguments by position and by name, for calls that are not on a fast path: `names` ends
   with NULL, `required` of them must be given, out[i] is NULL for what is missing. */
int mhx_arguments(const char *name, const char *const *names, Py_ssize_t required,
                  PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames, PyObject **out);

/* ---- an operation as a Heap method and as a module function with md first ------------- */

/* Defines function_NAME around op_NAME, which takes exactly `count` arguments after md. */
#define MHX_FUNCTION_ONLY(name, count)                                                              \
  static PyObject *function_##name(PyObject *module, PyObject *const *args, Py_ssize_t nargs) {     \
    mhx_handle *handle;                                                                             \
    if (nargs != (count) + 1) return mhx_arity(#name, (count) + 1, nargs);                          \
    if (mhx_md(module, args[0], &handle) < 0) return NULL;                                          \
    return op_##name(handle, args + 1);                                                             \
  }
#define MHX_METHOD_ONLY(name, count)                                                                \
  static PyObject *method_##name(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {         \
    if (nargs != (count)) return mhx_arity(#name, (count), nargs);                                  \
    return op_##name((mhx_handle *)self, args);                                                     \
  }
#define MHX_BOTH(name, count) MHX_METHOD_ONLY(name, count) MHX_FUNCTION_ONLY(name, count)
#define MHX_METHOD(name, doc) {#name, (PyCFunction)(void (*)(void))method_##name, METH_FASTCALL, doc}
#define MHX_FUNCTION(name, doc) {#name, (PyCFunction)(void (*)(void))function_##name, METH_FASTCALL, doc}

/* The tables of the files that define operations; each ends with an empty row. */
extern PyMethodDef mhx_blocks_methods[], mhx_blocks_functions[];
extern PyMethodDef mhx_roots_methods[], mhx_roots_functions[];
extern PyMethodDef mhx_guard_methods[], mhx_guard_functions[];
extern PyMethodDef mhx_stats_methods[], mhx_stats_functions[];
extern PyMethodDef mhx_view_methods[], mhx_view_functions[];
extern PyMethodDef mhx_attach_functions[];
extern PyMethodDef mhx_kinds_functions[];
extern PyMethodDef mhx_subprocs_functions[];
extern PyMethodDef mhx_heap_functions[];
extern PyMethodDef mhx_extended_functions[], mhx_stats_print_functions[];
extern PyMethodDef mhx_heaps_methods[], mhx_heaps_functions[];
extern PyMethodDef mhx_named_methods[];
extern PyMethodDef mhx_arenas_functions[];
extern PyMethodDef mhx_commits_methods[], mhx_commits_functions[];
extern PyMethodDef mhx_readers_methods[], mhx_readers_functions[];
extern PyMethodDef mhx_journal_functions[];
extern PyMethodDef mhx_values_functions[];
extern PyMethodDef mhx_compact_functions[];
extern PyMethodDef mhx_dump_methods[], mhx_dump_functions[];
extern PyMethodDef mhx_fill_functions[];
extern PyMethodDef mhx_arrays_methods[], mhx_arrays_functions[];
extern PyMethodDef mhx_rows_functions[];

/* ---- an exception that is set while something else is done ---------------------------------- */

#if PY_VERSION_HEX >= 0x030c0000
typedef struct mhx_pending { PyObject *value; } mhx_pending;
static inline mhx_pending mhx_pending_take(void) { return (mhx_pending){PyErr_GetRaisedException()}; }
static inline void mhx_pending_restore(mhx_pending *self) { PyErr_SetRaisedException(self->value); }
#else
typedef struct mhx_pending { PyObject *type, *value, *traceback; } mhx_pending;
static inline mhx_pending mhx_pending_take(void) {
  mhx_pending self;
  PyErr_Fetch(&self.type, &self.value, &self.traceback);
  return self;
}
static inline void mhx_pending_restore(mhx_pending *self) {
  PyErr_Restore(self->type, self->value, self->traceback);
}
#endif

/* ---- what objects*.c provides ------------------------------------------------------------- */

int mhx_objects_init(PyObject *module);
/* The root dict's twin. NULL and an exception. */
PyObject *mhx_root(PyObject *heap_obj);
/* Of a main heap and its region's other heaps: before a commit looks for changes, and once it is done. */
void mhx_objects_committing(mhx_handle *main);
void mhx_objects_committed(mhx_handle *main);
/* The same, before mhx_objects_detach of an atomic heap that nobody else uses. */
void mhx_objects_leave(mhx_handle *main);
/* The same: what was not committed is undone, and the twins find out. */
void mhx_objects_rolled_back(mhx_handle *main);
/* The same, of another heap than the main one, which stays. */
void mhx_objects_closing(mhx_handle *handle);
/* The heap is about to go, or (in a forked child) must not be touched any more. */
void mhx_objects_detach(PyObject *heap_obj);
/* The same, of a main heap and its region's other heaps. */
void mhx_objects_detach_all(mhx_handle *main);
/* The heap is gone, with its objects: their twins are stale. */
void mhx_objects_ended(mhx_handle *handle);

/* ---- parts that belong to one file each ------------------------------------------------ */

/* extended.c: ProcessInfo, SMALL_SIZE_MAX. */
int mhx_extended_init(PyObject *module, mhx_state *state);
/* journal.c: JournalInfo. */
int mhx_journal_init(PyObject *module, mhx_state *state);
/* extended.c: a registered function runs in the middle of a call, and of which heap is not known: until it
   returns its thread is refused, and others wait, who would end a heap or a kind. */
bool mhx_registered_runs_here(void);
bool mhx_registered_runs_elsewhere(void);
/* May one that runs, in any thread, be in the middle of a call on this main heap? Not if that was attached
   after it began. */
bool mhx_registered_may_use(const mhx_handle *handle);
int mhx_wait_for_registered(const char *what); /* 0, or -1 with an exception; `what` cannot be done */
void mhx_registered_after_fork(void);
/* handles.c: waiting in a list, and letting all in it go on. */
int mhx_wait_in(mhx_waiter **waiters);
void mhx_wake(mhx_waiter **waiters);
/* extended.c: unregisters what the main interpreter registered, as it ends. */
void mhx_registered_clear(void);
/* stats.c: makes the named structures. */
int mhx_stats_init(PyObject *module, mhx_state *state);
/* kinds.c: makes the types; at exit, takes the decorators off all kinds of this interpreter. */
int mhx_kinds_init(PyObject *module, mhx_state *state);
void mhx_kinds_finish(void);
/* stats.c: a HeapStats. */
/* stats.c: counts a heap. 0, or -1 with an exception. */
int mhx_count(mhx_handle *handle, mheap_stats *stats);
PyObject *mhx_stats_object(mhx_state *state, const mheap_stats *stats);
/* subprocs.c: the subprocess whose main heap None means here: that of the thread if it was added to one in
   this interpreter, else that of the interpreter. */
mheap_subproc mhx_subproc(void);
/* The main heap of that; NULL with an exception. */
mheap *mhx_default_heap(void);
/* Around calls of the core that mean the default heap: NULL means to it what None means here. */
mheap_subproc mhx_go_home(void);
void mhx_come_back(mheap_subproc back);
/* Gives a sub-interpreter a subprocess of its own, and takes it again. 0, or -1 with an exception. */
int mhx_subprocs_begin(void);
void mhx_subprocs_end(void);
/* At exit, before handles are detached: main heaps that were given are only heaps again. */
void mhx_subprocs_release(void);
/* arenas.c: memory that was lent for an arena that is gone is given back. */
void mhx_arenas_give_back(mheap_arena arena);
/* stats.c: the facts behind properties. 0, or -1 with an exception. */
int mhx_info(mhx_handle *handle, mheap_info *info);
/* stats.c: 16 bytes as a str of 36 characters. */
PyObject *mhx_uuid_text(const uint8_t *bytes);
/* attach.c: opens a file as a reader, for a handle that a forked child inherited. NULL and an exception. */
mheap *mhx_open_inherited(PyObject *path);
/* attach.c: "atomic", "live", "readonly", "scratch". */
const char *mhx_mode_name(mheap_mode mode);
/* heaps.c: the Python object of any heap: of the region of an attached main heap, … */
PyObject *mhx_heap_in(mhx_handle *main, mheap *heap);
/* … or of memory. New reference; NULL with an exception. */
PyObject *mhx_heap_object(mhx_state *state, mheap *heap);
/* named.c: tells a handle the name of its heap, if it has one. 0, or -1 with an exception. */
int mhx_named_begin(mhx_handle *handle);
/* named.c: is it the heap that this handle was of, not another that has its row? */
bool mhx_named_is_same(const mhx_handle *handle, mheap *heap);
/* heaps.c: looks up the heap of a handle anew, in a forked child. 0, or -1 with an exception. */
int mhx_find_again(mhx_handle *handle);
/* heaps.c: refuses what belongs to the main heap alone. 0, or -1 with an exception. */
int mhx_only_main(mhx_handle *handle);
/* arenas.c: what the number of an arena is in Python, `heap` being its main heap; NULL: it is memory. */
PyObject *mhx_arena_id(mhx_state *state, mheap_arena arena, mhx_handle *heap);
/* arenas.c: from an ArenaId, *heap being borrowed, NULL for memory. 0, or -1 with an exception. */
int mhx_arena_number(mhx_state *state, PyObject *value, mheap_arena *arena, mhx_handle **heap);
extern PyType_Spec mhx_arena_spec;
const char *mhx_pages_name(mheap_pages pages);
/* view.c: is a view exported that begins in there? */
bool mhx_view_within(const void *start, size_t size);
bool mhx_view_of_subproc(mheap_subproc subproc); /* … of the memory that goes with it? */
/* guard.c */
extern mhx_guard mhx_default_guard; /* of the main subprocess's main heap; interpreters may share it */
/* That of another one's; `make`: NULL with an exception where it cannot be made, else one that is empty. */
mhx_guard *mhx_guard_of_subproc(mheap_subproc subproc, bool make);
static inline mhx_guard *mhx_guard_get(mhx_handle *handle, bool make) {
  if (handle != NULL && !handle->is_default) return &handle->guard;
  mheap_subproc subproc = handle != NULL ? handle->subproc : mhx_subproc();
  return subproc == mheap_subproc_main() ? &mhx_default_guard : mhx_guard_of_subproc(subproc, make);
}
static inline mhx_guard *mhx_guard_of(mhx_handle *handle) { return mhx_guard_get(handle, false); }
/* The subprocess is gone. */
void mhx_guard_drop(mheap_subproc subproc);
/* Probes a block that is about to be freed or resized. 0: go on; -1: an exception. */
int mhx_guard_check(mhx_handle *handle, void *block);
/* Ends the trace, if there is one. false: lines of it were lost, *error says why. */
bool mhx_guard_end_trace(mhx_guard *guard, mheap *heap, mheap_error *error);
/* Forgets on_error and closes the trace, which the core has ended. */
void mhx_guard_clear(mhx_guard *guard);
/* At the end of an interpreter: forgets its on_error on the default heap; with the main one the
   heap's trace ends. 0, or -1 with an exception. */
int mhx_guard_clear_default(void);

#endif
