"""Attaching: mheap.attach and mheap.open."""
# os.path, since importing pathlib would cost more than importing mheap.

from __future__ import annotations

import os
import stat

from mheap import _core

TYPE_CHECKING = False  # typing's own would cost most of mheap's import time

if TYPE_CHECKING:
    from typing import Literal, Protocol, TypeAlias

    from mheap._core import Heap
    from mheap.errors import MheapError

    _Mode: TypeAlias = Literal["live", "readonly", "scratch"]
    _Pages: TypeAlias = Literal["never", "transparent", "2M", "1G"]

    class _HasFileno(Protocol):
        def fileno(self) -> int: ...


def attach(
    fd: int | _HasFileno,
    baseaddr: int | None = None,
    *,
    mode: _Mode = "live",
    max_size: int | None = None,
    timeout: float = 0.0,
    relocate: bool = False,
    salvage: bool = False,
    unsafe: bool = False,
    huge_pages: _Pages = "never",
    numa_node: int | None = None,
) -> Heap:
    """Attach the heap in an open file and return it; this costs the same for every size.

    fd        a file descriptor, or an object with fileno(); it is duplicated, and may be closed
              afterwards. An empty file becomes a new heap, a heap file continues where it
              stopped, anything else raises and is not touched. -1: anonymous memory, gone when
              detached
    baseaddr  the address to map it at, or fail. None: the one stored in the file, or one of
              mheap's choice
    mode      "live": shared and writable, every store is in the file, durable at sync().
              "readonly": writes nothing. "scratch": changes are private and thrown away
    max_size  bytes of address space to reserve: how far the heap can grow. None: as stored,
              64 GiB for new files
    timeout   seconds to wait for other handles on the file; negative: for ever
    relocate  attach at another address although raw addresses were handed out before
    salvage   attach what a machine crash left, after checking everything
    unsafe    read beside a live writer: contents may change while they are read
    huge_pages  "transparent": ask the system for transparent huge pages. "2M", "1G": pages of
              the kernel's pool. "never": ask for nothing. What cannot be had falls back to
              transparent ones, and stats().pages says so. A file lies on pages of the pool when
              it is on hugetlbfs, whatever is asked for
    numa_node  the NUMA node whose memory is preferred. None: any

    Raises NotAHeap, CorruptHeap, VersionMismatch, UncleanHeap, BaseAddressInUse, HeapBusy,
    HeapFull, NoMemory, InvalidArgument or HeapOSError.
    """
    path, called = _path_of(fd)
    return _core.attach(
        fd,
        path,
        called,
        mode,
        baseaddr,
        max_size,
        timeout,
        relocate,
        salvage,
        unsafe,
        False,
        huge_pages,
        numa_node,
    )


def open(
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
    *,
    mode: _Mode,
    timeout: float = 0.0,
    max_size: int | None = None,
    relocate: bool = False,
    salvage: bool = False,
    unsafe: bool = False,
    huge_pages: _Pages = "never",
    numa_node: int | None = None,
) -> Heap:
    """Open, or in mode "live" create, the heap file at a path, and attach it.

    `mode` must be given. While a file is being created, and only then, path + ".lock" is
    locked (with filelock, which leaves that file behind), so that two processes do not make
    the heap together; `timeout` counts for this wait too. The rest is as for attach().

    Raises FileNotFoundError when there is no such file in a mode that does not create it, and
    what attach() raises.
    """
    name = os.path.abspath(os.fsdecode(path))
    if mode == "live" and _is_to_be_created(name):
        return _create(name, timeout, max_size, relocate, salvage, huge_pages, numa_node)
    return _open(name, mode, timeout, max_size, relocate, salvage, unsafe, huge_pages, numa_node)


def reopen(path: str, mode: _Mode) -> Heap:
    """Attach a heap that was pickled: an existing file, at once."""
    return _core.attach(path, path, path, mode, None, None, 0.0, False, False, False, True, "never", None)


def find(main: Heap, number: int, tag: int) -> Heap:
    """The heap of a region that was pickled."""
    for heap in main.heaps():
        if (heap.number, heap.tag) == (number, tag):
            return heap
    from mheap.errors import NotFound

    raise NotFound(f"{main!r}: there is no heap {number} of tag {tag} in it any more", filename=main.path)


def _open(
    name: str,
    mode: _Mode,
    timeout: float,
    max_size: int | None,
    relocate: bool,
    salvage: bool,
    unsafe: bool = False,
    huge_pages: _Pages = "never",
    numa_node: int | None = None,
) -> Heap:
    return _core.attach(
        name,
        name,
        name,
        mode,
        None,
        max_size,
        timeout,
        relocate,
        salvage,
        unsafe,
        False,
        huge_pages,
        numa_node,
    )


def _create(
    name: str,
    timeout: float,
    max_size: int | None,
    relocate: bool,
    salvage: bool,
    huge_pages: _Pages,
    numa_node: int | None,
) -> Heap:
    import time

    from filelock import FileLock, Timeout

    from mheap.errors import HeapBusy, MheapError

    start = time.monotonic()
    lock = name + ".lock"
    ours = not os.path.lexists(lock)
    try:
        with FileLock(lock, timeout=-1 if timeout < 0 else timeout):
            left = timeout if timeout < 0 else max(0.0, timeout - (time.monotonic() - start))
            try:
                return _open(name, "live", left, max_size, relocate, salvage, False, huge_pages, numa_node)
            except BaseException:
                if ours and _is_to_be_created(name):
                    os.unlink(lock)
                raise
    except Timeout:
        raise HeapBusy(
            f"{name}: another process is creating it (it holds {name}.lock); try again, or give a timeout",
            filename=name,
        ) from None
    except MheapError:
        raise
    except OSError as error:
        raise _cannot_lock(name, lock, error) from None


def _cannot_lock(name: str, lock: str, error: OSError) -> MheapError:
    import errno

    from mheap.errors import HeapFull, HeapOSError, ReadOnlyHeap

    number = error.errno or errno.EIO
    special = {errno.ENOSPC: HeapFull, errno.EDQUOT: HeapFull, errno.EROFS: ReadOnlyHeap}
    kind = special.get(number) or HeapOSError.of(number)
    text = f"{name}: locking {lock} to create the heap: {os.strerror(number)} (errno {number})"
    return kind(text, errno=number, filename=name)


def _is_to_be_created(name: str) -> bool:
    """Absent, in a directory that is there and can be written, or an empty file.

    Anything else is the core's to judge, and its errors say more than a lock file's would.
    """
    try:
        found = os.stat(name)
    except FileNotFoundError:
        directory = os.path.dirname(name)
        return os.access(directory, os.W_OK | os.X_OK) and os.path.isdir(directory)
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == 0


def _path_of(fd: int | _HasFileno) -> tuple[str | None, str]:
    """The path a descriptor was opened by, if it still has one; and what to call it."""
    number = fd if isinstance(fd, int) else fd.fileno()
    try:
        path = os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        return None, "anonymous" if number == -1 else f"descriptor {number}"
    try:
        if os.path.samestat(os.stat(path), os.fstat(number)):
            return path, path
    except OSError:
        pass
    gone = path.endswith(" (deleted)")
    return None, f"unlinked {path.removesuffix(' (deleted)')!r}" if gone else f"unreachable {path!r}"
