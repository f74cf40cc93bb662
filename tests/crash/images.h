/* images.h: what a SIGKILL would leave: the images a file goes through, instruction by
   instruction, kept as changes to the first. Owns the bytes of one image at a time. */
#ifndef MHEAP_TEST_IMAGES_H
#define MHEAP_TEST_IMAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IMAGES_MOST ((uint64_t)64 << 30) /* bytes of a file that can be followed; most of it holes */
#define IMAGES_UNIT 4096                 /* compared at once */
#define IMAGES_WATCHED 512

typedef struct image_change { /* by one instruction */
  uint64_t instruction;
  uint64_t size;       /* of the file afterwards */
  size_t first, count; /* in words[] */
} image_change;

typedef struct image_word {
  uint64_t offset, value;
} image_word;

typedef struct images {
  int fd;
  const char *file;                 /* the file itself, mapped, up to IMAGES_MOST */
  char *now;                        /* the image of now */
  uint64_t size;                    /* of it */
  uint8_t *used;                    /* a flag a unit: others of the image of now are zero */
  uint64_t watched[IMAGES_WATCHED]; /* slices that are compared after each instruction */
  size_t watched_count;
  image_change *changes;
  size_t count, room;
  image_word *words;
  size_t word_count, word_room;
} images;

/* Begins with what is in the file. The slices to follow are chosen by images_watch. */
void images_begin(images *im, int fd);
void images_end(images *im);
/* Are the slices of [offset, offset + length) compared, should the file have them? */
void images_watch(images *im, uint64_t offset, uint64_t length, bool watched);
/* Compares; records what the last instruction changed. */
void images_step(images *im, uint64_t instruction);
/* Was nothing changed that was not watched? Pages given back, which are zero now, do not count. */
bool images_are_complete(images *im);

/* Back to the first image: `base` is what images_begin saw. */
typedef struct image_base {
  char *bytes;
  uint8_t *used;
  uint64_t size;
} image_base;
image_base images_base(const images *im);
void images_base_end(image_base *base);
/* Applies change `i` to the image of now; or its words alone, where they are within it. */
void images_apply(images *im, size_t i);
void images_apply_words(images *im, size_t i);
void images_resize(images *im, uint64_t size);
void images_rewind(images *im, const image_base *base);
/* Writes the image of now into the file. */
void images_write(images *im);

#endif
