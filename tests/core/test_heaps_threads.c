/* test_heaps_threads.c: heaps that are made, destroyed and deleted while other threads free blocks:
   of other heaps at any time, of a heap that is being deleted by mheap_free_any. */
#include <pthread.h>
#include <sys/wait.h>

#include "heap.h"
#include "lane.h"
#include "model.h"

enum { THREADS = 4, EACH = 400, BLOCKS = THREADS * EACH };

static unsigned rounds(void) { return (TEST_UNDER_TSAN ? 15 : 60) * test_scale(); }

static size_t size_of(unsigned i) {
  static const size_t sizes[] = {16, 24, 100, 700, 3000, 16, 40000, 100};
  return i % 97 == 0 ? 150000 : i % 397 == 0 ? 5000000 : sizes[i % 8];
}

/* ---- deleting ---- */

typedef struct field {
  mheap *heap;
  void *blocks[BLOCKS];
  pthread_barrier_t barrier;
  unsigned rounds;
} field;

typedef struct worker {
  pthread_t thread;
  field *field;
  unsigned number;
} worker;

static void *fill_and_free(void *arg) {
  worker *w = arg;
  field *f = w->field;
  for (unsigned round = 0; round < f->rounds; round++) {
    pthread_barrier_wait(&f->barrier); /* there is a heap */
    for (unsigned i = 0; i < EACH; i++) {
      void *block = mheap_malloc(f->heap, size_of(i + round));
      if (CHECK(block != NULL)) memset(block, (int)i, 16);
      else fprintf(stderr, "%s\n", mheap_last_error(f->heap)->text);
      f->blocks[w->number * EACH + i] = block;
    }
    pthread_barrier_wait(&f->barrier);                     /* all have filled it: it is deleted now */
    for (unsigned i = w->number; i < BLOCKS; i += THREADS) /* its own blocks, and others' */
      if (round % 3 != 0 || i % 5 != 0) CHECK_EQ(mheap_free_any(f->blocks[i]), MHEAP_OK);
    pthread_barrier_wait(&f->barrier); /* it is gone */
    for (unsigned i = w->number; i < BLOCKS; i += THREADS)
      if (round % 3 == 0 && i % 5 == 0) CHECK_EQ(mheap_free_any(f->blocks[i]), MHEAP_OK);
    pthread_barrier_wait(&f->barrier);
  }
  return NULL;
}

static void delete_while_others_free(mheap *main, mheap_arena arena, unsigned shared_with) {
  static field f;
  worker workers[THREADS];
  f.rounds = rounds();
  pthread_barrier_init(&f.barrier, NULL, THREADS + 1);
  for (unsigned i = 0; i < THREADS; i++) {
    workers[i] = (worker){.field = &f, .number = i};
    CHECK(pthread_create(&workers[i].thread, NULL, fill_and_free, &workers[i]) == 0);
  }
  for (unsigned round = 0; round < f.rounds; round++) {
    f.heap = mheap_new(main, round % 2 ? 7 : 0, round % 4 == 0, round % 3 == 1 ? arena : 0);
    CHECK(f.heap != NULL);
    if (round % 5 == 0) CHECK_EQ(mheap_free(f.heap, mheap_malloc(f.heap, 24)), MHEAP_OK);
    pthread_barrier_wait(&f.barrier);
    pthread_barrier_wait(&f.barrier);
    CHECK_EQ(mheap_delete(f.heap), MHEAP_OK);
    pthread_barrier_wait(&f.barrier);
    pthread_barrier_wait(&f.barrier);
    if (round % 8 == 0) CHECK_EQ(mheap_collect(main, round % 16 == 0), MHEAP_OK);
    CHECK_EQ(heap_blocks(main), shared_with);
    CHECK(heap_is_sound(main));
  }
  for (unsigned i = 0; i < THREADS; i++) pthread_join(workers[i].thread, NULL);
  pthread_barrier_destroy(&f.barrier);
  CHECK_EQ(mheap_collect(main, true), MHEAP_OK);
  CHECK_EQ(mheap_collect(main, true), MHEAP_OK);
}

static void blocks_of_a_heap_are_freed_while_it_is_deleted(void) {
  mheap *heap = heap_at(test_path("deleted.heap"), NULL);
  mheap_arena arena;
  const mheap_arena_options exclusive = {.exclusive = true};
  REQUIRE_EQ(mheap_arena_reserve(heap, (size_t)128 << 20, &exclusive, &arena), MHEAP_OK);
  delete_while_others_free(heap, arena, 0);
  CHECK_EQ(mheap_arena_release(arena), MHEAP_OK);
  CHECK_EQ(mheap_collect(heap, true), MHEAP_OK);
  CHECK(heap_size(heap) <= 4 * HEAP_MIN);
  CHECK(heap_detach(heap));
}

static void the_same_in_memory_that_is_an_arena(void) {
  mheap_arena arena;
  REQUIRE_EQ(mheap_arena_reserve(NULL, (size_t)256 << 20, NULL, &arena), MHEAP_OK);
  mheap *first = mheap_new(NULL, 0, true, arena);
  REQUIRE(first != NULL);
  delete_while_others_free(mheap_main(first), 0, 0);
  CHECK_EQ(mheap_destroy(first), MHEAP_OK);
  CHECK_EQ(mheap_arena_release(arena), MHEAP_OK);
}

/* ---- others come and go ---- */

enum { HEAPS = 3, MAILBOX = 64 };

typedef struct traffic {
  mheap *main, *heaps[HEAPS];
  _Atomic(void *) mail[HEAPS][MAILBOX]; /* blocks of each heap, for whoever takes them */
  _Atomic bool stop;
  _Atomic unsigned forks;
} traffic;

typedef struct driver {
  pthread_t thread;
  traffic *traffic;
  unsigned number;
} driver;

static void release(traffic *t, unsigned heap, void *block, bool by_name) {
  if (block == NULL) return;
  CHECK_EQ(by_name ? mheap_free(t->heaps[heap], block) : mheap_free_any(block), MHEAP_OK);
}

/* Blocks of this driver's heap go to the mailbox; what lies in any mailbox is freed. */
static void *send_and_receive(void *arg) {
  driver *d = arg;
  traffic *t = d->traffic;
  uint64_t random = d->number + 1;
  while (!t->stop) {
    unsigned slot = (unsigned)random_below(&random, MAILBOX), from = (unsigned)random_below(&random, HEAPS);
    void *block = mheap_malloc(t->heaps[d->number], size_of((unsigned)random_below(&random, 396) + 1));
    if (!CHECK(block != NULL)) break;
    release(t, d->number, atomic_exchange(&t->mail[d->number][slot], block), slot % 2);
    release(t, from, atomic_exchange(&t->mail[from][slot], NULL), slot % 3 == 0);
  }
  return NULL;
}

static void *come_and_go(void *arg) {
  driver *d = arg;
  traffic *t = d->traffic;
  for (unsigned round = 0; round < 10 * rounds(); round++) {
    mheap *heap = mheap_new(t->main, (int)round % 256, true, 0);
    if (!CHECK(heap != NULL)) break;
    void *blocks[40];
    for (unsigned i = 0; i < 40; i++) CHECK((blocks[i] = mheap_malloc(heap, size_of(i + round))) != NULL);
    bool delete = (round + d->number) % 3 == 0;
    CHECK_EQ(delete ? mheap_delete(heap) : mheap_destroy(heap), MHEAP_OK);
    for (unsigned i = 0; i < 40 && delete; i++) CHECK_EQ(mheap_free_any(blocks[i]), MHEAP_OK);
    if (round % 50 == 0) CHECK_EQ(mheap_collect(t->main, round % 100 == 0), MHEAP_OK);
  }
  return NULL;
}

static void run_traffic(traffic *t, void (*meanwhile)(traffic *t)) {
  driver senders[HEAPS], others[2];
  for (unsigned i = 0; i < HEAPS; i++) CHECK((t->heaps[i] = mheap_new(t->main, 0, true, 0)) != NULL);
  for (unsigned i = 0; i < HEAPS; i++) {
    senders[i] = (driver){.traffic = t, .number = i};
    CHECK(pthread_create(&senders[i].thread, NULL, send_and_receive, &senders[i]) == 0);
  }
  for (unsigned i = 0; i < 2; i++) {
    others[i] = (driver){.traffic = t, .number = i};
    CHECK(pthread_create(&others[i].thread, NULL, come_and_go, &others[i]) == 0);
  }
  if (meanwhile != NULL) meanwhile(t);
  for (unsigned i = 0; i < 2; i++) pthread_join(others[i].thread, NULL);
  t->stop = true;
  for (unsigned i = 0; i < HEAPS; i++) pthread_join(senders[i].thread, NULL);
  for (unsigned i = 0; i < HEAPS; i++)
    for (unsigned slot = 0; slot < MAILBOX; slot++) release(t, i, t->mail[i][slot], true);
  CHECK_EQ(heap_blocks(t->main), 0);
  CHECK(heap_is_sound(t->main));
  for (unsigned i = 0; i < HEAPS; i++) CHECK_EQ(mheap_destroy(t->heaps[i]), MHEAP_OK);
}

static void heaps_come_and_go_beside_others_at_work(void) {
  static traffic t;
  t.main = heap_at(test_path("traffic.heap"), NULL);
  run_traffic(&t, NULL);
  CHECK_EQ(mheap_collect(t.main, true), MHEAP_OK);
  CHECK(heap_detach(t.main));
}

/* ---- fork ---- */

/* In the child the heaps are its own: it makes more, and frees what it finds. */
static int use_in_child(traffic *t) {
  unsigned before = test_failures;
  mheap *heap = mheap_new(t->main, 0, true, 0), *other = mheap_new(t->main, 0, true, 0);
  for (unsigned i = 0; i < 100; i++) {
    CHECK(mheap_malloc(heap, size_of(i)) != NULL);
    CHECK(mheap_malloc(other, size_of(i)) != NULL);
  }
  for (unsigned i = 0; i < HEAPS; i++)
    for (unsigned slot = 0; slot < MAILBOX; slot++) release(t, i, t->mail[i][slot], slot % 2);
  CHECK_EQ(mheap_destroy(heap), MHEAP_OK);
  CHECK_EQ(mheap_delete(other), MHEAP_OK);
  CHECK_EQ(mheap_collect(t->main, true), MHEAP_OK);
  return test_failures > before;
}

static void fork_now_and_then(traffic *t) {
  for (int i = 0; i < 20; i++) {
    int status = 1;
    pid_t child = fork();
    if (child == 0) {
      alarm(30);
      _exit(use_in_child(t));
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    usleep(2000);
  }
}

static void a_forked_child_goes_on_with_its_heaps(void) {
  if (TEST_UNDER_TSAN) return; /* which allows no threads' locks in a child */
  static traffic t;
  mheap_arena arena;
  REQUIRE_EQ(mheap_arena_reserve(NULL, (size_t)512 << 20, NULL, &arena), MHEAP_OK);
  mheap *first = mheap_new(NULL, 0, true, arena);
  REQUIRE(first != NULL);
  t.main = mheap_main(first);
  run_traffic(&t, fork_now_and_then);
  CHECK_EQ(mheap_destroy(first), MHEAP_OK);
  CHECK_EQ(mheap_arena_release(arena), MHEAP_OK);
}

/* ---- what other threads freed goes with its heap ---- */

static void *free_some(void *arg) {
  void **blocks = arg;
  for (unsigned i = 0; i < EACH; i += 7) CHECK_EQ(mheap_free_any(blocks[i]), MHEAP_OK);
  return NULL;
}

static void a_heap_is_destroyed_with_what_others_freed_in_it(void) {
  mheap *heap = heap_at(test_path("freed.heap"), NULL);
  void *blocks[EACH];
  for (unsigned round = 0; round < 20; round++) {
    pthread_t thread;
    mheap *other = mheap_new(heap, 0, true, 0);
    REQUIRE(other != NULL);
    for (unsigned i = 0; i < EACH; i++) CHECK((blocks[i] = mheap_malloc(other, 1000)) != NULL);
    CHECK(pthread_create(&thread, NULL, free_some, blocks) == 0 && pthread_join(thread, NULL) == 0);
    CHECK_EQ(mheap_destroy(other), MHEAP_OK);
    CHECK_EQ(mheap_free(heap, mheap_malloc(heap, 1000)), MHEAP_OK);
  }
  CHECK_EQ(heap_blocks(heap), 0);
  CHECK(heap_is_sound(heap));
  CHECK(heap_detach(heap));
}

/* ---- nothing is left over ---- */

static uint64_t mappings(void) {
  uint64_t count = 0;
  FILE *maps = fopen("/proc/self/maps", "r");
  for (int c; maps != NULL && (c = getc(maps)) != EOF;) count += c == '\n';
  if (maps != NULL) fclose(maps);
  return count;
}

static unsigned count_lanes(mheap *heap) {
  unsigned count = 0;
  for (mh_lane *lane = heap->lanes; lane != NULL; lane = lane->next) count++;
  return count;
}

static void heaps_that_went_leave_nothing_behind(void) {
  mheap *heap = heap_at(test_path("left.heap"), NULL);
  uint64_t before = 0;
  for (unsigned round = 0; round < 20000; round++) {
    mheap *other = mheap_new(heap, 0, true, 0);
    REQUIRE(other != NULL);
    void *block = mheap_malloc(other, 100);
    CHECK_EQ(round % 2 ? mheap_delete(other) : mheap_destroy(other), MHEAP_OK);
    if (round % 2) CHECK_EQ(mheap_free(heap, block), MHEAP_OK);
    if (round == 100) before = mappings();
  }
  CHECK(mappings() <= before + 5);
  CHECK(count_lanes(heap) <= 2);
  CHECK(heap_detach(heap));
}

TEST_MAIN(TEST(blocks_of_a_heap_are_freed_while_it_is_deleted), TEST(the_same_in_memory_that_is_an_arena),
          TEST(heaps_come_and_go_beside_others_at_work), TEST(a_forked_child_goes_on_with_its_heaps),
          TEST(a_heap_is_destroyed_with_what_others_freed_in_it), TEST(heaps_that_went_leave_nothing_behind))
