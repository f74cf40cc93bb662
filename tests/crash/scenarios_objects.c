/* scenarios_objects.c: scenarios of objects: dicts, lists, sets, counters, deques, sorted dicts and named
   roots. See scenarios.h. */
#include "objects/compound.h"

#include "scenarios_kit.h"

static void set(stage *s, const char *name, uint64_t word) {
  mh_dict root = root_of(s);
  mh_key key = key_of(name);
  must(s, mh_dict_set(&root, &key, word), "dict set");
}

static void remove_key(stage *s, const char *name) {
  mh_dict root = root_of(s);
  mh_key key = key_of(name);
  must(s, mh_dict_delete(&root, &key), "dict delete");
}

static void set_numbered(stage *s, int i) {
  char name[40];
  root_of(s);
  snprintf(name, sizeof name, "a key of some length %d", i);
  set(s, name, i % 2 == 0 ? mh_word_int(i) : text_of(s, name));
}

/* ---- what is there before ---- */

static void dict_of(stage *s, int count) {
  for (int i = 0; i < 5; i++) stage_malloc(s, 100);
  for (int i = 0; i < count; i++) set_numbered(s, i);
}
static void no_root(stage *s) { stage_malloc(s, 100); }
static void dict_of_1(stage *s) { dict_of(s, 1); }
static void dict_of_3(stage *s) { dict_of(s, 3); }
static void dict_of_20(stage *s) { dict_of(s, 20); }

/* The next entry makes it grow: `least` entries at least. */
static void full_dict(stage *s, uint32_t least) {
  const mh_table *table;
  mh_table_counts counts = {0};
  dict_of(s, 1);
  for (int i = 1;; i++) {
    mh_dict root = root_of(s);
    must(s, mh_dict_table(&root, &table), "table");
    must(s, mh_table_read(&space, table, &counts), "counts");
    if (counts.used == table->capacity && counts.used >= least) return;
    set_numbered(s, i);
  }
}
static void full_dict_with_tags(stage *s) { full_dict(s, 2); }
static void largest_dict_with_tags(stage *s) { full_dict(s, MH_TABLE_TAGGED); }
static void full_dict_with_slots(stage *s) { full_dict(s, 40); }

static void list_of(stage *s, int count) {
  mh_list list;
  root_of(s);
  must(s, mh_list_new(&space, 0, &list), "list");
  for (int i = 0; i < count; i++)
    must(s, mh_list_append(&list, text_of(s, "an item of some length")), "append");
  set(s, "list", mh_word_ref(MH_TAG_LIST_REF, list.offset));
}
static void list_of_0(stage *s) { list_of(s, 0); }
static void list_of_3(stage *s) { list_of(s, 3); }

/* Appends until the items' block is full. */
static mh_list the_list(stage *s) {
  mh_dict root = root_of(s);
  mh_key key = key_of("list");
  uint64_t word;
  mh_list list;
  must(s, mh_dict_get(&root, &key, &word), "the list");
  must(s, mh_list_at(&space, mh_word_offset(word), &list), "the list");
  return list;
}
static void full_list(stage *s) {
  mh_items items;
  list_of(s, 1);
  mh_list list = the_list(s);
  for (;;) {
    must(s, mh_list_items(&list, &items), "items");
    if (items.start + items.count == items.capacity) return;
    must(s, mh_list_append(&list, mh_word_int(5)), "append");
  }
}

static void set_of(stage *s, int count) {
  mh_dict set_;
  char name[40];
  root_of(s);
  must(s, mh_set_new(&space, 0, &set_), "set");
  for (int i = 0; i < count; i++) {
    snprintf(name, sizeof name, "a member of some length %d", i);
    mh_key key = key_of(name);
    must(s, mh_set_add(&set_, &key), "add");
  }
  set(s, "set", mh_container_ref(MH_TYPE_SET, set_.offset));
}
static void set_of_3(stage *s) { set_of(s, 3); }
static void set_of_8(stage *s) { set_of(s, 8); } /* as many as have tags */

static void counter_of_8(stage *s) { /* as many as have tags */
  mh_dict counter;
  char name[40];
  bool counted;
  root_of(s);
  must(s, mh_table_owner_new(&space, MH_TYPE_COUNTER, 0, &counter), "counter");
  for (int i = 0; i < 8; i++) {
    snprintf(name, sizeof name, "an element of some length %d", i);
    mh_key key = key_of(name);
    must(s, mh_dict_count(&counter, &key, &counted), "count");
  }
  set(s, "counter", mh_container_ref(MH_TYPE_COUNTER, counter.offset));
}

static void deque_of(stage *s, int count, uint64_t limit) {
  mh_list deque;
  root_of(s);
  must(s, mh_deque_new(&space, 0, limit, &deque), "deque");
  for (int i = 0; i < count; i++) {
    uint64_t word = text_of(s, "an item of some length");
    must(s, mh_deque_push(&deque, i % 2 == 0 ? MH_RIGHT : MH_LEFT, &word, 1), "push");
  }
  set(s, "deque", mh_container_ref(MH_TYPE_DEQUE, deque.offset));
}
static void deque_of_0(stage *s) { deque_of(s, 0, 0); }
static void deque_of_5(stage *s) { deque_of(s, 5, 0); }
static void deque_of_ints(stage *s) {
  mh_list deque;
  uint64_t words[] = {mh_word_int(1), mh_word_int(2), mh_word_int(3)};
  root_of(s);
  must(s, mh_deque_new(&space, 6, 0, &deque), "deque");
  must(s, mh_deque_push(&deque, MH_RIGHT, words, 3), "push");
  set(s, "deque", mh_container_ref(MH_TYPE_DEQUE, deque.offset));
}
static void bounded_deque(stage *s) { deque_of(s, 5, 6); }

/* A dict and a list that refer to one another, and to a dict that stays. */
static void circle(stage *s) {
  mh_dict dict, kept;
  mh_list list;
  root_of(s);
  must(s, mh_dict_new(&space, 0, &kept), "dict");
  uint64_t word = mh_word_ref(MH_TAG_DICT_REF, kept.offset);
  set(s, "kept", word);
  must(s, mh_dict_new(&space, 0, &dict), "dict");
  must(s, mh_list_new(&space, 0, &list), "list");
  mh_key key = key_of("a key of some length"), short_key = key_of("kept");
  must(s, mh_dict_set(&dict, &key, mh_word_ref(MH_TAG_LIST_REF, list.offset)), "dict set");
  must(s, mh_retain(&space, word), "retain");
  must(s, mh_dict_set(&dict, &short_key, word), "dict set");
  must(s, mh_retain(&space, word), "retain");
  must(s, mh_list_append(&list, word), "append");
  must(s, mh_list_append(&list, mh_word_ref(MH_TAG_DICT_REF, dict.offset)), "append");
}

/* ---- operations ---- */

static uint64_t stored(const char *name) {
  mh_dict root;
  mh_key key = key_of(name);
  uint64_t word = 0;
  if (mh_root(&space, false, &root) == MHEAP_OK) mh_dict_get(&root, &key, &word);
  return mh_word_offset(word);
}
static mh_dict the_set(stage *s) {
  mh_dict found;
  root_of(s);
  must(s, mh_set_at(&space, stored("set"), &found), "the set");
  return found;
}
static mh_list the_deque(stage *s) {
  mh_list found;
  root_of(s);
  must(s, mh_deque_at(&space, stored("deque"), &found), "the deque");
  return found;
}
static void add(stage *s) {
  mh_dict found = the_set(s);
  mh_key key = key_of("one more member, as long");
  must(s, mh_set_add(&found, &key), "add");
}
static void discard(stage *s) {
  mh_dict found = the_set(s);
  mh_key key = key_of("a member of some length 1");
  must(s, mh_dict_delete(&found, &key), "discard");
}
static void push(stage *s, mh_end end) {
  mh_list found = the_deque(s);
  uint64_t word = text_of(s, "one more item, as long");
  must(s, mh_deque_push(&found, end, &word, 1), "push");
}
static void push_right(stage *s) { push(s, MH_RIGHT); }
static void push_left(stage *s) { push(s, MH_LEFT); }
static void pop_left(stage *s) {
  mh_list found = the_deque(s);
  must(s, mh_list_splice(&found, 0, 1, NULL, 0), "pop");
}
/* The deque of ints, to be changed as ends.h does. */
static mh_list ready_deque(stage *s) {
  mh_list found = the_deque(s);
  mh_container *container;
  mh_items items;
  must(s, mh_list_to_change(&found, &container, &items), "ready");
  return found;
}
static void end_push(stage *s) {
  mh_list found = ready_deque(s);
  must(s, mh_ends_push(&found, MH_RIGHT, mh_word_int(7)) ? MHEAP_OK : MHEAP_ERR_ARGUMENT, "push");
}
static void end_pop(stage *s) {
  mh_list found = ready_deque(s);
  uint64_t word;
  must(s, mh_ends_peek(&found, MH_LEFT, &word) ? MHEAP_OK : MHEAP_ERR_ARGUMENT, "peek");
  mh_ends_drop(&found, MH_LEFT);
}
static void rotate(stage *s) {
  mh_list found = the_deque(s);
  must(s, mh_deque_rotate(&found, 2), "rotate");
}

static void count(stage *s, const char *name) {
  mh_dict counter;
  bool counted;
  root_of(s);
  must(s, mh_table_owner_at(&space, MH_TYPE_COUNTER, stored("counter"), &counter), "the counter");
  mh_key key = key_of(name);
  must(s, mh_dict_count(&counter, &key, &counted), "count");
}
static void count_again(stage *s) { count(s, "an element of some length 3"); }
static void count_new(stage *s) { count(s, "an element of some length 9"); }

/* ---- sorted dicts: keys are texts, so that their references are seen ---- */

static mh_key numbered_key(int i, char name[40]) {
  snprintf(name, 40, "%05d is the key of an entry", i);
  return key_of(name);
}
static mh_sorted the_sorted(stage *s) {
  mh_sorted found;
  root_of(s);
  must(s, mh_sorted_at(&space, stored("sorted"), &found), "the sorted dict");
  return found;
}
static void insert_number(stage *s, int i) {
  char name[40];
  mh_sorted found = the_sorted(s);
  mh_key key = numbered_key(i, name);
  must(s, mh_sorted_set(&found, &key, i % 2 == 0 ? mh_word_int(i) : text_of(s, name)), "sorted set");
}
static void delete_number(stage *s, int i) {
  char name[40];
  mh_sorted found = the_sorted(s);
  mh_key key = numbered_key(i, name);
  must(s, mh_sorted_delete(&found, &key), "sorted delete");
}
static void sorted_of(stage *s, int count, int step) {
  mh_sorted made;
  root_of(s);
  must(s, mh_sorted_new(&space, &made), "sorted dict");
  set(s, "sorted", mh_container_ref(MH_TYPE_SORTED, made.offset));
  for (int i = 0; i < count; i++) insert_number(s, i * step % 1009);
}
static void sorted_of_0(stage *s) { sorted_of(s, 0, 1); }
static void sorted_of_1(stage *s) { sorted_of(s, 1, 1); }
static void sorted_of_5(stage *s) { sorted_of(s, 5, 1); }
static void sorted_of_15(stage *s) { sorted_of(s, 15, 2); } /* a full leaf */
static void sorted_of_16(stage *s) { sorted_of(s, 16, 1); } /* a leaf of 14, one of 2 */

static mh_node node_at(stage *s, unsigned level) {
  mh_spot spot;
  mh_node node;
  mh_sorted found = the_sorted(s);
  must(s, mh_sorted_seek_index(&found, 0, &spot), "seek");
  if (spot.levels <= level) stage_fail("the tree has not so many levels", s->heap);
  must(s, mh_node_open(&space, spot.node[level], level, &node), "node");
  return node;
}
/* Inserts in front until the first leaf, and the first node above it, are full: the next splits all. */
static void full_to_the_top(stage *s) {
  sorted_of(s, 0, 1);
  int next = 20000;
  for (; next > 19700; next--) insert_number(s, next);
  for (;;) {
    mh_node leaf = node_at(s, 0), above = node_at(s, 1);
    if (leaf.count == MH_NODE_PLACES && above.count + 2 > MH_NODE_PLACES) return;
    insert_number(s, next--);
  }
}
static void insert_at_front(stage *s) {
  unsigned before = node_at(s, 2).count;
  insert_number(s, 1);
  if (node_at(s, 2).count != before + 1) stage_fail("the node above the leaf was not split", s->heap);
}
/* Leaves of 5, 6 and 12, of which the first two become one. */
static void sparse_leaves(stage *s) {
  sorted_of(s, 40, 1);
  for (int i = 5; i < 14; i++) delete_number(s, i);
  for (int i = 20; i < 28; i++) delete_number(s, i);
}
/* Leaves of 5 and 2, which become one, without a node above. */
static void sparse_pair(stage *s) {
  sorted_of_16(s);
  for (int i = 5; i < 14; i++) delete_number(s, i);
}
static void branch_of_one(stage *s) {
  sorted_of_16(s);
  delete_number(s, 15);
}
/* Complete before it is anybody's. */
static void build(stage *s, int count, bool is_text) {
  mh_sorted made;
  mh_sorted_build state;
  char name[40];
  root_of(s);
  must(s, mh_sorted_new(&space, &made), "sorted dict");
  mh_sorted_build_begin(&made, &state);
  for (int i = 0; i < count; i++) {
    mh_key key = numbered_key(i, name);
    if (!is_text) mh_key_int(&space, &key, i);
    must(s, mh_sorted_set(&made, &key, mh_word_int(i)), "sorted set");
  }
  mh_sorted_build_end(&made);
  set(s, "built", mh_container_ref(MH_TYPE_SORTED, made.offset));
}
static void build_two_levels(stage *s) { build(s, MH_NODE_PLACES + 1, true); }
static void build_three_levels(stage *s) { build(s, MH_NODE_PLACES * MH_NODE_PLACES + 1, false); }
static void insert_sorted_first(stage *s) { insert_number(s, 3); }
static void insert_sorted(stage *s) { insert_number(s, 7); }
static void insert_last(stage *s) { insert_number(s, 900); }
static void replace_sorted(stage *s) {
  char name[40];
  mh_sorted found = the_sorted(s);
  mh_key key = numbered_key(1, name);
  must(s, mh_sorted_set(&found, &key, text_of(s, "another value, as long")), "sorted set");
}
static void delete_sorted_0(stage *s) { delete_number(s, 0); }
static void delete_sorted_3(stage *s) { delete_number(s, 3); }
static void delete_and_merge(stage *s) {
  delete_number(s, 3);
  if (node_at(s, 1).count != 2) stage_fail("no leaves were merged", s->heap);
}
static void delete_and_lose_the_top(stage *s) {
  delete_number(s, 3);
  if (node_at(s, 0).offset != ((mh_container *)mh_at(space.region, the_sorted(s).offset))->part)
    stage_fail("the top is still there", s->heap);
}
static void delete_sorted_14(stage *s) { delete_number(s, 14); }
static void clear_sorted(stage *s) {
  mh_sorted found = the_sorted(s);
  must(s, mh_sorted_clear(&found), "clear");
}
static void sorted_of_300(stage *s) { sorted_of(s, 300, 7); }
static void drop_sorted(stage *s) { remove_key(s, "sorted"); }

static void insert_inline(stage *s) {
  root_of(s);
  set(s, "short", mh_word_int(1));
}
static void insert_text(stage *s) { set_numbered(s, 1001); }
static void insert_first(stage *s) { set_numbered(s, 0); }
static void replace_value(stage *s) {
  root_of(s);
  set(s, "a key of some length 1", text_of(s, "another value, as long"));
}
static void delete_first(stage *s) { remove_key(s, "a key of some length 0"); }
static void delete_last(stage *s) { remove_key(s, "a key of some length 2"); }
static void delete_with_text(stage *s) { remove_key(s, "a key of some length 1"); }
static void clear(stage *s) {
  mh_dict root = root_of(s);
  must(s, mh_dict_clear(&root), "clear");
}
static void nest(stage *s) {
  mh_dict dict;
  root_of(s);
  must(s, mh_dict_new(&space, 0, &dict), "dict");
  mh_key key = key_of("inner");
  must(s, mh_dict_set(&dict, &key, text_of(s, "a value within")), "dict set");
  set(s, "outer", mh_word_ref(MH_TAG_DICT_REF, dict.offset));
}
static void append(stage *s) {
  mh_list list = the_list(s);
  must(s, mh_list_append(&list, text_of(s, "one more item, as long")), "append");
}
static void replace_item(stage *s) {
  mh_list list = the_list(s);
  must(s, mh_list_set(&list, 1, mh_word_int(1)), "set item");
}
static void insert_item(stage *s) {
  mh_list list = the_list(s);
  uint64_t word = mh_word_int(9);
  must(s, mh_list_splice(&list, 1, 0, &word, 1), "insert");
}
static void drop_item(stage *s) {
  mh_list list = the_list(s);
  must(s, mh_list_splice(&list, 2, 1, NULL, 0), "drop");
}
/* A tuple with a text, a list and a tuple in it. */
static uint64_t tuple_of(stage *s, const char *text, bool with_list) {
  uint64_t inner, outer;
  mh_list list;
  root_of(s);
  must(s, mh_compound_new(&space, MH_TYPE_TUPLE, 0, 1, &inner), "tuple");
  mh_compound_set(&space, inner, 0, text_of(s, text));
  must(s, mh_compound_new(&space, MH_TYPE_TUPLE, 0, 2, &outer), "tuple");
  mh_compound_set(&space, outer, 0, inner);
  if (!with_list) {
    mh_compound_set(&space, outer, 1, mh_word_int(2));
    return outer;
  }
  must(s, mh_list_new(&space, 0, &list), "list");
  must(s, mh_list_append(&list, text_of(s, "an item of some length")), "append");
  mh_compound_set(&space, outer, 1, mh_word_ref(MH_TAG_LIST_REF, list.offset));
  return outer;
}
static void set_tuple(stage *s) { set(s, "tuple", tuple_of(s, "a text within a tuple", true)); }
static void replace_tuple(stage *s) { set(s, "tuple", tuple_of(s, "another within a tuple", false)); }
static void remove_tuple(stage *s) { remove_key(s, "tuple"); }
static void dict_with_tuple(stage *s) {
  dict_of(s, 3);
  set_tuple(s);
}

static mheap_err keep_word(mh_space *of, const mh_key *key, uint64_t *word) {
  (void)of;
  *word = key->bits;
  return MHEAP_OK;
}
static void set_tuple_key(stage *s) {
  mh_dict root = root_of(s);
  mh_key key;
  uint64_t word = tuple_of(s, "a text within a key", false);
  must(s, mh_key_of_word(&space, word, &key), "key");
  key.make = keep_word;
  must(s, mh_dict_set(&root, &key, text_of(s, "what the tuple leads to")), "dict set");
}
static void dict_with_tuple_key(stage *s) {
  dict_of(s, 3);
  set_tuple_key(s);
}
static void remove_tuple_key(stage *s) {
  mh_dict root = root_of(s);
  mh_key key;
  uint32_t index = UINT32_MAX;
  mh_entry entry;
  must(s, mh_dict_previous(&root, &index, &entry), "the last entry");
  must(s, mh_key_of_word(&space, entry.key, &key), "key");
  must(s, mh_dict_delete(&root, &key), "dict delete");
}
static void set_root(stage *s) { must(s, mheap_setroot(s->heap, "name", 4, s->blocks[0]), "setroot"); }
static void set_long_root(stage *s) {
  must(s, mheap_setroot(s->heap, "a longer name", 13, s->blocks[0]), "setroot");
}
static void named(stage *s) {
  stage_malloc(s, 100);
  set_root(s);
}
static void remove_root(stage *s) { must(s, mheap_setroot(s->heap, "name", 4, NULL), "setroot"); }

const scenario object_scenarios[] = {
    {"dict_is_made", no_root, insert_first, false, false},
    {"dict_insert_inline", dict_of_1, insert_inline, false, false},
    {"dict_insert_text", dict_of_3, insert_text, false, false},
    {"dict_with_tags_grows", full_dict_with_tags, insert_text, false, false},
    {"dict_with_tags_gets_slots", largest_dict_with_tags, insert_text, false, false},
    {"dict_with_slots_grows", full_dict_with_slots, insert_text, false, false},
    {"dict_replace", dict_of_20, replace_value, false, false},
    {"dict_delete_first", dict_of_20, delete_first, false, false},
    {"dict_delete_text", dict_of_20, delete_with_text, false, false},
    {"dict_delete_last", dict_of_3, delete_last, false, false},
    {"dict_clear", dict_of_20, clear, false, false},
    {"dict_nested", dict_of_3, nest, false, false},
    {"dict_of_a_tuple", dict_of_3, set_tuple, false, false},
    {"dict_replaces_a_tuple", dict_with_tuple, replace_tuple, false, false},
    {"dict_loses_a_tuple", dict_with_tuple, remove_tuple, false, false},
    {"dict_with_a_tuple_as_key", dict_of_3, set_tuple_key, false, false},
    {"dict_loses_a_tuple_as_key", dict_with_tuple_key, remove_tuple_key, false, false},
    {"list_append_to_empty", list_of_0, append, false, false},
    {"list_append", list_of_3, append, false, false},
    {"list_append_grows", full_list, append, false, false},
    {"list_replace", list_of_3, replace_item, false, false},
    {"list_insert", list_of_3, insert_item, false, false},
    {"list_drop_last", list_of_3, drop_item, false, false},
    {"set_add", set_of_3, add, false, false},
    {"set_add_gets_slots", set_of_8, add, false, false},
    {"set_discard", set_of_3, discard, false, false},
    {"counter_counts_again", counter_of_8, count_again, false, false},
    {"counter_counts_a_new_one", counter_of_8, count_new, false, false},
    {"deque_append_to_empty", deque_of_0, push_right, false, false},
    {"deque_append", deque_of_5, push_right, false, false},
    {"deque_append_left", deque_of_5, push_left, false, false},
    {"deque_end_push", deque_of_ints, end_push, false, false},
    {"deque_end_pop", deque_of_ints, end_pop, false, false},
    {"deque_append_drops_first", bounded_deque, push_right, false, false},
    {"deque_append_left_drops_last", bounded_deque, push_left, false, false},
    {"deque_pop_left", deque_of_5, pop_left, false, false},
    {"deque_rotate", deque_of_5, rotate, false, false},
    {"sorted_insert_first", sorted_of_0, insert_sorted_first, false, false},
    {"sorted_insert", sorted_of_5, insert_sorted, false, false},
    {"sorted_insert_splits_the_top", sorted_of_15, insert_sorted, false, false},
    {"sorted_insert_in_a_tree", sorted_of_16, insert_last, false, false},
    {"sorted_insert_splits_all_levels", full_to_the_top, insert_at_front, false, false},
    {"sorted_replace", sorted_of_16, replace_sorted, false, false},
    {"sorted_delete_the_only_one", sorted_of_1, delete_sorted_0, false, false},
    {"sorted_delete", sorted_of_5, delete_sorted_3, false, false},
    {"sorted_delete_merges", sparse_leaves, delete_and_merge, false, false},
    {"sorted_delete_merges_the_top", sparse_pair, delete_and_lose_the_top, false, false},
    {"sorted_delete_a_leaf_and_the_top", branch_of_one, delete_sorted_14, false, false},
    {"sorted_is_built", no_root, build_two_levels, false, false},
    {"sorted_is_built_high", sorted_of_0, build_three_levels, false, false},
    {"sorted_clear", sorted_of_16, clear_sorted, false, false},
    {"sorted_is_dropped", sorted_of_300, drop_sorted, false, false},
    {"root_is_named", named, set_long_root, false, false},
    {"root_first_named", no_root, set_root, false, false},
    {"root_removed", named, remove_root, false, false},
    {"garbage_is_collected", circle, collect_three, false, false},
    {NULL, NULL, NULL, false, false},
};
