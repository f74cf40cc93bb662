/* audit.h: judging an attached heap after a crash: which blocks are in use, which of them are
   accounted for, what is reachable from the roots, and whether mheap_check finds it sound.
   Owns an audit's lists. Calls the library's insides, never to change anything. */
#ifndef MHEAP_TEST_AUDIT_H
#define MHEAP_TEST_AUDIT_H

#include "model.h"

typedef struct audit_block {
  uint64_t offset, usable;
  bool object;    /* of the heap of objects */
  uint32_t row;   /* of its heap */
  bool explained; /* somebody says why it is in use */
} audit_block;

typedef struct audit {
  mheap *heap;
  audit_block *blocks; /* by offset, of all heaps of the region */
  size_t count, room;
  uint32_t row;    /* of the heap whose blocks are listed now */
  uint64_t places; /* a digest of what heaps and arenas there are */
  unsigned complaints;
  bool quiet; /* count complaints only: a control that must fail */
} audit;

/* Lists the blocks in use, in all heaps, and runs mheap_check. */
void audit_begin(audit *a, mheap *heap, bool quiet);
void audit_end(audit *a);

void audit_complain(audit *a, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The block in use that begins at `offset`, or NULL. */
audit_block *audit_find(audit *a, uint64_t offset);

/* A block that must be in use, hold `size` bytes and, with `seed`, its pattern. */
void audit_expect(audit *a, const model_block *block, const uint64_t *seed);

/* All that heap.root, the named roots and named heaps' roots lead to must be in use; explains it. Returns a
   digest of what is stored there: equal contents give equal digests. */
uint64_t audit_objects(audit *a);

/* Blocks in use that nobody explained. */
size_t audit_unexplained(const audit *a);

/* Frees a block that was found in use, whatever heap's it is. */
void audit_free(audit *a, const audit_block *block);
/* Destroys all kinds and named heaps, deletes all other heaps but the main one, and releases all arenas. */
void audit_drop_places(audit *a);

#endif
