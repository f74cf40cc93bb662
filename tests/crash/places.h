/* places.h: names for places in the code, from the calls that are under way and the program's own symbols.

   A place is a call of mh_os_sync, or of a function that only passes it on, and has the name of the function
   that calls. Functions that the compiler put into others go by the others' names; the second place of a
   name has "#2" behind it, in the order in which they were come upon. */
#ifndef MHEAP_CRASH_PLACES_H
#define MHEAP_CRASH_PLACES_H

/* The number of the place that calls, or calls the caller, from 0. */
unsigned place_of_call(void);
unsigned places_count(void);
const char *place_name(unsigned place);

#endif
