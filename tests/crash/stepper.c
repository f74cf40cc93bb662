/* stepper.c: what a SIGKILL leaves between any two instructions of one operation.

   A child attaches a heap, stops, and is led through the operation one instruction at a time;
   after each the file is compared with what it was before. Every image that it goes through is
   what a kill there would leave: each is written back into the same file, so that boot, device,
   inode and mount are the same, and judged by a fresh process. It must attach; mheap_check must
   find it sound; blocks of before and after are in use with their contents, no others are; what
   the roots lead to is what it was before, or what it is after; a collection frees every object
   that they do not lead to; the heap can be used, and everything in it given back.

     crash_stepper -l                       the operations
     crash_stepper DIRECTORY [NAME…]        step through these, or all; files go to DIRECTORY
     crash_stepper DIRECTORY --reversed NAME…   the controls: the recorded stores in another order,
     crash_stepper DIRECTORY --dropped NAME…    or one left out: the judge must catch some */
#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "heap.h"
#include "images.h"
#include "objects/collect.h"
#include "scenarios.h"

#define SLICE ((uint64_t)65536)
#define SEGMENT ((uint64_t)4 << 20)
#define INSTRUCTIONS_MOST 5000000
#define BLOCKS_MOST 8192

/* ---- what is in the heap before, and after ---- */

typedef struct state {
  uint64_t count, digest, places;
  audit_block blocks[BLOCKS_MOST]; /* by offset; explained: it is part of an object */
} state;

typedef struct shared { /* by the child and its judges */
  stage stage;
  state before, after;
} shared;

static void record(shared *sh, state *into) {
  audit a;
  audit_begin(&a, sh->stage.heap, false);
  into->digest = audit_objects(&a);
  if (a.complaints > 0 || a.count > BLOCKS_MOST)
    stage_fail("the heap is not sound before the operation", sh->stage.heap);
  into->count = a.count;
  into->places = a.places;
  if (a.count > 0) memcpy(into->blocks, a.blocks, a.count * sizeof *a.blocks);
  audit_end(&a);
}

static const audit_block *find(const state *in, uint64_t offset) {
  for (uint64_t i = 0; i < in->count; i++)
    if (in->blocks[i].offset == offset) return &in->blocks[i];
  return NULL;
}

/* ---- the child ---- */

static void run_child(shared *sh, const scenario *sc) {
  stage *s = &sh->stage;
  s->heap = heap_at(s->path, NULL);
  sc->prepare(s);
  if (!sc->attaches) record(sh, &sh->before);
  ptrace(PTRACE_TRACEME, 0, NULL, NULL);
  raise(SIGSTOP);
  sc->operate(s);
  atomic_store(&s->done, 1);
  if (!sc->detaches) record(sh, &sh->after);
  else sh->after = sh->before;
  if (sc->attaches) sh->before = sh->after;
  _exit(0);
}

/* ---- the judge: a process of its own for each image ---- */

static bool same_block(const audit_block *a, const audit_block *b) {
  return a != NULL && a->usable == b->usable;
}

/* Each block in use is one of before or of after, as large as it is there. */
static void judge_block(audit *a, const shared *sh, const audit_block *found) {
  const audit_block *before = find(&sh->before, found->offset), *after = find(&sh->after, found->offset);
  if (!same_block(before, found) && !same_block(after, found)) {
    audit_complain(a, "a block of %" PRIu64 " bytes at 0x%" PRIx64 " is neither of before nor of after",
                   found->usable, found->offset);
    return;
  }
  if (before == NULL || before->explained || before->object) return;
  uint64_t size = before->usable < found->usable ? before->usable : found->usable;
  if (!pattern_is_prefix(heap_base(a->heap) + found->offset, size, found->offset))
    audit_complain(a, "the block at 0x%" PRIx64 " lost its contents", found->offset);
}

static void judge_blocks(audit *a, const shared *sh) {
  uint64_t least = sh->before.count < sh->after.count ? sh->before.count : sh->after.count;
  for (size_t i = 0; i < a->count; i++) judge_block(a, sh, &a->blocks[i]);
  if (a->count < least) audit_complain(a, "%zu blocks are in use, not %" PRIu64 " or more", a->count, least);
  for (uint64_t i = 0; i < sh->before.count; i++) {
    uint64_t offset = sh->before.blocks[i].offset;
    if (find(&sh->after, offset) != NULL && audit_find(a, offset) == NULL)
      audit_complain(a, "the block at 0x%" PRIx64 " is not in use", offset);
  }
}

static bool holds_all(const audit *a, const state *blocks) {
  if (a->count != blocks->count) return false;
  for (size_t i = 0; i < a->count; i++)
    if (a->blocks[i].offset != blocks->blocks[i].offset) return false;
  return true;
}

static void judge_places(audit *a, const shared *sh) {
  if (a->places != sh->before.places && a->places != sh->after.places)
    audit_complain(a, "the heaps and arenas are neither those of before nor those of after");
  if (sh->stage.whole && !holds_all(a, &sh->before) && !holds_all(a, &sh->after))
    audit_complain(a, "%zu blocks are in use: some of those of before, some not", a->count);
}

static void judge_objects(audit *a, const shared *sh) {
  uint64_t digest = audit_objects(a);
  if (digest != sh->before.digest && digest != sh->after.digest)
    audit_complain(a, "the roots lead to what was there neither before nor after");
}

/* A collection leaves nothing but what can be reached. */
static void judge_collected(audit *a, const shared *sh) {
  mheap *heap = a->heap;
  bool quiet = a->quiet;
  mh_space space = {0};
  mh_collected collected = {0};
  mh_space_init(&space, heap);
  if (mh_collect_begin(&space) != MHEAP_OK || mh_collect_step(&space, 1e9, &collected) != MHEAP_OK)
    audit_complain(a, "collecting objects: %s", mheap_last_error(heap)->text);
  unsigned complaints = a->complaints;
  audit_end(a);
  audit_begin(a, heap, quiet);
  a->complaints += complaints;
  judge_objects(a, sh);
  for (size_t i = 0; i < a->count; i++)
    if (a->blocks[i].object && !a->blocks[i].explained)
      audit_complain(a, "the object at 0x%" PRIx64 " can not be reached, and was not collected",
                     a->blocks[i].offset);
}

/* Blocks of every kind can be had, and take nothing from those in use. */
static void use_heap(audit *a) {
  static const size_t sizes[] = {16, 64, 100, 1000, 1000, 5000, 60000, 200000, 5000000};
  char *blocks[sizeof sizes / sizeof sizes[0]];
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    blocks[i] = mheap_malloc(a->heap, sizes[i]);
    if (blocks[i] == NULL) {
      audit_complain(a, "malloc: %s", mheap_last_error(a->heap)->text);
      return;
    }
    if (audit_find(a, (uint64_t)(blocks[i] - heap_base(a->heap))) != NULL)
      audit_complain(a, "a block in use was handed out");
    memset(blocks[i], 0xee, sizes[i]);
  }
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
    if (mheap_free(a->heap, blocks[i]) != MHEAP_OK)
      audit_complain(a, "free: %s", mheap_last_error(a->heap)->text);
}

/* More heaps and arenas can be had too. */
static void use_places(audit *a) {
  mheap_arena arena;
  if (mheap_arena_reserve(a->heap, 1, &(mheap_arena_options){.exclusive = true}, &arena) != MHEAP_OK)
    audit_complain(a, "reserve: %s", mheap_last_error(a->heap)->text);
  mheap *inside = mheap_new(a->heap, 3, true, arena), *other = mheap_new(a->heap, 0, false, 0);
  if (inside == NULL || other == NULL || mheap_malloc(inside, 100) == NULL ||
      mheap_free(other, mheap_malloc(other, 5000)) != MHEAP_OK || mheap_destroy(inside) != MHEAP_OK ||
      mheap_delete(other) != MHEAP_OK || mheap_arena_release(arena) != MHEAP_OK)
    audit_complain(a, "another heap: %s", mheap_last_error(a->heap)->text);
}

/* What is not given back when every block is freed has leaked. */
static void empty_heap(audit *a) {
  mheap_setkey(a->heap, 7, NULL); /* what would lead nowhere */
  mh_superblock *super = a->heap->region->super;
  super->root = super->names = super->registry = 0;
  for (size_t i = 0; i < a->count; i++) audit_free(a, &a->blocks[i]);
  audit_drop_places(a);
  if (mheap_collect(a->heap, true) != MHEAP_OK)
    audit_complain(a, "collect: %s", mheap_last_error(a->heap)->text);
  if (heap_blocks(a->heap) != 0) audit_complain(a, "blocks are in use when all were freed");
  uint64_t least = a->heap->region->super->map_directory == 0 ? HEAP_MIN : 16 * SLICE; /* parts stay */
  if (heap_size(a->heap) > least)
    audit_complain(a, "the heap holds 0x%" PRIx64 " bytes when all blocks were freed", heap_size(a->heap));
}

static mheap *open_image(const shared *sh, audit *a) {
  mheap_error error;
  mheap *heap = mheap_open(sh->stage.path, NULL, &error);
  if (heap == NULL) audit_complain(a, "attach: %s", error.text);
  return heap;
}

static bool heap_is_detached(audit *a) {
  mheap_error error;
  if (mheap_detach(a->heap, &error) == MHEAP_OK) return true;
  audit_complain(a, "detach: %s", error.text);
  return false;
}

static int judge(const shared *sh, bool quiet) {
  audit a = {.quiet = quiet};
  mheap *heap = open_image(sh, &a);
  if (heap == NULL) return 1;
  audit_begin(&a, heap, quiet);
  judge_blocks(&a, sh);
  judge_objects(&a, sh);
  judge_places(&a, sh);
  if (a.complaints == 0) judge_collected(&a, sh);
  if (a.complaints > 0) return 1;
  use_heap(&a);
  use_places(&a);
  judge_blocks(&a, sh);
  empty_heap(&a);
  unsigned complaints = a.complaints;
  if (!heap_is_detached(&a)) return 1;
  audit_end(&a);
  heap = open_image(sh, &a);
  if (heap == NULL) return 1;
  audit_begin(&a, heap, quiet);
  return a.complaints + complaints > 0;
}

static bool is_good(const shared *sh, bool quiet) {
  int status;
  fflush(NULL);
  pid_t pid = fork();
  if (pid == 0) {
    alarm(30);
    _exit(judge(sh, quiet));
  }
  if (pid < 0 || waitpid(pid, &status, 0) != pid) return false;
  if (WIFSIGNALED(status) && !quiet) fprintf(stderr, "the judge died of signal %d\n", WTERMSIG(status));
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* ---- stepping ---- */

/* Bookkeeping, the first slices of each segment, and of large blocks, whose other slices are
   left out. That nothing else was written is found out in the end. */
static void choose_what_to_watch(images *im, const state *before) {
  images_watch(im, 0, 16 * SLICE, true);
  for (uint64_t at = SLICE + SEGMENT; at < SLICE + 6 * SEGMENT; at += SEGMENT)
    images_watch(im, at, at < 2 * SEGMENT ? 4 * SLICE : 1, true);
  for (uint64_t i = 0; i < before->count; i++)
    if (before->blocks[i].usable >= 2 * SLICE)
      images_watch(im, before->blocks[i].offset + SLICE, before->blocks[i].usable / SLICE * SLICE - SLICE,
                   false);
}

static bool child_stops(pid_t pid, int *signal_number) {
  int status;
  if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status)) return false;
  *signal_number = WSTOPSIG(status);
  return true;
}

static uint64_t program_counter(pid_t pid) {
  struct user_regs_struct registers;
  struct iovec to = {&registers, sizeof registers};
  if (ptrace(PTRACE_GETREGSET, pid, (void *)NT_PRSTATUS, &to) != 0) return 0;
#if defined(__x86_64__)
  return registers.rip;
#else
  return registers.pc;
#endif
}

/* The kernel's clock reads again when a tick came between: comparing there would never let it
   through. It writes to no file. */
static bool is_in_the_kernels_clock(pid_t pid) {
  uint64_t start = getauxval(AT_SYSINFO_EHDR), at = program_counter(pid);
  return at >= start && at < start + 4 * 4096;
}

/* Leads the child through its operation; instructions it took, 0: it did not get through. */
static uint64_t step_through(pid_t pid, const shared *sh, images *im) {
  int got;
  for (uint64_t n = 1; n < INSTRUCTIONS_MOST; n++) {
    if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) != 0 || !child_stops(pid, &got)) return 0;
    if (got != SIGTRAP) {
      fprintf(stderr, "the child got signal %d\n", got);
      return 0;
    }
    if (!is_in_the_kernels_clock(pid)) images_step(im, n);
    if (atomic_load(&sh->stage.done) == 1) return n;
  }
  return 0;
}

static bool finish_child(pid_t pid) {
  int status;
  return ptrace(PTRACE_DETACH, pid, NULL, NULL) == 0 && waitpid(pid, &status, 0) == pid &&
         WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Runs the scenario and records its images; they begin with *base. */
static uint64_t record_images(shared *sh, const scenario *sc, int fd, images *im, image_base *base) {
  int got;
  uint64_t instructions = 0;
  fflush(NULL);
  pid_t pid = fork();
  if (pid == 0) run_child(sh, sc);
  if (pid < 0 || !child_stops(pid, &got)) return 0;
  images_begin(im, fd);
  choose_what_to_watch(im, &sh->before);
  *base = images_base(im);
  instructions = step_through(pid, sh, im);
  bool complete = images_are_complete(im);
  if (!complete) fprintf(stderr, "%s: the operation wrote where nobody looked\n", sc->name);
  if (instructions == 0) kill(pid, SIGKILL);
  bool finished = finish_child(pid);
  if (!finished) fprintf(stderr, "%s: the child did not finish\n", sc->name);
  return complete && finished ? instructions : 0;
}

/* ---- what is done with the images ---- */

static unsigned judge_all(const shared *sh, const scenario *sc, images *im, const image_base *base) {
  unsigned bad = 0;
  images_rewind(im, base);
  for (size_t i = 0; i <= im->count; i++) {
    images_write(im);
    if (!is_good(sh, false)) {
      bad++;
      fprintf(stderr, "%s: the image behind change %zu of %zu is bad\n", sc->name, i, im->count);
    }
    if (i < im->count) images_apply(im, i);
  }
  return bad;
}

static unsigned caught_reversed(const shared *sh, images *im, const image_base *base) {
  unsigned caught = 0;
  uint64_t size = im->changes[im->count - 1].size;
  images_rewind(im, base);
  images_resize(im, size);
  for (size_t i = im->count; i-- > 1;) { /* all of them are the image of after, in any order */
    images_apply_words(im, i);
    images_write(im);
    caught += !is_good(sh, true);
  }
  return caught;
}

static unsigned caught_dropped(const shared *sh, images *im, const image_base *base) {
  unsigned caught = 0;
  for (size_t dropped = 0; dropped < im->count; dropped++) {
    images_rewind(im, base);
    for (size_t i = 0; i < im->count; i++) {
      images_resize(im, im->changes[i].size);
      if (i != dropped) images_apply_words(im, i);
    }
    images_write(im);
    caught += !is_good(sh, true);
  }
  return caught;
}

typedef enum purpose { JUDGE, REVERSED, DROPPED } purpose;

static bool use_images(const shared *sh, const scenario *sc, purpose what, images *im, const image_base *base,
                       uint64_t instructions) {
  if (what == JUDGE) {
    unsigned bad = judge_all(sh, sc, im, base);
    printf("%s: %zu images in %" PRIu64 " instructions, %u bad\n", sc->name, im->count, instructions, bad);
    return bad == 0;
  }
  unsigned caught = im->count == 0     ? 0
                    : what == REVERSED ? caught_reversed(sh, im, base)
                                       : caught_dropped(sh, im, base);
  printf("%s: %zu images %s, %u caught\n", sc->name, im->count, what == REVERSED ? "reversed" : "dropped",
         caught);
  return caught > 0;
}

static bool run_scenario(const scenario *sc, purpose what, const char *path) {
  shared *sh = mmap(NULL, sizeof *sh, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  images im = {0};
  image_base base = {0};
  if (sh == MAP_FAILED || fd < 0) {
    perror(path);
    return false;
  }
  sh->stage.path = path;
  uint64_t instructions = record_images(sh, sc, fd, &im, &base);
  bool ok = instructions > 0 && use_images(sh, sc, what, &im, &base, instructions);
  if (instructions == 0) printf("%s: not stepped through\n", sc->name);
  fflush(stdout);
  if (base.bytes != NULL) images_base_end(&base);
  if (im.now != NULL) images_end(&im);
  munmap(sh, sizeof *sh);
  close(fd);
  unlink(path);
  return ok;
}

/* ---- the command ---- */

/* Stopping and going on is quicker on one processor. */
static void stay_on_one_processor(void) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(sched_getcpu(), &set);
  sched_setaffinity(0, sizeof set, &set);
}

static bool is_wanted(const scenario *sc, int count, char **names) {
  if (count == 0) return true;
  for (int i = 0; i < count; i++)
    if (strcmp(sc->name, names[i]) == 0) return true;
  return false;
}

int main(int argc, char **argv) {
  const scenario *const tables[] = {raw_scenarios, object_scenarios, record_scenarios, heap_scenarios};
  bool list = argc == 2 && strcmp(argv[1], "-l") == 0;
  purpose what = JUDGE;
  unsigned run = 0, failed = 0;
  char path[4096];
  if (argc < 2) {
    fprintf(stderr, "usage: crash_stepper -l | DIRECTORY [--reversed | --dropped] [NAME...]\n");
    return 2;
  }
  snprintf(path, sizeof path, "%s/stepper-%d.heap", argv[1], (int)getpid());
  int first = 2;
  if (argc > 2 && strcmp(argv[2], "--reversed") == 0) what = REVERSED, first = 3;
  if (argc > 2 && strcmp(argv[2], "--dropped") == 0) what = DROPPED, first = 3;
  if (!list) stay_on_one_processor();
  for (size_t t = 0; t < sizeof tables / sizeof tables[0]; t++) {
    for (const scenario *sc = tables[t]; sc->name != NULL; sc++) {
      if (list) puts(sc->name);
      if (list || !is_wanted(sc, argc - first, argv + first)) continue;
      run++;
      failed += !run_scenario(sc, what, path);
    }
  }
  if (!list) printf("%u operations, %u failed\n", run, failed);
  return list ? 0 : run == 0 ? 2 : failed > 0;
}
