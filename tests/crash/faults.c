/* faults.c: an error at the k-th call to the operating system, for every k of a small workload of commits.

     crash_faults [CALL [swallowed]]     for each call that can fail: how many errors there were, how many bad

   What must hold: nothing crashes; a step that is told of the error says so; the heap is sound, and what it holds is
   the model's; without the error a second try succeeds, but after a failed sync commits are refused, and
   say that the file must be opened anew; what is attached then is a whole commit at or after the last that was
   acknowledged. `swallowed`, which must be seen: the call does nothing and says that it did. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "heap.h"
#include "os.h"

typedef enum call {
  C_WRITE,
  C_SYNC,
  C_ALLOCATE,
  C_TRUNCATE,
  C_MAP,
  C_RESERVE,
  C_TABLE,
  C_COMMIT,
  C_READ,
  C_WRITTEN,
  CALLS
} call;
static const char *const call_names[] = {"write",   "sync",  "allocate", "truncate", "map",
                                         "reserve", "table", "commit",   "read",     "written"};
static const int call_errors[] = {EIO, EIO, ENOSPC, ENOSPC, ENOMEM, ENOMEM, ENOMEM, ENOMEM, EIO, EIO};

static struct {
  bool on;
  call which;
  uint64_t k, seen;
  bool fired, swallowed;
} fault;

static int fails(call it) {
  if (!fault.on || fault.which != it || fault.seen++ != fault.k) return 0;
  fault.fired = true;
  return call_errors[it];
}

#define WRAP(name, it, parameters, arguments)                                      \
  int __real_mh_os_##name parameters;                                              \
  int __wrap_mh_os_##name parameters;                                              \
  int __wrap_mh_os_##name parameters {                                             \
    int failed = fails(it);                                                        \
    return !failed ? __real_mh_os_##name arguments : fault.swallowed ? 0 : failed; \
  }

WRAP(write, C_WRITE, (int fd, const void *b, size_t n, uint64_t at), (fd, b, n, at))
WRAP(sync, C_SYNC, (int fd), (fd))
WRAP(allocate, C_ALLOCATE, (int fd, uint64_t at, uint64_t n), (fd, at, n))
WRAP(truncate, C_TRUNCATE, (int fd, uint64_t size), (fd, size))
WRAP(map, C_MAP, (void *a, uint64_t n, int fd, uint64_t at, bool w, bool s), (a, n, fd, at, w, s))
WRAP(reserve, C_RESERVE, (void *a, uint64_t n, void **got), (a, n, got))
WRAP(commit, C_COMMIT, (void *a, uint64_t n), (a, n))
WRAP(read, C_READ, (int fd, void *b, size_t n, uint64_t at, size_t *got), (fd, b, n, at, got))
WRAP(written, C_WRITTEN, (void *a, uint64_t n, mh_os_range *r, size_t room, size_t *count, uint64_t *next),
     (a, n, r, room, count, next))

void *__real_mh_os_table(uint64_t length);
void *__wrap_mh_os_table(uint64_t length);
void *__wrap_mh_os_table(uint64_t length) { return fails(C_TABLE) ? NULL : __real_mh_os_table(length); }

/* ---- the workload: a table of words at key 0, some in large blocks ---- */

enum { SLOTS = 24, STEPS = 14, GENERATIONS = 64 };

typedef struct table {
  uint64_t value[SLOTS];
  uint64_t *block[SLOTS]; /* two words and more, each the value */
} table;

static struct {
  int fd;
  mheap *heap;
  uint64_t now[SLOTS];                    /* the model */
  uint64_t committed[GENERATIONS][SLOTS]; /* of each generation */
  uint64_t newest, acknowledged, tried;
  bool unknown; /* a rollback failed: what is there is nobody's promise */
  unsigned bad;
  const char *doing;
} run;

static void bad(const char *what) {
  if (run.bad++ == 0)
    printf("  %s at call %llu, %s: %s\n", call_names[fault.which], (unsigned long long)fault.k, run.doing,
           what);
}

static bool holds(mheap *heap, const uint64_t *values) {
  const table *t = mheap_getkey(heap, 0);
  for (int i = 0; t != NULL && i < SLOTS; i++) {
    if (t->value[i] != values[i]) return false;
    if (t->block[i] != NULL && (t->block[i][0] != values[i] || t->block[i][1] != values[i])) return false;
  }
  return t != NULL;
}

static bool sound(mheap *heap) { return mheap_check(heap, NULL, NULL, NULL) == MHEAP_OK; }

static mheap *attach(mheap_error *error) {
  return mheap_attach(run.fd, &(mheap_options){.mode = MHEAP_MODE_ATOMIC, .relocate = true}, error);
}

/* Each changes the model only if it says that it was done. */
static bool put(int i, uint64_t value, size_t size) {
  table *t = mheap_getkey(run.heap, 0);
  uint64_t *block = mheap_malloc(run.heap, size);
  if (block == NULL) return false;
  block[0] = block[1] = value;
  if (t->block[i] != NULL) mheap_free(run.heap, t->block[i]);
  t->block[i] = block;
  t->value[i] = run.now[i] = value;
  return true;
}

static bool commit(bool durable) {
  uint64_t next = mheap_generation(run.heap) + 1;
  memcpy(run.committed[next], run.now, sizeof run.now);
  run.tried = next;
  if (mheap_commit(run.heap, durable) != MHEAP_OK) return false;
  run.newest = mheap_generation(run.heap);
  if (durable) run.acknowledged = run.newest;
  return true;
}

static bool roll_back(void) {
  if (mheap_rollback(run.heap) != MHEAP_OK) return run.unknown = true, false;
  memcpy(run.now, run.committed[run.newest], sizeof run.now);
  return true;
}

static bool attach_again(void) {
  mheap_error error = {0};
  if (run.heap == NULL) run.heap = attach(&error);
  if (run.heap == NULL && error.text[0] == 0) bad("an attach that fails and does not say why");
  return run.heap != NULL;
}

/* One that fails leaves it attached. */
static bool detach(void) {
  mheap_error error = {0};
  if (mheap_detach(run.heap, &error) != MHEAP_OK) return false;
  run.heap = NULL;
  return true;
}

static bool step(int n) {
  static const char *const names[STEPS] = {"attach",     "malloc",       "commit",   "large malloc", "commit",
                                           "malloc",     "quick commit", "rollback", "malloc",       "commit",
                                           "checkpoint", "huge malloc",  "commit",   "detach"};
  run.doing = names[n];
  switch (n) {
    case 0: return attach_again();
    case 1: return put(0, 11, 100) && put(1, 12, 3000);
    case 3: return put(2, 13, 300000);
    case 5: return put(3, 14, 2000);
    case 6: return commit(false);
    case 7: return put(0, 15, 60000) && roll_back();
    case 8: return put(4, 16, 1000000);
    case 10: return mheap_checkpoint(run.heap) == MHEAP_OK;
    case 11: return put(5, 17, 9000000);
    case 13: return detach();
    default: return commit(true);
  }
}

static void prepare(void) {
  run.fd = memfd_create("faults", MFD_CLOEXEC);
  mheap *heap = run.fd >= 0 ? attach(NULL) : NULL;
  if (heap == NULL || mheap_setkey(heap, 0, mheap_calloc(heap, 1, sizeof(table))) != MHEAP_OK) abort();
  if (mheap_commit(heap, true) != MHEAP_OK) abort();
  run.newest = run.acknowledged = run.tried = mheap_generation(heap);
  if (mheap_detach(heap, NULL) != MHEAP_OK) abort();
}

/* What is there when the file is opened anew. */
static void judge_file(void) {
  mheap_error error = {0};
  mheap *heap = attach(&error);
  if (heap == NULL) return printf("  %s\n", error.text), bad("does not attach");
  uint64_t found = mheap_generation(heap);
  if (found < run.acknowledged || found > run.tried) bad("another generation");
  else if (!sound(heap)) bad("unsound once attached anew");
  else if (!holds(heap, run.committed[found])) bad("other contents once attached anew");
  mheap_abandon(heap);
}

/* The error is gone: what works now. */
static void judge_heap(bool sync_failed) {
  if (!sound(run.heap)) return bad("unsound");
  if (!run.unknown && !holds(run.heap, run.now)) return bad("other contents");
  bool done = commit(true);
  const mheap_error *error = mheap_last_error(run.heap);
  if (!sync_failed && !run.unknown && !done) printf("  %s\n", error->text), bad("a second try fails");
  if ((sync_failed || run.unknown) && done) bad("a commit after a failed sync");
  if (sync_failed && !done && strstr(error->text, "open it again") == NULL)
    bad("does not say to open it anew");
}

/* False: the workload has no k-th call. */
static bool one(call which, uint64_t k) {
  memset(&run, 0, sizeof run);
  prepare();
  fault.which = which;
  fault.k = k;
  fault.seen = 0;
  fault.fired = false;
  bool done = true;
  for (int n = 0; n < STEPS && done; n++) {
    fault.on = true;
    done = step(n);
    fault.on = false;
    if (done && fault.fired && which == C_SYNC) bad("says that it was done");
    if (fault.fired) break;
  }
  if (!done && !fault.fired) bad("fails without an error");
  if (run.heap != NULL) judge_heap(which == C_SYNC);
  mheap_abandon(run.heap);
  judge_file();
  close(run.fd);
  return fault.fired;
}

int main(int argc, char **argv) {
  unsigned all = 0;
  fault.swallowed = argc > 2 && strcmp(argv[2], "swallowed") == 0;
  for (int which = 0; which < CALLS; which++) {
    unsigned wrong = 0;
    uint64_t k = 0;
    if (argc > 1 && strcmp(argv[1], call_names[which]) != 0) continue;
    for (bool more = true; more; k += more) {
      more = one((call)which, k);
      wrong += run.bad > 0;
    }
    printf("%s: %llu errors, %u bad\n", call_names[which], (unsigned long long)k, wrong);
    all += wrong;
  }
  return all > 0;
}
