/* adapter_none.h: no allocator. What its rows show is what the loops themselves cost, in
   every program alike: random numbers, slots, the store into each block. Calls nothing. */
typedef void *bench_block;

static __thread char none_memory[4096]; /* a thread's own, or the stores would contend */

static void bench_setup(const char *file, uint64_t bytes) {
  (void)file;
  (void)bytes;
}
static inline bench_block bench_alloc(size_t size) { return none_memory + (size & 64); }
static inline void bench_free(bench_block block) { __asm__ volatile("" : : "r"(block)); }
static inline void *bench_address(bench_block block) { return block; }
static void bench_teardown(void) {}
static void bench_version(char *text, size_t room) { snprintf(text, room, "no allocator"); }
