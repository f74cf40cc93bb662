/* test_parts.c: units of heaps that use several regions: reserved arenas first, home, more where
   home is full; everything that is done to a heap is done to all its parts. */
#include <pthread.h>
#include <sys/wait.h>

#include "mheap/mheap.h"
#include "parts.h"
#include "region_pages.h"
#include "subproc_kit.h"
#include "test.h"

#define MIB ((size_t)1 << 20)

static unsigned reports;

static mheap_arena reserve(size_t size, bool exclusive) {
  mheap_arena arena = 0;
  mheap_arena_options options = {.exclusive = exclusive};
  CHECK_EQ(mheap_arena_reserve(NULL, size, &options, &arena), MHEAP_OK);
  return arena;
}

static bool is_in(mheap_arena arena, const void *block) {
  size_t size;
  const char *start = mheap_arena_area(arena, &size);
  return (const char *)block >= start && (const char *)block < start + size;
}

static unsigned count_parts(mheap *heap) {
  unsigned count = 0;
  for (mheap *part = mh_part_first(heap); part != NULL; part = mh_part_next(part)) count++;
  return count;
}

static uint64_t used_blocks(mheap *heap) {
  static mheap_stats stats;
  CHECK_EQ(mheap_get_stats(heap, &stats), MHEAP_OK);
  return stats.chunks_used;
}

static bool count_block(void *arg, void *block, size_t usable) {
  (void)block;
  ++*(uint64_t *)arg;
  return usable > 0;
}

static uint64_t visited(mheap *heap) {
  uint64_t count = 0;
  CHECK_EQ(mheap_visit_blocks(heap, count_block, &count), MHEAP_OK);
  return count;
}

/* ---- the order ---- */

static void a_shared_arena_is_used_before_home(void) {
  REQUIRE(begin(0));
  void *before = mheap_malloc(NULL, 100);
  mheap_arena arena = reserve(16 * MIB, false);
  for (size_t size = 1; size < 2 * MIB; size = size * 3 / 2 + 1) {
    void *block = mheap_malloc(NULL, size);
    CHECK(is_in(arena, block));
    if (size % 2 == 0) CHECK_EQ(mheap_free(NULL, block), MHEAP_OK);
  }
  CHECK(!is_in(arena, before));
  CHECK_EQ(mheap_free(NULL, before), MHEAP_OK);
  CHECK_EQ(mheap_free(NULL, before), MHEAP_ERR_DOUBLE_FREE);
  CHECK_EQ(count_parts(mheap_default()), 2);
  end();
}

static void arenas_are_used_in_their_order_and_home_last(void) {
  REQUIRE(begin(0));
  mheap_arena first = reserve(12 * MIB, false), second = reserve(12 * MIB, false);
  unsigned in_first = 0, in_second = 0, at_home = 0;
  for (int i = 0; i < 40; i++) {
    void *block = mheap_malloc(NULL, MIB);
    REQUIRE(block != NULL);
    if (is_in(first, block)) CHECK(++in_first > 0 && in_second == 0 && at_home == 0);
    else if (is_in(second, block)) CHECK(++in_second > 0 && at_home == 0);
    else at_home++;
  }
  CHECK(in_first > 4 && in_second > 4 && at_home > 10);
  end();
}

static void what_came_free_in_an_arena_is_used_again(void) {
  REQUIRE(begin(0));
  mheap_arena arena = reserve(8 * MIB, false);
  void *blocks[4000];
  int count = 0;
  do REQUIRE((blocks[count] = mheap_malloc(NULL, 4000)) != NULL);
  while (is_in(arena, blocks[count++]) && count < 4000);
  CHECK(count > 1000 && count < 4000);
  for (int i = 0; i < count - 1; i++) CHECK_EQ(mheap_free(NULL, blocks[i]), MHEAP_OK);
  mheap_collect(NULL, false);
  int back = 0;
  for (int i = 0; i < count - 1; i++) back += is_in(arena, mheap_malloc(NULL, 4000));
  CHECK(back > count / 2);
  end();
}

static void where_home_is_full_a_region_is_added(void) {
  REQUIRE(begin(64 * MIB));
  static void *blocks[300];
  for (int i = 0; i < 300; i++) {
    REQUIRE((blocks[i] = mheap_malloc(NULL, MIB)) != NULL);
    memset(blocks[i], i, MIB);
  }
  CHECK(count_parts(mheap_default()) >= 5);
  CHECK_EQ(used_blocks(NULL), 300);
  CHECK_EQ(visited(NULL), 300);
  for (int i = 0; i < 300; i++) {
    CHECK_EQ(*((unsigned char *)blocks[i] + MIB - 1), i & 255);
    CHECK_EQ(mheap_usable_size(NULL, blocks[i]), MIB);
    CHECK(mheap_heap_of(blocks[i]) == mheap_default());
    CHECK_EQ(i % 2 ? mheap_free(NULL, blocks[i]) : mheap_free_any(blocks[i]), MHEAP_OK);
    CHECK_EQ(mheap_free(NULL, blocks[i]), MHEAP_ERR_DOUBLE_FREE);
  }
  CHECK_EQ(used_blocks(NULL), 0);
  end();
}

static void small_blocks_go_on_where_home_is_full(void) {
  REQUIRE(begin(16 * MIB));
  void **list = NULL;
  unsigned count = 0;
  for (; count < 1000000; count++) {
    void **block = mheap_malloc(NULL, 48);
    REQUIRE(block != NULL);
    *block = list;
    list = block;
  }
  CHECK(count_parts(mheap_default()) >= 3);
  CHECK_EQ(visited(NULL), count);
  for (void **next; list != NULL; list = next) {
    next = *list;
    if (!CHECK_EQ(mheap_free(NULL, list), MHEAP_OK)) break;
  }
  CHECK_EQ(used_blocks(NULL), 0);
  end();
}

static void a_block_larger_than_a_region_gets_one_of_its_size(void) {
  REQUIRE(begin(16 * MIB));
  char *block = mheap_malloc(NULL, 100 * MIB);
  REQUIRE(block != NULL);
  block[100 * MIB - 1] = 1;
  CHECK_EQ(mheap_free(NULL, block), MHEAP_OK);
  CHECK(mheap_malloc(NULL, (size_t)1 << 46) == NULL); /* more than any process has */
  CHECK(mheap_last_error(NULL)->code == MHEAP_ERR_FULL ||
        mheap_last_error(NULL)->code == MHEAP_ERR_NO_MEMORY);
  CHECK(mheap_malloc(NULL, SIZE_MAX) == NULL);
  CHECK_EQ(mheap_last_error(NULL)->code, MHEAP_ERR_OVERFLOW);
  CHECK(count_parts(mheap_default()) <= 2);
  end();
}

/* ---- realloc, alignment ---- */

static void realloc_moves_from_part_to_part(void) {
  REQUIRE(begin(0));
  char *block = mheap_malloc(NULL, 1000);
  strcpy(block, "carried along");
  mheap_arena arena = reserve(16 * MIB, false);
  block = mheap_realloc(NULL, block, 3 * MIB);
  CHECK(is_in(arena, block));
  CHECK_STR(block, "carried along");
  block = mheap_realloc(NULL, block, 40 * MIB);
  CHECK(block != NULL && !is_in(arena, block));
  CHECK_STR(block, "carried along");
  block = mheap_realloc_any(block, 20);
  CHECK(is_in(arena, block));
  CHECK_STR(block, "carried along");
  CHECK_EQ(used_blocks(NULL), 1);
  CHECK_EQ(mheap_free(NULL, block), MHEAP_OK);
  end();
}

static void alignment_holds_in_parts(void) {
  REQUIRE(begin(0));
  mheap_arena arena = reserve(32 * MIB, false);
  for (size_t alignment = 16; alignment <= 2 * MIB; alignment *= 2) {
    void *block = mheap_memalign(NULL, alignment, 100);
    CHECK(block != NULL && (uintptr_t)block % alignment == 0);
    CHECK(is_in(arena, block));
  }
  end();
}

/* ---- roots ---- */

static void roots_lead_to_all_parts(void) {
  REQUIRE(begin(0));
  mheap_arena arena = reserve(16 * MIB, false);
  char *here = mheap_malloc(NULL, 100), *home = mheap_malloc(NULL, 40 * MIB);
  CHECK(is_in(arena, here));
  CHECK_EQ(mheap_setkey(NULL, 1, here), MHEAP_OK);
  CHECK_EQ(mheap_setkey(NULL, 2, home), MHEAP_OK);
  CHECK_EQ(mheap_setroot(NULL, "here", 4, here), MHEAP_OK);
  CHECK_EQ(mheap_setroot(NULL, "home", 4, home), MHEAP_OK);
  CHECK(mheap_getkey(NULL, 1) == here && mheap_getkey(NULL, 2) == home);
  CHECK(mheap_getroot(NULL, "here", 4) == here && mheap_getroot(NULL, "home", 4) == home);
  CHECK_EQ(mheap_setkey(NULL, 3, &reports), MHEAP_ERR_POINTER);
  CHECK_EQ(mheap_setroot(NULL, "none", 4, &reports), MHEAP_ERR_POINTER);
  CHECK_EQ(mheap_check(NULL, NULL, NULL, NULL), MHEAP_OK);
  CHECK_EQ(mheap_free(NULL, here), MHEAP_OK);
  CHECK_EQ(mheap_arena_release(arena), MHEAP_OK);
  CHECK(mheap_getkey(NULL, 1) == NULL && mheap_getkey(NULL, 2) == home);
  CHECK(mheap_getroot(NULL, "here", 4) == NULL);
  CHECK_EQ(mheap_last_error(NULL)->code, MHEAP_ERR_POINTER);
  end();
}

/* ---- more heaps ---- */

static void other_heaps_spread_too(void) {
  REQUIRE(begin(0));
  mheap *early = mheap_new(NULL, 7, true, 0);
  mheap_arena arena = reserve(16 * MIB, false);
  mheap *late = mheap_new(NULL, 0, false, 0);
  REQUIRE(early != NULL && late != NULL);
  void *first = mheap_malloc(early, 100), *second = mheap_malloc(late, 100), *main = mheap_malloc(NULL, 100);
  CHECK(is_in(arena, first) && is_in(arena, second) && is_in(arena, main));
  CHECK_EQ(mheap_free(late, first), MHEAP_ERR_POINTER);
  CHECK_EQ(mheap_free(early, second), MHEAP_ERR_POINTER);
  CHECK_EQ(mheap_free(NULL, second), MHEAP_ERR_POINTER);
  CHECK(mheap_heap_of(first) == early && mheap_heap_of(second) == late);
  CHECK(mheap_malloc(early, 40 * MIB) != NULL);
  CHECK_EQ(visited(early), 2);
  CHECK_EQ(visited(late), 1);
  CHECK_EQ(mheap_destroy(early), MHEAP_OK);
  CHECK_EQ(used_blocks(NULL), 2);
  CHECK_EQ(mheap_delete(late), MHEAP_OK);
  CHECK_EQ(mheap_free(NULL, second), MHEAP_OK);
  CHECK_EQ(mheap_free(NULL, main), MHEAP_OK);
  CHECK_EQ(mheap_arena_release(arena), MHEAP_OK);
  end();
}

static bool count_heap(void *arg, mheap *heap) {
  CHECK(heap->whole == heap);
  ++*(unsigned *)arg;
  return true;
}

static void a_heap_is_listed_once(void) {
  REQUIRE(begin(0));
  unsigned count = 0;
  reserve(16 * MIB, false);
  mheap_arena exclusive = reserve(16 * MIB, true);
  mheap_new(NULL, 0, true, 0);
  mheap *own = mheap_new(NULL, 0, true, exclusive);
  CHECK(mheap_subproc_visit_heaps(subproc, count_heap, &count));
  CHECK_EQ(count, 3);
  CHECK(mheap_main(own) == mheap_default());
  end();
}

/* ---- exclusive arenas ---- */

static void nobody_else_allocates_in_an_exclusive_arena(void) {
  REQUIRE(begin(16 * MIB));
  mheap_arena arena = reserve(16 * MIB, true);
  mheap *heap = mheap_new(NULL, 0, false, arena);
  REQUIRE(heap != NULL);
  for (int i = 0; i < 40; i++) {
    void *block = mheap_malloc(NULL, MIB);
    CHECK(block != NULL && !is_in(arena, block));
  }
  unsigned count = 0;
  for (void *block; (block = mheap_malloc(heap, MIB)) != NULL; count++) CHECK(is_in(arena, block));
  CHECK(count >= 8 && count < 16);
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_FULL);
  CHECK_EQ(count_parts(heap), 1);
  end();
}

static void blocks_of_a_heap_deleted_there_are_the_main_heaps(void) {
  REQUIRE(begin(0));
  mheap_arena arena = reserve(16 * MIB, true);
  mheap *heap = mheap_new(NULL, 0, false, arena);
  REQUIRE(heap != NULL);
  char *small = mheap_malloc(heap, 100), *large = mheap_malloc(heap, MIB);
  mheap_free(heap, mheap_malloc(heap, 100));
  CHECK_EQ(mheap_delete(heap), MHEAP_OK);
  CHECK_EQ(mheap_usable_size(NULL, small), 112);
  CHECK(mheap_heap_of(small) == mheap_default());
  CHECK_EQ(visited(NULL), 2);
  for (int i = 0; i < 1000; i++) CHECK(!is_in(arena, mheap_malloc(NULL, 100)));
  strcpy(large, "large");
  large = mheap_realloc(NULL, large, 2 * MIB);
  CHECK(!is_in(arena, large));
  CHECK_STR(large, "large");
  CHECK_EQ(mheap_arena_release(arena), MHEAP_ERR_BUSY);
  CHECK_EQ(mheap_free(NULL, small), MHEAP_OK);
  CHECK_EQ(mheap_arena_release(arena), MHEAP_OK);
  CHECK_EQ(mheap_free(NULL, large), MHEAP_OK);
  end();
}

/* ---- releasing ---- */

static void an_arena_in_use_is_not_released(void) {
  REQUIRE(begin(0));
  mheap_arena arena = reserve(16 * MIB, false);
  void *block = mheap_malloc(NULL, 100);
  CHECK_EQ(mheap_arena_release(arena), MHEAP_ERR_BUSY);
  CHECK_CONTAINS(mheap_last_error(NULL)->text, "there are blocks in use in it");
  CHECK_EQ(mheap_free(NULL, block), MHEAP_OK);
  CHECK_EQ(mheap_arena_release(arena), MHEAP_OK);
  CHECK(!mheap_is_in_region(block));
  CHECK_EQ(count_parts(mheap_default()), 1);
  CHECK(mheap_malloc(NULL, 100) != NULL);
  arena = reserve(16 * MIB, false);
  CHECK(is_in(arena, mheap_malloc(NULL, 100)));
  end();
}

/* ---- guards and traces ---- */

static void count_report(mheap *heap, void *block, mheap_probe status) {
  CHECK(heap == mheap_default() && block != NULL);
  reports += status == MHEAP_PROBE_TAIL;
}

static void guards_are_of_all_parts(void) {
  REQUIRE(begin(0));
  mheap_arena arena = reserve(16 * MIB, false);
  CHECK_EQ(mheap_mcheck(NULL, count_report, false), MHEAP_OK);
  char *here = mheap_malloc(NULL, 100), *home = mheap_malloc(NULL, 40 * MIB);
  mheap_arena later = reserve(64 * MIB, false);
  char *there = mheap_malloc(NULL, 40 * MIB);
  CHECK(is_in(arena, here) && is_in(later, there) && !is_in(arena, home));
  char *all[] = {here, home, there};
  for (int i = 0; i < 3; i++) {
    CHECK_EQ(mheap_mprobe(NULL, all[i]), MHEAP_PROBE_OK);
    size_t size = i == 0 ? 100 : 40 * MIB;
    CHECK_EQ(mheap_usable_size(NULL, all[i]), size);
    all[i][size] = 'x';
    CHECK_EQ(mheap_mprobe(NULL, all[i]), MHEAP_PROBE_TAIL);
    reports = 0;
    CHECK_EQ(mheap_free(NULL, all[i]), MHEAP_OK);
    CHECK_EQ(reports, 1);
  }
  CHECK_EQ(used_blocks(NULL), 0);
  end();
}

static void a_trace_is_of_all_parts(void) {
  REQUIRE(begin(0));
  char text[4096] = "";
  FILE *file = fmemopen(text, sizeof text - 1, "w");
  reserve(16 * MIB, false);
  CHECK_EQ(mheap_mtrace(NULL, file), MHEAP_OK);
  void *here = mheap_malloc(NULL, 77), *home = mheap_malloc(NULL, 40 * MIB);
  mheap_free(NULL, here);
  mheap_free_any(home);
  CHECK_EQ(mheap_mtrace(NULL, NULL), MHEAP_OK);
  fclose(file);
  CHECK_CONTAINS(text, "0x4d\n");
  CHECK_CONTAINS(text, "0x2800000\n");
  unsigned frees = 0;
  for (const char *at = text; (at = strstr(at, "] - ")) != NULL; at++) frees++;
  CHECK_EQ(frees, 2);
  CHECK(mheap_malloc(NULL, 10) != NULL);
  end();
}

/* ---- threads ---- */

#define THREADS 4
#define ROUNDS 6000
static void *_Atomic exchange[64];

static uint64_t step(uint64_t *seed) { return *seed = *seed * 6364136223846793005u + 1442695040888963407u; }

static void *works(void *number) {
  uint64_t seed = (uint64_t)(uintptr_t)number;
  mheap_error why;
  if (mheap_subproc_add_current_thread(subproc, &why) != MHEAP_OK) return number;
  for (int i = 0; i < ROUNDS; i++) {
    size_t size = i % 50 == 0 ? step(&seed) >> 44 : step(&seed) >> 52;
    char *block = mheap_malloc(NULL, size + 1);
    if (!CHECK(block != NULL)) break;
    block[0] = block[size] = (char)size;
    block = atomic_exchange(&exchange[step(&seed) >> 58], block);
    if (!CHECK_EQ(mheap_free(NULL, block), MHEAP_OK)) break;
  }
  return NULL;
}

static void threads_share_parts(void) {
  REQUIRE(begin(16 * MIB));
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++)
    REQUIRE(pthread_create(&threads[i], NULL, works, (void *)(uintptr_t)(i + 1)) == 0);
  mheap_arena kept = reserve(8 * MIB, false);
  for (int i = 0; i < 10; i++) {
    mheap_arena arena = reserve(4 * MIB, false);
    mheap_collect(NULL, i % 2);
    used_blocks(NULL);
    mheap_err released = mheap_arena_release(arena);
    CHECK(released == MHEAP_OK || released == MHEAP_ERR_BUSY);
  }
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < 64; i++) CHECK_EQ(mheap_free(NULL, atomic_exchange(&exchange[i], NULL)), MHEAP_OK);
  CHECK_EQ(used_blocks(NULL), 0);
  CHECK_EQ(mheap_collect(NULL, true), MHEAP_OK);
  CHECK_EQ(mheap_arena_release(kept), MHEAP_OK);
  end();
}

/* ---- statistics ---- */

/* Calls of read(2) that this process has made. */
static uint64_t reads_so_far(void) {
  char text[512] = "";
  FILE *file = fopen("/proc/self/io", "r");
  size_t got = file != NULL ? fread(text, 1, sizeof text - 1, file) : 0;
  if (file != NULL) fclose(file);
  const char *line = strstr(text, "syscr: ");
  return CHECK(got > 0 && line != NULL) ? strtoull(line + 7, NULL, 10) : 0;
}

/* What one call for statistics reads, and that it found the pages that each part has. */
static uint64_t reads_for_pages(void) {
  mheap *heap = mheap_default();
  mheap_page_stats all, one;
  uint64_t transparent = 0, before = reads_so_far(), own = reads_so_far() - before;
  CHECK_EQ(mh_stats_count_pages(heap, &all), MHEAP_OK);
  uint64_t took = reads_so_far() - before - 2 * own;
  for (mheap *part = mh_part_first(heap); part != NULL; part = mh_part_next(part)) {
    mh_pages_count(part->region, &one);
    transparent += one.bytes_transparent;
    CHECK(one.page_size <= all.page_size);
  }
  CHECK(all.page_size > 0);
  CHECK_EQ(all.bytes_transparent, transparent);
  return took;
}

static void statistics_of_many_parts_read_what_few_do_times_their_number(void) {
  REQUIRE(begin(64 * MIB));
  for (int i = 0; i < 16; i++) reserve(8 * MIB, false);
  for (int i = 0; i < 32; i++) memset(mheap_malloc(NULL, 3 * MIB), 1, 3 * MIB);
  uint64_t few = reads_for_pages();
  for (int i = 0; i < 112; i++) reserve(8 * MIB, false);
  for (int i = 0; i < 64; i++) memset(mheap_malloc(NULL, 3 * MIB), 1, 3 * MIB);
  uint64_t many = reads_for_pages();
  CHECK(count_parts(mheap_default()) > 128);
  CHECK(few > 0 && many > few);
  CHECK(many <= 16 * few); /* one look for each part would be 64 times as much */
  end();
}

/* ---- forks ---- */

static void a_forked_child_has_all_parts(void) {
  REQUIRE(begin(16 * MIB));
  reserve(8 * MIB, false);
  void *blocks[30];
  int status = -1;
  for (int i = 0; i < 30; i++) REQUIRE((blocks[i] = mheap_malloc(NULL, MIB)) != NULL);
  pid_t child = fork();
  if (child == 0) {
    int failed = 0;
    for (int i = 0; i < 30; i++) failed |= mheap_free(NULL, blocks[i]);
    for (int i = 0; i < 60; i++) failed |= mheap_malloc(NULL, MIB) == NULL;
    _exit(failed != 0);
  }
  waitpid(child, &status, 0);
  CHECK_EQ(status, 0);
  CHECK_EQ(used_blocks(NULL), 30);
  end();
}

TEST_MAIN(TEST(a_shared_arena_is_used_before_home), TEST(arenas_are_used_in_their_order_and_home_last),
          TEST(what_came_free_in_an_arena_is_used_again), TEST(where_home_is_full_a_region_is_added),
          TEST(small_blocks_go_on_where_home_is_full),
          TEST(a_block_larger_than_a_region_gets_one_of_its_size), TEST(realloc_moves_from_part_to_part),
          TEST(alignment_holds_in_parts), TEST(roots_lead_to_all_parts), TEST(other_heaps_spread_too),
          TEST(a_heap_is_listed_once), TEST(nobody_else_allocates_in_an_exclusive_arena),
          TEST(blocks_of_a_heap_deleted_there_are_the_main_heaps), TEST(an_arena_in_use_is_not_released),
          TEST(guards_are_of_all_parts), TEST(a_trace_is_of_all_parts), TEST(threads_share_parts),
          TEST(statistics_of_many_parts_read_what_few_do_times_their_number),
          TEST(a_forked_child_has_all_parts))
