/* space.c: see space.h. */
#include "collect.h"
#include "space.h"
#include "superblock.h"

void mh_space_init(mh_space *space, mheap *heap) {
  *space = (mh_space){.heap = heap, .region = heap->region};
  memcpy(space->seed, heap->region->super->identity.hash_seed, sizeof space->seed);
}

mheap_err mh_space_set_seed(mh_space *space, const void *seed) {
  mh_superblock *super = space->region->super;
  if (!space->region->anonymous || super->root != 0 || super->names != 0)
    return mh_fail(mh_error(space->heap), MHEAP_ERR_ARGUMENT, "%s: the hash seed is for ever",
                   space->region->path);
  memcpy(super->identity.hash_seed, seed, sizeof space->seed);
  mh_superblock_sum(&super->identity);
  memcpy(space->seed, seed, sizeof space->seed);
  return MHEAP_OK;
}

mheap_err mh_corrupt(mh_space *space, uint64_t offset, const char *what, uint64_t expected, uint64_t found) {
  return mh_fail_corrupt(mh_error(space->heap), space->region->path, offset, what, expected, found);
}

/* ---- blocks ---- */

mheap_err mh_block_new(mh_space *space, uint64_t size, uint64_t *offset) {
  void *block = mh_own_malloc(space->heap, size);
  if (block == NULL) return mheap_last_error(space->heap)->code;
  *offset = mh_offset(space->region, block);
  if (mh_collects(space)) mh_collect_born(space, *offset);
  return MHEAP_OK;
}

void mh_block_free(mh_space *space, uint64_t offset) {
  if (mh_collects(space)) mh_collect_freed(space, offset);
  mh_own_free(space->heap, mh_at(space->region, offset));
}

bool mh_block_is_zero(const mh_space *space, const void *block, uint64_t size) {
  return mh_own_is_zero(space->heap, block, size);
}

uint64_t mh_block_usable(mh_space *space, uint64_t offset) {
  if (offset % 16 != 0 || !mh_in_region(space->region, offset, 16)) return 0;
  return mh_own_usable_size(space->heap, mh_at(space->region, offset));
}

/* ---- references ---- */

void *mh_object_at(mh_space *space, uint64_t word) {
  uint64_t offset = mh_word_offset(word);
  mh_tag tag = mh_word_tag(word);
  if (!mh_in_region(space->region, offset, 16)) {
    mh_corrupt(space, offset, "a reference beyond the region", mh_region_size(space->region), offset);
    return NULL;
  }
  uint64_t *head = mh_at(space->region, offset);
  if (!mh_tag_holds(tag, mh_head_type(*head))) {
    mh_corrupt(space, offset, "an object of another type than its reference's tag", tag, mh_head_type(*head));
    return NULL;
  }
  return head;
}

mheap_err mh_word_check_slowly(mh_space *space, uint64_t word) {
  if (mh_word_is_ref(word)) return mh_object_at(space, word) == NULL ? MHEAP_ERR_CORRUPT : MHEAP_OK;
  if (word >= MH_CONST_NONE && word <= MH_CONST_TRUE) return MHEAP_OK;
  if (mh_word_tag(word) == MH_TAG_NAME && mh_name_length(word) != 0) return MHEAP_OK;
  return mh_corrupt(space, 0, "a constant value or a name", MH_CONST_NONE, word);
}

mheap_err mh_retain(mh_space *space, uint64_t word) {
  if (!mh_word_is_ref(word)) return MHEAP_OK;
  uint64_t *head = mh_object_at(space, word);
  if (head == NULL) return MHEAP_ERR_CORRUPT;
  if (mh_block_usable(space, mh_word_offset(word)) == 0)
    return mh_corrupt(space, mh_word_offset(word), "an object in no block in use", 1, 0);
  if (mh_head_count(*head) < MH_COUNT_STICKY) mh_store(head, *head + 1);
  return MHEAP_OK;
}

/* ---- containers ---- */

uint64_t mh_next_birth(const mh_space *space) {
  uint64_t stored = mh_read(&space->region->super->birth), floor = space->region->births;
  uint64_t birth = stored > floor ? stored : floor;
  return birth == 0 ? 1 : birth;
}

/* A number is used once, so it is spent before the container exists; in this process also if a rollback
   takes the container back, so that a handle on that is not taken for one on the next. */
uint64_t mh_take_birth(mh_space *space) {
  uint64_t birth = mh_next_birth(space);
  space->region->births = birth + 1;
  mh_store(&space->region->super->birth, birth + 1);
  return birth;
}

uint64_t mh_moved_birth(const mh_space *space, uint64_t stored) {
  uint64_t offset = stored & ~MH_BIRTH_MOVED;
  if (offset % 16 != 0 || !mh_in_region(space->region, offset, sizeof(mh_record_block))) return 0;
  const mh_record_block *fields = mh_at(space->region, offset);
  uint64_t birth = mh_read(&fields->birth);
  return mh_head_type(mh_read(&fields->head)) == MH_TYPE_FIELDS && birth < MH_BIRTH_DYING ? birth : 0;
}

/* As mh_store, in a block that was marked when it was made. */
static void put(uint64_t *word, uint64_t value) {
  atomic_store_explicit((_Atomic uint64_t *)word, value, memory_order_release);
  atomic_signal_fence(memory_order_seq_cst);
}

/* The head last: after a kill a collector takes what has one for what it says. */
mheap_err mh_container_new(mh_space *space, mh_type type, uint64_t *offset) {
  mheap_err failed = mh_block_new(space, sizeof(mh_container), offset);
  if (failed) return failed;
  mh_container *container = mh_at(space->region, *offset);
  uint64_t birth = mh_take_birth(space);
  put(&container->head, 0);
  container->part = container->reserved = 0;
  container->birth = birth;
  put(&container->head, mh_head(1, type, 0));
  return MHEAP_OK;
}

static mheap_err is_stale(mh_space *space, uint64_t offset) {
  return mh_fail(mh_error(space->heap), MHEAP_ERR_STALE,
                 "%s: offset 0x%llx: the object is gone; read it from its container again",
                 space->region->path, (unsigned long long)offset);
}

mheap_err mh_container_at(mh_space *space, uint64_t offset, mh_type type, uint64_t birth,
                          mh_container **found) {
  bool inside = offset % 16 == 0 && mh_in_region(space->region, offset, sizeof(mh_container));
  if (!inside && birth != 0) return is_stale(space, offset);
  if (!inside)
    return mh_corrupt(space, offset, "a container beyond the region", mh_region_size(space->region), offset);
  mh_container *container = mh_at(space->region, offset);
  if (birth != 0 && (mh_birth_of(space, container) != birth || mh_head_type(container->head) != type))
    return is_stale(space, offset);
  if (mh_head_type(container->head) != type)
    return mh_corrupt(space, offset, "the type of a container", type, mh_head_type(container->head));
  *found = container;
  return MHEAP_OK;
}
