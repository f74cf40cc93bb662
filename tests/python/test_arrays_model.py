"""PersistentArray against numpy's own arrays in state machines, with views that are held, collections,
reattaching, commits and rollbacks as steps; and in processes that are killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule
from kills import broken, killed
from machines import SETTINGS, Committing, HeapMachine

NAMES = st.sampled_from("abc")
DTYPES = st.sampled_from(["f8", "i4", "u1", ">i2", "c16", "S3", "M8[s]", "i4,f8"])
ROWS = st.one_of(st.integers(0, 40), st.sampled_from([0, 1, 300, 3000, 30000]))


def rows_of(dtype: Any, count: int, width: int, seed: int) -> Any:
    made = np.zeros((count, width), dtype)
    numbers = np.random.default_rng(seed).integers(0, 100, (count, width))
    if made.dtype.names is None:
        made[...] = numbers.astype(dtype)
    else:
        made["f0"] = numbers
    return made


def same(one: Any, other: Any) -> bool:
    """No byte differs: said so, since what pytest would say of two long texts takes minutes."""
    return bool(one.tobytes() == other.tobytes())


class Machine(HeapMachine):
    def __init__(self) -> None:
        super().__init__()
        self.begin()
        self.plain: dict[str, Any] = {}
        self.views: list[tuple[str, Any]] = []  # the array's name, or what is not found by it any more

    def is_viewed(self, name: str) -> bool:
        return any(viewed == name for viewed, _ in self.views)

    def capacity(self, name: str) -> int:
        capacity: int = self.heap.root[name].capacity
        return capacity

    def change(self, name: str, rows: int, work: Any) -> bool:
        """Was an operation done, after which there are so many rows? Not, if it had to move viewed ones."""
        fits = len(self.plain[name]) <= rows <= self.capacity(name)
        if self.is_viewed(name) and not fits:
            try:
                work()
            except BufferError:
                return False
            raise AssertionError("rows with views were moved, or cut")
        work()
        return True

    # ---- what is done ----

    @rule(name=NAMES, dtype=DTYPES, count=ROWS, width=st.integers(1, 3), seed=st.integers(0, 99))
    def store(self, name: str, dtype: Any, count: int, width: int, seed: int) -> None:
        self.forget(name)
        self.plain[name] = rows_of(dtype, count, width, seed)
        self.heap.root[name] = self.plain[name]

    @rule(name=NAMES, count=ROWS, dtype=DTYPES)
    def make(self, name: str, count: int, dtype: Any) -> None:
        self.forget(name)
        self.heap.root[name] = self.heap.array((count, 2), dtype)
        self.plain[name] = np.zeros((count, 2), dtype)

    def forget(self, name: str) -> None:
        """Views of what had the name before stay what they are."""
        self.views = [("" if viewed == name else viewed, view) for viewed, view in self.views]

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        self.forget(name)
        if self.plain.pop(name, None) is not None:
            del self.heap.root[name]

    @rule(name=NAMES, count=ROWS, seed=st.integers(0, 99))
    def extend(self, name: str, count: int, seed: int) -> None:
        plain = self.plain.get(name)
        if plain is None or len(plain) > 100_000:
            return
        rows = rows_of(plain.dtype, count, plain.shape[1], seed)
        total = len(plain) + count
        if self.change(name, total, lambda: self.heap.root[name].extend(rows)):
            self.plain[name] = np.empty((total, plain.shape[1]), plain.dtype)
            self.plain[name][: len(plain)], self.plain[name][len(plain) :] = plain, rows

    @rule(name=NAMES, seed=st.integers(0, 99))
    def append(self, name: str, seed: int) -> None:
        self.extend(name, 1, seed)

    @rule(name=NAMES, count=ROWS)
    def resize(self, name: str, count: int) -> None:
        plain = self.plain.get(name)
        if plain is not None and self.change(name, count, lambda: self.heap.root[name].resize(count)):
            self.plain[name] = np.zeros((count, plain.shape[1]), plain.dtype)
            self.plain[name][: len(plain)] = plain[:count]

    @rule(name=NAMES, count=ROWS)
    def reserve(self, name: str, count: int) -> None:
        if name in self.plain:
            self.change(name, max(count, len(self.plain[name])), lambda: self.heap.root[name].reserve(count))

    @rule(name=NAMES, at=st.integers(0, 99), seed=st.integers(0, 99))
    def write(self, name: str, at: int, seed: int) -> None:
        plain = self.plain.get(name)
        if plain is not None and len(plain) > 0:
            row = rows_of(plain.dtype, 1, plain.shape[1], seed)[0]
            plain[at % len(plain)] = row
            self.heap.root[name][at % len(plain)] = row

    @rule(name=NAMES)
    def view(self, name: str) -> None:
        if name in self.plain and len(self.views) < 4:
            self.views.append((name, np.asarray(self.heap.root[name])))

    @rule(at=st.integers(0, 3))
    def drop_view(self, at: int) -> None:
        del self.views[at : at + 1]

    @rule()
    def store_through_views(self) -> None:
        for name, view in self.views:
            if name and len(view) > 0:
                view[-1] = view[0]
                self.plain[name][len(view) - 1] = self.plain[name][0]

    @rule()
    def collect(self) -> None:
        self.heap.collect()

    def leave(self) -> None:
        self.views.clear()
        super().leave()

    # ---- what must hold ----

    @invariant()
    def it_is_what_numpy_has(self) -> None:
        assert set(self.heap.root) == set(self.plain)
        for name, plain in self.plain.items():
            stored = self.heap.root[name]
            view: Any = np.asarray(stored)
            assert (view.dtype, view.shape) == (plain.dtype, plain.shape)
            assert same(view, plain)
            assert len(stored) == len(plain) <= stored.capacity

    @invariant()
    def views_are_of_the_array(self) -> None:
        for name, view in self.views:
            if name:
                assert same(view, self.plain[name][: len(view)])

    def teardown(self) -> None:
        assert broken(self.heap) == []
        self.end()


class AtomicMachine(Committing, Machine):
    @initialize()
    def nothing_is_committed(self) -> None:
        self.committed = {}

    @rule()
    def rollback(self) -> None:
        try:
            self.heap.rollback()
        except BufferError:
            assert self.views
            self.views.clear()
            self.heap.rollback()
        self.as_committed()
        self.views.clear()  # they may have more rows than the array has now


TestMachine = Machine.TestCase
TestMachine.settings = SETTINGS
TestAtomicMachine = AtomicMachine.TestCase
TestAtomicMachine.settings = SETTINGS


# ---- killed ----

WORKER = """
import array, sys, mheap
heap = mheap.open(sys.argv[1], mode="live", salvage=False)
root = heap.root
if "log" not in root: root["log"] = heap.array((0, 2), "i8")
log = root["log"]
print("ready", flush=True)
i = len(log)
while True:
    log._extend(array.array("q", [i, i * i]))
    if i % 50 == 7: root["copy"] = log
    if i % 50 == 17: root["copy"] = array.array("d", [i] * (i % 3000))
    if i % 50 == 27: del root["copy"]
    if i % 90 == 40: log.reserve(2 * len(log))
    if i % 70 == 30: log.resize(len(log) + 5); log.resize(len(log) - 5)
    i += 1
"""


def test_a_killed_process_leaves_whole_rows(heap_path: Path) -> None:
    rows = 0
    for heap in killed(WORKER, heap_path):
        log = heap.root["log"]._view()
        count = len(log)
        while count > 0 and log[count - 1, 0] == 0 and count > 1:  # rows of zeros, added by resize()
            count -= 1
        assert len(log) - count in (0, 5)
        numbers = np.arange(count)
        assert log[:, 0][:count].tolist() == numbers.tolist()
        assert log[:, 1][:count].tolist() == (numbers**2).tolist()
        assert count >= rows
        rows = count
        del log
        if len(heap.root["log"]) > count:
            heap.root["log"].resize(count)
        other = heap.root.get("copy")
        if other is not None and other.ndim == 1:
            assert len(set(other.tolist())) <= 1
        del other
        heap.collect()
        assert broken(heap) == []
    assert rows > 0
