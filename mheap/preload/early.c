/* early.c: blocks for calls that come before, or from within, the making of the heap that serves.

   Owns: a piece of the library's own memory, handed out once, in order, by any thread. Such a
   block is never given back: there are few, and they are small. Calls nothing. */
#include <stdatomic.h>

#include "preload.h"

#define EARLY_BYTES ((size_t)256 << 10)
#define HEADER 16 /* before each block: its size */

static _Alignas(4096) char memory[EARLY_BYTES];
static _Atomic size_t used;

static size_t *header_of(const void *block) { return (size_t *)((char *)(uintptr_t)block - HEADER); }

void *mh_early_malloc(size_t size, size_t alignment) {
  if (alignment < HEADER) alignment = HEADER;
  if (size > EARLY_BYTES || alignment > 4096) return NULL;
  size_t before = atomic_load(&used), start, end;
  do {
    start = (before + HEADER + alignment - 1) & ~(alignment - 1);
    end = start + ((size + 15) & ~(size_t)15);
    if (end > EARLY_BYTES) return NULL;
  } while (!atomic_compare_exchange_weak(&used, &before, end));
  *header_of(memory + start) = size;
  return memory + start;
}

bool mh_early_is(const void *block) {
  return (const char *)block >= memory && (const char *)block < memory + EARLY_BYTES;
}

size_t mh_early_size(const void *block) { return *header_of(block); }
