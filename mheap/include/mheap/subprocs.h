/* subprocs.h: subprocesses, a part of mheap.h, which includes it.

   A subprocess is a set of heaps and arenas that shares nothing with any other: it has a default heap,
   memory and statistics of its own, and no space goes from one to another. A thread is in one at a
   time, at first in the main one; NULL for a heap is the main heap of the one it is in.

     mheap_error error;
     mheap_subproc workers = mheap_subproc_new("workers", NULL, &error);
     mheap_subproc_add_current_thread(workers, &error);
     void *block = mheap_malloc(NULL, 100);    of the main heap of `workers`
     mheap_subproc_leave();
     mheap_subproc_destroy(workers, &error);   frees all that was allocated there, at once

   A heap that is named works in any thread. Functions that are given a block only, and those that mean
   the default heap, refuse a block of another subprocess with MHEAP_ERR_POINTER, naming both.
   What mheap_attach and mheap_open return belongs to the subprocess of the calling thread, which
   lists and counts it; it stays attached when that subprocess goes, and is then the main one's.

   A forked child keeps the subprocesses' memory, a copy of its own, and the forking thread stays
   where it was; it alone lives on there, so no other thread counts. */
#ifndef MHEAP_SUBPROCS_H
#define MHEAP_SUBPROCS_H

#include "mheap/mheap.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef int mheap_subproc; /* 1: the main one; 0: none. A number is never used again */

/* The main one, and that of the calling thread. */
MHEAP_API mheap_subproc mheap_subproc_main(void);
MHEAP_API mheap_subproc mheap_subproc_current(void);

/* Makes one, without threads. name: for messages, cut to 63 bytes; NULL: none. heap: becomes its main
   heap (its file may be one for good; it is not freed, and must not be any other's); NULL: memory,
   made on first use. 0 with an *error: MHEAP_ERR_BUSY (the main heap of another one, or not the main
   heap of its region), MHEAP_ERR_NO_MEMORY. */
MHEAP_API mheap_subproc mheap_subproc_new(const char *name, mheap *heap, mheap_error *error);

/* Takes the calling thread out of the one it is in and into this one, until it leaves, is added to
   another, or ends. Its lanes in the heaps of the one it left are handed back; blocks stay valid. */
MHEAP_API mheap_err mheap_subproc_add_current_thread(mheap_subproc subproc, mheap_error *error);
/* Takes the calling thread back to the main one. */
MHEAP_API void mheap_subproc_leave(void);

/* Frees all heaps, arenas and blocks of a subprocess at once. Handles of those heaps are gone; what
   was attached by mheap_attach or mheap_open, and a main heap that was given, stay as they are.
   MHEAP_ERR_BUSY: a thread is in it; MHEAP_ERR_ARGUMENT: the main one, or none of this number. */
MHEAP_API mheap_err mheap_subproc_destroy(mheap_subproc subproc, mheap_error *error);
/* The same, but refused with MHEAP_ERR_BUSY too while a block in it is in use: nobody else may have it. */
MHEAP_API mheap_err mheap_subproc_delete(mheap_subproc subproc, mheap_error *error);

/* Its main heap, made if need be. */
MHEAP_API mheap *mheap_subproc_heap(mheap_subproc subproc, mheap_error *error);

/* Calls `visit` with every heap of a subprocess, the main one first. True when all were visited; false
   when `visit` returned false, which stops, or there is no such subprocess. Only the heap that is being
   visited may go meanwhile. */
MHEAP_API bool mheap_subproc_visit_heaps(mheap_subproc subproc, bool (*visit)(void *arg, mheap *heap),
                                         void *arg);
/* The same with every arena that is memory of the subprocess. */
MHEAP_API bool mheap_subproc_visit_arenas(mheap_subproc subproc,
                                          bool (*visit)(void *arg, const mheap_arena_info *info), void *arg);
/* The subprocess that lists a heap. */
MHEAP_API mheap_subproc mheap_subproc_of_heap(mheap *heap);
/* The subprocess that an address is memory of, which goes when it is destroyed; 0: none. */
MHEAP_API mheap_subproc mheap_subproc_of_address(const void *address);
/* Calls `visit` with every subprocess, the main one first, until it returns false: false then. */
MHEAP_API bool mheap_visit_subprocs(bool (*visit)(void *arg, mheap_subproc subproc), void *arg);

typedef struct mheap_subproc_info {
  mheap_subproc subproc;
  char name[64];
  mheap *heap;      /* its main heap; NULL: not made yet */
  uint32_t threads; /* that are in it; 0 for the main one, in which is every thread that is in no other */
  bool given;       /* the main heap was given to mheap_subproc_new */
} mheap_subproc_info;
MHEAP_API mheap_err mheap_subproc_get_info(mheap_subproc subproc, mheap_subproc_info *info,
                                           mheap_error *error);

/* What mheap_get_stats says of all its regions, added up. */
MHEAP_API mheap_err mheap_subproc_get_stats(mheap_subproc subproc, mheap_stats *stats, mheap_error *error);

#ifdef __cplusplus
}
#endif
#endif
