/* report.h: telling the registered error function what went wrong.

   Owns that function. Calls output.h, error.h. Called last in a public function that failed, when
   no lock is held: the function may call whatever it likes. */
#ifndef MHEAP_REPORT_H
#define MHEAP_REPORT_H

#include "lane.h"

/* This thread's last error in `heap` (NULL: the default heap), if it is one of those that are
   reported: a message to the output, then the error function. Nothing when neither is registered,
   or inside of either. Returns its code. */
mheap_err mh_report_error(const mheap *heap);

/* While it is held, nothing is reported in this thread: by who tries something else first. Returns
   what was before, to be given back. */
static inline bool mh_report_hold(bool hold) {
  bool before = mh_this_thread.reporting;
  mh_this_thread.reporting = hold;
  return before;
}

#endif
