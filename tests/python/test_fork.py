"""Handles in forked children, and in processes of multiprocessing."""

from __future__ import annotations

import multiprocessing
import operator
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mheap


def in_child(body: Callable[[], object]) -> None:
    """Runs body in a forked child; what it raises fails the test."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        failed = 1
        try:
            body()
            failed = 0
        except BaseException:
            os.write(writing, traceback.format_exc()[-4000:].encode())
        finally:
            os._exit(failed)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    assert status == 0, said or f"status {status}"


def filled(path: Path) -> int:
    with mheap.open(path, mode="live") as heap:
        address = heap.malloc(7)
        heap.view(address, 7)[:] = b"content"
        heap.setkey(0, address)
    return address


def test_a_live_handle_is_busy_in_the_child_while_the_parent_has_it(heap: mheap.Heap) -> None:
    address = heap.malloc(16)

    def body() -> None:
        for call in (lambda: heap.malloc(1), lambda: heap.free(address), heap.stats, heap.sync):
            with pytest.raises(mheap.HeapBusy, match="inherited over a fork"):
                call()
        assert not heap.closed
        assert "inherited over a fork" in repr(heap)

    in_child(body)
    heap.free(address)


def test_the_child_reads_on_once_the_parent_is_done(heap_path: Path) -> None:
    address = filled(heap_path)
    heap = mheap.open(heap_path, mode="live")
    heap.free(heap.malloc(100))
    parent_is_done, done = os.pipe()
    child_saw_it_busy, busy = os.pipe()

    def body() -> None:
        os.close(done)
        with pytest.raises(mheap.HeapBusy):
            heap.getkey(0)
        os.close(busy)
        os.read(parent_is_done, 1)
        assert heap.getkey(0) == address
        assert bytes(heap.view(address, 7)) == b"content"
        assert heap.mode == "readonly"
        with pytest.raises(mheap.ReadOnlyHeap):
            heap.malloc(1)
        heap.close()
        assert heap.closed

    child = os.fork()
    if child == 0:
        failed = 1
        try:
            body()
            failed = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(failed)
    os.close(busy)
    os.read(child_saw_it_busy, 1)
    heap.close()
    os.close(done)
    assert os.waitpid(child, 0)[1] == 0
    os.close(parent_is_done)
    os.close(child_saw_it_busy)


def test_a_reader_stays_a_reader(heap_path: Path) -> None:
    address = filled(heap_path)
    with mheap.open(heap_path, mode="readonly") as heap:

        def body() -> None:
            assert bytes(heap.view(address, 7)) == b"content"
            assert heap.getkey(0) == address
            assert heap.base <= address
            heap.close()

        in_child(body)
        in_child(body)
        assert bytes(heap.view(address, 7)) == b"content"


def test_grandchildren(heap_path: Path) -> None:
    address = filled(heap_path)
    with mheap.open(heap_path, mode="readonly") as heap:

        def body() -> None:
            assert heap.getkey(0) == address
            in_child(lambda: heap.usable_size(address))
            assert heap.getkey(0) == address

        in_child(body)


def test_a_child_that_ends_leaves_the_parents_heap_alone(heap: mheap.Heap, heap_path: Path) -> None:
    heap.setkey(0, heap.malloc(16))
    in_child(heap.close)
    in_child(lambda: None)
    with pytest.raises(mheap.HeapBusy):
        mheap.open(heap_path, mode="live")
    heap.setkey(1, heap.malloc(16))
    assert heap.check()


def test_a_child_that_exits_in_order(heap_path: Path, run_python: Any) -> None:
    code = (
        "import mheap, os, sys\n"
        "heap = mheap.open(sys.argv[1], mode='live')\n"
        "heap.setkey(0, heap.malloc(16))\n"
        "child = os.fork()\n"
        "if child == 0: sys.exit()\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "heap.setkey(1, heap.malloc(16))\n"
        "heap.close()\n"
    )
    done = run_python(code, heap_path)
    assert (done.stdout, done.stderr) == ("", "")
    with mheap.open(heap_path, mode="live") as heap:
        assert heap.info().state == "clean"
        assert None not in (heap.getkey(0), heap.getkey(1))


def test_the_parent_may_die_before_the_child(heap_path: Path, run_python: Any) -> None:
    """The child holds no lock of the parent's."""
    code = (
        "import mheap, os, sys, time\n"
        "heap = mheap.open(sys.argv[1], mode='live')\n"
        "heap.setkey(0, heap.malloc(16))\n"
        "if os.fork() == 0:\n"
        "    os.close(1), os.close(2)\n"
        "    while not os.path.exists(sys.argv[2]): time.sleep(0.01)\n"
        "    os._exit(0)\n"
        "os._exit(0)\n"
    )
    stop = heap_path.with_suffix(".stop")
    try:
        run_python(code, heap_path, stop)
        with mheap.open(heap_path, mode="live") as heap:
            assert heap.getkey(0) is not None
    finally:
        stop.touch()


def test_views_of_the_parent_keep_a_child_from_attaching(heap_path: Path) -> None:
    address = filled(heap_path)
    with mheap.open(heap_path, mode="readonly") as heap:
        view = heap.view(address, 7)

        def body() -> None:
            with pytest.raises(mheap.ForkedHandle, match="release"):
                heap.getkey(0)
            assert bytes(view) == b"content"
            memory = view.obj
            view.release()
            assert heap.getkey(0) == address
            with pytest.raises(mheap.ForkedHandle):
                memoryview(memory)

        in_child(body)
        view.release()


def test_anonymous_memory_is_the_childs_own_copy_or_refused() -> None:
    with mheap.attach(-1) as heap:
        address = heap.malloc(16)
        heap.view(address, 2)[:] = b"ab"

        def body() -> None:
            try:
                heap.view(address, 2)[:] = b"xy"
                heap.free(heap.malloc(100))
            except mheap.ForkedHandle:
                pass

        in_child(body)
        assert bytes(heap.view(address, 2)) == b"ab"


def test_the_default_heap_goes_on_in_a_child() -> None:
    address = mheap.malloc(None, 16)
    mheap.view(None, address, 2)[:] = b"ab"

    def body() -> None:
        assert bytes(mheap.view(None, address, 2)) == b"ab"
        mheap.free(None, address)
        mheap.free(None, mheap.malloc(None, 100))

    in_child(body)
    mheap.free(None, address)


def test_a_checked_and_traced_heap_in_a_child(heap_path: Path, tmp_path: Path) -> None:
    with mheap.open(heap_path, mode="live") as heap:
        heap.mmcheck(None)
        heap.mmtrace(tmp_path / "trace")
        heap.malloc(10)

        def body() -> None:
            with pytest.raises(mheap.HeapBusy):
                heap.malloc(10)

        in_child(body)
        heap.mmtrace(None)
    assert (tmp_path / "trace").read_text().count("+ 0x") == 1


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_handles_are_sent_to_processes(heap_path: Path, method: str) -> None:
    address = filled(heap_path)
    context = multiprocessing.get_context(method)
    with context.Pool(1) as pool, mheap.open(heap_path, mode="readonly") as heap:
        # Not a function of this file: the new process need not find that.
        assert pool.apply_async(operator.methodcaller("getkey", 0), (heap,)).get(60) == address
