/* test_names.c: named roots of the public API, in files. */
#include <fcntl.h>
#include <pthread.h>

#include "objects_kit.h"

static mheap *open_heap(const char *name, mheap_mode mode) {
  mheap_error error;
  mheap_options options = {.mode = mode};
  mheap *heap = mheap_open(test_path(name), &options, &error);
  if (heap == NULL) fprintf(stderr, "%s\n", error.text);
  return heap;
}

static mheap_err set(mheap *heap, const char *name, void *block) {
  return mheap_setroot(heap, name, strlen(name), block);
}
static void *get(mheap *heap, const char *name) { return mheap_getroot(heap, name, strlen(name)); }

static void names_are_there_after_the_next_attach(void) {
  mheap *heap = open_heap("names.heap", MHEAP_MODE_LIVE);
  REQUIRE(heap != NULL);
  char *first = mheap_malloc(heap, 100), *second = mheap_malloc(heap, 100);
  strcpy(first, "first"), strcpy(second, "second");
  CHECK_EQ(set(heap, "a", first), MHEAP_OK);
  CHECK_EQ(set(heap, "a rather long name, beyond what is inline", second + 3), MHEAP_OK);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  heap = open_heap("names.heap", MHEAP_MODE_READONLY);
  REQUIRE(heap != NULL);
  CHECK_STR(get(heap, "a"), "first");
  CHECK_STR((char *)get(heap, "a rather long name, beyond what is inline") - 3, "second");
  CHECK(get(heap, "b") == NULL);
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_NOT_FOUND);
  CHECK_EQ(set(heap, "a", get(heap, "a")), MHEAP_ERR_READ_ONLY);
  CHECK_EQ(set(heap, "b", NULL), MHEAP_ERR_READ_ONLY);
  CHECK_EQ(mheap_check(heap, NULL, NULL, NULL), MHEAP_OK);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static void a_name_is_replaced_and_removed(void) {
  kit kit = kit_open();
  char *one = mheap_malloc(kit.heap, 16), *two = mheap_malloc(kit.heap, 16);
  CHECK_EQ(set(kit.heap, "name", one), MHEAP_OK);
  CHECK_EQ(set(kit.heap, "name", two), MHEAP_OK);
  CHECK(get(kit.heap, "name") == two);
  CHECK_EQ(set(kit.heap, "name", NULL), MHEAP_OK);
  CHECK_EQ(set(kit.heap, "name", NULL), MHEAP_OK);
  CHECK(get(kit.heap, "name") == NULL);
  CHECK_EQ(mheap_free(kit.heap, one), MHEAP_OK);
  CHECK_EQ(mheap_free(kit.heap, two), MHEAP_OK);
  mheap_abandon(kit.heap);
}

static void what_is_no_name_or_no_block_is_refused(void) {
  kit kit = kit_open();
  static const char *const wrong[] = {"", "\xff", "\xc3", "a\x80", "\xe0\x80\x80", "\xed\xa0\x80",
                                      "\xf4\x90\x80\x80",
                                      "\xc0\xaf", "\xf8\x88\x80\x80\x80"};
  static const char *const right[] = {"a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xed\x9f\xbf"};
  char *block = mheap_malloc(kit.heap, 16), outside, *longest = malloc(4096);
  memset(longest, 'x', 4096);
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
    CHECK_EQ(set(kit.heap, wrong[i], block), MHEAP_ERR_ARGUMENT);
  for (size_t i = 0; i < sizeof right / sizeof *right; i++)
    CHECK_EQ(set(kit.heap, right[i], block), MHEAP_OK);
  CHECK_EQ(mheap_setroot(kit.heap, longest, 4095, block), MHEAP_OK);
  CHECK_EQ(mheap_setroot(kit.heap, longest, 4096, block), MHEAP_ERR_ARGUMENT);
  CHECK(mheap_getroot(kit.heap, longest, 4095) == block);
  CHECK_EQ(set(kit.heap, "outside", &outside), MHEAP_ERR_POINTER);
  CHECK(get(kit.heap, "outside") == NULL);
  free(longest);
  mheap_abandon(kit.heap);
}

typedef struct visits {
  char text[256];
  unsigned left; /* until visiting is to stop */
} visits;

static bool visit(void *arg, const char *name, size_t length, void *block) {
  visits *visits = arg;
  (void)block;
  strncat(visits->text, name, length);
  strcat(visits->text, " ");
  return --visits->left > 0;
}

static void names_are_visited_in_the_order_they_were_set(void) {
  kit kit = kit_open();
  visits all = {.left = 10}, two = {.left = 2}, none = {.left = 10};
  CHECK_EQ(mheap_visit_roots(kit.heap, visit, &none), MHEAP_OK);
  CHECK_STR(none.text, "");
  char *block = mheap_malloc(kit.heap, 16);
  static const char *const names[] = {"zebra", "apple", "a name of some length", "b"};
  for (int i = 0; i < 4; i++) CHECK_EQ(set(kit.heap, names[i], block), MHEAP_OK);
  CHECK_EQ(set(kit.heap, "zebra", block + 1), MHEAP_OK);
  CHECK_EQ(set(kit.heap, "apple", NULL), MHEAP_OK);
  CHECK_EQ(mheap_visit_roots(kit.heap, visit, &all), MHEAP_OK);
  CHECK_STR(all.text, "zebra a name of some length b ");
  CHECK_EQ(mheap_visit_roots(kit.heap, visit, &two), MHEAP_OK);
  CHECK_STR(two.text, "zebra a name of some length ");
  mheap_abandon(kit.heap);
}

static void names_that_a_file_makes_up_are_harmless(void) {
  kit kit = kit_open();
  char *block = mheap_malloc(kit.heap, 16);
  CHECK_EQ(set(kit.heap, "name", block), MHEAP_OK);
  mh_dict names;
  CHECK_EQ(mh_dict_at(&kit.space, kit.space.region->super->names, &names), MHEAP_OK);
  const mh_table *table;
  CHECK_EQ(mh_dict_table(&names, &table), MHEAP_OK);
  static const uint64_t values[] = {0, MH_CONST_NONE, UINT64_MAX, 5, (uint64_t)1 << 62 | 1};
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
    visits visits = {.left = 10};
    table->entries[0].value = values[i];
    CHECK(get(kit.heap, "name") == NULL);
    CHECK_EQ(mheap_last_error(kit.heap)->code, MHEAP_ERR_CORRUPT);
    CHECK_EQ(mheap_visit_roots(kit.heap, visit, &visits), MHEAP_ERR_CORRUPT);
  }
  table->entries[0].value = mh_word_int((int64_t)mh_offset(kit.space.region, block));
  visits visits = {.left = 10};
  table->entries[0].key = mh_word_int(5);
  CHECK_EQ(mheap_visit_roots(kit.heap, visit, &visits), MHEAP_ERR_CORRUPT);
  kit.space.region->super->names = 8;
  CHECK(get(kit.heap, "name") == NULL);
  CHECK_EQ(mheap_last_error(kit.heap)->code, MHEAP_ERR_CORRUPT);
  mheap_abandon(kit.heap);
}

static void *set_many(void *arg) {
  mheap *heap = arg;
  char name[32];
  for (int i = 0; i < 2000; i++) {
    void *block = mheap_malloc(heap, 16);
    snprintf(name, sizeof name, "name number %d", i % 50);
    CHECK_EQ(set(heap, name, block), MHEAP_OK);
    CHECK(get(heap, name) != NULL);
  }
  return NULL;
}

static void threads_may_set_names_at_once(void) {
  kit kit = kit_open();
  pthread_t threads[3];
  for (int i = 0; i < 3; i++) pthread_create(&threads[i], NULL, set_many, kit.heap);
  for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
  kit_is_sound(&kit);
  mheap_abandon(kit.heap);
}

TEST_MAIN(TEST(names_are_there_after_the_next_attach),
          TEST(a_name_is_replaced_and_removed),
          TEST(what_is_no_name_or_no_block_is_refused),
          TEST(names_are_visited_in_the_order_they_were_set),
          TEST(names_that_a_file_makes_up_are_harmless),
          TEST(threads_may_set_names_at_once))
