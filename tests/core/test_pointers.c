/* test_pointers.c: units of the map from addresses to regions and of the functions that are given
   a block and no heap: whose block it is, freeing, resizing; what they refuse; both ends of a
   region; regions that come and go, under threads and over a fork. */
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "heap.h"
#include "layout.h"
#include "model.h"
#include "radix.h"

#define GIB ((uint64_t)1 << 30)

static mheap *anonymous(void) {
  mheap_error error = {0};
  mheap *heap = mheap_attach(-1, NULL, &error);
  if (heap == NULL) fprintf(stderr, "%s\n", error.text);
  return heap;
}

static mheap *anonymous_at(void *base, uint64_t size) {
  mheap_options options = {.base = base, .max_size = size};
  return mheap_attach(-1, &options, NULL);
}

static mheap_err last(void) { return mheap_last_error(NULL)->code; }

/* ---- the map alone ---- */

static mh_region *region_named(uintptr_t name) { return (mh_region *)(name * 64); }
static mh_region *found(uint64_t address) { return mh_radix_find((void *)address); }

static void covers(uint64_t start, uint64_t length, mh_region *region) {
  CHECK(found(start) == region);
  CHECK(found(start + length - 1) == region);
  CHECK(found(start + length / 2) == region);
  CHECK(found(start - 1) != region);
  CHECK(found(start + length) != region);
}

static void a_range_of_any_length_is_found(void) {
  const uint64_t base = (uint64_t)0x123 << 32, slice = MH_SLICE;
  const uint64_t starts[] = {
      0, slice, MH_SEGMENT - slice, 5 * MH_SEGMENT, 3 * MH_SEGMENT + 7 * slice, 4 * GIB - slice};
  const uint64_t lengths[] = {
      slice, 2 * slice, MH_SEGMENT, MH_SEGMENT + slice, 64 * GIB, 100 * GIB + 3 * slice};
  for (unsigned i = 0; i < 6; i++)
    for (unsigned j = 0; j < 6; j++) {
      REQUIRE(mh_radix_add(region_named(1), base + starts[i], lengths[j]));
      covers(base + starts[i], lengths[j], region_named(1));
      mh_radix_remove(base + starts[i], lengths[j]);
      CHECK(found(base + starts[i]) == NULL && found(base + starts[i] + lengths[j] - 1) == NULL);
    }
}

static void neighbours_in_one_table_keep_apart(void) {
  const uint64_t base = ((uint64_t)0x77 << 32) + 9 * MH_SEGMENT;
  for (uintptr_t i = 0; i < 100; i++)
    REQUIRE(mh_radix_add(region_named(i + 1), base + i * 3 * MH_SLICE, 3 * MH_SLICE));
  for (uintptr_t i = 0; i < 100; i += 2) mh_radix_remove(base + i * 3 * MH_SLICE, 3 * MH_SLICE);
  for (uintptr_t i = 0; i < 100; i++) {
    mh_region *expected = i % 2 == 0 ? NULL : region_named(i + 1);
    for (uint64_t slice = 0; slice < 3; slice++)
      CHECK(found(base + (i * 3 + slice) * MH_SLICE + 12345) == expected);
  }
  for (uintptr_t i = 1; i < 100; i += 2) mh_radix_remove(base + i * 3 * MH_SLICE, 3 * MH_SLICE);
  for (uintptr_t i = 0; i < 300; i++) CHECK(found(base + i * MH_SLICE) == NULL);
}

static void addresses_beyond_the_map_are_nowhere(void) {
  CHECK(found(UINT64_MAX) == NULL);
  CHECK(found((uint64_t)1 << 48) == NULL);
  CHECK(!mh_radix_add(region_named(1), ((uint64_t)1 << 48) - MH_SLICE, MH_SLICE));
  CHECK(!mh_radix_add(region_named(1), ((uint64_t)1 << 48) - MH_SLICE, 2 * MH_SLICE));
  CHECK(found(((uint64_t)1 << 48) - MH_SLICE) == NULL);
}

/* Each heap lies somewhere else; tables that became empty serve the next. */
static void a_thousand_places_use_few_tables(void) {
  uint64_t before = atomic_load(&mh_radix_moves);
  for (uint64_t i = 0; i < 1000; i++) {
    uint64_t start = (i << 32) + MH_SEGMENT - MH_SLICE;
    REQUIRE(mh_radix_add(region_named(7), start, GIB));
    mh_radix_remove(start, GIB);
  }
  CHECK(atomic_load(&mh_radix_moves) - before > 2000);
}

/* One region stays; the tables next to it, and its own, change all the time. */
static _Atomic bool stop_finding;
static void *find_on(void *arg) {
  uint64_t start = *(uint64_t *)arg;
  while (!stop_finding) {
    CHECK(found(start) == region_named(9));
    CHECK(found(start + 5 * MH_SLICE - 1) == region_named(9));
    CHECK(found(start - MH_SEGMENT) == NULL); /* nothing ever lies there */
  }
  return NULL;
}

static void readers_find_what_stays_while_others_change(void) {
  uint64_t start = ((uint64_t)0x1000 << 32) + 77 * MH_SEGMENT;
  pthread_t readers[2];
  stop_finding = false;
  REQUIRE(mh_radix_add(region_named(9), start, 5 * MH_SLICE));
  for (int i = 0; i < 2; i++) pthread_create(&readers[i], NULL, find_on, &start);
  for (uint64_t i = 0; i < 5000 * test_scale(); i++) {
    uint64_t other = (i % 7 << 32) + (i % 3 ? start + 5 * MH_SLICE : 2 * MH_SLICE),
             length = (1 + i % 200) * MH_SLICE;
    if (CHECK(mh_radix_add(region_named(8), other, length))) mh_radix_remove(other, length);
  }
  stop_finding = true;
  for (int i = 0; i < 2; i++) pthread_join(readers[i], NULL);
  mh_radix_remove(start, 5 * MH_SLICE);
}

/* ---- regions ---- */

static void both_ends_of_a_region_are_in_it(void) {
  mheap *heap = anonymous();
  REQUIRE(heap != NULL);
  char *base = heap->region->base, *end = base + heap->region->span;
  CHECK(mheap_is_in_region(base) && mheap_is_in_region(end - 1));
  CHECK(!mheap_is_in_region(base - 1) && !mheap_is_in_region(end));
  CHECK(!mheap_is_in_region(&heap) && !mheap_is_in_region(NULL) && !mheap_is_in_region((void *)-1));
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  CHECK(!mheap_is_in_region(base) && !mheap_is_in_region(end - 1));
}

/* A base that is only 64 KiB aligned, and a span that is no multiple of a segment. */
static void a_region_may_lie_at_any_slice(void) {
  char *free_range = mheap_findbase(64 * MH_SEGMENT);
  REQUIRE(free_range != NULL);
  mheap *low = anonymous_at(free_range + 3 * MH_SLICE, 2 * MH_SEGMENT + 5 * MH_SLICE);
  mheap *high = anonymous_at(free_range + 8 * MH_SLICE + 2 * MH_SEGMENT, MH_SEGMENT + MH_SLICE);
  REQUIRE(low != NULL && high != NULL);
  CHECK(mheap_is_in_region(free_range + 3 * MH_SLICE) && !mheap_is_in_region(free_range + 3 * MH_SLICE - 1));
  void *a = mheap_malloc(low, 100), *b = mheap_malloc(high, 100);
  CHECK(mheap_heap_of(a) == low && mheap_heap_of(b) == high);
  CHECK_EQ(mheap_free_any(a), MHEAP_OK);
  mheap_abandon(low);
  CHECK(!mheap_is_in_region(a) && mheap_is_in_region(b));
  CHECK_EQ(mheap_free_any(b), MHEAP_OK);
  mheap_abandon(high);
}

static void another_region_may_come_to_lie_there(void) {
  unsigned reused = 0;
  for (int i = 0; i < 20; i++) {
    mheap *first = anonymous();
    REQUIRE(first != NULL);
    char *base = first->region->base, *block = mheap_malloc(first, 64);
    CHECK(mheap_heap_of(block) == first);
    mheap_abandon(first);
    CHECK(mheap_heap_of(block) == NULL);
    mheap *second = anonymous_at(base, (i + 1) * MH_SEGMENT);
    if (second == NULL) continue; /* a sanitizer may have taken the place */
    reused++;
    CHECK(mheap_heap_of(block) == NULL);
    block = mheap_malloc(second, 64);
    CHECK(mheap_heap_of(block) == second);
    CHECK(mheap_is_in_region(base + (i + 1) * MH_SEGMENT - 1) &&
          !mheap_is_in_region(base + (i + 1) * MH_SEGMENT));
    CHECK_EQ(mheap_free_any(block), MHEAP_OK);
    mheap_abandon(second);
  }
  CHECK(reused > 0);
}

/* ---- blocks ---- */

static void each_kind_of_block_knows_its_heap(void) {
  const size_t sizes[] = {1, 100, 1024, 5000, 70000, 300000, 5 << 20, 40 << 20};
  mheap *heap = anonymous(), *other = anonymous();
  REQUIRE(heap != NULL && other != NULL);
  for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    mheap_malloc(other, 64); /* the heap used last is another one */
    char *block = mheap_malloc(heap, sizes[i]), *in_default = mheap_malloc(NULL, sizes[i]);
    mheap_malloc(i % 2 ? other : NULL, 64);
    CHECK(mheap_heap_of(block) == heap && mheap_heap_of(in_default) == mheap_default());
    CHECK_EQ(mheap_usable_size_any(block), mheap_good_size(sizes[i]));
    memset(block, 'x', sizes[i]);
    block = mheap_realloc_any(block, 3 * sizes[i]);
    CHECK(block != NULL && block[sizes[i] - 1] == 'x' && mheap_heap_of(block) == heap);
    CHECK_EQ(mheap_free_any(block), MHEAP_OK);
    CHECK_EQ(mheap_free_any(block), MHEAP_ERR_DOUBLE_FREE);
    CHECK_EQ(mheap_free_any(in_default), MHEAP_OK);
  }
  CHECK_EQ(heap_blocks(heap), 0);
  mheap_abandon(heap);
  mheap_abandon(other);
}

static void null_is_of_the_default_heap(void) {
  CHECK_EQ(mheap_free_any(NULL), MHEAP_OK);
  CHECK_EQ(mheap_usable_size_any(NULL), 0);
  CHECK(mheap_heap_of(NULL) == NULL);
  CHECK_EQ(last(), MHEAP_ERR_POINTER);
  void *block = mheap_realloc_any(NULL, 10);
  CHECK(mheap_heap_of(block) == mheap_default());
  CHECK_EQ(mheap_free_any(block), MHEAP_OK);
}

static void refused(void *pointer, mheap_err code, const char *text) {
  CHECK_EQ(mheap_free_any(pointer), code);
  CHECK_EQ(last(), code);
  CHECK_CONTAINS(mheap_last_error(NULL)->text, text);
  CHECK(mheap_realloc_any(pointer, 10) == NULL);
  CHECK_EQ(last(), code);
  CHECK_EQ(mheap_usable_size_any(pointer), 0);
  CHECK_EQ(last(), code);
  CHECK(mheap_heap_of(pointer) == NULL);
  CHECK_EQ(last(), code);
}

static void what_is_no_block_is_refused_by_name(void) {
  mheap *heap = anonymous();
  REQUIRE(heap != NULL);
  char *block = mheap_malloc(heap, 100), *span = mheap_malloc(heap, 100000), on_stack[16];
  refused(on_stack, MHEAP_ERR_POINTER, "outside every heap");
  refused((void *)16, MHEAP_ERR_POINTER, "outside every heap");
  refused((void *)-16, MHEAP_ERR_POINTER, "outside every heap");
  for (int used_last = 0; used_last < 2; used_last++) {
    mheap_malloc(used_last ? heap : NULL, 64);
    refused(heap->region->base, MHEAP_ERR_POINTER, "is not a block");
    refused(heap->region->base + heap->region->span - 16, MHEAP_ERR_POINTER, "is not a block");
    refused(heap->region->segments, MHEAP_ERR_POINTER, "is not a block");
    refused(block + 16, MHEAP_ERR_POINTER, "points into a block");
    refused(block + 1, MHEAP_ERR_POINTER, "points into a block");
    refused(span + 65536, MHEAP_ERR_POINTER, "points into a block");
  }
  mheap_free(heap, block);
  mheap_free(heap, span);
  for (int used_last = 0; used_last < 2; used_last++) {
    mheap_malloc(used_last ? heap : NULL, 64);
    refused(block, MHEAP_ERR_DOUBLE_FREE, "free already");
    refused(span, MHEAP_ERR_DOUBLE_FREE, "free");
  }
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_DOUBLE_FREE);
  mheap_abandon(heap);
}

static void blocks_of_objects_are_refused(void) {
  mheap *heap = anonymous();
  REQUIRE(heap != NULL);
  char *object = mh_own_malloc(heap, 64), *large = mh_own_malloc(heap, 100000);
  refused(object, MHEAP_ERR_POINTER, "heap's objects");
  refused(large, MHEAP_ERR_POINTER, "heap's objects");
  CHECK_EQ(mh_own_free(heap, large), MHEAP_OK); /* the slow way, after which it is still not a raw block */
  CHECK_EQ(mheap_free_any(object), MHEAP_ERR_POINTER);
  CHECK_EQ(mh_own_free(heap, object), MHEAP_OK);
  mheap_abandon(heap);
}

static void guarded_and_found_blocks_are_freed(void) {
  const char *path = test_path("found.heap");
  mheap_options live = {.mode = MHEAP_MODE_LIVE};
  mheap *heap = mheap_open(path, &live, NULL);
  REQUIRE(heap != NULL);
  CHECK_EQ(mheap_mcheck(heap, NULL, false), MHEAP_OK);
  void *guarded = mheap_malloc(heap, 100), *large = mheap_malloc(heap, 100000),
       *third = mheap_malloc(heap, 5);
  CHECK(mheap_heap_of(guarded) == heap);
  CHECK_EQ(mheap_usable_size_any(guarded), 100);
  CHECK_EQ(mheap_free_any(third), MHEAP_OK);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  heap = mheap_open(path, &live, NULL);
  REQUIRE(heap != NULL);
  CHECK_EQ(mheap_usable_size_any(guarded), 100); /* a slab that no lane has yet */
  CHECK_EQ(mheap_free_any(guarded), MHEAP_OK);
  CHECK_EQ(mheap_free_any(large), MHEAP_OK);
  CHECK_EQ(heap_blocks(heap), 0);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static void a_reader_tells_and_refuses_to_change(void) {
  const char *path = test_path("reader.heap");
  mheap_options live = {.mode = MHEAP_MODE_LIVE}, readonly = {.mode = MHEAP_MODE_READONLY};
  mheap *heap = mheap_open(path, &live, NULL);
  REQUIRE(heap != NULL);
  void *block = mheap_malloc(heap, 100);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  heap = mheap_open(path, &readonly, NULL);
  REQUIRE(heap != NULL);
  CHECK(mheap_heap_of(block) == heap);
  CHECK_EQ(mheap_usable_size_any(block), 112);
  CHECK_EQ(mheap_free_any(block), MHEAP_ERR_READ_ONLY);
  CHECK_EQ(last(), MHEAP_ERR_READ_ONLY);
  CHECK(mheap_realloc_any(block, 200) == NULL);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* A heap beside the main one, found again: its handle is made when a block is asked about. */
static void a_block_of_another_heap_of_the_region_is_freed(void) {
  const char *path = test_path("heaps.heap");
  mheap_options live = {.mode = MHEAP_MODE_LIVE};
  mheap *heap = mheap_open(path, &live, NULL);
  REQUIRE(heap != NULL);
  mheap *second = mheap_new(heap, 0, true, 0), *third = mheap_new(heap, 0, true, 0);
  REQUIRE(second != NULL && third != NULL);
  void *block = mheap_malloc(second, 64), *span = mheap_malloc(second, 100000),
       *in_third = mheap_malloc(third, 64);
  CHECK(mheap_heap_of(block) == second && mheap_heap_of(in_third) == third);
  CHECK_EQ(mheap_free_any(mheap_malloc(second, 64)), MHEAP_OK);
  CHECK_EQ(mheap_delete(third), MHEAP_OK);
  CHECK(mheap_heap_of(in_third) == heap);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  heap = mheap_open(path, &live, NULL);
  REQUIRE(heap != NULL);
  second = mheap_heap_of(block);
  CHECK(second != NULL && second != heap && mheap_heap_of(span) == second && mheap_heap_of(in_third) == heap);
  CHECK_EQ(mheap_free_any(block), MHEAP_OK);
  CHECK_EQ(mheap_free_any(span), MHEAP_OK);
  CHECK_EQ(mheap_free_any(in_third), MHEAP_OK);
  CHECK_EQ(heap_blocks(heap), 0);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* ---- lanes ---- */

/* The last used heap is hooked, so its lane must not pass for that of the default heap. */
static void a_hooked_heap_does_not_become_the_default_one(void) {
  mheap *heap = anonymous();
  REQUIRE(heap != NULL);
  CHECK_EQ(mheap_mcheck(heap, NULL, false), MHEAP_OK);
  void *hooked = mheap_malloc(heap, 64);
  void *plain = mheap_malloc(NULL, 64);
  CHECK(mheap_heap_of(plain) == mheap_default());
  CHECK_EQ(mheap_usable_size(NULL, plain), 64);
  CHECK_EQ(mheap_free(heap, hooked), MHEAP_OK);
  CHECK_EQ(mheap_free(NULL, plain), MHEAP_OK);
  mheap_abandon(heap);
}

/* A thread's lane is made by collecting; the file must still learn its address before a pointer
   leaves, or the next attach would be free to lie elsewhere. */
static void an_address_is_fixed_before_the_first_pointer_leaves(void) {
  const char *path = test_path("fixed.heap");
  mheap_options live = {.mode = MHEAP_MODE_LIVE};
  mheap_info info;
  mheap *heap = mheap_open(path, &live, NULL);
  REQUIRE(heap != NULL);
  CHECK_EQ(mheap_collect(heap, true), MHEAP_OK);
  CHECK(mheap_malloc(heap, 64) != NULL);
  CHECK_EQ(mheap_get_info(heap, &info), MHEAP_OK);
  CHECK_EQ(info.stored_base, info.base);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* ---- threads ---- */

typedef struct passing {
  void *_Atomic block[64];
  mheap *heaps[3];
  _Atomic bool stop;
  _Atomic unsigned freed;
} passing;

static void *free_what_comes(void *arg) {
  passing *p = arg;
  for (unsigned i = 0; !p->stop || i % 64 != 0; i++) {
    void *block = atomic_exchange(&p->block[i % 64], NULL);
    if (block == NULL) continue;
    CHECK(mheap_heap_of(block) != NULL);
    CHECK_EQ(mheap_free_any(block), MHEAP_OK);
    p->freed++;
    if (i % 5 == 0) mheap_free_any(mheap_malloc(p->heaps[i % 3], 40));
  }
  return NULL;
}

static void blocks_of_many_heaps_are_freed_by_other_threads(void) {
  static passing p;
  pthread_t threads[2];
  unsigned made = 0;
  memset(&p, 0, sizeof p);
  for (int i = 0; i < 3; i++) REQUIRE((p.heaps[i] = anonymous()) != NULL);
  for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, free_what_comes, &p);
  for (unsigned i = 0; i < 20000 * test_scale(); i++) {
    void *block = mheap_malloc(p.heaps[i % 3], i % 977 == 0 ? 100000 : 16 + i % 1000), *none = NULL;
    if (atomic_compare_exchange_strong(&p.block[i % 64], &none, block)) made++;
    else CHECK_EQ(mheap_free_any(block), MHEAP_OK);
  }
  p.stop = true;
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < 64; i++) p.freed += p.block[i] != NULL && mheap_free_any(p.block[i]) == MHEAP_OK;
  CHECK_EQ(p.freed, made);
  for (int i = 0; i < 3; i++) {
    CHECK_EQ(heap_blocks(p.heaps[i]), 0);
    mheap_abandon(p.heaps[i]);
  }
}

/* A thread goes on in one heap while another detaches the heaps it used before. */
typedef struct leaving {
  mheap *heaps[8];
  mheap *stays;
  _Atomic unsigned used, left;
} leaving;

static void *use_then_stay(void *arg) {
  leaving *l = arg;
  for (unsigned i = 0; i < 8; i++) {
    CHECK_EQ(mheap_free_any(mheap_malloc(l->heaps[i], 64)), MHEAP_OK);
    l->used = i + 1;
    while (l->left <= i) {
      void *small = mheap_malloc(l->stays, 64), *large = mheap_malloc(l->stays, 100000);
      CHECK_EQ(mheap_free_any(large), MHEAP_OK);
      CHECK_EQ(mheap_free_any(small), MHEAP_OK);
    }
  }
  return NULL;
}

static void heaps_that_a_thread_used_are_detached_by_another(void) {
  for (unsigned round = 0; round < 10 * test_scale(); round++) {
    static leaving l;
    pthread_t thread;
    memset(&l, 0, sizeof l);
    REQUIRE((l.stays = anonymous()) != NULL);
    for (int i = 0; i < 8; i++) REQUIRE((l.heaps[i] = anonymous()) != NULL);
    pthread_create(&thread, NULL, use_then_stay, &l);
    for (unsigned i = 0; i < 8; i++) {
      while (l.used <= i) continue;
      CHECK_EQ(mheap_detach(l.heaps[i], NULL), MHEAP_OK);
      l.left = i + 1;
    }
    pthread_join(thread, NULL);
    CHECK_EQ(heap_blocks(l.stays), 0);
    mheap_abandon(l.stays);
  }
}

/* ---- fork ---- */

static void in_child(mheap *file, void *in_file, mheap *memory, void *in_memory) {
  CHECK(mheap_heap_of(in_memory) == memory);
  CHECK_EQ(mheap_free_any(in_memory), MHEAP_OK);
  CHECK(mheap_is_in_region(in_file));
  CHECK_EQ(mheap_free_any(in_file), MHEAP_ERR_FORKED);
  CHECK_EQ(last(), MHEAP_ERR_FORKED);
  CHECK(mheap_heap_of(in_file) == NULL);
  mheap_abandon(file);
  CHECK(!mheap_is_in_region(in_file));
  mheap *own = anonymous();
  CHECK(own != NULL && mheap_heap_of(mheap_malloc(own, 64)) == own);
}

static void a_child_frees_what_is_its_own(void) {
  mheap_options live = {.mode = MHEAP_MODE_LIVE};
  mheap *file = mheap_open(test_path("forked.heap"), &live, NULL), *memory = anonymous();
  REQUIRE(file != NULL && memory != NULL);
  for (int file_last = 0; file_last < 2; file_last++) {
    void *in_memory = mheap_malloc(memory, 64), *in_file = mheap_malloc(file, 64);
    mheap_malloc(file_last ? file : memory, 64);
    int status;
    pid_t child = fork();
    if (child == 0) {
      test_failures = 0;
      in_child(file, in_file, memory, in_memory);
      _exit(test_failures != 0);
    }
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK_EQ(status, 0);
    CHECK_EQ(mheap_free_any(in_file), MHEAP_OK);
    CHECK_EQ(mheap_free_any(in_memory), MHEAP_OK);
  }
  CHECK_EQ(mheap_detach(file, NULL), MHEAP_OK);
  mheap_abandon(memory);
}

TEST_MAIN(TEST(a_range_of_any_length_is_found), TEST(neighbours_in_one_table_keep_apart),
          TEST(addresses_beyond_the_map_are_nowhere), TEST(a_thousand_places_use_few_tables),
          TEST(readers_find_what_stays_while_others_change), TEST(both_ends_of_a_region_are_in_it),
          TEST(a_region_may_lie_at_any_slice), TEST(another_region_may_come_to_lie_there),
          TEST(each_kind_of_block_knows_its_heap), TEST(null_is_of_the_default_heap),
          TEST(what_is_no_block_is_refused_by_name), TEST(blocks_of_objects_are_refused),
          TEST(guarded_and_found_blocks_are_freed), TEST(a_reader_tells_and_refuses_to_change),
          TEST(a_block_of_another_heap_of_the_region_is_freed),
          TEST(a_hooked_heap_does_not_become_the_default_one),
          TEST(an_address_is_fixed_before_the_first_pointer_leaves),
          TEST(blocks_of_many_heaps_are_freed_by_other_threads),
          TEST(heaps_that_a_thread_used_are_detached_by_another), TEST(a_child_frees_what_is_its_own))
