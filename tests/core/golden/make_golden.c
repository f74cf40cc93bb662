/* make_golden.c: makes the golden files, for a format version that has none yet:

     ninja -C BUILD tests/core/make_golden && BUILD/tests/core/make_golden tests/core/golden

   They are never made again: that old files can be read is what they are for. */
#include <fcntl.h>
#include <unistd.h>

#include "golden.h"
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

static void make_records(const char *directory) {
  mheap *heap = make("records", false);
  golden_store_records(heap);
  done(heap, directory, "records");
}

/* With a name: that file alone, for one that came later. */
int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[2], "values") == 0) {
    make_values(argv[1]);
    test_directory_remove();
    return test_failures != 0;
  }
  if (argc == 3 && strcmp(argv[2], "records") == 0) {
    make_records(argv[1]);
    test_directory_remove();
    return test_failures != 0;
  }
  if (argc == 3 && strcmp(argv[2], "arenas") == 0) {
    make_arenas(argv[1]);
    test_directory_remove();
    return test_failures != 0;
  }
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
  make_records(argv[1]);

  test_directory_remove();
  return test_failures != 0;
}
