/* test_mimalloc_heap.c: mimalloc's heaps: made, destroyed, deleted, chosen, asked, visited. */
#include "mheap/mimalloc.h"

#include <errno.h>
#include <pthread.h>

#include "mheap/mheap.h"
#include "test.h"

static volatile size_t most = SIZE_MAX; /* that compilers do not see through */

static mheap_err last(void) { return mheap_last_error(NULL)->code; }

static uint64_t used(void) {
  mheap_stats stats;
  return mheap_get_stats(NULL, &stats) == MHEAP_OK ? stats.chunks_used : UINT64_MAX;
}

/* ---- a request's heap ---- */

static void destroy_frees_everything_at_once(void) {
  for (int request = 0; request < 300; request++) {
    mi_heap_t *heap = mi_heap_new();
    REQUIRE(heap != NULL);
    for (int i = 0; i < 500; i++) memset(mi_heap_malloc(heap, (size_t)i * 7), 0xa5, (size_t)i * 7);
    CHECK(mi_heap_malloc(heap, 5 << 20) != NULL);
    mi_heap_destroy(heap);
  }
  CHECK_EQ(used(), 0);
}

static void delete_keeps_the_blocks(void) {
  mi_heap_t *heap = mi_heap_new();
  char *kept = mi_heap_strdup(heap, "kept"), *large = mi_heap_malloc(heap, 100000);
  CHECK(mi_heap_of(kept) == heap);
  mi_heap_delete(heap);
  CHECK_STR(kept, "kept");
  CHECK(mi_heap_of(kept) == mi_heap_main() && mi_heap_of(large) == mi_heap_main());
  mi_free(kept);
  mi_free(large);
  CHECK_EQ(used(), 0);
}

static void the_main_heap_stays(void) {
  char *kept = mi_strdup("kept");
  mi_heap_delete(mi_heap_main());
  mi_heap_destroy(mi_heap_main());
  mi_heap_delete(NULL);
  mi_heap_destroy(NULL);
  CHECK_STR(kept, "kept");
  mi_free(kept);
}

static void a_heap_not_to_be_destroyed_is_deleted(void) {
  mi_heap_t *heap = mi_heap_new_ex(7, false, 0);
  char *kept = mi_heap_strdup(heap, "kept");
  mi_heap_destroy(heap);
  CHECK_STR(kept, "kept");
  mi_free(kept);
  CHECK_EQ(used(), 0);
}

static void heaps_that_cannot_be_are_null(void) {
  CHECK(mi_heap_new_ex(-1, true, 0) == NULL);
  CHECK(mi_heap_new_ex(256, true, 0) == NULL);
  CHECK_EQ(last(), MHEAP_ERR_ARGUMENT);
  CHECK(mi_heap_new_in_arena(54321) == NULL);
  CHECK(mi_heap_new_ex(0, true, 54321) == NULL);
}

/* ---- the default heap ---- */

static void the_default_can_be_set(void) {
  mi_heap_t *main = mi_heap_get_default(), *own = mi_heap_new();
  CHECK(main == mi_heap_main() && main == mi_heap_get_backing());
  CHECK(mi_heap_set_default(own) == main);
  CHECK(mi_heap_get_default() == own);
  CHECK(mi_heap_get_backing() == main);
  void *blocks[] = {mi_malloc(10),
                    mi_zalloc(10),
                    mi_calloc(2, 5),
                    mi_strdup("x"),
                    mi_realloc(NULL, 3),
                    mi_malloc_aligned(9, 64),
                    mi_malloc_aligned_at(9, 64, 8),
                    mi_valloc(1)};
  for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) CHECK(mi_heap_of(blocks[i]) == own);
  mi_free(blocks[0]);
  CHECK(mi_heap_set_default(main) == own);
  void *other = mi_malloc(10);
  CHECK(mi_heap_of(other) == main);
  mi_free(other);
  mi_heap_set_default(own);
  mi_heap_destroy(own);
  CHECK(mi_heap_get_default() == main);
  mi_free(mi_malloc(10));
  CHECK_EQ(used(), 0);
}

static void *default_of_thread(void *heap) {
  mi_heap_t *before = mi_heap_set_default(heap);
  CHECK(before == mi_heap_main());
  for (int i = 0; i < 1000; i++) CHECK(mi_malloc(50) != NULL);
  return mi_heap_get_default();
}

static void the_default_is_a_threads_own(void) {
  pthread_t threads[2];
  mi_heap_t *heaps[2] = {mi_heap_new(), mi_heap_new()};
  for (int i = 0; i < 2; i++) REQUIRE(pthread_create(&threads[i], NULL, default_of_thread, heaps[i]) == 0);
  for (int i = 0; i < 2; i++) {
    void *was;
    pthread_join(threads[i], &was);
    CHECK(was == heaps[i]);
  }
  CHECK(mi_heap_get_default() == mi_heap_main());
  for (int i = 0; i < 2; i++) mi_heap_destroy(heaps[i]);
  CHECK_EQ(used(), 0);
}

/* ---- each function, in a heap ---- */

static void all_functions_work_in_a_heap(void) {
  mi_heap_t *heap = mi_heap_new();
  void *blocks[] = {mi_heap_malloc(heap, 10),
                    mi_heap_zalloc(heap, 10),
                    mi_heap_calloc(heap, 2, 5),
                    mi_heap_mallocn(heap, 2, 5),
                    mi_heap_malloc_small(heap, 9),
                    mi_heap_zalloc_small(heap, 9),
                    mi_heap_realloc(heap, mi_heap_malloc(heap, 9), 4000),
                    mi_heap_reallocn(heap, NULL, 3, 4),
                    mi_heap_reallocf(heap, NULL, 3),
                    mi_heap_rezalloc(heap, NULL, 3),
                    mi_heap_recalloc(heap, NULL, 3, 3),
                    mi_heap_strdup(heap, "text"),
                    mi_heap_strndup(heap, "text", 2),
                    mi_heap_realpath(heap, "/", NULL),
                    mi_heap_malloc_aligned(heap, 10, 64),
                    mi_heap_malloc_aligned_at(heap, 10, 64, 8),
                    mi_heap_zalloc_aligned(heap, 10, 64),
                    mi_heap_zalloc_aligned_at(heap, 10, 64, 8),
                    mi_heap_calloc_aligned(heap, 2, 10, 64),
                    mi_heap_calloc_aligned_at(heap, 2, 10, 64, 8),
                    mi_heap_realloc_aligned(heap, NULL, 10, 64),
                    mi_heap_realloc_aligned_at(heap, NULL, 10, 64, 8),
                    mi_heap_rezalloc_aligned(heap, NULL, 10, 64),
                    mi_heap_rezalloc_aligned_at(heap, NULL, 10, 64, 8),
                    mi_heap_recalloc_aligned(heap, NULL, 2, 10, 64),
                    mi_heap_recalloc_aligned_at(heap, NULL, 2, 10, 64, 8)};
  for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
    CHECK(mi_heap_of(blocks[i]) == heap);
    CHECK(mi_heap_contains_block(heap, blocks[i]));
  }
  int *numbers = mi_heap_calloc_tp(heap, int, 3);
  numbers = mi_heap_recalloc_tp(heap, numbers, int, 300);
  CHECK(numbers[299] == 0);
  CHECK(mi_heap_malloc_tp(heap, int) != NULL && mi_heap_zalloc_tp(heap, int) != NULL);
  CHECK(mi_heap_reallocn_tp(heap, mi_heap_mallocn_tp(heap, int, 2), int, 3) != NULL);
  mi_heap_collect(heap, true);
  mi_heap_destroy(heap);
  CHECK_EQ(used(), 0);
}

static void failures_in_a_heap_are_null(void) {
  mi_heap_t *heap = mi_heap_new();
  CHECK(mi_heap_malloc(heap, most) == NULL && mi_heap_calloc(heap, most, 2) == NULL);
  CHECK(mi_heap_mallocn(heap, most, 2) == NULL && mi_heap_reallocn(heap, NULL, most, 2) == NULL);
  CHECK(mi_heap_malloc_aligned(heap, 8, most) == NULL && mi_heap_strdup(heap, NULL) == NULL);
  CHECK(mi_heap_reallocf(heap, mi_heap_malloc(heap, 5), most) == NULL);
  mi_heap_destroy(heap);
  CHECK_EQ(used(), 0);
}

static void a_block_that_moves_goes_to_the_heap_named(void) {
  mi_heap_t *one = mi_heap_new(), *two = mi_heap_new();
  char *text = mi_heap_strdup(one, "moves");
  text = mi_heap_realloc(two, text, 10); /* there is room where it is */
  CHECK(mi_heap_of(text) == one);
  text = mi_heap_realloc(two, text, 1000);
  CHECK(mi_heap_of(text) == two);
  mi_heap_destroy(one);
  CHECK_STR(text, "moves");
  text = mi_realloc(text, 5000);
  mi_heap_destroy(two);
  CHECK_STR(text, "moves");
  mi_free(text);
  CHECK_EQ(used(), 0);
}

/* ---- whose block ---- */

static void owners_are_told(void) {
  mi_heap_t *heap = mi_heap_new();
  char *block = mi_heap_malloc(heap, 100), *large = mi_heap_malloc(heap, 100000), *other = mi_malloc(100);
  int local;
  CHECK(mi_heap_contains_block(heap, block) && mi_heap_contains(heap, large));
  CHECK(!mi_heap_contains_block(heap, block + 16) && !mi_heap_contains_block(heap, other));
  CHECK(mi_heap_check_owned(heap, block) && mi_heap_check_owned(heap, block + 50));
  CHECK(mi_heap_check_owned(heap, large + 99999) && !mi_heap_check_owned(heap, other));
  CHECK(!mi_heap_check_owned(heap, &local) && !mi_heap_check_owned(heap, NULL));
  CHECK(mi_check_owned(other + 3) && !mi_check_owned(block));
  CHECK(mi_any_heap_contains(block + 3) && mi_any_heap_contains(other) && !mi_any_heap_contains(&local));
  CHECK(mi_heap_of(&local) == NULL && mi_heap_of(NULL) == NULL && mi_heap_of(block + 1) == NULL);
  mi_free(block);
  CHECK(!mi_heap_check_owned(heap, block) && !mi_heap_contains_block(heap, block));
  mi_heap_destroy(heap);
  mi_free(other);
}

/* ---- visiting ---- */

typedef struct seen {
  size_t areas, blocks, bytes, used_told, stop_after;
  bool wrong;
  void *last_area;
} seen;

static bool see(const mi_heap_t *heap, const mi_heap_area_t *area, void *block, size_t block_size,
                void *arg) {
  seen *s = arg;
  char *start = area->blocks;
  if (block == NULL) {
    s->areas++;
    s->used_told += area->used;
    s->last_area = area->blocks;
    s->wrong |= area->committed > area->reserved || area->block_size > area->committed;
    s->wrong |= area->full_block_size != area->block_size || area->heap_tag != 9;
  } else {
    s->blocks++;
    s->bytes += block_size;
    s->wrong |= s->last_area != area->blocks || (char *)block < start ||
                (char *)block + block_size > start + area->committed;
    s->wrong |= !mi_heap_contains_block((mi_heap_t *)(uintptr_t)heap, block);
  }
  return s->stop_after == 0 || s->areas + s->blocks < s->stop_after;
}

static void every_block_is_visited(void) {
  mi_heap_t *heap = mi_heap_new_ex(9, true, 0);
  size_t bytes = 0, blocks = 0;
  for (size_t size = 1; size < 7 << 20; size = size * 4 / 3 + 1, blocks++) {
    void *block = mi_heap_malloc(heap, size);
    REQUIRE(block != NULL);
    bytes += mi_usable_size(block);
  }
  void *freed = mi_heap_malloc(heap, 20), *shifted = mi_heap_malloc_aligned_at(heap, 100, 64, 8);
  mi_free(freed);
  CHECK(shifted != NULL);
  seen all = {0}, areas = {0}, some = {.stop_after = 5};
  CHECK(mi_heap_visit_blocks(heap, true, see, &all));
  CHECK_EQ(all.blocks, blocks + 1);
  CHECK_EQ(all.bytes, bytes + 100);
  CHECK_EQ(all.used_told, all.blocks);
  CHECK(!all.wrong);
  CHECK(mi_heap_visit_blocks(heap, false, see, &areas));
  CHECK(areas.areas == all.areas && areas.blocks == 0 && !areas.wrong);
  CHECK(!mi_heap_visit_blocks(heap, true, see, &some));
  CHECK_EQ(some.areas + some.blocks, 5);
  CHECK(!mi_heap_visit_blocks(heap, true, NULL, NULL));
  mi_heap_destroy(heap);
}

static bool free_it(const mi_heap_t *heap, const mi_heap_area_t *area, void *block, size_t size, void *arg) {
  (void)heap, (void)area, (void)size, (void)arg;
  mi_free(block);
  return true;
}

static void blocks_can_be_freed_while_visited(void) {
  mi_heap_t *heap = mi_heap_new_ex(9, true, 0);
  for (int i = 0; i < 2000; i++) CHECK(mi_heap_malloc(heap, 1 + (size_t)i % 900) != NULL);
  CHECK(mi_heap_visit_blocks(heap, true, free_it, NULL));
  seen left = {0};
  CHECK(mi_heap_visit_blocks(heap, true, see, &left));
  CHECK_EQ(left.blocks, 0);
  mi_heap_destroy(heap);
  CHECK_EQ(used(), 0);
}

static void heaps_of_files_are_heaps(void) {
  mheap *file = mheap_open(test_path("heaps.heap"), NULL, NULL);
  REQUIRE(file != NULL);
  mi_heap_t *part = (mi_heap_t *)mheap_new(file, 9, true, 0);
  char *block = mi_heap_strdup(part, "in the file");
  CHECK(mi_heap_of(block) == part);
  seen s = {0};
  CHECK(mi_heap_visit_blocks(part, true, see, &s));
  CHECK(s.blocks == 1 && !s.wrong);
  mi_heap_delete(part);
  CHECK(mi_heap_of(block) == (mi_heap_t *)file);
  mi_free(block);
  CHECK_EQ(mheap_detach(file, NULL), MHEAP_OK);
}

TEST_MAIN(TEST(destroy_frees_everything_at_once), TEST(delete_keeps_the_blocks), TEST(the_main_heap_stays),
          TEST(a_heap_not_to_be_destroyed_is_deleted), TEST(heaps_that_cannot_be_are_null),
          TEST(the_default_can_be_set), TEST(the_default_is_a_threads_own),
          TEST(all_functions_work_in_a_heap), TEST(failures_in_a_heap_are_null),
          TEST(a_block_that_moves_goes_to_the_heap_named), TEST(owners_are_told),
          TEST(every_block_is_visited), TEST(blocks_can_be_freed_while_visited),
          TEST(heaps_of_files_are_heaps))
