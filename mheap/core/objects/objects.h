/* objects.h: what the rest of the library, the binding and the tests need of the object layer:
   the roots and the check. Includes all its other headers. */
#ifndef MHEAP_OBJECTS_OBJECTS_H
#define MHEAP_OBJECTS_OBJECTS_H

#include "deque.h"
#include "set.h"

/* The dict behind heap.root: superblock.root. Without one, `create` makes it, which needs a
   heap that can be written; otherwise MHEAP_ERR_NOT_FOUND, without setting an error. */
mheap_err mh_root(mh_space *space, bool create, mh_dict *dict);

/* Named roots are changed by threads that nobody excludes; not while this is held. The first lock in
   the order. */
void mh_names_lock(void);
void mh_names_unlock(void);

/* Walks everything that is reachable from the root and the named roots, without recursion,
   writing nothing. Returns MHEAP_ERR_CORRUPT if a finding of severity 1 was made, another
   error if the walk could not be made. `report` may be NULL. */
mheap_err mh_objects_check(mheap *heap, mheap_finding_fun *report, void *arg);

/* Lowers the counts of references that are too high, which a kill leaves, to what they should be. Nobody may
   hold an object but by references in the heap, or use its objects meanwhile. MHEAP_ERR_CORRUPT: something
   contradicts itself; no count was changed. */
mheap_err mh_objects_mend(mheap *heap);

#endif
