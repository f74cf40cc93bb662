"""PersistentCounter against collections.Counter: every method, counting, and what it stores."""

from __future__ import annotations

import collections
import copy
import json
import operator
import pickle
import sys
import types
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kills import killed

import mheap
from mheap.counter import PersistentCounter

LONG = "an element that is long"


def outcome(work: Callable[[], Any]) -> Any:
    """What it returns, or the type of what it raises."""
    try:
        return work()
    except Exception as error:
        return type(error)


COUNTERS: list[Counter[Any]] = [
    Counter(),
    Counter(a=1),
    Counter({"a": 3, LONG: 2, (1, LONG): 1, None: -1, 0.5: 0}),
    Counter({i % 7: i for i in range(-5, 90)}),
]
OTHERS: list[Any] = [Counter(), Counter(a=2, b=-1, c=0), {"a": 1}, Counter({LONG: 5, 3: 2}), 5, [1, 2]]

CALLS: list[Callable[[Any], Any]] = [
    len,
    bool,
    dict,
    list,
    lambda c: c["a"],
    lambda c: c["absent"],
    lambda c: c.get("absent"),
    lambda c: c[[]],
    lambda c: "absent" in c,
    lambda c: c.__setitem__("a", 10),
    lambda c: c.__setitem__("new", [1]),
    lambda c: c.__delitem__("a"),
    lambda c: c.__delitem__("absent"),
    lambda c: c.__delitem__([]),
    lambda c: c.pop("a"),
    lambda c: c.pop("absent"),
    lambda c: c.popitem(),
    lambda c: c.setdefault("a"),
    lambda c: c.setdefault("absent", 4),
    lambda c: c.clear(),
    lambda c: c.total(),
    lambda c: c.most_common(),
    lambda c: c.most_common(2),
    lambda c: list(c.elements()),
    lambda c: c.update(),
    lambda c: c.update(None),
    lambda c: c.update("abca"),
    lambda c: c.update([LONG, LONG, None, True, 1.0, (1, LONG), Fraction(1, 2), 0.5, b"b", 1 << 90]),
    lambda c: c.update({"a": 5, "b": -5}),
    lambda c: c.update("ab", a=7),
    lambda c: c.update(self=1, iterable=2),
    lambda c: c.update(5),
    lambda c: c.update([[]]),
    lambda c: c.subtract("abca"),
    lambda c: c.subtract({"a": 5, "b": -5}),
    lambda c: c.subtract("ab", a=7),
    lambda c: c.subtract(5),
    lambda c: +c,
    lambda c: -c,
    lambda c: c.copy(),
    lambda c: copy.copy(c),
    lambda c: copy.deepcopy(c),
    lambda c: pickle.loads(pickle.dumps(c)),
    lambda c: [c == other for other in OTHERS],
    lambda c: [other == c for other in OTHERS],
]
BINARY = [
    operator.add,
    operator.sub,
    operator.or_,
    operator.and_,
    operator.le,
    operator.lt,
    operator.ge,
    operator.gt,
    operator.eq,
    operator.ne,
]
IN_PLACE = [operator.iadd, operator.isub, operator.ior, operator.iand]


@pytest.fixture
def heap() -> Iterator[mheap.Heap]:
    with mheap.attach(-1) as heap:
        yield heap
        findings: list[mheap.Finding] = []
        heap.check(findings.append)
        assert findings == []


def stored(heap: mheap.Heap, value: Any) -> Any:
    heap.root["stored"] = value
    return heap.root["stored"]


def same(persistent: Any, plain: Any) -> bool:
    return list(persistent.items()) == list(plain.items())


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("plain", COUNTERS)
def test_methods_do_what_a_counter_does(heap: mheap.Heap, plain: Counter[Any], call: Any) -> None:
    persistent = stored(heap, plain)
    assert type(persistent) is PersistentCounter
    plain = plain.copy()
    expected = outcome(lambda: call(plain))
    assert outcome(lambda: call(persistent)) == expected
    assert same(persistent, plain)


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("plain", COUNTERS[:3])
def test_operators_do_what_a_counters_do(heap: mheap.Heap, plain: Counter[Any], other: Any) -> None:
    persistent = stored(heap, plain)
    heap.root["other"] = other
    for work in BINARY:
        if type(other) is dict and work not in (operator.eq, operator.ne):
            continue  # dict has | of its own, for Counters too
        expected = outcome(lambda work=work: work(plain, other))  # type: ignore[misc]
        assert outcome(lambda work=work: work(persistent, other)) == expected  # type: ignore[misc]
        if type(other) is Counter:
            assert work(persistent, heap.root["other"]) == expected
            assert work(plain, heap.root["other"]) == expected
            assert type(work(plain, persistent)) in (bool, Counter)


@pytest.mark.parametrize("work", IN_PLACE)
@pytest.mark.parametrize("other", OTHERS[:4])
@pytest.mark.parametrize("plain", COUNTERS)
def test_operators_in_place(heap: mheap.Heap, plain: Counter[Any], other: Any, work: Any) -> None:
    if type(other) is dict and work is operator.iand:
        return  # raises KeyError in both, in the middle
    persistent = stored(heap, plain)
    plain = plain.copy()
    work(plain, other)
    assert work(persistent, other) is persistent
    assert same(persistent, plain)


def test_text_is_in_the_order_of_counts(heap: mheap.Heap) -> None:
    assert repr(stored(heap, Counter("abracadabra")))[:40] == "PersistentCounter({'a': 5, 'b': 2, 'r': 2"[:40]
    assert repr(stored(heap, Counter())) == "PersistentCounter()"
    assert repr(stored(heap, Counter({"a": None, "b": 1}))) == "PersistentCounter({'a': None, 'b': 1})"
    circle = stored(heap, [Counter()])[0]
    circle["me"] = circle
    assert repr(circle) == "PersistentCounter({'me': {...}})"
    del circle["me"]


def test_a_missing_key_is_read_as_0_and_not_stored(heap: mheap.Heap) -> None:
    counts = stored(heap, Counter())
    assert counts["a"] == counts[(1, 2)] == counts[object] == 0
    assert len(counts) == 0
    with pytest.raises(TypeError, match="unhashable"):
        counts[[]]


def test_counts_grow_beyond_what_a_word_holds(heap: mheap.Heap) -> None:
    counts = stored(heap, Counter({"a": (1 << 59) - 2, "b": 1 << 200, "c": 0.5}))
    counts.update("aaabc")
    assert dict(counts) == {"a": (1 << 59) + 1, "b": (1 << 200) + 1, "c": 1.5}
    counts["d"] = "text"
    with pytest.raises(TypeError):
        counts.update("d")
    assert counts["d"] == "text"


def test_what_cannot_be_counted_is_not(heap: mheap.Heap) -> None:
    counts = stored(heap, Counter())
    with pytest.raises(TypeError, match="a key in a heap"):
        counts.update(["a", object(), "b"])
    assert dict(counts) == {"a": 1}


def test_derived_counters_are_refused(heap: mheap.Heap) -> None:
    class Derived(Counter[str]):
        pass

    with pytest.raises(TypeError, match="not Derived"):
        heap.root["x"] = Derived("a")


class Failing(types.ModuleType):
    """collections where there is no memory for what it is asked."""

    def __getattr__(self, name: str) -> Any:
        if name == "Counter":
            raise MemoryError
        return getattr(collections, name)


@pytest.mark.parametrize("make", [Counter, lambda text: [Counter(text)]], ids=["alone", "in a list"])
def test_what_fails_while_its_class_is_looked_for_is_told(
    heap: mheap.Heap, monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    heap.root["before"] = 1
    value = make("text")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "collections", Failing("collections"))
        with pytest.raises(MemoryError):
            heap.root["counter"] = value
    assert heap.root == {"before": 1}
    heap.root["counter"] = value
    assert heap.check()


def test_json_and_nesting(heap: mheap.Heap) -> None:
    counts = stored(heap, {"inner": [Counter(a=1)]})
    assert json.loads(json.dumps(counts, default=mheap.to_python)) == {"inner": [{"a": 1}]}
    plain = counts.to_python()
    assert type(plain["inner"][0]) is Counter
    assert counts == plain
    assert counts["inner"][0] == {"a": 1}
    assert counts["inner"][0] != {"a": 1, "b": 0}
    assert counts["inner"][0] == Counter(a=1, b=0)


def test_a_counter_is_copied_from_heap_to_heap(heap: mheap.Heap) -> None:
    counts = stored(heap, Counter({"a": 2, LONG: [1]}))
    with mheap.attach(-1) as other:
        other.root["copy"] = counts
        counts["a"] += 1
        assert other.root["copy"] == Counter({"a": 2, LONG: [1]})
        assert type(other.root["copy"]) is PersistentCounter


WORKER = """
import itertools, sys, mheap
from collections import Counter
heap = mheap.open(sys.argv[1], mode="live")
counts = heap.root.setdefault("counts", Counter())
print("ready", flush=True)
elements = [f"element number {i}" for i in range(50)]
counts.update(itertools.islice(itertools.cycle(elements), counts.total() % 50, None))
"""


def test_a_kill_loses_no_count(heap_path: Path) -> None:
    before = 0
    for heap in killed(WORKER, heap_path):
        counts = heap.root["counts"]
        total = counts.total()
        assert total >= before
        assert list(counts.values()) == [total // 50 + (i < total % 50) for i in range(len(counts))]
        before = total
    assert before > 1000


KEYS = st.one_of(
    st.text(max_size=9), st.integers(), st.booleans(), st.floats(allow_nan=False), st.tuples(st.integers())
)


@given(st.lists(st.lists(KEYS)))
def test_counting_is_what_a_counter_does(batches: list[list[Any]]) -> None:
    plain: Counter[Any] = Counter()
    with mheap.attach(-1) as heap:
        persistent = stored(heap, plain)
        for batch in batches:
            plain.update(batch)
            persistent.update(batch)
            assert same(persistent, plain)
            assert persistent == plain
        assert heap.check()
