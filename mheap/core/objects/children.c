/* children.c: see children.h. */
#include "children.h"

#include "array.h"
#include "fields.h"
#include "list.h"
#include "node.h"
#include "rows.h"
#include "table.h"

bool mh_type_is_known(mh_type type) {
  switch (type) {
    case MH_TYPE_FLOAT:
    case MH_TYPE_INT:
    case MH_TYPE_BYTES:
    case MH_TYPE_STR1:
    case MH_TYPE_STR2:
    case MH_TYPE_STR4:
    case MH_TYPE_BYTEARRAY:
    case MH_TYPE_COMPLEX:
    case MH_TYPE_TUPLE:
    case MH_TYPE_FROZENSET:
    case MH_TYPE_EXTENDED:
    case MH_TYPE_DICT:
    case MH_TYPE_LIST:
    case MH_TYPE_SET:
    case MH_TYPE_DEQUE:
    case MH_TYPE_COUNTER:
    case MH_TYPE_SORTED:
    case MH_TYPE_ARRAY:
    case MH_TYPE_RECORD:
    case MH_TYPE_RECORDS:
    case MH_TYPE_TABLE:
    case MH_TYPE_ITEMS:
    case MH_TYPE_NODE:
    case MH_TYPE_CELLS:
    case MH_TYPE_FIELDS: return true;
  }
  return false;
}

void mh_children_forget(mh_space *space, uint64_t offset) {
  uint64_t *head = mh_at(space->region, offset);
  mh_type type = mh_head_type(*head);
  if (type == MH_TYPE_RECORD) mh_store(&((mh_record_block *)head)->birth, 0);
  else if (mh_type_is_owner(type)) mh_store(&((mh_container *)head)->part, 0);
  else mh_store(head, mh_head(mh_head_count(*head), type, 0));
  if (mh_type_has_word(type)) mh_store(&((mh_container *)head)->word, MH_WORD_ABSENT);
}

static mheap_err of_table(mh_space *space, mh_children *children) {
  mh_table table;
  mh_table_counts counts;
  mheap_err failed = mh_table_open(space, children->part, &table);
  if (!failed) failed = mh_table_read(space, &table, &counts);
  if (failed) return failed;
  children->part_bytes = mh_table_bytes(&table);
  children->words = (const uint64_t *)table.entries;
  children->stride = children->width = sizeof(mh_entry) / sizeof(uint64_t);
  children->end = counts.used;
  children->dying = counts.dying;
  return MHEAP_OK;
}

static mheap_err of_items(mh_space *space, mh_children *children) {
  mh_items items;
  mheap_err failed = mh_items_open(space, children->part, &items);
  if (failed) return failed;
  children->part_bytes = mh_items_bytes(&items);
  children->words = items.block->words;
  children->first = items.start;
  children->end = items.start + items.count;
  return MHEAP_OK;
}

/* Cells refer to nothing. */
static mheap_err of_cells(mh_space *space, mh_children *children) {
  mh_cells cells;
  mheap_err failed = mh_cells_open(space, children->part, &cells);
  if (!failed) children->part_bytes = mh_cells_bytes(&cells);
  return failed;
}

static mheap_err of_compound(mh_space *space, uint64_t offset, mh_children *children) {
  const mh_compound_block *block = mh_at(space->region, offset);
  uint64_t count = mh_head_length(mh_read(&block->head));
  uint64_t room = mh_block_usable(space, offset), bytes = sizeof *block + sizeof block->words[0] * count;
  if (bytes > room) return mh_corrupt(space, offset, "the length of a compound in its block", bytes, room);
  children->words = block->words;
  children->end = count;
  return MHEAP_OK;
}

static mheap_err of_node(mh_space *space, uint64_t offset, mh_children *children) {
  mh_node node;
  mheap_err failed = mh_node_open_top(space, offset, &node);
  if (failed) return failed;
  uint64_t usable = mh_block_usable(space, offset), bytes = mh_node_bytes(node.level);
  if (usable < bytes) return mh_corrupt(space, offset, "the size of the block in use here", bytes, usable);
  children->words = (const uint64_t *)node.entries;
  children->stride = (node.level == 0 ? sizeof(mh_entry) : sizeof(mh_branch)) / sizeof(uint64_t);
  children->width = node.level == 0 ? children->stride : 1;
  children->has_node = node.level > 0;
  children->end = MH_NODE_PLACES;
  children->gaps = ~(uint64_t)mh_order_places(node.order);
  return MHEAP_OK;
}

/* Its top node, as if it were the only child. */
static mheap_err of_sorted(const mh_container *container, mh_children *children) {
  children->words = &container->part;
  children->width = 0;
  children->has_node = true;
  children->end = 1;
  return MHEAP_OK;
}

/* One element, which is its row. */
static mheap_err of_record(mh_space *space, uint64_t offset, mh_children *children) {
  mh_fields_place place;
  mheap_err failed = mh_fields_place_of(space, offset, &place);
  if (failed || place.row == 0) return failed;
  uint64_t usable = mh_block_usable(space, offset), bytes = mh_fields_bytes(place.schema);
  if (place.fields == 0 && usable < bytes)
    return mh_corrupt(space, offset, "the size of the block in use here", bytes, usable);
  children->part = place.fields;
  children->part_bytes = place.fields == 0 ? 0 : sizeof(mh_record_block) + place.schema->bytes;
  children->words = mh_at(space->region, place.row);
  children->stride = place.schema->bytes / 8;
  children->places = place.schema->places;
  children->width = place.schema->place_count;
  children->end = 1;
  return MHEAP_OK;
}

static mheap_err of_rows(mh_space *space, mh_children *children) {
  mh_rows rows;
  mheap_err failed = mh_rows_open(space, children->part, &rows);
  if (failed) return failed;
  children->part_bytes = mh_rows_bytes(&rows);
  children->words = (const uint64_t *)(const void *)rows.block->data;
  children->stride = rows.schema->bytes / 8;
  children->places = rows.schema->places;
  children->width = rows.schema->place_count;
  children->end = rows.count;
  return MHEAP_OK;
}

mheap_err mh_children_of_part(mh_space *space, mh_type container, uint64_t part, mh_children *children) {
  *children = (mh_children){.stride = 1, .width = 1, .dying = UINT64_MAX, .part = part};
  switch (container) {
    case MH_TYPE_RECORDS: return of_rows(space, children);
    case MH_TYPE_ARRAY: return of_cells(space, children);
    default: return mh_type_has_table(container) ? of_table(space, children) : of_items(space, children);
  }
}

mheap_err mh_children_read(mh_space *space, uint64_t offset, mh_children *children) {
  mh_type type = mh_head_type(mh_read(mh_at(space->region, offset)));
  *children = (mh_children){.stride = 1, .width = 1, .dying = UINT64_MAX};
  if (type == MH_TYPE_NODE) return of_node(space, offset, children);
  if (!mh_type_is_owner(type)) return of_compound(space, offset, children);
  if (!mh_in_region(space->region, offset, sizeof(mh_container)))
    return mh_corrupt(space, offset, "a container beyond the region", mh_region_size(space->region), offset);
  const mh_container *container = mh_at(space->region, offset);
  if (type == MH_TYPE_RECORD) return of_record(space, offset, children);
  if (type == MH_TYPE_SORTED) return of_sorted(container, children);
  uint64_t part = mh_read(&container->part);
  mheap_err failed = part == 0 ? MHEAP_OK : mh_children_of_part(space, type, part, children);
  if (mh_type_has_word(type)) children->word = mh_read(&container->word);
  return failed;
}
