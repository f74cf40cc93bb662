/* secure.c: a program that is linked with libmheap-preload: whether it runs with rights of its own, and who
   allocated. Run set-user-ID, and not. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

int mmtrace(void);
_Bool mheap_is_in_region(const void *address);

int main(void) {
  char *block = malloc(1000);
  strcpy(block, "served");
  mmtrace();
  free(malloc(100));
  printf("secure %d, %s %d\n", getauxval(AT_SECURE) != 0, block, mheap_is_in_region(block));
  return 0;
}
