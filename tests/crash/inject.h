/* inject.h: calls of the operating system that fail when a test says so. Owns which; wrappers of os.h's
   functions, which the linker puts in their place (--wrap). A write that fails has written half its
   sectors. */
#ifndef MHEAP_CRASH_INJECT_H
#define MHEAP_CRASH_INJECT_H

#include <stdbool.h>
#include <stdint.h>

typedef enum fault_call {
  FAULT_WRITE,
  FAULT_SYNC,
  FAULT_TRUNCATE,
  FAULT_ALLOCATE,
  FAULT_PUNCH,
  FAULT_READ,
  FAULT_SEEK,
  FAULT_MAP,
  FAULT_COMMIT,
  FAULT_RESERVE,
    FAULT_WRITTEN,
  FAULT_TABLE,
  FAULT_SIZES,
  FAULT_CALLS
} fault_call;
extern const char *const fault_names[FAULT_CALLS];

typedef struct fault {
  fault_call call;
  uint64_t number; /* of the call that fails, from 1; 0: none does, they are counted */
  int error;
  bool lasting; /* and all that follow */
  bool untold;  /* a control: a sync fails, and nobody is told */
} fault;

/* From now on, until faults_end. Between faults_pause and faults_resume calls neither fail nor count. */
void faults_begin(const fault *it);
void faults_pause(void);
void faults_resume(void);
uint64_t faults_end(void); /* the calls */
/* Did one fail? From then on no other does, once this was asked: what was wrong is over. */
bool faults_happened(void);
/* Called with the descriptor behind each sync that did not fail, unless it is NULL. */
extern void (*faults_synced)(int fd);

#endif
