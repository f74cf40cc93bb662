/* test_mimalloc_stats.c: mimalloc's statistics. */
#include "mheap/mimalloc.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>

#include "mheap/mheap.h"
#include "test.h"

typedef struct text {
  char all[65536];
} text;

static void append(const char *msg, void *arg) {
  text *t = arg;
  strncat(t->all, msg, sizeof t->all - strlen(t->all) - 1);
}

static text told;
static const char *print(void (*how)(mi_output_fun *out, void *arg)) {
  told.all[0] = '\0';
  how(append, &told);
  return told.all;
}

static void the_main_statistics_are_printed(void) {
  void *block = mi_malloc(100);
  CHECK_CONTAINS(print(mi_stats_print_out), "112"); /* the size class */
  mi_free(block);
}

static void without_a_function_they_go_to_the_registered_output(void) {
  static text output;
  mi_register_output(append, &output);
  mi_stats_print_out(NULL, NULL);
  size_t once = strlen(output.all);
  CHECK(once > 0);
  mi_stats_print(NULL);
  CHECK(strlen(output.all) > once);
  mi_register_output(NULL, NULL);
}

static uint64_t handed_out(void) {
  mheap_stats stats;
  uint64_t total = 0;
  if (mheap_get_stats(NULL, &stats) != MHEAP_OK) return UINT64_MAX;
  for (int i = 0; i < MHEAP_CLASSES; i++) total += stats.classes[i].total;
  return total;
}

static void reset_begins_anew(void) {
  for (int i = 0; i < 1000; i++) mi_free(mi_malloc(100));
  CHECK(handed_out() >= 1000);
  mi_stats_reset();
  CHECK(handed_out() < 1000);
}

static void *threads_own(void *arg) {
  void *block = mi_malloc(3000);
  CHECK_CONTAINS(print(mi_thread_stats_print_out), "3072");
  mi_stats_merge();
  CHECK(strstr(print(mi_thread_stats_print_out), "3072") == NULL);
  mi_free(block);
  return arg;
}

static void a_threads_own_are_printed_and_merged(void) {
  pthread_t thread;
  REQUIRE(pthread_create(&thread, NULL, threads_own, NULL) == 0);
  pthread_join(thread, NULL);
}

static mi_heap_t *which;
static void of_heap(mi_output_fun *out, void *arg) { mi_heap_stats_print_out(which, out, arg); }

static void a_heaps_own_are_printed(void) {
  mi_heap_t *one = mi_heap_new(), *two = mi_heap_new();
  CHECK(mi_heap_malloc(one, 5000) != NULL);
  which = one;
  CHECK_CONTAINS(print(of_heap), "5120");
  which = two;
  CHECK(strstr(print(of_heap), "5120") == NULL);
  mi_heap_destroy(one);
  mi_heap_destroy(two);
}

static void they_come_as_json(void) {
  char buffer[100];
  char *json = mi_stats_get_json(0, NULL);
  REQUIRE(json != NULL);
  CHECK(json[0] == '{' && strchr(json, '}') != NULL);
  CHECK(mi_usable_size(json) > 0);
  mi_free(json);
  CHECK(mi_stats_get_json(sizeof buffer, buffer) == buffer);
  CHECK(buffer[0] == '{' && strlen(buffer) == sizeof buffer - 1); /* cut off */
}

/* What a child that exits writes to standard error. */
static off_t written_at_exit(mi_option_t option, bool later_disabled) {
  int file = open(test_path("stats"), O_RDWR | O_CREAT | O_TRUNC, 0600);
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    dup2(file, 2);
    mi_option_enable(option);
    mi_option_enable(option);
    if (later_disabled) mi_option_disable(option);
    exit(0);
  }
  waitpid(child, NULL, 0);
  off_t length = lseek(file, 0, SEEK_END);
  close(file);
  return length;
}

static void options_print_them_at_exit(void) {
  off_t once = written_at_exit(mi_option_show_stats, false);
  CHECK(once > 100);
  CHECK(written_at_exit(mi_option_verbose, false) > 100);
  CHECK_EQ(written_at_exit(mi_option_show_stats, true), 0);
}

TEST_MAIN(TEST(the_main_statistics_are_printed), TEST(without_a_function_they_go_to_the_registered_output),
          TEST(reset_begins_anew), TEST(a_threads_own_are_printed_and_merged), TEST(a_heaps_own_are_printed),
          TEST(they_come_as_json), TEST(options_print_them_at_exit))
