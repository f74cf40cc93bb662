/* test_offsets.c: blocks that are aligned beside their start: they carry a guard that says where
   they begin, are freed like any other, and are so after the next attach too. */
#include <fcntl.h>

#include "hooks.h"
#include "mheap/mheap.h"
#include "test.h"

static mheap *anonymous(void) {
  mheap *heap = mheap_attach(-1, NULL, NULL);
  if (heap == NULL) exit(2);
  return heap;
}

static uint64_t used(mheap *heap) {
  mheap_stats stats;
  return mheap_get_stats(heap, &stats) == MHEAP_OK ? stats.chunks_used : UINT64_MAX;
}

static const size_t offsets[] = {1, 2, 8, 15, 17, 40, 4095, 100000};
#define OFFSETS (sizeof offsets / sizeof offsets[0])

static void every_alignment_and_offset_is_had(void) {
  mheap *heap = anonymous();
  for (size_t alignment = 2; alignment <= 8 << 20; alignment *= 4)
    for (size_t i = 0; i < OFFSETS; i++)
      for (size_t size = 0; size < 200000; size = size * 9 + 7) {
        char *data = mh_hooks_malloc_at(heap, size, alignment, offsets[i]);
        REQUIRE(data != NULL);
        CHECK_EQ((uintptr_t)(data + offsets[i]) % alignment, 0);
        CHECK_EQ(mheap_usable_size(heap, data), size ? size : 1);
        memset(data, 0xa5, size);
        CHECK_EQ(mheap_free(heap, data), MHEAP_OK);
        CHECK(mheap_free(heap, data) != MHEAP_OK);
      }
  CHECK_EQ(used(heap), 0);
  mheap_detach(heap, NULL);
}

static void what_is_too_large_is_refused(void) {
  mheap *heap = anonymous();
  CHECK(mh_hooks_malloc_at(heap, (size_t)1 << 62, 64, 8) == NULL);
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_OVERFLOW);
  CHECK(mh_hooks_malloc_at(heap, 8, (size_t)1 << 62, 8) == NULL);
  CHECK_EQ(mheap_last_error(heap)->code, MHEAP_ERR_OVERFLOW);
  CHECK_EQ(used(heap), 0);
  mheap_detach(heap, NULL);
}

static void resizing_keeps_the_contents(void) {
  mheap *heap = anonymous();
  char *data = mh_hooks_malloc_at(heap, 100, 64, 8);
  REQUIRE(data != NULL);
  memset(data, 'x', 100);
  data = mheap_realloc(heap, data, 3000);
  REQUIRE(data != NULL);
  for (int i = 0; i < 100; i++) CHECK_EQ(data[i], 'x');
  CHECK_EQ((uintptr_t)data % 16, 0);
  CHECK_EQ(mheap_free(heap, data), MHEAP_OK);
  CHECK_EQ(used(heap), 0);
  mheap_detach(heap, NULL);
}

static void only_the_pointer_itself_is_taken(void) {
  mheap *heap = anonymous();
  char *data = mh_hooks_malloc_at(heap, 100, 64, 8);
  for (int distance = -56; distance <= 100; distance++)
    if (distance != 0 && (uintptr_t)(data + distance) % 64 != 0) {
      CHECK(mheap_free(heap, data + distance) != MHEAP_OK);
      CHECK_EQ(mheap_usable_size(heap, data + distance), 0);
    }
  CHECK_EQ(mheap_free(heap, data), MHEAP_OK);
  mheap_detach(heap, NULL);
}

static bool note(void *arg, void *block, size_t usable) {
  void **found = arg;
  found[0] = block;
  found[1] = (void *)usable;
  return true;
}

static void the_next_attach_frees_it(void) {
  mheap *heap = mheap_open(test_path("offset.heap"), NULL, NULL);
  REQUIRE(heap != NULL);
  char *data = mh_hooks_malloc_at(heap, 33, 4096, 24);
  strcpy(data, "where it was");
  CHECK_EQ(mheap_setkey(heap, 0, data), MHEAP_OK);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);

  heap = mheap_open(test_path("offset.heap"), NULL, NULL);
  REQUIRE(heap != NULL);
  void *found[2] = {NULL, NULL};
  CHECK_EQ(mheap_visit_blocks(heap, note, found), MHEAP_OK);
  CHECK(found[0] == data && (size_t)found[1] == 33);
  CHECK_STR(mheap_getkey(heap, 0), "where it was");
  CHECK_EQ(mheap_free(heap, data), MHEAP_OK);
  CHECK_EQ(used(heap), 0);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static mheap_probe reported;
static void report(mheap *heap, void *block, mheap_probe status) {
  (void)heap, (void)block;
  reported = status;
}

static void checking_finds_what_was_overwritten(void) {
  mheap *heap = anonymous();
  CHECK_EQ(mheap_mcheck(heap, report, false), MHEAP_OK);
  char *data = mh_hooks_malloc_at(heap, 40, 16, 8);
  CHECK_EQ(mheap_mprobe(heap, data), MHEAP_PROBE_OK);
  data = mheap_realloc(heap, data, 10);
  REQUIRE(data != NULL);
  CHECK_EQ(mheap_free(heap, data), MHEAP_OK);

  data = mh_hooks_malloc_at(heap, 40, 16, 8);
  data[40] = 'x';
  CHECK_EQ(mheap_mprobe(heap, data), MHEAP_PROBE_TAIL);
  data[40] = (char)MH_GUARD_FILL;
  data[-1] ^= 1;
  CHECK_EQ(mheap_mprobe(heap, data), MHEAP_PROBE_HEAD);
  data[-1] ^= 1;
  CHECK_EQ(mheap_free(heap, data), MHEAP_OK);
  reported = MHEAP_PROBE_OK;
  CHECK_EQ(mheap_free(heap, data), MHEAP_ERR_DOUBLE_FREE);
  CHECK_EQ(reported, MHEAP_PROBE_FREE);
  mheap_detach(heap, NULL);
}

/* A block's own contents may look like the first word of such a guard, and nothing comes of it. */
static void hostile_first_words_are_harmless(void) {
  static const uint64_t words[] = {0, 1, 15, 16, 23, 24, 48, 64, 65, (uint64_t)1 << 63, UINT64_MAX};
  mheap *heap = anonymous();
  CHECK_EQ(mheap_free(heap, mh_hooks_malloc_at(heap, 1, 16, 8)),
           MHEAP_OK); /* guards are looked for from now on */
  uint64_t *block = mheap_malloc(heap, 64);
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
    void *found[2];
    block[0] = words[i];
    CHECK_EQ(mheap_visit_blocks(heap, note, found), MHEAP_OK);
    CHECK(found[0] == block && (size_t)found[1] == 64);
    CHECK(words[i] == 0 || words[i] > 64 || mheap_free(heap, (char *)block + words[i]) != MHEAP_OK);
  }
  CHECK_EQ(mheap_free(heap, block), MHEAP_OK);
  mheap_detach(heap, NULL);
}

static void the_trace_has_a_line_for_it(void) {
  mheap *heap = anonymous();
  char *text = NULL, line[64];
  size_t length;
  FILE *trace = open_memstream(&text, &length);
  CHECK_EQ(mheap_mtrace(heap, trace), MHEAP_OK);
  char *data = mh_hooks_malloc_at(heap, 48, 32, 8);
  CHECK_EQ(mheap_mtrace(heap, NULL), MHEAP_OK);
  fclose(trace);
  snprintf(line, sizeof line, "+ %p 0x30\n", (void *)data);
  CHECK_CONTAINS(text, line);
  free(text);
  CHECK_EQ(mheap_free(heap, data), MHEAP_OK);
  mheap_detach(heap, NULL);
}

/* What a heap leaves that was destroyed is no guard of those that get its memory. */
static void destroyed_guards_are_gone(void) {
  mheap *file = anonymous();
  for (int round = 0; round < 2; round++) {
    mheap *heap = mheap_new(file, 0, true, 0);
    CHECK_EQ(mheap_free(heap, mh_hooks_malloc_at(heap, 1, 16, 8)), MHEAP_OK);
    for (int i = 0; i < 500; i++) {
      size_t size = round == 0 ? 100 : 144;
      char *block = round == 0 ? mh_hooks_malloc_at(heap, size, 16, 8) : mheap_malloc(heap, size);
      REQUIRE(block != NULL);
      void *found[2];
      if (round == 0) continue;
      CHECK_EQ(mheap_visit_blocks(heap, note, found), MHEAP_OK);
      CHECK_EQ((uintptr_t)found[0] % 16, 0);
    }
    CHECK_EQ(mheap_destroy(heap), MHEAP_OK);
  }
  mheap_detach(file, NULL);
}

TEST_MAIN(TEST(every_alignment_and_offset_is_had), TEST(what_is_too_large_is_refused),
          TEST(resizing_keeps_the_contents), TEST(only_the_pointer_itself_is_taken),
          TEST(the_next_attach_frees_it), TEST(checking_finds_what_was_overwritten),
          TEST(hostile_first_words_are_harmless), TEST(the_trace_has_a_line_for_it),
          TEST(destroyed_guards_are_gone))
