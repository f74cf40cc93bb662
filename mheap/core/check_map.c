/* check_map.c: the segment map: its directory, its parts, its words. See check.h.

   Reads the stored words itself: the map layer's own view (map.h) may hold what it once
   looked up, and says only the first thing that is wrong. */
#include <inttypes.h>

#include "check.h"
#include "map.h"

/* ---- where the words are ---- */

static uint64_t directory_of(const mh_check *check) { return mh_read(&check->region->super->map_directory); }

static bool is_slice(const mh_check *check, uint64_t offset) {
  return offset >= 2 * MH_SLICE && offset % MH_SLICE == 0 && mh_check_at(check, offset, MH_SLICE) != NULL;
}

/* Offset of a part, 0 for one that does not exist or cannot be touched. */
static uint64_t part_of(mh_check *check, uint64_t part) {
  uint64_t directory = directory_of(check);
  if (part >= MH_MAP_PART_WORDS || !is_slice(check, directory)) return 0;
  uint64_t offset = mh_read((const uint64_t *)mh_at(check->region, directory) + part);
  return is_slice(check, offset) ? offset : 0;
}

bool mh_check_word(mh_check *check, uint64_t segment, uint64_t *word, uint64_t *offset) {
  uint64_t index = segment + MH_MAP_FIRST_WORDS, part = index / MH_MAP_PART_WORDS;
  uint64_t start = part == 0 ? 0 : part_of(check, part);
  *word = *offset = 0;
  if (part != 0 && start == 0) return false;
  *offset = start + 8 * (index % MH_MAP_PART_WORDS);
  *word = mh_read(mh_at(check->region, *offset));
  return true;
}

bool mh_check_is_map(mh_check *check, uint64_t offset) {
  uint64_t directory = directory_of(check);
  if (offset == directory) return true;
  for (uint64_t part = 1; directory != 0 && part < MH_MAP_PART_WORDS; part++)
    if (part_of(check, part) == offset) return true;
  return false;
}

/* ---- the directory ---- */

static void check_place(mh_check *check, uint64_t at, uint64_t offset, const char *what) {
  if (!is_slice(check, offset)) {
    mh_check_found(check, 1, at, "map", "%s: expected a slice of the region, found 0x%" PRIx64, what, offset);
    return;
  }
  const mh_slice *slice = mh_check_slice(check, offset);
  mh_run_head head = mh_run_head_of(slice != NULL ? mh_read(&slice->head) : 0);
  if (head.kind != MH_SLICE_INTERNAL || head.count != 1)
    mh_check_found(check, 1, at, "map",
                   "%s: expected a slice marked as internal, found 0x%" PRIx64 " of kind %u", what, offset,
                   head.kind);
}

static bool is_repeated(const uint64_t *parts, uint64_t part) {
  for (uint64_t other = 1; other < part; other++)
    if (parts[other] == parts[part]) return true;
  return false;
}

void mh_check_directory(mh_check *check, uint64_t unused) {
  (void)unused;
  uint64_t directory = directory_of(check);
  if (directory == 0) return;
  check_place(check, offsetof(mh_superblock, map_directory), directory, "the map's directory");
  if (!is_slice(check, directory)) return;
  const uint64_t *parts = mh_at(check->region, directory);
  mh_check_zero(check, "map", parts, 8);
  for (uint64_t part = 1; part < MH_MAP_PART_WORDS; part++) {
    uint64_t offset = mh_read(&parts[part]), at = directory + 8 * part;
    if (offset == 0) continue;
    check_place(check, at, offset, "a part of the map");
    if (offset == directory || is_repeated(parts, part))
      mh_check_found(check, 1, at, "map",
                     "part %" PRIu64 ": expected a slice of its own, found 0x%" PRIx64 " again", part,
                     offset);
  }
}

/* ---- words ---- */

static uint64_t count_of(uint64_t word) { return mh_map_fields_of(word).count; }
static uint64_t kind_of(uint64_t word) { return mh_map_fields_of(word).kind; }

/* The bits of a word that have a meaning. */
static uint64_t known_bits(uint64_t kind) {
  const uint64_t low = ((uint64_t)1 << (MH_MAP_ARENA_SHIFT + MH_MAP_ARENA_BITS)) - 1;
  const uint64_t count = (((uint64_t)1 << MH_MAP_COUNT_BITS) - 1) << MH_MAP_COUNT_SHIFT;
  switch (kind) {
    case MH_MAP_SLICES:
      return low | (uint64_t)3 << MH_MAP_HINT_SHIFT | (uint64_t)UINT32_MAX << MH_MAP_EPOCH_SHIFT;
    case MH_MAP_HUGE: return count | (((uint64_t)1 << MH_MAP_COUNT_SHIFT) - 1);
    case MH_MAP_BODY: return count | MH_MAP_BODY;
    default: return 0;
  }
}

static void check_arena(mh_check *check, uint64_t at, uint64_t segment, uint64_t count, uint64_t word) {
  uint64_t row = mh_map_fields_of(word).arena;
  const mh_arena_row *arena = (const mh_arena_row *)mh_at(check->region, MH_ARENAS_OFFSET) + row;
  if (row >= MH_ARENAS || !(mh_read(&arena->head) & MH_ARENA_USED)) {
    mh_check_found(check, 1, at, "map", "segment %" PRIu64 ": expected an arena in use, found row %" PRIu64,
                   segment, row);
    return;
  }
  bool inside =
      segment >= arena->start &&
      (arena->count == 0 || (count <= arena->count && segment - arena->start <= arena->count - count));
  if (!inside)
    mh_check_found(check, 1, at, "map",
                   "segment %" PRIu64 ": expected inside its arena %" PRIu64 ", found outside", segment, row);
}

/* Stops at the first that is not: then no other head's bodies are walked, and the cost stays linear. */
static void check_bodies(mh_check *check, uint64_t segment, uint64_t count) {
  for (uint64_t back = 1; back < count; back++) {
    uint64_t word, at;
    bool found = mh_check_word(check, segment + back, &word, &at);
    if (found && word == mh_map_body(back)) continue;
    mh_check_found(check, 1, at, "map",
                   "segment %" PRIu64 ": expected the %" PRIu64
                   "th after a huge span's head, found 0x%" PRIx64,
                   segment + back, back, word);
    return;
  }
}

/* One of a heap that a killed process destroyed is free, whatever is where its bodies were. */
static void check_huge(mh_check *check, uint64_t at, uint64_t segment, uint64_t word) {
  mh_map_fields huge = mh_map_fields_of(word);
  uint64_t room = check->size - mh_segment_offset(segment);
  if (!mh_check_heap_used(check, huge.heap))
    mh_check_found(check, 1, at, "map", "segment %" PRIu64 ": expected a heap in use, found row %u", segment,
                   huge.heap);
  if (huge.heap < MH_HEAPS && mh_heap_row_gone(check->region, huge.heap) == MH_HEAP_DESTROYED) return;
  check_arena(check, at, segment, huge.count, word);
  if (huge.count == 0 || mh_huge_bytes(huge.count, huge.pages) > room) {
    mh_check_found(check, 1, at, "map",
                   "segment %" PRIu64 ": expected a huge span within the region, found %" PRIu64 " segments",
                   segment, huge.count);
    return;
  }
  check_bodies(check, segment, huge.count);
}

static void check_slices(mh_check *check, uint64_t at, uint64_t segment, uint64_t word) {
  uint64_t epoch = mh_map_fields_of(word).epoch, now = mh_read(&check->region->super->epoch);
  check_arena(check, at, segment, 1, word);
  if (epoch > now)
    mh_check_found(check, 1, at, "map",
                   "segment %" PRIu64 ": expected an epoch up to %" PRIu64 ", found %" PRIu64, segment, now,
                   epoch);
}

/* Left by a kill while a huge span was made, resized or freed. Counts as free. */
static void check_body(mh_check *check, uint64_t at, uint64_t segment, uint64_t word) {
  uint64_t back = count_of(word), head, head_at;
  if (back == 0 || back > segment) {
    mh_check_found(check, 1, at, "map",
                   "segment %" PRIu64 ": expected a head before it, found one %" PRIu64 " back", segment,
                   back);
    return;
  }
  mh_check_word(check, segment - back, &head, &head_at);
  if (kind_of(head) != MH_MAP_HUGE || count_of(head) <= back)
    mh_check_found(check, 0, at, "map",
                   "segment %" PRIu64 " belongs to a huge span that is gone; it counts as free", segment);
}

void mh_check_map_word(mh_check *check, uint64_t segment) {
  uint64_t word, at;
  if (!mh_check_word(check, segment, &word, &at)) return;
  uint64_t kind = kind_of(word), extra = word & ~known_bits(kind);
  if (extra != 0)
    mh_check_found(check, 1, at, "map",
                   "segment %" PRIu64 ": expected no bits beyond its kind's, found 0x%" PRIx64, segment,
                   extra);
  if (kind == MH_MAP_SLICES) check_slices(check, at, segment, word);
  if (kind == MH_MAP_HUGE) check_huge(check, at, segment, word);
  if (kind == MH_MAP_BODY) check_body(check, at, segment, word);
}

/* ---- words of segments that do not exist ---- */

static void check_rest_of(mh_check *check, uint64_t first, uint64_t end) {
  for (uint64_t segment = first; segment < end; segment++) {
    uint64_t word, at;
    if (!mh_check_word(check, segment, &word, &at)) return;
    if (word != 0)
      mh_check_found(check, kind_of(word) != MH_MAP_BODY, at, "map",
                     "segment %" PRIu64 ": expected 0 behind the region's end, found 0x%" PRIx64, segment,
                     word);
  }
}

/* Of the last part in use; parts behind it are made, zeroed, when they are needed. */
void mh_check_map_rest(mh_check *check, uint64_t unused) {
  (void)unused;
  uint64_t segments = check->size <= MH_SLICE ? 0 : (check->size - MH_SLICE + MH_SEGMENT - 1) / MH_SEGMENT;
  uint64_t index = segments + MH_MAP_FIRST_WORDS;
  uint64_t end = (index + MH_MAP_PART_WORDS - 1) / MH_MAP_PART_WORDS * MH_MAP_PART_WORDS;
  check_rest_of(check, segments, end - MH_MAP_FIRST_WORDS);
}
