/* copy.c: see copy.h. */
#include "copy.h"

#include "../classes.h"
#include "../os.h"
#include "blocks.h"
#include "children.h"
#include "code.h"
#include "fields.h"
#include "list.h"
#include "moved.h"
#include "node.h"
#include "objects.h"
#include "table.h"
#include "value.h"

#define FIRST_LEVELS 1024
#define PROGRESS_OBJECTS 65536
#define MOST_PROBES 1000 /* for each slot, that no fair table comes near */
#define MOST_CODES ((uint64_t)1 << 24) /* words of codes that are hashed however small the heap is */

/* The rest of the words of one object, and where they go. */
typedef struct level {
  const uint64_t *from;   /* the element at hand */
  uint64_t *to;           /* its place in the copy; NULL: nowhere */
  const uint32_t *places; /* as in mh_children */
  uint32_t left;          /* elements that are not done */
  uint32_t dying;         /* as many are left at the one that is taken as none; 0: at no one */
  uint16_t stride, width; /* as in mh_children */
  uint16_t at;            /* value of the element at hand */
  uint16_t gaps;          /* bit 0: the element at hand is none, then the next ones */
  bool has_node;          /* as in mh_children */
  bool packed;            /* elements that are none have no place in the copy */
} level;

typedef struct copy {
  mh_space *from, *to;
  mh_copied *copied;
  mh_copy_progress *progress;
  void *arg;
  mh_moved moved;
  mh_blocks blocks; /* of the region copied from */
  uint64_t coded; /* words of the codes of keys */
  level now;      /* left 0: of no object */
  level *levels;  /* those that wait for it */
  uint64_t depth, room;
} copy;

static mheap_err no_memory(copy *c) {
  return mh_fail(mh_error(c->from->heap), MHEAP_ERR_NO_MEMORY, "no memory to copy the objects with");
}

/* The error of the heap copied to. */
static mheap_err of_target(copy *c, mheap_err failed) {
  if (failed) *mh_error(c->from->heap) = *mh_error(c->to->heap);
  return failed;
}

/* ---- levels ---- */

static uint64_t levels_bytes(uint64_t room) { return room * sizeof(level); }

static mheap_err enter(copy *c, level next) {
  if (next.left == 0) return MHEAP_OK;
  if (c->now.left > 0 && c->depth == c->room) {
    uint64_t room = c->room == 0 ? FIRST_LEVELS : 2 * c->room;
    level *larger = mh_os_table(levels_bytes(room));
    if (larger == NULL) return no_memory(c);
    if (c->depth > 0) memcpy(larger, c->levels, levels_bytes(c->depth));
    if (c->levels != NULL) mh_os_table_free(c->levels, levels_bytes(c->room));
    c->levels = larger;
    c->room = room;
  }
  if (c->now.left > 0) c->levels[c->depth++] = c->now;
  c->now = next;
  return MHEAP_OK;
}

/* ---- blocks ---- */

static void count_block(copy *c, uint64_t size) {
  c->copied->blocks++;
  if (size <= MH_CLASS_MAX_SIZE) c->copied->classes[mh_class_of(size)]++;
  else c->copied->slices += (size + MH_SLICE - 1) / MH_SLICE;
}

/* The block at `offset` has these bytes: once, so that what is copied is never more than there is. */
static mheap_err take(copy *c, uint64_t offset, uint64_t bytes) {
  uint64_t usable = mh_blocks_usable(&c->blocks, offset);
  if (usable < bytes) return mh_corrupt(c->from, offset, "an object in a block in use", bytes, usable);
  c->copied->bytes += usable;
  return MHEAP_OK;
}

/* A copy of so many bytes of it in a block of `room`; *made 0 if nothing is made. */
static mheap_err copy_into(copy *c, uint64_t offset, uint64_t bytes, uint64_t room, uint64_t *made) {
  mheap_err failed = take(c, offset, bytes);
  *made = 0;
  if (failed) return failed;
  count_block(c, room);
  if (c->to == NULL) return MHEAP_OK;
  failed = of_target(c, mh_block_new(c->to, room, made));
  if (!failed) memcpy(mh_at(c->to->region, *made), mh_at(c->from->region, offset), bytes);
  return failed;
}

static mheap_err copy_bytes(copy *c, uint64_t offset, uint64_t bytes, uint64_t *made) {
  return copy_into(c, offset, bytes, bytes, made);
}

static uint64_t *at(copy *c, uint64_t made) { return made == 0 ? NULL : mh_at(c->to->region, made); }

/* `to`: the place of the first element. */
static level level_of(const mh_children *children, uint64_t *to) {
  uint64_t count = children->end - children->first, dying = children->dying;
  if (count == 0 || (children->width == 0 && !children->has_node)) return (level){0};
  return (level){
      .from = children->words + children->first * children->stride,
      .to = to,
      .places = children->places,
      .left = (uint32_t)count,
      .dying = dying >= children->first && dying < children->end ? (uint32_t)(children->end - dying) : 0,
      .stride = (uint16_t)children->stride,
      .width = (uint16_t)children->width,
      .gaps = (uint16_t)children->gaps,
      .has_node = children->has_node,
  };
}

/* Of what was copied as it is, from `offset` to `made`. */
static level level_in(copy *c, const mh_children *children, uint64_t offset, uint64_t made) {
  if (children->end == children->first || made == 0) return level_of(children, NULL);
  uint64_t words = mh_offset(c->from->region, children->words + children->first * children->stride);
  return level_of(children, at(c, made + (words - offset)));
}

/* ---- tables ---- */

/* As many as its counts say, whoever wrote those. */
static mheap_err count_live(copy *c, const mh_table *table, mh_table_counts *counts) {
  uint32_t live = 0;
  mheap_err failed = mh_table_read(c->from, table, counts);
  if (failed) return failed;
  for (uint32_t i = 0; i < counts->used; i++) live += mh_table_is_live(table, counts, i);
  if (live == counts->live) return MHEAP_OK;
  return mh_corrupt(c->from, table->offset + offsetof(mh_table_block, counts), "live entries of a table",
                    live, counts->live);
}

/* What keys have in common is hashed again with each of them: that has an end, as in a check (verify.c). */
static mheap_err hash_of(copy *c, uint64_t stored, uint64_t *hash) {
  uint64_t count = 0, most = c->moved.limit / 8 + MOST_CODES;
  mheap_err failed = mh_word_check(c->from, stored);
  if (failed) return failed;
  if (mh_word_may_have_code(stored)) (void)mh_code_hash_stored(c->from, stored, hash, &count);
  c->coded += count;
  if (c->coded > most)
    return mh_corrupt(c->from, mh_word_offset(stored), "the words that keys have in common", most, c->coded);
  return mh_key_hash(c->from, stored, hash);
}

static mheap_err link_all(copy *c, const mh_table *table, const mh_table_counts *counts, const mh_table *to) {
  uint32_t made = 0;
  uint64_t probes = 0, most = MOST_PROBES * (to->mask + 1);
  mheap_err failed = MHEAP_OK;
  for (uint32_t i = 0; i < counts->used && !failed; i++) {
    uint64_t hash;
    if (!mh_table_is_live(table, counts, i)) continue;
    failed = hash_of(c, mh_read(&table->entries[i].key), &hash);
    if (!failed) probes += mh_table_link_first(to, hash, made++);
    if (probes > most) return mh_corrupt(c->from, table->offset, "probes to fill a table", most, probes);
  }
  return failed;
}

/* The way from a hash to its entry stays if neither entries nor geometry change. */
static mheap_err copy_ways(copy *c, const mh_table *table, const mh_table_counts *counts,
                           const mh_table *to) {
  bool same = to->capacity == table->capacity && to->mask == table->mask && counts->live == counts->used;
  if (!same) return link_all(c, table, counts, to);
  to->block->tags = table->block->tags;
  if (to->slots != NULL) memcpy(to->slots, table->slots, (to->mask + 1) * sizeof *to->slots);
  return MHEAP_OK;
}

static mheap_err copy_table(copy *c, const mh_children *children, uint64_t *made, level *next) {
  mh_table table, to;
  mh_table_counts counts;
  *made = 0;
  mheap_err failed = mh_table_open(c->from, children->part, &table);
  if (!failed) failed = count_live(c, &table, &counts);
  if (failed || counts.live == 0) return failed;
  count_block(c, mh_table_room(counts.live));
  *next = level_of(children, NULL);
  next->packed = true;
  if (c->to == NULL) return MHEAP_OK;
  failed = of_target(c, mh_table_new(c->to, counts.live, &to));
  if (!failed) failed = copy_ways(c, &table, &counts, &to);
  if (failed) return failed;
  to.block->counts = counts.live | (uint64_t)counts.live << 32;
  next->to = (uint64_t *)to.entries;
  *made = to.offset;
  return MHEAP_OK;
}

/* ---- items ---- */

static mheap_err copy_items(copy *c, const mh_children *children, uint64_t *made, level *next) {
  mh_items to;
  uint64_t count = children->end - children->first;
  *made = 0;
  if (count == 0) return MHEAP_OK;
  count_block(c, sizeof(mh_items_block) + 8 * count);
  *next = level_of(children, NULL);
  if (c->to == NULL) return MHEAP_OK;
  mheap_err failed = of_target(c, mh_items_new(c->to, count, made, &to));
  if (failed) return failed;
  to.block->range = count;
  next->to = to.words;
  return MHEAP_OK;
}

/* ---- parts ---- */

static mheap_err copy_cells(copy *c, const mh_children *children, uint64_t *made, level *next) {
  uint64_t bytes = children->part_bytes;
  mheap_err failed = copy_into(c, children->part, bytes, mh_cells_aligned(bytes), made);
  if (!failed) *next = level_in(c, children, children->part, *made);
  return failed;
}

/* A part smaller than it was, or one that holds more than its children. *made 0: it was empty. */
static mheap_err copy_part(copy *c, const mh_children *children, uint64_t *made, level *next) {
  uint64_t part = children->part;
  mh_type type = mh_head_type(mh_read(mh_at(c->from->region, part)));
  if (!mh_moved_see(&c->moved, part)) return mh_corrupt(c->from, part, "owners of a table or items", 1, 2);
  if (type != MH_TYPE_TABLE && type != MH_TYPE_ITEMS) return copy_cells(c, children, made, next);
  mheap_err failed = take(c, part, children->part_bytes);
  if (failed) return failed;
  return type == MH_TYPE_TABLE ? copy_table(c, children, made, next) : copy_items(c, children, made, next);
}

/* ---- objects ---- */

static void set_count(copy *c, uint64_t made, uint32_t count) {
  uint64_t *head = at(c, made);
  if (head != NULL) *head = (*head & ~(uint64_t)MH_COUNT_STICKY) | count;
}

static mheap_err copy_container(copy *c, uint64_t offset, uint64_t *made, level *next) {
  mh_children children;
  uint64_t part = 0;
  mheap_err failed = copy_bytes(c, offset, sizeof(mh_container), made);
  if (!failed) failed = mh_children_read(c->from, offset, &children);
  if (failed) return failed;
  const mh_container *container = mh_at(c->from->region, offset);
  if (container->birth == 0)
    return mh_corrupt(c->from, offset + 8, "the birth number of a container", 1, 0);
  if (children.has_node) {
    *next = level_in(c, &children, offset, *made);
    return MHEAP_OK;
  }
  if (children.part != 0) failed = copy_part(c, &children, &part, next);
  if (!failed && *made != 0) ((mh_container *)at(c, *made))->part = part;
  return failed;
}

/* A value beside a part that has none: the description of an array. */
static level level_of_word(copy *c, uint64_t offset, uint64_t made) {
  const mh_container *container = mh_at(c->from->region, offset);
  uint64_t *to = made == 0 ? NULL : &((mh_container *)at(c, made))->word;
  return (level){.from = &container->word, .to = to, .left = 1, .stride = 1, .width = 1};
}

/* The copy has its fields with it, by the schema they have. */
static mheap_err copy_record(copy *c, uint64_t offset, uint64_t *made, level *next) {
  mh_children children;
  mh_fields_place place;
  mheap_err failed = mh_fields_place_of(c->from, offset, &place);
  if (!failed && place.row == 0)
    failed = mh_corrupt(c->from, offset + 8, "the birth number of a record", 1, 0);
  if (!failed) failed = mh_children_read(c->from, offset, &children);
  uint64_t start = place.fields == 0 ? offset : place.fields;
  if (!failed && place.fields != 0) failed = take(c, offset, sizeof(mh_container));
  if (!failed && place.fields != 0 && !mh_moved_see(&c->moved, start))
    failed = mh_corrupt(c->from, start, "owners of the fields of a record", 1, 2);
  if (!failed) failed = copy_bytes(c, start, mh_fields_bytes(place.schema), made);
  if (failed) return failed;
  if (*made != 0)
    *at(c, *made) = mh_head(1, MH_TYPE_RECORD, mh_head_length(mh_read(mh_at(c->from->region, start))));
  *next = level_in(c, &children, start, *made);
  return MHEAP_OK;
}

static mheap_err copy_value(copy *c, uint64_t word, uint64_t *made, level *next) {
  uint64_t offset = mh_word_offset(word), bytes;
  mh_children children;
  mheap_err failed = mh_object_size(c->from, word, &bytes);
  if (!failed) failed = copy_bytes(c, offset, bytes, made);
  if (failed || !mh_type_has_children(mh_head_type(mh_read(mh_at(c->from->region, offset))))) return failed;
  failed = mh_children_read(c->from, offset, &children);
  if (!failed) *next = level_in(c, &children, offset, *made);
  return failed;
}

static mheap_err copy_by_type(copy *c, uint64_t word, mh_type type, uint64_t *made, level *next) {
  uint64_t offset = mh_word_offset(word);
  if (type == MH_TYPE_RECORD) return copy_record(c, offset, made, next);
  if (!mh_type_is_owner(type)) return copy_value(c, word, made, next);
  mheap_err failed = copy_container(c, offset, made, next);
  if (!failed && mh_type_has_word(type)) *next = level_of_word(c, offset, *made);
  return failed;
}

/* A node of a tree, which is referred to once. */
static mheap_err copy_node(copy *c, uint64_t offset, uint64_t *made) {
  mh_node node;
  mh_children children;
  *made = 0;
  mheap_err failed = mh_node_open_top(c->from, offset, &node);
  if (failed) return failed;
  if (!mh_moved_see(&c->moved, offset)) return mh_corrupt(c->from, offset, "owners of a node", 1, 2);
  failed = copy_bytes(c, offset, mh_node_bytes(node.level), made);
  if (!failed) failed = mh_children_read(c->from, offset, &children);
  return failed ? failed : enter(c, level_in(c, &children, offset, *made));
}

/* One that was not come by before. Where it is, is noted before anything in it is looked at: it may refer to
   itself. */
static mheap_err copy_object(copy *c, uint64_t word, uint64_t head, uint64_t *made) {
  uint64_t offset = mh_word_offset(word);
  level next = {0};
  mheap_err failed = copy_by_type(c, word, mh_head_type(head), made, &next);
  if (failed) return failed;
  set_count(c, *made, 1);
  bool is_shared = mh_head_count(head) != 1;
  if (is_shared && !mh_moved_put(&c->moved, offset, c->to == NULL ? offset : *made)) return no_memory(c);
  if (++c->copied->objects % PROGRESS_OBJECTS == 0 && c->progress != NULL && !c->progress(c->arg, c->copied))
    return MHEAP_ERR_SYSTEM;
  return enter(c, next);
}

/* A count below the references there are would free what is in use. */
static mheap_err copy_reference(copy *c, uint64_t offset, uint64_t head, uint64_t *made) {
  *made = mh_moved_get(&c->moved, offset);
  if (*made == 0)
    return mh_corrupt(c->from, offset, "the reference count of an object", 2, mh_head_count(head));
  if (c->to == NULL) return MHEAP_OK;
  uint32_t count = mh_head_count(*at(c, *made));
  if (count < MH_COUNT_STICKY) set_count(c, *made, count + 1);
  return MHEAP_OK;
}

static mheap_err copy_word(copy *c, uint64_t word, uint64_t *to) {
  if (!mh_word_is_ref(word)) {
    if (to != NULL) *to = word;
    return mh_word_check(c->from, word);
  }
  const uint64_t *object = mh_object_at(c->from, word);
  if (object == NULL) return MHEAP_ERR_CORRUPT;
  uint64_t offset = mh_word_offset(word), head = mh_read(object), made = 0;
  mheap_err failed = mh_moved_see(&c->moved, offset) ? copy_object(c, word, head, &made)
                                                     : copy_reference(c, offset, head, &made);
  if (!failed && to != NULL) *to = mh_word_ref(mh_word_tag(word), made);
  return failed;
}

/* ---- words ---- */

static void end_element(level *now) {
  now->at = 0;
  now->left--;
  now->gaps >>= 1;
  now->from += now->stride;
  if (now->to != NULL) now->to += now->stride;
}

static bool is_none(const level *now) {
  if (now->left == now->dying || (now->gaps & 1) != 0) return true;
  return now->places == NULL && mh_read(now->from) == MH_WORD_ABSENT;
}

/* One that is none has no place in the copy, or nothing but zeros there. */
static void skip_element(level *now) {
  uint64_t *to = now->to;
  end_element(now);
  if (to == NULL) return;
  if (now->packed) now->to = to;
  else memset(to, 0, 8u * now->stride);
}

/* The next word of the object at hand, which is done then if it was the last. */
static mheap_err copy_next(copy *c) {
  level *now = &c->now;
  if (now->at == 0 && is_none(now)) {
    skip_element(now);
    return MHEAP_OK;
  }
  bool is_node = now->at == now->width;
  uint64_t place = now->places != NULL && !is_node ? now->places[now->at] : now->at;
  uint64_t word = mh_read(now->from + place), *to = now->to == NULL ? NULL : now->to + place, made;
  if (++now->at == now->width + now->has_node) end_element(now);
  if (!is_node) return copy_word(c, word, to);
  mheap_err failed = copy_node(c, word, &made);
  if (!failed && to != NULL) *to = made;
  return failed;
}

static mheap_err copy_all(copy *c) {
  mheap_err failed = MHEAP_OK;
  while (!failed && (c->now.left > 0 || c->depth > 0)) {
    if (c->now.left == 0) c->now = c->levels[--c->depth];
    else failed = copy_next(c);
  }
  return failed;
}

/* What a field of the superblock leads to. `to`: the same of the other region; NULL: nowhere. */
static mheap_err copy_root(copy *c, const uint64_t *field, mh_tag tag, uint64_t *to) {
  uint64_t offset = mh_read(field), word;
  if (offset == 0) return MHEAP_OK;
  if (offset % 16 != 0)
    return mh_corrupt(c->from, mh_offset(c->from->region, field), "the offset of a root", 0, offset);
  mheap_err failed = copy_word(c, mh_word_ref(tag, offset), &word);
  if (!failed) failed = copy_all(c);
  if (!failed && to != NULL) mh_store(to, mh_word_offset(word));
  return failed;
}

static mheap_err copy_schemas(copy *c) {
  uint64_t *to = c->to == NULL ? NULL : &c->to->region->super->registry;
  return copy_root(c, &c->from->region->super->registry, MH_TAG_LIST_REF, to);
}

/* Schemas first: records are known by their places in that list. */
static mheap_err copy_roots(copy *c) {
  uint64_t *to = c->to == NULL ? NULL : mh_root_field(c->to->heap);
  mheap_err failed = c->from->heap->row == 0 ? copy_schemas(c) : MHEAP_OK;
  return failed ? failed : copy_root(c, mh_root_field(c->from->heap), MH_TAG_DICT_REF, to);
}

mheap_err mh_copy_objects(mh_space *from, mh_space *to, mh_copied *copied, mh_copy_progress *progress,
                          void *arg) {
  copy c = {.from = from, .to = to, .copied = copied, .progress = progress, .arg = arg};
  *copied = (mh_copied){0};
  bool opened = mh_moved_open(&c.moved, mh_region_size(from->region));
  mheap_err failed = mh_blocks_open(&c.blocks, from) && opened ? copy_roots(&c) : no_memory(&c);
  mh_blocks_close(&c.blocks);
  if (c.levels != NULL) mh_os_table_free(c.levels, levels_bytes(c.room));
  mh_moved_close(&c.moved);
  return failed;
}
