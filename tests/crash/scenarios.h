/* scenarios.h: the operations that are stepped through, each with what must be there before. */
#ifndef MHEAP_TEST_SCENARIOS_H
#define MHEAP_TEST_SCENARIOS_H

#include <stdatomic.h>

#include "audit.h"

#define STAGE_BLOCKS 4096

/* What a scenario's two halves share; lives in memory that the stepping process sees too. */
typedef struct stage {
  const char *path;
  mheap *heap; /* NULL in scenarios of attaching */
  void *blocks[STAGE_BLOCKS];
  unsigned count;
  mheap *other;      /* another heap of the region */
  mheap_arena arena; /* in it */
  bool whole;        /* all blocks of before are there, or all of after */
  _Atomic int done;  /* the operation returned */
} stage;

typedef struct scenario {
  const char *name;
  void (*prepare)(stage *s);
  void (*operate)(stage *s);
  bool attaches; /* the operation attaches the heap, which prepare detached or abandoned */
  bool detaches;
} scenario;

/* The last of each has no name. */
extern const scenario raw_scenarios[], object_scenarios[], heap_scenarios[], named_scenarios[];

void stage_fail(const char *what, const mheap *heap) __attribute__((noreturn));

/* A block filled with the pattern that its offset gives; kept in s->blocks. */
char *stage_malloc(stage *s, size_t size);
void stage_fill(mheap *heap, void *block);

#endif
