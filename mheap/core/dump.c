/* dump.c: a region written as a file that is complete: what of it is written, and how (dumps.h).

   Owns nothing but, while it runs, two buffers. Calls dump_file.h, digest.h, map.h, decode.h. The region
   does not shrink meanwhile; every number of it is checked before it is used.

   Pages that are zero are left out. So is what is free, empty slabs too: a slab goes through a buffer in
   which its free blocks are made zero, and a segment's header is made anew from the runs in it, each block
   that some thread had marked as freed being free. Heaps that a killed process destroyed or deleted are
   settled on the way. The first page comes last. */
#include <errno.h>
#include <string.h>

#include "classes.h"
#include "commit.h"
#include "digest.h"
#include "dump_file.h"
#include "heap.h"
#include "map.h"
#include "os.h"
#include "parts.h"
#include "segment.h"
#include "superblock.h"

#define SLAB_MOST (8 * MH_SLICE)
#define PIECE ((uint64_t)1 << 20) /* written at once: more keeps signals and the digest's cache waiting */

typedef struct mh_dumping {
  mh_region *region;
  const mheap_dump_options *options;
  const mh_commit_wait *wait;
  mheap_error *error;
  mh_dump_file file;
  uint64_t size;             /* of the dump */
  mh_segment_header *header; /* as it is written, of the segment at hand */
  char *slab;
  mh_digest digest;
  uint8_t uuid[16];
} mh_dumping;

/* ---- pages ---- */

static bool is_zero(const char *page) {
  const uint64_t *words = (const uint64_t *)page;
  for (size_t i = 0; i < MH_PAGE / 8; i += 4)
    if ((words[i] | words[i + 1] | words[i + 2] | words[i + 3]) != 0) return false;
  return true;
}

static mheap_err put_stretch(mh_dumping *d, const char *data, uint64_t length, uint64_t at) {
  if (d->options->named_by_content) mh_digest_add(&d->digest, at, data, length);
  return mh_dump_file_write(&d->file, data, length, at, d->error);
}

/* Whole pages, those that are not zero. A page that is stored to meanwhile may be either. */
static mheap_err put(mh_dumping *d, const char *data, uint64_t length, uint64_t at) {
  mheap_err code = MHEAP_OK;
  for (uint64_t i = 0, end; !code && i < length; i = end) {
    bool zero = is_zero(data + i);
    for (end = i + MH_PAGE; end < length && end - i < PIECE && is_zero(data + end) == zero;) end += MH_PAGE;
    if (!zero) code = put_stretch(d, data + i, end - i, at + i);
  }
  return code;
}

/* ---- runs ---- */

/* In the copy, what is no block in use. */
static void clear_free(char *copy, const mh_bitmaps *maps, const mh_class *class) {
  uint64_t end = (uint64_t)class->slices * MH_SLICE, used = (uint64_t)class->blocks * class->size;
  for (uint32_t i = 0; i < class->blocks; i++)
    if (!(maps->alloc[i / 64] >> i % 64 & 1)) memset(copy + (uint64_t)i * class->size, 0, class->size);
  memset(copy + used, 0, end - used);
}

static mheap_err put_run(mh_dumping *d, uint64_t offset, uint32_t slice, const mh_run_head *head) {
  const char *data = mh_at(d->region, offset);
  if (head->kind == MH_SLICE_SPAN) return put(d, data, head->pages * (uint64_t)MH_PAGE, offset);
  if (head->kind == MH_SLICE_INTERNAL) return put(d, data, head->count * MH_SLICE, offset);
  memcpy(d->slab, data, head->count * MH_SLICE);
  clear_free(d->slab, &d->header->bitmaps[slice], &mh_classes[head->class]);
  return put(d, d->slab, head->count * MH_SLICE, offset);
}

static uint32_t slices_in(const mh_region *region, uint64_t segment) {
  uint64_t slices = (mh_region_size(region) - mh_segment_offset(segment)) / MH_SLICE;
  return slices < MH_SEGMENT_SLICES ? (uint32_t)slices : MH_SEGMENT_SLICES;
}

static bool is_empty(const mh_segment_header *stored, uint32_t slice, uint64_t word) {
  mh_run_head head = mh_run_head_of(word);
  if (head.kind != MH_SLICE_SLAB) return false;
  for (uint32_t i = 0, blocks = mh_classes[head.class].blocks; 64 * i < blocks; i++)
    if (mh_bitmap_used(&stored->bitmaps[slice], i, blocks) != 0) return false;
  return true;
}

/* The head of a run that begins at a slice, and is not an empty slab; 0: none does, in *step slices. */
static mheap_err head_at(mh_dumping *d, uint64_t segment, uint32_t slice, uint64_t *word, uint32_t *step) {
  const mh_segment_header *stored = mh_at(d->region, mh_segment_offset(segment));
  uint64_t found = mh_read(&stored->slice[slice - 1].head);
  mh_run_head head = mh_run_head_of(found);
  *word = *step = 1;
  if (found == 0) return *word = 0, MHEAP_OK;
  if (head.rest != 0 || !mh_run_head_is_valid(&head, slices_in(d->region, segment) - slice))
    return mh_fail_corrupt(d->error, d->region->path, mh_offset(d->region, &stored->slice[slice - 1]),
                           "descriptor of a slice", 0, found);
  *word = is_empty(stored, slice, found) ? 0 : mh_head_settled(d->region, found);
  *step = head.count;
  return MHEAP_OK;
}

static mheap_err check_header(mh_dumping *d, uint64_t segment) {
  const mh_segment_header *stored = mh_at(d->region, mh_segment_offset(segment));
  if (stored->magic != MH_SEGMENT_MAGIC)
    return mh_fail_corrupt(d->error, d->region->path, mh_segment_offset(segment), "magic number of a segment",
                           MH_SEGMENT_MAGIC, stored->magic);
  return MHEAP_OK;
}

static void copy_bits(mh_dumping *d, uint64_t segment, uint32_t slice, uint32_t class) {
  const mh_segment_header *stored = mh_at(d->region, mh_segment_offset(segment));
  uint32_t blocks = mh_classes[class].blocks;
  for (uint32_t i = 0; 64 * i < blocks; i++)
    d->header->bitmaps[slice].alloc[i] = mh_bitmap_used(&stored->bitmaps[slice], i, blocks);
}

/* ---- segments ---- */

static mheap_err make_header(mh_dumping *d, uint64_t segment) {
  mheap_err code = check_header(d, segment);
  memset(d->header, 0, sizeof *d->header);
  d->header->magic = MH_SEGMENT_MAGIC;
  d->header->index = segment;
  memcpy(d->header->uuid, d->uuid, sizeof d->uuid);
  for (uint32_t slice = 1, step; !code && slice < slices_in(d->region, segment); slice += step) {
    uint64_t word;
    code = head_at(d, segment, slice, &word, &step);
    if (code || word == 0) continue;
    d->header->slice[slice - 1].head = word;
    if (mh_run_head_of(word).kind == MH_SLICE_SLAB) copy_bits(d, segment, slice, mh_run_head_of(word).class);
  }
  return code;
}

static mheap_err put_slices(mh_dumping *d, uint64_t segment) {
  uint64_t start = mh_segment_offset(segment);
  mheap_err code = make_header(d, segment);
  if (!code) code = put(d, (const char *)d->header, sizeof *d->header, start);
  for (uint32_t slice = 1; !code && slice < MH_SEGMENT_SLICES; slice++) {
    mh_run_head head = mh_run_head_of(d->header->slice[slice - 1].head);
    if (head.kind != MH_SLICE_FREE) code = put_run(d, start + slice * MH_SLICE, slice, &head);
  }
  return code;
}

/* Where the last run of a segment of slices ends. */
static mheap_err end_of_slices(mh_dumping *d, uint64_t segment, uint64_t *end) {
  uint64_t start = mh_segment_offset(segment);
  mheap_err code = check_header(d, segment);
  *end = start + MH_SLICE;
  for (uint32_t slice = 1, step; !code && slice < slices_in(d->region, segment); slice += step) {
    uint64_t word;
    code = head_at(d, segment, slice, &word, &step);
    if (!code && word != 0) *end = start + (slice + step) * MH_SLICE;
  }
  return code;
}

static bool is_destroyed(const mh_region *region, uint32_t row) {
  return mh_heap_row_gone(region, row) == MH_HEAP_DESTROYED;
}

/* Calls `visit` for each segment of slices and each huge span that is there. */
typedef mheap_err segment_fun(mh_dumping *d, uint64_t segment, const mh_map_entry *entry);
static mheap_err each_segment(mh_dumping *d, segment_fun *visit) {
  mheap_err code = MHEAP_OK;
  for (uint64_t segment = 0, step; !code && segment < mh_map_segments(d->region); segment += step) {
    mh_map_entry entry;
    code = mh_map_get(d->region, segment, &entry, d->error);
    step = !code && entry.kind == MH_MAP_HUGE ? entry.count : 1;
    bool there = !code && (entry.kind == MH_MAP_SLICES ||
                           (entry.kind == MH_MAP_HUGE && !is_destroyed(d->region, entry.heap)));
    if (there) code = visit(d, segment, &entry);
  }
  return code;
}

static mheap_err add_to_size(mh_dumping *d, uint64_t segment, const mh_map_entry *entry) {
  uint64_t end = mh_segment_offset(segment) + mh_map_huge_bytes(entry);
  mheap_err code = entry->kind == MH_MAP_SLICES ? end_of_slices(d, segment, &end) : MHEAP_OK;
  end = (end + MH_SLICE - 1) / MH_SLICE * MH_SLICE;
  if (!code && end > d->size) d->size = end;
  return code;
}

static mheap_err put_segment(mh_dumping *d, uint64_t segment, const mh_map_entry *entry) {
  if (entry->kind == MH_MAP_SLICES) return put_slices(d, segment);
  uint64_t offset = mh_segment_offset(segment);
  return put(d, mh_at(d->region, offset), mh_map_huge_bytes(entry), offset);
}

static mheap_err put_uuid(mh_dumping *d, uint64_t segment, const mh_map_entry *entry) {
  uint64_t at = mh_segment_offset(segment) + offsetof(mh_segment_header, uuid);
  if (entry->kind != MH_MAP_SLICES) return MHEAP_OK;
  return mh_dump_file_write(&d->file, d->uuid, sizeof d->uuid, at, d->error);
}

/* ---- the superblock's slice ---- */

static mheap_err set_map_word(mh_dumping *d, uint64_t segment, const mh_map_entry *entry) {
  uint64_t *words = (uint64_t *)(d->slab + MH_MAP_OFFSET);
  if (segment >= MH_MAP_FIRST_WORDS) return MHEAP_OK;
  if (entry->kind == MH_MAP_SLICES) {
    words[segment] = mh_map_slices(entry->arena, entry->epoch, 0);
    return MHEAP_OK;
  }
  uint32_t heap = mh_heap_row_gone(d->region, entry->heap) == MH_HEAP_DELETED ? 0 : entry->heap;
  words[segment] = mh_map_huge(entry->arena, heap, entry->pages, entry->count);
  for (uint64_t back = 1; back < entry->count && segment + back < MH_MAP_FIRST_WORDS; back++)
    words[segment + back] = mh_map_body(back);
  return MHEAP_OK;
}

/* Of heaps that are gone nothing in the dump has the row any more. */
static void free_rows(mh_dumping *d) {
  mh_heap_row *rows = (mh_heap_row *)(d->slab + MH_HEAPS_OFFSET);
  for (uint32_t row = 2; row < MH_HEAPS; row++)
    if (mh_heap_row_gone(d->region, row) != 0) memset(&rows[row], 0, sizeof rows[row]);
}

/* Its first page stays in d->slab. */
static mheap_err put_tables(mh_dumping *d) {
  memcpy(d->slab, d->region->base, MH_MAP_OFFSET);
  free_rows(d);
  memset(d->slab + MH_MAP_OFFSET, 0, MH_SLICE - MH_MAP_OFFSET);
  mheap_err code = each_segment(d, set_map_word);
  return code ? code : put(d, d->slab + MH_PAGE, MH_SLICE - MH_PAGE, MH_PAGE);
}

static void set_identity(mh_dumping *d, mh_superblock *super) {
  if (d->options->named_by_content) super->identity.created_ns = 0;
  else if (d->options->writable) super->identity.created_ns = mh_os_time_ns();
  super->identity.incompat &= ~MH_INCOMPAT_JOURNAL;
  memcpy(super->identity.uuid, d->uuid, sizeof d->uuid);
  mh_superblock_sum(&super->identity);
}

static void set_superblock(mh_dumping *d, mh_superblock *super) {
  super->owner = (mh_owner){.pid = 0};
  super->state = d->options->writable ? MH_STATE_CLEAN : MH_STATE_SEALED;
  super->size = d->size;
  super->journal = super->journal_size = super->journal_seed = super->checkpoint = 0;
  set_identity(d, super);
}

/* Before it has its uuid, which comes from all of it. */
static void name_by_content(mh_dumping *d, mh_superblock *super) {
  set_superblock(d, super);
  mh_digest_add(&d->digest, 0, super, sizeof *super);
  mh_digest_uuid(&d->digest, d->uuid);
}

/* ---- all of it ---- */

static void choose_uuid(mh_dumping *d) {
  mh_superblock fresh;
  const uint8_t *uuid = d->region->super->identity.uuid;
  if (d->options->writable) mh_superblock_make(&fresh, 0), uuid = fresh.identity.uuid;
  memcpy(d->uuid, uuid, sizeof d->uuid);
  if (d->options->named_by_content) memset(d->uuid, 0, sizeof d->uuid);
}

static mheap_err write_all(mh_dumping *d) {
  mh_superblock *super = (mh_superblock *)d->slab;
  int failed = mh_os_truncate(d->file.fd, d->size);
  if (failed) return mh_fail_system(d->error, failed, d->file.path, "making room for the dump");
  mheap_err code = each_segment(d, put_segment);
  if (!code) code = put_tables(d);
  if (!code && d->options->named_by_content) {
    name_by_content(d, super);
    code = each_segment(d, put_uuid);
  }
  if (!code) code = mh_region_is_whole(d->region, d->error);
  if (!code) set_superblock(d, super);
  return code;
}

static mheap_err dump_walked(mh_dumping *d, const char *path) {
  d->size = MH_REGION_MIN;
  d->digest = mh_digest_begin();
  choose_uuid(d);
  mheap_err code = each_segment(d, add_to_size);
  if (!code) code = mh_dump_file_begin(&d->file, path, d->options, d->error);
  if (code) return code;
  code = write_all(d);
  if (d->wait != NULL) d->wait->begin(d->wait->arg);
  if (!code) return mh_dump_file_finish(&d->file, d->slab, d->error);
  mh_dump_file_drop(&d->file);
  return code;
}

static mheap_err dump_region(mh_dumping *d, const char *path) {
  char *buffers = mh_os_table(SLAB_MOST + sizeof *d->header);
  if (buffers == NULL) return mh_fail_system(d->error, ENOMEM, path, "making buffers for the dump");
  d->slab = buffers;
  d->header = (mh_segment_header *)(buffers + SLAB_MOST);
  mh_region_begin_walk(d->region);
  mheap_err code = dump_walked(d, path);
  mh_region_end_walk(d->region);
  mh_os_table_free(buffers, SLAB_MOST + sizeof *d->header);
  return code;
}

static mheap_err may_be_dumped(mheap *heap) {
  mheap_err code = mh_heap_may_look(heap);
  if (!code) code = mh_region_is_whole(heap->region, mh_error(heap));
  if (code || (!heap->spreads && !heap->region->is_arena && !heap->region->pages.lent)) return code;
  return mh_fail(mh_error(heap), MHEAP_ERR_ARGUMENT,
                 "%s: this heap takes memory from arenas, and is not one region of its own; attach one",
                 heap->region->path);
}

mheap_err mh_heap_dump(mheap *heap, const char *path, const mheap_dump_options *options,
                       const mh_commit_wait *wait) {
  static const mheap_dump_options defaults;
  bool moved;
  heap = mh_heap_of(heap);
  if (heap == NULL) return MHEAP_ERR_NO_MEMORY;
  mheap_err code = may_be_dumped(heap);
  if (code) return code;
  bool reads = heap->region->reader != NULL;
  if (reads) code = mheap_keep(heap, &moved);
  if (code) return code;
  mh_dumping dumping = {.region = heap->region,
                        .options = options != NULL ? options : &defaults,
                        .wait = wait,
                        .error = mh_error(heap)};
  code = dump_region(&dumping, path);
  if (reads) mheap_release(heap);
  return code;
}

mheap_err mheap_dump(mheap *heap, const char *path, const mheap_dump_options *options) {
  return mh_heap_dump(heap, path, options, NULL);
}

mheap *mheap_restore(const char *path, mheap_error *error) {
  const mheap_options options = {.mode = MHEAP_MODE_SCRATCH};
  return mheap_open(path, &options, error);
}

mheap_err mheap_prefetch(mheap *heap) {
  heap = mh_heap_of(heap);
  if (heap == NULL) return MHEAP_ERR_NO_MEMORY;
  mheap_err code = mh_heap_usable(heap);
  if (!code) code = mh_region_is_whole(heap->region, mh_error(heap));
  if (code) return code;
  mh_region_begin_walk(heap->region);
  int failed = mh_os_prefetch(heap->region->base, mh_region_size(heap->region));
  mh_region_end_walk(heap->region);
  if (!failed) return MHEAP_OK;
  return mh_fail_system(mh_error(heap), failed, heap->region->path, "bringing the pages in");
}
