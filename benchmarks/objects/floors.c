/* floors.c: what memory and the kernel take alone, for floors.py. Built as a shared object. */
#include <stdint.h>

static uint64_t next(uint64_t state) { return state * 6364136223846793005u + 1442695040888963407u; }

/* As large as what a heap has: slots of 8 bytes, entries of 16, records so many bytes apart. */
typedef struct table {
  volatile uint64_t *slots, *entries;
  volatile char *records;
  uint64_t room; /* slots, a power of two */
  uint64_t count, apart;
} table;

static volatile uint64_t *value_of(const table *t, uint64_t random) {
  return &t->entries[2 * t->slots[(random >> 33) & (t->room - 1)] + 1];
}

void lay_out(const table *t) {
  for (uint64_t i = 0; i < t->room; i++) t->slots[i] = (next(i) >> 33) % t->count;
  for (uint64_t i = 0; i < t->count; i++) {
    t->entries[2 * i] = i;
    t->entries[2 * i + 1] = i * t->apart;
    *(volatile uint64_t *)(t->records + i * t->apart) = 0;
  }
}

/* A random slot, the entry that it names, the record that that names; the next when that is there. */
uint64_t follow(const table *t, uint64_t steps, uint64_t state) {
  for (uint64_t i = 0; i < steps; i++)
    state = next(state) ^ *(volatile uint64_t *)(t->records + *value_of(t, state));
  return state;
}

/* The value of a random slot's entry is stored to; the next when the one before was looked at. */
uint64_t change(const table *t, uint64_t steps, uint64_t state) {
  for (uint64_t i = 0; i < steps; i++) {
    volatile uint64_t *value = value_of(t, state);
    state = next(state) ^ (*value >> 63);
    *value = i;
  }
  return state;
}

/* Takes the caches for something else. */
uint64_t evict(const volatile char *bytes, uint64_t size) {
  uint64_t sum = 0;
  for (uint64_t i = 0; i < size; i += 64) sum += (uint64_t)bytes[i];
  return sum;
}
