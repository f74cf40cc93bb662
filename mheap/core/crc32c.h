/* crc32c.h: CRC-32C (Castagnoli, RFC 3720 appendix B.4), the checksum of stored headers. */
#ifndef MHEAP_CRC32C_H
#define MHEAP_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t mh_crc32c(const void *data, size_t length);

#endif
