/* test_stats.c: what mheap_get_stats, mheap_visit_blocks and mheap_get_info tell. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "classes.h"
#include "mheap/mheap.h"
#include "region.h"
#include "test.h"

static mheap *new_heap(void) {
  mheap_error error;
  mheap *heap = mheap_attach(-1, NULL, &error);
  if (heap == NULL) fprintf(stderr, "%s\n", error.text);
  return heap;
}

static void check_sums(mheap *heap, mheap_stats *stats) {
  CHECK_EQ(mheap_get_stats(heap, stats), MHEAP_OK);
  CHECK_EQ(stats->bytes_total, stats->bytes_used + stats->bytes_free + stats->bytes_overhead);
  uint64_t used = stats->spans.used + stats->huge.used,
           bytes = stats->spans.used_bytes + stats->huge.used_bytes;
  for (unsigned i = 0; i < MHEAP_CLASSES; i++) {
    used += stats->classes[i].used;
    bytes += stats->classes[i].used_bytes;
    CHECK(stats->classes[i].used <= stats->classes[i].blocks);
    CHECK_EQ(stats->classes[i].block_size, mh_classes[i].size);
  }
  CHECK_EQ(used, stats->chunks_used);
  CHECK_EQ(bytes, stats->bytes_used);
}

static void an_empty_heap_holds_nothing(void) {
  mheap *heap = new_heap();
  REQUIRE(heap != NULL);
  mheap_stats stats;
  check_sums(heap, &stats);
  CHECK_EQ(stats.chunks_used, 0);
  CHECK_EQ(stats.bytes_used, 0);
  CHECK(stats.bytes_total >= 2 * MH_SLICE);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static void every_block_is_counted_as_large_as_it_is(void) {
  static const size_t sizes[] = {0, 1, 16, 17, 100, 1000, 5000, 65536, 65537, 200000, 3 << 20, 9 << 20};
  mheap *heap = new_heap();
  REQUIRE(heap != NULL);
  uint64_t count = 0, bytes = 0;
  mheap_stats stats;
  for (int round = 0; round < 50; round++)
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
      if (sizes[i] > 1 << 20 && round > 2) continue;
      void *block = mheap_malloc(heap, sizes[i]);
      REQUIRE(block != NULL);
      count++;
      bytes += mheap_usable_size(heap, block);
    }
  check_sums(heap, &stats);
  CHECK_EQ(stats.chunks_used, count);
  CHECK_EQ(stats.bytes_used, bytes);
  CHECK_EQ(stats.huge.used, 3);
  CHECK_EQ(stats.classes[0].used, 150);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static void freed_blocks_are_counted_as_free(void) {
  mheap *heap = new_heap();
  REQUIRE(heap != NULL);
  void *blocks[300];
  mheap_stats before, full, after;
  check_sums(heap, &before);
  for (size_t i = 0; i < 300; i++) blocks[i] = mheap_malloc(heap, 40 * (i + 1));
  void *huge = mheap_malloc(heap, 20 << 20);
  check_sums(heap, &full);
  CHECK_EQ(full.chunks_used, before.chunks_used + 301);
  for (size_t i = 0; i < 300; i++) CHECK_EQ(mheap_free(heap, blocks[i]), MHEAP_OK);
  CHECK_EQ(mheap_free(heap, huge), MHEAP_OK);
  check_sums(heap, &after);
  CHECK_EQ(after.chunks_used, before.chunks_used);
  CHECK_EQ(after.bytes_used, before.bytes_used);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* ---- visiting ---- */

typedef struct seen {
  mheap *heap;
  uint64_t count, bytes, limit;
  char *last;
} seen;

static bool see(void *arg, void *block, size_t usable) {
  seen *s = arg;
  CHECK((char *)block > s->last);
  CHECK_EQ(usable, mheap_usable_size(s->heap, block));
  s->last = block;
  s->bytes += usable;
  return ++s->count != s->limit;
}

static void blocks_are_visited_in_the_order_of_their_addresses(void) {
  mheap *heap = new_heap();
  REQUIRE(heap != NULL);
  for (size_t i = 1; i < 400; i++) mheap_malloc(heap, (i * 7919) % 9000);
  mheap_malloc(heap, 10 << 20);
  mheap_malloc(heap, 300000);
  mheap_stats stats;
  check_sums(heap, &stats);
  seen all = {.heap = heap};
  CHECK_EQ(mheap_visit_blocks(heap, see, &all), MHEAP_OK);
  CHECK_EQ(all.count, stats.chunks_used);
  CHECK_EQ(all.bytes, stats.bytes_used);
  seen some = {.heap = heap, .limit = 5};
  CHECK_EQ(mheap_visit_blocks(heap, see, &some), MHEAP_OK);
  CHECK_EQ(some.count, 5);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static bool free_it(void *arg, void *block, size_t usable) {
  (void)usable;
  CHECK_EQ(mheap_free(arg, block), MHEAP_OK);
  return true;
}

static void a_visitor_may_free_what_it_visits(void) {
  mheap *heap = new_heap();
  REQUIRE(heap != NULL);
  for (size_t i = 1; i < 300; i++) mheap_malloc(heap, (i * 7919) % 100000);
  CHECK_EQ(mheap_visit_blocks(heap, free_it, heap), MHEAP_OK);
  mheap_stats stats;
  check_sums(heap, &stats);
  CHECK_EQ(stats.chunks_used, 0);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* ---- identity ---- */

static void info_of_a_file_matches_what_the_system_says(void) {
  const char *path = test_path("info.heap");
  mheap_error error;
  mheap *heap = mheap_open(path, NULL, &error);
  REQUIRE(heap != NULL);
  mheap_malloc(heap, 100000);
  mheap_info info;
  struct stat status;
  CHECK_EQ(mheap_get_info(heap, &info), MHEAP_OK);
  REQUIRE_EQ(stat(path, &status), 0);
  CHECK_EQ(info.file_size, status.st_size);
  CHECK_EQ(info.disk_size, 512 * (uint64_t)status.st_blocks);
  CHECK(info.size <= info.file_size);
  CHECK_EQ(info.mode, MHEAP_MODE_LIVE);
  CHECK_EQ(info.version, MH_FORMAT_VERSION);
  CHECK_EQ(info.owner_pid, (uint64_t)getpid());
  CHECK_EQ(info.owner_inode, status.st_ino);
  CHECK(info.fd >= 0);
  CHECK(info.base != 0 && info.created_ns != 0 && info.segments == 1);
  uint8_t uuid[16];
  memcpy(uuid, info.uuid, 16);
  CHECK_EQ(mheap_detach(heap, &error), MHEAP_OK);

  mheap_options readonly = {.mode = MHEAP_MODE_READONLY};
  REQUIRE((heap = mheap_open(path, &readonly, &error)) != NULL);
  CHECK_EQ(mheap_get_info(heap, &info), MHEAP_OK);
  CHECK(memcmp(uuid, info.uuid, 16) == 0);
  CHECK_EQ(info.mode, MHEAP_MODE_READONLY);
  CHECK_EQ(info.state, MHEAP_CLEAN);
  CHECK_EQ(info.owner_pid, 0);
  CHECK_EQ(mheap_detach(heap, &error), MHEAP_OK);
}

static void info_of_anonymous_memory_has_no_file(void) {
  mheap *heap = new_heap();
  mheap_info info;
  REQUIRE(heap != NULL);
  CHECK_EQ(mheap_get_info(heap, &info), MHEAP_OK);
  CHECK_EQ(info.fd, -1);
  CHECK_EQ(info.file_size, 0);
  CHECK_EQ(info.disk_size, 0);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static void a_result_without_a_place_is_an_argument_error(void) {
  mheap *heap = new_heap();
  REQUIRE(heap != NULL);
  CHECK_EQ(mheap_get_info(heap, NULL), MHEAP_ERR_ARGUMENT);
  CHECK_CONTAINS(mheap_last_error(heap)->text, "info is NULL");
  CHECK_EQ(mheap_last_error(heap)->sys, EINVAL);
  CHECK_EQ(mheap_get_stats(heap, NULL), MHEAP_ERR_ARGUMENT);
  CHECK_CONTAINS(mheap_last_error(heap)->text, "stats is NULL");
  CHECK_EQ(mheap_last_error(heap)->sys, EINVAL);
  CHECK_EQ(mheap_visit_blocks(heap, NULL, NULL), MHEAP_ERR_ARGUMENT);
  CHECK_EQ(mheap_get_info(NULL, NULL), MHEAP_ERR_ARGUMENT);
  CHECK_EQ(mheap_get_stats(NULL, NULL), MHEAP_ERR_ARGUMENT);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* Even where the file was cut short as well: the parent's trouble is not the child's. */
static void info_is_refused_in_a_forked_child(void) {
  const char *path = test_path("forked.heap");
  mheap_error error;
  mheap_info info;
  mheap *heap = mheap_open(path, NULL, &error);
  REQUIRE(heap != NULL);
  volatile char *block = mheap_malloc(heap, 300000);
  REQUIRE(block != NULL);
  for (int cut = 0; cut < 2; cut++) {
    if (cut) {
      REQUIRE_EQ(truncate(path, 65536), 0);
      block[200000] = 1; /* is covered, and noted */
    }
    int status = 0;
    pid_t child = fork();
    if (child == 0) _exit(mheap_get_info(heap, &info) == MHEAP_ERR_FORKED ? 0 : 1);
    REQUIRE_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
  }
  mheap_abandon(heap);
}

/* ---- what a file may say ---- */

static void a_contradiction_is_an_error_that_names_its_place(void) {
  const char *path = test_path("broken.heap");
  mheap_error error;
  mheap *heap = mheap_open(path, NULL, &error);
  REQUIRE(heap != NULL);
  for (int i = 0; i < 100; i++) mheap_malloc(heap, 1000);
  CHECK_EQ(mheap_detach(heap, &error), MHEAP_OK);
  mheap_options readonly = {.mode = MHEAP_MODE_READONLY};
  REQUIRE((heap = mheap_open(path, &readonly, &error)) != NULL);

  int fd = open(path, O_RDWR);
  uint64_t at = MH_SLICE + offsetof(mh_segment_header, slice), was, bad[2] = {0xff7};
  REQUIRE_EQ(pread(fd, &was, 8, (off_t)at), 8);
  bad[1] = was | (uint64_t)1 << MH_HEAD_PAGES_SHIFT; /* a slab with pages: what is refused when it is used */
  mheap_stats stats;
  for (int i = 0; i < 2; i++) {
    REQUIRE_EQ(pwrite(fd, &bad[i], 8, (off_t)at), 8);
    CHECK_EQ(mheap_get_stats(heap, &stats), MHEAP_ERR_CORRUPT);
    CHECK_EQ(mheap_last_error(heap)->offset, at);
    CHECK_EQ(mheap_last_error(heap)->found, bad[i]);
  }
  seen none = {.heap = heap};
  CHECK_EQ(mheap_visit_blocks(heap, see, &none), MHEAP_ERR_CORRUPT);
  close(fd);
  CHECK_EQ(mheap_detach(heap, &error), MHEAP_OK);
}

static void a_truncated_file_is_an_error_and_no_signal(void) {
  const char *path = test_path("short.heap");
  mheap_error error;
  mheap *heap = mheap_open(path, NULL, &error);
  REQUIRE(heap != NULL);
  for (int i = 0; i < 100; i++) mheap_malloc(heap, 100000);
  CHECK_EQ(mheap_detach(heap, &error), MHEAP_OK);
  mheap_options readonly = {.mode = MHEAP_MODE_READONLY};
  REQUIRE((heap = mheap_open(path, &readonly, &error)) != NULL);
  REQUIRE_EQ(truncate(path, 0), 0);
  mheap_stats stats;
  mheap_info info;
  CHECK_EQ(mheap_get_stats(heap, &stats), MHEAP_ERR_CORRUPT);
  CHECK_CONTAINS(mheap_last_error(heap)->text, "cut short");
  CHECK_EQ(mheap_get_info(heap, &info), MHEAP_ERR_CORRUPT);
  mheap_abandon(heap);
}

TEST_MAIN(TEST(an_empty_heap_holds_nothing), TEST(every_block_is_counted_as_large_as_it_is),
          TEST(freed_blocks_are_counted_as_free), TEST(blocks_are_visited_in_the_order_of_their_addresses),
          TEST(a_visitor_may_free_what_it_visits), TEST(info_of_a_file_matches_what_the_system_says),
          TEST(info_of_anonymous_memory_has_no_file), TEST(a_result_without_a_place_is_an_argument_error),
          TEST(info_is_refused_in_a_forked_child), TEST(a_contradiction_is_an_error_that_names_its_place),
          TEST(a_truncated_file_is_an_error_and_no_signal))
