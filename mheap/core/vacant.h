/* vacant.h: slices in use inside the region in which no generation has anything that the journal leads to.

   Owns: struct mh_vacant. Calls os.h, decode.h. The caller holds commits' lock. What is in them may be
   written straight to its place: neither recovery nor a reader looks there, whichever generation they come
   to.

   Invariant: a slice is vacant if it is in use now, free in the file's pages, and no record has touched what
   says so: its segment's descriptors, and its segment's word in the map. */
#ifndef MHEAP_VACANT_H
#define MHEAP_VACANT_H

#include <stdbool.h>

#include "error.h"
#include "layout.h"

/* The segments whose words stand in the first part of the map; others' slices are never vacant. */
#define MH_VACANT_SEGMENTS (MH_MAP_PART_WORDS - MH_MAP_FIRST_WORDS)
typedef uint64_t mh_vacant_bits[MH_VACANT_SEGMENTS / 64]; /* bit a segment */

typedef struct mh_vacant {
  int fd;
  const char *base;        /* of the region */
  mh_vacant_bits touched;  /* by a record in the journal */
  mh_vacant_bits touching; /* by the record that is being made */
  uint64_t first, end;     /* of the segments that have a bit in `touching` */
  bool unknown;            /* there are records of which nothing was noted */
  uint64_t looked_at;      /* segment, plus 1, that `slices` is about; 0: none */
  uint64_t slices;         /* bit a slice: it is in use, and free in the file's pages */
} mh_vacant;

/* Bytes from offset `from` on, at most to `to`, that are vacant. */
uint64_t mh_vacant_run(mh_vacant *vacant, uint64_t from, uint64_t to);
/* The record that is being made changes these bytes. */
void mh_vacant_note(mh_vacant *vacant, uint64_t at, uint64_t length);
/* It says that these were written to their place. */
void mh_vacant_note_placed(mh_vacant *vacant, uint64_t at, uint64_t length);
/* It became a commit, or did not. */
void mh_vacant_end_record(mh_vacant *vacant, bool committed);
/* The journal is empty, and the file's pages are the last generation. */
void mh_vacant_begin_journal(mh_vacant *vacant);

#endif
