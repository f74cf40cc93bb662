/* pool.h: the kernel's pools of huge pages, for tests that need real ones: takes some for the
   duration of a test and gives them back, whatever becomes of the test.

   A process of its own holds the lock that serialises all tests which use the pools, those in
   Python too, and puts the old numbers back once the test's process has let go of a pipe. */
#ifndef MHEAP_TEST_POOL_H
#define MHEAP_TEST_POOL_H

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>

#include "test.h"

#define POOL_2M ((uint64_t)2 << 20)
#define POOL_1G ((uint64_t)1 << 30)
#define POOL_LOCK "mheap-huge-pages.lock"

typedef struct pool {
  uint64_t page, pages; /* in the pool now, and nobody else's */
  int pipe;
  pid_t guardian;
} pool;

static inline void pool_path(uint64_t page, const char *name, char path[128]) {
  snprintf(path, 128, "/sys/kernel/mm/hugepages/hugepages-%llukB/%s", (unsigned long long)page >> 10, name);
}

static inline uint64_t pool_read(uint64_t page, const char *name) {
  char path[128];
  unsigned long long value = 0;
  pool_path(page, name, path);
  FILE *file = fopen(path, "r");
  if (file == NULL || fscanf(file, "%llu", &value) != 1) value = 0;
  if (file != NULL) fclose(file);
  return value;
}

static inline void pool_write(uint64_t page, uint64_t value) {
  char path[128];
  pool_path(page, "nr_hugepages", path);
  FILE *file = fopen(path, "w");
  if (file == NULL) return;
  fprintf(file, "%llu\n", (unsigned long long)value);
  fclose(file);
}

static inline uint64_t pool_free(uint64_t page) { return pool_read(page, "free_hugepages"); }

static inline void pool_guard(uint64_t page, uint64_t pages, int from, int to) {
  char path[600], byte = 0;
  const char *base = getenv("TMPDIR");
  snprintf(path, sizeof path, "%s/%s", base != NULL ? base : "/tmp", POOL_LOCK);
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  signal(SIGINT, SIG_IGN);
  if (fd < 0 || flock(fd, LOCK_EX) != 0) _exit(2);
  uint64_t before = pool_read(page, "nr_hugepages");
  pool_write(page, before - pool_free(page) + pages); /* what is in use stays */
  if (write(to, &byte, 1) != 1) _exit(2);
  while (read(from, &byte, 1) > 0) continue; /* until nobody holds the other end */
  pool_write(page, before);
  _exit(0);
}

static inline void pool_give(pool *p) {
  if (p->guardian == 0) return;
  close(p->pipe);
  waitpid(p->guardian, NULL, 0);
  p->guardian = 0;
}

/* Makes the pool have so many free pages, or as many as can be had. What a test before, which
   ended early, did not give back is given back now. */
static inline pool *pool_take(uint64_t page, uint64_t pages) {
  static pool p;
  int hold[2], ready[2];
  char byte;
  pool_give(&p);
  p = (pool){.page = page};
  if (pipe2(hold, O_CLOEXEC) != 0 || pipe2(ready, O_CLOEXEC) != 0) exit(2);
  fflush(NULL);
  p.guardian = fork();
  if (p.guardian == 0) {
    close(hold[1]);
    close(ready[0]);
    setsid();
    pool_guard(page, pages, hold[0], ready[1]);
  }
  close(hold[0]);
  close(ready[1]);
  if (read(ready[0], &byte, 1) == 1) p.pages = pool_free(page); /* else not even the lock could be had */
  close(ready[0]);
  printf("     %llu of %llu pages of %llu MiB taken\n", (unsigned long long)p.pages,
         (unsigned long long)pages, (unsigned long long)page >> 20);
  p.pipe = hold[1];
  return &p;
}

/* For a test that needs so many pages; says so where they cannot be had. */
static inline bool pool_has(pool *p, uint64_t pages) {
  if (p->pages >= pages) return true;
  printf("     not done: the kernel's pool of %llu KiB pages gave %llu of %llu (needs root)\n",
         (unsigned long long)p->page >> 10, (unsigned long long)p->pages, (unsigned long long)pages);
  pool_give(p);
  return false;
}

#endif
