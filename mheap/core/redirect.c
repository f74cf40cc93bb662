/* redirect.c: does libmheap-preload serve this process's malloc? Owns nothing. Calls the dynamic
   linker, since this copy of the library may be another than that which serves. */
#include <dlfcn.h>

#include "mheap/mheap.h"

bool mheap_is_redirected(void) { return dlsym(RTLD_DEFAULT, "mheap_preloaded") != NULL; }
