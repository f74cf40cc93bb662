/* pointer.c: see pointer.h. mheap_free_any and mheap_realloc_any are in heap.c. */
#include "pointer.h"

#include "block.h"
#include "lane.h"
#include "radix.h"
#include "subproc.h"

/* ---- errors ---- */

mheap_err mh_pointer_error(void) {
  const mheap *heap = mheap_default();
  return heap != NULL ? mh_error(heap)->code : MHEAP_ERR_NO_MEMORY;
}

mheap_err mh_pointer_fail(const mheap *heap) {
  const mheap *general = mheap_default();
  if (general != NULL && general != heap) *mh_error(general) = *mh_error(heap);
  return mh_error(heap)->code;
}

static mheap *outside(const void *address) {
  const mheap *general = mheap_default();
  if (general != NULL)
    mh_fail(mh_error(general), MHEAP_ERR_POINTER,
            "%p: expected a block, found an address outside every heap of this process; nothing was changed",
            address);
  return NULL;
}

static mheap *refuse(mheap *heap, const void *address, const char *why) {
  mh_block_refuse(heap, address, MHEAP_ERR_POINTER, why, mh_error(heap));
  mh_pointer_fail(heap);
  return NULL;
}

static mheap *foreign(const void *address) {
  const mheap *general = mheap_default();
  if (general != NULL) mh_subproc_refuse(mh_subproc_now(), address, mh_error(general));
  return NULL;
}

/* ---- from an address to its heap ---- */

/* Found without a lock: the slab of some lane. */
static mheap *heap_of_slab(const mh_region *region, const void *address) {
  if ((const char *)address < region->segments) return NULL;
  const mh_slab *slab = &region->slabs[(uint64_t)((const char *)address - region->segments) / MH_SLICE];
  if (slab->kind == MH_RUN_BODY) slab -= slab->back;
  const mh_lane *lane = atomic_load_explicit(&slab->lane, memory_order_acquire);
  return lane != NULL ? lane->heap : NULL;
}

/* Else the block itself says. Where there is none, the main heap says what there is instead. */
static mheap *heap_of_block(mh_region *region, const void *address) {
  mh_block block;
  mheap *any = mh_handle_find(region, 0);
  if (any == NULL) return outside(address); /* still being attached: nothing was handed out */
  if (mh_heap_may_look(any) != MHEAP_OK || mh_block_find(any, address, &block, mh_error(any)) != MHEAP_OK) {
    mh_pointer_fail(any);
    return NULL;
  }
  mh_error_clear(mh_error(any));
  mheap *heap = mh_handle_of(region, block.heap, mh_error(any));
  if (heap != NULL) return heap;
  if (mh_error(any)->code == MHEAP_OK) return refuse(any, address, "is a block of a heap that is not there");
  mh_pointer_fail(any);
  return NULL;
}

static mheap *heap_in(mh_region *region, const void *address) {
  mheap *heap = heap_of_slab(region, address);
  if (heap == NULL) heap = heap_of_block(region, address);
  if (heap == NULL || !heap->objects) return heap != NULL ? heap->whole : NULL;
  return refuse(heap, address, "is a block of the heap's objects, which go by heap.root alone");
}

mheap *mh_pointer_heap(const void *address) {
  mh_region *region = mh_radix_find(address);
  if (region == NULL) return outside(address);
  return mh_subproc_is_now(region) ? heap_in(region, address) : foreign(address);
}

mheap *mh_pointer_heap_anywhere(const void *address) {
  mh_region *region = mh_radix_find(address);
  return region != NULL ? heap_in(region, address) : outside(address);
}

/* ---- the public functions ---- */

mheap *mheap_heap_of(const void *block) {
  mheap *heap = mh_pointer_heap(block);
  if (heap == NULL || mheap_usable_size(heap, block) != 0) return heap;
  mh_pointer_fail(heap);
  return NULL;
}

size_t mheap_usable_size_any(const void *block) {
  mheap *heap = block != NULL ? mh_pointer_heap(block) : NULL;
  size_t size = heap != NULL ? mheap_usable_size(heap, block) : 0;
  if (heap != NULL && size == 0) mh_pointer_fail(heap);
  return size;
}
