/* main.c: one run of one pattern with one allocator: PATTERN THREADS COUNT [FILE].

   Prints one line of JSON: nanoseconds an operation, and what the file held while the
   blocks were live. Built once an allocator, with -DADAPTER="adapter_….h"; alloc.py builds,
   repeats and compares. With one thread everything runs in the main thread and no other is
   ever started, because allocators take short cuts in a process without threads and may
   keep them here. Calls the adapter, pthreads, libc. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

__attribute__((noreturn, cold)) static void bench_die(const char *why) {
  fprintf(stderr, "%s\n", why);
  exit(1);
}

#include ADAPTER
#include "patterns.h"

#define BENCH_THREADS 2

typedef void bench_pattern(bench_work *work);

typedef struct bench_job {
  bench_pattern *pattern;
  bench_work work;
} bench_job;

/* The pattern's own memory: mapped and touched beforehand, never from the allocator. */
static void *bench_memory(uint64_t bytes) {
  void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) bench_die("no memory for the benchmark itself");
  return memory;
}

static void *bench_thread(void *job) {
  ((bench_job *)job)->pattern(&((bench_job *)job)->work);
  return NULL;
}

static bench_pattern *bench_find(const char *name, unsigned index) {
  if (!strcmp(name, "pairs")) return bench_pairs;
  if (!strcmp(name, "slots")) return bench_slots;
  if (!strcmp(name, "bulk") || !strcmp(name, "bulk-untouched")) return bench_bulk;
  if (!strcmp(name, "handoff")) return index ? bench_consume : bench_produce;
  bench_die("PATTERN is pairs, slots, bulk, bulk-untouched or handoff");
}

/* Bytes that the pattern may have live at once: what peers without growth must be given. */
static uint64_t bench_live(const char *name, unsigned threads, uint64_t count) {
  if (!strncmp(name, "bulk", 4)) return threads * count * 64;
  return threads * (uint64_t)BENCH_SLOTS * 1024 * 2;
}

/* In a virtual machine a page that the guest has not used for a while costs a fault in the
   host as well. Touching as many as the run will need, and giving them back, makes the
   host's share the same for all, namely nothing. */
static void bench_warm(uint64_t bytes) {
  if (getenv("BENCH_COLD") == NULL) munmap(bench_memory(bytes), bytes); /* where the peak is measured */
}

static void bench_prepare(bench_job *jobs, const char *name, unsigned threads, uint64_t count) {
  static pthread_barrier_t barrier;
  bool bulk = !strncmp(name, "bulk", 4);
  pthread_barrier_init(&barrier, NULL, threads);
  bench_ring *ring = (bench_ring *)bench_memory(sizeof *ring);
  for (unsigned i = 0; i < threads; i++) {
    bench_work *work = &jobs[i].work;
    jobs[i].pattern = bench_find(name, i);
    work->count = count;
    work->seed = 0x9e3779b97f4a7c15u * (i + 1);
    work->blocks = (bench_block *)bench_memory((bulk ? count : BENCH_SLOTS) * sizeof(bench_block));
    work->ring = ring;
    work->barrier = threads > 1 ? &barrier : NULL;
    work->touch = strcmp(name, "bulk-untouched") != 0;
    work->measure = threads == 1;
  }
}

static void bench_run(bench_job *jobs, unsigned threads) {
  pthread_t others[BENCH_THREADS];
  for (unsigned i = 1; i < threads; i++) {
    if (pthread_create(&others[i], NULL, bench_thread, &jobs[i])) bench_die("pthread_create");
  }
  bench_thread(&jobs[0]);
  for (unsigned i = 1; i < threads; i++) pthread_join(others[i], NULL);
}

/* From the first start to the last end, shared by the operations of one thread: with
   perfect scaling two threads show the same figure as one. */
static void bench_print(const bench_job *jobs, unsigned threads, uint64_t count) {
  bench_work all = jobs[0].work;
  char version[100];
  for (unsigned i = 1; i < threads; i++) {
    const bench_work *work = &jobs[i].work;
    if (work->start < all.start) all.start = work->start;
    if (work->middle > all.middle) all.middle = work->middle;
    if (work->end > all.end) all.end = work->end;
  }
  bench_version(version, sizeof version);
  double operations = (double)count;
  printf("{\"ns\": %.4f", (double)(all.end - all.start) / operations);
  if (all.middle) {
    printf(", \"alloc_ns\": %.4f, \"free_ns\": %.4f", (double)(all.middle - all.start) / operations,
           (double)(all.end - all.middle) / operations);
  }
  printf(", \"requested\": %" PRIu64 ", \"file_size\": %" PRIu64 ", \"file_disk\": %" PRIu64, all.requested,
         all.file_size, all.file_disk);
  printf(", \"version\": \"%s\"}\n", version);
}

int main(int argc, char **argv) {
  static bench_job jobs[BENCH_THREADS];
  if (argc < 4 || argc > 5) bench_die("usage: PATTERN THREADS COUNT [FILE]");
  unsigned threads = (unsigned)strtoul(argv[2], NULL, 10);
  uint64_t count = strtoull(argv[3], NULL, 10);
  if (threads < 1 || threads > BENCH_THREADS || !count) bench_die("THREADS is 1 or 2, COUNT at least 1");
  if (!strcmp(argv[1], "handoff") && threads != 2) bench_die("handoff needs 2 threads");
  bench_prepare(jobs, argv[1], threads, count);
  bench_warm(bench_live(argv[1], threads, count) * 3 / 2);
  bench_setup(argc > 4 ? argv[4] : NULL, bench_live(argv[1], threads, count));
  bench_run(jobs, threads);
  bench_print(jobs, threads, count);
  bench_teardown();
  return 0;
}
