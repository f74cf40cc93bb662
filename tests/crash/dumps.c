/* dumps.c: dumps that are killed, or that fail, at any call of the operating system.

   dumps kill DIR    the k-th call is the process's last, for every k, before it and (a write: in its middle)
                     behind it: the file is the old one or the new one, and what is left beside it is no heap,
                     or all of the new one; the next dump clears it away
   dumps fail DIR    the k-th call fails, for every k: that is said, and nothing is left
   dumps order DIR   prints the calls in their order
   dumps early DIR   a control: as kill, but the first page is there from the beginning

   Prints what it saw; exit code 1 when something was wrong. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mheap/mheap.h"
#include "os.h"

enum { BLOCKS = 12, BYTES = 300000 };

static char path[2048], left[2048], model[2048];
static bool counting, behind, fails, tells, early;
static unsigned number, deadly; /* calls so far; the one that kills, or fails */

/* ---- the wrappers ---- */

/* Is this the one? A kill before it happens here. */
static bool is_deadly(const char *name) {
  if (!counting) return false;
  if (tells) printf("%s\n", name);
  if (++number != deadly) return false;
  if (!fails && !behind) raise(SIGKILL);
  return true;
}

static int end(bool deadly_one, int result) {
  if (deadly_one) raise(SIGKILL);
  return result;
}

#define WRAP(name, parameters, arguments)                         \
  __typeof__(mh_os_##name) __real_mh_os_##name, __wrap_mh_os_##name; \
  int __wrap_mh_os_##name parameters {                            \
    bool it = is_deadly(#name);                                   \
    return it && fails ? EIO : end(it, __real_mh_os_##name arguments); \
  }

WRAP(truncate, (int fd, uint64_t size), (fd, size))
WRAP(sync, (int fd), (fd))
WRAP(sync_name, (const char *name), (name))
WRAP(create, (const char *name, int *fd), (name, fd))
WRAP(open_no_link, (const char *name, int *fd), (name, fd))
WRAP(rename, (const char *from, const char *to, bool replace), (from, to, replace))
WRAP(copy_permissions, (int from, int to), (from, to))

int __real_mh_os_write(int fd, const void *buffer, size_t length, uint64_t offset);
int __wrap_mh_os_write(int fd, const void *buffer, size_t length, uint64_t offset);

/* Instead of the mark, the page that comes last. */
static int write_early(int fd) {
  static char page[4096];
  int from = open(model, O_RDONLY);
  bool got = read(from, page, sizeof page) == sizeof page;
  close(from);
  return got ? __real_mh_os_write(fd, page, sizeof page, 0) : EIO;
}

int __wrap_mh_os_write(int fd, const void *buffer, size_t length, uint64_t offset) {
  bool mark = counting && offset == 0 && length == 8;
  bool it = is_deadly(mark ? "mark" : offset == 0 && counting ? "first page" : "write");
  if (mark && early) return end(it, write_early(fd));
  if (it && fails) return ENOSPC;
  if (it) __real_mh_os_write(fd, buffer, length / 2, offset);
  return end(it, __real_mh_os_write(fd, buffer, length, offset));
}

/* ---- one dump ---- */

static mheap *make(char mark) {
  mheap *heap = mheap_attach(-1, NULL, NULL);
  if (heap == NULL) exit(2);
  for (int i = 0; i < BLOCKS; i++) {
    char *block = mheap_malloc(heap, BYTES);
    memset(block, mark + i, BYTES);
    mheap_setkey(heap, i, block);
  }
  return heap;
}

static mheap_err dump(mheap *heap) {
  number = 0;
  counting = true;
  mheap_err code = mheap_dump(heap, path, NULL);
  counting = false;
  return code;
}

/* ---- judging ---- */

static unsigned olds, news, wholes, lefts, bad;

static void complain(const char *what) {
  printf("call %u%s: %s\n", deadly, behind ? ", behind" : "", what);
  bad++;
}

/* What a heap was made with; 0: it is no heap, *attached false, or is not whole. */
static char mark_of(const char *name, bool *attached) {
  const mheap_options elsewhere = {.mode = MHEAP_MODE_SCRATCH, .relocate = true};
  mheap *heap = mheap_open(name, &elsewhere, NULL);
  *attached = heap != NULL;
  if (heap == NULL) return 0;
  char mark = 0;
  bool whole = mheap_check(heap, NULL, NULL, NULL) == MHEAP_OK;
  for (int i = 0; whole && i < BLOCKS; i++) {
    const char *block = mheap_getkey(heap, i);
    whole = block != NULL && mheap_usable_size(heap, (void *)block) >= BYTES;
    if (whole && i == 0) mark = block[0];
    for (int j = 0; whole && j < BYTES; j++) whole = block[j] == mark + i;
  }
  mheap_abandon(heap);
  return whole ? mark : 0;
}

static void judge(mheap *heap) {
  bool attached;
  struct stat st;
  char mark = mark_of(path, &attached);
  if (mark == 'A') olds++;
  else if (mark == 'a') news++;
  else complain("the file is neither the old one nor the new one");
  if (lstat(left, &st) == 0) {
    lefts++;
    mark = mark_of(left, &attached);
    if (attached && mark != 'a') complain("what is left is taken for a heap");
    wholes += attached;
  }
  if (mheap_dump(heap, path, NULL) != MHEAP_OK) complain(mheap_last_error(heap)->text);
  else if (mark_of(path, &attached) != 'a') complain("the next dump is not what it should be");
  if (lstat(left, &st) == 0) complain("the next dump does not clear it away");
}

static void put_old(mheap *old) {
  if (mheap_dump(old, path, NULL) != MHEAP_OK) exit(2);
}

/* ---- all calls ---- */

/* Did the child go to the end? */
static bool child_ended(void) {
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    mheap *own = make('a');
    _exit(dump(own) == MHEAP_OK ? 0 : 3);
  }
  int status;
  if (waitpid(child, &status, 0) != child) exit(2);
  if (WIFEXITED(status) && WEXITSTATUS(status) != 0) complain("a dump failed");
  return WIFEXITED(status);
}

static void kill_at_each(mheap *old, mheap *new) {
  bool ended = false;
  for (deadly = 1; !ended; deadly++)
    for (int after = 0; after < 2 && !ended; after++) {
      behind = after != 0;
      put_old(old);
      ended = child_ended();
      judge(new);
    }
  printf("kill: %u calls, %u old, %u new, %u left, %u of them whole, %u bad\n", deadly - 2, olds, news, lefts,
         wholes, bad);
}

static void fail_at_each(mheap *old, mheap *new) {
  unsigned told = 0, late = 0;
  bool attached;
  struct stat st;
  fails = true;
  for (deadly = 1;; deadly++) {
    put_old(old);
    mheap_err code = dump(new);
    if (number < deadly) break;
    told += code != MHEAP_OK;
    char mark = mark_of(path, &attached);
    late += mark == 'a';
    if (code == MHEAP_OK) complain("nothing was said");
    if (mark != 'A' && mark != 'a') complain("the file is not what it was");
    if (lstat(left, &st) == 0) complain("something is left");
  }
  printf("fail: %u calls, %u told, %u of them with the new file, %u bad\n", deadly - 1, told, late, bad);
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  snprintf(path, sizeof path, "%s/x.heap", argv[2]);
  snprintf(left, sizeof left, "%s/.x.heap.mheap-dump", argv[2]);
  snprintf(model, sizeof model, "%s/model.heap", argv[2]);
  mheap *old = make('A'), *new = make('a');
  early = strcmp(argv[1], "early") == 0;
  if (mheap_dump(new, model, NULL) != MHEAP_OK) return 2;
  if (strcmp(argv[1], "fail") == 0) fail_at_each(old, new);
  else if (strcmp(argv[1], "order") == 0) put_old(old), tells = true, dump(new);
  else kill_at_each(old, new);
  return bad > 0;
}
