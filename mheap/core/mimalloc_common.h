/* mimalloc_common.h: what the files of mimalloc's interface (the public mheap/mimalloc.h) share.

   Owns nothing. The interface is thin: it converts and forwards to mheap.h, with an mheap for
   a mi_heap_t; NULL is the default heap of the core, in all of these functions. */
#ifndef MHEAP_MIMALLOC_COMMON_H
#define MHEAP_MIMALLOC_COMMON_H

#include "heap.h"
#include "mheap/mimalloc.h"

/* mi_heap_set_default's, of this thread; NULL: the default heap of the core. */
extern __thread mheap *mh_mi_heap __attribute__((tls_model("initial-exec")));

static inline mheap *mh_mi_core(const mi_heap_t *heap) { return (mheap *)(uintptr_t)heap; }
static inline mi_heap_t *mh_mi_face(const mheap *heap) { return (mi_heap_t *)(uintptr_t)heap; }

/* count × size; false: it overflows, which the error function was told. */
bool mh_mi_product(mheap *heap, size_t count, size_t size, size_t *bytes);

/* Zeroed blocks are zero to the end of what is usable, and kept so when they are resized: else
   bytes that come to be used one day would not be. */
void *mh_mi_zalloc(mheap *heap, size_t size);
/* Zeroes the block's usable bytes from `from` on. */
void *mh_mi_zero(void *block, size_t from);

/* mi_realloc's: what is no block is reported; a block that must move, and is not of `heap`, moves there. */
void *mh_mi_resize(mheap *heap, void *block, size_t size);

/* What options change: whether errors are shown, and statistics at exit. */
void mh_mi_show_errors(void);
void mh_mi_show_stats(void);

#endif
