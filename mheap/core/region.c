/* region.c: the life of a region: attach, sync, detach. See region.h.

   Attaching for writing, in this order: lock, read and check the superblock, reserve, map;
   before the first change: note the owner, publish state OPEN, sync. Detaching, if anything
   was changed: sync the data, publish CLEAN, sync. */
#include "region.h"

#include <errno.h>
#include <string.h>

#include "map.h"
#include "commit.h"
#include "os.h"
#include "overlay.h"
#include "recover.h"
#include "region_lock.h"
#include "region_pages.h"
#include "region_space.h"
#include "reader.h"
#include "registry.h"
#include "segment.h"
#include "superblock.h"

/* A region and its path are one table, so that closing is one call. */
#define REGION_BYTES (2 * (uint64_t)65536)

/* ---- making and dropping the struct ---- */

mh_region *mh_region_new(const char *name, const mheap_options *options, mheap_error *error) {
  mh_region *region = mh_os_table(REGION_BYTES);
  if (region == NULL) {
    mh_fail_system(error, ENOMEM, name, "making the region's record");
    return NULL;
  }
  region->mode = options->mode == 0 ? MHEAP_MODE_LIVE : options->mode;
  region->unsafe = options->unsafe && region->mode == MHEAP_MODE_READONLY;
  region->fd = region->lock_fd = -1;
  region->pages.grain = MH_SLICE;
  region->pages.node = -1;
  region->path = (char *)(region + 1);
  pthread_mutex_init(&region->lock, NULL);
  return region;
}

static void region_free(mh_region *region) {
  mh_region_forget_schemas(region, true);
  mh_commits_drop(region);
  mh_reader_drop(region);
  mh_region_unmap(region);
  if (region->lock_fd >= 0) {
    if (region->locks_shared) mh_region_unlock_file(region);
    mh_os_close(region->lock_fd);
  }
  if (region->fd >= 0) mh_os_close(region->fd);
  pthread_mutex_destroy(&region->lock);
  mh_os_table_free(region, REGION_BYTES);
}

void mh_region_set_path(mh_region *region, const char *path) {
  size_t room = REGION_BYTES - sizeof *region, length = strlen(path);
  if (length >= room) length = room - 1;
  memcpy(region->path, path, length);
  region->path[length] = '\0';
}

static uint64_t whole_slices(uint64_t size) {
  return size > MH_OFFSET_MAX - MH_SLICE ? MH_OFFSET_MAX : (size + MH_SLICE - 1) / MH_SLICE * MH_SLICE;
}

/* ---- formatting ---- */

/* What an empty heap is: the tables, the main heap's row, the one arena's row, segment 0.
   Runs again, from the start, when it was interrupted: `size` is published last. */
static void fill_first(mh_region *region) {
  mh_heap_row *heap = mh_at(region, MH_HEAPS_OFFSET);
  mh_arena_row *arena = mh_at(region, MH_ARENAS_OFFSET);
  heap[0].head = MH_HEAP_USED;
  heap[0].objects = 1 + 1;
  heap[1].head = MH_HEAP_USED | MH_HEAP_OBJECTS;
  arena->head = MH_ARENA_USED;
  mh_segment_format(region, 0);
  *(uint64_t *)mh_at(region, MH_MAP_OFFSET) = mh_map_slices(0, (uint32_t)region->super->epoch, 0);
  mh_publish(&region->super->size, MH_REGION_MIN);
}

static mheap_err format_file(mh_region *region, mheap_error *error) {
  uint64_t size = mh_pages_end(region, MH_REGION_MIN);
  int failed = mh_os_truncate(region->fd, size);
  if (!failed) failed = mh_os_allocate(region->fd, 0, region->pages.hugetlb ? size : MH_REGION_MIN);
  if (failed) {
    mh_os_truncate(region->fd, 0);
    return mh_fail_system(error, failed, region->path, "making room for a new heap");
  }
  return MHEAP_OK;
}

/* A base that the creator names is honoured even where segments are not aligned there, but not
   where pages would not be. */
static void fit_placement(const mh_region *region, mh_superblock *super, const mheap_options *options) {
  super->placement = mh_pages_placement(region);
  uint64_t alignment = mh_placement_alignment(super->placement),
           residue = mh_placement_residue(super->placement);
  if (region->pages.hugetlb == 0 && options->base != NULL && (uint64_t)options->base % alignment != residue)
    super->placement = MH_SLICE;
}

static void new_superblock(const mh_region *region, const mheap_options *options, mh_superblock *super) {
  mh_superblock_make(super, options->max_size ? whole_slices(options->max_size) : MH_DEFAULT_SPAN);
  fit_placement(region, super, options);
}

/* Files on hugetlbfs cannot be written, only mapped. The magic number comes last, so that what a
   kill in the middle leaves is known (see was_interrupted). */
static void store_superblock(mh_region *region, const mh_superblock *super) {
  const size_t magic = sizeof super->identity.magic;
  uint64_t word;
  memcpy(&word, super, magic);
  mh_publish(&region->super->identity.byte_order, super->identity.byte_order);
  memcpy((char *)region->super + magic, (const char *)super + magic, sizeof *super - magic);
  mh_publish((uint64_t *)region->super, word);
}

void mh_region_format(mh_region *region, const mh_superblock *super) {
  if (region->pages.may_be_dirty) memset(region->base, 0, MH_SLICE);
  region->fresh = true;
  store_superblock(region, super);
  fill_first(region);
}

/* What a kill in the middle of store_superblock, or before it, leaves of a file on hugetlbfs: one
   page, zero but for the superblock, which has no magic number yet. Costs a read of all of it. */
static bool was_interrupted(mh_region *region, const mh_superblock *super, uint64_t size) {
  static const mh_superblock none;
  uint64_t order = super->identity.byte_order;
  bool blank = memcmp(super, &none, sizeof none) == 0;
  if (region->pages.hugetlb == 0 || size != region->pages.hugetlb) return false;
  if (memcmp(super, &none, sizeof super->identity.magic) != 0 || (order != MH_BYTE_ORDER && !blank))
    return false;
  char *buffer = mh_os_table(MH_SLICE);
  bool zero = buffer != NULL;
  for (uint64_t at = sizeof *super; zero && at < size; at += sizeof *super) {
    size_t got;
    zero = mh_os_read(region->fd, buffer, sizeof *super, at, &got) == 0 && memcmp(buffer, &none, got) == 0;
  }
  if (buffer != NULL) mh_os_table_free(buffer, MH_SLICE);
  return zero;
}

/* ---- what the file says ---- */

/* In a file on hugetlbfs a feature is two stores, the checksum last: between them a kill leaves a sum
   that is right but for the feature. Which is there then; a writer puts the sum right. */
static void finish_features(const mh_region *region, mh_superblock *super) {
  mh_identity before = super->identity;
  before.rocompat &= ~MH_ROCOMPAT_KNOWN;
  mh_superblock_sum(&before);
  if (region->pages.hugetlb != 0 && before.checksum == super->identity.checksum)
    mh_superblock_sum(&super->identity);
}

/* By a word: the one before it is reserved. */
static void store_checksum(mh_region *region, const mh_identity *identity) {
  uint64_t word;
  static_assert(offsetof(mh_identity, checksum) == offsetof(mh_identity, reserved) + 4, "in one word");
  memcpy(&word, &identity->reserved, sizeof word);
  mh_publish((uint64_t *)&region->super->identity.reserved, word);
}

/* What the pages say must be right, and what the journal makes of it. */
static mheap_err believe_superblock(const mh_region *region, mh_superblock *super, size_t got, uint64_t size,
                                    mheap_error *error) {
  bool writing = mh_mode_writes(region->mode);
  mheap_err code = mh_superblock_check(super, got, size, writing, region->path, error);
  if (code || super->journal == 0) return code;
  code = mh_overlay_superblock(region->fd, region->path, super, error);
  return code ? code : mh_superblock_check(super, got, size, writing, region->path, error);
}

static mheap_err read_once(mh_region *region, const mheap_options *options, mh_superblock *super,
                           mheap_error *error) {
  bool writing = region->mode == MHEAP_MODE_LIVE;
  uint64_t size, disk;
  size_t got;
  /* In this order: a writer makes the file longer before it says so, and the other way round. */
  int failed = mh_os_read(region->fd, super, sizeof *super, 0, &got);
  if (!failed) failed = mh_os_file_sizes(region->fd, &size, &disk);
  if (failed) return mh_fail_system(error, failed, region->path, "reading the superblock");
  finish_features(region, super);
  bool empty = size == 0 || (writing && was_interrupted(region, super, size));
  if (size == 0 && (!writing || options->must_exist))
    return mh_fail(error, MHEAP_ERR_NOT_A_HEAP,
                   "%s: an empty file, not a heap; attach it for writing to make it one", region->path);
  /* While it is formatted, a file that grows by huge pages is no longer than it must be either. */
  if (super->size == 0 && size <= mh_pages_end(region, MH_REGION_MIN)) size = MH_REGION_MIN;
  if (!empty) return believe_superblock(region, super, got, size, error);
  new_superblock(region, options, super);
  if (region->pages.hugetlb != 0) return MHEAP_OK; /* store_superblock does it */
  failed = mh_os_write(region->fd, super, sizeof *super, 0);
  if (failed) mh_os_truncate(region->fd, 0); /* as it was */
  return failed ? mh_fail_system(error, failed, region->path, "writing a new superblock") : MHEAP_OK;
}

/* Beside a writer what was read may be of two moments, before and behind a checkpoint: it is wrong once it
   was wrong while nothing moved. */
#define READ_TRIES 1000

static mheap_err read_superblock(mh_region *region, const mheap_options *options, mh_superblock *super,
                                 mheap_error *error) {
  mh_sector before = {0}, now;
  for (int i = 0;; i++, before = now) {
    size_t got;
    mheap_err code = read_once(region, options, super, error);
    if (code != MHEAP_ERR_CORRUPT || mh_mode_writes(region->mode) || i == READ_TRIES) return code;
    if (mh_os_read(region->fd, &now, sizeof now, 0, &got) != 0 || got < sizeof now) return code;
    if (memcmp(&before, &now, sizeof now) == 0) return code;
    mh_error_clear(error);
  }
}

#define SALVAGE "salvage=True checks all of it and attaches it if it is whole"

static mheap_err unclean(const mh_region *region, const mh_owner *owner, const mh_owner *self,
                         mheap_error *error) {
  if (mh_owner_knows_boot(owner) && mh_owner_knows_boot(self))
    return mh_fail(error, MHEAP_ERR_UNCLEAN,
                   "%s: it was open for writing when the machine went down, or this is a copy made while it "
                   "was open; " SALVAGE,
                   region->path);
  return mh_fail(error, MHEAP_ERR_UNCLEAN,
                 "%s: it was not detached, and whether a process was killed or the machine went down is not "
                 "known, since /proc/sys/kernel/random/boot_id %s; %s" SALVAGE,
                 region->path,
                 mh_owner_knows_boot(self) ? "could not be read by who had it open" : "cannot be read here",
                 mh_owner_knows_boot(self) ? "" : "mount /proc, or ");
}

/* The crash of a process leaves every store; anything else does not, and is refused. */
static mheap_err check_state(mh_region *region, const mh_superblock *super, const mheap_options *options,
                             mheap_error *error) {
  region->state_found = (mheap_state)super->state;
  if (super->state == MH_STATE_SEALED && mh_mode_writes(region->mode))
    return mh_fail(error, MHEAP_ERR_READ_ONLY,
                   "%s: sealed: a dump is never written again; attach it with mode readonly or "
                   "scratch, or make a heap of it that is (`mheap restore`)",
                   region->path);
  if (super->size == 0 && !mh_mode_writes(region->mode))
    return mh_fail(error, MHEAP_ERR_NOT_A_HEAP,
                   "%s: its formatting was interrupted; attach it for writing to finish", region->path);
  if (super->state != MH_STATE_OPEN || options->salvage || region->unsafe) return MHEAP_OK;
  mh_owner self = mh_owner_make(region->device, region->inode, region->mount_id, region->mode);
  return mh_owner_same(&super->owner, &self) ? MHEAP_OK : unclean(region, &super->owner, &self, error);
}

/* ---- attaching ---- */

static mheap_err choose_span(mh_region *region, const mh_superblock *super, const mheap_options *options,
                             mheap_error *error) {
  region->span = whole_slices(options->max_size ? options->max_size
                              : super->max_size ? super->max_size
                                                : MH_DEFAULT_SPAN);
  if (region->span < MH_REGION_MIN) region->span = MH_REGION_MIN;
  region->span = mh_pages_end(region, region->span);
  if (region->span >= super->size) return MHEAP_OK;
  if (options->max_size == 0) {
    region->span = mh_pages_end(region, super->size);
    return MHEAP_OK;
  }
  return mh_fail(error, MHEAP_ERR_ARGUMENT, "%s: max_size %llu is less than the %llu bytes in use",
                 region->path, (unsigned long long)options->max_size, (unsigned long long)super->size);
}

static mheap_err map_all(mh_region *region, mh_superblock *super, const mheap_options *options,
                         mheap_error *error) {
  mheap_err code = mh_pages_fit(region, super, options, error);
  if (!code) code = choose_span(region, super, options, error);
  if (!code) code = mh_region_reserve(region, super, options, error);
  if (!code) code = mh_region_make_tables(region, error);
  if (!code && super->size == 0 && !region->anonymous) code = format_file(region, error);
  if (!code) code = mh_region_map(region, super->size == 0 ? MH_REGION_MIN : super->size, error);
  if (code && super->size == 0 && !region->anonymous) mh_os_truncate(region->fd, 0); /* as it was */
  if (code) return code;
  region->fresh = super->size == 0;
  if (!region->fresh && mh_region_writable(region) &&
      super->identity.checksum != region->super->identity.checksum)
    store_checksum(region, &super->identity);
  if (region->fresh && (region->anonymous || region->pages.hugetlb != 0)) mh_region_format(region, super);
  else if (region->fresh) fill_first(region);
  return MHEAP_OK;
}

/* A crashed file says that it is open already; what changes is the epoch. */
static void take_over(mh_region *region, const mh_owner *self) {
  mh_superblock *super = region->super;
  if (!mh_owner_same(&super->owner, self)) {   /* salvaged: was checked */
    mh_publish(&super->state, MH_STATE_CLEAN); /* no owner is believed while one is written */
    super->owner = *self;
  }
  mh_publish(&super->epoch, super->epoch + 1 < UINT32_MAX ? super->epoch + 1 : 1);
}

/* A store to a block that a reflink copy shares needs a new one, and on a full disk that would
   kill the process. */
static mheap_err own_blocks(mh_region *region, mheap_error *error) {
  if (region->anonymous || region->fresh || region->mode != MHEAP_MODE_LIVE ||
      !mh_os_shares_blocks(region->fd))
    return MHEAP_OK;
  return mh_fail(error, MHEAP_ERR_SYSTEM,
                 "%s: shares its blocks with a reflink copy: a full disk would kill the process that changes "
                 "it; make a full copy (cp --reflink=never) and attach that",
                 region->path);
}

mheap_err mh_region_begin_slowly(mh_region *region, mheap_error *error) {
  mh_superblock *super = region->super;
  int failed = 0;
  mheap_err code = own_blocks(region, error);
  if (code) return code;
  pthread_mutex_lock(&region->lock);
  if (!region->open && region->mode == MHEAP_MODE_LIVE && !region->anonymous) {
    mh_owner self = mh_owner_make(region->device, region->inode, region->mount_id, region->mode);
    uint64_t before = super->state;
    if (before == MH_STATE_OPEN) take_over(region, &self);
    else super->owner = self;
    mh_publish(&super->state, MH_STATE_OPEN);
    failed = mh_os_sync(region->fd);
    if (failed) mh_publish(&super->state, before);
  }
  region->open = !failed;
  pthread_mutex_unlock(&region->lock);
  return failed ? mh_fail_system(error, failed, region->path, "syncing the superblock") : MHEAP_OK;
}

/* Only a clean file that holds a heap already is left as it is until something changes. */
static mheap_err take_possession(mh_region *region, bool fresh, const mheap_options *options,
                                 mheap_error *error) {
  mh_superblock *super = region->super;
  bool moved = options->relocate && super->base != 0 && super->base != (uint64_t)region->base;
  mheap_err code = MHEAP_OK;
  if (region->mode == MHEAP_MODE_ATOMIC) {
    code = mh_commits_begin(region, options, error);
    region->open = true;
  }
  if (region->mode == MHEAP_MODE_LIVE && (fresh || moved || super->state == MH_STATE_OPEN))
    code = mh_region_begin(region, error);
  else if (!code && region->mode != MHEAP_MODE_READONLY && super->state == MH_STATE_OPEN) {
    super->epoch++; /* in private memory */
    super->state = MH_STATE_CLEAN;
  }
  if (!code && moved && mh_region_writable(region)) mh_publish(&super->base, (uint64_t)region->base);
  region->named_base = super->base != 0;
  return code;
}

static mheap_err open_own(mh_region *region, int fd, mheap_error *error) {
  char name[4096];
  mh_os_identity id;
  mh_os_path(fd, name, sizeof name);
  if (region->path[0] == '\0') mh_region_set_path(region, name);
  int failed = mh_os_identify(fd, &id);
  if (failed) return mh_fail_system(error, failed, region->path, "looking at the file");
  if (!id.regular)
    return mh_fail(error, MHEAP_ERR_NOT_A_HEAP,
                   "%s: %s, not a heap; give the path of a heap, or of an empty or new file", region->path,
                   id.kind);
  if (mh_mode_writes(region->mode) && !id.writable)
    return mh_fail(error, MHEAP_ERR_READ_ONLY,
                   "%s: the descriptor was not opened for reading and writing; open it O_RDWR, or attach "
                   "with mode readonly",
                   region->path);
  region->device = id.device;
  region->inode = id.inode;
  region->mount_id = id.mount_id;
  if (mh_mode_writes(region->mode) && mh_registry_writes(id.device, id.inode))
    return mh_fail(error, MHEAP_ERR_BUSY,
                   "%s: busy: this process has it open for writing already; use that handle", region->path);
  bool ignored, writing = mh_mode_writes(region->mode);
  failed = mh_os_reopen(fd, writing, &region->fd, &ignored);
  if (!failed) failed = mh_os_reopen(fd, writing, &region->lock_fd, &region->locks_shared);
  return failed ? mh_fail_system(error, failed, region->path, "opening the file anew") : MHEAP_OK;
}

/* A new file is a heap before it is one with commits. */
static mheap_err format_first(mh_region *region, const mheap_options *options, mheap_error *error) {
  uint64_t size, disk;
  mheap_options plain = *options;
  if (region->pages.hugetlb != 0)
    return mh_fail(error, MHEAP_ERR_ARGUMENT,
                   "%s: a file on hugetlbfs cannot be written, only mapped, so that nothing can be committed "
                   "to it; attach it with mode live",
                   region->path);
  int failed = mh_os_file_sizes(region->fd, &size, &disk);
  if (failed) return mh_fail_system(error, failed, region->path, "looking at the file");
  if (options->must_exist || size != 0) return MHEAP_OK;
  plain.mode = MHEAP_MODE_LIVE;
  mh_region *first = mh_region_attach(region->fd, &plain, error);
  if (first == NULL) return error != NULL ? error->code : MHEAP_ERR_SYSTEM;
  mheap_err code = mh_region_finish(first, error);
  mh_region_abandon(first);
  return code;
}

/* Live, the pages are all there is. */
static mheap_err recover_first(mh_region *region, const mheap_options *options, mh_superblock *super,
                               mheap_error *error) {
  mh_recovery done;
  if (region->mode != MHEAP_MODE_LIVE || super->journal == 0) return MHEAP_OK;
  mheap_err code = mh_recover(region->fd, region->path, false, &done, error);
  return code ? code : read_superblock(region, options, super, error);
}

/* What a journal holds is on top of the pages; a sealed file has none, nor has one on hugetlbfs. */
static mheap_err begin_reading(mh_region *region, bool sealed, mheap_error *error) {
  if (region->mode != MHEAP_MODE_READONLY || sealed || region->pages.hugetlb != 0) return MHEAP_OK;
  return mh_reader_begin(region, error);
}

static mheap_err put_on_top(mh_region *region, const mh_superblock *super, mheap_error *error) {
  mh_journal journal = {0};
  uint64_t count;
  if (region->reader != NULL) return mh_reader_ready(region, error);
  if (region->mode != MHEAP_MODE_SCRATCH || super->journal == 0) return MHEAP_OK;
  mheap_err code = mh_journal_load(&journal, region->fd, region->path, error);
  if (!code)
    code = mh_overlay_pages(&journal, region->base, mh_region_size(region), super->generation, &count, error);
  mh_journal_close(&journal);
  return code;
}

static mheap_err attach_file(mh_region *region, int fd, const mheap_options *options, mheap_error *error) {
  mh_superblock super;
  mheap_err code = open_own(region, fd, error);
  if (!code) code = mh_pages_choose(region, options, error);
  if (!code && region->mode == MHEAP_MODE_ATOMIC) code = format_first(region, options, error);
  /* A sealed file needs no locks: it never changes. What is read before locking only decides that. */
  if (!code && !mh_mode_writes(region->mode)) code = read_superblock(region, options, &super, error);
  bool sealed = !code && !mh_mode_writes(region->mode) && super.state == MH_STATE_SEALED;
  /* A writer that is giving space back makes the file look cut short, until it is locked out. */
  if (code == MHEAP_ERR_CORRUPT) code = MHEAP_OK;
  if (!code) code = mh_region_lock_file(region, options->timeout, sealed, error);
  if (!code) code = begin_reading(region, sealed, error);
  if (!code) code = read_superblock(region, options, &super, error);
  if (!code) code = check_state(region, &super, options, error);
  if (!code) code = recover_first(region, options, &super, error);
  if (!code) code = map_all(region, &super, options, error);
  if (!code) code = put_on_top(region, &super, error);
  return code;
}

static mheap_err attach_memory(mh_region *region, const mheap_options *options, mheap_error *error) {
  mh_superblock super;
  region->anonymous = true;
  mh_region_set_path(region, "anonymous memory");
  if (region->mode != MHEAP_MODE_LIVE)
    return mh_fail(error, MHEAP_ERR_ARGUMENT, "anonymous memory has the mode live only");
  mheap_err code = mh_pages_choose(region, options, error);
  if (code) return code;
  new_superblock(region, options, &super);
  return map_all(region, &super, options, error);
}

static mheap_err check_options(const mheap_options *options, mheap_error *error) {
  if (options->mode > MHEAP_MODE_ATOMIC)
    return mh_fail(error, MHEAP_ERR_ARGUMENT, "attach: no mode has the number %d", (int)options->mode);
  if (options->huge_pages > MHEAP_PAGES_1G || options->huge_pages < 0)
    return mh_fail(error, MHEAP_ERR_ARGUMENT, "attach: no kind of huge pages has the number %d",
                   (int)options->huge_pages);
  if (options->max_size > MH_OFFSET_MAX / 2)
    return mh_fail(error, MHEAP_ERR_ARGUMENT,
                   "attach: max_size %llu is more than %llu, the most a region can have",
                   (unsigned long long)options->max_size, (unsigned long long)(MH_OFFSET_MAX / 2));
  return MHEAP_OK;
}

/* Salvage and everything later need a working region first; so this is the last step. */
mh_region *mh_region_made(mh_region *region, mheap_err code, const mheap_options *options,
                          mheap_error *error) {
  if (!code) code = take_possession(region, region->fresh, options, error);
  if (code) {
    if (region->fresh && !region->anonymous) mh_os_truncate(region->fd, 0); /* as it was */
    region_free(region);
    return NULL;
  }
  region->epoch = region->super->epoch;
  if (mh_registry_add(region, error) == MHEAP_OK) return region;
  region_free(region);
  return NULL;
}

mh_region *mh_region_attach(int fd, const mheap_options *options, mheap_error *error) {
  static const mheap_options defaults;
  if (options == NULL) options = &defaults;
  if (check_options(options, error) != MHEAP_OK) return NULL;
  mh_region *region = mh_region_new("attach", options, error);
  if (region == NULL) return NULL;
  mheap_err code = fd == -1 ? attach_memory(region, options, error) : attach_file(region, fd, options, error);
  return mh_region_made(region, code, options, error);
}

/* ---- by path ---- */

static int open_path(const char *path, const mheap_options *options, int *fd, bool *created) {
  bool writing = options->mode == 0 || mh_mode_writes(options->mode);
  int failed = mh_os_open(path, writing, false, fd);
  *created = false;
  if (failed != ENOENT || !writing || options->must_exist) return failed;
  failed = mh_os_create(path, fd);
  *created = !failed;
  return failed == EEXIST ? mh_os_open(path, true, true, fd) : failed; /* made meanwhile; a link to nothing */
}

/* A file that this attach created goes when it fails. Whoever opened it meanwhile holds its lock, or
   comes to see that the name is gone. */
static void remove_created(const char *path, int fd) {
  uint64_t size, disk;
  if (mh_region_lock_unused(fd) && mh_os_file_sizes(fd, &size, &disk) == 0 && size == 0 &&
      mh_os_same_file(fd, path))
    mh_os_remove(path);
}

/* Else a power cut could take the file with what is committed, or synced, in it. */
static mheap_err sync_name(const mh_region *region, mheap_error *error) {
  int failed = mh_os_sync_name(region->path);
  return failed ? mh_fail_system(error, failed, region->path, "syncing the directory") : MHEAP_OK;
}

/* Opens `path`; *again when the name came to mean another file before it was locked. */
static mh_region *open_once(const char *path, const mheap_options *options, bool *again, mheap_error *error) {
  bool created;
  int fd, failed = open_path(path, options, &fd, &created);
  *again = false;
  if (failed == EISDIR)
    mh_fail(error, MHEAP_ERR_NOT_A_HEAP, "%s: a directory, not a heap; give the path of a file", path);
  else if (failed == ENXIO)
    mh_fail(error, MHEAP_ERR_NOT_A_HEAP,
            "%s: a socket, or a device that is not there, not a heap; give the path of a file", path);
  else if (failed) mh_fail_system(error, failed, path, "opening the file");
  if (failed) return NULL;
  mh_region *region = mh_region_new(path, options, error);
  if (region != NULL) {
    mh_region_set_path(region, path);
    mheap_err code = attach_file(region, fd, options, error);
    *again = !code && !mh_os_same_file(region->fd, path);
    if (*again) {
      region_free(region);
      region = NULL;
    } else {
      if (!code && created) code = sync_name(region, error);
      region = mh_region_made(region, code, options, error);
    }
  }
  if (created && region == NULL && !*again) remove_created(path, fd);
  mh_os_close(fd);
  return region;
}

#define REPLACED_TRIES 100

mh_region *mh_region_open(const char *path, const mheap_options *options, mheap_error *error) {
  static const mheap_options defaults;
  if (options == NULL) options = &defaults;
  if (check_options(options, error) != MHEAP_OK) return NULL;
  bool again = true;
  mh_region *region = NULL;
  for (int i = 0; again && i < REPLACED_TRIES; i++) region = open_once(path, options, &again, error);
  if (again)
    mh_fail(error, MHEAP_ERR_BUSY, "%s: busy: the file is being replaced over and over; try again later",
            path);
  return region;
}

/* ---- features ---- */

/* One write, which a kill does not cut in two: the checksum stands beside what it covers. Where files
   cannot be written, see finish_features. */
mheap_err mh_region_require(mh_region *region, uint64_t rocompat, mheap_error *error) {
  mh_identity *stored = &region->super->identity, identity = *stored;
  int failed = 0;
  if ((stored->rocompat & rocompat) == rocompat) return MHEAP_OK;
  identity.rocompat |= rocompat;
  mh_superblock_sum(&identity);
  if (region->anonymous || region->mode != MHEAP_MODE_LIVE) *stored = identity;
  else if (region->pages.hugetlb == 0) failed = mh_os_write(region->fd, &identity, sizeof identity, 0);
  else {
    mh_publish(&stored->rocompat, identity.rocompat);
    store_checksum(region, &identity);
  }
  return failed ? mh_fail_system(error, failed, region->path, "writing the superblock") : MHEAP_OK;
}

/* ---- sync and detach ---- */

mheap_err mh_region_sync(mh_region *region, mheap_error *error) {
  if (region->commits != NULL) return mh_commit_sync(region, error);
  if (region->anonymous || region->mode != MHEAP_MODE_LIVE) return MHEAP_OK;
  mheap_err code = mh_region_is_whole(region, error);
  if (code) return code;
  int failed = mh_os_sync(region->fd);
  return failed ? mh_fail_system(error, failed, region->path, "syncing the file") : MHEAP_OK;
}

mheap_err mh_region_finish(mh_region *region, mheap_error *error) {
  if (region->commits != NULL && !region->forked) return mh_commits_finish(region, error);
  if (region->anonymous || region->forked || region->mode != MHEAP_MODE_LIVE || !region->open)
    return MHEAP_OK;
  mheap_err code = mh_region_sync(region, error);
  if (code) return code;
  mh_publish(&region->super->state, MH_STATE_CLEAN);
  code = mh_region_sync(region, error);
  if (code) mh_publish(&region->super->state, MH_STATE_OPEN);
  return code;
}

void mh_region_abandon(mh_region *region) {
  mh_region_uncollect(region);
  mh_registry_remove(region);
  region_free(region);
}
