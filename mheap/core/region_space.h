/* region_space.h: the address space of a region: reserving it, and what is mapped in it.
   Used by region.c; the rest of the core sees region.h. */
#ifndef MHEAP_REGION_SPACE_H
#define MHEAP_REGION_SPACE_H

#include "region.h"

/* Reserves region->span bytes for a superblock read from the file (or just made) and sets
   base, segments, super. options->base and the stored base are honoured or refused. */
mheap_err mh_region_reserve(mh_region *region, const mh_superblock *stored, const mheap_options *options,
                            mheap_error *error);
/* Maps the first `size` bytes. */
mheap_err mh_region_map(mh_region *region, uint64_t size, mheap_error *error);
/* Tables of the process's own, after mh_region_reserve. */
mheap_err mh_region_make_tables(mh_region *region, mheap_error *error);
/* Lets the table be stored to as far as a region of this size needs it: never taken back. */
mheap_err mh_region_open_table(mh_region *region, uint64_t size, mheap_error *error);
/* Undoes what is above, as far as they came. */
void mh_region_unmap(mh_region *region);

/* ---- for what makes regions (region_lent.c, hugepages.c) ---- */

/* A region that has no memory yet, in nobody's list. Goes with mh_region_made. */
mh_region *mh_region_new(const char *name, const mheap_options *options, mheap_error *error);
/* For messages. */
void mh_region_set_path(mh_region *region, const char *path);
/* Writes an empty heap into mapped memory. */
void mh_region_format(mh_region *region, const mh_superblock *super);
/* The last step. `code` not OK: the region is dropped, and NULL returned. */
mh_region *mh_region_made(mh_region *region, mheap_err code, const mheap_options *options,
                          mheap_error *error);

#endif
