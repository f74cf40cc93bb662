/* test_threads.c: units of the allocator under several threads: private, remote and mixed
   frees, threads that come and go, spans and huge blocks, collections meanwhile. Each block
   is filled with its owner's pattern, so that one handed out twice shows, and in the end the
   counts say that none was lost. Built with the thread sanitizer too. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "model.h"

#define KIB ((size_t)1024)
#define MIB ((size_t)1024 * 1024)
#define THREADS_MOST 8

static unsigned operations(void) { return 20000 * test_scale(); }

/* ---- blocks that pass from thread to thread ---- */

typedef struct slot {
  _Atomic bool taken; /* a thread works on it */
  char *block;        /* NULL: none */
  size_t size;
  uint64_t seed;
} slot;

#define SLOTS 512

typedef struct field {
  mheap *heap;
  size_t most; /* bytes in a block */
  _Atomic bool stop;
  slot slots[SLOTS];
} field;

typedef struct worker {
  field *field;
  unsigned number, threads, operations;
  uint64_t random;
  pthread_t thread;
} worker;

static void give(worker *w, slot *s) {
  size_t size = random_size(&w->random, w->field->most);
  unsigned how = (unsigned)random_below(&w->random, 8);
  s->block = how == 0   ? mheap_calloc(w->field->heap, 1, size)
             : how == 1 ? mheap_memalign(w->field->heap, (size_t)16 << random_below(&w->random, 13), size)
                        : mheap_malloc(w->field->heap, size);
  s->size = size;
  s->seed = random_next(&w->random);
  if (CHECK(s->block != NULL)) pattern_fill(s->block, size, s->seed);
}

static void resize(worker *w, slot *s) {
  size_t size = random_size(&w->random, w->field->most);
  char *moved = mheap_realloc(w->field->heap, s->block, size);
  if (!CHECK(moved != NULL)) return;
  CHECK(pattern_is_prefix(moved, size < s->size ? size : s->size, s->seed));
  s->block = moved;
  s->size = size;
  pattern_fill(moved, size, s->seed);
}

static void take_back(worker *w, slot *s) {
  CHECK(pattern_is(s->block, s->size, s->seed));
  CHECK_EQ(mheap_free(w->field->heap, s->block), MHEAP_OK);
  s->block = NULL;
}

static void work_on(worker *w, slot *s) {
  if (s->block == NULL) give(w, s);
  else if (random_below(&w->random, 6) == 0) resize(w, s);
  else take_back(w, s);
}

/* ---- three ways to divide the slots ---- */

/* Each thread has slots of its own: nothing is freed by another. */
static void *work_privately(void *arg) {
  worker *w = arg;
  for (unsigned i = 0; i < w->operations; i++) {
    uint64_t own = random_below(&w->random, SLOTS / w->threads);
    work_on(w, &w->field->slots[own * w->threads + w->number]);
  }
  return NULL;
}

/* Any thread works on any slot. */
static void *work_anywhere(void *arg) {
  worker *w = arg;
  for (unsigned i = 0; i < w->operations; i++) {
    slot *s = &w->field->slots[random_below(&w->random, SLOTS)];
    if (atomic_exchange_explicit(&s->taken, true, memory_order_acquire)) continue;
    work_on(w, s);
    atomic_store_explicit(&s->taken, false, memory_order_release);
  }
  return NULL;
}

/* Even threads only allocate, odd ones only free what those did. */
static void *produce_or_consume(void *arg) {
  worker *w = arg;
  for (unsigned i = 0; i < w->operations; i++) {
    slot *s = &w->field->slots[random_below(&w->random, SLOTS)];
    if (atomic_exchange_explicit(&s->taken, true, memory_order_acquire)) continue;
    if (s->block == NULL && w->number % 2 == 0) give(w, s);
    else if (s->block != NULL && w->number % 2 == 1) take_back(w, s);
    atomic_store_explicit(&s->taken, false, memory_order_release);
    if (i % 64 == 0) sched_yield();
  }
  return NULL;
}

/* ---- a run ---- */

static uint64_t live_blocks(const field *f) {
  uint64_t live = 0;
  for (int i = 0; i < SLOTS; i++) live += f->slots[i].block != NULL;
  return live;
}

static void start(worker *workers, field *f, unsigned threads, unsigned count, void *(*work)(void *)) {
  for (unsigned i = 0; i < threads; i++) {
    workers[i] = (worker){.field = f,
                          .number = i,
                          .threads = threads,
                          .operations = count,
                          .random = i + 1000 * threads + (uint64_t)count};
    CHECK(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0);
  }
}

static void join(worker *workers, unsigned threads) {
  for (unsigned i = 0; i < threads; i++) pthread_join(workers[i].thread, NULL);
}

/* Whatever the threads left is there, and all that can be freed is given back. */
static void settle(field *f) {
  worker w = {.field = f};
  CHECK_EQ(heap_blocks(f->heap), live_blocks(f));
  CHECK(heap_is_sound(f->heap));
  for (int i = 0; i < SLOTS; i++)
    if (f->slots[i].block != NULL) take_back(&w, &f->slots[i]);
  CHECK_EQ(heap_blocks(f->heap), 0);
  CHECK_EQ(mheap_collect(f->heap, true), MHEAP_OK);
  CHECK_EQ(heap_size(f->heap), HEAP_MIN);
  CHECK(heap_is_sound(f->heap));
}

static field *new_field(mheap *heap, size_t most) {
  static field f;
  memset(&f, 0, sizeof f);
  f.heap = heap;
  f.most = most;
  return &f;
}

static void run_by(unsigned threads, mheap *heap, size_t most, void *(*work)(void *)) {
  worker workers[THREADS_MOST];
  field *f = new_field(heap, most);
  start(workers, f, threads, operations() / threads, work);
  join(workers, threads);
  settle(f);
}

static void run(void *(*work)(void *)) {
  for (unsigned threads = 2; threads <= THREADS_MOST; threads *= 2) {
    mheap *heap = heap_at(test_path("threads.heap"), NULL);
    run_by(threads, heap, 2000, work);
    run_by(threads, heap, 6 * MIB, work);
    CHECK(heap_detach(heap));
  }
}

static void private_frees(void) { run(work_privately); }
static void mixed_frees(void) { run(work_anywhere); }
static void producers_and_consumers(void) { run(produce_or_consume); }

static void anonymous_memory(void) {
  mheap *heap = mheap_attach(-1, NULL, NULL);
  REQUIRE(heap != NULL);
  run_by(4, heap, 6 * MIB, work_anywhere);
  CHECK(heap_detach(heap));
}

/* ---- meanwhile ---- */

static void *collect_meanwhile(void *arg) {
  field *f = arg;
  for (unsigned n = 0; !atomic_load(&f->stop); n++) {
    CHECK_EQ(mheap_collect(f->heap, n % 4 == 0), MHEAP_OK);
    sched_yield();
  }
  return NULL;
}

static void collections_meanwhile(void) {
  for (unsigned threads = 2; threads <= 4; threads *= 2) {
    worker workers[THREADS_MOST];
    pthread_t collector;
    field *f = new_field(heap_at(test_path("collect.heap"), NULL), 2 * MIB);
    REQUIRE(pthread_create(&collector, NULL, collect_meanwhile, f) == 0);
    start(workers, f, threads, operations() / threads, work_anywhere);
    join(workers, threads);
    atomic_store(&f->stop, true);
    pthread_join(collector, NULL);
    settle(f);
    CHECK(heap_detach(f->heap));
  }
}

/* Statistics beside threads are approximate, and never a reason for an error. A check looks at
   what is being changed, on purpose, and looks again before it complains: a race by design. */
static void *look_meanwhile(void *arg) {
  field *f = arg;
  mheap_stats *stats = malloc(sizeof *stats);
  while (!atomic_load(&f->stop)) {
    CHECK_EQ(mheap_get_stats(f->heap, stats), MHEAP_OK);
    if (!TEST_UNDER_TSAN) CHECK_EQ(mheap_check(f->heap, heap_print_finding, NULL, NULL), MHEAP_OK);
    sched_yield();
  }
  free(stats);
  return NULL;
}

static void looks_meanwhile(void) {
  worker workers[THREADS_MOST];
  pthread_t looker;
  field *f = new_field(heap_at(test_path("look.heap"), NULL), 6 * MIB);
  REQUIRE(pthread_create(&looker, NULL, look_meanwhile, f) == 0);
  start(workers, f, 2, operations() / 4, work_anywhere);
  join(workers, 2);
  atomic_store(&f->stop, true);
  pthread_join(looker, NULL);
  settle(f);
  CHECK(heap_detach(f->heap));
}

static void *grow_and_shrink(void *arg) {
  field *f = arg;
  for (unsigned i = 0; i < operations() / 20; i++)
    CHECK_EQ(mheap_free(f->heap, mheap_malloc(f->heap, 5 * MIB)), MHEAP_OK);
  atomic_store(&f->stop, true);
  return NULL;
}

/* A file that mheap itself makes shorter is not taken for one that somebody cut. */
static void a_file_that_shrinks_was_not_cut_short(void) {
  pthread_t thread;
  mheap_info info;
  field *f = new_field(heap_at(test_path("shrink.heap"), NULL), 0);
  REQUIRE(pthread_create(&thread, NULL, grow_and_shrink, f) == 0);
  while (!atomic_load(&f->stop)) CHECK_EQ(mheap_get_info(f->heap, &info), MHEAP_OK);
  pthread_join(thread, NULL);
  CHECK(heap_detach(f->heap));
}

static void *fill_and_cut(void *arg) {
  field *f = arg;
  for (unsigned i = 0; i < operations() / 200; i++) {
    for (int k = 0; k < SLOTS; k++) f->slots[k].block = mheap_malloc(f->heap, 20000);
    for (int k = 0; k < SLOTS; k++) CHECK_EQ(mheap_free(f->heap, f->slots[k].block), MHEAP_OK);
    CHECK_EQ(mheap_collect(f->heap, true), MHEAP_OK);
  }
  atomic_store(&f->stop, true);
  return NULL;
}

/* Bookkeeping is not unmapped under those who look at it. */
static void looks_while_the_tail_is_cut(void) {
  pthread_t thread;
  field *f = new_field(heap_at(test_path("cut.heap"), NULL), 0);
  REQUIRE(pthread_create(&thread, NULL, fill_and_cut, f) == 0);
  look_meanwhile(f);
  pthread_join(thread, NULL);
  CHECK_EQ(mheap_collect(f->heap, false), MHEAP_OK);
  CHECK_EQ(heap_size(f->heap), HEAP_MIN);
  CHECK(heap_detach(f->heap));
}

/* ---- threads that come and go ---- */

/* Generations of threads, each of which finds the blocks, and the lanes, of those before. */
static void threads_come_and_go(void) {
  worker workers[THREADS_MOST];
  field *f = new_field(heap_at(test_path("mortal.heap"), NULL), 5000);
  for (unsigned generation = 0; generation < 30; generation++) {
    unsigned threads = 1 + generation % 4;
    start(workers, f, threads, operations() / 20 + generation, work_anywhere);
    join(workers, threads);
    CHECK_EQ(heap_blocks(f->heap), live_blocks(f));
  }
  settle(f);
  CHECK(heap_detach(f->heap));
}

static void *allocate_one(void *arg) {
  worker *w = arg;
  w->field->slots[w->number].block = mheap_malloc(w->field->heap, 64);
  return NULL;
}

/* A thread's lane and slabs are taken over by later ones, so a hundred threads need no more
   room than one. */
static void a_hundred_threads_share_what_is_left_behind(void) {
  field *f = new_field(heap_at(test_path("heirs.heap"), NULL), 64);
  uint64_t size = 0;
  for (unsigned i = 0; i < 100; i++) {
    worker w = {.field = f, .number = i};
    REQUIRE(pthread_create(&w.thread, NULL, allocate_one, &w) == 0);
    pthread_join(w.thread, NULL);
    if (i == 0) size = heap_size(f->heap);
  }
  CHECK_EQ(heap_size(f->heap), size);
  CHECK_EQ(heap_blocks(f->heap), 100);
  for (unsigned i = 0; i < 100; i++) CHECK_EQ(mheap_free(f->heap, f->slots[i].block), MHEAP_OK);
  CHECK_EQ(mheap_collect(f->heap, false), MHEAP_OK);
  CHECK_EQ(heap_size(f->heap), HEAP_MIN);
  CHECK(heap_detach(f->heap));
}

static void *allocate_and_hand_back(void *arg) {
  worker *w = arg;
  for (int i = 0; i < SLOTS; i++) {
    w->field->slots[i].block = mheap_malloc(w->field->heap, 1000);
    mheap_thread_done(); /* and goes on with a lane taken anew */
  }
  return NULL;
}

static void a_thread_may_hand_its_lane_back_and_go_on(void) {
  field *f = new_field(heap_at(test_path("done.heap"), NULL), 64);
  worker w = {.field = f};
  REQUIRE(pthread_create(&w.thread, NULL, allocate_and_hand_back, &w) == 0);
  pthread_join(w.thread, NULL);
  CHECK_EQ(heap_blocks(f->heap), SLOTS);
  for (int i = 0; i < SLOTS; i++) {
    CHECK_EQ(mheap_free(f->heap, f->slots[i].block), MHEAP_OK);
    f->slots[i].block = NULL;
  }
  settle(f);
  CHECK(heap_detach(f->heap));
}

/* ---- the slabs of a thread that ended, taken over while others free blocks in them ---- */

#define HELD 1000

typedef struct estate {
  mheap *heap;
  pthread_barrier_t barrier;
  _Atomic unsigned ready;
  void *held[HELD];
} estate;

static void *hold_and_end(void *arg) {
  estate *e = arg;
  for (unsigned i = 0; i < HELD; i++) e->held[i] = mheap_malloc(e->heap, 20000);
  pthread_barrier_wait(&e->barrier); /* the others make lanes of their own */
  pthread_barrier_wait(&e->barrier);
  return NULL;
}

/* With a lane, waits until the other thread has ended, and then for the third: both go on at once. */
static void begin(estate *e) {
  pthread_barrier_wait(&e->barrier);
  CHECK_EQ(mheap_free(e->heap, mheap_malloc(e->heap, 64)), MHEAP_OK);
  pthread_barrier_wait(&e->barrier);
  pthread_barrier_wait(&e->barrier);
  e->ready++;
  while (e->ready < 2) continue;
}

static void *take_over(void *arg) {
  estate *e = arg;
  begin(e);
  CHECK_EQ(mheap_free(e->heap, mheap_malloc(e->heap, 20000)), MHEAP_OK);
  return NULL;
}

static void *free_what_was_held(void *arg) {
  estate *e = arg;
  begin(e);
  for (unsigned i = 0; i < HELD; i++) CHECK_EQ(mheap_free(e->heap, e->held[i]), MHEAP_OK);
  return NULL;
}

static void inherit(estate *e) {
  pthread_t holder, heir, other;
  e->heap = heap_at(test_path("estate.heap"), NULL);
  e->ready = 0;
  CHECK_EQ(mheap_free(e->heap, mheap_malloc(e->heap, 64)), MHEAP_OK);
  REQUIRE(pthread_barrier_init(&e->barrier, NULL, 3) == 0);
  REQUIRE(pthread_create(&holder, NULL, hold_and_end, e) == 0);
  REQUIRE(pthread_create(&heir, NULL, take_over, e) == 0);
  REQUIRE(pthread_create(&other, NULL, free_what_was_held, e) == 0);
  pthread_join(holder, NULL);
  pthread_barrier_wait(&e->barrier);
  pthread_join(heir, NULL);
  pthread_join(other, NULL);
  pthread_barrier_destroy(&e->barrier);
  CHECK_EQ(mheap_collect(e->heap, true), MHEAP_OK);
  CHECK_EQ(heap_size(e->heap), HEAP_MIN);
  CHECK(heap_detach(e->heap));
}

static void blocks_freed_while_their_slabs_are_taken_over_are_not_lost(void) {
  static estate e;
  for (unsigned i = 0; i < 20 * test_scale(); i++) inherit(&e);
}

/* ---- slabs that empty while another thread frees the last blocks in them ---- */

#define BATCH 200

typedef struct exchange {
  mheap *heap;
  pthread_barrier_t barrier;
  void *blocks[2][BATCH];
} exchange;

/* Both threads free half of what both allocated, at once, so that every slab is emptied by two. */
static void swap_and_free(exchange *x, unsigned self, unsigned turn) {
  for (unsigned i = 0; i < BATCH; i++) x->blocks[self][i] = mheap_malloc(x->heap, 1024 + 64 * (turn % 64));
  pthread_barrier_wait(&x->barrier);
  for (unsigned i = self; i < BATCH; i += 2) {
    CHECK_EQ(mheap_free(x->heap, x->blocks[1 - self][i]), MHEAP_OK);
    CHECK_EQ(mheap_free(x->heap, x->blocks[self][i]), MHEAP_OK);
  }
  pthread_barrier_wait(&x->barrier);
}

static void *exchange_blocks(void *arg) {
  exchange *x = arg;
  static _Atomic unsigned names;
  unsigned self = names++ % 2;
  for (unsigned turn = 0; turn < operations() / 40; turn++) swap_and_free(x, self, turn);
  return NULL;
}

static void two_threads_empty_the_same_slabs(void) {
  static exchange x;
  pthread_t threads[2];
  x.heap = heap_at(test_path("empty.heap"), NULL);
  pthread_barrier_init(&x.barrier, NULL, 2);
  for (int i = 0; i < 2; i++) REQUIRE(pthread_create(&threads[i], NULL, exchange_blocks, &x) == 0);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  pthread_barrier_destroy(&x.barrier);
  CHECK_EQ(heap_blocks(x.heap), 0);
  CHECK_EQ(mheap_collect(x.heap, true), MHEAP_OK);
  CHECK_EQ(heap_size(x.heap), HEAP_MIN);
  CHECK(heap_is_sound(x.heap));
  CHECK(heap_detach(x.heap));
}

/* ---- one block, freed by two threads at once: one of them is told ---- */

typedef struct race {
  mheap *heap;
  pthread_barrier_t barrier;
  void *block;
  unsigned turns;
  _Atomic unsigned freed, refused;
} race;

static void *free_the_same(void *arg) {
  race *r = arg;
  for (unsigned turn = 0; turn < r->turns; turn++) {
    pthread_barrier_wait(&r->barrier);
    if (mheap_free(r->heap, r->block) == MHEAP_OK) r->freed++;
    else r->refused++;
    pthread_barrier_wait(&r->barrier);
  }
  return NULL;
}

static void a_block_freed_by_two_others_at_once_is_freed_once(void) {
  static race r;
  pthread_t threads[2];
  r.heap = heap_at(test_path("race.heap"), NULL);
  r.turns = operations() / 8;
  pthread_barrier_init(&r.barrier, NULL, 3);
  for (int i = 0; i < 2; i++) REQUIRE(pthread_create(&threads[i], NULL, free_the_same, &r) == 0);
  for (unsigned turn = 0; turn < r.turns; turn++) {
    r.block = mheap_malloc(r.heap, 100 + turn % 7 * 1000);
    pthread_barrier_wait(&r.barrier);
    pthread_barrier_wait(&r.barrier);
  }
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  pthread_barrier_destroy(&r.barrier);
  CHECK_EQ(r.freed, r.turns);
  CHECK_EQ(r.refused, r.turns);
  CHECK_EQ(heap_blocks(r.heap), 0);
  CHECK(heap_is_sound(r.heap));
  CHECK(heap_detach(r.heap));
}

TEST_MAIN(TEST(private_frees), TEST(mixed_frees), TEST(producers_and_consumers), TEST(anonymous_memory),
          TEST(collections_meanwhile), TEST(looks_meanwhile), TEST(a_file_that_shrinks_was_not_cut_short),
          TEST(looks_while_the_tail_is_cut), TEST(threads_come_and_go),
          TEST(a_hundred_threads_share_what_is_left_behind), TEST(a_thread_may_hand_its_lane_back_and_go_on),
          TEST(blocks_freed_while_their_slabs_are_taken_over_are_not_lost),
          TEST(two_threads_empty_the_same_slabs), TEST(a_block_freed_by_two_others_at_once_is_freed_once))
