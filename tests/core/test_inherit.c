/* test_inherit.c: heaps that a forked child inherited and attaches anew. Their base is fixed, so
   that the child's mapping has to come where the parent's lies. */
#include <pthread.h>

#include "file_heap.h"
#include "image.h"

static const mheap_options live = {.mode = MHEAP_MODE_LIVE}, readonly = {.mode = MHEAP_MODE_READONLY},
                           scratch = {.mode = MHEAP_MODE_SCRATCH},
                           beside = {.mode = MHEAP_MODE_READONLY, .unsafe = true},
                           wide = {.mode = MHEAP_MODE_READONLY, .max_size = (uint64_t)256 << 30};

typedef struct inheritance {
  char path[1024];
  mheap *heap; /* the parent's */
  char *block; /* says "kept" */
  const mheap_options *options;
} inheritance;

static bool inherit(inheritance *it, const char *name, const mheap_options *of_parent) {
  snprintf(it->path, sizeof it->path, "%s", test_path(name));
  unlink(it->path);
  it->heap = attach(it->path, &live);
  if (it->heap == NULL) return false;
  it->block = mheap_malloc(it->heap, 100);
  strcpy(it->block, "kept");
  CHECK_EQ(mheap_setkey(it->heap, 0, it->block), MHEAP_OK);
  CHECK_EQ(mheap_detach(it->heap, NULL), MHEAP_OK);
  it->heap = attach(it->path, of_parent);
  return it->heap != NULL;
}

static void pass_on(const char *name, const mheap_options *of_parent, const mheap_options *of_child,
                    int (*act)(void *)) {
  inheritance it = {.options = of_child};
  REQUIRE(inherit(&it, name, of_parent));
  CHECK_EQ(in_child_process(act, &it), 0);
  CHECK_STR(mheap_getkey(it.heap, 0), "kept"); /* the parent's mapping is as it was */
  CHECK_EQ(mheap_check(it.heap, NULL, NULL, NULL), MHEAP_OK);
  CHECK_EQ(mheap_detach(it.heap, NULL), MHEAP_OK);
}

/* ---- what a child does ---- */

static void check_forked(mheap *heap) { CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_FORKED); }

static bool visit_none(void *arg, void *block, size_t usable) {
  (void)arg, (void)block, (void)usable;
  return true;
}

/* Every call; none may touch what is not there any more. */
static void use_dead(mheap *heap, char *block) {
  static _Thread_local mheap_stats stats;
  mheap_info info;
  CHECK(mheap_malloc(heap, 10) == NULL);
  check_forked(heap);
  CHECK(mheap_malloc(heap, 5000000) == NULL && mheap_calloc(heap, 1, 10) == NULL);
  CHECK(mheap_memalign(heap, 4096, 10) == NULL && mheap_realloc(heap, block, 1000) == NULL);
  check_forked(heap);
  CHECK_EQ(mheap_usable_size(heap, block), 0);
  CHECK_EQ(mheap_free(heap, block), MHEAP_ERR_FORKED);
  CHECK_EQ(mheap_free(heap, (void *)64), MHEAP_ERR_FORKED);
  CHECK(mheap_getkey(heap, 0) == NULL && mheap_getroot(heap, "x", 1) == NULL);
  check_forked(heap);
  CHECK_EQ(mheap_setkey(heap, 0, NULL), MHEAP_ERR_FORKED);
  CHECK_EQ(mheap_setroot(heap, "x", 1, NULL), MHEAP_ERR_FORKED);
  CHECK_EQ(mheap_visit_roots(heap, NULL, NULL), MHEAP_ERR_FORKED);
  CHECK_EQ(mheap_visit_blocks(heap, visit_none, NULL), MHEAP_ERR_FORKED);
  CHECK_EQ(mheap_get_stats(heap, &stats), MHEAP_ERR_FORKED);
  CHECK_EQ(mheap_get_info(heap, &info), MHEAP_ERR_FORKED);
  CHECK_EQ(mheap_check(heap, NULL, NULL, NULL), MHEAP_ERR_FORKED);
  CHECK_EQ(mheap_collect(heap, true), MHEAP_ERR_FORKED);
  CHECK_EQ(mheap_sync(heap), MHEAP_ERR_FORKED);
  CHECK_EQ(mheap_mcheck(heap, NULL, true), MHEAP_ERR_FORKED);
  CHECK_EQ(mheap_mprobe(heap, block), MHEAP_PROBE_DISABLED);
  CHECK_EQ(mheap_mtrace(heap, stderr), MHEAP_ERR_FORKED);
}

static void check_own(mheap *own, char *block) {
  CHECK(mheap_getkey(own, 0) == block); /* at the same address */
  CHECK_STR(block, "kept");
  CHECK_EQ(mheap_check(own, NULL, NULL, NULL), MHEAP_OK);
}

static int attach_anew(void *arg) {
  const inheritance *it = arg;
  mheap_error error = {0};
  CHECK_STR(it->block, "kept");
  mheap *own = attach(it->path, it->options);
  if (own == NULL) return 1;
  check_own(own, it->block);
  use_dead(it->heap, it->block);
  check_own(own, it->block);
  /* A second one has no room, as in any process: the first is no parent's. */
  CHECK_EQ(refused_with(it->path, &beside, &error), MHEAP_ERR_BASE_IN_USE);
  CHECK_CONTAINS(error.text, "relocate");
  check_own(own, it->block);
  CHECK_EQ(mheap_detach(own, &error), MHEAP_OK);
  CHECK(!mheap_is_in_region(it->block));
  use_dead(it->heap, it->block);
  own = attach(it->path, it->options); /* where nothing lies now */
  if (own == NULL) return 1;
  CHECK_EQ(mheap_detach(it->heap, &error), MHEAP_OK); /* lets go of it, and of nothing else */
  check_own(own, it->block);
  CHECK_EQ(mheap_detach(own, &error), MHEAP_OK);
  return 0;
}

static void a_child_attaches_where_the_parents_mapping_lies(void) {
  pass_on("reader", &readonly, &readonly, attach_anew);
  pass_on("scratch", &scratch, &scratch, attach_anew);
  pass_on("writer", &live, &beside, attach_anew);
  pass_on("wide", &readonly, &wide, attach_anew);
  pass_on("narrow", &wide, &readonly, attach_anew);
}

static int attach_at_what_was_asked(void *arg) {
  const inheritance *it = arg;
  mheap_info info;
  mheap *own = attach(it->path, &readonly);
  if (own == NULL) return 1;
  CHECK_EQ(mheap_get_info(own, &info), MHEAP_OK);
  CHECK_EQ(mheap_detach(own, NULL), MHEAP_OK);
  own = attach(it->path, &(mheap_options){.mode = MHEAP_MODE_READONLY, .base = (void *)info.base});
  if (own != NULL) check_own(own, it->block);
  return 0;
}

static void an_address_asked_for_is_cleared_too(void) {
  pass_on("asked", &readonly, NULL, attach_at_what_was_asked);
}

static int attach_guarded(void *arg) {
  const inheritance *it = arg;
  mheap *own = attach(it->path, &beside);
  if (own == NULL) return 1;
  use_dead(it->heap, it->block);
  use_dead(it->heap, mheap_getkey(own, 1));
  CHECK_EQ(mheap_detach(it->heap, NULL), MHEAP_OK);
  check_own(own, it->block);
  return 0;
}

static void a_checked_and_traced_heap_is_replaced_too(void) {
  inheritance it;
  FILE *trace = tmpfile();
  REQUIRE(inherit(&it, "guarded", &live));
  CHECK_EQ(mheap_mcheck(it.heap, NULL, true), MHEAP_OK);
  CHECK_EQ(mheap_mtrace(it.heap, trace), MHEAP_OK);
  CHECK_EQ(mheap_setkey(it.heap, 1, mheap_malloc(it.heap, 1000)), MHEAP_OK);
  fflush(trace);
  CHECK_EQ(in_child_process(attach_guarded, &it), 0);
  CHECK_EQ(mheap_free(it.heap, mheap_getkey(it.heap, 1)), MHEAP_OK);
  CHECK_EQ(mheap_detach(it.heap, NULL), MHEAP_OK);
  fclose(trace);
}

/* ---- held ---- */

static int be_held(void *arg) {
  const inheritance *it = arg;
  mheap_error error = {0};
  mheap_hold(it->heap, true);
  CHECK_EQ(refused_with(it->path, &readonly, &error), MHEAP_ERR_BASE_IN_USE);
  CHECK_CONTAINS(error.text, "inherited over a fork");
  CHECK_STR(it->block, "kept");
  mheap *own = attach(it->path, &(mheap_options){.mode = MHEAP_MODE_READONLY, .relocate = true});
  if (own == NULL) return 1;
  CHECK_STR(mheap_getkey(own, 0), "kept");
  CHECK_EQ(mheap_detach(own, NULL), MHEAP_OK);
  CHECK_STR(it->block, "kept");
  mheap_hold(it->heap, false);
  return attach_anew(arg);
}

static void what_is_held_is_not_replaced(void) {
  mheap_hold(NULL, true);
  pass_on("held", &readonly, &readonly, be_held);
}

/* ---- generations, threads, signals ---- */

static int have_a_child(void *arg) {
  inheritance *it = arg, second = *it;
  second.heap = attach(it->path, &readonly);
  if (second.heap == NULL) return 1;
  CHECK_EQ(in_child_process(attach_anew, &second), 0);
  CHECK_EQ(in_child_process(attach_anew, it), 0);
  check_own(second.heap, it->block);
  return 0;
}

static void grandchildren_attach_anew(void) { pass_on("grandchild", &readonly, &readonly, have_a_child); }

typedef struct asking {
  inheritance *it;
  _Atomic bool stop, asked;
} asking;

static void *ask_the_dead(void *arg) {
  asking *self = arg;
  while (!self->stop) {
    use_dead(self->it->heap, self->it->block);
    self->asked = true;
  }
  return NULL;
}

static int attach_beside_threads(void *arg) {
  asking self = {.it = arg};
  pthread_t threads[2];
  for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, ask_the_dead, &self);
  while (!self.asked) usleep(100);
  mheap *own = NULL;
  for (int i = 0; i < 50; i++) {
    own = attach(self.it->path, &readonly);
    if (own == NULL) return 1;
    check_own(own, self.it->block);
    CHECK_EQ(mheap_detach(own, NULL), MHEAP_OK);
  }
  self.stop = true;
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  return 0;
}

static void threads_may_go_on_being_refused(void) {
  pass_on("threads", &readonly, &readonly, attach_beside_threads);
}

/* The page that is touched belongs to the child's region now. */
static int lose_the_file(void *arg) {
  const inheritance *it = arg;
  mheap *own = attach(it->path, &readonly);
  if (own == NULL || !CHECK(freopen("/dev/null", "w", stderr) != NULL)) return 1;
  if (truncate(it->path, 4096) != 0) return 1;
  bool lost = *(volatile char *)it->block == 0;
  bool told = mheap_getkey(own, 0) == NULL && mheap_last_error(own)->code == MHEAP_ERR_CORRUPT;
  bool refused = mheap_sync(it->heap) == MHEAP_ERR_FORKED;
  mheap_abandon(it->heap);
  return lost && told && refused && mheap_detach(own, NULL) == MHEAP_OK ? 0 : 2;
}

static void a_file_cut_short_is_the_childs_own_affair(void) {
  inheritance it;
  REQUIRE(inherit(&it, "cut", &readonly));
  CHECK_EQ(in_child_process(lose_the_file, &it), 0);
  CHECK(mheap_getkey(it.heap, 0) == NULL || mheap_check(it.heap, NULL, NULL, NULL) == MHEAP_ERR_CORRUPT);
  mheap_abandon(it.heap);
}

TEST_MAIN(TEST(a_child_attaches_where_the_parents_mapping_lies), TEST(an_address_asked_for_is_cleared_too),
          TEST(a_checked_and_traced_heap_is_replaced_too), TEST(what_is_held_is_not_replaced),
          TEST(grandchildren_attach_anew), TEST(threads_may_go_on_being_refused),
          TEST(a_file_cut_short_is_the_childs_own_affair))
