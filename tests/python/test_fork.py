"""Handles in forked children, and in processes of multiprocessing."""

from __future__ import annotations

import multiprocessing
import operator
import os
import threading
import traceback
from pathlib import Path
from typing import Any

import pytest
from forks import in_child

import mheap


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


def test_what_a_child_knew_of_objects_is_looked_at_anew(heap_path: Path) -> None:
    heap = mheap.open(heap_path)
    heap.root.update(items=[1, 2, 3], table={"one": 1})
    items, table = heap.root["items"], heap.root["table"]
    items.append(items.pop())
    table["two"] = 2
    heap.commit()
    parent_is_done, done = os.pipe()
    child = os.fork()
    if child == 0:
        failed = 1
        try:
            os.close(done)
            os.read(parent_is_done, 1)
            assert list(items) == [*range(1000), 3]
            assert items[-1] == 3
            assert len(table) == 1002
            assert table["999"] == 999
            failed = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(failed)
    items[:2] = range(1000)
    table.update((str(number), number) for number in range(1000))
    heap.commit()
    heap.close()
    os.close(done)
    os.close(parent_is_done)
    assert os.waitpid(child, 0)[1] == 0


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


# ---- attaching anew, where the parent's mapping lies: a raw address fixed the base ----


@pytest.mark.parametrize("mode", ["readonly", "scratch"])
def test_a_child_opens_a_heap_with_a_fixed_base_anew(heap_path: Path, mode: Any) -> None:
    address = filled(heap_path)
    with mheap.open(heap_path, mode=mode) as heap:

        def body() -> None:
            for _ in range(3):
                with mheap.open(heap_path, mode=mode) as own:
                    assert own.getkey(0) == address
                    assert bytes(own.view(address, 7)) == b"content"
                    with pytest.raises(mheap.BaseAddressInUse):
                        mheap.open(heap_path, mode=mode)  # as in every process: one is there
                    with pytest.raises(mheap.BaseAddressInUse):
                        heap.getkey(0)
            assert heap.getkey(0) == address
            heap.close()

        in_child(body)
        assert bytes(heap.view(address, 7)) == b"content"


def test_a_child_goes_on_writing_when_the_parent_is_done(heap_path: Path) -> None:
    address = filled(heap_path)
    heap = mheap.open(heap_path, mode="live")
    heap.free(heap.malloc(100))
    parent_is_done, done = os.pipe()
    child = os.fork()
    if child == 0:
        failed = 1
        try:
            os.close(done)
            os.read(parent_is_done, 1)
            with mheap.open(heap_path, mode="live") as own:
                own.view(address, 7)[:] = b"changed"
            failed = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(failed)
    heap.close()
    os.close(done)
    os.close(parent_is_done)
    assert os.waitpid(child, 0)[1] == 0
    with mheap.open(heap_path, mode="readonly") as heap:
        assert bytes(heap.view(address, 7)) == b"changed"


def test_nothing_is_attached_in_the_place_of_what_is_viewed(heap_path: Path, tmp_path: Path) -> None:
    address = filled(heap_path)
    other_path = tmp_path / "other.heap"
    other_address = filled(other_path)
    with mheap.open(heap_path, mode="readonly") as heap, mheap.open(other_path, mode="readonly"):
        view = heap.view(address, 7)

        def body() -> None:
            with pytest.raises(mheap.BaseAddressInUse, match=r"inherited over a fork.*release"):
                mheap.open(heap_path, mode="readonly")
            with mheap.open(other_path, mode="readonly") as own:  # of which there are no views
                assert bytes(own.view(other_address, 7)) == b"content"
            assert bytes(view) == b"content"
            view.release()
            with mheap.open(heap_path, mode="readonly") as own:
                assert bytes(own.view(address, 7)) == b"content"

        in_child(body)
        view.release()


def test_calls_of_the_parents_threads_are_not_in_the_way(heap_path: Path) -> None:
    address = filled(heap_path)
    inside, go_on = threading.Event(), threading.Event()

    def wait(*_: object) -> None:
        inside.set()
        go_on.wait()

    with mheap.open(heap_path, mode="readonly") as heap:
        thread = threading.Thread(target=lambda: heap.check(progress=wait))
        thread.start()
        inside.wait()

        def body() -> None:
            with mheap.open(heap_path, mode="readonly") as own:
                assert own.getkey(0) == address

        try:
            in_child(body)
        finally:
            go_on.set()
            thread.join()


def test_the_call_that_forked_keeps_its_memory(heap_path: Path) -> None:
    filled(heap_path)
    calls = []

    def fork_once(*_: object) -> None:
        calls.append(1)
        if len(calls) > 1:
            return

        def body() -> None:
            for _ in range(2):
                with pytest.raises(mheap.BaseAddressInUse, match="inherited"):
                    mheap.open(heap_path, mode="readonly")

        in_child(body)

    with mheap.open(heap_path, mode="readonly") as heap:
        assert heap.check(progress=fork_once)
    assert calls


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


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_that_inherited_a_handle_can_be_sent_it(heap_path: Path, method: str) -> None:
    """Pool tells nobody of an OSError in unpickling, and waits for ever."""
    address = filled(heap_path)
    context = multiprocessing.get_context(method)
    with mheap.open(heap_path, mode="readonly") as heap, context.Pool(2) as pool:
        answers = pool.map_async(operator.methodcaller("getkey", 0), [heap] * 10, chunksize=1)
        assert answers.get(30) == [address] * 10
