/* memkind.h: what the files of memkind's interface (the public mheap/memkind_arena.h) share.

   memkind_arena.c    arenas of a kind, and what is allocated in them
   memkind_default.c  the default operations, and what they ask of the system
   memkind_kinds.c    memkind_malloc and its like, the kinds there are, files

   The interface is thin: it forwards to mheap/kinds.h. Owns a record beside each struct memkind that
   has arenas, which is the program's memory. */
#ifndef MHEAP_MEMKIND_H
#define MHEAP_MEMKIND_H

#include "kind.h"
#include "mheap/memkind_arena.h"

struct memkind_mheap {
  mheap_kind *core;
  mheap_extent_hooks hooks; /* the core's, which call `user` or the kind's operations */
  extent_hooks_t *user;
  mheap *file; /* of a pmem kind */
  int (*finalize)(struct memkind *kind);
  struct memkind *kind;
  struct memkind_mheap *next;
  unsigned arenas;
  unsigned map[]; /* kind->arena_map */
};

/* NULL: it has no arenas, or they went with their subprocess. */
mheap_kind *mh_memkind_core(const struct memkind *kind);
/* Tells `kind` what arenas `core` has. MEMKIND_ERROR_*. */
int mh_memkind_adopt(struct memkind *kind, mheap_kind *core, mheap *file);
/* NULL with errno ENOMEM where there is no block. */
void *mh_memkind_block(void *block);
/* For posix_memalign: 0, EINVAL or ENOMEM, and errno as it was. */
int mh_memkind_align(void *(*memalign)(void *arg, size_t alignment, size_t size), void *arg, void **memptr,
                     size_t alignment, size_t size);

#endif
