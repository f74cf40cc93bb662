/* region.h: one mapping, of a file or of anonymous memory.

   Owns: the mapping, its descriptor and locks, the superblock, growth and shrinkage, the
   segment map's words. Calls os.h only. Knows nothing of blocks, heaps or objects.

   A region lies in a reservation of address space that it never leaves:

     base                                                      base + span
     | superblock slice | segment 0 | segment 1 | … | reserved, not mapped |
     '------------------------ size ----------------'

   Invariant: size = superblock.size, a multiple of a slice, <= span; [0, size) is mapped and
   the file is at least that long. What it is mapped on: region_pages.h. */
#ifndef MHEAP_REGION_H
#define MHEAP_REGION_H

#include <pthread.h>
#include <stdatomic.h>

#include "error.h"
#include "layout.h"
#include "marks.h"

typedef struct mh_region mh_region;

/* Process state of one slice; see segment.h. */
typedef struct mh_slab mh_slab;

/* What a region lies on; see region_pages.h. */
/* Who lent the memory and wants to be asked before its pages are used, and told when they are not. */
typedef struct mh_keeper {
  bool (*back)(struct mh_keeper *keeper, void *address, uint64_t length); /* false: there are none */
  void (*give)(struct mh_keeper *keeper, void *address, uint64_t length);
} mh_keeper;

typedef struct mh_pages {
  uint64_t grain;                /* mapped in multiples of this: a slice, or a huge page */
  uint64_t origin;               /* offset that grains are counted from */
  _Atomic uint64_t mapped;       /* bytes mapped, in whole grains */
  uint64_t hugetlb;              /* size of its pages from the kernel's pool; 0: none are wanted */
  mheap_pages asked;             /* by the options */
  int node;                      /* NUMA node to prefer; -1: none */
  bool advised;                  /* transparent huge pages are wanted */
  bool lent;                     /* by a caller, who keeps the mapping */
  mh_keeper *keeper;             /* of lent memory; NULL: its pages are the system's business */
  bool committed;                /* lent readable and writable */
  bool pinned;                   /* pages are never given back */
  bool kept;                     /* mapped whole, and for good */
  bool in_memory;                /* a file on tmpfs */
  _Atomic bool may_be_dirty;     /* fresh memory may hold anything */
  uint64_t fresh;                /* of a file: nothing from this offset on was anybody's since the attach */
  char fallback[MHEAP_FALLBACK]; /* what was asked for and not obtained, and why */
} mh_pages;

/* The segments of one row of the arena table; end 0: the row is free. Row 0's are all that are
   in no other range. */
typedef struct mh_range {
  uint64_t first, end;
  bool exclusive; /* only heaps made for it allocate there */
  bool committed; /* its disk space stays */
  int id;         /* what the process calls it (arenas.h); 0: nothing yet */
  uint64_t made;  /* mh_commits_now when this process made it; 0: it was there */
} mh_range;

struct mh_region {
  /* What the fast paths read. Constant while attached, but for `size`. */
  char *base;            /* address of the superblock; NULL: forked, and another took its place */
  char *segments;        /* address of segment 0 */
  mh_slab *slabs;        /* one entry a slice of the span, by (address - segments) >> 16; behind the
                            region's end they can only be read */
  mh_superblock *super;  /* == base */
  _Atomic uint64_t size; /* bytes mapped and in use */
  uint64_t span;         /* bytes reserved */

  mheap_mode mode;
  bool anonymous;          /* no file behind it */
  _Atomic bool open;       /* the file says, durably, that it is open for writing */
  bool forked;             /* in a child, and the region belongs to the parent */
  _Atomic bool held;       /* see mheap_hold */
  bool splits;             /* a forked child goes on in a copy of its own */
  _Atomic bool cut;        /* somebody cut the file short, and pages that were lost were touched */
  bool unsafe;             /* a reader beside a live writer */
  _Atomic bool named_base; /* super->base is set: raw addresses were handed out */
  bool fresh;              /* this attach formatted it */
  bool locks_shared;       /* lock_fd shares its locks with the caller's descriptor */
  int fd;                  /* what is read, written and mapped; -1: anonymous */
  int lock_fd;             /* what holds the locks: a mapping keeps the description it was made
                               from, and its locks, alive in a forked child */
  mheap_state state_found; /* of the file when it was attached */
  uint64_t device, inode, mount_id;
  char *path;          /* for messages: as given, or what the kernel calls the descriptor */
  uint64_t fresh_from; /* bytes from here to size are zero: grown by this attach, not yet used */
  uint64_t epoch;      /* super->epoch as this attach left it */
  uint64_t warm;       /* free segments whose pages were not given back: those with dirty bits */
  mh_pages pages;
  struct mh_commits *commits; /* mode ATOMIC: see commit.h */
  uint64_t births;            /* no container of a lower number is made any more, whatever is rolled back */
  struct mh_reader *reader;   /* mode READONLY, beside an atomic writer: see reader.h */
  struct mh_collector *collector; /* a collection under way: objects/collect.h; NULL: none */
  struct mheap *collected;        /* whose objects it is of */
  void (*forget_collector)(mh_region *region);
  _Atomic uint32_t object_users; /* who may keep objects of this region in his own variables */

  pthread_mutex_t lock;    /* growth, the map, slices; the last lock in the order */
  struct mh_arena *arenas; /* see arena.h; one for each row of the arena table */
  uint32_t arena_rows;     /* rows up to the last one in use */
  mh_range ranges[MH_ARENAS];
  bool is_arena;                  /* reserved as a whole, or lent: arenas.h */
  bool all_open;                  /* every segment that was there at attach is opened */
  uint64_t peak;                  /* the most bytes in use during this attach */
  uint32_t walkers;               /* between mh_region_begin_walk and mh_region_end_walk */
  void **map_parts;               /* addresses of the map's parts, NULL: not looked up yet */
  uint64_t map_parts_room;        /* entries in map_parts */
  uint64_t slabs_open;            /* bytes of `slabs` that can be stored to: of all segments up to `size` */
  mh_region *next;                /* the process's regions (registry.c), all found by radix.h too */
  mh_slab *orphans[MH_HEAPS];     /* slabs of opened segments that no lane has yet, by their heap's row */
  uint64_t *touched[MH_HEAPS];    /* bit a segment: the row may have runs there; NULL: it has none */
  uint64_t touched_end[MH_HEAPS]; /* no segment from here on */
  bool touched_lost;              /* there was no memory for one of them */
  bool made_here[MH_HEAPS];       /* by this attach: a row's runs are in segments that are open */
  _Atomic bool rows_taken;        /* the heap table had no free row, and none came free since */
  bool thrifty[MH_HEAPS];         /* pages of the row's runs go back once these are free */
  _Atomic(struct mh_subproc *) subproc;      /* whose it is; NULL: the main one's */
  bool of_subproc;                           /* made for the subprocess, and goes with it */
  _Atomic uint64_t gives;                    /* how often space came free */
  _Atomic(struct mheap *) heaps;             /* handles on this region */
  _Atomic(struct mheap *) handles[MH_HEAPS]; /* the same by their rows */
  struct mheap *spare_heaps;                 /* handles of heaps that are gone, for the next ones; under the
                                           handles' lock. Never given back before the region, since a
                                           thread that frees a block may still look at one */
  struct mheap *retired_heaps;         /* handles of parts that heaps at home here once had, by ->retired */
  struct mh_lane *spare_lanes;         /* the same of lanes; under the lanes' lock */
  _Atomic uint64_t deletions, deleted; /* heaps that began to be deleted, and that were */
};

/* ---- life ---- */
mh_region *mh_region_attach(int fd, const mheap_options *options, mheap_error *error);
mh_region *mh_region_open(const char *path, const mheap_options *options, mheap_error *error);
/* Syncs and publishes CLEAN: the step of detaching that can fail. */
mheap_err mh_region_finish(mh_region *region, mheap_error *error);
/* Unmaps and closes. */
void mh_region_abandon(mh_region *region);
/* A collection under way knows of objects that a rollback, or the end, takes away. */
static inline void mh_region_uncollect(mh_region *region) {
  if (region->collector != NULL) region->forget_collector(region);
}
/* Is the file as long as it should be? */
mheap_err mh_region_is_whole(mh_region *region, mheap_error *error);
mheap_err mh_region_sync(mh_region *region, mheap_error *error);

/* Before the first change, and before the first raw address is handed out, the file is made
   to say that it is open, and synced. So a live attach that only reads costs no sync and
   leaves the file as it was. */
mheap_err mh_region_begin_slowly(mh_region *region, mheap_error *error);
static inline mheap_err mh_region_begin(mh_region *region, mheap_error *error) {
  if (atomic_load_explicit(&region->open, memory_order_acquire)) return MHEAP_OK;
  return mh_region_begin_slowly(region, error);
}

/* ---- space; the caller holds region->lock ---- */

/* Makes [0, size) of the region exist: file extended, mapped. */
mheap_err mh_region_grow(mh_region *region, uint64_t size, mheap_error *error);
/* Gives [size, region->size) back, unless readers are attached. */
mheap_err mh_region_shrink(mh_region *region, uint64_t size);
/* Between these two the region does not shrink, so that bookkeeping can be read without the
   lock, which they take. */
void mh_region_begin_walk(mh_region *region);
void mh_region_end_walk(mh_region *region);
/* Allocates disk space for [offset, offset + length), so that stores cannot end in SIGBUS. */
mheap_err mh_region_back(mh_region *region, uint64_t offset, uint64_t length, mheap_error *error);
/* The same for space that is nobody's yet, and will be stored to at once. */
mheap_err mh_region_fill(mh_region *region, uint64_t offset, uint64_t length, mheap_error *error);
/* In a forked child: the contents become memory of its own, the file is let go. */
mheap_err mh_region_split(mh_region *region, mheap_error *error);
/* Forgets what runs and map parts were found where. */
void mh_region_reset(mh_region *region);
/* Gives the pages of [offset, offset + length) back; they read as zero, or as before if refused. */
void mh_region_punch(mh_region *region, uint64_t offset, uint64_t length);

/* Notes that a row of the heap table has, or may have, runs in a segment. The main heap's are
   everywhere and not noted. */
void mh_region_touch_slowly(mh_region *region, uint32_t row, uint64_t segment);
static inline void mh_region_touch(mh_region *region, uint32_t row, uint64_t segment) {
  if (row > 1) mh_region_touch_slowly(region, row, segment);
}
/* Whether pages of the row's runs go back as soon as these are free; takes the lock. */
void mh_region_set_thrifty(mh_region *region, uint32_t row, bool thrifty);

/* ---- addresses ---- */

static inline void *mh_at(const mh_region *region, uint64_t offset) { return region->base + offset; }
static inline uint64_t mh_offset(const mh_region *region, const void *address) {
  return (uint64_t)((const char *)address - region->base);
}
static inline uint64_t mh_region_size(const mh_region *region) {
  return atomic_load_explicit(&((mh_region *)region)->size, memory_order_relaxed);
}
/* Bytes that the file must have: what a scratch region grew by is memory. */
static inline uint64_t mh_region_file_bytes(const mh_region *region) {
  uint64_t size = mh_region_size(region);
  return region->mode == MHEAP_MODE_SCRATCH && region->fresh_from < size ? region->fresh_from : size;
}
/* May `length` bytes at this offset, both read from a file, be touched? */
static inline bool mh_in_region(const mh_region *region, uint64_t offset, uint64_t length) {
  uint64_t size = mh_region_size(region);
  return offset < size && length <= size - offset;
}
/* Does a mode change the file? */
static inline bool mh_mode_writes(mheap_mode mode) {
  return mode == MHEAP_MODE_LIVE || mode == MHEAP_MODE_ATOMIC;
}
static inline bool mh_region_writable(const mh_region *region) {
  return region->mode != MHEAP_MODE_READONLY && !region->forked;
}
/* Format pages in a page of the host: space is backed by those. */
uint64_t mh_host_pages(void);
/* Fixes the base in the file, since an address is about to be handed out. The region is open
   for writing, or only read. */
void mh_region_name_base(mh_region *region);

/* ---- fields that are published by themselves ---- */

/* Everything stored before is visible to whoever attaches after a kill behind this store. */
static inline void mh_publish(uint64_t *word, uint64_t value) {
  mh_mark(word);
  atomic_store_explicit((_Atomic uint64_t *)word, value, memory_order_release);
}
static inline uint64_t mh_read(const uint64_t *word) {
  return atomic_load_explicit((_Atomic uint64_t *)(uintptr_t)word, memory_order_acquire);
}
/* Of a row of the heap table. */
static inline uint64_t mh_heap_row_head(const mh_region *region, uint32_t row) {
  return mh_read(&((const mh_heap_row *)mh_at(region, MH_HEAPS_OFFSET))[row].head);
}
/* What became of the runs that name it: MH_HEAP_DESTROYED, MH_HEAP_DELETED, or 0: they are its own. The
   main heap and its objects' never go, whatever a file says. */
static inline uint64_t mh_heap_row_gone(const mh_region *region, uint32_t row) {
  uint64_t gone = row > 1 ? mh_heap_row_head(region, row) & (MH_HEAP_DESTROYED | MH_HEAP_DELETED) : 0;
  return gone & MH_HEAP_DESTROYED ? MH_HEAP_DESTROYED : gone;
}

/* ---- what else is stored but not in every file ---- */

/* Makes the file say that it has a feature (MH_ROCOMPAT_*), before the first use of it.
   The caller holds region->lock. */
mheap_err mh_region_require(mh_region *region, uint64_t rocompat, mheap_error *error);

#endif
