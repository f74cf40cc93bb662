/* digest.c: see digest.h. */
#include "digest.h"

#include <string.h>

#define KEY_A 0xa4093822299f31d0u
#define KEY_B 0x082efa98ec4e6c89u

static inline uint64_t fold(uint64_t a, uint64_t b) {
  unsigned __int128 product = (unsigned __int128)a * b;
  return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Both halves go through each word, so that neither forgets what a product with zero wiped out. */
static inline void add(mh_digest *digest, uint64_t x, uint64_t y) {
  uint64_t a = fold(digest->a ^ x, y ^ KEY_A), b = fold(digest->b ^ y, x ^ KEY_B);
  digest->a = a + (digest->b << 1 | digest->b >> 63);
  digest->b = b ^ (x + (y << 29 | y >> 35));
}

void mh_digest_add(mh_digest *digest, uint64_t at, const void *data, uint64_t length) {
  const char *from = data;
  mh_digest now = *digest;
  add(&now, at, length);
  for (uint64_t i = 0; i < length; i += 16) {
    uint64_t pair[2];
    memcpy(pair, from + i, sizeof pair);
    add(&now, pair[0], pair[1]);
  }
  *digest = now;
}

void mh_digest_uuid(const mh_digest *digest, uint8_t uuid[16]) {
  mh_digest end = *digest;
  for (int i = 0; i < 4; i++) add(&end, KEY_A, KEY_B);
  memcpy(uuid, &end.a, 8);
  memcpy(uuid + 8, &end.b, 8);
  uuid[6] = (uint8_t)(0x80 | (uuid[6] & 0x0f));
  uuid[8] = (uint8_t)(0x80 | (uuid[8] & 0x3f));
}
