/* list.h: lists. Owns the operations on a list and the order of their stores (layout.h,
   "list"). Calls space.h. Takes no lock.

   An mh_list is a handle, as an mh_dict is. Words that go in bring one reference each with
   them, which the list owns from then on if the call succeeds; words that come out are
   borrowed. Indices are checked: out of range is MHEAP_ERR_NOT_FOUND, without an error set. */
#ifndef MHEAP_OBJECTS_LIST_H
#define MHEAP_OBJECTS_LIST_H

#include "space.h"

/* An items block as read, checked against the region. */
typedef struct mh_items {
  mh_items_block *block;
  uint64_t *words;    /* the first item */
  uint64_t start, count, capacity;
} mh_items;

mheap_err mh_items_open(mh_space *space, uint64_t offset, mh_items *items);
static inline uint64_t mh_items_bytes(const mh_items *items) {
  return sizeof(mh_items_block) + 8 * items->capacity;
}

typedef struct mh_list {
  mh_space *space;
  uint64_t offset;
  uint64_t birth;
  bool writable;      /* confirmed to be a block in use */
  uint64_t confirmed; /* the part that was confirmed to be one; 0: none */
} mh_list;

mheap_err mh_list_at(mh_space *space, uint64_t offset, mh_list *list);
/* A new, unpublished list with one reference, and room for `capacity` items. */
mheap_err mh_list_new(mh_space *space, uint64_t capacity, mh_list *list);

/* All items, to be read until the next change. */
mheap_err mh_list_items(mh_list *list, mh_items *items);

mheap_err mh_list_set(mh_list *list, uint64_t index, uint64_t word);
/* Replaces the items [from, from + removed) by these. Nothing is done half: on failure the
   list is as it was and the words are still the caller's. */
mheap_err mh_list_splice(mh_list *list, uint64_t from, uint64_t removed, const uint64_t *words,
                         uint64_t count);
/* Puts the items in another order: item i becomes what was item order[i]. MHEAP_ERR_ARGUMENT
   if that is no permutation. */
mheap_err mh_list_permute(mh_list *list, const uint64_t *order, uint64_t count);
mheap_err mh_list_append(mh_list *list, uint64_t word);

#endif
