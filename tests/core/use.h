/* use.h: one of every kind of call on a heap whose file may say anything. Nothing here
   believes what the heap returns, but that memory it hands out may be written. */
#ifndef MHEAP_TEST_USE_H
#define MHEAP_TEST_USE_H

#include "mheap/mheap.h"
#include "test.h"

enum { USE_SEEN = 64, USE_OWN = 24 };

typedef struct used {
  mheap *heap;
  unsigned count;
  uint64_t visits;
  void *seen[USE_SEEN];
  volatile uint64_t sum; /* so that reads are made */
} used;

static inline bool use_block(void *arg, void *block, size_t usable) {
  used *u = arg;
  const volatile char *bytes = block;
  if (usable > 0) u->sum += (uint64_t)bytes[0] + (uint64_t)bytes[usable - 1];
  if (u->count < USE_SEEN) u->seen[u->count++] = block;
  return ++u->visits < 100000;
}

static inline bool use_root(void *arg, const char *name, size_t length, void *block) {
  used *u = arg;
  for (size_t i = 0; i < length; i++) u->sum += (uint64_t)name[i];
  u->sum += (uint64_t)(uintptr_t)block;
  return ++u->visits < 100000;
}

static inline void use_finding(void *arg, const mheap_finding *finding) {
  used *u = arg;
  u->sum += strlen(finding->text) + strlen(finding->what);
}

static inline void use_inspect(used *u) {
  static mheap_stats stats;
  mheap_info info;
  mheap_get_info(u->heap, &info);
  mheap_get_stats(u->heap, &stats);
  mheap_visit_blocks(u->heap, use_block, u);
  mheap_visit_roots(u->heap, use_root, u);
  mheap_getroot(u->heap, "name", 4);
  mheap_check(u->heap, use_finding, NULL, u);
  for (int key = -1; key < 8; key++) {
    char *block = mheap_getkey(u->heap, key);
    if (block == NULL) continue;
    u->sum += (uint64_t)*(volatile char *)block;
    u->sum += mheap_usable_size(u->heap, block);
  }
  for (unsigned i = 0; i < u->count; i++) {
    u->sum += mheap_usable_size(u->heap, u->seen[i]);
    u->sum += mheap_usable_size(u->heap, (char *)u->seen[i] + 8);
  }
}

/* Sizes of small blocks, slabs of several slices, spans, huge spans. */
static inline size_t use_size(unsigned i) {
  static const size_t sizes[] = {1, 16, 64, 100, 1000, 1024, 3000, 5000, 20000, 65536, 70000, 200000, 24, 4200000};
  return sizes[i % (sizeof sizes / sizeof sizes[0])];
}

static inline void use_write(char *block, size_t size) {
  if (block == NULL) return;
  block[0] = block[size - 1] = 'x';
  if (size <= 4096) memset(block, 'y', size);
}

/* Gives back all that was seen, before anything is taken. */
static inline void use_free(used *u) {
  for (int key = 0; key < 8; key++) mheap_free(u->heap, mheap_getkey(u->heap, key));
  for (unsigned i = 0; i < u->count; i++) mheap_free(u->heap, u->seen[i]);
  mheap_collect(u->heap, true);
}

static inline void use_change(used *u) {
  char *own[USE_OWN];
  for (unsigned i = 0; i < USE_OWN; i++) {
    own[i] = i % 7 == 6 ? mheap_memalign(u->heap, (size_t)64 << (i % 12), use_size(i)) : mheap_malloc(u->heap, use_size(i));
    use_write(own[i], use_size(i));
  }
  for (unsigned i = 0; i < u->count; i++) {
    if (i % 3 == 0) u->seen[i] = mheap_realloc(u->heap, u->seen[i], use_size(i));
    if (i % 3 == 1) mheap_free(u->heap, u->seen[i]);
    if (i % 5 == 1) mheap_free(u->heap, u->seen[i]); /* once more: refused */
    if (i % 3 == 2) mheap_free(u->heap, (char *)u->seen[i] + 16);
  }
  mheap_setkey(u->heap, 5, own[3]);
  mheap_setroot(u->heap, "name", 4, own[4]);
  mheap_setroot(u->heap, "another", 7, own[5]);
  for (unsigned i = 0; i < USE_OWN; i += 2) mheap_free(u->heap, own[i]);
  for (unsigned i = 1; i < USE_OWN; i += 4) {
    char *moved = mheap_realloc(u->heap, own[i], use_size(i + 5));
    if (moved != NULL) use_write(moved, use_size(i + 5));
  }
  mheap_collect(u->heap, true);
}

/* Looks at everything, changes what can be changed, looks again. Returns, whatever was found.
   Odd turns free first, and every other of them looks at nothing before. */
static inline void use_heap(mheap *heap, bool change, uint64_t turn) {
  used u = {.heap = heap};
  if (!change || turn % 4 != 3) use_inspect(&u);
  if (!change) return;
  if (turn % 2 == 1) use_free(&u);
  use_change(&u);
  used again = {.heap = heap};
  use_inspect(&again);
  mheap_sync(heap);
}

#endif
