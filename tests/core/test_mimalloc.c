/* test_mimalloc.c: mimalloc's malloc and free and what goes with them, as a program written for it
   calls them; mheap.h is there for what a mistake leads to. */
#include "mheap/mimalloc.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sys/stat.h>

#include "mheap/mheap.h"
#include "test.h"

static volatile size_t most = SIZE_MAX; /* that compilers do not see through */

static bool is_zero(const char *bytes, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (bytes[i] != 0) return false;
  return true;
}

static mheap_err last(void) { return mheap_last_error(NULL)->code; }

static uint64_t used(void) {
  mheap_stats stats;
  return mheap_get_stats(NULL, &stats) == MHEAP_OK ? stats.chunks_used : UINT64_MAX;
}

/* So that "it is zero" is not so by chance. */
static void leave_dirt(void) {
  void *dirt[200];
  for (int i = 0; i < 200; i++) memset(dirt[i] = mi_malloc((size_t)(i + 1) * 40), 0xa5, (size_t)(i + 1) * 40);
  for (int i = 0; i < 200; i++) mi_free(dirt[i]);
}

/* ---- fresh blocks ---- */

static const size_t sizes[] = {0, 1, 15, 16, 17, 100, 1024, 1025, 5000, 70000, 5 << 20};
#define SIZES (sizeof sizes / sizeof sizes[0])

static void blocks_hold_what_was_asked_for(void) {
  for (size_t i = 0; i < SIZES; i++) {
    char *a = mi_malloc(sizes[i]), *b = mi_mallocn(sizes[i], 1);
    REQUIRE(a != NULL && b != NULL && a != b);
    CHECK_EQ((uintptr_t)a % 16, 0);
    CHECK(mi_usable_size(a) >= sizes[i]);
    CHECK_EQ(mi_usable_size(a), mi_good_size(sizes[i]));
    memset(a, 1, mi_usable_size(a));
    memset(b, 2, sizes[i]);
    mi_free(a);
    mi_free(b);
  }
  mi_free(NULL);
  CHECK_EQ(mi_usable_size(NULL), 0);
  CHECK_EQ(used(), 0);
}

static void zeroed_blocks_are_zero_to_their_end(void) {
  leave_dirt();
  for (size_t i = 0; i < SIZES; i++) {
    char *a = mi_zalloc(sizes[i]), *b = mi_calloc(sizes[i], 1);
    REQUIRE(a != NULL && b != NULL);
    CHECK(is_zero(a, mi_usable_size(a)));
    CHECK(is_zero(b, mi_usable_size(b)));
    mi_free(a);
    mi_free(b);
  }
}

static void small_blocks(void) {
  leave_dirt();
  for (size_t size = 0; size <= MI_SMALL_SIZE_MAX; size += 13) {
    char *a = mi_malloc_small(size), *b = mi_zalloc_small(size);
    REQUIRE(a != NULL && b != NULL);
    CHECK(is_zero(b, size));
    memset(a, 1, size);
    mi_free(a);
    mi_free(b);
  }
  CHECK_EQ(MI_SMALL_SIZE_MAX, 1024);
}

static void what_overflows_is_refused(void) {
  CHECK(mi_calloc(most / 2, 3) == NULL);
  CHECK_EQ(last(), MHEAP_ERR_OVERFLOW);
  CHECK(mi_mallocn(most, most) == NULL);
  CHECK_EQ(last(), MHEAP_ERR_OVERFLOW);
  CHECK(mi_malloc(most) == NULL);
  CHECK_EQ(last(), MHEAP_ERR_OVERFLOW);
  CHECK(mi_zalloc(most) == NULL);
  CHECK_EQ(last(), MHEAP_ERR_OVERFLOW);
  CHECK(mi_malloc((size_t)1 << 46) == NULL);
  CHECK_EQ(last(), MHEAP_ERR_FULL);
  CHECK_EQ(mi_good_size(most), 0);
}

/* ---- freeing ---- */

static void what_is_no_block_is_not_freed(void) {
  int local;
  char *block = mi_malloc(100);
  mi_free(&local);
  CHECK_EQ(last(), MHEAP_ERR_POINTER);
  mi_free(block + 16);
  CHECK_EQ(last(), MHEAP_ERR_POINTER);
  CHECK_EQ(mi_usable_size(block), mi_good_size(100));
  mi_free(block);
  mi_free(block);
  CHECK_EQ(last(), MHEAP_ERR_DOUBLE_FREE);
  CHECK_EQ(mi_usable_size(block), 0);
  CHECK_EQ(used(), 0);
}

static void *free_it(void *block) {
  mi_free(block);
  return NULL;
}

static void any_thread_frees(void) {
  pthread_t thread;
  void *block = mi_malloc(100);
  REQUIRE(pthread_create(&thread, NULL, free_it, block) == 0);
  pthread_join(thread, NULL);
  CHECK_EQ(used(), 0);
}

static void blocks_of_files_are_freed(void) {
  mheap *heap = mheap_open(test_path("file.heap"), NULL, NULL);
  REQUIRE(heap != NULL);
  char *block = mheap_malloc(heap, 50);
  CHECK(mi_is_in_heap_region(block));
  strcpy(block, "in a file");
  block = mi_heap_realloc((mi_heap_t *)heap, block, 5000);
  CHECK_STR(block, "in a file");
  CHECK(mi_heap_of(block) == (mi_heap_t *)heap);
  mi_free(block);
  mheap_stats stats;
  CHECK_EQ(mheap_get_stats(heap, &stats), MHEAP_OK);
  CHECK_EQ(stats.chunks_used, 0);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* ---- resizing ---- */

static void realloc_keeps_the_contents(void) {
  char *a = mi_realloc(NULL, 10);
  REQUIRE(a != NULL);
  memset(a, 'a', 10);
  for (size_t i = 1; i < SIZES; i++) {
    a = mi_realloc(a, sizes[i] + 10);
    REQUIRE(a != NULL);
    CHECK(a[0] == 'a' && a[9] == 'a');
  }
  a = mi_realloc(a, 10);
  CHECK(a[9] == 'a' && mi_usable_size(a) == 16);
  a = mi_reallocn(a, 10, 30);
  CHECK(a[9] == 'a' && mi_usable_size(a) >= 300);
  a = mi_realloc(a, 0);
  REQUIRE(a != NULL);
  mi_free(a);
  CHECK_EQ(used(), 0);
}

static void a_failed_realloc_leaves_the_block(void) {
  char *a = mi_strdup("still here");
  CHECK(mi_realloc(a, most) == NULL);
  CHECK(mi_reallocn(a, most, 2) == NULL);
  CHECK(mi_recalloc(a, most, 2) == NULL);
  CHECK(mi_rezalloc(a, most) == NULL);
  CHECK_STR(a, "still here");
  CHECK(mi_reallocf(a, most) == NULL);
  CHECK_EQ(used(), 0);
  a = mi_reallocf(mi_strdup("moves"), 4000);
  CHECK_STR(a, "moves");
  mi_free(a);
}

static void realloc_refuses_what_is_no_block(void) {
  int local;
  CHECK(mi_realloc(&local, 10) == NULL);
  CHECK_EQ(last(), MHEAP_ERR_POINTER);
  char *block = mi_malloc(100);
  CHECK(mi_realloc(block + 16, 10) == NULL);
  CHECK_EQ(last(), MHEAP_ERR_POINTER);
  mi_free(block);
  CHECK(mi_realloc(block, 10) == NULL);
  CHECK_EQ(last(), MHEAP_ERR_DOUBLE_FREE);
  CHECK(mi_rezalloc(block, 10) == NULL);
  CHECK_EQ(used(), 0);
}

/* Grown and shrunk at random: what is new to the program is always zero. */
static void zeroed_blocks_stay_so_when_resized(void) {
  leave_dirt();
  unsigned random = 7;
  unsigned char *block = mi_rezalloc(NULL, 1);
  size_t size = 1;
  block[0] = 1;
  for (int i = 0; i < 3000; i++) {
    random = random * 1103515245 + 12345;
    size_t next = 1 + (random >> 8) % (i % 10 == 0 ? 200000 : 300);
    block = i % 2 ? mi_rezalloc(block, next) : mi_recalloc(block, next, 1);
    REQUIRE(block != NULL);
    for (size_t k = 0; k < next; k++)
      if (!CHECK_EQ(block[k], k < size)) return;
    memset(block, 1, next);
    size = next;
  }
  mi_free(block);
}

static void expand_never_moves(void) {
  char *a = mi_malloc(100);
  CHECK(mi_expand(a, mi_usable_size(a)) == a);
  CHECK(mi_expand(a, 1) == a);
  CHECK(mi_expand(a, mi_usable_size(a) + 1) == NULL);
  CHECK(mi_expand(NULL, 1) == NULL);
  mi_free(a);
}

/* ---- strings ---- */

static void strings_are_copied(void) {
  char *a = mi_strdup("heap"), *b = mi_strndup("heap", 2), *c = mi_strndup("heap", 100), *d = mi_strdup("");
  CHECK_STR(a, "heap");
  CHECK_STR(b, "he");
  CHECK_STR(c, "heap");
  CHECK_STR(d, "");
  CHECK(mi_strdup(NULL) == NULL && mi_strndup(NULL, 3) == NULL);
  mi_free(a), mi_free(b), mi_free(c), mi_free(d);
  CHECK_EQ(used(), 0);
}

static void realpath_is_a_block(void) {
  char link[600], expected[PATH_MAX], given[PATH_MAX];
  snprintf(link, sizeof link, "%s/link", test_directory());
  REQUIRE(realpath(test_directory(), expected) != NULL);
  REQUIRE(symlink(".", link) == 0);
  char *path = mi_realpath(link, NULL);
  CHECK_STR(path, expected);
  mi_free(path);
  CHECK(mi_realpath(link, given) == given);
  CHECK_STR(given, expected);
  errno = 0;
  CHECK(mi_realpath("/no/such/file", NULL) == NULL);
  CHECK_EQ(errno, ENOENT);
  CHECK_EQ(used(), 0);
}

/* ---- by type; version ---- */

static void types_are_allocated(void) {
  struct pair {
    int left, right;
  } *one = mi_zalloc_tp(struct pair), *many = mi_calloc_tp(struct pair, 10);
  CHECK(one != NULL && one->right == 0);
  many = mi_reallocn_tp(many, struct pair, 20);
  many[19].right = 3;
  many = mi_recalloc_tp(many, struct pair, 5);
  mi_free(one);
  mi_free(many);
  mi_free(mi_malloc_tp(int));
  mi_free(mi_mallocn_tp(int, 3));
  CHECK_EQ(mi_version(), MI_MALLOC_VERSION);
  CHECK_EQ(used(), 0);
}

static void regions_are_known(void) {
  int local;
  char *block = mi_malloc(10);
  CHECK(mi_is_in_heap_region(block) && mi_is_in_heap_region(block + 5));
  CHECK(!mi_is_in_heap_region(&local) && !mi_is_in_heap_region(NULL));
  CHECK(!mi_is_redirected()); /* under the preloaded library: tests/preload */
  mi_free(block);
}

/* With guards and a trace on, nothing differs but what the guards are there for. */
static mheap_probe reported;
static void report(mheap *heap, void *block, mheap_probe status) {
  (void)heap, (void)block;
  reported = status;
}

static void checking_sees_the_sizes_asked_for(void) {
  CHECK_EQ(mheap_mcheck(NULL, report, false), MHEAP_OK);
  char *block = mi_zalloc(33);
  CHECK_EQ(mi_usable_size(block), 33);
  CHECK(is_zero(block, 33));
  block = mi_rezalloc(block, 70);
  CHECK(is_zero(block, 70) && mi_usable_size(block) == 70);
  char *volatile unknown = block; /* to compilers, which know the size */
  unknown[70] = 1;
  mi_free(block);
  CHECK_EQ(reported, MHEAP_PROBE_TAIL);
}

TEST_MAIN(TEST(blocks_hold_what_was_asked_for), TEST(zeroed_blocks_are_zero_to_their_end), TEST(small_blocks),
          TEST(what_overflows_is_refused), TEST(what_is_no_block_is_not_freed), TEST(any_thread_frees),
          TEST(blocks_of_files_are_freed), TEST(realloc_keeps_the_contents),
          TEST(a_failed_realloc_leaves_the_block), TEST(realloc_refuses_what_is_no_block),
          TEST(zeroed_blocks_stay_so_when_resized), TEST(expand_never_moves), TEST(strings_are_copied),
          TEST(realpath_is_a_block), TEST(types_are_allocated), TEST(regions_are_known),
          TEST(checking_sees_the_sizes_asked_for))
