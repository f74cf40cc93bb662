/* objects_convert.c: see objects.h. Between Python's scalars and the heap's values. */
#include "objects_values.h"

/* ---- values to Python ---- */

#define NOT_ASCII 0x8080808080808080u

/* As PyUnicode_FromKindAndData, which takes longer to look at short text. */
static PyObject *str_of_latin(const uint8_t *at, uint64_t length) {
  uint64_t all = 0, i = 0;
  for (; i + 8 <= length; i += 8) all |= mh_read_8(at + i);
  for (; i < length; i++) all |= at[i];
  PyObject *str = PyUnicode_New((Py_ssize_t)length, all & NOT_ASCII ? 0xff : 0x7f);
  if (str != NULL) memcpy(PyUnicode_1BYTE_DATA(str), at, length);
  return str;
}

static PyObject *str_of_text(mhx_space *space, uint64_t word, const mh_text *text) {
  if (text->kind == 1 && text->length > 1) return str_of_latin(text->data, text->length);
  if (text->kind == 4 && !mh_text_is_unicode(text)) {
    mh_corrupt(&space->core, mh_word_offset(word), "a str with a character above U+10FFFF", 0x10ffff, 0);
    return mhx_failed(space), NULL;
  }
  return PyUnicode_FromKindAndData((int)text->kind, text->data, (Py_ssize_t)text->length);
}

/* Beside a writer text may change between looking at its characters and copying them, and
   Python relies on what was seen: it is copied first. */
static PyObject *str_of_moving(mhx_space *space, uint64_t word, mh_text *text) {
  void *copy = PyMem_Malloc(text->length * text->kind + 1);
  if (copy == NULL) return PyErr_NoMemory();
  memcpy(copy, text->data, text->length * text->kind);
  text->data = copy;
  PyObject *str = str_of_text(space, word, text);
  PyMem_Free(copy);
  return str;
}

static PyObject *str_of(mhx_space *space, uint64_t word) {
  mh_text text;
  if (mh_text_read(&space->core, word, &text)) return mhx_failed(space), NULL;
  if (space->core.region->unsafe && mh_word_is_ref(word)) return str_of_moving(space, word, &text);
  return str_of_text(space, word, &text);
}

static PyObject *name_of(mhx_space *space, uint64_t word) {
  uint8_t characters[MH_NAME_MAX];
  unsigned length = mh_name_read(word, characters);
  if (length == 0) return str_of(space, word); /* which says what is wrong */
  PyObject *str = PyUnicode_New(length, 0x7f);
  if (str != NULL) memcpy(PyUnicode_1BYTE_DATA(str), characters, length);
  return str;
}

static PyObject *bytes_of(mhx_space *space, uint64_t word) {
  mh_text text;
  if (mh_text_read(&space->core, word, &text)) return mhx_failed(space), NULL;
  return PyBytes_FromStringAndSize(text.data, (Py_ssize_t)text.length);
}

static PyObject *int_of(mhx_space *space, uint64_t word) {
  const uint64_t *limbs;
  uint64_t count;
  if (mh_limbs_read(&space->core, word, &limbs, &count)) return mhx_failed(space), NULL;
  if (count == 1) return PyLong_FromLongLong((long long)limbs[0]);
  return _PyLong_FromByteArray((const unsigned char *)limbs, 8 * count, 1, 1);
}

static PyObject *float_of(mhx_space *space, uint64_t word) {
  uint64_t bits;
  if (mh_float_read(&space->core, word, &bits)) return mhx_failed(space), NULL;
  return PyFloat_FromDouble(mh_bits_float(bits));
}

static PyObject *constant_of(mhx_space *space, uint64_t word) {
  switch (word) {
    case MH_CONST_NONE: Py_RETURN_NONE;
    case MH_CONST_FALSE: Py_RETURN_FALSE;
    case MH_CONST_TRUE: Py_RETURN_TRUE;
    default: mh_corrupt(&space->core, 0, "a value", MH_CONST_NONE, word); return mhx_failed(space), NULL;
  }
}

static PyObject *bytearray_of(mhx_space *space, uint64_t word) {
  mh_text text;
  if (mh_text_read(&space->core, word, &text)) return mhx_failed(space), NULL;
  return PyByteArray_FromStringAndSize(text.data, (Py_ssize_t)text.length);
}

static PyObject *complex_of(mhx_space *space, uint64_t word) {
  uint64_t real, imag;
  if (mh_complex_read(&space->core, word, &real, &imag)) return mhx_failed(space), NULL;
  return PyComplex_FromDoubles(mh_bits_float(real), mh_bits_float(imag));
}

/* The first one imports its type, which runs Python code: the heap stays, but the object may go meanwhile. */
static PyObject *late_twin(mhx_space *space, uint64_t word, mh_type type) {
  mhx_state *state = mhx_state_of_heap(space->heap_obj);
  if (mhx_twin_type_is_ready(state, type)) return mhx_twin_for(space, word);
  mhx_use use;
  mhx_handle *handle = (mhx_handle *)space->heap_obj;
  uint64_t birth = ((const mh_container *)mh_at(space->core.region, mh_word_offset(word)))->birth;
  if (mhx_use_begin(handle, &use) == NULL) return NULL;
  int ready = mhx_twin_type_make_ready(state, type);
  mhx_use_end(handle, &use);
  mh_container *container;
  if (ready < 0) return NULL;
  if (mh_container_at(&space->core, mh_word_offset(word), type, birth, &container))
    return mhx_failed(space), NULL;
  return mhx_twin_for(space, word);
}

static PyObject *other_of(mhx_space *space, uint64_t word) {
  const uint64_t *head = mh_object_at(&space->core, word);
  if (head == NULL) return mhx_failed(space), NULL;
  switch (mh_head_type(*head)) {
    case MH_TYPE_COMPLEX: return complex_of(space, word);
    case MH_TYPE_BYTEARRAY: return bytearray_of(space, word);
    case MH_TYPE_DEQUE: return mhx_twin_for(space, word);
    case MH_TYPE_COUNTER:
    case MH_TYPE_SORTED:
    case MH_TYPE_ARRAY:
    case MH_TYPE_RECORDS: return late_twin(space, word, mh_head_type(*head));
    case MH_TYPE_FROZENSET:
    case MH_TYPE_EXTENDED: return mhx_compound_of(space, word);
    default: break;
  }
  mh_corrupt(&space->core, mh_word_offset(word), "the type of an object", MH_TYPE_EXTENDED,
             mh_head_type(*head));
  return mhx_failed(space), NULL;
}

PyObject *mhx_from_any_word(mhx_space *space, uint64_t word) {
  switch (mh_word_tag(word)) {
    case MH_TAG_INT: return PyLong_FromLongLong(mh_word_to_int(word));
    case MH_TAG_CONST: return constant_of(space, word);
    case MH_TAG_NAME: return name_of(space, word);
    case MH_TAG_STR:
    case MH_TAG_STR_REF: return str_of(space, word);
    case MH_TAG_BYTES:
    case MH_TAG_BYTES_REF: return bytes_of(space, word);
    case MH_TAG_FLOAT:
    case MH_TAG_FLOAT_REF: return float_of(space, word);
    case MH_TAG_INT_REF: return int_of(space, word);
    case MH_TAG_DICT_REF:
    case MH_TAG_LIST_REF:
    case MH_TAG_SET_REF:
    case MH_TAG_RECORD_REF: return mhx_twin_for(space, word);
    case MH_TAG_TUPLE_REF: return mhx_compound_of(space, word);
    case MH_TAG_OTHER_REF: return other_of(space, word);
    default: break;
  }
  mh_corrupt(&space->core, 0, "a value's tag", MH_TAG_LIST_REF, word);
  return mhx_failed(space), NULL;
}

PyObject *mhx_checked_key(mhx_space *space, uint64_t word) {
  mh_key key;
  if (mh_key_of_word(&space->core, word, &key)) return mhx_failed(space), NULL;
  return mhx_from_word(space, word);
}

/* ---- big ints ---- */

static int long_as_bytes(PyObject *object, uint64_t *limbs, size_t count) {
#if PY_VERSION_HEX >= 0x030D0000
  Py_ssize_t bytes = (Py_ssize_t)(8 * count);
  return PyLong_AsNativeBytes(object, limbs, bytes, Py_ASNATIVEBYTES_LITTLE_ENDIAN) < 0 ? -1 : 0;
#else
  return _PyLong_AsByteArray((PyLongObject *)object, (unsigned char *)limbs, 8 * count, 1, 1);
#endif
}

/* Two's complement of an int that is beyond 64 bits. PyMem; NULL with an exception. */
static uint64_t *limbs_of(PyObject *object, size_t *count) {
  PyObject *length = PyObject_CallMethod((PyObject *)&PyLong_Type, "bit_length", "O", object);
  if (length == NULL) return NULL;
  size_t bits = PyLong_AsSize_t(length);
  Py_DECREF(length);
  if (bits == (size_t)-1 && PyErr_Occurred()) return NULL;
  *count = bits / 64 + 1;
  uint64_t *limbs = PyMem_Malloc(8 * *count);
  if (limbs == NULL) return PyErr_NoMemory(), NULL;
  if (long_as_bytes(object, limbs, *count) == 0) return limbs;
  PyMem_Free(limbs);
  return NULL;
}

/* ---- keys ---- */

static int ready(PyObject *object) {
#if PY_VERSION_HEX < 0x030C0000
  return PyUnicode_READY(object);
#else
  (void)object;
  return 0;
#endif
}

static int long_key(mhx_space *space, PyObject *object, mhx_key *key) {
  int overflow;
  size_t count;
  long long value = PyLong_AsLongLongAndOverflow(object, &overflow);
  if (overflow == 0) {
    if (value == -1 && PyErr_Occurred()) return -1;
    mh_key_int(&space->core, &key->key, value);
    return 1;
  }
  key->limbs = limbs_of(object, &count);
  if (key->limbs == NULL) return -1;
  mh_key_limbs(&space->core, &key->key, key->limbs, count);
  return 1;
}

int mhx_key_make(mhx_space *space, PyObject *object, mhx_key *key) {
  key->limbs = NULL;
  if (PyUnicode_Check(object)) {
    if (ready(object) < 0) return -1;
    mh_key_text(&space->core, &key->key, MH_TAG_STR_REF, PyUnicode_KIND(object), PyUnicode_DATA(object),
                (uint64_t)PyUnicode_GET_LENGTH(object));
    return 1;
  }
  if (PyBool_Check(object)) return mh_key_bool(&space->core, &key->key, object == Py_True), 1;
  if (PyLong_Check(object)) return long_key(space, object, key);
  if (PyFloat_Check(object)) {
    mh_key_float(&space->core, &key->key, mh_float_bits(PyFloat_AS_DOUBLE(object)));
    return 1;
  }
  if (PyBytes_Check(object)) {
    mh_key_text(&space->core, &key->key, MH_TAG_BYTES_REF, 1, PyBytes_AS_STRING(object),
                (uint64_t)PyBytes_GET_SIZE(object));
    return 1;
  }
  if (object != Py_None) return 0;
  mh_key_word(&space->core, &key->key, MH_CONST_NONE);
  return 1;
}

static int tree_key(mhx_twin *twin, PyObject *object, mhx_key *key, mhx_space **space) {
  mhx_tree *tree;
  int made = mhx_tree_new(mhx_state_of_heap(twin->heap_obj), object, false, &tree);
  if (made < 0 || (made == 0 && PyObject_Hash(object) == -1)) return -1;
  *space = mhx_twin_space(twin);
  if (made == 0) return *space == NULL ? -1 : 0;
  made = *space == NULL ? -1 : mhx_tree_key(*space, tree, key);
  mhx_tree_free(tree); /* may run Python code */
  *space = made < 0 ? NULL : mhx_twin_space(twin);
  if (made > 0 && *space == NULL) mhx_key_end(key);
  return *space == NULL ? -1 : made;
}

/* What is like an int, as numpy's are, is equal to that int. */
static int foreign_key(mhx_twin *twin, PyObject *object, mhx_key *key, mhx_space **space) {
  if (!PyIndex_Check(object)) return tree_key(twin, object, key, space);
  if (PyObject_Hash(object) == -1) return -1;
  PyObject *index = PyNumber_Index(object);
  if (index == NULL) return -1;
  *space = mhx_twin_space(twin);
  int made = *space == NULL ? -1 : mhx_key_make(*space, index, key);
  Py_DECREF(index);
  return made;
}

int mhx_key_find(mhx_twin *twin, PyObject *object, mhx_key *key, mhx_space **space) {
  *space = mhx_twin_space(twin);
  if (*space == NULL) return -1;
  int made = mhx_key_make(*space, object, key);
  return made != 0 ? made : foreign_key(twin, object, key, space);
}

/* ---- scalars ---- */

static int done(mhx_space *space, mheap_err failed) { return failed ? mhx_failed(space) : 1; }

static int long_value(mhx_space *space, PyObject *object, uint64_t *word) {
  int overflow;
  size_t count;
  long long value = PyLong_AsLongLongAndOverflow(object, &overflow);
  if (overflow == 0) return done(space, mh_int_new(&space->core, value, word));
  uint64_t *limbs = limbs_of(object, &count);
  if (limbs == NULL) return -1;
  int result = done(space, mh_limbs_new(&space->core, limbs, count, word));
  PyMem_Free(limbs);
  return result;
}

static int str_value(mhx_space *space, PyObject *object, uint64_t *word) {
  if (ready(object) < 0) return -1;
  return done(space, mh_str_new(&space->core, PyUnicode_KIND(object), PyUnicode_DATA(object),
                                (uint64_t)PyUnicode_GET_LENGTH(object), word));
}

static int rare_value(mhx_space *space, PyObject *object, uint64_t *word) {
  if (PyComplex_CheckExact(object))
    return done(space, mh_complex_new(&space->core, mh_float_bits(PyComplex_RealAsDouble(object)),
                                      mh_float_bits(PyComplex_ImagAsDouble(object)), word));
  if (PyByteArray_CheckExact(object))
    return done(space, mh_bytearray_new(&space->core, PyByteArray_AS_STRING(object),
                                        (uint64_t)PyByteArray_GET_SIZE(object), word));
  return 0;
}

int mhx_scalar(mhx_space *space, PyObject *object, uint64_t *word) {
  if (PyLong_CheckExact(object)) return long_value(space, object, word);
  if (PyUnicode_CheckExact(object)) return str_value(space, object, word);
  if (PyFloat_CheckExact(object))
    return done(space, mh_float_new(&space->core, mh_float_bits(PyFloat_AS_DOUBLE(object)), word));
  if (PyBytes_CheckExact(object))
    return done(space, mh_bytes_new(&space->core, PyBytes_AS_STRING(object),
                                    (uint64_t)PyBytes_GET_SIZE(object), word));
  if (object == Py_None) return *word = MH_CONST_NONE, 1;
  if (object == Py_True) return *word = MH_CONST_TRUE, 1;
  if (object == Py_False) return *word = MH_CONST_FALSE, 1;
  return rare_value(space, object, word);
}

bool mhx_is_storable_key(PyObject *key) {
  if (PyUnicode_CheckExact(key) || PyLong_CheckExact(key) || PyFloat_CheckExact(key)) return true;
  return PyBytes_CheckExact(key) || key == Py_None || PyBool_Check(key);
}

int mhx_entry_failed(mhx_space *space, mheap_err failed, PyObject *key) {
  if (failed != MHEAP_ERR_ARGUMENT) return mhx_failed(space);
  PyErr_Format(PyExc_TypeError,
               "a key of type %.200s has no order with the keys of this sorted dict, or with any",
               Py_TYPE(key)->tp_name);
  return -1;
}

/* What to do instead. */
static const char *advice(PyObject *object, bool as_key) {
  if (as_key) return strcmp(Py_TYPE(object)->tp_name, "decimal.Decimal") == 0
                         ? " of more than 1,000 digits or places, or NaN"
                         : "";
  if (PyObject_HasAttrString((PyObject *)Py_TYPE(object), "__members__"))
    return ": mheap.register_enum() lets heaps hold its members";
  if (PyDict_Check(object)) return ": dict() makes a plain one of it";
  if (PyList_Check(object)) return ": list() makes a plain one of it";
  if (PyTuple_Check(object)) return ": tuple() makes a plain one of it";
  if (PyUnicode_Check(object)) return ": str() makes a plain one of it";
  if (PyFloat_Check(object)) return ": float() makes a plain one of it";
  if (PyIndex_Check(object)) return ": int() makes a plain one of it";
  if (PyObject_CheckBuffer(object)) return ": bytes() or numpy.array() makes a plain copy of it";
  return ": mheap.register() lets heaps hold its class, and mheap.Pickled() a pickle of it";
}

int mhx_cannot_store(PyObject *object, bool as_key) {
  const char *what =
      as_key ? "a key in a heap is None, bool, int, float, complex, str, bytes, tuple or frozenset of keys, "
               "range, date, time, datetime, timedelta, Decimal, Fraction, UUID, a Posix path, or a "
               "registered Enum"
             : "a heap holds None, bool, int, float, complex, str, bytes, bytearray, tuple, frozenset, "
               "range, date, time, datetime, timedelta, Decimal, Fraction, UUID, paths, registered types "
               "and Enums, Pickled, dict, list, set, deque, Counter, mheap.SortedDict, Record and "
               "RecordList, numpy.ndarray and array.array";
  PyErr_Format(PyExc_TypeError, "%s, of exactly that type, not %.200s%s", what, Py_TYPE(object)->tp_name,
               advice(object, as_key));
  return -1;
}
