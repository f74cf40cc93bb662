/* superblock.h: the first page: making it, and believing it.

   Owns no state. mh_superblock_check is the gate every file passes before any other field
   of it is used: identity first (magic, byte order, version, checksum, features, geometry),
   then the fields that change, against each other and the file's length. */
#ifndef MHEAP_SUPERBLOCK_H
#define MHEAP_SUPERBLOCK_H

#include "error.h"
#include "layout.h"

/* The smallest region: the superblock slice and the first segment's header. */
#define MH_REGION_MIN (2 * MH_SLICE)
#define MH_DEFAULT_SPAN ((uint64_t)64 << 30)

/* A fresh superblock with a new uuid; size 0, so the file counts as being formatted. */
void mh_superblock_make(mh_superblock *super, uint64_t max_size);

/* Renews the checksum. */
void mh_superblock_sum(mh_identity *identity);

/* Is this page the start of a heap this code can read (and write, if `writing`)? `got` is how
   many of its bytes the file has, `file_size` how long the file is. */
mheap_err mh_superblock_check(const mh_superblock *super, size_t got, uint64_t file_size, bool writing,
                              const char *path, mheap_error *error);

/* The owner record for a file identity, checksum included. */
mh_owner mh_owner_make(uint64_t device, uint64_t inode, uint64_t mount_id, mheap_mode mode);
/* False: the boot id could not be read, and is 0, which is the same as no other. */
bool mh_owner_knows_boot(const mh_owner *owner);
/* Was it written in this boot, for this very file? Then every store of its writer is there. */
bool mh_owner_same(const mh_owner *a, const mh_owner *b);

static inline uint64_t mh_placement_alignment(uint64_t placement) {
  return (uint64_t)1 << (63 - __builtin_clzll(placement));
}
static inline uint64_t mh_placement_residue(uint64_t placement) {
  return placement - mh_placement_alignment(placement);
}

#endif
