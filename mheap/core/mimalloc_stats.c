/* mimalloc_stats.c: mimalloc's statistics: mheap's, by its names.

   Owns nothing but that they are printed at exit once an option said so. Calls extended.h. */
#include <pthread.h>
#include <stdlib.h>

#include "mimalloc_common.h"

void mi_stats_reset(void) { mheap_stats_reset(NULL); }
void mi_stats_merge(void) { mheap_stats_merge(); }

void mi_stats_print(void *out) {
  (void)out;
  mheap_stats_print(NULL);
}

void mi_stats_print_out(mi_output_fun *out, void *arg) { mheap_stats_print_out(NULL, out, arg); }
void mi_thread_stats_print_out(mi_output_fun *out, void *arg) { mheap_thread_stats_print_out(out, arg); }

void mi_heap_stats_print_out(mi_heap_t *heap, mi_output_fun *out, void *arg) {
  mheap_stats stats;
  if (mheap_get_heap_stats(mh_mi_core(heap), &stats) == MHEAP_OK)
    mheap_stats_write(&stats, "heap", false, out, arg);
}

char *mi_stats_get_json(size_t buf_size, char *buf) {
  if (buf != NULL) return mheap_stats_json(NULL, buf, buf_size) != 0 ? buf : NULL;
  size_t length = mheap_stats_json(NULL, NULL, 0) + 4096; /* it counts the block for it, too */
  char *block = mheap_malloc(mh_mi_heap, length);
  if (block == NULL || mheap_stats_json(NULL, block, length) != 0) return block;
  mheap_free_any(block);
  return NULL;
}

/* ---- at exit ---- */

static void print_if_enabled(void) {
  if (mi_option_is_enabled(mi_option_show_stats) || mi_option_is_enabled(mi_option_verbose))
    mi_stats_print(NULL);
}

static void at_exit(void) { atexit(print_if_enabled); }

void mh_mi_show_stats(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, at_exit);
}
