/* test_collect.c: what no root leads to is freed, and nothing else: in one go, and in steps between which a
   program goes on. */
#include <pthread.h>

#include "objects/children.h"
#include "objects/collect.h"
#include "objects_kit.h"

#define FOR_EVER 1e9

static uint64_t dict_ref(const mh_dict *dict) { return mh_word_ref(MH_TAG_DICT_REF, dict->offset); }
static uint64_t list_ref(const mh_list *list) { return mh_word_ref(MH_TAG_LIST_REF, list->offset); }

static mh_collected collect(kit *kit) {
  mh_collected collected = {0};
  CHECK_EQ(mh_collect_begin(&kit->space), MHEAP_OK);
  CHECK_EQ(mh_collect_step(&kit->space, FOR_EVER, &collected), MHEAP_OK);
  CHECK(collected.done);
  CHECK_EQ(mh_collect_number(&kit->space), 0);
  return collected;
}

static mh_dict new_dict(kit *kit) {
  mh_dict dict = {0};
  CHECK_EQ(mh_dict_new(&kit->space, 0, &dict), MHEAP_OK);
  return dict;
}

static mh_list new_list(kit *kit) {
  mh_list list = {0};
  CHECK_EQ(mh_list_new(&kit->space, 0, &list), MHEAP_OK);
  return list;
}

static uint64_t one_more(kit *kit, uint64_t word) {
  CHECK_EQ(mh_retain(&kit->space, word), MHEAP_OK);
  return word;
}

/* A dict and a list that refer to one another, and a text; nobody else has them. */
static mh_dict circle(kit *kit) {
  mh_dict dict = new_dict(kit);
  mh_list list = new_list(kit);
  kit_set(&dict, 1, list_ref(&list));
  kit_set(&dict, 2, kit_value(&kit->space, 1));
  CHECK_EQ(mh_list_append(&list, dict_ref(&dict)), MHEAP_OK);
  return dict;
}

/* ---- in one go ---- */

static void circles_are_freed(void) {
  kit kit = kit_open();
  kit_root(&kit);
  uint64_t before = kit_blocks(&kit);
  circle(&kit);
  mh_dict alone = new_dict(&kit);
  kit_set(&alone, 0, dict_ref(&alone));
  CHECK(kit_blocks(&kit) > before);
  mh_collected collected = collect(&kit);
  CHECK_EQ(collected.objects, 5); /* three containers, a text, a float that is a key */
  CHECK(collected.bytes >= 3 * sizeof(mh_container));
  CHECK_EQ(kit_blocks(&kit), before);
  kit_is_sound(&kit);
  CHECK_EQ(collect(&kit).objects, 0);
  kit_drop_root(&kit);
  kit_close(&kit);
}

static void an_empty_heap_has_no_garbage(void) {
  kit kit = kit_open();
  mh_collected collected = collect(&kit);
  CHECK_EQ(collected.objects + collected.bytes, 0);
  CHECK_EQ(mh_collect_step(&kit.space, 0, &collected), MHEAP_OK);
  kit_close(&kit);
}

static void what_can_be_reached_stays(void) {
  kit kit = kit_open();
  mh_dict root = kit_root(&kit), dict = circle(&kit);
  uint64_t value;
  kit_set(&root, 0, one_more(&kit, dict_ref(&dict)));
  CHECK_EQ(mheap_setroot(kit.heap, "a name of some length", 21, mheap_malloc(kit.heap, 10)), MHEAP_OK);
  for (unsigned i = 1; i < 300; i++) kit_set(&root, i, kit_value(&kit.space, i));
  uint64_t before = kit_blocks(&kit);
  CHECK_EQ(collect(&kit).objects, 0);
  CHECK_EQ(kit_blocks(&kit), before);
  kit_is_sound(&kit);
  for (unsigned i = 1; i < 300; i++)
    CHECK(kit_get(&root, i, &value) == MHEAP_OK && kit_is_value(&kit.space, value, i));
  kit_delete(&root, 0);
  CHECK_EQ(collect(&kit).objects, 4);
  CHECK_EQ(mheap_free(kit.heap, mheap_getroot(kit.heap, "a name of some length", 21)), MHEAP_OK);
  kit_is_sound(&kit);
  CHECK_EQ(mheap_detach(kit.heap, NULL), MHEAP_OK);
}

static void what_garbage_refers_to_is_counted_down(void) {
  kit kit = kit_open();
  mh_dict root = kit_root(&kit), shared = new_dict(&kit), garbage = circle(&kit);
  uint64_t text = kit_value(&kit.space, 1);
  kit_set(&root, 0, dict_ref(&shared));
  kit_set(&root, 1, text);
  for (unsigned i = 10; i < 110; i++) {
    kit_set(&garbage, i, one_more(&kit, dict_ref(&shared)));
    kit_set(&garbage, i + 100, one_more(&kit, text));
  }
  CHECK_EQ(kit_count(&kit.space, text), 101);
  collect(&kit);
  CHECK_EQ(kit_count(&kit.space, text), 1);
  CHECK_EQ(kit_count(&kit.space, dict_ref(&shared)), 1);
  kit_is_sound(&kit);
  kit_drop_root(&kit);
  kit_close(&kit);
}

static void a_full_count_stays_full(void) {
  kit kit = kit_open();
  mh_dict root = kit_root(&kit), garbage = circle(&kit);
  uint64_t text = kit_value(&kit.space, 1), *head = mh_at(kit.space.region, mh_word_offset(text));
  *head |= MH_COUNT_STICKY;
  kit_set(&root, 1, text);
  kit_set(&garbage, 10, text);
  collect(&kit);
  CHECK_EQ(kit_count(&kit.space, text), MH_COUNT_STICKY);
  CHECK_EQ(kit_delete(&root, 1), MHEAP_OK);
  CHECK_EQ(collect(&kit).objects, 1); /* what counting never frees */
  kit_drop_root(&kit);
  kit_close(&kit);
}

static uint64_t held;
static bool is_held(mh_space *space, uint64_t offset) { return (void)space, offset == held; }

static void what_the_process_holds_stays(void) {
  kit kit = kit_open();
  kit_root(&kit);
  uint64_t value;
  mh_collected collected = {0};
  mh_dict dict = circle(&kit), loose = new_dict(&kit);
  kit_set(&loose, 1, kit_value(&kit.space, 1));
  mh_dict garbage = circle(&kit); /* all that refers to the loose one */
  kit_set(&garbage, 10, dict_ref(&loose));
  kit.space.held = is_held;
  held = loose.offset;
  CHECK_EQ(mh_collect_begin(&kit.space), MHEAP_OK);
  mh_collect_hold(&kit.space, dict.offset, dict.birth);
  mh_collect_hold(&kit.space, loose.offset, loose.birth);
  mh_collect_hold(&kit.space, garbage.offset, garbage.birth + 1000); /* of one that is gone */
  mh_collect_hold(&kit.space, 16, 1);
  CHECK_EQ(mh_collect_step(&kit.space, FOR_EVER, &collected), MHEAP_OK);
  CHECK_EQ(collected.objects, 5);
  CHECK(kit_get(&dict, 2, &value) == MHEAP_OK && kit_is_value(&kit.space, value, 1));
  CHECK(kit_get(&loose, 1, &value) == MHEAP_OK && kit_is_value(&kit.space, value, 1));
  CHECK_EQ(kit_get(&garbage, 1, &value), MHEAP_ERR_STALE);
  CHECK_EQ(kit_count(&kit.space, dict_ref(&loose)), 0);
  held = 0;
  mh_reap(&kit.space, loose.offset);
  CHECK_EQ(collect(&kit).objects, 4);
  kit_drop_root(&kit);
  kit_close(&kit);
}

#define DEPTH 200000

static void a_chain_of_any_depth_is_freed_or_kept(void) {
  kit kit = kit_open();
  mh_dict root = kit_root(&kit);
  mh_list first = new_list(&kit), list;
  uint64_t word = list_ref(&first);
  for (int i = 0; i < DEPTH; i++) {
    list = new_list(&kit);
    REQUIRE_EQ(mh_list_append(&list, word), MHEAP_OK);
    word = list_ref(&list);
  }
  CHECK_EQ(mh_list_append(&first, one_more(&kit, word)), MHEAP_OK);
  kit_set(&root, 0, word);
  CHECK_EQ(collect(&kit).objects, 0);
  kit_is_sound(&kit);
  kit_delete(&root, 0);
  CHECK_EQ(collect(&kit).objects, DEPTH + 1);
  kit_drop_root(&kit);
  kit_close(&kit);
}

/* ---- what a kill leaves ---- */

static uint64_t block_of(kit *kit, uint64_t head, uint64_t second, uint64_t third) {
  uint64_t offset = 0;
  CHECK_EQ(mh_block_new(&kit->space, sizeof(mh_container), &offset), MHEAP_OK);
  uint64_t *words = mh_at(kit->space.region, offset);
  words[0] = head, words[1] = second, words[2] = third, words[3] = 0;
  return offset;
}

static void what_a_kill_left_is_freed(void) {
  kit kit = kit_open();
  mh_dict root = kit_root(&kit), live = new_dict(&kit);
  mh_table table;
  uint64_t value;
  kit_set(&live, 1, kit_value(&kit.space, 1));
  kit_set(&root, 0, dict_ref(&live));
  uint64_t before = kit_blocks(&kit), part = ((mh_container *)mh_at(kit.space.region, live.offset))->part;
  CHECK_EQ(mh_table_new(&kit.space, 100, &table), MHEAP_OK); /* a part that never had an owner */
  kit_value(&kit.space, 2);
  block_of(&kit, 0, 0, 0);                              /* nothing was stored in it */
  block_of(&kit, mh_head(1, MH_TYPE_DICT, 0), 5, part); /* what was left of another */
  block_of(&kit, mh_head(1, MH_TYPE_LIST, 0), 5, part);
  block_of(&kit, mh_head(1, MH_TYPE_LIST, 0), 5, 48);
  block_of(&kit, mh_head(1, MH_TYPE_DICT, 0), 5, UINT64_MAX - 15);
  block_of(&kit, mh_head(1, MH_TYPE_TUPLE, 1000), 0, dict_ref(&live)); /* longer than its block */
  mh_collected collected = collect(&kit);
  CHECK_EQ(collected.objects, 6);
  CHECK_EQ(kit_blocks(&kit), before);
  CHECK(kit_get(&live, 1, &value) == MHEAP_OK && kit_is_value(&kit.space, value, 1));
  CHECK_EQ(kit_count(&kit.space, dict_ref(&live)), 1);
  kit_is_sound(&kit);
  kit_drop_root(&kit);
  kit_close(&kit);
}

static void a_compound_gives_up_what_it_refers_to(void) {
  kit kit = kit_open();
  mh_dict root = kit_root(&kit);
  uint64_t text = kit_value(&kit.space, 1);
  kit_set(&root, 0, text);
  block_of(&kit, mh_head(1, MH_TYPE_TUPLE, 2), 0, one_more(&kit, text));
  CHECK_EQ(collect(&kit).objects, 1);
  CHECK_EQ(kit_count(&kit.space, text), 1);
  kit_is_sound(&kit);
  kit_drop_root(&kit);
  kit_close(&kit);
}

static void blocks_of_types_to_come_are_left_alone(void) {
  kit kit = kit_open();
  kit_root(&kit);
  uint64_t offset = block_of(&kit, mh_head(1, 0x3f, 0), 1, 2);
  mh_collected collected = collect(&kit);
  CHECK_EQ(collected.objects + collected.bytes, 0);
  CHECK_EQ(mh_own_free(kit.heap, mh_at(kit.space.region, offset)), MHEAP_OK);
  kit_drop_root(&kit);
  kit_close(&kit);
}

/* ---- what is wrong in the heap ---- */

static void corrupt(kit *kit, uint64_t *word, uint64_t value, const char *text) {
  uint64_t was = *word, before = kit_blocks(kit);
  mh_collected collected = {0};
  *word = value;
  mheap_err code = mh_collect_begin(&kit->space);
  if (!code) code = mh_collect_step(&kit->space, FOR_EVER, &collected);
  CHECK_EQ(code, MHEAP_ERR_CORRUPT);
  CHECK_CONTAINS(mheap_last_error(kit->heap)->text, text);
  CHECK_EQ(collected.bytes, 0);
  CHECK_EQ(mh_collect_number(&kit->space), 0);
  CHECK_EQ(kit_blocks(kit), before);
  *word = was;
}

static void nothing_is_freed_where_something_is_wrong(void) {
  kit kit = kit_open();
  mh_dict root = kit_root(&kit), dict = new_dict(&kit);
  mh_list list = new_list(&kit);
  mh_region *region = kit.space.region;
  mh_dict garbage = circle(&kit);
  kit_set(&dict, 0, kit_value(&kit.space, 1));
  CHECK_EQ(mh_list_append(&list, kit_value(&kit.space, 2)), MHEAP_OK);
  kit_set(&root, 0, dict_ref(&dict));
  kit_set(&root, 1, list_ref(&list));
  mh_container *d = mh_at(region, dict.offset), *l = mh_at(region, list.offset);
  mh_table_block *table = mh_at(region, d->part);
  mh_items_block *items = mh_at(region, l->part);
  mh_entry *entry = (mh_entry *)(table + 1);
  const uint64_t beyond = mh_region_size(region), super = 4096 + MH_TAG_DICT_REF;
  corrupt(&kit, &region->super->root, beyond, "beyond the region");
  corrupt(&kit, &region->super->root, region->super->root + 8, "the offset of a root");
  corrupt(&kit, &region->super->names, l->part, "another type");
  corrupt(&kit, &d->part, beyond, "beyond the region");
  corrupt(&kit, &d->part, l->part, "the geometry of a table");
  corrupt(&kit, &l->part, l->part + 16, "items");
  corrupt(&kit, &table->head, table->head | 77, "the geometry of a table");
  corrupt(&kit, &table->counts, UINT32_MAX, "the counts of a table");
  corrupt(&kit, &items->range, 1000, "the range");
  corrupt(&kit, &entry->value, mh_word_ref(MH_TAG_LIST_REF, garbage.offset), "another type");
  corrupt(&kit, &entry->value, super, "another type");
  corrupt(&kit, &entry->value, beyond | MH_TAG_DICT_REF, "beyond the region");
  corrupt(&kit, items->words, mh_word_ref(MH_TAG_RECORD_REF, garbage.offset), "another type");
  uint64_t inside = items->words[0] + 16, *forged = mh_at(region, mh_word_offset(inside)), was = *forged;
  *forged = mh_head(1, MH_TYPE_STR1, 8);
  corrupt(&kit, items->words, inside, "in a block in use");
  *forged = was;
  CHECK_EQ(collect(&kit).objects, 4);
  kit_is_sound(&kit);
  kit_drop_root(&kit);
  kit_close(&kit);
}

/* ---- in steps ---- */

static bool one_step(kit *kit, mh_collected *collected) {
  CHECK_EQ(mh_collect_step(&kit->space, 0, collected), MHEAP_OK);
  return !collected->done;
}

/* A list of `count` texts under key 1 of the root; marking has begun with it, and is not through. */
static mh_list half_marked(kit *kit, mh_collected *collected, unsigned count) {
  mh_dict root = kit_root(kit);
  mh_list list = new_list(kit);
  *collected = (mh_collected){0};
  for (unsigned i = 0; i < count; i++) CHECK_EQ(mh_list_append(&list, kit_value(&kit->space, i)), MHEAP_OK);
  kit_set(&root, 1, list_ref(&list));
  CHECK_EQ(mh_collect_begin(&kit->space), MHEAP_OK);
  for (int i = 0; i < 3; i++) CHECK(one_step(kit, collected));
  return list;
}

static void all_are_there(kit *kit, mh_list *list, unsigned count) {
  mh_items items;
  CHECK_EQ(mh_list_items(list, &items), MHEAP_OK);
  CHECK_EQ(items.count, count);
  for (unsigned i = 0; i < count; i++)
    if (!CHECK(kit_is_value(&kit->space, items.words[i], i))) break;
  kit_is_sound(kit);
}

static void items_may_go_elsewhere_in_between(void) {
  for (unsigned round = 0; round < 3; round++) {
    kit kit = kit_open();
    mh_collected collected = {0};
    mh_list list = half_marked(&kit, &collected, 2000), other = new_list(&kit);
    mh_dict root = kit_root(&kit);
    uint64_t order[2000];
    for (unsigned i = 0; i < 2000; i++) order[i] = 1999 - i;
    kit_set(&root, 2, list_ref(&other));
    while (one_step(&kit, &collected)) {
      mh_items items;
      if (round == 0) CHECK_EQ(mh_list_permute(&list, order, 2000), MHEAP_OK);
      if (round > 0) CHECK_EQ(mh_list_items(&list, &items), MHEAP_OK);
      if (round > 0 && items.count > 0) { /* from the far end of one to the near end of another */
        uint64_t last = items.words[round == 1 ? items.count - 1 : 0];
        CHECK_EQ(mh_list_splice(&other, 0, 0, (uint64_t[]){one_more(&kit, last)}, 1), MHEAP_OK);
        CHECK_EQ(mh_list_splice(&list, round == 1 ? items.count - 1 : 0, 1, NULL, 0), MHEAP_OK);
      }
    }
    CHECK_EQ(collected.objects, 0);
    kit_is_sound(&kit);
    kit_drop_root(&kit);
    kit_close(&kit);
  }
}

static void a_part_may_be_replaced_or_go_in_between(void) {
  kit kit = kit_open();
  mh_collected collected = {0};
  mh_list list = half_marked(&kit, &collected, 2000);
  mh_dict root = kit_root(&kit);
  for (unsigned i = 2000; i < 9000; i++) CHECK_EQ(mh_list_append(&list, kit_value(&kit.space, i)), MHEAP_OK);
  while (one_step(&kit, &collected)) continue;
  CHECK_EQ(collected.objects, 0);
  all_are_there(&kit, &list, 9000);
  kit_delete(&root, 1);
  list = half_marked(&kit, &collected, 2000);
  kit_delete(&root, 1);
  for (unsigned i = 2; i < 20; i++) kit_set(&root, i, kit_value(&kit.space, i)); /* where the list was */
  while (one_step(&kit, &collected)) continue;
  CHECK_EQ(collected.objects, 0);
  kit_drop_root(&kit);
  kit_close(&kit);
}

static void one_may_end_early(void) {
  kit kit = kit_open();
  mh_dict root = kit_root(&kit);
  uint64_t text = kit_value(&kit.space, 1);
  kit_set(&root, 0, text);
  for (unsigned stop = 1;; stop++) { /* behind every step */
    mh_list garbage = new_list(&kit);
    CHECK_EQ(mh_list_append(&garbage, list_ref(&garbage)), MHEAP_OK);
    for (unsigned i = 0; i < 500; i++) CHECK_EQ(mh_list_append(&garbage, one_more(&kit, text)), MHEAP_OK);
    mh_collected collected = {0};
    CHECK_EQ(mh_collect_begin(&kit.space), MHEAP_OK);
    for (unsigned i = 0; i < stop && !collected.done; i++) one_step(&kit, &collected);
    if (stop % 2 == 0) mh_collect_stop(&kit.space, &collected);
    else if (!collected.done) CHECK(mh_collect_number(&kit.space) != 0);
    collect(&kit); /* which ends it, too */
    CHECK_EQ(kit_count(&kit.space, text), 1);
    kit_is_sound(&kit);
    if (collected.done) break;
  }
  kit_drop_root(&kit);
  kit_close(&kit);
}

static void a_rollback_ends_one(void) {
  mheap_error error;
  const mheap_options options = {.mode = MHEAP_MODE_ATOMIC};
  kit kit = {.heap = mheap_open(test_path("atomic.heap"), &options, &error)};
  REQUIRE(kit.heap != NULL);
  mh_space_init(&kit.space, kit.heap);
  mh_dict root = kit_root(&kit), dict = circle(&kit), again;
  kit_set(&root, 0, one_more(&kit, dict_ref(&dict)));
  CHECK_EQ(mheap_commit(kit.heap, false), MHEAP_OK);
  for (unsigned steps = 0; steps < 8; steps++) {
    mh_collected collected = {0};
    CHECK_EQ(kit_delete(&root, 0), MHEAP_OK);
    CHECK_EQ(mh_collect_begin(&kit.space), MHEAP_OK);
    for (unsigned i = 0; i < steps && !collected.done; i++) one_step(&kit, &collected);
    CHECK_EQ(mheap_rollback(kit.heap), MHEAP_OK);
    CHECK_EQ(mh_collect_number(&kit.space), 0);
    CHECK_EQ(mh_root(&kit.space, false, &root), MHEAP_OK);
    CHECK_EQ(mh_dict_at(&kit.space, dict.offset, &again), MHEAP_OK);
    CHECK_EQ(collect(&kit).objects, 0);
    kit_is_sound(&kit);
  }
  CHECK_EQ(kit_delete(&root, 0), MHEAP_OK);
  CHECK_EQ(collect(&kit).objects, 4);
  CHECK_EQ(mh_collect_begin(&kit.space), MHEAP_OK);
  mheap_abandon(kit.heap); /* in its middle */
}

static void c_programs_collect_in_one_go(void) {
  kit kit = kit_open();
  mheap_collected collected;
  circle(&kit);
  kit.space.region->object_users++;
  CHECK_EQ(mheap_collect_objects(kit.heap, &collected), MHEAP_ERR_BUSY);
  CHECK_EQ(collected.objects, 0);
  kit.space.region->object_users--;
  CHECK_EQ(mheap_collect_objects(kit.heap, &collected), MHEAP_OK);
  CHECK_EQ(collected.objects, 4);
  CHECK(collected.bytes > 4 * 16);
  CHECK_EQ(mheap_collect_objects(kit.heap, NULL), MHEAP_OK);
  kit_close(&kit);
}

static void a_reader_refuses(void) {
  mheap_error error;
  const mheap_options options = {.mode = MHEAP_MODE_READONLY};
  mheap *heap = mheap_open(test_path("read.heap"), NULL, &error);
  REQUIRE(heap != NULL);
  CHECK(mheap_malloc(heap, 10) != NULL);
  CHECK_EQ(mheap_detach(heap, &error), MHEAP_OK);
  heap = mheap_open(test_path("read.heap"), &options, &error);
  REQUIRE(heap != NULL);
  mh_space space = {0};
  mh_space_init(&space, heap);
  CHECK_EQ(mh_collect_begin(&space), MHEAP_ERR_READ_ONLY);
  CHECK_EQ(mheap_collect_objects(heap, NULL), MHEAP_ERR_READ_ONLY);
  CHECK_EQ(mheap_detach(heap, &error), MHEAP_OK);
}

/* ---- beside threads that change named roots ---- */

#define NAMES 60

typedef struct namer {
  mheap *heap;
  unsigned number;
  bool named[NAMES];
  _Atomic bool *ends;
} namer;

static size_t name_of(const namer *n, unsigned i, char name[64]) {
  return (size_t)snprintf(name, 64, "the name number %u of thread %u", i, n->number);
}

static void *change_names(void *arg) {
  namer *n = arg;
  char name[64];
  void *block = mheap_malloc(n->heap, 16);
  for (unsigned i = 0; !*n->ends || i < 2 * NAMES; i++) {
    unsigned at = i * 7 % NAMES;
    size_t length = name_of(n, at, name);
    n->named[at] = !n->named[at];
    if (mheap_setroot(n->heap, name, length, n->named[at] ? block : NULL) != MHEAP_OK) break;
  }
  for (unsigned i = 0; i < NAMES; i++) {
    bool is = mheap_getroot(n->heap, name, name_of(n, i, name)) == block;
    CHECK_EQ(is, n->named[i]);
  }
  mheap_thread_done();
  return block;
}

static void threads_name_roots_meanwhile(void) {
  kit kit = kit_open();
  _Atomic bool ends = false;
  namer namers[2] = {{kit.heap, 0, {0}, &ends}, {kit.heap, 1, {0}, &ends}};
  pthread_t threads[2];
  CHECK_EQ(mheap_setroot(kit.heap, "the first", 9, mheap_malloc(kit.heap, 16)), MHEAP_OK);
  for (int i = 0; i < 2; i++) CHECK_EQ(pthread_create(&threads[i], NULL, change_names, &namers[i]), 0);
  for (int i = 0; i < 200; i++) {
    mh_collected collected = {0};
    circle(&kit);
    CHECK_EQ(mh_collect_begin(&kit.space), MHEAP_OK);
    while (one_step(&kit, &collected)) continue;
    if (!CHECK_EQ(collected.objects, 4)) break;
  }
  ends = true;
  for (int i = 0; i < 2; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
  kit_is_sound(&kit);
  CHECK_EQ(mheap_detach(kit.heap, NULL), MHEAP_OK);
}

/* ---- beside a program that goes on: against a model ----

   Nodes are dicts and lists; those that the model can reach from node 0, the root, are used. `blind`: the
   collector hears nothing of what happens between its steps. */

#define NODES 250
#define EDGES 150
#define TEXT UINT32_MAX

typedef struct node {
  uint64_t offset, birth; /* offset 0: none */
  bool is_dict, reached, was_garbage;
  uint32_t count;
  uint32_t to[EDGES]; /* a node, TEXT, or of a dict NODES: no such key */
} node;

typedef struct program {
  kit kit;
  node nodes[NODES];
  uint64_t random;
  unsigned faults;
} program;

static uint32_t below(program *p, uint32_t limit) {
  p->random ^= p->random << 13, p->random ^= p->random >> 7, p->random ^= p->random << 17;
  return (uint32_t)(p->random >> 20) % limit;
}

static void expect(program *p, bool ok) { p->faults += !ok; }

static void reach(program *p) {
  uint32_t queue[NODES] = {0}, count = 1;
  for (uint32_t i = 0; i < NODES; i++) p->nodes[i].reached = false;
  p->nodes[0].reached = true;
  for (uint32_t i = 0; i < count; i++)
    for (uint32_t e = 0; e < p->nodes[queue[i]].count; e++) {
      uint32_t to = p->nodes[queue[i]].to[e];
      if (to >= NODES || p->nodes[to].reached) continue;
      p->nodes[to].reached = true;
      queue[count++] = to;
    }
}

static uint32_t any_reached(program *p) {
  for (uint32_t tries = 0; tries < 8; tries++) {
    uint32_t i = below(p, NODES);
    if (p->nodes[i].reached) return i;
  }
  return 0;
}

static mh_dict dict_of(program *p, const node *n) {
  return (mh_dict){.space = &p->kit.space, .offset = n->offset, .birth = n->birth, .type = MH_TYPE_DICT};
}
static mh_list list_of(program *p, const node *n) {
  return (mh_list){.space = &p->kit.space, .offset = n->offset, .birth = n->birth, .type = MH_TYPE_LIST};
}
static uint64_t ref_to(const node *n) {
  return mh_word_ref(n->is_dict ? MH_TAG_DICT_REF : MH_TAG_LIST_REF, n->offset);
}

/* A node that is not reached is made anew; the value has one reference. */
static uint64_t new_value(program *p, uint32_t *to) {
  uint32_t kind = below(p, 4);
  *to = kind == 0 ? TEXT : kind == 1 ? any_reached(p) : below(p, NODES);
  if (*to == TEXT) return kit_value(&p->kit.space, 7);
  node *n = &p->nodes[*to];
  if (n->reached) {
    expect(p, mh_retain(&p->kit.space, ref_to(n)) == MHEAP_OK);
    return ref_to(n);
  }
  mh_dict dict = {0};
  mh_list list = {0};
  *n = (node){.is_dict = below(p, 2), .reached = true};
  mheap_err failed = n->is_dict ? mh_dict_new(&p->kit.space, 0, &dict) : mh_list_new(&p->kit.space, 0, &list);
  expect(p, failed == MHEAP_OK);
  n->offset = n->is_dict ? dict.offset : list.offset;
  n->birth = n->is_dict ? dict.birth : list.birth;
  return ref_to(n);
}

static void change_dict(program *p, node *n) {
  mh_dict dict = dict_of(p, n);
  mh_key key;
  char buffer[64];
  uint32_t at = below(p, EDGES), to, what = below(p, 20);
  kit_key(&p->kit.space, at, &key, buffer);
  if (what == 0) {
    n->count = 0;
    expect(p, mh_dict_clear(&dict) == MHEAP_OK);
  } else if (what < 6) {
    bool there = at < n->count && n->to[at] != NODES;
    if (there) n->to[at] = NODES;
    expect(p, mh_dict_delete(&dict, &key) == (there ? MHEAP_OK : MHEAP_ERR_NOT_FOUND));
  } else {
    uint64_t word = new_value(p, &to);
    for (; n->count <= at; n->count++) n->to[n->count] = NODES;
    n->to[at] = to;
    expect(p, mh_dict_set(&dict, &key, word) == MHEAP_OK);
  }
}

static void cut_list(program *p, node *n, mh_list *list) {
  uint32_t from = below(p, 2) ? 0 : below(p, n->count + 1), most = n->count - from;
  uint32_t removed = most == 0 ? 0 : below(p, most < 8 ? most + 1 : 8);
  expect(p, mh_list_splice(list, from, removed, NULL, 0) == MHEAP_OK);
  memmove(n->to + from, n->to + from + removed, (n->count - from - removed) * sizeof *n->to);
  n->count -= removed;
}

static void reverse_list(program *p, node *n, mh_list *list) {
  uint64_t order[EDGES];
  uint32_t to[EDGES];
  for (uint32_t i = 0; i < n->count; i++) order[i] = n->count - 1 - i, to[i] = n->to[n->count - 1 - i];
  memcpy(n->to, to, n->count * sizeof *to);
  expect(p, mh_list_permute(list, order, n->count) == MHEAP_OK);
}

static void change_list(program *p, node *n) {
  mh_list list = list_of(p, n);
  uint32_t what = below(p, 20);
  if (what == 0 && n->count > 0) {
    reverse_list(p, n, &list);
  } else if (what < 5 || n->count == EDGES) {
    cut_list(p, n, &list);
  } else {
    uint32_t at = what < 12 ? n->count : below(p, n->count + 1), to;
    uint64_t word = new_value(p, &to);
    memmove(n->to + at + 1, n->to + at, (n->count - at) * sizeof *n->to);
    n->to[at] = to;
    n->count++;
    expect(p, mh_list_splice(&list, at, 0, &word, 1) == MHEAP_OK);
  }
}

/* The last item of one list becomes that of another, which may have been looked into already. */
static void move(program *p, node *from, node *to) {
  if (from == to || from->is_dict || to->is_dict || from->count == 0 || to->count == EDGES) return;
  mh_list source = list_of(p, from), target = list_of(p, to);
  mh_items items = {0};
  expect(p, mh_list_items(&source, &items) == MHEAP_OK && items.count == from->count);
  if (p->faults > 0) return;
  uint64_t word = items.words[from->count - 1];
  expect(p, mh_retain(&p->kit.space, word) == MHEAP_OK);
  expect(p, mh_list_append(&target, word) == MHEAP_OK);
  to->to[to->count++] = from->to[--from->count];
  expect(p, mh_list_splice(&source, from->count, 1, NULL, 0) == MHEAP_OK);
}

static void change_something(program *p) {
  reach(p);
  node *n = &p->nodes[any_reached(p)];
  if (below(p, 2)) move(p, n, &p->nodes[any_reached(p)]);
  else if (n->is_dict) change_dict(p, n);
  else change_list(p, n);
}

static void change(program *p, uint32_t times, bool blind) {
  mh_region *region = p->kit.space.region;
  mh_collector *collector = region->collector;
  if (blind) region->collector = NULL;
  for (uint32_t i = 0; i < times && p->faults == 0; i++) change_something(p);
  region->collector = collector;
}

static bool leads_to(program *p, uint64_t word, uint32_t to) {
  return to == TEXT ? kit_is_value(&p->kit.space, word, 7) : word == ref_to(&p->nodes[to]);
}

static void compare(program *p, node *n) {
  mh_dict dict = dict_of(p, n);
  mh_list list = list_of(p, n);
  mh_items items = {0};
  uint64_t word;
  if (!n->is_dict) expect(p, mh_list_items(&list, &items) == MHEAP_OK && items.count == n->count);
  for (uint32_t i = 0; i < n->count && p->faults == 0; i++) {
    if (!n->is_dict) expect(p, leads_to(p, items.words[i], n->to[i]));
    else if (n->to[i] == NODES) expect(p, kit_get(&dict, i, &word) == MHEAP_ERR_NOT_FOUND);
    else expect(p, kit_get(&dict, i, &word) == MHEAP_OK && leads_to(p, word, n->to[i]));
  }
}

/* `exact`: there is no garbage, whose references count too. */
static void compare_all(program *p, bool exact) {
  reach(p);
  for (uint32_t i = 0; i < NODES && p->faults == 0; i++)
    if (p->nodes[i].reached) compare(p, &p->nodes[i]);
  kit_findings findings = {0};
  mh_objects_check(p->kit.heap, kit_found, &findings);
  expect(p, findings.broken == 0 && (!exact || findings.notes == 0));
}

typedef struct ghost {
  uint64_t offset, birth;
  mh_type type;
} ghost;

static uint32_t note_garbage(program *p, ghost *ghosts) {
  uint32_t count = 0;
  reach(p);
  for (uint32_t i = 0; i < NODES; i++) {
    const node *n = &p->nodes[i];
    mh_type type = n->is_dict ? MH_TYPE_DICT : MH_TYPE_LIST;
    if (n->offset == 0 || n->reached || !mh_container_is(&p->kit.space, n->offset, type, n->birth)) continue;
    ghosts[count++] = (ghost){n->offset, n->birth, type};
  }
  return count;
}

static void collect_beside(program *p, bool blind) {
  ghost ghosts[NODES];
  mh_collected collected = {0};
  uint32_t count = note_garbage(p, ghosts);
  expect(p, mh_collect_begin(&p->kit.space) == MHEAP_OK);
  while (p->faults == 0 && !collected.done) {
    expect(p, mh_collect_step(&p->kit.space, 0, &collected) == MHEAP_OK);
    change(p, below(p, 12), blind);
  }
  if (p->faults == 0) compare_all(p, false);
  for (uint32_t i = 0; i < count && p->faults == 0; i++)
    expect(p, !mh_container_is(&p->kit.space, ghosts[i].offset, ghosts[i].type, ghosts[i].birth));
}

/* Everything that is left after the last one is reachable: once the root is gone, nothing is. */
static unsigned run_program(uint64_t seed, bool blind, uint64_t *garbage) {
  program *p = calloc(1, sizeof *p);
  p->kit = kit_open();
  p->random = seed * 0x9e3779b97f4a7c15u + 1;
  mh_dict root = kit_root(&p->kit);
  p->nodes[0] = (node){.offset = root.offset, .birth = root.birth, .is_dict = true};
  for (int i = 0; i < 6 && p->faults == 0; i++) {
    change(p, 400, false);
    collect_beside(p, blind);
  }
  unsigned faults = p->faults;
  if (faults == 0) {
    mh_collected collected = collect(&p->kit);
    *garbage += collected.objects;
    compare_all(p, true);
    CHECK_EQ(collect(&p->kit).bytes, 0);
    kit_drop_root(&p->kit);
    collect(&p->kit);
    faults = p->faults;
    kit_close(&p->kit);
  } else mheap_abandon(p->kit.heap);
  free(p);
  return faults;
}

static void a_program_goes_on_between_steps(void) {
  uint64_t garbage = 0;
  for (uint64_t seed = 1; seed <= 60; seed++)
    if (!CHECK_EQ(run_program(seed, false, &garbage), 0)) fprintf(stderr, "seed %d\n", (int)seed);
  CHECK(garbage > 0);
}

/* The control. */
static void a_collector_that_hears_of_nothing_is_caught(void) {
  uint64_t garbage = 0;
  unsigned caught = 0;
  for (uint64_t seed = 1; seed <= 10; seed++) caught += run_program(seed, true, &garbage) > 0;
  CHECK_EQ(caught, 10);
}

TEST_MAIN(TEST(circles_are_freed), TEST(an_empty_heap_has_no_garbage), TEST(what_can_be_reached_stays),
          TEST(what_garbage_refers_to_is_counted_down), TEST(a_full_count_stays_full),
          TEST(what_the_process_holds_stays), TEST(a_chain_of_any_depth_is_freed_or_kept),
          TEST(what_a_kill_left_is_freed), TEST(a_compound_gives_up_what_it_refers_to),
          TEST(blocks_of_types_to_come_are_left_alone), TEST(nothing_is_freed_where_something_is_wrong),
          TEST(items_may_go_elsewhere_in_between), TEST(a_part_may_be_replaced_or_go_in_between),
          TEST(one_may_end_early), TEST(a_rollback_ends_one), TEST(c_programs_collect_in_one_go),
          TEST(a_reader_refuses), TEST(threads_name_roots_meanwhile), TEST(a_program_goes_on_between_steps),
          TEST(a_collector_that_hears_of_nothing_is_caught))
