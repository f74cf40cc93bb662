/* blocks.c: allocating and freeing.

   Owns nothing. The fast path of the binding: arguments straight to C values, the GIL kept,
   the address straight to an int. While mmcheck is on, blocks are probed before they are
   freed or resized, so that an on_error function that raises finds, and leaves, the heap as
   it was. */
#include <unistd.h>

#include "ext.h"

static PyObject *block_or_error(mheap *heap, const void *block) {
  if (block != NULL) return PyLong_FromVoidPtr((void *)(uintptr_t)block);
  mhx_raise(heap);
  return NULL;
}

static inline int check_first(mhx_handle *handle, void *block) {
  return mhx_guard_of(handle)->checking && block != NULL ? mhx_guard_check(handle, block) : 0;
}

static PyObject *op_malloc(mhx_handle *handle, PyObject *const *args) {
  size_t size;
  if (mhx_size(args[0], &size) < 0) return NULL;
  mheap *heap = mhx_live(handle);
  if (heap == NULL) return NULL;
  return block_or_error(heap, mheap_malloc(heap, size));
}

static PyObject *op_calloc(mhx_handle *handle, PyObject *const *args) {
  size_t count, size;
  if (mhx_size(args[0], &count) < 0 || mhx_size(args[1], &size) < 0) return NULL;
  mheap *heap = mhx_live(handle);
  if (heap == NULL) return NULL;
  return block_or_error(heap, mheap_calloc(heap, count, size));
}

static PyObject *op_realloc(mhx_handle *handle, PyObject *const *args) {
  void *block;
  size_t size;
  if (mhx_address(args[0], &block) < 0 || mhx_size(args[1], &size) < 0) return NULL;
  if (check_first(handle, block) < 0) return NULL;
  mheap *heap = mhx_live(handle);
  if (heap == NULL) return NULL;
  return block_or_error(heap, mheap_realloc(heap, block, size));
}

static PyObject *aligned(mhx_handle *handle, size_t alignment, size_t size) {
  mheap *heap = mhx_live(handle);
  if (heap == NULL) return NULL;
  return block_or_error(heap, mheap_memalign(heap, alignment, size));
}

static PyObject *op_memalign(mhx_handle *handle, PyObject *const *args) {
  size_t alignment, size;
  if (mhx_size(args[0], &alignment) < 0 || mhx_size(args[1], &size) < 0) return NULL;
  return aligned(handle, alignment, size);
}

static PyObject *op_valloc(mhx_handle *handle, PyObject *const *args) {
  size_t size;
  if (mhx_size(args[0], &size) < 0) return NULL;
  return aligned(handle, (size_t)sysconf(_SC_PAGESIZE), size);
}

static PyObject *op_free(mhx_handle *handle, PyObject *const *args) {
  void *block;
  if (mhx_address(args[0], &block) < 0) return NULL;
  if (check_first(handle, block) < 0) return NULL;
  mheap *heap = mhx_live(handle);
  if (heap == NULL) return NULL;
  return mhx_none_or_error(heap, mheap_free(heap, block));
}

static PyObject *op_usable_size(mhx_handle *handle, PyObject *const *args) {
  void *block;
  if (mhx_address(args[0], &block) < 0) return NULL;
  mheap *heap = mhx_live(handle);
  if (heap == NULL) return NULL;
  size_t size = mheap_usable_size(heap, block);
  /* Every block has at least 16 bytes: 0 is an error, but for NULL. */
  if (size != 0 || block == NULL) return PyLong_FromSize_t(size);
  mhx_raise(heap);
  return NULL;
}

static PyObject *good_size(PyObject *self, PyObject *value) {
  (void)self;
  size_t size;
  if (mhx_size(value, &size) < 0) return NULL;
  size_t good = mheap_good_size(size);
  if (good != 0) return PyLong_FromSize_t(good);
  return mhx_refuse(MHEAP_ERR_OVERFLOW, "no heap can hold a block of %zu bytes", size);
}

static PyObject *is_redirected(PyObject *self, PyObject *none) {
  (void)self, (void)none;
  return PyBool_FromLong(mheap_is_redirected());
}

MHX_BOTH(malloc, 1)
MHX_BOTH(calloc, 2)
MHX_BOTH(realloc, 2)
MHX_BOTH(memalign, 2)
MHX_BOTH(valloc, 1)
MHX_BOTH(free, 1)
MHX_METHOD_ONLY(usable_size, 1)

/* Given an address alone, of any heap of the subprocess. */
static PyObject *usable_size_any(PyObject *address) {
  void *block;
  if (mhx_address(address, &block) < 0) return NULL;
  size_t size = mheap_usable_size_any(block);
  if (size != 0 || block == NULL) return PyLong_FromSize_t(size);
  mhx_raise(NULL);
  return NULL;
}

static PyObject *function_usable_size(PyObject *module, PyObject *const *args, Py_ssize_t nargs) {
  mhx_handle *handle;
  if (nargs == 1) return usable_size_any(args[0]);
  if (nargs != 2) return mhx_arity("usable_size", 2, nargs);
  return mhx_md(module, args[0], &handle) < 0 ? NULL : op_usable_size(handle, args + 1);
}

#define MD "`md` is a Heap, or None for the default heap, which is in anonymous memory."
#define FAILS "Raises HeapFull, SizeOverflow, ReadOnlyHeap or ClosedHeap; the heap is then as it was."

#define MALLOC                                                              \
  "Allocates `size` bytes and returns their address, a multiple of 16.\n\n" \
  "The bytes are not initialised. Size 0 gives a block of its own, of 16 bytes.\n"
#define CALLOC                                                             \
  "Allocates count * size bytes, all zero, and returns their address.\n\n" \
  "A product that overflows raises SizeOverflow.\n"
#define REALLOC                                                                               \
  "Makes the block at `address` `size` bytes large and returns its address, perhaps new.\n\n" \
  "The bytes both sizes share are kept. None or 0 for `address` is malloc(size). On\n"        \
  "failure the old block stays as it was. What is no block raises InvalidPointer or\n"        \
  "DoubleFree.\n"
#define MEMALIGN                                                               \
  "Allocates `size` bytes at a multiple of `alignment`, any power of two.\n\n" \
  "Another alignment raises InvalidArgument.\n"
#define VALLOC "Allocates `size` bytes at the start of a page of this machine.\n\n"
#define FREE                                                                        \
  "Frees the block at `address`; None or 0: nothing.\n\n"                           \
  "A block that is free already raises DoubleFree, what is no block of this heap\n" \
  "InvalidPointer, and nothing is changed."
#define USABLE_SIZE                                                                            \
  "The bytes that may be used at the block, at least what was asked for; 0 for None or 0.\n\n" \
  "What is no block of this heap raises InvalidPointer."
#define GOOD_SIZE                                                                 \
  "The bytes that malloc(size) reserves: asking for them costs nothing more.\n\n" \
  "Raises SizeOverflow for more than any heap can hold."

#define IS_REDIRECTED "Does mheap serve this process's malloc, because `mheap run` started it?"

PyMethodDef mhx_blocks_methods[] = {
    MHX_METHOD(malloc, "malloc($self, size, /)\n--\n\n" MALLOC FAILS),
    MHX_METHOD(calloc, "calloc($self, count, size, /)\n--\n\n" CALLOC FAILS),
    MHX_METHOD(realloc, "realloc($self, address, size, /)\n--\n\n" REALLOC FAILS),
    MHX_METHOD(memalign, "memalign($self, alignment, size, /)\n--\n\n" MEMALIGN FAILS),
    MHX_METHOD(valloc, "valloc($self, size, /)\n--\n\n" VALLOC FAILS),
    MHX_METHOD(free, "free($self, address, /)\n--\n\n" FREE),
    MHX_METHOD(usable_size, "usable_size($self, address, /)\n--\n\n" USABLE_SIZE),
    {"good_size", good_size, METH_O | METH_STATIC, "good_size(size, /)\n--\n\n" GOOD_SIZE},
    {NULL, NULL, 0, NULL},
};

PyMethodDef mhx_blocks_functions[] = {
    MHX_FUNCTION(malloc, "malloc($module, md, size, /)\n--\n\n" MALLOC FAILS "\n" MD),
    MHX_FUNCTION(calloc, "calloc($module, md, count, size, /)\n--\n\n" CALLOC FAILS "\n" MD),
    MHX_FUNCTION(realloc, "realloc($module, md, address, size, /)\n--\n\n" REALLOC FAILS "\n" MD),
    MHX_FUNCTION(memalign, "memalign($module, md, alignment, size, /)\n--\n\n" MEMALIGN FAILS "\n" MD),
    MHX_FUNCTION(valloc, "valloc($module, md, size, /)\n--\n\n" VALLOC FAILS "\n" MD),
    MHX_FUNCTION(free, "free($module, md, address, /)\n--\n\n" FREE "\n" MD),
    MHX_FUNCTION(usable_size, "usable_size(md, address, /)\nusable_size(address, /)\n\n" USABLE_SIZE "\n" MD
                              "\nWithout md: of whichever heap the block is."),
    {"good_size", good_size, METH_O, "good_size($module, size, /)\n--\n\n" GOOD_SIZE},
    {"is_redirected", is_redirected, METH_NOARGS, "is_redirected($module, /)\n--\n\n" IS_REDIRECTED},
    {NULL, NULL, 0, NULL},
};
