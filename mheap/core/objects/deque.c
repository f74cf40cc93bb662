/* deque.c: see deque.h. */
#include "deque.h"

#include "../least.h"
#include "collect.h"

mheap_err mh_deque_new(mh_space *space, uint64_t capacity, uint64_t limit, mh_list *deque) {
  mheap_err failed = mh_items_owner_new(space, MH_TYPE_DEQUE, capacity, deque);
  if (!failed) ((mh_container *)mh_at(space->region, deque->offset))->limit = limit;
  return failed;
}

static mheap_err read_limit(mh_list *deque, const mh_container *container, uint64_t *limit) {
  *limit = mh_read(&container->limit);
  if (*limit <= MH_DEQUE_LIMIT_MAX) return MHEAP_OK;
  uint64_t place = deque->offset + offsetof(mh_container, limit);
  return mh_corrupt(deque->space, place, "the limit of a deque", MH_DEQUE_LIMIT_MAX, *limit);
}

mheap_err mh_deque_limit(mh_list *deque, uint64_t *limit) {
  mh_container *container;
  mheap_err failed = mh_container_at(deque->space, deque->offset, MH_TYPE_DEQUE, deque->birth, &container);
  return failed ? failed : read_limit(deque, container, limit);
}

/* ---- blocks ---- */

typedef struct run {
  const uint64_t *words;
  uint64_t count;
} run;

/* Publishes a new block of the two runs, which the old one's owner frees. It has room at `end`, and
   keeps the room there was at the other, up to as much: so work at both ends needs few new blocks. */
static mheap_err to_new(mh_list *deque, mh_container *container, const mh_items *old, mh_end end, run first,
                        run second) {
  uint64_t total = first.count + second.count, offset;
  if (total > MH_LIST_MAX) return mh_list_too_long(deque);
  uint64_t room = mh_items_larger(total) - total;
  uint64_t other = end == MH_RIGHT ? old->start : old->capacity - old->start - old->count;
  other = mh_least(mh_least(other, room), MH_LIST_MAX - total - room);
  mh_items made;
  mheap_err failed = mh_items_new(deque->space, total + room + other, &offset, &made);
  if (failed) return failed;
  uint64_t start = end == MH_RIGHT ? other : room;
  if (first.count > 0) memcpy(made.words + start, first.words, 8 * first.count);
  if (second.count > 0) memcpy(made.words + start + first.count, second.words, 8 * second.count);
  made.block->range = total | start << 32;
  mh_list_publish_part(deque, container, offset, &made);
  return MHEAP_OK;
}

/* Stores the words outside the range, if there is room, and publishes it so that they are in it and
   `dropped` items at the other end are not. */
static bool fits(const mh_items *items, mh_end end, const uint64_t *words, uint64_t count, uint64_t dropped) {
  uint64_t room = end == MH_RIGHT ? items->capacity - items->start - items->count : items->start;
  if (count > room) return false;
  uint64_t *to = end == MH_RIGHT ? items->words + items->count : items->words - count;
  memcpy(to, words, 8 * count);
  mh_mark_range(to, 8 * count);
  mh_items_publish(items->block, end == MH_RIGHT ? items->start + dropped : items->start - count,
                   items->count - dropped + count);
  return true;
}

/* ---- pushing ---- */

static mheap_err push(mh_list *deque, mh_container *container, const mh_items *items, mh_end end,
                      const uint64_t *words, uint64_t count, uint64_t dropped) {
  const uint64_t *lost = items->words, *kept = items->words;
  if (dropped > 0 && end == MH_RIGHT) kept += dropped;
  if (dropped > 0 && end == MH_LEFT) lost += items->count - dropped;
  for (uint64_t i = 0; i < dropped; i++) {
    mheap_err failed = mh_word_check(deque->space, lost[i]);
    if (failed) return failed;
  }
  uint64_t old = 0;
  if (!fits(items, end, words, count, dropped)) {
    run before = {kept, items->count - dropped}, added = {words, count};
    old = container->part;
    mheap_err failed = end == MH_RIGHT ? to_new(deque, container, items, end, before, added)
                                       : to_new(deque, container, items, end, added, before);
    if (failed) return failed;
  }
  for (uint64_t i = 0; i < dropped; i++) mh_release(deque->space, lost[i]);
  if (old != 0) mh_block_free(deque->space, old);
  return MHEAP_OK;
}

mheap_err mh_deque_push(mh_list *deque, mh_end end, const uint64_t *words, uint64_t count) {
  mh_container *container;
  mh_items items;
  uint64_t limit;
  mheap_err failed = mh_list_to_change(deque, &container, &items);
  if (!failed) failed = read_limit(deque, container, &limit);
  if (failed || count == 0) return failed;
  if (limit == 1) return MHEAP_ERR_NOT_FOUND;
  uint64_t most = limit == 0 ? UINT64_MAX : limit - 1;
  if (count > most)
    return mh_fail(mh_error(deque->space->heap), MHEAP_ERR_ARGUMENT, "more items than the deque may have");
  uint64_t dropped = items.count > most - count ? items.count - (most - count) : 0;
  return push(deque, container, &items, end, words, count, dropped);
}

/* ---- rotating ---- */

static mheap_err rotate_to_new(mh_list *deque, mh_container *container, const mh_items *items, mh_end end,
                               uint64_t steps) {
  uint64_t old = container->part, rest = items->count - steps;
  run first = {items->words + rest, steps}, second = {items->words, rest};
  mheap_err failed = to_new(deque, container, items, end, first, second);
  if (!failed) mh_block_free(deque->space, old);
  return failed;
}

/* The items moved lie in the range and outside it for a moment, and are counted once all the time. */
mheap_err mh_deque_rotate(mh_list *deque, uint64_t steps) {
  mh_container *container;
  mh_items items;
  mheap_err failed = mh_list_to_change(deque, &container, &items);
  if (failed || items.count == 0) return failed;
  steps %= items.count;
  if (steps == 0) return MHEAP_OK;
  uint64_t rest = items.count - steps;
  mh_end end = steps <= rest ? MH_LEFT : MH_RIGHT;
  mh_part_moves(deque->space, container->part);
  bool done = end == MH_LEFT ? fits(&items, end, items.words + rest, steps, steps)
                             : fits(&items, end, items.words, rest, rest);
  return done ? MHEAP_OK : rotate_to_new(deque, container, &items, end, steps);
}
