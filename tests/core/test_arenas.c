/* test_arenas.c: arenas, in a heap's file and in memory of their own. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "heap.h"
#include "image.h"
#include "mheap/mheap.h"
#include "pool.h"
#include "test.h"

#define MIB ((size_t)1 << 20)
#define SEGMENT (4 * MIB)

static const mheap_arena_options exclusive = {.exclusive = true};

static mheap *open_heap(const char *name) {
  mheap_error error;
  mheap *heap = mheap_open(test_path(name), NULL, &error);
  if (heap == NULL) fprintf(stderr, "%s\n", error.text);
  return heap;
}

static bool is_in(mheap_arena arena, const void *block) {
  size_t size;
  const char *start = mheap_arena_area(arena, &size);
  return start != NULL && (const char *)block >= start && (const char *)block < start + size;
}

static bool is_sound(mheap *heap) { return mheap_check(heap, NULL, NULL, NULL) == MHEAP_OK; }

static uint64_t disk_bytes(const char *name) {
  struct stat st;
  return stat(test_path(name), &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

/* ---- in a file ---- */

static void an_exclusive_arena_serves_its_heaps_alone(void) {
  mheap *heap = open_heap("exclusive.heap");
  REQUIRE(heap != NULL);
  mheap_arena arena;
  REQUIRE_EQ(mheap_arena_reserve(heap, 8 * MIB, &exclusive, &arena), MHEAP_OK);
  mheap *inside = mheap_new(NULL, 0, true, arena);
  REQUIRE(inside != NULL);
  static const size_t sizes[] = {1, 100, 5000, 100000, 3 * MIB};
  for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    CHECK(is_in(arena, mheap_malloc(inside, sizes[i])));
    CHECK(!is_in(arena, mheap_malloc(heap, sizes[i])));
  }
  CHECK(is_sound(heap));
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static void a_full_exclusive_arena_gives_nothing(void) {
  mheap *heap = open_heap("full.heap");
  REQUIRE(heap != NULL);
  mheap_arena arena;
  REQUIRE_EQ(mheap_arena_reserve(heap, SEGMENT, &exclusive, &arena), MHEAP_OK);
  mheap *inside = mheap_new(heap, 0, false, arena);
  REQUIRE(inside != NULL);
  size_t blocks = 0;
  while (mheap_malloc(inside, 60000) != NULL) blocks++;
  CHECK(blocks >= 60);
  CHECK_EQ(mheap_last_error(inside)->code, MHEAP_ERR_FULL);
  char named[40];
  snprintf(named, sizeof named, "arena %d is full", arena);
  CHECK_CONTAINS(mheap_last_error(inside)->text, named);
  CHECK(mheap_malloc(inside, 5 * MIB) == NULL);
  CHECK_EQ(mheap_last_error(inside)->code, MHEAP_ERR_FULL);
  CHECK(mheap_malloc(heap, 60000) != NULL);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static void a_shared_arena_is_used_first_and_the_rest_after_it(void) {
  mheap *heap = open_heap("shared.heap");
  REQUIRE(heap != NULL);
  mheap_arena arena;
  REQUIRE_EQ(mheap_arena_reserve(heap, 2 * SEGMENT, NULL, &arena), MHEAP_OK);
  CHECK(is_in(arena, mheap_malloc(heap, 1 * MIB)));
  unsigned inside = 1, outside = 0;
  for (int i = 0; i < 20; i++) {
    void *block = mheap_malloc(heap, 1 * MIB);
    REQUIRE(block != NULL);
    if (is_in(arena, block)) inside++;
    else outside++;
  }
  CHECK_EQ(inside, 6); /* of 63 slices of 64 KiB, three times 1 MiB a segment */
  CHECK_EQ(outside, 15);
  CHECK(is_sound(heap));
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static bool remember(void *arg, const mheap_arena_info *info) {
  *(mheap_arena_info *)arg = *info;
  return true;
}

static bool last_heap(void *arg, mheap *heap) {
  *(mheap **)arg = heap;
  return true;
}

static void arenas_and_their_heaps_are_there_after_the_next_attach(void) {
  mheap *heap = open_heap("again.heap");
  REQUIRE(heap != NULL);
  mheap_arena arena;
  REQUIRE_EQ(mheap_arena_reserve(heap, 3 * SEGMENT, &exclusive, &arena), MHEAP_OK);
  mheap *inside = mheap_new(heap, 77, true, arena);
  REQUIRE(inside != NULL);
  char *text = mheap_malloc(inside, 100);
  REQUIRE(text != NULL);
  strcpy(text, "kept");
  CHECK_EQ(mheap_setkey(heap, 1, text), MHEAP_OK);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  CHECK(mheap_arena_area(arena, NULL) == NULL);

  heap = open_heap("again.heap");
  REQUIRE(heap != NULL);
  mheap_arena_info info = {0};
  mheap_heap_info one = {0};
  inside = NULL;
  CHECK_EQ(mheap_visit_arenas(heap, remember, &info), MHEAP_OK);
  CHECK_EQ(info.size, 3 * SEGMENT);
  CHECK(info.exclusive && info.stored && info.used > 0);
  CHECK_EQ(mheap_visit_heaps(heap, last_heap, &inside), MHEAP_OK);
  REQUIRE(inside != NULL && inside != heap);
  CHECK_EQ(mheap_get_heap_info(inside, &one), MHEAP_OK);
  CHECK_EQ(one.tag, 77);
  CHECK(one.destroyable);
  CHECK_EQ(one.arena, info.arena);
  text = mheap_getkey(heap, 1);
  CHECK_STR(text, "kept");
  CHECK_EQ(mheap_free(heap, text), MHEAP_ERR_POINTER);
  CHECK_EQ(mheap_free(inside, text), MHEAP_OK);
  CHECK(is_in(info.arena, mheap_malloc(inside, 100)));
  CHECK(!is_in(info.arena, mheap_malloc(heap, 100)));
  CHECK(is_sound(heap));
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* What the rest of the heap grows by lies behind. */
static void a_heap_grows_around_its_arenas(void) {
  mheap *heap = open_heap("around.heap");
  REQUIRE(heap != NULL);
  mheap_arena first, second;
  REQUIRE_EQ(mheap_arena_reserve(heap, 2 * SEGMENT, &exclusive, &first), MHEAP_OK);
  void *huge = mheap_malloc(heap, 9 * MIB);
  REQUIRE(huge != NULL);
  REQUIRE_EQ(mheap_arena_reserve(heap, 2 * SEGMENT, &exclusive, &second), MHEAP_OK);
  mheap *inside = mheap_new(heap, 0, true, second);
  for (int i = 0; i < 200; i++) {
    void *block = mheap_malloc(heap, 100000);
    REQUIRE(block != NULL);
    memset(block, i, 100000);
    CHECK(!is_in(first, block) && !is_in(second, block));
  }
  CHECK(is_in(second, mheap_malloc(inside, 6 * MIB)));
  char *grown = mheap_realloc(heap, huge, 30 * MIB);
  REQUIRE(grown != NULL);
  CHECK(!is_in(second, grown) && !is_in(second, grown + 30 * MIB - 1));
  CHECK(is_sound(heap));
  CHECK_EQ(mheap_collect(heap, true), MHEAP_OK);
  CHECK(is_sound(heap));
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static void reserving_costs_no_disk_and_committing_does(void) {
  mheap *heap = open_heap("disk.heap");
  REQUIRE(heap != NULL);
  mheap_arena arena;
  REQUIRE_EQ(mheap_arena_reserve(heap, 64 * MIB, &exclusive, &arena), MHEAP_OK);
  CHECK(disk_bytes("disk.heap") < 1 * MIB);
  const mheap_arena_options committed = {.exclusive = true, .commit = true};
  REQUIRE_EQ(mheap_arena_reserve(heap, 16 * MIB, &committed, &arena), MHEAP_OK);
  CHECK(disk_bytes("disk.heap") >= 16 * MIB);
  CHECK_EQ(mheap_collect(heap, true), MHEAP_OK);
  CHECK(disk_bytes("disk.heap") >= 16 * MIB);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  CHECK(disk_bytes("disk.heap") >= 16 * MIB);
  heap = open_heap("disk.heap");
  REQUIRE(heap != NULL);
  mheap_arena_info info;
  CHECK_EQ(mheap_visit_arenas(heap, remember, &info), MHEAP_OK);
  CHECK(info.committed);
  CHECK_EQ(mheap_arena_release(info.arena), MHEAP_OK);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  CHECK(disk_bytes("disk.heap") < 1 * MIB);
}

static void an_arena_in_use_is_not_released(void) {
  mheap *heap = open_heap("release.heap");
  REQUIRE(heap != NULL);
  mheap_arena arena;
  REQUIRE_EQ(mheap_arena_reserve(heap, SEGMENT, NULL, &arena), MHEAP_OK);
  void *block = mheap_malloc(heap, 100);
  REQUIRE(is_in(arena, block));
  CHECK_EQ(mheap_arena_release(arena), MHEAP_ERR_BUSY);
  CHECK_CONTAINS(mheap_last_error(NULL)->text, "blocks in use");
  CHECK_EQ(mheap_free(heap, block), MHEAP_OK);
  CHECK_EQ(mheap_arena_release(arena), MHEAP_OK);
  CHECK_EQ(mheap_arena_release(arena), MHEAP_ERR_ARGUMENT);
  CHECK_CONTAINS(mheap_last_error(NULL)->text, "there is none of this number");
  REQUIRE_EQ(mheap_arena_reserve(heap, SEGMENT, &exclusive, &arena), MHEAP_OK);
  mheap *inside = mheap_new(heap, 0, true, arena);
  CHECK_EQ(mheap_arena_release(arena), MHEAP_ERR_BUSY);
  CHECK_CONTAINS(mheap_last_error(NULL)->text, "a heap was made for it");
  CHECK_EQ(mheap_destroy(inside), MHEAP_OK);
  CHECK_EQ(mheap_arena_release(arena), MHEAP_OK);
  CHECK(mheap_malloc(heap, 3 * MIB) != NULL);
  CHECK(is_sound(heap));
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static void the_last_arena_may_grow(void) {
  mheap *heap = open_heap("grow.heap");
  REQUIRE(heap != NULL);
  mheap_arena first, last;
  size_t size;
  REQUIRE_EQ(mheap_arena_reserve(heap, SEGMENT, &exclusive, &first), MHEAP_OK);
  REQUIRE_EQ(mheap_arena_reserve(heap, SEGMENT, &exclusive, &last), MHEAP_OK);
  CHECK_EQ(mheap_arena_grow(first, 2 * SEGMENT), MHEAP_ERR_ARGUMENT);
  mheap *inside = mheap_new(heap, 0, true, last);
  CHECK(mheap_malloc(inside, 6 * MIB) == NULL);
  CHECK_EQ(mheap_arena_grow(last, 3 * SEGMENT), MHEAP_OK);
  CHECK(mheap_arena_area(last, &size) != NULL);
  CHECK_EQ(size, 3 * SEGMENT);
  CHECK(mheap_malloc(inside, 6 * MIB) != NULL);
  CHECK_EQ(mheap_arena_grow(last, SEGMENT), MHEAP_ERR_ARGUMENT);
  mheap_arena_options committed = {.commit = true};
  REQUIRE_EQ(mheap_arena_reserve(heap, SEGMENT, &committed, &last), MHEAP_OK);
  CHECK_EQ(mheap_arena_grow(last, SEGMENT), MHEAP_OK); /* as it is */
  CHECK(mheap_malloc(heap, 8 * MIB) != NULL); /* comes to lie behind it */
  CHECK_EQ(mheap_arena_grow(last, 4 * SEGMENT), MHEAP_ERR_ARGUMENT);
  CHECK(is_sound(heap));
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static void what_cannot_be_reserved_is_refused(void) {
  mheap_options small = {.max_size = 64 * MIB};
  mheap *heap = mheap_open(test_path("small.heap"), &small, NULL);
  REQUIRE(heap != NULL);
  mheap_arena arena = 7;
  CHECK_EQ(mheap_arena_reserve(heap, 0, NULL, &arena), MHEAP_ERR_ARGUMENT);
  CHECK_EQ(mheap_arena_reserve(heap, SIZE_MAX, NULL, &arena), MHEAP_ERR_OVERFLOW);
  CHECK_EQ(mheap_arena_reserve(heap, 64 * MIB, NULL, &arena), MHEAP_ERR_FULL);
  CHECK_CONTAINS(mheap_last_error(heap)->text, "max_size");
  CHECK_EQ(mheap_arena_reserve(heap, SEGMENT, &(mheap_arena_options){.allow_large = true}, &arena),
           MHEAP_ERR_ARGUMENT);
  CHECK_EQ(arena, 7);
  CHECK(mheap_new(heap, 256, false, 0) == NULL);
  CHECK(mheap_new(heap, -1, false, 0) == NULL);
  CHECK(mheap_new(heap, 0, false, 12345) == NULL);
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_ARGUMENT);
  for (int i = 1; i < 64; i++) mheap_arena_reserve(heap, 1, NULL, &arena);
  CHECK_EQ(mheap_arena_reserve(heap, 1, NULL, &arena), MHEAP_ERR_FULL);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  heap = mheap_open(test_path("small.heap"), &(mheap_options){.mode = MHEAP_MODE_READONLY}, NULL);
  REQUIRE(heap != NULL);
  CHECK_EQ(mheap_arena_reserve(heap, 1, NULL, &arena), MHEAP_ERR_READ_ONLY);
  CHECK(mheap_new(heap, 0, false, 0) == NULL);
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_READ_ONLY);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* ---- in a file on hugetlbfs, which cannot be written but by stores ---- */

/* As a kill between the two stores leaves it. */
static void forget_checksum(const char *path, uint32_t before) {
  mheap *heap = mheap_open(path, NULL, NULL);
  REQUIRE(heap != NULL);
  CHECK(heap->region->super->identity.checksum != before);
  heap->region->super->identity.checksum = before;
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static int use_huge_pages(void *arg) {
  const char *directory = arg;
  char path[600];
  snprintf(path, sizeof path, "%s/huge.heap", directory);
  if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return 10;
  if (mount("none", directory, "hugetlbfs", 0, "pagesize=2M") != 0) return 10;
  const mheap_options options = {.max_size = 64 * MIB};
  mheap_error error;
  mheap *heap = mheap_open(path, &options, &error);
  if (!CHECK(heap != NULL)) return fprintf(stderr, "%s\n", error.text), 1;
  uint32_t before = heap->region->super->identity.checksum;
  mheap_arena arena;
  CHECK_EQ(mheap_arena_reserve(heap, SEGMENT, &exclusive, &arena), MHEAP_OK);
  mheap *inside = mheap_new(heap, 3, true, arena);
  CHECK(inside != NULL && is_in(arena, mheap_malloc(inside, 100)));
  CHECK(is_sound(heap));
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  forget_checksum(path, before);
  for (int i = 0; i < 2; i++) {
    heap = mheap_open(path, &(mheap_options){.mode = i ? MHEAP_MODE_LIVE : MHEAP_MODE_READONLY}, &error);
    if (!CHECK(heap != NULL)) return fprintf(stderr, "%s\n", error.text), 1;
    mheap_arena_info info = {0};
    CHECK_EQ(mheap_visit_arenas(heap, remember, &info), MHEAP_OK);
    CHECK_EQ(info.size, SEGMENT);
    CHECK_EQ(is_sound(heap), i == 1);
    CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  }
  return 0;
}

static void a_file_of_huge_pages_has_arenas_too(void) {
  char directory[500];
  pool *p = pool_take(POOL_2M, 12);
  if (!pool_has(p, 12)) return;
  snprintf(directory, sizeof directory, "%s", test_path("pool"));
  mkdir(directory, 0700);
  int status = in_child_process(use_huge_pages, directory);
  if (status == 10) printf("     not done: no hugetlbfs can be mounted\n");
  else CHECK_EQ(status, 0);
  pool_give(p);
}

/* ---- in memory ---- */

static void memory_of_its_own_is_an_arena(void) {
  mheap_arena arena;
  size_t size;
  REQUIRE_EQ(mheap_arena_reserve(NULL, 8 * MIB, &exclusive, &arena), MHEAP_OK);
  CHECK(mheap_arena_area(arena, &size) != NULL);
  CHECK(size >= 8 * MIB);
  mheap *heap = mheap_new(NULL, 3, true, arena);
  REQUIRE(heap != NULL);
  CHECK(is_in(arena, mheap_malloc(heap, 100)));
  while (mheap_malloc(heap, 100000) != NULL) continue;
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_FULL);
  CHECK_CONTAINS(mheap_last_error(heap)->text, "reserve a larger one");
  CHECK_EQ(mheap_arena_release(arena), MHEAP_ERR_BUSY);
  CHECK_EQ(mheap_destroy(heap), MHEAP_OK);
  CHECK_EQ(mheap_arena_release(arena), MHEAP_OK);
  CHECK(mheap_arena_area(arena, NULL) == NULL);
}

static void lent_memory_is_an_arena(void) {
  const size_t size = 9 * MIB;
  char *lent = aligned_alloc(64, size);
  mheap_arena arena = 0;
  size_t got;
  REQUIRE(lent != NULL);
  const mheap_arena_options how = {.exclusive = true, .commit = true};
  REQUIRE_EQ(mheap_arena_manage(lent + 100, size - 100, &how, &arena), MHEAP_OK);
  char *start = mheap_arena_area(arena, &got);
  CHECK_EQ((uintptr_t)start % mheap_arena_min_alignment(), 0);
  CHECK(start >= lent + 100 && start + got <= lent + size && got > 8 * MIB);
  mheap_arena_info info;
  CHECK_EQ(mheap_arena_get_info(arena, &info), MHEAP_OK);
  CHECK(info.lent && info.exclusive && !info.stored && info.start == start);
  mheap *heap = mheap_new(NULL, 0, true, arena);
  REQUIRE(heap != NULL);
  unsigned blocks = 0;
  for (char *block; (block = mheap_malloc(heap, 5000)) != NULL; blocks++) {
    memset(block, 1, 5000);
    CHECK(block >= start && block + 5000 <= start + got);
  }
  CHECK(blocks > 8 * MIB / 6144);
  mheap_arena other = 5;
  CHECK_EQ(mheap_arena_manage(start, got, &how, &other), MHEAP_ERR_ARGUMENT);
  CHECK_EQ(other, 0);
  CHECK_EQ(mheap_destroy(heap), MHEAP_OK);
  CHECK_EQ(mheap_arena_release(arena), MHEAP_OK);
  CHECK_EQ(mheap_arena_manage(lent, 100000, &how, &arena), MHEAP_ERR_ARGUMENT);
  CHECK_EQ(mheap_last_error(NULL)->code, MHEAP_ERR_ARGUMENT);
  memset(lent, 0, size); /* its owner's again */
  free(lent);
}

static void memory_may_be_committed_at_once(void) {
  mheap_arena arena;
  REQUIRE_EQ(
      mheap_arena_reserve(NULL, 16 * MIB, &(mheap_arena_options){.exclusive = true, .commit = true}, &arena),
      MHEAP_OK);
  size_t size;
  unsigned char present[4096];
  char *start = mheap_arena_area(arena, &size);
  CHECK_EQ(mincore(start, size, present), 0);
  size_t pages = size / 4096, in = 0;
  for (size_t i = 0; i < pages && i < sizeof present; i++) in += present[i] & 1;
  CHECK(in > sizeof present * 9 / 10);
  CHECK_EQ(mheap_arena_release(arena), MHEAP_OK);
  CHECK_EQ(mheap_arena_reserve(NULL, 1000, NULL, &arena), MHEAP_ERR_ARGUMENT);
  CHECK_CONTAINS(mheap_last_error(NULL)->text, "at least");
}

static void pages_that_are_not_there_are_refused(void) {
  mheap_arena arena = 3;
  CHECK_EQ(mheap_arena_reserve_huge_pages(0, -1, 0, false, &arena), MHEAP_ERR_ARGUMENT);
  CHECK_EQ(arena, 0);
  CHECK_EQ(mheap_arena_reserve_huge_pages(1, 999, 0, false, &arena), MHEAP_ERR_NO_MEMORY);
  CHECK_EQ(mheap_last_error(NULL)->sys, ENOMEM);
  CHECK_EQ(mheap_arena_reserve_huge_pages_interleave(0, 0, 0), MHEAP_ERR_ARGUMENT);
}

static char shown[20000];

static void keep(const char *message, void *arg) {
  (void)arg;
  if (strlen(shown) + strlen(message) < sizeof shown) strcat(shown, message);
}

static void arenas_can_be_shown(void) {
  mheap *heap = open_heap("shown.heap");
  REQUIRE(heap != NULL);
  mheap_arena arena;
  REQUIRE_EQ(mheap_arena_reserve(heap, 3 * SEGMENT, &exclusive, &arena), MHEAP_OK);
  mheap *inside = mheap_new(heap, 0, true, arena);
  CHECK(mheap_malloc(inside, 5 * MIB) != NULL && mheap_malloc(inside, 100) != NULL);
  mheap_register_output(keep, NULL);
  mheap_debug_show_arenas(true, true, true);
  mheap_register_output(NULL, NULL);
  CHECK_CONTAINS(shown, "shown.heap");
  CHECK_CONTAINS(shown, "12.0 MiB");
  CHECK_CONTAINS(shown, "exclusive");
  CHECK_CONTAINS(shown, " HH+\n");
  CHECK_CONTAINS(shown, "slabs that no thread owns: 0");
  CHECK_CONTAINS(shown, "free segments whose pages may be held: ");
  CHECK_EQ(mheap_arena_release(1 << 20), MHEAP_ERR_ARGUMENT);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

TEST_MAIN(TEST(an_exclusive_arena_serves_its_heaps_alone), TEST(a_full_exclusive_arena_gives_nothing),
          TEST(a_shared_arena_is_used_first_and_the_rest_after_it),
          TEST(arenas_and_their_heaps_are_there_after_the_next_attach), TEST(a_heap_grows_around_its_arenas),
          TEST(reserving_costs_no_disk_and_committing_does), TEST(an_arena_in_use_is_not_released),
          TEST(the_last_arena_may_grow), TEST(what_cannot_be_reserved_is_refused),
          TEST(a_file_of_huge_pages_has_arenas_too), TEST(memory_of_its_own_is_an_arena),
          TEST(lent_memory_is_an_arena), TEST(memory_may_be_committed_at_once),
          TEST(pages_that_are_not_there_are_refused), TEST(arenas_can_be_shown))
