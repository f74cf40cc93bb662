/* test_mimalloc_arena.c: mimalloc's arenas. */
#include "mheap/mimalloc.h"

#include <errno.h>
#include <sys/mman.h>

#include "mheap/mheap.h"
#include "pool.h"
#include "test.h"

#define MIB ((size_t)1 << 20)

static void a_reserved_arena_has_an_area(void) {
  mi_arena_id_t id = 0;
  size_t size = 0;
  CHECK_EQ(mi_reserve_os_memory_ex(16 * MIB, false, false, true, &id), 0);
  CHECK(id > 0);
  char *start = mi_arena_area(id, &size);
  CHECK(start != NULL && size >= 16 * MIB);
  CHECK_EQ((uintptr_t)start % mi_arena_min_alignment(), 0);
  CHECK(mi_arena_area(id, NULL) == start);
  CHECK(mi_is_in_heap_region(start));
  CHECK_EQ(mi_reserve_os_memory(16 * MIB, true, true), 0);
}

static void there_are_no_others(void) {
  size_t size = 5;
  CHECK(mi_arena_area(0, &size) == NULL && size == 0);
  CHECK(mi_arena_area(-1, &size) == NULL);
  CHECK(mi_arena_area(60000, NULL) == NULL);
}

static void what_cannot_be_had_is_enomem(void) {
  mi_arena_id_t id = 5;
  CHECK_EQ(mi_reserve_os_memory_ex((size_t)1 << 62, false, false, false, &id), ENOMEM);
  CHECK_EQ(id, 0);
  CHECK_EQ(mi_reserve_os_memory((size_t)1 << 60, false, false), ENOMEM);
}

/* Full means NULL, never elsewhere; and nobody else comes in. */
static void an_exclusive_heap_stays_in_its_arena(void) {
  mi_arena_id_t id;
  size_t size, got = 0;
  REQUIRE(mi_reserve_os_memory_ex(8 * MIB, false, false, true, &id) == 0);
  char *start = mi_arena_area(id, &size);
  mi_heap_t *heap = mi_heap_new_in_arena(id);
  REQUIRE(heap != NULL);
  for (char *block; (block = mi_heap_malloc(heap, 60000)) != NULL; got++) {
    if (!CHECK(block >= start && block + 60000 <= start + size)) break;
    if (got > size / 60000) break;
  }
  CHECK(got > size / 60000 / 2);
  CHECK(mi_heap_malloc(heap, size) == NULL);
  char *other = mi_malloc(60000);
  CHECK(other != NULL && (other < start || other >= start + size));
  mi_free(other);
  mi_heap_destroy(heap);
  heap = mi_heap_new_ex(3, true, id);
  char *again = mi_heap_malloc(heap, 60000);
  CHECK(again >= start && again < start + size);
  mi_heap_destroy(heap);
}

static void memory_that_is_lent_is_used(void) {
  size_t size = 16 * MIB, got;
  char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(memory != MAP_FAILED);
  mi_arena_id_t id = 0;
  REQUIRE(mi_manage_os_memory_ex(memory + 5, size - 5, true, false, true, -1, true, &id));
  char *start = mi_arena_area(id, &got);
  CHECK(start >= memory && start + got <= memory + size);
  CHECK_EQ((uintptr_t)start % mi_arena_min_alignment(), 0);
  mi_heap_t *heap = mi_heap_new_in_arena(id);
  char *block = mi_heap_zalloc(heap, 100000);
  CHECK(block >= memory && block + 100000 <= memory + size);
  mi_free(block);
  mi_heap_destroy(heap);
  CHECK_EQ(mheap_arena_release(id), MHEAP_OK);
  CHECK(mi_arena_area(id, NULL) == NULL);
  munmap(memory, size);
}

static void lent_memory_that_cannot_be_used_is_refused(void) {
  static char little[100];
  mi_arena_id_t id = 5;
  CHECK(!mi_manage_os_memory(little, sizeof little, true, false, false, -1));
  CHECK(!mi_manage_os_memory_ex(NULL, 16 * MIB, true, false, false, -1, true, &id));
  CHECK_EQ(id, 0);
  REQUIRE(mi_reserve_os_memory_ex(8 * MIB, false, false, true, &id) == 0);
  size_t size;
  void *start = mi_arena_area(id, &size);
  CHECK(!mi_manage_os_memory(start, size, true, false, false, -1)); /* an arena already */
}

/* Whether there are such pages is the machine's affair: more than any has cannot be had. */
static void huge_pages_are_had_or_refused(void) {
  mi_arena_id_t id = 5;
  size_t reserved = 5;
  int failed = mi_reserve_huge_os_pages_at_ex(100000, -1, 500, true, &id);
  CHECK(failed == ENOMEM || failed == ETIMEDOUT);
  CHECK_EQ(mi_reserve_huge_os_pages_at_ex(0, 0, 0, false, &id), 0);
  CHECK_EQ(id, 0);
  failed = mi_reserve_huge_os_pages_interleave(100000, 0, 500);
  CHECK(failed == ENOMEM || failed == ETIMEDOUT);
  CHECK_EQ(mi_reserve_huge_os_pages_interleave(0, 0, 0), 0);
  failed = mi_reserve_huge_os_pages_at(100000, 0, 500);
  CHECK(failed == ENOMEM || failed == ETIMEDOUT);
  failed = mi_reserve_huge_os_pages(100000, 0.5, &reserved);
  CHECK(failed == ENOMEM || failed == ETIMEDOUT);
  CHECK_EQ(reserved, 0);
}

/* Numbers are given out in order; of arenas that were released there are gaps. */
static mi_arena_id_t newest_arena(void) {
  mi_arena_id_t newest = 0;
  for (mi_arena_id_t id = 1; id < 100; id++)
    if (mi_arena_area(id, NULL) != NULL) newest = id;
  return newest;
}

static void give_back(mi_arena_id_t id, uint64_t pages) {
  uint64_t before = pool_free(POOL_1G);
  CHECK_EQ(mheap_arena_release(id), MHEAP_OK);
  CHECK_EQ(pool_free(POOL_1G), before + pages);
}

/* The page is used to its last segment, by blocks beside each other. */
static void fill_page(mi_arena_id_t id) {
  size_t size;
  char *start = mi_arena_area(id, &size), *block;
  mi_heap_t *heap = mi_heap_new_in_arena(id);
  REQUIRE(heap != NULL);
  size_t bytes = 0;
  while ((block = mi_heap_malloc(heap, 63 * MIB)) != NULL && bytes < 2 * size) {
    CHECK(block >= start && block + 63 * MIB <= start + size);
    block[0] = block[63 * MIB - 1] = 1;
    bytes += 63 * MIB;
  }
  CHECK(bytes > POOL_1G - 2 * 64 * MIB && bytes <= POOL_1G);
  mi_heap_destroy(heap);
}

/* Memory may be too scattered for pages of 1 GiB: then that is what is said. */
static void a_page_of_1_gib_is_an_arena(void) {
  pool *p = pool_take(POOL_1G, 1);
  mi_arena_id_t id = 5;
  int failed = mi_reserve_huge_os_pages_at_ex(1, -1, 0, true, &id);
  CHECK_EQ(failed, p->pages == 1 ? 0 : ENOMEM);
  CHECK_EQ(id > 0, p->pages == 1);
  if (id > 0) {
    size_t size;
    CHECK(mi_arena_area(id, &size) != NULL);
    CHECK_EQ(size, POOL_1G + mi_arena_min_alignment()); /* and what describes it, before the page */
    CHECK_EQ(pool_free(POOL_1G), 0);
    fill_page(id);
    give_back(id, 1);
  }
  pool_give(p);
}

/* A page of that size takes longer to clear than it is given: the first is kept, no other is taken. */
static bool one_page_in_no_time(const pool *p) {
  size_t reserved = 5;
  mi_arena_id_t before = newest_arena();
  int failed = mi_reserve_huge_os_pages(2, 0.001, &reserved);
  bool kept = newest_arena() > before;
  CHECK_EQ(reserved, 0);
  if (p->pages > 0) CHECK_EQ(failed, ETIMEDOUT);
  CHECK_EQ(pool_free(POOL_1G), p->pages - kept);
  if (kept) give_back(newest_arena(), 1);
  return kept;
}

static void two_pages_of_1_gib_are_had_or_fewer(void) {
  pool *p = pool_take(POOL_1G, 2);
  size_t size = 0;
  mi_arena_id_t before = newest_arena();
  int failed = mi_reserve_huge_os_pages_interleave(2, 1, 0);
  CHECK_EQ(failed, p->pages == 2 ? 0 : ENOMEM);
  if (p->pages > 0) {
    CHECK(newest_arena() > before && mi_arena_area(newest_arena(), &size) != NULL);
    CHECK_EQ(size, p->pages * POOL_1G + mi_arena_min_alignment());
    CHECK_EQ(mi_reserve_huge_os_pages_interleave(1, 1, 0), ENOMEM); /* all are taken */
    give_back(newest_arena(), p->pages);
  }
  /* On a busy machine a millisecond may be over before the first page is tried. */
  bool kept = false;
  for (int tries = 0; tries < 20 && !kept; tries++) kept = one_page_in_no_time(p);
  CHECK_EQ(kept, p->pages > 0);
  pool_give(p);
}

/* ---- shared arenas: a heap's blocks may lie in several ---- */

typedef struct places {
  char *start, *end;
  size_t inside, outside, areas;
} places;

static bool place(const mi_heap_t *heap, const mi_heap_area_t *area, void *block, size_t size, void *arg) {
  places *p = arg;
  char *at = block;
  if (block == NULL) p->areas++;
  else if (at >= p->start && at + size <= p->end) p->inside++;
  else p->outside++;
  (void)heap, (void)area;
  return true;
}

static void a_shared_arena_is_used_first_and_visited(void) {
  mi_arena_id_t id;
  size_t size;
  REQUIRE(mi_reserve_os_memory_ex(8 * MIB, false, false, false, &id) == 0);
  places p = {.start = mi_arena_area(id, &size)};
  p.end = p.start + size;
  mi_heap_t *heap = mi_heap_new();
  for (int i = 0; i < 400; i++) {
    char *block = i % 2 ? mi_heap_malloc(heap, 60000) : mi_heap_malloc_aligned_at(heap, 50000, 64, 8);
    REQUIRE(block != NULL);
    CHECK(mi_heap_of(block) == heap && mi_heap_check_owned(heap, block + 100));
    memset(block, 1, 50000);
  }
  CHECK(mi_heap_visit_blocks(heap, true, place, &p));
  CHECK_EQ(p.inside + p.outside, 400);
  CHECK(p.inside > 50 && p.outside > 50 && p.areas >= 2);
  mi_heap_destroy(heap);
}

/* ---- both documented calls ---- */

static char shown[65536];
static void note(const char *text, void *arg) {
  (void)arg;
  strncat(shown, text, sizeof shown - strlen(shown) - 1);
}

static size_t length_shown(void) {
  size_t length = strlen(shown);
  shown[0] = '\0';
  return length;
}

static void arenas_are_shown(void) {
  char id_text[32];
  mi_arena_id_t id;
  mi_register_output(note, NULL);
  REQUIRE(mi_reserve_os_memory_ex(8 * MIB, false, false, false, &id) == 0);
  snprintf(id_text, sizeof id_text, "%d", id);
  mi_debug_show_arenas();
  CHECK_CONTAINS(shown, id_text);
  size_t all = length_shown();
  mi_debug_show_arenas(true, true, true);
  CHECK_EQ(length_shown(), all);
  mi_debug_show_arenas(false, false, false);
  CHECK_CONTAINS(shown, id_text);
  CHECK(length_shown() < all);
  void (*function)(bool, bool, bool) = mi_debug_show_arenas; /* it has an address */
  function(true, true, true);
  CHECK_EQ(length_shown(), all);
  mi_register_output(NULL, NULL);
}

TEST_MAIN(TEST(a_reserved_arena_has_an_area), TEST(there_are_no_others), TEST(what_cannot_be_had_is_enomem),
          TEST(an_exclusive_heap_stays_in_its_arena), TEST(memory_that_is_lent_is_used),
          TEST(lent_memory_that_cannot_be_used_is_refused), TEST(huge_pages_are_had_or_refused),
          TEST(a_page_of_1_gib_is_an_arena), TEST(two_pages_of_1_gib_are_had_or_fewer),
          TEST(a_shared_arena_is_used_first_and_visited), TEST(arenas_are_shown))
