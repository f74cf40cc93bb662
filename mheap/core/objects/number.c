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

/* ---- numbers of other types ---- */

/* The position of the only bit that is set; UINT64_MAX: another number of bits is. */
static uint64_t power_of_two(mh_space *space, uint64_t word) {
  uint64_t one = (uint64_t)mh_word_to_int(word), count = 1, at = UINT64_MAX;
  const uint64_t *limbs = &one;
  if (mh_word_is_ref(word) && mh_limbs_read(space, word, &limbs, &count)) return UINT64_MAX;
  for (uint64_t i = 0; i < count; i++) {
    if (limbs[i] == 0) continue;
    if (at != UINT64_MAX || (limbs[i] & (limbs[i] - 1)) != 0) return UINT64_MAX;
    at = 64 * i + (uint64_t)__builtin_ctzll(limbs[i]);
  }
  return at;
}

/* numerator / 2^down, if it is a binary64. */
static mheap_err of_binary(mh_number *number, int64_t numerator, uint64_t down) {
  uint64_t magnitude = numerator < 0 ? -(uint64_t)numerator : (uint64_t)numerator;
  if (magnitude == 0 || magnitude >> (MANTISSA_BITS + 1) != 0 || down > 1074) return MHEAP_ERR_NOT_FOUND;
  double value = __builtin_ldexp((double)numerator, -(int)down);
  mh_number_of_float(number, mh_float_bits(value));
  return MHEAP_OK;
}

static mheap_err of_fraction(mh_space *space, const mh_compound *fraction, mh_number *number) {
  uint64_t numerator = fraction->words[0], denominator = fraction->words[1];
  if (denominator == mh_word_int(1)) return mh_number_of_word(space, numerator, number);
  uint64_t down = power_of_two(space, denominator);
  if (down == UINT64_MAX || mh_word_tag(numerator) != MH_TAG_INT) return MHEAP_ERR_NOT_FOUND;
  return of_binary(number, mh_word_to_int(numerator), down);
}

static mheap_err of_complex(mh_space *space, uint64_t word, mh_number *number) {
  uint64_t real, imag;
  mheap_err failed = mh_complex_read(space, word, &real, &imag);
  if (failed) return failed;
  if (imag << 1 != 0) return MHEAP_ERR_NOT_FOUND;
  mh_number_of_float(number, real);
  return MHEAP_OK;
}

static mheap_err of_other(mh_space *space, uint64_t word, mh_number *number) {
  mh_compound of;
  const uint64_t *head = mh_object_at(space, word);
  if (head == NULL) return MHEAP_ERR_CORRUPT;
  if (mh_head_type(*head) == MH_TYPE_COMPLEX) return of_complex(space, word, number);
  if (mh_head_type(*head) != MH_TYPE_EXTENDED) return MHEAP_ERR_NOT_FOUND;
  mheap_err failed = mh_compound_read(space, word, &of);
  if (failed || (of.kind != MH_KIND_DECIMAL && of.kind != MH_KIND_FRACTION))
    return failed ? failed : MHEAP_ERR_NOT_FOUND;
  failed = mh_compound_check(space, &of);
  if (failed) return failed;
  if (of.kind == MH_KIND_FRACTION) return of_fraction(space, &of, number);
  if (of.count != 2) return MHEAP_ERR_NOT_FOUND;
  if (mh_word_tag(of.words[1]) != MH_TAG_OTHER_REF) return mh_number_of_word(space, of.words[1], number);
  failed = mh_compound_read(space, of.words[1], &of);
  return failed ? failed : of_fraction(space, &of, number);
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
    case MH_TAG_OTHER_REF: return of_other(space, word, number);
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
