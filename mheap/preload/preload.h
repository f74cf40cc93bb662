/* preload.h: the library that serves a whole process's malloc from one heap.

   libmheap-preload.so is all of libmheap, and around it the names of the C library's allocator.
   The dynamic linker gives them to every program started with LD_PRELOAD, and libmheap's own names
   to programs that are linked with that, so that one process has one allocator, and its
   default heap (NULL) is the one that malloc uses.

     malloc.c    the exported names: fast paths, errno, the rules of the C library
     serve.c     the slow ways: whose block is it, what is wrong with it
     start.c     which heap serves, made by the first call; what happens at exit
     early.c     blocks for calls that come before, or from within, the making of that heap
     report.c    figures: mallinfo, malloc_stats, the statistics at exit

   Calls the core, through its own headers, getenv and snprintf; never what may call malloc.
   Locks: none of its own. */
#ifndef MHEAP_PRELOAD_H
#define MHEAP_PRELOAD_H

#include "heap.h"

#define MH_EXPORT __attribute__((visibility("default")))
#define MH_SLOW __attribute__((noinline, cold))

/* ---- start.c ---- */

/* The heap that serves, made by the first call. NULL while it is being made, before the C
   library has read the environment, and when there is no memory for it. */
mheap *mh_serving(void);

/* ---- serve.c: errno is ENOMEM after NULL, else as it was ---- */
void *mh_serve_malloc(size_t size, size_t alignment);
void *mh_serve_calloc(size_t bytes);
void *mh_serve_realloc(void *block, size_t size);
void mh_serve_free(void *block);
size_t mh_serve_usable_size(void *block);
/* The heap did not know the block, or not as one in use: frees it elsewhere, or says so. */
void mh_serve_refused(void *block);

/* ---- early.c ---- */
void *mh_early_malloc(size_t size, size_t alignment); /* zeroed; NULL: all used */
bool mh_early_is(const void *block);
size_t mh_early_size(const void *block);

/* ---- report.c ---- */
/* Writes what the heap holds to a descriptor. */
void mh_report(mheap *heap, int fd);

#endif
