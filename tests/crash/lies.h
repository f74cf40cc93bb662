/* lies.h: what the log of a run would be, were the code another: without a sync, or with another order of a
   sync and what it keeps apart.

   Owns nothing. The change before a sync, and the one behind, are the nearest ones with no other sync in
   between; where there is none, the sync keeps nothing apart and is left as it is. */
#ifndef MHEAP_CRASH_LIES_H
#define MHEAP_CRASH_LIES_H

#include "disks.h"

typedef enum lie_kind {
  LIE_NONE,
  LIE_DROPPED, /* the sync is not made */
  LIE_EARLY,   /* it comes before the change that it should come behind */
  LIE_LATE,    /* it comes behind the change that it should come before */
  LIE_SWAPPED, /* the two changes stand in each other's place */
} lie_kind;

/* Of the syncs of this place. Changes that came to stand elsewhere, or without their sync, are `lied`.
   How many syncs it was told of. */
uint64_t lie_about(op_log *log, lie_kind kind, const char *place);

#endif
