/* arenas_show.c: mheap_debug_show_arenas: what arenas look like to people. See arenas.h.

   Owns nothing. Calls arena.h, map.h, output.h. What a line says was copied under region->lock;
   nothing is printed under it. */
#include <inttypes.h>
#include <stdio.h>

#include "arena.h"
#include "arenas.h"
#include "map.h"
#include "output.h"
#include "registry.h"

/* ---- a map of segments, a character each ---- */

#define COLUMNS 64 /* segments a line: 256 MiB */

static char picture(mh_region *region, uint64_t segment, bool abandoned) {
  const mh_segment *state = mh_segment_of(region, segment);
  const mh_slab *entries = (const mh_slab *)state;
  mh_map_entry entry;
  if (mh_map_get(region, segment, &entry, NULL) != MHEAP_OK) return '!';
  if (entry.kind == MH_MAP_FREE) return '.';
  if (entry.kind != MH_MAP_SLICES) return 'H';
  if (state->kind != MH_RUN_HEADER) return '?';
  for (uint32_t i = 1; i < MH_SEGMENT_SLICES && abandoned; i++)
    if (entries[i].kind == MH_RUN_SLAB && entries[i].lane == NULL) return 'a';
  return state->free == 0 ? '#' : '+';
}

static void draw_line(mh_region *region, uint64_t first, uint64_t count, bool abandoned, char *line) {
  pthread_mutex_lock(&region->lock);
  uint64_t segments = mh_map_segments(region);
  for (uint64_t i = 0; i < count; i++)
    line[i] = first + i < segments ? picture(region, first + i, abandoned) : '.';
  line[count] = '\0';
  pthread_mutex_unlock(&region->lock);
}

/* As far as the region goes; behind it everything is free. */
static void draw(mh_region *region, uint64_t first, uint64_t end, bool abandoned) {
  uint64_t segments = mh_map_segments(region);
  char line[COLUMNS + 1];
  if (end > segments) end = segments;
  for (; first < end; first += COLUMNS) {
    draw_line(region, first, end - first < COLUMNS ? end - first : COLUMNS, abandoned, line);
    mh_output("    %8" PRIu64 " %s\n", first, line);
  }
}

/* ---- counts ---- */

typedef struct counts {
  uint64_t abandoned; /* slabs */
  uint64_t free;      /* segments inside the region */
} counts;

static void count_segment(mh_region *region, uint64_t segment, counts *c) {
  const mh_slab *entries = (const mh_slab *)mh_segment_of(region, segment);
  mh_map_entry entry;
  if (mh_map_get(region, segment, &entry, NULL) == MHEAP_OK && entry.kind == MH_MAP_FREE) c->free++;
  if (entries->kind != MH_RUN_HEADER) return;
  for (uint32_t i = 1; i < MH_SEGMENT_SLICES; i++)
    c->abandoned += entries[i].kind == MH_RUN_SLAB && entries[i].lane == NULL;
}

static counts count(mh_region *region, const mh_range *range) {
  counts c = {0};
  pthread_mutex_lock(&region->lock);
  uint64_t end = mh_map_segments(region);
  for (uint64_t s = range->first; s < range->end && s < end; s++)
    if (mh_map_arena_of(region, s) == (uint32_t)(range - region->ranges)) count_segment(region, s, &c);
  pthread_mutex_unlock(&region->lock);
  return c;
}

/* ---- showing ---- */

typedef struct shown {
  bool in_use, abandoned, purge;
} shown;

static void show(mh_region *region, uint32_t row, const shown *what) {
  const mh_range *range = &region->ranges[row];
  mheap_arena_info info;
  mh_arenas_info(region, row, &info);
  mh_output("  arena %d: %s: %p, %.1f MiB, %.1f in use%s%s%s%s\n", info.arena, region->path, info.start,
            (double)info.size / (1 << 20), (double)info.used / (1 << 20), info.exclusive ? ", exclusive" : "",
            info.committed ? ", committed" : "", info.lent ? ", lent" : "", info.pinned ? ", pinned" : "");
  if (what->in_use) draw(region, range->first, range->end, what->abandoned);
  counts c = count(region, range);
  if (what->abandoned) mh_output("    slabs that no thread owns: %" PRIu64 "\n", c.abandoned);
  if (what->purge) mh_output("    free segments whose pages may be held: %" PRIu64 "\n", c.free);
}

void mheap_debug_show_arenas(bool in_use, bool abandoned, bool purge) {
  const shown what = {in_use, abandoned, purge};
  mh_region *region;
  mh_output("arenas (a segment of 4 MiB is . free, + in part in use, # full, H of a huge block%s):\n",
            abandoned ? ", a with slabs that no thread owns" : "");
  for (unsigned i = 0; (region = mh_registry_nth(i)) != NULL; i++)
    for (uint32_t row = 0; row < region->arena_rows && !region->forked; row++)
      if (region->ranges[row].end != 0) show(region, row, &what);
}
