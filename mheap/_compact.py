"""Making a heap file smaller: mheap.compact."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from mheap import _core

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Compacted", "Extent", "compact"]


class Extent(NamedTuple):
    """What a heap file takes, and what is in it.

    file_size   bytes the file is long, its journal included
    disk_size   bytes allocated to it on disk
    objects     values outside of others: containers, texts, long numbers and so on
    blocks      in use: of objects, their tables and items, and raw ones
    bytes_used  in those
    bytes_free  in free blocks, slices and segments
    """

    file_size: int
    disk_size: int
    objects: int
    blocks: int
    bytes_used: int
    bytes_free: int


class Compacted(NamedTuple):
    """What compact() did, or would do.

    moved   the objects were moved into a new file, which took the place of the old one
    kept    why nothing was moved, "" if it was: free space was given back to the disk in place
    before  the file as it was
    after   as it is now; of a dry run an estimate
    """

    moved: bool
    kept: str
    before: Extent
    after: Extent


def compact(
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
    *,
    dry_run: bool = False,
    timeout: float = 0.0,
    progress: Callable[[int, int], object] | None = None,
) -> Compacted:
    """Rewrite a heap file with its objects packed, and without what no root leads to.

    The new file is made beside the old one, checked, synced, and takes its place at once: a kill or
    a power cut at any instant leaves the one or the other. It is the same heap: uuid, hash seed,
    generation, owner and permissions stay. Readers of the old file go on with that one.

    Where there are raw blocks, numbered or named roots, arenas, kinds or more heaps, nothing is moved, since
    somebody may know where they are: garbage is collected, and free space given back to the disk in
    place, for which the file must have no readers either. `kept` says why.

    dry_run   only say what would come of it, for which the file need only be readable
    timeout   seconds to wait for a writer; negative: for ever
    progress  called now and then with bytes done and in all; what it raises ends it, with nothing changed

    Raises HeapBusy when somebody has the file open for writing, ReadOnlyHeap for a sealed file,
    CorruptHeap, HeapFull when there is no space for both files, and what open() raises.
    """
    name = os.path.abspath(os.fsdecode(path))
    if dry_run or not os.path.isfile(name):
        return _compact(name, dry_run, timeout, progress)
    start = time.monotonic()
    with _locked(os.path.realpath(name), timeout):
        left = timeout if timeout < 0 else max(0.0, timeout - (time.monotonic() - start))
        return _compact(name, dry_run, left, progress)


def _compact(
    name: str, dry_run: bool, timeout: float, progress: Callable[[int, int], object] | None
) -> Compacted:
    moved, kept, before, after = _core._compact(name, dry_run, timeout, progress)
    return Compacted(moved, kept, Extent(*before), Extent(*after))


@contextmanager
def _locked(name: str, timeout: float) -> Iterator[None]:
    """Holds what guards the path while a heap is created there, or replaced."""
    from filelock import FileLock, Timeout

    from mheap._attach import cannot_lock
    from mheap.errors import HeapBusy

    path = name + ".lock"
    ours = not os.path.lexists(path)
    lock = FileLock(path, timeout=-1 if timeout < 0 else timeout)
    try:
        lock.acquire()
    except Timeout:
        raise HeapBusy(
            f"{name}: another process is creating or compacting it (it holds {path}); "
            "try again, or give a timeout",
            filename=name,
        ) from None
    except OSError as error:
        raise cannot_lock(name, path, error, "compact") from None
    try:
        yield
    finally:
        if ours:
            os.unlink(path)
        lock.release()
