/* reader.h: a readonly region beside an atomic writer: which generation it shows, and how it comes to
   the next.

   Owns: struct mh_reader (region->reader). Calls overlay.h, journal.h, region_lock.h, os.h.

   What a reader has mapped is the file's pages, and private copies of those that records have changed
   since: together generation g. A writer leaves the pages alone while it commits. A checkpoint changes
   them, from the moment that superblock.checkpoint says so:

     the region shows generation g, whole, while  checkpoint <= g

   as what it then writes is what a reader at the same generation has already. So whoever reads looks
   before and behind, and comes to the newest generation and reads again where that no longer holds.
   A pinned generation is seen by the writer, which then takes its mark back, unless that says that the
   checkpoint is forced; either it sees the pin, or the reader sees its mark. A generation is reached through
   the journal alone, whether or not a writer is alive and however far a checkpoint came.

   Lock order: region->lock, then `lock`. */
#ifndef MHEAP_READER_H
#define MHEAP_READER_H

#include "journal.h"
#include "region.h"

typedef struct mh_reader {
  pthread_mutex_t lock;
  mh_journal journal;          /* counted up to what the region shows */
  const mh_sector *live;       /* the file's first sector, as it is now */
  const char *records;         /* the journal as it is now, mapped; NULL: not */
  uint64_t records_size;
  uint64_t records_at;         /* where it was when it was mapped */
  _Atomic uint64_t generation; /* that the region shows */
  _Atomic uint64_t covered;    /* from here on there is no file behind its pages, but zeros; 0: nowhere */
  uint32_t pins;
  uint64_t pinned;             /* generation */
} mh_reader;

/* Before the superblock is read: no checkpoint begins until mh_reader_ready, or the end. */
mheap_err mh_reader_begin(mh_region *region, mheap_error *error);
/* The region is mapped: shows what the journal has on top of that, up to its superblock's generation. */
mheap_err mh_reader_ready(mh_region *region, mheap_error *error);
void mh_reader_drop(mh_region *region);

static inline uint64_t mh_reader_shows(const mh_reader *reader) {
  return atomic_load_explicit(&((mh_reader *)reader)->generation, memory_order_relaxed);
}
/* Is its generation kept? */
static inline bool mh_reader_is_kept(const mh_region *region) {
  return region->reader != NULL && region->reader->pins > 0;
}
/* Is the region still what one generation was? Asked behind a read. */
static inline bool mh_reader_is_whole(const mh_region *region) {
  const mh_reader *reader = region->reader;
  if (reader == NULL) return true;
  atomic_thread_fence(memory_order_acquire);
  uint64_t mark = mh_read(&reader->live->checkpoint), shows = mh_reader_shows(reader);
  if (mh_checkpoint_of(mark) <= shows) return true;
  return reader->pins > 0 && mark == mh_checkpoint_of(mark) && mh_read(&reader->live->generation) <= shows;
}
/* Is what a reader found missing in the file, from `offset` on, what its writer gave back since? */
bool mh_reader_is_behind(mh_region *region, uint64_t offset);
/* Is that in what is mapped of the file beside the region? Then it has zeros there from now on. */
bool mh_reader_lost(mh_reader *reader, const void *address);
static inline bool mh_reader_has_record(const mh_reader *reader) {
  uint64_t at = reader->journal.end;
  if (reader->records == NULL || at + sizeof(mh_record) > reader->records_size) return false;
  const mh_record *next = (const mh_record *)(reader->records + at);
  return mh_read(&next->generation) == mh_reader_shows(reader) + 1 &&
         mh_read(&next->magic) == MH_RECORD_MAGIC;
}
/* Is there no newer one? A guess that costs a few loads; asked before a read. */
static inline bool mh_reader_is_newest(const mh_region *region) {
  const mh_reader *reader = region->reader;
  if (reader == NULL) return true;
  const mh_sector *live = reader->live, *known = &reader->journal.first;
  return mh_read(&live->journal_seed) == known->journal_seed && mh_read(&live->journal) == known->journal &&
         mh_read(&live->journal_size) == known->journal_size && !mh_reader_has_record(reader);
}
/* Both, of one that is not kept. */
static inline bool mh_reader_is_current(const mh_region *region) {
  return region->reader->pins == 0 && mh_reader_is_newest(region) && mh_reader_is_whole(region);
}

/* Comes to the newest generation; *moved: that is another. Refused with MHEAP_ERR_BUSY while pinned. */
mheap_err mh_reader_refresh(mh_region *region, bool *moved, mheap_error *error);
/* Keeps the generation that is shown, or, if it is not whole any more, the newest. Counted. */
mheap_err mh_reader_pin(mh_region *region, bool *moved, mheap_error *error);
void mh_reader_unpin(mh_region *region);

#endif
