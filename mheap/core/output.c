/* output.c: see output.h. */
#include "output.h"

#include <stdarg.h>
#include <stdio.h>

#include "callback.h"
#include "lane.h"
#include "os.h"

static mh_callback registered;

void mheap_register_output(mheap_output_fun *out, void *arg) {
  mh_callback_set(&registered, (mh_function *)out, arg);
}

bool mh_output_is_registered(void) { return mh_callback_is_set(&registered); }

/* What the function itself prints would come back to it for ever. */
static void to_registered(const char *text) {
  void *arg;
  mheap_output_fun *out = (mheap_output_fun *)mh_callback_get(&registered, &arg);
  if (out == NULL || mh_this_thread.printing) {
    mh_os_print(text);
    return;
  }
  mh_this_thread.printing = true;
  out(text, arg);
  mh_this_thread.printing = false;
}

static void print(mheap_output_fun *out, void *arg, const char *format, va_list values) {
  char text[MH_OUTPUT_MOST + 1];
  vsnprintf(text, sizeof text, format, values);
  if (out != NULL) out(text, arg);
  else to_registered(text);
}

void mh_output(const char *format, ...) {
  va_list values;
  va_start(values, format);
  print(NULL, NULL, format, values);
  va_end(values);
}

void mh_output_to(mheap_output_fun *out, void *arg, const char *format, ...) {
  va_list values;
  va_start(values, format);
  print(out, arg, format, values);
  va_end(values);
}
