/* radix.c: see radix.h. The caller holds the registry's lock in all of it. */
#include "radix.h"

#include <assert.h>

#include "os.h"

mh_radix_entry mh_radix_top[MH_RADIX_TOP];
_Atomic uint64_t mh_radix_moves;

static_assert(MH_RADIX_ADDRESS_BITS > MH_RADIX_TOP_BITS, "levels");

/* ---- tables ---- */

/* Their counts stand before the entries, which is what pointers to tables point to. */
typedef struct table {
  struct table *next; /* of the free ones */
  uint64_t used;      /* entries that are not 0 */
  mh_radix_entry entries[];
} table;

typedef struct level {
  uint32_t bits;  /* an entry is so many bytes long, as a power of two */
  uint64_t count; /* entries in a table */
  table *free;
} level;

static level levels[] = {
    {MH_RADIX_TOP_BITS, MH_RADIX_TOP, NULL},
    {MH_RADIX_TABLE_BITS, MH_RADIX_TABLE, NULL},
    {MH_RADIX_LEAF_BITS, MH_RADIX_LEAF, NULL},
};

/* Tables are cut from chunks: they are smaller than what the system gives. */
#define CHUNK_BYTES ((uint64_t)1 << 20)
static char *chunk;
static uint64_t chunk_left;

static table *cut_table(uint64_t bytes) {
  if (chunk_left < bytes) {
    char *more = mh_os_table(CHUNK_BYTES);
    if (more == NULL) return NULL;
    chunk = more;
    chunk_left = CHUNK_BYTES;
  }
  table *new = (table *)chunk;
  chunk += bytes;
  chunk_left -= bytes;
  return new;
}

/* An empty table. One that was used before may still be looked at by whoever was in it then:
   they are told before it holds anything new. */
static table *new_table(level *of) {
  table *new = of->free;
  if (new == NULL) return cut_table(sizeof(table) + of->count * sizeof(mh_radix_entry));
  of->free = new->next;
  atomic_fetch_add_explicit(&mh_radix_moves, 1, memory_order_acq_rel);
  return new;
}

static void free_table(level *of, table *old) {
  old->next = of->free;
  of->free = old;
}

static table *table_at(uintptr_t entry) {
  return (table *)(entry - MH_RADIX_DOWN - offsetof(table, entries));
}

static uintptr_t get(const mh_radix_entry *entry) {
  return atomic_load_explicit((mh_radix_entry *)(uintptr_t)entry, memory_order_relaxed);
}
static void set(mh_radix_entry *entry, uintptr_t value) {
  atomic_store_explicit(entry, value, memory_order_release);
}

/* ---- ranges ---- */

/* Part of a range that lies under one entry. */
typedef struct part {
  uint64_t start, end;
} part;

static part part_of(const level *of, uint64_t at, uint64_t end) {
  uint64_t next = ((at >> of->bits) + 1) << of->bits;
  return (part){at, next < end ? next : end};
}

static bool is_whole(const level *of, part p) { return p.end - p.start == (uint64_t)1 << of->bits; }

static mh_radix_entry *entry_of(level *of, mh_radix_entry *entries, uint64_t at) {
  return &entries[at >> of->bits & (of->count - 1)];
}

static bool fill(level *of, mh_radix_entry *entries, uint64_t *used, part p, uintptr_t region);

/* The table below an entry, made if there is none. */
static bool fill_below(level *of, mh_radix_entry *entry, uint64_t *used, part p, uintptr_t region) {
  level *below = of + 1;
  uintptr_t old = get(entry);
  table *down = old != 0 ? table_at(old) : new_table(below);
  if (down == NULL) return false;
  bool filled = fill(below, down->entries, &down->used, p, region);
  if (old == 0 && down->used == 0) {
    free_table(below, down);
  } else if (old == 0) {
    set(entry, (uintptr_t)down->entries | MH_RADIX_DOWN);
    ++*used;
  }
  return filled;
}

/* The entries that lie wholly in the range, from *at on: hundreds of them, so by a tight loop. */
static void set_whole(level *of, mh_radix_entry *entries, uint64_t *used, uint64_t *at, uint64_t end,
                      uintptr_t value) {
  uint64_t first = *at >> of->bits & (of->count - 1), count = (end - *at) >> of->bits;
  for (uint64_t i = 0; i < count; i++) set(&entries[first + i], value);
  *used += count;
  *at += count << of->bits;
}

/* Levels end at the leaves, whose entries are always whole: ranges are multiples of theirs. */
static bool fill(level *of, mh_radix_entry *entries, uint64_t *used, part p, uintptr_t region) {
  for (uint64_t at = p.start; at < p.end;) {
    part under = part_of(of, at, p.end);
    if (is_whole(of, under)) {
      set_whole(of, entries, used, &at, p.end, region);
      continue;
    }
    if (!fill_below(of, entry_of(of, entries, at), used, under, region)) return false;
    at = under.end;
  }
  return true;
}

static void clear(level *of, mh_radix_entry *entries, uint64_t *used, part p);

/* A table, if there is one, loses its part of the range, and goes when that was all it had. */
static void clear_below(level *of, mh_radix_entry *entry, uint64_t *used, part p) {
  uintptr_t old = get(entry);
  if (old == 0) return;
  table *down = table_at(old);
  clear(of + 1, down->entries, &down->used, p);
  if (down->used != 0) return;
  set(entry, 0);
  --*used;
  free_table(of + 1, down);
}

/* The same way as it was filled, as far as it was. */
static void clear(level *of, mh_radix_entry *entries, uint64_t *used, part p) {
  for (uint64_t at = p.start; at < p.end;) {
    part under = part_of(of, at, p.end);
    mh_radix_entry *entry = entry_of(of, entries, at);
    if (!is_whole(of, under)) {
      clear_below(of, entry, used, under);
    } else if (get(entry) != 0) {
      set(entry, 0);
      --*used;
    }
    at = under.end;
  }
}

static uint64_t top_used;

bool mh_radix_add(struct mh_region *region, uint64_t start, uint64_t length) {
  part all = {start, start + length};
  if (all.end >> MH_RADIX_ADDRESS_BITS != 0) return false;
  if (fill(levels, mh_radix_top, &top_used, all, (uintptr_t)region)) return true;
  mh_radix_remove(start, length);
  return false;
}

void mh_radix_remove(uint64_t start, uint64_t length) {
  clear(levels, mh_radix_top, &top_used, (part){start, start + length});
}
