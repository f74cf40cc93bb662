/* images.h: what pages were at the last commit, where that is not what the file has.

   Owns: a shadow of the region, in which a page has the place that it has in the region, and bits that
   say which pages it has. So neighbours in the file are neighbours here, and a checkpoint writes them
   in one go. Calls os.h. The caller holds commits' lock.

   Invariants: a page that is `known` is here as the last commit left it; it is `changed` if the file
   differs. Any other page is in the file as the last commit left it. */
#ifndef MHEAP_IMAGES_H
#define MHEAP_IMAGES_H

#include <stdbool.h>

#include "error.h"
#include "layout.h"

#define MH_IMAGES_GROUP 1024 /* pages whose bits are together: 4 MiB */

typedef struct mh_images_group {
  uint64_t known[MH_IMAGES_GROUP / 64], changed[MH_IMAGES_GROUP / 64];
} mh_images_group;

typedef struct mh_images {
  int fd;
  const char *path;
  char *shadow;            /* `span` bytes of address space; of groups in use, memory */
  mh_images_group *groups; /* span / 4 MiB */
  uint64_t span, end;      /* no page from `end` on is known */
  uint64_t known, changed; /* pages */
} mh_images;

mheap_err mh_images_init(mh_images *images, int fd, const char *path, uint64_t span, mheap_error *error);
void mh_images_fini(mh_images *images);

/* The page at `offset`, read from the file if it is not known; behind the file's end it is zero. */
mheap_err mh_images_of(mh_images *images, uint64_t offset, char **page, mheap_error *error);
/* Reads what is not known of the pages in [from, to), some at once: *end says how far it came. */
mheap_err mh_images_load(mh_images *images, uint64_t from, uint64_t to, uint64_t *end, mheap_error *error);
/* The page, if it is known, else NULL. */
char *mh_images_find(const mh_images *images, uint64_t offset);
/* It differs from the file now. */
void mh_images_note(mh_images *images, uint64_t offset);
/* The first run of changed pages in [*from, end): *from is where it begins; returns its bytes, 0: none. */
uint64_t mh_images_next(const mh_images *images, uint64_t *from, uint64_t end);
/* The file has them all up to `end`; what it has behind is another matter, so that they are not known. */
void mh_images_settle(mh_images *images, uint64_t end);
/* The file is what counts, for all that are not changed. */
void mh_images_forget(mh_images *images);

#endif
