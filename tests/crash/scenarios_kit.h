/* scenarios_kit.h: what scenarios of objects share: the space, the root, texts, collecting. */
#ifndef MHEAP_TEST_SCENARIOS_KIT_H
#define MHEAP_TEST_SCENARIOS_KIT_H

#include "objects/collect.h"
#include "objects/objects.h"
#include "objects/value.h"

#include "scenarios.h"

static mh_space space; /* of the process that runs the scenario */

static inline void must(const stage *s, mheap_err code, const char *what) {
  if (code != MHEAP_OK) stage_fail(what, s->heap);
}

static inline mh_dict root_of(stage *s) {
  mh_dict root;
  mh_space_init(&space, s->heap);
  must(s, mh_root(&space, true, &root), "root");
  return root;
}

static inline mh_key key_of(const char *text) {
  mh_key key;
  mh_key_text(&space, &key, MH_TAG_STR_REF, 1, text, strlen(text));
  return key;
}

static inline uint64_t text_of(stage *s, const char *text) {
  uint64_t word;
  must(s, mh_str_new(&space, 1, text, strlen(text), &word), "str");
  return word;
}

static inline void collect_three(stage *s) {
  mh_collected collected = {0};
  mh_space_init(&space, s->heap);
  must(s, mh_collect_begin(&space), "begin collecting");
  must(s, mh_collect_step(&space, 1e9, &collected), "collect");
  if (collected.objects != 3) stage_fail("other than the three objects were collected", s->heap);
}

#endif
