/* crc32c.c: CRC-32C: by the processor's instruction where it has one, else eight bytes at a time by
   tables (slicing by 8, Kounavis and Berry 2005). Owns its tables, which are constant.

   A sum's register holds a polynomial, x^31 in the lowest bit. What a register becomes by zeros
   that follow is linear in its bits, so that every table here comes from a list of powers of x
   modulo the polynomial: the compiler adds them up. */
#include "crc32c.h"

#include <assert.h>
#include <string.h>

#include "os.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are loaded as they are");

/* The 256 sums of eight numbers; the first is that of the highest bit. */
#define SUMS1(v, h) (v), (v) ^ (h)
#define SUMS2(v, g, h) SUMS1(v, h), SUMS1((v) ^ (g), h)
#define SUMS3(v, f, ...) SUMS2(v, __VA_ARGS__), SUMS2((v) ^ (f), __VA_ARGS__)
#define SUMS4(v, e, ...) SUMS3(v, __VA_ARGS__), SUMS3((v) ^ (e), __VA_ARGS__)
#define SUMS5(v, d, ...) SUMS4(v, __VA_ARGS__), SUMS4((v) ^ (d), __VA_ARGS__)
#define SUMS6(v, c, ...) SUMS5(v, __VA_ARGS__), SUMS5((v) ^ (c), __VA_ARGS__)
#define SUMS7(v, b, ...) SUMS6(v, __VA_ARGS__), SUMS6((v) ^ (b), __VA_ARGS__)
#define SUMS(a, ...) {SUMS7(0, __VA_ARGS__), SUMS7(a, __VA_ARGS__)}

typedef uint32_t table[256];

/* clang-format off */
static const table slices[8] = { /* x^32 to x^95: a byte, with 0 to 7 bytes behind it */
    SUMS(0x82f63b78, 0x417b1dbc, 0x20bd8ede, 0x105ec76f, 0x8ad958cf, 0xc79a971f, 0xe13b70f7, 0xf26b8303),
    SUMS(0xfbc3faf9, 0xff17c604, 0x7f8be302, 0x3fc5f181, 0x9d14c3b8, 0x4e8a61dc, 0x274530ee, 0x13a29877),
    SUMS(0x8b277743, 0xc76580d9, 0xe144fb14, 0x70a27d8a, 0x38513ec5, 0x9edea41a, 0x4f6f520d, 0xa541927e),
    SUMS(0x52a0c93f, 0xaba65fe7, 0xd725148b, 0xe964b13d, 0xf64463e6, 0x7b2231f3, 0xbf672381, 0xdd45aab8),
    SUMS(0x6ea2d55c, 0x37516aae, 0x1ba8b557, 0x8f2261d3, 0xc5670b91, 0xe045beb0, 0x7022df58, 0x38116fac),
    SUMS(0x1c08b7d6, 0x0e045beb, 0x85f4168d, 0xc00c303e, 0x6006181f, 0xb2f53777, 0xdb8ca0c3, 0xef306b19),
    SUMS(0xf56e0ef4, 0x7ab7077a, 0x3d5b83bd, 0x9c5bfaa6, 0x4e2dfd53, 0xa5e0c5d1, 0xd0065990, 0x68032cc8),
    SUMS(0x34019664, 0x1a00cb32, 0x0d006599, 0x847609b4, 0x423b04da, 0x211d826d, 0x9278fa4e, 0x493c7d27),
};
/* clang-format on */

static uint32_t by_tables(uint32_t crc, const uint8_t *at, size_t length) {
  for (; length >= 8; at += 8, length -= 8) {
    uint64_t word;
    memcpy(&word, at, 8);
    word ^= crc;
    crc = 0;
    for (int i = 0; i < 8; i++) crc ^= slices[7 - i][word >> 8 * i & 255];
  }
  for (; length > 0; at++, length--) crc = (crc >> 8) ^ slices[0][(crc ^ *at) & 255];
  return crc;
}

uint32_t mh_crc32c_by_tables(uint32_t crc, const void *data, size_t length) {
  return ~by_tables(~crc, data, length);
}

/* ---- by instruction ---- */

#if defined(__x86_64__) || defined(__aarch64__)

#ifdef __x86_64__
#include <nmmintrin.h>
#define TARGET __attribute__((target("sse4.2")))
TARGET static inline uint64_t add8(uint64_t crc, uint64_t word) { return _mm_crc32_u64(crc, word); }
TARGET static inline uint64_t add1(uint64_t crc, uint8_t byte) { return _mm_crc32_u8((uint32_t)crc, byte); }
#else
/* The compilers do not agree on names of intrinsics for processors that may lack them. */
#define TARGET
static inline uint64_t add8(uint64_t crc, uint64_t word) {
  __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %1" : "+r"(crc) : "r"(word));
  return crc;
}
static inline uint64_t add1(uint64_t crc, uint8_t byte) {
  __asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(crc) : "r"((uint32_t)byte));
  return crc;
}
#endif

#define LONG 4096
#define SHORT 256

/* clang-format off */
static const table behind_long[4] = { /* x^(8 LONG) and 31 more: a byte of a register, highest first */
    SUMS(0x35d73a62, 0x1aeb9d31, 0x8f83f5e0, 0x47c1faf0, 0x23e0fd78, 0x11f07ebc, 0x08f83f5e, 0x047c1faf),
    SUMS(0x80c834af, 0xc292212f, 0xe3bf2bef, 0xf329ae8f, 0xfb62ec3f, 0xff474d67, 0xfd559dcb, 0xfc5cf59d),
    SUMS(0xfcd841b6, 0x7e6c20db, 0xbdc02b15, 0xdc162ef2, 0x6e0b1779, 0xb5f3b0c4, 0x5af9d862, 0x2d7cec31),
    SUMS(0x94484d60, 0x4a2426b0, 0x25121358, 0x128909ac, 0x094484d6, 0x04a2426b, 0x80a71a4d, 0xc2a5b65e),
};
static const table behind_short[4] = { /* the same for x^(8 SHORT) */
    SUMS(0x88e56f72, 0x4472b7b9, 0xa0cf60a4, 0x5067b052, 0x2833d829, 0x96efd76c, 0x4b77ebb6, 0x25bbf5db),
    SUMS(0x902bc195, 0xcae3dbb2, 0x6571edd9, 0xb04ecd94, 0x582766ca, 0x2c13b365, 0x94ffe2ca, 0x4a7ff165),
    SUMS(0xa7c9c3ca, 0x53e4e1e5, 0xab044b8a, 0x558225c5, 0xa837299a, 0x541b94cd, 0xa8fbf11e, 0x547df88f),
    SUMS(0xa8c8c73f, 0xd69258e7, 0xe9bf170b, 0xf629b0fd, 0xf9e2e306, 0x7cf17183, 0xbc8e83b9, 0xdcb17aa4),
};
/* clang-format on */

static uint64_t with_zeros(const table *behind, uint64_t crc) {
  return behind[0][crc >> 24 & 255] ^ behind[1][crc >> 16 & 255] ^ behind[2][crc >> 8 & 255] ^
         behind[3][crc & 255];
}

static inline uint64_t load(const uint8_t *at) {
  uint64_t word;
  memcpy(&word, at, 8);
  return word;
}

/* The instruction takes three cycles, and one can start in each: three streams, one behind the other. */
TARGET static uint64_t three(uint64_t crc, const uint8_t *at, size_t stream, const table *behind) {
  uint64_t second = 0, third = 0;
  for (const uint8_t *end = at + stream; at < end; at += 8) {
    crc = add8(crc, load(at));
    second = add8(second, load(at + stream));
    third = add8(third, load(at + 2 * stream));
  }
  return with_zeros(behind, with_zeros(behind, crc) ^ second) ^ third;
}

TARGET static uint32_t by_instruction(uint64_t crc, const uint8_t *at, size_t length) {
  for (; length >= 3 * LONG; at += 3 * LONG, length -= 3 * LONG) crc = three(crc, at, LONG, behind_long);
  for (; length >= 3 * SHORT; at += 3 * SHORT, length -= 3 * SHORT) crc = three(crc, at, SHORT, behind_short);
  for (; length >= 8; at += 8, length -= 8) crc = add8(crc, load(at));
  for (; length > 0; at++, length--) crc = add1(crc, *at);
  return (uint32_t)crc;
}

#else
#define by_instruction by_tables
#endif

uint32_t mh_crc32c_more(uint32_t crc, const void *data, size_t length) {
  return ~(mh_os_has_crc32c() ? by_instruction(~crc, data, length) : by_tables(~crc, data, length));
}

uint32_t mh_crc32c(const void *data, size_t length) { return mh_crc32c_more(0, data, length); }
