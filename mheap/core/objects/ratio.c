/* ratio.c: see ratio.h. */
#include "ratio.h"

#define MANTISSA_BITS 52
#define EXPONENT_MASK 0x7ff
#define EXPONENT_BIAS 1075

/* The magnitude of an int. */
static mheap_err magnitude(const mh_number *number, uint64_t *words, unsigned *count, bool *negative) {
  uint64_t small = (uint64_t)number->small;
  const uint64_t *limbs = number->form == MH_NUMBER_SMALL ? &small : number->limbs;
  uint64_t length = number->form == MH_NUMBER_SMALL ? 1 : number->count, carry = 1;
  *count = 0;
  if (number->form == MH_NUMBER_OTHER) return MHEAP_ERR_ARGUMENT;
  if (length > MH_RATIO_LIMBS) return MHEAP_ERR_OVERFLOW;
  *negative = (int64_t)limbs[length - 1] < 0;
  for (uint64_t i = 0; i < length; i++) {
    words[i] = *negative ? ~limbs[i] + carry : limbs[i];
    carry = carry && words[i] == 0;
    if (words[i] != 0) *count = (unsigned)i + 1;
  }
  return MHEAP_OK;
}

/* Only what is no integer has this form: its exponent is negative. */
static mheap_err of_binary(mh_ratio *ratio, uint64_t bits) {
  unsigned field = bits >> MANTISSA_BITS & EXPONENT_MASK;
  uint64_t mantissa = bits & (((uint64_t)1 << MANTISSA_BITS) - 1);
  *ratio = (mh_ratio){.negative = bits >> 63, .above = 1, .numerator = {1}};
  if (field == EXPONENT_MASK) return mantissa == 0 ? MHEAP_OK : MHEAP_ERR_ARGUMENT;
  if (field != 0) mantissa |= (uint64_t)1 << MANTISSA_BITS;
  unsigned down = EXPONENT_BIAS - (field == 0 ? 1 : field);
  ratio->numerator[0] = mantissa;
  ratio->denominator[down / 64] = (uint64_t)1 << down % 64;
  ratio->below = down / 64 + 1;
  return MHEAP_OK;
}

mheap_err mh_ratio_of_number(mh_ratio *ratio, const mh_number *number) {
  if (number->form == MH_NUMBER_OTHER) return of_binary(ratio, number->bits);
  ratio->below = 1;
  ratio->denominator[0] = 1;
  return magnitude(number, ratio->numerator, &ratio->above, &ratio->negative);
}

mheap_err mh_ratio_of_two(mh_ratio *ratio, const mh_number *numerator, const mh_number *denominator) {
  bool negative;
  mheap_err failed = magnitude(numerator, ratio->numerator, &ratio->above, &ratio->negative);
  if (!failed) failed = magnitude(denominator, ratio->denominator, &ratio->below, &negative);
  return failed;
}

typedef struct product {
  unsigned count;
  uint64_t words[2 * MH_RATIO_LIMBS];
} product;

static void multiply(product *out, const uint64_t *a, unsigned a_count, const uint64_t *b, unsigned b_count) {
  memset(out->words, 0, sizeof(uint64_t) * (a_count + b_count));
  for (unsigned i = 0; i < a_count; i++) {
    uint64_t carry = 0;
    for (unsigned k = 0; k < b_count; k++) {
      unsigned __int128 sum = (unsigned __int128)a[i] * b[k] + out->words[i + k] + carry;
      out->words[i + k] = (uint64_t)sum;
      carry = (uint64_t)(sum >> 64);
    }
    out->words[i + b_count] = carry;
  }
  out->count = a_count + b_count;
  while (out->count > 0 && out->words[out->count - 1] == 0) out->count--;
}

static int by_magnitude(const product *a, const product *b) {
  if (a->count != b->count) return a->count < b->count ? -1 : 1;
  for (unsigned i = a->count; i-- > 0;)
    if (a->words[i] != b->words[i]) return a->words[i] < b->words[i] ? -1 : 1;
  return 0;
}

static int sign_of(const mh_ratio *ratio) { return ratio->above == 0 ? 0 : ratio->negative ? -1 : 1; }

int mh_ratio_order(const mh_ratio *left, const mh_ratio *right) {
  product a, b;
  int sign = sign_of(left);
  if (sign != sign_of(right)) return sign < sign_of(right) ? -1 : 1;
  multiply(&a, left->numerator, left->above, right->denominator, right->below);
  multiply(&b, right->numerator, right->above, left->denominator, left->below);
  return sign * by_magnitude(&a, &b);
}
