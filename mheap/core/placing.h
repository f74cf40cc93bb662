/* placing.h: what a commit writes once, straight to its place: where no generation had anything before.

   Owns nothing. Calls commit.h's region, changes.h, record.h, os.h. The caller holds commits' lock. */
#ifndef MHEAP_PLACING_H
#define MHEAP_PLACING_H

#include "commit.h"

/* What the region grew by since the last commit, which is private from then on. */
mheap_err mh_place_growth(mh_region *region, mh_draft *draft, mheap_error *error);
/* Private pages [from, to) in vacant slices (vacant.h). */
mheap_err mh_place_vacant(mh_region *region, mh_draft *draft, uint64_t from, uint64_t to, mheap_error *error);

#endif
