/* memkind_arena.h: memkind's arena operations, on mheap: a program written for them compiles and runs.

     struct memkind_ops ops = {.create = memkind_arena_create, .destroy = memkind_arena_destroy,
                               .malloc = memkind_arena_malloc, .free = memkind_arena_free,
                               .get_arena = memkind_thread_get_arena};
     struct memkind kind = {0};
     if (ops.create(&kind, &ops, "mine") != MEMKIND_SUCCESS) exit(1);
     char *text = memkind_malloc(&kind, 100);
     memkind_free(&kind, text);
     ops.destroy(&kind);

   Found as <mheap/memkind_arena.h>, or, with the compiler told of this directory itself, as <memkind.h>,
   <memkind/internal/memkind_arena.h>, _default.h and _private.h. A kind is an mheap_kind of
   mheap/kinds.h: mheap_kind_detect knows its blocks, and arena numbers are the same.

   Caveats
   - get_arena other than memkind_bijective_get_arena gives four arenas for every processor; a function of
     the program's may choose any of those, arena_map[0] to arena_map[arena_map_len - 1].
   - Size 0 gives NULL. A failed allocation sets errno to ENOMEM; posix_memalign leaves it as it was.
   - A double free, a wild pointer, a block of another kind are not obeyed: nothing happens.
   - Extent hooks: alloc and dalloc for an arena's space; destroy where dalloc refuses (true) or is NULL;
     commit, decommit, purge_forced, else purge_lazy for pages of it. split and merge are accepted and
     never called: extents stay as they are. Without hooks, space is as ops.mmap, ops.mbind, ops.madvise
     and ops.get_mmap_flags say if the kind has them, else mheap's own. What a program's own ops.mmap
     returned is given back by that program.
   - Of the kinds that are always there, MEMKIND_DEFAULT and MEMKIND_REGULAR are available, both the
     default heap; MEMKIND_DEFAULT frees blocks of every kind. The others say
     MEMKIND_ERROR_UNAVAILABLE.
   - memkind_create_pmem is an mheap file without a name, of which a forked child cannot use the blocks.
   - Environment variables (MEMKIND_*) mean nothing. */
#ifndef MHEAP_MEMKIND_ARENA_H
#define MHEAP_MEMKIND_ARENA_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#ifndef MHEAP_API
#if defined(MHEAP_BUILDING)
#define MHEAP_API __attribute__((visibility("default")))
#else
#define MHEAP_API
#endif
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- constants ---- */

enum memkind_const {
  MEMKIND_MAX_KIND = 512,           /* kinds with arenas at a time */
  MEMKIND_ERROR_MESSAGE_SIZE = 128, /* bytes that hold any message */
  MEMKIND_PMEM_MIN_SIZE = 1024 * 1024 * 16
};

enum memkind_const_private { MEMKIND_NAME_LENGTH_PRIV = 64 }; /* of a name, its terminator included */

enum {
  MEMKIND_SUCCESS = 0,
  MEMKIND_ERROR_UNAVAILABLE = -1,            /* the kind of memory is not there */
  MEMKIND_ERROR_MBIND = -2,                  /* mbind(2) failed */
  MEMKIND_ERROR_MMAP = -3,                   /* mmap(2) failed */
  MEMKIND_ERROR_MALLOC = -6,                 /* no memory for what the process keeps */
  MEMKIND_ERROR_ENVIRON = -12,               /* never returned */
  MEMKIND_ERROR_INVALID = -13,               /* an argument out of its range */
  MEMKIND_ERROR_TOOMANY = -15,               /* MEMKIND_MAX_KIND is reached */
  MEMKIND_ERROR_BADOPS = -17,                /* operations are missing */
  MEMKIND_ERROR_HUGETLB = -18,               /* no huge pages */
  MEMKIND_ERROR_MEMTYPE_NOT_AVAILABLE = -20, /* no memory of the type asked for */
  MEMKIND_ERROR_OPERATION_FAILED = -21,      /* the kind is not one to which this can be done */
  MEMKIND_ERROR_ARENAS_CREATE = -22,         /* the arenas could not be made */
  MEMKIND_ERROR_RUNTIME = -255               /* the kind has no arenas */
};

typedef enum memkind_mem_usage_policy {
  MEMKIND_MEM_USAGE_POLICY_DEFAULT = 0,      /* free pages are kept */
  MEMKIND_MEM_USAGE_POLICY_CONSERVATIVE = 1, /* free pages go back at once */
  MEMKIND_MEM_USAGE_POLICY_MAX_VALUE
} memkind_mem_usage_policy;

typedef enum memkind_stat_type {
  MEMKIND_STAT_TYPE_RESIDENT = 0,  /* bytes of the memory that the kind has, free space included */
  MEMKIND_STAT_TYPE_ACTIVE = 1,    /* without free space */
  MEMKIND_STAT_TYPE_ALLOCATED = 2, /* bytes in blocks in use */
  MEMKIND_STAT_TYPE_MAX_VALUE
} memkind_stat_type;

typedef enum memkind_memtype_t {
  MEMKIND_MEMTYPE_DEFAULT = 1ull << 0,
  MEMKIND_MEMTYPE_HIGH_BANDWIDTH = 1ull << 1 /* never available */
} memkind_memtype_t;

typedef enum memkind_policy_t {
  MEMKIND_POLICY_BIND_LOCAL = 0,
  MEMKIND_POLICY_BIND_ALL,
  MEMKIND_POLICY_PREFERRED_LOCAL,
  MEMKIND_POLICY_INTERLEAVE_LOCAL,
  MEMKIND_POLICY_INTERLEAVE_ALL,
  MEMKIND_POLICY_MAX_VALUE
} memkind_policy_t;

typedef enum memkind_bits_t { MEMKIND_MASK_PAGE_SIZE_2MB = 21ull } memkind_bits_t;

/* ---- structures ---- */

typedef struct memkind *memkind_t;

struct memkind_ops {
  int (*create)(struct memkind *kind, struct memkind_ops *ops, const char *name);
  int (*destroy)(struct memkind *kind);
  void *(*malloc)(struct memkind *kind, size_t size);
  void *(*calloc)(struct memkind *kind, size_t num, size_t size);
  int (*posix_memalign)(struct memkind *kind, void **memptr, size_t alignment, size_t size);
  void *(*realloc)(struct memkind *kind, void *ptr, size_t size);
  void (*free)(struct memkind *kind, void *ptr);
  void *(*mmap)(struct memkind *kind, void *addr, size_t size);
  int (*mbind)(struct memkind *kind, void *ptr, size_t size);
  int (*madvise)(struct memkind *kind, void *addr, size_t size);
  int (*get_mmap_flags)(struct memkind *kind, int *flags);
  int (*get_mbind_mode)(struct memkind *kind, int *mode);
  int (*get_mbind_nodemask)(struct memkind *kind, unsigned long *nodemask, unsigned long maxnode);
  int (*get_arena)(struct memkind *kind, unsigned int *arena, size_t size);
  int (*check_available)(struct memkind *kind);
  void (*init_once)(void); /* called once a kind, before its first use by memkind_malloc and its like */
  int (*finalize)(struct memkind *kind); /* called at exit for kinds whose arenas are there */
  size_t (*malloc_usable_size)(struct memkind *kind, void *ptr);
  int (*update_memory_usage_policy)(struct memkind *kind, memkind_mem_usage_policy policy);
  int (*get_stat)(memkind_t kind, memkind_stat_type stat, size_t *value);
  void *(*defrag_reallocate)(struct memkind *kind, void *ptr);
};

struct memkind {
  struct memkind_ops *ops;
  unsigned int partition;
  char name[MEMKIND_NAME_LENGTH_PRIV];
  pthread_once_t init_once;
  unsigned int arena_map_len;
  unsigned int *arena_map; /* numbers of the arenas */
  pthread_key_t arena_key;
  void *priv;                  /* the program's */
  unsigned int arena_map_mask; /* the largest power of two that is not above arena_map_len, minus 1 */
  unsigned int arena_zero;     /* number of the first arena */
  struct memkind_mheap *mheap; /* the library's; set by memkind_default_create */
};

typedef struct extent_hooks_s extent_hooks_t;
typedef void *(extent_alloc_t)(extent_hooks_t * hooks, void *new_addr, size_t size, size_t alignment,
                               bool *zero, bool *commit, unsigned arena_ind);
typedef bool(extent_dalloc_t)(extent_hooks_t *hooks, void *addr, size_t size, bool committed,
                              unsigned arena_ind);
typedef void(extent_destroy_t)(extent_hooks_t *hooks, void *addr, size_t size, bool committed,
                               unsigned arena_ind);
typedef bool(extent_commit_t)(extent_hooks_t *hooks, void *addr, size_t size, size_t offset, size_t length,
                              unsigned arena_ind);
typedef extent_commit_t extent_decommit_t;
typedef extent_commit_t extent_purge_t;
typedef bool(extent_split_t)(extent_hooks_t *hooks, void *addr, size_t size, size_t size_a, size_t size_b,
                             bool committed, unsigned arena_ind);
typedef bool(extent_merge_t)(extent_hooks_t *hooks, void *addr_a, size_t size_a, void *addr_b, size_t size_b,
                             bool committed, unsigned arena_ind);

/* Those that return bool return false when they did it, as in jemalloc. */
struct extent_hooks_s {
  extent_alloc_t *alloc;
  extent_dalloc_t *dalloc;
  extent_destroy_t *destroy;
  extent_commit_t *commit;
  extent_decommit_t *decommit;
  extent_purge_t *purge_lazy;
  extent_purge_t *purge_forced;
  extent_split_t *split;
  extent_merge_t *merge;
};

/* ---- arena operations ---- */

/* memkind_default_create, then memkind_arena_create_map without hooks. */
MHEAP_API int memkind_arena_create(struct memkind *kind, struct memkind_ops *ops, const char *name);
/* Makes the kind's arenas, as ops.get_arena wants them, and arena_map; hooks NULL: none. A kind that has
   some: MEMKIND_ERROR_OPERATION_FAILED. */
MHEAP_API int memkind_arena_create_map(struct memkind *kind, extent_hooks_t *hooks);
/* Frees the arenas with all their blocks, and what memkind_default_create made. */
MHEAP_API int memkind_arena_destroy(struct memkind *kind);
MHEAP_API void *memkind_arena_malloc(struct memkind *kind, size_t size);
MHEAP_API void *memkind_arena_calloc(struct memkind *kind, size_t num, size_t size);
MHEAP_API void *memkind_arena_pmem_calloc(struct memkind *kind, size_t num, size_t size);
/* 0, EINVAL for an alignment that is no power of two or no multiple of a pointer's size, ENOMEM. */
MHEAP_API int memkind_arena_posix_memalign(struct memkind *kind, void **memptr, size_t alignment,
                                           size_t size);
/* Size 0 frees. A block that must move moves to the arena that ops.get_arena says. */
MHEAP_API void *memkind_arena_realloc(struct memkind *kind, void *ptr, size_t size);
/* By the kind of the block; ptr NULL: NULL with errno EINVAL, since there is no kind. */
MHEAP_API void *memkind_arena_realloc_with_kind_detect(void *ptr, size_t size);
MHEAP_API int memkind_thread_get_arena(struct memkind *kind, unsigned int *arena, size_t size);
MHEAP_API int memkind_bijective_get_arena(struct memkind *kind, unsigned int *arena, size_t size);
/* NULL: the arena is no kind's. */
MHEAP_API struct memkind *get_kind_by_arena(unsigned arena_ind);
/* MEMKIND_DEFAULT for blocks of no kind, NULL for what is no block. */
MHEAP_API struct memkind *memkind_arena_detect_kind(void *ptr);
/* memkind_arena_destroy; at exit it is called for every kind whose ops.finalize it is. */
MHEAP_API int memkind_arena_finalize(struct memkind *kind);
/* memkind_arena_create_map with the hooks that the kind's operations ask for; for ops.init_once. */
MHEAP_API void memkind_arena_init(struct memkind *kind);
MHEAP_API void memkind_arena_free(struct memkind *kind, void *ptr);
MHEAP_API void memkind_arena_free_with_kind_detect(void *ptr);
MHEAP_API size_t memkind_arena_malloc_usable_size(void *ptr);
MHEAP_API int memkind_arena_update_memory_usage_policy(struct memkind *kind, memkind_mem_usage_policy policy);

/* ---- default operations ---- */

/* Sets the structure up; the name is at most MEMKIND_NAME_LENGTH_PRIV - 1 bytes. */
MHEAP_API int memkind_default_create(struct memkind *kind, struct memkind_ops *ops, const char *name);
MHEAP_API int memkind_default_destroy(struct memkind *kind);
/* Of the default heap, whatever the kind; free, realloc and usable_size of whatever kind the block is. */
MHEAP_API void *memkind_default_malloc(struct memkind *kind, size_t size);
MHEAP_API void *memkind_default_calloc(struct memkind *kind, size_t num, size_t size);
MHEAP_API int memkind_default_posix_memalign(struct memkind *kind, void **memptr, size_t alignment,
                                             size_t size);
MHEAP_API void *memkind_default_realloc(struct memkind *kind, void *ptr, size_t size);
MHEAP_API void memkind_default_free(struct memkind *kind, void *ptr);
MHEAP_API size_t memkind_default_malloc_usable_size(struct memkind *kind, void *ptr);
/* mmap(2) with the flags of ops.get_mmap_flags; MAP_FAILED. */
MHEAP_API void *memkind_default_mmap(struct memkind *kind, void *addr, size_t size);
/* mbind(2) with the nodes and the mode of the kind's operations. */
MHEAP_API int memkind_default_mbind(struct memkind *kind, void *ptr, size_t len);
MHEAP_API int memkind_default_get_mmap_flags(struct memkind *kind, int *flags);
MHEAP_API int memkind_default_get_mbind_mode(struct memkind *kind, int *mode);
MHEAP_API int memkind_preferred_get_mbind_mode(struct memkind *kind, int *mode);
MHEAP_API int memkind_interleave_get_mbind_mode(struct memkind *kind, int *mode);
/* All nodes there are. */
MHEAP_API int memkind_default_get_mbind_nodemask(struct memkind *kind, unsigned long *nodemask,
                                                 unsigned long maxnode);
MHEAP_API int memkind_nohugepage_madvise(struct memkind *kind, void *addr, size_t size);
MHEAP_API int memkind_posix_check_alignment(struct memkind *kind, size_t alignment);
MHEAP_API void memkind_default_init_once(void);
/* Can no block have this size? 0 counts. */
MHEAP_API bool size_out_of_bounds(size_t size);

/* ---- kinds, through their operations ---- */

extern MHEAP_API memkind_t MEMKIND_DEFAULT, MEMKIND_REGULAR, MEMKIND_HUGETLB, MEMKIND_INTERLEAVE, MEMKIND_HBW,
    MEMKIND_HBW_ALL, MEMKIND_HBW_HUGETLB, MEMKIND_HBW_ALL_HUGETLB, MEMKIND_HBW_PREFERRED,
    MEMKIND_HBW_PREFERRED_HUGETLB, MEMKIND_HBW_INTERLEAVE, MEMKIND_DAX_KMEM, MEMKIND_DAX_KMEM_ALL,
    MEMKIND_DAX_KMEM_PREFERRED, MEMKIND_DAX_KMEM_INTERLEAVE;

/* kind NULL: errno EINVAL and NULL, but for free and usable_size, which find the block's. */
MHEAP_API void *memkind_malloc(memkind_t kind, size_t size);
MHEAP_API void *memkind_calloc(memkind_t kind, size_t num, size_t size);
MHEAP_API int memkind_posix_memalign(memkind_t kind, void **memptr, size_t alignment, size_t size);
MHEAP_API void *memkind_realloc(memkind_t kind, void *ptr, size_t size);
MHEAP_API void memkind_free(memkind_t kind, void *ptr);
MHEAP_API size_t memkind_malloc_usable_size(memkind_t kind, void *ptr);
/* NULL: the block is where it should be. */
MHEAP_API void *memkind_defrag_reallocate(memkind_t kind, void *ptr);
MHEAP_API memkind_t memkind_detect_kind(void *ptr);
MHEAP_API int memkind_check_available(memkind_t kind);
/* kind NULL: of the default heap. */
MHEAP_API int memkind_get_stat(memkind_t kind, memkind_stat_type stat, size_t *value);
MHEAP_API int memkind_update_cached_stats(void); /* they are never old */

/* MEMKIND_MEMTYPE_DEFAULT with MEMKIND_POLICY_PREFERRED_LOCAL and no flags is there; others are not. */
MHEAP_API int memkind_create_kind(memkind_memtype_t memtype_flags, memkind_policy_t policy,
                                  memkind_bits_t flags, memkind_t *kind);
/* In a file without a name in `dir`, of at most max_size bytes, or (0) as many as its file system has. */
MHEAP_API int memkind_create_pmem(const char *dir, size_t max_size, memkind_t *kind);
/* Of kinds that these two and the next made: frees all their blocks. */
MHEAP_API int memkind_destroy_kind(memkind_t kind);

struct memkind_config {
  const char *pmem_dir;
  size_t pmem_size;
  memkind_mem_usage_policy policy;
};
MHEAP_API struct memkind_config *memkind_config_new(void);
MHEAP_API void memkind_config_delete(struct memkind_config *cfg);
MHEAP_API void memkind_config_set_path(struct memkind_config *cfg, const char *pmem_dir);
MHEAP_API void memkind_config_set_size(struct memkind_config *cfg, size_t pmem_size);
MHEAP_API void memkind_config_set_memory_usage_policy(struct memkind_config *cfg,
                                                      memkind_mem_usage_policy policy);
MHEAP_API int memkind_create_pmem_with_config(struct memkind_config *cfg, memkind_t *kind);

MHEAP_API int memkind_get_version(void); /* of the interface: 1.14.0 is 1014000 */
MHEAP_API void memkind_error_message(int err, char *msg, size_t size);

/* ---- decorators ----
   Functions of these names that the program itself, or a library loaded with it, defines are called before
   and after memkind_malloc and its like, and may change what they are given by reference:

     void memkind_malloc_pre(memkind_t *kind, size_t *size);
     void memkind_malloc_post(memkind_t kind, size_t size, void **result);
     void memkind_calloc_pre(memkind_t *kind, size_t *nmemb, size_t *size);
     void memkind_calloc_post(memkind_t kind, size_t nmemb, size_t size, void **result);
     void memkind_posix_memalign_pre(memkind_t *kind, void **memptr, size_t *alignment, size_t *size);
     void memkind_posix_memalign_post(memkind_t kind, void **memptr, size_t alignment, size_t size, int *err);
     void memkind_realloc_pre(memkind_t *kind, void **ptr, size_t *size);
     void memkind_realloc_post(memkind_t kind, void *ptr, size_t size, void **result);
     void memkind_free_pre(memkind_t *kind, void **ptr);
     void memkind_free_post(memkind_t kind, void *ptr); */

#ifdef __cplusplus
}
#endif
#endif
