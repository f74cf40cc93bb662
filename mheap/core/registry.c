/* registry.c: see registry.h. A list, for what is done to every region; addresses are looked
   up in the radix map. */
#include "registry.h"

#include <errno.h>

#include "arenas.h"
#include "kind.h"
#include "lane.h"
#include "os.h"
#include "radix.h"
#include "reader.h"
#include "region_pages.h"
#include "subproc.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static mh_region *regions;

/* ---- fork: all locks are taken, so that the child finds every structure whole ---- */

static void each_heap_lock(mh_region *region, int (*operate)(pthread_mutex_t *)) {
  for (mheap *heap = region->heaps; heap != NULL; heap = heap->next) operate(&heap->lock);
}

static mh_os_gate gate = {{-1, -1}};

static bool any_splits(void) {
  mh_region *region = regions;
  while (region != NULL && !region->splits) region = region->next;
  return region != NULL;
}

static void before_fork(void) {
  mh_subprocs_lock();
  mh_kinds_before_fork();
  mh_handles_lock();
  pthread_mutex_lock(&lock);
  if (any_splits()) mh_os_gate_open(&gate);
  mh_lanes_lock();
  for (mh_region *region = regions; region != NULL; region = region->next) {
    each_heap_lock(region, pthread_mutex_lock);
    pthread_mutex_lock(&region->lock);
  }
  mh_arenas_lock();
  mh_marks_before_fork();
}

static void release_all(void) {
  mh_marks_after_fork();
  mh_arenas_unlock();
  for (mh_region *region = regions; region != NULL; region = region->next) {
    pthread_mutex_unlock(&region->lock);
    each_heap_lock(region, pthread_mutex_unlock);
  }
  mh_lanes_unlock();
  pthread_mutex_unlock(&lock);
  mh_handles_unlock();
  mh_kinds_after_fork();
  mh_subprocs_unlock();
}

static void in_parent(void) {
  mh_os_gate_wait(&gate);
  release_all();
}

/* Private memory is the child's own and goes on, and so is a copy. */
static bool goes_on(mh_region *region) {
  mheap_error error;
  if (region->anonymous || !region->splits) return region->anonymous;
  if (mh_region_split(region, &error) == MHEAP_OK) return true;
  mh_os_complain("mheap: ", error.text);
  return false;
}

/* A file's region belongs to the parent: its descriptors are closed, because the locks
   would outlive the parent. */
static void in_child(void) {
  mh_subprocs_after_fork();
  for (mh_region *region = regions; region != NULL; region = region->next) {
    bool memory = region->anonymous, keep = goes_on(region);
    region->walkers = 0;
    for (mheap *heap = region->heaps; heap != NULL; heap = heap->next) {
      mh_lanes_after_fork(heap, keep);
      heap->users = 0; /* whoever was looking at a part is not here */
    }
    if (memory) continue;
    mh_os_close(region->lock_fd);
    mh_os_close(region->fd);
    region->fd = region->lock_fd = -1;
    region->forked = !keep;
  }
  mh_os_gate_leave(&gate);
  release_all();
}

/* ---- files cut short by somebody else, and huge pages that run out ---- */

static bool cover_readers(const void *address) {
  mh_region *region = regions;
  while (region != NULL && (region->reader == NULL || !mh_reader_lost(region->reader, address)))
    region = region->next;
  return region != NULL;
}

/* Touching a page behind the end of the file would kill the process. Instead the lost part
   becomes zeroed memory of its own, it is said so, and the region refuses to be used: the
   next call in it, by any thread, is an error; but for a reader whose writer gave the space back, which sees
   that what it read was of a generation that is gone. Runs in a signal handler, without the lock: the region
   is being used, so that nobody is detaching it. */
static bool cover_lost(void *address) {
  mh_region *region = mh_radix_find(address);
  uint64_t length, disk;
  if (region != NULL && region->anonymous) return mh_pages_rescue(region, address);
  if (region == NULL) return cover_readers(address);
  if (mh_os_file_sizes(region->fd, &length, &disk) != 0) return false;
  bool pool = region->pages.hugetlb != 0;
  uint64_t page = pool ? region->pages.hugetlb : mh_host_pages() * MH_PAGE,
           from = (length + page - 1) / page * page,
           size = pool ? region->pages.mapped : mh_region_size(region);
  if (mh_offset(region, address) < from || from >= size) return false;
  if (mh_os_cover(mh_at(region, from), size - from) != 0) return false;
  if (mh_reader_is_behind(region, from)) return true;
  if (!atomic_exchange(&region->cut, true))
    mh_os_complain(region->path,
                   ": cut short by another program while attached: what was stored there is lost");
  for (mheap *heap = region->heaps; heap != NULL; heap = heap->next) mh_lanes_forget_now(heap);
  return true;
}

/* ---- the list ---- */

static void watch(void) { pthread_atfork(before_fork, in_parent, in_child); }

/* Ordinary memory is never lost: a process that has no more keeps its own way with the signal. */
static bool may_be_lost(const mh_region *region) { return !region->anonymous || region->pages.hugetlb != 0; }
static void watch_pages(void) { mh_os_watch_lost_pages(cover_lost); }

void mh_registry_watch(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, watch);
}

mheap_err mh_registry_add(mh_region *region, mheap_error *error) {
  static pthread_once_t pages = PTHREAD_ONCE_INIT;
  mh_registry_watch();
  if (may_be_lost(region)) pthread_once(&pages, watch_pages);
  pthread_mutex_lock(&lock);
  bool added = mh_radix_add(region, (uint64_t)region->base, region->span);
  if (added) {
    region->next = regions;
    regions = region;
  }
  pthread_mutex_unlock(&lock);
  return added ? MHEAP_OK
               : mh_fail_system(error, ENOMEM, region->path, "making the process's map of addresses");
}

void mh_registry_remove(mh_region *region) {
  pthread_mutex_lock(&lock);
  mh_region **link = &regions;
  while (*link != NULL && *link != region) link = &(*link)->next;
  if (*link != NULL) *link = region->next;
  if (region->base != NULL) mh_radix_remove((uint64_t)region->base, region->span);
  pthread_mutex_unlock(&lock);
}

void mh_registry_add_heap(mh_region *region, mheap *heap) {
  pthread_mutex_lock(&lock);
  heap->next = region->heaps;
  region->heaps = heap;
  atomic_store_explicit(&region->handles[heap->row], heap, memory_order_release);
  pthread_mutex_unlock(&lock);
}

mh_region *mh_registry_nth(unsigned index) {
  pthread_mutex_lock(&lock);
  mh_region *region = regions;
  while (region != NULL && index-- > 0) region = region->next;
  pthread_mutex_unlock(&lock);
  return region;
}

/* No lock: this is asked for most blocks of which nothing but the address is known. */
mheap *mh_registry_heap(const mh_region *region, uint32_t row) {
  return row < MH_HEAPS ? atomic_load_explicit(&((mh_region *)region)->handles[row], memory_order_acquire)
                        : NULL;
}

void mh_registry_remove_heap(mh_region *region, mheap *heap) {
  pthread_mutex_lock(&lock);
  mheap *before = region->heaps;
  while (before != NULL && before != heap && before->next != heap) before = before->next;
  if (before == heap) region->heaps = heap->next;
  else if (before != NULL) before->next = heap->next;
  mheap *expected = heap;
  atomic_compare_exchange_strong(&region->handles[heap->row], &expected, NULL);
  pthread_mutex_unlock(&lock);
}

void mh_registry_give_row(mh_region *region, mheap *heap) {
  mheap *expected = heap;
  atomic_compare_exchange_strong(&region->handles[heap->row], &expected, NULL);
}

void mh_registry_forget_lanes(void) {
  pthread_mutex_lock(&lock);
  for (mh_region *region = regions; region != NULL; region = region->next)
    for (mheap *heap = region->heaps; heap != NULL; heap = heap->next) mh_lanes_forget(heap);
  pthread_mutex_unlock(&lock);
}

bool mh_registry_writes(uint64_t device, uint64_t inode) {
  bool found = false;
  pthread_mutex_lock(&lock);
  for (mh_region *r = regions; r != NULL && !found; r = r->next)
    found =
        !r->anonymous && !r->forked && mh_mode_writes(r->mode) && r->device == device && r->inode == inode;
  pthread_mutex_unlock(&lock);
  return found;
}

static bool is_parents(const mh_region *region, uint64_t address, uint64_t length) {
  uint64_t base = (uint64_t)region->base;
  return region->forked && base != 0 && base < address + length && address < base + region->span;
}

bool mh_registry_clear(uint64_t address, uint64_t length) {
  bool any = false;
  pthread_mutex_lock(&lock);
  for (mh_region *r = regions; r != NULL; r = r->next) {
    if (!is_parents(r, address, length) || r->held) continue;
    mh_radix_remove((uint64_t)r->base, r->span);
    mh_os_release(r->base, r->span);
    r->base = NULL;
    any = true;
  }
  pthread_mutex_unlock(&lock);
  return any;
}

bool mh_registry_keeps(uint64_t address, uint64_t length) {
  pthread_mutex_lock(&lock);
  mh_region *r = regions;
  while (r != NULL && !is_parents(r, address, length)) r = r->next;
  pthread_mutex_unlock(&lock);
  return r != NULL;
}

bool mh_registry_overlaps(const void *start, uint64_t length) {
  bool found = false;
  pthread_mutex_lock(&lock);
  for (mh_region *r = regions; r != NULL && !found; r = r->next)
    found = (const char *)start < r->base + r->span && r->base < (const char *)start + length;
  pthread_mutex_unlock(&lock);
  return found;
}

/* ---- by subprocess ---- */

struct mh_subproc *mh_registry_subproc_of(const void *address) {
  pthread_mutex_lock(&lock);
  const mh_region *region = mh_radix_find(address);
  mh_subproc *found = region != NULL ? mh_subproc_of(region) : NULL;
  pthread_mutex_unlock(&lock);
  return found;
}

int mh_registry_memory_of(const void *address) {
  pthread_mutex_lock(&lock);
  const mh_region *region = mh_radix_find(address);
  int id = region != NULL && region->of_subproc ? mh_subproc_of(region)->id : 0;
  pthread_mutex_unlock(&lock);
  return id;
}

static mheap *main_heap_of(const mh_region *region) {
  mheap *heap = region->heaps;
  while (heap != NULL && heap->row != 0) heap = heap->next;
  return heap;
}

size_t mh_registry_heaps(const mh_subproc *subproc, mheap **heaps, size_t room) {
  size_t count = 0;
  pthread_mutex_lock(&lock);
  for (mh_region *r = regions; r != NULL; r = r->next) {
    mheap *heap = mh_subproc_of(r) == subproc ? main_heap_of(r) : NULL;
    if (heap == NULL) continue;
    if (count < room) heaps[count] = heap;
    count++;
  }
  pthread_mutex_unlock(&lock);
  return count;
}

void mh_registry_move(const mh_subproc *from, mh_subproc *to) {
  pthread_mutex_lock(&lock);
  for (mh_region *r = regions; r != NULL; r = r->next)
    if (mh_subproc_of(r) == from) mh_subproc_own(to, r);
  pthread_mutex_unlock(&lock);
}
