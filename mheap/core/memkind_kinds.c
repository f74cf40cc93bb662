/* memkind_kinds.c: memkind_malloc and its like, which go through a kind's operations; the kinds that are
   always there, and those in files. See memkind.h.

   Owns the structures of the kinds it makes. Decorators are weak symbols: what nobody defines is NULL. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "memkind.h"
#include "os.h"

/* ---- decorators ---- */

#define WEAK __attribute__((weak, visibility("default")))

WEAK void memkind_malloc_pre(memkind_t *kind, size_t *size);
WEAK void memkind_malloc_post(memkind_t kind, size_t size, void **result);
WEAK void memkind_calloc_pre(memkind_t *kind, size_t *nmemb, size_t *size);
WEAK void memkind_calloc_post(memkind_t kind, size_t nmemb, size_t size, void **result);
WEAK void memkind_posix_memalign_pre(memkind_t *kind, void **memptr, size_t *alignment, size_t *size);
WEAK void memkind_posix_memalign_post(memkind_t kind, void **memptr, size_t alignment, size_t size, int *err);
WEAK void memkind_realloc_pre(memkind_t *kind, void **ptr, size_t *size);
WEAK void memkind_realloc_post(memkind_t kind, void *ptr, size_t size, void **result);
WEAK void memkind_free_pre(memkind_t *kind, void **ptr);
WEAK void memkind_free_post(memkind_t kind, void *ptr);

/* ---- through the operations ---- */

/* Its operations, once it is initialised; NULL with errno EINVAL where there are none. */
static struct memkind_ops *ops_of(memkind_t kind) {
  if (kind == NULL || kind->ops == NULL) {
    errno = EINVAL;
    return NULL;
  }
  if (kind->ops->init_once != NULL) pthread_once(&kind->init_once, kind->ops->init_once);
  return kind->ops;
}

void *memkind_malloc(memkind_t kind, size_t size) {
  if (memkind_malloc_pre != NULL) memkind_malloc_pre(&kind, &size);
  const struct memkind_ops *ops = ops_of(kind);
  void *result = ops != NULL && ops->malloc != NULL ? ops->malloc(kind, size) : NULL;
  if (memkind_malloc_post != NULL) memkind_malloc_post(kind, size, &result);
  return result;
}

void *memkind_calloc(memkind_t kind, size_t num, size_t size) {
  if (memkind_calloc_pre != NULL) memkind_calloc_pre(&kind, &num, &size);
  const struct memkind_ops *ops = ops_of(kind);
  void *result = ops != NULL && ops->calloc != NULL ? ops->calloc(kind, num, size) : NULL;
  if (memkind_calloc_post != NULL) memkind_calloc_post(kind, num, size, &result);
  return result;
}

int memkind_posix_memalign(memkind_t kind, void **memptr, size_t alignment, size_t size) {
  int before = errno;
  if (memkind_posix_memalign_pre != NULL) memkind_posix_memalign_pre(&kind, memptr, &alignment, &size);
  const struct memkind_ops *ops = ops_of(kind);
  int err = ops != NULL && ops->posix_memalign != NULL ? ops->posix_memalign(kind, memptr, alignment, size)
                                                       : EINVAL;
  errno = before;
  if (memkind_posix_memalign_post != NULL) memkind_posix_memalign_post(kind, memptr, alignment, size, &err);
  return err;
}

void *memkind_realloc(memkind_t kind, void *ptr, size_t size) {
  if (memkind_realloc_pre != NULL) memkind_realloc_pre(&kind, &ptr, &size);
  const struct memkind_ops *ops = ops_of(kind);
  void *result = ops != NULL && ops->realloc != NULL ? ops->realloc(kind, ptr, size) : NULL;
  if (memkind_realloc_post != NULL) memkind_realloc_post(kind, ptr, size, &result);
  return result;
}

void memkind_free(memkind_t kind, void *ptr) {
  if (memkind_free_pre != NULL) memkind_free_pre(&kind, &ptr);
  if (kind == NULL) memkind_arena_free_with_kind_detect(ptr);
  else if (kind->ops != NULL && kind->ops->free != NULL) kind->ops->free(kind, ptr);
  if (memkind_free_post != NULL) memkind_free_post(kind, ptr);
}

size_t memkind_malloc_usable_size(memkind_t kind, void *ptr) {
  if (kind != NULL && kind->ops != NULL && kind->ops->malloc_usable_size != NULL)
    return kind->ops->malloc_usable_size(kind, ptr);
  return memkind_arena_malloc_usable_size(ptr);
}

void *memkind_defrag_reallocate(memkind_t kind, void *ptr) {
  bool own = kind != NULL && kind->ops != NULL && kind->ops->defrag_reallocate != NULL;
  return own ? kind->ops->defrag_reallocate(kind, ptr) : NULL;
}

memkind_t memkind_detect_kind(void *ptr) { return memkind_arena_detect_kind(ptr); }

int memkind_check_available(memkind_t kind) {
  if (kind == NULL) return MEMKIND_ERROR_INVALID;
  return kind->ops != NULL && kind->ops->check_available != NULL ? kind->ops->check_available(kind)
                                                                 : MEMKIND_SUCCESS;
}

/* ---- statistics ---- */

static size_t stat_of(const mheap_stats *stats, memkind_stat_type stat) {
  if (stat == MEMKIND_STAT_TYPE_ALLOCATED) return stats->bytes_used;
  return stat == MEMKIND_STAT_TYPE_ACTIVE ? stats->bytes_total - stats->bytes_free : stats->bytes_total;
}

int memkind_get_stat(memkind_t kind, memkind_stat_type stat, size_t *value) {
  mheap_stats stats;
  if ((unsigned)stat >= MEMKIND_STAT_TYPE_MAX_VALUE || value == NULL) return MEMKIND_ERROR_INVALID;
  if (kind != NULL && kind->ops != NULL && kind->ops->get_stat != NULL)
    return kind->ops->get_stat(kind, stat, value);
  mheap_kind *core = kind != NULL ? mh_memkind_core(kind) : NULL;
  mheap_err code = core == NULL         ? mheap_get_stats(NULL, &stats)
                   : core->main != NULL ? mheap_get_stats(core->main, &stats)
                                        : mh_kind_grounds_stats(core, &stats);
  if (code) return MEMKIND_ERROR_RUNTIME;
  *value = stat_of(&stats, stat);
  return MEMKIND_SUCCESS;
}

int memkind_update_cached_stats(void) { return MEMKIND_SUCCESS; }

/* ---- the kinds there are ---- */

static struct memkind_ops default_ops = {
    .create = memkind_default_create,
    .destroy = memkind_default_destroy,
    .malloc = memkind_default_malloc,
    .calloc = memkind_default_calloc,
    .posix_memalign = memkind_default_posix_memalign,
    .realloc = memkind_default_realloc,
    .free = memkind_default_free,
    .init_once = memkind_default_init_once,
    .malloc_usable_size = memkind_default_malloc_usable_size,
};

static int is_unavailable(struct memkind *kind) { return (void)kind, MEMKIND_ERROR_UNAVAILABLE; }
static void *no_malloc(struct memkind *kind, size_t size) {
  return (void)kind, (void)size, mh_memkind_block(NULL);
}
static void *no_calloc(struct memkind *kind, size_t num, size_t size) {
  return (void)num, no_malloc(kind, size);
}
static void *no_realloc(struct memkind *kind, void *ptr, size_t size) {
  return (void)ptr, no_malloc(kind, size);
}

static int no_memalign(struct memkind *kind, void **memptr, size_t alignment, size_t size) {
  (void)memptr, (void)size;
  return memkind_posix_check_alignment(kind, alignment) != 0 ? EINVAL : ENOMEM;
}

static struct memkind_ops unavailable_ops = {
    .create = memkind_default_create,
    .destroy = memkind_default_destroy,
    .malloc = no_malloc,
    .calloc = no_calloc,
    .posix_memalign = no_memalign,
    .realloc = no_realloc,
    .free = memkind_default_free,
    .check_available = is_unavailable,
    .malloc_usable_size = memkind_default_malloc_usable_size,
};

#define ALWAYS(kind, operations, called)                                                                    \
  static struct memkind kind##_kind = {.ops = &operations, .name = called, .init_once = PTHREAD_ONCE_INIT}; \
  memkind_t kind = &kind##_kind;

ALWAYS(MEMKIND_DEFAULT, default_ops, "memkind_default")
ALWAYS(MEMKIND_REGULAR, default_ops, "memkind_regular")
ALWAYS(MEMKIND_HUGETLB, unavailable_ops, "memkind_hugetlb")
ALWAYS(MEMKIND_INTERLEAVE, unavailable_ops, "memkind_interleave")
ALWAYS(MEMKIND_HBW, unavailable_ops, "memkind_hbw")
ALWAYS(MEMKIND_HBW_ALL, unavailable_ops, "memkind_hbw_all")
ALWAYS(MEMKIND_HBW_HUGETLB, unavailable_ops, "memkind_hbw_hugetlb")
ALWAYS(MEMKIND_HBW_ALL_HUGETLB, unavailable_ops, "memkind_hbw_all_hugetlb")
ALWAYS(MEMKIND_HBW_PREFERRED, unavailable_ops, "memkind_hbw_preferred")
ALWAYS(MEMKIND_HBW_PREFERRED_HUGETLB, unavailable_ops, "memkind_hbw_preferred_hugetlb")
ALWAYS(MEMKIND_HBW_INTERLEAVE, unavailable_ops, "memkind_hbw_interleave")
ALWAYS(MEMKIND_DAX_KMEM, unavailable_ops, "memkind_dax_kmem")
ALWAYS(MEMKIND_DAX_KMEM_ALL, unavailable_ops, "memkind_dax_kmem_all")
ALWAYS(MEMKIND_DAX_KMEM_PREFERRED, unavailable_ops, "memkind_dax_kmem_preferred")
ALWAYS(MEMKIND_DAX_KMEM_INTERLEAVE, unavailable_ops, "memkind_dax_kmem_interleave")

/* ---- kinds made here ---- */

static struct memkind_ops memory_ops = {
    .create = memkind_arena_create,
    .destroy = memkind_arena_destroy,
    .malloc = memkind_arena_malloc,
    .calloc = memkind_arena_calloc,
    .posix_memalign = memkind_arena_posix_memalign,
    .realloc = memkind_arena_realloc,
    .free = memkind_arena_free,
    .get_arena = memkind_thread_get_arena,
    .malloc_usable_size = memkind_default_malloc_usable_size,
    .finalize = memkind_arena_finalize,
    .update_memory_usage_policy = memkind_arena_update_memory_usage_policy,
};

static struct memkind_ops file_ops = {
    .create = memkind_default_create,
    .destroy = memkind_arena_destroy,
    .malloc = memkind_arena_malloc,
    .calloc = memkind_arena_pmem_calloc,
    .posix_memalign = memkind_arena_posix_memalign,
    .realloc = memkind_arena_realloc,
    .free = memkind_arena_free,
    .get_arena = memkind_thread_get_arena,
    .malloc_usable_size = memkind_default_malloc_usable_size,
    .update_memory_usage_policy = memkind_arena_update_memory_usage_policy,
};

int memkind_create_kind(memkind_memtype_t memtype_flags, memkind_policy_t policy, memkind_bits_t flags,
                        memkind_t *kind) {
  const unsigned known = MEMKIND_MEMTYPE_DEFAULT | MEMKIND_MEMTYPE_HIGH_BANDWIDTH;
  if (memtype_flags == 0 || ((unsigned)memtype_flags & ~known) != 0 || kind == NULL ||
      (unsigned)policy >= MEMKIND_POLICY_MAX_VALUE || (flags != 0 && flags != MEMKIND_MASK_PAGE_SIZE_2MB))
    return MEMKIND_ERROR_INVALID;
  if (memtype_flags != MEMKIND_MEMTYPE_DEFAULT || policy != MEMKIND_POLICY_PREFERRED_LOCAL || flags != 0)
    return MEMKIND_ERROR_MEMTYPE_NOT_AVAILABLE;
  struct memkind *made = mh_os_table(sizeof *made);
  if (made == NULL) return MEMKIND_ERROR_MALLOC;
  int failed = memory_ops.create(made, &memory_ops, "memkind_created");
  if (failed) mh_os_table_free(made, sizeof *made);
  else *kind = made;
  return failed;
}

/* As large as may be asked, or as its file system is; mheap's own choice is more than that of most. */
static uint64_t span_for(int fd, size_t max_size) {
  uint64_t left;
  if (max_size != 0) return max_size;
  return mh_os_disk_left(fd, &left) == 0 && left > ((uint64_t)32 << 30) ? 2 * left : 0;
}

static int attach_unnamed(const char *dir, size_t max_size, mheap **heap) {
  mheap_error error = {0};
  int fd, failed = mh_os_create_unnamed(dir, &fd);
  if (failed) {
    errno = failed;
    return MEMKIND_ERROR_INVALID;
  }
  mheap_options options = {.max_size = span_for(fd, max_size)};
  *heap = mheap_attach(fd, &options, &error);
  mh_os_close(fd);
  if (*heap != NULL) return MEMKIND_SUCCESS;
  errno = error.sys != 0 ? error.sys : ENOMEM;
  return MEMKIND_ERROR_MMAP;
}

static int make_in_file(struct memkind *kind, mheap *heap) {
  mheap_kind *core = mheap_kind_create("pmem", MHEAP_KIND_THREAD, heap);
  int failed = memkind_default_create(kind, &file_ops, "pmem");
  if (core == NULL) return MEMKIND_ERROR_ARENAS_CREATE;
  return failed ? failed : mh_memkind_adopt(kind, core, heap);
}

int memkind_create_pmem(const char *dir, size_t max_size, memkind_t *kind) {
  mheap *heap;
  if (dir == NULL || kind == NULL || (max_size != 0 && max_size < MEMKIND_PMEM_MIN_SIZE))
    return MEMKIND_ERROR_INVALID;
  struct memkind *made = mh_os_table(sizeof *made);
  if (made == NULL) return MEMKIND_ERROR_MALLOC;
  int failed = attach_unnamed(dir, max_size, &heap);
  if (!failed) {
    failed = make_in_file(made, heap);
    if (failed) mheap_abandon(heap);
  }
  if (failed) mh_os_table_free(made, sizeof *made);
  else *kind = made;
  return failed;
}

int memkind_destroy_kind(memkind_t kind) {
  if (kind == NULL || (kind->ops != &memory_ops && kind->ops != &file_ops))
    return MEMKIND_ERROR_OPERATION_FAILED;
  kind->ops->destroy(kind);
  mh_os_table_free(kind, sizeof *kind);
  return MEMKIND_SUCCESS;
}

/* ---- configuration ---- */

struct memkind_config *memkind_config_new(void) { return mh_os_table(sizeof(struct memkind_config)); }

void memkind_config_delete(struct memkind_config *cfg) {
  if (cfg != NULL) mh_os_table_free(cfg, sizeof *cfg);
}

void memkind_config_set_path(struct memkind_config *cfg, const char *pmem_dir) { cfg->pmem_dir = pmem_dir; }
void memkind_config_set_size(struct memkind_config *cfg, size_t pmem_size) { cfg->pmem_size = pmem_size; }

void memkind_config_set_memory_usage_policy(struct memkind_config *cfg, memkind_mem_usage_policy policy) {
  cfg->policy = policy;
}

int memkind_create_pmem_with_config(struct memkind_config *cfg, memkind_t *kind) {
  if (cfg == NULL || (unsigned)cfg->policy >= MEMKIND_MEM_USAGE_POLICY_MAX_VALUE)
    return MEMKIND_ERROR_INVALID;
  int failed = memkind_create_pmem(cfg->pmem_dir, cfg->pmem_size, kind);
  return failed ? failed : memkind_arena_update_memory_usage_policy(*kind, cfg->policy);
}

/* ---- the rest ---- */

int memkind_get_version(void) { return 1014000; }

void memkind_error_message(int err, char *msg, size_t size) {
  static const struct {
    int code;
    const char *text;
  } messages[] = {
      {MEMKIND_SUCCESS, "success"},
      {MEMKIND_ERROR_UNAVAILABLE, "this kind of memory is not available"},
      {MEMKIND_ERROR_MBIND, "mbind(2) failed"},
      {MEMKIND_ERROR_MMAP, "the memory could not be mapped"},
      {MEMKIND_ERROR_MALLOC, "there is no memory for what is kept about a kind"},
      {MEMKIND_ERROR_ENVIRON, "an environment variable cannot be understood"},
      {MEMKIND_ERROR_INVALID, "an argument is out of its range"},
      {MEMKIND_ERROR_TOOMANY, "there are as many kinds as there can be"},
      {MEMKIND_ERROR_BADOPS, "the operations of a kind are missing"},
      {MEMKIND_ERROR_HUGETLB, "there are no huge pages"},
      {MEMKIND_ERROR_MEMTYPE_NOT_AVAILABLE, "memory of this type is not available"},
      {MEMKIND_ERROR_OPERATION_FAILED, "this cannot be done to this kind"},
      {MEMKIND_ERROR_ARENAS_CREATE, "the arenas of a kind could not be made"},
      {MEMKIND_ERROR_RUNTIME, "the kind has no arenas"},
      {EINVAL, "the alignment is no power of two, or no multiple of a pointer's size"},
      {ENOMEM, "there is not enough memory"},
  };
  const char *text = "unknown error: not one of this interface";
  if (msg == NULL || size == 0) return;
  for (size_t i = 0; i < sizeof messages / sizeof messages[0]; i++)
    if (messages[i].code == err) text = messages[i].text;
  snprintf(msg, size, "%s", text);
}
