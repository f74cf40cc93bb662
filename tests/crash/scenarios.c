/* scenarios.c: scenarios of blocks: malloc, free, realloc of each kind, growth and return of
   space, attaching and detaching. See scenarios.h. */
#include "scenarios.h"

#include <pthread.h>

#define KIB ((size_t)1024)
#define MIB ((size_t)1024 * 1024)
#define SLICE (64 * KIB)
#define SPAN_MAX (63 * SLICE)

void stage_fail(const char *what, const mheap *heap) {
  fprintf(stderr, "%s: %s\n", what, heap != NULL ? mheap_last_error(heap)->text : "no heap");
  _exit(3);
}

void stage_fill(mheap *heap, void *block) {
  pattern_fill(block, mheap_usable_size(heap, block), (uint64_t)((char *)block - heap_base(heap)));
}

char *stage_malloc(stage *s, size_t size) {
  char *block = mheap_malloc(s->heap, size);
  if (block == NULL) stage_fail("malloc", s->heap);
  if (s->count == STAGE_BLOCKS) stage_fail("too many blocks", s->heap);
  stage_fill(s->heap, block);
  return s->blocks[s->count++] = block;
}

static void stage_free(stage *s, unsigned i) {
  if (mheap_free(s->heap, s->blocks[i]) != MHEAP_OK) stage_fail("free", s->heap);
}

static void must(const stage *s, bool condition, const char *what) {
  if (!condition) stage_fail(what, s->heap);
}

static void fill_segment(stage *s) { stage_malloc(s, SPAN_MAX); }

static void some_blocks(stage *s) {
  for (int i = 0; i < 10; i++) stage_malloc(s, 100);
}

static void reattach(stage *s, bool crash) {
  if (crash) mheap_abandon(s->heap);
  else if (!heap_detach(s->heap)) stage_fail("detach", s->heap);
  s->heap = NULL;
}

/* ---- malloc ---- */

static void malloc_64(stage *s) { stage_malloc(s, 64); }
static void malloc_100(stage *s) { must(s, mheap_malloc(s->heap, 100) != NULL, "malloc"); }
static void malloc_1000(stage *s) { must(s, mheap_malloc(s->heap, 1000) != NULL, "malloc"); }
static void malloc_span(stage *s) { must(s, mheap_malloc(s->heap, 5 * SLICE - 5000) != NULL, "malloc"); }
static void malloc_huge(stage *s) { must(s, mheap_malloc(s->heap, 9 * MIB) != NULL, "malloc"); }
static void calloc_100(stage *s) { must(s, mheap_calloc(s->heap, 10, 10) != NULL, "calloc"); }
static void memalign_span(stage *s) { must(s, mheap_memalign(s->heap, MIB, 3 * SLICE) != NULL, "memalign"); }
static void memalign_huge(stage *s) { must(s, mheap_memalign(s->heap, 16 * MIB, 100) != NULL, "memalign"); }

static void memalign_far(stage *s) {
  must(s, mheap_memalign(s->heap, (size_t)16 << 30, 100) != NULL, "memalign");
}

/* 16 GiB before another such block, so that that one's segment has a number above 4095. */
static void a_far_block(stage *s) {
  some_blocks(s);
  s->blocks[s->count] = mheap_memalign(s->heap, (size_t)16 << 30, 100);
  must(s, s->blocks[s->count] != NULL, "memalign");
  stage_fill(s->heap, s->blocks[s->count++]);
}

static void nothing(stage *s) { (void)s; }

/* The bin's word is used up, its slab is not. */
static void whole_word(stage *s) {
  for (int i = 0; i < 64; i++) stage_malloc(s, 100);
}

/* Slices are free within the file, the bin's slab is full. */
static void full_slab_and_free_slices(stage *s) {
  for (int i = 0; i < 64; i++) stage_malloc(s, 1000);
  char *first = stage_malloc(s, 4 * SLICE);
  stage_malloc(s, SLICE + 1);
  must(s, mheap_free(s->heap, first) == MHEAP_OK, "free");
}

/* The file ends behind the last full slab. */
static void full_slab_at_the_end(stage *s) {
  for (int i = 0; i < 64; i++) stage_malloc(s, 1000);
}

static void *leave_a_slab(void *arg) {
  stage *s = arg;
  for (int i = 0; i < 5; i++) stage_malloc(s, 100);
  return NULL;
}

static void run_thread(stage *s, void *(*work)(void *)) {
  pthread_t thread;
  must(s, pthread_create(&thread, NULL, work, s) == 0 && pthread_join(thread, NULL) == 0, "thread");
}

/* Another thread ended, and left a slab with room. */
static void idle_lane(stage *s) {
  stage_malloc(s, 5000);
  run_thread(s, leave_a_slab);
}

/* Slabs with holes that an earlier attach left; `crash`: without detaching. */
static void holes_of_before(stage *s, bool crash) {
  for (int i = 0; i < 200; i++) stage_malloc(s, 100);
  for (unsigned i = 0; i < 200; i += 2) stage_free(s, i);
  reattach(s, crash);
}
static void clean_holes(stage *s) {
  holes_of_before(s, false);
  s->heap = heap_at(s->path, NULL);
}
static void crashed_holes(stage *s) {
  holes_of_before(s, true);
  s->heap = heap_at(s->path, NULL);
}

/* ---- free ---- */

static void free_first(stage *s) { stage_free(s, 0); }
static void free_last(stage *s) { stage_free(s, s->count - 1); }

static void a_slab_with_one_block(stage *s) {
  for (int i = 0; i < 65; i++) stage_malloc(s, 1000); /* the 65th begins another slab */
  for (unsigned i = 1; i < 64; i++) stage_free(s, i);
}
static void a_full_slab_behind_the_bin(stage *s) {
  for (int i = 0; i < 65; i++) stage_malloc(s, 1000);
}
static void a_span(stage *s) { stage_malloc(s, 3 * SLICE + 1); }
static void a_huge_block(stage *s) { stage_malloc(s, 9 * MIB); }
static void a_huge_block_and_a_span_behind(stage *s) {
  a_huge_block(s);
  stage_malloc(s, SPAN_MAX);
  stage_malloc(s, SPAN_MAX);
}

/* Another thread, whose lane is its own still, owns the slab. */
static void *own_a_slab(void *arg) {
  leave_a_slab(arg);
  atomic_store(&((stage *)arg)->done, -1);
  while (pause() != 0) continue; /* for ever: it is killed */
  return NULL;
}
static void a_slab_of_another_thread(stage *s) {
  pthread_t thread;
  stage_malloc(s, 5000);
  must(s, pthread_create(&thread, NULL, own_a_slab, s) == 0, "thread");
  while (atomic_load(&s->done) != -1) usleep(100);
  atomic_store(&s->done, 0);
}

/* The last segment empties, and the file is cut. */
static void five_segments(stage *s) {
  for (int i = 0; i < 6; i++) stage_malloc(s, SPAN_MAX);
}

static void *free_them(void *arg) {
  stage *s = arg;
  for (unsigned i = 1; i < s->count; i++) stage_free(s, i);
  return NULL;
}
/* All but one block of the slab were freed by another thread: their bits are to be folded. */
static void freed_by_another_thread(stage *s) {
  for (int i = 0; i < 64; i++) stage_malloc(s, 1000);
  run_thread(s, free_them);
}

/* ---- realloc ---- */

static void resize_first(stage *s, size_t size) {
  must(s, mheap_realloc(s->heap, s->blocks[0], size) != NULL, "realloc");
}
static void a_small_block(stage *s) { stage_malloc(s, 200); }
static void realloc_to_class(stage *s) { resize_first(s, 500); }
static void realloc_to_span(stage *s) { resize_first(s, 3 * SLICE); }
static void realloc_to_slab(stage *s) { resize_first(s, 300); }
static void realloc_to_more(stage *s) { resize_first(s, 7 * SLICE - 100); }
static void realloc_to_less(stage *s) { resize_first(s, 2 * SLICE - 5000); }
static void realloc_huge_to_more(stage *s) { resize_first(s, 14 * MIB); }
static void realloc_huge_to_less(stage *s) { resize_first(s, 5 * MIB - 5000); }

static void a_span_with_free_neighbours(stage *s) {
  stage_malloc(s, 4 * SLICE);
  char *behind = stage_malloc(s, 4 * SLICE);
  stage_malloc(s, SLICE + 1);
  must(s, mheap_free(s->heap, behind) == MHEAP_OK, "free");
}

/* ---- space, keys, roots ---- */

static void collect(stage *s) { must(s, mheap_collect(s->heap, true) == MHEAP_OK, "collect"); }
static void set_key(stage *s) { must(s, mheap_setkey(s->heap, 7, s->blocks[0]) == MHEAP_OK, "setkey"); }
static void much_to_collect(stage *s) {
  for (int i = 0; i < 300; i++) stage_malloc(s, 1000);
  stage_malloc(s, 2 * SPAN_MAX);
  stage_malloc(s, SPAN_MAX);
  for (unsigned i = 1; i < s->count; i++) stage_free(s, i);
}

/* ---- attach, detach ---- */

static void attach(stage *s) { s->heap = heap_at(s->path, NULL); }
static void detach(stage *s) { reattach(s, false); }
static void no_heap_yet(stage *s) {
  mheap_abandon(s->heap);
  s->heap = NULL;
  if (truncate(s->path, 0) != 0) stage_fail("truncate", NULL);
}
static void detached(stage *s) { holes_of_before(s, false); }
static void crashed(stage *s) { holes_of_before(s, true); }
static void two_segments_detached(stage *s) {
  fill_segment(s);
  fill_segment(s);
  some_blocks(s);
  reattach(s, false);
}

const scenario raw_scenarios[] = {
    {"malloc_from_the_bin", some_blocks, malloc_100, false, false},
    {"malloc_from_the_next_word", whole_word, malloc_100, false, false},
    {"malloc_the_first_block", nothing, malloc_64, false, false},
    {"malloc_a_slab", full_slab_and_free_slices, malloc_1000, false, false},
    {"malloc_grows_the_file", full_slab_at_the_end, malloc_1000, false, false},
    {"malloc_adds_a_segment", fill_segment, malloc_1000, false, false},
    {"malloc_a_span", full_slab_and_free_slices, malloc_span, false, false},
    {"malloc_a_span_behind_the_end", some_blocks, malloc_span, false, false},
    {"malloc_a_huge_block", some_blocks, malloc_huge, false, false},
    {"malloc_from_an_idle_lane", idle_lane, malloc_100, false, false},
    {"malloc_after_a_detach", clean_holes, malloc_100, false, false},
    {"malloc_after_a_crash", crashed_holes, malloc_100, false, false},
    {"calloc", some_blocks, calloc_100, false, false},
    {"memalign_a_span", some_blocks, memalign_span, false, false},
    {"memalign_beyond_a_segment", some_blocks, memalign_huge, false, false},
    {"memalign_beyond_the_maps_first_part", a_far_block, memalign_far, false, false},
    {"free_to_the_bin", some_blocks, free_first, false, false},
    {"free_to_a_full_slab", a_full_slab_behind_the_bin, free_first, false, false},
    {"free_the_last_of_a_slab", a_slab_with_one_block, free_first, false, false},
    {"free_a_span", a_span, free_first, false, false},
    {"free_a_huge_block_at_the_end", a_huge_block, free_first, false, false},
    {"free_a_huge_block", a_huge_block_and_a_span_behind, free_first, false, false},
    {"free_a_block_of_another_thread", a_slab_of_another_thread, free_last, false, false},
    {"free_a_block_of_an_idle_lane", idle_lane, free_last, false, false},
    {"free_the_last_segment", five_segments, free_last, false, false},
    {"free_after_a_crash", crashed_holes, free_last, false, false},
    {"realloc_moves_to_a_class", a_small_block, realloc_to_class, false, false},
    {"realloc_moves_to_a_span", a_small_block, realloc_to_span, false, false},
    {"realloc_moves_to_a_slab", a_span, realloc_to_slab, false, false},
    {"realloc_grows_a_span", a_span_with_free_neighbours, realloc_to_more, false, false},
    {"realloc_shrinks_a_span", a_span, realloc_to_less, false, false},
    {"realloc_grows_a_huge_block", a_huge_block, realloc_huge_to_more, false, false},
    {"realloc_shrinks_a_huge_block", a_huge_block, realloc_huge_to_less, false, false},
    {"fold_what_another_thread_freed", freed_by_another_thread, malloc_1000, false, false},
    {"collect", much_to_collect, collect, false, false},
    {"setkey", some_blocks, set_key, false, false},
    {"attach_a_new_file", no_heap_yet, attach, true, false},
    {"attach", detached, attach, true, false},
    {"attach_after_a_crash", crashed, attach, true, false},
    {"attach_two_segments", two_segments_detached, attach, true, false},
    {"detach", some_blocks, detach, false, true},
    {"detach_and_trim", much_to_collect, detach, false, true},
    {NULL, NULL, NULL, false, false},
};
