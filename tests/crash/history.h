/* history.h: what is done to the heap whose disk is cut: commits of a table of blocks (workload.h), some
   durable and some not, with rollbacks, checkpoints, kills, recoveries and all that makes the journal move.

   Owns the file, and what its contents were in each generation. */
#ifndef MHEAP_CRASH_HISTORY_H
#define MHEAP_CRASH_HISTORY_H

#include "cuts.h"
#include "mheap/mheap.h"

#define HISTORY_GENERATIONS 4096

typedef struct history {
  uint64_t digests[HISTORY_GENERATIONS]; /* of each generation that was ever committed, or tried */
  uint64_t newest;                       /* the last that was tried */
  bool committed;                        /* by the process that is attached */
  uint64_t random;
  int fd;
  disk before; /* with nothing of the log */
  op_log log;  /* its notes: the generation that was promised to be durable */
} history;

/* Seed 0: one that comes by every place that syncs, with few writes between. Others: by chance. */
void history_make(history *h, uint64_t seed);
void history_free(history *h);

/* NULL: why is said on stdout. */
mheap *history_attach(int fd, mheap_mode mode);
/* As `mheap recover` does, of a file that nobody attaches. */
bool history_recover(int fd);

#endif
