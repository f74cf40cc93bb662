/* test_crc32c.c: checksums against their definition, bit by bit, by instruction and by tables. */
#include "crc32c.h"

#include "os.h"
#include "test.h"

typedef uint32_t sum_fun(uint32_t crc, const void *data, size_t length);

static sum_fun *const ways[] = {mh_crc32c_more, mh_crc32c_by_tables};
#define EACH_WAY(sum) for (sum_fun *const *w = ways, *sum; w < ways + 2 && (sum = *w, true); w++)

#define ROOM 200000
static uint8_t bytes[ROOM + 64];

static uint32_t state = 1;

static uint32_t any(uint32_t below) {
  state = state * 1664525 + 1013904223;
  return (uint32_t)((uint64_t)state * below >> 32);
}

static void fill(void) {
  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)any(256);
}

/* The definition: a division, bits of a byte from the lowest. */
static uint32_t defined(uint32_t crc, const uint8_t *at, size_t length) {
  crc = ~crc;
  for (size_t i = 0; i < length; i++) {
    crc ^= at[i];
    for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return ~crc;
}

/* RFC 3720, appendix B.4; its bytes are the sum's, lowest first. */
static void known_sums(void) {
  uint8_t text[32];
  EACH_WAY(sum) {
    CHECK_EQ(sum(0, "123456789", 9), 0xe3069283);
    CHECK_EQ(sum(0, memset(text, 0, 32), 32), 0x8a9136aa);
    CHECK_EQ(sum(0, memset(text, 0xff, 32), 32), 0x62a8ab43);
    for (int i = 0; i < 32; i++) text[i] = (uint8_t)i;
    CHECK_EQ(sum(0, text, 32), 0x46dd794e);
    CHECK_EQ(sum(0, text, 0), 0);
  }
  CHECK_EQ(mh_crc32c("123456789", 9), 0xe3069283);
}

static void every_length_at_every_alignment(void) {
  fill();
  for (size_t length = 0; length <= 300; length++)
    for (size_t from = 0; from < 16; from++) {
      uint32_t expected = defined(0, bytes + from, length);
      EACH_WAY(sum) REQUIRE_EQ(sum(0, bytes + from, length), expected);
      REQUIRE_EQ(mh_crc32c(bytes + from, length), expected);
    }
}

/* Around what is taken in three streams: 3 × 256 and 3 × 4,096 bytes. */
static void every_length_around_streams(void) {
  static const size_t around[] = {768, 1536, 12288, 12288 + 768, 24576};
  fill();
  for (int i = 0; i < 5; i++)
    for (size_t length = around[i] - 20; length <= around[i] + 20; length++) {
      uint32_t expected = defined(0, bytes + length % 8, length);
      EACH_WAY(sum) REQUIRE_EQ(sum(0, bytes + length % 8, length), expected);
    }
}

static void long_ones(void) {
  fill();
  for (int i = 0; i < 40; i++) {
    size_t length = any(ROOM), from = any(64);
    uint32_t crc = any(UINT32_MAX), expected = defined(crc, bytes + from, length);
    EACH_WAY(sum) REQUIRE_EQ(sum(crc, bytes + from, length), expected);
  }
}

static void sums_continue(void) {
  fill();
  uint32_t short_one = defined(0, bytes, 300), long_one = defined(0, bytes, ROOM);
  EACH_WAY(sum) {
    for (size_t split = 0; split <= 300; split++)
      REQUIRE_EQ(sum(sum(0, bytes, split), bytes + split, 300 - split), short_one);
    for (int i = 0; i < 40; i++) {
      size_t split = any(ROOM);
      REQUIRE_EQ(sum(sum(0, bytes, split), bytes + split, ROOM - split), long_one);
    }
  }
}

/* Each bit of what goes through the tables that join streams. */
static void every_bit_counts(void) {
  memset(bytes, 0, sizeof bytes);
  for (size_t bit = 0; bit < 64; bit++) {
    bytes[bit / 8] = (uint8_t)(1 << bit % 8);
    EACH_WAY(sum) {
      REQUIRE_EQ(sum(0, bytes, 768), defined(0, bytes, 768));
      REQUIRE_EQ(sum(0, bytes, 12288), defined(0, bytes, 12288));
    }
    bytes[bit / 8] = 0;
  }
}

/* Where the kernel names the instruction, it is used: both ways were tested. */
static void the_instruction_is_found(void) {
  char line[8192];
  bool named = false;
  FILE *file = fopen("/proc/cpuinfo", "r");
  REQUIRE(file != NULL);
  while (!named && fgets(line, sizeof line, file) != NULL)
    named = (strncmp(line, "flags", 5) == 0 && strstr(line, " sse4_2 ") != NULL) ||
            (strncmp(line, "Features", 8) == 0 && strstr(line, " crc32 ") != NULL);
  fclose(file);
  CHECK_EQ(mh_os_has_crc32c(), named);
}

TEST_MAIN(TEST(known_sums), TEST(every_length_at_every_alignment), TEST(every_length_around_streams),
          TEST(long_ones), TEST(sums_continue), TEST(every_bit_counts), TEST(the_instruction_is_found))
