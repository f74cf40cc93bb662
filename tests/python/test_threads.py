"""One heap, several threads: blocks cross threads, closing waits or is seen."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

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
