/* disks.h: what is done to a file, and a disk that it is done to.

   Owns nothing but what it hands out. */
#ifndef MHEAP_CRASH_DISKS_H
#define MHEAP_CRASH_DISKS_H

#include <stdbool.h>
#include <stdint.h>

typedef enum op_kind { OP_WRITE, OP_LENGTH, OP_PUNCH, OP_SYNC, OP_NOTE } op_kind;

typedef struct op {
  op_kind kind;
  uint64_t offset, length; /* LENGTH: of the file, in `length`; NOTE: the number */
  uint8_t *data;           /* WRITE */
  unsigned place;          /* SYNC: in the code (places.h) */
  bool lied;               /* see lies.h */
} op;

typedef struct op_log {
  op *ops;
  uint64_t count;
} op_log;

void op_log_free(op_log *log);
static inline uint64_t op_end(const op *it) { return it->offset + it->length; }

typedef struct disk {
  uint8_t *bytes; /* DISK_MOST of them; zero behind `length` */
  uint64_t length;
} disk;
#define DISK_MOST ((uint64_t)24 << 20)

disk disk_new(void);
void disk_copy(disk *to, const disk *from);
void disk_read(disk *d, int fd);
void disk_write(const disk *d, int fd);
void disk_free(disk *d);
void disk_resize(disk *d, uint64_t length);
void disk_apply(disk *d, const op *it);

#endif
