/* dumps.h: heaps written as compact, sealed files, and restored from them. Part of mheap.h, which
   includes it.

   A dump is a heap file that is complete and never written again. It attaches like any other, with
   MHEAP_MODE_READONLY or MHEAP_MODE_SCRATCH, takes no lock, and holds no lock of anybody's: all processes
   that attach it share its pages in memory until they write to them, in SCRATCH.

   Caveats: while a heap is dumped no other thread may be in a call that changes it. Stores to blocks may
   happen, and are in the dump or not, each 8-byte word whole; what is stored to several blocks at such a
   moment may be there in part. */
#ifndef MHEAP_DUMPS_H
#define MHEAP_DUMPS_H

#include "mheap/mheap.h"

#ifdef __cplusplus
extern "C" {
#endif

/* All zero is the default of everything. */
typedef struct mheap_dump_options {
  bool keep_existing;    /* MHEAP_ERR_SYSTEM, sys EEXIST, where there is a file; else it is replaced */
  bool not_durable;      /* syncs nothing: a power cut may lose the dump, and what it replaced */
  bool writable;         /* the file is a heap of its own, to be attached in any mode: not sealed, with a
                            new uuid */
  bool named_by_content; /* its uuid comes from what is in it, and it says nothing of when it was made: equal
                            contents make equal files */
} mheap_dump_options;

/* Writes the region of `heap`, as this handle sees it, with all heaps, keys, names and arenas in it, each
   block at its offset, to the file at `path`. In mode ATOMIC that is with what is not committed.
   The file is complete, and replaces what had that name, with one rename, when all of it is on disk;
   who has the old file attached keeps it. Until then there is ".NAME.mheap-dump" beside it, which is no
   heap; where the process is killed it stays, and the next dump to that path begins it anew.
   The space of free blocks is zero in it, free space at the end is left out, and zero pages take no
   space on disk. options NULL: defaults.
   MHEAP_ERR_BUSY: a writer has the file at `path` attached, or another dump to it is under way.
   MHEAP_ERR_FULL: the disk. On failure the file at `path` is what it was. */
MHEAP_API mheap_err mheap_dump(mheap *heap, const char *path, const mheap_dump_options *options);

/* Attaches the file at `path` to work with in memory: mheap_open in MHEAP_MODE_SCRATCH. It costs the same
   whatever is in it, and needs no right to write. */
MHEAP_API mheap *mheap_restore(const char *path, mheap_error *error);

/* Brings all of the region's pages into memory, and into this process, for reading: what is read first is
   then as fast as what is read again. They stay shared. MHEAP_ERR_SYSTEM: the system refused, or there
   is not the memory. */
MHEAP_API mheap_err mheap_prefetch(mheap *heap);

#ifdef __cplusplus
}
#endif

#endif
