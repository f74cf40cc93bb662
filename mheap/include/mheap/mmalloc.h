/* mmalloc.h: GNU mmalloc's interface, on mheap: a program written for it compiles and runs.

     int fd = open("state.heap", O_RDWR | O_CREAT, 0600);
     void *md = mmalloc_attach(fd, 0);
     char *s = mmalloc(md, 100);
     mmalloc_setkey(md, 0, s);
     mmalloc_detach(md);

   A descriptor `md` is an mheap * of mheap/mheap.h, so that functions of both headers can be
   mixed; NULL stands for the process's default heap, in anonymous memory. Where GNU's manual
   and GNU's code differed, the manual's word is kept.

   Caveats
   - The file is an mheap file; files of the original are refused and left alone.
   - `baseaddr` is honoured or the attach fails; the original ignored it for an existing file,
     and mapped over whatever was there.
   - 1,024 keys, where the original had 16. A key's value points into the descriptor's region.
   - A double free and a wild pointer are not obeyed: nothing happens, mheap_last_error(md) tells.
   - Size 0 gives NULL. */
#ifndef MHEAP_MMALLOC_H
#define MHEAP_MMALLOC_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef MHEAP_API
#if defined(MHEAP_BUILDING)
#define MHEAP_API __attribute__((visibility("default")))
#else
#define MHEAP_API
#endif
#endif

/* ---- descriptors ---- */

/* Maps the open file `fd`, formatting it if it is empty, going on where it stopped if it is a
   heap; anonymous memory for -1. At `baseaddr`, or if that is NULL where it was before. The
   descriptor may be closed afterwards. NULL, with errno set, on failure. */
MHEAP_API void *mmalloc_attach(int fd, void *baseaddr);
/* Syncs, unmaps, closes. NULL on success; on failure md, still usable: once the reason is gone it
   can be detached, and mheap_abandon(md) lets it go at any time, as is needed for one whose file
   was cut short. */
MHEAP_API void *mmalloc_detach(void *md);
/* errno of the last operation on md, if a system call failed in it; else 0. */
MHEAP_API int mmalloc_errno(void *md);

/* ---- blocks ---- */

MHEAP_API void *mmalloc(void *md, size_t size);
/* Zeroed; NULL when number × size overflows. */
MHEAP_API void *mcalloc(void *md, size_t number, size_t size);
/* On failure NULL, and ptr stays as it was. Size 0 frees it. */
MHEAP_API void *mrealloc(void *md, void *ptr, size_t size);
MHEAP_API void mfree(void *md, void *ptr);
/* Aligned to a page. */
MHEAP_API void *mvalloc(void *md, size_t size);
/* Aligned to any power of two. */
MHEAP_API void *mmemalign(void *md, size_t alignment, size_t size);

/* ---- keys: pointers that the next attach finds ---- */

/* 1, or 0 where keynum is not 0 to 1023, key is not in the region, or md is not writable. */
MHEAP_API int mmalloc_setkey(void *md, int keynum, void *key);
/* NULL where nothing was set. */
MHEAP_API void *mmalloc_getkey(void *md, int keynum);

/* ---- checking, tracing, statistics ---- */

/* Guards every block from now on; abortfn (NULL: abort) is called when a block that is freed
   or resized was written beyond its ends, or is freed already. 1, or 0 when blocks without
   guards are in use. Where the original went on after abortfn had returned, this does too,
   except that a block whose guard before it is gone stays in use. */
MHEAP_API int mmcheck(void *md, void (*abortfn)(void));
/* The same; if `force`, 1 although there are such blocks, which are then not checked. */
MHEAP_API int mmcheckf(void *md, void (*abortfn)(void), int force);

/* Appends a line per call on the default heap, and on every heap attached from now on by
   mmalloc_attach, to the file that the environment variable MALLOC_TRACE names, in the format
   that mtrace(1) reads. Nothing if it is not set or the file cannot be written. Returns 1. */
MHEAP_API int mmtrace(void);

struct mstats {
  size_t bytes_total; /* of the region */
  size_t chunks_used; /* blocks in use */
  size_t bytes_used;  /* bytes in them */
  size_t chunks_free; /* free blocks, and free runs between them */
  size_t bytes_free;  /* bytes in those */
};
MHEAP_API struct mstats mmstats(void *md);

/* A place for a mapping of so many bytes that is free now, for mmalloc_attach; or NULL. */
MHEAP_API void *mmalloc_findbase(size_t size);

#ifdef __cplusplus
}
#endif
#endif
