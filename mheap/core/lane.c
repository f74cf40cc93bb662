/* lane.c: see lane.h. */
#include "lane.h"

#include <errno.h>
#include <string.h>

#include "arena.h"
#include "deferred.h"
#include "lane_list.h"
#include "os.h"
#include "parts.h"
#include "subproc.h"

_Atomic(mheap *) mh_process_heap;

__thread mh_thread mh_this_thread = {.heap = mh_no_heap, .own_heap = mh_no_heap};

/* Guards threads' lists of lanes; taken when a lane comes, goes, or changes its thread. */
static pthread_mutex_t lanes_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_key_t thread_key;
static pthread_once_t thread_once = PTHREAD_ONCE_INIT;

void mh_lanes_lock(void) { pthread_mutex_lock(&lanes_lock); }
void mh_lanes_unlock(void) { pthread_mutex_unlock(&lanes_lock); }

#define LANE_BYTES ((sizeof(mh_lane) + 65535) / 65536 * 65536)

/* ---- words of the bitmaps ---- */

static uint64_t load(const uint64_t *word) {
  return atomic_load_explicit((_Atomic uint64_t *)(uintptr_t)word, memory_order_relaxed);
}
static void store(uint64_t *word, uint64_t value) {
  atomic_store_explicit((_Atomic uint64_t *)word, value, memory_order_relaxed);
}

static uint64_t mask_of_word(const mh_slab *slab, uint32_t word) {
  uint32_t left = slab->blocks - 64 * word;
  return left >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << left) - 1;
}

/* Folds the remote frees of a word: alloc first, so that at no instant a block is in use
   again, or free with its freed bit able to hit the next owner. Bits that came meanwhile were
   not announced, since the word was not 0, and are folded too. */
static void fold_word(mh_slab *slab, uint32_t i) {
  _Atomic uint64_t *word = (_Atomic uint64_t *)&slab->bits->freed[i];
  uint64_t freed = load(&slab->bits->freed[i]);
  if (freed != 0) mh_mark_slice(slab->bits);
  while (freed != 0) {
    store(&slab->bits->alloc[i], load(&slab->bits->alloc[i]) & ~freed);
    freed = atomic_fetch_and_explicit(word, ~freed, memory_order_acq_rel) & ~freed;
  }
}

static void fold(mh_slab *slab) {
  for (uint32_t i = 0; i < slab->words; i++) fold_word(slab, i);
}

static uint64_t free_in_word(const mh_slab *slab, uint32_t i) {
  return ~load(&slab->bits->alloc[i]) & mask_of_word(slab, i);
}

static bool has_free_block(const mh_slab *slab) {
  for (uint32_t i = 0; i < slab->words; i++)
    if (free_in_word(slab, i) != 0) return true;
  return false;
}

/* From the end: blocks are handed out from the start, so that there the answer is found. */
static bool is_empty(const mh_slab *slab) {
  for (uint32_t i = slab->words; i-- > 0;)
    if ((load(&slab->bits->alloc[i]) & ~load(&slab->bits->freed[i])) != 0) return false;
  return true;
}

/* ---- bins' lists ---- */

static void push_partial(mh_bin *bin, mh_slab *slab) {
  slab->next = NULL;
  slab->prev = bin->last;
  if (bin->last != NULL) bin->last->next = slab;
  else bin->partial = slab;
  bin->last = slab;
  slab->place = MH_PLACE_LIST;
}

static void remove_partial(mh_bin *bin, mh_slab *slab) {
  if (slab->prev != NULL) slab->prev->next = slab->next;
  else bin->partial = slab->next;
  if (slab->next != NULL) slab->next->prev = slab->prev;
  else bin->last = slab->prev;
  slab->next = slab->prev = NULL;
}

/* Full slabs, and closed ones: nobody looks for a block in them. */
static void push_full(mh_bin *bin, mh_slab *slab, mh_place place) {
  slab->prev = NULL;
  slab->next = bin->full;
  if (bin->full != NULL) bin->full->prev = slab;
  bin->full = slab;
  slab->place = (int8_t)place;
}

static void remove_full(mh_bin *bin, mh_slab *slab) {
  if (slab->prev != NULL) slab->prev->next = slab->next;
  else bin->full = slab->next;
  if (slab->next != NULL) slab->next->prev = slab->prev;
  slab->next = slab->prev = NULL;
}

static void set_owner(mh_slab *slab, mh_lane *lane) {
  atomic_store_explicit(&slab->lane, lane, memory_order_seq_cst);
}

/* ---- the current slab of a bin ---- */

/* Other threads read it, to count. */
static void set_ready(mh_bin *bin, uint64_t ready) {
  atomic_store_explicit((_Atomic uint64_t *)&bin->ready, ready, memory_order_relaxed);
}

static void leave_word(mh_bin *bin) {
  mh_slab *slab = bin->slab;
  if (slab == NULL) return;
  mh_lane *lane = atomic_load_explicit(&slab->lane, memory_order_relaxed);
  mh_counts_leave(lane, &lane->counts, slab->class, bin->ready);
}

static void clear_bin(mh_bin *bin) {
  leave_word(bin);
  set_ready(bin, 0);
  bin->slab = NULL;
}

/* In a small region a slab gets disk space as its blocks are reached, unless the bin has filled so many
   that one more is a small part; slabs found in a file get it again: a copy may have made holes of their
   zero bytes. */
#define BACK_PAGES 4u
#define BACK_FILLED 8u
#define BACK_WHOLE ((uint64_t)64 << 20)

static uint32_t slab_pages(const mh_slab *slab) { return slab->slices * MH_SLICE_PAGES; }

static uint32_t first_pages(const mh_region *region, uint32_t slices, uint32_t filled) {
  uint32_t all = slices * MH_SLICE_PAGES;
  bool in_steps = mh_region_size(region) < BACK_WHOLE && filled < BACK_FILLED;
  return in_steps && BACK_PAGES < all ? BACK_PAGES : all;
}

static bool back_more(mh_region *region, mh_slab *slab, uint32_t i) {
  uint32_t last = 64 * (i + 1) < slab->blocks ? 64 * (i + 1) : slab->blocks;
  uint32_t pages = (last * slab->size + MH_PAGE * BACK_PAGES - 1) / (MH_PAGE * BACK_PAGES) * BACK_PAGES;
  if (pages > slab_pages(slab)) pages = slab_pages(slab);
  if (pages <= slab->backed) return true;
  uint64_t offset = mh_offset(region, mh_slab_start(region, slab)) + (uint64_t)slab->backed * MH_PAGE;
  int saved = errno; /* of the program, whose malloc this may be */
  mheap_err code = mh_region_back(region, offset, (uint64_t)(pages - slab->backed) * MH_PAGE, NULL);
  errno = saved;
  if (code != MHEAP_OK) return false;
  slab->backed = (uint8_t)pages;
  return true;
}

static bool back_word(mh_region *region, mh_slab *slab, uint32_t i) {
  return slab->backed == slab_pages(slab) || back_more(region, slab, i);
}

/* The slab that the bin had until now is of the same lane and class. */
static inline void count_word(const mh_bin *bin, mh_slab *slab, uint32_t i, uint64_t ready) {
  mh_lane *lane = atomic_load_explicit(&slab->lane, memory_order_relaxed);
  uint32_t class = slab->class;
  if (bin->slab != NULL) mh_counts_leave(lane, &lane->counts, class, bin->ready);
  mh_counts_take(&lane->counts, class, ready);
  if (i >= slab->touched) mh_counts_touch(lane, slab, i);
}

/* False: no disk space for it. */
static inline bool use_word(mh_region *region, mh_bin *bin, mh_slab *slab, uint32_t i) {
  if (!back_word(region, slab, i)) return false;
  if (load(&slab->bits->freed[i]) != 0) fold_word(slab, i);
  uint64_t ready = free_in_word(slab, i);
  count_word(bin, slab, i, ready);
  bin->slab = slab;
  slab->place = MH_PLACE_BIN;
  bin->size = slab->size;
  bin->word = &slab->bits->alloc[i];
  set_ready(bin, ready);
  bin->block = mh_slab_start(region, slab) + (uint64_t)i * 64 * slab->size;
  return true;
}

/* The lowest word with this many free blocks is worth going back to: a slab that is never
   nearly full then stays within its first pages. A slab without such a word had better wait
   while others have free blocks: what a refill costs is then divided by more blocks. */
static inline uint32_t worth(const mh_slab *slab) { return slab->blocks < 64 ? (slab->blocks + 3u) / 4 : 16; }

#define NO_WORD UINT32_MAX

/* That word, else the one with the most free blocks, `free` of them; NO_WORD: there are none. */
static inline uint32_t best_word(const mh_slab *slab, uint32_t *free) {
  uint32_t best = NO_WORD, last = slab->words - 1u, enough = worth(slab);
  *free = 0;
  for (uint32_t i = 0; i <= last && *free < enough; i++) {
    uint64_t bits = ~load(&slab->bits->alloc[i]) | load(&slab->bits->freed[i]);
    if (i == last) bits &= mask_of_word(slab, i);
    if (bits == 0) continue;
    uint32_t count = mh_bits(bits);
    if (count > *free) best = i, *free = count;
  }
  return best;
}

/* Any word that disk space can be had for. */
static __attribute__((noinline, cold)) bool use_backed(mh_region *region, mh_bin *bin, mh_slab *slab) {
  for (uint32_t i = 0; i < slab->words; i++) {
    fold_word(slab, i);
    if (free_in_word(slab, i) != 0 && use_word(region, bin, slab, i)) return true;
  }
  return false;
}

/* `word` is the slab's best. Without a free block, or disk space for one, the slab is full. */
static inline bool use_slab(mh_region *region, mh_bin *bin, mh_slab *slab, uint32_t word) {
  if (word != NO_WORD && (use_word(region, bin, slab, word) || use_backed(region, bin, slab))) return true;
  if (bin->slab == slab) clear_bin(bin);
  push_full(bin, slab, MH_PLACE_FULL);
  return false;
}

/* From another slab that has free blocks. */
static bool use_partial(mh_region *region, mh_bin *bin) {
  uint32_t free;
  while (bin->partial != NULL) {
    mh_slab *slab = bin->partial;
    remove_partial(bin, slab);
    if (use_slab(region, bin, slab, best_word(slab, &free))) return true;
  }
  return false;
}

/* From the current slab, or another. */
static inline bool advance(mh_region *region, mh_bin *bin) {
  mh_slab *slab = bin->slab;
  uint32_t free, word;
  if (slab == NULL) return use_partial(region, bin);
  word = best_word(slab, &free);
  if (free >= worth(slab) || bin->partial == NULL) return use_slab(region, bin, slab, word);
  clear_bin(bin);
  if (word != NO_WORD) push_partial(bin, slab);
  else push_full(bin, slab, MH_PLACE_FULL);
  return use_partial(region, bin);
}

/* ---- remote frees ---- */

static void push_queue(mh_lane *lane, mh_slab *slab) {
  mh_slab *head = atomic_load_explicit(&lane->queue, memory_order_relaxed);
  do atomic_store_explicit(&slab->queue_next, head, memory_order_relaxed);
  while (!atomic_compare_exchange_weak_explicit(&lane->queue, &head, slab, memory_order_seq_cst,
                                                memory_order_relaxed));
}

/* Every slab of a lane's queue goes to the queue of the lane that has it now. By any thread, and by who took
   a lane's slabs, last (tell_lane). */
static void pass_queue_on(mh_lane *lane) {
  mh_slab *slab = atomic_exchange_explicit(&lane->queue, NULL, memory_order_seq_cst);
  for (mh_slab *next; slab != NULL; slab = next) {
    next = atomic_load_explicit(&slab->queue_next, memory_order_relaxed);
    push_queue(atomic_load_explicit(&slab->lane, memory_order_acquire), slab);
  }
}

/* A lane that lost the slab to another, meanwhile, may never look at its queue again. Either who took
   the slab finds it in the queue afterwards, or it is seen here that it was taken. */
static void tell_lane(mh_slab *slab) {
  if (atomic_exchange_explicit(&slab->queued, 1, memory_order_seq_cst) != 0) return;
  mh_lane *lane = atomic_load_explicit(&slab->lane, memory_order_seq_cst);
  if (lane == NULL) {
    atomic_store_explicit(&slab->queued, 0, memory_order_release);
    return;
  }
  push_queue(lane, slab);
  if (atomic_load_explicit(&slab->lane, memory_order_seq_cst) != lane) pass_queue_on(lane);
}

/* The hazard is set before the bit: who sees the bit, and so perhaps an empty slab, sees
   the hazard too, and keeps the slab until this thread has no more to do with it. */
bool mh_lane_free_remote(mh_lane *self, mh_slab *slab, uint32_t word, uint64_t bit) {
  atomic_store_explicit(&self->hazard, slab, memory_order_relaxed);
  uint64_t old =
      atomic_fetch_or_explicit((_Atomic uint64_t *)&slab->bits->freed[word], bit, memory_order_acq_rel);
  if (old == 0) tell_lane(slab);
  atomic_store_explicit(&self->hazard, NULL, memory_order_release);
  return (old & bit) == 0;
}

/* Is another thread still busy with the slab? The caller holds region->lock, under which lists of lanes
   are changed. */
static bool is_hazard(const mh_lane *lane, const mh_slab *slab) {
  atomic_thread_fence(memory_order_acquire);
  if (atomic_load_explicit((_Atomic uint32_t *)&slab->queued, memory_order_acquire) != 0) return true;
  for (mh_lane *l = atomic_load_explicit(&lane->heap->lanes, memory_order_acquire); l != NULL; l = l->next)
    if (atomic_load_explicit(&l->hazard, memory_order_acquire) == slab) return true;
  return atomic_load_explicit((_Atomic uint32_t *)&slab->queued, memory_order_acquire) != 0;
}

/* Gives an empty slab back, unless a thread that freed the last block in it is still there. */
static void retire(mh_lane *lane, mh_slab *slab) {
  mh_region *region = lane->heap->region;
  int saved = errno; /* of the program, whose free this may be */
  pthread_mutex_lock(&region->lock);
  if (!is_hazard(lane, slab)) {
    mh_bin *bin = &lane->bins[slab->class];
    if (slab->place == MH_PLACE_LIST) remove_partial(bin, slab);
    else remove_full(bin, slab);
    set_owner(slab, NULL);
    mh_counts_retire(lane, slab);
    mh_arena_give(region, slab);
  }
  pthread_mutex_unlock(&region->lock);
  errno = saved;
}

/* A slab of this lane has free blocks again: it goes to the list, or back to the arena. */
static void settle(mh_lane *lane, mh_slab *slab) {
  mh_bin *bin = &lane->bins[slab->class];
  if (slab->place == MH_PLACE_BIN) return;
  if (slab->place == MH_PLACE_FULL) {
    remove_full(bin, slab);
    push_partial(bin, slab);
  }
  if (is_empty(slab)) retire(lane, slab);
}

/* Takes in what other threads freed. A slab that moved on to another lane is passed on. */
static bool take_queue(mh_lane *lane) {
  mh_slab *slab = atomic_exchange_explicit(&lane->queue, NULL, memory_order_acquire);
  bool any = slab != NULL;
  while (slab != NULL) {
    mh_slab *next = atomic_load_explicit(&slab->queue_next, memory_order_relaxed);
    mh_lane *owner = atomic_load_explicit(&slab->lane, memory_order_acquire);
    if (owner != lane) {
      push_queue(owner, slab);
    } else {
      atomic_store_explicit(&slab->queued, 0, memory_order_seq_cst);
      fold(slab);
      if (slab->place != MH_PLACE_FULL || has_free_block(slab)) settle(lane, slab);
    }
    slab = next;
  }
  return any;
}

mheap_err mh_lane_freed(mh_lane *lane, mh_slab *slab) {
  settle(lane, slab);
  return MHEAP_OK;
}

/* ---- refilling ---- */

static bool is_closed(const mh_region *region, const mh_slab *slab, uint64_t closed) {
  return closed >> mh_map_arena_of(region, mh_slab_index(region, slab) / MH_SEGMENT_SLICES) & 1;
}

static void take_slab(mh_lane *lane, mh_slab *slab, uint64_t closed) {
  mh_bin *bin = &lane->bins[slab->class];
  bool full = slab->place == MH_PLACE_FULL, shut = slab->place == MH_PLACE_CLOSED;
  set_owner(slab, lane);
  if (shut || is_closed(lane->heap->region, slab, closed)) push_full(bin, slab, MH_PLACE_CLOSED);
  else if (full) push_full(bin, slab, MH_PLACE_FULL);
  else push_partial(bin, slab);
  if (is_empty(slab)) retire(lane, slab);
}

static void take_list(mh_lane *lane, mh_slab *list, uint64_t closed) {
  for (mh_slab *next; list != NULL; list = next) {
    next = list->next;
    take_slab(lane, list, closed);
  }
}

/* Takes all slabs from another lane, or from itself: those in `closed` arenas, a bit a row, are closed. */
static void take_bins(mh_lane *lane, mh_lane *from, uint64_t closed) {
  for (uint32_t c = 0; c < MHEAP_CLASSES; c++) {
    mh_bin *bin = &from->bins[c];
    mh_slab *current = bin->slab, *partial = bin->partial, *full = bin->full;
    clear_bin(bin);
    bin->partial = bin->last = bin->full = NULL;
    take_list(lane, partial, closed);
    take_list(lane, full, closed);
    if (current != NULL) take_slab(lane, current, closed);
  }
}

/* Slabs that it brought along from a heap that was deleted. By who owns the lane. */
static void close_own(mh_lane *lane) {
  if (!atomic_exchange_explicit(&lane->handed, false, memory_order_acquire)) return;
  uint64_t closed = atomic_load_explicit(&lane->closed, memory_order_relaxed);
  if (closed != 0) take_bins(lane, lane, closed);
}

/* Moves everything of an idle lane to this one. The caller holds heap->lock. */
static void absorb(mh_lane *lane, mh_lane *idle) {
  take_queue(idle);
  close_own(idle);
  take_bins(lane, idle, 0);
  pass_queue_on(idle);
}

/* Slabs of lanes whose threads are gone. */
static bool absorb_idle(mh_lane *lane) {
  bool any = false;
  pthread_mutex_lock(&lane->heap->lock);
  for (mh_lane *other = lane->heap->lanes; other != NULL; other = other->next) {
    if (other->thread != NULL || other == lane || other->dead) continue;
    absorb(lane, other);
    any = true;
  }
  pthread_mutex_unlock(&lane->heap->lock);
  return any;
}

/* How many slabs of a bin are full, as far as that matters. */
#define FILLED_MOST 16

static uint32_t filled_slabs(const mh_bin *bin) {
  uint32_t full = 0, steps = 0;
  for (const mh_slab *slab = bin->full; slab != NULL && steps < FILLED_MOST; slab = slab->next, steps++)
    full += slab->place == MH_PLACE_FULL;
  return full;
}

static mheap_err new_slab(mh_lane *lane, uint32_t class, mheap_error *error) {
  mh_region *region = lane->heap->region;
  uint32_t count = mh_classes[class].slices, filled = filled_slabs(&lane->bins[class]);
  pthread_mutex_lock(&region->lock);
  uint32_t pages = first_pages(region, count, filled);
  mh_want want = {.count = count,
                  .pages = pages,
                  /* As many slices again as were filled. The first slab gets its pages one by one: a heap
                     that never fills it holds no more than it uses. */
                  .at_once = filled > 0 ? (1 + filled) * count : 0,
                  .alignment = MH_SLICE,
                  .head = mh_head_slab(class, lane->heap->row)};
  mh_slab *slab = mh_arena_take(region, lane->heap->only, &want, error);
  if (slab != NULL) {
    slab->backed = (uint8_t)pages;
    set_owner(slab, lane);
  }
  pthread_mutex_unlock(&region->lock);
  if (slab == NULL) return error->code;
  if (use_slab(region, &lane->bins[class], slab, 0)) return MHEAP_OK;
  retire(lane, slab); /* the disk filled up before its first block could be handed out */
  return mh_region_back(region, mh_offset(region, mh_slab_start(region, slab)), count * MH_SLICE, error);
}

/* Blocks that a deleted heap left in an arena of its own are the main heap's, but not the space
   between them. */
static bool may_fill(const mheap *heap, const mh_slab *slab) {
  const mh_region *region = heap->region;
  uint32_t row = mh_map_arena_of(region, mh_slab_index(region, slab) / MH_SEGMENT_SLICES);
  return heap->only != 0 ? row + 1 == heap->only : !region->ranges[row].exclusive;
}

static void close_slab(mh_lane *lane, mh_slab *slab) {
  push_full(&lane->bins[slab->class], slab, MH_PLACE_CLOSED);
  if (is_empty(slab)) retire(lane, slab);
}

/* The slab's blocks become this lane's to hand out. An empty one is given back by the next
   collection, or is filled again. */
static void adopt(mh_lane *lane, mh_slab *slab) {
  set_owner(slab, lane);
  atomic_thread_fence(memory_order_seq_cst); /* who still saw no owner, has set its bit by now */
  fold(slab);
  mh_counts_adopt(lane->heap, slab);
  if (!may_fill(lane->heap, slab)) close_slab(lane, slab);
  else if (has_free_block(slab)) push_partial(&lane->bins[slab->class], slab);
  else push_full(&lane->bins[slab->class], slab, MH_PLACE_FULL);
}

/* Slabs that the file holds already: of segments opened before, else (`open`) of some opened
   now. */
static bool adopt_orphans(mh_lane *lane, bool open) {
  mh_region *region = lane->heap->region;
  mh_slab **orphans = &region->orphans[lane->heap->row];
  pthread_mutex_lock(&region->lock);
  if (*orphans == NULL && open) mh_arena_open_some(region, lane->heap->only);
  mh_slab *slab = *orphans;
  *orphans = NULL;
  pthread_mutex_unlock(&region->lock);
  bool any = slab != NULL;
  for (mh_slab *next; slab != NULL; slab = next) {
    next = slab->next;
    adopt(lane, slab);
  }
  return any;
}

bool mh_lane_more(mh_lane *lane, mh_bin *bin) {
  return advance(lane->heap->region, bin);
}

mheap_err mh_lane_refill(mh_lane *lane, uint32_t class, mheap_error *error) {
  mh_region *region = lane->heap->region;
  mh_bin *bin = &lane->bins[class];
  if (mh_lane_more(lane, bin)) return MHEAP_OK;
  if (take_queue(lane) && use_partial(region, bin)) return MHEAP_OK;
  if (absorb_idle(lane) && use_partial(region, bin)) return MHEAP_OK;
  if (adopt_orphans(lane, true) && use_partial(region, bin)) return MHEAP_OK;
  return new_slab(lane, class, error);
}

/* ---- threads ---- */

static void forget(_Atomic(const mheap *) *remembered, const mheap *heap) {
  if (atomic_load_explicit(remembered, memory_order_relaxed) == heap)
    atomic_store_explicit(remembered, mh_no_heap, memory_order_relaxed);
}

static void forget_lane(_Atomic(mh_lane *) *remembered, const mheap *heap) {
  mh_lane *lane = atomic_load_explicit(remembered, memory_order_relaxed);
  if (lane != NULL && lane->heap == heap) atomic_store_explicit(remembered, NULL, memory_order_relaxed);
}

/* The one place that makes a thread's next call in this heap go the slow way. */
static void forget_heap(mh_thread *thread, const mheap *heap) {
  forget(&thread->heap, heap->whole);
  forget(&thread->own_heap, heap);
  forget_lane(&thread->default_lane, heap);
  forget_lane(&thread->pointer_lane, heap);
  forget_lane(&thread->process_lane, heap);
}

/* Must a call in this heap take the slow path? */
static bool is_slow(const mheap *heap) { return heap->hooked || heap->objects || mh_deferred_is_on(); }

/* True: it was not yet. */
static bool remember_in(_Atomic(mh_lane *) *remembered, mh_lane *lane, bool wanted) {
  if (!wanted || atomic_load_explicit(remembered, memory_order_relaxed) == lane) return false;
  atomic_store_explicit(remembered, lane, memory_order_relaxed);
  return true;
}

/* Whoever makes calls take the slow path from now on says so first and then makes the threads
   forget; so what is remembered here is forgotten by one of the two. */
void mh_lane_remember(mh_lane *lane) {
  mh_thread *thread = &mh_this_thread;
  mheap *heap = lane->heap, *whole = heap->whole;
  if (is_slow(heap)) return;
  bool new = mh_lane_now(whole) != lane;
  thread->lane = lane;
  atomic_store_explicit(&thread->heap, whole, memory_order_relaxed);
  new |= remember_in(&thread->default_lane, lane, whole == mh_default_made());
  new |= remember_in(&thread->pointer_lane, lane, mh_subproc_is_now(heap->region));
  new |= remember_in(&thread->process_lane, lane,
                     whole == atomic_load_explicit(&mh_process_heap, memory_order_relaxed));
  if (!new) return;
  atomic_thread_fence(memory_order_seq_cst);
  if (is_slow(heap)) forget_heap(thread, heap);
  if (lane->heap == heap) return; /* else its heap was deleted meanwhile */
  forget(&thread->heap, whole);
  forget_heap(thread, lane->heap);
}

void mh_own_lane_remember(mh_lane *lane) {
  mh_this_thread.own_lane = lane;
  atomic_store_explicit(&mh_this_thread.own_heap, lane->heap, memory_order_relaxed);
}

/* ---- stale lanes: under the lanes' lock, but for the look whether there are any ---- */

static void make_stale(mh_thread *thread, mh_lane *lane) {
  if (lane->is_stale) return;
  lane->is_stale = true;
  lane->stale_next = atomic_load_explicit(&thread->stale, memory_order_relaxed);
  atomic_store_explicit(&thread->stale, lane, memory_order_release);
}

static void remove_stale(mh_thread *thread, mh_lane *lane) {
  mh_lane *first = atomic_load_explicit(&thread->stale, memory_order_relaxed), *before = first;
  if (!lane->is_stale) return;
  lane->is_stale = false;
  if (first == lane) {
    atomic_store_explicit(&thread->stale, lane->stale_next, memory_order_relaxed);
    return;
  }
  while (before->stale_next != lane) before = before->stale_next;
  before->stale_next = lane->stale_next;
}

/* By the thread itself, of its own list. */
static void unlink_lane(mh_thread *thread, mh_lane *lane) {
  mh_list_remove(thread, lane);
  remove_stale(thread, lane);
  lane->thread = NULL;
}

/* Of a heap that is gone, so that there may be another where it was. */
static bool is_gone(const mh_lane *lane) { return atomic_load_explicit(&lane->gone, memory_order_acquire); }

static void free_gone(mh_thread *thread, mh_lane *lane) {
  unlink_lane(thread, lane);
  mh_os_table_free(lane, LANE_BYTES);
}

/* Hands the lanes back that are in heaps of `subproc`; NULL: all. */
static void hand_back(mh_thread *thread, const mh_subproc *subproc) {
  mh_lanes_lock();
  for (mh_lane *lane = thread->lanes, *next; lane != NULL; lane = next) {
    next = lane->thread_next;
    if (is_gone(lane)) {
      free_gone(thread, lane);
      continue;
    }
    mheap *heap = lane->heap;
    if (subproc != NULL && mh_subproc_of(heap->region) != subproc) continue;
    pthread_mutex_lock(&heap->lock);
    forget_heap(thread, heap);
    unlink_lane(thread, lane);
    atomic_fetch_add_explicit(&heap->region->gives, 1, memory_order_relaxed); /* to who takes it over */
    pthread_mutex_unlock(&heap->lock);
  }
  mh_lanes_unlock();
}

void mh_lanes_hand_back(const mh_subproc *subproc) { hand_back(&mh_this_thread, subproc); }

static void hand_all_back(mh_thread *thread) {
  hand_back(thread, NULL);
  thread->watched = false;
}

void mheap_thread_done(void) { hand_all_back(&mh_this_thread); }

static void thread_ends(void *arg) {
  hand_all_back(arg);
  mh_subproc_thread_ends();
}

/* Destructors run in rounds, at least four, while any was set anew. Other libraries' free
   blocks too, so the lanes are kept to the last round but one. */
#define LAST_ROUND 3

static void thread_exits(void *arg) {
  mh_thread *thread = arg;
  if (++thread->rounds < LAST_ROUND && pthread_setspecific(thread_key, thread) == 0) return;
  thread_ends(thread);
  thread->ended = true;
}

static void make_key(void) { pthread_key_create(&thread_key, thread_exits); }

static void watch(mh_thread *thread) {
  if (thread->watched || thread->ended) return;
  pthread_once(&thread_once, make_key);
  thread->watched = pthread_setspecific(thread_key, thread) == 0;
}

void mh_thread_watch(void) { watch(&mh_this_thread); }

static void link_lane(mh_thread *thread, mh_lane *lane) {
  mh_counts_begin(lane);
  lane->thread = thread;
  mh_list_add(thread, lane);
}

/* ---- spare lanes ---- */

static void make_spare(mh_region *region, mh_lane *lane) {
  lane->next = region->spare_lanes;
  region->spare_lanes = lane;
}

void mh_lanes_free_spares(mh_region *region) {
  mh_lanes_lock();
  for (mh_lane *lane = region->spare_lanes, *next; lane != NULL; lane = next) {
    next = lane->next;
    mh_os_table_free(lane, LANE_BYTES);
  }
  region->spare_lanes = NULL;
  mh_lanes_unlock();
}

/* Is nobody but this thread at work in it? */
static bool is_at_rest(const mh_lane *lane) {
  return !lane->dead && (lane->thread == NULL || lane->thread == &mh_this_thread);
}

static void leave_lane(mh_lane *lane) {
  mh_thread *thread = lane->thread;
  if (thread != NULL) forget_heap(thread, lane->heap);
  if (thread == &mh_this_thread) unlink_lane(thread, lane);
}

/* One at rest is emptied, and spare. Who still meant to tell it of a free sees that the slab is another's. */
static void empty_lane(mh_lane *lane, mh_lane *into, uint64_t closed) {
  leave_lane(lane);
  take_queue(lane);
  take_bins(into, lane, closed);
  pass_queue_on(lane);
  mh_counts_keep(into->heap, lane);
  make_spare(into->heap->region, lane);
}

static void unlink_of_heap(mheap *heap, const mh_lane *lane) {
  pthread_mutex_lock(&heap->region->lock);
  if (heap->lanes == lane) {
    heap->lanes = lane->next;
  } else {
    mh_lane *before = heap->lanes;
    while (before->next != lane) before = before->next;
    before->next = lane->next;
  }
  pthread_mutex_unlock(&heap->region->lock);
}

/* One that was handed to another heap, which was deleted: the thread may have two there. */
static void merge_handed(mh_thread *thread, mh_lane *lane) {
  mheap *heap = lane->heap;
  mh_lane *into = mh_list_find(thread, heap, lane);
  pthread_mutex_lock(&heap->lock);
  close_own(lane);
  if (into != NULL) {
    unlink_of_heap(heap, lane);
    empty_lane(lane, into, 0);
    take_queue(into); /* it may never allocate here, and so never look */
  } else {
    mh_list_file_anew(thread, lane);
  }
  pthread_mutex_unlock(&heap->lock);
}

/* With the lanes' lock. */
static void settle_stale(mh_thread *thread) {
  for (mh_lane *lane; (lane = atomic_load_explicit(&thread->stale, memory_order_acquire)) != NULL;) {
    remove_stale(thread, lane);
    if (is_gone(lane)) free_gone(thread, lane);
    else merge_handed(thread, lane);
  }
}

static void come_by(mh_thread *thread) {
  if (atomic_load_explicit(&thread->stale, memory_order_relaxed) == NULL) return;
  mh_lanes_lock();
  settle_stale(thread);
  mh_lanes_unlock();
}

/* One that was another heap's may still have slabs of that pushed on its queue: they are passed on. */
static mh_lane *spare_lane(mh_region *region) {
  mh_lane *lane = region->spare_lanes;
  if (lane == NULL) return mh_os_table(LANE_BYTES);
  region->spare_lanes = lane->next;
  memset(lane->bins, 0, sizeof lane->bins);
  memset(&lane->counts, 0, sizeof lane->counts);
  lane->handed = lane->dead = false;
  return lane;
}

static mh_lane *new_lane(mheap *heap, mheap_error *error) {
  mh_lane *lane = spare_lane(heap->region);
  if (lane == NULL) {
    mh_fail_system(error, ENOMEM, heap->region->path, "making a lane for a thread");
    return NULL;
  }
  for (uint32_t c = 0; c < MHEAP_CLASSES; c++) clear_bin(&lane->bins[c]);
  lane->heap = heap;
  lane->segments = heap->region->segments;
  lane->slabs = heap->region->slabs;
  lane->reach = heap->region->span - MH_SLICE;
  lane->next = heap->lanes;
  atomic_store_explicit(&heap->lanes, lane, memory_order_release); /* is_hazard walks without the lock */
  return lane;
}

/* An idle lane is taken over whole; else there is a new one. */
static mh_lane *take_lane(mheap *heap, mh_thread *thread, mheap_error *error) {
  mh_lanes_lock();
  settle_stale(thread);
  if (heap->gone) {
    mh_lanes_unlock();
    mh_fail(error, MHEAP_ERR_ARGUMENT, "%s: this heap was destroyed or deleted", heap->region->path);
    return NULL;
  }
  mh_lane *lane = mh_list_find(thread, heap, NULL); /* it may have been handed on at this moment */
  if (lane != NULL) {
    mh_lanes_unlock();
    return lane;
  }
  pthread_mutex_lock(&heap->lock);
  lane = heap->lanes;
  while (lane != NULL && (lane->thread != NULL || lane->dead)) lane = lane->next;
  if (lane == NULL) lane = new_lane(heap, error);
  if (lane != NULL) {
    close_own(lane); /* its thread may have ended before it came by */
    link_lane(thread, lane);
  }
  pthread_mutex_unlock(&heap->lock);
  mh_lanes_unlock();
  return lane;
}

mh_lane *mh_lane_find(const mheap *heap) { return mh_list_find(&mh_this_thread, heap, NULL); }

mh_lane *mh_lane_of(mheap *heap, mheap_error *error) {
  mh_thread *thread = &mh_this_thread;
  come_by(thread);
  mh_lane *lane = mh_list_find(thread, heap, NULL);
  if (lane != NULL) return lane;
  watch(thread);
  return take_lane(heap, thread, error);
}

/* ---- collecting, detaching, forking ---- */

static void collect_lane(mh_lane *lane) {
  close_own(lane);
  take_queue(lane);
  for (uint32_t c = 0; c < MHEAP_CLASSES; c++) {
    mh_bin *bin = &lane->bins[c];
    mh_slab *current = bin->slab;
    clear_bin(bin);
    if (current != NULL) push_partial(bin, current);
    for (mh_slab *slab = bin->partial, *next; slab != NULL; slab = next) {
      next = slab->next;
      fold(slab);
      settle(lane, slab);
    }
  }
}

void mh_lanes_collect(mheap *heap) {
  mheap_error ignored;
  mh_lane *own = mh_lane_of(heap, &ignored);
  if (own != NULL) adopt_orphans(own, false);
  pthread_mutex_lock(&heap->lock);
  for (mh_lane *lane = heap->lanes; lane != NULL; lane = lane->next)
    if (is_at_rest(lane)) collect_lane(lane);
  pthread_mutex_unlock(&heap->lock);
}

void mh_lanes_forget_now(mheap *heap) {
  for (mh_lane *lane = heap->lanes; lane != NULL; lane = lane->next)
    if (lane->thread != NULL) forget_heap(lane->thread, heap);
}

void mh_lanes_forget(mheap *heap) {
  mh_lanes_lock();
  mheap *part = heap->whole == heap ? mh_part_first(heap) : heap;
  for (; part != NULL; part = heap->whole == heap ? mh_part_next(part) : NULL) mh_lanes_forget_now(part);
  mh_lanes_unlock();
}

/* ---- lanes of heaps that go ---- */

/* The lane of another thread goes over as it is, which may be freeing its blocks at this moment: it
   becomes that thread's second one in the other heap, until the thread comes by (merge_handed). */
static void hand_lane(mh_lane *lane, mheap *to, uint64_t closed) {
  mh_thread *thread = lane->thread;
  mheap *from = lane->heap;
  leave_lane(lane);
  atomic_store_explicit(&lane->closed, closed, memory_order_relaxed);
  atomic_store_explicit(&lane->handed, true, memory_order_release);
  lane->next = to->lanes;
  atomic_store_explicit(&to->lanes, lane, memory_order_release);
  lane->heap = to;
  atomic_thread_fence(memory_order_seq_cst); /* mh_lane_remember looks again behind its own */
  if (thread == NULL) return;
  if (thread != &mh_this_thread) make_stale(thread, lane); /* else it has left it */
  forget(&thread->heap, from->whole);
}

void mh_lanes_move(mheap *from, mheap *to, uint64_t closed) {
  mheap_error ignored;
  mh_lane *into = mh_lane_of(to, &ignored), *lane;
  mh_lanes_lock();
  from->gone = true;
  pthread_mutex_lock(&to->lock);
  while ((lane = from->lanes) != NULL) {
    pthread_mutex_lock(&to->region->lock);
    from->lanes = lane->next;
    bool handed = into == NULL || !is_at_rest(lane);
    if (handed) hand_lane(lane, to, closed);
    pthread_mutex_unlock(&to->region->lock);
    if (!handed) empty_lane(lane, into, closed);
  }
  mh_counts_give(to, from, true);
  pthread_mutex_unlock(&to->lock);
  mh_lanes_unlock();
}

/* A slab's order in the list does not matter. */
void mh_lanes_hand_orphans(mh_region *region, uint32_t row) {
  for (mh_slab *slab = region->orphans[row], *next; slab != NULL; slab = next) {
    next = slab->next;
    slab->next = region->orphans[0];
    region->orphans[0] = slab;
  }
}

/* The lane of another thread, which may be looking at it right now, is left to that thread. Slabs in
   the queue go with their heap. */
static void drop_lane(mh_lane *lane) {
  mh_thread *thread = lane->thread;
  mh_region *region = lane->heap->region;
  leave_lane(lane);
  atomic_store_explicit(&lane->queue, NULL, memory_order_relaxed);
  if (thread == NULL || thread == &mh_this_thread) make_spare(region, lane);
  else {
    atomic_store_explicit(&lane->gone, true, memory_order_release);
    make_stale(thread, lane);
  }
}

void mh_lanes_drop(mheap *heap) {
  mh_lanes_lock();
  heap->gone = true;
  for (mh_lane *lane = heap->lanes, *next; lane != NULL; lane = next) {
    next = lane->next;
    drop_lane(lane);
  }
  heap->lanes = NULL;
  mh_lanes_unlock();
}

static void reset_lane(mh_lane *lane) {
  atomic_store_explicit(&lane->queue, NULL, memory_order_relaxed);
  memset(lane->bins, 0, sizeof lane->bins);
  memset(&lane->counts, 0, sizeof lane->counts);
}

void mh_lanes_reset(mheap *heap) {
  mh_lanes_lock();
  mh_lanes_forget_now(heap);
  for (mh_lane *lane = heap->lanes; lane != NULL; lane = lane->next) reset_lane(lane);
  memset(&heap->counts, 0, sizeof heap->counts);
  mh_lanes_unlock();
}

/* Where the parent's other threads were is not known: their lanes' lists are not touched
   again. Blocks in them stay valid and can be freed. */
void mh_lanes_after_fork(mheap *heap, bool keep) {
  for (mh_lane *lane = heap->lanes; lane != NULL; lane = lane->next) {
    if (lane->thread == &mh_this_thread) {
      if (!keep) forget_heap(&mh_this_thread, heap), unlink_lane(&mh_this_thread, lane);
    } else if (lane->thread != NULL) {
      lane->thread = NULL;
      lane->dead = true;
    }
    atomic_store_explicit(&lane->hazard, NULL, memory_order_relaxed);
  }
}
