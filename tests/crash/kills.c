/* kills.c: a process that commits in mode atomic is killed at random moments; what is left is judged.

     crash_kills DIRECTORY KILLS [unnoted]     100,000 kills: crash_kills DIRECTORY 100000

   Every word of a table, and of blocks that come and go, is the number of the commit that it is in: so a heap
   that is half of one commit and half of another is seen. It must be the last that was acknowledged, or the one
   under way. A reader beside the writer must see whole commits too, and no older than it saw before.
   `unnoted`, which must be seen: the child claims a commit that it did not make. */
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "heap.h"

enum { SLOTS = 32 };

typedef struct table {
  uint64_t number[SLOTS];
  uint64_t *block[SLOTS]; /* the number, first and last */
  uint64_t words[SLOTS];
} table;

typedef struct shared {
  _Atomic uint64_t acknowledged, tried, started;
} shared;

static shared *told;
static char path[4096];

static mheap *open_heap(mheap_mode mode) {
  mheap_error error;
  mheap *heap = mheap_open(path, &(mheap_options){.mode = mode, .relocate = true, .timeout = 5}, &error);
  if (heap == NULL) fprintf(stderr, "%s\n", error.text);
  return heap;
}

/* The commit that all of it is of; UINT64_MAX: of several. */
static uint64_t number_of(mheap *heap) {
  const table *t = mheap_getkey(heap, 0);
  if (t == NULL) return 0;
  for (int i = 0; i < SLOTS; i++) {
    if (t->number[i] != t->number[0]) return UINT64_MAX;
    if (t->block[i] == NULL) continue;
    uint64_t first = t->block[i][0], last = t->block[i][t->words[i] - 1];
    if (first != t->number[0] || last != t->number[0]) return UINT64_MAX;
  }
  return t->number[0];
}

static void change(mheap *heap, uint64_t next, unsigned *random) {
  table *t = mheap_getkey(heap, 0);
  for (int i = 0; i < SLOTS; i++) {
    t->number[i] = next;
    if (rand_r(random) % 8 == 0) {
      if (t->block[i] != NULL) mheap_free(heap, t->block[i]);
      t->words[i] = 1 + (uint64_t)rand_r(random) % (rand_r(random) % 16 == 0 ? 20000 : 300);
      t->block[i] = mheap_malloc(heap, 8 * t->words[i]);
      if (t->block[i] == NULL) _exit(3);
    }
    if (t->block[i] != NULL) t->block[i][0] = t->block[i][t->words[i] - 1] = next;
  }
}

_Noreturn static void child(unsigned random, bool claims) {
  for (;;) {
    mheap *heap = open_heap(MHEAP_MODE_ATOMIC);
    if (heap == NULL) _exit(3);
    for (unsigned n = 1 + (unsigned)rand_r(&random) % 40; n > 0; n--) {
      uint64_t next = told->acknowledged + 1;
      change(heap, next, &random);
      if (rand_r(&random) % 9 == 0) {
        if (mheap_rollback(heap) != MHEAP_OK) _exit(3);
        continue;
      }
      told->tried = next;
      if (!claims && mheap_commit(heap, rand_r(&random) % 2) != MHEAP_OK) _exit(3);
      told->acknowledged = next;
      told->started = 1;
      if (rand_r(&random) % 12 == 0 && mheap_checkpoint(heap) != MHEAP_OK) {
        if (mheap_last_error(heap)->code != MHEAP_ERR_BUSY) _exit(3);
      }
    }
    if (rand_r(&random) % 2) mheap_abandon(heap);
    else if (mheap_detach(heap, NULL) != MHEAP_OK) _exit(3);
  }
}

/* Until the writer is killed; false: something was not whole. */
static bool read_beside(uint64_t microseconds) {
  uint64_t last = 0;
  struct timespec begun, now;
  clock_gettime(CLOCK_MONOTONIC, &begun);
  mheap *heap = open_heap(MHEAP_MODE_READONLY);
  if (heap == NULL) return false;
  for (bool good = true;;) {
    bool moved;
    uint64_t least = told->acknowledged;
    mheap_err code = mheap_refresh(heap, &moved);
    if (!code) code = mheap_keep(heap, &moved);
    if (code) fprintf(stderr, "%s\n", mheap_last_error(heap)->text);
    good = !code;
    uint64_t found = number_of(heap);
    mheap_release(heap);
    good = good && found != UINT64_MAX && found >= last && found >= least;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t spent = (now.tv_sec - begun.tv_sec) * 1000000 + (now.tv_nsec - begun.tv_nsec) / 1000;
    if (!good)
      fprintf(stderr, "a reader saw %lld after %llu, acknowledged %llu\n", (long long)found,
              (unsigned long long)last, (unsigned long long)least);
    last = found;
    if (!good || spent > (int64_t)microseconds) return mheap_abandon(heap), good;
  }
}

static bool run_and_kill(unsigned *random, bool claims, bool reading) {
  int status;
  bool good = true;
  told->started = 0;
  unsigned its = (unsigned)rand_r(random);
  pid_t pid = fork();
  if (pid == 0) child(its, claims);
  while (!told->started && waitpid(pid, &status, WNOHANG) == 0) usleep(50);
  uint64_t rest = (uint64_t)rand_r(random) % 5000;
  if (reading) good = read_beside(rest);
  else usleep((useconds_t)rest);
  kill(pid, SIGKILL);
  return waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && good;
}

/* Was it whole? The next child goes on from there. */
static bool judge(unsigned *random) {
  static const mheap_mode modes[] = {MHEAP_MODE_ATOMIC, MHEAP_MODE_READONLY};
  for (unsigned i = (unsigned)rand_r(random) % 2, n = 0; n < 2; n++, i ^= 1) {
    mheap *heap = open_heap(modes[i]);
    uint64_t found = heap != NULL ? number_of(heap) : UINT64_MAX;
    bool good = found >= told->acknowledged && found <= told->tried;
    if (heap == NULL || !good || mheap_check(heap, NULL, NULL, NULL) != MHEAP_OK) {
      fprintf(stderr, "acknowledged %llu, tried %llu, found %lld\n", (unsigned long long)told->acknowledged,
              (unsigned long long)told->tried, (long long)found);
      return false;
    }
    told->acknowledged = found;
    mheap_abandon(heap);
  }
  return true;
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  unsigned random = 1, kills = 0, wanted = (unsigned)atoi(argv[2]);
  bool claims = argc > 3 && strcmp(argv[3], "unnoted") == 0, good = true;
  snprintf(path, sizeof path, "%s/kills-%d.heap", argv[1], (int)getpid());
  told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  mheap *heap = told != MAP_FAILED ? open_heap(MHEAP_MODE_ATOMIC) : NULL;
  if (heap == NULL || mheap_setkey(heap, 0, mheap_calloc(heap, 1, sizeof(table))) != MHEAP_OK) return 2;
  if (mheap_commit(heap, true) != MHEAP_OK || mheap_detach(heap, NULL) != MHEAP_OK) return 2;
  for (; kills < wanted && good; kills++)
    good = run_and_kill(&random, claims, kills % 3 == 2) && judge(&random);
  printf("%u kills, %llu commits acknowledged, %u bad\n", kills, (unsigned long long)told->acknowledged, !good);
  if (good) unlink(path);
  return !good;
}
