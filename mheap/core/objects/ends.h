/* ends.h: one item at an end of a list or deque, as it mostly is: there is room, or another item, and the
   word is no reference, so that nothing is counted. Each is false where it takes a closer look, which
   list.h and deque.h have. Calls list.h. Takes no lock. */
#ifndef MHEAP_OBJECTS_ENDS_H
#define MHEAP_OBJECTS_ENDS_H

#include "list.h"

/* Is all known that a change relies on (mh_list_to_change)? */
static inline bool mh_list_is_ready(const mh_list *list) {
  return list->writable && list->confirmed && mh_list_is_cached(list) &&
         mh_space_writable(list->space) == MHEAP_OK;
}

/* As mh_list_append, and as mh_deque_push if there is no limit. */
static inline bool mh_ends_push(mh_list *list, mh_end end, uint64_t word) {
  if (!mh_list_is_ready(list)) return false;
  uint64_t range = mh_read(&list->block->range), start = range >> 32, behind = start + (uint32_t)range;
  if (behind > list->capacity || (end == MH_RIGHT ? behind == list->capacity : start == 0)) return false;
  uint64_t *to = &list->block->words[end == MH_RIGHT ? behind : start - 1];
  *to = word;
  mh_mark(to);
  mh_items_publish(list->block, end == MH_RIGHT ? start : start - 1, (uint32_t)range + (uint64_t)1);
  return true;
}

/* What mh_ends_drop would take off: not the last item of all, whose block goes with it. */
static inline bool mh_ends_peek(const mh_list *list, mh_end end, uint64_t *word) {
  if (!mh_list_is_ready(list)) return false;
  uint64_t range = mh_read(&list->block->range), start = range >> 32, behind = start + (uint32_t)range;
  if (behind > list->capacity || (uint32_t)range < 2) return false;
  *word = list->block->words[end == MH_RIGHT ? behind - 1 : start];
  mh_tag tag = mh_word_tag(*word);
  return tag >= MH_TAG_INT && tag < MH_TAG_REF;
}

/* Takes it off: nothing was changed since. */
static inline void mh_ends_drop(mh_list *list, mh_end end) {
  uint64_t range = mh_read(&list->block->range);
  mh_items_publish(list->block, (range >> 32) + (end == MH_LEFT), (uint32_t)range - (uint64_t)1);
}

#endif
