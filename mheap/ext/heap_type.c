/* heap_type.c: the type Heap: its life, properties, and the calls that are about the heap as
   a whole. What allocates, roots, views, counts and checks is in the files named so.

   Owns nothing but the type; handles.c owns the handle's state. */
#include <errno.h>

#include "ext.h"

#undef errno /* a function of ours has that name */

/* ---- life ---- */

static int traverse(PyObject *self, visitproc visit, void *arg) {
  mhx_handle *handle = (mhx_handle *)self;
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(handle->guard.on_error);
  Py_VISIT((PyObject *)handle->main);
  for (mhx_handle *other = handle->others; other != NULL; other = other->other)
    if (other->kept) Py_VISIT((PyObject *)other);
  return 0;
}

static int clear(PyObject *self) {
  Py_CLEAR(((mhx_handle *)self)->guard.on_error);
  return 0;
}

static void warn_unclosed(mhx_handle *handle) {
  if (PyErr_ResourceWarning((PyObject *)handle, 1, "unclosed heap %R", handle) < 0)
    PyErr_WriteUnraisable((PyObject *)handle);
}

/* Collected without close. Nobody is left to hear that detaching failed, so then the heap is
   abandoned, as by the death of the process: the next attach repairs. */
static void finalize(PyObject *self) {
  mhx_handle *handle = (mhx_handle *)self;
  if (mhx_is_closed(handle)) return;
  mhx_pending pending = mhx_pending_take();
  if (handle->forks == mhx_forks && handle->main == NULL && !handle->resident) warn_unclosed(handle);
  if (mhx_detach(handle) < 0) mhx_give_up(handle);
  mhx_pending_restore(&pending);
}

static void dealloc(PyObject *self) {
  mhx_handle *handle = (mhx_handle *)self;
  PyTypeObject *type = Py_TYPE(self);
  if (PyObject_CallFinalizerFromDealloc(self) < 0) return;
  PyObject_GC_UnTrack(self);
  if (handle->weakrefs != NULL) PyObject_ClearWeakRefs(self);
  mhx_guard_clear(&handle->guard);
  if (handle->main != NULL) mhx_handles_leave_main(handle);
  Py_CLEAR(handle->main);
  Py_CLEAR(handle->path);
  Py_CLEAR(handle->name);
  Py_CLEAR(handle->label);
  type->tp_free(self);
  Py_DECREF(type);
}

/* The region's name, and for what is not its main heap, which of its heaps. */
static PyObject *full_name(const mhx_handle *handle) {
  PyObject *name = handle->path == Py_None ? Py_NewRef(handle->name) : PyObject_Repr(handle->path);
  if (name == NULL || handle->main == NULL) return name;
  PyObject *full = handle->label != NULL
                       ? PyUnicode_FromFormat("%U, heap %R", name, handle->label)
                       : PyUnicode_FromFormat("%U, heap %u (tag %d)", name, (unsigned)handle->number,
                                              handle->tag);
  Py_DECREF(name);
  return full;
}

static PyObject *repr(PyObject *self) {
  mhx_handle *handle = (mhx_handle *)self;
  PyObject *name = full_name(handle);
  if (name == NULL) return NULL;
  const char *mode = mhx_mode_name(handle->mode);
  mheap_info info;
  PyObject *text;
  const char *state = NULL;
  if (handle->undone) state = "undone by a rollback";
  else if (mhx_is_closed(handle)) state = "closed";
  else if (handle->heap == NULL || handle->forks != mhx_forks) state = "inherited over a fork";
  else if (mheap_get_info(handle->heap, &info) != MHEAP_OK) state = "damaged";
  else if (handle->main != NULL) state = "attached";
  if (state != NULL)
    text = PyUnicode_FromFormat("<mheap.Heap %U, %s, %s>", name, mode, state);
  else
    text = PyUnicode_FromFormat("<mheap.Heap %U, %s, %llu bytes, attached>", name, mode,
                                (unsigned long long)info.size);
  Py_DECREF(name);
  return text;
}

/* ---- detach ---- */

static PyObject *op_detach(mhx_handle *handle, PyObject *const *args) {
  (void)args;
  if (handle == NULL || handle->is_default)
    return mhx_refuse(MHEAP_ERR_ARGUMENT, "the default heap cannot be detached");
  if (handle->resident)
    return mhx_refuse(MHEAP_ERR_ARGUMENT, "nobody attached this memory: it goes with its subprocess");
  if (handle->main != NULL && !mhx_is_closed(handle))
    return mhx_refuse(MHEAP_ERR_ARGUMENT,
                      "heap %u is detached with its region's main heap; close() lets go of it, destroy() and "
                      "delete() end it",
                      (unsigned)handle->number);
  if (mhx_detach(handle) < 0) return NULL;
  Py_RETURN_NONE;
}

/* Of the region's other heaps only this handle goes; of what nobody attached, nothing. */
static PyObject *op_close(mhx_handle *handle, PyObject *const *args) {
  (void)args;
  if (!handle->resident && mhx_detach(handle) < 0) return NULL;
  Py_RETURN_NONE;
}

static PyObject *enter(PyObject *self, PyObject *unused) {
  (void)unused;
  return mhx_live((mhx_handle *)self) != NULL ? Py_NewRef(self) : NULL;
}

/* What a block raised goes on as it is, whatever becomes of closing a heap that only discards. */
static PyObject *leave(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
  mhx_handle *handle = (mhx_handle *)self;
  bool failed = nargs > 0 && args[0] != Py_None;
  if (mhx_end_with(handle, failed) < 0) return NULL;
  PyObject *none = op_close(handle, args);
  if (none != NULL || !failed || handle->mode != MHEAP_MODE_ATOMIC) return none;
  PyErr_WriteUnraisable(self);
  Py_RETURN_NONE;
}

/* ---- sync ---- */

static PyObject *op_sync(mhx_handle *handle, PyObject *const *args) {
  (void)args;
  mhx_use use;
  mheap *heap = mhx_use_begin(handle, &use);
  if (heap == NULL) return NULL;
  mheap_err result;
  Py_BEGIN_ALLOW_THREADS
  result = mheap_sync(heap);
  Py_END_ALLOW_THREADS
  PyObject *none = mhx_none_or_error(heap, result);
  mhx_use_end(handle, &use);
  return none;
}

static PyObject *op_collapse(mhx_handle *handle, PyObject *const *args) {
  (void)args;
  mhx_use use;
  mheap *heap = mhx_use_begin(handle, &use);
  if (heap == NULL) return NULL;
  mheap_err result;
  Py_BEGIN_ALLOW_THREADS
  result = mheap_collapse(heap);
  Py_END_ALLOW_THREADS
  PyObject *none = mhx_none_or_error(heap, result);
  mhx_use_end(handle, &use);
  return none;
}

/* ---- small facts ---- */

static PyObject *op_errno(mhx_handle *handle, PyObject *const *args) {
  (void)args;
  mheap *heap = mhx_live(handle);
  return heap != NULL ? PyLong_FromLong(mheap_last_error(heap)->sys) : NULL;
}

static PyObject *op_fileno(mhx_handle *handle, PyObject *const *args) {
  (void)args;
  mheap_info info;
  if (mhx_info(handle, &info) < 0) return NULL;
  if (info.fd >= 0) return PyLong_FromLong(info.fd);
  mheap_error error = {.code = MHEAP_ERR_SYSTEM, .sys = EBADF, .text = "an anonymous heap has no file"};
  return mhx_raise_error(&error);
}

static PyObject *attach_function(const char *name) {
  PyObject *module = PyImport_ImportModule("mheap._attach");
  PyObject *function = module != NULL ? PyObject_GetAttrString(module, name) : NULL;
  Py_XDECREF(module);
  return function;
}

/* Its main heap, which may not be pickled, and which one. */
static PyObject *reduce_other(mhx_handle *handle) {
  PyObject *find = attach_function(handle->label != NULL ? "find_named" : "find");
  if (find != NULL && handle->label != NULL)
    return Py_BuildValue("(N(OO))", find, (PyObject *)handle->main, handle->label);
  if (find == NULL) return NULL;
  return Py_BuildValue("(N(OIi))", find, (PyObject *)handle->main, (unsigned)handle->number, handle->tag);
}

static PyObject *op___reduce__(mhx_handle *handle, PyObject *const *args) {
  (void)args;
  if (handle->main != NULL) return reduce_other(handle);
  if (handle->path == Py_None) {
    PyErr_Format(PyExc_TypeError,
                 "cannot pickle this heap (%U): it has no path that another process could attach",
                 handle->name);
    return NULL;
  }
  PyObject *reopen = attach_function("reopen");
  if (reopen == NULL) return NULL;
  return Py_BuildValue("(N(Os))", reopen, handle->path, mhx_mode_name(handle->mode));
}

/* ---- properties ---- */

static PyObject *get_closed(PyObject *self, void *unused) {
  (void)unused;
  return PyBool_FromLong(mhx_is_closed((mhx_handle *)self));
}

static PyObject *get_path(PyObject *self, void *unused) {
  (void)unused;
  return Py_NewRef(((mhx_handle *)self)->path);
}

static PyObject *get_mode(PyObject *self, void *unused) {
  (void)unused;
  return PyUnicode_InternFromString(mhx_mode_name(((mhx_handle *)self)->mode));
}

static PyObject *get_dirty(PyObject *self, void *unused) {
  (void)unused;
  return mhx_dirty((mhx_handle *)self);
}

/* A number of mheap_info, at the offset given. */
static PyObject *get_number(PyObject *self, void *offset) {
  mheap_info info;
  if (mhx_info((mhx_handle *)self, &info) < 0) return NULL;
  return PyLong_FromUnsignedLongLong(*(uint64_t *)((char *)&info + (uintptr_t)offset));
}

static PyObject *get_uuid(PyObject *self, void *unused) {
  (void)unused;
  mheap_info info;
  return mhx_info((mhx_handle *)self, &info) < 0 ? NULL : mhx_uuid_text(info.uuid);
}

static PyObject *get_roots(PyObject *self, void *unused) {
  (void)unused;
  if (mhx_live((mhx_handle *)self) == NULL || mhx_only_main((mhx_handle *)self) < 0) return NULL;
  PyObject *module = PyImport_ImportModule("mheap.roots");
  if (module == NULL) return NULL;
  PyObject *roots = PyObject_CallMethod(module, "Roots", "O", self);
  Py_DECREF(module);
  return roots;
}

static PyObject *get_main_of(PyObject *self) {
  mhx_handle *handle = (mhx_handle *)self;
  return handle->main != NULL ? (PyObject *)handle->main : self;
}

static PyObject *get_root(PyObject *self, void *unused) {
  (void)unused;
  mhx_handle *handle = (mhx_handle *)self;
  if (mhx_live(handle) == NULL || (handle->birth == 0 && mhx_only_main(handle) < 0)) return NULL;
  return mhx_root(self);
}

static PyObject *get_name(PyObject *self, void *unused) {
  (void)unused;
  PyObject *label = ((mhx_handle *)self)->label;
  return Py_NewRef(label != NULL ? label : Py_None);
}

static PyObject *get_named(PyObject *self, void *unused) {
  (void)unused;
  if (mhx_live((mhx_handle *)self) == NULL) return NULL;
  PyObject *module = PyImport_ImportModule("mheap._named");
  PyObject *named = module != NULL ? PyObject_CallMethod(module, "Named", "O", get_main_of(self)) : NULL;
  Py_XDECREF(module);
  return named;
}

/* ---- which heap of its region ---- */

static PyObject *get_main(PyObject *self, void *unused) {
  (void)unused;
  return Py_NewRef(get_main_of(self));
}

static PyObject *get_heap_number(PyObject *self, void *unused) {
  (void)unused;
  return PyLong_FromUnsignedLong(((mhx_handle *)self)->number);
}

static PyObject *get_tag(PyObject *self, void *unused) {
  (void)unused;
  return PyLong_FromLong(((mhx_handle *)self)->tag);
}

static int heap_info(PyObject *self, mheap_heap_info *info) {
  mheap *heap = mhx_live((mhx_handle *)self);
  if (heap == NULL) return -1;
  return mheap_get_heap_info(heap, info) == MHEAP_OK ? 0 : mhx_raise(heap);
}

static PyObject *get_destroyable(PyObject *self, void *unused) {
  (void)unused;
  mheap_heap_info info;
  return heap_info(self, &info) < 0 ? NULL : PyBool_FromLong(info.destroyable);
}

static PyObject *get_arena(PyObject *self, void *unused) {
  (void)unused;
  mheap_heap_info info;
  mhx_handle *handle = (mhx_handle *)self, *main = handle->main != NULL ? handle->main : handle;
  if (heap_info(self, &info) < 0) return NULL;
  if (info.arena == 0) Py_RETURN_NONE;
  return mhx_arena_id(handle->state, info.arena, main->resident ? NULL : main);
}

#define FIELD(name) (void *)offsetof(mheap_info, name)

static PyGetSetDef properties[] = {
    {"closed", get_closed, NULL, "Whether the heap was detached.", NULL},
    {"path", get_path, NULL,
     "Absolute path of the file, a str; None for anonymous heaps and files without a name.", NULL},
    {"mode", get_mode, NULL, "'atomic', 'live', 'readonly' or 'scratch'.", NULL},
    {"base", get_number, NULL, "Address at which the heap is attached in this process.", FIELD(base)},
    {"size", get_number, NULL, "Bytes of the region in use: superblock, headers and blocks.", FIELD(size)},
    {"generation", get_number, NULL, "Number of the last commit; 0: none.", FIELD(generation)},
    {"dirty", get_dirty, NULL,
     "What a commit would write now, a Dirty: bytes and pages; false if there is nothing. Mode atomic.",
     NULL},
    {"uuid", get_uuid, NULL, "The heap's identity, for ever: a str of 36 characters.", NULL},
    {"roots", get_roots, NULL, "Named roots for raw blocks: a MutableMapping from name to address.", NULL},
    {"root", get_root, NULL,
     "The root object: a persistent dict, made when something is first put into it. A named heap has its\n"
     "own.",
     NULL},
    {"named", get_named, NULL, "The region's named heaps: a Mapping from name to Heap. See new().", NULL},
    {"name", get_name, NULL, "The name that new() gave the heap, a str; None: it has none.", NULL},
    {"main", get_main, NULL, "The main heap of the region; a main heap's is itself.", NULL},
    {"number", get_heap_number, NULL,
     "Of the heap in its region, for as long as it exists; the main heap's is 0.", NULL},
    {"tag", get_tag, NULL, "0 to 255: free space in slabs goes only between heaps of one tag.", NULL},
    {"arena", get_arena, NULL,
     "The only arena it takes space from, an ArenaId; None: those that are shared.", NULL},
    {"destroyable", get_destroyable, NULL, "Whether it was made with allow_destroy.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(mhx_handle, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

/* ---- tables ---- */

MHX_BOTH(detach, 0)
MHX_METHOD_ONLY(close, 0)
MHX_METHOD_ONLY(sync, 0)
MHX_METHOD_ONLY(collapse, 0)
MHX_BOTH(errno, 0)
MHX_METHOD_ONLY(fileno, 0)
MHX_METHOD_ONLY(__reduce__, 0)

#define DETACH                                                                                      \
  "Syncs, marks the file clean, unmaps it. Addresses in the heap are then meaningless.\n\n"         \
  "Detaching again does nothing. Raises BufferError while views of the heap are exported, and\n"    \
  "what the system says when syncing fails; the heap is then still attached. A heap whose file\n"    \
  "was cut short by another program raises CorruptHeap once, and is closed: nothing is left to save."
#define ERRNO                                                                                       \
  "errno of the last failed call on this heap, when it was a system call that failed; else 0."

PyDoc_STRVAR(collect_doc,
"collect($self, /, force=False, *, max_pause=None, steps=None)\n--\n\n"
"Frees objects that nothing leads to, then gives empty slabs back to the heap.\n\n"
"Most objects are freed as soon as nothing refers to them. Left are those that refer to one another\n"
"in a circle, and what a killed process had in hand. What heap.root and Python variables lead to\n"
"stays. A main heap's named heaps are collected, too, behind it; of a named heap it alone is. With\n"
"`force` also pages go to the system and the file: its tail is cut off and holes are punched, unless\n"
"a reader is attached.\n\n"
"It goes in steps, between which other threads and signal handlers run; one takes about max_pause\n"
"seconds at most. What became garbage after the first step may stay until the next collection.\n"
"With `steps` it makes so many, in this heap alone, and returns; the next call with `steps` goes on.\n\n"
"Returns a Collected: objects, bytes, pause, done. In mode atomic what was freed is the file's with\n"
"the next commit, and a rollback ends the collection. Raises ReadOnlyHeap, CorruptHeap (nothing was\n"
"freed then, if what is wrong can be reached), and HeapBusy in the middle of a call on the heap.");

PyDoc_STRVAR(collapse_doc,
"collapse($self, /)\n--\n\n"
"Makes what is in the heap now transparent huge pages, as far as the kernel can.\n\n"
"A heap on pages of the kernel's pool is left as it is. stats().pages tells what came of it.\n"
"Other threads run meanwhile. Raises HeapOSError when nothing could be done: ENOSYS where the\n"
"kernel is older than Linux 6.1.");

PyDoc_STRVAR(sync_doc,
"sync($self, /)\n--\n\n"
"Makes everything stored so far durable: one fdatasync.\n\n"
"Nothing to do for anonymous memory. Other threads run meanwhile. Raises HeapOSError.");

PyDoc_STRVAR(close_doc,
"close($self, /)\n--\n\n"
"Detaches a main heap, as detach() does. Of any other heap only this handle is closed.\n\n"
"The heap itself stays, with all that is in it: Heap.heaps() gives a new handle, destroy() and\n"
"delete() end the heap. A trace of it ends, and mmcheck's function is forgotten.");

static PyMethodDef life_methods[] = {
    MHX_METHOD(detach, "detach($self, /)\n--\n\n" DETACH),
    MHX_METHOD(close, close_doc),
    {"__enter__", enter, METH_NOARGS, "__enter__($self, /)\n--\n\nThe heap itself."},
    {"__exit__", (PyCFunction)(void (*)(void))leave, METH_FASTCALL,
     "__exit__($self, type, value, traceback, /)\n--\n\nCloses it."},
    MHX_METHOD(sync, sync_doc),
    {"collect", (PyCFunction)(void (*)(void))mhx_collect, METH_FASTCALL | METH_KEYWORDS, collect_doc},
    MHX_METHOD(collapse, collapse_doc),
    MHX_METHOD(errno, "errno($self, /)\n--\n\n" ERRNO),
    MHX_METHOD(fileno, "fileno($self, /)\n--\n\nThe heap's own file descriptor. Without one: HeapOSError."),
    MHX_METHOD(__reduce__, "__reduce__($self, /)\n--\n\nPath and mode; see Heap."),
    {NULL, NULL, 0, NULL},
};

PyMethodDef mhx_heap_functions[] = {
    MHX_FUNCTION(detach, "detach($module, md, /)\n--\n\n" DETACH),
    MHX_FUNCTION(errno, "errno($module, md, /)\n--\n\n" ERRNO "\n`md` None: of the default heap."),
    {"detach_all", mhx_detach_all, METH_NOARGS, "detach_all($module, /)\n--\n\nDetaches all heaps."},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(heap_doc,
"A heap that is attached: what mheap.attach and mheap.open return, the `md` of all functions.\n\n"
"As a context manager it detaches at the end. A Heap that is collected unclosed warns\n"
"(ResourceWarning) and is detached; so is, without a warning, what is open at exit.\n\n"
"A region has a main heap, which attaching returns, and may have more (new, heap_new_ex, heaps).\n"
"Their handles keep the main heap's alive and end with it: ClosedHeap then. There is one\n"
"handle a heap, the same object each time while it is alive and not closed.\n\n"
"Addresses are ints. A heap that was closed raises ClosedHeap.\n\n"
"Threads: any thread may use a Heap; detach waits for calls under way in other threads.\n\n"
"Pickling: a Heap pickles as its path and mode, and unpickling attaches, with no waiting. So\n"
"unpickling a live one raises HeapBusy while the original is attached. Another heap than the\n"
"main one pickles as that and its number, or name. An anonymous heap cannot be pickled.\n\n"
"Forks: in a forked child an inherited Heap attaches the file again as a reader when it is\n"
"used. While the parent has it attached live, that raises HeapBusy.");

/* All methods in one table, which the type keeps referring to. */
static PyMethodDef methods[96];

static size_t append_methods(size_t at, const PyMethodDef *from) {
  for (; from->ml_name != NULL && at + 1 < Py_ARRAY_LENGTH(methods); from++) methods[at++] = *from;
  return at;
}

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)heap_doc},
    {Py_tp_traverse, traverse},
    {Py_tp_clear, clear},
    {Py_tp_finalize, finalize},
    {Py_tp_dealloc, dealloc},
    {Py_tp_repr, repr},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {Py_tp_members, members},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "mheap.Heap",
    .basicsize = sizeof(mhx_handle),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

PyTypeObject *mhx_heap_type_new(PyObject *module) {
  const PyMethodDef *tables[] = {life_methods,      mhx_blocks_methods, mhx_roots_methods,
                                 mhx_guard_methods, mhx_stats_methods,  mhx_view_methods,
                                 mhx_heaps_methods, mhx_named_methods,  mhx_commits_methods,
                                 mhx_readers_methods, mhx_dump_methods, mhx_arrays_methods};
  size_t at = 0;
  for (size_t i = 0; i < Py_ARRAY_LENGTH(tables); i++) at = append_methods(at, tables[i]);
  return (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
}
