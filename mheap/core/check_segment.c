/* check_segment.c: segment headers, slice descriptors, bitmaps; and whether an offset lies in
   a block in use. See check.h. */
#include <inttypes.h>
#include <string.h>

#include "check.h"
#include "classes.h"
#include "map.h"

/* ---- where things are ---- */

static uint64_t segment_of(uint64_t offset) { return (offset - MH_SLICE) / MH_SEGMENT; }
static uint32_t slice_of(uint64_t offset) { return (uint32_t)((offset - MH_SLICE) % MH_SEGMENT / MH_SLICE); }

/* The header of a segment that has one and whose header can be touched. */
static const mh_segment_header *header_of(mh_check *check, uint64_t segment) {
  uint64_t word, at;
  if (!mh_check_word(check, segment, &word, &at) || mh_map_fields_of(word).kind != MH_MAP_SLICES) return NULL;
  return mh_check_at(check, mh_segment_offset(segment), MH_SLICE);
}

/* Slices of the segment that lie in the region, the header among them. */
static uint32_t slices_in(const mh_check *check, uint64_t segment) {
  uint64_t slices = (check->size - mh_segment_offset(segment)) / MH_SLICE;
  return slices < MH_SEGMENT_SLICES ? (uint32_t)slices : MH_SEGMENT_SLICES;
}

const mh_slice *mh_check_slice(mh_check *check, uint64_t offset) {
  if (offset < MH_SLICE || slice_of(offset) == 0) return NULL;
  const mh_segment_header *header = header_of(check, segment_of(offset));
  return header != NULL ? &header->slice[slice_of(offset) - 1] : NULL;
}

/* ---- the header ---- */

static void check_header(mh_check *check, uint64_t segment, const mh_segment_header *header) {
  uint64_t at = mh_offset(check->region, header), magic = header->magic, index = header->index;
  if (magic != MH_SEGMENT_MAGIC)
    mh_check_found(check, 1, at, "segment",
                   "segment %" PRIu64 ": magic number: expected 0x%" PRIx64 ", found 0x%" PRIx64, segment,
                   (uint64_t)MH_SEGMENT_MAGIC, magic);
  if (index != segment)
    mh_check_found(check, 1, at + offsetof(mh_segment_header, index), "segment",
                   "number of the segment: expected %" PRIu64 ", found %" PRIu64, segment, index);
  if (memcmp(header->uuid, check->region->super->identity.uuid, sizeof header->uuid) != 0)
    mh_check_found(check, 1, at + offsetof(mh_segment_header, uuid), "segment",
                   "segment %" PRIu64 ": expected the region's uuid, found another", segment);
  mh_check_zero(check, "segment", header->reserved, sizeof header->reserved);
}

/* ---- bitmaps ---- */

/* Words behind the last block's are not looked at by anybody. */
static void check_bitmaps(mh_check *check, uint64_t at, const mh_bitmaps *maps, uint32_t blocks) {
  uint64_t in_use = 0, freed_past = 0, unowned = 0;
  for (uint32_t i = 0; 64 * i < blocks; i++) {
    uint64_t freed = mh_bitmap_word(&maps->freed[i]), alloc = mh_bitmap_word(&maps->alloc[i]);
    uint64_t mask = mh_bitmap_mask(64 * i, blocks);
    in_use |= alloc & ~mask;
    freed_past |= freed & ~mask;
    unowned += (uint64_t)__builtin_popcountll(freed & ~alloc & mask);
  }
  uint64_t last = 8 * ((blocks - 1) / 64);
  if (in_use != 0)
    mh_check_found(check, 1, at + last, "slab",
                   "bits behind block %u: expected none in use, found 0x%" PRIx64, blocks, in_use);
  if (freed_past != 0)
    mh_check_found(check, 1, at + offsetof(mh_bitmaps, freed) + last, "slab",
                   "bits behind block %u: expected none freed, found 0x%" PRIx64, blocks, freed_past);
  if (unowned != 0)
    mh_check_found(check, 0, at + offsetof(mh_bitmaps, freed), "slab",
                   "%" PRIu64 " blocks are marked freed but were free already", unowned);
}

/* ---- slice descriptors ---- */

static void check_slab(mh_check *check, uint64_t at, const mh_run_head *head, const mh_bitmaps *maps) {
  if (head->class >= MHEAP_CLASSES) {
    mh_check_found(check, 1, at, "slab", "size class: expected less than %u, found %u", MHEAP_CLASSES,
                   head->class);
    return;
  }
  const mh_class *class = &mh_classes[head->class];
  if (head->count != class->slices)
    mh_check_found(check, 1, at, "slab", "slices of a slab of %u-byte blocks: expected %u, found %u",
                   class->size, class->slices, head->count);
  if (head->pages != 0)
    mh_check_found(check, 1, at, "slab", "pages in a slab's descriptor: expected 0, found %u", head->pages);
  check_bitmaps(check, mh_offset(check->region, maps), maps, class->blocks);
}

static void check_span(mh_check *check, uint64_t at, const mh_run_head *head) {
  uint32_t most = head->count * MH_SLICE_PAGES, least = most - MH_SLICE_PAGES + 1;
  if (head->count != 0 && (head->pages < least || head->pages > most))
    mh_check_found(check, 1, at, "span", "pages of a span of %u slices: expected %u to %u, found %u",
                   head->count, least, most, head->pages);
  if (head->class != 0)
    mh_check_found(check, 1, at, "span", "size class of a span: expected 0, found %u", head->class);
}

static void check_internal(mh_check *check, uint64_t at, uint64_t offset, const mh_run_head *head) {
  if (head->class != 0 || head->pages != 0)
    mh_check_found(check, 1, at, "map", "class and pages of an internal slice: expected 0, found %u and %u",
                   head->class, head->pages);
  for (uint32_t i = 0; i < head->count; i++)
    if (!mh_check_is_map(check, offset + i * MH_SLICE))
      mh_check_found(check, 0, at, "map", "the internal slice at 0x%" PRIx64 " is no part of the segment map",
                     offset + i * MH_SLICE);
}

/* What a run says of itself; returns its slices, or 1 where that cannot be believed. */
static uint32_t check_run(mh_check *check, uint64_t segment, uint32_t slice, const mh_segment_header *header,
                          uint64_t word) {
  mh_run_head head = mh_run_head_of(word);
  uint64_t at = mh_offset(check->region, &header->slice[slice - 1]);
  uint32_t room = slices_in(check, segment) - slice;
  if (head.rest != 0)
    mh_check_found(check, 1, at, "segment", "descriptor's upper bits: expected 0, found 0x%x", head.rest);
  if (!mh_check_heap_used(check, head.heap))
    mh_check_found(check, 1, at, "segment", "heap of slice %u: expected a row in use, found %u", slice,
                   head.heap);
  bool fits = head.count != 0 && head.count <= room;
  if (!fits)
    mh_check_found(check, 1, at, "segment", "slices of the run at slice %u: expected 1 to %u, found %u",
                   slice, room, head.count);
  if (head.kind == MH_SLICE_FREE || head.kind > MH_SLICE_INTERNAL)
    mh_check_found(check, 1, at, "segment", "kind of slice %u: expected 1 to %u, found %u", slice,
                   MH_SLICE_INTERNAL, head.kind);
  if (head.kind == MH_SLICE_SLAB) check_slab(check, at, &head, &header->bitmaps[slice]);
  if (head.kind == MH_SLICE_SPAN) check_span(check, at, &head);
  if (head.kind == MH_SLICE_INTERNAL && fits)
    check_internal(check, at, mh_segment_offset(segment) + slice * MH_SLICE, &head);
  return fits ? head.count : 1;
}

static void check_slices(mh_check *check, uint64_t segment, const mh_segment_header *header) {
  uint32_t end = 1, room = slices_in(check, segment); /* `end` of the run that began last */
  for (uint32_t slice = 1; slice < MH_SEGMENT_SLICES; slice++) {
    const mh_slice *stored = &header->slice[slice - 1];
    uint64_t word = mh_read(&stored->head), at = mh_offset(check->region, stored);
    mh_check_zero(check, "segment", &stored->owner, sizeof *stored - offsetof(mh_slice, owner));
    if (word == 0) continue;
    if (slice >= room)
      mh_check_found(check, 1, at, "segment",
                     "descriptor of slice %u behind the region's end: expected 0, found 0x%" PRIx64, slice,
                     word);
    else if (slice < end)
      mh_check_found(check, 1, at, "segment",
                     "slice %u lies in the run before it: expected 0, found 0x%" PRIx64, slice, word);
    else end = slice + check_run(check, segment, slice, header, word);
  }
}

void mh_check_segment(mh_check *check, uint64_t segment) {
  const mh_segment_header *header = header_of(check, segment);
  if (header == NULL) return;
  check_header(check, segment, header);
  check_slices(check, segment, header);
}

/* ---- is it in a block in use? ---- */

static bool in_slab(const mh_run_head *head, const mh_bitmaps *maps, uint64_t distance) {
  if (head->class >= MHEAP_CLASSES) return false;
  const mh_class *class = &mh_classes[head->class];
  uint32_t block = (uint32_t)(distance / class->size);
  return block < class->blocks && (mh_bitmap_used(maps, block / 64, class->blocks) >> block % 64 & 1) != 0;
}

static bool in_run(const mh_segment_header *header, uint32_t slice, uint64_t within) {
  uint32_t first = slice; /* of the run: the nearest descriptor that is not 0 */
  while (first > 0 && mh_read(&header->slice[first - 1].head) == 0) first--;
  if (first == 0) return false;
  mh_run_head head = mh_run_head_of(mh_read(&header->slice[first - 1].head));
  uint64_t distance = (slice - first) * MH_SLICE + within;
  if (slice - first >= head.count) return false;
  if (head.kind == MH_SLICE_SPAN) return distance < head.pages * (uint64_t)MH_PAGE;
  return head.kind == MH_SLICE_SLAB && in_slab(&head, &header->bitmaps[first], distance);
}

static bool in_huge(mh_check *check, uint64_t segment, uint64_t offset) {
  uint64_t word, at;
  mh_check_word(check, segment, &word, &at);
  mh_map_fields found = mh_map_fields_of(word);
  if (found.kind == MH_MAP_BODY) {
    if (found.count == 0 || found.count > segment) return false;
    mh_check_word(check, segment -= found.count, &word, &at);
    found = mh_map_fields_of(word);
  }
  return found.kind == MH_MAP_HUGE && found.count != 0 &&
         offset - mh_segment_offset(segment) < mh_huge_bytes(found.count, found.pages);
}

bool mh_check_in_block(mh_check *check, uint64_t offset) {
  if (offset < MH_SLICE || offset >= check->size) return false;
  uint64_t segment = segment_of(offset);
  const mh_segment_header *header = header_of(check, segment);
  if (header == NULL) return in_huge(check, segment, offset);
  return slice_of(offset) != 0 && in_run(header, slice_of(offset), offset % MH_SLICE);
}
