/* power.c: power cuts at any moment of a workload of commits: what the disk may hold then is built, attached
   and judged.

     power [-n IMAGES] [-s SEED] [LIE [SITE]]     tells how many images were bad

   What may be on the disk after a cut: all that a sync was waited for; of what came since, any writes
   and not the others, some of them in part, by sectors of 512 bytes, among them some that hold what
   was there before. Changes of the file's length and holes come in the order they were made.
   A good image attaches, is sound, and is exactly the commit that was acknowledged last, or a later one. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "heap.h"
#include "recorder.h"
#include "recover.h"

enum { SECTOR = 512, SLOTS = 48, GENERATIONS = 4096, FILE_MOST = 24 << 20 };

/* ---- the heap's contents: blocks of random bytes in a table at key 0 ---- */

typedef struct slot {
  uint8_t *bytes;
  uint64_t size;
} slot;

static uint64_t seed = 1;
static uint64_t draw(uint64_t below) {
  seed = seed * 6364136223846793005u + 1442695040888963407u;
  return (seed >> 33) % below;
}

static uint64_t digest(mheap *heap) {
  const slot *slots = mheap_getkey(heap, 0);
  uint64_t sum = 14695981039346656037u;
  for (int i = 0; slots != NULL && i < SLOTS; i++) {
    sum = (sum ^ slots[i].size) * 1099511628211u;
    if (slots[i].bytes != NULL && mheap_usable_size(heap, slots[i].bytes) < slots[i].size) return 0;
    for (uint64_t k = 0; slots[i].bytes != NULL && k < slots[i].size; k++)
      sum = (sum ^ slots[i].bytes[k]) * 1099511628211u;
  }
  return sum;
}

static void change(mheap *heap, uint64_t most) {
  slot *it = (slot *)mheap_getkey(heap, 0) + draw(SLOTS);
  if (it->bytes != NULL && draw(3) == 0) { /* in place */
    memset(it->bytes + draw(it->size), (int)draw(256), 1);
    return;
  }
  if (it->bytes != NULL) mheap_free(heap, it->bytes);
  *it = (slot){0};
  if (draw(4) == 0) return;
  it->size = 1 + draw(most);
  it->bytes = mheap_malloc(heap, it->size);
  if (it->bytes == NULL) abort();
  memset(it->bytes, (int)draw(256), it->size);
}

/* ---- the workload ---- */

typedef struct history {
  uint64_t digest[GENERATIONS]; /* of each generation that was ever committed, or tried */
  uint64_t newest;              /* the last that was tried */
  op_log log;
  int fd;
} history;

/* Notes: the newest generation that was acknowledged as durable. */
static uint64_t acknowledged;

static mheap *attach(int fd, mheap_mode mode) {
  mheap_error error;
  mheap *heap = mheap_attach(fd, &(mheap_options){.mode = mode, .relocate = true}, &error);
  if (heap == NULL) printf("  %s\n", error.text);
  return heap;
}

static void commit(history *h, mheap *heap, bool durable) {
  uint64_t next = mheap_generation(heap) + 1;
  h->digest[next] = digest(heap);
  h->newest = next;
  if (mheap_commit(heap, durable) != MHEAP_OK) abort();
  if (mheap_generation(heap) != next) h->newest = next - 1; /* nothing had changed */
  else if (durable) recorder_note(acknowledged = next);
}

static void step(history *h, mheap **heap) {
  uint64_t what = draw(40);
  uint64_t most = what < 4 ? 120000 : 3000;
  for (uint64_t n = 1 + draw(what < 4 ? 3 : 12); n > 0; n--) change(*heap, most);
  if (what == 5) mheap_rollback(*heap);
  else commit(h, *heap, draw(3) != 0);
  if (what == 6) mheap_checkpoint(*heap);
  if (what == 7) { /* frees much: the region shrinks */
    slot *slots = mheap_getkey(*heap, 0);
    for (int i = 0; i < SLOTS; i++) mheap_free(*heap, slots[i].bytes);
    memset(slots, 0, SLOTS * sizeof *slots);
    mheap_collect(*heap, false);
    commit(h, *heap, true);
  }
  if (what == 8 || what == 9) {
    if (what == 8) mheap_detach(*heap, NULL);
    else mheap_abandon(*heap);
    if (what == 8) recorder_note(acknowledged = h->newest); /* it brought all into the pages */
    *heap = attach(h->fd, MHEAP_MODE_ATOMIC);
    if (*heap == NULL) abort();
  }
}

static void prepare(history *h) {
  h->fd = memfd_create("workload", MFD_CLOEXEC);
  mheap *heap = attach(h->fd, MHEAP_MODE_ATOMIC);
  if (heap == NULL) abort();
  mheap_setkey(heap, 0, mheap_calloc(heap, SLOTS, sizeof(slot)));
  commit(h, heap, true);
  mheap_detach(heap, NULL);
  acknowledged = h->newest;
}

static void go_on(history *h, mheap *heap) {
  for (int i = 0; i < 120; i++) step(h, &heap);
  mheap_detach(heap, NULL);
}

/* ---- disks ---- */

typedef struct disk {
  uint8_t *bytes; /* FILE_MOST of them */
  uint64_t length;
} disk;

static disk disk_of(int fd) {
  disk d = {.bytes = calloc(1, FILE_MOST)};
  if (d.bytes == NULL) abort();
  ssize_t got = pread(fd, d.bytes, FILE_MOST, 0);
  if (got < 0) abort();
  d.length = (uint64_t)got;
  return d;
}

static void set_length(disk *d, uint64_t length) {
  if (length > FILE_MOST) abort();
  if (length < d->length) memset(d->bytes + length, 0, d->length - length);
  d->length = length;
}

static void apply(disk *d, const op *it) {
  if (it->kind == OP_LENGTH) set_length(d, it->length);
  if (it->kind == OP_PUNCH) memset(d->bytes + it->offset, 0, it->length);
  if (it->kind != OP_WRITE) return;
  if (it->offset + it->length > FILE_MOST) abort();
  memcpy(d->bytes + it->offset, it->data, it->length);
  if (it->offset + it->length > d->length) d->length = it->offset + it->length;
}

/* Some of its sectors only; a write that is one sector is whole or not there. */
static void apply_torn(disk *d, const op *it) {
  for (uint64_t at = 0; at < it->length;) {
    uint64_t n = SECTOR - (it->offset + at) % SECTOR;
    if (n > it->length - at) n = it->length - at;
    op piece = {.kind = OP_WRITE, .offset = it->offset + at, .length = n, .data = it->data + at};
    if (draw(2)) apply(d, &piece);
    at += n;
  }
}

/* ---- judging ---- */

typedef struct verdict {
  uint64_t images, bad;
  bool quiet;
} verdict;

static void complain(verdict *v, uint64_t cut, const char *what, uint64_t a, uint64_t b) {
  if (++v->bad <= 5 && !v->quiet)
    printf("  cut at %llu: %s (%llu, %llu)\n", (unsigned long long)cut, what, (unsigned long long)a,
           (unsigned long long)b);
}

static void put(const disk *d, int fd) {
  if (ftruncate(fd, 0) != 0 || ftruncate(fd, (off_t)d->length) != 0) abort();
  if (pwrite(fd, d->bytes, d->length, 0) != (ssize_t)d->length) abort();
}

static bool judge_heap(const history *h, verdict *v, uint64_t cut, mheap *heap, uint64_t least,
                       uint64_t *found) {
  *found = heap != NULL ? mheap_generation(heap) : 0;
  if (heap == NULL) return complain(v, cut, "does not attach", least, 0), false;
  if (*found < least || *found > h->newest) return complain(v, cut, "generation", least, *found), false;
  if (mheap_check(heap, NULL, NULL, NULL) != MHEAP_OK)
    return complain(v, cut, "unsound", least, *found), false;
  if (digest(heap) != h->digest[*found]) return complain(v, cut, "other contents", least, *found), false;
  return true;
}

/* In the modes in turn; then once more, as the first attach left it. */
static void judge(const history *h, verdict *v, uint64_t cut, const disk *d, uint64_t least) {
  static const mheap_mode modes[] = {MHEAP_MODE_ATOMIC, MHEAP_MODE_READONLY, MHEAP_MODE_ATOMIC,
                                     MHEAP_MODE_LIVE};
  static int fd = -1;
  uint64_t first, second;
  if (fd < 0) fd = memfd_create("image", MFD_CLOEXEC);
  put(d, fd);
  v->images++;
  mheap *heap = attach(fd, modes[v->images % 4]);
  bool good = judge_heap(h, v, cut, heap, least, &first);
  if (heap != NULL && v->images % 3 == 0) mheap_detach(heap, NULL);
  else mheap_abandon(heap);
  if (!good) return;
  heap = attach(fd, MHEAP_MODE_READONLY);
  if (judge_heap(h, v, cut, heap, least, &second) && second != first)
    complain(v, cut, "another generation the second time", first, second);
  mheap_abandon(heap);
}

/* ---- images ---- */

/* A cut somewhere behind op `from`, which is the last sync, and before `to`. `mask`: which of the writes are
   there, if they are few. */
static void cut_in(const history *h, verdict *v, const disk *base, uint64_t from, uint64_t to,
                   uint64_t mask) {
  disk d = {.bytes = malloc(FILE_MOST), .length = base->length};
  if (d.bytes == NULL) abort();
  memcpy(d.bytes, base->bytes, FILE_MOST);
  uint64_t end = from + draw(to - from + 1), least = h->log.ops[from > 0 ? from - 1 : 0].note;
  for (uint64_t i = from, n = 0; i < end; i++) {
    const op *it = &h->log.ops[i];
    if (it->note > least) least = it->note;
    if (it->kind != OP_WRITE) apply(&d, it);
    else if (draw(5) == 0) apply_torn(&d, it);
    else if (mask >> n++ % 64 & 1) apply(&d, it);
  }
  judge(h, v, end, &d, least);
  free(d.bytes);
}

static uint64_t next_sync(const op_log *log, uint64_t from) {
  while (from < log->count && log->ops[from].kind != OP_SYNC) from++;
  return from;
}

/* Between two syncs, in proportion to what was written there. */
static void cut_everywhere(const history *h, verdict *v, disk *base, uint64_t images) {
  uint64_t epochs = 0, from = 0;
  for (uint64_t i = 0; i < h->log.count; i++) epochs += h->log.ops[i].kind == OP_SYNC;
  uint64_t each = images / (epochs + 1) + 1;
  while (from < h->log.count && v->images < images) {
    uint64_t to = next_sync(&h->log, from);
    for (uint64_t i = 0; i < each; i++) {
      uint64_t mask = i == 0 ? 0 : i == 1 ? UINT64_MAX : draw(UINT32_MAX) << 32 | draw(UINT32_MAX);
      cut_in(h, v, base, from, to, mask);
    }
    for (; from < to; from++) apply(base, &h->log.ops[from]);
    from = to + 1;
  }
}

static mh_lie lie_of(const char *name) {
  static const char *const names[] = {"none", "sync-dropped", "sync-early", "sums-ignored", "mark-dropped"};
  for (int i = 0; i < 5; i++)
    if (strcmp(name, names[i]) == 0) return (mh_lie)i;
  fprintf(stderr, "no lie is called %s\n", name);
  exit(2);
}

int main(int argc, char **argv) {
  static history h;
  verdict v = {0};
  uint64_t images = 2000;
  int option;
  while ((option = getopt(argc, argv, "n:s:")) != -1)
    if (option == 'n') images = strtoull(optarg, NULL, 10);
    else if (option == 's') seed = strtoull(optarg, NULL, 10);
    else return 2;
  mh_lie lie = optind < argc ? lie_of(argv[optind]) : LIE_NONE;
  unsigned site = optind + 1 < argc ? (unsigned)atoi(argv[optind + 1]) : 0;
  v.quiet = lie != LIE_NONE;
  prepare(&h);
  mheap *heap = attach(h.fd, MHEAP_MODE_ATOMIC);
  disk base = disk_of(h.fd);
  recorder_begin(h.fd, lie, site);
  recorder_note(acknowledged);
  go_on(&h, heap);
  h.log = recorder_end();
  cut_everywhere(&h, &v, &base, images);
  printf("%llu images of %llu operations, %llu generations, %u places that sync, %llu bad\n",
         (unsigned long long)v.images, (unsigned long long)h.log.count, (unsigned long long)h.newest,
         recorder_sync_sites(), (unsigned long long)v.bad);
  recorder_free(&h.log);
  return v.bad > 0;
}
