/* superblock.c: see superblock.h. Calls os.h for randomness, the clock and the boot id. */
#include "superblock.h"

#include <string.h>

#include "crc32c.h"
#include "os.h"

static uint32_t identity_checksum(const mh_identity *identity) {
  return mh_crc32c(identity, offsetof(mh_identity, checksum));
}

void mh_superblock_sum(mh_identity *identity) { identity->checksum = identity_checksum(identity); }

void mh_superblock_make(mh_superblock *super, uint64_t max_size) {
  memset(super, 0, sizeof *super);
  mh_identity *id = &super->identity;
  memcpy(id->magic, MH_MAGIC, sizeof id->magic);
  id->byte_order = MH_BYTE_ORDER;
  id->version = MH_FORMAT_VERSION;
  id->word_size = 8;
  mh_os_random(id->uuid, sizeof id->uuid);
  id->uuid[6] = (uint8_t)(0x40 | (id->uuid[6] & 0x0f)); /* RFC 9562: version 4, variant 10 */
  id->uuid[8] = (uint8_t)(0x80 | (id->uuid[8] & 0x3f));
  mh_os_random(id->hash_seed, sizeof id->hash_seed);
  id->slice_bits = MH_SLICE_BITS;
  id->segment_bits = MH_SEGMENT_BITS;
  id->segment0 = MH_SLICE;
  id->map_offset = MH_MAP_OFFSET;
  id->heap_table = MH_HEAPS_OFFSET;
  id->heap_rows = MH_HEAPS;
  id->arena_rows = MH_ARENAS;
  id->arena_table = MH_ARENAS_OFFSET;
  id->key_table = MH_KEYS_OFFSET;
  id->key_rows = MH_KEYS;
  id->size_classes = MHEAP_CLASSES;
  id->created_ns = mh_os_time_ns();
  mh_superblock_sum(id);
  super->placement = MH_SEGMENT + (MH_SEGMENT - MH_SLICE); /* segments are aligned in memory */
  super->max_size = max_size;
  super->birth = 1;
}

/* ---- identity ---- */

static uint64_t swapped(uint64_t value) { return __builtin_bswap64(value); }

static mheap_err check_magic(const mh_identity *id, size_t got, const char *path, mheap_error *error) {
  if (got >= sizeof id->magic && memcmp(id->magic, MH_UNFINISHED, sizeof id->magic) == 0)
    return mh_fail(error, MHEAP_ERR_NOT_A_HEAP,
                   "%s: a dump that was not finished, or is not yet; dump again, which clears it away", path);
  if (got < sizeof id->magic || memcmp(id->magic, MH_MAGIC, sizeof id->magic) != 0) {
    mh_fail(error, MHEAP_ERR_NOT_A_HEAP,
            "%s: not a heap: it begins with other bytes than a heap's magic number; "
            "give the path of a heap, or of an empty or new file",
            path);
    return MHEAP_ERR_NOT_A_HEAP;
  }
  if (got < sizeof(mh_superblock))
    return mh_fail_unreadable(error, path, got, "the file ends inside its superblock", sizeof(mh_superblock),
                              got);
  return MHEAP_OK;
}

static mheap_err check_version(const mh_identity *id, const char *path, mheap_error *error) {
  if (id->byte_order == swapped(MH_BYTE_ORDER))
    return mh_fail(
        error, MHEAP_ERR_VERSION,
        "%s: offset 0x8: written by a machine of the other byte order; dump it there and load it here", path);
  if (id->byte_order != MH_BYTE_ORDER)
    return mh_fail_unreadable(error, path, offsetof(mh_identity, byte_order), "byte order mark",
                              MH_BYTE_ORDER, id->byte_order);
  if (id->version != MH_FORMAT_VERSION)
    return mh_fail(
        error, MHEAP_ERR_VERSION,
        "%s: offset 0x10: format version %u, this mheap (%s) reads version %u; use the mheap that wrote it",
        path, id->version, mheap_version(), MH_FORMAT_VERSION);
  uint32_t sum = identity_checksum(id);
  if (sum != id->checksum)
    return mh_fail_unreadable(error, path, offsetof(mh_identity, checksum), "checksum of the superblock", sum,
                              id->checksum);
  if (id->word_size != 8)
    return mh_fail(error, MHEAP_ERR_VERSION,
                   "%s: offset 0x14: word size %u, this mheap (%s) uses 8; use the mheap that wrote it", path,
                   id->word_size, mheap_version());
  return MHEAP_OK;
}

static mheap_err check_features(const mh_identity *id, bool writing, const char *path, mheap_error *error) {
  uint64_t unknown = id->incompat & ~MH_INCOMPAT_KNOWN;
  if (unknown != 0)
    return mh_fail(
        error, MHEAP_ERR_VERSION,
        "%s: offset 0x28: uses features 0x%llx that this mheap (%s) does not know; use a newer mheap", path,
        (unsigned long long)unknown, mheap_version());
  unknown = id->rocompat & ~MH_ROCOMPAT_KNOWN;
  if (writing && unknown != 0)
    return mh_fail(error, MHEAP_ERR_VERSION,
                   "%s: offset 0x20: uses features 0x%llx that this mheap (%s) can read but not write; "
                   "attach it read-only, or use a newer mheap",
                   path, (unsigned long long)unknown, mheap_version());
  return MHEAP_OK;
}

/* One field that must have one value, or (rule not NULL) keep a rule. */
typedef struct expectation {
  uint64_t offset, expected, found;
  const char *what, *rule;
} expectation;

static mheap_err out_of_range(const expectation *it, const char *path, mheap_error *error) {
  mh_fail(error, MHEAP_ERR_CORRUPT, "%s: offset 0x%llx: %s: expected %s, found 0x%llx; restore a copy", path,
          (unsigned long long)it->offset, it->what, it->rule, (unsigned long long)it->found);
  if (error == NULL) return MHEAP_ERR_CORRUPT;
  error->offset = it->offset;
  error->found = it->found;
  return MHEAP_ERR_CORRUPT;
}

static mheap_err check_all(const expectation *list, size_t count, const char *path, mheap_error *error) {
  for (size_t i = 0; i < count; i++)
    if (list[i].rule != NULL && !list[i].expected) return out_of_range(&list[i], path, error);
    else if (list[i].rule == NULL && list[i].expected != list[i].found)
      return mh_fail_unreadable(error, path, list[i].offset, list[i].what, list[i].expected, list[i].found);
  return MHEAP_OK;
}

#define FIELD(type, field, expected, found, what) {offsetof(type, field), expected, found, what, NULL}

static mheap_err check_geometry(const mh_identity *id, const char *path, mheap_error *error) {
  const expectation list[] = {
      FIELD(mh_identity, slice_bits, MH_SLICE_BITS, id->slice_bits, "slice size"),
      FIELD(mh_identity, segment_bits, MH_SEGMENT_BITS, id->segment_bits, "segment size"),
      FIELD(mh_identity, segment0, MH_SLICE, id->segment0, "place of segment 0"),
      FIELD(mh_identity, map_offset, MH_MAP_OFFSET, id->map_offset, "place of the segment map"),
      FIELD(mh_identity, heap_table, MH_HEAPS_OFFSET, id->heap_table, "place of the heap table"),
      FIELD(mh_identity, heap_rows, MH_HEAPS, id->heap_rows, "rows of the heap table"),
      FIELD(mh_identity, arena_rows, MH_ARENAS, id->arena_rows, "rows of the arena table"),
      FIELD(mh_identity, arena_table, MH_ARENAS_OFFSET, id->arena_table, "place of the arena table"),
      FIELD(mh_identity, key_table, MH_KEYS_OFFSET, id->key_table, "place of the keys"),
      FIELD(mh_identity, key_rows, MH_KEYS, id->key_rows, "number of keys"),
      FIELD(mh_identity, size_classes, MHEAP_CLASSES, id->size_classes, "number of size classes"),
  };
  return check_all(list, sizeof list / sizeof list[0], path, error);
}

/* ---- what changes ---- */

#define RULE(field, kept, what, rule) {offsetof(mh_superblock, field), kept, s->field, what, rule}

static bool is_slices(uint64_t value, uint64_t limit) { return value % MH_SLICE == 0 && value <= limit; }
static bool is_object(uint64_t value, uint64_t size) {
  return value == 0 || (value % 16 == 0 && value < size);
}

static bool placement_is_valid(uint64_t placement) {
  return placement >= MH_SLICE && placement < MH_OFFSET_MAX && placement % MH_SLICE == 0;
}

static bool base_is_valid(const mh_superblock *super) {
  if (super->base == 0) return true;
  return is_slices(super->base, MH_OFFSET_MAX) && placement_is_valid(super->placement) &&
         super->base % mh_placement_alignment(super->placement) == mh_placement_residue(super->placement);
}

static bool journal_is_valid(const mh_superblock *s) {
  bool named = (s->identity.incompat & MH_INCOMPAT_JOURNAL) != 0;
  if (s->journal == 0 || !named) return s->journal == 0 && !named;
  return is_slices(s->journal, MH_OFFSET_MAX) && s->journal >= s->size;
}
static bool journal_fits(const mh_superblock *s) {
  if (s->journal == 0) return s->journal_size == 0;
  return s->journal_size != 0 && is_slices(s->journal_size, MH_OFFSET_MAX - s->journal);
}

/* Once the fields are believed. */
static uint64_t least_file_size(const mh_superblock *s) {
  return s->journal != 0 ? s->journal + s->journal_size : s->size;
}

static mheap_err check_changing(const mh_superblock *s, uint64_t file_size, const char *path,
                                mheap_error *error) {
  const expectation list[] = {
      RULE(state, s->state <= MH_STATE_SEALED, "state", "0, 1 or 2"),
      RULE(size, is_slices(s->size, MH_OFFSET_MAX) && s->size >= MH_REGION_MIN, "size in use",
           "a multiple of 0x10000 from 0x20000 to 0x800000000000"),
      RULE(epoch, s->epoch < UINT32_MAX, "repair epoch", "less than 0xffffffff"),
      RULE(placement, placement_is_valid(s->placement), "placement of the base", "a multiple of 0x10000"),
      RULE(base, base_is_valid(s), "base address", "0 or what the placement allows"),
      RULE(max_size, is_slices(s->max_size, MH_OFFSET_MAX), "maximal size",
           "a multiple of 0x10000 up to 0x800000000000"),
      RULE(map_directory, is_slices(s->map_directory, s->size - 1), "place of the map's directory",
           "a slice in the region"),
      RULE(root, is_object(s->root, s->size), "root object", "0 or a block in the region"),
      RULE(names, is_object(s->names, s->size), "names of roots", "0 or a block in the region"),
      RULE(journal, journal_is_valid(s), "place of the journal",
           "0, or a slice behind the region"),
      RULE(journal_size, journal_fits(s), "size of the journal", "whole slices, if there is one"),
      RULE(birth, s->birth != 0 && s->birth < (uint64_t)1 << 62, "birth number", "1 to 2^62 - 1"),
      RULE(registry, is_object(s->registry, s->size), "schemas of records", "0 or a block in the region"),
  };
  mheap_err failed = check_all(list, sizeof list / sizeof list[0], path, error);
  if (failed) return failed;
  if (file_size >= least_file_size(s)) return MHEAP_OK;
  return mh_fail_unreadable(error, path, file_size, "the file was cut short: bytes it should have",
                            least_file_size(s), file_size);
}

/* What a kill while an empty heap was written leaves. Anything more is a heap whose size was
   lost, which formatting would wipe out. */
static bool is_being_formatted(const mh_superblock *s, uint64_t file_size) {
  return s->size == 0 && file_size <= MH_REGION_MIN && s->state == MH_STATE_CLEAN && s->generation == 0 &&
         s->epoch == 0 && s->base == 0 && s->map_directory == 0 && s->root == 0 && s->names == 0 &&
         s->birth == 1 && placement_is_valid(s->placement) && is_slices(s->max_size, MH_OFFSET_MAX);
}

mheap_err mh_superblock_check(const mh_superblock *super, size_t got, uint64_t file_size, bool writing,
                              const char *path, mheap_error *error) {
  const mh_identity *id = &super->identity;
  mheap_err failed = check_magic(id, got, path, error);
  if (!failed) failed = check_version(id, path, error);
  if (!failed) failed = check_features(id, writing, path, error);
  if (!failed) failed = check_geometry(id, path, error);
  if (failed || is_being_formatted(super, file_size)) return failed;
  return check_changing(super, file_size, path, error);
}

/* ---- the owner ---- */

mh_owner mh_owner_make(uint64_t device, uint64_t inode, uint64_t mount_id, mheap_mode mode) {
  mh_owner owner = {.device = device, .inode = inode, .mount_id = mount_id, .mode = mode};
  if (!mh_os_boot_id(owner.boot_id)) memset(owner.boot_id, 0, sizeof owner.boot_id);
  owner.pid = mh_os_pid();
  owner.checksum = mh_crc32c(&owner, offsetof(mh_owner, checksum));
  return owner;
}

bool mh_owner_knows_boot(const mh_owner *owner) {
  static const uint8_t unknown[sizeof owner->boot_id];
  return memcmp(owner->boot_id, unknown, sizeof unknown) != 0;
}

bool mh_owner_same(const mh_owner *a, const mh_owner *b) {
  return a->checksum == mh_crc32c(a, offsetof(mh_owner, checksum)) && mh_owner_knows_boot(a) &&
         memcmp(a->boot_id, b->boot_id, sizeof a->boot_id) == 0 && a->device == b->device &&
         a->inode == b->inode && a->mount_id == b->mount_id;
}
