"""PersistentSet and PersistentDeque against set and collections.deque: every method, and a state
machine with reattaching, commits and rollbacks as steps."""

from __future__ import annotations

import copy
import gc
import json
import operator
import pickle
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, MutableSequence, MutableSet
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule
from kills import killed
from machines import SETTINGS, Committing, HeapMachine

import mheap
from mheap.objects import PersistentDeque, PersistentSet


def outcome(work: Callable[[], Any]) -> Any:
    """What it returns, or the type of what it raises."""
    try:
        return work()
    except Exception as error:
        return type(error)


def stored(heap: mheap.Heap, value: Any) -> Any:
    heap.root["stored"] = value
    return heap.root["stored"]


# ---- sets: every method ----

LONG = "a member that is long"
SETS: list[set[Any]] = [
    set(),
    {1},
    {1, "two", LONG, None, 0.5, b"b", 1 << 80},
    set(range(50)) | {LONG},
]
OTHERS: list[Any] = [
    set(),
    {1, 7},
    frozenset({LONG, 2}),
    [1, 1, LONG],
    "ab",
    {1: 2}.keys(),
    {LONG: 1},
    5,
    [[]],
]

SET_CALLS: list[Callable[[Any], Any]] = [
    len,
    bool,
    set,
    lambda s: 1 in s,
    lambda s: 1.0 in s,
    lambda s: "absent" in s,
    lambda s: [] in s,
    lambda s: {1} in s,
    lambda s: s.add(1),
    lambda s: s.add(LONG + "er"),
    lambda s: s.add([]),
    lambda s: s.add(),
    lambda s: s.discard(LONG),
    lambda s: s.discard("absent"),
    lambda s: s.discard([]),
    lambda s: s.discard({1}),
    lambda s: s.remove(1),
    lambda s: s.remove("absent"),
    lambda s: s.remove({1}),
    lambda s: len([s.pop() for _ in range(len(s))]),
    lambda s: [s.pop() for _ in range(len(s) + 1)],
    lambda s: s.clear(),
    lambda s: s.update(),
    lambda s: s.update([1, 2], {3}, "ab"),
    lambda s: s.update(s),
    lambda s: s.union([1, 2], {3}),
    lambda s: s.union(),
    lambda s: s.intersection([1, 2], {1}),
    lambda s: s.intersection(),
    lambda s: s.difference([1, 2], {LONG}),
    lambda s: s.difference(),
    lambda s: s.intersection_update([1, 2], {1}),
    lambda s: s.intersection_update(s),
    lambda s: s.difference_update([1, 2], {LONG}),
    lambda s: s.difference_update(s),
    lambda s: s.symmetric_difference_update(s),
    lambda s: s.__isub__(s) is s,
    lambda s: s.__ixor__(s) is s,
    lambda s: s.__iand__(s) is s,
    lambda s: s.__ior__(s) is s,
    lambda s: s.copy(),
    lambda s: s == s.copy(),
    lambda s: s == None,  # noqa: E711
    lambda s: s != {1},
    lambda s: hash(s),
    lambda s: [s.add(1000 + i) for i, _ in enumerate(s)] and None,
    lambda s: [s.discard(item) for item in s] and None,
    lambda s: iter(s).__length_hint__(),
    *[lambda s, o=o, f=f: f(s, o) for o in OTHERS for f in (operator.or_, operator.and_, operator.sub)],
    *[lambda s, o=o, f=f: f(o, s) for o in OTHERS for f in (operator.or_, operator.and_, operator.sub)],
    *[lambda s, o=o: s ^ o for o in OTHERS],
    *[lambda s, o=o: o ^ s for o in OTHERS],
    *[
        lambda s, o=o, f=f: f(s, o)
        for o in OTHERS
        for f in (operator.eq, operator.ne, operator.le, operator.lt, operator.ge, operator.gt)
    ],
    *[
        lambda s, o=o, f=f: f(o, s)
        for o in OTHERS
        for f in (operator.eq, operator.ne, operator.le, operator.lt, operator.ge, operator.gt)
    ],
    *[
        lambda s, o=o, f=f: f(s, o) is s
        for o in OTHERS
        if isinstance(o, (set, frozenset, int, list))
        for f in (operator.ior, operator.iand, operator.isub, operator.ixor)
    ],
    *[
        lambda s, o=o, name=name: getattr(s, name)(o)
        for o in OTHERS
        for name in (
            *("union", "intersection", "difference", "symmetric_difference"),
            *("intersection_update", "difference_update", "symmetric_difference_update"),
            *("isdisjoint", "issubset", "issuperset"),
        )
    ],
    *[lambda s, o=o: s.update(o) for o in OTHERS if o != [[]]],
]


@pytest.mark.parametrize("members", SETS, ids=len)
def test_a_set_method_does_what_set_does(anonymous: mheap.Heap, members: set[Any]) -> None:
    for number, call in enumerate(SET_CALLS):
        plain, twin = set(members), stored(anonymous, members)
        expected, found = outcome(lambda: call(plain)), outcome(lambda: call(twin))  # noqa: B023
        assert (number, found) == (number, expected)
        if expected is not RuntimeError:
            assert (number, set(twin)) == (number, plain)
    assert anonymous.check()


def test_members_come_in_the_order_in_which_they_went_in(anonymous: mheap.Heap) -> None:
    s = stored(anonymous, set())
    s.update("cab", [1, "a"])
    s.discard("a")
    s.add("a")
    assert list(s) == ["c", "b", 1, "a"]
    assert list(reversed(s)) == ["a", 1, "b", "c"]
    assert repr(s) == "{'c', 'b', 1, 'a'}"
    assert s.pop() == "a"
    assert repr(stored(anonymous, set())) == "set()"


def test_a_set_is_a_set_to_all_that_ask(anonymous: mheap.Heap) -> None:
    s = stored(anonymous, {1, LONG})
    assert isinstance(s, MutableSet)
    assert type(s) is PersistentSet
    assert anonymous.root["stored"] is s
    assert [type(x) for x in (s | {2}, {2} | s, frozenset() | s, s.copy(), copy.copy(s))] == [
        *(set, set, frozenset, set, set)
    ]
    assert pickle.loads(pickle.dumps(s)) == copy.deepcopy(s) == s.to_python() == {1, LONG}
    assert type(pickle.loads(pickle.dumps(s))) is set
    assert json.loads(json.dumps({"s": s}, default=mheap.to_python)) == {"s": [*s]}
    assert json.loads(json.dumps(anonymous.root, default=mheap.to_python)) == {"stored": [*s]}


def test_a_set_refuses_what_is_no_key(anonymous: mheap.Heap) -> None:
    before = anonymous.stats().chunks_used
    for members in ({object()}, {1, type}):
        with pytest.raises(TypeError, match="a key in a heap is"):
            anonymous.root["s"] = members
    assert anonymous.stats().chunks_used == before
    s = stored(anonymous, {1})
    with pytest.raises(TypeError, match="a key in a heap is"):
        s.add(object())
    assert s == {1}


# ---- deques: every method ----

DEQUES: list[deque[Any]] = [
    deque(),
    deque([5]),
    deque([3, 1, 2]),
    deque([1, LONG, None, [1], {}, deque([{2}], 2)]),
    deque(range(50)),
    deque([1, 2], 2),
    deque([1, 2], 5),
    deque(maxlen=0),
    deque(range(20), 20),
]

DEQUE_CALLS: list[Callable[[Any], Any]] = [
    len,
    bool,
    list,
    repr,
    lambda d: list(reversed(d)),
    lambda d: d.maxlen,
    lambda d: setattr(d, "maxlen", 5),
    lambda d: d[0],
    lambda d: d[-1],
    lambda d: d[2],
    lambda d: d[100],
    lambda d: d[-100],
    lambda d: d["a"],
    lambda d: d[0:1],
    lambda d: 3 in d,
    lambda d: [1] in d,
    lambda d: "absent" in d,
    lambda d: d.append(4),
    lambda d: d.append([4, [5]]),
    lambda d: [d.append(i) for i in range(40)],
    lambda d: d.appendleft(LONG),
    lambda d: [d.appendleft(LONG) for i in range(40)],
    lambda d: [d.append(i) or d.appendleft(-i) for i in range(40)],
    lambda d: [d.append(d.popleft()) for _ in range(100)],
    lambda d: [d.appendleft(d.pop()) for _ in range(100)],
    lambda d: d.pop(),
    lambda d: d.popleft(),
    lambda d: d.pop(0),
    lambda d: [d.pop() for _ in range(len(d) + 1)],
    lambda d: [d.popleft() for _ in range(len(d) + 1)],
    lambda d: d.extend([4, LONG]),
    lambda d: d.extend(range(100)),
    lambda d: d.extend(iter("abc")),
    lambda d: d.extend(d),
    lambda d: d.extend(5),
    lambda d: d.extend([]),
    lambda d: d.extendleft([4, LONG]),
    lambda d: d.extendleft(range(100)),
    lambda d: d.extendleft(d),
    lambda d: d.rotate(),
    *[lambda d, n=n: d.rotate(n) for n in (0, 1, -1, 2, -2, 7, -7, 1000, -1001, sys.maxsize, -sys.maxsize)],
    lambda d: [d.rotate(1) for _ in range(70)],
    lambda d: [d.rotate(-3) for _ in range(70)],
    lambda d: d.rotate("a"),
    lambda d: d.rotate(1, 2),
    lambda d: d.insert(0, "first"),
    lambda d: d.insert(1, "second"),
    lambda d: d.insert(-1, "last but one"),
    lambda d: d.insert(100, "last"),
    lambda d: d.insert(-100, "first"),
    lambda d: d.insert("a", 1),
    lambda d: d.insert(1),
    lambda d: d.remove(2),
    lambda d: d.remove("absent"),
    lambda d: d.reverse(),
    lambda d: d.clear(),
    lambda d: d.count(1),
    lambda d: d.index(2),
    lambda d: d.index(2, 1),
    lambda d: d.index(2, -1, 100),
    lambda d: d.index("absent"),
    lambda d: d.copy(),
    lambda d: d.copy().maxlen,
    lambda d: d.__setitem__(0, "new text that is long"),
    lambda d: d.__setitem__(-1, [1]),
    lambda d: d.__setitem__(100, 1),
    lambda d: d.__delitem__(0),
    lambda d: d.__delitem__(1),
    lambda d: d.__delitem__(-1),
    lambda d: d.__delitem__(100),
    lambda d: d + deque([1]),
    lambda d: (d + deque([1])).maxlen,
    lambda d: deque([1], 3) + d,
    lambda d: (deque([1], 3) + d).maxlen,
    lambda d: operator.add(d, [1]),
    lambda d: d * 2,
    lambda d: 2 * d,
    lambda d: d * -1,
    lambda d: d * "a",
    lambda d: d.__iadd__([1]) is d,
    lambda d: d.__iadd__(d) is d,
    lambda d: d.__iadd__(5),
    *[lambda d, n=n: d.__imul__(n) is d for n in (-1, 0, 1, 2, 3, 50)],
    lambda d: d == deque([3, 1, 2]),
    lambda d: deque([3, 1, 2]) == d,
    lambda d: d == [3, 1, 2],
    lambda d: d != deque([5]),
    lambda d: d < deque([3, 1, 3]),
    lambda d: d <= deque([3, 1, 2]),
    lambda d: deque([3, 1]) > d,
    lambda d: d >= deque([5]),
    lambda d: d < [1],
    lambda d: hash(d),
    lambda d: [d.append(1) for _ in d],
    lambda d: [d.pop() for _ in d],
    lambda d: [(d.append(1), d.pop()) for _ in d],
    lambda d: [d.rotate(1) for _ in d],
    lambda d: [d.__setitem__(0, 1) for _ in d],
    lambda d: iter(d).__length_hint__(),
]


@pytest.mark.parametrize("items", DEQUES, ids=repr)
def test_a_deque_method_does_what_deque_does(anonymous: mheap.Heap, items: deque[Any]) -> None:
    for number, call in enumerate(DEQUE_CALLS):
        plain, twin = items.copy(), stored(anonymous, items)
        assert (twin.maxlen, list(twin)) == (plain.maxlen, list(plain))
        expected, found = outcome(lambda: call(plain)), outcome(lambda: call(twin))  # noqa: B023
        assert (number, found) == (number, expected)
        assert (number, list(twin)) == (number, list(plain))
    assert anonymous.check()


def test_a_deque_is_a_deque_to_all_that_ask(anonymous: mheap.Heap) -> None:
    d = stored(anonymous, deque([1, [2], {3}], 4))
    assert isinstance(d, MutableSequence)
    assert type(d) is PersistentDeque
    assert anonymous.root["stored"] is d
    for plain in (pickle.loads(pickle.dumps(d)), copy.deepcopy(d), d.to_python(), d.copy(), copy.copy(d)):
        assert type(plain) is deque
        assert plain.maxlen == 4
        assert plain == d
    assert json.loads(json.dumps({"d": d}, default=mheap.to_python)) == {"d": [1, [2], [3]]}
    match d:
        case [1, *rest]:
            assert len(rest) == 2
        case _:
            pytest.fail("no sequence")


@pytest.mark.parametrize("says", [True, False])
def test_comparing_may_change_a_deque_and_is_told(anonymous: mheap.Heap, says: bool) -> None:
    class Changes:
        def __eq__(self, other: object) -> bool:
            d.popleft()
            return says

        __hash__ = None  # type: ignore[assignment]

    works: list[Callable[[Any], Any]] = [lambda d: d.count(Changes()), lambda d: d.remove(Changes())]
    if not says:
        works += [lambda d: Changes() in d, lambda d: d.index(Changes())]
    for work in works:
        d = stored(anonymous, deque(range(5)))
        with pytest.raises(RuntimeError, match="deque mutated"):
            work(d)
        assert list(d) == [1, 2, 3, 4]


def test_the_text_of_a_deque_in_itself_ends(anonymous: mheap.Heap) -> None:
    d = stored(anonymous, deque([1], 3))
    d.append(d)
    d.append([d, set()])
    assert repr(d) == "deque([1, [...], [[...], set()]], maxlen=3)"
    plain = d.to_python()
    assert plain[1] is plain
    assert plain[2][0] is plain
    assert d == plain


def test_any_depth_of_deques_is_stored_compared_printed_and_freed(anonymous: mheap.Heap) -> None:
    depth = 100_000
    plain: Any = deque()
    for i in range(depth):
        plain = deque([plain]) if i % 2 else {"d": plain}
    before = anonymous.stats().chunks_used
    twin = stored(anonymous, plain)
    assert repr(twin).count("deque([") == depth // 2 + 1
    anonymous.root["other"] = plain
    assert twin == anonymous.root["other"]
    assert anonymous.check()
    back = twin.to_python()
    for value in (back, plain):  # CPython frees this with a stack that has an end
        pending = [value]
        while pending:
            inner = pending.pop()
            pending.extend(inner.values() if isinstance(inner, dict) else inner)
            inner.clear()
    del twin, anonymous.root["stored"], anonymous.root["other"]
    gc.collect()
    assert anonymous.stats().chunks_used <= before + 3  # the root and its table


def test_another_heaps_twins_are_copied(anonymous: mheap.Heap) -> None:
    anonymous.root["x"] = [deque([1, {2, LONG}], 3), {3}]
    with mheap.attach(-1) as other:
        other.root["x"] = anonymous.root["x"]
        anonymous.root["x"][0].append(5)
        assert other.root["x"] == [deque([1, {2, LONG}]), {3}]
        assert other.root["x"][0].maxlen == 3
        assert other.check()


def test_a_twin_that_is_gone_says_so(anonymous: mheap.Heap) -> None:
    for value in ({1}, deque([1])):
        twin = stored(anonymous, value)
        anonymous.root["stored"] = None
        assert len(twin) == 1  # the handle keeps it
    heap = mheap.attach(-1)
    s, d = stored(heap, {1}), stored(heap, deque([1]))
    heap.close()
    for twin in (s, d):
        with pytest.raises(mheap.ClosedHeap):
            len(twin)


def test_reading_needs_no_right_to_write(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        heap.root.update({"s": {1, 2}, "d": deque([1, 2], 3)})
    with mheap.open(heap_path, mode="readonly") as heap:
        s, d = heap.root["s"], heap.root["d"]
        assert (s, d) == ({1, 2}, deque([1, 2]))
        changes: list[Callable[[], Any]] = [
            *(lambda: s.add(3), lambda: s.discard(1), lambda: s.discard(7), s.pop, s.clear),
            *(lambda: d.append(3), lambda: d.appendleft(3), d.pop, d.popleft, d.rotate, d.clear),
            *(lambda: d.extend([1]), lambda: d.__setitem__(0, 1), lambda: d.insert(1, 1)),
        ]
        for change in changes:
            with pytest.raises(mheap.ReadOnlyHeap):
                change()
        assert (s, d) == ({1, 2}, deque([1, 2]))


# ---- the state machine ----

scalars = st.one_of(st.none(), st.integers(-3, 300), st.floats(allow_nan=False), st.text(max_size=12))
members = st.one_of(st.integers(0, 12), st.sampled_from(["a", LONG]), scalars)
values: st.SearchStrategy[Any] = st.recursive(
    scalars | st.sets(members, max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.builds(deque, st.lists(inner, max_size=3), st.none() | st.integers(0, 3))
    ),
    max_leaves=5,
)


class Machine(HeapMachine):
    """A set, a deque and one with a maxlen in a heap, beside plain ones."""

    @initialize()
    def start(self) -> None:
        self.begin()
        self.plain: dict[str, Any] = {"s": set(), "d": deque(), "b": deque(maxlen=5)}
        self.heap.root.update(self.plain)
        self.empty = self.heap.stats().chunks_used
        self.committed = copy.deepcopy(self.plain)
        if self.mode == "atomic":
            self.heap.commit(durable=False)

    def both(self, name: str, work: Callable[[Any], Any]) -> None:
        twin, plain = self.heap.root[name], self.plain[name]
        expected = outcome(lambda: work(plain))
        assert outcome(lambda: work(twin)) == expected

    @rule(member=members, name=st.sampled_from(["add", "discard", "remove"]))
    def one_member(self, member: Any, name: str) -> None:
        self.both("s", lambda s: getattr(s, name)(member))

    @rule(
        others=st.lists(st.sets(members, max_size=8), max_size=2),
        name=st.sampled_from(["update", "difference_update", "intersection_update"]),
    )
    def members_of_others(self, others: list[set[Any]], name: str) -> None:
        self.both("s", lambda s: getattr(s, name)(*others))

    @rule(other=st.sets(members, max_size=8))
    def combine(self, other: set[Any]) -> None:
        self.both("s", lambda s: (s | other, s & other, s - other, s ^ other, other - s, s <= other))
        self.both("s", lambda s: s.symmetric_difference_update(other))

    @rule()
    def pop_a_member(self) -> None:
        twin, plain = self.heap.root["s"], self.plain["s"]
        if plain:
            plain.remove(twin.pop())
        else:
            self.both("s", lambda s: s.pop())

    @rule(name=st.sampled_from("db"), value=values, how=st.sampled_from(["append", "appendleft"]))
    def append(self, name: str, value: Any, how: str) -> None:
        self.both(name, lambda d: getattr(d, how)(value))

    @rule(
        name=st.sampled_from("db"),
        new=st.lists(values, max_size=8),
        left=st.booleans(),
    )
    def extend(self, name: str, new: list[Any], left: bool) -> None:
        self.both(name, lambda d: d.extendleft(new) if left else d.extend(new))

    @rule(name=st.sampled_from("db"), how=st.sampled_from(["pop", "popleft", "reverse", "clear"]))
    def take(self, name: str, how: str) -> None:
        self.both(name, lambda d: getattr(d, how)())

    @rule(name=st.sampled_from("db"), steps=st.integers(-30, 30))
    def rotate(self, name: str, steps: int) -> None:
        self.both(name, lambda d: d.rotate(steps))

    @rule(name=st.sampled_from("db"), at=st.integers(-10, 10), value=values, how=st.integers(0, 2))
    def at(self, name: str, at: int, value: Any, how: int) -> None:
        works: list[Callable[[Any], Any]] = [
            lambda d: d.insert(at, value),
            lambda d: d.__setitem__(at, value),
            lambda d: d.__delitem__(at),
        ]
        self.both(name, works[how])

    @invariant()
    def it_is_as_the_model_is(self) -> None:
        assert self.heap.root == self.plain
        for name in "db":
            assert repr(self.heap.root[name]) == repr(self.plain[name]) or has_set(self.plain[name])
        findings: list[Any] = []
        self.heap.check(findings.append)
        assert findings == []

    def teardown(self) -> None:
        if not hasattr(self, "heap"):
            return
        for value in self.heap.root.values():
            value.clear()
        assert self.heap.stats().chunks_used == self.empty
        self.end()


def has_set(value: Any) -> bool:
    """Sets print in an order of their own."""
    return isinstance(value, set) or (isinstance(value, (list, deque)) and any(map(has_set, value)))


class AtomicMachine(Committing, Machine):
    @rule()
    def rollback(self) -> None:
        twins = [self.heap.root[name] for name in "sdb"]
        self.heap.rollback()
        self.as_committed()
        assert all(self.heap.root[name] is twin for name, twin in zip("sdb", twins, strict=True))


TestMachine = Machine.TestCase
TestMachine.settings = SETTINGS
TestAtomicMachine = AtomicMachine.TestCase
TestAtomicMachine.settings = SETTINGS


# ---- readers beside a writer ----


def test_a_reader_sees_whole_commits(heap_path: Path) -> None:
    def total(heap: mheap.Heap) -> Iterator[int]:
        yield len(heap.root["s"])
        yield len(heap.root["d"])

    with mheap.open(heap_path) as writer:
        writer.root.update({"s": set(), "d": deque(maxlen=100)})
        writer.commit()
        with mheap.open(heap_path, mode="readonly") as reader:
            for i in range(50):
                writer.root["s"].add(i)
                writer.root["d"].append(i)
                assert [*total(reader)] == [i, i]
                iterator = iter(reader.root["d"])
                writer.commit(durable=False)
                assert [*iterator] == [*range(i)]
                del iterator
                assert [*total(reader)] == [i + 1, i + 1]
                assert sorted(reader.root["s"]) == [*range(i + 1)]


# ---- killed ----

WORKER = """
import sys, mheap
from collections import deque
heap = mheap.open(sys.argv[1], mode="live", salvage=False)
root = heap.root
s = root.setdefault("s", set())
d = root.setdefault("d", deque(maxlen=50))
print("ready", flush=True)
i = root.setdefault("next", 0)
while True:
    s.add(f"member number {i}")
    s.discard(f"member number {i - 100}")
    d.append([i])
    if i % 7 == 3: d.rotate(i % 11 - 5)
    if i % 13 == 5: d.appendleft(d.pop())
    if i % 31 == 6: d.popleft()
    if i % 301 == 100: s.clear()
    i += 1
    root["next"] = i
"""


def test_a_killed_process_leaves_sound_sets_and_deques(heap_path: Path) -> None:
    done = 0
    for heap in killed(WORKER, heap_path):
        root = heap.root
        count = root.get("next", 0)
        assert all(count - 101 <= int(member.split()[-1]) <= count for member in root["s"])
        assert all(type(item[0]) is int and item[0] <= count for item in root["d"])
        assert len(root["d"]) <= 50
        assert count >= done
        done = count
    assert done > 0


# ---- counting ----


def test_counting_and_grouping_with_dicts(anonymous: mheap.Heap) -> None:
    """What Counter and defaultdict are used for."""
    words = ["a", LONG, "a", "b"] * 5
    counts = stored(anonymous, {})
    groups: dict[str, list[int]] = {}
    anonymous.root["groups"] = groups
    for i, word in enumerate(words):
        counts[word] = counts.get(word, 0) + 1
        anonymous.root["groups"].setdefault(word, []).append(i)
        groups.setdefault(word, []).append(i)
    assert counts == Counter(words)
    assert anonymous.root["groups"] == groups
    counts.update({"a": 1, "c": 2})
    assert counts == {"a": 1, LONG: 5, "b": 5, "c": 2}
