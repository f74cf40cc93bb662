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

size_t mhx_objects_committing(PyObject *heap_obj) {
  mhx_space *space = *mhx_objects_slot(heap_obj);
  if (space == NULL) return 0;
  free_noted(space, false);
  mark_kept(space);
  return space->orphan_count;
}

void mhx_objects_committed(PyObject *heap_obj, size_t count) {
  mhx_space *space = *mhx_objects_slot(heap_obj);
  if (space == NULL || count == 0) return;
  space->orphan_count -= count;
  memmove(space->orphans, space->orphans + count, space->orphan_count * sizeof *space->orphans);
}

/* ---- the end ---- */

static bool note_kept(mhx_space *space) {
  for (size_t i = 0; i < space->room && space->loose > 0; i++)
    if (space->twins[i] != NULL && space->twins[i]->orphan) mhx_orphans_note(space, space->twins[i]);
  return space->orphan_count > 0;
}

/* After this the heap is closed, so what is not committed goes first. Where it fails, they stay. */
void mhx_objects_leave(PyObject *heap_obj) {
  mhx_space *space = *mhx_objects_slot(heap_obj);
  if (space == NULL || space->core.region->commits == NULL || !note_kept(space)) return;
  if (mheap_rollback(space->core.heap) != MHEAP_OK) return;
  mhx_twins_rolled_back(space);
  free_noted(space, true);
  mheap_commit(space->core.heap, false);
}
