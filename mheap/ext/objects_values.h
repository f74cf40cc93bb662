/* objects_values.h: what is shared by the files of the object layer's binding that know values
   which are no plain scalars:

     objects_compound.c   compounds to Python
     objects_tree.c       keys that are no plain scalars
     objects_values.c     the Python functions that know the types of extended values
     objects_times.c      dates and times without these

   Called by objects_convert.c, objects_graph.c, objects_dict.c. */
#ifndef MHEAP_EXT_OBJECTS_VALUES_H
#define MHEAP_EXT_OBJECTS_VALUES_H

#include "objects.h"
#include "objects/code.h"
#include "objects/compound.h"

/* A compound in Python. May run Python code, at its end: a caller that goes on must not rely on what it
   read before; the space is the same if this succeeds. NULL with an exception. */
PyObject *mhx_compound_of(mhx_space *space, uint64_t word);

/* The elements of a set, plain or persistent, as a tuple, in an order that depends on them alone. May run
   Python code. NULL with an exception. */
PyObject *mhx_in_order(mhx_space *space, PyObject *set);

/* ---- mheap/_values.py ---- */

/* In mhx_state.object_types, from the end. */
enum {
  MHX_TO_STATE = MHX_OBJECT_TYPES - 3, /* to_state(object) -> (kind, words) or None */
  MHX_TO_KEY,                          /* to_key(object) -> (kind, words, code) or None */
  MHX_FROM_STATE,                      /* from_state(kind, words, reads, path, offset) -> object */
};
/* Borrowed; imports the module the first time. NULL with an exception. */
PyObject *mhx_values_function(mhx_state *state, int which);
/* For an object that may be of an extended type: 1: *kind, *words (a tuple, owned); 0: it is of none; -1. */
int mhx_to_state(mhx_state *state, PyObject *object, mh_kind_code *kind, PyObject **words);
/* The words of a date, time, datetime or timedelta, owned, and from words of a kind; NULL, without an
   exception: the Python functions are to be asked. */
PyObject *mhx_time_words(PyObject *object, mh_kind_code *kind);
/* The words of one as a key, and what its code is of, both owned. 1; 0: the Python functions are to be
   asked; -1: an exception. */
int mhx_time_key(PyObject *object, mh_kind_code *kind, PyObject **words, PyObject **code);
PyObject *mhx_time_of(mh_kind_code kind, PyObject *words);
/* Can the elements of a frozenset be hashed again when it is read? 0, or -1 with an exception. */
int mhx_frozenset_fits(PyObject *set);

/* ---- keys that are no plain scalars ---- */

typedef struct mhx_tree mhx_tree;
/* What a key is made of. May run Python code. `exact`: to be stored; else to be looked up. 1: *tree, to be
   freed; 0: of a type that no key has; -1: an exception. */
int mhx_tree_new(mhx_state *state, PyObject *object, bool exact, mhx_tree **tree);
void mhx_tree_free(mhx_tree *tree);
/* The key, to be ended with mhx_key_end. Runs no Python code. 1, or -1 with an exception. */
int mhx_tree_key(mhx_space *space, mhx_tree *tree, mhx_key *key);
/* Inserts or replaces; the value is the dict's if that succeeds. Runs no Python code. 0, or -1 with an
   exception. */
int mhx_tree_set(mhx_space *space, mhx_of *of, mhx_tree *tree, uint64_t value, PyObject *object);
/* dict[key] = value for such a key. */
int mhx_dict_set_tree(mhx_twin *twin, PyObject *key, PyObject *value);

#endif
