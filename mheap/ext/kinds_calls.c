/* kinds_calls.c: what a Kind does: blocks, arenas, views, decorators.

   Owns the types KindCall and KindMemory. Decorators run with the GIL, in whichever thread calls
   the kind; an exception of theirs is set when the core returns, and then is what the call raises. */
#include "kinds.h"

/* ---- blocks ---- */

static PyObject *block_or_error(mhx_kind *self, void *block) {
  if (PyErr_Occurred()) return NULL; /* by a decorator */
  return block != NULL ? PyLong_FromVoidPtr(block) : mhx_kind_raise(self);
}

/* Of a new block, which nobody could free if a decorator raised after it was made. */
static PyObject *new_block_or_error(mhx_kind *self, void *block) {
  if (block != NULL && PyErr_Occurred()) mheap_free_any(block);
  return block_or_error(self, block);
}

static PyObject *kind_malloc(PyObject *object, PyObject *value) {
  mhx_kind *self = (mhx_kind *)object;
  size_t size;
  if (mhx_size(value, &size) < 0) return NULL;
  mheap_kind *kind = mhx_kind_live(self);
  return kind != NULL ? new_block_or_error(self, mheap_kind_malloc(kind, size)) : NULL;
}

static PyObject *kind_calloc(PyObject *object, PyObject *const *args, Py_ssize_t nargs) {
  mhx_kind *self = (mhx_kind *)object;
  size_t count, size;
  if (nargs != 2) return mhx_arity("calloc", 2, nargs);
  if (mhx_size(args[0], &count) < 0 || mhx_size(args[1], &size) < 0) return NULL;
  mheap_kind *kind = mhx_kind_live(self);
  return kind != NULL ? new_block_or_error(self, mheap_kind_calloc(kind, count, size)) : NULL;
}

static PyObject *kind_memalign(PyObject *object, PyObject *const *args, Py_ssize_t nargs) {
  mhx_kind *self = (mhx_kind *)object;
  size_t alignment, size;
  if (nargs != 2) return mhx_arity("memalign", 2, nargs);
  if (mhx_size(args[0], &alignment) < 0 || mhx_size(args[1], &size) < 0) return NULL;
  mheap_kind *kind = mhx_kind_live(self);
  return kind != NULL ? new_block_or_error(self, mheap_kind_memalign(kind, alignment, size)) : NULL;
}

static PyObject *kind_realloc(PyObject *object, PyObject *const *args, Py_ssize_t nargs) {
  mhx_kind *self = (mhx_kind *)object;
  void *block;
  size_t size;
  if (nargs != 2) return mhx_arity("realloc", 2, nargs);
  if (mhx_address(args[0], &block) < 0 || mhx_size(args[1], &size) < 0) return NULL;
  mheap_kind *kind = mhx_kind_live(self);
  return kind != NULL ? block_or_error(self, mheap_kind_realloc(kind, block, size)) : NULL;
}

static PyObject *kind_free(PyObject *object, PyObject *value) {
  mhx_kind *self = (mhx_kind *)object;
  void *block;
  if (mhx_address(value, &block) < 0) return NULL;
  mheap_kind *kind = mhx_kind_live(self);
  if (kind == NULL) return NULL;
  mheap_err code = mheap_kind_free(kind, block);
  if (PyErr_Occurred()) return NULL;
  if (code != MHEAP_OK) return mhx_kind_raise(self);
  Py_RETURN_NONE;
}

static PyObject *kind_usable_size(PyObject *object, PyObject *value) {
  mhx_kind *self = (mhx_kind *)object;
  void *block;
  if (mhx_address(value, &block) < 0) return NULL;
  mheap_kind *kind = mhx_kind_live(self);
  if (kind == NULL) return NULL;
  size_t size = mheap_kind_usable_size(kind, block);
  return size != 0 || block == NULL ? PyLong_FromSize_t(size) : mhx_kind_raise(self);
}

/* ---- arenas ---- */

static PyObject *arena_by(PyObject *object, mheap_err (*get)(mheap_kind *, unsigned *)) {
  mhx_kind *self = (mhx_kind *)object;
  unsigned arena;
  mheap_kind *kind = mhx_kind_live(self);
  if (kind == NULL) return NULL;
  return get(kind, &arena) == MHEAP_OK ? PyLong_FromUnsignedLong(arena) : mhx_kind_raise(self);
}

static PyObject *thread_arena(PyObject *object, PyObject *unused) {
  (void)unused;
  return arena_by(object, mheap_kind_thread_arena);
}

static PyObject *bijective_arena(PyObject *object, PyObject *unused) {
  (void)unused;
  return arena_by(object, mheap_kind_bijective_arena);
}

/* ---- views ---- */

typedef struct mhx_kind_memory {
  PyObject_HEAD
  mhx_kind *kind;
  void *address;
  Py_ssize_t size;
  unsigned arena; /* of the kind when the address was looked at */
} mhx_kind_memory;

static int get_buffer(PyObject *object, Py_buffer *buffer, int flags) {
  mhx_kind_memory *self = (mhx_kind_memory *)object;
  mhx_handle *md = self->kind->md;
  buffer->obj = NULL;
  if (mhx_kind_live(self->kind) == NULL) return -1;
  if (self->kind->arena != self->arena) {
    mhx_refuse(MHEAP_ERR_FORKED, "a view made before a fork cannot be used again after it");
    return -1;
  }
  bool readonly = md != NULL && md->mode == MHEAP_MODE_READONLY;
  if (PyBuffer_FillInfo(buffer, object, self->address, self->size, readonly, flags) < 0) return -1;
  self->kind->views++;
  if (md != NULL) mhx_pin((PyObject *)md);
  return 0;
}

static void release_buffer(PyObject *object, Py_buffer *buffer) {
  (void)buffer;
  mhx_kind *kind = ((mhx_kind_memory *)object)->kind;
  kind->views--;
  if (kind->md != NULL) mhx_unpin((PyObject *)kind->md);
}

static int traverse_memory(PyObject *object, visitproc visit, void *arg) {
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(((mhx_kind_memory *)object)->kind);
  return 0;
}

static void dealloc_memory(PyObject *object) {
  PyTypeObject *type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  Py_XDECREF(((mhx_kind_memory *)object)->kind);
  type->tp_free(object);
  Py_DECREF(type);
}

static PyType_Slot memory_slots[] = {
    {Py_tp_doc, "What a memoryview of a kind's block is a view of."},
    {Py_tp_traverse, traverse_memory},
    {Py_tp_dealloc, dealloc_memory},
    {Py_bf_getbuffer, get_buffer},
    {Py_bf_releasebuffer, release_buffer},
    {0, NULL},
};

PyType_Spec mhx_kind_memory_spec = {
    .name = "mheap.kinds.KindMemory",
    .basicsize = sizeof(mhx_kind_memory),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = memory_slots,
};

static PyObject *make_view(mhx_kind *self, void *address, size_t size) {
  PyTypeObject *type = self->state->kind_memory_type;
  mhx_kind_memory *memory = (mhx_kind_memory *)type->tp_alloc(type, 0);
  if (memory == NULL) return NULL;
  memory->kind = (mhx_kind *)Py_NewRef((PyObject *)self);
  memory->address = address;
  memory->size = (Py_ssize_t)size;
  memory->arena = self->arena;
  PyObject *view = PyMemoryView_FromObject((PyObject *)memory);
  Py_DECREF(memory);
  return view;
}

static PyObject *kind_view(PyObject *object, PyObject *const *args, Py_ssize_t nargs) {
  mhx_kind *self = (mhx_kind *)object;
  void *address;
  size_t size;
  if (nargs != 2) return mhx_arity("view", 2, nargs);
  if (mhx_address(args[0], &address) < 0 || mhx_size(args[1], &size) < 0) return NULL;
  mheap_kind *kind = mhx_kind_live(self);
  if (kind == NULL) return NULL;
  size_t usable = mheap_kind_usable_size(kind, address);
  if (usable == 0 && address != NULL) return mhx_kind_raise(self);
  if (address != NULL && size <= usable) return make_view(self, address, size);
  return mhx_refuse(MHEAP_ERR_POINTER, "cannot view %zu bytes at %p: the block there has %zu", size, address,
                    usable);
}

/* ---- decorators ---- */

typedef struct mhx_kind_call {
  PyObject_HEAD
  PyObject *operation, *kind, *address, *count, *size, *alignment, *result;
} mhx_kind_call;

static const char *const operations[] = {"", "malloc", "calloc", "memalign", "realloc", "free"};

static PyMemberDef call_members[] = {
    {"operation", T_OBJECT, offsetof(mhx_kind_call, operation), READONLY,
     "'malloc', 'calloc', 'memalign', 'realloc' or 'free'."},
    {"kind", T_OBJECT, offsetof(mhx_kind_call, kind), 0, "The Kind; `pre` may set another."},
    {"address", T_OBJECT, offsetof(mhx_kind_call, address), 0, "Of the block to resize or free, else None."},
    {"count", T_OBJECT, offsetof(mhx_kind_call, count), 0, "Of calloc, else 0."},
    {"size", T_OBJECT, offsetof(mhx_kind_call, size), 0, "Bytes asked for."},
    {"alignment", T_OBJECT, offsetof(mhx_kind_call, alignment), 0, "Of memalign, else 0."},
    {"result", T_OBJECT, offsetof(mhx_kind_call, result), 0,
     "For `post`: the address that is returned, None if there is none; it may set another."},
    {NULL, 0, 0, 0, NULL},
};

static PyObject **field_of(PyObject *object, const PyMemberDef *member) {
  return (PyObject **)((char *)object + member->offset);
}

static int traverse_call(PyObject *object, visitproc visit, void *arg) {
  Py_VISIT(Py_TYPE(object));
  for (PyMemberDef *m = call_members; m->name != NULL; m++) Py_VISIT(*field_of(object, m));
  return 0;
}

static int clear_call(PyObject *object) {
  for (PyMemberDef *m = call_members; m->name != NULL; m++) Py_CLEAR(*field_of(object, m));
  return 0;
}

static void dealloc_call(PyObject *object) {
  PyTypeObject *type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  clear_call(object);
  type->tp_free(object);
  Py_DECREF(type);
}

static PyType_Slot call_slots[] = {
    {Py_tp_doc, "A call on a kind, as its decorators see and may change it."},
    {Py_tp_traverse, traverse_call},
    {Py_tp_clear, clear_call},
    {Py_tp_dealloc, dealloc_call},
    {Py_tp_members, call_members},
    {0, NULL},
};

PyType_Spec mhx_kind_call_spec = {
    .name = "mheap.kinds.KindCall",
    .basicsize = sizeof(mhx_kind_call),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = call_slots,
};

static PyObject *call_object(mhx_kind *self, const mheap_kind_call *from) {
  PyTypeObject *type = self->state->kind_call_type;
  mhx_kind_call *call = (mhx_kind_call *)type->tp_alloc(type, 0);
  if (call == NULL) return NULL;
  call->operation = PyUnicode_InternFromString(operations[from->operation]);
  bool other = from->kind != self->kind && from->kind != NULL;
  call->kind = other ? mhx_kind_object(self->state, from->kind, NULL) : Py_NewRef((PyObject *)self);
  call->address = mhx_from_address(from->block);
  call->count = PyLong_FromSize_t(from->count);
  call->size = PyLong_FromSize_t(from->size);
  call->alignment = PyLong_FromSize_t(from->alignment);
  call->result = mhx_from_address(from->result);
  if (!PyErr_Occurred()) return (PyObject *)call;
  Py_DECREF(call);
  return NULL;
}

/* What `pre` made of it. */
static int take_inputs(mhx_kind *self, mhx_kind_call *call, mheap_kind_call *to) {
  if (call->kind == NULL || !Py_IS_TYPE(call->kind, self->state->kind_type)) {
    PyErr_SetString(PyExc_TypeError, "call.kind must be a Kind");
    return -1;
  }
  mheap_kind *kind = mhx_kind_live((mhx_kind *)call->kind);
  if (kind == NULL) return -1;
  to->kind = kind;
  if (mhx_address(call->address != NULL ? call->address : Py_None, &to->block) < 0) return -1;
  if (call->count == NULL || call->size == NULL || call->alignment == NULL) {
    PyErr_SetString(PyExc_AttributeError, "a number of the call was deleted");
    return -1;
  }
  if (mhx_size(call->count, &to->count) < 0 || mhx_size(call->size, &to->size) < 0) return -1;
  return mhx_size(call->alignment, &to->alignment);
}

static int call_python(PyObject *function, PyObject *call) {
  PyObject *result = PyObject_CallOneArg(function, call);
  Py_XDECREF(result);
  return result != NULL ? 0 : -1;
}

/* From a thread of C's own, nobody hears of an exception. */
static void end_decorator(bool foreign, PyGILState_STATE state, PyObject *function) {
  if (!foreign) return;
  if (PyErr_Occurred()) PyErr_WriteUnraisable(function);
  PyGILState_Release(state);
}

static mheap_err run_pre(void *arg, mheap_kind_call *call) {
  mhx_kind *self = arg;
  bool foreign = !PyGILState_Check();
  PyGILState_STATE state = foreign ? PyGILState_Ensure() : PyGILState_LOCKED;
  PyObject *pre = Py_XNewRef(self->pre);
  PyObject *object = pre != NULL ? call_object(self, call) : NULL;
  int failed = pre == NULL    ? 0
               : object == NULL ? -1
                                : call_python(pre, object);
  if (!failed && object != NULL) failed = take_inputs(self, (mhx_kind_call *)object, call);
  Py_XDECREF(object);
  end_decorator(foreign, state, pre);
  Py_XDECREF(pre);
  return failed ? MHEAP_ERR_ARGUMENT : MHEAP_OK;
}

static void run_post(void *arg, mheap_kind_call *call) {
  mhx_kind *self = arg;
  bool foreign = !PyGILState_Check();
  PyGILState_STATE state = foreign ? PyGILState_Ensure() : PyGILState_LOCKED;
  PyObject *post = Py_XNewRef(self->post);
  mhx_kind_call *object = post != NULL ? (mhx_kind_call *)call_object(self, call) : NULL;
  void *result = call->result;
  if (object != NULL && call_python(post, (PyObject *)object) == 0 &&
      mhx_address(object->result != NULL ? object->result : Py_None, &result) == 0)
    call->result = result;
  Py_XDECREF(object);
  end_decorator(foreign, state, post);
  Py_XDECREF(post);
}

static int check_callable(const char *name, PyObject *function) {
  if (function == NULL || function == Py_None || PyCallable_Check(function)) return 0;
  PyErr_Format(PyExc_TypeError, "%s must be callable or None, not %.200s", name, Py_TYPE(function)->tp_name);
  return -1;
}

static void set_function(PyObject **field, PyObject *function) {
  PyObject *old = *field;
  *field = function != NULL && function != Py_None ? Py_NewRef(function) : NULL;
  Py_XDECREF(old);
}

static PyObject *decorate(PyObject *object, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  static const char *const names[] = {"pre", "post", NULL};
  mhx_kind *self = (mhx_kind *)object;
  PyObject *given[2];
  if (mhx_arguments("decorate", names, 0, args, nargs, kwnames, given) < 0) return NULL;
  if (check_callable("pre", given[0]) < 0 || check_callable("post", given[1]) < 0) return NULL;
  mheap_kind *kind = mhx_kind_live(self);
  if (kind == NULL) return NULL;
  mheap_kind_decorate(kind, NULL);
  set_function(&self->pre, given[0]);
  set_function(&self->post, given[1]);
  self->decorators = (mheap_kind_decorators){run_pre, run_post, self};
  if (self->pre != NULL || self->post != NULL) mheap_kind_decorate(kind, &self->decorators);
  Py_RETURN_NONE;
}

/* ---- the table ---- */

#define FAST(name, doc) {#name, (PyCFunction)(void (*)(void))kind_##name, METH_FASTCALL, doc}
#define FAILS "Raises HeapFull, SizeOverflow, ReadOnlyHeap, ClosedHeap or StaleObject."

PyMethodDef mhx_kind_methods[] = {
    {"malloc", kind_malloc, METH_O,
     "malloc($self, size, /)\n--\n\n"
     "Allocates `size` bytes from the arena of the calling thread and returns their address.\n\n" FAILS},
    FAST(calloc, "calloc($self, count, size, /)\n--\n\n"
                 "Allocates count * size bytes, all zero. A product that overflows raises SizeOverflow."),
    FAST(memalign, "memalign($self, alignment, size, /)\n--\n\n"
                   "Allocates `size` bytes at a multiple of `alignment`, a power of two."),
    FAST(realloc, "realloc($self, address, size, /)\n--\n\n"
                  "Resizes a block of the kind and returns its address, perhaps new.\n\n"
                  "None for `address` is malloc(size). On failure the old block stays as it was. What is no\n"
                  "block of this kind raises InvalidPointer or DoubleFree."),
    {"free", kind_free, METH_O,
     "free($self, address, /)\n--\n\n"
     "Frees a block of the kind, whichever arena it is from. None: nothing.\n\n"
     "What is no block of this kind raises InvalidPointer or DoubleFree; nothing is changed then."},
    {"usable_size", kind_usable_size, METH_O,
     "usable_size($self, address, /)\n--\n\nThe bytes that may be used at `address`; 0 for None."},
    {"thread_arena", thread_arena, METH_NOARGS,
     "thread_arena($self, /)\n--\n\nThe number of the arena that the calling thread uses."},
    {"bijective_arena", bijective_arena, METH_NOARGS,
     "bijective_arena($self, /)\n--\n\n"
     "The number of the only arena; InvalidArgument unless the policy is 'bijective'."},
    FAST(view, "view($self, address, size, /)\n--\n\n"
               "The first bytes of a block of the kind as a memoryview: nothing is copied.\n\n"
               "It keeps the kind from being destroyed, and its heap from being detached, until it is\n"
               "released. Freeing the block under a view is the caller's mistake, as in C."),
    {"decorate", (PyCFunction)(void (*)(void))decorate, METH_FASTCALL | METH_KEYWORDS,
     "decorate($self, /, pre=None, post=None)\n--\n\n"
     "From now on, `pre` and `post` are called around every call that allocates, resizes or frees.\n\n"
     "Both get a KindCall: pre(call) may change what goes in, post(call) what comes out. A call whose\n"
     "`pre` raises is not made; what either raises, the call raises. None: none. They last as long as\n"
     "this object."},
    {"destroy", mhx_kind_destroy, METH_NOARGS,
     "destroy($self, /)\n--\n\nFrees every block of the kind, and the kind.\n\n"
     "Nothing if that was done before. No other thread may be using it. Raises BufferError while\n"
     "views of it are exported."},
    {"__enter__", mhx_kind_enter, METH_NOARGS, "__enter__($self, /)\n--\n\nThe kind itself."},
    {"__exit__", (PyCFunction)(void (*)(void))mhx_kind_leave, METH_FASTCALL,
     "__exit__($self, /, *args)\n--\n\nDestroys a kind in memory; one that is stored stays."},
    {NULL, NULL, 0, NULL},
};
