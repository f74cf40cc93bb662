/* threads.c: many threads that come and go under malloc, with forks in between and blocks freed
   by destructors that run after everything else of a thread is gone.

   Run with libmheap-preload before it. Calls libc, pthreads. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "../core/test.h"

#define SLOTS 500
#define KEYS 4

static _Atomic bool done;
static pthread_mutex_t shelf_lock = PTHREAD_MUTEX_INITIALIZER;
static void *shelf[SLOTS]; /* where threads leave blocks for others */

static uint32_t next(uint32_t *random) { return *random = *random * 1664525 + 1013904223; }

/* A block carries its size, so that whoever frees it can see that nobody else had it too. */
static void *make(uint32_t random) {
  size_t size = 16 + (random >> 8) % (random % 50 == 0 ? 300000 : random % 7 == 0 ? 9000 : 400);
  size_t *block = random % 5 == 0 ? calloc(1, size) : malloc(size);
  if (!CHECK(block != NULL)) exit(1);
  block[0] = size;
  ((char *)block)[size - 1] = 77;
  return block;
}

static void drop(void *block) {
  size_t size = block != NULL ? *(size_t *)block : 0;
  if (block != NULL) CHECK(size == 8 || ((char *)block)[size - 1] == 77);
  free(block);
}

static void swap(uint32_t random) {
  void *block = make(random);
  uint32_t slot = random % SLOTS;
  pthread_mutex_lock(&shelf_lock);
  void *other = shelf[slot];
  shelf[slot] = block;
  pthread_mutex_unlock(&shelf_lock);
  drop(other);
}

static void *churn(void *seed) {
  uint32_t random = (uint32_t)(uintptr_t)seed;
  while (!done) {
    swap(next(&random));
    void *block = make(next(&random));
    size_t size = *(size_t *)block;
    block = realloc(block, 2 * size);
    CHECK(*(size_t *)block == size && ((char *)block)[size - 1] == 77);
    drop(block);
  }
  return NULL;
}

/* ---- destructors ---- */

static pthread_key_t keys[KEYS];
static _Atomic unsigned destroyed;

/* Sets itself anew, to run in every round there is, the last included. */
static void destroy(void *block) {
  pthread_key_t key = keys[*(size_t *)block % KEYS];
  size_t *another = malloc(200);
  another[0] = *(size_t *)block;
  free(block);
  destroyed++;
  if (pthread_setspecific(key, another) != 0) free(another);
}

static void *short_life(void *arg) {
  uint32_t random = (uint32_t)(uintptr_t)arg;
  for (size_t i = 0; i < KEYS; i++) {
    size_t *block = malloc(200);
    block[0] = i;
    pthread_setspecific(keys[i], block);
  }
  for (int i = 0; i < 50; i++) swap(next(&random));
  return strdup(strerror(100000)); /* a buffer of the C library's, freed when the thread is gone */
}

static void threads_come_and_go(void) {
  pthread_t threads[20], worker;
  for (int i = 0; i < KEYS; i++) pthread_key_create(&keys[i], destroy);
  pthread_create(&worker, NULL, churn, (void *)1);
  for (uintptr_t round = 0; round < 30; round++) {
    for (uintptr_t i = 0; i < 20; i++)
      REQUIRE(pthread_create(&threads[i], NULL, short_life, (void *)(round * 20 + i)) == 0);
    for (int i = 0; i < 20; i++) {
      void *text;
      pthread_join(threads[i], &text);
      free(text);
    }
  }
  done = true;
  pthread_join(worker, NULL);
  done = false;
  CHECK(destroyed >= 30 * 20 * KEYS);
}

/* ---- forks ---- */

static int child(uint32_t random) {
  pthread_t thread;
  for (int i = 0; i < 300; i++) drop(make(next(&random)));
  for (int i = 0; i < SLOTS; i++) {
    drop(shelf[i]);
    shelf[i] = NULL;
  }
  done = true;
  if (pthread_create(&thread, NULL, churn, (void *)7) != 0) return 1;
  pthread_join(thread, NULL);
  return test_failures != 0;
}

static void forks_among_threads(void) {
  pthread_t threads[4];
  for (uintptr_t i = 0; i < 4; i++) pthread_create(&threads[i], NULL, churn, (void *)(i + 1));
  for (uint32_t i = 0; i < 40; i++) {
    pthread_mutex_lock(&shelf_lock); /* the program's own care: nobody is between two stores */
    pid_t pid = fork();
    if (pid == 0) {
      pthread_mutex_unlock(&shelf_lock);
      _exit(child(i));
    }
    pthread_mutex_unlock(&shelf_lock);
    int status = -1;
    REQUIRE(waitpid(pid, &status, 0) == pid);
    CHECK_EQ(status, 0);
  }
  done = true;
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  done = false;
}

static void vforked_children_run_programs(void) {
  for (int i = 0; i < 20; i++) {
    int status = -1;
    pid_t pid = vfork();
    if (pid == 0) {
      execl("/bin/true", "true", NULL);
      _exit(1);
    }
    waitpid(pid, &status, 0);
    CHECK_EQ(status, 0);
  }
}

TEST_MAIN(TEST(threads_come_and_go), TEST(forks_among_threads), TEST(vforked_children_run_programs))
