/* region_lock.h: who may attach a file beside whom.

   Owns no memory; holds open-file-description locks, which the kernel drops at death, on
   single bytes far behind any file's end:

     byte      writer of a live heap   reader   scratch
     WRITER    exclusive               -        shared (unless sealed)
     LIVE      exclusive               shared   -
     READERS   -                       shared   shared

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
/* May space be taken from under those who map the file? If so no reader can come until the
   matching call of end. */
bool mh_region_begin_taking(mh_region *region);
void mh_region_end_taking(mh_region *region);

#endif
