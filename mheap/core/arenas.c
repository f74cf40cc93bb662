/* arenas.c: see arenas.h: numbers, the table, arenas in a heap's file. The public functions are mheap.h's. */
#include "arenas.h"

#include <errno.h>
#include <string.h>

#include "arena.h"
#include "commit.h"
#include "map.h"
#include "os.h"
#include "subproc.h"

/* ---- numbers ---- */

#define NUMBERS 65535
#define NUMBERS_BYTES ((uint64_t)1 << 20)

typedef struct place {
  mh_region *region; /* NULL: free */
  uint32_t row;
} place;
static_assert(NUMBERS * sizeof(place) <= NUMBERS_BYTES, "the table's size");

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static place *places; /* of number 1 and up */
static int used;      /* numbers given out so far */

/* A number that means nothing any more is used again only when all others were. */
static int new_number(mh_region *region, uint32_t row) {
  int i = used;
  if (places == NULL) places = mh_os_table(NUMBERS_BYTES);
  if (places == NULL) return 0;
  if (i == NUMBERS)
    for (i = 0; i < NUMBERS && places[i].region != NULL; i++) continue;
  if (i == NUMBERS) return 0;
  if (i == used) used++;
  places[i] = (place){region, row};
  return i + 1;
}

int mh_arenas_number(mh_region *region, uint32_t row) {
  pthread_mutex_lock(&lock);
  if (region->ranges[row].id == 0) region->ranges[row].id = new_number(region, row);
  int id = region->ranges[row].id;
  pthread_mutex_unlock(&lock);
  return id;
}

static void forget_number(mh_region *region, uint32_t row) {
  pthread_mutex_lock(&lock);
  int id = region->ranges[row].id;
  if (id != 0) places[id - 1].region = NULL;
  region->ranges[row].id = 0;
  pthread_mutex_unlock(&lock);
}

void mh_arenas_lock(void) { pthread_mutex_lock(&lock); }
void mh_arenas_unlock(void) { pthread_mutex_unlock(&lock); }

bool mh_arenas_find(int number, mh_region **region, uint32_t *row) {
  pthread_mutex_lock(&lock);
  bool found = number > 0 && number <= used && places[number - 1].region != NULL;
  if (found) {
    *region = places[number - 1].region;
    *row = places[number - 1].row;
  }
  pthread_mutex_unlock(&lock);
  return found;
}

void mh_arenas_forget(mh_region *region) {
  for (uint32_t row = 0; row < MH_ARENAS; row++) forget_number(region, row);
}

/* ---- the table ---- */

static mh_arena_row *row_of(const mh_region *region, uint32_t row) {
  return (mh_arena_row *)mh_at(region, MH_ARENAS_OFFSET) + row;
}

static bool overlaps(const mh_region *region, uint64_t first, uint64_t end) {
  for (uint32_t row = 1; row < region->arena_rows; row++)
    if (first < region->ranges[row].end && region->ranges[row].first < end) return true;
  return false;
}

static void use_range(mh_region *region, uint32_t row, uint64_t first, uint64_t end, uint64_t head) {
  region->ranges[row] = (mh_range){
      .id = region->ranges[row].id,
      .first = first,
      .end = end,
      .exclusive = (head & MH_ARENA_EXCLUSIVE) != 0,
      .committed = (head & MH_ARENA_COMMITTED) != 0,
  };
  if (row >= region->arena_rows) region->arena_rows = row + 1;
}

static mheap_err load_row(mh_region *region, uint32_t row, mheap_error *error) {
  const mh_arena_row *stored = row_of(region, row);
  uint64_t head = mh_read(&stored->head), first = stored->start, count = stored->count;
  const uint64_t most = MH_OFFSET_MAX >> MH_SEGMENT_BITS;
  if (head == 0) return MHEAP_OK;
  if (first == 0 || first >= most || count == 0 || count > most - first ||
      overlaps(region, first, first + count))
    return mh_fail_corrupt(error, region->path, mh_offset(region, &stored->start),
                           "first segment of an arena", 0, first);
  use_range(region, row, first, first + count, head);
  mh_arenas_number(region, row); /* errors name it */
  return MHEAP_OK;
}

mheap_err mh_arenas_load(mh_region *region, mheap_error *error) {
  mheap_err code = MHEAP_OK;
  region->arena_rows = 1;
  region->ranges[0] =
      (mh_range){.id = region->ranges[0].id, .first = 0, .end = MH_OFFSET_MAX >> MH_SEGMENT_BITS};
  region->all_open = region->fresh;
  if ((region->super->identity.rocompat & MH_ROCOMPAT_ARENAS) == 0) return MHEAP_OK;
  for (uint32_t row = 1; row < MH_ARENAS && !code; row++) {
    code = load_row(region, row, error);
    if (!mh_region_writable(region)) code = MHEAP_OK;
  }
  return code;
}

/* A row whose arena came since the last commit may have had another one then. */
mheap_err mh_arenas_reload(mh_region *region, mheap_error *error) {
  for (uint32_t row = 1; row < MH_ARENAS; row++) {
    if (!mh_commits_have(region, region->ranges[row].made)) forget_number(region, row);
    region->ranges[row] = (mh_range){.id = region->ranges[row].id};
  }
  mheap_err code = mh_arenas_load(region, error);
  for (uint32_t row = 1; row < MH_ARENAS; row++)
    if (region->ranges[row].end == 0) forget_number(region, row);
  return code;
}

/* ---- making arenas in a region ---- */

static mheap_err no_arena(mheap_error *error, mheap_arena arena) {
  return mh_fail(error, MHEAP_ERR_ARGUMENT, "arena %d: there is none of this number", arena);
}

static uint32_t free_row(const mh_region *region) {
  uint32_t row = 1;
  while (row < MH_ARENAS && row_of(region, row)->head != 0) row++;
  return row;
}

static void publish_row(mh_region *region, uint32_t row, uint64_t first, uint64_t count, uint64_t head) {
  mh_arena_row *stored = row_of(region, row);
  stored->start = first;
  stored->count = count;
  mh_publish(&stored->head, head);
}

static void forget_range(mh_region *region, uint32_t row) {
  forget_number(region, row);
  region->ranges[row] = (mh_range){0};
}

/* Space on disk, now. What was grown for it lies behind all that is in use, until it is cut off. */
static mheap_err commit_range(mh_region *region, uint64_t first, uint64_t count, mheap_error *error) {
  uint64_t end = mh_segment_offset(first + count);
  mheap_err code = mh_arena_extend(region, end, error);
  if (!code) code = mh_region_back(region, mh_segment_offset(first), count * MH_SEGMENT, error);
  return code;
}

static mheap_err no_room(const mh_region *region, uint64_t bytes, mheap_error *error) {
  return mh_fail(error, MHEAP_ERR_FULL,
                 "%s: full: no %llu bytes in a row are left of the %llu it may have; attach it with a larger "
                 "max_size=",
                 region->path, (unsigned long long)bytes, (unsigned long long)region->span);
}

static bool reaches(const mh_region *region, uint64_t first, uint64_t count) {
  return first < MH_OFFSET_MAX >> MH_SEGMENT_BITS && mh_segment_offset(first + count) <= region->span;
}

static mheap_err place_range(mh_region *region, uint64_t count, uint64_t *first, mheap_error *error) {
  mheap_err code;
  do {
    *first = mh_arena_place(region, count);
    if (!reaches(region, *first, count)) return no_room(region, count * MH_SEGMENT, error);
    code = mh_arena_map_words(region, *first, count, error); /* which may take a segment of it */
  } while (!code && !mh_arena_is_unused(region, *first, *first + count));
  return code;
}

/* Everything that can fail comes before the row is stored; from the range's being set on, nothing else
   takes its segments. */
static mheap_err reserve_locked(mh_region *region, uint64_t count, uint64_t head, mheap_arena *arena,
                                mheap_error *error) {
  uint64_t first;
  uint32_t row = free_row(region), rows = region->arena_rows;
  if (row == MH_ARENAS)
    return mh_fail(error, MHEAP_ERR_FULL, "%s: all %d rows of its arena table are in use; release an arena",
                   region->path, MH_ARENAS);
  mh_heaps_settle(region);
  mheap_err code = place_range(region, count, &first, error);
  if (code) return code;
  memset(&region->arenas[row], 0, sizeof region->arenas[row]);
  use_range(region, row, first, first + count, head);
  if (head & MH_ARENA_COMMITTED) code = commit_range(region, first, count, error);
  if (!code && (*arena = mh_arenas_number(region, row)) == 0)
    code = mh_fail_system(error, ENOMEM, region->path, "giving an arena a number");
  if (!code) code = mh_region_require(region, MH_ROCOMPAT_ARENAS, error);
  if (!code) {
    publish_row(region, row, first, count, head);
    region->ranges[row].made = mh_commits_now(region);
    return MHEAP_OK;
  }
  forget_range(region, row);
  region->arena_rows = rows;
  mh_arena_trim(region, false);
  return code;
}

static uint64_t head_for(const mheap_arena_options *options) {
  return MH_ARENA_USED | (options->exclusive ? MH_ARENA_EXCLUSIVE : 0) |
         (options->commit ? MH_ARENA_COMMITTED : 0);
}

mheap_err mh_arenas_reserve(mheap *heap, size_t size, const mheap_arena_options *options,
                            mheap_arena *arena) {
  mh_region *region = heap->region;
  mheap_error *error = mh_error(heap);
  uint64_t count = size / MH_SEGMENT + (size % MH_SEGMENT != 0);
  mheap_err code = mh_heap_writable(heap);
  if (!code && (size == 0 || size > MH_OFFSET_MAX / 2))
    code = mh_fail(error, size == 0 ? MHEAP_ERR_ARGUMENT : MHEAP_ERR_OVERFLOW,
                   "%s: an arena of %zu bytes: from 1 to %llu can be reserved", region->path, size,
                   (unsigned long long)(MH_OFFSET_MAX / 2));
  if (!code && options->allow_large)
    code =
        mh_fail(error, MHEAP_ERR_ARGUMENT,
                "%s: allow_large: the pages of a file are its file system's; put the heap on hugetlbfs or on "
                "a tmpfs with huge pages",
                region->path);
  if (code) return code;
  mh_handles_lock();
  pthread_mutex_lock(&region->lock);
  code = reserve_locked(region, count, head_for(options), arena, error);
  pthread_mutex_unlock(&region->lock);
  mh_handles_unlock();
  return code;
}

/* ---- the public functions ---- */

size_t mheap_arena_min_alignment(void) { return MH_SLICE; }

/* The bytes of a range, as far as the region's address space goes. */
static uint64_t range_bytes(const mh_region *region, const mh_range *range) {
  uint64_t from = mh_segment_offset(range->first), end = mh_segment_offset(range->end);
  if (end > region->span) end = region->span;
  return end > from ? end - from : 0;
}

static bool is_whole_region(const mh_region *region, uint32_t row) { return row == 0 && region->is_arena; }

void *mheap_arena_area(mheap_arena arena, size_t *size) {
  mh_region *region;
  uint32_t row;
  if (size != NULL) *size = 0;
  if (!mh_arenas_find(arena, &region, &row)) return NULL;
  const mh_range *range = &region->ranges[row];
  if (size != NULL) *size = is_whole_region(region, row) ? region->span : range_bytes(region, range);
  return is_whole_region(region, row) ? region->base : region->segments + range->first * MH_SEGMENT;
}

/* Is there a heap that allocates in this arena only? */
static bool has_heaps(const mh_region *region, uint32_t row) {
  const mh_heap_row *heaps = mh_at(region, MH_HEAPS_OFFSET);
  for (uint32_t i = 0; i < MH_HEAPS; i++)
    if (mh_heap_row_visible(mh_read(&heaps[i].head)) && heaps[i].arena == row + 1) return true;
  return false;
}

/* An arena in a region that may be changed, for the functions that change it. */
static mheap_err find_to_change(mheap_arena arena, mh_region **region, uint32_t *row, mheap **heap) {
  mheap_error *error = mh_plain_error();
  if (!mh_arenas_find(arena, region, row)) return no_arena(error, arena);
  if (*row == 0 && !(*region)->is_arena)
    return mh_fail(error, MHEAP_ERR_ARGUMENT, "%s: arena %d is what no other arena has of it, and stays so",
                   (*region)->path, arena);
  *heap = mh_handle_find(*region, 0);
  mheap_err code = mh_heap_writable(*heap);
  if (code) *error = *mh_error(*heap);
  return code;
}

static mheap_err release_row(mh_region *region, uint32_t row, mheap_error *error) {
  if (has_heaps(region, row))
    return mh_fail(error, MHEAP_ERR_BUSY,
                   "%s: arena %d: busy: a heap was made for it; destroy or delete that first", region->path,
                   region->ranges[row].id);
  if (!mh_arena_empty(region, row))
    return mh_fail(error, MHEAP_ERR_BUSY, "%s: arena %d: busy: there are blocks in use in it", region->path,
                   region->ranges[row].id);
  uint64_t first = region->ranges[row].first;
  mh_publish(&row_of(region, row)->head, 0);
  forget_range(region, row);
  if (region->arenas[0].free_from > first) region->arenas[0].free_from = first;
  mh_arena_trim(region, false);
  return MHEAP_OK;
}

mheap_err mheap_arena_release(mheap_arena arena) {
  mh_region *region;
  uint32_t row;
  mheap *heap;
  mheap_error *error = mh_plain_error();
  mheap_err code = find_to_change(arena, &region, &row, &heap);
  if (code) return code;
  if (!is_whole_region(region, row)) code = mheap_collect(heap, false);
  if (code) return code;
  if (is_whole_region(region, row)) return mh_arenas_release_region(region, arena, error);
  mh_handles_lock();
  pthread_mutex_lock(&region->lock);
  mh_heaps_settle(region);
  code = release_row(region, row, error);
  pthread_mutex_unlock(&region->lock);
  mh_handles_unlock();
  return code;
}

/* ---- growing ---- */

static bool is_last(const mh_region *region, uint32_t row) {
  for (uint32_t other = 1; other < region->arena_rows; other++)
    if (region->ranges[other].first >= region->ranges[row].end) return false;
  return true;
}

static mheap_err grow_row(mh_region *region, uint32_t row, uint64_t count, mheap_error *error) {
  mh_range *range = &region->ranges[row];
  uint64_t now = range->end - range->first;
  if (count < now || !is_last(region, row))
    return mh_fail(error, MHEAP_ERR_ARGUMENT, "%s: arena %d: %s", region->path, range->id,
                   count < now ? "it is larger already" : "another arena comes after it, so it cannot grow");
  if (count == now) return MHEAP_OK;
  if (mh_segment_offset(range->first + count) > region->span)
    return no_room(region, count * MH_SEGMENT, error);
  mheap_err code = mh_arena_map_words(region, range->end, count - now, error);
  if (!code && !mh_arena_is_unused(region, range->end, range->first + count))
    code = mh_fail(error, MHEAP_ERR_ARGUMENT,
                   "%s: arena %d: there is something in use behind it, so it cannot grow", region->path,
                   range->id);
  if (!code && range->committed) code = commit_range(region, range->end, count - now, error);
  if (code) {
    mh_arena_trim(region, false);
    return code;
  }
  mh_publish(&row_of(region, row)->count, count);
  range->end = range->first + count;
  return MHEAP_OK;
}

mheap_err mheap_arena_grow(mheap_arena arena, size_t size) {
  mh_region *region;
  uint32_t row;
  mheap *heap;
  mheap_error *error = mh_plain_error();
  mheap_err code = find_to_change(arena, &region, &row, &heap);
  if (code) return code;
  if (is_whole_region(region, row) || size > MH_OFFSET_MAX / 2)
    return mh_fail(error, MHEAP_ERR_ARGUMENT, "arena %d: it cannot be %zu bytes", arena, size);
  mh_handles_lock();
  pthread_mutex_lock(&region->lock);
  mh_heaps_settle(region);
  code = grow_row(region, row, size / MH_SEGMENT + (size % MH_SEGMENT != 0), error);
  pthread_mutex_unlock(&region->lock);
  mh_handles_unlock();
  return code;
}

/* ---- looking ---- */

void mh_arenas_info(mh_region *region, uint32_t row, mheap_arena_info *info) {
  const mh_range *range = &region->ranges[row];
  size_t size;
  *info = (mheap_arena_info){
      .arena = mh_arenas_number(region, row),
      .exclusive = range->exclusive,
      .committed = range->committed,
      .stored = !region->anonymous,
      .lent = region->pages.lent,
      .pinned = region->pages.pinned,
      .numa_node = region->pages.node,
  };
  info->start = mheap_arena_area(info->arena, &size);
  info->size = size;
  pthread_mutex_lock(&region->lock);
  info->used = mh_arena_used(region, row);
  pthread_mutex_unlock(&region->lock);
}

mheap_err mheap_arena_get_info(mheap_arena arena, mheap_arena_info *info) {
  mh_region *region;
  uint32_t row;
  mheap_error *error = mh_plain_error();
  if (info == NULL)
    return mh_fail(error, MHEAP_ERR_ARGUMENT, "mheap_arena_get_info: no place for the result");
  memset(info, 0, sizeof *info);
  if (!mh_arenas_find(arena, &region, &row)) return no_arena(error, arena);
  mh_arenas_info(region, row, info);
  return MHEAP_OK;
}

mheap_err mh_arenas_visit(mheap *heap, bool (*visit)(void *arg, const mheap_arena_info *info), void *arg) {
  mh_region *region = heap->region;
  mheap_err code = mh_heap_usable(heap);
  for (uint32_t row = 1; row < region->arena_rows && !code; row++) {
    mheap_arena_info info;
    if (region->ranges[row].end == 0) continue;
    mh_arenas_info(region, row, &info);
    if (!visit(arg, &info)) break;
  }
  return code;
}

bool mh_arenas_next(int *number, mh_region **region) {
  pthread_mutex_lock(&lock);
  int i = *number;
  while (i < used && (places[i].region == NULL || !is_whole_region(places[i].region, places[i].row))) i++;
  if (i < used) *region = places[i].region;
  pthread_mutex_unlock(&lock);
  *number = i + 1;
  return i < used;
}

bool mh_arenas_visit_memory(const mh_subproc *subproc, bool (*visit)(void *arg, const mheap_arena_info *info),
                            void *arg) {
  mh_region *region = NULL;
  for (int number = 0; mh_arenas_next(&number, &region);) {
    mheap_arena_info info;
    if (mh_subproc_of(region) != subproc) continue;
    mh_arenas_info(region, 0, &info);
    if (!visit(arg, &info)) return false;
  }
  return true;
}

mheap_err mheap_visit_arenas(mheap *heap, bool (*visit)(void *arg, const mheap_arena_info *info), void *arg) {
  if (heap != NULL) return mh_arenas_visit(heap, visit, arg);
  mh_arenas_visit_memory(mh_subproc_now(), visit, arg);
  return MHEAP_OK;
}
