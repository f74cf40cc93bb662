/* sorted_tree.h: what sorted.c, sorted_build.c and sorted_change.c share. Takes no lock. */
#ifndef MHEAP_OBJECTS_SORTED_TREE_H
#define MHEAP_OBJECTS_SORTED_TREE_H

#include "sorted.h"

/* The container and its top node; `offset` and `count` 0: it is empty. */
mheap_err mh_tree_open(mh_sorted *sorted, mh_container **container, mh_node *top);
mheap_err mh_tree_empty_node(mh_space *space, const mh_node *node);
/* The child of a branch, which has something in it. */
mheap_err mh_tree_child(mh_space *space, const mh_node *node, unsigned position, mh_node *child);
/* From the top node: the place before the first entry whose key is not less, or is more, and its leaf.
   *equal: is the key there? */
mheap_err mh_tree_find(mh_space *space, const mh_node *top, const mh_key *key, bool more, mh_spot *place,
                       mh_node *leaf, bool *equal);
/* Puts right what a killed writer left. */
mheap_err mh_tree_recount(mh_space *space, mh_container *container, const mh_node *top);

/* Of one that is built: is the key above all that are there? Then it is added. */
bool mh_build_takes(const mh_sorted *sorted, const mh_key *key);
mheap_err mh_build_add(mh_sorted *sorted, const mh_key *key, uint64_t value);

#endif
