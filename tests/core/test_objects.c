/* test_objects.c: reference counts, graphs of any depth, the check, and stored fields that
   say what an attacker wants. */
#include "objects_kit.h"

static uint64_t dict_ref(const mh_dict *dict) { return mh_word_ref(MH_TAG_DICT_REF, dict->offset); }
static uint64_t list_ref(const mh_list *list) { return mh_word_ref(MH_TAG_LIST_REF, list->offset); }

/* ---- counting ---- */

static void a_shared_object_goes_with_its_last_reference(void) {
  kit kit = kit_open();
  mh_dict root = kit_root(&kit);
  uint64_t text = kit_value(&kit.space, 1), value;
  CHECK_EQ(mh_retain(&kit.space, text), MHEAP_OK);
  kit_set(&root, 0, text);
  kit_set(&root, 1, text);
  CHECK_EQ(kit_count(&kit.space, text), 2);
  kit_is_sound(&kit);
  CHECK_EQ(kit_delete(&root, 0), MHEAP_OK);
  CHECK_EQ(kit_get(&root, 1, &value), MHEAP_OK);
  CHECK(kit_is_value(&kit.space, value, 1));
  kit_set(&root, 1, MH_CONST_NONE);
  kit_drop_root(&kit);
  kit_close(&kit);
}

static void a_count_that_is_full_is_never_changed(void) {
  kit kit = kit_open();
  mh_dict root = kit_root(&kit);
  uint64_t text = kit_value(&kit.space, 1), *head = mh_at(kit.space.region, mh_word_offset(text));
  kit_set(&root, 0, text);
  *head |= MH_COUNT_STICKY;
  CHECK_EQ(mh_retain(&kit.space, text), MHEAP_OK);
  CHECK_EQ(kit_count(&kit.space, text), MH_COUNT_STICKY);
  kit_is_sound(&kit);
  CHECK_EQ(kit_delete(&root, 0), MHEAP_OK);
  CHECK(kit_is_value(&kit.space, text, 1));
  CHECK_EQ(mh_own_free(kit.heap, head), MHEAP_OK);
  kit_drop_root(&kit);
  kit_close(&kit);
}

static bool hold_everything(mh_space *space, uint64_t offset) {
  (void)space, (void)offset;
  return true;
}

static void a_held_container_outlives_its_references(void) {
  kit kit = kit_open();
  mh_dict root = kit_root(&kit), dict;
  uint64_t value;
  CHECK_EQ(mh_dict_new(&kit.space, 0, &dict), MHEAP_OK);
  kit_set(&dict, 1, kit_value(&kit.space, 1));
  kit_set(&root, 0, dict_ref(&dict));
  kit.space.held = hold_everything;
  CHECK_EQ(kit_delete(&root, 0), MHEAP_OK);
  CHECK_EQ(kit_get(&dict, 1, &value), MHEAP_OK);
  kit.space.held = NULL;
  mh_reap(&kit.space, dict.offset);
  CHECK_EQ(kit_get(&dict, 1, &value), MHEAP_ERR_STALE);
  kit_drop_root(&kit);
  kit_close(&kit);
}

/* ---- depth ---- */

#define DEPTH 200000

static void a_graph_of_any_depth_is_checked_and_freed(void) {
  kit kit = kit_open();
  mh_dict root = kit_root(&kit);
  mh_list inner;
  mh_dict outer;
  uint64_t word = kit_value(&kit.space, 0);
  for (int i = 0; i < DEPTH; i++) {
    if (i % 2 == 0) {
      REQUIRE_EQ(mh_list_new(&kit.space, 0, &inner), MHEAP_OK);
      REQUIRE_EQ(mh_list_append(&inner, word), MHEAP_OK);
      word = list_ref(&inner);
    } else {
      REQUIRE_EQ(mh_dict_new(&kit.space, 0, &outer), MHEAP_OK);
      kit_set(&outer, 0, word);
      word = dict_ref(&outer);
    }
  }
  kit_set(&root, 0, word);
  kit_is_sound(&kit);
  kit_drop_root(&kit);
  kit_close(&kit);
}

static void a_graph_that_was_not_published_is_discarded(void) {
  kit kit = kit_open();
  mh_dict root = kit_root(&kit), dict;
  mh_list kept, list;
  CHECK_EQ(mh_list_new(&kit.space, 0, &kept), MHEAP_OK);
  kit_set(&root, 0, list_ref(&kept));
  uint64_t first_birth = kit.space.region->super->birth;
  CHECK_EQ(mh_dict_new(&kit.space, 0, &dict), MHEAP_OK);
  CHECK_EQ(mh_list_new(&kit.space, 0, &list), MHEAP_OK);
  CHECK_EQ(mh_retain(&kit.space, list_ref(&kept)), MHEAP_OK);
  kit_set(&dict, 0, list_ref(&list));
  kit_set(&dict, 1, list_ref(&kept));
  kit_set(&dict, 2, kit_value(&kit.space, 2));
  CHECK_EQ(mh_list_append(&list, dict_ref(&dict)), MHEAP_OK);
  mh_discard(&kit.space, (uint64_t[]){dict_ref(&dict), list_ref(&list)}, 2, first_birth);
  CHECK_EQ(kit_count(&kit.space, list_ref(&kept)), 1);
  kit_is_sound(&kit);
  kit_drop_root(&kit);
  kit_close(&kit);
}

/* ---- the check ---- */

/* A root with one of everything. */
typedef struct zoo {
  kit kit;
  mh_dict root, dict;
  mh_list list;
  uint64_t text, bytes, limbs, number;
} zoo;

/* In place: handles point into it. */
static void zoo_open(zoo *zoo) {
  *zoo = (struct zoo){.kit = kit_open()};
  mh_space *space = &zoo->kit.space;
  zoo->root = kit_root(&zoo->kit);
  CHECK_EQ(mh_dict_new(space, 0, &zoo->dict), MHEAP_OK);
  CHECK_EQ(mh_list_new(space, 0, &zoo->list), MHEAP_OK);
  zoo->text = kit_value(space, 7);
  CHECK_EQ(mh_bytes_new(space, "some bytes", 10, &zoo->bytes), MHEAP_OK);
  CHECK_EQ(mh_limbs_new(space, (uint64_t[]){1, 2}, 2, &zoo->limbs), MHEAP_OK);
  CHECK_EQ(mh_float_new(space, mh_float_bits(0.1), &zoo->number), MHEAP_OK);
  kit_set(&zoo->root, 0, dict_ref(&zoo->dict));
  kit_set(&zoo->root, 1, list_ref(&zoo->list));
  kit_set(&zoo->root, 2, zoo->text);
  kit_set(&zoo->root, 3, zoo->bytes);
  for (unsigned i = 0; i < 30; i++) kit_set(&zoo->dict, i, mh_word_int(i));
  CHECK_EQ(mh_list_splice(&zoo->list, 0, 0, (uint64_t[]){zoo->limbs, zoo->number, MH_CONST_NONE}, 3),
           MHEAP_OK);
}

static void zoo_close(zoo *zoo) {
  kit_is_sound(&zoo->kit);
  kit_drop_root(&zoo->kit);
  kit_close(&zoo->kit);
}

static uint64_t *head_of(zoo *zoo, uint64_t word) {
  return mh_at(zoo->kit.space.region, mh_word_offset(word));
}

/* What the check says while *word is `value`. */
static kit_findings while_it_is(zoo *zoo, uint64_t *word, uint64_t value) {
  uint64_t before = *word;
  *word = value;
  kit_findings findings = kit_check(&zoo->kit);
  *word = before;
  return findings;
}

static void the_check_tells_counts_that_are_wrong(void) {
  zoo zoo;
  zoo_open(&zoo);
  uint64_t words[] = {zoo.text, zoo.bytes, zoo.limbs, zoo.number, dict_ref(&zoo.dict), list_ref(&zoo.list)};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    uint64_t *head = head_of(&zoo, words[i]);
    kit_findings findings = while_it_is(&zoo, head, *head + 1);
    CHECK_EQ(findings.broken, 0);
    CHECK_EQ(findings.notes, 1);
    CHECK_EQ(findings.offset, mh_word_offset(words[i]));
    CHECK_CONTAINS(findings.text, "expected 1, found 2");
    findings = while_it_is(&zoo, head, *head - 1);
    CHECK_EQ(findings.broken, 1);
  }
  zoo_close(&zoo);
}

static void the_check_tells_objects_in_free_blocks(void) {
  zoo zoo;
  zoo_open(&zoo);
  CHECK_EQ(mh_own_free(zoo.kit.heap, head_of(&zoo, zoo.text)), MHEAP_OK);
  kit_findings findings = kit_check(&zoo.kit);
  CHECK_EQ(findings.broken, 1);
  CHECK_EQ(findings.offset, mh_word_offset(zoo.text));
  mheap_abandon(zoo.kit.heap);
}

static void the_check_tells_keys_that_cannot_be_found(void) {
  zoo zoo;
  zoo_open(&zoo);
  mh_table *table = &zoo.dict.table;
  for (uint64_t i = 0; i <= table->mask; i++)
    if (table->slots[i] != MH_SLOT_EMPTY) {
      uint32_t before = table->slots[i];
      table->slots[i] = MH_SLOT_REMOVED;
      kit_findings findings = kit_check(&zoo.kit);
      CHECK_EQ(findings.broken, 1);
      CHECK_CONTAINS(findings.text, "not found by looking it up");
      table->slots[i] = before;
      break;
    }
  kit_findings findings = while_it_is(&zoo, &table->entries[3].key, table->entries[5].key);
  CHECK(findings.broken > 0);
  zoo_close(&zoo);
}

static void the_check_tells_a_part_with_two_owners(void) {
  zoo zoo;
  zoo_open(&zoo);
  mh_container *root = mh_at(zoo.kit.space.region, zoo.root.offset);
  mh_container *dict = mh_at(zoo.kit.space.region, zoo.dict.offset);
  kit_findings findings = while_it_is(&zoo, &dict->part, root->part);
  CHECK(findings.broken > 0);
  zoo_close(&zoo);
}

static void the_check_tells_births_that_are_to_come(void) {
  zoo zoo;
  zoo_open(&zoo);
  mh_container *dict = mh_at(zoo.kit.space.region, zoo.dict.offset);
  CHECK_EQ(while_it_is(&zoo, &dict->birth, 0).broken, 1);
  CHECK_EQ(while_it_is(&zoo, &dict->birth, UINT64_MAX).broken, 1);
  zoo_close(&zoo);
}

/* ---- hostile files ---- */

/* Everything that reads, with the contents as they are. Whatever comes back, it comes back. */
static void read_everything(zoo *zoo) {
  mh_space *space = &zoo->kit.space;
  uint64_t value, bits, count;
  const uint64_t *limbs;
  mh_text text;
  mh_items items;
  mh_entry entry;
  mh_dict dict;
  mh_list list;
  for (unsigned i = 0; i < 12; i++) (void)kit_get(&zoo->root, i, &value);
  for (unsigned i = 0; i < 40; i++) (void)kit_get(&zoo->dict, i, &value);
  if (mh_dict_at(space, zoo->dict.offset, &dict) == MHEAP_OK) {
    (void)kit_get(&dict, 5, &value);
    uint32_t index = 0;
    while (mh_dict_next(&dict, &index, &entry) == MHEAP_OK) (void)mh_key_hash(space, entry.key, &value);
    index = UINT32_MAX;
    while (mh_dict_previous(&dict, &index, &entry) == MHEAP_OK) continue;
  }
  if (mh_list_at(space, zoo->list.offset, &list) == MHEAP_OK && mh_list_items(&list, &items) == MHEAP_OK)
    for (uint64_t i = 0; i < items.count; i++) (void)mh_object_at(space, items.words[i]);
  if (mh_text_read(space, zoo->text, &text) == MHEAP_OK && text.length > 0) {
    volatile char last = ((const char *)text.data)[text.length * text.kind - 1];
    (void)last, (void)mh_text_is_unicode(&text);
  }
  (void)mh_text_read(space, zoo->bytes, &text);
  if (mh_limbs_read(space, zoo->limbs, &limbs, &count) == MHEAP_OK) {
    mh_number number;
    mh_number_of_limbs(&number, limbs, count);
    (void)mh_number_residue(&number);
  }
  (void)mh_float_read(space, zoo->number, &bits);
  (void)mh_objects_check(zoo->kit.heap, NULL, NULL);
}

/* Sets *word to each boundary value, reads everything, then writes. A copy of the region is
   put back after each, so that every value meets the same heap. */
static void with_every_value(uint64_t *(*field)(zoo *), bool change) {
  zoo zoo;
  zoo_open(&zoo);
  uint64_t size = mh_region_size(zoo.kit.space.region), before = *field(&zoo);
  const uint64_t values[] = {0, 1, 2, 7, 8, 15, 16, before - 16, before + 16, before + 1, before ^ 1,
                             before << 1, zoo.root.offset, zoo.root.part, size, size - 16, size + 16, 0x7fff,
                             0xffff,
                             0x7fffffff, 0xffffffff, 0xffffffff00000000, 0x7fffffffffffffff,
                             0x8000000000000000,
                             UINT64_MAX, UINT64_MAX - 15, MH_OFFSET_MAX, MH_OFFSET_MAX - 16,
                             before ^ 0xff, before ^ 0xff00, before ^ 0xff0000, before ^ 0xff000000,
                             before ^ (uint64_t)0xff << 32, before ^ (uint64_t)0xff << 56};
  mheap_abandon(zoo.kit.heap);
  for (size_t i = 0; i < sizeof values / sizeof *values; i++)
    for (unsigned operation = 0; operation < (change ? 6 : 1); operation++) {
      zoo_open(&zoo);
      mh_key key;
      char buffer[64];
      kit_key(&zoo.kit.space, 3, &key, buffer);
      *field(&zoo) = values[i];
      read_everything(&zoo);
      if (operation == 1) (void)mh_dict_set(&zoo.dict, &key, mh_word_int(1));
      if (operation == 2) (void)mh_dict_delete(&zoo.dict, &key);
      if (operation == 3) (void)mh_dict_clear(&zoo.root);
      if (operation == 4) (void)mh_list_splice(&zoo.list, 1, 1, (uint64_t[]){1, 1, 1}, 3);
      if (operation == 5) kit_drop_root(&zoo.kit);
      read_everything(&zoo);
      mheap_abandon(zoo.kit.heap);
    }
}

#define FIELD(name, expression) \
  static uint64_t *name(zoo *zoo) { return (expression); }
#define AT(zoo, offset) mh_at((zoo)->kit.space.region, (offset))

FIELD(root_offset, &zoo->kit.space.region->super->root)
FIELD(dict_head, AT(zoo, zoo->dict.offset))
FIELD(dict_birth, (uint64_t *)AT(zoo, zoo->dict.offset) + 1)
FIELD(dict_part, (uint64_t *)AT(zoo, zoo->dict.offset) + 2)
FIELD(dict_reserved, (uint64_t *)AT(zoo, zoo->dict.offset) + 3)
FIELD(table_head, &zoo->dict.table.block->head)
FIELD(table_counts, &zoo->dict.table.block->counts)
FIELD(table_pending, &zoo->dict.table.block->pending)
FIELD(table_slots, (uint64_t *)zoo->dict.table.slots)
FIELD(entry_key, &zoo->dict.table.entries[3].key)
FIELD(entry_value, &zoo->dict.table.entries[3].value)
FIELD(root_table_head, &zoo->root.table.block->head)
FIELD(root_table_counts, &zoo->root.table.block->counts)
FIELD(root_table_tags, &zoo->root.table.block->tags)
FIELD(root_entry_value, &zoo->root.table.entries[1].value)
FIELD(list_head, AT(zoo, zoo->list.offset))
FIELD(list_part, (uint64_t *)AT(zoo, zoo->list.offset) + 2)
FIELD(items_head, AT(zoo, zoo->list.part))
FIELD(items_range, (uint64_t *)AT(zoo, zoo->list.part) + 1)
FIELD(items_word, (uint64_t *)AT(zoo, zoo->list.part) + 2)
FIELD(text_head, head_of(zoo, zoo->text))
FIELD(bytes_head, head_of(zoo, zoo->bytes))
FIELD(limbs_head, head_of(zoo, zoo->limbs))
FIELD(number_head, head_of(zoo, zoo->number))

static void hostile_containers_are_harmless(void) {
  with_every_value(root_offset, true);
  with_every_value(dict_head, true);
  with_every_value(dict_birth, true);
  with_every_value(dict_part, true);
  with_every_value(dict_reserved, true);
  with_every_value(list_head, true);
  with_every_value(list_part, true);
}

static void hostile_tables_are_harmless(void) {
  with_every_value(table_head, true);
  with_every_value(table_counts, true);
  with_every_value(table_pending, true);
  with_every_value(table_slots, true);
  with_every_value(entry_key, true);
  with_every_value(entry_value, true);
  with_every_value(root_table_head, true);
  with_every_value(root_table_counts, true);
  with_every_value(root_table_tags, true);
  with_every_value(root_entry_value, true);
}

static void hostile_items_and_scalars_are_harmless(void) {
  with_every_value(items_head, true);
  with_every_value(items_range, true);
  with_every_value(items_word, true);
  with_every_value(text_head, true);
  with_every_value(bytes_head, true);
  with_every_value(limbs_head, true);
  with_every_value(number_head, true);
}

/* What an error says: where, what was expected, what was found. */
static void a_contradiction_names_its_place(void) {
  zoo zoo;
  zoo_open(&zoo);
  mh_container *dict = mh_at(zoo.kit.space.region, zoo.dict.offset);
  uint64_t part = dict->part, value;
  dict->part = mh_region_size(zoo.kit.space.region) + 16;
  CHECK_EQ(kit_get(&zoo.dict, 1, &value), MHEAP_ERR_CORRUPT);
  const mheap_error *error = mheap_last_error(zoo.kit.heap);
  CHECK_EQ(error->code, MHEAP_ERR_CORRUPT);
  CHECK_EQ(error->offset, dict->part);
  CHECK_CONTAINS(error->text, "a table beyond the region");
  dict->part = part;
  CHECK_EQ(kit_get(&zoo.dict, 1, &value), MHEAP_OK);
  zoo_close(&zoo);
}

/* Many containers, one table: each is walked at most once, however often it is freed. */
static void freeing_shared_tables_costs_once(void) {
  kit kit = kit_open();
  mh_dict root = kit_root(&kit), big, dict;
  CHECK_EQ(mh_dict_new(&kit.space, 20000, &big), MHEAP_OK);
  mh_key key;
  for (int64_t i = 0; i < 20000; i++) {
    mh_key_int(&kit.space, &key, i);
    REQUIRE_EQ(mh_dict_new(&kit.space, 0, &dict), MHEAP_OK);
    ((mh_container *)mh_at(kit.space.region, dict.offset))->part = big.part;
    REQUIRE_EQ(mh_dict_set(&big, &key, dict_ref(&dict)), MHEAP_OK);
  }
  kit_set(&root, 0, dict_ref(&big));
  kit_findings findings = kit_check(&kit);
  CHECK(findings.broken >= 20000);
  kit_drop_root(&kit);
  mheap_abandon(kit.heap);
}

TEST_MAIN(TEST(a_shared_object_goes_with_its_last_reference),
          TEST(a_count_that_is_full_is_never_changed),
          TEST(a_held_container_outlives_its_references),
          TEST(a_graph_of_any_depth_is_checked_and_freed),
          TEST(a_graph_that_was_not_published_is_discarded),
          TEST(the_check_tells_counts_that_are_wrong),
          TEST(the_check_tells_objects_in_free_blocks),
          TEST(the_check_tells_keys_that_cannot_be_found),
          TEST(the_check_tells_a_part_with_two_owners),
          TEST(the_check_tells_births_that_are_to_come),
          TEST(hostile_containers_are_harmless),
          TEST(hostile_tables_are_harmless),
          TEST(hostile_items_and_scalars_are_harmless),
          TEST(a_contradiction_names_its_place),
          TEST(freeing_shared_tables_costs_once))
