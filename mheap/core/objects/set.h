/* set.h: sets: what is theirs alone. All other operations on a set are those on a dict (dict.h),
   with the handle that these make. Takes no lock. */
#ifndef MHEAP_OBJECTS_SET_H
#define MHEAP_OBJECTS_SET_H

#include "dict.h"

static inline mheap_err mh_set_at(mh_space *space, uint64_t offset, mh_dict *set) {
  return mh_table_owner_at(space, MH_TYPE_SET, offset, set);
}
static inline mheap_err mh_set_new(mh_space *space, uint64_t capacity, mh_dict *set) {
  return mh_table_owner_new(space, MH_TYPE_SET, capacity, set);
}
/* What is there already stays as it is, and nothing is stored. */
static inline mheap_err mh_set_add(mh_dict *set, const mh_key *key) {
  uint64_t there;
  return mh_dict_add(set, key, MH_CONST_NONE, &there);
}

#endif
