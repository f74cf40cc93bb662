"""Readers beside a writer in mode atomic see whole commits only, and never an earlier one.

Eight of them read for six seconds; for another while with MHEAP_READERS_SECONDS, as in

    MHEAP_READERS_SECONDS=60 pytest -s tests/python/test_readers.py -k eight

which prints how many reads and commits there were, too.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import NamedTuple

import pytest

import mheap

KEYS = 20
READERS = 8
SECONDS = float(os.environ.get("MHEAP_READERS_SECONDS", "6"))


def commit(heap: mheap.Heap, value: int, **options: bool) -> None:
    """The invariant of a commit: all numbers, and the list's items, are the same."""
    root = heap.root
    for key in range(KEYS):
        root[f"key {key}"] = value
    root["list"] = [value] * KEYS
    root["deep"] = {"a": {"b": value}, "text": "x" * (value % 300)}
    heap.commit(**options)


def new_heap(path: Path) -> mheap.Heap:
    heap = mheap.open(path)
    commit(heap, 0)
    return heap


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[mheap.Heap]:
    with new_heap(tmp_path / "a.heap") as heap:
        yield heap


@pytest.fixture
def reader(writer: mheap.Heap) -> Iterator[mheap.Heap]:
    with mheap.open(str(writer.path), mode="readonly") as heap:
        yield heap


def test_each_read_is_of_the_newest_commit(writer: mheap.Heap, reader: mheap.Heap) -> None:
    root = reader.root
    deep = root["deep"]
    assert (root["key 3"], root["list"][5], len(root)) == (0, 0, KEYS + 2)
    writer.root["key 3"] = 5
    assert root["key 3"] == 0
    commit(writer, 1)
    assert (root["key 3"], root["list"][5], root["deep"]["a"]["b"]) == (1, 1, 1)
    assert reader.root is root
    with pytest.raises(mheap.StaleObject):
        deep["a"]
    assert reader.generation == writer.generation


def test_refresh_tells_whether_there_was_another(writer: mheap.Heap, reader: mheap.Heap) -> None:
    assert reader.refresh() is False
    commit(writer, 1)
    assert reader.refresh() is True
    assert reader.refresh() is False
    assert mheap.refresh(reader) is False
    assert writer.refresh() is False


def test_a_snapshot_is_one_commit(writer: mheap.Heap, reader: mheap.Heap) -> None:
    with reader.snapshot() as same:
        assert same is reader
        assert reader.root["key 1"] == 0
        commit(writer, 1)
        with pytest.raises(mheap.HeapBusy, match="generation"):
            writer.checkpoint()
        assert {reader.root[f"key {key}"] for key in range(KEYS)} == {0}
        with reader.snapshot():
            assert reader.root["list"] == [0] * KEYS
        with pytest.raises(mheap.HeapBusy, match="kept"):
            reader.refresh()
    assert reader.root["key 1"] == 1
    writer.checkpoint()
    commit(writer, 2)
    assert reader.root["key 1"] == 2


def test_an_iterator_stays_at_its_commit(writer: mheap.Heap, reader: mheap.Heap) -> None:
    items = iter(reader.root.items())
    first = next(items)
    commit(writer, 1)
    rest = dict(items)
    assert first[1] == 0
    assert {value for key, value in rest.items() if key.startswith("key")} == {0}
    assert reader.root["key 1"] == 1
    half = iter(reader.root["list"])
    next(half)
    commit(writer, 2)
    del half
    assert reader.root["key 1"] == 2


def test_whole_copies_are_of_one_commit(writer: mheap.Heap, reader: mheap.Heap) -> None:
    plain = reader.root.to_python()
    assert plain["deep"] == {"a": {"b": 0}, "text": ""}
    commit(writer, 7)
    assert reader.root == writer.root
    assert repr(reader.root) == repr(writer.root)
    assert reader.root["list"][2:4] == [7, 7]
    assert 7 in reader.root["list"]
    assert 0 not in reader.root["list"]


def test_a_view_keeps_its_commit(tmp_path: Path) -> None:
    path = tmp_path / "raw.heap"
    with mheap.open(path) as writer:
        block = writer.malloc(64)
        writer.setkey(0, block)
        writer.view(block, 64)[:] = b"1" * 64
        writer.commit()
        with mheap.open(path, mode="readonly", relocate=True) as reader:
            view = reader.view(reader.getkey(0) or 0, 64)
            writer.view(block, 64)[:] = b"2" * 64
            writer.commit()
            assert bytes(view) == b"1" * 64
            with pytest.raises(BufferError, match="release"):
                reader.refresh()
            with pytest.raises(mheap.HeapBusy):
                writer.checkpoint()
            view.release()
            assert reader.refresh() is True
            assert bytes(reader.view(reader.getkey(0) or 0, 64)) == b"2" * 64


def commit_on(writer: mheap.Heap, reader: mheap.Heap) -> None:
    for value in range(1, 10000):
        commit(writer, value, durable=False)
        assert reader.root["key 0"] == 0


def test_a_snapshot_that_stays_fills_the_journal(tmp_path: Path) -> None:
    path = tmp_path / "a.heap"
    with new_heap(path):
        pass
    with mheap.open(path, journal_limit=1 << 18) as writer, mheap.open(path, mode="readonly") as reader:
        with reader.snapshot():
            with pytest.raises(mheap.HeapFull, match="journal_limit="):
                commit_on(writer, reader)
            assert reader.root["key 0"] == 0
        writer.commit()
        assert reader.root["key 0"] == writer.root["key 0"] > 0


def test_a_snapshot_can_be_overrun(tmp_path: Path) -> None:
    path = tmp_path / "a.heap"
    with new_heap(path):
        pass
    with (
        mheap.open(path, journal_limit=1 << 18, overrun_readers=True) as writer,
        mheap.open(path, mode="readonly") as reader,
    ):
        with reader.snapshot(), pytest.raises(mheap.SnapshotTooOld, match="generation"):
            commit_on(writer, reader)
        commit(writer, 5)
        assert reader.root["key 0"] == 5


def test_reading_writes_nothing(writer: mheap.Heap, reader: mheap.Heap) -> None:
    commit(writer, 3)
    before = Path(str(writer.path)).read_bytes()
    assert reader.root.to_python()["key 0"] == 3
    with reader.snapshot():
        reader.root["deep"]["a"]
    assert reader.check()
    assert Path(str(writer.path)).read_bytes() == before


@pytest.mark.parametrize(
    "look", [mheap.Heap.stats, mheap.Heap.info, mheap.Heap.check, lambda heap: heap.generation, repr]
)
def test_a_heap_that_shrank_is_not_taken_for_one_cut_short(
    heap_path: Path, look: Callable[[mheap.Heap], object]
) -> None:
    writer = new_heap(heap_path)
    writer.root["large"] = b"x" * (8 << 20)
    writer.commit()
    with mheap.open(heap_path, mode="readonly", relocate=True) as reader:
        assert len(reader.root["large"]) == 8 << 20
        del writer.root["large"]
        writer.collect(force=True)
        writer.commit()
        writer.close()
        assert heap_path.stat().st_size < 4 << 20
        assert look(reader)
        assert reader.check(print)
        assert "large" not in reader.root
        assert reader.stats().bytes_used < 1 << 20


# ---- many readers beside one writer ----


def write_on(path: str, stop: Event) -> None:
    with mheap.open(path, timeout=20) as heap:
        value = heap.root["key 0"]
        while not stop.is_set():
            value += 1
            commit(heap, value, durable=value % 8 == 0)
            if value % 50 == 0:
                with contextlib.suppress(mheap.HeapBusy):  # while there is a snapshot
                    heap.checkpoint()


class Reads(NamedTuple):
    """What one reader did."""

    reads: int
    refreshes: int  # of them, those that saw another commit than the one before
    newest: int


def read_on(path: str, stop: Event, moved: Event, results: multiprocessing.Queue[Reads]) -> None:
    reads = refreshes = newest = 0
    with mheap.open(path, mode="readonly") as heap:
        root = heap.root
        while not stop.is_set():
            with heap.snapshot():
                seen = {root[f"key {key}"] for key in range(KEYS)} | set(root["list"])
                seen.add(root["deep"]["a"]["b"])
            (value,) = seen  # more than one: a torn commit
            assert newest <= value, f"went back from {newest} to {value}"
            refreshes += newest < value
            newest = root["key 0"]  # alone, a read is whole too
            assert newest >= value
            refreshes += newest > value
            reads += 2
            if refreshes > 0:
                moved.set()
    results.put(Reads(reads, refreshes, newest))


def test_eight_readers_see_whole_commits(tmp_path: Path) -> None:
    path = str(tmp_path / "a.heap")
    with new_heap(Path(path)):
        pass
    context = multiprocessing.get_context("fork")
    stop, results = context.Event(), context.Queue()
    moved = [context.Event() for _ in range(READERS)]
    readers = [context.Process(target=read_on, args=(path, stop, one, results)) for one in moved]
    writer = context.Process(target=write_on, args=(path, stop))
    for process in (*readers, writer):
        process.start()
    time.sleep(SECONDS)
    waited = [one.wait(60) for one in moved]  # on a busy machine some had no turn yet
    stop.set()
    for process in (*readers, writer):
        process.join(60)
    failed = [process.name for process in (*readers, writer) if process.exitcode != 0]
    assert failed == []
    assert all(waited), "a reader saw no commit"
    found = [results.get(timeout=20) for _ in readers]
    with mheap.open(path) as heap:
        assert heap.check()
        commits = heap.root["key 0"]
    print(f"{SECONDS:g} s: {commits} commits, {sum(one.reads for one in found)} reads by {READERS} readers,")
    print(f"  {sum(one.refreshes for one in found)} of them of another commit than the one before")
    assert all(one.reads > 0 and one.refreshes > 0 for one in found)
    assert 0 < max(one.newest for one in found) <= commits


def test_a_writer_that_is_killed_leaves_no_reader_spinning(tmp_path: Path) -> None:
    path = str(tmp_path / "a.heap")
    with new_heap(Path(path)):
        pass
    context = multiprocessing.get_context("fork")
    for _ in range(3):
        stop = context.Event()
        writer = context.Process(target=write_on, args=(path, stop))
        with mheap.open(path, mode="readonly") as reader:
            before = reader.root["key 0"]
            writer.start()
            while reader.root["key 0"] < before + 30:
                time.sleep(0.001)
            assert writer.pid is not None
            writer.kill()
            writer.join()
            assert writer.exitcode == -signal.SIGKILL
            values = {reader.root[f"key {key}"] for key in range(KEYS)}
            assert len(values) == 1
            assert reader.check()
