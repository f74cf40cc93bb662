/* test_commit.c: mode atomic: what is committed is there, what is not is not. */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "commit.h"
#include "heap.h"
#include "test.h"
#include "use.h"

static mheap *open_atomic(const char *path) {
  mheap_error error;
  mheap *heap = mheap_open(path, &(mheap_options){.mode = MHEAP_MODE_ATOMIC}, &error);
  if (heap == NULL) fprintf(stderr, "%s\n", error.text);
  return heap;
}

static uint64_t length_of(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* A string in a block, at key 0. */
static void keep(mheap *heap, const char *text) {
  char *block = mheap_malloc(heap, strlen(text) + 1);
  strcpy(block, text);
  mheap_setkey(heap, 0, block);
}

static const char *kept(mheap *heap) {
  const char *block = mheap_getkey(heap, 0);
  return block != NULL ? block : "nothing";
}

static void a_commit_is_there_after_the_death_of_the_process(void) {
  const char *path = test_path("a.heap");
  mheap *heap = open_atomic(path);
  REQUIRE(heap != NULL);
  CHECK_EQ(mheap_generation(heap), 0);
  keep(heap, "first");
  CHECK_EQ(mheap_commit(heap, true), MHEAP_OK);
  CHECK_EQ(mheap_generation(heap), 1);
  keep(heap, "second");
  CHECK_STR(kept(heap), "second");
  mheap_abandon(heap);
  heap = open_atomic(path);
  REQUIRE(heap != NULL);
  CHECK_STR(kept(heap), "first");
  CHECK_EQ(mheap_generation(heap), 1);
  CHECK_EQ(mheap_check(heap, NULL, NULL, NULL), MHEAP_OK);
  mheap_abandon(heap);
}

static void without_a_commit_the_file_stays_as_it_was(void) {
  const char *path = test_path("b.heap");
  mheap *heap = open_atomic(path);
  REQUIRE(heap != NULL);
  keep(heap, "lost");
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  CHECK_EQ(length_of(path), 2 * MH_SLICE);
  heap = open_atomic(path);
  REQUIRE(heap != NULL);
  CHECK_EQ(mheap_commit(heap, true), MHEAP_OK); /* of nothing */
  CHECK_EQ(mheap_generation(heap), 0);
  CHECK_STR(kept(heap), "nothing");
  mheap_detach(heap, NULL);
}

static void a_rollback_undoes_what_was_not_committed(void) {
  mheap *heap = open_atomic(test_path("c.heap"));
  REQUIRE(heap != NULL);
  keep(heap, "first");
  CHECK_EQ(mheap_commit(heap, true), MHEAP_OK);
  uint64_t size = mh_region_size(heap->region);
  strcpy(mheap_getkey(heap, 0), "FIRST");
  void *lost[1000];
  for (int i = 0; i < 1000; i++) lost[i] = mheap_malloc(heap, 1 + (size_t)i * 100);
  CHECK(mh_region_size(heap->region) > size);
  CHECK_EQ(mheap_rollback(heap), MHEAP_OK);
  CHECK_STR(kept(heap), "first");
  CHECK_EQ(mh_region_size(heap->region), size);
  CHECK_EQ(mheap_free(heap, lost[999]) != MHEAP_OK, true);
  CHECK_EQ(mheap_check(heap, NULL, NULL, NULL), MHEAP_OK);
  for (int i = 0; i < 1000; i++) CHECK(mheap_malloc(heap, 1 + (size_t)i * 100) != NULL);
  CHECK_EQ(mheap_commit(heap, true), MHEAP_OK);
  CHECK_EQ(mheap_check(heap, NULL, NULL, NULL), MHEAP_OK);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* Blocks of all sizes come and go over some commits; a model says what each holds. */
enum { SLOTS = 300 };
typedef struct slot {
  uint8_t *block;
  size_t size;
  uint8_t fill;
} slot;

static uint64_t seed = 1;
static uint64_t draw(uint64_t below) {
  seed = seed * 6364136223846793005u + 1442695040888963407u;
  return (seed >> 33) % below;
}

static void change(mheap *heap, slot *s) {
  if (s->block != NULL) {
    CHECK_EQ(mheap_free(heap, s->block), MHEAP_OK);
    s->block = NULL;
    return;
  }
  s->size = 1 + (draw(10) ? draw(3000) : draw(300000));
  s->fill = (uint8_t)draw(256);
  s->block = mheap_malloc(heap, s->size);
  if (CHECK(s->block != NULL)) memset(s->block, s->fill, s->size);
}

static bool holds(const slot *s) {
  for (size_t i = 0; s->block != NULL && i < s->size; i++)
    if (s->block[i] != s->fill) return false;
  return true;
}

static void many_commits_and_rollbacks_keep_what_a_model_keeps(void) {
  const char *path = test_path("d.heap");
  mheap *heap = open_atomic(path);
  REQUIRE(heap != NULL);
  mheap_malloc(heap, 16); /* names the base */
  CHECK_EQ(mheap_commit(heap, true), MHEAP_OK);
  slot now[SLOTS] = {{0}}, committed[SLOTS] = {{0}};
  for (int round = 0; round < 200; round++) {
    for (uint64_t n = draw(60); n > 0; n--) change(heap, &now[draw(SLOTS)]);
    uint64_t what = draw(10);
    if (what < 5) {
      CHECK_EQ(mheap_commit(heap, what == 0), MHEAP_OK);
      memcpy(committed, now, sizeof now);
    } else if (what < 8) {
      CHECK_EQ(mheap_rollback(heap), MHEAP_OK);
      memcpy(now, committed, sizeof now);
    } else {
      if (what == 8) mheap_abandon(heap);
      else CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
      heap = open_atomic(path);
      REQUIRE(heap != NULL);
      memcpy(now, committed, sizeof now);
    }
    for (int i = 0; i < SLOTS; i++) CHECK(holds(&now[i]));
    REQUIRE_EQ(mheap_check(heap, NULL, NULL, NULL), MHEAP_OK);
  }
  mheap_detach(heap, NULL);
}

TEST_MAIN(TEST(a_commit_is_there_after_the_death_of_the_process),
          TEST(without_a_commit_the_file_stays_as_it_was), TEST(a_rollback_undoes_what_was_not_committed),
          TEST(many_commits_and_rollbacks_keep_what_a_model_keeps))
