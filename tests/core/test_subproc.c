/* test_subproc.c: units of subprocesses: whose default heap a thread's is, that nothing goes from one
   to another, and how they end. */
#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>

#include "mheap/mheap.h"
#include "subproc.h"
#include "test.h"

static mheap_error error;

static mheap_subproc make(const char *name) {
  mheap_subproc made = mheap_subproc_new(name, NULL, &error);
  CHECK(made > 1);
  return made;
}

static bool enter(mheap_subproc subproc) {
  return CHECK_EQ(mheap_subproc_add_current_thread(subproc, &error), 0);
}

static void leave_and_destroy(mheap_subproc subproc) {
  mheap_subproc_leave();
  if (!CHECK_EQ(mheap_subproc_destroy(subproc, &error), MHEAP_OK)) fprintf(stderr, "%s\n", error.text);
}

static uint64_t blocks_in(mheap_subproc subproc) {
  static mheap_stats stats;
  CHECK_EQ(mheap_subproc_get_stats(subproc, &stats, &error), MHEAP_OK);
  return stats.chunks_used;
}

static mheap *in_file(const char *name) {
  int fd = open(test_path(name), O_RDWR | O_CREAT | O_TRUNC, 0600);
  mheap *heap = mheap_attach(fd, NULL, &error);
  CHECK(heap != NULL);
  close(fd);
  return heap;
}

/* ---- who is where ---- */

static void a_thread_is_in_the_main_one_at_first(void) {
  mheap_subproc_info info;
  CHECK_EQ(mheap_subproc_main(), 1);
  CHECK_EQ(mheap_subproc_current(), 1);
  CHECK_EQ(mheap_subproc_get_info(1, &info, &error), MHEAP_OK);
  CHECK_STR(info.name, "main");
  CHECK_EQ(info.threads, 0);
  CHECK(mheap_subproc_heap(1, &error) == mheap_default());
}

static void each_has_a_default_heap_of_its_own(void) {
  mheap *of_main = mheap_default();
  mheap_subproc first = make("first"), second = make(NULL);
  mheap_subproc_info info;
  CHECK(first != second);
  REQUIRE(enter(first));
  CHECK_EQ(mheap_subproc_current(), first);
  mheap *of_first = mheap_default();
  REQUIRE(enter(second));
  mheap *of_second = mheap_default();
  CHECK(of_main != of_first && of_first != of_second && of_second != of_main);
  CHECK(mheap_subproc_heap(first, &error) == of_first);
  CHECK_EQ(mheap_subproc_get_info(first, &info, &error), MHEAP_OK);
  CHECK(info.subproc == first && info.heap == of_first && info.threads == 0 && !info.given);
  CHECK_STR(info.name, "first");
  CHECK_EQ(mheap_subproc_get_info(second, &info, &error), MHEAP_OK);
  CHECK_EQ(info.threads, 1);
  CHECK_STR(info.name, "");
  leave_and_destroy(second);
  CHECK_EQ(mheap_subproc_current(), 1);
  CHECK(mheap_default() == of_main);
  leave_and_destroy(first);
}

static void adding_a_thread_twice_is_adding_it_once(void) {
  mheap_subproc_info info;
  mheap_subproc subproc = make("twice");
  REQUIRE(enter(subproc) && enter(subproc));
  CHECK_EQ(mheap_subproc_get_info(subproc, &info, &error), MHEAP_OK);
  CHECK_EQ(info.threads, 1);
  leave_and_destroy(subproc);
}

static void a_number_is_never_used_again(void) {
  mheap_subproc gone = make("gone");
  leave_and_destroy(gone);
  CHECK(make("next") > gone);
  CHECK_EQ(mheap_subproc_add_current_thread(gone, &error), MHEAP_ERR_ARGUMENT);
  CHECK_CONTAINS(error.text, "there is none of this number");
  CHECK_EQ(mheap_subproc_current(), 1);
  CHECK_EQ(mheap_subproc_destroy(gone, &error), MHEAP_ERR_ARGUMENT);
  CHECK_EQ(mheap_subproc_delete(gone, NULL), MHEAP_ERR_ARGUMENT);
  mheap_subproc_info info;
  CHECK_EQ(mheap_subproc_get_info(gone, &info, &error), MHEAP_ERR_ARGUMENT);
  CHECK(mheap_subproc_heap(gone, &error) == NULL);
  CHECK_EQ(error.code, MHEAP_ERR_ARGUMENT);
  static mheap_stats stats;
  CHECK_EQ(mheap_subproc_get_stats(gone, &stats, &error), MHEAP_ERR_ARGUMENT);
  CHECK_EQ(mheap_subproc_get_stats(1, NULL, &error), MHEAP_ERR_ARGUMENT);
  CHECK_EQ(mheap_subproc_get_info(1, NULL, &error), MHEAP_ERR_ARGUMENT);
  CHECK(!mheap_subproc_visit_heaps(gone, NULL, NULL));
}

static void a_long_name_is_cut(void) {
  char name[200];
  mheap_subproc_info info;
  memset(name, 'n', sizeof name - 1);
  name[sizeof name - 1] = '\0';
  mheap_subproc subproc = make(name);
  CHECK_EQ(mheap_subproc_get_info(subproc, &info, &error), MHEAP_OK);
  CHECK_EQ(strlen(info.name), 63);
  leave_and_destroy(subproc);
}

/* ---- isolation ---- */

/* The heap that this thread used last may be another subprocess's: the block is refused even so. */
static void refused_without_a_heap(mheap_subproc other, void *block, const char *text) {
  mheap *heap = mheap_subproc_heap(other, &error);
  for (int i = 0; i < 2; i++) {
    CHECK_EQ(mheap_free_any(block), MHEAP_ERR_POINTER);
    CHECK_CONTAINS(mheap_last_error(NULL)->text, text);
    CHECK(mheap_realloc_any(block, 1000) == NULL);
    CHECK_CONTAINS(mheap_last_error(NULL)->text, text);
    CHECK_EQ(mheap_usable_size_any(block), 0);
    CHECK(mheap_heap_of(block) == NULL);
    CHECK_EQ(mheap_free(heap, mheap_malloc(heap, 100)), MHEAP_OK);
  }
}

static void a_block_of_another_one_is_refused_by_name(void) {
  mheap_subproc workers = make("workers");
  char text[128];
  void *of_main = mheap_malloc(NULL, 100);
  REQUIRE(enter(workers));
  void *block = mheap_malloc(NULL, 100);
  CHECK_EQ(mheap_free(NULL, of_main), MHEAP_ERR_POINTER);
  CHECK_CONTAINS(mheap_last_error(NULL)->text, "is a block of subprocess 1 (main), not of subprocess");
  CHECK(mheap_realloc(NULL, of_main, 10) == NULL);
  CHECK_EQ(mheap_usable_size(NULL, of_main), 0);
  mheap_subproc_leave();
  snprintf(text, sizeof text, "is a block of subprocess %d (workers), not of subprocess 1 (main)", workers);
  CHECK_EQ(mheap_free(NULL, block), MHEAP_ERR_POINTER);
  CHECK_CONTAINS(mheap_last_error(NULL)->text, text);
  CHECK(mheap_realloc(NULL, block, 1000) == NULL);
  CHECK_CONTAINS(mheap_last_error(NULL)->text, text);
  CHECK_EQ(mheap_usable_size(NULL, block), 0);
  refused_without_a_heap(workers, block, text);
  CHECK_EQ(mheap_free(mheap_subproc_heap(workers, &error), block), MHEAP_OK); /* named: works anywhere */
  CHECK_EQ(mheap_free(NULL, of_main), MHEAP_OK);
  leave_and_destroy(workers);
}

static bool count_heap(void *arg, mheap *heap) {
  (void)heap;
  return --*(int *)arg != 0;
}

static void counts_and_lists_are_its_own(void) {
  mheap_subproc subproc = make("counted");
  uint64_t before = blocks_in(1);
  REQUIRE(enter(subproc));
  for (int i = 0; i < 1000; i++) mheap_malloc(NULL, 100);
  CHECK_EQ(blocks_in(subproc), 1000);
  CHECK_EQ(blocks_in(1), before);
  mheap *explicit = mheap_attach(-1, &(mheap_options){.max_size = (uint64_t)64 << 20}, &error);
  REQUIRE(explicit != NULL);
  mheap_malloc(explicit, 10);
  CHECK_EQ(blocks_in(subproc), 1001);
  int left = 100;
  CHECK(mheap_subproc_visit_heaps(subproc, count_heap, &left));
  CHECK_EQ(left, 98);
  left = 1;
  CHECK(!mheap_subproc_visit_heaps(subproc, count_heap, &left));
  leave_and_destroy(subproc);
  CHECK_EQ(blocks_in(1), before + 1); /* what was attached by name stays, with the main one */
  CHECK_EQ(mheap_detach(explicit, &error), MHEAP_OK);
  CHECK_EQ(blocks_in(1), before);
}

static bool find_subproc(void *arg, mheap_subproc subproc) { return subproc != *(mheap_subproc *)arg; }

static void all_are_listed(void) {
  mheap_subproc one = make("listed"), none = one + 1;
  CHECK(!mheap_visit_subprocs(find_subproc, &one));
  CHECK(mheap_visit_subprocs(find_subproc, &none));
  leave_and_destroy(one);
  CHECK(mheap_visit_subprocs(find_subproc, &one));
}

static void the_main_heap_is_visited_even_if_nobody_used_it(void) {
  mheap_subproc subproc = make("unused");
  int left = 10;
  CHECK(mheap_subproc_visit_heaps(subproc, count_heap, &left));
  CHECK_EQ(left, 9);
  leave_and_destroy(subproc);
}

/* ---- the end ---- */

static void the_main_one_stays(void) {
  CHECK_EQ(mheap_subproc_destroy(1, &error), MHEAP_ERR_ARGUMENT);
  CHECK_CONTAINS(error.text, "subprocess 1 (main) cannot be destroyed");
  CHECK_EQ(mheap_subproc_delete(1, &error), MHEAP_ERR_ARGUMENT);
}

static void nobody_may_be_in_it(void) {
  mheap_subproc subproc = make("inhabited");
  REQUIRE(enter(subproc));
  CHECK_EQ(mheap_subproc_destroy(subproc, &error), MHEAP_ERR_BUSY);
  CHECK_CONTAINS(error.text, "1 threads are in it");
  CHECK_EQ(mheap_subproc_delete(subproc, &error), MHEAP_ERR_BUSY);
  CHECK(mheap_malloc(NULL, 10) != NULL);
  leave_and_destroy(subproc);
}

static void destroying_it_frees_all_its_blocks(void) {
  for (int i = 0; i < 50; i++) {
    mheap_subproc subproc = make("short-lived");
    REQUIRE(enter(subproc));
    for (size_t size = 1; size < (size_t)20 << 20; size *= 3) REQUIRE(mheap_malloc(NULL, size) != NULL);
    void *block = mheap_malloc(NULL, 10);
    leave_and_destroy(subproc);
    CHECK(!mheap_is_in_region(block));
  }
}

static void deleting_is_refused_while_blocks_are_in_use(void) {
  mheap_subproc subproc = make("kept");
  REQUIRE(enter(subproc));
  void *block = mheap_malloc(NULL, 1000);
  mheap_subproc_leave();
  CHECK_EQ(mheap_subproc_delete(subproc, &error), MHEAP_ERR_BUSY);
  CHECK_CONTAINS(error.text, "(kept): 1 blocks in it are in use");
  REQUIRE(enter(subproc)); /* it goes on */
  CHECK_EQ(mheap_free(NULL, block), MHEAP_OK);
  mheap_subproc_leave();
  CHECK_EQ(mheap_subproc_delete(subproc, &error), MHEAP_OK);
  CHECK_EQ(mheap_subproc_delete(make("never used"), &error), MHEAP_OK);
}

/* ---- a main heap in a file ---- */

static void its_main_heap_may_be_a_file(void) {
  mheap *heap = in_file("main.heap");
  mheap_subproc subproc = mheap_subproc_new("filed", heap, &error);
  REQUIRE(subproc != 0);
  CHECK_EQ(mheap_subproc_new("again", heap, &error), 0);
  CHECK_EQ(error.code, MHEAP_ERR_BUSY);
  CHECK_EQ(mheap_subproc_new("again", mheap_default(), &error), 0);
  REQUIRE(enter(subproc));
  CHECK(mheap_default() == heap);
  void *block = mheap_malloc(NULL, 100);
  CHECK_EQ(mheap_setkey(NULL, 3, block), MHEAP_OK);
  CHECK_EQ(mheap_detach(heap, &error), MHEAP_ERR_ARGUMENT);
  CHECK_CONTAINS(error.text, "(filed); destroy or delete that first");
  mheap_abandon(heap); /* not either */
  CHECK_EQ(mheap_usable_size(heap, block), 112);
  mheap_subproc_leave();
  CHECK_EQ(mheap_subproc_delete(subproc, &error), MHEAP_OK); /* blocks of a file are not freed by that */
  CHECK(mheap_getkey(heap, 3) == block);
  CHECK_EQ(mheap_detach(heap, &error), MHEAP_OK);
}

/* ---- threads ---- */

static void *stays_until_it_ends(void *subproc) {
  if (!enter(*(mheap_subproc *)subproc)) return NULL;
  return mheap_malloc(NULL, 40);
}

static void *frees(void *block) {
  return mheap_subproc_current() == 1 || mheap_free(NULL, block) != MHEAP_OK ? block : NULL;
}

static void *frees_in(void *arg) {
  void **given = arg;
  return enter(*(mheap_subproc *)given[0]) ? frees(given[1]) : arg;
}

static void a_thread_that_ends_leaves(void) {
  mheap_subproc subproc = make("threads");
  pthread_t thread;
  void *block, *left;
  REQUIRE(pthread_create(&thread, NULL, stays_until_it_ends, &subproc) == 0);
  pthread_join(thread, &block);
  CHECK_EQ(blocks_in(subproc), 1);
  void *given[] = {&subproc, block};
  REQUIRE(pthread_create(&thread, NULL, frees_in, given) == 0);
  pthread_join(thread, &left);
  CHECK(left == NULL);
  CHECK_EQ(mheap_subproc_delete(subproc, &error), MHEAP_OK);
}

/* What one thread leaves behind another one goes on with, in the same subprocess only. */
static void lanes_are_handed_back(void) {
  mheap_subproc subproc = make("lanes");
  pthread_t thread;
  void *block, *own;
  REQUIRE(pthread_create(&thread, NULL, stays_until_it_ends, &subproc) == 0);
  pthread_join(thread, &block);
  REQUIRE(enter(subproc));
  own = mheap_malloc(NULL, 40);
  CHECK((uint64_t)own >> 16 == (uint64_t)block >> 16);
  mheap_subproc_leave();
  REQUIRE(enter(subproc));
  CHECK((uint64_t)mheap_malloc(NULL, 40) >> 16 == (uint64_t)block >> 16);
  leave_and_destroy(subproc);
}

/* ---- many of them ---- */

#define PLACES 6
#define SLOTS 16
#define WORKERS 6

/* A subprocess and what its threads hand to each other; `lock` keeps it while one goes in. */
typedef struct place {
  pthread_mutex_t lock;
  mheap_subproc subproc;
  uint64_t *_Atomic slots[SLOTS];
} place;

static place places[PLACES];
static _Atomic unsigned strangers, destroyed;
static _Atomic bool all_done;

static uint64_t next_random(uint64_t *seed) {
  return (*seed = *seed * 6364136223846793005u + 1442695040888963407u) >> 33;
}

/* Each block says whose it is. What another subprocess's thread left behind would be found here. */
static void look_at(uint64_t *block, mheap_subproc here) {
  if (block == NULL) return;
  if (*block != (uint64_t)here || mheap_subproc_of_address(block) != here) strangers++;
  if (!CHECK_EQ(mheap_free(NULL, block), MHEAP_OK)) fprintf(stderr, "%s\n", mheap_last_error(NULL)->text);
}

static void work_in(place *at, mheap_subproc here, uint64_t *seed) {
  for (int i = 0; i < 200; i++) {
    size_t size = 8 + (next_random(seed) % 40 == 0 ? next_random(seed) % 300000 : next_random(seed) % 500);
    uint64_t *block = mheap_malloc(NULL, size);
    if (!CHECK(block != NULL)) return;
    *block = (uint64_t)here;
    look_at(atomic_exchange(&at->slots[next_random(seed) % SLOTS], block), here);
  }
}

static void *comes_and_goes(void *number) {
  uint64_t seed = (uint64_t)(uintptr_t)number;
  mheap_error why;
  for (int i = 0; i < 60; i++) {
    place *at = &places[next_random(&seed) % PLACES];
    pthread_mutex_lock(&at->lock);
    mheap_subproc here = at->subproc;
    CHECK_EQ(mheap_subproc_add_current_thread(here, &why), MHEAP_OK);
    pthread_mutex_unlock(&at->lock);
    work_in(at, here, &seed);
    if (next_random(&seed) % 4 == 0) mheap_thread_done();
  }
  return NULL; /* in whichever it is: its end leaves it */
}

static void renew(place *at) {
  mheap_error why;
  pthread_mutex_lock(&at->lock);
  mheap_err code = mheap_subproc_destroy(at->subproc, &why);
  CHECK(code == MHEAP_OK || code == MHEAP_ERR_BUSY);
  if (code == MHEAP_OK) {
    for (int i = 0; i < SLOTS; i++) atomic_store(&at->slots[i], NULL);
    at->subproc = mheap_subproc_new("renewed", NULL, &why);
    destroyed++;
  }
  pthread_mutex_unlock(&at->lock);
}

static void *renews(void *unused) {
  static mheap_stats stats;
  uint64_t seed = 99;
  for (unsigned i = 0; !atomic_load(&all_done) || i < PLACES; i++) {
    place *at = &places[next_random(&seed) % PLACES];
    renew(at);
    pthread_mutex_lock(&at->lock);
    mheap_subproc_get_stats(at->subproc, &stats, NULL);
    pthread_mutex_unlock(&at->lock);
  }
  return unused;
}

static void many_come_and_go_apart(void) {
  pthread_t threads[WORKERS + 1];
  uint64_t *foreign = mheap_malloc(NULL, 100), before = blocks_in(1);
  for (int i = 0; i < PLACES; i++) {
    pthread_mutex_init(&places[i].lock, NULL);
    places[i].subproc = make("place");
  }
  REQUIRE(pthread_create(&threads[WORKERS], NULL, renews, NULL) == 0);
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < WORKERS; i++)
      REQUIRE(pthread_create(&threads[i], NULL, comes_and_goes,
                             (void *)(uintptr_t)(round * WORKERS + i + 1)) == 0);
    for (int i = 0; i < WORKERS; i++) pthread_join(threads[i], NULL);
  }
  all_done = true;
  pthread_join(threads[WORKERS], NULL);
  CHECK_EQ(strangers, 0);
  CHECK(destroyed > 0);
  CHECK_EQ(blocks_in(1), before);
  for (int i = 0; i < PLACES; i++) CHECK_EQ(mheap_subproc_destroy(places[i].subproc, &error), MHEAP_OK);
  CHECK_EQ(mheap_free(NULL, foreign), MHEAP_OK);
}

/* The control: a block that went from one to another is a stranger, and is not freed. */
static void a_stranger_would_be_seen(void) {
  mheap_subproc subproc = make("home");
  uint64_t *block = mheap_malloc(NULL, 100);
  *block = 1;
  REQUIRE(enter(subproc));
  CHECK(*block != (uint64_t)subproc && mheap_subproc_of_address(block) == 1);
  CHECK_EQ(mheap_free(NULL, block), MHEAP_ERR_POINTER);
  leave_and_destroy(subproc);
  CHECK_EQ(mheap_subproc_of_address(&subproc), 0);
  CHECK_EQ(mheap_free(NULL, block), MHEAP_OK);
}

/* ---- forks ---- */

static int child_of_a_subprocess(mheap_subproc subproc, void *block) {
  mheap_subproc_info info;
  if (mheap_subproc_current() != subproc) return 2;
  if (mheap_subproc_get_info(subproc, &info, NULL) != MHEAP_OK || info.threads != 1) return 3;
  if (mheap_free(NULL, block) != MHEAP_OK || mheap_malloc(NULL, 70) == NULL) return 4;
  if (mheap_subproc_destroy(subproc, NULL) != MHEAP_ERR_BUSY) return 5;
  mheap_subproc_leave();
  if (mheap_malloc(NULL, 10) == NULL) return 6;
  return mheap_subproc_destroy(subproc, NULL) == MHEAP_OK ? 0 : 7;
}

static pthread_barrier_t inside;

static void *waits_inside(void *subproc) {
  enter(*(mheap_subproc *)subproc);
  pthread_barrier_wait(&inside);
  pthread_barrier_wait(&inside);
  return NULL;
}

static void a_forked_child_goes_on_in_it_alone(void) {
  mheap_subproc subproc = make("forked");
  pthread_t thread;
  int status = -1;
  pthread_barrier_init(&inside, NULL, 2);
  REQUIRE(pthread_create(&thread, NULL, waits_inside, &subproc) == 0);
  pthread_barrier_wait(&inside);
  REQUIRE(enter(subproc));
  void *block = mheap_malloc(NULL, 70);
  pid_t child = fork();
  if (child == 0) _exit(child_of_a_subprocess(subproc, block));
  waitpid(child, &status, 0);
  CHECK_EQ(status, 0);
  CHECK_EQ(mheap_free(NULL, block), MHEAP_OK); /* the parent's are its own */
  pthread_barrier_wait(&inside);
  pthread_join(thread, NULL);
  leave_and_destroy(subproc);
}

TEST_MAIN(TEST(a_thread_is_in_the_main_one_at_first), TEST(each_has_a_default_heap_of_its_own),
          TEST(adding_a_thread_twice_is_adding_it_once), TEST(a_number_is_never_used_again),
          TEST(a_long_name_is_cut), TEST(a_block_of_another_one_is_refused_by_name),
          TEST(counts_and_lists_are_its_own), TEST(all_are_listed),
          TEST(the_main_heap_is_visited_even_if_nobody_used_it), TEST(the_main_one_stays),
          TEST(nobody_may_be_in_it), TEST(destroying_it_frees_all_its_blocks),
          TEST(deleting_is_refused_while_blocks_are_in_use), TEST(its_main_heap_may_be_a_file),
          TEST(a_thread_that_ends_leaves), TEST(lanes_are_handed_back), TEST(many_come_and_go_apart),
          TEST(a_stranger_would_be_seen), TEST(a_forked_child_goes_on_in_it_alone))
