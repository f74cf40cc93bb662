/* mimalloc_subproc.c: mimalloc's subprocesses and threads. A subprocess's identifier is its number, as a
   pointer.

   Owns nothing. Calls mheap.h. */
#include "mimalloc_common.h"

static mi_subproc_id_t face_of(mheap_subproc subproc) { return (mi_subproc_id_t)(intptr_t)subproc; }
static mheap_subproc core_of(mi_subproc_id_t subproc) { return (mheap_subproc)(intptr_t)subproc; }

mi_subproc_id_t mi_subproc_main(void) { return face_of(mheap_subproc_main()); }
mi_subproc_id_t mi_subproc_current(void) { return face_of(mheap_subproc_current()); }
mi_subproc_id_t mi_subproc_new(void) { return face_of(mheap_subproc_new(NULL, NULL, NULL)); }

void mi_subproc_destroy(mi_subproc_id_t subproc) { mheap_subproc_destroy(core_of(subproc), NULL); }
void mi_subproc_delete(mi_subproc_id_t subproc) { mheap_subproc_delete(core_of(subproc), NULL); }

void mi_subproc_add_current_thread(mi_subproc_id_t subproc) {
  if (mheap_subproc_add_current_thread(core_of(subproc), NULL) == MHEAP_OK) mh_mi_heap = NULL;
}

typedef struct visitor {
  mi_heap_visit_fun *visit;
  void *arg;
} visitor;

static bool visit_heap(void *arg, mheap *heap) {
  const visitor *v = arg;
  return v->visit(mh_mi_face(heap), v->arg);
}

bool mi_subproc_visit_heaps(mi_subproc_id_t subproc, mi_heap_visit_fun *visitor_fun, void *arg) {
  visitor v = {.visit = visitor_fun, .arg = arg};
  return visitor_fun != NULL && mheap_subproc_visit_heaps(core_of(subproc), visit_heap, &v);
}

/* ---- what goes by itself ---- */

void mi_process_init(void) {}
void mi_thread_done(void) { mheap_thread_done(); }
