/* golden.h: what the golden files hold: how it was stored, by make_golden.c, and how a test sees
   that it is still there. The files are of format version 1 and kept for ever; this page may
   be added to (for later files), never changed. */
#ifndef MHEAP_GOLDEN_H
#define MHEAP_GOLDEN_H

#include "heap.h"
#include "layout.h"
#include "mheap/mheap.h"
#include "objects/objects.h"
#include "test.h"

/* Far from where programs, stacks and libraries lie, and where sanitizers let a heap be. */
#define GOLDEN_BASE ((void *)(((uint64_t)0x7e81 << 32) + 0x123 * MH_SEGMENT + MH_SEGMENT - MH_SLICE))
#define GOLDEN_MAX ((uint64_t)1 << 30)

enum { GOLDEN_SMALL = 60, GOLDEN_SPAN = GOLDEN_SMALL, GOLDEN_HUGE, GOLDEN_KEYS, GOLDEN_NAMES = 4 };

/* Of the block behind key n. */
static inline size_t golden_size(int n) {
  if (n == GOLDEN_SPAN) return 70000;
  if (n == GOLDEN_HUGE) return 4300000;
  return n == 0 ? 1 : (size_t)n * (size_t)n * 17;
}

static inline bool golden_is_filled(int n, size_t at) {
  return n != GOLDEN_HUGE || at < 5000 || at >= golden_size(n) - 5000;
}

static inline char golden_byte(int n, size_t at) {
  return golden_is_filled(n, at) ? (char)(n * 31 + (int)(at % 101) + 1) : 0;
}

static inline const char *golden_name(int n, size_t *length) {
  static char long_name[300];
  static const char *const names[] = {"first",
                                      "gr\xc3\xbc\xc3\x9f"
                                      "e",
                                      "\xe2\x98\x83", long_name};
  memset(long_name, 'n', sizeof long_name - 1);
  *length = strlen(names[n]);
  return names[n];
}

/* ---- raw blocks ---- */

static inline void golden_store_blocks(mheap *heap) {
  for (int n = 0; n < GOLDEN_KEYS; n++) {
    char *block = mheap_calloc(heap, 1, golden_size(n)), *gone = mheap_malloc(heap, golden_size(n / 2));
    for (size_t at = 0; at < golden_size(n); at++)
      if (golden_is_filled(n, at)) block[at] = golden_byte(n, at);
    CHECK_EQ(mheap_setkey(heap, n, block), MHEAP_OK);
    CHECK_EQ(mheap_free(heap, gone), MHEAP_OK);
  }
  for (int n = 0; n < GOLDEN_NAMES; n++) {
    size_t length;
    const char *name = golden_name(n, &length);
    CHECK_EQ(mheap_setroot(heap, name, length, mheap_getkey(heap, n)), MHEAP_OK);
  }
}

static inline bool golden_count(void *arg, void *block, size_t usable) {
  (void)block, (void)usable;
  *(unsigned *)arg += 1;
  return true;
}

static inline void golden_check_blocks(mheap *heap) {
  unsigned count = 0;
  for (int n = 0; n < GOLDEN_KEYS; n++) {
    const char *block = mheap_getkey(heap, n);
    bool whole = block != NULL;
    for (size_t at = 0; whole && at < golden_size(n); at++) whole = block[at] == golden_byte(n, at);
    CHECK(whole);
    CHECK(mheap_usable_size(heap, block) >= golden_size(n));
  }
  CHECK(mheap_getkey(heap, GOLDEN_KEYS) == NULL);
  for (int n = 0; n < GOLDEN_NAMES; n++) {
    size_t length;
    const char *name = golden_name(n, &length);
    void *block = mheap_getroot(heap, name, length);
    CHECK(block != NULL && block == mheap_getkey(heap, n));
  }
  CHECK_EQ(mheap_visit_blocks(heap, golden_count, &count), MHEAP_OK);
  CHECK_EQ(count, GOLDEN_KEYS);
}

/* ---- objects ---- */

enum { GOLDEN_OBJECTS = 14 };

static const uint64_t golden_limbs[3] = {0x0123456789abcdef, 0xfedcba9876543210, 7};
static const uint16_t golden_wide[5] = {0x3b1, 0x3b2, 0x3b3, 0x20ac, 0x41};
static const uint32_t golden_widest[3] = {0x1f600, 0x41, 0x10ffff};

static inline void golden_key(mh_space *space, int n, mh_key *key) {
  static const char *const names[] = {"none",
                                      "true",
                                      "int",
                                      "negative",
                                      "big",
                                      "round",
                                      "tenth",
                                      "text",
                                      "wide",
                                      "widest",
                                      "bytes",
                                      "the name of a list",
                                      "the name of a dict"};
  if (n == 13) mh_key_int(space, key, 7);
  else mh_key_text(space, key, MH_TAG_STR_REF, 1, names[n], strlen(names[n]));
}

static inline uint64_t golden_container(mh_space *space, int n) {
  mh_list list;
  mh_dict dict;
  mh_key key;
  if (n == 11) {
    CHECK_EQ(mh_list_new(space, 1, &list), MHEAP_OK);
    for (int i = 0; i < 100; i++) CHECK_EQ(mh_list_append(&list, mh_word_int(i * i)), MHEAP_OK);
    return mh_word_ref(MH_TAG_LIST_REF, list.offset);
  }
  CHECK_EQ(mh_dict_new(space, 0, &dict), MHEAP_OK);
  for (int i = 0; i < 100; i++) {
    mh_key_int(space, &key, i * 1000);
    CHECK_EQ(mh_dict_set(&dict, &key, mh_word_int(i)), MHEAP_OK);
    if (i % 10 == 0) CHECK_EQ(mh_dict_delete(&dict, &key), MHEAP_OK);
  }
  return mh_word_ref(MH_TAG_DICT_REF, dict.offset);
}

static inline uint64_t golden_value(mh_space *space, int n) {
  uint64_t word = 0;
  switch (n) {
    case 0: return MH_CONST_NONE;
    case 1: return MH_CONST_TRUE;
    case 2: mh_int_new(space, (int64_t)1 << 40, &word); break;
    case 3: mh_int_new(space, INT64_MIN, &word); break;
    case 4: mh_limbs_new(space, golden_limbs, 3, &word); break;
    case 5: mh_float_new(space, mh_float_bits(3.5), &word); break;
    case 6: mh_float_new(space, mh_float_bits(0.1), &word); break;
    case 7: mh_str_new(space, 1, "caf\xe9, and some more", 19, &word); break;
    case 8: mh_str_new(space, 2, golden_wide, 5, &word); break;
    case 9: mh_str_new(space, 4, golden_widest, 3, &word); break;
    case 10: mh_bytes_new(space, "\0\1\2 bytes", 9, &word); break;
    case 11:
    case 12: return golden_container(space, n);
    default: mh_str_new(space, 1, "seven", 5, &word);
  }
  CHECK(word != 0);
  return word;
}

static inline void golden_store_objects(mheap *heap) {
  mh_space space = {0};
  mh_dict root = {0};
  mh_key key;
  mh_space_init(&space, heap);
  CHECK_EQ(mh_root(&space, true, &root), MHEAP_OK);
  for (int n = 0; n < GOLDEN_OBJECTS; n++) {
    golden_key(&space, n, &key);
    CHECK_EQ(mh_dict_set(&root, &key, golden_value(&space, n)), MHEAP_OK);
  }
}

static inline bool golden_is_text(mh_space *space, uint64_t word, unsigned kind, const void *data,
                                  uint64_t length) {
  mh_text text;
  return mh_text_read(space, word, &text) == MHEAP_OK && text.kind == kind && text.length == length &&
         memcmp(text.data, data, kind * length) == 0;
}

static inline bool golden_is_limbs(mh_space *space, uint64_t word, const uint64_t *wanted, uint64_t length) {
  const uint64_t *limbs;
  uint64_t count;
  return mh_limbs_read(space, word, &limbs, &count) == MHEAP_OK && count == length &&
         memcmp(limbs, wanted, 8 * length) == 0;
}

static inline bool golden_is_float(mh_space *space, uint64_t word, double wanted) {
  uint64_t bits;
  return mh_float_read(space, word, &bits) == MHEAP_OK && mh_bits_float(bits) == wanted;
}

static inline bool golden_is_list(mh_space *space, uint64_t word) {
  mh_list list;
  mh_items items;
  bool same = mh_list_at(space, mh_word_offset(word), &list) == MHEAP_OK &&
              mh_list_items(&list, &items) == MHEAP_OK && items.count == 100;
  for (int i = 0; same && i < 100; i++) same = items.words[i] == mh_word_int(i * i);
  return same;
}

static inline bool golden_is_dict(mh_space *space, uint64_t word) {
  mh_dict dict = {0};
  mh_key key;
  uint64_t length = 0, value;
  bool same = mh_dict_at(space, mh_word_offset(word), &dict) == MHEAP_OK &&
              mh_dict_length(&dict, &length) == MHEAP_OK && length == 90;
  for (int i = 0; same && i < 100; i++) {
    mh_key_int(space, &key, i * 1000);
    mheap_err code = mh_dict_get(&dict, &key, &value);
    same = i % 10 == 0 ? code == MHEAP_ERR_NOT_FOUND : code == MHEAP_OK && value == mh_word_int(i);
  }
  return same;
}

static inline bool golden_is_value(mh_space *space, int n, uint64_t word) {
  const uint64_t least = (uint64_t)INT64_MIN;
  switch (n) {
    case 0: return word == MH_CONST_NONE;
    case 1: return word == MH_CONST_TRUE;
    case 2: return word == mh_word_int((int64_t)1 << 40);
    case 3: return golden_is_limbs(space, word, &least, 1);
    case 4: return golden_is_limbs(space, word, golden_limbs, 3);
    case 5: return golden_is_float(space, word, 3.5);
    case 6: return golden_is_float(space, word, 0.1);
    case 7: return golden_is_text(space, word, 1, "caf\xe9, and some more", 19);
    case 8: return golden_is_text(space, word, 2, golden_wide, 5);
    case 9: return golden_is_text(space, word, 4, golden_widest, 3);
    case 10: return golden_is_text(space, word, 1, "\0\1\2 bytes", 9);
    case 11: return mh_word_tag(word) == MH_TAG_LIST_REF && golden_is_list(space, word);
    case 12: return mh_word_tag(word) == MH_TAG_DICT_REF && golden_is_dict(space, word);
    default: return golden_is_text(space, word, 1, "seven", 5);
  }
}

/* Keys are found by their hash, and come in the order they were stored. */
static inline void golden_check_objects(mheap *heap) {
  mh_space space = {0};
  mh_dict root = {0};
  mh_key key;
  mh_entry entry;
  uint32_t index = 0;
  mh_space_init(&space, heap);
  if (!CHECK_EQ(mh_root(&space, false, &root), MHEAP_OK)) return;
  for (int n = 0; n < GOLDEN_OBJECTS; n++) {
    uint64_t value = 0;
    golden_key(&space, n, &key);
    CHECK_EQ(mh_dict_get(&root, &key, &value), MHEAP_OK);
    if (!CHECK(golden_is_value(&space, n, value))) fprintf(stderr, "  object %d\n", n);
    CHECK_EQ(mh_dict_next(&root, &index, &entry), MHEAP_OK);
    CHECK_EQ(entry.value, value);
  }
  CHECK_EQ(mh_dict_next(&root, &index, &entry), MHEAP_ERR_NOT_FOUND);
}

/* ---- a heap whose blocks have guards ---- */

enum { GOLDEN_GUARDED = 20 };

static inline size_t golden_guarded_size(int n) { return 10 + 13 * (size_t)n; }

static inline void golden_ignore(mheap *heap, void *block, mheap_probe status) {
  (void)heap, (void)block, (void)status;
}

static inline void golden_store_guarded(mheap *heap) {
  CHECK_EQ(mheap_mcheck(heap, golden_ignore, false), MHEAP_OK);
  for (int n = 0; n < GOLDEN_GUARDED; n++) {
    char *block = mheap_memalign(heap, (size_t)16 << n % 4, golden_guarded_size(n));
    memset(block, n + 1, golden_guarded_size(n));
    CHECK_EQ(mheap_setkey(heap, n, block), MHEAP_OK);
  }
}

static inline void golden_check_guarded(mheap *heap) {
  for (int n = 0; n < GOLDEN_GUARDED; n++) {
    char *block = mheap_getkey(heap, n);
    if (!CHECK(block != NULL)) continue;
    CHECK_EQ(mheap_usable_size(heap, block), golden_guarded_size(n));
    CHECK(block[0] == n + 1 && memcmp(block, block + 1, golden_guarded_size(n) - 1) == 0);
    CHECK_EQ(mheap_mprobe(heap, block), MHEAP_PROBE_OK);
  }
}

/* ---- arenas and more heaps ---- */

enum {
  GOLDEN_IN_EXCLUSIVE,
  GOLDEN_IN_SHARED,
  GOLDEN_IN_COMMITTED,
  GOLDEN_DELETED,
  GOLDEN_DESTROYED,
  GOLDEN_HEAPS,
  GOLDEN_EACH = 5
};
#define GOLDEN_FIRST_ROW 2 /* of those heaps */

static const int golden_tags[GOLDEN_HEAPS] = {5, 0, 255, 0, 0};
static const struct golden_arena {
  uint64_t first, count; /* segments */
  mheap_arena_options how;
} golden_arenas[] = {
    {1, 3, {.exclusive = true}}, {4, 2, {.exclusive = false}}, {6, 1, {.exclusive = true, .commit = true}}};

static inline int golden_place_key(int heap, int n) { return 100 + GOLDEN_EACH * heap + n; }

static inline size_t golden_place_size(int heap, int n) {
  static const size_t sizes[GOLDEN_EACH] = {24, 700, 5000, 100000, 4300000};
  return heap == GOLDEN_IN_COMMITTED && n == 4 ? 300000 : sizes[n] + (size_t)heap;
}

static inline void golden_store_place(mheap *main, mheap *heap, int number) {
  for (int n = 0; n < GOLDEN_EACH; n++) {
    int key = golden_place_key(number, n);
    char *block = mheap_malloc(heap, golden_place_size(number, n));
    if (!CHECK(block != NULL)) return;
    memset(block, key, 64 < golden_place_size(number, n) ? 64 : golden_place_size(number, n));
    CHECK_EQ(mheap_setkey(main, key, block), MHEAP_OK);
  }
}

/* The last two heaps as a kill leaves them when their rows say that they are gone, but nothing else does. */
static inline void golden_store_arenas(mheap *main) {
  mheap_arena arenas[3] = {0};
  for (int i = 0; i < 3; i++)
    CHECK_EQ(
        mheap_arena_reserve(main, golden_arenas[i].count * MH_SEGMENT, &golden_arenas[i].how, &arenas[i]),
        MHEAP_OK);
  for (int i = 0; i < GOLDEN_HEAPS; i++) {
    mheap *heap = mheap_new(main, golden_tags[i], i != GOLDEN_DELETED,
                            i == GOLDEN_IN_EXCLUSIVE   ? arenas[0]
                            : i == GOLDEN_IN_COMMITTED ? arenas[2]
                                                       : 0);
    if (!CHECK(heap != NULL)) return;
    golden_store_place(main, heap, i);
    mh_heap_row *row = (mh_heap_row *)mh_at(main->region, MH_HEAPS_OFFSET) + GOLDEN_FIRST_ROW + i;
    row->head |= i == GOLDEN_DESTROYED ? MH_HEAP_DESTROYED : i == GOLDEN_DELETED ? MH_HEAP_DELETED : 0;
  }
}

typedef struct golden_places {
  mheap *heaps[GOLDEN_HEAPS + 1];
  int count;
  mheap_arena_info arenas[4];
  int arena_count;
} golden_places;

static inline bool golden_see_heap(void *arg, mheap *heap) {
  golden_places *p = arg;
  if (CHECK(p->count <= GOLDEN_HEAPS)) p->heaps[p->count++] = heap;
  return true;
}
static inline bool golden_see_arena(void *arg, const mheap_arena_info *info) {
  golden_places *p = arg;
  if (CHECK(p->arena_count < 4)) p->arenas[p->arena_count++] = *info;
  return true;
}

static inline void golden_check_block(mheap *main, int number, int n, mheap *heap) {
  int key = golden_place_key(number, n);
  char *block = mheap_getkey(main, key);
  if (!CHECK(block != NULL)) return;
  if (heap == NULL) {
    CHECK(mheap_heap_of(block) == NULL); /* it went with its heap */
    return;
  }
  CHECK(mheap_heap_of(block) == heap);
  CHECK(mheap_usable_size(heap, block) >= golden_place_size(number, n));
  CHECK(block[0] == (char)key && memcmp(block, block + 1, 23) == 0);
}

static inline void golden_check_arenas(mheap *main) {
  golden_places p = {0};
  CHECK_EQ(mheap_visit_arenas(main, golden_see_arena, &p), MHEAP_OK);
  CHECK_EQ(mheap_visit_heaps(main, golden_see_heap, &p), MHEAP_OK);
  if (!CHECK(p.arena_count == 3 && p.count == 4)) return;
  for (int i = 0; i < 3; i++) {
    CHECK_EQ((uint64_t)p.arenas[i].start,
             (uint64_t)GOLDEN_BASE + MH_SLICE + golden_arenas[i].first * MH_SEGMENT);
    CHECK_EQ(p.arenas[i].size, golden_arenas[i].count * MH_SEGMENT);
    CHECK_EQ(p.arenas[i].exclusive, golden_arenas[i].how.exclusive);
    CHECK_EQ(p.arenas[i].committed, golden_arenas[i].how.commit);
    CHECK(p.arenas[i].stored && p.arenas[i].used > 0);
  }
  for (int i = 0; i < 3; i++) {
    mheap_heap_info info;
    CHECK_EQ(mheap_get_heap_info(p.heaps[1 + i], &info), MHEAP_OK);
    CHECK_EQ(info.number, GOLDEN_FIRST_ROW + i);
    CHECK_EQ(info.tag, golden_tags[i]);
    CHECK(info.destroyable);
    CHECK_EQ(info.arena, i == GOLDEN_IN_SHARED ? 0 : p.arenas[i].arena);
    for (int n = 0; n < GOLDEN_EACH; n++) golden_check_block(main, i, n, p.heaps[1 + i]);
  }
  for (int n = 0; n < GOLDEN_EACH; n++) golden_check_block(main, GOLDEN_DELETED, n, main);
  for (int n = 0; n < GOLDEN_EACH - 1; n++) golden_check_block(main, GOLDEN_DESTROYED, n, NULL);
}

/* ---- kinds ---- */

enum { GOLDEN_KIND_BLOCKS = 24, GOLDEN_KIND_HEAPS = 8 }; /* of the machine that made the file */
#define GOLDEN_KIND    \
  "gr\xc3\xbc\xc3\x9f" \
  "e"

static inline size_t golden_kind_size(int n) { return 10 + (size_t)n * (size_t)n * 300; }

static inline void golden_store_kinds(mheap *heap) {
  mheap_kind *several = mheap_kind_create(GOLDEN_KIND, MHEAP_KIND_THREAD, heap);
  mheap_kind *one = mheap_kind_create("one", MHEAP_KIND_BIJECTIVE, heap);
  mheap_kind *gone = mheap_kind_create("gone", MHEAP_KIND_THREAD, heap);
  mheap_kind_info info;
  CHECK_EQ(mheap_kind_set_usage(one, MHEAP_KIND_USAGE_CONSERVATIVE), MHEAP_OK);
  CHECK_EQ(mheap_kind_get_info(several, &info), MHEAP_OK);
  CHECK_EQ(info.arenas, GOLDEN_KIND_HEAPS);
  for (int n = 0; n < GOLDEN_KIND_BLOCKS; n++) {
    unsigned arena = info.arena + (unsigned)n % info.arenas;
    char *block = n % 3 == 2 ? mheap_kind_malloc(one, golden_kind_size(n))
                             : mheap_kind_memalign_in(several, arena, 16, golden_kind_size(n));
    memset(block, n + 1, golden_kind_size(n));
    CHECK_EQ(mheap_setkey(heap, n, block), MHEAP_OK);
  }
  CHECK(mheap_kind_malloc(gone, 1000) != NULL);
  CHECK_EQ(mheap_kind_destroy(gone), MHEAP_OK);
}

static inline void golden_check_kind(mheap *heap, const char *name, mheap_kind_policy policy,
                                     mheap_kind_usage usage, unsigned arenas) {
  mheap_kind_info info = {0};
  mheap_kind *kind = mheap_kind_find(name, heap);
  if (!CHECK(kind != NULL)) return;
  CHECK_EQ(mheap_kind_get_info(kind, &info), MHEAP_OK);
  CHECK(info.policy == policy && info.usage == usage);
  CHECK_EQ(info.arenas, arenas);
}

static inline void golden_check_kinds(mheap *heap) {
  golden_check_kind(heap, GOLDEN_KIND, MHEAP_KIND_THREAD, MHEAP_KIND_USAGE_DEFAULT, GOLDEN_KIND_HEAPS);
  golden_check_kind(heap, "one", MHEAP_KIND_BIJECTIVE, MHEAP_KIND_USAGE_CONSERVATIVE, 1);
  CHECK(mheap_kind_find("gone", heap) == NULL);
  for (int n = 0; n < GOLDEN_KIND_BLOCKS; n++) {
    char *block = mheap_getkey(heap, n);
    if (!CHECK(block != NULL)) continue;
    CHECK(block[0] == n + 1 && memcmp(block, block + 1, golden_kind_size(n) - 1) == 0);
    CHECK(mheap_kind_detect(block) == mheap_kind_find(n % 3 == 2 ? "one" : GOLDEN_KIND, heap));
  }
}

#endif
