/* power.c: power cuts at any moment of a history of commits: what the disk may hold then (cuts.h) is attached
   and judged.

     crash_power [-n IMAGES] [-e MOST] [-s SEED | -l] [LIE [PLACE]]

   Histories (history.h) of this seed, 0 if none is given, and of those that follow, until there were IMAGES
   images, or SIGTERM; without -n, one history. MOST: at most so many images an epoch. Tells how many images
   were bad, of how many epochs all subsets of the writes were tried, and at which places the code syncs.
   200,000 images:

     crash_power -n 200000

   A good image attaches, is sound, and is exactly the commit that was promised last, or a later one. What an
   attach or a recovery writes to it is recorded too where there is a journal to bring into the pages, and the
   power is cut again in the middle of that.

   With -l the heap is live. Then a good image attaches with exactly the contents that it was closed with
   last, or next; or is refused, if it was not closed. Right behind a sync salvage finds what was synced.

   A LIE is a defect that must be seen: the first bad image ends it. Of lies about a PLACE (lies.h) only what
   they make of the log is judged. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "heap.h"
#include "history.h"
#include "lies.h"
#include "places.h"
#include "recorder.h"
#include "workload.h"

/* ---- judging ---- */

typedef struct verdict {
  uint64_t images, wanted, histories, operations;
  uint64_t epochs, small, whole; /* of up to CUTS_ALL writes; of which all subsets were judged */
  uint64_t again;                /* recoveries that were cut too */
  uint64_t bad;
  bool quiet;
} verdict;

typedef struct judge {
  const history *h;
  verdict *v;
  const op_log *log;
  uint64_t promised; /* before the epoch */
  uint64_t most;     /* images an epoch; 0: all */
  bool again;        /* recoveries are cut too */
} judge;

static volatile sig_atomic_t ended;
static void end(int signal) { ended = signal; }

static bool seen_enough(const verdict *v) {
  return ended || (v->wanted > 0 && v->images >= v->wanted) || (v->quiet && v->bad > 0);
}

static void complain(verdict *v, const char *what, uint64_t a, uint64_t b) {
  if (++v->bad <= 5 && !v->quiet)
    printf("  history %llu, image %llu: %s (%llu, %llu)\n", (unsigned long long)v->histories,
           (unsigned long long)v->images, what, (unsigned long long)a, (unsigned long long)b);
}

static void does_not_attach(verdict *v, uint64_t least) {
  complain(v, "does not attach", least, 0);
  if (v->bad <= 5 && !v->quiet) printf("  %s\n", history_why());
}

static bool judge_contents(const judge *j, mheap *heap, uint64_t number, uint64_t digest) {
  if (mheap_check(heap, NULL, NULL, NULL) != MHEAP_OK) return complain(j->v, "unsound", number, 0), false;
  if (workload_digest(heap) != digest) return complain(j->v, "other contents", number, 0), false;
  return true;
}

static bool judge_heap(const judge *j, mheap *heap, uint64_t least, uint64_t *found) {
  const history *h = j->h;
  if (heap == NULL) return does_not_attach(j->v, least), false;
  *found = h->live ? workload_serial(heap) : mheap_generation(heap);
  if (*found < least || *found > h->newest) return complain(j->v, "generation", least, *found), false;
  return judge_contents(j, heap, *found, h->digests[*found]);
}

static int image_file(void) {
  static int fd = -1;
  if (fd < 0) fd = memfd_create("image", MFD_CLOEXEC);
  if (fd < 0) abort();
  return fd;
}

/* Behind what this commits may lie records of the generations that would have come next, which nobody has. */
static bool go_on(const judge *j, mheap *heap, uint64_t *generation, uint64_t *digest) {
  workload_step(heap);
  *digest = workload_digest(heap);
  *generation += 1;
  if (mheap_commit(heap, true) == MHEAP_OK && mheap_generation(heap) == *generation) return true;
  return complain(j->v, "does not go on", *generation, mheap_generation(heap)), false;
}

static void judge_again(const judge *j, mheap *heap, uint64_t generation, uint64_t digest) {
  uint64_t found = mheap_generation(heap);
  if (heap == NULL) does_not_attach(j->v, generation);
  else if (found != generation) complain(j->v, "another generation the second time", generation, found);
  else judge_contents(j, heap, generation, digest);
}

/* In the modes in turn; then once more, as the first attach left it, with another commit or without. */
static void judge_file(const judge *j, int fd, uint64_t least) {
  static const mheap_mode modes[] = {MHEAP_MODE_ATOMIC, MHEAP_MODE_READONLY, MHEAP_MODE_ATOMIC,
                                     MHEAP_MODE_LIVE};
  uint64_t found, turn = ++j->v->images;
  mheap *heap = history_attach(fd, modes[turn % 4], false);
  bool good = judge_heap(j, heap, least, &found);
  uint64_t digest = good ? j->h->digests[found] : 0;
  if (good && turn % 4 == 2) good = go_on(j, heap, &found, &digest);
  if (heap != NULL && turn % 3 == 0) mheap_detach(heap, NULL);
  else mheap_abandon(heap);
  if (!good) return;
  heap = history_attach(fd, MHEAP_MODE_READONLY, false);
  judge_again(j, heap, found, digest);
  mheap_abandon(heap);
}

/* ---- judging what was live ---- */

static bool is_closed(const judge *j, uint64_t serial) {
  for (uint64_t i = 0; i < j->log->count; i++)
    if (j->log->ops[i].kind == OP_NOTE && j->log->ops[i].length == HISTORY_CLOSED(serial)) return true;
  return false;
}

/* Was nothing changed since what was noted last? */
static bool is_as_noted(const op_log *log, uint64_t end) {
  while (end > 0 && log->ops[end - 1].kind == OP_SYNC) end--;
  return end > 0 && log->ops[end - 1].kind == OP_NOTE;
}

static void judge_live(const judge *j, int fd, uint64_t note, bool as_noted) {
  uint64_t found, least = HISTORY_SERIAL(note);
  j->v->images++;
  mheap *heap = history_attach(fd, j->v->images % 2 ? MHEAP_MODE_READONLY : MHEAP_MODE_ATOMIC, false);
  bool clean = heap != NULL;
  if (!clean && as_noted && note == HISTORY_CLOSED(least)) return does_not_attach(j->v, least);
  if (!clean && as_noted) heap = history_attach(fd, MHEAP_MODE_LIVE, true);
  if (!clean && !as_noted) return;
  bool good = judge_heap(j, heap, least, &found);
  if (good && clean && !is_closed(j, found)) complain(j->v, "not closed", least, found);
  if (good && as_noted && found != least) complain(j->v, "nothing was changed", least, found);
  mheap_abandon(heap);
}

/* ---- epochs ---- */

static uint64_t draws = 1;

static uint64_t promised_before(const op_log *log, uint64_t end, uint64_t promised) {
  for (uint64_t i = 0; i < end; i++)
    if (log->ops[i].kind == OP_NOTE && log->ops[i].length > promised) promised = log->ops[i].length;
  return promised;
}

static bool judge_image_of(void *arg, const disk *image, uint64_t end, bool is_prefix);

static void judge_epoch(const judge *j, const epoch *e) {
  bool all = epoch_cut(e, j->most, &draws, judge_image_of, (void *)j);
  if (!j->again || seen_enough(j->v)) return;
  j->v->epochs++;
  j->v->small += e->count <= CUTS_ALL;
  j->v->whole += all;
}

static bool is_of_interest(const epoch *e, bool lied) {
  for (uint64_t i = e->from; i < e->to; i++)
    if (e->log->ops[i].lied) return true;
  return !lied;
}

/* `lied`: only the epochs that are as no true log has them. */
static void judge_log(const judge *j, disk *base, bool lied) {
  epoch e;
  for (uint64_t from = 0; epoch_begin(&e, j->log, from, base) && !seen_enough(j->v); from = e.to + 1) {
    if (is_of_interest(&e, lied)) judge_epoch(j, &e);
    epoch_apply(&e, base);
    epoch_end(&e);
  }
}

/* ---- recoveries ---- */

#define AGAIN_MOST 16 /* images an epoch of a recovery */

/* What is in the file, and was in no journal, is durable; the recovery's writes are not yet. */
static void judge_recovery(const judge *j, int fd, const disk *image, uint64_t least) {
  disk_write(image, fd);
  recorder_begin(fd);
  bool done;
  if (j->v->images % 2) done = history_recover(fd);
  else {
    mheap *heap = history_attach(fd, MHEAP_MODE_LIVE, false);
    done = heap != NULL;
    mheap_abandon(heap);
  }
  op_log log = recorder_end();
  uint64_t most = j->most > 0 && j->most < AGAIN_MOST ? j->most : AGAIN_MOST;
  judge inner = {.h = j->h, .v = j->v, .log = &log, .promised = least, .most = most};
  if (!done) complain(j->v, "is not recovered", least, 0);
  if (log.count > 0) {
    disk base = disk_new();
    disk_copy(&base, image);
    j->v->again++;
    judge_log(&inner, &base, false);
    disk_free(&base);
  }
  op_log_free(&log);
}

static bool judge_image_of(void *arg, const disk *image, uint64_t end, bool is_prefix) {
  const judge *j = arg;
  uint64_t least = promised_before(j->log, end, j->promised);
  bool again = j->again && (is_prefix || j->v->images % 64 == 0) && !j->v->quiet;
  disk_write(image, image_file());
  if (j->h->live) judge_live(j, image_file(), least, is_as_noted(j->log, end));
  else judge_file(j, image_file(), least);
  if (again && !j->h->live) judge_recovery(j, image_file(), image, least);
  return !seen_enough(j->v);
}

/* ---- histories ---- */

typedef struct options {
  uint64_t images, most, seed;
  bool live;
  recorder_defect defect;
  lie_kind lie;
  const char *place;
} options;

static void judge_history(const options *o, uint64_t seed, verdict *v) {
  static history h;
  recorder_defect_is(o->defect);
  if (o->live) history_make_live(&h);
  else history_make(&h, seed);
  v->histories++;
  v->operations += h.log.count;
  if (o->lie != LIE_NONE && lie_about(&h.log, o->lie, o->place) == 0) {
    fprintf(stderr, "nothing was synced at %s\n", o->place);
    exit(2);
  }
  const judge j = {.h = &h, .v = v, .log = &h.log, .most = o->most, .again = true};
  judge_log(&j, &h.before, o->lie != LIE_NONE);
  history_free(&h);
}

static void choose_lie(options *o, const char *name, const char *place) {
  static const char *const lies[] = {"none", "sync-dropped", "sync-early", "sync-late", "swapped"};
  static const char *const defects[] = {"none", "sums-ignored", "records-ignored", "placed-ignored",
                                        "mark-dropped"};
  o->place = place;
  for (int i = 1; i < 5; i++)
    if (strcmp(name, lies[i]) == 0 && place != NULL) o->lie = (lie_kind)i;
  for (int i = 1; i < 5; i++)
    if (strcmp(name, defects[i]) == 0 && place == NULL) o->defect = (recorder_defect)i;
  if (o->lie != LIE_NONE || o->defect != DEFECT_NONE) return;
  fprintf(stderr, "no lie is called %s, %s a place\n", name, place != NULL ? "with" : "without");
  exit(2);
}

static options arguments(int argc, char **argv) {
  options o = {0};
  int option;
  while ((option = getopt(argc, argv, "n:e:s:l")) != -1)
    if (option == 'n') o.images = strtoull(optarg, NULL, 10);
    else if (option == 'e') o.most = strtoull(optarg, NULL, 10);
    else if (option == 's') o.seed = strtoull(optarg, NULL, 10);
    else if (option == 'l') o.live = true;
    else exit(2);
  if (optind < argc) choose_lie(&o, argv[optind], optind + 1 < argc ? argv[optind + 1] : NULL);
  return o;
}

static void tell(const verdict *v) {
  printf("%llu images of %llu histories, %llu operations, %llu recoveries: %llu bad\n",
         (unsigned long long)v->images, (unsigned long long)v->histories, (unsigned long long)v->operations,
         (unsigned long long)v->again, (unsigned long long)v->bad);
  printf("%llu epochs, %llu of up to %d writes, all subsets of %llu\n", (unsigned long long)v->epochs,
         (unsigned long long)v->small, CUTS_ALL, (unsigned long long)v->whole);
  for (unsigned i = 0; i < places_count(); i++) printf("place %s\n", place_name(i));
}

int main(int argc, char **argv) {
  options o = arguments(argc, argv);
  verdict v = {.wanted = o.images, .quiet = o.lie != LIE_NONE || o.defect != DEFECT_NONE};
  signal(SIGTERM, end);
  do judge_history(&o, o.seed + v.histories, &v);
  while (o.images > 0 && !seen_enough(&v));
  tell(&v);
  return v.bad > 0;
}
