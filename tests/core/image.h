/* image.h: heap files as bytes, for tests that change them: taking an image of a file, putting
   it back, comparing, sealing its checksums; and running what may crash in processes of its own.

   An image keeps only pages that are not zero, so that a sparse file costs what it holds. */
#ifndef MHEAP_TEST_IMAGE_H
#define MHEAP_TEST_IMAGE_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "crc32c.h"
#include "layout.h"
#include "mheap/mheap.h"
#include "test.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define TEST_SANITIZED 4 /* slower, and looking for what one thread cannot do */
#elif defined(__SANITIZE_ADDRESS__)
#define TEST_SANITIZED 1
#else
#define TEST_SANITIZED 0
#endif

/* ---- bytes of a file ---- */

typedef struct image {
  uint64_t size;             /* of the file */
  uint64_t pages;            /* that are kept */
  uint64_t *place;           /* of each */
  uint8_t (*bytes)[MH_PAGE]; /* of each */
} image;

static inline bool is_zero_page(const uint8_t *page) {
  return page[0] == 0 && memcmp(page, page + 1, MH_PAGE - 1) == 0;
}

static inline void image_keep(image *it, uint64_t place, const uint8_t *page) {
  if ((it->pages & (it->pages - 1)) == 0) { /* room for twice as many at every power of two */
    it->place = realloc(it->place, 2 * (it->pages + 1) * sizeof *it->place);
    it->bytes = realloc(it->bytes, 2 * (it->pages + 1) * sizeof *it->bytes);
  }
  it->place[it->pages] = place;
  memcpy(it->bytes[it->pages++], page, MH_PAGE);
}

/* Holes are skipped. */
static inline image image_of(int fd) {
  image it = {0};
  struct stat st;
  uint8_t page[MH_PAGE];
  if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) return it;
  it.size = (uint64_t)st.st_size;
  for (off_t at = lseek(fd, 0, SEEK_DATA); at >= 0; at = lseek(fd, at, SEEK_DATA)) {
    off_t end = lseek(fd, at, SEEK_HOLE);
    for (at -= at % MH_PAGE; at < end; at += MH_PAGE) {
      memset(page, 0, sizeof page);
      if (pread(fd, page, sizeof page, at) > 0 && !is_zero_page(page)) image_keep(&it, (uint64_t)at, page);
    }
  }
  return it;
}

static inline void image_free(image *it) {
  free(it->place);
  free(it->bytes);
}

static inline uint64_t image_page_bytes(const image *it, uint64_t i) {
  return it->size - it->place[i] < MH_PAGE ? it->size - it->place[i] : MH_PAGE;
}

/* Makes the file hold exactly the image. */
static inline void image_put(const image *it, int fd) {
  CHECK_EQ(ftruncate(fd, 0), 0);
  CHECK_EQ(ftruncate(fd, (off_t)it->size), 0);
  for (uint64_t i = 0; i < it->pages; i++) {
    size_t length = image_page_bytes(it, i);
    CHECK(pwrite(fd, it->bytes[i], length, (off_t)it->place[i]) == (ssize_t)length);
  }
}

/* Does the file hold exactly the image? The offset of the first difference, else UINT64_MAX. */
static inline uint64_t image_differs(const image *it, int fd) {
  image now = image_of(fd);
  uint64_t at = now.size != it->size ? now.size : UINT64_MAX;
  for (uint64_t i = 0; i < now.pages && at == UINT64_MAX; i++) {
    if (i >= it->pages || now.place[i] != it->place[i]) at = now.place[i];
    else if (memcmp(now.bytes[i], it->bytes[i], MH_PAGE) != 0) at = now.place[i];
  }
  if (at == UINT64_MAX && now.pages < it->pages) at = it->place[now.pages];
  image_free(&now);
  return at;
}

static inline uint64_t file_word(int fd, uint64_t at) {
  uint64_t word = 0;
  CHECK(pread(fd, &word, 8, (off_t)at) >= 0);
  return word;
}

/* `width` bytes of the word, 1 to 8. */
static inline void file_set(int fd, uint64_t at, uint64_t word, unsigned width) {
  CHECK(pwrite(fd, &word, width, (off_t)at) == (ssize_t)width);
}

/* Makes the identity's and the owner's checksum right for what they now cover. */
static inline void file_seal(int fd) {
  mh_superblock super;
  if (!CHECK(pread(fd, &super, sizeof super, 0) == sizeof super)) return;
  super.identity.checksum = mh_crc32c(&super.identity, offsetof(mh_identity, checksum));
  super.owner.checksum = mh_crc32c(&super.owner, offsetof(mh_owner, checksum));
  CHECK(pwrite(fd, &super, offsetof(mh_superblock, state), 0) == offsetof(mh_superblock, state));
}

/* A file in memory: no disk to wait for. */
static inline int memory_file(const char *name) {
  int fd = memfd_create(name, MFD_CLOEXEC);
  if (fd < 0) {
    perror("memfd_create");
    exit(2);
  }
  return fd;
}

/* ---- what may crash ---- */

typedef void trial_fun(void *arg, uint64_t number);
typedef void trial_name_fun(void *arg, uint64_t number, char *name, size_t size);

typedef struct trials {
  _Atomic uint64_t next; /* the trial that runs, or the count of all */
  _Atomic uint64_t refused[MHEAP_ERR_COUNT_];
  _Atomic uint64_t worked, failures; /* heaps that attached; checks that failed in a child */
  uint64_t crashed, hung;            /* children that did not come back */
} trials;

static inline trials *trials_new(void) {
  void *shared = mmap(NULL, sizeof(trials), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) exit(2);
  return shared;
}

static inline void trials_in_child(trials *it, trial_fun *run, void *arg, uint64_t count, unsigned seconds) {
  for (uint64_t i = it->next; i < count; i++) {
    unsigned before = test_failures;
    it->next = i;
    alarm(seconds);
    run(arg, i);
    it->failures += test_failures - before;
  }
  it->next = count;
  _exit(0);
}

static inline void trials_report(trials *it, trial_name_fun *name, void *arg, int status) {
  char text[256] = "";
  bool hung = WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM;
  name(arg, it->next, text, sizeof text);
  *(hung ? &it->hung : &it->crashed) += 1;
  fprintf(stderr, "  %s: %s %d\n", text,
          hung                  ? "hung, signal"
          : WIFSIGNALED(status) ? "signal"
                                : "exit",
          WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

/* Runs trials 0 to count - 1 in a child, in another where one crashed or took more than
   `seconds`; names each of those. Gives up after so many that they are all the same. */
static inline void trials_run(trials *it, trial_fun *run, trial_name_fun *name, void *arg, uint64_t count,
                              unsigned seconds) {
  enum { ENOUGH = 40 };
  it->next = 0;
  while (it->next < count && it->crashed + it->hung < ENOUGH) {
    int status;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) trials_in_child(it, run, arg, count, seconds);
    if (!CHECK(child > 0 && waitpid(child, &status, 0) == child)) return;
    if (it->next == count && WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
    trials_report(it, name, arg, status);
    it->next++;
  }
}

static inline uint64_t trials_refused(const trials *it) {
  uint64_t all = 0;
  for (int i = 0; i < MHEAP_ERR_COUNT_; i++) all += it->refused[i];
  return all;
}

static inline void trials_print(const trials *it) {
  printf("     %llu worked, refused:", (unsigned long long)it->worked);
  for (int i = 0; i < MHEAP_ERR_COUNT_; i++)
    if (it->refused[i] > 0)
      printf(" %s %llu", mheap_err_name((mheap_err)i), (unsigned long long)it->refused[i]);
  printf("; crashed %llu, hung %llu\n", (unsigned long long)it->crashed, (unsigned long long)it->hung);
}

/* ---- a child ---- */

/* Runs `act` in a child process; its exit status, or 256 + the signal that ended it. */
static inline int in_child_process(int (*act)(void *arg), void *arg) {
  int status;
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    unsigned before = test_failures;
    alarm(60);
    int result = act(arg);
    fflush(NULL);
    _exit(test_failures > before ? 99 : result);
  }
  if (child < 0 || waitpid(child, &status, 0) != child) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

#endif
