/* compact.c: mheap_compact. Calls objects/copy.h for what is in a heap, replace.h for the file, and the
   public functions of heaps for the rest.

   The old file is locked against writers, and read as any reader reads it, its journal on top of its pages,
   so that nothing in it changes. The new one is a heap of its own, in mode live, that nobody can find
   before it is complete: formatted with the old one's identity, filled, detached, and checked as whoever
   comes next sees it. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "areas.h"
#include "arena.h"
#include "classes.h"
#include "heap.h"
#include "map.h"
#include "objects/children.h"
#include "objects/copy.h"
#include "objects/objects.h"
#include "os.h"
#include "region_space.h"
#include "region_lock.h"
#include "registry.h"
#include "replace.h"
#include "superblock.h"

#define REPLACED_TRIES 100

typedef struct compaction {
  const mheap_compact_options *options;
  mheap_compacted *done;
  mheap_error *error;
  char path[MH_OS_PATH_MAX]; /* without links */
  int fd;                    /* holds the lock; -1: none is held */
  mheap *from;
  mh_replacement replacement;
  mheap *to;
  uint64_t passed, total; /* bytes, as progress is told of them */
  uint64_t copied;        /* of these, those of the heaps that are done */
  bool given_up;
} compaction;

/* ---- progress ---- */

static mheap_err gave_up(compaction *c) {
  return mh_fail_system(c->error, ECANCELED, c->path, "compacting it");
}

static bool tell(compaction *c, uint64_t done) {
  if (c->options->progress == NULL || c->given_up) return !c->given_up;
  if (done > c->total) done = c->total;
  c->given_up = !c->options->progress(c->options->arg, done, c->total);
  return !c->given_up;
}

static bool copied_some(void *arg, const mh_copied *copied) {
  compaction *c = arg;
  return tell(c, c->copied + copied->bytes);
}

static void checked_some(void *arg, uint64_t done, uint64_t total) {
  compaction *c = arg;
  double part = total == 0 ? 1 : (double)done / (double)total;
  tell(c, c->passed + (uint64_t)(part * (double)(c->total - c->passed)));
}

/* ---- the old file ---- */

static mheap_err system_failed(compaction *c, int failed, const char *doing) {
  return mh_fail_system(c->error, failed, c->path, doing);
}

static mheap_err is_busy(compaction *c, const char *who) {
  mheap_err code = mh_fail(c->error, MHEAP_ERR_BUSY, "%s: busy: %s; close that first", c->path, who);
  if (c->error != NULL) c->error->sys = EAGAIN;
  return code;
}

static mheap_err look_at_file(compaction *c) {
  mh_os_identity id;
  int failed = mh_os_identify(c->fd, &id);
  if (failed) return system_failed(c, failed, "looking at the file");
  if (!id.regular)
    return mh_fail(c->error, MHEAP_ERR_NOT_A_HEAP, "%s: %s, not a heap; give the path of a heap", c->path,
                   id.kind);
  if (mh_os_file_pages(c->fd) != 0)
    return mh_fail(c->error, MHEAP_ERR_ARGUMENT,
                   "%s: a file on hugetlbfs cannot be compacted; copy it to another file system", c->path);
  if (mh_registry_writes(id.device, id.inode)) return is_busy(c, "this process has it open for writing");
  failed = c->options->dry_run ? mh_region_hold_off_writers(c->fd, c->options->timeout)
                               : mh_region_lock_alone(c->fd, c->options->timeout);
  if (failed == EAGAIN) return is_busy(c, "another handle has it open");
  return failed ? system_failed(c, failed, "locking the file") : MHEAP_OK;
}

static void unlock_old(compaction *c) {
  if (c->fd >= 0) mh_os_close(c->fd);
  c->fd = -1;
}

/* The name may have come to mean another file before that was locked. A plan takes no permission to write. */
static mheap_err lock_old(compaction *c) {
  for (int i = 0; i < REPLACED_TRIES; i++) {
    int failed = mh_os_open(c->path, !c->options->dry_run, false, &c->fd);
    if (failed) c->fd = -1;
    if (failed == EISDIR)
      return mh_fail(c->error, MHEAP_ERR_NOT_A_HEAP, "%s: a directory, not a heap", c->path);
    if (failed) return system_failed(c, failed, "opening the file");
    mheap_err code = look_at_file(c);
    if (code || mh_os_same_file(c->fd, c->path)) return code;
    unlock_old(c);
  }
  return is_busy(c, "the file is being replaced over and over");
}

static mheap_err attach_old(compaction *c) {
  const mheap_options reading = {.mode = MHEAP_MODE_READONLY, .relocate = true, .must_exist = true,
                                 .timeout = c->options->timeout};
  c->from = mheap_attach(c->fd, &reading, c->error);
  if (c->from == NULL) return c->error->code;
  if (c->from->region->state_found != MHEAP_SEALED) return MHEAP_OK;
  return mh_fail(c->error, MHEAP_ERR_READ_ONLY,
                 "%s: sealed: a dump is never written again, and is compact already; "
                 "to change it, make a heap of it (`mheap restore`)",
                 c->path);
}

/* ---- what is in it ---- */

typedef struct tally {
  const mh_region *region;
  uint64_t count;
} tally;

static bool count_object(void *arg, uint64_t offset) {
  tally *of = arg;
  uint64_t head = mh_read(mh_at(of->region, offset));
  of->count += head != 0 && !mh_type_is_part(mh_head_type(head));
  return true;
}

static mheap_err error_of(compaction *c, mheap *heap, mheap_err failed) {
  if (failed) *c->error = *mh_error(heap);
  return failed;
}

static mheap_err count_objects(compaction *c, mheap *heap, void *count) {
  tally of = {.region = heap->region};
  mheap_err failed = MHEAP_OK;
  for (uint64_t from = 0; heap->own != NULL && from != UINT64_MAX && !failed;)
    failed = mh_visit_some_objects(heap, &from, count_object, &of);
  *(uint64_t *)count += of.count;
  return error_of(c, heap, failed);
}

typedef mheap_err each_fun(compaction *c, mheap *heap, void *arg);

/* The main heap, then those with names. */
static mheap_err each_heap(compaction *c, mheap *main, each_fun *fun, void *arg) {
  uint32_t row = 0;
  mheap_err stopped = MHEAP_OK, failed = fun(c, main, arg);
  while (!failed) {
    mheap *heap = mh_named_next(main->region, &row, &stopped, c->error);
    if (heap == NULL) return stopped;
    failed = fun(c, heap, arg);
  }
  return failed;
}

/* Errors are the heap's; but for the objects. */
static mheap_err measure(mheap *heap, mheap_extent *extent) {
  mheap_stats stats;
  mheap_info info;
  mheap_err failed = mheap_get_stats(heap, &stats);
  if (!failed) failed = mheap_get_info(heap, &info);
  if (failed) return failed;
  *extent = (mheap_extent){.file_size = info.file_size,
                           .disk_size = info.disk_size,
                           .objects = extent->objects,
                           .blocks = stats.chunks_used,
                           .bytes_used = stats.bytes_used,
                           .bytes_free = stats.bytes_free};
  return MHEAP_OK;
}

/* ---- may it be moved? ---- */

static bool stop_at_block(void *arg, uint64_t offset) {
  *(uint64_t *)arg = offset;
  return false;
}

static mheap_err find_raw_block(compaction *c, mheap *heap, void *block) {
  mheap_err failed = MHEAP_OK;
  for (uint64_t from = 0; from != UINT64_MAX && *(uint64_t *)block == 0 && !failed;)
    failed = mh_visit_some_blocks(heap, &from, stop_at_block, block);
  return error_of(c, heap, failed);
}

static int first_key(const mh_region *region) {
  const uint64_t *keys = mh_at(region, MH_KEYS_OFFSET);
  for (int i = 0; i < MH_KEYS; i++)
    if (mh_read(&keys[i]) != 0) return i;
  return -1;
}

/* Than those with names, and what has their objects. */
static bool has_other_heaps(const mh_region *region) {
  for (uint32_t row = 2; row < MH_HEAPS; row++) {
    if (mh_heap_row_head(region, row) == 0 || mh_row_has_name(region, row)) continue;
    uint32_t owner = mh_heap_objects_owner(region, row);
    if (owner == MH_HEAPS || !mh_row_has_name(region, owner)) return true;
  }
  return false;
}

static bool has_other_arenas(const mh_region *region) {
  const mh_arena_row *rows = mh_at(region, MH_ARENAS_OFFSET);
  for (uint32_t row = 1; row < MH_ARENAS; row++)
    if (mh_read(&rows[row].head) != 0) return true;
  return false;
}

static mheap_err count_names(mheap *heap, uint64_t *count) {
  mh_space space;
  mh_dict names;
  uint64_t offset = mh_read(&heap->region->super->names);
  *count = 0;
  mh_space_init(&space, heap);
  if (offset == 0) return MHEAP_OK;
  mheap_err failed = mh_dict_at(&space, offset, &names);
  return failed ? failed : mh_dict_length(&names, count);
}

#define KEPT(...) snprintf(c->done->kept, sizeof c->done->kept, __VA_ARGS__)

/* What others may know the address or the offset of: then done->kept says what. */
static mheap_err find_kept(compaction *c) {
  const mh_region *region = c->from->region;
  uint64_t block = 0, names;
  int key = first_key(region);
  mheap_err failed = each_heap(c, c->from, find_raw_block, &block);
  if (!failed) failed = error_of(c, c->from, count_names(c->from, &names));
  if (failed) return failed;
  if (block != 0)
    KEPT("there are raw blocks, the first at 0x%" PRIx64 ", and where they are may be known", block);
  else if (key >= 0) KEPT("the numbered root %d is set", key);
  else if (names > 0) KEPT("there are %" PRIu64 " named roots", names);
  else if (has_other_heaps(region)) KEPT("there are more heaps in it, or kinds");
  else if (has_other_arenas(region)) KEPT("there are arenas in it");
  c->done->moved = c->done->kept[0] == '\0';
  return MHEAP_OK;
}

/* ---- the new file ---- */

/* One that is still to be formatted, but for who it is. */
static void make_superblock(const mh_superblock *old, mh_superblock *super) {
  mh_superblock_make(super, old->max_size);
  super->placement = old->placement;
  super->identity.compat = old->identity.compat;
  super->identity.created_ns = old->identity.created_ns;
  memcpy(super->identity.uuid, old->identity.uuid, sizeof super->identity.uuid);
  memcpy(super->identity.hash_seed, old->identity.hash_seed, sizeof super->identity.hash_seed);
  mh_superblock_sum(&super->identity);
}

/* What the kernel calls the new file tells nobody which heap it is about. */
static mheap_err about_new(compaction *c) {
  mheap_error why = *c->error;
  char name[MH_OS_PATH_MAX];
  mh_os_path(c->replacement.fd, name, sizeof name);
  size_t length = strncmp(why.text, name, strlen(name)) == 0 ? strlen(name) : 0;
  mh_fail(c->error, why.code, "%s: the new file beside it: %s", c->path,
          why.text + length + strspn(why.text + length, ": "));
  c->error->sys = why.sys;
  return why.code;
}

static mheap_err attach_new(compaction *c) {
  mheap_options live = {.mode = MHEAP_MODE_LIVE, .must_exist = true};
  mh_superblock super;
  make_superblock(c->from->region->super, &super);
  uint64_t size = mh_region_size(c->from->region); /* may be beyond what is stored, by an attach's own wish */
  if (size > super.max_size) live.max_size = size + MH_SEGMENT;
  int failed = mh_os_write(c->replacement.fd, &super, sizeof super, 0);
  if (failed) return system_failed(c, failed, "writing the new file");
  c->to = mheap_attach(c->replacement.fd, &live, c->error);
  if (c->to == NULL) return about_new(c);
  mh_region_set_path(c->to->region, c->path);
  return MHEAP_OK;
}

/* Space in one go: growth step by step leaves it in pieces. Where there is not so much, less may be needed;
   what is not is cut off in the end. */
static void make_room(compaction *c) {
  mh_region *region = c->to->region;
  uint64_t old = mh_region_size(region), size = c->done->before.bytes_used / MH_SLICE * MH_SLICE, left;
  if (size > region->span) size = region->span;
  if (size <= old || mh_os_disk_left(c->replacement.fd, &left) != 0 || left / 2 < size) return;
  pthread_mutex_lock(&region->lock);
  mheap_err failed = mh_arena_extend(region, size, NULL);
  pthread_mutex_unlock(&region->lock);
  if (!failed) mh_region_back(region, old, size - old, NULL);
}

/* What the next writer goes on from. */
static void store_numbers(const mh_superblock *old, mh_superblock *super) {
  mh_publish(&super->birth, old->birth);
  mh_publish(&super->generation, old->generation);
  mh_publish(&super->checkpoint, old->generation);
}

/* The heap of the same name, tag, flags and number. */
static mheap *named_like(compaction *c, mheap *heap) {
  char name[MHEAP_HEAP_NAME + 1];
  size_t length;
  if (error_of(c, heap, mheap_get_name(heap, name, &length))) return NULL;
  mheap *made = mheap_new_named(c->to, name, length, 0, 0);
  if (made == NULL) return error_of(c, c->to, mh_error(c->to)->code), NULL;
  const mh_heap_row *old = mh_heap_row_of(heap);
  mh_heap_row *row = mh_heap_row_of(made);
  mh_store(&row->birth, mh_read(&old->birth));
  mh_store(&row->head, mh_read(&old->head));
  return made;
}

/* Of one heap; `to` NULL: what that would come to. */
static mheap_err copy_from(compaction *c, mheap *heap, mheap *made, mh_copied *copied) {
  mh_space from, to;
  mh_space_init(&from, heap);
  if (made != NULL) mh_space_init(&to, made);
  mheap_err failed = mh_copy_objects(&from, made == NULL ? NULL : &to, copied, copied_some, c);
  if (c->given_up) return gave_up(c);
  bool name_is_object = heap->row != 0 && mh_word_is_ref(mh_read(&mh_heap_row_of(heap)->name));
  copied->blocks += name_is_object;
  c->done->after.objects += copied->objects + name_is_object;
  c->copied += copied->bytes;
  return error_of(c, heap, failed);
}

static mheap_err copy_heap(compaction *c, mheap *heap, void *unused) {
  mh_copied copied;
  mheap *made = heap->row == 0 ? c->to : named_like(c, heap);
  (void)unused;
  return made == NULL ? c->error->code : copy_from(c, heap, made, &copied);
}

static mheap_err copy_objects(compaction *c) {
  mh_space to;
  mh_space_init(&to, c->to);
  mheap_err failed = mh_space_writable(&to);
  if (failed) return error_of(c, c->to, failed);
  make_room(c);
  return each_heap(c, c->from, copy_heap, NULL);
}

static mheap_err finish_new(compaction *c) {
  store_numbers(c->from->region->super, c->to->region->super);
  mheap_err failed = mheap_collect(c->to, true);
  if (failed) return error_of(c, c->to, failed);
  failed = mheap_detach(c->to, c->error);
  if (!failed) c->to = NULL;
  return failed;
}

/* As whoever comes next sees it. */
static mheap_err check_new(compaction *c) {
  const mheap_options reading = {.mode = MHEAP_MODE_READONLY};
  mheap *heap = mheap_attach(c->replacement.fd, &reading, c->error);
  if (heap == NULL) return about_new(c);
  mh_region_set_path(heap->region, c->path);
  mheap_err failed = mheap_check(heap, NULL, checked_some, c);
  if (!failed) failed = measure(heap, &c->done->after);
  if (failed == MHEAP_ERR_CORRUPT)
    mh_fail(c->error, failed,
            "%s: what was made of it is not sound, so it was left as it is; `mheap check` says what is wrong",
            c->path);
  else error_of(c, heap, failed);
  mheap_abandon(heap);
  return c->given_up ? gave_up(c) : failed;
}

static mheap_err make_new(compaction *c) {
  mheap_err failed = attach_new(c);
  if (!failed) failed = copy_objects(c);
  if (!failed) failed = finish_new(c);
  c->passed = c->total / 2;
  if (!failed) failed = check_new(c);
  return failed;
}

static mheap_err move(compaction *c) {
  c->total = 2 * c->done->before.bytes_used;
  mheap_err failed = mh_replacement_open(&c->replacement, c->path, c->fd, c->error);
  if (failed) return failed;
  failed = make_new(c);
  if (c->to != NULL) mheap_abandon(c->to);
  c->to = NULL;
  if (!failed) failed = mh_replacement_finish(&c->replacement, c->error);
  mh_replacement_close(&c->replacement);
  return failed;
}

/* ---- what would come of it ---- */

/* Slabs of each class, large blocks, and for each 63 slices of those a header; the superblock. */
static uint64_t size_of(const mh_copied *copied) {
  uint64_t slices = copied->slices, data = MH_SEGMENT_SLICES - 1;
  for (unsigned i = 0; i < MHEAP_CLASSES; i++) {
    const mh_class *class = &mh_classes[i];
    slices += (copied->classes[i] + class->blocks - 1) / class->blocks * class->slices;
  }
  return MH_SLICE * (1 + slices + (slices + data - 1) / data + (slices == 0));
}

static uint64_t bytes_of(const mh_copied *copied) {
  uint64_t bytes = copied->slices * MH_SLICE;
  for (unsigned i = 0; i < MHEAP_CLASSES; i++) bytes += copied->classes[i] * mh_classes[i].size;
  return bytes;
}

/* Heaps share no slabs. */
static mheap_err estimate_heap(compaction *c, mheap *heap, void *unused) {
  mh_copied copied;
  mheap_extent *after = &c->done->after;
  mheap_err failed = copy_from(c, heap, NULL, &copied);
  (void)unused;
  if (failed) return failed;
  after->file_size += size_of(&copied) - (heap->row == 0 ? 0 : MH_SLICE);
  after->blocks += copied.blocks;
  after->bytes_used += bytes_of(&copied);
  return MHEAP_OK;
}

static mheap_err estimate(compaction *c) {
  mheap_extent *after = &c->done->after;
  c->total = c->done->before.bytes_used;
  mheap_err failed = each_heap(c, c->from, estimate_heap, NULL);
  uint64_t room = failed ? 0 : after->file_size - MH_SLICE;
  after->disk_size = after->file_size;
  after->bytes_free = room > after->bytes_used ? room - after->bytes_used : 0;
  return failed;
}

/* ---- in place ---- */

static void close_old(compaction *c) {
  if (c->from != NULL) mheap_abandon(c->from);
  c->from = NULL;
  unlock_old(c);
}

static mheap_err trim(compaction *c) {
  const mheap_options live = {.mode = MHEAP_MODE_LIVE, .must_exist = true, .timeout = c->options->timeout};
  close_old(c);
  mheap *heap = mheap_open(c->path, &live, c->error);
  if (heap == NULL) return c->error->code;
  mheap_err failed = mheap_collect_objects(heap, NULL);
  if (!failed) failed = mh_objects_mend(heap);
  if (!failed) failed = mheap_collect(heap, true);
  if (!failed) failed = measure(heap, &c->done->after);
  error_of(c, heap, failed);
  if (!failed) failed = each_heap(c, heap, count_objects, &c->done->after.objects);
  if (!failed) failed = mheap_detach(heap, c->error);
  if (failed) mheap_abandon(heap);
  return failed;
}

/* ---- all of it ---- */

static mheap_err compact(compaction *c) {
  mheap_err failed = lock_old(c);
  if (!failed) failed = attach_old(c);
  if (!failed) failed = each_heap(c, c->from, count_objects, &c->done->before.objects);
  if (!failed) failed = error_of(c, c->from, measure(c->from, &c->done->before));
  if (!failed) failed = find_kept(c);
  if (failed) return failed;
  if (c->options->dry_run && c->done->moved) return estimate(c);
  if (c->options->dry_run) return c->done->after = c->done->before, MHEAP_OK;
  return c->done->moved ? move(c) : trim(c);
}

mheap_err mheap_compact(const char *path, const mheap_compact_options *options, mheap_compacted *done,
                        mheap_error *error) {
  static const mheap_compact_options defaults;
  mheap_error own_error;
  mheap_compacted own_done;
  compaction c = {.fd = -1, .replacement = {.fd = -1}};
  c.options = options == NULL ? &defaults : options;
  c.error = error == NULL ? &own_error : error;
  c.done = done == NULL ? &own_done : done;
  mh_error_clear(c.error);
  *c.done = (mheap_compacted){0};
  int failed = mh_os_real_path(path, c.path);
  if (failed) return mh_fail_system(error, failed, path, "looking for the file");
  mheap_err code = compact(&c);
  close_old(&c);
  return code;
}
