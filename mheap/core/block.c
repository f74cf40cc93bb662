/* block.c: see block.h. */
#include "block.h"

#include "arena.h"
#include "subproc.h"

mheap_err mh_block_refuse(mheap *heap, const void *address, mheap_err code, const char *why,
                          mheap_error *error) {
  const mh_region *region = heap->region;
  bool inside = (const char *)address >= region->base && (const char *)address < region->base + region->span;
  uint64_t offset = inside ? mh_offset(region, address) : 0;
  if (inside)
    mh_fail(error, code, "%s: offset 0x%llx: %p %s; nothing was changed", region->path,
            (unsigned long long)offset, address, why);
  else mh_fail(error, code, "%s: %p %s; nothing was changed", region->path, address, why);
  if (error != NULL) error->offset = offset;
  return code;
}

static mheap_err no_block(mheap *heap, const void *address, mheap_error *error) {
  return mh_block_refuse(heap, address, MHEAP_ERR_POINTER, "is not a block of this heap", error);
}

/* Space that is free now: freed before if it is where a block could start. */
static mheap_err free_space(mheap *heap, const void *address, mheap_error *error) {
  if ((uintptr_t)address % 16 != 0) return no_block(heap, address, error);
  return mh_block_refuse(heap, address, MHEAP_ERR_DOUBLE_FREE,
                         "is in free space: the block was freed already, or there never was one", error);
}

/* ---- slabs ---- */

static bool bit(const uint64_t *words, uint32_t index) {
  return atomic_load_explicit((_Atomic uint64_t *)(uintptr_t)&words[index / 64], memory_order_acquire) >>
             index % 64 &
         1;
}

static mheap_err find_in_slab(mheap *heap, mh_slab *slab, uint32_t size, const char *address, mh_block *block,
                              mheap_error *error) {
  char *start = mh_slab_start(heap->region, slab);
  uint64_t index = (uint64_t)(address - start) / size;
  mh_bitmaps *bits = slab->bits;
  if (bits == NULL) return free_space(heap, address, error);
  if (index >= slab->blocks) return no_block(heap, address, error);
  block->kind = MH_BLOCK_SLAB;
  block->run = slab;
  block->heap = slab->heap;
  block->index = (uint32_t)index;
  block->start = start + index * size;
  block->size = size;
  block->in_use = bit(bits->alloc, block->index) && !bit(bits->freed, block->index);
  return MHEAP_OK;
}

static mheap_err find_in_run(mheap *heap, mh_slab *entry, const char *address, mh_block *block,
                             mheap_error *error) {
  mh_slab *run = entry->kind == MH_RUN_BODY ? entry - entry->back : entry;
  block->run = run;
  block->heap = run->heap;
  switch (run->kind) {
    case MH_RUN_FREE: return free_space(heap, address, error);
    case MH_RUN_SLAB: return find_in_slab(heap, run, run->size, address, block, error);
    case MH_RUN_SPAN: break;
    default: return no_block(heap, address, error);
  }
  block->kind = MH_BLOCK_SPAN;
  block->start = mh_slab_start(heap->region, run);
  block->size = run->size;
  block->in_use = true;
  return MHEAP_OK;
}

/* ---- huge spans ---- */

static void fill_huge(mheap *heap, const mh_map_entry *entry, mh_block *block) {
  block->kind = MH_BLOCK_HUGE;
  block->segment = entry->head;
  block->huge = *entry;
  block->heap = entry->heap;
  block->start = heap->region->segments + entry->head * MH_SEGMENT;
  block->size = mh_map_huge_bytes(entry);
  block->in_use = true;
}

/* ---- both ---- */

/* The caller holds region->lock. */
static mheap_err find_locked(mheap *heap, const char *address, mh_block *block, mheap_error *error) {
  mh_region *region = heap->region;
  uint64_t distance = (uint64_t)(address - region->segments), segment = distance / MH_SEGMENT;
  mh_map_entry entry;
  mheap_err code = mh_map_get(region, segment, &entry, error);
  if (code) return code;
  if (entry.kind == MH_MAP_FREE) return free_space(heap, address, error);
  if (entry.kind != MH_MAP_SLICES) {
    fill_huge(heap, &entry, block);
    return MHEAP_OK;
  }
  code = mh_arena_open(region, segment, error);
  return code ? code : find_in_run(heap, &region->slabs[distance / MH_SLICE], address, block, error);
}

/* A slab that a lane owns is found without the lock: it stays while any of its blocks is in
   use. What a wild pointer makes of one that is just coming or going need only be harmless. */
static mh_slab *owned_slab(const mh_region *region, const char *address, uint32_t *size) {
  mh_slab *slab = &region->slabs[(uint64_t)(address - region->segments) / MH_SLICE];
  if (slab->kind == MH_RUN_BODY) slab -= slab->back;
  if (atomic_load_explicit(&slab->lane, memory_order_acquire) == NULL) return NULL;
  *size = slab->size;
  return *size != 0 ? slab : NULL;
}

static mheap_err elsewhere(mheap *heap, const void *address, mheap_error *error) {
  mheap_err code = mh_subproc_refuse(mh_subproc_of(heap->region), address, error);
  return code ? code : no_block(heap, address, error);
}

mheap_err mh_block_find(mheap *heap, const void *address, mh_block *block, mheap_error *error) {
  mh_region *region = heap->region;
  const char *at = address;
  uint32_t size;
  if (at < region->segments || at >= region->base + region->span) return elsewhere(heap, address, error);
  if (at >= region->base + mh_region_size(region))
    return at < region->base + region->peak ? free_space(heap, address, error)
                                            : no_block(heap, address, error);
  mh_slab *slab = owned_slab(region, at, &size);
  if (slab != NULL) return find_in_slab(heap, slab, size, at, block, error);
  pthread_mutex_lock(&region->lock);
  mheap_err code = find_locked(heap, at, block, error);
  pthread_mutex_unlock(&region->lock);
  return code;
}

mheap_err mh_block_at(mheap *heap, const void *address, mh_block *block, mheap_error *error) {
  mheap_err code = mh_block_find(heap, address, block, error);
  if (code) return code;
  if (block->start != address)
    return mh_block_refuse(heap, address, MHEAP_ERR_POINTER, "points into a block, not to its start", error);
  if (!block->in_use)
    return mh_block_refuse(heap, address, MHEAP_ERR_DOUBLE_FREE, "is a block that is free already", error);
  if (block->heap != heap->row)
    return mh_block_refuse(heap, address, MHEAP_ERR_POINTER, "is a block of another heap of this region",
                           error);
  return MHEAP_OK;
}
