/* test_records.c: schemas, records and record lists: stored, read, changed, migrated, freed, collected; and
   stored fields that say what an attacker wants. */
#include "objects/collect.h"
#include "objects_kit.h"
#include "records_kit.h"

typedef struct zoo {
  kit kit;
  mh_dict root;
  const mh_schema *first, *second;
  mh_fields record, moved;
  mh_row_list rows;

} zoo;

static void fill(mh_space *space, char row[40], unsigned n) {
  records_row(row, (int64_t)n, kit_value(space, n), n / 2.0, kit_value(space, n + 1000), n % 2 == 0);
}

static void new_record(zoo *zoo, unsigned key, mh_fields *record) {
  char row[40];
  fill(&zoo->kit.space, row, key);
  CHECK_EQ(records_new(&zoo->kit.space, zoo->first, row, record), MHEAP_OK);
  kit_set(&zoo->root, key, mh_word_ref(MH_TAG_RECORD_REF, record->offset));
}

/* In place: handles point into it. */
static void zoo_open(zoo *zoo) {
  *zoo = (struct zoo){.kit = kit_open()};
  mh_space *space = &zoo->kit.space;
  char row[40];
  zoo->root = kit_root(&zoo->kit);
  CHECK_EQ(records_schema(space, records_first, &zoo->first), MHEAP_OK);
  CHECK_EQ(records_schema(space, records_second, &zoo->second), MHEAP_OK);
  new_record(zoo, 1, &zoo->record);
  new_record(zoo, 2, &zoo->moved);
  CHECK_EQ(records_migrate(&zoo->moved, zoo->second, kit_value(space, 7)), MHEAP_OK);
  CHECK_EQ(mh_row_list_new(space, zoo->first, 3, &zoo->rows), MHEAP_OK);
  kit_set(&zoo->root, 3, mh_container_ref(MH_TYPE_RECORDS, zoo->rows.offset));
  for (unsigned i = 0; i < 3; i++) {
    fill(space, row, 10 + i);
    CHECK_EQ(mh_rows_splice(&zoo->rows, i, 0, row, 1), MHEAP_OK);
  }
}

static void drop_registry(zoo *zoo) {
  uint64_t offset = zoo->kit.space.region->super->registry;
  zoo->kit.space.region->super->registry = 0;
  mh_release(&zoo->kit.space, mh_word_ref(MH_TAG_LIST_REF, offset));
}

static void zoo_close(zoo *zoo) {
  kit_drop_root(&zoo->kit);
  drop_registry(zoo);
  kit_close(&zoo->kit);
}

/* ---- as they should be ---- */

static void fields_lie_where_the_schema_says(void) {
  zoo zoo;
  zoo_open(&zoo);
  CHECK_EQ(zoo.first->bytes, 40);
  CHECK_EQ(mh_fields_bytes(zoo.first), 56);
  const uint32_t places[] = {RECORD_ID, RECORD_NAME, RECORD_SCORE, RECORD_MORE, RECORD_ON};
  for (int i = 0; i < 5; i++) CHECK_EQ(zoo.first->fields[i].offset, places[i]);
  CHECK_EQ(zoo.first->place_count, 2);
  CHECK_EQ(*(uint64_t *)mh_fields_field(&zoo.record, RECORD_ID), 1);
  CHECK(kit_is_value(&zoo.kit.space, *(uint64_t *)mh_fields_field(&zoo.record, RECORD_NAME), 1));
  CHECK(kit_is_value(&zoo.kit.space, *(uint64_t *)mh_fields_field(&zoo.moved, RECORD2_MORE), 1002));
  CHECK_EQ(*(uint64_t *)mh_fields_field(&zoo.moved, RECORD2_ID), 2);
  kit_is_sound(&zoo.kit);
  zoo_close(&zoo);
}

static void a_schema_is_added_once(void) {
  zoo zoo;
  mh_list registry;
  mh_items items;
  const mh_schema *again;
  zoo_open(&zoo);
  CHECK_EQ(records_schema(&zoo.kit.space, records_first, &again), MHEAP_OK);
  CHECK(again == zoo.first);
  CHECK_EQ(mh_registry(&zoo.kit.space, false, &registry), MHEAP_OK);
  CHECK_EQ(mh_list_items(&registry, &items), MHEAP_OK);
  CHECK_EQ(items.count, 2);
  CHECK_EQ(mh_schema_at(&zoo.kit.space, 2, &again), MHEAP_ERR_CORRUPT);
  CHECK_EQ(mh_schema_at(&zoo.kit.space, UINT64_MAX, &again), MHEAP_ERR_CORRUPT);
  zoo_close(&zoo);
}

static void identity_stays_when_a_record_migrates(void) {
  zoo zoo;
  zoo_open(&zoo);
  mh_fields found, before = zoo.record;
  CHECK_EQ(records_migrate(&zoo.record, zoo.second, MH_CONST_NONE), MHEAP_OK);
  CHECK_EQ(mh_fields_at(&zoo.kit.space, before.offset, &found), MHEAP_OK);
  CHECK_EQ(found.birth, before.birth);
  CHECK(!mh_fields_is_known(&before));
  CHECK_EQ(mh_fields_open(&before), MHEAP_OK);
  CHECK(before.schema == zoo.second);
  kit_is_sound(&zoo.kit);
  zoo_close(&zoo);
}

/* A chain that no stack would hold, of records moved and not. */
static void a_long_chain_is_freed(void) {
  zoo zoo;
  mh_fields next;
  char row[40];
  zoo_open(&zoo);
  uint64_t word = MH_CONST_NONE;
  for (int i = 0; i < 100000; i++) {
    records_row(row, i, MH_CONST_NONE, 0, word, false);
    CHECK_EQ(records_new(&zoo.kit.space, zoo.first, row, &next), MHEAP_OK);
    if (i % 2 == 0) CHECK_EQ(records_migrate(&next, zoo.second, MH_CONST_NONE), MHEAP_OK);
    word = mh_word_ref(MH_TAG_RECORD_REF, next.offset);
  }
  kit_set(&zoo.root, 5, word);
  kit_is_sound(&zoo.kit);
  zoo_close(&zoo);
}

static void collect(zoo *zoo, uint64_t objects) {
  mh_collected collected = {0};
  CHECK_EQ(mh_collect_begin(&zoo->kit.space), MHEAP_OK);
  CHECK_EQ(mh_collect_step(&zoo->kit.space, 1e9, &collected), MHEAP_OK);
  CHECK_EQ(collected.objects, objects);
  kit_is_sound(&zoo->kit);
}

static void circles_are_collected(void) {
  zoo zoo;
  zoo_open(&zoo);
  mh_fields *record[] = {&zoo.record, &zoo.moved};
  const uint32_t place[] = {RECORD_MORE, RECORD2_MORE};
  for (int i = 0; i < 2; i++) {
    uint64_t other = mh_word_ref(MH_TAG_RECORD_REF, record[!i]->offset);
    CHECK_EQ(mh_retain(&zoo.kit.space, other), MHEAP_OK);
    CHECK_EQ(mh_fields_to_change(record[i]), MHEAP_OK);
    CHECK_EQ(mh_fields_set_word(record[i], place[i], other), MHEAP_OK);
  }
  kit_is_sound(&zoo.kit);
  collect(&zoo, 0);
  kit_set(&zoo.root, 1, MH_CONST_NONE);
  kit_set(&zoo.root, 2, MH_CONST_NONE);
  collect(&zoo, 4); /* both, and a text of each */
  zoo_close(&zoo);
}

static void rows_change_as_a_list_does(void) {
  zoo zoo;
  char row[2][40];
  mh_rows rows;
  zoo_open(&zoo);
  uint64_t model[64] = {10, 11, 12}, count = 3;
  for (unsigned turn = 0; turn < 300; turn++) {
    uint64_t from = kit_random((unsigned)count + 1), most = count - from, removed = kit_random(3);
    uint64_t added = kit_random(count > 50 ? 1 : 3);
    if (removed > most) removed = most;
    for (unsigned i = 0; i < added; i++) fill(&zoo.kit.space, row[i], 100 + turn * 2 + i);
    CHECK_EQ(mh_rows_splice(&zoo.rows, from, removed, row, added), MHEAP_OK);
    memmove(model + from + added, model + from + removed, 8 * (most - removed));
    for (unsigned i = 0; i < added; i++) model[from + i] = 100 + turn * 2 + i;
    count += added - removed;
    CHECK_EQ(mh_row_list_rows(&zoo.rows, false, &rows), MHEAP_OK);
    CHECK_EQ(rows.count, count);
    CHECK_EQ((uintptr_t)rows.block->data % 64, 0);
    for (uint64_t i = 0; i < count; i++) CHECK_EQ(*(uint64_t *)(void *)mh_row_at(&rows, i), model[i]);
    if (turn % 50 == 0) kit_is_sound(&zoo.kit);
  }
  CHECK_EQ(mh_rows_splice(&zoo.rows, count, 1, NULL, 0), MHEAP_ERR_NOT_FOUND);
  const uint64_t twice[64] = {0};
  CHECK_EQ(mh_rows_permute(&zoo.rows, twice, count), count == 1 ? MHEAP_OK : MHEAP_ERR_ARGUMENT);
  kit_is_sound(&zoo.kit);
  zoo_close(&zoo);
}

static void rows_need_fields(void) {
  static const char *const none[] = {"test:Nothing", NULL};
  zoo zoo;
  mh_row_list list;
  const mh_schema *schema;
  zoo_open(&zoo);
  CHECK_EQ(records_schema(&zoo.kit.space, none, &schema), MHEAP_OK);
  CHECK_EQ(mh_row_list_new(&zoo.kit.space, schema, 3, &list), MHEAP_ERR_ARGUMENT);
  kit_is_sound(&zoo.kit);
  zoo_close(&zoo);
}

static void a_bool_is_0_or_1(void) {
  zoo zoo;
  zoo_open(&zoo);
  *(uint8_t *)mh_fields_field(&zoo.record, RECORD_ON) = 2;
  kit_findings findings = kit_check(&zoo.kit);
  CHECK_EQ(findings.broken, 1);
  CHECK(strstr(findings.text, "the bool in a record: expected 0 or 1, found 2") != NULL);
  *(uint8_t *)mh_fields_field(&zoo.record, RECORD_ON) = 0;
  zoo_close(&zoo);
}

/* ---- as an attacker wants them ---- */

static void read_everything(zoo *zoo) {
  mh_space *space = &zoo->kit.space;
  const mh_schema *schema;
  mh_row_list list;
  mh_rows rows;
  const uint64_t offsets[] = {zoo->record.offset, zoo->moved.offset};
  for (int i = 0; i < 2; i++) {
    mh_fields record;
    if (mh_fields_at(space, offsets[i], &record)) continue;
    for (uint32_t k = 0; k < record.schema->place_count; k++)
      (void)mh_object_at(space, ((uint64_t *)mh_fields_field(&record, 0))[record.schema->places[k]]);
  }
  (void)mh_fields_open(&zoo->record);
  (void)mh_fields_open(&zoo->moved);
  if (mh_row_list_at(space, zoo->rows.offset, &list) == MHEAP_OK &&
      mh_row_list_rows(&list, false, &rows) == MHEAP_OK)
    for (uint64_t i = 0; i < rows.count; i++) (void)*(volatile uint64_t *)(void *)mh_row_at(&rows, i);
  for (uint64_t i = 0; i < 3; i++) (void)mh_schema_at(space, i, &schema);
  (void)mh_objects_check(zoo->kit.heap, NULL, NULL);
}

enum { SET = 1, MIGRATE, MIGRATE_MOVED, APPEND, INSERT, DROP, REVERSE, ADD, COLLECT, DROP_ALL, OPERATIONS };

static void set_fields(mh_fields *record) {
  if (mh_fields_to_change(record)) return;
  for (uint32_t i = 0; i < record->schema->field_count; i++)
    if (record->schema->fields[i].kind == MH_FIELD_INT)
      mh_fields_set_bits(record, record->schema->fields[i].offset, 5);
  if (record->schema->place_count > 0)
    (void)mh_fields_set_word(record, 8 * record->schema->places[0], MH_CONST_NONE);
}

static void change(zoo *zoo, int operation) {
  static const char *const third[] = {"test:Third", "a", "int", NULL};
  static const uint64_t order[] = {2, 1, 0};
  const mh_schema *schema;
  char row[40];
  mh_collected collected = {0};
  mh_space *space = &zoo->kit.space;
  records_row(row, 1, MH_CONST_NONE, 0, mh_word_int(5), true);
  switch (operation) {
    case SET:
      set_fields(&zoo->record);
      set_fields(&zoo->moved);
      break;
    case MIGRATE: (void)records_migrate(&zoo->record, zoo->second, MH_CONST_NONE); break;
    case MIGRATE_MOVED: {
      const uint32_t lost[] = {RECORD2_MORE, RECORD2_NEW};
      (void)mh_fields_migrate(&zoo->moved, zoo->first, row, lost, 2);
      break;
    }
    case APPEND: (void)mh_rows_splice(&zoo->rows, 3, 0, row, 1); break;
    case INSERT: (void)mh_rows_splice(&zoo->rows, 1, 1, row, 1); break;
    case DROP: (void)mh_rows_splice(&zoo->rows, 0, 3, NULL, 0); break;
    case REVERSE: (void)mh_rows_permute(&zoo->rows, order, 3); break;
    case ADD: (void)records_schema(space, third, &schema); break;
    case COLLECT:
      if (mh_collect_begin(space) == MHEAP_OK) (void)mh_collect_step(space, 1e9, &collected);
      break;
    case DROP_ALL: kit_drop_root(&zoo->kit); break;
    default: break;
  }
}

#include "hostile.h"

static void with_every_value(uint64_t *(*field)(zoo *)) {
  zoo zoo;
  zoo_open(&zoo);
  uint64_t size = mh_region_size(zoo.kit.space.region), before = *field(&zoo);
  uint64_t registry = zoo.kit.space.region->super->registry;
  const uint64_t values[] = {0, 1, 2, 3, 4, 7, 8, 15, 16, 40, 48, before - 16, before + 16, before + 1,
                             before - 1, before ^ 1, before << 1, zoo.root.offset, zoo.record.offset,
                             zoo.moved.offset, zoo.moved.row - 16, zoo.rows.offset, zoo.rows.confirmed,
                             registry, size, size - 16, size + 16, size - 64, 0xffff, 0x7fffffff, 0xffffffff,
                             0xffffffff00000000, INT64_MAX, UINT64_MAX, MH_OFFSET_MAX,
                             MH_BIRTH_MOVED, MH_BIRTH_MOVED | zoo.moved.offset,
                             MH_BIRTH_MOVED | (zoo.moved.row - 16), MH_BIRTH_MOVED | zoo.record.offset,
                             MH_BIRTH_MOVED | size, MH_BIRTH_DYING, MH_BIRTH_DYING | zoo.record.offset,
                             MH_BIRTH_DYING | zoo.moved.offset, before ^ 0xff, before ^ 0xff00,
                             before ^ 0x1000000, before ^ 0x3000000, before ^ 0xff000000,
                             before ^ (uint64_t)1 << 32, before ^ (uint64_t)0xff << 32,
                             before ^ (uint64_t)0xff << 56};
  mheap_abandon(zoo.kit.heap);
  with_values(field, values, sizeof values / sizeof *values);
}

#define AT(zoo, offset, word) ((uint64_t *)mh_at((zoo)->kit.space.region, (offset)) + (word))

static uint64_t registry_items(zoo *zoo) {
  uint64_t *list = AT(zoo, zoo->kit.space.region->super->registry, 0);
  return list[2];
}

FIELD(record_reference, &zoo->root.table.entries[0].value)
FIELD(record_head, AT(zoo, zoo->record.offset, 0))
FIELD(record_birth, AT(zoo, zoo->record.offset, 1))
FIELD(record_name, AT(zoo, zoo->record.row + RECORD_NAME, 0))
FIELD(record_bool, AT(zoo, zoo->record.row + RECORD_ON, 0))
FIELD(moved_head, AT(zoo, zoo->moved.offset, 0))
FIELD(moved_birth, AT(zoo, zoo->moved.offset, 1))
FIELD(fields_head, AT(zoo, zoo->moved.row - 16, 0))
FIELD(fields_birth, AT(zoo, zoo->moved.row - 16, 1))
FIELD(fields_value, AT(zoo, zoo->moved.row, 0))
FIELD(rows_head, AT(zoo, zoo->rows.offset, 0))
FIELD(rows_birth, AT(zoo, zoo->rows.offset, 1))
FIELD(rows_part, AT(zoo, zoo->rows.offset, 2))
FIELD(cells_head, AT(zoo, zoo->rows.confirmed, 0))
FIELD(cells_count, AT(zoo, zoo->rows.confirmed, 1))
FIELD(cells_capacity, AT(zoo, zoo->rows.confirmed, 2))
FIELD(cells_stride, AT(zoo, zoo->rows.confirmed, 3))
FIELD(cells_schema, AT(zoo, zoo->rows.confirmed, 4))
FIELD(cells_value, AT(zoo, zoo->rows.confirmed + 64 + RECORD_NAME, 0))
FIELD(registry, &zoo->kit.space.region->super->registry)
FIELD(registry_item, AT(zoo, registry_items(zoo), 2))
FIELD(schema_head, AT(zoo, mh_word_offset(zoo->first->word), 0))
FIELD(schema_name, AT(zoo, mh_word_offset(zoo->first->word), 2))
FIELD(schema_type, AT(zoo, mh_word_offset(zoo->first->word), 4))

static void hostile_records_are_harmless(void) {
  with_every_value(record_reference);
  with_every_value(record_head);
  with_every_value(record_birth);
  with_every_value(record_name);
  with_every_value(record_bool);
  with_every_value(moved_head);
  with_every_value(moved_birth);
  with_every_value(fields_head);
  with_every_value(fields_birth);
  with_every_value(fields_value);
}

static void hostile_record_lists_are_harmless(void) {
  with_every_value(rows_head);
  with_every_value(rows_birth);
  with_every_value(rows_part);
  with_every_value(cells_head);
  with_every_value(cells_count);
  with_every_value(cells_capacity);
  with_every_value(cells_stride);
  with_every_value(cells_schema);
  with_every_value(cells_value);
}

static void hostile_schemas_are_harmless(void) {
  with_every_value(registry);
  with_every_value(registry_item);
  with_every_value(schema_head);
  with_every_value(schema_name);
  with_every_value(schema_type);
}

static void as_they_are_nothing_is_found(void) {
  for (int operation = 0; operation < OPERATIONS; operation++) {
    zoo zoo;
    zoo_open(&zoo);
    read_everything(&zoo);
    change(&zoo, operation);
    read_everything(&zoo);
    kit_is_sound(&zoo.kit);
    zoo_close(&zoo);
  }
}

TEST_MAIN(TEST(fields_lie_where_the_schema_says), TEST(a_schema_is_added_once),
          TEST(identity_stays_when_a_record_migrates), TEST(a_long_chain_is_freed),
          TEST(circles_are_collected),
          TEST(rows_change_as_a_list_does), TEST(rows_need_fields), TEST(a_bool_is_0_or_1),
          TEST(as_they_are_nothing_is_found), TEST(hostile_records_are_harmless),
          TEST(hostile_record_lists_are_harmless), TEST(hostile_schemas_are_harmless))
