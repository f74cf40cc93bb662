/* report.h: telling the registered error function what went wrong.

   Owns that function. Calls output.h, error.h. Called last in a public function that failed, when
   no lock is held: the function may call whatever it likes. */
#ifndef MHEAP_REPORT_H
#define MHEAP_REPORT_H

#include "heap.h"

/* This thread's last error in `heap`, if it is one of those that are reported: a message to the
   output, then the error function. Nothing when neither is registered, or inside of either. */
void mh_report_error(const mheap *heap);

#endif
