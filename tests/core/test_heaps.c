/* test_heaps.c: more heaps in a region: made, destroyed, deleted, found again. */
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "heap.h"
#include "map.h"
#include "mheap/mheap.h"
#include "segment.h"
#include "test.h"

#define MIB ((size_t)1 << 20)

static mheap *open_heap(const char *name) { return mheap_open(test_path(name), NULL, NULL); }

static bool is_sound(mheap *heap) { return mheap_check(heap, NULL, NULL, NULL) == MHEAP_OK; }

static const size_t sizes[] = {16, 100, 1000, 5000, 40000, 200000, 2 * MIB, 9 * MIB};
enum { SIZES = sizeof sizes / sizeof sizes[0], ROUNDS = 40 };

static void fill(mheap *heap, char *blocks[SIZES]) {
  for (int round = 0; round < ROUNDS; round++)
    for (int i = 0; i < SIZES; i++)
      if (i < 5 || round == 0) {
        char *block = mheap_malloc(heap, sizes[i]);
        if (!CHECK(block != NULL)) return;
        memset(block, i + 1, sizes[i] < 64 ? sizes[i] : 64);
        blocks[i] = block;
      }
}

static uint64_t used_in(mheap *heap) {
  mheap_stats stats;
  return mheap_get_stats(heap, &stats) == MHEAP_OK ? stats.chunks_used : UINT64_MAX;
}

static void a_destroyed_heap_leaves_nothing(void) {
  mheap *heap = open_heap("destroy.heap");
  REQUIRE(heap != NULL);
  char *blocks[SIZES];
  REQUIRE(mheap_malloc(heap, 10) != NULL);
  for (int i = 0; i < 3; i++) {
    mheap *other = mheap_new(heap, i, true, 0);
    REQUIRE(other != NULL);
    fill(other, blocks);
    CHECK_EQ(used_in(heap), 1 + 5 * ROUNDS + 3);
    CHECK_EQ(mheap_destroy(other), MHEAP_OK);
    CHECK_EQ(used_in(heap), 1);
    CHECK(is_sound(heap));
  }
  CHECK_EQ(mheap_free(heap, blocks[0]), MHEAP_ERR_DOUBLE_FREE);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static void only_what_was_made_so_is_destroyed(void) {
  mheap *heap = open_heap("refuse.heap");
  REQUIRE(heap != NULL);
  mheap *kept = mheap_new(heap, 0, false, 0);
  REQUIRE(kept != NULL);
  CHECK_EQ(mheap_destroy(kept), MHEAP_ERR_ARGUMENT);
  CHECK_CONTAINS(mheap_last_error(kept)->text, "allow_destroy");
  CHECK_EQ(mheap_destroy(heap), MHEAP_ERR_ARGUMENT);
  CHECK_EQ(mheap_delete(heap), MHEAP_ERR_ARGUMENT);
  CHECK_EQ(mheap_destroy(NULL), MHEAP_ERR_ARGUMENT);
  mheap_error error;
  CHECK_EQ(mheap_detach(kept, &error), MHEAP_ERR_ARGUMENT);
  CHECK(mheap_main(kept) == heap);
  CHECK(mheap_malloc(kept, 10) != NULL);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static void the_blocks_of_a_deleted_heap_are_the_main_heaps(void) {
  mheap *heap = open_heap("delete.heap");
  REQUIRE(heap != NULL);
  mheap *other = mheap_new(heap, 0, false, 0);
  REQUIRE(other != NULL);
  char *blocks[SIZES];
  fill(other, blocks);
  uint64_t used = used_in(heap);
  CHECK_EQ(mheap_free(heap, blocks[1]), MHEAP_ERR_POINTER);
  CHECK_EQ(mheap_delete(other), MHEAP_OK);
  CHECK_EQ(used_in(heap), used);
  CHECK(is_sound(heap));
  for (int i = 0; i < SIZES; i++) {
    CHECK_EQ(blocks[i][0], i + 1);
    CHECK_EQ(mheap_free(heap, blocks[i]), MHEAP_OK);
    CHECK_EQ(mheap_free(heap, blocks[i]), MHEAP_ERR_DOUBLE_FREE);
  }
  CHECK_EQ(used_in(heap), used - SIZES);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  heap = open_heap("delete.heap");
  REQUIRE(heap != NULL);
  CHECK_EQ(used_in(heap), used - SIZES);
  CHECK(is_sound(heap));
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static bool count_heap(void *arg, mheap *heap) {
  (void)heap;
  ++*(unsigned *)arg;
  return true;
}

static bool count_block(void *arg, void *block, size_t usable) {
  ++*(unsigned *)arg;
  return block != NULL && usable > 0;
}

static bool first_alone(void *arg, mheap *heap) {
  *(mheap **)arg = heap;
  return false;
}

static void heaps_are_visited_the_main_one_first(void) {
  mheap *heap = open_heap("visit.heap"), *first = NULL;
  REQUIRE(heap != NULL);
  unsigned count = 0;
  for (int i = 0; i < 5; i++) CHECK(mheap_new(heap, i, true, 0) != NULL);
  CHECK_EQ(mheap_visit_heaps(heap, count_heap, &count), MHEAP_OK);
  CHECK_EQ(count, 6);
  CHECK_EQ(mheap_visit_heaps(heap, first_alone, &first), MHEAP_OK);
  CHECK(first == heap);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static void rows_are_used_again_and_a_full_table_says_so(void) {
  mheap *heap = open_heap("rows.heap"), *other[MH_HEAPS];
  REQUIRE(heap != NULL);
  unsigned made = 0;
  while (made < MH_HEAPS && (other[made] = mheap_new(heap, 0, true, 0)) != NULL) made++;
  CHECK_EQ(made, MH_HEAPS - 2);
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_FULL);
  for (int round = 0; round < 1000; round++) {
    unsigned i = (unsigned)round % made;
    CHECK(mheap_malloc(other[i], 100) != NULL);
    CHECK_EQ(round % 2 ? mheap_destroy(other[i]) : mheap_delete(other[i]), MHEAP_OK);
    other[i] = mheap_new(heap, 0, true, 0);
    REQUIRE(other[i] != NULL);
  }
  CHECK(is_sound(heap));
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* ---- what it costs ---- */

enum { SEGMENTS = 300 };

static unsigned opened(mheap *heap) {
  unsigned count = 0;
  for (uint64_t i = 0; i < mh_map_segments(heap->region); i++)
    count += mh_segment_of(heap->region, i)->kind == MH_RUN_HEADER;
  return count;
}

/* Segments that nobody has looked at since attach stay so, and none but the heap's own is gone through. */
static void destroying_costs_the_heaps_slabs_not_the_regions(void) {
  mheap *heap = open_heap("cost.heap");
  REQUIRE(heap != NULL);
  for (int i = 0; i < SEGMENTS; i++) CHECK(mheap_memalign(heap, 2 * MIB, 100) != NULL); /* one in each */
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  heap = open_heap("cost.heap");
  REQUIRE(heap != NULL && mh_map_segments(heap->region) >= SEGMENTS);
  mheap *other = mheap_new(heap, 0, true, 0);
  REQUIRE(other != NULL && mheap_malloc(other, 100) != NULL);
  unsigned before = opened(heap), rows = 0;
  CHECK(before < 20);
  for (uint64_t i = 0; i < SEGMENTS; i += 64)
    rows += (unsigned)__builtin_popcountll(heap->region->touched[other->row][i / 64]);
  CHECK_EQ(rows, 1);
  CHECK_EQ(mheap_destroy(other), MHEAP_OK);
  CHECK_EQ(opened(heap), before);
  other = mheap_new(heap, 0, false, 0);
  REQUIRE(other != NULL && mheap_malloc(other, 100) != NULL);
  before = opened(heap);
  CHECK_EQ(mheap_delete(other), MHEAP_OK);
  CHECK_EQ(opened(heap), before);
  CHECK_EQ(used_in(heap), SEGMENTS + 1);
  CHECK(is_sound(heap));
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* ---- kills: the row says it, the runs were not told ---- */

static void leave_row(const char *name, uint64_t flag) {
  pid_t child = fork();
  if (child == 0) {
    mheap *heap = open_heap(name), *other = mheap_new(heap, 0, true, 0);
    char *blocks[SIZES];
    if (mheap_malloc(heap, 10) == NULL) _exit(1);
    fill(other, blocks);
    mheap_setkey(heap, 0, blocks[0]);
    mheap_setkey(heap, 1, blocks[SIZES - 1]);
    mh_heap_row_of(other)->head |= flag;
    kill(getpid(), SIGKILL);
  }
  int status;
  waitpid(child, &status, 0);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void a_kill_while_destroying_leaves_it_destroyed(void) {
  leave_row("killed.heap", MH_HEAP_DESTROYED);
  mheap *heap = open_heap("killed.heap");
  REQUIRE(heap != NULL);
  CHECK(is_sound(heap));
  unsigned heaps = 0;
  CHECK_EQ(mheap_visit_heaps(heap, count_heap, &heaps), MHEAP_OK);
  CHECK_EQ(heaps, 1);
  CHECK_EQ(mheap_collect(heap, true), MHEAP_OK);
  CHECK_EQ(used_in(heap), 1);
  mheap_info info;
  CHECK_EQ(mheap_get_info(heap, &info), MHEAP_OK);
  CHECK(info.size < 1 * MIB);
  CHECK(is_sound(heap));
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static void a_kill_while_deleting_leaves_it_deleted(void) {
  leave_row("moved.heap", MH_HEAP_DELETED);
  mheap *heap = open_heap("moved.heap");
  REQUIRE(heap != NULL);
  CHECK(is_sound(heap));
  CHECK_EQ(used_in(heap), 1 + 5 * ROUNDS + 3);
  CHECK_EQ(mheap_free(heap, mheap_getkey(heap, 0)), MHEAP_OK);
  CHECK_EQ(mheap_free(heap, mheap_getkey(heap, 1)), MHEAP_OK);
  CHECK_EQ(used_in(heap), 5 * ROUNDS + 3 - 1);
  CHECK(is_sound(heap));
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static const uint64_t huge_bytes = 13 * MIB; /* four segments */

/* A block of the main heap may be before it, and one behind. */
static void leave_huge(const char *name, bool before, bool behind) {
  pid_t child = fork();
  if (child == 0) {
    mheap *heap = open_heap(name), *other = mheap_new(heap, 0, true, 0);
    if (mheap_malloc(heap, before ? 4 * MIB : 10) == NULL || mheap_malloc(other, huge_bytes) == NULL ||
        (behind && mheap_malloc(heap, 4 * MIB) == NULL))
      _exit(1);
    mh_heap_row_of(other)->head |= MH_HEAP_DESTROYED;
    kill(getpid(), SIGKILL);
  }
  int status;
  waitpid(child, &status, 0);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* What its bodies were is taken, its head is not: settling the row must not take that for its own. */
static void use_the_place(const char *name, bool before) {
  leave_huge(name, before, true);
  mheap *heap = open_heap(name);
  REQUIRE(heap != NULL);
  uint64_t used = used_in(heap);
  char *block = mheap_memalign(heap, 8 * MIB, 5 * MIB);
  REQUIRE(block != NULL);
  memset(block, 0x5a, 5 * MIB);
  CHECK(is_sound(heap));
  CHECK_EQ(mheap_collect(heap, true), MHEAP_OK);
  CHECK(is_sound(heap));
  CHECK_EQ(used_in(heap), used + 1);
  CHECK_EQ(mheap_usable_size(heap, block), 5 * MIB);
  CHECK(block[0] == 0x5a && memcmp(block, block + 1, 5 * MIB - 1) == 0);
  CHECK_EQ(mheap_free(heap, block), MHEAP_OK);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static void the_place_of_a_destroyed_huge_block_can_be_used(void) {
  use_the_place("place.heap", false); /* one of the two places begins beside a multiple of 8 MiB */
  use_the_place("other-place.heap", true);
}

/* The file is cut where the huge block was, its row is used by another heap: the file grows again. */
static void grow_again(const char *name, bool before) {
  leave_huge(name, before, false);
  mheap *heap = open_heap(name);
  REQUIRE(heap != NULL);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK); /* cuts, and settles nothing */
  heap = open_heap(name);
  REQUIRE(heap != NULL);
  mheap *other = NULL;
  for (int i = 0; i < MH_HEAPS - 2; i++) CHECK((other = mheap_new(heap, 0, true, 0)) != NULL);
  CHECK(mheap_memalign(heap, 8 * MIB, 30 * MIB) != NULL);
  CHECK_EQ(used_in(heap), 2);
  CHECK(is_sound(heap));
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static void what_was_cut_off_does_not_come_back(void) {
  grow_again("cut.heap", false);
  grow_again("other-cut.heap", true);
}

/* Whose process was killed before it was done. */
static void readers_see_a_deleted_heap_as_deleted(void) {
  leave_row("reader.heap", MH_HEAP_DELETED);
  mheap *heap = mheap_open(test_path("reader.heap"), &(mheap_options){.mode = MHEAP_MODE_READONLY}, NULL);
  REQUIRE(heap != NULL);
  unsigned blocks = 0;
  CHECK_EQ(mheap_visit_blocks(heap, count_block, &blocks), MHEAP_OK);
  CHECK_EQ(blocks, 1 + 5 * ROUNDS + 3);
  CHECK(mheap_usable_size(heap, mheap_getkey(heap, 0)) >= 16);
  CHECK(is_sound(heap));
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  leave_row("reader2.heap", MH_HEAP_DESTROYED);
  heap = mheap_open(test_path("reader2.heap"), &(mheap_options){.mode = MHEAP_MODE_READONLY}, NULL);
  REQUIRE(heap != NULL);
  CHECK_EQ(used_in(heap), 1);
  CHECK_EQ(mheap_usable_size(heap, mheap_getkey(heap, 0)), 0);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* ---- threads ---- */

static void *make_and_destroy(void *arg) {
  mheap *heap = arg;
  for (int i = 0; i < 200; i++) {
    mheap *other = mheap_new(heap, i % 256, true, 0);
    if (!CHECK(other != NULL)) return NULL;
    for (int j = 0; j < 50; j++) CHECK(mheap_malloc(other, (size_t)(j * 37 % 3000 + 1)) != NULL);
    void *kept = mheap_malloc(heap, 64);
    CHECK_EQ(i % 2 ? mheap_destroy(other) : mheap_delete(other), MHEAP_OK);
    CHECK_EQ(mheap_free(heap, kept), MHEAP_OK);
  }
  return NULL;
}

static void threads_come_and_go_with_their_heaps(void) {
  mheap *heap = open_heap("threads.heap");
  REQUIRE(heap != NULL);
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, make_and_destroy, heap);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  CHECK_EQ(used_in(heap), 4 * 100 * 50);
  CHECK(is_sound(heap));
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

TEST_MAIN(TEST(a_destroyed_heap_leaves_nothing), TEST(only_what_was_made_so_is_destroyed),
          TEST(the_blocks_of_a_deleted_heap_are_the_main_heaps), TEST(heaps_are_visited_the_main_one_first),
          TEST(rows_are_used_again_and_a_full_table_says_so),
          TEST(destroying_costs_the_heaps_slabs_not_the_regions),
          TEST(a_kill_while_destroying_leaves_it_destroyed), TEST(a_kill_while_deleting_leaves_it_deleted),
          TEST(the_place_of_a_destroyed_huge_block_can_be_used), TEST(what_was_cut_off_does_not_come_back),
          TEST(readers_see_a_deleted_heap_as_deleted), TEST(threads_come_and_go_with_their_heaps))
