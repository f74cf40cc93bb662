/* check_superblock.c: the superblock and the tables in its slice. See check.h. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "crc32c.h"
#include "superblock.h"

#define AT(field) offsetof(mh_superblock, field)

/* ---- the superblock ---- */

/* An error's text without the path and the offset, which a finding has of its own. */
static const char *bare(const char *text, const char *path) {
  size_t length = strlen(path);
  if (strncmp(text, path, length) == 0 && strncmp(text + length, ": ", 2) == 0) text += length + 2;
  if (strncmp(text, "offset 0x", 9) != 0) return text;
  const char *end = strstr(text, ": ");
  return end != NULL ? end + 2 : text;
}

static void check_fields(mh_check *check, const mh_superblock *super) {
  mheap_error error = {0};
  if (mh_superblock_check(super, sizeof *super, UINT64_MAX, false, "", &error))
    mh_check_found(check, 1, error.offset, "superblock", "%s", bare(error.text, ""));
  if (super->size != mh_region_size(check->region) && !check->region->unsafe)
    mh_check_found(check, 1, AT(size), "superblock", "size in use: expected 0x%" PRIx64 ", found 0x%" PRIx64,
                   mh_region_size(check->region), super->size);
}

static void check_reserved(mh_check *check, const mh_superblock *super) {
  const mh_identity *id = &super->identity;
  mh_check_zero(check, "superblock", id->superseded_by, sizeof id->superseded_by);
  mh_check_zero(check, "superblock", id->fingerprint, sizeof id->fingerprint);
  mh_check_zero(check, "superblock", id->encryption, sizeof id->encryption);
  mh_check_zero(check, "superblock", &id->page_sums, sizeof id->page_sums);
  mh_check_zero(check, "superblock", &id->relocations, sizeof id->relocations);
  mh_check_zero(check, "superblock", &id->reserved, sizeof id->reserved);
  mh_check_zero(check, "superblock", &super->owner.reserved, sizeof super->owner.reserved);
  mh_check_zero(check, "superblock", super->reserved, sizeof super->reserved);
  uint64_t tables = MH_ARENAS_OFFSET + MH_ARENAS * sizeof(mh_arena_row);
  mh_check_zero(check, "superblock", mh_at(check->region, tables), MH_MAP_OFFSET - tables);
}

static void check_owner(mh_check *check, const mh_superblock *super) {
  const mh_owner *owner = &super->owner;
  uint64_t sum = mh_crc32c(owner, offsetof(mh_owner, checksum));
  if (owner->checksum != sum)
    mh_check_found(check, 1, AT(owner) + offsetof(mh_owner, checksum), "superblock",
                   "checksum of the owner: expected 0x%" PRIx64 ", found 0x%" PRIx64, sum, owner->checksum);
  if (owner->mode < MHEAP_MODE_LIVE || owner->mode > MHEAP_MODE_SCRATCH)
    mh_check_found(check, 1, AT(owner) + offsetof(mh_owner, mode), "superblock",
                   "mode of the owner: expected 1 to 3, found %u", owner->mode);
}

static void check_root(mh_check *check, uint64_t at, uint64_t root, const char *name) {
  if (root != 0 && root < check->size && !mh_check_in_block(check, root))
    mh_check_found(check, 1, at, "superblock", "%s: expected a block in use, found 0x%" PRIx64, name, root);
}

/* By words, since a writer publishes each by one store. */
static void copy_words(uint64_t *to, const uint64_t *from, size_t count) {
  for (size_t i = 0; i < count; i++) to[i] = mh_read(&from[i]);
}

void mh_check_superblock(mh_check *check, uint64_t unused) {
  (void)unused;
  mh_superblock super; /* a copy: what is checked is what is reported */
  copy_words((uint64_t *)&super, (const uint64_t *)check->region->super, sizeof super / 8);
  check_fields(check, &super);
  check_reserved(check, check->region->super);
  if (super.state == MH_STATE_OPEN) check_owner(check, &super);
  check_root(check, AT(root), super.root, "root object");
  check_root(check, AT(names), super.names, "names of roots");
}

/* ---- heaps ---- */

static const mh_heap_row *heap_row(mh_check *check, uint64_t row) {
  return (const mh_heap_row *)mh_at(check->region, MH_HEAPS_OFFSET) + row;
}
static const mh_arena_row *arena_row(mh_check *check, uint64_t row) {
  return (const mh_arena_row *)mh_at(check->region, MH_ARENAS_OFFSET) + row;
}

bool mh_check_heap_used(mh_check *check, uint64_t row) {
  return row < MH_HEAPS && (mh_read(&heap_row(check, row)->head) & MH_HEAP_USED) != 0;
}

void mh_check_heap_row(mh_check *check, uint64_t row) {
  const uint64_t known = MH_HEAP_USED | MH_HEAP_DESTROYABLE | MH_HEAP_GUARDED | 0xff00 /* tag */ |
                         (row > 0 ? MH_HEAP_OBJECTS : 0) |
                         (row > 1 ? MH_HEAP_DESTROYED | MH_HEAP_DELETED | MH_HEAP_KIND : 0);
  const mh_heap_row *heap = heap_row(check, row);
  uint64_t head = mh_read(&heap->head), at = mh_offset(check->region, heap);
  mh_check_kind_row(check, row);
  if (head == 0 && row == 0)
    mh_check_found(check, 1, at, "heap", "the main heap's row: expected it in use, found it free");
  mh_check_named_row(check, row);
  if (head == 0) return;
  if ((head & ~known) != 0 || !(head & MH_HEAP_USED))
    mh_check_found(check, 1, at, "heap",
                   "row %" PRIu64 ": expected flags within 0x%" PRIx64 " and in use, found 0x%" PRIx64, row,
                   known, head);
  if ((head & ~known) == 0 && (head & (MH_HEAP_DESTROYED | MH_HEAP_DELETED)))
    mh_check_found(check, 0, at, "heap",
                   "row %" PRIu64
                   ": its heap was %s when its process was killed; mheap_collect finishes that",
                   row, head & MH_HEAP_DESTROYED ? "destroyed" : "deleted");
  uint64_t arena = heap->arena;
  if (arena != 0 && (arena > MH_ARENAS || !(mh_read(&arena_row(check, arena - 1)->head) & MH_ARENA_USED)))
    mh_check_found(check, 1, at + offsetof(mh_heap_row, arena), "heap",
                   "row %" PRIu64 ": expected an arena in use, found 0x%" PRIx64, row, arena);
}

/* ---- arenas ---- */

static bool is_bounded(const mh_arena_row *arena) {
  return (mh_read(&arena->head) & MH_ARENA_USED) && arena->count != 0;
}

static void check_overlap(mh_check *check, uint64_t row) {
  const mh_arena_row *arena = arena_row(check, row);
  for (uint64_t other = 0; other < row; other++) {
    const mh_arena_row *before = arena_row(check, other);
    if (!is_bounded(before) || arena->start >= before->start + before->count ||
        before->start >= arena->start + arena->count)
      continue;
    mh_check_found(check, 1, mh_offset(check->region, arena), "arena",
                   "row %" PRIu64 ": expected segments of its own, found those of row %" PRIu64, row, other);
  }
}

void mh_check_arena_row(mh_check *check, uint64_t row) {
  const uint64_t segments = MH_OFFSET_MAX >> MH_SEGMENT_BITS;
  const mh_arena_row *arena = arena_row(check, row);
  uint64_t head = mh_read(&arena->head), at = mh_offset(check->region, arena);
  mh_check_zero(check, "arena", arena->reserved, sizeof arena->reserved);
  if (head == 0 && row == 0)
    mh_check_found(check, 1, at, "arena", "the first arena's row: expected it in use, found it free");
  if (head == 0) return;
  const uint64_t known = MH_ARENA_USED | MH_ARENA_EXCLUSIVE | MH_ARENA_COMMITTED;
  if ((head & ~known) != 0 || !(head & MH_ARENA_USED))
    mh_check_found(check, 1, at, "arena",
                   "row %" PRIu64 ": expected flags within 0x%" PRIx64 " and in use, found 0x%" PRIx64, row,
                   known, head);
  if ((row == 0) != (arena->start == 0) || (row == 0) != (arena->count == 0))
    mh_check_found(check, 1, at + offsetof(mh_arena_row, start), "arena",
                   "row %" PRIu64 ": expected %s, found 0x%" PRIx64 " segments from 0x%" PRIx64, row,
                   row == 0 ? "the rest of the region (0, 0)" : "segments from 1 on", arena->count,
                   arena->start);
  if (arena->start >= segments || arena->count > segments - arena->start)
    mh_check_found(check, 1, at + offsetof(mh_arena_row, start), "arena",
                   "row %" PRIu64 ": expected segments below 0x%" PRIx64 ", found 0x%" PRIx64
                   " from 0x%" PRIx64,
                   row, segments, arena->count, arena->start);
  else if (arena->count != 0) check_overlap(check, row);
}
