/* registry.h: the regions this process has attached.

   Owns: their list, their places in the radix map, and what happens to them at fork. Calls
   region.h, radix.h. Its lock is the first in the order (registry, lanes, heap, region). */
#ifndef MHEAP_REGISTRY_H
#define MHEAP_REGISTRY_H

#include "region.h"

mheap_err mh_registry_add(mh_region *region, mheap_error *error);
void mh_registry_remove(mh_region *region);
void mh_registry_add_heap(mh_region *region, mheap *heap);
void mh_registry_remove_heap(mh_region *region, mheap *heap);
/* The handle of a row, if there is one. */
mheap *mh_registry_heap(const mh_region *region, uint32_t row);

/* Has this process attached that file for writing already? */
bool mh_registry_writes(uint64_t device, uint64_t inode);

/* In a forked child: takes away the mappings of the parent's regions that lie in these bytes and
   are not held. Was there one? Whoever uses such a region is refused before he touches it. */
bool mh_registry_clear(uint64_t address, uint64_t length);
/* Does a region of the parent's lie there, because it is held? */
bool mh_registry_keeps(uint64_t address, uint64_t length);

/* Is part of this range in a region? */
bool mh_registry_overlaps(const void *start, uint64_t length);

#endif
