/* workload.c: see workload.h. */
#include "workload.h"

#include "heap.h"

typedef struct slot {
  uint64_t offset; /* 0: no block */
  uint64_t size;
} slot;

typedef struct table {
  uint64_t serial;
  slot slots[WORKLOAD_SLOTS];
} table;

static char *block_of(mheap *heap, const slot *it) { return heap->region->base + it->offset; }

mheap_err workload_begin(mheap *heap) {
  table *made = mheap_calloc(heap, 1, sizeof *made);
  return made == NULL ? mheap_last_error(heap)->code : mheap_setkey(heap, 0, made);
}

uint64_t workload_serial(mheap *heap) {
  const table *all = mheap_getkey(heap, 0);
  return all != NULL ? all->serial : 0;
}

void workload_step(mheap *heap) { ((table *)mheap_getkey(heap, 0))->serial++; }

static mheap_err empty(mheap *heap, slot *it) {
  mheap_err code = it->offset != 0 ? mheap_free(heap, block_of(heap, it)) : MHEAP_OK;
  if (!code) *it = (slot){0};
  return code;
}

static mheap_err fill(mheap *heap, slot *it, uint64_t size, int byte) {
  char *block = mheap_malloc(heap, size);
  if (block == NULL) return mheap_last_error(heap)->code;
  memset(block, byte, size);
  *it = (slot){(uint64_t)(block - heap->region->base), size};
  return MHEAP_OK;
}

mheap_err workload_change(mheap *heap, uint64_t *random, uint64_t most) {
  table *all = mheap_getkey(heap, 0);
  slot *it = &all->slots[random_below(random, WORKLOAD_SLOTS)];
  uint64_t how = random_below(random, 12), size = 1 + random_below(random, most);
  int byte = (int)random_below(random, 256);
  if (it->offset != 0 && how < 4) {
    memset(block_of(heap, it) + random_below(random, it->size), byte, 1);
    return MHEAP_OK;
  }
  mheap_err code = empty(heap, it);
  return code || how < 6 ? code : fill(heap, it, size, byte);
}

mheap_err workload_fill(mheap *heap, int number, uint64_t size, int byte) {
  slot *it = &((table *)mheap_getkey(heap, 0))->slots[number];
  if (it->offset != 0 && it->size == size) return memset(block_of(heap, it), byte, size), MHEAP_OK;
  mheap_err code = empty(heap, it);
  return code ? code : fill(heap, it, size, byte);
}

mheap_err workload_clear(mheap *heap) {
  table *all = mheap_getkey(heap, 0);
  mheap_err code = MHEAP_OK;
  for (int i = 0; i < WORKLOAD_SLOTS && !code; i++) code = empty(heap, &all->slots[i]);
  return code ? code : mheap_collect(heap, false);
}

static uint64_t mix(uint64_t sum, uint64_t word) { return (sum ^ word) * 0x9e3779b97f4a7c15u; }

/* Words, then the bytes that are left; shifts carry what is high down again. */
static uint64_t mix_block(uint64_t sum, const char *bytes, uint64_t size) {
  uint64_t word, i = 0;
  for (; i + 8 <= size; i += 8) {
    memcpy(&word, bytes + i, 8);
    sum = mix(sum ^ sum >> 29, word);
  }
  for (; i < size; i++) sum = mix(sum ^ sum >> 29, (uint8_t)bytes[i]);
  return sum;
}

uint64_t workload_digest(mheap *heap) {
  const table *all = mheap_getkey(heap, 0);
  if (all == NULL || mheap_usable_size(heap, all) < sizeof *all) return 0;
  uint64_t sum = mix(1, all->serial);
  for (int i = 0; i < WORKLOAD_SLOTS; i++) {
    const slot *it = &all->slots[i];
    sum = mix(sum, it->size);
    if (it->offset == 0) continue;
    if (mheap_usable_size(heap, block_of(heap, it)) < it->size) return 0;
    sum = mix_block(sum, block_of(heap, it), it->size);
  }
  return sum | 1;
}
