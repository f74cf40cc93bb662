/* marks.c: see marks.h. */
#include "marks.h"

#include <pthread.h>

_Atomic uint8_t mh_marks[MH_MARKS * MH_SLICE_PAGES];
_Atomic uint8_t mh_marks_slices[MH_MARKS];
_Atomic uint8_t mh_marks_some[MH_MARKS / MH_MARKS_TOGETHER];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static mh_marked *all;
static mh_out *outs;

void mh_marked_add(mh_marked *marked, const char *base) {
  pthread_mutex_lock(&lock);
  marked->base = base;
  marked->next = all;
  all = marked;
  pthread_mutex_unlock(&lock);
}

void mh_marked_remove(mh_marked *marked) {
  pthread_mutex_lock(&lock);
  mh_marked **link = &all;
  while (*link != NULL && *link != marked) link = &(*link)->next;
  if (*link != NULL) *link = marked->next;
  pthread_mutex_unlock(&lock);
}

/* ---- memory whose address is out ---- */

static void mark_out(const mh_out *out) {
  if (out->length > 0) mh_mark_range(out->address, out->length);
}

void mh_out_begin(mh_out *out) {
  pthread_mutex_lock(&lock);
  out->previous = NULL;
  out->next = outs;
  if (outs != NULL) outs->previous = out;
  outs = out;
  pthread_mutex_unlock(&lock);
}

void mh_out_end(mh_out *out) {
  pthread_mutex_lock(&lock);
  mark_out(out);
  if (out->next != NULL) out->next->previous = out->previous;
  if (out->previous != NULL) out->previous->next = out->next;
  else outs = out->next;
  pthread_mutex_unlock(&lock);
}

bool mh_out_lock(const void *start, uint64_t length) {
  pthread_mutex_lock(&lock);
  const mh_out *out = outs;
  while (out != NULL && (uintptr_t)out->address - (uintptr_t)start >= length) out = out->next;
  if (out != NULL) pthread_mutex_unlock(&lock);
  return out == NULL;
}

void mh_out_unlock(void) { pthread_mutex_unlock(&lock); }

void mh_marks_before_fork(void) { pthread_mutex_lock(&lock); }
void mh_marks_after_fork(void) { pthread_mutex_unlock(&lock); }

/* ---- bits ---- */

static void set(mh_marked_bits *to, uint64_t slice, uint16_t pages) {
  to->pages[slice] |= pages;
  to->bits[slice / 64] |= (uint64_t)1 << slice % 64;
  to->some[slice / 64 / 64] |= (uint64_t)1 << slice / 64 % 64;
}

/* Moves all bits of `from` over to `to`, or to nowhere. What is blank is not looked at. */
static void move(mh_marked_bits *from, mh_marked_bits *to) {
  for (uint64_t i = 0; i < MH_MARKS / 64 / 64; i++)
    for (; from->some[i] != 0; from->some[i] &= from->some[i] - 1) {
      uint64_t word = 64 * i + (uint64_t)__builtin_ctzll(from->some[i]);
      for (; from->bits[word] != 0; from->bits[word] &= from->bits[word] - 1) {
        uint64_t slice = 64 * word + (uint64_t)__builtin_ctzll(from->bits[word]);
        if (to != NULL) set(to, slice, from->pages[slice]);
        from->pages[slice] = 0;
      }
    }
}

/* ---- giving them to who they belong to ---- */

static void give(uint64_t index, uint16_t pages) {
  for (mh_marked *to = all; to != NULL; to = to->next) {
    uint64_t slice = (index - ((uint64_t)(uintptr_t)to->base >> MH_SLICE_BITS)) & (MH_MARKS - 1);
    set(&to->of, slice, pages);
  }
}

static bool take(_Atomic uint8_t *mark) {
  return atomic_load_explicit(mark, memory_order_relaxed) &&
         atomic_exchange_explicit(mark, 0, memory_order_acquire);
}

static uint16_t take_pages(uint64_t slice) {
  unsigned pages = 0;
  for (unsigned i = 0; i < MH_SLICE_PAGES; i++)
    pages |= (unsigned)take(&mh_marks[slice * MH_SLICE_PAGES + i]) << i;
  return (uint16_t)pages;
}

void mh_marked_gather(void) {
  pthread_mutex_lock(&lock);
  for (const mh_out *out = outs; out != NULL; out = out->next) mark_out(out);
  for (uint64_t i = 0; i < MH_MARKS / MH_MARKS_TOGETHER; i++) {
    if (!take(&mh_marks_some[i])) continue;
    for (uint64_t j = i * MH_MARKS_TOGETHER; j < (i + 1) * MH_MARKS_TOGETHER; j++)
      if (take(&mh_marks_slices[j])) give(j, take_pages(j));
  }
  pthread_mutex_unlock(&lock);
}

/* Under the lock, since another region's commit may be giving some. */
void mh_marked_clear(mh_marked *marked) {
  pthread_mutex_lock(&lock);
  move(&marked->of, NULL);
  pthread_mutex_unlock(&lock);
}

void mh_marked_take(mh_marked *marked, mh_marked_bits *taken) {
  pthread_mutex_lock(&lock);
  move(taken, NULL);
  move(&marked->of, taken);
  pthread_mutex_unlock(&lock);
}

void mh_marked_put_back(mh_marked *marked, mh_marked_bits *taken) {
  pthread_mutex_lock(&lock);
  move(taken, &marked->of);
  pthread_mutex_unlock(&lock);
}

/* ---- runs ---- */

static bool is_marked(const mh_marked *marked, uint64_t slice) {
  return marked->of.bits[slice % MH_MARKS / 64] >> slice % 64 & 1;
}

/* `slice`, or where the next word begins that has a mark, or 64 words further. */
static uint64_t pass_blank_words(const mh_marked *marked, uint64_t slice) {
  uint64_t word = slice % MH_MARKS / 64, rest = marked->of.some[word / 64] >> word % 64;
  uint64_t passed = rest != 0 ? (uint64_t)__builtin_ctzll(rest) : 64 - word % 64;
  return passed != 0 ? (slice / 64 + passed) * 64 : slice;
}

static uint64_t first_marked(const mh_marked *marked, uint64_t slice, uint64_t end) {
  while (slice < end && !is_marked(marked, slice)) {
    uint64_t rest = marked->of.bits[slice % MH_MARKS / 64] >> slice % 64;
    if (rest != 0) slice += (uint64_t)__builtin_ctzll(rest);
    else slice = pass_blank_words(marked, (slice / 64 + 1) * 64);
  }
  return slice < end ? slice : end;
}

uint64_t mh_marked_next(const mh_marked *marked, uint64_t *from, uint64_t end) {
  uint64_t to = *from = first_marked(marked, *from, end);
  while (to < end && is_marked(marked, to)) to++;
  return to - *from;
}
