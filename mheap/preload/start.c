/* start.c: which heap serves the process, made by its first call, and what happens at exit.

   Settings are environment variables, which `mheap run` sets:
     MHEAP_PRELOAD_HEAP=PID:PATH   the process PID is served from the heap file PATH, attached
                                   live; others, its children, from anonymous memory
     MHEAP_PRELOAD_STATS=PID       the process PID prints statistics when it exits; 1: every one
   Owns: the state of that making. Calls handle.c's functions, os.h. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h> /* environ */

#include "os.h"
#include "preload.h"
#include "subproc.h"

enum { NOT_YET, MAKING, MADE, FAILED };

static _Atomic int state;
static mheap *made;

/* Address space for the heap: four times the machine's memory, and a table of a thousandth of it. */
#define SPAN_USUAL ((uint64_t)64 << 30)
#define SPAN_MOST ((uint64_t)16 << 40)

static uint64_t span_wanted(void) {
  uint64_t span = SPAN_USUAL, memory = mh_os_memory();
  while (span < SPAN_MOST && span / 4 < memory) span *= 2;
  return span;
}

static mheap *make_in_memory(void) { return mh_subproc_attach(span_wanted(), MH_SUBPROC_SPAN_LEAST, NULL); }

/* What follows PID: in a setting that is meant for this process, else NULL. */
static const char *setting(const char *name) {
  const char *text = secure_getenv(name);
  char *end;
  if (text == NULL || *text == '\0') return NULL;
  unsigned long long pid = strtoull(text, &end, 10);
  if (pid != mh_os_pid()) return NULL;
  return *end == ':' ? end + 1 : end;
}

/* It was asked for by name, so nothing else will do. */
static mheap *make_in_file(const char *path) {
  mheap_error error;
  mheap *heap = mheap_open(path, NULL, &error);
  if (heap != NULL) {
    mh_heap_split_at_fork(heap);
    return heap;
  }
  mh_os_complain("mheap: ", error.text);
  mh_os_exit(127);
}

/* Where statistics go at exit: many programs have closed standard error by then, and some have
   closed all descriptors and use their numbers for files. */
static struct {
  bool wanted;
  int fd;
  mh_os_identity is;
} statistics;

static void prepare_statistics(void) {
  const char *text = secure_getenv("MHEAP_PRELOAD_STATS");
  statistics.wanted = text != NULL && (strcmp(text, "1") == 0 || setting("MHEAP_PRELOAD_STATS") != NULL);
  if (!statistics.wanted) return;
  statistics.fd = mh_os_own_stderr();
  if (mh_os_identify(statistics.fd, &statistics.is) != 0) statistics.wanted = false;
}

static void print_statistics(mheap *heap) {
  mh_os_identity now;
  if (!statistics.wanted || mh_os_identify(statistics.fd, &now) != 0) return;
  if (now.device == statistics.is.device && now.inode == statistics.is.inode) mh_report(heap, statistics.fd);
}

static void make(void) {
  const char *path = setting("MHEAP_PRELOAD_HEAP");
  mheap *heap = path != NULL ? make_in_file(path) : make_in_memory();
  if (heap != NULL) mh_default_adopt(heap);
  else mh_os_complain("mheap: ", "no address space for the heap that is to serve malloc");
  made = heap;
  prepare_statistics();
  atomic_store_explicit(&state, heap != NULL ? MADE : FAILED, memory_order_release);
}

mheap *mh_serving(void) {
  int seen = atomic_load_explicit(&state, memory_order_acquire);
  if (seen == MADE) return made;
  if (seen != NOT_YET || environ == NULL) return NULL;
  if (atomic_compare_exchange_strong(&state, &seen, MAKING)) make();
  return atomic_load_explicit(&state, memory_order_acquire) == MADE ? made : NULL;
}

/* libmheap's mheap_is_redirected looks for this name in the process. */
MH_EXPORT bool mheap_preloaded(void) { return true; }

/* ---- exit ---- */

/* Other libraries' destructors may come later and allocate: a file is then open again, and
   the next attach takes it as it takes that of a killed process. */
__attribute__((destructor)) static void finish(void) {
  mheap *heap = mh_serving();
  if (heap == NULL) return;
  print_statistics(heap);
  mheap_err code = mh_heap_finish(heap);
  if (code) mh_os_complain("mheap: ", mh_error(heap)->text);
}
