/* test_mimalloc_aligned.c: mimalloc's aligned blocks, at offsets too, and the C library's names. */
#include "mheap/mimalloc.h"

#include <errno.h>

#include "mheap/mheap.h"
#include "test.h"

static volatile size_t most = SIZE_MAX; /* that compilers do not see through */

static mheap_err last(void) { return mheap_last_error(NULL)->code; }

static uint64_t used(void) {
  mheap_stats stats;
  return mheap_get_stats(NULL, &stats) == MHEAP_OK ? stats.chunks_used : UINT64_MAX;
}

static bool is_zero(const char *bytes, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (bytes[i] != 0) return false;
  return true;
}

static void leave_dirt(size_t size) {
  void *dirt[100];
  for (int i = 0; i < 100; i++) memset(dirt[i] = mi_malloc(size), 0xa5, size);
  for (int i = 0; i < 100; i++) mi_free(dirt[i]);
}

static const size_t sizes[] = {0, 1, 40, 5000, 100000};
#define SIZES (sizeof sizes / sizeof sizes[0])

/* ---- at the start ---- */

static void check_aligned(void *block, size_t alignment, size_t offset, size_t size) {
  if (!CHECK(block != NULL)) return;
  CHECK_EQ(((uintptr_t)block + offset) % alignment, 0);
  CHECK(mi_usable_size(block) >= size);
  memset(block, 0x5a, size);
  mi_free(block);
}

static void every_power_of_two_is_had(void) {
  for (size_t alignment = 1; alignment <= 8 << 20; alignment *= 2)
    for (size_t i = 0; i < SIZES; i++) {
      leave_dirt(sizes[i] < 10000 ? sizes[i] : 1);
      check_aligned(mi_malloc_aligned(sizes[i], alignment), alignment, 0, sizes[i]);
      check_aligned(mi_realloc_aligned(NULL, sizes[i], alignment), alignment, 0, sizes[i]);
      char *zeroed = mi_zalloc_aligned(sizes[i], alignment);
      char *counted = mi_calloc_aligned(sizes[i], 1, alignment);
      CHECK(is_zero(zeroed, mi_usable_size(zeroed)) && is_zero(counted, mi_usable_size(counted)));
      check_aligned(zeroed, alignment, 0, sizes[i]);
      check_aligned(counted, alignment, 0, sizes[i]);
    }
  CHECK_EQ(used(), 0);
}

static void other_alignments_are_refused(void) {
  static const size_t wrong[] = {0, 3, 24, 100, SIZE_MAX};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    CHECK(mi_malloc_aligned(10, wrong[i]) == NULL);
    CHECK_EQ(last(), MHEAP_ERR_ARGUMENT);
    CHECK(mi_malloc_aligned_at(10, wrong[i], 8) == NULL);
    CHECK_EQ(last(), MHEAP_ERR_ARGUMENT);
    char *block = mi_malloc(10);
    CHECK(mi_realloc_aligned(block, 20, wrong[i]) == NULL);
    CHECK_EQ(mi_usable_size(block), 16);
    mi_free(block);
  }
  CHECK(mi_calloc_aligned(most, 2, 64) == NULL);
  CHECK_EQ(last(), MHEAP_ERR_OVERFLOW);
  CHECK(mi_malloc_aligned(most, 64) == NULL);
  CHECK_EQ(last(), MHEAP_ERR_OVERFLOW);
  CHECK(mi_malloc_aligned_at(most - 8, 64, 8) == NULL);
  CHECK_EQ(last(), MHEAP_ERR_OVERFLOW);
  CHECK_EQ(used(), 0);
}

/* ---- at an offset ---- */

static const size_t offsets[] = {1, 8, 16, 24, 100, 4096, 12345};
#define OFFSETS (sizeof offsets / sizeof offsets[0])

static void every_offset_is_had(void) {
  for (size_t alignment = 2; alignment <= 1 << 20; alignment *= 8)
    for (size_t i = 0; i < SIZES; i++)
      for (size_t k = 0; k < OFFSETS; k++) {
        check_aligned(mi_malloc_aligned_at(sizes[i], alignment, offsets[k]), alignment, offsets[k], sizes[i]);
        char *zeroed = mi_zalloc_aligned_at(sizes[i], alignment, offsets[k]);
        CHECK(is_zero(zeroed, mi_usable_size(zeroed)));
        check_aligned(zeroed, alignment, offsets[k], sizes[i]);
        check_aligned(mi_calloc_aligned_at(sizes[i], 1, alignment, offsets[k]), alignment, offsets[k],
                      sizes[i]);
      }
  CHECK_EQ(used(), 0);
}

static void blocks_at_an_offset_are_blocks(void) {
  char *block = mi_malloc_aligned_at(100, 64, 8);
  CHECK(mi_is_in_heap_region(block));
  CHECK(mi_heap_contains_block(mi_heap_get_default(), block));
  CHECK(mi_check_owned(block + 99));
  memset(block, 'x', 100);
  block = mi_realloc(block, 500);
  CHECK(block != NULL && block[99] == 'x');
  mi_free(block);
  block = mi_malloc_aligned_at(100, 64, 8);
  mi_free(block);
  mi_free(block);
  CHECK(last() != MHEAP_OK);
  CHECK_EQ(used(), 0);
}

/* ---- resizing ---- */

static void resizing_keeps_contents_and_place(void) {
  for (size_t k = 0; k < OFFSETS; k++) {
    char *block = mi_malloc_aligned_at(10, 128, offsets[k]);
    memset(block, 'x', 10);
    for (size_t size = 10; size < 300000; size = size * 3 + 1) {
      block = mi_realloc_aligned_at(block, size, 128, offsets[k]);
      REQUIRE(block != NULL);
      CHECK_EQ(((uintptr_t)block + offsets[k]) % 128, 0);
      CHECK(block[0] == 'x' && block[9] == 'x');
    }
    check_aligned(mi_realloc_aligned(block, 10, 4096), 4096, 0, 10);
  }
  CHECK_EQ(used(), 0);
}

static void zeroed_blocks_stay_so(void) {
  unsigned random = 3;
  unsigned char *block = NULL;
  size_t size = 0;
  for (int i = 0; i < 1000; i++) {
    random = random * 1103515245 + 12345;
    size_t next = 1 + (random >> 8) % 2000, offset = i % 3 == 0 ? 0 : 8;
    block = i % 2 ? mi_rezalloc_aligned_at(block, next, 64, offset)
                  : mi_recalloc_aligned_at(block, next, 1, 64, offset);
    REQUIRE(block != NULL);
    for (size_t k = 0; k < next; k++)
      if (!CHECK_EQ(block[k], k < size)) return;
    memset(block, 1, next);
    size = next;
  }
  block = mi_rezalloc_aligned(block, 9000, 256);
  CHECK(is_zero((char *)block + size, 9000 - size));
  block = mi_recalloc_aligned(block, 9000, 2, 256);
  CHECK(is_zero((char *)block + size, 18000 - size));
  block = mi_aligned_recalloc(block, 20000, 1, 16);
  block = mi_aligned_offset_recalloc(block, 30000, 1, 16, 8);
  CHECK(is_zero((char *)block + size, 30000 - size));
  CHECK(mi_recalloc_aligned(block, most, 2, 16) == NULL);
  mi_free(block);
  CHECK_EQ(used(), 0);
}

static void resizing_refuses_what_is_no_block(void) {
  int local;
  CHECK(mi_realloc_aligned(&local, 10, 64) == NULL);
  CHECK_EQ(last(), MHEAP_ERR_POINTER);
  CHECK(mi_rezalloc_aligned_at(&local, 10, 64, 8) == NULL);
  CHECK_EQ(last(), MHEAP_ERR_POINTER);
}

/* ---- the C library's names ---- */

static void posix_memalign_returns_its_error(void) {
  void *block = &block;
  errno = 12345;
  CHECK_EQ(mi_posix_memalign(&block, 3, 10), EINVAL);
  CHECK_EQ(mi_posix_memalign(&block, 0, 10), EINVAL);
  CHECK_EQ(mi_posix_memalign(&block, 4, 10), EINVAL); /* less than a pointer */
  CHECK_EQ(mi_posix_memalign(NULL, 64, 10), EINVAL);
  CHECK_EQ(mi_posix_memalign(&block, 64, most), ENOMEM);
  CHECK(block == &block);
  CHECK_EQ(mi_posix_memalign(&block, 64, 10), 0);
  CHECK_EQ(errno, 12345);
  check_aligned(block, 64, 0, 10);
}

static void the_other_aligned_ones(void) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  check_aligned(mi_memalign(256, 10), 256, 0, 10);
  check_aligned(mi_aligned_alloc(256, 512), 256, 0, 512);
  check_aligned(mi_valloc(10), page, 0, 10);
  check_aligned(mi_pvalloc(10), page, 0, page);
  check_aligned(mi_pvalloc(0), page, 0, page);
  check_aligned(mi_pvalloc(page + 1), page, 0, 2 * page);
  CHECK(mi_memalign(most, 10) == NULL && mi_aligned_alloc(most + 1, 10) == NULL);
  CHECK(mi_pvalloc(most) == NULL && mi_valloc(most) == NULL);
  CHECK_EQ(used(), 0);
}

static void the_other_frees(void) {
  char local[16];
  mi_free_size(mi_malloc(10), 10);
  mi_free_aligned(mi_malloc_aligned(10, 64), 64);
  mi_free_size_aligned(mi_malloc_aligned(10, 64), 10, 64);
  mi_cfree(mi_malloc(10));
  CHECK_EQ(used(), 0);
  mi_cfree(NULL);
  void *any = mi_malloc(10);
  mi_free(any);
  mi_free(any);
  mheap_err before = last();
  mi_cfree(local); /* not even an error */
  CHECK_EQ(last(), before);
}

static void sizes_by_other_names(void) {
  void *block = mi_malloc(100);
  CHECK_EQ(mi_malloc_size(block), mi_usable_size(block));
  CHECK_EQ(mi_malloc_usable_size(block), mi_usable_size(block));
  CHECK_EQ(mi_malloc_good_size(100), mi_good_size(100));
  mi_free(block);
}

static void reallocarray_sets_errno(void) {
  char *block = mi_reallocarray(NULL, 10, 10);
  strcpy(block, "here");
  errno = 0;
  CHECK(mi_reallocarray(block, most, 2) == NULL);
  CHECK_EQ(errno, ENOMEM);
  errno = 0;
  CHECK_EQ(mi_reallocarr(&block, most, 2), ENOMEM);
  CHECK_EQ(errno, ENOMEM);
  CHECK_STR(block, "here");
  CHECK_EQ(mi_reallocarr(&block, 100, 100), 0);
  CHECK_STR(block, "here");
  CHECK_EQ(mi_reallocarr(NULL, 1, 1), EINVAL);
  errno = 0;
  CHECK(mi__expand(block, 1 << 20) == NULL);
  CHECK_EQ(errno, ENOMEM);
  CHECK(mi__expand(block, 100) == block);
  mi_free(block);
}

static void operator_new_for_c(void) {
  void *blocks[] = {mi_new(10),
                    mi_new_n(10, 10),
                    mi_new_aligned(10, 64),
                    mi_new_nothrow(10),
                    mi_new_aligned_nothrow(10, 64),
                    mi_new_realloc(mi_new(10), 1000),
                    mi_new_reallocn(mi_new(10), 10, 100),
                    mi_heap_alloc_new(mi_heap_get_default(), 10),
                    mi_heap_alloc_new_n(mi_heap_get_default(), 10, 10)};
  for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
    CHECK(blocks[i] != NULL);
    mi_free(blocks[i]);
  }
  CHECK(mi_new_nothrow(most) == NULL);
  CHECK(mi_new_aligned_nothrow(most, 64) == NULL);
  CHECK_EQ(used(), 0);
}

TEST_MAIN(TEST(every_power_of_two_is_had), TEST(other_alignments_are_refused), TEST(every_offset_is_had),
          TEST(blocks_at_an_offset_are_blocks), TEST(resizing_keeps_contents_and_place),
          TEST(zeroed_blocks_stay_so), TEST(resizing_refuses_what_is_no_block),
          TEST(posix_memalign_returns_its_error), TEST(the_other_aligned_ones), TEST(the_other_frees),
          TEST(sizes_by_other_names), TEST(reallocarray_sets_errno), TEST(operator_new_for_c))
