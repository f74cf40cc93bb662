/* os_linux.c: os.h on Linux; with os_linux_huge.c the only code that calls the operating system.
   Owns nothing. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* ---- files ---- */

static const char *kind_of(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG: return "a file";
    case S_IFDIR: return "a directory";
    case S_IFIFO: return "a FIFO";
    case S_IFSOCK: return "a socket";
    case S_IFCHR: return "a character device";
    case S_IFBLK: return "a block device";
    default: return "not a file";
  }
}

int mh_os_identify(int fd, mh_os_identity *identity) {
  struct statx st;
  if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, &st) != 0) return errno;
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0) return errno;
  identity->device = makedev(st.stx_dev_major, st.stx_dev_minor);
  identity->inode = st.stx_ino;
  identity->mount_id = st.stx_mask & STATX_MNT_ID ? st.stx_mnt_id : 0;
  identity->size = st.stx_size;
  identity->disk = st.stx_blocks * 512;
  identity->regular = S_ISREG(st.stx_mode);
  identity->kind = kind_of(st.stx_mode);
  identity->writable = (flags & O_ACCMODE) == O_RDWR;
  return 0;
}

/* Who asks for the time of the last change makes the next write note one that differs, in the inode:
   at every commit, that cost half as much again as the commit's own write. */
int mh_os_file_sizes(int fd, uint64_t *size, uint64_t *disk) {
  struct statx st;
  if (statx(fd, "", AT_EMPTY_PATH, STATX_SIZE | STATX_BLOCKS, &st) != 0) return errno;
  *size = st.stx_size;
  *disk = st.stx_blocks * 512;
  return 0;
}

int mh_os_disk_left(int fd, uint64_t *left) {
  struct statvfs system;
  if (fstatvfs(fd, &system) != 0) return errno;
  *left = (uint64_t)system.f_bavail * system.f_frsize;
  return 0;
}

bool mh_os_same_file(int fd, const char *path) {
  struct stat open_file, named;
  return fstat(fd, &open_file) == 0 && stat(path, &named) == 0 && open_file.st_dev == named.st_dev &&
         open_file.st_ino == named.st_ino;
}

void mh_os_path(int fd, char *buffer, size_t size) {
  char link[40];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, buffer, size - 1);
  if (length < 0) snprintf(buffer, size, "descriptor %d", fd);
  else buffer[length] = '\0';
}

static_assert(MH_OS_PATH_MAX >= PATH_MAX, "what realpath() may write");

int mh_os_real_path(const char *path, char *buffer) { return realpath(path, buffer) != NULL ? 0 : errno; }

int mh_os_above_standard_streams(int *fd) {
  if (*fd < 0) return errno;
  if (*fd > STDERR_FILENO) return 0;
  int low = *fd, failed = 0;
  *fd = fcntl(low, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  if (*fd < 0) failed = errno;
  close(low);
  return failed;
}

int mh_os_open(const char *path, bool writable, bool create, int *fd) {
  int flags = (writable ? O_RDWR : O_RDONLY) | (create ? O_CREAT : 0) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  *fd = open(path, flags, 0666);
  return mh_os_above_standard_streams(fd);
}

int mh_os_sync_name(const char *path) {
  char directory[PATH_MAX];
  const char *slash = strrchr(path, '/');
  size_t length = slash == NULL ? 0 : (size_t)(slash - path) + 1;
  if (length >= sizeof directory) return 0;
  memcpy(directory, path, length);
  strcpy(directory + length, length == 0 ? "." : "");
  int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return 0;
  int failed = fsync(fd) == 0 || errno != EIO ? 0 : EIO;
  close(fd);
  return failed;
}

int mh_os_create(const char *path, int *fd) {
  *fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, 0666);
  return mh_os_above_standard_streams(fd);
}

int mh_os_open_no_link(const char *path, int *fd) {
  *fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW);
  return mh_os_above_standard_streams(fd);
}

/* Where a file system knows no renaming without replacing, two names for a moment do as well. */
int mh_os_rename(const char *from, const char *to, bool replace) {
  if (replace) return rename(from, to) == 0 ? 0 : errno;
  if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return errno;
  if (link(from, to) != 0) return errno;
  return unlink(from) == 0 ? 0 : errno;
}

int mh_os_copy_permissions(int from, int to) {
  struct stat st;
  if (fstat(from, &st) != 0) return errno;
  return fchmod(to, st.st_mode & 0777) == 0 ? 0 : errno;
}

int mh_os_remove(const char *path) { return unlink(path) == 0 ? 0 : errno; }

int mh_os_reopen(int fd, bool writable, int *own, bool *shared) {
  char link[40];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  *shared = mh_os_open(link, writable, false, own) != 0;
  if (!*shared) return 0;
  *own = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  return *own < 0 ? errno : 0;
}

void mh_os_close(int fd) { close(fd); }

int mh_os_read(int fd, void *buffer, size_t length, uint64_t offset, size_t *got) {
  *got = 0;
  while (*got < length) {
    ssize_t n = pread(fd, (char *)buffer + *got, length - *got, (off_t)(offset + *got));
    if (n == 0) return 0;
    if (n < 0 && errno != EINTR) return errno;
    if (n > 0) *got += (size_t)n;
  }
  return 0;
}

/* Beyond the process's limit on the size of files a call would not only fail: the system also
   sends SIGXFSZ, which ends a process that did not prepare for it. */
static uint64_t size_limit(void) {
  struct rlimit most;
  return getrlimit(RLIMIT_FSIZE, &most) != 0 || most.rlim_cur == RLIM_INFINITY ? UINT64_MAX : most.rlim_cur;
}

static bool grows_beyond_limit(int fd, uint64_t size) {
  struct stat st;
  return size > size_limit() && (fstat(fd, &st) != 0 || size > (uint64_t)st.st_size);
}

int mh_os_write(int fd, const void *buffer, size_t length, uint64_t offset) {
  size_t done = 0;
  if (offset + length > size_limit()) return EFBIG;
  while (done < length) {
    ssize_t n = pwrite(fd, (const char *)buffer + done, length - done, (off_t)(offset + done));
    if (n < 0 && errno != EINTR) return errno;
    if (n > 0) done += (size_t)n;
  }
  return 0;
}

int mh_os_truncate(int fd, uint64_t size) {
  int result;
  if (grows_beyond_limit(fd, size)) return EFBIG;
  do result = ftruncate(fd, (off_t)size);
  while (result != 0 && errno == EINTR);
  return result == 0 ? 0 : errno;
}

static int allocate(int fd, int how, uint64_t offset, uint64_t length) {
  int result;
  do result = fallocate(fd, how, (off_t)offset, (off_t)length);
  while (result != 0 && errno == EINTR);
  return result == 0 ? 0 : errno;
}

int mh_os_allocate(int fd, uint64_t offset, uint64_t length) {
  return grows_beyond_limit(fd, offset + length) ? EFBIG : allocate(fd, 0, offset, length);
}

int mh_os_punch(int fd, uint64_t offset, uint64_t length) {
  return allocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
}

#define EXTENTS 16

bool mh_os_shares_blocks(int fd) {
  union {
    struct fiemap map;
    char room[sizeof(struct fiemap) + EXTENTS * sizeof(struct fiemap_extent)];
  } u = {.map = {.fm_length = FIEMAP_MAX_OFFSET, .fm_extent_count = EXTENTS}};
  if (ioctl(fd, FS_IOC_FIEMAP, &u.map) != 0) return false; /* a file system without extents shares none */
  for (uint32_t i = 0; i < u.map.fm_mapped_extents; i++)
    if (u.map.fm_extents[i].fe_flags & FIEMAP_EXTENT_SHARED) return true;
  return false;
}

/* Where data or a hole begins, from there on; UINT64_MAX: nowhere. */
static int seek(int fd, int what, uint64_t from, uint64_t *at) {
  off_t found = from <= INT64_MAX ? lseek(fd, (off_t)from, what) : -1;
  if (found < 0 && from <= INT64_MAX && errno != ENXIO) return errno;
  *at = found >= 0 ? (uint64_t)found : UINT64_MAX;
  return 0;
}

static uint64_t at_most(uint64_t number, uint64_t most) { return number < most ? number : most; }

static int seek_stretch(int fd, uint64_t from, uint64_t end, uint64_t *start, uint64_t *stop) {
  *start = from;
  *stop = end;
  int failed = seek(fd, SEEK_DATA, from, start);
  if (!failed && *start < end) failed = seek(fd, SEEK_HOLE, *start, stop);
  *start = at_most(*start, end);
  *stop = at_most(*stop, end);
  return failed;
}

/* The descriptor may be a duplicate of the program's, whose position is not ours to change. */
int mh_os_seek_data(int fd, uint64_t from, uint64_t end, uint64_t *start, uint64_t *stop) {
  off_t position = lseek(fd, 0, SEEK_CUR);
  int failed = seek_stretch(fd, from, end, start, stop);
  if (position >= 0) lseek(fd, position, SEEK_SET);
  if (failed != EINVAL && failed != EOPNOTSUPP) return failed;
  *start = at_most(from, end);
  *stop = end;
  return 0;
}

int mh_os_sync(int fd) { return fdatasync(fd) == 0 ? 0 : errno; }

void mh_os_begin_writing(int fd, uint64_t offset, uint64_t length) {
  sync_file_range(fd, (off_t)offset, (off_t)length, SYNC_FILE_RANGE_WRITE);
}

/* ---- locks ---- */

static struct flock lock_of(uint64_t first, uint64_t count, short type) {
  return (struct flock){
      .l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)first, .l_len = (off_t)count};
}

int mh_os_lock(int fd, uint64_t byte, bool exclusive) {
  struct flock lock = lock_of(byte, 1, exclusive ? F_WRLCK : F_RDLCK);
  if (fcntl(fd, F_OFD_SETLK, &lock) == 0) return 0;
  return errno == EACCES ? EAGAIN : errno;
}

int mh_os_unlock(int fd, uint64_t byte) {
  struct flock lock = lock_of(byte, 1, F_UNLCK);
  return fcntl(fd, F_OFD_SETLK, &lock) == 0 ? 0 : errno;
}

bool mh_os_locked_range(int fd, uint64_t first, uint64_t count) {
  struct flock lock = lock_of(first, count, F_WRLCK);
  return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

bool mh_os_locked(int fd, uint64_t byte) { return mh_os_locked_range(fd, byte, 1); }

/* ---- memory ---- */

size_t mh_os_page(void) { return (size_t)sysconf(_SC_PAGESIZE); }

/* Inaccessible memory is not counted; with MAP_NORESERVE it would not be when it is made accessible
   either, and a block larger than the machine's memory would be granted where others' malloc fails. */
int mh_os_reserve(void *address, uint64_t length, void **got) {
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | (address != NULL ? MAP_FIXED_NOREPLACE : 0);
  void *memory = mmap(address, length, PROT_NONE, flags, -1, 0);
  if (memory == MAP_FAILED) return errno;
  if (address != NULL && memory != address) { /* a kernel or sanitizer that took it for a hint */
    munmap(memory, length);
    return EEXIST;
  }
  *got = memory;
  return 0;
}

void mh_os_release(void *address, uint64_t length) { munmap(address, length); }

/* What replaces another mapping the kernel grants whatever the limit is, and refuses all that comes later. */
static bool exceeds_data(uint64_t length) {
  struct rlimit most;
  mh_os_usage usage;
  if (getrlimit(RLIMIT_DATA, &most) != 0 || most.rlim_cur == RLIM_INFINITY) return false;
  if (mh_os_process(&usage) != 0) return false;
  return usage.data > most.rlim_cur || length > most.rlim_cur - usage.data;
}

int mh_os_map(void *address, uint64_t length, int fd, uint64_t offset, bool writable, bool shared) {
  if (writable && !shared && exceeds_data(length)) return ENOMEM;
  int prot = PROT_READ | (writable ? PROT_WRITE : 0);
  bool pool = mh_os_file_pages(fd) != 0;
  int flags = MAP_FIXED | (shared ? MAP_SHARED : MAP_PRIVATE) | (shared == pool ? MAP_NORESERVE : 0);
  if (mmap(address, length, prot, flags, fd, (off_t)offset) != MAP_FAILED) return 0;
  int failed = errno;
  if (pool) mh_os_decommit(address, length); /* refused half way, it leaves a hole */
  return failed;
}

void mh_os_advise_fresh(void *address, uint64_t length) { madvise(address, length, MADV_RANDOM); }

int mh_os_commit(void *address, uint64_t length) {
  return mprotect(address, length, PROT_READ | PROT_WRITE) == 0 ? 0 : errno;
}

int mh_os_decommit(void *address, uint64_t length) {
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
  return mmap(address, length, PROT_NONE, flags, -1, 0) == MAP_FAILED ? errno : 0;
}

int mh_os_discard(void *address, uint64_t length) {
  return madvise(address, length, MADV_DONTNEED) == 0 ? 0 : errno;
}

int mh_os_move(void *from, void *to, uint64_t length) {
  int saved = errno, flags = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
  int failed = mremap(from, length, length, flags, to) == MAP_FAILED ? errno : 0;
  errno = saved;
  return failed;
}

int mh_os_populate(void *address, uint64_t length) {
  return madvise(address, length, MADV_POPULATE_WRITE) == 0 ? 0 : errno;
}

int mh_os_prefetch(void *address, uint64_t length) {
  if (madvise(address, length, MADV_POPULATE_READ) == 0) return 0;
  if (errno != EINVAL) return errno;
  return madvise(address, length, MADV_WILLNEED) == 0 ? 0 : errno;
}

bool mh_os_can_populate(void) {
  return madvise((void *)(uintptr_t)mh_os_page(), 0, MADV_POPULATE_WRITE) == 0;
}

int mh_os_protect(void *address, uint64_t length, bool accessible) {
  return mprotect(address, length, accessible ? PROT_READ | PROT_WRITE : PROT_NONE) == 0 ? 0 : errno;
}

int mh_os_set_writable(void *address, uint64_t length, bool writable) {
  return mprotect(address, length, PROT_READ | (writable ? PROT_WRITE : 0)) == 0 ? 0 : errno;
}

/* Where the flags ask for nothing, that is all this call does. */
bool mh_os_is_mapped(void *address, uint64_t length) { return msync(address, length, MS_ASYNC) == 0; }

/* Pages that hold nothing stay untouched, so that holes of a file cost the copy nothing. */
static void copy_pages(char *to, const char *from, uint64_t length) {
  static const char zeros[4096];
  for (uint64_t i = 0; i < length; i += sizeof zeros)
    if (memcmp(from + i, zeros, sizeof zeros) != 0) memcpy(to + i, from + i, sizeof zeros);
}

int mh_os_own_copy(void *address, uint64_t length) {
  void *copy = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (copy == MAP_FAILED) return errno;
  copy_pages(copy, address, length);
  if (mremap(copy, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, address) != MAP_FAILED) return 0;
  int failed = errno;
  munmap(copy, length);
  return failed;
}

static void *table(uint64_t length, int prot) {
  void *made = mmap(NULL, length, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return made == MAP_FAILED ? NULL : made;
}

void *mh_os_table(uint64_t length) { return table(length, PROT_READ | PROT_WRITE); }

void *mh_os_table_to_read(uint64_t length) { return table(length, PROT_READ); }

void mh_os_table_free(void *table, uint64_t length) { munmap(table, length); }

int mh_os_cover(void *address, uint64_t length) {
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
  return mmap(address, length, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED ? errno : 0;
}

static bool (*is_lost)(void *address);
static struct sigaction bus_before;

static void on_bus(int number, siginfo_t *info, void *context) {
  int saved = errno;
  bool covered = info->si_code == BUS_ADRERR && is_lost(info->si_addr);
  errno = saved;
  if (covered) return;
  if (bus_before.sa_flags & SA_SIGINFO) bus_before.sa_sigaction(number, info, context);
  else if (bus_before.sa_handler != SIG_DFL && bus_before.sa_handler != SIG_IGN)
    bus_before.sa_handler(number);
  else sigaction(SIGBUS, &bus_before, NULL); /* and the access, tried again, ends the process */
}

void mh_os_watch_lost_pages(bool (*lost)(void *address)) {
  struct sigaction action = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
  is_lost = lost;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, &bus_before);
}

void mh_os_print(const char *text) {
  size_t length = strlen(text);
  while (length > 0) {
    ssize_t n = write(STDERR_FILENO, text, length);
    if (n < 0 && errno != EINTR) return; /* nobody listens */
    if (n < 0) continue;
    text += n;
    length -= (size_t)n;
  }
}

void mh_os_complain(const char *subject, const char *what) { mh_os_tell(STDERR_FILENO, subject, what); }

int mh_os_own_stderr(void) { return fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 200); }

void mh_os_tell(int fd, const char *subject, const char *what) {
  struct iovec parts[] = {{(char *)(uintptr_t)subject, strlen(subject)},
                          {(char *)(uintptr_t)what, strlen(what)},
                          {(char *)"\n", 1}};
  if (writev(fd, parts, 3) < 0) return; /* nobody listens */
}

/* ---- a wait over a fork ---- */

int mh_os_gate_open(mh_os_gate *gate) {
  if (pipe2(gate->fds, O_CLOEXEC) == 0) return 0;
  gate->fds[0] = gate->fds[1] = -1;
  return errno;
}

static void gate_close(mh_os_gate *gate, int end) {
  if (gate->fds[end] >= 0) close(gate->fds[end]);
  gate->fds[end] = -1;
}

/* The end of the file comes when the child closes its end, or the system does for it. */
void mh_os_gate_wait(mh_os_gate *gate) {
  char byte;
  int saved = errno;
  gate_close(gate, 1);
  while (gate->fds[0] >= 0 && read(gate->fds[0], &byte, 1) < 0 && errno == EINTR) continue;
  gate_close(gate, 0);
  errno = saved;
}

void mh_os_gate_leave(mh_os_gate *gate) {
  gate_close(gate, 0);
  gate_close(gate, 1);
}

/* ---- the rest ---- */

void mh_os_random(void *buffer, size_t length) {
  size_t got = 0;
  while (got < length) {
    ssize_t n = getrandom((char *)buffer + got, length - got, 0);
    if (n > 0) got += (size_t)n;
  }
}

uint64_t mh_os_time_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

double mh_os_monotonic(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void mh_os_sleep(double seconds) {
  struct timespec rest = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
  nanosleep(&rest, NULL); /* a signal wakes the waiter early, which is harmless */
}

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool mh_os_boot_id(uint8_t id[16]) {
  char text[37] = "";
  size_t got = 0;
  int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  int failed = mh_os_read(fd, text, 36, 0, &got);
  close(fd);
  int digits = 0;
  for (size_t i = 0; !failed && i < got && digits < 32; i++) {
    int digit = hex_digit(text[i]);
    if (digit < 0) continue;
    id[digits / 2] = (uint8_t)(digits % 2 ? id[digits / 2] | digit : digit << 4);
    digits++;
  }
  return digits == 32;
}

uint64_t mh_os_memory(void) {
  long pages = sysconf(_SC_PHYS_PAGES);
  return pages > 0 ? (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

_Noreturn void mh_os_exit(int code) { _exit(code); }

uint64_t mh_os_pid(void) { return (uint64_t)getpid(); }

uint32_t mh_os_processors(void) {
  long count = sysconf(_SC_NPROCESSORS_ONLN);
  return count > 0 && count < 65536 ? (uint32_t)count : 1;
}

#ifdef __aarch64__
#ifndef HWCAP_CRC32
#define HWCAP_CRC32 (1 << 7)
#endif
bool mh_os_has_crc32c(void) { return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0; }
#elif defined(__x86_64__)
/* Asked before constructors ran, the compiler's library has to ask the processor first. */
bool mh_os_has_crc32c(void) {
  __builtin_cpu_init();
  return __builtin_cpu_supports("sse4.2") != 0;
}
#else
bool mh_os_has_crc32c(void) { return false; }
#endif
