/* measure.c: runs a command with a library preloaded: measure LIBRARY COMMAND [ARGUMENT]…

   Prints a line on standard error when it is over: seconds from start to end, and the peak of
   resident kilobytes of the command or of the largest of its children. LIBRARY "" preloads nothing. The
   measuring process is small, because a child's peak begins with the size of who forked it.
   Calls libc. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

int main(int argc, char **argv) {
  struct rusage usage;
  int status = 1;
  if (argc < 3) return 2;
  double start = now();
  pid_t pid = fork();
  if (pid == 0) {
    if (argv[1][0] != '\0') setenv("LD_PRELOAD", argv[1], 1);
    execvp(argv[2], argv + 2);
    perror(argv[2]);
    _exit(127);
  }
  if (pid < 0 || wait4(pid, &status, 0, &usage) != pid) return 1;
  double end = now();
  fprintf(stderr, "\n%.6f %ld\n", end - start, usage.ru_maxrss);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
