"""Named roots: heap.roots, a mapping from names to the addresses of raw blocks."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping

from mheap import _core
from mheap.errors import InvalidPointer

TYPE_CHECKING = False  # typing's own would cost most of mheap's import time

if TYPE_CHECKING:
    from mheap._core import Heap

__all__ = ["Roots"]


class Roots(MutableMapping[str, int]):
    """The named roots of a heap, in the order the names were first set.

    A name is a str of 1 to 4095 bytes of UTF-8, an address an int inside the heap. Names live
    in the file; the block a name points to is not kept from being freed.
    """

    __slots__ = ("_heap",)

    def __init__(self, heap: Heap) -> None:
        self._heap = heap

    def __getitem__(self, name: str) -> int:
        return _core.getroot(self._heap, name)

    def __setitem__(self, name: str, address: int) -> None:
        if not address:
            raise InvalidPointer(f"the root {name!r} cannot be NULL: del removes a root")
        _core.setroot(self._heap, name, address)

    def __delitem__(self, name: str) -> None:
        try:  # noqa: SIM105  (contextlib would cost import time)
            _core.getroot(self._heap, name)
        except InvalidPointer:  # a name that outlived its block can be removed too
            pass
        _core.setroot(self._heap, name, None)

    def __iter__(self) -> Iterator[str]:
        return iter([name for name, _ in _core.list_roots(self._heap)])

    def __len__(self) -> int:
        return len(_core.list_roots(self._heap))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({dict(_core.list_roots(self._heap))!r})"
