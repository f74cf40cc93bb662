/* arenas.c: arenas, and the type ArenaId.

   Owns: the objects whose memory is lent to arenas, for as long as it is. mheap/arenas.py gives all of
   this the names that users see. The core knows an arena by a number of the process; an ArenaId
   knows the main heap it is in, too, so that it is refused once that is closed. */
#include <string.h>

#include "ext.h"

/* ---- ArenaId ---- */

typedef struct arena_id {
  PyObject_HEAD mheap_arena arena;
  mhx_handle *heap;    /* the main heap it is in; NULL: it is memory of its own */
  unsigned long forks; /* mhx_forks when the number was told */
} arena_id;

PyObject *mhx_arena_id(mhx_state *state, mheap_arena arena, mhx_handle *heap) {
  arena_id *id = (arena_id *)state->arena_type->tp_alloc(state->arena_type, 0);
  if (id == NULL) return NULL;
  id->arena = arena;
  id->heap = (mhx_handle *)Py_XNewRef((PyObject *)heap);
  id->forks = mhx_forks;
  return (PyObject *)id;
}

/* Is the heap it is in still there? A forked child attaches files anew, and has other numbers for what
   is in them. 0, or -1 with an exception. */
static int check_id(const arena_id *id) {
  if (id->heap == NULL) return 0;
  if (id->forks == mhx_forks || id->heap->path == Py_None) return mhx_live(id->heap) != NULL ? 0 : -1;
  mhx_refuse(MHEAP_ERR_FORKED, "arena %d: the number is the parent process's; list the heap's arenas again",
             id->arena);
  return -1;
}

int mhx_arena_number(mhx_state *state, PyObject *value, mheap_arena *arena, mhx_handle **heap) {
  if (!Py_IS_TYPE(value, state->arena_type)) {
    PyErr_Format(PyExc_TypeError, "an arena must be an ArenaId, not %.200s", Py_TYPE(value)->tp_name);
    return -1;
  }
  const arena_id *id = (const arena_id *)value;
  *arena = id->arena;
  *heap = id->heap;
  return check_id(id);
}

/* Raises what a function of arenas left as the default heap's error. */
static PyObject *raise_arena(const mhx_handle *heap) {
  mheap_subproc back = mhx_go_home();
  mheap_error error = *mheap_last_error(NULL);
  mhx_come_back(back);
  return mhx_raise_error_at(&error, heap != NULL ? heap->path : NULL);
}

static int info_of(PyObject *self, mheap_arena_info *info) {
  const arena_id *id = (const arena_id *)self;
  if (check_id(id) < 0) return -1;
  if (mheap_arena_get_info(id->arena, info) == MHEAP_OK) return 0;
  raise_arena(id->heap);
  return -1;
}

static int traverse(PyObject *self, visitproc visit, void *arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT((PyObject *)((arena_id *)self)->heap);
  return 0;
}

static void dealloc(PyObject *self) {
  PyTypeObject *type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  Py_XDECREF((PyObject *)((arena_id *)self)->heap);
  type->tp_free(self);
  Py_DECREF(type);
}

static PyObject *repr(PyObject *self) {
  const arena_id *id = (const arena_id *)self;
  mheap_arena_info info;
  if (check_id(id) < 0 || mheap_arena_get_info(id->arena, &info) != MHEAP_OK) {
    PyErr_Clear();
    return PyUnicode_FromFormat("<mheap.arenas.ArenaId %d, gone>", id->arena);
  }
  return PyUnicode_FromFormat("<mheap.arenas.ArenaId %d, %p, %llu bytes%s%s%s>", id->arena, info.start,
                              (unsigned long long)info.size, info.exclusive ? ", exclusive" : "",
                              info.stored ? ", stored" : "", info.lent ? ", lent" : "");
}

static PyObject *compare(PyObject *self, PyObject *other, int how) {
  if (!Py_IS_TYPE(other, Py_TYPE(self)) || (how != Py_EQ && how != Py_NE)) Py_RETURN_NOTIMPLEMENTED;
  const arena_id *one = (const arena_id *)self, *two = (const arena_id *)other;
  return PyBool_FromLong((one->arena == two->arena && one->heap == two->heap) == (how == Py_EQ));
}

static Py_hash_t hash(PyObject *self) { return ((arena_id *)self)->arena; }

static PyObject *reduce(PyObject *self, PyObject *unused) {
  (void)unused;
  PyErr_Format(
      PyExc_TypeError,
      "cannot pickle an ArenaId (%d): the number is this process's; a heap's arenas are listed there, "
      "with mheap.arenas.list(heap)",
      ((arena_id *)self)->arena);
  return NULL;
}

/* ---- its attributes ---- */

static PyObject *get_id(PyObject *self, void *unused) {
  (void)unused;
  return PyLong_FromLong(((arena_id *)self)->arena);
}

static PyObject *get_heap(PyObject *self, void *unused) {
  (void)unused;
  PyObject *heap = (PyObject *)((arena_id *)self)->heap;
  return Py_NewRef(heap != NULL ? heap : Py_None);
}

static PyObject *get_area(PyObject *self, void *unused) {
  (void)unused;
  mheap_arena_info info;
  if (info_of(self, &info) < 0) return NULL;
  return Py_BuildValue("(NK)", mhx_from_address(info.start), (unsigned long long)info.size);
}

static PyObject *get_address(PyObject *self, void *unused) {
  (void)unused;
  mheap_arena_info info;
  return info_of(self, &info) < 0 ? NULL : mhx_from_address(info.start);
}

static PyObject *get_node(PyObject *self, void *unused) {
  (void)unused;
  mheap_arena_info info;
  if (info_of(self, &info) < 0) return NULL;
  if (info.numa_node < 0) Py_RETURN_NONE;
  return PyLong_FromLong(info.numa_node);
}

static PyObject *get_bytes(PyObject *self, void *offset) {
  mheap_arena_info info;
  if (info_of(self, &info) < 0) return NULL;
  return PyLong_FromUnsignedLongLong(*(uint64_t *)((char *)&info + (uintptr_t)offset));
}

static PyObject *get_flag(PyObject *self, void *offset) {
  mheap_arena_info info;
  if (info_of(self, &info) < 0) return NULL;
  return PyBool_FromLong(*(bool *)((char *)&info + (uintptr_t)offset));
}

#define FIELD(name) (void *)offsetof(mheap_arena_info, name)

static PyGetSetDef properties[] = {
    {"id", get_id, NULL, "The number it has in this process, 1 and up.", NULL},
    {"heap", get_heap, NULL, "The main heap of the region it is in; None: it is memory of its own.", NULL},
    {"area", get_area, NULL, "(address, size): where it is in this process, and its bytes.", NULL},
    {"address", get_address, NULL, "Where it begins in this process.", NULL},
    {"size", get_bytes, NULL, "Bytes it has.", FIELD(size)},
    {"used", get_bytes, NULL, "Bytes of slices and segments in use, headers included.", FIELD(used)},
    {"exclusive", get_flag, NULL, "Whether only heaps made for it allocate there.", FIELD(exclusive)},
    {"committed", get_flag, NULL, "Whether its memory or disk space is there as a whole.", FIELD(committed)},
    {"stored", get_flag, NULL, "Whether it is in a file.", FIELD(stored)},
    {"lent", get_flag, NULL, "Whether it is memory given to manage_os_memory.", FIELD(lent)},
    {"pinned", get_flag, NULL, "Whether its pages are never given back in parts.", FIELD(pinned)},
    {"numa_node", get_node, NULL, "The NUMA node it prefers; None: none.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef methods[] = {
    {"__reduce__", reduce, METH_NOARGS, "__reduce__($self, /)\n--\n\nRefused: TypeError."},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(arena_doc,
             "An arena: a part of a heap's file, or memory of its own, from which heaps take their space.\n\n"
             "The functions of mheap.arenas make and list them. Two are equal that mean the same arena. Its\n"
             "number is this process's; the attributes are looked up each time. They raise InvalidArgument\n"
             "once the arena was released, and ClosedHeap with the heap it is in.");

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)arena_doc},
    {Py_tp_traverse, traverse},
    {Py_tp_dealloc, dealloc},
    {Py_tp_repr, repr},
    {Py_tp_richcompare, compare},
    {Py_tp_hash, hash},
    {Py_tp_getset, properties},
    {Py_tp_methods, methods},
    {0, NULL},
};

PyType_Spec mhx_arena_spec = {
    .name = "mheap.arenas.ArenaId",
    .basicsize = sizeof(arena_id),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

/* ---- reserving ---- */

static int flags_of(PyObject *const *values, bool *const *flags) {
  for (int i = 0; flags[i] != NULL; i++) {
    int is = PyObject_IsTrue(values[i]);
    if (is < 0) return -1;
    *flags[i] = is != 0;
  }
  return 0;
}

static PyObject *arena_reserve(PyObject *module, PyObject *const *args, Py_ssize_t nargs) {
  if (nargs != 5) return mhx_arity("arena_reserve", 5, nargs);
  mheap_arena_options options = {.commit = false};
  bool *flags[] = {&options.commit, &options.allow_large, &options.exclusive, NULL};
  size_t size;
  mhx_handle *handle;
  mhx_use use;
  if (mhx_md(module, args[0], &handle) < 0 || mhx_size(args[1], &size) < 0) return NULL;
  if (flags_of(args + 2, flags) < 0) return NULL;
  mheap *heap = mhx_use_begin(handle, &use);
  if (heap == NULL) return NULL;
  mheap_arena arena = 0;
  mheap_err result;
  mheap_subproc back = mhx_go_home();
  Py_BEGIN_ALLOW_THREADS result = mheap_arena_reserve(handle != NULL ? heap : NULL, size, &options, &arena);
  Py_END_ALLOW_THREADS mhx_come_back(back);
  mhx_handle *main = handle != NULL && handle->main != NULL ? handle->main : handle;
  PyObject *id = NULL;
  if (result != MHEAP_OK) mhx_raise(handle != NULL ? heap : NULL);
  else id = mhx_arena_id(mhx_state_of(module), arena, main != NULL && main->resident ? NULL : main);
  mhx_use_end(handle, &use);
  return id;
}

/* What was obtained before the error, as the exception's `arena`. */
static PyObject *raise_with_arena(mhx_state *state, mheap_arena arena) {
  raise_arena(NULL);
  if (arena == 0) return NULL;
  mhx_pending pending = mhx_pending_take();
  PyObject *id = mhx_arena_id(state, arena, NULL);
#if PY_VERSION_HEX >= 0x030c0000
  PyObject *exception = pending.value;
#else
  PyErr_NormalizeException(&pending.type, &pending.value, &pending.traceback);
  PyObject *exception = pending.value;
#endif
  if (id == NULL || exception == NULL || PyObject_SetAttrString(exception, "arena", id) < 0) PyErr_Clear();
  Py_XDECREF(id);
  mhx_pending_restore(&pending);
  return NULL;
}

/* None and -1: no node. */
static int node_of(PyObject *value, int *node) {
  *node = -1;
  if (value == Py_None) return 0;
  if (mhx_int(value, node) < 0) return -1;
  if (*node >= -1 && *node < 65536) return 0;
  mhx_refuse(MHEAP_ERR_ARGUMENT, "no NUMA node %d: they are 0 and up; -1 or None is any", *node);
  return -1;
}

static PyObject *arena_reserve_huge(PyObject *module, PyObject *const *args, Py_ssize_t nargs) {
  if (nargs != 4) return mhx_arity("arena_reserve_huge", 4, nargs);
  size_t pages, timeout;
  int node, exclusive;
  if (mhx_size(args[0], &pages) < 0 || node_of(args[1], &node) < 0 || mhx_size(args[2], &timeout) < 0)
    return NULL;
  if ((exclusive = PyObject_IsTrue(args[3])) < 0) return NULL;
  mheap_arena arena = 0;
  mheap_err result;
  mheap_subproc back = mhx_go_home();
  Py_BEGIN_ALLOW_THREADS result =
      mheap_arena_reserve_huge_pages(pages, node, timeout, exclusive != 0, &arena);
  Py_END_ALLOW_THREADS mhx_come_back(back);
  mhx_state *state = mhx_state_of(module);
  return result == MHEAP_OK ? mhx_arena_id(state, arena, NULL) : raise_with_arena(state, arena);
}

static PyObject *arena_interleave_huge(PyObject *module, PyObject *const *args, Py_ssize_t nargs) {
  (void)module;
  if (nargs != 3) return mhx_arity("arena_interleave_huge", 3, nargs);
  size_t pages, nodes, timeout;
  if (mhx_size(args[0], &pages) < 0 || mhx_size(args[1], &nodes) < 0) return NULL;
  if (mhx_size(args[2], &timeout) < 0) return NULL;
  mheap_err result;
  mheap_subproc back = mhx_go_home();
  Py_BEGIN_ALLOW_THREADS result = mheap_arena_reserve_huge_pages_interleave(pages, nodes, timeout);
  Py_END_ALLOW_THREADS mhx_come_back(back);
  if (result != MHEAP_OK) return raise_arena(NULL);
  Py_RETURN_NONE;
}

/* ---- memory that is lent ---- */

typedef struct loan {
  struct loan *next;
  mheap_arena arena;
  Py_buffer buffer; /* its export is held; obj NULL: an address, which the caller keeps valid */
  PyObject *owner;  /* kept, too: it may close what it exported when it dies */
  PyInterpreterState *interpreter;
} loan;

static loan *loans; /* of all interpreters, which share one GIL */

static void end_loan(loan *self) {
  PyBuffer_Release(&self->buffer);
  Py_XDECREF(self->owner);
  PyMem_RawFree(self);
}

static loan *new_loan(void) {
  loan *self = PyMem_RawCalloc(1, sizeof *self);
  if (self == NULL) return PyErr_NoMemory(), NULL;
  self->interpreter = PyInterpreterState_Get();
  return self;
}

/* A SharedMemory has its buffer as an attribute. */
static int get_buffer(PyObject *memory, Py_buffer *buffer) {
  if (PyObject_CheckBuffer(memory)) return PyObject_GetBuffer(memory, buffer, PyBUF_WRITABLE);
  PyObject *buf = PyObject_GetAttrString(memory, "buf");
  if (buf == NULL && !PyErr_ExceptionMatches(PyExc_AttributeError)) return -1;
  PyErr_Clear();
  int failed = PyObject_GetBuffer(buf != NULL ? buf : memory, buffer, PyBUF_WRITABLE);
  Py_XDECREF(buf);
  return failed;
}

/* The memory of a buffer, or (size given) at an address. 0, or -1 with an exception. */
static int borrow(loan *self, PyObject *memory, PyObject *size, void **start, size_t *bytes) {
  if (PyIndex_Check(memory) && !PyObject_CheckBuffer(memory)) {
    if (size != Py_None) return mhx_address(memory, start) < 0 ? -1 : mhx_size(size, bytes);
    PyErr_SetString(PyExc_TypeError, "manage_os_memory: an address needs a size");
    return -1;
  }
  if (get_buffer(memory, &self->buffer) < 0) return -1;
  *start = self->buffer.buf;
  *bytes = (size_t)self->buffer.len;
  if (size == Py_None) return 0;
  size_t wanted;
  if (mhx_size(size, &wanted) < 0) return -1;
  if (wanted > *bytes) {
    mhx_refuse(MHEAP_ERR_ARGUMENT, "manage_os_memory: the buffer has %zu bytes, not %zu", *bytes, wanted);
    return -1;
  }
  *bytes = wanted;
  return 0;
}

static PyObject *manage(mhx_state *state, loan *self, void *start, size_t bytes,
                        const mheap_arena_options *options) {
  mheap_err result;
  mheap_subproc back = mhx_go_home();
  Py_BEGIN_ALLOW_THREADS result = mheap_arena_manage(start, bytes, options, &self->arena);
  Py_END_ALLOW_THREADS mhx_come_back(back);
  if (result != MHEAP_OK) return raise_arena(NULL);
  PyObject *id = mhx_arena_id(state, self->arena, NULL);
  if (id == NULL) mheap_arena_release(self->arena);
  return id;
}

/* args: memory, size, is_committed, is_large, is_zero, exclusive, numa_node. */
static PyObject *arena_manage(PyObject *module, PyObject *const *args, Py_ssize_t nargs) {
  if (nargs != 7) return mhx_arity("arena_manage", 7, nargs);
  mheap_arena_options options = {.commit = false};
  bool *flags[] = {&options.commit, &options.is_large, &options.is_zero, &options.exclusive, NULL};
  int node;
  void *start;
  size_t bytes;
  if (flags_of(args + 2, flags) < 0 || node_of(args[6], &node) < 0) return NULL;
  options.numa_node = MHEAP_NODE(node);
  loan *self = new_loan();
  if (self == NULL) return NULL;
  PyObject *id = borrow(self, args[0], args[1], &start, &bytes) == 0
                     ? manage(mhx_state_of(module), self, start, bytes, &options)
                     : NULL;
  if (id == NULL) return end_loan(self), NULL;
  self->owner = Py_NewRef(args[0]);
  self->next = loans;
  loans = self;
  return id;
}

/* The memory is its owner's again; that of an interpreter that is gone stays as it is. */
void mhx_arenas_give_back(mheap_arena arena) {
  loan **link = &loans;
  while (*link != NULL && (*link)->arena != arena) link = &(*link)->next;
  loan *self = *link;
  if (self == NULL) return;
  *link = self->next;
  if (self->interpreter == PyInterpreterState_Get()) end_loan(self);
}

/* ---- looking at arenas, and changing them ---- */

static PyObject *arena_grow(PyObject *module, PyObject *const *args, Py_ssize_t nargs) {
  if (nargs != 2) return mhx_arity("arena_grow", 2, nargs);
  mheap_arena arena;
  mhx_handle *heap;
  size_t size;
  mhx_use use;
  if (mhx_size(args[1], &size) < 0) return NULL;
  if (mhx_arena_number(mhx_state_of(module), args[0], &arena, &heap) < 0) return NULL;
  if (mhx_use_begin(heap, &use) == NULL) return NULL;
  mheap_err result;
  Py_BEGIN_ALLOW_THREADS result = mheap_arena_grow(arena, size);
  Py_END_ALLOW_THREADS if (result != MHEAP_OK) raise_arena(heap);
  mhx_use_end(heap, &use);
  return result == MHEAP_OK ? Py_NewRef(Py_None) : NULL;
}

static int check_views(mheap_arena arena) {
  size_t size;
  void *start = mheap_arena_area(arena, &size);
  if (start == NULL || !mhx_view_within(start, size)) return 0;
  PyErr_Format(PyExc_BufferError, "cannot release arena %d: views of it are exported; release them first",
               arena);
  return -1;
}

static PyObject *arena_release(PyObject *module, PyObject *id) {
  mheap_arena arena;
  mhx_handle *heap;
  if (mhx_arena_number(mhx_state_of(module), id, &arena, &heap) < 0 || check_views(arena) < 0) return NULL;
  if (mheap_arena_release(arena) != MHEAP_OK) return raise_arena(heap);
  mhx_arenas_give_back(arena);
  Py_RETURN_NONE;
}

static PyObject *arena_area(PyObject *module, PyObject *id) {
  mheap_arena arena;
  mhx_handle *heap;
  if (mhx_arena_number(mhx_state_of(module), id, &arena, &heap) < 0) return NULL;
  return get_area(id, NULL);
}

static PyObject *arena_min_alignment(PyObject *module, PyObject *unused) {
  (void)module, (void)unused;
  return PyLong_FromSize_t(mheap_arena_min_alignment());
}

static PyObject *arena_debug_show(PyObject *module, PyObject *const *args, Py_ssize_t nargs) {
  (void)module;
  if (nargs != 3) return mhx_arity("arena_debug_show", 3, nargs);
  bool in_use, abandoned, purge, *flags[] = {&in_use, &abandoned, &purge, NULL};
  if (flags_of(args, flags) < 0) return NULL;
  mheap_debug_show_arenas(in_use, abandoned, purge);
  Py_RETURN_NONE;
}

typedef struct listing {
  mhx_state *state;
  mhx_handle *heap;
  PyObject *list;
} listing;

static bool list_one(void *arg, const mheap_arena_info *info) {
  listing *self = arg;
  PyObject *id = mhx_arena_id(self->state, info->arena, self->heap);
  if (id == NULL) return false;
  int failed = PyList_Append(self->list, id);
  Py_DECREF(id);
  return failed == 0;
}

static PyObject *arena_list(PyObject *module, PyObject *md) {
  mhx_handle *handle;
  if (mhx_md(module, md, &handle) < 0) return NULL;
  mhx_handle *main = handle != NULL && handle->main != NULL ? handle->main : handle;
  mheap *heap = mhx_live(handle);
  if (heap == NULL) return NULL;
  listing self = {mhx_state_of(module), main != NULL && main->resident ? NULL : main, PyList_New(0)};
  if (self.list == NULL) return NULL;
  int collects = PyGC_Disable(); /* a finalizer could release one meanwhile */
  mheap_subproc back = mhx_go_home();
  mheap_err result = mheap_visit_arenas(handle != NULL ? heap : NULL, list_one, &self);
  mhx_come_back(back);
  if (collects) PyGC_Enable();
  if (result != MHEAP_OK && !PyErr_Occurred()) mhx_raise(heap);
  if (!PyErr_Occurred()) return self.list;
  Py_DECREF(self.list);
  return NULL;
}

PyMethodDef mhx_arenas_functions[] = {
    {"arena_reserve", (PyCFunction)(void (*)(void))arena_reserve, METH_FASTCALL,
     "arena_reserve($module, md, size, commit, allow_large, exclusive, /)\n--\n\nSee mheap.arenas."},
    {"arena_manage", (PyCFunction)(void (*)(void))arena_manage, METH_FASTCALL,
     "arena_manage($module, memory, size, is_committed, is_large,\n"
     "             is_zero, exclusive, numa_node, /)\n--\n\nSee mheap.arenas."},
    {"arena_reserve_huge", (PyCFunction)(void (*)(void))arena_reserve_huge, METH_FASTCALL,
     "arena_reserve_huge($module, pages, node, timeout, exclusive, /)\n--\n\nSee mheap.arenas."},
    {"arena_interleave_huge", (PyCFunction)(void (*)(void))arena_interleave_huge, METH_FASTCALL,
     "arena_interleave_huge($module, pages, nodes, timeout, /)\n--\n\nSee mheap.arenas."},
    {"arena_grow", (PyCFunction)(void (*)(void))arena_grow, METH_FASTCALL,
     "arena_grow($module, id, size, /)\n--\n\nSee mheap.arenas."},
    {"arena_release", arena_release, METH_O, "arena_release($module, id, /)\n--\n\nSee mheap.arenas."},
    {"arena_area", arena_area, METH_O, "arena_area($module, id, /)\n--\n\nSee mheap.arenas."},
    {"arena_min_alignment", arena_min_alignment, METH_NOARGS,
     "arena_min_alignment($module, /)\n--\n\nSee mheap.arenas."},
    {"arena_debug_show", (PyCFunction)(void (*)(void))arena_debug_show, METH_FASTCALL,
     "arena_debug_show($module, in_use, abandoned, purge, /)\n--\n\nSee mheap.arenas."},
    {"arena_list", arena_list, METH_O, "arena_list($module, md, /)\n--\n\nSee mheap.arenas."},
    {NULL, NULL, 0, NULL},
};
