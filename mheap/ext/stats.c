/* stats.c: what is in a heap: facts, counts, findings.

   Owns: the named structures HeapInfo, HeapStats, ClassStats, PageStats, MmStats and Finding. The GIL is
   released while the core walks. */
#include "ext.h"

/* ---- named structures ---- */

static PyStructSequence_Field info_fields[] = {
    {"uuid", "of this heap, for ever; a str of 36 characters"},
    {"version", "of the file format"},
    {"mode", "of this attach: 'live', 'readonly' or 'scratch'"},
    {"state", "of the file when it was attached: 'clean', 'open' or 'sealed'"},
    {"compat", "feature bits anyone may ignore"},
    {"rocompat", "feature bits a reader may ignore"},
    {"incompat", "feature bits nobody may ignore"},
    {"generation", "number of the last commit"},
    {"epoch", "attaches after a crash"},
    {"size", "bytes of the region in use"},
    {"file_size", "bytes the file is long; 0 without a file"},
    {"disk_size", "bytes allocated to it on disk"},
    {"max_size", "bytes of address space reserved: how far it can grow"},
    {"base", "address it is attached at"},
    {"stored_base", "the address it always attaches at; 0: anywhere, no raw address was handed out"},
    {"segments", "segments of 4 MiB in the region, free ones included"},
    {"created_ns", "Unix time of creation, nanoseconds"},
    {"owner_boot_id", "of the last writer that did not detach, while state is 'open'; a str"},
    {"owner_device", "device of the file as that writer saw it"},
    {"owner_inode", "inode of the file as that writer saw it"},
    {"owner_mount_id", "mount of the file as that writer saw it"},
    {"owner_pid", "process id of that writer"},
    {"has_root", "whether there is a root object"},
    {"has_journal", "whether there is a journal"},
    {NULL, NULL},
};

static PyStructSequence_Field class_fields[] = {
    {"block_size", "bytes; 0 for spans and huge spans"},
    {"runs", "slabs, or spans"},
    {"blocks", "blocks they have room for"},
    {"used", "blocks in use"},
    {"used_bytes", "bytes of the blocks in use, as usable_size tells them"},
    {"run_bytes", "bytes of the slabs or spans"},
    {"peak", "the most blocks in use at once, since this attach or stats_reset, to within a slab a thread"},
    {"peak_bytes", "bytes in those"},
    {"total", "blocks handed out by this process in that time"},
    {"total_bytes", "bytes in those"},
    {NULL, NULL},
};

static PyStructSequence_Field pages_fields[] = {
    {"asked", "by this attach: 'never', 'transparent', '2M' or '1G'"},
    {"page_size", "bytes; of the largest pages it lies on. 0: not known"},
    {"bytes_1g", "bytes on 1 GiB pages of the kernel's pool"},
    {"bytes_2m", "bytes on 2 MiB pages of the pool"},
    {"bytes_other", "bytes on pages of the pool of other sizes"},
    {"bytes_transparent", "bytes on transparent huge pages"},
    {"numa_node", "of the first data; None: not known, or not there yet"},
    {"fallback", "what was asked for and not obtained, and why; '' if nothing"},
    {NULL, NULL},
};

#define TOTALS                                                                 \
  {"bytes_total", "bytes of the region"},                                      \
  {"chunks_used", "blocks in use"},                                            \
  {"bytes_used", "bytes in them"},                                             \
  {"chunks_free", "free blocks in slabs, and free runs of slices and segments"}, \
  {"bytes_free", "bytes in those"}

static PyStructSequence_Field mmstats_fields[] = {TOTALS, {NULL, NULL}};

static PyStructSequence_Field stats_fields[] = {
    TOTALS,
    {"bytes_overhead", "bytes of superblock, headers, maps, and what slabs and spans cannot use"},
    {"segments", "segments of 4 MiB, free ones included"},
    {"segments_free", "free segments"},
    {"classes", "a ClassStats for each size class"},
    {"spans", "a ClassStats for all large blocks"},
    {"huge", "a ClassStats for all huge blocks"},
    {"pages", "a PageStats: the pages that the heap lies on"},
    {NULL, NULL},
};

static PyStructSequence_Field finding_fields[] = {
    {"severity", "1: broken; 0: worth knowing"},
    {"offset", "place in the file, bytes"},
    {"what", "the kind of structure: 'superblock', 'map', 'segment', 'slab', 'span', 'object', …"},
    {"text", "one line, with what was expected and found"},
    {NULL, NULL},
};

static PyStructSequence_Desc info_desc = {
    "mheap.HeapInfo", "Identity and geometry of a heap.", info_fields, 24};
static PyStructSequence_Desc class_desc = {
    "mheap.ClassStats", "Counts of one size class, of all spans, or of all huge spans.", class_fields, 10};
static PyStructSequence_Desc pages_desc = {
    "mheap.PageStats", "The pages a heap lies on, as the kernel says they are mapped in this process.",
    pages_fields, 8};
static PyStructSequence_Desc stats_desc = {"mheap.HeapStats", "Counts of a whole heap.", stats_fields, 12};
static PyStructSequence_Desc mmstats_desc = {
    "mheap.MmStats", "Counts of a whole heap, as GNU mmalloc has them.", mmstats_fields, 5};
static PyStructSequence_Desc finding_desc = {
    "mheap.Finding", "Something Heap.check found.", finding_fields, 4};

/* ---- HeapStats' repr: of eighty classes a heap uses few, so only those are shown ---- */

static bool is_unused(PyObject *row, PyTypeObject *type) {
  bool is_row = Py_IS_TYPE(row, type) && PyTuple_Check(row) && PyTuple_GET_SIZE(row) > 1;
  PyObject *runs = is_row ? PyTuple_GET_ITEM(row, 1) : NULL;
  return runs != NULL && PyLong_CheckExact(runs) && PyObject_IsTrue(runs) == 0;
}

/* 0, or -1 with an exception; `part`, which may be NULL for one, is given away. */
static int append_part(PyObject *parts, PyObject *part) {
  int failed = part == NULL ? -1 : PyList_Append(parts, part);
  Py_XDECREF(part);
  return failed;
}

static PyObject *joined(PyObject *parts, const char *format) {
  PyObject *comma = PyUnicode_FromString(", ");
  PyObject *text = comma == NULL ? NULL : PyUnicode_Join(comma, parts);
  Py_XDECREF(comma);
  PyObject *whole = text == NULL ? NULL : PyUnicode_FromFormat(format, text);
  Py_XDECREF(text);
  return whole;
}

static PyObject *classes_text(PyObject *classes, PyTypeObject *type) {
  if (!PyTuple_CheckExact(classes)) return PyObject_Repr(classes);
  PyObject *parts = PyList_New(0);
  int failed = parts == NULL ? -1 : 0;
  for (Py_ssize_t i = 0; failed == 0 && i < PyTuple_GET_SIZE(classes); i++) {
    PyObject *row = PyTuple_GET_ITEM(classes, i);
    if (!is_unused(row, type)) failed = append_part(parts, PyObject_Repr(row));
  }
  if (failed == 0 && PyList_GET_SIZE(parts) < PyTuple_GET_SIZE(classes))
    failed = append_part(parts, PyUnicode_FromString("..."));
  PyObject *text = failed == 0 ? joined(parts, "(%U)") : NULL;
  Py_XDECREF(parts);
  return text;
}

/* The place of `classes`, whose row's type is that of `spans`, which follows. */
#define CLASSES 8

static PyObject *stats_repr(PyObject *self) {
  PyTypeObject *row_type = Py_TYPE(PyStructSequence_GET_ITEM(self, CLASSES + 1));
  PyObject *parts = PyList_New(0);
  int failed = parts == NULL ? -1 : 0;
  for (int i = 0; failed == 0 && stats_fields[i].name != NULL; i++) {
    PyObject *value = PyStructSequence_GET_ITEM(self, i);
    PyObject *text = i == CLASSES ? classes_text(value, row_type) : PyObject_Repr(value);
    const char *name = stats_fields[i].name;
    failed = append_part(parts, text == NULL ? NULL : PyUnicode_FromFormat("%s=%U", name, text));
    Py_XDECREF(text);
  }
  PyObject *text = failed == 0 ? joined(parts, "mheap.HeapStats(%U)") : NULL;
  Py_XDECREF(parts);
  return text;
}

static PyObject *to_json(PyObject *self, PyObject *unused) {
  (void)unused;
  PyObject *module = PyImport_ImportModule("mheap._stats");
  PyObject *text = module != NULL ? PyObject_CallMethod(module, "to_json", "(O)", self) : NULL;
  Py_XDECREF(module);
  return text;
}

static PyMethodDef json_method = {
    "json", to_json, METH_NOARGS,
    "json($self, /)\n--\n\nAll of it as one JSON object with these names; classes is a list of objects."};

static int add_json(PyTypeObject *type) {
  PyObject *method = PyDescr_NewMethod(type, &json_method);
  int failed = method != NULL ? PyObject_SetAttrString((PyObject *)type, "json", method) : -1;
  Py_XDECREF(method);
  return failed;
}

static PyTypeObject *make_type(PyObject *module, PyStructSequence_Desc *desc) {
  PyTypeObject *type = PyStructSequence_NewType(desc);
  if (type != NULL && PyModule_AddType(module, type) < 0) Py_CLEAR(type);
  return type;
}

int mhx_stats_init(PyObject *module, mhx_state *state) {
  if ((state->info_type = make_type(module, &info_desc)) == NULL) return -1;
  if ((state->class_type = make_type(module, &class_desc)) == NULL) return -1;
  if ((state->pages_type = make_type(module, &pages_desc)) == NULL) return -1;
  if ((state->stats_type = make_type(module, &stats_desc)) == NULL) return -1;
  state->stats_type->tp_repr = stats_repr;
  if (add_json(state->stats_type) < 0) return -1;
  if ((state->mmstats_type = make_type(module, &mmstats_desc)) == NULL) return -1;
  if ((state->finding_type = make_type(module, &finding_desc)) == NULL) return -1;
  return 0;
}

/* Fills a structure field after field; a NULL value, or structure, stays an error to the end. */
typedef struct filler {
  PyObject *structure;
  Py_ssize_t next;
} filler;

static void put(filler *to, PyObject *value) {
  if (to->structure == NULL) Py_XDECREF(value);
  else if (value == NULL) Py_CLEAR(to->structure);
  else PyStructSequence_SetItem(to->structure, to->next++, value);
}

static void put_number(filler *to, uint64_t value) { put(to, PyLong_FromUnsignedLongLong(value)); }

static void put_numbers(filler *to, const uint64_t *values, int count) {
  for (int i = 0; i < count; i++) put_number(to, values[i]);
}

PyObject *mhx_uuid_text(const uint8_t *bytes) {
  char text[37], *at = text;
  for (int i = 0; i < 16; i++) {
    if (i == 4 || i == 6 || i == 8 || i == 10) *at++ = '-';
    at += snprintf(at, 3, "%02x", bytes[i]);
  }
  return PyUnicode_FromStringAndSize(text, 36);
}

/* ---- info ---- */

int mhx_info(mhx_handle *handle, mheap_info *info) {
  mheap *heap = mhx_live(handle);
  if (heap == NULL) return -1;
  return mheap_get_info(heap, info) == MHEAP_OK ? 0 : mhx_raise(heap);
}

static const char *state_name(mheap_state state) {
  return state == MHEAP_CLEAN ? "clean" : state == MHEAP_OPEN ? "open" : "sealed";
}

static PyObject *op_info(mhx_handle *handle, PyObject *const *args) {
  (void)args;
  mheap_info info;
  if (mhx_info(handle, &info) < 0) return NULL;
  filler to = {PyStructSequence_New(handle->state->info_type), 0};
  put(&to, mhx_uuid_text(info.uuid));
  put_number(&to, info.version);
  put(&to, PyUnicode_FromString(mhx_mode_name(info.mode)));
  put(&to, PyUnicode_FromString(state_name(info.state)));
  put_numbers(&to, (uint64_t[]){info.compat, info.rocompat, info.incompat, info.generation, info.epoch}, 5);
  put_numbers(&to, (uint64_t[]){info.size, info.file_size, info.disk_size, info.max_size}, 4);
  put_numbers(&to, (uint64_t[]){info.base, info.stored_base, info.segments, info.created_ns}, 4);
  put(&to, mhx_uuid_text(info.owner_boot_id));
  put_numbers(&to, (uint64_t[]){info.owner_device, info.owner_inode, info.owner_mount_id, info.owner_pid}, 4);
  put(&to, PyBool_FromLong(info.has_root));
  put(&to, PyBool_FromLong(info.has_journal));
  return to.structure;
}

/* ---- stats ---- */

/* At all of it, without the GIL: a reader keeps the commit that it shows meanwhile, if the file still says
   which. */
static mheap *begin_looking(mhx_handle *handle, mhx_use *use, bool *keeps) {
  mheap *heap = mhx_use_begin(handle, use);
  *keeps = heap != NULL && mhx_keep_for_view(handle) == 0;
  if (heap != NULL && !*keeps) PyErr_Clear();
  return heap;
}

static void end_looking(mhx_handle *handle, mhx_use *use, bool keeps) {
  if (keeps) mhx_release_for_view(handle);
  mhx_use_end(handle, use);
}

int mhx_count(mhx_handle *handle, mheap_stats *stats) {
  mhx_use use;
  bool keeps;
  mheap *heap = begin_looking(handle, &use, &keeps);
  if (heap == NULL) return -1;
  mheap_err result;
  Py_BEGIN_ALLOW_THREADS
  result = mheap_get_stats(heap, stats);
  Py_END_ALLOW_THREADS
  if (result != MHEAP_OK) mhx_raise(heap);
  end_looking(handle, &use, keeps);
  return result == MHEAP_OK ? 0 : -1;
}

static PyObject *class_stats(PyTypeObject *type, const mheap_class_stats *class) {
  filler to = {PyStructSequence_New(type), 0};
  put_numbers(&to, (uint64_t[]){class->block_size, class->runs, class->blocks, class->used}, 4);
  put_numbers(&to, (uint64_t[]){class->used_bytes, class->run_bytes}, 2);
  put_numbers(&to, (uint64_t[]){class->peak, class->peak_bytes, class->total, class->total_bytes}, 4);
  return to.structure;
}

static PyObject *all_class_stats(PyTypeObject *type, const mheap_stats *stats) {
  PyObject *all = PyTuple_New(MHEAP_CLASSES);
  for (Py_ssize_t i = 0; all != NULL && i < MHEAP_CLASSES; i++) {
    PyObject *one = class_stats(type, &stats->classes[i]);
    if (one == NULL) Py_CLEAR(all);
    else PyTuple_SET_ITEM(all, i, one);
  }
  return all;
}

static void put_totals(filler *to, const mheap_stats *stats) {
  put_numbers(to, (uint64_t[]){stats->bytes_total, stats->chunks_used, stats->bytes_used}, 3);
  put_numbers(to, (uint64_t[]){stats->chunks_free, stats->bytes_free}, 2);
}

static PyObject *page_stats(PyTypeObject *type, const mheap_page_stats *pages) {
  filler to = {PyStructSequence_New(type), 0};
  put(&to, PyUnicode_FromString(mhx_pages_name(pages->asked)));
  put_numbers(&to, (uint64_t[]){pages->page_size, pages->bytes_1g, pages->bytes_2m}, 3);
  put_numbers(&to, (uint64_t[]){pages->bytes_other, pages->bytes_transparent}, 2);
  put(&to, pages->numa_node < 0 ? Py_NewRef(Py_None) : PyLong_FromLong(pages->numa_node));
  put(&to, PyUnicode_FromString(pages->fallback));
  return to.structure;
}

PyObject *mhx_stats_object(mhx_state *state, const mheap_stats *stats) {
  PyTypeObject *type = state->class_type;
  filler to = {PyStructSequence_New(state->stats_type), 0};
  put_totals(&to, stats);
  put_numbers(&to, (uint64_t[]){stats->bytes_overhead, stats->segments, stats->segments_free}, 3);
  put(&to, all_class_stats(type, stats));
  put(&to, class_stats(type, &stats->spans));
  put(&to, class_stats(type, &stats->huge));
  put(&to, page_stats(state->pages_type, &stats->pages));
  return to.structure;
}

static PyObject *op_stats(mhx_handle *handle, PyObject *const *args) {
  (void)args;
  mheap_stats stats;
  return mhx_count(handle, &stats) < 0 ? NULL : mhx_stats_object(handle->state, &stats);
}

static PyObject *mmstats(mhx_state *state, mhx_handle *handle) {
  mheap_stats stats;
  if (mhx_count(handle, &stats) < 0) return NULL;
  filler to = {PyStructSequence_New(state->mmstats_type), 0};
  put_totals(&to, &stats);
  return to.structure;
}

static PyObject *op_mmstats(mhx_handle *handle, PyObject *const *args) {
  (void)args;
  return mmstats(handle->state, handle);
}

static PyObject *function_mmstats(PyObject *module, PyObject *md) {
  mhx_handle *handle;
  if (mhx_md(module, md, &handle) < 0) return NULL;
  return mmstats(mhx_state_of(module), handle);
}

/* ---- check ---- */

/* A walk without the GIL, which the Python functions it calls have back for their time. */
typedef struct walk {
  PyThreadState *thread;
  PyTypeObject *finding_type;
  PyObject *report, *progress; /* NULL: none */
  bool failed;                 /* an exception is set: nothing more is called */
} walk;

static void take_result(walk *self, PyObject *result) {
  self->failed = result == NULL;
  Py_XDECREF(result);
}

static void pass_finding(void *arg, const mheap_finding *finding) {
  walk *self = arg;
  if (self->report == NULL || self->failed) return;
  PyEval_RestoreThread(self->thread);
  filler to = {PyStructSequence_New(self->finding_type), 0};
  put(&to, PyLong_FromLong(finding->severity));
  put_number(&to, finding->offset);
  put(&to, PyUnicode_FromString(finding->what));
  put(&to, PyUnicode_DecodeUTF8(finding->text, (Py_ssize_t)strlen(finding->text), "surrogateescape"));
  take_result(self, to.structure != NULL ? PyObject_CallOneArg(self->report, to.structure) : NULL);
  Py_XDECREF(to.structure);
  self->thread = PyEval_SaveThread();
}

static void pass_progress(void *arg, uint64_t done, uint64_t total) {
  walk *self = arg;
  if (self->progress == NULL || self->failed) return;
  PyEval_RestoreThread(self->thread);
  take_result(self, PyObject_CallFunction(self->progress, "kk", done, total));
  self->thread = PyEval_SaveThread();
}

static PyObject *check_with(mhx_handle *handle, walk *self) {
  mhx_use use;
  bool keeps;
  mheap *heap = begin_looking(handle, &use, &keeps);
  if (heap == NULL) return NULL;
  self->thread = PyEval_SaveThread();
  mheap_err result = mheap_check(heap, pass_finding, pass_progress, self);
  PyEval_RestoreThread(self->thread);
  if (!self->failed && result != MHEAP_OK && result != MHEAP_ERR_CORRUPT) mhx_raise(heap);
  end_looking(handle, &use, keeps);
  return PyErr_Occurred() ? NULL : PyBool_FromLong(result == MHEAP_OK);
}

static PyObject *callable_or_null(PyObject *value) { return value == Py_None ? NULL : value; }

static PyObject *method_check(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  static const char *const names[] = {"report", "progress", NULL};
  PyObject *given[2];
  if (mhx_arguments("check", names, 0, args, nargs, kwnames, given) < 0) return NULL;
  walk steps = {.finding_type = ((mhx_handle *)self)->state->finding_type,
                .report = callable_or_null(given[0]),
                .progress = callable_or_null(given[1])};
  return check_with((mhx_handle *)self, &steps);
}

MHX_METHOD_ONLY(info, 0)
MHX_METHOD_ONLY(stats, 0)
MHX_METHOD_ONLY(mmstats, 0)

#define MMSTATS                                                                                     \
  "Counts the heap's blocks: a structure of bytes_total, chunks_used, bytes_used, chunks_free\n"    \
  "and bytes_free. Costs a look at every segment's header, as stats() does."

PyDoc_STRVAR(check_doc,
"check($self, /, report=None, progress=None)\n--\n\n"
"Walks every stored structure, objects included; writes nothing. True when nothing is broken.\n\n"
"report(finding) is called with every Finding, progress(done, total) now and then with\n"
"bytes. An exception in either ends the reporting and is raised. Other threads run meanwhile.");

PyDoc_STRVAR(stats_doc,
"stats($self, /)\n--\n\n"
"Counts blocks and bytes, in all and by size class: a HeapStats.\n\n"
"Costs a look at every segment's header; while other threads allocate, it is approximate.");

PyMethodDef mhx_stats_methods[] = {
    MHX_METHOD(info, "info($self, /)\n--\n\nIdentity and geometry: a HeapInfo."),
    MHX_METHOD(stats, stats_doc),
    MHX_METHOD(mmstats, "mmstats($self, /)\n--\n\n" MMSTATS),
    {"check", (PyCFunction)(void (*)(void))method_check, METH_FASTCALL | METH_KEYWORDS, check_doc},
    {NULL, NULL, 0, NULL},
};

PyMethodDef mhx_stats_functions[] = {
    {"mmstats", function_mmstats, METH_O, "mmstats($module, md, /)\n--\n\n" MMSTATS},
    {NULL, NULL, 0, NULL},
};
