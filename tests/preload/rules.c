/* rules.c: a program that knows malloc only, and checks that it keeps the rules of the C library.

   It is run with libmheap-preload before it, and asks the dynamic linker whether that serves it.
   Calls libc, libdl, pthreads. */
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "../core/test.h"

#define KIB ((size_t)1024)
#define MIB (KIB * KIB)

static bool served(const void *block) {
  bool (*is_in_region)(const void *) = (bool (*)(const void *))dlsym(RTLD_DEFAULT, "mheap_is_in_region");
  return is_in_region != NULL && is_in_region(block);
}

/* What the compiler does not see through. */
static void *volatile kept;
static void *keep(void *block) { return kept = block; }
static volatile size_t huge = (size_t)PTRDIFF_MAX + 2, most = SIZE_MAX, odd = 24;

static bool is_zero(const char *block, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (block[i] != 0) return false;
  return true;
}

/* ---- the library is there ---- */

static void *of_constructor;
__attribute__((constructor)) static void before_main(void) { of_constructor = malloc(100); }

static void the_library_serves(void) {
  bool (*is_redirected)(void) = (bool (*)(void))dlsym(RTLD_DEFAULT, "mheap_is_redirected");
  REQUIRE(is_redirected != NULL);
  CHECK(is_redirected());
  void *block = keep(malloc(17));
  CHECK(served(block) && served(of_constructor));
  CHECK_EQ(malloc_usable_size(block), 32);
  free(block);
  free(of_constructor);
  char *line = NULL;
  CHECK(asprintf(&line, "%d", 12345) == 5 && served(line)); /* the C library's own calls */
  free(line);
}

/* ---- sizes ---- */

static void blocks_hold_what_was_asked(void) {
  static char *blocks[400];
  for (size_t i = 0; i < 400; i++) {
    size_t size = i < 200 ? i : i * i * 31;
    REQUIRE((blocks[i] = malloc(size)) != NULL);
    CHECK((uintptr_t)blocks[i] % 16 == 0 && malloc_usable_size(blocks[i]) >= size);
    memset(blocks[i], (int)i, malloc_usable_size(blocks[i]));
  }
  for (size_t i = 0; i < 400; i++) {
    size_t size = malloc_usable_size(blocks[i]);
    CHECK(blocks[i][0] == (char)i && blocks[i][size - 1] == (char)i);
    free(blocks[i]);
  }
  CHECK_EQ(malloc_usable_size(NULL), 0);
}

static void nothing_is_a_block_of_its_own(void) {
  void *one = keep(malloc(0)), *two = keep(malloc(0));
  CHECK(one != NULL && two != NULL && one != two);
  free(one);
  free(two);
  free(NULL);
}

static void cleared_memory_is_zero(void) {
  static const size_t sizes[] = {1, 100, 1000, 5000, 70 * KIB, 300 * KIB, 3 * MIB, 20 * MIB};
  for (int round = 0; round < 3; round++)
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
      char *dirty = keep(malloc(sizes[i]));
      memset(dirty, 0xa5, sizes[i]);
      free(dirty);
      char *block = keep(calloc(sizes[i], 1));
      CHECK(block != NULL && is_zero(block, sizes[i]));
      memset(block, 0x5a, sizes[i]);
      free(block);
    }
}

/* ---- realloc ---- */

static void resizing_keeps_contents(void) {
  size_t size = 1, before = 0;
  char *block = realloc(NULL, size);
  for (; size < 40 * MIB; size = size * 7 / 3 + 1) {
    REQUIRE((block = realloc(block, size)) != NULL);
    size_t wrong = 0;
    for (size_t i = 0; i < before; i += 97) wrong += block[i] != (char)(i * 31);
    CHECK_EQ(wrong, 0);
    for (size_t i = 0; i < size; i += 97) block[i] = (char)(i * 31);
    before = size;
  }
  block[0] = 1;
  block = realloc(block, 10);
  CHECK_EQ(block[0], 1);
  CHECK(realloc(block, 0) == NULL);
}

static void a_block_moves_whole(void) {
  for (size_t size = 5 * MIB; size < 64 * MIB; size *= 2) {
    unsigned *numbers = malloc(size), *wall = malloc(5 * MIB);
    for (size_t i = 0; i < size / 4; i++) numbers[i] = (unsigned)i;
    numbers = realloc(numbers, 2 * size);
    REQUIRE(numbers != NULL);
    size_t wrong = 0;
    for (size_t i = 0; i < size / 4; i++) wrong += numbers[i] != i;
    CHECK_EQ(wrong, 0);
    memset(numbers, 1, 2 * size);
    free(wall);
    free(numbers);
  }
}

/* ---- failures ---- */

static void failures_set_errno_and_change_nothing(void) {
  char *block = malloc(10);
  strcpy(block, "whole");
  errno = 0;
  CHECK(keep(malloc(huge)) == NULL && errno == ENOMEM);
  errno = 0;
  CHECK(keep(calloc(huge, 16)) == NULL && errno == ENOMEM);
  errno = 0;
  CHECK(realloc(block, huge) == NULL && errno == ENOMEM);
  errno = 0;
  CHECK(reallocarray(block, huge, 16) == NULL && errno == ENOMEM);
  errno = 0;
  CHECK(keep(memalign(4096, huge)) == NULL && errno == ENOMEM);
  errno = 0;
  CHECK(keep(pvalloc(most)) == NULL && errno == ENOMEM);
  CHECK_STR(block, "whole");
  free(block);
}

static void freeing_leaves_errno_alone(void) {
  static const size_t sizes[] = {10, 5000, 100 * KIB, 9 * MIB};
  for (size_t i = 0; i < 4; i++) {
    void *block = keep(malloc(sizes[i]));
    errno = EEXIST;
    free(block);
    CHECK_EQ(errno, EEXIST);
  }
}

/* ---- alignment ---- */

static void alignment_is_honoured(void) {
  for (size_t alignment = 8; alignment <= 16 * MIB; alignment *= 2)
    for (size_t size = 1; size <= 200 * KIB; size = size * 9 + 7) {
      void *one = NULL, *two = aligned_alloc(alignment, size), *three = memalign(alignment, size);
      CHECK_EQ(posix_memalign(&one, alignment, size), 0);
      CHECK((uintptr_t)one % alignment == 0 && malloc_usable_size(one) >= size);
      CHECK((uintptr_t)two % alignment == 0 && (uintptr_t)three % alignment == 0);
      memset(one, 1, size);
      CHECK((two = realloc(two, 2 * size)) != NULL);
      free(one);
      free(two);
      free(three);
    }
  void *page = valloc(10), *pages = pvalloc(5000);
  CHECK((uintptr_t)page % 4096 == 0 && (uintptr_t)pages % 4096 == 0 && malloc_usable_size(pages) >= 8192);
  free(page);
  free(pages);
}

static void odd_alignments(void) {
  void *block = &block;
  errno = EEXIST;
  CHECK_EQ(posix_memalign(&block, 24, 10), EINVAL);
  CHECK_EQ(posix_memalign(&block, 4, 10), EINVAL);
  CHECK_EQ(posix_memalign(&block, 0, 10), EINVAL);
  CHECK_EQ(posix_memalign(&block, 64, most - 100), ENOMEM);
  CHECK(block == &block);
  CHECK_EQ(errno, EEXIST);
  CHECK(keep(aligned_alloc(odd, 48)) == NULL && errno == EINVAL);
  void *rounded = memalign(odd, 10);
  CHECK(rounded != NULL && (uintptr_t)rounded % 32 == 0);
  free(rounded);
}

/* ---- what is not ours ---- */

static bool is_sound(void) {
  int (*check)(void *, void *, void *, void *) =
      (int (*)(void *, void *, void *, void *))dlsym(RTLD_DEFAULT, "mheap_check");
  void *(*the_default)(void) = (void *(*)(void))dlsym(RTLD_DEFAULT, "mheap_default");
  return check(the_default(), NULL, NULL, NULL) == 0;
}

/* Each is said on standard error, which the test reads; none changes anything. */
static void strangers_are_reported_and_left(void) {
  static char here[64];
  void *(*theirs)(size_t) = (void *(*)(size_t))dlsym(dlopen("libc.so.6", RTLD_NOW), "__libc_malloc");
  REQUIRE(theirs != NULL && (void *)theirs != (void *)malloc);
  char *foreign = keep(theirs(100)), *block = malloc(100);
  CHECK(!served(foreign));
  strcpy(foreign, "theirs");
  free(keep(foreign));
  free(keep(here + 16));
  free((char *)keep(block) + 32);
  CHECK_EQ(malloc_usable_size(keep(foreign)), 0);
  CHECK(realloc(keep(foreign), 1000) == NULL);
  CHECK_STR(foreign, "theirs");
  free(block);
  free(keep(block));
  CHECK(is_sound());
}

/* ---- figures ---- */

static void figures_are_the_heaps(void) {
  struct mallinfo2 before = mallinfo2();
  void *block = keep(malloc(10 * MIB));
  struct mallinfo2 after = mallinfo2();
  CHECK(after.uordblks >= before.uordblks + 10 * MIB && after.arena > after.uordblks);
  free(block);
  CHECK_EQ(malloc_trim(0), 1);
  CHECK_EQ(mallinfo2().uordblks, before.uordblks);
  CHECK_EQ(mallopt(M_MMAP_THRESHOLD, 1 << 20), 1);
}

/* ---- descriptors ---- */

static void no_descriptor_is_needed(void) {
  pid_t child = fork();
  if (child == 0) {
    for (int fd = 0; fd < 1000; fd++) close(fd);
    bool good = true;
    for (size_t i = 1; i < 2000 && good; i++) good = keep(malloc(i * 100)) != NULL;
    _exit(good ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  CHECK_EQ(status, 0);
}

TEST_MAIN(TEST(the_library_serves), TEST(blocks_hold_what_was_asked), TEST(nothing_is_a_block_of_its_own),
          TEST(cleared_memory_is_zero), TEST(resizing_keeps_contents), TEST(a_block_moves_whole),
          TEST(failures_set_errno_and_change_nothing), TEST(freeing_leaves_errno_alone),
          TEST(alignment_is_honoured), TEST(odd_alignments), TEST(strangers_are_reported_and_left),
          TEST(figures_are_the_heaps), TEST(no_descriptor_is_needed))
