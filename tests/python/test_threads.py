"""One heap, several threads: blocks cross threads, closing waits or is seen."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mheap


def together(*bodies: Callable[[], None]) -> list[BaseException]:
    """Runs the bodies at once; what they raised."""
    raised: list[BaseException] = []
    start = threading.Barrier(len(bodies))

    def run(body: Callable[[], None]) -> None:
        start.wait()
        try:
            body()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def test_a_block_is_freed_by_another_thread(heap: mheap.Heap) -> None:
    blocks = [heap.malloc(100) for _ in range(1000)]

    def free_all() -> None:
        for block in blocks:
            heap.free(block)

    assert together(free_all) == []
    assert heap.mmstats().chunks_used == 0
    with pytest.raises(mheap.DoubleFree):
        heap.free(blocks[0])


def test_blocks_of_a_finished_thread_stay(heap: mheap.Heap) -> None:
    blocks: list[int] = []
    assert together(lambda: blocks.extend(heap.malloc(64) for _ in range(100))) == []
    for block in blocks:
        assert heap.usable_size(block) >= 64
        heap.free(block)


def test_threads_that_allocate_do_not_get_the_same_block(heap: mheap.Heap) -> None:
    found: list[list[int]] = [[], [], []]

    def fill(mine: list[int]) -> Callable[[], None]:
        return lambda: mine.extend(heap.malloc(48) for _ in range(3000))

    assert together(*map(fill, found)) == []
    blocks = [block for mine in found for block in mine]
    assert len(set(blocks)) == len(blocks) == 9000


@pytest.mark.parametrize("attempt", range(5))
def test_closing_while_others_use_the_heap_is_seen_and_harmless(heap_path: Path, attempt: int) -> None:
    heap = mheap.open(heap_path, mode="live")
    stop = time.monotonic() + 60  # far beyond what it takes: only so that a failure ends

    def use(call: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            while time.monotonic() < stop:
                call()

        return run

    def close() -> None:
        time.sleep(0.05)
        heap.close()

    raised = together(
        use(lambda: heap.free(heap.malloc(100))),
        use(heap.stats),
        use(heap.sync),
        use(heap.check),
        use(lambda: heap.collect(force=True)),
        close,
    )
    assert heap.closed
    assert len(raised) == 5
    assert all(isinstance(error, mheap.ClosedHeap) for error in raised), raised
    with mheap.open(heap_path, mode="live") as again:
        assert again.info().state == "clean"


def test_two_threads_that_close(heap_path: Path) -> None:
    for _ in range(50):
        heap = mheap.open(heap_path, mode="live")
        heap.free(heap.malloc(10))
        assert together(heap.close, heap.close) == []


def test_detach_waits_for_a_call_under_way(heap: mheap.Heap) -> None:
    heap.malloc(10)
    order: list[str] = []
    inside = threading.Event()

    def progress(done: int, total: int) -> None:
        inside.set()
        if not order:
            time.sleep(0.2)
            order.append("checked")

    def close() -> None:
        assert inside.wait(30)
        heap.close()
        order.append("closed")

    def check() -> None:
        assert heap.check(None, progress)

    assert together(check, close) == []
    assert order == ["checked", "closed"]


def test_other_threads_run_while_one_waits_to_attach(heap: mheap.Heap, heap_path: Path) -> None:
    counted = 0
    waiting = threading.Thread(target=lambda: mheap.open(heap_path, mode="live", timeout=30).close())
    waiting.start()
    stop = time.monotonic() + 0.3
    while time.monotonic() < stop:
        counted += 1
    heap.close()
    waiting.join()
    assert counted > 1000


def test_closing_waits_for_a_store_that_a_signal_handler_holds_up(heap_path: Path, run_python: Any) -> None:
    """Handlers run in the middle of a large store, and with them other threads."""
    code = """
import signal, sys, threading, time
import mheap

heap = mheap.open(sys.argv[1], mode="live")
root = heap.root
interrupted = threading.Event()
ended = []

def handler(number, frame):
    interrupted.set()
    while not heap.closed:
        time.sleep(0.001)
    ended.append(time.monotonic())

def close():
    interrupted.wait()
    heap.close()
    ended.append(time.monotonic())

thread = threading.Thread(target=close)
thread.start()
signal.signal(signal.SIGALRM, handler)
items = [[i, {}] for i in range(300_000)]
signal.setitimer(signal.ITIMER_REAL, 0.02)
root["items"] = items
thread.join()
assert len(ended) == 2
with mheap.open(sys.argv[1], mode="readonly") as heap:
    assert heap.check()
    assert len(heap.root["items"]) == len(items)
"""
    run_python(code, heap_path)


def test_closing_while_the_types_of_objects_are_imported(heap_path: Path, run_python: Any) -> None:
    code = """
import sys
import mheap

heap = mheap.open(sys.argv[1], mode="live")

class Finder:
    def find_spec(self, name, path, target=None):
        if name == "mheap.objects":
            heap.close()

sys.meta_path.insert(0, Finder())
try:
    heap.root
except mheap.ClosedHeap:
    print("closed")
"""
    assert run_python(code, heap_path).stdout == "closed\n"


def test_closing_while_a_failed_store_is_being_raised(heap_path: Path, run_python: Any) -> None:
    """The exception's class is written in Python; so another thread may run while it is made."""
    code = """
import sys
import mheap

def close(self, *args, **details):
    heap.close()

with mheap.open(sys.argv[1], mode="live", max_size=12 << 20) as heap:
    root = heap.root
    root["items"] = items = list(range(500_000))
    kept = root["items"]
    mheap.HeapFull.__init__ = close
    try:
        kept.extend([[i] for i in range(1000)] + items)
    except mheap.HeapFull:
        print("full")
with mheap.open(sys.argv[1], mode="live") as heap:
    assert heap.check()
    assert heap.root.to_python() == {"items": items}
    print(heap.mmstats().chunks_used)
"""
    assert int(run_python(code, heap_path).stdout.removeprefix("full\n")) < 20
