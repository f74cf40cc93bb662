/* test_process.c: units of small blocks, of threads that say that they come and go, and of what the
   kernel says of the process. */
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <time.h>

#include "heap.h"
#include "lane.h"
#include "model.h"

static void small_blocks_are_blocks(void) {
  mheap *heap = mheap_attach(-1, NULL, NULL);
  REQUIRE(heap != NULL);
  for (size_t size = 0; size <= MHEAP_SMALL_SIZE_MAX; size += 16) {
    mheap *of = size % 32 ? heap : NULL;
    char *block = mheap_malloc_small(of, size);
    REQUIRE(block != NULL);
    memset(block, 'x', size);
    CHECK_EQ(mheap_free(of, block), MHEAP_OK);
    block = mheap_zalloc_small(of, size);
    REQUIRE(block != NULL);
    for (size_t i = 0; i < size; i++) CHECK(block[i] == 0);
    CHECK_EQ(mheap_usable_size_any(block), mheap_good_size(size));
    CHECK_EQ(mheap_free(of, block), MHEAP_OK);
  }
  char *larger = mheap_zalloc_small(heap, 5000);
  CHECK(larger != NULL && larger[4999] == 0);
  mheap_abandon(heap);
}

static void *come_and_go(void *arg) {
  (void)arg;
  for (int i = 0; i < 3; i++) {
    CHECK_EQ(mheap_thread_init(), MHEAP_OK);
    CHECK(mh_lane_default() != NULL);
    CHECK_EQ(mheap_thread_init(), MHEAP_OK);
    void *block = mheap_malloc(NULL, 64);
    mheap_thread_done();
    CHECK(mh_lane_default() == NULL);
    CHECK_EQ(mheap_free_any(block), MHEAP_OK);
    mheap_thread_done();
    mheap_thread_done();
  }
  return NULL;
}

static void a_thread_may_say_that_it_comes_and_goes(void) {
  pthread_t thread;
  REQUIRE(pthread_create(&thread, NULL, come_and_go, NULL) == 0);
  pthread_join(thread, NULL);
  come_and_go(NULL);
}

static void the_kernel_says_what_the_process_used(void) {
  mheap_process_info before, after;
  const size_t size = (size_t)32 << 20;
  REQUIRE_EQ(mheap_get_process_info(&before, NULL), MHEAP_OK);
  char *block = mheap_malloc(NULL, size);
  REQUIRE(block != NULL);
  memset(block, 1, size);
  clock_t end = clock() + CLOCKS_PER_SEC / 20;
  while (clock() < end) continue;
  REQUIRE_EQ(mheap_get_process_info(&after, NULL), MHEAP_OK);
  CHECK(after.user_ms + after.system_ms >= before.user_ms + before.system_ms + 40);
  CHECK(after.elapsed_ms >= before.elapsed_ms + 40);
  CHECK(after.elapsed_ms < 24 * 3600 * 1000u);
  CHECK(after.current_rss + (1 << 20) >= before.current_rss + size);
  CHECK(after.peak_rss + (1 << 20) >= after.current_rss);
  CHECK(after.current_commit >= before.current_commit + size);
  CHECK(after.peak_commit >= after.current_commit);
  CHECK(after.page_faults >= before.page_faults);
  CHECK_EQ(mheap_free(NULL, block), MHEAP_OK);
}

static bool proc_can_be_hidden(void) {
  if (unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
  return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
         mount("none", "/proc", "tmpfs", 0, NULL) == 0;
}

static void without_proc_nothing_is_guessed(void) {
  int status;
  pid_t child = fork();
  if (child == 0) {
    mheap_process_info info;
    mheap_error error = {0};
    if (!proc_can_be_hidden()) _exit(77);
    mheap_err code = mheap_get_process_info(&info, &error);
    _exit(!(code == MHEAP_ERR_SYSTEM && error.sys != 0 && strstr(error.text, "/proc/self") != NULL &&
            info.current_rss == 0));
  }
  REQUIRE(waitpid(child, &status, 0) == child && WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) fprintf(stderr, "no right to hide /proc: not tested\n");
  else CHECK_EQ(WEXITSTATUS(status), 0);
}

TEST_MAIN(TEST(small_blocks_are_blocks), TEST(a_thread_may_say_that_it_comes_and_goes),
          TEST(the_kernel_says_what_the_process_used), TEST(without_proc_nothing_is_guessed))
