/* test_large_commits.c: commits of many whole pages, which are kept in the journal alone, beside small ones.

   A block's contents are compared with a plain copy after each of many random steps. */
#include <signal.h>
#include <sys/resource.h>

#include "commit.h"
#include "heap.h"
#include "test.h"

enum { PAGES = 600, STEPS = 400 };
#define BYTES ((size_t)PAGES * MH_PAGE)

typedef struct state {
  const char *path;
  mheap *heap, *reader; /* NULL: no reader keeps a commit */
  char *block;
  char *now, *committed; /* what it must hold */
  int placed;            /* commits after which pages were in the journal alone */
} state;

static unsigned draw(unsigned below) {
  static uint64_t seed = 11;
  seed = seed * 6364136223846793005u + 1442695040888963407u;
  return (unsigned)((seed >> 33) % below);
}

static mheap *open_in(const char *path, mheap_mode mode) {
  mheap_error error;
  mheap *heap =
      mheap_open(path, &(mheap_options){.mode = mode, .relocate = mode != MHEAP_MODE_ATOMIC}, &error);
  if (heap == NULL) fprintf(stderr, "%s\n", error.text);
  return heap;
}

static void check_block(const state *s) { REQUIRE(memcmp(s->block, s->now, BYTES) == 0); }

/* Whole pages, or a few bytes of each. */
static void store(state *s) {
  unsigned first = draw(PAGES), count = 1 + draw(draw(3) ? PAGES - first : 20);
  size_t from = (size_t)first * MH_PAGE, bytes = draw(4) ? MH_PAGE : 1 + draw(300);
  if (first + count > PAGES) count = PAGES - first;
  for (unsigned i = 0; i < count; i++, from += MH_PAGE) {
    memset(s->now + from, (int)draw(256), bytes);
    memcpy(s->block + from, s->now + from, MH_PAGE);
  }
}

static bool any_is_placed(const state *s) {
  const mh_images *images = &s->heap->region->commits->images;
  for (uint64_t at = 0; at < images->end; at += MH_PAGE)
    if (mh_images_is_placed(images, at)) return true;
  return false;
}

static void commit(state *s) {
  REQUIRE_EQ(mheap_commit(s->heap, draw(4) == 0), MHEAP_OK);
  memcpy(s->committed, s->now, BYTES);
  s->placed += any_is_placed(s);
}

/* The journal cannot grow: nothing is committed, and the next try has all of it. */
static void fail(state *s) {
  struct rlimit before, none;
  getrlimit(RLIMIT_FSIZE, &before);
  none = before;
  none.rlim_cur = mh_region_size(s->heap->region) + 3 * MH_SLICE;
  setrlimit(RLIMIT_FSIZE, &none);
  mheap_err code = mheap_commit(s->heap, true);
  setrlimit(RLIMIT_FSIZE, &before);
  if (code == MHEAP_OK) memcpy(s->committed, s->now, BYTES);
  else CHECK(code == MHEAP_ERR_SYSTEM || code == MHEAP_ERR_FULL);
}

static void undo(state *s) {
  REQUIRE_EQ(mheap_rollback(s->heap), MHEAP_OK);
  memcpy(s->now, s->committed, BYTES);
}

static void keep_or_let_go(state *s) {
  if (s->reader != NULL) {
    mheap_detach(s->reader, NULL);
    s->reader = NULL;
    return;
  }
  s->reader = open_in(s->path, MHEAP_MODE_READONLY);
  REQUIRE(s->reader != NULL);
  REQUIRE_EQ(mheap_keep(s->reader, NULL), MHEAP_OK);
  const char *theirs = mheap_getkey(s->reader, 0);
  CHECK(memcmp(theirs, s->committed, BYTES) == 0);
}

/* What was not committed is gone, as after a kill. */
static void come_back(state *s) {
  mheap_abandon(s->heap);
  s->heap = open_in(s->path, MHEAP_MODE_ATOMIC);
  REQUIRE(s->heap != NULL);
  s->block = mheap_getkey(s->heap, 0);
  memcpy(s->now, s->committed, BYTES);
}

static void grow(state *s) {
  if (mh_region_size(s->heap->region) < (uint64_t)256 << 20) CHECK(mheap_malloc(s->heap, 3 << 20) != NULL);
}

static void step(state *s) {
  unsigned what = draw(20);
  if (what < 8) store(s);
  else if (what < 13) commit(s);
  else if (what == 13) fail(s);
  else if (what < 16) undo(s);
  else if (what == 16) keep_or_let_go(s);
  else if (what == 17) mheap_checkpoint(s->heap);
  else if (what == 18) grow(s);
  else come_back(s);
}

static void a_block_holds_what_was_committed(void) {
  state s = {.path = test_path("a.heap"), .now = calloc(1, BYTES), .committed = calloc(1, BYTES)};
  signal(SIGXFSZ, SIG_IGN);
  s.heap = open_in(s.path, MHEAP_MODE_ATOMIC);
  REQUIRE(s.heap != NULL);
  s.block = mheap_calloc(s.heap, 1, BYTES);
  mheap_setkey(s.heap, 0, s.block);
  commit(&s);
  for (int i = 0; i < STEPS; i++) {
    step(&s);
    check_block(&s);
  }
  CHECK(s.placed > 10);
  if (s.reader != NULL) mheap_detach(s.reader, NULL);
  CHECK_EQ(mheap_check(s.heap, NULL, NULL, NULL), MHEAP_OK);
  CHECK_EQ(mheap_detach(s.heap, NULL), MHEAP_OK);
  free(s.now);
  free(s.committed);
}

TEST_MAIN(TEST(a_block_holds_what_was_committed))
