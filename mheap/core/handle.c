/* handle.c: the life of a heap's handle, and its roots.

   Owns: struct mheap. Calls region.h, lane.h, arena.h, subproc.h. */
#include <errno.h>
#include <string.h>

#include "arena.h"
#include "arenas.h"
#include "deferred.h"
#include "heap.h"
#include "hooks.h"
#include "kind.h"
#include "lane.h"
#include "map.h"
#include "os.h"
#include "parts.h"
#include "radix.h"
#include "region_pages.h"
#include "registry.h"
#include "subproc.h"

/* The handle of a heap and that of its objects' heap are one table. */
#define HANDLE_BYTES ((uint64_t)65536)
static_assert(2 * sizeof(mheap) <= HANDLE_BYTES, "two handles fit their table");

/* ---- making and dropping ---- */

static void handle_use(mheap *heap, mh_region *region, uint32_t row) {
  heap->region = region;
  heap->row = row;
  mh_part_reset(heap);
  atomic_store_explicit(&heap->kind, NULL, memory_order_relaxed);
  mh_error_forget(heap);
  mh_registry_add_heap(region, heap);
}

static void handle_init(mheap *heap, mh_region *region, uint32_t row) {
  pthread_mutex_init(&heap->lock, NULL);
  handle_use(heap, region, row);
}

static void handle_fini(mheap *heap) {
  mh_lanes_drop(heap);
  mh_registry_remove_heap(heap->region, heap);
  pthread_mutex_destroy(&heap->lock);
}

/* A damaged row means no objects, not no heap. */
static bool has_objects(const mheap *heap, uint64_t *row) {
  const mh_heap_row *rows = mh_at(heap->region, MH_HEAPS_OFFSET);
  *row = mh_read(&rows[heap->row].objects) - 1;
  const uint64_t flags = MH_HEAP_USED | MH_HEAP_OBJECTS;
  return *row < MH_HEAPS && *row != heap->row && (mh_read(&rows[*row].head) & flags) == flags &&
         mh_heap_row_gone(heap->region, (uint32_t)*row) == 0 &&
         mh_heap_objects_owner(heap->region, (uint32_t)*row) == heap->row;
}

static mheap *handle_new(mh_region *region, mheap_error *error) {
  uint64_t row;
  mheap *heap = mh_os_table(HANDLE_BYTES);
  if (heap == NULL) {
    mh_fail_system(error, ENOMEM, region->path, "making the heap's handle");
    return NULL;
  }
  mh_subproc_own(mh_subproc_now(), region);
  handle_init(heap, region, 0);
  if (has_objects(heap, &row)) {
    heap->own = heap + 1;
    heap->own->objects = true;
    handle_init(heap->own, region, (uint32_t)row);
  }
  return heap;
}

/* ---- of the region's other heaps ---- */

mheap *mh_handle_find(const mh_region *region, uint32_t row) { return mh_registry_heap(region, row); }

static pthread_mutex_t handles_lock = PTHREAD_MUTEX_INITIALIZER;

void mh_handles_lock(void) { pthread_mutex_lock(&handles_lock); }
void mh_handles_unlock(void) { pthread_mutex_unlock(&handles_lock); }

/* One that another heap had keeps its lock; all else is made anew. */
static mheap *spare_handle(mh_region *region) {
  mheap *heap = region->spare_heaps;
  if (heap == NULL) {
    heap = mh_os_table(HANDLE_BYTES);
    if (heap != NULL) pthread_mutex_init(&heap->lock, NULL);
    return heap;
  }
  region->spare_heaps = heap->next;
  heap->gone = heap->hooked = heap->objects = false;
  heap->own = NULL;
  heap->made = heap->birth = 0;
  memset(&heap->counts, 0, sizeof heap->counts);
  return heap;
}

static mheap *make_one(mh_region *region, uint32_t row, mheap_error *error) {
  const mh_heap_row *stored = (const mh_heap_row *)mh_at(region, MH_HEAPS_OFFSET) + row;
  uint64_t only = mh_read(&stored->arena);
  if (only > MH_ARENAS || (only > 1 && region->ranges[only - 1].end == 0)) {
    mh_fail_corrupt(error, region->path, mh_offset(region, &stored->arena), "arena of a heap", 0, only);
    return NULL;
  }
  mheap *heap = spare_handle(region);
  if (heap == NULL) {
    mh_fail_system(error, ENOMEM, region->path, "making the heap's handle");
    return NULL;
  }
  heap->only = (uint32_t)only;
  handle_use(heap, region, row);
  return heap;
}

mheap *mh_handle_make(mh_region *region, uint32_t row, mheap_error *error) {
  mheap_error ignored;
  uint64_t objects;
  mheap *heap = make_one(region, row, error);
  bool of_kind = heap != NULL && (mh_heap_row_head(region, row) & MH_HEAP_KIND) != 0;
  if (heap == NULL || of_kind || !has_objects(heap, &objects)) return heap;
  heap->own = make_one(region, (uint32_t)objects, &ignored);
  if (heap->own == NULL) return heap;
  heap->own->objects = true;
  heap->birth = mh_read(&mh_heap_row_of(heap)->birth);
  return heap;
}

mheap *mh_handle_of(mh_region *region, uint32_t row, mheap_error *error) {
  mh_handles_lock();
  mheap *heap = mh_handle_find(region, row);
  if (heap == NULL && row < MH_HEAPS && mh_heap_row_visible(mh_heap_row_head(region, row)))
    heap = mh_handle_make(region, row, error);
  mh_handles_unlock();
  return heap;
}

void mh_handle_drop(mheap *heap) {
  mh_region *region = heap->region;
  mh_hooks_end(heap);
  mh_lanes_drop(heap);
  mh_registry_remove_heap(region, heap);
  heap->next = region->spare_heaps;
  region->spare_heaps = heap;
}

void mh_handles_end_hooks(mh_region *region) {
  mh_handles_lock();
  for (mheap *heap = region->heaps; heap != NULL; heap = heap->next) mh_hooks_end(heap);
  mh_handles_unlock();
}

void mh_handle_retire(mheap *part, mh_region *home) {
  if (part->row != 0) { /* else that comes with its region's end */
    mh_lanes_drop(part);
    mh_registry_remove_heap(part->region, part);
  }
  part->is_retired = true;
  part->retired = home->retired_heaps;
  home->retired_heaps = part;
}

static void free_spares(mh_region *region) {
  for (mheap *heap = region->spare_heaps, *next; heap != NULL; heap = next) {
    next = heap->next;
    pthread_mutex_destroy(&heap->lock);
    mh_os_table_free(heap, HANDLE_BYTES);
  }
  region->spare_heaps = NULL;
  for (mheap *heap = region->retired_heaps, *next; heap != NULL; heap = next) {
    next = heap->retired;
    mh_os_table_free(heap, HANDLE_BYTES);
  }
  region->retired_heaps = NULL;
}

static void drop_others(mheap *heap) {
  mh_handles_lock();
  for (mheap *other = heap->region->heaps, *next; other != NULL; other = next) {
    next = other->next;
    if (other != heap && other != heap->own) mh_handle_drop(other);
  }
  free_spares(heap->region);
  mh_handles_unlock();
}

mheap *mh_heap_attached(mh_region *region, mheap_error *error) {
  if (region == NULL) return NULL;
  mheap *heap = NULL;
  if (mh_arenas_load(region, error) == MHEAP_OK && mh_arena_make(region, error) == MHEAP_OK)
    heap = handle_new(region, error);
  if (heap != NULL) return heap;
  mh_arenas_forget(region);
  mh_arena_drop(region);
  mh_region_abandon(region);
  return NULL;
}

/* ---- attaching ---- */

/* What a machine crash left is read and checked as a whole before anything is written. */
static mheap_err check_before_salvage(int fd, const char *path, const mheap_options *options,
                                      mheap_error *error) {
  mheap_options reading = *options;
  reading.mode = MHEAP_MODE_READONLY;
  reading.unsafe = true;
  reading.relocate = true;
  reading.base = NULL;
  mh_region *region =
      path != NULL ? mh_region_open(path, &reading, error) : mh_region_attach(fd, &reading, error);
  mheap *heap = mh_heap_attached(region, error);
  if (heap == NULL) return MHEAP_ERR_CORRUPT;
  mheap_err code = mheap_check(heap, NULL, NULL, NULL);
  if (code && error != NULL) *error = *mh_error(heap);
  mheap_abandon(heap);
  return code;
}

static bool salvages(const mheap_options *options) {
  return options != NULL && options->salvage && options->mode != MHEAP_MODE_READONLY;
}

mheap *mheap_attach(int fd, const mheap_options *options, mheap_error *error) {
  mh_error_clear(error);
  if (salvages(options) && fd >= 0 && check_before_salvage(fd, NULL, options, error) != MHEAP_OK) return NULL;
  return mh_heap_attached(mh_region_attach(fd, options, error), error);
}

mheap *mheap_open(const char *path, const mheap_options *options, mheap_error *error) {
  mh_error_clear(error);
  if (salvages(options) && check_before_salvage(-1, path, options, error) != MHEAP_OK) return NULL;
  return mh_heap_attached(mh_region_open(path, options, error), error);
}

/* ---- detaching ---- */

/* Leaves hints for the next attach: what segments have nothing to give. */
static void leave_hint(mh_region *region, uint64_t segment) {
  const mh_segment *state = mh_segment_of(region, segment);
  const mh_slab *entries = (const mh_slab *)state;
  if (state->kind != MH_RUN_HEADER) return;
  uint32_t hint = state->free == 0 ? MH_MAP_HINT_NO_SLICE | MH_MAP_HINT_NO_BLOCK : 0;
  if (segment + 1 == mh_map_segments(region)) hint = 0;
  for (uint32_t i = 1; i < MH_SEGMENT_SLICES && hint != 0; i++)
    if (entries[i].kind == MH_RUN_SLAB && entries[i].place != MH_PLACE_FULL) hint = 0;
  if (hint != 0)
    mh_publish(mh_map_word(region, segment, NULL),
               mh_map_slices(state->arena, (uint32_t)region->epoch, hint));
}

/* Would punching give back a good part of a file that stays small? */
#define PUNCH_MOST (16 * MH_SEGMENT)

static bool mostly_free(const mh_region *region) {
  uint64_t free = 0, size = mh_region_size(region);
  if (size > PUNCH_MOST) return false;
  for (uint64_t i = 0; i < mh_map_segments(region); i++)
    free += (uint64_t)__builtin_popcountll(mh_segment_of(region, i)->free) * MH_SLICE;
  return free > size / 4;
}

/* A handle that cannot be written, or whose file was cut short, leaves things as they are. */
static void tidy(mheap *heap) {
  mh_region *region = heap->region;
  if (region->anonymous || region->mode != MHEAP_MODE_LIVE || region->forked || !region->open) return;
  if (mheap_collect(heap, false) != MHEAP_OK) return;
  pthread_mutex_lock(&region->lock);
  for (uint64_t i = 0; i < mh_map_segments(region); i++) leave_hint(region, i);
  if (mostly_free(region)) mh_arena_punch(region);
  pthread_mutex_unlock(&region->lock);
}

static void drop(mheap *heap) {
  mh_kinds_forget(heap->region);
  drop_others(heap);
  mh_arenas_forget(heap->region);
  mh_hooks_end(heap);
  if (heap->own != NULL) handle_fini(heap->own);
  handle_fini(heap);
  mh_lanes_free_spares(heap->region);
  mh_arena_drop(heap->region);
  if (!heap->is_retired) mh_os_table_free(heap, HANDLE_BYTES);
}

/* Only a region's main heap stands for the region. */
static mheap_err not_main(const mheap *heap, mheap_error *error) {
  return mh_fail(error, MHEAP_ERR_ARGUMENT,
                 "%s: heap %u goes with its region; detach the main heap, or destroy or delete this one",
                 heap->region->path, heap->row);
}

mheap_err mheap_detach(mheap *heap, mheap_error *error) {
  mheap_err code = mh_subproc_refuse_main(heap, error);
  if (code) return code;
  if (heap->row != 0) return not_main(heap, error);
  if (!heap->region->forked) code = mheap_mtrace(heap, NULL);
  if (!code) {
    tidy(heap);
    code = mh_region_finish(heap->region, mh_error(heap));
  }
  if (code) {
    if (error != NULL) *error = *mh_error(heap);
    return code;
  }
  mheap_abandon(heap);
  return MHEAP_OK;
}

void mheap_abandon(mheap *heap) {
  if (heap == NULL || heap->serves != NULL || heap->row != 0) return;
  mh_region *region = heap->region;
  drop(heap);
  mh_region_abandon(region);
}

void mheap_hold(mheap *heap, bool hold) {
  if (heap != NULL) heap->region->held = hold;
}

mheap_err mheap_sync(mheap *heap) {
  if (heap == NULL) return MHEAP_OK; /* the default heap, which has no file */
  mheap_err code = mh_heap_usable(heap);
  return code ? code : mh_region_sync(heap->region, mh_error(heap));
}

/* Segments not used since attach may hold empty slabs, of a process that was killed. */
static bool open_some(mh_region *region, uint32_t only) {
  pthread_mutex_lock(&region->lock);
  bool more = mh_arena_open_some(region, only);
  pthread_mutex_unlock(&region->lock);
  return more;
}

/* The main heap's collection is its region's. */
static void collect_lanes(mheap *heap) {
  mh_lanes_collect(heap);
  if (heap->row != 0) return;
  mh_handles_lock();
  for (mheap *other = heap->region->heaps; other != NULL; other = other->next)
    if (other != heap) mh_lanes_collect(other);
  mh_handles_unlock();
}

static void collect_part(mheap *heap, bool force) {
  if (force && !heap->region->anonymous) mh_kinds_settle(heap);
  while (force && open_some(heap->region, heap->only)) continue;
  collect_lanes(heap);
  if (force) mh_handles_lock();
  pthread_mutex_lock(&heap->region->lock);
  if (force) mh_heaps_settle(heap->region);
  mh_arena_trim(heap->region, true);
  if (force) mh_arena_punch(heap->region);
  pthread_mutex_unlock(&heap->region->lock);
  if (force) mh_handles_unlock();
}

mheap_err mheap_collect(mheap *heap, bool force) {
  heap = mh_heap_of(heap);
  if (heap == NULL) return MHEAP_ERR_NO_MEMORY;
  mheap_err code = mh_heap_writable(heap);
  if (!code) code = mh_region_is_whole(heap->region, mh_error(heap));
  if (!code) mh_deferred_call(force);
  for (mheap *part = code ? NULL : mh_part_first(heap); part != NULL; part = mh_part_next(part)) {
    if (!mh_part_enter(part)) continue;
    collect_part(part, force);
    mh_part_leave(part);
  }
  return code;
}

mheap_err mheap_collapse(mheap *heap) {
  heap = mh_heap_of(heap);
  if (heap == NULL) return MHEAP_ERR_NO_MEMORY;
  mheap_err code = mh_heap_usable(heap);
  if (!code) code = mh_region_is_whole(heap->region, mh_error(heap));
  if (code) return code;
  mh_region_begin_walk(heap->region);
  code = mh_pages_collapse(heap->region, mh_error(heap));
  mh_region_end_walk(heap->region);
  return code;
}

/* ---- serving the process's malloc ---- */

void mh_heap_split_at_fork(mheap *heap) { heap->region->splits = true; }

mheap_err mh_heap_finish(mheap *heap) {
  mh_region *region = heap->region;
  if (region->anonymous) return MHEAP_OK;
  tidy(heap);
  mh_lanes_forget(heap);
  mheap_err code = mh_region_finish(region, mh_error(heap));
  if (!code) region->open = false;
  return code;
}

/* ---- errors ---- */

const mheap_error *mheap_last_error(const mheap *heap) {
  static const mheap_error no_memory = {
      .code = MHEAP_ERR_NO_MEMORY, .sys = ENOMEM, .text = "no address space for the default heap"};
  if (heap == NULL) heap = mheap_default();
  return heap != NULL ? mh_error(heap) : &no_memory;
}

/* ---- raw addresses ---- */

/* A raw address is about to be handed out: stores through it are not seen, so it counts as a change. */
mheap_err mh_heap_raw(mheap *heap) {
  mheap_err code = mh_region_writable(heap->region) ? mh_heap_writable(heap) : mh_heap_usable(heap);
  if (!code) mh_region_name_base(heap->region);
  return code;
}

/* ---- the rest ---- */

bool mheap_is_in_region(const void *address) { return mh_radix_find(address) != NULL; }

void *mheap_findbase(size_t size) {
  void *address = NULL;
  if (size == 0 || size > MH_OFFSET_MAX) return NULL;
  uint64_t whole = (size + MH_SEGMENT - 1) / MH_SEGMENT * MH_SEGMENT + 2 * MH_SEGMENT;
  if (mh_os_reserve(NULL, whole, &address) != 0) return NULL;
  mh_os_release(address, whole);
  return (char *)(((uint64_t)address + MH_SEGMENT - 1) & ~(MH_SEGMENT - 1)) + MH_SEGMENT - MH_SLICE;
}

void mh_heap_set_guarded(mheap *heap) {
  mh_heap_row *row = mh_heap_row_of(heap);
  mh_publish(&row->head, row->head | MH_HEAP_GUARDED);
}
