/* lane.h: the part of a heap that one thread owns.

   Owns: lanes, their bins, the thread's list of them, and slabs while a lane has them. Calls
   arena.h, segment.h, deferred.h. A lane is used by its thread alone and without locks, but for its
   queue, onto which other threads push slabs they freed blocks in. When its thread ends a
   lane is idle: who needs it or a slab of it takes it, under heap->lock. A thread's list of
   lanes is changed by that thread alone: lanes of a heap that another thread detached stay in
   it, `gone`, and are freed by their thread, which may be looking at them; which these are it finds in
   another list, its `stale` ones.
   Lock order: lanes (in lane.c), heap->lock, region->lock. A lane leaves a heap's list with all three,
   and is then spare, for another heap of the region: its memory stays a lane.

   Invariants of a slab whose `lane` is L:
     only L's thread writes bits->alloc and `place`, or moves it between L's lists;
     it is the slab of its class's bin, or in one of that bin's lists, as `place` says;
     a freed bit that is set is seen by L after the slab was pushed on L's queue;
     it is not given back while it is queued or any lane's hazard. */
#ifndef MHEAP_LANE_H
#define MHEAP_LANE_H

#include "heap.h"
#include "segment.h"

/* Where blocks of one class come from: up to 64 at a time, which share a bitmap word.
   `ready` runs ahead of the stored word, so that malloc need not wait for the last free's
   store to it: a tight loop is twice as fast. A bin without a slab has nothing ready. */
typedef struct mh_bin {
  uint64_t ready;   /* free blocks of the word, to be handed out next */
  uint64_t *word;   /* stored alloc bits */
  char *block;      /* address of the first of the 64 */
  uint64_t size;    /* bytes a block */
  mh_slab *slab;    /* they are in */
  mh_slab *partial; /* other slabs that have free blocks, the longest listed first: they */
  mh_slab *last;    /* have gathered the most of them */
  mh_slab *full;    /* those that have none. 64 bytes, aligned: one cache line */
} mh_bin;
static_assert(sizeof(mh_bin) == 64, "what mh_small_bins counts in");

struct mh_thread;

struct mh_lane {
  _Atomic(mheap *) heap; /* changes once at most, when its heap is deleted: then to the main heap */
  char *segments;        /* of the region, like the next two: constant */
  mh_slab *slabs;
  uint64_t reach; /* bytes of address space from `segments` on */
  _Alignas(64) mh_bin bins[MHEAP_CLASSES];
  mh_lane_counts counts;
  mh_lane *next;                    /* of the heap */
  struct mh_thread *_Atomic thread; /* that owns it; NULL: idle */
  bool dead;                        /* its thread was not copied by fork, and may have been at work */
  _Atomic bool gone;                /* its heap is gone: only its thread's list still has it */
  _Atomic bool handed;              /* its heap was deleted; its thread has not come by since */
  _Atomic uint64_t closed;          /* then: arenas, a bit a row, whose slabs it must not fill */
  mh_lane *thread_next, *thread_prev; /* of the thread's lanes: lane_list.h */
  mh_lane *filed_next;
  const mheap *filed; /* the heap it is filed under in the thread's index */
  bool is_stale;      /* in the list of its thread's stale lanes, under the lanes' lock */
  mh_lane *stale_next;
  _Atomic(mh_slab *) queue;         /* slabs with remote frees */
  _Atomic(mh_slab *) hazard;        /* another lane's slab that this thread is freeing in now */
};

/* What a thread knows. Two fast paths read it: that of raw blocks, whose addresses go to the
   user and so fix the region's base, and that of objects, which are offsets. */
typedef struct mh_thread {
  _Atomic(const mheap *) heap; /* of the lane used last for raw blocks; mh_no_heap: of none. Its
                                  calls need no slow path: not hooked, not cut short, addresses
                                  may be handed out */
  mh_lane *lane;
  _Atomic(const mheap *) own_heap; /* the same for objects */
  mh_lane *own_lane;
  _Atomic(mh_lane *) default_lane; /* of this thread's default heap; NULL: go the slow way */
  _Atomic(mh_lane *) pointer_lane; /* used last in this thread's subprocess, for calls that are given
                                      a block only; NULL: go the slow way */
  _Atomic(mh_lane *) process_lane; /* of mh_process_heap; NULL: go the slow way */
  mh_lane *lanes;                  /* all of them: lane_list.h */
  mh_lane **index;                 /* the same by their heaps; NULL: they are few */
  uint32_t lane_count;
  _Atomic(mh_lane *) stale;        /* those that are gone, or handed to another heap, by other threads; they
                                      are dealt with when the thread comes by */
  struct mh_subproc *subproc;      /* that it is in; NULL: the main one */
  bool watched;                    /* the thread's end will be noticed */
  bool ended;     /* it was: what is taken from now on must be given back by the call that takes it */
  uint8_t rounds; /* of destructors that have run */
  bool reporting, deferring, printing; /* it is in a registered function (report.h, deferred.h, output.h) */
  uint32_t registration;     /* of the deferred free function that the next two are of */
  uint32_t allocations;      /* since it was called last, or registered */
  uint64_t heartbeat;        /* calls of deferred free functions */
} mh_thread;

#define mh_no_heap ((const mheap *)1) /* not NULL, which is the name of the default heap */

extern __thread mh_thread mh_this_thread __attribute__((tls_model("initial-exec")));

/* This thread's lane in `heap` if it was the one used last, else NULL. */
static inline mh_lane *mh_lane_now(const mheap *heap) {
  mh_thread *thread = &mh_this_thread;
  return atomic_load_explicit(&thread->heap, memory_order_relaxed) == heap ? thread->lane : NULL;
}
static inline mh_lane *mh_own_lane_now(const mheap *heap) {
  mh_thread *thread = &mh_this_thread;
  return atomic_load_explicit(&thread->own_heap, memory_order_relaxed) == heap ? thread->own_lane : NULL;
}
/* This thread's lane in its default heap, for calls that name no heap; NULL: not known. */
static inline mh_lane *mh_lane_default(void) {
  return atomic_load_explicit(&mh_this_thread.default_lane, memory_order_relaxed);
}
/* The heap whose blocks the process's own malloc hands out, where one does: see mh_default_adopt. */
extern _Atomic(mheap *) mh_process_heap;
static inline mh_lane *mh_lane_process(void) {
  return atomic_load_explicit(&mh_this_thread.process_lane, memory_order_relaxed);
}
/* Makes the next call of the above find `lane`, unless its heap needs the slow path; the only
   setter of these. */
void mh_lane_remember(mh_lane *lane);
void mh_own_lane_remember(mh_lane *lane);

/* The calling thread's end will be noticed. */
void mh_thread_watch(void);
/* The calling thread's lanes in heaps of a subprocess that it leaves. */
void mh_lanes_hand_back(const struct mh_subproc *subproc);

/* This thread's lane in `heap`, NULL: it has none. */
mh_lane *mh_lane_find(const mheap *heap);
/* The same, found or made; NULL with an error. */
mh_lane *mh_lane_of(mheap *heap, mheap_error *error);

/* Makes a bin of `lane` have a free block, from slabs that it has at hand already. Leaves errno alone. */
bool mh_lane_more(mh_lane *lane, mh_bin *bin);
/* Makes `lane`'s bin of a class have a free block; the slow part of malloc. */
mheap_err mh_lane_refill(mh_lane *lane, uint32_t class, mheap_error *error);

/* After a block of a slab of this lane was freed by its own thread: `full` ones become
   partial, empty ones go back to the arena. MHEAP_OK. */
mheap_err mh_lane_freed(mh_lane *lane, mh_slab *slab);

/* Frees block `bit` of bitmap word `word` in another lane's slab; false: it was free. The
   one atomic operation is the or; the slab's lane is told when the word had no such bit. */
bool mh_lane_free_remote(mh_lane *self, mh_slab *slab, uint32_t word, uint64_t bit);

/* Gives empty slabs back; all: of idle lanes too. */
void mh_lanes_collect(mheap *heap);

/* Sends every thread's next call in this heap the slow way. */
void mh_lanes_forget(mheap *heap);
void mh_lanes_forget_now(mheap *heap); /* without the lock: in a signal handler, in a forked child */

/* Hands all lanes and slabs of a heap to another one of the region, while other threads may be freeing
   blocks in them; `closed`: arenas, a bit a row, where it must not fill them. Lanes of other threads go
   over as they are; those at rest are emptied and spare. */
void mh_lanes_move(mheap *from, mheap *to, uint64_t closed);
/* What no lane had becomes the main heap's; with region->lock. */
void mh_lanes_hand_orphans(mh_region *region, uint32_t row);

/* After a rollback: the lanes have no slab any more. No other thread uses the heap. */
void mh_lanes_reset(mheap *heap);

/* No thread remembers a lane of this heap any more, and it gets none. */
void mh_lanes_drop(mheap *heap);
/* At detach. */
void mh_lanes_free_spares(mh_region *region);
/* In a forked child, where only the calling thread lives on. */
void mh_lanes_after_fork(mheap *heap, bool keep);
/* Around fork. */
void mh_lanes_lock(void);
void mh_lanes_unlock(void);

#endif
