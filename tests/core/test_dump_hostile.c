/* test_dump_hostile.c: whatever a file says, dumping it, and using a dump, comes back.

   Each word of the metadata of a heap, and of a dump of it, gets each of some values. The heap is attached
   and dumped: that is refused in words, or makes a file that is attached or refused. The dump is attached
   in mode scratch and used by every kind of call. In child processes with an alarm. Of all trials one in
   so many is made: MHEAP_HOSTILE=all makes all of them. */
#include "image.h"
#include "use.h"

enum { SECONDS = 30, PLACES = 700 };

typedef struct patient {
  int fd;
  image bytes;
  bool sealed;
  uint64_t stride;
  unsigned count;
  uint64_t places[PLACES];
  trials *results;
} patient;

static void add_words(patient *p, uint64_t from, unsigned count) {
  for (unsigned i = 0; i < count; i++)
    if (CHECK(p->count < PLACES)) p->places[p->count++] = from + 8 * i;
}

static void choose_places(patient *p) {
  add_words(p, 0, 58);                        /* the superblock */
  add_words(p, MH_KEYS_OFFSET, 2);
  add_words(p, MH_HEAPS_OFFSET, 6 * 8);       /* rows of heaps that are there, are gone, never were */
  add_words(p, MH_ARENAS_OFFSET, 3 * 8);
  add_words(p, MH_MAP_OFFSET, 6);
  for (uint64_t segment = 0; segment < 2; segment++) {
    uint64_t header = MH_SLICE + segment * MH_SEGMENT;
    add_words(p, header, 4);
    for (uint64_t slice = 0; slice < 63; slice += slice < 12 ? 1 : 10)
      add_words(p, header + 64 + 64 * slice, 1);
    for (uint64_t slice = 1; slice < 8; slice++) {
      add_words(p, header + MH_PAGE + 960 * slice, 2);
      add_words(p, header + MH_PAGE + 960 * slice + 480, 1);
    }
  }
}

/* Two segments of slices and a huge span, a heap that was destroyed and one that was deleted when their
   process was killed. */
static void fill(mheap *heap) {
  for (unsigned i = 0; i < 200; i++) memset(mheap_malloc(heap, use_size(i)), 'x', 1);
  for (int i = 0; i < 4; i++) CHECK(mheap_malloc(heap, 1000000) != NULL);
  CHECK_EQ(mheap_setkey(heap, 0, mheap_malloc(heap, 4300000)), MHEAP_OK);
  for (int i = 0; i < 3; i++) {
    mheap *other = mheap_new(heap, i, true, 0);
    for (unsigned n = 0; n < 20; n++) CHECK(mheap_malloc(other, use_size(n)) != NULL);
    mh_heap_row_of(other)->head |= i == 0 ? MH_HEAP_DESTROYED : i == 1 ? MH_HEAP_DELETED : 0;
  }
  mh_space space = {0};
  mh_dict root = {0};
  mh_space_init(&space, heap);
  if (CHECK_EQ(mh_root(&space, true, &root), MHEAP_OK)) use_store_objects(&space, &root);
}

static patient open_patient(bool sealed) {
  const char *wish = getenv("MHEAP_HOSTILE");
  patient p = {.fd = memory_file("patient"), .sealed = sealed, .results = trials_new(), .stride = 19};
  if (wish != NULL && strcmp(wish, "all") == 0) p.stride = 1;
  else if (TEST_SANITIZED) p.stride = 47;
  mheap *heap = mheap_attach(p.fd, NULL, NULL);
  if (heap == NULL) exit(2);
  fill(heap);
  if (sealed) CHECK_EQ(mheap_dump(heap, test_path("sealed"), NULL), MHEAP_OK);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  if (sealed) {
    close(p.fd);
    p.fd = open(test_path("sealed"), O_RDWR);
  }
  file_seal(p.fd); /* as after each trial */
  p.bytes = image_of(p.fd);
  choose_places(&p);
  return p;
}

/* ---- one trial ---- */

enum { VALUES = 14 };
static uint64_t value_of(unsigned n, uint64_t old, uint64_t size) {
  const uint64_t values[VALUES] = {0,         1,         UINT64_MAX,      old + 1,  old - 1,     old << 1,
                                   size,      size - 16, size + MH_SLICE, MH_SLICE, old | 0x3f0, old ^ 0xf,
                                   1u << 31u, old ^ (uint64_t)1 << 63};
  return values[n];
}

static void dump_and_attach(mheap *heap, trials *results) {
  static const mheap_options scratch = {.mode = MHEAP_MODE_SCRATCH, .relocate = true};
  mheap_error error = {0};
  mheap_err code = mheap_dump(heap, test_path("dumped"), &(mheap_dump_options){.not_durable = true});
  if (code != MHEAP_OK) {
    results->refused[code]++;
    CHECK(strlen(mheap_last_error(heap)->text) > 30);
    return;
  }
  results->worked++;
  mheap *dump = mheap_open(test_path("dumped"), &scratch, &error);
  if (dump == NULL) CHECK(strlen(error.text) > 30);
  else mheap_check(dump, NULL, NULL, NULL);
  mheap_abandon(dump);
}

/* Neither mode writes to the file: what was changed is put back. */
static void run_trial(void *arg, uint64_t turn) {
  patient *p = arg;
  uint64_t number = turn * p->stride, at = p->places[number / VALUES], old = file_word(p->fd, at);
  file_set(p->fd, at, value_of(number % VALUES, old, p->bytes.size), 8);
  if (at < offsetof(mh_identity, checksum) - 4) file_seal(p->fd);
  mheap_options options = {.mode = p->sealed ? MHEAP_MODE_SCRATCH : MHEAP_MODE_READONLY, .relocate = true};
  mheap_error error = {0};
  mheap *heap = mheap_attach(p->fd, &options, &error);
  if (heap == NULL) p->results->refused[error.code]++;
  else if (p->sealed) use_heap(heap, true, number), p->results->worked++;
  else dump_and_attach(heap, p->results);
  mheap_abandon(heap);
  file_set(p->fd, at, old, 8);
  if (at < offsetof(mh_identity, checksum) - 4) file_seal(p->fd);
}

static void trial_name(void *arg, uint64_t turn, char *name, size_t size) {
  const patient *p = arg;
  uint64_t number = turn * p->stride;
  snprintf(name, size, "word at 0x%llx, value %u", (unsigned long long)p->places[number / VALUES],
           (unsigned)(number % VALUES));
}

static void try_all(bool sealed) {
  patient p = open_patient(sealed);
  uint64_t turns = (uint64_t)p.count * VALUES / p.stride;
  trials_run(p.results, run_trial, trial_name, &p, turns, SECONDS);
  trials_print(p.results);
  CHECK_EQ(p.results->crashed + p.results->hung + p.results->failures, 0);
  CHECK_EQ(image_differs(&p.bytes, p.fd), UINT64_MAX);
  CHECK(p.results->worked > turns / 4 && trials_refused(p.results) > turns / 30);
  image_free(&p.bytes);
  close(p.fd);
}

static void a_heap_that_says_anything_is_dumped_or_refused(void) { try_all(false); }
static void a_dump_that_says_anything_is_used_or_refused(void) { try_all(true); }

TEST_MAIN(TEST(a_heap_that_says_anything_is_dumped_or_refused),
          TEST(a_dump_that_says_anything_is_used_or_refused))
