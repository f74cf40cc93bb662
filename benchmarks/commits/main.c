/* main.c: one case of commits from C: CASE FILE NUMBER [NUMBER].

     rate FILE COUNT DURABLE   commits of one 8-byte store each
     raw FILE COUNT            4 KiB written into blocks of the file and synced, each time
     bulk FILE MIB             that much stored into fresh space and committed; then all of it anew
     write FILE MIB            the same with write and fdatasync
     size FILE MIB COUNT       commits that do not wait for the disk, beside as much raw memory
     refresh FILE COUNT        a reader goes on to a commit

   Prints one line of JSON, times in seconds. Built and repeated by commits.py. Calls libmheap, libc. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <mheap/mheap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PIECE ((size_t)1 << 20)
#define PAGE 4096

__attribute__((noreturn, cold)) static void die(const char *what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static mheap *open_heap(const char *path, mheap_mode mode, size_t bytes) {
  mheap_error error;
  mheap_options options = {.mode = mode, .relocate = true, .max_size = bytes * 2 + ((size_t)1 << 30)};
  if (mode == MHEAP_MODE_READONLY) options.max_size = 0;
  mheap *heap = mheap_open(path, &options, &error);
  if (heap == NULL) die(error.text);
  return heap;
}

static void commit(mheap *heap, bool durable) {
  if (mheap_commit(heap, durable) != MHEAP_OK) die(mheap_last_error(heap)->text);
}

static void *block(mheap *heap, size_t size) {
  void *memory = mheap_malloc(heap, size);
  if (memory == NULL) die(mheap_last_error(heap)->text);
  return memory;
}

/* Memory that a virtual machine has not used for a while is slow to come from its host: several times as
   slow as writing it. So as much as a case takes, in its own pages and in the page cache, is touched before, and given
   back. */
static void warm(size_t bytes) {
  void *memory =
      mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) die("not enough memory");
  munmap(memory, bytes);
}

/* Commits are of one store, of another value each time. */
static double each(mheap *heap, uint64_t *number, unsigned long count, bool durable) {
  uint64_t before = mheap_generation(heap);
  double start = now();
  for (unsigned long i = 0; i < count; i++) {
    ++*number;
    commit(heap, durable);
  }
  double seconds = (now() - start) / (double)count;
  if (mheap_generation(heap) != before + count) die("a commit found nothing to do");
  return seconds;
}

static void rate(const char *path, unsigned long count, bool durable) {
  mheap *heap = open_heap(path, MHEAP_MODE_ATOMIC, 0);
  uint64_t *number = block(heap, 64);
  *number = 0;
  commit(heap, true);
  each(heap, number, count / 10 + 1, durable);
  printf("{\"seconds\": %.9f}\n", each(heap, number, count, durable));
  mheap_detach(heap, NULL);
}

static int open_file(const char *path) {
  int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
  if (fd < 0) die(path);
  return fd;
}

static void write_all(int fd, const char *from, size_t size, off_t at) {
  if (pwrite(fd, from, size, at) != (ssize_t)size) die("pwrite");
}

static void raw(const char *path, unsigned long count) {
  static char page[PAGE];
  const unsigned long pages = 1024; /* a journal's 4 MiB */
  int fd = open_file(path);
  for (unsigned long i = 0; i < pages; i++) write_all(fd, page, PAGE, (off_t)(i * PAGE));
  if (fsync(fd)) die("fsync");
  double start = now();
  for (unsigned long i = 0; i < count; i++) {
    memcpy(page, &i, sizeof i);
    write_all(fd, page, PAGE, (off_t)(i % pages * PAGE));
    if (fdatasync(fd)) die("fdatasync");
  }
  printf("{\"seconds\": %.9f}\n", (now() - start) / (double)count);
}

static void bulk(const char *path, size_t bytes) {
  warm(bytes * 9 / 2);
  mheap *heap = open_heap(path, MHEAP_MODE_ATOMIC, bytes);
  double fresh = now();
  char *memory = block(heap, bytes);
  memset(memory, 1, bytes);
  double stored = now();
  commit(heap, true);
  double over = now();
  memset(memory, 2, bytes);
  double again = now();
  commit(heap, true);
  double end = now();
  printf("{\"fresh\": %.6f, \"over\": %.6f, \"fresh_commit\": %.6f, \"over_commit\": %.6f}\n", over - fresh,
         end - over, over - stored, end - again);
  mheap_abandon(heap);
}

static double write_pass(int fd, char *piece, size_t bytes, int value) {
  double start = now();
  for (size_t at = 0; at < bytes; at += PIECE) {
    memset(piece, value, PIECE);
    write_all(fd, piece, PIECE, (off_t)at);
  }
  if (fdatasync(fd)) die("fdatasync");
  return now() - start;
}

static void write_bulk(const char *path, size_t bytes) {
  static char piece[PIECE];
  warm(bytes * 9 / 2);
  int fd = open_file(path);
  double fresh = write_pass(fd, piece, bytes, 1);
  printf("{\"fresh\": %.6f, \"over\": %.6f}\n", fresh, write_pass(fd, piece, bytes, 2));
}

/* All of it is mapped, as it is in a process that has read it. */
static void size(const char *path, size_t bytes, unsigned long count) {
  mheap *heap = open_heap(path, MHEAP_MODE_ATOMIC, bytes);
  uint64_t *number = block(heap, 64);
  char *memory = block(heap, bytes);
  volatile char sum = 0;
  *number = 0;
  memset(memory, 1, bytes);
  commit(heap, true);
  for (size_t at = 0; at < bytes; at += PAGE) sum = (char)(sum + memory[at]);
  each(heap, number, 3, false);
  printf("{\"seconds\": %.9f}\n", each(heap, number, count, false));
  mheap_abandon(heap);
}

static void refresh(const char *path, unsigned long count) {
  mheap *writer = open_heap(path, MHEAP_MODE_ATOMIC, 0);
  uint64_t *number = block(writer, 64);
  *number = 0;
  mheap_setkey(writer, 0, number);
  commit(writer, true);
  mheap *reader = open_heap(path, MHEAP_MODE_READONLY, 0);
  const uint64_t *seen = mheap_getkey(reader, 0);
  double seconds = 0;
  for (unsigned long i = 0; i < count; i++) {
    bool moved = false;
    ++*number;
    commit(writer, false);
    double start = now();
    if (mheap_refresh(reader, &moved) != MHEAP_OK) die(mheap_last_error(reader)->text);
    seconds += now() - start;
    if (!moved || *seen != *number) die("the reader did not go on");
  }
  printf("{\"seconds\": %.9f}\n", seconds / (double)count);
  mheap_detach(reader, NULL);
  mheap_detach(writer, NULL);
}

int main(int argc, char **argv) {
  if (argc < 4) die("CASE FILE NUMBER [NUMBER]");
  const char *what = argv[1], *path = argv[2];
  unsigned long number = strtoul(argv[3], NULL, 10), second = argc > 4 ? strtoul(argv[4], NULL, 10) : 0;
  if (!strcmp(what, "rate")) rate(path, number, second != 0);
  else if (!strcmp(what, "raw")) raw(path, number);
  else if (!strcmp(what, "bulk")) bulk(path, number * PIECE);
  else if (!strcmp(what, "write")) write_bulk(path, number * PIECE);
  else if (!strcmp(what, "size")) size(path, number * PIECE, second);
  else if (!strcmp(what, "refresh")) refresh(path, number);
  else die("CASE is rate, raw, bulk, write, size or refresh");
  return 0;
}
