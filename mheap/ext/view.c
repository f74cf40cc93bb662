/* view.c: bytes of a heap as a memoryview.

   Owns: the object behind each view, which keeps the heap from being detached, and an arena from
   being released, for as long as a buffer of it is exported. Knows addresses, not what lies there. */
#include "ext.h"
#include "heap.h"

typedef struct mhx_view {
  PyObject_HEAD
  PyObject *heap; /* Heap; NULL: the default heap, which is never detached */
  void *address;
  Py_ssize_t size;
  bool readonly;
  unsigned long forks; /* handle->forks when the address was looked at */
  Py_ssize_t exports;  /* buffers that are out; if there are any, it is in the list: */
  struct mhx_view *previous, *following;
} mhx_view;

static mhx_view *exported; /* of all interpreters, which share one GIL */

static void count_export(mhx_view *view) {
  if (view->heap != NULL) mhx_pin(view->heap);
  if (view->exports++ > 0) return;
  view->previous = NULL;
  view->following = exported;
  if (exported != NULL) exported->previous = view;
  exported = view;
}

static void uncount_export(mhx_view *view) {
  if (view->heap != NULL) mhx_unpin(view->heap);
  if (--view->exports > 0) return;
  if (view->following != NULL) view->following->previous = view->previous;
  if (view->previous != NULL) view->previous->following = view->following;
  else exported = view->following;
}

bool mhx_view_within(const void *start, size_t size) {
  const mhx_view *view = exported;
  while (view != NULL && (uintptr_t)view->address - (uintptr_t)start >= size) view = view->following;
  return view != NULL;
}

bool mhx_view_of_subproc(mheap_subproc subproc) {
  const mhx_view *view = exported;
  while (view != NULL && mheap_subproc_of_address(view->address) != subproc) view = view->following;
  return view != NULL;
}

/* The object outlives its buffers (memoryview.obj): the heap may have gone in between. */
static int is_still_there(mhx_view *view) {
  mhx_handle *handle = (mhx_handle *)view->heap;
  if (handle != NULL && mhx_live(handle) == NULL) return -1;
  if (!mheap_is_in_region(view->address)) {
    mhx_refuse(MHEAP_ERR_POINTER, "the arena that this view was of is gone");
    return -1;
  }
  if (handle == NULL || handle->forks == view->forks) return 0;
  mhx_refuse(MHEAP_ERR_FORKED, "a view made before a fork cannot be used again after it");
  return -1;
}

static int get_buffer(PyObject *self, Py_buffer *buffer, int flags) {
  mhx_view *view = (mhx_view *)self;
  if (is_still_there(view) < 0) {
    buffer->obj = NULL;
    return -1;
  }
  if (mhx_keep_for_view((mhx_handle *)view->heap) < 0) {
    buffer->obj = NULL;
    return -1;
  }
  if (PyBuffer_FillInfo(buffer, self, view->address, view->size, view->readonly, flags) < 0) {
    mhx_release_for_view((mhx_handle *)view->heap);
    return -1;
  }
  count_export(view);
  return 0;
}

static void release_buffer(PyObject *self, Py_buffer *buffer) {
  (void)buffer;
  mhx_release_for_view((mhx_handle *)((mhx_view *)self)->heap);
  uncount_export((mhx_view *)self);
}

static int traverse(PyObject *self, visitproc visit, void *arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(((mhx_view *)self)->heap);
  return 0;
}

static void dealloc(PyObject *self) {
  PyTypeObject *type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  Py_XDECREF(((mhx_view *)self)->heap);
  type->tp_free(self);
  Py_DECREF(type);
}

static PyType_Slot slots[] = {
    {Py_tp_doc, "What a memoryview of a heap's memory is a view of."},
    {Py_tp_traverse, traverse},
    {Py_tp_dealloc, dealloc},
    {Py_bf_getbuffer, get_buffer},
    {Py_bf_releasebuffer, release_buffer},
    {0, NULL},
};

PyType_Spec mhx_view_spec = {
    .name = "mheap.HeapMemory",
    .basicsize = sizeof(mhx_view),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};

/* [address, address + size) in the region? */
static bool is_inside(const mheap_info *info, uintptr_t address, size_t size) {
  return address >= info->base && address - info->base <= info->size &&
         size <= info->size - (address - info->base);
}

/* 0, or -1 with an exception. A block's bytes need no second look; others must be mapped. */
static int may_view(mheap *heap, void *address, size_t size) {
  mheap_info info;
  if (size > PY_SSIZE_T_MAX) {
    mhx_refuse(MHEAP_ERR_OVERFLOW, "no view can have %zu bytes", size);
    return -1;
  }
  if (address != NULL && size <= mheap_usable_size(heap, address)) return 0;
  if (mheap_get_info(heap, &info) != MHEAP_OK) return mhx_raise(heap);
  if (address != NULL && is_inside(&info, (uintptr_t)address, size)) return 0;
  mhx_refuse(MHEAP_ERR_POINTER, "cannot view %zu bytes at %p: the heap is at 0x%llx, %llu bytes", size,
             address, (unsigned long long)info.base, (unsigned long long)info.size);
  return -1;
}

static PyObject *make_view(mhx_state *state, mhx_handle *handle, PyObject *const *args) {
  void *address;
  size_t size;
  if (mhx_address(args[0], &address) < 0 || mhx_size(args[1], &size) < 0) return NULL;
  mheap *heap = mhx_live(handle);
  if (heap == NULL || may_view(heap, address, size) < 0) return NULL;
  /* A commit looks for stores of the caller's own where addresses were handed out. */
  if (heap->region->mode == MHEAP_MODE_ATOMIC && mh_heap_raw(heap)) return mhx_raise(heap), NULL;
  mhx_view *view = (mhx_view *)state->view_type->tp_alloc(state->view_type, 0);
  if (view == NULL) return NULL;
  view->heap = Py_XNewRef((PyObject *)handle);
  view->address = address;
  view->size = (Py_ssize_t)size;
  view->readonly = handle != NULL && handle->mode == MHEAP_MODE_READONLY;
  view->forks = handle != NULL ? handle->forks : 0;
  PyObject *result = PyMemoryView_FromObject((PyObject *)view);
  Py_DECREF(view);
  return result;
}

static PyObject *op_view(mhx_handle *handle, PyObject *const *args) {
  return make_view(handle->state, handle, args);
}

static PyObject *function_view(PyObject *module, PyObject *const *args, Py_ssize_t nargs) {
  mhx_handle *handle;
  if (nargs != 3) return mhx_arity("view", 3, nargs);
  if (mhx_md(module, args[0], &handle) < 0) return NULL;
  return make_view(mhx_state_of(module), handle, args + 1);
}

MHX_METHOD_ONLY(view, 2)

#define VIEW                                                                                        \
  "The heap's own bytes [address, address + size) as a memoryview: nothing is copied.\n\n"          \
  "It is writable unless the heap is attached readonly, and keeps the heap from being detached\n"   \
  "until it, and what was made from it, is released. It does not keep the block: freeing that\n"    \
  "under a view is the caller's mistake, as in C. Raises InvalidPointer when not all of the\n"      \
  "bytes are in the heap, ClosedHeap."

PyMethodDef mhx_view_methods[] = {
    MHX_METHOD(view, "view($self, address, size, /)\n--\n\n" VIEW),
    {NULL, NULL, 0, NULL},
};

PyMethodDef mhx_view_functions[] = {
    MHX_FUNCTION(view, "view($module, md, address, size, /)\n--\n\n" VIEW),
    {NULL, NULL, 0, NULL},
};
