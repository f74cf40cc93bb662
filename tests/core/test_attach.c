/* test_attach.c: what is no heap, or no heap that this mheap may use now, is refused: with the
   right error, a text that names the path and what to do, and the file's bytes as they were. */
#include <grp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "image.h"
#include "superblock.h"

#define AT(field) offsetof(mh_superblock, field)
#define ID(field) offsetof(mh_identity, field)

enum { LIVE, READONLY, SCRATCH, MODES };
static const mheap_options modes[MODES] = {
    {.mode = MHEAP_MODE_LIVE}, {.mode = MHEAP_MODE_READONLY}, {.mode = MHEAP_MODE_SCRATCH}};

/* ---- a heap to damage ---- */

static const char *heap_path(void) {
  static char path[1024];
  if (path[0] == '\0') snprintf(path, sizeof path, "%s", test_path("patient.heap"));
  return path;
}

/* With a block behind key 0 that says "kept"; left open if it is to look crashed. */
static void make_heap(bool crashed) {
  mheap_error error = {0};
  unlink(heap_path());
  mheap *heap = mheap_open(heap_path(), NULL, &error);
  if (heap == NULL) {
    fprintf(stderr, "%s\n", error.text);
    exit(2);
  }
  char *block = mheap_malloc(heap, 100);
  strcpy(block, "kept");
  CHECK_EQ(mheap_setkey(heap, 0, block), MHEAP_OK);
  for (int i = 0; i < 20; i++) CHECK(mheap_malloc(heap, 5000) != NULL);
  if (crashed) mheap_abandon(heap);
  else CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static void poke(uint64_t at, uint64_t word, unsigned width, bool seal) {
  int fd = open(heap_path(), O_RDWR);
  file_set(fd, at, word, width);
  if (seal) file_seal(fd);
  close(fd);
}

static uint64_t peek(uint64_t at) {
  int fd = open(heap_path(), O_RDONLY);
  uint64_t word = file_word(fd, at);
  close(fd);
  return word;
}

/* ---- refusing ---- */

static image take_image(const char *path) {
  int fd = open(path, O_RDONLY | O_NONBLOCK);
  image it = image_of(fd);
  close(fd);
  return it;
}

static void check_untouched(const char *path, image *before) {
  int fd = open(path, O_RDONLY | O_NONBLOCK);
  CHECK_EQ(image_differs(before, fd), UINT64_MAX);
  close(fd);
  image_free(before);
}

static void check_error(const mheap_error *error, mheap_err code, const char *path, const char *part) {
  if (!CHECK_EQ(error->code, code)) fprintf(stderr, "  %s\n", error->text);
  CHECK_CONTAINS(error->text, path);
  CHECK_CONTAINS(error->text, part);
  CHECK(strchr(error->text, '\n') == NULL);
}

/* Both by path and by a descriptor. */
static void refuses(const char *path, const mheap_options *options, mheap_err code, const char *part) {
  mheap_error error = {0};
  image before = take_image(path);
  CHECK(mheap_open(path, options, &error) == NULL);
  check_error(&error, code, path, part);
  int fd = open(path, options->mode == MHEAP_MODE_LIVE ? O_RDWR | O_NONBLOCK : O_RDONLY | O_NONBLOCK);
  if (fd >= 0) {
    memset(&error, 0, sizeof error);
    CHECK(mheap_attach(fd, options, &error) == NULL);
    check_error(&error, code, path, part);
    close(fd);
  }
  check_untouched(path, &before);
}

static void refuses_in_all_modes(const char *path, mheap_err code, const char *part) {
  for (int mode = 0; mode < MODES; mode++) refuses(path, &modes[mode], code, part);
}

static bool attaches(const mheap_options *options) {
  mheap_error error = {0};
  mheap *heap = mheap_open(heap_path(), options, &error);
  if (heap == NULL) {
    fprintf(stderr, "%s\n", error.text);
    return false;
  }
  CHECK_STR(mheap_getkey(heap, 0), "kept");
  CHECK_EQ(mheap_check(heap, NULL, NULL, NULL), MHEAP_OK);
  CHECK_EQ(mheap_detach(heap, &error), MHEAP_OK);
  return true;
}

static void an_untouched_heap_attaches(void) {
  make_heap(false);
  for (int mode = 0; mode < MODES; mode++) CHECK(attaches(&modes[mode]));
}

/* ---- things that are no files ---- */

static void a_directory_is_refused(void) {
  refuses_in_all_modes(test_directory(), MHEAP_ERR_NOT_A_HEAP, "a directory");
}

static int open_fifo(void *path) {
  alarm(10); /* opening a FIFO for reading waits for a writer, unless one asks not to */
  refuses_in_all_modes(path, MHEAP_ERR_NOT_A_HEAP, "a FIFO");
  return 0;
}

static void a_fifo_is_refused_and_not_waited_for(void) {
  char path[1024];
  snprintf(path, sizeof path, "%s", test_path("fifo"));
  REQUIRE_EQ(mkfifo(path, 0600), 0);
  CHECK_EQ(in_child_process(open_fifo, path), 0);
}

static void a_socket_is_refused(void) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  char path[1024];
  snprintf(path, sizeof path, "%s", test_path("s"));
  REQUIRE(strlen(path) < sizeof address.sun_path);
  memcpy(address.sun_path, path, strlen(path));
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  REQUIRE_EQ(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
  for (int mode = 0; mode < MODES; mode++) {
    mheap_error error = {0};
    CHECK(mheap_open(path, &modes[mode], &error) == NULL);
    check_error(&error, MHEAP_ERR_NOT_A_HEAP, path, "a socket");
    CHECK(mheap_attach(fd, &modes[mode], &error) == NULL);
    check_error(&error, MHEAP_ERR_NOT_A_HEAP, "socket", "a socket");
  }
  close(fd);
}

static void devices_are_refused(void) {
  static const char *const devices[] = {"/dev/null", "/dev/zero"};
  for (int i = 0; i < 2; i++)
    for (int mode = 0; mode < MODES; mode++) {
      mheap_error error = {0};
      CHECK(mheap_open(devices[i], &modes[mode], &error) == NULL);
      check_error(&error, MHEAP_ERR_NOT_A_HEAP, devices[i], "a character device");
    }
}

static void a_pipe_and_no_descriptor_at_all_are_refused(void) {
  mheap_error error = {0};
  int ends[2];
  REQUIRE_EQ(pipe(ends), 0);
  CHECK(mheap_attach(ends[0], &modes[READONLY], &error) == NULL);
  check_error(&error, MHEAP_ERR_NOT_A_HEAP, "pipe", "a FIFO");
  close(ends[0]);
  close(ends[1]);
  const int none[] = {ends[0], -2, INT32_MIN, INT32_MAX};
  for (int i = 0; i < 4; i++) {
    CHECK(mheap_attach(none[i], NULL, &error) == NULL);
    CHECK_EQ(error.code, MHEAP_ERR_SYSTEM);
    CHECK_EQ(error.sys, EBADF);
  }
}

static void paths_that_cannot_be_opened_say_why(void) {
  char slash[1100], name[300] = "";
  make_heap(false);
  snprintf(slash, sizeof slash, "%s/x", heap_path());
  memset(name, 'n', sizeof name - 1);
  const struct {
    const char *path;
    int sys;
  } list[] = {
      {"", ENOENT}, {slash, ENOTDIR}, {test_path("missing/x"), ENOENT}, {test_path(name), ENAMETOOLONG}};
  for (int i = 0; i < 4; i++)
    for (int mode = 0; mode < MODES; mode++) {
      mheap_error error = {0};
      CHECK(mheap_open(list[i].path, &modes[mode], &error) == NULL);
      check_error(&error, MHEAP_ERR_SYSTEM, list[i].path, "opening the file");
      CHECK_EQ(error.sys, list[i].sys);
    }
}

/* ---- files ---- */

static void write_file(const char *path, const void *bytes, size_t length) {
  int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
  CHECK(write(fd, bytes, length) == (ssize_t)length);
  close(fd);
}

static void a_missing_file_is_not_made_where_it_must_exist(void) {
  char path[1024];
  snprintf(path, sizeof path, "%s", test_path("missing"));
  const mheap_options list[] = {
      {.must_exist = true}, modes[READONLY], modes[SCRATCH], {.salvage = true, .must_exist = true}};
  for (int i = 0; i < 4; i++) {
    mheap_error error = {0};
    CHECK(mheap_open(path, &list[i], &error) == NULL);
    check_error(&error, MHEAP_ERR_SYSTEM, path, "No such file");
    CHECK_EQ(error.sys, ENOENT);
    CHECK(access(path, F_OK) != 0);
  }
}

static void an_empty_file_is_a_heap_only_for_a_writer(void) {
  char path[1024];
  snprintf(path, sizeof path, "%s", test_path("empty"));
  write_file(path, "", 0);
  refuses(path, &modes[READONLY], MHEAP_ERR_NOT_A_HEAP, "empty");
  refuses(path, &modes[SCRATCH], MHEAP_ERR_NOT_A_HEAP, "empty");
  refuses(path, &(mheap_options){.mode = MHEAP_MODE_LIVE, .must_exist = true}, MHEAP_ERR_NOT_A_HEAP, "empty");
  mheap *heap = mheap_open(path, NULL, NULL); /* the control */
  REQUIRE(heap != NULL);
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static void files_of_other_programs_are_refused(void) {
  static const struct {
    const char *bytes;
    size_t length;
  } list[] = {{"x", 1},
              {"\n", 1},
              {"hello, this is a text file\n", 27},
              {"\x93mheap\n", 7}, /* a heap's magic, copied as text */
              {"\x93mheap\r\r\n", 9},
              {"\x13mheap\r\n", 8}, /* through seven bits */
              {"SQLite format 3\0", 16},
              {"\x7f"
               "ELF\2\1\1",
               7},
              {"\x80\5\x95", 3}, /* a pickle */
              {"mmalloc", 7}};
  char path[1024];
  static uint8_t large[200000];
  snprintf(path, sizeof path, "%s", test_path("other"));
  for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
    write_file(path, list[i].bytes, list[i].length);
    refuses_in_all_modes(path, MHEAP_ERR_NOT_A_HEAP, "not a heap");
    memset(large, 0, sizeof large);
    memcpy(large, list[i].bytes, list[i].length);
    write_file(path, large, sizeof large);
    refuses_in_all_modes(path, MHEAP_ERR_NOT_A_HEAP, "not a heap");
  }
  memset(large, 0, sizeof large);
  write_file(path, large, sizeof large);
  refuses_in_all_modes(path, MHEAP_ERR_NOT_A_HEAP, "give the path of a heap");
}

/* ---- cut short ---- */

static void a_file_cut_inside_its_first_page_is_refused(void) {
  static uint8_t page[MH_PAGE];
  char path[1024];
  make_heap(false);
  snprintf(path, sizeof path, "%s", test_path("cut"));
  int fd = open(heap_path(), O_RDONLY);
  REQUIRE(pread(fd, page, sizeof page, 0) == sizeof page);
  close(fd);
  for (size_t length = 1; length < sizeof page; length++) {
    write_file(path, page, length);
    const mheap_options *options = &modes[length % MODES];
    if (length < 8) refuses(path, options, MHEAP_ERR_NOT_A_HEAP, "not a heap");
    else refuses(path, options, MHEAP_ERR_CORRUPT, "ends inside its superblock: expected 0x1000, found");
  }
}

static void a_file_cut_behind_its_first_page_is_refused(void) {
  make_heap(false);
  uint64_t size = peek(AT(size));
  for (uint64_t length = size - 1; length >= MH_PAGE;
       length -= length > 2 * MH_SLICE ? MH_SLICE / 2 + 1 : MH_PAGE / 2) {
    CHECK_EQ(truncate(heap_path(), (off_t)length), 0);
    for (int mode = 0; mode < MODES; mode++) {
      mheap_error error = {0};
      image before = take_image(heap_path());
      CHECK(mheap_open(heap_path(), &modes[mode], &error) == NULL);
      check_error(&error, MHEAP_ERR_CORRUPT, heap_path(), "cut short");
      CHECK_EQ(error.expected, size);
      CHECK_EQ(error.found, length);
      check_untouched(heap_path(), &before);
    }
  }
  make_heap(false);
  CHECK_EQ(truncate(heap_path(), (off_t)(size + 12345)), 0); /* longer is what a kill while growing leaves */
  for (int mode = 0; mode < MODES; mode++) CHECK(attaches(&modes[mode]));
}

/* A heap whose size was lost must not be taken for one that is being formatted, and wiped. */
static void a_heap_without_its_size_is_not_formatted(void) {
  make_heap(false);
  poke(AT(size), 0, 8, false);
  refuses_in_all_modes(heap_path(), MHEAP_ERR_CORRUPT, "size in use");
}

/* ---- identity ---- */

static void other_versions_are_refused(void) {
  static const uint32_t versions[] = {0, 2, 3, 0x01000000, UINT32_MAX};
  make_heap(false);
  for (int i = 0; i < 5; i++) {
    poke(ID(version), versions[i], 4, false); /* where the checksum lies is a matter of the version */
    refuses_in_all_modes(heap_path(), MHEAP_ERR_VERSION, "offset 0x10: format version");
    poke(ID(version), versions[i], 4, true);
    refuses_in_all_modes(heap_path(), MHEAP_ERR_VERSION, "use the mheap that wrote it");
  }
}

static void the_other_byte_order_is_refused(void) {
  make_heap(false);
  poke(ID(byte_order), __builtin_bswap64(MH_BYTE_ORDER), 8, false);
  refuses_in_all_modes(heap_path(), MHEAP_ERR_VERSION,
                       "offset 0x8: written by a machine of the other byte order");
}

static void another_word_size_is_refused(void) {
  make_heap(false);
  poke(ID(word_size), 4, 4, true);
  refuses_in_all_modes(heap_path(), MHEAP_ERR_VERSION, "offset 0x14: word size");
}

static void unknown_incompatible_features_are_refused(void) {
  make_heap(false);
  for (int bit = 0; bit < 64; bit++) {
    if (MH_INCOMPAT_KNOWN >> bit & 1) continue;
    poke(ID(incompat), (uint64_t)1 << bit, 8, true);
    refuses_in_all_modes(heap_path(), MHEAP_ERR_VERSION, "offset 0x28: uses features 0x");
  }
  poke(ID(incompat), 0, 8, true);
  CHECK(attaches(&modes[LIVE]));
}

static void unknown_read_only_compatible_features_exclude_writers(void) {
  make_heap(false);
  for (int bit = 0; bit < 64; bit++) {
    if (MH_ROCOMPAT_KNOWN >> bit & 1) continue;
    poke(ID(rocompat), (uint64_t)1 << bit, 8, true);
    refuses(heap_path(), &modes[LIVE], MHEAP_ERR_VERSION, "can read but not write");
    CHECK(attaches(&modes[READONLY]));
    CHECK(attaches(&modes[SCRATCH]));
  }
}

static void unknown_compatible_features_are_ignored(void) {
  make_heap(false);
  poke(ID(compat), UINT64_MAX, 8, true);
  for (int mode = 0; mode < MODES; mode++) CHECK(attaches(&modes[mode]));
}

static void the_checksum_covers_the_identity(void) {
  make_heap(false);
  for (uint64_t bit = 0; bit < 8 * sizeof(mh_identity); bit++) {
    uint64_t at = bit / 64 * 8, word = peek(at);
    poke(at, word ^ (uint64_t)1 << bit % 64, 8, false);
    mheap_error error = {0};
    image before = take_image(heap_path());
    CHECK(mheap_open(heap_path(), &modes[bit % MODES], &error) == NULL);
    mheap_err wanted = at == ID(magic)               ? MHEAP_ERR_NOT_A_HEAP
                       : bit / 32 * 4 == ID(version) ? MHEAP_ERR_VERSION
                                                     : MHEAP_ERR_CORRUPT;
    check_error(&error, wanted, heap_path(), "");
    if (wanted == MHEAP_ERR_CORRUPT) CHECK_EQ(error.offset, at == ID(byte_order) ? at : ID(checksum));
    check_untouched(heap_path(), &before);
    poke(at, word, 8, false);
  }
  CHECK(attaches(&modes[LIVE]));
}

/* ---- rights ---- */

static void a_descriptor_that_cannot_write_is_no_live_heap(void) {
  static const int flags[] = {O_RDONLY, O_WRONLY};
  make_heap(false);
  for (int i = 0; i < 2; i++) {
    mheap_error error = {0};
    image before = take_image(heap_path());
    int fd = open(heap_path(), flags[i]);
    CHECK(mheap_attach(fd, NULL, &error) == NULL);
    check_error(&error, MHEAP_ERR_READ_ONLY, heap_path(), "O_RDWR");
    check_untouched(heap_path(), &before);
    close(fd);
  }
  int fd = open(heap_path(), O_RDONLY);
  for (int mode = READONLY; mode < MODES; mode++) {
    mheap *heap = mheap_attach(fd, &modes[mode], NULL);
    CHECK(heap != NULL && mheap_detach(heap, NULL) == MHEAP_OK);
  }
  close(fd);
}

/* Root may do anything: so it becomes somebody else. */
static bool drop_rights(void) {
  if (geteuid() != 0) return true;
  return setgroups(0, NULL) == 0 && setgid(65534) == 0 && setuid(65534) == 0;
}

static int open_without_rights(void *unused) {
  mheap_error error = {0};
  (void)unused;
  if (!CHECK(drop_rights())) return 1;
  CHECK(mheap_open(heap_path(), &modes[LIVE], &error) == NULL);
  check_error(&error, MHEAP_ERR_SYSTEM, heap_path(), "Permission denied");
  CHECK_EQ(error.sys, EACCES);
  for (int mode = READONLY; mode < MODES; mode++) CHECK(attaches(&modes[mode]));
  return 0;
}

static int open_secret(void *unused) {
  (void)unused;
  if (!CHECK(drop_rights())) return 1;
  for (int mode = 0; mode < MODES; mode++) {
    mheap_error error = {0};
    CHECK(mheap_open(heap_path(), &modes[mode], &error) == NULL);
    check_error(&error, MHEAP_ERR_SYSTEM, heap_path(), "Permission denied");
    CHECK_EQ(error.sys, EACCES);
  }
  return 0;
}

static int make_heap_without_rights(void *unused) {
  (void)unused;
  if (!CHECK(drop_rights())) return 1;
  mheap_error error = {0};
  CHECK(mheap_open(test_path("another.heap"), NULL, &error) == NULL);
  check_error(&error, MHEAP_ERR_SYSTEM, "another.heap", "Permission denied");
  return 0;
}

static void rights_are_respected_and_reading_needs_none_to_write(void) {
  make_heap(false);
  image before = take_image(heap_path());
  CHECK_EQ(chmod(test_directory(), 0555), 0);
  CHECK_EQ(chmod(heap_path(), 0444), 0);
  CHECK_EQ(in_child_process(open_without_rights, NULL), 0);
  CHECK_EQ(in_child_process(make_heap_without_rights, NULL), 0);
  CHECK_EQ(chmod(heap_path(), 0000), 0);
  CHECK_EQ(in_child_process(open_secret, NULL), 0);
  CHECK_EQ(chmod(test_directory(), 0700), 0);
  CHECK_EQ(chmod(heap_path(), 0600), 0);
  check_untouched(heap_path(), &before);
}

/* ---- options ---- */

static void absurd_options_are_refused(void) {
  make_heap(false);
  const mheap_options list[] = {
      {.mode = 5}, {.mode = -1}, {.max_size = UINT64_MAX}, {.max_size = (uint64_t)1 << 60}};
  for (int i = 0; i < 4; i++) {
    mheap_error error = {0};
    image before = take_image(heap_path());
    CHECK(mheap_open(heap_path(), &list[i], &error) == NULL);
    check_error(&error, MHEAP_ERR_ARGUMENT, "attach:", "");
    CHECK(mheap_attach(-1, &list[i], &error) == NULL);
    check_error(&error, MHEAP_ERR_ARGUMENT, "attach:", "");
    check_untouched(heap_path(), &before);
  }
  CHECK(mheap_open(test_path("never.heap"), &list[0], NULL) == NULL);
  CHECK(access(test_path("never.heap"), F_OK) != 0);
}

static void a_max_size_below_the_content_is_refused(void) {
  make_heap(false);
  refuses(heap_path(), &(mheap_options){.mode = MHEAP_MODE_LIVE, .max_size = 65536}, MHEAP_ERR_ARGUMENT,
          "max_size");
  CHECK(attaches(&modes[LIVE]));
}

/* ---- states ---- */

static void a_sealed_file_is_only_read(void) {
  make_heap(false);
  poke(AT(state), MH_STATE_SEALED, 8, false);
  refuses(heap_path(), &modes[LIVE], MHEAP_ERR_READ_ONLY, "sealed");
  refuses(heap_path(), &(mheap_options){.mode = MHEAP_MODE_LIVE, .salvage = true}, MHEAP_ERR_READ_ONLY,
          "sealed");
  image before = take_image(heap_path());
  CHECK(attaches(&modes[READONLY]));
  CHECK(attaches(&modes[SCRATCH]));
  check_untouched(heap_path(), &before);
}

static uint64_t epoch_of(void) { return peek(AT(epoch)); }

/* The crash of a process: every store is there. */
static void a_crashed_heap_attaches(void) {
  make_heap(true);
  CHECK_EQ(peek(AT(state)), MH_STATE_OPEN);
  uint64_t epoch = epoch_of();
  image before = take_image(heap_path());
  CHECK(attaches(&modes[READONLY]));
  CHECK(attaches(&modes[SCRATCH]));
  check_untouched(heap_path(), &before);
  CHECK(attaches(&modes[LIVE]));
  CHECK_EQ(peek(AT(state)), MH_STATE_CLEAN);
  CHECK_EQ(epoch_of(), epoch + 1);
  CHECK(attaches(&modes[LIVE]));
  CHECK_EQ(epoch_of(), epoch + 1);
}

static const uint64_t owner_fields[] = {
    AT(owner) + offsetof(mh_owner, boot_id), AT(owner) + offsetof(mh_owner, boot_id) + 8,
    AT(owner) + offsetof(mh_owner, device), AT(owner) + offsetof(mh_owner, inode),
    AT(owner) + offsetof(mh_owner, mount_id)};

/* Another boot, device, file or mount: what was stored may not be there. */
static void make_unclean(int field) {
  make_heap(true);
  poke(owner_fields[field], peek(owner_fields[field]) + 1, 8, true);
}

static void another_owner_is_refused_until_salvaged(void) {
  for (int field = 0; field < 5; field++) {
    make_unclean(field);
    refuses_in_all_modes(heap_path(), MHEAP_ERR_UNCLEAN, "salvage=True");
    refuses(heap_path(), &(mheap_options){.mode = MHEAP_MODE_LIVE, .unsafe = true}, MHEAP_ERR_UNCLEAN,
            "salvage=True");
    image before = take_image(heap_path());
    CHECK(attaches(&(mheap_options){.mode = MHEAP_MODE_READONLY, .unsafe = true}));
    CHECK(attaches(&(mheap_options){.mode = MHEAP_MODE_READONLY, .salvage = true}));
    CHECK(attaches(&(mheap_options){.mode = MHEAP_MODE_SCRATCH, .salvage = true}));
    check_untouched(heap_path(), &before);
    uint64_t epoch = epoch_of();
    CHECK(attaches(&(mheap_options){.mode = MHEAP_MODE_LIVE, .salvage = true}));
    CHECK_EQ(epoch_of(), epoch + 1);
    CHECK(attaches(&modes[LIVE]));
  }
}

static void an_owner_without_its_checksum_is_another(void) {
  make_heap(true);
  poke(AT(owner) + offsetof(mh_owner, checksum), 0, 8, false);
  refuses_in_all_modes(heap_path(), MHEAP_ERR_UNCLEAN, "salvage=True");
}

static void who_the_owner_was_does_not_matter(void) {
  make_heap(true);
  poke(AT(owner) + offsetof(mh_owner, pid), 1, 8, true);
  CHECK(attaches(&modes[LIVE]));
}

static void copy_file(const char *to) {
  image it = take_image(heap_path());
  int fd = open(to, O_RDWR | O_CREAT | O_TRUNC, 0600);
  image_put(&it, fd);
  close(fd);
  image_free(&it);
}

static void a_copy_of_an_open_heap_is_unclean(void) {
  make_heap(true);
  copy_file(test_path("copy.heap"));
  refuses_in_all_modes(test_path("copy.heap"), MHEAP_ERR_UNCLEAN, "copy");
  make_heap(false);
  copy_file(test_path("copy.heap"));
  mheap *heap = mheap_open(test_path("copy.heap"), NULL, NULL);
  REQUIRE(heap != NULL);
  CHECK_STR(mheap_getkey(heap, 0), "kept");
  CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK);
}

static void salvage_checks_first(void) {
  make_unclean(0);
  uint64_t word = MH_SLICE + offsetof(mh_segment_header, slice); /* the head of slice 1 */
  poke(word, 0xfff, 8, false);
  for (int mode = LIVE; mode < MODES; mode += SCRATCH)
    refuses(heap_path(), &(mheap_options){.mode = modes[mode].mode, .salvage = true}, MHEAP_ERR_CORRUPT,
            "contradictions");
  CHECK_EQ(peek(AT(state)), MH_STATE_OPEN);
}

/* A clean heap, and one whose process crashed, need no salvage and are as well with it. */
static void salvage_of_a_sound_heap_is_attaching_it(void) {
  make_heap(false);
  CHECK(attaches(&(mheap_options){.mode = MHEAP_MODE_LIVE, .salvage = true}));
  make_heap(true);
  CHECK(attaches(&(mheap_options){.mode = MHEAP_MODE_LIVE, .salvage = true}));
}

static void the_default_heap_stays(void) {
  mheap_error error = {0};
  void *block = mheap_malloc(NULL, 5);
  REQUIRE(block != NULL);
  CHECK_EQ(mheap_detach(mheap_default(), &error), MHEAP_ERR_ARGUMENT);
  CHECK_CONTAINS(error.text, "default heap");
  CHECK_EQ(mheap_detach(NULL, NULL), MHEAP_ERR_ARGUMENT);
  mheap_abandon(mheap_default());
  mheap_abandon(NULL);
  CHECK_EQ(mheap_sync(NULL), MHEAP_OK);
  CHECK_EQ(mheap_free(NULL, block), MHEAP_OK);
}

TEST_MAIN(TEST(the_default_heap_stays), TEST(an_untouched_heap_attaches), TEST(a_directory_is_refused),
          TEST(a_fifo_is_refused_and_not_waited_for), TEST(a_socket_is_refused), TEST(devices_are_refused),
          TEST(a_pipe_and_no_descriptor_at_all_are_refused), TEST(paths_that_cannot_be_opened_say_why),
          TEST(a_missing_file_is_not_made_where_it_must_exist),
          TEST(an_empty_file_is_a_heap_only_for_a_writer), TEST(files_of_other_programs_are_refused),
          TEST(a_file_cut_inside_its_first_page_is_refused),
          TEST(a_file_cut_behind_its_first_page_is_refused), TEST(a_heap_without_its_size_is_not_formatted),
          TEST(other_versions_are_refused), TEST(the_other_byte_order_is_refused),
          TEST(another_word_size_is_refused), TEST(unknown_incompatible_features_are_refused),
          TEST(unknown_read_only_compatible_features_exclude_writers),
          TEST(unknown_compatible_features_are_ignored), TEST(the_checksum_covers_the_identity),
          TEST(a_descriptor_that_cannot_write_is_no_live_heap),
          TEST(rights_are_respected_and_reading_needs_none_to_write), TEST(absurd_options_are_refused),
          TEST(a_max_size_below_the_content_is_refused), TEST(a_sealed_file_is_only_read),
          TEST(a_crashed_heap_attaches), TEST(another_owner_is_refused_until_salvaged),
          TEST(an_owner_without_its_checksum_is_another), TEST(who_the_owner_was_does_not_matter),
          TEST(a_copy_of_an_open_heap_is_unclean), TEST(salvage_checks_first),
          TEST(salvage_of_a_sound_heap_is_attaching_it))
