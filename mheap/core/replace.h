/* replace.h: a file that is made beside another and then takes its place. Calls os.h. Takes no lock.

   Until then it has no name, where the file system can do that, and goes with the process; for the instant of
   the change, and where it cannot, it is called .NAME.compact. What a kill leaves under that name is removed
   by the next. */
#ifndef MHEAP_REPLACE_H
#define MHEAP_REPLACE_H

#include "error.h"
#include "os.h"

typedef struct mh_replacement {
  int fd;           /* of the new file; -1: none is open */
  bool named;       /* it has the name */
  const char *path; /* of the old file, without links */
  char name[MH_OS_PATH_MAX];
} mh_replacement;

/* Makes an empty file that the same may open as the old one, which is open as `old`. */
mheap_err mh_replacement_open(mh_replacement *it, const char *path, int old, mheap_error *error);
/* Puts the new file, complete by now, in place of the old one, durably. */
mheap_err mh_replacement_finish(mh_replacement *it, mheap_error *error);
/* Closes it; without mh_replacement_finish before, nothing of it stays. */
void mh_replacement_close(mh_replacement *it);

#endif
