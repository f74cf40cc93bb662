/* dict.h: dicts, and the half of sets that is theirs too (set.h). Owns the operations on a dict
   and the order of their stores (layout.h, "dict"). Calls table.h, space.h. Takes no lock.

   An mh_dict is a handle: process state, of any lifetime, that remembers where the dict is
   and the geometry of its table. Values and keys that go in bring one reference with them,
   which the dict owns from then on if the call succeeds; words that come out are borrowed. */
#ifndef MHEAP_OBJECTS_DICT_H
#define MHEAP_OBJECTS_DICT_H

#include "table.h"

typedef struct mh_dict {
  mh_space *space;
  uint64_t offset;
  uint64_t birth;
  mh_type type;  /* DICT, SET or COUNTER */
  bool writable; /* confirmed to be a block in use */
  /* the cache: of the container's part when it was last looked at */
  const mh_region *region;
  uint64_t part;  /* 0: nothing cached */
  mh_table table;
  uint64_t *replaced; /* where a value goes, with its reference, that another takes the place of; NULL: it is
                         released */
} mh_dict;

/* A handle that stands for a root that is not there: an empty dict in which nothing can be set. */
static inline mh_dict mh_dict_nowhere(mh_space *space) {
  return (mh_dict){.space = space, .type = MH_TYPE_DICT};
}
/* A handle for the dict, or set, at `offset`; its birth number is read from it. */
mheap_err mh_table_owner_at(mh_space *space, mh_type type, uint64_t offset, mh_dict *dict);
/* A new, unpublished one with one reference and room for `capacity` entries. */
mheap_err mh_table_owner_new(mh_space *space, mh_type type, uint64_t capacity, mh_dict *dict);
static inline mheap_err mh_dict_at(mh_space *space, uint64_t offset, mh_dict *dict) {
  return mh_table_owner_at(space, MH_TYPE_DICT, offset, dict);
}
static inline mheap_err mh_dict_new(mh_space *space, uint64_t capacity, mh_dict *dict) {
  return mh_table_owner_new(space, MH_TYPE_DICT, capacity, dict);
}

mheap_err mh_dict_length(mh_dict *dict, uint64_t *length);

/* What the key leads to. MHEAP_ERR_NOT_FOUND, without setting an error: nothing. */
mheap_err mh_dict_get_slowly(mh_dict *dict, const mh_key *key, uint64_t *value);
static inline mheap_err mh_dict_get(mh_dict *dict, const mh_key *key, uint64_t *value);
/* Inserts or replaces. */
mheap_err mh_dict_set(mh_dict *dict, const mh_key *key, uint64_t value);
/* Inserts, unless the key is there: then *there is what it leads to, and `value` still the caller's. */
mheap_err mh_dict_add(mh_dict *dict, const mh_key *key, uint64_t value, uint64_t *there);
/* Inserts a key that was just looked for, and is not there: nothing has changed the dict since. */
mheap_err mh_dict_insert(mh_dict *dict, const mh_key *key, uint64_t value);
/* Adds 1 to the int that the key leads to, or inserts the key with a 1, by one look-up. False in *counted: it
   leads to another value than an int, or to one that is too large to be inline. */
mheap_err mh_dict_count(mh_dict *dict, const mh_key *key, bool *counted);
/* Removes. MHEAP_ERR_NOT_FOUND as mh_dict_get. */
mheap_err mh_dict_delete(mh_dict *dict, const mh_key *key);
mheap_err mh_dict_clear(mh_dict *dict);

/* The next live entry at or after *index, which is left behind it. Start with 0.
   MHEAP_ERR_NOT_FOUND: no more. */
mheap_err mh_dict_next(mh_dict *dict, uint32_t *index, mh_entry *entry);
/* The next live entry before *index, which is left at it. Start with UINT32_MAX. */
mheap_err mh_dict_previous(mh_dict *dict, uint32_t *index, mh_entry *entry);

/* Finds the dict's table through the handle's cache. An empty dict has none: *table is NULL. */
mheap_err mh_dict_table_slowly(mh_dict *dict, const mh_table **table);

/* Is what was cached about the dict's table still so? */
static inline bool mh_dict_is_cached(const mh_dict *dict) {
  if (dict->part == 0 || dict->region != dict->space->region ||
      !mh_container_is(dict->space, dict->offset, dict->type, dict->birth))
    return false;
  return mh_read(&((const mh_container *)mh_at(dict->region, dict->offset))->part) == dict->part;
}

static inline mheap_err mh_dict_table(mh_dict *dict, const mh_table **table) {
  if (!mh_dict_is_cached(dict)) return mh_dict_table_slowly(dict, table);
  *table = &dict->table;
  return MHEAP_OK;
}

static inline mheap_err mh_dict_get(mh_dict *dict, const mh_key *key, uint64_t *value) {
  uint32_t index;
  if (!mh_dict_is_cached(dict)) return mh_dict_get_slowly(dict, key, value);
  mheap_err failed = mh_table_find(dict->space, &dict->table, key, &index);
  if (!failed) *value = mh_read(&dict->table.entries[index].value);
  return failed;
}

#endif
