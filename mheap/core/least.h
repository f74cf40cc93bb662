/* least.h: the lesser of two numbers. */
#ifndef MHEAP_LEAST_H
#define MHEAP_LEAST_H

#include <stdint.h>

static inline uint64_t mh_least(uint64_t a, uint64_t b) { return a < b ? a : b; }

#endif
