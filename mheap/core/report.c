/* report.c: see report.h. */
#include "report.h"

#include <errno.h>

#include "callback.h"
#include "lane.h"
#include "output.h"

static mh_callback registered;

void mheap_register_error(mheap_error_fun *fn, void *arg) {
  mh_callback_set(&registered, (mh_function *)fn, arg);
}

/* 0: not one of those that the interface knows. */
static int number_of(mheap_err code) {
  switch (code) {
    case MHEAP_ERR_DOUBLE_FREE: return EAGAIN;
    case MHEAP_ERR_CORRUPT:
    case MHEAP_ERR_OVERRUN: return EFAULT;
    case MHEAP_ERR_FULL:
    case MHEAP_ERR_NO_MEMORY: return ENOMEM;
    case MHEAP_ERR_OVERFLOW: return EOVERFLOW;
    case MHEAP_ERR_POINTER: return EINVAL;
    default: return 0;
  }
}

static void tell(const mheap_error *error) {
  void *arg;
  mh_output("mheap: %s\n", error->text);
  mheap_error_fun *fn = (mheap_error_fun *)mh_callback_get(&registered, &arg);
  if (fn != NULL) fn(number_of(error->code), arg);
}

/* Whatever the functions do, the caller finds the error that it was told of. */
void mh_report_error(const mheap *heap) {
  mh_thread *thread = &mh_this_thread;
  if (!mh_callback_is_set(&registered) && !mh_output_is_registered()) return;
  const mheap_error *last = mheap_last_error(heap);
  if (thread->reporting || number_of(last->code) == 0) return;
  mheap_error error = *last;
  int before = errno;
  thread->reporting = true;
  tell(&error);
  thread->reporting = false;
  errno = before;
  if (heap == NULL) heap = mheap_default();
  if (heap != NULL) *mh_error(heap) = error;
}
