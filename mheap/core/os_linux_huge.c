/* os_linux_huge.c: huge pages and NUMA nodes on Linux; see os.h. Owns nothing.

   Pages of the kernel's pool are mapped without being set aside (MAP_NORESERVE): such a mapping
   cannot fail half way, which would leave a hole in the reservation for others to map in. They
   are brought in before they are used, so that no store ends in SIGBUS. That takes
   MADV_POPULATE_WRITE (Linux 5.14); without it there are none. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/mempolicy.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT 26
#endif
#ifndef MADV_COLD
#define MADV_COLD 20
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* ---- what the kernel says of itself ---- */

/* Reads a small file of the kernel's; "" when there is none. */
static void read_line(const char *path, char *text, size_t room) {
  size_t got = 0;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd >= 0) {
    if (mh_os_read(fd, text, room - 1, 0, &got) != 0) got = 0;
    close(fd);
  }
  text[got] = '\0';
}

typedef bool line_fun(void *arg, char *line);

#define LINE 1024 /* longer ones have long paths: the rest of those is skipped */

/* Calls `each` for the lines of a file until it returns false. */
static bool each_line(const char *path, line_fun *each, void *arg) {
  char line[LINE], buffer[4096];
  size_t length = 0;
  bool more = true;
  ssize_t got;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  while (more && (got = read(fd, buffer, sizeof buffer)) > 0) {
    for (ssize_t i = 0; i < got && more; i++) {
      if (buffer[i] != '\n') {
        if (length < LINE - 1) line[length++] = buffer[i];
        continue;
      }
      line[length] = '\0';
      length = 0;
      more = each(arg, line);
    }
  }
  close(fd);
  return true;
}

/* ---- files ---- */

typedef struct mount_line {
  uint64_t id;
  bool huge;
} mount_line;

/* "36 35 98:0 /root /place options … - type source options": the first number is the mount's. */
static bool is_of_mount(void *arg, char *line) {
  mount_line *m = arg;
  if (strtoull(line, NULL, 10) != m->id) return true;
  m->huge = strstr(line, "huge=always") != NULL || strstr(line, "huge=within_size") != NULL;
  return false;
}

static bool mount_gives_huge(int fd) {
  mh_os_identity id;
  mount_line m = {.huge = false};
  if (mh_os_identify(fd, &id) != 0 || id.mount_id == 0) return false;
  m.id = id.mount_id;
  each_line("/proc/self/mountinfo", is_of_mount, &m);
  return m.huge;
}

uint64_t mh_os_file_pages(int fd) {
  struct statfs fs;
  return fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC ? (uint64_t)fs.f_bsize : 0;
}

bool mh_os_file_in_memory(int fd, bool *huge) {
  struct statfs fs;
  bool memory = fstatfs(fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
  *huge = memory && mount_gives_huge(fd);
  return memory;
}

/* ---- memory ---- */

int mh_os_map_huge(void *address, uint64_t length, uint64_t page, int node) {
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_HUGETLB | MAP_FIXED;
  flags |= (int)((unsigned)__builtin_ctzll(page) << MAP_HUGE_SHIFT);
  if (!mh_os_can_populate()) return ENOSYS;
  if (mmap(address, length, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED) return errno;
  if (node >= 0) mh_os_prefer_node(address, length, node);
  return 0;
}

int mh_os_advise_huge(void *address, uint64_t length) {
  return madvise(address, length, MADV_HUGEPAGE) == 0 ? 0 : errno;
}

bool mh_os_has_transparent(void) {
  char text[64];
  read_line("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof text);
  return text[0] != '\0' && strstr(text, "[never]") == NULL;
}

int mh_os_collapse(void *address, uint64_t length) {
  if (madvise(address, 0, MADV_COLLAPSE) != 0) return ENOSYS;
  return madvise(address, length, MADV_COLLAPSE) == 0 ? 0 : errno;
}

/* Advice about the least recently used is for small pages only. */
static bool is_small(void *address) { return madvise(address, mh_os_page(), MADV_COLD) == 0; }

static bool copy_to_small(void *address, uint64_t page) {
  unsigned char there = 0;
  if (is_small(address)) return true; /* another thread was first */
  void *copy = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (copy == MAP_FAILED) return false;
  if (mincore(address, mh_os_page(), &there) == 0 && (there & 1)) memcpy(copy, address, page);
  if (mremap(copy, page, page, MREMAP_MAYMOVE | MREMAP_FIXED, address) != MAP_FAILED) return true;
  munmap(copy, page);
  return false;
}

/* Threads that fail to store to one page come here together: the first copies. A store that
   finds a page in the pool in that very moment, since somebody gave one back, could be lost. */
bool mh_os_make_small(void *address, uint64_t page) {
  static atomic_flag busy = ATOMIC_FLAG_INIT;
  while (atomic_flag_test_and_set_explicit(&busy, memory_order_acquire)) continue;
  bool done = copy_to_small(address, page);
  atomic_flag_clear_explicit(&busy, memory_order_release);
  return done;
}

/* ---- nodes ---- */

/* "0-3,8" is what the kernel writes. Calls `each` for every range until it returns false. */
static void each_range(bool (*each)(void *arg, int first, int last), void *arg) {
  char text[512], *at = text, *end;
  read_line("/sys/devices/system/node/online", text, sizeof text);
  while (*at >= '0' && *at <= '9') {
    int first = (int)strtol(at, &end, 10), last = first;
    if (*end == '-') last = (int)strtol(end + 1, &end, 10);
    if (!each(arg, first, last)) return;
    at = *end == ',' ? end + 1 : end;
  }
}

static bool note_last(void *arg, int first, int last) {
  (void)first;
  *(int *)arg = last + 1;
  return true;
}

int mh_os_nodes(void) {
  int nodes = 1; /* where the kernel knows none, all memory is node 0 */
  each_range(note_last, &nodes);
  return nodes;
}

typedef struct wanted_node {
  int node;
  bool any, found;
} wanted_node;

static bool is_in(void *arg, int first, int last) {
  wanted_node *w = arg;
  w->any = true;
  w->found = w->node >= first && w->node <= last;
  return !w->found;
}

bool mh_os_has_node(int node) {
  wanted_node w = {.node = node};
  each_range(is_in, &w);
  return w.any ? w.found : node == 0;
}

#define NODES 1024

int mh_os_prefer_node(void *address, uint64_t length, int node) {
  const unsigned bits = 8 * sizeof(unsigned long);
  unsigned long mask[NODES / (8 * sizeof(unsigned long))] = {0};
  if (node < 0 || node >= NODES) return EINVAL;
  mask[(unsigned)node / bits] = 1ul << (unsigned)node % bits;
  return syscall(SYS_mbind, address, length, MPOL_PREFERRED, mask, (unsigned long)NODES, 0) == 0 ? 0 : errno;
}

int mh_os_node_of(void *address) {
  int node = -1;
  unsigned char there = 0;
  char *page = (char *)((uintptr_t)address & ~(uintptr_t)(mh_os_page() - 1));
  if (mincore(page, mh_os_page(), &there) != 0 || !(there & 1)) return -1; /* asking would bring it in */
  return syscall(SYS_get_mempolicy, &node, NULL, 0ul, page, MPOL_F_NODE | MPOL_F_ADDR) == 0 ? node : -1;
}

/* ---- counting: /proc/self/smaps ---- */

typedef struct counter {
  const mh_os_range *ranges; /* of interest: those that end behind the mapping at hand, or in it */
  size_t count;
  uint64_t inside; /* bytes of the mapping at hand that are in them */
  uint64_t page;   /* of the mapping at hand */
  mh_os_pages *pages;
} counter;

static uint64_t kilobytes(const char *text) { return strtoull(text, NULL, 10) << 10; }

static void count_pool(counter *c, uint64_t bytes) {
  if (c->page == (uint64_t)1 << 30) c->pages->bytes_1g += bytes;
  else if (c->page == (uint64_t)2 << 20) c->pages->bytes_2m += bytes;
  else c->pages->bytes_other += bytes;
}

static void count_field(counter *c, const char *name, uint64_t value) {
  static const char *const transparent[] = {"AnonHugePages", "ShmemPmdMapped", "FilePmdMapped"};
  if (strcmp(name, "KernelPageSize") == 0) {
    c->page = value;
    if (value > c->pages->largest) c->pages->largest = value;
  }
  if (value > c->inside) value = c->inside; /* of a lent region's mapping the rest is the owner's */
  if (strcmp(name, "Shared_Hugetlb") == 0 || strcmp(name, "Private_Hugetlb") == 0) {
    count_pool(c, value);
  }
  for (int i = 0; i < 3; i++)
    if (strcmp(name, transparent[i]) == 0) c->pages->bytes_transparent += value;
}

/* Mappings come in order, too, and one may lie under several ranges. */
static void begin_mapping(counter *c, uint64_t start, uint64_t stop) {
  for (; c->count > 0 && c->ranges->end <= start; c->count--) c->ranges++;
  c->inside = 0;
  for (size_t i = 0; i < c->count && c->ranges[i].start < stop; i++) {
    const mh_os_range *r = &c->ranges[i];
    c->inside += (r->end < stop ? r->end : stop) - (r->start > start ? r->start : start);
  }
}

/* "7f…-7f… rw-p …" begins a mapping, "Rss:   12 kB" says something of it. */
static bool count_line(void *arg, char *line) {
  counter *c = arg;
  char *end, *colon = strchr(line, ':');
  if (line[0] >= 'A' && line[0] <= 'Z') {
    if (colon == NULL || c->inside == 0) return true;
    *colon = '\0';
    count_field(c, line, kilobytes(colon + 1));
    return true;
  }
  uint64_t start = strtoull(line, &end, 16), stop = *end == '-' ? strtoull(end + 1, NULL, 16) : 0;
  begin_mapping(c, start, stop);
  return c->count > 0;
}

bool mh_os_count_pages(const mh_os_range *ranges, size_t count, mh_os_pages *pages) {
  counter c = {.ranges = ranges, .count = count, .pages = pages};
  memset(pages, 0, sizeof *pages);
  return each_line("/proc/self/smaps", count_line, &c);
}
