/* test_kinds.c: kinds: made, found again, used by many threads, destroyed; what each call refuses. */
#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "kind.h"
#include "os.h"
#include "test.h"

#define MIB ((size_t)1 << 20)

static mheap *open_heap(const char *name) { return mheap_open(test_path(name), NULL, NULL); }
static bool is_sound(mheap *heap) { return mheap_check(heap, NULL, NULL, NULL) == MHEAP_OK; }
static mheap_err last(mheap_kind *kind) { return mheap_kind_last_error(kind)->code; }

static mheap_kind_info info_of(mheap_kind *kind) {
  mheap_kind_info info = {0};
  CHECK_EQ(mheap_kind_get_info(kind, &info), MHEAP_OK);
  return info;
}

static unsigned thread_arena(mheap_kind *kind) {
  unsigned arena = 0;
  CHECK_EQ(mheap_kind_thread_arena(kind, &arena), MHEAP_OK);
  return arena;
}

/* ---- what a kind does ---- */

static void use(mheap_kind *kind) {
  char *a = mheap_kind_malloc(kind, 100), *b = mheap_kind_calloc(kind, 10, 50);
  char *c = mheap_kind_memalign(kind, 4096, 10), *zero = mheap_kind_malloc(kind, 0);
  REQUIRE(a != NULL && b != NULL && c != NULL && zero != NULL);
  for (int i = 0; i < 500; i++) CHECK_EQ(b[i], 0);
  CHECK_EQ((uint64_t)c % 4096, 0);
  CHECK(mheap_kind_usable_size(kind, a) >= 100);
  CHECK_EQ(mheap_kind_usable_size(kind, NULL), 0);
  memset(a, 'a', 100);
  a = mheap_kind_realloc(kind, a, 300000);
  REQUIRE(a != NULL);
  CHECK(a[0] == 'a' && a[99] == 'a');
  CHECK(mheap_kind_detect(a) == kind && mheap_kind_detect(c) == kind);
  CHECK_EQ(mheap_kind_free(kind, a), MHEAP_OK);
  CHECK_EQ(mheap_kind_free(kind, b), MHEAP_OK);
  CHECK_EQ(mheap_kind_free_any(c), MHEAP_OK);
  CHECK_EQ(mheap_kind_free(kind, NULL), MHEAP_OK);
  CHECK_EQ(mheap_kind_free(kind, zero), MHEAP_OK);
  CHECK((a = mheap_kind_realloc(kind, NULL, 20)) != NULL);
  CHECK((a = mheap_kind_realloc_any(a, 2000)) != NULL);
  CHECK(mheap_kind_detect(a) == kind);
  CHECK_EQ(mheap_kind_free(kind, a), MHEAP_OK);
}

static void refuse(mheap_kind *kind, mheap_kind *other) {
  char *theirs = mheap_kind_malloc(other, 64), *ours = mheap_kind_malloc(kind, 64), on_stack[64];
  CHECK_EQ(mheap_kind_free(kind, theirs), MHEAP_ERR_POINTER);
  CHECK_CONTAINS(mheap_kind_last_error(kind)->text, "is a block of the kind");
  CHECK(mheap_kind_realloc(kind, theirs, 10) == NULL);
  CHECK_EQ(mheap_kind_usable_size(kind, theirs), 0);
  CHECK_EQ(last(kind), MHEAP_ERR_POINTER);
  CHECK_EQ(mheap_kind_free(other, theirs), MHEAP_OK);
  CHECK_EQ(mheap_kind_free(other, theirs), MHEAP_ERR_DOUBLE_FREE);
  CHECK_EQ(last(other), MHEAP_ERR_DOUBLE_FREE);
  CHECK_EQ(mheap_kind_free(kind, ours + 16), MHEAP_ERR_POINTER);
  CHECK_EQ(mheap_kind_free(kind, on_stack), MHEAP_ERR_POINTER);
  CHECK_EQ(mheap_kind_free_any(on_stack), MHEAP_ERR_POINTER);
  CHECK(mheap_kind_realloc_any(on_stack, 10) == NULL);
  CHECK(mheap_kind_detect(on_stack) == NULL);
  CHECK_EQ(mheap_last_error(NULL)->code, MHEAP_ERR_POINTER);
  CHECK_EQ(mheap_kind_free(kind, ours), MHEAP_OK);
  CHECK(mheap_kind_malloc(kind, SIZE_MAX) == NULL);
  CHECK_EQ(last(kind), MHEAP_ERR_OVERFLOW);
  CHECK(mheap_kind_calloc(kind, SIZE_MAX / 2, 3) == NULL);
  CHECK_EQ(last(kind), MHEAP_ERR_OVERFLOW);
  CHECK(mheap_kind_memalign(kind, 24, 10) == NULL && mheap_kind_memalign(kind, 3, 10) == NULL);
  CHECK_EQ(last(kind), MHEAP_ERR_ARGUMENT);
  CHECK(mheap_kind_memalign_in(kind, info_of(kind).arena + info_of(kind).arenas, 16, 10) == NULL);
  CHECK_EQ(last(kind), MHEAP_ERR_ARGUMENT);
}

static void look(mheap_kind *kind, const char *name, mheap_kind_policy policy, mheap *heap) {
  mheap_kind_info info = info_of(kind);
  unsigned arena = 0;
  CHECK_STR(info.name, name);
  CHECK_EQ(info.policy, policy);
  CHECK(info.heap == heap);
  CHECK(thread_arena(kind) >= info.arena && thread_arena(kind) < info.arena + info.arenas);
  for (unsigned i = 0; i < info.arenas; i++) CHECK(mheap_kind_by_arena(info.arena + i) == kind);
  if (policy == MHEAP_KIND_BIJECTIVE) {
    CHECK_EQ(info.arenas, 1);
    CHECK_EQ(mheap_kind_bijective_arena(kind, &arena), MHEAP_OK);
    CHECK_EQ(arena, info.arena);
  } else {
    CHECK(info.arenas == 4 * mh_os_processors() || (heap != NULL && info.arenas == 32));
    CHECK_EQ(mheap_kind_bijective_arena(kind, &arena), MHEAP_ERR_ARGUMENT);
  }
  char *block = mheap_kind_memalign_in(kind, info.arena + info.arenas - 1, 64, 100);
  CHECK(block != NULL && (uint64_t)block % 64 == 0);
  CHECK(mheap_kind_detect(block) == kind);
  CHECK_EQ(mheap_kind_free(kind, block), MHEAP_OK);
}

static void both_policies_in(mheap *heap) {
  mheap_kind *kind = mheap_kind_create("some", MHEAP_KIND_ANY, heap);
  mheap_kind *one = mheap_kind_create("one", MHEAP_KIND_BIJECTIVE, heap);
  REQUIRE(kind != NULL && one != NULL && kind != one);
  CHECK(mheap_kind_create("some", MHEAP_KIND_THREAD, heap) == kind);
  CHECK(mheap_kind_create("some", MHEAP_KIND_BIJECTIVE, heap) == NULL);
  CHECK_CONTAINS(mheap_last_error(heap)->text, "exists already, with the policy thread");
  CHECK(mheap_kind_find("one", heap) == one);
  CHECK(mheap_kind_find("none", heap) == NULL);
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_NOT_FOUND);
  mheap *main = heap != NULL ? mheap_main(heap) : NULL;
  look(kind, "some", MHEAP_KIND_THREAD, main);
  look(one, "one", MHEAP_KIND_BIJECTIVE, main);
  use(kind);
  use(one);
  refuse(kind, one);
  unsigned arena = info_of(one).arena;
  CHECK_EQ(mheap_kind_destroy(one), MHEAP_OK);
  CHECK(mheap_kind_by_arena(arena) == NULL);
  CHECK(mheap_kind_find("one", heap) == NULL);
  use(kind);
  CHECK_EQ(mheap_kind_destroy(kind), MHEAP_OK);
}

static void kinds_in_memory_serve(void) { both_policies_in(NULL); }

static void kinds_in_a_file_serve(void) {
  mheap *heap = open_heap("serve.heap");
  REQUIRE(heap != NULL);
  both_policies_in(heap);
  CHECK(is_sound(heap));
  mheap_stats stats;
  CHECK_EQ(mheap_get_stats(heap, &stats), MHEAP_OK);
  CHECK_EQ(stats.chunks_used, 0);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static void no_kind_is_the_default_heap(void) {
  use(NULL);
  CHECK_EQ(mheap_kind_destroy(NULL), MHEAP_ERR_ARGUMENT);
  CHECK_EQ(mheap_kind_set_usage(NULL, MHEAP_KIND_USAGE_DEFAULT), MHEAP_ERR_ARGUMENT);
  char *block = mheap_malloc(NULL, 10);
  CHECK(mheap_kind_detect(block) == NULL);
  CHECK_EQ(mheap_last_error(NULL)->code, MHEAP_OK);
  CHECK_EQ(mheap_kind_free_any(block), MHEAP_OK);
  CHECK(mheap_kind_by_arena(0) == NULL && mheap_kind_by_arena(UINT32_MAX) == NULL);
  CHECK_EQ(mheap_last_error(NULL)->code, MHEAP_ERR_NOT_FOUND);
}

static void names_are_utf8_of_1_to_255_bytes(void) {
  mheap *heap = open_heap("names.heap");
  REQUIRE(heap != NULL);
  char longest[257] = {0};
  memset(longest, 'x', 256);
  static const char *const bad[] = {"", "\xff", "\xed\xa0\x80", "a\xc0\x80"};
  for (int i = 0; i < 4; i++) {
    CHECK(mheap_kind_create(bad[i], MHEAP_KIND_ANY, heap) == NULL);
    CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_ARGUMENT);
  }
  CHECK(mheap_kind_create(NULL, MHEAP_KIND_ANY, NULL) == NULL);
  CHECK(mheap_kind_create(longest, MHEAP_KIND_ANY, heap) == NULL);
  CHECK(mheap_kind_create("policy", (mheap_kind_policy)3, heap) == NULL);
  longest[255] = 0;
  CHECK(mheap_kind_create(longest, MHEAP_KIND_BIJECTIVE, heap) != NULL);
  CHECK(mheap_kind_create("\xc3\xa4\xe2\x82\xac\xf0\x9f\x8c\xb3", MHEAP_KIND_BIJECTIVE, heap) != NULL);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
  heap = open_heap("names.heap");
  REQUIRE(heap != NULL);
  CHECK(mheap_kind_find(longest, heap) != NULL);
  CHECK(mheap_kind_find("\xc3\xa4\xe2\x82\xac\xf0\x9f\x8c\xb3", heap) != NULL);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* ---- in files ---- */

static bool count_kind(void *arg, mheap_kind *kind) {
  (void)kind;
  ++*(int *)arg;
  return true;
}

static int kinds_in(mheap *heap) {
  int count = 0;
  CHECK_EQ(mheap_visit_kinds(heap, count_kind, &count), MHEAP_OK);
  return count;
}

static void stored_kinds_are_there_after_the_next_attach(void) {
  mheap *heap = open_heap("again.heap");
  REQUIRE(heap != NULL);
  mheap_kind *kind = mheap_kind_create("again", MHEAP_KIND_ANY, heap);
  REQUIRE(kind != NULL);
  REQUIRE(mheap_kind_create("conservative", MHEAP_KIND_BIJECTIVE, heap) != NULL);
  CHECK_EQ(mheap_kind_set_usage(mheap_kind_find("conservative", heap), MHEAP_KIND_USAGE_CONSERVATIVE),
           MHEAP_OK);
  unsigned arenas = info_of(kind).arenas;
  char *blocks[100];
  for (int i = 0; i < 100; i++) CHECK((blocks[i] = mheap_kind_calloc(kind, 1, 1000)) != NULL);
  mheap_setkey(heap, 0, blocks[7]);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);

  heap = open_heap("again.heap");
  REQUIRE(heap != NULL);
  char *block = mheap_getkey(heap, 0);
  kind = mheap_kind_detect(block); /* before anybody asked for it by name */
  REQUIRE(kind != NULL);
  CHECK_STR(info_of(kind).name, "again");
  CHECK_EQ(info_of(kind).arenas, arenas);
  CHECK(mheap_kind_find("again", heap) == kind);
  CHECK_EQ(kinds_in(heap), 2);
  CHECK_EQ(info_of(mheap_kind_find("conservative", heap)).usage, MHEAP_KIND_USAGE_CONSERVATIVE);
  CHECK_EQ(mheap_kind_free(kind, block), MHEAP_OK);
  use(kind);
  CHECK(is_sound(heap));
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);

  heap = mheap_open(test_path("again.heap"), &(mheap_options){.mode = MHEAP_MODE_READONLY}, NULL);
  REQUIRE(heap != NULL);
  kind = mheap_kind_create("again", MHEAP_KIND_ANY, heap);
  REQUIRE(kind != NULL);
  CHECK(mheap_kind_malloc(kind, 10) == NULL);
  CHECK_EQ(last(kind), MHEAP_ERR_READ_ONLY);
  CHECK_EQ(mheap_kind_destroy(kind), MHEAP_ERR_READ_ONLY);
  CHECK_EQ(mheap_kind_set_usage(kind, MHEAP_KIND_USAGE_DEFAULT), MHEAP_ERR_READ_ONLY);
  CHECK(mheap_kind_create("new", MHEAP_KIND_ANY, heap) == NULL);
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_READ_ONLY);
  CHECK(mheap_kind_usable_size(kind, blocks[8]) >= 1000);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static bool only_one_row(void *arg, mheap *heap) {
  *(mheap **)arg = heap;
  return true;
}

static bool count_block(void *arg, void *block, size_t usable) {
  (void)block, (void)usable;
  ++*(int *)arg;
  return true;
}

static void a_heap_of_a_kind_goes_with_the_kind_only(void) {
  mheap *heap = open_heap("whole.heap"), *of_kind = NULL;
  REQUIRE(heap != NULL);
  mheap_kind *kind = mheap_kind_create("whole", MHEAP_KIND_BIJECTIVE, heap);
  REQUIRE(kind != NULL);
  CHECK_EQ(mheap_visit_heaps(heap, only_one_row, &of_kind), MHEAP_OK);
  CHECK(of_kind != heap);
  CHECK_EQ(mheap_destroy(of_kind), MHEAP_ERR_ARGUMENT);
  CHECK_EQ(mheap_delete(of_kind), MHEAP_ERR_ARGUMENT);
  CHECK_CONTAINS(mheap_last_error(of_kind)->text, "destroy the kind");
  int blocks = 0; /* the kind's name is none that anybody allocated */
  CHECK_EQ(mheap_visit_blocks(of_kind, count_block, &blocks), MHEAP_OK);
  CHECK_EQ(blocks, 0);
  CHECK_EQ(mheap_kind_destroy(kind), MHEAP_OK);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* Handles are used again: a new heap is of no kind, though its handle was one's. */
static void a_heap_made_after_a_kind_is_of_no_kind(void) {
  mheap *heap = open_heap("reuse.heap");
  REQUIRE(heap != NULL);
  for (int i = 0; i < 3; i++) {
    mheap_kind *kind = mheap_kind_create("passing", MHEAP_KIND_ANY, heap);
    REQUIRE(kind != NULL && mheap_kind_malloc(kind, 100) != NULL);
    CHECK_EQ(mheap_kind_destroy(kind), MHEAP_OK);
    mheap *plain = mheap_new(heap, 0, true, 0);
    char *small = mheap_malloc(plain, 100), *large = mheap_malloc(plain, 200000);
    CHECK(mheap_kind_detect(small) == NULL && mheap_last_error(NULL)->code == MHEAP_OK);
    CHECK(mheap_kind_detect(large) == NULL && mheap_last_error(NULL)->code == MHEAP_OK);
    CHECK_EQ(mheap_kind_free_any(small), MHEAP_OK);
    CHECK_EQ(mheap_destroy(plain), MHEAP_OK);
  }
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* The table of a region has 126 rows for them. */
static void kinds_share_the_rows_there_are(void) {
  mheap *heap = open_heap("rows.heap");
  REQUIRE(heap != NULL);
  unsigned rows = 0, made = 0;
  char name[16];
  mheap_kind *kind = NULL;
  for (; rows < 200; made++) {
    snprintf(name, sizeof name, "kind %u", made);
    mheap_kind *next = mheap_kind_create(name, MHEAP_KIND_THREAD, heap);
    if (next == NULL) break;
    kind = next;
    rows += info_of(kind).arenas;
  }
  CHECK_EQ(rows, 126);
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_FULL);
  use(kind);
  CHECK(is_sound(heap));
  CHECK_EQ(kinds_in(heap), made);
  CHECK_EQ(mheap_kind_destroy(kind), MHEAP_OK);
  CHECK(mheap_kind_create("another", MHEAP_KIND_BIJECTIVE, heap) != NULL);
  CHECK_EQ(kinds_in(heap), made);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* ---- in memory ---- */

/* Blocks of a kind may be more than its first region has room for. */
static void a_kind_in_memory_grows_by_regions(void) {
  mheap_kind *kind = mheap_kind_create("grows", MHEAP_KIND_BIJECTIVE, NULL);
  REQUIRE(kind != NULL);
  const size_t large = 15 * MIB;
  mh_kind_ground = 64 * MIB;
  char *blocks[6];
  for (int i = 0; i < 6; i++) {
    REQUIRE((blocks[i] = mheap_kind_malloc(kind, large)) != NULL);
    blocks[i][0] = blocks[i][large - 1] = (char)i;
    CHECK(mheap_kind_detect(blocks[i]) == kind);
  }
  mh_kind_ground = 0;
  CHECK(kind->grounds->older != NULL);
  CHECK(info_of(kind).size > 6 * large);
  char *small = mheap_kind_malloc(kind, 100);
  small = mheap_kind_realloc(kind, small, large);
  CHECK(small != NULL);
  for (int i = 0; i < 6; i++) {
    CHECK(blocks[i][0] == i && blocks[i][large - 1] == i);
    CHECK_EQ(mheap_kind_free(kind, blocks[i]), MHEAP_OK);
  }
  CHECK_EQ(mheap_kind_destroy(kind), MHEAP_OK);
}

static void a_nameless_kind_is_not_found(void) {
  mheap_error error = {0};
  mheap_kind *a = mh_kind_make_nameless("same", MH_KIND_BIJECTIVE, NULL, &error);
  mheap_kind *b = mh_kind_make_nameless("same", MH_KIND_BIJECTIVE, NULL, &error);
  REQUIRE(a != NULL && b != NULL && a != b);
  CHECK(mheap_kind_find("same", NULL) == NULL);
  use(a);
  refuse(a, b);
  CHECK_EQ(mheap_kind_destroy(a), MHEAP_OK);
  CHECK_EQ(mheap_kind_destroy(b), MHEAP_OK);
}

/* More arenas than one region has rows. */
static void many_arenas_take_several_regions(void) {
  mheap_error error = {0};
  mheap_kind *kind = mh_kind_new("many", MH_KIND_THREAD, 400, &error);
  REQUIRE(kind != NULL);
  mh_kinds_lock();
  CHECK_EQ(mh_kind_enter(kind, &error), MHEAP_OK);
  mh_kinds_unlock();
  void *blocks[400];
  for (unsigned i = 0; i < 400; i++) {
    blocks[i] = mheap_kind_memalign_in(kind, kind->first + i, 16, 100);
    CHECK(blocks[i] != NULL && mheap_kind_detect(blocks[i]) == kind);
  }
  unsigned grounds = 0;
  for (mh_ground *ground = kind->grounds; ground != NULL; ground = ground->older) grounds++;
  CHECK_EQ(grounds, 4);
  for (unsigned i = 0; i < 400; i++) CHECK_EQ(mheap_kind_free(kind, blocks[i]), MHEAP_OK);
  CHECK_EQ(mheap_kind_destroy(kind), MHEAP_OK);
}

/* Each subprocess has its own, which go with it; one that is named serves everywhere. */
static void kinds_in_memory_are_their_subprocess_s(void) {
  mheap_error error = {0};
  mheap_subproc workers = mheap_subproc_new("workers", NULL, &error);
  mheap_kind *here = mheap_kind_create("subproc", MHEAP_KIND_ANY, NULL);
  char *ours = mheap_kind_malloc(here, 10);
  REQUIRE(workers != 0 && ours != NULL);
  CHECK_EQ(mheap_subproc_add_current_thread(workers, &error), MHEAP_OK);
  CHECK(mheap_kind_find("subproc", NULL) == NULL);
  mheap_kind *there = mheap_kind_create("subproc", MHEAP_KIND_ANY, NULL);
  char *theirs = mheap_kind_malloc(there, 10);
  CHECK(theirs != NULL && there != here);
  use(there);
  CHECK(mheap_kind_detect(ours) == NULL);
  CHECK_EQ(mheap_kind_free_any(ours), MHEAP_ERR_POINTER);
  CHECK_CONTAINS(mheap_last_error(NULL)->text, "is a block of subprocess 1");
  char *more = mheap_kind_malloc(here, 100);
  CHECK_EQ(mheap_kind_free(here, ours), MHEAP_OK);
  mheap_subproc_leave();
  CHECK(mheap_kind_detect(more) == here);
  CHECK_EQ(mheap_subproc_delete(workers, &error), MHEAP_ERR_BUSY);
  CHECK_EQ(mheap_kind_free(there, theirs), MHEAP_OK);
  theirs = mheap_kind_malloc(there, 10);
  unsigned arena = info_of(there).arena;
  CHECK_EQ(mheap_subproc_destroy(workers, &error), MHEAP_OK);
  CHECK(mheap_kind_by_arena(arena) == NULL && !mheap_is_in_region(theirs));
  CHECK_EQ(mheap_kind_destroy(here), MHEAP_OK);
}

/* ---- threads and forks ---- */

typedef struct worker {
  pthread_t thread;
  mheap_kind *kind;
  _Atomic(void *) *mailbox; /* blocks go from one thread to another */
  unsigned arena, seed;
} worker;

static void *work(void *arg) {
  worker *w = arg;
  mheap_kind_thread_arena(w->kind, &w->arena);
  for (int i = 0; i < 4000; i++) {
    w->seed = w->seed * 1103515245 + 12345;
    char *block = mheap_kind_malloc(w->kind, w->seed >> 16 & 2047);
    if (!CHECK(block != NULL)) return NULL;
    CHECK(mheap_kind_detect(block) == w->kind);
    void *other = atomic_exchange(&w->mailbox[w->seed >> 8 & 15], block);
    if (other != NULL) CHECK_EQ(mheap_kind_free(w->kind, other), MHEAP_OK);
  }
  return NULL;
}

static void threads_use(mheap_kind *kind) {
  worker workers[4];
  static _Atomic(void *) mailbox[16];
  for (unsigned i = 0; i < 4; i++) {
    workers[i] = (worker){.kind = kind, .mailbox = mailbox, .seed = i};
    pthread_create(&workers[i].thread, NULL, work, &workers[i]);
  }
  for (int i = 0; i < 4; i++) pthread_join(workers[i].thread, NULL);
  for (int i = 0; i < 4; i++) CHECK(mheap_kind_by_arena(workers[i].arena) == kind);
  for (int i = 0; i < 16; i++) CHECK_EQ(mheap_kind_free(kind, atomic_exchange(&mailbox[i], NULL)), MHEAP_OK);
}

static void threads_share_a_kind(void) {
  mheap *heap = open_heap("threads.heap");
  mheap_kind *in_file = mheap_kind_create("threads", MHEAP_KIND_ANY, heap);
  mheap_kind *in_memory = mheap_kind_create("threads", MHEAP_KIND_ANY, NULL);
  REQUIRE(in_file != NULL && in_memory != NULL);
  threads_use(in_file);
  threads_use(in_memory);
  CHECK(is_sound(heap));
  CHECK_EQ(mheap_kind_destroy(in_memory), MHEAP_OK);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static void *make_and_destroy(void *arg) {
  char name[32];
  for (int i = 0; i < 30; i++) {
    snprintf(name, sizeof name, "%lx %d", (unsigned long)pthread_self(), i);
    mheap_kind *kind = mheap_kind_create(name, MHEAP_KIND_ANY, arg);
    if (!CHECK(kind != NULL)) break;
    CHECK(mheap_kind_malloc(kind, 100) != NULL);
    CHECK_EQ(mheap_kind_destroy(kind), MHEAP_OK);
  }
  return NULL;
}

static void threads_make_kinds(void) {
  mheap *heap = open_heap("making.heap");
  REQUIRE(heap != NULL);
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, make_and_destroy, i % 2 ? heap : NULL);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  CHECK_EQ(kinds_in(heap), 0);
  CHECK(is_sound(heap));
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static void a_forked_child_goes_on_in_memory_only(void) {
  mheap *heap = open_heap("fork.heap");
  mheap_kind *in_file = mheap_kind_create("fork", MHEAP_KIND_ANY, heap);
  mheap_kind *in_memory = mheap_kind_create("fork", MHEAP_KIND_ANY, NULL);
  REQUIRE(in_file != NULL && in_memory != NULL);
  char *block = mheap_kind_malloc(in_memory, 100);
  strcpy(block, "parent");
  pid_t child = fork();
  if (child == 0) {
    use(in_memory);
    CHECK_STR(block, "parent");
    strcpy(block, "child");
    CHECK_EQ(mheap_kind_free(in_memory, block), MHEAP_OK);
    CHECK(mheap_kind_malloc(in_file, 10) == NULL);
    CHECK_EQ(last(in_file), MHEAP_ERR_FORKED);
    CHECK_EQ(mheap_kind_destroy(in_file), MHEAP_ERR_FORKED);
    CHECK(mheap_kind_create("new", MHEAP_KIND_ANY, heap) == NULL);
    mheap_kind *another = mheap_kind_create("another", MHEAP_KIND_ANY, NULL);
    CHECK(another != NULL && mheap_kind_malloc(another, 10) != NULL);
    CHECK_EQ(mheap_kind_destroy(in_memory), MHEAP_OK);
    _exit(test_failures != 0);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  CHECK_STR(block, "parent");
  use(in_file);
  CHECK_EQ(mheap_kind_destroy(in_memory), MHEAP_OK);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* ---- memory usage policy ---- */

static uint64_t disk_of(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

static uint64_t resident(void) {
  unsigned long size = 0, pages = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (file != NULL && fscanf(file, "%lu %lu", &size, &pages) != 2) pages = 0;
  if (file != NULL) fclose(file);
  return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

enum { SPANS = 200, SPAN = 200000 };

/* Every second block is freed, so that no segment is empty; what is measured falls by how much? */
static int64_t freed_by(mheap_kind *kind, const char *path) {
  static char *blocks[SPANS];
  for (int i = 0; i < SPANS; i++) {
    if (!CHECK((blocks[i] = mheap_kind_malloc(kind, SPAN)) != NULL)) return 0;
    memset(blocks[i], i, SPAN);
  }
  uint64_t before = path != NULL ? disk_of(path) : resident();
  for (int i = 0; i < SPANS; i += 2) CHECK_EQ(mheap_kind_free(kind, blocks[i]), MHEAP_OK);
  uint64_t after = path != NULL ? disk_of(path) : resident();
  for (int i = 1; i < SPANS; i += 2) CHECK(blocks[i][0] == (char)i && blocks[i][SPAN - 1] == (char)i);
  for (int i = 0; i < SPANS; i += 2) { /* and the space serves again */
    CHECK((blocks[i] = mheap_kind_malloc(kind, SPAN)) != NULL);
    memset(blocks[i], i, SPAN);
  }
  for (int i = 0; i < SPANS; i++) CHECK_EQ(mheap_kind_free(kind, blocks[i]), MHEAP_OK);
  return (int64_t)(before - after);
}

static void measure_usage(mheap_kind *kind, const char *path) {
  int64_t freed = (int64_t)SPANS / 2 * SPAN;
  CHECK(freed_by(kind, path) < freed / 4);
  CHECK_EQ(mheap_kind_set_usage(kind, MHEAP_KIND_USAGE_CONSERVATIVE), MHEAP_OK);
  CHECK_EQ(info_of(kind).usage, MHEAP_KIND_USAGE_CONSERVATIVE);
  CHECK(freed_by(kind, path) > freed / 4 * 3);
  CHECK_EQ(mheap_kind_set_usage(kind, MHEAP_KIND_USAGE_DEFAULT), MHEAP_OK);
  CHECK(freed_by(kind, path) < freed / 4);
  CHECK_EQ(mheap_kind_set_usage(kind, (mheap_kind_usage)2), MHEAP_ERR_ARGUMENT);
}

static void usage_says_when_memory_goes_back(void) {
  mheap_kind *kind = mheap_kind_create("usage", MHEAP_KIND_BIJECTIVE, NULL);
  REQUIRE(kind != NULL);
  measure_usage(kind, NULL);
  CHECK_EQ(mheap_kind_destroy(kind), MHEAP_OK);
}

static void usage_says_when_disk_space_goes_back(void) {
  mheap *heap = open_heap("usage.heap");
  mheap_kind *kind = mheap_kind_create("usage", MHEAP_KIND_BIJECTIVE, heap);
  REQUIRE(kind != NULL);
  measure_usage(kind, test_path("usage.heap"));
  CHECK(is_sound(heap));
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* Slabs too, of small blocks. */
static void small_blocks_go_back_by_slabs(void) {
  mheap *heap = open_heap("small.heap");
  mheap_kind *kind = mheap_kind_create("small", MHEAP_KIND_BIJECTIVE, heap);
  REQUIRE(kind != NULL);
  CHECK_EQ(mheap_kind_set_usage(kind, MHEAP_KIND_USAGE_CONSERVATIVE), MHEAP_OK);
  static char *blocks[40000];
  for (int i = 0; i < 40000; i++) memset(blocks[i] = mheap_kind_malloc(kind, 256), 1, 256);
  CHECK(mheap_kind_malloc(kind, 100000) != NULL); /* keeps the file from being cut */
  uint64_t before = disk_of(test_path("small.heap"));
  for (int i = 0; i < 40000; i++) CHECK_EQ(mheap_kind_free(kind, blocks[i]), MHEAP_OK);
  CHECK(before - disk_of(test_path("small.heap")) > 9 * MIB);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

/* ---- decorators ---- */

typedef struct log {
  int pre, post;
  mheap_kind_call last;
  mheap_kind *redirect;
  mheap_err refuse;
} log;

static mheap_err note_pre(void *arg, mheap_kind_call *call) {
  log *l = arg;
  l->pre++;
  if (call->operation == MHEAP_KIND_MALLOC && call->size == 1) call->size = 5000;
  if (l->redirect != NULL) call->kind = l->redirect;
  return l->refuse;
}

static void note_post(void *arg, mheap_kind_call *call) {
  log *l = arg;
  l->post++;
  l->last = *call;
}

static void decorators_are_called_around_every_call(void) {
  mheap_kind *kind = mheap_kind_create("decorated", MHEAP_KIND_BIJECTIVE, NULL);
  mheap_kind *other = mheap_kind_create("other", MHEAP_KIND_BIJECTIVE, NULL);
  REQUIRE(kind != NULL && other != NULL);
  log l = {0};
  mheap_kind_decorators decorators = {note_pre, note_post, &l};
  CHECK_EQ(mheap_kind_decorate(kind, &decorators), MHEAP_OK);
  char *block = mheap_kind_malloc(kind, 1);
  CHECK(mheap_kind_usable_size(kind, block) >= 5000);
  CHECK(l.last.operation == MHEAP_KIND_MALLOC && l.last.result == block && l.last.size == 5000);
  block = mheap_kind_realloc(kind, block, 20);
  CHECK(l.last.operation == MHEAP_KIND_REALLOC && l.last.result == block);
  CHECK_EQ(mheap_kind_free(kind, block), MHEAP_OK);
  CHECK(l.last.operation == MHEAP_KIND_FREE && l.last.block == block);
  CHECK(mheap_kind_calloc(kind, SIZE_MAX, 2) == NULL);
  CHECK(l.last.operation == MHEAP_KIND_CALLOC && l.last.code == MHEAP_ERR_OVERFLOW &&
        l.last.count == SIZE_MAX);
  block = mheap_kind_memalign(kind, 64, 10);
  CHECK(l.last.operation == MHEAP_KIND_MEMALIGN && l.last.alignment == 64);
  CHECK_EQ(mheap_kind_free_any(block), MHEAP_OK);
  CHECK(l.pre == 6 && l.post == 6);
  l.redirect = other;
  block = mheap_kind_malloc(kind, 10);
  CHECK(mheap_kind_detect(block) == other);
  CHECK_EQ(mheap_kind_free(kind, block), MHEAP_OK);
  CHECK_EQ(mheap_kind_free(kind, block), MHEAP_ERR_DOUBLE_FREE);
  CHECK_EQ(last(kind), MHEAP_ERR_DOUBLE_FREE);
  l.refuse = MHEAP_ERR_BUSY;
  CHECK(mheap_kind_malloc(kind, 10) == NULL);
  CHECK_EQ(last(kind), MHEAP_ERR_BUSY);
  CHECK(l.pre == 10 && l.post == 9);
  CHECK_EQ(mheap_kind_decorate(kind, NULL), MHEAP_OK);
  use(kind);
  CHECK(l.pre == 10);
  CHECK_EQ(mheap_kind_destroy(kind), MHEAP_OK);
  CHECK_EQ(mheap_kind_destroy(other), MHEAP_OK);
}

TEST_MAIN(TEST(kinds_in_memory_serve), TEST(kinds_in_a_file_serve), TEST(no_kind_is_the_default_heap),
          TEST(names_are_utf8_of_1_to_255_bytes), TEST(stored_kinds_are_there_after_the_next_attach),
          TEST(a_heap_of_a_kind_goes_with_the_kind_only), TEST(kinds_share_the_rows_there_are),
          TEST(a_heap_made_after_a_kind_is_of_no_kind), TEST(a_kind_in_memory_grows_by_regions),
          TEST(a_nameless_kind_is_not_found), TEST(many_arenas_take_several_regions),
          TEST(kinds_in_memory_are_their_subprocess_s), TEST(threads_share_a_kind), TEST(threads_make_kinds),
          TEST(a_forked_child_goes_on_in_memory_only), TEST(usage_says_when_memory_goes_back),
          TEST(usage_says_when_disk_space_goes_back), TEST(small_blocks_go_back_by_slabs),
          TEST(decorators_are_called_around_every_call))
