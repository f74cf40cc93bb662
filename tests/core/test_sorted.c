/* test_sorted.c: sorted dicts against a sorted array: every operation, every shape of the tree. */
#include "objects_kit.h"
#include "objects/collect.h"
#include "objects/sorted.h"

#define KEYS 3000

/* Which keys are in; key n is text whose order is that of n, or a number. */
typedef struct model {
  kit kit;
  mh_sorted sorted;
  bool is_text, in[KEYS];
  unsigned count;
} model;

static void key_of(model *m, unsigned n, mh_key *key, char buffer[64]) {
  if (m->is_text) {
    int length = snprintf(buffer, 64, "%05u%s", n, n % 3 == 0 ? "" : " and more than seven");
    mh_key_text(&m->kit.space, key, MH_TAG_STR_REF, 1, buffer, (uint64_t)length);
  } else if (n % 3 == 0) mh_key_int(&m->kit.space, key, n);
  else mh_key_float(&m->kit.space, key, mh_float_bits(n + 0.1));
}

static void open_model(model *m, bool is_text) {
  *m = (model){.kit = kit_open(), .is_text = is_text};
  mh_dict root = kit_root(&m->kit);
  CHECK_EQ(mh_sorted_new(&m->kit.space, &m->sorted), MHEAP_OK);
  kit_set(&root, 0, mh_container_ref(MH_TYPE_SORTED, m->sorted.offset));
}

static void put(model *m, unsigned n) {
  mh_key key;
  char buffer[64];
  key_of(m, n, &key, buffer);
  CHECK_EQ(mh_sorted_set(&m->sorted, &key, kit_value(&m->kit.space, n)), MHEAP_OK);
  m->count += !m->in[n];
  m->in[n] = true;
}

static void take(model *m, unsigned n) {
  mh_key key;
  char buffer[64];
  key_of(m, n, &key, buffer);
  CHECK_EQ(mh_sorted_delete(&m->sorted, &key), m->in[n] ? MHEAP_OK : MHEAP_ERR_NOT_FOUND);
  m->count -= m->in[n];
  m->in[n] = false;
}

/* Both ways round, from each key, by number; and what a check says. */
static void compare(model *m) {
  mh_spot place, back;
  mh_entry entry, before;
  uint64_t length, value, index, at = 0;
  CHECK_EQ(mh_sorted_length(&m->sorted, &length), MHEAP_OK);
  CHECK_EQ(length, m->count);
  CHECK_EQ(mh_sorted_seek_index(&m->sorted, 0, &place), MHEAP_OK);
  for (unsigned n = 0; n < KEYS; n++) {
    mh_key key;
    char buffer[64];
    key_of(m, n, &key, buffer);
    CHECK_EQ(mh_sorted_get(&m->sorted, &key, &value), m->in[n] ? MHEAP_OK : MHEAP_ERR_NOT_FOUND);
    CHECK_EQ(mh_sorted_seek(&m->sorted, &key, false, &back), MHEAP_OK);
    CHECK_EQ(mh_sorted_index(&m->sorted, &back, &index), MHEAP_OK);
    CHECK_EQ(index, at);
    CHECK_EQ(mh_sorted_seek(&m->sorted, &key, true, &back), MHEAP_OK);
    CHECK_EQ(mh_sorted_index(&m->sorted, &back, &index), MHEAP_OK);
    CHECK_EQ(index, at + m->in[n]);
    if (!m->in[n]) continue;
    CHECK(kit_is_value(&m->kit.space, value, n));
    CHECK_EQ(mh_sorted_next(&m->sorted, &place, &entry), MHEAP_OK);
    CHECK_EQ(entry.value, value);
    CHECK_EQ(mh_sorted_previous(&m->sorted, &back, &before), MHEAP_OK);
    CHECK_EQ(before.value, value);
    CHECK_EQ(mh_sorted_seek_index(&m->sorted, at, &back), MHEAP_OK);
    CHECK_EQ(mh_sorted_next(&m->sorted, &back, &before), MHEAP_OK);
    CHECK_EQ(before.value, value);
    at++;
  }
  CHECK_EQ(mh_sorted_next(&m->sorted, &place, &entry), MHEAP_ERR_NOT_FOUND);
  for (; at > 0; at--) CHECK_EQ(mh_sorted_previous(&m->sorted, &place, &entry), MHEAP_OK);
  CHECK_EQ(mh_sorted_previous(&m->sorted, &place, &entry), MHEAP_ERR_NOT_FOUND);
  kit_is_sound(&m->kit);
}

static void close_model(model *m) {
  kit_drop_root(&m->kit);
  kit_close(&m->kit);
}

static unsigned levels(model *m) {
  mh_spot place;
  CHECK_EQ(mh_sorted_seek_index(&m->sorted, 0, &place), MHEAP_OK);
  return place.levels;
}

static void in_any_order(bool is_text) {
  model m;
  open_model(&m, is_text);
  compare(&m);
  for (unsigned i = 0; i < 2 * KEYS; i++) put(&m, kit_random(KEYS));
  CHECK(levels(&m) >= 3);
  compare(&m);
  for (unsigned i = 0; i < 20 * KEYS; i++) {
    unsigned n = kit_random(KEYS);
    if (kit_random(KEYS) < m.count) take(&m, n);
    else put(&m, n);
    if (i % (4 * KEYS) == 0) compare(&m);
  }
  for (unsigned i = 0; m.count > 0; i++) {
    take(&m, kit_random(KEYS));
    if (m.count < 40 && i % 97 == 0) compare(&m);
  }
  CHECK_EQ(levels(&m), 0);
  for (unsigned i = 0; i < 100; i++) put(&m, i);
  compare(&m);
  close_model(&m);
}
static void texts_in_any_order(void) { in_any_order(true); }
static void numbers_in_any_order(void) { in_any_order(false); }

/* Nodes are nearly full. */
static void in_order(bool up) {
  model m;
  mheap_stats stats;
  open_model(&m, false);
  for (unsigned i = 0; i < KEYS; i++) put(&m, up ? i : KEYS - 1 - i);
  compare(&m);
  CHECK_EQ(mheap_get_stats(m.kit.heap, &stats), MHEAP_OK);
  uint64_t nodes = stats.chunks_used - m.kit.blocks - KEYS - KEYS * 2 / 3; /* values, and floats */
  CHECK(nodes < KEYS / 12);
  for (unsigned i = 0; i < KEYS; i++) take(&m, up ? i : KEYS - 1 - i);
  compare(&m);
  close_model(&m);
}
static void keys_that_rise_fill_nodes(void) { in_order(true); }
static void keys_that_fall_fill_nodes(void) { in_order(false); }

/* In order up to a key, the others as they come. */
static void build(model *m, unsigned rising, unsigned others) {
  mh_sorted_build state;
  mh_sorted_build_begin(&m->sorted, &state);
  for (unsigned i = 0; i < rising; i++) put(m, i);
  for (unsigned i = 0; i < others; i++) put(m, kit_random(KEYS));
  mh_sorted_build_end(&m->sorted);
}

static void built(bool is_text, unsigned rising, unsigned others) {
  model m;
  open_model(&m, is_text);
  build(&m, rising, others);
  compare(&m);
  for (unsigned i = 0; i < 2 * KEYS; i++) {
    unsigned n = kit_random(KEYS);
    if (kit_random(2)) put(&m, n);
    else take(&m, n);
  }
  compare(&m);
  close_model(&m);
}

static void what_is_built_is_a_tree_as_others(void) {
  const unsigned full = MH_NODE_PLACES, most = full * full;
  const unsigned counts[] = {0, 1, full - 1, full, full + 1, most - 1, most, most + 1, KEYS};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
    for (unsigned others = 0; others <= 100; others += 50) built(i % 2 == 0, counts[i], others);
}

static void what_is_built_during_a_collection_stays(void) {
  model m;
  mh_collected got = {0};
  open_model(&m, true);
  mh_dict root = kit_root(&m.kit);
  build(&m, KEYS, 0);
  CHECK_EQ(mh_collect_begin(&m.kit.space), MHEAP_OK);
  CHECK_EQ(mh_collect_step(&m.kit.space, 0, &got), MHEAP_OK);
  CHECK(!got.done);
  CHECK_EQ(mh_sorted_new(&m.kit.space, &m.sorted), MHEAP_OK);
  memset(m.in, 0, sizeof m.in);
  m.count = 0;
  build(&m, KEYS, 0);
  kit_set(&root, 0, mh_container_ref(MH_TYPE_SORTED, m.sorted.offset));
  while (!got.done) CHECK_EQ(mh_collect_step(&m.kit.space, 0, &got), MHEAP_OK);
  compare(&m);
  close_model(&m);
}

static void nodes_of_what_is_built_are_full(void) {
  model m;
  mheap_stats stats;
  const unsigned full = MH_NODE_PLACES, most = full * full * full;
  open_model(&m, false);
  CHECK(KEYS < most);
  CHECK_EQ(mheap_get_stats(m.kit.heap, &stats), MHEAP_OK);
  uint64_t before = stats.chunks_used, leaves = (KEYS + full - 1) / full;
  build(&m, KEYS, 0);
  CHECK_EQ(mheap_get_stats(m.kit.heap, &stats), MHEAP_OK);
  uint64_t nodes = leaves + (leaves + full - 1) / full + 1;
  CHECK_EQ(stats.chunks_used - before, nodes + KEYS + KEYS * 2 / 3); /* values, and floats */
  close_model(&m);
}

static void after_removals_the_tree_is_lower(void) {
  model m;
  open_model(&m, true);
  for (unsigned i = 0; i < KEYS; i++) put(&m, i);
  unsigned high = levels(&m);
  for (unsigned i = 0; i < KEYS; i++)
    if (i % 100 != 0) take(&m, i);
  compare(&m);
  CHECK(levels(&m) < high);
  CHECK_EQ(mh_sorted_clear(&m.sorted), MHEAP_OK);
  memset(m.in, 0, sizeof m.in);
  m.count = 0;
  compare(&m);
  close_model(&m);
}

static void keys_that_cannot_be_compared_change_nothing(void) {
  model m;
  mh_key key, none, nan;
  uint64_t value;
  mh_spot place;
  open_model(&m, false);
  mh_key_word(&m.kit.space, &none, MH_CONST_NONE);
  mh_key_float(&m.kit.space, &nan, 0x7ff8000000000000u);
  CHECK_EQ(mh_sorted_set(&m.sorted, &none, mh_word_int(1)), MHEAP_ERR_ARGUMENT);
  CHECK_EQ(mh_sorted_set(&m.sorted, &nan, mh_word_int(1)), MHEAP_ERR_ARGUMENT);
  for (unsigned i = 0; i < 100; i++) put(&m, i);
  mh_key_text(&m.kit.space, &key, MH_TAG_STR_REF, 1, "text", 4);
  CHECK_EQ(mh_sorted_set(&m.sorted, &key, mh_word_int(1)), MHEAP_ERR_ARGUMENT);
  CHECK_EQ(mh_sorted_set(&m.sorted, &nan, mh_word_int(1)), MHEAP_ERR_ARGUMENT);
  CHECK_EQ(mh_sorted_seek(&m.sorted, &key, false, &place), MHEAP_ERR_ARGUMENT);
  CHECK_EQ(mh_sorted_seek(&m.sorted, &nan, false, &place), MHEAP_ERR_ARGUMENT);
  CHECK_EQ(mh_sorted_get(&m.sorted, &key, &value), MHEAP_ERR_NOT_FOUND);
  CHECK_EQ(mh_sorted_delete(&m.sorted, &key), MHEAP_ERR_NOT_FOUND);
  CHECK_EQ(mh_sorted_get(&m.sorted, &none, &value), MHEAP_ERR_NOT_FOUND);
  compare(&m);
  close_model(&m);
}

/* What a kill leaves between the first store and the last of a change. */
static void counts_that_a_kill_left_wrong_are_counted_again(void) {
  model m;
  uint64_t length;
  open_model(&m, true);
  for (unsigned i = 0; i < KEYS; i += 2) put(&m, i);
  mh_container *container = mh_at(m.kit.space.region, m.sorted.offset);
  mh_node top;
  CHECK_EQ(mh_node_open_top(&m.kit.space, container->part, &top), MHEAP_OK);
  for (unsigned i = 0; i < top.count; i++) mh_node_branch(&top, i)->count += i + 1;
  kit_findings findings = kit_check(&m.kit);
  CHECK_EQ(findings.broken, top.count);
  container->pending = 1;
  findings = kit_check(&m.kit);
  CHECK_EQ(findings.broken, 0);
  CHECK_EQ(findings.notes, 1);
  CHECK_EQ(mh_sorted_length(&m.sorted, &length), MHEAP_OK);
  CHECK_EQ(length, KEYS / 2);
  for (uint64_t i = 0; i < KEYS / 2; i += 100) {
    mh_spot place;
    uint64_t index;
    CHECK_EQ(mh_sorted_seek_index(&m.sorted, i, &place), MHEAP_OK);
    CHECK_EQ(mh_sorted_index(&m.sorted, &place, &index), MHEAP_OK);
    CHECK_EQ(index, i);
  }
  put(&m, 1);
  CHECK_EQ(container->pending, 0);
  compare(&m);
  close_model(&m);
}

static void collected(model *m, unsigned changes) {
  mh_collected got = {0};
  CHECK_EQ(mh_collect_begin(&m->kit.space), MHEAP_OK);
  while (!got.done) {
    CHECK_EQ(mh_collect_step(&m->kit.space, 0, &got), MHEAP_OK);
    for (unsigned i = 0; i < changes; i++) {
      unsigned n = kit_random(KEYS);
      if (kit_random(2)) put(m, n);
      else take(m, n);
    }
  }
}

static void a_collection_keeps_what_is_moved_meanwhile(void) {
  model m;
  open_model(&m, true);
  for (unsigned i = 0; i < KEYS; i++) put(&m, kit_random(KEYS));
  for (unsigned changes = 0; changes < 40; changes = 2 * changes + 1) {
    collected(&m, changes);
    compare(&m);
  }
  close_model(&m);
}

static void a_circle_through_a_tree_is_collected(void) {
  model m;
  mh_key key;
  char buffer[64];
  mh_collected got = {0};
  open_model(&m, true);
  mh_dict root = kit_root(&m.kit);
  for (unsigned i = 0; i < 500; i++) put(&m, i);
  uint64_t self = mh_container_ref(MH_TYPE_SORTED, m.sorted.offset), kept = kit_value(&m.kit.space, 7);
  key_of(&m, 600, &key, buffer);
  CHECK_EQ(mh_retain(&m.kit.space, self), MHEAP_OK);
  CHECK_EQ(mh_sorted_set(&m.sorted, &key, self), MHEAP_OK);
  key_of(&m, 601, &key, buffer);
  CHECK_EQ(mh_retain(&m.kit.space, kept), MHEAP_OK);
  CHECK_EQ(mh_sorted_set(&m.sorted, &key, kept), MHEAP_OK);
  kit_set(&root, 1, kept);
  CHECK_EQ(kit_count(&m.kit.space, kept), 2);
  CHECK_EQ(kit_delete(&root, 0), MHEAP_OK);
  CHECK_EQ(mh_collect_begin(&m.kit.space), MHEAP_OK);
  while (!got.done) CHECK_EQ(mh_collect_step(&m.kit.space, 0, &got), MHEAP_OK);
  CHECK(got.objects > 500);
  CHECK_EQ(kit_count(&m.kit.space, kept), 1);
  kit_is_sound(&m.kit);
  close_model(&m);
}

static void fill_a_heap(bool is_built) {
  mheap_options options = {.max_size = 4 << 20};
  model m = {.kit.heap = mheap_attach(-1, &options, NULL), .is_text = true};
  REQUIRE(m.kit.heap != NULL);
  mh_space_init(&m.kit.space, m.kit.heap);
  mh_dict root = kit_root(&m.kit);
  mh_sorted_build state;
  mh_key key;
  mh_entry entry;
  mh_spot spot;
  char buffer[64];
  uint64_t length, count = 0;
  CHECK_EQ(mh_sorted_new(&m.kit.space, &m.sorted), MHEAP_OK);
  kit_set(&root, 0, mh_container_ref(MH_TYPE_SORTED, m.sorted.offset));
  if (is_built) mh_sorted_build_begin(&m.sorted, &state);
  for (mheap_err failed = MHEAP_OK; !failed; count += !failed) {
    key_of(&m, (unsigned)(is_built ? count : count * 7919 % 99991), &key, buffer);
    failed = mh_sorted_set(&m.sorted, &key, mh_word_int((int64_t)count));
    if (failed) CHECK_EQ(failed, MHEAP_ERR_FULL);
  }
  CHECK(count > 1000);
  if (is_built) mh_sorted_build_end(&m.sorted);
  CHECK_EQ(mh_sorted_length(&m.sorted, &length), MHEAP_OK);
  CHECK_EQ(length, count);
  kit_is_sound(&m.kit);
  for (uint64_t i = 0; i < count; i++) { /* which needs space only to merge nodes */
    CHECK_EQ(mh_sorted_seek_index(&m.sorted, i % (count - i), &spot), MHEAP_OK);
    REQUIRE_EQ(mh_sorted_next(&m.sorted, &spot, &entry), MHEAP_OK);
    REQUIRE_EQ(mh_sorted_delete_index(&m.sorted, i % (count - i), &entry), MHEAP_OK);
    if (i % 1000 == 0) kit_is_sound(&m.kit);
  }
  CHECK_EQ(mh_sorted_length(&m.sorted, &length), MHEAP_OK);
  CHECK_EQ(length, 0);
  mheap_detach(m.kit.heap, NULL);
}

static void a_full_heap_leaves_it_as_it_was(void) { fill_a_heap(false); }
static void a_full_heap_leaves_what_is_built_as_it_was(void) { fill_a_heap(true); }

TEST_MAIN(TEST(a_full_heap_leaves_it_as_it_was),
          TEST(a_full_heap_leaves_what_is_built_as_it_was),
          TEST(what_is_built_is_a_tree_as_others),
          TEST(nodes_of_what_is_built_are_full),
          TEST(what_is_built_during_a_collection_stays),
          TEST(texts_in_any_order),
          TEST(numbers_in_any_order),
          TEST(keys_that_rise_fill_nodes),
          TEST(keys_that_fall_fill_nodes),
          TEST(after_removals_the_tree_is_lower),
          TEST(keys_that_cannot_be_compared_change_nothing),
          TEST(counts_that_a_kill_left_wrong_are_counted_again),
          TEST(a_collection_keeps_what_is_moved_meanwhile),
          TEST(a_circle_through_a_tree_is_collected))
