/* model.h: what units of the allocator share: a random sequence, patterns that tell whose a
   block is, a file heap for a test, a model of blocks to compare a heap with. Owns nothing. */
#ifndef MHEAP_TEST_MODEL_H
#define MHEAP_TEST_MODEL_H

#include <fcntl.h>

#include "mheap/mheap.h"
#include "test.h"

/* How many times the work of a short run: MHEAP_TEST_SCALE, 1 by default. */
static inline unsigned test_scale(void) {
  const char *text = getenv("MHEAP_TEST_SCALE");
  int scale = text != NULL ? atoi(text) : 1;
  return scale > 0 ? (unsigned)scale : 1;
}

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TEST_UNDER_TSAN true
#endif
#endif
#if defined(__SANITIZE_THREAD__) && !defined(TEST_UNDER_TSAN)
#define TEST_UNDER_TSAN true
#endif
#ifndef TEST_UNDER_TSAN
#define TEST_UNDER_TSAN false
#endif

/* ---- random numbers: splitmix64, so that a seed is a run ---- */

static inline uint64_t random_next(uint64_t *state) {
  uint64_t z = (*state += 0x9e3779b97f4a7c15u);
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

static inline uint64_t random_below(uint64_t *state, uint64_t bound) { return random_next(state) % bound; }

/* Mostly small; now and then as large as the allocator has kinds for, up to `most`. */
static inline size_t random_size(uint64_t *state, size_t most) {
  size_t bits = 4 + random_below(state, 7);
  uint64_t kind = random_below(state, 100);
  if (kind >= 90) bits = 10 + random_below(state, 7);
  if (kind >= 98) bits = 16 + random_below(state, 6);
  if (kind >= 99) bits = 21 + random_below(state, 3);
  size_t size = random_below(state, ((size_t)1 << bits) + 1);
  return size < most ? size : random_below(state, most + 1);
}

/* ---- patterns ---------------------------------------------------------------------
   Byte i of a block depends on its seed and i alone, so a prefix can be checked. Of what is
   beyond the first page only the first bytes of each page, and the block's last, are used:
   where two blocks overlap, they do so by pages. */

static inline uint8_t pattern_byte(uint64_t seed, uint64_t i) {
  uint64_t z = (seed ^ i / 8) * 0xbf58476d1ce4e5b9u;
  return (uint8_t)((z ^ z >> 29) >> (i % 8 * 8));
}

static inline size_t pattern_after(size_t i) { return i < 4096 || (i & 4095) < 15 ? i + 1 : (i | 4095) + 1; }

static inline void pattern_fill(void *block, size_t size, uint64_t seed) {
  uint8_t *bytes = block;
  for (size_t i = 0; i < size; i = pattern_after(i)) bytes[i] = pattern_byte(seed, i);
  for (size_t i = size > 16 ? size - 16 : 0; i < size; i++) bytes[i] = pattern_byte(seed, i);
}

/* The first `size` bytes of a block filled with at least as many. */
static inline bool pattern_is_prefix(const void *block, size_t size, uint64_t seed) {
  const uint8_t *bytes = block;
  for (size_t i = 0; i < size; i = pattern_after(i))
    if (bytes[i] != pattern_byte(seed, i)) return false;
  return true;
}

static inline bool pattern_is(const void *block, size_t size, uint64_t seed) {
  const uint8_t *bytes = block;
  for (size_t i = size > 16 ? size - 16 : 0; i < size; i++)
    if (bytes[i] != pattern_byte(seed, i)) return false;
  return pattern_is_prefix(block, size, seed);
}

/* ---- heaps ---- */

/* Attaches the file `name` of this program's directory, or says why not and ends the program. */
static inline mheap *heap_at(const char *path, const mheap_options *options) {
  mheap_error error;
  mheap *heap = mheap_open(path, options, &error);
  if (heap != NULL) return heap;
  fprintf(stderr, "%s\n", error.text);
  exit(2);
}

static inline void heap_print_finding(void *arg, const mheap_finding *finding) {
  (void)arg;
  if (finding->severity > 0)
    fprintf(stderr, "finding: %s at 0x%llx: %s\n", finding->what, (unsigned long long)finding->offset,
            finding->text);
}

static inline bool heap_is_sound(mheap *heap) {
  return mheap_check(heap, heap_print_finding, NULL, NULL) == MHEAP_OK;
}

static inline uint64_t heap_size(mheap *heap) {
  mheap_info info;
  return mheap_get_info(heap, &info) == MHEAP_OK ? info.size : 0;
}

static inline uint64_t heap_blocks(mheap *heap) {
  static mheap_stats stats; /* large; one thread at a time asks */
  return mheap_get_stats(heap, &stats) == MHEAP_OK ? stats.chunks_used : UINT64_MAX;
}

static inline bool heap_detach(mheap *heap) {
  mheap_error error;
  if (mheap_detach(heap, &error) == MHEAP_OK) return true;
  fprintf(stderr, "%s\n", error.text);
  return false;
}

#define HEAP_MIN ((uint64_t)128 * 1024) /* an empty heap: the superblock's slice and a segment's header */

/* ---- blocks, as offsets, so that they outlive an attach ---- */

typedef struct model_block {
  uint64_t offset; /* from the region's start; 0: none */
  uint64_t size;   /* as asked for */
  uint64_t seed;   /* of its pattern */
} model_block;

static inline char *heap_base(mheap *heap) {
  mheap_info info;
  return mheap_get_info(heap, &info) == MHEAP_OK ? (char *)info.base : NULL;
}

#endif
