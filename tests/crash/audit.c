/* audit.c: see audit.h. */
#include "audit.h"

#include <inttypes.h>
#include <stdarg.h>

#include "objects/compound.h"
#include "objects/fields.h"
#include "objects/objects.h"
#include "objects/rows.h"
#include "objects/value.h"

/* ---- complaints ---- */

void audit_complain(audit *a, const char *format, ...) {
  va_list arguments;
  a->complaints++;
  if (a->quiet) return;
  va_start(arguments, format);
  fputs("audit: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
}

static void complain_of_finding(void *arg, const mheap_finding *finding) {
  if (finding->severity > 0)
    audit_complain(arg, "%s at 0x%" PRIx64 ": %s", finding->what, finding->offset, finding->text);
}

/* ---- blocks in use ---- */

static bool list_block(void *arg, void *block, size_t usable) {
  audit *a = arg;
  if (a->count == a->room) {
    a->room = a->room == 0 ? 1024 : 2 * a->room;
    a->blocks = realloc(a->blocks, a->room * sizeof *a->blocks);
  }
  a->blocks[a->count++] = (audit_block){
      .offset = (uint64_t)((char *)block - heap_base(a->heap)), .usable = usable, .row = a->row};
  return true;
}

static uint64_t mix(uint64_t digest, uint64_t value) {
  digest = (digest ^ value) * 0x9fb21c651e98df25u;
  return digest ^ digest >> 32;
}

static bool list_object(void *arg, void *block, size_t usable) {
  audit *a = arg;
  list_block(a, block, usable);
  a->blocks[a->count - 1].object = true;
  return true;
}

static uint64_t name_digest(mheap *heap) {
  char name[MHEAP_HEAP_NAME + 1];
  uint64_t digest = 5;
  if (mheap_get_name(heap, name, NULL) != MHEAP_OK) return 0;
  for (const char *at = name; *at != '\0'; at++) digest = mix(digest, (uint8_t)*at);
  return digest;
}

static bool list_heap(void *arg, mheap *heap) {
  audit *a = arg;
  mheap_heap_info info;
  mheap_err code = mheap_get_heap_info(heap, &info);
  a->row = info.number;
  a->places = mix(mix(a->places, info.number), (uint64_t)info.tag << 1 | info.destroyable);
  if (info.arena != 0)
    a->places = mix(a->places, (uint64_t)((char *)mheap_arena_area(info.arena, NULL) - heap_base(a->heap)));
  a->places = mix(a->places, name_digest(heap));
  if (!code) code = mheap_visit_blocks(heap, list_block, a);
  if (!code && mh_heap_is_named(heap)) code = mheap_visit_blocks(heap->own, list_object, a);
  if (code) audit_complain(a, "visiting the blocks of heap %u: %s", a->row, mheap_last_error(heap)->text);
  return true;
}

static bool list_arena(void *arg, const mheap_arena_info *info) {
  audit *a = arg;
  uint64_t offset = (uint64_t)((char *)info->start - heap_base(a->heap));
  a->places = mix(mix(a->places, offset), info->size + info->exclusive + 2 * info->committed);
  return true;
}

static int by_offset(const void *x, const void *y) {
  uint64_t a = ((const audit_block *)x)->offset, b = ((const audit_block *)y)->offset;
  return (a > b) - (a < b);
}

void audit_begin(audit *a, mheap *heap, bool quiet) {
  *a = (audit){.heap = heap, .quiet = quiet};
  mheap_err code = mheap_check(heap, complain_of_finding, NULL, a);
  if (code) audit_complain(a, "check: %s", mheap_last_error(heap)->text);
  code = mheap_visit_heaps(heap, list_heap, a);
  if (!code) code = mheap_visit_arenas(heap, list_arena, a);
  a->row = 0;
  if (!code && heap->own != NULL) code = mheap_visit_blocks(heap->own, list_object, a);
  if (code) audit_complain(a, "visiting blocks: %s", mheap_last_error(heap)->text);
  if (a->count > 0) qsort(a->blocks, a->count, sizeof *a->blocks, by_offset);
}

void audit_end(audit *a) {
  free(a->blocks);
  a->blocks = NULL;
  a->count = a->room = 0;
}

audit_block *audit_find(audit *a, uint64_t offset) {
  audit_block key = {.offset = offset};
  return a->count == 0 ? NULL : bsearch(&key, a->blocks, a->count, sizeof key, by_offset);
}

void audit_expect(audit *a, const model_block *block, const uint64_t *seed) {
  audit_block *found = audit_find(a, block->offset);
  if (found == NULL) {
    audit_complain(a, "the block at 0x%" PRIx64 ", %" PRIu64 " bytes, is not in use", block->offset,
                   block->size);
    return;
  }
  if (found->explained || found->object)
    audit_complain(a, "two owners of the block at 0x%" PRIx64, block->offset);
  found->explained = true;
  if (found->usable < block->size)
    audit_complain(a, "the block at 0x%" PRIx64 " holds %" PRIu64 " bytes, not %" PRIu64, block->offset,
                   found->usable, block->size);
  else if (seed != NULL && !pattern_is_prefix(heap_base(a->heap) + block->offset, block->size, *seed))
    audit_complain(a, "the block at 0x%" PRIx64 ", %" PRIu64 " bytes, lost its contents", block->offset,
                   block->size);
}

size_t audit_unexplained(const audit *a) {
  size_t count = 0;
  for (size_t i = 0; i < a->count; i++) count += !a->blocks[i].explained;
  return count;
}

void audit_free(audit *a, const audit_block *block) {
  void *address = heap_base(a->heap) + block->offset;
  mheap *heap = mh_handle_find(a->heap->region, block->row);
  mheap_err code = block->object ? mh_own_free(heap, address) : mheap_free_any(address);
  if (code) audit_complain(a, "free: %s", mheap_last_error(block->object ? heap : NULL)->text);
}

static bool find_other(void *arg, mheap *heap) {
  *(mheap **)arg = heap;
  return heap->row == 0;
}

static bool find_arena(void *arg, const mheap_arena_info *info) {
  *(mheap_arena *)arg = info->arena;
  return false;
}

static bool find_kind(void *arg, mheap_kind *kind) {
  *(mheap_kind **)arg = kind;
  return false;
}

static void drop_kinds(audit *a) {
  for (mheap_kind *kind = NULL;; kind = NULL) {
    mheap_err code = mheap_visit_kinds(a->heap, find_kind, &kind);
    if (code == MHEAP_OK && kind == NULL) return;
    if (code == MHEAP_OK) code = mheap_kind_destroy(kind);
    if (code == MHEAP_OK) continue;
    audit_complain(a, "kinds: %s", mheap_last_error(a->heap)->text);
    return;
  }
}

void audit_drop_places(audit *a) {
  drop_kinds(a);
  for (mheap *other = NULL;; other = NULL) {
    mheap_err code = mheap_visit_heaps(a->heap, find_other, &other);
    if (code || other == NULL || other->row == 0) break;
    code = mh_heap_is_named(other) ? mheap_destroy(other) : mheap_delete(other);
    if (code) audit_complain(a, "delete: %s", mheap_last_error(other)->text);
  }
  for (mheap_arena arena = 0;; arena = 0) {
    if (mheap_visit_arenas(a->heap, find_arena, &arena) != MHEAP_OK || arena == 0) break;
    if (mheap_arena_release(arena) == MHEAP_OK) continue;
    audit_complain(a, "release: %s", mheap_last_error(NULL)->text);
    break;
  }
}

/* ---- objects ---- */

#define EMPTY_DICT 1

static void explain(audit *a, uint64_t offset, const char *what) {
  audit_block *found = audit_find(a, offset);
  if (found == NULL) audit_complain(a, "%s at 0x%" PRIx64 " is reachable, but not in use", what, offset);
  else if (found->explained || !found->object)
    audit_complain(a, "%s at 0x%" PRIx64 " is reachable, and somebody's block", what, offset);
  else found->explained = true;
}

static uint64_t digest_word(audit *a, mh_space *space, uint64_t word);

static uint64_t digest_dict(audit *a, mh_space *space, mh_type type, uint64_t offset) {
  mh_dict dict;
  mh_entry entry;
  uint32_t index = 0;
  uint64_t digest = type == MH_TYPE_DICT ? EMPTY_DICT : type;
  const mh_container *container = mh_at(space->region, offset);
  if (container->part != 0) explain(a, container->part, "a dict's table");
  if (mh_table_owner_at(space, type, offset, &dict) != MHEAP_OK) return 0;
  mheap_err code;
  while ((code = mh_dict_next(&dict, &index, &entry)) == MHEAP_OK)
    digest = mix(mix(digest, digest_word(a, space, entry.key)), digest_word(a, space, entry.value));
  if (code != MHEAP_ERR_NOT_FOUND) audit_complain(a, "a dict: %s", mheap_last_error(a->heap)->text);
  return digest;
}

static uint64_t digest_list(audit *a, mh_space *space, mh_type type, uint64_t offset) {
  mh_list list;
  mh_items items;
  uint64_t digest = type;
  const mh_container *container = mh_at(space->region, offset);
  if (container->part != 0) explain(a, container->part, "a list's items");
  if (mh_items_owner_at(space, type, offset, &list) != MHEAP_OK || mh_list_items(&list, &items) != MHEAP_OK) {
    audit_complain(a, "a list: %s", mheap_last_error(a->heap)->text);
    return 0;
  }
  digest = mix(digest, container->reserved);
  for (uint64_t i = 0; i < items.count; i++) digest = mix(digest, digest_word(a, space, items.words[i]));
  return digest;
}

static uint64_t digest_array(audit *a, mh_space *space, uint64_t offset) {
  mh_array array;
  mh_array_form form;
  mh_cells cells;
  const mh_container *container = mh_at(space->region, offset);
  if (container->part != 0) explain(a, container->part, "an array's cells");
  if (mh_array_at(space, offset, &array) != MHEAP_OK || mh_array_form_of(&array, &form) != MHEAP_OK ||
      mh_array_cells(&array, false, &cells) != MHEAP_OK) {
    audit_complain(a, "an array: %s", mheap_last_error(a->heap)->text);
    return 0;
  }
  uint64_t digest = mix(MH_TYPE_ARRAY, digest_word(a, space, container->word));
  digest = mix(digest, cells.count);
  for (uint64_t i = 0; i < cells.count * cells.stride; i++) digest = mix(digest, cells.data[i]);
  return digest;
}

static void explain_nodes(audit *a, mh_space *space, uint64_t offset, unsigned level) {
  mh_node node = {0};
  explain(a, offset, "a node");
  if (mh_node_open(space, offset, level, &node) != MHEAP_OK) return;
  for (unsigned i = 0; level > 0 && i < node.count; i++) {
    const mh_branch *branch = mh_node_branch(&node, i);
    const audit_block *key = audit_find(a, mh_word_offset(branch->key));
    if (mh_word_is_ref(branch->key) && (key == NULL || !key->explained)) digest_word(a, space, branch->key);
    explain_nodes(a, space, branch->child, level - 1);
  }
}

/* How the entries lie in nodes is nobody's business. Keys of branches are those of entries, or were. */
static uint64_t digest_sorted(audit *a, mh_space *space, uint64_t offset) {
  mh_sorted sorted;
  mh_spot spot = {0};
  mh_entry entry;
  uint64_t digest = MH_TYPE_SORTED, length, count = 0;
  mheap_err code = mh_sorted_at(space, offset, &sorted);
  if (!code) code = mh_sorted_length(&sorted, &length);
  if (!code) code = mh_sorted_seek_index(&sorted, 0, &spot);
  mh_spot start = spot;
  for (; !code && (code = mh_sorted_next(&sorted, &spot, &entry)) == MHEAP_OK; count++)
    digest = mix(mix(digest, digest_word(a, space, entry.key)), digest_word(a, space, entry.value));
  if (start.levels > 0) explain_nodes(a, space, start.node[start.levels - 1], start.levels - 1);
  if (code != MHEAP_ERR_NOT_FOUND) audit_complain(a, "a sorted dict: %s", mheap_last_error(a->heap)->text);
  else if (count != length)
    audit_complain(a, "a sorted dict of %" PRIu64 " entries says %" PRIu64, count, length);
  return digest;
}

static uint64_t digest_text(mh_space *space, uint64_t word) {
  mh_text text;
  uint64_t digest = 3;
  if (mh_text_read(space, word, &text) != MHEAP_OK) return 0;
  for (uint64_t i = 0; i < text.length * text.kind; i++)
    digest = mix(digest, ((const uint8_t *)text.data)[i]);
  return digest;
}

static uint64_t digest_compound(audit *a, mh_space *space, uint64_t word) {
  mh_compound of;
  uint64_t digest = 4;
  if (mh_compound_read(space, word, &of) != MHEAP_OK || mh_compound_check(space, &of) != MHEAP_OK) {
    audit_complain(a, "a tuple: %s", mheap_last_error(a->heap)->text);
    return 0;
  }
  for (uint64_t i = 0; i < of.count; i++) digest = mix(digest, digest_word(a, space, of.words[i]));
  return digest;
}

/* Fields by their places: what they mean is the schema's, whose number counts. */
static uint64_t digest_row(audit *a, mh_space *space, const mh_schema *schema, const void *row) {
  uint64_t digest = mix(5, schema->number);
  for (uint32_t i = 0; i < schema->field_count; i++) {
    uint64_t value = 0;
    const mh_schema_field *field = &schema->fields[i];
    memcpy(&value, (const char *)row + field->offset, field->kind == MH_FIELD_BOOL ? 1 : 8);
    digest = mix(digest, field->kind == MH_FIELD_WORD ? digest_word(a, space, value) : value);
  }
  return digest;
}

static uint64_t digest_record(audit *a, mh_space *space, uint64_t offset) {
  mh_fields record;
  if (mh_fields_at(space, offset, &record) != MHEAP_OK)
    return audit_complain(a, "a record: %s", mheap_last_error(a->heap)->text), 0;
  if (record.stored != record.birth) explain(a, record.row - sizeof(mh_record_block), "a record's fields");
  return digest_row(a, space, record.schema, mh_fields_field(&record, 0));
}

static uint64_t digest_rows(audit *a, mh_space *space, uint64_t offset) {
  mh_row_list list;
  mh_rows rows;
  uint64_t digest = MH_TYPE_RECORDS;
  const mh_container *container = mh_at(space->region, offset);
  explain(a, container->part, "rows");
  if (mh_row_list_at(space, offset, &list) != MHEAP_OK || mh_row_list_rows(&list, false, &rows) != MHEAP_OK)
    return audit_complain(a, "a record list: %s", mheap_last_error(a->heap)->text), 0;
  for (uint64_t i = 0; i < rows.count; i++)
    digest = mix(digest, digest_row(a, space, rows.schema, mh_row_at(&rows, i)));
  return digest;
}

static uint64_t digest_word(audit *a, mh_space *space, uint64_t word) {
  if (!mh_word_is_ref(word)) return word;
  uint64_t offset = mh_word_offset(word);
  explain(a, offset, "an object");
  const uint64_t *block = mh_object_at(space, word);
  if (block == NULL) return audit_complain(a, "an object: %s", mheap_last_error(a->heap)->text), 0;
  if (mh_type_is_compound(mh_head_type(*block))) return digest_compound(a, space, word);
  switch (mh_head_type(*block)) {
    case MH_TYPE_DICT:
    case MH_TYPE_SET:
    case MH_TYPE_COUNTER: return digest_dict(a, space, mh_head_type(*block), offset);
    case MH_TYPE_SORTED: return digest_sorted(a, space, offset);
    case MH_TYPE_LIST:
    case MH_TYPE_DEQUE: return digest_list(a, space, mh_head_type(*block), offset);
    case MH_TYPE_RECORD: return digest_record(a, space, offset);
    case MH_TYPE_RECORDS: return digest_rows(a, space, offset);
    case MH_TYPE_ARRAY: return digest_array(a, space, offset);
    case MH_TYPE_BYTES:
    case MH_TYPE_STR1:
    case MH_TYPE_STR2:
    case MH_TYPE_STR4: return digest_text(space, word);
    default: return block[1];
  }
}

/* A root that is empty is the same as none: it is made before what is put in. */
static uint64_t digest_root(audit *a, mh_space *space) {
  uint64_t root = *mh_root_field(space->heap);
  uint64_t digest = root != 0 ? digest_word(a, space, mh_word_ref(MH_TAG_DICT_REF, root)) : 0;
  return digest == EMPTY_DICT ? 0 : digest;
}

static uint64_t digest_named(audit *a, uint64_t digest) {
  mheap *heap;
  mheap_err failed = MHEAP_OK;
  mheap_error error;
  for (uint32_t row = 0; (heap = mh_named_next(a->heap->region, &row, &failed, &error)) != NULL;) {
    mh_space space = {0};
    mh_space_init(&space, heap);
    digest = mix(mix(digest, digest_word(a, &space, mh_heap_row_of(heap)->name)), digest_root(a, &space));
  }
  if (failed) audit_complain(a, "named heaps: %s", error.text);
  return digest;
}

uint64_t audit_objects(audit *a) {
  mh_space space = {0};
  mh_space_init(&space, a->heap);
  uint64_t names = space.region->super->names, digest = digest_named(a, digest_root(a, &space));
  /* Schemas stay, whatever becomes of who added them. */
  uint64_t registry = space.region->super->registry;
  if (registry != 0) digest_word(a, &space, mh_word_ref(MH_TAG_LIST_REF, registry));
  if (names == 0) return digest;
  uint64_t of_names = digest_word(a, &space, mh_word_ref(MH_TAG_DICT_REF, names));
  return of_names == EMPTY_DICT ? digest : mix(digest, of_names);
}
