/* arenas.h: the arena table of a region, and the process's numbers for arenas.

   Owns: region->ranges, which is the table as this process believes it, and the numbers. Calls
   arena.h, map.h, region.h. Its own lock, over the numbers, is the last in the order.

   An arena is either a row of a region's table, or a region all of which was reserved or lent:
   then it is row 0. Its number is the process's and is not stored. */
#ifndef MHEAP_ARENAS_H
#define MHEAP_ARENAS_H

#include "heap.h"
#include "superblock.h"

/* Memory that is an arena holds the superblock, a segment's header and something. */
#define MH_ARENA_LEAST (MH_REGION_MIN + MH_SLICE)

/* At attach. A writer is refused a table that contradicts itself; a reader does without the row. */
mheap_err mh_arenas_load(mh_region *region, mheap_error *error);
/* After a rollback: rows that are there still keep their numbers. */
mheap_err mh_arenas_reload(mh_region *region, mheap_error *error);
/* At detach: the numbers mean nothing any more. */
void mh_arenas_forget(mh_region *region);

/* The number of a row, which may be a new one. 0: there are no more. */
int mh_arenas_number(mh_region *region, uint32_t row);
/* What a number stands for; false: nothing. */
bool mh_arenas_find(int number, mh_region **region, uint32_t *row);

/* Around fork. */
void mh_arenas_lock(void);
void mh_arenas_unlock(void);

/* Of a function that is given no heap: the default heap's last error. */
mheap_error *mh_plain_error(void);
void mh_arenas_info(mh_region *region, uint32_t row, mheap_arena_info *info);
/* The next arena after *number that is a region of its own; false: no more. */
bool mh_arenas_next(int *number, mh_region **region);
/* Detaches a region that is an arena, unless it is in use. */
mheap_err mh_arenas_release_region(mh_region *region, mheap_arena arena, mheap_error *error);

/* The memory arenas of a subprocess; false: `visit` returned that. */
bool mh_arenas_visit_memory(const struct mh_subproc *subproc,
                            bool (*visit)(void *arg, const mheap_arena_info *info), void *arg);
/* mheap_arena_reserve and mheap_visit_arenas where there is a heap. */
mheap_err mh_arenas_reserve(mheap *heap, size_t size, const mheap_arena_options *options, mheap_arena *arena);
mheap_err mh_arenas_visit(mheap *heap, bool (*visit)(void *arg, const mheap_arena_info *info), void *arg);

#endif
