/* region_lent.c: see region_lent.h. Calls region_space.h, region_pages.h, registry.h, os.h. */
#include "region_lent.h"

#include <errno.h>

#include "os.h"
#include "region_pages.h"
#include "region_space.h"
#include "registry.h"
#include "superblock.h"

static mheap_err refused(mheap_error *error, const void *start, uint64_t size, const char *why) {
  mheap_err code = mh_fail(error, MHEAP_ERR_ARGUMENT, "lent memory: %llu bytes at %p: %s",
                           (unsigned long long)size, start, why);
  if (error != NULL) error->sys = EINVAL;
  return code;
}

/* The part of the memory that is whole slices. */
static bool whole_slices(void *start, uint64_t size, uint64_t *base, uint64_t *span) {
  uint64_t at = (uint64_t)start, end;
  if (at == 0 || at > MH_OFFSET_MAX || size > MH_OFFSET_MAX || at + size > MH_OFFSET_MAX) return false;
  *base = (at + MH_SLICE - 1) / MH_SLICE * MH_SLICE;
  end = (at + size) / MH_SLICE * MH_SLICE;
  *span = end > *base ? end - *base : 0;
  return *span >= MH_LENT_MIN;
}

/* EINVAL from populating is also what a kernel says that cannot. */
static mheap_err check_memory(void *start, uint64_t base, uint64_t span, const mh_lending *how,
                              mheap_error *error) {
  if (mh_registry_overlaps((void *)base, span))
    return refused(error, start, span, "part of it is in a region of this process already");
  if (!mh_os_is_mapped((void *)base, span))
    return refused(error, start, span, "not all of it is mapped in this process");
  int failed = how->committed ? mh_os_populate((void *)base, MH_REGION_MIN) : 0;
  if (failed && mh_os_can_populate())
    return refused(error, start, span, "it cannot be written, though it was said to be committed");
  return MHEAP_OK;
}

static mheap_err build(mh_region *region, uint64_t base, uint64_t span, const mh_lending *how,
                       mheap_error *error) {
  mh_superblock super;
  region->base = (char *)base;
  region->segments = region->base + MH_SLICE;
  region->super = (mh_superblock *)base;
  region->span = span;
  region->anonymous = true;
  region->pages.lent = true;
  region->pages.committed = how->committed;
  region->pages.pinned = how->pinned;
  region->pages.may_be_dirty = !how->zero;
  region->pages.node = how->numa_node;
  mh_superblock_make(&super, span);
  if (base % MH_SEGMENT != MH_SEGMENT - MH_SLICE) super.placement = MH_SLICE;
  mheap_err code = mh_region_make_tables(region, error);
  if (!code) code = mh_region_map(region, MH_REGION_MIN, error);
  if (!code) mh_region_format(region, &super);
  return code;
}

mh_region *mh_region_lend(void *start, uint64_t size, const mh_lending *how, mheap_error *error) {
  static const mheap_options defaults;
  uint64_t base, span;
  if (!whole_slices(start, size, &base, &span)) {
    refused(error, start, size,
            "too small: a heap needs 3 times 64 KiB from an address that is a multiple of 64 KiB");
    return NULL;
  }
  if (check_memory(start, base, span, how, error) != MHEAP_OK) return NULL;
  mh_region *region = mh_region_new("lent memory", &defaults, error);
  if (region == NULL) return NULL;
  mh_region_set_path(region, "lent memory");
  return mh_region_made(region, build(region, base, span, how, error), &defaults, error);
}
