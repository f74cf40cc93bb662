/* objects_records.h: what is shared by the files of the binding that know records:

     objects_shape.c    what the fields of a class are: checking and converting values
     objects_map.c      the fields of a class in a heap: schemas by number, and records of old ones
     objects_record.c   records: RecordTwin and its attributes
     objects_rows.c     record lists: RowsTwin, and its rows

   A record in Python is of a class derived from _core.RecordTwin: either plain, its values in slots,
   heap_obj NULL; or the twin of a record in a heap, its slots empty; or a row of a record list. */
#ifndef MHEAP_EXT_OBJECTS_RECORDS_H
#define MHEAP_EXT_OBJECTS_RECORDS_H

#include "objects.h"
#include "objects/fields.h"
#include "objects/rows.h"

/* ---- shapes ---- */

typedef struct mhx_field {
  PyObject *name;     /* str, interned */
  PyObject *type;     /* str: as a schema has it */
  PyObject *accepts;  /* tuple of classes; NULL: anything */
  PyObject *initial;  /* the default; NULL: none */
  PyObject *factory;  /* makes the default; NULL: it does not */
  Py_ssize_t slot;    /* offset in a plain record; 0: none */
  mh_field_kind kind;
} mhx_field;

typedef struct mhx_shape {
  PyObject_HEAD
  PyObject *cls;   /* of its records; refers back */
  PyObject *name;  /* str: as a schema has it */
  bool frozen, keywords_only;
  bool has_post_init;
  bool unfinished; /* types of fields are still to be found: mheap.records.finish */
  Py_ssize_t count;
  mhx_field *fields;
  uint64_t space, undone; /* of the heap that it was last stored in: */
  const mh_schema *schema;
} mhx_shape;

extern PyType_Spec mhx_rows_twin_spec, mhx_rows_iter_spec, mhx_column_spec;
extern PyType_Spec mhx_shape_spec, mhx_field_spec, mhx_record_spec;

/* The shape of a class of records; borrowed. NULL with an exception. */
mhx_shape *mhx_shape_of(PyTypeObject *type);
/* What a field keeps of a value: of exactly its type. New reference; NULL with an exception. */
PyObject *mhx_field_fit(mhx_shape *shape, Py_ssize_t index, PyObject *value);
/* Number of a name; -1: there is none, without an exception. */
Py_ssize_t mhx_shape_find(const mhx_shape *shape, PyObject *name);
/* The default of a field, new; NULL with an exception, also if it has none. */
PyObject *mhx_field_default(mhx_shape *shape, Py_ssize_t index);
/* Types that were not known yet are found. 0, or -1 with an exception. May run Python code. */
int mhx_shape_finish(mhx_shape *shape);

/* ---- maps ---- */

typedef enum mhx_how { /* the first as mh_field_kind */
  MHX_AS_WORD,
  MHX_AS_INT,
  MHX_AS_FLOAT,
  MHX_AS_BOOL,
  MHX_INT_AS_FLOAT,
  MHX_AS_DEFAULT, /* it is not stored */
} mhx_how;

typedef struct mhx_place {
  uint32_t offset; /* in the row */
  mhx_how how;
} mhx_place;

/* Where records of a schema have the fields of a class. Belongs to a space, until the next rollback. */
struct mhx_map {
  mhx_map *next;       /* of the same schema */
  mhx_shape *shape;    /* a reference */
  const mh_schema *schema;
  uint64_t classes;    /* how many shapes there were when its class was found */
  bool is_own;         /* the schema is that of the class */
  uint32_t lost_count;
  uint32_t *lost;      /* offsets of values that are no fields any more; in the same memory */
  mhx_place places[];
};

/* The map of a schema for a class; NULL: the class that is known by the schema's name. May run Python code;
   the space is the same if this succeeds. Borrowed; NULL with an exception. */
const mhx_map *mhx_map_for(mhx_space *space, uint32_t number, mhx_shape *shape);
/* The schema of a class in this heap, which is added if need be. NULL with an exception. */
const mh_schema *mhx_schema_for(mhx_space *space, mhx_shape *shape);
/* Makes the record one of its class's own schema. 0, or -1 with an exception. */
int mhx_record_migrate(mhx_space *space, mhx_twin *twin);

/* The same of all rows, which were just looked at. */
int mhx_rows_convert(mhx_space *space, mhx_twin *list, const mh_rows *rows);

/* ---- rows ---- */

static inline bool mhx_is_row(PyObject *record) {
  const mhx_twin *twin = (mhx_twin *)record;
  return twin->heap_obj != NULL && twin->of.row.type == MH_TYPE_RECORDS;
}
PyObject *mhx_row_read(PyObject *row, Py_ssize_t index);
/* What mhx_field_fit made. 0, or -1 with an exception. */
int mhx_row_store(PyObject *row, mhx_shape *shape, Py_ssize_t index, PyObject *fit);
mhx_shape *mhx_row_shape(PyObject *row);

/* ---- records ---- */

static inline bool mhx_is_plain(PyObject *record) { return ((mhx_twin *)record)->heap_obj == NULL; }
static inline PyObject **mhx_slot(PyObject *record, const mhx_field *field) {
  return (PyObject **)((char *)record + field->slot);
}
/* The shape of a record; of a twin of a class that is not known, what the schema says. New reference. */
mhx_shape *mhx_record_shape(PyObject *record);
/* The values of all fields. A tuple. */
PyObject *mhx_record_values(PyObject *record);
/* Finds fields and map of the record behind a twin. 0, or -1 with an exception. */
int mhx_record_look(mhx_space *space, mhx_twin *twin);
static inline int mhx_record_open(mhx_space *space, mhx_twin *twin) {
  if (twin->of.record.map != NULL && mh_fields_is_known(&twin->of.record.fields)) return 0;
  return mhx_record_look(space, twin);
}
/* What stands at a place of a row. New reference; NULL with an exception. */
PyObject *mhx_place_read(mhx_space *space, const mhx_map *map, Py_ssize_t index, const char *row);
/* The bits of a value that mhx_field_fit made, of a field that is no word. 0, or -1 with an exception: a
   plain record may have come by another value since, or by none. */
int mhx_field_bits(mh_field_kind kind, PyObject *value, uint64_t *bits);

#endif
