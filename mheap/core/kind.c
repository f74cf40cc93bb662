/* kind.c: see kind.h. Owns the list of the process's kinds and the numbers of their arenas. */
#include "kind.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "os.h"
#include "registry.h"
#include "subproc.h"
#include "utf8.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static mheap_kind *kinds;

/* ---- numbers of arenas ---- */

#define NUMBERS ((uint32_t)1 << 20)
#define NUMBERS_BYTES (NUMBERS * sizeof(_Atomic(mheap_kind *)))

static _Atomic(mheap_kind *) *_Atomic numbers; /* by number; 0 is none's */
static uint32_t numbered = 1;                  /* all from here on are free */

static bool are_free(uint32_t from, uint32_t count) {
  for (uint32_t i = from; i < from + count; i++)
    if (numbers[i] != NULL) return false;
  return true;
}

/* Numbers are used again only once there are no others. */
static uint32_t free_numbers(uint32_t count) {
  if (numbered + count <= NUMBERS) return numbered;
  for (uint32_t from = 1; from + count <= NUMBERS; from++)
    if (are_free(from, count)) return from;
  return 0;
}

static void set_numbers(mheap_kind *kind, mheap_kind *to) {
  for (uint32_t i = 0; i < kind->arenas; i++) atomic_store(&numbers[kind->first + i], to);
}

static mheap_err number(mheap_kind *kind, mheap_error *error) {
  if (numbers == NULL) numbers = mh_os_table(NUMBERS_BYTES);
  kind->first = numbers != NULL ? free_numbers(kind->arenas) : 0;
  if (kind->first == 0) return mh_fail_system(error, ENOMEM, kind->name, "numbering the arenas of a kind");
  if (kind->first == numbered) numbered += kind->arenas;
  set_numbers(kind, kind);
  return MHEAP_OK;
}

mheap_kind *mheap_kind_by_arena(unsigned arena) {
  mheap_kind *kind = numbers != NULL && arena < NUMBERS ? atomic_load(&numbers[arena]) : NULL;
  mheap *heap = kind == NULL ? mheap_default() : NULL;
  if (heap != NULL) mh_fail(mh_error(heap), MHEAP_ERR_NOT_FOUND, "arena %u: it is no kind's", arena);
  return kind;
}

/* ---- locks ---- */

void mh_kinds_lock(void) { pthread_mutex_lock(&lock); }
void mh_kinds_unlock(void) { pthread_mutex_unlock(&lock); }

void mh_kinds_before_fork(void) {
  pthread_mutex_lock(&lock);
  for (mheap_kind *kind = kinds; kind != NULL; kind = kind->next) pthread_mutex_lock(&kind->lock);
}

void mh_kinds_after_fork(void) {
  for (mheap_kind *kind = kinds; kind != NULL; kind = kind->next) pthread_mutex_unlock(&kind->lock);
  pthread_mutex_unlock(&lock);
}

/* ---- the list ---- */

static uint64_t kind_bytes(uint32_t arenas) { return sizeof(mheap_kind) + arenas * sizeof(mh_kind_arena); }

mheap_kind *mh_kind_new(const char *name, uint32_t policy, uint32_t arenas, mheap_error *error) {
  mheap_kind *kind = mh_os_table(kind_bytes(arenas));
  if (kind == NULL) {
    mh_fail_system(error, ENOMEM, name, "making a kind");
    return NULL;
  }
  kind->policy = policy;
  kind->arenas = arenas;
  memcpy(kind->name, name, strlen(name));
  pthread_mutex_init(&kind->lock, NULL);
  mh_error_forget((const mheap *)kind);
  return kind;
}

void mh_kind_free(mheap_kind *kind) {
  pthread_mutex_destroy(&kind->lock);
  mh_error_forget((const mheap *)kind);
  mh_os_table_free(kind, kind_bytes(kind->arenas));
}

mheap_err mh_kind_enter(mheap_kind *kind, mheap_error *error) {
  mheap_err code = number(kind, error);
  if (code) return code;
  kind->next = kinds;
  kinds = kind;
  return MHEAP_OK;
}

static void leave(mheap_kind *kind) {
  mheap_kind **link = &kinds;
  while (*link != kind) link = &(*link)->next;
  *link = kind->next;
  set_numbers(kind, NULL);
}

/* Is it in that region or, without one, in memory of the calling thread's subprocess? */
static bool is_of(const mheap_kind *kind, const mheap *main) {
  if (main != NULL) return kind->main != NULL && kind->main->region == main->region;
  return kind->main == NULL && kind->subproc == mh_subproc_now();
}

mheap_kind *mh_kind_at(const mh_region *region, uint32_t row) {
  mheap_kind *kind = kinds;
  while (kind != NULL && (kind->main == NULL || kind->main->region != region || kind->row != row))
    kind = kind->next;
  return kind;
}

static mheap_kind *find(const char *name, const mheap *main) {
  mheap_kind *kind = kinds;
  while (kind != NULL && (kind->nameless || !is_of(kind, main) || strcmp(kind->name, name) != 0))
    kind = kind->next;
  return kind;
}

void mh_kinds_forget(const mh_region *region) {
  pthread_mutex_lock(&lock);
  for (mheap_kind *kind = kinds, *next; kind != NULL; kind = next) {
    next = kind->next;
    if (kind->main == NULL || kind->main->region != region) continue;
    leave(kind);
    mh_kind_free(kind);
  }
  pthread_mutex_unlock(&lock);
}

void mh_kinds_rolled_back(const mh_region *region) {
  pthread_mutex_lock(&lock);
  for (mheap_kind *kind = kinds, *next; kind != NULL; kind = next) {
    next = kind->next;
    if (kind->main == NULL || kind->main->region != region) continue;
    if (mh_heap_is_committed(kind->arena[0].first.heap)) {
      mh_kind_load_usage(kind);
      continue;
    }
    leave(kind);
    mh_kind_free(kind);
  }
  pthread_mutex_unlock(&lock);
}

/* ---- making and finding ---- */

uint32_t mh_kind_arenas(uint32_t policy) {
  return policy == MH_KIND_BIJECTIVE ? 1 : MH_KIND_ARENAS_EACH * mh_os_processors();
}

void mh_kind_add_part(mheap_kind *kind, mh_kind_arena *arena, mh_kind_part *part, mheap *heap) {
  part->heap = heap;
  heap->kind_arena = (uint32_t)(arena - kind->arena);
  part->older = atomic_load_explicit(&arena->newest, memory_order_relaxed);
  mh_region_set_thrifty(heap->region, heap->row, kind->usage == MHEAP_KIND_USAGE_CONSERVATIVE);
  atomic_store_explicit(&heap->kind, kind, memory_order_release);
  atomic_store_explicit(&arena->newest, part, memory_order_release);
}

static mheap_err check_name(const char *name, mheap_error *error) {
  size_t length = name != NULL ? strlen(name) : 0;
  if (length > 0 && length <= MHEAP_KIND_NAME_MAX && mh_is_utf8(name, length)) return MHEAP_OK;
  return mh_fail(error, MHEAP_ERR_ARGUMENT, "the name of a kind is UTF-8 of 1 to %d bytes, not %s",
                 MHEAP_KIND_NAME_MAX,
                 length > 0 && length <= MHEAP_KIND_NAME_MAX ? "other bytes" : "of another length");
}

static mheap_kind *in_memory(const char *name, uint32_t policy, const mheap_extent_hooks *hooks,
                             bool nameless, mheap_error *error) {
  mheap_kind *kind = mh_kind_new(name, policy, mh_kind_arenas(policy), error);
  if (kind == NULL) return NULL;
  kind->nameless = nameless;
  kind->hooks = hooks;
  kind->subproc = mh_subproc_now();
  if (mh_kind_enter(kind, error) == MHEAP_OK) return kind;
  mh_kind_free(kind);
  return NULL;
}

mheap_kind *mh_kind_make_nameless(const char *name, uint32_t policy, const mheap_extent_hooks *hooks,
                                  mheap_error *error) {
  mh_registry_watch();
  mh_kinds_lock();
  mheap_kind *kind = in_memory(name, policy, hooks, true, error);
  mh_kinds_unlock();
  return kind;
}

static mheap_kind *make(const char *name, mheap_kind_policy policy, mheap *main, mheap_error *error) {
  uint32_t stored = policy == MHEAP_KIND_BIJECTIVE ? MH_KIND_BIJECTIVE : MH_KIND_THREAD;
  return main != NULL ? mh_kind_store(main, name, stored, error)
                      : in_memory(name, stored, NULL, false, error);
}

static mheap_kind *refuse_policy(const mheap_kind *kind, mheap_error *error) {
  mh_fail(error, MHEAP_ERR_ARGUMENT, "kind \"%s\" exists already, with the policy %s", kind->name,
          kind->policy == MH_KIND_THREAD ? "thread" : "bijective");
  return NULL;
}

static mheap_kind *not_found(const char *name, mheap_error *error) {
  mh_fail(error, MHEAP_ERR_NOT_FOUND, "there is no kind \"%s\"", name);
  return NULL;
}

/* With the lock. What is damaged in the region stands in the way only of what is not found. */
static mheap_kind *find_or_make(const char *name, mheap_kind_policy policy, bool create, mheap *main,
                                mheap_error *error) {
  mheap_err damaged = main != NULL ? mh_kinds_load(main, error) : MHEAP_OK;
  mheap_kind *kind = find(name, main);
  if (kind != NULL)
    return policy != MHEAP_KIND_ANY && policy != kind->policy ? refuse_policy(kind, error) : kind;
  if (damaged) return NULL;
  return create ? make(name, policy, main, error) : not_found(name, error);
}

static mheap_kind *get(const char *name, mheap_kind_policy policy, bool create, mheap *heap) {
  mheap *of = mh_heap_of(heap), *main = heap != NULL ? mheap_main(heap) : NULL;
  if (of == NULL) return NULL;
  mheap_error *error = mh_error(of), why = {0};
  if (check_name(name, error) != MHEAP_OK) return NULL;
  if ((unsigned)policy > MHEAP_KIND_BIJECTIVE) {
    mh_fail(error, MHEAP_ERR_ARGUMENT, "kind \"%s\": %d is no policy", name, (int)policy);
    return NULL;
  }
  if (main != NULL && mh_heap_usable(of) != MHEAP_OK) return NULL;
  mh_registry_watch();
  mh_kinds_lock();
  mheap_kind *kind = find_or_make(name, policy, create, main, &why);
  mh_kinds_unlock();
  if (kind == NULL) *mh_error(of) = why;
  return kind;
}

mheap_kind *mheap_kind_create(const char *name, mheap_kind_policy policy, mheap *heap) {
  return get(name, policy, true, heap);
}

/* At exit, what hooks gave goes back to them. */
static void at_exit(void) {
  mheap_kind *kind;
  do {
    mh_kinds_lock();
    kind = kinds;
    while (kind != NULL && kind->hooks == NULL) kind = kind->next;
    if (kind != NULL) leave(kind);
    mh_kinds_unlock();
    if (kind != NULL) mh_kind_drop_grounds(kind);
  } while (kind != NULL);
}

static void set_exit(void) { atexit(at_exit); }

void mh_kinds_watch_exit(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, set_exit);
}

static mheap_kind *make_with_hooks(const char *name, mheap_kind_policy policy,
                                   const mheap_extent_hooks *hooks, mheap_error *error) {
  uint32_t stored = policy == MHEAP_KIND_BIJECTIVE ? MH_KIND_BIJECTIVE : MH_KIND_THREAD;
  if (find(name, NULL) == NULL) return in_memory(name, stored, hooks, false, error);
  mh_fail(error, MHEAP_ERR_BUSY, "kind \"%s\" exists already; it keeps the memory it has", name);
  return NULL;
}

mheap_kind *mheap_kind_create_with_hooks(const char *name, mheap_kind_policy policy,
                                         const mheap_extent_hooks *hooks) {
  mheap *of = mheap_default();
  if (of == NULL || check_name(name, mh_error(of)) != MHEAP_OK) return NULL;
  if ((unsigned)policy > MHEAP_KIND_BIJECTIVE || hooks == NULL || hooks->alloc == NULL) {
    mh_fail(mh_error(of), MHEAP_ERR_ARGUMENT, "kind \"%s\": %s", name,
            hooks == NULL || hooks->alloc == NULL ? "without the hook `alloc` there is no memory for it"
                                                  : "no such policy");
    return NULL;
  }
  mheap_error why = {0};
  mh_registry_watch();
  mh_kinds_watch_exit();
  mh_kinds_lock();
  mheap_kind *kind = make_with_hooks(name, policy, hooks, &why);
  mh_kinds_unlock();
  if (kind == NULL) *mh_error(of) = why;
  return kind;
}

mheap_kind *mheap_kind_find(const char *name, mheap *heap) { return get(name, MHEAP_KIND_ANY, false, heap); }

mheap_err mheap_visit_kinds(mheap *heap, bool (*visit)(void *arg, mheap_kind *kind), void *arg) {
  mheap *of = mh_heap_of(heap), *main = heap != NULL ? mheap_main(heap) : NULL;
  if (of == NULL) return MHEAP_ERR_NO_MEMORY;
  mheap_error why = {0};
  mheap_err code = main != NULL ? mh_heap_usable(of) : MHEAP_OK;
  if (code) return code;
  mh_kinds_lock();
  if (main != NULL) code = mh_kinds_load(main, &why);
  bool more = true;
  for (mheap_kind *kind = kinds; kind != NULL && more; kind = kind->next)
    if (!kind->nameless && is_of(kind, main)) more = visit(arg, kind);
  mh_kinds_unlock();
  if (code) *mh_error(of) = why;
  return code;
}

/* ---- destroying ---- */

static mheap_err no_kind(void) {
  mheap *heap = mheap_default();
  return heap == NULL ? MHEAP_ERR_NO_MEMORY
                      : mh_fail(mh_error(heap), MHEAP_ERR_ARGUMENT, "NULL is the default heap, not a kind");
}

static void end(mheap_kind *kind) {
  mh_kind_drop_grounds(kind);
  mh_kind_free(kind);
}

mheap_err mheap_kind_destroy(mheap_kind *kind) {
  if (kind == NULL) return no_kind();
  mh_kinds_lock();
  mheap_err code = kind->main != NULL ? mh_kind_unstore(kind) : MHEAP_OK;
  if (!code) {
    leave(kind);
    if (kind->main != NULL) mh_kind_drop_heaps(kind);
  }
  mh_kinds_unlock();
  if (!code) end(kind);
  return code;
}

void mh_kinds_settle(mheap *main) {
  mh_kinds_lock();
  mh_kinds_reclaim(main);
  mh_kinds_unlock();
}

/* ---- those of a subprocess ---- */

static mheap_kind *one_of(const struct mh_subproc *subproc) {
  mheap_kind *kind = kinds;
  while (kind != NULL && (kind->main != NULL || kind->subproc != subproc)) kind = kind->next;
  return kind;
}

/* Regions are not given back under the kinds' lock, which that takes itself. */
void mh_kinds_drop_subproc(const struct mh_subproc *subproc) {
  mheap_kind *kind;
  do {
    mh_kinds_lock();
    kind = one_of(subproc);
    if (kind != NULL) leave(kind);
    mh_kinds_unlock();
    if (kind != NULL) end(kind);
  } while (kind != NULL);
}

uint64_t mh_kinds_used(const struct mh_subproc *subproc) {
  uint64_t used = 0;
  mh_kinds_lock();
  for (mheap_kind *kind = kinds; kind != NULL; kind = kind->next)
    if (kind->main == NULL && kind->subproc == subproc) used += mh_kind_grounds_used(kind);
  mh_kinds_unlock();
  return used;
}

/* ---- what a kind is ---- */

mheap_err mh_kind_fail(const mheap_kind *kind, const mheap *heap) {
  mheap_error *to = mh_kind_error(kind), from = *mh_error(heap);
  *to = from;
  return from.code;
}

const mheap_error *mheap_kind_last_error(mheap_kind *kind) {
  return kind != NULL ? mh_kind_error(kind) : mheap_last_error(NULL);
}

mheap_err mheap_kind_get_info(mheap_kind *kind, mheap_kind_info *info) {
  if (kind == NULL) return no_kind();
  if (info == NULL)
    return mh_fail(mh_kind_error(kind), MHEAP_ERR_ARGUMENT, "kind \"%s\": no place for the result",
                   kind->name);
  *info = (mheap_kind_info){
      .name = kind->name,
      .policy = (mheap_kind_policy)kind->policy,
      .usage = (mheap_kind_usage)kind->usage,
      .heap = kind->main,
      .arenas = kind->arenas,
      .arena = kind->first,
      .size = mh_kind_grounds_size(kind),
  };
  return MHEAP_OK;
}

/* Of all heaps that the kind has now; those it gets later ask the kind. */
static void set_thrifty(mheap_kind *kind, bool thrifty) {
  for (uint32_t i = 0; i < kind->arenas; i++)
    for (mh_kind_part *part = kind->arena[i].newest; part != NULL; part = part->older)
      mh_region_set_thrifty(part->heap->region, part->heap->row, thrifty);
}

mheap_err mheap_kind_set_usage(mheap_kind *kind, mheap_kind_usage usage) {
  if (kind == NULL) return no_kind();
  if ((unsigned)usage > MHEAP_KIND_USAGE_CONSERVATIVE)
    return mh_fail(mh_kind_error(kind), MHEAP_ERR_ARGUMENT, "kind \"%s\": %d is no memory usage policy",
                   kind->name, (int)usage);
  if (kind->main != NULL && mh_heap_writable(kind->main) != MHEAP_OK) return mh_kind_fail(kind, kind->main);
  pthread_mutex_lock(&kind->lock);
  kind->usage = usage;
  if (kind->main != NULL) mh_kind_store_usage(kind);
  set_thrifty(kind, usage == MHEAP_KIND_USAGE_CONSERVATIVE);
  mh_ground *ground = kind->grounds;
  pthread_mutex_unlock(&kind->lock);
  if (usage == MHEAP_KIND_USAGE_DEFAULT) return MHEAP_OK;
  if (kind->main != NULL && mheap_collect(kind->main, true) != MHEAP_OK)
    return mh_kind_fail(kind, kind->main);
  for (; ground != NULL; ground = ground->older) mheap_collect(ground->main, true);
  return MHEAP_OK;
}

mheap_err mheap_kind_decorate(mheap_kind *kind, const mheap_kind_decorators *decorators) {
  if (kind == NULL) return no_kind();
  atomic_store_explicit(&kind->decorators, decorators, memory_order_release);
  return MHEAP_OK;
}
