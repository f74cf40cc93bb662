/* hugepages.h: regions on huge pages reserved ahead.

   Each region lies on pages from the kernel's pool (hugetlb) alone, obtained one at a time and
   touched, so that it never waits for one later; it keeps them until it is abandoned. Its data
   is `got` whole pages at region->segments; the superblock lies on small pages before them.

   What the documents leave open: when fewer pages than asked for could be had, those become a
   region, and the code says why there are no more. So the memory is used, and a caller that
   needs all of it knows. Without a page there is no region. */
#ifndef MHEAP_HUGEPAGES_H
#define MHEAP_HUGEPAGES_H

#include "region.h"

/* `count` pages of 1 GiB, on NUMA node `node` if it has them (-1: on any). *made (NULL: none)
   and *got are set always. timeout_ms 0: none; else no page is begun later than that, nor when
   the pages so far let expect that all take more than 1.5 times as long.
   MHEAP_OK: all pages. MHEAP_ERR_NO_MEMORY, sys ENOMEM: the pool has no more, or no such node.
   MHEAP_ERR_SYSTEM, sys ETIMEDOUT. MHEAP_ERR_ARGUMENT: count is 0, or more than fit. */
mheap_err mh_hugepages_reserve(uint64_t count, int node, uint64_t timeout_ms, mh_region **made, uint64_t *got,
                               mheap_error *error);

/* The same with pages of another size: 2 MiB, or what the kernel has. */
mheap_err mh_hugepages_reserve_of(uint64_t page, uint64_t count, int node, uint64_t timeout_ms,
                                  mh_region **made, uint64_t *got, mheap_error *error);

/* Divides `count` pages of 1 GiB evenly over the first `nodes` NUMA nodes there are (0: all): one
   region a node, earlier nodes having one page more. `made` is called for each region, in
   order of nodes; one timeout counts for all. The first failure is returned, after all nodes
   had their turn, or were not reached in time. */
mheap_err mh_hugepages_interleave(uint64_t count, uint64_t nodes, uint64_t timeout_ms,
                                  void (*made)(void *arg, mh_region *region, uint64_t got), void *arg,
                                  uint64_t *got, mheap_error *error);

#endif
