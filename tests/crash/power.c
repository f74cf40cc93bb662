/* power.c: power cuts at any moment of a workload of commits: what the disk may hold then is built, attached
   and judged.

     crash_power [-n IMAGES] [-s SEED] [LIE [PLACE]]     tells how many images were bad

   and of each place that syncs, how often it did. A LIE (recorder.h) is a defect that must be seen: the first
   bad image ends it. 200,000 images:

     for seed in $(seq 100); do crash_power -n 2000 -s $seed | grep images; done

   What may be on the disk after a cut: all that a sync was waited for; of what came since, any writes
   and not the others, some of them in part, by sectors of 512 bytes, among them some that hold what
   was there before. Changes of the file's length and holes come in the order they were made, but may be behind
   the writes: what was written behind the end that the file has then is lost.
   A good image attaches, is sound, and is exactly the commit that was acknowledged last, or a later one.
   What the attach itself writes is recorded too where there is a journal to bring into the pages, and the
   power is cut again in the middle of that. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "heap.h"
#include "places.h"
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

static void recover(const history *h) {
  char path[64];
  mheap_journal_info info;
  snprintf(path, sizeof path, "/proc/self/fd/%d", h->fd);
  if (mheap_recover(path, &info, NULL) != MHEAP_OK) abort();
}

static void step(history *h, mheap **heap) {
  uint64_t what = draw(24);
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
  if (what >= 8 && what <= 10) {
    if (what == 8) mheap_detach(*heap, NULL);
    else mheap_abandon(*heap);
    if (what == 10) recover(h);
    if (what != 9) recorder_note(acknowledged = h->newest); /* all is in the pages */
    *heap = attach(h->fd, MHEAP_MODE_ATOMIC);
    if (*heap == NULL) abort();
  }
}

static void prepare(history *h) {
  h->fd = memfd_create("workload", MFD_CLOEXEC);
  mheap *heap = attach(h->fd, MHEAP_MODE_LIVE);
  if (heap == NULL) abort();
  mheap_setkey(heap, 0, mheap_calloc(heap, SLOTS, sizeof(slot)));
  acknowledged = h->newest = mheap_generation(heap);
  h->digest[h->newest] = digest(heap);
  mheap_detach(heap, NULL);
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

static int image_file(void) {
  static int fd = -1;
  if (fd < 0) fd = memfd_create("image", MFD_CLOEXEC);
  if (fd < 0) abort();
  return fd;
}

/* In the modes in turn; then once more, as the first attach left it. `written`: gets what the
   attach wrote, which is made to write then. */
static void judge(const history *h, verdict *v, uint64_t cut, const disk *d, uint64_t least,
                  op_log *written) {
  static const mheap_mode modes[] = {MHEAP_MODE_ATOMIC, MHEAP_MODE_READONLY, MHEAP_MODE_ATOMIC,
                                     MHEAP_MODE_LIVE};
  uint64_t first, second;
  int fd = image_file();
  put(d, fd);
  v->images++;
  if (written != NULL) {
    recorder_begin(fd);
    recorder_note(least);
  }
  mheap *heap = attach(fd, written != NULL ? MHEAP_MODE_LIVE : modes[v->images % 4]);
  if (written != NULL) *written = recorder_end();
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

static void lengthen(disk *d, const op *it) {
  if (it->kind == OP_LENGTH) d->length = it->length;
  if (it->kind == OP_WRITE && it->offset + it->length > d->length) d->length = it->offset + it->length;
}

/* The part of a write before the end of the file. */
static op within(const op *it, uint64_t most) {
  op part = *it;
  if (it->kind != OP_WRITE || it->offset + it->length <= most) return part;
  part.length = it->offset < most ? most - it->offset : 0;
  return part;
}

/* What a disk holds, of a log's ops [from, end) that came behind the last sync. `mask`: which of the writes are
   there, if they are few. */
static disk cut_disk(const disk *base, const op_log *log, uint64_t from, uint64_t end, uint64_t mask) {
  disk d = {.bytes = malloc(FILE_MOST), .length = base->length};
  if (d.bytes == NULL) abort();
  memcpy(d.bytes, base->bytes, FILE_MOST);
  uint64_t lengths_end = draw(3) == 0 ? from + draw(end - from + 1) : end;
  for (uint64_t i = from; i < lengths_end; i++) lengthen(&d, &log->ops[i]);
  uint64_t most = lengths_end < end ? d.length : FILE_MOST;
  d.length = base->length;
  for (uint64_t i = from, n = 0; i < end; i++) {
    op it = within(&log->ops[i], most);
    if (it.kind != OP_WRITE && i < lengths_end) apply(&d, &it);
    if (it.kind != OP_WRITE || it.length == 0) continue;
    if (draw(5) == 0) apply_torn(&d, &it);
    else if (mask >> n++ % 64 & 1) apply(&d, &it);
  }
  return d;
}

static uint64_t next_sync(const op_log *log, uint64_t from) {
  while (from < log->count && log->ops[from].kind != OP_SYNC) from++;
  return from;
}

static uint64_t draw_mask(uint64_t i) {
  return i == 0 ? 0 : i == 1 ? UINT64_MAX : draw(UINT32_MAX) << 32 | draw(UINT32_MAX);
}

static bool seen_enough(const verdict *v) { return v->quiet && v->bad > 0; }

/* In the middle of what an attach wrote to a disk. */
static void cut_recovery(const history *h, verdict *v, const disk *base, const op_log *log, uint64_t least) {
  disk d = {.bytes = malloc(FILE_MOST), .length = base->length};
  if (d.bytes == NULL) abort();
  memcpy(d.bytes, base->bytes, FILE_MOST);
  for (uint64_t from = 0, to; from < log->count && !seen_enough(v); from = to + 1) {
    to = next_sync(log, from);
    disk cut = cut_disk(&d, log, from, from + draw(to - from + 1), draw_mask(draw(4)));
    judge(h, v, to, &cut, least, NULL);
    free(cut.bytes);
    for (; from < to; from++) apply(&d, &log->ops[from]);
  }
  free(d.bytes);
}

/* A cut somewhere behind op `from`, which is the last sync, and before `to`. */
static void cut_in(const history *h, verdict *v, const disk *base, uint64_t from, uint64_t to,
                   uint64_t mask) {
  op_log written = {0};
  uint64_t end = from + draw(to - from + 1), least = h->log.ops[from > 0 ? from - 1 : 0].note;
  for (uint64_t i = from; i < end; i++)
    if (h->log.ops[i].note > least) least = h->log.ops[i].note;
  disk d = cut_disk(base, &h->log, from, end, mask);
  judge(h, v, end, &d, least, draw(8) == 0 ? &written : NULL);
  if (!seen_enough(v)) cut_recovery(h, v, &d, &written, least);
  recorder_free(&written);
  free(d.bytes);
}

/* As often between any two syncs, but more so at first: the journal is made only once. */
static void cut_everywhere(const history *h, verdict *v, disk *base, uint64_t images) {
  uint64_t epochs = 0, from = 0;
  for (uint64_t i = 0; i < h->log.count; i++) epochs += h->log.ops[i].kind == OP_SYNC;
  uint64_t each = images / (epochs + 1) * 2 / 3 + 1;
  for (uint64_t n = 0; from < h->log.count && !seen_enough(v); n++) {
    uint64_t to = next_sync(&h->log, from);
    for (uint64_t i = 0; i < (n < 4 ? 16 * each : each) && !seen_enough(v); i++)
      cut_in(h, v, base, from, to, draw_mask(draw(6)));
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

static uint64_t arguments(int argc, char **argv, mh_lie *lie) {
  uint64_t images = 2000;
  int option;
  while ((option = getopt(argc, argv, "n:s:")) != -1)
    if (option == 'n') images = strtoull(optarg, NULL, 10);
    else if (option == 's') seed = strtoull(optarg, NULL, 10);
    else exit(2);
  *lie = optind < argc ? lie_of(argv[optind]) : LIE_NONE;
  recorder_lie(*lie, optind + 1 < argc ? argv[optind + 1] : NULL);
  return images;
}

int main(int argc, char **argv) {
  static history h;
  mh_lie lie;
  uint64_t images = arguments(argc, argv, &lie);
  verdict v = {.quiet = lie != LIE_NONE};
  prepare(&h);
  mheap *heap = attach(h.fd, MHEAP_MODE_ATOMIC);
  disk base = disk_of(h.fd);
  recorder_begin(h.fd);
  recorder_note(acknowledged);
  go_on(&h, heap);
  h.log = recorder_end();
  cut_everywhere(&h, &v, &base, images);
  printf("%llu images of %llu operations, %llu generations, %u places that sync, %llu bad\n",
         (unsigned long long)v.images, (unsigned long long)h.log.count, (unsigned long long)h.newest,
         places_count(), (unsigned long long)v.bad);
  for (unsigned i = 0; i < places_count(); i++) printf("place %s\n", place_name(i));
  recorder_free(&h.log);
  return v.bad > 0;
}
