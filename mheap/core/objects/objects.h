/* objects.h: what the rest of the library, the binding and the tests need of the object layer:
   the roots and the check. Includes all its other headers. */
#ifndef MHEAP_OBJECTS_OBJECTS_H
#define MHEAP_OBJECTS_OBJECTS_H

#include "array.h"
#include "deque.h"
#include "ends.h"
#include "set.h"
#include "sorted.h"

/* The dict behind heap.root: superblock.root, or of a named heap its row's `root`. Without one, `create`
   makes it, which needs a heap that can be written; otherwise MHEAP_ERR_NOT_FOUND, without setting an error.
   MHEAP_ERR_STALE: the named heap was destroyed. */
mheap_err mh_root(mh_space *space, bool create, mh_dict *dict);
/* Where its offset stands. */
uint64_t *mh_root_field(const mheap *heap);
/* Is a named heap in this row? */
bool mh_row_has_name(const mh_region *region, uint32_t row);
/* The handle of the first named heap from row *row on, which becomes the row behind it; NULL: there are no
   more, or *failed. */
mheap *mh_named_next(mh_region *region, uint32_t *row, mheap_err *failed, mheap_error *error);
/* The dict that the reference leads to is the root of a heap that has none, which takes it over. */
void mh_root_set(mh_space *space, uint64_t word);

/* Named roots are changed by threads that nobody excludes; not while this is held. The first lock in
   the order. */
void mh_names_lock(void);
void mh_names_unlock(void);

/* Walks everything that is reachable from the root and the named roots of the region's main heap, and from
   the roots of its named heaps, without recursion, writing nothing. Returns MHEAP_ERR_CORRUPT if a finding
   of severity 1 was made, another error if the walk could not be made. `report` may be NULL. */
mheap_err mh_objects_check(mheap *heap, mheap_finding_fun *report, void *arg);

/* Lowers the counts of references that are too high, which a kill leaves, to what they should be. Nobody may
   hold an object but by references in the heap, or use its objects meanwhile. MHEAP_ERR_CORRUPT: something
   contradicts itself; no count was changed. */
mheap_err mh_objects_mend(mheap *heap);

#endif
