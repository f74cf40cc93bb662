/* record.h: one record of a journal (layout.h, "journal"): read, and written.

   Owns: tapes and drafts. Calls os.h, crc32c.h. Every byte read is hostile until mh_record_find has
   said that there is a record; who visits it checks each entry again. Takes no lock. */
#ifndef MHEAP_RECORD_H
#define MHEAP_RECORD_H

#include "error.h"
#include "layout.h"

/* Part of a file, read through a window: of memory from mh_os_table, or of a draft, whose
   bytes then need not be read back. */
typedef struct mh_tape {
  int fd;
  const char *path;
  uint64_t start, size; /* of the part, in the file */
  char *window;         /* MH_TAPE_WINDOW bytes; NULL: not there yet */
  uint64_t from, have;  /* bytes of the part that are in it */
} mh_tape;
#define MH_TAPE_WINDOW ((uint64_t)1 << 20)

void mh_tape_drop(mh_tape *tape);

/* Is there a record of this generation at `at`, behind one of sum `previous`? All of it is looked at,
   and what it says was placed, unless it is `trusted`: a checkpoint began after it, and may have changed
   that. An entry that reaches beyond the record's size is no record. */
mheap_err mh_record_find(mh_tape *tape, uint64_t at, uint64_t generation, uint64_t previous,
                         mh_record *record, bool trusted, bool *found, mheap_error *error);

/* Called with the pieces of a record, in order; data NULL: these bytes are in their place. */
typedef struct mh_record_visitor {
  mheap_err (*visit)(void *arg, uint64_t at, const void *data, uint64_t length, mheap_error *error);
  void *arg;
  /* Asked about an entry's bytes before they are read: is it not called with those? NULL: with all. */
  bool (*skips)(void *arg, uint64_t at, uint64_t length);
} mh_record_visitor;
mheap_err mh_record_visit(mh_tape *tape, uint64_t at, const mh_record *record,
                          const mh_record_visitor *visitor, mheap_error *error);

/* Where the next record begins. */
static inline uint64_t mh_record_end(uint64_t at, uint64_t length) {
  return at + (length + MH_PAGE - 1) / MH_PAGE * MH_PAGE;
}

/* ---- writing ---- */

/* A record that is being made. Whole windows go to the file as they fill; the header comes last, so
   that what was begun and given up is no record. */
typedef struct mh_draft {
  mh_tape *tape;
  uint64_t at;           /* of the record, in the tape */
  uint64_t length;       /* bytes so far */
  uint64_t written;      /* of them, in the file */
  uint32_t sum;          /* of what is written, behind the header */
  uint64_t entries;      /* so far */
  mh_record_entry *open; /* the last, while it is in the window */
  bool hurry;            /* a sync will follow: the disk may begin with each window */
  /* Lets the tape have room for `size` bytes. */
  mheap_err (*reach)(void *arg, uint64_t size, mheap_error *error);
  void *arg;
} mh_draft;

mheap_err mh_draft_begin(mh_draft *draft, mheap_error *error);
/* Bytes at a multiple of 8, and as many; they join the last entry's if they follow on them. */
mheap_err mh_draft_bytes(mh_draft *draft, uint64_t at, const void *data, uint64_t length, mheap_error *error);
/* Where in the tape the last `length` of them are; false: in two pieces. */
bool mh_draft_tail(const mh_draft *draft, uint64_t length, uint64_t *place);
mheap_err mh_draft_placed(mh_draft *draft, uint64_t at, uint32_t length, uint32_t sum, mheap_error *error);
/* Lets the tape have room for all of it. */
mheap_err mh_draft_room(mh_draft *draft, mheap_error *error);
/* Writes the rest. `record` has generation, size, previous and time; it gets length and sum. */
mheap_err mh_draft_finish(mh_draft *draft, mh_record *record, mheap_error *error);

#endif
