/* kind.h: kinds: sets of heaps behind one name. The public contract is mheap/kinds.h.

   kind.c         the process's kinds, their lives, the numbers of arenas
   kind_stored.c  kinds in a region: rows of its heap table
   kind_memory.c  kinds in memory of their own
   kind_extents.c kinds in memory that a program's hooks provide
   kind_blocks.c  allocation, detection, decorators

   Calls heap.h, pointer.h, registry.h, os.h; knows no system call and no object.
   Lock order: the kinds' lock (mh_kinds_lock) after subproc.h's, a kind's, then that of handles
   and registry.h's. The kinds'
   is held while kinds are made, found or destroyed; a kind's, while one in memory grows.

   Invariant: a heap whose `kind` is K is in a part of one of K's arenas, until K is destroyed. */
#ifndef MHEAP_KIND_H
#define MHEAP_KIND_H

#include <pthread.h>

#include "heap.h"

/* A heap that an arena allocates from: of a stored kind one for good, of one in memory one more
   whenever all before are full. */
typedef struct mh_kind_part {
  mheap *heap;
  struct mh_kind_part *older;
} mh_kind_part;

typedef struct mh_kind_arena {
  _Atomic(mh_kind_part *) newest; /* NULL: nothing was allocated yet */
  mh_kind_part first;
} mh_kind_arena;

typedef struct mh_extent mh_extent; /* kind_extents.c */

/* A region that is a kind's own. */
typedef struct mh_ground {
  mheap *main;
  mh_extent *extent; /* that hooks gave and it lies in; NULL: plain memory */
  struct mh_ground *older;
} mh_ground;

struct mheap_kind {
  mheap *main;                     /* of the region it is stored in; NULL: it is in memory */
  uint32_t row;                    /* of its first heap there */
  uint32_t policy;                 /* MH_KIND_THREAD, MH_KIND_BIJECTIVE */
  _Atomic(uint32_t) usage;         /* mheap_kind_usage */
  uint32_t arenas, first;          /* how many; the number of the first */
  pthread_mutex_t lock;            /* grounds, and what is added to parts */
  struct mh_subproc *subproc;      /* whose memory it is in */
  mh_ground *grounds;              /* newest first */
  const mheap_extent_hooks *hooks; /* where memory comes from; NULL: the system */
  _Atomic(const mheap_kind_decorators *) decorators;
  void *user;    /* struct memkind, for memkind.c */
  bool nameless; /* not found by its name: another may have it too */
  mheap_kind *next;
  char name[MHEAP_KIND_NAME_MAX + 1];
  mh_kind_arena arena[];
};

#define MH_KIND_ARENAS_STORED 32 /* at most, so that one region has room for some kinds */
#define MH_KIND_ARENAS_EACH 4    /* for every processor */

/* ---- kind.c ---- */
void mh_kinds_lock(void);
void mh_kinds_unlock(void);
void mh_kinds_before_fork(void);
void mh_kinds_after_fork(void);
/* This thread's last error with a kind. */
static inline mheap_error *mh_kind_error(const mheap_kind *kind) { return mh_error_of((const mheap *)kind); }
/* Copies the heap's error to the kind; returns its code. */
mheap_err mh_kind_fail(const mheap_kind *kind, const mheap *heap);

/* A kind without heaps that nobody knows yet. NULL with an error. */
mheap_kind *mh_kind_new(const char *name, uint32_t policy, uint32_t arenas, mheap_error *error);
void mh_kind_free(mheap_kind *kind);
/* Lets it be found, and its arenas have numbers; under the kinds' lock. */
mheap_err mh_kind_enter(mheap_kind *kind, mheap_error *error);
/* A kind in memory whose name is its own business. */
mheap_kind *mh_kind_make_nameless(const char *name, uint32_t policy, const mheap_extent_hooks *hooks,
                                  mheap_error *error);
/* The kind that is stored from this row on, of those the process knows; under the kinds' lock. */
mheap_kind *mh_kind_at(const mh_region *region, uint32_t row);
/* mh_kinds_reclaim, with the lock. */
void mh_kinds_settle(mheap *main);
/* A region is about to go. */
void mh_kinds_forget(const mh_region *region);
/* What was not committed in a region is undone: kinds made since are gone. Their heaps' handles are there
   still. */
void mh_kinds_rolled_back(const mh_region *region);
/* kind_stored.c: looks up anew what may be set. */
void mh_kind_load_usage(mheap_kind *kind);
uint32_t mh_kind_arenas(uint32_t policy);
/* From now on, hooks get their memory back when the process exits. */
void mh_kinds_watch_exit(void);
/* A subprocess goes, and its kinds in memory with it; how many of their blocks are in use. */
void mh_kinds_drop_subproc(const struct mh_subproc *subproc);
uint64_t mh_kinds_used(const struct mh_subproc *subproc);

/* Makes `heap` a part of an arena. */
void mh_kind_add_part(mheap_kind *kind, mh_kind_arena *arena, mh_kind_part *part, mheap *heap);

/* ---- kind_stored.c; under the kinds' lock ---- */

/* Makes the process know all kinds of a region. The first that is damaged is an error; the others are
   known nevertheless. */
mheap_err mh_kinds_load(mheap *main, mheap_error *error);
mheap_kind *mh_kind_store(mheap *main, const char *name, uint32_t policy, mheap_error *error);
/* From one store on it is not there any more. */
mheap_err mh_kind_unstore(mheap_kind *kind);
/* Frees the heaps of a kind that is not there any more. */
void mh_kind_drop_heaps(mheap_kind *kind);
/* Is this row a heap of a kind that is not there? */
bool mh_kind_lost(const mh_region *region, uint32_t row);
/* Gives back the heaps of kinds whose making or destroying was cut short by a kill. */
void mh_kinds_reclaim(mheap *main);
void mh_kind_store_usage(mheap_kind *kind);
/* The name of the kind whose first heap has this row, checked. */
mheap_err mh_kind_name_of(mheap *main, uint32_t row, const mh_kind_name **name, mheap_error *error);

/* ---- kind_memory.c ---- */

/* Address space of a ground, bytes; 0: as mheap_attach makes it. Set by tests alone. */
extern uint64_t mh_kind_ground;

/* One more part for an arena whose newest is `seen`, with room for such a block. */
mheap_err mh_kind_grow(mheap_kind *kind, mh_kind_arena *arena, const mh_kind_part *seen, uint64_t size,
                       uint64_t alignment, mheap_error *error);
/* Gives back all of a kind's regions. */
void mh_kind_drop_grounds(mheap_kind *kind);
uint64_t mh_kind_grounds_size(mheap_kind *kind);
uint64_t mh_kind_grounds_used(mheap_kind *kind); /* blocks */
/* The sums of bytes and blocks; the rest is 0. */
mheap_err mh_kind_grounds_stats(mheap_kind *kind, mheap_stats *sum);

/* ---- kind_extents.c ---- */

/* A ground in an extent that the kind's hooks give for an arena. */
mheap_err mh_extent_ground(mheap_kind *kind, uint32_t index, uint64_t size, uint64_t alignment,
                           mh_ground *ground, mheap_error *error);
/* Its region is gone. */
void mh_extent_drop(mh_extent *extent);

#endif
