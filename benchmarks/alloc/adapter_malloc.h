/* adapter_malloc.h: whatever serves malloc and free in this program: glibc, or the allocator
   it was linked with (libjemalloc and libmimalloc both take malloc over). Which one it was
   is asked of the dynamic linker and printed, so that nobody measures glibc by mistake.
   Calls: libc, libdl. */
#include <dlfcn.h>
#include <gnu/libc-version.h>
#include <stdlib.h>

typedef void *bench_block;

static void bench_setup(const char *file, uint64_t bytes) {
  (void)file;
  (void)bytes;
}
static inline bench_block bench_alloc(size_t size) { return malloc(size); }
static inline void bench_free(bench_block block) { free(block); }
static inline void *bench_address(bench_block block) { return block; }
static void bench_teardown(void) {}

static void bench_version(char *text, size_t room) {
  Dl_info where;
  void *function = dlsym(RTLD_DEFAULT, "malloc");
  const char *name = dladdr(function, &where) ? where.dli_fname : "unknown";
  const char *slash = strrchr(name, '/');
  name = slash ? slash + 1 : name;
  int (*mimalloc_version)(void);
  *(void **)&mimalloc_version = dlsym(RTLD_DEFAULT, "mi_version");
  if (mimalloc_version) {
    snprintf(text, room, "%s %d", name, mimalloc_version());
  } else if (strstr(name, "libc.so")) {
    snprintf(text, room, "%s %s", name, gnu_get_libc_version());
  } else {
    int (*control)(const char *, void *, size_t *, void *, size_t);
    *(void **)&control = dlsym(RTLD_DEFAULT, "mallctl");
    const char *version = "";
    size_t size = sizeof version;
    if (control) control("version", &version, &size, NULL, 0);
    snprintf(text, room, "%s %.12s", name, version);
  }
}
