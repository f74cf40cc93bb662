/* cuts.h: what a disk may hold after a power cut, of what was written between two syncs.

   Owns: an epoch: the ops of a log from behind one sync to the next.

   On the disk is all that the sync was waited for; of what came since, any writes and not the others, some of
   them in part, by sectors of 512 bytes, among them some that hold what was there before. Changes of the
   file's length and holes come in the order they were made, but may be behind the writes: what was written
   behind the end that the file has then is lost. A write that finds on the disk what it brings makes no
   difference, and does not count. */
#ifndef MHEAP_CRASH_CUTS_H
#define MHEAP_CRASH_CUTS_H

#include "disks.h"

#define CUTS_ALL 12     /* of so many writes all subsets are taken */
#define CUTS_DRAWN 1000 /* images of more writes than that */

typedef struct epoch {
  const op_log *log;
  uint64_t from, to; /* its ops */
  const disk *base;  /* before them */
  uint64_t *writes;  /* ops that make a difference, `count` of them */
  uint64_t count;
  uint64_t *lengths; /* `length_count` ops: before them the file's length and holes are as in no other */
  uint64_t length_count;
} epoch;

/* The one that begins with op `from`, if there is any op left. */
bool epoch_begin(epoch *e, const op_log *log, uint64_t from, const disk *base);
void epoch_end(epoch *e);
/* Brings all of it to the disk that was before it. */
void epoch_apply(const epoch *e, disk *base);

/* Judges an image; `end`: of the ops, those before it were made. False: no more of them. */
typedef bool judge_image(void *arg, const disk *image, uint64_t end, bool is_prefix);

/* All prefixes, and each write in part, among all others and alone. Then all subsets of up to CUTS_ALL
   writes, with each of the lengths, also as of each promise on the way; of more writes, all but one, each
   alone, and CUTS_DRAWN images by chance. `most`: no more images than that, if not 0, which are drawn.
   Were there all subsets? */
bool epoch_cut(const epoch *e, uint64_t most, uint64_t *random, judge_image *judge, void *arg);

#endif
