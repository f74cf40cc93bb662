/* named.c: heaps with names, and objects of their own, in one region. The fields are in core/layout.h, where
   the order of stores is, too; the rows are heaps.c's. Calls heap.h, value.h.

   Lock order: the names' lock, since a number is taken for a heap as for a container; then that of handles,
   so that no heap comes or goes while names are compared. */
#include "../utf8.h"
#include "objects.h"
#include "value.h"

#define FIRST_ROW 2

static const mh_heap_row *row_at(const mh_region *region, uint32_t row) {
  return (const mh_heap_row *)mh_at(region, MH_HEAPS_OFFSET) + row;
}

bool mh_row_has_name(const mh_region *region, uint32_t row) {
  uint64_t head = mh_heap_row_head(region, row);
  return mh_heap_row_visible(head) && !(head & MH_HEAP_KIND) && mh_read(&row_at(region, row)->name) != 0;
}

/* ---- names ---- */

static mheap_err check_name(mheap *heap, const char *name, size_t length) {
  const char *is = NULL;
  if (name == NULL || length == 0 || length > MHEAP_HEAP_NAME) is = "of another length";
  else if (!mh_is_utf8(name, length) || memchr(name, 0, length) != NULL) is = "other bytes";
  if (is == NULL) return MHEAP_OK;
  return mh_fail(mh_error(heap), MHEAP_ERR_ARGUMENT,
                 "the name of a heap is UTF-8 of 1 to %d bytes, none of them zero, not %s", MHEAP_HEAP_NAME,
                 is);
}

/* `space` is of any heap of the region. */
static mheap_err read_name(mh_space *space, uint32_t row, mh_text *text) {
  const uint64_t *field = &row_at(space->region, row)->name;
  uint64_t word = mh_read(field), at = mh_offset(space->region, field);
  mh_tag tag = mh_word_tag(word);
  if (tag != MH_TAG_BYTES && tag != MH_TAG_BYTES_REF)
    return mh_corrupt(space, at, "the name of a heap, bytes", MH_TAG_BYTES, word);
  mheap_err failed = mh_text_read(space, word, text);
  if (!failed && (text->length == 0 || text->length > MHEAP_HEAP_NAME))
    failed = mh_corrupt(space, at, "the length of a heap's name, at most", MHEAP_HEAP_NAME, text->length);
  return failed;
}

typedef struct wanted_name {
  const char *name;
  size_t length;
} wanted_name;

/* The row of that name; MH_HEAPS: there is none. A name that is damaged is not it. The caller holds the
   handles' lock. */
static uint32_t find_row(mh_space *space, const wanted_name *wanted) {
  for (uint32_t row = FIRST_ROW; row < MH_HEAPS; row++) {
    mh_text text;
    if (!mh_row_has_name(space->region, row) || read_name(space, row, &text)) continue;
    if (text.length == wanted->length && memcmp(text.data, wanted->name, text.length) == 0) return row;
  }
  return MH_HEAPS;
}

/* ---- making ---- */

static mheap_err store_name(mheap *heap, void *arg) {
  const wanted_name *wanted = arg;
  mh_heap_row *row = mh_heap_row_of(heap);
  mh_space space = {0};
  uint64_t word;
  mh_space_init(&space, heap);
  mheap_err failed = mh_bytes_new(&space, wanted->name, wanted->length, &word);
  if (failed) return failed;
  mh_store(&row->name, word);
  mh_store(&row->birth, mh_take_birth(&space));
  return MHEAP_OK;
}

static mheap *make(mheap *main, const wanted_name *wanted, int tag, uint32_t only) {
  mh_space space = {0};
  mheap_error *error = mh_error(main);
  mheap *made = NULL;
  mh_space_init(&space, main);
  mh_names_lock();
  mh_handles_lock();
  if (find_row(&space, wanted) == MH_HEAPS)
    made = mh_heap_new_with_objects(main->region, tag, only, store_name, (void *)wanted, error);
  else
    mh_fail(error, MHEAP_ERR_ARGUMENT, "%s: it has a heap \"%.*s\" already", main->region->path,
            (int)wanted->length, wanted->name);
  mh_handles_unlock();
  mh_names_unlock();
  return made;
}

/* Objects need exactly one region, and one that lasts longer than an arena of memory. */
static mheap_err may_have_named(const mheap *main, mheap_error *error) {
  const mh_region *region = main->region;
  if (!region->of_subproc && !region->is_arena && main->own != NULL) return MHEAP_OK;
  return mh_fail(error, MHEAP_ERR_ARGUMENT, "%s: named heaps are made in a heap that was attached or opened",
                 region->path);
}

mheap *mheap_new_named(mheap *heap, const char *name, size_t length, int tag, mheap_arena arena) {
  const wanted_name wanted = {name, length};
  mh_region *region;
  uint32_t only;
  heap = mh_heap_of(heap);
  if (heap == NULL) return NULL;
  mheap_error *error = mh_error(heap);
  mheap *main = mheap_main(heap);
  mheap_err failed = mh_heap_usable(heap);
  if (!failed) failed = may_have_named(main, error);
  if (!failed) failed = check_name(heap, name, length);
  if (!failed) failed = mh_heap_choose_place(heap, arena, &region, &only, error);
  if (!failed && region != heap->region)
    failed = mh_fail(error, MHEAP_ERR_ARGUMENT, "%s: arena %d is not in it", heap->region->path, arena);
  if (!failed) failed = mh_heap_tag_is_valid(region, tag, error);
  if (!failed) failed = mh_heap_writable(heap);
  mheap *made = failed ? NULL : make(main, &wanted, tag, only);
  if (!failed && made == NULL && main != heap) *error = *mh_error(main);
  return made;
}

/* ---- finding ---- */

mheap *mheap_find_named(mheap *heap, const char *name, size_t length) {
  const wanted_name wanted = {name, length};
  mh_space space = {0};
  heap = mh_heap_of(heap);
  if (heap == NULL || mh_heap_usable(heap) || check_name(heap, name, length)) return NULL;
  mh_space_init(&space, heap);
  mh_handles_lock();
  uint32_t row = find_row(&space, &wanted);
  mh_handles_unlock();
  if (row != MH_HEAPS) return mh_handle_of(heap->region, row, mh_error(heap));
  mh_fail(mh_error(heap), MHEAP_ERR_NOT_FOUND, "%s: there is no heap named \"%.*s\"", heap->region->path,
          (int)length, name);
  return NULL;
}

mheap_err mheap_get_name(mheap *heap, char name[MHEAP_HEAP_NAME + 1], size_t *length) {
  mh_space space = {0};
  mh_text text;
  heap = mh_heap_of(heap);
  if (heap == NULL) return MHEAP_ERR_NO_MEMORY;
  mheap_err failed = mh_heap_usable(heap);
  if (failed) return failed;
  if (!mh_row_has_name(heap->region, heap->row) || !mh_heap_is_there(heap))
    return mh_fail(mh_error(heap), MHEAP_ERR_NOT_FOUND, "%s: heap %u has no name", heap->region->path,
                   heap->row);
  mh_space_init(&space, heap);
  failed = read_name(&space, heap->row, &text);
  if (failed) return failed;
  memcpy(name, text.data, text.length);
  name[text.length] = '\0';
  if (length != NULL) *length = text.length;
  return MHEAP_OK;
}

mheap *mh_named_next(mh_region *region, uint32_t *row, mheap_err *failed, mheap_error *error) {
  while (*row < MH_HEAPS) {
    uint32_t at = (*row)++;
    if (at < FIRST_ROW || !mh_row_has_name(region, at)) continue;
    mheap *heap = mh_handle_of(region, at, error);
    if (heap == NULL) *failed = error->code;
    if (heap == NULL || mh_heap_is_named(heap)) return heap;
  }
  return NULL;
}
