"""What Heap.dirty returns."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Dirty"]


class Dirty(NamedTuple):
    """What a commit would write now; false if there is nothing.

    bytes  that differ from the last commit, those of space the heap grew by included
    pages  of 4 KiB, that they are in
    """

    bytes: int
    pages: int

    def __bool__(self) -> bool:
        return self.pages > 0
