/* test_large_commits.c: commits of many whole pages: in blocks that there were, whose pages stay in the
   journal alone, and in blocks that are new, which are written to free space at once; beside small ones.

   All blocks are compared with plain copies after each of many random steps, by who commits and by a
   reader. */
#include <signal.h>
#include <sys/resource.h>

#include "commit.h"
#include "heap.h"
#include "test.h"

enum { BLOCKS = 12, PAGES = 300, STEPS = 3000 };

typedef struct copy {
  char *data; /* NULL: there is no such block */
  size_t size;
} copy;

typedef struct state {
  const char *path;
  mheap *heap, *reader; /* NULL: there is none */
  bool kept;            /* the reader keeps `seen` */
  copy now[BLOCKS], committed[BLOCKS], seen[BLOCKS];
  int in_journal, in_place; /* commits after which pages were in the journal alone; that placed some */
} state;

static unsigned draw(unsigned below) {
  static uint64_t seed = 11;
  seed = seed * 6364136223846793005u + 1442695040888963407u;
  return (unsigned)((seed >> 33) % below);
}

static mheap *open_in(const char *path, mheap_mode mode) {
  mheap_error error;
  mheap_options options = {.mode = mode, .relocate = mode != MHEAP_MODE_ATOMIC, .overrun_readers = true};
  mheap *heap = mheap_open(path, &options, &error);
  if (heap == NULL) fprintf(stderr, "%s\n", error.text);
  return heap;
}

/* ---- copies ---- */

static void set_copy(copy *to, const copy *from) {
  free(to->data);
  *to = *from;
  if (from->data == NULL) return;
  to->data = malloc(from->size);
  memcpy(to->data, from->data, from->size);
}

static void set_all(copy *to, const copy *from) {
  for (int i = 0; i < BLOCKS; i++) set_copy(&to[i], &from[i]);
}

static void drop_all(copy *of) {
  for (int i = 0; i < BLOCKS; i++) free(of[i].data);
}

static bool is_like(mheap *heap, const copy *copies) {
  for (unsigned i = 0; i < BLOCKS; i++) {
    const char *block = mheap_getkey(heap, i);
    if ((block == NULL) != (copies[i].data == NULL)) return false;
    if (block != NULL && memcmp(block, copies[i].data, copies[i].size) != 0) return false;
  }
  return true;
}

/* ---- steps ---- */

static void make(state *s, unsigned i) {
  copy *block = &s->now[i];
  block->size = (1 + draw(draw(2) ? PAGES : 8)) * (size_t)MH_PAGE - draw(100);
  block->data = malloc(block->size);
  for (size_t at = 0; at < block->size; at += MH_PAGE) {
    size_t n = block->size - at < MH_PAGE ? block->size - at : MH_PAGE;
    memset(block->data + at, (int)draw(256), n);
  }
  char *made = mheap_malloc(s->heap, block->size);
  REQUIRE(made != NULL);
  memcpy(made, block->data, block->size);
  REQUIRE_EQ(mheap_setkey(s->heap, i, made), MHEAP_OK);
}

static void drop(state *s, unsigned i) {
  REQUIRE_EQ(mheap_free(s->heap, mheap_getkey(s->heap, i)), MHEAP_OK);
  REQUIRE_EQ(mheap_setkey(s->heap, i, NULL), MHEAP_OK);
  free(s->now[i].data);
  s->now[i] = (copy){0};
}

/* Whole pages, or a few bytes of each. */
static void store(state *s, unsigned i) {
  copy *to = &s->now[i];
  char *block = mheap_getkey(s->heap, i);
  size_t from = draw((unsigned)(to->size / MH_PAGE + 1)) * (size_t)MH_PAGE,
         bytes = draw(4) ? MH_PAGE : 1 + draw(300);
  for (unsigned pages = 1 + draw(draw(3) ? PAGES : 20); pages > 0 && from < to->size;
       pages--, from += MH_PAGE) {
    size_t n = to->size - from < bytes ? to->size - from : bytes;
    memset(to->data + from, (int)draw(256), n);
    memcpy(block + from, to->data + from, n);
  }
}

static void change(state *s) {
  unsigned i = draw(BLOCKS);
  if (s->now[i].data == NULL) make(s, i);
  else if (draw(3) == 0) drop(s, i);
  else store(s, i);
}

static bool any_is_in_journal(const state *s) {
  const mh_images *images = &s->heap->region->commits->images;
  for (uint64_t at = 0; at < images->end; at += MH_PAGE)
    if (mh_images_is_placed(images, at)) return true;
  return false;
}

static uint64_t vacant_bytes(const state *s) {
  mh_vacant *vacant = &s->heap->region->commits->vacant;
  uint64_t sum = 0, end = s->heap->region->commits->high;
  mh_vacant_end_record(vacant, false); /* it looks anew */
  for (uint64_t at = MH_SLICE; at < end; at += MH_SLICE) sum += mh_vacant_run(vacant, at, at + MH_SLICE);
  return sum;
}

static void follow(state *s) {
  bool moved;
  if (s->reader == NULL || s->kept) return;
  REQUIRE_EQ(mheap_refresh(s->reader, &moved), MHEAP_OK);
  set_all(s->seen, s->committed);
  REQUIRE(is_like(s->reader, s->seen));
}

static void commit(state *s) {
  uint64_t before = vacant_bytes(s);
  REQUIRE_EQ(mheap_commit(s->heap, draw(4) == 0), MHEAP_OK);
  set_all(s->committed, s->now);
  s->in_journal += any_is_in_journal(s);
  s->in_place += vacant_bytes(s) < before;
  if (draw(2)) follow(s);
}

/* The file cannot grow: nothing is committed, or all. */
static void fail(state *s) {
  struct rlimit before, low;
  getrlimit(RLIMIT_FSIZE, &before);
  low = before;
  low.rlim_cur = mh_region_size(s->heap->region) + draw(8) * MH_SLICE;
  setrlimit(RLIMIT_FSIZE, &low);
  mheap_err code = mheap_commit(s->heap, draw(2));
  setrlimit(RLIMIT_FSIZE, &before);
  if (code == MHEAP_OK) set_all(s->committed, s->now);
  else CHECK(code == MHEAP_ERR_SYSTEM || code == MHEAP_ERR_FULL);
}

static void undo(state *s) {
  REQUIRE_EQ(mheap_rollback(s->heap), MHEAP_OK);
  set_all(s->now, s->committed);
}

static void read_along(state *s) {
  if (s->reader == NULL) {
    s->reader = open_in(s->path, MHEAP_MODE_READONLY);
    REQUIRE(s->reader != NULL);
    set_all(s->seen, s->committed);
  } else if (s->kept) {
    mheap_release(s->reader);
    s->kept = false;
  } else if (draw(3) == 0) {
    mheap_detach(s->reader, NULL);
    s->reader = NULL;
    return;
  }
  follow(s);
  if (draw(4)) return;
  REQUIRE_EQ(mheap_keep(s->reader, NULL), MHEAP_OK);
  s->kept = true;
}

/* What was not committed is gone, as after a kill. */
static void come_back(state *s) {
  mheap_abandon(s->heap);
  s->heap = open_in(s->path, MHEAP_MODE_ATOMIC);
  REQUIRE(s->heap != NULL);
  set_all(s->now, s->committed);
}

static void step(state *s) {
  unsigned what = draw(24);
  if (what < 10) change(s);
  else if (what < 15) commit(s);
  else if (what == 15) fail(s);
  else if (what < 18) undo(s);
  else if (what < 20) read_along(s);
  else if (what < 22) mheap_checkpoint(s->heap);
  else if (what == 22) follow(s);
  else come_back(s);
}

static void check_all(const state *s) {
  REQUIRE(is_like(s->heap, s->now));
  if (s->reader != NULL && s->kept && mheap_is_whole(s->reader)) REQUIRE(is_like(s->reader, s->seen));
}

static void blocks_hold_what_was_committed(void) {
  state s = {.path = test_path("a.heap")};
  signal(SIGXFSZ, SIG_IGN);
  s.heap = open_in(s.path, MHEAP_MODE_ATOMIC);
  REQUIRE(s.heap != NULL);
  for (int i = 0; i < STEPS; i++) {
    step(&s);
    check_all(&s);
  }
  CHECK(s.in_journal > 50);
  CHECK(s.in_place > 20);
  if (s.reader != NULL) mheap_detach(s.reader, NULL);
  CHECK_EQ(mheap_check(s.heap, NULL, NULL, NULL), MHEAP_OK);
  CHECK_EQ(mheap_detach(s.heap, NULL), MHEAP_OK);
  drop_all(s.now), drop_all(s.committed), drop_all(s.seen);
}

TEST_MAIN(TEST(blocks_hold_what_was_committed))
