/* children.h: what a block of the object layer refers to, of whatever type it is. Calls list.h, table.h.
   Takes no lock.

   The one place that has to know a new type: mh_type_has_children, and mh_children_read. What is read here is
   collected, freed and copied (collect.c, release.c, copy.c). */
#ifndef MHEAP_OBJECTS_CHILDREN_H
#define MHEAP_OBJECTS_CHILDREN_H

#include "space.h"

/* Where the values of an object stand, as they were when this was read. An element's number tells its
   place in the block, and stays what it is when others are added or taken away in that block. */
typedef struct mh_children {
  uint64_t part, part_bytes; /* of a container: the block that belongs to it, and what it needs; 0: none */
  const uint64_t *words;     /* element 0 */
  uint64_t stride;           /* words of an element; one whose first word is ABSENT is none */
  uint64_t first, end;       /* numbers of elements */
  uint64_t dying;            /* one that is to be taken as none, too */
} mh_children;

static inline bool mh_type_is_part(mh_type type) { return type >= 0x80 && type < 0xc0; }
static inline bool mh_type_is_owner(mh_type type) { return type >= 0x40 && type < 0x80; }

/* Can an object of this type refer to others? */
static inline bool mh_type_has_children(mh_type type) {
  return mh_type_is_owner(type) || (type >= 0x10 && type < 0x20);
}
/* Is this known to be an object's or a part's? What is not may be of a later version. */
bool mh_type_is_known(mh_type type);

/* By one store the object refers to nothing any more. So it is before what it referred to is counted down:
   who comes by its block after a kill, or before there is another object in it, must not count again. */
void mh_children_forget(mh_space *space, uint64_t offset);

/* Of an object with such a type in a block in use; checked against the region. */
mheap_err mh_children_read(mh_space *space, uint64_t offset, mh_children *children);
/* Of a part, not 0, which need not be in a block in use, of such a container. */
mheap_err mh_children_of_part(mh_space *space, mh_type container, uint64_t part, mh_children *children);

#endif
