/* subproc.h: subprocesses: sets of heaps that share nothing; which heap is a thread's default one.

   Owns: the records, threads' membership, main heaps and their making. Calls handle.c (through heap.h),
   lane.h, registry.h. Two locks: `making`, over making and dropping memory, is the first of all; that
   of the records is taken alone.

   Invariants: a record in the list has a number that no other ever had; `threads` of a record other
   than the main one is how many mh_this_thread.subproc point to it; who points to it from a region
   that is attached finds it in the list. Records are used again, never given back, so that a
   pointer to one that is gone leads to some record. */
#ifndef MHEAP_SUBPROC_H
#define MHEAP_SUBPROC_H

#include "heap.h"
#include "lane.h"

#define MH_SUBPROC_NAME 64

typedef struct mh_subproc {
  int id; /* 0: a free record */
  char name[MH_SUBPROC_NAME];
  _Atomic(mheap *) main; /* NULL: not made yet */
  bool given;            /* the main heap is its maker's */
  bool closing;          /* nobody may come in any more */
  uint32_t threads;      /* that are in it; not counted for the main one */
  struct mh_subproc *next;
} mh_subproc;

extern mh_subproc mh_subproc_first; /* the main one */

/* That of the calling thread. */
static inline mh_subproc *mh_subproc_now(void) {
  mh_subproc *own = mh_this_thread.subproc;
  return own != NULL ? own : &mh_subproc_first;
}
/* A region becomes a subprocess's. */
static inline void mh_subproc_own(mh_subproc *subproc, mh_region *region) {
  mh_subproc *own = subproc != &mh_subproc_first ? subproc : NULL;
  atomic_store_explicit(&region->subproc, own, memory_order_relaxed);
}
/* Is it that of the calling thread? */
static inline bool mh_subproc_is_now(const mh_region *region) {
  return atomic_load_explicit(&((mh_region *)region)->subproc, memory_order_relaxed) ==
         mh_this_thread.subproc;
}
/* That of a region. */
static inline mh_subproc *mh_subproc_of(const mh_region *region) {
  mh_subproc *own = atomic_load_explicit(&((mh_region *)region)->subproc, memory_order_relaxed);
  return own != NULL ? own : &mh_subproc_first;
}

/* Refuses an address that no heap of this region's subprocess can have handed out, if it lies in
   another subprocess; MHEAP_OK where it does not. The caller holds no lock. */
mheap_err mh_subproc_refuse(const mh_subproc *self, const void *address, mheap_error *error);
/* Refuses a heap that is some subprocess's main heap, since others reach it without naming it; NULL:
   the default heap. */
mheap_err mh_subproc_refuse_main(const mheap *heap, mheap_error *error);

/* The calling thread ends. */
void mh_subproc_thread_ends(void);

/* Held while memory of a subprocess is made or dropped, and while its heaps get or lose parts. The first
   lock of all. */
void mh_making_lock(void);
void mh_making_unlock(void);

/* Bytes of address space that a subprocess's memory asks for, and each region that is added when it is
   full; 0: what mheap_attach does. Smaller ones are for tests. */
extern uint64_t mh_subproc_span;

/* A heap in memory to which more regions can be added: its address space is `usual` bytes, or, where that
   is limited or refused, less, but not under `least`. So a limit leaves room for what else is mapped. */
#define MH_SUBPROC_SPAN_LEAST (2 * MH_SEGMENT)
mheap *mh_subproc_attach(uint64_t usual, uint64_t least, mheap_error *error);

/* Around fork, before all other locks. */
void mh_subprocs_lock(void);
void mh_subprocs_unlock(void);
/* In the child: of its threads, only the calling one lives. */
void mh_subprocs_after_fork(void);

#endif
