/* test_registered.c: units of the functions that a program registers: output, errors, deferred
   freeing. What they are called with, when, how often exactly; what they may do; that nothing is
   said or called when none is registered. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>

#include "deferred.h"
#include "heap.h"
#include "lane.h"
#include "map.h"
#include "model.h"
#include "output.h"
#include "report.h"

enum { EVERY = MHEAP_DEFERRED_FREE_EVERY };

static mheap *anonymous(uint64_t size) {
  mheap_options options = {.max_size = size};
  return mheap_attach(-1, &options, NULL);
}

/* ---- what was called ---- */

typedef struct heard {
  unsigned lines, calls;
  int number;      /* of the last error */
  char text[4096]; /* all output */
  mheap *heap;     /* to be used inside of a call */
} heard;

static void hear(const char *text, void *arg) {
  heard *h = arg;
  h->lines++;
  snprintf(h->text + strlen(h->text), sizeof h->text - strlen(h->text), "%s", text);
}

static void hear_error(int number, void *arg) {
  heard *h = arg;
  CHECK_EQ(h->lines, h->calls + 1); /* the message comes first */
  h->calls++;
  h->number = number;
}

static void listen(heard *h) {
  *h = (heard){0};
  mheap_register_output(hear, h);
  mheap_register_error(hear_error, h);
}

static void stop_listening(void) {
  mheap_register_output(NULL, NULL);
  mheap_register_error(NULL, NULL);
}

/* ---- output ---- */

/* What `print` writes to standard error. */
static const char *standard_error(void (*print)(void)) {
  static char text[4096];
  int ends[2], saved = dup(STDERR_FILENO);
  if (pipe(ends) != 0) return "no pipe";
  dup2(ends[1], STDERR_FILENO);
  print();
  dup2(saved, STDERR_FILENO);
  close(saved);
  close(ends[1]);
  ssize_t got = read(ends[0], text, sizeof text - 1);
  close(ends[0]);
  text[got > 0 ? got : 0] = '\0';
  return text;
}

static void print_two_lines(void) {
  mh_output("one %d\n", 1);
  mh_output("%s\n", "two");
}

static void output_goes_where_it_was_told_to(void) {
  heard h = {0};
  CHECK_STR(standard_error(print_two_lines), "one 1\ntwo\n");
  mheap_register_output(hear, &h);
  CHECK_STR(standard_error(print_two_lines), "");
  CHECK_STR(h.text, "one 1\ntwo\n");
  mheap_register_output(NULL, &h);
  CHECK_STR(standard_error(print_two_lines), "one 1\ntwo\n");
  CHECK_EQ(h.lines, 2);
}

static void output_can_go_to_a_function_of_the_callers(void) {
  heard h = {0}, general = {0};
  mheap_register_output(hear, &general);
  mh_output_to(hear, &h, "%s", "to one");
  mh_output_to(NULL, &h, "%s", "to all");
  stop_listening();
  CHECK_STR(h.text, "to one");
  CHECK_STR(general.text, "to all");
}

static void hear_and_print(const char *text, void *arg) {
  hear(text, arg);
  if (((heard *)arg)->lines < 10) mh_output("%s", "");
}

static void output_of_the_function_itself_does_not_come_back(void) {
  heard h = {0};
  mheap_register_output(hear_and_print, &h);
  mh_output("%s", "once");
  mh_output("%s", ", twice");
  stop_listening();
  CHECK_STR(h.text, "once, twice");
  CHECK_EQ(h.lines, 2);
}

static void long_output_is_cut_off(void) {
  static heard h;
  static char text[3000];
  memset(text, 'x', sizeof text - 1);
  mheap_register_output(hear, &h);
  mh_output("%s", text);
  stop_listening();
  CHECK_EQ(strlen(h.text), MH_OUTPUT_MOST);
}

/* ---- errors ---- */

static void expect(heard *h, int number, const mheap *heap, mheap_err code) {
  CHECK_EQ(h->calls, 1);
  CHECK_EQ(h->number, number);
  CHECK_EQ(mheap_last_error(heap)->code, code);
  CHECK_CONTAINS(h->text, mheap_last_error(heap)->text);
  h->calls = h->lines = 0;
  h->text[0] = '\0';
}

static void each_kind_of_error_is_told(void) {
  heard h;
  mheap *heap = anonymous(4 << 20);
  REQUIRE(heap != NULL);
  void *block = mheap_malloc(heap, 100);
  CHECK_EQ(mheap_free(heap, block), MHEAP_OK);
  listen(&h);
  errno = 4711;
  mheap_free(heap, block);
  CHECK_EQ(errno, 4711);
  expect(&h, EAGAIN, heap, MHEAP_ERR_DOUBLE_FREE);
  mheap_free(heap, &h);
  expect(&h, EINVAL, heap, MHEAP_ERR_POINTER);
  CHECK(mheap_realloc(heap, &h, 10) == NULL);
  expect(&h, EINVAL, heap, MHEAP_ERR_POINTER);
  CHECK(mheap_malloc(heap, 5 << 20) == NULL);
  expect(&h, ENOMEM, heap, MHEAP_ERR_FULL);
  CHECK(mheap_memalign(heap, 64, 5 << 20) == NULL);
  expect(&h, ENOMEM, heap, MHEAP_ERR_FULL);
  CHECK(mheap_calloc(heap, SIZE_MAX / 2, 3) == NULL);
  expect(&h, EOVERFLOW, heap, MHEAP_ERR_OVERFLOW);
  CHECK(mheap_malloc(heap, SIZE_MAX) == NULL);
  expect(&h, EOVERFLOW, heap, MHEAP_ERR_OVERFLOW);
  stop_listening();
  mheap_abandon(heap);
}

static void the_default_heap_and_calls_without_one_tell_too(void) {
  heard h;
  void *block = mheap_malloc(NULL, 100);
  CHECK_EQ(mheap_free(NULL, block), MHEAP_OK);
  listen(&h);
  mheap_free(NULL, block);
  expect(&h, EAGAIN, NULL, MHEAP_ERR_DOUBLE_FREE);
  mheap_free_any(block);
  expect(&h, EAGAIN, NULL, MHEAP_ERR_DOUBLE_FREE);
  mheap_free_any(&h);
  expect(&h, EINVAL, NULL, MHEAP_ERR_POINTER);
  CHECK(mheap_realloc_any(&h, 10) == NULL);
  expect(&h, EINVAL, NULL, MHEAP_ERR_POINTER);
  CHECK(mheap_calloc(NULL, SIZE_MAX, 2) == NULL);
  expect(&h, EOVERFLOW, NULL, MHEAP_ERR_OVERFLOW);
  stop_listening();
}

static void damaged_bookkeeping_is_told(void) {
  heard h;
  mheap *heap = anonymous(64 << 20);
  REQUIRE(heap != NULL);
  void *huge = mheap_malloc(heap, 9 << 20);
  REQUIRE(huge != NULL);
  uint64_t segment = (uint64_t)((char *)huge - heap->region->segments) / MH_SEGMENT;
  uint64_t *word = mh_map_word(heap->region, segment, NULL);
  REQUIRE(word != NULL);
  *word |= (((uint64_t)1 << MH_MAP_COUNT_BITS) - 1) << MH_MAP_COUNT_SHIFT; /* longer than the region */
  listen(&h);
  CHECK(mheap_free(heap, huge) != MHEAP_OK);
  expect(&h, EFAULT, heap, MHEAP_ERR_CORRUPT);
  stop_listening();
  mheap_abandon(heap);
}

static void ignore_block(mheap *heap, void *block, mheap_probe status) {
  (void)heap, (void)block, (void)status;
}

static void an_overwritten_guard_is_told(void) {
  heard h;
  mheap *heap = anonymous(64 << 20);
  REQUIRE(heap != NULL);
  CHECK_EQ(mheap_mcheck(heap, ignore_block, false), MHEAP_OK);
  char *block = mheap_malloc(heap, 100);
  block[-1] ^= 1;
  listen(&h);
  CHECK_EQ(mheap_free(heap, block), MHEAP_ERR_OVERRUN);
  expect(&h, EFAULT, heap, MHEAP_ERR_OVERRUN);
  stop_listening();
  mheap_abandon(heap);
}

static void what_is_asked_or_refused_otherwise_is_not_told(void) {
  heard h;
  mheap *heap = anonymous(4 << 20);
  REQUIRE(heap != NULL);
  listen(&h);
  CHECK_EQ(mheap_usable_size(heap, &h), 0);
  CHECK(mheap_heap_of(&h) == NULL);
  CHECK(mheap_memalign(heap, 3, 10) == NULL);
  CHECK_EQ(mheap_setkey(heap, -1, NULL), MHEAP_ERR_ARGUMENT);
  CHECK_EQ(h.calls, 0);
  CHECK_EQ(h.lines, 0);
  stop_listening();
  mheap_abandon(heap);
}

/* A kind's arena that is full goes on in another region: that is no error. */
static void a_kind_tells_only_what_it_cannot_mend(void) {
  heard h;
  mheap *heap = anonymous(8 << 20);
  REQUIRE(heap != NULL);
  mheap_kind *kind = mheap_kind_create("small", MHEAP_KIND_BIJECTIVE, heap);
  REQUIRE(kind != NULL);
  listen(&h);
  CHECK(mheap_kind_malloc(kind, 16 << 20) == NULL);
  CHECK_EQ(h.calls, 1);
  CHECK_EQ(h.number, ENOMEM);
  h.calls = h.lines = 0;
  CHECK(mheap_kind_free(kind, &h) != MHEAP_OK);
  CHECK_EQ(h.calls, 1);
  CHECK_EQ(h.number, EINVAL);
  stop_listening();
  mheap_abandon(heap);
}

static void free_something_wild(void) { mheap_free(NULL, (void *)64); }

static void without_functions_nothing_is_said(void) {
  heard h = {0};
  CHECK_STR(standard_error(free_something_wild), "");
  mheap_register_error(hear_error, &h);
  h.lines = 1; /* what hear_error expects */
  CHECK_CONTAINS(standard_error(free_something_wild), "mheap: ");
  CHECK_EQ(h.calls, 1);
  mheap_register_error(NULL, NULL);
  mheap_register_output(hear, &h);
  free_something_wild();
  CHECK_CONTAINS(h.text, "mheap: ");
  stop_listening();
  CHECK_STR(standard_error(free_something_wild), "");
}

/* Errors of its own, other heaps, registering another: all of it is allowed. */
static void err_again(int number, void *arg) {
  heard *h = arg;
  h->calls++;
  h->number = number;
  mheap_free(h->heap, h);
  mheap_free(NULL, h);
  CHECK(mheap_malloc(h->heap, SIZE_MAX) == NULL);
  CHECK_EQ(mheap_free(h->heap, mheap_malloc(h->heap, 64)), MHEAP_OK);
  if (h->calls == 2) mheap_register_error(NULL, NULL);
}

static void an_error_function_may_err(void) {
  static heard h;
  h = (heard){.heap = anonymous(4 << 20)};
  REQUIRE(h.heap != NULL);
  mheap_register_output(hear, &h);
  mheap_register_error(err_again, &h);
  for (unsigned i = 1; i <= 3; i++) {
    CHECK(mheap_malloc(h.heap, 5 << 20) == NULL);
    CHECK_EQ(mheap_last_error(h.heap)->code, MHEAP_ERR_FULL);
    CHECK_EQ(h.calls, i < 2 ? i : 2);
    CHECK_EQ(h.lines, i);
  }
  stop_listening();
  mheap_abandon(h.heap);
}

/* ---- deferred freeing ---- */

typedef struct deferred {
  unsigned calls, forced;
  unsigned long long heartbeat;
  void *block; /* to be freed when it is called */
  mheap *heap;
  bool allocates;
} deferred;

static void free_deferred(bool force, unsigned long long heartbeat, void *arg) {
  deferred *d = arg;
  d->calls++;
  d->forced += force;
  CHECK(heartbeat > d->heartbeat);
  d->heartbeat = heartbeat;
  if (d->block != NULL) CHECK_EQ(mheap_free(d->heap, d->block), MHEAP_OK);
  d->block = NULL;
  for (unsigned i = 0; d->allocates && i < 3 * EVERY; i++) mheap_free(d->heap, mheap_malloc(d->heap, 32));
  if (d->allocates) mheap_collect(d->heap, true);
}

static void it_is_called_after_so_many_allocations(void) {
  mheap *heap = anonymous(0);
  REQUIRE(heap != NULL);
  mheap_free(heap, mheap_malloc(heap, 64)); /* a lane is at hand, and must not be used */
  mheap_free(NULL, mheap_malloc(NULL, 64));
  for (unsigned round = 0; round < 3; round++) {
    deferred d = {0};
    mheap_register_deferred_free(free_deferred, &d);
    for (unsigned i = 1; i <= 5 * EVERY; i++) {
      void *block = mheap_malloc(i % 3 ? heap : NULL, 16 + i);
      if (i % 2) mheap_free_any(block);
      CHECK_EQ(d.calls, i / EVERY);
    }
    CHECK_EQ(d.forced, 0);
    mheap_register_deferred_free(NULL, NULL);
    for (unsigned i = 0; i < 2 * EVERY; i++) mheap_free(heap, mheap_malloc(heap, 64));
    CHECK_EQ(d.calls, 5);
  }
  mheap_abandon(heap);
}

static void every_way_to_allocate_is_counted(void) {
  deferred d = {0};
  mheap *heap = anonymous(0), *hooked = anonymous(0);
  REQUIRE(heap != NULL && hooked != NULL);
  CHECK_EQ(mheap_mcheck(hooked, NULL, false), MHEAP_OK);
  mheap_register_deferred_free(free_deferred, &d);
  void *block = NULL;
  for (unsigned i = 0; i < EVERY / 8; i++) {
    block = mheap_realloc(heap, block, 64 * (i + 1));
    block = mheap_realloc_any(block, 64 * (i + 1) + 32);
    mheap_free(heap, mheap_calloc(heap, 3, 5));
    mheap_free(heap, mheap_memalign(heap, 128, 5));
    mheap_free(heap, mheap_malloc(heap, 200000));
    mheap_free(hooked, mheap_malloc(hooked, 20));
    mheap_free(hooked, mheap_calloc(hooked, 2, 20));
    CHECK_EQ(d.calls, 0);
    mheap_free(NULL, mheap_malloc(NULL, 20));
  }
  CHECK_EQ(d.calls, 1);
  mheap_register_deferred_free(NULL, NULL);
  mheap_abandon(heap);
  mheap_abandon(hooked);
}

static void objects_are_not_counted(void) {
  deferred d = {0};
  mheap *heap = anonymous(0);
  REQUIRE(heap != NULL);
  mheap_register_deferred_free(free_deferred, &d);
  for (unsigned i = 0; i < 2 * EVERY; i++) CHECK_EQ(mh_own_free(heap, mh_own_malloc(heap, 64)), MHEAP_OK);
  CHECK_EQ(d.calls, 0);
  mheap_register_deferred_free(NULL, NULL);
  mheap_abandon(heap);
}

static void it_is_not_called_inside_of_itself(void) {
  deferred d = {.allocates = true, .heap = anonymous(0)};
  REQUIRE(d.heap != NULL);
  mheap_register_deferred_free(free_deferred, &d);
  for (unsigned i = 1; i <= 3 * EVERY; i++) {
    mheap_free(d.heap, mheap_malloc(d.heap, 64));
    CHECK_EQ(d.calls, i / EVERY);
  }
  mheap_register_deferred_free(NULL, NULL);
  mheap_abandon(d.heap);
}

static void collecting_calls_it(void) {
  deferred d = {.heap = anonymous(0)};
  REQUIRE(d.heap != NULL);
  mheap_register_deferred_free(free_deferred, &d);
  CHECK_EQ(mheap_collect(d.heap, false), MHEAP_OK);
  CHECK_EQ(d.calls, 1);
  CHECK_EQ(d.forced, 0);
  d.block = mheap_malloc(d.heap, 64);
  CHECK_EQ(mheap_collect(NULL, true), MHEAP_OK);
  CHECK_EQ(d.forced, 1);
  CHECK(d.block == NULL);
  mheap_register_deferred_free(NULL, NULL);
  CHECK_EQ(mheap_collect(d.heap, true), MHEAP_OK);
  CHECK_EQ(d.calls, 2);
  mheap_abandon(d.heap);
}

static void a_full_heap_asks_for_more(void) {
  deferred d = {.heap = anonymous(32 << 20)};
  REQUIRE(d.heap != NULL);
  mheap_register_deferred_free(free_deferred, &d);
  d.block = mheap_malloc(d.heap, 17 << 20);
  REQUIRE(d.block != NULL);
  void *block = mheap_malloc(d.heap, 16 << 20);
  CHECK(block != NULL && d.block == NULL);
  CHECK_EQ(d.forced, 1);
  CHECK(mheap_malloc(d.heap, 16 << 20) == NULL); /* it had nothing more to free */
  CHECK_EQ(d.forced, 2);
  CHECK(mheap_malloc(d.heap, SIZE_MAX) == NULL); /* nothing that is freed helps */
  CHECK_EQ(d.forced, 2);
  mheap_register_deferred_free(NULL, NULL);
  mheap_abandon(d.heap);
}

/* ---- threads ---- */

typedef struct counted {
  deferred d;
  mheap *heap;
  _Atomic int step;
} counted;

static __thread deferred *of_this_thread;

static void free_of_thread(bool force, unsigned long long heartbeat, void *arg) {
  (void)arg;
  if (of_this_thread != NULL) free_deferred(force, heartbeat, of_this_thread);
}

static void *allocate_before_and_after(void *arg) {
  counted *c = arg;
  of_this_thread = &c->d;
  for (unsigned i = 0; i < 1000; i++) mheap_free(c->heap, mheap_malloc(c->heap, 64));
  c->step++;
  while (c->step < 2) sched_yield();
  for (unsigned i = 1; i <= 3 * EVERY; i++) {
    mheap_free(c->heap, mheap_malloc(c->heap, 64));
    CHECK_EQ(c->d.calls, i / EVERY);
    CHECK_EQ(c->d.heartbeat, i / EVERY);
  }
  return NULL;
}

static void each_thread_is_counted_from_registration_on(void) {
  static counted c[2];
  pthread_t threads[2];
  mheap *heap = anonymous(0);
  REQUIRE(heap != NULL);
  for (int i = 0; i < 2; i++) {
    c[i] = (counted){.heap = heap};
    pthread_create(&threads[i], NULL, allocate_before_and_after, &c[i]);
  }
  for (int i = 0; i < 2; i++)
    while (c[i].step < 1) sched_yield();
  mheap_register_deferred_free(free_of_thread, NULL);
  for (int i = 0; i < 2; i++) c[i].step++;
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  mheap_register_deferred_free(NULL, NULL);
  mheap_abandon(heap);
}

typedef struct pair {
  int first, second;
} pair;
static pair pairs[2] = {{1, 1}, {2, 2}};

static void check_pair_1(bool force, unsigned long long heartbeat, void *arg) {
  (void)force, (void)heartbeat;
  CHECK(((pair *)arg)->first == 1);
}
static void check_pair_2(bool force, unsigned long long heartbeat, void *arg) {
  (void)force, (void)heartbeat;
  CHECK(((pair *)arg)->first == 2);
}

static _Atomic bool stop;
static void *allocate_on(void *arg) {
  while (!stop) mheap_free(arg, mheap_malloc(arg, 64));
  return NULL;
}

static void a_function_never_gets_the_argument_of_another(void) {
  pthread_t threads[2];
  mheap *heap = anonymous(0);
  REQUIRE(heap != NULL);
  stop = false;
  for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, allocate_on, heap);
  for (unsigned i = 0; i < 2000 * test_scale(); i++) {
    if (i % 3 == 2) mheap_register_deferred_free(NULL, NULL);
    else mheap_register_deferred_free(i % 3 ? check_pair_1 : check_pair_2, &pairs[i % 3 ? 0 : 1]);
    for (int n = 0; n < 20; n++) mheap_free(heap, mheap_malloc(heap, 64));
  }
  stop = true;
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  mheap_register_deferred_free(NULL, NULL);
  mheap_abandon(heap);
}

static void a_child_has_what_was_registered(void) {
  deferred d = {0};
  heard h;
  int status;
  mheap_register_deferred_free(free_deferred, &d);
  pid_t child = fork();
  if (child == 0) {
    test_failures = 0;
    for (unsigned i = 0; i < EVERY; i++) mheap_free(NULL, mheap_malloc(NULL, 64));
    CHECK_EQ(d.calls, 1);
    listen(&h);
    mheap_free(NULL, &h);
    CHECK_EQ(h.calls, 1);
    _exit(test_failures != 0);
  }
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  mheap_register_deferred_free(NULL, NULL);
}

TEST_MAIN(TEST(output_goes_where_it_was_told_to), TEST(output_can_go_to_a_function_of_the_callers),
          TEST(output_of_the_function_itself_does_not_come_back),
          TEST(long_output_is_cut_off), TEST(each_kind_of_error_is_told),
          TEST(the_default_heap_and_calls_without_one_tell_too), TEST(damaged_bookkeeping_is_told),
          TEST(an_overwritten_guard_is_told), TEST(what_is_asked_or_refused_otherwise_is_not_told),
          TEST(a_kind_tells_only_what_it_cannot_mend), TEST(without_functions_nothing_is_said),
          TEST(an_error_function_may_err), TEST(it_is_called_after_so_many_allocations),
          TEST(every_way_to_allocate_is_counted), TEST(objects_are_not_counted),
          TEST(it_is_not_called_inside_of_itself), TEST(collecting_calls_it), TEST(a_full_heap_asks_for_more),
          TEST(each_thread_is_counted_from_registration_on),
          TEST(a_function_never_gets_the_argument_of_another), TEST(a_child_has_what_was_registered))
