/* heaps.c: the heaps of a region beside its main one: made, destroyed, deleted, visited.

   Owns: rows 2 and up of the heap table. Calls arenas.h, arena.h, hooks.h, lane.h, segment.h. Holds
   region->lock while it changes the table or runs, and the handles' lock from the first to the last
   step of making, destroying or deleting a heap: so a row that is neither in use nor free is
   nobody's work at the moment but a killed process's.

   A heap is there from the store of its row's head on. Destroying or deleting it is one store too,
   which says what its runs are from now on (MH_HEAP_DESTROYED, MH_HEAP_DELETED); then each run is
   told, and the row is free once none names it. What a kill leaves out of that is made up for where
   a segment is opened or a word of the map is read, and the row when another is wanted. */
#include <string.h>

#include "arena.h"
#include "arenas.h"
#include "commit.h"
#include "decode.h"
#include "hooks.h"
#include "kind.h"
#include "lane.h"
#include "map.h"
#include "parts.h"
#include "report.h"
#include "segment.h"
#include "subproc.h"

#define FIRST_ROW 2 /* before it: the main heap and that of its objects */

static mh_heap_row *row_at(const mh_region *region, uint32_t row) {
  return (mh_heap_row *)mh_at(region, MH_HEAPS_OFFSET) + row;
}

/* ---- each run of a row, in the segments it touched ---- */

typedef void run_fun(mh_region *region, mh_slab *run);
typedef void huge_fun(mh_region *region, const mh_map_entry *huge);

typedef struct change { /* what becomes of a heap's runs */
  uint32_t row;
  run_fun *run;
  huge_fun *huge;
} change;

static void free_run(mh_region *region, mh_slab *run) {
  atomic_store_explicit(&run->lane, NULL, memory_order_release);
  mh_arena_give(region, run);
}

/* Since the kill its bodies were free to be taken: they may be something else by now. */
static bool is_part(mh_region *region, const mh_map_entry *huge, uint64_t i) {
  return i == 0 || mh_read(mh_map_word(region, huge->head + i, NULL)) == mh_map_body(i);
}

static void free_huge(mh_region *region, const mh_map_entry *huge) {
  for (uint64_t i = 0, n; i < huge->count; i += n + 1) {
    for (n = 0; i + n < huge->count && is_part(region, huge, i + n); n++)
      mh_publish(mh_map_word(region, huge->head + i + n, NULL), 0);
    if (n > 0) mh_arena_give_segments(region, huge->head + i, n);
  }
}

static void hand_run(mh_region *region, mh_slab *run) {
  uint64_t *head = mh_slab_head(region, run);
  mh_publish(head, *head & ~((((uint64_t)1 << MH_HEAD_HEAP_BITS) - 1) << MH_HEAD_HEAP_SHIFT));
  run->heap = 0;
}

static void hand_huge(mh_region *region, const mh_map_entry *huge) {
  mh_publish(mh_map_word(region, huge->head, NULL), mh_map_huge(huge->arena, 0, huge->pages, huge->count));
}

static void change_slices(mh_region *region, const change *c, uint64_t segment) {
  mh_slab *entries = (mh_slab *)mh_segment_of(region, segment);
  for (uint32_t i = 1; i < MH_SEGMENT_SLICES && entries->kind == MH_RUN_HEADER; i++) {
    bool is_run = entries[i].kind == MH_RUN_SLAB || entries[i].kind == MH_RUN_SPAN;
    if (is_run && entries[i].heap == c->row) c->run(region, &entries[i]);
  }
}

/* The stored word, since mh_map_get tells what is settled already. */
static void change_segment(mh_region *region, const change *c, uint64_t segment) {
  mh_map_entry entry = {.kind = MH_MAP_FREE};
  uint64_t *word = mh_map_word(region, segment, NULL);
  if (word == NULL || segment >= mh_map_segments(region)) return;
  mh_map_fields fields = mh_map_fields_of(mh_read(word));
  if (fields.kind == MH_MAP_SLICES) change_slices(region, c, segment);
  if (fields.kind != MH_MAP_HUGE || fields.heap != c->row) return;
  entry = (mh_map_entry){.kind = MH_MAP_HUGE,
                         .head = segment,
                         .count = fields.count,
                         .pages = fields.pages,
                         .arena = fields.arena};
  bool reaches = mh_map_reaches(region, segment, fields.count);
  if (!reaches) entry.count = 1; /* what lay behind was cut off; without a head it is free */
  if (reaches || c->huge == free_huge) c->huge(region, &entry);
}

/* Afterwards the row touches nothing. */
static void change_runs(mh_region *region, const change *c) {
  uint64_t *touched = region->touched[c->row];
  bool all = region->touched_lost;
  uint64_t end = all ? region->span / MH_SEGMENT + 1 : region->touched_end[c->row];
  for (uint64_t i = 0; i < end; i += 64) {
    uint64_t bits = all ? ~(uint64_t)0 : touched[i / 64];
    if (bits == 0) continue;
    for (; bits != 0; bits &= bits - 1) change_segment(region, c, i + (uint64_t)__builtin_ctzll(bits));
    if (touched != NULL) touched[i / 64] = 0;
  }
  region->touched_end[c->row] = 0;
}

/* ---- rows ---- */

/* All but its head: word by word, since others look at rows without a lock. */
static void clear_row(mh_region *region, uint32_t row) {
  uint64_t *words = &row_at(region, row)->head;
  for (size_t i = 1; i < sizeof(mh_heap_row) / sizeof *words; i++) mh_publish(&words[i], 0);
}

/* Where that is the last of it. */
static void free_head(mh_region *region, uint32_t row) {
  mh_publish(&row_at(region, row)->head, 0);
  atomic_store_explicit(&region->rows_taken, false, memory_order_relaxed);
}

/* Frees a row whose heap is gone: after it no run names it. The caller holds region->lock. */
static void settle_row(mh_region *region, uint32_t row) {
  bool destroyed = (row_at(region, row)->head & MH_HEAP_DESTROYED) != 0;
  change c = {.row = row, .run = destroyed ? free_run : hand_run, .huge = destroyed ? free_huge : hand_huge};
  if (!region->made_here[row]) mh_arena_open_all(region);
  change_runs(region, &c);
  if (!destroyed) mh_lanes_hand_orphans(region, row);
  region->orphans[row] = NULL;
  region->thrifty[row] = region->made_here[row] = false;
  clear_row(region, row);
  free_head(region, row);
}

uint32_t mh_heap_objects_owner(const mh_region *region, uint32_t row) {
  for (uint32_t i = 0; i < MH_HEAPS; i++) {
    bool is_there = i == 0 || mh_heap_row_visible(mh_heap_row_head(region, i));
    if (is_there && i != row && mh_read(&row_at(region, i)->objects) == (uint64_t)row + 1) return i;
  }
  return MH_HEAPS;
}

/* Objects of a heap whose making, or end, a kill cut off. One that is being made has a handle. */
static bool is_nobodys(const mh_region *region, uint32_t row) {
  const uint64_t flags = MH_HEAP_USED | MH_HEAP_OBJECTS;
  if ((mh_heap_row_head(region, row) & flags) != flags || mh_handle_find(region, row) != NULL) return false;
  return mh_heap_objects_owner(region, row) == MH_HEAPS;
}

void mh_heaps_settle(mh_region *region) {
  for (uint32_t row = FIRST_ROW; row < MH_HEAPS; row++) {
    mh_heap_row *stored = row_at(region, row);
    if (is_nobodys(region, row)) mh_publish(&stored->head, stored->head | MH_HEAP_DESTROYED);
    if (mh_heap_row_gone(region, row)) settle_row(region, row);
  }
}

static uint32_t free_row(mh_region *region) {
  if (atomic_load_explicit(&region->rows_taken, memory_order_relaxed)) return MH_HEAPS;
  for (uint32_t row = FIRST_ROW; row < MH_HEAPS; row++)
    if (mh_heap_row_head(region, row) == 0) return row;
  mh_heaps_settle(region);
  for (uint32_t row = FIRST_ROW; row < MH_HEAPS; row++)
    if (mh_heap_row_head(region, row) == 0) return row;
  atomic_store_explicit(&region->rows_taken, true, memory_order_relaxed);
  return MH_HEAPS;
}

/* ---- one that goes ---- */

static void mark_row(mh_region *region, uint32_t row, uint64_t flag) {
  mh_heap_row *stored = row_at(region, row);
  pthread_mutex_lock(&region->lock);
  mh_publish(&stored->head, stored->head | flag);
  pthread_mutex_unlock(&region->lock);
}

static void settle(mh_region *region, uint32_t row) {
  pthread_mutex_lock(&region->lock);
  settle_row(region, row);
  pthread_mutex_unlock(&region->lock);
}

/* What it handed out was of its region, and of the region's main heap. */
static void keep_counts(mheap *heap) {
  mheap *main = mh_handle_find(heap->region, 0);
  if (main == NULL) return;
  pthread_mutex_lock(&main->lock);
  mh_counts_give(main, heap, false);
  pthread_mutex_unlock(&main->lock);
}

/* ---- making ---- */

#define ITSELF UINT64_MAX /* for `kind`: the row that is made */

/* The arena was looked up without the lock, and may have been released meanwhile. */
static mheap_err make_row(mh_region *region, const mh_heap_row *like, uint32_t *row, mheap_error *error) {
  if (like->arena > 1 && region->ranges[like->arena - 1].end == 0)
    return mh_fail(error, MHEAP_ERR_ARGUMENT, "%s: arena %u: it was released", region->path,
                   (unsigned)like->arena - 1);
  *row = free_row(region);
  if (*row == MH_HEAPS)
    return mh_fail(error, MHEAP_ERR_FULL,
                   "%s: all %d rows of its heap table are in use; destroy or delete a heap, or make this one "
                   "in another file or arena",
                   region->path, MH_HEAPS);
  mh_heap_row *stored = row_at(region, *row);
  clear_row(region, *row);
  mh_publish(&stored->arena, like->arena);
  mh_publish(&stored->head, like->head);
  mh_publish(&stored->kind, like->kind == ITSELF ? *row + 1 : like->kind); /* 0: nobody's */
  region->made_here[*row] = true;
  return MHEAP_OK;
}

static void drop_row(mh_region *region, uint32_t row) {
  pthread_mutex_lock(&region->lock);
  free_head(region, row);
  row_at(region, row)->kind = 0;
  pthread_mutex_unlock(&region->lock);
}

/* With the handles' lock. */
static mheap *make_in(mh_region *region, uint64_t rocompat, const mh_heap_row *like, mheap_error *error) {
  uint32_t row;
  mheap *made = NULL;
  pthread_mutex_lock(&region->lock);
  mheap_err code = mh_region_require(region, MH_ROCOMPAT_ARENAS | rocompat, error);
  if (!code) code = make_row(region, like, &row, error);
  pthread_mutex_unlock(&region->lock);
  if (!code) made = mh_handle_make(region, row, error);
  if (!code && made == NULL) drop_row(region, row);
  if (made != NULL) made->made = mh_commits_now(region);
  return made;
}

static mheap *new_in(mh_region *region, const mh_heap_row *like, mheap_error *error) {
  mh_handles_lock();
  mheap *made = make_in(region, 0, like, error);
  mh_handles_unlock();
  return made;
}

/* ---- with objects of its own ---- */

/* Nothing of it was published, or it is destroyed already. */
static void end_row(mheap *heap) {
  mh_region *region = heap->region;
  mark_row(region, heap->row, MH_HEAP_DESTROYED);
  keep_counts(heap);
  mh_lanes_drop(heap);
  settle(region, heap->row);
  mh_handle_drop(heap);
}

static void publish_named(mheap *heap, uint64_t head) {
  mh_heap_row *stored = mh_heap_row_of(heap);
  heap->birth = stored->birth;
  pthread_mutex_lock(&heap->region->lock);
  mh_publish(&stored->objects, (uint64_t)heap->own->row + 1);
  mh_publish(&stored->head, head);
  pthread_mutex_unlock(&heap->region->lock);
}

mheap *mh_heap_new_with_objects(mh_region *region, int tag, uint32_t only, mh_name_fun *name, void *arg,
                                mheap_error *error) {
  const uint64_t head = MH_HEAP_USED | MH_HEAP_DESTROYABLE | (uint64_t)tag << MH_HEAP_TAG_SHIFT;
  const mh_heap_row objects = {.head = head | MH_HEAP_OBJECTS, .arena = only}, unpublished = {.arena = only};
  mheap *own = make_in(region, MH_ROCOMPAT_NAMED, &objects, error);
  if (own == NULL) return NULL;
  own->objects = true;
  mheap *made = make_in(region, MH_ROCOMPAT_NAMED, &unpublished, error);
  if (made != NULL) {
    made->own = own;
    if (name(made, arg) == MHEAP_OK) {
      publish_named(made, head);
      return made;
    }
    *error = *mh_error(made);
    mh_handle_drop(made);
    drop_row(region, made->row);
  }
  end_row(own);
  return NULL;
}

/* The region and arena that the arguments of mheap_new mean. */
mheap_err mh_heap_choose_place(mheap *heap, mheap_arena arena, mh_region **region, uint32_t *only,
                               mheap_error *error) {
  uint32_t row = 0;
  *region = heap->region;
  *only = 0;
  if (arena == 0) return MHEAP_OK;
  if (!mh_arenas_find(arena, region, &row))
    return mh_fail(error, MHEAP_ERR_ARGUMENT, "arena %d: there is none of this number", arena);
  *only = (*region)->is_arena && row == 0 ? 0 : row + 1;
  return MHEAP_OK;
}

/* A region's table is full. Memory of a subprocess may have more regions than one. */
static mheap *new_elsewhere(mh_region *region, const mh_heap_row *like, mheap_error *error) {
  bool full = atomic_load_explicit(&region->rows_taken, memory_order_relaxed);
  if (!full || !region->of_subproc || region->is_arena || like->arena != 0) return NULL;
  return mh_parts_new_home(region, like->head, error);
}

mheap_err mh_heap_tag_is_valid(const mh_region *region, int tag, mheap_error *error) {
  if (tag >= 0 && tag <= 255) return MHEAP_OK;
  return mh_fail(error, MHEAP_ERR_ARGUMENT, "%s: tag %d is not from 0 to 255", region->path, tag);
}

mheap *mh_heap_new(mheap *heap, int tag, bool allow_destroy, mheap_arena arena) {
  mheap *asked = heap;
  mh_region *region;
  uint32_t only;
  heap = mh_heap_of(heap);
  if (heap == NULL) return NULL;
  mheap_error *error = mh_error(heap);
  mheap_err code = mh_heap_choose_place(heap, arena, &region, &only, error);
  if (!code && asked != NULL && region != heap->region)
    code = mh_fail(error, MHEAP_ERR_ARGUMENT, "%s: arena %d is not in it", heap->region->path, arena);
  if (!code) code = mh_heap_tag_is_valid(region, tag, error);
  mheap *main = code ? NULL : mh_handle_find(region, 0);
  if (main == NULL) return NULL;
  code = mh_heap_writable(main);
  if (code && main != heap) *error = *mh_error(main);
  mh_heap_row like = {
      .head = MH_HEAP_USED | (allow_destroy ? MH_HEAP_DESTROYABLE : 0) | (uint64_t)tag << MH_HEAP_TAG_SHIFT,
      .arena = only};
  mheap *made = code ? NULL : new_in(region, &like, error);
  if (made == NULL && !code) made = new_elsewhere(region, &like, error);
  if (made != NULL && region->of_subproc) mh_parts_join(made);
  return made;
}

mheap *mheap_new(mheap *heap, int tag, bool allow_destroy, mheap_arena arena) {
  mheap *made = mh_heap_new(heap, tag, allow_destroy, arena);
  if (made == NULL) mh_report_error(heap);
  return made;
}

mheap *mh_heap_new_row(mh_region *region, uint64_t head, mheap_error *error) {
  const uint64_t kept = MH_HEAP_USED | MH_HEAP_DESTROYABLE | (uint64_t)255 << MH_HEAP_TAG_SHIFT;
  mh_heap_row like = {.head = head & kept};
  return new_in(region, &like, error);
}

mheap *mh_heap_new_of_kind(mheap *main, uint32_t first, mheap_error *error) {
  mh_heap_row like = {.head = MH_HEAP_USED | MH_HEAP_DESTROYABLE | MH_HEAP_KIND,
                      .kind = first == 0 ? ITSELF : first + 1};
  return new_in(main->region, &like, error);
}

/* ---- destroying and deleting ---- */

static mheap_err may_go(mheap *heap, uint64_t needed, mheap_error **error) {
  mheap *of = mh_heap_of(heap);
  if (of == NULL) return MHEAP_ERR_NO_MEMORY;
  *error = mh_error(of);
  if (heap == NULL || heap->row < FIRST_ROW)
    return mh_fail(*error, MHEAP_ERR_ARGUMENT, "%s: its main heap is not destroyed or deleted: detach it",
                   of->region->path);
  mheap_err code = mh_heap_writable(heap);
  if (!code && (mh_heap_row_of(heap)->head & MH_HEAP_KIND))
    code = mh_fail(*error, MHEAP_ERR_ARGUMENT, "%s: heap %u is one of a kind; destroy the kind",
                   heap->region->path, heap->row);
  if (!code && (mh_heap_row_of(heap)->head & needed) != needed)
    code = mh_fail(*error, MHEAP_ERR_ARGUMENT,
                   "%s: heap %u was made without allow_destroy; delete hands its blocks to the main heap",
                   heap->region->path, heap->row);
  return code;
}

void mh_heap_destroy(mheap *heap) {
  mh_region *region = heap->region;
  mh_guard_spoil_all(heap);
  if (region->collected == heap) mh_region_uncollect(region);
  mh_handles_lock();
  mark_row(region, heap->row, MH_HEAP_DESTROYED); /* with its objects: they are nobody's then */
  if (heap->own != NULL) end_row(heap->own);
  end_row(heap);
  mh_handles_unlock();
}

/* The parts of a heap that has some, then the heap. */
static mheap_err end(mheap *heap, void (*each)(mheap *heap)) {
  bool memory = heap->region->of_subproc;
  if (memory) mh_making_lock();
  mh_parts_part_with(heap, each);
  each(heap);
  if (memory) mh_making_unlock();
  return MHEAP_OK;
}

mheap_err mheap_destroy(mheap *heap) {
  mheap_error *error;
  mheap_err code = may_go(heap, MH_HEAP_DESTROYABLE, &error);
  return code ? code : end(heap, mh_heap_destroy);
}

/* Slabs in exclusive arenas, and all of another tag: the main heap has their blocks, not their space. */
static uint64_t closed_arenas(const mh_region *region, uint64_t head) {
  uint64_t closed = 0;
  if (head >> MH_HEAP_TAG_SHIFT & 255) return ~(uint64_t)0;
  for (uint32_t row = 0; row < region->arena_rows; row++)
    if (region->ranges[row].exclusive) closed |= (uint64_t)1 << row;
  return closed;
}

/* Other threads may be freeing blocks of it meanwhile: who finds them nobody's, or the wrong heap's,
   sees that this may be why by mh_heaps_moved. */
static void delete(mheap *heap) {
  mh_region *region = heap->region;
  mheap *main = mh_handle_find(region, 0);
  uint32_t row = heap->row;
  uint64_t head = mh_heap_row_head(region, row);
  mh_handles_lock();
  mh_heaps_move(region, true);
  if (head & MH_HEAP_GUARDED) mh_heap_set_guarded(main);
  if (region->orphans[row] != NULL) mh_lanes_collect(heap); /* they get a lane, to go with */
  mark_row(region, row, MH_HEAP_DELETED);
  mh_lanes_move(heap, main, closed_arenas(region, head));
  settle(region, row);
  mh_handle_drop(heap);
  mh_heaps_move(region, false);
  mh_handles_unlock();
}

mheap_err mheap_delete(mheap *heap) {
  mheap_error *error;
  mheap_err code = may_go(heap, 0, &error);
  if (!code && mh_heap_is_named(heap))
    code = mh_fail(error, MHEAP_ERR_ARGUMENT,
                   "%s: heap %u has a name and objects, which no other heap can take over: destroy it",
                   heap->region->path, heap->row);
  return code ? code : end(heap, delete);
}

void mh_heaps_move(mh_region *region, bool begin) {
  atomic_fetch_add(begin ? &region->deletions : &region->deleted, 1);
}

bool mh_heaps_moved(const mh_region *region, uint64_t before) {
  if (atomic_load(&region->deletions) == before) return false;
  mh_handles_lock(); /* until it is done, or nearly */
  mh_handles_unlock();
  return true;
}

/* ---- looking ---- */

mheap *mheap_main(mheap *heap) {
  heap = mh_heap_of(heap);
  return heap != NULL ? mh_handle_find(heap->region, 0)->whole : NULL;
}

mheap_err mh_heaps_visit(mh_region *region, bool (*visit)(void *arg, mheap *heap), void *arg, bool *goes_on,
                         mheap_error *error) {
  mheap_err code = MHEAP_OK;
  for (uint32_t row = 0; row < MH_HEAPS && !code && *goes_on; row++) {
    if (!mh_heap_row_visible(mh_heap_row_head(region, row))) continue;
    if (mh_kind_lost(region, row)) continue;
    mheap *one = mh_handle_of(region, row, error);
    if (one == NULL) code = error->code;
    else if (one->whole == one) *goes_on = visit(arg, one); /* else of a heap whose home is elsewhere */
  }
  return code;
}

mheap_err mheap_visit_heaps(mheap *heap, bool (*visit)(void *arg, mheap *heap), void *arg) {
  bool goes_on = true;
  heap = mh_heap_of(heap);
  if (heap == NULL) return MHEAP_ERR_NO_MEMORY;
  mheap_err code = mh_heap_usable(heap);
  if (code) return code;
  if (!heap->region->is_arena) heap = mheap_main(heap);
  code = mh_heaps_visit(heap->region, visit, arg, &goes_on, mh_error(heap));
  for (mheap *part = mh_part_first(heap); part != NULL && !code && goes_on; part = mh_part_next(part)) {
    if (part->region->is_arena || part->region == heap->region || !mh_part_enter(part)) continue;
    code = mh_heaps_visit(part->region, visit, arg, &goes_on, mh_error(heap));
    mh_part_leave(part);
  }
  return code;
}

mheap_err mheap_get_heap_info(mheap *heap, mheap_heap_info *info) {
  heap = mh_heap_of(heap);
  if (heap == NULL) return MHEAP_ERR_NO_MEMORY;
  if (info == NULL)
    return mh_fail(mh_error(heap), MHEAP_ERR_ARGUMENT, "%s: no place for the result", heap->region->path);
  memset(info, 0, sizeof *info);
  mheap_err code = mh_heap_usable(heap);
  if (code) return code;
  uint64_t head = mh_heap_row_of(heap)->head;
  info->number = heap->row;
  info->tag = (int)(head >> MH_HEAP_TAG_SHIFT & 255);
  info->destroyable = (head & MH_HEAP_DESTROYABLE) != 0;
  info->of_kind = (head & MH_HEAP_KIND) != 0;
  if (heap->only != 0) info->arena = mh_arenas_number(heap->region, heap->only - 1);
  else if (heap->region->is_arena) info->arena = mh_arenas_number(heap->region, 0);
  return MHEAP_OK;
}
