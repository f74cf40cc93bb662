/* test_golden.c: heap files of every format version that was ever written still attach, are
   sound, and hold what they held; their fields lie where that version has them. The files, and
   what is in them, are in golden/. Fields are read here by numbers, not by names: those would
   move along with a mistake. */
#include "golden/golden.h"
#include "golden/golden_arrays.h"
#include "golden/golden_named.h"
#include "golden/golden_names.h"
#include "golden/golden_sorted.h"
#include "golden/golden_records.h"
#include "golden/golden_values.h"
#include "image.h"

static const char *unpack(const char *name) {
  static char path[1024], command[4000];
  snprintf(path, sizeof path, "%s", test_path(name));
  snprintf(command, sizeof command, "gzip -dc '%s/golden/v1-%s.heap.gz' >'%s'", TEST_SOURCES, name, path);
  CHECK_EQ(system(command), 0);
  return path;
}

static void print_finding(void *arg, const mheap_finding *finding) {
  (void)arg;
  fprintf(stderr, "  %d 0x%llx %s: %s\n", finding->severity, (unsigned long long)finding->offset,
          finding->what, finding->text);
}

static mheap *attach(const char *path, mheap_options options) {
  mheap_error error = {0};
  mheap *heap = mheap_open(path, &options, &error);
  if (!CHECK(heap != NULL)) fprintf(stderr, "%s\n", error.text);
  else CHECK_EQ(mheap_check(heap, print_finding, NULL, NULL), MHEAP_OK);
  return heap;
}

/* Read, written, and read again. */
static void check_file(const char *name, void (*check)(mheap *heap)) {
  const char *path = unpack(name);
  static const mheap_mode modes[] = {MHEAP_MODE_READONLY, MHEAP_MODE_SCRATCH, MHEAP_MODE_LIVE,
                                     MHEAP_MODE_LIVE};
  for (int i = 0; i < 4; i++) {
    mheap *heap = attach(path, (mheap_options){.mode = modes[i]});
    REQUIRE(heap != NULL);
    check(heap);
    if (modes[i] != MHEAP_MODE_READONLY) {
      void *blocks[300];
      for (int b = 0; b < 300; b++) CHECK((blocks[b] = mheap_malloc(heap, 1 + 37 * (size_t)b)) != NULL);
      for (int b = 0; b < 300; b++) CHECK_EQ(mheap_free(heap, blocks[b]), MHEAP_OK);
      check(heap);
      CHECK_EQ(mheap_check(heap, print_finding, NULL, NULL), MHEAP_OK);
    }
    CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  }
}

static void check_empty(mheap *heap) {
  mheap_stats stats;
  mheap_info info;
  CHECK_EQ(mheap_get_stats(heap, &stats), MHEAP_OK);
  CHECK_EQ(stats.chunks_used, 0);
  CHECK_EQ(mheap_get_info(heap, &info), MHEAP_OK);
  CHECK_EQ(info.version, 1);
  CHECK_EQ(info.max_size, GOLDEN_MAX);
}

static void check_used(mheap *heap) {
  mheap_info info;
  CHECK_EQ(mheap_get_info(heap, &info), MHEAP_OK);
  CHECK_EQ(info.base, (uint64_t)GOLDEN_BASE);
  golden_check_blocks(heap);
  golden_check_objects(heap);
}

static void arenas_and_heaps_are_where_they_were(void) { check_file("arenas", golden_check_arenas); }

/* What two heaps that are gone left is settled, and nothing else is changed. */
static void what_a_kill_left_is_settled(void) {
  const char *path = unpack("arenas");
  mheap *heap = attach(path, (mheap_options){.mode = MHEAP_MODE_LIVE});
  REQUIRE(heap != NULL);
  CHECK_EQ(mheap_collect(heap, true), MHEAP_OK);
  golden_check_arenas(heap);
  CHECK_EQ(mheap_check(heap, print_finding, NULL, NULL), MHEAP_OK);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  int fd = open(path, O_RDONLY);
  for (uint64_t row = 0; row < 8; row++) CHECK_EQ(file_word(fd, 12288 + 64 * row) & 1, row < 5);
  close(fd);
}

static void a_dump_settles_what_a_kill_left(void) {
  const mheap_dump_options options = {.not_durable = true};
  mheap *heap = attach(unpack("arenas"), (mheap_options){.mode = MHEAP_MODE_READONLY});
  REQUIRE(heap != NULL);
  CHECK_EQ(mheap_dump(heap, test_path("settled"), &options), MHEAP_OK);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  heap = attach(test_path("settled"), (mheap_options){.mode = MHEAP_MODE_SCRATCH});
  REQUIRE(heap != NULL);
  golden_check_arenas(heap);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  int fd = open(test_path("settled"), O_RDONLY);
  for (uint64_t row = 0; row < 8; row++) CHECK_EQ(file_word(fd, 12288 + 64 * row) & 1, row < 5);
  close(fd);
}

static void an_empty_heap_is_empty(void) { check_file("empty", check_empty); }
static void a_used_heap_holds_what_it_held(void) { check_file("used", check_used); }
static void objects_are_what_they_were(void) { check_file("objects", golden_check_objects); }
static void values_are_what_they_were(void) { check_file("values", golden_check_values); }
static void arrays_are_what_they_were(void) { check_file("arrays", golden_check_arrays); }
static void names_are_what_they_were(void) { check_file("names", golden_check_names); }
static void named_heaps_are_there(void) { check_file("named", golden_check_named); }
static void sorted_dicts_and_counters_are_what_they_were(void) { check_file("sorted", golden_check_sorted); }
static void records_are_what_they_were(void) { check_file("records", golden_check_records); }
static void guarded_blocks_are_known_for_it(void) { check_file("guarded", golden_check_guarded); }
static void kinds_are_there(void) { check_file("kinds", golden_check_kinds); }

static void a_dump_holds_what_was_dumped(void) {
  const char *path = unpack("sealed");
  for (mheap_mode mode = MHEAP_MODE_READONLY; mode <= MHEAP_MODE_SCRATCH; mode++) {
    mheap *heap = attach(path, (mheap_options){.mode = mode});
    REQUIRE(heap != NULL);
    check_used(heap);
    CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  }
  mheap_error error = {0};
  CHECK(mheap_open(path, NULL, &error) == NULL);
  CHECK_EQ(error.code, MHEAP_ERR_READ_ONLY);
}

static void the_dump_of_version_1(void) {
  int fd = open(unpack("sealed"), O_RDONLY);
  uint8_t uuid[16], of_segment[16];
  CHECK(pread(fd, uuid, 16, 48) == 16 && pread(fd, of_segment, 16, 65536 + 16) == 16);
  CHECK(uuid[6] >> 4 == 8 && uuid[8] >> 6 == 2);
  CHECK(memcmp(uuid, of_segment, 16) == 0);
  CHECK_EQ(file_word(fd, 240), 0); /* created: not said */
  for (uint64_t at = 256; at < 320; at += 8) CHECK_EQ(file_word(fd, at), 0); /* owner: nobody */
  CHECK_EQ(file_word(fd, 320), 2);                                           /* state: sealed */
  CHECK_EQ(file_word(fd, 328), lseek(fd, 0, SEEK_END));                      /* size: all of the file */
  CHECK_EQ(file_word(fd, 352), (uint64_t)GOLDEN_BASE);
  CHECK_EQ(file_word(fd, 408) | file_word(fd, 416) | file_word(fd, 440) | file_word(fd, 448), 0);
  close(fd);
}

/* From another boot: what a machine crash leaves. */
static void an_open_heap_is_salvaged(void) {
  const char *path = unpack("open");
  mheap_error error = {0};
  CHECK(mheap_open(path, NULL, &error) == NULL);
  CHECK_EQ(error.code, MHEAP_ERR_UNCLEAN);
  mheap *heap = attach(path, (mheap_options){.salvage = true});
  REQUIRE(heap != NULL);
  check_used(heap);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  heap = attach(path, (mheap_options){.mode = MHEAP_MODE_LIVE});
  REQUIRE(heap != NULL);
  check_used(heap);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* A control: the checks above see a single byte. */
static void a_changed_byte_is_seen(void) {
  const char *path = unpack("used");
  mheap *heap = attach(path, (mheap_options){.mode = MHEAP_MODE_SCRATCH});
  REQUIRE(heap != NULL);
  unsigned before = test_failures;
  ((char *)mheap_getkey(heap, 40))[20000]++;
  int screen = dup(2), nothing = open("/dev/null", O_WRONLY);
  dup2(nothing, 2);
  golden_check_blocks(heap);
  dup2(screen, 2);
  close(screen);
  close(nothing);
  unsigned seen = test_failures - before;
  test_failures = before;
  CHECK_EQ(seen, 1);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* ---- fields by numbers ---- */

static void the_superblock_of_version_1(void) {
  int fd = open(unpack("used"), O_RDONLY);
  mheap *heap = attach(test_path("used"), (mheap_options){.mode = MHEAP_MODE_READONLY});
  REQUIRE(fd >= 0 && heap != NULL);
  mheap_info info;
  uint8_t head[64];
  CHECK_EQ(mheap_get_info(heap, &info), MHEAP_OK);
  CHECK(pread(fd, head, 64, 0) == 64);
  CHECK(memcmp(head, "\x93mheap\r\n", 8) == 0);
  CHECK_EQ(file_word(fd, 8), 0x0102030405060708);
  CHECK_EQ(file_word(fd, 16), 1 | (uint64_t)8 << 32);                     /* version, word size */
  CHECK_EQ(file_word(fd, 24) | file_word(fd, 32) | file_word(fd, 40), 0); /* features */
  CHECK(memcmp(head + 48, info.uuid, 16) == 0);
  CHECK(file_word(fd, 64) != 0 && file_word(fd, 72) != 0); /* hash seed */
  CHECK_EQ(file_word(fd, 80), 16 | (uint64_t)22 << 32);    /* bits of a slice, of a segment */
  CHECK_EQ(file_word(fd, 88), 65536);                      /* segment 0 */
  CHECK_EQ(file_word(fd, 96), 32768);                      /* segment map */
  CHECK_EQ(file_word(fd, 104), 12288);                     /* heap table */
  CHECK_EQ(file_word(fd, 112), 128 | (uint64_t)64 << 32);  /* rows of heaps, of arenas */
  CHECK_EQ(file_word(fd, 120), 20480);                     /* arena table */
  CHECK_EQ(file_word(fd, 128), 4096);                      /* keys */
  CHECK_EQ(file_word(fd, 136), 1024 | (uint64_t)80 << 32); /* keys, size classes */
  for (uint64_t at = 144; at < 240; at += 8) CHECK_EQ(file_word(fd, at), 0); /* reserved */
  CHECK_EQ(file_word(fd, 240), info.created_ns);
  CHECK_EQ((uint32_t)file_word(fd, 248), 0); /* reserved, before the checksum */
  CHECK_EQ(file_word(fd, 320), 0);           /* state: clean */
  CHECK_EQ(file_word(fd, 328), info.size);
  CHECK_EQ(file_word(fd, 336), info.generation);
  CHECK_EQ(file_word(fd, 344), info.epoch);
  CHECK_EQ(file_word(fd, 352), (uint64_t)GOLDEN_BASE);
  CHECK_EQ(file_word(fd, 360), 4194304 + 4194304 - 65536); /* placement */
  CHECK_EQ(file_word(fd, 376), GOLDEN_MAX);
  CHECK_EQ(file_word(fd, 384), 0);                           /* the map has one part */
  CHECK(file_word(fd, 392) != 0 && file_word(fd, 400) != 0); /* root, names */
  CHECK_EQ(file_word(fd, 408) | file_word(fd, 416), 0);      /* journal */
  CHECK(file_word(fd, 424) > 4);                             /* births */
  for (uint64_t at = 432; at < 4096; at += 8) CHECK_EQ(file_word(fd, at), 0);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  close(fd);
}

static void the_owner_of_version_1(void) {
  int fd = open(unpack("open"), O_RDONLY);
  CHECK_EQ(file_word(fd, 320), 1);                                          /* state: open */
  CHECK(file_word(fd, 256) != 0 && file_word(fd, 264) != 0);                /* boot id */
  CHECK(file_word(fd, 280) != 0);                                           /* inode */
  CHECK(file_word(fd, 296) != 0 && file_word(fd, 296) < (uint64_t)1 << 32); /* pid */
  CHECK_EQ(file_word(fd, 304), 1);                                          /* mode, reserved */
  CHECK(file_word(fd, 312) != 0 && file_word(fd, 312) < (uint64_t)1 << 32); /* checksum */
  close(fd);
}

static void the_tables_of_version_1(void) {
  int fd = open(unpack("used"), O_RDONLY);
  for (uint64_t key = 0; key < GOLDEN_KEYS; key++) CHECK(file_word(fd, 4096 + 8 * key) >= 131072);
  CHECK_EQ(file_word(fd, 4096 + 8 * GOLDEN_KEYS), 0);
  CHECK_EQ(file_word(fd, 12288) & 1, 1);                    /* the main heap's row is used */
  CHECK_EQ(file_word(fd, 12288 + 32), 2);                   /* its objects' heap is row 1 */
  CHECK_EQ(file_word(fd, 12288 + 64), 1 | 8);               /* which holds objects */
  CHECK_EQ(file_word(fd, 20480) & 1, 1);                    /* the arena's row */
  CHECK_EQ(file_word(fd, 20488) | file_word(fd, 20496), 0); /* all of the region */
  CHECK_EQ(file_word(fd, 32768) & 3, 1);                    /* segments 0 and 1 have slices */
  CHECK_EQ(file_word(fd, 32776) & 3, 1);
  CHECK_EQ(file_word(fd, 4096 + 8 * GOLDEN_HUGE), 65536 + 2 * 4194304);
  uint64_t huge = file_word(fd, 32768 + 16), body = file_word(fd, 32768 + 24);
  CHECK_EQ(huge & 3, 2);
  CHECK_EQ(huge >> 27 & 1023, 1049 - 1024); /* pages in its last segment, minus 1 */
  CHECK_EQ(huge >> 37, 2);                  /* segments */
  CHECK_EQ(body, 3 | (uint64_t)1 << 37);
  close(fd);
}

static void the_rows_of_version_1(void) {
  static const uint64_t heads[] = {1, 9, 3 | 5 << 8, 3, 3 | 255 << 8, 1 | 32, 3 | 16, 0};
  static const uint64_t places[] = {0, 0, 2, 0, 4, 0, 0, 0};
  static const uint64_t arenas[][3] = {{1, 0, 0}, {3, 1, 3}, {1, 4, 2}, {7, 6, 1}, {0, 0, 0}};
  int fd = open(unpack("arenas"), O_RDONLY);
  CHECK_EQ(file_word(fd, 32), 4); /* the feature: a writer must know of them */
  for (uint64_t row = 0; row < 8; row++) {
    CHECK_EQ(file_word(fd, 12288 + 64 * row), heads[row]);
    CHECK_EQ(file_word(fd, 12288 + 64 * row + 8), places[row]);
    CHECK_EQ(file_word(fd, 12288 + 64 * row + 32), row == 0 ? 2 : 0);
  }
  for (uint64_t row = 0; row < 5; row++)
    for (uint64_t i = 0; i < 3; i++) CHECK_EQ(file_word(fd, 20480 + 64 * row + 8 * i), arenas[row][i]);
  CHECK_EQ(file_word(fd, 32768 + 8) & 0x7fff, 1 | 1 << 2);  /* segment 1: slices, of arena 1 */
  CHECK_EQ(file_word(fd, 32768 + 48) & 0x7fff, 1 | 3 << 2); /* segment 6: of arena 3 */
  uint64_t huge = file_word(fd, 32768 + 16);                /* segment 2: a huge span of heap 2, in arena 1 */
  CHECK_EQ(huge & 0x7fff, 2 | 1 << 2);
  CHECK_EQ(huge >> 15 & 4095, 2);
  close(fd);
}

static void the_named_heaps_of_version_1(void) {
  static const uint64_t heads[] = {3 | 8, 3, 3 | 8 | 1 << 8, 3 | 1 << 8}; /* objects, heap, objects, heap */
  int fd = open(unpack("named"), O_RDONLY);
  char name[24] = {0};
  CHECK_EQ(file_word(fd, 32), 4 | 8); /* the features */
  for (uint64_t i = 0; i < 4; i++) CHECK_EQ(file_word(fd, 12288 + 64 * (2 + i)), heads[i]);
  for (uint64_t i = 0; i < 2; i++) {
    uint64_t row = 12288 + 64 * (3 + 2 * i);
    CHECK_EQ(file_word(fd, row + 32), 3 + 2 * i);                   /* row of its objects, plus 1 */
    CHECK_EQ(file_word(fd, row + 56), 1 + 2 * i);                   /* the root has the number between */
    CHECK_EQ(file_word(fd, file_word(fd, row + 24)) >> 24 & 255, 0x40); /* a dict */
    CHECK_EQ(file_word(fd, file_word(fd, row + 24) + 8), 2 + 2 * i);
    for (uint64_t at = 8; at < 64; at += 8) CHECK_EQ(file_word(fd, 12288 + 64 * (2 + 2 * i) + at), 0);
  }
  uint64_t inlined = file_word(fd, 12288 + 64 * 3 + 16), at = file_word(fd, 12288 + 64 * 5 + 16);
  CHECK_EQ(inlined & 255, 3 | 5 << 4); /* bytes, five of them */
  CHECK(memcmp((char *)&inlined + 1, "short", 5) == 0);
  CHECK_EQ(at & 15, 6); /* a reference to bytes */
  CHECK_EQ(file_word(fd, at - 6), 1 | 3 << 24 | (uint64_t)23 << 32);
  CHECK(pread(fd, name, 23, (off_t)at - 6 + 8) == 23);
  CHECK_STR(name, "a name that has a block");
  close(fd);
}

static void the_kinds_of_version_1(void) {
  int fd = open(unpack("kinds"), O_RDONLY);
  char name[16] = {0};
  CHECK_EQ(file_word(fd, 32) & 4, 4); /* it has more heaps than the first two */
  for (uint64_t row = 2; row < 2 + GOLDEN_KIND_HEAPS; row++) {
    CHECK_EQ(file_word(fd, 12288 + 64 * row), 1 | 2 | 64); /* used, destroyable, of a kind */
    CHECK_EQ(file_word(fd, 12288 + 64 * row + 40), 3);     /* whose first heap is row 2 */
    CHECK_EQ(file_word(fd, 12288 + 64 * row + 48), row == 2);
  }
  uint64_t one = 12288 + 64 * (2 + GOLDEN_KIND_HEAPS), at = file_word(fd, one + 16);
  CHECK_EQ(file_word(fd, one + 40), 2 + GOLDEN_KIND_HEAPS + 1);
  CHECK_EQ(file_word(fd, one + 48), 2 | 4); /* bijective, conservative */
  CHECK_EQ(file_word(fd, at), 3);           /* bytes of its name */
  CHECK(pread(fd, name, 3, (off_t)at + 8) == 3);
  CHECK_STR(name, "one");
  for (uint64_t in = 64; in < 1024; in += 64) CHECK_EQ(file_word(fd, one + in), 0);
  close(fd);
}

static void the_segment_of_version_1(void) {
  int fd = open(unpack("used"), O_RDONLY);
  uint8_t head[64], uuid[16];
  CHECK(pread(fd, head, 64, 65536) == 64 && pread(fd, uuid, 16, 48) == 16);
  CHECK(memcmp(head, "hsegment", 8) == 0);
  CHECK_EQ(file_word(fd, 65544), 0);
  CHECK(memcmp(head + 16, uuid, 16) == 0);
  uint64_t span = file_word(fd, 4096 + 8 * GOLDEN_SPAN), slice = (span - 65536) % 4194304 / 65536;
  uint64_t word = file_word(fd, span - 65536 * slice + 64 * slice); /* slice 0 of its segment has it */
  CHECK_EQ(span % 65536, 0);
  CHECK_EQ(word, 2 | 2 << 4 | (uint64_t)18 << 30); /* a span of 2 slices, heap 0, 18 pages */
  uint64_t block = file_word(fd, 4096);            /* of 1 byte: the first of a slab of 16-byte blocks */
  slice = (block - 65536) / 65536;
  CHECK_EQ(block % 65536, 0);
  CHECK_EQ(file_word(fd, 65536 + 64 * slice), 1 | 1 << 4); /* a slab of 1 slice, class 0, heap 0 */
  CHECK_EQ(file_word(fd, 65536 + 4096 + 960 * slice) & 1, 1);
  CHECK_EQ(file_word(fd, 65536 + 4096 + 960 * slice + 480), 0); /* nothing freed by another thread */
  close(fd);
}

TEST_MAIN(TEST(an_empty_heap_is_empty), TEST(a_used_heap_holds_what_it_held),
          TEST(objects_are_what_they_were), TEST(values_are_what_they_were), TEST(arrays_are_what_they_were),
          TEST(sorted_dicts_and_counters_are_what_they_were), TEST(records_are_what_they_were),
          TEST(guarded_blocks_are_known_for_it), TEST(kinds_are_there),
          TEST(the_kinds_of_version_1), TEST(named_heaps_are_there),
          TEST(names_are_what_they_were), TEST(the_named_heaps_of_version_1),
          TEST(an_open_heap_is_salvaged), TEST(a_changed_byte_is_seen),
          TEST(the_superblock_of_version_1), TEST(arenas_and_heaps_are_where_they_were),
          TEST(what_a_kill_left_is_settled), TEST(a_dump_settles_what_a_kill_left),
          TEST(the_rows_of_version_1), TEST(the_owner_of_version_1),
          TEST(a_dump_holds_what_was_dumped), TEST(the_dump_of_version_1),
          TEST(the_tables_of_version_1), TEST(the_segment_of_version_1))
