"""What all containers do alike: lifetimes, weak references, matching, copies, depth, threads, modes."""

from __future__ import annotations

import copy
import gc
import pickle
import subprocess
import sys
import threading
import weakref
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import mheap

LONG = "a text that is longer than a word"


class Kind(NamedTuple):
    """A type of container as these tests use it."""

    name: str
    make: Callable[[], Any]
    change: Callable[[Any, Any], None]  # by a value that may be a key
    nest: Callable[[Any], Any] | None  # a plain one around a value
    inner: Callable[[Any], Any] | None  # that value again
    plain: type


KINDS = [
    Kind(
        "dict",
        lambda: {"id": 1, LONG: [LONG]},
        lambda d, x: d.__setitem__(x, [x]),
        lambda x: {"x": x},
        lambda d: d["x"],
        dict,
    ),
    Kind("list", lambda: [1, LONG, [LONG]], lambda v, x: v.append(x), lambda x: [x], lambda v: v[0], list),
    Kind("set", lambda: {1, LONG, (2, LONG)}, lambda s, x: s.add(x), None, None, set),
    Kind(
        "deque",
        lambda: deque([1, LONG, [LONG]], 50),
        lambda q, x: q.append(x),
        lambda x: deque([x]),
        lambda q: q[0],
        deque,
    ),
    Kind(
        "counter",
        lambda: Counter({"id": 3, LONG: 2, (1, LONG): -1}),
        lambda c, x: c.update([x, x]),
        lambda x: Counter({"x": x}),
        lambda c: c["x"],
        Counter,
    ),
    Kind(
        "sorted",
        lambda: mheap.SortedDict({LONG: [LONG], "id": 1}),
        lambda d, x: d.__setitem__(str(x), [x]),
        lambda x: mheap.SortedDict({"x": x}),
        lambda d: d["x"],
        dict,
    ),
]
KINDS += [
    Kind(
        "counter",
        lambda: Counter({1: 2, LONG: 3}),
        lambda c, x: c.update([x]),
        lambda x: Counter({"x": x}),
        lambda c: c["x"],
        Counter,
    ),
    Kind(
        "sorted",
        lambda: mheap.SortedDict({1: 2, 500: [LONG]}),
        lambda d, x: d.__setitem__(x, [x]),
        lambda x: mheap.SortedDict({"x": x}),
        lambda d: d["x"],
        dict,
    ),
]
NESTING = [kind for kind in KINDS if kind.nest is not None]

each_kind = pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])


def is_sound(heap: mheap.Heap) -> bool:
    findings: list[mheap.Finding] = []
    heap.check(findings.append)
    return findings == []


def blocks(heap: mheap.Heap) -> int:
    return heap.stats().chunks_used


class Trash:
    """Garbage that does something when it is collected."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self.act, self.itself = act, self

    def __del__(self) -> None:
        self.act()


def call_while(call: Callable[[], Any], act: Callable[[], Any]) -> Any:
    """The first object that is made by the call has the garbage collected, or what follows has."""
    gc.collect()
    Trash(act)
    gc.set_threshold(1)
    try:
        return call()
    finally:
        gc.set_threshold(700)
        gc.collect()


def read_while(root: Any, act: Callable[[], Any]) -> Any:
    return call_while(lambda: root["x"], act)


@each_kind
@pytest.mark.filterwarnings("ignore::mheap.UncommittedChanges")
def test_garbage_is_collected_while_a_handle_is_made(heap_path: Path, kind: Kind) -> None:
    heap = mheap.open(heap_path)
    root, kept = heap.root, list[Any]()
    root["x"] = kind.make()
    assert read_while(root, lambda: kept.append(root["x"])) is kept[0]
    kept.clear()
    with suppress(mheap.StaleObject):
        assert read_while(root, lambda: root.__setitem__("x", kind.make())) == kind.make()
    root["x"] = 5
    heap.commit()
    root["x"] = kind.make()
    with suppress(mheap.StaleObject):
        read_while(root, heap.rollback)
    assert root["x"] == 5
    assert is_sound(heap)
    root["x"] = kind.make()
    with suppress(mheap.ClosedHeap):
        read_while(root, heap.close)
    with pytest.raises(mheap.ClosedHeap):
        root["x"]


def test_garbage_that_is_collected_makes_the_root(heap_path: Path) -> None:
    with mheap.open(heap_path, mode="live") as heap:
        kept = list[Any]()

        def make() -> None:
            kept.append(heap.root)
            kept[0]["x"] = 1

        root = call_while(lambda: heap.root, make)
        assert root is kept[0] is heap.root
        assert root == {"x": 1}


@each_kind
def test_a_weak_reference_lasts_as_long_as_the_handle(anonymous: mheap.Heap, kind: Kind) -> None:
    anonymous.root["x"] = kind.make()
    handle = anonymous.root["x"]
    told: list[Any] = []
    seen = weakref.ref(handle, told.append)
    values: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary({"x": handle})
    assert seen() is handle is values["x"] is anonymous.root["x"]
    del handle
    assert seen() is None
    assert told == [seen]
    assert "x" not in values
    assert anonymous.root["x"] == kind.make()  # only the handle was gone


@each_kind
def test_a_weak_reference_ends_with_what_only_the_handle_kept(anonymous: mheap.Heap, kind: Kind) -> None:
    anonymous.root["x"] = 1
    before = blocks(anonymous)
    anonymous.root["x"] = kind.make()
    handle = anonymous.root["x"]
    seen = weakref.ref(handle)
    anonymous.root["x"] = 1
    assert seen() is handle
    assert handle == kind.make()
    kind.change(handle, 7)
    assert is_sound(anonymous)
    del handle
    assert seen() is None
    assert blocks(anonymous) == before


@each_kind
def test_a_handle_is_put_back(anonymous: mheap.Heap, kind: Kind) -> None:
    anonymous.root["x"] = kind.make()
    handle = anonymous.root["x"]
    del anonymous.root["x"]
    anonymous.root["back"] = anonymous.root["again"] = handle
    assert anonymous.root["back"] is anonymous.root["again"] is handle
    assert is_sound(anonymous)


@each_kind
def test_what_a_rollback_took_away_is_stale_though_its_place_was_taken(heap_path: Path, kind: Kind) -> None:
    with mheap.open(heap_path) as heap:
        heap.root["x"] = 1
        heap.commit()
        heap.root["x"] = kind.make()
        handle = heap.root["x"]
        heap.rollback()
        heap.root["y"] = kind.make()
        for use in (len, repr, lambda h: kind.change(h, 1), iter, copy.copy, pickle.dumps, kind.plain):
            with pytest.raises(mheap.StaleObject, match="gone"):
                use(handle)
        assert heap.root["y"] == kind.make()
        heap.rollback()


@each_kind
def test_copies_are_plain(anonymous: mheap.Heap, kind: Kind) -> None:
    anonymous.root["x"] = kind.make()
    handle = anonymous.root["x"]
    for copied in (
        copy.copy(handle),
        copy.deepcopy(handle),
        pickle.loads(pickle.dumps(handle)),
        handle.to_python(),
        mheap.to_python(handle),
    ):
        assert type(copied) is kind.plain
        assert copied == handle == kind.make()


def test_mappings_and_sequences_match_patterns(anonymous: mheap.Heap) -> None:
    anonymous.root.update({"m": {"id": 5, "tags": ["a", "b", "c"]}, "q": deque([1, 2])})
    match anonymous.root["m"]:
        case {"id": int(number), "tags": [first, *rest], **others}:
            assert (number, first, rest, others) == (5, "a", ["b", "c"], {})
        case _:
            pytest.fail("no match")
    match anonymous.root["m"]:
        case {"none": _}:
            pytest.fail("matched a key that is not there")
        case [*_]:
            pytest.fail("a mapping matched a sequence")
        case {"tags": []}:
            pytest.fail("a list of three matched one of none")
        case mheap.PersistentDict():
            pass
        case _:
            pytest.fail("no match")
    match anonymous.root["q"]:
        case [1, last]:
            assert last == 2
        case _:
            pytest.fail("no match")


@pytest.mark.parametrize("make", [dict, mheap.SortedDict])
def test_setdefault_of_any_key_gives_what_it_stored(anonymous: mheap.Heap, make: Callable[..., Any]) -> None:
    anonymous.root["d"] = make({(0, LONG): 0})
    d = anonymous.root["d"]
    for key in ((1, LONG), (2, 3), (0, LONG)):
        for value in (5, LONG, [1, [2]], None):
            d.pop(key, None)
            assert d.setdefault(key, value) == value
            assert d.setdefault(key, "another") == d[key] == value
    assert len(d) == 3
    assert is_sound(anonymous)


DEPTH = 100_000


def take_apart(nested: Any) -> None:
    """CPython frees what it nests with a stack that has an end."""
    pending = [nested]
    while pending:
        inner = pending.pop()
        if hasattr(inner, "clear"):
            pending.extend(inner.values() if isinstance(inner, dict) else inner)
            inner.clear()


def test_all_containers_nest_to_any_depth(anonymous: mheap.Heap) -> None:
    plain: Any = LONG
    for i in range(DEPTH):
        nest = NESTING[i % len(NESTING)].nest
        assert nest is not None
        plain = nest(plain)
    root = anonymous.root
    root["a"] = 1
    before = blocks(anonymous)
    root["a"], root["b"] = plain, plain
    assert root["a"] == root["b"] == plain
    assert len(repr(root["a"])) > DEPTH
    assert anonymous.check()
    innermost: Any = root["a"]
    for i in reversed(range(1, DEPTH)):
        inner = NESTING[i % len(NESTING)].inner
        assert inner is not None
        innermost = inner(innermost)
    innermost["other"] = 5  # the first in NESTING is a dict
    assert root["a"] != root["b"]
    take_apart(root["b"].to_python())
    innermost["circle"] = root["a"]
    del root["b"], root["a"], innermost
    gc.collect()
    assert blocks(anonymous) > before
    assert anonymous.collect().objects >= DEPTH
    root["a"] = 1
    assert blocks(anonymous) == before
    assert anonymous.check()
    take_apart(plain)


@each_kind
def test_threads_share_a_container(anonymous: mheap.Heap, kind: Kind) -> None:
    anonymous.root["x"] = kind.make()
    shared = anonymous.root["x"]
    errors: list[BaseException] = []
    before = len(shared)

    def work(number: int) -> None:
        try:
            for i in range(20):
                kind.change(shared, number * 1000 + i)
                assert len(shared) >= before
                assert shared == shared
                repr(shared)
                with_others = list(shared.copy())
                assert len(with_others) >= before
        except RuntimeError as error:  # as of the plain one, when another changes it meanwhile
            if "during iteration" not in str(error) and "mutated" not in str(error):
                errors.append(error)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert is_sound(anonymous)


SHOW = """
import sys, mheap
with mheap.open(sys.argv[1], mode="readonly") as heap:
    print(repr(heap.root["x"]), sorted(map(repr, heap.root["x"])), sep="\\n")
"""


@each_kind
@pytest.mark.parametrize("mode", ["atomic", "live"])
def test_another_process_reads_it(heap_path: Path, kind: Kind, mode: Any) -> None:
    with mheap.open(heap_path, mode=mode) as heap:
        heap.root["x"] = kind.make()
        kind.change(heap.root["x"], 77)
        if mode == "atomic":
            heap.commit()
            kind.change(heap.root["x"], 88)
            heap.rollback()
        expected = repr(heap.root["x"]), repr(sorted(map(repr, heap.root["x"])))
    told = subprocess.run(
        [sys.executable, "-c", SHOW, heap_path], capture_output=True, text=True, timeout=60, check=True
    )
    assert "77" in expected[0]
    assert "88" not in expected[0]
    assert tuple(told.stdout.splitlines()) == expected


def test_what_nothing_else_refers_to_is_copied_as_it_is_shared(heap: mheap.Heap) -> None:
    def turn() -> list[Any]:
        lone: list[Any] = [[1], {"a": [2]}]
        lone.append(lone)
        lone[1]["back"] = lone[1]
        lone.append((lone[0], lone[0]))
        return lone

    heap.root["turn"] = turn()  # no variable refers to any part
    stored = heap.root["turn"]
    assert stored[2] is stored
    assert stored[1]["back"] is stored[1]
    assert stored[3][0] is stored[0]
    assert stored[3][1] is stored[0]
    assert stored[1]["a"] == [2]


def test_pairs_that_somebody_keeps_stay_what_they_were(heap: mheap.Heap) -> None:
    heap.root["table"] = {f"a key of some length {i}": [i] for i in range(5)}
    table = heap.root["table"]
    kept = list(table.items())
    assert [value[0] for _, value in kept] == [0, 1, 2, 3, 4]
    some = []
    for i, pair in enumerate(table.items()):
        if i % 2:
            some.append(pair)
        del pair
    assert [value[0] for _, value in some] == [1, 3]
    pairs = iter(table.items())
    first = next(pairs)
    assert next(pairs) is not first
    assert first[1] == [0]
