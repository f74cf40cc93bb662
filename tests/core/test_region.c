/* test_region.c: the life of a region: identity, addresses, size, who may attach beside whom,
   forks, crashes. What is refused as no heap is in test_attach.c. */
#include <pthread.h>

#include "file_heap.h"
#include "image.h"
#include "superblock.h"

#define AT(field) offsetof(mh_superblock, field)

static const mheap_options live = {.mode = MHEAP_MODE_LIVE}, readonly = {.mode = MHEAP_MODE_READONLY},
                           scratch = {.mode = MHEAP_MODE_SCRATCH};

/* ---- helpers ---- */

static const char *fresh(const char *name) {
  const char *path = test_path(name);
  unlink(path);
  return path;
}

static mheap_info info_of(mheap *heap) {
  mheap_info info;
  CHECK_EQ(mheap_get_info(heap, &info), MHEAP_OK);
  return info;
}

static image take_image(const char *path) {
  int fd = open(path, O_RDONLY);
  image it = image_of(fd);
  close(fd);
  return it;
}

static void check_untouched(const char *path, image *before) {
  int fd = open(path, O_RDONLY);
  CHECK_EQ(image_differs(before, fd), UINT64_MAX);
  close(fd);
  image_free(before);
}

static uint64_t size_of(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 ? (uint64_t)st.st_size : UINT64_MAX;
}

static uint64_t disk_of(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 ? (uint64_t)st.st_blocks * 512 : UINT64_MAX;
}

static uint64_t stored(const char *path, uint64_t at) {
  int fd = open(path, O_RDONLY);
  uint64_t word = file_word(fd, at);
  close(fd);
  return word;
}

static void print_finding(void *arg, const mheap_finding *finding) {
  (void)arg;
  if (finding->severity == 0) return;
  fprintf(stderr, "  %d 0x%llx %s: %s\n", finding->severity, (unsigned long long)finding->offset,
          finding->what, finding->text);
}

/* Sound in every part. */
static void check_heap(mheap *heap) { CHECK_EQ(mheap_check(heap, print_finding, NULL, NULL), MHEAP_OK); }

/* A heap in which key 0 is a block that says "kept". */
static void make_heap(const char *path) {
  mheap *heap = attach(path, &live);
  if (heap == NULL) return;
  char *block = mheap_malloc(heap, 64);
  strcpy(block, "kept");
  CHECK_EQ(mheap_setkey(heap, 0, block), MHEAP_OK);
  detach(heap);
}

/* Occupies `length` bytes of address space and fills the first page. */
static char *occupy(uint64_t address, uint64_t length) {
  char *memory =
      mmap((void *)address, length, PROT_READ | PROT_WRITE,
           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (address ? MAP_FIXED_NOREPLACE : 0), -1, 0);
  if (!CHECK(memory != MAP_FAILED)) exit(2);
  memset(memory, 'o', 4096);
  return memory;
}

static void vacate(char *memory, uint64_t length) {
  for (int i = 0; i < 4096; i++)
    if (memory[i] != 'o') {
      CHECK(!"an occupied address range was overwritten");
      break;
    }
  munmap(memory, length);
}

/* ---- identity and content ---- */

static void identity_and_content_are_kept(void) {
  const char *path = fresh("identity");
  mheap *heap = attach(path, &live);
  REQUIRE(heap != NULL);
  mheap_info first = info_of(heap);
  char *blocks[300];
  for (int i = 0; i < 300; i++) {
    blocks[i] = mheap_malloc(heap, 10 + (size_t)i * 37);
    memset(blocks[i], i, 10 + (size_t)i * 37);
    mheap_setkey(heap, i, blocks[i]);
  }
  detach(heap);
  for (int round = 0; round < 3; round++) {
    const mheap_options *modes[] = {&live, &readonly, &scratch};
    heap = attach(path, modes[round]);
    REQUIRE(heap != NULL);
    mheap_info now = info_of(heap);
    CHECK(memcmp(now.uuid, first.uuid, sizeof now.uuid) == 0);
    CHECK_EQ(now.created_ns, first.created_ns);
    CHECK_EQ(now.base, first.base);
    CHECK_EQ(now.mode, modes[round]->mode);
    CHECK_EQ(now.state, MHEAP_CLEAN);
    CHECK_EQ(now.epoch, 0);
    for (int i = 0; i < 300; i++) {
      char *block = mheap_getkey(heap, i);
      CHECK(block == blocks[i]);
      CHECK(block[0] == (char)i && memcmp(block, block + 1, 9 + (size_t)i * 37) == 0);
      CHECK(mheap_usable_size(heap, block) >= 10 + (size_t)i * 37);
    }
    detach(heap);
  }
}

static void two_files_have_two_identities(void) {
  mheap *one = attach(fresh("one"), &live), *two = attach(fresh("two"), &live);
  REQUIRE(one != NULL && two != NULL);
  mheap_info a = info_of(one), b = info_of(two);
  CHECK(memcmp(a.uuid, b.uuid, 16) != 0);
  CHECK(a.base != b.base);
  CHECK_EQ(a.uuid[6] >> 4, 4); /* RFC 9562: version 4 */
  CHECK_EQ(a.uuid[8] >> 6, 2);
  detach(one);
  detach(two);
}

static void readers_and_scratch_leave_the_file_as_it_is(void) {
  const char *path = fresh("untouched");
  make_heap(path);
  image before = take_image(path);
  for (int round = 0; round < 2; round++) {
    mheap *heap = attach(path, &readonly);
    REQUIRE(heap != NULL);
    CHECK(mheap_malloc(heap, 10) == NULL);
    CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_READ_ONLY);
    CHECK_EQ(mheap_free(heap, mheap_getkey(heap, 0)), MHEAP_ERR_READ_ONLY);
    CHECK_EQ(mheap_setkey(heap, 0, NULL), MHEAP_ERR_READ_ONLY);
    CHECK(mheap_realloc(heap, mheap_getkey(heap, 0), 1000) == NULL);
    CHECK_EQ(mheap_setroot(heap, "x", 1, mheap_getkey(heap, 0)), MHEAP_ERR_READ_ONLY);
    CHECK_EQ(mheap_collect(heap, true), MHEAP_ERR_READ_ONLY);
    CHECK_STR(mheap_getkey(heap, 0), "kept");
    detach(heap);
    heap = attach(path, &scratch);
    REQUIRE(heap != NULL);
    strcpy(mheap_getkey(heap, 0), "lost");
    for (int i = 0; i < 100; i++)
      memset(mheap_malloc(heap, 100000), 1, 100000); /* beyond the file's end too */
    memset(mheap_malloc(heap, 9000000), 1, 9000000);
    CHECK_EQ(mheap_setkey(heap, 7, mheap_malloc(heap, 10)), MHEAP_OK);
    check_heap(heap);
    CHECK_EQ(mheap_collect(heap, true), MHEAP_OK);
    CHECK_EQ(mheap_sync(heap), MHEAP_OK);
    detach(heap);
  }
  check_untouched(path, &before);
}

static void stores_of_a_reader_are_refused_by_the_system(void) {
  const char *path = fresh("mapped");
  make_heap(path);
  mheap *heap = attach(path, &readonly);
  REQUIRE(heap != NULL);
  int ends[2];
  REQUIRE_EQ(pipe(ends), 0);
  CHECK(write(ends[1], "x", 1) == 1);
  CHECK(read(ends[0], mheap_getkey(heap, 0), 1) == -1 && errno == EFAULT);
  close(ends[0]);
  close(ends[1]);
  detach(heap);
}

/* ---- addresses ---- */

static void a_heap_without_raw_addresses_attaches_anywhere(void) {
  const char *path = fresh("anywhere");
  mheap *heap = attach(path, &live);
  REQUIRE(heap != NULL);
  mheap_info first = info_of(heap);
  CHECK_EQ(first.stored_base, 0);
  detach(heap);
  char *occupant = occupy(first.base, MH_SEGMENT);
  heap = attach(path, &live);
  REQUIRE(heap != NULL);
  CHECK(info_of(heap).base != first.base);
  detach(heap);
  vacate(occupant, MH_SEGMENT);
  heap = attach(path, &live);
  REQUIRE(heap != NULL);
  CHECK_EQ(info_of(heap).base, first.base); /* as the uuid chooses */
  detach(heap);
}

static void a_raw_address_fixes_the_base(void) {
  const char *path = fresh("fixed");
  mheap *heap = attach(path, &live);
  REQUIRE(heap != NULL);
  CHECK_EQ(info_of(heap).stored_base, 0);
  void *block = mheap_malloc(heap, 1);
  mheap_setkey(heap, 0, block);
  CHECK_EQ(info_of(heap).stored_base, info_of(heap).base);
  detach(heap);
  CHECK(stored(path, AT(base)) != 0);
  for (int i = 0; i < 4; i++) {
    char *elsewhere = occupy(0, (uint64_t)1 << 40);
    heap = attach(path, i % 2 ? &readonly : &live);
    REQUIRE(heap != NULL);
    CHECK(mheap_getkey(heap, 0) == block);
    CHECK_EQ(info_of(heap).base, stored(path, AT(base)));
    detach(heap);
    vacate(elsewhere, (uint64_t)1 << 40);
  }
}

static void an_occupied_base_is_refused_and_nothing_is_clobbered(void) {
  const char *path = fresh("taken");
  make_heap(path);
  uint64_t base = stored(path, AT(base)), places[] = {base, base + MH_SLICE, base + 2 * MH_SEGMENT};
  const mheap_options *modes[] = {&live, &readonly, &scratch};
  for (int i = 0; i < 9; i++) {
    mheap_error error;
    image before = take_image(path);
    char *occupant = occupy(places[i / 3], MH_SLICE);
    CHECK_EQ(refused_with(path, modes[i % 3], &error), MHEAP_ERR_BASE_IN_USE);
    CHECK_EQ(error.sys, EADDRINUSE);
    CHECK_CONTAINS(error.text, path);
    CHECK_CONTAINS(error.text, "relocate=True");
    vacate(occupant, MH_SLICE);
    check_untouched(path, &before);
  }
  detach(attach(path, &live));
}

static void what_is_behind_the_heap_only_makes_its_span_smaller(void) {
  const char *path = fresh("crowded");
  make_heap(path);
  char *occupant = occupy(stored(path, AT(base)) + ((uint64_t)1 << 30), MH_SLICE);
  mheap *heap = attach(path, &live);
  REQUIRE(heap != NULL);
  CHECK(info_of(heap).max_size <= (uint64_t)1 << 30);
  CHECK_STR(mheap_getkey(heap, 0), "kept");
  while (mheap_malloc(heap, 50 << 20) != NULL) continue;
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_FULL);
  mheap_abandon(heap);
  mheap_error error;
  CHECK_EQ(refused_with(path, &(mheap_options){.max_size = (uint64_t)2 << 30}, &error),
           MHEAP_ERR_BASE_IN_USE);
  vacate(occupant, MH_SLICE);
}

static void relocate_attaches_elsewhere(void) {
  const char *path = fresh("moved");
  make_heap(path);
  uint64_t base = stored(path, AT(base));
  char *occupant = occupy(base, MH_SLICE);
  image before = take_image(path);
  mheap *heap = attach(path, &(mheap_options){.mode = MHEAP_MODE_READONLY, .relocate = true});
  REQUIRE(heap != NULL);
  CHECK(info_of(heap).base != base);
  CHECK_STR(mheap_getkey(heap, 0), "kept");
  check_heap(heap);
  detach(heap);
  check_untouched(path, &before); /* a reader does not move it for others */
  heap = attach(path, &(mheap_options){.relocate = true});
  REQUIRE(heap != NULL);
  uint64_t moved = info_of(heap).base;
  CHECK(moved != base);
  CHECK_EQ(info_of(heap).stored_base, moved);
  detach(heap);
  vacate(occupant, MH_SLICE);
  heap = attach(path, &live); /* there from now on */
  REQUIRE(heap != NULL);
  CHECK_EQ(info_of(heap).base, moved);
  CHECK_STR(mheap_getkey(heap, 0), "kept");
  detach(heap);
  heap = attach(path, &(mheap_options){.relocate = true}); /* not needed: not done */
  REQUIRE(heap != NULL);
  CHECK_EQ(info_of(heap).base, moved);
  detach(heap);
}

static void an_address_asked_for_is_honoured_or_refused(void) {
  mheap_error error;
  const char *path = fresh("asked");
  char *place = mheap_findbase((size_t)1 << 30);
  REQUIRE(place != NULL);
  const mheap_options there = {.base = place, .max_size = (uint64_t)1 << 30};
  mheap *heap = attach(path, &there);
  REQUIRE(heap != NULL);
  CHECK_EQ(info_of(heap).base, (uint64_t)place);
  CHECK(mheap_malloc(heap, 100) != NULL);
  CHECK(mheap_is_in_region(place) && !mheap_is_in_region(place - 1));
  detach(heap);
  CHECK(!mheap_is_in_region(place));
  heap = attach(path, &there);
  REQUIRE(heap != NULL);
  detach(heap);
  image before = take_image(path);
  mheap_options other = {.base = place + 16 * MH_SEGMENT, .max_size = (uint64_t)1 << 30};
  CHECK_EQ(refused_with(path, &other, &error), MHEAP_ERR_BASE_IN_USE);
  CHECK_CONTAINS(error.text, "fixed at");
  other.base = place + 4096;
  other.relocate = true;
  CHECK_EQ(refused_with(path, &other, &error), MHEAP_ERR_ARGUMENT);
  CHECK_CONTAINS(error.text, "must lie 0x3f0000 bytes behind a multiple of 0x400000; ask for 0x");
  char *occupant = occupy((uint64_t)place, MH_SLICE);
  CHECK_EQ(refused_with(path, &there, &error), MHEAP_ERR_BASE_IN_USE);
  CHECK_EQ(refused_with(fresh("asked too"), &there, &error), MHEAP_ERR_BASE_IN_USE);
  CHECK_EQ(error.sys, EADDRINUSE);
  vacate(occupant, MH_SLICE);
  check_untouched(path, &before);
}

/* Any multiple of 64 KiB will do for a new file, if its creator says so. */
static void a_creator_may_choose_an_odd_base(void) {
  mheap_error error;
  char *place = (char *)mheap_findbase((size_t)1 << 30) + 7 * MH_SLICE;
  mheap_options there = {.base = place, .max_size = (uint64_t)1 << 29};
  const char *path = fresh("odd");
  mheap *heap = attach(path, &there);
  REQUIRE(heap != NULL);
  CHECK_EQ(info_of(heap).base, (uint64_t)place);
  void *block = mheap_malloc(heap, 9000000);
  CHECK(block != NULL && mheap_setkey(heap, 0, block) == MHEAP_OK);
  check_heap(heap);
  detach(heap);
  heap = attach(path, &live);
  REQUIRE(heap != NULL);
  CHECK(mheap_getkey(heap, 0) == block);
  detach(heap);
  there.base = place + 1;
  CHECK_EQ(refused_with(fresh("odder"), &there, &error), MHEAP_ERR_ARGUMENT);
  CHECK_CONTAINS(error.text, "must lie at a multiple of 0x10000; ask for 0x");
  CHECK(size_of(test_path("odder")) == 0 || size_of(test_path("odder")) == UINT64_MAX);
}

static void findbase_names_a_free_place(void) {
  for (size_t size = 1; size < (size_t)1 << 40; size *= 37) {
    char *place = mheap_findbase(size);
    CHECK(place != NULL);
    char *memory = mmap(place, size, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    CHECK(memory == place);
    munmap(memory, size);
  }
  CHECK(mheap_findbase(0) == NULL);
  CHECK(mheap_findbase(SIZE_MAX) == NULL);
}

/* ---- anonymous memory ---- */

static void anonymous_regions_live_until_detached(void) {
  mheap *heap = mheap_attach(-1, NULL, NULL);
  REQUIRE(heap != NULL);
  mheap_info info = info_of(heap);
  CHECK_EQ(info.fd, -1);
  CHECK_EQ(info.file_size, 0);
  char *block = mheap_calloc(heap, 1, 5000000);
  REQUIRE(block != NULL);
  block[4999999] = 1;
  CHECK(mheap_is_in_region(block));
  CHECK_EQ(mheap_setkey(heap, 0, block), MHEAP_OK);
  CHECK(mheap_getkey(heap, 0) == block);
  CHECK_EQ(mheap_sync(heap), MHEAP_OK);
  check_heap(heap);
  detach(heap);
  CHECK(!mheap_is_in_region(block));
  mheap_error error = {0};
  CHECK(mheap_attach(-1, &readonly, &error) == NULL);
  CHECK_EQ(error.code, MHEAP_ERR_ARGUMENT);
  CHECK(mheap_attach(-1, &scratch, &error) == NULL);
}

static void anonymous_regions_are_placed_and_limited(void) {
  char *place = mheap_findbase((size_t)64 << 20);
  mheap *heap = mheap_attach(-1, &(mheap_options){.base = place, .max_size = (uint64_t)32 << 20}, NULL);
  REQUIRE(heap != NULL);
  CHECK_EQ(info_of(heap).base, (uint64_t)place);
  mheap_error error = {0};
  CHECK(mheap_attach(-1, &(mheap_options){.base = place}, &error) == NULL);
  CHECK_EQ(error.code, MHEAP_ERR_BASE_IN_USE);
  uint64_t got = 0;
  while (mheap_malloc(heap, 100000) != NULL) got += 100000;
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_FULL);
  CHECK(got > (uint64_t)20 << 20 && got <= (uint64_t)32 << 20);
  detach(heap);
}

/* ---- size ---- */

static void max_size_is_honoured(void) {
  const char *path = fresh("limited");
  const uint64_t limit = (uint64_t)20 << 20;
  mheap *heap = attach(path, &(mheap_options){.max_size = limit});
  REQUIRE(heap != NULL);
  CHECK_EQ(info_of(heap).max_size, limit);
  unsigned count = 0;
  while (mheap_malloc(heap, 30000) != NULL) count++;
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_FULL);
  CHECK_CONTAINS(mheap_last_error(heap)->text, "max_size=");
  CHECK_CONTAINS(mheap_last_error(heap)->text, path);
  CHECK(mheap_malloc(heap, 5 << 20) == NULL);
  CHECK(mheap_malloc(heap, 16) != NULL || mheap_last_error(heap)->code == MHEAP_ERR_FULL);
  CHECK(count * 30000u > limit / 10 * 8);
  CHECK(size_of(path) <= limit);
  check_heap(heap);
  detach(heap);
  heap = attach(path, &live); /* the limit is kept */
  REQUIRE(heap != NULL);
  CHECK_EQ(info_of(heap).max_size, limit);
  CHECK(mheap_malloc(heap, 5 << 20) == NULL);
  detach(heap);
  heap = attach(path, &(mheap_options){.max_size = 2 * limit}); /* and can be another */
  REQUIRE(heap != NULL);
  CHECK(mheap_malloc(heap, 5 << 20) != NULL);
  detach(heap);
}

static void an_empty_heap_is_small(void) {
  const uint64_t most = 256 << 10;
  const char *path = fresh("empty");
  mheap *heap = attach(path, &live);
  REQUIRE(heap != NULL);
  CHECK(size_of(path) <= most && disk_of(path) <= most);
  detach(heap);
  CHECK(size_of(path) <= most && disk_of(path) <= most);
  int fd = memory_file("empty");
  heap = mheap_attach(fd, NULL, NULL);
  REQUIRE(heap != NULL);
  mheap_info info = info_of(heap);
  CHECK(info.file_size <= most && info.disk_size <= most && info.file_size >= MH_REGION_MIN);
  detach(heap);
  close(fd);
}

static void a_small_heap_grows_slice_by_slice(void) {
  const char *path = fresh("slices");
  mheap *heap = attach(path, &live);
  REQUIRE(heap != NULL);
  for (uint64_t before = size_of(path); before < MH_SEGMENT - 4 * MH_SLICE;) {
    CHECK(mheap_malloc(heap, 60000) != NULL);
    uint64_t now = size_of(path);
    CHECK(now % MH_SLICE == 0 && now - before <= 8 * MH_SLICE);
    CHECK_EQ(info_of(heap).size, now);
    before = now;
  }
  detach(heap);
}

static void fill(mheap *heap, void **blocks, unsigned count, size_t size) {
  for (unsigned i = 0; i < count; i++) {
    blocks[i] = mheap_malloc(heap, size);
    if (!CHECK(blocks[i] != NULL)) exit(2);
    memset(blocks[i], 1, size);
  }
}

static void the_tail_goes_back_to_the_file(void) {
  static const size_t sizes[] = {64, 3000, 100000, 1000000, 6000000};
  static void *blocks[200000];
  for (int i = 0; i < 5; i++) {
    const char *path = fresh("tail");
    mheap *heap = attach(path, &live);
    REQUIRE(heap != NULL);
    unsigned count = (unsigned)(12000000 / sizes[i]);
    fill(heap, blocks, count, sizes[i]);
    uint64_t full = size_of(path);
    CHECK(full >= 11900000 && disk_of(path) >= 11900000);
    for (unsigned b = 0; b < count; b++) CHECK_EQ(mheap_free(heap, blocks[b]), MHEAP_OK);
    CHECK_EQ(mheap_collect(heap, true), MHEAP_OK);
    CHECK(size_of(path) <= 512 << 10 && disk_of(path) <= 512 << 10);
    check_heap(heap);
    fill(heap, blocks, count, sizes[i]); /* and comes again */
    CHECK(size_of(path) <= full + MH_SEGMENT);
    for (unsigned b = 0; b < count; b++) CHECK_EQ(mheap_free(heap, blocks[b]), MHEAP_OK);
    detach(heap);
    CHECK(size_of(path) <= 512 << 10);
    detach(attach(path, &live));
  }
}

static void collecting_punches_holes(void) {
  static void *blocks[100];
  const char *path = fresh("holes");
  mheap *heap = attach(path, &live);
  REQUIRE(heap != NULL);
  fill(heap, blocks, 100, 300000);
  uint64_t full = disk_of(path);
  for (int i = 0; i < 99; i++) CHECK_EQ(mheap_free(heap, blocks[i]), MHEAP_OK);
  CHECK_EQ(mheap_collect(heap, true), MHEAP_OK);
  CHECK(size_of(path) > 25000000);
  CHECK(disk_of(path) < full / 5);
  CHECK_EQ(((char *)blocks[99])[299999], 1);
  check_heap(heap);
  fill(heap, blocks, 99, 300000); /* the holes are filled again, disk space first */
  CHECK(disk_of(path) >= full / 10 * 9);
  detach(heap);
}

static void space_is_not_taken_from_under_a_reader(void) {
  static void *blocks[60];
  const char *path = fresh("read");
  mheap *heap = attach(path, &live);
  REQUIRE(heap != NULL);
  fill(heap, blocks, 60, 300000);
  mheap *reader =
      attach(path, &(mheap_options){.mode = MHEAP_MODE_READONLY, .unsafe = true, .relocate = true});
  REQUIRE(reader != NULL);
  uint64_t size = size_of(path), disk = disk_of(path);
  for (int i = 0; i < 60; i++) CHECK_EQ(mheap_free(heap, blocks[i]), MHEAP_OK);
  CHECK_EQ(mheap_collect(heap, true), MHEAP_OK);
  CHECK_EQ(size_of(path), size);
  CHECK_EQ(disk_of(path), disk);
  detach(reader);
  CHECK_EQ(mheap_collect(heap, true), MHEAP_OK);
  CHECK(size_of(path) < 1 << 20);
  CHECK(disk_of(path) < 1 << 20);
  detach(heap);
}

/* ---- who may attach beside whom ---- */

typedef struct attacher {
  const char *name;
  mheap_options options;
} attacher;

static const attacher attachers[] = {
    {"live", {.mode = MHEAP_MODE_LIVE}},
    {"readonly", {.mode = MHEAP_MODE_READONLY}},
    {"unsafe", {.mode = MHEAP_MODE_READONLY, .unsafe = true}},
    {"scratch", {.mode = MHEAP_MODE_SCRATCH}},
};
/* holder, newcomer */
static const bool excluded[4][4] = {{true, true, false, true},
                                    {true, false, false, false},
                                    {false, false, false, false},
                                    {true, false, false, false}};

typedef struct meeting {
  const char *path;
  int holder, newcomer;
} meeting;

static int come(void *arg) {
  const meeting *it = arg;
  mheap_error error = {0};
  mheap_options options = attachers[it->newcomer].options;
  options.relocate = options.mode == MHEAP_MODE_READONLY; /* in one process the base is taken */
  mheap *heap = mheap_open(it->path, &options, &error);
  bool busy = excluded[it->holder][it->newcomer];
  if (!CHECK((heap == NULL) == busy))
    fprintf(stderr, "  %s beside %s: %s\n", attachers[it->newcomer].name, attachers[it->holder].name,
            error.text);
  if (heap != NULL) detach(heap);
  if (heap != NULL || !busy) return 0;
  CHECK_EQ(error.code, MHEAP_ERR_BUSY);
  CHECK_CONTAINS(error.text, it->path);
  CHECK_CONTAINS(error.text, "busy");
  return 0;
}

/* The holder is this process; the newcomer another one, then this one too. What the handles
   store is an offset, so that one process can have both. */
static void attachments_exclude_each_other_as_the_table_says(void) {
  char path[1024];
  snprintf(path, sizeof path, "%s", fresh("table"));
  detach(attach(path, &live));
  for (int i = 0; i < 16; i++) {
    meeting it = {path, i / 4, i % 4};
    mheap *holder = attach(path, &attachers[it.holder].options);
    REQUIRE(holder != NULL);
    CHECK_EQ(in_child_process(come, &it), 0);
    come(&it);
    detach(holder);
    for (int n = 0; n < 4; n++) detach(attach(path, &attachers[n].options)); /* nothing is left locked */
  }
}

/* POSIX locks would be lost when any descriptor of the file is closed. */
static void closing_the_file_elsewhere_does_not_unlock_it(void) {
  mheap_error error;
  const char *path = fresh("elsewhere");
  mheap *heap = attach(path, &live);
  REQUIRE(heap != NULL);
  close(open(path, O_RDWR));
  CHECK_EQ(refused_with(path, &live, &error), MHEAP_ERR_BUSY);
  CHECK_CONTAINS(error.text, "this process");
  int status;
  pid_t child = fork();
  if (child == 0) {
    mheap_abandon(heap);
    _exit(refused_with(path, &live, &error) == MHEAP_ERR_BUSY ? 0 : 1);
  }
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  detach(heap);
}

static void the_callers_descriptor_stays_the_callers(void) {
  const char *path = fresh("descriptor");
  int fd = open(path, O_RDWR | O_CREAT, 0600);
  mheap *heap = mheap_attach(fd, NULL, NULL);
  REQUIRE(heap != NULL);
  CHECK(info_of(heap).fd != fd);
  close(fd);
  mheap_error error;
  CHECK_EQ(refused_with(path, &live, &error), MHEAP_ERR_BUSY);
  CHECK(mheap_malloc(heap, 5000000) != NULL);
  CHECK(fcntl(info_of(heap).fd, F_GETFD) & FD_CLOEXEC);
  int own = info_of(heap).fd;
  detach(heap);
  CHECK(fcntl(own, F_GETFD) == -1);
  fd = open(path, O_RDWR);
  heap = mheap_attach(fd, NULL, NULL);
  REQUIRE(heap != NULL);
  detach(heap);
  CHECK(fcntl(fd, F_GETFD) != -1);
  close(fd);
}

/* ---- waiting ---- */

typedef struct wait_for {
  const char *path;
  const mheap_options *holds;
  double seconds; /* that the holder stays */
  int ready;
} wait_for;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* A process that has the file for some time; returns once it does. */
static pid_t hold(const char *path, const mheap_options *options, double seconds) {
  int ends[2];
  char byte;
  if (pipe(ends) != 0) return -1;
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    mheap *heap = mheap_open(path, options, NULL);
    if (heap == NULL || write(ends[1], "!", 1) != 1) _exit(1);
    usleep((useconds_t)(seconds * 1e6));
    _exit(mheap_detach(heap, NULL) != MHEAP_OK);
  }
  close(ends[1]);
  bool ready = read(ends[0], &byte, 1) == 1;
  close(ends[0]);
  CHECK(ready);
  return child;
}

static void check_ended(pid_t child) {
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static void a_timeout_waits_until_the_file_is_free(void) {
  const double timeouts[] = {30, -1};
  const mheap_options *newcomers[] = {&live, &readonly};
  for (int i = 0; i < 4; i++) {
    const char *path = fresh("waited");
    mheap_options options = *newcomers[i % 2];
    options.timeout = timeouts[i / 2];
    pid_t child = hold(path, &live, 0.6);
    mheap_error error;
    CHECK_EQ(refused_with(path, newcomers[i % 2], &error), MHEAP_ERR_BUSY); /* the control */
    double start = now();
    mheap *heap = attach(path, &options);
    CHECK(now() - start > 0.05);
    if (heap != NULL) detach(heap);
    check_ended(child);
  }
}

static void a_timeout_ends(void) {
  const char *path = fresh("kept");
  mheap_error error;
  CHECK_EQ(refused_with(path, &readonly, &error), MHEAP_ERR_SYSTEM); /* not there yet */
  pid_t child = hold(path, &live, 0.6);
  double start = now();
  CHECK_EQ(refused_with(path, &(mheap_options){.timeout = 0.1}, &error), MHEAP_ERR_BUSY);
  CHECK(now() - start >= 0.1);
  CHECK_CONTAINS(error.text, "timeout=");
  check_ended(child);
}

/* While it waited for the lock the path came to mean another file. */
static void a_replaced_file_is_opened_anew(void) {
  const char *path = fresh("replaced"), *next = fresh("successor");
  make_heap(next);
  mheap *heap = attach(next, &readonly);
  REQUIRE(heap != NULL);
  mheap_info wanted = info_of(heap);
  detach(heap);
  mheap *holder = attach(path, &live);
  REQUIRE(holder != NULL);
  int status;
  pid_t child = fork();
  if (child == 0) {
    mheap_abandon(holder);
    heap = mheap_open(path, &(mheap_options){.timeout = 30}, NULL);
    bool same = heap != NULL && memcmp(info_of(heap).uuid, wanted.uuid, 16) == 0;
    if (heap != NULL) mheap_detach(heap, NULL);
    _exit(same ? 0 : 1);
  }
  usleep(100000); /* likely waiting now; if not, it opens the new file at once */
  CHECK_EQ(rename(next, path), 0);
  detach(holder);
  CHECK(waitpid(child, &status, 0) == child && status == 0);
}

/* ---- forks ---- */

static int use_parents_handle(void *arg) {
  mheap *heap = arg;
  static mheap_stats stats;
  CHECK(mheap_malloc(heap, 10) == NULL);
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_FORKED);
  CHECK_CONTAINS(mheap_last_error(heap)->text, "attach the file anew");
  CHECK(mheap_calloc(heap, 1, 10) == NULL && mheap_memalign(heap, 64, 10) == NULL);
  CHECK(mheap_malloc(heap, 5000000) == NULL);
  CHECK(mheap_getkey(heap, 0) == NULL);
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_FORKED);
  CHECK_EQ(mheap_setkey(heap, 0, NULL), MHEAP_ERR_FORKED);
  CHECK(mheap_getroot(heap, "x", 1) == NULL);
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_FORKED);
  CHECK_EQ(mheap_setroot(heap, "x", 1, NULL), MHEAP_ERR_FORKED);
  CHECK_EQ(mheap_get_stats(heap, &stats), MHEAP_ERR_FORKED);
  CHECK_EQ(mheap_check(heap, NULL, NULL, NULL), MHEAP_ERR_FORKED);
  CHECK_EQ(mheap_collect(heap, true), MHEAP_ERR_FORKED);
  CHECK_EQ(mheap_sync(heap), MHEAP_ERR_FORKED);
  return 0;
}

typedef struct inheritance {
  mheap *heap;
  char *block;
  const char *path;
} inheritance;

static int use_inherited(void *arg) {
  const inheritance *it = arg;
  CHECK_EQ(mheap_free(it->heap, it->block), MHEAP_ERR_FORKED);
  CHECK(mheap_realloc(it->heap, it->block, 100) == NULL);
  CHECK_EQ(mheap_last_error(it->heap)->code, MHEAP_ERR_FORKED);
  CHECK_EQ(mheap_usable_size(it->heap, it->block), 0);
  use_parents_handle(it->heap);
  CHECK_EQ(mheap_detach(it->heap, NULL), MHEAP_OK); /* lets go of it, and of nothing else */
  mheap_error error;
  CHECK_EQ(refused_with(it->path, &live, &error), MHEAP_ERR_BUSY);
  CHECK_EQ(refused_with(it->path, &readonly, &error), MHEAP_ERR_BUSY);
  mheap *heap = attach(it->path, &(mheap_options){.mode = MHEAP_MODE_READONLY, .unsafe = true});
  if (heap == NULL) return 1;
  CHECK(mheap_getkey(heap, 0) == it->block); /* at the same address */
  CHECK_STR(it->block, "kept");
  detach(heap);
  return 0;
}

static void a_forked_child_must_attach_anew(void) {
  const char *path = fresh("forked");
  make_heap(path);
  mheap *heap = attach(path, &live);
  REQUIRE(heap != NULL);
  void *block = mheap_malloc(heap, 100); /* so that this thread has a lane */
  inheritance it = {heap, mheap_getkey(heap, 0), path};
  for (int i = 0; i < 3; i++) CHECK_EQ(in_child_process(use_inherited, &it), 0);
  CHECK_EQ(mheap_free(heap, block), MHEAP_OK); /* the parent goes on */
  CHECK(mheap_malloc(heap, 100) != NULL);
  CHECK_EQ(stored(path, AT(state)), MH_STATE_OPEN);
  check_heap(heap);
  detach(heap);
  CHECK_EQ(stored(path, AT(state)), MH_STATE_CLEAN);
  CHECK_EQ(stored(path, AT(epoch)), 0);
}

static int use_anonymous(void *arg) {
  mheap *heap = arg;
  char *block = mheap_getkey(heap, 0);
  CHECK_STR(block, "parent");
  strcpy(block, "child");
  CHECK_EQ(mheap_free(heap, block), MHEAP_OK);
  for (int i = 0; i < 1000; i++) CHECK(mheap_malloc(heap, 1000) != NULL);
  CHECK(mheap_malloc(NULL, 10) != NULL);
  check_heap(heap);
  return 0;
}

static void anonymous_memory_is_the_childs_own(void) {
  mheap *heap = mheap_attach(-1, NULL, NULL);
  REQUIRE(heap != NULL);
  char *block = mheap_malloc(heap, 100);
  strcpy(block, "parent");
  mheap_setkey(heap, 0, block);
  CHECK_EQ(in_child_process(use_anonymous, heap), 0);
  CHECK_STR(block, "parent");
  CHECK_EQ(mheap_free(heap, block), MHEAP_OK);
  detach(heap);
}

/* Mappings keep an open file description alive in the child, and with it the locks on it. */
static void locks_go_with_the_process_that_took_them(void) {
  const char *path = fresh("orphan");
  mheap_error error;
  int ends[2], status;
  pid_t grandchild = -1;
  REQUIRE_EQ(pipe(ends), 0);
  pid_t child = fork();
  if (child == 0) {
    mheap *heap = mheap_open(path, NULL, NULL);
    char *block = mheap_malloc(heap, 10);
    if (fork() == 0) {
      grandchild = getpid(); /* told from here, so that what a fork does in the child is done */
      if (write(ends[1], &grandchild, sizeof grandchild) != sizeof grandchild) _exit(1);
      for (;;) block[0]++, usleep(1000); /* has the mapping still */
    }
    for (;;) pause();
  }
  REQUIRE(read(ends[0], &grandchild, sizeof grandchild) == sizeof grandchild);
  CHECK_EQ(refused_with(path, &live, &error), MHEAP_ERR_BUSY);
  CHECK_EQ(kill(child, SIGKILL), 0);
  CHECK(waitpid(child, &status, 0) == child);
  mheap *heap = attach(path, &live);
  if (heap != NULL) detach(heap);
  CHECK_EQ(kill(grandchild, 0), 0);
  CHECK_EQ(kill(grandchild, SIGKILL), 0);
  close(ends[0]);
  close(ends[1]);
}

/* ---- crashes ---- */

enum { KEPT = 500 };

static size_t kept_size(int i) { return 20 + (size_t)i * 97 % 3000 + (i % 50 == 0 ? 200000 : 0); }

static void store_much(mheap *heap) {
  for (int i = 0; i < KEPT; i++) {
    char *block = mheap_malloc(heap, kept_size(i)), *gone = mheap_malloc(heap, kept_size(i));
    memset(block, i, kept_size(i));
    mheap_setkey(heap, i, block);
    mheap_free(heap, gone);
  }
}

static bool count_block(void *arg, void *block, size_t usable) {
  (void)block, (void)usable;
  *(unsigned *)arg += 1;
  return true;
}

static void check_much(const char *path, uint64_t epoch) {
  mheap *heap = attach(path, &live);
  REQUIRE(heap != NULL);
  CHECK_EQ(info_of(heap).epoch, epoch);
  check_heap(heap);
  unsigned count = 0;
  CHECK_EQ(mheap_visit_blocks(heap, count_block, &count), MHEAP_OK);
  CHECK_EQ(count, KEPT); /* nothing lost, nothing leaked */
  for (int i = 0; i < KEPT; i++) {
    char *block = mheap_getkey(heap, i);
    CHECK(block[0] == (char)i && memcmp(block, block + 1, kept_size(i) - 1) == 0);
  }
  detach(heap);
}

static void an_abandoned_heap_loses_nothing(void) {
  const char *path = fresh("abandoned");
  mheap *heap = attach(path, &live);
  REQUIRE(heap != NULL);
  store_much(heap);
  mheap_abandon(heap);
  CHECK_EQ(stored(path, AT(state)), MH_STATE_OPEN);
  heap = attach(path, &readonly); /* repairs nothing */
  REQUIRE(heap != NULL);
  CHECK_EQ(info_of(heap).state, MHEAP_OPEN);
  CHECK_EQ(info_of(heap).owner_pid, (uint64_t)getpid());
  check_heap(heap);
  detach(heap);
  check_much(path, 1);
  CHECK_EQ(stored(path, AT(state)), MH_STATE_CLEAN);
  check_much(path, 1); /* the epoch is one more after each crash only */
}

static void a_killed_process_loses_nothing(void) {
  const char *path = fresh("killed");
  for (uint64_t round = 1; round <= 3; round++) {
    int ends[2], status;
    char byte;
    REQUIRE_EQ(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
      mheap *heap = mheap_open(path, NULL, NULL);
      for (int i = 0; i < KEPT; i++) mheap_free(heap, mheap_getkey(heap, i));
      store_much(heap);
      if (write(ends[1], "!", 1) == 1) pause();
      _exit(1);
    }
    CHECK(read(ends[0], &byte, 1) == 1);
    CHECK_EQ(kill(child, SIGKILL), 0);
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
    close(ends[0]);
    close(ends[1]);
    CHECK_EQ(stored(path, AT(state)), MH_STATE_OPEN); /* it really was killed while it had it open */
    check_much(path, round);
  }
}

TEST_MAIN(TEST(identity_and_content_are_kept), TEST(two_files_have_two_identities),
          TEST(readers_and_scratch_leave_the_file_as_it_is),
          TEST(stores_of_a_reader_are_refused_by_the_system),
          TEST(a_heap_without_raw_addresses_attaches_anywhere), TEST(a_raw_address_fixes_the_base),
          TEST(an_occupied_base_is_refused_and_nothing_is_clobbered),
          TEST(what_is_behind_the_heap_only_makes_its_span_smaller), TEST(relocate_attaches_elsewhere),
          TEST(an_address_asked_for_is_honoured_or_refused), TEST(a_creator_may_choose_an_odd_base),
          TEST(findbase_names_a_free_place), TEST(anonymous_regions_live_until_detached),
          TEST(anonymous_regions_are_placed_and_limited), TEST(max_size_is_honoured),
          TEST(an_empty_heap_is_small), TEST(a_small_heap_grows_slice_by_slice),
          TEST(the_tail_goes_back_to_the_file), TEST(collecting_punches_holes),
          TEST(space_is_not_taken_from_under_a_reader),
          TEST(attachments_exclude_each_other_as_the_table_says),
          TEST(closing_the_file_elsewhere_does_not_unlock_it), TEST(the_callers_descriptor_stays_the_callers),
          TEST(a_timeout_waits_until_the_file_is_free), TEST(a_timeout_ends),
          TEST(a_replaced_file_is_opened_anew), TEST(a_forked_child_must_attach_anew),
          TEST(anonymous_memory_is_the_childs_own), TEST(locks_go_with_the_process_that_took_them),
          TEST(an_abandoned_heap_loses_nothing), TEST(a_killed_process_loses_nothing))
