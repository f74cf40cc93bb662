"""Kinds of memory: sets of heaps behind one name.

    kind = mheap.kinds.Kind("cache", md=heap)
    address = kind.malloc(100)
    mheap.kinds.free(address)

The functions here are given an address only, and find the kind it belongs to.
"""

from __future__ import annotations

from mheap import _core
from mheap._core import Kind, KindCall
from mheap._core import kind_by_arena as by_arena
from mheap._core import kind_detect as detect
from mheap._core import kind_free as free
from mheap._core import kind_realloc as realloc

TYPE_CHECKING = False  # typing's own would cost most of mheap's import time

if TYPE_CHECKING:
    from mheap._core import Heap

__all__ = ["Kind", "KindCall", "by_arena", "detect", "free", "list_kinds", "realloc"]


def list_kinds(md: Heap | None = None) -> list[Kind]:
    """All kinds stored in a heap or, without one, in memory of the current subprocess; oldest first.

    Raises CorruptHeap when one that is stored is damaged: Kind(name, md=heap) finds the others.
    """
    return _core.kind_list(md)
