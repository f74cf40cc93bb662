/* radix.h: from an address to the region it lies in.

   Owns: a map of the whole address space, in process memory, in which every region that is
   attached covers its span. Calls os.h. Knows nothing of a region but the pointer to it.

     top     an entry for every 4 GiB:  a region, a table, or nothing
     table   an entry for every 4 MiB:  a region, a table, or nothing
     leaf    an entry for every 64 KiB: a region, or nothing

   so that a region is as many stores as it is long in 4 GiB, and some hundreds at its ends.

   Readers take no lock and may be signal handlers. Changes are made under the registry's lock.
   A table that became empty is used again elsewhere, never given back; a reader that was still
   in it when that happened sees that `mh_radix_moves` has changed, and starts again.

   Invariant: an address of a region that stays attached is found at every instant. */
#ifndef MHEAP_RADIX_H
#define MHEAP_RADIX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mh_region;

#define MH_RADIX_TOP_BITS 32
#define MH_RADIX_TABLE_BITS 22
#define MH_RADIX_LEAF_BITS 16
#define MH_RADIX_ADDRESS_BITS 48 /* no system that has processes with more gives it them unasked */

#define MH_RADIX_TOP ((uint64_t)1 << (MH_RADIX_ADDRESS_BITS - MH_RADIX_TOP_BITS))
#define MH_RADIX_TABLE ((uint64_t)1 << (MH_RADIX_TOP_BITS - MH_RADIX_TABLE_BITS))
#define MH_RADIX_LEAF ((uint64_t)1 << (MH_RADIX_TABLE_BITS - MH_RADIX_LEAF_BITS))

/* 0: nothing there; else a region, or, with MH_RADIX_DOWN, a table of the next level. */
typedef _Atomic uintptr_t mh_radix_entry;
#define MH_RADIX_DOWN ((uintptr_t)1)

extern mh_radix_entry mh_radix_top[MH_RADIX_TOP];
extern _Atomic uint64_t mh_radix_moves;

static inline uintptr_t mh_radix_down(uintptr_t entry, uint64_t address, uint32_t bits, uint64_t count) {
  const mh_radix_entry *table = (const mh_radix_entry *)(entry - MH_RADIX_DOWN);
  return atomic_load_explicit(&table[address >> bits & (count - 1)], memory_order_acquire);
}

/* The region that `address` lies in, or NULL. */
static inline struct mh_region *mh_radix_find(const void *address) {
  uint64_t at = (uint64_t)(uintptr_t)address;
  if (at >> MH_RADIX_ADDRESS_BITS != 0) return NULL;
  for (;;) {
    uintptr_t entry = atomic_load_explicit(&mh_radix_top[at >> MH_RADIX_TOP_BITS], memory_order_acquire);
    if (!(entry & MH_RADIX_DOWN)) return (struct mh_region *)entry;
    uint64_t moves = atomic_load_explicit(&mh_radix_moves, memory_order_acquire);
    entry = atomic_load_explicit(&mh_radix_top[at >> MH_RADIX_TOP_BITS], memory_order_acquire);
    if (entry & MH_RADIX_DOWN) entry = mh_radix_down(entry, at, MH_RADIX_TABLE_BITS, MH_RADIX_TABLE);
    if (entry & MH_RADIX_DOWN) entry = mh_radix_down(entry, at, MH_RADIX_LEAF_BITS, MH_RADIX_LEAF);
    if (atomic_load_explicit(&mh_radix_moves, memory_order_relaxed) == moves)
      return (struct mh_region *)entry;
  }
}

/* Makes [start, start + length), multiples of 64 KiB below 2^48, lead to `region`; nothing in it
   led to another. False: no memory for the tables, nothing was changed. */
bool mh_radix_add(struct mh_region *region, uint64_t start, uint64_t length);
/* Makes it lead nowhere. */
void mh_radix_remove(uint64_t start, uint64_t length);

#endif
