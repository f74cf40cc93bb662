/* compact.h: a heap file made as small as what is in it. Part of mheap.h, which includes it. */
#ifndef MHEAP_COMPACT_H
#define MHEAP_COMPACT_H

#include "mheap/mheap.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a heap file takes, and what is in it. */
typedef struct mheap_extent {
  uint64_t file_size;  /* bytes the file is long, its journal included */
  uint64_t disk_size;  /* bytes allocated to it on disk */
  uint64_t objects;    /* values outside of others: containers, texts, long numbers, ... */
  uint64_t blocks;     /* in use: of objects, their tables and items, raw ones */
  uint64_t bytes_used; /* in those */
  uint64_t bytes_free; /* in free blocks, slices and segments */
} mheap_extent;

typedef struct mheap_compact_options { /* all zero is the default of everything */
  bool dry_run;    /* only say what would come of it; the file need only be readable */
  double timeout;  /* seconds to wait for a writer; 0: fail at once, < 0: for ever */
  /* Called now and then, with bytes done and in all; false: give up, nothing is changed. May be NULL. */
  bool (*progress)(void *arg, uint64_t done, uint64_t total);
  void *arg;
} mheap_compact_options;

typedef struct mheap_compacted {
  bool moved;          /* into a new file, which replaced the old one; false: see `kept` */
  char kept[160];      /* why nothing was moved, "" if it was: free space was given back in place */
  mheap_extent before, after; /* of a dry run `after` is an estimate of what would be, and of `moved` false
                                 leaves out what is free within slices */
} mheap_compacted;

/* Rewrites the heap file at `path` (of a link, what it leads to) with its objects packed, in the order in
   which they are come by from the root, and without what no root leads to; counts of references that a kill
   left too high are right again. The new file is checked, synced, and replaces the old one at once: a kill,
   or a power cut, at any instant leaves the one or the other. It has the old one's uuid, hash seed, time of
   creation, generation, birth numbers, owner, permissions and extended attributes; objects have other
   offsets, and a fixed base is forgotten. Readers of the old file go on with that; other names (hard links)
   of it keep it. Space for both is needed meanwhile.

   Where there are raw blocks, numbered or named roots, arenas, kinds or more heaps, nothing is moved, since
   somebody may know their addresses or offsets: then garbage is collected, counts are put right, the end of
   the file is cut off, and free space inside it given back to the disk, in place. That needs the file to
   itself: MHEAP_ERR_BUSY beside a reader.

   On failure the file is as it was, and no other is left. MHEAP_ERR_BUSY: somebody has it open for writing;
   MHEAP_ERR_READ_ONLY: it is sealed; MHEAP_ERR_CORRUPT: it contradicts itself, see mheap_check;
   MHEAP_ERR_FULL: no space for the new file; MHEAP_ERR_SYSTEM with sys ECANCELED: `progress` said so; what
   mheap_attach fails with. options NULL: defaults; `done` and `error` may be NULL. */
MHEAP_API mheap_err mheap_compact(const char *path, const mheap_compact_options *options,
                                  mheap_compacted *done, mheap_error *error);

#ifdef __cplusplus
}
#endif

#endif
