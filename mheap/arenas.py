"""Arenas: parts of a heap's file, or memory of their own, from which heaps take their space.

The functions are mimalloc's, with a heap as `md` where the arena shall be in that heap's file. Such
an arena is stored: it is there after the next attach, with the heaps that were made for it. With
`md` None the memory is this process's, and ends with it.

mheap.heap_new_in_arena and heap_new_ex make heaps that allocate in one arena only.
"""

from __future__ import annotations

import builtins

from mheap import _core
from mheap._core import ArenaId

TYPE_CHECKING = False  # typing's own would cost most of mheap's import time

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from mheap._core import Heap, _HasBuf

__all__ = [
    "ArenaId",
    "area",
    "debug_show",
    "grow",
    "list",
    "manage_os_memory",
    "min_alignment",
    "release",
    "reserve_huge_os_pages_at",
    "reserve_huge_os_pages_interleave",
    "reserve_os_memory",
]


def reserve_os_memory(
    size: int,
    *,
    commit: bool = False,
    allow_large: bool = False,
    exclusive: bool = False,
    md: Heap | None = None,
) -> ArenaId:
    """Reserve `size` bytes as an arena: in memory, or with a heap in its file.

    size         bytes; in a file they are rounded up to whole segments of 4 MiB
    commit       bring the memory in, or allocate the disk space, now; else it comes as it is used
    allow_large  in memory: 2 MiB pages when there are any, transparent ones otherwise. A file's
                 pages are its file system's: refused
    exclusive    only heaps made for the arena allocate there. Otherwise it is shared: heaps that
                 are tied to no arena use it before the rest

    Raises NoMemory; with a heap HeapFull (its max_size, the disk, or its 63 rows for arenas) and
    ReadOnlyHeap; InvalidArgument and SizeOverflow for a size that cannot be.
    """
    return _core.arena_reserve(md, size, commit, allow_large, exclusive)


def manage_os_memory(
    memory: WriteableBuffer | _HasBuf | int,
    size: int | None = None,
    *,
    is_committed: bool = True,
    is_large: bool = False,
    is_zero: bool = False,
    numa_node: int | None = None,
    exclusive: bool = False,
) -> ArenaId:
    """Make memory that the caller owns an arena.

    memory        a writable buffer (bytearray, mmap, numpy array, memoryview), a SharedMemory, or an
                  address. A buffer is kept alive, and its export held, until release(); at an
                  address the memory must stay by itself. Nothing else may write to it
    size          bytes; None: all of the buffer. The start is moved up to a multiple of
                  min_alignment(), and at least 192 KiB must be left
    is_committed  the memory is there already
    is_large      it is of large pages, or pinned: none of it is ever given back to the system
    is_zero       it holds zeros, as fresh memory does
    numa_node     it is on this node; None: not known

    It is never freed. Raises InvalidArgument for memory that will not do, BufferError for a
    read-only buffer.
    """
    return _core.arena_manage(memory, size, is_committed, is_large, is_zero, exclusive, numa_node)


def reserve_huge_os_pages_at(
    pages: int, numa_node: int | None = None, timeout_msecs: int = 0, *, exclusive: bool = False
) -> ArenaId:
    """Reserve pages of 1 GiB at a NUMA node (None: any) as one arena.

    timeout_msecs  give up after that; 0: never. Gives up early, too, when by what the first pages took
                   it would be more than 1.5 times that

    Raises NoMemory when there are not so many, and HeapTimeout, a TimeoutError. The pages that
    were had before that are an arena, in the exception's attribute `arena`.
    """
    return _core.arena_reserve_huge(pages, numa_node, timeout_msecs, exclusive)


def reserve_huge_os_pages_interleave(pages: int, numa_nodes: int = 0, timeout_msecs: int = 0) -> None:
    """Reserve pages of 1 GiB divided evenly over NUMA nodes (0: all there are): one shared arena a node.

    Raises as reserve_huge_os_pages_at() does; what was had before that stays and is in list().
    """
    _core.arena_interleave_huge(pages, numa_nodes, timeout_msecs)


def grow(id: ArenaId, size: int) -> None:
    """Let an arena in a heap's file have `size` bytes. It must be the last one there.

    Raises InvalidArgument when it is not, or is larger already; HeapFull.
    """
    _core.arena_grow(id, size)


def release(id: ArenaId) -> None:
    """Give an arena back. Memory that was lent is its owner's again.

    Raises HeapBusy while a heap that was made for it exists or a block in it is in use, BufferError
    while views of its memory are exported.
    """
    _core.arena_release(id)


def area(id: ArenaId) -> tuple[int, int]:
    """Where an arena is in this process, and how many bytes it has. InvalidArgument once it is gone."""
    return _core.arena_area(id)


def min_alignment() -> int:
    """What the start of managed memory is moved up to a multiple of, bytes."""
    return _core.arena_min_alignment()


def debug_show(in_use: bool = True, abandoned: bool = False, purge: bool = False) -> None:
    """Print all arenas of the process, to standard error or the function that register_output was given.

    in_use     a map of their segments
    abandoned  slabs that no thread owns
    purge      free segments whose pages may still be held
    """
    _core.arena_debug_show(in_use, abandoned, purge)


def list(md: Heap | None = None) -> builtins.list[ArenaId]:
    """The arenas in a heap's file; None: those in memory."""
    return _core.arena_list(md)
