/* test_full.c: what runs out, and what is taken away: a full disk, limits of the process, a file
   cut short beneath an attached heap. Always an error in words, never a signal; the heap stays
   what it was. Each in a child process, so that a signal would be seen.

   A real full disk needs a small tmpfs of one's own, so the right to mount one, as root or in a
   user namespace; where neither is granted the tests that need it say so and do nothing.
   MHEAP_FULL_STEP: bytes from one disk size to the next (a page sweeps them all). */
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/statvfs.h>

#include "image.h"
#include "os.h"
#include "superblock.h"

static const mheap_options live = {.mode = MHEAP_MODE_LIVE};

static void print_finding(void *arg, const mheap_finding *finding) {
  (void)arg;
  if (finding->severity > 0)
    fprintf(stderr, "  0x%llx %s: %s\n", (unsigned long long)finding->offset, finding->what, finding->text);
}

static void check_heap(mheap *heap) { CHECK_EQ(mheap_check(heap, print_finding, NULL, NULL), MHEAP_OK); }

/* ---- blocks that know what they hold ---- */

enum { MOST = 150000 };

typedef struct blocks {
  unsigned count;
  size_t size;
  char *block[MOST];
} blocks;

static void write_block(char *block, size_t size, unsigned number) {
  memset(block, (int)(number % 251 + 1), size);
}

static bool block_is_whole(const char *block, size_t size, unsigned number) {
  return block[0] == (char)(number % 251 + 1) && memcmp(block, block + 1, size - 1) == 0;
}

/* Until there is no more; every byte is written. */
static void fill(mheap *heap, blocks *all) {
  while (all->count < MOST && (all->block[all->count] = mheap_malloc(heap, all->size)) != NULL) {
    write_block(all->block[all->count], all->size, all->count);
    all->count++;
  }
}

static void check_blocks(const blocks *all, unsigned from) {
  for (unsigned i = from; i < all->count; i++)
    if (!block_is_whole(all->block[i], all->size, i)) {
      CHECK(!"a block was changed");
      return;
    }
}

/* ---- a full disk ---- */

static char mount_point[1024];

static bool write_line(const char *path, const char *line) {
  int fd = open(path, O_WRONLY);
  bool written = fd >= 0 && write(fd, line, strlen(line)) == (ssize_t)strlen(line);
  close(fd);
  return written;
}

static bool become_root_of_a_namespace(void) {
  char users[64], groups[64];
  snprintf(users, sizeof users, "0 %u 1", (unsigned)getuid());
  snprintf(groups, sizeof groups, "0 %u 1", (unsigned)getgid());
  if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
  return write_line("/proc/self/setgroups", "deny") && write_line("/proc/self/uid_map", users) &&
         write_line("/proc/self/gid_map", groups);
}

/* A mount namespace of our own; false, with the reason printed, where that is not granted. */
static bool make_namespace(void) {
  if (unshare(CLONE_NEWNS) != 0 && !become_root_of_a_namespace()) {
    printf("     not done: no mount namespace: %s\n", strerror(errno));
    return false;
  }
  mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
  if (mkdir(mount_point, 0700) != 0 && errno != EEXIST) return false;
  if (mount("tmpfs", mount_point, "tmpfs", 0, "size=4m") == 0) return true;
  printf("     not done: no tmpfs can be mounted: %s\n", strerror(errno));
  return false;
}

static void set_disk(uint64_t size) {
  char options[64];
  umount(mount_point);
  snprintf(options, sizeof options, "size=%llu", (unsigned long long)size);
  if (mount("tmpfs", mount_point, "tmpfs", 0, options) != 0) exit(3);
}

static uint64_t disk_left(void) {
  struct statvfs st;
  return statvfs(mount_point, &st) == 0 ? st.f_bavail * st.f_frsize : UINT64_MAX;
}

static const char *disk_path(void) {
  static char path[1100];
  snprintf(path, sizeof path, "%s/full.heap", mount_point);
  return path;
}

static void fail_in_other_ways(mheap *heap, const blocks *all) {
  mheap_error before = *mheap_last_error(heap);
  CHECK_EQ(before.code, MHEAP_ERR_FULL);
  CHECK_CONTAINS(before.text, "full.heap");
  CHECK_EQ(before.sys, ENOSPC);
  CHECK_CONTAINS(before.text, "no room for ");
  CHECK_CONTAINS(before.text, "bytes left on its file system");
  CHECK(mheap_calloc(heap, 3, 7000000) == NULL);
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_FULL);
  CHECK(mheap_malloc(heap, 20000000) == NULL);
  CHECK_CONTAINS(mheap_last_error(heap)->text, "no room for 20000000 bytes: ");
  CHECK(mheap_memalign(heap, 65536, 20000000) == NULL);
  if (all->count > 0) CHECK(mheap_realloc(heap, all->block[0], 25000000) == NULL);
  for (int i = 0; i < 50; i++) {
    char name[40];
    int length = snprintf(name, sizeof name, "a name of a root, number %d", i);
    mheap_err code = mheap_setroot(heap, name, (size_t)length, all->count > 0 ? all->block[0] : NULL);
    CHECK(code == MHEAP_OK || code == MHEAP_ERR_FULL || all->count == 0);
  }
}

/* Frees every other block; then at least as many fit again. */
static void make_room(mheap *heap, blocks *all) {
  unsigned freed = 0;
  for (unsigned i = 0; i < all->count; i += 2) {
    CHECK_EQ(mheap_free(heap, all->block[i]), MHEAP_OK);
    freed++;
  }
  for (unsigned i = 0; i < all->count; i += 2, freed--) {
    char *again = mheap_malloc(heap, all->size);
    if (again == NULL) break;
    write_block(again, all->size, i);
    all->block[i] = again;
  }
  CHECK_EQ(freed, 0);
}

static void fill_disk(uint64_t size, size_t block_size) {
  static blocks all;
  mheap_error error = {0};
  all.count = 0;
  all.size = block_size;
  set_disk(size);
  mheap *heap = mheap_open(disk_path(), NULL, &error);
  if (heap == NULL) { /* not even an empty heap fits */
    CHECK_EQ(error.code, MHEAP_ERR_FULL);
    CHECK(size <= 256 << 10);
    struct stat st;
    CHECK(stat(disk_path(), &st) != 0 && errno == ENOENT);
    return;
  }
  fill(heap, &all);
  CHECK(disk_left() <= block_size + (1 << 20));
  fail_in_other_ways(heap, &all);
  check_blocks(&all, 0);
  check_heap(heap);
  make_room(heap, &all);
  check_blocks(&all, 0);
  check_heap(heap);
  for (unsigned i = 0; i < all.count && i < MHEAP_KEYS; i++) mheap_setkey(heap, (int)i, all.block[i]);
  CHECK_EQ(mheap_sync(heap), MHEAP_OK);
  CHECK_EQ(mheap_detach(heap, &error), MHEAP_OK);
  heap = mheap_open(disk_path(), NULL, &error);
  if (!CHECK(heap != NULL)) return;
  check_heap(heap);
  check_blocks(&all, 0);
  for (unsigned i = 0; i < all.count; i++) CHECK_EQ(mheap_free(heap, all.block[i]), MHEAP_OK);
  CHECK_EQ(mheap_detach(heap, &error), MHEAP_OK);
}

static int sweep_disks(void *unused) {
  static const size_t sizes[] = {16, 1000, 70000, 64, 5000, 300000};
  (void)unused;
  if (!make_namespace()) return 0;
  const char *wish = getenv("MHEAP_FULL_STEP");
  uint64_t step = wish != NULL ? strtoull(wish, NULL, 10) : TEST_SANITIZED ? 172 << 10 : 28 << 10;
  unsigned turn = 0;
  for (uint64_t size = 4096; size < 2 << 20; size += step) {
    unsigned before = test_failures;
    alarm(60);
    fill_disk(size, sizes[turn++ % 6]);
    if (test_failures > before)
      fprintf(stderr, "  with a disk of %llu bytes, blocks of %zu\n", (unsigned long long)size,
              sizes[(turn - 1) % 6]);
  }
  fill_disk(24 << 20, 5 << 20); /* huge spans */
  fill_disk(14 << 20, 2 << 20);
  return 0;
}

static void a_full_disk_is_an_error_and_no_signal(void) { CHECK_EQ(in_child_process(sweep_disks, NULL), 0); }

/* ---- arenas and heaps: what cannot be made leaves nothing behind ---- */

enum { STRAY_PAGES = 4 }; /* of tables that were written to for the first time */

typedef struct places {
  unsigned heaps, arenas;
  uint64_t bytes, size, used, left;
} places;

static bool count_heap(void *arg, mheap *heap) {
  ((places *)arg)->heaps++;
  return heap != NULL;
}

static bool count_arena(void *arg, const mheap_arena_info *info) {
  ((places *)arg)->arenas++;
  ((places *)arg)->bytes += info->size;
  return true;
}

static bool own_disk;

static places places_of(mheap *heap) {
  static mheap_stats stats;
  places p = {.left = own_disk ? disk_left() : UINT64_MAX}; /* else others use it too */
  mheap_info info;
  CHECK_EQ(mheap_visit_heaps(heap, count_heap, &p), MHEAP_OK);
  CHECK_EQ(mheap_visit_arenas(heap, count_arena, &p), MHEAP_OK);
  CHECK_EQ(mheap_get_stats(heap, &stats), MHEAP_OK);
  CHECK_EQ(mheap_get_info(heap, &info), MHEAP_OK);
  p.used = stats.chunks_used;
  p.size = info.size;
  return p;
}

static void check_same_places(mheap *heap, const places *before, int sys) {
  places now = places_of(heap);
  CHECK_EQ(now.heaps, before->heaps);
  CHECK_EQ(now.arenas, before->arenas);
  CHECK_EQ(now.bytes, before->bytes);
  CHECK_EQ(now.used, before->used);
  CHECK(now.size <= before->size);
  CHECK(before->left == UINT64_MAX || now.left + STRAY_PAGES * 4096 >= before->left);
  if (sys != 0) CHECK_EQ(mheap_last_error(heap)->sys, sys);
  check_heap(heap);
}

static const mheap_arena_options committed = {.exclusive = true, .commit = true};

/* Reserves, grows, makes heaps and fills them. */
static void use_all_there_is(mheap *heap, int sys) {
  mheap_arena arena = 0;
  places before = places_of(heap);
  if (mheap_arena_reserve(heap, 3 * MH_SEGMENT, &committed, &arena) != MHEAP_OK) {
    CHECK_EQ(arena, 0);
    CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_FULL);
    check_same_places(heap, &before, sys);
    if (mheap_arena_reserve(heap, MH_SEGMENT, &committed, &arena) != MHEAP_OK) {
      check_same_places(heap, &before, sys);
      CHECK_EQ(mheap_arena_reserve(heap, MH_SEGMENT, NULL, &arena), MHEAP_OK);
    }
  }
  before = places_of(heap);
  if (mheap_arena_grow(arena, 4 * MH_SEGMENT) != MHEAP_OK) {
    CHECK_EQ(mheap_last_error(NULL)->code, MHEAP_ERR_FULL);
    check_same_places(heap, &before, 0);
  }
  mheap *other = mheap_new(heap, 1, true, arena), *beside = mheap_new(heap, 0, true, 0);
  if (!CHECK(other != NULL && beside != NULL)) return;
  static const size_t sizes[] = {5000000, 100000, 1000};
  for (int i = 0; i < 6; i++) {
    mheap *one = i % 2 ? beside : other;
    for (char *block; (block = mheap_malloc(one, sizes[i / 2])) != NULL;) memset(block, i, sizes[i / 2]);
    CHECK_EQ(mheap_last_error(one)->code, MHEAP_ERR_FULL);
  }
  check_heap(heap);
  CHECK_EQ(mheap_destroy(other), MHEAP_OK);
  CHECK_EQ(mheap_arena_release(arena), MHEAP_OK);
  CHECK_EQ(mheap_delete(beside), MHEAP_OK);
  check_heap(heap);
}

static int fill_disks_with_places(void *unused) {
  (void)unused;
  if (!make_namespace()) return 0;
  own_disk = true;
  const char *wish = getenv("MHEAP_FULL_STEP");
  uint64_t step = wish != NULL ? strtoull(wish, NULL, 10) : TEST_SANITIZED ? 5000 << 10 : 1300 << 10;
  for (uint64_t size = 512 << 10; size < 20 << 20; size += step) {
    unsigned before = test_failures;
    mheap_error error = {0};
    alarm(60);
    set_disk(size / 4096 * 4096);
    mheap *heap = mheap_open(disk_path(), &(mheap_options){.max_size = 64 << 20}, &error);
    if (!CHECK(heap != NULL)) return 1;
    CHECK(mheap_malloc(heap, 100) != NULL);
    use_all_there_is(heap, ENOSPC);
    CHECK_EQ(mheap_detach(heap, &error), MHEAP_OK);
    if (test_failures > before) fprintf(stderr, "  with a disk of %llu bytes\n", (unsigned long long)size);
  }
  return 0;
}

static void places_that_the_disk_has_no_room_for_are_none(void) {
  CHECK_EQ(in_child_process(fill_disks_with_places, NULL), 0);
}

static bool limit(int what, uint64_t most) { return setrlimit(what, &(struct rlimit){most, most}) == 0; }

static int limit_places(void *arg) {
  mheap_error error = {0};
  char path[1024];
  snprintf(path, sizeof path, "%s", test_path("limited-places"));
  unlink(path);
  if (!CHECK(limit(RLIMIT_FSIZE, *(uint64_t *)arg))) return 1;
  mheap *heap = mheap_open(path, &(mheap_options){.max_size = 64 << 20}, &error);
  if (!CHECK(heap != NULL)) return 1;
  CHECK(mheap_malloc(heap, 100) != NULL);
  use_all_there_is(heap, EFBIG);
  CHECK_EQ(mheap_detach(heap, &error), MHEAP_OK);
  return 0;
}

static void places_beyond_the_limit_on_file_size_are_none(void) {
  for (uint64_t most = 1 << 20; most < 20 << 20; most += 3000000)
    CHECK_EQ(in_child_process(limit_places, &most), 0);
}

static bool limit_space(uint64_t most) {
  struct rlimit now;
  if (getrlimit(RLIMIT_AS, &now) != 0) return false;
  now.rlim_cur = most;
  return setrlimit(RLIMIT_AS, &now) == 0;
}

static uint64_t address_space_used(void);

/* Handles, lanes and tables run out of memory: no row stays behind, and all goes on when there is some. */
static int make_heaps_in_little_memory(void *unused) {
  (void)unused;
  mheap *heap = mheap_open(test_path("little"), NULL, NULL);
  if (!CHECK(heap != NULL && mheap_malloc(heap, 10) != NULL)) return 1;
  mheap *made = mheap_new(heap, 0, true, 0), *one;
  unsigned count = 2;
  if (!CHECK(made != NULL && limit_space(address_space_used() + (1 << 20)))) return 1;
  while ((one = mheap_new(heap, 0, true, 0)) != NULL) {
    count++;
    if (count % 2 == 0 && mheap_malloc(one, 100) == NULL)
      CHECK_EQ(mheap_last_error(one)->code, MHEAP_ERR_NO_MEMORY);
  }
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_NO_MEMORY);
  places now = places_of(heap);
  CHECK_EQ(now.heaps, count);
  CHECK_EQ(mheap_destroy(made), MHEAP_OK);
  if (!CHECK(limit_space(RLIM_INFINITY))) return 1;
  check_heap(heap);
  for (count--; (one = mheap_new(heap, 0, true, 0)) != NULL; count++) CHECK(mheap_malloc(one, 100) != NULL);
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_FULL);
  CHECK_EQ(count, MH_HEAPS - 1); /* all but that of the objects' row */
  check_heap(heap);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  return 0;
}

static void heaps_that_there_is_no_memory_for_are_none(void) {
  if (TEST_SANITIZED) {
    printf("     not done: a sanitizer needs address space itself\n");
    return;
  }
  CHECK_EQ(in_child_process(make_heaps_in_little_memory, NULL), 0);
}

/* A crash on a full disk, then an attach on it: nothing needs more space. */
static int crash_on_full_disk(void *unused) {
  static blocks all = {.size = 3000};
  mheap_error error = {0};
  (void)unused;
  if (!make_namespace()) return 0;
  set_disk(1 << 20);
  mheap *heap = mheap_open(disk_path(), NULL, &error);
  if (!CHECK(heap != NULL)) return 1;
  fill(heap, &all);
  mheap_abandon(heap);
  heap = mheap_open(disk_path(), NULL, &error);
  if (!CHECK(heap != NULL)) return fprintf(stderr, "%s\n", error.text), 1;
  check_blocks(&all, 0);
  check_heap(heap);
  CHECK_EQ(mheap_free(heap, all.block[0]), MHEAP_OK);
  CHECK(mheap_malloc(heap, 3000) != NULL);
  CHECK_EQ(mheap_detach(heap, &error), MHEAP_OK);
  return 0;
}

static void a_full_disk_does_not_hinder_recovery(void) {
  CHECK_EQ(in_child_process(crash_on_full_disk, NULL), 0);
}

static int use_read_only_disk(void *unused) {
  mheap_error error = {0};
  (void)unused;
  if (!make_namespace()) return 0;
  mheap *heap = mheap_open(disk_path(), NULL, &error);
  if (!CHECK(heap != NULL && mheap_detach(heap, &error) == MHEAP_OK)) return 1;
  if (!CHECK(mount(NULL, mount_point, NULL, MS_REMOUNT | MS_RDONLY, NULL) == 0)) return 1;
  CHECK(mheap_open(disk_path(), NULL, &error) == NULL);
  CHECK_EQ(error.code, MHEAP_ERR_READ_ONLY);
  CHECK_EQ(error.sys, EROFS);
  CHECK_CONTAINS(error.text, disk_path());
  for (int mode = MHEAP_MODE_READONLY; mode <= MHEAP_MODE_SCRATCH; mode++) {
    heap = mheap_open(disk_path(), &(mheap_options){.mode = (mheap_mode)mode}, &error);
    CHECK(heap != NULL && mheap_detach(heap, &error) == MHEAP_OK);
  }
  return 0;
}

static void a_read_only_disk_can_be_read(void) { CHECK_EQ(in_child_process(use_read_only_disk, NULL), 0); }

/* Only what is known is said: nothing of the machine's going down. */
static void check_boot_unknown(const mheap_error *error, const char *why) {
  CHECK_EQ(error->code, MHEAP_ERR_UNCLEAN);
  CHECK_CONTAINS(error->text, "is not known");
  CHECK_CONTAINS(error->text, why);
  CHECK_CONTAINS(error->text, "salvage=True");
}

/* Without /proc a descriptor cannot be opened anew, nor is it known which boot this is. */
static int work_without_proc(void *unused) {
  mheap_error error = {0};
  (void)unused;
  if (!make_namespace()) return 0;
  set_disk(4 << 20);
  if (!CHECK(mount("tmpfs", "/proc", "tmpfs", 0, NULL) == 0)) return 1;
  mheap *heap = mheap_open(disk_path(), NULL, &error), *second;
  if (!CHECK(heap != NULL)) return fprintf(stderr, "%s\n", error.text), 1;
  CHECK(mheap_malloc(heap, 100000) != NULL);
  for (int mode = MHEAP_MODE_LIVE; mode <= MHEAP_MODE_SCRATCH; mode++) {
    second = mheap_open(disk_path(), &(mheap_options){.mode = (mheap_mode)mode, .relocate = true}, &error);
    CHECK(second == NULL && error.code == MHEAP_ERR_BUSY);
  }
  check_heap(heap);
  CHECK_EQ(mheap_detach(heap, &error), MHEAP_OK);
  heap = mheap_open(disk_path(), NULL, &error); /* nothing is left locked */
  if (!CHECK(heap != NULL)) return 1;
  CHECK(mheap_malloc(heap, 10) != NULL);
  mheap_abandon(heap);
  CHECK(mheap_open(disk_path(), NULL, &error) == NULL);
  check_boot_unknown(&error, "cannot be read here; mount /proc");
  umount("/proc");
  CHECK(mheap_open(disk_path(), NULL, &error) == NULL);
  check_boot_unknown(&error, "could not be read by who had it open");
  heap = mheap_open(disk_path(), &(mheap_options){.salvage = true}, &error);
  CHECK(heap != NULL && mheap_detach(heap, &error) == MHEAP_OK);
  return 0;
}

static void a_system_without_proc_will_do(void) { CHECK_EQ(in_child_process(work_without_proc, NULL), 0); }

/* ---- limits of the process ---- */

/* The system would also send SIGXFSZ, which ends a process that does not expect it. */
static int reach_file_size_limit(void *arg) {
  static blocks all;
  uint64_t most = *(uint64_t *)arg;
  mheap_error error = {0};
  char path[1024];
  snprintf(path, sizeof path, "%s", test_path("limited"));
  unlink(path);
  signal(SIGXFSZ, SIG_DFL);
  if (!CHECK(limit(RLIMIT_FSIZE, most))) return 1;
  mheap *heap = mheap_open(path, NULL, &error);
  if (heap == NULL) {
    struct stat st;
    CHECK(most < MH_REGION_MIN);
    CHECK_EQ(error.code, MHEAP_ERR_FULL);
    CHECK_EQ(error.sys, EFBIG);
    CHECK(stat(path, &st) != 0 && errno == ENOENT);
    return 0;
  }
  CHECK(most >= MH_REGION_MIN);
  all.size = 2000;
  fill(heap, &all);
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_FULL);
  CHECK_EQ(mheap_last_error(heap)->sys, EFBIG);
  CHECK(mheap_malloc(heap, 50 << 20) == NULL);
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_FULL);
  make_room(heap, &all);
  check_blocks(&all, 0);
  check_heap(heap);
  for (unsigned i = 0; i < all.count; i++) CHECK_EQ(mheap_free(heap, all.block[i]), MHEAP_OK);
  CHECK_EQ(mheap_detach(heap, &error), MHEAP_OK);
  return 0;
}

static void a_limit_on_file_size_is_a_full_heap_and_no_signal(void) {
  for (uint64_t most = 0; most < 1 << 20; most += most < 200000 ? 16384 : 100000)
    CHECK_EQ(in_child_process(reach_file_size_limit, &most), 0);
}

/* A file that is longer than the limit already can be used and cut. */
static int use_file_beyond_limit(void *arg) {
  const char *path = arg;
  mheap_error error = {0};
  if (!CHECK(limit(RLIMIT_FSIZE, 100000))) return 1;
  mheap *heap = mheap_open(path, NULL, &error);
  if (!CHECK(heap != NULL)) return fprintf(stderr, "%s\n", error.text), 1;
  CHECK(mheap_malloc(heap, 16) != NULL);
  CHECK_EQ(mheap_free(heap, mheap_getkey(heap, 0)), MHEAP_OK);
  CHECK_EQ(mheap_collect(heap, true), MHEAP_OK);
  CHECK(mheap_malloc(heap, 9000000) == NULL);
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_FULL);
  CHECK_EQ(mheap_detach(heap, &error), MHEAP_OK);
  return 0;
}

static void a_file_beyond_the_limit_stays_usable(void) {
  char path[1024];
  snprintf(path, sizeof path, "%s", test_path("beyond"));
  mheap *heap = mheap_open(path, NULL, NULL);
  REQUIRE(heap != NULL);
  CHECK(mheap_malloc(heap, 16) != NULL);
  mheap_setkey(heap, 0, mheap_malloc(heap, 3000000));
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  CHECK_EQ(in_child_process(use_file_beyond_limit, path), 0);
}

static uint64_t address_space_used(void) {
  unsigned long long pages = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (file == NULL || fscanf(file, "%llu", &pages) != 1) pages = 0;
  if (file != NULL) fclose(file);
  return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

typedef struct space {
  const char *path;
  uint64_t more; /* than is used now */
  bool worked;
} space;

static int use_little_space(void *arg) {
  space *it = arg;
  mheap_error error = {0};
  unsigned before = test_failures;
  if (!CHECK(limit(RLIMIT_AS, address_space_used() + it->more))) return 1;
  mheap *heap = mheap_open(it->path, NULL, &error);
  if (heap == NULL) {
    CHECK(error.code == MHEAP_ERR_NO_MEMORY || error.code == MHEAP_ERR_BASE_IN_USE);
    CHECK_CONTAINS(error.text, it->path);
    return test_failures > before ? 1 : 10;
  }
  mheap_info info;
  CHECK_EQ(mheap_get_info(heap, &info), MHEAP_OK);
  CHECK(info.max_size <= it->more);
  for (int i = 0; i < 1000; i++) {
    char *block = mheap_malloc(heap, 1000);
    if (block == NULL) break;
    memset(block, 1, 1000);
  }
  CHECK(mheap_malloc(heap, it->more) == NULL);
  mheap_err code = mheap_last_error(heap)->code;
  CHECK(code == MHEAP_ERR_FULL || code == MHEAP_ERR_NO_MEMORY);
  CHECK_STR(mheap_getkey(heap, 0), "kept");
  check_heap(heap);
  CHECK_EQ(mheap_detach(heap, &error), MHEAP_OK);
  return 0;
}

static void little_address_space_makes_a_smaller_span(void) {
  char path[1024];
  if (TEST_SANITIZED) {
    printf("     not done: a sanitizer needs address space itself\n");
    return;
  }
  snprintf(path, sizeof path, "%s", test_path("narrow"));
  mheap *heap = mheap_open(path, NULL, NULL);
  REQUIRE(heap != NULL);
  char *block = mheap_malloc(heap, 100);
  strcpy(block, "kept");
  mheap_setkey(heap, 0, block);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  unsigned worked = 0, refused = 0;
  for (uint64_t more = 0; more <= (uint64_t)4 << 30; more += more < 32 << 20 ? 1 << 20 : more / 2) {
    space it = {path, more, false};
    int status = in_child_process(use_little_space, &it);
    CHECK(status == 0 || status == 10);
    *(status == 0 ? &worked : &refused) += 1;
  }
  CHECK(worked > 3 && refused > 3);
}

/* What lies behind the region's end has never been in use, and is not touched by saying so. */
static void refuse_what_is_beyond(mheap *heap) {
  mheap_info info;
  CHECK_EQ(mheap_get_info(heap, &info), MHEAP_OK);
  for (uint64_t at = info.size; at < info.max_size; at += at / 3) {
    CHECK(mheap_free(heap, (char *)info.base + at) != MHEAP_OK);
    CHECK_EQ(mheap_usable_size(heap, (char *)info.base + at), 0);
  }
}

static int use_little_data(void *arg) {
  space *it = arg;
  mheap_error error = {0};
  mh_os_usage usage;
  unsigned before = test_failures, count = 0;
  struct rlimit most = {.rlim_max = RLIM_INFINITY};
  if (!CHECK_EQ(mh_os_process(&usage), 0)) return 1;
  most.rlim_cur = usage.data + it->more;
  if (!CHECK(setrlimit(RLIMIT_DATA, &most) == 0)) return 1;
  mheap *heap = it->path != NULL ? mheap_open(it->path, NULL, &error) : mheap_attach(-1, NULL, &error);
  if (heap == NULL) {
    CHECK_EQ(error.code, MHEAP_ERR_NO_MEMORY);
    return test_failures > before ? 1 : 10;
  }
  refuse_what_is_beyond(heap);
  static void *blocks[4000];
  while (count < 4000 && (blocks[count] = mheap_malloc(heap, 50000)) != NULL) count++;
  CHECK((count == 4000) == (it->path != NULL && mheap_last_error(heap)->code == MHEAP_OK));
  if (count < 4000) CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_NO_MEMORY);
  while (count-- > 0) CHECK_EQ(mheap_free(heap, blocks[count]), MHEAP_OK);
  refuse_what_is_beyond(heap);
  most.rlim_cur = RLIM_INFINITY; /* a check takes memory */
  CHECK(setrlimit(RLIMIT_DATA, &most) == 0);
  check_heap(heap);
  CHECK_EQ(mheap_detach(heap, &error), MHEAP_OK);
  return test_failures > before;
}

/* Of the process's tables only what is in use counts against a limit on data: they are 64 MiB for 64 GiB. */
static void little_data_is_enough_for_a_large_span(void) {
  if (TEST_SANITIZED) {
    printf("     not done: a sanitizer needs memory itself\n");
    return;
  }
  unsigned worked = 0, refused = 0;
  for (uint64_t more = 0; more <= 40 << 20; more += more < 4 << 20 ? 1 << 18 : 5 << 20) {
    space it = {NULL, more, false};
    int status = in_child_process(use_little_data, &it);
    CHECK(status == 0 || (status == 10 && more < 4 << 20));
    *(status == 0 ? &worked : &refused) += 1;
    it.path = test_path("data");
    unlink(it.path);
    status = in_child_process(use_little_data, &it);
    CHECK(status == 0 || (status == 10 && more < 4 << 20));
  }
  CHECK(worked > 3 && refused > 1);
}

static int use_few_descriptors(void *arg) {
  mheap_error error = {0};
  int lowest = dup(0);
  close(lowest);
  for (uint64_t more = 0; more < 6; more++) {
    struct rlimit now;
    getrlimit(RLIMIT_NOFILE, &now);
    now.rlim_cur = (uint64_t)lowest + more;
    if (!CHECK(setrlimit(RLIMIT_NOFILE, &now) == 0)) return 1;
    mheap *heap = mheap_open(arg, NULL, &error);
    CHECK((heap != NULL) == (more >= 3)); /* the caller's, that of the locks, the mapped one */
    if (heap == NULL) CHECK_EQ(error.sys, EMFILE);
    else CHECK_EQ(mheap_detach(heap, &error), MHEAP_OK);
  }
  return 0;
}

static void a_limit_on_descriptors_is_an_error(void) {
  char path[1024];
  snprintf(path, sizeof path, "%s", test_path("few"));
  mheap *heap = mheap_open(path, NULL, NULL);
  REQUIRE(heap != NULL);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  CHECK_EQ(in_child_process(use_few_descriptors, path), 0);
}

/* ---- a file cut short beneath ---- */

enum { PARTS = 40, PART = 70000 };

typedef struct cutting {
  const char *path;
  uint64_t length; /* left of it */
  mheap_mode mode;
} cutting;

static mheap *attach_long(const cutting *it, char *blocks[PARTS]) {
  mheap_error error = {0};
  unlink(it->path);
  mheap *heap = mheap_open(it->path, &live, &error);
  if (!CHECK(heap != NULL)) return NULL;
  for (int i = 0; i < PARTS; i++) {
    blocks[i] = mheap_malloc(heap, PART);
    write_block(blocks[i], PART, (unsigned)i);
    CHECK_EQ(mheap_setkey(heap, i, blocks[i]), MHEAP_OK);
  }
  if (it->mode == MHEAP_MODE_LIVE) return heap;
  CHECK_EQ(mheap_detach(heap, &error), MHEAP_OK);
  heap = mheap_open(it->path, &(mheap_options){.mode = it->mode}, &error);
  CHECK(heap != NULL);
  return heap;
}

static void check_cut(mheap_err code, const mheap_error *error, const cutting *it) {
  CHECK_EQ(code, MHEAP_ERR_CORRUPT);
  CHECK_EQ(error->code, MHEAP_ERR_CORRUPT);
  CHECK_CONTAINS(error->text, "cut short");
  CHECK_CONTAINS(error->text, it->path);
}

static int stderr_before;

/* What is written to standard error from now on goes to a file in memory. */
static void catch_stderr(void) {
  int fd = memory_file("stderr");
  fflush(stderr);
  stderr_before = dup(2);
  dup2(fd, 2);
  close(fd);
}

static void check_stderr(const char *wanted) {
  char text[2000] = "";
  fflush(stderr);
  ssize_t length = pread(2, text, sizeof text - 1, 0);
  dup2(stderr_before, 2);
  close(stderr_before);
  CHECK(length >= 0);
  CHECK_CONTAINS(text, wanted);
  if (strstr(text, "failed:") != NULL) fputs(text, stderr);
}

/* Whoever looks tells, and nobody makes the file long again. */
static int be_cut(void *arg) {
  const cutting *it = arg;
  char *blocks[PARTS];
  mheap_error error = {0};
  struct stat st;
  mheap *heap = attach_long(it, blocks);
  if (heap == NULL || !CHECK_EQ(truncate(it->path, (off_t)it->length), 0)) return 1;
  mheap_stats stats;
  catch_stderr();
  check_cut(mheap_get_stats(heap, &stats), mheap_last_error(heap), it);
  CHECK_EQ(mheap_check(heap, NULL, NULL, NULL), MHEAP_ERR_CORRUPT);
  if (it->mode == MHEAP_MODE_LIVE) {
    check_cut(mheap_sync(heap), mheap_last_error(heap), it);
    CHECK(mheap_malloc(heap, 8000000) == NULL);
    CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_CORRUPT);
    CHECK(mheap_collect(heap, true) == MHEAP_ERR_CORRUPT);
    for (int i = 0; i < 2; i++) check_cut(mheap_detach(heap, &error), &error, it);
    CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_CORRUPT);
  }
  check_stderr("");
  mheap_abandon(heap);
  CHECK_EQ(stat(it->path, &st), 0);
  CHECK_EQ(st.st_size, it->length);
  return 0;
}

/* Touching what was lost ends no process; from then on every call tells. */
static int touch_lost(void *arg) {
  const cutting *it = arg;
  char *blocks[PARTS];
  mheap *heap = attach_long(it, blocks);
  if (heap == NULL || !CHECK_EQ(truncate(it->path, (off_t)it->length), 0)) return 1;
  unsigned lost = 0;
  catch_stderr();
  for (int i = 0; i < PARTS; i++)
    for (int at = 0; at < PART; at += 1000) lost += blocks[i][at] == 0;
  check_stderr("cut short by another program");
  CHECK(lost > 0); /* the control: some pages were really gone */
  if (it->mode != MHEAP_MODE_READONLY) memset(blocks[PARTS - 1], 1, PART);
  CHECK(mheap_malloc(heap, 100) == NULL);
  check_cut(mheap_last_error(heap)->code, mheap_last_error(heap), it);
  CHECK(mheap_malloc(heap, 8000000) == NULL);
  CHECK(mheap_free(heap, blocks[0]) != MHEAP_OK);
  CHECK_EQ(mheap_usable_size(heap, blocks[0]), 0);
  CHECK(mheap_getkey(heap, 0) == NULL);
  mheap_abandon(heap);
  return 0;
}

static void in_every_mode(int (*act)(void *), uint64_t least) {
  char path[1024];
  snprintf(path, sizeof path, "%s", test_path("cut"));
  static const uint64_t lengths[] = {0, 1, 4096, 65536, 100000, 131072, 200000, 1000000, 2000000};
  for (int mode = MHEAP_MODE_LIVE; mode <= MHEAP_MODE_SCRATCH; mode++)
    for (int i = 0; i < 9; i++) {
      cutting it = {path, lengths[i], (mheap_mode)mode};
      if (lengths[i] < least) continue;
      int status = in_child_process(act, &it);
      if (!CHECK_EQ(status, 0))
        fprintf(stderr, "  mode %d, cut to %llu bytes\n", mode, (unsigned long long)it.length);
    }
}

static void a_file_cut_short_beneath_is_noticed(void) { in_every_mode(be_cut, 0); }

static void touching_what_was_cut_off_ends_no_process(void) { in_every_mode(touch_lost, 0); }

/* SIGBUS that is none of mheap's goes where it went before. */
static int raise_other_bus(void *arg) {
  mheap *heap = mheap_open(arg, NULL, NULL);
  if (heap == NULL) return 1;
  int fd = memory_file("other");
  CHECK_EQ(ftruncate(fd, 4096), 0);
  char *other = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK_EQ(ftruncate(fd, 0), 0);
  other[0] = 1;
  return 0;
}

static void a_bus_error_of_others_stays_theirs(void) {
  char path[1024];
  if (TEST_SANITIZED) return; /* which has a handler of its own, and ends the process in its way */
  snprintf(path, sizeof path, "%s", test_path("bus"));
  CHECK_EQ(in_child_process(raise_other_bus, path), 256 + SIGBUS);
}

int main(int argc, char **argv) {
  static const test_case cases[] = {TEST(a_full_disk_is_an_error_and_no_signal),
                                    TEST(places_that_the_disk_has_no_room_for_are_none),
                                    TEST(places_beyond_the_limit_on_file_size_are_none),
                                    TEST(heaps_that_there_is_no_memory_for_are_none),
                                    TEST(a_full_disk_does_not_hinder_recovery),
                                    TEST(a_read_only_disk_can_be_read),
                                    TEST(a_system_without_proc_will_do),
                                    TEST(a_limit_on_file_size_is_a_full_heap_and_no_signal),
                                    TEST(a_file_beyond_the_limit_stays_usable),
                                    TEST(little_address_space_makes_a_smaller_span),
                                    TEST(little_data_is_enough_for_a_large_span),
                                    TEST(a_limit_on_descriptors_is_an_error),
                                    TEST(a_file_cut_short_beneath_is_noticed),
                                    TEST(touching_what_was_cut_off_ends_no_process),
                                    TEST(a_bus_error_of_others_stays_theirs)};
  snprintf(mount_point, sizeof mount_point, "%s", test_path("disk"));
  return test_run_all(cases, sizeof cases / sizeof cases[0], argc, argv);
}
