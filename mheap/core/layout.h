/* layout.h: every byte that is stored, and nothing else.

   This file is the file format. Run-time state lives elsewhere (region.h, segment.h,
   lane.h); object layouts, which are the contents of blocks, live in objects/layout.h.
   All numbers are little-endian, all offsets are distances from the region's start and
   below 2^47. Every field is at a frozen place: changing one is a new format version.

   Words
     region    the whole file (or anonymous mapping): [superblock slice][segment 0][1]...
     slice     64 KiB, the unit of bookkeeping; everything mapped apart is aligned to it
     segment   64 slices, 4 MiB; its first slice is its header, 63 hold data
     slab      1..8 slices cut into equal blocks of one size class
     span      a run of slices that is one block
     huge span a run of whole segments that is one block, described by the map alone

   Single-store rule: each change of state is published by one aligned 8-byte store, and
   what it makes reachable is complete before it. So being killed between any two
   instructions leaves a valid region. */
#ifndef MHEAP_LAYOUT_H
#define MHEAP_LAYOUT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define MH_SLICE_BITS 16
#define MH_SLICE ((uint64_t)1 << MH_SLICE_BITS)     /* 64 KiB */
#define MH_SEGMENT_BITS 22
#define MH_SEGMENT ((uint64_t)1 << MH_SEGMENT_BITS) /* 4 MiB */
#define MH_SEGMENT_SLICES 64                        /* the first is the header */
#define MH_PAGE 4096                                /* the format's page; hosts may have larger ones */
#define MH_SLICE_PAGES ((uint32_t)(MH_SLICE / MH_PAGE))
#define MH_OFFSET_MAX ((uint64_t)1 << 47)           /* every stored offset is below */

/* ---- superblock ----------------------------------------------------------- */

#define MH_MAGIC "\x93mheap\r\n"        /* 8 bytes; CR LF and the high bit catch text-mode copies */
#define MH_UNFINISHED "\x93mhdump\n"   /* 8 bytes: a dump that is not complete, or never was */
#define MH_FORMAT_VERSION 1
#define MH_BYTE_ORDER 0x0102030405060708 /* read swapped: the file is of the other byte order */
#define MH_KEYS 1024                     /* numbered roots */
#define MH_HEAPS 128                     /* rows of the heap table */
#define MH_ARENAS 64                     /* rows of the arena table */

/* Incompatible feature bits: a reader that does not know one refuses the file.
   Reserved: named now so that no other use is made of their fields. */
#define MH_INCOMPAT_JOURNAL ((uint64_t)1 << 0)      /* the journal may hold what is newer than the pages */
#define MH_INCOMPAT_ENCRYPTED ((uint64_t)1 << 1)    /* reserved */
#define MH_INCOMPAT_SUPERSEDED ((uint64_t)1 << 2)   /* reserved: superseded_by names the successor */
#define MH_INCOMPAT_RELOCATIONS ((uint64_t)1 << 3)  /* reserved: relocation bitmap, build fingerprint */
#define MH_INCOMPAT_KNOWN MH_INCOMPAT_JOURNAL
/* Read-only-compatible: a writer that does not know one refuses, a reader goes on. */
#define MH_ROCOMPAT_PAGE_SUMS ((uint64_t)1 << 0)    /* reserved: page_sums is kept up to date */
#define MH_ROCOMPAT_LANES ((uint64_t)1 << 1)        /* reserved: several writing processes, slab owners */
#define MH_ROCOMPAT_ARENAS ((uint64_t)1 << 2)       /* other arenas than the first, or other heaps than
                                                       the first two, are or were there */
#define MH_ROCOMPAT_NAMED ((uint64_t)1 << 3)        /* heaps with names, and objects of their own, are or
                                                       were there: destroying one takes two rows */
#define MH_ROCOMPAT_KNOWN (MH_ROCOMPAT_ARENAS | MH_ROCOMPAT_NAMED)

typedef enum mh_state { /* mh_superblock.state */
  MH_STATE_CLEAN = 0,   /* detached in order; everything was synced */
  MH_STATE_OPEN = 1,    /* attached for writing, or its writer died */
  MH_STATE_SEALED = 2,  /* complete and never to be written again */
} mh_state;

/* What does not change while attached; `checksum` covers it up to itself. */
typedef struct mh_identity {
  uint8_t magic[8];           /*   0 MH_MAGIC */
  uint64_t byte_order;        /*   8 MH_BYTE_ORDER as the writer stores it */
  uint32_t version;           /*  16 MH_FORMAT_VERSION */
  uint32_t word_size;         /*  20 bytes in a pointer: 8 */
  uint64_t compat;            /*  24 feature bits anyone may ignore */
  uint64_t rocompat;          /*  32 MH_ROCOMPAT_* */
  uint64_t incompat;          /*  40 MH_INCOMPAT_* */
  uint8_t uuid[16];           /*  48 of this heap, for ever */
  uint64_t hash_seed[2];      /*  64 for keys of persistent mappings */
  uint32_t slice_bits;        /*  80 MH_SLICE_BITS */
  uint32_t segment_bits;      /*  84 MH_SEGMENT_BITS */
  uint64_t segment0;          /*  88 offset of segment 0: one slice */
  uint64_t map_offset;        /*  96 offset of the map's first part (see below) */
  uint64_t heap_table;        /* 104 offset of the heap table */
  uint32_t heap_rows;         /* 112 rows in it */
  uint32_t arena_rows;        /* 116 rows in the arena table */
  uint64_t arena_table;       /* 120 offset of the arena table */
  uint64_t key_table;         /* 128 offset of the numbered keys */
  uint32_t key_rows;          /* 136 keys in it */
  uint32_t size_classes;      /* 140 size classes this format version has */
  uint8_t superseded_by[16];  /* 144 reserved, zero: uuid of the compacted successor */
  uint8_t fingerprint[32];    /* 160 reserved, zero: build whose native pointers are inside */
  uint8_t encryption[32];     /* 192 reserved, zero */
  uint64_t page_sums;         /* 224 reserved, zero: offset of per-page checksums */
  uint64_t relocations;       /* 232 reserved, zero: offset of the relocation bitmap */
  uint64_t created_ns;        /* 240 Unix time of creation, nanoseconds */
  uint32_t reserved;          /* 248 zero */
  uint32_t checksum;          /* 252 CRC-32C of bytes 0..251 */
} mh_identity;

/* Who has the region open for writing, or had it when it died. Written while `state`
   is not OPEN, or unchanged, so a kill in the middle of it harms nothing. */
typedef struct mh_owner {
  uint8_t boot_id[16]; /*  0 the kernel's boot id; 0: not known, the same as no other */
  uint64_t device;     /* 16 of the file as its writer saw it */
  uint64_t inode;      /* 24 */
  uint64_t mount_id;   /* 32 */
  uint64_t pid;        /* 40 for messages only */
  uint32_t mode;       /* 48 mh_mode it was attached in */
  uint32_t reserved;   /* 52 zero */
  uint64_t checksum;   /* 56 CRC-32C of bytes 0..55 */
} mh_owner;

/* The first page of the region. From `size` on, each field is published by itself. */
typedef struct mh_superblock {
  mh_identity identity;        /*   0 */
  mh_owner owner;              /* 256 valid while state is OPEN */
  uint64_t state;              /* 320 mh_state */
  uint64_t size;               /* 328 bytes in use; a multiple of a slice; the file is at least as long.
                                      0: the file is being formatted */
  uint64_t generation;         /* 336 number of the last commit; 0: none */
  uint64_t epoch;              /* 344 repair epoch: one more at each attach after a crash */
  uint64_t base;               /* 352 fixed address, once a raw address was handed out; else 0 */
  uint64_t placement;          /* 360 alignment | residue: every base is residue modulo that power of two */
  uint64_t reserved_base;      /* 368 zero */
  uint64_t max_size;           /* 376 span asked for when created: the default for later attaches */
  uint64_t map_directory;      /* 384 offset of the map's directory slice; 0 while one part is enough */
  uint64_t root;               /* 392 offset of the root object; 0: none yet */
  uint64_t names;              /* 400 offset of the dict of named raw roots; 0: none yet */
  uint64_t journal;            /* 408 offset of the journal, behind the region's end; 0: none. This, the
                                      next and the last two never come out of a record */
  uint64_t journal_size;       /* 416 bytes */
  uint64_t birth;              /* 424 next birth number for containers; starts at 1 */
  uint64_t registry;           /* 432 offset of the list of schemas of records; 0: none yet */
  uint64_t journal_seed;       /* 440 `previous` of the first record; another after each checkpoint */
  uint64_t checkpoint;         /* 448 pages may be as new as this generation; more than `generation`
                                      while a checkpoint is under way. | MH_CHECKPOINT_FORCED */
  uint8_t reserved[4096 - 456]; /* 456 zero */
} mh_superblock;

#define MH_CHECKPOINT_FORCED ((uint64_t)1 << 63) /* though readers keep earlier generations */

/* ---- the superblock slice ---------------------------------------------------
   page 0        mh_superblock
   4 KiB..12     keys: MH_KEYS words, each the offset of a block, 0 for none
   12 KiB..20    heap table, MH_HEAPS rows of 64 bytes
   20 KiB..24    arena table, MH_ARENAS rows of 64 bytes
   24 KiB..32    reserved, zero
   32 KiB..64    segment map, segments 0 to 4095 */
#define MH_KEYS_OFFSET 4096
#define MH_HEAPS_OFFSET 12288
#define MH_ARENAS_OFFSET 20480
#define MH_MAP_OFFSET 32768

typedef struct mh_heap_row {
  uint64_t head;        /*  0 MH_HEAP_USED | flags | tag << 8; 0: the row is free. The publishing word */
  uint64_t arena;       /*  8 row of the only arena it takes slices from, plus 1; 0: any shared one */
  uint64_t name;        /* 16 of a kind's first heap: offset of its name (mh_kind_name), a block of its.
                              Of a named heap: a value (objects/layout.h), bytes, among its objects */
  uint64_t root;        /* 24 of a named heap: offset of its root dict; 0: none yet */
  uint64_t objects;     /* 32 row of the heap that holds its objects' blocks, plus 1; 0: it has none */
  uint64_t kind;        /* 40 MH_HEAP_KIND: row of the kind's first heap, plus 1; 0: it is being made */
  uint64_t policy;      /* 48 of a kind's first heap: MH_KIND_*; 0: the kind is being made, or is gone.
                              The kind's publishing word */
  uint64_t birth;       /* 56 of a named heap: number from superblock.birth, no other heap's; else zero */
} mh_heap_row;
#define MH_HEAP_USED ((uint64_t)1)
#define MH_HEAP_DESTROYABLE ((uint64_t)2) /* may be destroyed with all its blocks */
#define MH_HEAP_GUARDED ((uint64_t)4)     /* some blocks carry a guard (see mh_guard) */
#define MH_HEAP_OBJECTS ((uint64_t)8)     /* holds object blocks alone: what no root reaches is garbage */
/* The heap is gone, and its row is free once no run names it any more: */
#define MH_HEAP_DESTROYED ((uint64_t)16)  /* its runs are free */
#define MH_HEAP_DELETED ((uint64_t)32)    /* its runs are the main heap's */
#define MH_HEAP_KIND ((uint64_t)64)       /* it is a kind's; what belongs to no kind that is there is free */
#define MH_HEAP_TAG_SHIFT 8               /* bits 8-15: tag */

#define MH_KIND_THREAD ((uint64_t)1)    /* policy: some heaps, one chosen by the thread */
#define MH_KIND_BIJECTIVE ((uint64_t)2) /* or one heap */
#define MH_KIND_POLICY ((uint64_t)3)
#define MH_KIND_CONSERVATIVE ((uint64_t)4) /* free pages go back at once */
#define MH_KIND_NAME_MAX 255

/* A named heap is two rows: its own, with MH_HEAP_DESTROYABLE and a name, and one with MH_HEAP_OBJECTS for
   its objects, which `objects` leads to. No other row has that name, or leads there; its references never
   lead to another heap's objects.

   Stores, in order; * publishes
     make      the objects' row: arena, head. The name's block there. Its own row: arena, name, birth,
               objects, * head
     root      an empty dict among its objects, * root
     destroy   * MH_HEAP_DESTROYED in its own head, the same in that of its objects; then what of each is
               told to its runs, and the rows are free, the objects' first

   A heap of objects that no heap which is there leads to is what a kill left between two of these: it counts
   as destroyed, and is freed where a row is wanted or mheap_collect goes over the region. */

typedef struct mh_kind_name { /* the block that a kind's row names */
  uint64_t length;            /*  0 1 to MH_KIND_NAME_MAX */
  char bytes[];               /*  8 UTF-8, no zero among them */
} mh_kind_name;

typedef struct mh_arena_row {
  uint64_t head;        /*  0 MH_ARENA_USED | flags; 0: the row is free. The publishing word */
  uint64_t start;       /*  8 first segment, not 0; row 0: 0 */
  uint64_t count;       /* 16 segments, which may lie behind the region's end; row 0: 0, for all
                              that are in no other arena */
  uint64_t reserved[5]; /* 24 zero */
} mh_arena_row;
#define MH_ARENA_USED ((uint64_t)1)
#define MH_ARENA_EXCLUSIVE ((uint64_t)2) /* only heaps made for it allocate there */
#define MH_ARENA_COMMITTED ((uint64_t)4) /* its disk space was allocated when it was made, and stays */

/* ---- segment map ------------------------------------------------------------
   One word a segment. It comes in parts of one slice, 8192 words; the first part is the
   superblock slice itself, so only its upper half is words: segment s is word
   (s + 4096) % 8192 of part (s + 4096) / 8192. Part 0 is at offset 0; the offsets of
   the others are words 1.. of the directory slice.

   kind 0, FREE       the whole word is 0; also any BODY that no head covers
   kind 1, SLICES     a segment with a header
   kind 2, HUGE       the first segment of a huge span
   kind 3, BODY       a later one; `back` segments after its head */
#define MH_MAP_PART_WORDS 8192
#define MH_MAP_FIRST_WORDS 4096

typedef enum mh_map_kind {
  MH_MAP_FREE = 0,
  MH_MAP_SLICES = 1,
  MH_MAP_HUGE = 2,
  MH_MAP_BODY = 3,
} mh_map_kind;

#define MH_MAP_KIND_BITS 2         /* bits 0-1, all kinds */
#define MH_MAP_ARENA_SHIFT 2       /* bits 2-14, SLICES and HUGE: row of the arena table */
#define MH_MAP_ARENA_BITS 13
#define MH_MAP_HINT_SHIFT 15       /* bits 15-16, SLICES: hints, believed only in their epoch */
#define MH_MAP_HINT_NO_SLICE 1     /*   no free slice */
#define MH_MAP_HINT_NO_BLOCK 2     /*   no free block in any slab */
#define MH_MAP_EPOCH_SHIFT 32      /* bits 32-63, SLICES: repaired in this epoch */
#define MH_MAP_HEAP_SHIFT 15       /* bits 15-26, HUGE: row of the heap table */
#define MH_MAP_HEAP_BITS 12
#define MH_MAP_PAGES_SHIFT 27      /* bits 27-36, HUGE: pages used in the last segment, minus 1 */
#define MH_MAP_PAGES_BITS 10
#define MH_MAP_COUNT_SHIFT 37      /* bits 37-61, HUGE: segments, 1 or more; BODY: back to the head */
#define MH_MAP_COUNT_BITS 25

/* ---- segment header -----------------------------------------------------------
   page 0       the segment's fields, then 63 slice descriptors
   pages 1-15   64 bitmap areas of 960 bytes, one a slice (the header's own is unused) */

#define MH_BITMAP_BYTES 480                          /* one bitmap of one slice */
#define MH_BITMAP_WORDS (MH_BITMAP_BYTES / 8)        /* 60 words, 3840 bits */
#define MH_BITMAP_BLOCKS (MH_BITMAP_BYTES * 8)       /* so the 16-byte class uses 60 KiB of a slab */
#define MH_SEGMENT_MAGIC 0x746e656d67657368          /* "hsegment" */

/* A slice descriptor. A span's block is in use while its head says SPAN; a slab's blocks
   have a bit each in the bitmaps of the run's first slice. Only a run's first slice is
   described; the `head` words of the others, and of free slices, are 0. So a run is made,
   resized and freed by one store. */
typedef struct mh_slice {
  uint64_t head;        /*  0 the publishing word, MH_HEAD_* */
  uint64_t owner;       /*  8 reserved, zero: identity of the writing process (MH_ROCOMPAT_LANES) */
  uint64_t reserved[6]; /* 16 zero */
} mh_slice;

typedef enum mh_slice_kind {
  MH_SLICE_FREE = 0,     /* or inside the run that began before */
  MH_SLICE_SLAB = 1,
  MH_SLICE_SPAN = 2,
  MH_SLICE_INTERNAL = 3, /* a part or the directory of the segment map; later the journal */
} mh_slice_kind;

#define MH_HEAD_KIND_BITS 4        /* bits 0-3 mh_slice_kind */
#define MH_HEAD_COUNT_SHIFT 4      /* bits 4-9 slices in the run, 1 to 63 */
#define MH_HEAD_COUNT_BITS 6
#define MH_HEAD_CLASS_SHIFT 10     /* bits 10-17 SLAB: size class */
#define MH_HEAD_CLASS_BITS 8
#define MH_HEAD_HEAP_SHIFT 18      /* bits 18-29 row of the heap table */
#define MH_HEAD_HEAP_BITS 12
#define MH_HEAD_PAGES_SHIFT 30     /* bits 30-39 SPAN: pages used, 1 to 1008 */
#define MH_HEAD_PAGES_BITS 10      /* bits 40-63 zero */

typedef struct mh_bitmaps {
  uint64_t alloc[MH_BITMAP_WORDS]; /* written by the slab's lane; bits past the last block are 0 */
  uint64_t freed[MH_BITMAP_WORDS]; /* set by other threads; in use = alloc and not freed */
} mh_bitmaps;

typedef struct mh_segment_header {
  uint64_t magic;           /*    0 MH_SEGMENT_MAGIC */
  uint64_t index;           /*    8 this segment's number */
  uint8_t uuid[16];         /*   16 the region's */
  uint64_t reserved[4];     /*   32 zero */
  mh_slice slice[63];       /*   64 of slices 1 to 63 */
  mh_bitmaps bitmaps[64];   /* 4096 of slices 0 (unused) to 63 */
} mh_segment_header;

/* ---- journal --------------------------------------------------------------------
   Commits since the last checkpoint, in the file but outside the region: the pages hold generation
   `superblock.generation`, and the records that follow make each the next one. A record begins at a
   multiple of MH_PAGE, behind the one before. It is believed if its magic, its generation (one more than
   the last), `previous` and `sum` are right, and so are the sums of what it says was placed; the first
   that is not ends the journal. So nothing in it need be erased, and redoing all of it again is harmless.

   The superblock's first 512 bytes are written at once (a disk writes a sector whole), and alone. */
#define MH_SECTOR 512
#define MH_RECORD_MAGIC 0x64726f636572686d /* "mhrecord" */

typedef struct mh_record {
  uint64_t magic;       /*  0 MH_RECORD_MAGIC */
  uint64_t generation;  /*  8 what it makes */
  uint64_t length;      /* 16 bytes, this header included; a multiple of 8 */
  uint64_t size;        /* 24 superblock.size in this generation */
  uint64_t time_ns;     /* 32 Unix time of the commit, nanoseconds */
  uint64_t previous;    /* 40 `sum` of the record before; of the first: journal_seed */
  uint64_t reserved;    /* 48 zero */
  uint32_t flags;       /* 56 zero */
  uint32_t sum;         /* 60 CRC-32C of all of it, this field taken as zero */
} mh_record;

/* Follows the header, and the bytes of the entry before. */
typedef struct mh_record_entry {
  uint64_t at;      /*  0 offset in the region, a multiple of 8 | MH_ENTRY_* */
  uint32_t length;  /*  8 bytes, a multiple of 8 */
  uint32_t sum;     /* 12 PLACED: CRC-32C of the bytes in their place; BYTES: zero */
} mh_record_entry;
#define MH_ENTRY_BYTES ((uint64_t)0)  /* these bytes, which follow */
#define MH_ENTRY_PLACED ((uint64_t)1) /* bytes where no earlier generation had any, in their place */
#define MH_ENTRY_KIND ((uint64_t)7)

/* ---- guards -------------------------------------------------------------------
   A block of a heap whose boundaries are checked (mmcheck): the pointer handed out is
   `shift` bytes into the block, this stands right before it, and the bytes from its end
   to the block's are MH_GUARD_FILL. So has one whose address plus an offset is aligned, though
   nothing be checked: there `shift` is any number, and the block's first word. Who does not know
   of that kind cannot free it, and takes the whole block for what was handed out. */
typedef struct mh_guard {
  uint64_t size;  /* bytes asked for | (log2(shift), or MH_GUARD_STORED) << 48 */
  uint64_t check; /* MH_GUARD_MAGIC ^ size ^ offset of the data */
} mh_guard;
#define MH_GUARD_MAGIC 0x9e0fad1dc0de51a7
#define MH_GUARD_FILL 0xd7
#define MH_GUARD_TAIL 16   /* at least so many bytes of fill */
#define MH_GUARD_STORED 63 /* in place of log2(shift): it is the block's first word */
#define MH_GUARD_STORED_LEAST (8 + sizeof(mh_guard)) /* that it then is at least */

/* ---- what the compiler can check ---------------------------------------------- */
#define MH_FREEZE(type, field, at) \
  static_assert(offsetof(type, field) == (at), #type "." #field " moved")

MH_FREEZE(mh_identity, magic, 0);
MH_FREEZE(mh_identity, byte_order, 8);
MH_FREEZE(mh_identity, version, 16);
MH_FREEZE(mh_identity, word_size, 20);
MH_FREEZE(mh_identity, compat, 24);
MH_FREEZE(mh_identity, rocompat, 32);
MH_FREEZE(mh_identity, incompat, 40);
MH_FREEZE(mh_identity, uuid, 48);
MH_FREEZE(mh_identity, hash_seed, 64);
MH_FREEZE(mh_identity, slice_bits, 80);
MH_FREEZE(mh_identity, segment_bits, 84);
MH_FREEZE(mh_identity, segment0, 88);
MH_FREEZE(mh_identity, map_offset, 96);
MH_FREEZE(mh_identity, heap_table, 104);
MH_FREEZE(mh_identity, heap_rows, 112);
MH_FREEZE(mh_identity, arena_rows, 116);
MH_FREEZE(mh_identity, arena_table, 120);
MH_FREEZE(mh_identity, key_table, 128);
MH_FREEZE(mh_identity, key_rows, 136);
MH_FREEZE(mh_identity, size_classes, 140);
MH_FREEZE(mh_identity, superseded_by, 144);
MH_FREEZE(mh_identity, fingerprint, 160);
MH_FREEZE(mh_identity, encryption, 192);
MH_FREEZE(mh_identity, page_sums, 224);
MH_FREEZE(mh_identity, relocations, 232);
MH_FREEZE(mh_identity, created_ns, 240);
MH_FREEZE(mh_identity, reserved, 248);
MH_FREEZE(mh_identity, checksum, 252);
static_assert(sizeof(mh_identity) == 256, "mh_identity");
MH_FREEZE(mh_owner, boot_id, 0);
MH_FREEZE(mh_owner, device, 16);
MH_FREEZE(mh_owner, inode, 24);
MH_FREEZE(mh_owner, mount_id, 32);
MH_FREEZE(mh_owner, pid, 40);
MH_FREEZE(mh_owner, mode, 48);
MH_FREEZE(mh_owner, checksum, 56);
static_assert(sizeof(mh_owner) == 64, "mh_owner");
MH_FREEZE(mh_superblock, owner, 256);
MH_FREEZE(mh_superblock, state, 320);
MH_FREEZE(mh_superblock, size, 328);
MH_FREEZE(mh_superblock, generation, 336);
MH_FREEZE(mh_superblock, epoch, 344);
MH_FREEZE(mh_superblock, base, 352);
MH_FREEZE(mh_superblock, placement, 360);
MH_FREEZE(mh_superblock, max_size, 376);
MH_FREEZE(mh_superblock, map_directory, 384);
MH_FREEZE(mh_superblock, root, 392);
MH_FREEZE(mh_superblock, names, 400);
MH_FREEZE(mh_superblock, journal, 408);
MH_FREEZE(mh_superblock, journal_size, 416);
MH_FREEZE(mh_superblock, birth, 424);
MH_FREEZE(mh_superblock, registry, 432);
MH_FREEZE(mh_superblock, journal_seed, 440);
MH_FREEZE(mh_superblock, checkpoint, 448);
static_assert(offsetof(mh_superblock, reserved) <= MH_SECTOR, "what is written at once");
MH_FREEZE(mh_record, generation, 8);
MH_FREEZE(mh_record, length, 16);
MH_FREEZE(mh_record, size, 24);
MH_FREEZE(mh_record, time_ns, 32);
MH_FREEZE(mh_record, previous, 40);
MH_FREEZE(mh_record, flags, 56);
MH_FREEZE(mh_record, sum, 60);
static_assert(sizeof(mh_record) == 64, "mh_record");
MH_FREEZE(mh_record_entry, length, 8);
MH_FREEZE(mh_record_entry, sum, 12);
static_assert(sizeof(mh_record_entry) == 16, "mh_record_entry");
static_assert(sizeof(mh_superblock) == MH_PAGE, "mh_superblock");
MH_FREEZE(mh_heap_row, arena, 8);
MH_FREEZE(mh_heap_row, name, 16);
MH_FREEZE(mh_heap_row, root, 24);
MH_FREEZE(mh_heap_row, objects, 32);
MH_FREEZE(mh_heap_row, kind, 40);
MH_FREEZE(mh_heap_row, policy, 48);
MH_FREEZE(mh_heap_row, birth, 56);
MH_FREEZE(mh_kind_name, bytes, 8);
static_assert(sizeof(mh_heap_row) == 64, "mh_heap_row");
MH_FREEZE(mh_arena_row, start, 8);
MH_FREEZE(mh_arena_row, count, 16);
static_assert(sizeof(mh_arena_row) == 64, "mh_arena_row");
static_assert(MH_KEYS_OFFSET + 8 * MH_KEYS == MH_HEAPS_OFFSET, "keys end where heaps begin");
static_assert(MH_HEAPS_OFFSET + 64 * MH_HEAPS == MH_ARENAS_OFFSET, "heaps end where arenas begin");
static_assert(MH_ARENAS_OFFSET + 64 * MH_ARENAS <= MH_MAP_OFFSET, "tables end before the map");
static_assert(MH_MAP_OFFSET == 8 * (MH_MAP_PART_WORDS - MH_MAP_FIRST_WORDS), "the first part");
static_assert(MH_MAP_COUNT_SHIFT + MH_MAP_COUNT_BITS <= 64, "map word");
static_assert(MH_MAP_HEAP_SHIFT + MH_MAP_HEAP_BITS == MH_MAP_PAGES_SHIFT, "map word");
static_assert(MH_MAP_PAGES_SHIFT + MH_MAP_PAGES_BITS == MH_MAP_COUNT_SHIFT, "map word");
static_assert(MH_HEAD_PAGES_SHIFT + MH_HEAD_PAGES_BITS <= 64, "slice head");
MH_FREEZE(mh_slice, owner, 8);
static_assert(sizeof(mh_slice) == 64, "mh_slice");
static_assert(sizeof(mh_bitmaps) == 960, "mh_bitmaps");
MH_FREEZE(mh_segment_header, index, 8);
MH_FREEZE(mh_segment_header, uuid, 16);
MH_FREEZE(mh_segment_header, slice, 64);
MH_FREEZE(mh_segment_header, bitmaps, MH_PAGE);
static_assert(sizeof(mh_segment_header) == MH_SLICE, "mh_segment_header");
static_assert(sizeof(mh_guard) == 16, "mh_guard");

#endif
