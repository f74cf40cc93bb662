/* hooks.c: see hooks.h. Owns mh_hooks, made when a heap's guards or trace are first turned on.

   Calls heap.h (the unhooked functions), stats.c through the public header, os.h, stdio.
   Locks: mh_hooks.lock, held over a traced call and its line, comes before heap->lock; it is
   not held while a caller's function runs. heap->lock guards turning hooks on and off. */
#include "hooks.h"

#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lane.h"
#include "os.h"
#include "parts.h"

#define GUARD sizeof(mh_guard)
#define SHIFT_BIT 48
#define SIZE_MASK (((uint64_t)1 << SHIFT_BIT) - 1)

/* What probe() says, beyond mheap_probe, of a pointer into a block that was not handed out. */
#define PROBE_INSIDE ((mheap_probe) - 2)

struct mh_hooks {
  pthread_mutex_t lock; /* of the trace */
  _Atomic(FILE *) trace;
  int lost; /* errno of the first line of the trace that could not be written */
  bool guards;
  mheap_check_fun *report; /* NULL, and plain NULL too: print and abort */
  void (*plain)(void);     /* GNU mmcheck's */
};

/* ---- guards: layout ---- */

static uint64_t guard_check(const mheap *heap, const char *data, uint64_t size) {
  return MH_GUARD_MAGIC ^ size ^ mh_offset(heap->region, data);
}

/* Does a guard that says `log` belong to data so far into its block? */
static bool shift_is(const char *block, uint64_t shift, unsigned log) {
  uint64_t stored;
  if (log != MH_GUARD_STORED) return log < 48 && shift % GUARD == 0 && shift == (uint64_t)1 << log;
  memcpy(&stored, block, sizeof stored);
  return shift >= MH_GUARD_STORED_LEAST && shift == stored;
}

/* The bytes asked for, if an intact guard of a block of `usable` bytes stands before data. */
static bool guard_read(const mheap *heap, const char *block, uint64_t usable, const char *data,
                       size_t *size) {
  uint64_t shift = (uint64_t)(data - block);
  if (shift < GUARD || usable < MH_GUARD_TAIL || shift > usable - MH_GUARD_TAIL) return false;
  mh_guard guard;
  memcpy(&guard, data - GUARD, GUARD);
  *size = guard.size & SIZE_MASK;
  unsigned log = (unsigned)(guard.size >> SHIFT_BIT);
  return guard.check == guard_check(heap, data, guard.size) && shift_is(block, shift, log) &&
         *size <= usable - MH_GUARD_TAIL - shift;
}

/* `log` is that of shift, or MH_GUARD_STORED. */
static void guard_write(const mheap *heap, char *block, uint64_t usable, uint64_t shift, unsigned log,
                        size_t size) {
  char *data = block + shift;
  mh_guard guard = {.size = size | (uint64_t)log << SHIFT_BIT};
  if (log == MH_GUARD_STORED) memcpy(block, &shift, sizeof shift);
  guard.check = guard_check(heap, data, guard.size);
  memcpy(data - GUARD, &guard, GUARD);
  memset(data + size, MH_GUARD_FILL, usable - shift - size);
}

static bool tail_is_whole(const uint8_t *from, const uint8_t *end) {
  for (; from < end; from++)
    if (*from != MH_GUARD_FILL) return false;
  return true;
}

static bool row_is_guarded(const mheap *heap) {
  return (mh_read(&mh_heap_row_of(heap)->head) & MH_HEAP_GUARDED) != 0;
}

/* ---- guarded blocks, mmcheck on or not ---- */

void *mh_guard_data(mheap *heap, void *block_start, size_t *usable) {
  char *block = block_start;
  size_t size;
  uint64_t stored;
  if (!row_is_guarded(heap)) return block;
  for (uint64_t shift = GUARD; shift < *usable; shift *= 2)
    if (guard_read(heap, block, *usable, block + shift, &size)) {
      *usable = size;
      return block + shift;
    }
  memcpy(&stored, block, sizeof stored);
  if (stored >= *usable || !guard_read(heap, block, *usable, block + stored, &size)) return block;
  *usable = size;
  return block + stored;
}

static bool guard_of(mheap *heap, void *block_start, const void *data, size_t *size) {
  return row_is_guarded(heap) && (const char *)data > (char *)block_start &&
         guard_read(heap, block_start, mh_heap_usable_size(heap, block_start), data, size);
}

bool mh_guard_is(mheap *heap, void *block_start, const void *data) {
  size_t size;
  return guard_of(heap, block_start, data, &size);
}

size_t mh_guard_usable_size(mheap *heap, void *block_start, const void *data) {
  size_t size;
  return guard_of(heap, block_start, data, &size) ? size : 0;
}

static mheap_err not_a_block(mheap *heap, const void *data) {
  return mh_fail(mh_error(heap), MHEAP_ERR_POINTER,
                 "%p: expected the start of a block, found the inside of one", data);
}

/* Done twice, nothing. The data may lie anywhere. */
static void spoil(char *data) {
  uint64_t check;
  memcpy(&check, data - sizeof check, sizeof check);
  check = ~check;
  memcpy(data - sizeof check, &check, sizeof check);
}

/* The guard is spoiled first, so that whoever gets the memory next, unguarded, is not taken for
   guarded; a kill between the two stores leaves a block that nobody can free. */
static mheap_err free_guarded(mheap *heap, void *block_start, void *data) {
  spoil(data);
  mheap_err failed = mh_heap_free(heap, block_start);
  if (failed) spoil(data);
  return failed;
}

mheap_err mh_guard_free(mheap *heap, void *block_start, void *data) {
  return mh_guard_is(heap, block_start, data) ? free_guarded(heap, block_start, data)
                                              : not_a_block(heap, data);
}

static bool spoil_one(void *heap, void *data, size_t usable) {
  (void)usable;
  if (mh_heap_block_start(heap, data) != data) spoil(data);
  return true;
}

void mh_guard_spoil_all(mheap *heap) {
  if (row_is_guarded(heap)) mheap_visit_blocks(heap, spoil_one, heap);
}

static void *guarded_malloc(mheap *heap, size_t size, size_t alignment);

/* Always to a new block, so that a kill at any instant finds an intact guard. What was aligned
   beside its start is not, afterwards. */
static void *move_guarded(mheap *heap, void *block_start, void *data, size_t size, bool guarded) {
  size_t old, shift = (size_t)((char *)data - (char *)block_start);
  size_t alignment = (shift & (shift - 1)) == 0 ? shift : GUARD;
  if (!guard_of(heap, block_start, data, &old)) {
    not_a_block(heap, data);
    return NULL;
  }
  void *moved = guarded ? guarded_malloc(heap, size, alignment) : mh_heap_malloc(heap, size, alignment);
  if (moved == NULL) return NULL;
  memcpy(moved, data, old < size ? old : size);
  free_guarded(heap, block_start, data);
  return moved;
}

void *mh_guard_realloc(mheap *heap, void *block_start, void *data, size_t size) {
  return move_guarded(heap, block_start, data, size, false);
}

/* ---- mmcheck ---- */

static void *guarded_malloc(mheap *heap, size_t size, size_t alignment) {
  uint64_t shift = alignment < GUARD ? GUARD : alignment;
  bool absurd = (shift & (shift - 1)) != 0 || shift >= MH_OFFSET_MAX || size >= MH_OFFSET_MAX;
  if (absurd) return mh_heap_malloc(heap, size, alignment); /* which says what is wrong with it */
  char *block = mh_heap_malloc(heap, shift + size + MH_GUARD_TAIL, shift);
  if (block == NULL) return NULL;
  heap = mh_part_at(heap, block);
  unsigned log = (unsigned)__builtin_ctzll(shift);
  guard_write(heap, block, mh_heap_usable_size(heap, block), shift, log, size);
  return block + shift;
}

/* ---- aligned beside the start ---- */

/* So far into an aligned block that `offset` bytes further on it is aligned again, with room for
   the guard. */
static uint64_t shift_for(uint64_t alignment, uint64_t offset) {
  uint64_t shift = (alignment - offset % alignment) % alignment;
  if (shift < MH_GUARD_STORED_LEAST)
    shift += (MH_GUARD_STORED_LEAST - shift + alignment - 1) / alignment * alignment;
  return shift;
}

static void mark_guarded(mheap *heap) {
  pthread_mutex_lock(&heap->lock);
  if (!row_is_guarded(heap)) mh_heap_set_guarded(heap);
  pthread_mutex_unlock(&heap->lock);
}

static void *shifted_malloc(mheap *heap, size_t size, size_t alignment, size_t offset) {
  bool absurd = alignment >= MH_OFFSET_MAX / 2 || size >= MH_OFFSET_MAX;
  if (absurd) return mh_heap_malloc(heap, size, alignment); /* which says what is wrong with it */
  uint64_t shift = shift_for(alignment, offset);
  if (size == 0) size = 1; /* a block has a size, if it is one */
  char *block = mh_heap_malloc(heap, shift + size + MH_GUARD_TAIL, alignment);
  if (block == NULL) return NULL;
  heap = mh_part_at(heap, block);
  if (!row_is_guarded(heap)) mark_guarded(heap);
  guard_write(heap, block, mh_heap_usable_size(heap, block), shift, MH_GUARD_STORED, size);
  return block + shift;
}

static const char *const complaints[] = {
    [MHEAP_PROBE_OK] = "is whole",
    [MHEAP_PROBE_FREE] = "was freed already",
    [MHEAP_PROBE_HEAD] = "was overwritten before its start",
    [MHEAP_PROBE_TAIL] = "was overwritten behind its end",
};

/* Tells whoever turned checking on; may not return. */
static void complain(mheap *heap, void *data, mheap_probe status) {
  mh_hooks *hooks = heap->hooks;
  mh_fail(mh_error(heap), status == MHEAP_PROBE_FREE ? MHEAP_ERR_DOUBLE_FREE : MHEAP_ERR_OVERRUN,
          "block %p %s", data, complaints[status]);
  if (hooks->plain != NULL) {
    hooks->plain();
  } else if (hooks->report != NULL) {
    hooks->report(heap->whole, data, status);
  } else {
    fprintf(stderr, "mheap: block %p %s\n", data, complaints[status]);
    abort();
  }
}

/* A guard that was spoiled when its block was freed. */
static bool was_freed(mheap *heap, const char *data) {
  uint64_t offset = mh_offset(heap->region, data);
  if (offset < MH_SLICE + GUARD || !mh_in_region(heap->region, offset - GUARD, GUARD)) return false;
  mh_guard guard;
  memcpy(&guard, data - GUARD, GUARD);
  return guard.check == ~guard_check(heap, data, guard.size);
}

/* A block in use whose guard is not where data says: is data the place of one that was
   overwritten, or was it never handed out? */
static mheap_probe probe_unguarded(mheap *heap, char *block, size_t usable, const char *data) {
  size_t shift = (size_t)(data - block);
  if (mh_guard_data(heap, block, &usable) != block) return PROBE_INSIDE;
  if (shift == 0) return MHEAP_PROBE_DISABLED;
  bool place = shift >= GUARD && ((shift & (shift - 1)) == 0 || shift_is(block, shift, MH_GUARD_STORED));
  return place && row_is_guarded(heap) ? MHEAP_PROBE_HEAD : PROBE_INSIDE;
}

/* What is at data, which is handed in as the pointer of a block; *block is where that block
   starts, NULL: none in use. */
static mheap_probe probe(mheap *heap, char *data, char **block) {
  size_t size;
  *block = mh_heap_block_start(heap, data);
  if (*block == NULL) return was_freed(heap, data) ? MHEAP_PROBE_FREE : MHEAP_PROBE_DISABLED;
  size_t usable = mh_heap_usable_size(heap, *block);
  if (!guard_read(heap, *block, usable, data, &size)) return probe_unguarded(heap, *block, usable, data);
  bool whole = tail_is_whole((uint8_t *)data + size, (uint8_t *)*block + usable);
  return whole ? MHEAP_PROBE_OK : MHEAP_PROBE_TAIL;
}

/* Checks a block that is about to be freed or resized. A block overwritten behind its end is
   known for what it is, and the call goes on; one whose guard is gone is left alone. */
static mheap_err check_block(mheap *heap, void *data, char **block) {
  mheap_probe status = probe(heap, data, block);
  if (status == PROBE_INSIDE) return not_a_block(heap, data);
  if (status == MHEAP_PROBE_OK || status == MHEAP_PROBE_DISABLED) return MHEAP_OK;
  complain(heap, data, status);
  if (status == MHEAP_PROBE_FREE) return MHEAP_ERR_DOUBLE_FREE;
  return status == MHEAP_PROBE_HEAD ? MHEAP_ERR_OVERRUN : MHEAP_OK;
}

static bool guards_are_on(const mheap *heap) { return heap->hooks->guards; }

/* ---- the trace ---- */

/* A full disk does not stop the program; whoever ends the trace is told. */
static void note_lost(mh_hooks *hooks, bool failed) {
  if (failed && hooks->lost == 0) hooks->lost = errno != 0 ? errno : EIO;
}

__attribute__((format(printf, 3, 4))) static void put(mh_hooks *hooks, FILE *trace, const char *format, ...) {
  va_list args;
  va_start(args, format);
  note_lost(hooks, vfprintf(trace, format, args) < 0);
  va_end(args);
}

static void write_where(mh_hooks *hooks, FILE *trace, const void *caller) {
  Dl_info info;
  if (caller == NULL) return;
  if (dladdr(caller, &info) == 0 || info.dli_fname == NULL) {
    put(hooks, trace, "@ [%p] ", caller);
    return;
  }
  uintptr_t at = (uintptr_t)caller;
  put(hooks, trace, "@ %s:", info.dli_fname);
  if (info.dli_sname != NULL)
    put(hooks, trace, "(%s+0x%" PRIxPTR ")", info.dli_sname, at - (uintptr_t)info.dli_saddr);
  put(hooks, trace, "[0x%" PRIxPTR "] ", at - (uintptr_t)info.dli_fbase);
}

static void write_line(mheap *heap, FILE *trace, const void *caller, char sign, const void *data) {
  if (trace == NULL) return;
  write_where(heap->hooks, trace, caller);
  put(heap->hooks, trace, "%c %p\n", sign, data);
}

static void write_sized(mheap *heap, FILE *trace, const void *caller, char sign, const void *data,
                        size_t size) {
  if (trace == NULL) return;
  write_where(heap->hooks, trace, caller);
  put(heap->hooks, trace, "%c %p 0x%zx\n", sign, data, size);
}

/* Between these two nobody else's call comes between a call and its line. NULL: not traced. */
static FILE *trace_begin(mheap *heap) {
  if (atomic_load_explicit(&heap->hooks->trace, memory_order_acquire) == NULL) return NULL;
  pthread_mutex_lock(&heap->hooks->lock);
  FILE *trace = atomic_load_explicit(&heap->hooks->trace, memory_order_relaxed);
  if (trace == NULL) pthread_mutex_unlock(&heap->hooks->lock);
  return trace;
}

static void trace_end(mheap *heap, FILE *trace) {
  if (trace != NULL) pthread_mutex_unlock(&heap->hooks->lock);
}

/* ---- hooked calls ---- */

void *mh_hooks_malloc_from(mheap *heap, size_t size, size_t alignment, const void *caller) {
  FILE *trace = trace_begin(heap);
  void *data =
      guards_are_on(heap) ? guarded_malloc(heap, size, alignment) : mh_heap_malloc(heap, size, alignment);
  write_sized(heap, trace, caller, '+', data, size);
  trace_end(heap, trace);
  return data;
}

void *mh_hooks_malloc_at_from(mheap *heap, size_t size, size_t alignment, size_t offset, const void *caller) {
  FILE *trace = heap->hooked ? trace_begin(heap) : NULL;
  void *data = shifted_malloc(heap, size, alignment, offset);
  write_sized(heap, trace, caller, '+', data, size);
  trace_end(heap, trace);
  return data;
}

static void *resize(mheap *heap, char *block, void *data, size_t size) {
  if (guards_are_on(heap) && block != NULL && block != data)
    return move_guarded(heap, block, data, size, true);
  return mh_heap_realloc(heap, data, size);
}

void *mh_hooks_realloc_from(mheap *heap, void *data, size_t size, const void *caller) {
  if (data == NULL) return mh_hooks_malloc_from(heap, size, GUARD, caller);
  heap = mh_part_at(heap, data);
  char *block = NULL;
  mheap_err failed = guards_are_on(heap) ? check_block(heap, data, &block) : MHEAP_OK;
  FILE *trace = trace_begin(heap);
  void *moved = failed ? NULL : resize(heap, block, data, size);
  if (moved != NULL) {
    write_line(heap, trace, caller, '<', data);
    write_sized(heap, trace, caller, '>', moved, size);
  } else {
    write_sized(heap, trace, caller, '!', data, size);
  }
  trace_end(heap, trace);
  return moved;
}

mheap_err mh_hooks_free_from(mheap *heap, void *data, const void *caller) {
  if (data == NULL) return MHEAP_OK;
  heap = mh_part_at(heap, data);
  char *block = NULL;
  mheap_err failed = guards_are_on(heap) ? check_block(heap, data, &block) : MHEAP_OK;
  FILE *trace = trace_begin(heap);
  write_line(heap, trace, caller, '-', data);
  bool guarded = block != NULL && block != data;
  if (!failed) failed = guarded ? free_guarded(heap, block, data) : mh_heap_free(heap, data);
  trace_end(heap, trace);
  return failed;
}

size_t mh_hooks_usable_size(mheap *heap, const void *data) {
  heap = mh_part_at(heap, data);
  void *block = data != NULL ? mh_heap_block_start(heap, data) : NULL;
  if (block != NULL && mh_guard_is(heap, block, data)) return mh_guard_usable_size(heap, block, data);
  return mh_heap_usable_size(heap, data);
}

/* ---- turning them on and off ---- */

/* heap->lock is held. */
static mh_hooks *hooks_of(mheap *heap) {
  if (heap->hooks != NULL) return heap->hooks;
  mh_hooks *hooks = mh_os_table(sizeof *hooks);
  if (hooks == NULL) {
    mh_fail(mh_error(heap), MHEAP_ERR_NO_MEMORY, "no memory for checking and tracing");
    return NULL;
  }
  pthread_mutex_init(&hooks->lock, NULL);
  return heap->hooks = hooks;
}

static void show_parts(mheap *heap) {
  for (mheap *part = mh_part_first(heap); part != NULL; part = mh_part_next(part)) {
    if (part == heap) continue;
    part->hooks = heap->hooks;
    part->hooked = heap->hooked;
  }
}

/* heap->lock is held. */
static void settle(mheap *heap) {
  heap->hooked = heap->hooks->guards || atomic_load(&heap->hooks->trace) != NULL;
  show_parts(heap);
}

static void set_guarded(mheap *heap) {
  for (mheap *part = mh_part_first(heap); part != NULL; part = mh_part_next(part)) {
    if (!mh_part_enter(part)) continue;
    mh_heap_set_guarded(part);
    mh_part_leave(part);
  }
}

static bool stop_at_bare(void *arg, void *block, size_t usable) {
  (void)usable;
  struct {
    mheap *heap;
    bool bare;
  } *state = arg;
  state->bare = mh_heap_block_start(state->heap, block) == block;
  return !state->bare;
}

static mheap_err refuse_bare_blocks(mheap *heap) {
  struct {
    mheap *heap;
    bool bare;
  } state = {.heap = heap};
  mheap_err failed = mheap_visit_blocks(heap, stop_at_bare, &state);
  if (failed || !state.bare) return failed;
  return mh_fail(mh_error(heap), MHEAP_ERR_ARGUMENT,
                 "blocks are in use already, and they carry no guards; use force to check only what comes");
}

static mheap_err turn_on_guards(mheap *heap, mheap_check_fun *report, void (*plain)(void)) {
  pthread_mutex_lock(&heap->lock);
  mh_hooks *hooks = hooks_of(heap);
  if (hooks != NULL) {
    set_guarded(heap);
    hooks->report = report;
    hooks->plain = plain;
    hooks->guards = true;
    settle(heap);
  }
  pthread_mutex_unlock(&heap->lock);
  mh_lanes_forget(heap);
  return hooks != NULL ? MHEAP_OK : MHEAP_ERR_NO_MEMORY;
}

static mheap_err start_guards(mheap *heap, mheap_check_fun *report, void (*plain)(void), bool force) {
  heap = mh_heap_of(heap);
  if (heap == NULL) return MHEAP_ERR_NO_MEMORY;
  mheap_err failed = mh_heap_writable(heap);
  bool first = heap->hooks == NULL || !heap->hooks->guards;
  if (!failed && first && !force) failed = refuse_bare_blocks(heap);
  return failed ? failed : turn_on_guards(heap, report, plain);
}

mheap_err mheap_mcheck(mheap *heap, mheap_check_fun *report, bool force) {
  return start_guards(heap, report, NULL, force);
}

mheap_err mh_hooks_mcheck_plain(mheap *heap, void (*abortfunc)(void), bool force) {
  return start_guards(heap, NULL, abortfunc, force);
}

mheap_probe mheap_mprobe(mheap *heap, void *block) {
  char *start;
  heap = mh_heap_of(heap);
  if (heap == NULL || block == NULL || mh_heap_usable(heap)) return MHEAP_PROBE_DISABLED;
  mheap_probe status = probe(mh_part_at(heap, block), block, &start);
  return status == PROBE_INSIDE ? MHEAP_PROBE_DISABLED : status;
}

/* hooks->lock is held. */
static void begin_trace(mh_hooks *hooks, FILE *file) {
  put(hooks, file, "= Start\n"); /* also makes stdio take its buffer now, not inside a call */
  if (hooks->lost == 0) atomic_store(&hooks->trace, file);
}

static void end_trace(mh_hooks *hooks) {
  FILE *old = atomic_exchange(&hooks->trace, NULL);
  if (old == NULL) return;
  put(hooks, old, "= End\n");
  note_lost(hooks, fflush(old) != 0);
}

/* Ends a trace, and begins another unless lines of the first were lost: returns the errno then. */
static int replace_trace(mheap *heap, mh_hooks *hooks, FILE *file) {
  pthread_mutex_lock(&hooks->lock);
  end_trace(hooks);
  if (file != NULL && hooks->lost == 0) begin_trace(hooks, file);
  int lost = hooks->lost;
  hooks->lost = 0;
  pthread_mutex_lock(&heap->lock);
  settle(heap);
  pthread_mutex_unlock(&heap->lock);
  pthread_mutex_unlock(&hooks->lock);
  return lost;
}

/* Whatever became of the heap, its trace can be ended; but a forked child's is its parent's. */
static mheap_err may_trace(mheap *heap, const FILE *file) {
  return file == NULL && !heap->region->forked ? MHEAP_OK : mh_heap_usable(heap);
}

mheap_err mheap_mtrace(mheap *heap, FILE *file) {
  heap = mh_heap_of(heap);
  if (heap == NULL) return MHEAP_ERR_NO_MEMORY;
  mheap_err failed = may_trace(heap, file);
  if (failed || (file == NULL && heap->hooks == NULL)) return failed;
  pthread_mutex_lock(&heap->lock);
  mh_hooks *hooks = hooks_of(heap);
  pthread_mutex_unlock(&heap->lock);
  if (hooks == NULL) return MHEAP_ERR_NO_MEMORY;
  int lost = replace_trace(heap, hooks, file);
  mh_lanes_forget(heap);
  if (lost == 0) return MHEAP_OK;
  mh_fail_system(mh_error(heap), lost, heap->region->path, "writing the trace, of which lines are lost");
  mh_error(heap)->code = MHEAP_ERR_SYSTEM; /* it is not the heap that is full */
  return MHEAP_ERR_SYSTEM;
}

void mh_hooks_end(mheap *heap) {
  mh_hooks *hooks = heap->hooks;
  if (hooks == NULL || heap->whole != heap) return; /* a part's are those of the whole */
  replace_trace(heap, hooks, NULL);
  heap->hooked = false;
  heap->hooks = NULL;
  show_parts(heap);
  pthread_mutex_destroy(&hooks->lock);
  mh_os_table_free(hooks, sizeof *hooks);
}
