/* scenarios_heaps.c: scenarios of arenas and of more heaps in a region. See scenarios.h. */
#include "kind.h"
#include "scenarios.h"

#define KIB ((size_t)1024)
#define MIB ((size_t)1024 * 1024)
#define SEGMENT (4 * MIB)

static const mheap_arena_options shared = {0}, exclusive = {.exclusive = true},
                                 committed = {.exclusive = true, .commit = true};

static void must(const stage *s, bool condition, const char *what) {
  if (!condition) stage_fail(what, s->heap);
}

static void reserve(stage *s, size_t size, const mheap_arena_options *options) {
  must(s, mheap_arena_reserve(s->heap, size, options, &s->arena) == MHEAP_OK, "reserve");
}

static void make(stage *s, int tag) {
  s->other = mheap_new(s->heap, tag, true, s->arena);
  must(s, s->other != NULL, "new");
}

static void keep(stage *s, char *block) {
  must(s, block != NULL && s->count < STAGE_BLOCKS, "malloc");
  pattern_fill(block, mheap_usable_size_any(block), (uint64_t)(block - heap_base(s->heap)));
  s->blocks[s->count++] = block;
}

static void malloc_in(stage *s, mheap *heap, size_t size) { keep(s, mheap_malloc(heap, size)); }

static void some_blocks(stage *s) {
  for (int i = 0; i < 10; i++) malloc_in(s, s->heap, 100);
  s->whole = true;
}

/* ---- arenas ---- */

static void an_arena(stage *s) {
  some_blocks(s);
  reserve(s, SEGMENT, &exclusive);
}
static void a_committed_arena(stage *s) {
  some_blocks(s);
  reserve(s, SEGMENT, &committed);
}
static void an_arena_that_was_used(stage *s) {
  an_arena(s);
  make(s, 0);
  malloc_in(s, s->other, 100);
  malloc_in(s, s->other, 100 * KIB);
  must(s, mheap_destroy(s->other) == MHEAP_OK, "destroy");
}
static void reserve_exclusive(stage *s) { reserve(s, 2 * SEGMENT, &exclusive); }
static void reserve_shared(stage *s) { reserve(s, 2 * SEGMENT, &shared); }
static void reserve_committed(stage *s) { reserve(s, 2 * SEGMENT, &committed); }
static void reserve_much(stage *s) { reserve(s, (size_t)20 << 30, &exclusive); }
static void grow(stage *s) { must(s, mheap_arena_grow(s->arena, 3 * SEGMENT) == MHEAP_OK, "grow"); }
static void release(stage *s) { must(s, mheap_arena_release(s->arena) == MHEAP_OK, "release"); }

/* ---- making heaps, and using them ---- */

static void make_tagged(stage *s) { make(s, 200); }
static void a_heap_in_an_arena(stage *s) {
  an_arena(s);
  make(s, 0);
}
static void a_heap_in_a_shared_arena(stage *s) {
  some_blocks(s);
  reserve(s, 3 * SEGMENT, &shared);
  s->arena = 0;
  make(s, 0);
}
static void a_heap_in_a_larger_arena(stage *s) {
  some_blocks(s);
  reserve(s, 3 * SEGMENT, &exclusive);
  make(s, 0);
}
static void malloc_small(stage *s) { must(s, mheap_malloc(s->other, 100) != NULL, "malloc"); }
static void malloc_span(stage *s) { must(s, mheap_malloc(s->other, 200 * KIB) != NULL, "malloc"); }
static void malloc_huge(stage *s) { must(s, mheap_malloc(s->other, 5 * MIB) != NULL, "malloc"); }

/* ---- destroying and deleting ---- */

static void slabs(stage *s) {
  for (int i = 0; i < 70; i++) malloc_in(s, s->other, 1000);
  for (int i = 0; i < 5; i++) malloc_in(s, s->other, 40);
}
static void spans(stage *s) {
  for (int i = 0; i < 3; i++) malloc_in(s, s->other, (100 + 100 * (size_t)i) * KIB);
}
static void huge(stage *s) { malloc_in(s, s->other, 9 * MIB); }
static void everything(stage *s) {
  slabs(s);
  spans(s);
  malloc_in(s, s->heap, 3000); /* between */
  huge(s);
}

static void a_heap(stage *s, void (*fill)(stage *s)) {
  some_blocks(s);
  make(s, 0);
  fill(s);
}
static void a_heap_of_slabs(stage *s) { a_heap(s, slabs); }
static void a_heap_of_spans(stage *s) { a_heap(s, spans); }
static void a_heap_of_a_huge_block(stage *s) { a_heap(s, huge); }
static void a_heap_of_everything(stage *s) { a_heap(s, everything); }
static void a_tagged_heap(stage *s) {
  some_blocks(s);
  make(s, 9);
  everything(s);
}
static void a_heap_of_everything_in_an_arena(stage *s) {
  some_blocks(s);
  reserve(s, 6 * SEGMENT, &exclusive);
  make(s, 0);
  everything(s);
}
static void destroy(stage *s) { must(s, mheap_destroy(s->other) == MHEAP_OK, "destroy"); }
static void delete(stage *s) { must(s, mheap_delete(s->other) == MHEAP_OK, "delete"); }

/* ---- what a kill left ---- */

static void killed(stage *s, uint64_t flag) {
  mh_heap_row_of(s->other)->head |= flag;
  mheap_abandon(s->heap);
  s->heap = heap_at(s->path, NULL);
}
static void a_destroyed_heap(stage *s) {
  a_heap(s, everything);
  killed(s, MH_HEAP_DESTROYED);
}
static void a_deleted_heap(stage *s) {
  a_heap(s, everything);
  killed(s, MH_HEAP_DELETED);
}
static void a_destroyed_heap_in_an_arena(stage *s) {
  a_heap_of_everything_in_an_arena(s);
  killed(s, MH_HEAP_DESTROYED);
}
static void a_destroyed_huge_block(stage *s) {
  a_heap(s, huge);
  killed(s, MH_HEAP_DESTROYED);
}

static void collect(stage *s) { must(s, mheap_collect(s->heap, true) == MHEAP_OK, "collect"); }
static void trim(stage *s) { must(s, mheap_collect(s->heap, false) == MHEAP_OK, "collect"); }

static bool only_arena(void *arg, const mheap_arena_info *info) {
  *(mheap_arena *)arg = info->arena;
  return true;
}
/* The blocks of before are in it. */
static void release_found(stage *s) {
  must(s, mheap_visit_arenas(s->heap, only_arena, &s->arena) == MHEAP_OK, "visit");
  must(s, mheap_arena_release(s->arena) == MHEAP_OK, "release");
}

/* ---- kinds ---- */

static void make_kind(stage *s, const char *name, mheap_kind_policy policy) {
  must(s, mheap_kind_create(name, policy, s->heap) != NULL, "kind");
}
static void make_one(stage *s) { make_kind(s, "one", MHEAP_KIND_BIJECTIVE); }
static void make_several(stage *s) { make_kind(s, "several", MHEAP_KIND_THREAD); }

static void a_small_kind(stage *s) {
  some_blocks(s);
  make_kind(s, "other", MHEAP_KIND_BIJECTIVE);
}
static void a_kind_with_blocks(stage *s) {
  some_blocks(s);
  make_several(s);
  mheap_kind *kind = mheap_kind_find("several", s->heap);
  mheap_kind_info info;
  must(s, mheap_kind_get_info(kind, &info) == MHEAP_OK, "info");
  for (unsigned i = 0; i < 3 * info.arenas; i++)
    keep(s, mheap_kind_memalign_in(kind, info.arena + i % info.arenas, 16, 5000 * (i % 3) + 10));
}
static void a_kind_made_in_part(stage *s) {
  a_kind_with_blocks(s);
  mheap_kind *kind = mheap_kind_find("several", s->heap);
  mheap *first = mheap_heap_of(mheap_kind_malloc(kind, 10));
  must(s, first != NULL, "heap");
  uint64_t row = mh_heap_row_of(first)->kind - 1;
  ((mh_heap_row *)mh_at(s->heap->region, MH_HEAPS_OFFSET))[row].policy = 0;
  mheap_abandon(s->heap);
  s->heap = heap_at(s->path, NULL);
}
static void destroy_kind(stage *s) {
  must(s, mheap_kind_destroy(mheap_kind_find("several", s->heap)) == MHEAP_OK, "destroy");
}
static void change_usage(stage *s) {
  mheap_kind *kind = mheap_kind_find("several", s->heap);
  must(s, mheap_kind_set_usage(kind, MHEAP_KIND_USAGE_CONSERVATIVE) == MHEAP_OK, "usage");
}

const scenario heap_scenarios[] = {
    {"arena_is_reserved", some_blocks, reserve_exclusive, false, false},
    {"arena_is_reserved_for_all", some_blocks, reserve_shared, false, false},
    {"arena_is_reserved_and_committed", some_blocks, reserve_committed, false, false},
    {"arena_is_reserved_beyond_the_maps_first_part", some_blocks, reserve_much, false, false},
    {"arena_grows", an_arena, grow, false, false},
    {"arena_grows_and_is_committed", a_committed_arena, grow, false, false},
    {"arena_is_released", an_arena, release, false, false},
    {"arena_is_released_that_was_committed", a_committed_arena, release, false, false},
    {"arena_is_released_that_was_used", an_arena_that_was_used, release, false, false},
    {"heap_is_made", some_blocks, make_tagged, false, false},
    {"heap_is_made_in_an_arena", an_arena, make_tagged, false, false},
    {"malloc_in_an_arena", a_heap_in_an_arena, malloc_small, false, false},
    {"malloc_a_span_in_an_arena", a_heap_in_an_arena, malloc_span, false, false},
    {"malloc_a_huge_block_in_an_arena", a_heap_in_a_larger_arena, malloc_huge, false, false},
    {"malloc_in_a_shared_arena", a_heap_in_a_shared_arena, malloc_small, false, false},
    {"malloc_a_huge_block_in_a_shared_arena", a_heap_in_a_shared_arena, malloc_huge, false, false},
    {"heap_of_slabs_is_destroyed", a_heap_of_slabs, destroy, false, false},
    {"heap_of_spans_is_destroyed", a_heap_of_spans, destroy, false, false},
    {"heap_of_a_huge_block_is_destroyed", a_heap_of_a_huge_block, destroy, false, false},
    {"heap_is_destroyed", a_heap_of_everything, destroy, false, false},
    {"heap_in_an_arena_is_destroyed", a_heap_of_everything_in_an_arena, destroy, false, false},
    {"heap_of_slabs_is_deleted", a_heap_of_slabs, delete, false, false},
    {"heap_of_spans_is_deleted", a_heap_of_spans, delete, false, false},
    {"heap_of_a_huge_block_is_deleted", a_heap_of_a_huge_block, delete, false, false},
    {"heap_is_deleted", a_heap_of_everything, delete, false, false},
    {"heap_with_a_tag_is_deleted", a_tagged_heap, delete, false, false},
    {"heap_in_an_arena_is_deleted", a_heap_of_everything_in_an_arena, delete, false, false},
    {"collect_a_destroyed_heap", a_destroyed_heap, collect, false, false},
    {"collect_a_deleted_heap", a_deleted_heap, collect, false, false},
    {"trim_a_destroyed_heap", a_destroyed_huge_block, trim, false, false},
    {"make_a_heap_behind_a_destroyed_one", a_destroyed_heap, make_tagged, false, false},
    {"release_the_arena_of_a_destroyed_heap", a_destroyed_heap_in_an_arena, release_found, false, false},
    {"reserve_where_a_destroyed_heap_was", a_destroyed_huge_block, reserve_exclusive, false, false},
    {"kind_of_one_heap_is_made", some_blocks, make_one, false, false},
    {"kind_is_made", some_blocks, make_several, false, false},
    {"kind_is_made_beside_another", a_small_kind, make_one, false, false},
    {"kind_is_made_behind_one_made_in_part", a_kind_made_in_part, make_one, false, false},
    {"kind_is_destroyed", a_kind_with_blocks, destroy_kind, false, false},
    {"usage_of_a_kind_changes", a_kind_with_blocks, change_usage, false, false},
    {"collect_a_kind_made_in_part", a_kind_made_in_part, collect, false, false},
    {NULL, NULL, NULL, false, false},
};
