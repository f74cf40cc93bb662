/* test_hostile.c: whatever a file says, attaching and using it comes back.

   A few heaps are made in memory files. Each stored field gets each boundary value, each bit of
   a small heap is flipped; then the file is attached (live, read-only, scratch, salvaging) and
   either refused, with a named error and its bytes as they were, or used by every kind of call.
   That happens in child processes with an alarm: a crash or a hang is counted, and told with
   the field and the value.

   A build with a sanitizer, being slow, takes a sample. MHEAP_HOSTILE=all: everything (minutes),
   MHEAP_HOSTILE=N: every Nth trial. */
#include <inttypes.h>

#include "classes.h"
#include "decode.h"
#include "heap.h"
#include "image.h"
#include "map.h"
#include "segment.h"
#include "superblock.h"
#include "use.h"

enum { SECONDS = 30 }; /* that a trial may take */

/* A check confirms what it found when a writer had time to end what it does. Here none writes beside it. */
static unsigned rests;
void __wrap_mh_os_sleep(double seconds);
void __wrap_mh_os_sleep(double seconds) { rests += seconds > 0; }

/* ---- the heaps ---- */

typedef struct patient {
  int fd;
  image bytes;
  uint64_t slab, span, gap, huge; /* slices of segment 0; segment */
  uint64_t name, root;            /* offsets, of a named heap */
} patient;

static mheap *attach_or_die(int fd, const mheap_options *options) {
  mheap_error error;
  mheap *heap = mheap_attach(fd, options, &error);
  if (heap != NULL) return heap;
  fprintf(stderr, "%s\n", error.text);
  exit(2);
}

static uint64_t offset_in(mheap *heap, const void *block) {
  mheap_info info;
  mheap_get_info(heap, &info);
  return (uint64_t)(uintptr_t)block - info.base;
}

static uint64_t slice_of(mheap *heap, const void *block) {
  return (offset_in(heap, block) - MH_SLICE) / MH_SLICE;
}

/* Slabs of some classes, a span, free slices between, keys, a named root. */
static void fill(mheap *heap, patient *p) {
  void *small = NULL;
  for (int i = 0; i < 200; i++) {
    small = mheap_malloc(heap, 64);
    if (i % 3 == 0) mheap_free(heap, small);
  }
  for (int i = 0; i < 20; i++) memset(mheap_malloc(heap, 1000), i, 1000);
  void *span = mheap_malloc(heap, 70000), *gap = mheap_malloc(heap, 140000);
  CHECK(mheap_malloc(heap, 66000) != NULL);
  p->slab = slice_of(heap, small);
  p->span = slice_of(heap, span);
  p->gap = slice_of(heap, gap);
  mheap_free(heap, gap);
  mheap_setkey(heap, 0, small);
  mheap_setkey(heap, 1, span);
  CHECK_EQ(mheap_setroot(heap, "name", 4, small), MHEAP_OK);
  mh_space space = {0};
  mh_dict root = {0};
  mh_space_init(&space, heap);
  if (CHECK_EQ(mh_root(&space, true, &root), MHEAP_OK)) use_store_objects(&space, &root);
}

static void fill_more(mheap *heap, patient *p) {
  for (int i = 0; i < 5; i++)
    CHECK(mheap_malloc(heap, 1000000) != NULL); /* so there are two segments of slices */
  char *huge = mheap_malloc(heap, 9000000);
  p->huge = (offset_in(heap, huge) - MH_SLICE) / MH_SEGMENT;
  CHECK(mheap_malloc(heap, 5000000) != NULL);
  mheap_setkey(heap, 2, huge);
}

static patient small_patient(void) {
  patient p = {.fd = memory_file("small")};
  mheap *heap = attach_or_die(p.fd, NULL);
  fill(heap, &p);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  p.bytes = image_of(p.fd);
  return p;
}

static patient large_patient(void) {
  patient p = {.fd = memory_file("large")};
  mheap *heap = attach_or_die(p.fd, NULL);
  fill(heap, &p);
  fill_more(heap, &p);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  p.bytes = image_of(p.fd);
  return p;
}

/* Arenas of each kind, heaps in each and beside, of which one was destroyed and one deleted by a process
   that was killed then. */
static patient places_patient(void) {
  static const mheap_arena_options how[] = {{.exclusive = true}, {0}, {.exclusive = true, .commit = true}};
  patient p = {.fd = memory_file("places")};
  mheap *heap = attach_or_die(p.fd, NULL);
  mheap_arena arenas[3] = {0};
  for (int i = 0; i < 3; i++)
    CHECK_EQ(mheap_arena_reserve(heap, (3 - (size_t)i) * MH_SEGMENT, &how[i], &arenas[i]), MHEAP_OK);
  fill(heap, &p);
  for (int i = 0; i < 6; i++) {
    mheap *other = mheap_new(heap, 3 * i, i != 5, i == 0 ? arenas[0] : i == 1 ? arenas[2] : 0);
    if (!CHECK(other != NULL)) exit(2);
    for (unsigned n = 0; n < 14 - 10 * (i == 1); n++) CHECK(mheap_malloc(other, use_size(n)) != NULL);
    if (i == 2) p.huge = (offset_in(heap, mheap_malloc(other, 9000000)) - MH_SLICE) / MH_SEGMENT;
    if (i == 3) mh_heap_row_of(other)->head |= MH_HEAP_DESTROYED;
    if (i == 4) mh_heap_row_of(other)->head |= MH_HEAP_DELETED;
  }
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  p.bytes = image_of(p.fd);
  return p;
}

/* Of the names one is inline; one heap was destroyed, and one made, by processes that were killed then. */
static patient named_patient(void) {
  static const char *const names[] = {"short", "a name that has a block", "destroyed", "half made"};
  patient p = {.fd = memory_file("named")};
  mheap *heap = attach_or_die(p.fd, NULL);
  fill(heap, &p);
  for (int i = 0; i < 4; i++) {
    mh_space space = {0};
    mh_dict root = {0};
    mheap *named = mheap_new_named(heap, names[i], strlen(names[i]), i, 0);
    if (!CHECK(named != NULL)) exit(2);
    mh_space_init(&space, named);
    if (CHECK_EQ(mh_root(&space, true, &root), MHEAP_OK)) use_store_objects(&space, &root);
    CHECK(mheap_malloc(named, 100) != NULL);
    if (i == 1) p.name = mh_heap_row_of(named)->name & ~(uint64_t)15, p.root = root.offset;
    if (i == 2) mh_heap_row_of(named)->head |= MH_HEAP_DESTROYED;
    if (i == 3) mh_heap_row_of(named)->head = 0;
  }
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  p.bytes = image_of(p.fd);
  return p;
}

/* As a writer leaves it that is killed. */
static patient crashed_patient(void) {
  patient p = {.fd = memory_file("crashed")};
  mheap *heap = attach_or_die(p.fd, NULL);
  fill(heap, &p);
  mheap_abandon(heap);
  p.bytes = image_of(p.fd);
  CHECK_EQ(file_word(p.fd, offsetof(mh_superblock, state)), MH_STATE_OPEN);
  return p;
}

static void ignore_overrun(mheap *heap, void *block, mheap_probe status) {
  (void)heap, (void)block, (void)status;
}

/* Blocks with guards around them. */
static patient guarded_patient(void) {
  patient p = {.fd = memory_file("guarded")};
  mheap *heap = attach_or_die(p.fd, NULL);
  CHECK_EQ(mheap_mcheck(heap, ignore_overrun, false), MHEAP_OK);
  for (int i = 0; i < 16; i++) {
    void *block = mheap_memalign(heap, (size_t)16 << i % 6, 40 + 30 * (size_t)i);
    p.slab = slice_of(heap, block);
    CHECK_EQ(mheap_setkey(heap, i % 8, block), MHEAP_OK);
  }
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  p.bytes = image_of(p.fd);
  return p;
}

static void end_patient(patient *p) {
  close(p->fd);
  image_free(&p->bytes);
}

/* ---- attaching what was changed ---- */

typedef enum way { LIVE, READONLY, SCRATCH, SALVAGE, WAYS } way;
static const char *const way_names[] = {"live", "readonly", "scratch", "salvage"};

static mheap_options options_of(way how) {
  mheap_options options = {.mode = how == READONLY  ? MHEAP_MODE_READONLY
                                   : how == SCRATCH ? MHEAP_MODE_SCRATCH
                                                    : MHEAP_MODE_LIVE};
  options.salvage = how == SALVAGE;
  return options;
}

/* Refused in words, or used; `state` is the file as it was given to attach. */
static mheap_err attach_and_use(int fd, way how, uint64_t turn, const image *state) {
  mheap_error error = {0};
  mheap_options options = options_of(how);
  mheap *heap = mheap_attach(fd, &options, &error);
  if (heap == NULL) {
    CHECK(error.code > MHEAP_ERR_SYSTEM && error.code < MHEAP_ERR_COUNT_);
    CHECK_CONTAINS(error.text, "memfd:");
    CHECK(strlen(error.text) > 30 && strchr(error.text, '\n') == NULL);
    if (state != NULL) CHECK_EQ(image_differs(state, fd), UINT64_MAX);
    return error.code;
  }
  use_heap(heap, how != READONLY, turn);
  if (mheap_detach(heap, &error) != MHEAP_OK) mheap_abandon(heap);
  if (how == READONLY && state != NULL) CHECK_EQ(image_differs(state, fd), UINT64_MAX);
  return MHEAP_OK;
}

/* What such a file became is attached again; it may be refused now. */
static mheap_err try_file(trials *results, int fd, uint64_t number) {
  image state = image_of(fd);
  mheap_err code = attach_and_use(fd, number % WAYS, number / WAYS, &state);
  image_free(&state);
  if (code == MHEAP_OK) {
    attach_and_use(fd, READONLY, 0, NULL);
    results->worked++;
  } else results->refused[code]++;
  return code;
}

/* One trial in so many. */
static uint64_t stride(uint64_t plain, uint64_t sanitized) {
  const char *wish = getenv("MHEAP_HOSTILE");
  if (wish == NULL) return TEST_SANITIZED ? (sanitized * TEST_SANITIZED) | 1 : plain;
  return strcmp(wish, "all") == 0 ? 1 : strtoull(wish, NULL, 10);
}

/* ---- fields ---- */

typedef struct field {
  const char *name;
  uint64_t at;
  unsigned width;
} field;

#define SUPER(field) {#field, offsetof(mh_superblock, field), sizeof(((mh_superblock *)0)->field)}
#define IDENTITY(field) {"identity." #field, offsetof(mh_identity, field), sizeof(((mh_identity *)0)->field)}
#define OWNER(field)                                                            \
  {"owner." #field, offsetof(mh_superblock, owner) + offsetof(mh_owner, field), \
   sizeof(((mh_owner *)0)->field)}
#define ROW(what, table, row, type, field) \
  {what "." #field, (table) + (row) * sizeof(type) + offsetof(type, field), 8}

static const field superblock_fields[] = {
    IDENTITY(magic),
    IDENTITY(byte_order),
    IDENTITY(version),
    IDENTITY(word_size),
    IDENTITY(compat),
    IDENTITY(rocompat),
    IDENTITY(incompat),
    IDENTITY(uuid),
    IDENTITY(hash_seed),
    IDENTITY(slice_bits),
    IDENTITY(segment_bits),
    IDENTITY(segment0),
    IDENTITY(map_offset),
    IDENTITY(heap_table),
    IDENTITY(heap_rows),
    IDENTITY(arena_rows),
    IDENTITY(arena_table),
    IDENTITY(key_table),
    IDENTITY(key_rows),
    IDENTITY(size_classes),
    IDENTITY(superseded_by),
    IDENTITY(fingerprint),
    IDENTITY(encryption),
    IDENTITY(page_sums),
    IDENTITY(relocations),
    IDENTITY(created_ns),
    IDENTITY(reserved),
    IDENTITY(checksum),
    OWNER(boot_id),
    OWNER(device),
    OWNER(inode),
    OWNER(mount_id),
    OWNER(pid),
    OWNER(mode),
    OWNER(reserved),
    OWNER(checksum),
    SUPER(state),
    SUPER(size),
    SUPER(generation),
    SUPER(epoch),
    SUPER(base),
    SUPER(placement),
    SUPER(reserved_base),
    SUPER(max_size),
    SUPER(map_directory),
    SUPER(root),
    SUPER(names),
    SUPER(journal),
    SUPER(journal_size),
    SUPER(birth),
    SUPER(registry),
    SUPER(reserved),
    {"key 0", MH_KEYS_OFFSET, 8},
    {"key 1", MH_KEYS_OFFSET + 8, 8},
    {"last key", MH_HEAPS_OFFSET - 8, 8},
    ROW("heap 0", MH_HEAPS_OFFSET, 0, mh_heap_row, head),
    ROW("heap 0", MH_HEAPS_OFFSET, 0, mh_heap_row, arena),
    ROW("heap 0", MH_HEAPS_OFFSET, 0, mh_heap_row, name),
    ROW("heap 0", MH_HEAPS_OFFSET, 0, mh_heap_row, root),
    ROW("heap 0", MH_HEAPS_OFFSET, 0, mh_heap_row, objects),
    ROW("heap 0", MH_HEAPS_OFFSET, 0, mh_heap_row, birth),
    ROW("heap 1", MH_HEAPS_OFFSET, 1, mh_heap_row, objects),
    ROW("heap 1", MH_HEAPS_OFFSET, 1, mh_heap_row, head),
    ROW("heap 1", MH_HEAPS_OFFSET, 1, mh_heap_row, arena),
    ROW("heap 127", MH_HEAPS_OFFSET, 127, mh_heap_row, head),
    ROW("arena 0", MH_ARENAS_OFFSET, 0, mh_arena_row, head),
    ROW("arena 0", MH_ARENAS_OFFSET, 0, mh_arena_row, start),
    ROW("arena 0", MH_ARENAS_OFFSET, 0, mh_arena_row, count),
    ROW("arena 0", MH_ARENAS_OFFSET, 0, mh_arena_row, reserved),
    ROW("arena 1", MH_ARENAS_OFFSET, 1, mh_arena_row, head),
    ROW("arena 1", MH_ARENAS_OFFSET, 1, mh_arena_row, start),
    ROW("arena 1", MH_ARENAS_OFFSET, 1, mh_arena_row, count),
    {"arena 63", MH_MAP_OFFSET - 8192 - 64, 8},
};

static uint64_t header_at(uint64_t segment) { return mh_segment_offset(segment); }
static uint64_t head_at(uint64_t segment, uint64_t slice) {
  return header_at(segment) + offsetof(mh_segment_header, slice) + sizeof(mh_slice) * (slice - 1);
}
static uint64_t bits_at(uint64_t slice) {
  return header_at(0) + offsetof(mh_segment_header, bitmaps) + sizeof(mh_bitmaps) * slice;
}

enum { FIELDS = 320 };

typedef struct fields {
  unsigned count;
  field list[FIELDS];
} fields;

static void add(fields *all, const char *name, uint64_t at) {
  if (CHECK(all->count < FIELDS)) all->list[all->count++] = (field){name, at, 8};
}

static void add_words_of_the_map(fields *all, const patient *p) {
  for (uint64_t segment = 0; segment < 8; segment++) add(all, "map word", MH_MAP_OFFSET + 8 * segment);
  add(all, "last map word of the first part", MH_SLICE - 8);
  add(all, "head of a huge span", MH_MAP_OFFSET + 8 * p->huge);
}

static void add_segment(fields *all, uint64_t segment) {
  add(all, "segment.magic", header_at(segment) + offsetof(mh_segment_header, magic));
  add(all, "segment.index", header_at(segment) + offsetof(mh_segment_header, index));
  add(all, "segment.uuid", header_at(segment) + offsetof(mh_segment_header, uuid));
  add(all, "segment.reserved", header_at(segment) + offsetof(mh_segment_header, reserved));
  add(all, "head of slice 1", head_at(segment, 1));
  add(all, "head of slice 63", head_at(segment, 63));
}

static void add_slices(fields *all, const patient *p) {
  const uint64_t slices[] = {p->slab, p->span, p->span + 1, p->gap, p->gap + 1};
  for (int i = 0; i < 5; i++) {
    add(all, "slice.head", head_at(0, slices[i]));
    add(all, "slice.owner", head_at(0, slices[i]) + offsetof(mh_slice, owner));
    add(all, "slice.reserved", head_at(0, slices[i]) + offsetof(mh_slice, reserved));
    add(all, "alloc, word 0", bits_at(slices[i]));
    add(all, "freed, word 0", bits_at(slices[i]) + offsetof(mh_bitmaps, freed));
  }
  const uint64_t words[] = {1, 15, 16, 59}; /* of a slab of 64-byte blocks: 16 in use */
  for (int i = 0; i < 4; i++) {
    add(all, "alloc", bits_at(p->slab) + 8 * words[i]);
    add(all, "freed", bits_at(p->slab) + offsetof(mh_bitmaps, freed) + 8 * words[i]);
  }
  add(all, "bitmap of the header", bits_at(0));
}

static fields fields_of_places(const patient *p) {
  fields all = {0};
  for (uint64_t row = 0; row < 9; row++)
    for (uint64_t at = 0; at < sizeof(mh_heap_row); at += 8)
      add(&all, "row of a heap", MH_HEAPS_OFFSET + row * sizeof(mh_heap_row) + at);
  for (uint64_t row = 0; row < 5; row++)
    for (uint64_t at = 0; at < 32; at += 8)
      add(&all, "row of an arena", MH_ARENAS_OFFSET + row * sizeof(mh_arena_row) + at);
  for (uint64_t segment = 0; segment < 20; segment++) add(&all, "map word", MH_MAP_OFFSET + 8 * segment);
  add(&all, "head of a huge span", MH_MAP_OFFSET + 8 * p->huge);
  add(&all, "features", offsetof(mh_identity, rocompat));
  for (uint64_t segment = 0; segment < 7; segment++)
    for (uint64_t slice = 1; slice < 16; slice++) add(&all, "slice.head", head_at(segment, slice));
  return all;
}

static fields fields_of_named_heaps(const patient *p) {
  fields all = {0};
  for (uint64_t row = 0; row < 11; row++)
    for (uint64_t at = 0; at < sizeof(mh_heap_row); at += 8)
      add(&all, "row of a heap", MH_HEAPS_OFFSET + row * sizeof(mh_heap_row) + at);
  for (uint64_t at = 0; at < 24; at += 8) add(&all, "name of a heap", p->name + at);
  for (uint64_t at = 0; at < 32; at += 8) add(&all, "root of a heap", p->root + at);
  add(&all, "features", offsetof(mh_identity, rocompat));
  add(&all, "superblock.root", offsetof(mh_superblock, root));
  add(&all, "superblock.birth", offsetof(mh_superblock, birth));
  for (uint64_t slice = 1; slice < 30; slice++) add(&all, "slice.head", head_at(0, slice));
  return all;
}

static fields all_fields(const patient *p) {
  fields all = {0};
  for (size_t i = 0; i < sizeof superblock_fields / sizeof superblock_fields[0]; i++)
    all.list[all.count++] = superblock_fields[i];
  add_words_of_the_map(&all, p);
  add_segment(&all, 0);
  add_segment(&all, 1);
  add_slices(&all, p);
  return all;
}

/* ---- values ---- */

static const uint64_t fixed_values[] = {0,
                                        1,
                                        2,
                                        3,
                                        7,
                                        8,
                                        15,
                                        16,
                                        63,
                                        64,
                                        80,
                                        127,
                                        128,
                                        255,
                                        4095,
                                        4096,
                                        12345,
                                        65535,
                                        65536,
                                        65537,
                                        131072,
                                        4194304,
                                        0x7fffffff,
                                        0x80000000,
                                        0xfffffffe,
                                        0xffffffff,
                                        0x100000000,
                                        ((uint64_t)1 << 47) - 65536,
                                        (uint64_t)1 << 47,
                                        ((uint64_t)1 << 47) + 65536,
                                        INT64_MAX,
                                        (uint64_t)INT64_MIN,
                                        UINT64_MAX - 65535,
                                        UINT64_MAX - 1,
                                        UINT64_MAX};

enum {
  FIXED = sizeof fixed_values / sizeof fixed_values[0],
  RELATIVE = 18,
  OTHERS = 6,
  VALUES = FIXED + RELATIVE + OTHERS + 64
};

/* The offsets of what the fields of another heap lead to are values, too: references from heap to heap. */
static uint64_t of_others[6];

static void note_others(const patient *p) {
  for (uint64_t i = 0; i < 3; i++) {
    of_others[2 * i] = file_word(p->fd, MH_HEAPS_OFFSET + (2 * i + 3) * sizeof(mh_heap_row) + 24);
    of_others[2 * i + 1] = file_word(p->fd, MH_HEAPS_OFFSET + (2 * i + 3) * sizeof(mh_heap_row) + 16);
  }
  of_others[4] = file_word(p->fd, offsetof(mh_superblock, root));
}

/* The nth value for a field that holds `old`, in a file of `size` bytes. */
static uint64_t value_of(unsigned n, uint64_t old, uint64_t size) {
  if (n < FIXED) return fixed_values[n];
  if (n >= FIXED + RELATIVE + OTHERS) return old ^ (uint64_t)1 << (n - FIXED - RELATIVE - OTHERS);
  if (n >= FIXED + RELATIVE) return of_others[n - FIXED - RELATIVE];
  const uint64_t relative[RELATIVE] = {old - 1,         old + 1,  old - 16, old + 16,  old - MH_SLICE,
                                       old + MH_SLICE,  old * 2,  ~old,     old << 8,  size,
                                       size - 1,        size + 1, size - 8, size - 16, size - MH_SLICE,
                                       size + MH_SLICE, size / 2, size * 2};
  return relative[n - FIXED];
}

typedef struct field_trials {
  trials *results;
  patient *patient;
  fields fields;
  uint64_t stride;
} field_trials;

typedef struct field_trial {
  field field;
  uint64_t value;
  way how;
  bool sealed; /* checksums made right */
} field_trial;

/* One in two is sealed; for fields that no checksum covers these are the same. */
static field_trial field_trial_of(const field_trials *all, uint64_t number) {
  uint64_t n = number * all->stride;
  field_trial it = {.how = n % WAYS, .field = all->fields.list[n / WAYS / VALUES / 2 % all->fields.count]};
  it.sealed = n / WAYS / VALUES % 2 == 0;
  it.value = value_of(n / WAYS % VALUES, file_word(all->patient->fd, it.field.at), all->patient->bytes.size);
  return it;
}

static uint64_t field_trial_count(const field_trials *all) {
  return (uint64_t)all->fields.count * VALUES * WAYS * 2 / all->stride;
}

static void field_trial_name(void *arg, uint64_t number, char *name, size_t size) {
  field_trials *all = arg;
  image_put(&all->patient->bytes, all->patient->fd);
  field_trial it = field_trial_of(all, number);
  snprintf(name, size, "%s (offset 0x%" PRIx64 ") := 0x%" PRIx64 ", %s%s", it.field.name, it.field.at,
           it.value, way_names[it.how], it.sealed ? ", sealed" : "");
}

static bool is_covered(const field *it) { return it->at < sizeof(mh_identity); }

static void run_field_trial(void *arg, uint64_t number) {
  field_trials *all = arg;
  int fd = all->patient->fd;
  image_put(&all->patient->bytes, fd);
  field_trial it = field_trial_of(all, number);
  unsigned width = it.field.width < 8 ? it.field.width : 8, before = test_failures;
  uint64_t mask = width == 8 ? UINT64_MAX : ((uint64_t)1 << 8 * width) - 1;
  if ((file_word(fd, it.field.at) & mask) == (it.value & mask)) return;
  bool covers = it.field.at < offsetof(mh_superblock, state);
  if (it.sealed && !covers) return; /* the same as unsealed */
  file_set(fd, it.field.at, it.value, width);
  if (it.sealed) file_seal(fd);
  mheap_err code = try_file(all->results, fd, number * all->stride);
  if (is_covered(&it.field) && !it.sealed) CHECK(code != MHEAP_OK);
  char name[256];
  if (test_failures == before) return;
  field_trial_name(arg, number, name, sizeof name);
  fprintf(stderr, "  with %s: %s\n", name, mheap_err_name(code));
}

static void try_fields(patient *p, fields list, uint64_t every) {
  field_trials all = {.results = trials_new(), .patient = p, .fields = list, .stride = every};
  trials_run(all.results, run_field_trial, field_trial_name, &all, field_trial_count(&all), SECONDS);
  trials_print(all.results);
  CHECK_EQ(all.results->crashed + all.results->hung, 0);
  CHECK_EQ(all.results->failures, 0);
  CHECK(all.results->worked > 100 / every); /* else nothing was used */
  CHECK(trials_refused(all.results) > 100 / every);
  end_patient(p);
}

static void each_field_with_each_value(void) {
  patient p = large_patient();
  try_fields(&p, all_fields(&p), stride(47, 167));
}

static void each_field_of_a_crashed_heap(void) {
  patient p = crashed_patient();
  try_fields(&p, all_fields(&p), stride(101, 311));
}

static void each_field_of_named_heaps(void) {
  patient p = named_patient();
  note_others(&p);
  try_fields(&p, fields_of_named_heaps(&p), stride(31, 409));
  memset(of_others, 0, sizeof of_others);
}

static void each_field_of_arenas_and_heaps(void) {
  patient p = places_patient();
  try_fields(&p, fields_of_places(&p), stride(61, 409));
}

/* ---- bits ---- */

typedef struct bit_trials {
  trials *results;
  patient *patient;
  uint64_t from, stride;
} bit_trials;

static void bit_trial_name(void *arg, uint64_t number, char *name, size_t size) {
  bit_trials *all = arg;
  uint64_t bit = all->from * 8 + number * all->stride;
  snprintf(name, size, "bit %u of byte 0x%" PRIx64 ", %s", (unsigned)(bit % 8), bit / 8,
           way_names[number % WAYS]);
}

static void run_bit_trial(void *arg, uint64_t number) {
  bit_trials *all = arg;
  uint64_t bit = all->from * 8 + number * all->stride, at = bit / 8 & ~(uint64_t)7;
  image_put(&all->patient->bytes, all->patient->fd);
  file_set(all->patient->fd, at, file_word(all->patient->fd, at) ^ (uint64_t)1 << (bit - at * 8), 8);
  unsigned before = test_failures;
  mheap_err code = try_file(all->results, all->patient->fd, number);
  if (bit / 8 < sizeof(mh_identity)) CHECK(code != MHEAP_OK);
  char name[256];
  if (test_failures == before) return;
  bit_trial_name(arg, number, name, sizeof name);
  fprintf(stderr, "  with %s\n", name);
}

static void flip(patient *p, uint64_t from, uint64_t to, uint64_t every) {
  bit_trials all = {.results = trials_new(), .patient = p, .from = from, .stride = every};
  trials_run(all.results, run_bit_trial, bit_trial_name, &all, (to - from) * 8 / every, SECONDS);
  trials_print(all.results);
  CHECK_EQ(all.results->crashed + all.results->hung, 0);
  CHECK_EQ(all.results->failures, 0);
  CHECK(all.results->worked > 0);
}

/* Strides are odd, so that every bit of a byte and every way gets its turn. */
static void each_bit_of_a_small_heap(void) {
  patient p = small_patient();
  flip(&p, 0, 4096, stride(61, 311));
  flip(&p, 0, 2 * MH_SLICE, stride(2411, 14009));
  flip(&p, 2 * MH_SLICE, p.bytes.size, stride(29989, 149993));
  end_patient(&p);
}

static void each_bit_of_a_guarded_heap(void) {
  patient p = guarded_patient();
  flip(&p, 2 * MH_SLICE, p.bytes.size, stride(7993, 29989));
  end_patient(&p);
}

/* ---- shapes that one field does not make ---- */

typedef struct shape {
  const char *name;
  void (*make)(patient *p);
  uint64_t size; /* the file is made so long, sparse */
} shape;

static void set_word(patient *p, uint64_t at, uint64_t word) { file_set(p->fd, at, word, 8); }

static void grow_file(patient *p, uint64_t size) {
  CHECK_EQ(ftruncate(p->fd, (off_t)size), 0);
  set_word(p, offsetof(mh_superblock, size), size);
}

static uint64_t big_size(void) { return MH_SLICE + 4100 * MH_SEGMENT; }

/* Its last words would be in a part of the map that is not there. */
static void huge_span_without_words(patient *p) {
  grow_file(p, big_size());
  set_word(p, MH_SLICE - 8, mh_map_huge(0, 0, 1, 4));
  set_word(p, MH_KEYS_OFFSET, mh_segment_offset(4095));
}

static void huge_span_over_everything(patient *p) {
  grow_file(p, MH_SLICE + 10 * MH_SEGMENT);
  set_word(p, MH_MAP_OFFSET, mh_map_huge(0, 0, 1024, 10));
  set_word(p, MH_KEYS_OFFSET, MH_SLICE);
}

static void no_first_segment(patient *p) { set_word(p, MH_MAP_OFFSET, 0); }

static void first_segment_is_a_body(patient *p) { set_word(p, MH_MAP_OFFSET, mh_map_body(1)); }

static void nothing_but_free_segments(patient *p) {
  set_word(p, MH_MAP_OFFSET, 0);
  grow_file(p, big_size());
}

static void directory_is_the_superblock_of_parts(patient *p) {
  grow_file(p, big_size());
  set_word(p, offsetof(mh_superblock, map_directory), 2 * MH_SLICE);
  for (uint64_t i = 0; i < 8; i++) set_word(p, 2 * MH_SLICE + 8 * i, MH_SLICE);
}

static void directory_is_a_header(patient *p) {
  grow_file(p, big_size());
  set_word(p, offsetof(mh_superblock, map_directory), MH_SLICE);
}

static void directory_names_itself(patient *p) {
  grow_file(p, big_size());
  set_word(p, offsetof(mh_superblock, map_directory), 2 * MH_SLICE);
  for (uint64_t i = 0; i < 8; i++) set_word(p, 2 * MH_SLICE + 8 * i, 2 * MH_SLICE);
}

static void all_slices_are_internal(patient *p) {
  for (uint64_t i = 1; i < MH_SEGMENT_SLICES; i++) set_word(p, head_at(0, i), mh_head_internal(1));
  grow_file(p, MH_SLICE + MH_SEGMENT);
}

static void all_slices_are_slabs_in_use(patient *p) {
  grow_file(p, MH_SLICE + MH_SEGMENT);
  for (uint64_t i = 1; i < MH_SEGMENT_SLICES; i++) {
    set_word(p, head_at(0, i), mh_head_slab(0, 0));
    for (uint64_t at = 0; at < MH_BITMAP_BYTES; at += 8) set_word(p, bits_at(i) + at, UINT64_MAX);
  }
}

static void lost_size(patient *p) { set_word(p, offsetof(mh_superblock, size), 0); }

static void lost_size_and_placement(patient *p) {
  lost_size(p);
  set_word(p, offsetof(mh_superblock, placement), 0);
}

static void smaller_than_its_content(patient *p) {
  set_word(p, offsetof(mh_superblock, size), MH_REGION_MIN);
}

static void last_epoch(patient *p) {
  set_word(p, offsetof(mh_superblock, epoch), UINT32_MAX - 1);
  set_word(p, offsetof(mh_superblock, state), MH_STATE_OPEN);
}

static void gigabytes_of_nothing(patient *p) { grow_file(p, (uint64_t)1 << 36); }

static void segments_all_alike(patient *p) {
  grow_file(p, MH_SLICE + 200 * MH_SEGMENT);
  for (uint64_t i = 1; i < 200; i++) set_word(p, MH_MAP_OFFSET + 8 * i, mh_map_slices(0, 0, 0));
}

static const shape shapes[] = {
    {"a huge span whose words have no part of the map", huge_span_without_words, 0},
    {"a huge span over everything", huge_span_over_everything, 0},
    {"segment 0 is free", no_first_segment, 0},
    {"segment 0 is a body", first_segment_is_a_body, 0},
    {"nothing but free segments", nothing_but_free_segments, 0},
    {"parts of the map lie in a header", directory_is_the_superblock_of_parts, 0},
    {"the directory is a header", directory_is_a_header, 0},
    {"the directory names itself", directory_names_itself, 0},
    {"all slices are internal", all_slices_are_internal, 0},
    {"all slices are slabs, all blocks in use", all_slices_are_slabs_in_use, 0},
    {"the size is lost", lost_size, 0},
    {"the size and the placement are lost", lost_size_and_placement, 0},
    {"the size is less than the content", smaller_than_its_content, 0},
    {"the last epoch", last_epoch, 0},
    {"gigabytes of nothing", gigabytes_of_nothing, 0},
    {"two hundred segments without headers", segments_all_alike, 0},
};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

static void shape_name(void *arg, uint64_t number, char *name, size_t size) {
  (void)arg;
  snprintf(name, size, "%s, %s, turn %d", shapes[number / WAYS % SHAPES].name, way_names[number % WAYS],
           (int)(number / WAYS / SHAPES));
}

static void run_shape(void *arg, uint64_t number) {
  bit_trials *all = arg;
  image_put(&all->patient->bytes, all->patient->fd);
  uint64_t turn = number / WAYS / SHAPES;
  shapes[number / WAYS % SHAPES].make(all->patient);
  unsigned before = test_failures;
  mheap_err code = try_file(all->results, all->patient->fd, number % WAYS + turn * WAYS);
  char name[256];
  shape_name(arg, number, name, sizeof name);
  if (test_failures > before || getenv("MHEAP_HOSTILE") != NULL)
    fprintf(stderr, "  %s: %s\n", name, code == MHEAP_OK ? "worked" : mheap_err_name(code));
}

static void shapes_no_heap_has(void) {
  patient p = small_patient();
  bit_trials all = {.results = trials_new(), .patient = &p};
  unsigned turns = TEST_SANITIZED > 1 ? 2 : 4;
  trials_run(all.results, run_shape, shape_name, &all, (uint64_t)SHAPES * WAYS * turns, SECONDS);
  trials_print(all.results);
  CHECK_EQ(all.results->crashed + all.results->hung, 0);
  CHECK_EQ(all.results->failures, 0);
  end_patient(&p);
}

/* ---- random bytes ---- */

static void noise_name(void *arg, uint64_t number, char *name, size_t size) {
  (void)arg;
  snprintf(name, size, "noise %" PRIu64 ", %s", number, way_names[number % WAYS]);
}

/* Several words of the metadata at once. */
static void run_noise(void *arg, uint64_t number) {
  bit_trials *all = arg;
  patient *p = all->patient;
  image_put(&p->bytes, p->fd);
  srandom((unsigned)number);
  for (int i = 0; i < 1 << number % 8; i++) {
    uint64_t at = (uint64_t)random() % 4 == 0 ? (uint64_t)random() % 32 * 8 + 320
                                              : (uint64_t)random() % (2 * MH_SLICE / 8) * 8;
    if ((uint64_t)random() % 3 == 0) at = head_at(0, 1 + (uint64_t)random() % 63);
    if (at < sizeof(mh_identity)) continue;
    set_word(p, at, (uint64_t)random() << random() % 60);
  }
  file_seal(p->fd);
  try_file(all->results, p->fd, number);
}

static void noise_in_the_metadata(void) {
  patient p = small_patient();
  bit_trials all = {.results = trials_new(), .patient = &p};
  trials_run(all.results, run_noise, noise_name, &all, 4000 / stride(8, 40), SECONDS);
  trials_print(all.results);
  CHECK_EQ(all.results->crashed + all.results->hung, 0);
  CHECK_EQ(all.results->failures, 0);
  end_patient(&p);
}

/* ---- controls ---- */

/* Without a change every way works, and the calls find what is there. */
static void untouched_heaps_work(void) {
  patient all[] = {small_patient(), large_patient(), guarded_patient(), crashed_patient()};
  trials *results = trials_new();
  for (int i = 0; i < 4; i++) {
    for (uint64_t n = 0; n < 4 * WAYS; n++) {
      image_put(&all[i].bytes, all[i].fd);
      CHECK_EQ(try_file(results, all[i].fd, n), MHEAP_OK);
    }
    image_put(&all[i].bytes, all[i].fd);
    mheap *heap = attach_or_die(all[i].fd, &(mheap_options){.mode = MHEAP_MODE_READONLY});
    used u = {.heap = heap};
    use_inspect(&u);
    CHECK(u.count >= 16);
    CHECK_EQ(mheap_check(heap, NULL, NULL, NULL), MHEAP_OK);
    CHECK(mheap_getkey(heap, 0) != NULL);
    CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
    end_patient(&all[i]);
  }
  CHECK_EQ(results->worked, 4 * 4 * WAYS);
}

static void fault_name(void *arg, uint64_t number, char *name, size_t size) {
  (void)arg;
  snprintf(name, size, "(the control's own fault %" PRIu64 ")", number);
}

static void run_fault(void *arg, uint64_t number) {
  (void)arg;
  if (number == 3) raise(SIGKILL);
  if (number == 5) pause();
  if (number == 7) _exit(3);
  if (number == 8) CHECK(!"the control's own failed check");
}

/* Crashes, hangs and failed checks of a child are counted, and the trials after them run. */
static void what_goes_wrong_is_noticed(void) {
  trials *it = trials_new();
  trials_run(it, run_fault, fault_name, NULL, 10, 1);
  CHECK_EQ(it->next, 10);
  CHECK_EQ(it->crashed, 2);
  CHECK_EQ(it->hung, 1);
  CHECK_EQ(it->failures, 1);
}

static unsigned count_mappings(void) {
  char line[512];
  unsigned count = 0;
  FILE *maps = fopen("/proc/self/maps", "r");
  while (maps != NULL && fgets(line, sizeof line, maps) != NULL) count += strstr(line, "memfd:") != NULL;
  if (maps != NULL) fclose(maps);
  return count;
}

/* Nothing of a refused file stays mapped or open. */
static void refused_files_leave_nothing_behind(void) {
  patient p = small_patient();
  set_word(&p, offsetof(mh_superblock, names), 0x123450);
  int before = dup(p.fd);
  for (int i = 0; i < 200; i++) {
    set_word(&p, offsetof(mh_superblock, map_directory), (uint64_t)i % 2);
    attach_and_use(p.fd, (way)(i % WAYS), 0, NULL);
  }
  set_word(&p, offsetof(mh_superblock, base), (uint64_t)(uintptr_t)&p & ~(uint64_t)4095);
  for (int i = 0; i < 200; i++) attach_and_use(p.fd, (way)(i % WAYS), 0, NULL);
  int after = dup(p.fd);
  CHECK_EQ(after, before + 1);
  CHECK_EQ(count_mappings(), 0);
  close(before);
  close(after);
  end_patient(&p);
}

TEST_MAIN(TEST(what_goes_wrong_is_noticed), TEST(untouched_heaps_work),
          TEST(refused_files_leave_nothing_behind), TEST(shapes_no_heap_has),
          TEST(each_field_with_each_value), TEST(each_field_of_a_crashed_heap),
          TEST(each_field_of_arenas_and_heaps), TEST(each_field_of_named_heaps),
          TEST(each_bit_of_a_small_heap), TEST(each_bit_of_a_guarded_heap), TEST(noise_in_the_metadata))
