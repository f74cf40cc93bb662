"""Restored heaps: shared by processes, in threads, over forks, several in one process.

The state shared by eight processes has 64 MiB, or as many as MHEAP_SHARED_MIB says.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import threading
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

import mheap

MIB = int(os.environ.get("MHEAP_SHARED_MIB", "64"))
WORKERS = 8


def memory_of(path: Path) -> tuple[int, int]:
    """KiB of the mappings of a file in this process: its share of them, and what it alone has written."""
    proportional = private = 0
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"^[0-9a-f]+-[0-9a-f]+ ", line):
            inside = line.endswith(str(path))
        elif inside and line.startswith("Pss:"):
            proportional += int(line.split()[1])
        elif inside and line.startswith("Anonymous:"):
            private += int(line.split()[1])
    return proportional, private


def read_all(path: Path) -> mheap.Heap:
    heap = mheap.restore(path)
    total = sum(len(text) + value[0] for text, value in heap.root["words"].items())
    total += sum(blob.count(b"x") for blob in heap.root["blobs"])
    assert total > 0
    return heap


def worker(path: Path, meet: Barrier, found: Queue[tuple[int, int]]) -> None:
    heap = read_all(path)
    meet.wait(300)
    measured = memory_of(path)
    meet.wait(300)  # until all were measured
    found.put(measured)
    heap.close()


def measured(path: Path, workers: int) -> list[tuple[int, int]]:
    context = multiprocessing.get_context("fork")
    meet, found = context.Barrier(workers), context.Queue()
    processes = [context.Process(target=worker, args=(path, meet, found)) for _ in range(workers)]
    for process in processes:
        process.start()
    rows = [found.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    return rows


def test_eight_processes_have_it_in_memory_once(tmp_path: Path) -> None:
    path = tmp_path / "state.heap"
    blobs = [os.urandom(1 << 20) for _ in range(MIB * 3 // 4)]
    words = {f"word number {i}": [i, f"text {i} of it"] for i in range(MIB * 1500)}
    mheap.dump({"blobs": blobs, "words": words}, path)
    del blobs, words
    ((alone, written),) = measured(path, 1)
    all_of_them = measured(path, WORKERS)
    together = sum(row[0] for row in all_of_them)
    print(f"{path.stat().st_size >> 10} KiB: {alone} of one, {together} of {WORKERS}, {written} written")
    assert alone > MIB * 900, "all of it was read"
    assert together <= 1.15 * alone
    assert max(row[1] for row in all_of_them) <= 64, "reading writes nothing, but what attaching has to"


def test_what_one_process_changes_it_has_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.heap"
    mheap.dump({"list": list(range(100_000))}, path)
    with mheap.restore(path) as heap:
        before = memory_of(path)[1]
        for i in range(0, 100_000, 1000):
            heap.root["list"][i] = -1
        assert memory_of(path)[1] >= before + 4 * 90


def test_two_in_one_process_are_apart(tmp_path: Path) -> None:
    path = tmp_path / "state.heap"
    mheap.dump({"a": {"b": 1}}, path)
    with mheap.restore(path) as one, mheap.restore(path) as two:
        one.root["a"]["b"] = 2
        two.root["a"]["c"] = 3
        assert one.root == {"a": {"b": 2}}
        assert two.root == {"a": {"b": 1, "c": 3}}
        assert one.base != two.base


def test_threads_of_one_process(tmp_path: Path) -> None:
    path = tmp_path / "state.heap"
    mheap.dump({str(i): [i] for i in range(1000)}, path)
    failed: list[object] = []

    def use() -> None:
        try:
            with mheap.restore(path) as heap:
                for i in range(1000):
                    heap.root[str(i)].append(threading.get_ident())
                assert all(len(value) == 2 for value in heap.root.values())
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    with mheap.restore(path) as heap:
        assert heap.root["5"] == [5]


def child(path: Path, heap: mheap.Heap, found: Queue[object]) -> None:
    with mheap.restore(path) as own:
        own.root["a"].append("child")
        found.put([*own.root["a"]])
    found.put([*heap.root["a"]])  # the inherited handle reads the file


def test_in_a_forked_child(tmp_path: Path) -> None:
    path = tmp_path / "state.heap"
    mheap.dump({"a": [1]}, path)
    context = multiprocessing.get_context("fork")
    found = context.Queue()
    with mheap.restore(path) as heap:
        heap.root["a"].append("parent")
        process = context.Process(target=child, args=(path, heap, found))
        process.start()
        assert found.get(timeout=60) == [1, "child"]
        assert found.get(timeout=60) == [1]
        process.join()
        assert heap.root["a"] == [1, "parent"]


def test_the_pages_are_brought_in_at_once(tmp_path: Path) -> None:
    path = tmp_path / "state.heap"
    mheap.dump(os.urandom(8 << 20), path)
    with mheap.restore(path) as heap:
        assert memory_of(path)[0] < 4096
    with mheap.restore(path, populate=True) as heap:
        share, written = memory_of(path)
        assert share >= 8192, "all of it is there"
        assert written <= 64
        assert len(heap.root["value"]) == 8 << 20


def test_what_is_damaged_is_found_before_it_is_used(tmp_path: Path) -> None:
    path = tmp_path / "state.heap"
    mheap.dump({f"key number {i}": [i] for i in range(100)}, path)
    with mheap.restore(path, verify=True) as heap:
        assert len(heap.root) == 100
    damaged = bytearray(path.read_bytes())
    at = damaged.index(b"key number 50")
    damaged[at - 8 : at] = b"\xff" * 8
    path.write_bytes(damaged)
    mheap.restore(path).close()
    with pytest.raises(mheap.CorruptHeap, match=r"offset 0x\w+.*restore a copy"):
        mheap.restore(path, verify=True)
