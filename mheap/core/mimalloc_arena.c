/* mimalloc_arena.c: mimalloc's arenas, in memory for heaps of the current subprocess.

   Owns nothing. Calls mheap.h. */
#include <errno.h>

#include "mimalloc_common.h"

/* What the original returns: too much time, or else not enough memory, whatever the reason. The default
   heap answers for calls that name none. */
static int errno_of(mheap_err code) {
  if (code == MHEAP_OK) return 0;
  const mheap_error *error = mheap_last_error(NULL);
  return error->code == code && error->sys == ETIMEDOUT ? ETIMEDOUT : ENOMEM;
}

static void tell(mi_arena_id_t *arena_id, mheap_arena arena) {
  if (arena_id != NULL) *arena_id = arena;
}

/* ---- memory of the system's ---- */

int mi_reserve_os_memory_ex(size_t size, bool commit, bool allow_large, bool exclusive,
                            mi_arena_id_t *arena_id) {
  mheap_arena_options options = {.exclusive = exclusive, .commit = commit, .allow_large = allow_large};
  mheap_arena arena = 0;
  int failed = errno_of(mheap_arena_reserve(NULL, size, &options, &arena));
  tell(arena_id, arena);
  return failed;
}

int mi_reserve_os_memory(size_t size, bool commit, bool allow_large) {
  return mi_reserve_os_memory_ex(size, commit, allow_large, false, NULL);
}

/* ---- memory of the caller's ---- */

bool mi_manage_os_memory_ex(void *start, size_t size, bool is_committed, bool is_large, bool is_zero,
                            int numa_node, bool exclusive, mi_arena_id_t *arena_id) {
  mheap_arena_options options = {
      .exclusive = exclusive,
      .commit = is_committed,
      .is_large = is_large,
      .is_zero = is_zero,
      .numa_node = numa_node >= 0 ? MHEAP_NODE(numa_node) : 0,
  };
  mheap_arena arena = 0;
  bool managed = mheap_arena_manage(start, size, &options, &arena) == MHEAP_OK;
  tell(arena_id, arena);
  return managed;
}

bool mi_manage_os_memory(void *start, size_t size, bool is_committed, bool is_large, bool is_zero,
                         int numa_node) {
  return mi_manage_os_memory_ex(start, size, is_committed, is_large, is_zero, numa_node, false, NULL);
}

/* ---- pages of 1 GiB; none at all are had at once ---- */

int mi_reserve_huge_os_pages_at_ex(size_t pages, int numa_node, size_t timeout_msecs, bool exclusive,
                                   mi_arena_id_t *arena_id) {
  mheap_arena arena = 0;
  mheap_err code = MHEAP_OK;
  if (pages != 0)
    code = mheap_arena_reserve_huge_pages(pages, numa_node < 0 ? -1 : numa_node, timeout_msecs, exclusive,
                                          &arena);
  tell(arena_id, arena);
  return errno_of(code);
}

int mi_reserve_huge_os_pages_at(size_t pages, int numa_node, size_t timeout_msecs) {
  return mi_reserve_huge_os_pages_at_ex(pages, numa_node, timeout_msecs, false, NULL);
}

int mi_reserve_huge_os_pages_interleave(size_t pages, size_t numa_nodes, size_t timeout_msecs) {
  if (pages == 0) return 0;
  return errno_of(mheap_arena_reserve_huge_pages_interleave(pages, numa_nodes, timeout_msecs));
}

int mi_reserve_huge_os_pages(size_t pages, double max_secs, size_t *pages_reserved) {
  size_t timeout = max_secs > 0 && max_secs < 1e9 ? (size_t)(max_secs * 1000) : 0;
  int failed = mi_reserve_huge_os_pages_interleave(pages, 0, timeout);
  if (pages_reserved != NULL) *pages_reserved = failed ? 0 : pages;
  return failed;
}

/* ---- looking ---- */

void *mi_arena_area(mi_arena_id_t arena_id, size_t *size) {
  if (size != NULL) *size = 0;
  return mheap_arena_area(arena_id, size);
}

size_t mi_arena_min_alignment(void) { return mheap_arena_min_alignment(); }

void(mi_debug_show_arenas)(bool show_inuse, bool show_abandoned, bool show_purge) {
  mheap_debug_show_arenas(show_inuse, show_abandoned, show_purge);
}
