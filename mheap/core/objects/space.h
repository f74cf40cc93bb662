/* space.h: a heap as the object layer sees it, and the only way to its blocks.

   Owns: reading references, allocating and freeing object blocks, reference counts. Calls
   the public heap functions and region.h. Takes no lock: the caller lets one thread at a
   time change the objects of a heap (from Python: the GIL; names.c: its own lock).

   Everything read from the heap is hostile. A reference is followed only through
   mh_object_at, which checks its place and the type behind it. Nothing is written through
   a stored offset before mh_block_usable has confirmed that it is a block in use. */
#ifndef MHEAP_OBJECTS_SPACE_H
#define MHEAP_OBJECTS_SPACE_H

#include "../heap.h"
#include "name.h"

typedef struct mh_space mh_space;
struct mh_space {
  mheap *heap;
  mh_region *region;
  uint64_t seed[2]; /* identity.hash_seed */
  struct mh_pool *pool; /* see pool.h; NULL: each value is stored anew */
  /* Does this process hold the container, so that it must outlive its last reference? It is
     then left with a count of 0 for mh_reap. NULL: nobody holds anything. */
  bool (*held)(mh_space *space, uint64_t offset);
};

void mh_space_init(mh_space *space, mheap *heap);

/* Refuses a heap that must not be read, or changed, now. */
static inline mheap_err mh_space_writable(mh_space *space) {
  const mh_region *region = space->region;
  bool begun = atomic_load_explicit(&region->open, memory_order_acquire);
  return begun && mh_region_writable(region) && !region->cut ? MHEAP_OK : mh_heap_writable(space->heap);
}

/* Of memory that holds no key yet: what keys are hashed with. */
mheap_err mh_space_set_seed(mh_space *space, const void *seed);

/* A contradiction in the file: sets the heap's error. */
mheap_err mh_corrupt(mh_space *space, uint64_t offset, const char *what, uint64_t expected, uint64_t found);

/* ---- blocks: every allocation of the object layer passes here ---- */
mheap_err mh_block_new(mh_space *space, uint64_t size, uint64_t *offset);
void mh_block_free(mh_space *space, uint64_t offset);
/* Is a block that was just made, of so many bytes, zero throughout, for sure? */
bool mh_block_is_zero(const mh_space *space, const void *block, uint64_t size);
/* Bytes of the block in use that begins at `offset`; 0: none does. */
uint64_t mh_block_usable(mh_space *space, uint64_t offset);

/* ---- references ---- */

/* The object behind a reference, its first 16 bytes inside the region, its type one that the
   tag allows; NULL with the heap's error set otherwise. */
void *mh_object_at(mh_space *space, uint64_t word);

/* Is this a value at all: its tag in use, an object of that type behind a reference? Asked
   before a change, so that counting down afterwards has nothing left to find. */
mheap_err mh_word_check_slowly(mh_space *space, uint64_t word);
static inline mheap_err mh_word_check(mh_space *space, uint64_t word) {
  mh_tag tag = mh_word_tag(word);
  return tag >= MH_TAG_INT && tag < MH_TAG_REF ? MHEAP_OK : mh_word_check_slowly(space, word);
}
/* One more reference to what `word` refers to, if it is a reference. */
mheap_err mh_retain(mh_space *space, uint64_t word);
/* One reference less; the last one frees the object and, without recursion, all that only it
   kept. What turns out to be corrupt on the way is left alone: a leak, for check to report. */
void mh_release_reference(mh_space *space, uint64_t word);
static inline void mh_release(mh_space *space, uint64_t word) {
  if (mh_word_is_ref(word)) mh_release_reference(space, word);
}
/* Frees an unpublished table or items block and counts down what it refers to. */
void mh_release_part(mh_space *space, mh_type container, uint64_t part);
/* Frees a container that has no references left, now that the process holds it no more. */
void mh_reap(mh_space *space, uint64_t offset);
/* Frees containers and compounds that were built but never published. References among them are not
   counted down (cycles); others, to containers born before `first_birth`, are. Compounds that are
   values in what is discarded are all among them; those that are keys are not. */
void mh_discard(mh_space *space, const uint64_t *words, uint64_t count, uint64_t first_birth);

/* Blocks of such sizes begin at multiples of 64, as cells must: each class of slabs from 64 on that holds a
   multiple of 64 and no smaller one does is one itself, and slabs and spans begin at slices. */
static inline uint64_t mh_cells_aligned(uint64_t bytes) {
  return (bytes + MH_CELLS_ALIGNMENT - 1) / MH_CELLS_ALIGNMENT * MH_CELLS_ALIGNMENT;
}

/* ---- containers ---- */

/* Spends a number: no container and no named heap has it but the caller's. */
uint64_t mh_take_birth(mh_space *space);
/* The number that the next container will have; all that were made so far have lower ones. */
uint64_t mh_next_birth(const mh_space *space);
/* Does the reference, which mh_object_at followed before, lead to a container? */
static inline bool mh_is_container(const mh_space *space, uint64_t word) {
  if (mh_word_tag(word) < MH_TAG_DICT_REF || mh_word_tag(word) == MH_TAG_NAME) return false;
  return mh_type_is_container(mh_head_type(mh_read(mh_at(space->region, mh_word_offset(word)))));
}
uint64_t mh_moved_birth(const mh_space *space, uint64_t stored);
/* The birth number of a container; that of a record may stand elsewhere. 0: it has none. */
static inline uint64_t mh_birth_of(const mh_space *space, const mh_container *container) {
  uint64_t birth = mh_read(&container->birth);
  return birth & MH_BIRTH_MOVED ? mh_moved_birth(space, birth) : birth;
}
/* A new empty container with one reference. */
mheap_err mh_container_new(mh_space *space, mh_type type, uint64_t *offset);
/* The container born as `birth` is still at `offset`. */
static inline bool mh_container_is(const mh_space *space, uint64_t offset, mh_type type, uint64_t birth) {
  if (!mh_in_region(space->region, offset, sizeof(mh_container))) return false;
  const mh_container *container = mh_at(space->region, offset);
  return mh_birth_of(space, container) == birth && mh_head_type(container->head) == type;
}
/* The container at `offset`; with `birth` not 0, only that one: MHEAP_ERR_STALE if it is gone. */
mheap_err mh_container_at(mh_space *space, uint64_t offset, mh_type type, uint64_t birth,
                          mh_container **found);

/* ---- stores ---- */

/* Publishes: what was stored before stands before it, what is stored later behind it, also
   for whoever comes after a kill between the two. */
static inline void mh_store(uint64_t *word, uint64_t value) {
  mh_publish(word, value);
  atomic_signal_fence(memory_order_seq_cst);
}
static inline void mh_store_byte(uint8_t *byte, uint8_t value) {
  mh_mark(byte);
  atomic_store_explicit((_Atomic uint8_t *)byte, value, memory_order_release);
  atomic_signal_fence(memory_order_seq_cst);
}
static inline void mh_store_slot(uint32_t *slot, uint32_t value) {
  mh_mark(slot);
  atomic_store_explicit((_Atomic uint32_t *)slot, value, memory_order_release);
  atomic_signal_fence(memory_order_seq_cst);
}

#endif
