/* overlay.h: records of a journal on top of what the file's pages hold, in memory.

   Owns nothing. Calls journal.h, images.h, region.h. For who must not write the pages: readers, scratch
   regions, and a writer, until its next checkpoint. */
#ifndef MHEAP_OVERLAY_H
#define MHEAP_OVERLAY_H

#include "images.h"
#include "journal.h"
#include "region.h"

/* The superblock as the last whole record left it. */
mheap_err mh_overlay_superblock(int fd, const char *path, mh_superblock *super, mheap_error *error);

/* Counts all records of a journal that was just loaded, and brings them into the images, where page 0 is. */
mheap_err mh_overlay_images(mh_journal *journal, mh_images *images, mheap_error *error);
/* One record, which is the next. */
mheap_err mh_overlay_record(mh_journal *journal, const mh_record *record, mh_images *images,
                            mheap_error *error);

/* Counts the records that follow, as far as `until`, and stores them in a private mapping of the file,
   `size` bytes of it, which is writable now. *count: how many there were. */
mheap_err mh_overlay_pages(mh_journal *journal, char *base, uint64_t size, uint64_t until, uint64_t *count,
                           mheap_error *error);

#endif
