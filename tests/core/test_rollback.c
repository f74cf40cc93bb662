/* test_rollback.c: what this process knew of objects, heaps and kinds that a rollback takes away. */
#include <fcntl.h>
#include <unistd.h>

#include "commit.h"
#include "heap.h"
#include "kind.h"
#include "objects/objects.h"
#include "test.h"

static mheap *open_atomic(const char *path) {
  mheap_error error;
  mheap *heap = mheap_open(path, &(mheap_options){.mode = MHEAP_MODE_ATOMIC}, &error);
  if (heap == NULL) fprintf(stderr, "%s\n", error.text);
  return heap;
}

static void no_number_is_given_twice(void) {
  mheap *heap = open_atomic(test_path("a.heap"));
  REQUIRE(heap != NULL);
  mh_space space;
  mh_dict first, second;
  mh_space_init(&space, heap);
  CHECK_EQ(mh_next_birth(&space), 1);
  CHECK_EQ(mh_dict_new(&space, 0, &first), MHEAP_OK);
  CHECK_EQ(mheap_rollback(heap), MHEAP_OK);
  CHECK_EQ(heap->region->super->birth, 1);
  CHECK_EQ(mh_next_birth(&space), 2);
  CHECK_EQ(mh_dict_new(&space, 0, &second), MHEAP_OK);
  CHECK_EQ(second.offset, first.offset);
  uint64_t length;
  CHECK_EQ(mh_dict_length(&first, &length), MHEAP_ERR_STALE);
  CHECK_EQ(mh_dict_length(&second, &length), MHEAP_OK);
  mheap_detach(heap, NULL);
}

static bool always(mh_space *space, uint64_t offset) {
  (void)space, (void)offset;
  return true;
}

static void what_only_a_handle_kept_is_back_whole(void) {
  mheap *heap = open_atomic(test_path("g.heap"));
  REQUIRE(heap != NULL);
  mh_space space;
  mh_dict dict;
  uint64_t length;
  mh_space_init(&space, heap);
  space.held = always;
  CHECK_EQ(mh_dict_new(&space, 0, &dict), MHEAP_OK);
  mh_release(&space, mh_word_ref(MH_TAG_DICT_REF, dict.offset));
  CHECK_EQ(mheap_commit(heap, false), MHEAP_OK);
  mh_reap(&space, dict.offset);
  CHECK_EQ(mh_dict_length(&dict, &length), MHEAP_ERR_STALE);
  CHECK_EQ(mheap_rollback(heap), MHEAP_OK);
  CHECK_EQ(mh_dict_length(&dict, &length), MHEAP_OK);
  mheap_detach(heap, NULL);
}

static void a_row_is_its_old_heaps_again(void) {
  mheap *heap = open_atomic(test_path("b.heap"));
  REQUIRE(heap != NULL);
  mheap *old = mheap_new(heap, 1, true, 0);
  REQUIRE(old != NULL);
  void *block = mheap_malloc(old, 100);
  CHECK(!mh_heap_is_committed(old));
  CHECK_EQ(mheap_commit(heap, false), MHEAP_OK);
  CHECK(mh_heap_is_committed(old));
  uint32_t row = old->row;
  CHECK_EQ(mheap_destroy(old), MHEAP_OK);
  mheap *new = mheap_new(heap, 2, true, 0);
  REQUIRE(new != NULL);
  CHECK_EQ(new->row, row);
  CHECK(mheap_malloc(new, 100) != NULL);
  CHECK_EQ(mheap_rollback(heap), MHEAP_OK);
  CHECK(mh_handle_find(heap->region, row) == NULL);
  mheap *back = mh_handle_of(heap->region, row, NULL);
  REQUIRE(back != NULL);
  CHECK_EQ(mh_heap_row_of(back)->head >> MH_HEAP_TAG_SHIFT & 255, 1);
  CHECK_EQ(mheap_free(back, block), MHEAP_OK);
  CHECK_EQ(mheap_check(heap, NULL, NULL, NULL), MHEAP_OK);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static void kinds_come_and_go(void) {
  mheap *heap = open_atomic(test_path("c.heap"));
  REQUIRE(heap != NULL);
  mheap_kind *kept = mheap_kind_create("kept", MHEAP_KIND_BIJECTIVE, heap);
  REQUIRE(kept != NULL);
  CHECK_EQ(mheap_commit(heap, false), MHEAP_OK);
  CHECK(mheap_kind_create("new", MHEAP_KIND_BIJECTIVE, heap) != NULL);
  CHECK_EQ(mheap_kind_set_usage(kept, MHEAP_KIND_USAGE_CONSERVATIVE), MHEAP_OK);
  CHECK_EQ(mheap_rollback(heap), MHEAP_OK);
  CHECK(mheap_kind_find("new", heap) == NULL);
  CHECK(mheap_kind_find("kept", heap) == kept);
  CHECK_EQ(kept->usage, MHEAP_KIND_USAGE_DEFAULT);
  CHECK(mheap_kind_create("new", MHEAP_KIND_BIJECTIVE, heap) != NULL);
  CHECK_EQ(mheap_check(heap, NULL, NULL, NULL), MHEAP_OK);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* As commit.h says: what is made while a commit waits for the disk is not in it. */
static mheap *made_meanwhile;
static void make_one(void *arg) { made_meanwhile = mheap_new(arg, 0, true, 0); }

static void what_is_made_while_a_commit_waits_is_in_the_next(void) {
  mheap *heap = open_atomic(test_path("d.heap"));
  REQUIRE(heap != NULL);
  mheap *made = mheap_new(heap, 0, true, 0);
  const mh_commit_wait wait = {make_one, heap};
  CHECK_EQ(mh_heap_commit(heap, true, &wait), MHEAP_OK);
  REQUIRE(made_meanwhile != NULL);
  CHECK(mh_heap_is_committed(made));
  CHECK(!mh_heap_is_committed(made_meanwhile));
  uint32_t row = made_meanwhile->row;
  CHECK_EQ(mheap_rollback(heap), MHEAP_OK);
  CHECK(mh_handle_find(heap->region, row) == NULL);
  CHECK(mh_handle_find(heap->region, made->row) == made);
  CHECK_EQ(mheap_check(heap, NULL, NULL, NULL), MHEAP_OK);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* A record may say that what the region grew by was written straight to its place. */
static void what_grows_after_a_kill_leaves_what_records_have(void) {
  const char *path = test_path("e.heap");
  mheap *heap = open_atomic(path);
  REQUIRE(heap != NULL);
  char *large = mheap_malloc(heap, 2 * MH_SEGMENT);
  REQUIRE(large != NULL);
  memset(large, 'x', 2 * MH_SEGMENT);
  CHECK_EQ(mheap_commit(heap, false), MHEAP_OK);
  memset(large + MH_SEGMENT, 'X', MH_SLICE); /* in a record, behind what is the region's end later */
  CHECK_EQ(mheap_commit(heap, false), MHEAP_OK);
  CHECK_EQ(mheap_free(heap, large), MHEAP_OK);
  CHECK_EQ(mheap_collect(heap, true), MHEAP_OK);
  CHECK_EQ(mheap_commit(heap, false), MHEAP_OK);
  CHECK(mh_region_size(heap->region) < MH_SEGMENT);
  mheap_abandon(heap);
  heap = open_atomic(path);
  REQUIRE(heap != NULL);
  CHECK_EQ(mheap_generation(heap), 3);
  char *small = mheap_malloc(heap, MH_SLICE);
  REQUIRE(small != NULL);
  memset(small, 'y', MH_SLICE);
  mheap_setkey(heap, 0, small);
  CHECK_EQ(mheap_commit(heap, false), MHEAP_OK);
  mheap_abandon(heap);
  heap = open_atomic(path);
  REQUIRE(heap != NULL);
  CHECK_EQ(mheap_generation(heap), 4);
  small = mheap_getkey(heap, 0);
  REQUIRE(small != NULL);
  CHECK(small[0] == 'y' && small[MH_SLICE - 1] == 'y');
  CHECK_EQ(mheap_check(heap, NULL, NULL, NULL), MHEAP_OK);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static mheap *killed_and_opened(mheap *heap, const char *path, uint64_t max_size) {
  mheap_error error;
  mheap_abandon(heap);
  heap = mheap_open(path, &(mheap_options){.mode = MHEAP_MODE_ATOMIC, .max_size = max_size}, &error);
  if (heap == NULL) fprintf(stderr, "%s\n", error.text);
  return heap;
}

/* Pages that changed on both sides of the end, in one run, and far behind what a smaller attach spans. */
static void records_of_what_the_region_shrank_by_do_no_harm(void) {
  const char *path = test_path("f.heap");
  mheap *heap = open_atomic(path);
  REQUIRE(heap != NULL);
  char *kept = mheap_malloc(heap, 2 * MH_SLICE), *next = mheap_malloc(heap, 8 * MH_SLICE);
  char *far = mheap_malloc(heap, 8 * MH_SEGMENT);
  REQUIRE(kept != NULL && next != NULL && far != NULL);
  CHECK_EQ(next - kept, 2 * MH_SLICE);
  CHECK_EQ(mheap_commit(heap, false), MHEAP_OK);
  memset(kept, 'k', 2 * MH_SLICE);
  memset(next, 'n', 8 * MH_SLICE);
  memset(far + 7 * MH_SEGMENT, 'f', MH_PAGE);
  CHECK_EQ(mheap_commit(heap, false), MHEAP_OK);
  CHECK_EQ(mheap_free(heap, next), MHEAP_OK);
  CHECK_EQ(mheap_free(heap, far), MHEAP_OK);
  CHECK_EQ(mheap_collect(heap, true), MHEAP_OK);
  CHECK_EQ(mheap_commit(heap, false), MHEAP_OK);
  CHECK_EQ(mh_region_size(heap->region), mh_offset(heap->region, next));
  for (int i = 0; i < 2; i++) {
    heap = killed_and_opened(heap, path, i == 0 ? 4 * MH_SEGMENT : 0);
    REQUIRE(heap != NULL);
    CHECK_EQ(mheap_generation(heap), 3);
    CHECK(kept[0] == 'k' && kept[2 * MH_SLICE - 1] == 'k');
    CHECK_EQ(mheap_check(heap, NULL, NULL, NULL), MHEAP_OK);
  }
  next = mheap_calloc(heap, 1, 4 * MH_SLICE);
  REQUIRE(next != NULL);
  for (uint64_t i = 0; i < 4 * MH_SLICE; i++) CHECK_EQ(next[i], 0);
  CHECK_EQ(mheap_commit(heap, true), MHEAP_OK);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* A checkpoint leaves in the file what is behind the end, which an image had otherwise. */
static void what_grows_back_over_changed_pages_is_committed(void) {
  const char *path = test_path("h.heap");
  mheap *heap = open_atomic(path);
  REQUIRE(heap != NULL);
  char *block = mheap_calloc(heap, 1, 20 * MH_SLICE);
  CHECK_EQ(mheap_commit(heap, false), MHEAP_OK);
  memset(block, 'x', 20 * MH_SLICE);
  CHECK_EQ(mheap_commit(heap, false), MHEAP_OK);
  CHECK_EQ(mheap_free(heap, block), MHEAP_OK);
  CHECK_EQ(mheap_collect(heap, true), MHEAP_OK);
  CHECK_EQ(mheap_commit(heap, false), MHEAP_OK);
  CHECK_EQ(mh_region_size(heap->region), mh_offset(heap->region, block));
  CHECK_EQ(mheap_checkpoint(heap), MHEAP_OK);
  CHECK(mheap_malloc(heap, 20 * MH_SLICE) == block);
  memset(block, 'x', 20 * MH_SLICE);
  CHECK_EQ(mheap_commit(heap, false), MHEAP_OK);
  heap = killed_and_opened(heap, path, 0);
  REQUIRE(heap != NULL);
  CHECK_EQ(mheap_generation(heap), 4);
  for (uint64_t i = 0; i < 20 * MH_SLICE; i += MH_PAGE) CHECK_EQ(block[i], 'x');
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

enum { LONG = 3 << 19 }; /* bytes: a record of them is read back in pieces */

static mheap_err commit_long(mheap *heap, char value) {
  memset(mheap_getkey(heap, 0), value, LONG);
  return mheap_commit(heap, true);
}

static bool is_all(mheap *heap, char value) {
  const char *bytes = mheap_getkey(heap, 0);
  return bytes[0] == value && memcmp(bytes, bytes + 1, LONG - 1) == 0;
}

/* A descriptor that is only written to stands for a disk that does not read. */
static void what_cannot_be_read_back_is_not_rolled_back_to(void) {
  const char *path = test_path("torn.heap");
  const mheap_options options = {.mode = MHEAP_MODE_ATOMIC};
  mheap *heap = mheap_open(path, &options, NULL);
  REQUIRE(heap != NULL);
  mheap_setkey(heap, 0, mheap_malloc(heap, LONG));
  for (char value = 1; value <= 3; value++) CHECK_EQ(commit_long(heap, value), MHEAP_OK);
  CHECK_EQ(mheap_checkpoint(heap), MHEAP_OK);
  int fd = heap->region->commits->journal.tape.fd = open(path, O_WRONLY);
  CHECK_EQ(commit_long(heap, 4), MHEAP_ERR_SYSTEM);
  CHECK(strstr(mheap_last_error(heap)->text, "reading back what was committed") != NULL);
  CHECK(mheap_rollback(heap) != MHEAP_OK);
  CHECK(strstr(mheap_last_error(heap)->text, "open it again") != NULL);
  CHECK(mheap_commit(heap, true) != MHEAP_OK);
  CHECK(is_all(heap, 4));
  mheap_abandon(heap);
  close(fd);
  heap = mheap_open(path, &options, NULL);
  REQUIRE(heap != NULL);
  CHECK(is_all(heap, 4));
  CHECK_EQ(commit_long(heap, 5), MHEAP_OK);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

TEST_MAIN(TEST(what_cannot_be_read_back_is_not_rolled_back_to), TEST(no_number_is_given_twice),
          TEST(what_only_a_handle_kept_is_back_whole), TEST(a_row_is_its_old_heaps_again),
          TEST(kinds_come_and_go), TEST(what_is_made_while_a_commit_waits_is_in_the_next),
          TEST(what_grows_after_a_kill_leaves_what_records_have),
          TEST(records_of_what_the_region_shrank_by_do_no_harm),
          TEST(what_grows_back_over_changed_pages_is_committed))
