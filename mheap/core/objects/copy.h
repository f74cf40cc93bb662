/* copy.h: the objects of one region, copied into another, packed: what no root leads to is left behind.

   Objects are made in the order in which a program comes by them that reads a container from its first
   element to its last and goes into each value at once: a container, its part, then for each element the key,
   the value and all it leads to. Blocks of a size class are handed out in the order of their places, so of
   each class the objects lie in that order. Of 250,000 entries of an aged dict, each with what it leads to,
   iterating takes 0.39 of the time it took before; with objects made level by level 0.43.

   Who refers to what stays as it is, birth numbers too; counts are made anew, as are tables, which have
   neither dead entries nor more room than they need, and items. The hash seeds must be the same.

   Iterative: 48 bytes of memory for each level of containers in containers, but none where the next level
   is the last thing in its container; and what moved.h says.

   What a new type has to provide is in children.h, and that is all that a copy needs: its parts are copied as
   they are, word for word, unless copy_part (copy.c) knows how to make a smaller one. What holds offsets that
   are no values, or values that are not among its children, has to be made anew there.

   Calls children.h, fields.h, moved.h, node.h, table.h, list.h. Takes no lock: nobody may change either
   region meanwhile. */
#ifndef MHEAP_OBJECTS_COPY_H
#define MHEAP_OBJECTS_COPY_H

#include "space.h"

typedef struct mh_copied {
  uint64_t objects;
  uint64_t blocks;  /* of objects and parts */
  uint64_t bytes;   /* of those, in the region copied from */
  uint64_t classes[MHEAP_CLASSES]; /* blocks of each class that are needed, and whole slices of larger ones */
  uint64_t slices;
} mh_copied;

/* Now and then, with what is copied so far; false: give up. */
typedef bool mh_copy_progress(void *arg, const mh_copied *copied);

/* Copies the objects that the root of the heap, and if it is the main one the list of schemas, lead to, and
   makes them those of `to`, which has none. With `to` NULL it only looks what that would come to.
   MHEAP_ERR_CORRUPT: what can be reached contradicts itself. MHEAP_ERR_SYSTEM, without an error set:
   `progress` gave up. On failure `to` holds a part of them, and no root. Errors are set on the heap of
   `from`. */
mheap_err mh_copy_objects(mh_space *from, mh_space *to, mh_copied *copied, mh_copy_progress *progress,
                          void *arg);

#endif
