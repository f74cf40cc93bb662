/* segment.c: see segment.h. */
#include "segment.h"

#include <string.h>

#include "decode.h"
#include "map.h"

#define ALL_SLICES (~(uint64_t)1) /* of a whole segment: the header is slice 0 */

static uint64_t mask_of(uint32_t first, uint32_t count) {
  return (count == 64 ? ~(uint64_t)0 : (((uint64_t)1 << count) - 1)) << first;
}

/* Bits of the slices that lie in the region. */
static uint64_t present(const mh_region *region, uint64_t segment) {
  uint64_t end = mh_region_size(region) - mh_segment_offset(segment);
  return end >= MH_SEGMENT ? ALL_SLICES : mask_of(0, (uint32_t)(end / MH_SLICE)) & ALL_SLICES;
}

uint64_t *mh_slab_head(const mh_region *region, const mh_slab *slab) {
  uint64_t index = mh_slab_index(region, slab);
  mh_segment_header *header = mh_segment_header_of(region, index / MH_SEGMENT_SLICES);
  return &header->slice[index % MH_SEGMENT_SLICES - 1].head;
}

/* ---- heads ---- */

uint64_t mh_head_slab(uint32_t class, uint32_t heap) {
  return MH_SLICE_SLAB | (uint64_t)mh_classes[class].slices << MH_HEAD_COUNT_SHIFT |
         (uint64_t)class << MH_HEAD_CLASS_SHIFT | (uint64_t)heap << MH_HEAD_HEAP_SHIFT;
}

uint64_t mh_head_span(uint32_t slices, uint32_t pages, uint32_t heap) {
  return MH_SLICE_SPAN | (uint64_t)slices << MH_HEAD_COUNT_SHIFT | (uint64_t)heap << MH_HEAD_HEAP_SHIFT |
         (uint64_t)pages << MH_HEAD_PAGES_SHIFT;
}

uint64_t mh_head_internal(uint32_t slices) {
  return MH_SLICE_INTERNAL | (uint64_t)slices << MH_HEAD_COUNT_SHIFT;
}

/* ---- entries ---- */

static void fill_slab(mh_region *region, mh_slab *slab, const mh_run_head *h) {
  const mh_class *class = &mh_classes[h->class];
  uint64_t index = mh_slab_index(region, slab);
  slab->bits = &mh_segment_header_of(region, index / MH_SEGMENT_SLICES)->bitmaps[index % MH_SEGMENT_SLICES];
  slab->size = class->size;
  slab->reciprocal = class->reciprocal;
  slab->blocks = class->blocks;
  slab->class = (uint8_t)h->class;
  slab->words = (uint8_t)((class->blocks + 63) / 64);
}

static void fill_run(mh_region *region, mh_slab *run, const mh_run_head *h) {
  static const uint8_t kinds[] = {MH_RUN_FREE, MH_RUN_SLAB, MH_RUN_SPAN, MH_RUN_INTERNAL};
  memset(run, 0, sizeof *run);
  run->kind = kinds[h->kind];
  run->slices = (uint8_t)h->count;
  run->heap = (uint16_t)h->heap;
  if (h->kind == MH_SLICE_SLAB) fill_slab(region, run, h);
  if (h->kind == MH_SLICE_SPAN) run->size = h->pages * MH_PAGE;
  for (uint32_t i = 1; i < h->count; i++) {
    memset(&run[i], 0, sizeof run[i]);
    run[i].kind = MH_RUN_BODY;
    run[i].back = (uint8_t)i;
  }
}

static void clear_entries(mh_slab *first, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    memset(&first[i], 0, sizeof first[i]);
    first[i].kind = MH_RUN_FREE;
  }
}

/* ---- segments ---- */

void mh_segment_format(mh_region *region, uint64_t segment) {
  mh_segment_header *header = mh_segment_header_of(region, segment);
  memset(header, 0, MH_PAGE);
  header->index = segment;
  memcpy(header->uuid, region->super->identity.uuid, sizeof header->uuid);
  mh_publish(&header->magic, MH_SEGMENT_MAGIC);
}

static mheap_err check_header(mh_region *region, uint64_t segment, mheap_error *error) {
  const mh_segment_header *header = mh_segment_header_of(region, segment);
  uint64_t at = mh_segment_offset(segment);
  if (header->magic != MH_SEGMENT_MAGIC)
    return mh_fail_corrupt(error, region->path, at, "magic number of a segment", MH_SEGMENT_MAGIC,
                           header->magic);
  if (header->index != segment)
    return mh_fail_corrupt(error, region->path, at + 8, "number of a segment", segment, header->index);
  if (memcmp(header->uuid, region->super->identity.uuid, sizeof header->uuid) != 0)
    return mh_fail(error, MHEAP_ERR_CORRUPT,
                   "%s: offset 0x%llx: a segment of another heap; see `mheap check`", region->path,
                   (unsigned long long)at + 16);
  return MHEAP_OK;
}

/* All heads are checked before anything is believed, so that a bad one changes nothing. */
static mheap_err check_heads(mh_region *region, uint64_t segment, uint64_t slices, mheap_error *error) {
  const mh_segment_header *header = mh_segment_header_of(region, segment);
  uint32_t room = 1 + (uint32_t)__builtin_popcountll(slices);
  for (uint32_t i = 1; i < room;) {
    uint64_t head = header->slice[i - 1].head;
    mh_run_head h = mh_run_head_of(head);
    if (head != 0 && !mh_run_head_is_valid(&h, room - i))
      return mh_fail_corrupt(error, region->path,
                             mh_segment_offset(segment) + offsetof(mh_segment_header, slice) + 64 * (i - 1),
                             "descriptor of a slice", 0, head);
    i += head != 0 ? h.count : 1;
  }
  return MHEAP_OK;
}

uint64_t mh_head_settled(const mh_region *region, uint64_t word) {
  uint32_t row = mh_run_head_of(word).heap;
  uint64_t gone = row < MH_HEAPS ? mh_heap_row_gone(region, row) : 0;
  if (gone == MH_HEAP_DESTROYED) return 0;
  return gone == 0 ? word : word & ~((((uint64_t)1 << MH_HEAD_HEAP_BITS) - 1) << MH_HEAD_HEAP_SHIFT);
}

static uint64_t settled_head(mh_region *region, uint64_t *at) {
  uint64_t word = *at, settled = mh_head_settled(region, word);
  if (settled != word && mh_region_writable(region)) mh_publish(at, settled);
  return settled;
}

static void add_orphan(mh_region *region, mh_slab *slab) {
  slab->next = region->orphans[slab->heap];
  region->orphans[slab->heap] = slab;
}

static void open_runs(mh_region *region, uint64_t segment, uint64_t slices) {
  mh_segment_header *header = mh_segment_header_of(region, segment);
  mh_segment *state = mh_segment_of(region, segment);
  mh_slab *entries = (mh_slab *)state;
  clear_entries(entries + 1, MH_SEGMENT_SLICES - 1);
  state->free = slices;
  for (uint32_t i = 1; i < MH_SEGMENT_SLICES && (slices >> i & 1);) {
    uint32_t count = mh_run_head_of(header->slice[i - 1].head).count;
    mh_run_head h = mh_run_head_of(settled_head(region, &header->slice[i - 1].head));
    if (h.kind == MH_SLICE_FREE) {
      i += count > 0 ? count : 1;
      continue;
    }
    state->free &= ~mask_of(i, h.count);
    fill_run(region, &entries[i], &h);
    mh_region_touch(region, h.heap, segment);
    i += h.count;
  }
  for (uint32_t i = 1; i < MH_SEGMENT_SLICES; i++)
    if (entries[i].kind == MH_RUN_SLAB) add_orphan(region, &entries[i]);
}

mheap_err mh_segment_open(mh_region *region, uint64_t segment, mheap_error *error) {
  mh_segment *state = mh_segment_of(region, segment);
  if (state->kind == MH_RUN_HEADER) return MHEAP_OK;
  mh_map_entry entry;
  mheap_err code = mh_map_get(region, segment, &entry, error);
  if (code) return code;
  uint64_t slices = present(region, segment);
  code = check_header(region, segment, error);
  if (!code) code = check_heads(region, segment, slices, error);
  if (code) return code;
  memset(state, 0, sizeof *state);
  state->arena = (uint16_t)entry.arena;
  state->largest = MH_SEGMENT_SLICES - 1;
  state->kind = MH_RUN_HEADER;
  open_runs(region, segment, slices);
  uint32_t epoch = (uint32_t)region->epoch;
  if (mh_region_writable(region) && (entry.epoch != epoch || entry.hint != 0))
    mh_publish(mh_map_word(region, segment, NULL), mh_map_slices(entry.arena, epoch, 0));
  return MHEAP_OK;
}

void mh_segment_forget(mh_region *region, uint64_t segment) {
  memset(mh_segment_of(region, segment), 0, MH_SEGMENT_SLICES * sizeof(mh_slab));
}

void mh_segment_extend(mh_region *region, uint64_t old_size) {
  uint64_t segment = (old_size - MH_SLICE - 1) / MH_SEGMENT;
  mh_segment *state = mh_segment_of(region, segment);
  if (state->kind != MH_RUN_HEADER) return;
  uint64_t before = mask_of(0, (uint32_t)((old_size - mh_segment_offset(segment)) / MH_SLICE - 1)) << 1 | 1;
  uint64_t came = present(region, segment) & ~before;
  for (uint32_t i = 1; i < MH_SEGMENT_SLICES; i++)
    if (came >> i & 1) clear_entries((mh_slab *)state + i, 1);
  state->free |= came;
  state->largest = MH_SEGMENT_SLICES - 1;
}

/* ---- runs ---- */

/* Bits at which `count` set bits of `mask` begin. */
static uint64_t run_starts(uint64_t mask, uint32_t count) {
  for (uint32_t have = 1; have < count;) {
    uint32_t step = have < count - have ? have : count - have;
    mask &= mask >> step;
    have += step;
  }
  return mask;
}

/* Bits of the slices whose addresses are multiples of `alignment`. */
static uint64_t aligned_slices(const mh_region *region, uint64_t segment, uint64_t alignment) {
  if (alignment <= MH_SLICE) return ~(uint64_t)0;
  uint64_t start = (uint64_t)region->segments + segment * MH_SEGMENT, mask = 0;
  for (uint32_t i = 1; i < MH_SEGMENT_SLICES; i++)
    if (((start + i * MH_SLICE) & (alignment - 1)) == 0) mask |= (uint64_t)1 << i;
  return mask;
}

uint32_t mh_segment_find(mh_region *region, uint64_t segment, uint32_t count, uint64_t alignment) {
  mh_segment *state = mh_segment_of(region, segment);
  if (state->kind != MH_RUN_HEADER || state->largest < count) return 0;
  uint64_t starts = run_starts(state->free, count);
  if (starts == 0) {
    state->largest = (uint8_t)(count - 1);
    return 0;
  }
  starts &= aligned_slices(region, segment, alignment);
  return starts == 0 ? 0 : (uint32_t)__builtin_ctzll(starts);
}

/* Word by word: statistics and checks look at them without a lock. */
static void clear_words(uint64_t *words, uint32_t count) {
  for (uint32_t i = 0; i < count; i++)
    atomic_store_explicit((_Atomic uint64_t *)&words[i], 0, memory_order_relaxed);
}

mh_slab *mh_run_make(mh_region *region, uint64_t segment, uint32_t first, uint64_t head) {
  mh_segment *state = mh_segment_of(region, segment);
  mh_slab *run = (mh_slab *)state + first;
  mh_run_head h = mh_run_head_of(head);
  bool dirty = (state->dirty & mask_of(first, h.count)) != 0;
  state->free &= ~mask_of(first, h.count);
  state->dirty |= mask_of(first, h.count);
  fill_run(region, run, &h);
  if (h.kind == MH_SLICE_SPAN) run->place = !dirty;
  mh_region_touch(region, h.heap, segment);
  if (h.kind == MH_SLICE_SLAB) { /* the words in use; what the rest holds does not matter */
    clear_words(run->bits->alloc, run->words);
    clear_words(run->bits->freed, run->words);
  }
  mh_publish(mh_slab_head(region, run), head);
  return run;
}

void mh_run_free(mh_region *region, mh_slab *run) {
  uint64_t index = mh_slab_index(region, run);
  mh_segment *state = mh_segment_of(region, index / MH_SEGMENT_SLICES);
  uint32_t count = run->slices;
  mh_publish(mh_slab_head(region, run), 0);
  clear_entries(run, count);
  state->free |= mask_of(index % MH_SEGMENT_SLICES, count);
  state->largest = MH_SEGMENT_SLICES - 1;
}

void mh_run_resize(mh_region *region, mh_slab *run, uint32_t count, uint64_t head) {
  uint64_t index = mh_slab_index(region, run);
  mh_segment *state = mh_segment_of(region, index / MH_SEGMENT_SLICES);
  uint32_t first = index % MH_SEGMENT_SLICES, old = run->slices;
  mh_run_head h = mh_run_head_of(head);
  mh_publish(mh_slab_head(region, run), head);
  fill_run(region, run, &h);
  if (count > old) {
    state->free &= ~mask_of(first, count);
    state->dirty |= mask_of(first, count);
  }
  if (count >= old) return;
  clear_entries(run + count, old - count);
  state->free |= mask_of(first + count, old - count);
  state->largest = MH_SEGMENT_SLICES - 1;
}
