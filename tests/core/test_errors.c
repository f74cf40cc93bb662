/* test_errors.c: a thread's last error is its own. */
#include <pthread.h>
#include <stdatomic.h>

#include "mheap/mheap.h"
#include "test.h"

static mheap *heap;
static _Atomic bool stop;

static void *mistake(void *arg) {
  (void)arg;
  while (!stop) CHECK_EQ(mheap_free(heap, (void *)16), MHEAP_ERR_POINTER);
  return NULL;
}

/* Large blocks take every path that looks at an error's code. */
static void one_threads_mistakes_are_not_anothers(void) {
  heap = mheap_attach(-1, NULL, NULL);
  REQUIRE(heap != NULL);
  pthread_t other;
  stop = false;
  REQUIRE_EQ(pthread_create(&other, NULL, mistake, NULL), 0);
  for (int i = 0; i < 20000; i++) {
    void *block = mheap_malloc(heap, ((size_t)5 << 20) + (size_t)(i % 19) * 1000000);
    if (!CHECK(block != NULL)) break;
    CHECK_EQ(mheap_free(heap, block), MHEAP_OK);
  }
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_OK);
  stop = true;
  pthread_join(other, NULL);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static void heaps_have_their_own_errors(void) {
  mheap *one = mheap_attach(-1, NULL, NULL), *two = mheap_attach(-1, NULL, NULL);
  REQUIRE(one != NULL && two != NULL);
  CHECK_EQ(mheap_free(one, (void *)16), MHEAP_ERR_POINTER);
  CHECK(mheap_malloc(two, SIZE_MAX) == NULL);
  CHECK_EQ(mheap_last_error(one)->code, MHEAP_ERR_POINTER);
  CHECK_EQ(mheap_last_error(two)->code, MHEAP_ERR_OVERFLOW);
  CHECK_EQ(mheap_detach(one, NULL), MHEAP_OK);
  CHECK_EQ(mheap_detach(two, NULL), MHEAP_OK);
  one = mheap_attach(-1, NULL, NULL); /* where a heap with an error lay, perhaps */
  REQUIRE(one != NULL);
  CHECK_EQ(mheap_last_error(one)->code, MHEAP_OK);
  CHECK_EQ(mheap_detach(one, NULL), MHEAP_OK);
}

TEST_MAIN(TEST(one_threads_mistakes_are_not_anothers), TEST(heaps_have_their_own_errors))
