/* registry.c: see registry.h. A list: a process has few regions, and the functions given
   only an address are not on the fast path yet. */
#include "registry.h"

#include "lane.h"
#include "os.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static mh_region *regions;

/* ---- fork: all locks are taken, so that the child finds every structure whole ---- */

static void each_heap_lock(mh_region *region, int (*operate)(pthread_mutex_t *)) {
  for (mheap *heap = region->heaps; heap != NULL; heap = heap->next) operate(&heap->lock);
}

static void before_fork(void) {
  pthread_mutex_lock(&lock);
  mh_lanes_lock();
  for (mh_region *region = regions; region != NULL; region = region->next) {
    each_heap_lock(region, pthread_mutex_lock);
    pthread_mutex_lock(&region->lock);
  }
}

static void release_all(void) {
  for (mh_region *region = regions; region != NULL; region = region->next) {
    pthread_mutex_unlock(&region->lock);
    each_heap_lock(region, pthread_mutex_unlock);
  }
  mh_lanes_unlock();
  pthread_mutex_unlock(&lock);
}

/* A file's region belongs to the parent: its descriptor is closed, because the lock on it
   would outlive the parent. Private memory is the child's own and goes on. */
static void in_child(void) {
  for (mh_region *region = regions; region != NULL; region = region->next) {
    bool keep = region->anonymous;
    for (mheap *heap = region->heaps; heap != NULL; heap = heap->next) mh_lanes_after_fork(heap, keep);
    if (keep) continue;
    mh_os_close(region->fd);
    region->fd = -1;
    region->forked = true;
  }
  release_all();
}

static void watch_forks(void) { pthread_atfork(before_fork, release_all, in_child); }

/* ---- the list ---- */

void mh_registry_add(mh_region *region) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, watch_forks);
  pthread_mutex_lock(&lock);
  region->next = regions;
  regions = region;
  pthread_mutex_unlock(&lock);
}

void mh_registry_remove(mh_region *region) {
  pthread_mutex_lock(&lock);
  mh_region **link = &regions;
  while (*link != NULL && *link != region) link = &(*link)->next;
  if (*link != NULL) *link = region->next;
  pthread_mutex_unlock(&lock);
}

void mh_registry_add_heap(mh_region *region, mheap *heap) {
  pthread_mutex_lock(&lock);
  heap->next = region->heaps;
  region->heaps = heap;
  pthread_mutex_unlock(&lock);
}

void mh_registry_remove_heap(mh_region *region, mheap *heap) {
  pthread_mutex_lock(&lock);
  mheap **link = &region->heaps;
  while (*link != NULL && *link != heap) link = &(*link)->next;
  if (*link != NULL) *link = heap->next;
  pthread_mutex_unlock(&lock);
}

bool mh_registry_writes(uint64_t device, uint64_t inode) {
  bool found = false;
  pthread_mutex_lock(&lock);
  for (mh_region *r = regions; r != NULL && !found; r = r->next)
    found = !r->anonymous && !r->forked && r->mode == MHEAP_MODE_LIVE && r->device == device && r->inode == inode;
  pthread_mutex_unlock(&lock);
  return found;
}

mh_region *mh_registry_find(const void *address) {
  pthread_mutex_lock(&lock);
  mh_region *r = regions;
  while (r != NULL && !((const char *)address >= r->base && (const char *)address < r->base + r->span)) r = r->next;
  pthread_mutex_unlock(&lock);
  return r;
}
