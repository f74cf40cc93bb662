/* fuzz_heap.c: a libFuzzer target: attach a heap file that was changed, check it, use it.

   The file is one of the golden files, which MHEAP_FUZZ_IMAGES (a directory) holds unpacked,
   with the input's patches applied:

     byte 0   bits 0-1 the file, bit 2 checksums are made right, bit 3 it was open,
              bit 4 it is made longer by a power of two,
              bits 5-6 if not zero one of the other files instead, by bits 0-1 too, bit 7 the rest of
              the input is the file
     byte 1   bits 0-1 the mode, bits 2-3 the turn (see use.h), bits 4-7 the power of two; where
              there is none, bit 5 it is sealed, bits 6 and 7 it is dumped first
     then     patches of 11 bytes: which word, what to do with it, a value

   A word is one of those that metadata or objects are in (windows). What must hold: every call
   returns, and a refused file is as it was. MHEAP_FUZZ_CONTROL=1 makes any file that is
   refused as corrupt look like a bug, so that it can be seen that bugs are found. */
#include <stdint.h>

#include "../core/image.h"
#include "../core/use.h"

static const char *const names[] = {"objects", "guarded", "used", "empty", "arenas",
                                    "values",  "arrays",  "sorted", "records", "named"};
enum { IMAGES = sizeof names / sizeof names[0], FIRST_OTHER = 4 };
static image images[IMAGES];
static int file;
static bool control;

static void die(const char *what) {
  fprintf(stderr, "fuzz_heap: %s\n", what);
  abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc, (void)argv;
  char path[2000];
  const char *directory = getenv("MHEAP_FUZZ_IMAGES");
  if (directory == NULL) die("MHEAP_FUZZ_IMAGES is not set");
  for (int i = 0; i < IMAGES; i++) {
    snprintf(path, sizeof path, "%s/v1-%s.heap", directory, names[i]);
    int fd = open(path, O_RDONLY);
    images[i] = image_of(fd);
    if (images[i].pages == 0) die(path);
    close(fd);
  }
  file = memory_file("fuzzed");
  control = getenv("MHEAP_FUZZ_CONTROL") != NULL;
  return 0;
}

/* ---- patches ---- */

typedef struct window {
  uint64_t start, words;
} window;

static const window windows[] = {
    {0, 56},                      /* superblock */
    {MH_KEYS_OFFSET, 24},         /* keys */
    {MH_HEAPS_OFFSET, 64},        /* rows of heaps */
    {MH_ARENAS_OFFSET, 40},       /* rows of arenas */
    {MH_MAP_OFFSET, 12},          /* the map's words */
    {MH_SLICE - 16, 2},           /* the last ones of its first part */
    {MH_SLICE, 200},              /* segment 0's header: descriptors */
    {MH_SLICE + MH_PAGE + 960, 960}, /* bitmaps of eight slices */
    {MH_SLICE + MH_SEGMENT, 200}, /* segment 1's header, and that of one in a shared arena */
    {MH_SLICE + 4 * MH_SEGMENT, 200},
    {2 * MH_SLICE, 128},          /* what lies in the first slices */
    {3 * MH_SLICE, 128},
    {4 * MH_SLICE, 128},
    {5 * MH_SLICE, 128},
    {6 * MH_SLICE, 128},
    {7 * MH_SLICE, 128},
    {8 * MH_SLICE, 128},          /* where a sorted dict has its upper nodes */
};

static uint64_t place_of(unsigned number) {
  unsigned all = 0, count = sizeof windows / sizeof windows[0];
  for (unsigned i = 0; i < count; i++) all += windows[i].words;
  for (unsigned i = 0, n = number % all;; n -= windows[i++].words)
    if (n < windows[i].words) return windows[i].start + 8 * n;
}

static uint64_t patched(uint64_t old, unsigned what, uint64_t value, uint64_t size) {
  switch (what % 8) {
    case 0: return value;
    case 1: return old + (int8_t)value;
    case 2: return old ^ value;
    case 3: return (old & ~(uint64_t)UINT32_MAX) | (uint32_t)value;
    case 4: return size + (uint64_t)(int64_t)(int8_t)value * 8;
    case 5: return old ^ (uint64_t)1 << value % 64;
    case 6: return old + MH_SLICE * (uint64_t)(int64_t)(int8_t)value;
    default: return (value << 4) | (old & 15); /* another offset behind the same tag */
  }
}

static void patch(const uint8_t *bytes, uint64_t size) {
  uint64_t value, at = place_of(bytes[0] | (unsigned)bytes[1] << 8);
  memcpy(&value, bytes + 3, 8);
  if (at + 8 > size) return;
  file_set(file, at, patched(file_word(file, at), bytes[2], value, size), 8);
}

static void make_longer(unsigned power, uint64_t *size) {
  *size = (*size + ((uint64_t)MH_SLICE << power)) / MH_SLICE * MH_SLICE;
  if (ftruncate(file, (off_t)*size) != 0) die("ftruncate");
  file_set(file, offsetof(mh_superblock, size), *size, 8);
}

static const image *image_for(uint8_t bits) {
  unsigned other = bits >> 5 & 3, number = 4 * (other - 1) + (bits & 3);
  return &images[other == 0 ? bits & 3u : FIRST_OTHER + number % (IMAGES - FIRST_OTHER)];
}

static void make_file(const uint8_t *data, size_t length) {
  const image *it = image_for(data[0]);
  uint64_t size = it->size;
  image_put(it, file);
  if (data[0] & 16) make_longer(data[1] >> 4, &size);
  bool sealed = !(data[0] & 16) && (data[1] & 32);
  if (data[0] & 8 || sealed)
    file_set(file, offsetof(mh_superblock, state), sealed ? MH_STATE_SEALED : MH_STATE_OPEN, 8);
  for (size_t at = 2; at + 11 <= length && at < 2 + 11 * 64; at += 11) patch(data + at, size);
  if (data[0] & 4) file_seal(file);
}

static void make_raw_file(const uint8_t *data, size_t length) {
  if (ftruncate(file, 0) != 0 || pwrite(file, data + 2, length - 2, 0) != (ssize_t)length - 2) die("pwrite");
}

/* ---- one input ---- */

static void refused(const mheap_error *error, const image *before) {
  if (error->code <= MHEAP_ERR_SYSTEM || error->code >= MHEAP_ERR_COUNT_) die(error->text);
  if (strlen(error->text) < 20) die("an error without words");
  if (image_differs(before, file) != UINT64_MAX) die("a refused file was changed");
  if (control && error->code == MHEAP_ERR_CORRUPT) die("the control's bug was found");
}

/* What comes of a dump of it is attached, or refused. */
static void dump(mheap *heap) {
  const mheap_options scratch = {.mode = MHEAP_MODE_SCRATCH, .relocate = true};
  mheap_error error = {0};
  mheap_err code = mheap_dump(heap, test_path("dump"), &(mheap_dump_options){.not_durable = true});
  if (code != MHEAP_OK && strlen(mheap_last_error(heap)->text) < 20) die("an error without words");
  mheap *made = code == MHEAP_OK ? mheap_open(test_path("dump"), &scratch, &error) : NULL;
  if (made != NULL) mheap_check(made, NULL, NULL, NULL);
  else if (code == MHEAP_OK && strlen(error.text) < 20) die("an error without words");
  mheap_abandon(made);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length) {
  if (length < 2) return 0;
  if (data[0] & 128) make_raw_file(data, length);
  else make_file(data, length);
  image before = image_of(file);
  mheap_error error = {0};
  mheap_options options = {.mode = (mheap_mode)((data[1] & 3) % 3 + 1), .salvage = (data[1] & 3) == 3};
  mheap *heap = mheap_attach(file, &options, &error);
  if (heap == NULL) {
    refused(&error, &before);
  } else {
    if (!(data[0] & 16) && data[1] >> 6 == 3) dump(heap);
    use_heap(heap, options.mode != MHEAP_MODE_READONLY, data[1] >> 2 & 3);
    if (mheap_detach(heap, &error) != MHEAP_OK) mheap_abandon(heap);
    bool shared = options.mode == MHEAP_MODE_LIVE;
    if (!shared && image_differs(&before, file) != UINT64_MAX) die("a reader changed the file");
  }
  image_free(&before);
  if (test_failures > 0) die("a check failed");
  return 0;
}
