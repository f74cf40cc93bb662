/* lies.c: see lies.h. */
#include "lies.h"

#include <string.h>

#include "places.h"

#define NOWHERE UINT64_MAX

static bool is_change(const op *it) { return it->kind != OP_SYNC && it->kind != OP_NOTE; }

static uint64_t change_before(const op_log *log, uint64_t sync) {
  for (uint64_t i = sync; i-- > 0 && log->ops[i].kind != OP_SYNC;)
    if (is_change(&log->ops[i])) return i;
  return NOWHERE;
}

static uint64_t change_behind(const op_log *log, uint64_t sync) {
  for (uint64_t i = sync + 1; i < log->count && log->ops[i].kind != OP_SYNC; i++)
    if (is_change(&log->ops[i])) return i;
  return NOWHERE;
}

/* What is between moves up, or down. */
static void move(op_log *log, uint64_t from, uint64_t to) {
  op moved = log->ops[from];
  op *ops = log->ops;
  if (from < to) memmove(ops + from, ops + from + 1, (to - from) * sizeof *ops);
  else memmove(ops + to + 1, ops + to, (from - to) * sizeof *ops);
  ops[to] = moved;
}

static void swap(op_log *log, uint64_t a, uint64_t b) {
  op first = log->ops[a];
  log->ops[a] = log->ops[b];
  log->ops[b] = first;
}

/* Each change is moved once: what one lie takes apart the next one does not put together. */
static bool lie(op_log *log, lie_kind kind, uint64_t sync) {
  bool both = kind == LIE_LATE || kind == LIE_SWAPPED;
  uint64_t before = change_before(log, sync), behind = both ? change_behind(log, sync) : before;
  if (before == NOWHERE || behind == NOWHERE) return false;
  if (kind != LIE_DROPPED && (log->ops[before].lied || log->ops[behind].lied)) return false;
  log->ops[before].lied = log->ops[behind].lied = log->ops[sync].lied = true;
  if (kind == LIE_DROPPED) log->ops[sync].kind = OP_NOTE;
  if (kind == LIE_EARLY) move(log, sync, before);
  if (kind == LIE_LATE) move(log, sync, behind);
  if (kind == LIE_SWAPPED) swap(log, before, behind);
  return true;
}

uint64_t lie_about(op_log *log, lie_kind kind, const char *place) {
  uint64_t told = 0;
  for (uint64_t i = log->count; i-- > 0;) {
    const op *it = &log->ops[i];
    bool meant = it->kind == OP_SYNC && !it->lied && strcmp(place_name(it->place), place) == 0;
    if (meant) told += lie(log, kind, i);
  }
  return told;
}
