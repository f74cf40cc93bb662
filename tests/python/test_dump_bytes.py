"""Equal values make equal dumps, byte by byte, and compact ones."""

from __future__ import annotations

import collections
import datetime
import decimal
import math
import os
import random
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mheap

SLICE = 65536

# In a process of its own, whose strings and tuples are or are not one object, as `copies` says.
PROGRAM = """
import collections, copy, datetime, decimal, fractions, json, pathlib, sys, uuid
import mheap
path, how = sys.argv[1:]
def text(number):
    return "".join(["text number ", str(number % 10)]) if how == "copies" else TEXTS[number % 10]
TEXTS = ["text number " + str(i) for i in range(10)]
def pair(number):
    return (text(number), number % 10) if how == "copies" else PAIRS[number % 10]
PAIRS = [(TEXTS[i], i) for i in range(10)]
value = {
    "texts": [text(i) for i in range(1000)],
    "pairs": {text(i) + str(i): pair(i) for i in range(1000)},
    "set": {f"element {i}" for i in range(1000)} | {1, 2**61, 2**62 - 1, 3.5, None, pair(3), -1, -2},
    "ties": {i * (2**61 - 1) for i in range(40)} | {frozenset({i * (2**61 - 1)}) for i in range(3)},
    "frozen": frozenset({text(i) for i in range(10)} | {pair(4), frozenset({text(1), text(2), 5})}),
    "numbers": [10**30 + i % 2 for i in range(100)] + [1.1, 1 / 3, -0.0, 0.0, float("nan"), 2j],
    "bytes": [b"more than eight bytes", bytes(bytearray(b"more than eight bytes")), bytearray(b"these too")],
    "others": [datetime.date(2026, 1, 2), decimal.Decimal("1.50"), fractions.Fraction(1, 3), range(5),
               uuid.UUID(int=5), pathlib.PurePosixPath("/a/b"), datetime.timedelta(1, 2, 3),
               datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc)],
    "keys": {pair(1): 1, datetime.date(2026, 1, 2): 2, 10**25: 3, frozenset({"ab", "cd", "ef"}): 4, 2.5: 5},
    "deque": collections.deque(["long in a deque", 2], 5),
    "empty": [{}, [], set(), (), frozenset(), "", b"", bytearray()],
}
value["self"] = value
value["pair with a list"] = (value["empty"], value["texts"])
mheap.dump(value, path)
heap = mheap.attach(-1)
heap.root["at"] = value
mheap.dump(heap.root["at"], path + ".persistent")
with mheap.restore(path) as restored:
    assert restored.check()
    mheap.dump(restored.root, path + ".again")
with mheap.attach(-1) as other:
    other.root["before"] = ["something else"] * 1000
    for key in value:
        other.root[key] = value[key] if key != "self" else other.root
    del other.root["before"]
    other.root["set"].discard("none such")
    other.root["keys"]["gone"] = 1
    del other.root["keys"]["gone"]
    other.root["pair with a list"] = (other.root["empty"], other.root["texts"])
    other.root["texts"].append("gone"), other.root["texts"].pop()
    mheap.dump(other.root, path + ".lived")
"""


def contents(path: Path) -> set[bytes]:
    """What the program's dumps are."""
    return {path.with_name(path.name + end).read_bytes() for end in ("", ".persistent", ".again", ".lived")}


def test_equal_values_are_equal_files_in_every_process(tmp_path: Path) -> None:
    found: set[bytes] = set()
    for seed, how in (("0", "copies"), ("1", "one"), ("4711", "copies"), ("random", "one")):
        path = tmp_path / f"{seed}.heap"
        command = [sys.executable, "-c", PROGRAM, str(path), how]
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, check=True, timeout=120)
        found |= contents(path)
    assert len(found) == 1


def test_another_value_is_another_file_with_another_uuid(tmp_path: Path) -> None:
    found = set()
    for value in ([1], [2], [1.0], {"value": [True]}, [[1]]):
        mheap.dump(value, tmp_path / "value.heap")
        with mheap.restore(tmp_path / "value.heap") as heap:
            found.add(heap.uuid)
            assert uuid.UUID(heap.uuid).variant == uuid.RFC_4122
            assert uuid.UUID(heap.uuid).version == 8
    assert len(found) == 5


def keys() -> st.SearchStrategy[Any]:
    """What a set or a dict of a heap may have for keys."""
    scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
    big = st.integers(-3, 3).map(lambda n: n * (2**61 - 1))
    times = st.dates() | st.timedeltas() | st.decimals(allow_nan=False)
    return st.recursive(
        scalars | big | times,
        lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
        max_leaves=4,
    )


def values() -> st.SearchStrategy[Any]:
    """Values of all kinds."""
    return st.recursive(
        keys() | st.sets(keys(), max_size=20),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(keys(), inner, max_size=12)
            | st.lists(inner, max_size=3).map(tuple)
            | st.lists(inner, max_size=4).map(collections.deque)
        ),
        max_leaves=12,
    )


def shuffled(value: Any) -> Any:
    """An equal value no part of which is the same object, its sets built in another order."""
    if isinstance(value, (set, frozenset)):
        elements = [shuffled(element) for element in value]
        random.shuffle(elements)
        padded = {object() for _ in range(random.randrange(100))} | set(elements)
        return type(value)(element for element in padded if type(element) is not object)
    if isinstance(value, dict):
        return {shuffled(key): shuffled(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, collections.deque)):
        return type(value)(shuffled(item) for item in value)
    if isinstance(value, str):
        return "".join(list(value))
    return value


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=values())
def test_any_value_is_the_same_file_plain_persistent_and_again(value: Any, tmp_path: Path) -> None:
    path = tmp_path / "value.heap"
    found = set()
    mheap.dump(value, path, durable=False)
    found.add(path.read_bytes())
    with mheap.restore(path) as heap:
        assert heap.check()
        again = heap.root if isinstance(value, dict) else heap.root["value"]
        mheap.dump(again, tmp_path / "again.heap", durable=False)
    found.add((tmp_path / "again.heap").read_bytes())
    with mheap.attach(-1) as memory:
        memory.root["at"] = value
        mheap.dump(memory.root["at"], path, durable=False)
    found.add(path.read_bytes())
    mheap.dump(shuffled(value), path, durable=False)
    found.add(path.read_bytes())
    assert len(found) == 1


def dumped(value: object, path: Path) -> mheap.HeapStats:
    """How full the dump of a value is; its size is what is in use, rounded up to slices."""
    mheap.dump(value, path)
    with mheap.open(path, mode="readonly") as heap:
        stats = heap.stats()
        assert path.stat().st_size == heap.size == stats.bytes_total
        return stats


def is_compact(stats: mheap.HeapStats) -> bool:
    """Nothing but the superblock, headers, full slabs, one that is not full a class, and spans."""
    runs = [*stats.classes, stats.spans, stats.huge]
    headers = 1 + math.ceil((stats.bytes_total - SLICE) / (64 * SLICE))
    full = all(of.blocks - of.used < of.blocks // max(of.runs, 1) for of in stats.classes if of.runs)
    return full and stats.bytes_total == headers * SLICE + sum(of.run_bytes for of in runs)


def test_a_dump_is_its_content_rounded_up_to_slices(tmp_path: Path) -> None:
    for value in (
        {},
        "text that is not inline",
        {f"word {i}": i for i in range(100_000)},
        [str(i) * (i % 50) for i in range(30_000)],
        [bytes([i % 256]) * (1000 + 7 * i) for i in range(1000)],
        {i: {f"name {j}": j for j in range(i % 30)} for i in range(3000)},
    ):
        assert is_compact(dumped(value, tmp_path / "value.heap"))
    with mheap.open(tmp_path / "live.heap", mode="live") as control:
        for i in range(20_000):
            control.root[i] = "x" * (i % 200)
        for i in range(15_000):
            del control.root[i]
        assert not is_compact(control.stats())


def test_empty_and_small_dumps_are_small(tmp_path: Path) -> None:
    assert dumped({}, tmp_path / "value.heap").bytes_total <= 4 * SLICE
    assert dumped([1, 2, 3], tmp_path / "value.heap").bytes_total <= 4 * SLICE


def test_equal_values_are_stored_once(tmp_path: Path) -> None:
    texts = ["".join(["text ", "that ", "is long"]) for _ in range(1000)]
    pairs = [("a", "".join(["also ", "long"]), 2.1, 10**30) for _ in range(1000)]
    assert dumped(texts, tmp_path / "value.heap").chunks_used <= 6
    assert dumped(pairs, tmp_path / "value.heap").chunks_used <= 9
    assert dumped([texts, pairs, {texts[0]: 1}], tmp_path / "value.heap").chunks_used <= 16


def test_equal_values_of_different_types_are_not_one(tmp_path: Path) -> None:
    value = [(1, 10**30), (1.0, 1e30), (True, 10**30), (0.0, 2.1), (-0.0, 2.1), frozenset({1}), (1,)]
    mheap.dump(value, tmp_path / "value.heap")
    with mheap.restore(tmp_path / "value.heap") as heap:
        assert repr(mheap.to_python(heap.root["value"])) == repr(value)


def test_lists_that_are_equal_and_not_one_stay_two(tmp_path: Path) -> None:
    mheap.dump([[1], [1], ([1],), ([1],)], tmp_path / "value.heap")
    with mheap.restore(tmp_path / "value.heap") as heap:
        first, second, third, fourth = heap.root["value"]
        first.append(2)
        third[0].append(3)
        assert (second, fourth) == ([1], ([1],))


def test_nesting_costs_no_stack(tmp_path: Path) -> None:
    nested: Any = ()
    for _ in range(100_000):
        nested = (nested, [])
    mheap.dump(nested, tmp_path / "value.heap")
    levels = 0
    with mheap.restore(tmp_path / "value.heap") as heap:
        assert heap.check()
    del heap
    while nested:
        nested = nested[0]
        levels += 1
    assert levels == 100_000


class Ring:
    """Whose state has itself in a tuple."""

    def __init__(self) -> None:
        self.others: tuple[Ring, ...] = (self,)


def test_what_is_part_of_itself_without_a_container_is_refused(tmp_path: Path) -> None:
    mheap.register(Ring, name="test.ring", to_state=lambda ring: ring.others, from_state=lambda _: Ring())
    with pytest.raises(ValueError, match="a Ring that is part of itself cannot be dumped"):
        mheap.dump([Ring()], tmp_path / "value.heap")
    assert os.listdir(tmp_path) == []


def test_decimals_that_are_equal_are_told_apart_as_values(tmp_path: Path) -> None:
    value = [decimal.Decimal("1.5"), decimal.Decimal("1.50"), datetime.time(1, fold=1), datetime.time(1)]
    mheap.dump(value, tmp_path / "value.heap")
    with mheap.restore(tmp_path / "value.heap") as heap:
        assert repr(mheap.to_python(heap.root["value"])) == repr(value)
