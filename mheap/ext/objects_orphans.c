/* objects_orphans.c: see objects.h. What only a twin keeps, and a commit made the file's so.

   Owns: the list of containers that the last commit has without a reference, since a twin kept them that
   has gone since. They are freed before the next commit looks, or when the heap is closed: so they do not
   stay in the file for ever, unless the process is killed first.

   Invariant: a container that the last commit has without a reference is in the list, or has a twin that is
   `orphan`. It may have references by now, which a rollback takes away again, and another twin than then. */
#include "objects.h"

static bool has_no_reference(mhx_space *space, uint64_t offset, uint64_t birth) {
  const mh_container *container;
  if (mh_block_usable(&space->core, offset) < sizeof *container) return false;
  container = mh_at(space->core.region, offset);
  return mh_birth_of(&space->core, container) == birth && mh_head_count(container->head) == 0;
}

bool mhx_orphans_note(mhx_space *space, const mhx_twin *twin) {
  if (space->orphan_count == space->orphan_room) {
    size_t room = space->orphan_room == 0 ? 16 : 2 * space->orphan_room;
    mhx_orphan *larger = PyMem_Realloc(space->orphans, room * sizeof *larger);
    if (larger == NULL) return false;
    space->orphans = larger;
    space->orphan_room = room;
  }
  space->orphans[space->orphan_count++] = (mhx_orphan){twin->of.dict.offset, twin->of.dict.birth};
  mhx_keep((mhx_handle *)space->heap_obj);
  return true;
}

static void mark_kept(mhx_space *space) {
  for (size_t i = 0; i < space->room && space->loose > 0; i++) {
    mhx_twin *twin = space->twins[i];
    if (twin != NULL && twin->loose && has_no_reference(space, twin->of.dict.offset, twin->of.dict.birth))
      twin->orphan = true;
  }
}

/* Of those that a twin holds `held` says whether they go, too; else they wait for its end again. */
static void free_noted(mhx_space *space, bool held) {
  for (size_t i = 0; i < space->orphan_count; i++) {
    const mhx_orphan *noted = &space->orphans[i];
    if (!has_no_reference(space, noted->offset, noted->birth)) continue;
    if (held || !mhx_held(&space->core, noted->offset)) mh_reap(&space->core, noted->offset);
  }
}

void mhx_orphans_rolled_back(mhx_space *space) {
  for (size_t i = 0; i < space->orphan_count; i++) {
    const mhx_orphan *noted = &space->orphans[i];
    if (has_no_reference(space, noted->offset, noted->birth)) mhx_held(&space->core, noted->offset);
  }
  mark_kept(space);
}

static void begin_commit(mhx_space *space) {
  free_noted(space, false);
  mark_kept(space);
  space->committing = space->orphan_count;
}

static void end_commit(mhx_space *space) {
  size_t count = space->committing;
  space->committing = 0;
  if (count == 0) return;
  space->orphan_count -= count;
  memmove(space->orphans, space->orphans + count, space->orphan_count * sizeof *space->orphans);
}

void mhx_objects_committing(mhx_handle *main) { mhx_spaces_each(main, begin_commit); }
void mhx_objects_committed(mhx_handle *main) { mhx_spaces_each(main, end_commit); }

/* ---- the end ---- */

static void note_kept(mhx_space *space) {
  for (size_t i = 0; i < space->room && space->loose > 0; i++)
    if (space->twins[i] != NULL && space->twins[i]->orphan) mhx_orphans_note(space, space->twins[i]);
}

static void free_all_noted(mhx_space *space) { free_noted(space, true); }

void mhx_orphans_leave(mhx_space *space) {
  if (space->orphan_count > 0 && mh_region_writable(space->core.region)) free_all_noted(space);
}

static size_t noted_of(mhx_handle *handle) {
  const mhx_space *space = *mhx_objects_slot((PyObject *)handle);
  return space != NULL ? space->orphan_count : 0;
}

/* After this the heap is closed, so what is not committed goes first. Where it fails, they stay. */
void mhx_objects_leave(mhx_handle *main) {
  if (main->heap->region->commits == NULL) return;
  mhx_spaces_each(main, note_kept);
  size_t noted = noted_of(main);
  for (mhx_handle *other = main->others; other != NULL; other = other->other) noted += noted_of(other);
  if (noted == 0 || mhx_rollback_all(main) != MHEAP_OK) return;
  mhx_spaces_each(main, free_all_noted);
  mheap_commit(main->heap, false);
}
