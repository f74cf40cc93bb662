/* kind_extents.c: kinds whose space a program's hooks provide. See kind.h.

   Owns: extents: memory that a hook gave, lent to a region that is one arena's ground. Calls
   region_lent.h. Of each slice it is known whether it was decommitted, or never committed: then
   the program is asked before the slice is used. Runs with the kind's lock (making and dropping) or
   the region's (pages). */
#include <errno.h>

#include "kind.h"
#include "os.h"
#include "region_lent.h"
#include "subproc.h"

#define LEAST (2 * MH_SEGMENT)   /* of an extent; each next one of an arena is twice as large, */
#define MOST ((uint64_t)1 << 29) /* up to this */

struct mh_extent {
  mh_keeper keeper; /* first: the region knows this alone */
  const mheap_extent_hooks *hooks;
  char *start;
  uint64_t size;
  uint32_t arena;  /* number */
  uint64_t bytes;  /* of this table */
  uint64_t gone[]; /* bit a slice: not committed */
};

static bool is_gone(const mh_extent *extent, uint64_t slice) {
  return extent->gone[slice / 64] >> slice % 64 & 1;
}

static void set_gone(mh_extent *extent, uint64_t first, uint64_t count, bool gone) {
  for (uint64_t i = first; i < first + count; i++) {
    uint64_t bit = (uint64_t)1 << i % 64;
    extent->gone[i / 64] = gone ? extent->gone[i / 64] | bit : extent->gone[i / 64] & ~bit;
  }
}

/* ---- pages ---- */

/* Slices in a row that are gone are one call. */
static bool commit(mh_extent *extent, uint64_t first, uint64_t end) {
  const mheap_extent_hooks *hooks = extent->hooks;
  for (uint64_t i = first, n; i < end; i += n) {
    n = 1;
    if (!is_gone(extent, i)) continue;
    while (i + n < end && is_gone(extent, i + n)) n++;
    if (hooks->commit == NULL ||
        !hooks->commit(hooks->arg, extent->start, extent->size, i * MH_SLICE, n * MH_SLICE, extent->arena))
      return false;
    set_gone(extent, i, n, false);
  }
  return true;
}

static bool back(mh_keeper *keeper, void *address, uint64_t length) {
  mh_extent *extent = (mh_extent *)keeper;
  uint64_t offset = (uint64_t)((char *)address - extent->start);
  return commit(extent, offset / MH_SLICE, (offset + length + MH_SLICE - 1) / MH_SLICE);
}

/* Only whole slices go; they are not all committed: some went before. */
static void give(mh_keeper *keeper, void *address, uint64_t length) {
  mh_extent *extent = (mh_extent *)keeper;
  const mheap_extent_hooks *hooks = extent->hooks;
  uint64_t offset = (uint64_t)((char *)address - extent->start);
  uint64_t first = (offset + MH_SLICE - 1) / MH_SLICE, end = (offset + length) / MH_SLICE;
  for (uint64_t i = first, n; i < end; i += n) {
    n = 1;
    if (is_gone(extent, i)) continue;
    while (i + n < end && !is_gone(extent, i + n)) n++;
    bool went =
        hooks->decommit != NULL && hooks->commit != NULL &&
        hooks->decommit(hooks->arg, extent->start, extent->size, i * MH_SLICE, n * MH_SLICE, extent->arena);
    if (went) set_gone(extent, i, n, true);
    else if (hooks->purge != NULL)
      hooks->purge(hooks->arg, extent->start, extent->size, i * MH_SLICE, n * MH_SLICE, extent->arena);
  }
}

/* ---- making ---- */

static mh_extent *new_extent(const mheap_kind *kind, uint32_t arena, uint64_t size, mheap_error *error) {
  uint64_t bytes = sizeof(mh_extent) + (size / MH_SLICE / 64 + 1) * sizeof(uint64_t);
  mh_extent *extent = mh_os_table(bytes);
  if (extent == NULL) {
    mh_fail_system(error, ENOMEM, kind->name, "making the record of an extent");
    return NULL;
  }
  extent->keeper = (mh_keeper){back, give};
  extent->hooks = kind->hooks;
  extent->size = size;
  extent->arena = arena;
  extent->bytes = bytes;
  return extent;
}

static void drop_extent(mh_extent *extent) {
  const mheap_extent_hooks *hooks = extent->hooks;
  if (extent->start != NULL && hooks->dalloc != NULL)
    hooks->dalloc(hooks->arg, extent->start, extent->size, extent->arena);
  mh_os_table_free(extent, extent->bytes);
}

static uint64_t size_for(uint32_t extents, uint64_t size, uint64_t alignment) {
  uint64_t usual = LEAST << (extents < 6 ? extents : 6), needed = size + alignment + 2 * MH_SEGMENT;
  if (usual > MOST) usual = MOST;
  if (size + alignment <= MH_SEGMENT / 2) needed = 0;
  return ((needed > usual ? needed : usual) + MH_SEGMENT - 1) / MH_SEGMENT * MH_SEGMENT;
}

/* Where in the extent the region begins: for large alignments, where its segments are aligned. */
static uint64_t base_in(const mh_extent *extent, uint64_t alignment) {
  uint64_t start = (uint64_t)extent->start, base = (start + MH_SLICE - 1) & ~(MH_SLICE - 1);
  if (alignment > MH_SLICE) base = ((start + MH_SLICE + MH_SEGMENT - 1) & ~(MH_SEGMENT - 1)) - MH_SLICE;
  return base - start;
}

static mheap *lend(mh_extent *extent, uint64_t base, bool zero, mheap_error *error) {
  const mh_lending how = {.committed = true, .zero = zero, .numa_node = -1};
  mh_region *region = mh_region_lend(extent->start + base, extent->size - base, &how, error);
  if (region == NULL) return NULL;
  region->pages.keeper = &extent->keeper;
  return mh_heap_attached(region, error);
}

/* The region's first slices are written before it can ask for them. */
static mheap *use_extent(mheap_kind *kind, mh_extent *extent, uint64_t alignment, mheap_error *error) {
  bool zero = false, committed = true;
  extent->start =
      extent->hooks->alloc(extent->hooks->arg, extent->size, MH_SEGMENT, &zero, &committed, extent->arena);
  if (extent->start == NULL) {
    mh_fail(error, MHEAP_ERR_FULL, "kind \"%s\": its hooks gave no extent of %llu bytes", kind->name,
            (unsigned long long)extent->size);
    return NULL;
  }
  uint64_t base = base_in(extent, alignment), first = base / MH_SLICE;
  if (base >= extent->size) base = 0; /* too small for the alignment: the region says so */
  if (!committed) set_gone(extent, 0, extent->size / MH_SLICE, true);
  if (!committed && !commit(extent, first, first + MH_LENT_MIN / MH_SLICE + 1)) {
    mh_fail(error, MHEAP_ERR_FULL, "kind \"%s\": its hooks did not commit an extent's start", kind->name);
    return NULL;
  }
  return lend(extent, base, zero, error);
}

mheap_err mh_extent_ground(mheap_kind *kind, uint32_t index, uint64_t size, uint64_t alignment,
                           mh_ground *ground, mheap_error *error) {
  uint32_t extents = 0;
  for (mh_kind_part *part = kind->arena[index].newest; part != NULL; part = part->older) extents++;
  mh_extent *extent = new_extent(kind, kind->first + index, size_for(extents, size, alignment), error);
  if (extent == NULL) return error->code;
  ground->main = use_extent(kind, extent, alignment, error);
  ground->extent = extent;
  if (ground->main != NULL) return MHEAP_OK;
  drop_extent(extent);
  return error->code;
}

void mh_extent_drop(mh_extent *extent) { drop_extent(extent); }
