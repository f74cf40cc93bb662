/* ledger.c: see ledger.h. */
#include "ledger.h"

#include <inttypes.h>

#include "heap.h"
#include "objects/value.h"

/* ---- keys and values ---- */

void ledger_key(mh_space *space, mh_key *key, unsigned number, char text[64]) {
  snprintf(text, 64, number % 3 == 0 ? "k%u" : "the key whose number is %u", number);
  mh_key_text(space, key, MH_TAG_STR_REF, 1, text, strlen(text));
}

static size_t value_text(uint64_t version, char text[64]) {
  return (size_t)snprintf(text, 64, "the value whose version is %" PRIu64, version);
}

mheap_err ledger_value(mh_space *space, uint64_t version, uint64_t *word) {
  char text[64];
  if (version % 3 == 0) return mh_int_new(space, (int64_t)version, word);
  size_t length = value_text(version, text);
  return mh_str_new(space, 1, text, length, word);
}

static bool is_value(mh_space *space, uint64_t version, uint64_t word) {
  char expected[64];
  mh_text text;
  if (version % 3 == 0) return word == mh_word_int((int64_t)version);
  size_t length = value_text(version, expected);
  return mh_word_tag(word) == MH_TAG_STR_REF && mh_text_read(space, word, &text) == MHEAP_OK &&
         text.kind == 1 && text.length == length && memcmp(text.data, expected, length) == 0;
}

/* ---- objects ---- */

static const op *in_flight(const ledger *l, op_kind kind, unsigned slot) {
  for (int i = 0; i < LEDGER_THREADS; i++)
    if (l->ops[i].phase != IDLE && l->ops[i].kind == kind && l->ops[i].slot == slot) return &l->ops[i];
  return NULL;
}

/* Which of two versions is there? The ledger follows what is found. */
static void judge_key(audit *a, ledger *l, mh_space *space, mh_dict *root, unsigned number) {
  char text[64];
  mh_key key;
  uint64_t word, *version = &l->versions[number];
  const op *o = in_flight(l, OP_SET, number);
  ledger_key(space, &key, number, text);
  mheap_err code = mh_dict_get(root, &key, &word);
  bool is_old =
      code == MHEAP_ERR_NOT_FOUND ? *version == 0 : *version != 0 && is_value(space, *version, word);
  if (is_old && (o == NULL || o->phase == IN_CALL)) return;
  bool is_new = o != NULL &&
                (code == MHEAP_ERR_NOT_FOUND ? o->size == 0 : o->size != 0 && is_value(space, o->size, word));
  if (!is_new) audit_complain(a, "\"%s\" has not the value of version %" PRIu64, text, *version);
  else *version = o->size;
}

static bool is_list(mh_space *space, uint64_t word, uint64_t count) {
  mh_list list;
  mh_items items;
  if (mh_word_tag(word) != MH_TAG_LIST_REF || mh_list_at(space, mh_word_offset(word), &list) != MHEAP_OK)
    return false;
  if (mh_list_items(&list, &items) != MHEAP_OK || items.count != count) return false;
  for (uint64_t i = 0; i < count; i++)
    if (!is_value(space, i, items.words[i])) return false;
  return true;
}

static void judge_list(audit *a, ledger *l, mh_space *space, mh_dict *root) {
  mh_key key;
  uint64_t word;
  const op *o = in_flight(l, OP_LIST, 0);
  mh_key_text(space, &key, MH_TAG_STR_REF, 1, "list", 4);
  if (mh_dict_get(root, &key, &word) != MHEAP_OK) {
    if (l->has_list) audit_complain(a, "the list is gone");
    return;
  }
  l->has_list = true; /* made by an operation that was not acknowledged, perhaps */
  if (is_list(space, word, l->items) && (o == NULL || o->phase == IN_CALL)) return;
  if (o != NULL && is_list(space, word, o->size)) l->items = o->size;
  else audit_complain(a, "the list has not its %" PRIu64 " items", l->items);
}

static void judge_objects(audit *a, ledger *l) {
  mh_space space = {0};
  mh_dict root;
  audit_objects(a);
  mh_space_init(&space, a->heap);
  if (mh_root(&space, false, &root) != MHEAP_OK) root = mh_dict_nowhere(&space);
  for (unsigned i = 0; i < LEDGER_KEYS; i++) judge_key(a, l, &space, &root, i);
  judge_list(a, l, &space, &root);
}

/* ---- blocks ---- */

static const op *block_in_flight(const ledger *l, unsigned slot) {
  const op *o = in_flight(l, OP_MALLOC, slot);
  if (o == NULL) o = in_flight(l, OP_FREE, slot);
  return o != NULL ? o : in_flight(l, OP_REALLOC, slot);
}

/* Is the slot's block there, nobody else's, with the first `size` bytes as they were? */
static bool keeps(audit *a, const model_block *block, uint64_t offset, uint64_t size) {
  const audit_block *found = audit_find(a, offset);
  return found != NULL && !found->explained && !found->object && found->usable >= size &&
         pattern_is_prefix(heap_base(a->heap) + offset, size, block->seed);
}

/* The slot's block is now this one, of which `size` bytes are known. */
static void settle_slot(audit *a, model_block *block, uint64_t offset, uint64_t size) {
  block->offset = offset;
  block->size = size;
  audit_find(a, offset)->explained = true;
}

/* What a realloc that moved the block, and was killed before it said where to, left. */
static uint64_t find_moved(audit *a, const model_block *block, uint64_t size) {
  for (size_t i = 0; i < a->count; i++)
    if (!a->blocks[i].explained && keeps(a, block, a->blocks[i].offset, size)) return a->blocks[i].offset;
  return 0;
}

static void judge_free(audit *a, ledger *l, const op *o) {
  model_block *block = &l->slots[o->slot];
  if (o->phase == IN_CALL && keeps(a, block, block->offset, block->size))
    settle_slot(a, block, block->offset, block->size);
  else block->offset = 0; /* should it be in use after all, then nobody explains it */
}

static void judge_realloc(audit *a, ledger *l, const op *o) {
  model_block *block = &l->slots[o->slot];
  uint64_t kept = block->size < o->size ? block->size : o->size, at = o->result;
  if (o->phase == IN_CALL)
    at = keeps(a, block, block->offset, kept) ? block->offset : find_moved(a, block, kept);
  bool there = at != 0 && audit_find(a, at) != NULL && (o->phase == FILLING || keeps(a, block, at, kept));
  if (!there)
    audit_complain(a, "a block of %" PRIu64 " bytes was lost in a realloc to %" PRIu64, block->size, o->size);
  if (there && o->phase != FILLING) settle_slot(a, block, at, kept);
  else block->offset = 0;
}

static void judge_malloc(audit *a, ledger *l, const op *o) {
  if (o->phase == IN_CALL) return;
  audit_block *found = audit_find(a, o->result);
  if (found == NULL || found->explained || found->object || found->usable < o->size)
    audit_complain(a, "what malloc returned, 0x%" PRIx64 ", is not in use", o->result);
  else settle_slot(a, &l->slots[o->slot], o->result, 0);
}

/* How many blocks an operation in flight may leave that nobody knows of: a raw one that was
   not returned yet; of objects a key, a value, a container and its part, and the items that
   were dropped from a list and not freed yet. */
static size_t left_behind(const ledger *l, const op *o) {
  if (o->phase == IDLE) return 0;
  if (o->kind == OP_MALLOC) return o->phase == IN_CALL;
  if (o->kind == OP_REALLOC) return 1;
  if (o->kind == OP_SET) return 4;
  if (o->kind >= OP_NEW) return 0;
  return o->kind != OP_LIST ? 0 : 4 + (o->size < l->items ? l->items - o->size : 0);
}

static uint64_t known_bytes(const ledger *l, const op *o) {
  uint64_t size = l->slots[o->slot].size;
  return o->kind == OP_FREE || size < o->size ? size : o->size;
}

static void judge_op(audit *a, ledger *l, const op *o) {
  if (o->kind == OP_MALLOC) judge_malloc(a, l, o);
  if (o->kind == OP_FREE) judge_free(a, l, o);
  if (o->kind == OP_REALLOC) judge_realloc(a, l, o);
}

static void judge_blocks(audit *a, ledger *l) {
  for (unsigned i = 0; i < LEDGER_SLOTS; i++)
    if (l->slots[i].offset != 0 && block_in_flight(l, i) == NULL)
      audit_expect(a, &l->slots[i], &l->slots[i].seed);
  for (int i = 0; i < LEDGER_THREADS; i++)
    if (l->ops[i].phase > IN_CALL) judge_op(a, l, &l->ops[i]);
  /* What these left must be sought among the rest, by its contents: the better known first. */
  int first = known_bytes(l, &l->ops[1]) > known_bytes(l, &l->ops[0]);
  for (int i = 0; i < LEDGER_THREADS; i++)
    if (l->ops[i ^ first].phase == IN_CALL) judge_op(a, l, &l->ops[i ^ first]);
}

/* ---- heaps and arenas ---- */

typedef struct rows {
  uint32_t list[MH_HEAPS];
  unsigned count, arenas;
} rows;

static bool see_row(void *arg, mheap *heap) {
  rows *r = arg;
  if (heap->row != 0) r->list[r->count++] = heap->row;
  return true;
}

static bool see_arena(void *arg, const mheap_arena_info *info) {
  ((rows *)arg)->arenas += info->size > 0;
  return true;
}

static bool is_there(const rows *r, uint32_t row) {
  for (unsigned i = 0; i < r->count; i++)
    if (r->list[i] == row) return true;
  return false;
}

static const op *place_in_flight(const ledger *l) {
  for (int i = 0; i < LEDGER_THREADS; i++)
    if (l->ops[i].phase != IDLE && l->ops[i].kind >= OP_NEW) return &l->ops[i];
  return NULL;
}

static void leave_place(ledger *l, unsigned i, bool destroyed) {
  l->places[i].row = 0;
  for (unsigned slot = 0; slot < LEDGER_SLOTS; slot++) {
    if (l->home[slot] != i) continue;
    l->home[slot] = 0;
    if (destroyed) l->slots[slot].offset = 0;
  }
}

/* Its heap is as it was, or it is gone, whole. */
static void judge_place(audit *a, ledger *l, const rows *r, const op *o, unsigned i) {
  bool leaves = o != NULL && o->slot == i && o->kind != OP_NEW;
  if (l->places[i].row == 0) return;
  bool there = is_there(r, l->places[i].row);
  if (!there && !leaves) audit_complain(a, "heap %u is gone", l->places[i].row);
  if (there && leaves && o->phase == RETURNED) audit_complain(a, "heap %u is back", l->places[i].row);
  if (!there) leave_place(l, i, leaves && o->kind == OP_DESTROY);
}

/* What was made, or half made, when the kill came is taken back. */
static void drop_strays(audit *a, const ledger *l) {
  for (size_t i = 0; i < a->count; i++) /* of a heap nobody knows */
    if (!a->blocks[i].object && a->blocks[i].row != 0) {
      bool known = false;
      for (unsigned p = 1; p < LEDGER_PLACES; p++) known |= l->places[p].row == a->blocks[i].row;
      if (!known) audit_complain(a, "a block of heap %u, which is nobody's", a->blocks[i].row);
    }
}

static bool release_idle_arena(void *arg, const mheap_arena_info *info) {
  if (mheap_arena_release(info->arena) != MHEAP_OK) return true; /* in use */
  *(bool *)arg = true;
  return false;
}

static unsigned known_places(const ledger *l, bool with_arena) {
  unsigned count = 0;
  for (unsigned i = 1; i < LEDGER_PLACES; i++)
    count += l->places[i].row != 0 && (!with_arena || place_has_arena(i));
  return count;
}

static void judge_places(audit *a, ledger *l) {
  rows r = {0};
  const op *o = place_in_flight(l);
  if (mheap_visit_heaps(a->heap, see_row, &r) != MHEAP_OK ||
      mheap_visit_arenas(a->heap, see_arena, &r) != MHEAP_OK)
    audit_complain(a, "visiting: %s", mheap_last_error(a->heap)->text);
  for (unsigned i = 1; i < LEDGER_PLACES; i++) judge_place(a, l, &r, o, i);
  unsigned made = o != NULL && o->kind == OP_NEW, moving = o != NULL && o->kind != OP_DELETE;
  if (r.count > known_places(l, false) + made) audit_complain(a, "%u heaps are there", r.count);
  if (r.arenas < known_places(l, true) || r.arenas > known_places(l, true) + moving)
    audit_complain(a, "%u arenas are there, not %u", r.arenas, known_places(l, true));
  drop_strays(a, l);
}

/* Heaps and arenas that nobody was told of. */
static void settle_places(audit *a, const ledger *l) {
  rows r = {0};
  bool released = true;
  mheap_visit_heaps(a->heap, see_row, &r);
  for (unsigned i = 0; i < r.count; i++) {
    bool known = false;
    for (unsigned p = 1; p < LEDGER_PLACES; p++) known |= l->places[p].row == r.list[i];
    mheap *heap = known ? NULL : mh_handle_find(a->heap->region, r.list[i]);
    if (heap != NULL && mheap_delete(heap) != MHEAP_OK)
      audit_complain(a, "delete: %s", mheap_last_error(heap)->text);
  }
  while (released) {
    released = false;
    mheap_visit_arenas(a->heap, release_idle_arena, &released);
  }
}

/* ---- all of it ---- */

static void free_unexplained(audit *a) {
  for (size_t i = 0; i < a->count; i++)
    if (!a->blocks[i].explained) audit_free(a, &a->blocks[i]);
}

static uint64_t explained_blocks(const audit *a) { return a->count - audit_unexplained(a); }

unsigned ledger_judge(ledger *l, mheap *heap, bool quiet) {
  audit a;
  size_t allowed = 0, nobodys;
  for (int i = 0; i < LEDGER_THREADS; i++) allowed += left_behind(l, &l->ops[i]);
  audit_begin(&a, heap, quiet);
  if (a.complaints == 0) {
    judge_places(&a, l);
    judge_objects(&a, l);
    judge_blocks(&a, l);
  }
  nobodys = audit_unexplained(&a);
  if (nobodys > allowed) audit_complain(&a, "%zu blocks leaked, %zu may be in flight", nobodys, allowed);
  if (a.complaints == 0) {
    free_unexplained(&a);
    settle_places(&a, l);
    if (heap_blocks(heap) != explained_blocks(&a)) audit_complain(&a, "the counts of blocks differ");
  }
  for (int i = 0; i < LEDGER_THREADS; i++) l->ops[i].phase = IDLE;
  for (int i = 0; i < LEDGER_SLOTS; i++) l->taken[i] = false;
  for (int i = 0; i < LEDGER_PLACES; i++) l->places[i].taken = false;
  audit_end(&a);
  return a.complaints;
}
