/* objects_array.h: what arrays' binding offers to the other files of the object layer's. Calls objects.h. */
#ifndef MHEAP_EXT_OBJECTS_ARRAY_H
#define MHEAP_EXT_OBJECTS_ARRAY_H

#include "objects.h"

extern PyType_Spec mhx_array_twin_spec, mhx_array_bytes_spec;

/* A new array of (type, itemsize, shape, source), which mheap/arrays.py made of something; it has one
   reference. The heap is registered as in use: asking the source may run Python code. 0, or -1 with an
   exception. */
int mhx_array_make(mhx_space *space, PyObject *parts, uint64_t *word);

#endif
