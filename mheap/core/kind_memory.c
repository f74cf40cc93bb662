/* kind_memory.c: kinds in memory of their own: regions that nobody else allocates in. See kind.h.

   Owns: a kind's grounds, and the parts its arenas get beside their first. Holds the kind's lock.

   An arena gets its heap when it is first used, in the newest ground; where that has no row or no
   space left there is a new ground. So a kind may have as many arenas as it likes, and be as large
   as memory is. */
#include <errno.h>
#include <string.h>

#include "kind.h"
#include "os.h"
#include "subproc.h"

#define LARGE ((uint64_t)16 << 30) /* for what is larger, a ground is larger than attach makes it */

uint64_t mh_kind_ground;

static mheap_err no_table(const mheap_kind *kind, mheap_error *error) {
  return mh_fail_system(error, ENOMEM, kind->name, "making an arena of a kind");
}

static mheap_err plain_ground(uint64_t size, mh_ground *ground, mheap_error *error) {
  mheap_options options = {.max_size = size > LARGE ? 4 * size : mh_kind_ground};
  ground->main = mheap_attach(-1, &options, error);
  return ground->main != NULL ? MHEAP_OK : error->code;
}

static mheap_err new_ground(mheap_kind *kind, uint32_t index, uint64_t size, uint64_t alignment,
                            mheap_error *error) {
  mh_ground *ground = mh_os_table(sizeof *ground);
  if (ground == NULL) return no_table(kind, error);
  mheap_err code = kind->hooks != NULL ? mh_extent_ground(kind, index, size, alignment, ground, error)
                                       : plain_ground(size + alignment, ground, error);
  if (code) {
    mh_os_table_free(ground, sizeof *ground);
    return code;
  }
  mh_subproc_own(kind->subproc, ground->main->region);
  ground->older = kind->grounds;
  kind->grounds = ground;
  return MHEAP_OK;
}

/* A heap in the newest ground, unless that is `full` or has no row left. NULL: no error means full. */
static mheap *heap_in_newest(mheap_kind *kind, const mh_region *full, mheap_error *error) {
  mh_error_clear(error);
  if (kind->grounds == NULL || kind->grounds->main->region == full) return NULL;
  mheap *heap = mh_heap_new(kind->grounds->main, 0, true, 0);
  if (heap != NULL) return heap;
  *error = *mh_error(kind->grounds->main);
  if (error->code == MHEAP_ERR_FULL) mh_error_clear(error);
  return NULL;
}

static mheap_err add_heap(mheap_kind *kind, mh_kind_arena *arena, mheap *heap, mheap_error *error) {
  mh_kind_part *part = arena->newest == NULL ? &arena->first : mh_os_table(sizeof *part);
  if (part == NULL) {
    if (heap->row != 0) mheap_destroy(heap);
    return no_table(kind, error);
  }
  mh_kind_add_part(kind, arena, part, heap);
  return MHEAP_OK;
}

/* In the newest ground if it has room, else in another. An extent is one arena's alone. */
static mheap_err add_part(mheap_kind *kind, mh_kind_arena *arena, uint64_t size, uint64_t alignment,
                          mheap_error *error) {
  const mh_kind_part *newest = arena->newest;
  mheap *heap = NULL;
  mh_error_clear(error);
  if (kind->hooks == NULL) heap = heap_in_newest(kind, newest != NULL ? newest->heap->region : NULL, error);
  if (heap == NULL && error->code) return error->code;
  if (heap == NULL) {
    mheap_err code = new_ground(kind, (uint32_t)(arena - kind->arena), size, alignment, error);
    if (code) return code;
    heap = kind->hooks != NULL ? kind->grounds->main : heap_in_newest(kind, NULL, error);
  }
  return heap != NULL ? add_heap(kind, arena, heap, error) : no_table(kind, error);
}

mheap_err mh_kind_grow(mheap_kind *kind, mh_kind_arena *arena, const mh_kind_part *seen, uint64_t size,
                       uint64_t alignment, mheap_error *error) {
  pthread_mutex_lock(&kind->lock);
  bool quicker = arena->newest != seen; /* another thread was */
  mheap_err code = quicker ? MHEAP_OK : add_part(kind, arena, size, alignment, error);
  pthread_mutex_unlock(&kind->lock);
  return code;
}

static void drop_parts(mh_kind_arena *arena) {
  for (mh_kind_part *part = arena->newest, *older; part != NULL; part = older) {
    older = part->older;
    if (part != &arena->first) mh_os_table_free(part, sizeof *part);
  }
}

void mh_kind_drop_grounds(mheap_kind *kind) {
  for (uint32_t i = 0; i < kind->arenas; i++) drop_parts(&kind->arena[i]);
  for (mh_ground *ground = kind->grounds, *older; ground != NULL; ground = older) {
    older = ground->older;
    mheap_abandon(ground->main);
    if (ground->extent != NULL) mh_extent_drop(ground->extent);
    mh_os_table_free(ground, sizeof *ground);
  }
}

uint64_t mh_kind_grounds_size(mheap_kind *kind) {
  uint64_t size = 0;
  pthread_mutex_lock(&kind->lock);
  for (mh_ground *ground = kind->grounds; ground != NULL; ground = ground->older)
    size += mh_region_size(ground->main->region);
  pthread_mutex_unlock(&kind->lock);
  return size;
}

mheap_err mh_kind_grounds_stats(mheap_kind *kind, mheap_stats *sum) {
  mheap_stats one;
  mheap_err code = MHEAP_OK;
  memset(sum, 0, sizeof *sum);
  pthread_mutex_lock(&kind->lock);
  for (mh_ground *ground = kind->grounds; ground != NULL && !code; ground = ground->older) {
    code = mheap_get_stats(ground->main, &one);
    sum->bytes_total += one.bytes_total;
    sum->bytes_free += one.bytes_free;
    sum->bytes_used += one.bytes_used;
    sum->chunks_used += one.chunks_used;
  }
  pthread_mutex_unlock(&kind->lock);
  return code;
}

uint64_t mh_kind_grounds_used(mheap_kind *kind) {
  mheap_stats stats;
  return mh_kind_grounds_stats(kind, &stats) == MHEAP_OK ? stats.chunks_used : 0;
}
