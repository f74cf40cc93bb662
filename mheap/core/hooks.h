/* hooks.h: guards around blocks (mmcheck) and the trace of calls (mmtrace).

   A guarded block: the heap's block begins `shift` bytes before the pointer that was handed
   out, layout.h (mh_guard) says what lies between and behind:

     block              data                        data + size
     | … | size | check | what the caller may use   | fill … fill |
     '------ shift -----'

   `shift` is a power of two, and the alignment. A block that is aligned beside its start (memory
   whose address plus an offset is a multiple) has a guard too, checking or not, since `shift` must
   be found again; it is then any number, and stands at the block's start.

   While heap->hooked is set the public functions hand every call to mh_hooks_*, which call
   the heap's own mh_heap_* underneath. Blocks keep their guards when the heap is attached
   without mmcheck later: mh_guard_* are for a pointer into a block that is not its start. */
#ifndef MHEAP_HOOKS_H
#define MHEAP_HOOKS_H

#include "heap.h"

/* ---- hooked calls; `caller` is for the trace ---- */
void *mh_hooks_malloc_from(mheap *heap, size_t size, size_t alignment, const void *caller);
void *mh_hooks_realloc_from(mheap *heap, void *data, size_t size, const void *caller);
mheap_err mh_hooks_free_from(mheap *heap, void *data, const void *caller);
size_t mh_hooks_usable_size(mheap *heap, const void *data);

/* A block that begins `offset` bytes before a multiple of alignment, a power of two; heap->hooked or not. */
void *mh_hooks_malloc_at_from(mheap *heap, size_t size, size_t alignment, size_t offset, const void *caller);

/* What the public functions call. Inlined, so that the caller in the trace is theirs. */
#define MH_INLINED static inline __attribute__((always_inline))
MH_INLINED void *mh_hooks_malloc(mheap *heap, size_t size, size_t alignment) {
  return mh_hooks_malloc_from(heap, size, alignment, __builtin_return_address(0));
}
MH_INLINED void *mh_hooks_malloc_at(mheap *heap, size_t size, size_t alignment, size_t offset) {
  return mh_hooks_malloc_at_from(heap, size, alignment, offset, __builtin_return_address(0));
}
MH_INLINED void *mh_hooks_realloc(mheap *heap, void *data, size_t size) {
  return mh_hooks_realloc_from(heap, data, size, __builtin_return_address(0));
}
MH_INLINED mheap_err mh_hooks_free(mheap *heap, void *data) {
  return mh_hooks_free_from(heap, data, __builtin_return_address(0));
}

/* Forgets guards and trace of a heap that is being detached; the trace is ended. */
void mh_hooks_end(mheap *heap);

/* GNU mmcheck's function, which is told nothing. */
mheap_err mh_hooks_mcheck_plain(mheap *heap, void (*abortfunc)(void), bool force);

/* ---- guarded blocks; block_start is that of a block in use of this heap ---- */
bool mh_guard_is(mheap *heap, void *block_start, const void *data);
mheap_err mh_guard_free(mheap *heap, void *block_start, void *data);
void *mh_guard_realloc(mheap *heap, void *block_start, void *data, size_t size);
size_t mh_guard_usable_size(mheap *heap, void *block_start, const void *data);
/* Before all blocks are freed at once: whoever gets their memory next is not taken for guarded. */
void mh_guard_spoil_all(mheap *heap);
/* The pointer that was handed out for a block of *usable bytes; *usable becomes what was asked for. */
void *mh_guard_data(mheap *heap, void *block_start, size_t *usable);

#endif
