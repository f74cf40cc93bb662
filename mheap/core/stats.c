/* stats.c: what is in a heap: mheap_get_stats, mheap_visit_blocks, mheap_get_info; areas.h.

   Owns nothing. Calls region.h, map.h, hooks.h (for the place of a guarded block's data) and
   os.h. Every number of the region is checked before it is used; the first contradiction
   ends a walk with MHEAP_ERR_CORRUPT. Takes region->lock for the moment a segment's
   descriptors are copied, never while a caller's function runs. */
#include "areas.h"
#include "classes.h"
#include "decode.h"
#include "heap.h"
#include "hooks.h"
#include "lane.h"
#include "map.h"
#include "os.h"
#include "parts.h"
#include "segment.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define RETRIES 4 /* of a contradiction beside a writer, which may have been in the middle of a change */

/* ---- the walk: every run of the region, in address order ---- */

typedef enum run_kind { RUN_FREE, RUN_META, RUN_SLAB, RUN_SPAN, RUN_HUGE } run_kind;

typedef struct run {
  run_kind kind;
  uint32_t heap;  /* SLAB, SPAN, HUGE: row */
  uint32_t class; /* SLAB */
  uint64_t offset;
  uint64_t bytes;         /* it occupies */
  uint64_t usable;        /* SPAN, HUGE: bytes of the block */
  bool owned;             /* SLAB: some lane has it */
  const mh_bitmaps *maps; /* SLAB */
} run;

typedef bool run_fun(void *arg, const run *run);

typedef struct walk {
  mh_region *region;
  mheap_error *error;
  run_fun *fun;
  void *arg;
  bool stopped;
  run free;                           /* free bytes that end where the walk is: adjacent ones are one run */
  uint64_t slices[MH_SEGMENT_SLICES]; /* heads of the segment at hand */
  uint64_t owned;                     /* bit a slice: a slab of some lane's */
} walk;

static void flush_free(walk *w) {
  if (w->free.bytes != 0 && !w->stopped && !w->fun(w->arg, &w->free)) w->stopped = true;
  w->free.bytes = 0;
}

static void step(walk *w, run it) {
  if (it.kind == RUN_FREE) {
    if (w->free.bytes == 0) w->free = it;
    else w->free.bytes += it.bytes;
    return;
  }
  flush_free(w);
  if (!w->stopped && !w->fun(w->arg, &it)) w->stopped = true;
}

static const mh_segment_header *header_at(const walk *w, uint64_t segment) {
  return mh_at(w->region, mh_segment_offset(segment));
}

static uint32_t slices_in(const walk *w, uint64_t segment) {
  uint64_t slices = (mh_region_size(w->region) - mh_segment_offset(segment)) / MH_SLICE;
  return slices < MH_SEGMENT_SLICES ? (uint32_t)slices : MH_SEGMENT_SLICES;
}

static void note_owned(walk *w, uint64_t segment) {
  mh_slab *entries = (mh_slab *)mh_segment_of(w->region, segment);
  w->owned = 0;
  for (uint32_t i = 1; i < slices_in(w, segment); i++)
    if (atomic_load_explicit(&entries[i].lane, memory_order_relaxed) != NULL) w->owned |= (uint64_t)1 << i;
}

/* Copies the heads and sees whether the runs follow one another. */
static mheap_err copy_heads(walk *w, uint64_t segment) {
  const mh_segment_header *header = header_at(w, segment);
  uint32_t room = slices_in(w, segment);
  for (uint32_t slice = 1; slice < room;) {
    uint64_t word = mh_read(&header->slice[slice - 1].head);
    mh_run_head head = mh_run_head_of(word);
    if (word != 0 && !mh_run_head_is_valid(&head, room - slice))
      return mh_fail_corrupt(w->error, w->region->path, mh_offset(w->region, &header->slice[slice - 1]),
                             "slice descriptor", 0, word);
    w->slices[slice] = mh_head_settled(w->region, word);
    for (uint32_t i = 1; i < head.count && word != 0; i++) w->slices[slice + i] = 0;
    slice += word != 0 ? head.count : 1;
  }
  note_owned(w, segment);
  return MHEAP_OK;
}

static void step_head(walk *w, uint64_t segment, uint32_t slice, const mh_run_head *head) {
  run it = {
      .kind = head->kind == MH_SLICE_SLAB   ? RUN_SLAB
              : head->kind == MH_SLICE_SPAN ? RUN_SPAN
                                            : RUN_META,
      .heap = head->heap,
      .class = head->class,
      .offset = mh_segment_offset(segment) + slice * MH_SLICE,
      .bytes = head->count * MH_SLICE,
      .usable = head->pages * (uint64_t)MH_PAGE,
      .maps = &header_at(w, segment)->bitmaps[slice],
      .owned = w->owned >> slice & 1,
  };
  step(w, it);
}

static void step_slices(walk *w, uint64_t segment) {
  uint32_t room = slices_in(w, segment);
  uint64_t offset = mh_segment_offset(segment);
  step(w, (run){.kind = RUN_META, .offset = offset, .bytes = MH_SLICE});
  for (uint32_t slice = 1; slice < room && !w->stopped;) {
    mh_run_head head = mh_run_head_of(w->slices[slice]);
    if (w->slices[slice] != 0) step_head(w, segment, slice, &head);
    else step(w, (run){.kind = RUN_FREE, .offset = offset + slice * MH_SLICE, .bytes = MH_SLICE});
    slice += w->slices[slice] != 0 ? head.count : 1;
  }
}

static void step_whole(walk *w, uint64_t segment, const mh_map_entry *entry) {
  uint64_t offset = mh_segment_offset(segment), rest = mh_region_size(w->region) - offset;
  uint64_t bytes = entry->count * MH_SEGMENT;
  run it = {.kind = RUN_FREE, .offset = offset, .bytes = bytes < rest ? bytes : rest};
  if (entry->kind == MH_MAP_HUGE) {
    it.kind = RUN_HUGE;
    it.heap = entry->heap;
    it.usable = mh_map_huge_bytes(entry);
  }
  step(w, it);
}

static mheap_err look_at(walk *w, uint64_t segment, mh_map_entry *entry) {
  pthread_mutex_lock(&w->region->lock);
  mheap_err failed = mh_map_get(w->region, segment, entry, w->error);
  if (!failed && entry->kind == MH_MAP_SLICES) failed = copy_heads(w, segment);
  pthread_mutex_unlock(&w->region->lock);
  return failed;
}

/* Reports the runs of one segment, or of all that a huge span has; *next is what follows. */
static mheap_err walk_segment(walk *w, uint64_t segment, uint64_t *next) {
  mh_map_entry entry;
  mheap_err failed = look_at(w, segment, &entry);
  for (int i = 0; failed && w->region->unsafe && i < RETRIES; i++) {
    mh_os_sleep(0.0005);
    failed = look_at(w, segment, &entry);
  }
  if (failed) return failed;
  if (entry.kind == MH_MAP_SLICES) step_slices(w, segment);
  else if (entry.kind != MH_MAP_BODY) /* of a huge span made since its head was passed */
    step_whole(w, segment, &entry);
  *next = segment + (entry.kind == MH_MAP_HUGE ? entry.count : 1);
  return MHEAP_OK;
}

static mheap_err walk_region(mheap *heap, run_fun *fun, void *arg) {
  walk w = {.region = heap->region, .error = mh_error(heap), .fun = fun, .arg = arg};
  mheap_err failed = MHEAP_OK;
  mh_region_begin_walk(w.region);
  step(&w, (run){.kind = RUN_META, .bytes = MH_SLICE}); /* the superblock's */
  for (uint64_t segment = 0; segment < mh_map_segments(w.region) && !w.stopped && !failed;)
    failed = walk_segment(&w, segment, &segment);
  mh_region_end_walk(w.region);
  if (!failed) flush_free(&w);
  return failed;
}

/* Refuses a call without a place for its result. */
static mheap_err no_place(mheap *heap, const char *what) {
  heap = mh_heap_of(heap);
  if (heap == NULL) return MHEAP_ERR_NO_MEMORY;
  mheap_error *error = mh_error(heap);
  mh_fail(error, MHEAP_ERR_ARGUMENT, "%s: %s is NULL; give the address of one", heap->region->path, what);
  error->sys = EINVAL;
  return error->code;
}

static mheap *readable(mheap *heap, mheap_err *failed) {
  heap = mh_heap_of(heap);
  *failed = heap == NULL ? MHEAP_ERR_NO_MEMORY : mh_heap_usable(heap);
  if (!*failed) *failed = mh_region_is_whole(heap->region, mh_error(heap)); /* else touching it is a signal */
  return *failed ? NULL : heap;
}

/* ---- statistics ---- */

static uint64_t blocks_in_use(const mh_bitmaps *maps, uint32_t blocks) {
  uint64_t used = 0;
  for (uint32_t i = 0; 64 * i < blocks; i++)
    used += (uint64_t)__builtin_popcountll(mh_bitmap_used(maps, i, blocks));
  return used;
}

/* Which of a region's runs are counted, and where. */
typedef struct counter {
  mheap_stats *stats;
  const mheap *only; /* this heap's, and its objects'; NULL: all */
} counter;

static bool is_counted(const counter *c, uint32_t row) {
  return c->only == NULL || row == c->only->row || (c->only->own != NULL && row == c->only->own->row);
}

/* Blocks in slabs that no lane has were in use before this process came by them. */
static void count_slab(mheap_stats *stats, const run *it) {
  const mh_class *class = &mh_classes[it->class];
  mheap_class_stats *row = &stats->classes[it->class];
  uint64_t used = blocks_in_use(it->maps, class->blocks);
  row->runs++;
  row->blocks += class->blocks;
  row->used += used;
  if (!it->owned) row->peak += used;
  row->used_bytes += used * class->size;
  row->run_bytes += it->bytes;
  stats->chunks_used += used;
  stats->bytes_used += used * class->size;
  stats->chunks_free += class->blocks - used;
  stats->bytes_free += (class->blocks - used) * class->size;
  stats->bytes_overhead += it->bytes - (uint64_t)class->blocks * class->size;
}

static void count_block(mheap_stats *stats, mheap_class_stats *row, const run *it) {
  row->runs++;
  row->blocks++;
  row->used++;
  row->used_bytes += it->usable;
  row->run_bytes += it->bytes;
  stats->chunks_used++;
  stats->bytes_used += it->usable;
  stats->bytes_overhead += it->bytes - it->usable;
}

/* Segments that begin in the run; the first slice of one that is not free is its header or its block. */
static uint64_t segments_from(const run *it) {
  uint64_t start = it->offset - MH_SLICE, end = start + it->bytes;
  return (end + MH_SEGMENT - 1) / MH_SEGMENT - (start + MH_SEGMENT - 1) / MH_SEGMENT;
}

static void count_space(mheap_stats *stats, const run *it) {
  if (it->kind == RUN_META) {
    stats->bytes_overhead += it->bytes;
    return;
  }
  stats->chunks_free++;
  stats->bytes_free += it->bytes;
  stats->segments_free += segments_from(it);
}

static bool count_run(void *arg, const run *it) {
  const counter *c = arg;
  mheap_stats *stats = c->stats;
  bool is_space = it->kind == RUN_FREE || it->kind == RUN_META;
  if (is_space ? c->only != NULL : !is_counted(c, it->heap)) return true;
  stats->bytes_total += it->bytes;
  if (is_space) count_space(stats, it);
  else if (it->kind == RUN_SLAB) count_slab(stats, it);
  else count_block(stats, it->kind == RUN_SPAN ? &stats->spans : &stats->huge, it);
  return true;
}

static void read_counts(mh_region *region, const mheap *only, mheap_stats *stats) {
  counter c = {.only = only};
  mh_handles_lock();
  for (mheap *heap = region->heaps; heap != NULL; heap = heap->next)
    if (is_counted(&c, heap->row)) mh_counts_read(heap, stats);
  mh_handles_unlock();
}

static mheap_err count_region(mheap *part, const mheap *only, mheap_stats *stats) {
  counter c = {.stats = stats, .only = only};
  mheap_err failed = walk_region(part, count_run, &c);
  if (failed) return failed;
  read_counts(part->region, only, stats);
  if (only == NULL) stats->segments += mh_map_segments(part->region);
  return MHEAP_OK;
}

mheap_err mh_heap_region_stats(mheap *heap, mheap_stats *stats) { return count_region(heap, NULL, stats); }

/* Of size classes the peak is counted, but for what came since; of spans, what it exceeds `used` by. */
void mh_stats_finish(mheap_stats *stats) {
  for (uint32_t i = 0; i < MHEAP_CLASSES; i++) {
    mheap_class_stats *class = &stats->classes[i];
    class->block_size = mh_classes[i].size;
    if (class->peak < class->used) class->peak = class->used;
    class->peak_bytes = class->peak * class->block_size;
    class->total_bytes = class->total * class->block_size;
  }
  stats->spans.peak += stats->spans.used;
  stats->spans.peak_bytes += stats->spans.used_bytes;
  stats->huge.peak += stats->huge.used;
  stats->huge.peak_bytes += stats->huge.used_bytes;
}

/* Of all regions that the heap uses; `alone`: of what is its own there. */
static mheap_err count_parts(mheap *heap, bool alone, mheap_stats *stats) {
  mheap_err failed = MHEAP_OK;
  for (mheap *part = mh_part_first(heap); part != NULL && !failed; part = mh_part_next(part)) {
    if (!mh_part_enter(part)) continue;
    failed = count_region(part, alone ? part : NULL, stats);
    mh_part_leave(part);
  }
  mh_stats_finish(stats);
  return failed;
}

mheap_err mheap_get_stats(mheap *heap, mheap_stats *stats) {
  mheap_err failed;
  if (stats == NULL) return no_place(heap, "mheap_get_stats: stats");
  memset(stats, 0, sizeof *stats);
  heap = readable(heap, &failed);
  if (!failed) failed = count_parts(heap, false, stats);
  if (!failed) failed = mh_stats_count_pages(heap, &stats->pages);
  return failed;
}

mheap_err mheap_get_heap_stats(mheap *heap, mheap_stats *stats) {
  mheap_err failed;
  if (stats == NULL) return no_place(heap, "mheap_get_heap_stats: stats");
  memset(stats, 0, sizeof *stats);
  heap = readable(heap, &failed);
  return failed ? failed : count_parts(heap, true, stats);
}

/* ---- starting anew ---- */

static void reset_region(mheap *part, bool alone) {
  mh_handles_lock();
  for (mheap *heap = part->region->heaps; heap != NULL; heap = heap->next)
    if (!alone || heap == part || heap == part->own) mh_counts_reset(heap);
  mh_handles_unlock();
}

mheap_err mheap_stats_reset(mheap *heap) {
  mheap_err failed;
  heap = readable(heap, &failed);
  if (failed) return failed;
  bool alone = heap->row != 0;
  for (mheap *part = mh_part_first(heap); part != NULL; part = mh_part_next(part)) {
    if (!mh_part_enter(part)) continue;
    reset_region(part, alone);
    mh_part_leave(part);
  }
  return MHEAP_OK;
}

/* ---- blocks ---- */

typedef struct visitor {
  mheap *heap; /* or its part at hand */
  mheap_visit_fun *visit;
  void *arg;
  bool stopped;
} visitor;

static bool visit_block(visitor *v, uint64_t offset, uint64_t usable) {
  if (offset == mh_read(&mh_heap_row_of(v->heap)->name)) return true; /* of the kind it belongs to */
  char *block = mh_at(v->heap->region, offset);
  size_t size = usable;
  void *data = mh_guard_data(v->heap, block, &size);
  v->stopped = !v->visit(v->arg, data, size);
  return !v->stopped;
}

static bool visit_slab(visitor *v, const run *it) {
  const mh_class *class = &mh_classes[it->class];
  for (uint32_t i = 0; 64 * i < class->blocks; i++)
    for (uint64_t used = mh_bitmap_used(it->maps, i, class->blocks); used != 0; used &= used - 1) {
      uint32_t block = 64 * i + (uint32_t)__builtin_ctzll(used);
      if (!visit_block(v, it->offset + (uint64_t)block * class->size, class->size)) return false;
    }
  return true;
}

static bool visit_run(void *arg, const run *it) {
  visitor *v = arg;
  if (it->kind < RUN_SLAB || it->heap != v->heap->row) return true;
  return it->kind == RUN_SLAB ? visit_slab(v, it) : visit_block(v, it->offset, it->usable);
}

mheap_err mheap_visit_blocks(mheap *heap, mheap_visit_fun *visit, void *arg) {
  mheap_err failed;
  if (visit == NULL) return no_place(heap, "mheap_visit_blocks: visit");
  heap = readable(heap, &failed);
  visitor v = {.visit = visit, .arg = arg};
  mheap *part = failed ? NULL : mh_part_first(heap);
  for (; part != NULL && !failed && !v.stopped; part = mh_part_next(part)) {
    if (!mh_part_enter(part)) continue;
    v.heap = part;
    failed = walk_region(part, visit_run, &v);
    mh_part_leave(part);
  }
  return failed;
}

/* ---- the blocks of a heap, some at a time ---- */

typedef struct some_visitor {
  uint32_t row;
  uint64_t from;
  mh_block_fun *visit;
  void *arg;
  bool stopped;
} some_visitor;

static bool visit_one(some_visitor *v, uint64_t offset) {
  v->stopped = !v->visit(v->arg, offset);
  if (v->stopped) v->from = offset;
  return !v->stopped;
}

static bool visit_some_of_slab(some_visitor *v, const run *it) {
  const mh_class *class = &mh_classes[it->class];
  uint64_t passed = v->from > it->offset ? (v->from - it->offset + class->size - 1) / class->size : 0;
  for (uint64_t i = passed / 64; 64 * i < class->blocks; i++) {
    uint64_t used = mh_bitmap_used(it->maps, (uint32_t)i, class->blocks);
    if (i == passed / 64) used &= ~(uint64_t)0 << passed % 64;
    for (; used != 0; used &= used - 1)
      if (!visit_one(v, it->offset + (64 * i + (uint64_t)__builtin_ctzll(used)) * class->size)) return false;
  }
  return true;
}

static bool visit_some_of_run(void *arg, const run *it) {
  some_visitor *v = arg;
  if (it->kind < RUN_SLAB || it->heap != v->row || it->offset + it->bytes <= v->from) return true;
  if (it->kind == RUN_SLAB) return visit_some_of_slab(v, it);
  return it->offset < v->from || visit_one(v, it->offset);
}

mheap_err mh_visit_some_blocks(mheap *heap, uint64_t *from, mh_block_fun *visit, void *arg) {
  some_visitor v = {.row = heap->row, .from = *from, .visit = visit, .arg = arg};
  walk w = {.region = heap->region, .error = mh_error(heap), .fun = visit_some_of_run, .arg = &v};
  mheap_err failed = MHEAP_OK;
  uint64_t next = *from < MH_SLICE ? 0 : (*from - MH_SLICE) / MH_SEGMENT;
  mh_region_begin_walk(w.region);
  if (next < mh_map_segments(w.region)) failed = walk_segment(&w, next, &next);
  if (!v.stopped) v.from = next < mh_map_segments(w.region) ? mh_segment_offset(next) : UINT64_MAX;
  mh_region_end_walk(w.region);
  *from = v.from;
  return failed;
}

mheap_err mh_visit_some_objects(mheap *heap, uint64_t *from, mh_block_fun *visit, void *arg) {
  mheap_err failed = mh_visit_some_blocks(heap->own, from, visit, arg);
  if (failed) *mh_error(heap) = *mh_error(heap->own);
  return failed;
}

/* ---- areas ---- */

typedef struct area_visitor {
  visitor blocks; /* of the area at hand */
  bool with_blocks, stopped;
  mh_area area;
  mh_area_fun *visit;
  void *arg;
} area_visitor;

static bool is_owned(mheap *heap, uint64_t offset) {
  const mh_slab *slab = &heap->region->slabs[(offset - MH_SLICE) / MH_SLICE];
  pthread_mutex_lock(&heap->lock);
  const mh_lane *lane = atomic_load_explicit(&slab->lane, memory_order_acquire);
  bool owned = lane != NULL && lane->thread != NULL;
  pthread_mutex_unlock(&heap->lock);
  return owned;
}

static mh_area area_of(mheap *heap, const run *it) {
  mh_area area = {.start = mh_at(heap->region, it->offset), .bytes = it->bytes, .slab = it->kind == RUN_SLAB};
  if (!area.slab) {
    area.usable = area.block_size = it->usable;
    area.used = 1;
    return area;
  }
  const mh_class *class = &mh_classes[it->class];
  area.block_size = class->size;
  area.usable = (uint64_t)class->blocks * class->size;
  area.used = blocks_in_use(it->maps, class->blocks);
  area.owned = is_owned(heap, it->offset);
  return area;
}

static bool visit_block_of_area(void *arg, void *block, size_t usable) {
  area_visitor *v = arg;
  return v->visit(v->arg, &v->area, block, usable);
}

static bool visit_area(void *arg, const run *it) {
  area_visitor *v = arg;
  mheap *heap = v->blocks.heap;
  if (it->kind < RUN_SLAB || it->heap != heap->row) return true;
  v->area = area_of(heap, it);
  v->stopped = !v->visit(v->arg, &v->area, NULL, 0) || (v->with_blocks && !visit_run(&v->blocks, it));
  return !v->stopped;
}

mheap_err mh_visit_areas(mheap *heap, bool blocks, mh_area_fun *visit, void *arg) {
  mheap_err failed;
  heap = readable(heap, &failed);
  area_visitor v = {
      .blocks = {.visit = visit_block_of_area}, .with_blocks = blocks, .visit = visit, .arg = arg};
  v.blocks.arg = &v;
  mheap *part = failed ? NULL : mh_part_first(heap);
  for (; part != NULL && !failed && !v.stopped; part = mh_part_next(part)) {
    if (!mh_part_enter(part)) continue;
    v.blocks.heap = part;
    failed = walk_region(part, visit_area, &v);
    mh_part_leave(part);
  }
  return failed;
}

/* ---- identity and geometry ---- */

static void get_owner(const mh_superblock *super, mheap_info *info) {
  memcpy(info->owner_boot_id, super->owner.boot_id, sizeof info->owner_boot_id);
  info->owner_device = super->owner.device;
  info->owner_inode = super->owner.inode;
  info->owner_mount_id = super->owner.mount_id;
  info->owner_pid = super->owner.pid;
}

static void get_stored(const mh_superblock *super, mheap_info *info) {
  memcpy(info->uuid, super->identity.uuid, sizeof info->uuid);
  info->version = super->identity.version;
  info->compat = super->identity.compat;
  info->rocompat = super->identity.rocompat;
  info->incompat = super->identity.incompat;
  info->created_ns = super->identity.created_ns;
  info->generation = mh_read(&super->generation);
  info->epoch = mh_read(&super->epoch);
  info->stored_base = mh_read(&super->base);
  info->has_root = mh_read(&super->root) != 0;
  info->has_journal = mh_read(&super->journal) != 0;
  if (mh_read(&super->state) == MH_STATE_OPEN) get_owner(super, info);
}

mheap_err mheap_get_info(mheap *heap, mheap_info *info) {
  mheap_err failed;
  if (info == NULL) return no_place(heap, "mheap_get_info: info");
  memset(info, 0, sizeof *info);
  heap = readable(heap, &failed);
  if (heap == NULL) return failed;
  mh_region *region = heap->region;
  get_stored(region->super, info);
  info->mode = region->mode;
  info->state = region->state_found;
  info->size = mh_region_size(region);
  info->max_size = region->span;
  info->base = (uint64_t)(uintptr_t)region->base;
  info->segments = mh_map_segments(region);
  info->fd = region->fd;
  if (region->fd < 0) return MHEAP_OK;
  int sys = mh_os_file_sizes(region->fd, &info->file_size, &info->disk_size);
  return sys != 0 ? mh_fail_system(mh_error(heap), sys, region->path, "cannot tell its size") : MHEAP_OK;
}
