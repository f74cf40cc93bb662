/* utf8.c: see utf8.h. */
#include "utf8.h"

#include <stdint.h>

/* Length of the UTF-8 sequence that begins with this byte; 0: none does. */
static unsigned sequence_length(uint8_t lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead < 0xe0) return 2;
  if (lead >= 0xe0 && lead < 0xf0) return 3;
  return lead >= 0xf0 && lead < 0xf5 ? 4 : 0;
}

static bool is_sequence(const uint8_t *at, unsigned length) {
  for (unsigned i = 1; i < length; i++)
    if ((at[i] & 0xc0) != 0x80) return false;
  if (length == 3 && at[0] == 0xe0) return at[1] >= 0xa0;
  if (length == 3 && at[0] == 0xed) return at[1] < 0xa0;
  if (length == 4 && at[0] == 0xf0) return at[1] >= 0x90;
  return length != 4 || at[0] != 0xf4 || at[1] < 0x90;
}

bool mh_is_utf8(const char *text, size_t length) {
  const uint8_t *at = (const uint8_t *)text, *end = at + length;
  while (at < end) {
    unsigned n = sequence_length(*at);
    if (n == 0 || n > (size_t)(end - at) || !is_sequence(at, n)) return false;
    at += n;
  }
  return true;
}
