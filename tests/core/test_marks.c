/* test_marks.c: what objects store is found by marks alone, in heaps whose other pages are not looked at.

   The library of the units compares every commit of objects with all pages, and aborts if one was changed
   and not marked; the last test shows that it does. */
#include <signal.h>
#include <sys/wait.h>

#include "commit.h"
#include "objects_kit.h"

static kit open_kit(const char *path) {
  mheap_error error;
  kit kit = {.heap = mheap_open(path, &(mheap_options){.mode = MHEAP_MODE_ATOMIC}, &error)};
  if (kit.heap == NULL) fprintf(stderr, "%s\n", error.text);
  if (kit.heap != NULL) mh_space_init(&kit.space, kit.heap);
  return kit;
}

static uint64_t seed = 7;
static unsigned draw(unsigned below) {
  seed = seed * 6364136223846793005u + 1442695040888963407u;
  return (unsigned)((seed >> 33) % below);
}

enum { KEYS = 3000 };

static void change_dict(kit *kit) {
  mh_dict root = kit_root(kit);
  unsigned key = draw(KEYS);
  uint64_t word;
  if (draw(3) == 0) kit_delete(&root, key);
  else if (kit_get(&root, key, &word) != MHEAP_OK || draw(2))
    kit_set(&root, key, kit_value(&kit->space, key));
}

/* Key 1,000,000 of the root holds a list. */
static void change_list(kit *kit) {
  mh_dict root = kit_root(kit);
  mh_list list;
  mh_items items;
  uint64_t word;
  if (kit_get(&root, 1000000, &word) != MHEAP_OK) {
    if (!CHECK_EQ(mh_list_new(&kit->space, 0, &list), MHEAP_OK)) return;
    kit_set(&root, 1000000, mh_word_ref(MH_TAG_LIST_REF, list.offset));
    return;
  }
  if (!CHECK_EQ(mh_list_at(&kit->space, mh_word_offset(word), &list), MHEAP_OK)) return;
  CHECK_EQ(mh_list_items(&list, &items), MHEAP_OK);
  uint64_t value = kit_value(&kit->space, draw(100)), at = items.count ? draw((unsigned)items.count) : 0;
  switch (draw(5)) {
    case 0: CHECK_EQ(mh_list_splice(&list, 0, 0, &value, 1), MHEAP_OK); break;
    case 1: CHECK_EQ(mh_list_splice(&list, at, items.count > 0, &value, 1), MHEAP_OK); break;
    case 2:
      mh_release(&kit->space, value), mh_list_splice(&list, at, items.count > at ? 1 : 0, NULL, 0);
      break;
    default: CHECK_EQ(mh_list_append(&list, value), MHEAP_OK);
  }
}

/* The parts of the segment map that a range of more than 16 GiB needs are slices that others had before. */
static void parts_of_the_map_lie_where_objects_were(void) {
  mheap_arena_options exclusive = {.exclusive = true};
  mheap_arena arena;
  kit kit = open_kit(test_path("e.heap"));
  mh_dict root = kit_root(&kit);
  mh_list list;
  CHECK_EQ(mh_list_new(&kit.space, 0, &list), MHEAP_OK);
  kit_set(&root, 0, mh_word_ref(MH_TAG_LIST_REF, list.offset));
  for (int i = 0; i < 100000; i++) CHECK_EQ(mh_list_append(&list, mh_word_int(i)), MHEAP_OK);
  CHECK_EQ(mheap_commit(kit.heap, false), MHEAP_OK);
  CHECK_EQ(kit_delete(&root, 0), MHEAP_OK);
  CHECK_EQ(mheap_commit(kit.heap, false), MHEAP_OK);
  CHECK_EQ(mheap_arena_reserve(kit.heap, (uint64_t)20 << 30, &exclusive, &arena), MHEAP_OK);
  CHECK_EQ(mheap_commit(kit.heap, false), MHEAP_OK);
  CHECK_EQ(mheap_detach(kit.heap, NULL), MHEAP_OK);
  kit = open_kit(test_path("e.heap"));
  if (kit.heap != NULL) kit_is_sound(&kit);
  mheap_detach(kit.heap, NULL);
}

enum { TEXTS = 100, LONGEST = 200000 };

static void set_texts(kit *kit, char character) {
  static const unsigned lengths[] = {100, 9000, 23000, 60000, LONGEST};
  static char text[LONGEST];
  unsigned length = lengths[draw(5)];
  memset(text, character, length);
  for (unsigned i = draw(TEXTS); i < TEXTS; i++) {
    mh_dict root = kit_root(kit);
    uint64_t word;
    if (CHECK_EQ(mh_bytes_new(&kit->space, text, length, &word), MHEAP_OK)) kit_set(&root, i, word);
  }
}

static void delete_texts(kit *kit) {
  mh_dict root = kit_root(kit);
  for (unsigned i = 0; i < TEXTS; i++) kit_delete(&root, i);
}

/* A heap that shrank grows over what was stored there before, which no commit looked at. */
static void a_heap_that_shrank_grows_again(void) {
  kit kit = open_kit(test_path("f.heap"));
  for (char round = 1; round < 60; round++) {
    set_texts(&kit, round);
    if (draw(3)) delete_texts(&kit);
    if (draw(2)) CHECK_EQ(mheap_commit(kit.heap, false), MHEAP_OK);
  }
  kit_is_sound(&kit);
  mheap_detach(kit.heap, NULL);
}

/* Memory whose address is out: what is stored there is not marked by anybody. */
static void stores_to_memory_that_is_out_are_found(void) {
  const char *path = test_path("out.heap");
  kit kit = open_kit(path);
  REQUIRE(kit.heap != NULL);
  mh_dict root = kit_root(&kit);
  mh_array array = {0};
  mh_cells cells;
  mh_array_form form = {.itemsize = 1, .dimensions = 1, .type = mh_word_text(MH_TAG_STR, "|u1", 3)};
  CHECK(mh_array_stride(&form, 1000000));
  CHECK_EQ(mh_array_new(&kit.space, &form, 1000000, NULL, &array), MHEAP_OK);
  kit_set(&root, 1, mh_container_ref(MH_TYPE_ARRAY, array.offset));
  CHECK_EQ(mheap_commit(kit.heap, false), MHEAP_OK);
  CHECK_EQ(mh_array_cells(&array, true, &cells), MHEAP_OK);
  mh_out out = {.address = cells.data, .length = cells.count};
  mh_out_begin(&out);
  CHECK(!mh_out_lock(kit.space.region->base, kit.space.region->span));
  CHECK(mh_out_lock(kit.space.region->base, 4096));
  mh_out_unlock();
  for (unsigned i = 1; i <= 3; i++) {
    cells.data[i * 300000] = (unsigned char)i;
    CHECK_EQ(mheap_commit(kit.heap, false), MHEAP_OK);
  }
  cells.data[5] = 5;
  mh_out_end(&out);
  CHECK(mh_out_lock(kit.space.region->base, kit.space.region->span));
  mh_out_unlock();
  CHECK_EQ(mheap_commit(kit.heap, false), MHEAP_OK);
  CHECK(!kit.space.region->named_base);
  CHECK_EQ(mheap_detach(kit.heap, NULL), MHEAP_OK);
  kit = open_kit(path);
  REQUIRE(kit.heap != NULL);
  uint64_t word = 0;
  root = kit_root(&kit);
  CHECK_EQ(kit_get(&root, 1, &word), MHEAP_OK);
  CHECK_EQ(mh_array_at(&kit.space, mh_word_offset(word), &array), MHEAP_OK);
  CHECK_EQ(mh_array_cells(&array, false, &cells), MHEAP_OK);
  CHECK_EQ(cells.data[5] + cells.data[300000] + cells.data[600000] + cells.data[900000], 11);
  CHECK_EQ(mheap_detach(kit.heap, NULL), MHEAP_OK);
}

static void changes_of_objects_are_found(void) {
  const char *path = test_path("a.heap");
  kit kit = open_kit(path);
  REQUIRE(kit.heap != NULL);
  for (int round = 0; round < 300; round++) {
    for (unsigned n = draw(100); n > 0; n--) draw(3) ? change_dict(&kit) : change_list(&kit);
    CHECK(!kit.heap->region->named_base);
    if (draw(4) == 0) CHECK_EQ(mheap_rollback(kit.heap), MHEAP_OK);
    else CHECK_EQ(mheap_commit(kit.heap, false), MHEAP_OK);
    if (round % 60 == 59) {
      mheap_collect(kit.heap, true);
      CHECK_EQ(mheap_commit(kit.heap, true), MHEAP_OK);
      CHECK_EQ(mheap_check(kit.heap, NULL, NULL, NULL), MHEAP_OK);
      if (draw(2)) mheap_abandon(kit.heap);
      else CHECK_EQ(mheap_detach(kit.heap, NULL), MHEAP_OK);
      kit = open_kit(path);
      REQUIRE(kit.heap != NULL);
      CHECK_EQ(mheap_check(kit.heap, NULL, NULL, NULL), MHEAP_OK);
    }
  }
  mheap_detach(kit.heap, NULL);
}

/* Two heaps' marks do not get lost to each other. */
static void heaps_share_marks(void) {
  kit a = open_kit(test_path("b.heap")), b = open_kit(test_path("c.heap"));
  REQUIRE(a.heap != NULL && b.heap != NULL);
  for (int round = 0; round < 200; round++) {
    change_dict(&a);
    change_dict(&b);
    CHECK_EQ(mheap_commit(round % 2 ? a.heap : b.heap, false), MHEAP_OK);
    if (round % 3) CHECK_EQ(mheap_commit(round % 2 ? b.heap : a.heap, false), MHEAP_OK);
  }
  mheap_detach(a.heap, NULL);
  mheap_detach(b.heap, NULL);
}

static void store_unmarked(bool beside_a_mark) {
  kit kit = open_kit(test_path("d.heap"));
  for (int i = 0; i < 3000; i++) {
    mh_dict root = kit_root(&kit);
    kit_set(&root, (unsigned)i, kit_value(&kit.space, 1));
  }
  mheap_commit(kit.heap, false);
  uint64_t *bytes = mh_at(kit.heap->region, mh_region_size(kit.heap->region) - 64);
  if (beside_a_mark) mh_mark((const char *)((uintptr_t)bytes ^ MH_PAGE));
  *bytes += 1;
  mheap_commit(kit.heap, false);
}

static void a_store_that_is_not_marked_is_caught(void) {
  for (int beside = 0; beside < 2; beside++) {
    pid_t child = fork();
    if (child == 0) {
      store_unmarked(beside);
      _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
  }
}

static void pages_are_those_that_were_marked(void) {
  static mh_marked marked;
  static mh_marked_bits taken;
  enum { PAGES = 100 * MH_SLICE_PAGES };
  static bool expected[PAGES];
  char *base = (char *)0x7000000000;
  mh_marked_add(&marked, base);
  for (int round = 0; round < 100; round++) {
    for (unsigned n = draw(9); n > 0; n--) {
      uint64_t at = draw(PAGES * MH_PAGE), length = 1 + draw(40 * MH_PAGE);
      mh_mark_range(base + at, length);
      for (uint64_t page = at / MH_PAGE; page <= (at + length - 1) / MH_PAGE && page < PAGES; page++)
        expected[page] = true;
    }
    mh_marked_gather();
    for (uint64_t page = 0; page < PAGES; page++)
      REQUIRE(mh_marked_page(&marked, page * MH_PAGE) == expected[page]);
    if (round % 3 == 1) mh_marked_take(&marked, &taken);
    if (round % 3 == 2) mh_marked_put_back(&marked, &taken);
    if (round % 9 == 8) mh_marked_clear(&marked), memset(expected, 0, sizeof expected);
    if (round % 3 != 1) continue;
    for (uint64_t page = 0; page < PAGES; page++) REQUIRE(!mh_marked_page(&marked, page * MH_PAGE));
    mh_marked_put_back(&marked, &taken);
  }
  mh_marked_remove(&marked);
}

/* Slices further than the marks reach share them. */
static void runs_are_those_that_a_plain_walk_finds(void) {
  static mh_marked marked;
  static mh_marked_bits taken;
  char *base = (char *)0x7000000000; /* nothing is there: only its address counts */
  mh_marked_add(&marked, base);
  for (int round = 0; round < 40; round++) {
    for (unsigned n = draw(30); n > 0; n--)
      mh_mark_range(base + (uint64_t)draw((unsigned)MH_MARKS) * MH_SLICE, 1 + (uint64_t)draw(200) * MH_SLICE);
    mh_marked_gather();
    if (round % 3 == 0) mh_marked_take(&marked, &taken);
    if (round % 3 == 1) mh_marked_put_back(&marked, &taken);
    uint64_t end = draw(3 * (unsigned)MH_MARKS), from = draw(200), slice = from;
    for (uint64_t count; (count = mh_marked_next(&marked, &from, end)) > 0; from += count) {
      for (; slice < from; slice++) REQUIRE(!(marked.of.bits[slice % MH_MARKS / 64] >> slice % 64 & 1));
      for (; slice < from + count; slice++) REQUIRE(marked.of.bits[slice % MH_MARKS / 64] >> slice % 64 & 1);
    }
    for (; slice < end; slice++) REQUIRE(!(marked.of.bits[slice % MH_MARKS / 64] >> slice % 64 & 1));
    if (round % 7 == 6) mh_marked_clear(&marked);
  }
  mh_marked_remove(&marked);
}

TEST_MAIN(TEST(stores_to_memory_that_is_out_are_found),
          TEST(pages_are_those_that_were_marked), TEST(runs_are_those_that_a_plain_walk_finds),
          TEST(changes_of_objects_are_found),
          TEST(heaps_share_marks), TEST(parts_of_the_map_lie_where_objects_were),
          TEST(a_heap_that_shrank_grows_again),
          TEST(a_store_that_is_not_marked_is_caught))
