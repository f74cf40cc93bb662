/* registry.h: the regions this process has attached.

   Owns: their list, their places in the radix map, and what happens to them at fork. Calls
   region.h, radix.h. Its lock comes first in the order (registry, lanes, heap, region),
   but for those of subproc.h and handle.c. */
#ifndef MHEAP_REGISTRY_H
#define MHEAP_REGISTRY_H

#include "region.h"

mheap_err mh_registry_add(mh_region *region, mheap_error *error);
void mh_registry_remove(mh_region *region);
void mh_registry_add_heap(mh_region *region, mheap *heap);
void mh_registry_remove_heap(mh_region *region, mheap *heap);
/* It stays a handle of the region, but its row may get another. */
void mh_registry_give_row(mh_region *region, mheap *heap);
/* The region that is number `index` of the list now; NULL: it has fewer. For looking around. */
mh_region *mh_registry_nth(unsigned index);

/* The handle of a row, if there is one. */
mheap *mh_registry_heap(const mh_region *region, uint32_t row);

/* Sends every thread's next call the slow way, in all heaps. */
void mh_registry_forget_lanes(void);

/* Has this process attached that file for writing already? */
bool mh_registry_writes(uint64_t device, uint64_t inode);

/* In a forked child: takes away the mappings of the parent's regions that lie in these bytes and
   are not held. Was there one? Whoever uses such a region is refused before he touches it. */
bool mh_registry_clear(uint64_t address, uint64_t length);
/* Does a region of the parent's lie there, because it is held? */
bool mh_registry_keeps(uint64_t address, uint64_t length);

/* Watches for forks, and for lost pages, from now on. */
void mh_registry_watch(void);

/* The subprocess of the region that an address lies in; NULL: it lies in none. */
struct mh_subproc *mh_registry_subproc_of(const void *address);
/* The number of the subprocess that goes with the region an address lies in; 0: none does. */
int mh_registry_memory_of(const void *address);
/* The main heaps of a subprocess's regions, as many as there is room for; how many there are. */
size_t mh_registry_heaps(const struct mh_subproc *subproc, mheap **heaps, size_t room);
/* All regions of a subprocess become another's. */
void mh_registry_move(const struct mh_subproc *from, struct mh_subproc *to);

/* Is part of this range in a region? */
bool mh_registry_overlaps(const void *start, uint64_t length);

#endif
