/* compact.c: mheap_compact, killed before and behind each system call it makes, or told by each call of the
   operating system that it failed: what is left is a sound heap with the same in it, and nothing beside it that
   the next one does not remove.

     crash_compact DIRECTORY kills       three kinds of heaps, each killed at every stop
     crash_compact DIRECTORY errors      each call fails once, and from some time on
     crash_compact DIRECTORY control     the file is rewritten in place: that must be seen */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "inject.h"
#include "objects_kit.h"
#include "os.h"

enum { TEXTS = 300, MOST = 8 << 20 };

static char path[4096];
static char *content; /* of the file before */
static size_t length;
static unsigned bad;

static void complain(const char *what, const char *why) {
  bad++;
  if (bad < 20) printf("  %s: %s\n", what, why);
}

/* ---- heaps ---- */

static mheap *attach(mheap_mode mode) {
  mheap_error error;
  mheap *heap = mheap_open(path, &(mheap_options){.mode = mode, .relocate = true}, &error);
  if (heap == NULL) complain("it cannot be attached", error.text);
  return heap;
}

static void fill(mheap *heap) {
  kit kit = {.heap = heap};
  mh_space_init(&kit.space, heap);
  mh_dict root = kit_root(&kit);
  for (unsigned i = 0; i < TEXTS; i++) {
    mh_list list;
    mh_list_new(&kit.space, 0, &list);
    for (unsigned j = 0; j < 3; j++) mh_list_append(&list, kit_value(&kit.space, i + j));
    kit_set(&root, i, mh_word_ref(MH_TAG_LIST_REF, list.offset));
    kit_value(&kit.space, i);
  }
  for (unsigned i = 0; i < TEXTS; i++)
    if (i % 3 != 0) kit_delete(&root, i);
}

/* What is compacted into a new file; what has a journal with records; what is only trimmed. */
typedef struct scene {
  const char *name;
  mheap_mode mode;
  bool raw;
} scene;
static const scene scenes[] = {
    {"live", MHEAP_MODE_LIVE, false}, {"atomic", MHEAP_MODE_ATOMIC, false}, {"raw", MHEAP_MODE_LIVE, true}};
enum { SCENES = sizeof scenes / sizeof *scenes };

static void prepare(const scene *it) {
  unlink(path);
  mheap *heap = attach(it->mode);
  if (heap == NULL) exit(2);
  fill(heap);
  if (it->raw) mheap_setkey(heap, 0, memset(mheap_malloc(heap, 100), 7, 100));
  if (it->raw) mheap_free(heap, mheap_malloc(heap, 3 << 20));
  if (it->mode == MHEAP_MODE_ATOMIC) mheap_commit(heap, true);
  if (it->mode == MHEAP_MODE_ATOMIC) mheap_abandon(heap);
  else mheap_detach(heap, NULL);
  int fd = open(path, O_RDONLY);
  length = (size_t)read(fd, content, MOST);
  close(fd);
}

static void restore(void) {
  int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
  if (fd < 0 || write(fd, content, length) != (ssize_t)length) exit(2);
  close(fd);
}

/* ---- what is left ---- */

static unsigned others(void) {
  char directory[4096];
  snprintf(directory, sizeof directory, "%s", path);
  *strrchr(directory, '/') = '\0';
  unsigned count = 0;
  DIR *entries = opendir(directory);
  for (struct dirent *entry; (entry = readdir(entries)) != NULL;) count++;
  closedir(entries);
  return count - 3; /* itself, its parent, the file */
}

static bool is_filled(mheap *heap) {
  kit kit = {.heap = heap};
  mh_space_init(&kit.space, heap);
  mh_dict root;
  uint64_t word, count = 0;
  if (mh_root(&kit.space, false, &root) || mh_dict_length(&root, &count) || count != TEXTS / 3) return false;
  for (unsigned i = 0; i < TEXTS; i += 3) {
    mh_list list;
    mh_items items;
    if (kit_get(&root, i, &word) || mh_list_at(&kit.space, mh_word_offset(word), &list)) return false;
    if (mh_list_items(&list, &items) || items.count != 3) return false;
    for (unsigned j = 0; j < 3; j++)
      if (!kit_is_value(&kit.space, items.words[j], i + j)) return false;
  }
  return true;
}

static void judge(const scene *it, const char *when) {
  mheap *heap = attach(MHEAP_MODE_LIVE);
  if (heap == NULL) return;
  if (mheap_check(heap, NULL, NULL, NULL) != MHEAP_OK) complain(when, mheap_last_error(heap)->text);
  if (!is_filled(heap)) complain(when, "something else is in it");
  const char *block = it->raw ? mheap_getkey(heap, 0) : NULL;
  if (it->raw && (block == NULL || block[0] != 7 || block[99] != 7)) complain(when, "the raw block is gone");
  if (mheap_detach(heap, NULL) != MHEAP_OK) mheap_abandon(heap);
}

static void compact_again(const scene *it, const char *when) {
  mheap_error error;
  mheap_compacted done;
  if (mheap_compact(path, NULL, &done, &error) != MHEAP_OK) complain(when, error.text);
  else if (done.moved == it->raw) complain(when, "it was moved, or not");
  judge(it, when);
  if (others() != 0) complain(when, "another file is left");
}

/* ---- killed ---- */

static void rewrite_in_place(void) {
  int fd = open(path, O_WRONLY | O_TRUNC);
  for (size_t at = 0; at < length; at += 65536)
    if (write(fd, content + at, length - at < 65536 ? length - at : 65536) < 0) _exit(2);
  _exit(0);
}

static pid_t begin(bool in_place) {
  pid_t pid = fork();
  if (pid != 0) return pid;
  ptrace(PTRACE_TRACEME, 0, NULL, NULL);
  raise(SIGSTOP);
  if (in_place) rewrite_in_place();
  _exit(mheap_compact(path, NULL, NULL, NULL) == MHEAP_OK ? 0 : 1);
}

/* Before or behind the stop of this number; false: it ended before. */
static bool kill_at(unsigned number, bool in_place) {
  int status;
  pid_t pid = begin(in_place);
  waitpid(pid, &status, 0);
  for (unsigned i = 0; i < number; i++) {
    ptrace(PTRACE_SYSCALL, pid, NULL, NULL);
    waitpid(pid, &status, 0);
    if (WIFSTOPPED(status)) continue;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) complain("it failed", "by itself");
    return false;
  }
  kill(pid, SIGKILL);
  waitpid(pid, &status, 0);
  return true;
}

static unsigned kill_everywhere(const scene *it, bool in_place, unsigned *left) {
  unsigned number = 1;
  prepare(it);
  for (bool killed = true; killed; number++) {
    restore();
    killed = kill_at(number, in_place);
    *left += others() != 0;
    judge(it, "after a kill");
    if (!in_place) compact_again(it, "once more after a kill");
  }
  return number - 2;
}

static void kills(bool in_place) {
  for (int i = 0; i < (in_place ? 1 : SCENES); i++) {
    unsigned left = 0, count = kill_everywhere(&scenes[i], in_place, &left);
    printf("%s: %u kills, %u left a file for the next, %u bad\n", scenes[i].name, count, left, bad);
  }
}

/* ---- errors ---- */

/* Calls that inject.c does not know. */
static struct {
  int call, error;
  unsigned number, calls;
} other;
enum { BESIDE, ACCESS, NAME, RENAME, SYNC_NAME, OTHERS };

static int strike(int call) {
  return other.call == call && ++other.calls == other.number ? other.error : 0;
}

#define WRAP(call, name, parameters, arguments)            \
  __typeof__(name) __real_##name, __wrap_##name;           \
  int __wrap_##name parameters {                           \
    int failed = strike(call);                             \
    return failed != 0 ? failed : __real_##name arguments; \
  }

WRAP(BESIDE, mh_os_create_beside, (const char *name, int *fd, bool *named), (name, fd, named))
WRAP(ACCESS, mh_os_copy_access, (int from, int to), (from, to))
WRAP(NAME, mh_os_give_name, (int fd, const char *name), (fd, name))
WRAP(RENAME, mh_os_rename, (const char *from, const char *to, bool replace), (from, to, replace))
WRAP(SYNC_NAME, mh_os_sync_name, (const char *name), (name))

typedef struct tally {
  unsigned runs, refused;
} tally;

static void judge_error(const scene *it, mheap_err code, const mheap_error *error, tally *sum) {
  sum->runs++;
  sum->refused += code != MHEAP_OK;
  if (code != MHEAP_OK && strlen(error->text) < 20) complain("no reason is told", error->text);
  if (others() != 0) complain("after an error", "another file is left");
  judge(it, "after an error");
}

static mheap_err compact_with(const fault *it, uint64_t *calls, mheap_error *error) {
  restore();
  faults_begin(it);
  mheap_err code = mheap_compact(path, NULL, NULL, error);
  *calls = faults_end();
  return code;
}

static void fail_each(const scene *it, const fault *pattern, tally *sum) {
  fault now = *pattern;
  uint64_t count, calls;
  mheap_error error;
  if (compact_with(&now, &count, &error) != MHEAP_OK) complain("it failed by itself", error.text);
  for (now.number = 1; now.number <= count; now.number++) {
    mheap_err code = compact_with(&now, &calls, &error);
    judge_error(it, code, &error, sum);
  }
}

static void fail_others(const scene *it, tally *sum) {
  for (int call = 0; call < OTHERS; call++) {
    mheap_error error;
    restore();
    other.call = call;
    other.error = call == ACCESS ? EPERM : EIO;
    other.number = 1;
    other.calls = 0;
    mheap_err code = mheap_compact(path, NULL, NULL, &error);
    other.call = -1;
    if (other.calls > 0 && code == MHEAP_OK && call != SYNC_NAME) complain("an error is not told", "");
    judge_error(it, code, &error, sum);
  }
}

static void errors(void) {
  other.call = -1;
  for (int i = 0; i < SCENES; i++) {
    tally sum = {0};
    prepare(&scenes[i]);
    for (fault it = {0}; it.call < FAULT_CALLS; it.call++)
      for (int lasting = 0; lasting < 2; lasting++) {
        it.lasting = lasting != 0;
        it.error = it.call == FAULT_ALLOCATE || it.call == FAULT_WRITE ? ENOSPC
                   : it.call >= FAULT_MAP                             ? ENOMEM
                                                                       : EIO;
        fail_each(&scenes[i], &it, &sum);
      }
    fail_others(&scenes[i], &sum);
    printf("%s: %u runs, %u refused, %u bad\n", scenes[i].name, sum.runs, sum.refused, bad);
  }
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  setvbuf(stdout, NULL, _IOLBF, 0);
  snprintf(path, sizeof path, "%s/compact", argv[1]);
  mkdir(path, 0700);
  snprintf(path, sizeof path, "%s/compact/a.heap", argv[1]);
  content = malloc(MOST);
  other.call = -1;
  if (strcmp(argv[2], "errors") == 0) errors();
  else kills(strcmp(argv[2], "control") == 0);
  return bad > 0;
}
