/* report.c: see report.h. */
#include "report.h"

#include <errno.h>

#include "callback.h"
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
static void tell_and_keep(const mheap *heap, mheap_error error) {
  int before = errno;
  bool held = mh_report_hold(true);
  tell(&error);
  mh_report_hold(held);
  errno = before;
  *mh_error_of(heap) = error;
}

mheap_err mh_report_error(const mheap *heap) {
  bool wanted = mh_callback_is_set(&registered) || mh_output_is_registered();
  if (heap == NULL) heap = mheap_default();
  if (heap == NULL) return MHEAP_ERR_NO_MEMORY;
  const mheap_error *error = mh_error_of(heap);
  mheap_err code = error->code;
  if (wanted && !mh_this_thread.reporting && number_of(code) != 0) tell_and_keep(heap, *error);
  return code;
}
