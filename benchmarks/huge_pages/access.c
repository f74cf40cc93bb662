/* access.c: random access to memory, for huge_pages.py. Built as a shared object. */
#include <stdint.h>

#define LINE 8 /* words in a cache line */

static uint64_t next(uint64_t state) { return state * 6364136223846793005u + 1442695040888963407u; }

/* Reads a word of a random line, which decides, with the random numbers, on the next: one after
   another, as in a tree. The words are 0, which the compiler does not know. */
uint64_t follow(const volatile uint64_t *words, uint64_t lines, uint64_t steps, uint64_t state) {
  for (uint64_t i = 0; i < steps; i++)
    state = next(state) ^ words[LINE * (((state >> 33) * lines) >> 31)];
  return state;
}

/* Changes a word of a random line: as many at a time as the processor has under way, as in a
   table of counters. What is changed back and forth is 0 again after an even number of calls. */
uint64_t change(volatile uint64_t *words, uint64_t lines, uint64_t steps, uint64_t state) {
  for (uint64_t i = 0; i < steps; i++) {
    state = next(state);
    words[LINE * (((state >> 33) * lines) >> 31)] ^= 1;
  }
  return state;
}
