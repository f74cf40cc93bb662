/* mimalloc_option.c: mimalloc's options: numbers by name, of which few mean something here.

   Owns the values. They may be read and set by any thread. Calls what acts on a change. */
#include <stdatomic.h>

#include "mimalloc_common.h"

/* What is not 0 at first: the original's values. */
typedef struct option {
  _Atomic long value;
  atomic_bool set; /* by the program */
} option;

static option options[_mi_option_last] = {
    [mi_option_eager_commit] = {.value = 1},
    [mi_option_arena_eager_commit] = {.value = 2},
    [mi_option_purge_decommits] = {.value = 1},
    [mi_option_reserve_huge_os_pages_at] = {.value = -1},
    [mi_option_eager_commit_delay] = {.value = 1},
    [mi_option_purge_delay] = {.value = 10},
    [mi_option_os_tag] = {.value = 100},
    [mi_option_max_errors] = {.value = 16},
    [mi_option_max_warnings] = {.value = 16},
    [mi_option_max_segment_reclaim] = {.value = 10},
    [mi_option_arena_reserve] = {.value = 1024 * 1024},
    [mi_option_arena_purge_mult] = {.value = 10},
    [mi_option_purge_extend_delay] = {.value = 1},
    [mi_option_retry_on_oom] = {.value = 400},
    [mi_option_guarded_max] = {.value = 1024 * 1024 * 1024},
    [mi_option_generic_collect] = {.value = 10000},
    [mi_option_allow_decommit] = {.value = 1},
    [mi_option_segment_decommit_delay] = {.value = 500},
};

static option *option_of(mi_option_t name) {
  return (unsigned)name < _mi_option_last ? &options[name] : NULL;
}

/* ---- reading ---- */

long mi_option_get(mi_option_t name) {
  option *one = option_of(name);
  return one != NULL ? atomic_load(&one->value) : 0;
}

bool mi_option_is_enabled(mi_option_t name) { return mi_option_get(name) != 0; }

long mi_option_get_clamp(mi_option_t name, long min, long max) {
  long value = mi_option_get(name);
  return value < min ? min : value > max ? max : value;
}

size_t mi_option_get_size(mi_option_t name) {
  long value = mi_option_get(name);
  bool in_kib = name == mi_option_reserve_os_memory || name == mi_option_arena_reserve;
  size_t size = value > 0 ? (size_t)value : 0;
  if (in_kib && size <= SIZE_MAX / 1024) size *= 1024;
  return size;
}

/* ---- setting ---- */

static void act(mi_option_t name) {
  if (name == mi_option_show_errors || name == mi_option_verbose) mh_mi_show_errors();
  if (name == mi_option_show_stats || name == mi_option_verbose) mh_mi_show_stats();
}

void mi_option_set(mi_option_t name, long value) {
  option *one = option_of(name);
  if (one == NULL) return;
  atomic_store(&one->value, value);
  atomic_store(&one->set, true);
  act(name);
}

void mi_option_set_default(mi_option_t name, long value) {
  option *one = option_of(name);
  if (one == NULL || atomic_load(&one->set)) return;
  atomic_store(&one->value, value);
  act(name);
}

void mi_option_set_enabled(mi_option_t name, bool enable) { mi_option_set(name, enable); }
void mi_option_set_enabled_default(mi_option_t name, bool enable) { mi_option_set_default(name, enable); }
void mi_option_enable(mi_option_t name) { mi_option_set(name, 1); }
void mi_option_disable(mi_option_t name) { mi_option_set(name, 0); }
