/* images.h: what pages were at the last commit, where that is not what the file has.

   Owns: a shadow of the region, in which a page has the place that it has in the region, and bits that
   say which pages it has. So neighbours in the file are neighbours here, and a checkpoint writes them
   in one go. Pages that a large commit wrote whole are not copied there: the journal has them. Calls os.h.
   The caller holds commits' lock.

   Invariants: a page that is `known` is here as the last commit left it, one that is `placed` is so in the
   journal; no page is both. Either is `changed` if the file differs. Any other page is in the file as the
   last commit left it. `drafted` are those that a commit that is not whole yet placed. */
#ifndef MHEAP_IMAGES_H
#define MHEAP_IMAGES_H

#include <stdbool.h>

#include "error.h"
#include "layout.h"

#define MH_IMAGES_GROUP 1024 /* pages whose bits are together: 4 MiB */

typedef struct mh_images_group {
  uint64_t known[MH_IMAGES_GROUP / 64], changed[MH_IMAGES_GROUP / 64];
  uint64_t placed[MH_IMAGES_GROUP / 64], drafted[MH_IMAGES_GROUP / 64];
  uint64_t copied[MH_IMAGES_GROUP / 64]; /* placed since the last mh_images_forget */
} mh_images_group;

typedef struct mh_images {
  int fd;
  const char *path;
  const uint64_t *journal; /* where it begins in the file */
  char *shadow;            /* `span` bytes of address space; of groups in use, memory */
  mh_images_group *groups; /* span / 4 MiB, of which the first `open` bytes can be written */
  uint64_t *places; /* of each page: where in the journal it is, if it is placed or drafted; NULL: none was */
  char *buffer;            /* pages that are looked at; NULL: not yet */
  uint64_t span, end;      /* no page from `end` on is known, placed or drafted */
  uint64_t known, changed, copied; /* pages */
  uint64_t drafts_from, drafts_to;
  uint64_t open;
} mh_images;

/* `journal` is read whenever a page is. */
mheap_err mh_images_init(mh_images *images, int fd, const char *path, uint64_t span, const uint64_t *journal,
                         mheap_error *error);
void mh_images_fini(mh_images *images);

/* The page at `offset`, known from now on; behind the file's end it is zero. */
mheap_err mh_images_of(mh_images *images, uint64_t offset, char **page, mheap_error *error);
/* The pages from `from` on, some at once, at most to `to`: *end says how far. Good until the next call. Few
   pages are known from then on; of many there is no copy. */
mheap_err mh_images_look(mh_images *images, uint64_t from, uint64_t to, const char **pages, uint64_t *end,
                         mheap_error *error);
/* The page, if it is known, else NULL. */
char *mh_images_find(const mh_images *images, uint64_t offset);
/* It is known, and differs from the file now. */
void mh_images_note(mh_images *images, uint64_t offset);
/* The first run of changed pages in [*from, end): *from is where it begins; returns its bytes, 0: none. */
uint64_t mh_images_next(const mh_images *images, uint64_t *from, uint64_t end);
/* Writes pages of such a run to their places in the file, but for the first `skipped` bytes. Errno, or 0. */
int mh_images_write(mh_images *images, uint64_t from, uint64_t to, uint64_t skipped);
/* The file has them all up to `end`; what it has behind is another matter, so that they are not known. */
void mh_images_settle(mh_images *images, uint64_t end);
/* The file is what counts; none is changed. */
void mh_images_forget(mh_images *images);

/* These are placed, too, though not by way of the journal. */
void mh_images_note_copies(mh_images *images, uint64_t from, uint64_t to);
/* The file has them now: what earlier records had of them is nothing any more. */
void mh_images_written(mh_images *images, uint64_t from, uint64_t to);
/* Pages of which the region has a private copy, that is, which are known, or were placed: how many, about,
   and the first run of them in [*from, end), as above. */
uint64_t mh_images_copies(const mh_images *images);
uint64_t mh_images_next_copies(const mh_images *images, uint64_t *from, uint64_t end);

/* ---- pages that a commit writes whole, of which there is no image here ---- */

/* This one, which so far is as the file has it, will be in the journal at `place`. false: no memory to note
   that. */
bool mh_images_draft(mh_images *images, uint64_t offset, uint64_t place);
/* Whether that became a commit. */
void mh_images_end_drafts(mh_images *images, bool committed);
bool mh_images_is_placed(const mh_images *images, uint64_t offset);

#endif
