/* os_linux.h: what the files os_linux*.c share. Takes no lock. */
#ifndef MHEAP_OS_LINUX_H
#define MHEAP_OS_LINUX_H

/* Of a call that opened *fd, or failed: where standard error was closed, a heap that got its number would be
   written over by messages. 0 or errno. */
int mh_os_above_standard_streams(int *fd);

#endif
