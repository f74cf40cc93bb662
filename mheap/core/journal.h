/* journal.h: the journal of a file: its place, its records, the superblock's first sector.

   Owns: struct mh_journal, what the process knows of a file's journal. Calls os.h, record.h and, to see
   that readers are there, region_lock.h; knows no mapping, so that recovery, readers and `mheap recover`
   use it on a descriptor alone. Takes no lock.

     | region, superblock.size bytes | may be free | journal, to the end of the file |
                                                    '- record - record - … - stale  -'

   Invariants: the journal is the last thing in the file that means anything, behind the end that the
   region has in any generation, and moves back before the region grows into it. Bytes [0, end) of it are
   records generation - n + 1 to `generation`, where n is their number; what follows is believed by nobody.
   `first` is the first sector of the file as it was last written. */
#ifndef MHEAP_JOURNAL_H
#define MHEAP_JOURNAL_H

#include "record.h"

typedef union mh_sector {
  uint8_t bytes[MH_SECTOR];
  struct { /* as in mh_superblock */
    mh_identity identity;
    mh_owner owner;
    uint64_t state, size, generation, epoch, base, placement, reserved_base, max_size, map_directory, root,
        names, journal, journal_size, birth, registry, journal_seed, checkpoint;
  };
} mh_sector;
static_assert(offsetof(mh_sector, checkpoint) == offsetof(mh_superblock, checkpoint), "as in mh_superblock");

typedef struct mh_journal {
  int fd;
  const char *path;
  mh_sector first;     /* see above */
  uint64_t end;        /* bytes of records */
  uint64_t generation; /* of the last record; without one, of the pages */
  uint64_t chain;      /* `sum` of the last record; without one, journal_seed */
  uint64_t size;       /* superblock.size in that generation */
  uint64_t highest;    /* the most that it was in any generation from that of the pages on */
  bool unsynced;       /* some record was not synced */
  int failed;          /* errno of a sync that failed */
  mh_tape tape;        /* of the journal, [0, first.journal_size) */
} mh_journal;

#define MH_JOURNAL_FIRST MH_SLICE                  /* bytes it begins with */
#define MH_JOURNAL_USUAL ((uint64_t)4 << 20)       /* once it is so full, a checkpoint empties it */

/* Reads the first sector anew; no record is known then. The descriptor is the caller's. */
mheap_err mh_journal_load(mh_journal *journal, int fd, const char *path, mheap_error *error);
/* Looks for the record that follows. *found: there is one; mh_journal_count makes it the last. */
mheap_err mh_journal_next(mh_journal *journal, mh_record *record, bool *found, mheap_error *error);
void mh_journal_count(mh_journal *journal, const mh_record *record);
/* With all records counted: are those among them that a checkpoint had begun to bring into the pages? */
mheap_err mh_journal_is_whole(const mh_journal *journal, mheap_error *error);
void mh_journal_close(mh_journal *journal);
static inline bool mh_journal_exists(const mh_journal *journal) { return journal->first.journal != 0; }

/* ---- for who may write ---- */

/* Writes the first sector. */
mheap_err mh_journal_publish(mh_journal *journal, const char *doing, mheap_error *error);
mheap_err mh_journal_sync(mh_journal *journal, mheap_error *error);
/* Lets it have at least `size` bytes; where there is none it is made, behind `region_end`. */
mheap_err mh_journal_reach(mh_journal *journal, uint64_t size, uint64_t region_end, mheap_error *error);
/* Makes sure that it begins at `region_end` or behind. */
mheap_err mh_journal_make_way(mh_journal *journal, uint64_t region_end, mheap_error *error);
/* Puts what stands in the file's first sector alone into a copy of it that records were brought into. */
void mh_journal_reflect(const mh_journal *journal, mh_sector *copy);

/* Where it goes on once it is empty. */
typedef struct mh_journal_place {
  uint64_t offset, size; /* 0: nowhere, there is none any more */
} mh_journal_place;
/* Where it is. */
mh_journal_place mh_journal_here(const mh_journal *journal);
/* Right behind the region, as short as it begins, prepared; where that is not possible, only cut short. */
mh_journal_place mh_journal_behind(mh_journal *journal, uint64_t region_end);
/* Makes the file as long as that, or, where readers may be at work behind, empties it there. Errno, or 0. */
int mh_journal_cut(const mh_journal *journal, uint64_t end);
/* The pages have all that is in it, durably: says so, and it is empty. `pages` is the first sector as
   the last record left it. */
mheap_err mh_journal_empty(mh_journal *journal, const mh_sector *pages, mh_journal_place next,
                           mheap_error *error);
/* Says that pages may be as new as this generation from now on (MH_CHECKPOINT_FORCED may be in it). */
mheap_err mh_journal_mark(mh_journal *journal, uint64_t checkpoint, mheap_error *error);
static inline uint64_t mh_checkpoint_of(uint64_t word) { return word & ~MH_CHECKPOINT_FORCED; }

#endif
