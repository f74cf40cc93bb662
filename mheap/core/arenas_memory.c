/* arenas_memory.c: arenas that are memory of their own: each is a region, all of it. See arenas.h.

   Owns nothing. Calls region_lent.h, hugepages.h, arena.h. */
#include <errno.h>

#include "arena.h"
#include "arenas.h"
#include "hugepages.h"
#include "os.h"
#include "parts.h"
#include "region_lent.h"

mheap_error *mh_plain_error(void) { return mh_error_of(mheap_default()); }

/* All of the region's memory, now. It stays then. */
static mheap_err commit_memory(mh_region *region, mheap_error *error) {
  pthread_mutex_lock(&region->lock);
  mheap_err code = mh_arena_extend(region, region->span, error);
  if (!code) code = mh_region_back(region, MH_SLICE, region->span - MH_SLICE, error);
  if (!code) {
    mh_os_populate(region->base, region->span);
    region->ranges[0].committed = true;
  }
  pthread_mutex_unlock(&region->lock);
  return code;
}

/* A region, all of which becomes an arena. */
static mheap_err adopt_region(mh_region *region, bool exclusive, mheap_arena *arena, mheap_error *error) {
  mheap *heap = mh_heap_attached(region, error);
  if (heap == NULL) return error->code;
  region->is_arena = true;
  region->ranges[0].exclusive = exclusive;
  *arena = mh_arenas_number(region, 0);
  if (*arena == 0) {
    mheap_abandon(heap);
    return mh_fail_system(error, ENOMEM, "anonymous memory", "giving an arena a number");
  }
  mh_parts_add_arena(heap);
  return MHEAP_OK;
}

static mheap_err too_little(uint64_t size, mheap_error *error) {
  return mh_fail(error, MHEAP_ERR_ARGUMENT, "an arena of %llu bytes: at least %llu are needed",
                 (unsigned long long)size, (unsigned long long)MH_ARENA_LEAST);
}

static mheap_err reserve_memory(size_t size, const mheap_arena_options *options, mheap_arena *arena) {
  mheap_error *error = mh_plain_error();
  mheap_options attach = {
      .max_size = size,
      .huge_pages = options->allow_large ? MHEAP_PAGES_2M : MHEAP_PAGES_NEVER,
      .numa_node = options->numa_node,
  };
  if (size < MH_ARENA_LEAST) return too_little(size, error);
  mh_region *region = mh_region_attach(-1, &attach, error);
  if (region == NULL) return error->code;
  mheap_err code = adopt_region(region, options->exclusive, arena, error);
  if (!code && options->commit) code = commit_memory(region, error);
  if (code && *arena != 0) mheap_arena_release(*arena);
  return code;
}

mheap_err mheap_arena_manage(void *start, size_t size, const mheap_arena_options *options,
                             mheap_arena *arena) {
  static const mheap_arena_options none;
  mheap_error *error = mh_plain_error();
  mheap_arena number = 0;
  if (options == NULL) options = &none;
  if (arena != NULL) *arena = 0;
  const mh_lending how = {
      .committed = options->commit,
      .pinned = options->is_large,
      .zero = options->is_zero,
      .numa_node = options->numa_node - 1,
  };
  mh_region *region = mh_region_lend(start, size, &how, error);
  if (region == NULL) return error->code;
  mheap_err code = adopt_region(region, options->exclusive, &number, error);
  if (arena != NULL) *arena = number;
  return code;
}

/* ---- pages of 1 GiB ---- */

mheap_err mheap_arena_reserve_huge_pages(size_t pages, int numa_node, size_t timeout_ms, bool exclusive,
                                         mheap_arena *arena) {
  mheap_error *error = mh_plain_error(), ignored;
  mh_region *region;
  mheap_arena number = 0;
  uint64_t got;
  mheap_err code = mh_hugepages_reserve(pages, numa_node, timeout_ms, &region, &got, error);
  if (region != NULL && adopt_region(region, exclusive, &number, code ? &ignored : error) != MHEAP_OK &&
      !code)
    code = error->code;
  if (arena != NULL) *arena = number;
  return code;
}

static void adopt_shared(void *arg, mh_region *region, uint64_t got) {
  mheap_arena ignored;
  (void)got;
  adopt_region(region, false, &ignored, arg);
}

mheap_err mheap_arena_reserve_huge_pages_interleave(size_t pages, size_t numa_nodes, size_t timeout_ms) {
  mheap_error *error = mh_plain_error(), adopting;
  uint64_t got;
  mh_error_clear(&adopting);
  mheap_err code =
      mh_hugepages_interleave(pages, numa_nodes, timeout_ms, adopt_shared, &adopting, &got, error);
  if (!code && adopting.code) {
    *error = adopting;
    code = adopting.code;
  }
  return code;
}

mheap_err mh_arenas_release_region(mh_region *region, mheap_arena arena, mheap_error *error) {
  mheap *heap = mh_handle_find(region, 0);
  mheap_err code = mh_parts_remove_arena(heap, arena, error);
  return code ? code : mheap_detach(heap, error);
}

/* ---- either ---- */

mheap_err mheap_arena_reserve(mheap *heap, size_t size, const mheap_arena_options *options,
                              mheap_arena *arena) {
  static const mheap_arena_options none;
  mheap_arena number = 0;
  if (options == NULL) options = &none;
  mheap_err code =
      heap != NULL ? mh_arenas_reserve(heap, size, options, &number) : reserve_memory(size, options, &number);
  if (!code && arena != NULL) *arena = number;
  return code;
}
