/* marks.c: see marks.h. */
#include "marks.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

_Atomic uint8_t mh_marks[MH_MARKS];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static mh_marked *all;

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

static void give(uint64_t index) {
  for (mh_marked *to = all; to != NULL; to = to->next) {
    uint64_t slice = (index - ((uint64_t)(uintptr_t)to->base >> MH_SLICE_BITS)) & (MH_MARKS - 1);
    to->bits[slice / 64] |= (uint64_t)1 << slice % 64;
    to->some[slice / 64 / 64] |= (uint64_t)1 << slice / 64 % 64;
  }
}

#define TOGETHER 64 /* bytes looked at together, since nearly all are 0: a line of the cache */

static bool are_blank(const _Atomic uint8_t *marks) {
  uint64_t words[TOGETHER / 8], any = 0;
  memcpy(words, (const void *)marks, sizeof words);
  for (int i = 0; i < TOGETHER / 8; i++) any |= words[i];
  return any == 0;
}

void mh_marked_gather(void) {
  pthread_mutex_lock(&lock);
  for (uint64_t i = 0; i < MH_MARKS; i += TOGETHER)
    for (uint64_t j = i; j < i + TOGETHER && !are_blank(&mh_marks[i]); j++)
      if (atomic_exchange_explicit(&mh_marks[j], 0, memory_order_relaxed)) give(j);
  pthread_mutex_unlock(&lock);
}

static void clear(mh_marked *marked) {
  memset(marked->bits, 0, sizeof marked->bits);
  memset(marked->some, 0, sizeof marked->some);
}

/* Under the lock, since another region's commit may be giving some. */
void mh_marked_clear(mh_marked *marked) {
  pthread_mutex_lock(&lock);
  clear(marked);
  pthread_mutex_unlock(&lock);
}

void mh_marked_take(mh_marked *marked, uint64_t taken[MH_MARKS / 64]) {
  pthread_mutex_lock(&lock);
  memcpy(taken, marked->bits, sizeof marked->bits);
  clear(marked);
  pthread_mutex_unlock(&lock);
}

void mh_marked_put_back(mh_marked *marked, const uint64_t taken[MH_MARKS / 64]) {
  pthread_mutex_lock(&lock);
  for (uint64_t i = 0; i < MH_MARKS / 64; i++) {
    marked->bits[i] |= taken[i];
    if (taken[i] != 0) marked->some[i / 64] |= (uint64_t)1 << i % 64;
  }
  pthread_mutex_unlock(&lock);
}

static bool is_marked(const mh_marked *marked, uint64_t slice) {
  uint64_t bit = slice & (MH_MARKS - 1);
  return marked->bits[bit / 64] >> bit % 64 & 1;
}

/* `slice`, or where the next word begins that has a mark, or 64 words further. */
static uint64_t pass_blank_words(const mh_marked *marked, uint64_t slice) {
  uint64_t word = slice % MH_MARKS / 64, rest = marked->some[word / 64] >> word % 64;
  uint64_t passed = rest != 0 ? (uint64_t)__builtin_ctzll(rest) : 64 - word % 64;
  return passed != 0 ? (slice / 64 + passed) * 64 : slice;
}

static uint64_t first_marked(const mh_marked *marked, uint64_t slice, uint64_t end) {
  while (slice < end && !is_marked(marked, slice)) {
    uint64_t rest = marked->bits[slice % MH_MARKS / 64] >> slice % 64;
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
