/* test_kind_hooks.c: kinds whose space comes from hooks of the program's: what is asked of them, and
   when; that nothing is stored where they did not allow it. */
#include <sys/mman.h>

#include "image.h"
#include "kind.h"

#define MIB ((size_t)1 << 20)
enum { EXTENTS = 64 };

typedef struct source {
  unsigned allocs, deallocs, commits, decommits, purges, refused;
  size_t room;                /* bytes it still gives */
  bool uncommitted, misalign; /* extents are handed out so */
  bool no_decommit;           /* is refused */
  struct {
    char *start;
    size_t size;
    unsigned arena;
  } extents[EXTENTS];
} source;

static source *of(void *arg) { return arg; }

static void *give(void *arg, size_t size, size_t alignment, bool *zero, bool *commit, unsigned arena) {
  source *s = of(arg);
  CHECK(size % (4 * MIB) == 0 && alignment == 4 * MIB && *commit && mheap_kind_by_arena(arena) != NULL);
  if (size > s->room || s->allocs == EXTENTS) return NULL;
  s->room -= size;
  char *start = mmap(NULL, size + MIB, s->uncommitted ? PROT_NONE : PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (start == MAP_FAILED) return NULL;
  if (s->misalign) start += 4096;
  s->extents[s->allocs].start = start;
  s->extents[s->allocs].size = size;
  s->extents[s->allocs++].arena = arena;
  *commit = !s->uncommitted;
  *zero = true;
  return start;
}

static void take(void *arg, void *extent, size_t size, unsigned arena) {
  source *s = of(arg);
  unsigned i = 0;
  while (i < s->allocs && s->extents[i].start != extent) i++;
  if (!CHECK(i < s->allocs)) return;
  CHECK(s->extents[i].size == size && s->extents[i].arena == arena);
  munmap(s->misalign ? s->extents[i].start - 4096 : s->extents[i].start, size + MIB);
  s->extents[i].start = NULL;
  s->deallocs++;
}

static bool protect(char *extent, size_t size, size_t offset, size_t length, int how) {
  CHECK(offset + length <= size && offset % 65536 == 0 && length % 65536 == 0 && length > 0);
  return mprotect(extent + offset, length, how) == 0;
}

static bool commit(void *arg, void *extent, size_t size, size_t offset, size_t length, unsigned arena) {
  (void)arena;
  of(arg)->commits++;
  return protect(extent, size, offset, length, PROT_READ | PROT_WRITE);
}

/* What is stored in between would be the death of the test. */
static bool decommit(void *arg, void *extent, size_t size, size_t offset, size_t length, unsigned arena) {
  (void)arena;
  source *s = of(arg);
  s->refused += s->no_decommit;
  if (s->no_decommit) return false;
  s->decommits++;
  madvise((char *)extent + offset, length, MADV_DONTNEED);
  return protect(extent, size, offset, length, PROT_NONE);
}

static void purge(void *arg, void *extent, size_t size, size_t offset, size_t length, unsigned arena) {
  (void)arena;
  CHECK(offset + length <= size);
  of(arg)->purges++;
  madvise((char *)extent + offset, length, MADV_DONTNEED);
}

static mheap_extent_hooks hooks_on(source *s) {
  return (mheap_extent_hooks){give, take, commit, decommit, purge, s};
}

static const size_t sizes[] = {10, 100, 5000, 60000, 100000, 1 * MIB, 3 * MIB, 6 * MIB};
enum { SIZES = sizeof sizes / sizeof sizes[0], ROUNDS = 30 };

/* Blocks come and go; each is written from end to end. */
static void churn(mheap_kind *kind) {
  static char *blocks[SIZES * ROUNDS];
  for (int turn = 0; turn < 3; turn++) {
    for (int i = 0; i < SIZES * ROUNDS; i++) {
      size_t size = sizes[i % SIZES];
      if (size > 200000 && i / SIZES > 2) continue;
      if (!CHECK((blocks[i] = mheap_kind_malloc(kind, size)) != NULL)) return;
      memset(blocks[i], i, size);
      CHECK(mheap_kind_detect(blocks[i]) == kind);
    }
    for (int i = 0; i < SIZES * ROUNDS; i++) {
      if (blocks[i] == NULL) continue;
      CHECK(blocks[i][0] == (char)i && blocks[i][sizes[i % SIZES] - 1] == (char)i);
      CHECK_EQ(mheap_kind_free(kind, blocks[i]), MHEAP_OK);
      blocks[i] = NULL;
    }
  }
}

static void run(source *s, mheap_kind_policy policy, mheap_kind_usage usage) {
  mheap_extent_hooks hooks = hooks_on(s);
  s->room = (size_t)4 << 30;
  mheap_kind *kind = mheap_kind_create_with_hooks("hooked", policy, &hooks);
  REQUIRE(kind != NULL);
  CHECK_EQ(s->allocs, 0); /* not before it is needed */
  CHECK_EQ(mheap_kind_set_usage(kind, usage), MHEAP_OK);
  churn(kind);
  CHECK(s->allocs > 0);
  char *aligned = mheap_kind_memalign(kind, 2 * MIB, 100);
  CHECK(aligned != NULL && (uint64_t)aligned % (2 * MIB) == 0);
  aligned[0] = 1;
  CHECK(mheap_kind_create_with_hooks("hooked", policy, &hooks) == NULL);
  CHECK_EQ(mheap_last_error(NULL)->code, MHEAP_ERR_BUSY);
  CHECK_EQ(s->deallocs, 0);
  CHECK_EQ(mheap_kind_destroy(kind), MHEAP_OK);
  CHECK_EQ(s->deallocs, s->allocs);
}

static void extents_come_from_the_hooks(void) {
  source s = {0};
  run(&s, MHEAP_KIND_BIJECTIVE, MHEAP_KIND_USAGE_DEFAULT);
  source unaligned = {.misalign = true};
  run(&unaligned, MHEAP_KIND_THREAD, MHEAP_KIND_USAGE_DEFAULT);
}

static void pages_that_are_not_needed_are_decommitted(void) {
  source s = {0};
  run(&s, MHEAP_KIND_BIJECTIVE, MHEAP_KIND_USAGE_CONSERVATIVE);
  CHECK(s.decommits > 10 && s.commits > 10 && s.purges == 0);
}

static void nothing_is_stored_before_it_is_committed(void) {
  source s = {.uncommitted = true};
  run(&s, MHEAP_KIND_BIJECTIVE, MHEAP_KIND_USAGE_CONSERVATIVE);
  CHECK(s.decommits > 10 && s.commits > 10);
  source keeps = {.uncommitted = true, .misalign = false};
  run(&keeps, MHEAP_KIND_THREAD, MHEAP_KIND_USAGE_DEFAULT);
}

static void what_is_not_decommitted_is_purged(void) {
  source s = {.no_decommit = true};
  run(&s, MHEAP_KIND_BIJECTIVE, MHEAP_KIND_USAGE_CONSERVATIVE);
  CHECK(s.refused > 10 && s.purges == s.refused && s.commits == 0);
}

static void a_hook_without_memory_is_a_full_kind(void) {
  source s = {.room = 20 * MIB};
  mheap_extent_hooks hooks = hooks_on(&s);
  mheap_kind *kind = mheap_kind_create_with_hooks("small", MHEAP_KIND_BIJECTIVE, &hooks);
  REQUIRE(kind != NULL);
  unsigned blocks = 0;
  void *last = NULL;
  for (void *block; (block = mheap_kind_malloc(kind, 50000)) != NULL; blocks++) last = block;
  CHECK_EQ(mheap_kind_last_error(kind)->code, MHEAP_ERR_FULL);
  CHECK_CONTAINS(mheap_kind_last_error(kind)->text, "its hooks gave no extent");
  CHECK(blocks > 60);
  CHECK_EQ(mheap_kind_free(kind, last), MHEAP_OK);
  CHECK(mheap_kind_malloc(kind, 50000) != NULL);
  CHECK(mheap_kind_malloc(kind, 100 * MIB) == NULL);
  CHECK(mheap_kind_realloc(kind, last, 100 * MIB) == NULL);
  CHECK_EQ(mheap_kind_destroy(kind), MHEAP_OK);
  CHECK_EQ(s.deallocs, s.allocs);
}

static void hooks_are_checked(void) {
  mheap_extent_hooks none = {0};
  CHECK(mheap_kind_create_with_hooks("none", MHEAP_KIND_ANY, NULL) == NULL);
  CHECK(mheap_kind_create_with_hooks("none", MHEAP_KIND_ANY, &none) == NULL);
  CHECK_EQ(mheap_last_error(NULL)->code, MHEAP_ERR_ARGUMENT);
  source s = {.room = 100 * MIB};
  mheap_extent_hooks only = {.alloc = give, .arg = &s};
  CHECK(mheap_kind_create_with_hooks("", MHEAP_KIND_ANY, &only) == NULL);
  mheap_kind *kind = mheap_kind_create_with_hooks("only alloc", MHEAP_KIND_BIJECTIVE, &only);
  REQUIRE(kind != NULL);
  CHECK_EQ(mheap_kind_set_usage(kind, MHEAP_KIND_USAGE_CONSERVATIVE), MHEAP_OK);
  for (int i = 0; i < 10; i++) CHECK_EQ(mheap_kind_free(kind, mheap_kind_malloc(kind, 300000)), MHEAP_OK);
  CHECK_EQ(mheap_kind_destroy(kind), MHEAP_OK);
}

static int exit_with_blocks(void *arg) {
  static mheap_extent_hooks hooks;
  hooks = hooks_on(arg);
  unsigned before = test_failures;
  mheap_kind *kind = mheap_kind_create_with_hooks("at exit", MHEAP_KIND_BIJECTIVE, &hooks);
  CHECK(mheap_kind_malloc(kind, 100) != NULL);
  fflush(NULL);
  exit(test_failures != before); /* the functions that run at exit run */
}

static void extents_go_back_at_exit(void) {
  source *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  REQUIRE(s != MAP_FAILED);
  s->room = 100 * MIB;
  CHECK_EQ(in_child_process(exit_with_blocks, s), 0);
  CHECK(s->allocs == 1 && s->deallocs == 1);
  munmap(s, sizeof *s);
}

TEST_MAIN(TEST(extents_come_from_the_hooks), TEST(pages_that_are_not_needed_are_decommitted),
          TEST(nothing_is_stored_before_it_is_committed), TEST(what_is_not_decommitted_is_purged),
          TEST(a_hook_without_memory_is_a_full_kind), TEST(hooks_are_checked), TEST(extents_go_back_at_exit))
