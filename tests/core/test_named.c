/* test_named.c: heaps with names, and objects of their own: made, found again, collected, destroyed. */
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "objects/collect.h"
#include "objects_kit.h"

static mheap *open_as(const char *name, mheap_mode mode) {
  mheap_error error = {0};
  mheap *heap = mheap_open(test_path(name), &(mheap_options){.mode = mode}, &error);
  if (heap == NULL) fprintf(stderr, "%s\n", error.text);
  return heap;
}

static mheap *open_heap(const char *name) { return open_as(name, MHEAP_MODE_LIVE); }
static mheap *make(mheap *heap, const char *name) { return mheap_new_named(heap, name, strlen(name), 0, 0); }
static mheap *find(mheap *heap, const char *name) { return mheap_find_named(heap, name, strlen(name)); }

static kit kit_of(mheap *heap) {
  kit kit = {.heap = heap};
  mh_space_init(&kit.space, heap);
  return kit;
}

/* Findings about the whole file. */
static kit_findings examine(mheap *heap) {
  kit_findings findings = {0};
  mheap_err result = mheap_check(heap, kit_found, NULL, &findings);
  CHECK_EQ(result, findings.broken > 0 ? MHEAP_ERR_CORRUPT : MHEAP_OK);
  return findings;
}

static void is_sound(mheap *heap) { CHECK_STR(examine(heap).text, ""); }

static uint64_t used_in(mheap *heap) {
  mheap_stats stats;
  return mheap_get_stats(heap, &stats) == MHEAP_OK ? stats.chunks_used : UINT64_MAX;
}

static void fill(mheap *heap, unsigned from, unsigned count) {
  kit kit = kit_of(heap);
  mh_dict root = kit_root(&kit);
  for (unsigned i = from; i < from + count; i++) kit_set(&root, i, kit_value(&kit.space, i));
}

static bool has(mheap *heap, unsigned from, unsigned count) {
  kit kit = kit_of(heap);
  mh_dict root = {0};
  uint64_t value, length;
  if (!CHECK_EQ(mh_root(&kit.space, false, &root), MHEAP_OK)) return false;
  bool all = mh_dict_length(&root, &length) == MHEAP_OK && length == count;
  for (unsigned i = from; i < from + count && all; i++)
    all = kit_get(&root, i, &value) == MHEAP_OK && kit_is_value(&kit.space, value, i);
  return CHECK(all);
}

/* ---- making and finding ---- */

static void each_has_objects_of_its_own(void) {
  mheap *heap = open_heap("own.heap");
  REQUIRE(heap != NULL);
  mheap *one = make(heap, "one"), *other = make(heap, "another, with a longer name");
  REQUIRE(one != NULL && other != NULL);
  fill(heap, 0, 50);
  fill(one, 100, 200);
  fill(other, 1000, 300);
  CHECK(mheap_malloc(one, 100) != NULL);
  is_sound(heap);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  heap = open_heap("own.heap");
  REQUIRE(heap != NULL);
  CHECK(has(heap, 0, 50) && has(find(heap, "one"), 100, 200));
  CHECK(has(find(heap, "another, with a longer name"), 1000, 300));
  is_sound(heap);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static bool count_named(void *arg, mheap *heap) {
  char name[MHEAP_HEAP_NAME + 1];
  *(unsigned *)arg += mheap_get_name(heap, name, NULL) == MHEAP_OK;
  return true;
}

static void names_are_found_and_told(void) {
  mheap *heap = open_heap("names.heap");
  char name[MHEAP_HEAP_NAME + 1], longest[MHEAP_HEAP_NAME + 2];
  size_t length;
  REQUIRE(heap != NULL);
  memset(longest, 'x', sizeof longest);
  CHECK(find(heap, "a") == NULL);
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_NOT_FOUND);
  mheap *a = make(heap, "a"), *b = mheap_new_named(a, longest, MHEAP_HEAP_NAME, 7, 0);
  mheap *plain = mheap_new(heap, 0, true, 0);
  REQUIRE(a != NULL && b != NULL && plain != NULL);
  CHECK(find(heap, "a") == a && find(b, "a") == a && mheap_find_named(heap, longest, MHEAP_HEAP_NAME) == b);
  CHECK_EQ(mheap_get_name(b, name, &length), MHEAP_OK);
  CHECK(length == MHEAP_HEAP_NAME && memcmp(name, longest, length) == 0 && name[length] == '\0');
  CHECK_EQ(mheap_get_name(a, name, NULL), MHEAP_OK);
  CHECK_STR(name, "a");
  CHECK_EQ(mheap_get_name(plain, name, NULL), MHEAP_ERR_NOT_FOUND);
  CHECK_EQ(mheap_get_name(heap, name, NULL), MHEAP_ERR_NOT_FOUND);
  unsigned named = 0;
  CHECK_EQ(mheap_visit_heaps(heap, count_named, &named), MHEAP_OK);
  CHECK_EQ(named, 2);
  mheap_heap_info info;
  CHECK_EQ(mheap_get_heap_info(b, &info), MHEAP_OK);
  CHECK(info.destroyable && info.tag == 7);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static void what_is_no_name_is_refused(void) {
  mheap *heap = open_heap("refused.heap");
  REQUIRE(heap != NULL);
  char longest[MHEAP_HEAP_NAME + 1];
  memset(longest, 'x', sizeof longest);
  const struct {
    const char *name;
    size_t length;
  } wrong[] = {{NULL, 0}, {"", 0}, {longest, sizeof longest}, {"a\0b", 3}, {"\xff", 1}};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    CHECK(mheap_new_named(heap, wrong[i].name, wrong[i].length, 0, 0) == NULL);
    CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_ARGUMENT);
    CHECK(mheap_find_named(heap, wrong[i].name, wrong[i].length) == NULL);
    CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_ARGUMENT);
  }
  mheap *one = make(heap, "one");
  REQUIRE(one != NULL);
  CHECK(make(heap, "one") == NULL);
  CHECK_CONTAINS(mheap_last_error(heap)->text, "already");
  CHECK(make(one, "one") == NULL);
  CHECK_CONTAINS(mheap_last_error(one)->text, "already");
  CHECK(mheap_new_named(heap, "two", 3, 256, 0) == NULL);
  CHECK(mheap_new_named(heap, "two", 3, 0, 99) == NULL);
  CHECK(mheap_new_named(NULL, "two", 3, 0, 0) == NULL);
  CHECK_EQ(mheap_setroot(one, "a", 1, mheap_malloc(one, 10)), MHEAP_ERR_ARGUMENT);
  CHECK_EQ(mheap_delete(one), MHEAP_ERR_ARGUMENT);
  CHECK_CONTAINS(mheap_last_error(one)->text, "destroy it");
  is_sound(heap);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* A row that cannot be had leaves the first one free. */
static void a_full_table_says_so(void) {
  mheap *heap = open_heap("full.heap");
  char name[24];
  REQUIRE(heap != NULL);
  mheap *plain = mheap_new(heap, 0, true, 0);
  for (int i = 0; i < 62; i++) {
    snprintf(name, sizeof name, "heap %d", i);
    CHECK(make(heap, name) != NULL);
  }
  CHECK(make(heap, "one more") == NULL);
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_FULL);
  is_sound(heap);
  CHECK_EQ(mheap_destroy(plain), MHEAP_OK);
  CHECK(make(heap, "one more") != NULL);
  CHECK_EQ(mheap_destroy(find(heap, "heap 17")), MHEAP_OK);
  CHECK(make(heap, "another") != NULL);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static void one_may_be_tied_to_an_arena(void) {
  mheap *heap = open_heap("arena.heap");
  REQUIRE(heap != NULL);
  mheap_arena arena;
  REQUIRE_EQ(mheap_arena_reserve(heap, (size_t)8 << 20, &(mheap_arena_options){.exclusive = true}, &arena),
             MHEAP_OK);
  mheap *tied = mheap_new_named(heap, "tied", 4, 0, arena);
  REQUIRE(tied != NULL);
  fill(tied, 0, 1000);
  mheap_heap_info info;
  CHECK(mheap_get_heap_info(tied, &info) == MHEAP_OK && info.arena == arena);
  CHECK_EQ(mheap_find_named(heap, "tied", 4)->own->only, tied->only);
  is_sound(heap);
  CHECK_EQ(mheap_destroy(tied), MHEAP_OK);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* ---- destroying ---- */

static void a_destroyed_one_leaves_nothing(void) {
  mheap *heap = open_heap("destroy.heap");
  REQUIRE(heap != NULL);
  fill(heap, 0, 20);
  uint64_t used = used_in(heap);
  for (unsigned round = 0; round < 3; round++) {
    mheap *one = make(heap, "a name of its own");
    REQUIRE(one != NULL);
    fill(one, round, 500);
    CHECK(mheap_malloc(one, 1000) != NULL && mheap_malloc(one, (size_t)9 << 20) != NULL);
    CHECK(used_in(heap) > used + 500);
    CHECK_EQ(mheap_destroy(one), MHEAP_OK);
    CHECK_EQ(used_in(heap), used);
    CHECK(find(heap, "a name of its own") == NULL);
    CHECK(has(heap, 0, 20));
    is_sound(heap);
  }
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* The second gets the first one's rows, and the place of its objects. */
static void objects_of_one_that_is_gone_are_stale(void) {
  mheap *heap = open_heap("stale.heap");
  REQUIRE(heap != NULL);
  mheap *first = make(heap, "name");
  kit of_first = kit_of(first);
  mh_dict old = kit_root(&of_first), new;
  uint64_t birth = first->birth, value;
  kit_set(&old, 1, kit_value(&of_first.space, 1));
  CHECK_EQ(mheap_destroy(first), MHEAP_OK);
  mheap *second = make(heap, "name");
  kit of_second = kit_of(second);
  new = kit_root(&of_second);
  CHECK_EQ(new.offset, old.offset);
  CHECK(second->birth != birth);
  old.space = &of_second.space;
  CHECK_EQ(kit_get(&old, 1, &value), MHEAP_ERR_STALE);
  CHECK_EQ(kit_get(&new, 1, &value), MHEAP_ERR_NOT_FOUND);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* ---- collecting ---- */

static mh_dict circle(kit *kit) {
  mh_dict dict = {0};
  CHECK_EQ(mh_dict_new(&kit->space, 0, &dict), MHEAP_OK);
  kit_set(&dict, 0, mh_word_ref(MH_TAG_DICT_REF, dict.offset));
  return dict;
}

static void garbage_is_each_heaps_own(void) {
  mheap *heap = open_heap("garbage.heap");
  REQUIRE(heap != NULL);
  mheap *one = make(heap, "a long enough name");
  mheap_collected got;
  fill(heap, 0, 30);
  fill(one, 0, 40);
  kit of_main = kit_of(heap), of_one = kit_of(one);
  circle(&of_main), circle(&of_one), circle(&of_one);
  CHECK_EQ(mheap_collect_objects(one, &got), MHEAP_OK);
  CHECK_EQ(got.objects, 2);
  circle(&of_one);
  CHECK_EQ(mheap_collect_objects(heap, &got), MHEAP_OK);
  CHECK_EQ(got.objects, 2);
  CHECK(has(heap, 0, 30) && has(one, 0, 40) && find(heap, "a long enough name") == one);
  is_sound(heap);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* In steps, between which the other heap changes; in each of its phases another may begin. */
static void collections_keep_out_of_other_heaps(void) {
  for (int steps = 0; steps < 400; steps += 7) {
    mheap *heap = open_heap("steps.heap");
    REQUIRE(heap != NULL);
    mheap *one = find(heap, "one") != NULL ? find(heap, "one") : make(heap, "one");
    kit of_main = kit_of(heap), of_one = kit_of(one);
    mh_collected got = {0}, other = {0};
    for (unsigned i = 0; i < 50; i++) circle(&of_main), circle(&of_one);
    fill(heap, 0, 100);
    fill(one, 0, 100);
    CHECK_EQ(mh_collect_begin(&of_main.space), MHEAP_OK);
    for (int i = 0; i < steps && !got.done; i++) {
      CHECK_EQ(mh_collect_step(&of_main.space, 0, &got), MHEAP_OK);
      fill(one, 0, 2);
      circle(&of_one);
    }
    CHECK_EQ(mh_collect_number(&of_one.space), 0);
    CHECK_EQ(mh_collect_begin(&of_one.space), MHEAP_OK);
    CHECK_EQ(mh_collect_number(&of_main.space), 0);
    CHECK_EQ(mh_collect_step(&of_one.space, 1e9, &other), MHEAP_OK);
    CHECK(other.objects >= 50 && has(heap, 0, 100) && has(one, 0, 100));
    CHECK_EQ(mheap_collect_objects(heap, NULL), MHEAP_OK);
    is_sound(heap);
    CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  }
}

static void a_collection_ends_with_its_heap(void) {
  mheap *heap = open_heap("ends.heap");
  REQUIRE(heap != NULL);
  mheap *one = make(heap, "one"), *other = make(heap, "other");
  kit of_one = kit_of(one), of_other = kit_of(other);
  mh_collected got = {0};
  fill(one, 0, 100);
  CHECK_EQ(mh_collect_begin(&of_other.space), MHEAP_OK);
  CHECK_EQ(mheap_destroy(one), MHEAP_OK);
  CHECK(mh_collect_number(&of_other.space) != 0);
  CHECK_EQ(mheap_destroy(other), MHEAP_OK);
  CHECK(heap->region->collector == NULL);
  CHECK_EQ(mh_collect_step(&of_one.space, 1, &got), MHEAP_OK);
  CHECK_EQ(got.objects, 0);
  is_sound(heap);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* ---- rows that say something else ---- */

typedef struct injury {
  size_t at;
  uint64_t value;
  const char *text;
} injury;

/* Row 3 is the first named heap's, row 5 the second's. */
static mheap *injured(uint64_t row, const injury *what) {
  uint64_t at = MH_HEAPS_OFFSET + row * sizeof(mh_heap_row) + what->at;
  unlink(test_path("injured.heap"));
  mheap *heap = open_heap("injured.heap");
  if (!CHECK(heap != NULL)) exit(2);
  fill(heap, 0, 5);
  fill(make(heap, "one"), 0, 10);
  fill(make(heap, "the other, by a long name"), 0, 10);
  *(uint64_t *)mh_at(heap->region, at) = what->value;
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  return open_heap("injured.heap");
}

static void what_rows_say_is_checked(void) {
  const injury list[] = {
      {offsetof(mh_heap_row, name), MH_CONST_NONE, "name of the heap"},
      {offsetof(mh_heap_row, name), mh_word_text(MH_TAG_BYTES, "", 0), "found another length"},
      {offsetof(mh_heap_row, name), mh_word_text(MH_TAG_BYTES, "\xff", 1), "found other bytes"},
      {offsetof(mh_heap_row, name), mh_word_text(MH_TAG_BYTES, "one", 3), "found another heap's"},
      {offsetof(mh_heap_row, name), UINT64_MAX, "a reference beyond the region"},
      {offsetof(mh_heap_row, root), 17, "multiple of 16"},
      {offsetof(mh_heap_row, root), MH_SLICE, "another type"},
      {offsetof(mh_heap_row, objects), 0, "heap of objects"},
      {offsetof(mh_heap_row, objects), 2, "heap of objects"},
      {offsetof(mh_heap_row, objects), 3, "heap of objects"},
      {offsetof(mh_heap_row, objects), 6, "heap of objects"},
      {offsetof(mh_heap_row, objects), 99, "heap of objects"},
      {offsetof(mh_heap_row, birth), 0, "birth number"},
      {offsetof(mh_heap_row, birth), 1000, "birth number"},
      {offsetof(mh_heap_row, policy), 1, "expected 0"},
      {offsetof(mh_heap_row, head), MH_HEAP_USED, "can be destroyed"},
  };
  for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
    mheap *heap = injured(5, &list[i]);
    kit_findings found = examine(heap);
    CHECK(found.broken > 0);
    if (found.broken == 1) CHECK_CONTAINS(found.text, list[i].text);
    CHECK(has(heap, 0, 5) && has(find(heap, "one"), 0, 10));
    mheap_abandon(heap);
  }
}

/* The first has them; the second has none. */
static void objects_are_one_heaps(void) {
  mheap *heap = injured(5, &(injury){offsetof(mh_heap_row, objects), 3, NULL});
  mheap *other = find(heap, "the other, by a long name");
  REQUIRE(other != NULL);
  CHECK(other->own == NULL);
  CHECK_EQ(mheap_destroy(other), MHEAP_OK);
  CHECK(has(find(heap, "one"), 0, 10));
  CHECK_EQ(mheap_collect(heap, true), MHEAP_OK); /* frees what nobody has */
  is_sound(heap);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static void another_heaps_object_is_no_root(void) {
  mheap *heap = injured(5, &(injury){0});
  mheap *one = find(heap, "one"), *other = find(heap, "the other, by a long name");
  REQUIRE(one != NULL && other == NULL); /* its head is 0 */
  const uint64_t roots[] = {heap->region->super->root, *mh_root_field(one)};
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  for (int i = 0; i < 2; i++) {
    heap = injured(5, &(injury){offsetof(mh_heap_row, root), roots[i], NULL});
    mh_space space = {0};
    mh_dict root;
    other = find(heap, "the other, by a long name");
    REQUIRE(other != NULL);
    mh_space_init(&space, other);
    CHECK_EQ(mh_root(&space, true, &root), MHEAP_ERR_CORRUPT);
    CHECK(examine(heap).broken > 0);
    CHECK_EQ(mheap_collect_objects(other, NULL), MHEAP_ERR_CORRUPT);
    CHECK(has(heap, 0, 5) && has(find(heap, "one"), 0, 10));
    mheap_abandon(heap);
  }
}

/* A value that leads to another heap's object is a finding, and is not counted there. */
static void references_do_not_cross(void) {
  mheap *heap = open_heap("cross.heap");
  REQUIRE(heap != NULL);
  mheap *one = make(heap, "one");
  kit of_main = kit_of(heap), of_one = kit_of(one);
  mh_dict root = kit_root(&of_main), inner = kit_root(&of_one);
  kit_set(&root, 1, kit_value(&of_main.space, 1));
  kit_set(&inner, 1, mh_word_int(5));
  is_sound(heap);
  uint64_t text;
  CHECK_EQ(kit_get(&root, 1, &text), MHEAP_OK);
  CHECK_EQ(mh_retain(&of_one.space, text), MHEAP_ERR_CORRUPT);
  kit_set(&inner, 1, text);
  kit_findings found = examine(heap);
  CHECK_EQ(found.broken, 1);
  CHECK_CONTAINS(found.text, "heap 3 refers to: expected one of its own, found heap 1's");
  CHECK_EQ(kit_delete(&inner, 1), MHEAP_OK);
  CHECK(kit_get(&root, 1, &text) == MHEAP_OK && kit_is_value(&of_main.space, text, 1));
  is_sound(heap);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* ---- commits ---- */

static void making_and_destroying_can_be_rolled_back(void) {
  mheap *heap = open_as("rollback.heap", MHEAP_MODE_ATOMIC);
  REQUIRE(heap != NULL);
  mheap *kept = make(heap, "kept and committed");
  REQUIRE(kept != NULL);
  fill(kept, 0, 100);
  CHECK_EQ(mheap_commit(heap, false), MHEAP_OK);
  mheap *made = make(heap, "made");
  fill(made, 0, 100);
  fill(kept, 100, 10);
  CHECK_EQ(mheap_rollback(heap), MHEAP_OK);
  CHECK(find(heap, "made") == NULL && find(heap, "kept and committed") == kept && has(kept, 0, 100));
  CHECK_EQ(mheap_destroy(kept), MHEAP_OK);
  mheap *in_its_place = make(heap, "in its place");
  fill(in_its_place, 7, 300);
  CHECK_EQ(mheap_rollback(heap), MHEAP_OK);
  kept = find(heap, "kept and committed");
  CHECK(kept != NULL && has(kept, 0, 100) && find(heap, "in its place") == NULL);
  is_sound(heap);
  fill(kept, 0, 120);
  CHECK_EQ(mheap_commit(heap, false), MHEAP_OK);
  CHECK_EQ(mheap_destroy(kept), MHEAP_OK);
  CHECK_EQ(mheap_commit(heap, false), MHEAP_OK);
  is_sound(heap);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  heap = open_heap("rollback.heap");
  REQUIRE(heap != NULL);
  CHECK(find(heap, "kept and committed") == NULL);
  is_sound(heap);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static mh_dict root_of(mheap *heap, mheap_err *failed) {
  static mh_space space;
  mh_dict root = {0};
  mh_space_init(&space, heap);
  *failed = mh_root(&space, false, &root);
  return root;
}

/* Another has its rows, and its name, by then. */
static void readers_notice_that_one_was_destroyed(void) {
  mheap *heap = open_as("readers.heap", MHEAP_MODE_ATOMIC);
  REQUIRE(heap != NULL);
  mheap *one = make(heap, "one");
  fill(one, 0, 10);
  CHECK_EQ(mheap_commit(heap, false), MHEAP_OK);
  mheap *reader = open_as("readers.heap", MHEAP_MODE_READONLY), *seen = find(reader, "one");
  mheap_err failed;
  bool moved;
  REQUIRE(seen != NULL);
  CHECK(has(seen, 0, 10));
  uint32_t row = one->row;
  CHECK_EQ(mheap_destroy(one), MHEAP_OK);
  one = make(heap, "one");
  CHECK_EQ(one->row, row);
  fill(one, 50, 20);
  CHECK_EQ(mheap_commit(heap, false), MHEAP_OK);
  CHECK_EQ(mheap_refresh(reader, &moved), MHEAP_OK);
  CHECK(moved);
  root_of(seen, &failed);
  CHECK_EQ(failed, MHEAP_ERR_STALE);
  mheap *new = find(reader, "one");
  REQUIRE(new != NULL);
  CHECK(new != seen && has(new, 50, 20));
  CHECK(make(reader, "two") == NULL);
  CHECK_EQ(mheap_last_error(reader)->code, MHEAP_ERR_READ_ONLY);
  CHECK_EQ(mheap_destroy(one), MHEAP_OK);
  CHECK_EQ(mheap_commit(heap, false), MHEAP_OK);
  CHECK_EQ(mheap_refresh(reader, &moved), MHEAP_OK);
  CHECK(find(reader, "one") == NULL);
  CHECK_EQ(mheap_detach(reader, NULL), MHEAP_OK);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* ---- threads ---- */

typedef struct comer {
  mheap *heap;
  int number;
} comer;

static void *come_and_go(void *arg) {
  const comer *c = arg;
  char name[40];
  snprintf(name, sizeof name, "a heap of thread %d", c->number);
  for (int i = 0; i < 100; i++) {
    mheap *one = make(c->heap, name);
    if (!CHECK(one != NULL)) return NULL;
    CHECK(find(c->heap, name) == one);
    CHECK(mheap_malloc(one, (size_t)i * 37 + 1) != NULL);
    CHECK_EQ(mheap_destroy(one), MHEAP_OK);
    CHECK(find(c->heap, name) == NULL);
  }
  return NULL;
}

/* Each makes its own, and looks over those of the others. */
static void threads_come_and_go_with_theirs(void) {
  mheap *heap = open_heap("threads.heap");
  REQUIRE(heap != NULL);
  mheap *kept = make(heap, "kept, whatever the others do");
  pthread_t threads[4];
  comer comers[4];
  for (int i = 0; i < 4; i++) {
    comers[i] = (comer){heap, i};
    pthread_create(&threads[i], NULL, come_and_go, &comers[i]);
  }
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  CHECK(find(heap, "kept, whatever the others do") == kept);
  is_sound(heap);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* ---- after kills ---- */

/* As a kill leaves it between the two heads. */
static void leave(const char *name, bool destroyed) {
  pid_t child = fork();
  if (child == 0) {
    mheap *heap = open_heap(name), *one = make(heap, "one");
    fill(heap, 0, 10);
    fill(one, 0, 1000);
    mh_heap_row *row = mh_heap_row_of(one);
    row->head = destroyed ? row->head | MH_HEAP_DESTROYED : 0;
    kill(getpid(), SIGKILL);
  }
  int status;
  waitpid(child, &status, 0);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void half_a_heap_is_none(void) {
  for (int destroyed = 0; destroyed < 2; destroyed++) {
    leave("half.heap", destroyed != 0);
    mheap *heap = open_heap("half.heap");
    REQUIRE(heap != NULL);
    CHECK(find(heap, "one") == NULL);
    kit_findings found = examine(heap);
    CHECK_EQ(found.broken, 0);
    CHECK_EQ(found.notes, destroyed ? 2 : 1);
    CHECK_CONTAINS(found.text, "killed");
    uint64_t used = used_in(heap);
    CHECK_EQ(mheap_collect(heap, true), MHEAP_OK);
    CHECK(used_in(heap) < used && used_in(heap) < 100);
    CHECK(has(heap, 0, 10));
    is_sound(heap);
    mheap *one = make(heap, "one");
    REQUIRE(one != NULL);
    CHECK_EQ(one->own->row, 2);
    fill(one, 0, 10);
    is_sound(heap);
    CHECK_EQ(mheap_destroy(one), MHEAP_OK);
    CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  }
}

TEST_MAIN(TEST(each_has_objects_of_its_own), TEST(names_are_found_and_told), TEST(what_is_no_name_is_refused),
          TEST(a_full_table_says_so), TEST(one_may_be_tied_to_an_arena), TEST(a_destroyed_one_leaves_nothing),
          TEST(objects_of_one_that_is_gone_are_stale), TEST(garbage_is_each_heaps_own),
          TEST(collections_keep_out_of_other_heaps), TEST(making_and_destroying_can_be_rolled_back),
          TEST(readers_notice_that_one_was_destroyed), TEST(a_collection_ends_with_its_heap),
          TEST(what_rows_say_is_checked), TEST(objects_are_one_heaps), TEST(another_heaps_object_is_no_root),
          TEST(references_do_not_cross), TEST(threads_come_and_go_with_theirs), TEST(half_a_heap_is_none))
