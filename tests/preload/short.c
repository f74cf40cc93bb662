/* short.c: takes all the memory it can get, in steps of argv[1] bytes, and says how much that was.

   Run with libmheap-preload before it and a limit on its address space. Calls libc. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
  size_t step = strtoull(argc > 1 ? argv[1] : "4096", NULL, 10), taken = 0;
  void **last = NULL;
  for (void **block; (block = malloc(step)) != NULL; last = block, taken += step) {
    memset(block, 1, step);
    *block = last;
  }
  int why = errno;
  for (void **next; last != NULL; last = next) {
    next = *last;
    free(last);
  }
  void *again = malloc(step);
  printf("%zu %d %d\n", taken, why == ENOMEM, again != NULL);
  free(again);
  return 0;
}
