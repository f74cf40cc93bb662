/* test_heap.c: units of malloc, calloc, realloc, memalign and free, by one thread: sizes,
   alignment, growth, return of space, and long random sequences against a model. */
#include <sys/mman.h>
#include <sys/stat.h>

#include "model.h"

#define KIB ((size_t)1024)
#define MIB ((size_t)1024 * 1024)
#define SLICE (64 * KIB)
#define SEGMENT (4 * MIB)
#define SPAN_MAX (63 * SLICE) /* the largest span within a segment */

static mheap *fresh(const char *name) { return heap_at(test_path(name), NULL); }

static uint64_t file_size(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* ---- sizes ---- */

static void good_size_is_close_to_what_was_asked(void) {
  size_t before = 0;
  for (size_t n = 1; n <= 70000; n++) {
    size_t good = mheap_good_size(n);
    size_t most = n <= 128 ? n + 15 : n <= 64 * KIB ? n + n / 8 + 1 : n + 4095;
    if (!CHECK(good >= n && good <= most && good % 16 == 0)) return;
    if (!CHECK(good >= before && mheap_good_size(good) == good)) return;
    before = good;
  }
  CHECK_EQ(mheap_good_size(0), 16);
  CHECK_EQ(mheap_good_size(SPAN_MAX), SPAN_MAX);
  CHECK_EQ(mheap_good_size(SPAN_MAX + 1), SPAN_MAX + 4096);
  CHECK_EQ(mheap_good_size(SIZE_MAX), 0);
}

static void check_one_size(mheap *heap, size_t size) {
  char *block = mheap_malloc(heap, size);
  if (!CHECK(block != NULL)) return;
  CHECK_EQ((uintptr_t)block % 16, 0);
  size_t usable = mheap_usable_size(heap, block);
  CHECK_EQ(usable, mheap_good_size(size));
  pattern_fill(block, usable, size);
  CHECK(pattern_is(block, usable, size));
  CHECK_EQ(mheap_free(heap, block), MHEAP_OK);
}

static void every_class_and_its_boundaries(void) {
  mheap *heap = fresh("classes.heap");
  static mheap_stats stats;
  REQUIRE_EQ(mheap_get_stats(heap, &stats), MHEAP_OK);
  for (int c = 0; c < MHEAP_CLASSES; c++) {
    size_t size = stats.classes[c].block_size;
    REQUIRE(size != 0);
    for (size_t n = size - 1; n <= size + 1; n++) check_one_size(heap, n);
    CHECK_EQ(mheap_good_size(size), size);
  }
  CHECK_EQ(heap_blocks(heap), 0);
  CHECK(heap_is_sound(heap));
  CHECK(heap_detach(heap));
}

/* A slab of each class is filled to its last block, and one block more: none overlaps another. */
static void every_class_fills_its_slab(void) {
  mheap *heap = fresh("fill.heap");
  static mheap_stats stats;
  REQUIRE_EQ(mheap_get_stats(heap, &stats), MHEAP_OK);
  for (int c = 0; c < MHEAP_CLASSES; c++) {
    size_t size = stats.classes[c].block_size;
    enum { MOST = 4097 };
    static char *blocks[MOST];
    size_t count = 8 * SLICE / size + 1 < MOST ? 8 * SLICE / size + 1 : MOST;
    for (size_t i = 0; i < count; i++) {
      REQUIRE((blocks[i] = mheap_malloc(heap, size)) != NULL);
      pattern_fill(blocks[i], size, i);
    }
    CHECK_EQ(heap_blocks(heap), count);
    for (size_t i = 0; i < count; i++) {
      CHECK(pattern_is(blocks[i], size, i));
      CHECK_EQ(mheap_free(heap, blocks[i]), MHEAP_OK);
    }
  }
  CHECK(heap_is_sound(heap));
  CHECK(heap_detach(heap));
  CHECK_EQ(file_size(test_path("fill.heap")), HEAP_MIN);
}

static void spans_and_huge_blocks_at_their_boundaries(void) {
  const size_t sizes[] = {64 * KIB,     64 * KIB + 1, 128 * KIB,   SPAN_MAX - 1,    SPAN_MAX,
                          SPAN_MAX + 1, SEGMENT,      SEGMENT + 1, 2 * SEGMENT - 1, 2 * SEGMENT + 4097};
  mheap *heap = fresh("large.heap");
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    char *block = mheap_malloc(heap, sizes[i]);
    REQUIRE(block != NULL);
    CHECK_EQ(mheap_usable_size(heap, block), mheap_good_size(sizes[i]));
    CHECK_EQ((uintptr_t)block % SLICE, 0);
    pattern_fill(block, mheap_good_size(sizes[i]), i);
    CHECK(pattern_is(block, mheap_good_size(sizes[i]), i));
    CHECK_EQ(heap_blocks(heap), 1);
    CHECK(heap_is_sound(heap));
    CHECK_EQ(mheap_free(heap, block), MHEAP_OK);
  }
  CHECK(heap_detach(heap));
  CHECK_EQ(file_size(test_path("large.heap")), HEAP_MIN);
}

static void size_zero_is_a_block_of_its_own(void) {
  mheap *heap = fresh("zero.heap");
  char *a = mheap_malloc(heap, 0), *b = mheap_malloc(heap, 0), *c = mheap_calloc(heap, 0, 8);
  CHECK(a != NULL && b != NULL && c != NULL && a != b && b != c && a != c);
  CHECK_EQ(mheap_usable_size(heap, a), 16);
  CHECK_EQ(heap_blocks(heap), 3);
  char *moved = mheap_realloc(heap, mheap_malloc(heap, 1000), 0);
  CHECK(moved != NULL && mheap_usable_size(heap, moved) == 16);
  CHECK_EQ(heap_blocks(heap), 4);
  CHECK_EQ(mheap_free(heap, NULL), MHEAP_OK);
  CHECK_EQ(mheap_usable_size(heap, NULL), 0);
  CHECK(heap_detach(heap));
}

static bool is_zero(const char *bytes, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (bytes[i] != 0) return false;
  return true;
}

static void calloc_clears_what_was_used_before(void) {
  const size_t sizes[] = {16, 100, 1024, 5000, 60000, 200 * KIB, 5 * MIB};
  mheap *heap = fresh("calloc.heap");
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    char *dirty = mheap_malloc(heap, sizes[i]);
    memset(dirty, 0xff, sizes[i]);
    char *keep = mheap_malloc(heap, 16); /* so that the space is not just given back */
    mheap_free(heap, dirty);
    for (int n = 0; n < 3; n++) {
      char *block = mheap_calloc(heap, 1, sizes[i]);
      REQUIRE(block != NULL);
      CHECK(is_zero(block, sizes[i]));
      memset(block, 0xff, sizes[i]);
      mheap_free(heap, block);
    }
    mheap_free(heap, keep);
  }
  CHECK(heap_detach(heap));
}

/* ---- realloc ---- */

static void realloc_stays_within_a_class(void) {
  mheap *heap = fresh("stay.heap");
  char *block = mheap_malloc(heap, 1000);
  CHECK(mheap_realloc(heap, block, mheap_good_size(1000)) == block);
  CHECK(mheap_realloc(heap, block, 600) == block);
  char *smaller = mheap_realloc(heap, block, 100);
  CHECK(smaller != NULL && mheap_usable_size(heap, smaller) == mheap_good_size(100));
  CHECK_EQ(heap_blocks(heap), 1);
  CHECK(heap_detach(heap));
}

/* Through every kind and back, the contents come along. */
static void realloc_keeps_the_contents(void) {
  const size_t sizes[] = {1,       40,       500,          1025,     30000,       70 * KIB, 3 * MIB, 5 * MIB,
                          9 * MIB, 5 * MIB,  65 * KIB,     64 * KIB, 1024,        17,       0,       4 * MIB,
                          100,     SPAN_MAX, SPAN_MAX + 1, SPAN_MAX, 2 * SEGMENT, 16};
  mheap *heap = fresh("realloc.heap");
  size_t size = 16;
  char *block = mheap_realloc(heap, NULL, size);
  pattern_fill(block, size, 0);
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    char *moved = mheap_realloc(heap, block, sizes[i]);
    REQUIRE(moved != NULL);
    CHECK(pattern_is_prefix(moved, size < sizes[i] ? size : sizes[i], i));
    CHECK(mheap_usable_size(heap, moved) >= sizes[i]);
    block = moved;
    size = sizes[i];
    pattern_fill(block, size, i + 1);
    CHECK_EQ(heap_blocks(heap), 1);
  }
  CHECK(heap_is_sound(heap));
  CHECK(heap_detach(heap));
}

static void a_span_grows_into_free_neighbours_and_shrinks(void) {
  mheap *heap = fresh("span.heap");
  char *a = mheap_malloc(heap, 3 * SLICE), *b = mheap_malloc(heap, 4 * SLICE),
       *c = mheap_malloc(heap, 2 * SLICE);
  REQUIRE(a != NULL && b == a + 3 * SLICE && c == b + 4 * SLICE);
  pattern_fill(a, 3 * SLICE, 1);
  pattern_fill(c, 2 * SLICE, 3);
  mheap_free(heap, b);
  CHECK(mheap_realloc(heap, a, 7 * SLICE) == a);
  pattern_fill(a, 7 * SLICE, 1);
  CHECK(pattern_is(c, 2 * SLICE, 3));
  char *moved = mheap_realloc(heap, a, 7 * SLICE + 1); /* c is in the way */
  CHECK(moved != NULL && moved != a && pattern_is_prefix(moved, 7 * SLICE, 1));
  CHECK(mheap_realloc(heap, moved, 2 * SLICE) == moved);
  CHECK_EQ(mheap_usable_size(heap, moved), 2 * SLICE);
  char *fits = mheap_malloc(heap, 5 * SLICE); /* what the shrunken one left, or what a left */
  CHECK(fits == a || fits == moved + 2 * SLICE);
  CHECK(pattern_is_prefix(moved, 2 * SLICE, 1) && pattern_is(c, 2 * SLICE, 3));
  CHECK_EQ(heap_blocks(heap), 3);
  CHECK(heap_is_sound(heap));
  CHECK(heap_detach(heap));
}

static void a_huge_block_grows_and_shrinks_in_place(void) {
  mheap *heap = fresh("huge.heap");
  char *a = mheap_malloc(heap, 5 * MIB);
  pattern_fill(a, 5 * MIB, 1);
  CHECK(mheap_realloc(heap, a, 6 * MIB) == a);
  CHECK(mheap_realloc(heap, a, 21 * MIB) == a);
  CHECK_EQ(mheap_usable_size(heap, a), 21 * MIB);
  CHECK(pattern_is_prefix(a, 5 * MIB, 1));
  pattern_fill(a, 21 * MIB, 2);
  char *behind = mheap_malloc(heap, 5 * MIB);
  CHECK(behind > a + 21 * MIB || behind < a);
  CHECK(mheap_realloc(heap, a, 9 * MIB) == a);
  CHECK(pattern_is_prefix(a, 9 * MIB, 2));
  char *fits = mheap_malloc(heap, 12 * MIB); /* in what was given back */
  CHECK(fits > a && fits < behind);
  CHECK(heap_is_sound(heap));
  CHECK_EQ(heap_blocks(heap), 3);
  mheap_free(heap, fits);
  mheap_free(heap, behind);
  mheap_free(heap, a);
  CHECK(heap_detach(heap));
  CHECK_EQ(file_size(test_path("huge.heap")), HEAP_MIN);
}

/* ---- alignment ---- */

static void memalign_gives_every_power_of_two(void) {
  mheap *heap = fresh("align.heap");
  const size_t sizes[] = {1, 17, 100, 3000, 64 * KIB, 100 * KIB, 5 * MIB};
  for (size_t alignment = 1; alignment <= 64 * MIB; alignment *= 2) {
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
      char *block = mheap_memalign(heap, alignment, sizes[i]),
           *other = mheap_memalign(heap, alignment, sizes[i]);
      REQUIRE(block != NULL && other != NULL && block != other);
      CHECK_EQ((uintptr_t)block % alignment, 0);
      CHECK_EQ((uintptr_t)other % alignment, 0);
      size_t usable = mheap_usable_size(heap, block);
      CHECK(usable >= sizes[i]);
      pattern_fill(block, usable, 1);
      pattern_fill(other, usable, 2);
      CHECK(pattern_is(block, usable, 1));
      CHECK_EQ(mheap_free(heap, block), MHEAP_OK);
      CHECK_EQ(mheap_free(heap, other), MHEAP_OK);
    }
  }
  CHECK_EQ(heap_blocks(heap), 0);
  CHECK(heap_is_sound(heap));
  CHECK(heap_detach(heap));
  CHECK_EQ(file_size(test_path("align.heap")), HEAP_MIN);
}

/* Wherever the heap is attached next, also where its base is taken. */
static void alignment_outlives_the_attach(void) {
  const char *path = test_path("aligned.heap");
  uint64_t offsets[30];
  mheap *heap = heap_at(path, NULL);
  for (int bits = 4; bits <= 26; bits++) {
    char *block = mheap_memalign(heap, (size_t)1 << bits, 100);
    REQUIRE(block != NULL);
    strcpy(block, "aligned");
    offsets[bits] = (uint64_t)(block - heap_base(heap));
  }
  char *base = heap_base(heap);
  REQUIRE(heap_detach(heap));
  void *taken = mmap(base, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  for (int turn = 0; turn < 2; turn++) {
    heap = heap_at(path, &(mheap_options){.relocate = turn == 0});
    if (turn == 0) CHECK(heap_base(heap) != base);
    for (int bits = 4; bits <= 26; bits++) {
      char *block = heap_base(heap) + offsets[bits];
      CHECK_EQ((uintptr_t)block % ((uintptr_t)1 << bits), 0);
      CHECK_STR(block, "aligned");
    }
    CHECK(heap_is_sound(heap));
    REQUIRE(heap_detach(heap));
    if (turn == 0) munmap(taken, 4096);
  }
}

/* ---- space ---- */

static void free_neighbours_become_one_run(void) {
  enum { COUNT = 40 };
  char *spans[COUNT];
  mheap *heap = fresh("coalesce.heap");
  for (int i = 0; i < COUNT; i++) REQUIRE((spans[i] = mheap_malloc(heap, SLICE + 1)) != NULL);
  uint64_t size = heap_size(heap);
  for (int i = 0; i < COUNT; i += 2) mheap_free(heap, spans[i]);
  CHECK(heap_is_sound(heap));
  for (int i = 1; i < COUNT; i += 2) mheap_free(heap, spans[i]);
  char *run = mheap_malloc(heap, SPAN_MAX); /* more than half of all that was freed, in one */
  CHECK(run != NULL);
  CHECK_EQ(heap_size(heap), size);
  CHECK(heap_detach(heap));
}

/* How many of the next blocks are in this slab, one after the other. */
static size_t next_blocks_in(mheap *heap, const char *slab, size_t size, size_t most) {
  for (size_t count = 0; count < most; count++) {
    const char *block = mheap_malloc(heap, size);
    if (block < slab || block >= slab + SLICE) return count;
  }
  return most;
}

/* Three slabs of 64 blocks, in each of which some are freed: the one that is handed out from last. */
static void a_slab_with_few_free_blocks_waits_for_those_with_many(void) {
  enum { SIZE = 1024, BLOCKS = 64, SLABS = 3 };
  char *blocks[SLABS][BLOCKS];
  mheap *heap = fresh("waits.heap");
  for (int s = 0; s < SLABS; s++)
    for (int i = 0; i < BLOCKS; i++) REQUIRE((blocks[s][i] = mheap_malloc(heap, SIZE)) != NULL);
  uint64_t size = file_size(test_path("waits.heap"));
  for (int i = 0; i < 40; i++) CHECK_EQ(mheap_free(heap, blocks[0][i]), MHEAP_OK);
  for (int i = 0; i < 3; i++) CHECK_EQ(mheap_free(heap, blocks[SLABS - 1][i]), MHEAP_OK);
  CHECK_EQ(next_blocks_in(heap, blocks[0][0], SIZE, 40), 40);
  CHECK_EQ(next_blocks_in(heap, blocks[SLABS - 1][0], SIZE, 3), 3);
  CHECK_EQ(file_size(test_path("waits.heap")), size);
  CHECK_EQ(heap_blocks(heap), SLABS * BLOCKS);
  CHECK(heap_is_sound(heap));
  CHECK(heap_detach(heap));
}

/* The blocks of slabs, freed in an order that leaves each half empty first. */
static void empty_slabs_become_a_run(void) {
  enum { COUNT = 3000 };
  static char *blocks[COUNT];
  mheap *heap = fresh("slabs.heap");
  for (int i = 0; i < COUNT; i++) REQUIRE((blocks[i] = mheap_malloc(heap, 1024)) != NULL);
  uint64_t size = heap_size(heap);
  for (int i = 0; i < COUNT; i += 2) mheap_free(heap, blocks[i]);
  for (int i = 1; i < COUNT; i += 2) mheap_free(heap, blocks[i]);
  CHECK(mheap_malloc(heap, 2 * MIB + 500 * KIB) != NULL);
  CHECK_EQ(heap_size(heap), size);
  CHECK(heap_is_sound(heap));
  CHECK(heap_detach(heap));
}

static void collect_returns_the_tail_of_the_file(void) {
  enum { COUNT = 20000 };
  static char *blocks[COUNT];
  const char *path = test_path("tail.heap");
  mheap *heap = heap_at(path, NULL);
  char *first = mheap_malloc(heap, 100);
  for (int i = 0; i < COUNT; i++) REQUIRE((blocks[i] = mheap_malloc(heap, 1000)) != NULL);
  REQUIRE(file_size(path) > 16 * MIB);
  for (int i = 0; i < COUNT; i++) CHECK_EQ(mheap_free(heap, blocks[i]), MHEAP_OK);
  CHECK_EQ(mheap_collect(heap, true), MHEAP_OK);
  CHECK(file_size(path) <= 256 * KIB);
  CHECK_EQ(file_size(path), heap_size(heap));
  CHECK_EQ(mheap_free(heap, first), MHEAP_OK);
  CHECK_EQ(mheap_collect(heap, false), MHEAP_OK);
  CHECK_EQ(file_size(path), HEAP_MIN);
  CHECK(heap_is_sound(heap));
  CHECK(mheap_malloc(heap, 20 * MIB) != NULL);
  CHECK(heap_detach(heap));
}

/* An attach that ended without a detach left an empty slab: nobody uses its segment now. */
static void forced_collect_finds_what_an_earlier_attach_left(void) {
  const char *path = test_path("left.heap");
  mheap *heap = heap_at(path, NULL);
  CHECK_EQ(mheap_free(heap, mheap_malloc(heap, 50000)), MHEAP_OK);
  mheap_abandon(heap);
  CHECK(file_size(path) > HEAP_MIN);
  heap = heap_at(path, NULL);
  CHECK_EQ(mheap_collect(heap, true), MHEAP_OK);
  CHECK_EQ(file_size(path), HEAP_MIN);
  CHECK(heap_is_sound(heap));
  CHECK(heap_detach(heap));
}

static void forced_collect_punches_holes(void) {
  const char *path = test_path("holes.heap");
  mheap *heap = heap_at(path, NULL);
  char *a = mheap_malloc(heap, 20 * MIB), *b = mheap_malloc(heap, 2 * MIB),
       *last = mheap_malloc(heap, 5 * MIB);
  memset(a, 1, 20 * MIB);
  memset(b, 1, 2 * MIB);
  pattern_fill(last, 5 * MIB, 7);
  mheap_info info;
  mheap_get_info(heap, &info);
  uint64_t full = info.disk_size;
  mheap_free(heap, a);
  mheap_free(heap, b);
  CHECK_EQ(mheap_collect(heap, true), MHEAP_OK);
  mheap_get_info(heap, &info);
  CHECK(info.disk_size + 22 * MIB <= full + SLICE);
  CHECK(pattern_is(last, 5 * MIB, 7));
  char *again = mheap_calloc(heap, 1, 21 * MIB);
  CHECK(again != NULL);
  memset(again, 2, 21 * MIB);
  CHECK(heap_is_sound(heap));
  CHECK(heap_detach(heap));
}

/* The space of segments given back one by one, from the end and from the middle, can be taken
   by a huge block that grows over it, and slabs freed afterwards take nothing of it. */
static void a_huge_block_may_grow_over_returned_segments(void) {
  enum { SPANS = 8 };
  char *spans[SPANS];
  mheap *heap = fresh("over.heap");
  char *keep = mheap_malloc(heap, SPAN_MAX), *huge = mheap_malloc(heap, 5 * MIB);
  for (int i = 0; i < SPANS; i++) REQUIRE((spans[i] = mheap_malloc(heap, SPAN_MAX)) != NULL);
  for (int i = SPANS - 1; i >= 0; i--) CHECK_EQ(mheap_free(heap, spans[i]), MHEAP_OK);
  huge = mheap_realloc(heap, huge, 30 * MIB);
  REQUIRE(huge != NULL);
  pattern_fill(huge, 30 * MIB, 5);
  for (int i = 0; i < 4; i++) REQUIRE((spans[i] = mheap_malloc(heap, SPAN_MAX)) != NULL);
  for (int i = 0; i < 4; i++) CHECK_EQ(mheap_free(heap, spans[i]), MHEAP_OK);
  CHECK(pattern_is(huge, 30 * MIB, 5));
  CHECK_EQ(mheap_usable_size(heap, huge), 30 * MIB);
  CHECK(heap_is_sound(heap));
  CHECK_EQ(heap_blocks(heap), 2);
  CHECK_EQ(mheap_free(heap, huge), MHEAP_OK);
  CHECK_EQ(mheap_free(heap, keep), MHEAP_OK);
  CHECK(heap_detach(heap));
}

static size_t fill_up(mheap *heap, void **blocks, size_t most, size_t size) {
  size_t count = 0;
  while (count < most && (blocks[count] = mheap_malloc(heap, size)) != NULL) count++;
  return count;
}

/* The same number of blocks fits each time, so nothing is lost on the way. */
static void a_full_heap_is_usable_and_loses_nothing(void) {
  const size_t sizes[] = {16, 1000, 40000, 300 * KIB, 3 * MIB, 9 * MIB};
  enum { MOST = 3000000 };
  void **blocks = malloc(MOST * sizeof *blocks);
  mheap *heap = heap_at(test_path("full.heap"), &(mheap_options){.max_size = 40 * MIB});
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    size_t first = 0;
    for (int turn = 0; turn < 3; turn++) {
      size_t count = fill_up(heap, blocks, MOST, sizes[i]);
      CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_FULL);
      CHECK(count * sizes[i] > (sizes[i] > MIB ? 17 : 32) * MIB);
      if (turn == 0) first = count;
      CHECK_EQ(count, first);
      CHECK(heap_is_sound(heap));
      for (size_t n = 0; n < count; n++) CHECK_EQ(mheap_free(heap, blocks[n]), MHEAP_OK);
      CHECK_EQ(heap_blocks(heap), 0);
    }
  }
  CHECK(heap_detach(heap));
  CHECK_EQ(file_size(test_path("full.heap")), HEAP_MIN);
  free(blocks);
}

/* Free blocks in slabs made by an earlier attach are used before the file grows. */
static void a_later_attach_uses_the_holes(void) {
  enum { COUNT = 4000 };
  static uint64_t offsets[COUNT];
  const char *path = test_path("reuse.heap");
  mheap *heap = heap_at(path, NULL);
  for (int i = 0; i < COUNT; i++) offsets[i] = (uint64_t)((char *)mheap_malloc(heap, 500) - heap_base(heap));
  for (int i = 0; i < COUNT; i += 2) mheap_free(heap, heap_base(heap) + offsets[i]);
  REQUIRE(heap_detach(heap));
  uint64_t size = file_size(path);
  heap = heap_at(path, &(mheap_options){.must_exist = true});
  CHECK_EQ(heap_blocks(heap), COUNT / 2);
  for (int i = 0; i < COUNT; i += 2) CHECK(mheap_malloc(heap, 500) != NULL);
  CHECK_EQ(heap_size(heap), size);
  CHECK_EQ(heap_blocks(heap), COUNT);
  CHECK(heap_is_sound(heap));
  REQUIRE(heap_detach(heap));
}

static bool is_nowhere(void *arg, const char *name, size_t length, void *block) {
  (void)name;
  *(int *)arg += length == 4 && block == NULL;
  return true;
}

/* Beyond 16 GiB the segment map needs parts of its own; most of this file is a hole. */
static void a_heap_larger_than_the_first_part_of_the_map(void) {
  const size_t far = (size_t)16 << 30;
  const char *path = test_path("large.heap");
  mheap *heap = heap_at(path, NULL);
  char *near = mheap_memalign(heap, far, 100), *block = mheap_memalign(heap, far, 5 * MIB);
  REQUIRE(near != NULL && block != NULL);
  CHECK((uintptr_t)block % far == 0 && block >= near + far);
  pattern_fill(near, 100, 1);
  pattern_fill(block, 5 * MIB, 2);
  uint64_t offset = (uint64_t)(block - heap_base(heap)), near_offset = (uint64_t)(near - heap_base(heap));
  CHECK(mheap_realloc(heap, block, 30 * MIB) == block);
  for (int turn = 0; turn < 3; turn++) {
    if (turn == 1) mheap_abandon(heap);
    else REQUIRE(heap_detach(heap));
    heap = heap_at(path, NULL);
    near = heap_base(heap) + near_offset;
    block = heap_base(heap) + offset;
    CHECK(pattern_is(near, 100, 1) && pattern_is_prefix(block, 5 * MIB, 2));
    CHECK_EQ(mheap_usable_size(heap, block), 30 * MIB);
    CHECK_EQ(heap_blocks(heap), 2);
    CHECK(heap_is_sound(heap));
    char *another = mheap_malloc(heap, 9 * MIB);
    CHECK(another != NULL && another != block);
    CHECK_EQ(mheap_free(heap, another), MHEAP_OK);
  }
  CHECK_EQ(mheap_free(heap, block), MHEAP_OK);
  CHECK_EQ(mheap_free(heap, near), MHEAP_OK);
  CHECK(mheap_malloc(heap, 5000) != NULL);
  CHECK(heap_is_sound(heap));
  CHECK(heap_detach(heap));
  CHECK(file_size(path) < MIB);
}

/* A key, or a name, that outlives its block is the user's mistake, not a contradiction. */
static void keys_of_freed_blocks_are_no_corruption(void) {
  mheap *heap = fresh("keys.heap");
  char *block = mheap_malloc(heap, 5 * MIB);
  CHECK_EQ(mheap_setkey(heap, 3, block), MHEAP_OK);
  CHECK_EQ(mheap_setroot(heap, "name", 4, block), MHEAP_OK);
  CHECK(mheap_getkey(heap, 3) == block && mheap_getroot(heap, "name", 4) == block);
  CHECK_EQ(mheap_free(heap, block), MHEAP_OK);
  CHECK_EQ(mheap_collect(heap, true), MHEAP_OK);
  CHECK(mheap_getkey(heap, 3) == NULL);
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_POINTER);
  CHECK(mheap_getroot(heap, "name", 4) == NULL);
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_POINTER);
  int nowhere = 0;
  CHECK_EQ(mheap_visit_roots(heap, is_nowhere, &nowhere), MHEAP_OK);
  CHECK_EQ(nowhere, 1);
  CHECK(heap_is_sound(heap));
  CHECK_EQ(mheap_setroot(heap, "name", 4, NULL), MHEAP_OK);
  CHECK_EQ(mheap_setkey(heap, 3, NULL), MHEAP_OK);
  CHECK(heap_detach(heap));
}

/* ---- long random sequences ---- */

#define SLOTS 600

typedef struct walk {
  const char *path;
  mheap_options options;
  mheap *heap;
  uint64_t random;
  size_t most;   /* bytes in a block */
  unsigned live; /* blocks in use */
  model_block blocks[SLOTS];
} walk;

static void *at(walk *w, model_block *block) { return heap_base(w->heap) + block->offset; }

static void put(walk *w, model_block *block, void *address, size_t size) {
  if (block->offset == 0) w->live++;
  block->offset = (uint64_t)((char *)address - heap_base(w->heap));
  block->size = size;
  block->seed = random_next(&w->random);
  pattern_fill(address, size, block->seed);
}

static bool is_given(walk *w, const void *address) {
  if (CHECK(address != NULL)) return true;
  fprintf(stderr, "%s\n", mheap_last_error(w->heap)->text);
  return false;
}

static void step_allocate(walk *w, model_block *block) {
  size_t size = random_size(&w->random, w->most), alignment = (size_t)1 << random_below(&w->random, 18);
  void *address;
  switch (random_below(&w->random, 8)) {
    case 0: address = mheap_calloc(w->heap, size, 1); break;
    case 1: address = mheap_realloc(w->heap, NULL, size); break;
    case 2:
      address = mheap_memalign(w->heap, alignment, size);
      CHECK_EQ((uintptr_t)address % alignment, 0);
      break;
    default: address = mheap_malloc(w->heap, size);
  }
  if (!is_given(w, address)) return;
  CHECK(mheap_usable_size(w->heap, address) >= size);
  put(w, block, address, size);
}

static void step_resize(walk *w, model_block *block) {
  size_t size = random_size(&w->random, w->most), kept = size < block->size ? size : block->size;
  void *address = mheap_realloc(w->heap, at(w, block), size);
  if (!is_given(w, address)) return;
  CHECK(pattern_is_prefix(address, kept, block->seed));
  put(w, block, address, size);
}

static void step_free(walk *w, model_block *block) {
  CHECK(pattern_is(at(w, block), block->size, block->seed));
  CHECK_EQ(mheap_free(w->heap, at(w, block)), MHEAP_OK);
  block->offset = 0;
  w->live--;
}

static void step(walk *w) {
  model_block *block = &w->blocks[random_below(&w->random, SLOTS)];
  if (block->offset == 0) step_allocate(w, block);
  else if (random_below(&w->random, 4) == 0) step_resize(w, block);
  else step_free(w, block);
}

static void verify(walk *w) {
  CHECK_EQ(heap_blocks(w->heap), w->live);
  for (int i = 0; i < SLOTS; i++)
    if (w->blocks[i].offset != 0)
      CHECK(pattern_is(at(w, &w->blocks[i]), w->blocks[i].size, w->blocks[i].seed));
  CHECK(heap_is_sound(w->heap));
}

static void reattach(walk *w) {
  if (random_below(&w->random, 3) == 0) mheap_abandon(w->heap);
  else CHECK(heap_detach(w->heap));
  w->heap = heap_at(w->path, &w->options);
  verify(w);
}

static void free_everything(walk *w) {
  for (int i = 0; i < SLOTS; i++)
    if (w->blocks[i].offset != 0) step_free(w, &w->blocks[i]);
  CHECK_EQ(heap_blocks(w->heap), 0);
  CHECK_EQ(mheap_collect(w->heap, true), MHEAP_OK);
  CHECK_EQ(heap_size(w->heap), HEAP_MIN);
}

static void run_walk(walk *w, unsigned steps, unsigned reattach_every) {
  unsigned failures = test_failures;
  for (unsigned i = 1; i <= steps && test_failures == failures; i++) {
    step(w);
    if (i % 997 == 0) verify(w);
    if (i % 401 == 0) CHECK_EQ(mheap_collect(w->heap, i % 802 == 0), MHEAP_OK);
    if (reattach_every != 0 && i % reattach_every == 0) reattach(w);
  }
  if (test_failures != failures)
    fprintf(stderr, "this walk ended with the random state %llu\n", (unsigned long long)w->random);
  free_everything(w);
}

static walk *new_walk(const char *path, uint64_t seed, size_t most) {
  static walk w;
  memset(&w, 0, sizeof w);
  w.path = path;
  w.random = seed;
  w.most = most;
  return &w;
}

static void random_walk_through_reattach(void) {
  for (unsigned seed = 1; seed <= 4 * test_scale(); seed++) {
    walk *w = new_walk(test_path("walk.heap"), seed, seed % 2 != 0 ? 12 * MIB : 3000);
    w->heap = heap_at(w->path, &w->options);
    run_walk(w, 6000, seed % 2 != 0 ? 500 : 100);
    CHECK(heap_detach(w->heap));
    CHECK_EQ(file_size(w->path), HEAP_MIN);
  }
}

static void random_walk_in_anonymous_memory(void) {
  for (unsigned seed = 1; seed <= 2 * test_scale(); seed++) {
    walk *w = new_walk("", seed, 12 * MIB);
    REQUIRE((w->heap = mheap_attach(-1, NULL, NULL)) != NULL);
    run_walk(w, 6000, 0);
    CHECK(heap_detach(w->heap));
  }
}

static bool same_file(const char *a, const char *b) {
  char command[2200];
  snprintf(command, sizeof command, "cmp -s '%s' '%s'", a, b);
  return system(command) == 0;
}

/* Begins on what a file holds, and leaves the file as it was. */
static void random_walk_in_scratch_mode(void) {
  const char *path = test_path("scratch.heap"), *copy = test_path("copy.heap");
  char command[2200];
  mheap *heap = heap_at(path, NULL);
  for (int i = 0; i < 5000; i++) mheap_setkey(heap, i % 1024, mheap_malloc(heap, (size_t)i % 3000));
  REQUIRE(heap_detach(heap));
  snprintf(command, sizeof command, "cp '%s' '%s'", path, copy);
  REQUIRE(system(command) == 0);
  walk *w = new_walk(path, 9, 12 * MIB);
  w->heap = heap_at(path, &(mheap_options){.mode = MHEAP_MODE_SCRATCH});
  for (int i = 0; i < 5000; i++) step(w);
  CHECK_EQ(heap_blocks(w->heap), 5000 + w->live);
  CHECK(heap_is_sound(w->heap));
  CHECK(heap_detach(w->heap));
  CHECK(same_file(path, copy));
}

/* ---- what visit_blocks says ---- */

static bool add_block(void *arg, void *block, size_t usable) {
  uint64_t *sum = arg;
  sum[0]++;
  sum[1] += usable;
  sum[2] ^= (uint64_t)(uintptr_t)block;
  return true;
}

static void visit_blocks_sees_each_once(void) {
  mheap *heap = fresh("visit.heap");
  uint64_t random = 5, expected[3] = {0}, found[3] = {0};
  for (int i = 0; i < 3000; i++) {
    size_t size = random_size(&random, 9 * MIB);
    char *block = mheap_malloc(heap, size);
    if (i % 3 == 0) CHECK_EQ(mheap_free(heap, block), MHEAP_OK);
    else add_block(expected, block, mheap_good_size(size));
  }
  CHECK_EQ(mheap_visit_blocks(heap, add_block, found), MHEAP_OK);
  for (int i = 0; i < 3; i++) CHECK_EQ(found[i], expected[i]);
  CHECK(heap_detach(heap));
}

TEST_MAIN(TEST(good_size_is_close_to_what_was_asked), TEST(every_class_and_its_boundaries),
          TEST(every_class_fills_its_slab), TEST(spans_and_huge_blocks_at_their_boundaries),
          TEST(size_zero_is_a_block_of_its_own), TEST(calloc_clears_what_was_used_before),
          TEST(realloc_stays_within_a_class), TEST(realloc_keeps_the_contents),
          TEST(a_span_grows_into_free_neighbours_and_shrinks), TEST(a_huge_block_grows_and_shrinks_in_place),
          TEST(memalign_gives_every_power_of_two), TEST(alignment_outlives_the_attach),
          TEST(free_neighbours_become_one_run), TEST(empty_slabs_become_a_run),
          TEST(a_slab_with_few_free_blocks_waits_for_those_with_many),
          TEST(collect_returns_the_tail_of_the_file), TEST(forced_collect_finds_what_an_earlier_attach_left),
          TEST(forced_collect_punches_holes), TEST(a_huge_block_may_grow_over_returned_segments),
          TEST(a_full_heap_is_usable_and_loses_nothing), TEST(a_later_attach_uses_the_holes),
          TEST(a_heap_larger_than_the_first_part_of_the_map), TEST(keys_of_freed_blocks_are_no_corruption),
          TEST(random_walk_through_reattach), TEST(random_walk_in_anonymous_memory),
          TEST(random_walk_in_scratch_mode), TEST(visit_blocks_sees_each_once))
