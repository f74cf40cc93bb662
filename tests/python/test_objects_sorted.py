"""PersistentSortedDict against a plain dict and sorted(): every method, every type of key, and a state
machine with reattaching, commits, rollbacks and collections as steps."""

from __future__ import annotations

import bisect
import copy
import datetime as dt
import json
import math
import pickle
import uuid
from collections.abc import Callable, Iterator, MutableMapping, Sequence, Set
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule
from kills import killed
from machines import SETTINGS, Committing, HeapMachine

import mheap
from mheap.sorted import PersistentSortedDict, SortedDict

LONG = "a key that is long"


@pytest.fixture
def heap() -> Iterator[mheap.Heap]:
    with mheap.attach(-1) as heap:
        yield heap
        findings: list[mheap.Finding] = []
        heap.check(findings.append)
        assert findings == []


def stored(heap: mheap.Heap, value: Any) -> Any:
    heap.root["stored"] = SortedDict(value)
    return heap.root["stored"]


def outcome(work: Callable[[], Any]) -> Any:
    """What it returns, or the type of what it raises."""
    try:
        return work()
    except Exception as error:
        return type(error)


class Model(dict[Any, Any]):
    """What a sorted dict does, done with a plain one."""

    def keys_in_order(self) -> list[Any]:
        return sorted(self)

    def __iter__(self) -> Iterator[Any]:
        return iter(sorted(super().keys()))

    def __reversed__(self) -> Iterator[Any]:
        return iter(sorted(super().keys(), reverse=True))

    def keys(self) -> Any:
        return list(self)

    def values(self) -> Any:
        return [self[key] for key in self]

    def items(self) -> Any:
        return [(key, self[key]) for key in self]

    def bisect_left(self, key: Any) -> int:
        return bisect.bisect_left(list(self), key)

    def bisect_right(self, key: Any) -> int:
        return bisect.bisect_right(list(self), key)

    bisect = bisect_right

    def index(self, key: Any, start: int = 0, stop: int | None = None) -> int:
        first, last, _ = slice(start, stop).indices(len(self))
        return list(self).index(key, first, last)

    def peekitem(self, index: int = -1) -> Any:
        return self.items()[index]

    def popitem(self, index: int = -1) -> Any:
        if not self:
            raise KeyError
        pair = self.items()[index]
        del self[pair[0]]
        return pair

    def irange(
        self,
        minimum: Any = None,
        maximum: Any = None,
        inclusive: tuple[bool, bool] = (True, True),
        reverse: bool = False,
    ) -> Any:
        found = list(self)
        if minimum is not None:
            found = [key for key in found if key > minimum or (inclusive[0] and key == minimum)]
        if maximum is not None:
            found = [key for key in found if key < maximum or (inclusive[1] and key == maximum)]
        return found[::-1] if reverse else found

    def islice(self, start: int | None = None, stop: int | None = None, reverse: bool = False) -> Any:
        return list(self)[start:stop][:: -1 if reverse else 1]


PLAIN: list[dict[Any, Any]] = [
    {},
    {1: "a"},
    {3: [LONG], 1: LONG, 2.5: None, -7: (1, [2]), 1 << 80: 2, Fraction(1, 3): 3, Decimal("0.1"): 4},
    {i * 37 % 500: i for i in range(500)},
]
CALLS: list[Callable[[Any], Any]] = [
    len,
    bool,
    list,
    lambda d: list(reversed(d)),
    lambda d: list(d.keys()),
    lambda d: list(d.values()),
    lambda d: list(d.items()),
    lambda d: d[1],
    lambda d: d[1.0],
    lambda d: d[2],
    lambda d: d["x"],
    lambda d: d[[]],
    lambda d: 1 in d,
    lambda d: "x" in d,
    lambda d: None in d,
    lambda d: math.nan in d,
    lambda d: [] in d,
    lambda d: d.get(3),
    lambda d: d.get("x", 5),
    lambda d: d.__setitem__(1, "new"),
    lambda d: d.__setitem__(1.5, {"x": [LONG]}),
    lambda d: d.__setitem__([], 1),
    lambda d: d.__delitem__(1),
    lambda d: d.__delitem__(99.5),
    lambda d: d.__delitem__("x"),
    lambda d: d.pop(1),
    lambda d: d.pop(99.5),
    lambda d: d.pop(99.5, 6),
    lambda d: d.popitem(),
    lambda d: d.popitem(0),
    lambda d: d.popitem(3),
    lambda d: d.popitem(-2),
    lambda d: d.popitem(5000),
    lambda d: d.peekitem(),
    lambda d: d.peekitem(0),
    lambda d: d.peekitem(-2),
    lambda d: d.peekitem(5000),
    lambda d: d.setdefault(1),
    lambda d: d.setdefault(99.5, [1]),
    lambda d: d.setdefault(99.5),
    lambda d: d.update({2: 3, 99.5: 4}),
    lambda d: d.update([(2, 3), (99.5, 4)]),
    lambda d: d.update(5),
    lambda d: d.clear(),
    lambda d: d.bisect(2),
    lambda d: d.bisect_left(2),
    lambda d: d.bisect_right(2.5),
    lambda d: d.index(1),
    lambda d: d.index(99.5),
    lambda d: d.index(3, 1),
    lambda d: d.index(3, -2, 400),
    lambda d: list(d.irange()),
    lambda d: list(d.irange(1, 3)),
    lambda d: list(d.irange(1, 3, (False, True))),
    lambda d: list(d.irange(1, 3, (True, False), reverse=True)),
    lambda d: list(d.irange(None, 2)),
    lambda d: list(d.irange(2.25, None, reverse=True)),
    lambda d: list(d.irange(3, 1)),
    lambda d: list(d.islice()),
    lambda d: list(d.islice(1, 3)),
    lambda d: list(d.islice(-3, None, True)),
    lambda d: list(d.islice(5, 2)),
    lambda d: d == {1: "a"},
    lambda d: dict(PLAIN[1]) == d,
    lambda d: d != {},
    lambda d: d == [],
    lambda d: list((d | {2: 0}).items()) and dict(d | {2: 0}),
    lambda d: {2: 0, 1: 0} | d,
    lambda d: d | [],
    lambda d: dict(d.copy()),
    lambda d: dict(copy.copy(d)),
    lambda d: dict(copy.deepcopy(d)),
    lambda d: dict(pickle.loads(pickle.dumps(d))),
    lambda d: d < {},
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("plain", PLAIN)
def test_methods_do_what_the_model_does(heap: mheap.Heap, plain: dict[Any, Any], call: Any) -> None:
    persistent = stored(heap, plain)
    model = Model(plain)
    assert type(persistent) is PersistentSortedDict
    assert outcome(lambda: call(persistent)) == outcome(lambda: call(model))
    assert persistent == dict(model)
    assert list(persistent) == list(model)


SLICES = [slice(None), slice(2, 5), slice(-3, None), slice(None, None, -1), slice(9, 1, -3), slice(1, 90, 7)]


@pytest.mark.parametrize("plain", PLAIN)
def test_views_are_sequences(heap: mheap.Heap, plain: dict[Any, Any]) -> None:
    persistent = stored(heap, plain)
    keys = sorted(plain)
    for view, expected in (
        (persistent.keys(), keys),
        (persistent.values(), [plain[key] for key in keys]),
        (persistent.items(), [(key, plain[key]) for key in keys]),
    ):
        assert isinstance(view, Sequence)
        assert len(view) == len(expected)
        assert list(view) == expected
        assert list(reversed(view)) == expected[::-1]
        for part in SLICES:
            assert view[part] == expected[part]
        for i in (0, 1, -1, -3, 4, 1000):
            assert outcome(lambda i=i, view=view: view[i]) == outcome(lambda i=i, e=expected: e[i])  # type: ignore[misc]
        for item in expected[:9]:
            assert item in view
            assert view.index(item) == expected.index(item)
            assert view.count(item) == expected.count(item)
        assert object not in view
        assert view.count("absent") == 0
        with pytest.raises(ValueError, match="not in list"):
            view.index("absent")
    assert isinstance(persistent.keys(), Set)
    assert persistent.keys() & {1} == plain.keys() & {1}
    assert persistent.keys().bisect(2) == bisect.bisect(keys, 2)
    assert persistent.keys().bisect_left(1) == bisect.bisect_left(keys, 1)


def test_text_and_patterns(heap: mheap.Heap) -> None:
    d = stored(heap, {"id": 1, "b": [2]})
    assert repr(d) == "PersistentSortedDict({'b': [2], 'id': 1})"
    assert repr(d.keys()) == "SortedKeys(['b', 'id'])"
    d["me"] = d
    assert repr(d) == "PersistentSortedDict({'b': [2], 'id': 1, 'me': {...}})"
    del d["me"]
    assert isinstance(d, MutableMapping)
    match d:
        case {"id": number, **rest}:
            assert (number, rest) == (1, {"b": [2]})
        case _:
            pytest.fail("no match")
    assert json.dumps(d, default=mheap.to_python) == '{"b": [2], "id": 1}'
    assert heap.root["stored"] == {"b": [2], "id": 1}
    heap.root["plain"] = {"id": 1, "b": [2]}
    assert heap.root["plain"] == d == heap.root["plain"]
    plain: Any = heap.root["plain"]
    assert plain | d == {"id": 1, "b": [2]}
    same: Any = d
    same |= {"c": 1}
    assert same is d
    assert list(d) == ["b", "c", "id"]


# ---- keys ----

NUMBERS = st.one_of(
    st.integers(),
    st.integers(-(1 << 200), 1 << 200),
    st.booleans(),
    st.floats(allow_nan=False),
    st.fractions(),
    st.decimals(allow_nan=False, places=3, min_value=-1000, max_value=1000),
)
ZONES = st.sampled_from([dt.timezone.utc, dt.timezone(dt.timedelta(hours=-7, minutes=30))])
FAMILIES: dict[str, st.SearchStrategy[Any]] = {
    "numbers": NUMBERS,
    "str": st.text(),
    "str of few characters": st.text("ab\0é\u0100\U00010000", max_size=12),
    "bytes": st.binary(max_size=20),
    "dates": st.dates(),
    "datetimes": st.datetimes(),
    "aware datetimes": st.datetimes(timezones=ZONES),
    "times": st.times(),
    "timedeltas": st.timedeltas(),
    "uuids": st.uuids(),
    "tuples": st.tuples(st.text("ab", max_size=2) | st.just("a text that is long"), NUMBERS),
    "nested": st.tuples(
        st.integers(0, 2), st.lists(st.tuples(st.none(), st.integers(0, 3)), max_size=2).map(tuple)
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_keys_are_in_pythons_order(family: str) -> None:
    @given(st.lists(FAMILIES[family], max_size=60))
    def run(keys: list[Any]) -> None:
        with mheap.attach(-1) as heap:
            persistent = stored(heap, {})
            plain = {}
            for i, key in enumerate(keys):
                persistent[key] = plain[key] = i
            expected = sorted(plain)
            assert list(persistent) == expected
            assert persistent == plain
            for key in keys[:10]:
                assert persistent.bisect_left(key) == bisect.bisect_left(expected, key)
                assert persistent.bisect_right(key) == bisect.bisect_right(expected, key)
            for order in (expected, expected[::2] + expected[1::2]):
                assert list(stored(heap, {key: plain[key] for key in order}).items()) == [
                    (key, plain[key]) for key in expected
                ]
            for key in keys[::2]:
                persistent.pop(key, None)
                plain.pop(key, None)
            assert list(persistent.items()) == [(key, plain[key]) for key in sorted(plain)]
            assert heap.check()

    run()


OF_EACH: dict[str, Any] = {
    "int": 1,
    "str": "a",
    "bytes": b"a",
    "date": dt.date(2000, 1, 1),
    "datetime": dt.datetime(2000, 1, 1),
    "aware": dt.datetime(2000, 1, 1, tzinfo=dt.timezone.utc),
    "time": dt.time(1),
    "timedelta": dt.timedelta(1),
    "uuid": uuid.UUID(int=5),
    "tuple": (1, 2),
    "tuple of str": ("a",),
}
NEVER: list[Any] = [None, math.nan, 1j, frozenset(), range(3), (1, math.nan), (1j, 2), Path("/")]


@pytest.mark.parametrize("there", OF_EACH)
def test_keys_without_an_order_are_refused(heap: mheap.Heap, there: str) -> None:
    key = OF_EACH[there]
    persistent = stored(heap, {key: [LONG]})
    others = [other for name, other in OF_EACH.items() if name != there]
    for other in [*others, *NEVER]:
        with pytest.raises(TypeError, match="has no order"):
            persistent[other] = [LONG]
        with pytest.raises(TypeError, match="has no order"):
            persistent.setdefault(other, [LONG])
        with pytest.raises(TypeError, match="has no order"):
            persistent.bisect(other)
        if other is not None:
            with pytest.raises(TypeError, match="has no order"):
                persistent.irange(other, key)
        assert other not in persistent
        assert persistent.get(other) is None
        with pytest.raises(KeyError):
            del persistent[other]
    with pytest.raises(TypeError):
        persistent[object()] = 1
    assert persistent == {key: [LONG]}
    for other in NEVER:
        empty = stored(heap, {})
        with pytest.raises(TypeError, match="has no order"):
            empty[other] = 1
        assert len(empty) == 0
        with pytest.raises(TypeError, match="has no order"):
            stored(heap, {other: 1})
        with pytest.raises(TypeError, match="has no order"):
            stored(heap, {key: [LONG], other: [LONG]})


def test_what_is_stored_at_once_is_so_or_not_at_all(heap: mheap.Heap) -> None:
    heap.root["x"] = 5
    before = heap.stats().chunks_used
    for count in (1, 15, 16, 226, 1000):
        items: dict[Any, Any] = {i: [f"{LONG} {i}"] for i in range(count)}
        with pytest.raises(TypeError, match="has no order"):
            heap.root["x"] = SortedDict(items | {"x": {LONG: LONG}})
    assert heap.root["x"] == 5
    assert heap.stats().chunks_used == before


def test_derived_sorted_dicts_are_refused(heap: mheap.Heap) -> None:
    class Derived(SortedDict):
        pass

    with pytest.raises(TypeError, match="not Derived"):
        heap.root["x"] = Derived()


def test_changes_during_iteration_are_noticed(heap: mheap.Heap) -> None:
    d = stored(heap, {i: i for i in range(50)})
    changes: list[Callable[[], Any]] = [
        lambda: d.__setitem__(0.5, 1),
        lambda: d.pop(7),
        lambda: d.popitem(),
        d.clear,
    ]
    for change in changes:
        for iterator in (iter(d), reversed(d), d.irange(3), d.islice(2), iter(d.items()), iter(d.values())):
            next(iterator)
            d[20] = "replacing a value is no such change"
            next(iterator)
        iterator = iter(d)
        next(iterator)
        change()
        with pytest.raises(RuntimeError, match="changed during iteration"):
            next(iterator)
        assert list(iterator) == []


def test_iterators_have_hints_and_pickle(heap: mheap.Heap) -> None:
    d = stored(heap, {i: i for i in range(50)})
    iterator = d.irange(10, 20)
    assert iterator.__length_hint__() == 11
    next(iterator)
    assert list(pickle.loads(pickle.dumps(iterator))) == list(range(11, 21))
    assert list(iterator) == list(range(11, 21))
    assert iterator.__length_hint__() == 0


def test_it_is_copied_from_heap_to_heap(heap: mheap.Heap) -> None:
    d = stored(heap, {i: [i] for i in range(100)})
    with mheap.attach(-1) as other:
        other.root["copy"] = d
        d[5] = 6
        assert type(other.root["copy"]) is PersistentSortedDict
        assert other.root["copy"] == {i: [i] for i in range(100)}
        assert other.check()


def test_a_reader_sees_whole_commits(heap_path: Path) -> None:
    with mheap.open(heap_path) as writer:
        writer.root["d"] = SortedDict({i: i for i in range(100)})
        writer.commit()
        with mheap.open(heap_path, mode="readonly") as reader:
            d = reader.root["d"]
            assert list(d) == list(range(100))
            begun, reverse, ranged = iter(d), reversed(d), d.irange(50)
            first = next(begun), next(reverse), next(ranged)
            for i in range(100, 1000):
                writer.root["d"][i] = i
            writer.commit()
            assert [*first, *begun][2:] == [50, *range(1, 100)]
            assert list(reverse) == list(range(98, -1, -1))
            assert list(ranged) == list(range(51, 100))
            del begun, reverse, ranged
            assert list(d) == list(range(1000))
            assert len(d) == 1000
            assert d.peekitem() == (999, 999)
            assert d.keys()[-3:] == [997, 998, 999]
            with pytest.raises(mheap.ReadOnlyHeap):
                d[1] = 2
            with pytest.raises(mheap.ReadOnlyHeap):
                d.popitem()
            assert d == writer.root["d"].to_python()


# ---- kills ----

WORKER = """
import random, sys, mheap
heap = mheap.open(sys.argv[1], mode="live")
d = heap.root.setdefault("sorted", mheap.SortedDict())
print("ready", flush=True)
while True:
    n = random.randrange(4000)
    if random.randrange(len(d) + 1) < 1000:
        d[f"{n:04d} and more than a word"] = [n]
    else:
        d.popitem(random.randrange(len(d)))
"""


def test_a_kill_leaves_a_sound_tree(heap_path: Path) -> None:
    seen = 0
    for heap in killed(WORKER, heap_path):
        d = heap.root["sorted"]
        keys = list(d)
        assert keys == sorted(keys)
        assert len(d) == len(keys)
        assert all(int(key[:4]) == value[0] for key, value in d.items())
        for i in range(0, len(keys), 50):
            assert d.peekitem(i)[0] == keys[i]
            assert d.bisect_left(keys[i]) == i
        d["0000 and more than a word"] = [0]
        assert len(d) == len(list(d))
        heap.collect()
        assert heap.check()
        seen = max(seen, len(keys))
    assert seen > 300


# ---- a state machine ----

KEYS = st.integers(0, 400) | st.floats(0, 400) | st.fractions(0, 400, max_denominator=7)


class Machine(HeapMachine):
    @initialize()
    def start(self) -> None:
        self.begin()
        self.heap.root["d"] = SortedDict()
        self.plain = Model()

    @property
    def d(self) -> Any:
        return self.heap.root["d"]

    @rule(key=KEYS, value=st.integers() | st.text())
    def set(self, key: Any, value: Any) -> None:
        self.d[key] = self.plain[key] = value

    @rule(keys=st.lists(KEYS, max_size=80))
    def update(self, keys: list[Any]) -> None:
        pairs = [(key, [key]) for key in keys]
        self.d.update(pairs)
        self.plain.update(pairs)

    @rule(first=st.integers(0, 300), count=st.integers(0, 200), step=st.sampled_from([1, -1]))
    def rise_or_fall(self, first: int, count: int, step: int) -> None:
        for n in range(first, first + count)[::step]:
            self.d[n] = self.plain[n] = n

    @rule(key=KEYS)
    def pop(self, key: Any) -> None:
        assert self.d.pop(key, None) == self.plain.pop(key, None)

    @precondition(lambda self: self.plain)
    @rule(data=st.data())
    def popitem(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(-len(self.plain), len(self.plain) - 1))
        assert self.d.popitem(index) == self.plain.popitem(index)

    @rule(low=KEYS, high=KEYS, inclusive=st.tuples(st.booleans(), st.booleans()), reverse=st.booleans())
    def irange(self, low: Any, high: Any, inclusive: tuple[bool, bool], reverse: bool) -> None:
        expected = self.plain.irange(low, high, inclusive, reverse)
        assert list(self.d.irange(low, high, inclusive, reverse)) == expected

    @rule(low=KEYS, high=KEYS)
    def remove_range(self, low: Any, high: Any) -> None:
        for key in list(self.d.irange(low, high)):
            del self.d[key], self.plain[key]

    @rule(key=KEYS)
    def bisect(self, key: Any) -> None:
        assert self.d.bisect_left(key) == self.plain.bisect_left(key)
        assert self.d.bisect_right(key) == self.plain.bisect_right(key)

    @rule()
    def clear(self) -> None:
        self.d.clear()
        self.plain.clear()

    @rule()
    def collect(self) -> None:
        self.heap.collect()

    @invariant()
    def is_like_the_model(self) -> None:
        if not hasattr(self, "heap"):
            return
        assert list(self.d.items()) == self.plain.items()
        assert len(self.d) == len(self.plain)
        if self.plain:
            middle = len(self.plain) // 2
            assert self.d.peekitem(middle) == self.plain.peekitem(middle)
        assert self.heap.check()

    def teardown(self) -> None:
        if hasattr(self, "heap"):
            self.end()


class AtomicMachine(Committing, Machine):
    @initialize()
    def start(self) -> None:
        super().start()
        self.commit()

    @rule()
    def rollback(self) -> None:
        self.heap.rollback()
        self.as_committed()


TestMachine = Machine.TestCase
TestMachine.settings = SETTINGS
TestAtomicMachine = AtomicMachine.TestCase
TestAtomicMachine.settings = SETTINGS
