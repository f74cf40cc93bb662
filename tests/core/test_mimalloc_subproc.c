/* test_mimalloc_subproc.c: mimalloc's subprocesses, with threads in them, and what threads leave. */
#include "mheap/mimalloc.h"

#include <pthread.h>

#include "mheap/mheap.h"
#include "test.h"

static void the_main_one_is_there(void) {
  CHECK(mi_subproc_main() != NULL);
  CHECK(mi_subproc_current() == mi_subproc_main());
}

/* ---- threads ---- */

typedef struct worker {
  mi_subproc_id_t subproc;
  mi_heap_t *main, *own;
  char *block, *other;
} worker;

static void *work(void *arg) {
  worker *w = arg;
  mi_subproc_add_current_thread(w->subproc);
  CHECK(mi_subproc_current() == w->subproc);
  w->main = mi_heap_get_default();
  w->block = mi_strdup("of a subprocess");
  w->own = mi_heap_new();
  w->other = mi_heap_strdup(w->own, "of a heap in it");
  for (int i = 0; i < 1000; i++) mi_free(mi_malloc((size_t)i));
  return NULL;
}

static void run(worker *w) {
  pthread_t thread;
  REQUIRE(pthread_create(&thread, NULL, work, w) == 0);
  pthread_join(thread, NULL);
}

static void each_has_heaps_of_its_own(void) {
  worker one = {.subproc = mi_subproc_new()}, two = {.subproc = mi_subproc_new()};
  REQUIRE(one.subproc != NULL && two.subproc != NULL && one.subproc != two.subproc);
  run(&one);
  run(&two);
  CHECK(one.main != mi_heap_main() && two.main != mi_heap_main() && one.main != two.main);
  CHECK(mi_subproc_current() == mi_subproc_main());
  CHECK_STR(one.block, "of a subprocess");
  mi_subproc_destroy(one.subproc);
  CHECK(!mi_is_in_heap_region(one.block));
  CHECK_STR(two.block, "of a subprocess");
  CHECK_STR(two.other, "of a heap in it");
  mi_subproc_destroy(two.subproc);
}

static void blocks_of_another_one_are_refused(void) {
  worker w = {.subproc = mi_subproc_new()};
  run(&w);
  mi_free(w.block);
  CHECK_EQ(mheap_last_error(NULL)->code, MHEAP_ERR_POINTER);
  CHECK_STR(w.block, "of a subprocess");
  CHECK(mi_realloc(w.block, 1000) == NULL);
  char *named = mi_heap_malloc(w.own, 10); /* a heap that is named works anywhere */
  CHECK(named != NULL);
  mi_subproc_destroy(w.subproc);
}

static void one_in_use_stays(void) {
  worker w = {.subproc = mi_subproc_new()};
  run(&w);
  mi_subproc_delete(w.subproc); /* blocks are in use */
  CHECK_STR(w.block, "of a subprocess");
  mi_subproc_add_current_thread(w.subproc);
  mi_subproc_destroy(w.subproc); /* a thread is in it */
  CHECK_STR(w.block, "of a subprocess");
  mi_free(w.block);
  mi_heap_destroy(w.own);
  mi_subproc_add_current_thread(mi_subproc_main());
  CHECK(mi_subproc_current() == mi_subproc_main());
  mi_subproc_delete(w.subproc);
  CHECK(!mi_is_in_heap_region(w.block));
  mi_subproc_destroy(mi_subproc_main());
  mi_subproc_delete(mi_subproc_main());
  mi_subproc_destroy(NULL);
  mi_free(mi_malloc(10));
}

static void the_default_heap_follows_the_thread(void) {
  mi_heap_t *own = mi_heap_new(), *before = mi_heap_main();
  mi_subproc_id_t subproc = mi_subproc_new();
  mi_heap_set_default(own);
  mi_subproc_add_current_thread(subproc);
  CHECK(mi_heap_get_default() == mi_heap_main() && mi_heap_main() != before);
  mi_subproc_add_current_thread(mi_subproc_main());
  CHECK(mi_heap_get_default() == before);
  mi_heap_destroy(own);
  mi_subproc_destroy(subproc);
}

/* ---- visiting ---- */

typedef struct seen {
  mi_heap_t *heaps[10];
  size_t count, stop;
} seen;

static bool see(mi_heap_t *heap, void *arg) {
  seen *s = arg;
  if (s->count < 10) s->heaps[s->count++] = heap;
  return s->count != s->stop;
}

static void heaps_are_visited(void) {
  worker w = {.subproc = mi_subproc_new()};
  run(&w);
  seen all = {0}, one = {.stop = 1};
  CHECK(mi_subproc_visit_heaps(w.subproc, see, &all));
  CHECK(all.count == 2 && all.heaps[0] == w.main && all.heaps[1] == w.own);
  CHECK(!mi_subproc_visit_heaps(w.subproc, see, &one));
  CHECK_EQ(one.count, 1);
  CHECK(!mi_subproc_visit_heaps(w.subproc, NULL, NULL));
  CHECK(!mi_subproc_visit_heaps((mi_subproc_id_t)4321, see, &all));
  mi_subproc_destroy(w.subproc);
  CHECK(!mi_subproc_visit_heaps(w.subproc, see, &all));
}

/* ---- what threads leave ---- */

static bool count(const mi_heap_t *heap, const mi_heap_area_t *area, void *block, size_t size, void *arg) {
  size_t *counts = arg;
  (void)heap, (void)area;
  if (block == NULL) return true;
  counts[0]++;
  counts[1] += size == 48 && memcmp(block, "left", 4) == 0;
  return true;
}

static void *leave(void *heap) {
  for (int i = 0; i < 100; i++) strcpy(mi_heap_malloc(heap, 48), "left");
  return NULL;
}

static void what_ended_threads_left_is_visited(void) {
  mi_subproc_id_t main = mi_subproc_main();
  mi_heap_t *heap = mi_heap_new_ex(77, true, 0);
  pthread_t thread;
  size_t before[2] = {0}, other[2] = {0}, any[2] = {0};
  strcpy(mi_heap_malloc(heap, 48), "mine");
  CHECK(mi_abandoned_visit_blocks(main, 77, true, count, before));
  CHECK_EQ(before[1], 0);
  REQUIRE(pthread_create(&thread, NULL, leave, heap) == 0);
  pthread_join(thread, NULL);
  size_t after[2] = {0};
  CHECK(mi_abandoned_visit_blocks(main, 77, true, count, after));
  CHECK(after[0] == 100 && after[1] == 100);
  CHECK(mi_abandoned_visit_blocks(main, 76, true, count, other));
  CHECK_EQ(other[0], 0);
  CHECK(mi_abandoned_visit_blocks(main, -1, true, count, any));
  CHECK(any[1] == 100);
  CHECK(mi_abandoned_visit_blocks(main, 77, false, count, other));
  CHECK_EQ(other[0], 0);
  CHECK(!mi_abandoned_visit_blocks(main, 77, true, NULL, NULL));
  mi_heap_destroy(heap);
}

static void *done_and_on(void *arg) {
  char *block = mi_strdup("stays");
  mi_thread_done();
  CHECK_STR(block, "stays");
  mi_free(mi_malloc(100));
  mi_free(block);
  return arg;
}

static void a_thread_may_be_done_early(void) {
  pthread_t thread;
  mi_process_init();
  mi_thread_init();
  REQUIRE(pthread_create(&thread, NULL, done_and_on, NULL) == 0);
  pthread_join(thread, NULL);
}

static void the_process_is_told_of(void) {
  size_t n[8];
  memset(n, 0xff, sizeof n);
  char *used = memset(mi_malloc(10 << 20), 1, 10 << 20);
  mi_process_info(&n[0], &n[1], &n[2], &n[3], &n[4], &n[5], &n[6], &n[7]);
  for (int i = 0; i < 8; i++) CHECK(n[i] < (size_t)1 << 60);
  CHECK(n[3] >= 10 << 20 && n[4] >= n[3] && n[5] > 0 && n[6] >= n[5]);
  size_t rss = 0;
  mi_process_info(NULL, NULL, NULL, &rss, NULL, NULL, NULL, NULL);
  CHECK(rss >= 10 << 20);
  mi_free(used);
}

TEST_MAIN(TEST(the_main_one_is_there), TEST(each_has_heaps_of_its_own),
          TEST(blocks_of_another_one_are_refused), TEST(one_in_use_stays),
          TEST(the_default_heap_follows_the_thread), TEST(heaps_are_visited),
          TEST(what_ended_threads_left_is_visited), TEST(a_thread_may_be_done_early),
          TEST(the_process_is_told_of))
