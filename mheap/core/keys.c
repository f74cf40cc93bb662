/* keys.c: numbered roots: mheap_setkey, mheap_getkey.

   Owns the table of keys in a region. Calls parts.h. A key lies in the table of the region that its
   block is in; of a heap that uses several regions, in memory, each has one. */
#include "heap.h"
#include "parts.h"

static mheap_err check_key(mheap *heap, int key) {
  if (key >= 0 && key < MHEAP_KEYS) return MHEAP_OK;
  return mh_fail(mh_error(heap), MHEAP_ERR_ARGUMENT, "%s: key %d is not from 0 to %d", heap->region->path,
                 key, MHEAP_KEYS - 1);
}

static uint64_t *key_in(const mh_region *region, int key) {
  return (uint64_t *)mh_at(region, MH_KEYS_OFFSET) + key;
}

/* Its keys are all its heaps'. */
static mheap *main_of(const mheap *heap) { return mh_handle_find(heap->region, 0)->whole; }

mheap_err mheap_setkey(mheap *heap, int key, void *block) {
  heap = mh_heap_of(heap);
  if (heap == NULL) return MHEAP_ERR_NO_MEMORY;
  mheap_err code = check_key(heap, key);
  if (!code) code = mh_heap_writable(heap);
  if (code) return code;
  mheap *main = main_of(heap);
  mh_region *region = block != NULL ? mh_part_at(main, block)->region : main->region;
  uint64_t offset = block == NULL ? 0 : mh_offset(region, block);
  if (block != NULL && (offset < MH_SLICE || !mh_in_region(region, offset, 1)))
    return mh_fail(mh_error(heap), MHEAP_ERR_POINTER,
                   "%s: key %d: %p is not in this heap, and would mean nothing in another process",
                   heap->region->path, key, block);
  mh_publish(key_in(region, key), offset);
  for (mheap *part = mh_part_first(main); part != NULL; part = mh_part_next(part)) {
    if (!mh_part_enter(part)) continue;
    if (part->region != region) mh_publish(key_in(part->region, key), 0);
    mh_part_leave(part);
  }
  return MHEAP_OK;
}

/* A part that is leaving has no blocks. */
static uint64_t key_of_part(mheap *part, int key) {
  if (!mh_part_enter(part)) return 0;
  uint64_t offset = mh_read(key_in(part->region, key));
  mh_part_leave(part);
  return offset;
}

static void *key_target(mheap *heap, const mh_region *region, int key, uint64_t offset) {
  if (offset >= MH_SLICE && mh_in_region(region, offset, 1)) return mh_at(region, offset);
  if (offset < MH_SLICE || offset >= MH_OFFSET_MAX)
    mh_fail_corrupt(mh_error(heap), region->path, MH_KEYS_OFFSET + 8 * (uint64_t)key, "offset of a key", 0,
                    offset);
  else
    mh_fail(mh_error(heap), MHEAP_ERR_POINTER,
            "%s: key %d leads to 0x%llx, behind the heap's end: the block was freed; set the key anew",
            region->path, key, (unsigned long long)offset);
  return NULL;
}

void *mheap_getkey(mheap *heap, int key) {
  heap = mh_heap_of(heap);
  if (heap == NULL || check_key(heap, key) != MHEAP_OK || mh_heap_raw(heap) != MHEAP_OK) return NULL;
  for (mheap *part = mh_part_first(main_of(heap)); part != NULL; part = mh_part_next(part)) {
    uint64_t offset = key_of_part(part, key);
    if (offset != 0) return key_target(heap, part->region, key, offset);
  }
  mh_error_clear(mh_error(heap)); /* how a key that is not set differs from one that cannot be read */
  return NULL;
}
