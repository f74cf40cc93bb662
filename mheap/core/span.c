/* span.c: see span.h. */
#include "span.h"

#include <errno.h>
#include <string.h>

#include "arena.h"
#include "os.h"
#include "region_pages.h"
#include "radix.h"

#define PAGES_PER_SEGMENT (MH_SEGMENT / MH_PAGE)
#define SPAN_PAGES_MAX ((MH_SEGMENT_SLICES - 1) * MH_SLICE_PAGES)

static uint64_t pages_of(uint64_t size) { return (size + MH_PAGE - 1) / MH_PAGE; }
static uint32_t slices_of(uint64_t pages) {
  return (uint32_t)((pages + MH_SLICE_PAGES - 1) / MH_SLICE_PAGES);
}

uint64_t mh_span_good_size(uint64_t size) { return pages_of(size) * MH_PAGE; }

/* ---- spans ---- */

static void *span_malloc(mheap *heap, uint64_t pages, uint64_t alignment, mheap_error *error) {
  uint32_t count = slices_of(pages);
  uint64_t head = mh_head_span(count, (uint32_t)pages, heap->row);
  mh_want want = {
      .count = count, .pages = (uint32_t)pages, .at_once = count, .alignment = alignment, .head = head};
  mh_slab *run = mh_arena_take(heap->region, heap->only, &want, error);
  return run == NULL ? NULL : mh_slab_start(heap->region, run);
}

static bool span_resize(mheap *heap, mh_slab *run, uint64_t pages) {
  uint32_t count = slices_of(pages);
  if (pages > SPAN_PAGES_MAX) return false;
  return mh_arena_resize(heap->region, run, count, (uint32_t)pages,
                         mh_head_span(count, (uint32_t)pages, heap->row));
}

/* ---- huge spans: bodies first, then the head, so that one store makes them ---- */

static uint32_t last_pages(uint64_t pages) { return (uint32_t)((pages - 1) % PAGES_PER_SEGMENT + 1); }

static void set_bodies(mh_region *region, uint64_t head, uint64_t from, uint64_t to, bool free) {
  for (uint64_t i = from; i < to; i++)
    mh_publish(mh_map_word(region, head + i, NULL), free ? 0 : mh_map_body(i));
}

static void publish_huge(mheap *heap, uint64_t first, uint64_t count, uint64_t pages) {
  mh_region *region = heap->region;
  mh_region_touch(region, heap->row, first);
  mh_publish(mh_map_word(region, first, NULL),
             mh_map_huge(mh_map_arena_of(region, first), heap->row, last_pages(pages), count));
}

static uint64_t whole_pages(uint64_t pages) {
  uint64_t host = mh_host_pages();
  return (pages + host - 1) / host * host;
}

static void *huge_malloc(mheap *heap, uint64_t pages, uint64_t alignment, mheap_error *error) {
  mh_region *region = heap->region;
  uint64_t count = (pages + PAGES_PER_SEGMENT - 1) / PAGES_PER_SEGMENT, first;
  if (mh_arena_take_segments(region, heap->only, count, alignment, &first, error) != MHEAP_OK) return NULL;
  if (mh_region_fill(region, mh_segment_offset(first), whole_pages(pages) * MH_PAGE, error) != MHEAP_OK) {
    mh_arena_give_segments(region, first, count);
    return NULL;
  }
  set_bodies(region, first, 1, count, false);
  publish_huge(heap, first, count, pages);
  return region->segments + first * MH_SEGMENT;
}

static bool huge_resize(mheap *heap, const mh_map_entry *huge, uint64_t pages) {
  mh_region *region = heap->region;
  uint64_t count = (pages + PAGES_PER_SEGMENT - 1) / PAGES_PER_SEGMENT, first = huge->head;
  mheap_error ignored;
  mh_error_clear(&ignored);
  if (count > huge->count &&
      !mh_arena_extend_segments(region, first, first + huge->count, count - huge->count, &ignored))
    return false;
  if (mh_region_back(region, mh_segment_offset(first), whole_pages(pages) * MH_PAGE, NULL) != MHEAP_OK)
    return false;
  set_bodies(region, first, huge->count, count, false);
  publish_huge(heap, first, count, pages);
  if (count >= huge->count) return true;
  set_bodies(region, first, count, huge->count, true);
  mh_arena_give_segments(region, first + count, huge->count - count);
  return true;
}

static void huge_free(mh_region *region, const mh_map_entry *huge) {
  for (uint64_t i = 0; i < huge->count; i++) mh_publish(mh_map_word(region, huge->head + i, NULL), 0);
  mh_arena_give_segments(region, huge->head, huge->count);
}

/* Free segments were given back whole, but for warm ones and those that were committed to stay. */
static bool huge_is_zero(mh_region *region, uint64_t segment) {
  return mh_segment_of(region, segment)->dirty == 0 &&
         !region->ranges[mh_map_arena_of(region, segment)].committed;
}

bool mh_span_is_zero(const void *block) {
  mh_region *region = mh_radix_find(block);
  if (region == NULL || !mh_pages_are_zero(region)) return false;
  uint64_t distance = (uint64_t)((const char *)block - region->segments), segment = distance / MH_SEGMENT;
  if (mh_segment_of(region, segment)->kind != MH_RUN_HEADER) return huge_is_zero(region, segment);
  const mh_slab *run = &region->slabs[distance / MH_SLICE];
  return run->kind == MH_RUN_SPAN && run->place != 0;
}

/* From this size on; below, copying is as quick. */
#define MOVE_LEAST MH_SEGMENT

bool mh_span_move(void *to, void *from, uint64_t length) {
  mh_region *region = mh_radix_find(to);
  if (length < MOVE_LEAST || region == NULL || region != mh_radix_find(from)) return false;
  if (!mh_pages_are_zero(region)) return false;
  uint64_t page = mh_host_pages() * MH_PAGE, whole = length / page * page;
  if (((uint64_t)to | (uint64_t)from) % page != 0 || mh_os_move(from, to, whole) != 0) return false;
  memcpy((char *)to + whole, (char *)from + whole, length - whole);
  return true;
}

/* ---- both ---- */

static bool is_huge(const mheap *heap, uint64_t pages, uint64_t alignment) {
  return pages > SPAN_PAGES_MAX || !mh_arena_fits(heap->region, slices_of(pages), alignment);
}

void *mh_span_malloc(mheap *heap, uint64_t size, uint64_t alignment, mheap_error *error) {
  uint64_t pages = pages_of(size);
  if (alignment < MH_SLICE) alignment = MH_SLICE;
  pthread_mutex_lock(&heap->region->lock);
  bool huge = is_huge(heap, pages, alignment);
  void *block =
      huge ? huge_malloc(heap, pages, alignment, error) : span_malloc(heap, pages, alignment, error);
  if (block != NULL) mh_counts_span_made(heap, huge ? MH_COUNT_HUGE : MH_COUNT_SPAN, pages * MH_PAGE);
  pthread_mutex_unlock(&heap->region->lock);
  return block;
}

/* What was found without the lock is looked at again: another thread may have freed it. */
mheap_err mh_span_free(mheap *heap, const mh_block *block, mheap_error *error) {
  mh_region *region = heap->region;
  mh_map_entry entry;
  int saved = errno; /* of the program, whose free this may be */
  pthread_mutex_lock(&region->lock);
  bool there;
  if (block->kind == MH_BLOCK_SPAN) {
    there = block->run->kind == MH_RUN_SPAN;
    if (there) mh_counts_span_freed(heap, MH_COUNT_SPAN, block->run->size);
    if (there) mh_arena_give(region, block->run);
  } else {
    there = mh_map_get(region, block->segment, &entry, NULL) == MHEAP_OK && entry.kind == MH_MAP_HUGE;
    if (there) mh_counts_span_freed(heap, MH_COUNT_HUGE, mh_map_huge_bytes(&entry));
    if (there) huge_free(region, &entry);
  }
  pthread_mutex_unlock(&region->lock);
  errno = saved;
  if (there) return MHEAP_OK;
  return mh_block_refuse(heap, block->start, MHEAP_ERR_DOUBLE_FREE, "is a block that is free already", error);
}

bool mh_span_resize(mheap *heap, const mh_block *block, uint64_t size) {
  uint64_t pages = pages_of(size);
  pthread_mutex_lock(&heap->region->lock);
  bool huge = block->kind == MH_BLOCK_HUGE;
  bool done = huge ? huge_resize(heap, &block->huge, pages) : span_resize(heap, block->run, pages);
  if (done) mh_counts_span_resized(heap, huge ? MH_COUNT_HUGE : MH_COUNT_SPAN, block->size, pages * MH_PAGE);
  pthread_mutex_unlock(&heap->region->lock);
  return done;
}
