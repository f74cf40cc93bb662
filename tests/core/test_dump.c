/* test_dump.c: heaps written as sealed files: what is in them, and what takes the place of what. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

#include "dump_file.h"
#include "heap.h"
#include "os.h"
#include "mheap/mheap.h"
#include "region_lock.h"
#include "test.h"

static mheap *open_in(const char *path, mheap_mode mode) {
  mheap_error error;
  mheap *heap = mheap_open(path, &(mheap_options){.mode = mode}, &error);
  if (heap == NULL) fprintf(stderr, "%s\n", error.text);
  return heap;
}

static uint64_t size_of(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static const char *unfinished(const char *name) {
  char hidden[200];
  snprintf(hidden, sizeof hidden, ".%s.mheap-dump", name);
  return test_path(hidden);
}

static void same_files(const char *one, const char *other) {
  char command[2100];
  snprintf(command, sizeof command, "cmp '%s' '%s'", one, other);
  CHECK_EQ(system(command), 0);
}

/* Blocks of many sizes, every third of them freed again; what each holds is its number. */
enum { BLOCKS = 600 };
static size_t size_at(int i) { return 1 + (size_t)i * (size_t)i * 37 % 200000; }

typedef struct filled {
  mheap *heap;
  char *blocks[BLOCKS];
} filled;

/* Of another thread's blocks it only marks that they are free. */
static void *free_some(void *arg) {
  filled *f = arg;
  for (int i = 0; i < BLOCKS; i += 6) CHECK_EQ(mheap_free(f->heap, f->blocks[i]), MHEAP_OK);
  return NULL;
}

static filled fill(const char *path, mheap_mode mode) {
  filled f = {.heap = open_in(path, mode)};
  if (f.heap == NULL) exit(2);
  for (int i = 0; i < BLOCKS; i++) {
    f.blocks[i] = mheap_malloc(f.heap, size_at(i));
    memset(f.blocks[i], 1 + i % 255, size_at(i));
  }
  pthread_t thread;
  CHECK_EQ(pthread_create(&thread, NULL, free_some, &f), 0);
  CHECK_EQ(pthread_join(thread, NULL), 0);
  for (int i = 3; i < BLOCKS; i += 6) CHECK_EQ(mheap_free(f.heap, f.blocks[i]), MHEAP_OK);
  char *huge = mheap_malloc(f.heap, 9 << 20);
  memset(huge + (1 << 20), 'h', 100);
  CHECK_EQ(mheap_setkey(f.heap, 7, huge), MHEAP_OK);
  CHECK_EQ(mheap_setroot(f.heap, "last", 4, f.blocks[BLOCKS - 1]), MHEAP_OK);
  return f;
}

static bool holds(const char *block, int value, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (block[i] != (char)value) return false;
  return true;
}

/* The same blocks at the same addresses, or as far from the base of another attach. */
static void check_filled(const filled *f, uint64_t old_base, mheap *dump) {
  mheap_info info;
  CHECK_EQ(mheap_get_info(dump, &info), MHEAP_OK);
  ptrdiff_t moved = (ptrdiff_t)(info.base - old_base);
  for (int i = 0; i < BLOCKS; i++) {
    char *block = f->blocks[i] + moved;
    bool freed = i % 3 == 0;
    if (freed != (mheap_usable_size(dump, block) == 0)) CHECK_EQ(i, -1);
    if (!freed && !holds(block, 1 + i % 255, size_at(i))) CHECK_EQ(i, -2);
  }
  char *huge = mheap_getkey(dump, 7);
  CHECK(huge != NULL && holds(huge, 0, 1 << 20) && holds(huge + (1 << 20), 'h', 100));
  CHECK(mheap_getroot(dump, "last", 4) == f->blocks[BLOCKS - 1] + moved);
  CHECK_EQ(mheap_check(dump, NULL, NULL, NULL), MHEAP_OK);
}

static void a_dump_has_all_that_the_heap_has(mheap_mode mode) {
  const char *path = test_path("from.heap"), *to = test_path("to.heap");
  unlink(path);
  filled f = fill(path, mode);
  mheap_info before, after;
  CHECK_EQ(mheap_get_info(f.heap, &before), MHEAP_OK);
  CHECK_EQ(mheap_dump(f.heap, to, NULL), MHEAP_OK);
  mheap_abandon(f.heap);
  mheap *dump = open_in(to, MHEAP_MODE_READONLY);
  REQUIRE(dump != NULL);
  check_filled(&f, before.base, dump);
  CHECK_EQ(mheap_get_info(dump, &after), MHEAP_OK);
  CHECK_EQ(after.state, MHEAP_SEALED);
  CHECK_EQ(after.stored_base, before.base);
  CHECK(memcmp(after.uuid, before.uuid, sizeof after.uuid) == 0);
  CHECK_EQ(after.created_ns, before.created_ns);
  CHECK(!after.has_journal);
  CHECK_EQ(after.file_size, after.size);
  mheap_abandon(dump);
}

static void a_dump_of_a_live_heap(void) { a_dump_has_all_that_the_heap_has(MHEAP_MODE_LIVE); }
static void a_dump_of_what_is_not_committed(void) { a_dump_has_all_that_the_heap_has(MHEAP_MODE_ATOMIC); }

static void a_restored_heap_is_changed_in_memory_alone(void) {
  const char *path = test_path("to.heap"), *copy = test_path("copy.heap");
  mheap_error error;
  mheap *from = mheap_attach(-1, NULL, &error);
  CHECK_EQ(mheap_setkey(from, 0, mheap_malloc(from, 100)), MHEAP_OK);
  strcpy(mheap_getkey(from, 0), "dumped");
  CHECK_EQ(mheap_dump(from, path, NULL), MHEAP_OK);
  CHECK_EQ(mheap_dump(from, copy, NULL), MHEAP_OK);
  CHECK_EQ(chmod(path, 0444), 0);
  mheap_abandon(from);
  const mheap_options elsewhere = {.mode = MHEAP_MODE_SCRATCH, .relocate = true};
  mheap *one = mheap_restore(path, &error), *two = mheap_open(path, &elsewhere, &error);
  REQUIRE(one != NULL && two != NULL);
  strcpy(mheap_getkey(one, 0), "changed");
  for (int i = 0; i < 2000; i++) CHECK(mheap_malloc(one, 5000) != NULL);
  CHECK_STR(mheap_getkey(two, 0), "dumped");
  CHECK_EQ(mheap_prefetch(one), MHEAP_OK);
  CHECK_EQ(mheap_prefetch(two), MHEAP_OK);
  CHECK_STR(mheap_getkey(one, 0), "changed");
  CHECK_EQ(mheap_check(one, NULL, NULL, NULL), MHEAP_OK);
  CHECK_EQ(mheap_detach(one, NULL), MHEAP_OK);
  CHECK_EQ(mheap_detach(two, NULL), MHEAP_OK);
  same_files(path, copy);
}

static void what_is_sealed_is_not_written(void) {
  const char *path = test_path("to.heap");
  mheap_error error;
  for (mheap_mode mode = MHEAP_MODE_LIVE; mode <= MHEAP_MODE_ATOMIC; mode++) {
    mheap *heap = mheap_open(path, &(mheap_options){.mode = mode}, &error);
    bool writes = mode == MHEAP_MODE_LIVE || mode == MHEAP_MODE_ATOMIC;
    CHECK((heap == NULL) == writes);
    if (writes) CHECK_EQ(error.code, MHEAP_ERR_READ_ONLY);
    if (writes) CHECK_CONTAINS(error.text, "mheap restore");
    mheap_abandon(heap);
  }
}

static void free_space_is_left_out(void) {
  const char *path = test_path("from.heap"), *to = test_path("to.heap");
  unlink(path);
  mheap *heap = open_in(path, MHEAP_MODE_LIVE);
  char *keep = mheap_malloc(heap, 100), *much = mheap_malloc(heap, 30 << 20);
  char *some[1000];
  for (int i = 0; i < 1000; i++) memset(some[i] = mheap_malloc(heap, 3000), 's', 3000);
  memset(much, 'm', 30 << 20);
  strcpy(keep, "kept");
  CHECK_EQ(mheap_setkey(heap, 1, keep), MHEAP_OK);
  for (int i = 0; i < 1000; i++) CHECK_EQ(mheap_free(heap, some[i]), MHEAP_OK);
  CHECK_EQ(mheap_free(heap, much), MHEAP_OK);
  CHECK_EQ(mheap_dump(heap, to, NULL), MHEAP_OK);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  CHECK(size_of(to) <= 4 << 16);
  char command[1200];
  snprintf(command, sizeof command, "grep -c 'sssssss\\|mmmmmmm' '%s' >&2", to);
  CHECK(system(command) != 0);
  heap = mheap_restore(to, NULL);
  REQUIRE(heap != NULL);
  CHECK_STR(mheap_getkey(heap, 1), "kept");
  mheap_abandon(heap);
}

static void equal_heaps_named_by_content_are_equal_files(void) {
  const mheap_dump_options options = {.named_by_content = true};
  const char *paths[2] = {test_path("one.heap"), test_path("two.heap")};
  mheap_info info[3];
  for (int i = 0; i < 3; i++) {
    mheap *heap = mheap_attach(-1, NULL, NULL);
    memset(heap->region->super->identity.hash_seed, 1, 16);
    CHECK_EQ(mheap_setkey(heap, 1, memset(mheap_malloc(heap, 100), i == 2 ? 'b' : 'a', 100)), MHEAP_OK);
    heap->region->super->base = 0; /* a raw address names one, which is another each time */
    CHECK_EQ(mheap_dump(heap, paths[i % 2], &options), MHEAP_OK);
    mheap_abandon(heap);
    if (i == 1) same_files(paths[0], paths[1]);
    heap = open_in(paths[i % 2], MHEAP_MODE_READONLY);
    CHECK_EQ(mheap_get_info(heap, &info[i]), MHEAP_OK);
    CHECK_EQ(mheap_check(heap, NULL, NULL, NULL), MHEAP_OK);
    mheap_abandon(heap);
  }
  CHECK_EQ(info[0].uuid[6] >> 4, 8);
  CHECK_EQ(info[0].uuid[8] >> 6, 2);
  CHECK_EQ(info[0].created_ns, 0);
  CHECK(memcmp(info[0].uuid, info[2].uuid, 16) != 0);
}

static void a_writable_copy_is_a_heap_of_its_own(void) {
  const mheap_dump_options options = {.writable = true};
  const char *path = test_path("from.heap"), *to = test_path("to.heap");
  unlink(path);
  filled f = fill(path, MHEAP_MODE_LIVE);
  mheap_info before, after;
  CHECK_EQ(mheap_get_info(f.heap, &before), MHEAP_OK);
  CHECK_EQ(mheap_dump(f.heap, to, &options), MHEAP_OK);
  mheap_abandon(f.heap);
  mheap *copy = open_in(to, MHEAP_MODE_ATOMIC);
  REQUIRE(copy != NULL);
  check_filled(&f, before.base, copy);
  CHECK_EQ(mheap_get_info(copy, &after), MHEAP_OK);
  CHECK(memcmp(after.uuid, before.uuid, sizeof after.uuid) != 0);
  CHECK(mheap_malloc(copy, 100) != NULL);
  CHECK_EQ(mheap_commit(copy, true), MHEAP_OK);
  CHECK_EQ(mheap_detach(copy, NULL), MHEAP_OK);
}

/* ---- what is in the way ---- */

static mheap_err dump_memory(const char *path, const mheap_dump_options *options, mheap_error *error) {
  mheap *heap = mheap_attach(-1, NULL, NULL);
  mheap_err code = mheap_dump(heap, path, options);
  *error = *mheap_last_error(heap);
  mheap_abandon(heap);
  return code;
}

static void what_a_writer_has_is_not_replaced(void) {
  const char *path = test_path("from.heap");
  mheap_error error;
  unlink(path);
  for (mheap_mode mode = MHEAP_MODE_LIVE; mode <= MHEAP_MODE_ATOMIC; mode++) {
    bool writes = mode == MHEAP_MODE_LIVE || mode == MHEAP_MODE_ATOMIC;
    mheap *heap = open_in(path, mode);
    REQUIRE(heap != NULL);
    CHECK_EQ(dump_memory(path, NULL, &error), writes ? MHEAP_ERR_BUSY : MHEAP_OK);
    if (writes) CHECK_CONTAINS(error.text, "a writer has it attached");
    CHECK_EQ(mheap_check(heap, NULL, NULL, NULL), MHEAP_OK);
    CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
    CHECK_EQ(access(unfinished("from.heap"), F_OK), -1);
    if (!writes) unlink(path);
    if (!writes) mheap_abandon(open_in(path, MHEAP_MODE_LIVE));
  }
}

static void a_file_is_replaced_unless_it_is_to_stay(void) {
  const mheap_dump_options keep = {.keep_existing = true};
  const char *path = test_path("some.txt"), *link = test_path("link.txt"), *fresh = test_path("fresh");
  mheap_error error;
  struct stat st;
  int fd = open(path, O_CREAT | O_WRONLY, 0600);
  CHECK_EQ(write(fd, "text", 4), 4);
  close(fd);
  CHECK_EQ(symlink("some.txt", link), 0);
  CHECK_EQ(dump_memory(link, &keep, &error), MHEAP_ERR_SYSTEM);
  CHECK_EQ(error.sys, EEXIST);
  CHECK_EQ(size_of(path), 4);
  CHECK_EQ(dump_memory(link, NULL, &error), MHEAP_OK);
  CHECK(lstat(link, &st) == 0 && S_ISLNK(st.st_mode));
  CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
  CHECK_EQ(size_of(path), 2 << 16);
  CHECK_EQ(dump_memory(fresh, &keep, &error), MHEAP_OK);
  mode_t mask = umask(0);
  umask(mask);
  CHECK(stat(fresh, &st) == 0 && (st.st_mode & 0777) == (0666 & ~mask));
}

/* Between the beginning of a dump and its end. */
static void a_file_that_comes_meanwhile_is_looked_at_too(void) {
  const mheap_dump_options none = {0}, keep = {.keep_existing = true};
  const char *path = test_path("meanwhile.heap"), *from = test_path("whole.heap");
  static char page[4096];
  mh_dump_file file;
  mheap_error error;
  CHECK_EQ(dump_memory(from, NULL, &error), MHEAP_OK);
  int fd = open(from, O_RDONLY);
  CHECK_EQ(read(fd, page, sizeof page), sizeof page);
  close(fd);
  for (int round = 0; round < 3; round++) {
    unlink(path);
    CHECK_EQ(mh_dump_file_begin(&file, path, round == 2 ? &keep : &none, &error), MHEAP_OK);
    mheap *heap = open_in(path, MHEAP_MODE_LIVE);
    if (round == 1) CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
    mheap_err code = mh_dump_file_finish(&file, page, &error);
    CHECK_EQ(code, round == 0 ? MHEAP_ERR_BUSY : round == 1 ? MHEAP_OK : MHEAP_ERR_SYSTEM);
    if (round != 1) CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
    CHECK_EQ(size_of(path) == 4096, round == 1);
    CHECK_EQ(access(unfinished("meanwhile.heap"), F_OK), -1);
  }
}

static void what_is_no_file_is_not_replaced(void) {
  mheap_error error;
  CHECK_EQ(dump_memory("/dev/null", NULL, &error), MHEAP_ERR_ARGUMENT);
  CHECK_CONTAINS(error.text, "a character device");
  CHECK(dump_memory(test_directory(), NULL, &error) != MHEAP_OK);
  CHECK_EQ(dump_memory(test_path("none/to.heap"), NULL, &error), MHEAP_ERR_SYSTEM);
  CHECK_EQ(error.sys, ENOENT);
  CHECK(dump_memory("", NULL, &error) != MHEAP_OK);
  CHECK(dump_memory("/", NULL, &error) != MHEAP_OK);
}

static void put_file(const char *path, const char *bytes, size_t length) {
  int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0644);
  CHECK_EQ(write(fd, bytes, length), length);
  close(fd);
}

static void what_a_killed_dump_left_is_begun_anew(void) {
  const char *path = test_path("again.heap"), *left = unfinished("again.heap");
  mheap_error error;
  static char whole[4096];
  CHECK_EQ(dump_memory(path, NULL, &error), MHEAP_OK);
  int fd = open(path, O_RDONLY);
  CHECK_EQ(read(fd, whole, sizeof whole), sizeof whole);
  close(fd);
  const struct {
    const char *bytes;
    size_t length;
  } lefts[] = {{"", 0}, {MH_UNFINISHED, 8}, {MH_UNFINISHED "and more", 16}, {whole, sizeof whole}};
  for (size_t i = 0; i < 4; i++) {
    put_file(left, lefts[i].bytes, lefts[i].length);
    CHECK_EQ(dump_memory(path, NULL, &error), MHEAP_OK);
    CHECK_EQ(access(left, F_OK), -1);
    CHECK_EQ(size_of(path), 2 << 16);
  }
  put_file(left, "mine", 4);
  CHECK_EQ(dump_memory(path, NULL, &error), MHEAP_ERR_ARGUMENT);
  CHECK_CONTAINS(error.text, "not what a dump leaves");
  CHECK_EQ(size_of(left), 4);
  unlink(left);
  CHECK_EQ(symlink("again.heap", left), 0);
  CHECK_EQ(dump_memory(path, NULL, &error), MHEAP_ERR_SYSTEM);
  CHECK_EQ(error.sys, ELOOP);
  unlink(left);
}

static void an_unfinished_dump_is_no_heap_and_another_does_not_interfere(void) {
  const char *path = test_path("busy.heap"), *left = unfinished("busy.heap");
  mheap_error error;
  put_file(left, MH_UNFINISHED, 8);
  int fd = open(left, O_RDWR);
  CHECK(mh_region_lock_unused(fd));
  CHECK_EQ(dump_memory(path, NULL, &error), MHEAP_ERR_BUSY);
  CHECK_CONTAINS(error.text, "another dump");
  CHECK(mheap_restore(left, &error) == NULL);
  CHECK_EQ(error.code, MHEAP_ERR_NOT_A_HEAP);
  CHECK_CONTAINS(error.text, "a dump that was not finished");
  close(fd);
  CHECK_EQ(dump_memory(path, NULL, &error), MHEAP_OK);
}

static void a_heap_of_several_regions_is_not_dumped(void) {
  CHECK(mheap_malloc(NULL, 10) != NULL);
  CHECK_EQ(mheap_dump(NULL, test_path("none.heap"), NULL), MHEAP_ERR_ARGUMENT);
  CHECK_CONTAINS(mheap_last_error(NULL)->text, "attach one");
  mheap_arena arena;
  CHECK_EQ(mheap_arena_reserve(NULL, 16 << 20, &(mheap_arena_options){.exclusive = true}, &arena), MHEAP_OK);
  mheap *heap = mheap_new(NULL, 0, true, arena);
  CHECK(mheap_malloc(heap, 10) != NULL);
  CHECK_EQ(mheap_dump(heap, test_path("none.heap"), NULL), MHEAP_ERR_ARGUMENT);
  CHECK_EQ(access(test_path("none.heap"), F_OK), -1);
  mheap_destroy(heap);
}

TEST_MAIN(TEST(a_dump_of_a_live_heap), TEST(a_dump_of_what_is_not_committed),
          TEST(a_restored_heap_is_changed_in_memory_alone), TEST(what_is_sealed_is_not_written),
          TEST(free_space_is_left_out), TEST(equal_heaps_named_by_content_are_equal_files),
          TEST(a_writable_copy_is_a_heap_of_its_own), TEST(what_a_writer_has_is_not_replaced),
          TEST(a_file_is_replaced_unless_it_is_to_stay), TEST(what_is_no_file_is_not_replaced),
          TEST(a_file_that_comes_meanwhile_is_looked_at_too),
          TEST(what_a_killed_dump_left_is_begun_anew),
          TEST(an_unfinished_dump_is_no_heap_and_another_does_not_interfere),
          TEST(a_heap_of_several_regions_is_not_dumped))
