/* full.c: commits on a disk that has so many pages left, for every number of them: what does not fit is
   refused by name, changes neither memory nor what is committed, and fits once there is space.

     crash_full DIRECTORY [PAGES]     a small file system of its own; up to so many pages, 200 if not said */
#include <errno.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "workload.h"

enum { PAGE = 4096, ROUNDS = 10 };

static struct {
  char heap[4096], filler[4096];
  uint64_t pages, refused, bad; /* pages: that are left */
} run;

typedef struct life {
  mheap *heap;
  uint64_t random, committed; /* digest of the last commit */
} life;

static void complain(const char *what, const char *text) {
  if (++run.bad <= 10)
    fprintf(stderr, "with %llu pages: %s: %s\n", (unsigned long long)run.pages, what, text);
}

/* ---- the disk ---- */

static void leave(uint64_t pages) {
  struct statvfs disk;
  int fd = open(run.filler, O_RDWR | O_CREAT | O_TRUNC, 0600);
  if (fd < 0 || fstatvfs(fd, &disk) != 0) exit(2);
  uint64_t left = disk.f_bavail * disk.f_frsize, taken = left > pages * PAGE ? left - pages * PAGE : 0;
  while (taken > 0 && posix_fallocate(fd, 0, (off_t)taken) != 0) taken -= PAGE; /* what it needs beside */
  close(fd);
}

static void make_space(void) { unlink(run.filler); }

/* ---- what is done there ---- */

static bool refused(mheap_err code, const mheap_error *error, const char *what) {
  if (code == MHEAP_OK) return false;
  if (code != MHEAP_ERR_FULL || error->sys != ENOSPC) complain(what, error->text);
  run.refused++;
  return true;
}

static void judge(const life *l, uint64_t digest, const char *what) {
  if (mheap_check(l->heap, NULL, NULL, NULL) != MHEAP_OK) complain("unsound", what);
  if (workload_digest(l->heap) != digest) complain("other contents", what);
}

static void attach(life *l) {
  mheap_error error;
  l->heap = mheap_open(run.heap, &(mheap_options){.mode = MHEAP_MODE_ATOMIC}, &error);
  if (l->heap != NULL) return;
  fprintf(stderr, "with %llu pages: attach: %s\n", (unsigned long long)run.pages, error.text);
  exit(1);
}

/* Who detaches may need space to bring the journal into the pages, and can do without. */
static void attach_again(life *l) {
  mheap_error error;
  if (refused(mheap_detach(l->heap, &error), &error, "detach")) mheap_abandon(l->heap);
  attach(l);
  judge(l, l->committed, "attached anew");
}

static bool commit(life *l, bool durable) {
  uint64_t digest = workload_digest(l->heap);
  bool is_refused = refused(mheap_commit(l->heap, durable), mheap_last_error(l->heap), "commit");
  if (!is_refused) l->committed = digest;
  else judge(l, digest, "after a commit that was refused");
  return !is_refused;
}

static void change(life *l, uint64_t most) {
  workload_step(l->heap);
  for (int i = 0; i < 5; i++)
    refused(workload_change(l->heap, &l->random, most), mheap_last_error(l->heap), "change");
}

static void roll_back(life *l) {
  if (mheap_rollback(l->heap) != MHEAP_OK) complain("rollback", mheap_last_error(l->heap)->text);
  judge(l, l->committed, "after a rollback");
}

static void go_round(life *l, int round) {
  change(l, round % 3 == 0 ? 90000 : 5000);
  bool is_committed = commit(l, round % 2 == 0);
  if (!is_committed && round % 4 == 1) roll_back(l);
  else if (is_committed && round % 5 == 3) attach_again(l);
  else if (round % 5 == 4) refused(mheap_checkpoint(l->heap), mheap_last_error(l->heap), "checkpoint");
}

/* The end: there is space, and what was refused is not. */
static void finish(life *l) {
  mheap_error error;
  make_space();
  if (!commit(l, true)) complain("refused, though there is space", mheap_last_error(l->heap)->text);
  if (mheap_detach(l->heap, &error) != MHEAP_OK) complain("detach, though there is space", error.text);
  attach(l);
  judge(l, l->committed, "in the end");
  mheap_abandon(l->heap);
  unlink(run.heap);
}

static void live(uint64_t pages) {
  life l = {.random = pages};
  run.pages = pages;
  attach(&l);
  if (workload_begin(l.heap) != MHEAP_OK) complain("making the table", mheap_last_error(l.heap)->text);
  commit(&l, true);
  leave(pages);
  for (int round = 0; round < ROUNDS; round++) go_round(&l, round);
  finish(&l);
}

int main(int argc, char **argv) {
  if (argc < 2) return fprintf(stderr, "usage: crash_full DIRECTORY [PAGES]\n"), 2;
  uint64_t most = argc > 2 ? strtoull(argv[2], NULL, 10) : 200;
  snprintf(run.heap, sizeof run.heap, "%s/full.heap", argv[1]);
  snprintf(run.filler, sizeof run.filler, "%s/filler", argv[1]);
  for (uint64_t pages = 0; pages <= most; pages++) live(pages);
  printf("%llu disks, %llu refusals, %llu bad\n", (unsigned long long)most + 1,
         (unsigned long long)run.refused, (unsigned long long)run.bad);
  return run.bad > 0;
}
