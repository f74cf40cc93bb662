/* check.h: what the parts of mheap_check share: a walk of every stored structure in which no
   number is believed.

   check.c             the driver, findings, keys
   check_superblock.c  the superblock and its tables
   check_kind.c        kinds in the heap table
   check_named.c       named heaps in it, and heaps of objects
   check_map.c         the segment map
   check_segment.c     segment headers, slice descriptors, bitmaps

   Owns nothing that lasts; takes no lock; writes nothing. Calls region.h, map.h, superblock.h
   and, for what the blocks contain, objects/objects.h.

   Work is cut into units. Beside a writer a unit may see a change half made, so a unit that
   finds something is run again, and only what is found every time is reported. */
#ifndef MHEAP_CHECK_H
#define MHEAP_CHECK_H

#include "decode.h"
#include "heap.h"

#define MH_CHECK_KEYS 64

/* Names one finding from one run of a unit to the next. */
typedef struct mh_check_key {
  uint64_t offset;
  const char *format;
  bool again; /* found by this run too */
} mh_check_key;

typedef struct mh_check {
  mheap *heap;
  mh_region *region;
  mheap_finding_fun *report;
  void (*progress)(void *arg, uint64_t done, uint64_t total);
  void *arg;
  uint64_t size;    /* of the region, as the superblock says now */
  uint64_t mapped;  /* bytes of it that can be touched: no more than the file has */
  uint64_t broken;  /* findings of severity 1 reported */
  mheap_err failed; /* of the walk itself, not of the heap */
  enum { MH_CHECK_REPORT, MH_CHECK_COLLECT, MH_CHECK_CONFIRM } pass;
  bool crowded; /* more findings than keys: all are reported */
  unsigned keys;
  mh_check_key key[MH_CHECK_KEYS];
} mh_check;

typedef void mh_check_unit(mh_check *check, uint64_t argument);

/* Runs one unit, again if there is something to confirm. */
void mh_check_run(mh_check *check, mh_check_unit *unit, uint64_t argument);

/* Reports, or remembers, a finding; `format` is a literal: it is the finding's name. */
void mh_check_found(mh_check *check, int severity, uint64_t offset, const char *what, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* "… is not zero" for the first byte in [at, at + length) that is not. */
void mh_check_zero(mh_check *check, const char *what, const void *at, size_t length);

/* Address of `length` bytes of the region, or NULL where they cannot all be touched. */
static inline void *mh_check_at(const mh_check *check, uint64_t offset, uint64_t length) {
  if (offset >= check->mapped || length > check->mapped - offset) return NULL;
  return mh_at(check->region, offset);
}

/* The descriptor of the slice at a data slice's offset, in a segment that has a header. NULL: none. */
const mh_slice *mh_check_slice(mh_check *check, uint64_t offset);

/* ---- check_superblock.c ---- */
void mh_check_superblock(mh_check *check, uint64_t unused);
void mh_check_heap_row(mh_check *check, uint64_t row);
void mh_check_arena_row(mh_check *check, uint64_t row);
bool mh_check_heap_used(mh_check *check, uint64_t row);

/* ---- check_kind.c ---- */
void mh_check_kind_row(mh_check *check, uint64_t row);

/* ---- check_named.c ---- */
void mh_check_named_row(mh_check *check, uint64_t row);

/* ---- check_map.c ---- */
void mh_check_directory(mh_check *check, uint64_t unused);
void mh_check_map_word(mh_check *check, uint64_t segment);
void mh_check_map_rest(mh_check *check, uint64_t unused);
/* The word of a segment, and its place in the file; false: no part of the map holds it. */
bool mh_check_word(mh_check *check, uint64_t segment, uint64_t *word, uint64_t *offset);
/* Is this slice the map's directory or one of its parts? */
bool mh_check_is_map(mh_check *check, uint64_t offset);

/* ---- check_segment.c ---- */
void mh_check_segment(mh_check *check, uint64_t segment);
/* Does `offset` lie in a block in use? */
bool mh_check_in_block(mh_check *check, uint64_t offset);

#endif
