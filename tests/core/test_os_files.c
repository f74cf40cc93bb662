/* test_os_files.c: what os.h says of a file's holes and of its locks. */
#include <errno.h>
#include <sys/mman.h>

#include "os.h"
#include "test.h"

#define BLOCK 65536 /* at least what a file system allocates at a time */

/* Data in blocks 2, 3 and 6 of 8. */
static int holed(int fd) {
  char data[BLOCK];
  memset(data, 'x', sizeof data);
  CHECK_EQ(mh_os_truncate(fd, 8 * BLOCK), 0);
  CHECK_EQ(mh_os_write(fd, data, BLOCK, 2 * BLOCK), 0);
  CHECK_EQ(mh_os_write(fd, data, BLOCK, 3 * BLOCK), 0);
  CHECK_EQ(mh_os_write(fd, data, BLOCK, 6 * BLOCK), 0);
  return fd;
}

static void check_stretch(int fd, uint64_t from, uint64_t end, uint64_t start, uint64_t stop) {
  uint64_t got_start = 1, got_stop = 2;
  CHECK_EQ(mh_os_seek_data(fd, from, end, &got_start, &got_stop), 0);
  CHECK_EQ(got_start, start);
  CHECK_EQ(got_stop, stop);
}

static void check_holes(int fd) {
  check_stretch(fd, 0, 8 * BLOCK, 2 * BLOCK, 4 * BLOCK);
  check_stretch(fd, 4 * BLOCK, 8 * BLOCK, 6 * BLOCK, 7 * BLOCK);
  check_stretch(fd, 7 * BLOCK, 8 * BLOCK, 8 * BLOCK, 8 * BLOCK);
  check_stretch(fd, 0, 2 * BLOCK, 2 * BLOCK, 2 * BLOCK);
  /* any offsets */
  check_stretch(fd, 2 * BLOCK + 5, 3 * BLOCK + 7, 2 * BLOCK + 5, 3 * BLOCK + 7);
  check_stretch(fd, 3, 6 * BLOCK + 1, 2 * BLOCK, 4 * BLOCK);
  check_stretch(fd, 4 * BLOCK + 1, 6 * BLOCK + 1, 6 * BLOCK, 6 * BLOCK + 1);
  check_stretch(fd, 4 * BLOCK + 1, 6 * BLOCK, 6 * BLOCK, 6 * BLOCK);
  check_stretch(fd, 77, 77, 77, 77);
  /* behind the file's end */
  check_stretch(fd, 7 * BLOCK, 100 * BLOCK, 100 * BLOCK, 100 * BLOCK);
  check_stretch(fd, 20 * BLOCK, 30 * BLOCK, 30 * BLOCK, 30 * BLOCK);
  check_stretch(fd, 6 * BLOCK, UINT64_MAX, 6 * BLOCK, 7 * BLOCK);
  check_stretch(fd, UINT64_MAX - 9, UINT64_MAX, UINT64_MAX, UINT64_MAX);
}

static void data_between_holes(void) {
  int fd;
  REQUIRE_EQ(mh_os_create(test_path("holes"), &fd), 0);
  check_holes(holed(fd));
  mh_os_close(fd);
  fd = memfd_create("holes", MFD_CLOEXEC);
  REQUIRE(fd >= 0);
  check_holes(holed(fd));
  mh_os_close(fd);
}

static void data_to_the_end(void) {
  int fd;
  REQUIRE_EQ(mh_os_create(test_path("full"), &fd), 0);
  CHECK_EQ(mh_os_write(fd, "text", 4, 0), 0);
  check_stretch(fd, 0, BLOCK, 0, 4);
  check_stretch(fd, 1, 3, 1, 3);
  CHECK_EQ(mh_os_truncate(fd, 0), 0);
  check_stretch(fd, 0, BLOCK, BLOCK, BLOCK);
  mh_os_close(fd);
}

static void the_position_stays(void) {
  int fd;
  REQUIRE_EQ(mh_os_create(test_path("position"), &fd), 0);
  holed(fd);
  CHECK_EQ(lseek(fd, 1234, SEEK_SET), 1234);
  check_stretch(fd, 0, 8 * BLOCK, 2 * BLOCK, 4 * BLOCK);
  CHECK_EQ(lseek(fd, 0, SEEK_CUR), 1234);
  mh_os_close(fd);
}

/* Files that the kernel makes up as they are read know no holes. */
static void who_cannot_tell_has_data(void) {
  int fd;
  REQUIRE_EQ(mh_os_open("/proc/self/status", false, false, &fd), 0);
  REQUIRE(lseek(fd, 0, SEEK_DATA) < 0); /* the control */
  check_stretch(fd, 5, 12345, 5, 12345);
  check_stretch(fd, 12345, 12345, 12345, 12345);
  mh_os_close(fd);
  uint64_t start, stop;
  CHECK_EQ(mh_os_seek_data(fd, 0, 10, &start, &stop), EBADF);
}

static void locks_of_a_range(void) {
  int mine, other;
  REQUIRE_EQ(mh_os_create(test_path("locks"), &mine), 0);
  REQUIRE_EQ(mh_os_open(test_path("locks"), true, false, &other), 0);
  CHECK(!mh_os_locked_range(mine, 0, UINT64_C(1) << 40));
  for (int exclusive = 0; exclusive < 2; exclusive++) {
    CHECK_EQ(mh_os_lock(other, 1000, exclusive), 0);
    CHECK(mh_os_locked_range(mine, 0, UINT64_C(1) << 40) && mh_os_locked(mine, 1000));
    CHECK(mh_os_locked_range(mine, 1000, 1) && mh_os_locked_range(mine, 1000, 5));
    CHECK(mh_os_locked_range(mine, 999, 2) && !mh_os_locked(mine, 999));
    CHECK(!mh_os_locked_range(mine, 0, 1000) && !mh_os_locked_range(mine, 1001, 1000));
    CHECK(!mh_os_locked_range(other, 0, 2000)); /* one's own is none */
    CHECK_EQ(mh_os_unlock(other, 1000), 0);
    CHECK(!mh_os_locked_range(mine, 0, 2000));
  }
  mh_os_close(other);
  mh_os_close(mine);
}

TEST_MAIN(TEST(data_between_holes), TEST(data_to_the_end), TEST(the_position_stays),
          TEST(who_cannot_tell_has_data), TEST(locks_of_a_range))
