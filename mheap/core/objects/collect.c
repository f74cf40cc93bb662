/* collect.c: see collect.h. */
#include "collect.h"

#include <pthread.h>

#include "../areas.h"
#include "../os.h"
#include "ahead.h"
#include "children.h"
#include "node.h"
#include "objects.h"

#define PIECE 64        /* elements, or objects without any, between two looks at the clock */
#define BATCH 64        /* blocks freed, or emptied, at a time */
#define LOOKED_AT 16384 /* blocks in use that are looked at for as many */
#define PILE 8190
#define AHEAD 16 /* elements that memory is asked for before they are marked */
#define FOR_EVER 1e9 /* seconds */

typedef struct pile {
  struct pile *below;
  uint64_t count;
  uint64_t offsets[PILE];
} pile;

typedef enum phase { MARKING, EMPTYING, FREEING } phase;

struct mh_collector {
  mh_space *space; /* of the heap whose objects it is of */
  uint64_t number;
  phase phase;
  pthread_mutex_t lock;
  uint64_t limit;  /* blocks from here on were made since: they stay */
  uint64_t *marks; /* a bit for each 16 bytes below */
  mh_ahead ahead;  /* with the marks; while it marks */
  pile *piles;     /* objects that are marked and not looked into yet; empty ones are given back but one */
  bool waits;       /* not all that the process holds was named yet */
  mheap_err failed; /* to mark something between two steps */

  /* The object that is looked into, or gives up what it refers to. */
  uint64_t at;          /* 0: none */
  mh_children children; /* as they were at first */
  uint64_t next;        /* element */

  uint64_t from; /* where to look for more that is not marked */
  unsigned batched, looked_at;
  uint64_t batch[BATCH];
};

/* ---- marks ---- */

static uint64_t marks_bytes(const mh_collector *c) { return (c->limit / 16 + 63) / 64 * 8; }
static uint64_t bit_of(uint64_t offset) { return (uint64_t)1 << offset / 16 % 64; }

static bool has_mark(const mh_collector *c, uint64_t offset) {
  return offset < c->limit && (c->marks[offset / 1024] & bit_of(offset)) != 0;
}
static bool is_garbage(const mh_collector *c, uint64_t offset) {
  return offset < c->limit && (c->marks[offset / 1024] & bit_of(offset)) == 0;
}
static void set_mark(mh_collector *c, uint64_t offset) {
  if (offset < c->limit) c->marks[offset / 1024] |= bit_of(offset);
}

/* ---- what is to be looked into ---- */

static mheap_err push(mh_collector *c, mh_space *space, uint64_t offset) {
  if (c->piles == NULL || c->piles->count == PILE) {
    pile *more = mh_os_table(sizeof *more);
    if (more == NULL)
      return mh_fail(mh_error(space->heap), MHEAP_ERR_NO_MEMORY, "no memory to collect garbage with");
    more->below = c->piles;
    c->piles = more;
  }
  c->piles->offsets[c->piles->count++] = offset;
  return MHEAP_OK;
}

/* 0: nothing is left. */
static uint64_t pop(mh_collector *c) {
  while (c->piles != NULL && c->piles->count == 0) {
    pile *empty = c->piles;
    c->piles = empty->below;
    mh_os_table_free(empty, sizeof *empty);
  }
  return c->piles == NULL ? 0 : c->piles->offsets[--c->piles->count];
}

/* ---- marking ---- */

static mheap_err mark_object(mh_collector *c, mh_space *space, uint64_t offset, mh_type type) {
  uint64_t least = mh_type_is_owner(type) ? sizeof(mh_container) : 16;
  uint64_t usable = mh_block_usable(space, offset);
  if (usable < least) return mh_corrupt(space, offset, "an object in a block in use", least, usable);
  if (!is_garbage(c, offset)) return MHEAP_OK;
  set_mark(c, offset);
  return mh_type_has_children(type) ? push(c, space, offset) : MHEAP_OK;
}

static mheap_err mark(mh_collector *c, mh_space *space, uint64_t word) {
  if (!mh_word_is_ref(word) || has_mark(c, mh_word_offset(word))) return MHEAP_OK;
  uint64_t *head = mh_object_at(space, word);
  if (head == NULL) return MHEAP_ERR_CORRUPT;
  return mark_object(c, space, mh_word_offset(word), mh_head_type(mh_read(head)));
}

/* A node is looked into as an object is, though it is none. */
static mheap_err mark_node(mh_collector *c, mh_space *space, uint64_t offset) {
  mh_node node;
  if (offset % 16 == 0 && has_mark(c, offset)) return MHEAP_OK;
  mheap_err failed = mh_node_open_top(space, offset, &node);
  if (!failed) failed = mh_node_confirm(space, &node);
  return failed ? failed : mark_object(c, space, offset, MH_TYPE_NODE);
}

/* Of a value, or the offset of a node. */
typedef mheap_err word_fun(mh_collector *c, mh_space *space, uint64_t word);

/* The elements from c->next to `end`; it stops behind one that fails. */
static mheap_err each_word(mh_collector *c, mh_space *space, const mh_children *children, uint64_t end,
                           word_fun *fun, word_fun *node_fun) {
  mheap_err failed = MHEAP_OK;
  while (c->next < end && !failed) {
    uint64_t number = c->next++;
    if (!mh_children_have(children, number)) continue;
    for (uint64_t i = 0; i < children->width && !failed; i++)
      failed = fun(c, space, mh_read(mh_child(children, number, i)));
    if (children->has_node && !failed)
      failed = node_fun(c, space, mh_read(mh_child(children, number, children->width)));
  }
  return failed;
}

static mheap_err mark_part(mh_collector *c, mh_space *space, const mh_children *children) {
  if (children->part == 0) return MHEAP_OK;
  uint64_t usable = mh_block_usable(space, children->part);
  if (usable < children->part_bytes)
    return mh_corrupt(space, children->part, "the size of the block in use here", children->part_bytes,
                      usable);
  set_mark(c, children->part);
  return MHEAP_OK;
}

static void ask_for_elements(const mh_collector *c, const mh_children *children, uint64_t from,
                             uint64_t count) {
  for (uint64_t i = from; i < from + count && i < children->end; i++)
    for (uint64_t k = 0; k < children->width; k++) mh_ahead_words(&c->ahead, mh_child(children, i, k), 1);
}

/* What was freed since it was pushed has no mark; what came to its place has, whatever it is. */
static mheap_err open_next(mh_collector *c, mh_space *space) {
  uint64_t offset = pop(c);
  if (offset == 0) {
    if (!c->waits) c->phase = EMPTYING;
    return MHEAP_OK;
  }
  if (c->piles->count > 0)
    mh_ahead_queue(&c->ahead, &c->piles->offsets[c->piles->count - 1], -1, c->piles->count);
  if (!has_mark(c, offset)) return MHEAP_OK;
  if (!mh_type_has_children(mh_head_type(mh_read(mh_at(space->region, offset))))) return MHEAP_OK;
  mheap_err failed = mh_children_read(space, offset, &c->children);
  if (!failed) failed = mark_part(c, space, &c->children);
  if (!failed) failed = mark(c, space, c->children.word);
  if (failed) return failed;
  c->at = offset;
  c->next = c->children.first;
  return MHEAP_OK;
}

/* What was added since it was opened need not be looked at, and what was taken away must not. */
static mheap_err mark_some(mh_collector *c, mh_space *space, uint64_t *budget) {
  mh_children now;
  if (c->at == 0) return --*budget, open_next(c, space);
  mheap_err failed = mh_children_read(space, c->at, &now);
  if (failed) return failed;
  uint64_t end = now.end < c->children.end ? now.end : c->children.end;
  if (c->next < now.first) c->next = now.first;
  uint64_t rest = end > c->next ? end - c->next : 0, count = rest < *budget ? rest : *budget;
  *budget -= count;
  ask_for_elements(c, &now, c->next + AHEAD, count);
  failed = each_word(c, space, &now, c->next + count, mark, mark_node);
  if (count == rest) c->at = 0;
  return failed;
}

/* What is asked for ahead, and read, may have been freed since: the region must not become smaller. */
static mheap_err go_on_marking(mh_collector *c, mh_space *space) {
  mheap_err failed = c->failed;
  if (failed) return mh_fail(mh_error(space->heap), failed, "no memory to collect garbage with");
  mh_region_begin_walk(space->region);
  uint64_t size = mh_region_size(space->region);
  c->ahead.size = size < c->limit ? size : c->limit;
  for (uint64_t budget = PIECE; budget > 0 && c->phase == MARKING && !failed;)
    failed = mark_some(c, space, &budget);
  mh_region_end_walk(space->region);
  return failed;
}

/* ---- finding what has no mark ---- */

static bool gather(void *arg, uint64_t offset) {
  mh_collector *c = arg;
  if (c->batched == BATCH || ++c->looked_at > LOOKED_AT) return false;
  if (is_garbage(c, offset)) c->batch[c->batched++] = offset;
  return true;
}

/* False: there is no more, and the next pass begins anew. */
static mheap_err fill_batch(mh_collector *c, mh_space *space, bool *more) {
  c->looked_at = 0;
  *more = c->from < c->limit;
  if (*more) return mh_visit_some_objects(space->heap, &c->from, gather, c);
  c->from = 0;
  return MHEAP_OK;
}

/* ---- emptying ---- */

/* What is marked stays, and its count must be what it is without this reference. */
static mheap_err give_up(mh_collector *c, mh_space *space, uint64_t word) {
  if (mh_word_is_ref(word) && has_mark(c, mh_word_offset(word))) mh_release(space, word);
  return MHEAP_OK;
}

/* A node gives up what it refers to when its turn comes, before other garbage. One that has a mark is
   another's. Without memory it stays until it is freed, and what it refers to is counted too high. */
static mheap_err keep_node(mh_collector *c, mh_space *space, uint64_t offset) {
  mh_node node;
  bool is_one = mh_node_open_top(space, offset, &node) == MHEAP_OK && is_garbage(c, offset);
  if (is_one && mh_node_confirm(space, &node) == MHEAP_OK) (void)push(c, space, offset);
  return MHEAP_OK;
}

static void end_emptying(mh_collector *c, mh_space *space, mh_collected *collected) {
  bool is_node = mh_head_type(mh_read(mh_at(space->region, c->at))) == MH_TYPE_NODE;
  uint64_t part = is_node ? c->at : c->children.part;
  c->at = 0;
  if (part == 0) return;
  collected->bytes += mh_block_usable(space, part);
  mh_block_free(space, part);
}

static void give_up_some(mh_collector *c, mh_space *space, uint64_t count, mh_collected *collected) {
  uint64_t end = c->children.end;
  each_word(c, space, &c->children, end - c->next < count ? end : c->next + count, give_up, keep_node);
  if (c->next == end) end_emptying(c, space, collected);
}

/* A part that has a mark is another's, and one that is in no block is none: a kill left this. */
static bool is_part(const mh_collector *c, mh_space *space) {
  uint64_t part = c->children.part;
  return is_garbage(c, part) && mh_block_usable(space, part) >= c->children.part_bytes;
}

/* What it referred to is in c->children from here on, or its top node is the next to be emptied. */
static void begin_emptying(mh_collector *c, mh_space *space, uint64_t offset) {
  mh_type type = mh_head_type(mh_read(mh_at(space->region, offset)));
  if (!mh_type_has_children(type) || mh_type_is_part(type)) return;
  if (mh_type_is_owner(type) && mh_block_usable(space, offset) < sizeof(mh_container)) return;
  uint64_t top = type == MH_TYPE_SORTED ? mh_read(&((mh_container *)mh_at(space->region, offset))->part) : 0;
  bool is_whole = mh_children_read(space, offset, &c->children) == MHEAP_OK;
  mh_children_forget(space, offset);
  give_up(c, space, c->children.word);
  if (top != 0) (void)keep_node(c, space, top);
  if (!is_whole || (c->children.part != 0 && !is_part(c, space))) return;
  c->at = offset;
  c->next = c->children.first;
}

/* The next node of a sorted dict that gives up what it refers to; one may have been pushed twice. */
static void begin_with_node(mh_collector *c, mh_space *space) {
  uint64_t offset = pop(c);
  if (offset == 0 || mh_block_usable(space, offset) == 0) return;
  if (mh_head_type(mh_read(mh_at(space->region, offset))) != MH_TYPE_NODE) return;
  if (mh_children_read(space, offset, &c->children) != MHEAP_OK) return;
  c->at = offset;
  c->next = c->children.first;
}

static bool has_nodes(const mh_collector *c) {
  return c->piles != NULL && (c->piles->count > 0 || c->piles->below != NULL);
}

static mheap_err go_on_emptying(mh_collector *c, mh_space *space, mh_collected *collected) {
  bool more = true;
  if (c->at != 0) return give_up_some(c, space, PIECE, collected), MHEAP_OK;
  if (has_nodes(c)) return begin_with_node(c, space), MHEAP_OK;
  if (c->batched > 0) return begin_emptying(c, space, c->batch[--c->batched]), MHEAP_OK;
  mheap_err failed = fill_batch(c, space, &more);
  if (!more) c->phase = FREEING;
  return failed;
}

/* ---- freeing ---- */

static void free_garbage(mh_space *space, uint64_t offset, mh_collected *collected) {
  uint64_t usable = mh_block_usable(space, offset);
  uint64_t head = usable == 0 ? 0 : mh_read(mh_at(space->region, offset));
  mh_type type = mh_head_type(head);
  if (usable == 0 || (head != 0 && !mh_type_is_known(type))) return; /* head 0: killed before it was stored */
  if (mh_type_is_owner(type) && usable >= sizeof(mh_container))
    mh_store(&((mh_container *)mh_at(space->region, offset))->birth, 0);
  mh_block_free(space, offset);
  collected->objects += head != 0 && !mh_type_is_part(type);
  collected->bytes += usable;
}

static mheap_err go_on_freeing(mh_collector *c, mh_space *space, mh_collected *collected) {
  bool more = true;
  while (c->batched > 0) free_garbage(space, c->batch[--c->batched], collected);
  mheap_err failed = fill_batch(c, space, &more);
  if (!more) collected->done = true;
  return failed;
}

/* ---- a collection ---- */

static void forget(mh_region *region) {
  mh_collector *c = region->collector;
  if (c == NULL) return;
  region->collector = NULL;
  region->collected = NULL;
  for (pile *one; (one = c->piles) != NULL;) {
    c->piles = one->below;
    mh_os_table_free(one, sizeof *one);
  }
  if (c->marks != NULL) mh_os_table_free(c->marks, marks_bytes(c));
  pthread_mutex_destroy(&c->lock);
  mh_os_table_free(c, sizeof *c);
}

static void forget_now(mh_region *region) {
  mh_names_lock();
  forget(region);
  mh_names_unlock();
}

/* What gives up its references is finished: nobody else would. */
static void stop(mh_region *region, mh_collected *collected) {
  mh_collector *c = region->collector;
  while (c != NULL && c->phase == EMPTYING && (c->at != 0 || has_nodes(c))) {
    if (c->at == 0) begin_with_node(c, c->space);
    if (c->at != 0) give_up_some(c, c->space, UINT64_MAX, collected);
  }
  forget(region);
}

/* NULL: none is under way in this heap. */
static mh_collector *collector_of(const mh_space *space) {
  return mh_collects(space) ? space->region->collector : NULL;
}

static mheap_err begin(mh_space *space) {
  static _Atomic uint64_t numbers;
  mh_region *region = space->region;
  mh_collector *c = mh_os_table(sizeof *c);
  if (c == NULL) return MHEAP_ERR_NO_MEMORY;
  pthread_mutex_init(&c->lock, NULL);
  c->space = space;
  c->number = ++numbers;
  c->limit = mh_region_size(region);
  c->marks = mh_os_table(marks_bytes(c));
  c->ahead = (mh_ahead){region, 0, c->marks, 7, NULL};
  region->collector = c;
  region->collected = space->heap;
  region->forget_collector = forget_now;
  return c->marks == NULL ? MHEAP_ERR_NO_MEMORY : MHEAP_OK;
}

static mheap_err mark_root(mh_space *space, const uint64_t *field, mh_tag tag) {
  uint64_t offset = mh_read(field);
  if (offset == 0) return MHEAP_OK;
  if (offset % 16 != 0)
    return mh_corrupt(space, mh_offset(space->region, field), "the offset of a root", 0, offset);
  return mark(space->region->collector, space, mh_word_ref(tag, offset));
}

static mheap_err mark_roots(mh_space *space) {
  mheap *heap = space->heap;
  const mh_superblock *super = space->region->super;
  mheap_err failed = mark_root(space, mh_root_field(heap), MH_TAG_DICT_REF);
  if (!failed && heap->row == 0) failed = mark_root(space, &super->names, MH_TAG_DICT_REF);
  if (!failed && heap->row == 0) failed = mark_root(space, &super->registry, MH_TAG_LIST_REF);
  if (failed || heap->row == 0) return failed;
  return mark(space->region->collector, space, mh_read(&mh_heap_row_of(heap)->name));
}

mheap_err mh_collect_begin(mh_space *space) {
  mh_collected by_another = {0};
  mheap_err failed = mh_space_writable(space);
  if (failed) return failed;
  mh_names_lock();
  stop(space->region, &by_another);
  failed = begin(space);
  if (failed) mh_fail(mh_error(space->heap), failed, "no memory to collect garbage with");
  if (!failed) failed = mark_roots(space);
  if (failed) forget(space->region);
  mh_names_unlock();
  return failed;
}

/* Between two steps: what contradicts itself is left to those who come by it. */
static void mark_between(mh_space *space, mh_collector *c, uint64_t word) {
  if (mark(c, space, word) == MHEAP_ERR_NO_MEMORY) c->failed = MHEAP_ERR_NO_MEMORY;
}

void mh_collect_hold(mh_space *space, uint64_t offset, uint64_t birth) {
  mh_collector *c = collector_of(space);
  if (c == NULL || c->phase != MARKING || birth == 0 || has_mark(c, offset)) return;
  if (mh_block_usable(space, offset) < sizeof(mh_container)) return;
  const mh_container *container = mh_at(space->region, offset);
  mh_type type = mh_head_type(mh_read(&container->head));
  if (mh_birth_of(space, container) != birth || !mh_type_is_owner(type)) return;
  pthread_mutex_lock(&c->lock);
  if (mark_object(c, space, offset, type)) c->failed = MHEAP_ERR_NO_MEMORY;
  pthread_mutex_unlock(&c->lock);
}

void mh_collect_wait(mh_space *space, bool wait) {
  if (mh_collects(space)) space->region->collector->waits = wait;
}

bool mh_collect_waits(const mh_space *space) {
  return mh_collects(space) && space->region->collector->waits;
}

static bool is_idle(const mh_collector *c) {
  bool none = c->piles == NULL || (c->piles->count == 0 && c->piles->below == NULL);
  return c->phase == MARKING && c->waits && c->at == 0 && none;
}

static mheap_err go_on(mh_collector *c, mh_space *space, mh_collected *collected) {
  switch (c->phase) {
    case MARKING: return go_on_marking(c, space);
    case EMPTYING: return go_on_emptying(c, space, collected);
    default: return go_on_freeing(c, space, collected);
  }
}

mheap_err mh_collect_step(mh_space *space, double seconds, mh_collected *collected) {
  double end = seconds > 0 ? mh_os_monotonic() + seconds : 0;
  mheap_err failed = mh_space_writable(space);
  if (failed) return failed;
  mh_names_lock();
  mh_collector *c = collector_of(space);
  if (c == NULL || space->heap->own == NULL) collected->done = true;
  while (!failed && !collected->done) {
    failed = go_on(c, space, collected);
    if (mh_os_monotonic() >= end || is_idle(c)) break;
  }
  if (c != NULL && (failed || collected->done)) forget(space->region);
  mh_names_unlock();
  return failed;
}

uint64_t mh_collect_number(const mh_space *space) {
  return mh_collects(space) ? space->region->collector->number : 0;
}

void mh_collect_stop(mh_space *space, mh_collected *collected) {
  mh_names_lock();
  if (mh_collects(space)) stop(space->region, collected);
  mh_names_unlock();
}

/* ---- in one go ---- */

static mheap_err in_use(mheap *heap) {
  return mh_fail(mh_error(heap), MHEAP_ERR_BUSY,
                 "%s: busy: Python uses its objects; collect them there, or close it there first",
                 heap->region->path);
}

static mheap_err collect_one(mheap *heap, mh_collected *got) {
  mh_space space = {0};
  mh_space_init(&space, heap);
  mheap_err failed = mh_collect_begin(&space);
  got->done = false;
  return failed ? failed : mh_collect_step(&space, FOR_EVER, got);
}

static mheap_err collect_named(mheap *main, mh_collected *got) {
  mheap_err failed = MHEAP_OK;
  uint32_t row = 0;
  for (mheap *heap; (heap = mh_named_next(main->region, &row, &failed, mh_error(main))) != NULL && !failed;) {
    failed = collect_one(heap, got);
    if (failed) *mh_error(main) = *mh_error(heap);
  }
  return failed;
}

mheap_err mheap_collect_objects(mheap *heap, mheap_collected *collected) {
  mh_collected got = {0};
  heap = mh_heap_of(heap);
  if (heap == NULL) return MHEAP_ERR_NO_MEMORY;
  mheap_err failed = mh_heap_writable(heap);
  if (!failed) failed = mh_region_is_whole(heap->region, mh_error(heap));
  if (!failed && heap->region->object_users > 0) failed = in_use(heap);
  if (!failed) failed = collect_one(heap, &got);
  if (!failed && heap->row == 0) failed = collect_named(heap, &got);
  if (collected != NULL) *collected = (mheap_collected){got.objects, got.bytes};
  return failed;
}

/* ---- between two steps, and within the last two phases ---- */

void mh_collect_born(mh_space *space, uint64_t offset) {
  mh_collector *c = space->region->collector;
  pthread_mutex_lock(&c->lock);
  set_mark(c, offset);
  pthread_mutex_unlock(&c->lock);
}

void mh_collect_dropped(mh_space *space, uint64_t word) {
  mh_collector *c = space->region->collector;
  if (c->phase != MARKING) return;
  pthread_mutex_lock(&c->lock);
  mark_between(space, c, word);
  pthread_mutex_unlock(&c->lock);
}

static mheap_err mark_leniently(mh_collector *c, mh_space *space, uint64_t word) {
  mark_between(space, c, word);
  return MHEAP_OK;
}

static mheap_err mark_node_leniently(mh_collector *c, mh_space *space, uint64_t offset) {
  if (mark_node(c, space, offset) == MHEAP_ERR_NO_MEMORY) c->failed = MHEAP_ERR_NO_MEMORY;
  return MHEAP_OK;
}

/* All that a node refers to goes to another. */
static void mark_below_node(mh_collector *c, mh_space *space, uint64_t offset) {
  mh_children children;
  uint64_t next = c->next;
  if (mh_children_read(space, offset, &children)) return;
  c->next = children.first;
  each_word(c, space, &children, children.end, mark_leniently, mark_node_leniently);
  c->next = next;
}

/* The rest of the part that is looked into, as it was. Objects in it that were freed are in no block. */
static void mark_rest(mh_collector *c, mh_space *space) {
  each_word(c, space, &c->children, c->children.end, mark_leniently, mark_node_leniently);
  c->at = 0;
}

void mh_collect_moves(mh_space *space, uint64_t part) {
  mh_collector *c = space->region->collector;
  if (c->phase != MARKING) return;
  pthread_mutex_lock(&c->lock);
  if (c->at != 0 && c->children.part == part) mark_rest(c, space);
  if (mh_head_type(mh_read(mh_at(space->region, part))) == MH_TYPE_NODE) mark_below_node(c, space, part);
  pthread_mutex_unlock(&c->lock);
}

/* What an object that is freed refers to is counted down, and thus marked. */
void mh_collect_freed(mh_space *space, uint64_t offset) {
  mh_collector *c = space->region->collector;
  pthread_mutex_lock(&c->lock);
  if (c->phase == MARKING && c->at == offset) c->at = 0;
  if (c->phase == MARKING && c->at != 0 && c->children.part == offset) mark_rest(c, space);
  if (offset < c->limit) c->marks[offset / 1024] &= ~bit_of(offset);
  pthread_mutex_unlock(&c->lock);
}
