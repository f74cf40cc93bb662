/* order.c: see order.h. Two keys are compared part by part: of what is stored, and of what a key's code
   tells (code.h), which is made for a key that is no plain scalar. */
#include "order.h"

#include "code.h"
#include "ratio.h"

/* ---- parts ---- */

/* A value as both have it. What follows it are `count` values more: words of the heap, or the next of
   the code. */
typedef struct part {
  enum { NOTHING, NUMBER, RATIO, TEXT, TUPLE, EXTENDED } form;
  mh_number number, below; /* NUMBER; RATIO: both */
  mh_tag family;           /* TEXT: STR or BYTES */
  mh_text text;
  uint64_t kind, count;
  const uint64_t *words;
  uint64_t own[3];
} part;

/* Where a key's values come from. */
typedef struct source {
  mh_space *space;
  const uint64_t *code, *end; /* NULL: it is stored */
} source;

static mheap_err ended(mh_space *space) { return mh_corrupt(space, 0, "the end of a key's code", 1, 0); }

/* ---- of a code ---- */

static mheap_err number_of_code(source *s, mh_number *number) {
  if (s->code == s->end) return ended(s->space);
  uint64_t word = *s->code++, count = word >> 8, left = (uint64_t)(s->end - s->code);
  if (mh_word_tag(word) == MH_TAG_INT) {
    number->form = MH_NUMBER_SMALL;
    number->small = mh_word_to_int(word);
    return MHEAP_OK;
  }
  if (word == mh_code_head(MH_CODE_FLOAT, 0)) count = 1;
  if (count == 0 || count > left) return ended(s->space);
  if (word == mh_code_head(MH_CODE_FLOAT, 0)) mh_number_of_float(number, *s->code);
  else mh_number_of_limbs(number, s->code, count);
  s->code += count;
  return MHEAP_OK;
}

static mheap_err text_of_code(source *s, uint64_t head, part *p) {
  if (s->code == s->end) return ended(s->space);
  uint64_t length = *s->code++, words = (length * (head >> 8) + 7) / 8;
  p->text = (mh_text){.length = length, .kind = (unsigned)(head >> 8), .data = s->code};
  if (words > (uint64_t)(s->end - s->code)) return ended(s->space);
  s->code += words;
  return MHEAP_OK;
}

static mheap_err of_head(source *s, uint64_t head, part *p) {
  mheap_err failed;
  p->count = head >> 8;
  switch (head >> MH_TAG_BITS & 15) {
    case MH_CODE_STR:
    case MH_CODE_BYTES:
      p->form = TEXT;
      p->family = (head >> MH_TAG_BITS & 15) == MH_CODE_STR ? MH_TAG_STR : MH_TAG_BYTES;
      return text_of_code(s, head, p);
    case MH_CODE_RATIONAL:
      p->form = RATIO;
      failed = number_of_code(s, &p->number);
      return failed ? failed : number_of_code(s, &p->below);
    case MH_CODE_TUPLE: p->form = TUPLE; return MHEAP_OK;
    case MH_CODE_EXTENDED:
      p->form = EXTENDED;
      p->kind = head >> 8;
      return MHEAP_OK;
    case MH_CODE_INT:
    case MH_CODE_FLOAT:
      p->form = NUMBER;
      s->code--;
      return number_of_code(s, &p->number);
    default: return MHEAP_ERR_ARGUMENT;
  }
}

static mheap_err part_of_code(source *s, part *p) {
  if (s->code == s->end) return ended(s->space);
  uint64_t word = *s->code++;
  switch (mh_word_tag(word)) {
    case MH_TAG_CONST: p->form = NOTHING; return MHEAP_OK;
    case MH_TAG_INT:
      p->form = NUMBER;
      p->number.form = MH_NUMBER_SMALL;
      p->number.small = mh_word_to_int(word);
      return MHEAP_OK;
    case MH_TAG_STR:
    case MH_TAG_BYTES:
      p->form = TEXT;
      p->family = mh_word_tag(word);
      return mh_text_read(s->space, word, &p->text);
    default: return of_head(s, word, p);
  }
}

/* ---- of what is stored ---- */

static mheap_err of_fraction(mh_space *space, const mh_compound *of, part *p) {
  p->form = RATIO;
  mheap_err failed = mh_number_of_word(space, of->words[0], &p->number);
  if (!failed) failed = mh_number_of_word(space, of->words[1], &p->below);
  return failed;
}

/* The words that tell which is the earlier, or less, in turn. */
static mheap_err of_extended(mh_space *space, const mh_compound *of, part *p) {
  mh_compound inner;
  mheap_err failed = mh_compound_check(space, of);
  if (failed) return failed;
  bool is_time = of->kind == MH_KIND_TIME || of->kind == MH_KIND_DATETIME;
  p->form = EXTENDED;
  p->kind = of->kind;
  p->words = of->words;
  p->count = of->count;
  if (of->kind == MH_KIND_DATE || of->kind == MH_KIND_TIMEDELTA || of->kind == MH_KIND_UUID) return MHEAP_OK;
  if (of->kind == MH_KIND_FRACTION) return of_fraction(space, of, p);
  if (of->kind == MH_KIND_DECIMAL && of->count == 2 && mh_word_tag(of->words[1]) == MH_TAG_OTHER_REF) {
    failed = mh_compound_read(space, of->words[1], &inner);
    return failed ? failed : of_fraction(space, &inner, p);
  }
  if (!is_time || of->count != 4) return MHEAP_ERR_ARGUMENT;
  p->own[0] = of->words[3];
  p->own[1] = of->words[0];
  p->words = p->own;
  p->count = of->words[3] == MH_CONST_NONE ? 2 : 1;
  return MHEAP_OK;
}

static mheap_err of_other(mh_space *space, uint64_t word, part *p) {
  mh_compound of;
  if (mh_object_at(space, word) == NULL) return MHEAP_ERR_CORRUPT;
  if (!mh_word_is_compound(space, word)) return MHEAP_ERR_ARGUMENT;
  mheap_err failed = mh_compound_read(space, word, &of);
  if (failed) return failed;
  if (of.type == MH_TYPE_EXTENDED) return of_extended(space, &of, p);
  p->form = TUPLE;
  p->words = of.words;
  p->count = of.count;
  return of.type == MH_TYPE_TUPLE ? MHEAP_OK : MHEAP_ERR_ARGUMENT;
}

static mheap_err part_of_word(mh_space *space, uint64_t word, part *p) {
  mheap_err failed;
  switch (mh_word_tag(word)) {
    case MH_TAG_STR:
    case MH_TAG_STR_REF:
    case MH_TAG_NAME:
    case MH_TAG_BYTES:
    case MH_TAG_BYTES_REF:
      p->form = TEXT;
      p->family = mh_word_is_str(word) ? MH_TAG_STR : MH_TAG_BYTES;
      return mh_text_read(space, word, &p->text);
    default: break;
  }
  p->form = word == MH_CONST_NONE ? NOTHING : NUMBER;
  failed = word == MH_CONST_NONE ? MHEAP_OK : mh_number_of_word(space, word, &p->number);
  return failed == MHEAP_ERR_NOT_FOUND ? of_other(space, word, p) : failed;
}

/* ---- comparing parts ---- */

static uint32_t character(const mh_text *text, uint64_t i) {
  switch (text->kind) {
    case 1: return ((const uint8_t *)text->data)[i];
    case 2: return ((const uint16_t *)text->data)[i];
    default: return ((const uint32_t *)text->data)[i];
  }
}

static int order_texts(const mh_text *left, const mh_text *right) {
  uint64_t length = left->length < right->length ? left->length : right->length;
  int order = 0;
  if (left->kind == 1 && right->kind == 1) order = memcmp(left->data, right->data, length);
  else
    for (uint64_t i = 0; i < length && order == 0; i++) {
      uint32_t a = character(left, i), b = character(right, i);
      order = (a > b) - (a < b);
    }
  return order != 0 ? order : (left->length > right->length) - (left->length < right->length);
}

static bool is_nan(const mh_number *number) {
  return number->form == MH_NUMBER_OTHER && mh_bits_float(number->bits) != mh_bits_float(number->bits);
}

static int order_big(const mh_number *left, const mh_number *right) {
  bool negative = (int64_t)left->limbs[left->count - 1] < 0;
  if (negative != ((int64_t)right->limbs[right->count - 1] < 0)) return negative ? -1 : 1;
  if (left->count != right->count) return (left->count < right->count) != negative ? -1 : 1;
  for (uint64_t i = left->count; i-- > 0;)
    if (left->limbs[i] != right->limbs[i]) return left->limbs[i] < right->limbs[i] ? -1 : 1;
  return 0;
}

/* What is no integer is below 2^52, or infinite, so that rounding loses nothing. */
static int order_integer_and_other(const mh_number *integer, double other) {
  if (other > 9e18 || other < -9e18) return other > 0 ? -1 : 1;
  if (integer->form == MH_NUMBER_BIG) return (int64_t)integer->limbs[integer->count - 1] < 0 ? -1 : 1;
  int64_t toward_0 = (int64_t)other;
  return integer->small <= toward_0 - (other < 0) ? -1 : 1;
}

static int order_numbers(const mh_number *left, const mh_number *right) {
  bool l = left->form == MH_NUMBER_OTHER, r = right->form == MH_NUMBER_OTHER;
  if (l && r) {
    double a = mh_bits_float(left->bits), b = mh_bits_float(right->bits);
    return (a > b) - (a < b);
  }
  if (r) return order_integer_and_other(left, mh_bits_float(right->bits));
  if (l) return -order_integer_and_other(right, mh_bits_float(left->bits));
  if (left->form == MH_NUMBER_BIG && right->form == MH_NUMBER_BIG) return order_big(left, right);
  if (left->form == MH_NUMBER_BIG) return (int64_t)left->limbs[left->count - 1] < 0 ? -1 : 1;
  if (right->form == MH_NUMBER_BIG) return (int64_t)right->limbs[right->count - 1] < 0 ? 1 : -1;
  return (left->small > right->small) - (left->small < right->small);
}

static mheap_err ratio_of(mh_ratio *ratio, const part *p) {
  return p->form == NUMBER ? mh_ratio_of_number(ratio, &p->number)
                           : mh_ratio_of_two(ratio, &p->number, &p->below);
}

static mheap_err order_ratios(const part *left, const part *right, int *order) {
  mh_ratio a, b;
  mheap_err failed = ratio_of(&a, left);
  if (!failed) failed = ratio_of(&b, right);
  if (!failed) *order = mh_ratio_order(&a, &b);
  return failed ? MHEAP_ERR_ARGUMENT : MHEAP_OK;
}

static bool is_number(const part *p) { return p->form == NUMBER || p->form == RATIO; }

static mheap_err order_scalars(const part *left, const part *right, int *order) {
  *order = 0;
  if (is_number(left) && is_number(right)) {
    if ((left->form == NUMBER && is_nan(&left->number)) || (right->form == NUMBER && is_nan(&right->number)))
      return MHEAP_ERR_ARGUMENT;
    if (left->form == RATIO || right->form == RATIO) return order_ratios(left, right, order);
    *order = order_numbers(&left->number, &right->number);
    return MHEAP_OK;
  }
  if (left->form != right->form) return MHEAP_ERR_ARGUMENT;
  if (left->form != TEXT) return MHEAP_OK;
  if (left->family != right->family) return MHEAP_ERR_ARGUMENT;
  *order = order_texts(&left->text, &right->text);
  return MHEAP_OK;
}

/* ---- comparing keys ---- */

static mheap_err order_values(source *left, uint64_t left_word, mh_space *space, uint64_t right, int *order,
                              unsigned depth);

/* The values that follow two parts of one form. In a code there are as many as the other has, if all
   before are equal. */
static mheap_err order_all(source *left, const part *l, mh_space *space, const part *r, int *order,
                           unsigned depth) {
  uint64_t count = l->form == TUPLE && l->count < r->count ? l->count : r->count;
  for (uint64_t i = 0; i < count; i++) {
    uint64_t word = left->code == NULL ? mh_read(&l->words[i]) : 0;
    mheap_err failed = order_values(left, word, space, mh_read(&r->words[i]), order, depth + 1);
    if (failed || *order != 0) return failed;
  }
  *order = l->form == TUPLE ? (l->count > r->count) - (l->count < r->count) : 0;
  return MHEAP_OK;
}

static mheap_err order_values(source *left, uint64_t left_word, mh_space *space, uint64_t right, int *order,
                              unsigned depth) {
  part l, r;
  *order = 0;
  if (left->code == NULL && left_word == right) return MHEAP_OK;
  if (depth > MH_CODE_DEPTH) return mh_corrupt(space, 0, "the levels of a key", MH_CODE_DEPTH, depth);
  mheap_err failed = left->code != NULL ? part_of_code(left, &l) : part_of_word(space, left_word, &l);
  if (!failed) failed = part_of_word(space, right, &r);
  if (failed) return failed;
  bool has_more = l.form == TUPLE || l.form == EXTENDED;
  if (!has_more || l.form != r.form) return order_scalars(&l, &r, order);
  if (l.form == EXTENDED && l.kind != r.kind) return MHEAP_ERR_ARGUMENT;
  if (left->code == NULL && l.form == EXTENDED && l.count < r.count) r.count = l.count;
  return order_all(left, &l, space, &r, order, depth);
}

mheap_err mh_order_stored(mh_space *space, uint64_t left, uint64_t right, int *order) {
  source s = {.space = space};
  return order_values(&s, left, space, right, order, 0);
}

mheap_err mh_order_slowly(mh_space *space, const mh_key *key, uint64_t stored, int *order) {
  part l, r;
  source s = {.space = space, .code = key->data};
  switch (key->form) {
    case MH_KEY_STORED: return mh_order_stored(space, key->bits, stored, order);
    case MH_KEY_CODE: s.end = s.code + key->length; return order_values(&s, 0, space, stored, order, 0);
    case MH_KEY_NUMBER:
      l.form = NUMBER;
      l.number = key->number;
      break;
    case MH_KEY_TEXT:
      l.form = TEXT;
      l.family = key->tag == MH_TAG_STR_REF ? MH_TAG_STR : MH_TAG_BYTES;
      l.text = (mh_text){.data = key->data, .length = key->length, .kind = key->kind};
      break;
    default: {
      mheap_err failed = part_of_word(space, key->word, &l);
      if (failed) return failed;
    }
  }
  mheap_err failed = part_of_word(space, stored, &r);
  return failed ? failed : order_scalars(&l, &r, order);
}

/* ---- what can be a key ---- */

static bool has_order(const part *p, bool outermost) {
  mh_ratio ratio;
  switch (p->form) {
    case NOTHING: return !outermost;
    case NUMBER: return !is_nan(&p->number);
    case RATIO: return mh_ratio_of_two(&ratio, &p->number, &p->below) == MHEAP_OK;
    case EXTENDED:
      return p->kind == MH_KIND_DATE || p->kind == MH_KIND_TIME || p->kind == MH_KIND_DATETIME ||
             p->kind == MH_KIND_TIMEDELTA || p->kind == MH_KIND_UUID;
    default: return true;
  }
}

mheap_err mh_order_check(mh_space *space, const mh_key *key) {
  if (key->form == MH_KEY_TEXT) return MHEAP_OK;
  if (key->form == MH_KEY_NUMBER) return is_nan(&key->number) ? MHEAP_ERR_ARGUMENT : MHEAP_OK;
  if (key->form == MH_KEY_WORD) return key->word == MH_CONST_NONE ? MHEAP_ERR_ARGUMENT : MHEAP_OK;
  source s = {.space = space, .code = key->data};
  if (key->form == MH_KEY_STORED) return MHEAP_OK;
  s.end = s.code + key->length;
  for (bool outermost = true; s.code < s.end; outermost = false) {
    part p;
    mheap_err failed = part_of_code(&s, &p);
    if (failed) return failed;
    if (!has_order(&p, outermost)) return MHEAP_ERR_ARGUMENT;
  }
  return MHEAP_OK;
}
