/* readers.c: a readonly heap beside a writer: which commit its objects are read from.

   Owns nothing: the core counts who keeps a commit (reader.h). A read looks for a newer commit before, and
   whether all it saw was of one behind, and is made again if not; what takes several reads (an
   iterator, a comparison with a list's items, a view, snapshot()) keeps the commit meanwhile. */
#include "objects.h"
#include "reader.h"

static mhx_handle *main_of(mhx_handle *handle) {
  return handle != NULL && handle->main != NULL && !mhx_is_closed(handle) ? handle->main : handle;
}

/* What twins knew of their tables may be of other ones by now. */
static void look_anew(mhx_space *space) {
  if (space->core.heap->gone) mhx_twins_gone(space);
  else mhx_twins_look_anew(space);
}

static void went(mheap *heap, bool moved) {
  mhx_handle *handle = moved ? mhx_handles_find(heap) : NULL;
  if (handle != NULL) mhx_spaces_each(handle->main != NULL ? handle->main : handle, look_anew);
}

static int go_on(mheap *heap, bool *moved) {
  if (mheap_refresh(heap, moved) != MHEAP_OK) return mhx_raise(heap);
  went(heap, *moved);
  return 0;
}

static int too_old(const mh_region *region) {
  mhx_refuse(
      MHEAP_ERR_SNAPSHOT,
      "%s: generation %llu, which a snapshot, a view or an iterator keeps, is gone: the writer's journal "
      "reached its limit, and it went on",
      region->path, (unsigned long long)mh_reader_shows(region->reader));
  return -1;
}

/* ---- one read ---- */

mhx_space *mhx_space_newest(mhx_space *space) {
  const mh_region *region = space->core.region;
  bool moved;
  if (mh_reader_is_kept(region)) return mh_reader_is_whole(region) ? space : (too_old(region), NULL);
  if (mh_reader_is_whole(region) && mh_reader_is_newest(region)) return space;
  return go_on(space->core.heap, &moved) < 0 ? NULL : space;
}

int mhx_torn_slowly(mhx_space *space) {
  const mh_region *region = space->core.region;
  bool moved;
  PyErr_Clear();
  if (mh_reader_is_kept(region)) return too_old(region);
  return go_on(space->core.heap, &moved) < 0 ? -1 : 1;
}

/* ---- several reads ---- */

int mhx_keep_commit(mhx_twin *twin) {
  mhx_space *space = mhx_twin_space(twin);
  bool moved;
  if (space == NULL) return -1;
  if (space->core.region->reader == NULL) return 0;
  mheap *heap = space->core.heap;
  if (mheap_keep(heap, &moved) != MHEAP_OK) return mhx_raise(heap);
  went(heap, moved);
  return 1;
}

void mhx_release_commit(mhx_twin *twin) {
  mhx_handle *handle = (mhx_handle *)twin->heap_obj;
  if (handle->heap != NULL && handle->forks == mhx_forks) mheap_release(handle->heap);
}

int mhx_keep_for_view(mhx_handle *handle) {
  bool moved;
  if (handle == NULL || handle->mode != MHEAP_MODE_READONLY) return 0;
  if (mheap_keep(handle->heap, &moved) != MHEAP_OK) return mhx_raise(handle->heap);
  went(handle->heap, moved);
  return 0;
}

int mhx_keep_newest(mhx_handle *main) {
  bool moved, reads = main != NULL && main->mode == MHEAP_MODE_READONLY;
  const mh_region *region = reads ? main->heap->region : NULL;
  if (reads && region->reader != NULL && !mh_reader_is_kept(region) && go_on(main->heap, &moved) < 0)
    return -1;
  return mhx_keep_for_view(main);
}

void mhx_release_for_view(mhx_handle *handle) {
  if (handle != NULL && handle->mode == MHEAP_MODE_READONLY && handle->heap != NULL)
    mheap_release(handle->heap);
}

/* ---- what a user calls ---- */

static PyObject *op_refresh(mhx_handle *handle, PyObject *const *args) {
  (void)args;
  mhx_handle *main = main_of(handle);
  mheap *heap = mhx_live(main);
  bool moved = false;
  if (heap == NULL) return NULL;
  if (main != NULL && main->mode == MHEAP_MODE_READONLY && main->views > 0)
    return PyErr_Format(PyExc_BufferError,
                        "cannot refresh: there are views of generation %llu; release them first",
                        (unsigned long long)mheap_generation(heap));
  return go_on(heap, &moved) < 0 ? NULL : PyBool_FromLong(moved);
}

static PyObject *method_keep(PyObject *self, PyObject *unused) {
  (void)unused;
  mhx_handle *main = main_of((mhx_handle *)self);
  mheap *heap = mhx_live(main);
  bool moved;
  if (heap == NULL) return NULL;
  if (mheap_keep(heap, &moved) != MHEAP_OK) return mhx_raise(heap), NULL;
  went(heap, moved);
  Py_RETURN_NONE;
}

/* A heap that was closed meanwhile keeps nothing. */
static PyObject *method_release(PyObject *self, PyObject *unused) {
  (void)unused;
  mhx_handle *main = main_of((mhx_handle *)self);
  if (main->heap != NULL && main->forks == mhx_forks) mheap_release(main->heap);
  Py_RETURN_NONE;
}

static PyObject *method_snapshot(PyObject *self, PyObject *unused) {
  (void)unused;
  if (mhx_live((mhx_handle *)self) == NULL) return NULL;
  PyObject *module = PyImport_ImportModule("mheap._commits");
  PyObject *snapshot = module != NULL ? PyObject_CallMethod(module, "Snapshot", "O", self) : NULL;
  Py_XDECREF(module);
  return snapshot;
}

MHX_BOTH(refresh, 0)

#define REFRESH                                                                                          \
  "Goes on to the newest commit of the heap's writer. True: that is another than before.\n\n"            \
  "Objects are read from the newest commit anyway; this is for what is read through views and\n"         \
  "addresses, and to learn whether there is anything new. Of interest in mode readonly only; False in\n" \
  "others. Raises BufferError while there are views, HeapBusy in a snapshot() or while an iterator is\n" \
  "at work."

PyDoc_STRVAR(
    snapshot_doc,
    "snapshot($self, /)\n--\n\n"
    "with heap.snapshot(): all that is read in the block is of one commit.\n\n"
    "In mode readonly, beside a writer; each read by itself is whole without it. The writer's journal grows\n"
    "meanwhile, up to its journal_limit: then commits of its fail, or, if it was opened with\n"
    "overrun_readers=True, reads in the block raise SnapshotTooOld. Nested blocks are one.");

PyMethodDef mhx_readers_methods[] = {
    MHX_METHOD(refresh, "refresh($self, /)\n--\n\n" REFRESH),
    {"snapshot", method_snapshot, METH_NOARGS, snapshot_doc},
    {"_keep", method_keep, METH_NOARGS, NULL},
    {"_release", method_release, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

PyMethodDef mhx_readers_functions[] = {
    MHX_FUNCTION(refresh, "refresh($module, md, /)\n--\n\n" REFRESH),
    {NULL, NULL, 0, NULL},
};
