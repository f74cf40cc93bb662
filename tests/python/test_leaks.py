"""Nothing is left behind by calls, whether they succeed or fail: objects, descriptors, mappings."""

from __future__ import annotations

import array
import contextlib
import datetime as dt
import gc
import pickle
import sys
import warnings
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


def measure() -> tuple[int, int, int]:
    gc.collect()
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    mappings = len(Path("/proc/self/maps").read_text().splitlines())
    return sys.getallocatedblocks(), descriptors, mappings


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
        use_arrays,
    ],
)
def test_nothing_is_left(heap: mheap.Heap, heap_path: Path, body: Callable[[mheap.Heap, Path], None]) -> None:
    def rounds(count: int) -> None:
        for _ in range(count):
            with contextlib.suppress(mheap.MheapError, TypeError, LookupError, OSError):
                body(heap, heap_path)

    # Caches of the interpreter's may still grow in one stretch; a leak shows in every one.
    grown = []
    for _ in range(4):
        before = measure()
        rounds(ROUNDS)
        grown.append([b - a for a, b in zip(before, measure(), strict=True)])
    while atomic:
        atomic.popitem()[1].close()
    blocks, descriptors, mappings = (min(kind) for kind in zip(*grown, strict=True))
    assert blocks < ROUNDS // 2
    assert descriptors <= 0
    assert mappings < ROUNDS // 10
