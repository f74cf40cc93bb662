/* scenarios_named.c: scenarios of named heaps. See scenarios.h. */
#include "scenarios_kit.h"

static void put(const stage *s, mheap *heap, const char *text) {
  mh_dict root;
  mh_key key;
  uint64_t word;
  mh_space_init(&space, heap);
  must(s, mh_root(&space, true, &root), "root");
  must(s, mh_str_new(&space, 1, text, strlen(text), &word), "str");
  mh_key_text(&space, &key, MH_TAG_STR_REF, 1, text, strlen(text));
  must(s, mh_dict_set(&root, &key, word), "dict set");
}

static void make(stage *s, const char *name, mheap_arena arena) {
  s->other = mheap_new_named(s->heap, name, strlen(name), 0, arena);
  if (s->other == NULL) stage_fail("new", s->heap);
}

/* ---- what is there before ---- */

static void objects_of_the_main_heap(stage *s) {
  for (int i = 0; i < 5; i++) stage_malloc(s, 100);
  put(s, s->heap, "a text of the main heap");
  s->whole = true;
}

static void an_empty_one(stage *s) {
  objects_of_the_main_heap(s);
  make(s, "a name of some length", 0);
}

static void one_with_objects(stage *s) {
  char text[40];
  an_empty_one(s);
  for (int i = 0; i < 30; i++) {
    snprintf(text, sizeof text, "text number %d, of some length", i);
    put(s, s->other, text);
  }
  s->whole = true;
}

/* What a kill leaves in hand waits for a collection. */
static void one_with_a_few_objects(stage *s) {
  one_with_objects(s);
  s->whole = false;
}
static void one_without_a_root(stage *s) {
  an_empty_one(s);
  s->whole = false;
}

/* Texts of a thousand bytes, of which one in `keep` stays: fewer objects in as many slabs. */
static void one_with_texts(stage *s, unsigned count, unsigned keep) {
  char text[1000];
  mh_dict root;
  mh_list list;
  mh_key key;
  uint64_t word;
  an_empty_one(s);
  mh_space_init(&space, s->other);
  memset(text, 'x', sizeof text);
  must(s, mh_root(&space, true, &root), "root");
  must(s, mh_list_new(&space, count, &list), "list");
  mh_key_text(&space, &key, MH_TAG_STR_REF, 1, "texts", 5);
  must(s, mh_dict_set(&root, &key, mh_word_ref(MH_TAG_LIST_REF, list.offset)), "dict set");
  for (unsigned i = 0; i < count; i++) {
    must(s, mh_str_new(&space, 1, text, sizeof text, &word), "str");
    must(s, mh_list_append(&list, word), "append");
  }
  for (unsigned i = 0; i < count; i++)
    if (i % keep != 0) must(s, mh_list_set(&list, i, MH_CONST_NONE), "set");
}
static void one_with_many_objects(stage *s) { one_with_texts(s, 2000, 1); }
static void one_with_few_objects(stage *s) { one_with_texts(s, 2000, 50); }
static void one_with_few_objects_in_more_slabs(stage *s) { one_with_texts(s, 4000, 50); }

static void one_with_everything(stage *s) {
  one_with_objects(s);
  stage_fill(s->other, mheap_malloc(s->other, 200000));
  stage_fill(s->other, mheap_malloc(s->other, 50));
}

static void one_in_an_arena(stage *s) {
  objects_of_the_main_heap(s);
  must(s, mheap_arena_reserve(s->heap, (size_t)8 << 20, &(mheap_arena_options){.exclusive = true}, &s->arena),
       "reserve");
  make(s, "tied", s->arena);
  put(s, s->other, "a text in the arena");
}

/* A kill between the heads of the two rows. */
static void killed(stage *s, bool destroyed) {
  mh_heap_row *row = mh_heap_row_of(s->other);
  row->head = destroyed ? row->head | MH_HEAP_DESTROYED : 0;
  mheap_abandon(s->heap);
  s->heap = heap_at(s->path, NULL);
}
static void one_half_made(stage *s) {
  an_empty_one(s);
  killed(s, false);
}
static void one_half_destroyed(stage *s) {
  one_with_everything(s);
  killed(s, true);
}

/* ---- what is done ---- */

static void make_one(stage *s) { make(s, "short", 0); }
static void make_with_a_long_name(stage *s) { make(s, "a name that has a block of its own", 0); }
static void put_first(stage *s) { put(s, s->other, "the first text in this heap"); }
static void put_more(stage *s) { put(s, s->other, "another text in this heap"); }
static void destroy(stage *s) { must(s, mheap_destroy(s->other), "destroy"); }
static void collect(stage *s) { must(s, mheap_collect(s->heap, true), "collect"); }
static void collect_objects(stage *s) { must(s, mheap_collect_objects(s->heap, NULL), "collect objects"); }

static void one_with_garbage(stage *s) {
  mh_dict lost;
  one_with_objects(s);
  must(s, mh_dict_new(&space, 0, &lost), "dict");
  s->whole = false;
}

const scenario named_scenarios[] = {
    {"named_heap_is_made", objects_of_the_main_heap, make_one, false, false},
    {"named_heap_is_made_with_a_long_name", objects_of_the_main_heap, make_with_a_long_name, false, false},
    {"named_heap_is_made_beside_another", one_with_objects, make_one, false, false},
    {"named_heap_gets_its_root", one_without_a_root, put_first, false, false},
    {"named_heap_gets_an_object", one_with_a_few_objects, put_more, false, false},
    {"named_heap_is_destroyed", one_with_everything, destroy, false, false},
    {"empty_named_heap_is_destroyed", an_empty_one, destroy, false, false},
    {"named_heap_of_many_objects_is_destroyed", one_with_many_objects, destroy, false, false},
    {"named_heap_of_few_objects_is_destroyed", one_with_few_objects, destroy, false, false},
    {"named_heap_of_more_slabs_is_destroyed", one_with_few_objects_in_more_slabs, destroy, false, false},
    {"named_heap_in_an_arena_is_destroyed", one_in_an_arena, destroy, false, false},
    {"collect_a_named_heap_half_made", one_half_made, collect, false, false},
    {"collect_a_named_heap_half_destroyed", one_half_destroyed, collect, false, false},
    {"make_a_named_heap_behind_one_half_made", one_half_made, make_one, false, false},
    {"make_a_named_heap_behind_one_half_destroyed", one_half_destroyed, make_one, false, false},
    {"collect_garbage_of_a_named_heap", one_with_garbage, collect_objects, false, false},
    {NULL, NULL, NULL, false, false},
};
