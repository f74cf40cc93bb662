"""mheap.compact: the same heap in a smaller file; beside readers and writers; refused; killed."""

from __future__ import annotations

import array
import datetime
import decimal
import fractions
import itertools
import os
import random
import signal
import stat
import struct
import tempfile
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from forks import in_child
from hypothesis import given
from hypothesis import strategies as st
from machines import SETTINGS

import mheap
from mheap.objects import PersistentDict, PersistentList

HEAPS = 12288  # offset of the rows of heaps
SEGMENT = 65536  # offset of the first segment, whose descriptors of slices are 64 bytes each

EVERYTHING: dict[Any, Any] = {
    "none": None,
    "flags": [True, False],
    "ints": [0, -1, 2**59, -(2**64), 10**50],
    "floats": [0.5, 0.1, float("inf")],
    "complex": 1.5 - 0.1j,
    "texts": ["", "short", "one that is longer", "ü" * 20, "€ and more of it", "\U0001f600 and more"],
    "bytes": [b"", b"short", b"longer than a word", bytearray(b"mutable no more")],
    "tuple": (1, "of several things", (2.5, None)),
    "frozenset": frozenset({1, "of several things", (2, 3)}),
    "set": {1, "of several things", (1, 2), 0.1},
    "deque": deque(["some", "long", "texts of which the first is gone"], 2),
    "range": range(1, 100, 7),
    "times": [
        datetime.date(2026, 1, 2),
        datetime.time(1, 2, 3),
        datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc),
        datetime.timedelta(days=3),
    ],
    "numbers": [decimal.Decimal("1.10"), fractions.Fraction(1, 3)],
    "uuid": uuid.UUID(int=5),
    "path": Path("/a/b"),
    (1, "a tuple as a key"): {0.1: "float", frozenset({1}): "frozenset", decimal.Decimal("0.3"): "decimal"},
}


def fill(path: Path, mode: Any = "atomic", value: Any = None) -> dict[Any, Any]:
    """Writes it, and garbage of thrice the size between."""
    value = EVERYTHING if value is None else value
    with mheap.open(path, mode=mode) as heap:
        for key, item in value.items():
            heap.root[key] = item
            heap.root["garbage", key] = ["x" * 1000] * 3
        for key in value:
            del heap.root["garbage", key]
        plain: dict[Any, Any] = mheap.to_python(heap.root)
    return plain


def read(path: Path) -> Any:
    with mheap.open(path, mode="readonly") as heap:
        assert heap.check()
        return mheap.to_python(heap.root)


def names(path: Path) -> list[str]:
    return sorted(os.listdir(path.parent))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.heap"


@pytest.mark.parametrize("mode", ["atomic", "live"])
def test_everything_is_there_in_less_space(path: Path, mode: Any) -> None:
    plain = fill(path, mode)
    before = os.stat(path)
    done = mheap.compact(path)
    assert done.moved
    assert done.kept == ""
    assert done.before.file_size == before.st_size
    assert done.after.file_size == os.stat(path).st_size < before.st_size
    assert done.after.disk_size == os.stat(path).st_blocks * 512
    assert done.after.objects <= done.before.objects
    assert read(path) == plain
    assert repr(read(path)) == repr(plain)
    assert names(path) == ["a.heap", "a.heap.lock"]


def test_the_heap_is_the_same_one(path: Path) -> None:
    fill(path)
    with mheap.open(path, mode="readonly") as heap:
        before = heap.info()
    mheap.compact(path)
    with mheap.open(path) as heap:
        after = heap.info()
        heap.root["more"] = [1]
        heap.commit()
        assert heap.generation == before.generation + 1
    for name in ("uuid", "created_ns", "generation", "max_size"):
        assert getattr(before, name) == getattr(after, name)
    assert not after.has_journal


class Row(mheap.Record):
    id: int
    text: str


class Old(mheap.Record, name="Pair"):
    name: str
    other: list[object]


class New(mheap.Record, name="Pair"):
    other: list[object]
    name: str
    more: tuple[str, ...] = ("a text that is longer than a word",)
    well: bool = True


def fill_records(path: Path) -> None:
    with mheap.open(path, mode="live") as heap:
        heap.root["old"] = [Old(f"an old one of some length {i}", [i]) for i in range(20)]
        heap.root["rows"] = mheap.RecordList(New, [New([1], f"a row of some length {i}") for i in range(30)])
        heap.root["of a row"] = heap.root["rows"][3].other
        heap.root["rows"].append(New([2], "the last"))
    with mheap.open(path, mode="live") as heap:
        for i in range(20):
            heap.root["old"].append(New([heap.root["old"]], f"a new one of some length {i}"))
        for record in heap.root["old"][:10]:
            record.well = False  # there was no such field: the record goes on with the new schema


@pytest.mark.parametrize("deleted", [0, 1, 150, 300])
def test_sorted_dicts_arrays_and_records_are_there(path: Path, deleted: int) -> None:
    with mheap.open(path, mode="live") as heap:
        heap.root["sorted"] = mheap.SortedDict({f"a key of some length {i:4}": [i] for i in range(300)})
        heap.root["numbers"] = mheap.SortedDict(
            {i * 0.5: "a text that is longer than a word" for i in range(300)}
        )
        heap.root["counter"] = Counter("several letters") + Counter({(1, "a longer one as a key"): 7})
        heap.root["array"] = heap.put_array(array.array("d", range(1000)))
        heap.root["same"] = [heap.root["array"], heap.array((), "i4"), heap.array((0, 3), "u1")]
        for name in ("sorted", "numbers"):
            for _ in range(deleted):
                heap.root[name].popitem(deleted % len(heap.root[name]) // 2)
        heap.root["array"].extend(array.array("d", [5.5, 6.5]))
    fill_records(path)
    before = shown(path)
    mheap.compact(path)
    assert shown(path) == before
    with mheap.open(path, mode="live") as heap:
        assert heap.root["same"][0] is heap.root["array"]
        assert heap.root["of a row"] is heap.root["rows"][3].other
        assert heap.root["old"][-1].other[0] is heap.root["old"]
        heap.root["sorted"]["a key of some length   25x"] = 1
        heap.root["array"].append(7.5)
        heap.root["rows"].append(New([3], "one more"))
        heap.root["old"][-1].name = "renamed"
        assert heap.check()


def shown(path: Path) -> tuple[str, list[Any]]:
    with mheap.open(path, mode="readonly") as heap:
        assert heap.check()
        root = heap.root
        rows = [(row.name, row.more, row.well, list(row.other)) for row in root["rows"]]
        old = [(record.name, record.more, record.well, len(record.other)) for record in root["old"]]
        containers = [root[name] for name in ("sorted", "numbers", "counter") if name in root]
        places = [list(c.keys())[:9] for c in containers[:2]]
        return repr(containers), [rows, old, places, [a.tolist() for a in root["same"]]]


def test_shared_parts_and_circles_stay(path: Path) -> None:
    with mheap.open(path) as heap:
        shared: list[Any] = ["shared by two"]
        shared.append(shared)
        heap.root["a"] = {"left": shared, "right": [shared, shared]}
        heap.root["b"] = heap.root["a"]
        heap.root["a"]["root"] = heap.root
    mheap.compact(path)
    with mheap.open(path) as heap:
        a = heap.root["a"]
        assert heap.root["b"] is a
        assert a["left"] is a["right"][0] is a["right"][1] is a["left"][1]
        assert a["root"] is heap.root
        a.clear()
        heap.root.clear()
        heap.commit()
        heap.collect()
        heap.commit()
        findings: list[mheap.Finding] = []
        assert heap.check(findings.append)
        assert findings == []


@given(graph=st.data())
@SETTINGS
def test_any_graph_is_the_same_graph(graph: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Containers that refer to one another at random, some of them by nothing that the root leads to."""
    path = tmp_path_factory.mktemp("graph") / "graph.heap"
    with mheap.open(path, mode="live") as heap:
        nodes: list[Any] = [heap.root]
        for kind in graph.draw(st.lists(st.sampled_from("dl"), min_size=1, max_size=20)):
            heap.root["new"] = {} if kind == "d" else []
            nodes.append(heap.root.pop("new"))
        edges = st.tuples(st.integers(0, len(nodes) - 1), st.integers(0, len(nodes) - 1), st.integers(0, 5))
        for source, target, key in graph.draw(st.lists(edges, max_size=60)):
            if isinstance(nodes[source], PersistentDict):
                nodes[source][key if key % 2 else f"a key of some length {key}"] = nodes[target]
            else:
                nodes[source].append(nodes[target])
        expected = shape(heap.root)
        del nodes
    done = mheap.compact(path)
    assert done.moved
    with mheap.open(path, mode="live") as heap:
        findings: list[mheap.Finding] = []
        assert heap.check(findings.append)
        assert findings == []
        assert shape(heap.root) == expected


def shape(root: Any) -> list[Any]:
    """What each container holds, containers by when they were come by."""
    numbers: dict[int, int] = {}
    queue, lines = [root], []

    def number(value: Any) -> Any:
        if not isinstance(value, (PersistentDict, PersistentList)):
            return value
        if id(value) not in numbers:
            numbers[id(value)] = len(numbers)
            queue.append(value)
        return ("container", numbers[id(value)])

    numbers[id(root)] = 0
    for container in queue:
        items = list(container.items()) if isinstance(container, PersistentDict) else list(container)
        lines.append([tuple(map(number, i)) if isinstance(i, tuple) else number(i) for i in items])
    return lines


def test_keys_are_found_whatever_the_tables_were(path: Path) -> None:
    """Tables that are copied as they are, and tables that are laid out anew."""
    with mheap.open(path, mode="live") as heap:
        for size in [*range(20), 100, 1000, 5000]:
            heap.root[size] = {f"key number {i}": i for i in range(size * 3)}
            for i in range(size * 3):
                if size % 2 or i % 3:
                    heap.root[size].pop(f"key number {i}" if i % 3 else "absent", None)
        plain = mheap.to_python(heap.root)
    mheap.compact(path)
    with mheap.open(path, mode="readonly") as heap:
        for size, keys in plain.items():
            stored = heap.root[size]
            assert len(stored) == len(keys)
            for key, value in keys.items():
                assert stored[key] == value
            assert "absent" not in stored


# ---- what is not moved ----


def test_raw_blocks_stay_where_they_are(path: Path) -> None:
    plain = fill(path, "live")
    with mheap.open(path, mode="live") as heap:
        block = heap.malloc(100)
        heap.setkey(0, block)
        large = [heap.malloc(1 << 20) for _ in range(8)]
        for address in large:
            with heap.view(address, 1 << 20) as view:
                view[:] = b"x" * (1 << 20)
        for address in large:
            heap.free(address)
        with heap.view(block, 100) as view:
            view[:] = b"y" * 100
    with mheap.open(path, mode="live") as heap:  # a heap that grows again and dies has a tail to cut off
        heap.malloc(8 << 20)
    done = mheap.compact(path, dry_run=True)
    assert not done.moved
    done = mheap.compact(path)
    assert not done.moved
    assert "raw blocks" in done.kept
    with mheap.open(path, mode="live") as heap:
        assert heap.getkey(0) == block
        with heap.view(block, 100) as view:
            assert view == b"y" * 100
    assert read(path) == plain


# ---- who else is there ----


def test_a_writer_is_not_disturbed(path: Path) -> None:
    fill(path)
    with mheap.open(path) as heap:
        with pytest.raises(mheap.HeapBusy, match=r"a\.heap: busy"):
            mheap.compact(path)
        with pytest.raises(mheap.HeapBusy):
            mheap.compact(path, dry_run=True)
        heap.root["more"] = 1


def test_it_waits_for_a_writer(path: Path) -> None:
    fill(path)
    ready = os.pipe()
    pid = os.fork()
    if pid == 0:
        heap = mheap.open(path)
        os.write(ready[1], b"x")
        time.sleep(0.3)
        heap.root["by the writer"] = 1
        heap.commit()
        os._exit(0)
    os.read(ready[0], 1)
    assert mheap.compact(path, timeout=30).moved
    os.waitpid(pid, 0)
    for end in ready:
        os.close(end)
    assert read(path)["by the writer"] == 1


def test_a_reader_keeps_the_old_file(path: Path) -> None:
    plain = fill(path)
    with mheap.open(path, mode="readonly") as heap, heap.snapshot():
        twin = heap.root["tuple"], heap.root["set"]
        assert mheap.compact(path).moved
        assert mheap.to_python(heap.root) == plain
        assert heap.check()
        with mheap.open(path) as other:
            other.root["new"] = 1
            other.commit()
            assert "new" not in heap.root
        assert (heap.root["tuple"], heap.root["set"]) == twin
    assert read(path)["new"] == 1


def test_an_open_that_waited_gets_the_new_file(path: Path) -> None:
    """Who opened the old file, and waits for its lock, comes to see that the name is another's."""
    fill(path, value={str(i): "x" * 100 for i in range(20000)})
    pid = os.fork()
    if pid == 0:
        for number in range(20):
            with mheap.open(path, timeout=30) as heap:
                heap.root[f"written {number}"] = number
            time.sleep(0.06)  # as long as who waits may sleep
        os._exit(0)
    count = 0
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        count += mheap.compact(path, timeout=30).moved
        time.sleep(0.06)  # locks go to whoever asks: not always to who gave it back
    assert count > 1
    stored = read(path)
    assert [stored[f"written {number}"] for number in range(20)] == list(range(20))


def test_a_plan_needs_no_permission_to_write() -> None:
    with tempfile.TemporaryDirectory() as name:  # one that others than root may enter
        path = Path(name) / "a.heap"
        fill(path)
        path.chmod(0o444)
        path.parent.chmod(0o555)

        def plan() -> None:
            if os.getuid() == 0:
                os.setuid(65534)
            assert mheap.compact(path, dry_run=True).moved
            with pytest.raises(PermissionError):
                mheap.compact(path)

        in_child(plan)


def test_plans_and_readers_do_not_wait_for_one_another(path: Path) -> None:
    fill(path)
    with mheap.open(path, mode="scratch"), mheap.open(path, mode="readonly"):
        assert mheap.compact(path, dry_run=True).moved
        with pytest.raises(mheap.HeapBusy):
            mheap.compact(path)


def test_creating_and_compacting_exclude_one_another(path: Path) -> None:
    fill(path)
    with FileLock(f"{path}.lock"), pytest.raises(mheap.HeapBusy, match="creating or compacting"):
        mheap.compact(path)
    os.unlink(f"{path}.lock")
    mheap.compact(path)
    assert names(path) == ["a.heap"]


def numbers_of_named(path: Path) -> list[int]:
    """In the rows of heaps, where the file format has them."""
    with open(path, "rb") as file:
        file.seek(HEAPS)
        rows = [struct.unpack("<8Q", file.read(64)) for _ in range(128)]
    return sorted(birth for _, _, name, *_, birth in rows[2:] if name != 0 and birth != 0)


def test_named_heaps_are_packed_each_by_itself(path: Path) -> None:
    with mheap.open(path) as heap:
        heap.root["main"] = [Row(1, "one")]
        for number in range(3):
            named = heap.new(f"heap number {number}", tag=number)
            named.root["rows"] = {f"row {i}": [i, Row(i, f"row {i}")] for i in range(2000)}
            for i in range(0, 2000, 2):
                del named.root["rows"][f"row {i}"]
        heap.new("empty")
        heap.new("gone").destroy()
        heap.commit()
    births = numbers_of_named(path)
    assert len(births) == 4
    guess, done = mheap.compact(path, dry_run=True), mheap.compact(path)
    assert done.moved
    assert done.after.objects == guess.after.objects == done.before.objects
    assert done.after.file_size < done.before.file_size
    with mheap.open(path) as heap:
        assert heap.check()
        assert list(heap.named) == ["heap number 0", "heap number 1", "heap number 2", "empty"]
        assert numbers_of_named(path) == births
        for number in range(3):
            named = heap.named[f"heap number {number}"]
            assert named.tag == number
            assert named.root["rows"] == {f"row {i}": [i, Row(i, f"row {i}")] for i in range(1, 2000, 2)}
        assert heap.root["main"] == [Row(1, "one")]
        heap.new("another").root["x"] = 1
        heap.named["empty"].destroy()
        heap.commit()
        assert heap.check()


def test_a_raw_block_of_a_named_heap_stays(path: Path) -> None:
    with mheap.open(path) as heap:
        heap.new("named").malloc(100)
        heap.commit()
    done = mheap.compact(path)
    assert not done.moved
    assert "raw blocks" in done.kept


def test_cells_of_any_size_are_aligned(path: Path) -> None:
    with mheap.open(path) as heap:
        heap.root["arrays"] = {}
        heap.root["rows"] = {}
        for rows, bytes_ in itertools.product(range(8), (1, 5, 8, 24, 40, 72)):
            heap.root["arrays"][f"{rows} x {bytes_}"] = np.full((rows, bytes_), rows, "u1")
        for rows in range(30):
            heap.root["rows"][rows] = mheap.RecordList(Row, [Row(i, f"row {i}") for i in range(rows)])
        heap.commit()
    assert mheap.compact(path).moved
    with mheap.open(path, mode="readonly") as heap:
        assert heap.check()
        for rows in range(30):
            assert [row.id for row in heap.root["rows"][rows]] == list(range(rows))
        for rows in range(8):
            assert heap.root["arrays"][f"{rows} x 40"].tolist() == [[rows] * 40] * rows


# ---- refused, and cut short ----


def test_what_is_no_heap_is_refused(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        mheap.compact(path)
    path.write_bytes(b"no heap")
    with pytest.raises(mheap.NotAHeap):
        mheap.compact(path)
    with pytest.raises(mheap.NotAHeap):
        mheap.compact(path.parent)
    assert path.read_bytes() == b"no heap"
    assert names(path) == ["a.heap"]


def test_descriptors_that_cannot_be_are_told(path: Path) -> None:
    with mheap.open(path) as heap:
        heap.root["texts"] = [str(i) * 5 for i in range(5000)]
        heap.commit()
    sound = path.read_bytes()
    told = []
    for offset in range(SEGMENT + 64, SEGMENT + 64 * 64, 64):
        if not any(sound[offset : offset + 8]):
            continue
        path.write_bytes(sound[:offset] + bytes([sound[offset] ^ 8]) + sound[offset + 1 :])
        for dry_run in (True, False):
            try:
                mheap.compact(path, dry_run=dry_run)
            except mheap.CorruptHeap as error:
                told.append(str(error))
    assert len(told) > 5
    assert all(text.startswith(f"{path}: offset 0x") for text in told)


def test_a_sealed_file_is_refused_with_what_to_do(path: Path) -> None:
    mheap.dump({"a": 1}, path)
    with pytest.raises(mheap.ReadOnlyHeap, match="is compact already; to change it, make a heap of it"):
        mheap.compact(path)


@pytest.mark.parametrize("error", [RuntimeError("enough"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_what_progress_raises_ends_it(path: Path, error: BaseException) -> None:
    plain = fill(path)
    before = path.read_bytes()
    calls: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        calls.append((done, total))
        raise error

    with pytest.raises(type(error)):
        mheap.compact(path, progress=progress)
    assert len(calls) == 1
    assert path.read_bytes() == before
    assert names(path) == ["a.heap", "a.heap.lock"]
    assert read(path) == plain


def test_progress_reaches_its_end(path: Path) -> None:
    fill(path, value={str(i): ["x" * 30] for i in range(100_000)})
    calls: list[tuple[int, int]] = []
    mheap.compact(path, progress=lambda done, total: calls.append((done, total)))
    assert calls == sorted(calls)
    assert len(calls) > 3
    assert calls[-1][0] == calls[-1][1]


def test_a_signal_ends_it(path: Path) -> None:
    plain = fill(path, value={str(i): ["x" * 30] for i in range(50_000)})

    def work() -> None:
        signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(TimeoutError()))
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        with pytest.raises(TimeoutError):
            mheap.compact(path)

    in_child(work)
    assert read(path) == plain
    assert names(path) == ["a.heap", "a.heap.lock"]


def test_permissions_and_links_stay(path: Path) -> None:
    fill(path)
    path.chmod(0o640)
    link = path.parent / "link"
    link.symlink_to(path.name)
    before = path.stat()
    assert mheap.compact(link).moved
    after = path.stat()
    assert link.is_symlink()
    assert after.st_ino != before.st_ino
    assert stat.S_IMODE(after.st_mode) == 0o640
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)


# ---- killed ----

WORKER = """
import sys, mheap
mheap.compact(sys.argv[1], progress=lambda done, total: None)
"""


def kills(path: Path, begin: Callable[[Path], None]) -> tuple[int, int]:
    """How often a process that compacts was killed at a random instant of its, and what was then wrong."""
    plain = fill(path, value={str(i): ["x" * 30, i] for i in range(3000)})
    original = path.read_bytes()
    wait, killed, bad = random.Random(1), 0, 0
    for _ in range(int(os.environ.get("MHEAP_KILLS", "60"))):
        path.write_bytes(original)
        pid = os.fork()
        if pid == 0:
            begin(path)
            os._exit(0)
        time.sleep(wait.random() * 0.03)
        os.kill(pid, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(pid, 0)[1])
        try:
            bad += read(path) != plain
            mheap.compact(path)
            bad += read(path) != plain or names(path) not in (["a.heap"], ["a.heap", "a.heap.lock"])
        except mheap.MheapError:
            bad += 1
    return killed, bad


def test_being_killed_leaves_the_old_file_or_the_new_one(path: Path) -> None:
    def compact(path: Path) -> None:
        for _ in range(50):
            mheap.compact(path)

    killed, bad = kills(path, compact)
    assert killed > 10
    assert bad == 0


def test_the_judge_sees_a_file_that_is_rewritten_in_place(path: Path) -> None:
    """Control."""

    def rewrite(path: Path) -> None:
        content = path.read_bytes()
        for _ in range(1000):
            with path.open("wb") as file:
                for start in range(0, len(content), 65536):
                    file.write(content[start : start + 65536])

    killed, bad = kills(path, rewrite)
    assert killed > 10
    assert bad > 0
