/* recorder.h: everything a process does to one heap file, in order: writes, syncs, changes of length.

   Owns: the log, and wrappers of os.h's functions, which the linker puts in their place (--wrap). What is
   stored through a shared mapping reaches the file by itself: it is logged when that part of the mapping
   becomes private, as writes of the pages that the file has by then.

   A wrapper can also lie, so that the judge is judged: see mh_lie. */
#ifndef MHEAP_CRASH_RECORDER_H
#define MHEAP_CRASH_RECORDER_H

#include <stdbool.h>
#include <stdint.h>

typedef enum op_kind { OP_WRITE, OP_LENGTH, OP_PUNCH, OP_SYNC } op_kind;

typedef struct op {
  op_kind kind;
  uint64_t offset, length; /* LENGTH: of the file, in `length` */
  uint8_t *data;           /* WRITE */
  uint64_t note;           /* what had happened when it was logged: see recorder_note */
} op;

typedef struct op_log {
  op *ops;
  uint64_t count;
} op_log;

/* The defects that the judge must see. */
typedef enum mh_lie {
  LIE_NONE,
  LIE_SYNC_DROPPED,  /* syncs of one place in the code are not made */
  LIE_SYNC_EARLY,    /* they come before the write that they should come behind */
  LIE_SUMS_IGNORED,  /* every sum of records and placed bytes is right */
  LIE_MARK_DROPPED,  /* a checkpoint does not say that it begins */
} mh_lie;

/* The lie is told from now on: that of a sync only of the place of this name (places.h), and only of what is
   recorded. */
void recorder_lie(mh_lie lie, const char *place);
/* From now on, of the file that is open as any descriptor with this device and inode. */
void recorder_begin(int fd);
op_log recorder_end(void);
void recorder_free(op_log *log);
/* Ops that follow have this number. */
void recorder_note(uint64_t note);

#endif
