/* region_lent.h: a region in memory that its caller owns and lends.

   Such a region is anonymous memory in every respect, but that it lies where it is told,
   cannot grow beyond what was lent, and goes back to its owner when it is abandoned: nothing
   is ever unmapped, and what was inaccessible is so again. Contents are whatever the heap left.

   Fork: the child goes on with the region as with other anonymous memory. If the memory is
   shared with the child (MAP_SHARED), both would allocate in it: that is the caller's to
   prevent, since mheap cannot know it. */
#ifndef MHEAP_REGION_LENT_H
#define MHEAP_REGION_LENT_H

#include "region.h"

typedef struct mh_lending {
  bool committed; /* readable and writable already; else it is made so as the region grows */
  bool pinned;    /* pages are never given back to the system: huge ones, or registered with a device */
  bool zero;      /* all bytes are zero */
  int numa_node;  /* the node it lies on, for statistics; -1: not known */
} mh_lending;

/* What a lent region needs at least, from an address that is a multiple of a slice: the
   superblock, a segment's header, and a slice to allocate in. */
#define MH_LENT_MIN (3 * MH_SLICE)

/* `start` is moved up to a multiple of 64 KiB and `size` cut to match. MHEAP_ERR_ARGUMENT with
   sys EINVAL: too small, not mapped, not writable though `committed`, or part of a region. */
mh_region *mh_region_lend(void *start, uint64_t size, const mh_lending *how, mheap_error *error);

#endif
