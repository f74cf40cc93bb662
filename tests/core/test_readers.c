/* test_readers.c: readers beside an atomic writer see whole commits, one after the other. */
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "commit.h"
#include "heap.h"
#include "reader.h"
#include "region_lock.h"
#include "test.h"

static mheap *open_in(const char *path, mheap_mode mode) {
  mheap_error error;
  mheap *heap = mheap_open(path, &(mheap_options){.mode = mode, .relocate = true}, &error);
  if (heap == NULL) fprintf(stderr, "%s\n", error.text);
  return heap;
}

/* The invariant of a commit: all numbers are the same. */
enum { NUMBERS = 8192, APART = 512 };

static uint64_t *numbers_of(mheap *heap) { return mheap_getkey(heap, 0); }

static void set_numbers(mheap *heap, uint64_t value) {
  uint64_t *numbers = numbers_of(heap);
  for (int i = 0; i < NUMBERS; i += APART) numbers[i] = value;
}

static bool all_are(mheap *heap, uint64_t value) {
  const uint64_t *numbers = numbers_of(heap);
  for (int i = 0; i < NUMBERS; i += APART)
    if (numbers[i] != value) return false;
  return true;
}

static mheap *new_heap(const char *path) {
  mheap *heap = open_in(path, MHEAP_MODE_ATOMIC);
  if (heap == NULL) return NULL;
  mheap_setkey(heap, 0, mheap_calloc(heap, NUMBERS, sizeof(uint64_t)));
  return mheap_commit(heap, true) == MHEAP_OK ? heap : NULL;
}

static void commit_value(mheap *heap, uint64_t value) {
  set_numbers(heap, value);
  CHECK_EQ(mheap_commit(heap, false), MHEAP_OK);
}

static void a_reader_goes_on_when_it_is_told_to(void) {
  const char *path = test_path("a.heap");
  mheap *writer = new_heap(path);
  REQUIRE(writer != NULL);
  commit_value(writer, 7);
  mheap *reader = open_in(path, MHEAP_MODE_READONLY);
  REQUIRE(reader != NULL);
  CHECK_EQ(mheap_generation(reader), 2);
  CHECK(all_are(reader, 7));
  CHECK(!mheap_has_news(reader));
  set_numbers(writer, 8);
  CHECK(all_are(reader, 7));
  CHECK_EQ(mheap_commit(writer, false), MHEAP_OK);
  CHECK(mheap_has_news(reader));
  CHECK(mheap_is_whole(reader));
  CHECK(all_are(reader, 7));
  bool moved;
  CHECK_EQ(mheap_refresh(reader, &moved), MHEAP_OK);
  CHECK(moved);
  CHECK(!mheap_has_news(reader));
  CHECK(all_are(reader, 8));
  CHECK_EQ(mheap_generation(reader), 3);
  CHECK_EQ(mheap_refresh(reader, &moved), MHEAP_OK);
  CHECK(!moved);
  CHECK_EQ(mheap_check(reader, NULL, NULL, NULL), MHEAP_OK);
  mheap_detach(reader, NULL);
  mheap_detach(writer, NULL);
}

static void a_checkpoint_is_noticed_and_passed(void) {
  const char *path = test_path("b.heap");
  mheap *writer = new_heap(path);
  REQUIRE(writer != NULL);
  commit_value(writer, 1);
  mheap *old = open_in(path, MHEAP_MODE_READONLY), *newest = open_in(path, MHEAP_MODE_READONLY);
  REQUIRE(old != NULL && newest != NULL);
  commit_value(writer, 2);
  CHECK_EQ(mheap_refresh(newest, NULL), MHEAP_OK);
  CHECK_EQ(mheap_checkpoint(writer), MHEAP_OK);
  CHECK(!mheap_is_whole(old)); /* the control: there is something to notice */
  CHECK(mheap_is_whole(newest));
  CHECK(all_are(newest, 2));
  CHECK_EQ(mheap_refresh(old, NULL), MHEAP_OK);
  CHECK(mheap_is_whole(old));
  CHECK(all_are(old, 2));
  for (uint64_t value = 3; value < 40; value++) {
    commit_value(writer, value);
    if (value % 3 == 0) CHECK_EQ(mheap_checkpoint(writer), MHEAP_OK);
    CHECK_EQ(mheap_refresh(newest, NULL), MHEAP_OK);
    CHECK(all_are(newest, value));
    if (value % 7 == 0) {
      CHECK_EQ(mheap_refresh(old, NULL), MHEAP_OK);
      CHECK(all_are(old, value));
    }
  }
  mheap_detach(old, NULL);
  mheap_detach(newest, NULL);
  mheap_detach(writer, NULL);
}

static void what_is_kept_stays(void) {
  const char *path = test_path("c.heap");
  mheap *writer = new_heap(path);
  REQUIRE(writer != NULL);
  commit_value(writer, 1);
  mheap *reader = open_in(path, MHEAP_MODE_READONLY);
  REQUIRE(reader != NULL);
  bool moved;
  CHECK_EQ(mheap_keep(reader, &moved), MHEAP_OK);
  CHECK(!moved);
  commit_value(writer, 2);
  CHECK_EQ(mheap_checkpoint(writer), MHEAP_ERR_BUSY);
  CHECK(mheap_is_whole(reader));
  CHECK(all_are(reader, 1));
  CHECK_EQ(mheap_refresh(reader, NULL), MHEAP_ERR_BUSY);
  mheap_release(reader);
  CHECK_EQ(mheap_checkpoint(writer), MHEAP_OK);
  CHECK_EQ(mheap_refresh(reader, NULL), MHEAP_OK);
  CHECK(all_are(reader, 2));
  mheap_detach(reader, NULL);
  mheap_detach(writer, NULL);
}

static void what_is_kept_makes_the_journal_grow_to_a_limit(void) {
  const char *path = test_path("d.heap");
  mheap *writer = new_heap(path);
  REQUIRE(writer != NULL);
  mheap *reader = open_in(path, MHEAP_MODE_READONLY);
  CHECK_EQ(mheap_keep(reader, NULL), MHEAP_OK);
  writer->region->commits->limit = 100 * MH_PAGE;
  uint64_t value = 1;
  mheap_err code = MHEAP_OK;
  for (; value < 1000 && !code; value++) {
    set_numbers(writer, value);
    code = mheap_commit(writer, false);
  }
  CHECK_EQ(code, MHEAP_ERR_FULL);
  CHECK(value > 50 && value < 200);
  CHECK_CONTAINS(mheap_last_error(writer)->text, "journal_limit=");
  CHECK(all_are(reader, 0));
  mheap_release(reader);
  CHECK_EQ(mheap_commit(writer, false), MHEAP_OK);
  CHECK_EQ(mheap_keep(reader, NULL), MHEAP_OK);
  uint64_t kept = *numbers_of(reader);
  writer->region->commits->overrun = true;
  for (; value < 1000 && mheap_is_whole(reader); value++) commit_value(writer, value);
  CHECK(value < 1000);
  CHECK(kept < value);
  mheap_detach(reader, NULL);
  mheap_detach(writer, NULL);
}

static void a_reader_follows_growth_and_moves_of_the_journal(void) {
  const char *path = test_path("e.heap");
  mheap *writer = new_heap(path);
  REQUIRE(writer != NULL);
  mheap *reader = open_in(path, MHEAP_MODE_READONLY);
  REQUIRE(reader != NULL);
  uint64_t place = writer->region->commits->journal.first.journal;
  for (uint64_t value = 1; value < 60; value++) {
    char *block = mheap_malloc(writer, 100000 * value);
    REQUIRE(block != NULL);
    memset(block, (int)value, 100000 * value);
    mheap_setkey(writer, 1, block);
    commit_value(writer, value);
    CHECK_EQ(mheap_refresh(reader, NULL), MHEAP_OK);
    CHECK(all_are(reader, value));
    const char *seen = mheap_getkey(reader, 1);
    CHECK(seen[0] == (char)value && seen[100000 * value - 1] == (char)value);
    if (value % 10 == 0) CHECK_EQ(mheap_check(reader, NULL, NULL, NULL), MHEAP_OK);
  }
  CHECK(writer->region->commits->journal.first.journal != place);
  mheap_detach(reader, NULL);
  mheap_detach(writer, NULL);
}

/* A child commits as fast as it can until it is killed. */
static void write_on(const char *path) {
  prctl(PR_SET_PDEATHSIG, SIGKILL); /* not beyond the test */
  mheap *writer = open_in(path, MHEAP_MODE_ATOMIC);
  if (writer == NULL) _exit(1);
  for (uint64_t value = *numbers_of(writer) + 1;; value++) {
    void *growth = value % 50 == 0 ? mheap_malloc(writer, 70000) : NULL;
    (void)growth;
    set_numbers(writer, value);
    mheap_commit(writer, value % 64 == 0);
    if (value % 17 == 0) mheap_checkpoint(writer);
  }
}

typedef struct reading {
  uint64_t reads, retries, newest;
  bool torn, back;
} reading;

static void read_once(mheap *reader, reading *r) {
  const uint64_t *numbers = numbers_of(reader);
  uint64_t first = numbers[0];
  bool same = true;
  for (int i = 0; i < NUMBERS; i += APART) same &= numbers[i] == first;
  if (!mheap_is_whole(reader)) {
    r->retries++;
    return;
  }
  r->reads++;
  r->torn |= !same;
  r->back |= first < r->newest;
  r->newest = first;
}

static void readers_see_whole_commits_until_the_writer_is_killed(void) {
  const char *path = test_path("f.heap");
  mheap *writer = new_heap(path);
  REQUIRE(writer != NULL);
  mheap_detach(writer, NULL);
  for (int round = 0; round < 20; round++) {
    pid_t child = fork();
    if (child == 0) write_on(path);
    mheap *reader = open_in(path, MHEAP_MODE_READONLY);
    REQUIRE(reader != NULL);
    for (int i = 0; i < 10000 && !mheap_has_news(reader); i++) usleep(1000); /* until it has begun */
    reading r = {0};
    for (int i = 0; i < 3000; i++) {
      if (i == 2500) {
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
      }
      if (i % 5 == 0 || !mheap_is_whole(reader)) CHECK_EQ(mheap_refresh(reader, NULL), MHEAP_OK);
      read_once(reader, &r);
    }
    CHECK(!r.torn);
    CHECK(!r.back);
    CHECK(r.newest > 0);
    CHECK_EQ(mheap_check(reader, NULL, NULL, NULL), MHEAP_OK);
    mheap_detach(reader, NULL);
  }
}

/* A reader that had read what was there before keeps nothing of it. */
static void what_grows_back_is_seen(void) {
  const char *path = test_path("l.heap");
  mheap *writer = new_heap(path);
  REQUIRE(writer != NULL);
  char *block = mheap_calloc(writer, 1, 20 * MH_SLICE);
  CHECK_EQ(mheap_commit(writer, false), MHEAP_OK);
  mheap *reader = open_in(path, MHEAP_MODE_READONLY);
  REQUIRE(reader != NULL && block != NULL);
  memset(block, 'x', 20 * MH_SLICE);
  CHECK_EQ(mheap_commit(writer, false), MHEAP_OK);
  CHECK_EQ(mheap_refresh(reader, NULL), MHEAP_OK);
  CHECK_EQ(mheap_free(writer, block), MHEAP_OK);
  CHECK_EQ(mheap_collect(writer, true), MHEAP_OK);
  CHECK_EQ(mheap_commit(writer, false), MHEAP_OK);
  CHECK_EQ(mheap_refresh(reader, NULL), MHEAP_OK);
  CHECK_EQ(mheap_checkpoint(writer), MHEAP_OK);
  CHECK_EQ(mheap_refresh(reader, NULL), MHEAP_OK);
  char *again = mheap_calloc(writer, 1, 20 * MH_SLICE);
  CHECK(again == block);
  CHECK_EQ(mheap_commit(writer, false), MHEAP_OK);
  CHECK_EQ(mheap_refresh(reader, NULL), MHEAP_OK);
  const char *seen = (const char *)mh_at(reader->region, mh_offset(writer->region, again));
  for (uint64_t i = 0; i < 20 * MH_SLICE; i += MH_PAGE) CHECK_EQ(seen[i], 0);
  mheap_detach(reader, NULL);
  mheap_detach(writer, NULL);
}

/* The pages have more than the reader has mapped, and no record says so. */
static void what_grew_before_a_checkpoint_is_seen(void) {
  const char *path = test_path("m.heap");
  mheap *writer = new_heap(path);
  REQUIRE(writer != NULL);
  mheap *reader = open_in(path, MHEAP_MODE_READONLY);
  REQUIRE(reader != NULL);
  char *block = mheap_calloc(writer, 1, 20 * MH_SLICE);
  REQUIRE(block != NULL);
  CHECK_EQ(mheap_commit(writer, false), MHEAP_OK);
  CHECK_EQ(mheap_checkpoint(writer), MHEAP_OK);
  CHECK_EQ(mheap_refresh(reader, NULL), MHEAP_OK);
  CHECK_EQ(mh_region_size(reader->region), mh_region_size(writer->region));
  CHECK_EQ(mheap_check(reader, NULL, NULL, NULL), MHEAP_OK);
  mheap_detach(reader, NULL);
  mheap_detach(writer, NULL);
}

static uint64_t mark_of(const char *path) {
  uint64_t word = 0;
  int fd = open(path, O_RDONLY);
  CHECK_EQ(pread(fd, &word, sizeof word, offsetof(mh_superblock, checkpoint)), sizeof word);
  close(fd);
  return word;
}

/* A writer is killed in its checkpoint; the next finds a reader in the way of its own. */
static void a_checkpoint_that_was_not_finished_stays_marked(void) {
  const char *path = test_path("k.heap");
  mheap *writer = new_heap(path);
  REQUIRE(writer != NULL);
  commit_value(writer, 1);
  mheap_abandon(writer);
  uint64_t mark = 2;
  int fd = open(path, O_WRONLY);
  CHECK_EQ(pwrite(fd, &mark, sizeof mark, offsetof(mh_superblock, checkpoint)), sizeof mark);
  close(fd);
  writer = open_in(path, MHEAP_MODE_ATOMIC);
  mheap *reader = open_in(path, MHEAP_MODE_READONLY);
  REQUIRE(writer != NULL && reader != NULL);
  CHECK_EQ(mheap_keep(reader, NULL), MHEAP_OK);
  commit_value(writer, 2);
  CHECK_EQ(mheap_checkpoint(writer), MHEAP_ERR_BUSY);
  CHECK_EQ(mark_of(path), mark);
  mheap_release(reader);
  CHECK_EQ(mheap_checkpoint(writer), MHEAP_OK);
  CHECK_EQ(mark_of(path), 3);
  mheap_detach(reader, NULL);
  mheap_detach(writer, NULL);
}

/* Many records a checkpoint, so that the journal begins anew while they are read. */
static void write_on_and_empty(const char *path) {
  mheap *heap = open_in(path, MHEAP_MODE_ATOMIC);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (heap == NULL) _exit(1);
  for (uint64_t value = 1;; value++) {
    set_numbers(heap, value);
    if (mheap_commit(heap, false) != MHEAP_OK) _exit(1);
    if (value % 50 == 0 && mheap_checkpoint(heap) != MHEAP_OK &&
        mheap_last_error(heap)->code != MHEAP_ERR_BUSY)
      _exit(1);
  }
}

static void readers_attach_beside_checkpoints(void) {
  const char *path = test_path("j.heap");
  mheap *writer = new_heap(path);
  REQUIRE(writer != NULL);
  CHECK_EQ(mheap_detach(writer, NULL), MHEAP_OK);
  pid_t pid = fork();
  if (pid == 0) write_on_and_empty(path);
  unsigned whole = 0, attaches = 1000;
  for (unsigned i = 0; i < attaches; i++) {
    mheap *reader = open_in(path, MHEAP_MODE_READONLY);
    whole += reader != NULL;
    mheap_abandon(reader);
  }
  CHECK_EQ(whole, attaches);
  int status;
  CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
}

/* Nothing of the file goes while an atomic writer gives back what it freed. */
static void readers_come_while_a_writer_frees(void) {
  mheap *writer = new_heap(test_path("frees.heap"));
  REQUIRE(writer != NULL);
  REQUIRE(mh_region_begin_taking(writer->region));
  mheap *reader = open_in(test_path("frees.heap"), MHEAP_MODE_READONLY);
  mh_region_end_taking(writer->region);
  CHECK(reader != NULL);
  mheap_abandon(reader);
  CHECK_EQ(mheap_detach(writer, NULL), MHEAP_OK);
}

/* ---- what goes is not cut off under a reader that may be storing to its pages of it ---- */

static int comes = -1; /* a descriptor of the reader that comes while a checkpoint is under way */

/* In place of the library's. */
int fdatasync(int fd) {
  mh_sector first;
  if (comes >= 0 && pread(fd, &first, sizeof first, 0) == sizeof first && first.checkpoint > first.generation)
    CHECK_EQ(mh_region_pin(comes, 0), 0);
  return (int)syscall(SYS_fdatasync, fd);
}

static uint64_t file_bytes(int fd) {
  struct stat st = {0};
  CHECK_EQ(fstat(fd, &st), 0);
  return (uint64_t)st.st_size;
}

/* Of a heap that was larger, once its writer has closed it. */
static uint64_t file_bytes_closed(const char *path, bool a_reader_comes) {
  mheap *heap = open_in(path, MHEAP_MODE_ATOMIC);
  int fd = open(path, O_RDWR);
  if (heap == NULL || fd < 0) return 0;
  void *large = mheap_malloc(heap, 8 << 20);
  CHECK(large != NULL);
  CHECK_EQ(mheap_commit(heap, false), MHEAP_OK);
  CHECK_EQ(mheap_free(heap, large), MHEAP_OK);
  CHECK_EQ(mheap_collect(heap, true), MHEAP_OK);
  CHECK_EQ(mheap_commit(heap, false), MHEAP_OK);
  if (a_reader_comes) comes = fd;
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  comes = -1;
  int other = open(path, O_RDWR);
  CHECK_EQ(mh_region_pinned_before(other, 1), a_reader_comes);
  uint64_t bytes = file_bytes(fd);
  close(other);
  close(fd);
  return bytes;
}

static void what_a_reader_may_store_to_is_not_cut_off(void) {
  const char *path = test_path("cut.heap");
  CHECK(file_bytes_closed(path, false) < 8 << 20); /* the control: where there is none, it is */
  CHECK(file_bytes_closed(path, true) > 8 << 20);
  mheap *reader = open_in(path, MHEAP_MODE_READONLY);
  REQUIRE(reader != NULL);
  CHECK_EQ(mheap_check(reader, NULL, NULL, NULL), MHEAP_OK);
  CHECK_EQ(mheap_detach(reader, NULL), MHEAP_OK);
  CHECK(file_bytes_closed(path, false) < 8 << 20); /* with the next that is committed */
}

/* Who reads at an address, and looks afterwards whether that was still so, is not killed for it. */
static void what_was_given_back_reads_as_zeros_until_the_reader_goes_on(void) {
  const char *path = test_path("back.heap");
  bool moved;
  mheap *writer = new_heap(path);
  REQUIRE(writer != NULL);
  char *large = mheap_malloc(writer, 8 << 20);
  REQUIRE(large != NULL);
  memset(large, 1, 8 << 20);
  mheap_setkey(writer, 1, large);
  commit_value(writer, 7);
  mheap *reader = open_in(path, MHEAP_MODE_READONLY);
  REQUIRE(reader != NULL);
  const volatile char *seen = mheap_getkey(reader, 1);
  CHECK_EQ(seen[8000000], 1);
  mheap_setkey(writer, 1, NULL);
  CHECK_EQ(mheap_free(writer, large), MHEAP_OK);
  CHECK_EQ(mheap_collect(writer, true), MHEAP_OK);
  commit_value(writer, 8);
  CHECK_EQ(mheap_detach(writer, NULL), MHEAP_OK);
  mheap_info info;
  CHECK_EQ(mheap_get_info(reader, &info), MHEAP_OK);
  CHECK_EQ(info.generation, 2);
  CHECK(!mh_reader_has_record(reader->region->reader)); /* whose place was cut off too */
  CHECK_EQ(seen[8000000], 0);
  CHECK(!mheap_is_whole(reader));
  CHECK_EQ(mheap_refresh(reader, &moved), MHEAP_OK);
  CHECK(moved && all_are(reader, 8) && !mheap_has_news(reader));
  writer = open_in(path, MHEAP_MODE_ATOMIC);
  large = mheap_malloc(writer, 8 << 20);
  REQUIRE(large != NULL);
  memset(large, 2, 8 << 20);
  mheap_setkey(writer, 1, large);
  commit_value(writer, 9);
  CHECK(mheap_has_news(reader));
  CHECK_EQ(mheap_detach(writer, NULL), MHEAP_OK);
  CHECK_EQ(mheap_refresh(reader, &moved), MHEAP_OK);
  seen = mheap_getkey(reader, 1);
  for (int i = 0; i < 8 << 20; i += 4096) CHECK_EQ(seen[i], 2);
  CHECK_EQ(mheap_check(reader, NULL, NULL, NULL), MHEAP_OK);
  CHECK_EQ(mheap_detach(reader, NULL), MHEAP_OK);
}

TEST_MAIN(TEST(readers_come_while_a_writer_frees), TEST(a_reader_goes_on_when_it_is_told_to),
          TEST(a_checkpoint_is_noticed_and_passed), TEST(what_is_kept_stays),
          TEST(what_is_kept_makes_the_journal_grow_to_a_limit),
          TEST(a_reader_follows_growth_and_moves_of_the_journal),
          TEST(readers_see_whole_commits_until_the_writer_is_killed),
          TEST(readers_attach_beside_checkpoints), TEST(a_checkpoint_that_was_not_finished_stays_marked),
          TEST(what_a_reader_may_store_to_is_not_cut_off),
          TEST(what_was_given_back_reads_as_zeros_until_the_reader_goes_on), TEST(what_grows_back_is_seen),
          TEST(what_grew_before_a_checkpoint_is_seen))
