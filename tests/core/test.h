/* test.h: what a unit of the C core is written with.

   A unit is one program, driven without Python:

     #include "test.h"

     static void sizes_round_up(void) {
       CHECK(mheap_good_size(1) == 16);
       CHECK_EQ(mheap_good_size(17), 32);
     }

     TEST_MAIN(TEST(sizes_round_up))

   A failed check is printed with its place and the test goes on; REQUIRE ends the test
   (from the test's own function only). The program prints "N passed, N failed" and exits
   with 1 when anything failed. Arguments choose tests by name; "-l" lists them. */
#ifndef MHEAP_TEST_H
#define MHEAP_TEST_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct test_case {
  const char *name;
  void (*run)(void);
} test_case;

/* Threads of a test may fail checks too. */
static _Atomic unsigned test_failures;

static inline bool test_check(bool ok, const char *file, int line, const char *text) {
  if (ok) return true;
  test_failures++;
  fprintf(stderr, "%s:%d: failed: %s\n", file, line, text);
  return false;
}

static inline bool test_check_eq(uint64_t left, uint64_t right, const char *file, int line,
                                 const char *text) {
  if (left == right) return true;
  test_failures++;
  fprintf(stderr, "%s:%d: failed: %s: %llu (0x%llx) is not %llu (0x%llx)\n", file, line, text,
          (unsigned long long)left, (unsigned long long)left, (unsigned long long)right,
          (unsigned long long)right);
  return false;
}

static inline bool test_check_str(const char *left, const char *right, const char *file, int line,
                                  const char *text) {
  if (left != NULL && right != NULL && strcmp(left, right) == 0) return true;
  test_failures++;
  fprintf(stderr, "%s:%d: failed: %s: \"%s\" is not \"%s\"\n", file, line, text, left ? left : "(null)",
          right ? right : "(null)");
  return false;
}

static inline bool test_check_contains(const char *text, const char *part, const char *file, int line,
                                       const char *what) {
  if (text != NULL && strstr(text, part) != NULL) return true;
  test_failures++;
  fprintf(stderr, "%s:%d: failed: %s: \"%s\" lacks \"%s\"\n", file, line, what, text ? text : "(null)", part);
  return false;
}

#define CHECK(condition) test_check((condition), __FILE__, __LINE__, #condition)
#define CHECK_EQ(left, right) \
  test_check_eq((uint64_t)(left), (uint64_t)(right), __FILE__, __LINE__, #left " == " #right)
#define CHECK_STR(left, right) test_check_str((left), (right), __FILE__, __LINE__, #left " == " #right)
#define CHECK_CONTAINS(text, part) \
  test_check_contains((text), (part), __FILE__, __LINE__, #text " contains " #part)
#define REQUIRE(condition) \
  do { \
    if (!CHECK(condition)) return; \
  } while (0)
#define REQUIRE_EQ(left, right) \
  do { \
    if (!CHECK_EQ(left, right)) return; \
  } while (0)

static char test_directory_made[512];

/* A directory of this program's own, for heap files; in TMPDIR, gone when main returns. */
static inline const char *test_directory(void) {
  char *path = test_directory_made;
  if (path[0] != 0) return path;
  const char *base = getenv("TMPDIR");
  snprintf(path, sizeof test_directory_made, "%s/mheap-unit-XXXXXX", base != NULL ? base : "/tmp");
  if (mkdtemp(path) == NULL) {
    perror(path);
    exit(2);
  }
  return path;
}

static inline void test_directory_remove(void) {
  if (test_directory_made[0] == 0) return;
  char command[600];
  snprintf(command, sizeof command, "rm -rf '%s'", test_directory_made);
  if (system(command) != 0) fprintf(stderr, "cannot remove %s\n", test_directory_made);
}

/* `name` in that directory; good until the eighth call from then. */
static inline const char *test_path(const char *name) {
  static char paths[8][1024];
  static unsigned turn;
  char *path = paths[turn++ % 8];
  snprintf(path, sizeof paths[0], "%s/%s", test_directory(), name);
  return path;
}

static inline bool test_chosen(const char *name, int argc, char **argv) {
  if (argc < 2) return true;
  for (int i = 1; i < argc; i++)
    if (strcmp(argv[i], name) == 0) return true;
  return false;
}

static inline int test_run_all(const test_case *cases, size_t count, int argc, char **argv) {
  unsigned passed = 0, failed = 0;
  if (argc == 2 && strcmp(argv[1], "-l") == 0) {
    for (size_t i = 0; i < count; i++) puts(cases[i].name);
    return 0;
  }
  for (size_t i = 0; i < count; i++) {
    if (!test_chosen(cases[i].name, argc, argv)) continue;
    unsigned before = test_failures;
    cases[i].run();
    bool ok = test_failures == before;
    *(ok ? &passed : &failed) += 1;
    printf("%s %s\n", ok ? "ok  " : "FAIL", cases[i].name);
    fflush(stdout);
  }
  printf("%u passed, %u failed\n", passed, failed);
  if (passed + failed == 0) {
    fprintf(stderr, "no such test\n");
    return 2;
  }
  test_directory_remove();
  return failed != 0;
}

#define TEST(function) {#function, function}
#define TEST_MAIN(...) \
  int main(int argc, char **argv) { \
    static const test_case cases[] = {__VA_ARGS__}; \
    return test_run_all(cases, sizeof cases / sizeof cases[0], argc, argv); \
  }

#endif
