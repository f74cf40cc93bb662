/* kind_blocks.c: allocating from kinds, and finding the kind of a block. See kind.h.

   Owns nothing. A call goes to the heap of an arena; only where an arena in memory has no heap yet,
   or all of them are full, is anything locked. */
#include <inttypes.h>
#include <string.h>

#include "kind.h"
#include "pointer.h"
#include "report.h"

/* ---- which arena ---- */

/* Thread ids are addresses with much in common: multiplied by 2^64 / the golden ratio, their upper
   bits are spread evenly. */
static uint32_t index_of_thread(const mheap_kind *kind) {
  uint64_t hash = ((uint64_t)pthread_self() >> 6) * 0x9e3779b97f4a7c15u >> 32;
  return (uint32_t)(hash * kind->arenas >> 32);
}

mheap_err mheap_kind_thread_arena(mheap_kind *kind, unsigned *arena) {
  if (kind == NULL) return MHEAP_ERR_ARGUMENT;
  *arena = kind->first + index_of_thread(kind);
  return MHEAP_OK;
}

mheap_err mheap_kind_bijective_arena(mheap_kind *kind, unsigned *arena) {
  if (kind == NULL) return MHEAP_ERR_ARGUMENT;
  if (kind->policy != MH_KIND_BIJECTIVE)
    return mh_fail(mh_kind_error(kind), MHEAP_ERR_ARGUMENT,
                   "kind \"%s\" has %u arenas, of which a thread uses one: its policy is thread", kind->name,
                   kind->arenas);
  *arena = kind->first;
  return MHEAP_OK;
}

/* ---- allocating ---- */

static void *from_heap(mheap *heap, size_t alignment, size_t size) {
  return alignment <= 16 ? mheap_malloc(heap, size) : mheap_memalign(heap, alignment, size);
}

/* Another heap may do: this one is full, or lies where nothing is aligned so far. */
static bool may_fit_elsewhere(const mheap_kind *kind, mheap_err code) {
  return code == MHEAP_ERR_FULL || (code == MHEAP_ERR_ARGUMENT && kind->hooks != NULL);
}

/* From any of the arena's heaps. */
static void *from_parts(mheap_kind *kind, mh_kind_part *part, size_t alignment, size_t size,
                        mheap_err *code) {
  *code = MHEAP_ERR_FULL;
  for (; part != NULL && may_fit_elsewhere(kind, *code); part = part->older) {
    void *block = from_heap(part->heap, alignment, size);
    if (block != NULL) return block;
    *code = mh_kind_fail(kind, part->heap);
  }
  return NULL;
}

static bool is_allowed(const mheap_kind *kind, size_t alignment, size_t size) {
  mheap_error *error = mh_kind_error(kind);
  if (alignment == 0 || (alignment & (alignment - 1)) != 0)
    mh_fail(error, MHEAP_ERR_ARGUMENT, "kind \"%s\": alignment %zu is not a power of two", kind->name,
            alignment);
  else if (size > MH_OFFSET_MAX / 16 || alignment > MH_OFFSET_MAX / 16)
    mh_fail(error, MHEAP_ERR_OVERFLOW, "kind \"%s\": %zu bytes are more than any heap can hold", kind->name,
            size > alignment ? size : alignment);
  else return true;
  return false;
}

#define TRIES 3 /* the newest ground may be full too; one that is made for the block is not */

static void *allocate_slowly(mheap_kind *kind, mh_kind_arena *arena, size_t alignment, size_t size) {
  mheap_err code = MHEAP_ERR_FULL;
  if (!is_allowed(kind, alignment, size)) return NULL;
  for (int i = 0; i < TRIES && may_fit_elsewhere(kind, code); i++) {
    mh_kind_part *newest = atomic_load_explicit(&arena->newest, memory_order_acquire);
    void *block = from_parts(kind, newest, alignment, size, &code);
    if (block != NULL || kind->main != NULL || !may_fit_elsewhere(kind, code)) return block;
    mheap_error error = {0};
    if (mh_kind_grow(kind, arena, newest, size, alignment, &error) == MHEAP_OK) continue;
    *mh_kind_error(kind) = error;
    return NULL;
  }
  return NULL;
}

static inline void *find_room(mheap_kind *kind, uint32_t index, size_t alignment, size_t size) {
  mh_kind_arena *arena = &kind->arena[index];
  mh_kind_part *part = atomic_load_explicit(&arena->newest, memory_order_acquire);
  if (part != NULL && alignment == 16) {
    void *block = mheap_malloc(part->heap, size);
    if (block != NULL) return block;
  }
  return allocate_slowly(kind, arena, alignment, size);
}

/* A heap that is full is an error only if all are. */
static void *allocate_in(mheap_kind *kind, uint32_t index, size_t alignment, size_t size) {
  bool reporting = mh_report_hold(true);
  void *block = find_room(kind, index, alignment, size);
  mh_report_hold(reporting);
  if (block == NULL) mh_report_error((const mheap *)kind);
  return block;
}

static void *allocate(mheap_kind *kind, size_t alignment, size_t size) {
  return allocate_in(kind, index_of_thread(kind), alignment, size);
}

static void *allocate_zeroed(mheap_kind *kind, size_t count, size_t size) {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) {
    mh_fail(mh_kind_error(kind), MHEAP_ERR_OVERFLOW,
            "kind \"%s\": %zu times %zu bytes are more than any heap can hold", kind->name, count, size);
    mh_report_error((const mheap *)kind);
    return NULL;
  }
  void *block = allocate(kind, 16, bytes);
  return block != NULL ? memset(block, 0, bytes) : NULL;
}

/* ---- the kind of a block ---- */

/* A heap that was there before this attach is not known to be its kind's until someone asks. */
static mheap_kind *learn(mheap *heap) {
  mheap_error ignored;
  mheap *main = mheap_main(heap);
  if ((mh_heap_row_head(heap->region, heap->row) & MH_HEAP_KIND) == 0 || main == NULL) return NULL;
  mh_kinds_lock();
  mh_kinds_load(main, &ignored);
  mh_kinds_unlock();
  return atomic_load_explicit(&heap->kind, memory_order_acquire);
}

static mheap_kind *kind_of(mheap *heap) {
  mheap_kind *kind = atomic_load_explicit(&heap->kind, memory_order_acquire);
  return kind != NULL ? kind : learn(heap);
}

mheap_kind *mheap_kind_detect(const void *block) {
  mheap *heap = mheap_heap_of(block);
  mheap_kind *kind = heap != NULL ? kind_of(heap) : NULL;
  if (heap != NULL) mh_error_clear(mh_error(mheap_default()));
  return kind;
}

/* The heap of a block that must be the kind's. */
static mheap *heap_in(mheap_kind *kind, const void *block) {
  mheap *heap = mh_pointer_heap_anywhere(block);
  if (heap == NULL) {
    mh_kind_fail(kind, mheap_default());
    return NULL;
  }
  mheap_kind *found = kind_of(heap);
  if (found == kind) return heap;
  mh_fail(mh_kind_error(kind), MHEAP_ERR_POINTER, "kind \"%s\": %p is a block of %s%s%s; nothing was changed",
          kind->name, block, found != NULL ? "the kind \"" : "no kind", found != NULL ? found->name : "",
          found != NULL ? "\"" : "");
  return NULL;
}

/* ---- resizing and freeing ---- */

static mheap_err free_block(mheap_kind *kind, void *block) {
  if (block == NULL) return MHEAP_OK;
  mheap *heap = heap_in(kind, block);
  if (heap == NULL) return mh_report_error((const mheap *)kind);
  return mheap_free(heap, block) == MHEAP_OK ? MHEAP_OK : mh_kind_fail(kind, heap);
}

/* Its own heap is full, but the kind may have, or get, another. */
static void *move(mheap_kind *kind, mheap *heap, void *block, size_t size) {
  size_t old = mheap_usable_size(heap, block);
  void *moved = old != 0 ? allocate(kind, 16, size) : NULL;
  if (moved == NULL) return NULL;
  memcpy(moved, block, old < size ? old : size);
  mheap_free(heap, block);
  return moved;
}

static void *try_resize(mheap_kind *kind, void *block, size_t size) {
  if (block == NULL) return allocate(kind, 16, size);
  mheap *heap = heap_in(kind, block);
  if (heap == NULL) return NULL;
  void *moved = mheap_realloc(heap, block, size);
  if (moved != NULL) return moved;
  if (mh_kind_fail(kind, heap) != MHEAP_ERR_FULL || kind->main != NULL) return NULL;
  return move(kind, heap, block, size);
}

static void *resize(mheap_kind *kind, void *block, size_t size) {
  bool reporting = mh_report_hold(true);
  void *moved = try_resize(kind, block, size);
  mh_report_hold(reporting);
  if (moved == NULL) mh_report_error((const mheap *)kind);
  return moved;
}

size_t mheap_kind_usable_size(mheap_kind *kind, const void *block) {
  if (kind == NULL) return mheap_usable_size_any(block);
  mheap *heap = block != NULL ? heap_in(kind, block) : NULL;
  size_t size = heap != NULL ? mheap_usable_size(heap, block) : 0;
  if (heap != NULL && size == 0) mh_kind_fail(kind, heap);
  return size;
}

/* ---- calls, decorated or not ---- */

static void of_default_heap(mheap_kind_call *call) {
  switch (call->operation) {
    case MHEAP_KIND_MALLOC: call->result = mheap_malloc(NULL, call->size); break;
    case MHEAP_KIND_CALLOC: call->result = mheap_calloc(NULL, call->count, call->size); break;
    case MHEAP_KIND_MEMALIGN: call->result = mheap_memalign(NULL, call->alignment, call->size); break;
    case MHEAP_KIND_REALLOC: call->result = mheap_realloc_any(call->block, call->size); break;
    case MHEAP_KIND_FREE: call->code = mheap_free_any(call->block); return;
  }
  call->code = call->result == NULL ? mheap_last_error(NULL)->code : MHEAP_OK;
}

static void perform(mheap_kind_call *call) {
  mheap_kind *kind = call->kind;
  if (kind == NULL) {
    of_default_heap(call);
    return;
  }
  switch (call->operation) {
    case MHEAP_KIND_MALLOC: call->result = allocate(kind, 16, call->size); break;
    case MHEAP_KIND_CALLOC: call->result = allocate_zeroed(kind, call->count, call->size); break;
    case MHEAP_KIND_MEMALIGN: call->result = allocate(kind, call->alignment, call->size); break;
    case MHEAP_KIND_REALLOC: call->result = resize(kind, call->block, call->size); break;
    case MHEAP_KIND_FREE: call->code = free_block(kind, call->block); return;
  }
  call->code = call->result == NULL ? mh_kind_error(kind)->code : MHEAP_OK;
}

static mheap_err refuse(mheap_kind *kind, mheap_kind_call *call, mheap_err code) {
  call->result = NULL;
  return mh_fail(mh_kind_error(kind), code, "kind \"%s\": a decorator refused the call", kind->name);
}

/* The kind may be changed by `pre`: then the error is that one's, and this one's too. */
static __attribute__((noinline)) void decorated(const mheap_kind_decorators *d, mheap_kind_call *call) {
  mheap_kind *asked = call->kind;
  call->code = d->pre != NULL ? d->pre(d->arg, call) : MHEAP_OK;
  if (call->code != MHEAP_OK) {
    refuse(asked, call, call->code);
    return;
  }
  perform(call);
  if (call->code != MHEAP_OK && call->kind != asked)
    *mh_kind_error(asked) = *mheap_kind_last_error(call->kind);
  if (d->post != NULL) d->post(d->arg, call);
}

static const mheap_kind_decorators *decorators_of(mheap_kind *kind) {
  return kind != NULL ? atomic_load_explicit(&kind->decorators, memory_order_acquire) : NULL;
}

static void run(mheap_kind_call *call) {
  const mheap_kind_decorators *decorators = decorators_of(call->kind);
  if (decorators != NULL) decorated(decorators, call);
  else perform(call);
}

void *mheap_kind_malloc(mheap_kind *kind, size_t size) {
  if (kind != NULL && decorators_of(kind) == NULL) return allocate(kind, 16, size);
  mheap_kind_call call = {.operation = MHEAP_KIND_MALLOC, .kind = kind, .size = size};
  run(&call);
  return call.result;
}

void *mheap_kind_calloc(mheap_kind *kind, size_t count, size_t size) {
  mheap_kind_call call = {.operation = MHEAP_KIND_CALLOC, .kind = kind, .count = count, .size = size};
  run(&call);
  return call.result;
}

void *mheap_kind_memalign(mheap_kind *kind, size_t alignment, size_t size) {
  mheap_kind_call call = {
      .operation = MHEAP_KIND_MEMALIGN, .kind = kind, .alignment = alignment, .size = size};
  run(&call);
  return call.result;
}

void *mheap_kind_realloc(mheap_kind *kind, void *block, size_t size) {
  mheap_kind_call call = {.operation = MHEAP_KIND_REALLOC, .kind = kind, .block = block, .size = size};
  run(&call);
  return call.result;
}

mheap_err mheap_kind_free(mheap_kind *kind, void *block) {
  if (kind != NULL && decorators_of(kind) == NULL) return free_block(kind, block);
  mheap_kind_call call = {.operation = MHEAP_KIND_FREE, .kind = kind, .block = block};
  run(&call);
  return call.code;
}

void *mheap_kind_memalign_in(mheap_kind *kind, unsigned arena, size_t alignment, size_t size) {
  if (kind == NULL) return mheap_memalign(NULL, alignment, size);
  if (arena >= kind->first && arena - kind->first < kind->arenas)
    return allocate_in(kind, arena - kind->first, alignment, size);
  mh_fail(mh_kind_error(kind), MHEAP_ERR_ARGUMENT, "kind \"%s\": arena %u is not one of its %u from %u on",
          kind->name, arena, kind->arenas, kind->first);
  return NULL;
}

/* ---- whatever kind it is: what fails is left with the default heap ---- */

static mheap_err leave_error(const mheap_kind *kind) {
  mheap_error error = *mh_kind_error(kind);
  mheap *heap = mheap_default();
  if (heap != NULL) *mh_error(heap) = error;
  return error.code;
}

void *mheap_kind_realloc_any(void *block, size_t size) {
  mheap *heap = block != NULL ? mh_pointer_heap(block) : NULL;
  if (block != NULL && heap == NULL) return NULL;
  mheap_kind *kind = heap != NULL ? kind_of(heap) : NULL;
  void *moved = mheap_kind_realloc(kind, block, size);
  if (moved == NULL && kind != NULL) leave_error(kind);
  return moved;
}

mheap_err mheap_kind_free_any(void *block) {
  if (block == NULL) return MHEAP_OK;
  mheap *heap = mh_pointer_heap(block);
  if (heap == NULL) return mheap_last_error(NULL)->code;
  mheap_kind *kind = kind_of(heap);
  mheap_err code = mheap_kind_free(kind, block);
  return code && kind != NULL ? leave_error(kind) : code;
}
