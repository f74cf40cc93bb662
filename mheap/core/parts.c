/* parts.c: see parts.h. */
#include "parts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "arena.h"
#include "classes.h"
#include "lane.h"
#include "os.h"
#include "radix.h"
#include "registry.h"
#include "span.h"
#include "subproc.h"
#include "superblock.h"

static void link_part(mheap *_Atomic *link, mheap *part) {
  atomic_store_explicit(link, part, memory_order_release);
}

void mh_part_reset(mheap *heap) {
  heap->whole = heap;
  heap->spreads = heap->closed = false;
  heap->full_slices = UINT64_MAX;
  heap->parts = heap->next_part = NULL;
  heap->users = 0;
  heap->leaving = false;
}

/* ---- finding and keeping ---- */

mheap *mh_part_at_slowly(mheap *whole, const void *address) {
  const mh_region *region = mh_radix_find(address);
  for (mheap *part = mh_part_first(whole); part != NULL && region != NULL; part = mh_part_next(part))
    if (part->region == region) return part;
  return whole;
}

bool mh_part_enter(mheap *part) {
  if (part->whole == part) return true;
  atomic_fetch_add(&part->users, 1);
  if (!atomic_load(&part->leaving)) return true;
  atomic_fetch_sub(&part->users, 1);
  return false;
}

void mh_part_leave(mheap *part) {
  if (part->whole != part) atomic_fetch_sub(&part->users, 1);
}

/* ---- asking the parts ---- */

/* A part that had no room for a run is asked again for one as long when something was given back there. */
typedef struct need {
  uint32_t class;  /* MHEAP_CLASSES: none, a span is wanted */
  uint64_t slices; /* that a new run has */
} need;

static need need_of(uint64_t size, uint64_t alignment) {
  uint64_t fit = (size + alignment - 1) & ~(alignment - 1);
  need n = {MHEAP_CLASSES, (fit + alignment) / MH_SLICE + 1};
  if (fit > MH_CLASS_MAX_SIZE || alignment > 16) return n;
  n.class = mh_class_of(size ? size : 1);
  n.slices = mh_classes[n.class].slices;
  return n;
}

static uint64_t gives(const mheap *part) {
  return atomic_load_explicit(&part->region->gives, memory_order_relaxed);
}

static bool has_blocks(mheap *part, uint32_t class) {
  const mh_lane *lane = mh_lane_find(part);
  if (lane == NULL) return true; /* it may take over another's */
  const mh_bin *bin = &lane->bins[class];
  return bin->ready != 0 || bin->partial != NULL || bin->slab != NULL || lane->queue != NULL;
}

static bool is_full(mheap *part, const need *n) {
  if (atomic_load_explicit(&part->full_slices, memory_order_relaxed) > n->slices) return false;
  if (atomic_load_explicit(&part->full_gives, memory_order_relaxed) != gives(part)) return false;
  return n->class == MHEAP_CLASSES || !has_blocks(part, n->class);
}

static void note_full(mheap *part, uint64_t gives_before, const need *n) {
  atomic_store_explicit(&part->full_gives, gives_before, memory_order_relaxed);
  atomic_store_explicit(&part->full_slices, n->slices, memory_order_relaxed);
}

static void *ask(mheap *part, size_t size, size_t alignment, const need *n, bool only_one) {
  if (part->closed || !mh_part_enter(part)) return NULL;
  void *block = NULL;
  uint64_t before = gives(part);
  if (only_one || !is_full(part, n)) {
    block = mh_heap_malloc_in(part, size, alignment);
    if (block == NULL) note_full(part, before, n);
  }
  mh_part_leave(part);
  return block;
}

static bool is_last_open(mheap *part) {
  do part = mh_part_next(part);
  while (part != NULL && part->closed);
  return part == NULL;
}

/* *last: the part that was asked last, whose error stands. */
static void *ask_all(mheap *whole, size_t size, size_t alignment, mheap **last) {
  need n = need_of(size, alignment);
  for (mheap *part = mh_part_first(whole); part != NULL; part = mh_part_next(part)) {
    void *block = ask(part, size, alignment, &n, is_last_open(part));
    if (block != NULL) return block;
    if (!part->closed) *last = part;
  }
  return NULL;
}

/* What comes of asking for another region. */
typedef struct extension {
  bool more;    /* there is a part that was not asked yet */
  mheap *added; /* the main heap's part in a region that was added */
} extension;
static extension extend(mheap *whole, mheap *last, uint64_t bytes);
static void withdraw(mheap *added);

/* What is added is the last that is asked. */
void *mh_parts_malloc(mheap *whole, size_t size, size_t alignment) {
  extension got = {true, NULL};
  mheap *last = whole;
  if (size > MH_OFFSET_MAX || alignment > MH_OFFSET_MAX / 2) return mh_heap_malloc_in(whole, size, alignment);
  void *block = ask_all(whole, size, alignment, &last);
  while (block == NULL && got.more && got.added == NULL && mh_error(whole)->code == MHEAP_ERR_FULL) {
    got = extend(whole, last, size + alignment);
    if (got.more) block = ask_all(whole, size, alignment, &last);
  }
  if (block == NULL && got.added != NULL) withdraw(got.added);
  return block;
}

/* ---- chains; the lock `making` is held ---- */

/* What the whole is like, its parts are like: guards, a trace. */
static void adopt_part(mheap *whole, mheap *part, bool closed) {
  part->closed = closed;
  part->spreads = false;
  part->full_slices = UINT64_MAX;
  pthread_mutex_lock(&whole->lock);
  part->whole = whole;
  part->hooks = whole->hooks;
  part->hooked = whole->hooked;
  if (mh_heap_row_of(whole)->head & MH_HEAP_GUARDED) mh_heap_set_guarded(part);
  pthread_mutex_unlock(&whole->lock);
}

static void append(mheap *whole, mheap *part) {
  mheap *end = whole;
  while (mh_part_next(end) != NULL) end = mh_part_next(end);
  link_part(&end->next_part, part);
  if (mh_part_load(&whole->parts) == NULL) link_part(&whole->parts, whole);
}

static void put_before_home(mheap *whole, mheap *part) {
  mheap *before = mh_part_first(whole);
  link_part(&part->next_part, whole);
  if (before == whole) {
    link_part(&whole->parts, part);
    return;
  }
  while (mh_part_next(before) != whole) before = mh_part_next(before);
  link_part(&before->next_part, part);
}

static void take_out(mheap *whole, mheap *part) {
  mheap *before = mh_part_first(whole);
  if (before == part) {
    link_part(&whole->parts, mh_part_next(part));
  } else {
    while (before != NULL && mh_part_next(before) != part) before = mh_part_next(before);
    if (before != NULL) link_part(&before->next_part, mh_part_next(part));
  }
  if (mh_part_first(whole) == whole && mh_part_next(whole) == NULL) link_part(&whole->parts, NULL);
}

static bool has_part_in(mheap *whole, const mh_region *region) {
  for (mheap *part = mh_part_first(whole); part != NULL; part = mh_part_next(part))
    if (part->region == region) return true;
  return false;
}

/* The part of a heap in the region of the main heap's part `of_main`. False: it has one already, or there
   is no row for it. */
static bool add_part(mheap *whole, mheap *of_main) {
  mheap_error ignored;
  mheap *part = of_main;
  if (has_part_in(whole, of_main->region)) return false;
  if (whole->row != 0) part = mh_heap_new_row(of_main->region, mh_heap_row_of(whole)->head, &ignored);
  if (part == NULL) return false;
  adopt_part(whole, part, of_main->closed);
  if (of_main->region->is_arena) put_before_home(whole, part);
  else append(whole, part);
  mh_lanes_forget(whole); /* the next call asks the parts in their order */
  return true;
}

static void add_arena_to(mheap *of_main, const mh_region *home) {
  for (uint32_t row = 1; row < MH_HEAPS; row++) {
    mheap *whole = mh_handle_find(home, row);
    if (whole != NULL && whole->whole == whole && whole->spreads) add_part(whole, of_main);
  }
}

/* The main heap's own parts come first: they show the others where to go. */
static void add_arena(mheap *main, mheap *heap, bool closed) {
  heap->closed = closed;
  add_part(main, heap);
  for (mheap *part = mh_part_first(main); part != NULL && !closed; part = mh_part_next(part))
    if (!part->region->is_arena) add_arena_to(heap, part->region);
}

static mheap *main_of(const mh_region *region) {
  mheap *main = atomic_load_explicit(&mh_subproc_of(region)->main, memory_order_acquire);
  return main != NULL && main->spreads ? main : NULL;
}

void mh_parts_join(mheap *heap) {
  mh_making_lock();
  mheap *main = main_of(heap->region);
  bool at_home = main != NULL && !heap->region->is_arena && has_part_in(main, heap->region);
  heap->spreads = at_home && heap->only == 0;
  for (mheap *part = heap->spreads ? mh_part_first(main) : NULL; part != NULL; part = mh_part_next(part))
    if (part->region->is_arena && !part->closed) add_part(heap, part);
  mh_making_unlock();
}

void mh_parts_part_with(mheap *whole, void (*each)(mheap *part)) {
  for (mheap *part = mh_part_first(whole), *next; part != NULL; part = next) {
    next = mh_part_next(part);
    if (part == whole) continue;
    mh_region *region = part->region;
    mh_heaps_move(region, true);
    take_out(whole, part);
    part->hooks = NULL;
    if (part->hooked) part->hooked = false; /* others may be looking, who free its blocks */
    each(part); /* it is a part to the last: threads remember its lanes by the whole */
    mh_heaps_move(region, false);
  }
}

/* ---- another region where all are full ---- */

#define SMALL (MH_SEGMENT / 4) /* a block that the smallest region has room for */

static mheap *attach_for(uint64_t bytes) {
  mheap_error ignored;
  uint64_t usual = mh_subproc_span != 0 ? mh_subproc_span : MH_DEFAULT_SPAN, need = bytes + 4 * MH_SEGMENT;
  uint64_t least = bytes <= SMALL ? MH_SUBPROC_SPAN_LEAST : need;
  if (need > usual) usual = need;
  if (mh_subproc_span != 0) least = usual;
  return usual <= MH_OFFSET_MAX / 2 ? mh_subproc_attach(usual, least, &ignored) : NULL;
}

/* A region that was just made becomes one of the main heap's, with its part there. */
static mheap *add_region(mheap *main, mheap *heap) {
  if (heap == NULL) return NULL;
  heap->region->of_subproc = true;
  mh_subproc_own(mh_subproc_of(main->region), heap->region);
  snprintf(heap->region->path, 256, "%s", main->region->path);
  add_part(main, heap);
  return heap;
}

/* May it grow by so much? What is free within it, who has no part there does not get. */
static bool has_room(const mh_region *region, uint64_t bytes) {
  uint64_t size = mh_region_size(region) + 2 * MH_SEGMENT;
  return size < region->span && bytes < region->span - size;
}

/* A part in a region that the main heap has already. */
static bool spread_further(mheap *whole, mheap *main, uint64_t bytes) {
  for (mheap *part = mh_part_first(main); part != NULL; part = mh_part_next(part))
    if (!part->closed && has_room(part->region, bytes) && add_part(whole, part)) return true;
  return false;
}

/* Somebody else may have done so since `last` was asked. */
static extension extend(mheap *whole, mheap *last, uint64_t bytes) {
  extension got = {false, NULL};
  mheap_error why = *mh_error(whole);
  mh_making_lock();
  mheap *main = main_of(whole->region);
  got.more = !is_last_open(last) || (main != NULL && spread_further(whole, main, bytes));
  if (!got.more && main != NULL) got.added = add_region(main, attach_for(bytes));
  if (got.added != NULL && whole != main) add_part(whole, got.added);
  mh_making_unlock();
  *mh_error(whole) = why;
  got.more |= got.added != NULL;
  return got;
}

/* The memory was refused even so. Another thread may have found room there: then it stays. */
static void withdraw(mheap *added) {
  mheap_error ignored, *error = mh_error(added), why = *error;
  if (mh_parts_remove_arena(added, 0, &ignored) == MHEAP_OK) mheap_abandon(added);
  *error = why;
}

/* ---- another region where no table has a row left ---- */

/* Of address space: some MiB for each heap, and each may spread. The process's tables for it are a
   thousandth; the kernel has two mappings of it. Where so much cannot be had, as much as can. */
#define HOME_SPAN ((uint64_t)1 << 30)
#define HOME_SPAN_LEAST ((uint64_t)64 << 20)

static mheap *new_home_region(mheap *main, mheap_error *error) {
  uint64_t span = mh_subproc_span != 0 && mh_subproc_span < HOME_SPAN ? mh_subproc_span : HOME_SPAN;
  mheap *heap = add_region(main, mh_subproc_attach(span, HOME_SPAN_LEAST, error));
  if (heap != NULL) return heap;
  mh_fail_system(error, ENOMEM, main->region->path,
                 "making a region for more heaps, since the tables of all others are full (destroy or delete "
                 "a heap, or let the process have more memory)");
  return NULL;
}

static mheap *row_in_some(mheap *main, uint64_t head) {
  mheap_error ignored;
  mheap *made = NULL;
  for (mheap *part = mh_part_first(main); part != NULL && made == NULL; part = mh_part_next(part)) {
    const mh_region *region = part->region;
    bool taken = atomic_load_explicit(&((mh_region *)region)->rows_taken, memory_order_relaxed);
    if (!taken && !region->is_arena && !part->closed) made = mh_heap_new_row(part->region, head, &ignored);
  }
  return made;
}

mheap *mh_parts_new_home(mh_region *region, uint64_t head, mheap_error *error) {
  mheap *made = NULL;
  mh_making_lock();
  mheap *main = main_of(region);
  if (main != NULL) made = row_in_some(main, head);
  if (made == NULL && main != NULL) {
    const mheap *added = new_home_region(main, error);
    if (added != NULL) made = mh_heap_new_row(added->region, head, error);
  }
  mh_making_unlock();
  return made;
}

/* ---- arenas ---- */

void mh_parts_add_arena(mheap *heap) {
  mh_making_lock();
  heap->region->of_subproc = true;
  mheap *main = main_of(heap->region);
  if (main != NULL) add_arena(main, heap, heap->region->ranges[0].exclusive);
  mh_making_unlock();
}

/* Waits for calls under way, which are short; what a caller's function does in one may not be. */
#define WAIT_STEPS 200

static bool is_left(const mheap *part) {
  for (int i = 0; i < WAIT_STEPS && atomic_load(&((mheap *)part)->users) != 0; i++) mh_os_sleep(0.0005);
  return atomic_load(&((mheap *)part)->users) == 0;
}

static mheap *each_part(mh_region *region, uint32_t *row) {
  for (; *row < MH_HEAPS; ++*row) {
    mheap *part = mh_handle_find(region, *row);
    if (part == NULL || part->whole == part) continue;
    ++*row;
    return part;
  }
  return NULL;
}

static void set_leaving(mh_region *region, bool leaving) {
  uint32_t row = 0;
  for (mheap *part; (part = each_part(region, &row)) != NULL;) atomic_store(&part->leaving, leaving);
}

static mheap_err refuse(int number, const char *why, mheap_error *error) {
  return mh_fail(error, MHEAP_ERR_BUSY, "arena %d: busy: %s", number, why);
}

static mheap_err is_unused(mh_region *region, int number, mheap_error *error) {
  uint32_t row = 0;
  for (mheap *part; (part = each_part(region, &row)) != NULL;) {
    if (!is_left(part)) return refuse(number, "another thread is looking at what is in it", error);
    mh_lanes_collect(part);
  }
  for (row = 2; row < MH_HEAPS; row++) {
    mheap *heap = mh_handle_find(region, row);
    if (heap != NULL && heap->whole == heap)
      return refuse(number, "a heap was made for it; destroy or delete that first", error);
  }
  pthread_mutex_lock(&region->lock);
  mh_arena_trim(region, true);
  bool empty = mh_arena_used(region, 0) <= MH_SLICE;
  pthread_mutex_unlock(&region->lock);
  return empty ? MHEAP_OK : refuse(number, "there are blocks in use in it", error);
}

/* The handle is its heap's from now on, for who still may come to it. */
static void retire(mheap *part) {
  mheap *whole = part->whole;
  take_out(whole, part);
  mh_lanes_forget(part);
  pthread_mutex_lock(&whole->lock);
  mh_counts_give(whole, part, false);
  pthread_mutex_unlock(&whole->lock);
  part->hooks = NULL;
  part->hooked = false;
  mh_handle_retire(part, whole->region);
}

mheap_err mh_parts_remove_arena(mheap *heap, int number, mheap_error *error) {
  mh_region *region = heap->region;
  uint32_t row = 0;
  mh_making_lock();
  set_leaving(region, true);
  mheap_err code = is_unused(region, number, error);
  if (code) set_leaving(region, false);
  for (mheap *part; !code && (part = each_part(region, &row)) != NULL;) retire(part);
  mh_making_unlock();
  return code;
}
