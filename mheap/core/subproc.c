/* subproc.c: see subproc.h. The public functions are those of mheap/subprocs.h, and mheap_default. */
#include "subproc.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "arenas.h"
#include "classes.h"
#include "kind.h"
#include "mheap/subprocs.h"
#include "os.h"
#include "registry.h"
#include "superblock.h"

mh_subproc mh_subproc_first = {.id = 1, .name = "main"};

uint64_t mh_subproc_span;

static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all that follows */
static mh_subproc *last = &mh_subproc_first;             /* of the list, by ->next from the main one */
static mh_subproc *unused;                               /* records, by ->next */
static int numbers = 1;                                  /* given out so far */

void mh_making_lock(void) { pthread_mutex_lock(&making); }
void mh_making_unlock(void) { pthread_mutex_unlock(&making); }

/* ---- records; the lock is held ---- */

static mh_subproc *find(int id) {
  mh_subproc *found = &mh_subproc_first;
  while (found != NULL && found->id != id) found = found->next;
  return found;
}

#define RECORDS_BYTES ((uint64_t)65536)

static void make_records(void) {
  mh_subproc *more = mh_os_table(RECORDS_BYTES);
  if (more == NULL) return;
  for (size_t i = 0; i < RECORDS_BYTES / sizeof *more; i++) {
    more[i].next = unused;
    unused = &more[i];
  }
}

static mh_subproc *new_record(const char *name) {
  if (unused == NULL) make_records();
  mh_subproc *made = unused;
  if (made == NULL || numbers == INT32_MAX) return NULL;
  unused = made->next;
  memset(made, 0, sizeof *made);
  made->id = ++numbers;
  snprintf(made->name, sizeof made->name, "%s", name != NULL ? name : "");
  last = last->next = made;
  return made;
}

static void drop_record(mh_subproc *old) {
  mh_subproc *before = &mh_subproc_first;
  while (before->next != old) before = before->next;
  before->next = old->next;
  if (last == old) last = before;
  old->id = 0;
  old->next = unused;
  unused = old;
}

/* ---- what they are called ---- */

#define CALLED (MH_SUBPROC_NAME + 32)

static void call(const mh_subproc *subproc, char *called) {
  if (subproc->name[0] == '\0') snprintf(called, CALLED, "subprocess %d", subproc->id);
  else snprintf(called, CALLED, "subprocess %d (%s)", subproc->id, subproc->name);
}

static mheap_err no_subproc(mheap_subproc id, mheap_error *error) {
  return mh_fail(error, MHEAP_ERR_ARGUMENT, "subprocess %d: there is none of this number", id);
}

mheap_err mh_subproc_refuse(const mh_subproc *self, const void *address, mheap_error *error) {
  const mh_subproc *other = mh_registry_subproc_of(address);
  char here[CALLED], there[CALLED];
  if (other == NULL || other == self) return MHEAP_OK;
  pthread_mutex_lock(&lock);
  call(self, here);
  call(other, there);
  pthread_mutex_unlock(&lock);
  return mh_fail(error, MHEAP_ERR_POINTER, "%p is a block of %s, not of %s; nothing was changed", address,
                 there, here);
}

mheap_err mh_subproc_refuse_main(const mheap *heap, mheap_error *error) {
  const mh_subproc *served = &mh_subproc_first;
  char called[CALLED];
  if (heap != NULL) served = atomic_load_explicit(&((mheap *)heap)->serves, memory_order_relaxed);
  if (served == NULL) return MHEAP_OK;
  if (heap == NULL || (served == &mh_subproc_first && !served->given))
    return mh_fail(error, MHEAP_ERR_ARGUMENT, "the default heap is not detached: it goes with the process");
  pthread_mutex_lock(&lock);
  call(served, called);
  pthread_mutex_unlock(&lock);
  return mh_fail(error, MHEAP_ERR_ARGUMENT, "this is the main heap of %s; destroy or delete that first",
                 called);
}

/* ---- main heaps ---- */

static void serve(mh_subproc *subproc, mheap *heap) {
  mh_region *region = heap->region;
  mh_subproc_own(subproc, region);
  mh_lanes_forget(heap); /* threads of the one it came from may not free in it by pointer alone any more */
  atomic_store_explicit(&heap->serves, subproc, memory_order_relaxed);
  atomic_store_explicit(&subproc->main, heap, memory_order_release);
}

/* Of a limited address space a region takes a quarter at most. Huge pages would make a process that
   touches little a large one. */
mheap *mh_subproc_attach(uint64_t usual, uint64_t least, mheap_error *error) {
  mheap_options options = {.max_size = usual, .huge_pages = MHEAP_PAGES_NEVER};
  uint64_t share = mh_os_address_limit() / 4;
  while (options.max_size > share && options.max_size / 2 >= least) options.max_size /= 2;
  mheap *heap = mheap_attach(-1, &options, error);
  while (heap == NULL && options.max_size / 2 >= least) {
    options.max_size /= 2;
    heap = mheap_attach(-1, &options, error);
  }
  return heap;
}

static mheap *attach_main(mheap_error *error) {
  if (mh_subproc_span != 0) return mh_subproc_attach(mh_subproc_span, mh_subproc_span, error);
  return mh_subproc_attach(MH_DEFAULT_SPAN, MH_SUBPROC_SPAN_LEAST, error);
}

/* The lock `making` is held. */
static mheap *make_main(mh_subproc *subproc, mheap_error *error) {
  mheap *heap = atomic_load_explicit(&subproc->main, memory_order_acquire);
  if (heap != NULL) return heap;
  heap = attach_main(error);
  if (heap == NULL) return NULL;
  heap->region->of_subproc = true;
  heap->spreads = true;
  if (subproc != &mh_subproc_first) {
    char called[CALLED];
    call(subproc, called);
    snprintf(heap->region->path, CALLED + 32, "anonymous memory of %s", called);
  }
  serve(subproc, heap);
  return heap;
}

static mheap *main_of(mh_subproc *subproc, mheap_error *error) {
  mheap *heap = atomic_load_explicit(&subproc->main, memory_order_acquire);
  if (heap != NULL) return heap;
  mh_registry_watch();
  pthread_mutex_lock(&making);
  heap = make_main(subproc, error);
  pthread_mutex_unlock(&making);
  return heap;
}

void mh_default_adopt(mheap *heap) {
  heap->region->of_subproc = true;
  heap->spreads = heap->region->anonymous;
  serve(&mh_subproc_first, heap);
  atomic_store_explicit(&mh_process_heap, heap, memory_order_release);
}

mheap *mheap_default(void) { return main_of(mh_subproc_now(), NULL); }

const mheap *mh_default_made(void) {
  return atomic_load_explicit(&mh_subproc_now()->main, memory_order_relaxed);
}

/* Held between finding a subprocess by its number and making its heap, `making` keeps it from going. */
mheap *mheap_subproc_heap(mheap_subproc id, mheap_error *error) {
  mh_registry_watch();
  pthread_mutex_lock(&making);
  pthread_mutex_lock(&lock);
  mh_subproc *subproc = find(id);
  pthread_mutex_unlock(&lock);
  mheap *heap = subproc != NULL ? make_main(subproc, error) : NULL;
  pthread_mutex_unlock(&making);
  if (subproc == NULL) no_subproc(id, error);
  return heap;
}

/* ---- making and finding ---- */

mheap_subproc mheap_subproc_main(void) { return mh_subproc_first.id; }
mheap_subproc mheap_subproc_current(void) { return mh_subproc_now()->id; }

static mheap_err may_be_given(const mheap *heap, mheap_error *error) {
  mheap_error why;
  if (heap == NULL) return MHEAP_OK;
  if (heap->row != 0)
    return mh_fail(error, MHEAP_ERR_BUSY, "%s: only the main heap of a region can be that of a subprocess",
                   heap->region->path);
  if (mh_subproc_refuse_main(heap, &why) == MHEAP_OK) return MHEAP_OK;
  return mh_fail(error, MHEAP_ERR_BUSY, "%s: it is the main heap of a subprocess already",
                 heap->region->path);
}

mheap_subproc mheap_subproc_new(const char *name, mheap *heap, mheap_error *error) {
  mh_error_clear(error);
  mh_registry_watch();
  pthread_mutex_lock(&making);
  mheap_err code = may_be_given(heap, error);
  pthread_mutex_lock(&lock);
  mh_subproc *made = code ? NULL : new_record(name);
  int id = made != NULL ? made->id : 0;
  if (made != NULL) made->given = heap != NULL;
  pthread_mutex_unlock(&lock);
  if (made != NULL && heap != NULL) serve(made, heap);
  pthread_mutex_unlock(&making);
  if (!code && id == 0) mh_fail_system(error, ENOMEM, "subprocess", "making its record");
  return id;
}

mheap_err mheap_subproc_get_info(mheap_subproc id, mheap_subproc_info *info, mheap_error *error) {
  if (info == NULL)
    return mh_fail(error, MHEAP_ERR_ARGUMENT,
                   "mheap_subproc_get_info: info is NULL; give the address of one");
  memset(info, 0, sizeof *info);
  pthread_mutex_lock(&lock);
  const mh_subproc *subproc = find(id);
  if (subproc != NULL) {
    info->subproc = id;
    memcpy(info->name, subproc->name, sizeof info->name);
    info->heap = atomic_load_explicit(&((mh_subproc *)subproc)->main, memory_order_acquire);
    info->threads = subproc->threads;
    info->given = subproc->given;
  }
  pthread_mutex_unlock(&lock);
  return subproc != NULL ? MHEAP_OK : no_subproc(id, error);
}

/* ---- threads ---- */

/* The lock is held. */
static void put_thread(mh_subproc *into) {
  mh_subproc *from = mh_this_thread.subproc;
  if (from != NULL) from->threads--;
  if (into != &mh_subproc_first) into->threads++;
  mh_this_thread.subproc = into != &mh_subproc_first ? into : NULL;
}

mheap_err mheap_subproc_add_current_thread(mheap_subproc id, mheap_error *error) {
  mh_subproc *from = mh_subproc_now();
  if (from->id == id) return MHEAP_OK;
  mh_registry_watch();
  mh_thread_watch();
  mh_lanes_hand_back(from);
  pthread_mutex_lock(&lock);
  mh_subproc *into = find(id);
  bool closing = into != NULL && into->closing;
  if (into != NULL && !closing) put_thread(into);
  pthread_mutex_unlock(&lock);
  if (closing) return mh_fail(error, MHEAP_ERR_BUSY, "subprocess %d: it is being destroyed", id);
  return into != NULL ? MHEAP_OK : no_subproc(id, error);
}

void mheap_subproc_leave(void) { mheap_subproc_add_current_thread(mh_subproc_first.id, NULL); }

void mh_subproc_thread_ends(void) {
  if (mh_this_thread.subproc == NULL) return;
  pthread_mutex_lock(&lock);
  put_thread(&mh_subproc_first);
  pthread_mutex_unlock(&lock);
}

/* ---- its regions ---- */

/* The main heaps of its regions, as they are at one moment: no lock is held while a
   caller's function runs. */
typedef struct heaps {
  mheap **each;
  size_t count;
  uint64_t bytes;
} heaps;

static mheap_err list_heaps(mh_subproc *subproc, heaps *list, mheap_error *error) {
  size_t room = 0;
  *list = (heaps){NULL, 0, 0};
  do {
    if (list->each != NULL) mh_os_table_free(list->each, list->bytes);
    room = list->count + 64;
    list->bytes = room * sizeof(mheap *);
    list->each = mh_os_table(list->bytes);
    if (list->each == NULL) return mh_fail_system(error, ENOMEM, "subprocess", "listing its heaps");
    list->count = mh_registry_heaps(subproc, list->each, room);
  } while (list->count > room);
  return MHEAP_OK;
}

static void free_list(heaps *list) {
  if (list->each != NULL) mh_os_table_free(list->each, list->bytes);
}

/* ---- the end of one ---- */

/* Keeps threads from coming in; NULL with an error. */
static mh_subproc *close_subproc(int id, mheap_error *error) {
  char called[CALLED];
  uint32_t threads = 0;
  pthread_mutex_lock(&lock);
  mh_subproc *subproc = find(id);
  if (subproc != NULL) {
    call(subproc, called);
    threads = subproc->threads + subproc->closing;
    if (subproc != &mh_subproc_first && threads == 0) subproc->closing = true;
  }
  pthread_mutex_unlock(&lock);
  if (subproc == NULL) no_subproc(id, error);
  else if (subproc == &mh_subproc_first)
    mh_fail(error, MHEAP_ERR_ARGUMENT, "%s cannot be destroyed: it goes with the process", called);
  else if (threads != 0)
    mh_fail(error, MHEAP_ERR_BUSY, "%s: %" PRIu32 " threads are in it; they must leave, or end, first",
            called, threads);
  return subproc != NULL && subproc != &mh_subproc_first && threads == 0 ? subproc : NULL;
}

static void reopen(mh_subproc *subproc) {
  pthread_mutex_lock(&lock);
  subproc->closing = false;
  pthread_mutex_unlock(&lock);
}

/* What was attached by name, or given, stays, with the main subprocess. */
static void drop_memory(mh_subproc *subproc) {
  heaps list;
  mheap *heap = atomic_exchange_explicit(&subproc->main, NULL, memory_order_relaxed);
  if (heap != NULL) atomic_store_explicit(&heap->serves, NULL, memory_order_relaxed);
  mh_kinds_drop_subproc(subproc);
  size_t count = list_heaps(subproc, &list, NULL) == MHEAP_OK ? list.count : 0;
  for (size_t i = 0; i < count; i++)
    if (list.each[i]->region->of_subproc) mh_handles_end_hooks(list.each[i]->region);
  if (heap != NULL && !subproc->given) mheap_abandon(heap);
  for (size_t i = 0; i < count; i++)
    if (list.each[i] != heap && list.each[i]->region->of_subproc) mheap_abandon(list.each[i]);
  free_list(&list);
  mh_registry_move(subproc, &mh_subproc_first);
}

static void end(mh_subproc *subproc) {
  pthread_mutex_lock(&making);
  drop_memory(subproc);
  pthread_mutex_lock(&lock);
  drop_record(subproc);
  pthread_mutex_unlock(&lock);
  pthread_mutex_unlock(&making);
}

mheap_err mheap_subproc_destroy(mheap_subproc id, mheap_error *error) {
  mheap_error ignored;
  if (error == NULL) error = &ignored;
  mh_subproc *subproc = close_subproc(id, error);
  if (subproc == NULL) return error->code;
  end(subproc);
  return MHEAP_OK;
}

static mheap_err refuse_used(mh_subproc *subproc, mheap_error *error) {
  char called[CALLED];
  mheap_stats stats;
  heaps list;
  mheap_err code = list_heaps(subproc, &list, error);
  memset(&stats, 0, sizeof stats);
  for (size_t i = 0; i < list.count && !code; i++)
    if (list.each[i]->region->of_subproc) code = mh_heap_region_stats(list.each[i], &stats);
  free_list(&list);
  stats.chunks_used += mh_kinds_used(subproc);
  if (code || stats.chunks_used == 0) return code;
  call(subproc, called);
  return mh_fail(error, MHEAP_ERR_BUSY, "%s: %" PRIu64 " blocks in it are in use; free them, or destroy it",
                 called, stats.chunks_used);
}

mheap_err mheap_subproc_delete(mheap_subproc id, mheap_error *error) {
  mheap_error ignored;
  if (error == NULL) error = &ignored;
  mh_subproc *subproc = close_subproc(id, error);
  if (subproc == NULL) return error->code;
  mheap_err code = refuse_used(subproc, error);
  if (code) reopen(subproc);
  else end(subproc);
  return code;
}

/* ---- looking at them ---- */

static mh_subproc *find_by(mheap_subproc id, mheap_error *error) {
  pthread_mutex_lock(&lock);
  mh_subproc *subproc = find(id);
  pthread_mutex_unlock(&lock);
  if (subproc == NULL) no_subproc(id, error);
  return subproc;
}

typedef struct visitor {
  bool (*visit)(void *arg, mheap *heap);
  void *arg;
  mheap *main; /* that was visited first */
  bool goes_on;
} visitor;

static bool visit_heap(void *arg, mheap *heap) {
  visitor *v = arg;
  if (heap != v->main) v->goes_on = v->visit(v->arg, heap);
  return v->goes_on;
}

/* What a forked child inherited has no heaps to look at but the one it has a handle of. */
static void visit_region(visitor *v, mheap *heap) {
  if (heap->region->forked) visit_heap(v, heap);
  else if (mh_heap_usable(heap) == MHEAP_OK)
    mh_heaps_visit(heap->region, visit_heap, v, &v->goes_on, mh_error(heap));
}

bool mheap_subproc_visit_heaps(mheap_subproc id, bool (*visit)(void *arg, mheap *heap), void *arg) {
  heaps list;
  visitor v = {.visit = visit, .arg = arg, .main = mheap_subproc_heap(id, NULL)};
  mh_subproc *subproc = find_by(id, NULL);
  if (v.main == NULL || subproc == NULL || visit == NULL || list_heaps(subproc, &list, NULL) != MHEAP_OK)
    return false;
  v.goes_on = visit(arg, v.main);
  for (size_t i = 0; i < list.count && v.goes_on; i++) visit_region(&v, list.each[i]);
  free_list(&list);
  return v.goes_on;
}

bool mheap_subproc_visit_arenas(mheap_subproc id, bool (*visit)(void *arg, const mheap_arena_info *info),
                                void *arg) {
  const mh_subproc *subproc = find_by(id, NULL);
  return subproc != NULL && visit != NULL && mh_arenas_visit_memory(subproc, visit, arg);
}

mheap_subproc mheap_subproc_of_heap(mheap *heap) {
  heap = mh_heap_of(heap);
  return heap != NULL ? mh_subproc_of(heap->region)->id : mheap_subproc_current();
}

mheap_subproc mheap_subproc_of_address(const void *address) { return mh_registry_memory_of(address); }

static mheap_subproc next_id(mheap_subproc after) {
  pthread_mutex_lock(&lock);
  const mh_subproc *subproc = &mh_subproc_first;
  while (subproc != NULL && subproc->id <= after) subproc = subproc->next; /* numbers ascend */
  mheap_subproc id = subproc != NULL ? subproc->id : 0;
  pthread_mutex_unlock(&lock);
  return id;
}

bool mheap_visit_subprocs(bool (*visit)(void *arg, mheap_subproc subproc), void *arg) {
  bool goes_on = visit != NULL;
  for (mheap_subproc id = 0; goes_on && (id = next_id(id)) != 0;) goes_on = visit(arg, id);
  return goes_on;
}

/* ---- statistics ---- */

/* What a forked child inherited of its parent's is not its own. */
static mheap_err add_region(mheap *heap, mheap_stats *stats, mheap_error *error) {
  if (heap->region->forked) return MHEAP_OK;
  mheap_err code = mh_region_is_whole(heap->region, error);
  if (!code && (code = mh_heap_region_stats(heap, stats)) && error != NULL) *error = *mh_error(heap);
  return code;
}

mheap_err mheap_subproc_get_stats(mheap_subproc id, mheap_stats *stats, mheap_error *error) {
  heaps list;
  if (stats == NULL)
    return mh_fail(error, MHEAP_ERR_ARGUMENT,
                   "mheap_subproc_get_stats: stats is NULL; give the address of one");
  memset(stats, 0, sizeof *stats);
  mh_subproc *subproc = find_by(id, error);
  if (subproc == NULL) return MHEAP_ERR_ARGUMENT;
  mheap_err code = list_heaps(subproc, &list, error);
  for (size_t i = 0; i < list.count && !code; i++) code = add_region(list.each[i], stats, error);
  free_list(&list);
  mh_stats_finish(stats);
  return code;
}

/* ---- forks ---- */

void mh_subprocs_lock(void) {
  pthread_mutex_lock(&making);
  pthread_mutex_lock(&lock);
}

void mh_subprocs_unlock(void) {
  pthread_mutex_unlock(&lock);
  pthread_mutex_unlock(&making);
}

void mh_subprocs_after_fork(void) {
  for (mh_subproc *subproc = mh_subproc_first.next; subproc != NULL; subproc = subproc->next)
    subproc->threads = subproc == mh_this_thread.subproc;
}
