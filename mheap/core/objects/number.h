/* number.h: numbers by value, whatever type holds them: 1 == 1.0 == True. Owns the normal form
   in which numeric keys are compared and hashed. Calls compound.h. Takes no lock. */
#ifndef MHEAP_OBJECTS_NUMBER_H
#define MHEAP_OBJECTS_NUMBER_H

#include "compound.h"

#define MH_NUMBER_LIMBS 17 /* hold every binary64 that is an integer */

/* One form for each value: SMALL if it is an integer of 60 bits, BIG if it is another
   integer, OTHER if it is none. */
typedef struct mh_number {
  enum { MH_NUMBER_SMALL, MH_NUMBER_BIG, MH_NUMBER_OTHER } form;
  int64_t small;
  uint64_t bits;         /* OTHER: the binary64 */
  const uint64_t *limbs; /* BIG: two's complement, fewest words; the caller's, the heap's, or `own` */
  uint64_t count;
  uint64_t own[MH_NUMBER_LIMBS];
} mh_number;

void mh_number_of_limbs(mh_number *number, const uint64_t *limbs, uint64_t count);
void mh_number_of_float(mh_number *number, uint64_t bits);
/* MHEAP_ERR_NOT_FOUND: the value is no number, or none that an int or a binary64 is equal to. */
mheap_err mh_number_of_word(mh_space *space, uint64_t word, mh_number *number);
bool mh_number_equal(const mh_number *left, const mh_number *right);
/* The residue of layout.h's "hashing"; at most 61 bits and a sign. */
int64_t mh_number_residue(const mh_number *number);

#endif
