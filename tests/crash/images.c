/* images.c: see images.h. */
#include "images.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SLICE ((uint64_t)65536)
#define SLICES (IMAGES_MOST / SLICE)

static void die(const char *what) {
  perror(what);
  exit(2);
}

static uint64_t file_size(int fd) {
  struct stat st;
  if (fstat(fd, &st) != 0) die("fstat");
  if ((uint64_t)st.st_size > IMAGES_MOST) {
    fprintf(stderr, "the file is larger than can be followed\n");
    exit(2);
  }
  return (uint64_t)st.st_size;
}

static char *reserve(void) {
  void *memory =
      mmap(NULL, IMAGES_MOST, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) die("mmap");
  return memory;
}

/* Holes stay holes in memory: pages that are zero are not written to. */
static void copy_sparsely(char *to, const char *from, uint64_t size) {
  static const char zero[IMAGES_UNIT];
  for (uint64_t at = 0; at < size; at += IMAGES_UNIT) {
    size_t n = size - at < IMAGES_UNIT ? size - at : IMAGES_UNIT;
    if (memcmp(from + at, zero, n) != 0) memcpy(to + at, from + at, n);
  }
}

void images_begin(images *im, int fd) {
  *im = (images){.fd = fd, .size = file_size(fd)};
  im->file = mmap(NULL, IMAGES_MOST, PROT_READ, MAP_SHARED, fd, 0);
  if (im->file == MAP_FAILED) die("mmap");
  im->now = reserve();
  im->watched = calloc(SLICES, 1);
  copy_sparsely(im->now, im->file, im->size);
}

void images_end(images *im) {
  munmap((void *)(uintptr_t)im->file, IMAGES_MOST);
  munmap(im->now, IMAGES_MOST);
  free(im->watched);
  free(im->changes);
  free(im->words);
}

void images_watch(images *im, uint64_t offset, uint64_t length, bool watched) {
  for (uint64_t i = offset / SLICE; i < SLICES && i * SLICE < offset + length; i++) im->watched[i] = watched;
}

/* ---- recording ---- */

static void add_word(images *im, uint64_t offset, uint64_t value) {
  if (im->word_count == im->word_room) {
    im->word_room = im->word_room == 0 ? 1024 : 2 * im->word_room;
    im->words = realloc(im->words, im->word_room * sizeof *im->words);
  }
  im->words[im->word_count++] = (image_word){offset, value};
}

static void add_change(images *im, image_change change) {
  if (im->count == im->room) {
    im->room = im->room == 0 ? 256 : 2 * im->room;
    im->changes = realloc(im->changes, im->room * sizeof *im->changes);
  }
  im->changes[im->count++] = change;
}

static void compare_unit(images *im, uint64_t at, bool ignore_zeros) {
  static const char zero[IMAGES_UNIT];
  if (memcmp(im->now + at, im->file + at, IMAGES_UNIT) == 0) return;
  if (ignore_zeros && memcmp(im->file + at, zero, IMAGES_UNIT) == 0) return;
  for (uint64_t word = at; word < at + IMAGES_UNIT; word += 8) {
    uint64_t value;
    memcpy(&value, im->file + word, 8);
    if (memcmp(im->now + word, &value, 8) == 0) continue;
    memcpy(im->now + word, &value, 8);
    add_word(im, word, value);
  }
}

/* Bytes behind the end are gone: should the file grow again, they are zero. */
void images_resize(images *im, uint64_t size) {
  if (size < im->size) madvise(im->now + size, IMAGES_MOST - size, MADV_DONTNEED);
  im->size = size;
}

static void compare(images *im, uint64_t instruction, bool all) {
  image_change change = {.instruction = instruction, .size = file_size(im->fd), .first = im->word_count};
  bool resized = change.size != im->size;
  images_resize(im, change.size);
  for (uint64_t slice = 0; slice * SLICE < im->size; slice++) {
    if (!all && !im->watched[slice]) continue;
    for (uint64_t at = slice * SLICE; at < (slice + 1) * SLICE && at < im->size; at += IMAGES_UNIT)
      compare_unit(im, at, all);
  }
  change.count = im->word_count - change.first;
  if (resized || change.count > 0) add_change(im, change);
}

void images_step(images *im, uint64_t instruction) { compare(im, instruction, false); }

bool images_are_complete(images *im) {
  size_t before = im->count;
  compare(im, 0, true);
  return im->count == before;
}

/* ---- replaying ---- */

image_base images_base(const images *im) {
  image_base base = {.bytes = reserve(), .size = im->size};
  copy_sparsely(base.bytes, im->now, im->size);
  return base;
}

void images_apply(images *im, size_t i) {
  images_resize(im, im->changes[i].size);
  images_apply_words(im, i);
}

void images_apply_words(images *im, size_t i) {
  const image_change *change = &im->changes[i];
  for (size_t n = 0; n < change->count; n++) {
    const image_word *word = &im->words[change->first + n];
    if (word->offset + 8 <= im->size) memcpy(im->now + word->offset, &word->value, 8);
  }
}

void images_rewind(images *im, const image_base *base) {
  images_resize(im, 0);
  im->size = base->size;
  copy_sparsely(im->now, base->bytes, base->size);
}

void images_write(images *im) {
  static const char zero[IMAGES_UNIT];
  if (ftruncate(im->fd, 0) != 0 || ftruncate(im->fd, (off_t)im->size) != 0) die("ftruncate");
  for (uint64_t at = 0; at < im->size; at += IMAGES_UNIT) {
    size_t n = im->size - at < IMAGES_UNIT ? im->size - at : IMAGES_UNIT;
    if (memcmp(im->now + at, zero, n) == 0) continue;
    if (pwrite(im->fd, im->now + at, n, (off_t)at) != (ssize_t)n) die("pwrite");
  }
}
