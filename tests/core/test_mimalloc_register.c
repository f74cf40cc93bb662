/* test_mimalloc_register.c: functions that are registered by mimalloc's names, and its options. */
#include "mheap/mimalloc.h"

#include <errno.h>
#include <fcntl.h>

#include "mheap/mheap.h"
#include "test.h"

static volatile size_t most = SIZE_MAX; /* that compilers do not see through */

/* ---- errors ---- */

static int errors, last_error;
static void *last_arg;
static char output[4096];

static void note_error(int err, void *arg) {
  errors++;
  last_error = err;
  last_arg = arg;
}

static void note_output(const char *text, void *arg) {
  strncat(output, text, sizeof output - strlen(output) - 1);
  *(int *)arg += 1;
}

static void start(void) {
  static int mark;
  errors = last_error = 0;
  output[0] = '\0';
  mi_register_error(note_error, &mark);
}

static void expect(int number) {
  CHECK_EQ(errors, 1);
  CHECK_EQ(last_error, number);
  errors = last_error = 0;
}

static void each_mistake_is_told_once(void) {
  int local, calls = 0;
  mi_register_output(note_output, &calls);
  start();
  void *block = mi_malloc(10);
  mi_free(block);
  CHECK_EQ(errors, 0);
  mi_free(block), expect(EAGAIN);
  CHECK(last_arg != NULL && calls > 0);
  CHECK_CONTAINS(output, "free already");
  mi_free(&local), expect(EINVAL);
  CHECK(mi_realloc(&local, 10) == NULL), expect(EINVAL);
  CHECK(mi_rezalloc(&local, 10) == NULL), expect(EINVAL);
  CHECK(mi_realloc_aligned(&local, 10, 64) == NULL), expect(EINVAL);
  CHECK(mi_rezalloc_aligned_at(&local, 10, 64, 8) == NULL), expect(EINVAL);
  CHECK(mi_realloc(block, 10) == NULL), expect(EAGAIN);
  CHECK(mi_malloc(most) == NULL), expect(EOVERFLOW);
  CHECK(mi_calloc(most, 2) == NULL), expect(EOVERFLOW);
  CHECK(mi_zalloc(most) == NULL), expect(EOVERFLOW);
  CHECK(mi_reallocn(NULL, most, 2) == NULL), expect(EOVERFLOW);
  CHECK(mi_malloc_aligned(most, 64) == NULL), expect(EOVERFLOW);
  CHECK(mi_malloc_aligned_at(most - 8, 64, 8) == NULL), expect(EOVERFLOW);
  CHECK(mi_malloc((size_t)1 << 46) == NULL), expect(ENOMEM);
  CHECK(mi_malloc_aligned_at((size_t)1 << 46, 64, 8) == NULL), expect(ENOMEM);
  mi_register_error(NULL, NULL);
  mi_register_output(NULL, NULL);
  mi_free(&local);
  CHECK_EQ(errors, 0);
}

static void asking_is_no_mistake(void) {
  int local;
  start();
  CHECK(mi_usable_size(&local) == 0 && mi_expand(&local, 1) == NULL);
  CHECK(!mi_check_owned(&local) && mi_heap_of(&local) == NULL && !mi_is_in_heap_region(&local));
  CHECK(!mi_heap_contains_block(mi_heap_get_default(), &local));
  mi_cfree(&local);
  mi_free(NULL);
  CHECK_EQ(errors, 0);
  mi_register_error(NULL, NULL);
}

/* ---- deferred freeing ---- */

typedef struct list {
  struct list *next;
} list;

static list *put_off;
static unsigned long long heartbeats;
static int calls, forced;

static void free_some(bool force, unsigned long long heartbeat, void *arg) {
  CHECK(arg == &put_off);
  CHECK(heartbeat > heartbeats);
  heartbeats = heartbeat;
  calls++;
  forced += force;
  for (int i = 0; put_off != NULL && (force || i < 100); i++) {
    list *next = put_off->next;
    mi_free(put_off);
    put_off = next;
  }
  mi_free(mi_malloc(10)); /* which does not call it again */
}

static void what_was_put_off_is_freed(void) {
  mi_register_deferred_free(free_some, &put_off);
  for (int i = 0; i < 3000; i++) {
    list *one = mi_malloc(64);
    one->next = put_off;
    put_off = one;
  }
  CHECK(calls >= 10 && forced == 0);
  mi_collect(true);
  CHECK(forced == 1 && put_off == NULL);
  mi_register_deferred_free(NULL, NULL);
  int before = calls;
  for (int i = 0; i < 1000; i++) mi_free(mi_malloc(64));
  CHECK_EQ(calls, before);
}

/* ---- options ---- */

static void options_are_numbers_by_name(void) {
  CHECK_EQ(mi_option_get(mi_option_show_errors), 0);
  mi_option_set(mi_option_eager_commit_delay, 5);
  CHECK_EQ(mi_option_get(mi_option_eager_commit_delay), 5);
  CHECK_EQ(mi_option_get_clamp(mi_option_eager_commit_delay, 6, 9), 6);
  CHECK_EQ(mi_option_get_clamp(mi_option_eager_commit_delay, 1, 3), 3);
  CHECK_EQ(mi_option_get_clamp(mi_option_eager_commit_delay, 1, 9), 5);
  mi_option_set_default(mi_option_eager_commit_delay, 7); /* too late */
  CHECK_EQ(mi_option_get(mi_option_eager_commit_delay), 5);
  mi_option_set_default(mi_option_os_tag, 101);
  CHECK_EQ(mi_option_get(mi_option_os_tag), 101);
  mi_option_set_enabled_default(mi_option_destroy_on_exit, true);
  CHECK(mi_option_is_enabled(mi_option_destroy_on_exit));
  mi_option_disable(mi_option_destroy_on_exit);
  CHECK(!mi_option_is_enabled(mi_option_destroy_on_exit));
  mi_option_enable(mi_option_destroy_on_exit);
  CHECK(mi_option_is_enabled(mi_option_destroy_on_exit));
  mi_option_set_enabled(mi_option_destroy_on_exit, false);
  CHECK(!mi_option_is_enabled(mi_option_destroy_on_exit));
}

static void sizes_are_in_kib(void) {
  mi_option_set(mi_option_reserve_os_memory, 3);
  CHECK_EQ(mi_option_get_size(mi_option_reserve_os_memory), 3072);
  CHECK_EQ(mi_option_get_size(mi_option_arena_reserve), (size_t)1 << 30);
  mi_option_set(mi_option_reserve_os_memory, -3);
  CHECK_EQ(mi_option_get_size(mi_option_reserve_os_memory), 0);
  mi_option_set(mi_option_max_warnings, 3);
  CHECK_EQ(mi_option_get_size(mi_option_max_warnings), 3);
}

static void what_is_no_option_is_nothing(void) {
  static const int wrong[] = {-1, _mi_option_last, 1000000};
  for (int i = 0; i < 3; i++) {
    mi_option_t none = (mi_option_t)wrong[i];
    mi_option_set(none, 5);
    mi_option_set_default(none, 5);
    CHECK(mi_option_get(none) == 0 && !mi_option_is_enabled(none) && mi_option_get_size(none) == 0);
  }
}

static void names_of_all_versions_are_one(void) {
  mi_option_set(mi_option_large_os_pages, 1);
  CHECK(mi_option_is_enabled(mi_option_allow_large_os_pages));
  mi_option_set(mi_option_limit_os_alloc, 1);
  CHECK(mi_option_is_enabled(mi_option_disallow_os_alloc));
}

/* What a mistake writes to standard error. */
static size_t written_by_a_mistake(void) {
  int local, saved = dup(2), file = open(test_path("stderr"), O_RDWR | O_CREAT | O_TRUNC, 0600);
  fflush(stderr);
  dup2(file, 2);
  mi_free(&local);
  dup2(saved, 2);
  close(saved);
  size_t length = (size_t)lseek(file, 0, SEEK_END);
  close(file);
  return length;
}

static void errors_are_shown_on_demand(void) {
  static const mi_option_t shows[] = {mi_option_show_errors, mi_option_verbose};
  CHECK_EQ(written_by_a_mistake(), 0);
  for (int i = 0; i < 2; i++) {
    mi_option_enable(shows[i]);
    CHECK(written_by_a_mistake() > 0);
    mi_register_error(note_error, NULL);
    errors = 0;
    CHECK(written_by_a_mistake() > 0);
    expect(EINVAL);
    mi_register_error(NULL, NULL);
    CHECK(written_by_a_mistake() > 0);
    mi_option_disable(shows[i]);
    CHECK_EQ(written_by_a_mistake(), 0);
  }
}

TEST_MAIN(TEST(each_mistake_is_told_once), TEST(asking_is_no_mistake), TEST(what_was_put_off_is_freed),
          TEST(options_are_numbers_by_name), TEST(sizes_are_in_kib), TEST(what_is_no_option_is_nothing),
          TEST(names_of_all_versions_are_one), TEST(errors_are_shown_on_demand))
