"""Attaching: mheap.attach and mheap.open."""
# os.path, since importing pathlib would cost more than importing mheap.

from __future__ import annotations

import os
import stat

from mheap import _core

TYPE_CHECKING = False  # typing's own would cost most of mheap's import time

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal, Protocol, TypeAlias

    from mheap._core import Heap
    from mheap.errors import MheapError

    _Mode: TypeAlias = Literal["atomic", "live", "readonly", "scratch"]
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
    journal_limit: int | None = None,
    overrun_readers: bool = False,
    allow_pickle: bool = False,
) -> Heap:
    """Attach the heap in an open file and return it; this costs the same for every size.

    fd        a file descriptor, or an object with fileno(); it is duplicated, and may be closed
              afterwards. An empty file becomes a new heap, a heap file continues where it
              stopped, anything else raises and is not touched. -1: anonymous memory, gone when
              detached
    baseaddr  the address to map it at, or fail. None: the one stored in the file, or one of
              mheap's choice
    mode      "live": shared and writable, every store is in the file, durable at sync().
              "atomic": changes are private, and the file's once commit() makes them so, all
              together; closing discards what was not committed. "readonly": writes nothing.
              "scratch": changes are private and thrown away
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
    journal_limit  mode "atomic": bytes of commits that readers of earlier generations may keep
              from being brought into the pages. None: 1 GiB
    overrun_readers  mode "atomic", beyond that limit: True: those readers lose what they keep.
              False: commits raise HeapFull
    allow_pickle  values that were stored as mheap.Pickled are unpickled when they are read, which
              can run any code. False: reading one raises PickleNotAllowed

    Raises NotAHeap, CorruptHeap, VersionMismatch, UncleanHeap, BaseAddressInUse, HeapBusy,
    HeapFull, NoMemory, InvalidArgument or HeapOSError.
    """
    path, called = _path_of(fd)
    heap = _core.attach(
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
        journal_limit,
        overrun_readers,
    )
    _core._reads(heap, int(allow_pickle))
    return heap


def open(
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
    *,
    mode: _Mode = "atomic",
    timeout: float = 0.0,
    max_size: int | None = None,
    relocate: bool = False,
    salvage: bool = False,
    unsafe: bool = False,
    huge_pages: _Pages = "never",
    numa_node: int | None = None,
    journal_limit: int | None = None,
    overrun_readers: bool = False,
    allow_pickle: bool = False,
) -> Heap:
    """Open, or in modes "atomic" and "live" create, the heap file at a path, and attach it.

    `with` commits at the end of the block what was changed in mode "atomic", the default, or
    discards it if the block raises. While a file is being created, and only then, path + ".lock"
    is locked (with filelock, which leaves that file behind), so that two processes do not make
    the heap together; `timeout` counts for this wait too. The rest is as for attach().

    Raises FileNotFoundError when there is no such file in a mode that does not create it, and
    what attach() raises.
    """
    name = os.path.abspath(os.fsdecode(path))
    rest = (relocate, salvage, unsafe, False, huge_pages, numa_node, journal_limit, overrun_readers)
    if mode in ("atomic", "live") and _is_to_be_created(name):
        heap = _create(name, timeout, lambda left: _open(name, mode, max_size, left, *rest))
    else:
        heap = _open(name, mode, max_size, timeout, *rest)
    _core._reads(heap, int(allow_pickle))
    return heap


def reopen(path: str, mode: _Mode) -> Heap:
    """Attach a heap that was pickled: an existing file, at once."""
    return _open(path, mode, None, 0.0, False, False, False, True, "never", None, None, False)


def find(main: Heap, number: int, tag: int) -> Heap:
    """The heap of a region that was pickled."""
    for heap in main.heaps():
        if (heap.number, heap.tag) == (number, tag):
            return heap
    from mheap.errors import NotFound

    raise NotFound(f"{main!r}: there is no heap {number} of tag {tag} in it any more", filename=main.path)


def find_named(main: Heap, name: str) -> Heap:
    """The named heap of a region that was pickled."""
    return main.named[name]


def _open(
    name: str,
    mode: _Mode,
    max_size: int | None,
    timeout: float,
    relocate: bool,
    salvage: bool,
    unsafe: bool,
    must_exist: bool,
    huge_pages: _Pages,
    numa_node: int | None,
    journal_limit: int | None,
    overrun_readers: bool,
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
        must_exist,
        huge_pages,
        numa_node,
        journal_limit,
        overrun_readers,
    )


def _create(name: str, timeout: float, opened: Callable[[float], Heap]) -> Heap:
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
                return opened(left)
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
