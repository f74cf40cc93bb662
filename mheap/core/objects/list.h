/* list.h: lists, and the half of deques that is theirs too (deque.h). Owns the operations on a
   list and the order of their stores (layout.h, "list"). Calls space.h. Takes no lock.

   An mh_list is a handle, as an mh_dict is. Words that go in bring one reference each with
   them, which the list owns from then on if the call succeeds; words that come out are
   borrowed. Indices are checked: out of range is MHEAP_ERR_NOT_FOUND, without an error set. */
#ifndef MHEAP_OBJECTS_LIST_H
#define MHEAP_OBJECTS_LIST_H

#include "space.h"

typedef enum mh_end { MH_LEFT, MH_RIGHT } mh_end;

/* An items block as read, checked against the region. */
typedef struct mh_items {
  mh_items_block *block;
  uint64_t *words;    /* the first item */
  uint64_t start, count, capacity;
} mh_items;

mheap_err mh_items_open(mh_space *space, uint64_t offset, mh_items *items);
mheap_err mh_items_bad_range(mh_space *space, uint64_t offset, const mh_items *items);
static inline uint64_t mh_items_bytes(const mh_items *items) {
  return sizeof(mh_items_block) + 8 * items->capacity;
}

typedef struct mh_list {
  mh_space *space;
  uint64_t offset;
  uint64_t birth;
  mh_type type;   /* LIST or DEQUE */
  bool writable;  /* confirmed to be a block in use */
  bool confirmed; /* the same of the part below */
  /* the cache: of the container's part when it was last looked at, as in mh_dict */
  const mh_region *region;
  uint64_t part;  /* 0: nothing cached */
  mh_items_block *block;
  uint64_t capacity;
} mh_list;

/* As mh_table_owner_at and _new, of a list or deque. */
mheap_err mh_items_owner_at(mh_space *space, mh_type type, uint64_t offset, mh_list *list);
mheap_err mh_items_owner_new(mh_space *space, mh_type type, uint64_t capacity, mh_list *list);
static inline mheap_err mh_list_at(mh_space *space, uint64_t offset, mh_list *list) {
  return mh_items_owner_at(space, MH_TYPE_LIST, offset, list);
}
/* A new, unpublished list with one reference, and room for `capacity` items. */
static inline mheap_err mh_list_new(mh_space *space, uint64_t capacity, mh_list *list) {
  return mh_items_owner_new(space, MH_TYPE_LIST, capacity, list);
}

/* Is what was cached about the list's items still so? */
static inline bool mh_list_is_cached(const mh_list *list) {
  if (list->part == 0 || list->region != list->space->region ||
      !mh_container_is(list->space, list->offset, list->type, list->birth))
    return false;
  return mh_read(&((const mh_container *)mh_at(list->region, list->offset))->part) == list->part;
}

mheap_err mh_list_items_slowly(mh_list *list, mh_items *items);
/* All items, to be read until the next change. */
static inline mheap_err mh_list_items(mh_list *list, mh_items *items) {
  if (__builtin_expect(!mh_list_is_cached(list), false)) return mh_list_items_slowly(list, items);
  uint64_t range = mh_read(&list->block->range);
  *items = (mh_items){.block = list->block, .capacity = list->capacity};
  items->count = (uint32_t)range;
  items->start = range >> 32;
  items->words = items->block->words + items->start;
  if (__builtin_expect(items->start + items->count <= items->capacity, true)) return MHEAP_OK;
  return mh_items_bad_range(list->space, list->part, items);
}

mheap_err mh_list_set(mh_list *list, uint64_t index, uint64_t word);
/* Replaces the items [from, from + removed) by these. Nothing is done half: on failure the
   list is as it was and the words are still the caller's. */
mheap_err mh_list_splice(mh_list *list, uint64_t from, uint64_t removed, const uint64_t *words,
                         uint64_t count);
/* Puts the items in another order: item i becomes what was item order[i]. MHEAP_ERR_ARGUMENT
   if that is no permutation. */
mheap_err mh_list_permute(mh_list *list, const uint64_t *order, uint64_t count);
mheap_err mh_list_append(mh_list *list, uint64_t word);

/* ---- for deque.c ---- */

/* List and items, which are blocks of their own. */
mheap_err mh_list_to_change(mh_list *list, mh_container **container, mh_items *items);
mheap_err mh_list_too_long(mh_list *list);
/* Makes an unpublished items block with room for at least `capacity`. */
mheap_err mh_items_new(mh_space *space, uint64_t capacity, uint64_t *offset, mh_items *items);
/* Publishes it as the list's. */
void mh_list_publish_part(mh_list *list, mh_container *container, uint64_t offset, const mh_items *made);
/* The capacity to have at `count` items, so that not every further one needs a new block. */
uint64_t mh_items_larger(uint64_t count);
static inline void mh_items_publish(mh_items_block *block, uint64_t start, uint64_t count) {
  mh_store(&block->range, count | start << 32);
}

#endif
