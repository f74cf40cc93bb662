/* recover.h: what a file's journal holds, brought into its pages: at the attach that writes.

   Owns nothing. Calls journal.h. Knows no mapping. Redoing is harmless: who is killed in the middle
   begins again. */
#ifndef MHEAP_RECOVER_H
#define MHEAP_RECOVER_H

#include "journal.h"

typedef struct mh_recovery {
  uint64_t pages;      /* generation that the pages have */
  uint64_t generation; /* of the last whole record */
  uint64_t records;
  uint64_t bytes;      /* of records in the journal */
} mh_recovery;

/* Only looks. */
mheap_err mh_recover_look(int fd, const char *path, mh_recovery *found, mheap_error *error);
/* Makes the pages the last whole record's generation, durably, and the journal empty; `keep`: it stays
   where it is, else there is none any more. */
mheap_err mh_recover(int fd, const char *path, bool keep, mh_recovery *done, mheap_error *error);

#endif
