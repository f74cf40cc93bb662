/* os_linux_written.c: which pages of private mappings hold contents of their own; see os.h. Owns one
   descriptor of /proc/self/pagemap a process, and its lock, under which nothing is called but the system.

   A page is the process's own if it is there (present or swapped out) and is neither the file's nor
   the page of zeros. That is so by construction: the kernel cannot lose it, where soft-dirty bits may
   be compiled out and are cleared by others. */
#include "os.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- answers ---- */

typedef struct answer {
  mh_os_range *ranges;
  size_t room, count;
} answer;

/* false: no room. */
static bool add(answer *a, uint64_t start, uint64_t end) {
  if (a->count > 0 && a->ranges[a->count - 1].end == start) {
    a->ranges[a->count - 1].end = end;
    return true;
  }
  if (a->count == a->room) return false;
  a->ranges[a->count++] = (mh_os_range){start, end};
  return true;
}

/* ---- PAGEMAP_SCAN, as linux/fs.h has it since 6.7 ---- */

typedef struct page_range {
  uint64_t start, end, categories;
} page_range;

typedef struct scan_arg {
  uint64_t size, flags, start, end;
  uint64_t walk_end; /* out: where the scan stopped */
  uint64_t ranges, ranges_room, max_pages;
  uint64_t inverted, all_of, any_of; /* categories */
  uint64_t returned;                 /* those that are told: ranges that differ in no other are one */
} scan_arg;

static_assert(sizeof(page_range) == 24 && sizeof(scan_arg) == 96, "the kernel's");

#define SCAN _IOWR('f', 16, scan_arg)
#define IS_FILE (1 << 2)
#define IS_PRESENT (1 << 3)
#define IS_SWAPPED (1 << 4)
#define IS_ZERO (1 << 5)
#define SCANNED 128 /* ranges at once */

static scan_arg question(uint64_t start, uint64_t end, page_range *found) {
  return (scan_arg){
      .size = sizeof(scan_arg),
      .start = start,
      .end = end,
      .ranges = (uintptr_t)found,
      .ranges_room = SCANNED,
      .inverted = IS_FILE | IS_ZERO,
      .all_of = IS_FILE | IS_ZERO,
      .any_of = IS_PRESENT | IS_SWAPPED,
      .returned = IS_FILE,
  };
}

static int scan(int fd, uint64_t start, uint64_t end, mh_os_range *ranges, size_t room, size_t *count,
                uint64_t *next) {
  page_range found[SCANNED];
  answer a = {ranges, room, 0};
  for (*next = start, *count = 0; *next < end;) {
    scan_arg arg = question(*next, end, found);
    int got = ioctl(fd, SCAN, &arg);
    if (got < 0) return errno;
    if (arg.walk_end <= *next || arg.walk_end > end) return EIO;
    *next = arg.walk_end;
    for (int i = 0; i < got; i++) {
      if (add(&a, found[i].start, found[i].end)) continue;
      *next = found[i].start;
      *count = a.count;
      return 0;
    }
    *count = a.count;
  }
  return 0;
}

/* ---- /proc/self/pagemap ---- */

#define PRESENT ((uint64_t)1 << 63)
#define SWAPPED ((uint64_t)1 << 62)
#define FILE_OR_SHARED ((uint64_t)1 << 61)
#define ENTRIES 1024 /* pages at once */

static bool is_own(uint64_t entry) { return (entry & (PRESENT | SWAPPED)) && !(entry & FILE_OR_SHARED); }

/* Of the pages from *next on; false: no room. */
static bool add_entries(answer *a, const uint64_t *entries, size_t pages, uint64_t page, uint64_t *next) {
  for (size_t i = 0; i < pages; i++, *next += page)
    if (is_own(entries[i]) && !add(a, *next, *next + page)) return false;
  return true;
}

static int read_pagemap(int fd, uint64_t start, uint64_t end, mh_os_range *ranges, size_t room, size_t *count,
                        uint64_t *next) {
  uint64_t entries[ENTRIES], page = mh_os_page();
  answer a = {ranges, room, 0};
  bool fits = true;
  for (*next = start, *count = 0; *next < end && fits;) {
    size_t got, pages = (end - *next) / page < ENTRIES ? (end - *next) / page : ENTRIES;
    int failed = mh_os_read(fd, entries, pages * sizeof *entries, *next / page * sizeof *entries, &got);
    if (failed) return failed;
    if (got != pages * sizeof *entries) return EIO;
    fits = add_entries(&a, entries, pages, page, next);
    *count = a.count;
  }
  return 0;
}

/* ---- no way to know ---- */

static int report_all(int fd, uint64_t start, uint64_t end, mh_os_range *ranges, size_t room, size_t *count,
                      uint64_t *next) {
  (void)fd, (void)room;
  ranges[0] = (mh_os_range){start, end};
  *count = 1;
  *next = end;
  return 0;
}

static mh_os_written_fun *const ways[] = {scan, read_pagemap, report_all};

/* ---- the trial ---- */

/* Three pages of a file, private and writable. Where all memory of the process is locked, a mapping
   that is writable when it is made, or while it is locked, would be brought in as if it were stored to. */
static void *map_three(uint64_t page) {
  int fd = memfd_create("mheap", MFD_CLOEXEC);
  if (fd < 0) return MAP_FAILED;
  void *got = MAP_FAILED;
  if (ftruncate(fd, (off_t)(3 * page)) == 0) got = mmap(NULL, 3 * page, PROT_READ, MAP_PRIVATE, fd, 0);
  close(fd);
  if (got != MAP_FAILED) munlock(got, 3 * page);
  return got;
}

static bool is_first(mh_os_written_fun *way, int fd, volatile char *at, uint64_t page) {
  mh_os_range ranges[3];
  size_t count;
  uint64_t next, start = (uintptr_t)at;
  at[0] = 1;
  (void)at[page];
  return way(fd, start, start + 3 * page, ranges, 3, &count, &next) == 0 && next == start + 3 * page &&
         count == 1 && ranges[0].start == start && ranges[0].end == start + page;
}

bool mh_os_written_is_true(mh_os_written_fun *way, int fd) {
  uint64_t page = mh_os_page();
  void *three = map_three(page);
  if (three == MAP_FAILED) return false;
  bool is = mprotect(three, 3 * page, PROT_READ | PROT_WRITE) == 0 && is_first(way, fd, three, page);
  munmap(three, 3 * page);
  return is;
}

static mh_os_written_how first_true(int fd) {
  int how = fd < 0 ? MH_OS_WRITTEN_COMPARE : MH_OS_WRITTEN_SCAN;
  while (how < MH_OS_WRITTEN_COMPARE && !mh_os_written_is_true(ways[how], fd)) how++;
  return (mh_os_written_how)how;
}

/* ---- the process's choice ---- */

typedef struct choice {
  pid_t process; /* 0: none was made */
  mh_os_written_how how;
  int fd; /* of /proc/self/pagemap; -1: not needed, or there is none */
  dev_t device;
  ino_t inode;
} choice;

static choice chosen; /* under the lock */
static _Atomic int forced = -1;
static _Atomic pid_t held; /* the lock: the process that holds it */

/* A child takes over the lock that another thread of its parent held: it has no such thread. */
static void lock(pid_t self) {
  pid_t holder = 0;
  while (!atomic_compare_exchange_weak_explicit(&held, &holder, self, memory_order_acquire,
                                                memory_order_relaxed)) {
    if (holder != self) continue;
    holder = 0;
    sched_yield();
  }
}

static void unlock(void) { atomic_store_explicit(&held, 0, memory_order_release); }

static bool is_at(const choice *c, int fd) {
  struct stat st;
  return fstat(fd, &st) == 0 && st.st_dev == c->device && st.st_ino == c->inode;
}

/* Programs close descriptors that they do not know, and others get their numbers. */
static bool is_still_there(const choice *c) { return c->fd < 0 || is_at(c, c->fd); }

static choice choose(pid_t self) {
  struct stat st = {0};
  choice c = {.process = self};
  if (mh_os_open("/proc/self/pagemap", false, false, &c.fd) != 0) c.fd = -1;
  c.how = first_true(c.fd);
  if (c.fd >= 0 && (c.how == MH_OS_WRITTEN_COMPARE || fstat(c.fd, &st) != 0)) {
    close(c.fd);
    c.fd = -1;
    c.how = MH_OS_WRITTEN_COMPARE;
  }
  c.device = st.st_dev;
  c.inode = st.st_ino;
  return c;
}

static choice current(void) {
  pid_t self = getpid();
  lock(self);
  if (chosen.process != self || !is_still_there(&chosen)) {
    if (chosen.process != 0 && chosen.fd >= 0 && is_still_there(&chosen)) close(chosen.fd); /* the parent's */
    chosen = choose(self);
  }
  choice c = chosen;
  unlock();
  return c;
}

static mh_os_written_how how_of(const choice *c) {
  int how = atomic_load_explicit(&forced, memory_order_relaxed);
  return how < 0 ? c->how : (mh_os_written_how)how;
}

mh_os_written_how mh_os_how_written(void) {
  choice c = current();
  return how_of(&c);
}

void mh_os_force_written(int how) { atomic_store_explicit(&forced, how, memory_order_relaxed); }

mh_os_look mh_os_look_now(void) {
  choice c = current();
  return (mh_os_look){ways[how_of(&c)], c.fd};
}

int mh_os_written(const mh_os_look *look, void *address, uint64_t length, mh_os_range *ranges, size_t room,
                  size_t *count, uint64_t *next) {
  uint64_t start = (uintptr_t)address;
  *count = 0;
  *next = start;
  return look->way(look->fd, start, start + length, ranges, room, count, next);
}
