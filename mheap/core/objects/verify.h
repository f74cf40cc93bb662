/* verify.h: the walk of a check, for what checks one type of object (verify*.c). Takes no lock. */
#ifndef MHEAP_OBJECTS_VERIFY_H
#define MHEAP_OBJECTS_VERIFY_H

#include "ahead.h"
#include "blocks.h"
#include "compound.h"
#include "objects.h"

typedef struct mh_walk {
  mh_space space;
  mheap_finding_fun *report;
  void *arg;
  uint64_t broken;
  uint32_t *counts; /* references found, by offset / 16 */
  uint64_t size;    /* of the region when the walk began, which it may outgrow */
  uint64_t counts_bytes;
  uint8_t *touched; /* by offset / MH_SLICE: is a count there that is not 0? */
  uint64_t touched_bytes;
  mh_blocks blocks; /* to be asked in place of mh_block_usable */
  mh_ahead ahead;   /* with the counts */
  uint64_t *seen; /* references to what holds others, each once */
  uint64_t seen_count, seen_room;
  uint64_t coded;   /* words of the codes of keys */
  mheap_err failed; /* of the walk itself */
} mh_walk;

__attribute__((format(printf, 4, 5))) void mh_walk_found(mh_walk *walk, int severity, uint64_t offset,
                                                         const char *format, ...);
/* Reports what a call of the object layer said. */
void mh_walk_error(mh_walk *walk);
/* Counts the reference at `place`, and looks at the object when it is the first to it. False:
   it leads nowhere. */
bool mh_walk_visit(mh_walk *walk, uint64_t word, uint64_t place);
/* A part belongs to one container: counted, so that a second one is noticed. False: it must not be read. */
bool mh_walk_part(mh_walk *walk, uint64_t offset, uint64_t bytes);
/* Is it too much to hash, or compare, another? What keys have in common is hashed again with each of them;
   without that it would be no more than the heap has room for. */
bool mh_walk_coded_enough(mh_walk *walk, uint64_t stored);
/* Of a sorted dict (verify_sorted.c). */
void mh_walk_sorted(mh_walk *walk, const mh_container *container, uint64_t part);

/* verify_array.c: an array's description and cells. */
void mh_walk_array(mh_walk *walk, uint64_t offset);

/* verify_decimal.c: a Decimal with the number that a key has. */
void mh_walk_decimal(mh_walk *walk, const mh_compound *of);

/* ---- verify_records.c ---- */

void mh_walk_record(mh_walk *walk, uint64_t offset);
void mh_walk_rows(mh_walk *walk, uint64_t part);
/* All schemas, also of records there are none of. */
void mh_walk_schemas(mh_walk *walk);

#endif
