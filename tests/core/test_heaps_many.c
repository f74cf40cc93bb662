/* test_heaps_many.c: more heaps at a time than one region's table has rows, in memory; what they cost, and
   what they leave when they are deleted with blocks in them. */
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "lane.h"
#include "mheap/extended.h"
#include "mheap/mimalloc.h"
#include "model.h"
#include "parts.h"
#include "subproc_kit.h"

#define MIB ((size_t)1 << 20)

enum { IN_TABLE = MH_HEAPS - 2, MANY = 16 * IN_TABLE, BLOCKS = 6 };

static uint64_t used_blocks(void) {
  mheap_stats stats;
  return mheap_get_stats(NULL, &stats) == MHEAP_OK ? stats.chunks_used : UINT64_MAX;
}

typedef struct counted {
  unsigned regions;
  uint64_t span;
} counted;

static counted count_regions(void) {
  counted c = {0, 0};
  for (mheap *part = mh_part_first(mheap_default()); part != NULL; part = mh_part_next(part)) {
    c.regions++;
    c.span += part->region->span;
  }
  return c;
}

static bool count_heap(void *arg, mheap *heap) {
  CHECK(heap->whole == heap && mheap_main(heap) == mheap_default());
  ++*(unsigned *)arg;
  return true;
}

static unsigned visited(void) {
  unsigned count = 0, again = 0;
  CHECK_EQ(mheap_visit_heaps(NULL, count_heap, &count), MHEAP_OK);
  CHECK(mheap_subproc_visit_heaps(subproc, count_heap, &again));
  CHECK_EQ(again, count);
  return count;
}

/* ---- made, used, and gone in any order ---- */

typedef struct owner {
  mheap *heap;
  char *blocks[BLOCKS];
  uint64_t seed;
} owner;

static owner owners[MANY];

static size_t size_of(const owner *o, unsigned i) {
  return (o->seed >> 8 * i & 255) * (i == 0 ? 300 : 16) + 1;
}

static bool use_one(owner *o, unsigned i) {
  o->blocks[i] = mheap_malloc(o->heap, size_of(o, i));
  if (!CHECK(o->blocks[i] != NULL)) return false;
  memset(o->blocks[i], (int)(o->seed + i), size_of(o, i));
  return true;
}

static bool make_all(uint64_t *random) {
  for (unsigned n = 0; n < MANY; n++) {
    owners[n] = (owner){.heap = mheap_new(NULL, 0, true, 0), .seed = random_next(random)};
    if (!CHECK(owners[n].heap != NULL)) return false;
  }
  for (unsigned i = 0; i < BLOCKS; i++) /* one heap after the other, each time around */
    for (unsigned n = 0; n < MANY; n++)
      if (!use_one(&owners[n], i)) return false;
  return true;
}

static void check_block(const owner *o, unsigned i, mheap *heap) {
  const char *block = o->blocks[i];
  CHECK(mheap_heap_of(block) == heap);
  CHECK(mheap_usable_size(heap, block) >= size_of(o, i));
  CHECK(block[0] == (char)(o->seed + i) && block[size_of(o, i) - 1] == (char)(o->seed + i));
}

/* Every other one is deleted; its blocks are the main heap's then. */
static void end_one(owner *o, bool delete) {
  for (unsigned i = 0; i < BLOCKS; i++) check_block(o, i, o->heap);
  CHECK_EQ(mheap_free(o->heap, o->blocks[1]), MHEAP_OK);
  CHECK_EQ(delete ? mheap_delete(o->heap) : mheap_destroy(o->heap), MHEAP_OK);
  for (unsigned i = 2; i < BLOCKS && delete; i++) check_block(o, i, mheap_default());
  if (delete) CHECK_EQ(mheap_free_any(o->blocks[0]), MHEAP_OK);
}

static void end_all(uint64_t *random) {
  for (unsigned left = MANY; left > 0; left--) {
    unsigned n = (unsigned)random_below(random, left);
    owner gone = owners[n];
    owners[n] = owners[left - 1];
    owners[left - 1] = gone;
    end_one(&owners[left - 1], left % 2 == 0);
  }
}

static void thousands_are_there_at_once(void) {
  uint64_t random = 1;
  counted first = {0, 0};
  REQUIRE(begin(0));
  for (int round = 0; round < 3; round++) {
    REQUIRE(make_all(&random));
    CHECK_EQ(visited(), 1 + MANY);
    CHECK_EQ(used_blocks(), MANY * BLOCKS);
    counted now = count_regions();
    if (round == 0) first = now;
    CHECK_EQ(now.regions, MANY / IN_TABLE); /* the tables of the first round are used again */
    CHECK_EQ(now.span, first.span);
    end_all(&random);
    CHECK_EQ(visited(), 1);
    CHECK_EQ(used_blocks(), MANY / 2 * (BLOCKS - 2));
    for (unsigned n = 1; n < MANY; n += 2) /* those that were deleted */
      for (unsigned i = 2; i < BLOCKS; i++) CHECK_EQ(mheap_free(NULL, owners[n].blocks[i]), MHEAP_OK);
    CHECK_EQ(used_blocks(), 0);
  }
  end();
}

/* All regions but home's together are less than home. */
static void regions_for_more_heaps_are_small(void) {
  uint64_t random = 2;
  REQUIRE(begin(0));
  uint64_t home = mheap_default()->region->span;
  REQUIRE(make_all(&random));
  CHECK(count_regions().span - home < home);
  CHECK(count_regions().span > home); /* they are counted */
  end_all(&random);
  end();
}

/* ---- by several threads ---- */

enum { THREADS = 4, EACH = MANY / THREADS };
static pthread_barrier_t barrier;

static void *work(void *arg) {
  unsigned number = (unsigned)(uintptr_t)arg;
  mheap_error why;
  if (!CHECK_EQ(mheap_subproc_add_current_thread(subproc, &why), MHEAP_OK)) return NULL;
  for (unsigned n = number; n < MANY; n += THREADS) {
    owners[n] = (owner){.heap = mheap_new(NULL, 0, true, 0), .seed = n * 0x0123456789abcdefu};
    CHECK(owners[n].heap != NULL && use_one(&owners[n], 0) && use_one(&owners[n], 1));
  }
  for (unsigned turn = 1; turn <= 2; turn++) { /* in the heaps of others */
    pthread_barrier_wait(&barrier);
    for (unsigned n = (number + turn) % THREADS; n < MANY; n += THREADS) {
      CHECK(use_one(&owners[n], 2 * turn) && use_one(&owners[n], 2 * turn + 1));
      CHECK_EQ(mheap_free(owners[n].heap, mheap_malloc(owners[n].heap, 100)), MHEAP_OK);
    }
  }
  pthread_barrier_wait(&barrier);
  for (unsigned n = (number + 3) % THREADS; n < MANY; n += THREADS) end_one(&owners[n], n / THREADS % 2);
  pthread_barrier_wait(&barrier);
  for (unsigned n = number; n < MANY; n += THREADS)
    for (unsigned i = 2; i < BLOCKS && n / THREADS % 2; i++)
      CHECK_EQ(i % 2 ? mheap_free(NULL, owners[n].blocks[i]) : mheap_free_any(owners[n].blocks[i]), MHEAP_OK);
  pthread_barrier_wait(&barrier);
  mheap_free(NULL, mheap_malloc(NULL, 100)); /* so it comes by, after all of its lanes went to other heaps */
  return NULL;
}

static void threads_make_use_and_end_them(void) {
  pthread_t threads[THREADS];
  REQUIRE(begin(0));
  pthread_barrier_init(&barrier, NULL, THREADS);
  for (unsigned i = 0; i < THREADS; i++)
    REQUIRE(pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)i) == 0);
  for (unsigned i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  pthread_barrier_destroy(&barrier);
  CHECK_EQ(mheap_collect(NULL, true), MHEAP_OK);
  CHECK_EQ(used_blocks(), 0);
  CHECK_EQ(visited(), 1);
  end();
}

/* ---- a heap whose home is not the main heap's ---- */

/* The first that is not at home. */
static mheap *make_one_elsewhere(void) {
  mheap *heap = NULL;
  do heap = mheap_new(NULL, 0, true, 0);
  while (heap != NULL && heap->region == mheap_default()->region);
  CHECK(heap != NULL);
  return heap;
}

static bool count_block(void *arg, void *block, size_t usable) {
  ++*(unsigned *)arg;
  return block != NULL && usable > 0;
}

static void it_spreads_as_others_do(void) {
  enum { LARGE = 100 };
  char *blocks[LARGE];
  REQUIRE(begin(16 * MIB)); /* so that every region is soon full */
  mheap *heap = make_one_elsewhere(), *other = mheap_new(heap, 9, false, 0);
  REQUIRE(heap != NULL && other != NULL && other->region != mheap_default()->region);
  for (int i = 0; i < LARGE; i++) {
    REQUIRE((blocks[i] = mheap_malloc(i % 3 ? heap : other, MIB)) != NULL);
    memset(blocks[i], i, MIB);
  }
  CHECK(mh_parts_are_many(heap) && mh_parts_are_many(other));
  unsigned seen = 0;
  CHECK_EQ(mheap_visit_blocks(heap, count_block, &seen), MHEAP_OK);
  CHECK_EQ(mheap_visit_blocks(other, count_block, &seen), MHEAP_OK);
  CHECK_EQ(seen, LARGE);
  for (int i = 0; i < LARGE; i++) {
    CHECK(blocks[i][MIB - 1] == (char)i && mheap_heap_of(blocks[i]) == (i % 3 ? heap : other));
    CHECK_EQ(mheap_free(i % 3 ? other : heap, blocks[i]), MHEAP_ERR_POINTER);
  }
  CHECK_EQ(mheap_destroy(heap), MHEAP_OK);
  CHECK_EQ(mheap_delete(other), MHEAP_OK);
  for (int i = 0; i < LARGE; i += 3) CHECK_EQ(mheap_free(NULL, blocks[i]), MHEAP_OK);
  CHECK_EQ(used_blocks(), 0);
  end();
}

static bool is_in(mheap_arena arena, const void *block) {
  size_t size;
  const char *start = mheap_arena_area(arena, &size);
  return (const char *)block >= start && (const char *)block < start + size;
}

/* As long as the arena's table has rows for their parts. */
static void it_uses_shared_arenas_first(void) {
  mheap *heaps[IN_TABLE];
  mheap_arena arena;
  REQUIRE(begin(0));
  for (int i = 0; i < IN_TABLE; i++) REQUIRE((heaps[i] = mheap_new(NULL, 0, true, 0)) != NULL);
  mheap *early = make_one_elsewhere();
  for (int i = 0; i < 2; i++) CHECK_EQ(mheap_destroy(heaps[i]), MHEAP_OK);
  REQUIRE_EQ(mheap_arena_reserve(NULL, 64 * MIB, NULL, &arena), MHEAP_OK);
  CHECK(is_in(arena, mheap_malloc(early, 100)));
  CHECK(is_in(arena, mheap_malloc(mheap_new(NULL, 0, true, 0), 100)));
  CHECK(mheap_new(NULL, 0, true, 0) != NULL);
  void *block = mheap_malloc(make_one_elsewhere(), 100);
  CHECK(block != NULL && !is_in(arena, block));
  CHECK_EQ(visited(), 1 + IN_TABLE + 2);
  end();
}

/* Its parts lie in regions that go before its own. */
static void its_guards_end_with_the_subprocess(void) {
  REQUIRE(begin(16 * MIB));
  mheap *heap = make_one_elsewhere();
  REQUIRE(heap != NULL);
  CHECK_EQ(mheap_mcheck(heap, NULL, false), MHEAP_OK);
  for (int i = 0; i < 60; i++) CHECK_EQ(mheap_mprobe(heap, mheap_malloc(heap, MIB)), MHEAP_PROBE_OK);
  CHECK(mh_parts_are_many(heap));
  end();
}

static void its_keys_are_those_of_all(void) {
  REQUIRE(begin(0));
  mheap *heap = make_one_elsewhere();
  REQUIRE(heap != NULL);
  void *here = mheap_malloc(heap, 100), *home = mheap_malloc(NULL, 100);
  CHECK_EQ(mheap_setkey(NULL, 7, here), MHEAP_OK);
  CHECK(mheap_getkey(NULL, 7) == here && mheap_getkey(heap, 7) == here);
  CHECK_EQ(mheap_setkey(heap, 7, home), MHEAP_OK);
  CHECK(mheap_getkey(NULL, 7) == home && mheap_getkey(heap, 7) == home);
  CHECK_EQ(mheap_setkey(heap, 7, NULL), MHEAP_OK);
  CHECK(mheap_getkey(NULL, 7) == NULL && mheap_getkey(heap, 7) == NULL);
  end();
}

/* ---- refusals ---- */

typedef struct heard {
  unsigned calls;
  int number;
  char text[1024];
} heard;

static void hear(const char *text, void *arg) { snprintf(((heard *)arg)->text, 1024, "%s", text); }

static void hear_error(int number, void *arg) {
  ((heard *)arg)->calls++;
  ((heard *)arg)->number = number;
}

static void listen(heard *h) {
  *h = (heard){0};
  mi_register_output(hear, h);
  mi_register_error(hear_error, h);
}

static void was_refused(heard *h) {
  mi_register_output(NULL, NULL);
  mi_register_error(NULL, NULL);
  CHECK_EQ(h->calls, 1);
  CHECK_EQ(h->number, ENOMEM);
  CHECK_CONTAINS(h->text, "destroy or delete a heap");
}

static void a_full_table_of_a_file_is_reported(void) {
  heard h;
  mheap *heap = mheap_open(test_path("full.heap"), NULL, NULL);
  REQUIRE(heap != NULL);
  listen(&h);
  for (unsigned i = 0; i < IN_TABLE; i++) CHECK(mheap_new(heap, 0, true, 0) != NULL);
  CHECK_EQ(h.calls, 0);
  CHECK(mheap_new(heap, 0, true, 0) == NULL);
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_FULL);
  was_refused(&h);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static void so_is_that_of_an_arena(void) {
  heard h;
  mi_arena_id_t arena;
  REQUIRE(begin(0));
  REQUIRE(mi_reserve_os_memory_ex(64 * MIB, false, false, true, &arena) == 0);
  listen(&h);
  for (unsigned i = 0; i < IN_TABLE; i++) CHECK(mi_heap_new_in_arena(arena) != NULL);
  CHECK_EQ(h.calls, 0);
  CHECK(mi_heap_new_in_arena(arena) == NULL);
  was_refused(&h);
  CHECK(mi_heap_new() != NULL);
  end();
}

static uint64_t address_space_used(void) {
  unsigned long long pages = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (file == NULL || fscanf(file, "%llu", &pages) != 1) pages = 0;
  if (file != NULL) fclose(file);
  return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void so_is_memory_that_cannot_be_had(void) {
  heard h;
  struct rlimit before, now;
  REQUIRE(begin(0));
  for (unsigned i = 0; i < IN_TABLE; i++) CHECK(mi_heap_new() != NULL);
  REQUIRE(getrlimit(RLIMIT_AS, &before) == 0);
  now = before;
  now.rlim_cur = address_space_used() + MIB;
  listen(&h);
  REQUIRE(setrlimit(RLIMIT_AS, &now) == 0);
  mi_heap_t *none = mi_heap_new();
  CHECK(setrlimit(RLIMIT_AS, &before) == 0);
  CHECK(none == NULL);
  CHECK_EQ(mheap_last_error(NULL)->code, MHEAP_ERR_NO_MEMORY);
  was_refused(&h);
  CHECK(mi_heap_new() != NULL);
  end();
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

/* ---- a thread's lanes ---- */

/* Heaps that another thread used, and that are deleted or destroyed, are found gone; a new one may be
   where one was. */
static pthread_barrier_t turn;
enum { USED = 4 * IN_TABLE };
static mheap *used[USED];
static void *kept[USED];

static void *use_in_turn(void *arg) {
  mheap_error why;
  CHECK_EQ(mheap_subproc_add_current_thread(subproc, &why), MHEAP_OK);
  for (int round = 0; round < 3; round++) {
    pthread_barrier_wait(&turn);
    for (int i = 0; i < USED; i++) CHECK((kept[i] = mheap_malloc(used[i], 64)) != NULL);
    pthread_barrier_wait(&turn); /* they go */
    pthread_barrier_wait(&turn);
    for (int i = 0; i < USED; i += 2) CHECK_EQ(mheap_free(NULL, kept[i]), MHEAP_OK);
    unsigned lanes = 0;
    for (mh_lane *lane = mh_this_thread.lanes; lane != NULL; lane = lane->thread_next) lanes++;
    CHECK_EQ(lanes, mh_this_thread.lane_count);
    CHECK(lanes <= count_regions().regions); /* one in each, at most: all of the main heap's parts */
  }
  return arg;
}

static void lanes_of_heaps_that_went_are_given_up(void) {
  pthread_t thread;
  REQUIRE(begin(0));
  pthread_barrier_init(&turn, NULL, 2);
  REQUIRE(pthread_create(&thread, NULL, use_in_turn, NULL) == 0);
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < USED; i++) CHECK((used[i] = mheap_new(NULL, 0, true, 0)) != NULL);
    pthread_barrier_wait(&turn);
    pthread_barrier_wait(&turn);
    for (int i = 0; i < USED; i++)
      CHECK_EQ(i % 2 ? mheap_destroy(used[i]) : mheap_delete(used[i]), MHEAP_OK);
    pthread_barrier_wait(&turn);
  }
  pthread_join(thread, NULL);
  pthread_barrier_destroy(&turn);
  CHECK_EQ(used_blocks(), 0);
  end();
}

TEST_MAIN(TEST(thousands_are_there_at_once), TEST(regions_for_more_heaps_are_small),
          TEST(threads_make_use_and_end_them), TEST(it_spreads_as_others_do),
          TEST(it_uses_shared_arenas_first), TEST(its_guards_end_with_the_subprocess),
          TEST(its_keys_are_those_of_all), TEST(a_full_table_of_a_file_is_reported),
          TEST(so_is_that_of_an_arena), TEST(so_is_memory_that_cannot_be_had),
          TEST(deleted_heaps_hold_the_pages_they_used), TEST(what_deleted_heaps_left_is_filled),
          TEST(a_heap_that_grows_gets_whole_slabs), TEST(lanes_of_heaps_that_went_are_given_up))
