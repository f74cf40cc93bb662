/* table.c: see table.h. */
#include "table.h"

#define SLOT_BYTES 4
#define WORN_OUT 32 /* removed slots on the way to an empty one that make a new table worth it */
#define EVERY_BYTE 0x0101010101010101u
#define HIGH_BITS 0x8080808080808080u

/* ---- geometry ---- */

static unsigned bits_of(uint64_t value) { return value == 0 ? 0 : 64 - (unsigned)__builtin_clzll(value); }

/* At most two thirds of the slots lead to entries. */
static unsigned log2_for(uint64_t capacity) {
  unsigned log2 = bits_of(capacity + capacity / 2);
  return log2 < MH_TABLE_LOG2_MIN ? MH_TABLE_LOG2_MIN : log2;
}

uint64_t mh_table_bytes(const mh_table *table) {
  uint64_t slots = table->slots == NULL ? 0 : (table->mask + 1) * SLOT_BYTES;
  return sizeof(mh_table_block) + slots + sizeof(mh_entry) * (uint64_t)table->capacity;
}

static void place(mh_table *table, mh_table_block *block, bool tagged, unsigned log2, uint32_t capacity) {
  char *after = (char *)(block + 1);
  table->block = block;
  table->writable = false;
  table->capacity = capacity;
  table->slots = tagged ? NULL : (uint32_t *)after;
  table->mask = tagged ? 0 : ((uint64_t)1 << log2) - 1;
  table->shift = tagged ? 0 : bits_of((uint64_t)capacity + 1);
  table->entries = (mh_entry *)(after + (tagged ? 0 : (SLOT_BYTES << log2)));
}

static uint64_t geometry(bool tagged, unsigned log2, unsigned shift, uint32_t capacity) {
  uint64_t head = mh_head(0, MH_TYPE_TABLE, capacity);
  if (tagged) return head;
  return head | log2 | shift << MH_TABLE_SHIFT_SHIFT | SLOT_BYTES << MH_TABLE_SLOT_SHIFT;
}

mheap_err mh_table_open(mh_space *space, uint64_t offset, mh_table *table) {
  if (offset % 16 != 0 || !mh_in_region(space->region, offset, sizeof(mh_table_block)))
    return mh_corrupt(space, offset, "a table beyond the region", mh_region_size(space->region), offset);
  mh_table_block *block = mh_at(space->region, offset);
  uint64_t head = mh_read(&block->head);
  uint32_t capacity = (uint32_t)mh_head_length(head);
  unsigned log2 = head & 0xff;
  bool tagged = capacity <= MH_TABLE_TAGGED;
  bool sane = capacity > 0 && capacity <= MH_TABLE_CAPACITY_MAX && log2 <= MH_TABLE_LOG2_MAX &&
              head == geometry(tagged, log2, bits_of((uint64_t)capacity + 1), capacity) &&
              (tagged || (uint64_t)1 << log2 > capacity);
  if (!sane) return mh_corrupt(space, offset, "the geometry of a table", geometry(true, 0, 0, 8), head);
  place(table, block, tagged, log2, capacity);
  table->offset = offset;
  if (!mh_in_region(space->region, offset, mh_table_bytes(table)))
    return mh_corrupt(space, offset, "the end of a table", mh_region_size(space->region),
                      offset + mh_table_bytes(table));
  return MHEAP_OK;
}

static uint64_t before_entries(uint64_t capacity) {
  bool tagged = capacity <= MH_TABLE_TAGGED;
  return sizeof(mh_table_block) + (tagged ? 0 : (uint64_t)SLOT_BYTES << log2_for(capacity));
}

uint64_t mh_table_room(uint64_t capacity) { return before_entries(capacity) + sizeof(mh_entry) * capacity; }

mheap_err mh_table_new(mh_space *space, uint64_t capacity, mh_table *table) {
  if (capacity > MH_TABLE_CAPACITY_MAX)
    return mh_fail(mh_error(space->heap), MHEAP_ERR_OVERFLOW, "a dict or set holds at most %u entries",
                   MH_TABLE_CAPACITY_MAX);
  bool tagged = capacity <= MH_TABLE_TAGGED;
  unsigned log2 = log2_for(capacity);
  uint64_t before = before_entries(capacity), offset;
  uint64_t room = (mheap_good_size(mh_table_room(capacity)) - before) / sizeof(mh_entry);
  uint64_t most = tagged ? MH_TABLE_TAGGED : (((uint64_t)1 << log2) * 2 - 1) / 3;
  if (room > capacity) capacity = room < most ? room : most;
  mheap_err failed = mh_block_new(space, before + sizeof(mh_entry) * capacity, &offset);
  if (failed) return failed;
  mh_table_block *block = mh_at(space->region, offset);
  place(table, block, tagged, log2, (uint32_t)capacity);
  table->offset = offset;
  *block = (mh_table_block){.head = geometry(tagged, log2, table->shift, (uint32_t)capacity)};
  if (!tagged) memset(table->slots, 0, (table->mask + 1) * SLOT_BYTES);
  return MHEAP_OK;
}

mheap_err mh_table_bad_counts(mh_space *space, const mh_table *table) {
  return mh_corrupt(space, table->offset + offsetof(mh_table_block, counts), "the counts of a table",
                    table->capacity, table->block->counts);
}

/* ---- finding ---- */

static inline mheap_err entry_is(mh_space *space, const mh_table *table, const mh_key *key, uint32_t index) {
  uint64_t stored = mh_read(&table->entries[index].key);
  if (stored == MH_WORD_ABSENT) return MHEAP_ERR_NOT_FOUND;
  if (stored == key->word || mh_key_is_text(space, key, stored)) return MHEAP_OK;
  return mh_key_equals(space, key, stored);
}

static mheap_err find_tagged(mh_space *space, const mh_table *table, const mh_table_counts *counts,
                             const mh_key *key, uint32_t *index) {
  uint64_t differ = table->block->tags ^ (key->hash >> 56) * EVERY_BYTE;
  uint64_t matches = (differ - EVERY_BYTE) & ~differ & HIGH_BITS;
  for (; matches != 0; matches &= matches - 1) {
    uint32_t i = (uint32_t)__builtin_ctzll(matches) / 8;
    if (i >= counts->used) break;
    if (i == counts->dying) continue;
    mheap_err found = entry_is(space, table, key, i);
    if (found != MHEAP_ERR_NOT_FOUND) return *index = i, found;
  }
  return MHEAP_ERR_NOT_FOUND;
}

/* The slot of the entry, too, for those who mean to change it. */
static inline mheap_err find_slotted(mh_space *space, const mh_table *table, const mh_table_counts *counts,
                                     const mh_key *key, uint32_t *index) {
  const uint32_t *slots = table->slots;
  uint64_t mask = table->mask, at = key->hash & mask;
  uint32_t want = (uint32_t)(key->hash >> 32), low = ((uint32_t)1 << table->shift) - 1;
  for (uint64_t n = 0; n <= mask; n++, at = (at + 1) & mask) {
    uint32_t slot = slots[at];
    if (slot == MH_SLOT_EMPTY) break;
    if (((slot ^ want) & ~low) != 0) continue;
    uint32_t i = (slot & low) - MH_SLOT_FIRST;
    if (i >= counts->used || i == counts->dying) continue;
    mheap_err found = entry_is(space, table, key, i);
    if (found != MHEAP_ERR_NOT_FOUND) return *index = i, found;
  }
  return MHEAP_ERR_NOT_FOUND;
}

mheap_err mh_table_find(mh_space *space, const mh_table *table, const mh_key *key, uint32_t *index) {
  mh_table_counts counts;
  mheap_err failed = mh_table_read(space, table, &counts);
  if (failed) return failed;
  if (table->slots == NULL) return find_tagged(space, table, &counts, key, index);
  return find_slotted(space, table, &counts, key, index);
}

/* ---- changing ---- */

static void set_tag(const mh_table *table, uint64_t hash, uint32_t index) {
  uint64_t clear = ~((uint64_t)0xff << 8 * index);
  mh_store(&table->block->tags, (table->block->tags & clear) | (hash >> 56) << 8 * index);
}

mheap_err mh_table_link(const mh_table *table, uint64_t hash, uint32_t index, uint32_t used) {
  if (table->slots == NULL) return set_tag(table, hash, index), MHEAP_OK;
  uint64_t mask = table->mask, at = hash & mask, removed = 0;
  uint32_t low = ((uint32_t)1 << table->shift) - 1, *free = NULL;
  for (uint64_t n = 0; n <= mask && removed < WORN_OUT; n++, at = (at + 1) & mask) {
    uint32_t slot = table->slots[at];
    removed += slot == MH_SLOT_REMOVED;
    if (slot > MH_SLOT_REMOVED && (slot & low) - MH_SLOT_FIRST < used) continue;
    if (free == NULL) free = &table->slots[at];
    if (slot == MH_SLOT_EMPTY) break;
  }
  if (free == NULL || removed == WORN_OUT) return MHEAP_ERR_FULL;
  mh_store_slot(free, ((uint32_t)(hash >> 32) & ~low) | (index + MH_SLOT_FIRST));
  return MHEAP_OK;
}

uint64_t mh_table_link_first(const mh_table *table, uint64_t hash, uint32_t index) {
  if (table->slots == NULL) return set_tag(table, hash, index), 0;
  uint64_t at = hash & table->mask, probes = 1;
  uint32_t low = ((uint32_t)1 << table->shift) - 1;
  for (; table->slots[at] != MH_SLOT_EMPTY; probes++) at = (at + 1) & table->mask;
  mh_store_slot(&table->slots[at], ((uint32_t)(hash >> 32) & ~low) | (index + MH_SLOT_FIRST));
  return probes;
}

/* A removed slot that no probe has to pass is an empty one again. */
static void trim_removed(const mh_table *table, uint64_t at) {
  uint64_t mask = table->mask;
  if (table->slots[(at + 1) & mask] != MH_SLOT_EMPTY) return;
  for (uint64_t n = 0; n <= mask && table->slots[at] == MH_SLOT_REMOVED; n++, at = (at - 1) & mask)
    mh_store_slot(&table->slots[at], MH_SLOT_EMPTY);
}

void mh_table_unlink(const mh_table *table, uint64_t hash, uint32_t index) {
  if (table->slots == NULL) return;
  uint64_t mask = table->mask, at = hash & mask;
  uint32_t low = ((uint32_t)1 << table->shift) - 1;
  for (uint64_t n = 0; n <= mask; n++, at = (at + 1) & mask) {
    uint32_t slot = table->slots[at];
    if (slot == MH_SLOT_EMPTY) return;
    if ((slot & low) != index + MH_SLOT_FIRST || ((slot ^ (uint32_t)(hash >> 32)) & ~low) != 0) continue;
    mh_store_slot(&table->slots[at], MH_SLOT_REMOVED);
    trim_removed(table, at);
    return;
  }
}

mheap_err mh_table_copy(mh_space *space, const mh_table *from, mh_table *to) {
  mh_table_counts counts;
  mheap_err failed = mh_table_read(space, from, &counts);
  uint32_t used = 0;
  for (uint32_t i = 0; !failed && i < counts.used; i++) {
    uint64_t hash;
    if (!mh_table_is_live(from, &counts, i)) continue;
    if (used == to->capacity) return mh_table_bad_counts(space, from);
    to->entries[used] = from->entries[i];
    failed = mh_key_hash(space, from->entries[i].key, &hash);
    if (!failed) failed = mh_table_link(to, hash, used, used);
    used++;
  }
  if (!failed) to->block->counts = used | (uint64_t)used << 32;
  return failed;
}

mheap_err mh_table_settle(mh_space *space, const mh_table *table) {
  uint64_t pending = table->block->pending;
  if (__builtin_expect(pending == 0, true)) return MHEAP_OK;
  mh_table_counts counts;
  mheap_err failed = mh_table_read(space, table, &counts);
  if (failed) return failed;
  if (counts.dying >= counts.used || counts.live == counts.used)
    return mh_corrupt(space, table->offset + offsetof(mh_table_block, pending), "the removal in progress",
                      counts.used, pending);
  mh_store(&table->entries[counts.dying].key, MH_WORD_ABSENT);
  mh_store(&table->block->counts, counts.used | (uint64_t)counts.live << 32);
  mh_store(&table->block->pending, 0);
  return MHEAP_OK;
}
