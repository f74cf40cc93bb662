/* test_kinds_stored.c: what a file says of kinds may be anything: it is used or refused, and harms
   nobody; a process that is killed while it makes or destroys kinds leaves each whole, or none. */
#include <time.h>

#include "image.h"
#include "kind.h"

static uint64_t row_at(uint64_t row) { return MH_HEAPS_OFFSET + row * sizeof(mh_heap_row); }

static bool visit_count(void *arg, mheap_kind *kind) {
  mheap_kind_info info;
  CHECK_EQ(mheap_kind_get_info(kind, &info), MHEAP_OK);
  CHECK(strlen(info.name) >= 1 && strlen(info.name) <= MHEAP_KIND_NAME_MAX && info.arenas >= 1);
  ++*(unsigned *)arg;
  return true;
}

/* ---- hostile values ---- */

typedef struct patient {
  int fd;
  image bytes;
  uint64_t name; /* offset of a kind's name */
} patient;

static patient new_patient(void) {
  patient p = {.fd = memory_file("kinds")};
  mheap *heap = mheap_attach(p.fd, NULL, NULL);
  mheap_kind *kind = mheap_kind_create("first kind", MHEAP_KIND_THREAD, heap);
  mheap_kind_create("second kind", MHEAP_KIND_BIJECTIVE, heap);
  for (int i = 0; i < 50; i++) mheap_setkey(heap, i % 8, mheap_kind_malloc(kind, 100 + 1000 * (size_t)i));
  CHECK(heap != NULL && kind != NULL);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  p.bytes = image_of(p.fd);
  p.name = file_word(p.fd, row_at(2) + offsetof(mh_heap_row, name));
  return p;
}

static void end_patient(patient *p) {
  close(p->fd);
  image_free(&p->bytes);
}

typedef struct hostile {
  patient p;
  trials *results;
} hostile;

static const char *const names[] = {"head", "arena", "name", "root", "objects", "kind", "policy", "reserved"};
static const uint64_t values[] = {0,      1,          2,          3,          4,          5,         6,
                                  7,      8,          0x41,       0x43,       0x51,       0x63,      127,
                                  128,    129,        65535,      65536,      65552,      131072,    4194304,
                                  100000, UINT32_MAX, UINT64_MAX, 1ull << 46, 1ull << 47, 1ull << 63};
enum { ROWS = 4, FIELDS = 8, VALUES = sizeof values / sizeof values[0], LENGTHS = 2 };
static const uint64_t rows[ROWS] = {1, 2, 3, 126};

/* Rows' fields, then the words of a name. */
static uint64_t place_of(const patient *p, uint64_t trial, uint64_t *value) {
  *value = values[trial % VALUES];
  trial /= VALUES;
  if (trial >= ROWS * FIELDS) return p->name + 8 * (trial - ROWS * FIELDS);
  return row_at(rows[trial / FIELDS]) + 8 * (trial % FIELDS);
}

static void name_trial(void *arg, uint64_t trial, char *text, size_t size) {
  uint64_t value, at = place_of(&((hostile *)arg)->p, trial, &value);
  snprintf(text, size, "offset 0x%llx (%s) = 0x%llx", (unsigned long long)at,
           at < MH_SLICE ? names[at % 64 / 8] : "name", (unsigned long long)value);
}

static void use_kinds(mheap *heap, bool writes) {
  unsigned count = 0;
  mheap_visit_kinds(heap, visit_count, &count);
  CHECK(count <= 128);
  for (int key = 0; key < 8; key++) {
    void *block = mheap_getkey(heap, key);
    mheap_kind *kind = block != NULL ? mheap_kind_detect(block) : NULL;
    if (kind == NULL) continue;
    mheap_kind_usable_size(kind, block);
    if (writes && key % 2) mheap_kind_free(kind, block);
  }
  mheap_kind *kind = mheap_kind_create("first kind", MHEAP_KIND_ANY, heap);
  for (size_t i = 0; kind != NULL && i < 20; i++) mheap_kind_free(kind, mheap_kind_malloc(kind, 1000 * i));
  if (kind != NULL && writes) mheap_kind_set_usage(kind, MHEAP_KIND_USAGE_CONSERVATIVE);
  kind = mheap_kind_create("third kind", MHEAP_KIND_ANY, heap);
  if (kind != NULL) mheap_kind_malloc(kind, 100);
  kind = mheap_kind_find("second kind", heap);
  if (kind != NULL) mheap_kind_destroy(kind);
}

static void run_trial(void *arg, uint64_t trial) {
  hostile *h = arg;
  static const mheap_mode modes[] = {MHEAP_MODE_LIVE, MHEAP_MODE_READONLY, MHEAP_MODE_SCRATCH};
  for (int i = 0; i < 3; i++) {
    uint64_t value, at = place_of(&h->p, trial, &value);
    mheap_error error = {0};
    image_put(&h->p.bytes, h->p.fd);
    file_set(h->p.fd, at, value, 8);
    mheap_options options = {.mode = modes[i]};
    mheap *heap = mheap_attach(h->p.fd, &options, &error);
    if (heap == NULL) {
      h->results->refused[error.code]++;
      continue;
    }
    mheap_err sound = mheap_check(heap, NULL, NULL, NULL);
    CHECK(sound == MHEAP_OK || sound == MHEAP_ERR_CORRUPT);
    use_kinds(heap, modes[i] != MHEAP_MODE_READONLY);
    if (mheap_detach(heap, NULL) != MHEAP_OK) mheap_abandon(heap);
    h->results->worked++;
  }
}

static void whatever_is_stored_is_harmless(void) {
  hostile h = {.p = new_patient(), .results = trials_new()};
  trials_run(h.results, run_trial, name_trial, &h, VALUES * (ROWS * FIELDS + LENGTHS), 20);
  trials_print(h.results);
  CHECK_EQ(h.results->crashed + h.results->hung + h.results->failures, 0);
  CHECK(h.results->worked > 1000);
  end_patient(&h.p);
}

/* ---- what check says ---- */

typedef struct findings {
  unsigned broken, notes;
  char text[300];
} findings;

static void note(void *arg, const mheap_finding *finding) {
  findings *f = arg;
  *(finding->severity ? &f->broken : &f->notes) += 1;
  snprintf(f->text, sizeof f->text, "%s: %s", finding->what, finding->text);
}

static findings findings_with(const patient *p, uint64_t at, uint64_t value, unsigned width) {
  findings f = {0};
  image_put(&p->bytes, p->fd);
  if (at != 0) file_set(p->fd, at, value, width);
  mheap *heap = mheap_attach(p->fd, &(mheap_options){.mode = MHEAP_MODE_READONLY}, NULL);
  if (!CHECK(heap != NULL)) return f;
  mheap_check(heap, note, NULL, &f);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  return f;
}

static void check_names_what_is_wrong_with_a_kind(void) {
  patient p = new_patient();
  static const struct wrong {
    uint64_t at, value;
    unsigned broken;
    const char *text;
  } wrongs[] = {
      {offsetof(mh_heap_row, policy), 9, 1, "policy: expected 1 or 2"},
      {offsetof(mh_heap_row, policy), MH_KIND_BIJECTIVE, 1, "heaps of a bijective kind: expected 1"},
      {offsetof(mh_heap_row, policy), 0, 0, "was being made, or destroyed"},
      {offsetof(mh_heap_row, name), 48, 1, "name: expected a block in use"},
      {offsetof(mh_heap_row, name), 1 << 20, 1, "name: expected a block in use"},
      {offsetof(mh_heap_row, kind), 200, 1, "row of the first heap of its kind"},
      {offsetof(mh_heap_row, birth), 1, 1, "expected 0, found 0x1"},
  };
  CHECK_EQ(findings_with(&p, 0, 0, 0).broken, 0);
  CHECK_EQ(findings_with(&p, 0, 0, 0).notes, 0);
  for (size_t i = 0; i < sizeof wrongs / sizeof wrongs[0]; i++) {
    findings f = findings_with(&p, row_at(2) + wrongs[i].at, wrongs[i].value, 8);
    if (i != 5) CHECK_CONTAINS(f.text, wrongs[i].text);
    CHECK(wrongs[i].broken ? f.broken > 0 : f.broken == 0 && f.notes > 0);
  }
  CHECK_CONTAINS(findings_with(&p, p.name, 300, 8).text, "length of its name");
  CHECK_CONTAINS(findings_with(&p, p.name + 8, 0xff, 1).text, "expected UTF-8");
  CHECK_CONTAINS(findings_with(&p, p.name + 9, 0, 1).text, "expected UTF-8");
  end_patient(&p);
}

static void a_damaged_kind_is_an_error_and_others_serve(void) {
  patient p = new_patient();
  file_set(p.fd, p.name, 300, 8);
  mheap *heap = mheap_attach(p.fd, NULL, NULL);
  REQUIRE(heap != NULL);
  CHECK(mheap_kind_find("first kind", heap) == NULL);
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_CORRUPT);
  CHECK(mheap_kind_create("third kind", MHEAP_KIND_ANY, heap) == NULL);
  CHECK_CONTAINS(mheap_last_error(heap)->text, "length of a kind's name");
  mheap_kind *kind = mheap_kind_find("second kind", heap);
  REQUIRE(kind != NULL);
  CHECK(mheap_kind_malloc(kind, 10) != NULL);
  unsigned count = 0;
  CHECK_EQ(mheap_visit_kinds(heap, visit_count, &count), MHEAP_ERR_CORRUPT);
  CHECK_EQ(count, 1);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  end_patient(&p);
}

/* ---- kills ---- */

static void work_until_killed(const char *path) {
  mheap *heap = mheap_open(path, NULL, NULL);
  char name[20];
  for (unsigned i = 0; heap != NULL; i++) {
    snprintf(name, sizeof name, "kind %u", i % 3);
    mheap_kind *kind = mheap_kind_create(name, i % 3 == 0 ? MHEAP_KIND_BIJECTIVE : MHEAP_KIND_THREAD, heap);
    if (kind == NULL) break;
    for (size_t n = 0; n < 8; n++) mheap_kind_malloc(kind, 10 << 2 * n);
    if (i % 4 != 3 && mheap_kind_destroy(kind) != MHEAP_OK) break;
  }
  _exit(3);
}

static bool is_whole(void *arg, mheap_kind *kind) {
  mheap_kind_info info;
  mheap_kind_get_info(kind, &info);
  unsigned expected = strcmp(info.name, "kind 0") == 0 ? 1 : mh_kind_arenas(MH_KIND_THREAD);
  CHECK_EQ(info.arenas, expected < 32 ? expected : 32);
  for (unsigned i = 0; i < info.arenas; i++)
    CHECK(mheap_kind_memalign_in(kind, info.arena + i, 16, 100) != NULL);
  ++*(unsigned *)arg;
  return true;
}

/* Destroyed heaps are not theirs any more. */
static unsigned rows_of_kinds(int fd) {
  unsigned count = 0;
  for (uint64_t row = 2; row < MH_HEAPS; row++)
    count += (file_word(fd, row_at(row)) & (MH_HEAP_KIND | MH_HEAP_DESTROYED)) == MH_HEAP_KIND;
  return count;
}

/* What is left must be whole kinds; of what is not, the making of the next one leaves nothing. */
static unsigned examine(const char *path) {
  unsigned count = 0, arenas = 0, left;
  findings f = {0};
  mheap *heap = mheap_open(path, NULL, NULL);
  if (!CHECK(heap != NULL)) return 0;
  if (mheap_check(heap, note, NULL, &f) != MHEAP_OK) fprintf(stderr, "  %s\n", f.text);
  CHECK_EQ(f.broken, 0);
  CHECK_EQ(mheap_visit_kinds(heap, is_whole, &count), MHEAP_OK);
  int fd = open(path, O_RDONLY);
  mheap_kind *all[3] = {0};
  for (int i = 0; i < 3; i++) {
    char name[20];
    snprintf(name, sizeof name, "kind %d", i);
    all[i] = mheap_kind_find(name, heap);
    if (all[i] != NULL) arenas += all[i]->arenas;
  }
  left = rows_of_kinds(fd) - arenas;
  for (int i = 0; i < 3; i++)
    if (all[i] != NULL) CHECK_EQ(mheap_kind_destroy(all[i]), MHEAP_OK);
  mheap_kind *kind = mheap_kind_create("kind 0", MHEAP_KIND_BIJECTIVE, heap);
  CHECK_EQ(rows_of_kinds(fd), 1);
  CHECK_EQ(mheap_kind_destroy(kind), MHEAP_OK);
  mheap_stats stats;
  CHECK_EQ(mheap_collect(heap, true), MHEAP_OK);
  CHECK_EQ(mheap_get_stats(heap, &stats), MHEAP_OK);
  CHECK_EQ(stats.chunks_used, 0);
  close(fd);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  return left;
}

static void a_kill_leaves_whole_kinds(void) {
  unsigned torn = 0;
  const char *path = test_path("killed.heap");
  for (int i = 0; i < 60; i++) {
    pid_t child = fork();
    if (child == 0) work_until_killed(path);
    nanosleep(&(struct timespec){.tv_nsec = 3000000 + 173000 * i}, NULL);
    kill(child, SIGKILL);
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
    torn += examine(path) > 0;
  }
  printf("     %u of 60 kills tore a kind\n", torn);
  CHECK(torn > 0 || TEST_SANITIZED);
}

TEST_MAIN(TEST(whatever_is_stored_is_harmless), TEST(check_names_what_is_wrong_with_a_kind),
          TEST(a_damaged_kind_is_an_error_and_others_serve), TEST(a_kill_leaves_whole_kinds))
