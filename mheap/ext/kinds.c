/* kinds.c: the type Kind: its life, its properties, and the functions of mheap.kinds.

   Owns: the list of Kind objects, which belongs to the holder of the GIL. What a kind does for
   blocks is in kinds_calls.c. */
#include "kinds.h"

static mhx_kind *objects; /* of all interpreters, which share one GIL */

/* ---- is it still there? ---- */

static PyObject *gone(mhx_kind *self) {
  PyObject *name = PyUnicode_AsEncodedString(self->name, "utf-8", "replace");
  if (name == NULL) return NULL;
  mhx_refuse(MHEAP_ERR_STALE, "the kind \"%s\" was destroyed", PyBytes_AS_STRING(name));
  Py_DECREF(name);
  return NULL;
}

static void note(mhx_kind *self, mheap_kind *kind) {
  mheap_kind_info info;
  mheap_kind_get_info(kind, &info);
  self->kind = kind;
  self->arena = info.arena;
  self->heap = info.heap;
  self->forks = mhx_forks;
}

/* In a forked child the heap was attached anew: so the kind is another one, by the same name. */
static mheap_kind *find_again(mhx_kind *self, mheap *heap) {
  const char *name = PyUnicode_AsUTF8(self->name);
  mheap_kind *kind = name != NULL ? mheap_kind_find(name, heap) : NULL;
  if (kind != NULL) note(self, kind);
  else if (name != NULL) mhx_raise(heap);
  return kind;
}

mheap_kind *mhx_kind_live(mhx_kind *self) {
  if (self->md != NULL) {
    mheap *heap = mhx_live(self->md);
    if (heap == NULL) return NULL;
    if (heap != self->heap || self->forks != mhx_forks) return find_again(self, heap);
  }
  if (self->kind != NULL && mheap_kind_by_arena(self->arena) == self->kind) return self->kind;
  self->kind = NULL;
  gone(self);
  return NULL;
}

PyObject *mhx_kind_raise(mhx_kind *self) {
  mheap_error error = *mheap_kind_last_error(self->kind);
  return mhx_raise_error_at(&error, self->md != NULL ? self->md->path : NULL);
}

/* ---- objects ---- */

static mhx_kind *find_object(mheap_kind *kind, unsigned arena) {
  mhx_kind *object = objects;
  while (object != NULL && (object->kind != kind || object->arena != arena ||
                            object->interpreter != PyInterpreterState_Get()))
    object = object->following;
  return object;
}

static void link_object(mhx_kind *self) {
  self->following = objects;
  if (objects != NULL) objects->previous = self;
  objects = self;
}

static void unlink_object(mhx_kind *self) {
  if (self->following != NULL) self->following->previous = self->previous;
  if (self->previous != NULL) self->previous->following = self->following;
  else if (objects == self) objects = self->following;
  self->previous = self->following = NULL;
}

static PyObject *new_object(mhx_state *state, mheap_kind *kind, const mheap_kind_info *info, mhx_handle *md) {
  PyObject *name = PyUnicode_DecodeUTF8(info->name, (Py_ssize_t)strlen(info->name), "replace");
  mhx_kind *self = name != NULL ? (mhx_kind *)state->kind_type->tp_alloc(state->kind_type, 0) : NULL;
  if (self == NULL) {
    Py_XDECREF(name);
    return NULL;
  }
  self->name = name;
  self->md = (mhx_handle *)Py_XNewRef((PyObject *)md);
  self->state = state;
  self->interpreter = PyInterpreterState_Get();
  note(self, kind);
  link_object(self);
  return (PyObject *)self;
}

PyObject *mhx_kind_object(mhx_state *state, mheap_kind *kind, mhx_handle *md) {
  mheap_kind_info info;
  mheap_kind_get_info(kind, &info);
  PyObject *known = (PyObject *)find_object(kind, info.arena);
  if (known != NULL) return Py_NewRef(known);
  if (md == NULL && info.heap != NULL) md = mhx_handles_find(info.heap);
  return new_object(state, kind, &info, md);
}

/* ---- life ---- */

static int traverse(PyObject *object, visitproc visit, void *arg) {
  mhx_kind *self = (mhx_kind *)object;
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(self->md);
  Py_VISIT(self->pre);
  Py_VISIT(self->post);
  return 0;
}

/* The core must not call what is about to go. */
static void undecorate(mhx_kind *self) {
  if (self->pre == NULL && self->post == NULL) return;
  if (self->kind != NULL && mheap_kind_by_arena(self->arena) == self->kind)
    mheap_kind_decorate(self->kind, NULL);
  Py_CLEAR(self->pre);
  Py_CLEAR(self->post);
}

static int clear(PyObject *object) {
  undecorate((mhx_kind *)object);
  return 0;
}

static void dealloc(PyObject *object) {
  mhx_kind *self = (mhx_kind *)object;
  PyTypeObject *type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  if (self->weakrefs != NULL) PyObject_ClearWeakRefs(object);
  unlink_object(self);
  undecorate(self);
  Py_CLEAR(self->md);
  Py_CLEAR(self->name);
  type->tp_free(object);
  Py_DECREF(type);
}

void mhx_kinds_finish(void) {
  for (mhx_kind *self = objects; self != NULL; self = self->following)
    if (self->interpreter == PyInterpreterState_Get() && self->kind != NULL &&
        mheap_kind_by_arena(self->arena) == self->kind)
      mheap_kind_decorate(self->kind, NULL);
}

/* ---- making ---- */

static const char *const policies[] = {"any", "thread", "bijective"};

static int policy_of(PyObject *value, mheap_kind_policy *policy) {
  *policy = MHEAP_KIND_ANY;
  if (value == NULL || value == Py_None) return 0;
  const char *name = PyUnicode_Check(value) ? PyUnicode_AsUTF8(value) : NULL;
  if (name == NULL && PyErr_Occurred()) return -1;
  for (int i = MHEAP_KIND_THREAD; name != NULL && i <= MHEAP_KIND_BIJECTIVE; i++)
    if (strcmp(name, policies[i]) == 0) {
      *policy = (mheap_kind_policy)i;
      return 0;
    }
  mhx_refuse(MHEAP_ERR_ARGUMENT, "the policy of a kind is 'thread', 'bijective' or None (as it is stored)");
  return -1;
}

static int name_of(PyObject *value, const char **name) {
  Py_ssize_t length;
  if (!PyUnicode_Check(value)) {
    PyErr_Format(PyExc_TypeError, "the name of a kind must be a str, not %.200s", Py_TYPE(value)->tp_name);
    return -1;
  }
  *name = PyUnicode_AsUTF8AndSize(value, &length);
  if (*name != NULL && strlen(*name) == (size_t)length) return 0;
  PyErr_Clear(); /* a lone surrogate is no UTF-8 */
  mhx_refuse(MHEAP_ERR_ARGUMENT, "the name of a kind is UTF-8 of 1 to %d bytes, none of them zero",
             MHEAP_KIND_NAME_MAX);
  return -1;
}

static PyObject *new_kind(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
  static char *names[] = {"name", "policy", "md", NULL};
  PyObject *name_object, *policy_object = NULL, *md = Py_None;
  const char *name;
  mheap_kind_policy policy;
  mhx_handle *handle;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|OO:Kind", names, &name_object, &policy_object, &md))
    return NULL;
  PyObject *module = PyType_GetModule(type);
  if (module == NULL || mhx_md(module, md, &handle) < 0) return NULL;
  if (name_of(name_object, &name) < 0 || policy_of(policy_object, &policy) < 0) return NULL;
  mheap *heap = mhx_live(handle);
  if (heap == NULL) return NULL;
  mheap_subproc back = mhx_go_home();
  mheap_kind *kind = mheap_kind_create(name, policy, handle != NULL ? heap : NULL);
  mhx_come_back(back);
  if (kind != NULL) return mhx_kind_object(mhx_state_of(module), kind, handle);
  mhx_raise(heap);
  return NULL;
}

/* ---- destroying ---- */

PyObject *mhx_kind_destroy(PyObject *object, PyObject *unused) {
  (void)unused;
  mhx_kind *self = (mhx_kind *)object;
  if (self->kind != NULL && mhx_wait_for_registered("destroy a kind") < 0) return NULL;
  if (self->kind == NULL) Py_RETURN_NONE;
  mheap_kind *kind = mhx_kind_live(self);
  if (kind == NULL) return NULL;
  if (self->views > 0) {
    PyErr_Format(PyExc_BufferError, "cannot destroy %R: views of it are exported (%zd); release them first",
                 self, self->views);
    return NULL;
  }
  if (mheap_kind_destroy(kind) != MHEAP_OK) return mhx_kind_raise(self);
  self->kind = NULL;
  Py_CLEAR(self->pre);
  Py_CLEAR(self->post);
  Py_RETURN_NONE;
}

PyObject *mhx_kind_enter(PyObject *object, PyObject *unused) {
  (void)unused;
  return mhx_kind_live((mhx_kind *)object) != NULL ? Py_NewRef(object) : NULL;
}

PyObject *mhx_kind_leave(PyObject *object, PyObject *const *args, Py_ssize_t nargs) {
  (void)args, (void)nargs;
  if (((mhx_kind *)object)->md != NULL) Py_RETURN_NONE;
  return mhx_kind_destroy(object, NULL);
}

/* ---- properties ---- */

static int info_of(PyObject *object, mheap_kind_info *info) {
  mheap_kind *kind = mhx_kind_live((mhx_kind *)object);
  return kind != NULL && mheap_kind_get_info(kind, info) == MHEAP_OK ? 0 : -1;
}

static PyObject *get_name(PyObject *object, void *unused) {
  (void)unused;
  return Py_NewRef(((mhx_kind *)object)->name);
}

static PyObject *get_md(PyObject *object, void *unused) {
  (void)unused;
  mhx_handle *md = ((mhx_kind *)object)->md;
  return Py_NewRef(md != NULL ? (PyObject *)md : Py_None);
}

static PyObject *get_destroyed(PyObject *object, void *unused) {
  (void)unused;
  mhx_kind *self = (mhx_kind *)object;
  bool there = self->kind != NULL && (self->md != NULL || mheap_kind_by_arena(self->arena) == self->kind);
  return PyBool_FromLong(!there);
}

static PyObject *get_policy(PyObject *object, void *unused) {
  (void)unused;
  mheap_kind_info info;
  return info_of(object, &info) < 0 ? NULL : PyUnicode_InternFromString(policies[info.policy]);
}

static const char *const usages[] = {"default", "conservative"};

static PyObject *get_usage(PyObject *object, void *unused) {
  (void)unused;
  mheap_kind_info info;
  return info_of(object, &info) < 0 ? NULL : PyUnicode_InternFromString(usages[info.usage]);
}

static int set_usage(PyObject *object, PyObject *value, void *unused) {
  (void)unused;
  mhx_kind *self = (mhx_kind *)object;
  const char *name = value != NULL && PyUnicode_Check(value) ? PyUnicode_AsUTF8(value) : NULL;
  int usage = name == NULL ? 2 : strcmp(name, usages[0]) == 0 ? 0 : strcmp(name, usages[1]) == 0 ? 1 : 2;
  if (name == NULL) PyErr_Clear();
  if (usage == 2) {
    mhx_refuse(MHEAP_ERR_ARGUMENT, "memory_usage_policy is 'default' or 'conservative'");
    return -1;
  }
  mheap_kind *kind = mhx_kind_live(self);
  if (kind == NULL) return -1;
  if (mheap_kind_set_usage(kind, (mheap_kind_usage)usage) == MHEAP_OK) return 0;
  mhx_kind_raise(self);
  return -1;
}

static PyObject *get_heaps(PyObject *object, void *unused) {
  (void)unused;
  mheap_kind_info info;
  if (info_of(object, &info) < 0) return NULL;
  PyObject *heaps = PyTuple_New((Py_ssize_t)info.arenas);
  for (unsigned i = 0; heaps != NULL && i < info.arenas; i++) {
    PyObject *number = PyLong_FromUnsignedLong(info.arena + i);
    if (number == NULL) Py_CLEAR(heaps);
    else PyTuple_SET_ITEM(heaps, (Py_ssize_t)i, number);
  }
  return heaps;
}

static PyObject *get_size(PyObject *object, void *unused) {
  (void)unused;
  mheap_kind_info info;
  return info_of(object, &info) < 0 ? NULL : PyLong_FromUnsignedLongLong(info.size);
}

static PyObject *repr(PyObject *object) {
  mhx_kind *self = (mhx_kind *)object;
  mheap_kind_info info;
  bool closed = self->md != NULL && mhx_is_closed(self->md);
  bool there = self->kind != NULL && !closed && mheap_kind_by_arena(self->arena) == self->kind;
  if (!there)
    return PyUnicode_FromFormat("<mheap.kinds.Kind %R, %s>", self->name, closed ? "closed" : "destroyed");
  mheap_kind_get_info(self->kind, &info);
  if (self->md == NULL)
    return PyUnicode_FromFormat("<mheap.kinds.Kind %R, %s, %u heaps in memory>", self->name,
                                policies[info.policy], info.arenas);
  return PyUnicode_FromFormat("<mheap.kinds.Kind %R, %s, %u heaps in %R>", self->name, policies[info.policy],
                              info.arenas, (PyObject *)self->md);
}

static PyGetSetDef properties[] = {
    {"name", get_name, NULL, "What it is called.", NULL},
    {"policy", get_policy, NULL, "'thread': some heaps, one chosen by the thread. 'bijective': one.", NULL},
    {"md", get_md, NULL, "The Heap it is stored in; None: it is in memory.", NULL},
    {"heaps", get_heaps, NULL, "The numbers of its arenas, each a heap of its own.", NULL},
    {"size", get_size, NULL, "Bytes of the memory that is its own; 0 for a stored kind.", NULL},
    {"destroyed", get_destroyed, NULL, "Was it destroyed?", NULL},
    {"memory_usage_policy", get_usage, set_usage,
     "When free pages go back to the system, or the file.\n\n"
     "'default': with a collection. 'conservative': as soon as a slab, or a block of more than\n"
     "64 KiB, is free; setting it gives back what is free now. Stored kinds keep it.",
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(mhx_kind, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

#define KIND                                                                                          \
  "Kind(name, policy=None, md=None)\n--\n\n"                                                          \
  "A set of heaps behind one name.\n\n"                                                               \
  "name    UTF-8 of 1 to 255 bytes. The kind of that name is found, or made if there is none\n"       \
  "policy  'thread': four heaps for every processor, of which a thread uses the one that a hash of\n" \
  "        its id chooses; in a file at most 32. 'bijective': exactly one. None: as it is, 'thread'\n" \
  "        for a new kind. Another than it has raises InvalidArgument\n"                              \
  "md      the Heap to store it in, where it is found again after the next attach. None: memory\n"    \
  "        of its own, of the current subprocess\n\n"                                                 \
  "There is one Kind object at a time for a kind. Dropping it does not destroy the kind."

static PyType_Slot slots[] = {
    {Py_tp_doc, KIND},           {Py_tp_new, new_kind},     {Py_tp_traverse, traverse},
    {Py_tp_clear, clear},        {Py_tp_dealloc, dealloc},  {Py_tp_repr, repr},
    {Py_tp_methods, mhx_kind_methods},    {Py_tp_members, members},  {Py_tp_getset, properties},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "mheap.kinds.Kind",
    .basicsize = sizeof(mhx_kind),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

/* ---- functions ---- */

static PyObject *kind_or_none(PyObject *module, mheap_kind *kind) {
  if (kind == NULL) Py_RETURN_NONE;
  return mhx_kind_object(mhx_state_of(module), kind, NULL);
}

static PyObject *kind_detect(PyObject *module, PyObject *value) {
  void *block;
  if (mhx_address(value, &block) < 0) return NULL;
  mheap_subproc back = mhx_go_home();
  mheap_kind *kind = mheap_kind_detect(block);
  bool failed = kind == NULL && mheap_last_error(NULL)->code != MHEAP_OK;
  mhx_come_back(back);
  if (failed) return mhx_raise(NULL), NULL;
  return kind_or_none(module, kind);
}

static PyObject *kind_by_arena(PyObject *module, PyObject *value) {
  int arena;
  if (mhx_int(value, &arena) < 0) return NULL;
  mheap_kind *kind = mheap_kind_by_arena(arena < 0 ? 0 : (unsigned)arena);
  if (kind == NULL) return mhx_raise(NULL), NULL;
  return kind_or_none(module, kind);
}

static PyObject *kind_free(PyObject *module, PyObject *value) {
  (void)module;
  void *block;
  if (mhx_address(value, &block) < 0) return NULL;
  mheap_subproc back = mhx_go_home();
  mheap_err code = mheap_kind_free_any(block);
  mhx_come_back(back);
  return PyErr_Occurred() ? NULL : mhx_none_or_error(NULL, code);
}

static PyObject *kind_realloc(PyObject *module, PyObject *const *args, Py_ssize_t nargs) {
  (void)module;
  void *block;
  size_t size;
  if (nargs != 2) return mhx_arity("realloc", 2, nargs);
  if (mhx_address(args[0], &block) < 0 || mhx_size(args[1], &size) < 0) return NULL;
  mheap_subproc back = mhx_go_home();
  void *moved = mheap_kind_realloc_any(block, size);
  mhx_come_back(back);
  if (PyErr_Occurred()) return NULL;
  if (moved != NULL) return PyLong_FromVoidPtr(moved);
  return mhx_raise(NULL), NULL;
}

/* Objects are made once the core is done: making one may run any Python code. */
typedef struct list {
  mheap_kind **kinds;
  size_t count;
  bool no_memory;
} list;

static bool add_kind(void *arg, mheap_kind *kind) {
  list *all = arg;
  mheap_kind **more = PyMem_Realloc(all->kinds, (all->count + 1) * sizeof *more);
  all->no_memory = more == NULL;
  if (more == NULL) return false;
  all->kinds = more;
  all->kinds[all->count++] = kind;
  return true;
}

static PyObject *objects_of(mhx_state *state, const list *all, mhx_handle *md) {
  PyObject *result = PyList_New(0);
  for (size_t i = all->count; i-- > 0 && result != NULL;) { /* the core has the newest first */
    PyObject *object = mhx_kind_object(state, all->kinds[i], md);
    if (object == NULL || PyList_Append(result, object) < 0) Py_CLEAR(result);
    Py_XDECREF(object);
  }
  return result;
}

static PyObject *kind_list(PyObject *module, PyObject *md) {
  mhx_handle *handle;
  if (mhx_md(module, md, &handle) < 0) return NULL;
  mheap *heap = mhx_live(handle);
  if (heap == NULL) return NULL;
  list all = {NULL, 0, false};
  mheap_err code = mheap_visit_kinds(handle != NULL ? heap : NULL, add_kind, &all);
  PyObject *result = NULL;
  if (all.no_memory) PyErr_NoMemory();
  else if (code) mhx_raise(heap);
  else result = objects_of(mhx_state_of(module), &all, handle);
  PyMem_Free(all.kinds);
  return result;
}

PyMethodDef mhx_kinds_functions[] = {
    {"kind_detect", kind_detect, METH_O,
     "kind_detect($module, address, /)\n--\n\n"
     "The kind whose block is at `address`; None: the block of a heap that is no kind's.\n\n"
     "Costs the same however many kinds there are. Raises InvalidPointer or DoubleFree for what is no\n"
     "block in use, and for one of another subprocess."},
    {"kind_by_arena", kind_by_arena, METH_O,
     "kind_by_arena($module, arena, /)\n--\n\nThe kind that has the arena of this number; else NotFound."},
    {"kind_free", kind_free, METH_O,
     "kind_free($module, address, /)\n--\n\n"
     "Frees a block of any kind, or of none. None: nothing.\n\n"
     "Raises InvalidPointer or DoubleFree; nothing is changed then."},
    {"kind_realloc", (PyCFunction)(void (*)(void))kind_realloc, METH_FASTCALL,
     "kind_realloc($module, address, size, /)\n--\n\n"
     "Resizes a block of any kind, or of none, and returns its address, perhaps new.\n\n"
     "It stays of its kind. None for `address` is malloc(None, size). On failure the old block stays as\n"
     "it was."},
    {"kind_list", kind_list, METH_O,
     "kind_list($module, md, /)\n--\n\nAll kinds stored in a Heap, or (None) in memory, oldest first."},
    {NULL, NULL, 0, NULL},
};

/* ---- the module's part ---- */

static PyTypeObject *add_type(PyObject *module, PyType_Spec *of) {
  return (PyTypeObject *)PyType_FromModuleAndSpec(module, of, NULL);
}

int mhx_kinds_init(PyObject *module, mhx_state *state) {
  if ((state->kind_type = add_type(module, &spec)) == NULL) return -1;
  if ((state->kind_call_type = add_type(module, &mhx_kind_call_spec)) == NULL) return -1;
  if ((state->kind_memory_type = add_type(module, &mhx_kind_memory_spec)) == NULL) return -1;
  if (PyModule_AddType(module, state->kind_type) < 0) return -1;
  return PyModule_AddType(module, state->kind_call_type);
}
