/* counts.c: see counts.h. */
#include "counts.h"

#include "heap.h"
#include "lane.h"
#include "segment.h"

/* ---- by a lane's thread ---- */

static uint64_t load(const _Atomic uint64_t *count) {
  return atomic_load_explicit((_Atomic uint64_t *)(uintptr_t)count, memory_order_relaxed);
}

static int64_t touched_now(mheap *heap, uint32_t class) {
  return atomic_load_explicit(&heap->counts.touched[class], memory_order_relaxed);
}

static void note_peak(mheap *heap, uint32_t class, int64_t blocks) {
  _Atomic int64_t *peak = &heap->counts.peak[class];
  int64_t known = atomic_load_explicit(peak, memory_order_relaxed);
  while (blocks > known && !atomic_compare_exchange_weak_explicit(peak, &known, blocks, memory_order_relaxed,
                                                                  memory_order_relaxed))
    continue;
}

static void touch(mheap *heap, uint32_t class, int64_t blocks) {
  atomic_fetch_add_explicit(&heap->counts.touched[class], blocks, memory_order_relaxed);
}

/* Blocks in the first so many words. */
static int64_t blocks_in(const mh_slab *slab, uint32_t words) {
  return 64 * words < slab->blocks ? 64 * words : slab->blocks;
}

static void set_fresh(mh_lane_counts *counts, uint32_t class, bool fresh) {
  _Atomic uint64_t *bits = &counts->fresh[class / 64];
  uint64_t bit = (uint64_t)1 << class % 64;
  atomic_store_explicit(bits, fresh ? load(bits) | bit : load(bits) & ~bit, memory_order_relaxed);
}

void mh_counts_touch(mh_lane *lane, mh_slab *slab, uint32_t word) {
  mheap *heap = lane->heap;
  note_peak(heap, slab->class, touched_now(heap, slab->class));
  touch(heap, slab->class, blocks_in(slab, word + 1) - blocks_in(slab, slab->touched));
  slab->touched = (uint8_t)(word + 1);
  set_fresh(&lane->counts, slab->class, true);
}

void mh_counts_leave_slowly(mh_lane *lane, uint32_t class, uint64_t ready) {
  mheap *heap = lane->heap;
  mh_count_more(&lane->counts.taken[class], -(uint64_t)mh_bits(ready));
  if (!mh_counts_is_fresh(&lane->counts, class)) return;
  note_peak(heap, class, touched_now(heap, class) - mh_bits(ready));
  set_fresh(&lane->counts, class, false);
}

void mh_counts_adopt(mheap *heap, mh_slab *slab) {
  uint32_t words = slab->words;
  while (words > 0 && slab->bits->alloc[words - 1] == 0) words--;
  slab->touched = (uint8_t)words;
  touch(heap, slab->class, blocks_in(slab, words));
}

/* It was in use together with what the bin hands out now. */
void mh_counts_retire(mh_lane *lane, mh_slab *slab) {
  mheap *heap = lane->heap;
  uint32_t class = slab->class;
  bool fresh = mh_counts_is_fresh(&lane->counts, class);
  note_peak(heap, class, touched_now(heap, class) - (fresh ? mh_bits(lane->bins[class].ready) : 0));
  touch(heap, slab->class, -blocks_in(slab, slab->touched));
  slab->touched = 0;
}

/* ---- what lanes handed out ---- */

static uint64_t ready_now(const mh_lane *lane, uint32_t class) {
  return load((const _Atomic uint64_t *)&lane->bins[class].ready);
}

uint64_t mh_counts_of_lane(const mh_lane *lane, uint32_t class) {
  return load(&lane->counts.taken[class]) - mh_bits(ready_now(lane, class));
}

void mh_counts_begin(mh_lane *lane) {
  for (uint32_t c = 0; c < MHEAP_CLASSES; c++) lane->counts.merged[c] = mh_counts_of_lane(lane, c);
}

static uint64_t handed_out(const mheap *heap, uint32_t class) {
  uint64_t blocks = heap->counts.past[class];
  for (const mh_lane *lane = heap->lanes; lane != NULL; lane = lane->next)
    blocks += mh_counts_of_lane(lane, class);
  return blocks;
}

/* Those of the words in use now that were not handed out are not in use. */
static int64_t most_touched(mheap *heap, uint32_t class) {
  int64_t peak = atomic_load_explicit(&heap->counts.peak[class], memory_order_relaxed),
          now = touched_now(heap, class);
  for (const mh_lane *lane = heap->lanes; lane != NULL; lane = lane->next)
    if (mh_counts_is_fresh(&lane->counts, class)) now -= mh_bits(ready_now(lane, class));
  return now > peak ? now : peak;
}

/* ---- lanes and heaps that go ---- */

void mh_counts_keep(mheap *to, mh_lane *lane) {
  for (uint32_t c = 0; c < MHEAP_CLASSES; c++) to->counts.past[c] += mh_counts_of_lane(lane, c);
}

static void give_spans(mh_span_count *to, const mh_span_count *from, bool blocks_too) {
  if (blocks_too) mh_count_add(to, from->now, false);
  to->total += from->total;
}

void mh_counts_give(mheap *to, mheap *from, bool blocks_too) {
  for (uint32_t c = 0; c < MHEAP_CLASSES; c++) {
    to->counts.past[c] += handed_out(from, c);
    to->counts.before[c] += from->counts.before[c];
    if (!blocks_too) continue;
    touch(to, c, touched_now(from, c));
    note_peak(to, c, touched_now(to, c));
  }
  pthread_mutex_lock(&to->region->lock);
  for (int kind = 0; kind < 2; kind++) {
    give_spans(&to->counts.blocks[kind], &from->counts.blocks[kind], blocks_too);
    give_spans(&to->counts.bytes[kind], &from->counts.bytes[kind], blocks_too);
  }
  pthread_mutex_unlock(&to->region->lock);
}

/* ---- spans ---- */

void mh_counts_span_made(mheap *heap, mh_span_kind kind, uint64_t bytes) {
  mh_count_add(&heap->counts.blocks[kind], 1, true);
  mh_count_add(&heap->counts.bytes[kind], (int64_t)bytes, true);
}

void mh_counts_span_resized(mheap *heap, mh_span_kind kind, uint64_t from, uint64_t to) {
  mh_count_add(&heap->counts.bytes[kind], (int64_t)(to - from), false);
}

void mh_counts_span_freed(mheap *heap, mh_span_kind kind, uint64_t bytes) {
  mh_count_add(&heap->counts.blocks[kind], -1, false);
  mh_count_add(&heap->counts.bytes[kind], -(int64_t)bytes, false);
}

/* ---- reading ---- */

static void read_spans(const mh_counts *counts, mh_span_kind kind, mheap_class_stats *stats) {
  const mh_span_count *blocks = &counts->blocks[kind], *bytes = &counts->bytes[kind];
  stats->peak += (uint64_t)(blocks->peak - blocks->now);
  stats->peak_bytes += (uint64_t)(bytes->peak - bytes->now);
  stats->total += blocks->total;
  stats->total_bytes += bytes->total;
}

void mh_counts_read(mheap *heap, mheap_stats *stats) {
  pthread_mutex_lock(&heap->lock);
  for (uint32_t c = 0; c < MHEAP_CLASSES; c++) {
    int64_t most = most_touched(heap, c);
    stats->classes[c].peak += most > 0 ? (uint64_t)most : 0;
    stats->classes[c].total += handed_out(heap, c) - heap->counts.before[c];
  }
  pthread_mutex_lock(&heap->region->lock);
  read_spans(&heap->counts, MH_COUNT_SPAN, &stats->spans);
  read_spans(&heap->counts, MH_COUNT_HUGE, &stats->huge);
  pthread_mutex_unlock(&heap->region->lock);
  pthread_mutex_unlock(&heap->lock);
}

static void reset_span(mh_span_count *count) {
  count->peak = count->now;
  count->total = 0;
}

void mh_counts_reset(mheap *heap) {
  pthread_mutex_lock(&heap->lock);
  for (uint32_t c = 0; c < MHEAP_CLASSES; c++) {
    heap->counts.before[c] = handed_out(heap, c);
    atomic_store_explicit(&heap->counts.peak[c], 0, memory_order_relaxed);
  }
  pthread_mutex_lock(&heap->region->lock);
  for (int kind = 0; kind < 2; kind++) {
    reset_span(&heap->counts.blocks[kind]);
    reset_span(&heap->counts.bytes[kind]);
  }
  pthread_mutex_unlock(&heap->region->lock);
  pthread_mutex_unlock(&heap->lock);
}
