/* os.h: the operating system, as mheap needs it. Implemented by os_linux*.c alone.

   Contract: addresses, offsets and lengths are multiples of the host's page and lengths are
   over 0, unless said otherwise; a call returns 0 or an errno value and has no effect then.
   Every write, sync and mapping of a region passes here, so that a recorder or a fault
   injector needs this one seam. */
#ifndef MHEAP_OS_H
#define MHEAP_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- files ---- */

typedef struct mh_os_identity { /* of an open file; any length of name is NUL-terminated */
  uint64_t device, inode, mount_id;
  uint64_t size;    /* bytes */
  uint64_t disk;    /* bytes allocated */
  bool regular;     /* a file that can be mapped */
  const char *kind; /* "a directory", "a FIFO", … for messages */
  bool writable;    /* the descriptor was opened for writing */
} mh_os_identity;

int mh_os_identify(int fd, mh_os_identity *identity);
int mh_os_file_sizes(int fd, uint64_t *size, uint64_t *disk);
/* Bytes that this user may still allocate on fd's file system. */
int mh_os_disk_left(int fd, uint64_t *left);
/* Does `path` name the file that is open as fd? */
bool mh_os_same_file(int fd, const char *path);
/* The name the kernel has for fd, into buffer[size], or "descriptor N". */
void mh_os_path(int fd, char *buffer, size_t size);

/* The absolute name of the file at `path`, without links, into buffer[MH_OS_PATH_MAX]. */
#define MH_OS_PATH_MAX 4096
int mh_os_real_path(const char *path, char *buffer);

/* Descriptors of ours are never those of the standard streams. */
int mh_os_open(const char *path, bool writable, bool create, int *fd);
/* The same for a new file, writable: EEXIST where there is one, or a link. */
int mh_os_create(const char *path, int *fd);
/* The same for one that is there, writable: ELOOP for a link. */
int mh_os_open_no_link(const char *path, int *fd);
/* One file gets the name of another, which it replaces, or else EEXIST. */
int mh_os_rename(const char *from, const char *to, bool replace);
/* Who may read and write the one may do so with the other. */
int mh_os_copy_permissions(int from, int to);
/* Makes the name of a file that was just made durable: syncs its directory. 0 also where that may not be
   opened, or cannot be synced. */
int mh_os_sync_name(const char *path);
int mh_os_remove(const char *path);
/* A descriptor of its own for the same file: a new open file description if that can be
   had (then *shared is false), else a duplicate, whose locks are shared with fd's. */
int mh_os_reopen(int fd, bool writable, int *own, bool *shared);
void mh_os_close(int fd);
/* Any offset and length. Short reads are completed; *got < length at the end of the file. */
int mh_os_read(int fd, void *buffer, size_t length, uint64_t offset, size_t *got);
/* Any offset and length; completes short writes. */
int mh_os_write(int fd, const void *buffer, size_t length, uint64_t offset);
int mh_os_truncate(int fd, uint64_t size);
/* Allocates disk space; extends the file if the range ends behind it. EOPNOTSUPP: the file
   system cannot. */
int mh_os_allocate(int fd, uint64_t offset, uint64_t length);
int mh_os_punch(int fd, uint64_t offset, uint64_t length);
int mh_os_sync(int fd);
/* Lets the disk begin with what was written there, which a sync then has to wait less for. Promises
   nothing, and tells nothing: what cannot be written is told by the sync. */
void mh_os_begin_writing(int fd, uint64_t offset, uint64_t length);
/* The first stretch of data in [from, end), any offsets; *start == *stop == end: there is none. Holes
   read as zero. Where the file system cannot tell, all of it is data. */
int mh_os_seek_data(int fd, uint64_t from, uint64_t end, uint64_t *start, uint64_t *stop);
/* Are there blocks (among the first extents) that a copy made by reflink shares? */
bool mh_os_shares_blocks(int fd);

/* ---- a file that takes the place of another (os_linux_replace.c) ---- */

/* A new file, writable, that only its maker may open, in the directory of `path`: without a name, so that it
   goes with its maker, or where that cannot be (*named) by this name, EEXIST where there is one. */
int mh_os_create_beside(const char *path, int *fd, bool *named);
/* Gives a file without a name this one. EEXIST: there is one. */
int mh_os_give_name(int fd, const char *path);
/* Owner, permissions, access lists and attributes of users. */
int mh_os_copy_access(int from, int to);

/* For os_linux*.c, of a call that opened *fd or failed: where standard error was closed, a heap that got its
   number would be written over by messages. */
int mh_os_above_standard_streams(int *fd);

/* ---- locks: of open file descriptions, on any bytes; advisory ---- */

int mh_os_lock(int fd, uint64_t byte, bool exclusive); /* EAGAIN: somebody else has it */
int mh_os_unlock(int fd, uint64_t byte);
bool mh_os_locked(int fd, uint64_t byte); /* would an exclusive lock be refused? */
/* The same of that many bytes, more than 0, at once: is one of them locked by somebody else? */
bool mh_os_locked_range(int fd, uint64_t first, uint64_t count);

/* ---- memory ---- */

size_t mh_os_page(void);
/* Address space, inaccessible, at `address` (NULL: anywhere) or EEXIST; never clobbers. */
int mh_os_reserve(void *address, uint64_t length, void **got);
void mh_os_release(void *address, uint64_t length);
/* Maps a file over a part of a reservation. Pages of a pool (hugetlbfs) are set aside for what a
   private mapping may change, for no other. ENOMEM also for a private mapping that can be written and for
   which a limit on data (RLIMIT_DATA) has no room. */
int mh_os_map(void *address, uint64_t length, int fd, uint64_t offset, bool writable, bool shared);
/* Of fresh space of a file: pages are brought in one by one. Read ahead, they come as large folios, all of
   which is gone through again at the first store to each page: that took two to four times as long where the
   mapping does not lie as the file does, so that folios are not mapped whole. */
void mh_os_advise_fresh(void *address, uint64_t length);
/* Makes a part of a reservation plain zeroed memory. */
int mh_os_commit(void *address, uint64_t length);
/* Makes a part of a reservation inaccessible again and forgets its contents. */
int mh_os_decommit(void *address, uint64_t length);
/* Forgets the contents of anonymous pages; they read as zero. Refused for locked ones. */
int mh_os_discard(void *address, uint64_t length);
/* Moves the contents of private anonymous memory to another such range; where they were reads as zero.
   Page tables are changed, nothing is copied. */
int mh_os_move(void *from, void *to, uint64_t length);
/* Brings pages in, writable, ahead of the stores. A failure means that they fault: EINVAL where
   the kernel cannot do it, or they are not writable; other numbers where the faults would fail. */
int mh_os_populate(void *address, uint64_t length);
bool mh_os_can_populate(void);
/* Brings pages in for reading, or where the kernel cannot do that at once, lets it begin. */
int mh_os_prefetch(void *address, uint64_t length);
/* Puts private memory with the same contents in place of what is mapped there. */
int mh_os_own_copy(void *address, uint64_t length);
/* Zeroed memory for the process's own tables, not from malloc; NULL when there is none.
   Pages that are never touched cost nothing. */
void *mh_os_table(uint64_t length);
/* The same, but for reading until mh_os_commit makes parts of it writable: only those are counted as
   memory of the process, by RLIMIT_DATA and where the system grants no more than it has. */
void *mh_os_table_to_read(uint64_t length);
void mh_os_table_free(void *table, uint64_t length);

/* Makes a part of a reservation inaccessible, or back again; contents stay. */
int mh_os_protect(void *address, uint64_t length, bool accessible);
/* Of memory that can be read. */
int mh_os_set_writable(void *address, uint64_t length, bool writable);
/* Is all of it mapped? */
bool mh_os_is_mapped(void *address, uint64_t length);

/* Plain zeroed memory in place of what was mapped there. Safe in a signal handler. */
int mh_os_cover(void *address, uint64_t length);
/* From now on `lost` is asked about every address behind the end of its file that is touched
   (SIGBUS), in the touching thread; true: it was covered, and the access is tried again.
   Otherwise what the process had set up for the signal happens. */
void mh_os_watch_lost_pages(bool (*lost)(void *address));
/* Text on standard error, as it is. */
void mh_os_print(const char *text);
/* A line on standard error: the two strings. Safe in a signal handler. */
void mh_os_complain(const char *subject, const char *what);
/* The same on another descriptor. */
void mh_os_tell(int fd, const char *subject, const char *what);
/* A descriptor of its own for standard error, out of the way of those of the program; -1: none. */
int mh_os_own_stderr(void);

/* ---- a wait over a fork: the parent waits until the child has done something, or is dead ---- */

typedef struct mh_os_gate {
  int fds[2];
} mh_os_gate;

int mh_os_gate_open(mh_os_gate *gate);   /* before the fork */
void mh_os_gate_wait(mh_os_gate *gate);  /* in the parent; also where there is no child */
void mh_os_gate_leave(mh_os_gate *gate); /* in the child, when it is done */

/* ---- what programs ask for by memkind's interface (os_linux_memkind.c) ---- */

int mh_os_private_flags(void); /* of mmap(2), for private memory */
/* mmap(2) with these flags. */
int mh_os_map_like(void *hint, uint64_t length, int flags, void **got);
int mh_os_bind(void *address, uint64_t length, int mode, const unsigned long *nodes, unsigned long count);
int mh_os_advise_small(void *address, uint64_t length);
/* A new file in a directory, writable, without a name. */
int mh_os_create_unnamed(const char *directory, int *fd);

/* ---- what was written to private mappings (os_linux_written.c) ---- */

typedef struct mh_os_range {
  uint64_t start, end; /* addresses */
} mh_os_range;

/* A way to ask: of the open /proc/self/pagemap, about [start, end); the rest as below. */
typedef int mh_os_written_fun(int fd, uint64_t start, uint64_t end, mh_os_range *ranges, size_t room,
                              size_t *count, uint64_t *next);
typedef struct mh_os_look {
  mh_os_written_fun *way;
  int fd;
} mh_os_look;
/* How to ask in this process now; good for several ranges, asked about at once. */
mh_os_look mh_os_look_now(void);

/* The pages of private mappings in [address, address + length) that hold contents of their own, no
   longer the file's: in order, neighbours joined, into ranges[room], room over 0. *next is where to go
   on: address + length when that was all. Never too few: pages that were stored to are among them
   until they are mapped anew or discarded. Others may be too: what a lock in memory or MAP_POPULATE
   brought into a writable mapping, and the page of zeros if the way is not MH_OS_WRITTEN_SCAN. */
int mh_os_written(const mh_os_look *look, void *address, uint64_t length, mh_os_range *ranges, size_t room,
                  size_t *count, uint64_t *next);

typedef enum mh_os_written_how {
  MH_OS_WRITTEN_SCAN,    /* ioctl PAGEMAP_SCAN (Linux 6.7): untouched ranges cost nothing */
  MH_OS_WRITTEN_PAGEMAP, /* /proc/self/pagemap: eight bytes are read a page */
  MH_OS_WRITTEN_COMPARE, /* neither works here: all is reported, contents must be compared */
} mh_os_written_how;

/* The first that works here, as a trial shows: chosen at the first call in a process, and in a child. */
mh_os_written_how mh_os_how_written(void);

/* For tests. From now on it is this way, whether it works or not; -1: as the trial says. */
void mh_os_force_written(int how);
/* The trial: a page that was stored to, one that was read, one untouched. Is the answer the first? */
bool mh_os_written_is_true(mh_os_written_fun *way, int fd);

/* ---- huge pages and NUMA nodes (os_linux_huge.c) ---- */

/* The page of a file on hugetlbfs, else 0. */
uint64_t mh_os_file_pages(int fd);
/* Is it on tmpfs? *huge: which gives its files huge pages unasked. */
bool mh_os_file_in_memory(int fd, bool *huge);
/* Makes a part of a reservation plain zeroed memory on huge pages of this size from the kernel's
   pool; address and length are multiples of it. Pages must be populated before they are used. */
int mh_os_map_huge(void *address, uint64_t length, uint64_t page, int node);
/* Asks for transparent huge pages. */
int mh_os_advise_huge(void *address, uint64_t length);
/* May there be any? */
bool mh_os_has_transparent(void);
/* Makes what is there transparent huge pages, now. */
int mh_os_collapse(void *address, uint64_t length);
/* Puts small pages in place of a huge one of private memory, with what it holds, if it was ever
   brought in. Safe in a signal handler. */
bool mh_os_make_small(void *address, uint64_t page);

/* One more than the highest NUMA node. */
int mh_os_nodes(void);
bool mh_os_has_node(int node);
/* From now on pages come from this node, as long as it has some. */
int mh_os_prefer_node(void *address, uint64_t length, int node);
/* The node of the page at an address that was touched; -1: not known. */
int mh_os_node_of(void *address);

typedef struct mh_os_pages { /* of ranges of addresses */
  uint64_t largest;          /* page size of the mappings: the largest */
  uint64_t bytes_1g, bytes_2m, bytes_other, bytes_transparent;
} mh_os_pages;

/* As the kernel counts them in all of these ranges, which are apart and in the order of their addresses;
   false: it does not. It tells of every mapping of the process, so ask once for many. */
bool mh_os_count_pages(const mh_os_range *ranges, size_t count, mh_os_pages *pages);

/* ---- the rest ---- */

void mh_os_random(void *buffer, size_t length);
uint64_t mh_os_time_ns(void); /* Unix time */
double mh_os_monotonic(void); /* seconds */
void mh_os_sleep(double seconds);
uint64_t mh_os_memory(void);         /* bytes the machine has */
uint64_t mh_os_address_limit(void);  /* bytes of address space this process may have; UINT64_MAX: no limit */
_Noreturn void mh_os_exit(int code); /* at once, without what runs at exit */
bool mh_os_boot_id(uint8_t id[16]);
uint64_t mh_os_pid(void);

/* What the kernel says of this process; milliseconds and bytes. */
typedef struct mh_os_usage {
  uint64_t elapsed, user, system;
  uint64_t resident, resident_peak; /* VmRSS, VmHWM */
  uint64_t data;                    /* VmData */
  uint64_t size_peak;               /* VmPeak */
  uint64_t major_faults;
} mh_os_usage;
int mh_os_process(mh_os_usage *usage);
uint32_t mh_os_processors(void); /* that are online; 1 where nobody knows */
bool mh_os_has_crc32c(void);     /* an instruction of the processor */

#endif
