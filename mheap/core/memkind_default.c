/* memkind_default.c: memkind's default operations: the default heap, and mappings for kinds that say
   what these should be like. See memkind.h. Owns nothing. */
#include <errno.h>
#include <string.h>

#include "memkind.h"
#include "os.h"

/* ---- life ---- */

int memkind_default_create(struct memkind *kind, struct memkind_ops *ops, const char *name) {
  if (kind == NULL || name == NULL || strlen(name) >= MEMKIND_NAME_LENGTH_PRIV) return MEMKIND_ERROR_INVALID;
  if (ops == NULL) return MEMKIND_ERROR_BADOPS;
  static const pthread_once_t fresh = PTHREAD_ONCE_INIT;
  kind->ops = ops;
  memset(kind->name, 0, sizeof kind->name);
  memcpy(kind->name, name, strlen(name));
  kind->init_once = fresh;
  kind->arena_map = NULL;
  kind->arena_map_len = kind->arena_map_mask = kind->arena_zero = 0;
  kind->mheap = NULL;
  return MEMKIND_SUCCESS;
}

int memkind_default_destroy(struct memkind *kind) {
  return kind != NULL ? MEMKIND_SUCCESS : MEMKIND_ERROR_INVALID;
}

void memkind_default_init_once(void) { mheap_default(); }

/* ---- blocks ---- */

bool size_out_of_bounds(size_t size) { return size == 0 || size > MH_OFFSET_MAX / 16; }

void *memkind_default_malloc(struct memkind *kind, size_t size) {
  (void)kind;
  return size != 0 ? mh_memkind_block(mheap_malloc(NULL, size)) : NULL;
}

void *memkind_default_calloc(struct memkind *kind, size_t num, size_t size) {
  (void)kind;
  return num != 0 && size != 0 ? mh_memkind_block(mheap_calloc(NULL, num, size)) : NULL;
}

static void *align_default(void *arg, size_t alignment, size_t size) {
  (void)arg;
  return mheap_memalign(NULL, alignment, size);
}

int memkind_default_posix_memalign(struct memkind *kind, void **memptr, size_t alignment, size_t size) {
  (void)kind;
  return mh_memkind_align(align_default, NULL, memptr, alignment, size);
}

void *memkind_default_realloc(struct memkind *kind, void *ptr, size_t size) {
  if (ptr == NULL) return memkind_default_malloc(kind, size);
  if (size != 0) return mh_memkind_block(mheap_kind_realloc_any(ptr, size));
  mheap_kind_free_any(ptr);
  return NULL;
}

void memkind_default_free(struct memkind *kind, void *ptr) {
  (void)kind;
  mheap_kind_free_any(ptr);
}

size_t memkind_default_malloc_usable_size(struct memkind *kind, void *ptr) {
  (void)kind;
  return mheap_kind_usable_size(NULL, ptr);
}

int memkind_posix_check_alignment(struct memkind *kind, size_t alignment) {
  (void)kind;
  return alignment < sizeof(void *) || (alignment & (alignment - 1)) != 0 ? EINVAL : 0;
}

/* ---- mappings ---- */

int memkind_default_get_mmap_flags(struct memkind *kind, int *flags) {
  (void)kind;
  *flags = mh_os_private_flags();
  return MEMKIND_SUCCESS;
}

void *memkind_default_mmap(struct memkind *kind, void *addr, size_t size) {
  int (*get)(struct memkind *, int *) = kind->ops->get_mmap_flags;
  int flags, failed = get != NULL ? get(kind, &flags) : memkind_default_get_mmap_flags(kind, &flags);
  void *got = (void *)-1;
  if (!failed) failed = mh_os_map_like(addr, size, flags, &got);
  return failed ? (void *)-1 : got;
}

enum { PREFERRED = 1, BIND = 2, INTERLEAVE = 3 }; /* the kernel's numbers: set_mempolicy(2) */

static int set_mode(int *mode, int value) {
  *mode = value;
  return MEMKIND_SUCCESS;
}

int memkind_default_get_mbind_mode(struct memkind *kind, int *mode) {
  return (void)kind, set_mode(mode, BIND);
}

int memkind_preferred_get_mbind_mode(struct memkind *kind, int *mode) {
  return (void)kind, set_mode(mode, PREFERRED);
}

int memkind_interleave_get_mbind_mode(struct memkind *kind, int *mode) {
  return (void)kind, set_mode(mode, INTERLEAVE);
}

#define WORD_BITS (8 * sizeof(unsigned long))

int memkind_default_get_mbind_nodemask(struct memkind *kind, unsigned long *nodemask, unsigned long maxnode) {
  (void)kind;
  memset(nodemask, 0, (maxnode + WORD_BITS - 1) / WORD_BITS * sizeof *nodemask);
  for (int node = 0; node < mh_os_nodes() && (unsigned long)node < maxnode; node++)
    if (mh_os_has_node(node)) nodemask[(size_t)node / WORD_BITS] |= 1ul << (size_t)node % WORD_BITS;
  return MEMKIND_SUCCESS;
}

#define NODES 1024

int memkind_default_mbind(struct memkind *kind, void *ptr, size_t len) {
  const struct memkind_ops *ops = kind->ops;
  unsigned long nodes[NODES / WORD_BITS];
  int mode, failed;
  failed = ops->get_mbind_nodemask != NULL ? ops->get_mbind_nodemask(kind, nodes, NODES)
                                           : memkind_default_get_mbind_nodemask(kind, nodes, NODES);
  if (!failed)
    failed = ops->get_mbind_mode != NULL ? ops->get_mbind_mode(kind, &mode)
                                         : memkind_default_get_mbind_mode(kind, &mode);
  if (failed) return failed;
  return mh_os_bind(ptr, len, mode, nodes, NODES) == 0 ? MEMKIND_SUCCESS : MEMKIND_ERROR_MBIND;
}

int memkind_nohugepage_madvise(struct memkind *kind, void *addr, size_t size) {
  (void)kind;
  return mh_os_advise_small(addr, size) == 0 ? MEMKIND_SUCCESS : MEMKIND_ERROR_INVALID;
}
