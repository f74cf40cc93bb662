/* lane_list.h: the lanes that a thread has, and which of them is a heap's.

   Owns: mh_thread's `lanes` and `index`, and in a lane what links it there. Calls os.h. Used by the thread
   itself alone, without locks.

   A thread with few lanes goes through their list. One with more has an index too, by the heaps the
   lanes were of when they were filed. A lane's heap may be deleted by another thread, and the lane is
   then another's: until it is filed anew it is not found. */
#ifndef MHEAP_LANE_LIST_H
#define MHEAP_LANE_LIST_H

#include "lane.h"

void mh_list_add(mh_thread *thread, mh_lane *lane);
void mh_list_remove(mh_thread *thread, mh_lane *lane);
/* Its heap has changed. */
void mh_list_file_anew(mh_thread *thread, mh_lane *lane);
/* A lane of `heap`, which is not gone, other than `but`; NULL: there is none. */
mh_lane *mh_list_find(const mh_thread *thread, const mheap *heap, const mh_lane *but);

#endif
