/* pool.c: see pool.h. */
#include "pool.h"

#include <errno.h>

#include "key.h"
#include "os.h"

#define FIRST_ROOM 4096

static uint64_t hash_of(const mh_space *space, uint64_t head, const void *data, uint64_t bytes) {
  return mh_fold(mh_hash_text(space, data, bytes) ^ head, MH_HASH_WORD);
}

static mh_pool_slot *slot_for(const mh_pool *pool, uint64_t hash) {
  uint64_t mask = pool->room - 1, at = hash & mask;
  while (pool->slots[at].word != 0 && pool->slots[at].hash != hash) at = (at + 1) & mask;
  return &pool->slots[at];
}

static mheap_err grow(mh_space *space, mh_pool *pool) {
  mh_pool larger = {.room = pool->room == 0 ? FIRST_ROOM : 2 * pool->room, .used = pool->used};
  larger.slots = mh_os_table(larger.room * sizeof *larger.slots);
  if (larger.slots == NULL)
    return mh_fail_system(mh_error(space->heap), ENOMEM, space->region->path,
                          "making room for what was stored already");
  for (uint64_t i = 0; i < pool->room; i++)
    if (pool->slots[i].word != 0) *slot_for(&larger, pool->slots[i].hash) = pool->slots[i];
  if (pool->slots != NULL) mh_os_table_free(pool->slots, pool->room * sizeof *pool->slots);
  *pool = larger;
  return MHEAP_OK;
}

void mh_pool_begin(mh_space *space, mh_pool *pool) {
  *pool = (mh_pool){.room = 0};
  space->pool = pool;
}

void mh_pool_end(mh_space *space) {
  mh_pool *pool = space->pool;
  space->pool = NULL;
  if (pool->slots != NULL) mh_os_table_free(pool->slots, pool->room * sizeof *pool->slots);
}

static bool is_equal(const mh_space *space, uint64_t word, uint64_t head, const void *data, uint64_t bytes) {
  const uint64_t *block = mh_at(space->region, mh_word_offset(word));
  return (*block & ~(uint64_t)MH_COUNT_STICKY) == head && memcmp(block + 1, data, bytes) == 0;
}

mheap_err mh_pool_get(mh_space *space, uint64_t head, const void *data, uint64_t bytes, uint64_t *word) {
  const mh_pool *pool = space->pool;
  if (pool->room == 0) return MHEAP_ERR_NOT_FOUND;
  const mh_pool_slot *slot = slot_for(pool, hash_of(space, head, data, bytes));
  if (slot->word == 0 || !is_equal(space, slot->word, head, data, bytes)) return MHEAP_ERR_NOT_FOUND;
  *word = slot->word;
  return mh_retain(space, slot->word);
}

/* Of two with one hash, by which nothing much is lost, the first stays. */
mheap_err mh_pool_add(mh_space *space, uint64_t head, const void *data, uint64_t bytes, uint64_t word) {
  mh_pool *pool = space->pool;
  mheap_err failed = 2 * (pool->used + 1) > pool->room ? grow(space, pool) : MHEAP_OK;
  if (failed) return failed;
  uint64_t hash = hash_of(space, head, data, bytes);
  mh_pool_slot *slot = slot_for(pool, hash);
  if (slot->word != 0) return MHEAP_OK;
  *slot = (mh_pool_slot){.hash = hash, .word = word};
  pool->used++;
  return MHEAP_OK;
}
