/* recorder.h: everything a process does to one heap file, in order: writes, syncs, changes of length.

   Owns: the log, and wrappers of os.h's functions, which the linker puts in their place (--wrap). What is
   stored through a shared mapping reaches the file by itself: it is logged when that part of the mapping
   becomes private, or the file is synced, as writes of the pages that are in no write before.

   A wrapper can also be a defect of the code that the judge must see; lies.h has others. */
#ifndef MHEAP_CRASH_RECORDER_H
#define MHEAP_CRASH_RECORDER_H

#include "disks.h"

typedef enum recorder_defect {
  DEFECT_NONE,
  DEFECT_SUMS_IGNORED,    /* every sum of records and placed bytes is right */
  DEFECT_RECORDS_IGNORED, /* those of records alone */
  DEFECT_PLACED_IGNORED,  /* nobody looks at what was placed */
  DEFECT_MARK_DROPPED,    /* a checkpoint does not say that it begins */
} recorder_defect;

/* From now on. */
void recorder_defect_is(recorder_defect defect);
/* From now on, of the file that is open as any descriptor with this device and inode. */
void recorder_begin(int fd);
op_log recorder_end(void);
/* Something was promised: that all up to this number is durable. */
void recorder_note(uint64_t number);

#endif
