/* test_compact.c: a file is replaced by a smaller one with the same in it, or by none. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "objects_kit.h"

/* ---- files ---- */

static mheap *open_in(const char *path, mheap_mode mode) {
  mheap_error error;
  mheap *heap = mheap_open(path, &(mheap_options){.mode = mode}, &error);
  if (!CHECK(heap != NULL)) fprintf(stderr, "%s\n", error.text);
  if (heap == NULL) exit(2);
  return heap;
}

static void close_it(mheap *heap) { CHECK_EQ(mheap_detach(heap, NULL), MHEAP_OK); }

static kit kit_in(const char *path, mheap_mode mode) {
  kit kit = {.heap = open_in(path, mode)};
  mh_space_init(&kit.space, kit.heap);
  return kit;
}

#define LISTS 400

/* Lists of texts, of which most are gone, and what no root leads to. */
static void fill(kit *kit) {
  mh_dict root = kit_root(kit);
  for (unsigned i = 0; i < LISTS; i++) {
    mh_list list;
    CHECK_EQ(mh_list_new(&kit->space, 0, &list), MHEAP_OK);
    for (unsigned j = 0; j < 100; j++)
      CHECK_EQ(mh_list_append(&list, kit_value(&kit->space, i * 100 + j)), MHEAP_OK);
    kit_set(&root, i, mh_word_ref(MH_TAG_LIST_REF, list.offset));
    kit_value(&kit->space, i);
  }
  for (unsigned i = 0; i < LISTS; i++)
    if (i % 10 != 0) CHECK_EQ(kit_delete(&root, i), MHEAP_OK);
}

/* All of what fill leaves, and not more. */
static void is_filled(kit *kit) {
  mh_dict root = kit_root(kit);
  uint64_t word, length;
  CHECK_EQ(mh_dict_length(&root, &length), MHEAP_OK);
  CHECK_EQ(length, LISTS / 10);
  for (unsigned i = 0; i < LISTS; i += 10) {
    mh_list list;
    mh_items items;
    REQUIRE_EQ(kit_get(&root, i, &word), MHEAP_OK);
    REQUIRE_EQ(mh_list_at(&kit->space, mh_word_offset(word), &list), MHEAP_OK);
    REQUIRE_EQ(mh_list_items(&list, &items), MHEAP_OK);
    REQUIRE_EQ(items.count, 100);
    for (unsigned j = 0; j < 100; j++) CHECK(kit_is_value(&kit->space, items.words[j], i * 100 + j));
  }
}

static const char *filled_file(const char *name, mheap_mode mode) {
  const char *path = test_path(name);
  kit kit = kit_in(path, mode);
  fill(&kit);
  if (mode == MHEAP_MODE_ATOMIC) CHECK_EQ(mheap_commit(kit.heap, true), MHEAP_OK);
  close_it(kit.heap);
  return path;
}

static void file_is_filled(const char *path) {
  kit kit = kit_in(path, MHEAP_MODE_READONLY);
  is_filled(&kit);
  CHECK_EQ(mheap_check(kit.heap, NULL, NULL, NULL), MHEAP_OK);
  close_it(kit.heap);
}

/* Names in the directory that begin like a file's, or are made for it. */
static unsigned files_of(const char *path) {
  char directory[4096];
  snprintf(directory, sizeof directory, "%s", path);
  char *slash = strrchr(directory, '/'), *base = slash + 1;
  *slash = '\0';
  unsigned count = 0;
  DIR *entries = opendir(directory);
  for (struct dirent *entry; (entry = readdir(entries)) != NULL;)
    count += strstr(entry->d_name, base) != NULL;
  closedir(entries);
  return count;
}

static struct stat stat_of(const char *path) {
  struct stat it = {0};
  CHECK_EQ(stat(path, &it), 0);
  return it;
}

static mheap_err compact(const char *path, mheap_compacted *done) {
  mheap_error error;
  mheap_err code = mheap_compact(path, NULL, done, &error);
  if (code) fprintf(stderr, "%s\n", error.text);
  return code;
}

/* ---- moved ---- */

static void the_new_file_is_smaller_and_holds_the_same(void) {
  const mheap_mode modes[] = {MHEAP_MODE_LIVE, MHEAP_MODE_ATOMIC};
  for (int i = 0; i < 2; i++) {
    const char *path = filled_file(i == 0 ? "live.heap" : "atomic.heap", modes[i]);
    struct stat before = stat_of(path), after;
    mheap_compacted done;
    REQUIRE_EQ(compact(path, &done), MHEAP_OK);
    after = stat_of(path);
    CHECK(done.moved && done.kept[0] == '\0');
    CHECK_EQ(done.before.file_size, before.st_size);
    CHECK_EQ(done.after.file_size, after.st_size);
    CHECK_EQ(done.after.disk_size, 512 * after.st_blocks);
    CHECK(done.after.file_size < done.before.file_size / 2);
    CHECK(before.st_ino != after.st_ino);
    CHECK_EQ(done.before.objects, done.after.objects + LISTS);
    CHECK(done.after.blocks < done.before.blocks);
    CHECK(done.after.bytes_used < done.before.bytes_used);
    CHECK(done.after.bytes_free < done.before.bytes_free);
    file_is_filled(path);
    CHECK_EQ(files_of(path), 1);
  }
}

static void who_it_is_stays(void) {
  const char *path = filled_file("identity.heap", MHEAP_MODE_ATOMIC);
  mheap_info before, after;
  mheap_compacted done;
  kit kit = kit_in(path, MHEAP_MODE_READONLY);
  CHECK_EQ(mheap_get_info(kit.heap, &before), MHEAP_OK);
  uint64_t birth = kit.space.region->super->birth, seed = kit.space.seed[0];
  close_it(kit.heap);
  CHECK_EQ(compact(path, &done), MHEAP_OK);
  kit = kit_in(path, MHEAP_MODE_READONLY);
  CHECK_EQ(mheap_get_info(kit.heap, &after), MHEAP_OK);
  CHECK_EQ(kit.space.region->super->birth, birth);
  CHECK_EQ(kit.space.seed[0], seed);
  CHECK(memcmp(before.uuid, after.uuid, sizeof before.uuid) == 0);
  CHECK_EQ(before.created_ns, after.created_ns);
  CHECK_EQ(before.generation, 1);
  CHECK_EQ(after.generation, 1);
  CHECK_EQ(before.max_size, after.max_size);
  CHECK(before.has_journal && !after.has_journal);
  close_it(kit.heap);
  kit = kit_in(path, MHEAP_MODE_ATOMIC);
  mh_dict root = kit_root(&kit);
  kit_set(&root, 1, mh_word_int(1));
  CHECK_EQ(mheap_commit(kit.heap, true), MHEAP_OK);
  CHECK_EQ(mheap_generation(kit.heap), 2);
  close_it(kit.heap);
}

static void owner_permissions_and_attributes_stay(void) {
  const char *path = filled_file("access.heap", MHEAP_MODE_LIVE);
  char value[16] = "";
  CHECK_EQ(chmod(path, 0640), 0);
  if (geteuid() == 0) CHECK_EQ(chown(path, 1234, 2345), 0);
  bool attributes = setxattr(path, "user.mheap", "kept", 5, 0) == 0;
  CHECK(attributes || errno == EOPNOTSUPP);
  struct stat before = stat_of(path);
  mheap_compacted done;
  CHECK_EQ(compact(path, &done), MHEAP_OK);
  struct stat after = stat_of(path);
  CHECK_EQ(after.st_mode, before.st_mode);
  CHECK_EQ(after.st_uid, before.st_uid);
  CHECK_EQ(after.st_gid, before.st_gid);
  if (attributes) CHECK_EQ(getxattr(path, "user.mheap", value, sizeof value), 5);
  if (attributes) CHECK_STR(value, "kept");
}

static void of_a_link_what_it_leads_to_is_replaced(void) {
  const char *path = filled_file("target.heap", MHEAP_MODE_LIVE), *link = test_path("a link");
  CHECK_EQ(symlink(path, link), 0);
  struct stat before = stat_of(path), is;
  mheap_compacted done;
  CHECK_EQ(compact(link, &done), MHEAP_OK);
  CHECK_EQ(lstat(link, &is), 0);
  CHECK(S_ISLNK(is.st_mode));
  CHECK(stat_of(path).st_ino != before.st_ino);
  file_is_filled(link);
}

/* What only the journal holds, since its writer was killed, is in the new file. */
static void what_the_journal_holds_is_not_lost(void) {
  const char *path = filled_file("journal.heap", MHEAP_MODE_ATOMIC);
  kit kit = kit_in(path, MHEAP_MODE_ATOMIC);
  mh_dict root = kit_root(&kit);
  kit_set(&root, 1, mh_word_int(1));
  CHECK_EQ(mheap_commit(kit.heap, true), MHEAP_OK);
  kit_set(&root, 2, mh_word_int(2));
  mheap_abandon(kit.heap);
  mheap_journal_info journal;
  CHECK_EQ(mheap_get_journal(path, &journal, NULL), MHEAP_OK);
  CHECK(journal.records > 0);
  mheap_compacted done;
  CHECK_EQ(compact(path, &done), MHEAP_OK);
  kit = kit_in(path, MHEAP_MODE_READONLY);
  root = kit_root(&kit);
  uint64_t word;
  CHECK_EQ(kit_get(&root, 1, &word), MHEAP_OK);
  CHECK_EQ(kit_get(&root, 2, &word), MHEAP_ERR_NOT_FOUND);
  CHECK_EQ(mheap_generation(kit.heap), 2);
  close_it(kit.heap);
}

/* What a process left that was killed. */
static void a_heap_whose_writer_was_killed_is_compacted(void) {
  const char *path = test_path("killed.heap");
  pid_t child = fork();
  if (child == 0) {
    kit kit = kit_in(path, MHEAP_MODE_LIVE);
    fill(&kit);
    _exit(0);
  }
  CHECK_EQ(waitpid(child, NULL, 0), child);
  mheap_compacted done;
  CHECK_EQ(compact(path, &done), MHEAP_OK);
  file_is_filled(path);
}

/* An attach may let a heap grow beyond the size that is stored in it. */
static void a_heap_beyond_its_stored_size_is_compacted(void) {
  const char *path = test_path("beyond.heap");
  mheap *heap = mheap_open(path, &(mheap_options){.mode = MHEAP_MODE_LIVE, .max_size = 1 << 20}, NULL);
  REQUIRE(heap != NULL);
  close_it(heap);
  kit kit = {.heap = mheap_open(path, &(mheap_options){.mode = MHEAP_MODE_LIVE, .max_size = 1 << 28}, NULL)};
  REQUIRE(kit.heap != NULL);
  mh_space_init(&kit.space, kit.heap);
  mh_dict root = kit_root(&kit);
  for (unsigned i = 0; i < 20000; i++) kit_set(&root, i, kit_value(&kit.space, i));
  close_it(kit.heap);
  mheap_compacted done;
  CHECK_EQ(compact(path, &done), MHEAP_OK);
  CHECK(done.after.file_size > 1 << 20);
  kit = kit_in(path, MHEAP_MODE_READONLY);
  kit_is_sound(&kit);
  CHECK_EQ(kit.space.region->super->max_size, 1 << 20);
  close_it(kit.heap);
}

static void an_empty_heap_stays_an_empty_heap(void) {
  const char *path = test_path("empty.heap");
  close_it(open_in(path, MHEAP_MODE_LIVE));
  mheap_compacted done;
  CHECK_EQ(compact(path, &done), MHEAP_OK);
  CHECK(done.moved);
  CHECK_EQ(done.after.objects, 0);
  CHECK(done.after.file_size <= 262144);
  close_it(open_in(path, MHEAP_MODE_ATOMIC));
}

/* ---- kept ---- */

static void stays_in_place(const char *path, const char *why) {
  struct stat before = stat_of(path);
  mheap_compacted done;
  CHECK_EQ(compact(path, &done), MHEAP_OK);
  CHECK(!done.moved);
  CHECK_CONTAINS(done.kept, why);
  CHECK_EQ(stat_of(path).st_ino, before.st_ino);
  CHECK_EQ(files_of(path), 1);
}

static void what_others_may_point_to_is_not_moved(void) {
  const char *path = test_path("raw.heap");
  mheap *heap = open_in(path, MHEAP_MODE_LIVE);
  void *block = mheap_malloc(heap, 100);
  close_it(heap);
  stays_in_place(path, "raw blocks");
  heap = open_in(path, MHEAP_MODE_LIVE);
  CHECK_EQ(mheap_setkey(heap, 3, block), MHEAP_OK);
  CHECK_EQ(mheap_free(heap, block), MHEAP_OK);
  close_it(heap);
  stays_in_place(path, "numbered root 3");
  heap = open_in(path, MHEAP_MODE_LIVE);
  CHECK_EQ(mheap_setkey(heap, 3, NULL), MHEAP_OK);
  block = mheap_malloc(heap, 100);
  CHECK_EQ(mheap_setroot(heap, "name", 4, block), MHEAP_OK);
  CHECK_EQ(mheap_free(heap, block), MHEAP_OK);
  close_it(heap);
  stays_in_place(path, "named roots");
  heap = open_in(path, MHEAP_MODE_LIVE);
  CHECK_EQ(mheap_setroot(heap, "name", 4, NULL), MHEAP_OK);
  close_it(heap);
  mheap_compacted done;
  CHECK_EQ(compact(path, &done), MHEAP_OK);
  CHECK(done.moved);
}

static void heaps_and_arenas_are_not_moved(void) {
  const char *path = test_path("heaps.heap");
  mheap *heap = open_in(path, MHEAP_MODE_LIVE);
  CHECK(mheap_new(heap, 1, true, 0) != NULL);
  close_it(heap);
  stays_in_place(path, "more heaps");
  path = test_path("arenas.heap");
  heap = open_in(path, MHEAP_MODE_LIVE);
  mheap_arena arena;
  CHECK_EQ(mheap_arena_reserve(heap, 1 << 22, NULL, &arena), MHEAP_OK);
  close_it(heap);
  stays_in_place(path, "arenas");
}

/* Counts that a kill left too high keep what nothing refers to any more: both ways put them right. */
static void counts_are_right_afterwards(void) {
  for (int raw = 0; raw < 2; raw++) {
    const char *path = test_path(raw ? "counts-raw.heap" : "counts.heap");
    kit kit = kit_in(path, MHEAP_MODE_LIVE);
    mh_dict root = kit_root(&kit);
    uint64_t few = kit_value(&kit.space, 1), many = kit_value(&kit.space, 2);
    kit_set(&root, 0, few);
    kit_set(&root, 1, many);
    *(uint64_t *)mh_at(kit.space.region, mh_word_offset(few)) += 3;
    *(uint64_t *)mh_at(kit.space.region, mh_word_offset(many)) |= MH_COUNT_STICKY;
    ((uint64_t *)mh_at(kit.space.region, root.offset))[0] += 1;
    if (raw) CHECK(mheap_malloc(kit.heap, 10) != NULL);
    CHECK_EQ(kit_check(&kit).notes, 2);
    close_it(kit.heap);
    mheap_compacted done;
    CHECK_EQ(compact(path, &done), MHEAP_OK);
    CHECK_EQ(done.moved, !raw);
    kit = kit_in(path, MHEAP_MODE_READONLY);
    kit_is_sound(&kit);
    root = kit_root(&kit);
    for (unsigned i = 0; i < 2; i++) {
      CHECK_EQ(kit_get(&root, i, &few), MHEAP_OK);
      CHECK_EQ(kit_count(&kit.space, few), 1);
    }
    close_it(kit.heap);
  }
}

/* The end is cut off, garbage collected, and free slices are given back to the disk. */
static void in_place_free_space_is_given_back(void) {
  const mheap_mode modes[] = {MHEAP_MODE_LIVE, MHEAP_MODE_ATOMIC};
  for (int i = 0; i < 2; i++) {
    const char *path = test_path(i == 0 ? "trim-live.heap" : "trim-atomic.heap");
    kit kit = kit_in(path, modes[i]);
    char *blocks[40];
    for (int j = 0; j < 40; j++) {
      blocks[j] = mheap_malloc(kit.heap, 500000);
      memset(blocks[j], j, 500000);
    }
    mheap_setkey(kit.heap, 0, blocks[0]);
    mheap_setkey(kit.heap, 1, blocks[20]);
    fill(&kit);
    if (i == 1) CHECK_EQ(mheap_commit(kit.heap, true), MHEAP_OK);
    for (int j = 1; j < 40; j++)
      if (j != 20) CHECK_EQ(mheap_free(kit.heap, blocks[j]), MHEAP_OK);
    if (i == 1) CHECK_EQ(mheap_commit(kit.heap, true), MHEAP_OK);
    mheap_abandon(kit.heap);
    mheap_compacted done;
    CHECK_EQ(compact(path, &done), MHEAP_OK);
    CHECK(!done.moved);
    CHECK(done.after.disk_size < done.before.disk_size / 2);
    CHECK_EQ(done.after.disk_size, 512 * stat_of(path).st_blocks);
    CHECK_EQ(done.before.objects - done.after.objects, LISTS);
    kit = kit_in(path, MHEAP_MODE_READONLY);
    is_filled(&kit);
    CHECK_EQ(((char *)mheap_getkey(kit.heap, 0))[499999], 0);
    CHECK_EQ(((char *)mheap_getkey(kit.heap, 1))[499999], 20);
    close_it(kit.heap);
  }
}

/* ---- refused ---- */

static void is_refused(const char *path, const mheap_compact_options *options, mheap_err code,
                       const char *text) {
  struct stat before = stat_of(path);
  mheap_error error;
  CHECK_EQ(mheap_compact(path, options, NULL, &error), code);
  CHECK_CONTAINS(error.text, text);
  CHECK_CONTAINS(error.text, path);
  struct stat after = stat_of(path);
  CHECK_EQ(after.st_ino, before.st_ino);
  CHECK_EQ(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
  CHECK_EQ(files_of(path), 1);
}

static void a_writer_keeps_its_file(void) {
  const mheap_mode modes[] = {MHEAP_MODE_LIVE, MHEAP_MODE_ATOMIC};
  for (int i = 0; i < 2; i++) {
    const char *path = filled_file(i == 0 ? "busy1.heap" : "busy2.heap", modes[i]);
    mheap *heap = open_in(path, modes[i]);
    is_refused(path, NULL, MHEAP_ERR_BUSY, "this process has it open");
    close_it(heap);
    int ready[2], gate[2];
    char byte = 0;
    CHECK_EQ(pipe(ready) | pipe(gate), 0);
    pid_t child = fork();
    if (child == 0) {
      heap = mheap_open(path, &(mheap_options){.mode = modes[i]}, NULL);
      byte = heap != NULL;
      _exit(write(ready[1], &byte, 1) == 1 && read(gate[0], &byte, 1) == 1 ? 0 : 1);
    }
    CHECK_EQ(read(ready[0], &byte, 1), 1);
    CHECK_EQ(byte, 1);
    is_refused(path, NULL, MHEAP_ERR_BUSY, "another handle");
    const mheap_compact_options dry = {.dry_run = true, .timeout = 0.01};
    is_refused(path, &dry, MHEAP_ERR_BUSY, "another handle");
    CHECK_EQ(write(gate[1], &byte, 1), 1);
    CHECK_EQ(waitpid(child, NULL, 0), child);
    for (int j = 0; j < 2; j++) close(ready[j]), close(gate[j]);
    mheap_compacted done;
    CHECK_EQ(compact(path, &done), MHEAP_OK);
  }
}

static void readers_of_the_old_file_go_on(void) {
  const char *path = filled_file("readers.heap", MHEAP_MODE_ATOMIC);
  kit reader = kit_in(path, MHEAP_MODE_READONLY);
  is_filled(&reader);
  mheap_compacted done;
  CHECK_EQ(compact(path, &done), MHEAP_OK);
  is_filled(&reader);
  kit other = kit_in(path, MHEAP_MODE_READONLY);
  is_filled(&other);
  CHECK(other.space.region->inode != reader.space.region->inode);
  close_it(reader.heap);
  close_it(other.heap);
}

/* In place nothing may be taken from under a reader. */
static void in_place_a_reader_is_in_the_way(void) {
  const char *path = filled_file("reader.heap", MHEAP_MODE_LIVE);
  mheap *heap = open_in(path, MHEAP_MODE_LIVE);
  CHECK(mheap_malloc(heap, 100) != NULL);
  close_it(heap);
  heap = open_in(path, MHEAP_MODE_READONLY);
  is_refused(path, NULL, MHEAP_ERR_BUSY, "busy");
  close_it(heap);
  stays_in_place(path, "raw blocks");
}

static void change_file(const char *path, uint64_t offset, uint64_t word) {
  int fd = open(path, O_RDWR);
  CHECK_EQ(pwrite(fd, &word, sizeof word, (off_t)offset), sizeof word);
  close(fd);
}

static void sealed_and_damaged_files_are_refused(void) {
  const char *path = filled_file("sealed.heap", MHEAP_MODE_LIVE);
  change_file(path, offsetof(mh_superblock, state), MH_STATE_SEALED);
  is_refused(path, NULL, MHEAP_ERR_READ_ONLY, "sealed");
  path = filled_file("damaged.heap", MHEAP_MODE_LIVE);
  kit kit = kit_in(path, MHEAP_MODE_READONLY);
  mh_dict root = kit_root(&kit);
  uint64_t word;
  CHECK_EQ(kit_get(&root, 0, &word), MHEAP_OK);
  close_it(kit.heap);
  change_file(path, mh_word_offset(word) + offsetof(mh_container, part), 40);
  is_refused(path, NULL, MHEAP_ERR_CORRUPT, "offset");
  is_refused(path, &(mheap_compact_options){.dry_run = true}, MHEAP_ERR_CORRUPT, "offset");
}

/* The slots of a table that is copied as it is may lie: that is found before the file is replaced. */
static void what_is_made_is_checked(void) {
  const char *path = test_path("lies.heap");
  kit kit = kit_in(path, MHEAP_MODE_LIVE);
  mh_dict root = kit_root(&kit);
  for (unsigned i = 0; i < MH_TABLE_TAGGED; i++) kit_set(&root, i, mh_word_int(i));
  const mh_table *table;
  CHECK_EQ(mh_dict_table(&root, &table), MHEAP_OK);
  table->block->tags ^= 0xff00;
  close_it(kit.heap);
  is_refused(path, NULL, MHEAP_ERR_CORRUPT, "not sound");
}

static bool stop_in_a_while(void *arg, uint64_t done, uint64_t total) {
  CHECK(done <= total);
  return --*(int *)arg > 0;
}

static void who_gives_up_changes_nothing(void) {
  const char *path = filled_file("giving up.heap", MHEAP_MODE_LIVE);
  int left = 1;
  mheap_compact_options options = {.progress = stop_in_a_while, .arg = &left};
  is_refused(path, &options, MHEAP_ERR_SYSTEM, "ancel");
  left = 1000000;
  mheap_compacted done;
  CHECK_EQ(mheap_compact(path, &options, &done, NULL), MHEAP_OK);
  CHECK(left < 1000000);
}

static void what_is_no_heap_is_refused(void) {
  const char *path = test_path("text");
  mheap_error error;
  CHECK_EQ(mheap_compact(path, NULL, NULL, &error), MHEAP_ERR_SYSTEM);
  CHECK_EQ(error.sys, ENOENT);
  int fd = open(path, O_RDWR | O_CREAT, 0600);
  is_refused(path, NULL, MHEAP_ERR_NOT_A_HEAP, "empty");
  CHECK_EQ(write(fd, "some text of somebody's", 23), 23);
  close(fd);
  is_refused(path, NULL, MHEAP_ERR_NOT_A_HEAP, "not a heap");
  char directory[4096];
  snprintf(directory, sizeof directory, "%s", path);
  *strrchr(directory, '/') = '\0';
  CHECK_EQ(mheap_compact(directory, NULL, NULL, &error), MHEAP_ERR_NOT_A_HEAP);
}

/* ---- what is left ---- */

static void what_a_kill_left_is_removed_and_nothing_else(void) {
  const char *path = filled_file("left.heap", MHEAP_MODE_LIVE);
  char left[4096];
  snprintf(left, sizeof left, "%s", path);
  snprintf(strrchr(left, '/') + 1, 64, ".left.heap.compact");
  close_it(open_in(left, MHEAP_MODE_LIVE));
  CHECK_EQ(files_of(path), 2);
  mheap_compacted done;
  CHECK_EQ(compact(path, &done), MHEAP_OK);
  CHECK_EQ(files_of(path), 1);
  int fd = open(left, O_RDWR | O_CREAT, 0600);
  CHECK_EQ(write(fd, "somebody's own file", 19), 19);
  close(fd);
  mheap_error error;
  CHECK_EQ(mheap_compact(path, NULL, NULL, &error), MHEAP_ERR_SYSTEM);
  CHECK_EQ(error.sys, EEXIST);
  CHECK_EQ(files_of(path), 2);
}

/* ---- dry runs ---- */

static void a_dry_run_says_what_would_be_and_writes_nothing(void) {
  const char *path = filled_file("dry.heap", MHEAP_MODE_ATOMIC);
  struct stat before = stat_of(path);
  mheap_compacted would, done;
  CHECK_EQ(mheap_compact(path, &(mheap_compact_options){.dry_run = true}, &would, NULL), MHEAP_OK);
  struct stat after = stat_of(path);
  CHECK_EQ(after.st_ino, before.st_ino);
  CHECK_EQ(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
  CHECK_EQ(files_of(path), 1);
  CHECK_EQ(compact(path, &done), MHEAP_OK);
  CHECK(would.moved);
  CHECK_EQ(memcmp(&would.before, &done.before, sizeof would.before), 0);
  CHECK_EQ(would.after.objects, done.after.objects);
  CHECK_EQ(would.after.blocks, done.after.blocks);
  CHECK_EQ(would.after.bytes_used, done.after.bytes_used);
  CHECK_EQ(would.after.file_size, done.after.file_size);
}

TEST_MAIN(TEST(the_new_file_is_smaller_and_holds_the_same), TEST(who_it_is_stays),
          TEST(owner_permissions_and_attributes_stay), TEST(of_a_link_what_it_leads_to_is_replaced),
          TEST(what_the_journal_holds_is_not_lost), TEST(a_heap_whose_writer_was_killed_is_compacted),
          TEST(a_heap_beyond_its_stored_size_is_compacted), TEST(an_empty_heap_stays_an_empty_heap),
          TEST(what_others_may_point_to_is_not_moved),
          TEST(heaps_and_arenas_are_not_moved), TEST(counts_are_right_afterwards),
          TEST(in_place_free_space_is_given_back),
          TEST(a_writer_keeps_its_file), TEST(readers_of_the_old_file_go_on),
          TEST(in_place_a_reader_is_in_the_way), TEST(sealed_and_damaged_files_are_refused),
          TEST(what_is_made_is_checked), TEST(who_gives_up_changes_nothing), TEST(what_is_no_heap_is_refused),
          TEST(what_a_kill_left_is_removed_and_nothing_else),
          TEST(a_dry_run_says_what_would_be_and_writes_nothing))
