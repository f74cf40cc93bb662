/* disks.c: see disks.h. */
#include "disks.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void op_log_free(op_log *log) {
  for (uint64_t i = 0; i < log->count; i++) free(log->ops[i].data);
  free(log->ops);
  *log = (op_log){0};
}

/* Not from calloc, which clears all of it when it was had before. */
disk disk_new(void) {
  void *bytes = mmap(NULL, DISK_MOST, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (bytes == MAP_FAILED) abort();
  return (disk){.bytes = bytes};
}

void disk_free(disk *d) { munmap(d->bytes, DISK_MOST); }

void disk_resize(disk *d, uint64_t length) {
  if (length > DISK_MOST) abort();
  if (length < d->length) memset(d->bytes + length, 0, d->length - length);
  d->length = length;
}

void disk_copy(disk *to, const disk *from) {
  disk_resize(to, from->length);
  memcpy(to->bytes, from->bytes, from->length);
}

void disk_read(disk *d, int fd) {
  ssize_t got = pread(fd, d->bytes, DISK_MOST, 0);
  if (got < 0) abort();
  d->length = (uint64_t)got;
}

void disk_write(const disk *d, int fd) {
  if (ftruncate(fd, (off_t)d->length) != 0) abort();
  if (pwrite(fd, d->bytes, d->length, 0) != (ssize_t)d->length) abort();
}

void disk_apply(disk *d, const op *it) {
  if (it->kind == OP_LENGTH) disk_resize(d, it->length);
  if (it->kind == OP_PUNCH && it->offset < d->length)
    memset(d->bytes + it->offset, 0, op_end(it) < d->length ? it->length : d->length - it->offset);
  if (it->kind != OP_WRITE) return;
  if (op_end(it) > DISK_MOST) abort();
  memcpy(d->bytes + it->offset, it->data, it->length);
  if (op_end(it) > d->length) d->length = op_end(it);
}
