"""PersistentDict and PersistentList against dict and list: every method, and state machines
with reattaching as a step; killed processes."""

from __future__ import annotations

import contextlib
import copy
import operator
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from forks import in_child
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, initialize, invariant, precondition, rule
from kills import killed
from machines import SETTINGS, Committing, HeapMachine

import mheap
from mheap.objects import PersistentDict, PersistentList

# ---- every method ----

PAIRS: list[tuple[Any, Any]] = [("one", 1), (2, "two"), ("a key that is long", None), (None, [1]), (0.5, {})]


def outcome(work: Callable[[], Any]) -> Any:
    """What it returns, or the type of what it raises."""
    try:
        return work()
    except Exception as error:
        return type(error)


DICT_CALLS: list[Callable[[Any], Any]] = [
    len,
    bool,
    list,
    repr,
    str,
    lambda d: list(reversed(d)),
    lambda d: list(d.keys()),
    lambda d: list(d.values()),
    lambda d: list(d.items()),
    lambda d: list(reversed(d.keys())),
    lambda d: list(reversed(d.values())),
    lambda d: list(reversed(d.items())),
    lambda d: repr(d.keys()) + repr(d.values()) + repr(d.items()),
    lambda d: (len(d.keys()), len(d.values()), len(d.items())),
    lambda d: (
        d.keys().__contains__("one"),
        1 in d.values(),
        ("one", 1) in d.items(),
        ("one", 2) in d.items(),
    ),
    lambda d: d.keys() & {"one", 3},
    lambda d: d.keys() | {3},
    lambda d: d.keys() - {"one"},
    lambda d: d.keys() ^ {"one", 3},
    lambda d: d.keys() == set(dict(PAIRS)),
    lambda d: d.keys().isdisjoint({7}),
    lambda d: d["one"],
    lambda d: d["absent"],
    lambda d: d.get("one"),
    lambda d: d.get("absent"),
    lambda d: d.get("absent", 5),
    lambda d: d.get(),
    lambda d: d.get(1, 2, 3),
    lambda d: "one" in d,
    lambda d: "absent" in d,
    lambda d: d.pop("one"),
    lambda d: d.pop("absent"),
    lambda d: d.pop("absent", 5),
    lambda d: d.pop(),
    lambda d: d.popitem(),
    lambda d: [d.popitem() for _ in range(len(d))],
    lambda d: [d.popitem() for _ in range(len(d) + 1)],
    lambda d: d.setdefault("one", 5),
    lambda d: d.setdefault("new", [5]),
    lambda d: d.setdefault("new"),
    lambda d: d.clear(),
    lambda d: d.update({"one": 11, "new": 12}),
    lambda d: d.update([("one", 11), ["new", 12]]),
    lambda d: d.update(one=11, new=12),
    lambda d: d.update(d),
    lambda d: d.update(5),
    lambda d: d.update([(1, 2, 3)]),
    lambda d: d.update({"one": 11}, new=12),
    lambda d: d.update(),
    lambda d: d | {"one": 11},
    lambda d: {"one": 11, "z": 1} | d,
    lambda d: d | [("one", 11)],
    lambda d: d.__ior__({"one": 11}) is d,
    lambda d: d.__ior__([("one", 11)]) is d,
    lambda d: d.__setitem__("one", d["one"]),
    lambda d: d.__delitem__("one"),
    lambda d: d.__delitem__("absent"),
    lambda d: d.copy(),
    lambda d: d == dict(PAIRS),
    lambda d: dict(PAIRS) == d,
    lambda d: d == dict(reversed(PAIRS)),
    lambda d: d == dict(PAIRS[1:]),
    lambda d: d == {**dict(PAIRS), "one": 2},
    lambda d: d != dict(PAIRS),
    lambda d: d == list(dict(PAIRS)),
    lambda d: d == None,  # noqa: E711
    lambda d: d < {},
    lambda d: [d.__setitem__("new", 1) for _ in d],
    lambda d: [d.__delitem__(key) for key in d],
    lambda d: [d.__setitem__(key, 7) for key in d],
    lambda d: [d.clear() for _ in d.items()],
    lambda d: {**d},
    lambda d: dict(d),
    lambda d: sorted(d.items(), key=repr),
    lambda d: iter(d).__length_hint__(),
]


@pytest.mark.parametrize("call", range(len(DICT_CALLS)))
@pytest.mark.parametrize(
    "pairs", [PAIRS, PAIRS[:1], [], PAIRS * 1 + [(i, i) for i in range(100, 120)]], ids=len
)
def test_a_dict_method_does_what_dict_does(
    anonymous: mheap.Heap, call: int, pairs: list[tuple[Any, Any]]
) -> None:
    plain = dict(pairs)
    anonymous.root["d"] = plain
    stored = anonymous.root["d"]
    expected, found = outcome(lambda: DICT_CALLS[call](plain)), outcome(lambda: DICT_CALLS[call](stored))
    assert found == expected
    assert list(stored.items()) == list(plain.items())
    assert anonymous.check()


LISTS: list[list[Any]] = [
    [3, 1, 2],
    [],
    [5],
    [1, "a text of some length", None, [1], {}, 0.5],
    [7] * 20,
    list(range(50)),
]
SLICES = [
    slice(a, b, c) for a in (None, 0, 1, -2, 9) for b in (None, 0, 2, -1, 9) for c in (None, 1, 2, -1, -2)
]

LIST_CALLS: list[Callable[[Any], Any]] = [
    len,
    bool,
    list,
    repr,
    lambda x: list(reversed(x)),
    lambda x: x[0],
    lambda x: x[-1],
    lambda x: x[2],
    lambda x: x[-100],
    lambda x: x[100],
    lambda x: x["a"],
    lambda x: x[0.5],
    lambda x: 3 in x,
    lambda x: [1] in x,
    lambda x: "absent" in x,
    lambda x: x.index(2),
    lambda x: x.index(2, 1),
    lambda x: x.index(2, -1, 100),
    lambda x: x.index("absent"),
    lambda x: x.count(7),
    lambda x: x.append(4),
    lambda x: x.append([4, [5]]),
    lambda x: x.extend([4, "text that is long"]),
    lambda x: x.extend(iter("abc")),
    lambda x: x.extend(x),
    lambda x: x.extend(5),
    lambda x: x.insert(0, "first"),
    lambda x: x.insert(1, "second"),
    lambda x: x.insert(-1, "last but one"),
    lambda x: x.insert(100, "last"),
    lambda x: x.insert(-100, "first"),
    lambda x: x.insert("a", 1),
    lambda x: x.pop(),
    lambda x: x.pop(0),
    lambda x: x.pop(1),
    lambda x: x.pop(-2),
    lambda x: x.pop(100),
    lambda x: x.pop("a"),
    lambda x: [x.pop() for _ in range(len(x) + 1)],
    lambda x: [x.pop(0) for _ in range(len(x))],
    lambda x: x.remove(2),
    lambda x: x.remove("absent"),
    lambda x: x.clear(),
    lambda x: x.reverse(),
    lambda x: x.sort(),
    lambda x: x.sort(reverse=True),
    lambda x: x.sort(key=repr),
    lambda x: x.sort(key=repr, reverse=True),
    lambda x: x.sort(key=lambda item: 0, reverse=True),
    lambda x: x.copy(),
    lambda x: operator.add(x, [1]),
    lambda x: operator.add([1], x),
    lambda x: operator.add(x, (1,)),
    lambda x: x * 2,
    lambda x: 2 * x,
    lambda x: x * -1,
    lambda x: x.__iadd__([1]) is x,
    lambda x: x.__iadd__("ab") is x,
    lambda x: x.__imul__(3) is x,
    lambda x: x.__imul__(1) is x,
    lambda x: x.__imul__(0) is x,
    lambda x: x.__setitem__(0, "new text that is long"),
    lambda x: x.__setitem__(-1, [1]),
    lambda x: x.__setitem__(100, 1),
    lambda x: x.__delitem__(0),
    lambda x: x.__delitem__(-1),
    lambda x: x.__delitem__(1),
    lambda x: x.__delitem__(100),
    lambda x: x == [3, 1, 2],
    lambda x: operator.eq([3, 1, 2], x),
    lambda x: x == (3, 1, 2),
    lambda x: x < [3, 1, 3],
    lambda x: x <= [3, 1, 2],
    lambda x: x > [3, 1],
    lambda x: operator.ge([3, 1], x),
    lambda x: x < (1,),
    lambda x: x < [None, 5],
    lambda x: [x.append(1) for _ in range(3) if x],
    lambda x: [item for item in x if len(x) < 60 and not x.append(item)][:5] and None,
    lambda x: [x.pop() for _ in x],
    lambda x: iter(x).__length_hint__(),
    lambda x: sorted(x, key=repr),
    *[lambda x, s=s: x[s] for s in SLICES],
    *[lambda x, s=s: x.__delitem__(s) for s in SLICES],
    *[lambda x, s=s: x.__setitem__(s, ["new", "text that is long"]) for s in SLICES],
    *[lambda x, s=s: x.__setitem__(s, iter(x[s])) for s in SLICES[::3]],
    lambda x: x.__setitem__(slice(0, 1), 5),
    lambda x: x.__setitem__(slice(None, None, 0), []),
    lambda x: x.__setitem__(slice(1, 2), x),
]


def outcome_of(number: int, items: Any) -> Any:
    return outcome(lambda: LIST_CALLS[number](items))


@pytest.mark.parametrize("items", LISTS, ids=len)
def test_a_list_method_does_what_list_does(anonymous: mheap.Heap, items: list[Any]) -> None:
    for number in range(len(LIST_CALLS)):
        plain = list(items)
        anonymous.root["l"] = plain
        stored = anonymous.root["l"]
        expected, found = outcome_of(number, plain), outcome_of(number, stored)
        assert (number, found) == (number, expected)
        assert (number, list(stored)) == (number, plain)
    assert anonymous.check()


def test_a_class_of_its_own_equals_what_says_so(anonymous: mheap.Heap) -> None:
    class Anything:
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    anonymous.root["l"] = [1, [2]]
    assert anonymous.root == {"l": [Anything(), Anything()]}
    assert anonymous.root == {"l": Anything()}
    assert anonymous.root == Anything()
    assert anonymous.root["l"] == Anything()


# ---- state machines ----

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-3, 3),
    st.floats(allow_nan=False),
    st.text(max_size=12),
    st.binary(max_size=12),
)
keys = st.one_of(st.integers(0, 12), st.sampled_from(["a", "b", "a longer key", "\u20ac"]), scalars)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=8,
)


class Machine(HeapMachine):
    """Containers in a heap beside plain ones; each pair is kept by its path from the root."""

    pairs = Bundle("pairs")

    @initialize()
    def start(self) -> None:
        self.begin()
        self.plain: dict[Any, Any] = {"d": {}, "l": []}
        self.heap.root.update(self.plain)
        self.empty = self.heap.stats().chunks_used
        self.litter = False

    @property
    def d(self) -> tuple[PersistentDict, dict[Any, Any]]:
        return self.heap.root["d"], self.plain["d"]

    @property
    def items(self) -> tuple[PersistentList, list[Any]]:
        return self.heap.root["l"], self.plain["l"]

    @rule(key=keys, value=values)
    def dict_set(self, key: Any, value: Any) -> None:
        for d in self.d:
            d[key] = value

    @rule(key=keys)
    def dict_pop(self, key: Any) -> None:
        stored, plain = self.d
        assert stored.pop(key, "absent") == plain.pop(key, "absent")

    @rule()
    def dict_popitem(self) -> None:
        stored, plain = self.d
        assert outcome(stored.popitem) == outcome(plain.popitem)

    @rule(key=keys, value=values)
    def dict_setdefault(self, key: Any, value: Any) -> None:
        stored, plain = self.d
        assert stored.setdefault(key, value) == plain.setdefault(key, value)

    @rule(update=st.dictionaries(keys, values, max_size=20))
    def dict_update(self, update: dict[Any, Any]) -> None:
        for d in self.d:
            d.update(update)

    @rule()
    def dict_clear(self) -> None:
        for d in self.d:
            d.clear()

    @rule(key=keys)
    def dict_get(self, key: Any) -> None:
        stored, plain = self.d
        assert stored.get(key) == plain.get(key)
        assert (key in stored) == (key in plain)

    @rule(value=values)
    def list_append(self, value: Any) -> None:
        for items in self.items:
            items.append(value)

    @rule(at=st.integers(-20, 20), value=values)
    def list_insert(self, at: int, value: Any) -> None:
        for items in self.items:
            items.insert(at, value)

    @rule(at=st.integers(-20, 20))
    def list_pop(self, at: int) -> None:
        stored, plain = self.items
        assert outcome(lambda: stored.pop(at)) == outcome(lambda: plain.pop(at))

    @rule(at=st.slices(20), new=st.lists(values, max_size=5))
    def list_assign(self, at: slice, new: list[Any]) -> None:
        stored, plain = self.items
        assert outcome(lambda: stored.__setitem__(at, new)) == outcome(lambda: plain.__setitem__(at, new))

    @rule(at=st.slices(20))
    def list_delete(self, at: slice) -> None:
        for items in self.items:
            del items[at]

    @rule()
    def list_sort(self) -> None:
        for items in self.items:
            items.sort(key=repr)

    @precondition(lambda self: len(self.plain["l"]) < 100)
    @rule()
    def store_twins(self) -> None:
        stored, plain = self.items
        stored.append(self.heap.root["d"].to_python())
        stored.append(stored[-1])
        plain.append(dict(plain_copy(self.plain["d"])))
        plain.append(plain[-1])

    @rule()
    def replace_by_itself(self) -> None:
        self.heap.root["l"] = self.heap.root["l"]
        self.heap.root["d"] = self.heap.root["d"]

    @rule(value=values)
    def leave_a_circle(self, value: Any) -> None:
        """Garbage that counting does not free; what stays has counts too high as long as it is there."""
        self.heap.root["circle"] = [value, {"text": "a text that is long"}]
        circle = self.heap.root["circle"]
        circle[1]["back"] = circle
        circle.extend([self.heap.root["d"], self.heap.root["l"]])
        del self.heap.root["circle"]
        self.litter = True

    @rule(pause=st.sampled_from([None, 0.001, 1e-9]), force=st.booleans())
    def collect(self, pause: float | None, force: bool) -> None:
        assert self.heap.collect(force, max_pause=pause).done
        self.litter = False

    @rule()
    def collect_a_little(self) -> None:
        self.heap.collect(max_pause=1e-9, steps=3)

    @rule()
    def compact(self) -> None:
        super().compact()
        self.litter = False

    @invariant()
    def it_is_as_the_model_is(self) -> None:
        assert self.heap.root == self.plain
        assert repr(self.heap.root) == repr(self.plain)
        findings: list[Any] = []
        self.heap.check(findings.append)
        assert [finding for finding in findings if finding.severity or not self.litter] == []

    def teardown(self) -> None:
        if not hasattr(self, "heap"):
            return
        root = self.heap.root
        root["d"] = {}
        root["l"] = []
        del root
        self.heap.collect()
        assert self.heap.stats().chunks_used == self.empty
        self.end()


def plain_copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: plain_copy(item) for key, item in value.items()}
    return [plain_copy(item) for item in value] if isinstance(value, list) else value


class AtomicMachine(Committing, Machine):
    """Beside the plain containers, a copy of them as they were at the last commit."""

    @initialize()
    def start(self) -> None:
        super().start()
        self.held: list[PersistentDict | PersistentList] = []
        self.commit(durable=False)

    def as_committed(self) -> None:
        super().as_committed()
        self.litter = True  # there may have been some

    @rule()
    def rollback(self) -> None:
        d = self.heap.root["d"]
        self.heap.rollback()
        assert not self.heap.dirty
        self.as_committed()
        if not is_stale(d):
            assert self.heap.root["d"] is d

    @rule()
    def checkpoint(self) -> None:
        self.heap.checkpoint()

    @rule(key=keys, value=values, fails=st.booleans())
    def transaction(self, key: Any, value: Any, fails: bool) -> None:
        self.commit(durable=False)
        with contextlib.suppress(KeyboardInterrupt), self.heap.transaction(durable=False):
            self.set_both(key, value)
            if fails:
                raise KeyboardInterrupt
        if fails:
            self.as_committed()
        self.committed = copy.deepcopy(self.plain)

    def set_both(self, key: Any, value: Any) -> None:
        for d in self.d:
            d[key] = value

    def teardown(self) -> None:
        if hasattr(self, "held"):
            self.held.clear()
            self.heap.commit(durable=False)  # frees what only these kept over an earlier commit
        super().teardown()

    def leave(self) -> None:
        self.held.clear()
        super().leave()

    @rule(steps=st.lists(st.tuples(keys, values, st.booleans()), max_size=8))
    def die(self, steps: list[tuple[Any, Any, bool]]) -> None:
        """Another process works, commits now and then, and ends without a word."""
        self.leave()

        def work() -> None:
            heap = mheap.open(self.path)
            for key, value, commits in steps:
                heap.root["d"][key] = value
                heap.root["l"].append(value)
                if commits:
                    heap.commit(durable=False)
            os._exit(0)

        in_child(work)
        for key, value, commits in steps:
            self.plain["d"][key] = value
            self.plain["l"].append(value)
            if commits:
                self.committed = copy.deepcopy(self.plain)
        self.as_committed()
        self.heap = mheap.open(self.path)

    @rule(at=st.integers(0, 100))
    def hold(self, at: int) -> None:
        """Twins that live on, whatever becomes of what they stand for."""
        inside = list(containers(self.heap.root))
        self.held.append(inside[at % len(inside)])
        del self.held[:-10]

    @rule(at=st.integers(0, 9))
    def take_out(self, at: int) -> None:
        """A container that its twin alone may keep from now on."""
        stored, plain = self.d
        inside = [key for key, value in plain.items() if isinstance(value, (dict, list))]
        if inside:
            key = inside[at % len(inside)]
            plain.pop(key)
            self.held.append(stored.pop(key))

    @rule(at=st.integers(0, 9), key=keys)
    def put_back(self, at: int, key: Any) -> None:
        """What only its twin keeps has a place again; not what others that have none refer to."""
        self.commit(durable=False)  # frees those that no twin keeps any more
        there = {id(twin) for twin in containers(self.heap.root)}
        kept = [twin for twin in self.held if id(twin) not in there and not is_stale(twin)]
        inside = {id(one) for twin in kept for one in containers(twin) if one is not twin}
        kept = [twin for twin in kept if id(twin) not in inside]
        if kept:
            twin = kept[at % len(kept)]
            self.plain["d"][key] = twin.to_python()
            self.heap.root["d"][key] = twin

    @rule(at=st.integers(0, 9))
    def let_go(self, at: int) -> None:
        del self.held[at : at + 1]

    @invariant()
    def what_is_held_is_there_or_stale(self) -> None:
        there = {id(twin): twin for twin in containers(self.heap.root)}
        for twin in self.held:
            assert is_stale(twin) or repr(twin)
        for twin in there.values():
            assert not is_stale(twin)
        assert len({(type(twin), id(twin)) for twin in there.values()}) == len(there)


def is_stale(twin: PersistentDict | PersistentList) -> bool:
    try:
        len(twin)
    except mheap.StaleObject:
        return True
    return False


def containers(value: Any) -> Iterator[PersistentDict | PersistentList]:
    """All in the tree, those that are shared more than once."""
    if isinstance(value, (PersistentDict, PersistentList)):
        yield value
        for item in list(value.values()) if isinstance(value, PersistentDict) else list(value):
            yield from containers(item)


TestMachine = Machine.TestCase
TestMachine.settings = SETTINGS
TestAtomicMachine = AtomicMachine.TestCase
TestAtomicMachine.settings = SETTINGS


# ---- killed ----

WORKER = """
import sys, mheap
heap = mheap.open(sys.argv[1], mode="live", salvage=False)
root = heap.root
items = root.setdefault("items", [])
table = root.setdefault("table", {})
print("ready", flush=True)
i = root.setdefault("next", 0)
while True:
    table[f"key number {i % 200}"] = {"n": i, "text": "a text that is long " * (i % 5)}
    items.append([i])
    if i % 7 == 3: table.pop(f"key number {(i * 5) % 200}", None)
    if i % 11 == 5: items.insert(len(items) // 2, "in the middle"); items.remove("in the middle")
    if i % 101 == 50: items[:] = items[-20:]
    if i % 307 == 100: table.clear()
    i += 1
    root["next"] = i
"""


def test_a_killed_process_leaves_a_sound_heap(heap_path: Path) -> None:
    for heap in killed(WORKER, heap_path):
        root = heap.root
        for value in root["table"].values():
            assert value["text"] == "a text that is long " * (value["n"] % 5)
        for item in root["items"]:
            assert item == "in the middle" or len(item) == 1
        if root["items"]:
            assert root["items"][-1][0] in (root["next"] - 1, root["next"])
