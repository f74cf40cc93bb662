/* verify.h: the walk of a check, for what checks one type of object (verify*.c). Takes no lock. */
#ifndef MHEAP_OBJECTS_VERIFY_H
#define MHEAP_OBJECTS_VERIFY_H

#include "blocks.h"
#include "objects.h"

typedef struct mh_walk {
  mh_space space;
  mheap_finding_fun *report;
  void *arg;
  uint64_t broken;
  uint32_t *counts; /* references found, by offset / 16 */
  uint64_t size;    /* of the region when the walk began, which it may outgrow */
  uint64_t counts_bytes;
  uint8_t *touched; /* by offset / MH_SEGMENT: is a count there that is not 0? */
  uint64_t touched_bytes;
  mh_blocks blocks; /* to be asked in place of mh_block_usable */
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

#endif
