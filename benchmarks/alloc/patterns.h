/* patterns.h: the loops that are timed, the same text for every allocator.

   Owns: what a pattern does and what of it is between two clock readings. An adapter, included
   before this file, defines bench_block, bench_alloc, bench_free and bench_address as inline
   functions, so that every allocator is called directly from these loops. Written in the
   common subset of C and C++, because one peer is C++. No locks; the threads meet at a
   barrier and otherwise share nothing but, in `handoff`, one ring. */
#ifndef BENCH_PATTERNS_H
#define BENCH_PATTERNS_H

#define BENCH_SLOTS 10000
#define BENCH_RING 4096

/* One thread's part of a run. */
typedef struct bench_work {
  uint64_t count;       /* operations, or blocks */
  uint64_t seed;        /* of its random numbers; not 0 */
  bench_block *blocks;  /* room for the pattern's live blocks, already touched */
  struct bench_ring *ring;
  pthread_barrier_t *barrier; /* NULL: the only thread */
  bool touch;           /* store into each block, as a program does that wants it */
  bool measure;         /* this thread measures the file while its blocks are live */
  uint64_t start, middle, end; /* clock; middle: between allocating and freeing */
  uint64_t requested;   /* bytes asked for and live when measured */
  uint64_t file_size, file_disk;
} bench_work;

static inline uint64_t bench_clock(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Between warming up and the clock. */
static inline void bench_meet(const bench_work *work) {
#ifdef BENCH_BEFORE
  bench_before();
#endif
  if (work->barrier) pthread_barrier_wait(work->barrier);
}

/* xorshift64: three shifts; its cost is in the rows of the program without an allocator. */
static inline uint64_t bench_random(uint64_t *state) {
  uint64_t x = *state;
  x ^= x << 13;
  x ^= x >> 7;
  x ^= x << 17;
  return *state = x;
}

static inline bench_block bench_get(size_t size, uint64_t value, bool touch) {
  bench_block block = bench_alloc(size);
  void *address = bench_address(block);
  if (!address) bench_die("out of memory");
  if (touch) *(volatile uint64_t *)address = value;
  return block;
}

static void bench_measure(bench_work *work) {
#ifdef BENCH_FILE_STATUS
  struct stat status;
  if (!work->measure || bench_file_descriptor() < 0) return;
  if (fstat(bench_file_descriptor(), &status)) bench_die("fstat");
  work->file_size = (uint64_t)status.st_size;
  work->file_disk = (uint64_t)status.st_blocks * 512;
#else
  (void)work;
#endif
}

/* 64 bytes, freed at once. */
static void bench_pairs(bench_work *work) {
  for (uint64_t i = 0; i < work->count / 16; i++) bench_free(bench_get(64, i, true));
  bench_meet(work);
  work->start = bench_clock();
  for (uint64_t i = 0; i < work->count; i++) bench_free(bench_get(64, i, true));
  work->end = bench_clock();
}

static inline uint32_t bench_slot(uint64_t random) {
  return (uint32_t)(((random >> 32) * BENCH_SLOTS) >> 32);
}
static inline size_t bench_size(uint64_t random) { return 16 + (size_t)((random & 0xffff) * 1009 >> 16); }

static void bench_replace(bench_work *work, uint32_t *sizes, uint64_t *random, uint64_t count) {
  bench_block *slots = work->blocks;
  for (uint64_t i = 0; i < count; i++) {
    uint64_t number = bench_random(random);
    uint32_t slot = bench_slot(number);
    sizes[slot] = (uint32_t)bench_size(number);
    bench_free(slots[slot]);
    slots[slot] = bench_get(sizes[slot], i, true);
  }
}

/* 10,000 live blocks of 16 to 1024 bytes, random ones replaced. */
static void bench_slots(bench_work *work) {
  static __thread uint32_t sizes[BENCH_SLOTS];
  uint64_t random = work->seed;
  for (uint32_t i = 0; i < BENCH_SLOTS; i++) {
    sizes[i] = (uint32_t)bench_size(bench_random(&random));
    work->blocks[i] = bench_get(sizes[i], i, true);
  }
  bench_replace(work, sizes, &random, work->count / 4); /* until the heap looks as it will */
  bench_meet(work);
  work->start = bench_clock();
  bench_replace(work, sizes, &random, work->count);
  work->end = bench_clock();
  for (uint32_t i = 0; i < BENCH_SLOTS; i++) work->requested += sizes[i];
  bench_measure(work);
  for (uint32_t i = 0; i < BENCH_SLOTS; i++) bench_free(work->blocks[i]);
}

/* Many blocks of 64 bytes, then all of them freed in the order they came. */
static void bench_bulk(bench_work *work) {
  bench_meet(work);
  work->start = bench_clock();
  if (work->touch) {
    for (uint64_t i = 0; i < work->count; i++) work->blocks[i] = bench_get(64, i, true);
  } else {
    for (uint64_t i = 0; i < work->count; i++) work->blocks[i] = bench_get(64, i, false);
  }
  work->middle = bench_clock();
  work->requested = work->count * 64;
  bench_measure(work);
  bench_meet(work);
  uint64_t pause = bench_clock() - work->middle; /* neither half's time */
  for (uint64_t i = 0; i < work->count; i++) bench_free(work->blocks[i]);
  work->end = bench_clock() - pause;
}

/* A ring from one producer to one consumer. */
typedef struct bench_ring {
  bench_block blocks[BENCH_RING];
  uint64_t head __attribute__((aligned(128))); /* blocks put in */
  uint64_t tail __attribute__((aligned(128))); /* blocks taken out */
} bench_ring;

static uint64_t bench_await(const uint64_t *word, uint64_t beyond) {
  uint64_t value;
  for (unsigned spins = 0; (value = __atomic_load_n(word, __ATOMIC_ACQUIRE)) <= beyond; spins++) {
    if (spins > 1000) sched_yield();
  }
  return value;
}

static void bench_produce(bench_work *work) {
  bench_ring *ring = work->ring;
  uint64_t random = work->seed, room = BENCH_RING;
  bench_meet(work);
  work->start = bench_clock();
  for (uint64_t i = 0; i < work->count; i++) {
    if (i == room) room = bench_await(&ring->tail, i - BENCH_RING) + BENCH_RING;
    ring->blocks[i % BENCH_RING] = bench_get(bench_size(bench_random(&random)), i, true);
    __atomic_store_n(&ring->head, i + 1, __ATOMIC_RELEASE);
  }
  work->end = bench_clock();
}

static void bench_consume(bench_work *work) {
  bench_ring *ring = work->ring;
  uint64_t ready = 0;
  bench_meet(work);
  work->start = bench_clock();
  for (uint64_t i = 0; i < work->count; i++) {
    if (i == ready) ready = bench_await(&ring->head, i);
    bench_free(ring->blocks[i % BENCH_RING]);
    __atomic_store_n(&ring->tail, i + 1, __ATOMIC_RELEASE);
  }
  work->end = bench_clock();
}

#endif
