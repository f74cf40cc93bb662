/* sigkill.c: kills at random instants. A child works on a heap and writes down what was
   acknowledged (ledger.h); SIGKILL comes; the parent attaches the heap and compares: it must
   attach, be sound, hold every acknowledged block and object, and not one block more than the
   operation in flight explains. The next child goes on with what was left.

     crash_sigkill DIRECTORY [--kills N] [--threads 1|2] [--seed N]
     crash_sigkill DIRECTORY --control cleared|leaked|overwritten|dangling   must be caught */
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "heap.h"
#include "ledger.h"
#include "map.h"
#include "objects/value.h"
#include "segment.h"

#define MOST ((size_t)5 << 20) /* bytes in a block */
#define MICROSECONDS 1500      /* a child lives, at most, once it is at work */

typedef struct work {
  ledger *ledger;
  const char *path;
  mheap *heap, **heaps; /* of each place, for all threads */
  mheap_arena *arenas;
  mh_space space;
  uint64_t random;
  unsigned thread;
} work;

/* ---- the child: what it does is written down first ---- */

static void child_fail(const char *what, mheap *heap) {
  fprintf(stderr, "the child: %s: %s\n", what, heap != NULL ? mheap_last_error(heap)->text : "");
  _exit(3);
}

static op *begin(work *w, op_kind kind, unsigned slot, uint64_t size) {
  op *o = &w->ledger->ops[w->thread];
  o->kind = kind;
  o->slot = slot;
  o->size = size;
  o->result = 0;
  atomic_store(&o->phase, IN_CALL);
  return o;
}

static void acknowledge(work *w, op *o) {
  atomic_store(&o->phase, IDLE);
  atomic_fetch_add_explicit(&w->ledger->acknowledged, 1, memory_order_relaxed);
}

/* A call returned this block: it is filled, and the slot's from then on. An arena may be full. */
static void accept(work *w, op *o, model_block *slot, void *block) {
  unsigned home = w->ledger->home[o->slot];
  if (block == NULL && place_has_arena(home) && mheap_last_error(w->heaps[home])->code == MHEAP_ERR_FULL) {
    acknowledge(w, o);
    return;
  }
  if (block == NULL) child_fail("malloc", w->heaps[home]);
  uint64_t seed = random_next(&w->random);
  o->result = (uint64_t)((char *)block - heap_base(w->heap));
  atomic_store(&o->phase, RETURNED);
  atomic_store(&o->phase, FILLING);
  pattern_fill(block, o->size, seed);
  *slot = (model_block){o->result, o->size, seed};
  acknowledge(w, o);
}

static void do_malloc(work *w, unsigned i) {
  size_t size = random_size(&w->random, MOST), alignment = (size_t)16 << random_below(&w->random, 17);
  uint64_t how = random_below(&w->random, 8);
  op *o = begin(w, OP_MALLOC, i, size);
  mheap *heap = w->heaps[w->ledger->home[i]];
  void *block = how == 0   ? mheap_calloc(heap, size, 1)
                : how == 1 ? mheap_memalign(heap, alignment, size)
                           : mheap_malloc(heap, size);
  accept(w, o, &w->ledger->slots[i], block);
}

static void do_realloc(work *w, unsigned i) {
  model_block *slot = &w->ledger->slots[i];
  char *block = heap_base(w->heap) + slot->offset;
  op *o = begin(w, OP_REALLOC, i, random_size(&w->random, MOST));
  accept(w, o, slot, mheap_realloc(w->heaps[w->ledger->home[i]], block, o->size));
}

static void do_free(work *w, unsigned i) {
  model_block *slot = &w->ledger->slots[i];
  char *block = heap_base(w->heap) + slot->offset;
  op *o = begin(w, OP_FREE, i, 0);
  mheap *heap = w->heaps[w->ledger->home[i]];
  if ((i % 2 ? mheap_free(heap, block) : mheap_free_any(block)) != MHEAP_OK) child_fail("free", heap);
  atomic_store(&o->phase, RETURNED);
  slot->offset = 0;
  acknowledge(w, o);
}

/* The place of a slot's block, or one for its next; LEDGER_PLACES: another thread is at work there. */
static unsigned take_home(work *w, unsigned i) {
  ledger *l = w->ledger;
  unsigned home = l->home[i];
  if (l->slots[i].offset == 0) home = (unsigned)random_below(&w->random, LEDGER_PLACES);
  if (home == 0) {
    l->home[i] = 0;
    return 0;
  }
  if (atomic_exchange(&l->places[home].taken, true)) return LEDGER_PLACES;
  bool good = l->places[home].row != 0 && (l->slots[i].offset == 0 || l->home[i] == home);
  if (good) l->home[i] = home;
  else atomic_store(&l->places[home].taken, false);
  return good ? home : LEDGER_PLACES;
}

static void do_block(work *w) {
  unsigned i = (unsigned)random_below(&w->random, LEDGER_SLOTS);
  if (atomic_exchange_explicit(&w->ledger->taken[i], true, memory_order_acquire)) return;
  unsigned home = take_home(w, i);
  if (home < LEDGER_PLACES) {
    if (w->ledger->slots[i].offset == 0) do_malloc(w, i);
    else if (random_below(&w->random, 4) == 0) do_realloc(w, i);
    else do_free(w, i);
    if (home != 0) atomic_store(&w->ledger->places[home].taken, false);
  }
  atomic_store_explicit(&w->ledger->taken[i], false, memory_order_release);
}

/* ---- heaps and arenas come and go ---- */

static void do_new(work *w, unsigned i) {
  op *o = begin(w, OP_NEW, i, 0);
  mheap_arena *arena = &w->arenas[i];
  *arena = 0;
  const mheap_arena_options how = {.exclusive = true, .commit = i == 3};
  if (place_has_arena(i) && mheap_arena_reserve(w->heap, (size_t)i * 4 << 20, &how, arena) != MHEAP_OK)
    child_fail("reserve", w->heap);
  w->heaps[i] = mheap_new(w->heap, (int)(i / 3), true, *arena);
  if (w->heaps[i] == NULL) child_fail("new", w->heap);
  o->result = w->heaps[i]->row;
  atomic_store(&o->phase, RETURNED);
  w->ledger->places[i].row = (uint32_t)o->result;
  acknowledge(w, o);
}

/* The slots of its blocks cannot be taken meanwhile: that takes the place too. */
static void do_end(work *w, unsigned i, bool destroy) {
  ledger *l = w->ledger;
  op *o = begin(w, destroy ? OP_DESTROY : OP_DELETE, i, 0);
  if ((destroy ? mheap_destroy(w->heaps[i]) : mheap_delete(w->heaps[i])) != MHEAP_OK)
    child_fail("destroy or delete", w->heaps[i]);
  if (place_has_arena(i) && mheap_arena_release(w->arenas[i]) != MHEAP_OK) child_fail("release", NULL);
  atomic_store(&o->phase, RETURNED);
  for (unsigned slot = 0; slot < LEDGER_SLOTS; slot++) {
    if (l->home[slot] != i) continue;
    if (destroy) l->slots[slot].offset = 0;
    l->home[slot] = 0;
  }
  l->places[i].row = 0;
  acknowledge(w, o);
}

static void do_place(work *w) {
  unsigned i = 1 + (unsigned)random_below(&w->random, LEDGER_PLACES - 1);
  if (atomic_exchange(&w->ledger->places[i].taken, true)) return;
  if (w->ledger->places[i].row == 0) do_new(w, i);
  else do_end(w, i, place_has_arena(i) || random_below(&w->random, 2) == 0);
  atomic_store(&w->ledger->places[i].taken, false);
}

static void do_key(work *w) {
  unsigned number = (unsigned)random_below(&w->random, LEDGER_KEYS);
  uint64_t *version = &w->ledger->versions[number], word;
  char text[64];
  mh_dict root;
  mh_key key;
  mheap_err code;
  bool remove = *version != 0 && random_below(&w->random, 3) == 0;
  op *o = begin(w, OP_SET, number, remove ? 0 : 1 + random_below(&w->random, 1000000));
  code = mh_root(&w->space, true, &root);
  if (code) child_fail("root", w->heap);
  ledger_key(&w->space, &key, number, text);
  if (!remove) code = ledger_value(&w->space, o->size, &word);
  if (!code) code = remove ? mh_dict_delete(&root, &key) : mh_dict_set(&root, &key, word);
  if (code) child_fail("dict", w->heap);
  atomic_store(&o->phase, RETURNED);
  *version = o->size;
  acknowledge(w, o);
}

static mh_list get_list(work *w, mh_dict *root) {
  uint64_t word;
  mh_list list;
  mh_key key;
  mh_key_text(&w->space, &key, MH_TAG_STR_REF, 1, "list", 4);
  mheap_err code = mh_dict_get(root, &key, &word);
  if (code == MHEAP_OK) code = mh_list_at(&w->space, mh_word_offset(word), &list);
  else if (mh_list_new(&w->space, 0, &list) == MHEAP_OK)
    code = mh_dict_set(root, &key, mh_word_ref(MH_TAG_LIST_REF, list.offset));
  if (code) child_fail("list", w->heap);
  return list;
}

static void do_list(work *w) {
  uint64_t count = w->ledger->items, word, how = random_below(&w->random, 100);
  bool append = count == 0 || (how < 70 && count < LEDGER_ITEMS);
  op *o = begin(w, OP_LIST, 0, append ? count + 1 : how == 99 ? 0 : count - 1);
  mh_dict root;
  if (mh_root(&w->space, true, &root) != MHEAP_OK) child_fail("root", w->heap);
  mh_list list = get_list(w, &root);
  mheap_err code = append ? ledger_value(&w->space, count, &word) : MHEAP_OK;
  if (!code)
    code = append ? mh_list_append(&list, word) : mh_list_splice(&list, o->size, count - o->size, NULL, 0);
  if (code) child_fail("list", w->heap);
  atomic_store(&o->phase, RETURNED);
  w->ledger->has_list = true;
  w->ledger->items = o->size;
  acknowledge(w, o);
}

static void do_collect(work *w) {
  op *o = begin(w, OP_COLLECT, 0, 0);
  if (mheap_collect(w->heap, random_below(&w->random, 2) == 0) != MHEAP_OK) child_fail("collect", w->heap);
  acknowledge(w, o);
}

static void *work_on_blocks(void *arg) {
  work *w = arg;
  for (uint64_t n = random_below(&w->random, 2000); n > 0; n--) do_block(w);
  return NULL;
}

static void work_on_everything(work *w) {
  for (uint64_t n = random_below(&w->random, 2000); n > 0; n--) {
    uint64_t what = random_below(&w->random, 1000);
    atomic_store(&w->ledger->started, true);
    if (what < 630) do_block(w);
    else if (what < 650) do_place(w);
    else if (what < 850) do_key(w);
    else if (what < 997) do_list(w);
    else do_collect(w);
  }
}

static bool find_place(void *arg, mheap *heap) {
  work *w = arg;
  mheap_heap_info info;
  for (unsigned i = 0; i < LEDGER_PLACES; i++) {
    if (w->ledger->places[i].row != heap->row) continue;
    if (i > 0 && heap->row == 0) continue; /* there is none */
    w->heaps[i] = heap;
    w->arenas[i] = mheap_get_heap_info(heap, &info) == MHEAP_OK ? info.arena : 0;
  }
  return true;
}

static void attach(work *w) {
  op *o = begin(w, OP_ATTACH, 0, 0);
  w->heap = heap_at(w->path, NULL);
  mh_space_init(&w->space, w->heap);
  if (mheap_visit_heaps(w->heap, find_place, w) != MHEAP_OK) child_fail("visit", w->heap);
  acknowledge(w, o);
}

static void detach(work *w) {
  op *o = begin(w, OP_DETACH, 0, 0);
  if (!heap_detach(w->heap)) _exit(3);
  acknowledge(w, o);
}

static void run_child(work *w, unsigned threads) {
  for (;;) {
    pthread_t thread;
    attach(w);
    work other = *w;
    other.thread = 1;
    other.random = random_next(&w->random);
    if (threads == 2 && pthread_create(&thread, NULL, work_on_blocks, &other) != 0) _exit(3);
    work_on_everything(w);
    if (threads == 2) pthread_join(thread, NULL);
    detach(w);
  }
}

/* ---- the parent ---- */

static const char *const kind_names[] = {"malloc", "free",    "realloc", "dict",    "list",  "attach",
                                         "detach", "collect", "new",     "destroy", "delete"};

typedef struct tally {
  unsigned kills, inside, by_kind[OP_KINDS], bad;
} tally;

static void count_kill(tally *t, const ledger *l) {
  bool inside = false;
  t->kills++;
  for (int i = 0; i < LEDGER_THREADS; i++) {
    if (l->ops[i].phase != IN_CALL) continue;
    t->by_kind[l->ops[i].kind]++;
    inside = true;
  }
  t->inside += inside;
}

static void wait_microseconds(uint64_t count) {
  struct timespec rest = {0, (long)count * 1000};
  nanosleep(&rest, NULL);
}

/* Lets the child live for a while; false: it ended by itself. Now and then it is killed
   before it is at work: while it attaches. */
static bool kill_at_random(pid_t pid, ledger *l, uint64_t *random) {
  int status;
  if (random_below(random, 10) == 0) wait_microseconds(random_below(random, 400));
  else {
    while (!atomic_load(&l->started) && waitpid(pid, &status, WNOHANG) == 0) sched_yield();
    wait_microseconds(random_below(random, MICROSECONDS));
  }
  kill(pid, SIGKILL);
  return waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static void print_ops(const ledger *l) {
  static const char *const phases[] = {"idle", "in the call", "returned", "filling"};
  for (int i = 0; i < LEDGER_THREADS; i++)
    fprintf(stderr, "thread %d: %s, %s, slot or key %u, size %" PRIu64 ", result 0x%" PRIx64 "\n", i,
            kind_names[l->ops[i].kind], phases[l->ops[i].phase], l->ops[i].slot, l->ops[i].size,
            l->ops[i].result);
}

static bool run_and_kill(work *w, unsigned threads, tally *t) {
  w->ledger->started = false;
  fflush(NULL);
  pid_t pid = fork();
  if (pid == 0) {
    w->random = random_next(&w->random);
    run_child(w, threads);
  }
  random_next(&w->random);
  bool killed = pid > 0 && kill_at_random(pid, w->ledger, &w->random);
  if (killed) count_kill(t, w->ledger);
  else fprintf(stderr, "the child was not killed, but ended by itself\n");
  return killed;
}

/* Attaches what is left and compares. */
static unsigned judge(work *w, bool quiet) {
  mheap_error error;
  mheap *heap = mheap_open(w->path, NULL, &error);
  if (heap == NULL) {
    if (!quiet) fprintf(stderr, "attach: %s\n", error.text);
    return 1;
  }
  unsigned complaints = ledger_judge(w->ledger, heap, quiet);
  if (random_below(&w->random, 2) == 0) mheap_abandon(heap);
  else if (!heap_detach(heap)) complaints++;
  return complaints;
}

static void print_tally(const tally *t, const ledger *l) {
  printf("%u kills, %u inside an operation (", t->kills, t->inside);
  for (int i = 0; i < OP_KINDS; i++) printf("%s%s %u", i == 0 ? "" : ", ", kind_names[i], t->by_kind[i]);
  printf("), %" PRIu64 " operations acknowledged, %u bad\n", l->acknowledged, t->bad);
}

static bool run(work *w, unsigned kills, unsigned threads, tally *t) {
  for (unsigned i = 1; i <= kills; i++) {
    uint64_t random = w->random;
    if (!run_and_kill(w, threads, t)) return false;
    ledger before = *w->ledger; /* what was in flight, to be told */
    if (judge(w, false) > 0) {
      print_ops(&before);
      t->bad++;
      fprintf(stderr, "after kill %u: bad; that child's random state was %" PRIu64 "; the file is %s\n", i,
              random, w->path);
      return false;
    }
    if (i % 1000 == 0) print_tally(t, w->ledger);
  }
  return true;
}

/* ---- controls: a judge who finds nothing wrong with these is no judge ---- */

static const model_block *small_block(const ledger *l) {
  for (int i = 0; i < LEDGER_SLOTS; i++)
    if (l->slots[i].offset != 0 && l->slots[i].size > 0 && l->slots[i].size <= 1024) return &l->slots[i];
  fprintf(stderr, "no small block to use\n");
  exit(2);
}

/* The alloc bit, in the file, of a block that is in use. */
static void clear_bit(mheap *heap, uint64_t offset) {
  uint64_t slice = (offset - MH_SLICE) / MH_SLICE;
  mh_segment_header *header = mh_segment_header_of(heap->region, slice / MH_SEGMENT_SLICES);
  uint32_t first = slice % MH_SEGMENT_SLICES;
  while (header->slice[first - 1].head == 0) first--;
  uint64_t head = header->slice[first - 1].head;
  uint64_t start = mh_segment_offset(slice / MH_SEGMENT_SLICES) + first * MH_SLICE;
  uint64_t block =
      (offset - start) / mh_classes[mh_bits_of(head, MH_HEAD_CLASS_SHIFT, MH_HEAD_CLASS_BITS)].size;
  header->bitmaps[first].alloc[block / 64] &= ~((uint64_t)1 << block % 64);
}

static void damage(work *w, const char *how) {
  mheap *heap = heap_at(w->path, NULL);
  mh_space space = {0};
  mh_dict root;
  const model_block *block = small_block(w->ledger);
  mh_space_init(&space, heap);
  if (strcmp(how, "cleared") == 0) clear_bit(heap, block->offset);
  else if (strcmp(how, "overwritten") == 0) heap_base(heap)[block->offset] ^= 1;
  else if (strcmp(how, "leaked") == 0) mheap_malloc(heap, 100);
  else if (strcmp(how, "dangling") == 0 && mh_root(&space, true, &root) == MHEAP_OK)
    mh_own_free(heap, heap_base(heap) + ((mh_container *)mh_at(heap->region, root.offset))->part);
  else exit(2);
  mheap_abandon(heap);
}

static bool run_control(work *w, const char *how) {
  tally t = {0};
  if (!run(w, 20, 1, &t) || judge(w, false) > 0) return false;
  damage(w, how);
  unsigned complaints = judge(w, true);
  printf("%s: %u complaints\n", how, complaints);
  return complaints > 0;
}

/* ---- the command ---- */

static const char *option(int argc, char **argv, const char *name, const char *otherwise) {
  for (int i = 2; i + 1 < argc; i++)
    if (strcmp(argv[i], name) == 0) return argv[i + 1];
  return otherwise;
}

int main(int argc, char **argv) {
  char path[4096];
  tally t = {0};
  if (argc < 2) {
    fprintf(stderr, "usage: crash_sigkill DIRECTORY [--kills N] [--threads N] [--seed N] [--control NAME]\n");
    return 2;
  }
  snprintf(path, sizeof path, "%s/sigkill-%d.heap", argv[1], (int)getpid());
  ledger *l = mmap(NULL, sizeof *l, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (l == MAP_FAILED) return 2;
  static mheap *heaps[LEDGER_PLACES];
  static mheap_arena arenas[LEDGER_PLACES];
  work w = {.heaps = heaps,
            .arenas = arenas,
            .ledger = l,
            .path = path,
            .random = strtoull(option(argc, argv, "--seed", "1"), NULL, 0)};
  const char *control = option(argc, argv, "--control", NULL);
  bool ok;
  if (control != NULL) ok = run_control(&w, control);
  else {
    ok = run(&w, (unsigned)atoi(option(argc, argv, "--kills", "500")),
             (unsigned)atoi(option(argc, argv, "--threads", "1")), &t);
    print_tally(&t, l);
    ok = ok && t.inside > 0;
  }
  if (ok) unlink(path);
  return !ok;
}
