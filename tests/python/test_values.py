"""Values of every type: stored, reattached, equal and of the same type; as keys; shared, cyclic
and deep ones; registered types, pickles."""

from __future__ import annotations

import collections
import datetime as dt
import enum
import gc
import itertools
import math
import os
import pathlib
import re
import subprocess
import sys
import threading
import uuid
import zoneinfo
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from forks import in_child
from hypothesis import given, settings
from hypothesis import strategies as st
from in_memory import temporary_directory

import mheap
from mheap import _values


@mheap.register_enum
class Color(enum.Enum):
    RED = 1
    GREEN = "green"
    ALSO_RED = RED


@mheap.register_enum
class Mode(enum.Flag):
    READ = 1
    WRITE = 2
    RUN = 4


@mheap.register_enum
class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Point:
    def __init__(self, x: Any, y: Any) -> None:
        self.x, self.y = x, y

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and (self.x, self.y) == (other.x, other.y)

    def __hash__(self) -> int:
        return hash((self.x, self.y))

    def __repr__(self) -> str:
        return f"Point({self.x!r}, {self.y!r})"


mheap.register(Point, lambda point: (point.x, point.y), lambda state: Point(*state), name="tests:Point")

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
CET = dt.timezone(dt.timedelta(hours=1), "CET")

VALUES: list[Any] = [
    0j,
    1 - 2.5j,
    complex(math.inf, -0.0),
    bytearray(),
    bytearray(b"seven77"),
    bytearray(range(256)),
    (),
    (1,),
    (1, ("a text that is long", (None, ())), 2.5),
    frozenset(),
    frozenset({1, "two", (3, frozenset({4})), None}),
    range(0),
    range(5, 100, 7),
    range(10**30, -(10**30), -(10**20)),
    dt.date.min,
    dt.date.max,
    dt.date(2024, 2, 29),
    dt.time(),
    dt.time.max,
    dt.time(2, 30, fold=1),
    dt.time(12, tzinfo=dt.timezone.utc),
    dt.time(12, tzinfo=BERLIN),
    dt.datetime.min,
    dt.datetime.max,
    dt.datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN),
    dt.datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN, fold=1),
    dt.datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=dt.timezone.utc),
    dt.datetime(2024, 1, 1, tzinfo=CET),
    dt.timedelta.min,
    dt.timedelta.max,
    dt.timedelta(microseconds=-1),
    dt.timezone.utc,
    CET,
    dt.timezone(dt.timedelta(microseconds=-1)),
    BERLIN,
    Decimal("0"),
    Decimal("-0.00"),
    Decimal("1.50"),
    Decimal("1E+999999"),
    Decimal("-Infinity"),
    Decimal("1" * 2000),
    Fraction(0),
    Fraction(-1, 3),
    Fraction(10**40, 3**40),
    Fraction(1, 2**1074),
    uuid.UUID(int=0),
    uuid.UUID("12345678-1234-5678-1234-567812345678"),
    pathlib.Path("/tmp/x"),
    pathlib.Path(),
    pathlib.PurePosixPath("a/\udcff"),
    pathlib.PureWindowsPath("C:\\Temp"),
    Color.RED,
    Color.GREEN,
    Mode.READ,
    Mode.READ | Mode.RUN,
    Level.HIGH,
    Point(1, (2, "three")),
]
NO_KEYS: list[Any] = [
    *(value for value in VALUES if type(value) in (bytearray, dt.timezone, zoneinfo.ZoneInfo, Level, Point)),
    Decimal("1E+999999"),
    Decimal("1" * 2000),
    pathlib.PureWindowsPath("C:\\Temp"),
]
KEYS = [value for value in VALUES if not any(value is other or value == other for other in NO_KEYS)]


def is_sound(heap: mheap.Heap) -> bool:
    findings: list[Any] = []
    heap.check(findings.append)
    assert findings == []
    return True


def is_same(found: Any, value: Any) -> bool:
    """Equal, of the same type, and alike where equality does not look."""
    assert type(found) is type(value)
    assert found == value
    if isinstance(value, (dt.datetime, dt.time)):
        assert (found.tzinfo, found.fold, found.replace(tzinfo=None)) == (
            value.tzinfo,
            value.fold,
            value.replace(tzinfo=None),
        )
    if isinstance(value, (range, Decimal, complex, dt.timezone)):
        assert repr(found) == repr(value)
    if isinstance(value, tuple):
        assert all(map(is_same, found, value))
    return True


@pytest.fixture(scope="module")
def memory() -> Iterator[mheap.Heap]:
    with mheap.attach(-1) as heap:
        yield heap


def ids(value: Any) -> str:
    return repr(value)[:30].encode("ascii", "backslashreplace").decode()


@pytest.mark.parametrize("value", VALUES, ids=ids)
def test_a_value_comes_back(heap: mheap.Heap, heap_path: Path, value: Any) -> None:
    heap.root["value"] = value
    heap.root["in"] = [value, {"x": (value, [value])}]
    is_sound(heap)
    heap.close()
    content = heap_path.read_bytes()
    with mheap.open(heap_path, mode="readonly") as again:
        root = again.root
        for found in (root["value"], root["in"][0], root["in"][1]["x"][0], root["in"][1]["x"][1][0]):
            assert is_same(found, value)
    assert heap_path.read_bytes() == content


@pytest.mark.parametrize("value", KEYS, ids=ids)
def test_a_value_is_a_key(heap: mheap.Heap, heap_path: Path, value: Any) -> None:
    heap.root["one"] = {value: 1, "other": 2}
    heap.root["many"] = {i: i for i in range(-1000, -900)}
    many = heap.root["many"]
    many[value] = 5
    many[value] += 1
    many.update({(value, i): i for i in range(50)})
    is_sound(heap)
    heap.close()
    with mheap.open(heap_path, mode="readonly") as again:
        assert again.root["one"][value] == 1
        assert is_same(next(iter(again.root["one"])), value)
        assert again.root["many"][value] == 6
        assert again.root["many"][value, 7] == 7
        assert (value, 77) not in again.root["many"]
    with mheap.open(heap_path, mode="live") as again:
        many = again.root["many"]
        assert many.pop((value, 7)) == 7
        assert many.pop(value) == 6
        assert value not in many
        many[value] = 8
        assert many.setdefault(value, 9) == 8
        key, found = many.popitem()
        assert is_same(key, value)
        assert found == 8
        is_sound(again)


@pytest.mark.parametrize("value", NO_KEYS, ids=ids)
def test_what_is_no_key_says_so(memory: mheap.Heap, value: Any) -> None:
    memory.root["d"] = {}
    before = memory.stats().chunks_used
    kind = "unhashable" if type(value) is bytearray else "a key in a heap is"
    for key in (value, (1, value)):
        with pytest.raises(TypeError, match=kind):
            memory.root["d"][key] = "text that is long"
        with pytest.raises(TypeError, match=kind):
            memory.root["d"] = {key: "text that is long"}
    if type(value) is not bytearray:
        assert value not in memory.root["d"] or type(value) is Level
        assert memory.root["d"].get((1, value)) is None
    assert memory.stats().chunks_used == before


def test_everything_is_freed(heap: mheap.Heap) -> None:
    heap.root["x"] = 1
    heap.root.clear()
    before = heap.stats().chunks_used
    for value in VALUES:
        heap.root["x"] = [value, (value, {"k": value})]
    for key in KEYS:
        heap.root[key] = heap.root[key, 1] = key
    gc.collect()
    heap.root.clear()
    assert heap.stats().chunks_used == before


def test_every_year_has_its_days(memory: mheap.Heap) -> None:
    ordinals = {1, dt.date.max.toordinal(), *range(1, dt.date.max.toordinal(), 397)}
    for year in (1, 3, 4, 5, 99, 100, 101, 399, 400, 401, 1900, 2000, 2024, 9999):
        for month in range(1, 13):
            first = dt.date(year, month, 1).toordinal()
            ordinals |= {first, max(1, first - 1), first + 1}
    days = [dt.date.fromordinal(ordinal) for ordinal in sorted(ordinals)]
    times = [
        dt.datetime.combine(day, dt.time(23, 59, 58, 999_999 - day.day, fold=day.day % 2)) for day in days
    ]
    memory.root["days"], memory.root["times"] = days, times
    memory.root["keys"] = {key: i for i, key in enumerate([*days, *times])}
    assert memory.root["days"] == days
    assert all(map(is_same, memory.root["times"], times))
    assert [memory.root["keys"][key] for key in [*days, *times]] == list(range(2 * len(days)))
    words = [_values.to_state(value) for value in [*days, *times]]
    assert all(state is not None for state in words)
    assert [_values.from_state(*state, 0, None, 0) for state in words if state] == [*days, *times]


# ---- keys that are equal ----

EQUAL: list[list[Any]] = [
    [1, True, 1.0, 1 + 0j, Decimal(1), Decimal("1.00"), Fraction(1)],
    [0, False, -0.0, 0j, complex(-0.0, -0.0), Decimal("-0.0"), Fraction(0)],
    [0.5, Decimal("0.5"), Fraction(1, 2), 0.5 + 0j],
    [2**70, float(2**70), Decimal(2**70), Fraction(2**70), complex(2**70)],
    [-(2**70), -float(2**70), Decimal(-(2**70))],
    [2**61 - 1, Decimal(2**61 - 1), Fraction(2**61 - 1)],
    [Fraction(1, 10), Decimal("0.1"), Decimal("0.10")],
    [0.1, Fraction(0.1), Decimal.from_float(0.1)],
    [5e-324, Fraction(5e-324), Decimal.from_float(5e-324)],
    [Fraction(1, 2**1075)],
    [math.inf, Decimal("Infinity"), complex(math.inf, 0)],
    [Fraction(1, 3)],
    [1j],
    [(1, "a"), (True, "a"), (1.0, "a"), (Decimal(1), "a")],
    [(), ()],
    [((),)],
    [frozenset({1, 2, 3}), frozenset({3.0, Decimal(2), True})],
    [frozenset({(1, 2), "x"}), frozenset({"x", (1.0, 2 + 0j)})],
    [frozenset()],
    [range(0), range(5, 5), range(3, 0)],
    [range(0, 10, 3), range(0, 12, 3)],
    [range(7, 8), range(7, 9, 100)],
    [range(8, 10)],
    [dt.datetime(2024, 1, 1, 12), dt.datetime(2024, 1, 1, 12, fold=1)],
    [
        dt.datetime(2024, 7, 1, 12, tzinfo=BERLIN),
        dt.datetime(2024, 7, 1, 10, tzinfo=dt.timezone.utc),
        dt.datetime(2024, 7, 1, 11, tzinfo=CET),
        dt.datetime(2024, 7, 1, 12, tzinfo=BERLIN, fold=1),
    ],
    [dt.time(12, tzinfo=dt.timezone.utc), dt.time(13, tzinfo=CET)],
    [dt.time(12), dt.time(12, tzinfo=BERLIN), dt.time(12, fold=1)],
    [dt.date(2024, 1, 1)],
    [dt.datetime(2024, 1, 1)],
    [pathlib.Path("a/b"), pathlib.PurePosixPath("a/b")],
    ["a/b"],
    [b"a/b"],
    [Color.RED, Color.ALSO_RED],
    [uuid.UUID(int=1)],
    [dt.timedelta(1), dt.timedelta(hours=24)],
]


def test_keys_are_equal_as_in_python(heap: mheap.Heap) -> None:
    for number, group in enumerate(EQUAL):
        for stored in group:
            heap.root["d"] = {stored: number}
            for other, keys in enumerate(EQUAL):
                for key in keys:
                    assert (key == stored) is (other == number), (key, stored)
                    assert (key in heap.root["d"]) is (other == number), (key, stored)
    heap.root["d"] = {group[0]: number for number, group in enumerate(EQUAL)}
    for number, group in enumerate(EQUAL):
        for key in group:
            assert heap.root["d"][key] == number
            heap.root["d"][key] = number
    assert len(heap.root["d"]) == len(EQUAL)
    assert list(map(type, heap.root["d"])) == [type(group[0]) for group in EQUAL]
    is_sound(heap)


def test_what_derives_from_a_tuple_is_found_and_not_stored(heap: mheap.Heap) -> None:
    class Pair(NamedTuple):
        a: int
        b: int

    root = heap.root
    root[1, 2] = "pair"
    root[frozenset({1})] = "set"
    assert root[Pair(1, 2)] == "pair"
    assert root[Level.LOW, 2] == "pair"
    values: list[Any] = [Pair(1, 2), collections.OrderedDict(), dt.datetime]
    for value in values:
        with pytest.raises(TypeError, match="of exactly that type, not"):
            root["x"] = value
    with pytest.raises(TypeError, match=r"a key in a heap is .* not Pair"):
        root[Pair(3, 4)] = 1
    with pytest.raises(TypeError, match="unhashable"):
        root[1, []] = 1
    with pytest.raises(TypeError, match="unhashable"):
        root.get((1, []))


def test_keys_do_not_depend_on_the_hash_seed(heap: mheap.Heap, heap_path: Path) -> None:
    heap.root["d"] = {frozenset({f"element {i}" for i in range(20)}): 1, ("a", frozenset({"b", "c"})): 2}
    heap.close()
    program = (
        "import mheap, sys; d = mheap.open(sys.argv[1], mode='readonly').root['d']\n"
        "assert d[frozenset({f'element {i}' for i in range(20)})] == 1\n"
        "assert d['a', frozenset({'b', 'c'})] == 2\n"
        "assert ('a', frozenset({'b', 'd'})) not in d"
    )
    for seed in ("1", "2", "3"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run(
            [sys.executable, "-c", program, str(heap_path)], env=environment, check=True, timeout=60
        )


def test_deep_and_large_keys(heap: mheap.Heap) -> None:
    key: Any = 1
    for _ in range(200):
        key = (key,)
    heap.root[key] = 1
    assert heap.root[key] == 1
    is_sound(heap)
    for use in (heap.root.__contains__, heap.root.get, lambda deep: heap.root.__setitem__(deep, 1)):
        with pytest.raises(RecursionError, match="200 levels"):
            use((key,))
    bomb: Any = 1
    for _ in range(60):
        bomb = (bomb, bomb)
    with pytest.raises(mheap.SizeOverflow, match="a key of more than"):
        heap.root[bomb] = 1
    large = tuple(range(10_000))
    heap.root[large] = frozenset(large)
    assert heap.root[large] == set(large)
    assert (*large[:-1], -1) not in heap.root
    assert is_sound(heap)


def test_two_nans_in_a_set_are_no_key(heap: mheap.Heap) -> None:
    nans = frozenset({float("nan"), float("nan")})
    heap.root["value"] = nans
    assert len(heap.root["value"]) == 2
    with pytest.raises(ValueError, match="two elements that are equal to a heap"):
        heap.root[nans] = 1
    heap.root[frozenset({math.nan})] = 1
    assert frozenset({float("nan")}) in heap.root
    assert is_sound(heap)


# ---- graphs ----


def test_a_tuple_met_twice_is_stored_once(heap: mheap.Heap) -> None:
    shared = ("shared", ["list"])
    day = dt.date(2024, 1, 1)
    heap.root["x"] = [shared, (shared, shared), frozenset({day}), {"day": day}]
    before = heap.stats().chunks_used
    items = heap.root["x"]
    first, second = items[1]
    assert first is second
    assert items[0][1] is items[1][0][1]
    items[0][1].append("seen by all")
    assert items[1][1] == ("shared", ["list", "seen by all"])
    del items[0]
    assert heap.stats().chunks_used <= before + 1
    assert heap.root["x"][0][0] == ("shared", ["list", "seen by all"])
    is_sound(heap)


def test_cycles_through_tuples(heap: mheap.Heap, heap_path: Path) -> None:
    cycle: list[Any] = []
    cycle.append((cycle, {"again": (1, cycle)}))
    heap.root["a"] = cycle
    heap.root["b"] = cycle
    is_sound(heap)
    heap.close()
    with mheap.open(heap_path, mode="live") as again:
        stored = again.root["a"]
        assert stored[0][0] is stored
        assert stored[0][1]["again"][1] is stored
        assert stored == again.root["b"]
        assert stored == stored.to_python()
        assert repr(stored) == repr(cycle) == "[([...], {'again': (1, [...])})]"
        plain = stored.to_python()
        assert type(plain) is list
        assert plain[0][0] is plain
        again.root["b"][0][1]["again"] = 5
        assert stored != again.root["b"]


def test_to_python_reaches_into_tuples(heap: mheap.Heap) -> None:
    heap.root["x"] = [(1, [2, ({},)]), (3,)]
    plain = mheap.to_python(heap.root["x"][0])
    assert plain == (1, [2, ({},)])
    assert type(plain[1]) is list
    assert type(plain[1][1][0]) is dict
    assert repr(heap.root) == "{'x': [(1, [2, ({},)]), (3,)]}"
    assert heap.root["x"] == [(1, [2, ({},)]), (3,)]
    assert heap.root["x"] != [(1, [2, ({}, 1)]), (3,)]


DEPTH = 100_000


def test_a_hundred_thousand_levels_of_tuples(heap: mheap.Heap) -> None:
    heap.root["x"] = 1
    heap.root.clear()
    before = heap.stats().chunks_used
    deep: Any = ["the innermost"]
    for _ in range(DEPTH):
        deep = (deep, 1)
    heap.root["deep"] = [deep]
    is_sound(heap)
    found = heap.root["deep"][0]
    levels = 0
    while type(found) is tuple:
        found = found[0]
        levels += 1
    assert levels == DEPTH
    assert found == ["the innermost"]
    assert repr(heap.root).startswith("{'deep': [((((")
    plain = heap.root["deep"].to_python()
    heap.root["other"] = plain
    assert heap.root["deep"] == heap.root["other"]
    del found, plain
    heap.root.clear()
    gc.collect()
    assert heap.stats().chunks_used == before


def test_what_is_shared_makes_no_bomb(heap: mheap.Heap) -> None:
    bomb: Any = ("x",)
    for _ in range(60):
        bomb = (bomb, bomb)
    heap.root["bomb"] = bomb
    assert heap.stats().chunks_used < 100
    found = heap.root["bomb"]
    for _ in range(60):
        assert found[0] is found[1]
        found = found[0]
    is_sound(heap)


def test_a_set_of_what_is_too_deep_to_hash(heap: mheap.Heap) -> None:
    deep: Any = 1
    for _ in range(199):
        deep = (deep,)
    heap.root["x"] = frozenset({deep})
    assert heap.root["x"] == {deep}
    with pytest.raises(RecursionError, match="200 levels"):
        heap.root["x"] = frozenset({((deep,),)})
    assert heap.root["x"] == {deep}
    shared: Any = 1
    for _ in range(17):
        shared = (shared,) * 3
    with pytest.raises(mheap.SizeOverflow, match="in common"):
        heap.root["x"] = frozenset({shared})


def test_a_failed_store_leaves_nothing(heap: mheap.Heap) -> None:
    heap.root["kept"] = ("kept", ["list"])
    kept = heap.root["kept"][1]
    before = heap.stats().chunks_used
    cycle: list[Any] = [(1, "text that is long"), {(1, "a long key of a dict"): (kept, kept)}]
    cycle.append((cycle, frozenset({"text that is long", dt.date(2024, 1, 1)}), object()))
    for attempt in (cycle, (cycle, cycle), {"x": (cycle,)}, [{(2, 3): object()}]):
        with pytest.raises(TypeError, match="a heap holds"):
            heap.root["x"] = attempt
        with pytest.raises(TypeError, match="a heap holds"):
            heap.root[1, "a long key, of a dict"] = attempt
    assert heap.stats().chunks_used == before
    assert heap.root == {"kept": ("kept", ["list"])}
    assert is_sound(heap)


def test_values_move_between_heaps(heap: mheap.Heap, anonymous: mheap.Heap) -> None:
    anonymous.root["x"] = [VALUES, {key: (key, [key]) for key in KEYS}]
    heap.root["copy"] = anonymous.root["x"]
    anonymous.close()
    assert all(map(is_same, heap.root["copy"][0], VALUES))
    assert heap.root["copy"][1] == {key: (key, [key]) for key in KEYS}
    is_sound(heap)


def test_rollback_and_reattach(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        heap.root["x"] = (1, [2], dt.date(2024, 1, 1))
        heap.commit()
        heap.root["x"][1].append(3)
        heap.root[("key", 1)] = frozenset({1})
        heap.rollback()
        assert heap.root == {"x": (1, [2], dt.date(2024, 1, 1))}
        is_sound(heap)


def test_a_reader_beside_a_writer_sees_whole_values(heap_path: Path) -> None:
    """The writer goes on until the reader has seen enough of its commits."""
    enough = threading.Event()

    def made(i: int) -> tuple[Any, ...]:
        return (
            i,
            (f"text {i} " * 20, (i, float(i))),
            frozenset({i, (i, "x")}),
            dt.date.fromordinal(i + 1),
            Fraction(i, 7),
        )

    with mheap.open(heap_path) as writer:
        writer.root["v"] = made(0)
        writer.root["d"] = {made(0): 0}
        writer.commit()

        def read() -> None:
            seen: set[int] = set()
            with mheap.open(heap_path, mode="readonly") as reader:
                while len(seen) < 20:
                    value = reader.root["v"]
                    assert value == made(value[0])
                    ((key, number),) = reader.root["d"].items()
                    assert key == made(number)
                    with reader.snapshot():
                        assert reader.root["d"][reader.root["v"]] == reader.root["v"][0]
                    seen.add(value[0])

        def write() -> None:
            for i in itertools.takewhile(lambda i: not enough.is_set(), itertools.count(1)):
                writer.root["v"] = made(i)
                del writer.root["d"][made(i - 1)]
                writer.root["d"][made(i)] = i
                writer.commit(durable=False)

        thread = threading.Thread(target=write)
        try:
            in_child(read, thread.start)
        finally:
            enough.set()
            thread.join()


# ---- registered types ----


def test_a_member_is_the_member(memory: mheap.Heap) -> None:
    memory.root["x"] = [Color.RED, Mode.READ | Mode.RUN, Mode(0)]
    assert memory.root["x"][0] is Color.RED
    assert memory.root["x"][1] is Mode.READ | Mode.RUN
    assert memory.root["x"][2] is Mode(0)


def test_registered_state_may_hold_containers(heap: mheap.Heap) -> None:
    point = Point([1, 2], {"a": Point(3, 4)})
    heap.root["x"] = [point, point]
    first = heap.root["x"][0]
    assert type(first) is Point
    assert first.x == [1, 2]
    assert first.x is heap.root["x"][1].x
    assert first.y["a"] == Point(3, 4)
    heap.root["set"] = frozenset({Point(1, 2), Color.RED})
    assert heap.root["set"] == {Point(1, 2), Color.RED}
    is_sound(heap)


def test_what_is_not_registered_is_said(heap: mheap.Heap, heap_path: Path) -> None:
    heap.root["color"], heap.root["point"] = Color.RED, Point(1, 2)
    heap.root["list"] = [Color.RED]
    heap.close()
    program = (
        "import mheap, sys; root = mheap.open(sys.argv[1], mode='readonly').root\n"
        "for use in (lambda: root['color'], lambda: root['point'], lambda: list(root['list'])):\n"
        "    try: use()\n"
        "    except mheap.UnknownType as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(heap_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    lines = done.stdout.splitlines()
    assert f"'{Color.__module__}:Color', which is not registered" in lines[0]
    assert "'tests:Point', which is not registered" in lines[1]
    assert len(lines) == 3


def test_what_cannot_be_stored_is_told_with_what_to_do(heap: mheap.Heap) -> None:
    class Plain:
        pass

    class Level(enum.IntEnum):
        LOW = 1

    cases: list[tuple[Any, str]] = [
        (collections.defaultdict(list), "not collections.defaultdict: dict() makes a plain one of it"),
        (type("Names", (list,), {})(), "list()"),
        (type("Name", (str,), {})(), "str()"),
        (memoryview(b"x"), "bytes()"),
        (Level.LOW, "mheap.register_enum()"),
        (Plain(), "mheap.register()"),
    ]
    for value, text in cases:
        with pytest.raises(TypeError, match=re.escape(text)):
            heap.root["x"] = value
    with pytest.raises(TypeError, match=r"not decimal.Decimal of more than 1,000 digits or places, or NaN"):
        heap.root[Decimal("NaN")] = 1


def test_what_cannot_be_read_can_be_printed(heap: mheap.Heap) -> None:
    heap.root["x"] = {"a": [mheap.Pickled(print)]}
    assert "of which not all can be read: this value is a pickle" in repr(heap.root)
    with pytest.raises(mheap.PickleNotAllowed):
        _ = heap.root["x"]["a"][0]
    assert repr(heap.root["x"]["a"]).startswith("<PersistentList, of which")


def test_registering() -> None:
    class Other(enum.Enum):
        A = 1

    class Another:
        pass

    with pytest.raises(TypeError, match="an Enum is needed"):
        mheap.register_enum(int)
    with pytest.raises(TypeError, match="a class is needed"):
        mheap.register(5, repr, repr)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a function is needed, not None"):
        mheap.register(Another, vars, None)  # type: ignore[arg-type]
    builtin: list[Any] = [int, dict, Decimal, dt.datetime, range, mheap.Pickled, pathlib.PosixPath]
    for cls in builtin:
        with pytest.raises(TypeError, match="anyway"):
            mheap.register(cls, repr, repr)
    with pytest.raises(ValueError, match="is the name of"):
        mheap.register_enum(Other, name="tests:Point")
    assert mheap.register_enum(Other, name="tests:Other") is Other
    assert mheap.register_enum(Other, name="tests:Other") is Other
    with pytest.raises(ValueError, match="registered as"):
        mheap.register_enum(Other, name="tests:Another")
    assert mheap.register(Another, vars, lambda state: Another()) is Another


def test_errors_of_users_code_come_through(memory: mheap.Heap) -> None:
    class Bad:
        pass

    fails = [False]

    def from_state(state: Any) -> Bad:
        if fails[0]:
            raise ZeroDivisionError
        return Bad()

    mheap.register(Bad, lambda bad: 1 / 0 if fails[0] else 1, from_state, name="tests:Bad")
    memory.root["x"] = Bad()
    fails[0] = True
    with pytest.raises(ZeroDivisionError):
        memory.root["x"]
    before = memory.stats().chunks_used
    with pytest.raises(ZeroDivisionError):
        memory.root["y"] = [("text that is long", [Bad()])]
    assert memory.stats().chunks_used == before


def empty(root: Any) -> None:
    root["d"].clear()
    root["l"].clear()


def test_a_heap_that_users_code_closes(heap_path: Path) -> None:
    """What makes a value may do anything, also close the heap, or take the value's container away."""

    class Closes:
        pass

    todo: list[Callable[[], object]] = []

    def from_state(state: Any) -> Closes:
        if todo:
            todo.pop()()
        return Closes()

    mheap.register(Closes, lambda value: 1, from_state, name="tests:Closes")
    uses: list[Callable[[Any], object]] = [
        lambda root: root["d"]["a"],
        lambda root: list(root["d"].items()),
        lambda root: root["d"].popitem(),
        lambda root: root["d"].pop("a"),
        lambda root: root["l"][:],
        lambda root: root["l"].pop(),
        lambda root: Closes() in root["l"],
        lambda root: root["d"].setdefault("a"),
        lambda root: root.to_python(),
    ]
    for use in uses:
        for change in ("close", "clear"):
            heap = mheap.open(heap_path, mode="live")
            heap.root["d"] = {"a": Closes(), "b": (1, Closes())}
            heap.root["l"] = [(Closes(),), Closes(), 1, Closes()]
            root = heap.root
            todo[:] = [heap.close if change == "close" else partial(empty, root)]
            try:
                use(root)
                assert change == "clear"
            except (mheap.ClosedHeap, RuntimeError, mheap.CorruptHeap, KeyError, IndexError):
                pass
            assert not todo
            del root
            heap.close()
            with mheap.open(heap_path, mode="live") as again:
                assert is_sound(again)


# ---- pickles ----


def test_pickles_are_read_where_they_are_allowed(heap: mheap.Heap, heap_path: Path) -> None:
    heap.root["p"] = mheap.Pickled({1, 2})
    heap.root["in"] = [(1, mheap.Pickled(Point))]
    reads: list[Callable[[], object]] = [lambda: heap.root["p"], lambda: heap.root["in"][0]]
    for read in reads:
        with pytest.raises(mheap.PickleNotAllowed, match="allow_pickle=True"):
            read()
    is_sound(heap)
    heap.close()
    with mheap.open(heap_path, mode="readonly", allow_pickle=True) as again:
        assert again.root["p"] == {1, 2}
        assert again.root["in"][0] == (1, Point)
    with heap_path.open("r+b") as file, mheap.attach(file, allow_pickle=True) as again:
        assert again.root["p"] == {1, 2}
        again.root["copy"] = [again.root["in"][0][0]]
    with mheap.open(heap_path, mode="readonly") as again, pytest.raises(ValueError, match="allow_pickle"):
        again.root["p"]


def test_what_cannot_be_pickled_is_not_stored(memory: mheap.Heap) -> None:
    with pytest.raises(Exception, match="pickle"):
        memory.root["x"] = mheap.Pickled(lambda: 1)
    assert repr(mheap.Pickled([1])) == "Pickled([1])"


# ---- of all values ----

zones: Any = st.none() | st.sampled_from([dt.timezone.utc, CET, BERLIN, zoneinfo.ZoneInfo("Asia/Kolkata")])
hashable = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(-3, 3),
        st.floats(allow_nan=False),
        st.complex_numbers(allow_nan=False),
        st.text(max_size=12),
        st.binary(max_size=12),
        st.builds(range, st.integers(-5, 5), st.integers(-5, 5), st.sampled_from([-2, -1, 1, 3])),
        st.dates(),
        st.times(),
        st.datetimes(),
        st.datetimes(min_value=dt.datetime(2, 1, 1), max_value=dt.datetime(9998, 1, 1), timezones=zones),
        st.timedeltas(),
        st.decimals(allow_nan=False, places=3, min_value=-(10**6), max_value=10**6),
        st.fractions(),
        st.uuids(),
        st.builds(pathlib.PurePosixPath, st.text("ab/.", max_size=6)),
        st.sampled_from([Color.RED, Color.GREEN, Mode.READ, Mode.READ | Mode.WRITE]),
    ),
    lambda inner: st.lists(inner, max_size=4).map(tuple) | st.frozensets(inner, max_size=4),
    max_leaves=10,
)
values = st.recursive(
    hashable | st.binary(max_size=20).map(bytearray),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(hashable, inner, max_size=4)
    ),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(value=values)
def test_any_value_comes_back(value: Any) -> None:
    with temporary_directory() as directory:
        path = Path(directory) / "values.heap"
        with mheap.open(path, mode="live") as heap:
            heap.root["x"] = value
            is_sound(heap)
        with mheap.open(path, mode="live") as heap:
            found = heap.root["x"]
            assert found == value
            plain = mheap.to_python(found)
            assert plain == value
            assert type(plain) is type(value)
            assert repr(plain) == repr(value) or type(value) is not tuple or "frozenset" in repr(value)
            del found, heap.root["x"]
            gc.collect()
            assert heap.stats().chunks_used == 2


@settings(max_examples=300, deadline=None)
@given(plain=st.dictionaries(hashable, st.integers(), max_size=12), others=st.lists(hashable, max_size=6))
def test_any_keys_do_what_dict_does(plain: dict[Any, int], others: list[Any]) -> None:
    with mheap.attach(-1) as heap:
        heap.root["d"] = plain
        stored = heap.root["d"]
        assert stored == plain
        assert list(stored) == list(plain)
        for key in [*plain, *others]:
            assert stored.get(key, "absent") == plain.get(key, "absent")
        is_sound(heap)
        for key in [*others, *list(plain)[::2]]:
            assert stored.pop(key, "absent") == plain.pop(key, "absent")
            stored[key] = plain[key] = 7
        assert list(stored.items()) == list(plain.items())
        while plain:
            assert stored.popitem() == plain.popitem()
        is_sound(heap)
