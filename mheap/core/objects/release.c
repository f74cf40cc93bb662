/* release.c: counting references down and freeing what nothing refers to. See space.h.

   Owns the list of the dead: containers without references, already unreachable, chained
   through their own `reserved` fields, so that freeing a graph of any depth needs neither
   stack nor memory. A container enters the list when its count goes from 1 to 0, which
   happens once; its part is walked only while it is a block in use, and freed then. So the
   work is bounded by the blocks there are, whatever the file says. Compounds have a list of their
   own, through `kind`, and records have, through `birth` (layout.h, "record"). A sorted dict's nodes are
   freed on the way back from their leaves, which has as many steps as there are levels. */
#include "children.h"
#include "collect.h"
#include "node.h"

typedef struct mh_dead {
  mh_space *space;
  uint64_t first;       /* offset of a container; 0: none */
  uint64_t records;     /* offset of a record; 0: none */
  uint64_t compounds;   /* offset of a compound; 0: none */
  uint64_t first_birth; /* containers born from here on are left alone */
  bool leave_compounds; /* values that are compounds are left alone, too: each is discarded in its turn */
} mh_dead;

/* A record has no room of its own, unless its fields are elsewhere: then it is the first word of those that
   were here. */
static uint64_t *chain_of(mh_container *container) {
  return container->birth & MH_BIRTH_MOVED ? &container->part : &container->birth;
}

static void drop_any(mh_dead *dead, uint64_t word, bool is_key);

/* Puts what is no reference, its tag being 0, in the place of what a container refers to beside its part, and
   then counts that down. Nothing but a tuple, so that this is never called by itself. */
static void drop_word(mh_dead *dead, mh_container *container, uint64_t instead) {
  uint64_t word = container->word;
  mh_store(&container->word, instead);
  bool has = mh_type_has_word(mh_head_type(container->head)) && mh_word_tag(word) == MH_TAG_TUPLE_REF;
  if (has) drop_any(dead, word, true);
}

static void bury(mh_dead *dead, uint64_t offset) {
  mh_container *container = mh_at(dead->space->region, offset);
  mh_mark_range(container, sizeof *container); /* what only a handle kept was counted down long ago */
  if (mh_head_type(container->head) == MH_TYPE_RECORD) {
    if (container->birth == 0) return; /* it was emptied: a kill left it */
    *chain_of(container) = dead->records;
    if (!(container->birth & MH_BIRTH_MOVED)) container->birth |= MH_BIRTH_DYING;
    dead->records = offset;
    return;
  }
  container->birth = 0;
  uint64_t next = dead->first;
  dead->first = offset;
  drop_word(dead, container, next);
}

static void drop_container(mh_dead *dead, uint64_t offset) {
  mh_space *space = dead->space;
  if (mh_block_usable(space, offset) < sizeof(mh_container)) return;
  mh_container *container = mh_at(space->region, offset);
  if (mh_birth_of(space, container) >= dead->first_birth) return;
  uint32_t count = mh_head_count(container->head);
  if (count == 0 || count == MH_COUNT_STICKY) return;
  mh_store(&container->head, container->head - 1);
  if (count > 1 || (space->held != NULL && space->held(space, offset))) return;
  bury(dead, offset);
}

static void drop_scalar(mh_dead *dead, uint64_t offset, uint64_t *head) {
  uint32_t count = mh_head_count(*head);
  if (count == 0 || count == MH_COUNT_STICKY) return;
  if (count == 1) mh_block_free(dead->space, offset);
  else if (mh_block_usable(dead->space, offset) > 0) mh_store(head, *head - 1);
}

static void bury_compound(mh_dead *dead, uint64_t offset) {
  mh_compound_block *block = mh_at(dead->space->region, offset);
  block->kind = dead->compounds;
  mh_mark(&block->kind);
  dead->compounds = offset;
}

static void drop_compound(mh_dead *dead, uint64_t offset, uint64_t *head) {
  uint32_t count = mh_head_count(*head);
  if (count == 0 || count == MH_COUNT_STICKY) return;
  if (mh_block_usable(dead->space, offset) < sizeof(mh_compound_block)) return;
  mh_store(head, *head - 1);
  if (count == 1) bury_compound(dead, offset);
}

/* A value, or a key or description, which is never left alone: nothing else refers to what it is made of. */
static void drop_any(mh_dead *dead, uint64_t word, bool is_key) {
  if (!mh_word_is_ref(word)) return;
  uint64_t *head = mh_object_at(dead->space, word);
  if (head == NULL) return;
  if (mh_collects(dead->space)) mh_collect_dropped(dead->space, word);
  if (mh_is_container(dead->space, word)) drop_container(dead, mh_word_offset(word));
  else if (!mh_type_is_compound(mh_head_type(*head))) drop_scalar(dead, mh_word_offset(word), head);
  else if (is_key || !dead->leave_compounds) drop_compound(dead, mh_word_offset(word), head);
}

static void drop_children(mh_dead *dead, const mh_children *children) {
  bool have_keys = mh_children_have_keys(children);
  for (uint64_t i = children->first; i < children->end; i++) {
    if (!mh_children_have(children, i)) continue;
    for (uint64_t k = 0; k < children->width; k++)
      drop_any(dead, *mh_child(children, i, k), have_keys && k == 0);
  }
}

/* What is no node of that level in a block in use is left alone. */
static bool open_node(mh_dead *dead, uint64_t offset, unsigned level, mh_node *node) {
  return mh_node_open(dead->space, offset, level, node) == MHEAP_OK &&
         mh_block_usable(dead->space, offset) >= mh_node_bytes(level);
}

static void drop_node(mh_dead *dead, uint64_t offset) {
  mh_children children;
  if (mh_children_read(dead->space, offset, &children) == MHEAP_OK) drop_children(dead, &children);
  mh_block_free(dead->space, offset);
}

/* Each node when all below it are gone. One that is referred to again is no block in use by then. */
static void drop_tree(mh_dead *dead, uint64_t top) {
  mh_node nodes[MH_NODE_LEVELS];
  unsigned next[MH_NODE_LEVELS] = {0}, level;
  mh_node found;
  if (mh_node_open_top(dead->space, top, &found) || !open_node(dead, top, found.level, &found)) return;
  for (nodes[level = found.level] = found; level <= found.level;) {
    mh_node *node = &nodes[level];
    if (level == 0 || next[level] == node->count) {
      drop_node(dead, node->offset);
      level++;
      continue;
    }
    uint64_t child = mh_node_branch(node, next[level]++)->child;
    if (!open_node(dead, child, level - 1, &nodes[level - 1])) continue;
    next[--level] = 0;
  }
}

static void drop_part(mh_dead *dead, mh_type container, uint64_t part) {
  mh_children children;
  if (part != 0 && container == MH_TYPE_SORTED) {
    drop_tree(dead, part);
    return;
  }
  if (part == 0 || mh_children_of_part(dead->space, container, part, &children)) return;
  if (mh_block_usable(dead->space, part) < children.part_bytes) return;
  drop_children(dead, &children);
  mh_block_free(dead->space, part);
}

static void free_container(mh_dead *dead, uint64_t offset) {
  mh_container *container = mh_at(dead->space->region, offset);
  uint64_t part = container->part;
  mh_type type = mh_head_type(container->head);
  mh_store(&container->part, 0); /* as mh_children_forget does */
  mh_block_free(dead->space, offset);
  drop_part(dead, type, part);
}

/* A record's fields may lie in its own block. */
static void free_record(mh_dead *dead, uint64_t offset) {
  mh_children children;
  mh_space *space = dead->space;
  if (mh_children_read(space, offset, &children)) return;
  mh_children_forget(space, offset);
  if (children.part != 0 && mh_block_usable(space, children.part) < children.part_bytes) children.end = 0;
  drop_children(dead, &children);
  if (children.part != 0 && children.end != 0) mh_block_free(space, children.part);
  mh_block_free(space, offset);
}

static void free_compound(mh_dead *dead, uint64_t offset) {
  mh_children children;
  if (mh_children_read(dead->space, offset, &children)) return;
  mh_children_forget(dead->space, offset);
  drop_children(dead, &children);
  mh_block_free(dead->space, offset);
}

static void bury_next_record(mh_dead *dead) {
  uint64_t offset = dead->records;
  uint64_t *chain = chain_of(mh_at(dead->space->region, offset));
  dead->records = *chain & ~MH_BIRTH_DYING;
  free_record(dead, offset);
}

static void bury_all(mh_dead *dead) {
  while (dead->first != 0 || dead->compounds != 0 || dead->records != 0) {
    uint64_t offset = dead->first;
    if (dead->records != 0) {
      bury_next_record(dead);
      continue;
    }
    if (offset != 0) {
      dead->first = ((mh_container *)mh_at(dead->space->region, offset))->reserved;
      free_container(dead, offset);
      continue;
    }
    offset = dead->compounds;
    dead->compounds = ((mh_compound_block *)mh_at(dead->space->region, offset))->kind;
    free_compound(dead, offset);
  }
}

void mh_release_reference(mh_space *space, uint64_t word) {
  mh_dead dead = {.space = space, .first_birth = UINT64_MAX};
  drop_any(&dead, word, false);
  bury_all(&dead);
}

void mh_release_part(mh_space *space, mh_type container, uint64_t part) {
  mh_dead dead = {.space = space, .first_birth = UINT64_MAX};
  drop_part(&dead, container, part);
  bury_all(&dead);
}

void mh_reap(mh_space *space, uint64_t offset) {
  mh_dead dead = {.space = space, .first_birth = UINT64_MAX};
  if (mh_block_usable(space, offset) < sizeof(mh_container)) return;
  mh_container *container = mh_at(space->region, offset);
  mh_type type = mh_head_type(container->head);
  if (mh_head_count(container->head) != 0 || !mh_type_is_container(type)) return;
  bury(&dead, offset);
  bury_all(&dead);
}

static void discard_container(mh_dead *dead, uint64_t offset) {
  drop_word(dead, mh_at(dead->space->region, offset), MH_WORD_ABSENT);
  free_container(dead, offset);
}

void mh_discard(mh_space *space, const uint64_t *words, uint64_t count, uint64_t first_birth) {
  mh_dead dead = {.space = space, .first_birth = first_birth};
  for (uint64_t i = 0; i < count; i++) {
    dead.leave_compounds = true;
    if (mh_word_tag(words[i]) == MH_TAG_RECORD_REF) free_record(&dead, mh_word_offset(words[i]));
    else if (mh_is_container(space, words[i])) discard_container(&dead, mh_word_offset(words[i]));
    else free_compound(&dead, mh_word_offset(words[i]));
    dead.leave_compounds = false;
    bury_all(&dead);
  }
}
