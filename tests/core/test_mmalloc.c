/* test_mmalloc.c: GNU mmalloc's interface, as a program written for it uses it: nothing but
   mheap/mmalloc.h is included, but for the tests of what a mistake leads to. */
#include "mheap/mmalloc.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "mheap/mheap.h"
#include "test.h"

static int open_file(const char *name) { return open(test_path(name), O_RDWR | O_CREAT, 0600); }

/* ---- attach, detach, keys ---- */

static void a_heap_goes_on_where_it_stopped(void) {
  int fd = open_file("state.heap");
  void *md = mmalloc_attach(fd, 0);
  REQUIRE(md != NULL);
  char *text = mmalloc(md, 100);
  REQUIRE(text != NULL);
  strcpy(text, "hello");
  CHECK_EQ(mmalloc_setkey(md, 0, text), 1);
  CHECK_EQ(mmalloc_setkey(md, 1023, text + 1), 1);
  CHECK(mmalloc_detach(md) == NULL);
  close(fd);

  fd = open_file("state.heap");
  md = mmalloc_attach(fd, 0);
  close(fd);
  REQUIRE(md != NULL);
  CHECK(mmalloc_getkey(md, 0) == text); /* at the same address */
  CHECK_STR(mmalloc_getkey(md, 0), "hello");
  CHECK_STR(mmalloc_getkey(md, 1023), "ello");
  CHECK(mmalloc_getkey(md, 1) == NULL);
  mfree(md, mmalloc_getkey(md, 0));
  CHECK_EQ(mmalloc_setkey(md, 0, NULL), 1);
  CHECK(mmalloc_getkey(md, 0) == NULL);
  CHECK(mmalloc_detach(md) == NULL);
}

/* Detaching says so every time, as of any failure; mheap_abandon lets go, lock and all. */
static void a_heap_whose_file_was_cut_short_is_let_go(void) {
  int fd = open_file("cut.heap");
  void *md = mmalloc_attach(fd, 0);
  REQUIRE(md != NULL);
  CHECK(mmalloc(md, 1000000) != NULL);
  CHECK_EQ(ftruncate(fd, 65536), 0);
  for (int i = 0; i < 2; i++) {
    errno = 0;
    CHECK(mmalloc_detach(md) == md);
    CHECK_EQ(errno, EUCLEAN);
    CHECK_CONTAINS(mheap_last_error(md)->text, "cut short");
  }
  CHECK(mmalloc_attach(fd, 0) == NULL);
  CHECK_EQ(errno, EBUSY);
  mheap_abandon(md);
  CHECK_EQ(ftruncate(fd, 0), 0);
  md = mmalloc_attach(fd, 0);
  CHECK(md != NULL && mmalloc_detach(md) == NULL);
  close(fd);
}

static void keys_are_refused_outside_their_range_and_region(void) {
  void *md = mmalloc_attach(-1, 0);
  REQUIRE(md != NULL);
  int elsewhere;
  CHECK_EQ(mmalloc_setkey(md, -1, NULL), 0);
  CHECK_EQ(mmalloc_setkey(md, 1024, NULL), 0);
  CHECK_EQ(mmalloc_setkey(md, 5, &elsewhere), 0);
  CHECK(mmalloc_getkey(md, -1) == NULL);
  CHECK(mmalloc_getkey(md, 1024) == NULL);
  CHECK(mmalloc_getkey(md, 5) == NULL);
  CHECK(mmalloc_detach(md) == NULL);
}

static void attach_fails_with_errno(void) {
  int fd = open_file("foreign");
  REQUIRE(write(fd, "something else entirely", 23) == 23);
  errno = 0;
  CHECK(mmalloc_attach(fd, 0) == NULL);
  CHECK(errno != 0);
  struct stat status;
  CHECK(fstat(fd, &status) == 0 && status.st_size == 23);
  close(fd);
  errno = 0;
  CHECK(mmalloc_attach(9999, 0) == NULL);
  CHECK_EQ(errno, EBADF);
  errno = 0;
  fd = open("/", O_RDONLY);
  CHECK(mmalloc_attach(fd, 0) == NULL);
  CHECK(errno != 0);
  close(fd);
}

static void a_base_address_is_honoured_or_refused(void) {
  size_t room = (size_t)64 << 30;
  void *base = mmalloc_findbase(room);
  REQUIRE(base != NULL);
  int fd = open_file("based.heap");
  void *md = mmalloc_attach(fd, base);
  REQUIRE(md != NULL);
  char *block = mmalloc(md, 10);
  CHECK(block > (char *)base && block < (char *)base + room);
  CHECK_EQ(mmalloc_setkey(md, 0, block), 1);
  CHECK(mmalloc_detach(md) == NULL);

  void *taken =
      mmap(base, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  REQUIRE(taken == base);
  *(int *)taken = 42;
  errno = 0;
  CHECK(mmalloc_attach(fd, base) == NULL);
  CHECK_EQ(errno, EADDRINUSE);
  CHECK_EQ(*(int *)taken, 42);
  munmap(taken, 65536);
  md = mmalloc_attach(fd, base);
  REQUIRE(md != NULL);
  CHECK(mmalloc_getkey(md, 0) == block);
  CHECK(mmalloc_detach(md) == NULL);
  close(fd);
  CHECK(mmalloc_findbase((size_t)1 << 62) == NULL);
}

/* ---- blocks ---- */

static void use_all_functions(void *md) {
  char *a = mmalloc(md, 50), *b = mcalloc(md, 10, 30);
  REQUIRE(a != NULL && b != NULL);
  for (int i = 0; i < 300; i++) CHECK_EQ(b[i], 0);
  memset(a, 'a', 50);
  a = mrealloc(md, a, 5000);
  REQUIRE(a != NULL);
  CHECK(a[0] == 'a' && a[49] == 'a');
  a = mrealloc(md, a, 10);
  CHECK(a[9] == 'a');
  char *page = mvalloc(md, 10), *aligned = mmemalign(md, 1024, 10);
  CHECK_EQ((uintptr_t)page % (uintptr_t)sysconf(_SC_PAGESIZE), 0);
  CHECK_EQ((uintptr_t)aligned % 1024, 0);
  CHECK(page != NULL && aligned != NULL);
  char *fresh = mrealloc(md, NULL, 7);
  CHECK(fresh != NULL);
  mfree(md, a);
  mfree(md, b);
  mfree(md, page);
  mfree(md, aligned);
  mfree(md, fresh);
  mfree(md, NULL);
}

static void blocks_work_in_a_heap_of_ones_own(void) {
  void *md = mmalloc_attach(-1, 0);
  REQUIRE(md != NULL);
  use_all_functions(md);
  CHECK_EQ(mmstats(md).chunks_used, 0);
  CHECK(mmalloc_detach(md) == NULL);
}

static void blocks_work_in_the_default_heap(void) {
  use_all_functions(NULL);
  CHECK_EQ(mmstats(NULL).chunks_used, 0);
  CHECK(mmalloc_detach(NULL) == NULL);
  CHECK_EQ(mmalloc_errno(NULL), 0);
}

static void size_0_gives_null(void) {
  void *md = mmalloc_attach(-1, 0);
  REQUIRE(md != NULL);
  CHECK(mmalloc(md, 0) == NULL);
  CHECK(mcalloc(md, 0, 10) == NULL);
  CHECK(mcalloc(md, 10, 0) == NULL);
  CHECK(mvalloc(md, 0) == NULL);
  CHECK(mmemalign(md, 64, 0) == NULL);
  CHECK(mrealloc(md, NULL, 0) == NULL);
  void *block = mmalloc(md, 10);
  CHECK(mrealloc(md, block, 0) == NULL);
  CHECK_EQ(mmstats(md).chunks_used, 0);
  CHECK(mmalloc_detach(md) == NULL);
}

static void failures_change_nothing(void) {
  void *md = mmalloc_attach(-1, 0);
  REQUIRE(md != NULL);
  char *block = mmalloc(md, 10);
  strcpy(block, "same");
  CHECK(mrealloc(md, block, (size_t)-1) == NULL);
  CHECK_STR(block, "same");
  CHECK(mcalloc(md, (size_t)1 << 40, (size_t)1 << 40) == NULL);
  CHECK(mmemalign(md, 3, 10) == NULL);
  mfree(md, block);
  mfree(md, block); /* reported, not obeyed */
  CHECK_EQ(mheap_last_error(md)->code, MHEAP_ERR_DOUBLE_FREE);
  mfree(md, &block);
  CHECK_EQ(mheap_last_error(md)->code, MHEAP_ERR_POINTER);
  CHECK_EQ(mmstats(md).chunks_used, 0);
  CHECK(mmalloc_detach(md) == NULL);
}

static void mmalloc_errno_is_of_the_last_operation(void) {
  void *md = mmalloc_attach(-1, 0);
  REQUIRE(md != NULL);
  CHECK_EQ(mmalloc_errno(md), 0);
  CHECK(mmalloc(md, (size_t)1 << 40) == NULL);
  mheap_error *error = (mheap_error *)mheap_last_error(md); /* as a failed system call leaves it */
  error->code = MHEAP_ERR_SYSTEM;
  error->sys = EIO;
  CHECK_EQ(mmalloc_errno(md), EIO);
  void *block = mmalloc(md, 10);
  CHECK(block != NULL);
  CHECK_EQ(mmalloc_errno(md), 0);
  CHECK(mmalloc_detach(md) == NULL);
}

/* ---- statistics ---- */

static void mmstats_counts(void) {
  void *md = mmalloc_attach(-1, 0);
  REQUIRE(md != NULL);
  struct mstats before = mmstats(md);
  void *blocks[100];
  for (int i = 0; i < 100; i++) blocks[i] = mmalloc(md, 64);
  struct mstats after = mmstats(md);
  CHECK_EQ(after.chunks_used, before.chunks_used + 100);
  CHECK_EQ(after.bytes_used, before.bytes_used + 6400);
  CHECK(after.bytes_total >= after.bytes_used + after.bytes_free);
  CHECK(after.chunks_free > 0);
  for (int i = 0; i < 100; i++) mfree(md, blocks[i]);
  CHECK_EQ(mmstats(md).bytes_used, before.bytes_used);
  CHECK(mmalloc_detach(md) == NULL);
}

/* ---- checking ---- */

static int aborted;
static void count_abort(void) { aborted++; }

static void mmcheck_calls_the_function(void) {
  void *md = mmalloc_attach(-1, 0);
  REQUIRE(md != NULL);
  CHECK_EQ(mmcheck(md, count_abort), 1);
  char *block = mmalloc(md, 10);
  memset(block, 'x', 10);
  mfree(md, block);
  CHECK_EQ(aborted, 0);
  block = mmalloc(md, 10);
  block[10] = 'x';
  mfree(md, block);
  CHECK_EQ(aborted, 1);
  block = mmalloc(md, 10);
  block[-1] ^= 1;
  mfree(md, block);
  CHECK_EQ(aborted, 2);
  CHECK(mmalloc_detach(md) == NULL);
}

static void mmcheckf_can_be_forced(void) {
  void *md = mmalloc_attach(-1, 0);
  REQUIRE(md != NULL);
  void *before = mmalloc(md, 10);
  CHECK_EQ(mmcheck(md, count_abort), 0);
  CHECK_EQ(mmcheckf(md, count_abort, 0), 0);
  CHECK_EQ(mmcheckf(md, count_abort, 1), 1);
  aborted = 0;
  char *block = mmalloc(md, 10);
  block[11] = 'x';
  block = mrealloc(md, block, 20);
  CHECK(block != NULL);
  CHECK_EQ(aborted, 1);
  mfree(md, before);
  mfree(md, block);
  CHECK_EQ(aborted, 1);
  CHECK(mmalloc_detach(md) == NULL);
}

/* ---- tracing ---- */

static void mmtrace_writes_where_the_environment_says(void) {
  char text[4096], line[128];
  const char *path = test_path("mtrace.log");
  unsetenv("MALLOC_TRACE");
  CHECK_EQ(mmtrace(), 1);
  setenv("MALLOC_TRACE", path, 1);
  CHECK_EQ(mmtrace(), 1);
  CHECK_EQ(mmtrace(), 1); /* once is enough */
  void *md = mmalloc_attach(-1, 0);
  REQUIRE(md != NULL);
  void *own = mmalloc(md, 123), *common = mmalloc(NULL, 321);
  mfree(md, own);
  mfree(NULL, common);
  CHECK(mmalloc_detach(md) == NULL);
  mheap_mtrace(NULL, NULL); /* flushes, too */
  FILE *file = fopen(path, "r");
  REQUIRE(file != NULL);
  text[fread(text, 1, sizeof text - 1, file)] = '\0';
  fclose(file);
  snprintf(line, sizeof line, "+ %p 0x7b\n", own);
  CHECK_CONTAINS(text, line);
  snprintf(line, sizeof line, "- %p\n", own);
  CHECK_CONTAINS(text, line);
  snprintf(line, sizeof line, "+ %p 0x141\n", common);
  CHECK_CONTAINS(text, line);
  CHECK_CONTAINS(text, "= Start\n");
}

TEST_MAIN(TEST(a_heap_goes_on_where_it_stopped), TEST(a_heap_whose_file_was_cut_short_is_let_go),
          TEST(keys_are_refused_outside_their_range_and_region), TEST(attach_fails_with_errno),
          TEST(a_base_address_is_honoured_or_refused), TEST(blocks_work_in_a_heap_of_ones_own),
          TEST(blocks_work_in_the_default_heap), TEST(size_0_gives_null), TEST(failures_change_nothing),
          TEST(mmalloc_errno_is_of_the_last_operation), TEST(mmstats_counts),
          TEST(mmcheck_calls_the_function), TEST(mmcheckf_can_be_forced),
          TEST(mmtrace_writes_where_the_environment_says))
