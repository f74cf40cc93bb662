/* vacant.c: see vacant.h. */
#include "vacant.h"

#include <string.h>

#include "least.h"
#include "map.h"
#include "os.h"

#define MAP_BEGIN (8 * (uint64_t)MH_MAP_FIRST_WORDS)
#define DESCRIPTORS sizeof(((mh_segment_header *)0)->slice)

static uint64_t segment_of(uint64_t offset) { return (offset - MH_SLICE) / MH_SEGMENT; }

/* ---- what words say ---- */

/* A run that cannot be has all that follow it. */
static uint64_t free_slices(const mh_slice *slices) {
  uint64_t free = 0;
  for (uint32_t i = 1; i < MH_SEGMENT_SLICES;) {
    uint64_t word = mh_bitmap_word(&slices[i - 1].head);
    mh_run_head head = mh_run_head_of(word);
    if (word != 0 && !mh_run_head_is_valid(&head, MH_SEGMENT_SLICES - i)) break;
    if (word == 0) free |= (uint64_t)1 << i;
    i += word == 0 ? 1 : head.count;
  }
  return free;
}

static uint64_t free_in(uint64_t word, const mh_slice *slices) {
  if (word == 0) return ~(uint64_t)0;
  return mh_map_fields_of(word).kind == MH_MAP_SLICES ? free_slices(slices) : 0;
}

static uint64_t used_now(const mh_vacant *vacant, uint64_t segment) {
  const mh_segment_header *header = (const mh_segment_header *)(vacant->base + mh_segment_offset(segment));
  uint64_t word = mh_bitmap_word((const uint64_t *)(vacant->base + MAP_BEGIN) + segment);
  return ~free_in(word, header->slice);
}

static bool read_all(const mh_vacant *vacant, void *to, uint64_t length, uint64_t at) {
  size_t got;
  return mh_os_read(vacant->fd, to, length, at, &got) == 0 && got == length;
}

/* Where they cannot be read, nothing is. */
static uint64_t free_in_file(const mh_vacant *vacant, uint64_t segment) {
  uint64_t word, at = mh_segment_offset(segment) + offsetof(mh_segment_header, slice);
  mh_slice slices[MH_SEGMENT_SLICES - 1];
  bool read = read_all(vacant, &word, sizeof word, MAP_BEGIN + 8 * segment) &&
              (word == 0 || read_all(vacant, slices, sizeof slices, at));
  return read ? free_in(word, slices) : 0;
}

static bool is_touched(const mh_vacant *vacant, uint64_t segment) {
  return vacant->touched[segment / 64] >> segment % 64 & 1;
}

static bool is_vacant(mh_vacant *vacant, uint64_t slice) {
  uint64_t offset = slice * MH_SLICE, segment = segment_of(offset);
  if (slice == 0 || vacant->unknown || segment >= MH_VACANT_SEGMENTS || is_touched(vacant, segment))
    return false;
  if (vacant->looked_at != segment + 1)
    vacant->slices = used_now(vacant, segment) & free_in_file(vacant, segment);
  vacant->looked_at = segment + 1;
  return vacant->slices >> (offset - mh_segment_offset(segment)) / MH_SLICE & 1;
}

uint64_t mh_vacant_run(mh_vacant *vacant, uint64_t from, uint64_t to) {
  uint64_t end = from;
  while (end < to && is_vacant(vacant, end / MH_SLICE)) end = (end / MH_SLICE + 1) * MH_SLICE;
  return mh_least(end, to) - from;
}

/* ---- what records say ---- */

static void touch(mh_vacant *vacant, uint64_t segment) {
  if (segment >= MH_VACANT_SEGMENTS) return;
  vacant->touching[segment / 64] |= (uint64_t)1 << segment % 64;
  if (vacant->end == 0 || segment < vacant->first) vacant->first = segment;
  if (segment >= vacant->end) vacant->end = segment + 1;
}

/* Do the bytes [at, at + length) have any of [from, to)? */
static bool overlap(uint64_t at, uint64_t length, uint64_t from, uint64_t to) {
  return at < to && at + length > from;
}

static void touch_words(mh_vacant *vacant, uint64_t at, uint64_t length) {
  uint64_t end = mh_least(at + length, MH_SLICE);
  for (at = at > MAP_BEGIN ? at : MAP_BEGIN; at < end; at += 8) touch(vacant, (at - MAP_BEGIN) / 8);
}

void mh_vacant_note(mh_vacant *vacant, uint64_t at, uint64_t length) {
  if (overlap(at, length, MAP_BEGIN, MH_SLICE)) touch_words(vacant, at, length);
  if (at + length <= MH_SLICE) return;
  uint64_t segment = at < MH_SLICE ? 0 : segment_of(at), last = segment_of(at + length - 1);
  for (; segment <= last; segment++) {
    uint64_t from = mh_segment_offset(segment) + offsetof(mh_segment_header, slice);
    if (overlap(at, length, from, from + DESCRIPTORS)) touch(vacant, segment);
  }
}

void mh_vacant_note_placed(mh_vacant *vacant, uint64_t at, uint64_t length) {
  for (uint64_t segment = segment_of(at), last = segment_of(at + length - 1); segment <= last; segment++)
    touch(vacant, segment);
}

void mh_vacant_end_record(mh_vacant *vacant, bool committed) {
  for (uint64_t i = vacant->first / 64; 64 * i < vacant->end; i++) {
    if (committed) vacant->touched[i] |= vacant->touching[i];
    vacant->touching[i] = 0;
  }
  vacant->first = vacant->end = vacant->looked_at = 0;
}

void mh_vacant_begin_journal(mh_vacant *vacant) {
  memset(vacant->touched, 0, sizeof vacant->touched);
  vacant->unknown = false;
  vacant->looked_at = 0;
}
