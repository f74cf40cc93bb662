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
  }
}

/* Eight at a time, since nearly all are 0. */
void mh_marked_gather(void) {
  pthread_mutex_lock(&lock);
  for (uint64_t i = 0; i < MH_MARKS; i += 8) {
    uint64_t eight;
    memcpy(&eight, (const void *)&mh_marks[i], sizeof eight);
    for (uint64_t j = i; eight != 0 && j < i + 8; j++)
      if (atomic_exchange_explicit(&mh_marks[j], 0, memory_order_relaxed)) give(j);
  }
  pthread_mutex_unlock(&lock);
}

/* Under the lock, since another region's commit may be giving some. */
void mh_marked_clear(mh_marked *marked) {
  pthread_mutex_lock(&lock);
  memset(marked->bits, 0, sizeof marked->bits);
  pthread_mutex_unlock(&lock);
}

void mh_marked_take(mh_marked *marked, uint64_t taken[MH_MARKS / 64]) {
  pthread_mutex_lock(&lock);
  memcpy(taken, marked->bits, sizeof marked->bits);
  memset(marked->bits, 0, sizeof marked->bits);
  pthread_mutex_unlock(&lock);
}

void mh_marked_put_back(mh_marked *marked, const uint64_t taken[MH_MARKS / 64]) {
  pthread_mutex_lock(&lock);
  for (uint64_t i = 0; i < MH_MARKS / 64; i++) marked->bits[i] |= taken[i];
  pthread_mutex_unlock(&lock);
}

static bool is_marked(const mh_marked *marked, uint64_t slice) {
  uint64_t bit = slice & (MH_MARKS - 1);
  return marked->bits[bit / 64] >> bit % 64 & 1;
}

uint64_t mh_marked_next(const mh_marked *marked, uint64_t *from, uint64_t end) {
  uint64_t slice = *from, to;
  while (slice < end && !is_marked(marked, slice)) {
    bool blank = slice % 64 == 0 && marked->bits[(slice & (MH_MARKS - 1)) / 64] == 0;
    slice += blank ? 64 : 1;
  }
  *from = slice;
  for (to = slice; to < end && is_marked(marked, to);) to++;
  return slice < end ? to - slice : 0;
}
