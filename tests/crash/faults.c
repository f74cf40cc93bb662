/* faults.c: a workload of commits in which the k-th call of the operating system fails, for every k.

     crash_faults [-a] [-k NUMBER] CALL     "write", "sync", …: inject.h. -a: each call both once, and with
                                            all that follow, else by turns
     crash_faults untold                    a control: syncs fail, and nobody is told; must be caught

   What fails says why, and changes neither memory nor what is committed; once the reason is gone it can be
   tried again. After a sync that failed commits are refused until the file is attached anew, which finds a
   commit, whole: the last that returned or that sync's own, though the kernel dropped all that it had not
   written. */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "inject.h"
#include "heap.h"
#include "workload.h"

enum { STEPS = 30, GENERATIONS = 64, FILE_MOST = 16 << 20 };

static struct {
  const fault *fault;
  uint64_t refused, bad;
  bool talks;
} tally;

typedef struct life {
  int fd;
  mheap *heap;
  uint64_t random;
  uint64_t digests[GENERATIONS]; /* of each generation, also of one that was only tried */
  uint64_t committed, durable;   /* generations */
  uint64_t tried;
  bool gave_up;                  /* a rollback, or a sync, failed: attach anew */
} life;

static void complain(const life *l, const char *what, const char *text) {
  if (++tally.bad <= 5 && !tally.fault->untold)
    fprintf(stderr, "%s, number %llu, errno %d%s: generation %llu: %s: %s\n",
            fault_names[tally.fault->call], (unsigned long long)tally.fault->number, tally.fault->error,
            tally.fault->lasting ? ", lasting" : "", (unsigned long long)l->committed, what, text);
}

static void expect(const life *l, bool good, const char *what) {
  if (!good) complain(l, what, "");
}

/* ---- the disk: what a failed sync may leave ---- */

static uint8_t *synced; /* the file as it was at the last sync, FILE_MOST bytes at most */
static uint64_t synced_bytes;

static void keep_synced(int fd) {
  ssize_t got = pread(fd, synced, FILE_MOST, 0);
  if (got < 0 || got == FILE_MOST) abort();
  synced_bytes = (uint64_t)got;
}

static void lose_what_was_not_synced(int fd) {
  if (ftruncate(fd, 0) != 0 || pwrite(fd, synced, synced_bytes, 0) != (ssize_t)synced_bytes) abort();
}

/* ---- judging ---- */

static void print_finding(void *arg, const mheap_finding *f) {
  (void)arg;
  if (f->severity > 0 && tally.bad < 5) fprintf(stderr, "  %s: %s\n", f->what, f->text);
}

static void check(const life *l, mheap *heap, const char *whose) {
  if (mheap_check(heap, print_finding, NULL, NULL) != MHEAP_OK)
    complain(l, whose, mheap_last_error(heap)->text);
}

static int copy_of(int fd) {
  static char buffer[FILE_MOST];
  int copy = memfd_create("copy", MFD_CLOEXEC);
  ssize_t got = pread(fd, buffer, sizeof buffer, 0);
  if (copy < 0 || got < 0 || pwrite(copy, buffer, (size_t)got, 0) != got) abort();
  return copy;
}

static void judge_attached(const life *l, mheap *heap, const char *whose) {
  uint64_t generation = mheap_generation(heap);
  check(l, heap, whose);
  expect(l, generation >= l->durable && generation <= l->tried, whose);
  expect(l, generation < GENERATIONS && workload_digest(heap) == l->digests[generation], whose);
}

/* What an attach would find now. */
static void judge_file(const life *l, int fd) {
  mheap_error error;
  int copy = copy_of(fd);
  mheap *heap = mheap_attach(copy, &(mheap_options){.mode = MHEAP_MODE_ATOMIC, .relocate = true}, &error);
  if (heap == NULL) complain(l, "the file does not attach", error.text);
  else judge_attached(l, heap, "the file");
  mheap_abandon(heap);
  close(copy);
}

/* ---- steps ---- */

static bool said_why(const mheap_error *error) {
  return error->sys == tally.fault->error && strlen(error->text) > 20;
}

/* Returns whether it failed, which must have been told if so, and then nothing fails any more. */
static bool failed(life *l, mheap_err code, const mheap_error *error, const char *what) {
  faults_pause();
  bool happened = faults_happened();
  if (happened && tally.fault->call == FAULT_SYNC) l->gave_up = true; /* also where nobody is told */
  if (code == MHEAP_OK) return false;
  tally.refused++;
  if (!happened) complain(l, what, error->text);
  else if (!said_why(error)) complain(l, "another reason is told", error->text);
  return true;
}

static mheap *attach_once(life *l, mheap_error *error) {
  faults_resume();
  mheap *heap = mheap_attach(l->fd, &(mheap_options){.mode = MHEAP_MODE_ATOMIC}, error);
  return heap;
}

static void attach(life *l) {
  mheap_error error = {0};
  l->heap = attach_once(l, &error);
  if (failed(l, l->heap == NULL ? error.code : MHEAP_OK, &error, "attach")) {
    if (l->tried > 0) judge_file(l, l->fd);
    l->heap = attach_once(l, &error);
    faults_pause();
  }
  if (l->heap == NULL) {
    fprintf(stderr, "attach, tried again: %s\n", error.text);
    exit(1);
  }
  if (l->tried > 0) judge_attached(l, l->heap, "attached anew");
  l->committed = l->durable = l->tried = mheap_generation(l->heap);
  l->gave_up = false;
}

static void attach_anew(life *l) {
  faults_pause();
  mheap_abandon(l->heap);
  if (l->gave_up && tally.fault->call == FAULT_SYNC) lose_what_was_not_synced(l->fd);
  attach(l);
}

/* The heap is what it was, and refuses to commit. */
static void expect_refusal(life *l) {
  uint64_t before = workload_digest(l->heap);
  expect(l, mheap_commit(l->heap, true) != MHEAP_OK, "a commit after what failed for good");
  const char *text = mheap_last_error(l->heap)->text;
  expect(l, strstr(text, "open it again") != NULL, text);
  expect(l, workload_digest(l->heap) == before, "contents changed by a refusal");
  l->gave_up = true;
}

static mheap_err try_commit(life *l, bool durable) {
  l->tried = mheap_generation(l->heap) + 1;
  l->digests[l->tried] = workload_digest(l->heap);
  faults_resume();
  return mheap_commit(l->heap, durable);
}

static void note_commit(life *l, bool durable) {
  l->committed = mheap_generation(l->heap);
  expect(l, l->committed == l->tried, "the generation of a commit");
  if (durable) l->durable = l->committed;
}

static void commit(life *l, bool durable) {
  workload_step(l->heap);
  bool is_bad = failed(l, try_commit(l, durable), mheap_last_error(l->heap), "commit");
  if (!is_bad) return note_commit(l, durable);
  expect(l, workload_digest(l->heap) == l->digests[l->tried], "contents changed by a commit that failed");
  check(l, l->heap, "memory");
  judge_file(l, l->fd);
  if (tally.fault->call == FAULT_SYNC) return expect_refusal(l);
  mheap_err code = mheap_commit(l->heap, durable);
  if (code) complain(l, "commit, tried again", mheap_last_error(l->heap)->text);
  else note_commit(l, durable);
}

static void change(life *l, uint64_t most) {
  for (uint64_t n = 0; n < 6 && !l->gave_up; n++) {
    faults_resume();
    failed(l, workload_change(l->heap, &l->random, most), mheap_last_error(l->heap), "change");
  }
  expect(l, workload_digest(l->heap) != 0, "contents");
}

static void roll_back(life *l) {
  faults_resume();
  bool is_bad = failed(l, mheap_rollback(l->heap), mheap_last_error(l->heap), "rollback");
  if (!is_bad) expect(l, workload_digest(l->heap) == l->digests[l->committed], "contents after a rollback");
  if (!is_bad) return;
  judge_file(l, l->fd);
  l->gave_up = true;
}

static void checkpoint(life *l) {
  uint64_t before = workload_digest(l->heap);
  faults_resume();
  bool is_bad = failed(l, mheap_checkpoint(l->heap), mheap_last_error(l->heap), "checkpoint");
  expect(l, workload_digest(l->heap) == before, "contents changed by a checkpoint");
  if (!is_bad) {
    l->durable = l->committed;
    return;
  }
  judge_file(l, l->fd);
  if (tally.fault->call == FAULT_SYNC) return expect_refusal(l);
  if (mheap_checkpoint(l->heap) != MHEAP_OK) complain(l, "again", mheap_last_error(l->heap)->text);
  else l->durable = l->committed;
}

static void detach(life *l) {
  mheap_error error = {0};
  faults_resume();
  bool is_bad = failed(l, mheap_detach(l->heap, &error), &error, "detach");
  if (is_bad) {
    judge_file(l, l->fd);
    return attach_anew(l);
  }
  l->durable = l->committed;
  if (l->gave_up) lose_what_was_not_synced(l->fd);
  attach(l);
}

static void clear(life *l) {
  faults_resume();
  failed(l, workload_clear(l->heap), mheap_last_error(l->heap), "clear");
  if (!l->gave_up) commit(l, true);
}

static void step(life *l, int number) {
  uint64_t most = number % 5 == 0 ? 30000 + 20000 * (uint64_t)number : 3000;
  change(l, most);
  if (l->gave_up) expect_refusal(l);
  else if (number % 12 == 2 || number % 12 == 8) roll_back(l);
  else if (number % 12 == 4) clear(l);
  else if (number % 12 == 6) checkpoint(l);
  else commit(l, number % 3 != 1);
  if (!l->gave_up && number % 12 == 9) detach(l);
  else if (l->gave_up || number % 12 == 11) attach_anew(l);
}

/* Its first commit; until that is there, whatever fails. */
static void begin(life *l) {
  attach(l);
  while (workload_serial(l->heap) == 0) {
    faults_resume();
    bool is_bad = failed(l, workload_begin(l->heap), mheap_last_error(l->heap), "making the table");
    if (!is_bad && !l->gave_up) commit(l, true);
    if (l->gave_up) attach_anew(l);
  }
}

/* ---- lives ---- */

static uint64_t live(const fault *it) {
  static life l;
  l = (life){.fd = memfd_create("errors", MFD_CLOEXEC), .random = 7};
  tally.fault = it;
  keep_synced(l.fd);
  faults_begin(it);
  begin(&l);
  for (int i = 0; i < STEPS; i++) step(&l, i);
  detach(&l);
  faults_pause();
  if (mheap_detach(l.heap, NULL) != MHEAP_OK) complain(&l, "detach", "");
  close(l.fd);
  return faults_end();
}

static int errors_of(fault_call call, int errors[2]) {
  errors[0] = EIO;
  errors[1] = ENOSPC;
  if (call == FAULT_WRITE || call == FAULT_SYNC) return 2;
  if (call == FAULT_ALLOCATE) errors[0] = ENOSPC;
  if (call >= FAULT_MAP && call <= FAULT_RESERVE) errors[0] = ENOMEM;
  if (call == FAULT_TABLE) errors[0] = ENOMEM;
  return 1;
}

static void live_all(fault_call call, uint64_t only, bool both, bool untold) {
  int errors[2], count = errors_of(call, errors);
  uint64_t calls = live(&(fault){.call = call}), lives = 0;
  for (uint64_t k = 1; k <= calls; k++)
    for (int i = 0; i < 2 * count; i++) {
      bool lasting = i % 2 == 1;
      if ((only != 0 && k != only) || (!both && lasting != (k % 2 == 1))) continue;
      live(&(fault){
          .call = call, .number = k, .error = errors[i / 2], .lasting = lasting, .untold = untold});
      lives++;
    }
  printf("%s: %llu calls, %llu lives, %llu refusals, %llu bad\n", untold ? "untold" : fault_names[call],
         (unsigned long long)calls, (unsigned long long)lives, (unsigned long long)tally.refused,
         (unsigned long long)tally.bad);
}

int main(int argc, char **argv) {
  uint64_t only = 0;
  bool both = false;
  int option;
  while ((option = getopt(argc, argv, "ak:")) != -1)
    if (option == 'k') only = strtoull(optarg, NULL, 10);
    else if (option == 'a') both = true;
    else return 2;
  synced = malloc(FILE_MOST);
  if (optind >= argc || synced == NULL) return 2;
  bool untold = strcmp(argv[optind], "untold") == 0;
  const char *name = untold ? "sync" : argv[optind];
  for (int call = 0; call < FAULT_CALLS; call++) {
    if (strcmp(name, fault_names[call]) != 0) continue;
    if (call == FAULT_SYNC) faults_synced = keep_synced;
    live_all((fault_call)call, only, both, untold);
    return tally.bad > 0;
  }
  return fprintf(stderr, "no call is named %s\n", name), 2;
}
