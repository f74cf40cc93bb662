/* disk.c: the two halves of a real power cut, which test_power_cuts.py makes: a process that commits on a
   file system whose disk is copied meanwhile, and the judge of a copy.

     crash_disk work LEDGER HEAP [--seed N] [--no-sync]   until it is killed; --no-sync is a control
     crash_disk judge LEDGER HEAP LEAST                   tells how many records the journal had; exit code 1:
                                                          the heap is older than state LEAST, or not whole */
#include <sys/mman.h>

#include "committer.h"
#include "os.h"

static bool syncs = true;

int __real_mh_os_sync(int fd);
int __wrap_mh_os_sync(int fd) { return syncs ? __real_mh_os_sync(fd) : 0; }

static committer_ledger *ledger_at(const char *path) {
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0 || ftruncate(fd, sizeof(committer_ledger)) != 0) return NULL;
  void *ledger = mmap(NULL, sizeof(committer_ledger), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  return ledger != MAP_FAILED ? ledger : NULL;
}

static int work(committer_ledger *ledger, int argc, char **argv) {
  uint64_t seed = 1;
  for (int i = 4; i < argc; i++) {
    if (strcmp(argv[i], "--no-sync") == 0) syncs = false;
    else if (i + 1 < argc && strcmp(argv[i], "--seed") == 0) seed = strtoull(argv[++i], NULL, 0);
    else return 2;
  }
  committer_run(ledger, argv[3], seed, false);
}

static int judge(const committer_ledger *ledger, char **argv) {
  uint64_t least = strtoull(argv[4], NULL, 0);
  mheap_journal_info info = {0};
  mheap_error error;
  if (mheap_get_journal(argv[3], &info, &error) != MHEAP_OK) fprintf(stderr, "%s\n", error.text);
  printf("%llu records\n", (unsigned long long)info.records);
  fflush(stdout);
  return !committer_judge(ledger, argv[3], least, least, false);
}

int main(int argc, char **argv) {
  committer_ledger *ledger = argc > 2 ? ledger_at(argv[2]) : NULL;
  if (ledger == NULL) return fprintf(stderr, "usage: see disk.c\n"), 2;
  if (argc > 3 && strcmp(argv[1], "work") == 0) return work(ledger, argc, argv);
  if (argc > 4 && strcmp(argv[1], "judge") == 0) return judge(ledger, argv);
  return 2;
}
