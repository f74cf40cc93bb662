/* test_lent.c: regions in memory that a caller lends: where they lie, what is refused, what
   becomes of the memory. */
#include "heap.h"
#include "image.h"
#include "region_lent.h"

static const mh_lending plain = {.committed = true, .numa_node = -1};

static char *memory_of(uint64_t length, int prot) {
  char *at = mmap(NULL, length, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (!CHECK(at != MAP_FAILED)) exit(2);
  return at;
}

static char *slice_up(char *at) { return (char *)(((uint64_t)at + MH_SLICE - 1) & ~(MH_SLICE - 1)); }

static mheap *lend(void *start, uint64_t size, const mh_lending *how) {
  mheap_error error = {0};
  mheap *heap = mh_heap_attached(mh_region_lend(start, size, how, &error), &error);
  if (heap == NULL) fprintf(stderr, "%s\n", error.text);
  CHECK(heap != NULL);
  return heap;
}

static void refused(void *start, uint64_t size, const mh_lending *how, const char *why) {
  mheap_error error = {0};
  mh_region *region = mh_region_lend(start, size, how, &error);
  CHECK(region == NULL);
  CHECK_EQ(error.code, MHEAP_ERR_ARGUMENT);
  CHECK_EQ(error.sys, EINVAL);
  CHECK_CONTAINS(error.text, why);
}

static void detach(mheap *heap) { CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK); }

/* All protections of [at, at + length), as "rw" of the mappings in order. */
static void protections(const char *at, uint64_t length, char *text, size_t room) {
  char line[512];
  FILE *maps = fopen("/proc/self/maps", "r");
  text[0] = 0;
  while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
    unsigned long long from, to;
    char how[8];
    if (sscanf(line, "%llx-%llx %7s", &from, &to, how) != 3) continue;
    if (to <= (uint64_t)at || from >= (uint64_t)at + length) continue;
    snprintf(text + strlen(text), room - strlen(text), "%.2s ", how);
  }
  if (maps != NULL) fclose(maps);
}

/* Blocks of all kinds until it is full; returns how many, each filled. */
static unsigned fill(mheap *heap, uint64_t size, char **first) {
  unsigned count = 0;
  char *block;
  *first = NULL;
  while ((block = mheap_malloc(heap, size)) != NULL) {
    memset(block, 'f', size);
    if (count++ == 0) *first = block;
  }
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_FULL);
  return count;
}

/* ---- tests ---- */

static void a_heap_lies_in_what_was_lent(void) {
  uint64_t size = 16 << 20;
  char *memory = memory_of(size, PROT_READ | PROT_WRITE), *block;
  mheap *heap = lend(memory, size, &plain);
  if (heap == NULL) return;
  CHECK(heap->region->base == slice_up(memory));
  CHECK(fill(heap, 100000, &block) > 100);
  CHECK(block > memory && block < memory + size);
  CHECK(mheap_is_in_region(block));
  CHECK_EQ(mheap_check(heap, NULL, NULL, NULL), MHEAP_OK);
  CHECK(heap->region->base + mh_region_size(heap->region) <= memory + size);
  detach(heap);
  CHECK_EQ(block[99999], 'f'); /* still there, and readable */
  CHECK(!mheap_is_in_region(block));
  munmap(memory, size);
}

static void an_unaligned_start_moves_up(void) {
  uint64_t size = 4 << 20;
  char *memory = slice_up(memory_of(size, PROT_READ | PROT_WRITE)) + 4096 + 1;
  memory[-1] = 'x';
  mheap *heap = lend(memory, size - MH_SLICE - 4097, &plain);
  if (heap == NULL) return;
  CHECK(heap->region->base == slice_up(memory));
  CHECK_EQ(heap->region->span % MH_SLICE, 0);
  CHECK(heap->region->base + heap->region->span <= memory + size);
  CHECK(mheap_malloc(heap, 1000) != NULL);
  detach(heap);
  CHECK_EQ(memory[-1], 'x');
}

static void what_holds_no_heap_is_refused(void) {
  char *memory = slice_up(memory_of(8 * MH_SLICE, PROT_READ | PROT_WRITE)), *block;
  refused(memory, MH_LENT_MIN - 1, &plain, "too small");
  refused(memory + 1, MH_LENT_MIN, &plain, "too small");
  refused(memory, 0, &plain, "too small");
  refused(NULL, 1 << 20, &plain, "too small");
  refused((void *)-4096, 1 << 20, &plain, "too small");
  refused(memory, UINT64_MAX, &plain, "too small");
  mheap *heap = lend(memory, MH_LENT_MIN, &plain);
  if (heap == NULL) return;
  CHECK(fill(heap, 64, &block) >= 1000); /* the smallest has a slice to allocate in */
  refused(memory, MH_LENT_MIN, &plain, "in a region");
  refused(memory + MH_SLICE, MH_LENT_MIN, &plain, "in a region");
  detach(heap);
}

static void memory_that_is_not_there_is_refused(void) {
  uint64_t size = 1 << 20;
  char *memory = slice_up(memory_of(size, PROT_READ | PROT_WRITE));
  munmap(memory + size / 2, 4096);
  refused(memory, size - MH_SLICE, &plain, "not all of it is mapped");
  char *constant = memory_of(size, PROT_READ);
  refused(constant, size, &plain, "cannot be written");
}

static void old_contents_do_not_matter(void) {
  uint64_t size = 16 << 20;
  char *memory = memory_of(size, PROT_READ | PROT_WRITE), *block;
  memset(memory, 0xff, size);
  mheap *heap = lend(memory, size, &plain);
  if (heap == NULL) return;
  CHECK_EQ(mheap_check(heap, NULL, NULL, NULL), MHEAP_OK);
  CHECK(mheap_getkey(heap, 7) == NULL);
  char *zeroed = mheap_calloc(heap, 1, 5000000);
  REQUIRE(zeroed != NULL);
  CHECK(zeroed[0] == 0 && memcmp(zeroed, zeroed + 1, 4999999) == 0);
  mheap_free(heap, zeroed);
  CHECK(fill(heap, 3000, &block) > 1000);
  CHECK_EQ(mheap_check(heap, NULL, NULL, NULL), MHEAP_OK);
  detach(heap);
}

static void a_reservation_is_made_accessible_as_it_grows(void) {
  uint64_t size = 16 << 20;
  char *memory = memory_of(size, PROT_NONE), *block, now[256];
  mheap *heap = lend(memory, size, &(mh_lending){.zero = true, .numa_node = -1});
  if (heap == NULL) return;
  protections(memory, size, now, sizeof now);
  CHECK_CONTAINS(now, "rw --"); /* a part of it */
  CHECK(fill(heap, 1 << 20, &block) > 10);
  detach(heap);
  protections(memory, size, now, sizeof now);
  CHECK(strstr(now, "rw") == NULL); /* as it was lent */
  munmap(memory, size);
}

static uint64_t resident(char *at, uint64_t length) {
  static unsigned char there[8192];
  uint64_t count = 0;
  if (!CHECK(length / 4096 <= sizeof there && mincore(at, length, there) == 0)) return 0;
  for (uint64_t i = 0; i < length / 4096; i++) count += there[i] & 1;
  return count * 4096;
}

static void free_and_collect(const mh_lending *how, bool kept) {
  uint64_t size = 17 << 20;
  char *memory = memory_of(size, PROT_READ | PROT_WRITE);
  mheap *heap = lend(memory, size, how);
  if (heap == NULL) return;
  char *block = mheap_malloc(heap, 12 << 20);
  REQUIRE(block != NULL);
  memset(block, 1, 12 << 20);
  CHECK(resident(memory, size) >= 12 << 20);
  CHECK_EQ(mheap_free(heap, block), MHEAP_OK);
  CHECK_EQ(mheap_collect(heap, true), MHEAP_OK);
  CHECK_EQ(resident(memory, size) >= 12 << 20, kept);
  block = mheap_malloc(heap, 12 << 20); /* and can be had again */
  REQUIRE(block != NULL);
  memset(block, 2, 12 << 20);
  detach(heap);
  munmap(memory, size);
}

static void pages_are_given_back_unless_pinned(void) {
  free_and_collect(&plain, false);
  free_and_collect(&(mh_lending){.committed = true, .pinned = true, .numa_node = -1}, true);
}

static int use_in_child(void *arg) {
  mheap *heap = arg;
  char *block = mheap_malloc(heap, 100);
  return block != NULL && mheap_free(heap, block) == MHEAP_OK ? 0 : 1;
}

static void a_child_goes_on_with_its_copy(void) {
  char *memory = memory_of(4 << 20, PROT_READ | PROT_WRITE);
  mheap *heap = lend(memory, 4 << 20, &plain);
  if (heap == NULL) return;
  CHECK(mheap_malloc(heap, 100) != NULL);
  CHECK_EQ(in_child_process(use_in_child, heap), 0);
  CHECK_EQ(mheap_check(heap, NULL, NULL, NULL), MHEAP_OK);
  detach(heap);
  munmap(memory, 4 << 20);
}

static void memory_can_be_lent_again(void) {
  char *memory = memory_of(4 << 20, PROT_READ | PROT_WRITE), *block;
  for (int i = 0; i < 20; i++) {
    mheap *heap = lend(memory, 4 << 20, &plain);
    if (heap == NULL) return;
    CHECK(fill(heap, 40000, &block) > 80);
    detach(heap);
  }
  munmap(memory, 4 << 20);
}

static void statistics_know_the_node(void) {
  static mheap_stats stats;
  char *memory = memory_of(4 << 20, PROT_READ | PROT_WRITE);
  mheap *heap = lend(memory, 4 << 20, &(mh_lending){.committed = true, .numa_node = 3});
  if (heap == NULL) return;
  CHECK_EQ(mheap_get_stats(heap, &stats), MHEAP_OK);
  CHECK_EQ(stats.pages.numa_node, 3);
  CHECK_EQ(stats.pages.page_size, (uint64_t)sysconf(_SC_PAGESIZE));
  CHECK_STR(stats.pages.fallback, "");
  detach(heap);
  munmap(memory, 4 << 20);
}

TEST_MAIN(TEST(a_heap_lies_in_what_was_lent), TEST(an_unaligned_start_moves_up),
          TEST(what_holds_no_heap_is_refused), TEST(memory_that_is_not_there_is_refused),
          TEST(old_contents_do_not_matter), TEST(a_reservation_is_made_accessible_as_it_grows),
          TEST(pages_are_given_back_unless_pinned), TEST(a_child_goes_on_with_its_copy),
          TEST(memory_can_be_lent_again), TEST(statistics_know_the_node))
