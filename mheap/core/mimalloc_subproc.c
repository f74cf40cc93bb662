/* mimalloc_subproc.c: mimalloc's subprocesses, threads and process. A subprocess's identifier is its
   number, as a pointer.

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
void mi_thread_init(void) { mheap_thread_init(); }
void mi_thread_done(void) { mheap_thread_done(); }

/* ---- the process ---- */

static void tell(size_t *place, uint64_t value) {
  if (place != NULL) *place = value;
}

void mi_process_info(size_t *elapsed_msecs, size_t *user_msecs, size_t *system_msecs, size_t *current_rss,
                     size_t *peak_rss, size_t *current_commit, size_t *peak_commit, size_t *page_faults) {
  mheap_process_info info;
  if (mheap_get_process_info(&info, NULL) != MHEAP_OK) info = (mheap_process_info){0};
  tell(elapsed_msecs, info.elapsed_ms);
  tell(user_msecs, info.user_ms);
  tell(system_msecs, info.system_ms);
  tell(current_rss, info.current_rss);
  tell(peak_rss, info.peak_rss);
  tell(current_commit, info.current_commit);
  tell(peak_commit, info.peak_commit);
  tell(page_faults, info.page_faults);
}
