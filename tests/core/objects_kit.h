/* objects_kit.h: what the units of the object layer share: a space in anonymous memory, keys
   and values made from small numbers, and the leak check. */
#ifndef MHEAP_OBJECTS_KIT_H
#define MHEAP_OBJECTS_KIT_H

#include "objects/objects.h"
#include "test.h"

typedef struct kit {
  mh_space space;
  mheap *heap;
  uint64_t blocks; /* in use before anything was made */
} kit;

static inline uint64_t kit_blocks(kit *kit) {
  mheap_stats stats;
  CHECK_EQ(mheap_get_stats(kit->heap, &stats), MHEAP_OK);
  return stats.chunks_used;
}

static inline kit kit_open(void) {
  kit kit = {.heap = mheap_attach(-1, NULL, NULL)};
  if (!CHECK(kit.heap != NULL)) exit(2);
  mh_space_init(&kit.space, kit.heap);
  kit.blocks = kit_blocks(&kit);
  return kit;
}

static inline void kit_close(kit *kit) {
  CHECK_EQ(kit_blocks(kit), kit->blocks);
  CHECK_EQ(mheap_detach(kit->heap, NULL), MHEAP_OK);
}

/* The same numbers in each run. */
static inline unsigned kit_random(unsigned below) {
  static uint64_t state = 88172645463325252u;
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (unsigned)(state >> 33) % below;
}

/* Findings of a check, and the last of each severity. */
typedef struct kit_findings {
  unsigned broken, notes;
  uint64_t offset;
  char text[256];
} kit_findings;

static inline void kit_found(void *arg, const mheap_finding *finding) {
  kit_findings *findings = arg;
  *(finding->severity > 0 ? &findings->broken : &findings->notes) += 1;
  findings->offset = finding->offset;
  snprintf(findings->text, sizeof findings->text, "%s", finding->text);
}

static inline kit_findings kit_check(kit *kit) {
  kit_findings findings = {0};
  mheap_err result = mh_objects_check(kit->heap, kit_found, &findings);
  CHECK_EQ(result, findings.broken > 0 ? MHEAP_ERR_CORRUPT : MHEAP_OK);
  return findings;
}

static inline void kit_is_sound(kit *kit) {
  kit_findings findings = kit_check(kit);
  CHECK_STR(findings.text, "");
}

/* Key number n: of six types in turn, all different. `buffer` holds its data. */
static inline void kit_key(const mh_space *space, unsigned n, mh_key *key, char buffer[64]) {
  static const uint64_t none = 0;
  int length = snprintf(buffer, 64, "%u%s", n, n % 12 < 6 ? "" : " and more than seven");
  uint64_t *limbs = (uint64_t *)(void *)buffer;
  uint16_t *characters = (uint16_t *)(void *)buffer;
  switch (n % 6) {
    case 0: mh_key_text(space, key, MH_TAG_STR_REF, 1, buffer, (uint64_t)length); break;
    case 1: mh_key_int(space, key, n % 12 == 1 ? (int64_t)n : INT64_MAX - (int64_t)n); break;
    case 2: mh_key_float(space, key, mh_float_bits(n + 0.1)); break;
    case 3: mh_key_text(space, key, MH_TAG_BYTES_REF, 1, buffer, (uint64_t)length); break;
    case 4:
      limbs[0] = n, limbs[1] = ~(uint64_t)n, limbs[2] = none;
      mh_key_limbs(space, key, limbs, 3);
      break;
    default:
      for (int i = 0; i < 8; i++) characters[i] = (uint16_t)(0x100 + (n >> (2 * i)) % 4 + (unsigned)i);
      mh_key_text(space, key, MH_TAG_STR_REF, 2, buffer, 8);
  }
}

/* A value that needs a block, so that leaks show. */
static inline uint64_t kit_value(mh_space *space, unsigned n) {
  char text[32];
  uint64_t word = 0;
  int length = snprintf(text, sizeof text, "the value %u", n);
  CHECK_EQ(mh_str_new(space, 1, text, (uint64_t)length, &word), MHEAP_OK);
  return word;
}

static inline bool kit_is_value(mh_space *space, uint64_t word, unsigned n) {
  char wanted[32];
  mh_text text;
  int length = snprintf(wanted, sizeof wanted, "the value %u", n);
  return mh_text_read(space, word, &text) == MHEAP_OK && text.length == (uint64_t)length &&
         memcmp(text.data, wanted, text.length) == 0;
}

static inline uint32_t kit_count(mh_space *space, uint64_t word) {
  return mh_head_count(*(uint64_t *)mh_at(space->region, mh_word_offset(word)));
}

static inline bool kit_set(mh_dict *dict, unsigned key_number, uint64_t value) {
  mh_key key;
  char buffer[64];
  kit_key(dict->space, key_number, &key, buffer);
  return CHECK_EQ(mh_dict_set(dict, &key, value), MHEAP_OK);
}

static inline mheap_err kit_get(mh_dict *dict, unsigned key_number, uint64_t *value) {
  mh_key key;
  char buffer[64];
  kit_key(dict->space, key_number, &key, buffer);
  return mh_dict_get(dict, &key, value);
}

static inline mheap_err kit_delete(mh_dict *dict, unsigned key_number) {
  mh_key key;
  char buffer[64];
  kit_key(dict->space, key_number, &key, buffer);
  return mh_dict_delete(dict, &key);
}

/* The root, which goes last. */
static inline mh_dict kit_root(kit *kit) {
  mh_dict root = {0};
  CHECK_EQ(mh_root(&kit->space, true, &root), MHEAP_OK);
  return root;
}

static inline void kit_drop_root(kit *kit) {
  uint64_t offset = kit->space.region->super->root;
  kit->space.region->super->root = 0;
  if (offset != 0) mh_release(&kit->space, mh_word_ref(MH_TAG_DICT_REF, offset));
}

#endif
