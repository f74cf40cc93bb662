/* mimalloc_heap.c: mimalloc's heaps: made, deleted, destroyed, chosen, looked into.

   Owns nothing but the choice of a thread's default (mh_mi_heap). Calls mheap.h, areas.h, pointer.h. */
#include "areas.h"
#include "mimalloc_common.h"
#include "pointer.h"

/* ---- making and freeing ---- */

mi_heap_t *mi_heap_new_ex(int heap_tag, bool allow_destroy, mi_arena_id_t arena_id) {
  return mh_mi_face(mheap_new(NULL, heap_tag, allow_destroy, arena_id));
}

mi_heap_t *mi_heap_new(void) { return mi_heap_new_ex(0, true, 0); }
mi_heap_t *mi_heap_new_in_arena(mi_arena_id_t arena_id) { return mi_heap_new_ex(0, true, arena_id); }

static void unset_default(const mheap *heap) {
  if (mh_mi_heap == heap) mh_mi_heap = NULL;
}

static bool is_main(mheap *heap) { return heap == NULL || mheap_main(heap) == heap; }

void mi_heap_delete(mi_heap_t *heap) {
  mheap *core = mh_mi_core(heap);
  unset_default(core);
  if (!is_main(core)) mheap_delete(core);
}

void mi_heap_destroy(mi_heap_t *heap) {
  mheap *core = mh_mi_core(heap);
  mheap_heap_info info;
  unset_default(core);
  if (is_main(core) || mheap_get_heap_info(core, &info) != MHEAP_OK) return;
  if (info.destroyable) mheap_destroy(core);
  else mheap_delete(core);
}

/* ---- the default ---- */

mi_heap_t *mi_heap_get_default(void) { return mh_mi_face(mh_heap_of(mh_mi_heap)); }
mi_heap_t *mi_heap_get_backing(void) { return mh_mi_face(mheap_default()); }
mi_heap_t *mi_heap_main(void) { return mh_mi_face(mheap_default()); }

mi_heap_t *mi_heap_set_default(mi_heap_t *heap) {
  mi_heap_t *before = mi_heap_get_default();
  mheap *core = mh_mi_core(heap);
  mh_mi_heap = core == mheap_default() ? NULL : core; /* so that it follows the thread to a subprocess */
  return before;
}

void mi_heap_collect(mi_heap_t *heap, bool force) { mheap_collect(mh_mi_core(heap), force); }
void mi_collect(bool force) { mheap_collect(mh_mi_heap, force); }

/* ---- whose block is it? ---- */

/* Of any address in a block in use. */
static mheap *owner_of(const void *p) {
  mheap *heap = p != NULL && mheap_is_in_region(p) ? mh_pointer_heap(p) : NULL;
  return heap != NULL && mh_heap_block_start(heap, p) != NULL ? heap : NULL;
}

/* Of a pointer that was handed out. */
static mheap *heap_of_block(const void *p) {
  mheap *heap = owner_of(p);
  return heap != NULL && mheap_usable_size(heap, p) != 0 ? heap : NULL;
}

mi_heap_t *mi_heap_of(const void *p) { return mh_mi_face(heap_of_block(p)); }

bool mi_heap_contains(const mi_heap_t *heap, const void *p) {
  mheap *core = mh_heap_of(mh_mi_core(heap));
  return core != NULL && heap_of_block(p) == core;
}

bool mi_heap_contains_block(mi_heap_t *heap, const void *p) { return mi_heap_contains(heap, p); }

bool mi_heap_check_owned(mi_heap_t *heap, const void *p) {
  mheap *core = mh_heap_of(mh_mi_core(heap));
  return core != NULL && owner_of(p) == core;
}

bool mi_check_owned(const void *p) { return mi_heap_check_owned(mh_mi_face(mh_mi_heap), p); }
bool mi_any_heap_contains(const void *p) { return owner_of(p) != NULL; }

/* ---- visiting ---- */

typedef struct visitor {
  const mi_heap_t *heap; /* told to the visitor */
  int tag;
  bool abandoned; /* slabs without a thread alone */
  mi_block_visit_fun *visit;
  void *arg;
  bool stopped;
} visitor;

static bool visit_area(void *arg, const mh_area *area, void *block, size_t usable) {
  visitor *v = arg;
  if (v->abandoned && (!area->slab || area->owned)) return true;
  mi_heap_area_t told = {
      .blocks = area->start,
      .reserved = area->bytes,
      .committed = area->usable,
      .used = area->used,
      .block_size = area->block_size,
      .full_block_size = area->block_size,
      .heap_tag = v->tag,
  };
  v->stopped = !v->visit(v->heap, &told, block, block != NULL ? usable : area->block_size, v->arg);
  return !v->stopped;
}

static bool visit(mheap *heap, bool blocks, visitor *v) {
  mheap_heap_info info;
  if (mheap_get_heap_info(heap, &info) != MHEAP_OK) return false;
  v->tag = info.tag;
  return mh_visit_areas(heap, blocks, visit_area, v) == MHEAP_OK && !v->stopped;
}

bool mi_heap_visit_blocks(const mi_heap_t *heap, bool visit_all_blocks, mi_block_visit_fun *visitor_fun,
                          void *arg) {
  mheap *core = mh_heap_of(mh_mi_core(heap));
  if (core == NULL || visitor_fun == NULL) return false;
  visitor v = {.heap = mh_mi_face(core), .visit = visitor_fun, .arg = arg};
  return visit(core, visit_all_blocks, &v);
}

typedef struct abandoned {
  bool blocks;
  int tag;
  visitor inner;
} abandoned;

static bool visit_abandoned(void *arg, mheap *heap) {
  abandoned *a = arg;
  mheap_heap_info info;
  if (mheap_get_heap_info(heap, &info) != MHEAP_OK) return false;
  if (a->tag >= 0 && a->tag != info.tag) return true;
  a->inner.heap = mh_mi_face(heap);
  return visit(heap, a->blocks, &a->inner);
}

bool mi_abandoned_visit_blocks(mi_subproc_id_t subproc_id, int heap_tag, bool visit_blocks,
                               mi_block_visit_fun *visitor_fun, void *arg) {
  abandoned a = {.blocks = visit_blocks, .tag = heap_tag};
  a.inner = (visitor){.abandoned = true, .visit = visitor_fun, .arg = arg};
  mheap_subproc subproc = (mheap_subproc)(intptr_t)subproc_id;
  return visitor_fun != NULL && mheap_subproc_visit_heaps(subproc, visit_abandoned, &a);
}
