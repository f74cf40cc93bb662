/* blocks.c: see blocks.h. */
#include "blocks.h"

#include "../block.h"
#include "../classes.h"
#include "../os.h"

static uint64_t slices_bytes(const mh_blocks *blocks) {
  return (blocks->limit / MH_SLICE + 1) * sizeof *blocks->slices;
}

bool mh_blocks_open(mh_blocks *blocks, mh_space *space) {
  *blocks = (mh_blocks){.space = space, .limit = mh_region_size(space->region)};
  blocks->slices = mh_os_table(slices_bytes(blocks));
  return blocks->slices != NULL;
}

void mh_blocks_close(mh_blocks *blocks) {
  if (blocks->slices != NULL) mh_os_table_free(blocks->slices, slices_bytes(blocks));
}

/* Of a block that was found in a slab: what all others in this slice have in common with it. */
static void note(mh_blocks *blocks, uint64_t offset, const mh_block *block) {
  const mh_slab *slab = block->run;
  uint64_t start = mh_offset(blocks->space->region, block->start) - (uint64_t)block->index * block->size;
  uint32_t class = mh_class_of(block->size);
  if (slab->bits == NULL || mh_classes[class].size != block->size) return;
  blocks->slices[offset / MH_SLICE] = (mh_blocks_slice){
      .size = (uint32_t)block->size,
      .reciprocal = mh_classes[class].reciprocal,
      .blocks = mh_classes[class].blocks,
      .back = (uint32_t)(offset / MH_SLICE * MH_SLICE - start),
      .bits = slab->bits,
  };
}

uint64_t mh_blocks_usable_slowly(mh_blocks *blocks, uint64_t offset) {
  mheap *own = blocks->space->heap->own;
  mh_block block;
  mheap_error ignored;
  uint64_t usable = mh_block_usable(blocks->space, offset);
  if (usable == 0 || offset >= blocks->limit || blocks->slices[offset / MH_SLICE].size != 0) return usable;
  const void *address = mh_at(blocks->space->region, offset);
  if (mh_block_at(own, address, &block, &ignored) == MHEAP_OK && block.kind == MH_BLOCK_SLAB)
    note(blocks, offset, &block);
  return usable;
}
