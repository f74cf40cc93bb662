/* test_commit_threads.c: stores that race a commit are in it or in the next, never nowhere. */
#include <pthread.h>
#include <stdatomic.h>

#include "commit.h"
#include "heap.h"
#include "test.h"

enum { THREADS = 3, COUNTERS = 64, APART = 1024, COMMITS = 400 };

typedef struct storer {
  pthread_t thread;
  _Atomic(uint64_t *) counters; /* COUNTERS of them, APART words apart */
  _Atomic bool stop;
  uint64_t last[COUNTERS]; /* what it stored last, which nobody else does */
} storer;

static void *store_on(void *arg) {
  storer *s = arg;
  for (uint64_t n = 0; !atomic_load(&s->stop); n++) {
    _Atomic uint64_t *counter = (_Atomic uint64_t *)atomic_load(&s->counters) + n % COUNTERS * APART;
    uint64_t now = atomic_load_explicit(counter, memory_order_relaxed);
    if (now != s->last[n % COUNTERS]) break; /* a store went backwards */
    atomic_store_explicit(counter, s->last[n % COUNTERS] = now + 1, memory_order_relaxed);
  }
  return NULL;
}

static mheap *open_atomic(const char *path) {
  mheap_error error;
  mheap *heap = mheap_open(path, &(mheap_options){.mode = MHEAP_MODE_ATOMIC}, &error);
  if (heap == NULL) fprintf(stderr, "%s\n", error.text);
  return heap;
}

static uint64_t *new_counters(mheap *heap, int key) {
  uint64_t *counters = mheap_calloc(heap, COUNTERS * APART, sizeof(uint64_t));
  mheap_setkey(heap, key, counters);
  return counters;
}

/* Every counter has what its thread stored last. */
static void all_are_there(mheap *heap, const storer *storers) {
  for (int i = 0; i < THREADS; i++) {
    const uint64_t *counters = mheap_getkey(heap, i);
    if (!CHECK(counters != NULL)) return;
    for (int k = 0; k < COUNTERS; k++) CHECK_EQ(counters[k * APART], storers[i].last[k]);
  }
}

static void commit_beside_stores(mheap *heap) {
  for (int i = 0; i < COMMITS; i++) {
    if (i % 20 == 0) mheap_setkey(heap, 100 + i / 20, mheap_malloc(heap, 200000)); /* the region grows */
    CHECK_EQ(mheap_commit(heap, i % 16 == 0), MHEAP_OK);
    if (i % 50 == 49) CHECK_EQ(mheap_checkpoint(heap), MHEAP_OK);
  }
}

/* `fresh`: the counters are in space that no commit has yet when the threads begin. */
static void stores_beside_commits(const char *path, bool fresh) {
  static storer storers[THREADS];
  mheap *heap = open_atomic(path);
  REQUIRE(heap != NULL);
  for (int i = 0; i < THREADS; i++) storers[i] = (storer){.counters = new_counters(heap, i)};
  if (!fresh) CHECK_EQ(mheap_commit(heap, true), MHEAP_OK);
  for (int i = 0; i < THREADS; i++) pthread_create(&storers[i].thread, NULL, store_on, &storers[i]);
  commit_beside_stores(heap);
  uint64_t stored = 0;
  for (int i = 0; i < THREADS; i++) {
    CHECK(!atomic_exchange(&storers[i].stop, true));
    pthread_join(storers[i].thread, NULL);
    for (int k = 0; k < COUNTERS; k++) stored += storers[i].last[k];
  }
  CHECK(stored > COMMITS);
  all_are_there(heap, storers);
  CHECK_EQ(mheap_commit(heap, true), MHEAP_OK);
  mheap_abandon(heap);
  heap = open_atomic(path);
  REQUIRE(heap != NULL);
  all_are_there(heap, storers);
  CHECK_EQ(mheap_check(heap, NULL, NULL, NULL), MHEAP_OK);
  mheap_detach(heap, NULL);
}

static void stores_to_committed_space_are_kept(void) { stores_beside_commits(test_path("a.heap"), false); }
static void stores_to_fresh_space_are_kept(void) { stores_beside_commits(test_path("b.heap"), true); }

TEST_MAIN(TEST(stores_to_committed_space_are_kept), TEST(stores_to_fresh_space_are_kept))
