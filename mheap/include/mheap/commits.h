/* commits.h: mode atomic: commit, roll back; readers beside a writer. Part of mheap.h, which includes it.

   A heap attached with MHEAP_MODE_ATOMIC is what its file was at the last commit, plus what this
   process did since, which is in memory alone. mheap_commit makes that the file's, as a whole: who
   attaches the file after any crash, of the process or the machine, finds the last commit that
   returned, or one that was under way. mheap_rollback undoes it. Detaching commits nothing.

   What was written is found by asking the kernel and comparing pages: stores through raw pointers count
   like those of mheap's own calls. A commit costs what was written, plus a look at the page tables of
   what is mapped.

   Threads: a commit is a moment of the heap. While it looks for what was written (not while it waits
   for the disk) no other thread may be in a call that changes this heap; stores to blocks may
   happen, and are in that commit or in the next, each 8-byte word whole. A rollback is for
   a moment when no other thread uses the heap at all.

   Caveats: what a disk acknowledges and then loses is lost. Another program that writes the file while
   it is attached is not noticed. */
#ifndef MHEAP_COMMITS_H
#define MHEAP_COMMITS_H

#include "mheap/mheap.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Commits all changes since the last commit. durable: one fdatasync, after which the commit survives a
   power cut; else it survives the death of the process, and a power cut loses it and what came after
   it, never a part. Without changes nothing is written, and the generation stays.
   MHEAP_ERR_FULL (the disk; readers that keep the journal), MHEAP_ERR_SYSTEM: nothing was committed,
   and all changes are still there: make space and commit again. After a sync that failed every commit
   fails: what the disk has is not known, so attach anew. */
MHEAP_API mheap_err mheap_commit(mheap *heap, bool durable);

/* Undoes all changes since the last commit. Blocks allocated since are gone, freed ones are back. */
MHEAP_API mheap_err mheap_rollback(mheap *heap);

/* The number of the last commit; 0 before the first. Readers: of the commit they see. */
MHEAP_API uint64_t mheap_generation(const mheap *heap);

typedef struct mheap_dirty { /* what a commit would write now */
  uint64_t bytes;
  uint64_t pages; /* of 4 KiB, that they are in */
} mheap_dirty;
MHEAP_API mheap_err mheap_get_dirty(mheap *heap, mheap_dirty *dirty);

/* Brings what the journal holds into the pages of the file, and empties it. Happens by itself when the
   journal has 4 MiB, and at detach; MHEAP_ERR_BUSY while readers keep earlier generations. */
MHEAP_API mheap_err mheap_checkpoint(mheap *heap);

/* ---- readers beside a writer ----

   A heap attached with MHEAP_MODE_READONLY beside an atomic writer, of this or another process, shows
   one commit, whole. It takes no lock that the writer waits for, and writes nothing. It stays at its
   commit until it is told to go on, or has to: a checkpoint of the writer's changes what it shows. So
   who reads without keeping the commit asks mheap_is_whole behind a read, and reads again after
   mheap_refresh if it is not; until then what was read may be anything, though never beyond the heap's
   memory. Threads: while one refreshes, or keeps a commit that is not kept yet, no other reads. */

/* Goes on to the newest commit; *moved (may be NULL): it is another. MHEAP_ERR_BUSY while one is kept. */
MHEAP_API mheap_err mheap_refresh(mheap *heap, bool *moved);
/* Is there a newer commit? Costs two loads, and is a guess: true may be early by a moment. */
MHEAP_API bool mheap_has_news(const mheap *heap);
/* Did all that was read since the last refresh belong to one commit? Always true for other modes. */
MHEAP_API bool mheap_is_whole(const mheap *heap);
/* Keeps the commit that is shown (or, if it is not whole any more, the newest: *moved) until mheap_release
   was called as often. The writer's journal grows meanwhile, to its journal_limit; who overruns its
   readers then makes mheap_is_whole false, and their calls fail with MHEAP_ERR_SNAPSHOT. */
MHEAP_API mheap_err mheap_keep(mheap *heap, bool *moved);
MHEAP_API void mheap_release(mheap *heap);

typedef struct mheap_journal_info {
  uint64_t offset, size; /* in the file; 0: it has none */
  uint64_t used;         /* bytes of records */
  uint64_t records;
  uint64_t pages_generation; /* of the pages in the file, without the journal */
  uint64_t generation;       /* of the last whole record: what an attach shows */
  bool busy;                 /* somebody has the file open, so that no writer can attach it */
} mheap_journal_info;
/* Of the file at `path`, which is only read, beside a writer too. */
MHEAP_API mheap_err mheap_get_journal(const char *path, mheap_journal_info *info, mheap_error *error);
/* Brings the journal of the file at `path` into its pages, durably; *info is what was in it. MHEAP_ERR_BUSY:
   somebody has the file open for writing, or a reader keeps an earlier commit. */
MHEAP_API mheap_err mheap_recover(const char *path, mheap_journal_info *info, mheap_error *error);

#ifdef __cplusplus
}
#endif

#endif
