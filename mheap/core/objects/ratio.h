/* ratio.h: numbers as fractions, to compare those that are no ints or floats. Calls number.h. Takes no
   lock. */
#ifndef MHEAP_OBJECTS_RATIO_H
#define MHEAP_OBJECTS_RATIO_H

#include "number.h"

#define MH_RATIO_LIMBS 64

/* A numerator and a denominator above 0, of at most MH_RATIO_LIMBS words each; or an infinity, whose
   denominator is 0. */
typedef struct mh_ratio {
  bool negative;
  unsigned above, below; /* words */
  uint64_t numerator[MH_RATIO_LIMBS], denominator[MH_RATIO_LIMBS];
} mh_ratio;

/* MHEAP_ERR_ARGUMENT, without an error set: a NaN; MHEAP_ERR_OVERFLOW, the same: too long. */
mheap_err mh_ratio_of_number(mh_ratio *ratio, const mh_number *number);
/* Of two ints. */
mheap_err mh_ratio_of_two(mh_ratio *ratio, const mh_number *numerator, const mh_number *denominator);
int mh_ratio_order(const mh_ratio *left, const mh_ratio *right);

#endif
