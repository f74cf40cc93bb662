"""A process whose threads use heaps forks a thousand times: see forks.c. From Python, fewer times."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from c_tools import run

import mheap

FORKS = int(os.environ.get("MHEAP_FORKS", "1000"))


def test_children_use_the_default_heap_only(programs: Path, memory_directory: Path) -> None:
    output = run(programs / "crash_forks", memory_directory, FORKS, timeout=60 + FORKS)
    assert f"{FORKS} of {FORKS} children as expected" in output
    assert output.rstrip().endswith("the heap is sound")


def work(heap: mheap.Heap | None, stop: threading.Event, kept: list[int]) -> None:
    while not stop.is_set():
        kept.append(mheap.malloc(heap, 100 + len(kept) * 50))
        if len(kept) == 100:
            while kept:
                mheap.free(heap, kept.pop())


def in_child(heap: mheap.Heap, inherited: int) -> None:
    """0 if all is as it should be; pytest's own machinery stays out of it."""
    status = 1
    try:
        blocks = [mheap.malloc(None, size) for size in (10, 1000, 100_000, 5_000_000)]
        for block in [*blocks, inherited]:
            mheap.free(None, block)
        try:
            heap.malloc(100)
        except (mheap.HeapBusy, mheap.ForkedHandle):
            status = 0
    finally:
        os._exit(status)


def test_python_children_use_the_default_heap_only(memory_directory: Path) -> None:
    stop, kept = threading.Event(), ([], [])  # type: tuple[threading.Event, tuple[list[int], list[int]]]
    with mheap.open(memory_directory / "forks.heap", mode="live") as heap:
        threads = [
            threading.Thread(target=work, args=arguments)
            for arguments in ((heap, stop, kept[0]), (None, stop, kept[1]))
        ]
        inherited = mheap.malloc(None, 500)
        for thread in threads:
            thread.start()
        try:
            for _ in range(max(10, FORKS // 5)):
                child = os.fork()
                if child == 0:
                    in_child(heap, inherited)
                assert os.waitpid(child, 0)[1] == 0
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert heap.check()
        assert heap.stats().chunks_used == len(kept[0])
        for address in kept[0]:
            heap.free(address)
    for address in [*kept[1], inherited]:
        mheap.free(None, address)
