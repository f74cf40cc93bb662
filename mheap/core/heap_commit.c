/* heap_commit.c: commits of a heap's region, and what of a heap is thrown away after a rollback.

   Owns nothing. Calls commit.h, recover.h, and the parts of the heap layer that know something of blocks. */
#include <errno.h>
#include <string.h>

#include "arena.h"
#include "arenas.h"
#include "commit.h"
#include "heap.h"
#include "kind.h"
#include "lane.h"
#include "os.h"
#include "reader.h"
#include "recover.h"
#include "registry.h"
#include "region_lock.h"

static mheap_err usable(mheap **heap) {
  *heap = mh_heap_of(*heap);
  return *heap != NULL ? mh_heap_usable(*heap) : MHEAP_ERR_NO_MEMORY;
}

mheap_err mh_heap_prepare_commit(mheap *heap) {
  mheap_err code = usable(&heap);
  return code ? code : mh_commit_prepare(heap->region, mh_error(heap));
}

mheap_err mh_heap_commit(mheap *heap, bool durable, const mh_commit_wait *wait) {
  mheap_err code = usable(&heap);
  return code ? code : mh_commit(heap->region, durable, wait, mh_error(heap));
}

mheap_err mheap_commit(mheap *heap, bool durable) { return mh_heap_commit(heap, durable, NULL); }

mheap_err mheap_checkpoint(mheap *heap) {
  mheap_err code = usable(&heap);
  return code ? code : mh_checkpoint(heap->region, mh_error(heap));
}

mheap_err mheap_get_dirty(mheap *heap, mheap_dirty *dirty) {
  mheap_err code = usable(&heap);
  return code ? code : mh_commit_dirty(heap->region, false, dirty, mh_error(heap));
}

mheap_err mh_heap_would_lose(mheap *heap, mheap_dirty *dirty) {
  mheap_err code = usable(&heap);
  return code ? code : mh_commit_dirty(heap->region, true, dirty, mh_error(heap));
}

uint64_t mheap_generation(const mheap *heap) {
  return heap != NULL ? mh_read(&heap->region->super->generation) : 0;
}

/* ---- rolling back ---- */

bool mh_heap_is_committed(const mheap *heap) { return mh_commits_have(heap->region, heap->made); }

/* Of a reader, who went on to a commit in which it is destroyed: what has its rows then gets other
   handles. */
static void lose_named(mheap *heap) {
  heap->gone = heap->own->gone = true;
  mh_registry_give_row(heap->region, heap);
  mh_registry_give_row(heap->region, heap->own);
}

/* One that was made since is as if it had been destroyed; its row may be another's again. */
static void reset_heap(mheap *heap) {
  mh_lanes_reset(heap);
  if (!mh_heap_is_committed(heap)) mh_handle_drop(heap);
  else if (mh_heap_is_named(heap) && !mh_heap_is_there(heap)) lose_named(heap);
  else if (heap->row > 1 && !heap->objects && !mh_heap_row_visible(mh_heap_row_head(heap->region, heap->row)))
    heap->gone = true;
}

static mheap_err reset(mh_region *region, mheap_error *error) {
  mh_kinds_rolled_back(region);
  mh_handles_lock();
  for (mheap *heap = region->heaps, *next; heap != NULL; heap = next) {
    next = heap->next;
    reset_heap(heap);
  }
  pthread_mutex_lock(&region->lock);
  mh_arena_reset(region);
  mheap_err code = mh_arenas_reload(region, error);
  pthread_mutex_unlock(&region->lock);
  mh_handles_unlock();
  return code;
}

mheap_err mheap_rollback(mheap *heap) {
  mheap_err code = usable(&heap);
  if (!code) mh_region_uncollect(heap->region);
  if (!code) code = mh_rollback(heap->region, mh_error(heap));
  return code ? code : reset(heap->region, mh_error(heap));
}

/* ---- readers ---- */

static mheap_err went(mheap *heap, bool moved, bool *told) {
  if (told != NULL) *told = moved;
  return moved ? reset(heap->region, mh_error(heap)) : MHEAP_OK;
}

mheap_err mheap_refresh(mheap *heap, bool *moved) {
  bool another = false;
  mheap_err code = usable(&heap);
  if (!code) code = mh_reader_refresh(heap->region, &another, mh_error(heap));
  return code ? code : went(heap, another, moved);
}

mheap_err mheap_keep(mheap *heap, bool *moved) {
  bool another = false;
  mheap_err code = usable(&heap);
  if (!code) code = mh_reader_pin(heap->region, &another, mh_error(heap));
  return code ? code : went(heap, another, moved);
}

void mheap_release(mheap *heap) {
  if (usable(&heap) == MHEAP_OK) mh_reader_unpin(heap->region);
}

bool mheap_has_news(const mheap *heap) {
  return heap != NULL && !heap->region->forked && !mh_reader_is_newest(heap->region);
}

bool mheap_is_whole(const mheap *heap) {
  return heap == NULL || heap->region->forked || mh_reader_is_whole(heap->region);
}

/* ---- of a file that nobody attaches ---- */

typedef mheap_err file_call(int fd, const char *path, mheap_journal_info *info, mheap_error *error);

/* Attaching says best what is wrong with a file that is no heap. */
static mheap_err on_file(const char *path, bool writing, file_call *call, mheap_journal_info *info,
                         mheap_error *error) {
  const mheap_options reading = {.mode = MHEAP_MODE_READONLY, .unsafe = true, .relocate = true};
  int fd;
  mheap *heap = mheap_open(path, &reading, error);
  if (heap == NULL) return error != NULL ? error->code : MHEAP_ERR_SYSTEM;
  mheap_abandon(heap);
  int failed = mh_os_open(path, writing, false, &fd);
  if (failed) return mh_fail_system(error, failed, path, "opening the file");
  mheap_err code = call(fd, path, info, error);
  mh_os_close(fd);
  return code;
}

static void tell(const mh_recovery *recovery, const mh_sector *first, mheap_journal_info *info) {
  *info = (mheap_journal_info){
      .offset = first->journal,
      .size = first->journal_size,
      .used = recovery->bytes,
      .records = recovery->records,
      .pages_generation = recovery->pages,
      .generation = recovery->generation,
  };
}

static mheap_err first_sector(int fd, const char *path, mh_sector *first, mheap_error *error) {
  mh_journal journal = {0};
  mheap_err code = mh_journal_load(&journal, fd, path, error);
  *first = journal.first;
  mh_journal_close(&journal);
  return code;
}

#define TRIES 100 /* a writer would have to empty its journal as often, each time in the middle of a look */

/* What was read belongs together if no writer emptied or moved the journal meanwhile. */
static mheap_err look(int fd, const char *path, mheap_journal_info *info, mheap_error *error) {
  mheap_err code = MHEAP_OK;
  for (int i = 0; i < TRIES; i++) {
    mh_recovery recovery;
    mh_sector before, after;
    code = first_sector(fd, path, &before, error);
    if (!code) code = mh_recover_look(fd, path, &recovery, error);
    if (!code) tell(&recovery, &before, info);
    if (first_sector(fd, path, &after, NULL) == MHEAP_OK && !memcmp(&before, &after, sizeof after)) break;
  }
  if (!code) info->busy = mh_region_lock_writer(fd);
  return code;
}

static mheap_err in_use(const char *path, const char *who, mheap_error *error) {
  mheap_err code = mh_fail(error, MHEAP_ERR_BUSY, "%s: busy: %s; close that first", path, who);
  if (error != NULL) error->sys = EAGAIN;
  return code;
}

/* Either a reader that pins a generation sees the mark, or its pin is seen here. The records come first: a
   mark without them is damage. */
static mheap_err mark_unless_pinned(int fd, const char *path, uint64_t generation, mheap_error *error) {
  mh_journal journal = {0};
  mheap_error ignored;
  mheap_err code = mh_journal_load(&journal, fd, path, error);
  uint64_t before = journal.first.checkpoint;
  if (!code) code = mh_journal_sync(&journal, error);
  if (!code) code = mh_journal_mark(&journal, generation, error);
  if (!code && mh_region_pinned_before(fd, generation)) {
    mh_journal_mark(&journal, before, &ignored);
    code = in_use(path, "a reader keeps an earlier commit", error);
  }
  mh_journal_close(&journal);
  return code;
}

/* The journal stays where it is. */
static mheap_err recover(int fd, const char *path, mheap_journal_info *info, mheap_error *error) {
  mh_recovery recovery;
  mh_sector first;
  if (!mh_region_lock_unused(fd)) return in_use(path, "another handle has it open", error);
  mheap_err code = first_sector(fd, path, &first, error);
  if (!code) code = mh_recover_look(fd, path, &recovery, error);
  if (!code) tell(&recovery, &first, info);
  if (code || recovery.records == 0) return code;
  code = mark_unless_pinned(fd, path, recovery.generation, error);
  return code ? code : mh_recover(fd, path, true, &recovery, error);
}

mheap_err mheap_get_journal(const char *path, mheap_journal_info *info, mheap_error *error) {
  mh_error_clear(error);
  return on_file(path, false, look, info, error);
}

mheap_err mheap_recover(const char *path, mheap_journal_info *info, mheap_error *error) {
  mh_error_clear(error);
  return on_file(path, true, recover, info, error);
}
