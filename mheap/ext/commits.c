/* commits.c: commit, rollback, checkpoint, transactions, and what becomes of changes that nobody commits.

   Owns the type Transaction; the gate of a handle is gate.c's. Here alone the binding calls the core's
   insides: a commit holds the GIL, which excludes other Python threads, while it looks for what changed,
   and lets it go while it waits for the disk.

   Order of waiting: the gate, then the calls of other threads, then the core's lock of commits. Who has
   that lock never waits for the GIL. */
#include "commit.h"
#include "ext.h"
#include "heap.h"

static mhx_handle *main_of(mhx_handle *handle) {
  return handle != NULL && handle->main != NULL && !mhx_is_closed(handle) ? handle->main : handle;
}

/* Whether the child has read through it already, or not. */
static bool is_the_parents(const mhx_handle *main) {
  return main->was_atomic || (main->forks != mhx_forks && main->mode == MHEAP_MODE_ATOMIC);
}

/* The main heap of a region attached with mode atomic, by this process; NULL with an exception. */
static mheap *atomic_heap(mhx_handle *main) {
  if (main != NULL && is_the_parents(main)) {
    mhx_refuse(MHEAP_ERR_FORKED,
               "this handle belongs to the parent process: attach the file anew in the child");
    return NULL;
  }
  mheap *heap = mhx_live(main);
  if (heap == NULL) return NULL;
  if (main != NULL && main->mode == MHEAP_MODE_ATOMIC) return heap;
  mheap_checkpoint(heap); /* refuses, and says why */
  mhx_raise(heap);
  return NULL;
}

/* ---- commit ---- */

static void let_others_run(void *arg) { *(PyThreadState **)arg = PyEval_SaveThread(); }

static mheap_err commit_now(mhx_handle *main, mheap *heap, bool durable) {
  PyThreadState *saved = NULL;
  const mh_commit_wait wait = {let_others_run, &saved};
  mhx_objects_committing(main);
  mheap_err result = mh_heap_commit(heap, durable, &wait);
  if (saved != NULL) PyEval_RestoreThread(saved);
  if (result == MHEAP_OK) mhx_objects_committed(main);
  return result;
}

/* A journal that is full is emptied first, while others run. */
static int prepare(mhx_handle *main) {
  mhx_use use;
  mheap *heap = mhx_use_begin(main, &use);
  if (heap == NULL) return -1;
  mheap_err result = MHEAP_OK;
  if (mh_commit_waits(heap->region)) {
    Py_BEGIN_ALLOW_THREADS
    result = mh_heap_prepare_commit(heap);
    Py_END_ALLOW_THREADS
  }
  int failed = result == MHEAP_OK ? 0 : mhx_raise(heap);
  mhx_use_end(main, &use);
  return failed;
}

/* As mhx_use_begin, when no other thread is in a call on the heap; none begins one before the GIL is let go.
   In the middle of a call of its own on the heap a thread does not wait: others may be waiting for it. */
static mheap *begin_alone(mhx_handle *main, mhx_use *use) {
  if (!mhx_is_used_here(main) && mhx_wait_for_others(main) < 0) return NULL;
  return mhx_use_begin(main, use);
}

/* The caller is in at the gate. */
static int commit_inside(mhx_handle *main, bool durable) {
  mhx_use use;
  if (atomic_heap(main) == NULL || prepare(main) < 0) return -1;
  mheap *heap = begin_alone(main, &use);
  if (heap == NULL) return -1;
  mheap_err result = commit_now(main, heap, durable);
  int failed = result == MHEAP_OK ? 0 : mhx_raise(heap);
  mhx_use_end(main, &use);
  return failed;
}

static int commit(mhx_handle *main, bool durable) {
  if (atomic_heap(main) == NULL || mhx_gate_enter(main) < 0) return -1;
  int failed = -1;
  if (main->gate.blocks > 0)
    mhx_refuse(MHEAP_ERR_BUSY, "cannot commit: this thread is in a transaction(), which commits at its end");
  else failed = commit_inside(main, durable);
  mhx_gate_leave(main);
  return failed;
}

/* ---- rollback ---- */

static int may_roll_back(mhx_handle *main) {
  if (!mhx_is_used_here(main)) return 0;
  mhx_refuse(MHEAP_ERR_BUSY, "cannot roll back: this thread is in the middle of a call on the heap");
  return -1;
}

/* Handles of heaps that go with the changes. */
static void mark_uncommitted(mhx_handle *main) {
  for (mhx_handle *other = main->others; other != NULL; other = other->other)
    other->undone = other->heap != NULL && !mh_heap_is_committed(other->heap);
}

static mhx_handle *first_undone(const mhx_handle *main) {
  mhx_handle *other = main->others;
  while (other != NULL && (!other->undone || other->heap == NULL)) other = other->other;
  return other;
}

/* Nothing of theirs is called before all twins are told; closing them may run Python code. */
static void close_undone(mhx_handle *main) {
  for (mhx_handle *other; (other = first_undone(main)) != NULL;) {
    Py_INCREF(other);
    mhx_drop(other);
    Py_DECREF(other);
  }
}

static void told_nothing(mhx_handle *main) {
  for (mhx_handle *other = main->others; other != NULL; other = other->other) other->undone = false;
}

mheap_err mhx_rollback_all(mhx_handle *main) {
  mheap *heap = main->heap;
  mark_uncommitted(main);
  mheap_err result = mheap_rollback(heap);
  if (result == MHEAP_OK) mhx_objects_rolled_back(main);
  else told_nothing(main);
  if (main->views > main->array_views) mh_heap_raw(heap); /* what is stored through them is looked for */
  return result;
}

static int rollback_inside(mhx_handle *main) {
  mhx_use use;
  if (may_roll_back(main) < 0 || mhx_wait_for_others(main) < 0) return -1;
  mheap *heap = atomic_heap(main) != NULL ? mhx_use_begin(main, &use) : NULL;
  if (heap == NULL) return -1;
  int failed = mhx_arrays_may_roll_back(main);
  if (!failed) failed = mhx_rollback_all(main) == MHEAP_OK ? 0 : mhx_raise(heap);
  mhx_use_end(main, &use);
  if (!failed) close_undone(main);
  return failed;
}

static int rollback(mhx_handle *main) {
  if (atomic_heap(main) == NULL || mhx_gate_enter(main) < 0) return -1;
  int failed = rollback_inside(main);
  mhx_gate_leave(main);
  return failed;
}

/* ---- as methods and functions ---- */

static PyObject *none_or(int failed) {
  if (failed) return NULL;
  Py_RETURN_NONE;
}

static PyObject *commit_with(mhx_handle *handle, PyObject *durable) {
  int is = durable != NULL ? PyObject_IsTrue(durable) : 1;
  return is < 0 ? NULL : none_or(commit(main_of(handle), is != 0));
}

static PyObject *method_commit(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  static const char *const names[] = {"durable", NULL};
  PyObject *given[1];
  if (mhx_arguments("commit", names, 0, args, nargs, kwnames, given) < 0) return NULL;
  return commit_with((mhx_handle *)self, given[0]);
}

static PyObject *function_commit(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                                 PyObject *kwnames) {
  static const char *const names[] = {"md", "durable", NULL};
  PyObject *given[2];
  mhx_handle *handle;
  if (mhx_arguments("commit", names, 1, args, nargs, kwnames, given) < 0) return NULL;
  return mhx_md(module, given[0], &handle) < 0 ? NULL : commit_with(handle, given[1]);
}

static PyObject *op_rollback(mhx_handle *handle, PyObject *const *args) {
  (void)args;
  return none_or(rollback(main_of(handle)));
}

static PyObject *op_checkpoint(mhx_handle *handle, PyObject *const *args) {
  (void)args;
  mhx_use use;
  mhx_handle *main = main_of(handle);
  mheap *heap = atomic_heap(main) != NULL ? mhx_use_begin(main, &use) : NULL;
  if (heap == NULL) return NULL;
  mheap_err result;
  Py_BEGIN_ALLOW_THREADS
  result = mheap_checkpoint(heap);
  Py_END_ALLOW_THREADS
  PyObject *none = mhx_none_or_error(heap, result);
  mhx_use_end(main, &use);
  return none;
}

PyObject *mhx_dirty(mhx_handle *handle) {
  mhx_use use;
  mheap_dirty dirty;
  mhx_handle *main = main_of(handle);
  mheap *heap = atomic_heap(main) != NULL ? begin_alone(main, &use) : NULL;
  if (heap == NULL) return NULL;
  mheap_err result = mheap_get_dirty(heap, &dirty);
  int failed = result == MHEAP_OK ? 0 : mhx_raise(heap);
  mhx_use_end(main, &use);
  PyObject *module = failed ? NULL : PyImport_ImportModule("mheap._commits");
  if (module == NULL) return NULL;
  PyObject *object = PyObject_CallMethod(module, "Dirty", "KK", (unsigned long long)dirty.bytes,
                                         (unsigned long long)dirty.pages);
  Py_DECREF(module);
  return object;
}

/* ---- transactions ---- */

typedef struct mhx_transaction {
  PyObject_HEAD
  mhx_handle *heap;
  bool durable;
  unsigned entered;
} mhx_transaction;

static PyObject *transaction_with(mhx_handle *handle, PyObject *durable) {
  int is = durable != NULL ? PyObject_IsTrue(durable) : 1;
  if (is < 0 || atomic_heap(main_of(handle)) == NULL) return NULL;
  PyTypeObject *type = handle->state->transaction_type;
  mhx_transaction *self = (mhx_transaction *)type->tp_alloc(type, 0);
  if (self == NULL) return NULL;
  self->heap = (mhx_handle *)Py_NewRef((PyObject *)handle);
  self->durable = is != 0;
  return (PyObject *)self;
}

static PyObject *method_transaction(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                    PyObject *kwnames) {
  static const char *const names[] = {"durable", NULL};
  PyObject *given[1];
  if (mhx_arguments("transaction", names, 0, args, nargs, kwnames, given) < 0) return NULL;
  return transaction_with((mhx_handle *)self, given[0]);
}

static PyObject *transaction_enter(PyObject *self, PyObject *unused) {
  (void)unused;
  mhx_transaction *one = (mhx_transaction *)self;
  mhx_handle *main = main_of(one->heap);
  if (atomic_heap(main) == NULL || mhx_gate_enter(main) < 0) return NULL;
  if (main->gate.blocks++ == 0) main->gate.durable = false;
  main->gate.durable = main->gate.durable || one->durable;
  one->entered++;
  return Py_NewRef((PyObject *)one->heap);
}

/* A commit that failed leaves nothing half done behind: what it should have made durable is undone. */
static int commit_or_undo(mhx_handle *main) {
  if (commit_inside(main, main->gate.durable) == 0) return 0;
  mhx_pending pending = mhx_pending_take();
  if (!mhx_is_closed(main) && main->forks == mhx_forks && rollback_inside(main) < 0)
    PyErr_WriteUnraisable((PyObject *)main);
  mhx_pending_restore(&pending);
  return -1;
}

/* In a forked child, and when the block closed the heap, there is nothing to undo. */
static int undo(mhx_handle *main) {
  if (mhx_is_closed(main) || main->forks != mhx_forks) return 0;
  return rollback_inside(main);
}

static PyObject *transaction_exit(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
  mhx_transaction *one = (mhx_transaction *)self;
  mhx_handle *main = one->heap->main != NULL ? one->heap->main : one->heap;
  if (one->entered == 0 || !mhx_gate_is_ours(main) || main->gate.blocks == 0)
    return PyErr_SetString(PyExc_RuntimeError, "this thread is not in this transaction"), NULL;
  bool failed = nargs > 0 && args[0] != Py_None;
  int result = 0;
  one->entered--;
  if (main->gate.blocks == 1) result = failed ? undo(main) : commit_or_undo(main);
  main->gate.blocks--;
  mhx_gate_leave(main);
  return none_or(result);
}

static int transaction_traverse(PyObject *self, visitproc visit, void *arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT((PyObject *)((mhx_transaction *)self)->heap);
  return 0;
}

static int transaction_clear(PyObject *self) {
  (void)self; /* the heap is needed to leave; it has no reference to this */
  return 0;
}

static void transaction_dealloc(PyObject *self) {
  PyTypeObject *type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  Py_CLEAR(((mhx_transaction *)self)->heap);
  type->tp_free(self);
  Py_DECREF(type);
}

static PyMethodDef transaction_methods[] = {
    {"__enter__", transaction_enter, METH_NOARGS, "__enter__($self, /)\n--\n\nThe heap."},
    {"__exit__", (PyCFunction)(void (*)(void))transaction_exit, METH_FASTCALL,
     "__exit__($self, type, value, traceback, /)\n--\n\nCommits, or rolls back."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot transaction_slots[] = {
    {Py_tp_doc, "What Heap.transaction() returns: for `with`."},
    {Py_tp_traverse, transaction_traverse},
    {Py_tp_clear, transaction_clear},
    {Py_tp_dealloc, transaction_dealloc},
    {Py_tp_methods, transaction_methods},
    {0, NULL},
};

PyType_Spec mhx_transaction_spec = {
    .name = "mheap.Transaction",
    .basicsize = sizeof(mhx_transaction),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = transaction_slots,
};

/* ---- the end of a heap ---- */

static bool is_ours(const mhx_handle *main) {
  return main->mode == MHEAP_MODE_ATOMIC && main->heap != NULL && main->forks == mhx_forks;
}

/* 1: closing would lose changes; 0: not, or nobody knows; -1: an exception. */
static int would_lose(mhx_handle *main, mheap_dirty *dirty) {
  mhx_use use;
  mheap *heap = begin_alone(main, &use);
  if (heap == NULL) return -1;
  mheap_err result = mh_heap_would_lose(heap, dirty);
  mhx_use_end(main, &use);
  return result == MHEAP_OK && dirty->pages > 0;
}

int mhx_warn_uncommitted(mhx_handle *main) {
  mheap_dirty dirty;
  if (!is_ours(main) || main->discards) return 0;
  int lost = would_lose(main, &dirty);
  if (lost <= 0) return lost;
  PyObject *module = PyImport_ImportModule("mheap.errors");
  PyObject *category = module != NULL ? PyObject_GetAttrString(module, "UncommittedChanges") : NULL;
  Py_XDECREF(module);
  if (category == NULL) return -1;
  int failed = PyErr_WarnFormat(category, 1,
                                "%R: closing it discards changes that were not committed (%llu bytes); "
                                "commit() keeps them, rollback() before says that they may go",
                                main, (unsigned long long)dirty.bytes);
  Py_DECREF(category);
  return failed;
}

int mhx_end_with(mhx_handle *main, bool failed) {
  if (!is_ours(main) || main->main != NULL) return 0;
  if (failed) main->discards = true;
  return failed ? 0 : commit(main, true);
}

/* ---- tables ---- */

MHX_BOTH(rollback, 0)
MHX_BOTH(checkpoint, 0)

#define COMMIT                                                                                         \
  "Makes all changes since the last commit the file's, as a whole.\n\n"                                \
  "When it returns they survive the death of the process and, if `durable`, a power cut; without\n"    \
  "`durable` there is no fdatasync, and a power cut may lose this commit and those after it, never\n"   \
  "a part of one. Stores through views and pointers count. What other threads store meanwhile is in\n"  \
  "this commit or in the next. Without changes nothing is written. Other threads run while it waits\n"  \
  "for the disk.\n\n"                                                                                   \
  "Raises HeapFull or HeapOSError when it cannot be done: then nothing was committed, and all\n"        \
  "changes are still there. After an fdatasync that failed, every commit fails: open the file anew.\n"  \
  "HeapBusy within a transaction() of this thread; another thread's is waited for. InvalidArgument for\n" \
  "heaps of other modes."
#define ROLLBACK                                                                                       \
  "Undoes all changes since the last commit.\n\n"                                                      \
  "Twins of objects that came since raise StaleObject; those of objects that went are valid again.\n"   \
  "Blocks, heaps, arenas and names come and go the same way. Memory under views changes back. Waits\n"  \
  "for calls of other threads on the heap; HeapBusy from within a call on it. InvalidArgument for\n"     \
  "heaps of other modes."
#define CHECKPOINT                                                                                     \
  "Brings what the journal holds into the pages of the file, and empties the journal.\n\n"             \
  "Happens by itself now and then, and when the heap is closed. Changes that were not committed\n"      \
  "are not in it. Other threads run meanwhile. Raises HeapBusy while readers keep earlier generations;\n" \
  "InvalidArgument for heaps of other modes."

PyDoc_STRVAR(transaction_doc,
"transaction($self, /, durable=True)\n--\n\n"
"with heap.transaction(): commits at the end of the block, or rolls back if that raises.\n\n"
"Any exception rolls back, KeyboardInterrupt too, and goes on. When the commit fails, the changes are\n"
"rolled back and its error is raised. A block within a block of the same thread is a part of the\n"
"outer one: it neither commits nor rolls back by itself, and if any of them is `durable`, the commit\n"
"is. Other threads wait to enter, to commit and to roll back. What was changed before and\n"
"not committed is part of it. rollback() within undoes all so far.");

#define KEYWORDS METH_FASTCALL | METH_KEYWORDS

PyMethodDef mhx_commits_methods[] = {
    {"commit", (PyCFunction)(void (*)(void))method_commit, KEYWORDS,
     "commit($self, /, durable=True)\n--\n\n" COMMIT},
    MHX_METHOD(rollback, "rollback($self, /)\n--\n\n" ROLLBACK),
    MHX_METHOD(checkpoint, "checkpoint($self, /)\n--\n\n" CHECKPOINT),
    {"transaction", (PyCFunction)(void (*)(void))method_transaction, KEYWORDS, transaction_doc},
    {NULL, NULL, 0, NULL},
};

PyMethodDef mhx_commits_functions[] = {
    {"commit", (PyCFunction)(void (*)(void))function_commit, KEYWORDS,
     "commit($module, /, md, durable=True)\n--\n\n" COMMIT},
    MHX_FUNCTION(rollback, "rollback($module, md, /)\n--\n\n" ROLLBACK),
    MHX_FUNCTION(checkpoint, "checkpoint($module, md, /)\n--\n\n" CHECKPOINT),
    {NULL, NULL, 0, NULL},
};
