/* dump_file.h: a file that takes the place of another once it is complete.

   Owns the temporary file beside it, and while it is open a lock on what it is going to replace, so that
   no writer attaches that. Calls os.h, region_lock.h.

   From "x" it becomes ".x.mheap-dump", which begins with MH_UNFINISHED, so that nobody takes it for a
   heap, until all else is written and synced; then it gets its first page, is synced, and renamed. Who
   finds one that nobody has locked begins it anew. */
#ifndef MHEAP_DUMP_FILE_H
#define MHEAP_DUMP_FILE_H

#include "error.h"
#include "layout.h"
#include "os.h"

typedef struct mh_dump_file {
  int fd;
  int replaced; /* descriptor of the file that it replaces; -1: there is none */
  const mheap_dump_options *options;
  char path[MH_OS_PATH_MAX];
  char temporary[MH_OS_PATH_MAX];
} mh_dump_file;

/* On failure there is nothing to end. */
mheap_err mh_dump_file_begin(mh_dump_file *file, const char *path, const mheap_dump_options *options,
                             mheap_error *error);
mheap_err mh_dump_file_write(mh_dump_file *file, const void *data, uint64_t length, uint64_t at,
                             mheap_error *error);
/* All but the first page is written: publishes it. Ends it also on failure. */
mheap_err mh_dump_file_finish(mh_dump_file *file, const void *first_page, mheap_error *error);
/* Nothing comes of it. */
void mh_dump_file_drop(mh_dump_file *file);

#endif
