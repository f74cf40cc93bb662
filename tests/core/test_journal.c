/* test_journal.c: journals that say anything: no record makes a process crash, hang, or write beyond
   what it says the region is.

   MHEAP_HOSTILE=N: every Nth trial. */
#include "commit.h"
#include "image.h"
#include "journal.h"
#include "use.h"

enum { SECONDS = 30, COMMITS = 4, STRIDE = TEST_SANITIZED ? 7 : 3 };

/* A file whose writer was killed: some commits in its journal, growth among them. */
typedef struct patient {
  image before;
  int fd;               /* of the file that is made ill */
  uint64_t journal;     /* offset of its first record */
  uint64_t at[COMMITS]; /* of each record */
  mh_record record[COMMITS];
} patient;

static void note_records(patient *p, const char *path) {
  mh_journal journal = {0};
  mheap_error error;
  int fd = open(path, O_RDONLY);
  CHECK_EQ(mh_journal_load(&journal, fd, path, &error), MHEAP_OK);
  p->journal = journal.first.journal;
  for (int i = 0; i < COMMITS; i++) {
    bool found;
    p->at[i] = p->journal + journal.end;
    CHECK_EQ(mh_journal_next(&journal, &p->record[i], &found, &error), MHEAP_OK);
    if (!CHECK(found)) exit(2);
    mh_journal_count(&journal, &p->record[i]);
  }
  mh_journal_close(&journal);
  close(fd);
}

static patient *new_patient(void) {
  static patient p;
  const char *path = test_path("patient.heap");
  unlink(path);
  mheap *heap = mheap_open(path, &(mheap_options){.mode = MHEAP_MODE_ATOMIC}, NULL);
  if (!CHECK(heap != NULL)) exit(2);
  for (int i = 0; i < COMMITS; i++) {
    size_t size = i == 2 ? 300000 : 40;
    mheap_setkey(heap, i, memset(mheap_malloc(heap, size), i + 1, size));
    CHECK_EQ(mheap_commit(heap, true), MHEAP_OK);
  }
  mheap_abandon(heap);
  note_records(&p, path);
  int fd = open(path, O_RDONLY);
  p.before = image_of(fd);
  close(fd);
  p.fd = memory_file("journal");
  return &p;
}

/* Makes the sums right, so that what was changed is believed; each record names the one before. */
static void seal(const patient *p, int from) {
  for (int i = from; i < COMMITS; i++) {
    static uint8_t bytes[1 << 20];
    mh_record r;
    uint64_t previous = i > 0 ? file_word(p->fd, p->at[i - 1] + offsetof(mh_record, flags)) >> 32 : 0;
    if (i > from) file_set(p->fd, p->at[i] + offsetof(mh_record, previous), previous, 8);
    if (pread(p->fd, bytes, p->record[i].length, (off_t)p->at[i]) != (ssize_t)p->record[i].length) return;
    memcpy(&r, bytes, sizeof r);
    r.sum = 0;
    uint32_t sum = mh_crc32c_more(0, bytes + sizeof r, p->record[i].length - sizeof r);
    file_set(p->fd, p->at[i] + offsetof(mh_record, sum), mh_crc32c_more(sum, &r, sizeof r), 4);
  }
}

/* ---- one trial ---- */

static const uint64_t values[] = {0,
                                  1,
                                  7,
                                  8,
                                  64,
                                  4095,
                                  4096,
                                  65536,
                                  131072,
                                  1 << 20,
                                  UINT32_MAX,
                                  UINT32_MAX - 7,
                                  (uint64_t)1 << 46,
                                  (uint64_t)1 << 47,
                                  ((uint64_t)1 << 47) - 8,
                                  UINT64_MAX,
                                  UINT64_MAX - 7};
enum { VALUES = sizeof values / sizeof values[0], WORDS = 16, MODES = 4 };

typedef struct trial {
  int record, word, mode;
  uint64_t value;
} trial;

typedef struct all_trials {
  patient *p;
  trials *results;
  uint64_t stride;
} all_trials;

static trial trial_of(uint64_t n) {
  trial it = {.mode = (int)(n % MODES), .value = values[n / MODES % VALUES]};
  it.word = (int)(n / MODES / VALUES % WORDS);
  it.record = (int)(n / MODES / VALUES / WORDS);
  return it;
}

static void name_trial(void *arg, uint64_t number, char *name, size_t size) {
  trial it = trial_of(number * ((const all_trials *)arg)->stride);
  snprintf(name, size, "record %d, word %d: 0x%llx, mode %d", it.record, it.word,
           (unsigned long long)it.value, it.mode + 1);
}

static void count(trials *results, mheap *heap, const mheap_error *error) {
  if (heap != NULL) results->worked++;
  else results->refused[error->code]++;
}

/* What a file grows by is bounded by what its records say of the region, which ends before the journal. */
static void is_no_longer(const patient *p) {
  struct stat st;
  CHECK(fstat(p->fd, &st) == 0 && (uint64_t)st.st_size <= p->before.size + ((uint64_t)64 << 20));
}

static void run_trial(void *arg, uint64_t number) {
  all_trials *all = arg;
  trial it = trial_of(number * all->stride);
  mheap_error error = {0};
  image_put(&all->p->before, all->p->fd);
  file_set(all->p->fd, all->p->at[it.record] + 8 * (uint64_t)it.word, it.value, 8);
  seal(all->p, it.record);
  mheap_options options = {.mode = (mheap_mode)(it.mode + 1), .relocate = true, .salvage = true};
  mheap *heap = mheap_attach(all->p->fd, &options, &error);
  count(all->results, heap, &error);
  is_no_longer(all->p);
  if (heap == NULL) return;
  use_heap(heap, options.mode != MHEAP_MODE_READONLY, number);
  if (options.mode == MHEAP_MODE_ATOMIC && mheap_commit(heap, false) == MHEAP_OK) mheap_rollback(heap);
  if (options.mode == MHEAP_MODE_READONLY) mheap_refresh(heap, NULL);
  mheap_abandon(heap);
}

static void every_field_of_a_record_may_say_anything(void) {
  const char *every = getenv("MHEAP_HOSTILE");
  all_trials all = {new_patient(), trials_new(), every != NULL ? strtoull(every, NULL, 10) : STRIDE};
  trials_run(all.results, run_trial, name_trial, &all,
             (uint64_t)COMMITS * WORDS * VALUES * MODES / all.stride, SECONDS);
  trials_print(all.results);
  CHECK_EQ(all.results->crashed + all.results->hung, 0);
  CHECK_EQ(all.results->failures, 0);
  CHECK(all.results->worked > 0);
  image_free(&all.p->before);
}

/* ---- whole records, and no others ---- */

static uint64_t generation_of(const patient *p, mheap_mode mode) {
  mheap_error error;
  mheap *heap = mheap_attach(p->fd, &(mheap_options){.mode = mode, .relocate = true}, &error);
  if (heap == NULL) return UINT64_MAX;
  uint64_t generation = mheap_generation(heap);
  CHECK_EQ(mheap_check(heap, NULL, NULL, NULL), MHEAP_OK);
  mheap_abandon(heap);
  return generation;
}

static void a_damaged_record_ends_the_journal(void) {
  patient *p = new_patient();
  for (int i = 0; i < COMMITS; i++)
    for (uint64_t at = 0; at < p->record[i].length; at += 1 + at / 64 * 13) {
      image_put(&p->before, p->fd);
      if (at == 0 && i == 0) CHECK_EQ(generation_of(p, MHEAP_MODE_READONLY), COMMITS); /* untouched */
      uint8_t byte = (uint8_t)file_word(p->fd, p->at[i] + at);
      file_set(p->fd, p->at[i] + at, byte ^ 1u << at % 8, 1);
      CHECK_EQ(generation_of(p, MHEAP_MODE_READONLY), (uint64_t)i);
    }
  image_free(&p->before);
}

static void damaged_bytes_that_were_placed_end_the_journal(void) {
  patient *p = new_patient();
  uint64_t at = 0;
  image_put(&p->before, p->fd);
  /* Of the block of 300,000 bytes, which is behind what the first generations had. */
  for (uint64_t i = 0; i < p->before.pages; i++)
    if (p->before.place[i] >= p->record[1].size && p->before.place[i] < p->record[2].size)
      at = p->before.place[i];
  REQUIRE(at != 0);
  CHECK_EQ(generation_of(p, MHEAP_MODE_READONLY), COMMITS);
  file_set(p->fd, at, file_word(p->fd, at) ^ 0x55, 8);
  CHECK_EQ(generation_of(p, MHEAP_MODE_READONLY), 2);
  image_free(&p->before);
}

static void a_journal_that_is_cut_short_ends_there(void) {
  patient *p = new_patient();
  for (int i = 0; i < COMMITS; i++) {
    image_put(&p->before, p->fd);
    uint8_t zeros[MH_PAGE] = {0};
    for (uint64_t at = p->at[i]; at < p->before.size; at += sizeof zeros)
      CHECK(pwrite(p->fd, zeros, sizeof zeros, (off_t)at) == sizeof zeros);
    CHECK_EQ(generation_of(p, MHEAP_MODE_ATOMIC), (uint64_t)i);
  }
  image_put(&p->before, p->fd);
  CHECK_EQ(ftruncate(p->fd, (off_t)p->journal), 0);
  CHECK_EQ(generation_of(p, MHEAP_MODE_READONLY), UINT64_MAX); /* shorter than the superblock says */
  image_free(&p->before);
}

static void a_live_attach_brings_it_into_the_pages(void) {
  patient *p = new_patient();
  image_put(&p->before, p->fd);
  CHECK_EQ(generation_of(p, MHEAP_MODE_LIVE), COMMITS);
  CHECK_EQ(file_word(p->fd, offsetof(mh_superblock, journal)), 0);
  CHECK_EQ(file_word(p->fd, offsetof(mh_superblock, generation)), COMMITS);
  CHECK_EQ(generation_of(p, MHEAP_MODE_SCRATCH), COMMITS);
  image_free(&p->before);
}

/* ---- the place of the journal ---- */

static bool overlaps(uint64_t at, uint64_t length, uint64_t from, uint64_t to) {
  return at < to && at + length > from;
}

/* *arg: how many entries say something of the root of names, which stands right before the place. */
static mheap_err look_for_the_place(void *arg, uint64_t at, const void *data, uint64_t length,
                                    mheap_error *error) {
  uint64_t names = offsetof(mh_superblock, names), place = offsetof(mh_superblock, journal),
           seed = offsetof(mh_superblock, journal_seed);
  (void)data, (void)error;
  CHECK(!overlaps(at, length, place, place + 16));
  CHECK(!overlaps(at, length, seed, seed + 16));
  *(int *)arg += overlaps(at, length, names, names + 8);
  return MHEAP_OK;
}

/* The fields before and behind it change in one commit; later the region grows to where it was. */
static void no_record_says_where_the_journal_is(void) {
  const char *path = test_path("place.heap");
  mheap_options options = {.mode = MHEAP_MODE_ATOMIC};
  int named = 0;
  const mh_record_visitor visitor = {.visit = look_for_the_place, .arg = &named};
  mheap_error error;
  mheap *heap = mheap_open(path, &options, &error);
  REQUIRE(heap != NULL);
  CHECK_EQ(mheap_setroot(heap, "a", 1, mheap_malloc(heap, 40)), MHEAP_OK);
  REQUIRE_EQ(mheap_commit(heap, true), MHEAP_OK);
  mh_journal *journal = &heap->region->commits->journal, first = {0};
  mh_record record;
  bool found;
  REQUIRE_EQ(mh_journal_load(&first, heap->region->fd, path, &error), MHEAP_OK);
  REQUIRE_EQ(mh_journal_next(&first, &record, &found, &error), MHEAP_OK);
  REQUIRE(found);
  CHECK_EQ(mh_record_visit(&first.tape, 0, &record, &visitor, &error), MHEAP_OK);
  CHECK_EQ(named, 1);
  uint64_t before = journal->first.journal;
  CHECK(mheap_malloc(heap, 700000) != NULL);
  CHECK(journal->first.journal > before && mh_region_size(heap->region) > before);
  CHECK_EQ(mheap_commit(heap, true), MHEAP_OK);
  mh_journal_close(&first);
  mheap_abandon(heap);
  for (options.mode = MHEAP_MODE_READONLY; heap != NULL && options.mode != MHEAP_MODE_LIVE;) {
    heap = mheap_open(path, &options, &error);
    if (!CHECK(heap != NULL)) fprintf(stderr, "%s\n", error.text);
    mheap_abandon(heap);
    options.mode = options.mode == MHEAP_MODE_READONLY ? MHEAP_MODE_ATOMIC : MHEAP_MODE_LIVE;
  }
}

/* Its last entry, the number of the generation, of a record that another follows. */
static void what_a_record_says_of_the_journal_is_not_believed(void) {
  const mheap_mode modes[] = {MHEAP_MODE_READONLY, MHEAP_MODE_SCRATCH, MHEAP_MODE_ATOMIC, MHEAP_MODE_LIVE};
  const uint64_t fields[] = {offsetof(mh_superblock, journal), offsetof(mh_superblock, journal_size),
                             offsetof(mh_superblock, journal_seed), offsetof(mh_superblock, checkpoint)};
  patient *p = new_patient();
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 4; j++) {
      uint64_t entry = p->at[1] + p->record[1].length - sizeof(mh_record_entry) - 8;
      image_put(&p->before, p->fd);
      REQUIRE_EQ(file_word(p->fd, entry), offsetof(mh_superblock, generation));
      file_set(p->fd, entry, fields[j], 8);
      file_set(p->fd, entry + sizeof(mh_record_entry), MH_SLICE, 8);
      seal(p, 1);
      CHECK_EQ(generation_of(p, modes[i]), COMMITS);
    }
  image_free(&p->before);
}

TEST_MAIN(TEST(no_record_says_where_the_journal_is),
          TEST(what_a_record_says_of_the_journal_is_not_believed),
          TEST(every_field_of_a_record_may_say_anything), TEST(a_damaged_record_ends_the_journal),
          TEST(damaged_bytes_that_were_placed_end_the_journal),
          TEST(a_journal_that_is_cut_short_ends_there), TEST(a_live_attach_brings_it_into_the_pages))
