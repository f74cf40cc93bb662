/* output.h: where everything that is printed goes: to the registered function, or to standard
   error, where that function's own prints go too. Owns that function. Calls os.h, lane.h. Allocates
   nothing; never called under a lock, since the function may do what it likes. */
#ifndef MHEAP_OUTPUT_H
#define MHEAP_OUTPUT_H

#include "mheap/mheap.h"

/* printf-like; whoever prints lines ends them. Cut off behind MH_OUTPUT_MOST bytes. */
void mh_output(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define MH_OUTPUT_MOST 1023

/* The same to a function that the caller names; NULL: as above. */
void mh_output_to(mheap_output_fun *out, void *arg, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Is a function registered? */
bool mh_output_is_registered(void);

#endif
