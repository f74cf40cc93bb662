"""Named heaps: heap.named, a mapping from names to the heaps of one file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

TYPE_CHECKING = False  # typing's own would cost most of mheap's import time

if TYPE_CHECKING:
    from mheap._core import Heap

__all__ = ["Named"]


class Named(Mapping[str, "Heap"]):
    """The named heaps of a file, each under its name.

    Heap.new makes one, Heap.destroy ends one: this mapping is only for looking. A name that is
    not there raises NotFound, a KeyError.
    """

    __slots__ = ("_heap",)

    def __init__(self, heap: Heap) -> None:
        self._heap = heap

    def __getitem__(self, name: str) -> Heap:
        return self._heap._named(name)

    def __contains__(self, name: object) -> bool:
        return name in self._heap._names()

    def __iter__(self) -> Iterator[str]:
        return iter(self._heap._names())

    def __len__(self) -> int:
        return len(self._heap._names())

    def __repr__(self) -> str:
        return f"<mheap.Named {self._heap._names()!r}>"
