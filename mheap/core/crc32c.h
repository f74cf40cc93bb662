/* crc32c.h: CRC-32C (Castagnoli, RFC 3720 appendix B.4), the checksum of all that is stored. */
#ifndef MHEAP_CRC32C_H
#define MHEAP_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t mh_crc32c(const void *data, size_t length);
/* The sum of what `crc` is the sum of, and this behind it; 0 is the sum of nothing. */
uint32_t mh_crc32c_more(uint32_t crc, const void *data, size_t length);
/* The same as on a processor that has no instruction for it. */
uint32_t mh_crc32c_by_tables(uint32_t crc, const void *data, size_t length);

#endif
