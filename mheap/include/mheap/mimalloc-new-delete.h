/* mimalloc-new-delete.h: included in one source file of a C++ program, makes operator new and delete,
   in all their forms, mimalloc's of mheap/mimalloc.h. What a library allocated before by others' new
   must not come to these. */
#ifndef MHEAP_MIMALLOC_NEW_DELETE_H
#define MHEAP_MIMALLOC_NEW_DELETE_H
#ifdef __cplusplus

#include <new>

#include "mimalloc.h"

void *operator new(std::size_t n) { return mi_new(n); }
void *operator new[](std::size_t n) { return mi_new(n); }
void *operator new(std::size_t n, const std::nothrow_t &) noexcept { return mi_new_nothrow(n); }
void *operator new[](std::size_t n, const std::nothrow_t &) noexcept { return mi_new_nothrow(n); }
void operator delete(void *p) noexcept { mi_free(p); }
void operator delete[](void *p) noexcept { mi_free(p); }
void operator delete(void *p, const std::nothrow_t &) noexcept { mi_free(p); }
void operator delete[](void *p, const std::nothrow_t &) noexcept { mi_free(p); }

#if __cplusplus >= 201402
void operator delete(void *p, std::size_t n) noexcept { mi_free_size(p, n); }
void operator delete[](void *p, std::size_t n) noexcept { mi_free_size(p, n); }
#endif

#if __cplusplus >= 201703
#define MI_ALIGNMENT_ static_cast<std::size_t>(alignment)
void *operator new(std::size_t n, std::align_val_t alignment) { return mi_new_aligned(n, MI_ALIGNMENT_); }
void *operator new[](std::size_t n, std::align_val_t alignment) { return mi_new_aligned(n, MI_ALIGNMENT_); }
void *operator new(std::size_t n, std::align_val_t alignment, const std::nothrow_t &) noexcept {
  return mi_new_aligned_nothrow(n, MI_ALIGNMENT_);
}
void *operator new[](std::size_t n, std::align_val_t alignment, const std::nothrow_t &) noexcept {
  return mi_new_aligned_nothrow(n, MI_ALIGNMENT_);
}
void operator delete(void *p, std::align_val_t) noexcept { mi_free(p); }
void operator delete[](void *p, std::align_val_t) noexcept { mi_free(p); }
void operator delete(void *p, std::size_t, std::align_val_t) noexcept { mi_free(p); }
void operator delete[](void *p, std::size_t, std::align_val_t) noexcept { mi_free(p); }
void operator delete(void *p, std::align_val_t, const std::nothrow_t &) noexcept { mi_free(p); }
void operator delete[](void *p, std::align_val_t, const std::nothrow_t &) noexcept { mi_free(p); }
#undef MI_ALIGNMENT_
#endif

#endif
#endif
