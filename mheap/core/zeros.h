/* zeros.h: zeros, written to a file.

   Owns nothing. Calls os.h. Takes no lock. */
#ifndef MHEAP_ZEROS_H
#define MHEAP_ZEROS_H

#include <stdint.h>

/* Errno, or 0. In pieces of at most a slice, which end where one ends: the kernel keeps each as one folio,
   which a mapping that lies as regions do can still map whole. */
int mh_zeros_write(int fd, uint64_t from, uint64_t to);

#endif
