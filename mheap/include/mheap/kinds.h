/* kinds.h: kinds of memory: sets of heaps behind one name. Part of mheap/mheap.h.

     mheap_kind *kind = mheap_kind_create("cache", MHEAP_KIND_THREAD, heap);
     char *block = mheap_kind_malloc(kind, 100);
     mheap_kind_free_any(block);

   A kind has *arenas*, each of which is a heap of its own: four for every processor, of which a
   thread uses the one that a hash of its id chooses (policy THREAD), or exactly one (BIJECTIVE).

   A kind made in a region is stored there with its name, policy, usage and heaps, and found
   again after the next attach. Its heaps take rows of the region's table, so policy THREAD has
   no more than 32 arenas there, nor more than there are rows left for. A kind in memory of its own
   has all of them and is gone with the process; a forked child goes on with a copy.

   Errors: as in mheap.h; mheap_kind_last_error tells what was wrong. Functions that are given no
   kind leave it with the default heap. Kinds of a region go when it is detached. */
#ifndef MHEAP_KINDS_H
#define MHEAP_KINDS_H

#include "mheap.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mheap_kind mheap_kind;

#define MHEAP_KIND_NAME_MAX 255 /* bytes */

typedef enum mheap_kind_policy {
  MHEAP_KIND_ANY = 0,       /* as it is stored; a new kind: THREAD */
  MHEAP_KIND_THREAD = 1,    /* four arenas for every processor */
  MHEAP_KIND_BIJECTIVE = 2, /* one */
} mheap_kind_policy;

typedef enum mheap_kind_usage {
  MHEAP_KIND_USAGE_DEFAULT = 0,      /* free pages are kept: to use them again is quicker */
  MHEAP_KIND_USAGE_CONSERVATIVE = 1, /* pages of slabs and large blocks go back once these are free */
} mheap_kind_usage;

/* ---- making, finding, destroying ---- */

/* The kind of this name in the region of `heap`, or (NULL) in memory of its own; made if there is
   none. `name`: UTF-8 of 1 to MHEAP_KIND_NAME_MAX bytes. NULL, with the error left with `heap`:
   MHEAP_ERR_ARGUMENT when it exists with another policy, MHEAP_ERR_READ_ONLY, _FULL, _NO_MEMORY,
   _CORRUPT. A process that is killed meanwhile leaves the kind made, or not made. */
MHEAP_API mheap_kind *mheap_kind_create(const char *name, mheap_kind_policy policy, mheap *heap);
/* Where the space of a kind's arenas comes from, if not from mheap. An arena gets an extent when it has
   no room left, and keeps it until the kind is destroyed, or at exit; pages in it come and go. */
typedef struct mheap_extent_hooks {
  /* `size` bytes, a multiple of 4 MiB, readable and writable if *commit (which it may make false),
     zero if it makes *zero true; better at a multiple of `alignment`. NULL: there is no more. */
  void *(*alloc)(void *arg, size_t size, size_t alignment, bool *zero, bool *commit, unsigned arena);
  /* The kind is destroyed. May be NULL. */
  void (*dalloc)(void *arg, void *extent, size_t size, unsigned arena);
  /* [offset, offset + length) of an extent that was not committed, or decommitted, is needed. False:
     it cannot be. NULL: all of an extent is committed for good. */
  bool (*commit)(void *arg, void *extent, size_t size, size_t offset, size_t length, unsigned arena);
  /* The same range is not needed now. False, or NULL: it stays committed, and purge is asked. */
  bool (*decommit)(void *arg, void *extent, size_t size, size_t offset, size_t length, unsigned arena);
  /* Its contents are not needed. May be NULL: pages are then kept. */
  void (*purge)(void *arg, void *extent, size_t size, size_t offset, size_t length, unsigned arena);
  void *arg;
} mheap_extent_hooks;

/* A new kind in memory that `hooks`, which must stay, provide; a kind of that name must not be there
   (MHEAP_ERR_BUSY). Hooks are called by whichever thread needs or frees the space, one at a time for a
   kind's arena, and must not use the kind. When pages go back is what mheap_kind_set_usage says. */
MHEAP_API mheap_kind *mheap_kind_create_with_hooks(const char *name, mheap_kind_policy policy,
                                                   const mheap_extent_hooks *hooks);
/* The same, of kinds there are: NULL with MHEAP_ERR_NOT_FOUND. */
MHEAP_API mheap_kind *mheap_kind_find(const char *name, mheap *heap);
/* Every kind in the region of `heap`, or (NULL) in memory of its own, until `visit` returns
   false. `visit` must not make or destroy kinds. */
MHEAP_API mheap_err mheap_visit_kinds(mheap *heap, bool (*visit)(void *arg, mheap_kind *kind), void *arg);
/* Frees every block of the kind, and the kind. No other thread may be using it. */
MHEAP_API mheap_err mheap_kind_destroy(mheap_kind *kind);

/* ---- blocks: of kind NULL, they are the default heap's ---- */

/* From the arena of the calling thread; else as mheap_malloc and its like. */
MHEAP_API void *mheap_kind_malloc(mheap_kind *kind, size_t size);
MHEAP_API void *mheap_kind_calloc(mheap_kind *kind, size_t count, size_t size);
MHEAP_API void *mheap_kind_memalign(mheap_kind *kind, size_t alignment, size_t size);
/* A block of any arena of the kind; of another kind, or none: MHEAP_ERR_POINTER. */
MHEAP_API void *mheap_kind_realloc(mheap_kind *kind, void *block, size_t size);
MHEAP_API mheap_err mheap_kind_free(mheap_kind *kind, void *block);
MHEAP_API size_t mheap_kind_usable_size(mheap_kind *kind, const void *block);

/* The kind whose block it is, at the same cost however many there are. NULL with an error for
   what is no block, NULL without one (MHEAP_OK) for a block of no kind. */
MHEAP_API mheap_kind *mheap_kind_detect(const void *block);
/* Of whatever kind the block is, or none. block NULL: as mheap_malloc, and nothing. */
MHEAP_API void *mheap_kind_realloc_any(void *block, size_t size);
MHEAP_API mheap_err mheap_kind_free_any(void *block);

/* ---- arenas ---- */

/* The process-wide number, 1 and up, of the arena that the calling thread uses. */
MHEAP_API mheap_err mheap_kind_thread_arena(mheap_kind *kind, unsigned *arena);
/* That of the only arena; MHEAP_ERR_ARGUMENT unless the policy is BIJECTIVE. */
MHEAP_API mheap_err mheap_kind_bijective_arena(mheap_kind *kind, unsigned *arena);
/* The kind that an arena belongs to; NULL with MHEAP_ERR_NOT_FOUND. */
MHEAP_API mheap_kind *mheap_kind_by_arena(unsigned arena);
/* As mheap_kind_memalign, from the arena of this number. */
MHEAP_API void *mheap_kind_memalign_in(mheap_kind *kind, unsigned arena, size_t alignment, size_t size);

/* ---- what a kind is ---- */

typedef struct mheap_kind_info {
  const char *name; /* as long as the kind is */
  mheap_kind_policy policy;
  mheap_kind_usage usage;
  mheap *heap;     /* main heap of the region it is stored in; NULL: in memory of its own */
  unsigned arenas; /* how many */
  unsigned arena;  /* number of the first; the others follow it */
  uint64_t size;   /* bytes of the regions that are its own; 0 for a kind stored in one */
} mheap_kind_info;

MHEAP_API mheap_err mheap_kind_get_info(mheap_kind *kind, mheap_kind_info *info);
/* Changes how soon pages go back to the system, or the file (unless a reader is attached). Setting
   CONSERVATIVE gives all free pages of the region back at once. A slab a size class and thread stays
   ready; pages go with the slab, not the block. */
MHEAP_API mheap_err mheap_kind_set_usage(mheap_kind *kind, mheap_kind_usage usage);
/* This thread's last error with this kind; NULL: of the functions without a kind. */
MHEAP_API const mheap_error *mheap_kind_last_error(mheap_kind *kind);

/* ---- decorators ---- */

typedef enum mheap_kind_operation {
  MHEAP_KIND_MALLOC = 1,
  MHEAP_KIND_CALLOC,
  MHEAP_KIND_MEMALIGN,
  MHEAP_KIND_REALLOC,
  MHEAP_KIND_FREE,
} mheap_kind_operation;

/* A call: `pre` may change what goes in, `post` what comes out. */
typedef struct mheap_kind_call {
  mheap_kind_operation operation;
  mheap_kind *kind;
  void *block;      /* REALLOC, FREE */
  size_t count;     /* CALLOC */
  size_t size;      /* all but FREE */
  size_t alignment; /* MEMALIGN */
  void *result;     /* all but FREE */
  mheap_err code;   /* MHEAP_OK when it succeeded */
} mheap_kind_call;

typedef struct mheap_kind_decorators {
  /* Before each call; not NULL or MHEAP_OK: the call is not made and fails with that code. */
  mheap_err (*pre)(void *arg, mheap_kind_call *call);
  void (*post)(void *arg, mheap_kind_call *call); /* after each call that was made; may be NULL */
  void *arg;
} mheap_kind_decorators;

/* From now on they are called around every call on the kind, in any thread; NULL: none. They
   must stay where they are until others take their place. */
MHEAP_API mheap_err mheap_kind_decorate(mheap_kind *kind, const mheap_kind_decorators *decorators);

#ifdef __cplusplus
}
#endif
#endif
