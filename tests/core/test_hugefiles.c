/* test_hugefiles.c: heap files on file systems of huge pages: hugetlbfs, and tmpfs mounted with
   huge=. In every mode, beside other processes, killed, out of pages, cut short. Mounts are made
   in a namespace of this program's own, as root; elsewhere the tests say so and do nothing. */
#include <sched.h>
#include <sys/mount.h>

#include "file_heap.h"
#include "heap.h"
#include "image.h"
#include "os.h"
#include "pool.h"
#include "superblock.h"

#define MIB ((uint64_t)1 << 20)

static const mheap_options live = {.mode = MHEAP_MODE_LIVE}, readonly = {.mode = MHEAP_MODE_READONLY},
                           scratch = {.mode = MHEAP_MODE_SCRATCH};

/* ---- helpers ---- */

static bool in_namespace(void) {
  static bool made;
  if (made) return true;
  if (unshare(CLONE_NEWNS) != 0) {
    printf("     not done: no mount namespace: %s\n", strerror(errno));
    return false;
  }
  mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
  return made = true;
}

static bool mounted(const char *kind, const char *options, char place[1024]) {
  if (!in_namespace()) return false;
  snprintf(place, 1024, "%s", test_path(options));
  mkdir(place, 0777);
  if (mount("none", place, kind, 0, options) == 0) return chmod(place, 0777) == 0;
  printf("     not done: %s cannot be mounted with %s: %s\n", kind, options, strerror(errno));
  return false;
}

typedef struct place {
  pool *pool;
  char directory[1024], file[1100];
} place;

/* A hugetlbfs with so many pages. */
static bool hugetlbfs(place *at, uint64_t pages) {
  at->pool = pool_take(POOL_2M, pages);
  if (!pool_has(at->pool, pages)) return false;
  snprintf(at->file, sizeof at->file, "%s", "");
  if (!mounted("hugetlbfs", "pagesize=2M", at->directory)) {
    pool_give(at->pool);
    return false;
  }
  snprintf(at->file, sizeof at->file, "%s/a.heap", at->directory);
  return true;
}

static void leave(place *at) {
  CHECK_EQ(umount(at->directory), 0); /* so nothing is open or mapped any more */
  CHECK_EQ(pool_free(POOL_2M), at->pool->pages);
  pool_give(at->pool);
}

static mheap_page_stats pages_of(mheap *heap) {
  static mheap_stats stats;
  CHECK_EQ(mheap_get_stats(heap, &stats), MHEAP_OK);
  return stats.pages;
}

static void check_heap(mheap *heap) { CHECK_EQ(mheap_check(heap, NULL, NULL, NULL), MHEAP_OK); }

static uint64_t size_of(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 ? (uint64_t)st.st_size : UINT64_MAX;
}

/* A block of bytes `content` under a key. */
static char *keep(mheap *heap, int key, uint64_t size, int content) {
  char *block = mheap_malloc(heap, size);
  if (!CHECK(block != NULL)) return NULL;
  memset(block, content, size);
  CHECK_EQ(mheap_setkey(heap, key, block), MHEAP_OK);
  return block;
}

static bool holds(mheap *heap, int key, uint64_t size, int content) {
  const char *block = mheap_getkey(heap, key);
  return block != NULL && block[0] == (char)content && memcmp(block, block + 1, size - 1) == 0;
}

static void make(const char *path, uint64_t size) {
  mheap *heap = attach(path, &live);
  if (heap == NULL) return;
  keep(heap, 1, size, 'a');
  detach(heap);
}

/* What cannot be written with write(). */
static void store(const char *path, uint64_t length, const void *bytes, uint64_t count) {
  int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
  CHECK_EQ(ftruncate(fd, (off_t)length), 0);
  char *at = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (CHECK(at != MAP_FAILED)) memcpy(at, bytes, count);
  munmap(at, length);
  close(fd);
}

static void load(const char *path, void *bytes, uint64_t count) {
  int fd = open(path, O_RDONLY);
  CHECK_EQ(read(fd, bytes, count), count);
  close(fd);
}

/* ---- hugetlbfs ---- */

static void an_empty_heap_is_one_page(void) {
  place at;
  if (!hugetlbfs(&at, 4)) return;
  mheap *heap = attach(at.file, &live);
  REQUIRE(heap != NULL);
  CHECK_EQ(size_of(at.file), POOL_2M);
  mheap_page_stats pages = pages_of(heap);
  CHECK_EQ(pages.page_size, POOL_2M);
  CHECK_EQ(pages.bytes_2m, POOL_2M);
  CHECK_EQ(pages.asked, MHEAP_PAGES_NEVER);
  CHECK_STR(pages.fallback, "");
  check_heap(heap);
  detach(heap);
  CHECK_EQ(size_of(at.file), POOL_2M);
  unlink(at.file);
  leave(&at);
}

static void it_goes_on_where_it_stopped(void) {
  place at;
  if (!hugetlbfs(&at, 24)) return;
  make(at.file, 100000);
  CHECK_EQ(size_of(at.file) % POOL_2M, 0);
  for (int i = 2; i < 5; i++) {
    mheap *heap = attach(at.file, &live);
    REQUIRE(heap != NULL);
    CHECK(holds(heap, 1, 100000, 'a'));
    keep(heap, i, 9 * MIB, 'a' + i);
    check_heap(heap);
    detach(heap);
  }
  mheap *heap = attach(at.file, &readonly);
  REQUIRE(heap != NULL);
  CHECK(holds(heap, 4, 9 * MIB, 'a' + 4) && holds(heap, 2, 9 * MIB, 'a' + 2));
  check_heap(heap);
  CHECK(pages_of(heap).bytes_2m > 0);
  CHECK_EQ(mheap_malloc(heap, 1) == NULL, true);
  detach(heap);
  unlink(at.file);
  leave(&at);
}

static void scratch_sets_pages_aside(void) {
  place at;
  if (!hugetlbfs(&at, 16)) return;
  make(at.file, 5 * MIB);
  mheap *heap = attach(at.file, &scratch);
  REQUIRE(heap != NULL);
  memset(mheap_getkey(heap, 1), 'b', 5 * MIB);
  keep(heap, 2, 9 * MIB, 'c'); /* grows by plain memory */
  check_heap(heap);
  detach(heap);
  heap = attach(at.file, &live);
  CHECK(holds(heap, 1, 5 * MIB, 'a'));
  keep(heap, 3, 5 * MIB, 'd');
  detach(heap);
  mheap_error error; /* and now there are too few */
  CHECK_EQ(refused_with(at.file, &scratch, &error), MHEAP_ERR_NO_MEMORY);
  CHECK_EQ(error.sys, ENOMEM);
  CHECK_CONTAINS(error.text, "setting huge pages aside for a scratch mapping");
  unlink(at.file);
  leave(&at);
}

static void a_pool_that_is_empty_is_a_full_disk(void) {
  place at;
  if (!hugetlbfs(&at, 6)) return;
  mheap *heap = attach(at.file, &live);
  REQUIRE(heap != NULL);
  char *block = keep(heap, 1, 3 * MIB, 'a');
  CHECK(mheap_malloc(heap, 40 * MIB) == NULL);
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_FULL);
  CHECK_CONTAINS(mheap_last_error(heap)->text, "allocating huge pages in the file (the kernel's pool");
  while (mheap_malloc(heap, 10000) != NULL) continue;
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_FULL);
  CHECK(holds(heap, 1, 3 * MIB, 'a'));
  check_heap(heap);
  CHECK_EQ(mheap_free(heap, block), MHEAP_OK);
  CHECK(mheap_malloc(heap, 100000) != NULL);
  detach(heap);
  char other[1200];
  snprintf(other, sizeof other, "%s/b.heap", at.directory);
  make(at.file, 1000);
  mheap_error error;
  while (refused_with(other, &live, &error) == MHEAP_OK) { /* new heaps until there is no page for one */
    strcat(other, "b");
    if (!CHECK(strlen(other) < 1180)) break;
  }
  CHECK_EQ(error.code, MHEAP_ERR_FULL);
  CHECK_EQ(size_of(other), UINT64_MAX); /* nothing is left of what could not be made */
  char command[1200];
  snprintf(command, sizeof command, "rm -f '%s'/*", at.directory);
  CHECK_EQ(system(command), 0);
  leave(&at);
}

static void freed_pages_go_back(void) {
  place at;
  if (!hugetlbfs(&at, 24)) return;
  mheap *heap = attach(at.file, &live);
  REQUIRE(heap != NULL);
  keep(heap, 1, 12 * MIB, 'a');
  keep(heap, 2, 9 * MIB, 'b');
  uint64_t before = pool_free(POOL_2M);
  CHECK_EQ(mheap_free(heap, mheap_getkey(heap, 1)), MHEAP_OK);
  CHECK_EQ(mheap_collect(heap, true), MHEAP_OK);
  CHECK(pool_free(POOL_2M) >= before + 5); /* a hole; its first and last page may be shared */
  keep(heap, 3, 12 * MIB, 'c');            /* filled again */
  CHECK(holds(heap, 2, 9 * MIB, 'b') && holds(heap, 3, 12 * MIB, 'c'));
  for (int key = 2; key < 4; key++) CHECK_EQ(mheap_free(heap, mheap_getkey(heap, key)), MHEAP_OK);
  CHECK_EQ(mheap_collect(heap, true), MHEAP_OK);
  CHECK_EQ(size_of(at.file), POOL_2M); /* the tail is cut */
  check_heap(heap);
  detach(heap);
  unlink(at.file);
  leave(&at);
}

static void blocks_keep_their_alignment_but_whole_segments(void) {
  place at;
  if (!hugetlbfs(&at, 24)) return;
  mheap *heap = attach(at.file, &live);
  REQUIRE(heap != NULL);
  for (uint64_t alignment = 16; alignment <= MIB; alignment *= 2) {
    char *block = mheap_memalign(heap, alignment, 100000);
    CHECK(block != NULL && (uint64_t)block % alignment == 0);
  }
  CHECK(mheap_memalign(heap, MIB, 5 * MIB) == NULL);
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_ARGUMENT);
  check_heap(heap);
  detach(heap);
  unlink(at.file);
  leave(&at);
}

static int die_with_it_open(void *arg) {
  mheap *heap = mheap_open(arg, &live, NULL);
  if (heap == NULL) return 1;
  keep(heap, 2, 5 * MIB, 'k');
  for (int i = 0; i < 1000; i++) mheap_malloc(heap, 3000);
  raise(SIGKILL);
  return 2;
}

static void a_killed_process_loses_nothing(void) {
  place at;
  if (!hugetlbfs(&at, 24)) return;
  make(at.file, 100000);
  CHECK_EQ(in_child_process(die_with_it_open, at.file), 256 + SIGKILL);
  mheap *heap = attach(at.file, &live);
  REQUIRE(heap != NULL);
  CHECK_EQ(heap->region->state_found, MHEAP_OPEN);
  CHECK(holds(heap, 1, 100000, 'a') && holds(heap, 2, 5 * MIB, 'k'));
  check_heap(heap);
  keep(heap, 3, 2 * MIB, 'm');
  detach(heap);
  unlink(at.file);
  leave(&at);
}

static int read_in_child(void *arg) {
  mheap *heap = mheap_open(arg, &readonly, NULL);
  if (heap == NULL) return 1;
  bool whole = holds(heap, 1, 3 * MIB, 'a') && mheap_check(heap, NULL, NULL, NULL) == MHEAP_OK;
  return whole && mheap_detach(heap, NULL) == MHEAP_OK ? 0 : 2;
}

static int busy_in_child(void *arg) {
  mheap_error error = {0};
  return refused_with(arg, &live, &error) == MHEAP_ERR_BUSY ? 0 : 1;
}

static int refused_in_child(void *arg) {
  return mheap_malloc(arg, 10) == NULL && mheap_last_error(arg)->code == MHEAP_ERR_FORKED ? 0 : 1;
}

static void other_processes_see_it(void) {
  place at;
  if (!hugetlbfs(&at, 12)) return;
  make(at.file, 3 * MIB);
  CHECK_EQ(in_child_process(read_in_child, at.file), 0);
  mheap *heap = attach(at.file, &live);
  REQUIRE(heap != NULL);
  CHECK_EQ(in_child_process(busy_in_child, at.file), 0);
  CHECK_EQ(in_child_process(refused_in_child, heap), 0);
  CHECK(mheap_malloc(heap, 10) != NULL);
  detach(heap);
  unlink(at.file);
  leave(&at);
}

static int use_what_was_cut(void *arg) {
  mheap *heap = mheap_open(arg, &live, NULL);
  if (heap == NULL) return 1;
  char *block = keep(heap, 2, 6 * MIB, 'c');
  if (truncate(arg, (off_t)POOL_2M) != 0) return 2;
  if (block[5 * MIB] != 0) return 3; /* lost: zero, and no signal */
  if (mheap_malloc(heap, 100) != NULL || mheap_last_error(heap)->code != MHEAP_ERR_CORRUPT) return 4;
  mheap_abandon(heap);
  return 0;
}

static void a_file_cut_short_is_an_error(void) {
  place at;
  if (!hugetlbfs(&at, 12)) return;
  make(at.file, 1000);
  CHECK_EQ(in_child_process(use_what_was_cut, at.file), 0);
  unlink(at.file);
  leave(&at);
}

static void what_is_no_heap_stays_untouched(void) {
  place at;
  char text[5000], after[5000];
  mheap_error error;
  if (!hugetlbfs(&at, 4)) return;
  memset(text, 'x', sizeof text);
  store(at.file, POOL_2M, text, sizeof text);
  CHECK_EQ(refused_with(at.file, &live, &error), MHEAP_ERR_NOT_A_HEAP);
  load(at.file, after, sizeof after);
  CHECK_EQ(memcmp(text, after, sizeof text), 0);
  memset(text, 0, 4500); /* zeros, but not all */
  store(at.file, POOL_2M, text, sizeof text);
  CHECK_EQ(refused_with(at.file, &live, &error), MHEAP_ERR_NOT_A_HEAP);
  store(at.file, 2 * POOL_2M, "", 1); /* all zero, but no heap was ever begun so */
  CHECK_EQ(refused_with(at.file, &live, &error), MHEAP_ERR_NOT_A_HEAP);
  unlink(at.file);
  leave(&at);
}

/* Formatting killed after each of its stores to the superblock. */
static void interrupted_formatting_is_finished(void) {
  place at;
  mh_superblock whole, part;
  mheap_error error;
  if (!hugetlbfs(&at, 4)) return;
  mh_superblock_make(&whole, MH_DEFAULT_SPAN);
  whole.placement = MH_SEGMENT;
  const size_t order = offsetof(mh_identity, byte_order);
  for (uint64_t stored = 0; stored <= sizeof whole; stored += 8) {
    memset(&part, 0, sizeof part);
    if (stored > 0) memcpy((char *)&part + order, &whole.identity.byte_order, 8);
    if (stored > 8) memcpy((char *)&part + 8, (char *)&whole + 8, stored - 8);
    if (stored == sizeof whole) part = whole;
    store(at.file, POOL_2M, &part, sizeof part);
    if (stored < sizeof whole) CHECK_EQ(refused_with(at.file, &readonly, &error), MHEAP_ERR_NOT_A_HEAP);
    mheap *heap = attach(at.file, &live);
    if (heap == NULL) break;
    check_heap(heap);
    keep(heap, 1, 1000, 'a');
    detach(heap);
    unlink(at.file);
  }
  leave(&at);
}

static void a_heap_made_for_small_pages_is_refused(void) {
  place at;
  mheap_error error;
  if (!hugetlbfs(&at, 4)) return;
  const char *small = test_path("small.heap");
  make(small, 1000);
  char *bytes = calloc(1, POOL_2M);
  load(small, bytes, size_of(small));
  store(at.file, POOL_2M, bytes, size_of(small));
  free(bytes);
  for (int mode = MHEAP_MODE_LIVE; mode <= MHEAP_MODE_SCRATCH; mode++) {
    CHECK_EQ(refused_with(at.file, &(mheap_options){.mode = (mheap_mode)mode}, &error), MHEAP_ERR_SYSTEM);
    CHECK_CONTAINS(error.text, "made for small pages");
  }
  unlink(at.file);
  leave(&at);
}

static void a_copy_elsewhere_is_a_heap(void) {
  place at;
  char command[2400];
  if (!hugetlbfs(&at, 12)) return;
  make(at.file, 5 * MIB);
  const char *copy = test_path("copy.heap");
  snprintf(command, sizeof command, "cp '%s' '%s'", at.file, copy);
  REQUIRE(system(command) == 0);
  mheap *heap = attach(copy, &live);
  REQUIRE(heap != NULL);
  CHECK(holds(heap, 1, 5 * MIB, 'a'));
  keep(heap, 2, 9 * MIB, 'b');
  CHECK_EQ(pages_of(heap).bytes_2m, 0);
  check_heap(heap);
  detach(heap);
  unlink(at.file);
  leave(&at);
}

static void other_pages_than_asked_for_are_said(void) {
  place at;
  if (!hugetlbfs(&at, 4)) return;
  mheap *heap = attach(at.file, &(mheap_options){.huge_pages = MHEAP_PAGES_1G});
  REQUIRE(heap != NULL);
  CHECK_CONTAINS(pages_of(heap).fallback, "a hugetlbfs whose pages have 2M");
  detach(heap);
  heap = attach(at.file, &(mheap_options){.huge_pages = MHEAP_PAGES_2M, .numa_node = MHEAP_NODE(0)});
  REQUIRE(heap != NULL);
  CHECK_STR(pages_of(heap).fallback, "");
  CHECK_EQ(pages_of(heap).numa_node, 0);
  detach(heap);
  unlink(at.file);
  heap = attach(test_path("disk.heap"), &(mheap_options){.huge_pages = MHEAP_PAGES_2M});
  REQUIRE(heap != NULL);
  CHECK_CONTAINS(pages_of(heap).fallback, "2M pages: a file has them only on hugetlbfs");
  detach(heap);
  leave(&at);
}

static int use_as_nobody(void *arg) {
  if (setgid(65534) != 0 || setuid(65534) != 0) return 9;
  mheap *heap = mheap_open(arg, &live, NULL);
  if (heap == NULL) return 1;
  keep(heap, 1, 3 * MIB, 'a');
  return mheap_detach(heap, NULL) == MHEAP_OK ? 0 : 2;
}

static void no_privileges_are_needed(void) {
  place at;
  if (!hugetlbfs(&at, 6)) return;
  chmod(test_directory(), 0777);
  CHECK_EQ(in_child_process(use_as_nobody, at.file), 0);
  CHECK_EQ(size_of(at.file), 2 * POOL_2M);
  unlink(at.file);
  leave(&at);
}

/* ---- pages of 1 GiB ---- */

static int die_in_a_page_of_1_gib(void *arg) {
  mheap *heap = mheap_open(arg, &live, NULL);
  if (heap == NULL || !holds(heap, 1, 100 * MIB, 'a')) return 1;
  keep(heap, 2, 300 * MIB, 'k');
  for (int i = 0; i < 100000; i++) mheap_malloc(heap, 1000);
  raise(SIGKILL);
  return 2;
}

static void use_page_of_1_gib(char *file) {
  make(file, 100 * MIB);
  CHECK_EQ(size_of(file), POOL_1G);
  CHECK_EQ(in_child_process(die_in_a_page_of_1_gib, file), 256 + SIGKILL);
  mheap *heap = attach(file, &live);
  REQUIRE(heap != NULL);
  CHECK_EQ(heap->region->state_found, MHEAP_OPEN);
  CHECK_EQ(pages_of(heap).page_size, POOL_1G);
  CHECK(holds(heap, 1, 100 * MIB, 'a') && holds(heap, 2, 300 * MIB, 'k'));
  check_heap(heap);
  CHECK(mheap_malloc(heap, 600 * MIB) == NULL); /* which would need a second page */
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_FULL);
  keep(heap, 3, 200 * MIB, 'm');
  detach(heap);
  CHECK_EQ(size_of(file), POOL_1G);
  heap = attach(file, &readonly);
  REQUIRE(heap != NULL);
  CHECK(holds(heap, 1, 100 * MIB, 'a') && holds(heap, 3, 200 * MIB, 'm'));
  check_heap(heap);
  detach(heap);
}

/* Memory may be too scattered for such a page: then that is what is said. */
static void a_page_of_1_gib_holds_a_heap(void) {
  char directory[1024], file[1100];
  mheap_error error;
  pool *p = pool_take(POOL_1G, 1);
  if (!mounted("hugetlbfs", "pagesize=1G,size=1G", directory)) {
    pool_give(p);
    return;
  }
  snprintf(file, sizeof file, "%s/a.heap", directory);
  if (p->pages > 0) {
    use_page_of_1_gib(file);
  } else {
    CHECK_EQ(refused_with(file, &live, &error), MHEAP_ERR_FULL);
    CHECK_EQ(size_of(file), UINT64_MAX);
  }
  unlink(file);
  CHECK_EQ(umount(directory), 0);
  CHECK_EQ(pool_free(POOL_1G), p->pages);
  pool_give(p);
}

/* ---- tmpfs ---- */

static void use_tmpfs(const char *options, mheap_pages asked, bool expected) {
  char directory[1024], file[1100];
  if (!mounted("tmpfs", options, directory)) return;
  snprintf(file, sizeof file, "%s/a.heap", directory);
  mheap *heap = attach(file, &(mheap_options){.huge_pages = asked});
  REQUIRE(heap != NULL);
  keep(heap, 1, 20 * MIB, 'a');
  mheap_page_stats pages = pages_of(heap);
  CHECK_EQ(pages.bytes_transparent >= 12 * MIB, expected);
  CHECK_EQ(pages.fallback[0] != 0, asked != MHEAP_PAGES_NEVER && !expected);
  CHECK_EQ(pages.page_size >= POOL_2M, expected);
  for (int i = 0; i < 2000; i++) mheap_malloc(heap, 3000);
  CHECK_EQ(mheap_free(heap, mheap_getkey(heap, 1)), MHEAP_OK);
  CHECK_EQ(mheap_collect(heap, true), MHEAP_OK);
  keep(heap, 2, 10 * MIB, 'b');
  check_heap(heap);
  detach(heap);
  for (int mode = MHEAP_MODE_LIVE; mode <= MHEAP_MODE_SCRATCH; mode++) {
    heap = attach(file, &(mheap_options){.mode = (mheap_mode)mode, .huge_pages = asked});
    REQUIRE(heap != NULL);
    CHECK(holds(heap, 2, 10 * MIB, 'b'));
    if (mode != MHEAP_MODE_READONLY) keep(heap, 3, 5 * MIB, 'c');
    check_heap(heap);
    detach(heap);
  }
  umount(directory);
}

static bool tmpfs_can(void) {
  struct stat st;
  return stat("/sys/kernel/mm/transparent_hugepage/shmem_enabled", &st) == 0;
}

static void tmpfs_gives_huge_pages_unasked(void) {
  use_tmpfs("size=128m,huge=always", MHEAP_PAGES_NEVER, tmpfs_can());
  use_tmpfs("size=128m,huge=always,mode=777", MHEAP_PAGES_TRANSPARENT, tmpfs_can());
  use_tmpfs("size=128m,huge=within_size", MHEAP_PAGES_NEVER, tmpfs_can());
}

static void tmpfs_gives_huge_pages_when_asked(void) {
  use_tmpfs("size=128m,huge=advise", MHEAP_PAGES_TRANSPARENT, tmpfs_can());
  use_tmpfs("size=128m,huge=advise,mode=777", MHEAP_PAGES_NEVER, false);
}

static void tmpfs_without_them_says_so(void) {
  use_tmpfs("size=128m,huge=never", MHEAP_PAGES_TRANSPARENT, false);
  use_tmpfs("size=128m,huge=never,mode=777", MHEAP_PAGES_NEVER, false);
}

static void a_full_tmpfs_of_huge_pages_is_an_error(void) {
  char directory[1024], file[1100];
  if (!mounted("tmpfs", "size=16m,huge=always", directory)) return;
  snprintf(file, sizeof file, "%s/a.heap", directory);
  mheap *heap = attach(file, &live);
  REQUIRE(heap != NULL);
  uint64_t count = 0;
  char *block;
  while ((block = mheap_malloc(heap, 50000)) != NULL) {
    memset(block, 'f', 50000);
    count++;
  }
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_FULL);
  CHECK(count >= 200);
  check_heap(heap);
  detach(heap);
  umount(directory);
}

/* A file made before huge pages were asked for keeps its place in memory. */
static void an_older_heap_is_attached_all_the_same(void) {
  char directory[1024], file[1100];
  if (!mounted("tmpfs", "size=128m,huge=never,mode=770", directory)) return;
  snprintf(file, sizeof file, "%s/a.heap", directory);
  make(file, 100000);
  CHECK_EQ(mount("none", directory, NULL, MS_REMOUNT, "huge=always"), 0);
  mheap *heap = attach(file, &(mheap_options){.huge_pages = MHEAP_PAGES_TRANSPARENT});
  REQUIRE(heap != NULL);
  keep(heap, 2, 9 * MIB, 'b');
  CHECK(holds(heap, 1, 100000, 'a'));
  CHECK_CONTAINS(pages_of(heap).fallback, "no multiple of a huge page");
  check_heap(heap);
  detach(heap);
  umount(directory);
}

TEST_MAIN(TEST(an_empty_heap_is_one_page), TEST(it_goes_on_where_it_stopped), TEST(scratch_sets_pages_aside),
          TEST(a_pool_that_is_empty_is_a_full_disk), TEST(freed_pages_go_back),
          TEST(blocks_keep_their_alignment_but_whole_segments), TEST(a_killed_process_loses_nothing),
          TEST(other_processes_see_it), TEST(a_file_cut_short_is_an_error),
          TEST(what_is_no_heap_stays_untouched), TEST(interrupted_formatting_is_finished),
          TEST(a_heap_made_for_small_pages_is_refused), TEST(a_copy_elsewhere_is_a_heap),
          TEST(other_pages_than_asked_for_are_said), TEST(no_privileges_are_needed),
          TEST(a_page_of_1_gib_holds_a_heap), TEST(tmpfs_gives_huge_pages_unasked),
          TEST(tmpfs_gives_huge_pages_when_asked), TEST(tmpfs_without_them_says_so),
          TEST(a_full_tmpfs_of_huge_pages_is_an_error), TEST(an_older_heap_is_attached_all_the_same))
