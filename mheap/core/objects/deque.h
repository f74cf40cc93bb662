/* deque.h: deques: what is theirs alone, and the order of its stores (layout.h, "deque"). All
   other operations on a deque are those on a list (list.h), with the handle that these make;
   they do not look at its limit. Takes no lock. */
#ifndef MHEAP_OBJECTS_DEQUE_H
#define MHEAP_OBJECTS_DEQUE_H

#include "list.h"

static inline mheap_err mh_deque_at(mh_space *space, uint64_t offset, mh_list *deque) {
  return mh_items_owner_at(space, MH_TYPE_DEQUE, offset, deque);
}
/* `limit` as it is stored: items plus 1, or 0. */
mheap_err mh_deque_new(mh_space *space, uint64_t capacity, uint64_t limit, mh_list *deque);
mheap_err mh_deque_limit(mh_list *deque, uint64_t *limit);

/* Adds the words, in the order in which they shall stand, at an end; what is beyond the limit then
   goes from the other end. At most as many words as the limit allows: else MHEAP_ERR_ARGUMENT; if it
   allows none, MHEAP_ERR_NOT_FOUND, without an error set. */
mheap_err mh_deque_push(mh_list *deque, mh_end end, const uint64_t *words, uint64_t count);
/* The last `steps` items become the first. Costs as much as the smaller part of the two. */
mheap_err mh_deque_rotate(mh_list *deque, uint64_t steps);

/* Is it known, without a closer look, that it may have any number of items? */
static inline bool mh_deque_has_no_limit(const mh_list *deque) {
  if (!mh_list_is_cached(deque)) return false;
  return mh_read(&((const mh_container *)mh_at(deque->region, deque->offset))->limit) == 0;
}

#endif
