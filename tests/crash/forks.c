/* forks.c: a process whose threads work on a file heap and on the default heap forks again and
   again. Each child must find the default heap usable, and the file's handle refused; the
   parent's heap stays sound, complete, and locked against others.

     crash_forks DIRECTORY [COUNT] */
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "audit.h"

#define THREADS 3
#define SLOTS 200

typedef struct worker {
  mheap *heap; /* NULL: the default heap */
  _Atomic bool *stop;
  uint64_t random;
  pthread_t thread;
  char *blocks[SLOTS];
  size_t sizes[SLOTS];
  _Atomic uint64_t done;
} worker;

static void fail(const char *what, mheap *heap) {
  fprintf(stderr, "forks: process %d: %s: %s\n", (int)getpid(), what, mheap_last_error(heap)->text);
  _exit(1);
}

/* ---- the parent's threads ---- */

static void work_once(worker *w) {
  unsigned i = (unsigned)random_below(&w->random, SLOTS);
  if (w->blocks[i] == NULL) {
    w->sizes[i] = random_size(&w->random, 200000);
    if ((w->blocks[i] = mheap_malloc(w->heap, w->sizes[i])) == NULL) fail("malloc", w->heap);
    pattern_fill(w->blocks[i], w->sizes[i], i);
    return;
  }
  if (!pattern_is(w->blocks[i], w->sizes[i], i)) fail("a block lost its contents", w->heap);
  if (mheap_free(w->heap, w->blocks[i]) != MHEAP_OK) fail("free", w->heap);
  w->blocks[i] = NULL;
}

static void *work(void *arg) {
  worker *w = arg;
  while (!atomic_load(w->stop)) {
    work_once(w);
    atomic_fetch_add_explicit(&w->done, 1, memory_order_relaxed);
  }
  return NULL;
}

/* ---- the child ---- */

/* The default heap is a copy of the parent's: what threads that are gone were doing with it
   must not be in the way. */
static void use_default_heap(worker *of_parent) {
  worker w = {.random = (uint64_t)getpid()};
  for (int i = 0; i < 2000; i++) work_once(&w);
  for (int i = 0; i < SLOTS; i++)
    if (w.blocks[i] != NULL && mheap_free(NULL, w.blocks[i]) != MHEAP_OK) fail("free", NULL);
  char *old = of_parent->blocks[0]; /* allocated before the first fork, and left alone */
  if (!pattern_is(old, of_parent->sizes[0], 0)) fail("a block of the parent lost its contents", NULL);
  if (mheap_free(NULL, old) != MHEAP_OK) fail("freeing a block of the parent", NULL);
  if (mheap_free(NULL, old) != MHEAP_ERR_DOUBLE_FREE) fail("freeing it again", NULL);
  if (!heap_is_sound(mheap_default())) fail("the default heap is not sound", NULL);
}

static void check_refused(mheap *heap, mheap_err code, const char *what) {
  if (code != MHEAP_ERR_FORKED || mheap_last_error(heap)->code != MHEAP_ERR_FORKED) fail(what, heap);
}

static void find_handle_refused(mheap *heap, char *block, const char *path) {
  mheap_info info;
  mheap_error error;
  check_refused(heap, mheap_malloc(heap, 10) == NULL ? mheap_last_error(heap)->code : MHEAP_OK, "malloc");
  check_refused(heap, mheap_realloc(heap, block, 10) == NULL ? mheap_last_error(heap)->code : MHEAP_OK,
                "realloc");
  check_refused(heap, mheap_free(heap, block), "free");
  check_refused(heap, mheap_sync(heap), "sync");
  check_refused(heap, mheap_collect(heap, true), "collect");
  check_refused(heap, mheap_setkey(heap, 0, NULL), "setkey");
  check_refused(heap, mheap_get_info(heap, &info), "info");
  check_refused(heap, mheap_check(heap, NULL, NULL, NULL), "check");
  if (mheap_open(path, NULL, &error) != NULL || error.code != MHEAP_ERR_BUSY)
    fail("the parent's lock is gone", heap);
}

/* Half the children let go of the handle they were refused, half just exit. */
static void run_child(mheap *heap, char *block, const char *path, worker *of_default) {
  alarm(30);
  find_handle_refused(heap, block, path);
  use_default_heap(of_default);
  if (getpid() % 2 == 0) mheap_abandon(heap);
  _exit(0);
}

/* ---- the parent ---- */

static bool fork_once(mheap *heap, char *block, const char *path, worker *of_default) {
  int status;
  fflush(NULL);
  pid_t pid = fork();
  if (pid == 0) run_child(heap, block, path, of_default);
  if (pid < 0 || waitpid(pid, &status, 0) != pid) return false;
  if (WIFSIGNALED(status)) fprintf(stderr, "forks: a child died of signal %d\n", WTERMSIG(status));
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static uint64_t count_blocks(const worker *w) {
  uint64_t count = 0;
  for (int i = 0; i < SLOTS; i++) count += w->blocks[i] != NULL;
  return count;
}

/* Is the file still locked, as another process sees it? */
static bool is_locked(const char *path) {
  int status;
  pid_t pid = fork();
  if (pid == 0) {
    mheap_error error;
    _exit(mheap_open(path, NULL, &error) == NULL && error.code == MHEAP_ERR_BUSY ? 0 : 1);
  }
  return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int main(int argc, char **argv) {
  static worker workers[THREADS + 1];
  _Atomic bool stop = false;
  char path[4096];
  if (argc < 2) return 2;
  snprintf(path, sizeof path, "%s/forks-%d.heap", argv[1], (int)getpid());
  unsigned count = argc > 2 ? (unsigned)atoi(argv[2]) : 1000, good = 0;
  mheap *heap = heap_at(path, NULL);
  char *block = mheap_malloc(heap, 100);
  worker *of_default = &workers[THREADS]; /* no thread works on these */
  of_default->random = 7;
  of_default->sizes[0] = 5000;
  of_default->blocks[0] = mheap_malloc(NULL, 5000);
  pattern_fill(of_default->blocks[0], 5000, 0);
  for (int i = 0; i < THREADS; i++) {
    workers[i].heap = i == 0 ? NULL : heap;
    workers[i].stop = &stop;
    workers[i].random = (uint64_t)i + 1;
    if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) return 2;
  }
  while (good < count && fork_once(heap, block, path, of_default)) good++;
  atomic_store(&stop, true);
  uint64_t done = 0, live = 1;
  for (int i = 0; i < THREADS; i++) {
    pthread_join(workers[i].thread, NULL);
    done += workers[i].done;
    live += workers[i].heap != NULL ? count_blocks(&workers[i]) : 0;
  }
  bool sound = heap_is_sound(heap) && heap_blocks(heap) == live && is_locked(path);
  printf("%u of %u children as expected; %" PRIu64 " operations by threads meanwhile; the heap is %s\n", good,
         count, done, sound ? "sound" : "not sound");
  bool detached = heap_detach(heap);
  unlink(path);
  return good == count && sound && detached && done > count ? 0 : 1;
}
