/* memkind_arena.c: memkind's arena operations. See memkind.h; the contract is mheap/memkind_arena.h.

   Owns the list of kinds with arenas, under a lock of its own, taken alone, for what is done at exit. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "memkind.h"
#include "os.h"
#include "pointer.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct memkind_mheap *records;
static unsigned count;

/* ---- hooks: what the core asks, as the program understands it ---- */

static void *user_alloc(void *arg, size_t size, size_t alignment, bool *zero, bool *commit, unsigned arena) {
  extent_hooks_t *user = ((struct memkind_mheap *)arg)->user;
  return user->alloc(user, NULL, size, alignment, zero, commit, arena);
}

static void user_dalloc(void *arg, void *extent, size_t size, unsigned arena) {
  extent_hooks_t *user = ((struct memkind_mheap *)arg)->user;
  bool kept = user->dalloc == NULL || user->dalloc(user, extent, size, true, arena);
  if (kept && user->destroy != NULL) user->destroy(user, extent, size, true, arena);
}

static bool user_commit(void *arg, void *extent, size_t size, size_t offset, size_t length, unsigned arena) {
  extent_hooks_t *user = ((struct memkind_mheap *)arg)->user;
  return user->commit != NULL && !user->commit(user, extent, size, offset, length, arena);
}

static bool user_decommit(void *arg, void *extent, size_t size, size_t offset, size_t length,
                          unsigned arena) {
  extent_hooks_t *user = ((struct memkind_mheap *)arg)->user;
  return user->commit != NULL && user->decommit != NULL &&
         !user->decommit(user, extent, size, offset, length, arena);
}

static void user_purge(void *arg, void *extent, size_t size, size_t offset, size_t length, unsigned arena) {
  extent_hooks_t *user = ((struct memkind_mheap *)arg)->user;
  if (user->purge_forced != NULL && !user->purge_forced(user, extent, size, offset, length, arena)) return;
  if (user->purge_lazy != NULL) user->purge_lazy(user, extent, size, offset, length, arena);
}

static const mheap_extent_hooks of_user = {
    .alloc = user_alloc,
    .dalloc = user_dalloc,
    .commit = user_commit,
    .decommit = user_decommit,
    .purge = user_purge,
};

/* ---- without hooks: the kind's operations, if they say anything about memory ---- */

static bool maps_itself(const struct memkind_ops *ops) {
  return ops->mmap != NULL && ops->mmap != memkind_default_mmap;
}

static void *ops_alloc(void *arg, size_t size, size_t alignment, bool *zero, bool *commit, unsigned arena) {
  struct memkind *kind = ((struct memkind_mheap *)arg)->kind;
  const struct memkind_ops *ops = kind->ops;
  (void)alignment, (void)commit, (void)arena;
  void *extent = maps_itself(ops) ? ops->mmap(kind, NULL, size) : memkind_default_mmap(kind, NULL, size);
  *zero = false;
  if (extent == (void *)-1 || extent == NULL) return NULL;
  bool refused = (ops->mbind != NULL && ops->mbind(kind, extent, size) != 0) ||
                 (ops->madvise != NULL && ops->madvise(kind, extent, size) != 0);
  if (!refused) return extent;
  if (!maps_itself(ops)) mh_os_release(extent, size);
  return NULL;
}

/* `arg` may be all that is left: the kind is the program's memory, and this runs at exit too. */
static void ops_dalloc(void *arg, void *extent, size_t size, unsigned arena) {
  (void)arg, (void)arena;
  mh_os_release(extent, size);
}

static void ops_purge(void *arg, void *extent, size_t size, size_t offset, size_t length, unsigned arena) {
  (void)arg, (void)size, (void)arena;
  mh_os_discard((char *)extent + offset, length);
}

static const mheap_extent_hooks of_ops = {.alloc = ops_alloc, .dalloc = ops_dalloc, .purge = ops_purge};
static const mheap_extent_hooks of_own_map = {.alloc = ops_alloc};

static const mheap_extent_hooks *hooks_for(const struct memkind_ops *ops) {
  if (maps_itself(ops)) return &of_own_map;
  bool says = ops->mmap != NULL || ops->mbind != NULL || ops->madvise != NULL || ops->get_mmap_flags != NULL;
  return says ? &of_ops : NULL;
}

/* ---- is it still there? ---- */

static mheap_kind *core_of(const struct memkind_mheap *record) {
  return mheap_kind_by_arena(record->map[0]) == record->core ? record->core : NULL;
}

mheap_kind *mh_memkind_core(const struct memkind *kind) {
  return kind->mheap != NULL ? core_of(kind->mheap) : NULL;
}

/* ---- at exit ---- */

static struct memkind_mheap *take_record(void) {
  pthread_mutex_lock(&lock);
  struct memkind_mheap *record = records;
  if (record != NULL) records = record->next;
  pthread_mutex_unlock(&lock);
  return record;
}

/* The structure of a kind whose `finalize` is not the program's own is not touched: it may have
   gone with a function that made it. */
static void finalize_all(void) {
  for (struct memkind_mheap *record; (record = take_record()) != NULL;) {
    bool own = record->finalize == memkind_arena_finalize;
    if (own && core_of(record) != NULL) mheap_kind_destroy(record->core);
    else if (!own && record->finalize != NULL) record->finalize(record->kind);
  }
}

static void watch_exit(void) { atexit(finalize_all); }

static bool link_record(struct memkind_mheap *record) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  mh_kinds_watch_exit();
  pthread_once(&once, watch_exit); /* later, so that it runs before the core's */
  pthread_mutex_lock(&lock);
  bool room = count < MEMKIND_MAX_KIND;
  if (room) {
    record->next = records;
    records = record;
    count++;
  }
  pthread_mutex_unlock(&lock);
  return room;
}

static void unlink_record(struct memkind_mheap *record) {
  pthread_mutex_lock(&lock);
  struct memkind_mheap **link = &records;
  while (*link != NULL && *link != record) link = &(*link)->next;
  if (*link != NULL) *link = record->next;
  count--;
  pthread_mutex_unlock(&lock);
}

/* ---- making and destroying ---- */

static uint64_t record_bytes(unsigned arenas) {
  return sizeof(struct memkind_mheap) + arenas * sizeof(unsigned);
}

static struct memkind_mheap *new_record(struct memkind *kind, unsigned arenas) {
  struct memkind_mheap *record = mh_os_table(record_bytes(arenas));
  if (record == NULL) return NULL;
  record->kind = kind;
  record->arenas = arenas;
  record->finalize = kind->ops->finalize;
  return record;
}

static void tell_arenas(struct memkind *kind, struct memkind_mheap *record, mheap_kind *core) {
  unsigned mask = core->arenas;
  while (mask & (mask - 1)) mask &= mask - 1;
  for (unsigned i = 0; i < core->arenas; i++) record->map[i] = core->first + i;
  record->core = core;
  core->user = record;
  kind->mheap = record;
  kind->arena_map = record->map;
  kind->arena_map_len = core->arenas;
  kind->arena_map_mask = mask - 1;
  kind->arena_zero = core->first;
}

static int make_map(struct memkind *kind, const mheap_extent_hooks *hooks, extent_hooks_t *user) {
  uint32_t policy = kind->ops->get_arena == memkind_bijective_get_arena ? MH_KIND_BIJECTIVE : MH_KIND_THREAD;
  unsigned arenas = mh_kind_arenas(policy);
  struct memkind_mheap *record = new_record(kind, arenas);
  mheap_error error;
  if (record == NULL) return MEMKIND_ERROR_MALLOC;
  if (!link_record(record)) {
    mh_os_table_free(record, record_bytes(arenas));
    return MEMKIND_ERROR_TOOMANY;
  }
  record->user = user;
  if (hooks != NULL) record->hooks = *hooks;
  record->hooks.arg = record;
  mheap_kind *core = mh_kind_make_nameless(kind->name, policy, hooks != NULL ? &record->hooks : NULL, &error);
  if (core != NULL) {
    tell_arenas(kind, record, core);
    return MEMKIND_SUCCESS;
  }
  unlink_record(record);
  mh_os_table_free(record, record_bytes(arenas));
  return MEMKIND_ERROR_ARENAS_CREATE;
}

int mh_memkind_adopt(struct memkind *kind, mheap_kind *core, mheap *file) {
  struct memkind_mheap *record = new_record(kind, core->arenas);
  if (record == NULL) return MEMKIND_ERROR_MALLOC;
  if (!link_record(record)) {
    mh_os_table_free(record, record_bytes(core->arenas));
    return MEMKIND_ERROR_TOOMANY;
  }
  record->file = file;
  tell_arenas(kind, record, core);
  return MEMKIND_SUCCESS;
}

int memkind_arena_create_map(struct memkind *kind, extent_hooks_t *hooks) {
  if (kind == NULL || (hooks != NULL && hooks->alloc == NULL)) return MEMKIND_ERROR_INVALID;
  if (kind->ops == NULL) return MEMKIND_ERROR_BADOPS;
  if (kind->mheap != NULL) return MEMKIND_ERROR_OPERATION_FAILED;
  return hooks != NULL ? make_map(kind, &of_user, hooks) : make_map(kind, hooks_for(kind->ops), NULL);
}

int memkind_arena_create(struct memkind *kind, struct memkind_ops *ops, const char *name) {
  int failed = memkind_default_create(kind, ops, name);
  return failed ? failed : memkind_arena_create_map(kind, NULL);
}

void memkind_arena_init(struct memkind *kind) {
  if (kind != NULL && kind->mheap == NULL) memkind_arena_create_map(kind, NULL);
}

static void drop_map(struct memkind *kind) {
  struct memkind_mheap *record = kind->mheap;
  unlink_record(record);
  mheap *file = record->file;
  if (file == NULL && mh_memkind_core(kind) != NULL) mheap_kind_destroy(record->core);
  mheap_abandon(file); /* its file has no name: nobody could attach it again */
  mh_os_table_free(record, record_bytes(record->arenas));
  kind->mheap = NULL;
  kind->arena_map = NULL;
  kind->arena_map_len = 0;
}

int memkind_arena_destroy(struct memkind *kind) {
  if (kind == NULL) return MEMKIND_ERROR_INVALID;
  if (kind->mheap != NULL) drop_map(kind);
  return memkind_default_destroy(kind);
}

int memkind_arena_finalize(struct memkind *kind) { return memkind_arena_destroy(kind); }

/* ---- arenas ---- */

int memkind_thread_get_arena(struct memkind *kind, unsigned int *arena, size_t size) {
  (void)size;
  if (mh_memkind_core(kind) == NULL) return MEMKIND_ERROR_RUNTIME;
  mheap_kind_thread_arena(kind->mheap->core, arena);
  return MEMKIND_SUCCESS;
}

int memkind_bijective_get_arena(struct memkind *kind, unsigned int *arena, size_t size) {
  (void)size;
  if (mh_memkind_core(kind) == NULL) return MEMKIND_ERROR_RUNTIME;
  *arena = kind->mheap->map[0];
  return MEMKIND_SUCCESS;
}

static struct memkind *kind_of(const mheap_kind *core) {
  const struct memkind_mheap *record = core != NULL ? core->user : NULL;
  return record != NULL ? record->kind : NULL;
}

struct memkind *get_kind_by_arena(unsigned arena_ind) { return kind_of(mheap_kind_by_arena(arena_ind)); }

/* A kind of mheap/kinds.h has no structure: for memkind, its blocks are of no kind. */
struct memkind *memkind_arena_detect_kind(void *ptr) {
  const mheap_kind *core = ptr != NULL ? mheap_kind_detect(ptr) : NULL;
  if (core == NULL && (ptr == NULL || mheap_last_error(NULL)->code != MHEAP_OK)) return NULL;
  struct memkind *kind = kind_of(core);
  return kind != NULL ? kind : MEMKIND_DEFAULT;
}

/* ---- blocks ---- */

void *mh_memkind_block(void *block) {
  if (block == NULL) errno = ENOMEM;
  return block;
}

static bool arena_for(struct memkind *kind, size_t size, unsigned *arena) {
  return mh_memkind_core(kind) != NULL && kind->ops->get_arena != NULL &&
         kind->ops->get_arena(kind, arena, size) == MEMKIND_SUCCESS;
}

static void *allocate(struct memkind *kind, size_t alignment, size_t size) {
  unsigned arena;
  if (!arena_for(kind, size, &arena)) return NULL;
  return mheap_kind_memalign_in(kind->mheap->core, arena, alignment, size);
}

void *memkind_arena_malloc(struct memkind *kind, size_t size) {
  return size != 0 ? mh_memkind_block(allocate(kind, 16, size)) : NULL;
}

void *memkind_arena_calloc(struct memkind *kind, size_t num, size_t size) {
  size_t bytes;
  if (num == 0 || size == 0) return NULL;
  void *block = __builtin_mul_overflow(num, size, &bytes) ? NULL : allocate(kind, 16, bytes);
  return mh_memkind_block(block != NULL ? memset(block, 0, bytes) : NULL);
}

void *memkind_arena_pmem_calloc(struct memkind *kind, size_t num, size_t size) {
  return memkind_arena_calloc(kind, num, size);
}

int mh_memkind_align(void *(*memalign)(void *arg, size_t alignment, size_t size), void *arg, void **memptr,
                     size_t alignment, size_t size) {
  int before = errno;
  if (memkind_posix_check_alignment(NULL, alignment) != 0) return EINVAL;
  void *block = size != 0 ? memalign(arg, alignment, size) : NULL;
  errno = before;
  if (block == NULL && size != 0) return ENOMEM;
  *memptr = block;
  return 0;
}

static void *align_in(void *kind, size_t alignment, size_t size) { return allocate(kind, alignment, size); }

int memkind_arena_posix_memalign(struct memkind *kind, void **memptr, size_t alignment, size_t size) {
  return mh_memkind_align(align_in, kind, memptr, alignment, size);
}

/* A block of another arena than the calling thread's, which must move, moves there. */
static void *resize(struct memkind *kind, void *ptr, size_t size) {
  mheap_kind *core = kind->mheap->core;
  unsigned arena;
  size_t old = mheap_kind_usable_size(core, ptr);
  if (old == 0 || !arena_for(kind, size, &arena)) return NULL;
  if (size <= old && size > old / 2) return ptr;
  const mheap *heap = mh_pointer_heap_anywhere(ptr);
  if (heap == NULL || core->first + heap->kind_arena == arena) return mheap_kind_realloc(core, ptr, size);
  void *moved = mheap_kind_memalign_in(core, arena, 16, size);
  if (moved == NULL) return NULL;
  memcpy(moved, ptr, old < size ? old : size);
  mheap_kind_free(core, ptr);
  return moved;
}

void *memkind_arena_realloc(struct memkind *kind, void *ptr, size_t size) {
  if (ptr == NULL) return memkind_arena_malloc(kind, size);
  if (size != 0) return mh_memkind_block(mh_memkind_core(kind) != NULL ? resize(kind, ptr, size) : NULL);
  memkind_arena_free(kind, ptr);
  return NULL;
}

void *memkind_arena_realloc_with_kind_detect(void *ptr, size_t size) {
  struct memkind *kind = memkind_arena_detect_kind(ptr);
  if (kind == NULL) {
    errno = EINVAL;
    return NULL;
  }
  return kind->mheap != NULL ? memkind_arena_realloc(kind, ptr, size)
                             : memkind_default_realloc(kind, ptr, size);
}

void memkind_arena_free(struct memkind *kind, void *ptr) {
  mheap_kind *core = kind != NULL ? mh_memkind_core(kind) : NULL;
  if (core != NULL) mheap_kind_free(core, ptr);
  else mheap_kind_free_any(ptr);
}

void memkind_arena_free_with_kind_detect(void *ptr) { mheap_kind_free_any(ptr); }

size_t memkind_arena_malloc_usable_size(void *ptr) { return mheap_kind_usable_size(NULL, ptr); }

int memkind_arena_update_memory_usage_policy(struct memkind *kind, memkind_mem_usage_policy policy) {
  if (kind == NULL || (unsigned)policy >= MEMKIND_MEM_USAGE_POLICY_MAX_VALUE) return MEMKIND_ERROR_INVALID;
  if (mh_memkind_core(kind) == NULL) return MEMKIND_ERROR_RUNTIME;
  mheap_err code = mheap_kind_set_usage(kind->mheap->core, (mheap_kind_usage)policy);
  return code ? MEMKIND_ERROR_RUNTIME : MEMKIND_SUCCESS;
}
