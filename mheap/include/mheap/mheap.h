/* mheap.h: a persistent mapped heap. A file that is memory.

   Everything the allocator knows about a heap lives inside the file it manages, so a heap
   attached tomorrow, by another process, continues exactly where it stopped.

     int fd = open("state.heap", O_RDWR | O_CREAT, 0600);
     mheap_error error;
     mheap *heap = mheap_attach(fd, NULL, &error);
     if (heap == NULL) { fputs(error.text, stderr); exit(1); }
     struct state *s = mheap_getkey(heap, 0);
     if (s == NULL) {
       s = mheap_calloc(heap, 1, sizeof *s);
       mheap_setkey(heap, 0, s);
     }
     s->runs++;
     mheap_detach(heap, &error);

   Words: a *region* is one mapping, of a file or of anonymous memory; a *heap* is what
   allocates in it, and the `mheap *` of this header. A *block* is what mheap_malloc returns.

   Threads: every function may be called from any thread, on one heap too, except that
   mheap_detach must be the last call on a heap. Allocating and freeing take no lock on
   their fast path; a block may be freed by any thread.

   Errors: functions that return a pointer return NULL, the others an mheap_err; either way
   mheap_last_error(heap) then tells what was wrong. A failed call leaves the heap as it was.

   Caveats: what is not promised
   - Between mheap_sync calls a `live` heap is as durable as the kernel's page cache: the
     death of the process loses nothing, a power cut may. It is detected at the next
     attach, which is refused unless `salvage` is given.
   - A stray store into the mapping by the program itself goes to the file.
   - Pointers stored in blocks stay valid only while the heap is attached at the same
     address. The address is fixed in the file once a pointer was handed out; if that place
     is taken, attach fails with MHEAP_ERR_BASE_IN_USE unless `relocate` is given.
   - After a fork the child must not use the parent's handle: calls fail with
     MHEAP_ERR_FORKED, stores by the child through old pointers go to the shared file. The
     child attaches anew; where that needs the address at which an inherited heap still lies,
     the inherited mapping goes and old pointers are no longer valid, unless it is held
     (mheap_hold).
   - If somebody else truncates the file while it is attached, what was stored behind the new
     end is lost. mheap handles the SIGBUS (it then passes on those of others): the lost part
     reads as zeros, a line on standard error says so, and from then on every call in that
     heap fails with MHEAP_ERR_CORRUPT. Stores through pointers of the program's own are lost.
     mheap_detach fails too, every time: mheap_abandon lets such a heap go.
   - Network file systems, and disks that acknowledge writes they lose, are out of scope. */
#ifndef MHEAP_H
#define MHEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(MHEAP_BUILDING)
#define MHEAP_API __attribute__((visibility("default")))
#else
#define MHEAP_API
#endif

#define MHEAP_VERSION_MAJOR 0
#define MHEAP_VERSION_MINOR 1
#define MHEAP_VERSION_PATCH 0

/* The version of the library, "0.1.0". */
MHEAP_API const char *mheap_version(void);

/* A heap: the descriptor that every call takes. */
typedef struct mheap mheap;

/* ---- errors ---------------------------------------------------------------- */

typedef enum mheap_err {
  MHEAP_OK = 0,
  MHEAP_ERR_SYSTEM,        /* a system call failed; see `sys` for its errno */
  MHEAP_ERR_NOT_A_HEAP,    /* a directory, a FIFO, a file of another program */
  MHEAP_ERR_CORRUPT,       /* a heap whose contents contradict themselves, or cut short */
  MHEAP_ERR_VERSION,       /* another format version, byte order, word size or feature */
  MHEAP_ERR_UNCLEAN,       /* the machine went down, or a copy was taken, while it was open */
  MHEAP_ERR_BASE_IN_USE,   /* the address range is taken in this process */
  MHEAP_ERR_BUSY,          /* another handle has the file open in a way that excludes this */
  MHEAP_ERR_FULL,          /* no space: max_size, the disk, or an arena */
  MHEAP_ERR_NO_MEMORY,     /* no memory or address space for the process's own needs */
  MHEAP_ERR_POINTER,       /* not a block of this heap */
  MHEAP_ERR_DOUBLE_FREE,   /* a block that is free already */
  MHEAP_ERR_OVERRUN,       /* a checked block was written beyond its boundaries */
  MHEAP_ERR_STALE,         /* the object is gone */
  MHEAP_ERR_READ_ONLY,     /* the heap is attached without the right to change it */
  MHEAP_ERR_ARGUMENT,      /* an argument out of its range */
  MHEAP_ERR_OVERFLOW,      /* a size no heap can hold */
  MHEAP_ERR_FORKED,        /* the handle belongs to the parent process */
  MHEAP_ERR_NOT_FOUND,     /* no such key, name or element */
  MHEAP_ERR_SNAPSHOT,      /* the commit that was kept is gone: a writer overran its readers */
  MHEAP_ERR_COUNT_
} mheap_err;

/* What was wrong, where, and what to do. `text` holds all of it in one line. */
typedef struct mheap_error {
  mheap_err code;
  int sys;           /* errno of the system call that failed, else 0 */
  uint64_t offset;   /* place in the file, where it has one, else 0 */
  uint64_t expected; /* for contradictions in a file */
  uint64_t found;
  char text[640];    /* UTF-8 as far as the path is; always terminated */
} mheap_error;

/* "BaseAddressInUse" for MHEAP_ERR_BASE_IN_USE, and so on: the name Python gives it. */
MHEAP_API const char *mheap_err_name(mheap_err code);

/* ---- attach and detach ------------------------------------------------------ */

typedef enum mheap_mode {
  MHEAP_MODE_LIVE = 1,     /* shared and writable: every store is in the file */
  MHEAP_MODE_READONLY = 2, /* shared, not writable; needs no write permission, writes nothing */
  MHEAP_MODE_SCRATCH = 3,  /* private: changes are allowed and thrown away at detach */
  MHEAP_MODE_ATOMIC = 4,   /* private: changes are the file's once they are committed (mheap/commits.h) */
} mheap_mode;

/* The pages a heap is to lie on. */
typedef enum mheap_pages {
  MHEAP_PAGES_NEVER = 0,       /* whatever the system does by itself */
  MHEAP_PAGES_TRANSPARENT = 1, /* asks the system for transparent huge pages */
  MHEAP_PAGES_2M = 2,          /* 2 MiB pages of the kernel's pool (hugetlb) */
  MHEAP_PAGES_1G = 3,          /* 1 GiB pages of the pool */
} mheap_pages;

#define MHEAP_NODE(node) ((node) + 1) /* for mheap_options.numa_node, since 0 is a node */

/* All zero is the default of everything. */
typedef struct mheap_options {
  mheap_mode mode;       /* 0: LIVE */
  void *base;            /* map here or fail; NULL: the stored address, or one of mheap's choice */
  uint64_t max_size;     /* address space to reserve, bytes; 0: as stored, for new files 64 GiB */
  double timeout;        /* seconds to wait for another writer; 0: fail at once, < 0: for ever */
  bool relocate;         /* attach elsewhere even though raw addresses were handed out */
  bool salvage;          /* attach what a machine crash left; everything is checked first */
  bool unsafe;           /* READONLY beside a live writer: contents may change while read */
  bool must_exist;       /* refuse an empty file instead of formatting it */
  mheap_pages huge_pages; /* what cannot be had falls back to transparent huge pages, and
                             mheap_stats.pages says so. A file gets pages of the pool by lying on
                             hugetlbfs, whatever is asked for */
  int numa_node;         /* MHEAP_NODE(n): prefer memory of NUMA node n; 0: of any */
  uint64_t journal_limit; /* ATOMIC: bytes of records that readers of earlier generations may keep from
                             being brought into the pages; 0: 1 GiB */
  bool overrun_readers;  /* ATOMIC: beyond that limit, those readers lose what they keep; else commits
                            fail with MHEAP_ERR_FULL */
} mheap_options;

/* Attaches the region in the open file `fd` and returns its main heap. An empty file is
   formatted, a heap file continues where it stopped, anything else is refused and not
   touched. fd -1: anonymous memory, gone at detach. The caller keeps `fd` and may close
   it. options NULL: defaults. On failure NULL, and *error (which may be NULL) says why.
   Costs the same for every size of heap. */
MHEAP_API mheap *mheap_attach(int fd, const mheap_options *options, mheap_error *error);

/* Opens or (unless must_exist, or the mode does not write) creates the file at `path` and
   attaches it; makes sure that the path still names the file once it is locked. */
MHEAP_API mheap *mheap_open(const char *path, const mheap_options *options, mheap_error *error);

/* Syncs, marks the file clean, unmaps, closes. The heap and all pointers into it are gone
   on success; on failure the heap is still attached and usable for mheap_last_error: try again
   once the reason is gone, or let go with mheap_abandon, which is all that is left after
   MHEAP_ERR_CORRUPT (the file was cut short). The default heap, and NULL, are refused with
   MHEAP_ERR_ARGUMENT. */
MHEAP_API mheap_err mheap_detach(mheap *heap, mheap_error *error);

/* Unmaps and closes without syncing and without marking the file clean: what the death of
   the process would leave. For a handle that must go when detach fails, and for tests. Leaves the
   default heap, and NULL, alone. */
MHEAP_API void mheap_abandon(mheap *heap);

/* In a forked child: may an attach that needs the address at which this heap of the parent's lies
   replace its mapping? It may, unless the heap is held; it then fails with
   MHEAP_ERR_BASE_IN_USE. Hold what is still read through pointers. Calls on an inherited heap,
   replaced or not, fail with MHEAP_ERR_FORKED; it can be detached or abandoned. */
MHEAP_API void mheap_hold(mheap *heap, bool hold);

/* Makes everything stored so far durable (one fdatasync). Nothing to do for anonymous memory. */
MHEAP_API mheap_err mheap_sync(mheap *heap);

/* The default heap: the main heap of the calling thread's subprocess (mheap/subprocs.h), in anonymous
   memory, made on first use. */
MHEAP_API mheap *mheap_default(void);

/* Does libmheap-preload serve this process's malloc, from the default heap? (`mheap run`) */
MHEAP_API bool mheap_is_redirected(void);

/* This thread's last error in this heap (of the few heaps it used last); code MHEAP_OK when
   there was none. heap NULL: the default heap. Valid until the thread's next call. */
MHEAP_API const mheap_error *mheap_last_error(const mheap *heap);

/* ---- blocks: heap NULL is the default heap in all of them --------------------- */

/* Uninitialised memory of at least `size` bytes, 16-byte aligned. Size 0: a unique block of
   16 bytes. NULL: MHEAP_ERR_FULL, MHEAP_ERR_OVERFLOW, MHEAP_ERR_READ_ONLY, … */
MHEAP_API void *mheap_malloc(mheap *heap, size_t size);
/* Zeroed memory of count × size bytes; an overflowing product is refused. */
MHEAP_API void *mheap_calloc(mheap *heap, size_t count, size_t size);
/* Resizes, in place where it can. block NULL: malloc. On failure the old block stays as it was. */
MHEAP_API void *mheap_realloc(mheap *heap, void *block, size_t size);
/* Memory whose address is a multiple of `alignment`, any power of two, beyond a segment too. */
MHEAP_API void *mheap_memalign(mheap *heap, size_t alignment, size_t size);
/* Frees. NULL: nothing. A double free, a wild or a foreign pointer is reported, never obeyed. */
MHEAP_API mheap_err mheap_free(mheap *heap, void *block);
/* Bytes that may be used at `block`; 0 for NULL and, with an error, for what is no block. */
MHEAP_API size_t mheap_usable_size(mheap *heap, const void *block);
/* The bytes mheap_malloc(size) reserves. 0: no heap can hold it. */
MHEAP_API size_t mheap_good_size(size_t size);

/* ---- blocks by their pointer alone ------------------------------------------------

   For a block of any heap that this process has attached. What they refuse is told by
   mheap_last_error(NULL); blocks of `heap.root` are refused. */

/* The heap whose block in use begins at `block`. Anything else: NULL, with MHEAP_ERR_POINTER or
   MHEAP_ERR_DOUBLE_FREE. */
MHEAP_API mheap *mheap_heap_of(const void *block);
/* As mheap_free, mheap_realloc and mheap_usable_size of that heap; as quick for the heap that this
   thread used last. NULL is of the default heap. */
MHEAP_API mheap_err mheap_free_any(void *block);
MHEAP_API void *mheap_realloc_any(void *block, size_t size);
MHEAP_API size_t mheap_usable_size_any(const void *block);

/* ---- arenas ---------------------------------------------------------------------

   An arena is a part of a heap's file, or memory of its own, from which heaps take their space.
   One in a file is stored: it is there after the next attach, with the heaps made for it. Its
   number is the process's and is not: mheap_visit_arenas tells the numbers. */

typedef int mheap_arena; /* 1 and up; 0 is no arena */

typedef struct mheap_arena_options {
  bool exclusive;   /* only heaps made for it allocate there; else it is shared, and used first */
  bool commit;      /* memory is brought in, or disk space allocated, now. Lent memory: it is there */
  bool allow_large; /* memory: 2 MiB pages if there are any, transparent ones if not. Files: refused */
  bool is_large;    /* lent memory: of large pages, or pinned: never given back in parts */
  bool is_zero;     /* lent memory: it holds zeros */
  int numa_node;    /* MHEAP_NODE(n): memory of NUMA node n is preferred, or lent; 0: of any */
} mheap_arena_options;

/* Reserves `size` bytes, rounded up to whole segments of 4 MiB, in the file (or the memory) of
   `heap`; NULL: memory of its own, for heaps of the current subprocess. options NULL: all false.
   The space is address space, and costs disk or memory as it is used. MHEAP_ERR_FULL: the region
   has not so much left, or its table of 63 arenas is full; MHEAP_ERR_NO_MEMORY. */
MHEAP_API mheap_err mheap_arena_reserve(mheap *heap, size_t size, const mheap_arena_options *options,
                                        mheap_arena *arena);
/* Makes memory of the caller's an arena of the current subprocess: it must stay, and nothing else may touch
   it, until mheap_arena_release. Its start is moved up to a multiple of mheap_arena_min_alignment.
   At least 192 KiB must be left. */
MHEAP_API mheap_err mheap_arena_manage(void *start, size_t size, const mheap_arena_options *options,
                                       mheap_arena *arena);
/* `pages` pages of 1 GiB at a NUMA node (-1: any) as one arena. timeout_ms 0: none. Returns
   MHEAP_ERR_NO_MEMORY, or MHEAP_ERR_SYSTEM with errno ETIMEDOUT: it took too long, or would take
   more than 1.5 times that. Where that happened after some pages, those are an arena, and *arena
   is its number; without one it is 0. */
MHEAP_API mheap_err mheap_arena_reserve_huge_pages(size_t pages, int numa_node, size_t timeout_ms,
                                                   bool exclusive, mheap_arena *arena);
/* The same, divided evenly over `numa_nodes` nodes (0: all there are); shared arenas, one a node. */
MHEAP_API mheap_err mheap_arena_reserve_huge_pages_interleave(size_t pages, size_t numa_nodes,
                                                              size_t timeout_ms);

/* Lets an arena in a file, or in a heap's memory, have `size` bytes: it must be the last one there.
   MHEAP_ERR_ARGUMENT if it is not, or is larger already. */
MHEAP_API mheap_err mheap_arena_grow(mheap_arena arena, size_t size);
/* Gives an arena back: no heap was made for it that still is there, and nothing in it is in use,
   else MHEAP_ERR_BUSY. Lent memory is its owner's again. */
MHEAP_API mheap_err mheap_arena_release(mheap_arena arena);

/* Where it is, and in *size (may be NULL) how many bytes it has. NULL: there is no such arena. */
MHEAP_API void *mheap_arena_area(mheap_arena arena, size_t *size);
/* What the start of lent memory is rounded up to: 64 KiB. */
MHEAP_API size_t mheap_arena_min_alignment(void);

typedef struct mheap_arena_info {
  mheap_arena arena;
  void *start;
  uint64_t size;      /* bytes */
  uint64_t used;      /* bytes of slices and segments in use, headers included */
  bool exclusive, committed;
  bool stored;        /* in a file */
  bool lent;          /* mheap_arena_manage */
  bool pinned;        /* its pages are never given back in parts */
  int numa_node;      /* -1: none preferred */
} mheap_arena_info;

MHEAP_API mheap_err mheap_arena_get_info(mheap_arena arena, mheap_arena_info *info);
/* The arenas reserved in the region of `heap` (NULL: those of the current subprocess), until
   `visit` returns false. */
MHEAP_API mheap_err mheap_visit_arenas(mheap *heap, bool (*visit)(void *arg, const mheap_arena_info *info),
                                       void *arg);

/* Prints all arenas of the process through the registered output. in_use: a map of their
   segments; abandoned: slabs that no thread owns; purge: free segments whose pages may be held. */
MHEAP_API void mheap_debug_show_arenas(bool in_use, bool abandoned, bool purge);

/* ---- more heaps --------------------------------------------------------------------

   A region holds up to 126 heaps beside its main heap. They share its space, but each has
   blocks of its own: a block is freed by the heap it came from. Handles of theirs belong to the
   region and go with it, or with the heap; mheap_detach is for main heaps.
   Memory of a subprocess has as many regions as its heaps need: there only memory limits how many
   heaps there are. Files, arenas and memory that mheap_attach made are one region each. */

/* A heap in the region of `heap`, or of `arena` (then `heap` may be NULL, or must be in the same
   region), or (both absent) in memory for the current subprocess. arena 0: it uses the shared
   ones. tag: 0 to 255; free space in slabs goes only from heaps to heaps of one tag. In a file the
   heap is there after the next attach: mheap_visit_heaps. NULL: MHEAP_ERR_FULL (there are 126),
   MHEAP_ERR_NO_MEMORY, …; the registered error function is told. */
MHEAP_API mheap *mheap_new(mheap *heap, int tag, bool allow_destroy, mheap_arena arena);
/* Frees every block of the heap, and the heap. MHEAP_ERR_ARGUMENT unless it was made with allow_destroy.
   Costs time for its slabs, not its blocks; a kill in the middle leaves it destroyed. No other thread
   may be using it or its blocks. */
MHEAP_API mheap_err mheap_destroy(mheap *heap);
/* Frees the heap; its blocks become the main heap's where they are. Other threads may be freeing blocks
   of it meanwhile, by mheap_free_any; nothing else may be under way in it. */
MHEAP_API mheap_err mheap_delete(mheap *heap);
/* The main heap of the region. */
MHEAP_API mheap *mheap_main(mheap *heap);
/* Every heap of the region, the main heap first, until `visit` returns false. In memory of a subprocess,
   every heap but those made for arenas. */
MHEAP_API mheap_err mheap_visit_heaps(mheap *heap, bool (*visit)(void *arg, mheap *heap), void *arg);

typedef struct mheap_heap_info {
  uint32_t number;     /* in its region, for as long as it exists; the main heap's is 0. In memory of a
                          subprocess, which may have several regions, others may have it too */
  int tag;
  bool destroyable;
  mheap_arena arena;   /* the only one it uses; 0: the shared ones */
  bool of_kind;        /* it is one of a kind's (kinds.h), and goes with that */
} mheap_heap_info;
MHEAP_API mheap_err mheap_get_heap_info(mheap *heap, mheap_heap_info *info);

/* ---- heaps with names ---------------------------------------------------------------

   A heap may have a name, by which it is found after the next attach, and then has objects of its own: a
   root dict (Python's heap.root) and what hangs on it, and garbage that is collected by itself. Each is two
   of the region's 126 heaps, so there are 63 at most. mheap_destroy frees it with all of its blocks and
   objects at once; mheap_delete refuses it. Files and memory that mheap_attach made have named heaps, the
   memory of a subprocess and arenas outside a file have not.
   Versions of mheap before this was added read such a file, and do not write it. */
#define MHEAP_HEAP_NAME 255 /* bytes of a name */

/* Makes one, in the region of `heap`. name: UTF-8 without zeros, 1 to MHEAP_HEAP_NAME bytes. tag, arena: as
   for mheap_new, for its blocks and its objects. NULL: MHEAP_ERR_ARGUMENT (also if there is one of that
   name), MHEAP_ERR_FULL, … No other call on the region's objects may be under way. */
MHEAP_API mheap *mheap_new_named(mheap *heap, const char *name, size_t length, int tag, mheap_arena arena);
/* The one of that name. NULL: MHEAP_ERR_NOT_FOUND. */
MHEAP_API mheap *mheap_find_named(mheap *heap, const char *name, size_t length);
/* Its name, with a zero behind it; length, which may be NULL, is without that. MHEAP_ERR_NOT_FOUND: the heap
   has none. */
MHEAP_API mheap_err mheap_get_name(mheap *heap, char name[MHEAP_HEAP_NAME + 1], size_t *length);

/* ---- roots --------------------------------------------------------------------- */

#define MHEAP_KEYS 1024

/* Numbered roots, 0 to MHEAP_KEYS-1. `block` must point into this heap's region, or be NULL
   to clear the key. A key does not keep its block from being freed: getkey then returns a
   pointer to no block, or NULL with MHEAP_ERR_POINTER where the heap ends before it. A key that is
   not set gives NULL too, and no error: mheap_last_error(heap)->code is then MHEAP_OK. */
MHEAP_API mheap_err mheap_setkey(mheap *heap, int key, void *block);
MHEAP_API void *mheap_getkey(mheap *heap, int key);

/* Named roots: any UTF-8 name of 1 to 4095 bytes. set with NULL removes the name. get
   returns NULL with MHEAP_ERR_NOT_FOUND when there is none, and does as getkey when its
   block was freed. */
MHEAP_API mheap_err mheap_setroot(mheap *heap, const char *name, size_t length, void *block);
MHEAP_API void *mheap_getroot(mheap *heap, const char *name, size_t length);
/* Calls visit for every named root, in the order they were first set, until it returns false.
   `block` is NULL where getroot would fail with MHEAP_ERR_POINTER. */
MHEAP_API mheap_err mheap_visit_roots(mheap *heap,
                                      bool (*visit)(void *arg, const char *name, size_t length, void *block),
                                      void *arg);

/* ---- space ---------------------------------------------------------------------- */

/* Gives empty slabs back; force: also those of segments not used since attach, and pages to
   the system and the file (tail truncated, holes punched, unless a reader is attached). */
MHEAP_API mheap_err mheap_collect(mheap *heap, bool force);

/* What a collection of objects freed. */
typedef struct mheap_collected {
  uint64_t objects;
  uint64_t bytes; /* of these, and of blocks that a killed process had in hand */
} mheap_collected;

/* Frees objects that no root leads to: those that refer to one another in a circle, and what a killed
   process had in hand. Of a main heap's named heaps, too; of a named heap its own alone. Blocks of
   mheap_malloc are none of them. `collected` may be NULL. No other call on the region's objects and named
   roots may be under way but mheap_getroot and mheap_setroot.
   MHEAP_ERR_BUSY: Python uses the objects in this process, and knows what it has of them: Heap.collect()
   there.
   MHEAP_ERR_CORRUPT: something that can be reached contradicts itself; nothing was freed in that heap. */
MHEAP_API mheap_err mheap_collect_objects(mheap *heap, mheap_collected *collected);

/* Makes what is in the heap now transparent huge pages, as far as the kernel can; other threads
   may use it meanwhile. A heap on pages of the kernel's pool is left as it is.
   MHEAP_ERR_SYSTEM: nothing could be done, with the reason; sys ENOSYS: the kernel is older than 6.1. */
MHEAP_API mheap_err mheap_collapse(mheap *heap);

/* Hands this thread's lanes back, in all heaps. Live blocks stay valid. Automatic at thread exit. */
MHEAP_API void mheap_thread_done(void);

/* Is `address` inside any region this process has attached, what it may still grow by included?
   Takes no lock, and may be called in a signal handler. */
MHEAP_API bool mheap_is_in_region(const void *address);

/* An address range of `size` bytes that is free now, or NULL. */
MHEAP_API void *mheap_findbase(size_t size);

/* ---- what is in it ----------------------------------------------------------------- */

typedef enum mheap_state { MHEAP_CLEAN = 0, MHEAP_OPEN = 1, MHEAP_SEALED = 2 } mheap_state;

typedef struct mheap_info {
  uint8_t uuid[16];
  uint32_t version;          /* of the format */
  mheap_mode mode;           /* of this attach */
  mheap_state state;         /* as stored in the file when attached */
  uint64_t compat, rocompat, incompat; /* feature bits */
  uint64_t generation;       /* number of the last commit */
  uint64_t epoch;            /* attaches after a crash */
  uint64_t size;             /* bytes of the region in use */
  uint64_t file_size;        /* bytes the file is long; 0 without a file */
  uint64_t disk_size;        /* bytes allocated to it on disk */
  uint64_t max_size;         /* bytes of address space reserved */
  uint64_t base;             /* address it is attached at */
  uint64_t stored_base;      /* the fixed address; 0: attaches anywhere */
  uint64_t segments;         /* segments in the region, free ones included */
  uint64_t created_ns;       /* Unix time, nanoseconds */
  uint8_t owner_boot_id[16]; /* of the last writer that did not detach, while state is OPEN */
  uint64_t owner_device, owner_inode, owner_mount_id, owner_pid;
  bool has_root, has_journal;
  int fd;                    /* the region's own descriptor, -1 without a file */
} mheap_info;

MHEAP_API mheap_err mheap_get_info(mheap *heap, mheap_info *info);

#define MHEAP_CLASSES 80 /* size classes of this format version */

/* One size class, or (in mheap_stats) all spans, or all huge spans. */
typedef struct mheap_class_stats {
  uint64_t block_size;   /* bytes; 0 for spans and huge spans */
  uint64_t runs;         /* slabs, or spans */
  uint64_t blocks;       /* blocks they have room for */
  uint64_t used;         /* blocks in use */
  uint64_t used_bytes;   /* bytes of the blocks in use, as usable_size tells them */
  uint64_t run_bytes;    /* bytes of the slices or segments they occupy */
  uint64_t peak;         /* the most blocks in use at once, and their bytes: since this attach, or  */
  uint64_t peak_bytes;   /* mheap_stats_reset; of a size class too many by less than a slab a thread */
  uint64_t total;        /* blocks that were handed out in that time, by this process, and their bytes */
  uint64_t total_bytes;
} mheap_class_stats;

#define MHEAP_FALLBACK 240 /* bytes of mheap_page_stats.fallback */

/* What a region lies on, as the kernel (/proc/self/smaps) says it is mapped in this process;
   all 0 and -1 where it says nothing. */
typedef struct mheap_page_stats {
  mheap_pages asked;          /* by this attach */
  uint64_t page_size;         /* bytes; the largest kind of page it lies on */
  uint64_t bytes_1g;          /* on 1 GiB pages of the kernel's pool */
  uint64_t bytes_2m;          /* on 2 MiB pages of the pool */
  uint64_t bytes_other;       /* on pages of the pool of other sizes */
  uint64_t bytes_transparent; /* on transparent huge pages */
  int numa_node;              /* of the first data; -1: not known, or not there yet */
  char fallback[MHEAP_FALLBACK]; /* what was asked for and not obtained, and why; "" if nothing */
} mheap_page_stats;

typedef struct mheap_stats {
  uint64_t bytes_total;   /* the region's size */
  uint64_t chunks_used;   /* blocks in use */
  uint64_t bytes_used;    /* bytes in them */
  uint64_t chunks_free;   /* free blocks in slabs, and free runs of slices and segments */
  uint64_t bytes_free;    /* bytes in those */
  uint64_t bytes_overhead; /* superblock, headers, maps, slab and span tails */
  uint64_t segments, segments_free;
  mheap_class_stats classes[MHEAP_CLASSES];
  mheap_class_stats spans, huge;
  mheap_page_stats pages;
} mheap_stats;

/* Counts by walking the region; costs a read of every segment's header. A heap that other
   threads use meanwhile is counted approximately. The counts are of the whole region: blocks of
   every heap in it, those of objects and of named roots included. */
MHEAP_API mheap_err mheap_get_stats(mheap *heap, mheap_stats *stats);

/* The same of one heap alone: of its region's other heaps, and of the space between them, nothing.
   The main heap's objects are its own. */
MHEAP_API mheap_err mheap_get_heap_stats(mheap *heap, mheap_stats *stats);

/* A block in use. Return false to stop. Only blocks of this heap are visited, none of objects or
   named roots: so there may be fewer than mheap_get_stats counts. */
typedef bool mheap_visit_fun(void *arg, void *block, size_t usable);
MHEAP_API mheap_err mheap_visit_blocks(mheap *heap, mheap_visit_fun *visit, void *arg);

/* A finding of mheap_check. severity 1: broken; 0: worth knowing, such as space that only
   mheap_collect gives back. */
typedef struct mheap_finding {
  int severity;
  uint64_t offset;
  const char *what;   /* "superblock", "map", "segment", "slab", "span", "object", … */
  const char *text;   /* one line, with expected and found */
} mheap_finding;
typedef void mheap_finding_fun(void *arg, const mheap_finding *finding);

/* Walks every stored structure, objects included, writes nothing. Returns MHEAP_OK when no
   finding of severity 1 was made, else MHEAP_ERR_CORRUPT. `report` may be NULL.
   `progress` (may be NULL) is called now and then with bytes done and in all. */
MHEAP_API mheap_err mheap_check(mheap *heap, mheap_finding_fun *report,
                                void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg);

/* ---- checking and tracing ------------------------------------------------------------ */

typedef enum mheap_probe { /* what was found at a block, in mcheck's order */
  MHEAP_PROBE_DISABLED = -1, /* the block carries no guard */
  MHEAP_PROBE_OK = 0,
  MHEAP_PROBE_FREE,          /* freed already */
  MHEAP_PROBE_HEAD,          /* bytes before it were overwritten */
  MHEAP_PROBE_TAIL,          /* bytes after it were overwritten */
} mheap_probe;

typedef void mheap_check_fun(mheap *heap, void *block, mheap_probe status);

/* From now on blocks get a guard on either side, checked when they are freed, resized or
   probed; `report` NULL prints and aborts. Refused with MHEAP_ERR_ARGUMENT when blocks are
   in use already, unless `force`: those are then not checked. Blocks with a guard stay
   readable and can be freed by later attaches without mheap_mcheck.
   What happens when `report` returns: after TAIL the call goes on, and the block is freed or
   resized; after HEAD it stays in use as it is, since what the heap knew of it is gone: free
   returns MHEAP_ERR_OVERRUN, realloc NULL; after FREE, MHEAP_ERR_DOUBLE_FREE and NULL. */
MHEAP_API mheap_err mheap_mcheck(mheap *heap, mheap_check_fun *report, bool force);
MHEAP_API mheap_probe mheap_mprobe(mheap *heap, void *block);

/* Writes a line per call in glibc's mtrace format to `file`; NULL ends the trace, as do another
   file and mheap_detach. A file whose first line cannot be written is refused. Calls do not fail
   where later lines cannot; whoever ends the trace is told, by MHEAP_ERR_SYSTEM with the errno in
   `sys`. It has ended then, no other has begun, and mheap_detach has left the heap attached: call
   it again. */
MHEAP_API mheap_err mheap_mtrace(mheap *heap, FILE *file);

#ifdef __cplusplus
}
#endif

#include "mheap/commits.h"
#include "mheap/extended.h"
#include "mheap/kinds.h"
#include "mheap/subprocs.h"
#endif
