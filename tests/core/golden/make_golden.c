/* make_golden.c: makes the golden files, for a format version that has none yet:

     ninja -C BUILD tests/core/make_golden && BUILD/tests/core/make_golden tests/core/golden

   They are never made again: that old files can be read is what they are for. */
#include <fcntl.h>
#include <unistd.h>

#include "golden.h"
#include "golden_arrays.h"
#include "golden_named.h"
#include "golden_names.h"
#include "golden_sorted.h"
#include "golden_records.h"
#include "golden_values.h"
#include "image.h"

static void die(const char *what) {
  fprintf(stderr, "%s\n", what);
  exit(1);
}

static void pack(const char *directory, const char *name) {
  char command[2000];
  snprintf(command, sizeof command, "gzip -9n <'%s/%s' >'%s/v%d-%s.heap.gz'", test_directory(), name,
           directory, MH_FORMAT_VERSION, name);
  if (system(command) != 0) die(command);
}

static mheap *make(const char *name, bool raw) {
  mheap_options options = {.base = raw ? GOLDEN_BASE : NULL, .max_size = GOLDEN_MAX};
  mheap_error error;
  mheap *heap = mheap_open(test_path(name), &options, &error);
  if (heap == NULL) die(error.text);
  return heap;
}

static void done(mheap *heap, const char *directory, const char *name) {
  if (mheap_check(heap, NULL, NULL, NULL) != MHEAP_OK || mheap_detach(heap, NULL) != MHEAP_OK) die(name);
  pack(directory, name);
}

static void make_arenas(const char *directory) {
  mheap *heap = make("arenas", true);
  golden_store_arenas(heap);
  done(heap, directory, "arenas");
}

static void make_values(const char *directory) {
  mheap *heap = make("values", false);
  golden_store_values(heap);
  done(heap, directory, "values");
}

static void make_arrays(const char *directory) {
  mheap *heap = make("arrays", false);
  golden_store_arrays(heap);
  done(heap, directory, "arrays");
}

static void make_named(const char *directory) {
  mheap *heap = make("named", false);
  golden_store_named(heap);
  done(heap, directory, "named");
}

static void make_names(const char *directory) {
  mheap *heap = make("names", false);
  golden_store_names(heap);
  done(heap, directory, "names");
}

static void make_sealed(const char *directory) {
  const mheap_dump_options options = {.named_by_content = true};
  mheap *heap = make("to-seal", true);
  golden_store_blocks(heap);
  golden_store_objects(heap);
  if (mheap_dump(heap, test_path("sealed"), &options) != MHEAP_OK) die(mheap_last_error(heap)->text);
  mheap_abandon(heap);
  pack(directory, "sealed");
}

static void make_sorted(const char *directory) {
  mheap *heap = make("sorted", false);
  golden_store_sorted(heap);
  done(heap, directory, "sorted");
}

static void make_records(const char *directory) {
  mheap *heap = make("records", false);
  golden_store_records(heap);
  done(heap, directory, "records");
}

/* Those that came later can be made alone, by their names. */
static const struct {
  const char *name;
  void (*make)(const char *directory);
} later[] = {{"values", make_values}, {"arenas", make_arenas}, {"arrays", make_arrays},
             {"named", make_named},   {"sealed", make_sealed}, {"sorted", make_sorted},
             {"records", make_records}, {"names", make_names}};

static int make_alone(const char *directory, const char *name) {
  for (size_t i = 0; i < sizeof later / sizeof later[0]; i++)
    if (strcmp(later[i].name, name) == 0) later[i].make(directory);
  test_directory_remove();
  return test_failures != 0;
}

int main(int argc, char **argv) {
  if (argc == 3) return make_alone(argv[1], argv[2]);
  if (argc != 2) die("usage: make_golden DIRECTORY");
  done(make("empty", false), argv[1], "empty");

  mheap *heap = make("used", true);
  golden_store_blocks(heap);
  golden_store_objects(heap);
  done(heap, argv[1], "used");

  heap = make("objects", false); /* no raw address was handed out: it attaches anywhere */
  golden_store_objects(heap);
  done(heap, argv[1], "objects");

  heap = make("guarded", true);
  golden_store_guarded(heap);
  done(heap, argv[1], "guarded");

  heap = make("kinds", true);
  golden_store_kinds(heap);
  done(heap, argv[1], "kinds");

  heap = make("open", true); /* as its writer's death leaves it */
  golden_store_blocks(heap);
  golden_store_objects(heap);
  mheap_abandon(heap);
  pack(argv[1], "open");

  make_arenas(argv[1]);
  make_values(argv[1]);
  make_arrays(argv[1]);
  make_named(argv[1]);
  make_sealed(argv[1]);
  make_sorted(argv[1]);
  make_records(argv[1]);
  make_names(argv[1]);

  test_directory_remove();
  return test_failures != 0;
}
