/* digest.h: 128 bits that stand for contents, and are the same for the same contents everywhere.

   Owns nothing, calls nothing. For names of contents, not against forgers: whoever wants two contents of
   one digest can make them. Frozen: it is where the uuid of a dump of a value comes from. */
#ifndef MHEAP_DIGEST_H
#define MHEAP_DIGEST_H

#include <stdint.h>

typedef struct mh_digest {
  uint64_t a, b;
} mh_digest;

static inline mh_digest mh_digest_begin(void) {
  return (mh_digest){0x243f6a8885a308d3, 0x13198a2e03707344};
}
/* `length` is a multiple of 16. What it is said to be at counts too. */
void mh_digest_add(mh_digest *digest, uint64_t at, const void *data, uint64_t length);
/* As a uuid of version 8 (RFC 9562). */
void mh_digest_uuid(const mh_digest *digest, uint8_t uuid[16]);

#endif
