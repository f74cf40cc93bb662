/* commit.h: mode atomic: what was written since the last commit is made durable, or undone.

   Owns: struct mh_commits (region->commits), images, the journal of an attached writer. Calls
   journal.h, images.h, region.h, os.h. Knows nothing of blocks: the heap layer throws away what it knows
   after a rollback (heap.h).

     0             committed         high        region's size
     | private, images | private (after shrinking) | growth: the file's own pages, shared |

   The region's pages are private copies of the file's up to `shared_from`, and the file's own behind,
   where no generation has anything: what is stored there goes straight to its place, and a load
   larger than memory needs none. A commit makes that part private too, and then sums what the file has:
   a store that races it goes to a private page, which the next commit finds, or was in the file before.

   Invariants: committed <= high <= shared_from; no generation since the attach had anything behind
   `high`. An image is what a recovery would make of the page; that of page 0 is always known. Lock order:
   region->lock, then `lock`. Calls that change the heap are excluded by the caller while a commit looks
   for what they did, and during a rollback; plain stores need not be. */
#ifndef MHEAP_COMMIT_H
#define MHEAP_COMMIT_H

#include "images.h"
#include "journal.h"
#include "marks.h"
#include "region.h"
#include "vacant.h"

typedef struct mh_commits {
  pthread_mutex_t lock;
  mh_journal journal;
  mh_images images;
  uint64_t committed;   /* size in the last generation */
  uint64_t high;        /* the most that any generation had */
  uint64_t shared_from; /* mapped shared from here on */
  uint64_t limit;       /* bytes of records that pinned readers may keep; 0: MH_JOURNAL_LIMIT */
  uint64_t looked;      /* times that changes were looked for, plus 1: what is made now is in a commit that
                           looks as often or more */
  uint64_t kept;        /* the same of the last commit; all that was made by then is in it */
  bool overrun;         /* beyond the limit, pinned readers are given up, not the commit */
  int failed;           /* errno of a sync that failed, or a record that was not read back; no commit since */
  bool torn;            /* the latter: nor a rollback, since images are of two commits */
  mh_marked marked;     /* what mheap stored to since the last commit looked */
  mh_marked_bits looked_at; /* what it stored to before, of a commit that is under way */
  _Atomic uint64_t room; /* what the region may grow to without `lock`: nothing is in the way */
  mh_vacant vacant;
  bool placed;          /* something, in vacant slices, of which no record speaks yet */
  bool tidied;          /* nothing of a killed writer's is behind the region's end */
  bool touched;         /* the file was changed by this attach */
} mh_commits;
#define MH_JOURNAL_LIMIT ((uint64_t)1 << 30)

/* What a heap, an arena or a kind notes when it is made, to know later whether a rollback takes it away. */
static inline uint64_t mh_commits_now(const mh_region *region) {
  return region->commits != NULL ? region->commits->looked : 0;
}
static inline bool mh_commits_have(const mh_region *region, uint64_t made) {
  return region->commits == NULL || made <= region->commits->kept;
}

mheap_err mh_commits_begin(mh_region *region, const mheap_options *options, mheap_error *error);
/* Brings the journal into the pages, unless readers are in the way, and makes the file compact. */
mheap_err mh_commits_finish(mh_region *region, mheap_error *error);
void mh_commits_drop(mh_region *region);

/* Called once all that changed was looked at, and before the disk is waited for: from then on other calls
   may change the heap, which is in the next commit. Until then `begin` was not called. */
typedef struct mh_commit_wait {
  void (*begin)(void *arg);
  void *arg;
} mh_commit_wait;

/* `wait` may be NULL. */
mheap_err mh_commit(mh_region *region, bool durable, const mh_commit_wait *wait, mheap_error *error);
/* The part of a commit that needs no other call to be excluded, done before: a journal that is full is
   brought into the pages. */
mheap_err mh_commit_prepare(mh_region *region, mheap_error *error);
/* Is there anything to do for that? Asked by whoever lets no other commit be under way. */
bool mh_commit_waits(const mh_region *region);
/* Copies what the last commit left over all that was written since, and lets go what grew. */
mheap_err mh_rollback(mh_region *region, mheap_error *error);
/* The word at this offset as the last commit left it. */
mheap_err mh_commit_word(mh_region *region, uint64_t offset, uint64_t *word, mheap_error *error);
/* What a commit would write; `asked`: without what attaching, and handing out addresses, brings by itself. */
mheap_err mh_commit_dirty(mh_region *region, bool asked, mheap_dirty *dirty, mheap_error *error);
mheap_err mh_checkpoint(mh_region *region, mheap_error *error);
/* Makes commits that were not synced durable. */
mheap_err mh_commit_sync(mh_region *region, mheap_error *error);

/* Before the region grows: the file is long enough, and the journal out of the way. The caller holds
   region->lock. */
mheap_err mh_commits_make_way(mh_region *region, uint64_t size, mheap_error *error);

#endif
