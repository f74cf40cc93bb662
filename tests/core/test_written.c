/* test_written.c: which pages of private mappings hold contents of their own: by every way that works
   here, and what must not be taken for one that works. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#include "image.h"
#include "os.h"

static size_t page;

/* ---- mappings of a file whose page i holds 'a' + i % 26 ---- */

static int file_of(size_t pages) {
  int fd;
  page = mh_os_page();
  char *contents = mh_os_table(pages * page);
  for (size_t i = 0; i < pages; i++) memset(contents + i * page, 'a' + (int)(i % 26), page);
  CHECK_EQ(mh_os_create_unnamed(test_directory(), &fd), 0);
  CHECK_EQ(mh_os_write(fd, contents, pages * page, 0), 0);
  mh_os_table_free(contents, pages * page);
  return fd;
}

static char *map_file(int fd, size_t pages, int prot, int flags) {
  char *at = mmap(NULL, pages * page, prot, MAP_PRIVATE | flags, fd, 0);
  CHECK(at != MAP_FAILED);
  close(fd);
  return at;
}

static char *map(size_t pages) { return map_file(file_of(pages), pages, PROT_READ | PROT_WRITE, 0); }

static void store(char *at, size_t which) { ((volatile char *)at)[which * page + 5] = '!'; }
static void look(char *at, size_t which) { (void)((volatile char *)at)[which * page + 5]; }

/* ---- what must be answered: a letter a page, 'w' for written ---- */

static void check_run(char *at, const char *pattern, mh_os_range range) {
  uint64_t start = (uintptr_t)at, pages = strlen(pattern);
  REQUIRE(range.start >= start && range.end > range.start && range.end <= start + pages * page);
  size_t first = (range.start - start) / page, behind = (range.end - start) / page;
  for (size_t i = first; i < behind; i++) CHECK_EQ(pattern[i], 'w');
  CHECK(first == 0 || pattern[first - 1] != 'w'); /* neighbours are joined */
  CHECK(behind == pages || pattern[behind] != 'w');
}

static size_t runs(const char *pattern) {
  size_t count = 0;
  for (size_t i = 0; pattern[i] != '\0'; i++) count += pattern[i] == 'w' && (i == 0 || pattern[i - 1] != 'w');
  return count;
}

/* Asks with that much room until all is told. */
static void check_asking(char *at, const char *pattern, size_t room) {
  mh_os_range ranges[64];
  uint64_t end = (uintptr_t)at + strlen(pattern) * page, next = (uintptr_t)at, last = 0;
  size_t count, total = 0;
  const mh_os_look look = mh_os_look_now();
  while (next < end) {
    uint64_t from = next;
    REQUIRE_EQ(mh_os_written(&look, (void *)from, end - from, ranges, room, &count, &next), 0);
    REQUIRE(count <= room && next > from && next <= end);
    for (size_t i = 0; i < count; i++) {
      CHECK(ranges[i].start > last || last == 0);
      check_run(at, pattern, ranges[i]);
      last = ranges[i].end;
    }
    total += count;
  }
  CHECK_EQ(next, end);
  CHECK_EQ(total, runs(pattern));
}

static void check_written(char *at, const char *pattern) {
  char all[64];
  memset(all, 'w', sizeof all);
  all[strlen(pattern)] = '\0';
  if (mh_os_how_written() == MH_OS_WRITTEN_COMPARE) pattern = all;
  for (size_t room = 1; room <= 64; room += room == 3 ? 61 : 1) check_asking(at, pattern, room);
}

/* Each way that works here, in turn. */
static void each_way(void (*check)(void)) {
  mh_os_force_written(-1);
  for (int how = (int)mh_os_how_written(); how <= MH_OS_WRITTEN_COMPARE; how++) {
    mh_os_force_written(how);
    CHECK_EQ(mh_os_how_written(), how);
    check();
  }
  mh_os_force_written(-1);
}

/* ---- the choice ---- */

static void the_kernel_is_asked_if_it_can_tell(void) {
  struct utsname system;
  int major, minor;
  page = mh_os_page();
  REQUIRE(uname(&system) == 0 && sscanf(system.release, "%d.%d", &major, &minor) == 2);
  bool new = major > 6 || (major == 6 && minor >= 7);
  CHECK_EQ(mh_os_how_written(), new ? MH_OS_WRITTEN_SCAN : MH_OS_WRITTEN_PAGEMAP);
}

/* ---- stores, reads, nothing ---- */

static void check_stores(void) {
  char *at = map(8);
  check_written(at, "........");
  look(at, 1);
  check_written(at, "........");
  store(at, 2);
  check_written(at, "..w.....");
  store(at, 3);
  store(at, 7);
  check_written(at, "..ww...w");
  store(at, 0);
  store(at, 1); /* that was read before */
  look(at, 6);
  check_written(at, "wwww...w");
  check_written(at + 2 * page, "ww...w"); /* from the middle */
  check_written(at + 3 * page, "w..");
  munmap(at, 8 * page);
}

static void stores_are_told(void) { each_way(check_stores); }

static void check_same(void) {
  char *at = map(3);
  volatile char *byte = at + page;
  *byte = *byte; /* contents do not matter */
  check_written(at, ".w.");
  munmap(at, 3 * page);
}

static void a_store_of_what_was_there_is_told(void) { each_way(check_same); }

static void check_holes(void) {
  int fd = file_of(1);
  CHECK_EQ(mh_os_truncate(fd, 8 * page), 0);
  char *at = map_file(fd, 8, PROT_READ | PROT_WRITE, 0);
  for (size_t i = 0; i < 8; i += 2) look(at, i);
  check_written(at, "........");
  store(at, 2);
  store(at, 5);
  check_written(at, "..w..w..");
  munmap(at + 3 * page, page); /* and where nothing is mapped */
  check_written(at, "..w..w..");
  munmap(at, 8 * page);
}

static void holes_are_untouched(void) { each_way(check_holes); }

/* Read, it is the page of zeros; only the scan knows it. */
static void check_memory(void) {
  page = mh_os_page();
  char *at = mh_os_table(4 * page);
  store(at, 0);
  look(at, 2);
  check_written(at, mh_os_how_written() == MH_OS_WRITTEN_SCAN ? "w..." : "w.w.");
  mh_os_table_free(at, 4 * page);
}

static void memory_without_a_file_is_written_as_well(void) { each_way(check_memory); }

/* ---- pages that are brought in ---- */

static void check_populated(void) {
  char *at = map_file(file_of(4), 4, PROT_READ, MAP_POPULATE);
  check_written(at, "....");
  CHECK_EQ(mprotect(at, 4 * page, PROT_READ | PROT_WRITE), 0);
  check_written(at, "....");
  store(at, 1);
  check_written(at, ".w..");
  munmap(at, 4 * page);
  at = map_file(file_of(4), 4, PROT_READ | PROT_WRITE, MAP_POPULATE); /* as if they were stored to */
  check_written(at, "wwww");
  munmap(at, 4 * page);
}

static void populated_ones_are_clean_unless_writable(void) { each_way(check_populated); }

/* mlock(2) itself: sanitizers put in its place what does nothing. */
static void lock_in_memory(char *at, size_t pages) { CHECK_EQ(syscall(SYS_mlock, at, pages * page), 0); }

static void check_locked(void) {
  char *at = map_file(file_of(4), 4, PROT_READ, 0);
  lock_in_memory(at, 4);
  check_written(at, "....");
  CHECK_EQ(syscall(SYS_munlock, at, 4 * page), 0);
  CHECK_EQ(mprotect(at, 4 * page, PROT_READ | PROT_WRITE), 0);
  store(at, 2);
  check_written(at, "..w.");
  lock_in_memory(at, 4);
  check_written(at, "wwww");
  munmap(at, 4 * page);
}

static void locked_ones_are_clean_unless_writable(void) { each_way(check_locked); }

/* ---- pages that go ---- */

static void check_discarded(void) {
  char *at = map(6);
  for (size_t i = 1; i < 5; i++) store(at, i);
  check_written(at, ".wwww.");
  CHECK_EQ(mh_os_discard(at + 2 * page, 2 * page), 0);
  check_written(at, ".w..w.");
  CHECK_EQ(at[2 * page + 5], 'a' + 2);
  check_written(at, ".w..w.");
  store(at, 3);
  check_written(at, ".w.ww.");
  munmap(at, 6 * page);
}

static void discarded_ones_are_the_files_again(void) { each_way(check_discarded); }

static void check_mapped_anew(void) {
  int fd = file_of(4), own = dup(fd);
  char *at = map_file(fd, 4, PROT_READ | PROT_WRITE, 0);
  store(at, 1);
  store(at, 2);
  CHECK_EQ(mh_os_map(at + page, page, own, page, true, false), 0);
  check_written(at, "..w.");
  CHECK_EQ(mprotect(at, 4 * page, PROT_NONE), 0); /* hidden, they are what they were */
  check_written(at, "..w.");
  munmap(at, 4 * page);
  close(own);
}

static void what_is_mapped_anew_is_clean(void) { each_way(check_mapped_anew); }

/* Where there is swap space they go there; where there is none they stay. */
static void check_swapped(void) {
  char *at = map(5);
  store(at, 1);
  store(at, 3);
  look(at, 4);
  CHECK_EQ(madvise(at, 5 * page, MADV_PAGEOUT), 0);
  check_written(at, ".w.w.");
  CHECK_EQ(at[page + 5], '!');
  munmap(at, 5 * page);
}

static void pages_that_are_swapped_out_count(void) { each_way(check_swapped); }

/* ---- much ---- */

#define MANY 5000 /* pages: more than are asked for at once, over several page tables */

/* Every other page of a part, then a run. */
static void store_many(char *at) {
  for (size_t i = 0; i < 1000; i += 2) store(at, i);
  for (size_t i = 2000; i < 4500; i++) store(at, i);
}

static void check_many_by(char *at, size_t room) {
  static mh_os_range ranges[600];
  size_t found = 0, count;
  uint64_t start = (uintptr_t)at, next = start, end = start + MANY * page;
  const mh_os_look look = mh_os_look_now();
  while (next < end) {
    REQUIRE_EQ(mh_os_written(&look, (void *)next, end - next, ranges, room, &count, &next), 0);
    for (size_t i = 0; i < count; i++, found++) {
      bool is_run = found == 500;
      CHECK_EQ((ranges[i].start - start) / page, is_run ? 2000 : 2 * found);
      CHECK_EQ((ranges[i].end - ranges[i].start) / page, is_run ? 2500 : 1);
    }
  }
  CHECK_EQ(found, 501);
}

static void check_many(void) {
  if (mh_os_how_written() == MH_OS_WRITTEN_COMPARE) return; /* a range is all it ever tells */
  int fd = file_of(1);
  CHECK_EQ(mh_os_truncate(fd, MANY * page), 0);
  char *at = map_file(fd, MANY, PROT_READ | PROT_WRITE, 0);
  store_many(at);
  for (size_t room = 1; room <= 600; room += room < 3 ? 1 : 199) check_many_by(at, room);
  munmap(at, MANY * page);
}

static void more_ranges_than_room(void) { each_way(check_many); }

/* ---- processes and their descriptor ---- */

/* Descriptors of pagemap that this process has; *last is one of them. */
static int descriptors(int *last) {
  int count = 0;
  char target[256];
  DIR *directory = opendir("/proc/self/fd");
  for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
    ssize_t length = readlinkat(dirfd(directory), entry->d_name, target, sizeof target - 1);
    target[length > 0 ? length : 0] = '\0';
    if (strstr(target, "/pagemap") == NULL) continue;
    count++;
    *last = atoi(entry->d_name);
  }
  closedir(directory);
  return count;
}

static int ask_in_child(void *arg) {
  char *at = arg;
  int fd = -1;
  store(at, 2);
  check_written(at, ".ww.");
  CHECK_EQ(mh_os_discard(at + page, page), 0);
  check_written(at, "..w.");
  CHECK_EQ(descriptors(&fd), 1); /* the parent's is closed */
  return 0;
}

static void check_fork(void) {
  char *at = map(4);
  store(at, 1);
  check_written(at, ".w..");
  CHECK_EQ(in_child_process(ask_in_child, at), 0);
  check_written(at, ".w..");
  munmap(at, 4 * page);
}

static void a_child_asks_about_itself(void) { each_way(check_fork); }

static void the_descriptor_is_out_of_the_way(void) {
  int fd = -1;
  mh_os_how_written();
  REQUIRE_EQ(descriptors(&fd), 1);
  CHECK(fd > STDERR_FILENO);
  CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static void check_stolen(void) {
  int fd = -1, zero = open("/dev/zero", O_RDWR);
  char *at = map(4);
  store(at, 1);
  check_written(at, ".w..");
  REQUIRE_EQ(descriptors(&fd), 1);
  CHECK_EQ(dup2(zero, fd), fd); /* somebody closed it, and another file has its number */
  check_written(at, ".w..");
  char byte = 1;
  CHECK(read(fd, &byte, 1) == 1 && byte == 0); /* which is left alone */
  close(fd);
  close(zero);
  munmap(at, 4 * page);
}

static void a_descriptor_that_is_gone_is_opened_again(void) { each_way(check_stolen); }

static void *ask(void *arg) {
  check_written(arg, ".w.w");
  return NULL;
}

static int ask_from_threads(void *arg) {
  pthread_t threads[4];
  int fd = -1;
  for (int i = 0; i < 4; i++) CHECK_EQ(pthread_create(&threads[i], NULL, ask, arg), 0);
  for (int i = 0; i < 4; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
  CHECK_EQ(descriptors(&fd), 1);
  return 0;
}

static void threads_ask_together(void) {
  char *at = map(4);
  store(at, 1);
  store(at, 3);
  for (int i = 0; i < 20; i++) CHECK_EQ(in_child_process(ask_from_threads, at), 0);
  CHECK_EQ(ask_from_threads(at), 0);
  munmap(at, 4 * page);
}

/* ---- the trial: what it refuses ---- */

/* Pages whose entry has one of these bits, and none of those: right if chosen right. */
static int by_bits(uint64_t any, uint64_t none, int fd, uint64_t start, uint64_t end, mh_os_range *ranges,
                   size_t *count, uint64_t *next) {
  *count = 0;
  for (*next = start; *next < end; *next += page) {
    uint64_t entry = 0;
    if (pread(fd, &entry, 8, (off_t)(*next / page * 8)) != 8) return EIO;
    if ((entry & any) && !(entry & none)) ranges[(*count)++] = (mh_os_range){*next, *next + page};
  }
  return 0;
}

#define WAY(name, any, none) \
  static int name(int fd, uint64_t start, uint64_t end, mh_os_range *ranges, size_t room, size_t *count, \
                  uint64_t *next) { \
    (void)room; \
    return by_bits(any, none, fd, start, end, ranges, count, next); \
  }
#define BIT(n) (UINT64_C(1) << (n))

WAY(right, BIT(63) | BIT(62), BIT(61))
WAY(forgets_files, BIT(63) | BIT(62), 0)
WAY(files_only, BIT(61), 0)
WAY(soft_dirty, BIT(55), 0) /* all that is mapped newly, or nothing where it is compiled out */
WAY(swapped_only, BIT(62), BIT(61))
WAY(nothing, 0, 0)
WAY(everything, ~UINT64_C(0), 0)

static int stops_early(int fd, uint64_t start, uint64_t end, mh_os_range *ranges, size_t room, size_t *count,
                       uint64_t *next) {
  int failed = right(fd, start, end, ranges, room, count, next);
  *next -= page;
  return failed;
}

static int fails(int fd, uint64_t start, uint64_t end, mh_os_range *ranges, size_t room, size_t *count,
                 uint64_t *next) {
  right(fd, start, end, ranges, room, count, next);
  return ENOTTY;
}

static void a_way_that_lies_is_refused(void) {
  mh_os_written_fun *const lies[] = {forgets_files, files_only, soft_dirty, swapped_only,
                                     nothing,       everything, stops_early, fails};
  int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  page = mh_os_page();
  REQUIRE(fd >= 0);
  CHECK(mh_os_written_is_true(right, fd)); /* the control */
  for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) CHECK(!mh_os_written_is_true(lies[i], fd));
  close(fd);
  CHECK(!mh_os_written_is_true(right, fd));
}

/* Sanitizers lock nothing; there it shows nothing. */
static int ask_locked(void *arg) {
  CHECK_EQ(mlockall(MCL_FUTURE), 0);
  CHECK_EQ(mh_os_how_written(), *(int *)arg);
  return 0;
}

static void the_trial_holds_where_all_memory_is_locked(void) {
  int how = (int)mh_os_how_written();
  CHECK(how != MH_OS_WRITTEN_COMPARE);
  CHECK_EQ(in_child_process(ask_locked, &how), 0);
}

/* Without a descriptor to be had, nothing is known and all is told. */
static int ask_without(void *arg) {
  char *at = arg;
  struct rlimit none = {0, 0};
  CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  CHECK_EQ(mh_os_how_written(), MH_OS_WRITTEN_COMPARE);
  check_written(at, "....");
  return 0;
}

static void where_nothing_works_all_is_told(void) {
  char *at = map(4);
  CHECK_EQ(in_child_process(ask_without, at), 0);
  munmap(at, 4 * page);
}

TEST_MAIN(TEST(the_kernel_is_asked_if_it_can_tell), TEST(stores_are_told),
          TEST(a_store_of_what_was_there_is_told), TEST(holes_are_untouched),
          TEST(memory_without_a_file_is_written_as_well), TEST(populated_ones_are_clean_unless_writable),
          TEST(locked_ones_are_clean_unless_writable), TEST(discarded_ones_are_the_files_again),
          TEST(what_is_mapped_anew_is_clean), TEST(pages_that_are_swapped_out_count),
          TEST(more_ranges_than_room), TEST(a_child_asks_about_itself),
          TEST(the_descriptor_is_out_of_the_way), TEST(a_descriptor_that_is_gone_is_opened_again),
          TEST(threads_ask_together), TEST(a_way_that_lies_is_refused),
          TEST(the_trial_holds_where_all_memory_is_locked),
          TEST(where_nothing_works_all_is_told))
