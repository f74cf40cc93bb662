/* ledger.h: what a process that will be killed has been told by the heap. It lies in memory
   shared with the parent, who compares it with the heap afterwards.

   Before each call the child writes down what it is about to do (op, phase IN_CALL), after it
   the result; an operation is acknowledged when the slot, or the key's version, is updated.
   The store of the phase comes last, or first, as a kill between two stores demands. */
#ifndef MHEAP_TEST_LEDGER_H
#define MHEAP_TEST_LEDGER_H

#include <stdatomic.h>

#include "audit.h"
#include "objects/objects.h"

#define LEDGER_SLOTS 400
#define LEDGER_KEYS 150
#define LEDGER_ITEMS 300
#define LEDGER_THREADS 2 /* the judge counts on two */
#define LEDGER_PLACES 8  /* heaps; 0 is the main one */

typedef enum op_kind {
  OP_MALLOC,
  OP_FREE,
  OP_REALLOC,
  OP_SET,
  OP_LIST,
  OP_ATTACH,
  OP_DETACH,
  OP_COLLECT,
  OP_NEW,     /* a heap; every other one with an arena of its own, which comes first and goes last */
  OP_DESTROY, /* it, with its blocks */
  OP_DELETE,  /* it, its blocks are the main heap's */
  OP_KINDS
} op_kind;

typedef enum op_phase {
  IDLE = 0,
  IN_CALL,  /* between the call and its return */
  RETURNED, /* `result` is the call's */
  FILLING,  /* the block's contents are nobody's */
} op_phase;

typedef struct op {
  _Atomic int phase;
  op_kind kind;
  unsigned slot;   /* or key, or place */
  uint64_t size;   /* MALLOC, REALLOC: asked for; SET: version, 0 removes; LIST: length afterwards */
  uint64_t result; /* offset */
} op;

typedef struct place {
  _Atomic bool taken; /* a thread works in it */
  uint32_t row;       /* of its heap; 0: there is none */
} place;

static inline bool place_has_arena(unsigned i) { return i % 2 == 1; }

typedef struct ledger {
  op ops[LEDGER_THREADS];
  model_block slots[LEDGER_SLOTS];
  _Atomic bool taken[LEDGER_SLOTS];    /* a thread works on it */
  _Atomic unsigned home[LEDGER_SLOTS]; /* the place of its block */
  place places[LEDGER_PLACES];
  uint64_t versions[LEDGER_KEYS]; /* of the root's keys; 0: absent */
  uint64_t items;                 /* of the list at the root's "list" */
  bool has_list;
  _Atomic uint64_t acknowledged; /* operations */
  _Atomic bool started;          /* the child is at work */
} ledger;

/* The root's keys and values, and the list's items, follow from their numbers. */
void ledger_key(mh_space *space, mh_key *key, unsigned number, char text[64]);
mheap_err ledger_value(mh_space *space, uint64_t version, uint64_t *word);

/* Compares the heap, which nobody else has attached, with the ledger; then settles what was in
   flight: what the child cannot know of is freed, so that the two agree again to the block.
   Returns how many complaints there were. */
unsigned ledger_judge(ledger *l, mheap *heap, bool quiet);

#endif
