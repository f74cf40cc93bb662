/* kills.c: SIGKILL at random instants of a process that commits: what it left is the last commit that
   returned, or the one it was in. The next one goes on with that. A reader beside every third sees whole
   commits too, and no older than it saw before.

     crash_kills DIRECTORY [--kills N] [--seed N] [--beside]     --beside: all are read, for longer
     crash_kills DIRECTORY --in-place     a control, which must be caught: the file itself is changed */
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/wait.h>
#include <time.h>

#include "committer.h"

#define MICROSECONDS 2000 /* a process lives, at most, once it is at work */
#define BESIDE 30000      /* and if what matters is the reader */

static bool beside;

typedef struct tally {
  unsigned kills, bad, in[PHASES];
} tally;

static void wait_microseconds(uint64_t count) {
  struct timespec rest = {0, (long)count * 1000};
  nanosleep(&rest, NULL);
}

/* Now and then while it attaches, else once it is at work, or read beside. false: it ended by itself. */
static bool kill_at_random(pid_t pid, committer_ledger *l, const char *path, uint64_t *random, bool *good) {
  int status;
  bool early = random_below(random, 8) == 0;
  bool reads = path != NULL && !early && (random_below(random, 3) == 0 || beside);
  while (!early && atomic_load(&l->phase) == ATTACHING && waitpid(pid, &status, WNOHANG) == 0) sched_yield();
  if (reads) *good = committer_read_beside(l, path, beside ? BESIDE : MICROSECONDS);
  else wait_microseconds(random_below(random, early ? MICROSECONDS / 2 : MICROSECONDS));
  kill(pid, SIGKILL);
  return waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static bool kill_one(committer_ledger *l, const char *path, uint64_t *random, bool in_place, bool *good) {
  uint64_t seed = random_next(random);
  fflush(NULL);
  atomic_store(&l->phase, ATTACHING);
  pid_t pid = fork();
  if (pid == 0) committer_run(l, path, seed, in_place);
  return pid > 0 && kill_at_random(pid, l, in_place ? NULL : path, random, good);
}

static void print(const tally *t, const committer_ledger *l) {
  printf("%u kills (", t->kills);
  for (int i = 0; i < PHASES; i++) printf("%s%s %u", i == 0 ? "" : ", ", committer_phases[i], t->in[i]);
  printf("), %llu commits, %u bad\n", (unsigned long long)atomic_load(&l->returned), t->bad);
  fflush(stdout);
}

/* As the dead process left it, for who wants to know why it is bad. */
static void keep(const char *path) {
  char copy[4200];
  int from = open(path, O_RDONLY), to;
  snprintf(copy, sizeof copy, "%s.left", path);
  to = open(copy, O_RDWR | O_CREAT | O_TRUNC, 0600);
  while (from >= 0 && sendfile(to, from, NULL, 1 << 30) > 0) continue;
  close(from);
  close(to);
}

static void forget(const char *path) {
  char copy[4200];
  snprintf(copy, sizeof copy, "%s.left", path);
  unlink(copy);
  unlink(path);
}

/* Ends with the first that is bad. */
static int run(committer_ledger *l, const char *path, unsigned kills, uint64_t random, bool control) {
  tally t = {0};
  while (t.kills < kills && t.bad == 0) {
    uint64_t seed = random;
    bool good = true;
    if (!kill_one(l, path, &random, control, &good)) return fprintf(stderr, "a process was not killed\n"), 2;
    t.kills++;
    t.in[atomic_load(&l->phase)]++;
    keep(path);
    good = committer_judge(l, path, atomic_load(&l->returned), random_next(&random), control) && good;
    t.bad += !good;
    if (!good && !control) fprintf(stderr, "kill %u, random state %llu\n", t.kills, (unsigned long long)seed);
    if (t.kills % 1000 == 0) print(&t, l);
  }
  print(&t, l);
  return t.bad > 0;
}

int main(int argc, char **argv) {
  char path[4096];
  unsigned kills = 500;
  uint64_t seed = 1;
  bool control = false;
  if (argc < 2) return fprintf(stderr, "usage: see kills.c\n"), 2;
  for (int i = 2; i < argc; i++) {
    if (strcmp(argv[i], "--in-place") == 0) control = true;
    else if (strcmp(argv[i], "--beside") == 0) beside = true;
    else if (i + 1 < argc && strcmp(argv[i], "--kills") == 0) kills = (unsigned)atoi(argv[++i]);
    else if (i + 1 < argc && strcmp(argv[i], "--seed") == 0) seed = strtoull(argv[++i], NULL, 0);
    else return 2;
  }
  snprintf(path, sizeof path, "%s/kills-%d.heap", argv[1], (int)getpid());
  committer_ledger *l = mmap(NULL, sizeof *l, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (l == MAP_FAILED) return 2;
  int status = run(l, path, kills, seed, control);
  if (status == 0) forget(path);
  return status;
}
