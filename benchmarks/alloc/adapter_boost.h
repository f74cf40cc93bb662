/* adapter_boost.h: Boost.Interprocess managed_mapped_file as it comes: its best-fit algorithm
   behind a mutex in the file. The file is made as large as the pattern needs, because a
   mapped one cannot grow. Compiled as C++. Calls Boost. */
#include <boost/interprocess/managed_mapped_file.hpp>
#include <boost/version.hpp>
#include <exception>

typedef void *bench_block;

static boost::interprocess::managed_mapped_file *boost_file;

static void bench_setup(const char *file, uint64_t bytes) {
  try {
    boost_file = new boost::interprocess::managed_mapped_file(boost::interprocess::create_only, file,
                                                              bytes * 2 + (64u << 20));
  } catch (const std::exception &failure) {
    bench_die(failure.what());
  }
  boost::interprocess::file_mapping::remove(file);
}
static inline bench_block bench_alloc(size_t size) { return boost_file->allocate(size, std::nothrow); }
static inline void bench_free(bench_block block) { boost_file->deallocate(block); }
static inline void *bench_address(bench_block block) { return block; }
static void bench_teardown(void) { delete boost_file; }
static void bench_version(char *text, size_t room) { snprintf(text, room, "Boost %s", BOOST_LIB_VERSION); }
