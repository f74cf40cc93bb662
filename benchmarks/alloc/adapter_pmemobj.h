/* adapter_pmemobj.h: libpmemobj with its atomic (not transactional) calls, the faster ones.
   PMEM_IS_PMEM_FORCE=1 in the environment spares it an msync per call, which would measure
   the disk. The pool is made as large as the pattern needs. Calls libpmemobj. */
#include <libpmemobj.h>
#include <unistd.h>

typedef PMEMoid bench_block;

static PMEMobjpool *pmemobj_pool;

static void bench_setup(const char *file, uint64_t bytes) {
  pmemobj_pool = pmemobj_create(file, "bench", bytes * 3 + (64u << 20), 0600);
  if (!pmemobj_pool) bench_die(pmemobj_errormsg());
  unlink(file);
}
static inline bench_block bench_alloc(size_t size) {
  PMEMoid block = OID_NULL;
  pmemobj_alloc(pmemobj_pool, &block, size, 1, NULL, NULL);
  return block;
}
static inline void bench_free(bench_block block) { pmemobj_free(&block); }
static inline void *bench_address(bench_block block) { return pmemobj_direct(block); }
static void bench_teardown(void) { pmemobj_close(pmemobj_pool); }
static void bench_version(char *text, size_t room) {
  snprintf(text, room, "libpmemobj %d.%d", PMEMOBJ_MAJOR_VERSION, PMEMOBJ_MINOR_VERSION);
}
