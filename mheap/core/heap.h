/* heap.h: a heap, the thing that allocates; the descriptor of the public API.

   Owns: the handle, its lanes, its hooks (guards, trace). Calls region.h, segment.h, span.h,
   block.h, lane.h. Knows nothing of objects but that their blocks lie in a heap of their own. */
#ifndef MHEAP_HEAP_H
#define MHEAP_HEAP_H

#include "counts.h"
#include "region.h"

typedef struct mh_lane mh_lane;
typedef struct mh_hooks mh_hooks;

struct mheap {
  mh_region *region;
  uint32_t row;             /* of the heap table */
  uint32_t only;            /* row of the one arena it takes space from, plus 1; 0: the shared ones */
  bool hooked;              /* calls take the slow path: guards or a trace are on */
  bool objects;             /* this is a heap of object blocks, which no raw call may touch */
  uint64_t made;            /* mh_commits_now when this process made it; 0: it was there */
  bool gone;                /* destroyed or deleted: it gets no more lanes; under the lanes' lock */
  mh_hooks *hooks;          /* see hooks.h; NULL: none */
  _Atomic(mh_lane *) lanes; /* all lanes of this heap in this process, by lane->next; only added to */
  pthread_mutex_t lock;     /* lanes' list, hooks; before region->lock */
  _Atomic(struct mh_subproc *) serves; /* whose main heap this is; NULL: nobody's */
  mheap *own;          /* the heap of its objects' blocks; NULL: it has none, or its row is damaged */
  uint64_t birth;      /* of a named heap, as in its row; 0: it has no name */
  mheap *next;         /* handles on the same region */
  uint32_t kind_arena; /* which of the kind's arenas it belongs to, from 0 */
  _Atomic(struct mheap_kind *) kind; /* whose heap it is (kind.h); NULL: no kind's, or not known yet */

  /* Of a heap that uses several regions: parts.h. */
  mheap *whole;         /* what this is a part of: itself, unless it is a part elsewhere than at home */
  bool spreads;         /* it may get parts in more regions */
  bool closed;          /* hands no space out, and only frees */
  mheap *_Atomic parts; /* all of them, by ->next_part, in the order they are asked; NULL: this alone */
  mheap *_Atomic next_part;
  _Atomic uint32_t users;       /* calls in this part's region under way */
  _Atomic bool leaving;         /* no more of them may begin */
  _Atomic uint64_t full_slices; /* there was no run so long when region->gives was full_gives */
  _Atomic uint64_t full_gives;
  mheap *retired;   /* of home->region->retired_heaps */
  mh_counts counts; /* of this process */
  bool is_retired;  /* it was a part; what it is now goes with the region of home */
};

/* ---- blocks of the object layer ----
   They lie in a heap of their own (heap->own), so that a collector can tell them from raw
   blocks and no raw call frees one. They are stored as offsets, so the region may still
   attach anywhere. Never guarded or traced. size > 0. Errors are set on `heap`. */
void *mh_own_malloc(mheap *heap, size_t size);
mheap_err mh_own_free(mheap *heap, void *block);
size_t mh_own_usable_size(mheap *heap, const void *block);

/* ---- commits of who excludes other calls by a lock of his own; see commit.h ---- */
struct mh_commit_wait;
mheap_err mh_heap_prepare_commit(mheap *heap);
/* What is lost by detaching now, that somebody may miss. */
mheap_err mh_heap_would_lose(mheap *heap, mheap_dirty *dirty);
/* Will it stay if all is undone since the last commit? */
bool mh_heap_is_committed(const mheap *heap);
mheap_err mh_heap_commit(mheap *heap, bool durable, const struct mh_commit_wait *wait);

/* ---- allocation without hooks; the public functions are these when none are on ---- */
void *mh_heap_malloc(mheap *heap, size_t size, size_t alignment);
void *mh_heap_malloc_in(mheap *part, size_t size, size_t alignment); /* in this region alone */
mheap_err mh_heap_free(mheap *heap, void *block);
void *mh_heap_realloc(mheap *heap, void *block, size_t size);
size_t mh_heap_usable_size(mheap *heap, const void *block);
/* The start of the block in use that contains `address`, or NULL. */
void *mh_heap_block_start(mheap *heap, const void *address);

/* Counts one region; `stats` starts as zero. */
mheap_err mh_heap_region_stats(mheap *heap, mheap_stats *stats);
/* Once all regions are counted. */
void mh_stats_finish(mheap_stats *stats);
/* The pages under all regions that the heap uses (stats_pages.c). */
mheap_err mh_stats_count_pages(mheap *heap, mheap_page_stats *pages);

/* Marks the heap's row as having guarded blocks. */
void mh_heap_set_guarded(mheap *heap);
static inline mh_heap_row *mh_heap_row_of(const mheap *heap) {
  return (mh_heap_row *)mh_at(heap->region, MH_HEAPS_OFFSET) + heap->row;
}

/* The main heap of a region that was just attached, made or lent. NULL, also for a NULL region,
   with *error: the region is abandoned. */
mheap *mh_heap_attached(mh_region *region, mheap_error *error);

/* The heap for a `md` that may be NULL. */
mheap *mh_heap_of(mheap *heap);
/* The calling thread's default heap; NULL: it is not made yet. */
const mheap *mh_default_made(void);

/* ---- a heap that serves the process's own malloc (preload.h) ---- */

/* Makes `heap` the main one of the main subprocess, before anybody asked for that, and
   mh_process_heap. */
void mh_default_adopt(mheap *heap);
/* From now on a forked child gets a copy of this heap of its own, in memory, and goes on in it:
   its blocks are the child's variables. The parent waits in fork until the copy is made. */
void mh_heap_split_at_fork(mheap *heap);
/* Leaves the file as a detach would, but attached: who uses it again opens it again. */
mheap_err mh_heap_finish(mheap *heap);

/* This thread's last error in `heap`: what the public functions pass down. A thread's own, so
   that no other thread's mistake is taken for the reason of a failure, or of a success. */
static inline mheap_error *mh_error(const mheap *heap) { return mh_error_of(heap->whole); }

/* Refuses, with an error, a heap that must not be changed now (read-only, forked). */
mheap_err mh_heap_writable(mheap *heap);
/* Called before a raw address is handed out: fixes the base, and opens a writable file. */
mheap_err mh_heap_raw(mheap *heap);
/* ---- handles of a region's heaps (handle.c) ---- */

/* The handle of a row, made when it is first asked for; NULL: the row is no heap's, or no memory. */
mheap *mh_handle_of(mh_region *region, uint32_t row, mheap_error *error);
/* The same, of those that exist. */
mheap *mh_handle_find(const mh_region *region, uint32_t row);
/* While it is held no handle comes or goes. The first lock in the order. */
void mh_handles_lock(void);
void mh_handles_unlock(void);
/* With that lock: the first handle of a row that has none; its last, whose lanes are gone already. */
mheap *mh_handle_make(mh_region *region, uint32_t row, mheap_error *error);
void mh_handle_drop(mheap *heap);
/* The handle of what was a part of a heap at `home`: nobody finds it any more, but it stays as long
   as that region. */
void mh_handle_retire(mheap *part, mh_region *home);
/* Ends the guards and traces of a region's heaps, while their parts elsewhere are still there. */
void mh_handles_end_hooks(mh_region *region);
/* mheap_new, but a refusal is not reported: it is the caller's business. */
mheap *mh_heap_new(mheap *heap, int tag, bool allow_destroy, mheap_arena arena);
/* A new heap like the one whose row's head is given; NULL: there is no row left, or no memory (heaps.c). */
mheap *mh_heap_new_row(mh_region *region, uint64_t like, mheap_error *error);
/* Every heap whose home is this region; *goes_on: `visit` has not returned false. */
mheap_err mh_heaps_visit(mh_region *region, bool (*visit)(void *arg, mheap *heap), void *arg, bool *goes_on,
                         mheap_error *error);

/* ---- heaps of kinds (heaps.c) ---- */

/* A heap of a kind whose first heap is in row `first` of the region (0: the new one is the first). */
mheap *mh_heap_new_of_kind(mheap *main, uint32_t first, mheap_error *error);
/* mheap_destroy, which refuses these. */
void mh_heap_destroy(mheap *heap);

static inline bool mh_heap_row_visible(uint64_t head) {
  return (head & MH_HEAP_USED) != 0 && (head & (MH_HEAP_DESTROYED | MH_HEAP_DELETED | MH_HEAP_OBJECTS)) == 0;
}

/* Or one that would be, but for a name that is damaged. */
static inline bool mh_heap_is_named(const mheap *heap) { return heap->row != 0 && heap->own != NULL; }
/* Is it the named heap that it was? Not if it was destroyed, whatever has its row by now. */
static inline bool mh_heap_is_there(const mheap *heap) {
  const mh_heap_row *row = mh_heap_row_of(heap);
  return !heap->gone && mh_heap_row_visible(mh_read(&row->head)) && mh_read(&row->birth) == heap->birth;
}

/* ---- named heaps (heaps.c; objects/named.c has the public functions) ---- */

/* Stores the name of a heap whose row is not published yet, and that is not there for anybody else. */
typedef mheap_err mh_name_fun(mheap *heap, void *arg);
/* A heap with objects of its own, in the arena of row `only` minus 1 (0: any). The caller holds the handles'
   lock. NULL, with *error: nothing was made. */
mheap *mh_heap_new_with_objects(mh_region *region, int tag, uint32_t only, mh_name_fun *name, void *arg,
                                mheap_error *error);
/* The row of the heap whose objects' blocks this row holds: the first that says so; MH_HEAPS: nobody's. */
uint32_t mh_heap_objects_owner(const mh_region *region, uint32_t row);
/* What the arguments of mheap_new mean: *only is the row of the arena plus 1, or 0. */
mheap_err mh_heap_choose_place(mheap *heap, mheap_arena arena, mh_region **region, uint32_t *only,
                               mheap_error *error);
/* Refuses a tag that is none. */
mheap_err mh_heap_tag_is_valid(const mh_region *region, int tag, mheap_error *error);

/* Finishes what destroyed and deleted heaps left when their process was killed (heaps.c). The caller
   holds the handles' lock and region->lock. */
void mh_heaps_settle(mh_region *region);
/* Brackets what makes the blocks of a heap those of another. */
void mh_heaps_move(mh_region *region, bool begin);
/* Was a heap being deleted since region->deleted was `before`? Then what a block's heap is may have been
   found out half from before, half from after: look again. */
bool mh_heaps_moved(const mh_region *region, uint64_t before);

/* Refuses a heap whose handle belongs to the parent process. */
mheap_err mh_heap_usable(mheap *heap);
/* Refuses a heap in which no block may be looked up now. */
mheap_err mh_heap_may_look(mheap *heap);

#endif
