/* layout.h: every byte of the object layer's blocks, and nothing else.

   With core/layout.h this file is the file format. It may include core/layout.h only; takes
   no lock. All numbers are little-endian; offsets are distances from the region's start.
   Type codes, tags, field places and the hash function are frozen.

   Words
     value      an 8-byte word: the lowest four bits are its tag, the rest its payload
     reference  a value whose payload is the offset of an object
     object     a block that begins with a head word: reference count, type, length
     container  an object that holds values, or cells: dict, list, set, deque, counter, sorted dict,
                array, record, record list
     part       a block that belongs to exactly one container: the table of a dict, set or counter,
                the items of a list or deque, a node of a sorted dict, the cells of an array, the
                rows of a record list, the fields of a migrated record
     absent     the word 0: no value here

   Single-store rule: each operation is published by one aligned store, and what that makes
   reachable is complete before it. Reference counts go up before a reference is published
   and down after it is unpublished. So what a kill leaves is always valid, and its only
   traces are counts that are too high and blocks that nothing refers to. */
#ifndef MHEAP_OBJECTS_LAYOUT_H
#define MHEAP_OBJECTS_LAYOUT_H

#include "../layout.h"

/* ---- values ------------------------------------------------------------------
   Whatever can be inline is inline, so equal values of one type are equal words unless both
   are references, or one is a reference to text that older versions did not make a name. Bits 47-63 of a
   reference are zero, as are unused bytes of inline text.

   A name is text of 8 to 10 of the 63 characters 0-9, A-Z, _ and a-z, which are the codes 1 to 63 in this
   order: the first one's code in bits 58-63, and so on; 0 behind the last. Such text is hashed as any other
   that is not in words of MH_TAG_STR. */
#define MH_WORD_ABSENT ((uint64_t)0)
#define MH_TAG_BITS 4

typedef enum mh_tag {
  MH_TAG_CONST = 0,   /* payload: MH_CONST_*; ABSENT is the word 0 */
  MH_TAG_INT = 1,     /* payload: a signed 60-bit integer */
  MH_TAG_STR = 2,     /* bits 4-7 length 0 to 7, bytes 1-7 the Latin-1 characters */
  MH_TAG_BYTES = 3,   /* bits 4-7 length 0 to 7, bytes 1-7 the bytes */
  MH_TAG_FLOAT = 4,   /* a binary64 whose lowest four bits are zero: they are the tag */
  MH_TAG_REF = 5,     /* this and all tags above are references, but for MH_TAG_NAME */
  MH_TAG_STR_REF = 5,   /* MH_TYPE_STR1, 2, 4 */
  MH_TAG_BYTES_REF = 6, /* MH_TYPE_BYTES */
  MH_TAG_INT_REF = 7,   /* MH_TYPE_INT */
  MH_TAG_FLOAT_REF = 8, /* MH_TYPE_FLOAT */
  MH_TAG_DICT_REF = 9,  /* MH_TYPE_DICT */
  MH_TAG_LIST_REF = 10, /* MH_TYPE_LIST */
  MH_TAG_TUPLE_REF = 11,  /* MH_TYPE_TUPLE */
  MH_TAG_SET_REF = 12,    /* MH_TYPE_SET */
  MH_TAG_RECORD_REF = 13, /* MH_TYPE_RECORD */
  MH_TAG_NAME = 14,       /* no reference: a name */
  MH_TAG_OTHER_REF = 15,  /* any other type: it stands in the object's head alone */
} mh_tag;

#define MH_CONST_NONE ((uint64_t)1 << MH_TAG_BITS)
#define MH_CONST_FALSE ((uint64_t)2 << MH_TAG_BITS)
#define MH_CONST_TRUE ((uint64_t)3 << MH_TAG_BITS)
#define MH_INT_MAX (((int64_t)1 << 59) - 1)
#define MH_INT_MIN (-((int64_t)1 << 59))
#define MH_INLINE_MAX 7 /* characters or bytes */
#define MH_NAME_MIN 8
#define MH_NAME_MAX 10
#define MH_NAME_BITS 6
#define MH_NAME_ONES 0x0410410410410410u /* the lowest bit of each code */

/* ---- heads ---------------------------------------------------------------------
   The first word of every block of this layer, so that a block tells what it is. */
#define MH_COUNT_BITS 24        /* bits 0-23 references from inside the heap; parts: 0 */
#define MH_COUNT_STICKY 0xffffffu /* as many or more: never changed again, never freed by counting */
#define MH_TYPE_SHIFT 24        /* bits 24-31 mh_type */
#define MH_LENGTH_SHIFT 32      /* bits 32-63 length, capacity, or zero */
#define MH_LENGTH_ESCAPE 0xffffffffu /* of text: the length is the next word, the data behind that */

typedef enum mh_type {
  MH_TYPE_FLOAT = 0x01,
  MH_TYPE_INT = 0x02,
  MH_TYPE_BYTES = 0x03,
  MH_TYPE_STR1 = 0x04,  /* one byte a character: all are below U+0100 */
  MH_TYPE_STR2 = 0x05,  /* two: one is above U+00FF, none above U+FFFF */
  MH_TYPE_STR4 = 0x06,  /* four: one is above U+FFFF; surrogates are allowed in 2 and 4 */
  MH_TYPE_BYTEARRAY = 0x07, /* as BYTES */
  MH_TYPE_COMPLEX = 0x08,
  MH_TYPE_TUPLE = 0x10, /* compounds, whose values never change: 0x10 to 0x1f */
  MH_TYPE_FROZENSET = 0x11,
  MH_TYPE_EXTENDED = 0x12, /* of a type outside the language, by `kind` */
  MH_TYPE_DICT = 0x40,  /* containers: 0x40 to 0x7f */
  MH_TYPE_LIST = 0x41,
  MH_TYPE_SET = 0x42,
  MH_TYPE_DEQUE = 0x43,
  MH_TYPE_COUNTER = 0x44,
  MH_TYPE_SORTED = 0x45,
  MH_TYPE_ARRAY = 0x46,
  MH_TYPE_RECORD = 0x47,
  MH_TYPE_RECORDS = 0x48,
  MH_TYPE_TABLE = 0x80, /* parts: 0x80 to 0xbf */
  MH_TYPE_ITEMS = 0x81,
  MH_TYPE_NODE = 0x82,
  MH_TYPE_CELLS = 0x83,
  MH_TYPE_FIELDS = 0x84,
} mh_type;

/* A float that cannot be inline. */
typedef struct mh_float_block {
  uint64_t head; /* 0 length 0 */
  uint64_t bits; /* 8 binary64 */
} mh_float_block;

/* An int beyond 60 bits: two's complement, in the fewest 64-bit words that hold it. */
typedef struct mh_int_block {
  uint64_t head;    /* 0 length: words, at least 1 */
  uint64_t limbs[]; /* 8 least significant first */
} mh_int_block;

/* str and bytes beyond 7, or a str with a character above U+00FF: raw characters in the
   narrowest of 1, 2, 4 bytes that holds them all, no terminator. */
typedef struct mh_text_block {
  uint64_t head; /* 0 length: characters, or MH_LENGTH_ESCAPE */
  uint64_t text; /* 8 the characters begin here; with the escape: the length */
} mh_text_block;

typedef struct mh_complex_block {
  uint64_t head; /*  0 length 0 */
  uint64_t real; /*  8 binary64 */
  uint64_t imag; /* 16 the same */
} mh_complex_block;

/* Values in order, complete before anything refers to it, never changed. A tuple's are its
   items, a frozenset's its elements, an extended value's its state, by kind. Those of a
   frozenset that is a key, or part of one, are in the order of their hashes ("hashing", below).

     kind        words (of a key there is one more, behind the semicolon)
     RANGE       start, stop, step; length: ints
     DATE        ordinal: 1 to 3652059, 1 is January 1 of year 1
     TIME        microseconds of the day, fold (0, 1), zone; instant: microseconds in UTC, or None
     DATETIME    microseconds since year 1, fold, zone; instant
     TIMEDELTA   days, seconds, microseconds: normalised as Python does
     DECIMAL     str(): a str; the same number as int, float, or FRACTION that neither can be
     FRACTION    numerator, denominator: ints without a common factor, the latter positive
     UUID        bytes, 16
     PATH        MH_PATH_*, str
     ENUM        registered name of the class, name of the member; of a Flag without one: its int
     TIMEZONE    microseconds east of UTC, name or None
     ZONEINFO    key: a str
     REGISTERED  registered name of the type: a str; state: any value
     PICKLED     pickle: bytes

   A zone is None, an int (microseconds east of UTC), a str (a ZoneInfo's key), or a TIMEZONE.
   An instant is None where the zone is. Times that have one are equal if their instants are. */
typedef enum mh_kind_code {
  MH_KIND_RANGE = 0x01,
  MH_KIND_DATE = 0x02,
  MH_KIND_TIME = 0x03,
  MH_KIND_DATETIME = 0x04,
  MH_KIND_TIMEDELTA = 0x05,
  MH_KIND_DECIMAL = 0x06,
  MH_KIND_FRACTION = 0x07,
  MH_KIND_UUID = 0x08,
  MH_KIND_PATH = 0x09,
  MH_KIND_ENUM = 0x0a,
  MH_KIND_TIMEZONE = 0x0b,
  MH_KIND_ZONEINFO = 0x0c,
  MH_KIND_REGISTERED = 0x0d,
  MH_KIND_PICKLED = 0x0e,
} mh_kind_code;

#define MH_PATH_PURE_POSIX 0
#define MH_PATH_POSIX 1
#define MH_PATH_PURE_WINDOWS 2
#define MH_PATH_WINDOWS 3

typedef struct mh_compound_block {
  uint64_t head;    /*  0 length: values */
  uint64_t kind;    /*  8 EXTENDED: mh_kind_code; else 0; of one being freed: scratch */
  uint64_t words[]; /* 16 */
} mh_compound_block;

/* All there is of a container but its part. */
typedef struct mh_container {
  uint64_t head;     /*  0 length 0 */
  uint64_t birth;    /*  8 number from superblock.birth; 0: being freed */
  uint64_t part;     /* 16 offset of the table, the items or the top node; 0: empty. The publishing word */
  union {
    uint64_t reserved; /* 24 zero; of a container being freed: scratch */
    uint64_t limit;    /* 24 of a deque: the most items it may have, plus 1; 0: any number. Constant */
    uint64_t word;     /* 24 of an array: its description, a value; of one being freed: scratch. Constant */
    uint64_t pending;  /* 24 of a sorted dict: 1 while the counts of its branches may be wrong, else 0 */
  };
} mh_container;

/* ---- dict --------------------------------------------------------------------
   A table holds entries in order of insertion and a way from a key's hash to its entry:

     up to 8 entries    `tags`: byte i is the highest byte of the hash of entry i's key
     more               2^log2 slots of 32 bits, linearly probed from hash mod 2^log2

   A slot is 0 (never used: the end of a probe), 1 (removed), or, in its lowest `shift` bits,
   the entry's number plus 2, above them the highest 32 - shift bits of the hash.
   `shift` is the number of bits of capacity + 1.

   used entries are filled or dead (key ABSENT), live <= used <= capacity are filled. A slot
   or tag that leads to an entry that is dead or not below `used` counts as removed; two
   slots may lead to one entry: the entry's key alone tells what it is.

   Stores, in order; * publishes
     insert   entry[used].value, .key, tag or slot, * counts (used and live, one more)
     replace  * entry.value, then the old value's count goes down
     remove   * pending (entry, live after), entry.key = 0, counts, pending = 0, slot = 1;
              while pending is set readers take the entry as dead and its `live` as the count,
              and the next writer does the remaining stores
     remove the last live entry: * counts (used lowered to that entry), slot = 1
     grow, shrink, purge dead entries: a new table, * container.part, then the old is freed
     clear    * container.part = 0, then all counts go down */
typedef struct mh_entry {
  uint64_t key;   /* 0 value; ABSENT: dead */
  uint64_t value; /* 8 */
} mh_entry;

typedef struct mh_table_block {
  uint64_t head;    /*  0 bits 0-7 log2, 8-15 shift, 16-23 bytes a slot; length: capacity. Constant */
  uint64_t counts;  /*  8 bits 0-31 used, 32-63 live */
  uint64_t pending; /* 16 0, or bits 0-31 number of the dying entry plus 1, 32-63 live without it */
  uint64_t tags;    /* 24 where slots have 0 bytes; else zero */
  /* 32 slots, then entries: mh_entry[capacity] */
} mh_table_block;

#define MH_TABLE_SHIFT_SHIFT 8
#define MH_TABLE_SLOT_SHIFT 16
#define MH_TABLE_TAGGED 8                   /* capacity up to which there are tags, no slots */
#define MH_TABLE_CAPACITY_MAX 0x7ffffff0u
#define MH_TABLE_LOG2_MIN 4
#define MH_TABLE_LOG2_MAX 32
#define MH_SLOT_EMPTY 0u
#define MH_SLOT_REMOVED 1u
#define MH_SLOT_FIRST 2u

/* ---- set ---------------------------------------------------------------------
   A dict whose values are all MH_CONST_NONE: the same table, the same stores. */

/* ---- counter -----------------------------------------------------------------
   A dict: the same table, the same stores. Its values are counts, mostly: any value may be one. */

/* ---- list --------------------------------------------------------------------
   The items are words[start] to words[start + count - 1].

   Stores, in order; * publishes
     append, prepend in room   the new words, * range
     remove at an end          * range, then the values' counts go down
     replace                   * the word, then the old value's count goes down
     anything else             a new items block, * container.part, then the old is freed */
typedef struct mh_items_block {
  uint64_t head;    /* 0 length: capacity. Constant */
  uint64_t range;   /* 8 bits 0-31 count, 32-63 start */
  uint64_t words[]; /* 16 */
} mh_items_block;

#define MH_LIST_MAX 0x7ffffff0u
#define MH_DEQUE_LIMIT_MAX ((uint64_t)1 << 63)

/* ---- deque -------------------------------------------------------------------
   A list's items, and a limit of them in the container.

   Stores, in order; * publishes
     push in room, rotate in room   the new words outside the range, * range, which leaves out
                                    what the limit drops at the other end, then that is counted
                                    down
     anything else                  as of a list */

/* ---- sorted dict --------------------------------------------------------------
   A tree of nodes, each in one block and referred to once, all leaves at level 0. A leaf has entries, any
   other node branches: a child, of the level below, and how many entries lie below that. A node has
   MH_NODE_PLACES places for them, and `order` tells which are in use, in the order of the keys:

     bits 0-3 how many, then 15 numbers of four bits, each of 0 to 14 once: places in use, in order, then
     the others

   All keys below a branch are equal to its key or above it, and below the next branch's. The first
   branch's key is not looked at. The key of a branch is a reference of its own, to what need be no
   entry's key any more. No node but one that is being taken out is empty.

   While `pending` is set, counts of branches may be wrong: readers count leaves, and the next writer
   puts the counts right before it does anything else. The entries are as the leaves have them at any time.

   Stores, in order; * publishes
     insert   the entry in a place not in use, pending = 1, * leaf.order, counts of the branches above,
              pending = 0
     insert the first   a new leaf, * container.part
     replace  * entry.value, then the old value's count goes down
     remove   pending = 1, * leaf.order, counts, pending = 0, then the counts of key and value go down
     remove the last in a node   the same, but the node goes with it: * order of the node above, or
              container.part = 0
     split, merge   new nodes, branches to them in places not in use, * order of the node above, by which
              these come and those of the old nodes go; then the old are freed. Of the top node: a new one
              above, * container.part. Entries stay what they are
     lose a top node that has one branch   * container.part
     clear    * container.part = 0, then all counts go down
     fill in order, while nobody else has it   each entry behind the last one, * leaf.order; or a new leaf
              with it, a branch to that, * order of the node above. Where this is full a node is made beside
              it in the same way, or pending = 1 and a new top node, * container.part. The count of a branch
              is stored when the next one comes, or in the end, then pending = 0

   Keys are in the order that Python gives them: numbers by value, of whatever type; str by code points,
   bytes by bytes; dates, times, timedeltas, UUIDs, aware ones by instant; tuples by their first items that
   differ, else the shorter first. Of two that Python cannot compare only one is in a tree, NaNs in none. */
#define MH_NODE_PLACES 15
#define MH_NODE_LEVELS 24 /* splits leave 7 branches a node, or more: no heap has so many entries */

typedef struct mh_branch {
  uint64_t key;   /*  0 value */
  uint64_t child; /*  8 offset of a node */
  uint64_t count; /* 16 of entries below */
} mh_branch;

typedef struct mh_node_block {
  uint64_t head;  /* 0 length: level. Constant */
  uint64_t order; /* 8 */
  /* 16 mh_entry[MH_NODE_PLACES], or mh_branch[MH_NODE_PLACES] */
} mh_node_block;

/* ---- array -------------------------------------------------------------------
   Items of equal size, in C order; it grows and shrinks in its first dimension, whose elements are
   rows. container.word is a tuple that never changes:

     type       a str: the dtype as the header of a .npy file has it ("descr"): "<f8", "|S5", or
                the Python literal of a list of fields
     itemsize   bytes of an item, at least 1
     shape      what is behind the first dimension, an int each, 0 or more; of an array without
                dimensions: None. At most MH_ARRAY_DIMENSIONS with the first

   An array without dimensions has one row. A row has `stride` bytes, the product of itemsize and
   shape; where that is 0, one byte is kept for it.

   Rows of equal size, one behind the other, in a part that begins at a multiple of 64. What is behind
   those in use means nothing.

   Stores, in order; * publishes
     append, extend in room    the new rows, * count
     remove at the end         * count
     an item                   the item: whoever has the address stores there as he likes
     anything else             new cells, * container.part, then the old are freed */
typedef struct mh_cells_block {
  uint64_t head;         /*  0 length 0. Constant, as all below but count */
  uint64_t count;        /*  8 rows in use */
  uint64_t capacity;     /* 16 rows */
  uint64_t stride;       /* 24 bytes a row */
  uint64_t schema;       /* 32 of a record list: the number of its schema; of an array: zero */
  uint64_t unused[3];    /* 40 zero */
  uint8_t data[];        /* 64 */
} mh_cells_block;

#define MH_CELLS_ALIGNMENT 64u
#define MH_ARRAY_DIMENSIONS 32u

/* ---- schemas -----------------------------------------------------------------
   What the fields of records are. superblock.registry is the offset of a list of tuples, one a
   schema, whose place in the list is its number:

     name of the class, then for each field, in the order of the class: its name, its type; all str

   A type is the name of a class, or several with " | " between them. It says how the field is
   stored, in a row of bytes:

     "int"     8 bytes, two's complement
     "float"   8 bytes, binary64
     "bool"    1 byte, 0 or 1
     other     8 bytes, a value

   First stand all fields of 8 bytes, then all of 1, both in the order of the class, from the row's
   start without gaps; then zeros to a multiple of 8. A schema never changes and is never removed.

   Stores, in order; * publishes
     add      the tuple, complete, then as a list's append; the first: an empty list, * registry */
#define MH_SCHEMAS_MAX 65536u       /* in a heap */
#define MH_SCHEMA_FIELDS_MAX 4096u  /* in a schema */

/* ---- record ------------------------------------------------------------------
   One block, at least as long as a container, so that it has room for what freeing needs:

     birth                      the number, the fields follow in this block
     MH_BIRTH_MOVED | offset    of a block MH_TYPE_FIELDS, which has the number and the fields, by
                                another schema; what stands behind `birth` here means nothing
     MH_BIRTH_DYING | offset    being freed: the next such record; the fields follow
     0                          being freed: refers to nothing

   Stores, in order; * publishes
     a field    * the field, by one store of its size; then the old value's count goes down
     migrate    a new fields block, into which the old values are moved without being counted;
                * birth; then the counts of values that have no field any more go down, and a
                fields block there was before is freed */
typedef struct mh_record_block {
  uint64_t head;  /*  0 length: number of the schema */
  uint64_t birth; /*  8 as above; in a fields block always the number */
  uint64_t row[]; /* 16 the fields; of a record that has moved and is being freed: scratch */
} mh_record_block;

#define MH_BIRTH_MOVED ((uint64_t)1 << 63)
#define MH_BIRTH_DYING ((uint64_t)1 << 62)

/* ---- record list -------------------------------------------------------------
   Rows of one schema, one behind the other, in a part that begins at a multiple of 64, and is there also
   if there are none. What is behind those in use means nothing.

   Stores, in order; * publishes
     append in room            the new rows, * count
     remove at the end         * count, then the counts of the rows' values go down
     a field                   as of a record
     anything else             a new block, * container.part, then the old is freed */

/* ---- hashing -----------------------------------------------------------------
   Equal keys have equal hashes: 1 == 1.0 == True, -0.0 == 0. With s0, s1 = identity.hash_seed,
   and fold(a, b) = the upper half of the 128-bit product a*b, exclusive-or its lower half:

     a word w (None, inline str, inline bytes)   fold(w ^ s0, (s1 ^ MH_HASH_WORD) | 1)
     a number x                                  fold(h ^ s0, (s1 ^ MH_HASH_NUMBER) | 1), where h is
        x modulo P = 2^61 - 1 with x's sign: for m * 2^e, m * 2^(e mod 61); infinity: 314159; a NaN: 0
        (Python's own rule for numbers, so that types to come can be equal to these)
     n bytes of other text (of str and bytes), little-endian reads rN of N bytes, h = s0 ^ MH_HASH_TEXT:
        n > 16: for each 16 bytes at i with i + 16 < n: h = fold(r8(i) ^ s1, r8(i + 8) ^ h)
        then (x, y) = (r8(n - 16), r8(n - 8)) if n >= 16; (r8(0), r8(n - 8)) if n >= 8;
                      (r4(0), r4(n - 4)) if n >= 4; else (r1(0) | r1(n/2) << 8 | r1(n-1) << 16, 0)
        hash = fold(fold(x ^ s1, y ^ h) ^ n, s0 | 1)

   NaNs are equal when their bits are. A complex whose imaginary part is 0, a DECIMAL, a FRACTION
   are the int or binary64 that is equal to them, if there is one.

   Any other key has a code, words w1 to wn, and is equal to those with the same code:

     h = s0 ^ MH_HASH_CODE, then for each word h = fold(h ^ wi, (s1 ^ MH_HASH_CODE) | 1)
     hash = fold(h ^ n, s0 | 1)

   The code of a value, H(code, number) being the word number << 8 | code << 4 | 15:

     None, inline str and bytes, what is equal to an int of 60 bits   the word
     a longer int   H(MH_CODE_INT, words), its words
     a float        H(MH_CODE_FLOAT, 0), binary64
     longer text    H(MH_CODE_STR or MH_CODE_BYTES, bytes a character), characters, its bytes
                    padded with zeros
     complex        H(MH_CODE_COMPLEX, 0), the codes of both parts as numbers
     a fraction     H(MH_CODE_RATIONAL, 0), the codes of numerator and denominator
     tuple          H(MH_CODE_TUPLE, items), their codes
     frozenset      H(MH_CODE_FROZENSET, elements), their codes in the order of the hashes of these
     extended       H(MH_CODE_EXTENDED, kind), the codes of: RANGE length, start unless empty, step
                    if longer than 1; TIME, DATETIME instant, or if that is None, None and the
                    first word; PATH of the Posix flavours the str; DATE, TIMEDELTA, UUID, ENUM all
                    words. Others are no keys

   A code has at most MH_CODE_MAX words; what it is the code of, at most MH_CODE_DEPTH levels. */
#define MH_CODE_INT 1
#define MH_CODE_FLOAT 2
#define MH_CODE_STR 3
#define MH_CODE_BYTES 4
#define MH_CODE_COMPLEX 5
#define MH_CODE_RATIONAL 6
#define MH_CODE_TUPLE 7
#define MH_CODE_FROZENSET 8
#define MH_CODE_EXTENDED 9
#define MH_CODE_MAX ((uint64_t)1 << 20)
#define MH_CODE_DEPTH 200
#define MH_HASH_CODE 0x94d049bb133111ebu
#define MH_HASH_WORD 0x9e3779b97f4a7c15u
#define MH_HASH_NUMBER 0xbf58476d1ce4e5b9u
#define MH_HASH_TEXT 0xd1b54a32d192ed03u
#define MH_HASH_PRIME (((uint64_t)1 << 61) - 1)
#define MH_HASH_INFINITY 314159

/* ---- what the compiler can check ---------------------------------------------- */
MH_FREEZE(mh_float_block, bits, 8);
static_assert(sizeof(mh_float_block) == 16, "mh_float_block");
MH_FREEZE(mh_int_block, limbs, 8);
MH_FREEZE(mh_text_block, text, 8);
MH_FREEZE(mh_complex_block, imag, 16);
static_assert(sizeof(mh_complex_block) == 24, "mh_complex_block");
MH_FREEZE(mh_compound_block, kind, 8);
MH_FREEZE(mh_compound_block, words, 16);
MH_FREEZE(mh_container, birth, 8);
MH_FREEZE(mh_container, part, 16);
MH_FREEZE(mh_container, reserved, 24);
MH_FREEZE(mh_container, limit, 24);
MH_FREEZE(mh_container, pending, 24);
static_assert(sizeof(mh_container) == 32, "mh_container");
MH_FREEZE(mh_entry, value, 8);
static_assert(sizeof(mh_entry) == 16, "mh_entry");
MH_FREEZE(mh_table_block, counts, 8);
MH_FREEZE(mh_table_block, pending, 16);
MH_FREEZE(mh_table_block, tags, 24);
static_assert(sizeof(mh_table_block) == 32, "mh_table_block");
MH_FREEZE(mh_items_block, range, 8);
MH_FREEZE(mh_items_block, words, 16);
MH_FREEZE(mh_container, word, 24);
MH_FREEZE(mh_record_block, birth, 8);
MH_FREEZE(mh_record_block, row, 16);
MH_FREEZE(mh_cells_block, count, 8);
MH_FREEZE(mh_cells_block, capacity, 16);
MH_FREEZE(mh_cells_block, stride, 24);
MH_FREEZE(mh_cells_block, schema, 32);
MH_FREEZE(mh_cells_block, unused, 40);
MH_FREEZE(mh_cells_block, data, 64);
static_assert(sizeof(mh_cells_block) == MH_CELLS_ALIGNMENT, "mh_cells_block");
MH_FREEZE(mh_branch, child, 8);
MH_FREEZE(mh_branch, count, 16);
static_assert(sizeof(mh_branch) == 24, "mh_branch");
MH_FREEZE(mh_node_block, order, 8);
static_assert(sizeof(mh_node_block) == 16, "mh_node_block");
static_assert(MH_TYPE_SHIFT == MH_COUNT_BITS, "head");

#endif
