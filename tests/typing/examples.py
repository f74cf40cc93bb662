"""What type checkers make of mheap. Never run: mypy compares each assert_type with what it would reveal."""

from __future__ import annotations

import enum
import os
from pathlib import Path
from typing import TYPE_CHECKING

import mheap

if TYPE_CHECKING:
    from collections import Counter, deque
    from collections.abc import Iterator
    from typing import Any, Literal

    from typing_extensions import assert_type

    from mheap.arrays import PersistentArray
    from mheap.counter import PersistentCounter
    from mheap.objects import PersistentDeque, PersistentDict, PersistentSet
    from mheap.roots import Roots
    from mheap.sorted import PersistentSortedDict


def attaching(path: Path) -> None:
    heap = mheap.open(path, mode="live")
    assert_type(heap, mheap.Heap)
    assert_type(
        mheap.open(os.fsencode(path), mode="readonly", timeout=1, max_size=1 << 30, unsafe=True), mheap.Heap
    )
    assert_type(mheap.attach(-1), mheap.Heap)
    with path.open() as file, mheap.attach(file, None, mode="scratch") as entered:
        assert_type(entered, mheap.Heap)
    assert_type(mheap.findbase(4096), int | None)


def dumping(heap: mheap.Heap, path: Path) -> None:
    mheap.dump({"a": [1]}, path, replace=False, durable=False, hash_seed=bytes(16))
    assert_type(mheap.restore(path, verify=True, populate=True), mheap.Heap)
    heap.dump(os.fsencode(path), durable=False)
    heap.prefetch()


def properties(heap: mheap.Heap) -> None:
    assert_type(heap.path, str | None)
    assert_type(heap.mode, Literal["atomic", "live", "readonly", "scratch"])
    assert_type(heap.closed, bool)
    assert_type(heap.base, int)
    assert_type(heap.generation, int)
    assert_type(heap.dirty, mheap.Dirty)
    assert_type(heap.collect(max_pause=0.01), mheap.Collected)
    assert_type(heap.collect(True, steps=1).pause, float)
    assert_type(heap.dirty.bytes, int)
    with heap.transaction(durable=False) as same:
        assert_type(same, mheap.Heap)
    assert_type(mheap.open("path"), mheap.Heap)
    assert_type(heap.uuid, str)
    assert_type(heap.root, PersistentDict)
    assert_type(heap.roots, Roots)
    assert_type(heap.roots["name"], int)
    assert_type(list(heap.roots), list[str])


def sets_and_deques(s: PersistentSet, d: PersistentDeque) -> None:
    assert_type(s | {1}, set[Any])
    assert_type(s.union([1], "ab"), set[Any])
    assert_type(s <= frozenset(), bool)
    assert_type(s.to_python(), set[Any])
    assert_type(d.maxlen, int | None)
    assert_type(d.copy(), deque[Any])
    assert_type(d + d, deque[Any])
    assert_type(d.index(1), int)
    s |= {1}
    assert_type(s, PersistentSet)
    d += [1]
    assert_type(d, PersistentDeque)


def arrays(heap: mheap.Heap) -> None:
    a = heap.array((3, 2), "i4")
    assert_type(a, PersistentArray)
    assert_type(heap.put_array(b"bytes"), PersistentArray)
    assert_type(a.shape, tuple[int, ...])
    assert_type(len(memoryview(a)), int)
    assert_type(a == a, bool)
    assert_type(a.resize(4), None)


def counters_and_sorted_dicts(c: PersistentCounter, d: PersistentSortedDict) -> None:
    assert_type(c.most_common(2), list[tuple[Any, Any]])
    assert_type(c + c, Counter[Any])
    assert_type(c.copy(), Counter[Any])
    c += c
    assert_type(c, PersistentCounter)
    assert_type(d.peekitem(), tuple[Any, Any])
    assert_type(d.popitem(0), tuple[Any, Any])
    assert_type(d.irange(1, 5, (True, False), reverse=True), Iterator[Any])
    assert_type(d.bisect_left(1), int)
    assert_type(d.keys().index(1), int)
    assert_type(d.copy(), dict[Any, Any])
    d |= {1: 2}
    assert_type(d, PersistentSortedDict)
    assert_type(mheap.SortedDict({1: 2}), mheap.SortedDict)


class Point:
    def __init__(self, x: int) -> None:
        self.x = x


@mheap.register_enum
class Color(enum.Enum):
    RED = 1


def values(heap: mheap.Heap) -> None:
    assert_type(mheap.register(Point, lambda point: point.x, Point), type[Point])
    assert_type(Color, type[Color])
    assert_type(mheap.open("path", allow_pickle=True), mheap.Heap)
    heap.root["x"] = mheap.Pickled({1})


class User(mheap.Record):
    id: int
    name: str
    score: float = 0.0
    friends: list[str] = mheap.field(default_factory=list)
    big: mheap.BigInt = 0


class Place(mheap.Record, frozen=True, kw_only=True):
    x: int
    y: int = 0


def records(heap: mheap.Heap) -> None:
    user = User(1, "ada", friends=["bob"])
    assert_type(user.id, int)
    assert_type(user.friends, list[str])
    assert_type(user.big, int)
    assert_type(user.to_python(), User)
    assert_type(mheap.replace(user, id=2), User)
    assert_type(mheap.asdict(user)["id"], Any)
    assert_type(Place(x=1).y, int)
    users = mheap.RecordList(User, [user, (2, "bob"), {"id": 3, "name": "eve"}])
    assert_type(users, mheap.RecordList[User])
    assert_type(users[0].name, str)
    heap.root["users"] = users
    match user:
        case User(number, name):
            assert_type(number, int)
            assert_type(name, str)


def blocks(heap: mheap.Heap) -> None:
    address = heap.malloc(100)
    assert_type(address, int)
    assert_type(mheap.realloc(None, address, 200), int)
    assert_type(heap.getkey(0), int | None)
    assert_type(mheap.usable_size(heap, None), int)
    assert_type(heap.view(address, 100), memoryview)
    assert_type(heap.mprobe(address), Literal["disabled", "ok", "free", "head", "tail"])
    heap.setkey(0, None)
    heap.free(address)


def counting(heap: mheap.Heap) -> None:
    assert_type(heap.info().state, Literal["clean", "open", "sealed"])
    assert_type(heap.stats().classes[0].used, int)
    assert_type(heap.mmstats(), mheap.MmStats)
    assert_type(mheap.mmstats(None).bytes_used, int)
    findings: list[mheap.Finding] = []
    assert_type(heap.check(findings.append, progress=lambda done, total: print(done / total)), bool)
    assert_type(findings[0].text, str)


def more_heaps(heap: mheap.Heap) -> None:
    arena = mheap.arenas.reserve_os_memory(1 << 22, md=heap)
    assert_type(arena, mheap.arenas.ArenaId)
    assert_type(arena.area, tuple[int, int])
    assert_type(arena.numa_node, int | None)
    assert_type(arena.heap, mheap.Heap | None)
    assert_type(mheap.arenas.list(heap)[0].exclusive, bool)
    assert_type(mheap.arenas.manage_os_memory(bytearray(1 << 20)), mheap.arenas.ArenaId)
    assert_type(mheap.heap_new_in_arena(arena), mheap.Heap)
    assert_type(heap.heap_new_ex(1, True, arena).main, mheap.Heap)
    assert_type(heap.heaps(), tuple[mheap.Heap, ...])
    assert_type(heap.arena, mheap.arenas.ArenaId | None)
    try:
        mheap.arenas.reserve_huge_os_pages_at(1, timeout_msecs=10)
    except mheap.HeapTimeout as error:
        assert_type(error.arena, mheap.arenas.ArenaId | None)


def errors(path: Path) -> None:
    try:
        mheap.open(path, mode="readonly")
    except mheap.MheapError as error:
        assert_type(error.offset, int | None)
        assert_type(error.code, int)
        raise LookupError from error
