/* region_lock.h: who may attach a file beside whom.

   Owns no memory; holds open-file-description locks, which the kernel drops at death, on
   single bytes far behind any file's end:

     byte      live writer   atomic writer   reader   scratch
     WRITER    exclusive     exclusive       -        shared (unless sealed)
     LIVE      exclusive     -               shared   -
     READERS   -             -               shared   shared
     PINS + g  -             -               shared while it keeps generation g

   So writers exclude each other, a live writer and readers exclude each other, and a writer
   that wants to truncate or punch asks whether READERS is free. An `unsafe` reader takes
   READERS alone. */
#ifndef MHEAP_REGION_LOCK_H
#define MHEAP_REGION_LOCK_H

#include "region.h"

/* Takes the locks of region->mode on region->lock_fd, waiting up to `timeout` seconds. */
mheap_err mh_region_lock_file(mh_region *region, double timeout, bool sealed, mheap_error *error);
void mh_region_unlock_file(mh_region *region);
/* Of a file that no region of the caller's has open: takes it for as long as fd is open, if no
   writer has it. */
bool mh_region_lock_unused(int fd);
/* The same, waiting up to `timeout` seconds (< 0: for ever). EAGAIN: it is in use. */
int mh_region_lock_alone(int fd, double timeout);
/* From now on, as long as fd is open, no writer attaches the file, which may be any; waits for one as above.
   fd may be read-only. */
int mh_region_hold_off_writers(int fd, double timeout);
/* Has a writer, or who excludes one, the file open? */
bool mh_region_lock_writer(int fd);
/* Lets an atomic writer see that a reader keeps a generation. */
int mh_region_pin(int fd, uint64_t generation);
void mh_region_unpin(int fd, uint64_t generation);
/* Does a reader keep an earlier one? */
bool mh_region_pinned_before(int fd, uint64_t generation);
/* May space be taken from under those who map the file? If so no reader can come until the
   matching call of end. */
bool mh_region_begin_taking(mh_region *region);
void mh_region_end_taking(mh_region *region);

#endif
