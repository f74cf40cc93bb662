/* arena.c: see arena.h. */
#include "arena.h"

#include <errno.h>
#include <string.h>

#include "decode.h"
#include "least.h"
#include "os.h"
#include "region_pages.h"

#define OPEN_AT_ONCE 4   /* segments a call opens before it rather grows: bounds a pause */
#define AHEAD_SLICES 16  /* disk space for slabs is allocated up to 1 MiB ahead, in large files */
#define POPULATE_LEAST 4 /* that many slices at once are brought in: a third cheaper than faults */
#define TRIM_LEAST (MH_SEGMENT / 4)

mheap_err mh_arena_make(mh_region *region, mheap_error *error) {
  region->arenas = mh_os_table(MH_ARENA_BYTES);
  return region->arenas != NULL ? MHEAP_OK
                                : mh_fail_system(error, ENOMEM, region->path, "making the arenas' records");
}

void mh_arena_drop(mh_region *region) {
  if (region->arenas != NULL) mh_os_table_free(region->arenas, MH_ARENA_BYTES);
}

void mh_arena_reset(mh_region *region) {
  uint64_t seen = (region->peak - MH_SLICE + MH_SEGMENT - 1) / MH_SEGMENT;
  memset(region->arenas, 0, MH_ARENA_BYTES);
  for (uint64_t segment = 0; segment < seen; segment++)
    if (mh_segment_of(region, segment)->kind != MH_RUN_UNKNOWN) mh_segment_forget(region, segment);
  mh_region_reset(region);
}

static uint64_t segment_end(uint64_t segment) { return mh_segment_offset(segment + 1); }

static mh_arena *arena_of(const mh_region *region, uint64_t segment) {
  return &region->arenas[mh_map_arena_of(region, segment)];
}

/* Free slices came to `segment`. */
static void note_free(const mh_region *region, uint64_t segment) {
  mh_arena *arena = arena_of(region, segment);
  for (uint32_t n = 1; n < MH_SEGMENT_SLICES; n++) arena->start[n] = mh_least(arena->start[n], segment);
}

/* Who found no room may try again. */
static void note_given(mh_region *region) {
  atomic_fetch_add_explicit(&region->gives, 1, memory_order_relaxed);
}

/* The first segment from `segment` on that is one of the arena's; NONE: there is none. */
#define NONE UINT64_MAX

static uint64_t skip(const mh_region *region, uint32_t row, uint64_t segment) {
  const mh_range *range = &region->ranges[row];
  uint32_t other;
  if (row != 0) {
    if (segment < range->first) segment = range->first;
    return segment < range->end ? segment : NONE;
  }
  while ((other = mh_map_arena_of(region, segment)) != 0) segment = region->ranges[other].end;
  return segment;
}

/* ---- which arenas a heap uses: its own one, or the shared ones: reserved space first ---- */

static uint32_t next_row(const mh_region *region, uint32_t row) {
  while (++row < region->arena_rows)
    if (region->ranges[row].end != 0 && !region->ranges[row].exclusive) return row;
  return 0;
}
static uint32_t first_row(const mh_region *region, uint32_t only) {
  return only != 0 ? only - 1 : next_row(region, 0);
}
/* The next to try after `row`; false: that was the last. */
static bool another_row(const mh_region *region, uint32_t only, uint32_t *row) {
  if (only != 0 || *row == 0) return false;
  *row = next_row(region, *row);
  return true;
}

/* Of `slices` slices of a segment that is not opened, those up to the end of the last run. */
static uint32_t stored_slices(const mh_region *region, uint64_t segment, uint32_t slices) {
  const mh_segment_header *header = mh_segment_header_of(region, segment);
  uint32_t last = slices, count;
  if (header->magic != MH_SEGMENT_MAGIC || header->index != segment) return slices;
  while (last > 1 && header->slice[last - 2].head == 0) last--;
  if (last == 1) return 1;
  count = mh_run_head_of(header->slice[last - 2].head).count;
  return count > 0 && last - 1 + count < slices ? last - 1 + count : slices;
}

/* Bytes up to the last used slice of a segment of slices. */
static uint64_t used_end(const mh_region *region, uint64_t segment) {
  const mh_segment *state = mh_segment_of(region, segment);
  uint64_t end = mh_least(mh_region_size(region), segment_end(segment));
  uint32_t slices = (uint32_t)((end - mh_segment_offset(segment)) / MH_SLICE);
  if (state->kind != MH_RUN_HEADER) slices = stored_slices(region, segment, slices);
  else
    while (slices > 1 && state->free >> (slices - 1) & 1) slices--;
  return mh_segment_offset(segment) + slices * MH_SLICE;
}

/* ---- opening ---- */

/* A slice that was meant for the segment map when its writer was killed. */
static bool internal_is_used(mh_region *region, uint64_t offset) {
  uint64_t directory = region->super->map_directory;
  if (directory == offset) return true;
  if (directory == 0 || !mh_in_region(region, directory, MH_SLICE)) return false;
  const uint64_t *parts = mh_at(region, directory);
  for (uint32_t i = 1; i < MH_MAP_PART_WORDS; i++)
    if (parts[i] == offset) return true;
  return false;
}

static void free_orphans(mh_region *region, uint64_t segment) {
  mh_slab *entries = (mh_slab *)mh_segment_of(region, segment);
  for (uint32_t i = 1; i < MH_SEGMENT_SLICES; i++)
    if (entries[i].kind == MH_RUN_INTERNAL &&
        !internal_is_used(region, mh_offset(region, mh_slab_start(region, &entries[i]))))
      mh_run_free(region, &entries[i]);
}

mheap_err mh_arena_open(mh_region *region, uint64_t segment, mheap_error *error) {
  mh_map_entry entry;
  if (mh_segment_of(region, segment)->kind == MH_RUN_HEADER) return MHEAP_OK;
  mheap_err code = mh_map_get(region, segment, &entry, error);
  if (code || entry.kind != MH_MAP_SLICES) return code;
  code = mh_segment_open(region, segment, error);
  if (code) return code;
  if (mh_region_writable(region)) free_orphans(region, segment);
  note_free(region, segment);
  return MHEAP_OK;
}

static bool worth_opening(const mh_region *region, const mh_map_entry *entry) {
  bool believed = entry->epoch == (uint32_t)region->epoch;
  uint32_t nothing = MH_MAP_HINT_NO_SLICE | MH_MAP_HINT_NO_BLOCK;
  return entry->kind == MH_MAP_SLICES && !(believed && (entry->hint & nothing) == nothing);
}

/* A segment that is opened by the way is not worth a share of the budget. */
static bool open_worthy(mh_region *region, uint64_t segment) {
  mh_map_entry entry;
  if (mh_segment_of(region, segment)->kind == MH_RUN_HEADER) return false;
  if (mh_map_get(region, segment, &entry, NULL) != MHEAP_OK || !worth_opening(region, &entry)) return false;
  return mh_arena_open(region, segment, NULL) == MHEAP_OK; /* check tells; here it has no room */
}

static bool open_some(mh_region *region, uint32_t row) {
  mh_arena *arena = &region->arenas[row];
  uint64_t count = mh_map_segments(region), segment = skip(region, row, arena->unseen);
  uint32_t budget = OPEN_AT_ONCE;
  for (; segment < count && budget > 0; segment = skip(region, row, segment + 1))
    if (open_worthy(region, segment)) budget--;
  arena->unseen = mh_least(segment, count);
  return budget < OPEN_AT_ONCE;
}

bool mh_arena_open_some(mh_region *region, uint32_t only) {
  uint32_t row = first_row(region, only);
  do
    if (open_some(region, row)) return true;
  while (another_row(region, only, &row));
  return false;
}

/* As stored: mh_map_get does not tell the huge spans of a heap that is gone. */
static void see_huge(mh_region *region, uint64_t segment) {
  const uint64_t *word = mh_map_word(region, segment, NULL);
  mh_map_fields fields = mh_map_fields_of(word != NULL ? mh_read(word) : 0);
  if (fields.kind == MH_MAP_HUGE && fields.heap < MH_HEAPS) mh_region_touch(region, fields.heap, segment);
}

void mh_arena_open_all(mh_region *region) {
  if (region->all_open) return;
  uint64_t count = mh_map_segments(region);
  for (uint64_t segment = 0; segment < count; segment++) {
    mh_arena_open(region, segment, NULL);
    see_huge(region, segment);
  }
  region->all_open = true;
}

/* ---- disk space ---- */

/* The first `at_once` of them are brought in too. */
static mheap_err back_slices(mh_region *region, uint64_t segment, uint32_t first, uint32_t count,
                             uint32_t at_once, mheap_error *error) {
  mh_segment *state = mh_segment_of(region, segment);
  uint64_t offset = mh_segment_offset(segment) + first * MH_SLICE;
  mheap_err code = mh_region_fill(region, offset, count * MH_SLICE, error);
  if (!code && at_once >= POPULATE_LEAST) mh_os_populate(mh_at(region, offset), at_once * MH_SLICE);
  if (!code) state->backed |= (count == 64 ? ~(uint64_t)0 : (((uint64_t)1 << count) - 1)) << first;
  return code;
}

/* How many free slices without disk space follow: they will be wanted next, in memory by who takes many. */
static uint32_t slices_ahead(const mh_region *region, const mh_segment *state, uint32_t first,
                             const mh_want *want) {
  uint64_t most = mh_least(AHEAD_SLICES, mh_region_size(region) / MH_SLICE / 32);
  uint32_t ahead = 0, behind = first + want->count;
  if (region->anonymous) most = want->at_once > want->count ? mh_least(most, want->at_once - want->count) : 0;
  while (ahead < most && behind + ahead < MH_SEGMENT_SLICES &&
         (state->free & ~state->backed) >> (behind + ahead) & 1)
    ahead++;
  return ahead;
}

/* Slabs get whole slices and some ahead; a span exactly its pages, so its tail costs no disk. */
static mheap_err back_run(mh_region *region, uint64_t segment, uint32_t first, const mh_want *want,
                          mheap_error *error) {
  mh_segment *state = mh_segment_of(region, segment);
  uint32_t count = want->count, pages = want->pages;
  uint64_t need = (count == 64 ? ~(uint64_t)0 : (((uint64_t)1 << count) - 1)) << first;
  if ((need & ~state->backed) == 0) return MHEAP_OK;
  if (pages == count * (MH_SLICE / MH_PAGE)) {
    uint32_t all = count + slices_ahead(region, state, first, want);
    uint32_t at_once = (uint32_t)mh_least(want->at_once, all);
    if (all > count && back_slices(region, segment, first, all, at_once, NULL) == MHEAP_OK) return MHEAP_OK;
    return back_slices(region, segment, first, count, (uint32_t)mh_least(at_once, count), error);
  }
  uint64_t offset = mh_segment_offset(segment) + first * MH_SLICE, page = mh_host_pages() * MH_PAGE;
  uint64_t bytes = ((uint64_t)pages * MH_PAGE + page - 1) / page * page;
  return mh_region_fill(region, offset, bytes, error);
}

/* ---- the map's own space ---- */

static mh_slab *take_internal(mh_region *region, mheap_error *error);

/* Takes a zeroed slice and stores its offset in *link. */
static mheap_err link_internal(mh_region *region, uint64_t *link, mheap_error *error) {
  mh_slab *run = take_internal(region, error);
  if (run == NULL) return error->code;
  char *start = mh_slab_start(region, run);
  memset(start, 0, MH_SLICE);
  mh_mark_slice(start);
  mh_publish(link, mh_offset(region, start));
  return MHEAP_OK;
}

/* The word of a segment that is about to be used. */
static mheap_err map_word_for(mh_region *region, uint64_t segment, uint64_t **word, mheap_error *error) {
  uint64_t part = (segment + MH_MAP_FIRST_WORDS) / MH_MAP_PART_WORDS;
  mheap_err code = MHEAP_OK;
  mh_error_clear(error);
  *word = mh_map_word(region, segment, error);
  if (*word != NULL || error->code) return error->code;
  if (region->super->map_directory == 0) code = link_internal(region, &region->super->map_directory, error);
  if (!code)
    code = link_internal(region, (uint64_t *)mh_at(region, region->super->map_directory) + part, error);
  if (!code) *word = mh_map_word(region, segment, error);
  return code;
}

/* The map has, if it can, a word for the segment behind the end, so that there is always a
   place for its next part. */
static void map_ahead(mh_region *region) {
  uint64_t *word;
  mheap_error ignored;
  map_word_for(region, mh_map_segments(region), &word, &ignored);
}

/* ---- warm segments: free ones whose pages stay, for the next huge span ---- */

/* In memory, where giving pages back and taking them again costs more than what a huge span is used
   for; as much as other allocators keep. */
#define WARM_MOST 8

/* Takes what is free, or behind the end, out of the warm ones. Was any of it? */
static bool cool(mh_region *region, uint64_t first, uint64_t count) {
  bool any = false;
  for (uint64_t i = first; i < first + count && region->warm > 0; i++) {
    mh_segment *state = mh_segment_of(region, i);
    if (state->kind == MH_RUN_HEADER || state->dirty == 0) continue;
    state->dirty = 0;
    region->warm--;
    any = true;
  }
  return any;
}

static bool keep_warm(mh_region *region, uint64_t first, uint64_t count) {
  if (!mh_pages_are_zero(region) || region->warm + count > WARM_MOST) return false;
  for (uint64_t i = first; i < first + count; i++) mh_segment_of(region, i)->dirty = 1;
  region->warm += count;
  return true;
}

/* ---- growth ---- */

static uint64_t partial_segment(const mh_region *region) { return mh_map_segments(region) - 1; }

/* A little more at a time, so that a heap is never much larger than its content. */
static uint64_t growth_step(const mh_region *region) {
  uint64_t step = mh_region_size(region) / 64 / MH_SLICE * MH_SLICE;
  return step < MH_SLICE ? MH_SLICE : mh_least(step, MH_SEGMENT);
}

/* Grows the last segment while it is partial: slice by slice below 4 MiB, then in steps. */
static mheap_err grow_last(mh_region *region, uint32_t count, mheap_error *error) {
  uint64_t old = mh_region_size(region), last = partial_segment(region);
  uint64_t have = old - used_end(region, last), want = count * MH_SLICE;
  uint64_t step = want > have ? want - have : MH_SLICE; /* where alignment made the free tail useless */
  if (last > 0 && step < growth_step(region)) step = growth_step(region);
  uint64_t size = mh_least(old + step, segment_end(last));
  mheap_err code = mh_region_grow(region, mh_least(size, region->span), error);
  if (code) return code;
  mh_segment_extend(region, old);
  note_free(region, last);
  return MHEAP_OK;
}

/* Makes segment `segment`, whose bytes are in the region, one of slices. */
static mheap_err make_slices(mh_region *region, uint64_t segment, mheap_error *error) {
  uint64_t *word;
  mheap_err code = map_word_for(region, segment, &word, error);
  if (!code) code = mh_region_back(region, mh_segment_offset(segment), MH_SLICE, error);
  if (code) return code;
  bool warm = cool(region, segment, 1);
  mh_segment_format(region, segment);
  mh_publish(word, mh_map_slices(mh_map_arena_of(region, segment), (uint32_t)region->epoch, 0));
  code = mh_segment_open(region, segment, error);
  if (code) return code;
  mh_segment_of(region, segment)->dirty = warm ? ~(uint64_t)0 : 0;
  note_free(region, segment);
  map_ahead(region);
  return MHEAP_OK;
}

static bool is_free(mh_region *region, uint64_t segment) {
  mh_map_entry entry;
  return mh_map_get(region, segment, &entry, NULL) == MHEAP_OK && entry.kind == MH_MAP_FREE;
}

/* The arena's first segment that is FREE or, at last, behind the region's end. NONE: it is full. */
static uint64_t first_free(mh_region *region, uint32_t row) {
  mh_arena *arena = &region->arenas[row];
  uint64_t count = mh_map_segments(region);
  uint64_t segment = skip(region, row, mh_least(arena->free_from, count)); /* the region may have shrunk */
  while (segment < count && !is_free(region, segment)) segment = skip(region, row, segment + 1);
  arena->free_from = segment;
  return segment;
}

static mheap_err arena_full(const mh_region *region, uint32_t row, mheap_error *error) {
  const mh_range *range = &region->ranges[row];
  return mh_fail(
      error, MHEAP_ERR_FULL,
      "%s: arena %d is full: its %llu bytes are in use, or free in pieces that are too small; free "
      "something in it, or let it grow",
      region->path, range->id, (unsigned long long)((range->end - range->first) * MH_SEGMENT));
}

mheap_err mh_arena_extend(mh_region *region, uint64_t size, mheap_error *error) {
  uint64_t old = mh_region_size(region), last = partial_segment(region);
  if (size <= old) return MHEAP_OK;
  mheap_err code = mh_region_grow(region, size, error);
  if (code) return code;
  mh_segment_extend(region, old);
  note_free(region, last);
  for (uint32_t row = 0; row < region->arena_rows; row++)
    region->arenas[row].free_from = mh_least(region->arenas[row].free_from, last + 1);
  return MHEAP_OK;
}

/* Behind the end, the region grows up to there; what other arenas have in between stays free. */
static mheap_err grow_to(mh_region *region, uint64_t segment, mheap_error *error) {
  uint64_t least = mh_segment_offset(segment) + MH_SLICE;
  uint64_t size = mh_least(least + growth_step(region), segment_end(segment));
  if (size > region->span && least < region->span) size = region->span;
  return mh_arena_extend(region, size, error);
}

/* One more segment of slices: a free one, or behind the end. */
static mheap_err add_segment(mh_region *region, uint32_t row, mheap_error *error) {
  uint64_t segment = first_free(region, row);
  if (segment == NONE) return arena_full(region, row, error);
  mheap_err code = segment >= mh_map_segments(region) ? grow_to(region, segment, error) : MHEAP_OK;
  return code ? code : make_slices(region, segment, error);
}

/* ---- runs ---- */

/* The lowest place for a run among the opened segments. */
static bool find_run(mh_region *region, uint32_t row, uint32_t count, uint64_t alignment, uint64_t *segment,
                     uint32_t *first) {
  mh_arena *arena = &region->arenas[row];
  uint64_t segments = mh_map_segments(region);
  for (*segment = skip(region, row, arena->start[count]); *segment < segments;
       *segment = skip(region, row, *segment + 1)) {
    *first = mh_segment_find(region, *segment, count, alignment);
    if (*first != 0) break;
  }
  if (alignment <= MH_SLICE) arena->start[count] = mh_least(*segment, segments);
  return *segment < segments;
}

bool mh_arena_fits(const mh_region *region, uint32_t count, uint64_t alignment) {
  uint64_t start = (uint64_t)region->segments;
  for (uint32_t i = 1; i + count <= MH_SEGMENT_SLICES && alignment <= MH_SEGMENT; i++)
    if (((start + i * MH_SLICE) & (alignment - 1)) == 0) return true;
  return false;
}

/* More space for a run of `count`: what is cheapest first. */
static mheap_err more_space(mh_region *region, uint32_t row, uint32_t count, mheap_error *error) {
  if (open_some(region, row)) return MHEAP_OK;
  uint64_t end = mh_region_size(region), last = partial_segment(region);
  bool open = mh_segment_of(region, last)->kind == MH_RUN_HEADER && mh_map_arena_of(region, last) == row;
  if (open && end < segment_end(last) && end < region->span) return grow_last(region, count, error);
  return add_segment(region, row, error);
}

static mh_slab *take_in(mh_region *region, uint32_t row, const mh_want *want, mheap_error *error) {
  uint64_t segment;
  uint32_t first;
  while (!find_run(region, row, want->count, want->alignment, &segment, &first))
    if (more_space(region, row, want->count, error) != MHEAP_OK) return NULL;
  if (back_run(region, segment, first, want, error) != MHEAP_OK) return NULL;
  if (region->arenas[row].spare == segment) region->arenas[row].spare = 0;
  return mh_run_make(region, segment, first, want->head);
}

mh_slab *mh_arena_take(mh_region *region, uint32_t only, const mh_want *want, mheap_error *error) {
  uint32_t row = first_row(region, only);
  mheap_error full; /* of an arena that is not the last to be asked */
  for (;;) {
    bool last = only != 0 || row == 0;
    mh_slab *run = take_in(region, row, want, last ? error : &full);
    if (run != NULL || !another_row(region, only, &row)) return run;
  }
}

/* Space for the map itself: a new segment only where the map has a word for it already. */
static mheap_err internal_space(mh_region *region, mheap_error *error) {
  if (open_some(region, 0)) return MHEAP_OK;
  if (mh_map_word(region, first_free(region, 0), NULL) != NULL) return add_segment(region, 0, error);
  return mh_fail(error, MHEAP_ERR_FULL, "%s: full: no slice left for the segment map; free something first",
                 region->path);
}

static mh_slab *take_internal(mh_region *region, mheap_error *error) {
  const mh_want want = {
      .count = 1, .pages = MH_SLICE / MH_PAGE, .alignment = MH_SLICE, .head = mh_head_internal(1)};
  uint64_t segment;
  uint32_t first;
  while (!find_run(region, 0, 1, MH_SLICE, &segment, &first))
    if (internal_space(region, error) != MHEAP_OK) return NULL;
  return take_in(region, 0, &want, error);
}

/* ---- giving back ---- */

static uint64_t slices_in(const mh_region *region, uint64_t segment) {
  return (mh_least(mh_region_size(region), segment_end(segment)) - mh_segment_offset(segment)) / MH_SLICE;
}

static bool is_wholly_free(const mh_region *region, uint64_t segment) {
  const mh_segment *state = mh_segment_of(region, segment);
  uint64_t free = (uint64_t)__builtin_popcountll(state->free);
  return state->kind == MH_RUN_HEADER && free == slices_in(region, segment) - 1;
}

/* A wholly free segment of slices becomes FREE. A file keeps its pages until the tail is cut
   or the user forces a collection: punching each at once tripled the cost of freeing. */
static void release_segment(mh_region *region, uint64_t segment) {
  mh_arena *arena = arena_of(region, segment);
  if (arena->spare == segment) arena->spare = 0;
  uint64_t *word = mh_map_word(region, segment, NULL);
  mh_segment_forget(region, segment);
  mh_publish(word, 0);
  arena->free_from = mh_least(arena->free_from, segment);
  if (region->anonymous) mh_region_punch(region, mh_segment_offset(segment), MH_SEGMENT);
}

static bool tail_is_worth_it(mh_region *region, uint64_t segment) {
  uint64_t size = mh_region_size(region);
  return segment == partial_segment(region) && size - mh_segment_offset(segment) > TRIM_LEAST && segment > 0;
}

/* Pages of slices that are free from now on, in a heap that keeps none. */
static void give_pages(mh_region *region, uint64_t index, uint32_t count) {
  uint64_t segment = index / MH_SEGMENT_SLICES;
  uint32_t first = index % MH_SEGMENT_SLICES;
  mh_region_punch(region, mh_segment_offset(segment) + first * MH_SLICE, count * MH_SLICE);
  mh_segment_of(region, segment)->backed &= ~((((uint64_t)1 << count) - 1) << first);
}

void mh_arena_give(mh_region *region, mh_slab *run) {
  uint64_t index = mh_slab_index(region, run), segment = index / MH_SEGMENT_SLICES;
  mh_arena *arena = arena_of(region, segment);
  uint32_t count = run->slices, heap = run->heap;
  mh_run_free(region, run);
  note_given(region);
  if (region->thrifty[heap]) give_pages(region, index, count);
  note_free(region, segment);
  if (segment == 0 || !is_wholly_free(region, segment)) return;
  if (arena->spare != 0 && arena->spare != segment) release_segment(region, arena->spare);
  arena->spare = segment;
  if (tail_is_worth_it(region, segment) && segment >= 4) mh_arena_trim(region, false);
}

bool mh_arena_resize(mh_region *region, mh_slab *run, uint32_t count, uint32_t pages, uint64_t head) {
  uint64_t index = mh_slab_index(region, run), segment = index / MH_SEGMENT_SLICES;
  uint32_t first = index % MH_SEGMENT_SLICES, old = run->slices;
  mh_segment *state = mh_segment_of(region, segment);
  if (first + count > MH_SEGMENT_SLICES) return false;
  for (uint32_t i = old; i < count; i++)
    if (!(state->free >> (first + i) & 1)) return false;
  const mh_want want = {.count = count, .pages = pages, .at_once = count};
  if (back_run(region, segment, first, &want, NULL) != MHEAP_OK) return false;
  mh_run_resize(region, run, count, head);
  if (count >= old) return true;
  note_given(region);
  note_free(region, segment);
  if (region->thrifty[run->heap]) give_pages(region, index + count, old - count);
  return true;
}

/* ---- whole segments ---- */

static bool is_aligned(const mh_region *region, uint64_t segment, uint64_t alignment) {
  return ((uint64_t)(region->segments + segment * MH_SEGMENT) & (alignment - 1)) == 0;
}

/* A region at a base that its owner chose may have its segments anywhere. */
static bool segments_can_align(const mh_region *region, uint64_t alignment) {
  return ((uint64_t)region->segments & (mh_least(alignment, MH_SEGMENT) - 1)) == 0;
}

/* How many segments of the arena from `first` on are FREE, at most `count`; those behind the
   region's end count. */
static uint64_t free_run(mh_region *region, uint32_t row, uint64_t first, uint64_t count) {
  uint64_t segments = mh_map_segments(region), n = 0;
  while (n < count && skip(region, row, first + n) == first + n &&
         (first + n >= segments || is_free(region, first + n)))
    n++;
  return n;
}

bool mh_arena_extend_segments(mh_region *region, uint64_t head, uint64_t first, uint64_t count,
                              mheap_error *error) {
  uint32_t row = mh_map_arena_of(region, head);
  if (free_run(region, row, first, count) < count) return false;
  uint64_t *word;
  if (mh_arena_extend(region, mh_segment_offset(first + count), error) != MHEAP_OK) return false;
  for (uint64_t i = 0; i < count; i++)
    if (map_word_for(region, first + i, &word, error) != MHEAP_OK) return false;
  map_ahead(region);
  if (free_run(region, row, first, count) < count) return false; /* the map itself may have taken one */
  mh_segment_of(region, first)->dirty = cool(region, first, count);
  return true;
}

/* The arena's lowest `count` segments in a row that are free or behind the end. */
static uint64_t free_place(mh_region *region, uint32_t row, uint64_t count, uint64_t alignment) {
  uint64_t segment = first_free(region, row), n;
  while (segment != NONE) {
    if (!is_aligned(region, segment, alignment)) n = 0;
    else if ((n = free_run(region, row, segment, count)) == count) return segment;
    segment = skip(region, row, segment + n + 1);
  }
  return NONE;
}

static mheap_err take_segments_in(mh_region *region, uint32_t row, uint64_t count, uint64_t alignment,
                                  uint64_t *first, mheap_error *error) {
  if (region->arenas[row].spare != 0) release_segment(region, region->arenas[row].spare);
  mh_error_clear(error);
  do {
    *first = free_place(region, row, count, alignment);
    if (*first == NONE) return arena_full(region, row, error);
    if (mh_arena_extend_segments(region, *first, *first, count, error)) return MHEAP_OK;
  } while (error->code == MHEAP_OK);
  mh_arena_trim(region, false);
  return error->code;
}

mheap_err mh_arena_take_segments(mh_region *region, uint32_t only, uint64_t count, uint64_t alignment,
                                 uint64_t *first, mheap_error *error) {
  uint32_t row = first_row(region, only);
  mheap_err code;
  if (!segments_can_align(region, alignment))
    return mh_fail(error, MHEAP_ERR_ARGUMENT,
                   "%s: no segment can have the alignment %llu at this base address", region->path,
                   (unsigned long long)alignment);
  do code = take_segments_in(region, row, count, alignment, first, error);
  while (code && another_row(region, only, &row));
  if (!code) mh_error_clear(error);
  return code;
}

void mh_arena_give_segments(mh_region *region, uint64_t first, uint64_t count) {
  note_given(region);
  mh_arena *arena = arena_of(region, first);
  arena->free_from = mh_least(arena->free_from, first);
  for (uint64_t i = first; i < first + count; i++) mh_segment_of(region, i)->dirty = 0;
  if (keep_warm(region, first, count)) return;
  if (first + count >= mh_map_segments(region)) mh_arena_trim(region, false);
  else mh_region_punch(region, mh_segment_offset(first), count * MH_SEGMENT);
}

/* ---- trimming ---- */

static bool is_slices(mh_region *region, uint64_t segment) {
  mh_map_entry entry;
  if (mh_segment_of(region, segment)->kind == MH_RUN_HEADER) return true;
  return mh_map_get(region, segment, &entry, NULL) == MHEAP_OK && entry.kind == MH_MAP_SLICES;
}

/* Drops the free slices behind `size` from what is known, then the bytes. */
static void cut(mh_region *region, uint64_t size) {
  uint64_t last = (size - MH_SLICE - 1) / MH_SEGMENT;
  mh_segment *state = mh_segment_of(region, last);
  uint32_t slices = (uint32_t)((size - mh_segment_offset(last)) / MH_SLICE);
  uint64_t old = mh_region_size(region);
  cool(region, last + 1, (old - MH_SLICE - 1) / MH_SEGMENT - last);
  mh_region_shrink(region, size);
  if (mh_region_size(region) != size && region->anonymous) mh_region_punch(region, size, old - size);
  if (mh_region_size(region) != size || state->kind != MH_RUN_HEADER || slices >= MH_SEGMENT_SLICES) return;
  uint64_t kept = ((uint64_t)1 << slices) - 1;
  state->free &= kept;
  state->backed &= kept;
  state->dirty &= kept;
}

/* What was committed when it was reserved stays. */
static bool is_committed(const mh_region *region, uint64_t segment) {
  return region->ranges[mh_map_arena_of(region, segment)].committed;
}

static void trim_spares(mh_region *region) {
  for (uint32_t row = 0; row < region->arena_rows; row++)
    if (region->arenas[row].spare != 0) release_segment(region, region->arenas[row].spare);
}

/* Of a segment that is free because a heap was destroyed, though its word names it still: nobody who
   settles that heap's row looks behind the region's end. */
static void forget_word(mh_region *region, uint64_t segment) {
  uint64_t *word = mh_map_word(region, segment, NULL);
  if (word != NULL && mh_read(word) != 0) mh_publish(word, 0);
}

void mh_arena_trim(mh_region *region, bool force) {
  uint64_t segment = mh_map_segments(region), size = mh_region_size(region);
  while (segment-- > 0 && !is_committed(region, segment)) {
    mh_arena *arena = arena_of(region, segment);
    bool slices = is_slices(region, segment);
    uint64_t end = slices ? used_end(region, segment) : 0;
    if (segment > 0 && end == mh_segment_offset(segment) + MH_SLICE) {
      if (arena->spare == segment) arena->spare = 0;
      mh_segment_forget(region, segment);
      mh_publish(mh_map_word(region, segment, NULL), 0);
    } else if (slices || !is_free(region, segment)) {
      if (slices) size = end;
      break;
    }
    forget_word(region, segment);
    size = mh_segment_offset(segment);
  }
  uint64_t least = mh_segment_offset(0) + MH_SLICE; /* a file may say that segment 0 is free */
  if (size < least) size = least;
  if (size < mh_region_size(region)) cut(region, size);
  if (force) trim_spares(region);
}

/* ---- punching ---- */

static void punch_slices(mh_region *region, uint64_t segment) {
  mh_segment *state = mh_segment_of(region, segment);
  for (uint32_t i = 1; i < MH_SEGMENT_SLICES;) {
    uint32_t n = 0;
    while (i + n < MH_SEGMENT_SLICES && state->free >> (i + n) & 1) n++;
    if (n > 0) mh_region_punch(region, mh_segment_offset(segment) + i * MH_SLICE, n * MH_SLICE);
    i += n + 1;
  }
  state->backed &= ~state->free;
  state->dirty &= ~state->free;
}

/* Free segments in a row are one hole. */
void mh_arena_punch(mh_region *region) {
  uint64_t count = mh_map_segments(region), free = 0;
  for (uint64_t segment = 0; segment <= count; segment++) {
    bool loose = segment < count && !is_committed(region, segment);
    bool slices = loose && mh_segment_of(region, segment)->kind == MH_RUN_HEADER;
    if (loose && !slices && is_free(region, segment)) {
      cool(region, segment, 1);
      free++;
      continue;
    }
    if (free > 0) mh_region_punch(region, mh_segment_offset(segment - free), free * MH_SEGMENT);
    if (slices) punch_slices(region, segment);
    free = 0;
  }
}

/* ---- reserving ---- */

mheap_err mh_arena_map_words(mh_region *region, uint64_t first, uint64_t count, mheap_error *error) {
  uint64_t part = (first + MH_MAP_FIRST_WORDS) / MH_MAP_PART_WORDS,
           last = (first + count + MH_MAP_FIRST_WORDS) / MH_MAP_PART_WORDS, *word;
  mheap_err code = MHEAP_OK;
  for (; part <= last && !code; part++) {
    uint64_t segment = part == 0 ? 0 : part * MH_MAP_PART_WORDS - MH_MAP_FIRST_WORDS;
    code = map_word_for(region, segment, &word, error);
  }
  return code;
}

uint64_t mh_arena_place(mh_region *region, uint64_t count) { return free_place(region, 0, count, 1); }

uint64_t mh_arena_used(mh_region *region, uint32_t row) {
  uint64_t segments = mh_map_segments(region), used = 0;
  for (uint64_t segment = skip(region, row, 0); segment < segments;
       segment = skip(region, row, segment + 1)) {
    const mh_segment *state = mh_segment_of(region, segment);
    if (mh_arena_open(region, segment, NULL) == MHEAP_OK && state->kind == MH_RUN_HEADER)
      used += slices_in(region, segment) * MH_SLICE - (uint64_t)__builtin_popcountll(state->free) * MH_SLICE;
    else if (!is_free(region, segment)) used += MH_SEGMENT;
  }
  return used;
}

bool mh_arena_empty(mh_region *region, uint32_t row) {
  const mh_range *range = &region->ranges[row];
  uint64_t segments = mh_map_segments(region);
  for (uint64_t segment = range->first; segment < range->end && segment < segments; segment++) {
    mh_arena_open(region, segment, NULL);
    if (is_wholly_free(region, segment)) release_segment(region, segment);
    else if (!is_free(region, segment)) return false;
  }
  return true;
}

bool mh_arena_is_unused(mh_region *region, uint64_t first, uint64_t end) {
  return free_run(region, 0, first, end - first) == end - first;
}
