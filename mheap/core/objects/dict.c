/* dict.c: see dict.h. */
#include "dict.h"

#define FIRST_CAPACITY 4
#define LARGE 65536 /* entries from which a table grows by a half, not by doubling */

mheap_err mh_table_owner_at(mh_space *space, mh_type type, uint64_t offset, mh_dict *dict) {
  mh_container *container;
  mheap_err failed = mh_container_at(space, offset, type, 0, &container);
  if (failed) return failed;
  if (container->birth == 0) return mh_corrupt(space, offset + 8, "the birth number of a dict or set", 1, 0);
  *dict = (mh_dict){.space = space, .offset = offset, .birth = container->birth, .type = type};
  return MHEAP_OK;
}

/* ---- the table ---- */

static mheap_err open_table(mh_dict *dict, uint64_t part) {
  dict->part = 0;
  mheap_err failed = mh_table_open(dict->space, part, &dict->table);
  if (failed) return failed;
  dict->region = dict->space->region;
  dict->part = part;
  return MHEAP_OK;
}

static inline mheap_err table_of(mh_dict *dict, mh_container **container, const mh_table **table) {
  *table = NULL;
  *container = NULL;
  if (__builtin_expect(dict->offset == 0, false)) return MHEAP_OK;
  mheap_err failed = mh_container_at(dict->space, dict->offset, dict->type, dict->birth, container);
  if (__builtin_expect(failed, MHEAP_OK)) return failed;
  uint64_t part = mh_read(&(*container)->part);
  if (part == 0) return MHEAP_OK;
  if (__builtin_expect(part != dict->part || dict->region != dict->space->region, false)) {
    failed = open_table(dict, part);
    if (failed) return failed;
  }
  *table = &dict->table;
  return MHEAP_OK;
}

mheap_err mh_dict_table_slowly(mh_dict *dict, const mh_table **table) {
  mh_container *container;
  return table_of(dict, &container, table);
}

static mheap_err confirm_block(mh_dict *dict, uint64_t offset, uint64_t size) {
  uint64_t usable = mh_block_usable(dict->space, offset);
  if (usable >= size) return MHEAP_OK;
  return mh_corrupt(dict->space, offset, "the size of the block in use here", size, usable);
}

/* For a change: the table is a block of its own, and no removal is left half done in it. */
static mheap_err table_to_change(mh_dict *dict, mh_container **container, const mh_table **table) {
  mheap_err failed = mh_space_writable(dict->space);
  if (!failed) failed = table_of(dict, container, table);
  if (failed || *container == NULL) return failed;
  if (!dict->writable) failed = confirm_block(dict, dict->offset, sizeof(mh_container));
  if (failed) return failed;
  dict->writable = true;
  if (*table == NULL) return MHEAP_OK;
  if (!dict->table.writable) failed = confirm_block(dict, dict->part, mh_table_bytes(*table));
  if (failed) return failed;
  dict->table.writable = true;
  return mh_table_settle(dict->space, *table);
}

/* Publishes `table` in the place of the one there is, which is then freed. */
static void replace_table(mh_dict *dict, mh_container *container, const mh_table *table) {
  uint64_t old = container->part;
  mh_store(&container->part, table->offset);
  dict->table = *table;
  dict->region = dict->space->region;
  dict->part = table->offset;
  if (old != 0) mh_block_free(dict->space, old);
}

static uint64_t larger(uint64_t live) {
  if (live < FIRST_CAPACITY) return FIRST_CAPACITY;
  return live < LARGE ? live * 2 : live + live / 2;
}

/* A table for at least one entry more; entries that died are left behind. */
static mheap_err grow(mh_dict *dict, mh_container *container, const mh_table *table) {
  mh_table_counts counts = {0};
  mh_table made;
  mheap_err failed = table == NULL ? MHEAP_OK : mh_table_read(dict->space, table, &counts);
  if (!failed) failed = mh_table_new(dict->space, larger(counts.live), &made);
  if (failed) return failed;
  if (table != NULL) failed = mh_table_copy(dict->space, table, &made);
  if (failed) {
    mh_block_free(dict->space, made.offset);
    return failed;
  }
  made.writable = true;
  replace_table(dict, container, &made);
  return MHEAP_OK;
}

mheap_err mh_table_owner_new(mh_space *space, mh_type type, uint64_t capacity, mh_dict *dict) {
  uint64_t offset;
  mheap_err failed = mh_container_new(space, type, &offset);
  if (failed) return failed;
  mh_container *container = mh_at(space->region, offset);
  *dict = (mh_dict){.space = space, .offset = offset, .birth = container->birth, .type = type};
  if (capacity == 0) return MHEAP_OK;
  mh_table made;
  failed = mh_table_new(space, capacity, &made);
  if (failed) {
    mh_block_free(space, offset);
    return failed;
  }
  made.writable = true;
  replace_table(dict, container, &made);
  return MHEAP_OK;
}

/* ---- reading ---- */

mheap_err mh_dict_length(mh_dict *dict, uint64_t *length) {
  const mh_table *table;
  mh_table_counts counts = {0};
  mheap_err failed = mh_dict_table(dict, &table);
  if (!failed && table != NULL) failed = mh_table_read(dict->space, table, &counts);
  *length = counts.live;
  return failed;
}

mheap_err mh_dict_get_slowly(mh_dict *dict, const mh_key *key, uint64_t *value) {
  const mh_table *table;
  uint32_t index;
  mheap_err failed = mh_dict_table(dict, &table);
  if (failed) return failed;
  if (table == NULL) return MHEAP_ERR_NOT_FOUND;
  failed = mh_table_find(dict->space, table, key, &index);
  if (!failed) *value = mh_read(&table->entries[index].value);
  return failed;
}

static mheap_err entries_of(mh_dict *dict, const mh_table **table, mh_table_counts *counts) {
  mheap_err failed = mh_dict_table(dict, table);
  if (failed) return failed;
  return *table == NULL ? MHEAP_ERR_NOT_FOUND : mh_table_read(dict->space, *table, counts);
}

mheap_err mh_dict_next(mh_dict *dict, uint32_t *index, mh_entry *entry) {
  const mh_table *table;
  mh_table_counts counts;
  mheap_err failed = entries_of(dict, &table, &counts);
  if (failed) return failed;
  for (uint32_t i = *index; i < counts.used; i++) {
    if (!mh_table_is_live(table, &counts, i)) continue;
    *entry = table->entries[i];
    *index = i + 1;
    return MHEAP_OK;
  }
  return MHEAP_ERR_NOT_FOUND;
}

mheap_err mh_dict_previous(mh_dict *dict, uint32_t *index, mh_entry *entry) {
  const mh_table *table;
  mh_table_counts counts;
  mheap_err failed = entries_of(dict, &table, &counts);
  if (failed) return failed;
  uint32_t from = *index < counts.used ? *index : counts.used;
  for (uint32_t i = from; i-- > 0;) {
    if (!mh_table_is_live(table, &counts, i)) continue;
    *entry = table->entries[i];
    *index = i;
    return MHEAP_OK;
  }
  return MHEAP_ERR_NOT_FOUND;
}

/* ---- changing ---- */

static mheap_err replace_value(mh_dict *dict, const mh_table *table, uint32_t index, uint64_t value) {
  uint64_t old = table->entries[index].value;
  mheap_err failed = mh_word_check(dict->space, old);
  if (failed) return failed;
  mh_store(&table->entries[index].value, value);
  if (dict->replaced != NULL) *dict->replaced = old;
  else mh_release(dict->space, old);
  return MHEAP_OK;
}

/* Room for an entry, and the way to it, which stays a way to nothing until it is counted. */
static mheap_err make_room(mh_dict *dict, mh_container *container, uint64_t hash, mh_table_counts *counts) {
  const mh_table *table = container->part == 0 ? NULL : &dict->table;
  mheap_err failed = MHEAP_OK;
  if (table != NULL) failed = mh_table_read(dict->space, table, counts);
  if (failed) return failed;
  if (table != NULL && counts->used < table->capacity &&
      mh_table_link(table, hash, counts->used, counts->used) == MHEAP_OK)
    return MHEAP_OK;
  failed = grow(dict, container, table);
  if (!failed) failed = mh_table_read(dict->space, &dict->table, counts);
  if (!failed) failed = mh_table_link(&dict->table, hash, counts->used, counts->used);
  return failed;
}

static mheap_err insert(mh_dict *dict, mh_container *container, const mh_key *key, uint64_t value) {
  mh_table_counts counts;
  uint64_t stored;
  mheap_err failed = mh_key_store(dict->space, key, &stored);
  if (failed) return failed;
  failed = make_room(dict, container, key->hash, &counts);
  if (failed) {
    mh_release(dict->space, stored);
    return failed;
  }
  mh_entry *entry = &dict->table.entries[counts.used];
  entry->value = value;
  entry->key = stored;
  mh_mark_range(entry, sizeof *entry);
  mh_store(&dict->table.block->counts, (counts.used + 1) | (uint64_t)(counts.live + 1) << 32);
  return MHEAP_OK;
}

static mheap_err table_to_insert(mh_dict *dict, mh_container **container, const mh_table **table) {
  mheap_err failed = table_to_change(dict, container, table);
  if (failed || *container != NULL) return failed;
  return mh_fail(mh_error(dict->space->heap), MHEAP_ERR_STALE,
                 "%s: this dict stood for a root that was not there yet; ask the heap for its root again",
                 dict->space->region->path);
}

mheap_err mh_dict_set(mh_dict *dict, const mh_key *key, uint64_t value) {
  mh_container *container;
  const mh_table *table;
  uint32_t index;
  mheap_err found = table_to_insert(dict, &container, &table);
  if (found) return found;
  if (table != NULL) {
    found = mh_table_find(dict->space, table, key, &index);
    if (found == MHEAP_OK) return replace_value(dict, table, index, value);
    if (found != MHEAP_ERR_NOT_FOUND) return found;
  }
  return insert(dict, container, key, value);
}

mheap_err mh_dict_add(mh_dict *dict, const mh_key *key, uint64_t value, uint64_t *there) {
  mh_container *container;
  const mh_table *table;
  uint32_t index;
  *there = MH_WORD_ABSENT;
  mheap_err found = table_to_insert(dict, &container, &table);
  if (found) return found;
  if (table == NULL) return insert(dict, container, key, value);
  found = mh_table_find(dict->space, table, key, &index);
  if (found == MHEAP_ERR_NOT_FOUND) return insert(dict, container, key, value);
  if (!found) *there = table->entries[index].value;
  return found;
}

mheap_err mh_dict_insert(mh_dict *dict, const mh_key *key, uint64_t value) {
  mh_container *container;
  const mh_table *table;
  mheap_err failed = table_to_insert(dict, &container, &table);
  return failed ? failed : insert(dict, container, key, value);
}

mheap_err mh_dict_count(mh_dict *dict, const mh_key *key, bool *counted) {
  mh_container *container;
  const mh_table *table;
  uint32_t index;
  *counted = true;
  mheap_err found = table_to_insert(dict, &container, &table);
  if (found) return found;
  if (table == NULL) return insert(dict, container, key, mh_word_int(1));
  found = mh_table_find(dict->space, table, key, &index);
  if (found == MHEAP_ERR_NOT_FOUND) return insert(dict, container, key, mh_word_int(1));
  if (found) return found;
  uint64_t count = table->entries[index].value;
  *counted = mh_word_tag(count) == MH_TAG_INT && mh_word_to_int(count) < MH_INT_MAX;
  if (*counted) mh_store(&table->entries[index].value, mh_word_int(mh_word_to_int(count) + 1));
  return MHEAP_OK;
}

/* Makes the entry dead: the last one by lowering `used` to behind the last live one, so that
   each dead entry is passed over once; others in steps. */
static void unpublish(const mh_table *table, const mh_table_counts *counts, uint32_t index) {
  uint64_t live = (uint64_t)(counts->live - 1) << 32;
  if (index + 1 == counts->used) {
    while (index > 0 && table->entries[index - 1].key == MH_WORD_ABSENT) index--;
    mh_store(&table->block->counts, index | live);
    return;
  }
  mh_store(&table->block->pending, (index + 1) | live);
  mh_store(&table->entries[index].key, MH_WORD_ABSENT);
  mh_store(&table->block->counts, counts->used | live);
  mh_store(&table->block->pending, 0);
}

mheap_err mh_dict_delete(mh_dict *dict, const mh_key *key) {
  mh_container *container;
  const mh_table *table;
  mh_table_counts counts;
  uint32_t index;
  mheap_err failed = table_to_change(dict, &container, &table);
  if (failed) return failed;
  if (table == NULL) return MHEAP_ERR_NOT_FOUND;
  failed = mh_table_find(dict->space, table, key, &index);
  if (!failed) failed = mh_table_read(dict->space, table, &counts);
  if (failed) return failed;
  if (counts.live == 0) return mh_table_bad_counts(dict->space, table);
  mh_entry dead = table->entries[index];
  failed = mh_word_check(dict->space, dead.value);
  if (failed) return failed;
  unpublish(table, &counts, index);
  mh_table_unlink(table, key->hash, index);
  mh_release(dict->space, dead.key);
  mh_release(dict->space, dead.value);
  return MHEAP_OK;
}

mheap_err mh_dict_clear(mh_dict *dict) {
  mh_container *container;
  const mh_table *table;
  mheap_err failed = table_to_change(dict, &container, &table);
  if (failed || table == NULL) return failed;
  uint64_t part = container->part;
  mh_store(&container->part, 0);
  dict->part = 0;
  mh_release_part(dict->space, dict->type, part);
  return MHEAP_OK;
}
