/* test_default.c: units of calls that name no heap: they are served by the default heap,
   whatever heap the thread used last, and from its first call to its end. */
#include <pthread.h>

#include "mheap/mheap.h"
#include "test.h"

#define MANY 3000

static mheap *another(void) {
  mheap *heap = mheap_attach(-1, &(mheap_options){.max_size = (uint64_t)64 << 20}, NULL);
  CHECK(heap != NULL);
  return heap;
}

static bool is_of(mheap *heap, void *block) { return mheap_usable_size(heap, block) != 0; }

static void null_is_the_default_heap_whatever_was_used_last(void) {
  mheap *heap = another();
  REQUIRE(heap != NULL);
  void *of_heap[MANY], *of_default[MANY];
  for (int i = 0; i < MANY; i++) {
    of_heap[i] = mheap_malloc(heap, 16 + (size_t)i % 2000);
    of_default[i] = i % 3 == 0 ? mheap_calloc(NULL, 3, 7) : mheap_malloc(NULL, 16 + (size_t)i % 90000);
  }
  for (int i = 0; i < MANY; i++) {
    if (!CHECK(is_of(mheap_default(), of_default[i]) && !is_of(mheap_default(), of_heap[i]))) return;
    if (!CHECK(is_of(heap, of_heap[i]) && !is_of(heap, of_default[i]))) return;
    CHECK_EQ(mheap_free(NULL, of_heap[i]), MHEAP_ERR_POINTER);
    CHECK_EQ(mheap_free(NULL, of_default[i]), MHEAP_OK);
    CHECK_EQ(mheap_free(NULL, of_default[i]), MHEAP_ERR_DOUBLE_FREE);
    CHECK_EQ(mheap_free(heap, of_heap[i]), MHEAP_OK);
  }
  CHECK_EQ(mheap_free(NULL, NULL), MHEAP_OK);
  mheap_detach(heap, NULL);
}

static void guards_of_one_heap_are_not_the_default_heaps(void) {
  mheap *heap = another();
  REQUIRE(heap != NULL);
  CHECK_EQ(mheap_mcheck(heap, NULL, false), MHEAP_OK);
  void *guarded = mheap_malloc(heap, 100), *plain = mheap_malloc(NULL, 100);
  CHECK(is_of(mheap_default(), plain) && !is_of(heap, plain));
  CHECK_EQ(mheap_mprobe(heap, guarded), MHEAP_PROBE_OK);
  CHECK_EQ(mheap_free(NULL, plain), MHEAP_OK);
  CHECK_EQ(mheap_free(heap, guarded), MHEAP_OK);
  mheap_detach(heap, NULL);
}

static bool is_all(const char *block, size_t size, char byte) {
  return block[0] == byte && memcmp(block, block + 1, size - 1) == 0;
}

/* Memory that is known to be zero is not cleared again: whatever was there before, it is zero. */
static void cleared_blocks_are_zero_in_used_memory(void) {
  static const size_t sizes[] = {100, 40 << 10, 70 << 10, 900 << 10, 3 << 20, 5 << 20, 13 << 20, 50 << 20};
  char *live[8][2] = {{NULL}};
  for (unsigned turn = 0; turn < 200; turn++) {
    size_t size = sizes[turn * 5 % 8];
    char **place = &live[turn * 5 % 8][turn / 8 % 2];
    if (*place != NULL) CHECK_EQ(mheap_free(NULL, *place), MHEAP_OK);
    *place = mheap_calloc(NULL, 1, size);
    if (!CHECK(*place != NULL && is_all(*place, size, 0))) return;
    memset(*place, 0x77, size);
    if (turn % 3 == 0) *place = mheap_realloc(NULL, *place, size + size / 2);
    if (!CHECK(*place != NULL && is_all(*place, size, 0x77))) return;
    memset(*place, 0x55, size);
    if (turn % 17 == 0) CHECK_EQ(mheap_collect(NULL, turn % 2), MHEAP_OK);
  }
  for (int i = 0; i < 16; i++) CHECK_EQ(mheap_free(NULL, live[i / 2][i % 2]), MHEAP_OK);
  CHECK_EQ(mheap_check(mheap_default(), NULL, NULL, NULL), MHEAP_OK);
}

/* While somebody walks the heap it does not shrink, and what would have gone is still cleared. */
static bool free_all(void *arg, void *block, size_t usable) {
  (void)usable;
  char **huge = arg;
  if (*huge != NULL && block != *huge) mheap_free(NULL, *huge), *huge = NULL;
  return true;
}

static void a_walk_does_not_bring_old_bytes_back(void) {
  char *huge = mheap_malloc(NULL, 60 << 20);
  void *small = mheap_malloc(NULL, 16);
  REQUIRE(huge != NULL && small != NULL);
  memset(huge, 0x33, 60 << 20);
  CHECK_EQ(mheap_visit_blocks(mheap_default(), free_all, &huge), MHEAP_OK);
  CHECK(huge == NULL);
  huge = mheap_calloc(NULL, 1, 60 << 20);
  REQUIRE(huge != NULL);
  CHECK(is_all(huge, 60 << 20, 0));
  mheap_free(NULL, huge);
  mheap_free(NULL, small);
}

/* The last call of a thread's comes after it gave its lanes back. */
static void *comes_and_goes(void *block) {
  mheap_err failed = mheap_free(NULL, block);
  void *own = mheap_malloc(NULL, 1000);
  mheap_thread_done();
  failed |= mheap_free(NULL, own);
  return mheap_malloc(NULL, failed ? SIZE_MAX : 48);
}

static void threads_come_and_go(void) {
  pthread_t thread;
  void *block = mheap_malloc(NULL, 48);
  for (int i = 0; i < 200; i++) {
    REQUIRE(pthread_create(&thread, NULL, comes_and_goes, block) == 0);
    pthread_join(thread, &block);
    if (!CHECK(block != NULL)) return;
  }
  CHECK_EQ(mheap_free(NULL, block), MHEAP_OK);
}

TEST_MAIN(TEST(null_is_the_default_heap_whatever_was_used_last),
          TEST(guards_of_one_heap_are_not_the_default_heaps), TEST(cleared_blocks_are_zero_in_used_memory),
          TEST(a_walk_does_not_bring_old_bytes_back), TEST(threads_come_and_go))
