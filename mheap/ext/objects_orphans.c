/* objects_orphans.c: see objects.h. What only a twin keeps, and a commit made the file's so.

   Owns: the list of containers that the last commit has without a reference, since a twin kept them that
   has gone since. They are freed before the next commit looks, or when the heap is closed: so they do not
   stay in the file for ever, unless the process is killed first. When a named heap's handle is closed, and
   the file is not, what that had is freed, and the main heap's list has it: a rollback brings it back.

   Invariant: a container that the last commit has without a reference is in the list, or has a twin that is
   `orphan`. It may have references by now, which a rollback takes away again, and another twin than then. */
#include "objects.h"

static bool has_no_reference(mh_space *core, uint64_t offset, uint64_t birth) {
  const mh_container *container;
  if (mh_block_usable(core, offset) < sizeof *container) return false;
  container = mh_at(core->region, offset);
  return mh_birth_of(core, container) == birth && mh_head_count(container->head) == 0;
}

static bool note(mhx_space *space, mhx_orphan orphan) {
  if (space->orphan_count == space->orphan_room) {
    size_t room = space->orphan_room == 0 ? 16 : 2 * space->orphan_room;
    mhx_orphan *larger = PyMem_Realloc(space->orphans, room * sizeof *larger);
    if (larger == NULL) return false;
    space->orphans = larger;
    space->orphan_room = room;
  }
  space->orphans[space->orphan_count++] = orphan;
  return true;
}

bool mhx_orphans_note(mhx_space *space, const mhx_twin *twin) {
  if (!note(space, (mhx_orphan){twin->of.dict.offset, twin->of.dict.birth, 0})) return false;
  mhx_keep((mhx_handle *)space->heap_obj);
  return true;
}

static void mark_kept(mhx_space *space) {
  for (size_t i = 0; i < space->room && space->loose > 0; i++) {
    mhx_twin *twin = space->twins[i];
    if (twin != NULL && twin->loose &&
        has_no_reference(&space->core, twin->of.dict.offset, twin->of.dict.birth))
      twin->orphan = true;
  }
}

/* What is to become of those in a list: of all, of those that no twin holds, or of none. */
typedef struct going {
  const mhx_space *list;
  enum { ALL, NOT_HELD, NONE } which;
} going;

/* Those that a twin holds wait for its end again. */
static void go_through(const going *g, mh_space *core, uint64_t heap) {
  for (size_t i = 0; i < g->list->orphan_count; i++) {
    const mhx_orphan *noted = &g->list->orphans[i];
    if (noted->heap != heap || !has_no_reference(core, noted->offset, noted->birth)) continue;
    bool held = g->which != ALL && core->held != NULL && core->held(core, noted->offset);
    if (g->which != NONE && !held) mh_reap(core, noted->offset);
  }
}

/* One that was closed may have a handle again. */
static bool go_through_named(void *arg, mheap *heap) {
  const going *g = arg;
  mh_space core;
  mhx_space *space = NULL;
  for (mhx_handle *other = ((mhx_handle *)g->list->heap_obj)->others; other != NULL; other = other->other)
    if (other->heap == heap) space = *mhx_objects_slot((PyObject *)other);
  mh_space_init(&core, heap);
  if (heap->birth != 0) go_through(g, space != NULL ? &space->core : &core, heap->birth);
  return true;
}

static void go_through_all(const going *g) {
  mhx_space *space = (mhx_space *)g->list;
  bool others = false;
  go_through(g, &space->core, 0);
  for (size_t i = 0; i < space->orphan_count; i++) others |= space->orphans[i].heap != 0;
  if (others) mheap_visit_heaps(space->core.heap, go_through_named, (void *)g);
}

void mhx_orphans_rolled_back(mhx_space *space) {
  go_through_all(&(going){space, NONE});
  mark_kept(space);
}

static void begin_commit(mhx_space *space) {
  go_through_all(&(going){space, NOT_HELD});
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

static void free_all_noted(mhx_space *space) { go_through_all(&(going){space, ALL}); }

void mhx_orphans_leave(mhx_space *space) {
  if (space->orphan_count > 0 && mh_region_writable(space->core.region)) free_all_noted(space);
}

void mhx_objects_closing(mhx_handle *handle) {
  mhx_space *space = handle->forks == mhx_forks ? *mhx_objects_slot((PyObject *)handle) : NULL;
  if (space == NULL || handle->main == NULL || space->core.region->commits == NULL) return;
  note_kept(space);
  mhx_space *main = space->orphan_count > 0 ? mhx_space_of((PyObject *)handle->main) : NULL;
  if (main == NULL) PyErr_Clear(); /* a rollback would leave them to a collection */
  for (size_t i = 0; main != NULL && i < space->orphan_count; i++) {
    space->orphans[i].heap = handle->birth;
    note(main, space->orphans[i]);
    space->orphans[i].heap = 0;
  }
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
