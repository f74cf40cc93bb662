/* history.c: see history.h. */
#include "history.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "recorder.h"
#include "workload.h"

static void must(bool done) {
  if (!done) abort();
}

static mheap_error error;

const char *history_why(void) { return error.text; }

mheap *history_attach(int fd, mheap_mode mode, bool salvage) {
  const mheap_options options = {.mode = mode, .relocate = true, .salvage = salvage};
  return mheap_attach(fd, &options, &error);
}

bool history_recover(int fd) {
  char path[64];
  mheap_journal_info info;
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  return mheap_recover(path, &info, &error) == MHEAP_OK;
}

/* ---- what is promised ---- */

static void promise(const history *h) { recorder_note(h->newest); }

static void commit(history *h, mheap *heap, bool durable) {
  uint64_t next = mheap_generation(heap) + 1;
  must(next < HISTORY_STATES);
  h->digests[next] = workload_digest(heap);
  h->newest = next;
  must(mheap_commit(heap, durable) == MHEAP_OK);
  h->newest = mheap_generation(heap); /* one less: nothing had changed */
  h->committed |= h->newest == next;
  if (durable) promise(h);
}

static void clear(history *h, mheap *heap) {
  must(workload_clear(heap) == MHEAP_OK);
  commit(h, heap, true);
}

static void checkpoint(const history *h, mheap *heap) {
  must(mheap_checkpoint(heap) == MHEAP_OK);
  promise(h);
}

static void sync_commits(history *h, mheap *heap) {
  must(mheap_sync(heap) == MHEAP_OK);
  promise(h);
}

static mheap *attach(history *h) {
  mheap *heap = history_attach(h->fd, MHEAP_MODE_ATOMIC, false);
  must(heap != NULL);
  h->committed = false;
  return heap;
}

/* Who changes nothing syncs nothing, not even what a killed process left. */
static void detach(history *h, mheap *heap) {
  mheap_detach(heap, NULL);
  if (h->committed) promise(h);
}

/* What is left of a process that is killed is found by another one. */
static mheap *kill_and_attach(history *h, mheap *heap) {
  mheap_abandon(heap);
  return attach(h);
}

static mheap *kill_and_recover(history *h, mheap *heap) {
  mheap_abandon(heap);
  must(history_recover(h->fd));
  promise(h);
  return attach(h);
}

/* Live, a journal that is there is brought into the pages first. */
static mheap *kill_and_attach_live(history *h, mheap *heap) {
  mheap_abandon(heap);
  mheap *live = history_attach(h->fd, MHEAP_MODE_LIVE, false);
  must(live != NULL);
  promise(h);
  mheap_detach(live, NULL);
  return attach(h);
}

/* ---- what has a place of its own in the code ---- */

static void fill(mheap *heap, int slot, uint64_t size, int byte) {
  must(workload_fill(heap, slot, size, byte) == MHEAP_OK);
}

/* What a checkpoint found free, between blocks, is filled: that is placed, and then changed by a record. */
static void refill(history *h, mheap *heap, int slot, bool durable) {
  fill(heap, slot, 150000, 1);
  fill(heap, slot + 1, 70000, 1);
  commit(h, heap, true);
  fill(heap, slot, 1, 1);
  commit(h, heap, durable);
  checkpoint(h, heap);
  fill(heap, slot, 150000, 2);
  commit(h, heap, durable);
  fill(heap, slot, 150000, 3);
  commit(h, heap, true);
}

/* ---- by chance ---- */

static uint64_t draw(history *h, uint64_t below) { return random_below(&h->random, below); }

static void change(history *h, mheap *heap) {
  bool large = draw(h, 6) == 0;
  for (uint64_t n = 1 + draw(h, large ? 3 : 12); n > 0; n--)
    must(workload_change(heap, &h->random, large ? 120000 : 3000) == MHEAP_OK);
}

static mheap *step(history *h, mheap *heap) {
  uint64_t what = draw(h, 24);
  change(h, heap);
  if (what == 0) mheap_rollback(heap);
  else commit(h, heap, draw(h, 3) != 0);
  if (what == 1) checkpoint(h, heap);
  if (what == 2) clear(h, heap); /* the region shrinks */
  if (what == 3) commit(h, heap, true); /* nothing new */
  if (what == 8) sync_commits(h, heap);
  if (what == 9) refill(h, heap, (int)draw(h, WORKLOAD_SLOTS - 1), draw(h, 2));
  if (what == 4) detach(h, heap);
  if (what == 4) return attach(h);
  if (what == 5) return kill_and_attach(h, heap);
  if (what == 6) return kill_and_recover(h, heap);
  if (what == 7) return kill_and_attach_live(h, heap);
  return heap;
}

static mheap *by_chance(history *h, mheap *heap) {
  for (int i = 0; i < 120; i++) heap = step(h, heap);
  return heap;
}

/* ---- by every place that syncs ---- */

/* Two commits that no sync was for. The region grows by what the first one places, and the second changes
   that: without a mark the first one is not believed once that is in the pages. */
static void grow_unsynced(history *h, mheap *heap, int slot, uint64_t size) {
  fill(heap, slot, size, 1);
  commit(h, heap, false);
  fill(heap, slot, size, 2);
  commit(h, heap, false);
}

/* A record places what the region has no more when it is closed, and the journal moves there. */
static mheap *shrink(history *h, mheap *heap) {
  clear(h, heap);
  detach(h, heap);
  heap = attach(h);
  fill(heap, 0, 40000, 1);
  commit(h, heap, true);
  clear(h, heap);
  return heap;
}

static mheap *everywhere(history *h, mheap *heap) {
  fill(heap, 0, 3000, 1);
  commit(h, heap, true); /* makes the journal */
  fill(heap, 0, 3000, 2);
  commit(h, heap, false);
  commit(h, heap, true); /* nothing new */
  grow_unsynced(h, heap, 1, 5000);
  for (int byte = 3; byte < 5; byte++) { /* the same record, but for its bytes, in the place of the last */
    checkpoint(h, heap);
    fill(heap, 0, 3000, byte);
    commit(h, heap, true);
  }
  fill(heap, 2, 100000, 1); /* the journal makes way */
  commit(h, heap, true);
  fill(heap, 2, 100000, 2); /* and grows */
  commit(h, heap, true);
  grow_unsynced(h, heap, 3, 7000);
  detach(h, heap);
  heap = attach(h);
  grow_unsynced(h, heap, 4, 9000);
  heap = kill_and_attach(h, heap);
  sync_commits(h, heap);
  grow_unsynced(h, heap, 5, 11000);
  heap = kill_and_recover(h, heap);
  grow_unsynced(h, heap, 6, 13000);
  heap = kill_and_attach_live(h, heap);
  refill(h, heap, 7, false);
  refill(h, heap, 9, true);
  return shrink(h, heap);
}

/* ---- live ---- */

static mheap *open_live(const history *h) {
  mheap *heap = history_attach(h->fd, MHEAP_MODE_LIVE, false);
  must(heap != NULL);
  return heap;
}

static void change_live(history *h, mheap *heap, int slot, uint64_t size) {
  workload_step(heap);
  fill(heap, slot, size, (int)workload_serial(heap));
  h->newest = workload_serial(heap);
  h->digests[h->newest] = workload_digest(heap);
}

/* A place by itself: what it calls only passes the sync on. */
__attribute__((noinline)) static void sync_live(const history *h, mheap *heap) {
  must(mheap_sync(heap) == MHEAP_OK);
  recorder_note(HISTORY_SYNCED(h->newest));
}

static void close_live(const history *h, mheap *heap) {
  mheap_detach(heap, NULL);
  recorder_note(HISTORY_CLOSED(h->newest));
}

/* Of each process another one: what it changed is synced and not closed, closed and not synced, or both. */
static void all_live(history *h) {
  mheap *heap = open_live(h);
  change_live(h, heap, 0, 3000);
  sync_live(h, heap);
  close_live(h, heap);
  heap = open_live(h);
  change_live(h, heap, 0, 3000); /* in its place */
  close_live(h, heap);
  heap = open_live(h);
  change_live(h, heap, 0, 3000);
  change_live(h, heap, 1, 5000);
  close_live(h, heap);
  heap = open_live(h);
  change_live(h, heap, 2, 7000);
  sync_live(h, heap);
  mheap_abandon(heap);
  heap = open_live(h);
  change_live(h, heap, 0, 3000);
  close_live(h, heap);
}

/* ---- histories ---- */

static void prepare(history *h) {
  h->fd = memfd_create("workload", MFD_CLOEXEC);
  mheap *heap = open_live(h);
  must(workload_begin(heap) == MHEAP_OK);
  h->newest = mheap_generation(heap);
  h->digests[h->newest] = workload_digest(heap);
  mheap_detach(heap, NULL);
}

void history_make(history *h, uint64_t seed) {
  *h = (history){.random = seed, .before = disk_new()};
  prepare(h);
  disk_read(&h->before, h->fd);
  mheap *heap = attach(h);
  recorder_begin(h->fd);
  promise(h);
  heap = seed == 0 ? everywhere(h, heap) : by_chance(h, heap);
  detach(h, heap);
  h->log = recorder_end();
}

/* The table's serial number, 0 at first, tells states apart. */
void history_make_live(history *h) {
  *h = (history){.live = true, .before = disk_new()};
  prepare(h);
  h->newest = 0;
  disk_read(&h->before, h->fd);
  recorder_begin(h->fd);
  recorder_note(HISTORY_CLOSED(h->newest));
  all_live(h);
  h->log = recorder_end();
}

void history_free(history *h) {
  close(h->fd);
  disk_free(&h->before);
  op_log_free(&h->log);
}
