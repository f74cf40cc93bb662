/* moved.c: see moved.h. */
#include "moved.h"

#include <stddef.h>

#include "../os.h"

#define FIRST_ROOM 4096

typedef struct mh_moved_entry {
  uint64_t from; /* 0: empty */
  uint64_t to;
} mh_moved_entry;

static uint64_t seen_bytes(const mh_moved *moved) { return (moved->limit / 1024 + 1) * sizeof *moved->seen; }

bool mh_moved_open(mh_moved *moved, uint64_t limit) {
  *moved = (mh_moved){.limit = limit};
  mh_os_random(&moved->factor, sizeof moved->factor);
  moved->factor |= 1;
  moved->seen = mh_os_table(seen_bytes(moved));
  return moved->seen != NULL;
}

static void free_entries(mh_moved_entry *entries, uint64_t room) {
  if (entries != NULL) mh_os_table_free(entries, room * sizeof *entries);
}

void mh_moved_close(mh_moved *moved) {
  if (moved->seen != NULL) mh_os_table_free(moved->seen, seen_bytes(moved));
  free_entries(moved->entries, moved->room);
}

static mh_moved_entry *entry_of(const mh_moved *moved, uint64_t from) {
  uint64_t mask = moved->room - 1, at = (from / 16 * moved->factor >> 20) & mask;
  while (moved->entries[at].from != 0 && moved->entries[at].from != from) at = (at + 1) & mask;
  return &moved->entries[at];
}

static bool grow(mh_moved *moved) {
  mh_moved larger = {.factor = moved->factor, .room = moved->entries == NULL ? FIRST_ROOM : 2 * moved->room};
  larger.entries = mh_os_table(larger.room * sizeof *larger.entries);
  if (larger.entries == NULL) return false;
  for (uint64_t i = 0; moved->entries != NULL && i < moved->room; i++)
    if (moved->entries[i].from != 0) *entry_of(&larger, moved->entries[i].from) = moved->entries[i];
  free_entries(moved->entries, moved->room);
  moved->entries = larger.entries;
  moved->room = larger.room;
  return true;
}

bool mh_moved_put(mh_moved *moved, uint64_t from, uint64_t to) {
  if (3 * moved->count >= 2 * moved->room && !grow(moved)) return false;
  *entry_of(moved, from) = (mh_moved_entry){.from = from, .to = to};
  moved->count++;
  return true;
}

uint64_t mh_moved_get(const mh_moved *moved, uint64_t from) {
  return moved->entries == NULL ? 0 : entry_of(moved, from)->to;
}
