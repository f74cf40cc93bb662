/* sorted.h: sorted dicts. Owns the operations on one and the order of their stores (layout.h, "sorted
   dict"). Calls node.h, order.h, space.h. Takes no lock.

   An mh_sorted is a handle, as an mh_dict is; and what goes in and comes out are words as there. Where
   Python cannot compare the key with one that it meets, or has no order for its type, calls return
   MHEAP_ERR_ARGUMENT without setting an error; those that only look for a key, MHEAP_ERR_NOT_FOUND. */
#ifndef MHEAP_OBJECTS_SORTED_H
#define MHEAP_OBJECTS_SORTED_H

#include "node.h"
#include "order.h"

/* One that is filled in the order of its keys. */
typedef struct mh_sorted_build {
  unsigned levels;               /* 0: nothing is there */
  mh_node nodes[MH_NODE_LEVELS]; /* the last of each */
} mh_sorted_build;

typedef struct mh_sorted {
  mh_space *space;
  uint64_t offset;
  uint64_t birth;
  mh_type type;  /* SORTED */
  bool writable; /* confirmed to be a block in use */
  uint64_t changes; /* by this handle, but for replacing values: spots are good for none of them */
  uint64_t *replaced; /* as a dict's */
  mh_sorted_build *build; /* NULL: keys are looked for */
} mh_sorted;

mheap_err mh_sorted_at(mh_space *space, uint64_t offset, mh_sorted *sorted);
mheap_err mh_sorted_new(mh_space *space, mh_sorted *sorted);

mheap_err mh_sorted_length(mh_sorted *sorted, uint64_t *length);
mheap_err mh_sorted_get(mh_sorted *sorted, const mh_key *key, uint64_t *value);
/* Inserts or replaces. */
mheap_err mh_sorted_set(mh_sorted *sorted, const mh_key *key, uint64_t value);
mheap_err mh_sorted_delete(mh_sorted *sorted, const mh_key *key);
/* The entry of that number, which must be this one. MHEAP_ERR_NOT_FOUND: there is another, or none. */
mheap_err mh_sorted_delete_index(mh_sorted *sorted, uint64_t index, const mh_entry *entry);
mheap_err mh_sorted_clear(mh_sorted *sorted);

/* From here to the end only mh_sorted_set is called, with this handle, on what is empty yet and nobody else
   has. As long as each key is above all before, none is looked for. */
void mh_sorted_build_begin(mh_sorted *sorted, mh_sorted_build *build);
void mh_sorted_build_end(mh_sorted *sorted);

/* ---- places ---- */

/* Between two entries: the way from the top node to a leaf, and a position in each node. Good until the next
   change. */
typedef struct mh_spot {
  unsigned levels;                  /* 0: of an empty one */
  uint64_t node[MH_NODE_LEVELS];    /* by level */
  uint8_t position[MH_NODE_LEVELS]; /* in a leaf that of the entry behind, or their count */
} mh_spot;

/* Before the first entry whose key is not less, or is more. */
mheap_err mh_sorted_seek(mh_sorted *sorted, const mh_key *key, bool more, mh_spot *place);
/* Before entry number `index`, or behind the last. */
mheap_err mh_sorted_seek_index(mh_sorted *sorted, uint64_t index, mh_spot *place);
/* How many entries stand before it. */
mheap_err mh_sorted_index(mh_sorted *sorted, const mh_spot *place, uint64_t *index);
/* The entry behind the place, which goes on behind that, or before it. MHEAP_ERR_NOT_FOUND: there is none. */
mheap_err mh_sorted_next(mh_sorted *sorted, mh_spot *place, mh_entry *entry);
mheap_err mh_sorted_previous(mh_sorted *sorted, mh_spot *place, mh_entry *entry);

#endif
