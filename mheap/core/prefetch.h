/* prefetch.h: asks memory for a line before it is looked at, so that several are waited for at once. Calls
   nothing, takes no lock. */
#ifndef MHEAP_PREFETCH_H
#define MHEAP_PREFETCH_H

/* The line need not be there. Without the empty statement gcc takes a function that does nothing but
   prefetch for one that does nothing, and leaves calls of it out. */
static inline void mh_ask_for(const void *line) {
  __builtin_prefetch(line);
  __asm__ volatile("" : : "r"(line));
}

#endif
