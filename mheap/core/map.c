/* map.c: see map.h. */
#include "map.h"

#include <inttypes.h>

#include "decode.h"

uint64_t mh_map_segments(const mh_region *region) {
  return (mh_region_size(region) - MH_SLICE + MH_SEGMENT - 1) / MH_SEGMENT;
}

uint64_t mh_map_slices(uint32_t arena, uint32_t epoch, uint32_t hint) {
  return MH_MAP_SLICES | (uint64_t)arena << MH_MAP_ARENA_SHIFT | (uint64_t)hint << MH_MAP_HINT_SHIFT |
         (uint64_t)epoch << MH_MAP_EPOCH_SHIFT;
}

uint64_t mh_map_huge(uint32_t arena, uint32_t heap, uint32_t pages, uint64_t count) {
  return MH_MAP_HUGE | (uint64_t)arena << MH_MAP_ARENA_SHIFT | (uint64_t)heap << MH_MAP_HEAP_SHIFT |
         (uint64_t)(pages - 1) << MH_MAP_PAGES_SHIFT | count << MH_MAP_COUNT_SHIFT;
}

uint64_t mh_map_body(uint64_t back) { return MH_MAP_BODY | back << MH_MAP_COUNT_SHIFT; }

/* ---- finding a word ---- */

static mheap_err bad_part(mh_region *region, uint64_t at, uint64_t found, mheap_error *error) {
  return mh_fail_corrupt(error, region->path, at, "place of a part of the segment map", 0, found);
}

/* The part is named by the directory slice; both places come from the file. */
static mheap_err find_part(mh_region *region, uint64_t part, mheap_error *error) {
  uint64_t directory = mh_read(&region->super->map_directory);
  if (directory == 0) return MHEAP_OK;
  if (directory % MH_SLICE != 0 || !mh_in_region(region, directory, MH_SLICE))
    return bad_part(region, offsetof(mh_superblock, map_directory), directory, error);
  uint64_t offset = mh_read((uint64_t *)mh_at(region, directory) + part);
  if (offset == 0) return MHEAP_OK;
  if (offset % MH_SLICE != 0 || !mh_in_region(region, offset, MH_SLICE))
    return bad_part(region, directory + 8 * part, offset, error);
  region->map_parts[part] = mh_at(region, offset);
  return MHEAP_OK;
}

uint64_t *mh_map_word(mh_region *region, uint64_t segment, mheap_error *error) {
  uint64_t index = segment + MH_MAP_FIRST_WORDS, part = index / MH_MAP_PART_WORDS;
  if (part >= region->map_parts_room) return NULL;
  if (region->map_parts[part] == NULL && find_part(region, part, error) != MHEAP_OK) return NULL;
  uint64_t *words = region->map_parts[part];
  return words == NULL ? NULL : &words[index % MH_MAP_PART_WORDS];
}

uint64_t mh_map_word_offset(mh_region *region, uint64_t segment) {
  const uint64_t *word = mh_map_word(region, segment, NULL);
  return word == NULL ? 0 : mh_offset(region, word);
}

/* ---- believing a word ---- */

static mh_map_entry take_apart(uint64_t word, uint64_t segment) {
  mh_map_fields f = mh_map_fields_of(word);
  return (mh_map_entry){
      .kind = (mh_map_kind)f.kind,
      .head = segment,
      .count = f.count,
      .pages = f.pages,
      .heap = f.heap,
      .arena = f.arena,
      .hint = f.hint,
      .epoch = f.epoch,
  };
}

/* Does each of these segments have a word? A file may lack the part of the map. */
static bool have_words(mh_region *region, uint64_t first, uint64_t count) {
  for (uint64_t segment = first; segment < first + count;) {
    if (mh_map_word(region, segment, NULL) == NULL) return false;
    uint64_t part = (segment + MH_MAP_FIRST_WORDS) / MH_MAP_PART_WORDS;
    segment = (part + 1) * MH_MAP_PART_WORDS - MH_MAP_FIRST_WORDS;
  }
  return true;
}

/* A huge span as its heap's row has it: see mh_head_settled in segment.c. One that is free may have lost
   its bodies already. */
static mh_map_entry settled(const mh_region *region, mh_map_entry entry) {
  uint64_t gone = entry.heap < MH_HEAPS ? mh_heap_row_gone(region, entry.heap) : 0;
  if (gone == MH_HEAP_DESTROYED) return (mh_map_entry){.kind = MH_MAP_FREE, .head = entry.head, .count = 1};
  if (gone == MH_HEAP_DELETED) entry.heap = 0;
  return entry;
}

static bool is_in_arena(const mh_region *region, uint64_t segment, uint32_t arena) {
  return mh_map_arena_of(region, segment) == arena;
}

bool mh_map_reaches(mh_region *region, uint64_t first, uint64_t count) {
  uint64_t segments = mh_map_segments(region);
  return first < segments && count <= segments - first && have_words(region, first, count);
}

static bool huge_is_valid(mh_region *region, const mh_map_entry *e) {
  uint64_t segments = mh_map_segments(region);
  if (e->count == 0 || e->count > segments - e->head || e->heap >= MH_HEAPS) return false;
  if (!is_in_arena(region, e->head, e->arena) || !is_in_arena(region, e->head + e->count - 1, e->arena))
    return false;
  return mh_in_region(region, mh_segment_offset(e->head), mh_map_huge_bytes(e)) &&
         have_words(region, e->head, e->count);
}

/* A body means what its head says; without one it is free (its writer was killed). */
static mheap_err resolve_body(mh_region *region, uint64_t segment, uint64_t back, mh_map_entry *entry,
                              mheap_error *error) {
  *entry = (mh_map_entry){.kind = MH_MAP_FREE, .head = segment, .count = 1};
  if (back == 0 || back > segment) return MHEAP_OK;
  const uint64_t *word = mh_map_word(region, segment - back, error);
  if (word == NULL) return MHEAP_OK;
  mh_map_entry head = take_apart(mh_read(word), segment - back);
  if (head.kind == MH_MAP_HUGE) head = settled(region, head);
  if (head.kind != MH_MAP_HUGE || !huge_is_valid(region, &head) || head.count <= back) return MHEAP_OK;
  *entry = head;
  entry->kind = MH_MAP_BODY;
  return MHEAP_OK;
}

mheap_err mh_map_get(mh_region *region, uint64_t segment, mh_map_entry *entry, mheap_error *error) {
  mheap_error local;
  mh_error_clear(&local);
  const uint64_t *at = mh_map_word(region, segment, &local);
  *entry = (mh_map_entry){.kind = MH_MAP_FREE, .head = segment, .count = 1};
  if (at == NULL) {
    if (local.code != MHEAP_OK && error != NULL) *error = local;
    return local.code;
  }
  uint64_t word = mh_read(at);
  if (word == 0) return MHEAP_OK;
  mh_map_entry found = take_apart(word, segment);
  bool valid = found.kind != MH_MAP_FREE;
  if (found.kind == MH_MAP_HUGE) found = settled(region, found);
  if (found.kind == MH_MAP_HUGE) valid = huge_is_valid(region, &found);
  if (found.kind == MH_MAP_SLICES) valid = is_in_arena(region, segment, found.arena);
  if (!valid)
    return mh_fail_corrupt(error, region->path, mh_offset(region, at), "word of the segment map", 0, word);
  if (found.kind == MH_MAP_BODY) return resolve_body(region, segment, found.count, entry, error);
  if (found.kind == MH_MAP_SLICES) found.count = 1;
  *entry = found;
  return MHEAP_OK;
}
