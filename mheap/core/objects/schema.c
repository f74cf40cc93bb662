/* schema.c: see schema.h. */
#include "schema.h"

#include <pthread.h>

#include "../os.h"
#include "../reader.h"
#include "compound.h"

#define CHUNK 256

typedef _Atomic(mh_schema *) entry;

struct mh_schemas {
  pthread_mutex_t lock; /* who adds */
  _Atomic uint64_t epoch; /* one more with each rollback */
  mh_schema *retired;
  _Atomic(entry *) chunks[MH_SCHEMAS_MAX / CHUNK];
};

/* ---- what is kept ---- */

static void free_schema(mh_schema *schema) {
  if (schema != NULL) mh_os_table_free(schema, schema->room);
}

static void free_chunk(entry *chunk) {
  for (unsigned i = 0; chunk != NULL && i < CHUNK; i++) free_schema(chunk[i]);
  if (chunk != NULL) mh_os_table_free(chunk, CHUNK * sizeof *chunk);
}

static void forget(mh_region *region, bool all) {
  struct mh_schemas *schemas = region->schemas;
  schemas->epoch++;
  if (!all) return;
  region->schemas = NULL;
  for (unsigned i = 0; i < MH_SCHEMAS_MAX / CHUNK; i++) free_chunk(schemas->chunks[i]);
  for (mh_schema *one; (one = schemas->retired) != NULL;) {
    schemas->retired = one->retired;
    free_schema(one);
  }
  pthread_mutex_destroy(&schemas->lock);
  mh_os_table_free(schemas, sizeof *schemas);
}

static mheap_err no_memory(mh_space *space) {
  return mh_fail(mh_error(space->heap), MHEAP_ERR_NO_MEMORY, "no memory to read the schemas of records with");
}

/* Several threads may come for the first time at once. */
static struct mh_schemas *schemas_of(mh_region *region) {
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  struct mh_schemas *schemas = __atomic_load_n(&region->schemas, __ATOMIC_ACQUIRE);
  if (schemas != NULL) return schemas;
  pthread_mutex_lock(&lock);
  schemas = region->schemas;
  if (schemas == NULL && (schemas = mh_os_table(sizeof *schemas)) != NULL) {
    pthread_mutex_init(&schemas->lock, NULL);
    region->forget_schemas = forget;
    __atomic_store_n(&region->schemas, schemas, __ATOMIC_RELEASE);
  }
  pthread_mutex_unlock(&lock);
  return schemas;
}

static entry *entry_of(struct mh_schemas *schemas, uint64_t number) {
  entry *chunk = atomic_load_explicit(&schemas->chunks[number / CHUNK], memory_order_acquire);
  return chunk == NULL ? NULL : &chunk[number % CHUNK];
}

static entry *make_entry(struct mh_schemas *schemas, uint64_t number) {
  entry *found = entry_of(schemas, number);
  if (found != NULL) return found;
  entry *chunk = mh_os_table(CHUNK * sizeof *chunk);
  if (chunk == NULL) return NULL;
  atomic_store_explicit(&schemas->chunks[number / CHUNK], chunk, memory_order_release);
  return &chunk[number % CHUNK];
}

/* ---- reading ---- */

mheap_err mh_registry(mh_space *space, bool create, mh_list *list) {
  uint64_t *field = &space->region->super->registry, offset = mh_read(field);
  if (offset != 0) return mh_list_at(space, offset, list);
  if (!create) return MHEAP_ERR_NOT_FOUND;
  mheap_err failed = mh_space_writable(space);
  if (!failed) failed = mh_list_new(space, 0, list);
  if (!failed) mh_store(field, list->offset);
  return failed;
}

static mheap_err read_tuple(mh_space *space, uint64_t word, mh_compound *tuple) {
  if (mh_word_tag(word) != MH_TAG_TUPLE_REF)
    return mh_corrupt(space, space->region->super->registry, "the description of a schema: a tuple",
                      MH_TAG_TUPLE_REF, word);
  mheap_err failed = mh_compound_read(space, word, tuple);
  if (failed) return failed;
  if (tuple->count % 2 != 1 || tuple->count / 2 > MH_SCHEMA_FIELDS_MAX)
    return mh_corrupt(space, tuple->offset, "the words of a schema: an odd number",
                      2 * MH_SCHEMA_FIELDS_MAX + 1, tuple->count);
  for (uint64_t i = 0; i < tuple->count; i++) {
    uint64_t text = mh_read(&tuple->words[i]);
    if (!mh_word_is_str(text))
      return mh_corrupt(space, tuple->offset, "the words of a schema: str", MH_TAG_STR, text);
  }
  return MHEAP_OK;
}

static mh_field_kind kind_of(uint64_t type) {
  if (type == mh_word_text(MH_TAG_STR, "int", 3)) return MH_FIELD_INT;
  if (type == mh_word_text(MH_TAG_STR, "float", 5)) return MH_FIELD_FLOAT;
  if (type == mh_word_text(MH_TAG_STR, "bool", 4)) return MH_FIELD_BOOL;
  return MH_FIELD_WORD;
}

/* The wide fields first, then the narrow ones. */
static void lay_out(mh_schema *schema, const mh_compound *tuple) {
  uint32_t at = 0;
  for (uint32_t i = 0; i < schema->field_count; i++) {
    mh_schema_field *field = &schema->fields[i];
    field->kind = kind_of(mh_read(&tuple->words[2 * i + 2]));
    if (field->kind == MH_FIELD_BOOL) continue;
    field->offset = at;
    if (field->kind == MH_FIELD_WORD) schema->places[schema->place_count++] = at / 8;
    at += 8;
  }
  for (uint32_t i = 0; i < schema->field_count; i++)
    if (schema->fields[i].kind == MH_FIELD_BOOL) {
      schema->fields[i].offset = at++;
      schema->bool_count++;
    }
  schema->bytes = (at + 7) / 8 * 8;
}

/* A new one; NULL with the heap's error set. */
static mh_schema *read_schema(mh_space *space, uint64_t number, mheap_err *failed) {
  mh_list registry;
  mh_items items;
  mh_compound tuple;
  *failed = mh_registry(space, false, &registry);
  if (!*failed) *failed = mh_list_items(&registry, &items);
  if (*failed == MHEAP_ERR_NOT_FOUND || (!*failed && (number >= items.count || number >= MH_SCHEMAS_MAX)))
    *failed = mh_corrupt(space, space->region->super->registry, "the number of a schema: less than",
                         *failed ? 0 : items.count, number);
  uint64_t word = *failed ? 0 : mh_read(&items.words[number]);
  if (!*failed) *failed = read_tuple(space, word, &tuple);
  if (*failed) return NULL;
  uint64_t count = tuple.count / 2;
  uint64_t room = sizeof(mh_schema) + count * (sizeof(mh_schema_field) + sizeof(uint32_t));
  mh_schema *schema = mh_os_table(room);
  if (schema == NULL) return *failed = no_memory(space), NULL;
  *schema = (mh_schema){.room = room, .word = word, .number = (uint32_t)number,
                        .field_count = (uint32_t)count};
  schema->fields = (mh_schema_field *)(schema + 1);
  schema->places = (uint32_t *)(schema->fields + count);
  lay_out(schema, &tuple);
  return schema;
}

static bool is_same(const mh_schema *a, const mh_schema *b) {
  return a->word == b->word && a->field_count == b->field_count &&
         memcmp(a->fields, b->fields, a->field_count * sizeof *a->fields) == 0;
}

/* Beside a writer it may have been read of two commits: then nobody gets to see it. */
static mheap_err read_anew(mh_space *space, struct mh_schemas *schemas, uint64_t number,
                           const mh_schema **found) {
  mheap_err failed;
  uint64_t epoch = schemas->epoch;
  mh_schema *made = read_schema(space, number, &failed);
  if (made == NULL) return failed;
  entry *at = make_entry(schemas, number);
  if (at == NULL) return free_schema(made), no_memory(space);
  if (!mh_reader_is_whole(space->region)) {
    free_schema(made);
    return mh_corrupt(space, 0, "a schema of one commit", 1, 0);
  }
  made->epoch = epoch;
  mh_schema *old = *at;
  if (old != NULL && is_same(old, made)) {
    free_schema(made);
    old->epoch = epoch;
    *found = old;
    return MHEAP_OK;
  }
  if (old != NULL) {
    old->retired = schemas->retired;
    schemas->retired = old;
  }
  atomic_store_explicit(at, made, memory_order_release);
  *found = made;
  return MHEAP_OK;
}

mheap_err mh_schema_at(mh_space *space, uint64_t number, const mh_schema **schema) {
  struct mh_schemas *schemas = schemas_of(space->region);
  if (schemas == NULL) return no_memory(space);
  entry *at = number < MH_SCHEMAS_MAX ? entry_of(schemas, number) : NULL;
  *schema = at == NULL ? NULL : atomic_load_explicit(at, memory_order_acquire);
  if (*schema != NULL && ((mh_schema *)*schema)->epoch == schemas->epoch) return MHEAP_OK;
  pthread_mutex_lock(&schemas->lock);
  mheap_err failed = read_anew(space, schemas, number, schema);
  pthread_mutex_unlock(&schemas->lock);
  return failed;
}

/* ---- adding ---- */

static bool is_same_text(mh_space *space, uint64_t a, uint64_t b) {
  mh_text x, y;
  if (a == b) return true;
  if (mh_text_read(space, a, &x) || mh_text_read(space, b, &y)) return false;
  return x.kind == y.kind && x.length == y.length && memcmp(x.data, y.data, x.length * x.kind) == 0;
}

static mheap_err is_like(mh_space *space, uint64_t word, const mh_compound *wanted, bool *is) {
  mh_compound tuple;
  mheap_err failed = read_tuple(space, word, &tuple);
  if (failed) return failed;
  *is = tuple.count == wanted->count;
  for (uint64_t i = 0; *is && i < tuple.count; i++)
    *is = is_same_text(space, tuple.words[i], wanted->words[i]);
  return MHEAP_OK;
}

mheap_err mh_schema_add(mh_space *space, uint64_t word, uint32_t *number) {
  mh_list registry;
  mh_items items;
  mh_compound wanted;
  mheap_err failed = mh_registry(space, true, &registry);
  if (!failed) failed = mh_list_items(&registry, &items);
  if (!failed) failed = read_tuple(space, word, &wanted);
  for (uint64_t i = 0; !failed && i < items.count; i++) {
    bool is;
    failed = is_like(space, items.words[i], &wanted, &is);
    if (failed || !is) continue;
    *number = (uint32_t)i;
    mh_release(space, word);
    return MHEAP_OK;
  }
  if (failed) return failed;
  *number = (uint32_t)items.count;
  if (items.count >= MH_SCHEMAS_MAX)
    return mh_fail(mh_error(space->heap), MHEAP_ERR_OVERFLOW, "a heap has at most %u schemas of records",
                   MH_SCHEMAS_MAX);
  return mh_list_append(&registry, word);
}
