/* collect.h: the collector of objects: it frees what no root leads to, cycles and what a kill left.

   Counting frees most objects at once (release.c). What is left are objects that refer to one another in a
   circle, and blocks that a process had in hand when it was killed. A collection marks all that can be
   reached from the roots of the heap and from what the process holds, then frees every other block in the
   heap of objects. It goes in steps of bounded time, between which the program goes on.

   What was unreachable when it began stays so, and is freed; what becomes so meanwhile may stay until the
   next one. That holds because (a snapshot at the beginning, T. Yuasa, "Real-time garbage collection on
   general-purpose machines", 1990):

     - a reference that is taken away while it marks is marked: mh_collect_dropped, called where references
       are counted down;
     - words of a part that go to another place without being counted are marked first: mh_collect_freed of a
       part that was copied, mh_part_moves for moves within one;
     - blocks made meanwhile are marked from the start: mh_collect_born.

   Freeing has two passes. In the first each unmarked object is emptied, by one store, and then gives up its
   references to marked objects; those to other garbage are not counted. In the second all unmarked blocks are
   freed, in the order of their places. So being killed anywhere leaves a sound heap: garbage that was
   emptied already is not counted down again, only counts may be too high.

   Owns, for the time of one collection, a bit for each 16 bytes of the region and a stack of objects not yet
   looked into; region->collector. Process state only. Calls children.h, space.h, areas.h, os.h.

   The caller lets one thread at a time change objects, as everywhere in this layer; threads that change named
   roots are excluded by the names' lock, which a step holds; the collector's own lock is the last in the
   order, and guards what these and the former do between steps. */
#ifndef MHEAP_OBJECTS_COLLECT_H
#define MHEAP_OBJECTS_COLLECT_H

#include "space.h"

typedef struct mh_collector mh_collector;

typedef struct mh_collected {
  uint64_t objects; /* freed */
  uint64_t bytes;   /* of these, with their parts, and of parts that belonged to none */
  bool done;
} mh_collected;

/* Begins one, instead of another that is under way in the region. It is of this heap's objects alone, and the
   space stays until it ends. No objects may be there that are not published yet.
   Then the caller names the containers that the process holds, before anything is changed; or, if they are
   many, makes it wait for that: then one that the process lets go is named then, and the others some
   time. What it comes to hold meanwhile, through those, need not be named. */
mheap_err mh_collect_begin(mh_space *space);
void mh_collect_hold(mh_space *space, uint64_t offset, uint64_t birth);
void mh_collect_wait(mh_space *space, bool wait);
bool mh_collect_waits(const mh_space *space);

/* Goes on for about so long; adds to *collected. When it is done, or fails, the collection has ended.
   MHEAP_ERR_CORRUPT: what is reachable contradicts itself; if that was found while marking, as nearly all
   of it is, nothing was freed. Without a collection under way it is done. */
mheap_err mh_collect_step(mh_space *space, double seconds, mh_collected *collected);
/* A number of the collection under way, no other's of this process; 0: there is none. */
uint64_t mh_collect_number(const mh_space *space);
/* Ends it early; what was not freed by now stays. */
void mh_collect_stop(mh_space *space, mh_collected *collected);

/* ---- for space.c, release.c and whoever moves words ---- */

static inline bool mh_collects(const mh_space *space) {
  const mh_region *region = space->region;
  return __builtin_expect(region->collector != NULL, false) && region->collected == space->heap;
}
void mh_collect_born(mh_space *space, uint64_t offset);
void mh_collect_freed(mh_space *space, uint64_t offset);
void mh_collect_dropped(mh_space *space, uint64_t word);
void mh_collect_moves(mh_space *space, uint64_t part);

/* Before words change their places within a part, without being counted. */
static inline void mh_part_moves(mh_space *space, uint64_t part) {
  if (mh_collects(space)) mh_collect_moves(space, part);
}

#endif
