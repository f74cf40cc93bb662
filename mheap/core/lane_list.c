/* lane_list.c: see lane_list.h. */
#include "lane_list.h"

#include "os.h"

#define FEW 32 /* lanes: to go through their list is as quick */
#define INDEX_BITS 13
#define INDEX_BYTES (((uint64_t)1 << INDEX_BITS) * sizeof(mh_lane *))

/* ---- the index ---- */

static mh_lane **place_of(const mh_thread *thread, const mheap *heap) {
  return &thread->index[((uint64_t)heap >> 4) * 0x9e3779b97f4a7c15 >> (64 - INDEX_BITS)];
}

static void file(mh_thread *thread, mh_lane *lane) {
  lane->filed = lane->heap;
  mh_lane **place = place_of(thread, lane->filed);
  lane->filed_next = *place;
  *place = lane;
}

static void unfile(mh_thread *thread, const mh_lane *lane) {
  mh_lane **link = place_of(thread, lane->filed);
  while (*link != lane) link = &(*link)->filed_next;
  *link = lane->filed_next;
}

/* Without memory for it there is none, which is slower. */
static void make_index(mh_thread *thread) {
  if (thread->lane_count <= FEW || thread->ended) return;
  thread->index = mh_os_table(INDEX_BYTES);
  for (mh_lane *lane = thread->lanes; lane != NULL && thread->index != NULL; lane = lane->thread_next)
    file(thread, lane);
}

static void drop_index(mh_thread *thread) {
  if (thread->index != NULL) mh_os_table_free(thread->index, INDEX_BYTES);
  thread->index = NULL;
}

/* ---- the list ---- */

void mh_list_add(mh_thread *thread, mh_lane *lane) {
  lane->thread_prev = NULL;
  lane->thread_next = thread->lanes;
  if (thread->lanes != NULL) thread->lanes->thread_prev = lane;
  thread->lanes = lane;
  thread->lane_count++;
  if (thread->index != NULL) file(thread, lane);
  else make_index(thread);
}

void mh_list_remove(mh_thread *thread, mh_lane *lane) {
  if (lane->thread_prev != NULL) lane->thread_prev->thread_next = lane->thread_next;
  else thread->lanes = lane->thread_next;
  if (lane->thread_next != NULL) lane->thread_next->thread_prev = lane->thread_prev;
  if (thread->index != NULL) unfile(thread, lane);
  if (--thread->lane_count == 0) drop_index(thread);
}

void mh_list_file_anew(mh_thread *thread, mh_lane *lane) {
  if (thread->index == NULL) return;
  unfile(thread, lane);
  file(thread, lane);
}

static bool is_of(const mh_lane *lane, const mheap *heap) {
  return !atomic_load_explicit(&lane->gone, memory_order_acquire) && lane->heap == heap;
}

mh_lane *mh_list_find(const mh_thread *thread, const mheap *heap, const mh_lane *but) {
  mh_lane *lane = thread->index != NULL ? *place_of(thread, heap) : thread->lanes;
  while (lane != NULL && (lane == but || !is_of(lane, heap)))
    lane = thread->index != NULL ? lane->filed_next : lane->thread_next;
  return lane;
}
