/* moved.h: where objects that were copied are now. Calls os.h. Takes no lock.

   Owns, for the time of one copy: a bit for every 16 bytes of the region copied from (pages that no object
   lies in are never touched), and a table of those objects that more than one word may refer to, 16 bytes
   each, at most two thirds full. Of an object with one reference nobody asks where it went, so most cost a
   bit. In bytes, at most: size of the region / 128 + 48 for each object whose count is not 1, and while the
   table grows half as much again. Process state only. */
#ifndef MHEAP_OBJECTS_MOVED_H
#define MHEAP_OBJECTS_MOVED_H

#include <stdbool.h>
#include <stdint.h>

typedef struct mh_moved {
  uint64_t limit;       /* bytes of the region */
  uint64_t *seen;       /* a bit for each 16 of them */
  struct mh_moved_entry *entries; /* NULL: none yet */
  uint64_t room, count; /* entries there is room for, a power of two; in use */
  uint64_t factor;      /* odd, random: who made the file does not know which offsets collide */
} mh_moved;

/* False: no memory. */
bool mh_moved_open(mh_moved *moved, uint64_t limit);
void mh_moved_close(mh_moved *moved);

/* Notes that the object at `offset`, below the limit, was come by; false: it was before. */
static inline bool mh_moved_see(mh_moved *moved, uint64_t offset) {
  uint64_t *word = &moved->seen[offset / 1024], bit = (uint64_t)1 << offset / 16 % 64;
  if (*word & bit) return false;
  *word |= bit;
  return true;
}

/* Notes where it went: not 0. False: no memory. */
bool mh_moved_put(mh_moved *moved, uint64_t from, uint64_t to);
/* Where it went; 0: that was not noted. */
uint64_t mh_moved_get(const mh_moved *moved, uint64_t from);

#endif
