/* verify_decimal.c: a Decimal that is a key has its text and, for hashing, the number that it is equal to.
   Do they say the same? Compared modulo P (layout.h, "hashing"), as hashes of numbers are. Calls number.h,
   verify.h. Takes no lock. */
#include <string.h>

#include "number.h"
#include "verify.h"

#define P MH_HASH_PRIME
/* What shares a text, or an int, with many others must not hold up the check. A key has at most 1,000 digits
   before, and behind, the point. */
#define MOST_TEXT 1100
#define MOST_EXPONENT 4000
#define MOST_LIMBS 256

static uint64_t times(uint64_t a, uint64_t b) { return (uint64_t)((unsigned __int128)a * b % P); }

static uint64_t ten_to(int64_t exponent) {
  uint64_t result = 1, power = 10;
  for (; exponent > 0; exponent >>= 1, power = times(power, power))
    if (exponent & 1) result = times(result, power);
  return result;
}

typedef struct decimal {
  bool negative, infinite;
  uint64_t digits;  /* modulo P */
  int64_t exponent;
} decimal;

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* Behind the E; false: it is none, or none that a key has. */
static bool read_exponent(const char *at, const char *end, int64_t *exponent) {
  bool negative = at < end && *at == '-';
  int64_t found = 0;
  if (at < end && (*at == '-' || *at == '+')) at++;
  if (at == end) return false;
  for (; at < end && is_digit(*at) && found <= MOST_EXPONENT; at++) found = found * 10 + (*at - '0');
  *exponent += negative ? -found : found;
  return at == end && *exponent >= -MOST_EXPONENT && *exponent <= MOST_EXPONENT;
}

/* As str() of a Decimal writes it: [-]digits[.digits][E±digits], or [-]Infinity. */
static bool read_decimal(const char *at, uint64_t length, decimal *of) {
  const char *end = at + length;
  bool point = false, any = false;
  if (at < end && *at == '-') of->negative = true, at++;
  of->infinite = end - at == 8 && memcmp(at, "Infinity", 8) == 0;
  if (of->infinite) return true;
  for (; at < end && (is_digit(*at) || (*at == '.' && !point)); at++) {
    if (*at == '.') {
      point = true;
      continue;
    }
    any = true;
    of->digits = (times(of->digits, 10) + (uint64_t)(*at - '0')) % P;
    if (point) of->exponent--;
  }
  if (!any || of->exponent < -MOST_EXPONENT) return false;
  return at == end || (*at == 'E' && read_exponent(at + 1, end, &of->exponent));
}

/* The number modulo P, 0 to P - 1; P if it is too long. */
static mheap_err residue(mh_space *space, uint64_t word, uint64_t *found) {
  mh_number number;
  const uint64_t *limbs;
  uint64_t count = 0;
  mheap_err failed =
      mh_word_tag(word) == MH_TAG_INT_REF ? mh_limbs_read(space, word, &limbs, &count) : MHEAP_OK;
  *found = P;
  if (failed || count > MOST_LIMBS) return failed;
  failed = mh_number_of_word(space, word, &number);
  if (failed) return failed;
  int64_t is = mh_number_residue(&number) % (int64_t)P;
  *found = is < 0 ? P - (uint64_t)-is : (uint64_t)is;
  return MHEAP_OK;
}

/* An int, a float, or a fraction of two ints. */
static mheap_err residues(mh_space *space, uint64_t word, uint64_t *above, uint64_t *below) {
  mh_compound of;
  *below = 1;
  if (mh_word_tag(word) != MH_TAG_OTHER_REF) return residue(space, word, above);
  mheap_err failed = mh_compound_read(space, word, &of);
  if (!failed) failed = mh_compound_check(space, &of);
  if (!failed) failed = residue(space, mh_read(&of.words[0]), above);
  return failed ? failed : residue(space, mh_read(&of.words[1]), below);
}

static mheap_err is_same(mh_space *space, const decimal *text, uint64_t word, bool *is) {
  uint64_t above, below, digits = text->infinite ? MH_HASH_INFINITY : text->digits;
  mheap_err failed = residues(space, word, &above, &below);
  if (failed) return failed;
  if (text->negative && digits != 0) digits = P - digits;
  *is = above < P && below < P &&
        times(times(digits, below), ten_to(text->exponent)) == times(above, ten_to(-text->exponent));
  return MHEAP_OK;
}

void mh_walk_decimal(mh_walk *walk, const mh_compound *of) {
  mh_space *space = &walk->space;
  decimal decimal = {0};
  mh_text text;
  bool is = false;
  mheap_err failed = mh_text_read(space, mh_read(&of->words[0]), &text);
  if (!failed && text.kind == 1 && text.length <= MOST_TEXT && read_decimal(text.data, text.length, &decimal))
    failed = is_same(space, &decimal, mh_read(&of->words[1]), &is);
  if (failed) mh_walk_error(walk);
  else if (!is) mh_walk_found(walk, 1, of->offset, "the number of a Decimal key is not what its text says");
}
