/* test_alloc_errors.c: units of what the allocator must refuse: blocks freed twice, pointers
   that are no block, sizes beyond any heap. Each refusal is named and changes nothing. */
#include <pthread.h>
#include <sys/mman.h>

#include "model.h"

#define KIB ((size_t)1024)
#define MIB ((size_t)1024 * 1024)
#define SLICE (64 * KIB)

static mheap *fresh(const char *name) { return heap_at(test_path(name), NULL); }

/* ---- what a refusal must leave: the same file, byte for byte ---- */

typedef struct image {
  size_t size;
  char *bytes;
} image;

static image take_image(mheap *heap) {
  image taken = {.size = heap_size(heap)};
  taken.bytes = malloc(taken.size);
  memcpy(taken.bytes, heap_base(heap), taken.size);
  return taken;
}

static bool is_unchanged(mheap *heap, image *before) {
  bool same = heap_size(heap) == before->size && memcmp(heap_base(heap), before->bytes, before->size) == 0;
  free(before->bytes);
  return same;
}

static void check_refusal(mheap *heap, void *block, mheap_err code) {
  image before = take_image(heap);
  CHECK_EQ(mheap_free(heap, block), code);
  const mheap_error *error = mheap_last_error(heap);
  CHECK_EQ(error->code, code);
  CHECK_CONTAINS(error->text, "nothing was changed");
  CHECK_EQ(mheap_usable_size(heap, block), 0);
  CHECK_EQ(mheap_last_error(heap)->code, code);
  CHECK(mheap_realloc(heap, block, 100) == NULL);
  CHECK_EQ(mheap_last_error(heap)->code, code);
  CHECK(is_unchanged(heap, &before));
}

/* ---- free twice ---- */

static const size_t sizes_of_all_kinds[] = {1,    16,    24,    100,   1024,    1025,
                                            5000, 40000, 65536, 65537, 1000000, 5000000};
#define KINDS (sizeof sizes_of_all_kinds / sizeof sizes_of_all_kinds[0])

static void a_block_is_freed_once(void) {
  mheap *heap = fresh("once.heap");
  for (size_t i = 0; i < KINDS; i++) {
    char *keep = mheap_malloc(heap, sizes_of_all_kinds[i]),
         *block = mheap_malloc(heap, sizes_of_all_kinds[i]);
    CHECK_EQ(mheap_free(heap, block), MHEAP_OK);
    check_refusal(heap, block, MHEAP_ERR_DOUBLE_FREE);
    check_refusal(heap, block, MHEAP_ERR_DOUBLE_FREE);
    CHECK_EQ(mheap_free(heap, keep), MHEAP_OK);
  }
  CHECK_EQ(heap_blocks(heap), 0);
  CHECK(heap_is_sound(heap));
  CHECK(heap_detach(heap));
}

static void the_second_free_is_seen_after_the_slab_went_back(void) {
  enum { COUNT = 2000 };
  static char *blocks[COUNT];
  mheap *heap = fresh("gone.heap");
  for (int i = 0; i < COUNT; i++) blocks[i] = mheap_malloc(heap, 512);
  for (int i = 0; i < COUNT; i++) CHECK_EQ(mheap_free(heap, blocks[i]), MHEAP_OK);
  CHECK_EQ(mheap_collect(heap, true), MHEAP_OK);
  for (int i = 0; i < COUNT; i += 97) check_refusal(heap, blocks[i], MHEAP_ERR_DOUBLE_FREE);
  CHECK_EQ(heap_blocks(heap), 0);
  CHECK(heap_detach(heap));
}

static void the_second_free_is_seen_after_a_reattach(void) {
  const char *path = test_path("again.heap");
  static char *blocks[KINDS];
  mheap *heap = heap_at(path, NULL);
  for (size_t i = 0; i < KINDS; i++) {
    mheap_malloc(heap, sizes_of_all_kinds[i]);
    blocks[i] = mheap_malloc(heap, sizes_of_all_kinds[i]);
  }
  for (size_t i = 0; i < KINDS; i++) CHECK_EQ(mheap_free(heap, blocks[i]), MHEAP_OK);
  REQUIRE(heap_detach(heap));
  heap = heap_at(path, NULL); /* at the same base, since addresses were handed out */
  for (size_t i = 0; i < KINDS; i++) {
    bool inside = blocks[i] < heap_base(heap) + heap_size(heap); /* of what was cut off nothing is known */
    CHECK_EQ(mheap_free(heap, blocks[i]), inside ? MHEAP_ERR_DOUBLE_FREE : MHEAP_ERR_POINTER);
  }
  CHECK_EQ(heap_blocks(heap), KINDS);
  CHECK(heap_is_sound(heap));
  CHECK(heap_detach(heap));
}

/* ---- ... by other threads ---- */

typedef struct batch {
  mheap *heap;
  void **blocks;
  size_t count;
  mheap_err expected;
} batch;

static void *free_batch(void *arg) {
  batch *work = arg;
  for (size_t i = 0; i < work->count; i++) CHECK_EQ(mheap_free(work->heap, work->blocks[i]), work->expected);
  return NULL;
}

static void in_another_thread(mheap *heap, void **blocks, size_t count, mheap_err expected) {
  batch work = {heap, blocks, count, expected};
  pthread_t thread;
  if (!CHECK(pthread_create(&thread, NULL, free_batch, &work) == 0)) return;
  pthread_join(thread, NULL);
}

static void a_block_that_another_thread_freed_is_free(void) {
  mheap *heap = fresh("other.heap");
  void *blocks[KINDS];
  for (int turn = 0; turn < 4; turn++) {
    for (size_t i = 0; i < KINDS; i++) blocks[i] = mheap_malloc(heap, sizes_of_all_kinds[i]);
    if (turn % 2 == 0) in_another_thread(heap, blocks, KINDS, MHEAP_OK);
    for (size_t i = 0; i < KINDS; i++)
      CHECK_EQ(mheap_free(heap, blocks[i]), turn % 2 == 0 ? MHEAP_ERR_DOUBLE_FREE : MHEAP_OK);
    in_another_thread(heap, blocks, KINDS, MHEAP_ERR_DOUBLE_FREE);
    for (size_t i = 0; i < KINDS; i++) CHECK_EQ(mheap_usable_size(heap, blocks[i]), 0);
    CHECK_EQ(heap_blocks(heap), 0);
    CHECK(heap_is_sound(heap));
  }
  CHECK(heap_detach(heap));
}

/* ---- pointers that are no block ---- */

static void a_pointer_into_a_block_is_not_the_block(void) {
  mheap *heap = fresh("interior.heap");
  for (size_t i = 0; i < KINDS; i++) {
    size_t size = sizes_of_all_kinds[i];
    char *block = mheap_malloc(heap, size);
    REQUIRE(block != NULL);
    const size_t into[] = {1, 8, 15, 16, size / 2, size - 1, SLICE, SLICE + 16, 4 * MIB};
    for (size_t n = 0; n < sizeof into / sizeof into[0]; n++)
      if (into[n] > 0 && into[n] < size) check_refusal(heap, block + into[n], MHEAP_ERR_POINTER);
    CHECK_EQ(mheap_free(heap, block), MHEAP_OK);
  }
  CHECK_EQ(heap_blocks(heap), 0);
  CHECK(heap_detach(heap));
}

static void bookkeeping_is_no_block(void) {
  mheap *heap = fresh("bookkeeping.heap");
  char *base = heap_base(heap), *block = mheap_malloc(heap, 100);
  const size_t offsets[] = {0, 16, 4096, 20480, 32768, SLICE, SLICE + 64, SLICE + 4096, 2 * SLICE - 16};
  for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++)
    check_refusal(heap, base + offsets[i], MHEAP_ERR_POINTER);
  mheap_info info;
  REQUIRE_EQ(mheap_get_info(heap, &info), MHEAP_OK);
  check_refusal(heap, base + info.max_size, MHEAP_ERR_POINTER);
  check_refusal(heap, base - 16, MHEAP_ERR_POINTER);
  check_refusal(heap, base + info.max_size - 16, MHEAP_ERR_POINTER);
  check_refusal(heap, base + info.size, MHEAP_ERR_POINTER); /* was never a block */
  CHECK_EQ(mheap_free(heap, block), MHEAP_OK);
  CHECK(heap_detach(heap));
}

static void the_end_of_a_slab_that_is_no_block(void) {
  mheap *heap = fresh("waste.heap");
  char *block = mheap_malloc(heap, 48); /* 65536 = 1365 × 48 + 16 */
  char *slab = (char *)((uintptr_t)block / SLICE * SLICE);
  check_refusal(heap, slab + SLICE - 16, MHEAP_ERR_POINTER);
  check_refusal(heap, slab + SLICE - 1, MHEAP_ERR_POINTER);
  check_refusal(heap, slab + 48 * 1000, MHEAP_ERR_DOUBLE_FREE); /* a block, never handed out */
  CHECK(heap_detach(heap));
}

static void foreign_pointers_are_refused(void) {
  mheap *heap = fresh("mine.heap"), *other = fresh("theirs.heap");
  int local;
  static int global;
  void *from_libc = malloc(100), *theirs = mheap_malloc(other, 100), *anonymous = mheap_malloc(NULL, 100);
  void *const pointers[] = {&local,
                            &global,
                            from_libc,
                            theirs,
                            anonymous,
                            (void *)16,
                            (void *)1,
                            (void *)-16,
                            (void *)UINTPTR_MAX,
                            (void *)((uintptr_t)1 << 63),
                            (void *)fresh};
  mheap_malloc(heap, 100);
  for (size_t i = 0; i < sizeof pointers / sizeof pointers[0]; i++)
    check_refusal(heap, pointers[i], MHEAP_ERR_POINTER);
  CHECK_EQ(mheap_free(NULL, theirs), MHEAP_ERR_POINTER);
  CHECK_EQ(mheap_free(other, theirs), MHEAP_OK);
  CHECK_EQ(mheap_free(NULL, anonymous), MHEAP_OK);
  free(from_libc);
  CHECK(heap_is_sound(heap) && heap_is_sound(other));
  CHECK(heap_detach(heap) && heap_detach(other));
}

/* Whatever address is freed, it is refused, or it was a block that the model knows. */
static void no_address_is_freed_by_mistake(void) {
  enum { COUNT = 300 };
  static char *blocks[COUNT];
  mheap *heap = fresh("sweep.heap");
  uint64_t random = 3;
  for (int i = 0; i < COUNT; i++) blocks[i] = mheap_malloc(heap, random_size(&random, 5 * MIB));
  uint64_t live = heap_blocks(heap), size = heap_size(heap) + 4 * MIB;
  char *base = heap_base(heap);
  for (unsigned n = 0; n < 200000 * test_scale(); n++) {
    char *address =
        base + random_below(&random, size / 16) * 16 + (n % 4 == 0 ? random_below(&random, 16) : 0);
    if (mheap_usable_size(heap, address) != 0) {
      bool known = false;
      for (int i = 0; i < COUNT; i++) known |= blocks[i] == address;
      if (!CHECK(known)) return;
      continue;
    }
    mheap_err code = mheap_free(heap, address);
    if (!CHECK(code == MHEAP_ERR_POINTER || code == MHEAP_ERR_DOUBLE_FREE)) return;
  }
  CHECK_EQ(heap_blocks(heap), live);
  for (int i = 0; i < COUNT; i++) CHECK_EQ(mheap_free(heap, blocks[i]), MHEAP_OK);
  CHECK_EQ(heap_blocks(heap), 0);
  CHECK(heap_is_sound(heap));
  CHECK(heap_detach(heap));
}

/* ---- sizes ---- */

static void check_overflow(mheap *heap, const void *block) {
  CHECK(block == NULL);
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_OVERFLOW);
}

static void sizes_beyond_any_heap_are_refused(void) {
  const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 15, SIZE_MAX - 4096, SIZE_MAX / 2 + 1, ((size_t)1 << 47) + 1};
  mheap *heap = fresh("overflow.heap");
  char *kept = mheap_malloc(heap, 100);
  pattern_fill(kept, 100, 1);
  image before = take_image(heap);
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    check_overflow(heap, mheap_malloc(heap, sizes[i]));
    check_overflow(heap, mheap_calloc(heap, 1, sizes[i]));
    check_overflow(heap, mheap_calloc(heap, sizes[i], 3));
    check_overflow(heap, mheap_realloc(heap, kept, sizes[i]));
    check_overflow(heap, mheap_realloc(heap, NULL, sizes[i]));
    check_overflow(heap, mheap_memalign(heap, 64, sizes[i]));
  }
  check_overflow(heap, mheap_calloc(heap, (size_t)1 << 32, (size_t)1 << 32));
  check_overflow(heap, mheap_calloc(heap, SIZE_MAX / 2 + 1, 2));
  check_overflow(heap, mheap_memalign(heap, (size_t)1 << 62, 16));
  CHECK(is_unchanged(heap, &before));
  CHECK(pattern_is(kept, 100, 1));
  CHECK(heap_detach(heap));
}

static void sizes_beyond_this_heap_leave_it_as_it_was(void) {
  mheap *heap = heap_at(test_path("small.heap"), &(mheap_options){.max_size = 16 * MIB});
  char *kept = mheap_malloc(heap, 100), *large = mheap_malloc(heap, 5 * MIB);
  pattern_fill(kept, 100, 1);
  pattern_fill(large, 5 * MIB, 2);
  const size_t sizes[] = {17 * MIB, (size_t)1 << 40, (size_t)1 << 47};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    CHECK(mheap_malloc(heap, sizes[i]) == NULL);
    CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_FULL);
    CHECK(mheap_realloc(heap, kept, sizes[i]) == NULL);
    CHECK(mheap_realloc(heap, large, sizes[i]) == NULL);
    CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_FULL);
    CHECK(mheap_memalign(heap, (size_t)1 << 26, sizes[i]) == NULL);
    CHECK(mheap_memalign(heap, sizes[i] & ~(MIB - 1), 1) == NULL);
  }
  CHECK(pattern_is(kept, 100, 1) && pattern_is(large, 5 * MIB, 2));
  CHECK_EQ(heap_blocks(heap), 2);
  CHECK(heap_is_sound(heap));
  CHECK_EQ(mheap_free(heap, large), MHEAP_OK);
  CHECK(mheap_malloc(heap, 7 * MIB) != NULL);
  CHECK(heap_detach(heap));
}

static void alignments_that_are_none_are_refused(void) {
  mheap *heap = fresh("alignment.heap");
  const size_t alignments[] = {0, 3, 24, 4095, 65537, SIZE_MAX};
  for (size_t i = 0; i < sizeof alignments / sizeof alignments[0]; i++) {
    CHECK(mheap_memalign(heap, alignments[i], 100) == NULL);
    CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_ARGUMENT);
  }
  CHECK_EQ(heap_blocks(heap), 0);
  CHECK(heap_detach(heap));
}

/* ---- heaps that must not be changed ---- */

static void a_heap_that_is_only_read_allocates_nothing(void) {
  const char *path = test_path("read.heap");
  mheap *heap = heap_at(path, NULL);
  char *block = mheap_malloc(heap, 100), *large = mheap_malloc(heap, 100000);
  REQUIRE(heap_detach(heap));
  heap = heap_at(path, &(mheap_options){.mode = MHEAP_MODE_READONLY});
  CHECK(mheap_malloc(heap, 16) == NULL);
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_READ_ONLY);
  CHECK(mheap_calloc(heap, 1, 16) == NULL && mheap_memalign(heap, 64, 16) == NULL);
  CHECK(mheap_realloc(heap, block, 50) == NULL);
  CHECK_EQ(mheap_free(heap, block), MHEAP_ERR_READ_ONLY);
  CHECK_EQ(mheap_free(heap, large), MHEAP_ERR_READ_ONLY);
  CHECK_EQ(mheap_collect(heap, true), MHEAP_ERR_READ_ONLY);
  CHECK_EQ(mheap_usable_size(heap, block), mheap_good_size(100));
  CHECK_EQ(mheap_usable_size(heap, large), mheap_good_size(100000));
  CHECK_EQ(mheap_usable_size(heap, block + 16), 0);
  CHECK_EQ(heap_blocks(heap), 2);
  CHECK(heap_is_sound(heap));
  CHECK(heap_detach(heap));
}

TEST_MAIN(TEST(a_block_is_freed_once), TEST(the_second_free_is_seen_after_the_slab_went_back),
          TEST(the_second_free_is_seen_after_a_reattach), TEST(a_block_that_another_thread_freed_is_free),
          TEST(a_pointer_into_a_block_is_not_the_block), TEST(bookkeeping_is_no_block),
          TEST(the_end_of_a_slab_that_is_no_block), TEST(foreign_pointers_are_refused),
          TEST(no_address_is_freed_by_mistake), TEST(sizes_beyond_any_heap_are_refused),
          TEST(sizes_beyond_this_heap_leave_it_as_it_was), TEST(alignments_that_are_none_are_refused),
          TEST(a_heap_that_is_only_read_allocates_nothing))
