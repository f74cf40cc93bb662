/* history.h: what is done to the heap whose disk is cut: commits of a table of blocks (workload.h), some
   durable and some not, with rollbacks, checkpoints, kills, recoveries and all that makes the journal move.

   Or a heap that is live: then what is promised is that it was synced, or closed, with some contents.

   Owns the file, and what its contents were. */
#ifndef MHEAP_CRASH_HISTORY_H
#define MHEAP_CRASH_HISTORY_H

#include "cuts.h"
#include "mheap/mheap.h"

#define HISTORY_STATES 4096

typedef struct history {
  bool live;
  uint64_t digests[HISTORY_STATES]; /* of each generation that was ever committed, or tried; live: serial */
  uint64_t newest;                  /* the last of them */
  bool committed;                   /* by the process that is attached */
  uint64_t random;
  int fd;
  disk before; /* with nothing of the log */
  op_log log;  /* its notes: the generation that was promised to be durable; live: HISTORY_* */
} history;

#define HISTORY_SYNCED(serial) (2 * (serial))
#define HISTORY_CLOSED(serial) (2 * (serial) + 1)
#define HISTORY_SERIAL(note) ((note) / 2)

/* Seed 0: one that comes by every place where a commit, a checkpoint or a recovery syncs, with few writes
   between. Others: by chance. */
void history_make(history *h, uint64_t seed);
void history_free(history *h);

void history_make_live(history *h);

mheap *history_attach(int fd, mheap_mode mode, bool salvage);
/* What was wrong when that, or the next, failed last. */
const char *history_why(void);
/* As `mheap recover` does, of a file that nobody attaches. */
bool history_recover(int fd);

#endif
