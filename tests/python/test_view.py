"""Views: a heap's bytes as memoryviews."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mheap


def test_a_view_is_the_memory_itself(heap: mheap.Heap, heap_path: Path) -> None:
    address = heap.malloc(100)
    heap.setkey(0, address)
    with heap.view(address, 100) as view:
        assert view.nbytes == 100
        assert not view.readonly
        view[:5] = b"hello"
    with heap.view(address + 1, 3) as view:
        assert bytes(view) == b"ell"
    heap.close()
    with mheap.open(heap_path, mode="readonly") as reader:
        assert bytes(reader.view(reader.getkey(0) or 0, 5)) == b"hello"


def test_functions_view_too(heap: mheap.Heap) -> None:
    address = mheap.malloc(heap, 8)
    mheap.view(heap, address, 8)[:] = b"12345678"
    assert bytes(heap.view(address, 8)) == b"12345678"


def test_the_default_heap_can_be_viewed() -> None:
    address = mheap.malloc(None, 8)
    view = mheap.view(None, address, 8)
    view[:] = b"abcdefgh"
    assert bytes(mheap.view(None, address, 8)) == b"abcdefgh"
    mheap.free(None, address)


def test_a_view_of_a_readonly_heap_is_readonly(heap: mheap.Heap, heap_path: Path) -> None:
    address = heap.malloc(16)
    heap.close()
    with mheap.open(heap_path, mode="readonly") as reader, reader.view(address, 16) as view:
        assert view.readonly
        with pytest.raises(TypeError):
            view[0] = 1


def test_a_view_of_a_scratch_heap_writes_to_nobody(heap: mheap.Heap, heap_path: Path) -> None:
    address = heap.calloc(1, 16)
    heap.close()
    with mheap.open(heap_path, mode="scratch") as scratch, scratch.view(address, 16) as view:
        view[0] = 99
        assert view[0] == 99
    with mheap.open(heap_path, mode="live") as again:
        assert again.view(address, 16)[0] == 0


def test_detach_is_refused_while_views_are_exported(heap: mheap.Heap) -> None:
    views = [heap.view(heap.malloc(16), 16) for _ in range(3)]
    for view in views:
        with pytest.raises(BufferError, match="views of it are exported"):
            heap.close()
        assert not heap.closed
        heap.free(heap.malloc(10))
        view.release()
    heap.close()
    assert heap.closed


def test_the_end_of_a_with_block_is_refused_too(heap_path: Path) -> None:
    with pytest.raises(BufferError), mheap.open(heap_path, mode="live") as heap:
        view = heap.view(heap.malloc(16), 16)
    view.release()
    heap.close()


def test_what_is_made_from_a_view_counts_as_one(heap: mheap.Heap) -> None:
    slices = heap.view(heap.malloc(64), 64)[8:16].cast("Q")
    with pytest.raises(BufferError):
        heap.close()
    slices.release()
    gc.collect()
    heap.close()


def test_an_array_in_place(heap: mheap.Heap) -> None:
    address = heap.calloc(100, 8)
    array = np.frombuffer(heap.view(address, 800), dtype=np.float64)
    array[:] = np.arange(100)
    assert bytes(heap.view(address + 8, 8)) == np.float64(1).tobytes()
    with pytest.raises(BufferError):
        heap.close()
    del array
    gc.collect()
    heap.close()


def test_a_view_keeps_its_heap(heap_path: Path) -> None:
    opened = mheap.open(heap_path, mode="live")
    view = opened.view(opened.malloc(16), 16)
    there = weakref.ref(opened)
    del opened
    gc.collect()
    view[:] = b"x" * 16
    heap = there()
    assert heap is not None
    view.release()
    heap.close()


def test_a_view_cannot_be_made_again_after_the_end(heap: mheap.Heap) -> None:
    view = heap.view(heap.malloc(16), 16)
    memory = view.obj
    view.release()
    heap.close()
    with pytest.raises(mheap.ClosedHeap):
        memoryview(memory)


def test_an_empty_view(heap: mheap.Heap) -> None:
    assert bytes(heap.view(heap.malloc(16), 0)) == b""


def test_a_view_may_span_what_is_in_the_heap_and_no_more(heap: mheap.Heap) -> None:
    heap.malloc(16)
    assert bytes(heap.view(heap.base, 8)) == b"\x93mheap\r\n"
    assert len(heap.view(heap.base, heap.size)) == heap.size
    for address, size in (
        (heap.base, heap.size + 1),
        (heap.base - 1, 2),
        (heap.base + heap.size, 1),
        (heap.base + heap.size - 1, 2),
        (heap.base, 2**63 - 1),
        (2**64 - 1, 1),
        (1, 1),
    ):
        with pytest.raises(mheap.InvalidPointer):
            heap.view(address, size)
    for null in (0, None):
        with pytest.raises(mheap.InvalidPointer):
            heap.view(null, 1)  # type: ignore[arg-type]


def test_bad_sizes(heap: mheap.Heap) -> None:
    address = heap.malloc(16)
    with pytest.raises(mheap.InvalidArgument):
        heap.view(address, -1)
    for size in (2**63, 2**64):
        with pytest.raises(mheap.SizeOverflow):
            heap.view(address, size)
    for bad in ("1", 1.5):
        with pytest.raises(TypeError):
            heap.view(address, bad)  # type: ignore[arg-type]


def test_views_of_a_closed_heap_are_refused(heap: mheap.Heap) -> None:
    address = heap.malloc(16)
    heap.close()
    with pytest.raises(mheap.ClosedHeap):
        heap.view(address, 16)


def test_the_memory_behind_views_is_not_made_by_hand(heap: mheap.Heap) -> None:
    kind: Any = type(heap.view(heap.malloc(16), 16).obj)
    with pytest.raises(TypeError):
        kind()
