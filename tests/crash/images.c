/* images.c: see images.h. */
#include "images.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SLICE ((uint64_t)65536)
#define UNITS (IMAGES_MOST / IMAGES_UNIT)

static const char zero[IMAGES_UNIT];

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

/* Zeroed; what is not touched costs nothing. */
static void *reserve(uint64_t size) {
  void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) die("mmap");
  return memory;
}

/* The next unit at or behind `at` that the file has bytes for; IMAGES_MOST: none. */
static uint64_t next_data(int fd, uint64_t at) {
  off_t found = lseek(fd, (off_t)at, SEEK_DATA);
  if (found >= 0) return (uint64_t)found / IMAGES_UNIT * IMAGES_UNIT;
  if (errno != ENXIO) die("lseek");
  return IMAGES_MOST;
}

static void copy_unit(images *im, uint64_t at) {
  if (memcmp(im->file + at, zero, IMAGES_UNIT) == 0) return;
  memcpy(im->now + at, im->file + at, IMAGES_UNIT);
  im->used[at / IMAGES_UNIT] = 1;
}

void images_begin(images *im, int fd) {
  *im = (images){.fd = fd, .size = file_size(fd)};
  im->file = mmap(NULL, IMAGES_MOST, PROT_READ, MAP_SHARED, fd, 0);
  if (im->file == MAP_FAILED) die("mmap");
  im->now = reserve(IMAGES_MOST);
  im->used = reserve(UNITS);
  for (uint64_t at = 0; (at = next_data(fd, at)) < im->size; at += IMAGES_UNIT) copy_unit(im, at);
}

void images_end(images *im) {
  munmap((void *)(uintptr_t)im->file, IMAGES_MOST);
  munmap(im->now, IMAGES_MOST);
  munmap(im->used, UNITS);
  free(im->changes);
  free(im->words);
}

static void unwatch(images *im, uint64_t slice) {
  size_t kept = 0;
  for (size_t i = 0; i < im->watched_count; i++)
    if (im->watched[i] != slice) im->watched[kept++] = im->watched[i];
  im->watched_count = kept;
}

void images_watch(images *im, uint64_t offset, uint64_t length, bool watched) {
  for (uint64_t slice = offset / SLICE; slice * SLICE < offset + length; slice++) {
    unwatch(im, slice);
    if (watched && im->watched_count < IMAGES_WATCHED) im->watched[im->watched_count++] = slice;
  }
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

static void compare_unit(images *im, uint64_t at) {
  if (memcmp(im->now + at, im->file + at, IMAGES_UNIT) == 0) return;
  im->used[at / IMAGES_UNIT] = 1;
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
  if (size < im->size) {
    madvise(im->now + size, IMAGES_MOST - size, MADV_DONTNEED);
    memset(im->used + size / IMAGES_UNIT, 0, (im->size - size) / IMAGES_UNIT);
  }
  im->size = size;
}

static void compare_slice(images *im, uint64_t slice) {
  for (uint64_t at = slice * SLICE; at < (slice + 1) * SLICE && at < im->size; at += IMAGES_UNIT)
    compare_unit(im, at);
}

void images_step(images *im, uint64_t instruction) {
  image_change change = {.instruction = instruction, .size = file_size(im->fd), .first = im->word_count};
  bool resized = change.size != im->size;
  images_resize(im, change.size);
  for (size_t i = 0; i < im->watched_count; i++) compare_slice(im, im->watched[i]);
  change.count = im->word_count - change.first;
  if (resized || change.count > 0) add_change(im, change);
}

bool images_are_complete(images *im) {
  for (uint64_t at = 0; (at = next_data(im->fd, at)) < im->size; at += IMAGES_UNIT)
    if (memcmp(im->now + at, im->file + at, IMAGES_UNIT) != 0 &&
        memcmp(im->file + at, zero, IMAGES_UNIT) != 0)
      return false;
  return file_size(im->fd) == im->size;
}

/* ---- replaying ---- */

/* The next used unit, as next_data. */
static uint64_t next_used(const uint8_t *used, uint64_t at, uint64_t size) {
  const uint8_t *found = memchr(used + at / IMAGES_UNIT, 1, (size - at) / IMAGES_UNIT);
  return found == NULL ? size : (uint64_t)(found - used) * IMAGES_UNIT;
}

image_base images_base(const images *im) {
  image_base base = {.bytes = reserve(IMAGES_MOST), .used = reserve(UNITS), .size = im->size};
  for (uint64_t at = 0; (at = next_used(im->used, at, im->size)) < im->size; at += IMAGES_UNIT) {
    memcpy(base.bytes + at, im->now + at, IMAGES_UNIT);
    base.used[at / IMAGES_UNIT] = 1;
  }
  return base;
}

void images_base_end(image_base *base) {
  munmap(base->bytes, IMAGES_MOST);
  munmap(base->used, UNITS);
}

void images_apply(images *im, size_t i) {
  images_resize(im, im->changes[i].size);
  images_apply_words(im, i);
}

void images_apply_words(images *im, size_t i) {
  const image_change *change = &im->changes[i];
  for (size_t n = 0; n < change->count; n++) {
    const image_word *word = &im->words[change->first + n];
    if (word->offset + 8 > im->size) continue;
    memcpy(im->now + word->offset, &word->value, 8);
    im->used[word->offset / IMAGES_UNIT] = 1;
  }
}

void images_rewind(images *im, const image_base *base) {
  images_resize(im, 0);
  im->size = base->size;
  for (uint64_t at = 0; (at = next_used(base->used, at, base->size)) < base->size; at += IMAGES_UNIT) {
    memcpy(im->now + at, base->bytes + at, IMAGES_UNIT);
    im->used[at / IMAGES_UNIT] = 1;
  }
}

void images_write(images *im) {
  if (ftruncate(im->fd, 0) != 0 || ftruncate(im->fd, (off_t)im->size) != 0) die("ftruncate");
  for (uint64_t at = 0; (at = next_used(im->used, at, im->size)) < im->size; at += IMAGES_UNIT) {
    size_t n = im->size - at < IMAGES_UNIT ? im->size - at : IMAGES_UNIT;
    if (pwrite(im->fd, im->now + at, n, (off_t)at) != (ssize_t)n) die("pwrite");
  }
}
