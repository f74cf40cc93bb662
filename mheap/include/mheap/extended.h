/* extended.h: functions that the program registers, and what a process asks of the allocator
   beside memory. Part of mheap.h, which includes it.

   Registered functions are of the whole process, one of each kind; NULL unregisters. A call that
   another thread began before may end after the function was replaced. They are called in the
   thread whose call it is about, while mheap holds no lock, and may call every function of mheap.
   They cost nothing while none is registered. */
#ifndef MHEAP_EXTENDED_H
#define MHEAP_EXTENDED_H

#include "mheap/mheap.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- output ---------------------------------------------------------------------- */

/* Gets text that mheap prints: statistics, maps of arenas, messages of errors. Lines end in a
   newline; a line may come in several calls. */
typedef void mheap_output_fun(const char *text, void *arg);
/* NULL: to standard error. */
MHEAP_API void mheap_register_output(mheap_output_fun *out, void *arg);

/* ---- errors ---------------------------------------------------------------------- */

/* Gets the number of what went wrong:
     EAGAIN     a block was freed that is free already
     EFAULT     the heap's bookkeeping is damaged, or a guarded block was overwritten
     ENOMEM     no memory, or the heap is full
     EOVERFLOW  more bytes than any heap can hold, as when count and size overflow
     EINVAL     freeing or resizing what is no block of ours
   Each of them is always detected. mheap_last_error tells more; after the function has returned
   it still tells of this error. */
typedef void mheap_error_fun(int number, void *arg);
/* Called when a function of the sections on blocks fails with one of these (allocating, resizing,
   freeing; not asking), after a line of text went to the output. Errors inside of the function are
   not reported. NULL: no function; the line is then written only if an output function is
   registered, so that a program that registers nothing is not written over. */
MHEAP_API void mheap_register_error(mheap_error_fun *fn, void *arg);

/* ---- deferred freeing ---------------------------------------------------------------- */

/* Frees what the program put off freeing; all of it when `force`. `heartbeat` is 1 in a thread's
   first call and one more in each that follows. */
typedef void mheap_deferred_free_fun(bool force, unsigned long long heartbeat, void *arg);

/* Each thread calls the function before every so many-th of its allocations (malloc, calloc,
   realloc, memalign and their kin) since it was registered, whatever was freed meanwhile; and in
   mheap_collect, with its `force`. When there is no memory it is called
   with `force`, and the allocation tried once more. Allocations inside of the function are neither
   counted nor call it. While one is registered all allocations take the slow path, which is the
   price of counting them exactly: some 20 ns more each, and as much for freeing. */
#define MHEAP_DEFERRED_FREE_EVERY 256
MHEAP_API void mheap_register_deferred_free(mheap_deferred_free_fun *fn, void *arg);

/* ---- statistics ---------------------------------------------------------------------

   What a heap holds now is counted by walking it (mheap_get_stats, mheap_get_heap_stats). The most
   that it held and what it ever handed out are counted in this process, at no cost for allocating. */

/* Peaks and totals begin anew, in all heaps of the region; in one that is not the main heap, there
   alone. heap NULL: the default heap. */
MHEAP_API mheap_err mheap_stats_reset(mheap *heap);

/* A table of mheap_get_stats(heap); size classes of which nothing was ever used are left out. out
   NULL: to the registered output. */
MHEAP_API mheap_err mheap_stats_print_out(mheap *heap, mheap_output_fun *out, void *arg);
MHEAP_API mheap_err mheap_stats_print(mheap *heap);
/* The same as one JSON object with the names of mheap_stats, and "name"; in several pieces. */
MHEAP_API mheap_err mheap_stats_json_out(mheap *heap, mheap_output_fun *out, void *arg);
/* The same into buffer[size], cut off there and ended by NUL if size is not 0. Returns the bytes of
   the whole text without the NUL; 0 where the heap cannot be counted. */
MHEAP_API size_t mheap_stats_json(mheap *heap, char *buffer, size_t size);
/* Table or object of counts that the caller has, such as those of a subprocess. */
MHEAP_API void mheap_stats_write(const mheap_stats *stats, const char *name, bool json, mheap_output_fun *out,
                                 void *arg);

/* What the calling thread allocated in each heap since it came, or since mheap_stats_merge: a table
   of size classes. Larger blocks are counted in their heap alone. */
MHEAP_API mheap_err mheap_thread_stats_print_out(mheap_output_fun *out, void *arg);
/* The calling thread's counts begin anew. Those of heaps hold them from the first on. */
MHEAP_API void mheap_stats_merge(void);

/* ---- small blocks ------------------------------------------------------------------- */

/* As mheap_malloc, and zeroed, for sizes that the caller knows to be at most so many bytes. Larger
   ones are served too. */
#define MHEAP_SMALL_SIZE_MAX 1024
MHEAP_API void *mheap_malloc_small(mheap *heap, size_t size);
MHEAP_API void *mheap_zalloc_small(mheap *heap, size_t size);

/* ---- threads -------------------------------------------------------------------------- */

/* Makes this thread's lane in its default heap, as its first allocation would. Never needed.
   mheap_thread_done, of mheap.h, is its counterpart. */
MHEAP_API mheap_err mheap_thread_init(void);

/* ---- the process ------------------------------------------------------------------------ */

typedef struct mheap_process_info {
  uint64_t elapsed_ms;     /* since the process was started, asleep or not: starttime of /proc/self/stat,
                              to a hundredth of a second, against CLOCK_BOOTTIME */
  uint64_t user_ms;        /* of all its threads: getrusage */
  uint64_t system_ms;
  uint64_t current_rss;    /* bytes: VmRSS of /proc/self/status, which lags by some pages a thread */
  uint64_t peak_rss;       /* VmHWM */
  uint64_t current_commit; /* VmData: private memory that may be written, used or not */
  uint64_t peak_commit;    /* VmPeak: the most address space, what is only reserved included. Linux
                              keeps no peak of VmData; this is the figure that was never below it */
  uint64_t page_faults;    /* that had to read from a disk: getrusage's major faults */
} mheap_process_info;

/* Each figure is the kernel's own. Without /proc: MHEAP_ERR_SYSTEM, and none. */
MHEAP_API mheap_err mheap_get_process_info(mheap_process_info *info, mheap_error *error);

#ifdef __cplusplus
}
#endif
#endif
