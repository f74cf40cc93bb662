/* test_check.c: mheap_check finds every contradiction, at its place, and survives all of them.

   A heap is made once; its bytes are changed in the file while it is attached read-only, so
   that what attach would refuse reaches the check too, and put back afterwards. */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "crc32c.h"
#include "map.h"
#include "mheap/mheap.h"
#include "region.h"
#include "segment.h"
#include "test.h"

/* ---- findings ---- */

typedef struct findings {
  unsigned broken, notes;
  uint64_t wanted;         /* offset of the finding looked for */
  const char *what, *part; /* what it must say; NULL: anything */
  bool found;              /* one there says so */
  bool print;
} findings;

static void collect(void *arg, const mheap_finding *finding) {
  findings *all = arg;
  *(finding->severity > 0 ? &all->broken : &all->notes) += 1;
  if (all->print)
    fprintf(stderr, "  %d 0x%" PRIx64 " %s: %s\n", finding->severity, finding->offset, finding->what,
            finding->text);
  CHECK(strchr(finding->text, '\n') == NULL);
  bool as_wanted = all->part == NULL ||
                   (strcmp(finding->what, all->what) == 0 && strstr(finding->text, all->part) != NULL);
  all->found |= finding->offset == all->wanted && as_wanted;
}

/* ---- the heap under test ---- */

typedef struct patient {
  mheap *heap;                                                   /* read-only */
  int fd;                                                        /* the same file, writable */
  uint64_t slab, slab_slice, span, span_slice, huge, free_slice; /* offsets; slices of segment 0 */
} patient;

static const char *file_path(void) {
  static char path[1024];
  if (path[0] == '\0') snprintf(path, sizeof path, "%s", test_path("patient.heap"));
  return path;
}

static uint64_t offset_in(mheap *heap, const void *block) {
  mheap_info info;
  mheap_get_info(heap, &info);
  return (uint64_t)(uintptr_t)block - info.base;
}

static uint64_t head_at(uint64_t slice) {
  return MH_SLICE + offsetof(mh_segment_header, slice) + sizeof(mh_slice) * (slice - 1);
}
static uint64_t bitmaps_at(uint64_t slice) {
  return MH_SLICE + offsetof(mh_segment_header, bitmaps) + sizeof(mh_bitmaps) * slice;
}
static uint64_t word_at(uint64_t segment) { return MH_MAP_OFFSET + 8 * segment; }

static void fill(mheap *heap, patient *p) {
  p->slab = offset_in(heap, mheap_malloc(heap, 1000));
  for (int i = 0; i < 200; i++) mheap_malloc(heap, 16 + (size_t)i % 50);
  p->span = offset_in(heap, mheap_malloc(heap, 200000));
  p->huge = offset_in(heap, mheap_malloc(heap, 9 << 20));
  mheap_setkey(heap, 3, (char *)mheap_malloc(heap, 64) + 10);
  void *gap = mheap_malloc(heap, 70000);
  p->free_slice = (offset_in(heap, gap) - MH_SLICE) / MH_SLICE;
  mheap_malloc(heap, 70000);
  mheap_free(heap, gap);
}

static patient make_patient(void) {
  patient p = {0};
  mheap_error error;
  unlink(file_path());
  mheap *heap = mheap_open(file_path(), NULL, &error);
  if (heap != NULL) {
    fill(heap, &p);
    mheap_detach(heap, &error);
    p.heap = mheap_open(file_path(), &(mheap_options){.mode = MHEAP_MODE_READONLY}, &error);
  }
  if (p.heap == NULL) {
    fprintf(stderr, "%s\n", error.text);
    exit(2);
  }
  p.fd = open(file_path(), O_RDWR);
  p.slab_slice = (p.slab - MH_SLICE) / MH_SLICE;
  p.span_slice = (p.span - MH_SLICE) / MH_SLICE;
  return p;
}

static void end_patient(patient *p) {
  close(p->fd);
  mheap_abandon(p->heap);
}

static uint64_t peek(patient *p, uint64_t at) {
  uint64_t word = 0;
  CHECK(pread(p->fd, &word, 8, (off_t)at) == 8);
  return word;
}

static void poke(patient *p, uint64_t at, uint64_t word) { CHECK(pwrite(p->fd, &word, 8, (off_t)at) == 8); }

/* All findings; `found` if one at `wanted` is of this kind and its text has this part. */
static findings look_for(patient *p, uint64_t wanted, const char *what, const char *part) {
  findings all = {.wanted = wanted, .what = what, .part = part};
  mheap_err code = mheap_check(p->heap, collect, NULL, &all);
  CHECK_EQ(code, all.broken > 0 ? MHEAP_ERR_CORRUPT : MHEAP_OK);
  return all;
}

static findings examine(patient *p, uint64_t wanted) { return look_for(p, wanted, NULL, NULL); }

static bool is_clean(patient *p) {
  findings all = examine(p, 0);
  if (all.broken + all.notes == 0) return true;
  all = (findings){.print = true};
  mheap_check(p->heap, collect, NULL, &all);
  return false;
}

/* ---- the control ---- */

static void a_sound_heap_has_no_findings(void) {
  patient p = make_patient();
  CHECK(is_clean(&p));
  end_patient(&p);
  mheap *heap = mheap_attach(-1, NULL, NULL);
  CHECK_EQ(mheap_check(heap, NULL, NULL, NULL), MHEAP_OK);
  mheap_detach(heap, NULL);
}

static void a_writer_may_check_its_own_heap(void) {
  mheap_error error;
  mheap *heap = mheap_open(test_path("own.heap"), NULL, &error);
  REQUIRE(heap != NULL);
  patient p;
  fill(heap, &p);
  findings all = {0};
  CHECK_EQ(mheap_check(heap, collect, NULL, &all), MHEAP_OK);
  CHECK_EQ(all.notes, 0);
  CHECK_EQ(mheap_detach(heap, &error), MHEAP_OK);
}

typedef struct steps {
  unsigned calls;
  uint64_t done, total;
} steps;

static void step(void *arg, uint64_t done, uint64_t total) {
  steps *s = arg;
  CHECK(done >= s->done && done <= total);
  s->calls++;
  s->done = done;
  s->total = total;
}

static void progress_reaches_the_end(void) {
  patient p = make_patient();
  steps s = {0};
  CHECK_EQ(mheap_check(p.heap, NULL, step, &s), MHEAP_OK);
  CHECK(s.calls >= 2);
  CHECK(s.total > 9 << 20);
  CHECK_EQ(s.done, s.total);
  end_patient(&p);
}

/* ---- one field after the other ---- */

typedef struct injury {
  uint64_t at;
  uint64_t word;    /* stored there */
  const char *what; /* of the finding expected there */
  const char *text; /* part of it */
  int severity;
} injury;

static void check_injury(patient *p, const injury *it) {
  uint64_t before = peek(p, it->at);
  CHECK(before != it->word);
  poke(p, it->at, it->word);
  findings all = look_for(p, it->at, it->what, it->text);
  if (!CHECK(all.found && (it->severity > 0 ? all.broken > 0 : all.notes > 0))) {
    fprintf(stderr, "0x%" PRIx64 " := 0x%" PRIx64 ": expected %s: %s\n", it->at, it->word, it->what,
            it->text);
    all.print = true;
    mheap_check(p->heap, collect, NULL, &all);
  }
  poke(p, it->at, before);
}

static void check_injuries(patient *p, const injury *list, size_t count) {
  for (size_t i = 0; i < count; i++) check_injury(p, &list[i]);
  CHECK(is_clean(p));
}

#define SUPER(field) offsetof(mh_superblock, field)
#define ID(field) offsetof(mh_identity, field)
#define COUNT(list) (sizeof list / sizeof list[0])

static void each_field_of_the_superblock_is_checked(void) {
  patient p = make_patient();
  const injury list[] = {
      {ID(magic), 0x1234, "superblock", "", 1},
      {SUPER(state), 3, "superblock", "state", 1},
      {SUPER(size), 0, "superblock", "size", 1},
      {SUPER(size), UINT64_MAX, "superblock", "size", 1},
      {SUPER(size), peek(&p, SUPER(size)) + MH_SLICE, "superblock", "size", 1},
      {SUPER(size), peek(&p, SUPER(size)) + 1, "superblock", "size", 1},
      {SUPER(epoch), UINT32_MAX, "superblock", "epoch", 1},
      {SUPER(base), 12345, "superblock", "base", 1},
      {SUPER(placement), 0, "superblock", "placement", 1},
      {SUPER(max_size), 1, "superblock", "", 1},
      {SUPER(map_directory), 12345, "superblock", "directory", 1},
      {SUPER(map_directory), 12345, "map", "directory", 1},
      {SUPER(map_directory), p.slab - p.slab % MH_SLICE, "map", "internal", 1},
      {SUPER(map_directory), p.span, "map", "internal", 1},
      {SUPER(root), 1, "superblock", "root", 1},
      {SUPER(root), UINT64_MAX, "superblock", "root", 1},
      {SUPER(root), MH_SLICE, "superblock", "root", 1},
      {SUPER(names), MH_SLICE, "superblock", "names", 1},
      {SUPER(journal), 1, "superblock", "journal", 1},
      {SUPER(journal_size), 1, "superblock", "journal", 1},
      {SUPER(birth), 0, "superblock", "birth", 1},
      {SUPER(registry), 1, "superblock", "schemas", 1},
      {SUPER(reserved), 1, "superblock", "reserved", 1},
      {4088, 1, "superblock", "reserved", 1},
      {24576, 1, "superblock", "reserved", 1},
      {32760, 1, "superblock", "reserved", 1},
  };
  check_injuries(&p, list, COUNT(list));
  end_patient(&p);
}

/* Everything the checksum covers, bit by bit: none can change unseen. */
static void each_bit_of_the_identity_is_covered(void) {
  patient p = make_patient();
  for (uint64_t at = 0; at < sizeof(mh_identity); at += 8)
    for (int bit = 0; bit < 64; bit++) {
      uint64_t word = peek(&p, at);
      poke(&p, at, word ^ (uint64_t)1 << bit);
      findings all = examine(&p, at);
      if (all.broken == 0) fprintf(stderr, "bit %d of 0x%" PRIx64 "\n", bit, at);
      CHECK(all.broken > 0);
      poke(&p, at, word);
    }
  CHECK(is_clean(&p));
  end_patient(&p);
}

static void reserved_fields_of_the_identity_must_be_zero(void) {
  patient p = make_patient();
  static const uint64_t places[] = {ID(superseded_by), ID(fingerprint), ID(encryption), ID(page_sums),
                                    ID(relocations)};
  mh_identity before, changed;
  REQUIRE(pread(p.fd, &before, sizeof before, 0) == sizeof before);
  for (size_t i = 0; i < COUNT(places); i++) {
    changed = before;
    ((uint8_t *)&changed)[places[i]] = 1;
    changed.checksum = mh_crc32c(&changed, offsetof(mh_identity, checksum));
    CHECK(pwrite(p.fd, &changed, sizeof changed, 0) == sizeof changed);
    findings all = look_for(&p, places[i], "superblock", "reserved");
    CHECK(all.found && all.broken == 1);
  }
  CHECK(pwrite(p.fd, &before, sizeof before, 0) == sizeof before);
  CHECK(is_clean(&p));
  end_patient(&p);
}

static void the_owner_of_an_open_heap_is_checked(void) {
  patient p = make_patient();
  mh_owner owner, before;
  REQUIRE(pread(p.fd, &before, sizeof before, SUPER(owner)) == sizeof before);
  poke(&p, SUPER(state), MH_STATE_OPEN);
  CHECK(examine(&p, 0).broken == 0);
  owner = before;
  owner.pid ^= 1;
  CHECK(pwrite(p.fd, &owner, sizeof owner, SUPER(owner)) == sizeof owner);
  findings all = examine(&p, SUPER(owner) + offsetof(mh_owner, checksum));
  CHECK(all.found && all.broken == 1);
  owner = before;
  owner.mode = 9;
  owner.checksum = mh_crc32c(&owner, offsetof(mh_owner, checksum));
  CHECK(pwrite(p.fd, &owner, sizeof owner, SUPER(owner)) == sizeof owner);
  all = examine(&p, SUPER(owner) + offsetof(mh_owner, mode));
  CHECK(all.found && all.broken == 1);
  CHECK(pwrite(p.fd, &before, sizeof before, SUPER(owner)) == sizeof before);
  poke(&p, SUPER(state), MH_STATE_CLEAN);
  CHECK(is_clean(&p));
  end_patient(&p);
}

static void keys_must_point_into_blocks_in_use(void) {
  patient p = make_patient();
  const uint64_t key = MH_KEYS_OFFSET + 8 * 100, last = MH_KEYS_OFFSET + 8 * (MH_KEYS - 1);
  uint64_t free_slice = MH_SLICE + p.free_slice * MH_SLICE;
  const injury list[] = {
      {key, 1, "key", "key 100", 1},
      {key, MH_SLICE - 1, "key", "key 100", 1},
      {key, UINT64_MAX, "key", "key 100", 1},
      {last, MH_OFFSET_MAX, "key", "key 1023", 1},
      {last, peek(&p, SUPER(size)), "key", "no block in use", 0}, /* its block was freed, the file cut */
      {key, MH_SLICE, "key", "no block in use", 0}, /* a header */
      {key, free_slice, "key", "no block in use", 0},
      {key, p.span + 200704, "key", "no block in use", 0}, /* behind its last page */
      {key, p.huge + (9 << 20), "key", "no block in use", 0},
      {key, p.slab + 30 * 1024, "key", "no block in use", 0},
  };
  check_injuries(&p, list, COUNT(list));
  const uint64_t good[] = {
      p.slab, p.slab + 999, p.span, p.span + 200703, p.huge, p.huge + (9 << 20) - 1, p.huge + (5 << 20)};
  for (size_t i = 0; i < COUNT(good); i++) {
    poke(&p, key, good[i]);
    CHECK(is_clean(&p));
  }
  end_patient(&p);
}

static void rows_of_heaps_and_arenas_are_checked(void) {
  patient p = make_patient();
  const uint64_t heap = MH_HEAPS_OFFSET, arena = MH_ARENAS_OFFSET, row = sizeof(mh_heap_row);
  const injury list[] = {
      {heap, 0, "heap", "main heap", 1},
      {heap, MH_HEAP_USED | 8, "heap", "flags", 1},
      {heap + 8, 5, "heap", "arena", 1},
      {heap + 8, UINT64_MAX, "heap", "arena", 1},
      {heap + 16, 1, "heap", "reserved", 1},
      {heap + 24, 1, "heap", "reserved", 1},
      {heap + 56, 1, "heap", "reserved", 1},
      {heap + 7 * row, 2, "heap", "row 7", 1},
      {heap + 32, 0, "heap", "heap of objects", 1},
      {heap + 32, 1, "heap", "heap of objects", 1},
      {heap + 32, 99, "heap", "heap of objects", 1},
      {heap + row + 32, 1, "heap", "reserved", 1},
      {heap + row + 24, 64, "heap", "reserved", 1},
      {heap + 127 * row + 40, 1, "heap", "reserved", 1},
      {arena, 0, "arena", "first", 1},
      {arena, 9, "arena", "flags", 1},
      {arena + 8, UINT64_MAX, "arena", "segments", 1},
      {arena + 24, 1, "arena", "reserved", 1},
      {arena + 5 * row, 4, "arena", "row 5", 1},
      {arena + 63 * row + 56, 1, "arena", "reserved", 1},
  };
  check_injuries(&p, list, COUNT(list));
  poke(&p, arena + row, MH_ARENA_USED); /* two arenas that share segments 10 to 19 */
  poke(&p, arena + row + 8, 1);
  poke(&p, arena + row + 16, 19);
  poke(&p, arena + 2 * row, MH_ARENA_USED);
  poke(&p, arena + 2 * row + 8, 10);
  poke(&p, arena + 2 * row + 16, 90);
  findings all = look_for(&p, arena + 2 * row, "arena", "row 1");
  CHECK(all.found && all.broken == 1);
  end_patient(&p);
}

static void words_of_the_map_are_checked(void) {
  patient p = make_patient();
  uint64_t huge = (p.huge - MH_SLICE) / MH_SEGMENT,
           behind = (peek(&p, SUPER(size)) - MH_SLICE) / MH_SEGMENT + 1;
  uint64_t epoch = peek(&p, SUPER(epoch));
  const injury list[] = {
      {word_at(0), peek(&p, word_at(0)) | 1 << 20, "map", "bits beyond", 1},
      {word_at(0), mh_map_slices(5, (uint32_t)epoch, 0), "map", "arena", 1},
      {word_at(0), mh_map_slices(8191, (uint32_t)epoch, 0), "map", "arena", 1},
      {word_at(0), mh_map_slices(0, (uint32_t)epoch + 1, 0), "map", "epoch", 1},
      {word_at(0), 4, "map", "bits beyond", 1},
      {word_at(0), mh_map_body(1), "map", "head", 1},
      {word_at(huge), mh_map_huge(0, 0, 1, 0), "map", "within", 1},
      {word_at(huge), mh_map_huge(0, 0, 1, (1 << 25) - 1), "map", "within", 1},
      {word_at(huge), mh_map_huge(0, 9, 256, 3), "map", "row 9", 1},
      {word_at(huge), mh_map_huge(3, 0, 256, 3), "map", "arena", 1},
      {word_at(huge), mh_map_huge(0, 0, 256, 3) | (uint64_t)1 << 63, "map", "bits beyond", 1},
      {word_at(huge + 1), 0, "map", "1th", 1},
      {word_at(huge + 2), mh_map_body(1), "map", "", 1},
      {word_at(huge + 2), mh_map_slices(0, 0, 0), "map", "2th", 1},
      {word_at(behind), mh_map_slices(0, 0, 0), "map", "behind", 1},
      {word_at(4095), 6, "map", "behind", 1},
      {word_at(behind), mh_map_body(1), "map", "behind", 0},
  };
  check_injuries(&p, list, COUNT(list));
  poke(&p, word_at(huge), 0); /* as a kill in the middle of free leaves it */
  findings all = examine(&p, word_at(huge + 1));
  CHECK(all.found && all.broken == 0 && all.notes == 2);
  end_patient(&p);
}

static void headers_of_segments_are_checked(void) {
  patient p = make_patient();
  const injury list[] = {
      {MH_SLICE, 0, "segment", "magic", 1},         {MH_SLICE + 8, 1, "segment", "number", 1},
      {MH_SLICE + 16, 1, "segment", "uuid", 1},     {MH_SLICE + 32, 1, "segment", "reserved", 1},
      {MH_SLICE + 56, 1, "segment", "reserved", 1},
  };
  check_injuries(&p, list, COUNT(list));
  end_patient(&p);
}

static void descriptors_of_slices_are_checked(void) {
  patient p = make_patient();
  uint64_t slab = head_at(p.slab_slice), span = head_at(p.span_slice), empty = head_at(p.free_slice);
  uint64_t slab_head = peek(&p, slab), span_head = peek(&p, span);
  const injury list[] = {
      {slab, slab_head | (uint64_t)1 << 40, "segment", "upper bits", 1},
      {slab, slab_head | 5 << MH_HEAD_HEAP_SHIFT, "segment", "heap", 1},
      {slab, (slab_head & ~(uint64_t)15) | 9, "segment", "kind", 1},
      {slab, slab_head & ~(uint64_t)15, "segment", "kind", 1},
      {slab, slab_head & ~((uint64_t)63 << 4), "segment", "slices", 1},
      {slab, slab_head | (uint64_t)63 << 4, "slab", "slices", 1},
      {span, span_head | (uint64_t)63 << 4, "segment", "slices", 1},
      {slab, slab_head | (uint64_t)2 << 4, "slab", "slices", 1},
      {slab, slab_head | (uint64_t)255 << MH_HEAD_CLASS_SHIFT, "slab", "class", 1},
      {slab, slab_head | (uint64_t)1 << MH_HEAD_PAGES_SHIFT, "slab", "pages", 1},
      {slab + 8, 1, "segment", "reserved", 1},
      {slab + 56, 1, "segment", "reserved", 1},
      {span, mh_head_span(4, 0, 0), "span", "pages", 1},
      {span, mh_head_span(4, 48, 0), "span", "pages", 1},
      {span, mh_head_span(4, 65, 0), "span", "pages", 1},
      {span, span_head | 1 << MH_HEAD_CLASS_SHIFT, "span", "class", 1},
      {span + 64, span_head, "segment", "in the run before", 1},
      {empty, mh_head_internal(1), "map", "no part of the segment map", 0},
      {empty, mh_head_internal(1) | (uint64_t)3 << MH_HEAD_PAGES_SHIFT, "map", "pages", 1},
      {empty, mh_head_span(2, 17, 100), "segment", "heap", 1},
      {head_at(63), mh_head_span(2, 17, 0), "segment", "", 1},
  };
  check_injuries(&p, list, COUNT(list));
  end_patient(&p);
}

static void bitmaps_are_checked(void) {
  patient p = make_patient();
  uint64_t maps = bitmaps_at(p.slab_slice); /* of 64 blocks of 1,024 bytes */
  poke(&p, maps + MH_BITMAP_BYTES, (uint64_t)1 << 40);
  findings all = look_for(&p, maps + MH_BITMAP_BYTES, "slab", "marked freed");
  CHECK(all.found && all.broken == 0 && all.notes == 1);
  end_patient(&p);

  mheap *heap = mheap_open(test_path("tails.heap"), NULL, NULL);
  REQUIRE(heap != NULL);
  uint64_t block = offset_in(heap, mheap_malloc(heap, 112)); /* 585 blocks: 9 words and 9 bits */
  mheap_detach(heap, NULL);
  p.heap = mheap_open(test_path("tails.heap"), &(mheap_options){.mode = MHEAP_MODE_READONLY}, NULL);
  p.fd = open(test_path("tails.heap"), O_RDWR);
  maps = bitmaps_at((block - MH_SLICE) / MH_SLICE);
  const injury list[] = {
      {maps + 72, (uint64_t)1 << 9, "slab", "behind block 585", 1},
      {maps + 72 + MH_BITMAP_BYTES, (uint64_t)1 << 63, "slab", "freed", 1},
  };
  check_injuries(&p, list, COUNT(list));
  end_patient(&p);
}

/* ---- the map's directory ---- */

static void a_directory_and_its_parts_are_checked(void) {
  patient p = make_patient();
  uint64_t directory = MH_SLICE + p.free_slice * MH_SLICE, part = directory + MH_SLICE;
  static const char zeros[2 * MH_SLICE];
  CHECK(pwrite(p.fd, zeros, sizeof zeros, (off_t)directory) == sizeof zeros);
  poke(&p, head_at(p.free_slice), mh_head_internal(1));
  poke(&p, head_at(p.free_slice + 1), mh_head_internal(1));
  poke(&p, directory + 8, part);
  poke(&p, SUPER(map_directory), directory);
  CHECK(is_clean(&p));
  const injury list[] = {
      {directory, 1, "map", "reserved", 1},          {directory + 8, 0x12345, "map", "part", 1},
      {directory + 8, UINT64_MAX, "map", "part", 1}, {directory + 8, p.span, "map", "internal", 1},
      {directory + 16, part, "map", "again", 1},     {directory + 16, directory, "map", "again", 1},
  };
  check_injuries(&p, list, COUNT(list));
  poke(&p, directory + 8, 0);
  findings all = examine(&p, head_at(p.free_slice + 1));
  CHECK(all.found && all.broken == 0 && all.notes == 1);
  end_patient(&p);
}

/* ---- anything at all ---- */

/* Every bit of the superblock page, the tables, a segment header's first page and its first
   bitmaps: the check comes back, whatever it finds. */
static void no_flipped_bit_ends_the_check(void) {
  patient p = make_patient();
  static const struct {
    uint64_t from, to;
  } ranges[] = {{0, 448},
                {MH_HEAPS_OFFSET, MH_HEAPS_OFFSET + 128},
                {MH_ARENAS_OFFSET, MH_ARENAS_OFFSET + 128},
                {MH_MAP_OFFSET, MH_MAP_OFFSET + 64},
                {MH_SLICE, MH_SLICE + 64 * 12},
                {MH_SLICE + 4096 + 960, MH_SLICE + 4096 + 1920}};
  unsigned flips = 0, seen = 0;
  for (size_t r = 0; r < COUNT(ranges); r++)
    for (uint64_t at = ranges[r].from; at < ranges[r].to; at += 8) {
      uint64_t word = peek(&p, at);
      for (int bit = 0; bit < 64; bit++) {
        poke(&p, at, word ^ (uint64_t)1 << bit);
        findings all = examine(&p, at);
        flips++;
        seen += all.broken + all.notes > 0;
      }
      poke(&p, at, word);
    }
  CHECK(seen > flips / 2);
  CHECK(is_clean(&p));
  end_patient(&p);
}

static void no_random_bytes_end_the_check(void) {
  patient p = make_patient();
  static char saved[2 * MH_SLICE], noise[2 * MH_SLICE];
  REQUIRE(pread(p.fd, saved, sizeof saved, 0) == sizeof saved);
  srandom(7);
  for (int round = 0; round < 200; round++) {
    memcpy(noise, saved, sizeof noise);
    for (int i = 0; i < 1 << round % 12; i++) {
      size_t at = (size_t)random() % (sizeof noise / 8) * 8;
      uint64_t word = (uint64_t)random() << (random() % 64);
      memcpy(noise + at, &word, 8);
    }
    CHECK(pwrite(p.fd, noise, sizeof noise, 0) == sizeof noise);
    findings all = examine(&p, 0);
    (void)all;
  }
  CHECK(pwrite(p.fd, saved, sizeof saved, 0) == sizeof saved);
  CHECK(is_clean(&p));
  end_patient(&p);
}

static void a_file_cut_short_is_a_finding_and_no_signal(void) {
  patient p = make_patient();
  uint64_t size = peek(&p, SUPER(size));
  for (uint64_t length = size - MH_SLICE;;
       length = length > 10 * MH_SLICE ? length / 2 : length - MH_SLICE / 2) {
    CHECK_EQ(ftruncate(p.fd, (off_t)length), 0);
    findings all = examine(&p, length / MH_SLICE * MH_SLICE);
    CHECK(all.found && all.broken > 0);
    if (length == 0) break;
  }
  end_patient(&p);
}

static void the_check_writes_nothing(void) {
  patient p = make_patient();
  struct stat before, after;
  static char bytes[2][3 * MH_SLICE];
  poke(&p, SUPER(state), MH_STATE_OPEN);
  poke(&p, head_at(p.free_slice), 99);
  REQUIRE(pread(p.fd, bytes[0], sizeof bytes[0], 0) == sizeof bytes[0]);
  REQUIRE_EQ(fstat(p.fd, &before), 0);
  CHECK(examine(&p, 0).broken > 0);
  REQUIRE(pread(p.fd, bytes[1], sizeof bytes[1], 0) == sizeof bytes[1]);
  REQUIRE_EQ(fstat(p.fd, &after), 0);
  CHECK(memcmp(bytes[0], bytes[1], sizeof bytes[0]) == 0);
  CHECK_EQ(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
  CHECK_EQ(before.st_blocks, after.st_blocks);
  end_patient(&p);
}

/* ---- beside a writer ---- */

static unsigned runs; /* of the unit below */

/* Finds something the first `times` times, and one thing more each time. */
static void find_some(mh_check *check, uint64_t times) {
  runs++;
  if (runs <= times) mh_check_found(check, 1, 1000, "test", "passing or not: expected %d, found %d", 1, 2);
  mh_check_found(check, 1, 2000 + runs, "test", "never twice in one place%s", "");
}

static void find_a_lot(mh_check *check, uint64_t count) {
  for (uint64_t i = 0; i < count; i++) mh_check_found(check, 0, i, "test", "the same each time%s", "");
}

static void only_what_is_found_every_time_is_reported(void) {
  patient p = make_patient();
  for (int writers = 0; writers < 2; writers++) {
    p.heap->region->unsafe = writers;
    for (uint64_t times = 0; times < 10; times++) {
      findings all = {.wanted = 1000};
      mh_check check = {.heap = p.heap, .region = p.heap->region, .report = collect, .arg = &all};
      runs = 0;
      mh_check_run(&check, find_some, times);
      if (!writers) CHECK_EQ(all.broken, 1 + (times >= 1));
      if (writers) CHECK(runs >= 2 && all.broken == all.found && all.found == (times >= runs));
    }
  }
  findings all = {.wanted = 999};
  mh_check check = {.heap = p.heap, .region = p.heap->region, .report = collect, .arg = &all};
  mh_check_run(&check, find_a_lot, 1000);
  CHECK(all.found && all.notes == 1000);
  end_patient(&p);
}

/* Runs until it is killed. */
static void allocate_for_ever(const char *path, int ready) {
  enum { SLOTS = 300 };
  static void *slots[SLOTS];
  mheap *heap = mheap_open(path, NULL, NULL);
  if (heap == NULL) _exit(1);
  unsigned seed = 1;
  for (unsigned i = 0;; i++) {
    unsigned slot = (seed = seed * 1103515245u + 12345u) / 65536 % SLOTS;
    if (slots[slot] != NULL && mheap_free(heap, slots[slot]) != MHEAP_OK) _exit(1);
    size_t size = seed % 97 == 0 ? 5 << 20 : seed % 11 == 0 ? 150000 : seed % 3000;
    slots[slot] = mheap_malloc(heap, size);
    if (i == 1000 && write(ready, "!", 1) != 1) _exit(1);
  }
}

/* Starts a process that allocates and frees in the heap at `path`; returns once it does. */
static pid_t start_writer(const char *path) {
  int pipes[2];
  char signal;
  if (pipe(pipes) != 0) return -1;
  pid_t writer = fork();
  if (writer == 0) allocate_for_ever(path, pipes[1]);
  close(pipes[1]);
  bool ready = read(pipes[0], &signal, 1) == 1;
  close(pipes[0]);
  return ready ? writer : -1;
}

/* A writer that the system lets wait in the midst of a call looks as if it had been killed there. */
static unsigned waits;
enum { WAITS_MOST = 20 };

static void check_until_it_goes_on(mheap *heap, findings *all) {
  for (int i = 0; i < 10 && all->notes > 0; i++) {
    waits++;
    usleep(20000);
    *all = (findings){.print = true};
    CHECK_EQ(mheap_check(heap, collect, NULL, all), MHEAP_OK);
  }
  CHECK_EQ(all->notes, 0);
}

static void check_beside(const char *path, bool unsafe) {
  mheap_error error;
  mheap_options options = {.mode = MHEAP_MODE_READONLY, .unsafe = unsafe, .timeout = 10};
  mheap *heap = mheap_open(path, &options, &error);
  if (!CHECK(heap != NULL)) {
    fprintf(stderr, "%s\n", error.text);
    return;
  }
  findings all = {.print = true};
  CHECK_EQ(mheap_check(heap, collect, NULL, &all), MHEAP_OK);
  if (unsafe) check_until_it_goes_on(heap, &all);
  CHECK_EQ(mheap_detach(heap, &error), MHEAP_OK);
}

static void a_live_writer_causes_no_findings(void) {
  const char *path = test_path("churn.heap");
  pid_t writer = start_writer(path);
  REQUIRE(writer > 0);
  for (int i = 0; i < 60; i++) check_beside(path, true);
  CHECK(waits <= WAITS_MOST);
  CHECK_EQ(kill(writer, SIGKILL), 0);
  CHECK_EQ(waitpid(writer, NULL, 0), writer);
  check_beside(path, false); /* nor does its death */
}

TEST_MAIN(TEST(a_sound_heap_has_no_findings), TEST(a_writer_may_check_its_own_heap),
          TEST(progress_reaches_the_end), TEST(each_field_of_the_superblock_is_checked),
          TEST(each_bit_of_the_identity_is_covered), TEST(reserved_fields_of_the_identity_must_be_zero),
          TEST(the_owner_of_an_open_heap_is_checked), TEST(keys_must_point_into_blocks_in_use),
          TEST(rows_of_heaps_and_arenas_are_checked), TEST(words_of_the_map_are_checked),
          TEST(headers_of_segments_are_checked), TEST(descriptors_of_slices_are_checked),
          TEST(bitmaps_are_checked), TEST(a_directory_and_its_parts_are_checked),
          TEST(no_flipped_bit_ends_the_check), TEST(no_random_bytes_end_the_check),
          TEST(a_file_cut_short_is_a_finding_and_no_signal), TEST(the_check_writes_nothing),
          TEST(only_what_is_found_every_time_is_reported), TEST(a_live_writer_causes_no_findings))
