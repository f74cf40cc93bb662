"""What type checkers must refuse: a line that is not refused makes mypy complain of its comment."""

from __future__ import annotations

from pathlib import Path

import mheap


def mistakes(path: Path, heap: mheap.Heap) -> None:
    mheap.open(path, "live")  # type: ignore[call-arg]
    mheap.open(path, mode="Atomic")  # type: ignore[arg-type]
    mheap.open(path, journal_limit="1 GiB")  # type: ignore[arg-type]
    heap.commit("durable")  # type: ignore[arg-type]
    heap.dirty = True  # type: ignore[misc, assignment]
    mheap.Transaction(heap)  # type: ignore[call-arg]
    mheap.attach("path")  # type: ignore[arg-type]
    mheap.Heap(1)  # type: ignore[call-arg]
    heap.malloc(1.5)  # type: ignore[arg-type]
    heap.malloc(None)  # type: ignore[arg-type]
    mheap.malloc(100)  # type: ignore[arg-type, call-arg]
    heap.view(None, 1)  # type: ignore[arg-type]
    heap.getkey("name")  # type: ignore[arg-type]
    heap.roots["name"] = "address"  # type: ignore[assignment]
    heap.mmcheck(lambda: None)  # type: ignore[arg-type, misc]
    heap.base = 5  # type: ignore[misc]
    mheap.detach(None)  # type: ignore[arg-type]
    heap.heap_new_ex(1)  # type: ignore[call-arg]
    heap.heap_new_ex(1, True, 1)  # type: ignore[arg-type]
    mheap.heap_new_in_arena(1)  # type: ignore[arg-type]
    mheap.arenas.area(1)  # type: ignore[arg-type]
    mheap.arenas.ArenaId(1)  # type: ignore[call-arg]


class User(mheap.Record):
    id: int
    name: str = ""


class Point(mheap.Record, frozen=True):
    x: int


def records() -> None:
    User()  # type: ignore[call-arg]
    User("one")  # type: ignore[arg-type]
    User(1, nose=2)  # type: ignore[call-arg]
    User(1).id = "one"  # type: ignore[assignment]
    Point(1).x = 2  # type: ignore[misc]
    mheap.RecordList(int)  # type: ignore[type-var]
