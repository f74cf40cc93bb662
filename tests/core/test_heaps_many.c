/* test_heaps_many.c: many heaps in memory: what they leave when they are deleted with blocks in them. */
#include <sys/mman.h>
#include <sys/prctl.h>

#include "heap.h"
#include "model.h"
#include "subproc.h"

#define MIB ((size_t)1 << 20)

static mheap_error error;
static mheap_subproc subproc;

/* Each test has a subprocess of its own. */
static bool begin(uint64_t span) {
  mh_subproc_span = span;
  subproc = mheap_subproc_new("many", NULL, &error);
  return CHECK(subproc != 0) && CHECK_EQ(mheap_subproc_add_current_thread(subproc, &error), MHEAP_OK);
}

static void end(void) {
  CHECK_EQ(mheap_check(NULL, NULL, NULL, NULL), MHEAP_OK);
  mheap_subproc_leave();
  if (!CHECK_EQ(mheap_subproc_destroy(subproc, &error), MHEAP_OK)) fprintf(stderr, "%s\n", error.text);
  mh_subproc_span = 0;
}

/* ---- what deleted heaps leave ---- */

enum { DELETED = 1000 };
static const size_t sizes[] = {16, 40, 100, 200, 360, 700, 1200, 2000, 3000, 4096};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

/* Huge pages that the system gives unasked would bring in more. */
static bool begin_on_small_pages(void) {
  return CHECK(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0) && begin(0);
}

/* Pages of the main heap's home that are in memory. */
static uint64_t resident_pages(void) {
  const mh_region *region = mheap_default()->region;
  uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), pages = mh_region_size(region) / page, resident = 0;
  unsigned char *each = malloc(pages);
  if (CHECK(each != NULL) && CHECK(mincore(region->base, pages * page, each) == 0))
    for (uint64_t i = 0; i < pages; i++) resident += each[i] & 1;
  free(each);
  return resident;
}

/* Each block lies in a slab of its own; the pages that were stored to. */
static uint64_t leave_blocks(void *blocks[SIZES]) {
  uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), touched = 0;
  mheap *heap = mheap_new(NULL, 0, true, 0);
  for (int i = 0; i < SIZES; i++) {
    char *block = mheap_malloc(heap, sizes[i]);
    if (!CHECK(block != NULL)) break;
    memset(block, i, sizes[i]);
    touched += ((uintptr_t)block + sizes[i] - 1) / page - (uintptr_t)block / page + 1;
    blocks[i] = block;
  }
  CHECK_EQ(mheap_delete(heap), MHEAP_OK);
  return touched;
}

/* As if its pages had been brought in with the slab. */
static void bring_in_slab(char *block) {
  char *start = (char *)((uintptr_t)block & ~(uintptr_t)(MH_SLICE - 1));
  CHECK(madvise(start, MH_SLICE, MADV_POPULATE_WRITE) == 0);
}

static void deleted_heaps_hold_the_pages_they_used(void) {
  static void *blocks[DELETED][SIZES];
  uint64_t touched = 0;
  REQUIRE(begin_on_small_pages());
  CHECK(mheap_malloc(NULL, 10) != NULL);
  for (int n = 0; n < DELETED; n++) touched += leave_blocks(blocks[n]);
  CHECK(resident_pages() >= touched);
  CHECK(resident_pages() <= 2 * touched); /* bookkeeping included */
  for (int n = 0; n < DELETED; n++)
    for (int i = 0; i < SIZES; i++) bring_in_slab(blocks[n][i]);
  CHECK(resident_pages() > 2 * touched); /* it would be seen */
  for (int n = 0; n < DELETED; n++)
    for (int i = 0; i < SIZES; i++) CHECK_EQ(mheap_free(NULL, blocks[n][i]), MHEAP_OK);
  end();
}

/* The main heap fills what they left before it takes more. */
static void what_deleted_heaps_left_is_filled(void) {
  static void *blocks[DELETED][SIZES];
  REQUIRE(begin(0));
  CHECK(mheap_malloc(NULL, 10) != NULL);
  for (int n = 0; n < DELETED; n++) leave_blocks(blocks[n]);
  uint64_t size = mh_region_size(mheap_default()->region);
  for (int n = 0; n < DELETED; n++)
    for (int i = 0; i < SIZES; i++) CHECK(mheap_malloc(NULL, sizes[i]) != NULL);
  CHECK_EQ(mh_region_size(mheap_default()->region), size);
  end();
}

/* ---- a heap that grows has its pages brought in ahead ---- */

static void a_heap_that_grows_gets_whole_slabs(void) {
  REQUIRE(begin_on_small_pages());
  void *far = mheap_malloc(NULL, 128 * MIB); /* in small regions pages come one by one */
  mheap *heap = mheap_new(NULL, 0, true, 0);
  REQUIRE(far != NULL && heap != NULL);
  uint64_t before = resident_pages(), page = (uint64_t)sysconf(_SC_PAGESIZE), bytes = 0;
  for (; bytes < 32 * MIB; bytes += 4096) CHECK(mheap_malloc(heap, 4096) != NULL); /* never stored to */
  uint64_t came = (resident_pages() - before) * page;
  CHECK(came > bytes / 2 && came < 2 * bytes);
  end();
}

TEST_MAIN(TEST(deleted_heaps_hold_the_pages_they_used),
          TEST(what_deleted_heaps_left_is_filled),
          TEST(a_heap_that_grows_gets_whole_slabs))
