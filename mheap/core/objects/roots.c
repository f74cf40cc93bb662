/* roots.c: the root dict, and the named roots of the public API: a dict at superblock.names
   from names to the offsets of blocks. Calls dict.h.

   Lock order: `names_lock`, which guards all named roots of the process, then the locks of
   the heap. Taken by the public functions here, and by a collection. */
#include "objects.h"
#include "parts.h"
#include "utf8.h"

#define NAME_MAX_BYTES 4095

static pthread_mutex_t names_lock = PTHREAD_MUTEX_INITIALIZER;

void mh_names_lock(void) { pthread_mutex_lock(&names_lock); }
void mh_names_unlock(void) { pthread_mutex_unlock(&names_lock); }

/* The dict whose offset stands in `*field` of the superblock, or of a row of the heap table. */
static mheap_err stored_dict(mh_space *space, uint64_t *field, bool create, mh_dict *dict) {
  uint64_t offset = mh_read(field);
  if (offset != 0) return mh_dict_at(space, offset, dict);
  if (!create) return MHEAP_ERR_NOT_FOUND;
  mheap_err failed = mh_space_writable(space);
  if (!failed) failed = mh_dict_new(space, 0, dict);
  if (!failed) mh_store(field, dict->offset);
  return failed;
}

static mheap_err is_gone(const mheap *heap) {
  return mh_fail(mh_error(heap), MHEAP_ERR_STALE, "%s: heap %u: it was destroyed", heap->region->path,
                 heap->row);
}

uint64_t *mh_root_field(const mheap *heap) {
  return heap->row == 0 ? &heap->region->super->root : &mh_heap_row_of(heap)->root;
}

/* No other heap's object may be taken for the root. */
static mheap_err is_its_own(mh_space *space, const uint64_t *field) {
  uint64_t offset = mh_read(field);
  if (offset == 0 || mh_block_usable(space, offset) >= sizeof(mh_container)) return MHEAP_OK;
  return mh_corrupt(space, mh_offset(space->region, field), "the root of a heap, one of its objects", 0,
                    offset);
}

mheap_err mh_root(mh_space *space, bool create, mh_dict *dict) {
  const mheap *heap = space->heap;
  uint64_t *field = mh_root_field(heap);
  if (heap->row == 0) return stored_dict(space, field, create, dict);
  if (!mh_heap_is_there(heap)) return is_gone(heap);
  mheap_err failed = is_its_own(space, field);
  return failed ? failed : stored_dict(space, field, create, dict);
}

/* ---- named roots ---- */

static mheap_err bad_name(mheap *heap, const char *what) {
  return mh_fail(mh_error(heap), MHEAP_ERR_ARGUMENT, "the name of a root is UTF-8 of 1 to %d bytes, not %s",
                 NAME_MAX_BYTES, what);
}

/* They are their region's; what a named heap has is its own. */
static mheap_err not_of_a_named_one(mheap *heap) {
  if (!mh_heap_is_named(heap)) return MHEAP_OK;
  return mh_fail(mh_error(heap), MHEAP_ERR_ARGUMENT,
                 "%s: heap %u has no named roots: they are its region's main heap's", heap->region->path,
                 heap->row);
}

/* Names are stored as bytes: they come and go as UTF-8. */
static mheap_err open_names(mheap **heap, const char *name, size_t length, mh_space *space, mh_key *key) {
  *heap = mh_heap_of(*heap);
  if (*heap == NULL) return MHEAP_ERR_NO_MEMORY;
  mheap_err failed = mh_heap_usable(*heap);
  if (!failed) failed = not_of_a_named_one(*heap);
  if (failed) return failed;
  if (name == NULL || length == 0 || length > NAME_MAX_BYTES) return bad_name(*heap, "of another length");
  if (!mh_is_utf8(name, length)) return bad_name(*heap, "other bytes");
  mh_space_init(space, *heap);
  mh_key_text(space, key, MH_TAG_BYTES_REF, 1, name, length);
  return MHEAP_OK;
}

static mheap_err remove_name(mh_space *space, const mh_key *key) {
  mh_dict names;
  mheap_err failed = mh_space_writable(space);
  if (!failed) failed = stored_dict(space, &space->region->super->names, false, &names);
  if (!failed) failed = mh_dict_delete(&names, key);
  return failed == MHEAP_ERR_NOT_FOUND ? MHEAP_OK : failed;
}

static mheap_err set_name(mh_space *space, const mh_key *key, void *block) {
  mh_dict names;
  uint64_t offset = mh_offset(space->region, block);
  if (!mh_in_region(space->region, offset, 1) && !mh_part_reaches(space->heap, offset))
    return mh_fail(mh_error(space->heap), MHEAP_ERR_POINTER, "%p is not inside the heap's region", block);
  mheap_err failed = stored_dict(space, &space->region->super->names, true, &names);
  if (!failed) failed = mh_dict_set(&names, key, mh_word_int((int64_t)offset));
  if (!failed) mh_region_name_base(space->region);
  return failed;
}

mheap_err mheap_setroot(mheap *heap, const char *name, size_t length, void *block) {
  mh_space space = {0};
  mh_key key;
  mheap_err failed = open_names(&heap, name, length, &space, &key);
  if (failed) return failed;
  pthread_mutex_lock(&names_lock);
  failed = block == NULL ? remove_name(&space, &key) : set_name(&space, &key, block);
  pthread_mutex_unlock(&names_lock);
  return failed;
}

/* The block a stored value of the names leads to; NULL: it was freed, and the heap ends before it. */
static mheap_err block_of(mh_space *space, uint64_t word, void **block) {
  uint64_t offset = (uint64_t)mh_word_to_int(word);
  *block = mh_part_address(space->heap, offset);
  if (mh_word_tag(word) == MH_TAG_INT && mh_part_reaches(space->heap, offset)) return MHEAP_OK;
  *block = NULL;
  if (space->heap->spreads && !mh_in_region(space->region, offset, 1)) return MHEAP_OK;
  if (mh_word_tag(word) != MH_TAG_INT || offset < MH_SLICE || offset >= MH_OFFSET_MAX)
    return mh_corrupt(space, space->region->super->names, "the offset of a named root",
                      mh_region_size(space->region), word);
  *block = mh_in_region(space->region, offset, 1) ? mh_at(space->region, offset) : NULL;
  return MHEAP_OK;
}

static mheap_err find_name(mh_space *space, const mh_key *key, void **block) {
  mh_dict names;
  uint64_t word;
  mheap_err failed = stored_dict(space, &space->region->super->names, false, &names);
  if (!failed) failed = mh_dict_get(&names, key, &word);
  return failed ? failed : block_of(space, word, block);
}

void *mheap_getroot(mheap *heap, const char *name, size_t length) {
  mh_space space = {0};
  mh_key key;
  void *block = NULL;
  if (open_names(&heap, name, length, &space, &key)) return NULL;
  pthread_mutex_lock(&names_lock);
  mheap_err failed = find_name(&space, &key, &block);
  pthread_mutex_unlock(&names_lock);
  if (failed == MHEAP_ERR_NOT_FOUND)
    mh_fail(mh_error(heap), MHEAP_ERR_NOT_FOUND, "there is no root named \"%.*s\"", (int)length, name);
  if (!failed && block == NULL)
    mh_fail(mh_error(heap), MHEAP_ERR_POINTER,
            "%s: the root \"%.*s\" leads behind the heap's end: its block was freed; name another, or none",
            heap->region->path, (int)length, name);
  if (!failed) failed = mh_heap_raw(space.heap);
  return failed ? NULL : block;
}

/* One name, copied out so that visit may change the names. */
static mheap_err next_name(mh_space *space, uint32_t *index, char *name, size_t *length, void **block) {
  mh_dict names;
  mh_entry entry;
  mh_text text;
  mheap_err failed = stored_dict(space, &space->region->super->names, false, &names);
  if (!failed) failed = mh_dict_next(&names, index, &entry);
  if (failed) return failed;
  mh_tag tag = mh_word_tag(entry.key);
  if (tag != MH_TAG_BYTES && tag != MH_TAG_BYTES_REF)
    return mh_corrupt(space, names.offset, "the type of a root's name", MH_TAG_BYTES, tag);
  failed = mh_text_read(space, entry.key, &text);
  if (failed) return failed;
  if (text.length > NAME_MAX_BYTES)
    return mh_corrupt(space, names.offset, "the length of a root's name", NAME_MAX_BYTES, text.length);
  memcpy(name, text.data, text.length);
  name[text.length] = '\0';
  *length = text.length;
  return block_of(space, entry.value, block);
}

mheap_err mheap_visit_roots(mheap *heap,
                            bool (*visit)(void *arg, const char *name, size_t length, void *block),
                            void *arg) {
  heap = mh_heap_of(heap);
  if (heap == NULL) return MHEAP_ERR_NO_MEMORY;
  mheap_err failed = mh_heap_usable(heap);
  if (!failed) failed = not_of_a_named_one(heap);
  if (failed) return failed;
  mh_space space = {0};
  char name[NAME_MAX_BYTES + 1];
  size_t length = 0;
  void *block;
  mh_space_init(&space, heap);
  for (uint32_t index = 0;;) {
    pthread_mutex_lock(&names_lock);
    failed = next_name(&space, &index, name, &length, &block);
    pthread_mutex_unlock(&names_lock);
    if (failed) return failed == MHEAP_ERR_NOT_FOUND ? MHEAP_OK : failed;
    failed = mh_heap_raw(space.heap);
    if (failed) return failed;
    if (!visit(arg, name, length, block)) return MHEAP_OK;
  }
}
