"""Nothing is left behind by calls, whether they succeed or fail: objects, descriptors, mappings; and no
reference to what lives on, which only an interpreter that was built for debugging counts."""

from __future__ import annotations

import array
import contextlib
import copy
import ctypes
import datetime as dt
import gc
import pickle
import sys
import warnings
import weakref
from collections import Counter, deque
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import mheap

ROUNDS = 200


def attach_and_detach(heap: mheap.Heap, path: Path) -> None:
    with mheap.open(path.with_suffix(".other"), mode="live") as other:
        other.mmcheck(lambda md, address, status: None, force=True)
        other.mmtrace(path.with_suffix(".trace"))
        other.roots["a"] = other.malloc(10)


def attach_a_busy_one(heap: mheap.Heap, path: Path) -> None:
    mheap.open(path, mode="live")


def attach_no_heap(heap: mheap.Heap, path: Path) -> None:
    mheap.open(__file__, mode="readonly")


def attach_nothing(heap: mheap.Heap, path: Path) -> None:
    mheap.open(path.with_suffix(".none"), mode="readonly")


def attach_in_a_bad_mode(heap: mheap.Heap, path: Path) -> None:
    mheap.open(path, mode="bad")  # type: ignore[arg-type]


def attach_memory(heap: mheap.Heap, path: Path) -> None:
    mheap.attach(-1).close()


def allocate(heap: mheap.Heap, path: Path) -> None:
    heap.free(heap.realloc(heap.calloc(3, 5), 2**16))
    mheap.free(None, mheap.malloc(None, 10))


def free_nothing_of_ours(heap: mheap.Heap, path: Path) -> None:
    heap.free(12345)


def pass_wrong_types(heap: mheap.Heap, path: Path) -> None:
    heap.malloc("1")  # type: ignore[arg-type]


def pass_huge_numbers(heap: mheap.Heap, path: Path) -> None:
    heap.malloc(2**100)


def use_roots(heap: mheap.Heap, path: Path) -> None:
    address = heap.malloc(16)
    heap.setkey(0, address)
    heap.roots["name"] = address
    assert dict(heap.roots) == {"name": heap.getkey(0)}
    del heap.roots["name"]
    heap.free(address)


def miss_a_root(heap: mheap.Heap, path: Path) -> None:
    heap.roots["none"]


def view(heap: mheap.Heap, path: Path) -> None:
    address = heap.malloc(16)
    with contextlib.suppress(BufferError), heap.view(address, 16):
        heap.close()
    heap.free(address)


def look(heap: mheap.Heap, path: Path) -> None:
    findings: list[mheap.Finding] = []
    heap.check(findings.append, lambda done, total: None)
    repr((heap, heap.info(), heap.stats(), heap.mmstats(), heap.uuid, findings))


def fail_in_a_check(heap: mheap.Heap, path: Path) -> None:
    def fail(done: int, total: int) -> None:
        raise LookupError

    heap.check(None, fail)


def pickle_it(heap: mheap.Heap, path: Path) -> None:
    pickle.loads(pickle.dumps(heap))


def trace_to_nowhere(heap: mheap.Heap, path: Path) -> None:
    heap.mmtrace(path.with_suffix(".no") / "trace")


def discard(heap: mheap.Heap, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mheap.UncommittedChanges)
        other = mheap.open(path.with_suffix(".discarding"))
        other.root["a"] = 1
        other.close()


atomic: dict[Path, mheap.Heap] = {}  # opened once, since closing waits for the disk


def commit_and_roll_back(heap: mheap.Heap, path: Path) -> None:
    if path not in atomic:
        atomic[path] = mheap.open(path.with_suffix(".atomic"))
    other = atomic[path]
    with contextlib.suppress(LookupError), other.transaction(durable=False):
        other.root["a"] = {"b": [1]}
        raise LookupError
    with other.transaction(durable=False), other.transaction(durable=False):
        other.root["a"] = {"b": [2]}
    inner, kept = other.root["a"]["b"], other.root.pop("a")
    other.commit(durable=False)
    other.root["x"] = other.heap_new_ex(1, True).number
    other.rollback()
    assert (inner, kept, other.dirty.pages) == ([2], {"b": [2]}, 0)


def refuse_to_commit(heap: mheap.Heap, path: Path) -> None:
    with contextlib.suppress(mheap.InvalidArgument):
        heap.commit()
    with contextlib.suppress(mheap.InvalidArgument):
        heap.transaction()
    mheap.rollback(None)


def store_and_read_values(heap: mheap.Heap, path: Path) -> None:
    day = dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc)
    value = (
        1,
        ("text that is long", [day]),
        frozenset({Decimal("1.5"), (2, 3j)}),
        bytearray(b"x"),
        {day: day},
    )
    heap.root["v"] = [value, value]
    assert heap.root["v"][0] == value
    heap.root["d"] = {(1, "a long text"): 1, frozenset({(1, 2), day}): 2}
    heap.root["d"][1, "another text"] = heap.root["d"].pop((1, "a long text"))
    assert heap.root["d"].get((1, day)) is None
    assert heap.root["d"].popitem() == ((1, "another text"), 1)
    repr(heap.root)
    heap.root.to_python()
    heap.root["p"] = mheap.Pickled([1])
    heap.root["p"]


def refuse_values(heap: mheap.Heap, path: Path) -> None:
    deep: Any = (1,)
    for _ in range(210):
        deep = (deep,)
    attempts: list[Any] = [
        (1, ["text", object()]),
        frozenset({deep}),
        {(1, object()): 2},
        {deep: 1},
        [deep, type],
    ]
    for attempt in attempts:
        with contextlib.suppress(TypeError, RecursionError):
            heap.root["x"] = attempt
        with contextlib.suppress(TypeError, RecursionError):
            heap.root[attempt] = 1
        with contextlib.suppress(TypeError, RecursionError):
            heap.root.get(attempt)


def use_arrays(heap: mheap.Heap, path: Path) -> None:
    heap.root["a"] = a = heap.array((3, 2), "i4")
    heap.root["b"] = [array.array("d", [1]), heap.put_array(b"bytes")]
    a.append([1, 2])
    a.extend(a)
    memoryview(a)[1, 1] = 5
    assert [*a][1][1] == 5
    with memoryview(a):
        for refused in (lambda: a.resize(1000), lambda: a.append([1]), lambda: a.append("x"), lambda: a[99]):
            with contextlib.suppress(BufferError, ValueError, TypeError, IndexError):
                refused()
    repr(heap.root)
    heap.root.to_python()
    for kind in ("O", "nothing", [("a", object)]):
        with contextlib.suppress(TypeError):
            heap.array(3, kind)
    with contextlib.suppress(mheap.SizeOverflow):
        heap.array((1 << 40, 1 << 40))


def use_containers(heap: mheap.Heap, path: Path) -> None:
    root, long = heap.root, "a text that is longer than a word"
    root["c"] = [{1: long, long: [long]}, [3, long, 1.5, long], {1, long}, deque([long], 3)]
    d, items, s, q = root["c"]
    d.setdefault(2, []).append(long)
    d.update({3: long}, x=long)
    items += [1, 2]
    items[1:2] = [long, 5, 6]
    items[::2] = list(range(len(items[::2])))
    items.sort(key=str, reverse=True)
    items.insert(1, long)
    s |= {2, (3, long)}
    s ^= {2, 7}
    q.extend([1, 2, long])
    q.rotate(1)
    for container in (d, items, s, q):
        assert container == copy.copy(container) == copy.deepcopy(container)
        assert list(container) == [*container]
        assert (repr(container), len(container), bool(container)) == (repr(container), len(container), True)
        next(iter(container))
        pickle.loads(pickle.dumps(container))
        weakref.ref(container)
    list(d.items()), list(d.values()), list(reversed(d)), list(reversed(items)), list(reversed(q))
    root["circle"] = [root["c"], d.popitem(), items.pop(), s.pop(), q.popleft()]
    root["circle"] += [d | {1: 2}, items * 2, s - {1}]
    root["circle"].append(root["circle"])
    del root["circle"], root["c"]
    heap.collect()
    assert heap.root is root


class Pair(mheap.Record):
    name: str
    other: object = None


def use_sorted_and_records(heap: mheap.Heap, path: Path) -> None:
    root, long = heap.root, "a text that is longer than a word"
    root["s"] = [mheap.SortedDict({i: [long] for i in range(40)}), Counter([long, 1, 1])]
    root["r"] = [Pair(long, [1]), mheap.RecordList(Pair, [Pair(long), Pair("b", 2)])]
    (d, c), (pair, rows) = root["s"], root["r"]
    for i in range(0, 40, 2):
        del d[i]
    d[5], d[0.5] = long, 1
    assert d.bisect(7) == d.keys().index(7) + 1
    list(d.irange(3, 9)), list(d.islice(1, 4)), d.popitem(0), d.peekitem(), reversed(d)
    c.update([long, 2]), c.subtract([1]), c + c, c.most_common(1), list(c.elements())
    pair.name, pair.other = "c", {long: pair}
    rows.append(pair), rows.insert(0, Pair(long)), rows.pop(), list(rows), rows[0:2], rows[0].name
    for each in (d, c, pair, rows):
        assert each == copy.deepcopy(each)
        repr(each), each.to_python(), weakref.ref(each), pickle.dumps(each)
    attempts: list[Callable[[], Any]] = [
        lambda: d["x"],
        lambda: d.update({"x": 1}),
        lambda: [d.clear() for _ in d],
        lambda: setattr(pair, "name", 5),
        lambda: pair.nothing,
        lambda: rows.append(5),
        lambda: rows.column("name"),
        lambda: Pair(5),  # type: ignore[arg-type]
    ]
    for attempt in attempts:
        with contextlib.suppress(TypeError, LookupError, RuntimeError, AttributeError):
            attempt()
    del root["s"], root["r"]
    heap.collect()


def misuse_containers(heap: mheap.Heap, path: Path) -> None:
    heap.root["m"] = [{1: 2}, [1, 2], {3}, deque([4])]
    d, items, s, q = heap.root["m"]
    attempts: list[Callable[[], Any]] = [
        lambda: d[5],
        lambda: d.pop(5),
        lambda: d[[]],
        lambda: d.update([1]),
        lambda: [d.clear() for _ in d],
        lambda: items[9],
        lambda: items.remove(9),
        lambda: items.__setitem__(slice(0, 9, 3), [1]),
        lambda: items.extend(object()),
        lambda: items.sort(key=lambda x: 1 / 0),
        lambda: s.remove(9),
        lambda: s.add([]),
        lambda: s.update([1, {}]),
        lambda: [s.add(10 + x) for x in s],
        lambda: q.index(9),
        lambda: q.__delitem__(7),
        lambda: [q.append(1) for _ in q],
        lambda: d.setdefault(object(), 1),
        lambda: s < 1,
        lambda: items + 1,
    ]
    for attempt in attempts:
        with contextlib.suppress(TypeError, LookupError, ValueError, RuntimeError, ArithmeticError):
            attempt()


def come_and_go(heap: mheap.Heap, path: Path) -> None:
    for name in ("one", "a name that has a block"):
        heap.new(name, tag=3).root["a"] = {"b": [1], "circle": []}
    one, other = heap.named.values()
    one.root["a"]["circle"].append(one.root["a"])
    other.root["of one"], heap.root["of one"] = one.root["a"], one.root["a"]
    twin, root, items = one.root["a"], one.root, iter(one.root["a"])
    repr((heap.named, one, one.name, one.stats(), dict(heap.named)))
    heap.collect()
    with contextlib.suppress(mheap.InvalidArgument):
        heap.new("one")
    with contextlib.suppress(mheap.NotFound):
        heap.named["none"]
    for end in (one.close, one.close, lambda: heap.named["one"].destroy(), other.destroy):
        end()
    for use in (twin.copy, root.copy, lambda: next(items), lambda: heap.root.update(a=twin)):
        with contextlib.suppress(mheap.StaleObject, mheap.ClosedHeap):
            use()
    heap.root.clear()


def make_and_undo(heap: mheap.Heap, path: Path) -> None:
    if path not in atomic:
        atomic[path] = mheap.open(path.with_suffix(".atomic"))
        atomic[path].new("kept").root["a"] = {"b": [1]}
        atomic[path].commit(durable=False)
    other = atomic[path]
    made, kept = other.new("made"), other.named["kept"]
    made.root["a"] = kept.root["a"]
    twins = [made.root["a"], kept.root["a"]]
    kept.destroy()
    other.rollback()
    for twin in twins:
        with contextlib.suppress(mheap.StaleObject):
            len(twin)
    assert list(other.named) == ["kept"]
    held = other.named["kept"].root.pop("a")
    other.commit(durable=False)
    other.named["kept"].root["a"] = held
    other.commit(durable=False)


def measure() -> tuple[int, int, int, int]:
    gc.collect()
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    mappings = len(Path("/proc/self/maps").read_text().splitlines())
    references = getattr(sys, "gettotalrefcount", lambda: 0)()
    return sys.getallocatedblocks(), references, descriptors, mappings


def grown(heap: mheap.Heap, path: Path, body: Callable[[mheap.Heap, Path], None]) -> tuple[int, ...]:
    """What is there more after a stretch of rounds: of four, the best of each kind, since caches of the
    interpreter's may still grow in one; a leak shows in every one."""
    differences = []
    for _ in range(4):
        before = measure()
        for _ in range(ROUNDS):
            with contextlib.suppress(mheap.MheapError, TypeError, LookupError, OSError):
                body(heap, path)
        differences.append([b - a for a, b in zip(before, measure(), strict=True)])
    while atomic:
        atomic.popitem()[1].close()
    return tuple(min(kind) for kind in zip(*differences, strict=True))


@pytest.mark.parametrize(
    "body",
    [
        attach_and_detach,
        attach_a_busy_one,
        attach_no_heap,
        attach_nothing,
        attach_in_a_bad_mode,
        attach_memory,
        allocate,
        free_nothing_of_ours,
        pass_wrong_types,
        pass_huge_numbers,
        use_roots,
        miss_a_root,
        view,
        look,
        fail_in_a_check,
        pickle_it,
        trace_to_nowhere,
        discard,
        commit_and_roll_back,
        refuse_to_commit,
        store_and_read_values,
        refuse_values,
        use_containers,
        use_sorted_and_records,
        misuse_containers,
        come_and_go,
        make_and_undo,
        use_arrays,
    ],
)
def test_nothing_is_left(heap: mheap.Heap, heap_path: Path, body: Callable[[mheap.Heap, Path], None]) -> None:
    blocks, references, descriptors, mappings = grown(heap, heap_path, body)
    assert blocks < ROUNDS // 2
    assert references < ROUNDS // 2
    assert descriptors <= 0
    assert mappings < ROUNDS // 10


def test_what_is_left_would_be_found(heap: mheap.Heap, heap_path: Path) -> None:
    kept: list[list[int]] = []
    blocks, _, _, _ = grown(heap, heap_path, lambda heap, path: kept.append([]))
    assert blocks >= ROUNDS
    if hasattr(sys, "gettotalrefcount"):
        take = ctypes.pythonapi.Py_IncRef
        _, references, _, _ = grown(heap, heap_path, lambda heap, path: take(ctypes.py_object(kept)))
        assert references >= ROUNDS
