/* classes.h: the size classes, a constant of the format.

   Multiples of 16 to 128, then eight a doubling to 64 KiB: 80 classes. Eight, so that a
   block is at most 12.5 % larger than asked for (15 bytes below 128), which `usable_size`
   promises. A slab has as many slices, one to eight, as keep its waste below 12.5 %. */
#ifndef MHEAP_CLASSES_H
#define MHEAP_CLASSES_H

#include "layout.h"
#include "mheap/mheap.h"

typedef struct mh_class {
  uint32_t size;       /* bytes a block; a multiple of 16 */
  uint32_t reciprocal; /* ceil(2^32 / size): (distance × reciprocal) >> 32 = index, for a block's start */
  uint16_t blocks;     /* in a slab */
  uint8_t slices;      /* of a slab */
} mh_class;

#define MH_CLASS_MAX_SIZE 65536u

#define MH_SMALL_MAX 1024u

extern const mh_class mh_classes[MHEAP_CLASSES];

/* Where a lane's bin is for each size up to MH_SMALL_MAX, by (size + 15) / 16: 64 times the class. */
extern const uint16_t mh_small_bins[MH_SMALL_MAX / 16 + 1];

/* The smallest class whose blocks hold `size` bytes, 1 <= size <= MH_CLASS_MAX_SIZE. */
static inline uint32_t mh_class_of(uint64_t size) {
  if (size <= 128) return (uint32_t)((size + 15) / 16) - 1 + (size == 0);
  uint32_t top = 63 - (uint32_t)__builtin_clzll(size - 1); /* 2^top < size <= 2^(top+1) */
  return 8 * (top - 6) + (uint32_t)((size - 1) >> (top - 3)) - 8;
}

#endif
