/* mimalloc_cxx.h: what mheap/mimalloc.h, which includes it, offers to C++ (11 and up) alone.

     std::vector<int, mi_stl_allocator<int>> numbers;
     mi_heap_destroy_stl_allocator<int> own; // a heap of its own, gone with its last copy
     std::list<int, mi_heap_destroy_stl_allocator<int>> list(own);

   All of it is inline: the library knows nothing of C++. */
#ifndef MHEAP_MIMALLOC_CXX_H
#define MHEAP_MIMALLOC_CXX_H
#ifdef __cplusplus

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "mimalloc.h"

/* Both documented calls: this one shows all. */
inline void mi_debug_show_arenas() noexcept { mi_debug_show_arenas(true, true, true); }

/* ---- operator new's way: the new handler is asked until there is memory, or none, or it throws -- */

inline void mi_no_memory_() {
#if defined(__cpp_exceptions) || defined(__EXCEPTIONS)
  throw std::bad_alloc();
#else
  std::abort();
#endif
}

/* May it be tried again? */
inline bool mi_try_again_() {
  std::new_handler handler = std::get_new_handler();
  if (handler == nullptr) return false;
  handler();
  return true;
}

template <class Allocate>
void *mi_new_by_(Allocate allocate) {
  for (;;) {
    void *p = allocate();
    if (p != nullptr) return p;
    if (!mi_try_again_()) mi_no_memory_();
  }
}

inline void *mi_new(std::size_t size) {
  return mi_new_by_([=] { return mi_malloc(size); });
}
inline void *mi_new_aligned(std::size_t size, std::size_t alignment) {
  return mi_new_by_([=] { return mi_malloc_aligned(size, alignment); });
}
inline void *mi_new_n(std::size_t count, std::size_t size) {
  return mi_new_by_([=] { return mi_mallocn(count, size); });
}
inline void *mi_new_realloc(void *p, std::size_t newsize) {
  return mi_new_by_([=] { return mi_realloc(p, newsize); });
}
inline void *mi_new_reallocn(void *p, std::size_t count, std::size_t size) {
  return mi_new_by_([=] { return mi_reallocn(p, count, size); });
}
inline void *mi_heap_alloc_new(mi_heap_t *heap, std::size_t size) {
  return mi_new_by_([=] { return mi_heap_malloc(heap, size); });
}
inline void *mi_heap_alloc_new_n(mi_heap_t *heap, std::size_t count, std::size_t size) {
  return mi_new_by_([=] { return mi_heap_mallocn(heap, count, size); });
}

/* NULL where the others throw. */
template <class Allocate>
void *mi_new_nothrow_by_(Allocate allocate) noexcept {
#if defined(__cpp_exceptions) || defined(__EXCEPTIONS)
  try {
    return mi_new_by_(allocate);
  } catch (const std::bad_alloc &) {
    return nullptr;
  }
#else
  void *p = allocate();
  while (p == nullptr && mi_try_again_()) p = allocate();
  return p;
#endif
}

inline void *mi_new_nothrow(std::size_t size) noexcept {
  return mi_new_nothrow_by_([=] { return mi_malloc(size); });
}
inline void *mi_new_aligned_nothrow(std::size_t size, std::size_t alignment) noexcept {
  return mi_new_nothrow_by_([=] { return mi_malloc_aligned(size, alignment); });
}

/* ---- allocators for containers ---------------------------------------------------------------- */

template <class T>
struct mi_allocator_types_ {
  typedef T value_type;
  typedef std::size_t size_type;
  typedef std::ptrdiff_t difference_type;
  typedef T &reference;
  typedef const T &const_reference;
  typedef T *pointer;
  typedef const T *const_pointer;
  typedef std::true_type propagate_on_container_copy_assignment;
  typedef std::true_type propagate_on_container_move_assignment;
  typedef std::true_type propagate_on_container_swap;

  size_type max_size() const noexcept { return PTRDIFF_MAX / sizeof(T); }
  pointer address(reference x) const { return std::addressof(x); }
  const_pointer address(const_reference x) const { return std::addressof(x); }
  template <class U, class... Args>
  void construct(U *p, Args &&...args) {
    ::new (static_cast<void *>(p)) U(std::forward<Args>(args)...);
  }
  template <class U>
  void destroy(U *p) noexcept {
    p->~U();
  }

 protected:
  /* Types that are aligned to more than every block is. */
  static T *from(mi_heap_t *heap, std::size_t count) {
    void *p = mi_new_by_([=]() -> void * {
      if (count > PTRDIFF_MAX / sizeof(T)) return mi_heap_mallocn(heap, count, sizeof(T));
      if (alignof(T) > 16) return mi_heap_malloc_aligned(heap, count * sizeof(T), alignof(T));
      return mi_heap_malloc(heap, count * sizeof(T));
    });
    return static_cast<T *>(p);
  }
};

/* In the default heap of whichever thread allocates. */
template <class T>
struct mi_stl_allocator : public mi_allocator_types_<T> {
  typedef std::true_type is_always_equal;
  template <class U>
  struct rebind {
    typedef mi_stl_allocator<U> other;
  };

  mi_stl_allocator() noexcept = default;
  mi_stl_allocator(const mi_stl_allocator &) noexcept = default;
  template <class U>
  mi_stl_allocator(const mi_stl_allocator<U> &) noexcept {}
  mi_stl_allocator &operator=(const mi_stl_allocator &) noexcept = default;
  mi_stl_allocator select_on_container_copy_construction() const { return *this; }

  T *allocate(std::size_t count, const void * = nullptr) { return this->from(mi_heap_get_default(), count); }
  void deallocate(T *p, std::size_t) { mi_free(p); }
};

template <class T, class U>
bool operator==(const mi_stl_allocator<T> &, const mi_stl_allocator<U> &) noexcept {
  return true;
}
template <class T, class U>
bool operator!=(const mi_stl_allocator<T> &, const mi_stl_allocator<U> &) noexcept {
  return false;
}

/* In one heap: of its own, which goes with the allocator's last copy, or one that is given and stays. */
template <class T, bool destroys>
struct mi_heap_allocator_ : public mi_allocator_types_<T> {
  typedef std::false_type is_always_equal;

  mi_heap_allocator_() : heap(made(), destroys ? &mi_heap_destroy : &mi_heap_delete) {}
  mi_heap_allocator_(mi_heap_t *given) : heap(given, [](mi_heap_t *) {}) {}
  mi_heap_allocator_(const mi_heap_allocator_ &) noexcept = default;
  mi_heap_allocator_ &operator=(const mi_heap_allocator_ &) noexcept = default;
  template <class U>
  mi_heap_allocator_(const mi_heap_allocator_<U, destroys> &x) noexcept : heap(x.heap) {}

  T *allocate(std::size_t count, const void * = nullptr) { return this->from(heap.get(), count); }
  void collect(bool force) { mi_heap_collect(heap.get(), force); }
  template <class U>
  bool is_equal(const mi_heap_allocator_<U, destroys> &x) const {
    return heap == x.heap;
  }

 protected:
  template <class U, bool other>
  friend struct mi_heap_allocator_;
  std::shared_ptr<mi_heap_t> heap;

 private:
  static mi_heap_t *made() {
    mi_heap_t *fresh = mi_heap_new();
    if (fresh == nullptr) mi_no_memory_();
    return fresh;
  }
};

template <class T>
struct mi_heap_stl_allocator : public mi_heap_allocator_<T, false> {
  template <class U>
  struct rebind {
    typedef mi_heap_stl_allocator<U> other;
  };

  mi_heap_stl_allocator() {}
  mi_heap_stl_allocator(mi_heap_t *given) : mi_heap_allocator_<T, false>(given) {}
  template <class U>
  mi_heap_stl_allocator(const mi_heap_stl_allocator<U> &x) noexcept : mi_heap_allocator_<T, false>(x) {}
  mi_heap_stl_allocator select_on_container_copy_construction() const { return *this; }
  void deallocate(T *p, std::size_t) { mi_free(p); }
};

/* Frees nothing: the heap is destroyed. */
template <class T>
struct mi_heap_destroy_stl_allocator : public mi_heap_allocator_<T, true> {
  template <class U>
  struct rebind {
    typedef mi_heap_destroy_stl_allocator<U> other;
  };

  mi_heap_destroy_stl_allocator() {}
  mi_heap_destroy_stl_allocator(mi_heap_t *given) : mi_heap_allocator_<T, true>(given) {}
  template <class U>
  mi_heap_destroy_stl_allocator(const mi_heap_destroy_stl_allocator<U> &x) noexcept
      : mi_heap_allocator_<T, true>(x) {}
  mi_heap_destroy_stl_allocator select_on_container_copy_construction() const { return *this; }
  void deallocate(T *, std::size_t) {}
};

template <class T, class U>
bool operator==(const mi_heap_stl_allocator<T> &x, const mi_heap_stl_allocator<U> &y) noexcept {
  return x.is_equal(y);
}
template <class T, class U>
bool operator!=(const mi_heap_stl_allocator<T> &x, const mi_heap_stl_allocator<U> &y) noexcept {
  return !x.is_equal(y);
}
template <class T, class U>
bool operator==(const mi_heap_destroy_stl_allocator<T> &x,
                const mi_heap_destroy_stl_allocator<U> &y) noexcept {
  return x.is_equal(y);
}
template <class T, class U>
bool operator!=(const mi_heap_destroy_stl_allocator<T> &x,
                const mi_heap_destroy_stl_allocator<U> &y) noexcept {
  return !x.is_equal(y);
}

#endif
#endif
