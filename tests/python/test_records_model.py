"""Records and record lists against plain ones: state machines with reattaching, rollback, kills, collections
and classes that change as steps."""

from __future__ import annotations

import copy
import gc
import os
from pathlib import Path
from typing import Any

from forks import in_child
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule
from kills import broken, killed
from machines import SETTINGS, Committing, HeapMachine

import mheap

_type: Any = type(mheap.Record)

# The same class as it was at different times: what is stored by one is read by another.
VERSIONS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"id": int, "text": "str | None", "number": float, "on": bool, "any": object}, {}),
    ({"on": bool, "any": object, "id": int, "number": float, "text": "str | None"}, {}),
    (
        {"id": float, "extra": list, "text": "str | int | None", "on": "bool | None", "any": object},
        {"extra": mheap.field(default_factory=list), "number": 0.5},
    ),
]
FIELDS = ["id", "text", "on", "any"]


def class_of(version: int) -> Any:
    annotations, defaults = VERSIONS[version]
    namespace = {"__annotations__": annotations, "__module__": __name__, **defaults}
    namespace.pop("number", None)
    if "number" not in annotations:
        namespace["__annotations__"] = {**annotations, "number": float}
        namespace["number"] = 0.5
    return _type("Thing", (mheap.Record,), namespace, name="Thing", kw_only=True)


texts = st.none() | st.text(max_size=12) | st.sampled_from(["x" * 100, "é" * 30, "\U0001f600" * 10])
leaves = texts | st.integers() | st.floats(allow_nan=False) | st.booleans() | st.binary(max_size=10)
anything = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner), max_leaves=6
)
values = st.fixed_dictionaries(
    {
        "id": st.integers(-(2**50), 2**50),
        "text": texts,
        "number": st.floats(allow_nan=False),
        "on": st.booleans(),
        "any": anything,
    }
)
changes = st.one_of(
    st.tuples(st.just("id"), st.integers(-(2**50), 2**50)),
    st.tuples(st.just("text"), texts),
    st.tuples(st.just("number"), st.floats(allow_nan=False)),
    st.tuples(st.just("on"), st.booleans()),
    st.tuples(st.just("any"), anything),
)
places = st.integers(0, 30)


def dict_of(record: Any) -> dict[str, Any]:
    return {name: mheap.to_python(getattr(record, name)) for name in (*FIELDS, "number")}


class Machine(HeapMachine):
    """Records of a list, and rows of a record list, beside dicts of their values."""

    @initialize()
    def start(self) -> None:
        self.begin()
        self.cls = class_of(0)
        self.heap.root["l"] = []
        self.heap.root["r"] = mheap.RecordList(self.cls)
        self.plain: dict[str, list[dict[str, Any]]] = {"l": [], "r": []}

    def both(self, which: str) -> tuple[Any, list[dict[str, Any]]]:
        return self.heap.root[which], self.plain[which]

    @rule(which=st.sampled_from("lr"), value=values)
    def append(self, which: str, value: dict[str, Any]) -> None:
        stored, plain = self.both(which)
        stored.append(self.cls(**value))
        plain.append(copy.deepcopy(value))

    @rule(which=st.sampled_from("lr"), at=places, new=st.lists(values, max_size=4))
    def splice(self, which: str, at: int, new: list[dict[str, Any]]) -> None:
        stored, plain = self.both(which)
        stored[at : at + 2] = [self.cls(**value) for value in new]
        plain[at : at + 2] = copy.deepcopy(new)

    @rule(which=st.sampled_from("lr"), at=places)
    def remove(self, which: str, at: int) -> None:
        stored, plain = self.both(which)
        if at < len(plain):
            assert dict_of(stored.pop(at)) == plain.pop(at)

    @rule(which=st.sampled_from("lr"), at=places, change=changes)
    def assign(self, which: str, at: int, change: tuple[str, Any]) -> None:
        stored, plain = self.both(which)
        if at < len(plain):
            setattr(stored[at], *change)
            plain[at][change[0]] = copy.deepcopy(change[1])

    @rule(which=st.sampled_from("lr"), reverse=st.booleans())
    def sort(self, which: str, reverse: bool) -> None:
        stored, plain = self.both(which)
        stored.sort(key=lambda record: record.number, reverse=reverse)
        plain.sort(key=lambda value: value["number"], reverse=reverse)

    @rule(at=places, to=places)
    def refer(self, at: int, to: int) -> None:
        """A record that another has in it, which a rollback or a removal may take away."""
        stored, plain = self.both("l")
        if at < len(plain) and to < len(plain):
            stored[at].any = [stored[to].text]
            plain[at]["any"] = [plain[to]["text"]]

    @rule(value=st.floats(allow_nan=False))
    def column(self, value: float) -> None:
        stored, plain = self.both("r")
        if plain:
            stored.column("number")[len(plain) // 2] = value
            plain[len(plain) // 2]["number"] = value

    @rule(version=st.integers(0, len(VERSIONS) - 1))
    def change_class(self, version: int) -> None:
        """Only a version that takes what the present one made: the last one widens."""
        if VERSIONS.index(VERSIONS[version]) >= getattr(self, "version", 0):
            self.version = version
            self.cls = class_of(version)
            gc.collect()

    @rule()
    def collect(self) -> None:
        self.heap.collect()
        assert broken(self.heap) == []

    def leave(self) -> None:
        assert broken(self.heap) == []
        super().leave()

    @invariant()
    def all_is_the_same(self) -> None:
        if not hasattr(self, "heap"):
            return
        for which in "lr":
            stored, plain = self.both(which)
            assert list(map(dict_of, stored)) == plain

    def teardown(self) -> None:
        if not hasattr(self, "heap"):
            return
        self.heap.root.clear()
        assert broken(self.heap) == []
        self.end()


class AtomicMachine(Committing, Machine):
    @initialize()
    def start(self) -> None:
        super().start()
        self.commit()

    @rule()
    def rollback(self) -> None:
        kept = self.heap.root["r"]
        self.heap.rollback()
        self.as_committed()
        assert self.heap.root["r"] is kept

    @rule(steps=st.lists(st.tuples(values, st.booleans()), max_size=4))
    def die(self, steps: list[tuple[dict[str, Any], bool]]) -> None:
        """Another process works, commits now and then, and ends without a word."""
        self.leave()

        def work() -> None:
            heap = mheap.open(self.path)
            for value, commits in steps:
                for which in "lr":
                    heap.root[which].append(self.cls(**value))
                if commits:
                    heap.commit(durable=False)
            os._exit(0)

        in_child(work)
        for number, (_, commits) in enumerate(steps, 1):
            if commits:
                made = [value for value, _ in steps[:number]]
                self.plain = {which: self.committed[which] + copy.deepcopy(made) for which in "lr"}
        self.committed = copy.deepcopy(self.plain)
        self.heap = mheap.open(self.path)


TestMachine = Machine.TestCase
TestMachine.settings = SETTINGS
TestAtomicMachine = AtomicMachine.TestCase
TestAtomicMachine.settings = SETTINGS

# ---- killed at any moment ----


def test_killed_writers_leave_records_whole(heap_path: Path) -> None:
    worker = """
import random, sys
import mheap

class Thing(mheap.Record, name="Killed"):
    id: int
    text: str
    on: bool = False

class Wider(mheap.Record, name="Wider"):
    on: bool = False
    more: list = mheap.field(default_factory=list)
    text: str | None = None

heap = mheap.open(sys.argv[1], mode="live")
things = heap.root.setdefault("things", [])
if "rows" not in heap.root:
    heap.root["rows"] = mheap.RecordList(Thing)
rows = heap.root["rows"]
print("ready", flush=True)
while True:
    number = random.randrange(10**6)
    text = "text " * (number % 20)
    if len(things) < 20:
        things.append(random.choice([Thing(number, text), Wider(more=[Thing(number, text)])]))
    thing = random.choice(things)
    thing.text = text
    thing.on = not thing.on
    rows.insert(random.randrange(len(rows) + 1), (number, text))
    rows[0].text = text
    rows[-1].id = number
    if number % 4 == 0:
        rows.sort(key=lambda row: row.id)
    if number % 3 == 0:
        things.pop(number % len(things))
        rows.pop(number % len(rows))
    if len(rows) > 30:
        rows.clear()
"""
    most = 0
    for heap in killed(worker, heap_path):
        rows = heap.root.get("rows", [])
        most = max(most, len(rows))
        for row in rows:
            assert row.text == "text " * (len(row.text) // 5)
        for thing in heap.root.get("things", []):
            assert thing.text is None or thing.text == "text " * (len(thing.text) // 5)
        heap.collect()
        assert broken(heap) == []
    assert most > 0
