"""heap.root and what it holds: values, identity, sharing, lifetimes, modes."""

from __future__ import annotations

import copy
import gc
import json
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mheap
from mheap.objects import PersistentDict, PersistentList, to_python

SCALARS = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2**59 - 1,
    2**59,
    -(2**59),
    -(2**59) - 1,
    2**63,
    -(2**63),
    2**64,
    10**1000,
    -(10**1000),
    0.0,
    0.5,
    0.1,
    1e300,
    5e-324,
    float("inf"),
    "",
    "a",
    "seven77",
    "eight888",
    "\xe9" * 7,
    "\xe9" * 8,
    "\u20ac",
    "\u20ac" * 100,
    "\U0001f600",
    "\U0001f600 and more",
    "\ud800",
    "\x00",
    "x\x00" * 10,
    "long " * 10000,
    b"",
    b"\x00",
    b"1234567",
    b"12345678",
    bytes(range(256)),
]


@pytest.fixture
def root(heap: mheap.Heap) -> PersistentDict:
    return heap.root


def blocks(heap: mheap.Heap) -> int:
    return heap.stats().chunks_used


def is_sound(heap: mheap.Heap) -> bool:
    findings: list[Any] = []
    heap.check(findings.append)
    assert findings == []
    return True


def made_root(heap: mheap.Heap) -> mheap.PersistentDict:
    """The root, empty; it is made when something is first put into it."""
    heap.root["first"] = None
    heap.root.clear()
    return heap.root


@pytest.mark.parametrize("value", SCALARS, ids=lambda value: repr(value)[:20])
def test_a_scalar_comes_back_as_value_item_and_key(heap: mheap.Heap, heap_path: Path, value: Any) -> None:
    heap.root["value"] = value
    heap.root["list"] = [value]
    heap.root["dict"] = {value: 1}
    is_sound(heap)
    heap.close()
    with mheap.open(heap_path, mode="readonly") as again:
        for found in (again.root["value"], again.root["list"][0], next(iter(again.root["dict"]))):
            assert found == value
            assert type(found) is type(value)
        assert again.root["dict"][value] == 1
        assert value in again.root["dict"]


def test_floats_keep_their_sign_and_nans_their_bits(root: PersistentDict) -> None:
    for bits in (0x8000000000000000, 0x7FF8000000000001, 0xFFF8000000000000):
        (value,) = struct.unpack("<d", struct.pack("<Q", bits))
        root["float"] = value
        assert struct.pack("<d", root["float"]) == struct.pack("<Q", bits)
    nan = float("nan")
    root["nans"] = {nan: 1}
    assert root["nans"][nan] == 1
    assert nan in root["nans"]


def test_keys_are_equal_as_in_python(root: PersistentDict) -> None:
    root[1] = "first"
    assert root[1.0] == root[True] == "first"
    root[True] = "second"
    assert list(root.items()) == [(1, "second")]
    assert type(next(iter(root))) is int
    root[2**70] = "big"
    assert root[float(2**70)] == "big"
    assert float(2**70 + 2**20) not in root
    root[0.5] = "half"
    assert root[0.5] == "half"
    assert "1" not in root
    assert b"1" not in root


def test_a_subclass_of_a_key_type_finds_what_it_is_equal_to(root: PersistentDict) -> None:
    class Name(str):
        pass

    class Number(int):
        pass

    class Index:
        def __index__(self) -> int:
            return 7

        def __hash__(self) -> int:
            return hash(7)

    root["name"] = root[7] = 1
    assert root[Name("name")] == root[Number(7)] == root[Index()] == 1
    with pytest.raises(TypeError, match="not Name"):
        root[Name("other")] = 1


@pytest.mark.parametrize(
    "key", [(1, type), frozenset([object]), object()], ids=["tuple", "frozenset", "object"]
)
def test_a_key_of_another_type_is_not_there_and_cannot_be_stored(root: PersistentDict, key: Any) -> None:
    assert key not in root
    assert root.get(key) is None
    assert root.pop(key, 5) == 5
    with pytest.raises(KeyError) as caught:
        root[key]
    assert caught.value.args == (key,)
    with pytest.raises(KeyError):
        del root[key]
    with pytest.raises(TypeError, match="a key in a heap"):
        root[key] = 1


def test_an_unhashable_key_is_a_type_error(root: PersistentDict) -> None:
    for use in (root.__getitem__, root.get, root.__contains__, root.__delitem__, root.pop):
        with pytest.raises(TypeError, match="unhashable"):
            use([])
    with pytest.raises(TypeError, match="unhashable"):
        root[{}] = 1


@pytest.mark.parametrize(
    "value", [object(), (1, ["text that is long"], object()), frozenset([type]), type], ids=repr
)
def test_what_cannot_be_stored_leaves_everything_as_it_was(heap: mheap.Heap, value: Any) -> None:
    root = heap.root
    root["kept"] = "kept and long"
    root["list"] = [1, 2]
    before = blocks(heap)
    deep: dict[str, Any] = {"a": ["text that is long"] * 3, "b": {"c": [1, {"d": value}]}}
    deep["self"] = deep
    deep["a"].append(root["list"])
    for attempt in (value, deep, [deep, deep]):
        with pytest.raises(TypeError, match="a heap holds"):
            root["new"] = attempt
        with pytest.raises(TypeError, match="a heap holds"):
            root["kept"] = attempt
        with pytest.raises(TypeError, match="a heap holds"):
            root["list"].extend([1, "another long text", attempt])
        with pytest.raises(TypeError, match="a heap holds"):
            root["list"][0] = attempt
    assert root == {"kept": "kept and long", "list": [1, 2]}
    assert blocks(heap) == before
    assert is_sound(heap)


def test_a_twin_is_the_same_object_while_it_lives(heap: mheap.Heap) -> None:
    root = heap.root
    assert root is heap.root
    root["d"] = {"list": [[], {}]}
    inner = root["d"]
    assert inner is root["d"]
    assert inner["list"] is root["d"]["list"]
    assert inner["list"][0] is inner["list"][0]
    assert type(inner) is PersistentDict
    assert type(inner["list"]) is PersistentList
    remembered = weakref.ref(inner)
    del inner
    gc.collect()
    assert remembered() is None


def test_shared_parts_and_cycles_stay_what_they_are(heap: mheap.Heap, heap_path: Path) -> None:
    shared = ["shared"]
    graph: dict[str, Any] = {"one": shared, "two": shared, "list": [shared]}
    graph["self"] = graph
    graph["list"].append(graph["list"])
    heap.root["graph"] = graph
    is_sound(heap)
    heap.close()
    with mheap.open(heap_path, mode="live") as again:
        stored = again.root["graph"]
        assert stored["one"] is stored["two"] is stored["list"][0]
        assert stored["self"] is stored
        assert stored["list"][1] is stored["list"]
        plain = stored.to_python()
        assert plain["one"] is plain["two"] is plain["list"][0]
        assert plain["self"] is plain
        stored["one"].append("seen by both")
        assert stored["two"] == ["shared", "seen by both"]


def test_a_twin_that_is_assigned_is_shared(heap: mheap.Heap) -> None:
    root = heap.root
    root["a"] = {"x": 1}
    root["b"] = root["a"]
    root["c"] = [root["a"], root]
    assert root["a"] is root["b"] is root["c"][0]
    assert root["c"][1] is root
    del root["a"], root["b"]
    assert root["c"][0] == {"x": 1}
    assert is_sound(heap)


def test_a_twin_of_another_heap_is_copied(heap: mheap.Heap, anonymous: mheap.Heap) -> None:
    anonymous.root["d"] = {"list": [1, "long enough to be an object", {"x": None}]}
    anonymous.root["d"]["self"] = anonymous.root["d"]
    heap.root["copy"] = [anonymous.root["d"], anonymous.root["d"]["list"]]
    anonymous.root.clear()
    anonymous.close()
    stored = heap.root["copy"]
    assert stored[0]["self"] is stored[0]
    assert stored[0]["list"] is stored[1]
    assert stored[1] == [1, "long enough to be an object", {"x": None}]
    assert is_sound(heap)


def test_what_is_removed_is_freed(heap: mheap.Heap) -> None:
    root = made_root(heap)
    before = blocks(heap)
    for _ in range(3):
        root["d"] = {
            "text " * i: ["text " * i, i * 10**20, i / 10, {"x": [b"bytes " * i]}] for i in range(100)
        }
        root["d"] = [root["d"], root["d"]]
        root["d"][0]["more"] = "more text than is inline"
        root.pop("d")
    gc.collect()
    root.clear()
    assert blocks(heap) == before


def test_a_handle_keeps_what_was_removed(heap: mheap.Heap) -> None:
    root = made_root(heap)
    before = blocks(heap)
    root["d"] = {"list": ["a text that is long"]}
    kept = root["d"]
    inner = kept["list"]
    del root["d"]
    kept["new"] = "another text that is long"
    assert kept == {"list": ["a text that is long"], "new": "another text that is long"}
    del kept
    assert inner == ["a text that is long"]
    inner.append(1)
    root["again"] = inner
    del inner
    assert root["again"] == ["a text that is long", 1]
    root.clear()
    assert blocks(heap) == before


def test_handles_to_what_was_removed_do_not_outlive_the_heap(heap_path: Path) -> None:
    heap = mheap.open(heap_path, mode="live")
    heap.root["d"] = {"list": [{}]}
    heap.root["e"] = {}
    before = blocks(heap)
    kept, inner = heap.root["d"], heap.root["d"]["list"]
    del heap.root["d"]
    heap.close()
    for use in (kept.__len__, inner.__len__, kept.clear, lambda: inner.append(1), lambda: kept == {}):
        with pytest.raises(ValueError, match="closed"):
            use()
    with mheap.open(heap_path, mode="live") as again:
        assert blocks(again) < before
        assert again.root == {"e": {}}
        assert is_sound(again)


def test_scalars_and_plain_copies_outlive_the_heap(heap: mheap.Heap) -> None:
    heap.root["d"] = {"x": ["text", b"bytes", 10**30]}
    plain = heap.root["d"].to_python()
    heap.close()
    assert plain == {"x": ["text", b"bytes", 10**30]}


def test_readonly_refuses_every_change(heap: mheap.Heap, heap_path: Path) -> None:
    heap.root["d"] = {"x": 1}
    heap.root["l"] = [3, 1, 2]
    heap.close()
    content = heap_path.read_bytes()
    with mheap.open(heap_path, mode="readonly") as reader:
        d, items = reader.root["d"], reader.root["l"]
        changes: list[Callable[[], Any]] = [
            lambda: d.__setitem__("y", 1),
            lambda: d.__setitem__("y", {"z": []}),
            lambda: d.__delitem__("x"),
            lambda: d.pop("x"),
            lambda: d.pop("absent", None),
            lambda: d.popitem(),
            lambda: d.clear(),
            lambda: d.setdefault("y"),
            lambda: d.update({"y": 1}),
            lambda: items.append(1),
            lambda: items.append([]),
            lambda: items.__setitem__(0, 1),
            lambda: items.__delitem__(0),
            lambda: items.pop(),
            lambda: items.insert(0, 1),
            lambda: items.extend([1]),
            lambda: items.clear(),
            lambda: items.sort(),
            lambda: items.reverse(),
            lambda: items.__setitem__(slice(0, 1), [5]),
        ]
        for change in changes:
            with pytest.raises(mheap.ReadOnlyHeap):
                change()
        assert d.setdefault("x", 5) == 1
        assert reader.root == {"d": {"x": 1}, "l": [3, 1, 2]}
    assert heap_path.read_bytes() == content


def test_readonly_without_a_root_has_an_empty_one(heap: mheap.Heap, heap_path: Path) -> None:
    heap.close()
    with mheap.open(heap_path, mode="readonly") as reader:
        assert reader.root == {}
        assert reader.root is reader.root
        assert list(reader.root) == []
        assert "x" not in reader.root
        assert repr(reader.root) == "{}"
        with pytest.raises(mheap.ReadOnlyHeap):
            reader.root["x"] = 1


def test_scratch_changes_are_thrown_away(heap: mheap.Heap, heap_path: Path) -> None:
    heap.root["d"] = {"x": [1, 2, 3]}
    heap.close()
    with mheap.open(heap_path, mode="scratch") as scratch:
        scratch.root["d"]["x"].append(4)
        scratch.root["new"] = {"long text in it": "long text in it"}
        assert scratch.root == {"d": {"x": [1, 2, 3, 4]}, "new": {"long text in it": "long text in it"}}
    with mheap.open(heap_path, mode="readonly") as reader:
        assert reader.root == {"d": {"x": [1, 2, 3]}}


DEPTH = 100_000


def test_a_hundred_thousand_levels(heap: mheap.Heap) -> None:
    root = made_root(heap)
    before = blocks(heap)
    deep: Any = "the innermost text"
    for i in range(DEPTH):
        deep = [deep] if i % 2 else {"x": deep}
    root["deep"] = deep
    stored = root["deep"]
    assert stored == deep
    assert stored == stored.to_python()
    root["other"] = deep
    assert stored == root["other"]
    other: Any = root["other"]
    inner: Any = other
    while type(inner) is not str:
        other, inner = inner, next(iter(inner.values())) if hasattr(inner, "values") else inner[0]
    other["x"] = "another text"
    assert stored != root["other"]
    del other, inner
    text = repr(stored)
    assert len(text) > 4 * DEPTH
    assert text.startswith("[{'x': [{'x': ")
    assert is_sound(heap)
    copied = copy.deepcopy(stored)
    del stored
    root.clear()
    assert blocks(heap) == before
    for nested in (deep, copied):  # CPython frees what it nests recursively, to a depth
        while not isinstance(nested, str):
            nested = nested.pop() if type(nested) is list else nested.pop("x")


def test_ordering_of_deep_lists(root: PersistentDict) -> None:
    low: Any = [1]
    high: Any = [2]
    for _ in range(20_000):
        low, high = [low], [high]
    root["low"], root["high"] = low, high
    assert root["low"] < root["high"]
    assert root["high"] >= root["low"]
    assert not root["low"] > root["high"]
    for nested in (low, high):
        while nested:
            nested = nested.pop() if isinstance(nested, list) else None


def test_equal_cycles_are_equal(root: PersistentDict) -> None:
    for name in ("a", "b"):
        cycle: dict[str, Any] = {"list": []}
        cycle["list"].append(cycle)
        root[name] = cycle
    assert root["a"] is not root["b"]
    assert root["a"] == root["b"]
    root["b"]["list"].append(1)
    assert root["a"] != root["b"]


def test_text_that_sharing_would_make_endless_is_cut(root: PersistentDict) -> None:
    bomb: list[Any] = ["x"]
    for _ in range(60):
        bomb = [bomb, bomb]
    root["bomb"] = bomb
    text = repr(root["bomb"])
    assert "[...]" in text
    assert len(text) < 1 << 28


def test_copies_are_plain(root: PersistentDict) -> None:
    root["d"] = {"x": [1, {"y": 2}]}
    root["l"] = [[1], 2]
    d, items = root["d"], root["l"]
    for shallow in (d.copy(), copy.copy(d), dict(d)):
        assert type(shallow) is dict
        assert shallow["x"] is d["x"]
    for shallow_list in (items.copy(), copy.copy(items), list(items), items[:]):
        assert type(shallow_list) is list
        assert shallow_list[0] is items[0]
    assert type(copy.deepcopy(d)["x"]) is list
    assert type(copy.deepcopy({"t": d})["t"]["x"][1]) is dict
    assert type(copy.deepcopy(items)[0]) is list
    assert to_python(5) == 5


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_is_by_value(root: PersistentDict, protocol: int) -> None:
    root["d"] = {"x": [1, {"y": "text"}], "same": None}
    root["d"]["same"] = root["d"]["x"]
    root["d"]["self"] = root["d"]
    data = pickle.dumps(root["d"], protocol)
    assert b"mheap" not in data
    plain = pickle.loads(data)
    assert type(plain) is dict
    assert type(plain["x"]) is list
    assert plain["self"] is plain
    assert plain["same"] is plain["x"]
    assert plain["x"] == [1, {"y": "text"}]


def test_json_through_default(root: PersistentDict) -> None:
    root["d"] = {"x": [1, {"y": None}]}
    assert json.loads(json.dumps(root["d"], default=to_python)) == {"x": [1, {"y": None}]}


def test_pattern_matching(root: PersistentDict) -> None:
    root["d"] = {"id": 5, "tags": ["a", "b", "c"]}
    match root["d"]:
        case {"id": identity, "tags": [first, *rest]}:
            assert (identity, first, rest) == (5, "a", ["b", "c"])
        case _:
            pytest.fail("no case matched")


def test_twins_are_made_by_a_heap_only() -> None:
    for twin in (PersistentDict, PersistentList):
        with pytest.raises(TypeError, match="made by storing"):
            twin()


def test_twins_are_not_hashable_and_refuse_attributes(root: PersistentDict) -> None:
    root["l"] = []
    twin: Any
    for twin in (root, root["l"]):
        with pytest.raises(TypeError, match="unhashable"):
            hash(twin)
        with pytest.raises(AttributeError):
            twin.attribute = 1


def test_a_stale_twin_says_so(heap: mheap.Heap) -> None:
    """As when its block was freed and used again behind the object layer's back."""
    made_root(heap)["d"] = {"x": 1}
    twin = heap.root["d"]
    head = struct.pack("<QQ", 0x40 << 24 | 1, 2)  # of a dict with one reference, born second
    for offset in range(heap.size - 32, 0x20000, -16):
        try:
            view = heap.view(heap.base + offset, 32)
        except mheap.MheapError:
            continue
        with view:
            if view[:16] == head:
                view[8:16] = struct.pack("<Q", 99)
                break
    else:
        pytest.fail("the dict's block was not found")
    with pytest.raises(mheap.StaleObject, match="gone"):
        len(twin)
    assert heap.root["d"] is not twin
    assert heap.root["d"] == {"x": 1}


def test_a_signal_in_the_middle_of_storing_leaves_the_heap_as_it_was(heap: mheap.Heap) -> None:
    root = heap.root
    root["kept"] = 1
    before = blocks(heap)
    big = {f"key number {i}": [f"value {i}", {"n": i}] for i in range(200_000)}

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(KeyboardInterrupt):
            root.update(dict.fromkeys(range(1000), big))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    for key in range(1000):
        root.pop(key, None)
    assert root == {"kept": 1}
    assert blocks(heap) <= before + 2
    assert is_sound(heap)


def in_child(work: Callable[[], object]) -> int:
    """The exit code of a forked child: 0 if this works there."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException as error:
            print(repr(error), file=sys.stderr)
        os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def test_a_forked_child_reads_on_with_twins_it_inherited(heap: mheap.Heap, heap_path: Path) -> None:
    heap.root["d"] = {"x": [1, 2]}
    heap.close()
    with mheap.open(heap_path, mode="readonly") as reader:
        twin = reader.root["d"]

        def work() -> None:
            assert twin["x"][1] == 2
            assert reader.root["d"] is twin
            assert twin["x"] is reader.root["d"]["x"]

        assert in_child(work) == 0
        work()


def test_a_forked_child_changes_nothing(heap: mheap.Heap) -> None:
    heap.root["d"] = {"x": [1, 2]}
    twin, removed = heap.root["d"], heap.root["d"]["x"]
    del twin["x"]

    def work() -> None:
        nonlocal twin, removed
        with pytest.raises(mheap.MheapError):
            twin["y"] = 1
        del twin, removed
        gc.collect()

    assert in_child(work) == 0
    twin["y"] = 2
    assert removed == [1, 2]
    assert heap.root["d"] == {"y": 2}
    assert is_sound(heap)


def test_memory_of_python_is_given_back(root: PersistentDict) -> None:
    gc.collect()
    types = [PersistentDict, PersistentList, *SCALARS[:3]]
    root["d"] = {"x": [{} for _ in range(10)], "text": "a text that is long"}

    def work() -> None:
        for _ in range(50):
            root["d"]["x"][3]["n"] = [1, {"a": "long enough text"}]
            list(root["d"].items()), root["d"]["x"][:], repr(root["d"])
            root["d"]["x"].append(root["d"]["x"][0])
            root["d"]["x"].pop()
            assert "absent" not in root["d"]
            root["d"].pop("absent", None)

    work()
    before = [sys.getrefcount(kind) for kind in types]
    work()
    gc.collect()
    assert [sys.getrefcount(kind) for kind in types] == before


CHANGE_FOR_EVER = """
import sys, mheap

with mheap.open(sys.argv[1], mode="live") as heap:
    print("ready", flush=True)
    for i in range(sys.maxsize):
        heap.root[f"key {i % 500}"] = {"list": ["x" * (i % 900)] * (i % 7), "int": 2 ** (i % 200)}
        if i % 3 == 0:
            heap.root.pop(f"key {i * 7 % 500}", None)
"""


def test_checking_beside_a_writer_is_harmless(heap_path: Path) -> None:
    """What was checked may have changed when it is used: nothing is read twice."""
    command = [sys.executable, "-c", CHANGE_FOR_EVER, str(heap_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            for _ in range(3000):
                with mheap.open(heap_path, mode="readonly", unsafe=True) as heap:
                    heap.check()
        finally:
            writer.kill()


def test_checking_while_other_threads_store_is_harmless(heap_path: Path) -> None:
    with mheap.open(heap_path, mode="live") as heap:
        ended = threading.Event()

        def store() -> None:
            for i in range(60_000):
                heap.root[i % 3000] = {"list": ["x" * (i % 900)] * (i % 7), "int": 2 ** (i % 200)}
            ended.set()

        thread = threading.Thread(target=store)
        thread.start()
        while not ended.is_set():
            heap.check()
        thread.join()
        assert heap.check()


NAN_VALUES: dict[str, Callable[[], Any]] = {
    "a list": lambda: [1, [2]],
    "a tuple": lambda: (1, [2], 10**30),
    "a text": lambda: "a text of so many characters",
    "a sorted dict": lambda: mheap.SortedDict({1: [2]}),
}


@pytest.mark.parametrize("kind", NAN_VALUES)
@pytest.mark.parametrize("in_tuples", [False, True])
def test_keys_that_are_equal_in_a_heap_alone(heap_path: Path, kind: str, in_tuples: bool) -> None:
    """As two NaNs are: the later one's value takes the place of the first's, which may be met again."""

    def key() -> Any:
        return (float("nan"), 1) if in_tuples else float("nan")

    value = NAN_VALUES[kind]()
    with mheap.open(heap_path, mode="live") as heap:
        heap.root["x"] = 1
        blocks = heap.stats().chunks_used
        heap.root["x"] = {key(): NAN_VALUES[kind](), key(): 3}
        assert list(heap.root["x"].values()) == [3]
        heap.root["x"] = {
            key(): value,
            key(): 3,
            "new": ["of so many characters, too"],
            "again": [value, value],
        }
        (_, three), (_, new), (_, again) = heap.root["x"].items()
        assert (three, new, again) == (3, ["of so many characters, too"], [value, value])
        with pytest.raises(TypeError, match="a heap holds"):
            heap.root["x"] = [{key(): value, key(): 3, "again": [value, value]}, object()]
        assert heap.check()
        mheap.dump({key(): value, key(): 3, "again": [value]}, heap_path.with_suffix(".dump"))
        del new, again
        heap.root["x"] = 1
        gc.collect()
        assert heap.stats().chunks_used == blocks
        assert heap.check()
    with mheap.restore(heap_path.with_suffix(".dump")) as restored:
        assert restored.root["again"] == [value]
        assert restored.check()


def test_a_key_that_is_met_again_is_referred_to_once(heap_path: Path) -> None:
    """Storing a value of a registered type may change the dict that is stored."""
    key = "a key of so many characters"
    plain: dict[str, Any] = {}

    class Moving:
        pass

    def state_of(moving: Moving) -> tuple[()]:
        plain[key] = plain.pop(key)
        return ()

    mheap.register(Moving, state_of, lambda _: Moving(), name="tests:Moving")
    plain.update({key: 1, "moving": Moving(), "again": [key, key]})
    with mheap.open(heap_path, mode="live") as heap:
        heap.root["x"] = 1
        blocks = heap.stats().chunks_used
        heap.root["x"] = plain
        assert (heap.root["x"][key], heap.root["x"]["again"]) == (1, [key, key])
        findings: list[Any] = []
        heap.check(findings.append)
        assert findings == []
        heap.root["x"] = 1
        gc.collect()
        assert heap.stats().chunks_used == blocks
