/* number.c: see number.h. */
#include "number.h"

#define MANTISSA_BITS 52
#define EXPONENT_MASK 0x7ff
#define EXPONENT_BIAS 1075 /* of the mantissa taken as an integer */

void mh_number_of_limbs(mh_number *number, const uint64_t *limbs, uint64_t count) {
  while (count > 1 && limbs[count - 1] == ((int64_t)limbs[count - 2] < 0 ? UINT64_MAX : 0)) count--;
  number->form = MH_NUMBER_BIG;
  number->limbs = limbs;
  number->count = count;
  if (count == 1 && mh_int_fits((int64_t)limbs[0])) {
    number->form = MH_NUMBER_SMALL;
    number->small = (int64_t)limbs[0];
  }
}

/* mantissa * 2^shift in `own`, negated if wanted. */
static void shift_into(mh_number *number, uint64_t mantissa, unsigned shift, bool negative) {
  uint64_t *own = number->own, carry = 1;
  memset(own, 0, sizeof number->own);
  own[shift / 64] = mantissa << shift % 64;
  bool spills = shift % 64 != 0 && shift / 64 + 1 < MH_NUMBER_LIMBS;
  if (spills) own[shift / 64 + 1] = mantissa >> (64 - shift % 64);
  for (unsigned i = 0; negative && i < MH_NUMBER_LIMBS; i++) {
    own[i] = ~own[i] + carry;
    carry = carry && own[i] == 0;
  }
  mh_number_of_limbs(number, own, MH_NUMBER_LIMBS);
}

void mh_number_of_float(mh_number *number, uint64_t bits) {
  bool negative = bits >> 63;
  unsigned field = bits >> MANTISSA_BITS & EXPONENT_MASK;
  uint64_t mantissa = bits & (((uint64_t)1 << MANTISSA_BITS) - 1);
  if (field != 0) mantissa |= (uint64_t)1 << MANTISSA_BITS;
  int exponent = (int)(field == 0 ? 1 : field) - EXPONENT_BIAS;
  number->form = MH_NUMBER_OTHER;
  number->bits = bits;
  if (field == EXPONENT_MASK) return;
  if (exponent >= 0) {
    shift_into(number, mantissa, (unsigned)exponent, negative);
    return;
  }
  unsigned down = (unsigned)-exponent;
  if (mantissa != 0 && (down > MANTISSA_BITS || (mantissa & (((uint64_t)1 << down) - 1)) != 0)) return;
  int64_t whole = mantissa == 0 ? 0 : (int64_t)(mantissa >> down);
  number->form = MH_NUMBER_SMALL;
  number->small = negative ? -whole : whole;
}

mheap_err mh_number_of_word(mh_space *space, uint64_t word, mh_number *number) {
  mheap_err failed;
  const uint64_t *limbs;
  uint64_t count, bits;
  switch (mh_word_tag(word)) {
    case MH_TAG_CONST:
      if (word != MH_CONST_FALSE && word != MH_CONST_TRUE) return MHEAP_ERR_NOT_FOUND;
      number->form = MH_NUMBER_SMALL;
      number->small = word == MH_CONST_TRUE;
      return MHEAP_OK;
    case MH_TAG_INT:
      number->form = MH_NUMBER_SMALL;
      number->small = mh_word_to_int(word);
      return MHEAP_OK;
    case MH_TAG_INT_REF:
      failed = mh_limbs_read(space, word, &limbs, &count);
      if (!failed) mh_number_of_limbs(number, limbs, count);
      return failed;
    case MH_TAG_FLOAT:
    case MH_TAG_FLOAT_REF:
      failed = mh_float_read(space, word, &bits);
      if (!failed) mh_number_of_float(number, bits);
      return failed;
    default: return MHEAP_ERR_NOT_FOUND;
  }
}

bool mh_number_equal(const mh_number *left, const mh_number *right) {
  if (left->form != right->form) return false;
  if (left->form == MH_NUMBER_SMALL) return left->small == right->small;
  if (left->form == MH_NUMBER_OTHER) return left->bits == right->bits;
  return left->count == right->count && memcmp(left->limbs, right->limbs, 8 * left->count) == 0;
}

/* ---- residues modulo P = 2^61 - 1 ---- */

static uint64_t reduce(unsigned __int128 value) {
  uint64_t sum = (uint64_t)(value & MH_HASH_PRIME) + (uint64_t)(value >> 61);
  sum = (sum & MH_HASH_PRIME) + (sum >> 61);
  return sum >= MH_HASH_PRIME ? sum - MH_HASH_PRIME : sum;
}

/* 2^64 is 8 modulo P. A negative number is -(~x + 1). */
static int64_t residue_of_limbs(const uint64_t *limbs, uint64_t count) {
  bool negative = (int64_t)limbs[count - 1] < 0;
  uint64_t residue = 0;
  for (uint64_t i = count; i-- > 0;)
    residue = reduce(((unsigned __int128)residue << 3) + (negative ? ~limbs[i] : limbs[i]));
  if (!negative) return (int64_t)residue;
  return -(int64_t)reduce((unsigned __int128)residue + 1);
}

static int64_t residue_of_float(uint64_t bits) {
  unsigned field = bits >> MANTISSA_BITS & EXPONENT_MASK;
  uint64_t mantissa = bits & (((uint64_t)1 << MANTISSA_BITS) - 1);
  int64_t sign = bits >> 63 ? -1 : 1;
  if (field == EXPONENT_MASK) return mantissa == 0 ? sign * MH_HASH_INFINITY : 0;
  if (field != 0) mantissa |= (uint64_t)1 << MANTISSA_BITS;
  /* 2^61 is 1 modulo P, so the exponent counts modulo 61; 61 * 18 makes it positive. */
  int exponent = ((int)(field == 0 ? 1 : field) - EXPONENT_BIAS + 61 * 18) % 61;
  return sign * (int64_t)reduce((unsigned __int128)mantissa << exponent);
}

int64_t mh_number_residue(const mh_number *number) {
  if (number->form == MH_NUMBER_SMALL) return number->small;
  if (number->form == MH_NUMBER_BIG) return residue_of_limbs(number->limbs, number->count);
  return residue_of_float(number->bits);
}
