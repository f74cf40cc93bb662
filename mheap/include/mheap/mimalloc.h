/* mimalloc.h: mimalloc's interface, on mheap: a program written for it compiles and runs.

     mi_heap_t *request = mi_heap_new();
     char *text = mi_heap_strdup(request, "gone with the request");
     mi_heap_destroy(request);

   Found as <mheap/mimalloc.h>, or as <mimalloc.h> with the compiler told of this directory
   itself. A mi_heap_t is an mheap of mheap/mheap.h and may be cast to one and back, so that
   functions of both headers can be mixed, and blocks and heaps may lie in files. Where two
   versions of mimalloc's documents differ, both calls work; all functions of the posix and C++
   families are here under their mi_ names.

   Caveats
   - An arena, and a heap file that serves a subprocess, has at most 126 heaps at a time beside its main
     one; else there may be as many as memory allows. The slabs of deleted heaps stay as they are until the
     main heap fills them or their blocks are freed: a heap that is deleted with blocks in it costs a
     slab of 64 KiB of address space for each size it used, and the pages of them it had used.
   - A heap is not bound to a thread: any thread may allocate in any heap.
   - A double free, a wild pointer, a pointer into a block are told to the registered error
     function (EAGAIN, EINVAL) and nothing else happens, in every build.
   - mi_free and all that take nothing but a pointer work for blocks of every heap of the process,
     files included, but not for those of another subprocess: they are refused with EINVAL.
   - mi_heap_delete and mi_heap_destroy leave the main heap alone. mi_heap_destroy of a heap made
     without allow_destroy deletes it, as the original does.
   - A block of the *_aligned_at family whose offset is no multiple of the alignment costs 40 bytes
     or more beside it. mi_realloc of one gives a block that is aligned to 16.
   - Options are set by mi_option_* alone; the environment is not read. See mi_option_t.
   - Functions that exist on Windows alone are not here. */
#ifndef MHEAP_MIMALLOC_H
#define MHEAP_MIMALLOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MI_MALLOC_VERSION 218 /* of the interface */

#ifndef MHEAP_API
#if defined(MHEAP_BUILDING)
#define MHEAP_API __attribute__((visibility("default")))
#else
#define MHEAP_API
#endif
#endif

/* The original's names for what compilers can be told; its companion headers use them. */
#if defined(__cplusplus)
#define mi_attr_noexcept noexcept
#else
#define mi_attr_noexcept
#endif
#if defined(__cplusplus) && __cplusplus >= 201703
#define mi_decl_nodiscard [[nodiscard]]
#else
#define mi_decl_nodiscard __attribute__((warn_unused_result))
#endif
#define mi_decl_export
#define mi_decl_restrict
#define mi_cdecl
#define mi_attr_malloc __attribute__((malloc))
#define mi_attr_alloc_size(s) __attribute__((alloc_size(s)))
#define mi_attr_alloc_size2(s1, s2) __attribute__((alloc_size(s1, s2)))
#define mi_attr_alloc_align(p) __attribute__((alloc_align(p)))

#define MI_FRESH_(size) mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size(size)
#define MI_FRESH2_(count, size) mi_attr_noexcept mi_attr_malloc mi_attr_alloc_size2(count, size)

#ifdef __cplusplus
extern "C" {
#endif

/* ---- blocks ------------------------------------------------------------------------

   In the thread's default heap: mi_heap_set_default, else the main heap of its subprocess. NULL is
   returned, and the error function told, for want of memory (ENOMEM) and of sizes beyond all
   measure, products that overflow included (EOVERFLOW); errno stays as it was unless said. */

MHEAP_API void *mi_malloc(size_t size) MI_FRESH_(1); /* size 0: a block of its own */
MHEAP_API void *mi_calloc(size_t count, size_t size) MI_FRESH2_(1, 2);
MHEAP_API void *mi_zalloc(size_t size) MI_FRESH_(1);
MHEAP_API void *mi_mallocn(size_t count, size_t size) MI_FRESH2_(1, 2);
MHEAP_API void mi_free(void *p) mi_attr_noexcept; /* NULL: nothing */

/* On failure NULL, and p stays as it was, but for mi_reallocf, which then frees it. A block of
   another heap that must move goes to the default one. */
MHEAP_API void *mi_realloc(void *p, size_t newsize) mi_attr_noexcept mi_attr_alloc_size(2);
MHEAP_API void *mi_reallocn(void *p, size_t count, size_t size) mi_attr_noexcept mi_attr_alloc_size2(2, 3);
MHEAP_API void *mi_reallocf(void *p, size_t newsize) mi_attr_noexcept mi_attr_alloc_size(2);
/* The same for blocks that mi_calloc, mi_zalloc or one of these two made: what is added is zero. */
MHEAP_API void *mi_rezalloc(void *p, size_t newsize) mi_attr_noexcept mi_attr_alloc_size(2);
MHEAP_API void *mi_recalloc(void *p, size_t count, size_t size) mi_attr_noexcept mi_attr_alloc_size2(2, 3);
/* p if the block has room for newsize bytes where it is, else NULL. */
MHEAP_API void *mi_expand(void *p, size_t newsize) mi_attr_noexcept mi_attr_alloc_size(2);

MHEAP_API char *mi_strdup(const char *s) mi_attr_noexcept mi_attr_malloc; /* NULL of NULL */
MHEAP_API char *mi_strndup(const char *s, size_t n) mi_attr_noexcept mi_attr_malloc;
/* The absolute name of the file; in resolved_name (PATH_MAX bytes) or, if that is NULL, in a
   block. NULL with errno as realpath(3) sets it. */
MHEAP_API char *mi_realpath(const char *fname, char *resolved_name) mi_attr_noexcept;

/* ---- extended functions ---------------------------------------------------------------- */

#define MI_SMALL_WSIZE_MAX (128)
#define MI_SMALL_SIZE_MAX (MI_SMALL_WSIZE_MAX * sizeof(void *))

/* Sizes up to MI_SMALL_SIZE_MAX; here larger ones work too. */
MHEAP_API void *mi_malloc_small(size_t size) MI_FRESH_(1);
MHEAP_API void *mi_zalloc_small(size_t size) MI_FRESH_(1);

/* Bytes that may be used at p: what mi_expand can give. 0 for NULL. */
MHEAP_API size_t mi_usable_size(const void *p) mi_attr_noexcept;
/* The bytes mi_malloc(size) makes usable. 0: no heap can hold it. */
MHEAP_API size_t mi_good_size(size_t size) mi_attr_noexcept;

/* Is p in a region of this process, allocated or not? */
MHEAP_API bool mi_is_in_heap_region(const void *p) mi_attr_noexcept;
/* Does mheap serve this process's malloc? */
MHEAP_API bool mi_is_redirected(void) mi_attr_noexcept;

MHEAP_API int mi_version(void) mi_attr_noexcept; /* MI_MALLOC_VERSION */

/* ---- aligned blocks: `alignment` is any power of two, else NULL ------------------------------

   mi_*_aligned_at: p + offset is a multiple of alignment. */

MHEAP_API void *mi_malloc_aligned(size_t size, size_t alignment) MI_FRESH_(1) mi_attr_alloc_align(2);
MHEAP_API void *mi_malloc_aligned_at(size_t size, size_t alignment, size_t offset) MI_FRESH_(1);
MHEAP_API void *mi_zalloc_aligned(size_t size, size_t alignment) MI_FRESH_(1) mi_attr_alloc_align(2);
MHEAP_API void *mi_zalloc_aligned_at(size_t size, size_t alignment, size_t offset) MI_FRESH_(1);
MHEAP_API void *mi_calloc_aligned(size_t count, size_t size, size_t alignment) MI_FRESH2_(1, 2)
    mi_attr_alloc_align(3);
MHEAP_API void *mi_calloc_aligned_at(size_t count, size_t size, size_t alignment, size_t offset)
    MI_FRESH2_(1, 2);
MHEAP_API void *mi_realloc_aligned(void *p, size_t newsize, size_t alignment) mi_attr_noexcept
    mi_attr_alloc_size(2) mi_attr_alloc_align(3);
MHEAP_API void *mi_realloc_aligned_at(void *p, size_t newsize, size_t alignment,
                                      size_t offset) mi_attr_noexcept mi_attr_alloc_size(2);
MHEAP_API void *mi_rezalloc_aligned(void *p, size_t newsize, size_t alignment) mi_attr_noexcept
    mi_attr_alloc_size(2) mi_attr_alloc_align(3);
MHEAP_API void *mi_rezalloc_aligned_at(void *p, size_t newsize, size_t alignment,
                                       size_t offset) mi_attr_noexcept mi_attr_alloc_size(2);
MHEAP_API void *mi_recalloc_aligned(void *p, size_t count, size_t size, size_t alignment) mi_attr_noexcept
    mi_attr_alloc_size2(2, 3) mi_attr_alloc_align(4);
MHEAP_API void *mi_recalloc_aligned_at(void *p, size_t count, size_t size, size_t alignment,
                                       size_t offset) mi_attr_noexcept mi_attr_alloc_size2(2, 3);

/* ---- the posix and BSD names --------------------------------------------------------------- */

/* 0, or EINVAL (no power of two, or less than a pointer) or ENOMEM: then *p is as it was. */
MHEAP_API int mi_posix_memalign(void **p, size_t alignment, size_t size) mi_attr_noexcept;
MHEAP_API void *mi_memalign(size_t alignment, size_t size) MI_FRESH_(2) mi_attr_alloc_align(1);
MHEAP_API void *mi_aligned_alloc(size_t alignment, size_t size) MI_FRESH_(2) mi_attr_alloc_align(1);
MHEAP_API void *mi_valloc(size_t size) MI_FRESH_(1);  /* aligned to a page */
MHEAP_API void *mi_pvalloc(size_t size) MI_FRESH_(1); /* of whole pages, too */
/* Frees what is in a region of mheap's, leaves anything else alone. */
MHEAP_API void mi_cfree(void *p) mi_attr_noexcept;
MHEAP_API void mi_free_size(void *p, size_t size) mi_attr_noexcept;
MHEAP_API void mi_free_size_aligned(void *p, size_t size, size_t alignment) mi_attr_noexcept;
MHEAP_API void mi_free_aligned(void *p, size_t alignment) mi_attr_noexcept;
MHEAP_API size_t mi_malloc_size(const void *p) mi_attr_noexcept;
MHEAP_API size_t mi_malloc_usable_size(const void *p) mi_attr_noexcept;
MHEAP_API size_t mi_malloc_good_size(size_t size) mi_attr_noexcept;
/* NULL with errno ENOMEM. */
MHEAP_API void *mi_reallocarray(void *p, size_t count, size_t size) mi_attr_noexcept
    mi_attr_alloc_size2(2, 3);
/* NetBSD's: p points to the pointer, which is replaced. 0, or an errno, in errno as well. */
MHEAP_API int mi_reallocarr(void *p, size_t count, size_t size) mi_attr_noexcept;
/* As mi_expand, with errno ENOMEM. */
MHEAP_API void *mi__expand(void *p, size_t newsize) mi_attr_noexcept;
MHEAP_API void *mi_aligned_recalloc(void *p, size_t count, size_t size, size_t alignment) mi_attr_noexcept;
MHEAP_API void *mi_aligned_offset_recalloc(void *p, size_t count, size_t size, size_t alignment,
                                           size_t offset) mi_attr_noexcept;

#ifndef __cplusplus
/* Never NULL: the process is ended where C++ would throw; here for C that is called from C++. */
MHEAP_API void *mi_new(size_t size);
MHEAP_API void *mi_new_aligned(size_t size, size_t alignment);
MHEAP_API void *mi_new_n(size_t count, size_t size);
MHEAP_API void *mi_new_realloc(void *p, size_t newsize);
MHEAP_API void *mi_new_reallocn(void *p, size_t count, size_t size);
/* These may be NULL. */
MHEAP_API void *mi_new_nothrow(size_t size);
MHEAP_API void *mi_new_aligned_nothrow(size_t size, size_t alignment);
#endif

/* ---- heaps ----------------------------------------------------------------------------- */

struct mi_heap_s;
typedef struct mi_heap_s mi_heap_t;
typedef int mi_arena_id_t; /* 1 and up; 0 is none */
typedef void *mi_subproc_id_t;

/* In the current subprocess; may be destroyed. NULL: no memory, or the subprocess is served by a file with
   126 heaps; the registered error function gets ENOMEM. */
MHEAP_API mi_heap_t *mi_heap_new(void);
/* arena_id 0: anywhere, else there and nowhere else. heap_tag 0 to 255: see mi_abandoned_visit_blocks. */
MHEAP_API mi_heap_t *mi_heap_new_ex(int heap_tag, bool allow_destroy, mi_arena_id_t arena_id);
MHEAP_API mi_heap_t *mi_heap_new_in_arena(mi_arena_id_t arena_id);
/* The blocks in use stay, and become the main heap's. NULL: nothing, as below. */
MHEAP_API void mi_heap_delete(mi_heap_t *heap);
/* All blocks are freed at once. */
MHEAP_API void mi_heap_destroy(mi_heap_t *heap);
/* What mi_malloc uses in this thread; returns what it was. A heap that is deleted or destroyed by
   this thread is replaced by the main heap; one that another thread has set must stay. */
MHEAP_API mi_heap_t *mi_heap_set_default(mi_heap_t *heap);
MHEAP_API mi_heap_t *mi_heap_get_default(void);
/* The main heap of this thread's subprocess. */
MHEAP_API mi_heap_t *mi_heap_get_backing(void);
MHEAP_API mi_heap_t *mi_heap_main(void);
/* The heap of the block that begins at p, else NULL. */
MHEAP_API mi_heap_t *mi_heap_of(const void *p);
/* As mi_collect, of the region that this heap is in. */
MHEAP_API void mi_heap_collect(mi_heap_t *heap, bool force) mi_attr_noexcept;

/* The functions without mi_heap_, in this heap. */
MHEAP_API void *mi_heap_malloc(mi_heap_t *heap, size_t size) MI_FRESH_(2);
MHEAP_API void *mi_heap_zalloc(mi_heap_t *heap, size_t size) MI_FRESH_(2);
MHEAP_API void *mi_heap_calloc(mi_heap_t *heap, size_t count, size_t size) MI_FRESH2_(2, 3);
MHEAP_API void *mi_heap_mallocn(mi_heap_t *heap, size_t count, size_t size) MI_FRESH2_(2, 3);
MHEAP_API void *mi_heap_malloc_small(mi_heap_t *heap, size_t size) MI_FRESH_(2);
MHEAP_API void *mi_heap_zalloc_small(mi_heap_t *heap, size_t size) MI_FRESH_(2);
MHEAP_API void *mi_heap_realloc(mi_heap_t *heap, void *p, size_t newsize) mi_attr_noexcept
    mi_attr_alloc_size(3);
MHEAP_API void *mi_heap_reallocn(mi_heap_t *heap, void *p, size_t count, size_t size) mi_attr_noexcept
    mi_attr_alloc_size2(3, 4);
MHEAP_API void *mi_heap_reallocf(mi_heap_t *heap, void *p, size_t newsize) mi_attr_noexcept
    mi_attr_alloc_size(3);
MHEAP_API void *mi_heap_rezalloc(mi_heap_t *heap, void *p, size_t newsize) mi_attr_noexcept
    mi_attr_alloc_size(3);
MHEAP_API void *mi_heap_recalloc(mi_heap_t *heap, void *p, size_t count, size_t size) mi_attr_noexcept
    mi_attr_alloc_size2(3, 4);
MHEAP_API char *mi_heap_strdup(mi_heap_t *heap, const char *s) mi_attr_noexcept mi_attr_malloc;
MHEAP_API char *mi_heap_strndup(mi_heap_t *heap, const char *s, size_t n) mi_attr_noexcept mi_attr_malloc;
MHEAP_API char *mi_heap_realpath(mi_heap_t *heap, const char *fname, char *resolved_name) mi_attr_noexcept;

MHEAP_API void *mi_heap_malloc_aligned(mi_heap_t *heap, size_t size, size_t alignment) MI_FRESH_(2)
    mi_attr_alloc_align(3);
MHEAP_API void *mi_heap_malloc_aligned_at(mi_heap_t *heap, size_t size, size_t alignment, size_t offset)
    MI_FRESH_(2);
MHEAP_API void *mi_heap_zalloc_aligned(mi_heap_t *heap, size_t size, size_t alignment) MI_FRESH_(2)
    mi_attr_alloc_align(3);
MHEAP_API void *mi_heap_zalloc_aligned_at(mi_heap_t *heap, size_t size, size_t alignment, size_t offset)
    MI_FRESH_(2);
MHEAP_API void *mi_heap_calloc_aligned(mi_heap_t *heap, size_t count, size_t size, size_t alignment)
    MI_FRESH2_(2, 3) mi_attr_alloc_align(4);
MHEAP_API void *mi_heap_calloc_aligned_at(mi_heap_t *heap, size_t count, size_t size, size_t alignment,
                                          size_t offset) MI_FRESH2_(2, 3);
MHEAP_API void *mi_heap_realloc_aligned(mi_heap_t *heap, void *p, size_t newsize,
                                        size_t alignment) mi_attr_noexcept mi_attr_alloc_size(3)
    mi_attr_alloc_align(4);
MHEAP_API void *mi_heap_realloc_aligned_at(mi_heap_t *heap, void *p, size_t newsize, size_t alignment,
                                           size_t offset) mi_attr_noexcept mi_attr_alloc_size(3);
MHEAP_API void *mi_heap_rezalloc_aligned(mi_heap_t *heap, void *p, size_t newsize,
                                         size_t alignment) mi_attr_noexcept mi_attr_alloc_size(3)
    mi_attr_alloc_align(4);
MHEAP_API void *mi_heap_rezalloc_aligned_at(mi_heap_t *heap, void *p, size_t newsize, size_t alignment,
                                            size_t offset) mi_attr_noexcept mi_attr_alloc_size(3);
MHEAP_API void *mi_heap_recalloc_aligned(mi_heap_t *heap, void *p, size_t count, size_t size,
                                         size_t alignment) mi_attr_noexcept mi_attr_alloc_size2(3, 4)
    mi_attr_alloc_align(5);
MHEAP_API void *mi_heap_recalloc_aligned_at(mi_heap_t *heap, void *p, size_t count, size_t size,
                                            size_t alignment, size_t offset) mi_attr_noexcept
    mi_attr_alloc_size2(3, 4);
#ifndef __cplusplus
MHEAP_API void *mi_heap_alloc_new(mi_heap_t *heap, size_t size);
MHEAP_API void *mi_heap_alloc_new_n(mi_heap_t *heap, size_t count, size_t size);
#endif

/* ---- what is in a heap ------------------------------------------------------------------- */

/* Is p the pointer of a block in use of this heap? */
MHEAP_API bool mi_heap_contains_block(mi_heap_t *heap, const void *p);
MHEAP_API bool mi_heap_contains(const mi_heap_t *heap, const void *p);
/* Does any pointer at all lie in a block in use of this heap; of the default heap; of any heap? */
MHEAP_API bool mi_heap_check_owned(mi_heap_t *heap, const void *p);
MHEAP_API bool mi_check_owned(const void *p);
MHEAP_API bool mi_any_heap_contains(const void *p);

/* Space for blocks of one size: a slab, or a large block. */
typedef struct mi_heap_area_s {
  void *blocks;           /* where they begin */
  size_t reserved;        /* bytes the area occupies */
  size_t committed;       /* bytes of it for blocks */
  size_t used;            /* blocks in use */
  size_t block_size;      /* bytes a block */
  size_t full_block_size; /* the same: nothing stands between blocks */
  int heap_tag;
} mi_heap_area_t;

typedef bool mi_block_visit_fun(const mi_heap_t *heap, const mi_heap_area_t *area, void *block,
                                size_t block_size, void *arg);

/* Calls the visitor for each area of the heap with block NULL and then, if visit_all_blocks, for
   each block in use in it, until it returns false. True: all were visited. What the visitor itself
   and other threads allocate and free meanwhile may be visited or not. */
MHEAP_API bool mi_heap_visit_blocks(const mi_heap_t *heap, bool visit_all_blocks, mi_block_visit_fun *visitor,
                                    void *arg);
/* The same for slabs that no thread allocates from now: their threads have ended. Of all heaps of a
   subprocess with this tag, or with heap_tag -1 of all. */
MHEAP_API bool mi_abandoned_visit_blocks(mi_subproc_id_t subproc_id, int heap_tag, bool visit_blocks,
                                         mi_block_visit_fun *visitor, void *arg);

/* ---- functions that are called; output; statistics -------------------------------------------- */

typedef void mi_deferred_free_fun(bool force, unsigned long long heartbeat, void *arg);
typedef void mi_output_fun(const char *msg, void *arg);
typedef void mi_error_fun(int err, void *arg);

/* One of each kind, of the whole process; NULL: none, output to standard error. They may call all
   functions. See mheap/extended.h: the deferred one is called before every 256th allocation of a
   thread; the error function after a line of text went to the output. */
MHEAP_API void mi_register_deferred_free(mi_deferred_free_fun *deferred_free, void *arg) mi_attr_noexcept;
MHEAP_API void mi_register_output(mi_output_fun *out, void *arg) mi_attr_noexcept;
MHEAP_API void mi_register_error(mi_error_fun *fun, void *arg);

/* Gives empty slabs of the default heap's region back; force: pages to the system, too. */
MHEAP_API void mi_collect(bool force) mi_attr_noexcept;
/* Peaks and totals begin anew, in all heaps of the main heap's region. */
MHEAP_API void mi_stats_reset(void) mi_attr_noexcept;
/* What mi_thread_stats_print_out tells of this thread begins anew: heaps hold it from the first on. */
MHEAP_API void mi_stats_merge(void) mi_attr_noexcept;
/* `out` is ignored: to the registered output. */
MHEAP_API void mi_stats_print(void *out) mi_attr_noexcept;
/* out NULL: the registered output. */
MHEAP_API void mi_stats_print_out(mi_output_fun *out, void *arg) mi_attr_noexcept;
MHEAP_API void mi_thread_stats_print_out(mi_output_fun *out, void *arg) mi_attr_noexcept;
MHEAP_API void mi_heap_stats_print_out(mi_heap_t *heap, mi_output_fun *out, void *arg) mi_attr_noexcept;
/* As JSON into buf, cut off at buf_size; buf NULL: into a block, which the caller frees. */
MHEAP_API char *mi_stats_get_json(size_t buf_size, char *buf) mi_attr_noexcept;

/* Automatic, all three. */
MHEAP_API void mi_process_init(void) mi_attr_noexcept;
MHEAP_API void mi_thread_init(void) mi_attr_noexcept;
MHEAP_API void mi_thread_done(void) mi_attr_noexcept;

/* Any of the pointers may be NULL. All numbers are the kernel's: milliseconds, bytes, faults. */
MHEAP_API void mi_process_info(size_t *elapsed_msecs, size_t *user_msecs, size_t *system_msecs,
                               size_t *current_rss, size_t *peak_rss, size_t *current_commit,
                               size_t *peak_commit, size_t *page_faults) mi_attr_noexcept;

/* ---- arenas: 0, or ENOMEM, ETIMEDOUT; see mheap_arena_* in mheap/mheap.h --------------- */

MHEAP_API int mi_reserve_os_memory(size_t size, bool commit, bool allow_large) mi_attr_noexcept;
MHEAP_API int mi_reserve_os_memory_ex(size_t size, bool commit, bool allow_large, bool exclusive,
                                      mi_arena_id_t *arena_id) mi_attr_noexcept;
/* False: it is too small, in use already, or not where memory can be. */
MHEAP_API bool mi_manage_os_memory(void *start, size_t size, bool is_committed, bool is_large, bool is_zero,
                                   int numa_node) mi_attr_noexcept;
MHEAP_API bool mi_manage_os_memory_ex(void *start, size_t size, bool is_committed, bool is_large,
                                      bool is_zero, int numa_node, bool exclusive,
                                      mi_arena_id_t *arena_id) mi_attr_noexcept;
/* Pages of 1 GiB. timeout_msecs 0: none. */
MHEAP_API int mi_reserve_huge_os_pages_interleave(size_t pages, size_t numa_nodes,
                                                  size_t timeout_msecs) mi_attr_noexcept;
MHEAP_API int mi_reserve_huge_os_pages_at(size_t pages, int numa_node, size_t timeout_msecs) mi_attr_noexcept;
MHEAP_API int mi_reserve_huge_os_pages_at_ex(size_t pages, int numa_node, size_t timeout_msecs,
                                             bool exclusive, mi_arena_id_t *arena_id) mi_attr_noexcept;
/* Deprecated by the original. */
MHEAP_API int mi_reserve_huge_os_pages(size_t pages, double max_secs,
                                       size_t *pages_reserved) mi_attr_noexcept;
/* NULL, and 0 in *size: there is no such arena. */
MHEAP_API void *mi_arena_area(mi_arena_id_t arena_id, size_t *size);
MHEAP_API size_t mi_arena_min_alignment(void);
/* Both documented calls work, mi_debug_show_arenas() shows all three. */
MHEAP_API void mi_debug_show_arenas(bool show_inuse, bool show_abandoned, bool show_purge) mi_attr_noexcept;

/* ---- subprocesses; see mheap_subproc_* in mheap/mheap.h ------------------------------------------ */

typedef bool mi_heap_visit_fun(mi_heap_t *heap, void *arg);

MHEAP_API mi_subproc_id_t mi_subproc_main(void);
MHEAP_API mi_subproc_id_t mi_subproc_current(void);
/* NULL: no memory. */
MHEAP_API mi_subproc_id_t mi_subproc_new(void);
/* Its heaps, arenas and blocks go. While a thread is in it, and of the main one: nothing. */
MHEAP_API void mi_subproc_destroy(mi_subproc_id_t subproc);
/* The same, but nothing while a block in it is in use either. */
MHEAP_API void mi_subproc_delete(mi_subproc_id_t subproc);
MHEAP_API void mi_subproc_add_current_thread(mi_subproc_id_t subproc);
/* True: all heaps were visited. */
MHEAP_API bool mi_subproc_visit_heaps(mi_subproc_id_t subproc, mi_heap_visit_fun *visitor, void *arg);

/* ---- options ------------------------------------------------------------------------------------ */

/* Names of all versions. Three act: show_errors and verbose have errors written to the output although
   no function is registered; show_stats and verbose have statistics printed at exit. The others are
   stored, and nothing else: there is no need of them here, or (reserve_*) a function says it better. */
typedef enum mi_option_e {
  mi_option_show_errors,
  mi_option_show_stats,
  mi_option_verbose,
  mi_option_eager_commit,
  mi_option_arena_eager_commit,
  mi_option_purge_decommits,
  mi_option_allow_large_os_pages,
  mi_option_reserve_huge_os_pages,
  mi_option_reserve_huge_os_pages_at,
  mi_option_reserve_os_memory,
  mi_option_deprecated_segment_cache,
  mi_option_deprecated_page_reset,
  mi_option_abandoned_page_purge,
  mi_option_deprecated_segment_reset,
  mi_option_eager_commit_delay,
  mi_option_purge_delay,
  mi_option_use_numa_nodes,
  mi_option_disallow_os_alloc,
  mi_option_os_tag,
  mi_option_max_errors,
  mi_option_max_warnings,
  mi_option_max_segment_reclaim,
  mi_option_destroy_on_exit,
  mi_option_arena_reserve,
  mi_option_arena_purge_mult,
  mi_option_purge_extend_delay,
  mi_option_abandoned_reclaim_on_free,
  mi_option_disallow_arena_alloc,
  mi_option_retry_on_oom,
  mi_option_visit_abandoned,
  mi_option_guarded_min,
  mi_option_guarded_max,
  mi_option_guarded_precise,
  mi_option_guarded_sample_rate,
  mi_option_guarded_sample_seed,
  mi_option_target_segments_per_thread,
  mi_option_generic_collect,
  mi_option_allow_decommit,
  mi_option_segment_decommit_delay,
  _mi_option_last,
  mi_option_deprecated_eager_region_commit = mi_option_arena_eager_commit,
  mi_option_eager_region_commit = mi_option_arena_eager_commit,
  mi_option_deprecated_reset_decommits = mi_option_purge_decommits,
  mi_option_reset_decommits = mi_option_purge_decommits,
  mi_option_large_os_pages = mi_option_allow_large_os_pages,
  mi_option_page_reset = mi_option_deprecated_page_reset,
  mi_option_abandoned_page_decommit = mi_option_abandoned_page_purge,
  mi_option_abandoned_page_reset = mi_option_abandoned_page_purge,
  mi_option_decommit_delay = mi_option_purge_delay,
  mi_option_reset_delay = mi_option_purge_delay,
  mi_option_limit_os_alloc = mi_option_disallow_os_alloc,
  mi_option_decommit_extend_delay = mi_option_purge_extend_delay,
} mi_option_t;

/* Of what is no option: false, 0, nothing. */
MHEAP_API bool mi_option_is_enabled(mi_option_t option);
MHEAP_API void mi_option_enable(mi_option_t option);
MHEAP_API void mi_option_disable(mi_option_t option);
MHEAP_API void mi_option_set_enabled(mi_option_t option, bool enable);
/* _default: only if it was not set before. */
MHEAP_API void mi_option_set_enabled_default(mi_option_t option, bool enable);
MHEAP_API long mi_option_get(mi_option_t option);
MHEAP_API long mi_option_get_clamp(mi_option_t option, long min, long max);
/* Of reserve_os_memory and arena_reserve, which are in KiB: in bytes. */
MHEAP_API size_t mi_option_get_size(mi_option_t option);
MHEAP_API void mi_option_set(mi_option_t option, long value);
MHEAP_API void mi_option_set_default(mi_option_t option, long value);

#ifdef __cplusplus
}
#endif

/* ---- by type ------------------------------------------------------------------------------------- */

#define mi_malloc_tp(tp) ((tp *)mi_malloc(sizeof(tp)))
#define mi_zalloc_tp(tp) ((tp *)mi_zalloc(sizeof(tp)))
#define mi_calloc_tp(tp, n) ((tp *)mi_calloc(n, sizeof(tp)))
#define mi_mallocn_tp(tp, n) ((tp *)mi_mallocn(n, sizeof(tp)))
#define mi_reallocn_tp(p, tp, n) ((tp *)mi_reallocn(p, n, sizeof(tp)))
#define mi_recalloc_tp(p, tp, n) ((tp *)mi_recalloc(p, n, sizeof(tp)))
#define mi_heap_malloc_tp(hp, tp) ((tp *)mi_heap_malloc(hp, sizeof(tp)))
#define mi_heap_zalloc_tp(hp, tp) ((tp *)mi_heap_zalloc(hp, sizeof(tp)))
#define mi_heap_calloc_tp(hp, tp, n) ((tp *)mi_heap_calloc(hp, n, sizeof(tp)))
#define mi_heap_mallocn_tp(hp, tp, n) ((tp *)mi_heap_mallocn(hp, n, sizeof(tp)))
#define mi_heap_reallocn_tp(hp, p, tp, n) ((tp *)mi_heap_reallocn(hp, p, n, sizeof(tp)))
#define mi_heap_recalloc_tp(hp, p, tp, n) ((tp *)mi_heap_recalloc(hp, p, n, sizeof(tp)))

#ifndef __cplusplus

/* mi_debug_show_arenas with three arguments, or none. */
static inline void mi_debug_show_arenas_(size_t given, const bool *show) {
  if (given == 3) (mi_debug_show_arenas)(show[1], show[2], show[3]);
  else (mi_debug_show_arenas)(true, true, true);
}
#define mi_debug_show_arenas(...)                                                      \
  mi_debug_show_arenas_(sizeof((const bool[]){false, __VA_ARGS__}) / sizeof(bool) - 1, \
                        (const bool[]){false, __VA_ARGS__})

#else
#include "mimalloc_cxx.h"
#endif

#endif
