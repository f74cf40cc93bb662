/* test_hooks.c: guards find what was written beyond a block, and the trace says who called. */
#include <errno.h>
#include <pthread.h>

#include "layout.h"
#include "mheap/mheap.h"
#include "test.h"

static unsigned reports;
static mheap_probe reported;
static void *reported_block;

static void note(mheap *heap, void *block, mheap_probe status) {
  (void)heap;
  reports++;
  reported = status;
  reported_block = block;
}

static mheap *checked_heap(void) {
  mheap_error error;
  mheap *heap = mheap_attach(-1, NULL, &error);
  if (heap == NULL || mheap_mcheck(heap, note, false) != MHEAP_OK) {
    fprintf(stderr, "%s\n", heap != NULL ? mheap_last_error(heap)->text : error.text);
    exit(2);
  }
  reports = 0;
  return heap;
}

static uint64_t used(mheap *heap) {
  mheap_stats stats;
  return mheap_get_stats(heap, &stats) == MHEAP_OK ? stats.chunks_used : UINT64_MAX;
}

/* ---- guards ---- */

static void whole_blocks_raise_no_report(void) {
  mheap *heap = checked_heap();
  static const size_t sizes[] = {0, 1, 15, 16, 17, 100, 4096, 70000, 5 << 20};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    char *block = mheap_malloc(heap, sizes[i]);
    REQUIRE(block != NULL);
    CHECK_EQ((uintptr_t)block % 16, 0);
    CHECK_EQ(mheap_usable_size(heap, block), sizes[i]);
    memset(block, 0xa5, sizes[i]);
    CHECK_EQ(mheap_mprobe(heap, block), MHEAP_PROBE_OK);
    CHECK_EQ(mheap_free(heap, block), MHEAP_OK);
  }
  CHECK_EQ(reports, 0);
  CHECK_EQ(used(heap), 0);
  mheap_detach(heap, NULL);
}

static void calloc_and_memalign_are_guarded_too(void) {
  mheap *heap = checked_heap();
  for (size_t alignment = 1; alignment <= 8 << 20; alignment *= 2) {
    char *block = mheap_memalign(heap, alignment, 100);
    REQUIRE(block != NULL);
    CHECK_EQ((uintptr_t)block % alignment, 0);
    CHECK_EQ(mheap_mprobe(heap, block), MHEAP_PROBE_OK);
    block[-1] ^= 1;
    CHECK_EQ(mheap_mprobe(heap, block), MHEAP_PROBE_HEAD);
    block[-1] ^= 1;
    CHECK_EQ(mheap_free(heap, block), MHEAP_OK);
  }
  char *zeroed = mheap_calloc(heap, 10, 10);
  REQUIRE(zeroed != NULL);
  for (int i = 0; i < 100; i++) CHECK_EQ(zeroed[i], 0);
  CHECK_EQ(mheap_mprobe(heap, zeroed), MHEAP_PROBE_OK);
  CHECK(mheap_memalign(heap, 3, 100) == NULL);
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_ARGUMENT);
  CHECK(mheap_malloc(heap, SIZE_MAX) == NULL);
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_OVERFLOW);
  mheap_detach(heap, NULL);
}

static void each_byte_behind_a_block_is_watched(void) {
  mheap *heap = checked_heap();
  for (size_t behind = 0; behind < MH_GUARD_TAIL; behind++) {
    char *block = mheap_malloc(heap, 77);
    REQUIRE(block != NULL);
    block[77 + behind] ^= 0x40;
    CHECK_EQ(mheap_mprobe(heap, block), MHEAP_PROBE_TAIL);
    reports = 0;
    CHECK_EQ(mheap_free(heap, block), MHEAP_OK);
    CHECK_EQ(reports, 1);
    CHECK_EQ(reported, MHEAP_PROBE_TAIL);
    CHECK(reported_block == block);
    CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_OVERRUN);
  }
  CHECK_EQ(used(heap), 0);
  mheap_detach(heap, NULL);
}

static void each_byte_before_a_block_is_watched(void) {
  mheap *heap = checked_heap();
  for (size_t before = 1; before <= sizeof(mh_guard); before++) {
    char *block = mheap_malloc(heap, 77);
    REQUIRE(block != NULL);
    block[-(long)before] ^= 1;
    CHECK_EQ(mheap_mprobe(heap, block), MHEAP_PROBE_HEAD);
    reports = 0;
    CHECK_EQ(mheap_free(heap, block), MHEAP_ERR_OVERRUN);
    CHECK(mheap_realloc(heap, block, 500) == NULL);
    CHECK_EQ(reports, 2);
    CHECK_EQ(reported, MHEAP_PROBE_HEAD);
    block[-(long)before] ^= 1;
    CHECK_EQ(mheap_free(heap, block), MHEAP_OK); /* it was left alone */
  }
  CHECK_EQ(used(heap), 0);
  mheap_detach(heap, NULL);
}

static void a_second_free_is_reported_and_not_obeyed(void) {
  mheap *heap = checked_heap();
  char *block = mheap_malloc(heap, 50), *keep = mheap_malloc(heap, 50);
  CHECK_EQ(mheap_free(heap, block), MHEAP_OK);
  CHECK_EQ(mheap_mprobe(heap, block), MHEAP_PROBE_FREE);
  CHECK_EQ(mheap_free(heap, block), MHEAP_ERR_DOUBLE_FREE);
  CHECK_EQ(reported, MHEAP_PROBE_FREE);
  CHECK_EQ(reports, 1);
  CHECK_EQ(used(heap), 1);
  CHECK_EQ(mheap_mprobe(heap, keep), MHEAP_PROBE_OK);
  mheap_detach(heap, NULL);
}

static void wild_pointers_are_not_obeyed(void) {
  mheap *heap = checked_heap();
  char *block = mheap_malloc(heap, 1000);
  int elsewhere;
  static const int distances[] = {-16, -1, 1, 8, 16, 32, 48, 64, 128, 512};
  for (size_t i = 0; i < sizeof distances / sizeof distances[0]; i++) {
    CHECK(mheap_free(heap, block + distances[i]) != MHEAP_OK);
    CHECK(mheap_realloc(heap, block + distances[i], 10) == NULL);
    CHECK_EQ(mheap_mprobe(heap, block + distances[i]), MHEAP_PROBE_DISABLED);
  }
  CHECK_EQ(mheap_free(heap, &elsewhere), MHEAP_ERR_POINTER);
  CHECK_EQ(mheap_mprobe(heap, &elsewhere), MHEAP_PROBE_DISABLED);
  CHECK_EQ(mheap_mprobe(heap, block), MHEAP_PROBE_OK);
  CHECK_EQ(used(heap), 1);
  mheap_detach(heap, NULL);
}

static void realloc_keeps_contents_and_guards(void) {
  mheap *heap = checked_heap();
  char *block = mheap_malloc(heap, 10);
  memset(block, 'x', 10);
  for (size_t size = 10; size < 300000; size = size * 3 / 2) {
    block = mheap_realloc(heap, block, size);
    REQUIRE(block != NULL);
    CHECK(memcmp(block, "xxxxxxxxxx", 10) == 0);
    CHECK_EQ(mheap_usable_size(heap, block), size);
    CHECK_EQ(mheap_mprobe(heap, block), MHEAP_PROBE_OK);
    memset(block + 10, 'y', size - 10);
  }
  block[299] = 'z';
  block = mheap_realloc(heap, block, 5);
  REQUIRE(block != NULL);
  CHECK(memcmp(block, "xxxxx", 5) == 0);
  CHECK_EQ(used(heap), 1);
  CHECK_EQ(reports, 0);
  CHECK(mheap_realloc(heap, block, SIZE_MAX / 2) == NULL);
  CHECK_EQ(mheap_mprobe(heap, block), MHEAP_PROBE_OK);
  block[5] ^= 1;
  block = mheap_realloc(heap, block, 100); /* reported, and goes on */
  CHECK_EQ(reports, 1);
  CHECK_EQ(mheap_mprobe(heap, block), MHEAP_PROBE_OK);
  mheap_detach(heap, NULL);
}

static void blocks_in_use_refuse_mcheck_unless_forced(void) {
  mheap *heap = mheap_attach(-1, NULL, NULL);
  REQUIRE(heap != NULL);
  char *old = mheap_malloc(heap, 100);
  CHECK_EQ(mheap_mcheck(heap, note, false), MHEAP_ERR_ARGUMENT);
  CHECK_EQ(mheap_mcheck(heap, note, true), MHEAP_OK);
  char *guarded = mheap_malloc(heap, 100);
  CHECK_EQ(mheap_mprobe(heap, old), MHEAP_PROBE_DISABLED);
  CHECK_EQ(mheap_mprobe(heap, guarded), MHEAP_PROBE_OK);
  reports = 0;
  old[100] = 1; /* its own: blocks of this size have 112 bytes */
  CHECK(mheap_usable_size(heap, old) > 100);
  old = mheap_realloc(heap, old, 1000);
  CHECK(old != NULL);
  CHECK_EQ(mheap_free(heap, old), MHEAP_OK);
  CHECK_EQ(mheap_free(heap, guarded), MHEAP_OK);
  CHECK_EQ(reports, 0);
  CHECK_EQ(used(heap), 0);
  mheap_detach(heap, NULL);
}

static bool count_whole(void *arg, void *block, size_t usable) {
  mheap *heap = *(mheap **)arg;
  CHECK_EQ(mheap_mprobe(heap, block), MHEAP_PROBE_OK);
  CHECK_EQ(usable, mheap_usable_size(heap, block));
  return true;
}

static void guarded_blocks_outlive_mcheck(void) {
  const char *path = test_path("guarded.heap");
  mheap_error error;
  mheap *heap = mheap_open(path, NULL, &error);
  REQUIRE(heap != NULL);
  REQUIRE_EQ(mheap_mcheck(heap, note, false), MHEAP_OK);
  char *a = mheap_malloc(heap, 100), *b = mheap_memalign(heap, 256, 3000), *c = mheap_malloc(heap, 200000);
  memset(a, 'a', 100);
  mheap_setkey(heap, 0, a);
  mheap_setkey(heap, 1, b);
  mheap_setkey(heap, 2, c);
  CHECK_EQ(mheap_visit_blocks(heap, count_whole, &heap), MHEAP_OK);
  REQUIRE_EQ(mheap_detach(heap, &error), MHEAP_OK);

  REQUIRE((heap = mheap_open(path, NULL, &error)) != NULL);
  a = mheap_getkey(heap, 0);
  CHECK_EQ(mheap_usable_size(heap, a), 100);
  CHECK_EQ(mheap_mprobe(heap, a), MHEAP_PROBE_OK);
  CHECK_EQ(mheap_check(heap, NULL, NULL, NULL), MHEAP_OK);
  a = mheap_realloc(heap, a, 1000);
  REQUIRE(a != NULL);
  CHECK(a[0] == 'a' && a[99] == 'a');
  CHECK_EQ(mheap_mprobe(heap, a), MHEAP_PROBE_DISABLED);
  CHECK_EQ(mheap_free(heap, a), MHEAP_OK);
  CHECK_EQ(mheap_free(heap, mheap_getkey(heap, 1)), MHEAP_OK);
  CHECK(mheap_free(heap, mheap_getkey(heap, 1)) != MHEAP_OK);
  CHECK_EQ(mheap_free(heap, mheap_getkey(heap, 2)), MHEAP_OK);
  CHECK_EQ(used(heap), 0);
  CHECK_EQ(mheap_detach(heap, &error), MHEAP_OK);
}

static void a_heap_of_guarded_blocks_needs_no_force(void) {
  mheap *heap = checked_heap();
  mheap_malloc(heap, 100);
  CHECK_EQ(mheap_mcheck(heap, NULL, false), MHEAP_OK); /* another function, no complaint */
  CHECK_EQ(mheap_mcheck(heap, note, false), MHEAP_OK);
  mheap_detach(heap, NULL);
}

static void every_thread_takes_the_guarded_way(void);

/* ---- the trace ---- */

static size_t read_lines(FILE *file, char *text, size_t room) {
  fflush(file);
  rewind(file);
  size_t length = fread(text, 1, room - 1, file);
  text[length] = '\0';
  return length;
}

/* The signs of the trace's lines in order: "=+-<>!=". */
static void signs_of(const char *text, char *signs) {
  for (const char *line = text; line != NULL && *line != '\0'; line = strchr(line, '\n')) {
    line += *line == '\n';
    if (*line == '\0') break;
    const char *sign = line;
    if (*line == '@') sign = strchr(line + 2, ' ') + 1;
    *signs++ = *sign;
  }
  *signs = '\0';
}

static void the_trace_has_a_line_a_call(void) {
  char text[8192], signs[64], address[64];
  mheap *heap = mheap_attach(-1, NULL, NULL);
  FILE *file = tmpfile();
  REQUIRE(heap != NULL && file != NULL);
  char *before = mheap_malloc(heap, 8);
  CHECK_EQ(mheap_mtrace(heap, file), MHEAP_OK);
  char *a = mheap_malloc(heap, 100);
  char *b = mheap_calloc(heap, 2, 21);
  mheap_free(heap, b);
  char *c = mheap_realloc(heap, a, 100000);
  CHECK(mheap_realloc(heap, c, SIZE_MAX / 2) == NULL);
  mheap_realloc(heap, NULL, 5);
  mheap_free(heap, NULL);
  mheap_memalign(heap, 64, 7);
  CHECK_EQ(mheap_mtrace(heap, NULL), MHEAP_OK);
  mheap_free(heap, before);
  read_lines(file, text, sizeof text);
  signs_of(text, signs);
  CHECK_STR(signs, "=++-<>!++=");
  snprintf(address, sizeof address, "+ %p 0x64\n", (void *)a);
  CHECK_CONTAINS(text, address);
  snprintf(address, sizeof address, "+ %p 0x2a\n", (void *)b);
  CHECK_CONTAINS(text, address);
  snprintf(address, sizeof address, "< %p\n", (void *)a);
  CHECK_CONTAINS(text, address);
  snprintf(address, sizeof address, "> %p 0x186a0\n", (void *)c);
  CHECK_CONTAINS(text, address);
  CHECK(strncmp(text, "= Start\n", 8) == 0);
  CHECK_CONTAINS(text, "\n= End\n");
  fclose(file);
  mheap_detach(heap, NULL);
}

static void detach_ends_the_trace(void) {
  char text[1024];
  mheap *heap = mheap_attach(-1, NULL, NULL);
  FILE *file = tmpfile();
  REQUIRE(heap != NULL && file != NULL);
  CHECK_EQ(mheap_mtrace(heap, NULL), MHEAP_OK);
  CHECK_EQ(mheap_mtrace(heap, file), MHEAP_OK);
  mheap_detach(heap, NULL);
  read_lines(file, text, sizeof text);
  CHECK_STR(text, "= Start\n= End\n");
  fclose(file);
}

static void lost_lines_are_told_where_the_trace_ends(void) {
  mheap_error error;
  mheap *heap = mheap_attach(-1, NULL, NULL);
  FILE *full = fopen("/dev/full", "w"), *good = tmpfile(), *unbuffered = fopen("/dev/full", "w");
  REQUIRE(heap != NULL && full != NULL && good != NULL && unbuffered != NULL);
  setvbuf(unbuffered, NULL, _IONBF, 0);
  CHECK_EQ(mheap_mtrace(heap, unbuffered), MHEAP_ERR_SYSTEM); /* not even begun */
  CHECK_EQ(mheap_mtrace(heap, NULL), MHEAP_OK);
  CHECK_EQ(mheap_mtrace(heap, full), MHEAP_OK);
  CHECK(mheap_malloc(heap, 10) != NULL);
  CHECK_EQ(mheap_mtrace(heap, good), MHEAP_ERR_SYSTEM);
  CHECK_EQ(mheap_last_error(heap)->sys, ENOSPC);
  CHECK_CONTAINS(mheap_last_error(heap)->text, "lines are lost");
  CHECK_EQ(ftell(good), 0);
  CHECK_EQ(mheap_mtrace(heap, full), MHEAP_OK);
  CHECK_EQ(mheap_detach(heap, &error), MHEAP_ERR_SYSTEM);
  CHECK_EQ(error.sys, ENOSPC);
  CHECK_EQ(mheap_mtrace(heap, good), MHEAP_OK); /* still attached */
  CHECK_EQ(mheap_detach(heap, &error), MHEAP_OK);
  CHECK(ftell(good) > 0);
  fclose(unbuffered);
  fclose(full);
  fclose(good);
}

typedef struct crew {
  mheap *heap;
  unsigned tries;
} crew;

static void *allocate_and_free(void *arg) {
  crew *c = arg;
  for (unsigned i = 0; i < c->tries; i++) {
    char *block = mheap_malloc(c->heap, 1 + i % 500);
    if (!CHECK(block != NULL) || !CHECK(mheap_mprobe(c->heap, block) == MHEAP_PROBE_OK)) return NULL;
    if (i % 3 == 0) block = mheap_realloc(c->heap, block, 700);
    CHECK_EQ(mheap_free(c->heap, block), MHEAP_OK);
  }
  return NULL;
}

static void *wait_and_allocate(void *arg) {
  pthread_barrier_t *barrier = ((void **)arg)[1];
  mheap *heap = ((void **)arg)[0];
  mheap_free(heap, mheap_malloc(heap, 100)); /* now it has a lane at hand */
  pthread_barrier_wait(barrier);             /* mcheck is turned on */
  pthread_barrier_wait(barrier);
  char *block = mheap_malloc(heap, 100);
  CHECK_EQ(mheap_mprobe(heap, block), MHEAP_PROBE_OK);
  mheap_free(heap, block);
  return NULL;
}

static void every_thread_takes_the_guarded_way(void) {
  mheap *heap = mheap_attach(-1, NULL, NULL);
  REQUIRE(heap != NULL);
  pthread_barrier_t barrier;
  pthread_t thread;
  pthread_barrier_init(&barrier, NULL, 2);
  void *args[] = {heap, &barrier};
  REQUIRE_EQ(pthread_create(&thread, NULL, wait_and_allocate, args), 0);
  pthread_barrier_wait(&barrier);
  CHECK_EQ(mheap_mcheck(heap, note, false), MHEAP_OK);
  pthread_barrier_wait(&barrier);
  pthread_join(thread, NULL);
  mheap_detach(heap, NULL);
}

/* A trace in which no address is handed out twice without having been given back. */
static void lines_of_threads_are_whole_and_in_order(void) {
  mheap *heap = checked_heap();
  FILE *file = tmpfile();
  REQUIRE(file != NULL);
  CHECK_EQ(mheap_mtrace(heap, file), MHEAP_OK);
  crew c = {heap, 1000};
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) REQUIRE_EQ(pthread_create(&threads[i], NULL, allocate_and_free, &c), 0);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  CHECK_EQ(mheap_mtrace(heap, NULL), MHEAP_OK);
  rewind(file);
  static char live[64][32];
  char line[1024], sign, address[32];
  unsigned lines = 0, wrong = 0;
  while (fgets(line, sizeof line, file) != NULL) {
    char *rest = line[0] == '@' ? strchr(line + 2, ' ') + 1 : line;
    if (rest[0] == '=') continue;
    lines++;
    if (sscanf(rest, "%c %31s", &sign, address) != 2) wrong++;
    int found = -1, empty = -1;
    for (int i = 0; i < 64; i++) {
      if (strcmp(live[i], address) == 0) found = i;
      if (live[i][0] == '\0') empty = i;
    }
    if (sign == '+' || sign == '>') {
      wrong += found >= 0;
      if (empty >= 0) snprintf(live[empty], sizeof live[empty], "%s", address);
    } else {
      wrong += found < 0;
      if (found >= 0) live[found][0] = '\0';
    }
  }
  CHECK_EQ(wrong, 0);
  CHECK_EQ(lines, 4 * (1000 * 2 + 334 * 2));
  CHECK_EQ(reports, 0);
  fclose(file);
  mheap_detach(heap, NULL);
}

TEST_MAIN(TEST(whole_blocks_raise_no_report), TEST(calloc_and_memalign_are_guarded_too),
          TEST(each_byte_behind_a_block_is_watched), TEST(each_byte_before_a_block_is_watched),
          TEST(a_second_free_is_reported_and_not_obeyed), TEST(wild_pointers_are_not_obeyed),
          TEST(realloc_keeps_contents_and_guards), TEST(blocks_in_use_refuse_mcheck_unless_forced),
          TEST(guarded_blocks_outlive_mcheck), TEST(a_heap_of_guarded_blocks_needs_no_force),
          TEST(every_thread_takes_the_guarded_way), TEST(the_trace_has_a_line_a_call),
          TEST(detach_ends_the_trace), TEST(lost_lines_are_told_where_the_trace_ends),
          TEST(lines_of_threads_are_whole_and_in_order))
