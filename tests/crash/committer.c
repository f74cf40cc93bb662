/* committer.c: see committer.h. */
#include "committer.h"

#include <signal.h>
#include <sys/prctl.h>

#include "heap.h"
#include "os.h"

const char *const committer_phases[PHASES] = {"attaching",     "changing",     "committing",
                                              "checkpointing", "rolling back", "detaching"};

/* ---- the process that is stopped ---- */

typedef struct work {
  committer_ledger *ledger;
  const char *path;
  mheap *heap;
  uint64_t random;
  bool in_place, committed;
} work;

static void phase(work *w, committer_phase now) { atomic_store(&w->ledger->phase, now); }

static void must(const work *w, mheap_err code, const char *what) {
  if (code == MHEAP_OK) return;
  fprintf(stderr, "the committer: %s: %s\n", what, w->heap != NULL ? mheap_last_error(w->heap)->text : "");
  _exit(3);
}

static void commit(work *w, bool durable) {
  committer_ledger *l = w->ledger;
  workload_step(w->heap);
  uint64_t serial = workload_serial(w->heap);
  atomic_store(&l->digests[serial % COMMITTER_STATES], workload_digest(w->heap));
  atomic_store(&l->tried, serial);
  phase(w, COMMITTING);
  if (!w->in_place) must(w, mheap_commit(w->heap, durable), "commit");
  w->committed = true;
  atomic_store(&l->returned, serial);
  if (durable) atomic_store(&l->durable, serial);
}

static void roll_back(work *w) {
  const committer_ledger *l = w->ledger;
  phase(w, ROLLING_BACK);
  must(w, mheap_rollback(w->heap), "rollback");
  bool is_back = workload_digest(w->heap) == l->digests[l->returned % COMMITTER_STATES];
  must(w, is_back ? MHEAP_OK : MHEAP_ERR_CORRUPT, "contents after a rollback");
}

static void change(work *w, uint64_t what) {
  uint64_t most = what % 16 == 0 ? 200000 : 3000;
  phase(w, CHANGING);
  for (uint64_t n = 1 + random_below(&w->random, 10); n > 0; n--)
    must(w, workload_change(w->heap, &w->random, most), "change");
  if (what % 32 == 1) must(w, workload_clear(w->heap), "clear");
}

static void step(work *w) {
  uint64_t what = random_below(&w->random, 64);
  change(w, what);
  if (what < 6 && !w->in_place) roll_back(w);
  else commit(w, what % 3 != 0);
  if (what != 63 || w->in_place) return;
  phase(w, CHECKPOINTING);
  mheap_err code = mheap_checkpoint(w->heap);
  if (code == MHEAP_ERR_BUSY) return; /* a reader is in the way */
  must(w, code, "checkpoint");
  atomic_store(&w->ledger->durable, atomic_load(&w->ledger->returned));
}

static void attach(work *w) {
  mheap_error error;
  phase(w, ATTACHING);
  w->committed = false;
  const mheap_options options = {.mode = w->in_place ? MHEAP_MODE_LIVE : MHEAP_MODE_ATOMIC};
  w->heap = mheap_open(w->path, &options, &error);
  if (w->heap == NULL) fprintf(stderr, "%s\n", error.text);
  must(w, w->heap != NULL ? MHEAP_OK : error.code, "attach");
  uint64_t serial = workload_serial(w->heap);
  bool is_older = serial < atomic_load(&w->ledger->returned);
  must(w, is_older ? MHEAP_ERR_CORRUPT : MHEAP_OK, "what an attach found is older than what was committed");
  atomic_store(&w->ledger->returned, serial); /* the commit that was under way is there, or is not */
  if (serial > 0) return;
  must(w, workload_begin(w->heap), "making the table");
  commit(w, true);
}

static void detach(work *w) {
  phase(w, DETACHING);
  must(w, mheap_detach(w->heap, NULL), "detach");
  if (w->committed) atomic_store(&w->ledger->durable, atomic_load(&w->ledger->returned));
}

_Noreturn void committer_run(committer_ledger *ledger, const char *path, uint64_t random, bool in_place) {
  work w = {.ledger = ledger, .path = path, .random = random, .in_place = in_place};
  prctl(PR_SET_PDEATHSIG, SIGKILL); /* not beyond the test */
  for (;;) {
    attach(&w);
    for (uint64_t n = random_below(&w.random, 200); n > 0; n--) step(&w);
    if (random_below(&w.random, 2) == 0) detach(&w);
    else mheap_abandon(w.heap);
  }
}

/* ---- what it left ---- */

typedef struct judgement {
  const committer_ledger *ledger;
  const char *path;
  uint64_t least;
  bool quiet;
} judgement;

static bool complain(const judgement *j, const char *what, uint64_t a, uint64_t b) {
  if (!j->quiet)
    fprintf(stderr, "%s: %s (%llu, %llu)\n", j->path, what, (unsigned long long)a, (unsigned long long)b);
  return false;
}

static void print_finding(void *quiet, const mheap_finding *f) {
  if (f->severity > 0 && !*(bool *)quiet)
    fprintf(stderr, "  0x%llx %s: %s\n", (unsigned long long)f->offset, f->what, f->text);
}

/* One of the states that it may be, to the byte. */
static bool is_state(judgement *j, mheap *heap) {
  const committer_ledger *l = j->ledger;
  uint64_t serial = workload_serial(heap), tried = atomic_load(&l->tried);
  if (serial < j->least) return complain(j, "lost: has, should have", serial, j->least);
  if (serial > tried) return complain(j, "never tried: has, newest", serial, tried);
  if (serial > 0 && workload_digest(heap) != l->digests[serial % COMMITTER_STATES])
    return complain(j, "other contents than", serial, j->least);
  j->least = serial; /* nothing older from now on */
  return true;
}

static bool is_whole(judgement *j, mheap *heap) {
  if (mheap_check(heap, print_finding, NULL, &j->quiet) == MHEAP_OK) return is_state(j, heap);
  return complain(j, "unsound", workload_serial(heap), j->least);
}

static bool look(judgement *j, mheap_mode mode, bool detach) {
  mheap_error error;
  mheap *heap = mheap_open(j->path, &(mheap_options){.mode = mode, .relocate = true}, &error);
  if (heap == NULL) return complain(j, error.text, j->least, 0);
  bool whole = is_whole(j, heap);
  if (!detach) mheap_abandon(heap);
  else if (mheap_detach(heap, &error) != MHEAP_OK) return complain(j, error.text, j->least, 0);
  return whole;
}

/* A file that nobody formatted yet cannot be read. */
bool committer_judge(const committer_ledger *ledger, const char *path, uint64_t least, uint64_t how,
                     bool quiet) {
  judgement j = {ledger, path, least, quiet};
  mheap_journal_info info;
  mheap_error error;
  if (least > 0 && how % 2 == 0 && !look(&j, MHEAP_MODE_READONLY, true)) return false;
  if (least > 0 && how % 4 == 0 && mheap_recover(path, &info, &error) != MHEAP_OK)
    return complain(&j, error.text, least, 0);
  return look(&j, MHEAP_MODE_ATOMIC, how % 3 == 0);
}

/* ---- beside it ---- */

static bool read_once(judgement *j, mheap *heap) {
  uint64_t returned = atomic_load(&j->ledger->returned);
  if (returned > j->least) j->least = returned;
  mheap_err code = mheap_refresh(heap, NULL);
  if (!code) code = mheap_keep(heap, NULL);
  if (code) return complain(j, mheap_last_error(heap)->text, j->least, 0);
  bool good = is_state(j, heap);
  mheap_release(heap);
  return good;
}

bool committer_read_beside(const committer_ledger *ledger, const char *path, uint64_t microseconds) {
  judgement j = {.ledger = ledger, .path = path};
  double end = mh_os_monotonic() + (double)microseconds * 1e-6;
  mheap_error error;
  mheap *heap = mheap_open(path, &(mheap_options){.mode = MHEAP_MODE_READONLY, .relocate = true}, &error);
  if (heap == NULL) return complain(&j, error.text, 0, 0);
  bool good = true;
  while (good && mh_os_monotonic() < end) good = read_once(&j, heap);
  mheap_abandon(heap);
  return good;
}
