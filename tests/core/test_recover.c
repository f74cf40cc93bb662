/* test_recover.c: what a journal holds is told and brought into the pages, of files that nobody attaches. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mheap/mheap.h"
#include "test.h"

static mheap *open_in(const char *path, mheap_mode mode) {
  mheap_error error;
  mheap *heap = mheap_open(path, &(mheap_options){.mode = mode, .relocate = true}, &error);
  if (heap == NULL) fprintf(stderr, "%s\n", error.text);
  return heap;
}

static void commit_value(mheap *heap, uint64_t value) {
  uint64_t *number = mheap_getkey(heap, 0);
  if (number == NULL) {
    number = mheap_malloc(heap, sizeof *number);
    mheap_setkey(heap, 0, number);
  }
  *number = value;
  CHECK_EQ(mheap_commit(heap, false), MHEAP_OK);
}

/* A file with three records. */
static void leave_journal(const char *path) {
  mheap *heap = open_in(path, MHEAP_MODE_ATOMIC);
  REQUIRE(heap != NULL);
  for (uint64_t value = 1; value <= 3; value++) commit_value(heap, value);
  mheap_abandon(heap);
}

static uint64_t value_in(const char *path) {
  mheap *heap = open_in(path, MHEAP_MODE_READONLY);
  if (heap == NULL) return 0;
  uint64_t value = *(uint64_t *)mheap_getkey(heap, 0);
  mheap_detach(heap, NULL);
  return value;
}

static void a_look_tells_what_recovering_does(void) {
  const char *path = test_path("a.heap");
  mheap_journal_info before, done, after;
  leave_journal(path);
  REQUIRE_EQ(mheap_get_journal(path, &before, NULL), MHEAP_OK);
  CHECK_EQ(before.records, 3);
  CHECK_EQ(before.pages_generation, 0);
  CHECK_EQ(before.generation, 3);
  CHECK(before.offset > 0 && before.used > 0 && before.used <= before.size);
  CHECK(!before.busy);
  REQUIRE_EQ(mheap_recover(path, &done, NULL), MHEAP_OK);
  CHECK(done.records == 3 && done.used == before.used && done.generation == 3);
  REQUIRE_EQ(mheap_get_journal(path, &after, NULL), MHEAP_OK);
  CHECK(after.records == 0 && after.used == 0);
  CHECK_EQ(after.pages_generation, 3);
  CHECK_EQ(value_in(path), 3);
}

static void a_writer_is_told_of_and_not_disturbed(void) {
  const char *path = test_path("b.heap");
  mheap_journal_info info;
  mheap_error error;
  leave_journal(path);
  mheap *heap = open_in(path, MHEAP_MODE_ATOMIC);
  REQUIRE(heap != NULL);
  CHECK_EQ(mheap_get_journal(path, &info, NULL), MHEAP_OK);
  CHECK(info.busy);
  CHECK_EQ(mheap_recover(path, &info, &error), MHEAP_ERR_BUSY);
  CHECK(strstr(error.text, "another handle") != NULL);
  mheap_abandon(heap);
  CHECK_EQ(mheap_recover(path, &info, NULL), MHEAP_OK);
  CHECK_EQ(info.records, 3);
}

/* The writer died; who reads an earlier commit is still there, and must go on seeing it. */
static void nothing_is_taken_from_under_a_reader_that_keeps_a_commit(void) {
  const char *path = test_path("c.heap");
  mheap_journal_info info;
  mheap_error error;
  leave_journal(path);
  mheap *writer = open_in(path, MHEAP_MODE_ATOMIC), *reader = open_in(path, MHEAP_MODE_READONLY);
  REQUIRE(writer != NULL && reader != NULL);
  CHECK_EQ(mheap_keep(reader, NULL), MHEAP_OK);
  commit_value(writer, 4);
  mheap_abandon(writer);
  CHECK_EQ(mheap_recover(path, &info, &error), MHEAP_ERR_BUSY);
  CHECK(strstr(error.text, "a reader keeps an earlier commit") != NULL);
  CHECK(mheap_is_whole(reader));
  CHECK_EQ(*(uint64_t *)mheap_getkey(reader, 0), 3);
  mheap_release(reader);
  CHECK_EQ(mheap_recover(path, &info, NULL), MHEAP_OK);
  CHECK_EQ(info.generation, 4);
  CHECK_EQ(mheap_refresh(reader, NULL), MHEAP_OK);
  CHECK_EQ(*(uint64_t *)mheap_getkey(reader, 0), 4);
  mheap_detach(reader, NULL);
}

static void write_on(const char *path) {
  mheap *heap = open_in(path, MHEAP_MODE_ATOMIC);
  if (heap == NULL) _exit(1);
  alarm(60); /* should nobody be left to kill it */
  for (uint64_t value = 4;; value++) {
    commit_value(heap, value);
    if (value % 3 == 0) mheap_checkpoint(heap); /* refused while a reader attaches */
  }
}

enum { EMPTIED = 50 };

/* Checkpoints empty the journal in the middle of looks: never is what a look tells damage, or a mixture. */
static void looks_beside_a_writer_are_of_one_moment(void) {
  const char *path = test_path("d.heap");
  mheap_journal_info info, last = {0};
  mheap_error error;
  unsigned emptied = 0;
  leave_journal(path);
  pid_t writer = fork();
  if (writer == 0) write_on(path);
  for (int i = 0; i < 100000 && emptied < EMPTIED; i++) {
    mheap_err code = mheap_get_journal(path, &info, &error);
    if (code != MHEAP_OK) fprintf(stderr, "%s\n", error.text);
    if (!CHECK_EQ(code, MHEAP_OK)) break;
    CHECK_EQ(info.pages_generation + info.records, info.generation);
    CHECK(info.generation >= last.generation);
    emptied += info.pages_generation > last.pages_generation;
    last = info;
  }
  CHECK_EQ(emptied, EMPTIED);
  kill(writer, SIGKILL);
  CHECK_EQ(waitpid(writer, NULL, 0), writer);
}

static void what_has_no_journal_is_left_as_it_is(void) {
  const char *path = test_path("e.heap");
  mheap_journal_info info;
  mheap *heap = open_in(path, MHEAP_MODE_LIVE);
  REQUIRE(heap != NULL);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  CHECK_EQ(mheap_get_journal(path, &info, NULL), MHEAP_OK);
  CHECK(info.offset == 0 && info.size == 0 && info.used == 0 && info.records == 0);
  CHECK_EQ(mheap_recover(path, &info, NULL), MHEAP_OK);
  CHECK(info.offset == 0 && info.records == 0);
}

TEST_MAIN(TEST(a_look_tells_what_recovering_does), TEST(a_writer_is_told_of_and_not_disturbed),
          TEST(nothing_is_taken_from_under_a_reader_that_keeps_a_commit),
          TEST(looks_beside_a_writer_are_of_one_moment), TEST(what_has_no_journal_is_left_as_it_is))
