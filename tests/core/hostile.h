/* hostile.h: a stored field of a zoo of objects that says what an attacker wants. Who includes this has
   defined before: `zoo`, with its `kit`; zoo_open; read_everything; change, of so many OPERATIONS. */
#ifndef MHEAP_TEST_HOSTILE_H
#define MHEAP_TEST_HOSTILE_H

/* Each value, then everything that reads, one thing that writes, and all that reads again. What was read of
   schemas before is forgotten, so that they are read as they are now. */
static void with_values(uint64_t *(*field)(zoo *), const uint64_t *values, size_t count) {
  zoo zoo;
  for (size_t i = 0; i < count; i++)
    for (int operation = 0; operation < OPERATIONS; operation++) {
      zoo_open(&zoo);
      *field(&zoo) = values[i];
      mh_region_forget_schemas(zoo.kit.space.region, false);
      read_everything(&zoo);
      change(&zoo, operation);
      read_everything(&zoo);
      mheap_abandon(zoo.kit.heap);
    }
}

#define FIELD(name, expression) \
  static uint64_t *name(zoo *zoo) { return (expression); }

#endif
