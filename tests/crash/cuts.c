/* cuts.c: see cuts.h. */
#include "cuts.h"

#include <stdlib.h>
#include <string.h>

#include "model.h"

enum { SECTOR = 512 };

static void *must(void *memory) {
  if (memory == NULL) abort();
  return memory;
}

/* ---- epochs ---- */

static bool is_zero(const op *it) {
  for (uint64_t i = 0; i < it->length; i++)
    if (it->data[i] != 0) return false;
  return true;
}

static bool meet(const op *a, const op *b) { return a->offset < op_end(b) && b->offset < op_end(a); }

/* Does the write bring anything, whatever else of the epoch is there? What was cut off reads as zero. */
static bool brings(const epoch *e, uint64_t i) {
  const op *it = &e->log->ops[i];
  if (op_end(it) > DISK_MOST) abort();
  if (memcmp(e->base->bytes + it->offset, it->data, it->length) != 0) return true;
  bool zero = is_zero(it);
  for (uint64_t k = e->from; k < i; k++) {
    const op *other = &e->log->ops[k];
    if (other->kind == OP_WRITE ? meet(it, other) : !zero && other->kind != OP_NOTE) return true;
  }
  return false;
}

static uint64_t length_after(const op *it, uint64_t length) {
  if (it->kind == OP_LENGTH) return it->length;
  return it->kind == OP_WRITE && op_end(it) > length ? op_end(it) : length;
}

bool epoch_begin(epoch *e, const op_log *log, uint64_t from, const disk *base) {
  *e = (epoch){.log = log, .from = from, .to = from, .base = base};
  if (from >= log->count) return false;
  while (e->to < log->count && log->ops[e->to].kind != OP_SYNC) e->to++;
  e->writes = must(malloc((e->to - from + 1) * sizeof *e->writes));
  e->lengths = must(malloc((e->to - from + 1) * sizeof *e->lengths));
  uint64_t length = base->length;
  for (uint64_t i = from; i < e->to; i++) {
    const op *it = &log->ops[i];
    uint64_t longer = length_after(it, length);
    if (longer != length || it->kind == OP_PUNCH) e->lengths[e->length_count++] = i;
    if (it->kind == OP_WRITE && brings(e, i)) e->writes[e->count++] = i;
    length = longer;
  }
  e->lengths[e->length_count++] = e->to;
  return true;
}

void epoch_end(epoch *e) {
  free(e->writes);
  free(e->lengths);
}

void epoch_apply(const epoch *e, disk *base) {
  for (uint64_t i = e->from; i < e->to; i++) disk_apply(base, &e->log->ops[i]);
}

/* ---- cutting ---- */

typedef enum part { ABSENT, WHOLE, HEAD, TORN } part; /* HEAD: the first sector; TORN: any of them */

/* One way to cut, and who is told. */
typedef struct cutter {
  const epoch *epoch;
  part *parts;     /* of each of the epoch's writes */
  uint64_t length; /* the op before which the file's length is that of now */
  uint64_t end;
  uint64_t *random;
  judge_image *judge;
  void *arg;
  disk image;
} cutter;

/* The part of a write before the end of the file. */
static op within(const op *it, uint64_t most) {
  op kept = *it;
  if (op_end(it) > most) kept.length = it->offset < most ? most - it->offset : 0;
  return kept;
}

/* Some of its sectors only; a write that is one sector is whole or not there. */
static void apply_torn(disk *d, const op *it, part how, uint64_t *random) {
  for (uint64_t at = 0, n; at < it->length; at += n) {
    n = SECTOR - (it->offset + at) % SECTOR;
    if (n > it->length - at) n = it->length - at;
    op piece = {.kind = OP_WRITE, .offset = it->offset + at, .length = n, .data = it->data + at};
    if (how == HEAD ? at == 0 : random_below(random, 2)) disk_apply(d, &piece);
  }
}

static bool cut(cutter *c, bool is_prefix) {
  const epoch *e = c->epoch;
  const op *ops = e->log->ops;
  uint64_t length = e->base->length;
  for (uint64_t i = e->from; i < c->length; i++) length = length_after(&ops[i], length);
  disk_copy(&c->image, e->base);
  for (uint64_t i = e->from, n = 0; i < e->to; i++) {
    bool counts = n < e->count && e->writes[n] == i;
    part how = counts ? c->parts[n++] : ABSENT;
    if (ops[i].kind != OP_WRITE && i < c->length) disk_apply(&c->image, &ops[i]);
    if (how == ABSENT) continue;
    op it = c->length < c->end ? within(&ops[i], length) : ops[i];
    if (how == WHOLE) disk_apply(&c->image, &it);
    else apply_torn(&c->image, &it, how, c->random);
  }
  disk_resize(&c->image, length);
  return c->judge(c->arg, &c->image, c->end, is_prefix);
}

static void set_all(cutter *c, part how) {
  for (uint64_t n = 0; n < c->epoch->count; n++) c->parts[n] = how;
}

/* The cut comes behind all ops; the file's length is that before op `length`. */
static void at_the_end(cutter *c, uint64_t length) {
  c->end = c->epoch->to;
  c->length = length;
}

static bool cut_prefixes(cutter *c) {
  const epoch *e = c->epoch;
  for (uint64_t end = e->from; end <= e->to; end++) {
    for (uint64_t n = 0; n < e->count; n++) c->parts[n] = e->writes[n] < end ? WHOLE : ABSENT;
    c->end = c->length = end;
    if (!cut(c, true)) return false;
  }
  return true;
}

static bool cut_each(cutter *c, part others, part how) {
  at_the_end(c, c->epoch->to);
  set_all(c, others);
  for (uint64_t n = 0; n < c->epoch->count; n++) {
    c->parts[n] = how;
    if (!cut(c, false)) return false;
    c->parts[n] = others;
  }
  return true;
}

static uint64_t below(const uint64_t *list, uint64_t count, uint64_t end) {
  uint64_t n = 0;
  while (n < count && list[n] < end) n++;
  return n;
}

static bool cut_subsets(cutter *c, uint64_t end, uint64_t length) {
  const epoch *e = c->epoch;
  uint64_t count = below(e->writes, e->count, end);
  set_all(c, ABSENT);
  c->end = end;
  c->length = length;
  for (uint64_t mask = 0; mask < (uint64_t)1 << count; mask++) {
    for (uint64_t n = 0; n < count; n++) c->parts[n] = mask >> n & 1 ? WHOLE : ABSENT;
    if (!cut(c, false)) return false;
  }
  return true;
}

/* Whatever the file's length is by then. */
static bool cut_until(cutter *c, uint64_t end) {
  const epoch *e = c->epoch;
  uint64_t lengths = below(e->lengths, e->length_count, end);
  for (uint64_t k = 0; k < lengths; k++)
    if (!cut_subsets(c, end, e->lengths[k])) return false;
  return cut_subsets(c, end, end);
}

static uint64_t images_until(const epoch *e, uint64_t end) {
  return (below(e->lengths, e->length_count, end) + 1) << below(e->writes, e->count, end);
}

/* In the middle too, where something was promised. */
static bool is_promise(const epoch *e, uint64_t i) { return e->log->ops[i].kind == OP_NOTE; }

static bool cut_all(cutter *c) {
  const epoch *e = c->epoch;
  for (uint64_t i = e->from; i < e->to; i++)
    if (is_promise(e, i) && !cut_until(c, i + 1)) return false;
  return cut_until(c, e->to);
}

static uint64_t images_of_all(const epoch *e) {
  uint64_t images = images_until(e, e->to);
  for (uint64_t i = e->from; i < e->to; i++)
    if (is_promise(e, i)) images += images_until(e, i + 1);
  return images;
}

/* How many are there is drawn too. */
static bool cut_by_chance(cutter *c, uint64_t images) {
  const epoch *e = c->epoch;
  for (uint64_t i = 0; i < images; i++) {
    uint64_t often = random_below(c->random, 9), end = e->from + random_below(c->random, e->to - e->from + 1);
    at_the_end(c, e->lengths[random_below(c->random, 3) ? e->length_count - 1
                                                        : random_below(c->random, e->length_count)]);
    if (random_below(c->random, 2)) c->end = end;
    if (c->length > c->end) c->length = c->end;
    for (uint64_t n = 0; n < e->count; n++) {
      bool there = e->writes[n] < c->end && random_below(c->random, 8) < often;
      c->parts[n] = !there ? ABSENT : random_below(c->random, 5) ? WHOLE : TORN;
    }
    if (!cut(c, false)) return false;
  }
  return true;
}

static bool cut_with(cutter *c, uint64_t most) {
  const epoch *e = c->epoch;
  uint64_t first = e->to - e->from + 1 + 4 * e->count;
  if (most != 0 && first > most) return cut_by_chance(c, most), false;
  if (!cut_prefixes(c)) return false;
  for (part how = HEAD; how <= TORN; how++)
    if (!cut_each(c, WHOLE, how) || !cut_each(c, ABSENT, how)) return false;
  if (e->count <= CUTS_ALL && (most == 0 || images_of_all(e) <= most - first)) return cut_all(c);
  if (!cut_each(c, WHOLE, ABSENT) || !cut_each(c, ABSENT, WHOLE)) return false;
  uint64_t drawn = most == 0 || most - first > CUTS_DRAWN ? CUTS_DRAWN : most - first;
  return cut_by_chance(c, drawn), false;
}

bool epoch_cut(const epoch *e, uint64_t most, uint64_t *random, judge_image *judge, void *arg) {
  cutter c = {.epoch = e, .random = random, .judge = judge, .arg = arg, .image = disk_new()};
  c.parts = must(calloc(e->count + 1, sizeof *c.parts));
  bool all = cut_with(&c, most);
  free(c.parts);
  disk_free(&c.image);
  return all;
}
