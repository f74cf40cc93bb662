/* test_classes.c: the size classes keep what classes.h and the public header promise. */
#include "fast.h"
#include "test.h"

static void every_size_has_the_smallest_class_that_holds_it(void) {
  for (uint64_t size = 1; size <= MH_CLASS_MAX_SIZE; size++) {
    uint32_t class = mh_class_of(size);
    REQUIRE(class < MHEAP_CLASSES);
    if (!CHECK(mh_classes[class].size >= size)) return;
    if (class > 0 && !CHECK(mh_classes[class - 1].size < size)) return;
  }
}

static void sizes_are_multiples_of_sixteen_and_grow(void) {
  for (unsigned i = 0; i < MHEAP_CLASSES; i++) {
    CHECK_EQ(mh_classes[i].size % 16, 0);
    if (i > 0) CHECK(mh_classes[i].size > mh_classes[i - 1].size);
  }
  CHECK_EQ(mh_classes[MHEAP_CLASSES - 1].size, MH_CLASS_MAX_SIZE);
}

static void a_block_is_an_eighth_larger_than_asked_for_at_most(void) {
  for (uint64_t size = 129; size <= MH_CLASS_MAX_SIZE; size++) {
    uint64_t got = mh_classes[mh_class_of(size)].size;
    if (!CHECK((got - size) * 8 <= size)) return;
  }
}

static void slabs_waste_an_eighth_at_most(void) {
  for (unsigned i = 0; i < MHEAP_CLASSES; i++) {
    const mh_class *class = &mh_classes[i];
    uint64_t room = class->slices * MH_SLICE, used = (uint64_t)class->blocks * class->size;
    REQUIRE(class->slices >= 1 && class->slices <= 8);
    CHECK(used <= room);
    CHECK((room - used) * 8 <= room);
    CHECK(class->blocks <= (unsigned)class->slices * MH_BITMAP_BLOCKS);
  }
}

static void small_sizes_find_their_bin(void) {
  static mh_lane lane;
  for (size_t size = 1; size <= MH_SMALL_MAX; size++)
    if (!CHECK(mh_small_bin(&lane, size) == &lane.bins[mh_class_of(size)])) return;
  CHECK(mh_small_bin(&lane, 0) == &lane.bins[0]);
}

/* Of every distance into a slab, in its first slice and behind it. */
static void starts_of_blocks_are_known_from_all_else(void) {
  for (unsigned i = 0; i < MHEAP_CLASSES; i++) {
    const mh_class *class = &mh_classes[i];
    mh_slab slab = {.size = class->size, .reciprocal = class->reciprocal, .blocks = class->blocks};
    for (uint64_t distance = 0; distance < class->slices * MH_SLICE; distance++) {
      bool starts = distance % class->size == 0 && distance / class->size < class->blocks;
      if (!CHECK_EQ(mh_index_of(&slab, distance), starts ? distance / class->size : UINT64_MAX)) return;
    }
  }
}

static void reciprocals_divide_exactly(void) {
  for (unsigned i = 0; i < MHEAP_CLASSES; i++) {
    const mh_class *class = &mh_classes[i];
    for (uint64_t block = 0; block < class->blocks; block++) {
      uint64_t distance = block * class->size;
      if (!CHECK_EQ((distance * class->reciprocal) >> 32, block)) return;
    }
  }
}

TEST_MAIN(TEST(every_size_has_the_smallest_class_that_holds_it),
          TEST(sizes_are_multiples_of_sixteen_and_grow),
          TEST(a_block_is_an_eighth_larger_than_asked_for_at_most),
          TEST(slabs_waste_an_eighth_at_most), TEST(small_sizes_find_their_bin),
          TEST(starts_of_blocks_are_known_from_all_else),
          TEST(reciprocals_divide_exactly))
