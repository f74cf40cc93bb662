/* test_hugepages.c: heaps in anonymous memory on huge pages, with real pages from the kernel's
   pools: what is obtained and said, what happens when there are too few, forks, and pages
   reserved ahead. Files on huge pages are in test_hugefiles.c. */
#include <sys/prctl.h>

#include "heap.h"
#include "hugepages.h"
#include "image.h"
#include "os.h"
#include "pool.h"
#include "region_pages.h"

#define MIB ((uint64_t)1 << 20)

/* ---- helpers ---- */

static mheap *attach(mheap_pages pages, uint64_t max_size) {
  mheap_error error = {0};
  mheap_options options = {.huge_pages = pages, .max_size = max_size};
  mheap *heap = mheap_attach(-1, &options, &error);
  if (heap == NULL) fprintf(stderr, "%s\n", error.text);
  CHECK(heap != NULL);
  return heap;
}

static mheap_page_stats pages_of(mheap *heap) {
  static mheap_stats stats;
  CHECK_EQ(mheap_get_stats(heap, &stats), MHEAP_OK);
  return stats.pages;
}

static void detach(mheap *heap) { CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK); }

static char *block_of(mheap *heap, uint64_t size, int content) {
  char *block = mheap_malloc(heap, size);
  if (CHECK(block != NULL)) memset(block, content, size);
  return block;
}

static bool holds(const char *block, uint64_t size, int content) {
  return block[0] == (char)content && memcmp(block, block + 1, size - 1) == 0;
}

static bool transparent_can_be_had(void) { return mh_os_has_transparent(); }

/* Occupies what is left in the pool. */
static char *take_rest(uint64_t page, uint64_t pages) {
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE | __builtin_ctzll(page) << 26;
  char *at = mmap(NULL, pages * page, PROT_READ | PROT_WRITE, flags, -1, 0);
  CHECK(at != MAP_FAILED);
  return at;
}

/* ---- 2 MiB pages ---- */

static void a_heap_lies_on_pages_of_the_pool(void) {
  pool *p = pool_take(POOL_2M, 24);
  if (!pool_has(p, 24)) return;
  mheap *heap = attach(MHEAP_PAGES_2M, 0);
  mheap_page_stats pages = pages_of(heap);
  CHECK_EQ(pages.asked, MHEAP_PAGES_2M);
  CHECK_EQ(pages.page_size, POOL_2M);
  CHECK_EQ(pages.bytes_2m, POOL_2M); /* an empty heap: one page, and the superblock's slice */
  CHECK_STR(pages.fallback, "");
  CHECK_EQ(pages.numa_node, 0);
  char *block = block_of(heap, 30 * MIB, 'a');
  CHECK_EQ(pages_of(heap).bytes_2m, p->pages * POOL_2M - pool_free(POOL_2M) * POOL_2M);
  CHECK(pages_of(heap).bytes_2m >= 30 * MIB);
  CHECK_EQ(mheap_check(heap, NULL, NULL, NULL), MHEAP_OK);
  CHECK(holds(block, 30 * MIB, 'a'));
  detach(heap);
  CHECK_EQ(pool_free(POOL_2M), p->pages);
  pool_give(p);
}

static void small_blocks_grow_it_by_a_page(void) {
  pool *p = pool_take(POOL_2M, 8);
  if (!pool_has(p, 8)) return;
  mheap *heap = attach(MHEAP_PAGES_2M, 0);
  for (int i = 0; i < 9000; i++) block_of(heap, 1000, i);
  mheap_page_stats pages = pages_of(heap);
  CHECK(pages.bytes_2m >= 9000000 && pages.bytes_2m <= 9000000 + 2 * POOL_2M);
  CHECK_STR(pages.fallback, "");
  detach(heap);
  pool_give(p);
}

static void alignment_is_what_it_is_elsewhere(void) {
  pool *p = pool_take(POOL_2M, 16);
  if (!pool_has(p, 16)) return;
  mheap *heap = attach(MHEAP_PAGES_2M, 0);
  for (uint64_t alignment = 16; alignment <= 4 * MIB; alignment *= 2) {
    char *block = mheap_memalign(heap, alignment, 5 * MIB);
    CHECK(block != NULL && (uint64_t)block % alignment == 0);
    mheap_free(heap, block);
  }
  detach(heap);
  pool_give(p);
}

static void freed_pages_go_back_to_the_pool(void) {
  pool *p = pool_take(POOL_2M, 16);
  if (!pool_has(p, 16)) return;
  mheap *heap = attach(MHEAP_PAGES_2M, 0);
  char *first = block_of(heap, 12 * MIB, 'a'), *second = block_of(heap, 8 * MIB, 'b');
  uint64_t before = pool_free(POOL_2M);
  mheap_free(heap, first); /* a hole: its pages go at once */
  CHECK_EQ(pool_free(POOL_2M), before + 6);
  uint64_t left = pool_free(POOL_2M);
  char *taken = take_rest(POOL_2M, left);
  first = block_of(heap, 12 * MIB, 'c'); /* which now are not there, and must not be missed */
  CHECK(holds(first, 12 * MIB, 'c') && holds(second, 8 * MIB, 'b'));
  CHECK_CONTAINS(pages_of(heap).fallback, "2M pages: the kernel's pool had not enough");
  munmap(taken, left * POOL_2M);
  CHECK_EQ(mheap_free(heap, second), MHEAP_OK);
  CHECK_EQ(mheap_free(heap, first), MHEAP_OK);
  CHECK_EQ(mheap_collect(heap, true), MHEAP_OK);
  CHECK(pages_of(heap).bytes_2m <= 2 * POOL_2M);
  detach(heap);
  pool_give(p);
}

static void an_empty_pool_falls_back_and_says_so(void) {
  pool *p = pool_take(POOL_2M, 4);
  if (!pool_has(p, 4)) return;
  mheap *heap = attach(MHEAP_PAGES_2M, 0);
  char *block = block_of(heap, 30 * MIB, 'a');
  mheap_page_stats pages = pages_of(heap);
  CHECK_EQ(pages.bytes_2m, p->pages * POOL_2M); /* as far as they went */
  CHECK_CONTAINS(pages.fallback,
                 "2M pages: the kernel's pool had not enough (see /proc/sys/vm/nr_hugepages)");
  if (transparent_can_be_had()) CHECK(pages.bytes_transparent >= 16 * MIB);
  CHECK(holds(block, 30 * MIB, 'a'));
  CHECK_EQ(mheap_check(heap, NULL, NULL, NULL), MHEAP_OK);
  detach(heap);
  pool_give(p);
}

static void a_kind_of_page_that_nobody_has_falls_back(void) {
  mheap *heap = attach(MHEAP_PAGES_1G, (uint64_t)3 << 30);
  mheap_page_stats pages = pages_of(heap);
  CHECK(pages.bytes_1g == POOL_1G || strstr(pages.fallback, "1G pages: ") != NULL);
  char *block = block_of(heap, 30 * MIB, 'a');
  CHECK(holds(block, 30 * MIB, 'a'));
  CHECK_EQ((uint64_t)heap->region->segments % POOL_1G, 0);
  detach(heap);
}

static void a_page_of_1_gib_is_used_where_there_is_one(void) {
  pool *p = pool_take(POOL_1G, 1);
  mheap *heap = attach(MHEAP_PAGES_1G, (uint64_t)2 << 30);
  mheap_page_stats pages = pages_of(heap);
  CHECK_EQ(pages.bytes_1g, p->pages > 0 ? POOL_1G : 0); /* memory may be too scattered for one */
  CHECK_EQ(pages.fallback[0] == 0, p->pages > 0);
  CHECK_EQ(pages.page_size == POOL_1G, p->pages > 0);
  block_of(heap, 100 * MIB, 'a');
  detach(heap);
  CHECK_EQ(pool_free(POOL_1G), p->pages);
  pool_give(p);
}

/* ---- max_size, base ---- */

static void max_size_is_rounded_up_to_pages(void) {
  mheap *heap = attach(MHEAP_PAGES_2M, 5 * MIB);
  CHECK_EQ(heap->region->span, MH_SLICE + 6 * MIB);
  detach(heap);
}

static void a_base_must_suit_the_pages(void) {
  mheap_error error = {0};
  char *place = mheap_findbase(64 * MIB);
  mheap_options options = {.huge_pages = MHEAP_PAGES_2M, .max_size = 8 * MIB, .base = place};
  mheap *heap = mheap_attach(-1, &options, &error);
  REQUIRE(heap != NULL);
  CHECK(heap->region->base == place);
  detach(heap);
  options.base = place + MH_SLICE;
  CHECK(mheap_attach(-1, &options, &error) == NULL);
  CHECK_EQ(error.code, MHEAP_ERR_ARGUMENT);
  CHECK_CONTAINS(error.text, "ask for 0x");
}

static void options_out_of_range_are_refused(void) {
  mheap_error error = {0};
  mheap_options options = {.huge_pages = 4};
  CHECK(mheap_attach(-1, &options, &error) == NULL);
  CHECK_EQ(error.code, MHEAP_ERR_ARGUMENT);
  options = (mheap_options){.numa_node = MHEAP_NODE(900)};
  CHECK(mheap_attach(-1, &options, &error) == NULL);
  CHECK_EQ(error.code, MHEAP_ERR_ARGUMENT);
  CHECK_CONTAINS(error.text, "NUMA node 900");
  options = (mheap_options){.numa_node = MHEAP_NODE(-5)};
  CHECK(mheap_attach(-1, &options, &error) == NULL);
  CHECK_EQ(error.code, MHEAP_ERR_ARGUMENT);
}

static void memory_comes_from_the_node_asked_for(void) {
  mheap_options options = {.numa_node = MHEAP_NODE(0)};
  mheap *heap = mheap_attach(-1, &options, NULL);
  REQUIRE(heap != NULL);
  block_of(heap, 100, 'a');
  CHECK_EQ(pages_of(heap).numa_node, 0);
  CHECK_STR(pages_of(heap).fallback, "");
  detach(heap);
}

/* ---- transparent ones ---- */

static void transparent_pages_are_counted(void) {
  mheap *heap = attach(MHEAP_PAGES_TRANSPARENT, 0);
  block_of(heap, 30 * MIB, 'a');
  mheap_page_stats pages = pages_of(heap);
  if (transparent_can_be_had()) CHECK(pages.bytes_transparent >= 20 * MIB);
  else CHECK_CONTAINS(pages.fallback, "switched off");
  CHECK_EQ(pages.bytes_2m, 0);
  detach(heap);
}

static void without_being_asked_nothing_is_reported_missing(void) {
  mheap *heap = attach(MHEAP_PAGES_NEVER, 0);
  CHECK_STR(pages_of(heap).fallback, "");
  CHECK_EQ(pages_of(heap).page_size >= 4096, true);
  detach(heap);
}

static void what_is_there_can_be_collapsed(void) {
  mheap *heap = attach(MHEAP_PAGES_NEVER, 0);
  char *block = block_of(heap, 30 * MIB, 'a');
  mheap_err code = mheap_collapse(heap);
  if (code == MHEAP_OK) CHECK(pages_of(heap).bytes_transparent >= 20 * MIB);
  else CHECK_EQ(mheap_last_error(heap)->sys, ENOSYS);
  CHECK(holds(block, 30 * MIB, 'a'));
  detach(heap);
  heap = attach(MHEAP_PAGES_NEVER, 0); /* smaller than a huge page */
  CHECK_EQ(mheap_collapse(heap), MHEAP_OK);
  detach(heap);
}

/* ---- fork ---- */

typedef struct shared_block {
  mheap *heap;
  char *block;
  uint64_t size;
} shared_block;

static int change_in_child(void *arg) {
  shared_block *s = arg;
  if (!holds(s->block, s->size, 'p')) return 1;
  memset(s->block, 'c', s->size);
  char *more = mheap_malloc(s->heap, 3 * MIB);
  if (more == NULL || !holds(s->block, s->size, 'c')) return 2;
  memset(more, 'd', 3 * MIB);
  return mheap_check(s->heap, NULL, NULL, NULL) == MHEAP_OK ? 0 : 3;
}

/* The kernel has no page to copy to, in the child or here: small ones take their place. */
static void after_a_fork_both_go_on_with_an_empty_pool(void) {
  pool *p = pool_take(POOL_2M, 8);
  if (!pool_has(p, 8)) return;
  mheap *heap = attach(MHEAP_PAGES_2M, 0);
  shared_block s = {.heap = heap, .size = 10 * MIB};
  s.block = block_of(heap, s.size, 'p');
  uint64_t left = pool_free(POOL_2M);
  char *rest = left > 0 ? take_rest(POOL_2M, left) : NULL;
  CHECK_EQ(in_child_process(change_in_child, &s), 0);
  CHECK(holds(s.block, s.size, 'p'));
  int stay[2];
  char byte;
  REQUIRE(pipe(stay) == 0);
  pid_t child = fork();
  if (child == 0) { /* shares the pages while the parent writes */
    close(stay[1]);
    bool ended = read(stay[0], &byte, 1) == 0;
    _exit(ended && holds(s.block, s.size, 'p') ? 0 : 1);
  }
  memset(s.block, 'q', s.size);
  CHECK(holds(s.block, s.size, 'q'));
  close(stay[1]);
  int status;
  waitpid(child, &status, 0);
  CHECK_EQ(status, 0);
  CHECK_EQ(mheap_check(heap, NULL, NULL, NULL), MHEAP_OK);
  detach(heap);
  if (rest != NULL) munmap(rest, left * POOL_2M);
  pool_give(p);
}

/* ---- without privileges ---- */

static int as_nobody(void *arg) {
  (void)arg;
  if (setgid(65534) != 0 || setuid(65534) != 0) return 9;
  mheap *heap = attach(MHEAP_PAGES_2M, 0);
  if (heap == NULL) return 1;
  block_of(heap, 5 * MIB, 'a');
  mheap_page_stats pages = pages_of(heap);
  if (pages.bytes_2m < 5 * MIB || pages.fallback[0] != 0 || pages.numa_node != 0) return 2;
  return mheap_detach(heap, NULL) == MHEAP_OK ? 0 : 3;
}

static void the_pool_is_there_for_everybody(void) {
  pool *p = pool_take(POOL_2M, 8);
  if (!pool_has(p, 8)) return;
  CHECK_EQ(in_child_process(as_nobody, NULL), 0);
  pool_give(p);
}

/* ---- reserved ahead ---- */

static void fill_whole(mh_region *region, uint64_t bytes) {
  mheap *heap = mh_heap_attached(region, NULL);
  REQUIRE(heap != NULL);
  uint64_t blocks = bytes / (4 * MIB); /* whole segments: each page is used to the last byte */
  char *first = mheap_malloc(heap, (blocks - 1) * 4 * MIB);
  CHECK(first != NULL);
  if (first != NULL) memset(first, 'x', (blocks - 1) * 4 * MIB);
  CHECK_EQ(mheap_check(heap, NULL, NULL, NULL), MHEAP_OK);
  detach(heap);
}

static void pages_are_reserved_ahead(void) {
  pool *p = pool_take(POOL_2M, 16);
  if (!pool_has(p, 16)) return;
  mh_region *region;
  mheap_error error;
  uint64_t got;
  REQUIRE_EQ(mh_hugepages_reserve_of(POOL_2M, p->pages, 0, 0, &region, &got, &error), MHEAP_OK);
  CHECK_EQ(got, p->pages);
  CHECK_EQ(pool_free(POOL_2M), 0); /* they are really taken */
  CHECK_EQ(region->span, MH_SLICE + got * POOL_2M);
  CHECK_EQ((uint64_t)region->segments % POOL_2M, 0);
  mheap_page_stats pages;
  mh_pages_count(region, &pages);
  CHECK_EQ(pages.bytes_2m, got * POOL_2M);
  CHECK_EQ(pages.numa_node, 0);
  fill_whole(region, got * POOL_2M);
  CHECK_EQ(pool_free(POOL_2M), p->pages);
  pool_give(p);
}

static void reserved_pages_are_kept_until_the_end(void) {
  pool *p = pool_take(POOL_2M, 8);
  if (!pool_has(p, 8)) return;
  mh_region *region;
  uint64_t got;
  REQUIRE_EQ(mh_hugepages_reserve_of(POOL_2M, 8, -1, 0, &region, &got, NULL), MHEAP_OK);
  uint64_t left = pool_free(POOL_2M);
  mheap *heap = mh_heap_attached(region, NULL);
  REQUIRE(heap != NULL);
  mheap_free(heap, block_of(heap, 8 * MIB, 'a'));
  CHECK_EQ(mheap_collect(heap, true), MHEAP_OK);
  CHECK_EQ(pool_free(POOL_2M), left);
  detach(heap);
  CHECK_EQ(pool_free(POOL_2M), left + 8);
  pool_give(p);
}

static void fewer_pages_than_asked_for_become_a_region(void) {
  pool *p = pool_take(POOL_2M, 8);
  if (!pool_has(p, 8)) return;
  mh_region *region;
  mheap_error error;
  uint64_t got;
  CHECK_EQ(mh_hugepages_reserve_of(POOL_2M, p->pages + 5, -1, 0, &region, &got, &error), MHEAP_ERR_NO_MEMORY);
  CHECK_EQ(error.sys, ENOMEM);
  CHECK_CONTAINS(error.text, "the kernel's pool has no more");
  REQUIRE(region != NULL);
  CHECK_EQ(got, p->pages);
  CHECK_EQ(mh_hugepages_reserve_of(POOL_2M, 1, -1, 0, &(mh_region *){NULL}, &(uint64_t){0}, &error),
           MHEAP_ERR_NO_MEMORY);
  fill_whole(region, got * POOL_2M);
  pool_give(p);
}

static void no_pages_are_no_region(void) {
  mh_region *region;
  mheap_error error;
  uint64_t got;
  const uint64_t none = (uint64_t)1 << 40; /* a size of page that no kernel has */
  CHECK_EQ(mh_hugepages_reserve_of(none, 2, -1, 0, &region, &got, &error), MHEAP_ERR_NO_MEMORY);
  CHECK(region == NULL && got == 0 && error.sys == ENOMEM);
  CHECK_EQ(mh_hugepages_reserve(1, 900, 0, &region, &got, &error), MHEAP_ERR_NO_MEMORY);
  CHECK(region == NULL && error.sys == ENOMEM);
  CHECK_CONTAINS(error.text, "NUMA node 900");
  CHECK_EQ(mh_hugepages_reserve(0, -1, 0, &region, &got, &error), MHEAP_ERR_ARGUMENT);
  CHECK_EQ(mh_hugepages_reserve(UINT64_MAX, -1, 0, &region, &got, &error), MHEAP_ERR_ARGUMENT);
}

static void reserving_gives_up_in_time(void) {
  pool *p = pool_take(POOL_2M, 64);
  if (!pool_has(p, 64)) return;
  mh_region *region;
  mheap_error error;
  uint64_t got;
  CHECK_EQ(mh_hugepages_reserve_of(POOL_2M, 64, -1, 1, &region, &got, &error), MHEAP_ERR_SYSTEM);
  CHECK_EQ(error.sys, ETIMEDOUT);
  CHECK_CONTAINS(error.text, "of 64 pages");
  CHECK(got < 64 && (got > 0) == (region != NULL));
  if (region != NULL) mh_region_abandon(region);
  CHECK_EQ(mh_hugepages_reserve_of(POOL_2M, 64, -1, 60000, &region, &got, &error), MHEAP_OK);
  CHECK_EQ(got, 64);
  if (region != NULL) mh_region_abandon(region);
  CHECK_EQ(pool_free(POOL_2M), p->pages);
  pool_give(p);
}

typedef struct made {
  unsigned regions;
  uint64_t pages;
} made;

static void note_made(void *arg, mh_region *region, uint64_t got) {
  made *m = arg;
  m->regions++;
  m->pages += got;
  mheap_page_stats pages;
  mh_pages_count(region, &pages);
  CHECK_EQ(pages.bytes_1g, got * POOL_1G);
  mh_region_abandon(region);
}

/* Memory may be too scattered for a page of 1 GiB: then that is what is said. */
static void pages_of_1_gib_are_divided_over_nodes(void) {
  pool *p = pool_take(POOL_1G, 2);
  made m = {0};
  uint64_t got;
  mheap_error error = {0};
  mheap_err code = mh_hugepages_interleave(2, 0, 0, note_made, &m, &got, &error);
  CHECK_EQ(code, p->pages >= 2 ? MHEAP_OK : MHEAP_ERR_NO_MEMORY);
  CHECK_EQ(got, p->pages < 2 ? p->pages : 2);
  CHECK_EQ(m.pages, got);
  CHECK_EQ(m.regions > 0, got > 0);
  code = mh_hugepages_interleave(2, 0, 1, note_made, &m, &got, &error);
  if (p->pages >= 1) CHECK_EQ(error.sys, ETIMEDOUT); /* a page of that size takes longer */
  else CHECK_EQ(error.sys, ENOMEM);
  CHECK_EQ(mh_hugepages_interleave(0, 0, 0, note_made, &m, &got, &error), MHEAP_ERR_ARGUMENT);
  pool_give(p);
}

TEST_MAIN(TEST(a_heap_lies_on_pages_of_the_pool), TEST(small_blocks_grow_it_by_a_page),
          TEST(alignment_is_what_it_is_elsewhere), TEST(freed_pages_go_back_to_the_pool),
          TEST(an_empty_pool_falls_back_and_says_so), TEST(a_kind_of_page_that_nobody_has_falls_back),
          TEST(a_page_of_1_gib_is_used_where_there_is_one), TEST(max_size_is_rounded_up_to_pages),
          TEST(a_base_must_suit_the_pages), TEST(options_out_of_range_are_refused),
          TEST(memory_comes_from_the_node_asked_for), TEST(transparent_pages_are_counted),
          TEST(without_being_asked_nothing_is_reported_missing), TEST(what_is_there_can_be_collapsed),
          TEST(after_a_fork_both_go_on_with_an_empty_pool), TEST(the_pool_is_there_for_everybody),
          TEST(pages_are_reserved_ahead), TEST(reserved_pages_are_kept_until_the_end),
          TEST(fewer_pages_than_asked_for_become_a_region), TEST(no_pages_are_no_region),
          TEST(reserving_gives_up_in_time), TEST(pages_of_1_gib_are_divided_over_nodes))
