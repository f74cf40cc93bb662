/* heap.c: malloc and free. See heap.h; the public contract is mheap.h.

   The fast paths are fast.h's, and at the top the public entries to them; the slow ways follow. */
#include "heap.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "block.h"
#include "deferred.h"
#include "fast.h"
#include "hooks.h"
#include "lane.h"
#include "parts.h"
#include "pointer.h"
#include "radix.h"
#include "registry.h"
#include "report.h"
#include "span.h"
#include "subproc.h"
#include "superblock.h"

#define SMALL_MAX MH_SMALL_MAX

/* ---- fast paths; see fast.h ---- */

static void *allocate(mheap *heap, mh_lane *lane, uint64_t size, uint64_t alignment);

#define slow __attribute__((noinline, cold))
static slow void *malloc_slowly(mheap *heap, size_t size);
static slow void *failed_malloc(const mheap *heap);

/* Every tenth time with blocks of random sizes: too often for code that is optimised for its size. */
static __attribute__((noinline)) void *more_malloc(mheap *heap, size_t size, mh_lane *lane, mh_bin *bin) {
  if (likely(!mh_parts_are_many(heap) && mh_lane_more(lane, bin))) return mh_take(bin);
  return malloc_slowly(heap, size);
}

/* NULL names the default heap, whose lane a thread has at hand beside that of the heap it used last. */
static __attribute__((noinline)) void *default_malloc(size_t size) {
  mh_lane *lane = mh_lane_default();
  if (likely(lane != NULL && size <= SMALL_MAX)) {
    mh_bin *bin = mh_small_bin(lane, size);
    return likely(bin->ready != 0) ? mh_take(bin) : more_malloc(lane->heap->whole, size, lane, bin);
  }
  mheap *heap = mheap_default();
  return heap != NULL ? malloc_slowly(heap, size) : failed_malloc(NULL);
}

void *mheap_malloc(mheap *heap, size_t size) {
  mh_lane *lane = mh_lane_now(heap);
  if (likely(lane != NULL && size <= SMALL_MAX)) {
    mh_bin *bin = mh_small_bin(lane, size);
    return likely(bin->ready != 0) ? mh_take(bin) : more_malloc(heap, size, lane, bin);
  }
  return heap == NULL ? default_malloc(size) : malloc_slowly(heap, size);
}

__attribute__((noinline)) mheap_err mh_free_remotely(mheap *heap, mh_lane *lane, mh_slab *slab, void *block) {
  return mh_free_further(heap, lane, slab, block, mh_free_slowly);
}

static __attribute__((noinline)) mheap_err default_free(void *block) {
  mh_lane *lane = mh_lane_default();
  if (likely(lane != NULL)) return mh_free_with(lane->heap, lane, block);
  mheap *heap = block != NULL ? mheap_default() : NULL;
  if (heap != NULL) return mh_free_slowly(heap, block);
  return block == NULL ? MHEAP_OK : MHEAP_ERR_NO_MEMORY;
}

mheap_err mheap_free(mheap *heap, void *block) {
  mh_lane *lane = mh_lane_now(heap);
  if (likely(lane != NULL)) return mh_free_with(heap, lane, block);
  return heap == NULL ? default_free(block) : mh_free_slowly(heap, block);
}

/* ---- freeing a block whose heap the caller does not name ---- */

/* This thread's lane in `heap`, or this part of one, if it is at hand. */
static mh_lane *lane_at_hand(const mheap *heap) {
  mh_lane *lane = mh_lane_now(heap->whole), *other = mh_lane_default();
  if (lane != NULL && lane->heap == heap) return lane;
  return other != NULL && other->heap == heap ? other : NULL;
}

static mheap_err try_free_found(void *block) {
  mheap *heap = mh_pointer_heap(block);
  if (heap != NULL) {
    mheap_err code = unlikely(heap->hooked) ? mh_hooks_free(heap, block) : mh_heap_free(heap, block);
    if (code == MHEAP_OK) return code;
    mh_pointer_fail(heap);
  }
  return mh_pointer_error();
}

/* Again where the block's heap was deleted by another thread while it was looked for. */
static slow mheap_err free_found(void *block) {
  if (block == NULL) return MHEAP_OK;
  for (;;) {
    mh_region *region = mh_radix_find(block);
    uint64_t deleted = region != NULL ? atomic_load(&region->deleted) : 0;
    mheap_err code = try_free_found(block);
    if (code == MHEAP_OK) return code;
    if (region != NULL && mh_heaps_moved(region, deleted)) continue;
    mh_report_error(NULL);
    return code;
  }
}

static slow mheap_err free_or_fail(mheap *heap, void *block) {
  return mh_free_slowly(heap, block) == MHEAP_OK ? MHEAP_OK : mh_pointer_fail(heap);
}

/* Of a heap that this thread has used, if it was not the last one: that it is not remembered may
   have reasons, which are asked for here. */
static inline bool may_free_in(const mh_lane *lane) {
  const mheap *heap = lane->heap;
  const mh_region *region = heap->region;
  return !heap->hooked && !heap->objects && !region->cut && !region->forked && mh_subproc_is_now(region);
}

/* Another heap's block than that of the lane used last, or another thread's. */
static __attribute__((noinline)) mheap_err free_elsewhere(void *block) {
  mh_thread *thread = &mh_this_thread;
  const mh_region *region = mh_radix_find(block);
  if (unlikely(region == NULL || (char *)block < region->segments)) return free_found(block);
  uint64_t distance = (uint64_t)((char *)block - region->segments);
  mh_slab *slab = &region->slabs[distance / MH_SLICE];
  if (slab->kind == MH_RUN_BODY) slab -= slab->back;
  distance -= mh_slab_index(region, slab) * MH_SLICE;
  mh_lane *owner = atomic_load_explicit(&slab->lane, memory_order_acquire), *self = owner;
  if (unlikely(owner == NULL)) return free_found(block);
  bool own = atomic_load_explicit(&owner->thread, memory_order_relaxed) == thread;
  if (!own) self = lane_at_hand(owner->heap);
  if (unlikely(self == NULL || !may_free_in(self))) return free_found(block);
  return own ? mh_free_own(self->heap, self, slab, block, distance, free_or_fail)
             : mh_free_others(self->heap, self, slab, block, distance, free_or_fail);
}

mheap_err mheap_free_any(void *block) {
  mh_lane *lane = atomic_load_explicit(&mh_this_thread.pointer_lane, memory_order_relaxed);
  if (likely(lane != NULL)) {
    uint64_t distance = (uint64_t)((char *)block - lane->segments);
    if (likely(distance < lane->reach)) {
      mh_slab *slab = &lane->slabs[distance / MH_SLICE];
      if (likely(atomic_load_explicit(&slab->lane, memory_order_relaxed) == lane))
        return mh_free_own(lane->heap, lane, slab, block, distance % MH_SLICE, free_or_fail);
    }
  }
  return free_elsewhere(block);
}

/* ---- malloc and free for objects ---- */

/* The error of the objects' heap is the heap's own. */
static mheap_err pass_on(mheap *heap) {
  mheap_error *error = mh_error(heap);
  *error = *mh_error(heap->own);
  return error->code;
}

static mheap_err no_objects(mheap *heap) {
  const mh_heap_row *row = mh_heap_row_of(heap);
  return mh_fail_corrupt(mh_error(heap), heap->region->path, mh_offset(heap->region, &row->objects),
                         "row of the heap of objects", 2, row->objects);
}

static void *own_malloc_slowly(mheap *heap, size_t size) {
  mheap *own = heap->own;
  if (own == NULL) {
    no_objects(heap);
    return NULL;
  }
  mh_lane *lane = mh_heap_writable(own) == MHEAP_OK ? mh_lane_of(own, mh_error(own)) : NULL;
  void *block = NULL;
  if (lane != NULL) {
    mh_own_lane_remember(lane);
    block = allocate(own, lane, size, 16);
  }
  if (block == NULL) pass_on(heap);
  return block;
}

/* A block, and the bit that says so in its segment's header, are about to be stored to (marks.h). */
static void mark_header(const mheap *heap, const void *block) {
  uint64_t distance = (uint64_t)((const char *)block - heap->region->segments);
  mh_mark_slice(heap->region->segments + distance / MH_SEGMENT * MH_SEGMENT);
}

void *mh_own_malloc(mheap *heap, size_t size) {
  mh_lane *lane = mh_own_lane_now(heap->own);
  void *block = NULL;
  if (likely(lane != NULL && size <= SMALL_MAX)) {
    mh_bin *bin = mh_small_bin(lane, size);
    if (likely(bin->ready != 0)) block = mh_take(bin);
  }
  if (unlikely(block == NULL)) block = own_malloc_slowly(heap, size);
  if (unlikely(block == NULL)) return NULL;
  mark_header(heap, block);
  mh_mark_range(block, size);
  return block;
}

static slow mheap_err own_free_slowly(mheap *heap, void *block) {
  if (heap->own == NULL) return no_objects(heap);
  return mh_heap_free(heap->own, block) ? pass_on(heap) : MHEAP_OK;
}

mheap_err mh_own_free(mheap *heap, void *block) {
  mheap *own = heap->own;
  mark_header(heap, block);
  mh_lane *lane = mh_own_lane_now(own);
  uint64_t distance = lane == NULL ? 0 : (uint64_t)((char *)block - lane->segments);
  if (likely(lane != NULL && distance < lane->reach)) {
    mh_slab *slab = &lane->slabs[distance / MH_SLICE];
    if (likely(atomic_load_explicit(&slab->lane, memory_order_relaxed) == lane))
      return mh_free_own(heap, lane, slab, block, distance % MH_SLICE, own_free_slowly);
  }
  return own_free_slowly(heap, block);
}

size_t mh_own_usable_size(mheap *heap, const void *block) {
  if (heap->own == NULL) return no_objects(heap), 0;
  size_t size = mh_heap_usable_size(heap->own, block);
  if (size == 0) pass_on(heap);
  return size;
}

bool mh_own_is_zero(const mheap *heap, const void *block, size_t size) {
  return size > MH_CLASS_MAX_SIZE && !heap->own->hooked && mh_span_is_zero(block);
}

/* ---- may this heap be used now? ---- */

mheap *mh_heap_of(mheap *heap) { return heap != NULL ? heap : mheap_default(); }

mheap_err mh_heap_usable(mheap *heap) {
  if (unlikely(heap->region->forked))
    return mh_fail(mh_error(heap), MHEAP_ERR_FORKED,
                   "%s: this handle belongs to the parent process; attach the file anew in the child",
                   heap->region->path);
  return unlikely(heap->region->cut) ? mh_region_is_whole(heap->region, mh_error(heap)) : MHEAP_OK;
}

mheap_err mh_heap_writable(mheap *heap) {
  mheap_err code = mh_heap_usable(heap);
  if (code) return code;
  if (mh_region_writable(heap->region)) return mh_region_begin(heap->region, mh_error(heap));
  return mh_fail(mh_error(heap), MHEAP_ERR_READ_ONLY,
                 "%s: attached read-only; attach it with mode atomic or live, or scratch to throw changes "
                 "away",
                 heap->region->path);
}

/* ---- allocation, the slow way ---- */

static mheap_err too_large(mheap *heap, uint64_t size) {
  return mh_fail(mh_error(heap), MHEAP_ERR_OVERFLOW, "%s: %" PRIu64 " bytes are more than any heap can hold",
                 heap->region->path, size);
}

/* Where there was no room: for how much, in front of the reason. */
static void *no_room(mheap *heap, uint64_t size) {
  mheap_error *error = mh_error(heap), why = *error;
  const char *path = heap->region->path;
  size_t length = strlen(path);
  if (why.code != MHEAP_ERR_FULL || strncmp(why.text, path, length) != 0) return NULL;
  const char *reason = why.text + length + strspn(why.text + length, ": ");
  mh_fail(error, MHEAP_ERR_FULL, "%s: no room for %" PRIu64 " bytes: %s", path, size, reason);
  error->sys = why.sys;
  return NULL;
}

static void *slab_malloc(mheap *heap, mh_lane *lane, uint32_t class, uint64_t size) {
  mh_bin *bin = &lane->bins[class];
  while (bin->ready == 0 && !mh_lane_more(lane, bin))
    if (mh_lane_refill(lane, class, mh_error(heap)) != MHEAP_OK) return no_room(heap, size);
  return mh_take(bin);
}

/* The smallest class that holds `size` and whose blocks are multiples of `alignment`. */
static uint32_t aligned_class(uint64_t size, uint64_t alignment) {
  uint32_t class = mh_class_of(size);
  while ((mh_classes[class].size & (alignment - 1)) != 0) class++;
  return class;
}

static void note_placement(mh_region *region, uint64_t alignment) {
  if (alignment <= mh_placement_alignment(region->super->placement)) return;
  mh_publish(&region->super->placement, alignment | ((uint64_t)region->base & (alignment - 1)));
}

static void *allocate(mheap *heap, mh_lane *lane, uint64_t size, uint64_t alignment) {
  uint64_t fit = (size + alignment - 1) & ~(alignment - 1); /* a class that is a multiple exists up to here */
  if (fit <= MH_CLASS_MAX_SIZE && alignment <= MH_CLASS_MAX_SIZE)
    return slab_malloc(heap, lane, aligned_class(size, alignment), size);
  void *block = mh_span_malloc(heap, size, alignment, mh_error(heap));
  if (block == NULL) return no_room(heap, size);
  if (alignment > MH_SLICE) note_placement(heap->region, alignment);
  return block;
}

void *mh_heap_malloc(mheap *heap, size_t size, size_t alignment) {
  return mh_parts_spread(heap) ? mh_parts_malloc(heap->whole, size, alignment)
                               : mh_heap_malloc_in(heap->whole, size, alignment);
}

void *mh_heap_malloc_in(mheap *heap, size_t size, size_t alignment) {
  if (mh_heap_writable(heap) != MHEAP_OK) return NULL;
  if (size > MH_OFFSET_MAX || alignment > MH_OFFSET_MAX / 2) {
    too_large(heap, size > alignment ? size : alignment);
    return NULL;
  }
  mh_lane *lane = mh_lane_of(heap, mh_error(heap));
  if (lane == NULL) return NULL;
  mh_region_name_base(heap->region); /* before the fast path can hand an address out */
  mh_lane_remember(lane);
  return allocate(heap, lane, size ? size : 1, alignment < 16 ? 16 : alignment);
}

/* Inlined, as all up to the public functions are that hooks name as their callers. */
MH_INLINED void *try_aligned(mheap *heap, size_t size, size_t alignment) {
  return unlikely(heap->hooked) ? mh_hooks_malloc(heap, size, alignment)
                                : mh_heap_malloc(heap, size, alignment);
}

/* A lane that is at hand has passed every test already: only its bin is exhausted, as every
   tenth time with blocks of random sizes, or the block is not small. */
MH_INLINED void *try_malloc(mheap *heap, size_t size) {
  mh_lane *lane = mh_parts_are_many(heap) ? NULL : lane_at_hand(heap);
  if (lane != NULL && size <= MH_CLASS_MAX_SIZE) {
    void *block = slab_malloc(heap, lane, mh_class_of(size ? size : 1), size);
    if (likely(block != NULL) || !heap->spreads) return block;
  }
  return try_aligned(heap, size, 16);
}

/* The last step of an allocation that a public function asked for. */
static slow void *failed_malloc(const mheap *heap) {
  mh_report_error(heap);
  return NULL;
}

static void *malloc_slowly(mheap *heap, size_t size) {
  mh_deferred_count();
  void *block = try_malloc(heap, size);
  if (unlikely(block == NULL) && mh_deferred_helps(mh_error(heap)->code)) block = try_malloc(heap, size);
  return likely(block != NULL) ? block : failed_malloc(heap);
}

MH_INLINED void *aligned_malloc(mheap *heap, size_t size, size_t alignment) {
  mh_deferred_count();
  void *block = try_aligned(heap, size, alignment);
  if (unlikely(block == NULL) && mh_deferred_helps(mh_error(heap)->code))
    block = try_aligned(heap, size, alignment);
  return likely(block != NULL) ? block : failed_malloc(heap);
}

void *mheap_memalign(mheap *heap, size_t alignment, size_t size) {
  heap = mh_heap_of(heap);
  if (heap == NULL) return failed_malloc(heap);
  if (alignment == 0 || (alignment & (alignment - 1)) != 0) {
    mh_fail(mh_error(heap), MHEAP_ERR_ARGUMENT, "%s: alignment %zu is not a power of two", heap->region->path,
            alignment);
    return NULL;
  }
  /* Every block of such a class is aligned, so the fast path will do, in half the time. */
  bool of_class = size - 1 < MH_CLASS_MAX_SIZE / 2 && alignment <= MH_CLASS_MAX_SIZE / 2;
  if (likely(of_class && !heap->hooked))
    return mheap_malloc(heap, mh_classes[aligned_class(size, alignment)].size);
  return aligned_malloc(heap, size, alignment);
}

static slow void *calloc_overflows(mheap *heap, size_t count, size_t size) {
  heap = mh_heap_of(heap);
  if (heap != NULL)
    mh_fail(mh_error(heap), MHEAP_ERR_OVERFLOW, "%s: %zu times %zu bytes are more than any heap can hold",
            heap->region->path, count, size);
  return failed_malloc(heap);
}

void *mheap_calloc(mheap *heap, size_t count, size_t size) {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) return calloc_overflows(heap, count, size);
  /* Not through mheap_malloc, which a trace would name as the caller. */
  bool hooked = heap != NULL && heap->hooked;
  void *block = unlikely(hooked) ? aligned_malloc(heap, bytes, 16) : mheap_malloc(heap, bytes);
  if (block == NULL || (bytes > MH_CLASS_MAX_SIZE && !hooked && mh_span_is_zero(block))) return block;
  return memset(block, 0, bytes);
}

/* ---- freeing, the slow way ---- */

static mheap_err free_in_slab(mheap *heap, mh_lane *lane, const mh_block *block) {
  mh_slab *slab = block->run;
  uint32_t i = block->index / 64;
  uint64_t bit = (uint64_t)1 << block->index % 64;
  if (atomic_load_explicit(&slab->lane, memory_order_acquire) == lane) {
    uint64_t used = mh_load(&slab->bits->alloc[i]) & ~bit;
    atomic_store_explicit((_Atomic uint64_t *)&slab->bits->alloc[i], used, memory_order_release);
    mh_lane_freed(lane, slab);
    return MHEAP_OK;
  }
  if (mh_lane_free_remote(lane, slab, i, bit)) return MHEAP_OK;
  return mh_block_refuse(heap, block->start, MHEAP_ERR_DOUBLE_FREE, "is a block that is free already",
                         mh_error(heap));
}

/* A pointer into a block may be to the data of a guarded one. */
static bool is_guarded(mheap *heap, const void *data, mh_block *block) {
  if ((mh_heap_row_head(heap->region, heap->row) & MH_HEAP_GUARDED) == 0) return false;
  return mh_block_find(heap, data, block, mh_error(heap)) == MHEAP_OK && block->in_use &&
         block->start != data && mh_guard_is(heap, block->start, data);
}

/* Of several parts, that from which blocks come is the one to remember. */
static bool may_switch(const mheap *heap) {
  return !mh_parts_are_many(heap) || mh_lane_now(heap->whole) == NULL;
}

mheap_err mh_heap_free(mheap *heap, void *data) {
  mh_block block;
  if (data == NULL) return MHEAP_OK;
  heap = mh_part_at(heap, data);
  mheap_err code = mh_heap_writable(heap);
  if (code) return code;
  mh_lane *lane = mh_lane_of(heap, mh_error(heap));
  if (lane == NULL) return mh_error(heap)->code;
  if (heap->region->named_base && may_switch(heap)) mh_lane_remember(lane);
  if (is_guarded(heap, data, &block)) return mh_guard_free(heap, block.start, data);
  code = mh_block_at(heap, data, &block, mh_error(heap));
  if (code) return code;
  if (block.kind == MH_BLOCK_SLAB) return free_in_slab(heap, lane, &block);
  return mh_span_free(heap, &block, mh_error(heap));
}

slow mheap_err mh_free_slowly(mheap *heap, void *block) {
  if (block == NULL) return MHEAP_OK;
  mheap_err code = unlikely(heap->hooked) ? mh_hooks_free(heap, block) : mh_heap_free(heap, block);
  if (unlikely(code != MHEAP_OK) && !heap->objects) mh_report_error(heap);
  return code;
}

/* ---- sizes ---- */

size_t mheap_good_size(size_t size) {
  if (size > MH_OFFSET_MAX) return 0;
  if (size <= MH_CLASS_MAX_SIZE) return mh_classes[mh_class_of(size ? size : 1)].size;
  return mh_span_good_size(size);
}

/* Bytes of a block in a slab that some lane has, which is found without a lock and stays while the
   block is in use; 0: look more closely. */
static uint32_t quick_size(const mh_lane *lane, const void *block) {
  uint64_t distance = (uint64_t)((const char *)block - lane->segments);
  if (distance >= lane->reach) return 0;
  mh_slab *slab = &lane->slabs[distance / MH_SLICE];
  if (slab->kind == MH_RUN_BODY) slab -= slab->back;
  const mh_lane *owner = atomic_load_explicit(&slab->lane, memory_order_acquire);
  if (owner == NULL || owner->heap != lane->heap) return 0;
  distance -= (uint64_t)(slab - lane->slabs) * MH_SLICE;
  uint64_t index = mh_index_of(slab, distance);
  if (index == UINT64_MAX) return 0;
  return mh_is_in_use(slab, index, mh_load(&slab->bits->alloc[index / 64])) ? slab->size : 0;
}

/* Looking a block up may open its segment, which is a change where changes are allowed. */
mheap_err mh_heap_may_look(mheap *heap) {
  return mh_region_writable(heap->region) ? mh_heap_writable(heap) : mh_heap_usable(heap);
}

size_t mh_heap_usable_size(mheap *heap, const void *data) {
  mh_block block;
  heap = mh_part_at(heap, data);
  mh_lane *lane = lane_at_hand(heap);
  uint32_t quick = lane != NULL ? quick_size(lane, data) : 0;
  if (quick != 0) return quick;
  if (data == NULL || mh_heap_may_look(heap) != MHEAP_OK) return 0;
  if (is_guarded(heap, data, &block)) return mh_guard_usable_size(heap, block.start, data);
  return mh_block_at(heap, data, &block, mh_error(heap)) == MHEAP_OK ? block.size : 0;
}

size_t mheap_usable_size(mheap *heap, const void *block) {
  if (block == NULL) return 0;
  heap = mh_heap_of(heap);
  if (heap == NULL) return 0;
  return heap->hooked ? mh_hooks_usable_size(heap, block) : mh_heap_usable_size(heap, block);
}

void *mh_heap_block_start(mheap *heap, const void *address) {
  mh_block block;
  mheap_error ignored;
  heap = mh_part_at(heap, address);
  if (mh_heap_may_look(heap) != MHEAP_OK || mh_block_find(heap, address, &block, &ignored) != MHEAP_OK)
    return NULL;
  return block.in_use ? block.start : NULL;
}

/* ---- realloc ---- */

/* Stays where it is while the block is not more than twice what is wanted. */
static bool fits(uint64_t block, uint64_t size) { return size <= block && (size > block / 2 || block <= 32); }

static bool resize_in_place(mheap *heap, const mh_block *block, uint64_t size) {
  if (block->kind == MH_BLOCK_SLAB) return fits(block->size, size);
  if (heap->closed && size > block->size) return false;
  return size > MH_CLASS_MAX_SIZE && mh_span_resize(heap, block, size);
}

static void *move(mheap *heap, void *data, uint64_t old, size_t size) {
  void *moved = mh_heap_malloc(heap, size, 16);
  if (moved == NULL) return NULL;
  if (!mh_span_move(moved, data, old < size ? old : size)) memcpy(moved, data, size < old ? size : old);
  mh_heap_free(heap, data);
  return moved;
}

/* From slab to slab. */
static void *move_quickly(mheap *heap, mh_lane *lane, void *data, uint32_t old, size_t size) {
  void *moved = slab_malloc(heap, lane, mh_class_of(size), size);
  if (moved == NULL) return NULL;
  memcpy(moved, data, size < old ? size : old);
  mh_free_with(heap, lane, data);
  return moved;
}

/* A span that has as many pages as are wanted, which is seen without a lock too. */
static bool is_span_of(const mh_lane *lane, const void *block, size_t size) {
  uint64_t distance = (uint64_t)((const char *)block - lane->segments);
  if (distance >= lane->reach || distance % MH_SLICE != 0) return false;
  const mh_slab *run = &lane->slabs[distance / MH_SLICE];
  return run->kind == MH_RUN_SPAN && run->heap == lane->heap->row && size > MH_CLASS_MAX_SIZE &&
         size <= run->size && run->size - size < MH_PAGE;
}

void *mh_heap_realloc(mheap *heap, void *data, size_t size) {
  mh_block block;
  if (data == NULL) return mh_heap_malloc(heap, size, 16);
  heap = mh_part_at(heap, data);
  mh_lane *at_hand = lane_at_hand(heap);
  if (at_hand != NULL && is_span_of(at_hand, data, size)) return data;
  uint32_t quick = at_hand != NULL ? quick_size(at_hand, data) : 0;
  if (quick != 0 && fits(quick, size ? size : 1)) return data;
  if (quick != 0 && size != 0 && size <= MH_CLASS_MAX_SIZE && !mh_parts_are_many(heap)) {
    void *moved = move_quickly(heap, at_hand, data, quick, size);
    if (moved != NULL || !heap->spreads) return moved;
  }
  if (mh_heap_writable(heap) != MHEAP_OK) return NULL;
  mh_lane *lane = mh_lane_of(heap, mh_error(heap));
  if (lane == NULL) return NULL;
  if (is_guarded(heap, data, &block)) return mh_guard_realloc(heap, block.start, data, size);
  if (mh_block_at(heap, data, &block, mh_error(heap)) != MHEAP_OK) return NULL;
  if (size > MH_OFFSET_MAX) {
    too_large(heap, size);
    return NULL;
  }
  return resize_in_place(heap, &block, size ? size : 1) ? data : move(heap, data, block.size, size);
}

MH_INLINED void *try_realloc(mheap *heap, void *block, size_t size) {
  return unlikely(heap->hooked) ? mh_hooks_realloc(heap, block, size) : mh_heap_realloc(heap, block, size);
}

MH_INLINED void *realloc_in(mheap *heap, void *block, size_t size) {
  mh_deferred_count();
  void *moved = try_realloc(heap, block, size);
  if (unlikely(moved == NULL) && mh_deferred_helps(mh_error(heap)->code))
    moved = try_realloc(heap, block, size);
  return moved;
}

void *mheap_realloc(mheap *heap, void *block, size_t size) {
  heap = mh_heap_of(heap);
  void *moved = heap != NULL ? realloc_in(heap, block, size) : NULL;
  return likely(moved != NULL) ? moved : failed_malloc(heap);
}

void *mheap_realloc_any(void *block, size_t size) {
  mheap *heap = block != NULL ? mh_pointer_heap(block) : mheap_default();
  void *moved = heap != NULL ? realloc_in(heap, block, size) : NULL;
  if (likely(moved != NULL)) return moved;
  if (heap != NULL) mh_pointer_fail(heap);
  return failed_malloc(NULL);
}
