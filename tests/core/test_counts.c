/* test_counts.c: units of peaks and totals: what is handed out in each size class, as spans and as
   huge spans, in a process and since a reset; over threads, lanes and heaps that go; as a table, as
   JSON. */
#include <pthread.h>
#include <sched.h>

#include "classes.h"
#include "heap.h"
#include "model.h"

static mheap *anonymous(void) { return mheap_attach(-1, NULL, NULL); }

static mheap_stats stats_of(mheap *heap) {
  mheap_stats stats;
  CHECK_EQ(mheap_get_stats(heap, &stats), MHEAP_OK);
  return stats;
}

static mheap_class_stats class_of(mheap *heap, size_t size) {
  return stats_of(heap).classes[mh_class_of(size)];
}

#define MOST 20000
static void *blocks[MOST];

static void make(mheap *heap, size_t size, unsigned count) {
  for (unsigned i = 0; i < count; i++) CHECK((blocks[i] = mheap_malloc(heap, size)) != NULL);
}

static void release(mheap *heap, unsigned count) {
  for (unsigned i = 0; i < count; i++) CHECK_EQ(mheap_free(heap, blocks[i]), MHEAP_OK);
}

static uint64_t within(uint64_t value, uint64_t least, uint64_t most) {
  if (!CHECK(value >= least && value <= most))
    fprintf(stderr, "  %llu is not from %llu to %llu\n", (unsigned long long)value, (unsigned long long)least,
            (unsigned long long)most);
  return value;
}

/* Never too few; more by what one word has. */
static void expect(mheap *heap, size_t size, uint64_t used, uint64_t peak, uint64_t total) {
  mheap_class_stats stats = class_of(heap, size);
  CHECK_EQ(stats.used, used);
  within(stats.peak, peak, peak + 64);
  CHECK_EQ(stats.peak_bytes, stats.peak * mheap_good_size(size));
  CHECK_EQ(stats.total, total);
  CHECK_EQ(stats.total_bytes, total * mheap_good_size(size));
}

/* ---- size classes ---- */

static void every_block_is_counted(void) {
  const size_t sizes[] = {16, 64, 112, 1024, 5000, 65536};
  const unsigned counts[] = {1, 63, 64, 65, 1000, 3000};
  mheap *heap = anonymous();
  REQUIRE(heap != NULL);
  make(heap, 48, 100);
  CHECK_EQ(class_of(heap, 48).peak, 100);
  release(heap, 100);
  CHECK_EQ(class_of(heap, 48).peak, 100);
  for (unsigned s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
    uint64_t peak = 0, total = 0;
    for (unsigned c = 0; c < sizeof counts / sizeof counts[0]; c++) {
      if (sizes[s] * counts[c] > (64 << 20)) continue;
      make(heap, sizes[s], counts[c]);
      peak = counts[c];
      total += counts[c];
      expect(heap, sizes[s], counts[c], peak, total);
      release(heap, counts[c]);
      expect(heap, sizes[s], 0, peak, total);
    }
  }
  mheap_abandon(heap);
}

static void a_peak_is_exact_to_within_a_slab(void) {
  const size_t sizes[] = {16, 100, 700, 3000};
  uint64_t random = 1;
  for (unsigned s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
    mheap *heap = anonymous();
    REQUIRE(heap != NULL);
    unsigned live = 0, most = 0;
    uint64_t total = 0, slab = mh_classes[mh_class_of(sizes[s])].blocks;
    for (unsigned i = 0; i < 60000; i++) {
      bool grow = live == 0 || (live < MOST && random_below(&random, 100) < (i / 6000 % 2 ? 40u : 60u));
      if (grow) {
        blocks[live++] = mheap_malloc(heap, sizes[s]);
        total++;
      } else {
        unsigned which = (unsigned)random_below(&random, live);
        CHECK_EQ(mheap_free(heap, blocks[which]), MHEAP_OK);
        blocks[which] = blocks[--live];
      }
      if (live > most) most = live;
      if (i % 5000 != 0) continue;
      mheap_class_stats stats = class_of(heap, sizes[s]);
      CHECK_EQ(stats.used, live);
      CHECK_EQ(stats.total, total);
      within(stats.peak, most, most + slab);
    }
    mheap_abandon(heap);
  }
}

/* ---- spans ---- */

static void spans_and_huge_spans_are_counted(void) {
  mheap *heap = anonymous();
  REQUIRE(heap != NULL);
  char *a = mheap_malloc(heap, 100000), *b = mheap_malloc(heap, 200000), *c = mheap_malloc(heap, 9 << 20);
  CHECK_EQ(mheap_free(heap, a), MHEAP_OK);
  b = mheap_realloc(heap, b, 300000);
  mheap_stats stats = stats_of(heap);
  uint64_t size_b = mheap_good_size(300000), size_c = mheap_good_size(9 << 20);
  CHECK_EQ(stats.spans.used, 1);
  CHECK_EQ(stats.spans.used_bytes, size_b);
  CHECK_EQ(stats.spans.peak, 2);
  CHECK(stats.spans.total >= 2 &&
        stats.spans.peak_bytes >= mheap_good_size(100000) + mheap_good_size(200000));
  CHECK_EQ(stats.huge.used, 1);
  CHECK_EQ(stats.huge.peak, 1);
  CHECK_EQ(stats.huge.total, 1);
  CHECK_EQ(stats.huge.total_bytes, size_c);
  CHECK_EQ(mheap_free(heap, b), MHEAP_OK);
  CHECK_EQ(mheap_free(heap, c), MHEAP_OK);
  stats = stats_of(heap);
  CHECK_EQ(stats.spans.used, 0);
  CHECK_EQ(stats.spans.peak, 2);
  CHECK_EQ(stats.huge.used, 0);
  CHECK_EQ(stats.huge.peak, 1);
  CHECK_EQ(stats.huge.peak_bytes, size_c);
  mheap_abandon(heap);
}

/* ---- since when ---- */

static void a_reset_begins_anew(void) {
  mheap *heap = anonymous();
  REQUIRE(heap != NULL);
  make(heap, 64, 1000);
  void *span = mheap_malloc(heap, 100000);
  for (unsigned i = 300; i < 1000; i++) CHECK_EQ(mheap_free(heap, blocks[i]), MHEAP_OK);
  CHECK_EQ(mheap_stats_reset(heap), MHEAP_OK);
  mheap_class_stats class = class_of(heap, 64);
  CHECK_EQ(class.used, 300);
  CHECK_EQ(class.total, 0);
  within(class.peak, 300, 300 + mh_classes[mh_class_of(64)].blocks);
  CHECK_EQ(stats_of(heap).spans.total, 0);
  CHECK_EQ(stats_of(heap).spans.peak, 1);
  CHECK_EQ(mheap_free(heap, span), MHEAP_OK);
  release(heap, 300);
  make(heap, 64, 10);
  CHECK_EQ(class_of(heap, 64).total, 10);
  mheap_abandon(heap);
}

static void what_a_file_held_counts_as_in_use(void) {
  const char *path = test_path("held.heap");
  const mheap_options live = {.mode = MHEAP_MODE_LIVE};
  mheap *heap = mheap_open(path, &live, NULL);
  REQUIRE(heap != NULL);
  make(heap, 64, 500);
  void *span = mheap_malloc(heap, 100000);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  heap = mheap_open(path, &live, NULL);
  REQUIRE(heap != NULL);
  expect(heap, 64, 500, 500, 0);
  CHECK_EQ(stats_of(heap).spans.peak, 1);
  CHECK_EQ(stats_of(heap).spans.total, 0);
  for (unsigned i = 0; i < 100; i++) CHECK_EQ(mheap_free(heap, blocks[i]), MHEAP_OK);
  CHECK_EQ(mheap_free(heap, span), MHEAP_OK);
  mheap_class_stats stats = class_of(heap, 64);
  CHECK_EQ(stats.used, 400);
  within(stats.peak, 400, 500 + mh_classes[mh_class_of(64)].blocks);
  CHECK_EQ(stats_of(heap).spans.peak, 1);
  CHECK(mheap_malloc(heap, 64) != NULL);
  CHECK_EQ(class_of(heap, 64).total, 1);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* ---- heaps beside the main one ---- */

static void each_heap_is_counted_alone_and_together(void) {
  mheap_stats stats;
  mheap *heap = anonymous();
  REQUIRE(heap != NULL);
  mheap *second = mheap_new(heap, 0, true, 0), *third = mheap_new(heap, 0, true, 0);
  REQUIRE(second != NULL && third != NULL);
  make(heap, 64, 10);
  for (unsigned i = 0; i < 30; i++) mheap_malloc(second, 64);
  for (unsigned i = 0; i < 5; i++) mheap_malloc(third, 64);
  mheap_malloc(third, 100000);
  CHECK_EQ(mheap_get_heap_stats(second, &stats), MHEAP_OK);
  CHECK_EQ(stats.chunks_used, 30);
  CHECK_EQ(stats.classes[mh_class_of(64)].total, 30);
  CHECK_EQ(stats.spans.total, 0);
  CHECK_EQ(mheap_get_heap_stats(heap, &stats), MHEAP_OK);
  CHECK_EQ(stats.classes[mh_class_of(64)].total, 10);
  CHECK_EQ(class_of(heap, 64).total, 45);
  CHECK_EQ(mheap_destroy(second), MHEAP_OK);
  CHECK_EQ(class_of(heap, 64).used, 15);
  CHECK_EQ(class_of(heap, 64).total, 45);
  CHECK_EQ(mheap_delete(third), MHEAP_OK);
  CHECK_EQ(class_of(heap, 64).used, 15);
  CHECK_EQ(class_of(heap, 64).total, 45);
  CHECK_EQ(stats_of(heap).spans.used, 1);
  CHECK_EQ(stats_of(heap).spans.peak, 1);
  CHECK_EQ(stats_of(heap).spans.total, 1);
  CHECK_EQ(mheap_get_heap_stats(heap, &stats), MHEAP_OK);
  CHECK_EQ(stats.chunks_used, 16);
  second = mheap_new(heap, 0, true, 0); /* a handle that was another's starts from nothing */
  CHECK_EQ(mheap_get_heap_stats(second, &stats), MHEAP_OK);
  CHECK_EQ(stats.classes[mh_class_of(64)].total, 0);
  mheap_abandon(heap);
}

static void objects_are_the_main_heaps(void) {
  mheap_stats stats;
  mheap *heap = anonymous();
  REQUIRE(heap != NULL);
  for (unsigned i = 0; i < 100; i++) CHECK_EQ(mh_own_free(heap, mh_own_malloc(heap, 40)), MHEAP_OK);
  CHECK_EQ(class_of(heap, 40).total, 100);
  CHECK_EQ(mheap_get_heap_stats(heap, &stats), MHEAP_OK);
  CHECK_EQ(stats.classes[mh_class_of(40)].total, 100);
  mheap_abandon(heap);
}

/* ---- threads ---- */

enum { THREADS = 4, EACH = 5000 };

typedef struct counted {
  mheap *heap;
  void *_Atomic passed[256];
  _Atomic unsigned at;
  _Atomic bool stop;
} counted;

static void *allocate_and_free(void *arg) {
  counted *c = arg;
  for (unsigned i = 0; i < EACH; i++) {
    void *old = atomic_exchange(&c->passed[c->at++ % 256], mheap_malloc(c->heap, 48));
    if (old != NULL) CHECK_EQ(mheap_free(c->heap, old), MHEAP_OK);
  }
  return NULL;
}

static void *look_on(void *arg) {
  counted *c = arg;
  uint64_t total = 0;
  while (!c->stop) {
    mheap_class_stats stats = class_of(c->heap, 48);
    CHECK(stats.peak >= stats.used || stats.peak + THREADS * 64 >= stats.used);
    total = stats.total;
    mheap_thread_stats_print_out(NULL, NULL);
  }
  CHECK(total <= 3 * THREADS * EACH);
  return NULL;
}

static void ignore(const char *text, void *arg) { (void)text, (void)arg; }

static void threads_that_come_and_go_lose_no_count(void) {
  static counted c;
  pthread_t threads[THREADS], watcher;
  c = (counted){.heap = anonymous()};
  REQUIRE(c.heap != NULL);
  mheap_register_output(ignore, NULL);
  pthread_create(&watcher, NULL, look_on, &c);
  for (unsigned round = 1; round <= 3; round++) {
    for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, allocate_and_free, &c);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    CHECK_EQ(class_of(c.heap, 48).total, round * THREADS * EACH);
  }
  c.stop = true;
  pthread_join(watcher, NULL);
  mheap_register_output(NULL, NULL);
  within(class_of(c.heap, 48).peak, 256, 256 + (THREADS + 1) * mh_classes[mh_class_of(48)].blocks);
  mheap_abandon(c.heap);
}

/* ---- in words ---- */

typedef struct heard {
  unsigned calls;
  size_t length;
  char text[200000];
} heard;

static void hear(const char *text, void *arg) {
  heard *h = arg;
  h->calls++;
  h->length += (size_t)snprintf(h->text + h->length, sizeof h->text - h->length, "%s", text);
}

static void a_table_has_a_line_for_each_class(void) {
  static heard h;
  mheap *heap = anonymous();
  REQUIRE(heap != NULL);
  make(heap, 96, 7);
  CHECK_EQ(mheap_stats_print_out(heap, hear, &h), MHEAP_OK);
  CHECK_CONTAINS(h.text, "anonymous memory");
  CHECK_CONTAINS(h.text, "\n       96            7            7              7        1 ");
  CHECK_CONTAINS(h.text, "\n    spans            0 ");
  CHECK_CONTAINS(h.text, "\n     huge            0 ");
  CHECK(strstr(h.text, "\n     1024 ") == NULL);
  h = (heard){0};
  mheap_register_output(hear, &h);
  CHECK_EQ(mheap_stats_print(heap), MHEAP_OK);
  mheap_register_output(NULL, NULL);
  CHECK_CONTAINS(h.text, "peak bytes");
  mheap_abandon(heap);
}

static void json_fits_a_buffer_or_says_how_much_it_is(void) {
  static char whole[200000], part[100];
  static heard h;
  mheap *heap = anonymous();
  REQUIRE(heap != NULL);
  make(heap, 96, 7);
  size_t length = mheap_stats_json(heap, NULL, 0);
  CHECK(length > 300);
  CHECK_EQ(mheap_stats_json(heap, whole, sizeof whole), length);
  CHECK_EQ(strlen(whole), length);
  CHECK_CONTAINS(whole, "{\"name\": \"anonymous memory\", \"bytes_total\": ");
  CHECK_CONTAINS(whole, "\"classes\": [{\"block_size\": 96, \"runs\": 1, ");
  CHECK_CONTAINS(whole, "\"peak\": 7, \"peak_bytes\": 672, \"total\": 7, \"total_bytes\": 672}");
  CHECK_EQ(mheap_stats_json(heap, part, sizeof part), length);
  CHECK_EQ(strlen(part), sizeof part - 1);
  CHECK(memcmp(part, whole, sizeof part - 1) == 0);
  CHECK_EQ(mheap_stats_json_out(heap, hear, &h), MHEAP_OK);
  CHECK_STR(h.text, whole);
  mheap_abandon(heap);
}

static void names_are_quoted(void) {
  static mheap_stats stats;
  static heard h;
  mheap_stats_write(&stats, "a\"b\\c\n\xc3\xa9\xff\xed\xa0\x80z", true, hear, &h);
  CHECK_CONTAINS(h.text, "\"a\\\"b\\\\c\\u000a\xc3\xa9\\ufffd\\ufffd\\ufffd\\ufffdz\"");
  h = (heard){0};
  mheap_stats_write(&stats, "counts", false, hear, &h);
  CHECK_CONTAINS(h.text, "counts: 0 bytes");
}

static void *allocate_seven(void *arg) {
  static heard h;
  h = (heard){0};
  for (int i = 0; i < 7; i++) mheap_free(arg, mheap_malloc(arg, 200));
  CHECK_EQ(mheap_thread_stats_print_out(hear, &h), MHEAP_OK);
  CHECK_CONTAINS(h.text, "this thread, in anonymous memory");
  CHECK_CONTAINS(h.text, "      208              7               1456\n");
  mheap_stats_merge();
  h = (heard){0};
  CHECK_EQ(mheap_thread_stats_print_out(hear, &h), MHEAP_OK);
  CHECK(strstr(h.text, "208") == NULL);
  mheap_free(arg, mheap_malloc(arg, 200));
  h = (heard){0};
  CHECK_EQ(mheap_thread_stats_print_out(hear, &h), MHEAP_OK);
  CHECK_CONTAINS(h.text, "      208              1                208\n");
  return NULL;
}

static void a_thread_has_counts_of_its_own(void) {
  pthread_t thread;
  mheap *heap = anonymous();
  REQUIRE(heap != NULL);
  for (unsigned i = 1; i <= 3; i++) {
    mheap_free(heap, mheap_malloc(heap, 200));
    pthread_create(&thread, NULL, allocate_seven, heap);
    pthread_join(thread, NULL);
    CHECK_EQ(class_of(heap, 200).total, i * 9);
  }
  mheap_abandon(heap);
}

static void a_heap_that_cannot_be_counted_says_so(void) {
  CHECK_EQ(mheap_get_heap_stats(NULL, NULL), MHEAP_ERR_ARGUMENT);
  CHECK_EQ(mheap_stats_reset(NULL), MHEAP_OK);
  CHECK(mheap_stats_json(NULL, NULL, 0) > 0);
}

TEST_MAIN(TEST(every_block_is_counted), TEST(a_peak_is_exact_to_within_a_slab),
          TEST(spans_and_huge_spans_are_counted), TEST(a_reset_begins_anew),
          TEST(what_a_file_held_counts_as_in_use), TEST(each_heap_is_counted_alone_and_together),
          TEST(objects_are_the_main_heaps), TEST(threads_that_come_and_go_lose_no_count),
          TEST(a_table_has_a_line_for_each_class), TEST(json_fits_a_buffer_or_says_how_much_it_is),
          TEST(names_are_quoted), TEST(a_thread_has_counts_of_its_own),
          TEST(a_heap_that_cannot_be_counted_says_so))
