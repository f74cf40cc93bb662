/* list.c: see list.h. */
#include "list.h"

#define FIRST_CAPACITY 4
#define LARGE 65536 /* items from which a list grows by an eighth, as Python's do, not by doubling */

/* ---- items ---- */

mheap_err mh_items_open(mh_space *space, uint64_t offset, mh_items *items) {
  if (offset % 16 != 0 || !mh_in_region(space->region, offset, sizeof(mh_items_block)))
    return mh_corrupt(space, offset, "items beyond the region", mh_region_size(space->region), offset);
  mh_items_block *block = mh_at(space->region, offset);
  uint64_t head = mh_read(&block->head), range = mh_read(&block->range);
  items->block = block;
  items->capacity = mh_head_length(head);
  items->count = (uint32_t)range;
  items->start = range >> 32;
  items->words = block->words + items->start;
  if (head != mh_head(0, MH_TYPE_ITEMS, items->capacity) ||
      !mh_in_region(space->region, offset, mh_items_bytes(items)))
    return mh_corrupt(space, offset, "the geometry of a list's items", mh_head(0, MH_TYPE_ITEMS, 0), head);
  return items->start + items->count > items->capacity ? mh_items_bad_range(space, offset, items) : MHEAP_OK;
}

mheap_err mh_items_bad_range(mh_space *space, uint64_t offset, const mh_items *items) {
  return mh_corrupt(space, offset + offsetof(mh_items_block, range), "the range of a list's items",
                    items->capacity, items->count | items->start << 32);
}

mheap_err mh_items_new(mh_space *space, uint64_t capacity, uint64_t *offset, mh_items *items) {
  uint64_t bytes = mheap_good_size(sizeof(mh_items_block) + 8 * capacity);
  uint64_t room = (bytes - sizeof(mh_items_block)) / 8;
  if (bytes != 0 && room > capacity) capacity = room < MH_LIST_MAX ? room : MH_LIST_MAX;
  mheap_err failed = mh_block_new(space, sizeof(mh_items_block) + 8 * capacity, offset);
  if (failed) return failed;
  mh_items_block *block = mh_at(space->region, *offset);
  *items = (mh_items){.block = block, .words = block->words, .capacity = capacity};
  block->head = mh_head(0, MH_TYPE_ITEMS, capacity);
  block->range = 0;
  return MHEAP_OK;
}

/* ---- handles ---- */

mheap_err mh_items_owner_at(mh_space *space, mh_type type, uint64_t offset, mh_list *list) {
  mh_container *container;
  mheap_err failed = mh_container_at(space, offset, type, 0, &container);
  if (failed) return failed;
  if (container->birth == 0)
    return mh_corrupt(space, offset + 8, "the birth number of a list or deque", 1, 0);
  *list = (mh_list){.space = space, .offset = offset, .birth = container->birth, .type = type};
  return MHEAP_OK;
}

mheap_err mh_items_owner_new(mh_space *space, mh_type type, uint64_t capacity, mh_list *list) {
  uint64_t offset;
  mheap_err failed = mh_container_new(space, type, &offset);
  if (failed) return failed;
  mh_container *container = mh_at(space->region, offset);
  *list = (mh_list){.space = space, .offset = offset, .birth = container->birth, .type = type};
  if (capacity == 0) return MHEAP_OK;
  mh_items items;
  uint64_t part;
  failed = mh_items_new(space, capacity, &part, &items);
  if (failed) mh_block_free(space, offset);
  else mh_store(&container->part, part);
  return failed;
}

/* What of a part a handle remembers. */
static void cache(mh_list *list, uint64_t part, const mh_items *items, bool confirmed) {
  list->region = list->space->region;
  list->part = part;
  list->block = items->block;
  list->capacity = items->capacity;
  list->confirmed = confirmed;
}

mheap_err mh_list_items_slowly(mh_list *list, mh_items *items) {
  mh_container *container;
  *items = (mh_items){0};
  list->part = 0;
  list->confirmed = false;
  mheap_err failed = mh_container_at(list->space, list->offset, list->type, list->birth, &container);
  if (failed) return failed;
  uint64_t part = mh_read(&container->part);
  if (part == 0) return MHEAP_OK;
  failed = mh_items_open(list->space, part, items);
  if (!failed) cache(list, part, items, false);
  return failed;
}

void mh_list_publish_part(mh_list *list, mh_container *container, uint64_t offset, const mh_items *made) {
  mh_store(&container->part, offset);
  cache(list, offset, made, true);
}

static mheap_err confirm_block(mh_list *list, uint64_t offset, uint64_t size) {
  uint64_t usable = mh_block_usable(list->space, offset);
  if (usable >= size) return MHEAP_OK;
  return mh_corrupt(list->space, offset, "the size of the block in use here", size, usable);
}

/* List and part, that nothing is written through a stored offset before it was confirmed. */
static mheap_err confirm(mh_list *list, const mh_items *items) {
  mheap_err failed = MHEAP_OK;
  if (!list->writable) failed = confirm_block(list, list->offset, sizeof(mh_container));
  if (failed) return failed;
  list->writable = true;
  if (list->part != 0) failed = confirm_block(list, list->part, mh_items_bytes(items));
  if (!failed) list->confirmed = list->part != 0;
  return failed;
}

mheap_err mh_list_to_change(mh_list *list, mh_container **container, mh_items *items) {
  mheap_err failed = mh_space_writable(list->space);
  if (!failed) failed = mh_list_items(list, items);
  if (failed) return failed;
  *container = mh_at(list->space->region, list->offset);
  if (__builtin_expect(list->writable && list->confirmed, true)) return MHEAP_OK;
  return confirm(list, items);
}

/* ---- changing ---- */

mheap_err mh_list_too_long(mh_list *list) {
  mheap_error *error = mh_error(list->space->heap);
  return mh_fail(error, MHEAP_ERR_OVERFLOW, "a list or deque holds at most %u items", MH_LIST_MAX);
}

mheap_err mh_list_set(mh_list *list, uint64_t index, uint64_t word) {
  mh_container *container;
  mh_items items;
  mheap_err failed = mh_list_to_change(list, &container, &items);
  if (failed) return failed;
  if (index >= items.count) return MHEAP_ERR_NOT_FOUND;
  uint64_t old = items.words[index];
  failed = mh_word_check(list->space, old);
  if (failed) return failed;
  mh_store(&items.words[index], word);
  mh_release(list->space, old);
  return MHEAP_OK;
}

/* Frees an items block whose words have gone elsewhere, but for [from, from + removed). */
static void free_old(mh_space *space, uint64_t part, const mh_items *old, uint64_t from, uint64_t removed) {
  for (uint64_t i = 0; i < removed; i++) mh_release(space, old->words[from + i]);
  if (part != 0) mh_block_free(space, part);
}

uint64_t mh_items_larger(uint64_t count) {
  if (count < FIRST_CAPACITY) return FIRST_CAPACITY;
  uint64_t wanted = count < LARGE ? count + count / 2 : count + count / 8;
  return wanted < MH_LIST_MAX ? wanted : MH_LIST_MAX;
}

static mheap_err splice_to_new(mh_list *list, mh_container *container, const mh_items *old, uint64_t from,
                               uint64_t removed, const uint64_t *words, uint64_t count) {
  uint64_t total = old->count - removed + count, offset, part = container->part;
  mh_items made;
  bool grows = count > removed && old->count > 0;
  mheap_err failed = mh_items_new(list->space, grows ? mh_items_larger(total) : total, &offset, &made);
  if (failed) return failed;
  if (from > 0) memcpy(made.words, old->words, 8 * from);
  if (count > 0) memcpy(made.words + from, words, 8 * count);
  uint64_t rest = old->count - from - removed;
  if (rest > 0) memcpy(made.words + from + count, old->words + from + removed, 8 * rest);
  made.block->range = total;
  mh_list_publish_part(list, container, offset, &made);
  free_old(list->space, part, old, from, removed);
  return MHEAP_OK;
}

mheap_err mh_list_append(mh_list *list, uint64_t word) {
  mh_container *container;
  mh_items items;
  mheap_err failed = mh_list_to_change(list, &container, &items);
  if (failed) return failed;
  if (items.start + items.count < items.capacity) {
    items.words[items.count] = word;
    mh_mark(&items.words[items.count]);
    mh_items_publish(items.block, items.start, items.count + 1);
    return MHEAP_OK;
  }
  if (items.count == MH_LIST_MAX) return mh_list_too_long(list);
  return splice_to_new(list, container, &items, items.count, 0, &word, 1);
}

static mheap_err clear(mh_list *list, mh_container *container) {
  uint64_t part = container->part;
  mh_store(&container->part, 0);
  list->part = 0;
  list->confirmed = false;
  mh_release_part(list->space, list->type, part);
  return MHEAP_OK;
}

/* Takes items off an end. They are out of the list before they are counted down, and still
   readable in the block. */
static mheap_err shrink(mh_list *list, mh_items *items, uint64_t from, uint64_t removed) {
  uint64_t start = items->start + (from == 0 ? removed : 0);
  mh_items_publish(items->block, start, items->count - removed);
  for (uint64_t i = 0; i < removed; i++) mh_release(list->space, items->words[from + i]);
  return MHEAP_OK;
}

static mheap_err splice(mh_list *list, mh_container *container, mh_items *items, uint64_t from,
                        uint64_t removed, const uint64_t *words, uint64_t count) {
  if (count == 0 && removed == items->count) return clear(list, container);
  if (count == 0 && (from == 0 || from + removed == items->count)) return shrink(list, items, from, removed);
  if (removed == 0 && from == items->count && items->start + from + count <= items->capacity) {
    memcpy(items->words + from, words, 8 * count);
    mh_mark_range(items->words + from, 8 * count);
    mh_items_publish(items->block, items->start, from + count);
    return MHEAP_OK;
  }
  if (removed == 0 && from == 0 && count <= items->start) {
    memcpy(items->words - count, words, 8 * count);
    mh_mark_range(items->words - count, 8 * count);
    mh_items_publish(items->block, items->start - count, items->count + count);
    return MHEAP_OK;
  }
  return splice_to_new(list, container, items, from, removed, words, count);
}

mheap_err mh_list_splice(mh_list *list, uint64_t from, uint64_t removed, const uint64_t *words,
                         uint64_t count) {
  mh_container *container;
  mh_items items;
  mheap_err failed = mh_list_to_change(list, &container, &items);
  if (failed) return failed;
  if (from > items.count || removed > items.count - from) return MHEAP_ERR_NOT_FOUND;
  if (count > MH_LIST_MAX - (items.count - removed)) return mh_list_too_long(list);
  if (removed == 0 && count == 0) return MHEAP_OK;
  for (uint64_t i = 0; i < removed; i++) {
    failed = mh_word_check(list->space, items.words[from + i]);
    if (failed) return failed;
  }
  return splice(list, container, &items, from, removed, words, count);
}

/* Writes the items in their new order behind `range`, checking that each is used once. */
static bool permute_into(mh_items *made, const mh_items *old, const uint64_t *order) {
  memset(made->words, 0, 8 * old->count);
  uint64_t *seen = made->words; /* item i is marked by an odd word at i, until it is written */
  for (uint64_t i = 0; i < old->count; i++) {
    if (order[i] >= old->count || seen[order[i]] != 0) return false;
    seen[order[i]] = 1;
  }
  for (uint64_t i = 0; i < old->count; i++) made->words[i] = old->words[order[i]];
  made->block->range = old->count;
  return true;
}

mheap_err mh_list_permute(mh_list *list, const uint64_t *order, uint64_t count) {
  mh_container *container;
  mh_items items, made;
  uint64_t offset;
  mheap_err failed = mh_list_to_change(list, &container, &items);
  if (failed) return failed;
  if (count != items.count)
    return mh_fail(mh_error(list->space->heap), MHEAP_ERR_ARGUMENT, "the list changed while it was sorted");
  if (count == 0) return MHEAP_OK;
  failed = mh_items_new(list->space, count, &offset, &made);
  if (failed) return failed;
  if (!permute_into(&made, &items, order)) {
    mh_block_free(list->space, offset);
    return mh_fail(mh_error(list->space->heap), MHEAP_ERR_ARGUMENT, "an order that is no permutation");
  }
  uint64_t part = container->part;
  mh_list_publish_part(list, container, offset, &made);
  mh_block_free(list->space, part);
  return MHEAP_OK;
}
