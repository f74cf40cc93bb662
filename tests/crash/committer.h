/* committer.h: a process that commits until it is stopped, and what it was told: a ledger in memory that
   outlives it. The state that a commit is called with is written down before, that it returned after. */
#ifndef MHEAP_CRASH_COMMITTER_H
#define MHEAP_CRASH_COMMITTER_H

#include <stdatomic.h>

#include "workload.h"

#define COMMITTER_STATES ((uint64_t)1 << 20) /* that are remembered */

typedef enum committer_phase {
  ATTACHING,
  CHANGING,
  COMMITTING,
  CHECKPOINTING,
  ROLLING_BACK,
  DETACHING,
  PHASES
} committer_phase;
extern const char *const committer_phases[PHASES];

typedef struct committer_ledger {
  _Atomic uint64_t tried;    /* serial number of the newest state that a commit was called with */
  _Atomic uint64_t returned; /* whose commit returned */
  _Atomic uint64_t durable;  /* and was to be on the disk then */
  _Atomic int phase;
  _Atomic uint64_t digests[COMMITTER_STATES]; /* of the state with this number */
} committer_ledger;

/* Never returns. `in_place`: a control; the file is changed as blocks are, mode live, and nothing is
   committed. */
_Noreturn void committer_run(committer_ledger *ledger, const char *path, uint64_t random, bool in_place);

/* Is what is in the file one of the states from `least` to the newest that was tried, whole? Attaches it
   in several ways, as `how` says. Complains, unless it is `quiet`. */
bool committer_judge(const committer_ledger *ledger, const char *path, uint64_t least, uint64_t how,
                     bool quiet);
/* For about so long, beside the process: does a reader see whole commits, none older than one that returned
   before it looked? */
bool committer_read_beside(const committer_ledger *ledger, const char *path, uint64_t microseconds);

#endif
