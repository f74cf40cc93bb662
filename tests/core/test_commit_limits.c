/* test_commit_limits.c: mode atomic in a process whose address space, or data, is limited. Always an error
   in words, and what was committed stays. Each in a child process. A sanitizer needs both itself: with one
   nothing is tried. */
#include <sys/resource.h>

#include "image.h"
#include "os.h"

enum { LOAD = 8 << 20, PIECE = 1 << 16 };

typedef struct limited {
  const char *path;
  int what;      /* RLIMIT_AS, RLIMIT_DATA */
  uint64_t more; /* bytes, than are used now */
} limited;

static uint64_t used_now(int what) {
  mh_os_usage usage;
  if (!CHECK_EQ(mh_os_process(&usage), 0)) return 0;
  return what == RLIMIT_DATA ? usage.data : usage.size_peak;
}

static uint64_t limit_now(int what) {
  struct rlimit now;
  return getrlimit(what, &now) == 0 ? now.rlim_cur : 0;
}

static bool set_limit(const limited *it) {
  const struct rlimit most = {used_now(it->what) + it->more, RLIM_INFINITY};
  return CHECK(setrlimit(it->what, &most) == 0);
}

static mheap *open_atomic(const char *path, mheap_error *error) {
  return mheap_open(path, &(mheap_options){.mode = MHEAP_MODE_ATOMIC}, error);
}

static bool load(mheap *heap) {
  for (int i = 0; i < LOAD / PIECE; i++) {
    char *block = mheap_malloc(heap, PIECE);
    if (block == NULL) return false;
    memset(block, 'x', PIECE);
    mheap_setkey(heap, 0, block);
  }
  return true;
}

static bool is_no_memory(const mheap_error *error, const char *path) {
  CHECK_CONTAINS(error->text, path);
  return CHECK(error->code == MHEAP_ERR_NO_MEMORY || error->code == MHEAP_ERR_FULL);
}

/* 10: refused at the attach; 11: later, and undone. */
static int load_and_commit(void *arg) {
  const limited *it = arg;
  mheap_error error = {0};
  unsigned before = test_failures;
  if (!set_limit(it)) return 1;
  mheap *heap = open_atomic(it->path, &error);
  if (heap == NULL) return is_no_memory(&error, it->path) ? 10 : 1;
  int status = 0;
  if (!load(heap) || mheap_commit(heap, true) != MHEAP_OK) {
    is_no_memory(mheap_last_error(heap), it->path);
    status = 11;
    if (mheap_rollback(heap) == MHEAP_OK) CHECK(mheap_getkey(heap, 0) == NULL);
  }
  CHECK(used_now(it->what) <= limit_now(it->what)); /* else the program could allocate nothing any more */
  if (mheap_detach(heap, &error) != MHEAP_OK) is_no_memory(&error, it->path);
  return test_failures > before ? 1 : status;
}

/* What the child left is whole: all of its load, or none. */
static void check_file(const char *path, bool loaded) {
  mheap_error error = {0};
  mheap *heap = open_atomic(path, &error);
  if (!CHECK(heap != NULL)) return;
  CHECK((mheap_getkey(heap, 0) != NULL) == loaded);
  CHECK_EQ(mheap_check(heap, NULL, NULL, NULL), MHEAP_OK);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* Of the limits that are tried the smallest from which on all worked. */
static uint64_t least_that_works(int what, uint64_t step, uint64_t most) {
  uint64_t least = UINT64_MAX;
  limited it = {test_path("limited.heap"), what, 0};
  for (; it.more <= most; it.more += step) {
    unlink(it.path);
    int status = in_child_process(load_and_commit, &it);
    CHECK(status == 0 || status == 10 || status == 11);
    if (status != 0) least = UINT64_MAX;
    else if (least == UINT64_MAX) least = it.more;
    if (status != 10) check_file(it.path, status == 0);
  }
  printf("     least that works: %llu KiB\n", (unsigned long long)(least >> 10));
  return least;
}

static bool is_sanitized(void) {
  if (TEST_SANITIZED) printf("     not done: a sanitizer needs memory and address space itself\n");
  return TEST_SANITIZED;
}

/* The heap, a group of images, 64 KiB of each table, however large the span, and what else a commit takes. */
static void a_limit_on_data_has_to_hold_the_heap_and_little_more(void) {
  if (is_sanitized()) return;
  uint64_t least = least_that_works(RLIMIT_DATA, 1 << 20, 20 << 20);
  CHECK(least > LOAD);
  CHECK(least <= LOAD + 2 * MH_SEGMENT);
}

/* The smallest span twice, and the tables; any larger limit will do. */
static void a_limit_on_address_space_makes_a_smaller_span(void) {
  if (is_sanitized()) return;
  uint64_t least = least_that_works(RLIMIT_AS, 48 << 20, 1 << 30);
  CHECK(least > 2 * (64 << 20));
  CHECK(least <= 256 << 20);
}

TEST_MAIN(TEST(a_limit_on_data_has_to_hold_the_heap_and_little_more),
          TEST(a_limit_on_address_space_makes_a_smaller_span))
