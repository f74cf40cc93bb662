/* table.h: a dict's table: its geometry, finding an entry, adding one. Calls key.h. Takes no lock.

   A view is the process's idea of one table, made by mh_table_open, which checks every
   number that a later access relies on: after that, entries and slots can be touched. */
#ifndef MHEAP_OBJECTS_TABLE_H
#define MHEAP_OBJECTS_TABLE_H

#include "key.h"

typedef struct mh_table {
  mh_table_block *block;
  uint32_t *slots;   /* NULL: tagged */
  mh_entry *entries;
  uint64_t mask;     /* slots - 1 */
  unsigned shift;
  uint32_t capacity;
  uint64_t offset;   /* of the block */
  bool writable;     /* confirmed to be a block in use */
} mh_table;

/* Reads and checks the geometry of the table at `offset`. */
mheap_err mh_table_open(mh_space *space, uint64_t offset, mh_table *table);

/* Makes an unpublished empty table with room for at least `capacity` entries; what it needs, bytes. */
uint64_t mh_table_room(uint64_t capacity);
mheap_err mh_table_new(mh_space *space, uint64_t capacity, mh_table *table);

/* Bytes that a table of this geometry needs. */
uint64_t mh_table_bytes(const mh_table *table);

/* What is in it, as a reader has to see it. */
typedef struct mh_table_counts {
  uint32_t used, live;
  uint32_t dying; /* entry to be taken as dead; used or more: none */
} mh_table_counts;

mheap_err mh_table_bad_counts(mh_space *space, const mh_table *table);

static inline mheap_err mh_table_read(mh_space *space, const mh_table *table, mh_table_counts *counts) {
  uint64_t word = mh_read(&table->block->counts), pending = mh_read(&table->block->pending);
  counts->used = (uint32_t)word;
  counts->live = (uint32_t)(word >> 32);
  counts->dying = UINT32_MAX;
  if (__builtin_expect(pending != 0, false)) {
    counts->dying = (uint32_t)pending - 1;
    counts->live = (uint32_t)(pending >> 32);
  }
  if (counts->used > table->capacity || counts->live > counts->used) return mh_table_bad_counts(space, table);
  return MHEAP_OK;
}

static inline bool mh_table_is_live(const mh_table *table, const mh_table_counts *counts, uint32_t index) {
  return index != counts->dying && table->entries[index].key != MH_WORD_ABSENT;
}

/* The live entry of this key. MHEAP_ERR_NOT_FOUND: there is none. */
mheap_err mh_table_find(mh_space *space, const mh_table *table, const mh_key *key, uint32_t *index);

/* Stores the way from the hash to the entry. MHEAP_ERR_FULL, silently: the slots are worn
   out by removals, make a new table. */
mheap_err mh_table_link(const mh_table *table, uint64_t hash, uint32_t index, uint32_t used);
/* The same in a table from which nothing was ever removed. Returns the slots it had to look at. */
uint64_t mh_table_link_first(const mh_table *table, uint64_t hash, uint32_t index);
/* Takes that way out again, for an entry that is dead by now. */
void mh_table_unlink(const mh_table *table, uint64_t hash, uint32_t index);

/* Copies the live entries to `to`, which is empty and has room for them. */
mheap_err mh_table_copy(mh_space *space, const mh_table *from, mh_table *to);

/* Finishes the removal that a killed writer began. */
mheap_err mh_table_settle(mh_space *space, const mh_table *table);

#endif
