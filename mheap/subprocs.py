"""Subprocesses: sets of heaps and arenas that share nothing with each other.

A thread is in one at a time, at first in the main one. `md` None is the main heap of the one it is
in, made on first use; memory, arenas and statistics of each are its own. A block of another one is
refused, by functions that are given no heap and by the default heap, with InvalidPointer, which
names both. A heap that is named works in any thread.

    workers = mheap.subprocs.new("workers")
    with workers:
        address = mheap.malloc(None, 100)
    workers.destroy()  # frees all that was allocated there

Each sub-interpreter that imports mheap has a subprocess of its own, to which None leads there.
"""

from __future__ import annotations

import builtins
from _thread import _local

from mheap import _core
from mheap.errors import InvalidArgument

TYPE_CHECKING = False  # typing's own would cost most of mheap's import time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import TypeVar

    from mheap._core import ArenaId, Heap, HeapStats

    _Arg = TypeVar("_Arg")

__all__ = ["Subproc", "current", "list", "main", "new"]

_MAIN = 1


class _Places(_local):
    """Where `with` found the thread, the latest last."""

    def __init__(self) -> None:
        self.before: builtins.list[tuple[int, tuple[int, int]]] = []


_places = _Places()


class Subproc:
    """A subprocess. Two objects with one id are the same one; an id is never used again.

    As a context manager it adds the current thread, and takes it back to where it was; to the main
    one, if that is gone. Iteration gives its heaps, the main one first.
    """

    __slots__ = ("_id", "_name")

    def __init__(self, id: int) -> None:
        self._name: str | None = _core.subproc_info(id)[0] or None
        self._id = id

    @property
    def id(self) -> int:
        """Its number, from 1, which is the main one's."""
        return self._id

    @property
    def name(self) -> str | None:
        """What new() was told to call it; "main" for the main one."""
        return self._name

    @property
    def threads(self) -> int:
        """How many threads are in it. Not counted for the main one, in which all others are: 0."""
        return _core.subproc_info(self._id)[1]

    @property
    def heap(self) -> Heap:
        """Its main heap, made if need be. It cannot be detached: it goes with the subprocess."""
        return _core.subproc_heap(self._id)

    @property
    def arenas(self) -> builtins.list[ArenaId]:
        """The arenas in memory that were reserved or lent while a thread of it was the caller."""
        return _core.subproc_arenas(self._id)

    def stats(self) -> HeapStats:
        """The counts of all its memory, and of the heaps that its threads attached, added up."""
        return _core.subproc_stats(self._id)

    def visit_heaps(self, fn: Callable[[Heap, _Arg], object], arg: _Arg) -> bool:
        """Call fn(heap, arg) for each heap; where that returns False, stop and return False.

        What was attached by a thread of it is among them. True: all were visited.
        """
        return all(fn(heap, arg) is not False for heap in _core.subproc_heaps(self._id))

    def __iter__(self) -> Iterator[Heap]:
        return iter(_core.subproc_heaps(self._id))

    def add_current_thread(self) -> None:
        """Take the calling thread out of the one it is in and into this one, until it ends or goes on.

        Raises InvalidArgument when there is no such subprocess any more.
        """
        _core.subproc_enter(self._id)

    def destroy(self) -> None:
        """Free all its heaps, arenas and blocks at once. Heap objects of them are closed then.

        Heaps that were attached from files stay, with the main subprocess; so does a main heap that
        new() was given. Raises HeapBusy while a thread is in it or in the middle of a call on one of its
        heaps, BufferError while views of its memory are exported, InvalidArgument for the main one.
        """
        _core.subproc_destroy(self._id)

    def delete(self) -> None:
        """The same, if no block in it is in use; else HeapBusy."""
        _core.subproc_delete(self._id)

    def __enter__(self) -> Subproc:
        _places.before.append((self._id, _core.subproc_enter(self._id)))
        return self

    def __exit__(
        self,
        type: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not _places.before or _places.before[-1][0] != self._id:
            raise InvalidArgument(f"{self!r}: this thread did not enter it last, so it cannot leave it")
        _core.subproc_return(*_places.before.pop()[1])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Subproc) and self._id == other._id

    def __hash__(self) -> int:
        return hash((Subproc, self._id))

    def __reduce__(self) -> str:
        raise TypeError(f"cannot pickle {self!r}: the number is this process's; pass the name instead")

    def __copy__(self) -> Subproc:
        return self

    def __deepcopy__(self, memo: object) -> Subproc:
        return self

    def __repr__(self) -> str:
        name = "" if self._name is None else f" {self._name!r}"
        return f"<mheap.subprocs.Subproc {self._id}{name}>"


def main() -> Subproc:
    """The main subprocess, in which every thread is that is in no other."""
    return Subproc(_MAIN)


def current() -> Subproc:
    """The one the calling thread is in."""
    return Subproc(_core.subproc_current())


def new(name: str | None = None, heap: Heap | None = None) -> Subproc:
    """Make a subprocess, without threads.

    name  what errors call it, up to 63 bytes of UTF-8
    heap  becomes its main heap, which None then means to its threads: one in a file, for example. It
          must be the main heap of its region, and is not detached before the subprocess is destroyed

    Raises HeapBusy for a heap that is the main heap of another subprocess, or no main heap; NoMemory.
    """
    if name is not None and not isinstance(name, str):
        raise TypeError(f"the name of a subprocess must be a str or None, not {type(name).__name__}")
    return Subproc(_core.subproc_new(name, heap))


def list() -> builtins.list[Subproc]:
    """All there are, the main one first."""
    return [Subproc(id) for id in _core.subproc_list()]
