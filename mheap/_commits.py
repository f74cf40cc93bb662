"""What Heap.dirty and Heap.snapshot() return."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from types import TracebackType

    from mheap._core import Heap

__all__ = ["Dirty", "Snapshot"]


class Dirty(NamedTuple):
    """What a commit would write now; false if there is nothing.

    bytes  that differ from the last commit, those of space the heap grew by included
    pages  of 4 KiB, that they are in
    """

    bytes: int
    pages: int

    def __bool__(self) -> bool:
        return self.pages > 0


class Snapshot:
    """One commit of a heap, kept for the length of a `with` block, which gets the heap."""

    __slots__ = ("_heap",)

    def __init__(self, heap: Heap) -> None:
        self._heap = heap

    def __enter__(self) -> Heap:
        self._heap._keep()
        return self._heap

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._heap._release()

    def __repr__(self) -> str:
        return f"<mheap.Snapshot of {self._heap!r}>"
