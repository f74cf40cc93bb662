/* region_pages.h: what a region lies on: how its memory is mapped, on which pages, on which node.

   Owns: region->pages. Calls os.h. The caller holds region->lock, or nobody else knows the
   region yet. The rest of the core sees region.h.

   A region is mapped in *grains*: slices, or huge pages. Grains are counted from `origin`:

     anonymous memory on huge pages        a file on hugetlbfs, a huge file on tmpfs
     base        segments                  base = a multiple of the page
     |  64 KiB   | grain | grain | …       | grain | grain | …
     small pages '- a multiple of the page

   In anonymous memory only the superblock slice lies on small pages, so that segments, and
   every alignment that a block can have, stay as they are elsewhere. In a file the superblock
   is in the first huge page; segments are then 64 KiB behind a multiple of 4 MiB, and blocks
   of more than 4 MiB cannot be aligned to more than 64 KiB.

   Invariant: size <= mapped <= span; [0, mapped) is mapped; mapped = mh_pages_end(size), but
   in memory that is mapped whole and for good (`kept`) and in lent memory that was grown before.
   What lies between size and mapped may hold anything. */
#ifndef MHEAP_REGION_PAGES_H
#define MHEAP_REGION_PAGES_H

#include "os.h"
#include "region.h"

#define MH_HUGE_2M ((uint64_t)2 << 20)
#define MH_HUGE_1G ((uint64_t)1 << 30)

/* Decides what the region will lie on, from the options and, if it is open, the file. */
mheap_err mh_pages_choose(mh_region *region, const mheap_options *options, mheap_error *error);
/* Where a new region is to be placed in memory. */
uint64_t mh_pages_placement(const mh_region *region);
/* Can a stored heap lie on such pages? Where it need not, it lies on others, and that is
   noted; else an error. May narrow super->placement, which is a copy. */
mheap_err mh_pages_fit(mh_region *region, mh_superblock *super, const mheap_options *options,
                       mheap_error *error);

/* Bytes mapped for a region of this size. */
uint64_t mh_pages_end(const mh_region *region, uint64_t size);
/* Maps what a region of this size needs. `growing`: not what a file had at attach. */
int mh_pages_map(mh_region *region, uint64_t size, bool growing);
/* Unmaps what a region of this size does not need. */
void mh_pages_unmap(mh_region *region, uint64_t size);
/* All of it goes back: to the system, or as it was to who lent it. */
void mh_pages_release(mh_region *region);
/* Makes sure that stores to [offset, offset + length) find pages. */
int mh_pages_back(mh_region *region, uint64_t offset, uint64_t length);
/* Brings in what of [offset, offset + length), which has space and is nobody's yet, never was anybody's: a
   write of zeros costs a quarter of the faults. */
void mh_pages_fill(mh_region *region, uint64_t offset, uint64_t length);
/* Gives back the whole grains in [offset, offset + length). */
void mh_pages_punch(mh_region *region, uint64_t offset, uint64_t length);
/* Are all bytes zero that mh_pages_punch was told of since they were used, or that never were? */
bool mh_pages_are_zero(const mh_region *region);
/* A page of this anonymous region cannot be copied for want of a huge page, as after a fork:
   copies it to small ones. Safe in a signal handler. */
bool mh_pages_rescue(mh_region *region, void *address);

/* What the kernel says of the region now. Takes region->lock for a moment; so the caller does not hold it. */
void mh_pages_count(mh_region *region, mheap_page_stats *stats);
/* The same with the pages of all these ranges, in the order of their addresses: of a heap in many regions,
   since the kernel tells of the whole process each time. */
void mh_pages_count_in(mh_region *region, const mh_os_range *ranges, size_t count, mheap_page_stats *stats);
/* Where it is mapped now. No lock needed. */
mh_os_range mh_pages_range(const mh_region *region);
/* Between mh_region_begin_walk and mh_region_end_walk, without the lock. */
mheap_err mh_pages_collapse(mh_region *region, mheap_error *error);

#endif
